//! Samplers that accept or refuse whole trajectories of a given length: Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011), the
//! Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996) and its microcanonical kin (Robnik, Cohn-Gordon & Seljak 2025).

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::chain::{Beginnings, Decisions, Divergences, Energies, Plan, Point, check_acceptance, stream};
use crate::integrator::{Integrator, Shares};
use crate::mclmc::rotate;
use crate::step_size::DualAveraging;
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Sampler, Workers};

/// How a trajectory of [`Hmc`] runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Dynamics {
    /// Momenta fall with the gradient.
    Hamiltonian,
    /// The same for a single step.
    Langevin,
    /// A direction turns with the gradient, at constant speed.
    Microcanonical,
}

/// Options of [`Hmc`], and of its kin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HmcOptions {
    /// Independent chains.
    pub chains: usize,
    /// Trajectories of each chain that adapt the step size and are thrown away.
    pub warmup: usize,
    /// Trajectories of each chain that count.
    pub draws: usize,
    /// Keep every so many draws.
    pub thin: usize,
    /// Mean length of a trajectory, in prior standard deviations; each is between half and one and a half times it, but for those of more than
    /// 4096 steps, which end there (`trajectories_cut`). Langevin's have one step.
    pub path_length: f64,
    /// Acceptance that the step size is adapted to.
    pub target_acceptance: f64,
    /// Splitting of a step.
    pub integrator: Integrator,
    /// Standard deviation of the random starting points.
    pub start_scale: f64,
}

impl Default for HmcOptions {
    fn default() -> Self {
        HmcOptions {
            chains: 4,
            warmup: 200,
            draws: 500,
            thin: 1,
            path_length: 1.5,
            target_acceptance: 0.8,
            integrator: Integrator::Leapfrog,
            start_scale: 0.1,
        }
    }
}

/// Energy error beyond which a trajectory counts as divergent.
pub(crate) const DIVERGENT: f64 = 1000.0;
/// Most steps of a trajectory.
const MAX_STEPS: usize = 4096;

/// Samples by following Hamiltonian dynamics with unit mass: latents are standard normal before the data, and data seldom make
/// them wider. The step size is tuned by dual averaging (Hoffman & Gelman 2014, section 3.2).
///
/// [`langevin`](Hmc::langevin) makes a single step a trajectory (MALA). [`microcanonical`](Hmc::microcanonical) moves at constant speed `sqrt(dim)`
/// in a direction that turns with the gradient, as [`Mclmc`](crate::Mclmc) does, and accepts by the error of the energy (MAMS): exact, where that
/// is biased, for more gradients.
///
/// When not to use it: where NUTS or a metric would save much, on posteriors with very different widths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Hmc<T: Number> {
    options: HmcOptions,
    dynamics: Dynamics,
    seed: u64,
    beginnings: Beginnings<T>,
    chains: Vec<Chain<T>>,
    trajectories: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Chain<T: Number> {
    at: Point<T>,
    tuning: DualAveraging,
    accepted: f64,
    divergences: Divergences,
    /// Trajectories that ended before their length.
    cut: u64,
    gradients: u64,
    energies: Energies,
}

