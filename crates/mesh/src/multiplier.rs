//! Multiplication in Fourier space: a convolution with an even kernel, its own adjoint.

use lookback_operator::{LinearOperator, Real, Space};
use num_complex::Complex;
use rayon::prelude::*;

use crate::{Grid, RealFft};

/// `y = FFT^-1[ m(k) FFT[x] ]` with a real, even `m`: smoothing, filtering, inverse Laplacians.
pub struct Multiplier<T: Real> {
    name: String,
    space: Space,
    fft: RealFft<T>,
    factor: Vec<T>,
    row: usize,
}

impl<T: Real> Multiplier<T> {
    /// Multiplies every mode by `factor(k)`, where `k` is the wave vector `[.., k_y, k_x]` padded with zeros in front.
    /// The kernel must be even: `factor(-k) = factor(k)`.
    pub fn new(
        name: impl Into<String>,
        grid: &Grid,
        space: Space,
        factor: impl Fn([f64; 3]) -> f64,
    ) -> Multiplier<T> {
        let (half, n) = (grid.half_columns(), grid.len() as f64);
        let factor = (0..grid.half_len()).map(|i| T::of(factor(grid.wave_vector(i / half, i % half)) / n));
        Multiplier { name: name.into(), space, fft: RealFft::new(grid), factor: factor.collect(), row: half }
    }
}

impl<T: Real> LinearOperator<T> for Multiplier<T> {
    type Scratch = Vec<Complex<T>>;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn domain(&self) -> &Space {
        &self.space
    }

    fn codomain(&self) -> &Space {
        &self.space
    }

    fn scratch(&self) -> Self::Scratch {
        self.fft.make_spectrum()
    }

    fn forward(&self, x: &[T], y: &mut [T], spectrum: &mut Self::Scratch) {
        self.fft.forward(x, spectrum);
        let lines = spectrum.par_chunks_mut(self.row).zip(self.factor.par_chunks(self.row));
        lines.for_each(|(line, factor)| line.iter_mut().zip(factor).for_each(|(f, &m)| *f *= m));
        self.fft.inverse(spectrum, y);
    }

    fn adjoint(&self, y: &[T], x: &mut [T], spectrum: &mut Self::Scratch) {
        self.forward(y, x, spectrum);
    }
}
