//! The No-U-Turn sampler (Hoffman & Gelman 2014), with multinomial choice of the draw and the general criterion of turning
//! (Betancourt 2017, arXiv:1701.02434, appendix A).

use lookback_operator::Real;
use lookback_operator::vector::{self, CHUNK};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::chain::{Decisions, Plan, Point, check_acceptance, stream};
use crate::hmc::DIVERGENT;
use crate::scales::{Metric, Spread};
use crate::step_size::DualAveraging;
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Workers};

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
/// Step size by dual averaging; widths of the latents from draws and gradients of the warm-up, in windows that grow. The
/// worst case of a draw is `2^max_depth - 1` gradients. Memory: about `9 max_depth` vectors a chain at work.
///
/// When not to use it: in very many dimensions, where `mclmc` needs far fewer gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Nuts<T: Number> {
    options: NutsOptions,
    seed: u64,
    chains: Vec<Chain<T>>,
    draws: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Chain<T: Number> {
    at: Point<T>,
    scales: Vec<T>,
    spread: Spread<T>,
    tuning: DualAveraging,
    accepted: f64,
    divergences: u64,
    leapfrogs: u64,
    /// Draws whose trajectory was cut at the greatest depth.
    cut: u64,
}

/// A place on a trajectory. Momenta are those of the scaled latents, of unit mass.
#[derive(Clone)]
struct Phase<T: Number> {
    at: Point<T>,
    momentum: Vec<T>,
}

impl<T: Number> Phase<T> {
    fn total(&self) -> f64 {
        self.at.energy + 0.5 * vector::norm2(&self.momentum)
    }
}

/// A piece of a trajectory, in the direction in which it was made.
struct Piece<T: Number> {
    /// Momentum at its beginning, and its end.
    first: Vec<T>,
    last: Phase<T>,
    /// Sum of its momenta.
    rho: Vec<T>,
    log_weight: f64,
    draw: Point<T>,
    /// Whether it turned back or diverged.
    stops: bool,
}

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// Whether a stretch with the sum of momenta `a + b` goes on in the direction of both its ends.
fn goes_on<T: Real>(a: &[T], b: &[T], begin: &[T], end: &[T]) -> bool {
    vector::dot(a, begin) + vector::dot(b, begin) > 0.0 && vector::dot(a, end) + vector::dot(b, end) > 0.0
}

/// One trajectory under way.
struct Trajectory<'a, T: Number> {
    evaluator: &'a mut dyn Evaluator<T>,
    scales: &'a [T],
    step: f64,
    start: f64,
    decisions: Decisions,
    leapfrogs: u64,
    accepted: f64,
    diverged: bool,
}

