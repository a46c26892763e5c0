//! Conjugate gradients for the metric `D^-1 = 1 + J^T M J`.

use lookback_operator::{Real, vector};

use crate::{Error, Evaluator, Result};

/// The solution of a linear system.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution<T> {
    /// `x` with `D^-1 x = b`.
    pub x: Vec<T>,
    /// Products with the metric.
    pub iterations: usize,
}

/// Solves `D^-1 x = b` at the evaluator's point (Hestenes & Stiefel 1952).
///
/// Stops when `|D^-1 x - b|^2 <= tolerance^2 dim`. As no eigenvalue of `D^-1` is below 1, the error `e` of `x` then
/// obeys `e^T D^-1 e <= tolerance^2 dim`: it is at most `tolerance` posterior standard deviations, in root mean
/// square over the latents. Memory: four vectors. Cost: one metric product and five vector passes an iteration.
///
/// # Errors
/// [`Error::NotConverged`] after `max_iterations`, or a failure of the model.
pub fn conjugate_gradient<T: Real>(
    evaluator: &mut dyn Evaluator<T>,
    b: &[T],
    tolerance: f64,
    max_iterations: usize,
) -> Result<Solution<T>> {
    let goal = tolerance * tolerance * b.len() as f64;
    solve(evaluator, b, goal, max_iterations)?.ok_or_else(|| {
        Error::NotConverged(format!(
            "conjugate gradients did not reach {tolerance:e} posterior standard deviations in {max_iterations} iterations; \
             allow more, ask for less, or use f64"
        ))
    })
}

/// The same until the squared residual falls to `goal`; `None` if it does not within the iterations allowed.
fn solve<T: Real>(
    evaluator: &mut dyn Evaluator<T>,
    b: &[T],
    goal: f64,
    max_iterations: usize,
) -> Result<Option<Solution<T>>> {
    let mut state = State::new(b);
    while state.residual2 > goal {
        if state.iterations == max_iterations {
            return Ok(None);
        }
        state.step(evaluator)?;
    }
    Ok(Some(Solution { x: state.x, iterations: state.iterations }))
}

/// A descent direction for Newton's method: conjugate gradients stopped early, never failing.
pub(crate) fn truncated<T: Real>(
    evaluator: &mut dyn Evaluator<T>,
    b: &[T],
    goal: f64,
    max_iterations: usize,
) -> Result<Solution<T>> {
    let mut state = State::new(b);
    while state.residual2 > goal && state.iterations < max_iterations {
        state.step(evaluator)?;
    }
    Ok(Solution { x: state.x, iterations: state.iterations })
}

/// A sample `x ~ N(0, D)`, and what it was made of.
pub(crate) struct Sample<T> {
    /// `D^-1 x`, drawn from `N(0, D^-1)`.
    pub y: Vec<T>,
    pub x: Vec<T>,
    /// Products with the metric.
    pub iterations: usize,
}

impl<T: Real> Sample<T> {
    /// Number `draw` of a seed, at the evaluator's point: a draw from the metric, of which an inverse makes one from its inverse (Papandreou & Yuille 2010). `y` is
    /// overwritten.
    ///
    /// # Errors
    /// As [`conjugate_gradient`].
    pub fn draw(
        evaluator: &mut dyn Evaluator<T>,
        mut y: Vec<T>,
        (seed, draw): (u64, u32),
        tolerance: f64,
        max_iterations: usize,
    ) -> Result<Sample<T>> {
        evaluator.metric_sample(seed, draw, &mut y)?;
        let Solution { x, iterations } = conjugate_gradient(evaluator, &y, tolerance, max_iterations)?;
        Ok(Sample { y, x, iterations })
    }

    /// `x^T D^-1 x / 2`: the residual of conjugate gradients is orthogonal to what they found.
    pub fn energy(&self) -> f64 {
        0.5 * vector::dot(&self.x, &self.y)
    }
}

struct State<T> {
    x: Vec<T>,
    residual: Vec<T>,
    direction: Vec<T>,
    product: Vec<T>,
    residual2: f64,
    iterations: usize,
}

impl<T: Real> State<T> {
    fn new(b: &[T]) -> State<T> {
        let zero = vec![T::zero(); b.len()];
        State {
            x: zero.clone(),
            residual: b.to_vec(),
            direction: b.to_vec(),
            product: zero,
            residual2: vector::norm2(b),
            iterations: 0,
        }
    }

    fn step(&mut self, evaluator: &mut dyn Evaluator<T>) -> Result<()> {
        evaluator.metric(&self.direction, &mut self.product)?;
        let curvature = vector::dot(&self.direction, &self.product);
        if !(curvature.is_finite() && curvature > 0.0) {
            let message = format!("the metric is not positive along a direction: {curvature}");
            return Err(Error::NotConverged(message));
        }
        let alpha = self.residual2 / curvature;
        vector::axpy(alpha, &self.direction, &mut self.x);
        vector::axpy(-alpha, &self.product, &mut self.residual);
        let residual2 = vector::norm2(&self.residual);
        vector::xpay(&self.residual, residual2 / self.residual2, &mut self.direction);
        self.residual2 = residual2;
        self.iterations += 1;
        Ok(())
    }
}
