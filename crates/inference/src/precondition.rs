//! Samplers in coordinates in which the posterior around its maximum is round.

use serde::{Deserialize, Serialize};

use crate::chain::check_start;
use crate::lanczos::Basis;
use crate::options::at_least_one;
use crate::workers::Changed;
use crate::{
    Draw, Evaluator, Map, MapOptions, Method, Number, Optimizer, Progress, Result, Sampler, Workers,
};

/// Options of [`Preconditioned`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreconditionOptions {
    /// Directions whose curvature is looked for; those that are found best are rescaled.
    pub rank: usize,
    /// Optimiser of the maximum.
    pub optimizer: Optimizer,
    /// Distance from the maximum at which to stop, in posterior standard deviations.
    pub tolerance: f64,
    /// Most steps of the optimiser.
    pub max_iterations: usize,
}

impl Default for PreconditionOptions {
    fn default() -> Self {
        PreconditionOptions { rank: 100, optimizer: Optimizer::Lbfgs, tolerance: 1e-2, max_iterations: 5000 }
    }
}

/// Residual of a direction, as a share of its curvature, beyond which it is left alone.
const RESIDUAL: f64 = 0.3;

/// A sampler that works in coordinates in which the posterior around its maximum is round, and starts there unless latents are given.
///
/// First the maximum is found, then the `rank` directions in which the posterior is most unlike the prior, by Lanczos's method on the
/// Fisher metric `1 + J^T M J`, or on second derivatives if there is no metric (then `2 rank` gradients). The sampler sees latents
/// `y` with `z = z_map + S y`; what it tunes it tunes there. With a rank as large as the dimension, a Gaussian posterior becomes
/// exactly round.
///
/// When not to use it: where the maximum is far from typical in shape, as in funnels, or has infinite density.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: serde::de::DeserializeOwned"))]
pub struct Preconditioned<T: Number, M> {
    options: PreconditionOptions,
    seed: u64,
    map: Map<T>,
    maximum: Option<Vec<T>>,
    basis: Option<Basis<T>>,
    sampler: M,
    /// Latents at which chains are to start, until the coordinates are known.
    starts: Vec<Vec<T>>,
}

impl<T: Number, M: Sampler<T>> Preconditioned<T, M> {
    /// Prepares `sampler`, which has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: PreconditionOptions, sampler: M, seed: u64) -> Result<Self> {
        at_least_one(&[("rank", options.rank)])?;
        let map = Map::new(
            MapOptions {
                optimizer: options.optimizer,
                tolerance: options.tolerance,
                max_iterations: options.max_iterations,
                ..MapOptions::default()
            },
            seed,
        )?;
        Ok(Preconditioned { options, seed, map, maximum: None, basis: None, sampler, starts: Vec::new() })
    }

    /// The same around a maximum that is known.
    pub fn around(self, maximum: Vec<T>) -> Self {
        Preconditioned { maximum: Some(maximum), ..self }
    }
}

impl<T: Number, M: Sampler<T>> Sampler<T> for Preconditioned<T, M> {
    fn start_from(&mut self, latents: Vec<Vec<T>>) {
        self.starts = latents;
    }
}

impl<T: Number, M: Sampler<T>> Method<T> for Preconditioned<T, M> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        let preparing = |message: String| Progress { steps: (0, 1), message, done: false };
        if self.maximum.is_none() {
            let mut found = None;
            let progress = self.map.advance(workers, &mut |draw| {
                if let Draw::Centre { z } = &draw {
                    found = Some(z.clone());
                    sink(draw);
                }
            })?;
            self.maximum = found;
            return Ok(preparing(format!("maximum: {}", progress.message)));
        }
        if let (None, Some(maximum)) = (&self.basis, &self.maximum) {
            let (rank, seed) = (self.options.rank, self.seed);
            let basis =
                workers.with(|evaluator| Basis::find(evaluator, maximum.clone(), rank, RESIDUAL, seed))?;
            let message = format!("{} directions rescaled", basis.directions.len());
            self.starts.iter().try_for_each(|z| check_start(z, workers.dim()))?;
            let starts = std::mem::take(&mut self.starts);
            if !starts.is_empty() {
                self.sampler.start_from(starts.iter().map(|z| basis.coordinates(z)).collect());
            }
            self.basis = Some(basis);
            return Ok(preparing(message));
        }
        let Some(basis) = &self.basis else { return Ok(preparing(String::new())) };
        // In scaled coordinates `y`, the energy is `H(centre + S y)`.
        let energy = |evaluator: &mut dyn Evaluator<T>, y: &[T], gradient: &mut [T]| {
            let energy = evaluator.energy(&basis.latent(y), gradient)?;
            gradient.copy_from_slice(&basis.scale(gradient));
            Ok(energy)
        };
        let scaled = Changed { workers, energy };
        let inner = Workers::new(&scaled, workers.stop());
        self.sampler.advance(&inner, &mut |draw| {
            sink(match draw {
                Draw::Centre { z } => Draw::Centre { z: basis.latent(&z) },
                Draw::Sample { z, chain, energy, mirror, diverged } => {
                    Draw::Sample { z: basis.latent(&z), chain, energy, mirror, diverged }
                }
            });
        })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = self.sampler.figures();
        if let Some(basis) = &self.basis {
            let extreme = |pick: fn(f64, f64) -> f64| basis.eigenvalues.iter().copied().reduce(pick);
            figures.push(("rescaled_directions".into(), basis.directions.len() as f64));
            figures.push(("largest_curvature".into(), extreme(f64::max).unwrap_or(1.0)));
            figures.push(("smallest_curvature".into(), extreme(f64::min).unwrap_or(1.0)));
        }
        figures
    }
}
