//! A posterior of which some latents are held fixed.

use lookback_operator::Real;

use crate::{Evaluator, Result};

/// Puts values in the places of the latents that are held.
pub(crate) fn hold<T: Real>(z: &mut [T], held: &[usize], values: &[f64]) {
    held.iter().zip(values).for_each(|(&place, value)| z[place] = T::of(*value));
}

/// What stands in the places of the latents that are held.
pub(crate) fn held_of<T: Real>(z: &[T], held: &[usize]) -> Vec<f64> {
    held.iter().map(|&place| z[place].f64()).collect()
}

/// Sets the entries of the latents that are held to zero.
pub(crate) fn clear<T: Real>(vector: &mut [T], held: &[usize]) {
    held.iter().for_each(|&place| vector[place] = T::zero());
}

/// The energy as a function of the free latents. Vectors have entries for those that are held, too: of latents their values, which stay as they are, as
/// those of gradients and products are zero.
pub(crate) struct Conditional<'a, T: Real> {
    inner: &'a mut dyn Evaluator<T>,
    held: &'a [usize],
    score: Vec<f64>,
}

impl<'a, T: Real> Conditional<'a, T> {
    pub(crate) fn new(inner: &'a mut dyn Evaluator<T>, held: &'a [usize]) -> Self {
        Conditional { inner, held, score: Vec::new() }
    }

    /// The derivative of `ln L` with respect to what is held, at the last point: the gradient of `-H` there, and the prior
    /// `|theta|^2 / 2` taken off again.
    pub(crate) fn score(&self) -> Vec<f64> {
        self.score.clone()
    }
}

impl<T: Real> Evaluator<T> for Conditional<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        let energy = self.inner.energy(z, gradient)?;
        self.score = self.held.iter().map(|&place| (z[place] - gradient[place]).f64()).collect();
        clear(gradient, self.held);
        Ok(energy)
    }

    fn refusal(&self) -> Option<crate::Error> {
        self.inner.refusal()
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        self.inner.metric(v, out)?;
        clear(out, self.held);
        Ok(())
    }

    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [T]) -> Result<()> {
        self.inner.metric_sample(seed, draw, out)?;
        clear(out, self.held);
        Ok(())
    }
}
