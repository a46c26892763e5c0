//! From particles to the mesh, and the derivatives of that.

use std::marker::PhantomData;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Cloud;
use crate::cloud::{Row, Shape, for_window};
use crate::lanes::{Lanes, Wide, widest};

/// Particles whose shares are computed together before any is given: they fit the first cache.
const TOGETHER: usize = 64;

/// Most mesh points that a particle touches.
const TOUCHED: usize = 27;

/// One share of a particle: a weight for each point along each axis; their products go to the mesh.
type Share<T> = [[T; 3]; 3];

/// A range of planes of the lattice, and the planes of the mesh that its particles touch.
struct Block {
    rows: std::ops::Range<usize>,
    /// First plane, not wrapped.
    low: i32,
    planes: usize,
}

impl Cloud {
    /// `mesh(m) = sum_p W(x_p - m)`: counts, whose mean is `(side / cells)^3`.
    ///
    /// Blocks of the lattice paint slabs of their own, which are then added up. `slabs` is their memory, used again from
    /// call to call: at most two and a half meshes.
    pub fn paint<T: Real>(&self, displacement: &[T], mesh: &mut [T], slabs: &mut Vec<T>) {
        for_window!(self, S => self.scatter::<S, T, 1>(displacement, mesh, slabs, |_, w, _| [w]));
    }

    /// `mesh(m) = sum_p v(p) W(x_p - m)`: the transpose of [`read`](Cloud::read).
    pub fn paint_values<T: Real>(
        &self,
        displacement: &[T],
        values: &[T],
        mesh: &mut [T],
        slabs: &mut Vec<T>,
    ) {
        assert_eq!(values.len(), self.particles(), "one value for every particle");
        for_window!(self, S => self.scatter::<S, T, 1>(displacement, mesh, slabs, |p, w, _| {
            [[w[0].map(|w| w * values[p]), w[1], w[2]]]
        }));
    }

    /// The change of [`paint`](Cloud::paint) when particles move by `tangent`.
    pub fn paint_push<T: Real>(&self, displacement: &[T], tangent: &[T], mesh: &mut [T], slabs: &mut Vec<T>) {
        let dx = self.components(tangent);
        let scale = T::of(self.inverse_spacing);
        for_window!(self, S => self.scatter::<S, T, 3>(displacement, mesh, slabs, |p, w, f| {
            std::array::from_fn(|axis| {
                let mut share = w;
                share[axis] = S::slopes(f[axis]).map(|slope| slope * dx[axis][p] * scale);
                share
            })
        }));
    }

    /// Cuts the lattice into blocks whose slabs together hold at most two and a half meshes, as many as that allows.
    fn blocks<S: Shape, T: Real>(&self, x: &[T]) -> Vec<Block> {
        let (least, most) = x
            .par_chunks(self.side * self.side)
            .map(|plane| {
                plane.iter().fold((T::zero(), T::zero()), |(low, high), &x| {
                    (if x < low { x } else { low }, if x > high { x } else { high })
                })
            })
            .reduce(
                || (T::zero(), T::zero()),
                |a, b| (if b.0 < a.0 { b.0 } else { a.0 }, if b.1 > a.1 { b.1 } else { a.1 }),
            );
        let in_cells = |x: T| (x.f64() * self.inverse_spacing).clamp(-1e8, 1e8);
        // One plane more on either side, for rounding.
        let below = in_cells(least).floor() as i32 - 1 + 2 - S::POINTS as i32;
        let above = in_cells(most).floor() as i32 + 3;
        let reach = (above - below) as usize;
        let count = (3 * self.cells / (2 * reach)).clamp(2, 64).min(self.side.div_ceil(4)).max(1);
        let thickness = self.side.div_ceil(count);
        (0..self.side.div_ceil(thickness))
            .map(|block| {
                let (from, to) = (block * thickness, ((block + 1) * thickness).min(self.side));
                let (low, high) = (self.lattice[from].0 + below, self.lattice[to - 1].0 + above);
                let planes = (high - low + 1) as usize;
                let rows = from * self.side..to * self.side;
                let whole = planes >= self.cells;
                Block { rows, low: if whole { 0 } else { low }, planes: planes.min(self.cells) }
            })
            .collect()
    }

