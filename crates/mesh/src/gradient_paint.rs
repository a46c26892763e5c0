//! The transpose of reading the gradient of a potential: vectors of particles are painted on the potential, without a mesh of vectors.

use std::ops::Range;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::Cic;
use crate::gradient::{BELOW, REACH, Starts, Stencil, Taps, beside, line_start, pair, weights};
use crate::lanes::{LANES, Lanes, SPAN, Wide, widest};
use crate::places::{Few, TOGETHER};
use crate::slabs::{Reach, Slab, Span, in_strands, tiled};
use crate::visit::Around;
use crate::{Cloud, Differences, Window};

/// The planes that differences take.
const PLANES: Reach = Reach { first: -(BELOW as i32), planes: REACH as i32 };

/// The start of a plane beyond the slab.
const OUTSIDE: u32 = u32::MAX;

impl Cloud {
    /// Writes `bar(m) = sum_p sum_d c_d(p) (D_d^T W)(x_p - m)`, the transpose of [`visit_gradient`](Cloud::visit_gradient): as
    /// [`paint_vectors`](Cloud::paint_vectors) and [`Field::difference_adjoint`](crate::Field::difference_adjoint), for clouds in
    /// cells, and without the memory of that field.
    ///
    /// As long as numbers are finite, results do not depend on the number of threads.
    ///
    /// # Panics
    /// If the window is another, or sizes differ.
    pub fn paint_gradient_adjoint<T: Real>(
        &self,
        displacement: &[T],
        c: &[T],
        kernel: Differences,
        bar: &mut [T],
    ) {
        assert_eq!(self.window(), Window::Cic, "window of the particles");
        assert_eq!(bar.len(), self.mesh_len(), "length of the mesh");
        let (x, c) = (self.components(displacement), self.components(c));
        let coefficients = self.coefficients(kernel);
        let spans = self.spans::<Cic, T>(x[0], PLANES);
        let (planes, area) = (self.planes_of_slabs(), self.cells * self.cells);
        bar.par_chunks_mut(planes * area).enumerate().for_each(|(index, bar)| {
            bar.fill(T::zero());
            let slab = Slab { first: index * planes, planes: bar.len() / area, line: self.cells };
            let given = [Given::new(self), Given::new(self)];
            widest(Give { cloud: self, slab, spans: &spans, x, c, coefficients, given, bar });
        });
    }
}

/// What a few particles give to the points that their differences take, and where these are.
struct Given<T> {
    particles: Range<usize>,
    /// Starts of planes are counted from the first of the slab, or `OUTSIDE`.
    taps: Box<Taps<T>>,
    /// The farthest start of a plane, `OUTSIDE` if any is.
    farthest: Few<u32>,
    /// Their vectors.
    c: [Few<T>; 3],
    /// Factors of the differences along the four lines around a particle, and of its window in them.
    along: [Few<T>; 4],
    across: [Few<T>; 4],
}

impl<T: Real> Given<T> {
    fn new(cloud: &Cloud) -> Box<Given<T>> {
        let nothing = [T::zero(); TOGETHER];
        Box::new(Given {
            particles: 0..0,
            taps: Taps::new(cloud),
            farthest: [0; TOGETHER],
            c: [nothing; 3],
            along: [nothing; 4],
            across: [nothing; 4],
        })
    }
}

/// Paints a slab, a few particles at a time, while the points around the next few come from memory.
struct Give<'a, T: Real> {
    cloud: &'a Cloud,
    slab: Slab,
    spans: &'a [Span],
    x: [&'a [T]; 3],
    c: [&'a [T]; 3],
    coefficients: [T; 2],
    given: [Box<Given<T>>; 2],
    /// The slab of what is given to the potential.
    bar: &'a mut [T],
}

impl<T: Real> Wide<T> for Give<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let Give { cloud, slab, spans, x, c, coefficients, given: [mut now, mut next], bar } = self;
        let (side, cells) = (cloud.side, cloud.cells);
        let stencil = Stencil::<L>::new(coefficients);
        for row in 0..spans.len() {
            let row = tiled(row, side);
            if !spans[row].meets(&slab, cells) {
                continue;
            }
            let x = x.map(|x| &x[row * side..(row + 1) * side]);
            for from in (0..side).step_by(TOGETHER) {
                next.taps.places.find::<Cic>(cloud, row, from, x, false);
                if slab.touched(&next.taps.places, PLANES, cells) {
                    next.particles = row * side + from..row * side + from + TOGETHER.min(side - from);
                    next.weigh(c);
                    next.look::<L>(cells, &slab, bar);
                    now.give::<L>(cells, &stencil, bar);
                    std::mem::swap(&mut now, &mut next);
                }
            }
        }
        now.give::<L>(cells, &stencil, bar);
    }
}

