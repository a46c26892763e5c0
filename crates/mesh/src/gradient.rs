//! The gradient of a potential at particles, without a mesh of vectors: differences are taken where a particle reads.

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::Cic;
use crate::lanes::{LANES, Lanes, widest};
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
}

impl<T: Real> Around<T> for Taps<T> {
    fn new(cloud: &Cloud) -> Box<Taps<T>> {
        let starts = [[[0; TOGETHER]; REACH]; 2];
        Box::new(Taps { places: Places::new(cloud), starts })
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
        let Taps { places, starts } = around;
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
        // The tile goes from plane to plane, so that the last ones are new to it. Neighbours along a row mostly share a cache line.
        let columns = &places.points[2][0];
        for planes in &starts[0][BELOW + 2..] {
            for lines in &starts[1][BELOW..BELOW + 2] {
                for k in (0..TOGETHER).step_by(2) {
                    L::soon(self.potential, (planes[k] + lines[k] + columns[k]) as usize);
                }
            }
        }
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(&self, around: &Taps<T>, particles: Particles, [g, _]: &mut [[Vec<T>; 3]; 2]) {
        let stencil = Stencil::<L>::new(self.coefficients);
        let mut read = [[T::zero(); LANES]; TOGETHER];
        let mut block = [[T::zero(); SPAN]; REACH * REACH];
        for (k, out) in read[..particles.count].iter_mut().enumerate() {
            let column = around.places.points[2][0][k] as usize;
            *out = if column >= BELOW && column - BELOW + SPAN <= self.cells {
                let [planes, lines] = around.starts_of(k);
                let planes = planes.map(|plane| plane + column - BELOW);
                around.gradient(k, self.potential, [planes, lines], &stencil)
            } else {
                self.copy_around(around, k, &mut block);
                let starts: [usize; REACH] = std::array::from_fn(|t| t * SPAN);
                around.gradient(
                    k,
                    block.as_flattened(),
                    [starts.map(|start| start * REACH), starts],
                    &stencil,
                )
            };
        }
        apart(&read[..particles.count], particles.from, g);
        let rest = g[2][particles.from..].iter_mut().zip(&read[..particles.count]);
        rest.for_each(|(g, read)| *g += read[3]);
    }

    #[inline(always)]
    fn finish(&mut self, plane: usize, row: usize, side: usize, [g, _]: &[[Vec<T>; 3]; 2]) {
        let vectors = self.vectors[plane].each_mut().map(|vectors| row_of(vectors, row, side));
        (self.f)(vectors, g.each_ref().map(|g| &g[..]));
    }
}

impl<T: Real, F> ReadGradient<'_, '_, T, F> {
    /// Copies the points around particle `k` from where a line begins anew among them: those which a difference takes.
    #[cold]
    fn copy_around(&self, around: &Taps<T>, k: usize, block: &mut [[T; SPAN]; REACH * REACH]) {
        let [planes, lines] = around.starts_of(k);
        let column = around.places.points[2][0][k] as usize;
        let (mut columns, mut next) = ([0; SPAN], (column + self.cells - BELOW) % self.cells);
        for column in &mut columns {
            *column = next;
            next = if next + 1 == self.cells { 0 } else { next + 1 };
        }
        let inside = BELOW..BELOW + 2;
        for (i, plane) in planes.into_iter().enumerate() {
            for (j, line) in lines.into_iter().enumerate() {
                let taken = match (inside.contains(&i), inside.contains(&j)) {
                    (true, true) => 0..SPAN,
                    (false, false) => continue,
                    _ => inside.clone(),
                };
                let line = &self.potential[plane + line..][..self.cells];
                let block = &mut block[i * REACH + j];
                taken.for_each(|c| block[c] = line[columns[c]]);
            }
        }
    }
}

/// What makes the weights of a particle of its fractions of a cell. The window weighs the first of two points by `1 - fraction` and
/// the second by `fraction`, so every weight is a number and a slope times a fraction; to compute them takes less time than to load them.
struct Stencil<L> {
    /// The coefficients of the differences, their negatives, and `near - far`: numbers and slopes of the planes and lines beside.
    far: L,
    minus_far: L,
    minus_near: L,
    change: L,
    /// Numbers and slopes of the weights of the two planes or lines, for the pair of columns in each;
    pairs: [L; 2],
    /// of the two columns in each pair;
    columns: [L; 2],
    /// of the two columns in what is loaded of a line, times `near`;
    inner: [L; 2],
    /// and of the differences along a line.
    along: [L; 2],
}

impl<L> Stencil<L> {
    #[inline(always)]
    fn new<T: Real>([near, far]: [T; 2]) -> Stencil<L>
    where
        L: Lanes<T>,
    {
        let (zero, one) = (T::zero(), T::one());
        Stencil {
            far: L::each([far, far]),
            minus_far: L::each([-far, -far]),
            minus_near: L::each([-near, -near]),
            change: L::each([near - far, near - far]),
            pairs: [L::load(&[[one, one, zero, zero]; 2]), L::load(&[[-one, -one, one, one]; 2])],
            columns: [L::load(&[[one, zero, one, zero]; 2]), L::load(&[[-one, one, -one, one]; 2])],
            inner: [L::load(&[[zero, zero, near, zero]; 2]), L::load(&[[zero, zero, -near, near]; 2])],
            along: [
                L::load(&[[-far, -near, zero, near], [far, zero, zero, zero]]),
                L::load(&[[far, near - far, -near, -near], [near - far, far, zero, zero]]),
            ],
        }
    }
}

impl<T: Real> Taps<T> {
    /// First points of the planes and lines of particle `k`.
    #[inline(always)]
    fn starts_of(&self, k: usize) -> [[usize; REACH]; 2] {
        let [planes, lines] = &self.starts;
        let (mut of_planes, mut of_lines) = ([0; REACH], [0; REACH]);
        for t in 0..REACH {
            of_planes[t] = planes[t][k] as usize;
            of_lines[t] = lines[t][k] as usize;
        }
        [of_planes, of_lines]
    }

