//! From particles to the mesh, and the derivatives of that.

use std::marker::PhantomData;
use std::ops::Range;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::{Shape, for_window};
use crate::lanes::{Lanes, Wide, widest};
use crate::places::{ByPoint, Few, Places, TOGETHER, add_product, multiply};
use crate::slabs::{Reach, Slab, Span, in_strands, tiled};
use crate::{Cloud, Field, Quad};

/// Most lines of mesh points that a particle touches.
const LINES: usize = 9;

/// One share of a few particles: weights for each point along each axis; their products go to the mesh.
type Share<'a, T> = [&'a [Few<T>; 3]; 3];

/// What particles give to mesh points, as a sum of `K` shares.
trait Gift<T: Real, const K: usize>: Sync {
    /// What a mesh point holds.
    type Point: Copy + Send;
    /// What a particle gives, before it is shared out.
    type Value: Copy;
    /// Points beyond the end of a line, which stand for those at its beginning.
    const ROOM: usize;
    /// Whether shares need slopes.
    const SLOPES: bool;
    /// What a mesh point holds before the first particle.
    fn nothing() -> Self::Point;
    /// Computes what the shares need beside the weights of the particles that have these places.
    fn prepare(&self, particles: Range<usize>, places: &Places<T>, own: &mut ByPoint<T>);
    /// The shares, made of the weights and of what was prepared.
    fn shares<'a>(weights: Share<'a, T>, own: Share<'a, T>) -> [Share<'a, T>; K];
    /// What a particle gives.
    fn value(&self, particle: usize) -> Self::Value;
    /// Adds the share of a point.
    fn add<L: Lanes<T>>(value: Self::Value, weight: T, to: &mut Self::Point);
    /// Adds the shares of two neighbouring points.
    fn add_pair<L: Lanes<T>>(value: Self::Value, weights: [T; 2], to: &mut [Self::Point; 2]);
}

/// A one from each particle.
struct Count;

/// A number of its own from each particle.
struct Values<'a, T>(&'a [T]);

/// What changes when the particles move by vectors, in cells.
struct Moved<'a, T> {
    by: [&'a [T]; 3],
    inverse_spacing: T,
}

/// The three components of each particle's vector, and a one.
struct Vectors<'a, T>([&'a [T]; 3]);

impl<T: Real> Gift<T, 1> for Count {
    type Point = T;
    type Value = ();
    const ROOM: usize = 0;
    const SLOPES: bool = false;

    fn nothing() -> T {
        T::zero()
    }

    #[inline(always)]
    fn prepare(&self, _: Range<usize>, _: &Places<T>, _: &mut ByPoint<T>) {}

    #[inline(always)]
    fn shares<'a>(weights: Share<'a, T>, _: Share<'a, T>) -> [Share<'a, T>; 1] {
        [weights]
    }

    #[inline(always)]
    fn value(&self, _: usize) {}

    #[inline(always)]
    fn add<L: Lanes<T>>((): (), weight: T, to: &mut T) {
        *to += weight;
    }

    #[inline(always)]
    fn add_pair<L: Lanes<T>>((): (), weights: [T; 2], to: &mut [T; 2]) {
        *to = [to[0] + weights[0], to[1] + weights[1]];
    }
}

impl<T: Real> Gift<T, 1> for Values<'_, T> {
    type Point = T;
    type Value = ();
    const ROOM: usize = 0;
    const SLOPES: bool = false;

    fn nothing() -> T {
        T::zero()
    }

    #[inline(always)]
    fn prepare(&self, particles: Range<usize>, places: &Places<T>, own: &mut ByPoint<T>) {
        for (weights, out) in places.weights[0].iter().zip(&mut own[0]) {
            let values = weights.iter().zip(&self.0[particles.clone()]);
            out.iter_mut().zip(values).for_each(|(out, (weight, value))| *out = *weight * *value);
        }
    }

    #[inline(always)]
    fn shares<'a>([_, y, z]: Share<'a, T>, [own, ..]: Share<'a, T>) -> [Share<'a, T>; 1] {
        [[own, y, z]]
    }

    #[inline(always)]
    fn value(&self, _: usize) {}

    #[inline(always)]
    fn add<L: Lanes<T>>((): (), weight: T, to: &mut T) {
        *to += weight;
    }

    #[inline(always)]
    fn add_pair<L: Lanes<T>>((): (), weights: [T; 2], to: &mut [T; 2]) {
        *to = [to[0] + weights[0], to[1] + weights[1]];
    }
}

