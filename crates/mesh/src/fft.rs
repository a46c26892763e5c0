//! Real Fourier transforms in one to three dimensions, on all threads.
//!
//! Kernels are those of `rustfft`, of `realfft` and of `real_lines.rs`; this file moves the data: the last two axes plane by
//! plane while a plane is in the cache, then the first axis, both through a scratch of a few columns. Moving costs as much as
//! the kernels, so that the order of the copies matters more than theirs.

use std::sync::Arc;

use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;
use rustfft::{Fft, FftPlanner};

use crate::Grid;
use crate::real_lines::RealLines;

/// Columns that travel together through the scratch of a strided pass: two cache lines of `f32` pairs.
const COLUMNS: usize = 16;

/// Rows that travel together: they fill a cache line of `f32` pairs.
const TOGETHER: usize = 8;

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Asks for a place of the memory to come to the second cache.
#[inline(always)]
fn ask_for<P>(place: *const P) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: asking for memory does no harm wherever it is.
    unsafe {
        use std::arch::x86_64::*;
        _mm_prefetch::<_MM_HINT_T1>(place.cast())
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Smallest number of lines that is worth a task of its own.
const LINES_PER_TASK: usize = 16;

/// A complex axis of the half spectrum.
pub(crate) struct Axis<T: Real> {
    length: usize,
    /// Product of the axes after, in complex numbers.
    inner: usize,
    pub(crate) forward: Arc<dyn Fft<T>>,
    pub(crate) inverse: Arc<dyn Fft<T>>,
}

/// Plans of a real transform and its inverse for one shape.
///
/// Forward: `F(k) = sum_x f(x) exp(-i k x)`; inverse: `f(x) = sum_k F(k) exp(+i k x)`. Neither is normalised: one after
/// the other multiplies by the number of cells. The spectrum is the half with the last wave number `0 ..= n/2`.
///
/// Cost `5 N log2 N / 2` operations; memory beyond the arrays: a few lines per thread, and
/// a plane of modes for an inverse of three axes.
pub struct RealFft<T: Real> {
    pub(crate) columns: usize,
    pub(crate) half: usize,
    rows: usize,
    /// Lines along the last axis in one plane of the last two axes.
    plane: usize,
    /// The last axis.
    pub(crate) last: RealLines<T>,
    /// The middle axis of three.
    pub(crate) middle: Option<Axis<T>>,
    /// The first of two or three.
    pub(crate) first: Option<Axis<T>>,
}

impl<T: Real> RealFft<T> {
    /// Plans for the shape of `grid`.
    pub fn new(grid: &Grid) -> RealFft<T> {
        let mut complex = FftPlanner::<T>::new();
        let (columns, half) = (grid.columns(), grid.half_columns());
        let shape = grid.shape();
        let mut axis = |length: usize, inner: usize| Axis {
            length,
            inner,
            forward: complex.plan_fft_forward(length),
            inverse: complex.plan_fft_inverse(length),
        };
        let (middle, first) = match *shape {
            [first, middle, _] => (Some(axis(middle, half)), Some(axis(first, middle * half))),
            [first, _] => (None, Some(axis(first, half))),
            _ => (None, None),
        };
        RealFft {
            columns,
            half,
            rows: grid.rows(),
            plane: middle.as_ref().map_or(1, |axis| axis.length),
            last: RealLines::new(columns),
            middle,
            first,
        }
    }

    /// `spectrum = FFT(field)`.
    ///
    /// # Panics
    /// If a length differs from that of the grid.
    pub fn forward(&self, field: &[T], spectrum: &mut [Complex<T>]) {
        self.check(field.len(), spectrum.len());
        self.planes_forward(field, spectrum);
        if let Some(axis) = &self.first {
            axis.along_first(spectrum, |_, line, scratch, _| {
                axis.forward.process_with_scratch(line, scratch)
            });
        }
    }

    /// `field = N * inverse FFT(spectrum)`; the spectrum is destroyed. Its self-conjugate modes are taken as real.
    ///
    /// # Panics
    /// If a length differs from that of the grid.
    pub fn inverse(&self, spectrum: &mut [Complex<T>], field: &mut [T]) {
        self.check(field.len(), spectrum.len());
        if let Some(axis) = &self.first {
            axis.along_first(spectrum, |_, line, scratch, _| {
                axis.inverse.process_with_scratch(line, scratch)
            });
        }
        self.planes_inverse(spectrum, field);
    }

    /// `field = N * inverse FFT(factor * FFT(field))` with a real factor for each mode: `factor(line, out)` writes the
    /// factors of the modes `[0 .. n, line]` along the first axis, where `line` counts the modes of the other axes.
    ///
    /// Two transforms, but two passes over the spectrum fewer than one after the other. It is lost.
    ///
    /// # Panics
    /// If a length differs from that of the grid, or the grid has one axis.
    pub fn convolve(
        &self,
        field: &mut [T],
        spectrum: &mut [Complex<T>],
        factor: impl Fn(usize, &mut [T]) + Sync,
    ) {
        self.check(field.len(), spectrum.len());
        let Some(axis) = &self.first else { panic!("a convolution needs two axes or more") };
        self.planes_forward(field, spectrum);
        axis.along_first(spectrum, |column, line, scratch, factors| {
            axis.forward.process_with_scratch(line, scratch);
            factor(column, factors);
            line.iter_mut().zip(factors).for_each(|(mode, factor)| *mode *= *factor);
            axis.inverse.process_with_scratch(line, scratch);
        });
        self.planes_inverse(spectrum, field);
    }

    /// The last two axes forward, a plane at a time.
    fn planes_forward(&self, field: &[T], spectrum: &mut [Complex<T>]) {
        let planes =
            spectrum.par_chunks_mut(self.half * self.plane).zip(field.par_chunks(self.columns * self.plane));
        planes
            .with_min_len(LINES_PER_TASK.div_ceil(self.plane))
            .for_each_init(|| self.plane(), |plane, (out, input)| plane.forward(input, out));
    }

    /// The last two axes backward, a plane at a time.
    fn planes_inverse(&self, spectrum: &mut [Complex<T>], field: &mut [T]) {
        let planes = field
            .par_chunks_mut(self.columns * self.plane)
            .zip(spectrum.par_chunks_mut(self.half * self.plane));
        planes
            .with_min_len(LINES_PER_TASK.div_ceil(self.plane))
            .for_each_init(|| self.plane(), |plane, (out, input)| plane.inverse(input, out));
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.rows * self.columns
    }

    /// A zero spectrum of the right length.
    pub fn make_spectrum(&self) -> Vec<Complex<T>> {
        zeros(self.rows * self.half)
    }

    /// Checks the lengths of a plane of the last two axes.
    pub(crate) fn check_plane(&self, field: usize, modes: usize) {
        assert_eq!([field, modes], [self.plane * self.columns, self.plane * self.half], "lengths of a plane");
    }

    fn check(&self, field: usize, spectrum: usize) {
        assert_eq!(field, self.rows * self.columns, "length of the field");
        assert_eq!(spectrum, self.rows * self.half, "length of the half spectrum");
    }
}

/// Complex zeros, as [`lookback_operator::zeros`].
fn zeros<T: Real>(len: usize) -> Vec<Complex<T>> {
    let parts = lookback_operator::zeros::<T>(2 * len);
    bytemuck::try_cast_vec(parts).unwrap_or_else(|_| vec![Complex::default(); len])
}

/// What a thread needs for a few columns at a time.
pub(crate) struct Buffers<T> {
    /// The columns as lines.
    lines: Vec<Complex<T>>,
    /// Scratch of the kernel.
    scratch: Vec<Complex<T>>,
    /// A factor for each mode of a line.
    factors: Vec<T>,
}

/// The transforms of one line along the first axis, with room for a factor of each of its modes.
pub struct Line<'a, T: Real> {
    axis: &'a Axis<T>,
    scratch: &'a mut [Complex<T>],
    /// A number for each mode of the line.
    pub factors: &'a mut [T],
}