    /// Adds up the shares `f(particle, weights, place)` of every particle.
    fn scatter<S: Shape, T: Real, const K: usize>(
        &self,
        displacement: &[T],
        mesh: &mut [T],
        slabs: &mut Vec<T>,
        f: impl Fn(usize, Share<T>, [T; 3]) -> [Share<T>; K] + Sync,
    ) {
        assert_eq!(mesh.len(), self.mesh_len(), "length of the mesh");
        let x = self.components(displacement);
        let area = self.cells * self.cells;
        let blocks = self.blocks::<S, T>(x[0]);
        let total = blocks.iter().map(|block| block.planes).sum::<usize>() * area;
        if slabs.len() < total {
            // Once for all calls: pages that are not touched cost nothing. Not `resize`: what was there need not be copied.
            *slabs = vec![T::zero(); total.max(5 * mesh.len() / 2)];
        }
        let mut rest = &mut slabs[..total];
        let mut work = Vec::with_capacity(blocks.len());
        for block in &blocks {
            let (slab, after) = rest.split_at_mut(block.planes * area);
            work.push((block, slab));
            rest = after;
        }
        work.into_par_iter().for_each_init(
            || (self.make_row(), Shares::new()),
            |scratch, (block, slab)| self.fill::<S, T, K>(block, x, slab, scratch, &f),
        );
        self.add_up(&blocks, &slabs[..total], mesh);
    }

    /// Paints the particles of one block onto its slab.
    fn fill<S: Shape, T: Real, const K: usize>(
        &self,
        block: &Block,
        x: [&[T]; 3],
        slab: &mut [T],
        (places, shares): &mut (Row<T>, Shares<T>),
        f: &impl Fn(usize, Share<T>, [T; 3]) -> [Share<T>; K],
    ) {
        slab.fill(T::zero());
        let side = self.side;
        for row in block.rows.clone() {
            let start = row * side;
            widest(Locate::<S, T> {
                cloud: self,
                block,
                row,
                x: x.map(|x| &x[start..start + side]),
                places,
                shape: PhantomData,
            });
            for from in (0..side).step_by(TOGETHER) {
                let count = TOGETHER.min(side - from);
                widest(Weigh::<S, T, _, K> {
                    cloud: self,
                    planes: block.planes,
                    places,
                    from,
                    count,
                    first_particle: start,
                    f,
                    shares,
                    shape: PhantomData,
                });
                shares.give::<S>(count, slab);
            }
        }
    }

    /// Writes the sum of all slabs, in the order of the blocks.
    fn add_up<T: Real>(&self, blocks: &[Block], slabs: &[T], mesh: &mut [T]) {
        let cells = self.cells as i32;
        let area = self.cells * self.cells;
        mesh.par_chunks_mut(area).enumerate().for_each(|(plane, out)| {
            let mut start = 0;
            let mut empty = true;
            for block in blocks {
                let offset = (plane as i32 - block.low).rem_euclid(cells) as usize;
                if offset < block.planes {
                    let slab = &slabs[(start + offset) * area..][..area];
                    if empty {
                        out.copy_from_slice(slab);
                    } else {
                        out.iter_mut().zip(slab).for_each(|(out, x)| *out += *x);
                    }
                    empty = false;
                }
                start += block.planes;
            }
            if empty {
                out.fill(T::zero());
            }
        });
    }
}

/// Places of a row of particles, with their planes counted from the first of a slab.
struct Locate<'a, S: Shape, T: Real> {
    cloud: &'a Cloud,
    block: &'a Block,
    row: usize,
    x: [&'a [T]; 3],
    places: &'a mut Row<T>,
    shape: PhantomData<S>,
}