impl<T: Real> Gift<T, 3> for Moved<'_, T> {
    type Point = T;
    type Value = ();
    const ROOM: usize = 0;
    const SLOPES: bool = true;

    fn nothing() -> T {
        T::zero()
    }

    #[inline(always)]
    fn prepare(&self, particles: Range<usize>, places: &Places<T>, own: &mut ByPoint<T>) {
        for ((slopes, own), by) in places.slopes.iter().zip(own).zip(self.by) {
            for (slopes, out) in slopes.iter().zip(own) {
                let moved = slopes.iter().zip(&by[particles.clone()]);
                let out = out.iter_mut().zip(moved);
                out.for_each(|(out, (slope, by))| *out = *slope * *by * self.inverse_spacing);
            }
        }
    }

    #[inline(always)]
    fn shares<'a>([x, y, z]: Share<'a, T>, own: Share<'a, T>) -> [Share<'a, T>; 3] {
        [[own[0], y, z], [x, own[1], z], [x, y, own[2]]]
    }

    #[inline(always)]
    fn value(&self, _: usize) {}

    #[inline(always)]
    fn add<L: Lanes<T>>((): (), weight: T, to: &mut T) {
        *to += weight;
    }

    #[inline(always)]
    fn add_pair<L: Lanes<T>>((): (), weights: [T; 2], to: &mut [T; 2]) {
        *to = [to[0] + weights[0], to[1] + weights[1]];
    }
}

impl<T: Real> Gift<T, 1> for Vectors<'_, T> {
    type Point = Quad<T>;
    type Value = Quad<T>;
    const ROOM: usize = Field::<f64>::ROOM;
    const SLOPES: bool = false;

    fn nothing() -> Quad<T> {
        [T::zero(); 4]
    }

    #[inline(always)]
    fn prepare(&self, _: Range<usize>, _: &Places<T>, _: &mut ByPoint<T>) {}

    #[inline(always)]
    fn shares<'a>(weights: Share<'a, T>, _: Share<'a, T>) -> [Share<'a, T>; 1] {
        [weights]
    }

    #[inline(always)]
    fn value(&self, particle: usize) -> Quad<T> {
        let [x, y, z] = self.0.map(|component| component[particle]);
        [x, y, z, T::one()]
    }

    #[inline(always)]
    fn add<L: Lanes<T>>(value: Quad<T>, weight: T, to: &mut Quad<T>) {
        L::add(to, weight, &value);
    }

    #[inline(always)]
    fn add_pair<L: Lanes<T>>(value: Quad<T>, weights: [T; 2], to: &mut [Quad<T>; 2]) {
        L::add_pair(to, weights, &value);
    }
}

impl Cloud {
    /// `mesh(m) = sum_p W(x_p - m)`: counts, whose mean is `(side / cells)^3`.
    ///
    /// Slabs of the mesh are painted side by side, each by the particles that touch it in an order that the lattice sets, so
    /// the sums do not depend on how many slabs or threads there are. No memory beside the mesh.
    pub fn paint<T: Real>(&self, displacement: &[T], mesh: &mut [T]) {
        for_window!(self, S => self.scatter::<S, T, _, 1>(displacement, mesh, &Count));
    }

    /// `mesh(m) = sum_p v(p) W(x_p - m)`: the transpose of [`read`](Cloud::read).
    pub fn paint_values<T: Real>(&self, displacement: &[T], values: &[T], mesh: &mut [T]) {
        assert_eq!(values.len(), self.particles(), "one value for every particle");
        for_window!(self, S => self.scatter::<S, T, _, 1>(displacement, mesh, &Values(values)));
    }

    /// `field(m) = sum_p (v_p, 1) W(x_p - m)`: vectors, and counts as the fourth number, in one pass over the particles.
    pub fn paint_vectors<T: Real>(&self, displacement: &[T], vectors: &[T], field: &mut Field<T>) {
        let gift = Vectors(self.components(vectors));
        for_window!(self, S => self.scatter::<S, T, _, 1>(displacement, field.padded_mut(), &gift));
        field.fold();
    }