impl<T: Number> Hmc<T> {
    /// A sampler that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: HmcOptions, seed: u64) -> Result<Hmc<T>> {
        let HmcOptions { chains, warmup, draws, thin, start_scale, .. } = options;
        Plan { chains, warmup, draws, thin, start_scale }.check()?;
        check_acceptance(options.target_acceptance)?;
        if !(options.path_length > 0.0 && options.path_length.is_finite()) {
            return Err(Error::Option(format!(
                "`path_length` must be positive, and is {}",
                options.path_length
            )));
        }
        let dynamics = Dynamics::Hamiltonian;
        let beginnings = Beginnings::random(seed, start_scale);
        Ok(Hmc { options, dynamics, seed, beginnings, chains: Vec::new(), trajectories: 0 })
    }

    /// The Metropolis-adjusted Langevin algorithm.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn langevin(options: HmcOptions, seed: u64) -> Result<Hmc<T>> {
        Ok(Hmc { dynamics: Dynamics::Langevin, ..Hmc::new(options, seed)? })
    }

    /// The Metropolis-adjusted microcanonical sampler.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn microcanonical(options: HmcOptions, seed: u64) -> Result<Hmc<T>> {
        Ok(Hmc { dynamics: Dynamics::Microcanonical, ..Hmc::new(options, seed)? })
    }

    /// Lets the gradient act on a momentum (or direction) over the time `h`; gives the change of kinetic energy where it is not that of
    /// the momentum.
    fn kick(&self, momentum: &mut [T], gradient: &[T], h: f64) -> f64 {
        if self.dynamics == Dynamics::Microcanonical {
            return rotate(momentum, gradient, h * (momentum.len() as f64).sqrt());
        }
        vector::axpy(-h, gradient, momentum);
        0.0
    }

    /// Kinetic energy of a momentum; that of a direction is counted by its changes.
    fn kinetic(&self, momentum: &[T]) -> f64 {
        if self.dynamics == Dynamics::Microcanonical { 0.0 } else { 0.5 * vector::norm2(momentum) }
    }

    fn start(&self, chain: usize, evaluator: &mut dyn Evaluator<T>, dim: usize) -> Result<Chain<T>> {
        if self.dynamics == Dynamics::Microcanonical && dim < 2 {
            return Err(Error::Unsuitable(
                "`mams` turns a direction, and with a single latent there is none to turn; choose `nuts`"
                    .into(),
            ));
        }
        let at = self.beginnings.of_chain(chain, evaluator, dim)?;
        // The stable step falls with the fourth root of the dimension (Beskos et al. 2013).
        let tuning = DualAveraging::new(self.options.path_length.min((dim as f64).powf(-0.25)));
        Ok(Chain {
            at,
            tuning,
            accepted: 0.0,
            divergences: Divergences::default(),
            cut: 0,
            gradients: 0,
            energies: Energies::default(),
        })
    }

    fn trajectory(
        &self,
        index: usize,
        mut chain: Chain<T>,
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<Chain<T>> {
        let warming = self.trajectories < self.options.warmup;
        let stream = stream(self.seed, index, self.trajectories);
        let mut momentum = vec![T::zero(); chain.at.z.len()];
        stream.fill_normal(&mut momentum);
        let mut decisions = Decisions::new(stream, momentum.len());
        let step = if warming { chain.tuning.trial() } else { chain.tuning.found() };
        let length = self.options.path_length * (0.5 + decisions.uniform());
        let steps = match self.dynamics {
            Dynamics::Langevin => 1,
            _ => ((length / step).round() as usize).max(1),
        };
        chain.cut += u64::from(!warming && steps > MAX_STEPS);
        let steps = steps.min(MAX_STEPS);
        let speed = match self.dynamics {
            // A random direction keeps the length of its normal numbers until the first turn makes a unit vector of it.
            Dynamics::Microcanonical => (momentum.len() as f64).sqrt(),
            _ => 1.0,
        };

        let before = chain.at.energy + self.kinetic(&momentum);
        let Point { mut z, mut gradient, mut energy } = chain.at.clone();
        let Shares { outer, middle, moves } = self.options.integrator.shares();
        let mut kinetic = self.kick(&mut momentum, &gradient, outer * step);
        for done in 1..=steps * moves {
            vector::axpy(step * speed / moves as f64, &momentum, &mut z);
            energy = evaluator.energy(&z, &mut gradient)?;
            chain.gradients += 1;
            if !energy.is_finite() {
                break;
            }
            // The last kick of a step is one with the first of the next.
            let share = match done {
                _ if done == steps * moves => outer,
                _ if done % moves == 0 => 2.0 * outer,
                _ => middle,
            };
            kinetic += self.kick(&mut momentum, &gradient, share * step);
        }
        let change = energy + kinetic + self.kinetic(&momentum) - before;
        let diverged = !(change < DIVERGENT);
        let acceptance = if diverged { 0.0 } else { (-change).exp().min(1.0) };
        if warming {
            chain.tuning.update(acceptance, self.options.target_acceptance);
        } else {
            chain.accepted += acceptance;
            chain.divergences.add(diverged);
            chain.energies.add(before);
        }
        if decisions.uniform() < acceptance {
            chain.at = Point { z, gradient, energy };
        }
        Ok(chain)
    }

    fn counted(&self) -> usize {
        self.trajectories.saturating_sub(self.options.warmup)
    }

    fn acceptance(&self) -> f64 {
        let sum: f64 = self.chains.iter().map(|chain| chain.accepted).sum();
        sum / (self.counted() * self.options.chains).max(1) as f64
    }

    fn divergences(&self) -> u64 {
        self.chains.iter().map(|chain| chain.divergences.count()).sum()
    }
}

impl<T: Number> Sampler<T> for Hmc<T> {
    fn start_from(&mut self, latents: Vec<Vec<T>>) {
        self.beginnings.give(latents);
    }
}

impl<T: Number> Method<T> for Hmc<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.chains.is_empty() {
            let indices = (0..self.options.chains).collect();
            self.chains =
                workers.map(indices, |chain, evaluator| self.start(chain, evaluator, workers.dim()))?;
        }
        let work = self.chains.iter().cloned().enumerate().collect();
        self.chains = workers.map(work, |(i, chain), evaluator| self.trajectory(i, chain, evaluator))?;
        self.trajectories += 1;
        if self.counted() > 0 && self.counted().is_multiple_of(self.options.thin) {
            for (i, chain) in self.chains.iter_mut().enumerate() {
                sink(Draw::Sample {
                    z: chain.at.z.clone(),
                    chain: i,
                    energy: Some(chain.at.energy),
                    mirror: false,
                    diverged: chain.divergences.tell(),
                });
            }
        }
        let total = self.options.warmup + self.options.draws;
        let message = if self.counted() == 0 {
            format!("warming up, step {:.3}", self.chains[0].tuning.trial())
        } else {
            format!("acceptance {:.2}, {} divergences", self.acceptance(), self.divergences())
        };
        Ok(Progress {
            steps: (self.trajectories as u64, total as u64),
            message,
            done: self.trajectories == total,
        })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let chains = self.chains.len().max(1) as f64;
        let step = self.chains.iter().map(|chain| chain.tuning.found()).sum::<f64>() / chains;
        let gradients: u64 = self.chains.iter().map(|chain| chain.gradients).sum();
        let mut figures = vec![
            ("acceptance".into(), self.acceptance()),
            ("divergences".into(), self.divergences() as f64),
            ("trajectories_cut".into(), self.chains.iter().map(|chain| chain.cut).sum::<u64>() as f64),
            ("step_size".into(), step),
            ("gradients_per_trajectory".into(), gradients as f64 / chains / self.trajectories.max(1) as f64),
        ];
        // At constant speed there are no momenta that would have to reach all energies.
        if self.dynamics != Dynamics::Microcanonical {
            figures.push(Energies::worst(self.chains.iter().map(|chain| &chain.energies)));
        }
        figures
    }
}