impl<T: Real> Line<'_, T> {
    /// From cells to modes.
    pub fn forward(&mut self, line: &mut [Complex<T>]) {
        self.axis.forward.process_with_scratch(line, self.scratch);
    }

    /// From modes to cells, not normalised.
    pub fn inverse(&mut self, line: &mut [Complex<T>]) {
        self.axis.inverse.process_with_scratch(line, self.scratch);
    }
}

/// A line of each of `N` rooms that lie one after the other.
fn lines_at<T, const N: usize>(rooms: &mut [T], room: usize, start: usize, length: usize) -> [&mut [T]; N] {
    let mut rooms = rooms.chunks_mut(room);
    std::array::from_fn(|_| &mut rooms.next().expect("a room for each array")[start..][..length])
}

/// A pointer that tasks share while each touches columns of its own.
struct Shared<T>(*mut Complex<T>);

// SAFETY: every task of `Axis::along_first` and `Axis::between_arrays` reads and writes a set of columns that no other task touches.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn start(&self) -> *mut Complex<T> {
        self.0
    }
}

/// A few neighbouring columns of an array of rows.
struct Columns<T> {
    /// The first number of the first row.
    start: *mut Complex<T>,
    width: usize,
    length: usize,
    /// From one row to the next.
    inner: usize,
}

