//! A lognormal random field with zero mean and a given power spectrum.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::{Chain, DynOperator, Error, LinearOperator, Pointwise, Real, Result, Space};

use crate::Spectrum;
use crate::gaussian_field::from_power;

/// A lognormal field as an operator, with the moments of the Gaussian field beneath it.
pub struct LognormalField<T: Real> {
    /// White noise to signal.
    pub operator: DynOperator<T>,
    /// Variance of the Gaussian field.
    pub gaussian_variance: f64,
    /// Share of the Gaussian field's power that had to be left out, because no lognormal field has this spectrum
    /// exactly: modes where the spectrum of the logarithm would be negative.
    pub clipped: f64,
}

/// `s = shift [exp(y - var(y)/2) - 1]`: mean zero, never below `-shift`, and with the spectrum asked for.
///
/// The Gaussian field `y` has the correlation function `ln(1 + xi_s(r) / shift^2)` (Coles & Jones 1991, eq. 24;
/// Hilbert, Hartlap & Schneider 2011 for convergence), transformed on the grid itself.
///
/// # Errors
/// If the shift is not positive, or so small that no lognormal field has this correlation.
pub fn lognormal_field<T: Real>(
    grid: &Grid,
    spectrum: &Spectrum,
    shift: f64,
    name: &str,
    unit: &str,
) -> Result<LognormalField<T>> {
    let wrong = |message: String| Error::parameter("lognormal field", message);
    if !(shift.is_finite() && shift > 0.0) {
        return Err(wrong(format!("the shift must be positive, not {shift}")));
    }
    let fft = RealFft::<f64>::new(grid);
    let mut modes = fft.make_spectrum();
    for (mode, k) in modes.iter_mut().zip(grid.half_wave_numbers()) {
        mode.re = spectrum.power(k) / grid.volume();
    }
    let mut correlation = vec![0.0; grid.len()];
    fft.inverse(&mut modes, &mut correlation);
    for xi in &mut correlation {
        let ratio = *xi / (shift * shift);
        if ratio <= -1.0 {
            return Err(wrong(format!(
                "the correlation function falls to {xi:.3e}, below -shift^2; the shift {shift} is too small for this spectrum"
            )));
        }
        *xi = ratio.ln_1p();
    }
    fft.forward(&correlation, &mut modes);
    let power: Vec<f64> = modes.iter().map(|mode| mode.re * grid.cell_volume()).collect();
    let half = grid.half_columns();
    let sum = |part: fn(f64) -> f64| -> f64 {
        power.iter().enumerate().map(|(i, &p)| part(p) * grid.multiplicity(i % half) as f64).sum()
    };
    let (positive, negative) = (sum(|p| p.max(0.0)), sum(|p| (-p).max(0.0)));
    let variance = positive / grid.volume();
    let power: Vec<f64> = power.into_iter().map(|p| p.max(0.0)).collect();

    let gaussian = from_power::<T>(grid, power, &format!("{name}.log"), "").shared();
    let exponential = shifted_exponential(gaussian.codomain(), shift, variance, name, unit);
    let operator = std::sync::Arc::new(Chain::new(vec![gaussian, std::sync::Arc::new(exponential)])?);
    Ok(LognormalField { operator, gaussian_variance: variance, clipped: negative / positive })
}

/// `s = shift [exp(y - variance/2) - 1]`, entry by entry.
pub fn shifted_exponential<T: Real>(
    domain: &Space,
    shift: f64,
    variance: f64,
    name: &str,
    unit: &str,
) -> Pointwise<T> {
    let shape = domain.blocks()[0].shape.clone();
    let (shift, half) = (T::of(shift), T::of(0.5 * variance));
    Pointwise::new(
        "shifted exponential",
        domain.clone(),
        Space::single(name, &shape, unit),
        move |y: T| shift * (y - half).exp_m1(),
        move |y: T| shift * (y - half).exp(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_mesh::white_modes;
    use lookback_operator::Operator;
    use lookback_operator::random::{Purpose, Stream};

    /// Mean 0 and the variance of the spectrum, within 4 standard errors over draws; never below -shift.
    #[test]
    fn draws_have_mean_zero_and_the_right_variance() {
        let grid = Grid::new(&[64, 64], &[0.05, 0.05]).expect("a grid");
        let spectrum = Spectrum::power_law(4e-10, 1000.0, -1.2, -0.3).expect("a law");
        let shift = 0.03;
        let field = lognormal_field::<f64>(&grid, &spectrum, shift, "kappa", "").expect("a field");
        let target: f64 = (0..grid.len())
            .map(|i| {
                spectrum.power(grid.wave_vector(i / 64, i % 64).iter().map(|k| k * k).sum::<f64>().sqrt())
            })
            .sum::<f64>()
            / grid.volume();
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for draw in 0..300 {
            let mut modes = vec![0.0; grid.len()];
            white_modes(&grid, Stream::new(2, Purpose::Signal, draw), &mut modes);
            let kappa = field.operator.apply(&modes).expect("finite");
            assert!(kappa.iter().all(|&k| k > -shift));
            means.push(kappa.iter().sum::<f64>() / grid.len() as f64);
            variances.push(kappa.iter().map(|k| k * k).sum::<f64>() / grid.len() as f64);
        }
        let within = |values: &[f64], expected: f64| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let error = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n / n).sqrt();
            assert!((mean - expected).abs() < 4.0 * error, "{mean} +- {error}, expected {expected}");
        };
        within(&means, 0.0);
        within(&variances, target);
        assert!(field.clipped < 1e-3, "{}", field.clipped);
    }

    #[test]
    fn an_impossible_shift_is_refused() {
        let grid = Grid::new(&[64, 64], &[0.05, 0.05]).expect("a grid");
        let spectrum = Spectrum::power_law(1e-8, 3000.0, 2.0, -4.0).expect("a law");
        let error = lognormal_field::<f64>(&grid, &spectrum, 1e-3, "kappa", "").err().expect("refused");
        assert!(error.to_string().contains("too small"), "{error}");
    }
}
