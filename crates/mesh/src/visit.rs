//! Visits to all particles of the lattice, tile by tile: what lies on the mesh around a few of them comes from memory while others
//! are served.

use std::ops::Range;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Cloud;
use crate::cloud::Shape;
use crate::lanes::{Lanes, Wide, widest};
use crate::places::{Places, TOGETHER};
use crate::slabs::TILE;

/// Displacements, momenta or cotangents of one row of particles, component by component.
pub type RowOf<'a, T> = [&'a mut [T]; 3];

impl Cloud {
    /// Several vector fields, cut into tiles.
    pub(crate) fn tiles<'a, T, const K: usize>(&self, fields: [&'a mut [T]; K]) -> Vec<Tile<'a, T, K>> {
        let side = self.side;
        let mut rest = fields.map(|field| self.components_mut(field));
        let mut tiles: Vec<Tile<'a, T, K>> = Vec::new();
        let across = side.div_ceil(TILE);
        for plane in 0..side {
            for (index, from) in (0..side).step_by(TILE).enumerate() {
                let rows = from..(from + TILE).min(side);
                let part = rest.each_mut().map(|field| {
                    field
                        .each_mut()
                        .map(|component| component.split_off_mut(..rows.len() * side).unwrap_or_default())
                });
                if plane % PLANES == 0 {
                    let planes = plane..(plane + PLANES).min(side);
                    tiles.push(Tile { planes, rows, vectors: Vec::with_capacity(PLANES) });
                }
                tiles[plane / PLANES * across + index].vectors.push(part);
            }
        }
        tiles
    }
}

/// Most planes of a tile.
const PLANES: usize = 32;

/// A part of the lattice: a few rows in each of several planes, so that what they touch of the mesh is still at hand for the
/// next plane.
pub(crate) struct Tile<'a, T, const K: usize> {
    pub(crate) planes: Range<usize>,
    pub(crate) rows: Range<usize>,
    /// Vectors of the rows, plane by plane.
    pub(crate) vectors: Vec<[PlaneOf<'a, T>; K]>,
}

/// Displacements, momenta or cotangents of the rows of one plane, component by component.
pub(crate) type PlaneOf<'a, T> = [&'a mut [T]; 3];

/// One row of vectors of a plane.
#[inline(always)]
fn row_of<'a, T>(plane: &'a mut PlaneOf<'_, T>, row: usize, side: usize) -> RowOf<'a, T> {
    plane.each_mut().map(|component| &mut component[row * side..(row + 1) * side])
}

/// Takes the components of vectors apart.
#[inline(always)]
pub(crate) fn apart<T: Real, const N: usize>(vectors: &[[T; N]], from: usize, parts: &mut [Vec<T>; 3]) {
    for (d, part) in parts.iter_mut().enumerate() {
        part[from..from + vectors.len()].iter_mut().zip(vectors).for_each(|(out, vector)| *out = vector[d]);
    }
}

/// Where a few particles are, and what is known of the mesh around them.
pub(crate) trait Around<T> {
    /// Nothing yet.
    fn new(cloud: &Cloud) -> Box<Self>;
    /// Their places.
    fn places(&mut self) -> &mut Places<T>;
}

/// What a thread needs to visit particles.
pub(crate) struct Scratch<T, A> {
    /// The few particles that are read, and the next ones, whose mesh points are on their way from memory.
    around: [Box<A>; 2],
    /// What was read for a row.
    read: [[Vec<T>; 3]; 2],
}

impl<T: Real, A: Around<T>> Scratch<T, A> {
    pub(crate) fn new(cloud: &Cloud) -> Scratch<T, A> {
        let parts = || std::array::from_fn(|_| vec![T::zero(); cloud.side]);
        Scratch { around: [A::new(cloud), A::new(cloud)], read: [parts(), parts()] }
    }
}

/// What is read for particles, and what is done with it.
pub(crate) trait Work<T: Real> {
    /// The shape of a particle.
    type Shape: Shape;
    /// What is known of a few particles.
    type Around: Around<T>;
    /// Whether slopes of the weights are needed.
    const SLOPES: bool;
    /// Whether weights of lines are needed.
    const TABLES: bool = true;
    /// Looks around the few particles whose places are found, and asks for the memory of the mesh there.
    fn look<L: Lanes<T>>(&self, around: &mut Self::Around);
    /// Reads for a few particles of a plane with these vectors, displacements first: two vectors each, for instance a force and what is
    /// made of its derivatives and of the last of their vectors.
    fn read<L: Lanes<T>>(
        &self,
        around: &Self::Around,
        vectors: &[PlaneOf<'_, T>],
        particles: Particles,
        out: &mut [[Vec<T>; 3]; 2],
    );
}

/// A few particles of a plane.
#[derive(Clone, Copy)]
pub(crate) struct Particles {
    /// Plane, counted from the first of the tile.
    plane: usize,
    /// Row, counted likewise.
    row: usize,
    /// Index of the first in its row.
    pub(crate) from: usize,
    pub(crate) count: usize,
    /// Index of the first among the rows of the tile in this plane.
    pub(crate) first: usize,
}

impl Particles {
    fn new(plane: usize, row: usize, from: usize, side: usize) -> Particles {
        Particles { plane, row, from, count: TOGETHER.min(side - from), first: row * side + from }
    }

