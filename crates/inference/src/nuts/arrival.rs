//! What is done at a place of a trajectory once its gradient is there: one pass over its vectors ends the step that led to it, looks whether any
//! stretch that ends there turns back, and begins the next step.

use std::ops::Range;

use lookback_operator::Real;
use lookback_operator::vector::{self, CHUNK};

use crate::scales::Scales;
use crate::tasks::{Kernel, each, wide};

/// Momenta of a stretch that is to be joined to as many places after it.
#[derive(Clone, Copy)]
pub(super) struct Near<'a, T> {
    pub first: &'a [T],
    pub last: &'a [T],
    /// Their sum; empty where its ends are all its places.
    pub rho: &'a [T],
}

/// What there is to do at a place once its gradient is known.
pub(super) struct Arrival<'a, T> {
    /// Lengths of the last kick, which is that of the first of the next step, too, and of the move after it.
    pub by: [T; 2],
    pub z: &'a [T],
    pub gradient: &'a [T],
    pub scales: Scales<'a, T>,
    /// Stretches of one place, of two, of four and so on.
    pub near: &'a [Near<'a, T>],
}

/// A step that has begun: its momentum after the first kick, and its latent after the first move.
pub(super) struct Ahead<T> {
    pub momentum: Vec<T>,
    pub z: Vec<T>,
}

/// What a task writes.
struct Part<'a, T> {
    /// Momentum of the step that ends, and then of the one that begins.
    under_way: &'a mut [T],
    momentum: &'a mut [T],
    /// Latent that the step that begins leads to.
    ahead: &'a mut [T],
    /// Sum of the momenta of all stretches; empty where there is one at most.
    rho: &'a mut [T],
}

/// Scalar products with the first and the last momentum of a stretch: of the sum of its momenta, and of those of each half with the next momentum of
/// the other.
type Products = [f64; 6];

impl<T: Real> Arrival<'_, T> {
    /// Writes the momentum here, the sum of the momenta of all stretches and the step ahead; gives the squared length of the momentum, and for each
    /// stretch whether it goes on in the direction of its ends.
    pub fn carry_out(&self, ahead: &mut Ahead<T>, momentum: &mut [T], rho: &mut [T]) -> (f64, Vec<bool>) {
        let rho = rho.chunks_mut(CHUNK).chain(std::iter::repeat_with(Default::default));
        let parts = ahead.momentum.chunks_mut(CHUNK).zip(momentum.chunks_mut(CHUNK));
        let parts = parts.zip(ahead.z.chunks_mut(CHUNK)).zip(rho);
        let part = |(((under_way, momentum), ahead), rho)| Part { under_way, momentum, ahead, rho };
        let parts: Vec<Part<'_, T>> = parts.map(part).collect();
        let mut square = 0.0;
        let mut all = vec![Products::default(); self.near.len()];
        for (of_part, products) in each(parts, |task, part| self.of_task(task, part)) {
            square += of_part;
            let sums = all.iter_mut().flatten().zip(products.iter().flatten());
            sums.for_each(|(sum, of_part)| *sum += of_part);
        }
        (square, all.iter().map(|products| products.iter().all(|&product| product > 0.0)).collect())
    }

    fn of_task(&self, task: usize, part: Part<'_, T>) -> (f64, Vec<Products>) {
        let Part { under_way, momentum, ahead, rho } = part;
        let here = task * CHUNK..task * CHUNK + momentum.len();
        let (z, gradient) = (&self.z[here.clone()], &self.gradient[here.clone()]);
        let scales = self.scales.map(|scales| &scales[here.clone()]);
        let square =
            wide(Leap { by: self.by, z, gradient, scales, under_way, momentum: &mut *momentum, ahead });
        let mut first: &[T] = momentum;
        let products = self.near.iter().enumerate().map(|(number, near)| {
            let near = near.part(here.clone());
            let products = match number {
                0 => near.join_place(momentum),
                1 => near.join_pair(rho, first, momentum),
                _ => near.join(rho, first, momentum),
            };
            first = near.first;
            products
        });
        (square, products.collect())
    }
}

