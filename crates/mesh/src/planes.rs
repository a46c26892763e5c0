//! Half of a transform: planes of modes along the last two axes, at cells of the first.
//!
//! Fields whose spectra are one spectrum times functions of single wave numbers share the half of the way that crosses planes, and
//! what is done to them cell by cell can be done while a plane is in the cache.

use lookback_operator::Real;
use num_complex::Complex;

use crate::RealFft;
use crate::fft::{Axis, Buffers, Line};
use crate::real_lines::Scratch;

/// The transforms of one plane of the last two axes, with their scratch: one a thread.
pub struct Plane<'a, T: Real> {
    fft: &'a RealFft<T>,
    scratch: Scratch<T>,
    buffers: Option<Buffers<T>>,
    /// A plane between its axes, which stays in the cache.
    between: Vec<Complex<T>>,
}

impl<T: Real> RealFft<T> {
    /// The transforms of a plane.
    pub fn plane(&self) -> Plane<'_, T> {
        Plane {
            fft: self,
            scratch: self.last.scratch(),
            buffers: self.middle.as_ref().map(Axis::buffers),
            between: Vec::new(),
        }
    }

    /// Does `f(line, kernel, lines from, lines to)` to every line along the first axis, where `line` counts the modes of the other axes: `f`
    /// sees the lines of the spectra or planes `from`, which it may use as scratch, and fills those of `to`.
    ///
    /// # Panics
    /// If a length differs from that of the half spectrum, or the grid has one axis.
    pub fn lines<const A: usize, const B: usize>(
        &self,
        from: [&[Complex<T>]; A],
        to: [&mut [Complex<T>]; B],
        f: impl Fn(usize, &mut Line<'_, T>, [&mut [Complex<T>]; A], [&mut [Complex<T>]; B]) + Sync,
    ) {
        let Some(axis) = &self.first else { panic!("lines along the first of two axes or more") };
        axis.between_arrays(from, to, f);
    }
}