    /// The gradient at particle `k`, its last component as a sum of two numbers, from the first points of its planes and lines: from
    /// each of them on, `SPAN` points must lie in the potential, which is not checked here.
    #[inline(always)]
    fn gradient<L: Lanes<T>>(
        &self,
        k: usize,
        potential: &[T],
        [planes, lines]: [[usize; REACH]; 2],
        stencil: &Stencil<L>,
    ) -> [T; LANES] {
        let pair = |plane: usize, line: usize| -> &[T; 2] {
            let start = planes[plane] + lines[line] + BELOW;
            debug_assert!(start + 2 <= potential.len());
            // SAFETY: the caller gives planes and lines that lie in the potential, for `SPAN` points from their first on.
            unsafe { &*potential.as_ptr().add(start).cast() }
        };
        let pairs = |t: usize| {
            L::load_pairs([[pair(t, BELOW), pair(t, BELOW + 1)], [pair(BELOW, t), pair(BELOW + 1, t)]])
        };
        let line = |plane: usize, line: usize| {
            let start = planes[plane] + lines[line];
            debug_assert!(start + SPAN <= potential.len());
            // SAFETY: as above.
            L::load(unsafe { &*potential.as_ptr().add(start).cast() })
        };
        let [x, y, z] = &self.places.fraction;
        let (x, y, z) = (x[k], y[k], z[k]);
        // Planes and lines beside the particle, of which it takes two columns: the pairs of both lines, and of both planes.
        let by = L::each([x, y]);
        let beside = L::zero()
            .plus_product(stencil.minus_far.plus_product(stencil.far, by), pairs(0))
            .plus_product(stencil.minus_near.plus_product(stencil.change, by), pairs(1))
            .plus_product(stencil.far.plus_product(stencil.change, by), pairs(4))
            .plus_product(L::zero().plus_product(stencil.far, by), pairs(5));
        // The four lines around it: planes summed over lines, lines summed over planes, and differences of these.
        let (a, b) = (line(BELOW, BELOW), line(BELOW, BELOW + 1));
        let (c, d) = (line(BELOW + 1, BELOW), line(BELOW + 1, BELOW + 1));
        let (by_x, by_y, by_z) = (L::each([x, x]), L::each([y, y]), L::each([z, z]));
        let (plane, next_plane) = (a.plus_difference(by_y, b, a), c.plus_difference(by_y, d, c));
        let (line, next_line) = (a.plus_difference(by_x, c, a), b.plus_difference(by_x, d, b));
        let along = plane.plus_difference(by_x, next_plane, plane);
        let across_planes = next_plane.less_product(by_x, plane).less_product(by_x, next_plane);
        let across_lines = next_line.less_product(by_y, line).less_product(by_y, next_line);
        let weights = |[at, slope]: &[L; 2], by: L| at.plus_product(*slope, by);
        let beside = L::zero().plus_product(beside, weights(&stencil.pairs, L::each([y, x])));
        L::zero()
            .plus_product(beside, weights(&stencil.columns, by_z))
            .plus_product(across_planes.firsts(across_lines), weights(&stencil.inner, by_z))
            .sums_with(L::zero().plus_product(along, weights(&stencil.along, by_z)))
    }
}
