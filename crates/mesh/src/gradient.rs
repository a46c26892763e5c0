//! The gradient of a potential at particles, without a mesh of vectors: differences are taken where a particle reads.

use std::ops::Range;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::Cic;
use crate::lanes::{LANES, Lanes, SPAN};
use crate::places::{Few, Places, TOGETHER};
use crate::visit::{Around, Particles, PlaneOf, Scratch, Work, apart, visit};
use crate::{Cloud, Differences, RowOf, Window};

/// Points along an axis that the differences at the two points around a particle take.
pub(crate) const REACH: usize = 6;

/// Those of them below the first of the two.
pub(crate) const BELOW: usize = 2;

/// Cells of the mesh beside particles, along an axis, from which on particles take differences themselves. (Measured for reading forwards;
/// on the way back, twice as many cells gain time and all gain memory.)
const FINER: f64 = 1.5;

/// Whether particles are to take differences of a potential themselves, forwards with [`visit_gradient`](Cloud::visit_gradient) and with
/// its derivatives, which takes less time than a field of differences and no memory: clouds in cells on a mesh that is finer
/// than the lattice by half or more.
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
        let coefficients = self.coefficients(kernel);
        self.tiles([x, p]).into_par_iter().for_each_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                let work = ReadGradient { potential, cells: self.cells, coefficients };
                visit(self, &mut tile, scratch, work, |[x, p], [g, _]| f(x, p, g));
            },
        );
    }
}

/// A few particles, and the planes and lines of mesh points that their differences take.
pub(crate) struct Taps<T> {
    pub(crate) places: Places<T>,
    /// First points of planes and lines, from two below the first point of the window to two beyond its last.
    pub(crate) starts: [[Few<u32>; REACH]; 2],
}

/// First points of the planes and lines around a particle.
pub(crate) type Starts = [[usize; REACH]; 2];

/// Pairs of points in the columns of the window, two by two, by plane and line.
pub(crate) type Pairs = [[[usize; 2]; 2]; 2];

/// Those of the window, those of its first plane first.
pub(crate) const WINDOW: Pairs =
    [[[BELOW, BELOW], [BELOW, BELOW + 1]], [[BELOW + 1, BELOW], [BELOW + 1, BELOW + 1]]];

/// Those in the plane `t`, of both lines of the window, and those in the line `t`, of both planes.
pub(crate) const fn beside(t: usize) -> Pairs {
    [[[t, BELOW], [t, BELOW + 1]], [[BELOW, t], [BELOW + 1, t]]]
}

/// Where a pair begins.
#[inline(always)]
pub(crate) fn pair([planes, lines]: &Starts, [plane, line]: [usize; 2]) -> usize {
    planes[plane] + lines[line] + BELOW
}

/// Takes pairs from a mesh. `SPAN` points from the first of each plane and line on must lie in it, which is not checked here.
#[inline(always)]
pub(crate) fn load<T: Real, L: Lanes<T>>([[a, b], [c, d]]: Pairs, mesh: &[T], starts: &Starts) -> L {
    let at = |place: [usize; 2]| -> &[T; 2] {
        let start = pair(starts, place);
        debug_assert!(start + 2 <= mesh.len());
        // SAFETY: whoever gives the starts sees to it that pairs lie in the mesh.
        unsafe { &*mesh.as_ptr().add(start).cast() }
    };
    L::load_pairs([[at(a), at(b)], [at(c), at(d)]])
}

/// The points of one of the four lines of the window, under the same condition: those of its first plane come first.
#[inline(always)]
pub(crate) fn line<'a, T>(mesh: &'a [T], starts: &Starts, at: usize) -> &'a [[T; LANES]; 2] {
    let start = line_start(starts, at);
    debug_assert!(start + SPAN <= mesh.len());
    // SAFETY: as in `load`.
    unsafe { &*mesh.as_ptr().add(start).cast() }
}

/// Where one of the four lines of the window begins.
#[inline(always)]
pub(crate) fn line_start([planes, lines]: &Starts, at: usize) -> usize {
    planes[BELOW + at / 2] + lines[BELOW + at % 2]
}

/// Points around a particle, copied from where a line begins anew among them.
pub(crate) type Block<T> = [[T; SPAN]; REACH * REACH];

/// First points of the planes and lines of a [`Block`].
pub(crate) const STARTS_OF_BLOCK: Starts = {
    let mut starts = [[0; REACH]; 2];
    let mut t = 0;
    while t < REACH {
        starts[0][t] = t * SPAN * REACH;
        starts[1][t] = t * SPAN;
        t += 1;
    }
    starts
};

impl<T: Real> Around<T> for Taps<T> {
    fn new(cloud: &Cloud) -> Box<Taps<T>> {
        let starts = [[[0; TOGETHER]; REACH]; 2];
        Box::new(Taps { places: Places::new(cloud), starts })
    }

    fn places(&mut self) -> &mut Places<T> {
        &mut self.places
    }
}

