//! What inference sees of a problem: an energy over standard normal latents.

use lookback_operator::Real;

use crate::{Error, Result};

/// The energy `H(z)` of a latent of `dim` standard normal numbers: `|z|^2 / 2` plus the negative log-likelihood.
pub trait Target<T: Real>: Sync {
    /// Number of latents.
    fn dim(&self) -> usize;

    /// A place from which to evaluate; each thread has its own.
    fn evaluator(&self) -> Box<dyn Evaluator<T> + '_>;

    /// Points that an evaluator takes at once, where many cost less than one after the other; 1 elsewhere.
    fn crowd(&self) -> usize {
        1
    }

    /// What `H` leaves out: the joint density of latents and data is `exp(-H(z) - normalisation()) / (2 pi)^(dim / 2)`. For evidences.
    fn normalisation(&self) -> f64 {
        0.0
    }

    /// True if `H` is quadratic: a linear model with Gaussian noise.
    fn is_quadratic(&self) -> bool {
        false
    }

    /// The same problem with other data: those that `z` would give, with the noise number `draw` of a seed.
    ///
    /// The same noise at different `z` gives data that change with `z` alone.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the target cannot simulate, or a failure of the model.
    fn simulate(&self, z: &[T], seed: u64, draw: u32) -> Result<Box<dyn Target<T> + '_>> {
        let _ = (z, seed, draw);
        Err(Error::Unsuitable(
            "this target is a density and cannot simulate data; `muse` needs a model with noise".into(),
        ))
    }
}

/// Evaluates a [`Target`] at a point, or at many for their energies alone, with buffers of its own.
pub trait Evaluator<T: Real>: Send {
    /// Moves to `z`, writes the gradient of `H` and returns `H`. A point that is impossible (or where the model gives
    /// NaN) has infinite energy; its gradient means nothing.
    ///
    /// # Errors
    /// If the model cannot be evaluated at all.
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64>;

    /// Why the last energy was infinite, where the model said so: a parameter that is out of its range, which is impossible on the way and the user's to mend at the start.
    fn refusal(&self) -> Option<Error> {
        None
    }

    /// Energies and gradients at many points, which may cost less than one after the other. Derivatives at the last point are not to be
    /// asked for afterwards.
    ///
    /// # Errors
    /// As [`energy`](Evaluator::energy).
    fn energies(&mut self, points: &[&[T]], gradients: &mut [Vec<T>]) -> Result<Vec<f64>> {
        one_by_one(points, gradients, |z, gradient| self.energy(z, gradient))
    }

    /// `out = (1 + J^T M J) v` at the last point: the Fisher metric of likelihood and prior.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the target offers no metric.
    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        let _ = (v, out);
        Err(no_metric())
    }

    /// The prediction at the last point, in coordinates in which the Fisher metric of the likelihood is flat.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the target offers no metric.
    fn coordinate(&mut self) -> Result<Vec<T>> {
        Err(no_metric())
    }

    /// `M^(1/2) J v` at the last point: how the coordinate moves with the latents.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the target offers no metric.
    fn coordinate_push(&mut self, v: &[T]) -> Result<Vec<T>> {
        let _ = v;
        Err(no_metric())
    }

    /// `out = J^T M^(T/2) w` at the last point: the adjoint of [`coordinate_push`](Evaluator::coordinate_push).
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the target offers no metric.
    fn coordinate_pull(&mut self, w: &[T], out: &mut [T]) -> Result<()> {
        let _ = (w, out);
        Err(no_metric())
    }

    /// `out ~ N(0, 1 + J^T M J)` at the last point: `xi + J^T M^(1/2) eta` from the random numbers of `draw`.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if the target offers no metric.
    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [T]) -> Result<()> {
        let _ = (seed, draw, out);
        Err(no_metric())
    }
}

/// The energy at a starting point, from which nothing goes on unless it is finite.
///
/// # Errors
/// That of the model if it had one, or [`Error::Start`].
pub(crate) fn possible<T: Real>(evaluator: &dyn Evaluator<T>, energy: f64) -> Result<f64> {
    if energy.is_finite() { Ok(energy) } else { Err(evaluator.refusal().unwrap_or(Error::Start { energy })) }
}

/// Energies and gradients, one point after the other.
pub(crate) fn one_by_one<T: Real>(
    points: &[&[T]],
    gradients: &mut [Vec<T>],
    mut energy: impl FnMut(&[T], &mut [T]) -> Result<f64>,
) -> Result<Vec<f64>> {
    points.iter().zip(gradients).map(|(z, gradient)| energy(z, gradient)).collect()
}

pub(crate) fn no_metric() -> Error {
    Error::Unsuitable(
        "this target offers an energy and a gradient only; choose `map` with `lbfgs`, or `hmc`".into(),
    )
}
