//! Flows along a velocity field: continuous in time, with networks that need not be invertible (Chen et al. 2018).

use lookback_operator::Real;

use super::velocity::{Loops, Point, Velocity};
use super::{Bijection, Mapped};
use crate::Batch;
use crate::layer::{Trace, Weight};

/// `dx/dt = v(x, t)` from the data at `t = 0` to normal numbers at `t = 1`, by steps of Runge and Kutta of fourth order.
///
/// `ln |det J|` is the integral of the divergence. The inverse runs back in time; both directions are exact to the fourth power of
/// the step. Derivatives are those of the steps themselves. Cost: four passes of the network a step. When not to use it: as a prior
/// within a sampler, where a coupling needs one pass; trained by [`Matching`](super::Matching) it follows densities that couplings
/// tear (several clumps) and needs no likelihood to be trained.
#[derive(Debug)]
pub struct Continuous {
    dimensions: usize,
    velocity: Velocity,
    steps: usize,
}

/// Which way time runs.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    ToNormal,
    ToData,
}

/// Where the stages of a step lie, and with which shares they count (of sixths).
const PLACES: [f64; 4] = [0.0, 0.5, 0.5, 1.0];
const SHARES: [f64; 4] = [1.0, 2.0, 2.0, 1.0];

impl Continuous {
    /// A flow in so many steps.
    pub fn new(sizes: (usize, usize), hidden: usize, steps: usize) -> Continuous {
        Continuous { dimensions: sizes.0, velocity: Velocity::new(sizes, hidden), steps }
    }

    /// The field.
    pub(super) fn field(&self) -> &Velocity {
        &self.velocity
    }

    /// Where a step begins, and how far it goes, in time.
    fn span<T: Real>(&self, step: usize, way: Way) -> (T, T) {
        let h = 1.0 / self.steps as f64;
        let (start, h) = match way {
            Way::ToNormal => (step as f64 * h, h),
            Way::ToData => ((step + 1) as f64 * h, -h),
        };
        (T::of(start), T::of(h))
    }

    /// Adds to the dimensions of every row, and leaves the context.
    fn add<T: Real>(&self, rows: &mut Batch<T>, factor: T, add: &Batch<T>) {
        for row in 0..rows.rows() {
            let into = &mut rows.row_mut(row)[..self.dimensions];
            into.iter_mut().zip(add.row(row)).for_each(|(x, &a)| *x += factor * a);
        }
    }

    /// The four stages of a step from `x`: `seen(stage, velocity, divergence, what derivatives need)`, the divergence if it is given
    /// what that needs.
    fn stages<T: Real>(
        &self,
        weights: &[T],
        x: &Batch<T>,
        (start, h): (T, T),
        divergence: Option<&Loops<T>>,
        mut seen: impl FnMut(usize, &Batch<T>, Vec<T>, Point<T>),
    ) {
        let mut before: Option<Batch<T>> = None;
        for (stage, place) in PLACES.into_iter().enumerate() {
            let far = h * T::of(place);
            let mut at = x.clone();
            if let Some(velocity) = &before {
                self.add(&mut at, far, velocity);
            }
            let (velocity, sums, point) = self.velocity.evaluate(weights, &at, |_| start + far, divergence);
            seen(stage, &velocity, sums, point);
            before = Some(velocity);
        }
    }

    /// All steps in one direction, with the determinant if it is given what that needs; the rows between steps are kept in the order
    /// of time.
    fn flow<T: Real>(
        &self,
        weights: &[T],
        x: Batch<T>,
        way: Way,
        divergence: Option<&Loops<T>>,
    ) -> Mapped<T> {
        let mut log_det = vec![T::zero(); x.rows()];
        let mut kept = vec![x];
        for step in self.order(way) {
            let span = self.span(step, way);
            let from = &kept[kept.len() - 1];
            let mut x = from.clone();
            self.stages(weights, from, span, divergence, |stage, velocity, sums, _| {
                let share = span.1 * T::of(SHARES[stage] / 6.0);
                self.add(&mut x, share, velocity);
                // That of the way to normal numbers, in both directions.
                let share = if way == Way::ToNormal { share } else { -share };
                log_det.iter_mut().zip(sums).for_each(|(l, d)| *l += share * d);
            });
            kept.push(x);
        }
        let value = kept[kept.len() - 1].clone();
        if way == Way::ToData {
            kept.reverse();
        }
        Mapped { value, log_det, trace: Trace::of(kept) }
    }

