//! The Hartley transform: real modes in, real field out, orthonormal. Latents of fields live on its modes.

use lookback_operator::Real;
use lookback_operator::random::Stream;
use num_complex::Complex;
use rayon::prelude::*;

use crate::{Grid, RealFft};

/// `f(x) = N^-1/2 sum_k h(k) cas(k x)` with `cas = cos + sin`: symmetric, orthonormal, its own inverse.
///
/// Every mode `h(k)` of a real field is one real number, so white noise in a field's modes is one standard normal
/// number each. The transform rides on a [`RealFft`]: `F(k) = sqrt(N) [h(k) + h(-k) - i h(k) + i h(-k)] / 2`.
pub struct Hartley<T: Real> {
    grid: Grid,
    fft: RealFft<T>,
    mirror: Vec<usize>,
}

impl<T: Real> Hartley<T> {
    /// Plans for a grid.
    pub fn new(grid: &Grid) -> Hartley<T> {
        let mirror = (0..grid.rows()).map(|row| grid.mirror_row(row)).collect();
        Hartley { grid: grid.clone(), fft: RealFft::new(grid), mirror }
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// A zero half spectrum, the buffer of [`synthesize`](Hartley::synthesize) and [`analyze`](Hartley::analyze).
    pub fn make_spectrum(&self) -> Vec<Complex<T>> {
        self.fft.make_spectrum()
    }

    /// `field = Hartley(amplitude * modes)`, with the amplitude given on the half spectrum. Its adjoint is
    /// [`analyze`](Hartley::analyze).
    pub fn synthesize(&self, amplitude: &[T], modes: &[T], field: &mut [T], spectrum: &mut [Complex<T>]) {
        self.to_spectrum(amplitude, modes, spectrum);
        self.fft.inverse(spectrum, field);
    }

    /// The Fourier half of [`synthesize`](Hartley::synthesize): `amplitude * modes` as a spectrum whose inverse
    /// transform is the field.
    pub fn to_spectrum(&self, amplitude: &[T], modes: &[T], spectrum: &mut [Complex<T>]) {
        let (columns, half) = (self.grid.columns(), self.grid.half_columns());
        let scale = T::of(0.5 / (self.grid.len() as f64).sqrt());
        let lines = spectrum.par_chunks_mut(half).zip(amplitude.par_chunks(half)).enumerate();
        lines.for_each(|(row, (out, amplitude))| {
            let line = &modes[row * columns..][..columns];
            let mirrored = &modes[self.mirror[row] * columns..][..columns];
            for (column, (out, &amplitude)) in out.iter_mut().zip(amplitude).enumerate() {
                let (plus, minus) = (line[column], mirrored[(columns - column) % columns]);
                *out = Complex::new(plus + minus, minus - plus) * (amplitude * scale);
            }
        });
    }

    /// `modes = amplitude * Hartley(field)`: the adjoint of [`synthesize`](Hartley::synthesize).
    pub fn analyze(&self, amplitude: &[T], field: &[T], modes: &mut [T], spectrum: &mut [Complex<T>]) {
        self.fft.forward(field, spectrum);
        self.from_spectrum(amplitude, spectrum, modes);
    }

    /// The Fourier half of [`analyze`](Hartley::analyze), from the transform of the field.
    pub fn from_spectrum(&self, amplitude: &[T], spectrum: &[Complex<T>], modes: &mut [T]) {
        let (columns, half) = (self.grid.columns(), self.grid.half_columns());
        let scale = T::of(1.0 / (self.grid.len() as f64).sqrt());
        modes.par_chunks_mut(columns).enumerate().for_each(|(row, modes)| {
            let (line, mirrored) = (row * half, self.mirror[row] * half);
            for (column, mode) in modes.iter_mut().enumerate() {
                *mode = if column < half {
                    let f = spectrum[line + column];
                    (f.re - f.im) * amplitude[line + column] * scale
                } else {
                    let f = spectrum[mirrored + columns - column];
                    (f.re + f.im) * amplitude[mirrored + columns - column] * scale
                };
            }
        });
    }
}

/// White noise on the modes of a grid: the same numbers for the same wave numbers on every grid, whatever its
/// resolution, so that the modes of a coarse grid are the large-scale modes of a fine one.
pub fn white_modes<T: Real>(grid: &Grid, stream: Stream, modes: &mut [T]) {
    let columns = grid.columns();
    modes.par_chunks_mut(columns).enumerate().for_each(|(row, line)| {
        for (column, mode) in line.iter_mut().enumerate() {
            *mode = T::of(stream.mode(grid.integer_mode(row, column)));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::Purpose;

    fn noise(grid: &Grid) -> Vec<f64> {
        let mut modes = vec![0.0; grid.len()];
        white_modes(grid, Stream::new(5, Purpose::Signal, 0), &mut modes);
        modes
    }

    #[test]
    fn agrees_with_the_definition_and_is_its_own_inverse() {
        for shape in [[6, 8], [5, 7]] {
            let grid = Grid::new(&shape, &[1.0, 1.0]).expect("a grid");
            let (rows, columns) = (shape[0], shape[1]);
            let hartley = Hartley::<f64>::new(&grid);
            let (ones, modes) = (vec![1.0; grid.half_len()], noise(&grid));
            let (mut field, mut spectrum) = (vec![0.0; grid.len()], hartley.make_spectrum());
            hartley.synthesize(&ones, &modes, &mut field, &mut spectrum);
            for (i, &f) in field.iter().enumerate() {
                let cas = |m: usize| {
                    let phase = (i / columns * (m / columns)) as f64 / rows as f64
                        + (i % columns * (m % columns)) as f64 / columns as f64;
                    let phase = std::f64::consts::TAU * phase;
                    phase.cos() + phase.sin()
                };
                let sum: f64 = modes.iter().enumerate().map(|(m, h)| h * cas(m)).sum();
                assert!((f - sum / (grid.len() as f64).sqrt()).abs() < 1e-12);
            }
            let mut back = vec![0.0; grid.len()];
            hartley.analyze(&ones, &field, &mut back, &mut spectrum);
            assert!(modes.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn a_coarse_grid_holds_the_large_scale_modes_of_a_fine_one() {
        let coarse = Grid::new(&[8, 8], &[1.0, 1.0]).expect("a grid");
        let fine = Grid::new(&[12, 20], &[1.0, 1.0]).expect("a grid");
        let (a, b) = (noise(&coarse), noise(&fine));
        for i in 0..8 {
            for j in 0..8 {
                let k = coarse.integer_mode(i, j);
                let (row, column) = (k[1].rem_euclid(12) as usize, k[2].rem_euclid(20) as usize);
                assert_eq!(a[i * 8 + j], b[row * 20 + column]);
            }
        }
    }
}
