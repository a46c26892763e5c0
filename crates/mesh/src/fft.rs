//! Real Fourier transforms in one to three dimensions, on all threads.
//!
//! Kernels are those of `rustfft` and `realfft`; this file moves the data: lines along the last axis first, then the
//! other axes through a scratch of a few columns that fits the cache.

use std::sync::Arc;

use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

use crate::Grid;

/// Columns that travel together through the scratch of a strided pass: two cache lines of `f64` pairs.
const COLUMNS: usize = 8;

/// Smallest number of lines that is worth a task of its own.
const LINES_PER_TASK: usize = 16;

struct Axis<T: Real> {
    /// Product of the axes before.
    outer: usize,
    length: usize,
    /// Product of the axes after, in complex numbers.
    inner: usize,
    forward: Arc<dyn Fft<T>>,
    inverse: Arc<dyn Fft<T>>,
}

/// Plans of a real transform and its inverse for one shape.
///
/// Forward: `F(k) = sum_x f(x) exp(-i k x)`; inverse: `f(x) = sum_k F(k) exp(+i k x)`. Neither is normalised: one after
/// the other multiplies by the number of cells. The spectrum is the half with the last wave number `0 ..= n/2`.
///
/// Cost `5 N log2 N / 2` operations; memory beyond the arrays: a few lines per thread.
pub struct RealFft<T: Real> {
    columns: usize,
    half: usize,
    rows: usize,
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
    axes: Vec<Axis<T>>,
}

impl<T: Real> RealFft<T> {
    /// Plans for the shape of `grid`.
    pub fn new(grid: &Grid) -> RealFft<T> {
        let mut real = RealFftPlanner::<T>::new();
        let mut complex = FftPlanner::<T>::new();
        let (columns, half) = (grid.columns(), grid.half_columns());
        let shape = grid.shape();
        let axes = (0..shape.len() - 1).rev().map(|axis| Axis {
            outer: shape[..axis].iter().product(),
            length: shape[axis],
            inner: shape[axis + 1..shape.len() - 1].iter().product::<usize>() * half,
            forward: complex.plan_fft_forward(shape[axis]),
            inverse: complex.plan_fft_inverse(shape[axis]),
        });
        let axes = axes.collect();
        RealFft {
            columns,
            half,
            rows: grid.rows(),
            forward: real.plan_fft_forward(columns),
            inverse: real.plan_fft_inverse(columns),
            axes,
        }
    }

    /// `spectrum = FFT(field)`.
    ///
    /// # Panics
    /// If a length differs from that of the grid.
    pub fn forward(&self, field: &[T], spectrum: &mut [Complex<T>]) {
        self.check(field.len(), spectrum.len());
        let lines = spectrum.par_chunks_mut(self.half).zip(field.par_chunks(self.columns));
        lines.with_min_len(LINES_PER_TASK).for_each_init(
            || (self.forward.make_input_vec(), self.forward.make_scratch_vec()),
            |(line, scratch), (out, input)| {
                line.copy_from_slice(input);
                let done = self.forward.process_with_scratch(line, out, scratch);
                debug_assert!(done.is_ok());
            },
        );
        for axis in &self.axes {
            axis.transform(spectrum, axis.forward.as_ref());
        }
    }

    /// `field = N * inverse FFT(spectrum)`; the spectrum is destroyed. Its self-conjugate modes are taken as real.
    ///
    /// # Panics
    /// If a length differs from that of the grid.
    pub fn inverse(&self, spectrum: &mut [Complex<T>], field: &mut [T]) {
        self.check(field.len(), spectrum.len());
        for axis in self.axes.iter().rev() {
            axis.transform(spectrum, axis.inverse.as_ref());
        }
        let lines = field.par_chunks_mut(self.columns).zip(spectrum.par_chunks_mut(self.half));
        lines.with_min_len(LINES_PER_TASK).for_each_init(
            || self.inverse.make_scratch_vec(),
            |scratch, (out, line)| {
                line[0].im = T::zero();
                if self.columns.is_multiple_of(2) {
                    line[self.half - 1].im = T::zero();
                }
                let done = self.inverse.process_with_scratch(line, out, scratch);
                debug_assert!(done.is_ok());
            },
        );
    }