impl<T: Real> Columns<T> {
    /// From one line to the next in the scratch: one cache line or two more than a line, as powers of two would put all lines into the
    /// same few sets of the first cache.
    fn stride(length: usize) -> usize {
        length + TOGETHER
    }

    /// Does `f(place in the array, place in the scratch)`, in an order that completes cache lines on both sides.
    #[inline(always)]
    fn each(&self, f: impl Fn(*mut Complex<T>, usize)) {
        let stride = Self::stride(self.length);
        let whole = self.length / TOGETHER * TOGETHER;
        for i in (0..whole).step_by(TOGETHER) {
            let rows: [_; TOGETHER] = std::array::from_fn(|k| self.start.wrapping_add((i + k) * self.inner));
            for c in 0..self.width {
                for (k, row) in rows.iter().enumerate() {
                    f(row.wrapping_add(c), c * stride + i + k);
                }
            }
        }
        for i in whole..self.length {
            for c in 0..self.width {
                f(self.start.wrapping_add(i * self.inner + c), c * stride + i);
            }
        }
    }

    /// Makes lines of the columns.
    ///
    /// # Safety
    /// The columns must lie within an array that nobody else writes to there.
    unsafe fn take(&self, lines: &mut [Complex<T>]) {
        assert!(lines.len() >= self.width * Self::stride(self.length), "room for the lines");
        let lines = lines.as_mut_ptr();
        // SAFETY: both places are within their arrays, by the caller's word and by the check above.
        self.each(|column, line| unsafe { *lines.add(line) = *column });
    }

    /// Asks for the memory of one of several shares of the rows, which are needed soon: from row to row is too far for the machine to
    /// ask by itself.
    #[inline(always)]
    fn soon(&self, share: usize, shares: usize) {
        let rows = self.length.div_ceil(shares);
        let bytes = self.width * size_of::<Complex<T>>();
        if bytes == 0 {
            return;
        }
        for row in (share * rows..((share + 1) * rows).min(self.length)).map(|i| i * self.inner) {
            let start = self.start.wrapping_add(row).cast::<u8>();
            (0..bytes).step_by(CACHE_LINE).for_each(|byte| ask_for(start.wrapping_add(byte)));
            ask_for(start.wrapping_add(bytes - 1));
        }
    }

    /// Puts the lines back.
    ///
    /// # Safety
    /// As for [`take`](Columns::take), and nobody else reads there.
    unsafe fn put(&self, lines: &[Complex<T>]) {
        assert!(lines.len() >= self.width * Self::stride(self.length), "lines for all columns");
        let lines = lines.as_ptr();
        // SAFETY: as in `take`.
        self.each(|column, line| unsafe { *column = *lines.add(line) });
    }
}

impl<T: Real> Axis<T> {
    pub(crate) fn buffers(&self) -> Buffers<T> {
        self.buffers_of(1)
    }

