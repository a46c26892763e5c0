//! Normalising flows: invertible maps of data to standard normal numbers, with their densities.
//!
//! A row holds the numbers that are mapped and, after them, the numbers that they depend on (labels, parameters), which pass by
//! unchanged. So derivatives with respect to the context need no code of their own.

mod actnorm;
mod autoregressive;
pub(crate) mod conditioner;
mod continuous;
mod coupling;
mod description;
mod inverted;
pub(crate) mod knots;
mod likelihood;
mod linear;
mod matching;
mod sliced;
mod spline;
mod velocity;
mod warp;

use std::fmt::Debug;

use lookback_operator::Real;

pub use actnorm::ActNorm;
pub use autoregressive::Autoregressive;
pub use continuous::Continuous;
pub use coupling::Coupling;
pub use description::{BijectionSection, FlowSection, PublishedFlow};
pub use inverted::Inverted;
pub use likelihood::MaximumLikelihood;
pub use linear::LowerUpper;
pub use matching::Matching;
pub use sliced::{Sliced, SlicedOptions, SlicedWay, fit_sliced};
pub use warp::Warp;

use crate::Batch;
use crate::batch::parts;
use crate::layer::{Trace, Weight};

/// The value of a bijection, the logarithm of the determinant of its Jacobian (row by row), and what its derivatives need.
#[derive(Debug, Clone)]
pub struct Mapped<T> {
    /// Where the rows went.
    pub value: Batch<T>,
    /// `ln |det dy/dx|` of the direction from data to normal numbers.
    pub log_det: Vec<T>,
    /// For the derivatives, in both directions.
    pub trace: Trace<T>,
}

/// An invertible map `y = f(x)` of rows, from the data's side (`x`) towards the normal numbers' (`y`).
///
/// All derivatives, those of the inverse too, are products at the trace of either direction.
pub trait Bijection<T: Real>: Send + Sync + Debug {
    /// The arrays of weights, in order.
    fn weights(&self) -> Vec<Weight>;

    /// `y = f(x)`.
    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T>;

    /// `x` with `f(x) = y`; `log_det` is still that of `f`.
    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T>;

    /// The same, where nobody asks for `log_det`: it may be anything.
    fn inverse_value(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        self.inverse(weights, y)
    }

    /// `J^T dy`, plus the derivative of `log_det` times its cotangent; adds that of the weights to `gradient`.
    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        gradient: Option<&mut [T]>,
    ) -> Batch<T>;

    /// `J dx`.
    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T>;

    /// `J^-T dx`: reverse mode of the inverse.
    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T>;

    /// `J^-1 dy`: forward mode of the inverse.
    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>) -> Batch<T>;

    /// First values of the weights that depend on data.
    fn prepare(&self, weights: &mut [T], x: &Batch<T>) {
        let _ = (weights, x);
    }

    /// The step itself, where it is continuous in time.
    fn continuous(&self) -> Option<&Continuous> {
        None
    }
}

/// Bijections one after the other: a bijection itself, and a density.
#[derive(Debug)]
pub struct Flow<T: Real> {
    dimensions: usize,
    context: usize,
    steps: Vec<Box<dyn Bijection<T>>>,
    starts: Vec<usize>,
}

impl<T: Real> Flow<T> {
    /// A flow of rows with `dimensions` numbers, and `context` after them, through these steps.
    pub fn new(dimensions: usize, context: usize, steps: Vec<Box<dyn Bijection<T>>>) -> Flow<T> {
        let mut starts = vec![0];
        for step in &steps {
            starts.push(starts[starts.len() - 1] + Weight::total(&step.weights()));
        }
        Flow { dimensions, context, steps, starts }
    }