impl<T: Real> Taps<T> {
    /// Looks around the few particles whose places are found, and asks for the memory of the potential there.
    #[inline(always)]
    pub(crate) fn look<L: Lanes<T>>(&mut self, cells: usize, potential: &[T]) {
        for (axis, stride) in [cells * cells, cells].into_iter().enumerate() {
            self.points(axis, cells, |point| point * stride as u32);
        }
        // The tile goes from plane to plane, so that the last ones are new to it.
        self.soon::<L>(potential, BELOW + 2..REACH);
    }

    /// Asks for the memory of the window's lines in some planes. Neighbours along a row mostly share a cache line.
    #[inline(always)]
    pub(crate) fn soon<L: Lanes<T>>(&self, mesh: &[T], planes: Range<usize>) {
        let columns = &self.places.points[2][0];
        for planes in &self.starts[0][planes] {
            for lines in &self.starts[1][BELOW..BELOW + 2] {
                for k in (0..TOGETHER).step_by(2) {
                    L::soon(mesh, planes[k].wrapping_add(lines[k] + columns[k]) as usize);
                }
            }
        }
    }

    /// Makes starts of the points that differences take along an axis.
    #[inline(always)]
    pub(crate) fn points(&mut self, axis: usize, cells: usize, start_of: impl Fn(u32) -> u32) {
        let cells = cells as i32;
        for (t, starts) in self.starts[axis].iter_mut().enumerate() {
            for (start, point) in starts.iter_mut().zip(&self.places.points[axis][0]) {
                let point = *point as i32 + (t as i32 - BELOW as i32);
                let point = point + if point < 0 { cells } else { 0 };
                let point = point - if point >= cells { cells } else { 0 };
                *start = start_of(point as u32);
            }
        }
    }

    /// First points of the planes and lines of particle `k`.
    #[inline(always)]
    pub(crate) fn starts_of(&self, k: usize) -> Starts {
        let [planes, lines] = &self.starts;
        let (mut of_planes, mut of_lines) = ([0; REACH], [0; REACH]);
        for t in 0..REACH {
            of_planes[t] = planes[t][k] as usize;
            of_lines[t] = lines[t][k] as usize;
        }
        [of_planes, of_lines]
    }

    /// The first column that particle `k` takes of a line, if those after it lie side by side, and if `SPAN` points from there on, of
    /// which the last ones count nothing, lie in the mesh.
    #[inline(always)]
    pub(crate) fn side_by_side(&self, k: usize, cells: usize) -> Option<usize> {
        let column = self.places.points[2][0][k] as usize;
        let last = ((cells - 1) * cells) as u32;
        let [_, lines] = &self.starts;
        let room = column + SPAN - BELOW <= cells || (lines[BELOW][k] != last && lines[BELOW + 1][k] != last);
        (column >= BELOW && column + REACH - BELOW <= cells && room).then(|| column - BELOW)
    }

    /// The columns that particle `k` takes of a line.
    pub(crate) fn columns_of(&self, k: usize, cells: usize) -> [usize; REACH] {
        let column = self.places.points[2][0][k] as usize;
        let (mut columns, mut next) = ([0; REACH], (column + cells - BELOW) % cells);
        for column in &mut columns {
            *column = next;
            next = if next + 1 == cells { 0 } else { next + 1 };
        }
        columns
    }

    /// Copies the points around particle `k` that its window takes.
    #[cold]
    pub(crate) fn copy_window(&self, k: usize, cells: usize, mesh: &[T], block: &mut Block<T>) {
        let [planes, lines] = self.starts_of(k);
        let columns = self.columns_of(k, cells);
        for i in BELOW..BELOW + 2 {
            for j in BELOW..BELOW + 2 {
                let line = &mesh[planes[i] + lines[j]..][..cells];
                let block = &mut block[i * REACH + j];
                (BELOW..BELOW + 2).for_each(|c| block[c] = line[columns[c]]);
            }
        }
    }

    /// Copies the points around particle `k` that differences take.
    #[cold]
    pub(crate) fn copy_around(&self, k: usize, cells: usize, potential: &[T], block: &mut Block<T>) {
        let [planes, lines] = self.starts_of(k);
        let columns = self.columns_of(k, cells);
        for (i, j) in LINES {
            let line = &potential[planes[i] + lines[j]..][..cells];
            let block = &mut block[i * REACH + j];
            taken(i, j).for_each(|c| block[c] = line[columns[c]]);
        }
    }
}

/// The lines of a [`Block`] that a difference takes, by plane and line.
const LINES: [(usize, usize); 20] = {
    let (mut lines, mut n, mut t) = ([(0, 0); 20], 0, 0);
    while t < REACH * REACH {
        let (i, j) = (t / REACH, t % REACH);
        if inside(i) || inside(j) {
            lines[n] = (i, j);
            n += 1;
        }
        t += 1;
    }
    lines
};

/// Whether a point of those that differences take is one of the window.
const fn inside(t: usize) -> bool {
    t >= BELOW && t < BELOW + 2
}

/// The points of one of these [`LINES`] that a difference takes.
#[inline(always)]
fn taken(plane: usize, line: usize) -> Range<usize> {
    if inside(plane) && inside(line) { 0..REACH } else { BELOW..BELOW + 2 }
}

