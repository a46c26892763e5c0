//! A posterior of which some latents are held fixed.

use std::ops::Range;

use lookback_operator::Real;

use crate::{Evaluator, Result};

/// Which latents are held, and which are free.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    held: Vec<usize>,
    /// Runs of free latents, in order.
    free: Vec<Range<usize>>,
}

impl Split {
    /// `held` are places in a latent of `dim` numbers.
    pub(crate) fn new(dim: usize, held: &[usize]) -> Split {
        let mut ends = held.to_vec();
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.iter().map(|place| place + 1));
        let runs = starts.zip(ends.iter().copied().chain([dim]));
        let free = runs.filter(|(start, end)| start < end).map(|(start, end)| start..end).collect();
        Split { held: held.to_vec(), free }
    }

    /// Number of free latents.
    pub(crate) fn free(&self) -> usize {
        self.free.iter().map(Range::len).sum()
    }

    /// One latent of both parts.
    pub(crate) fn join<T: Real>(&self, held: &[f64], free: &[T]) -> Vec<T> {
        let mut whole = vec![T::zero(); self.held.len() + self.free()];
        self.held.iter().zip(held).for_each(|(&place, value)| whole[place] = T::of(*value));
        self.scatter(free, &mut whole);
        whole
    }

    /// Puts the free part in its places.
    fn scatter<T: Real>(&self, mut free: &[T], whole: &mut [T]) {
        for run in &self.free {
            let (here, rest) = free.split_at(run.len());
            whole[run.clone()].copy_from_slice(here);
            free = rest;
        }
    }

    /// Takes the free part from its places.
    fn gather<T: Real>(&self, whole: &[T], mut free: &mut [T]) {
        for run in &self.free {
            let (here, rest) = free.split_at_mut(run.len());
            here.copy_from_slice(&whole[run.clone()]);
            free = rest;
        }
    }

    /// The free part.
    pub(crate) fn free_of<T: Real>(&self, whole: &[T]) -> Vec<T> {
        self.free.iter().flat_map(|run| whole[run.clone()].iter().copied()).collect()
    }

    /// The part that is held.
    pub(crate) fn held_of<T: Real>(&self, whole: &[T]) -> Vec<f64> {
        self.held.iter().map(|&place| whole[place].f64()).collect()
    }
}

/// The energy of the free latents, where the others are held at given values. Memory: two latents.
pub(crate) struct Conditional<'a, T: Real> {
    inner: &'a mut dyn Evaluator<T>,
    split: &'a Split,
    whole: Vec<T>,
    gradient: Vec<T>,
}

impl<'a, T: Real> Conditional<'a, T> {
    pub(crate) fn new(inner: &'a mut dyn Evaluator<T>, split: &'a Split, held: &[f64]) -> Self {
        let whole = split.join(held, &vec![T::zero(); split.free()]);
        Conditional { inner, split, gradient: whole.clone(), whole }
    }

    /// The derivative of `ln L` with respect to what is held, at the last point: the gradient of `-H` there, and the prior
    /// `|theta|^2 / 2` taken off again.
    pub(crate) fn score(&self) -> Vec<f64> {
        self.split.held.iter().map(|&place| (self.whole[place] - self.gradient[place]).f64()).collect()
    }
}

impl<T: Real> Evaluator<T> for Conditional<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        self.split.scatter(z, &mut self.whole);
        let energy = self.inner.energy(&self.whole, &mut self.gradient)?;
        self.split.gather(&self.gradient, gradient);
        Ok(energy)
    }

    fn refusal(&self) -> Option<crate::Error> {
        self.inner.refusal()
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        let none = vec![0.0; self.split.held.len()];
        let mut product = self.whole.clone();
        self.inner.metric(&self.split.join(&none, v), &mut product)?;
        self.split.gather(&product, out);
        Ok(())
    }

    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [T]) -> Result<()> {
        let mut sample = self.whole.clone();
        self.inner.metric_sample(seed, draw, &mut sample)?;
        self.split.gather(&sample, out);
        Ok(())
    }
}
