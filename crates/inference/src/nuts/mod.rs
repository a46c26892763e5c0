//! The No-U-Turn sampler (Hoffman & Gelman 2014), with multinomial choice of the draw and the general criterion of turning
//! (Betancourt 2017, arXiv:1701.02434, appendix A).

mod arrival;
mod parts;
mod pool;
mod trajectory;

use std::sync::Arc;

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use self::pool::Pool;
use self::trajectory::{Counts, Trajectory};
use crate::chain::{Beginnings, Decisions, Divergences, Energies, Plan, Point, check_acceptance, stream};
use crate::integrator::Integrator;
use crate::scales::{Metric, Spread, sum_of_squares, unless_one};
use crate::step_size::DualAveraging;
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Sampler, Workers};

/// Options of [`Nuts`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NutsOptions {
    /// Independent chains.
    pub chains: usize,
    /// Draws of each chain that tune and are thrown away.
    pub warmup: usize,
    /// Draws of each chain that count.
    pub draws: usize,
    /// Keep every so many draws.
    pub thin: usize,
    /// Acceptance that the step size is adapted to.
    pub target_acceptance: f64,
    /// Doublings of a trajectory, at most.
    pub max_depth: usize,
    /// Steps in which the energy spreads by more are taken in halves, quarters and so on; if none, all steps are equal.
    pub halve_above: Option<f64>,
    /// Splitting of a step.
    pub integrator: Integrator,
    /// Preconditioning.
    pub metric: Metric,
    /// Standard deviation of the random starting points.
    pub start_scale: f64,
}

impl Default for NutsOptions {
    fn default() -> Self {
        NutsOptions {
            chains: 4,
            warmup: 400,
            draws: 1000,
            thin: 1,
            target_acceptance: 0.8,
            max_depth: 10,
            halve_above: None,
            integrator: Integrator::Leapfrog,
            metric: Metric::Diagonal,
            start_scale: 0.1,
        }
    }
}

/// The first window of draws that teaches the metric; each is half as long again as the one before.
const FIRST_WINDOW: usize = 10;
/// Share of the warm-up that tunes the step size alone, at its end.
const LAST_SHARE: f64 = 0.15;

/// Samples by Hamiltonian trajectories that end where they turn back; the draw is chosen among all their points by weight.
///
/// After the warm-up, the integrator `two_stage` takes fewer gradients on Gaussians: as many to 35 % fewer in 100 to 1000 dimensions, and less than half in ten thousand, where
/// trajectories of the leapfrog, whose steps must become short, double once more. Its warm-up takes 1.1 to 1.7 times as many in 100 to 1000 dimensions, and where the
/// posterior bends, its draws up to twice as many. Step size by dual averaging; widths of the latents from draws and gradients of the warm-up, in windows that grow. The
/// worst case of a draw is `2^max_depth - 1` steps, of 3070 gradients each where steps may be halved. Memory: at most `5 max_depth + 8`
/// vectors a chain (three more where steps may be halved), which trajectories hand on to the next ones, and fourteen more for its place and what it learns.
///
/// Funnels, whose width changes by factors: with `halve_above = 2` and the unit metric (widths that are learned in a funnel are those of its mouth), steps that are too long for where
/// they are taken are halved (WALNUTS; Bou-Rabee, Carpenter, Kleppe & Liu 2025, arXiv:2506.18746). Nothing diverges where halves do, and the neck is reached, which steps of one
/// length leave out or do not leave. Elsewhere draws cost 0.9 to 1.3 times the gradients, and the warm-up 1.1 to 2.3 times, as the step sizes that it tries are halved, too. A step that
/// would not have been halved as often on the way back ends a trajectory (`trajectories_one_way`), so that draws stay exact. Steps that are halved count as refused in `acceptance`, to
/// which the step size is adapted. At walls, behind which there is no energy, halves do not help.
///
/// When not to use it: in very many dimensions, where `mclmc` needs far fewer gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Nuts<T: Number> {
    options: NutsOptions,
    seed: u64,
    beginnings: Beginnings<T>,
    chains: Vec<Chain<T>>,
    draws: usize,
    #[serde(skip)]
    pool: Pool<T>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Chain<T: Number> {
    at: Arc<Point<T>>,
    /// Width of each latent by the metric; empty while all are one.
    scales: Arc<Vec<T>>,
    spread: Spread<T>,
    tuning: DualAveraging,
    accepted: f64,
    divergences: Divergences,
    gradients: u64,
    energies: Energies,
    /// Draws whose trajectory was cut at the greatest depth.
    cut: u64,
    /// Draws with steps that were halved, and those whose trajectory ended with a step that would not be taken backwards.
    halved: u64,
    one_way: u64,
}

