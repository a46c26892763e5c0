//! Initial conditions: white noise to the linear density, and back to the power spectrum.

use lookback_cosmology::{Cosmology, Gradient, PARAMETERS};
use lookback_mesh::{Grid, Hartley};
use lookback_operator::{Real, zeros};
use num_complex::Complex;
use rayon::prelude::*;

/// `delta(k) = sqrt(P(k) / V) w(k)` with `P` the linear power per unit of `D1^2`: white noise on the Hartley modes of
/// the lattice to the spectrum of the linear density at `D1 = 1`.
pub struct Modes<T: Real> {
    hartley: Hartley<T>,
    fundamental: f64,
    volume: f64,
    /// Squared integer wave numbers along an axis.
    squares: Vec<usize>,
    /// `sqrt(P / dV)` on the half spectrum.
    amplitude: Vec<T>,
}

impl<T: Real> Modes<T> {
    /// Plans for a cubic lattice.
    pub fn new(grid: &Grid) -> Modes<T> {
        let side = grid.columns();
        let square = |i: usize| Grid::signed(i, side).unsigned_abs().pow(2) as usize;
        Modes {
            hartley: Hartley::new(grid),
            squares: (0..side).map(square).collect(),
            fundamental: grid.fundamental(),
            volume: grid.cell_volume(),
            amplitude: zeros(grid.half_len()),
        }
    }

    fn side(&self) -> usize {
        self.hartley.grid().columns()
    }

    /// Squared integer wave number of a line of modes, to which `self.squares` adds that along it: the sum names a bin of equal power.
    fn transverse(&self, row: usize) -> usize {
        self.squares[row / self.side()] + self.squares[row % self.side()]
    }

    fn bins(&self) -> usize {
        3 * (self.side() / 2).pow(2) + 1
    }

    /// Takes the power spectrum of a cosmology: one evaluation for every length of wave vector.
    pub fn set_cosmology(&mut self, cosmology: &Cosmology<f64>) {
        let amplitude: Vec<T> = (0..self.bins())
            .into_par_iter()
            .map(|n2| {
                let power = cosmology.linear().power(self.fundamental * (n2 as f64).sqrt());
                T::of((power / self.volume).sqrt())
            })
            .collect();
        let half = self.hartley.grid().half_columns();
        let mut all = std::mem::take(&mut self.amplitude);
        all.par_chunks_mut(half).enumerate().for_each(|(row, line)| {
            let amplitude = &amplitude[self.transverse(row)..];
            line.iter_mut().zip(&self.squares).for_each(|(out, &square)| *out = amplitude[square]);
        });
        self.amplitude = all;
    }

    /// The spectrum of the linear density, whose inverse transform is `delta`.
    pub fn forward(&self, white: &[T], spectrum: &mut [Complex<T>]) {
        self.hartley.to_spectrum(&self.amplitude, white, spectrum);
    }

    /// The transpose of [`forward`](Modes::forward) followed by the inverse transform, from the transform of the
    /// cotangent of `delta`.
    pub fn adjoint(&self, spectrum: &[Complex<T>], white: &mut [T]) {
        self.hartley.from_spectrum(&self.amplitude, spectrum, white);
    }

    /// Derivatives with respect to the parameters, from the cotangent of the white noise: each mode tells how the sum
    /// changes with the logarithm of its amplitude.
    pub fn parameter_gradient(
        &self,
        white: &[T],
        cotangent: &[T],
        cosmology: &Cosmology<Gradient>,
    ) -> [f64; PARAMETERS.len()] {
        let side = self.side();
        let mut by_bin = vec![0.0; self.bins()];
        for (row, (w, c)) in white.chunks(side).zip(cotangent.chunks(side)).enumerate() {
            let by_bin = &mut by_bin[self.transverse(row)..];
            for (&square, (w, c)) in self.squares.iter().zip(w.iter().zip(c)) {
                by_bin[square] += w.f64() * c.f64();
            }
        }
        let terms: Vec<[f64; PARAMETERS.len()]> = (1..self.bins())
            .into_par_iter()
            .map(|n2| {
                let power = cosmology.linear().power(self.fundamental * (n2 as f64).sqrt());
                power.gradient.map(|slope| 0.5 * by_bin[n2] * slope / power.value)
            })
            .collect();
        let mut sum = [0.0; PARAMETERS.len()];
        for term in terms {
            for (sum, term) in sum.iter_mut().zip(term) {
                *sum += term;
            }
        }
        sum
    }

    /// The change of the spectrum when every amplitude changes by its derivative in one direction: `white * dA/A`.
    pub fn parameter_push(
        &self,
        white: &[T],
        cosmology: &Cosmology<Gradient>,
        direction: &[f64; PARAMETERS.len()],
        changed: &mut [T],
    ) {
        let side = self.side();
        let relative: Vec<f64> = (0..self.bins())
            .into_par_iter()
            .map(|n2| {
                let power = cosmology.linear().power(self.fundamental * (n2 as f64).sqrt());
                let slope: f64 = power.gradient.iter().zip(direction).map(|(g, d)| g * d).sum();
                if power.value > 0.0 { 0.5 * slope / power.value } else { 0.0 }
            })
            .collect();
        changed.par_chunks_mut(side).zip(white.par_chunks(side)).enumerate().for_each(|(row, (out, w))| {
            let relative = &relative[self.transverse(row)..];
            for (&square, (out, w)) in self.squares.iter().zip(out.iter_mut().zip(w)) {
                *out += *w * T::of(relative[square]);
            }
        });
    }

    /// The transform behind the modes.
    pub(crate) fn hartley(&self) -> &Hartley<T> {
        &self.hartley
    }

    /// White noise on the modes of a real-space white field: an orthonormal transform, for comparisons.
    pub fn from_field(&self, field: &[T]) -> Vec<T> {
        let one = vec![T::one(); self.hartley.grid().half_len()];
        let mut modes = zeros(field.len());
        self.hartley.analyze(&one, field, &mut modes, &mut self.hartley.make_spectrum());
        modes
    }
}
