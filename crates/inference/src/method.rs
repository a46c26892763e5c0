//! A method of inference as a state that advances in steps.

use std::sync::atomic::AtomicBool;

use lookback_operator::Real;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Result, Target, Workers};

/// A precision that can be written to checkpoints.
pub trait Number: Real + Serialize + DeserializeOwned {}

impl<T: Real + Serialize + DeserializeOwned> Number for T {}

/// What a method hands out on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Draw<T> {
    /// The best single point: the MAP, or the exact mean of a Gaussian posterior.
    Centre {
        /// The latent.
        z: Vec<T>,
    },
    /// A sample of the posterior, or of its approximation.
    Sample {
        /// The latent.
        z: Vec<T>,
        /// Number of the Markov chain; 0 for independent samples.
        chain: usize,
        /// `H(z)`, where the method knows it.
        energy: Option<f64>,
        /// True for the mirror image of the sample before it, which adds nothing to ranks.
        mirror: bool,
        /// True if a trajectory of the chain diverged on the way here from its last sample: the place is near what it could not enter.
        diverged: bool,
    },
}

impl<T> Draw<T> {
    /// A sample that does not depend on others.
    pub(crate) fn independent(z: Vec<T>, energy: Option<f64>) -> Draw<T> {
        Draw::Sample { z, chain: 0, energy, mirror: false, diverged: false }
    }
}

/// How far a method has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Steps done and in all.
    pub steps: (u64, u64),
    /// In a few words: where it stands.
    pub message: String,
    /// True when nothing is left to do.
    pub done: bool,
}

/// A method of inference. Its state can be written to disk between any two calls of [`advance`](Method::advance).
pub trait Method<T: Number>: Serialize + DeserializeOwned + Send {
    /// Does the next step and hands what it finds to `sink`. If it fails, the state is that before the step, and what it
    /// handed out in this step does not count.
    ///
    /// # Errors
    /// If the model fails, an option is out of range, or the user asks to stop.
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress>;

    /// Named figures of the run so far, for the summary: step sizes, acceptance, iterations.
    fn figures(&self) -> Vec<(String, f64)>;

    /// One of the figures.
    fn figure(&self, name: &str) -> Option<f64> {
        self.figures().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Markov chains.
pub trait Sampler<T: Number>: Method<T> {
    /// Starts the chains at these latents, in turn, instead of at random; for a sampler that has not begun.
    fn start_from(&mut self, latents: Vec<Vec<T>>);
}

/// Runs a method to its end, without checkpoints: for tests, notebooks and small problems.
///
/// # Errors
/// Those of the method.
pub fn run_to_end<T: Number>(method: &mut impl Method<T>, target: &dyn Target<T>) -> Result<Vec<Draw<T>>> {
    let stop = AtomicBool::new(false);
    let workers = Workers::new(target, &stop);
    let mut draws = Vec::new();
    while !method.advance(&workers, &mut |draw| draws.push(draw))?.done {}
    Ok(draws)
}