impl<T: Number> Nuts<T> {
    /// A sampler that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: NutsOptions, seed: u64) -> Result<Nuts<T>> {
        let NutsOptions { chains, warmup, draws, thin, start_scale, .. } = options;
        Plan { chains, warmup, draws, thin, start_scale }.check()?;
        check_acceptance(options.target_acceptance)?;
        if !(1..=20).contains(&options.max_depth) {
            return Err(Error::Option(format!(
                "`max_depth` must lie between 1 and 20 doublings, and is {}",
                options.max_depth
            )));
        }
        if let Some(spread) = options.halve_above.filter(|spread| !(*spread > 0.0 && spread.is_finite())) {
            return Err(Error::Option(format!(
                "`halve_above` must be a positive spread of the energy, and is {spread}"
            )));
        }
        let beginnings = Beginnings::random(seed, start_scale);
        Ok(Nuts { options, seed, beginnings, chains: Vec::new(), draws: 0, pool: Pool::default() })
    }

    fn start(&self, index: usize, evaluator: &mut dyn Evaluator<T>, dim: usize) -> Result<Chain<T>> {
        let at = Arc::new(self.beginnings.of_chain(index, evaluator, dim)?);
        // The stable step falls with the fourth root of the dimension (Beskos et al. 2013).
        let tuning = DualAveraging::new((dim as f64).powf(-0.25));
        let spread = Spread::new(if self.learns() { dim } else { 0 });
        Ok(Chain {
            at,
            scales: Arc::default(),
            spread,
            tuning,
            accepted: 0.0,
            divergences: Divergences::default(),
            gradients: 0,
            energies: Energies::default(),
            cut: 0,
            halved: 0,
            one_way: 0,
        })
    }

    fn learns(&self) -> bool {
        self.options.metric == Metric::Diagonal
    }

    /// Whether a window of draws that teaches the metric ends with the draw under way.
    fn window_ends(&self) -> bool {
        let done = self.draws + 1;
        let last = ((1.0 - LAST_SHARE) * self.options.warmup as f64) as usize;
        let (mut end, mut length) = (FIRST_WINDOW, FIRST_WINDOW);
        while end < done {
            length += length / 2;
            end += length;
        }
        done == last || (done == end && end < last)
    }

    fn draw(&self, index: usize, mut chain: Chain<T>, evaluator: &mut dyn Evaluator<T>) -> Result<Chain<T>> {
        let warming = self.draws < self.options.warmup;
        let dim = chain.at.z.len();
        let stream = stream(self.seed, index, self.draws);
        let mut momentum = self.pool.vector(dim);
        stream.fill_normal(&mut momentum);
        let total = chain.at.energy + 0.5 * vector::norm2(&momentum);
        let mut trajectory = Trajectory {
            evaluator,
            scales: unless_one(&chain.scales),
            shares: self.options.integrator.shares(),
            step: if warming { chain.tuning.trial() } else { chain.tuning.found() },
            start: total,
            halve_above: self.options.halve_above.unwrap_or(f64::INFINITY),
            decisions: Decisions::new(stream, dim),
            pool: &self.pool,
            counts: Counts::default(),
        };
        chain.at = trajectory.run(chain.at, momentum, self.options.max_depth)?;
        let Counts { steps, gradients, accepted, diverged, cut, halved, one_way } = trajectory.counts;
        let acceptance = accepted / steps as f64;
        chain.gradients += gradients;
        if warming {
            chain.tuning.update(acceptance, self.options.target_acceptance);
            self.learn(&mut chain);
        } else {
            chain.accepted += acceptance;
            chain.divergences.add(diverged);
            chain.energies.add(total);
            chain.cut += u64::from(cut);
            chain.halved += u64::from(halved > 0);
            chain.one_way += u64::from(one_way);
        }
        Ok(chain)
    }

    /// Takes a draw of the warm-up in; at the end of a window, what was learned becomes the metric.
    fn learn(&self, chain: &mut Chain<T>) {
        if !self.learns() {
            return;
        }
        chain.spread.add(&chain.at.z, &chain.at.gradient);
        if self.window_ends() {
            let dim = chain.at.z.len();
            let before = sum_of_squares(&chain.scales, dim);
            chain.scales = Arc::new(chain.spread.scales());
            chain.spread = Spread::new(dim);
            let longer = (before / vector::norm2(&chain.scales)).sqrt();
            chain.tuning = DualAveraging::new(chain.tuning.trial() * longer.clamp(0.1, 10.0));
        }
        if self.draws + 1 == self.options.warmup {
            // Nothing is learned any more.
            chain.spread = Spread::new(0);
        }
    }

    fn counted(&self) -> usize {
        self.draws.saturating_sub(self.options.warmup)
    }

    fn sum(&self, of: impl Fn(&Chain<T>) -> u64) -> u64 {
        self.chains.iter().map(of).sum()
    }

    fn acceptance(&self) -> f64 {
        let sum: f64 = self.chains.iter().map(|chain| chain.accepted).sum();
        sum / (self.counted() * self.options.chains).max(1) as f64
    }
}