impl<S: Shape, T: Real> Wide<T> for Locate<'_, S, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let (cloud, block) = (self.cloud, self.block);
        cloud.locate::<S, T>(self.row, self.x, self.places);
        let [planes, lines, columns] = &mut self.places.first;
        if block.planes == cloud.cells {
            cloud.wrap(planes);
        } else {
            // Only where a displacement is not a number does this bound matter.
            let last = (block.planes - S::POINTS) as i32;
            planes.iter_mut().for_each(|plane| {
                let above = *plane - block.low;
                let above = if above < 0 { 0 } else { above };
                *plane = if above > last { last } else { above };
            });
        }
        cloud.wrap(lines);
        cloud.wrap(columns);
    }
}

/// What a few particles give to each of the mesh points around them, and where these are.
struct Shares<T> {
    weights: Vec<[T; TOGETHER]>,
    places: Vec<[u32; TOGETHER]>,
}

impl<T: Real> Shares<T> {
    fn new() -> Shares<T> {
        Shares { weights: vec![[T::zero(); TOGETHER]; TOUCHED], places: vec![[0; TOGETHER]; TOUCHED] }
    }

    /// Adds the shares of the first `count` particles to the slab, a particle at a time.
    #[inline(always)]
    fn give<S: Shape>(&self, count: usize, slab: &mut [T]) {
        let touched = S::POINTS.pow(3);
        let (weights, places) = (&self.weights[..touched], &self.places[..touched]);
        for k in 0..count.min(TOGETHER) {
            for point in 0..touched {
                let place = places[point][k] as usize;
                debug_assert!(place < slab.len());
                // SAFETY: `Weigh` makes the place from a plane below `planes` and a line and a column below `cells`.
                unsafe { *slab.get_unchecked_mut(place) += weights[point][k] };
            }
        }
    }
}

/// Computes the shares of a few particles.
struct Weigh<'a, S: Shape, T: Real, F, const K: usize> {
    cloud: &'a Cloud,
    planes: usize,
    places: &'a Row<T>,
    from: usize,
    count: usize,
    first_particle: usize,
    f: &'a F,
    shares: &'a mut Shares<T>,
    shape: PhantomData<S>,
}

impl<S, T, F, const K: usize> Wide<T> for Weigh<'_, S, T, F, K>
where
    S: Shape,
    T: Real,
    F: Fn(usize, Share<T>, [T; 3]) -> [Share<T>; K],
{
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let Weigh { cloud, planes, places, from, count, first_particle, f, shares, .. } = self;
        let cells = cloud.cells as u32;
        let ends = [planes as u32, cells, cells];
        let range = from..from + count;
        let [first0, first1, first2] = places.first.each_ref().map(|first| &first[range.clone()]);
        let [fraction0, fraction1, fraction2] = places.fraction.each_ref().map(|f| &f[range.clone()]);
        let (weights, points) = (&mut shares.weights[..TOUCHED], &mut shares.places[..TOUCHED]);
        for k in 0..count.min(TOGETHER) {
            let place = [fraction0[k], fraction1[k], fraction2[k]];
            let given = f(first_particle + from + k, place.map(S::weights), place);
            let first = [first0[k] as u32, first1[k] as u32, first2[k] as u32];
            let step = |axis: usize, step: u32| {
                let point = first[axis] + step;
                if point >= ends[axis] { point - ends[axis] } else { point }
            };
            for i in 0..S::POINTS {
                for j in 0..S::POINTS {
                    let line = (step(0, i as u32) * cells + step(1, j as u32)) * cells;
                    for c in 0..S::POINTS {
                        let point = (i * S::POINTS + j) * S::POINTS + c;
                        let mut gift = given[0][0][i] * given[0][1][j] * given[0][2][c];
                        for share in &given[1..] {
                            gift += share[0][i] * share[1][j] * share[2][c];
                        }
                        weights[point][k] = gift;
                        points[point][k] = line + step(2, c as u32);
                    }
                }
            }
        }
    }
}