impl<T: Real> Given<T> {
    /// Computes the factors of the few particles whose places are found.
    #[inline(always)]
    fn weigh(&mut self, c: [&[T]; 3]) {
        let Given { particles, taps, c: own, along, across, .. } = self;
        for (own, c) in own.iter_mut().zip(c) {
            own[..particles.len()].copy_from_slice(&c[particles.clone()]);
        }
        let ([x, y, _], [c_x, c_y, c_z]) = (&taps.places.fraction, &*own);
        for k in 0..TOGETHER {
            let (x, y, c_x, c_y, c_z) = (x[k], y[k], c_x[k], c_y[k], c_z[k]);
            let (u, v) = (T::one() - x, T::one() - y);
            along[0][k] = c_z * u * v;
            along[1][k] = c_z * u * y;
            along[2][k] = c_z * x * v;
            along[3][k] = c_z * x * y;
            // A difference at the other plane or line takes this one.
            across[0][k] = -(c_x * x * v) - c_y * y * u;
            across[1][k] = c_y * v * u - c_x * x * y;
            across[2][k] = c_x * u * v - c_y * y * x;
            across[3][k] = c_x * u * y + c_y * v * x;
        }
    }

    /// Looks around the few particles, and asks for the memory there.
    #[inline(always)]
    fn look<L: Lanes<T>>(&mut self, cells: usize, slab: &Slab, bar: &[T]) {
        let Given { taps, farthest, .. } = self;
        let (first, planes, area) = (slab.first as u32, slab.planes as u32, (cells * cells) as u32);
        taps.points(0, cells, |point| {
            let above = point.wrapping_sub(first);
            if above < planes { above * area } else { OUTSIDE }
        });
        taps.points(1, cells, |point| point * cells as u32);
        *farthest = [0; TOGETHER];
        for starts in &taps.starts[0] {
            farthest.iter_mut().zip(starts).for_each(|(farthest, start)| *farthest = (*farthest).max(*start));
        }
        taps.soon::<L>(bar, BELOW + 2..REACH);
    }

    /// Adds what the few particles give, a particle at a time.
    #[inline(always)]
    fn give<L: Lanes<T>>(&self, cells: usize, stencil: &Stencil<L>, bar: &mut [T]) {
        for turn in 0..TOGETHER {
            let k = in_strands(turn);
            if k >= self.particles.len() {
                continue;
            }
            let [planes, lines] = self.taps.starts_of(k);
            match self.taps.side_by_side(k, cells) {
                Some(first) if self.farthest[k] != OUTSIDE => {
                    let starts = [planes.map(|plane| plane + first), lines];
                    self.give_one(k, stencil, &mut Straight { starts, bar });
                }
                _ => {
                    let (starts, columns) = ([planes, lines], self.taps.columns_of(k, cells));
                    self.give_one(k, stencil, &mut Wrapped { starts, columns, bar });
                }
            }
        }
    }