impl<T: Number> Sampler<T> for Nuts<T> {
    fn start_from(&mut self, latents: Vec<Vec<T>>) {
        self.beginnings.give(latents);
    }
}

impl<T: Number> Method<T> for Nuts<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.chains.is_empty() {
            let indices = (0..self.options.chains).collect();
            self.chains =
                workers.map(indices, |chain, evaluator| self.start(chain, evaluator, workers.dim()))?;
        }
        let work = self.chains.iter().cloned().enumerate().collect();
        let drawn = workers.map(work, |(i, chain), evaluator| self.draw(i, chain, evaluator))?;
        for chain in std::mem::replace(&mut self.chains, drawn) {
            self.pool.recycle_point(chain.at);
        }
        self.draws += 1;
        if self.counted() > 0 && self.counted().is_multiple_of(self.options.thin) {
            for (i, chain) in self.chains.iter_mut().enumerate() {
                let (z, energy) = (chain.at.z.clone(), Some(chain.at.energy));
                let diverged = chain.divergences.tell();
                sink(Draw::Sample { z, chain: i, energy, mirror: false, diverged });
            }
        }
        let total = self.options.warmup + self.options.draws;
        let message = if self.counted() == 0 {
            format!("warming up, step {:.3}", self.chains[0].tuning.trial())
        } else {
            format!(
                "acceptance {:.2}, {} divergences",
                self.acceptance(),
                self.sum(|chain| chain.divergences.count())
            )
        };
        Ok(Progress { steps: (self.draws as u64, total as u64), message, done: self.draws == total })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let chains = self.chains.len().max(1) as f64;
        let step = self.chains.iter().map(|chain| chain.tuning.found()).sum::<f64>() / chains;
        let gradients = self.sum(|chain| chain.gradients) as f64;
        let mut figures = vec![
            ("acceptance".into(), self.acceptance()),
            ("divergences".into(), self.sum(|chain| chain.divergences.count()) as f64),
            ("trajectories_cut".into(), self.sum(|chain| chain.cut) as f64),
            ("step_size".into(), step),
            Energies::worst(self.chains.iter().map(|chain| &chain.energies)),
            ("gradients_per_trajectory".into(), gradients / chains / self.draws.max(1) as f64),
        ];
        if self.options.halve_above.is_some() {
            figures.push(("trajectories_halved".into(), self.sum(|chain| chain.halved) as f64));
            figures.push(("trajectories_one_way".into(), self.sum(|chain| chain.one_way) as f64));
        }
        figures
    }
}
