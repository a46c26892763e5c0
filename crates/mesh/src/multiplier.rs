//! Multiplication in Fourier space: convolutions with even kernels, from one map to one or several.

use lookback_operator::{LinearOperator, Real, Space};
use num_complex::Complex;
use rayon::prelude::*;

use crate::{Grid, RealFft};

/// `y_c = FFT^-1[ m_c(k) FFT[x] ]` with real, even `m_c`: smoothing, filtering, shear. The adjoint adds up:
/// `x = sum_c FFT^-1[ m_c(k) FFT[y_c] ]`.
///
/// Cost: one real transform in and one out for each output map (and the same back). Memory: half a number a pixel for
/// each output, and two spectra as scratch.
pub struct Multiplier<T: Real> {
    name: String,
    domain: Space,
    codomain: Space,
    fft: RealFft<T>,
    /// `m_c(k)` on the half spectrum, one after the other.
    factors: Vec<Vec<T>>,
    scale: T,
    row: usize,
}

/// One spectrum of the input, and one that the inverse transform consumes.
type Scratch<T> = [Vec<Complex<T>>; 2];

impl<T: Real> Multiplier<T> {
    /// From one map to one for each block of `codomain`, each with its factor: `factors(row, column)` of the half
    /// spectrum gives one number for each output.
    ///
    /// # Panics
    /// If the numbers of maps do not agree with the grid and the factors.
    pub fn new(
        name: impl Into<String>,
        grid: &Grid,
        domain: Space,
        codomain: Space,
        factors: impl Fn(usize, usize) -> Vec<f64>,
    ) -> Multiplier<T> {
        let outputs = codomain.blocks().len();
        assert_eq!(domain.len(), grid.len(), "one map goes in");
        assert_eq!(codomain.len(), outputs * grid.len(), "maps come out");
        let half = grid.half_columns();
        let mut columns = vec![Vec::with_capacity(grid.half_len()); outputs];
        for i in 0..grid.half_len() {
            let values = factors(i / half, i % half);
            assert_eq!(values.len(), outputs, "one factor for each map");
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(T::of(value)));
        }
        let scale = T::of(1.0 / grid.len() as f64);
        Multiplier {
            name: name.into(),
            domain,
            codomain,
            fft: RealFft::new(grid),
            factors: columns,
            scale,
            row: half,
        }
    }

    /// The factors on the half spectrum, one list for each output.
    pub(crate) fn factors(&self) -> &[Vec<T>] {
        &self.factors
    }
}

impl<T: Real> LinearOperator<T> for Multiplier<T> {
    type Scratch = Scratch<T>;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) -> Scratch<T> {
        [self.fft.make_spectrum(), self.fft.make_spectrum()]
    }

    fn forward(&self, x: &[T], y: &mut [T], [spectrum, work]: &mut Scratch<T>) {
        self.fft.forward(x, spectrum);
        for (y, factor) in y.chunks_mut(x.len()).zip(&self.factors) {
            let lines = work
                .par_chunks_mut(self.row)
                .zip(spectrum.par_chunks(self.row))
                .zip(factor.par_chunks(self.row));
            lines.for_each(|((work, spectrum), factor)| {
                for ((work, f), &m) in work.iter_mut().zip(spectrum).zip(factor) {
                    *work = f * (m * self.scale);
                }
            });
            self.fft.inverse(work, y);
        }
    }

    fn adjoint(&self, y: &[T], x: &mut [T], [spectrum, work]: &mut Scratch<T>) {
        for (c, (y, factor)) in y.chunks(x.len()).zip(&self.factors).enumerate() {
            self.fft.forward(y, work);
            let lines = spectrum
                .par_chunks_mut(self.row)
                .zip(work.par_chunks(self.row))
                .zip(factor.par_chunks(self.row));
            lines.for_each(|((sum, work), factor)| {
                for ((sum, f), &m) in sum.iter_mut().zip(work).zip(factor) {
                    let term = f * (m * self.scale);
                    *sum = if c == 0 { term } else { *sum + term };
                }
            });
        }
        self.fft.inverse(spectrum, x);
    }
}