    /// The change of [`paint`](Cloud::paint) when particles move by `tangent`.
    pub fn paint_push<T: Real>(&self, displacement: &[T], tangent: &[T], mesh: &mut [T]) {
        let gift = Moved { by: self.components(tangent), inverse_spacing: T::of(self.inverse_spacing) };
        for_window!(self, S => self.scatter::<S, T, _, 3>(displacement, mesh, &gift));
    }

    /// Adds up what every particle gives to the mesh.
    fn scatter<S: Shape, T: Real, G: Gift<T, K>, const K: usize>(
        &self,
        displacement: &[T],
        mesh: &mut [G::Point],
        gift: &G,
    ) {
        let line = self.cells + G::ROOM;
        let area = self.cells * line;
        assert_eq!(mesh.len(), self.cells * area, "length of the mesh");
        let x = self.components(displacement);
        let spans = self.spans::<S, T>(x[0], Reach::window::<S>());
        let planes = self.planes_of_slabs();
        mesh.par_chunks_mut(planes * area).enumerate().for_each_init(
            || [Shares::new(self), Shares::new(self)],
            |shares, (index, points)| {
                points.fill(G::nothing());
                let slab = Slab { first: index * planes, planes: points.len() / area, line };
                let shape = PhantomData::<S>;
                widest(Give { cloud: self, slab, spans: &spans, x, shares, gift, points, shape });
            },
        );
    }
}

/// What a few particles give to the lines of mesh points around them, and where these are.
struct Shares<T> {
    particles: Range<usize>,
    places: Places<T>,
    /// The first point of each line.
    lines: [Few<u32>; LINES],
    /// Weights of the first two points of each line, side by side as they lie on the mesh.
    pairs: [[[T; 2]; TOGETHER]; LINES],
    /// Weights of the third point, where there is one.
    thirds: [Few<T>; LINES],
    /// What a gift prepares.
    own: ByPoint<T>,
    /// One where a plane is within the slab, else zero; and then products across the lines.
    inside: Few<T>,
    plane: Few<T>,
    across: Few<T>,
    /// First points of planes.
    start: Few<u32>,
}

impl<T: Real> Shares<T> {
    fn new(cloud: &Cloud) -> Box<Shares<T>> {
        let nothing = [T::zero(); TOGETHER];
        Box::new(Shares {
            particles: 0..0,
            places: Places::new(cloud),
            lines: [[0; TOGETHER]; LINES],
            pairs: [[[T::zero(); 2]; TOGETHER]; LINES],
            thirds: [nothing; LINES],
            own: [[nothing; 3]; 3],
            inside: nothing,
            plane: nothing,
            across: nothing,
            start: [0; TOGETHER],
        })
    }
}

/// Paints a slab, a few particles at a time, while the points around the next few come from memory.
struct Give<'a, S, T: Real, G: Gift<T, K>, const K: usize> {
    cloud: &'a Cloud,
    slab: Slab,
    spans: &'a [Span],
    x: [&'a [T]; 3],
    shares: &'a mut [Box<Shares<T>>; 2],
    gift: &'a G,
    points: &'a mut [G::Point],
    shape: PhantomData<S>,
}

impl<S: Shape, T: Real, G: Gift<T, K>, const K: usize> Wide<T> for Give<'_, S, T, G, K> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let Give { cloud, slab, spans, x, shares: [now, next], gift, points, .. } = self;
        let side = cloud.side;
        now.particles = 0..0;
        for row in 0..spans.len() {
            let row = tiled(row, side);
            if !spans[row].meets(&slab, cloud.cells) {
                continue;
            }
            let x = x.map(|x| &x[row * side..(row + 1) * side]);
            for from in (0..side).step_by(TOGETHER) {
                next.places.find::<S>(cloud, row, from, x, G::SLOPES);
                if slab.touched(&next.places, Reach::window::<S>(), cloud.cells) {
                    next.particles = row * side + from..row * side + from + TOGETHER.min(side - from);
                    gift.prepare(next.particles.clone(), &next.places, &mut next.own);
                    next.weigh::<S, L, G, K>(cloud.cells, &slab, points);
                    now.give::<S, L, G, K>(gift, cloud.cells, points);
                    std::mem::swap(now, next);
                }
            }
        }
        now.give::<S, L, G, K>(gift, cloud.cells, points);
    }
}

