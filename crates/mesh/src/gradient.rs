//! The gradient of a potential at particles, without a mesh of vectors: differences are taken where a particle reads.

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::Cic;
use crate::lanes::{Lanes, widest};
use crate::places::{Few, Places, TOGETHER};
use crate::visit::{Around, Particles, PlaneOf, Scratch, Visit, Work, apart, row_of};
use crate::{Cloud, Differences, RowOf, Window};

/// Points along an axis that the differences at the two points around a particle take.
const REACH: usize = 6;

/// Those of them below the first of the two.
const BELOW: usize = 2;

/// Points of a line that are loaded together.
const SPAN: usize = 8;

/// Cells of the mesh beside particles, along an axis, from which on particles take differences themselves.
const FINER: f64 = 1.5;

/// Whether [`visit_gradient`](Cloud::visit_gradient) can be used and takes less time than a field of differences: clouds in
/// cells on a mesh that is finer than the lattice by half or more.
pub fn reads_gradients(side: usize, cells: usize, window: Window) -> bool {
    window == Window::Cic && cells as f64 >= FINER * side as f64
}

impl Cloud {
    /// Reads `g_d(p) = sum_m W(x_p - m) (D_d phi)(m)` of a potential `phi` for each row of particles, and hands them to
    /// `f(displacements, momenta, g)`, which may move the particles: as [`visit_forces`](Cloud::visit_forces) of a field of
    /// differences, for clouds in cells.
    ///
    /// Each particle takes 56 numbers of the potential where it takes 8 points of four numbers of a field, so it pays where
    /// the mesh is [finer](reads_gradients) than the lattice; and it needs no memory.
    ///
    /// # Panics
    /// If the window is another, or sizes differ.
    pub fn visit_gradient<T: Real>(
        &self,
        x: &mut [T],
        p: &mut [T],
        (potential, kernel): (&[T], Differences),
        f: impl Fn(RowOf<'_, T>, RowOf<'_, T>, [&[T]; 3]) + Sync,
    ) {
        assert_eq!(self.window(), Window::Cic, "window of the particles");
        assert_eq!(potential.len(), self.mesh_len(), "length of the potential");
        let coefficients = kernel.coefficients.map(|c| T::of(c * self.inverse_spacing));
        self.tiles([x, p]).into_par_iter().for_each_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                widest(Visit {
                    cloud: self,
                    rows: tile.rows.clone(),
                    planes: tile.planes.clone(),
                    scratch,
                    work: ReadGradient {
                        vectors: &mut tile.vectors,
                        potential,
                        cells: self.cells,
                        coefficients,
                        f: |[x, p]: [RowOf<'_, T>; 2], g: [&[T]; 3]| f(x, p, g),
                    },
                });
            },
        );
    }
}

/// A few particles, and the planes and lines of mesh points that their differences take.
struct Taps<T> {
    places: Places<T>,
    /// First points of planes and lines, from two below the first point of the window to two beyond its last.
    starts: [[Few<u32>; REACH]; 2],
    /// Weights of the planes, lines and columns: the window times the differences.
    taps: [[Few<T>; REACH]; 3],
}

impl<T: Real> Around<T> for Taps<T> {
    fn new(cloud: &Cloud) -> Box<Taps<T>> {
        let starts = [[[0; TOGETHER]; REACH]; 2];
        let taps = [[[T::zero(); TOGETHER]; REACH]; 3];
        Box::new(Taps { places: Places::new(cloud), starts, taps })
    }

    fn places(&mut self) -> &mut Places<T> {
        &mut self.places
    }
}

/// Reads the gradient of a potential.
struct ReadGradient<'a, 'b, T, F> {
    /// Displacements and others of the planes.
    vectors: &'a mut [[PlaneOf<'b, T>; 2]],
    potential: &'a [T],
    cells: usize,
    coefficients: [T; 2],
    f: F,
}