    /// Buffers for the same columns of several arrays.
    fn buffers_of(&self, arrays: usize) -> Buffers<T> {
        let scratch = self.forward.get_inplace_scratch_len().max(self.inverse.get_inplace_scratch_len());
        Buffers {
            lines: vec![Complex::default(); arrays * self.room()],
            scratch: vec![Complex::default(); scratch],
            factors: vec![T::zero(); self.length],
        }
    }

    /// How many columns from one on travel together: none beyond the last.
    fn width(&self, first: usize) -> usize {
        COLUMNS.min(self.inner.saturating_sub(first))
    }

    /// These columns of an array.
    fn columns(&self, data: *mut Complex<T>, first: usize) -> Columns<T> {
        let Axis { length, inner, .. } = *self;
        Columns { start: data.wrapping_add(first), width: self.width(first), length, inner }
    }

    /// Numbers of a few columns as lines.
    fn room(&self) -> usize {
        Columns::<T>::stride(self.length) * COLUMNS
    }

    /// Does `f(column, kernel, lines from, lines to)` to the lines of `[length, inner]` along its first axis, on all threads: `f` takes
    /// the lines of the arrays `from`, may change what it is given of them, and fills those of `to`.
    pub(crate) fn between_arrays<const A: usize, const B: usize>(
        &self,
        from: [&[Complex<T>]; A],
        to: [&mut [Complex<T>]; B],
        f: impl Fn(usize, &mut Line<'_, T>, [&mut [Complex<T>]; A], [&mut [Complex<T>]; B]) + Sync,
    ) {
        let Axis { length, inner, .. } = *self;
        let lengths = from.iter().map(|data| data.len()).chain(to.iter().map(|data| data.len()));
        lengths.for_each(|len| assert_eq!(len, length * inner, "lengths of the spectra"));
        let to = to.map(|data| Shared(data.as_mut_ptr()));
        let stride = Columns::<T>::stride(length);
        let task = |buffers: &mut Buffers<T>, task: usize| {
            let first = task * COLUMNS;
            let width = self.width(first);
            let (inputs, outputs) = buffers.lines.split_at_mut(A * self.room());
            for (data, lines) in from.iter().zip(inputs.chunks_mut(self.room())) {
                // SAFETY: the array is borrowed, and only read.
                unsafe { self.columns(data.as_ptr().cast_mut(), first).take(lines) };
            }
            let next = from.map(|data| self.columns(data.as_ptr().cast_mut(), first + COLUMNS));
            let (scratch, factors) = (&mut buffers.scratch, &mut buffers.factors);
            let mut line = Line { axis: self, scratch, factors };
            for c in 0..width {
                next.iter().for_each(|next| next.soon(c, width));
                f(
                    first + c,
                    &mut line,
                    lines_at(inputs, self.room(), c * stride, length),
                    lines_at(outputs, self.room(), c * stride, length),
                );
            }
            for (data, lines) in to.iter().zip(outputs.chunks(self.room())) {
                // SAFETY: the array is borrowed whole, and tasks have columns of their own.
                unsafe { self.columns(data.start(), first).put(lines) };
            }
        };
        let tasks = (0..inner.div_ceil(COLUMNS)).into_par_iter();
        tasks.for_each_init(|| self.buffers_of(A + B), task);
    }

    /// Transforms `[length, inner]` along its first axis, on one thread.
    pub(crate) fn along_plane(&self, data: &mut [Complex<T>], fft: &dyn Fft<T>, buffers: &mut Buffers<T>) {
        assert_eq!(data.len(), self.length * self.inner, "length of a plane");
        let data = data.as_mut_ptr();
        // SAFETY: the plane is borrowed whole.
        unsafe { self.between_planes(data, data, fft, buffers) };
    }

    /// As [`along_plane`](Axis::along_plane), from one plane to another.
    pub(crate) fn to_plane(
        &self,
        from: &[Complex<T>],
        to: &mut [Complex<T>],
        fft: &dyn Fft<T>,
        buffers: &mut Buffers<T>,
    ) {
        assert_eq!([from.len(), to.len()], [self.length * self.inner; 2], "length of planes");
        // SAFETY: both planes are borrowed whole, and the first is only read.
        unsafe { self.between_planes(from.as_ptr().cast_mut(), to.as_mut_ptr(), fft, buffers) };
    }

    /// Transforms a plane on its way from one place to another, or to the same.
    ///
    /// # Safety
    /// The pointers must be those of arrays `[length, inner]`; nobody else may write to the first or touch the second.
    unsafe fn between_planes(
        &self,
        from: *mut Complex<T>,
        to: *mut Complex<T>,
        fft: &dyn Fft<T>,
        buffers: &mut Buffers<T>,
    ) {
        let transform = |_: usize, line: &mut [Complex<T>], scratch: &mut [Complex<T>], _: &mut [T]| {
            fft.process_with_scratch(line, scratch);
        };
        for first in (0..self.inner).step_by(COLUMNS) {
            // SAFETY: by the caller's word.
            unsafe { self.along_columns([from, to], first, buffers, transform) };
        }
    }

    /// Does `f(column, line, scratch, factors)` to the lines of `[length, inner]` along its first axis, on all threads.
    fn along_first(
        &self,
        data: &mut [Complex<T>],
        f: impl Fn(usize, &mut [Complex<T>], &mut [Complex<T>], &mut [T]) + Sync,
    ) {
        assert_eq!(data.len(), self.length * self.inner, "length of the spectrum");
        let data = Shared(data.as_mut_ptr());
        let tasks = (0..self.inner.div_ceil(COLUMNS)).into_par_iter();
        tasks.for_each_init(
            || self.buffers(),
            |buffers, task| {
                // SAFETY: the spectrum is borrowed whole, and tasks have columns of their own.
                unsafe { self.along_columns([data.start(); 2], task * COLUMNS, buffers, &f) };
            },
        );
    }

    /// Does `f(column, line, scratch, factors)` to a few columns from `first` on, on their way from one array to another, or to the same.
    ///
    /// # Safety
    /// The pointers must be those of arrays `[length, inner]`, or of one; of the `COLUMNS` columns from `first` on, nobody else may
    /// write to those of the first or touch those of the second.
    unsafe fn along_columns(
        &self,
        [from, to]: [*mut Complex<T>; 2],
        first: usize,
        Buffers { lines, scratch, factors }: &mut Buffers<T>,
        f: impl Fn(usize, &mut [Complex<T>], &mut [Complex<T>], &mut [T]),
    ) {
        let length = self.length;
        let columns = self.columns(from, first);
        let next = self.columns(from, first + COLUMNS);
        // SAFETY: by the caller's word.
        unsafe { columns.take(lines) };
        for (c, line) in lines.chunks_mut(Columns::<T>::stride(length)).take(columns.width).enumerate() {
            next.soon(c, columns.width);
            f(first + c, &mut line[..length], scratch, factors);
        }
        // SAFETY: by the caller's word.
        unsafe { self.columns(to, first).put(lines) };
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
        for shape in [&[8][..], &[7], &[6, 10], &[5, 7], &[4, 6, 10], &[3, 5, 7], &[18, 20, 12], &[9, 40]] {
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

    #[test]
    fn a_convolution_is_two_transforms_with_a_product_between() {
        for shape in [&[6, 10][..], &[4, 6, 10]] {
            let lengths: Vec<f64> = shape.iter().map(|&n| n as f64).collect();
            let grid = Grid::new(shape, &lengths).expect("a grid");
            let fft = RealFft::<f64>::new(&grid);
            let mut field = vec![0.0; grid.len()];
            Stream::new(3, Purpose::Test, 1).fill_normal(&mut field);
            let inner = grid.half_len() / shape[0];
            let factor = |i: usize, line: usize| 1.0 / (1 + i * (shape[0] - i) + line) as f64;
            let mut spectrum = fft.make_spectrum();
            let mut expected = vec![0.0; grid.len()];
            fft.forward(&field, &mut spectrum);
            for (m, mode) in spectrum.iter_mut().enumerate() {
                *mode *= factor(m / inner, m % inner);
            }
            fft.inverse(&mut spectrum, &mut expected);
            fft.convolve(&mut field, &mut spectrum, |line, out| {
                out.iter_mut().enumerate().for_each(|(i, out)| *out = factor(i, line));
            });
            assert!(field.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-11), "{shape:?}");
        }
    }
}