impl<T: Real> Shares<T> {
    /// Computes the shares of the few particles whose places are found, and asks for the memory of the points. Shares of
    /// planes beyond the slab are zero, for a point within it.
    #[inline(always)]
    fn weigh<S: Shape, L: Lanes<T>, G: Gift<T, K>, const K: usize>(
        &mut self,
        cells: usize,
        slab: &Slab,
        slab_points: &[G::Point],
    ) {
        let [cells, below, planes, line] = [cells, slab.first, slab.planes, slab.line].map(|n| n as u32);
        let Shares { places, lines, pairs, thirds, own, inside, plane, across, start, .. } = self;
        let given = G::shares(places.weights.each_ref(), own.each_ref());
        let columns = &places.points[2][0];
        for i in 0..S::POINTS {
            let from = &places.points[0][i];
            for k in 0..TOGETHER {
                let above = from[k].wrapping_sub(below);
                inside[k] = if above < planes { T::one() } else { T::zero() };
                start[k] = if above < planes { above * cells } else { 0 };
            }
            for j in 0..S::POINTS {
                let at = i * S::POINTS + j;
                let (along, lines) = (&places.points[1][j], &mut lines[at]);
                for k in 0..TOGETHER {
                    lines[k] = (start[k] + along[k]) * line + columns[k];
                }
                lines.iter().for_each(|point| L::soon(slab_points, *point as usize));
                for (n, share) in given.iter().enumerate() {
                    multiply(&share[0][i], inside, plane);
                    multiply(&share[1][j], plane, across);
                    let [first, second, third] = share[2];
                    let pairs = &mut pairs[at];
                    if n == 0 {
                        for k in 0..TOGETHER {
                            pairs[k] = [first[k] * across[k], second[k] * across[k]];
                        }
                    } else {
                        for k in 0..TOGETHER {
                            pairs[k][0] += first[k] * across[k];
                            pairs[k][1] += second[k] * across[k];
                        }
                    }
                    if S::POINTS > 2 {
                        if n == 0 {
                            multiply(third, across, &mut thirds[at]);
                        } else {
                            add_product(third, across, &mut thirds[at]);
                        }
                    }
                }
            }
        }
    }

    /// Adds the shares of the few particles to the points of the slab for which they were weighed, a particle at a time.
    #[inline(always)]
    fn give<S: Shape, L: Lanes<T>, G: Gift<T, K>, const K: usize>(
        &self,
        gift: &G,
        cells: usize,
        points: &mut [G::Point],
    ) {
        for turn in 0..TOGETHER {
            let k = in_strands(turn);
            if k >= self.particles.len() {
                continue;
            }
            let value = gift.value(self.particles.start + k);
            let column = self.places.points[2][0][k] as usize;
            if column + S::POINTS > cells + G::ROOM {
                self.give_around::<S, L, G, K>((k, value), cells, points);
                continue;
            }
            for at in 0..S::POINTS * S::POINTS {
                let first = self.lines[at][k] as usize;
                debug_assert!(first + S::POINTS <= points.len());
                // SAFETY: `weigh` makes the place from a plane below `planes`, a line below `cells` and a column on it,
                // and all points of the window lie on the same line.
                let to = unsafe { &mut *points.as_mut_ptr().add(first).cast::<[G::Point; 2]>() };
                G::add_pair::<L>(value, self.pairs[at][k], to);
                if S::POINTS > 2 {
                    // SAFETY: as above.
                    let to = unsafe { points.get_unchecked_mut(first + 2) };
                    G::add::<L>(value, self.thirds[at][k], to);
                }
            }
        }
    }

    /// The same for a particle at the end of a line, whose last points lie at its beginning.
    #[cold]
    fn give_around<S: Shape, L: Lanes<T>, G: Gift<T, K>, const K: usize>(
        &self,
        (k, value): (usize, G::Value),
        cells: usize,
        points: &mut [G::Point],
    ) {
        let column = self.places.points[2][0][k] as usize;
        for at in 0..S::POINTS * S::POINTS {
            let line = self.lines[at][k] as usize - column;
            let [first, second] = self.pairs[at][k];
            let weights = [first, second, self.thirds[at][k]];
            for (c, weight) in weights.into_iter().enumerate().take(S::POINTS) {
                G::add::<L>(value, weight, &mut points[line + (column + c) % cells]);
            }
        }
    }
}
