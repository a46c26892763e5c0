//! One data set of a calibration: a truth from the prior, its data, their posterior, and the ranks.

use std::sync::atomic::AtomicBool;

use lookback_inference::calibration::{distance_rank, rank};
use lookback_inference::{Draw, Method, Number, Posterior, Target, Workers, diagnostics};
use lookback_operator::random::{Purpose, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::quantities::Quantities;
use crate::problem::Problem;
use crate::report::analysis::mean_std;
use crate::run::State;
use crate::runfile::RunFile;
use crate::{Error, Result};

/// What came of one data set: a rank of each quantity, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Ranks(Vec<f64>),
    Failed(String),
}

/// One data set after the other.
pub(super) struct Trial<'a, T: Number> {
    run: &'a RunFile,
    problem: &'a Problem<T>,
    pub(super) quantities: Quantities,
    stop: &'a AtomicBool,
    /// Mean and standard deviation of each quantity in the prior: the units of distances.
    pub(super) units: Vec<(f64, f64)>,
}

/// Draws of the prior that set the units of distances.
const UNITS: u32 = 64;
/// Fewest of them that must be possible.
const FEWEST_UNITS: usize = 20;

impl<'a, T: Number> Trial<'a, T> {
    pub(super) fn new(run: &'a RunFile, problem: &'a Problem<T>, stop: &'a AtomicBool) -> Self {
        Trial { run, problem, quantities: Quantities::new(problem), stop, units: Vec::new() }
    }

    /// Mean and standard deviation of each quantity in the prior. The misfit stands last, and is that of other data: no part
    /// of distances.
    pub(super) fn units(&self) -> Result<Vec<(f64, f64)>> {
        let draw = |i: u32| {
            self.quantities.measure(self.problem, &self.problem.posterior, &self.latent(2 << 30 | i))
        };
        let mut draws = Vec::new();
        let mut refused = None;
        // Draws out of the range of the model count no more here than a data set that cannot be made.
        for drawn in (0..UNITS).into_par_iter().map(draw).collect::<Vec<Result<_>>>() {
            match drawn {
                Ok(draw) => draws.push(draw),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused.filter(|_| draws.len() < FEWEST_UNITS) {
            return Err(error);
        }
        let unit = |j: usize| {
            let values: Vec<f64> = draws.iter().map(|draw| draw[j]).collect();
            mean_std(&values)
        };
        Ok((0..draws[0].len() - 1).map(unit).collect())
    }

    /// Latents of a universe.
    fn latent(&self, which: u32) -> Vec<T> {
        let mut z = vec![T::zero(); self.problem.posterior.dim()];
        Stream::new(self.run.seed, Purpose::Signal, which).fill_normal(&mut z);
        z
    }

    /// The ranks of a data set, or why there are none.
    pub(super) fn outcome(&self, which: usize) -> Outcome {
        match self.ranks(which as u32) {
            Ok(ranks) => Outcome::Ranks(ranks),
            Err(error) => Outcome::Failed(format!("data set {which}: {error}")),
        }
    }

    fn ranks(&self, which: u32) -> Result<Vec<f64>> {
        let z = self.latent(which);
        let posterior = self.problem.posterior.simulated(&z, self.run.seed, which)?;
        let measure = |z: &[T]| self.quantities.measure(self.problem, &posterior, z);
        let truth = measure(&z)?;
        let samples = self.samples(&posterior, which, &measure)?;
        let ties = Stream::new(self.run.seed, Purpose::Survey, 1 << 31 | which);
        let mut ranks: Vec<f64> = (0..truth.len())
            .map(|j| {
                let values: Vec<f64> = samples.iter().map(|sample| sample[j]).collect();
                rank(truth[j], &values, ties.uniform(2 * j as u64))
            })
            .collect();
        let scaled = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(&self.units).map(|(x, (mean, std))| (x - mean) / std.max(1e-300)).collect()
        };
        let reference = scaled(&measure(&self.latent(1 << 30 | which))?);
        let scaled_samples: Vec<Vec<f64>> = samples.iter().map(|sample| scaled(sample)).collect();
        ranks.push(distance_rank(
            &scaled(&truth),
            &scaled_samples,
            &reference,
            ties.uniform(2 * truth.len() as u64),
        ));
        Ok(ranks)
    }

    /// Quantities of independent samples of a posterior.
    fn samples(
        &self,
        posterior: &Posterior<T>,
        which: u32,
        measure: &dyn Fn(&[T]) -> Result<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        let latents = posterior.model().domain();
        // The methods of different data sets are as independent as their data.
        let seed = self.run.seed.wrapping_add(1 + u64::from(which));
        let mut method = State::<T>::new(self.run, latents, seed)?;
        let workers = Workers::new(posterior, self.stop);
        let mut chains: Vec<Vec<Vec<f64>>> = Vec::new();
        loop {
            let mut drawn = Vec::new();
            let progress = method.advance(&workers, &mut |draw| {
                if let Draw::Sample { z, chain, mirror: false, .. } = draw {
                    drawn.push((chain, z));
                }
            })?;
            for (chain, z) in drawn {
                if chains.len() <= chain {
                    chains.resize(chain + 1, Vec::new());
                }
                chains[chain].push(measure(&z)?);
            }
            if progress.done {
                break;
            }
        }
        let effective = if self.run.method.is_markov() {
            effective(&chains)
        } else {
            // Particles of one origin may be alike.
            method.figure("effective_particles").unwrap_or(f64::INFINITY)
        };
        let all: Vec<Vec<f64>> = chains.into_iter().flatten().collect();
        if all.is_empty() {
            let message = format!("`{}` gave no samples", self.run.method.name());
            return Err(Error::config("method", message));
        }
        let keep = (effective as usize).clamp(1, all.len());
        Ok((0..keep).map(|i| all[i * all.len() / keep].clone()).collect())
    }
}

/// The smallest effective sample size over the quantities.
fn effective(chains: &[Vec<Vec<f64>>]) -> f64 {
    let count = chains.first().and_then(|chain| chain.first()).map_or(0, Vec::len);
    let of = |j: usize| -> f64 {
        let values: Vec<Vec<f64>> =
            chains.iter().map(|chain| chain.iter().map(|sample| sample[j]).collect()).collect();
        diagnostics::ess_bulk(&values)
    };
    (0..count).map(of).filter(|ess| ess.is_finite()).fold(f64::INFINITY, f64::min)
}