/// Reads the gradient of a potential.
struct ReadGradient<'a, T> {
    potential: &'a [T],
    cells: usize,
    coefficients: [T; 2],
}

impl<T: Real> Work<T> for ReadGradient<'_, T> {
    type Shape = Cic;
    type Around = Taps<T>;
    const SLOPES: bool = false;

    #[inline(always)]
    fn look<L: Lanes<T>>(&self, around: &mut Taps<T>) {
        around.look::<L>(self.cells, self.potential);
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(
        &self,
        around: &Taps<T>,
        _: &[PlaneOf<'_, T>],
        particles: Particles,
        [g, _]: &mut [[Vec<T>; 3]; 2],
    ) {
        let stencil = Stencil::<L>::new(self.coefficients);
        let mut read = [[T::zero(); LANES]; TOGETHER];
        let mut block = [[T::zero(); SPAN]; REACH * REACH];
        for (k, out) in read[..particles.count].iter_mut().enumerate() {
            *out = if let Some(first) = around.side_by_side(k, self.cells) {
                let [planes, lines] = around.starts_of(k);
                around.gradient(k, self.potential, [planes.map(|plane| plane + first), lines], &stencil)
            } else {
                around.copy_around(k, self.cells, self.potential, &mut block);
                around.gradient(k, block.as_flattened(), STARTS_OF_BLOCK, &stencil)
            };
        }
        apart(&read[..particles.count], particles.from, g);
        let rest = g[2][particles.from..].iter_mut().zip(&read[..particles.count]);
        rest.for_each(|(g, read)| *g += read[3]);
    }
}

/// What makes the weights of a particle of its fractions of a cell. The window weighs the first of two points by `1 - fraction` and
/// the second by `fraction`, so every weight is a number and a slope times a fraction; to compute them takes less time than to load them.
pub(crate) struct Stencil<L> {
    /// The coefficients of the differences, their negatives, and `near - far`: numbers and slopes of the planes and lines beside.
    pub(crate) far: L,
    pub(crate) minus_far: L,
    pub(crate) minus_near: L,
    pub(crate) change: L,
    /// `near`, for all.
    pub(crate) near: L,
    /// Numbers and slopes of the weights of the two planes, for four points in each;
    pub(crate) planes: [L; 2],
    /// of those of two planes or lines, for the pair of columns in each;
    pub(crate) pairs: [L; 2],
    /// of the two columns in each pair;
    pub(crate) columns: [L; 2],
    /// of the two columns in what is loaded of a line, times `near`;
    pub(crate) inner: [L; 2],
    /// and of the differences along a line.
    pub(crate) along: [L; 2],
}

impl<L> Stencil<L> {
    #[inline(always)]
    pub(crate) fn new<T: Real>([near, far]: [T; 2]) -> Stencil<L>
    where
        L: Lanes<T>,
    {
        let (zero, one) = (T::zero(), T::one());
        Stencil {
            far: L::each([far, far]),
            minus_far: L::each([-far, -far]),
            minus_near: L::each([-near, -near]),
            change: L::each([near - far, near - far]),
            near: L::each([near, near]),
            planes: [L::each([one, zero]), L::each([-one, one])],
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
    /// The gradient at particle `k`, its last component as a sum of two numbers, from the first points of its planes and lines: from
    /// each of them on, `SPAN` points must lie in the potential, which is not checked here.
    #[inline(always)]
    fn gradient<L: Lanes<T>>(
        &self,
        k: usize,
        potential: &[T],
        starts: Starts,
        stencil: &Stencil<L>,
    ) -> [T; LANES] {
        let pairs = |t: usize| load(beside(t), potential, &starts);
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
        let (a, b) = (L::load(line(potential, &starts, 0)), L::load(line(potential, &starts, 1)));
        let (c, d) = (L::load(line(potential, &starts, 2)), L::load(line(potential, &starts, 3)));
        let (by_x, by_y, by_z) = (L::each([x, x]), L::each([y, y]), L::each([z, z]));
        let (plane, next_plane) = (a.plus_difference(by_y, b, a), c.plus_difference(by_y, d, c));
        let (line, next_line) = (a.plus_difference(by_x, c, a), b.plus_difference(by_x, d, b));
        let along = plane.plus_difference(by_x, next_plane, plane);
        let across_planes = next_plane.less_product(by_x, plane).less_product(by_x, next_plane);
        let across_lines = next_line.less_product(by_y, line).less_product(by_y, next_line);
        let beside = L::zero().plus_product(beside, weights(stencil.pairs, L::each([y, x])));
        L::zero()
            .plus_product(beside, weights(stencil.columns, by_z))
            .plus_product(across_planes.firsts(across_lines), weights(stencil.inner, by_z))
            .sums_with(L::zero().plus_product(along, weights(stencil.along, by_z)))
    }
}

/// Weights of their numbers and slopes times a fraction of a cell.
#[inline(always)]
pub(crate) fn weights<T: Real, L: Lanes<T>>([at, slope]: [L; 2], by: L) -> L {
    at.plus_product(slope, by)
}