impl<T: Real> Plane<'_, T> {
    /// From cells to modes along the last two axes.
    ///
    /// # Panics
    /// If a length differs from that of a plane.
    pub fn forward(&mut self, field: &[T], modes: &mut [Complex<T>]) {
        let fft = self.fft;
        fft.check_plane(field.len(), modes.len());
        for (out, input) in modes.chunks_mut(fft.half).zip(field.chunks(fft.columns)) {
            fft.last.forward(input, out, &mut self.scratch);
        }
        if let Some((axis, buffers)) = fft.middle.as_ref().zip(self.buffers.as_mut()) {
            axis.along_plane(modes, axis.forward.as_ref(), buffers);
        }
    }

    /// From modes to cells along the last two axes, not normalised; the modes may be destroyed. Those which are their own
    /// conjugates are taken as real.
    ///
    /// # Panics
    /// If a length differs from that of a plane.
    pub fn inverse(&mut self, modes: &mut [Complex<T>], field: &mut [T]) {
        let fft = self.fft;
        fft.check_plane(field.len(), modes.len());
        let modes = match fft.middle.as_ref().zip(self.buffers.as_mut()) {
            Some((axis, buffers)) => {
                self.between.resize(modes.len(), Complex::default());
                axis.to_plane(modes, &mut self.between, axis.inverse.as_ref(), buffers);
                &mut self.between[..]
            }
            None => modes,
        };
        for (out, line) in field.chunks_mut(fft.columns).zip(modes.chunks_mut(fft.half)) {
            fft.last.inverse(line, out, &mut self.scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;
    use lookback_operator::random::{Purpose, Stream};

    #[test]
    fn filters_are_products_before_or_after_a_transform() {
        for shape in [&[6, 10][..], &[4, 6, 10], &[3, 5, 7]] {
            let lengths: Vec<f64> = shape.iter().map(|&n| n as f64).collect();
            let grid = Grid::new(shape, &lengths).expect("a grid");
            let fft = RealFft::<f64>::new(&grid);
            let mut field = vec![0.0; grid.len()];
            Stream::new(2, Purpose::Test, 0).fill_normal(&mut field);
            let lines = grid.half_len() / shape[0];
            let factor = |line: usize, i: usize| Complex::new(1.0 + line as f64, i as f64 - 0.5);
            let filter = |line: usize, modes: &mut [Complex<f64>], room: &mut [f64]| {
                assert_eq!(room.len(), modes.len());
                modes.iter_mut().enumerate().for_each(|(i, mode)| *mode *= factor(line, i));
            };
            let (mut spectrum, mut scratch) = (fft.make_spectrum(), fft.make_spectrum());
            fft.forward(&field, &mut spectrum);
            let product = |modes: &[Complex<f64>]| -> Vec<Complex<f64>> {
                let numbered = modes.iter().enumerate();
                numbered.map(|(m, mode)| *mode * factor(m % lines, m / lines)).collect()
            };
            let (mut expected, mut found) = (field.clone(), field.clone());
            fft.inverse(&mut product(&spectrum), &mut expected);
            fft.lines([&spectrum], [&mut scratch], |line, kernel, [modes], [out]| {
                filter(line, modes, kernel.factors);
                kernel.inverse(modes);
                out.copy_from_slice(modes);
            });
            let (cells, modes) = (grid.len() / shape[0], scratch.len() / shape[0]);
            let mut plane = fft.plane();
            for (field, modes) in found.chunks_mut(cells).zip(scratch.chunks_mut(modes)) {
                // Of two axes, a plane is a line.
                plane.inverse(modes, field);
            }
            assert_eq!(expected, found);
            for (field, modes) in field.chunks(cells).zip(scratch.chunks_mut(modes)) {
                plane.forward(field, modes);
            }
            let mut onto = fft.make_spectrum();
            fft.lines([&scratch, &spectrum], [&mut onto], |line, kernel, [modes, start], [onto]| {
                kernel.forward(modes);
                filter(line, modes, kernel.factors);
                onto.iter_mut()
                    .zip(start)
                    .zip(modes)
                    .for_each(|((onto, start), more)| *onto = *start + *more);
            });
            for ((onto, start), more) in onto.iter().zip(&spectrum).zip(product(&spectrum)) {
                assert!((*onto - (start + more)).norm() < 1e-12 * more.norm().max(1.0));
            }
        }
    }

    #[test]
    fn lines_and_planes_make_a_transform() {
        let grid = Grid::new(&[6, 10, 36], &[1.0; 3]).expect("a grid");
        let fft = RealFft::<f64>::new(&grid);
        let mut field = vec![0.0; grid.len()];
        Stream::new(5, Purpose::Test, 0).fill_normal(&mut field);
        let mut spectrum = fft.make_spectrum();
        fft.forward(&field, &mut spectrum);
        let [mut same, mut twice] = [fft.make_spectrum(), fft.make_spectrum()];
        fft.lines([&spectrum], [&mut same, &mut twice], |line, kernel, [modes], [same, twice]| {
            same.copy_from_slice(modes);
            kernel.inverse(same);
            kernel.inverse(modes);
            twice.iter_mut().zip(modes).for_each(|(out, mode)| *out = *mode * line as f64);
        });
        let cells = grid.len() / 6;
        let mut plane = fft.plane();
        let (mut back, mut modes) = (vec![0.0; cells], vec![Complex::default(); same.len() / 6]);
        for i in 0..6 {
            let of = |data: &[Complex<f64>]| data[i * modes.len()..][..modes.len()].to_vec();
            let there = of(&same);
            let weighted = there.iter().enumerate().map(|(line, mode)| *mode * line as f64);
            assert!(weighted.zip(of(&twice)).all(|(a, b)| (a - b).norm() < 1e-9));
            plane.inverse(&mut there.clone(), &mut back);
            let expected = &field[i * cells..][..cells];
            assert!(expected.iter().zip(&back).all(|(a, b)| (a * grid.len() as f64 - b).abs() < 1e-9));
            plane.forward(expected, &mut modes);
            assert!(modes.iter().zip(&there).all(|(a, b)| (*a * 6.0 - b).norm() < 1e-9));
        }
    }
}