impl<T: Real, F: FnMut([RowOf<'_, T>; 2], [&[T]; 3])> Work<T> for ReadGradient<'_, '_, T, F> {
    type Shape = Cic;
    type Around = Taps<T>;
    const SLOPES: bool = false;
    const FETCH: bool = true;

    #[inline(always)]
    fn vectors(&self, plane: usize) -> &[PlaneOf<'_, T>] {
        &self.vectors[plane]
    }

    #[inline(always)]
    fn look<L: Lanes<T>>(&self, around: &mut Taps<T>) {
        let Taps { places, starts, taps } = around;
        let cells = self.cells as i32;
        for (axis, (starts, stride)) in
            starts.iter_mut().zip([self.cells * self.cells, self.cells]).enumerate()
        {
            for (t, starts) in starts.iter_mut().enumerate() {
                for (start, point) in starts.iter_mut().zip(&places.points[axis][0]) {
                    let point = *point as i32 + (t as i32 - BELOW as i32);
                    let point = point + if point < 0 { cells } else { 0 };
                    let point = point - if point >= cells { cells } else { 0 };
                    *start = point as u32 * stride as u32;
                }
            }
        }
        // The tile goes from plane to plane, so that the last ones are new to it.
        let columns = &places.points[2][0];
        for planes in &starts[0][BELOW + 2..] {
            for lines in &starts[1][BELOW..BELOW + 2] {
                for k in 0..TOGETHER {
                    L::soon(self.potential, (planes[k] + lines[k] + columns[k]) as usize);
                }
            }
        }
        let [near, far] = self.coefficients;
        // Differences at the two points of the window, weighted: `low D(m) + high D(m + 1)`.
        for (taps, [low, high, _]) in taps.iter_mut().zip(&places.weights) {
            for k in 0..TOGETHER {
                let (low, high) = (low[k], high[k]);
                taps[0][k] = -far * low;
                taps[1][k] = -near * low - far * high;
                taps[2][k] = -near * high;
                taps[3][k] = near * low;
                taps[4][k] = far * low + near * high;
                taps[5][k] = far * high;
            }
        }
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(&self, around: &Taps<T>, particles: Particles, [g, _]: &mut [[Vec<T>; 3]; 2]) {
        let mut read = [[T::zero(); 3]; TOGETHER];
        for (k, out) in read[..particles.count].iter_mut().enumerate() {
            let column = around.places.points[2][0][k] as usize;
            let (mut planes, mut lines) = ([0; REACH], [0; REACH]);
            for t in 0..REACH {
                planes[t] = around.starts[0][t][k] as usize;
                lines[t] = around.starts[1][t][k] as usize;
            }
            *out = if column >= BELOW && column - BELOW + SPAN <= self.cells {
                planes.iter_mut().for_each(|plane| *plane += column - BELOW);
                around.gradient::<L>(k, self.potential, planes, lines)
            } else {
                let block = self.block_around(planes, lines, column);
                let starts: [usize; REACH] = std::array::from_fn(|t| t * SPAN);
                around.gradient::<L>(k, block.as_flattened(), starts.map(|start| start * REACH), starts)
            };
        }
        apart(&read[..particles.count], particles.from, g);
    }

    #[inline(always)]
    fn finish(&mut self, plane: usize, row: usize, side: usize, [g, _]: &[[Vec<T>; 3]; 2]) {
        let vectors = self.vectors[plane].each_mut().map(|vectors| row_of(vectors, row, side));
        (self.f)(vectors, g.each_ref().map(|g| &g[..]));
    }
}

impl<T: Real, F> ReadGradient<'_, '_, T, F> {
    /// The points around a particle, copied from where a line begins anew among them.
    #[cold]
    fn block_around(
        &self,
        planes: [usize; REACH],
        lines: [usize; REACH],
        column: usize,
    ) -> [[T; SPAN]; REACH * REACH] {
        let mut block = [[T::zero(); SPAN]; REACH * REACH];
        let mut columns = [0; SPAN];
        for (c, out) in columns.iter_mut().enumerate() {
            *out = (column + self.cells + c - BELOW) % self.cells;
        }
        let inside = BELOW..BELOW + 2;
        for (i, plane) in planes.into_iter().enumerate() {
            for (j, line) in lines.into_iter().enumerate() {
                // No difference takes points away from the particle along two axes.
                if inside.contains(&i) || inside.contains(&j) {
                    let line = &self.potential[plane + line..][..self.cells];
                    let block = &mut block[i * REACH + j];
                    block.iter_mut().zip(columns).for_each(|(out, column)| *out = line[column]);
                }
            }
        }
        block
    }
}

impl<T: Real> Taps<T> {
    /// The gradient at particle `k`, from the first points of its planes and lines: from each of them on, `SPAN` points must lie in
    /// the potential, which is not checked here.
    #[inline(always)]
    fn gradient<L: Lanes<T>>(
        &self,
        k: usize,
        potential: &[T],
        planes: [usize; REACH],
        lines: [usize; REACH],
    ) -> [T; 3] {
        let pair = |plane: usize, line: usize| -> &[T; 2] {
            let start = planes[plane] + lines[line] + BELOW;
            debug_assert!(start + 2 <= potential.len());
            // SAFETY: the caller gives planes and lines that lie in the potential, for `SPAN` points from their first on.
            unsafe { &*potential.as_ptr().add(start).cast() }
        };
        let line = |plane: usize, line: usize| -> &[[T; 4]; 2] {
            let start = planes[plane] + lines[line];
            debug_assert!(start + SPAN <= potential.len());
            // SAFETY: as above.
            unsafe { &*potential.as_ptr().add(start).cast() }
        };
        let [x, y, z] = &self.places.weights;
        let [x, y, z] = [[x[0][k], x[1][k]], [y[0][k], y[1][k]], [z[0][k], z[1][k]]];
        let [taps_x, taps_y, taps_z] = &self.taps;
        // The four lines of columns beside the particle, plane by plane and line by line.
        let mut across = L::zero();
        for t in 0..REACH {
            let points =
                L::load_pairs([[pair(t, BELOW), pair(t, BELOW + 1)], [pair(BELOW, t), pair(BELOW + 1, t)]]);
            across = across.plus_each([taps_x[t][k], taps_y[t][k]], points);
        }
        let mut along = L::zero();
        for (i, x) in x.into_iter().enumerate() {
            for (j, y) in y.into_iter().enumerate() {
                along = along.plus(x * y, L::load(line(BELOW + i, BELOW + j)));
            }
        }
        let [by_x, by_y] = across.store();
        let sum = |by: [T; 4], other: [T; 2]| {
            other[0] * (z[0] * by[0] + z[1] * by[1]) + other[1] * (z[0] * by[2] + z[1] * by[3])
        };
        let by_z = along.store();
        let by_z = by_z.as_flattened();
        let along = (0..REACH).fold(T::zero(), |sum, c| sum + taps_z[c][k] * by_z[c]);
        [sum(by_x, y), sum(by_y, x), along]
    }
}
