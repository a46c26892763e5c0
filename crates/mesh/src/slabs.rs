//! Slabs of the mesh that are painted side by side, and the particles that touch them.

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Cloud;
use crate::cloud::Shape;
use crate::places::{FARTHEST, Places, TOGETHER};

/// Rows of a tile.
pub(crate) const TILE: usize = 16;

/// Slabs of the mesh for each thread: more of them balance the work, but more rows of particles then lie across two.
const SLABS_PER_THREAD: usize = 1;

/// The planes that a particle touches: how many, and the first of them counted from the first of its window.
#[derive(Clone, Copy)]
pub(crate) struct Reach {
    pub(crate) first: i32,
    pub(crate) planes: i32,
}

impl Reach {
    /// That of a window.
    pub(crate) fn window<S: Shape>() -> Reach {
        Reach { first: 0, planes: S::POINTS as i32 }
    }
}

/// The planes that one task paints.
pub(crate) struct Slab {
    pub(crate) first: usize,
    pub(crate) planes: usize,
    /// Points from one line to the next.
    pub(crate) line: usize,
}

/// Neighbouring planes of the mesh, beyond its end again from its beginning.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    first: i32,
    planes: i32,
}

impl Cloud {
    /// Planes of a slab.
    pub(crate) fn planes_of_slabs(&self) -> usize {
        self.cells.div_ceil(SLABS_PER_THREAD * rayon::current_num_threads())
    }

    /// The planes that each row of particles touches.
    pub(crate) fn spans<S: Shape, T: Real>(&self, x: &[T], reach: Reach) -> Vec<Span> {
        let cells = self.cells as i32;
        let whole = Span { first: 0, planes: cells };
        let rows = x.par_chunks(self.side).with_min_len(64).enumerate();
        let span = |(row, x): (usize, &[T])| {
            let extent = Extent::of(x);
            let strange = extent.strange;
            let [low, high] = [extent.low, extent.high]
                .map(|x| (x.f64() * self.inverse_spacing).clamp(-FARTHEST, FARTHEST).floor() as i32);
            // One plane more on either side, for rounding, and one for the place on the lattice.
            let planes = high - low + 3 + reach.planes;
            if strange || planes >= cells {
                return whole;
            }
            let first = self.lattice.points[row / self.side] + low + 1 - S::POINTS as i32 + reach.first;
            Span { first: first.rem_euclid(cells), planes }
        };
        rows.map(span).collect()
    }
}

impl Span {
    /// Whether they have a plane in common.
    pub(crate) fn meets(&self, slab: &Slab, cells: usize) -> bool {
        let (first, planes, cells) = (slab.first as i32, slab.planes as i32, cells as i32);
        (self.first - first).rem_euclid(cells) < planes
            || (first - self.first).rem_euclid(cells) < self.planes
    }
}

impl Slab {
    /// Whether any of a few particles touches it.
    #[inline(always)]
    pub(crate) fn touched<T>(&self, places: &Places<T>, reach: Reach, cells: usize) -> bool {
        let (cells, beyond) = (cells as i32, reach.planes - 1);
        let (first, planes) = (self.first as i32, self.planes as i32);
        let mut inside = planes + beyond >= cells;
        for &plane in &places.points[0][0] {
            let above = plane as i32 + reach.first - first + beyond;
            let above = if above < 0 { above + cells } else { above };
            let above = if above >= cells { above - cells } else { above };
            inside |= above < planes + beyond;
        }
        inside
    }
}

/// The row of the lattice that is visited as number `index`: tiles of a few rows go through all planes, so that what they
/// touch of the mesh is still at hand for the next plane.
pub(crate) fn tiled(index: usize, side: usize) -> usize {
    let first = index / (TILE * side) * TILE;
    let rows = TILE.min(side - first);
    let within = index - first * side;
    within / rows * side + first + within % rows
}

/// Strands of a few particles that take turns. Neighbours on the lattice give to the same points, and what was stored as one half of a
/// pair cannot be loaded as half of another before the store has reached the cache.
const STRANDS: usize = 4;

/// Which of a few particles gives as number `turn`.
#[inline(always)]
pub(crate) fn in_strands(turn: usize) -> usize {
    turn % STRANDS * (TOGETHER / STRANDS) + turn / STRANDS
}

/// The smallest and the largest of some numbers, and whether any of them is none.
struct Extent<T> {
    low: T,
    high: T,
    strange: bool,
}

impl<T: Real> Extent<T> {
    /// Of a row: eight numbers side by side, so that compilers make vector instructions of it.
    #[inline(always)]
    fn of(x: &[T]) -> Extent<T> {
        let (mut low, mut high, mut sum) = ([x[0]; 8], [x[0]; 8], [T::zero(); 8]);
        for part in x.chunks(8) {
            let lanes = low.iter_mut().zip(&mut high).zip(&mut sum).zip(part);
            lanes.for_each(|(((low, high), sum), &x)| {
                *low = if x < *low { x } else { *low };
                *high = if x > *high { x } else { *high };
                *sum += T::zero() * x;
            });
        }
        Extent {
            low: low.into_iter().fold(x[0], |a, b| if b < a { b } else { a }),
            high: high.into_iter().fold(x[0], |a, b| if b > a { b } else { a }),
            // Zero times what is no number, or infinite, is none.
            strange: sum.into_iter().any(|sum| sum.is_nan()),
        }
    }
}
