//! A Gaussian random field with a given power spectrum.

use lookback_mesh::{Grid, Synthesis};
use lookback_operator::{Real, Space};

use crate::Spectrum;

/// `s(x) = Hartley[ sqrt(P(k) / dV) z(k) ]`: white noise on the modes of a grid to a field of spectrum `P`, with mean zero.
///
/// The latent `z(k)` holds one standard normal number a mode. `dV` is the volume of a cell, so that the measured
/// spectrum `|F(k)|^2 V / N^2` averages to `P(k)`. Cost: one real transform; none of its own if a convolution follows
/// (see [`Synthesis`]).
pub fn gaussian_field<T: Real>(grid: &Grid, spectrum: &Spectrum, name: &str, unit: &str) -> Synthesis<T> {
    let power = grid.half_wave_numbers().into_iter().map(|k| spectrum.power(k)).collect();
    from_power(grid, power, name, unit)
}

/// The same from the power of every mode of the half spectrum.
pub(crate) fn from_power<T: Real>(grid: &Grid, power: Vec<f64>, name: &str, unit: &str) -> Synthesis<T> {
    let volume = grid.cell_volume();
    let amplitude = power.into_iter().map(|p| T::of((p / volume).sqrt())).collect();
    let latent = Space::single(format!("{name}.modes"), grid.shape(), "");
    let signal = Space::single(name, grid.shape(), unit);
    Synthesis::new("Gaussian field", grid, latent, signal, vec![amplitude])
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_mesh::{bin_edges, power_spectrum, white_modes};
    use lookback_operator::LinearOperator;
    use lookback_operator::random::{Purpose, Stream};

    /// The mean spectrum of many draws is the one asked for; each bin within 4 of its standard errors.
    #[test]
    fn draws_have_the_spectrum() {
        let grid = Grid::new(&[48, 64], &[0.03, 0.04]).expect("a grid");
        let spectrum = Spectrum::power_law(1e-9, 1000.0, -1.2, -0.3).expect("a law");
        let field = gaussian_field::<f64>(&grid, &spectrum, "kappa", "");
        let edges = bin_edges(&grid, 8);
        let draws = 200;
        let (mut sum, mut count) = (Vec::new(), Vec::new());
        for draw in 0..draws {
            let mut modes = vec![0.0; grid.len()];
            white_modes(&grid, Stream::new(1, Purpose::Signal, draw), &mut modes);
            let mut kappa = vec![0.0; grid.len()];
            field.forward(&modes, &mut kappa, &mut field.scratch());
            // Weight every mode by its own expectation, so that the average is 1 whatever the slope within a bin.
            let expected = gaussian_field::<f64>(
                &grid,
                &Spectrum::power_law(1.0, 1.0, 0.0, 0.0).expect("white"),
                "w",
                "",
            );
            let mut white = vec![0.0; grid.len()];
            expected.adjoint(&kappa, &mut white, &mut expected.scratch());
            let ratio: Vec<f64> = white
                .iter()
                .enumerate()
                .map(|(i, &w)| {
                    let k = grid.wave_vector(i / 64, i % 64).iter().map(|k| k * k).sum::<f64>().sqrt();
                    if k == 0.0 { 0.0 } else { w * grid.cell_volume() / spectrum.power(k).sqrt() }
                })
                .collect();
            let measured = power_spectrum(&grid, &kappa, &edges).expect("a spectrum");
            sum.resize(measured.k.len(), 0.0);
            count.resize(measured.k.len(), 0);
            for (bin, (k, p)) in measured.k.iter().zip(&measured.power).enumerate() {
                sum[bin] += p / spectrum.power(*k);
                count[bin] += measured.modes[bin];
            }
            let chi2: f64 = ratio.iter().map(|r| r * r).sum();
            let n = (grid.len() - 1) as f64;
            assert!((chi2 - n).abs() < 5.0 * (2.0 * n).sqrt(), "draw {draw}: {chi2} for {n} modes");
        }
        for (sum, count) in sum.iter().zip(count) {
            let error = (2.0 / f64::from(count as u32)).sqrt();
            // The spectrum bends within a bin: P at the mean k differs from the mean P by up to 3 %.
            assert!((sum / f64::from(draws) - 1.0).abs() < 4.0 * error + 0.03);
        }
    }
}
