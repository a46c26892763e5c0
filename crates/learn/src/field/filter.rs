//! Isotropic filters: a function of the wave number, linear between knots in the logarithms of both.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;

/// Where every mode of a grid lies among knots.
#[derive(Debug, Clone)]
pub(super) struct Modes {
    /// Knot below, and how far it is to the next: the filter's logarithm is `(1 - w) t_j + w t_{j+1}`.
    places: Vec<(usize, f64)>,
    /// How often each mode of the half spectrum counts.
    counts: Vec<f64>,
    knots: usize,
}

impl Modes {
    /// Wave numbers outside of the knots have the filter of the nearest one.
    pub fn new(grid: &Grid, knots: &[f64]) -> Modes {
        let (first, last) = (knots[0].ln(), knots[knots.len() - 1].ln());
        let steps = (knots.len() - 1) as f64;
        let place = |k: f64| {
            let at = if k > 0.0 { (k.ln() - first) / (last - first) * steps } else { 0.0 };
            let at = at.clamp(0.0, steps);
            let below = (at.floor() as usize).min(knots.len() - 2);
            (below, at - below as f64)
        };
        let half = grid.half_columns();
        Modes {
            places: grid.half_wave_numbers().into_iter().map(place).collect(),
            counts: (0..grid.half_len()).map(|i| grid.multiplicity(i % half) as f64).collect(),
            knots: knots.len(),
        }
    }

    /// The filter on the half spectrum.
    pub fn factors<T: Real>(&self, knots: &[T]) -> Vec<T> {
        let logarithm = |&(j, w): &(usize, f64)| (1.0 - w) * knots[j].f64() + w * knots[j + 1].f64();
        self.places.iter().map(|place| T::of(logarithm(place).exp())).collect()
    }

    /// Sums over modes of a number for each, shared out to the knots.
    pub fn shared_out(&self, of_mode: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.knots];
        for (mode, (&(j, w), count)) in self.places.iter().zip(&self.counts).enumerate() {
            let value = count * of_mode(mode);
            sums[j] += (1.0 - w) * value;
            sums[j + 1] += w * value;
        }
        sums
    }
}

/// `FFT[field]`.
pub(super) fn spectrum<T: Real>(fft: &RealFft<T>, field: &[T]) -> Vec<Complex<T>> {
    let mut modes = fft.make_spectrum();
    fft.forward(field, &mut modes);
    modes
}

/// `FFT^-1[factor * spectrum]`.
pub(super) fn filtered<T: Real>(fft: &RealFft<T>, spectrum: &[Complex<T>], factors: &[T]) -> Vec<T> {
    let mut modes = spectrum.to_vec();
    let scale = T::of(1.0 / fft.cells() as f64);
    modes.par_iter_mut().zip(factors).for_each(|(mode, &factor)| *mode *= factor * scale);
    let mut field = vec![T::zero(); fft.cells()];
    fft.inverse(&mut modes, &mut field);
    field
}