impl<T: Number> Trajectory<'_, T> {
    /// `p -= h s dH/dz`.
    fn kick(&self, h: f64, phase: &mut Phase<T>) {
        let h = T::of(h);
        let gradient = phase.at.gradient.par_chunks(CHUNK).zip(self.scales.par_chunks(CHUNK));
        phase.momentum.par_chunks_mut(CHUNK).zip(gradient).for_each(|(p, (g, s))| {
            for ((p, &g), &s) in p.iter_mut().zip(g).zip(s) {
                *p -= h * s * g;
            }
        });
    }

    fn leapfrog(&mut self, phase: &mut Phase<T>, step: f64) -> Result<()> {
        self.kick(0.5 * step, phase);
        let h = T::of(step);
        let momentum = phase.momentum.par_chunks(CHUNK).zip(self.scales.par_chunks(CHUNK));
        phase.at.z.par_chunks_mut(CHUNK).zip(momentum).for_each(|(z, (p, s))| {
            for ((z, &p), &s) in z.iter_mut().zip(p).zip(s) {
                *z += h * s * p;
            }
        });
        phase.at.energy = self.evaluator.energy(&phase.at.z, &mut phase.at.gradient)?;
        self.leapfrogs += 1;
        self.kick(0.5 * step, phase);
        Ok(())
    }

    /// A piece of `2^depth` steps from `from` on, or less if it stops.
    fn build(&mut self, depth: usize, from: &Phase<T>, forth: bool) -> Result<Piece<T>> {
        if depth == 0 {
            let mut last = from.clone();
            self.leapfrog(&mut last, if forth { self.step } else { -self.step })?;
            let change = last.total() - self.start;
            let diverged = !(change < DIVERGENT);
            self.diverged |= diverged;
            self.accepted += if diverged { 0.0 } else { (-change).exp().min(1.0) };
            let (first, rho, draw) = (last.momentum.clone(), last.momentum.clone(), last.at.clone());
            let log_weight = if diverged { f64::NEG_INFINITY } else { -change };
            return Ok(Piece { first, last, rho, log_weight, draw, stops: diverged });
        }
        let near = self.build(depth - 1, from, forth)?;
        if near.stops {
            return Ok(near);
        }
        let far = self.build(depth - 1, &near.last, forth)?;
        let log_weight = log_add(near.log_weight, far.log_weight);
        let take_far = self.decisions.uniform().ln() < far.log_weight - log_weight;
        let straight = !far.stops
            && goes_on(&near.rho, &far.rho, &near.first, &far.last.momentum)
            && goes_on(&near.rho, &far.first, &near.first, &far.first)
            && goes_on(&far.rho, &near.last.momentum, &near.last.momentum, &far.last.momentum);
        let mut rho = near.rho;
        vector::axpy(1.0, &far.rho, &mut rho);
        let draw = if take_far { far.draw } else { near.draw };
        Ok(Piece { first: near.first, last: far.last, rho, log_weight, draw, stops: !straight })
    }

    /// Doubles a trajectory until it turns; returns the draw, and whether it was cut at the greatest depth.
    fn run(&mut self, start: Phase<T>, max_depth: usize) -> Result<(Point<T>, bool)> {
        let mut draw = start.at.clone();
        let mut rho = start.momentum.clone();
        let mut log_weight = 0.0;
        let mut ends = [start.clone(), start];
        for depth in 0..max_depth {
            let forth = self.decisions.uniform() < 0.5;
            let side = usize::from(forth);
            let piece = self.build(depth, &ends[side], forth)?;
            if piece.stops {
                return Ok((draw, false));
            }
            if self.decisions.uniform().ln() < piece.log_weight - log_weight {
                draw = piece.draw;
            }
            log_weight = log_add(log_weight, piece.log_weight);
            let (near, far) = (&ends[side].momentum, &ends[1 - side].momentum);
            let straight = goes_on(&rho, &piece.rho, far, &piece.last.momentum)
                && goes_on(&rho, &piece.first, far, &piece.first)
                && goes_on(&piece.rho, near, near, &piece.last.momentum);
            vector::axpy(1.0, &piece.rho, &mut rho);
            ends[side] = piece.last;
            if !straight {
                return Ok((draw, false));
            }
        }
        Ok((draw, true))
    }
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
        Ok(Nuts { options, seed, chains: Vec::new(), draws: 0 })
    }

    fn start(&self, index: usize, evaluator: &mut dyn Evaluator<T>, dim: usize) -> Result<Chain<T>> {
        let at = Point::start(evaluator, dim, self.seed, index as u32, self.options.start_scale)?;
        // The stable step falls with the fourth root of the dimension (Beskos et al. 2013).
        let tuning = DualAveraging::new((dim as f64).powf(-0.25));
        let spread = Spread::new(if self.learns() { dim } else { 0 });
        let scales = vec![T::one(); dim];
        Ok(Chain { at, scales, spread, tuning, accepted: 0.0, divergences: 0, leapfrogs: 0, cut: 0 })
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
        let mut momentum = vec![T::zero(); dim];
        stream.fill_normal(&mut momentum);
        let start = Phase { at: chain.at, momentum };
        let mut trajectory = Trajectory {
            evaluator,
            scales: &chain.scales,
            step: if warming { chain.tuning.trial() } else { chain.tuning.found() },
            start: start.total(),
            decisions: Decisions::new(stream, dim),
            leapfrogs: 0,
            accepted: 0.0,
            diverged: false,
        };
        let (at, cut) = trajectory.run(start, self.options.max_depth)?;
        let (leapfrogs, diverged) = (trajectory.leapfrogs, trajectory.diverged);
        let acceptance = trajectory.accepted / leapfrogs as f64;
        chain.at = at;
        chain.leapfrogs += leapfrogs;
        if warming {
            chain.tuning.update(acceptance, self.options.target_acceptance);
            self.learn(&mut chain);
        } else {
            chain.accepted += acceptance;
            chain.divergences += u64::from(diverged);
            chain.cut += u64::from(cut);
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
            let before = vector::norm2(&chain.scales);
            chain.scales = chain.spread.scales();
            chain.spread = Spread::new(chain.scales.len());
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

impl<T: Number> Method<T> for Nuts<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.chains.is_empty() {
            let indices = (0..self.options.chains).collect();
            self.chains =
                workers.map(indices, |chain, evaluator| self.start(chain, evaluator, workers.dim()))?;
        }
        let work = self.chains.iter().cloned().enumerate().collect();
        self.chains = workers.map(work, |(i, chain), evaluator| self.draw(i, chain, evaluator))?;
        self.draws += 1;
        if self.counted() > 0 && self.counted().is_multiple_of(self.options.thin) {
            for (i, chain) in self.chains.iter().enumerate() {
                let (z, energy) = (chain.at.z.clone(), Some(chain.at.energy));
                sink(Draw::Sample { z, chain: i, energy, mirror: false });
            }
        }
        let total = self.options.warmup + self.options.draws;
        let message = if self.counted() == 0 {
            format!("warming up, step {:.3}", self.chains[0].tuning.trial())
        } else {
            format!(
                "acceptance {:.2}, {} divergences",
                self.acceptance(),
                self.sum(|chain| chain.divergences)
            )
        };
        Ok(Progress { steps: (self.draws as u64, total as u64), message, done: self.draws == total })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let chains = self.chains.len().max(1) as f64;
        let step = self.chains.iter().map(|chain| chain.tuning.found()).sum::<f64>() / chains;
        let leapfrogs = self.sum(|chain| chain.leapfrogs) as f64;
        vec![
            ("acceptance".into(), self.acceptance()),
            ("divergences".into(), self.sum(|chain| chain.divergences) as f64),
            ("trajectories_cut".into(), self.sum(|chain| chain.cut) as f64),
            ("step_size".into(), step),
            ("leapfrogs_per_trajectory".into(), leapfrogs / chains / self.draws.max(1) as f64),
        ]
    }
}