    /// Adds what particle `k` gives.
    #[inline(always)]
    fn give_one<L: Lanes<T>>(&self, k: usize, stencil: &Stencil<L>, to: &mut impl Points<T>) {
        let [x, y, z] = &self.taps.places.fraction;
        let (by, by_z) = (L::each([x[k], y[k]]), L::each([z[k]; 2]));
        let columns = weights(stencil.columns, by_z);
        let beside = weights(stencil.pairs, L::each([y[k], x[k]])).times(columns);
        let beside = L::each([self.c[0][k], self.c[1][k]]).times(beside);
        to.add_beside(0, stencil.minus_far.plus_product(stencil.far, by).times(beside));
        to.add_beside(1, stencil.minus_near.plus_product(stencil.change, by).times(beside));
        to.add_beside(4, stencil.far.plus_product(stencil.change, by).times(beside));
        to.add_beside(5, stencil.far.times(by).times(beside));
        let inner = weights(stencil.inner, by_z).firsts(L::zero());
        let along = weights(stencil.along, by_z);
        for at in 0..4 {
            let line = L::each([self.across[at][k]; 2]).times(inner);
            to.add_along(at, line.plus_product(L::each([self.along[at][k]; 2]), along));
        }
    }
}

/// The points around a particle.
trait Points<T: Real> {
    /// Adds to pairs of points: those in the plane `t`, of both lines of the window, and those in the line `t`, of both planes.
    fn add_beside<L: Lanes<T>>(&mut self, t: usize, x: L);
    /// Adds to the points of one of the four lines of the window.
    fn add_along<L: Lanes<T>>(&mut self, at: usize, x: L);
}

/// Points side by side: from the first of each plane and line on, `SPAN` points lie in the slab.
struct Straight<'a, T> {
    starts: Starts,
    bar: &'a mut [T],
}

impl<T: Real> Points<T> for Straight<'_, T> {
    #[inline(always)]
    fn add_beside<L: Lanes<T>>(&mut self, t: usize, x: L) {
        let [[a, b], [c, d]] = beside(t);
        let (points, len) = (self.bar.as_mut_ptr(), self.bar.len());
        let at = |place: [usize; 2]| -> *mut [T; 2] {
            let start = pair(&self.starts, place);
            debug_assert!(start + 2 <= len);
            points.wrapping_add(start).cast()
        };
        // SAFETY: the column is one from which on `SPAN` points lie in the slab, all planes are in it, and these four pairs are on
        // different lines, since there are four cells or more along an axis.
        unsafe { x.add_to_pairs([[&mut *at(a), &mut *at(b)], [&mut *at(c), &mut *at(d)]]) };
    }

    #[inline(always)]
    fn add_along<L: Lanes<T>>(&mut self, at: usize, x: L) {
        let start = line_start(&self.starts, at);
        debug_assert!(start + SPAN <= self.bar.len());
        // SAFETY: as in `add_beside`.
        x.add_to(unsafe { &mut *self.bar.as_mut_ptr().add(start).cast() });
    }
}

/// Points on lines that begin anew among them, or in planes of which some lie outside of the slab.
struct Wrapped<'a, T> {
    starts: Starts,
    columns: [usize; REACH],
    bar: &'a mut [T],
}

impl<T: Real> Wrapped<'_, T> {
    /// Adds to the points of a line, from one of the columns on.
    #[inline(always)]
    fn add(&mut self, [plane, line]: [usize; 2], from: usize, x: &[T]) {
        let [planes, lines] = &self.starts;
        if planes[plane] == OUTSIDE as usize {
            return;
        }
        let start = planes[plane] + lines[line];
        for (x, column) in x.iter().zip(&self.columns[from..]) {
            self.bar[start + column] += *x;
        }
    }
}

impl<T: Real> Points<T> for Wrapped<'_, T> {
    #[inline(always)]
    fn add_beside<L: Lanes<T>>(&mut self, t: usize, x: L) {
        let mut numbers = [[T::zero(); LANES]; 2];
        x.add_to(&mut numbers);
        for (pair, x) in beside(t).as_flattened().iter().zip(numbers.as_flattened().chunks(2)) {
            self.add(*pair, BELOW, x);
        }
    }

    #[inline(always)]
    fn add_along<L: Lanes<T>>(&mut self, at: usize, x: L) {
        let mut numbers = [[T::zero(); LANES]; 2];
        x.add_to(&mut numbers);
        self.add([BELOW + at / 2, BELOW + at % 2], 0, numbers.as_flattened());
    }
}