    fn order(&self, way: Way) -> Box<dyn DoubleEndedIterator<Item = usize>> {
        match way {
            Way::ToNormal => Box::new(0..self.steps),
            Way::ToData => Box::new((0..self.steps).rev()),
        }
    }

    /// Where a step begins.
    fn origin<'a, T>(&self, trace: &'a Trace<T>, step: usize, way: Way) -> &'a Batch<T> {
        &trace.kept[if way == Way::ToNormal { step } else { step + 1 }]
    }

    fn tangents<T: Real>(&self, weights: &[T], trace: &Trace<T>, mut dx: Batch<T>, way: Way) -> Batch<T> {
        for step in self.order(way) {
            let span = self.span(step, way);
            let origin = dx.clone();
            let mut before: Option<Batch<T>> = None;
            self.stages(weights, self.origin(trace, step, way), span, None, |stage, _, _, point| {
                let mut at = origin.clone();
                if let Some(before) = &before {
                    self.add(&mut at, span.1 * T::of(PLACES[stage]), before);
                }
                let pushed = self.velocity.push(weights, &point, &at);
                self.add(&mut dx, span.1 * T::of(SHARES[stage] / 6.0), &pushed);
                before = Some(pushed);
            });
        }
        dx
    }

    /// Reverse mode; without cotangents of the determinant if `dlog_det` is empty.
    fn cotangents<T: Real>(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        mut dy: Batch<T>,
        dlog_det: &[T],
        mut gradient: Option<&mut [T]>,
        way: Way,
    ) -> Batch<T> {
        let loops = (!dlog_det.is_empty()).then(|| self.velocity.loops(weights));
        for step in self.order(way).rev() {
            let span = self.span(step, way);
            let mut points = Vec::new();
            self.stages(weights, self.origin(trace, step, way), span, loops.as_ref(), |_, _, _, point| {
                points.push(point);
            });
            let end = dy.columns(0, self.dimensions);
            let mut after: Option<Batch<T>> = None;
            for stage in (0..4).rev() {
                let share = span.1 * T::of(SHARES[stage] / 6.0);
                let mut dv = end.clone().map(|d| *d *= share);
                if let Some(after) = &after {
                    self.add(&mut dv, span.1 * T::of(PLACES[stage + 1]), after);
                }
                let ddivergence: Vec<T> = dlog_det.iter().map(|&d| share * d).collect();
                let divergence = loops.as_ref().map(|loops| (loops, &ddivergence[..]));
                let gradient = gradient.as_deref_mut();
                let pulled = self.velocity.pull(weights, &points[stage], &dv, divergence, gradient);
                dy = dy.zip_with(&pulled, |dy, pulled| *dy += pulled);
                after = Some(pulled);
            }
        }
        dy
    }
}

impl<T: Real> Bijection<T> for Continuous {
    fn weights(&self) -> Vec<Weight> {
        self.velocity.weights()
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        self.flow(weights, x, Way::ToNormal, Some(&self.velocity.loops(weights)))
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        self.flow(weights, y, Way::ToData, Some(&self.velocity.loops(weights)))
    }

    fn inverse_value(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        self.flow(weights, y, Way::ToData, None)
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        let some = if dlog_det.iter().all(|d| *d == T::zero()) { &[] } else { dlog_det };
        self.cotangents(weights, trace, dy, some, gradient, Way::ToNormal)
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.tangents(weights, trace, dx, Way::ToNormal)
    }

    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.cotangents(weights, trace, dx, &[], None, Way::ToData)
    }

    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        self.tangents(weights, trace, dy, Way::ToData)
    }

    fn continuous(&self) -> Option<&Continuous> {
        Some(self)
    }
}