impl<'a, T: Real> Near<'a, T> {
    fn part(&self, part: Range<usize>) -> Near<'a, T> {
        let [first, last] = [self.first, self.last].map(|vector| &vector[part.clone()]);
        Near { first, last, rho: self.rho.get(part).unwrap_or_default() }
    }

    /// Joins a stretch of one place to the next place.
    fn join_place(&self, place: &[T]) -> Products {
        let [to_first, to_last] = vector::sums([self.first, place], |momenta| {
            let [a, b] = momenta.map(Real::f64);
            [(a + b) * a, (a + b) * b]
        });
        [to_first, to_last, to_first, to_last, to_first, to_last]
    }

    /// Joins a stretch of two places to the next two; `rho` becomes the sum of all four.
    fn join_pair(&self, rho: &mut [T], first: &[T], last: &[T]) -> Products {
        let ends = [self.first, self.last, first, last];
        vector::change_and_sum(rho, ends, |rho, [a1, a2, b1, b2]| {
            let (a, b) = (a1 + a2, b1 + b2);
            *rho = a + b;
            products([a1, a2, a, b1, b2, b, *rho])
        })
    }

    /// Joins a stretch to one whose momenta at the ends are these, and whose sum of momenta `rho` becomes that of both.
    fn join(&self, rho: &mut [T], first: &[T], last: &[T]) -> Products {
        let momenta = [self.first, self.last, self.rho, first, last];
        vector::change_and_sum(rho, momenta, |rho, [a1, a2, a, b1, b2]| {
            let b = *rho;
            *rho += a;
            products([a1, a2, a, b1, b2, b, *rho])
        })
    }
}

/// What a place adds to the products of two stretches, of which these are the momenta at both ends and their sum, and the sum of all.
#[inline(always)]
fn products<T: Real>(momenta: [T; 7]) -> Products {
    let [a1, a2, a, b1, b2, b, all] = momenta.map(Real::f64);
    let (a, b) = (a + b1, b + a2);
    [all * a1, all * b2, a * a1, a * b1, b * a2, b * b2]
}

/// The end of a step and the beginning of the next; gives the squared length of the momentum between them.
struct Leap<'a, T> {
    by: [T; 2],
    z: &'a [T],
    gradient: &'a [T],
    scales: Scales<'a, T>,
    under_way: &'a mut [T],
    momentum: &'a mut [T],
    ahead: &'a mut [T],
}

/// Places whose momenta are still in the nearest cache when their squares are summed.
const NEAREST: usize = 512;

impl<T: Real> Kernel for Leap<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Leap { by: [kick, drift], z, gradient, scales, under_way, momentum, ahead } = self;
        let leap = |(under_way, momentum, ahead): (&mut T, &mut T, &mut T), z: T, g: T, s: T| {
            *momentum = *under_way - kick * s * g;
            *under_way = *momentum - kick * s * g;
            *ahead = z + drift * s * *under_way;
        };
        let parts =
            under_way.chunks_mut(NEAREST).zip(momentum.chunks_mut(NEAREST)).zip(ahead.chunks_mut(NEAREST));
        let mut square = 0.0;
        for (part, ((under_way, momentum), ahead)) in parts.enumerate() {
            let here = part * NEAREST..part * NEAREST + momentum.len();
            let places = under_way.iter_mut().zip(&mut *momentum).zip(ahead);
            let places = places.zip(&z[here.clone()]).zip(&gradient[here.clone()]);
            if let Some(scales) = scales {
                for (((((under_way, momentum), ahead), &z), &g), &s) in places.zip(&scales[here]) {
                    leap((under_way, momentum, ahead), z, g, s);
                }
            } else {
                for ((((under_way, momentum), ahead), &z), &g) in places {
                    leap((under_way, momentum, ahead), z, g, T::one());
                }
            }
            square += vector::norm2(momentum);
        }
        square
    }
}
