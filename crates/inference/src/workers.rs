//! Evaluators for all threads, with a count of what they do and a way to stop them.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lookback_operator::Real;
use rayon::prelude::*;

use crate::target::possible;
use crate::{Error, Evaluator, Result, Target};

/// The target of a run, with evaluators that are made once and used again.
pub struct Workers<'a, T: Real> {
    target: &'a dyn Target<T>,
    idle: Mutex<Vec<Box<dyn Evaluator<T> + 'a>>>,
    stop: &'a AtomicBool,
    gradients: AtomicU64,
    metrics: AtomicU64,
}

/// An evaluator that counts, and that stops when the user asks for it.
struct Watched<'w, 'a, T: Real> {
    inner: Box<dyn Evaluator<T> + 'a>,
    stop: &'w AtomicBool,
    gradients: &'w AtomicU64,
    metrics: &'w AtomicU64,
}

impl<T: Real> Watched<'_, '_, T> {
    fn count(&self, counter: &AtomicU64, more: usize) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        counter.fetch_add(more as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl<T: Real> Evaluator<T> for Watched<'_, '_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        self.count(self.gradients, 1)?;
        self.inner.energy(z, gradient)
    }

    fn refusal(&self) -> Option<Error> {
        self.inner.refusal()
    }

    fn energies(&mut self, points: &[&[T]], gradients: &mut [Vec<T>]) -> Result<Vec<f64>> {
        self.count(self.gradients, points.len())?;
        self.inner.energies(points, gradients)
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        self.count(self.metrics, 1)?;
        self.inner.metric(v, out)
    }

    fn coordinate(&mut self) -> Result<Vec<T>> {
        self.inner.coordinate()
    }

    fn coordinate_push(&mut self, v: &[T]) -> Result<Vec<T>> {
        // With its pull it is a metric product.
        self.count(self.metrics, 1)?;
        self.inner.coordinate_push(v)
    }

    fn coordinate_pull(&mut self, w: &[T], out: &mut [T]) -> Result<()> {
        self.inner.coordinate_pull(w, out)
    }

    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [T]) -> Result<()> {
        self.inner.metric_sample(seed, draw, out)
    }
}

/// A target made of that of a run by `energy`, which takes an evaluator of it, a latent and a gradient to be filled.
pub(crate) struct Changed<'a, 'w, T: Real, F> {
    pub workers: &'a Workers<'w, T>,
    pub energy: F,
}

struct ChangedEvaluator<'a, 'w, T: Real, F> {
    target: &'a Changed<'a, 'w, T, F>,
    refusal: Option<Error>,
}

impl<T: Real, F> Target<T> for Changed<'_, '_, T, F>
where
    F: Fn(&mut dyn Evaluator<T>, &[T], &mut [T]) -> Result<f64> + Sync,
{
    fn dim(&self) -> usize {
        self.workers.dim()
    }

    fn evaluator(&self) -> Box<dyn Evaluator<T> + '_> {
        Box::new(ChangedEvaluator { target: self, refusal: None })
    }
}

impl<T: Real, F> Evaluator<T> for ChangedEvaluator<'_, '_, T, F>
where
    F: Fn(&mut dyn Evaluator<T>, &[T], &mut [T]) -> Result<f64> + Sync,
{
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        let Changed { workers, energy, .. } = self.target;
        let (energy, refusal) = workers.with(|evaluator| {
            let energy = energy(evaluator, z, gradient)?;
            Ok((energy, evaluator.refusal()))
        })?;
        self.refusal = refusal;
        Ok(energy)
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }
}

/// Runs work on a thread of the pool. A vector kernel that is called from any other waits some tens of microseconds for one of them to wake up.
fn inside_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

impl<'a, T: Real> Workers<'a, T> {
    /// Workers on a target; they fail with [`Error::Interrupted`] once `stop` is set.
    pub fn new(target: &'a dyn Target<T>, stop: &'a AtomicBool) -> Workers<'a, T> {
        let (gradients, metrics) = (AtomicU64::new(0), AtomicU64::new(0));
        Workers { target, idle: Mutex::new(Vec::new()), stop, gradients, metrics }
    }

    /// Number of latents.
    pub fn dim(&self) -> usize {
        self.target.dim()
    }

    /// Why nothing is possible, of which these latents are an example.
    pub(crate) fn impossible(&self, z: &[T]) -> Error {
        let tried = self.with(|evaluator| {
            evaluator.energy(z, &mut z.to_vec())?;
            possible(evaluator, f64::INFINITY)
        });
        tried.err().unwrap_or(Error::Start { energy: f64::INFINITY })
    }

    /// True if the energy is quadratic.
    pub fn is_quadratic(&self) -> bool {
        self.target.is_quadratic()
    }

    /// Gradients and metric products so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.gradients.load(Ordering::Relaxed), self.metrics.load(Ordering::Relaxed))
    }

    fn watch(&self) -> Watched<'_, 'a, T> {
        Watched { inner: self.take(), stop: self.stop, gradients: &self.gradients, metrics: &self.metrics }
    }

    fn take(&self) -> Box<dyn Evaluator<T> + 'a> {
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| self.target.evaluator())
    }

    fn give_back(&self, evaluator: Box<dyn Evaluator<T> + 'a>) {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(evaluator);
    }

    /// Runs one piece of work with an evaluator.
    ///
    /// # Errors
    /// Those of the work.
    pub fn with<R: Send>(&self, work: impl FnOnce(&mut dyn Evaluator<T>) -> Result<R> + Send) -> Result<R> {
        inside_pool(|| {
            let mut watched = self.watch();
            let result = work(&mut watched);
            self.give_back(watched.inner);
            result
        })
    }

    /// Set when the user asks to stop.
    pub fn stop(&self) -> &'a AtomicBool {
        self.stop
    }

    /// The target.
    pub fn target(&self) -> &'a dyn Target<T> {
        self.target
    }

    /// Runs one piece of work with an evaluator of another target: a simulation of this one. It counts with all others.
    ///
    /// # Errors
    /// Those of the work.
    pub fn with_other<R>(
        &self,
        other: &dyn Target<T>,
        work: impl FnOnce(&mut dyn Evaluator<T>) -> Result<R>,
    ) -> Result<R> {
        let (gradients, metrics) = (&self.gradients, &self.metrics);
        work(&mut Watched { inner: other.evaluator(), stop: self.stop, gradients, metrics })
    }

    /// Runs independent pieces of work on all threads; results are in the order of the items.
    ///
    /// # Errors
    /// The first error of the work.
    pub fn map<I: Send, R: Send>(
        &self,
        items: Vec<I>,
        work: impl Fn(I, &mut dyn Evaluator<T>) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let work = &work;
        let each = |item| self.with(move |evaluator| work(item, evaluator));
        inside_pool(|| items.into_par_iter().map(each).collect())
    }

    /// Parts of a range of points, as many points each as an evaluator takes at once.
    pub(crate) fn crowds(&self, points: Range<usize>) -> Vec<Range<usize>> {
        let crowd = self.target.crowd();
        points.clone().step_by(crowd).map(|first| first..points.end.min(first + crowd)).collect()
    }

    /// `count` evaluators that stay where they are moved to, for sums over points; counted like all others.
    pub fn team(&self, count: usize) -> Vec<Box<dyn Evaluator<T> + '_>> {
        (0..count).map(|_| -> Box<dyn Evaluator<T> + '_> { Box::new(self.watch()) }).collect()
    }
}
