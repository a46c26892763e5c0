//! Power spectra measured from fields, in bins of wave number; moments of maps.

use lookback_operator::{Error, Real, Result};

use crate::{Grid, RealFft};

/// A power spectrum in bins. `P(k) = |F(k)|^2 V / N^2` for the unnormalised transform `F` of a field on `N` cells in
/// a box of volume `V`; on the sky it is `C_ell` \[sr\] at `ell = |k|`.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerSpectrum {
    /// Mean wave number of the modes in each bin.
    pub k: Vec<f64>,
    /// Mean power of the modes in each bin.
    pub power: Vec<f64>,
    /// Number of independent real modes in each bin; bins without modes are left out.
    pub modes: Vec<usize>,
}

/// `count + 1` edges, evenly spaced in the logarithm, from the fundamental to the Nyquist wave number.
pub fn bin_edges(grid: &Grid, count: usize) -> Vec<f64> {
    let (low, high) = (grid.fundamental() * 0.999, grid.nyquist() * 1.001);
    (0..=count).map(|i| low * (high / low).powf(i as f64 / count as f64)).collect()
}

/// Measures the power spectrum of `field` in bins `edges[i] <= k < edges[i + 1]`. The mean (k = 0) never counts.
///
/// # Errors
/// If the field has the wrong length, or the edges do not rise.
pub fn power_spectrum<T: Real>(grid: &Grid, field: &[T], edges: &[f64]) -> Result<PowerSpectrum> {
    cross_spectrum(grid, [field, field], edges)
}

/// The spectrum of two fields, the mean of `Re(F G*)` in each bin; see [`power_spectrum`].
///
/// # Errors
/// As [`power_spectrum`].
pub fn cross_spectrum<T: Real>(grid: &Grid, fields: [&[T]; 2], edges: &[f64]) -> Result<PowerSpectrum> {
    weighted_power(grid, fields, edges, |_, _| 1.0)
}

/// The quadrupole of the power spectrum about the last axis, `5 <P(k, mu) (3 mu^2 - 1) / 2>` in each bin: what redshift-space
/// distortions leave (Hamilton 1992, ApJ 385, L5).
///
/// # Errors
/// As [`power_spectrum`].
pub fn power_quadrupole<T: Real>(grid: &Grid, field: &[T], edges: &[f64]) -> Result<PowerSpectrum> {
    weighted_power(grid, [field, field], edges, |[_, _, along], k| 2.5 * (3.0 * (along / k).powi(2) - 1.0))
}

/// Power in bins, each mode weighted by a function of its wave vector and wave number.
fn weighted_power<T: Real>(
    grid: &Grid,
    fields: [&[T]; 2],
    edges: &[f64],
    weight: impl Fn([f64; 3], f64) -> f64,
) -> Result<PowerSpectrum> {
    for field in fields {
        Error::check_length(|| "power spectrum".into(), "input", field.len(), grid.len())?;
    }
    if edges.len() < 2
        || edges.windows(2).any(|pair| pair[0].partial_cmp(&pair[1]) != Some(std::cmp::Ordering::Less))
    {
        return Err(Error::parameter(
            "power spectrum",
            "bin edges must rise, and there must be at least two",
        ));
    }
    let fft = RealFft::<T>::new(grid);
    let transform = |field: &[T]| {
        let mut spectrum = fft.make_spectrum();
        fft.forward(field, &mut spectrum);
        spectrum
    };
    let first = transform(fields[0]);
    let second = if std::ptr::eq(fields[0], fields[1]) { None } else { Some(transform(fields[1])) };
    let second = second.as_ref().unwrap_or(&first);
    let bins = edges.len() - 1;
    let (mut k_sum, mut p_sum, mut modes) = (vec![0.0; bins], vec![0.0; bins], vec![0usize; bins]);
    for (i, (f, g)) in first.iter().zip(second).enumerate() {
        let vector = grid.wave_vector(i / grid.half_columns(), i % grid.half_columns());
        let k = vector.iter().map(|k| k * k).sum::<f64>().sqrt();
        let bin = edges.partition_point(|&edge| edge <= k);
        if k == 0.0 || bin == 0 || bin > bins {
            continue;
        }
        let count = grid.multiplicity(i % grid.half_columns());
        let power = f.re.f64() * g.re.f64() + f.im.f64() * g.im.f64();
        k_sum[bin - 1] += k * count as f64;
        p_sum[bin - 1] += weight(vector, k) * power * count as f64;
        modes[bin - 1] += count;
    }
    let norm = grid.volume() / (grid.len() as f64).powi(2);
    let filled: Vec<usize> = (0..bins).filter(|&bin| modes[bin] > 0).collect();
    Ok(PowerSpectrum {
        k: filled.iter().map(|&bin| k_sum[bin] / modes[bin] as f64).collect(),
        power: filled.iter().map(|&bin| p_sum[bin] / modes[bin] as f64 * norm).collect(),
        modes: filled.iter().map(|&bin| modes[bin]).collect(),
    })
}

/// Skewness `<(x - <x>)^3> / <(x - <x>)^2>^(3/2)` of the given values; 0 if they are all equal.
pub fn skewness(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    let moment = |p: i32| values.clone().map(|x| (x - mean).powi(p)).sum::<f64>() / n;
    let variance = moment(2);
    if variance == 0.0 { 0.0 } else { moment(3) / variance.powf(1.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_wave_has_its_power_in_one_bin() {
        let grid = Grid::new(&[16, 32], &[2.0, 4.0]).expect("a grid");
        let k = std::f64::consts::TAU * 3.0 / 4.0;
        let field: Vec<f64> = (0..grid.len()).map(|i| (k * (i % 32) as f64 * 4.0 / 32.0).cos()).collect();
        let edges: Vec<f64> = (0..20).map(|i| 0.1 + f64::from(i)).collect();
        let spectrum = power_spectrum(&grid, &field, &edges).expect("a spectrum");
        // A cosine of amplitude 1 carries the variance 1/2; the sum of P over modes is the variance times V.
        let total: f64 = spectrum.power.iter().zip(&spectrum.modes).map(|(p, &n)| p * n as f64).sum();
        assert!((total - 0.5 * grid.volume()).abs() < 1e-12);
        let filled: Vec<f64> = spectrum.power.iter().copied().filter(|&p| p > 1e-20).collect();
        assert_eq!(filled.len(), 1);
    }

    #[test]
    fn a_spectrum_of_two_fields_is_half_of_what_their_sum_has_more() {
        let grid = Grid::new(&[8, 10], &[2.0, 4.0]).expect("a grid");
        let field = |f: f64| -> Vec<f64> { (0..grid.len()).map(|i| (i as f64 * f).sin()).collect() };
        let (a, b) = (field(0.3), field(0.7));
        let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let edges = bin_edges(&grid, 4);
        let [one, two, both] =
            [&a, &b, &sum].map(|map| power_spectrum(&grid, map, &edges).expect("a spectrum").power);
        let cross = cross_spectrum(&grid, [&a, &b], &edges).expect("a spectrum").power;
        for i in 0..cross.len() {
            assert!((both[i] - one[i] - two[i] - 2.0 * cross[i]).abs() < 1e-14);
        }
        assert!(cross_spectrum(&grid, [&a, &b[1..]], &edges).is_err());
    }

    #[test]
    fn skewness_of_an_exponential_is_two() {
        let n = 200_000;
        let quantiles = (0..n).map(move |i| -(1.0 - (f64::from(i) + 0.5) / f64::from(n)).ln());
        assert!((skewness(quantiles) - 2.0).abs() < 1e-2);
    }
}