    /// The few after these, in a tile with so many rows a plane.
    #[inline(always)]
    fn next(self, rows: usize, side: usize) -> Particles {
        if self.from + TOGETHER < side {
            Particles::new(self.plane, self.row, self.from + TOGETHER, side)
        } else {
            self.below(rows, side)
        }
    }

    /// The first few of the next row.
    #[inline(always)]
    fn below(self, rows: usize, side: usize) -> Particles {
        let last = self.row + 1 == rows;
        let (plane, row) = if last { (self.plane + 1, 0) } else { (self.plane, self.row + 1) };
        Particles::new(plane, row, 0, side)
    }
}

/// Visits the particles of a tile of the lattice, a few at a time, while the points around the next few come from memory.
struct Visit<'a, 'b, T: Real, W: Work<T>, F, const K: usize> {
    cloud: &'a Cloud,
    tile: &'a mut Tile<'b, T, K>,
    scratch: &'a mut Scratch<T, W::Around>,
    work: W,
    /// What is done with a row of vectors for which everything is read.
    f: F,
}

impl<T, W, F, const K: usize> Wide<T> for Visit<'_, '_, T, W, F, K>
where
    T: Real,
    W: Work<T>,
    F: FnMut([RowOf<'_, T>; K], [[&[T]; 3]; 2]),
{
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let Visit { cloud, tile: Tile { planes, rows, vectors }, scratch, work, mut f } = self;
        let Scratch { around: [now, next], read } = scratch;
        let side = cloud.side;
        let mut coming = Particles::new(0, 0, 0, side);
        let mut before = None;
        // One round more than there are particles to look at: the last ones are read in it.
        loop {
            let any = coming.plane < planes.len();
            if any {
                // With two vectors that takes 3 to 11 % less time, with four it takes more.
                if K == 2 {
                    let ahead = coming.next(rows.len(), side).next(rows.len(), side);
                    if ahead.plane < planes.len() {
                        fetch::<L, T>(&vectors[ahead.plane], ahead.first);
                    }
                }
                let row = coming.row * side..(coming.row + 1) * side;
                let x = vectors[coming.plane][0].each_ref().map(|x| &x[row.clone()]);
                let lattice_row = (planes.start + coming.plane) * side + rows.start + coming.row;
                next.places().find::<W::Shape>(cloud, lattice_row, coming.from, x, W::SLOPES);
                work.look::<L>(next);
            }
            if let Some(particles) = before {
                let Particles { plane, row, from, count, .. } = particles;
                work.read::<L>(now, &vectors[plane], particles, read);
                if from + count == side {
                    let vectors = vectors[plane].each_mut().map(|vectors| row_of(vectors, row, side));
                    f(vectors, read.each_ref().map(|parts| parts.each_ref().map(|part| &part[..])));
                }
            }
            if !any {
                break;
            }
            std::mem::swap(now, next);
            before = Some(coming);
            coming = coming.next(rows.len(), side);
        }
    }
}

/// Visits the particles of a tile, and hands each row of vectors with what was read for it to `f`.
pub(crate) fn visit<T: Real, W: Work<T>, const K: usize>(
    cloud: &Cloud,
    tile: &mut Tile<'_, T, K>,
    scratch: &mut Scratch<T, W::Around>,
    work: W,
    f: impl FnMut([RowOf<'_, T>; K], [[&[T]; 3]; 2]),
) {
    widest(Visit { cloud, tile, scratch, work, f });
}

/// Leaves what was read in the place of the two vectors between the first and the last.
pub(crate) fn keep_both<T: Real>([_, g, change, _]: [RowOf<'_, T>; 4], read: [[&[T]; 3]; 2]) {
    for (out, read) in [g, change].into_iter().zip(read) {
        out.into_iter().zip(read).for_each(|(out, read)| out.copy_from_slice(read));
    }
}

/// Sums over tiles, in their order.
pub(crate) fn sum_tiles<const N: usize>(tiles: impl IndexedParallelIterator<Item = [f64; N]>) -> [f64; N] {
    let sums: Vec<[f64; N]> = tiles.collect();
    sums.into_iter().fold([0.0; N], |sum, tile| std::array::from_fn(|i| sum[i] + tile[i]))
}

/// Asks for the vectors of a few particles.
#[inline(always)]
fn fetch<L: Lanes<T>, T: Real>(vectors: &[PlaneOf<'_, T>], first: usize) {
    let line = 64 / size_of::<T>();
    for component in vectors.iter().flatten() {
        for at in (0..TOGETHER).step_by(line) {
            L::soon(component, first + at);
        }
    }
}