    /// A zero spectrum of the right length.
    pub fn make_spectrum(&self) -> Vec<Complex<T>> {
        vec![Complex::default(); self.rows * self.half]
    }

    fn check(&self, field: usize, spectrum: usize) {
        assert_eq!(field, self.rows * self.columns, "length of the field");
        assert_eq!(spectrum, self.rows * self.half, "length of the half spectrum");
    }
}

/// A pointer that tasks share while each touches columns of its own.
struct Shared<T>(*mut Complex<T>);

// SAFETY: every task of `Axis::transform` reads and writes a set of columns that no other task touches.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(&self, index: usize) -> *mut Complex<T> {
        self.0.wrapping_add(index)
    }
}

impl<T: Real> Axis<T> {
    /// Transforms `data`, seen as `[outer, length, inner]`, along its middle axis.
    fn transform(&self, data: &mut [Complex<T>], fft: &dyn Fft<T>) {
        let Axis { outer, length, inner, .. } = *self;
        assert_eq!(data.len(), outer * length * inner, "length of the spectrum");
        let blocks = inner.div_ceil(COLUMNS);
        let shared = Shared(data.as_mut_ptr());
        let tasks = (0..outer * blocks).into_par_iter().with_min_len(LINES_PER_TASK / COLUMNS);
        tasks.for_each_init(
            || {
                (
                    vec![Complex::default(); length * COLUMNS],
                    vec![Complex::default(); fft.get_inplace_scratch_len()],
                )
            },
            |(lines, scratch), task| {
                let first = task % blocks * COLUMNS;
                let width = COLUMNS.min(inner - first);
                let start = task / blocks * length * inner + first;
                let lines = &mut lines[..length * width];
                for i in 0..length {
                    for c in 0..width {
                        // SAFETY: the index is below `outer * length * inner`, checked above; columns are disjoint.
                        lines[c * length + i] = unsafe { *shared.at(start + i * inner + c) };
                    }
                }
                fft.process_with_scratch(lines, scratch);
                for i in 0..length {
                    for c in 0..width {
                        // SAFETY: as for the read.
                        unsafe { *shared.at(start + i * inner + c) = lines[c * length + i] };
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    /// The transform by its definition: the oracle.
    fn dft(grid: &Grid, field: &[f64]) -> Vec<Complex<f64>> {
        let spacing = grid.spacing();
        let (columns, half) = (grid.columns(), grid.half_columns());
        let place = |i: usize| {
            let mut x = [0.0; 3];
            let mut rest = i;
            for axis in (0..grid.shape().len()).rev() {
                x[3 - grid.shape().len() + axis] = (rest % grid.shape()[axis]) as f64 * spacing[axis];
                rest /= grid.shape()[axis];
            }
            x
        };
        (0..grid.half_len())
            .map(|m| {
                let k = grid.wave_vector(m / half, m % half);
                (0..grid.rows() * columns)
                    .map(|i| {
                        let x = place(i);
                        let phase = -(k[0] * x[0] + k[1] * x[1] + k[2] * x[2]);
                        Complex::from_polar(field[i], phase)
                    })
                    .sum()
            })
            .collect()
    }

    #[test]
    fn agrees_with_the_definition_and_inverts() {
        for shape in [&[8][..], &[7], &[6, 10], &[5, 7], &[4, 6, 10], &[3, 5, 7]] {
            let lengths: Vec<f64> = shape.iter().map(|&n| n as f64 * 0.5).collect();
            let grid = Grid::new(shape, &lengths).expect("a grid");
            let fft = RealFft::<f64>::new(&grid);
            let mut field = vec![0.0; grid.len()];
            Stream::new(3, Purpose::Test, 0).fill_normal(&mut field);
            let mut spectrum = fft.make_spectrum();
            fft.forward(&field, &mut spectrum);
            for (a, b) in spectrum.iter().zip(dft(&grid, &field)) {
                assert!((a - b).norm() < 1e-11, "{shape:?}: {a} and {b}");
            }
            let mut back = vec![0.0; grid.len()];
            fft.inverse(&mut spectrum, &mut back);
            for (a, b) in field.iter().zip(back) {
                assert!((a * grid.len() as f64 - b).abs() < 1e-11 * grid.len() as f64, "{shape:?}");
            }
        }
    }
}