    /// Numbers that are mapped.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Numbers that they depend on.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.starts[self.steps.len()]
    }

    /// True if there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn parts(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&dyn Bijection<T>, std::ops::Range<usize>)> + ExactSizeIterator
    {
        self.steps.iter().enumerate().map(|(i, step)| (&**step, self.starts[i]..self.starts[i + 1]))
    }

    /// What the last step sees.
    fn before_last(&self, weights: &[T], x: Batch<T>) -> Batch<T> {
        let before = self.parts().take(self.steps.len() - 1);
        before.fold(x, |x, (step, range)| step.forward(&weights[range], x).value)
    }

    /// All steps from the last to the first, each by `inverse(step, its weights, y)`.
    fn back(
        &self,
        y: Batch<T>,
        inverse: impl Fn(&dyn Bijection<T>, std::ops::Range<usize>, Batch<T>) -> Mapped<T>,
    ) -> Mapped<T> {
        let mut all = Mapped { log_det: vec![T::zero(); y.rows()], value: y, trace: Trace::of(Vec::new()) };
        for (step, range) in self.parts().rev() {
            let mapped = inverse(step, range, std::mem::take(&mut all.value));
            all.value = mapped.value;
            all.log_det.iter_mut().zip(mapped.log_det).for_each(|(all, here)| *all += here);
            all.trace.inner.push(mapped.trace);
        }
        all.trace.inner.reverse();
        all
    }

    /// `ln p(x)` of every row, given its context: `ln N(f(x); 0, 1) + ln |det J|`.
    pub fn log_density(&self, weights: &[T], x: Batch<T>) -> Vec<f64> {
        let density = |x| {
            let mapped = self.forward(weights, x);
            let both = self.normal_log_density(&mapped.value).zip(&mapped.log_det);
            both.map(|(normal, log_det)| normal + log_det.f64()).collect::<Vec<f64>>()
        };
        parts(x).flat_map(density).collect()
    }

    /// `ln N(y; 0, 1)` of every row.
    fn normal_log_density<'a>(&self, y: &'a Batch<T>) -> impl Iterator<Item = f64> + use<'a, T> {
        let dimensions = self.dimensions;
        let constant = dimensions as f64 / 2.0 * (2.0 * std::f64::consts::PI).ln();
        (0..y.rows()).map(move |row| {
            let square: f64 = y.row(row)[..dimensions].iter().map(|y| y.f64() * y.f64()).sum();
            -square / 2.0 - constant
        })
    }

    /// The mean of `-ln p(x)` over the rows; adds its gradient with respect to the weights to `gradient`.
    pub fn loss(&self, weights: &[T], x: Batch<T>, gradient: &mut [T]) -> f64 {
        let rows = x.rows() as f64;
        let mapped = self.forward(weights, x);
        let normal: f64 = self.normal_log_density(&mapped.value).sum();
        let log_det: f64 = mapped.log_det.iter().map(|x| x.f64()).sum();
        let width = mapped.value.width();
        let mut dy = mapped.value;
        for row in dy.data_mut().chunks_exact_mut(width) {
            row[..self.dimensions].iter_mut().for_each(|y| *y *= T::of(1.0 / rows));
            row[self.dimensions..].fill(T::zero());
        }
        let dlog_det = vec![T::of(-1.0 / rows); mapped.log_det.len()];
        self.pull(weights, &mapped.trace, dy, &dlog_det, Some(gradient));
        -(normal + log_det) / rows
    }
}

impl<T: Real> Bijection<T> for Flow<T> {
    fn weights(&self) -> Vec<Weight> {
        let mut all = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            all.extend(step.weights().into_iter().map(|weight| weight.within(index)));
        }
        all
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        let mut all = Mapped { log_det: vec![T::zero(); x.rows()], value: x, trace: Trace::of(Vec::new()) };
        for (step, range) in self.parts() {
            let mapped = step.forward(&weights[range], std::mem::take(&mut all.value));
            all.value = mapped.value;
            all.log_det.iter_mut().zip(mapped.log_det).for_each(|(all, here)| *all += here);
            all.trace.inner.push(mapped.trace);
        }
        all
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        self.back(y, |step, range, y| step.inverse(&weights[range], y))
    }

    fn inverse_value(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        self.back(y, |step, range, y| step.inverse_value(&weights[range], y))
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        mut dy: Batch<T>,
        dlog_det: &[T],
        mut gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        for ((step, range), trace) in self.parts().zip(&trace.inner).rev() {
            let gradient = gradient.as_deref_mut().map(|gradient| &mut gradient[range.clone()]);
            dy = step.pull(&weights[range], trace, dy, dlog_det, gradient);
        }
        dy
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.parts()
            .zip(&trace.inner)
            .fold(dx, |dx, ((step, range), trace)| step.push(&weights[range], trace, dx))
    }

    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let parts = self.parts().zip(&trace.inner);
        parts.fold(dx, |dx, ((step, range), trace)| step.pull_inverse(&weights[range], trace, dx))
    }

    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        let parts = self.parts().zip(&trace.inner).rev();
        parts.fold(dy, |dy, ((step, range), trace)| step.push_inverse(&weights[range], trace, dy))
    }

    fn prepare(&self, weights: &mut [T], x: &Batch<T>) {
        let mut x = x.clone();
        for (step, range) in self.parts() {
            step.prepare(&mut weights[range.clone()], &x);
            x = step.forward(&weights[range], x).value;
        }
    }
}
