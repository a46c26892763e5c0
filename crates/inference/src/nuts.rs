//! The No-U-Turn sampler (Hoffman & Gelman 2014), with multinomial choice of the draw and the general criterion of turning
//! (Betancourt 2017, arXiv:1701.02434, appendix A).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lookback_operator::Real;
use lookback_operator::vector::{self, CHUNK};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::chain::{Beginnings, Decisions, Divergences, Energies, Plan, Point, check_acceptance, stream};
use crate::hmc::DIVERGENT;
use crate::integrator::{Integrator, Shares};
use crate::scales::{Metric, Spread};
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
/// After the warm-up, the integrator `two_stage` takes fewer gradients on Gaussians: 4 to 35 % fewer in 100 to 1000 dimensions, and less than half in ten thousand, where
/// trajectories of the leapfrog, whose steps must become short, double once more. Its warm-up takes 1.1 to 1.7 times as many in 100 to 1000 dimensions, and where the
/// posterior bends, so do its draws. Step size by dual averaging; widths of the latents from draws and gradients of the warm-up, in windows that grow. The
/// worst case of a draw is `2^max_depth - 1` steps. Memory: about `9 max_depth` vectors a chain at work.
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

/// Vectors that trajectories have given back, for the next ones: memory that comes anew from the system takes longer to come than a step.
#[derive(Debug, Clone)]
struct Pool<T>(Arc<Mutex<Vec<Vec<T>>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool(Arc::default())
    }
}

/// What is free says nothing of a sampler.
impl<T> PartialEq for Pool<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T: Real> Pool<T> {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A vector of whatever was there.
    fn vector(&self, dim: usize) -> Vec<T> {
        let vector = self.free().pop();
        vector.unwrap_or_else(|| vec![T::zero(); dim])
    }

    fn recycle(&self, vectors: impl IntoIterator<Item = Vec<T>>) {
        self.free().extend(vectors);
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Chain<T: Number> {
    at: Point<T>,
    scales: Vec<T>,
    spread: Spread<T>,
    tuning: DualAveraging,
    accepted: f64,
    divergences: Divergences,
    gradients: u64,
    energies: Energies,
    /// Draws whose trajectory was cut at the greatest depth.
    cut: u64,
}

/// A place on a trajectory, of which pieces hold parts together. Momenta are those of the scaled latents, of unit mass.
#[derive(Clone)]
struct Phase<T: Number> {
    at: Arc<Point<T>>,
    momentum: Arc<Vec<T>>,
    /// Energy, that of the momentum included.
    total: f64,
}

/// A piece of a trajectory, in the direction in which it was made.
struct Piece<T: Number> {
    /// Momentum at its beginning, and its end.
    first: Arc<Vec<T>>,
    last: Phase<T>,
    /// Sum of its momenta.
    rho: Arc<Vec<T>>,
    log_weight: f64,
    draw: Arc<Point<T>>,
    /// Whether it turned back or diverged.
    stops: bool,
}

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// What the criterion of turning looks at, of a stretch that is made of two: sums of momenta, and momenta at the ends.
struct Stretch<'a, T: Real> {
    rho: [&'a [T]; 2],
    first: [&'a [T]; 2],
    last: [&'a [T]; 2],
}

impl<T: Real> Stretch<'_, T> {
    /// Writes the sum of all momenta, and says whether the whole, and each half with the next momentum of the other, go on in the direction of both
    /// their ends.
    fn join(&self, sum: &mut [T]) -> bool {
        let Stretch { rho: [a, b], first: [a1, b1], last: [a2, b2] } = *self;
        let single = |x: &[T], y: &[T]| std::ptr::eq(x, y);
        if single(a, a1) && single(a, a2) && single(b, b1) && single(b, b2) {
            let products = vector::change_and_sum(sum, [a, b], |sum, [a, b]| {
                *sum = a + b;
                let (a, b) = (a.f64(), b.f64());
                [(a + b) * a, (a + b) * b]
            });
            return products.iter().all(|&product| product > 0.0);
        }
        let products = vector::change_and_sum(sum, [a, b, a1, b1, a2, b2], |sum, momenta| {
            *sum = momenta[0] + momenta[1];
            let [a, b, a1, b1, a2, b2] = momenta.map(Real::f64);
            let (whole, near, far) = (a + b, a + b1, b + a2);
            [whole * a1, whole * b2, near * a1, near * b1, far * a2, far * b2]
        });
        products.iter().all(|&product| product > 0.0)
    }
}

/// One trajectory under way.
struct Trajectory<'a, T: Number> {
    evaluator: &'a mut dyn Evaluator<T>,
    scales: &'a [T],
    shares: Shares,
    step: f64,
    start: f64,
    decisions: Decisions,
    steps: u64,
    gradients: u64,
    accepted: f64,
    diverged: bool,
    pool: &'a Pool<T>,
}

impl<T: Number> Trajectory<'_, T> {
    fn vector(&self) -> Vec<T> {
        self.pool.vector(self.scales.len())
    }

    fn recycle(&self, vector: Arc<Vec<T>>) {
        self.pool.recycle(Arc::try_unwrap(vector));
    }

    fn recycle_point(&self, point: Arc<Point<T>>) {
        if let Ok(Point { z, gradient, .. }) = Arc::try_unwrap(point) {
            self.pool.recycle([z, gradient]);
        }
    }

    fn recycle_phase(&self, phase: Phase<T>) {
        self.recycle(phase.momentum);
        self.recycle_point(phase.at);
    }

    fn recycle_piece(&self, piece: Piece<T>) {
        let Piece { first, last, rho, draw, .. } = piece;
        [first, rho].into_iter().for_each(|vector| self.recycle(vector));
        self.recycle_phase(last);
        self.recycle_point(draw);
    }

    /// A step of kicks `p -= h s dH/dz` and moves `z += h s p`, each with its share of the time. Where the energy is none, it ends there.
    fn leap(&mut self, from: &Phase<T>, step: f64) -> Result<Phase<T>> {
        let Shares { outer, middle, moves } = self.shares;
        let (mut z, mut gradient, mut momentum) = (self.vector(), self.vector(), self.vector());
        let [outer, middle, whole] = [outer * step, middle * step, step / moves as f64].map(T::of);
        let old = from.at.z.par_chunks(CHUNK).zip(from.at.gradient.par_chunks(CHUNK));
        let old = old.zip(from.momentum.par_chunks(CHUNK)).zip(self.scales.par_chunks(CHUNK));
        z.par_chunks_mut(CHUNK).zip(momentum.par_chunks_mut(CHUNK)).zip(old).for_each(
            |((z, p), (((z0, g), p0), s))| {
                for (((((z, p), &z0), &g), &p0), &s) in z.iter_mut().zip(p).zip(z0).zip(g).zip(p0).zip(s) {
                    *p = p0 - outer * s * g;
                    *z = z0 + whole * s * *p;
                }
            },
        );
        let mut energy = self.evaluator.energy(&z, &mut gradient)?;
        self.gradients += 1;
        for _ in 1..moves {
            if !energy.is_finite() {
                break;
            }
            let slope = gradient.par_chunks(CHUNK).zip(self.scales.par_chunks(CHUNK));
            let moved = z.par_chunks_mut(CHUNK).zip(momentum.par_chunks_mut(CHUNK)).zip(slope);
            moved.for_each(|((z, p), (g, s))| {
                for (((z, p), &g), &s) in z.iter_mut().zip(p).zip(g).zip(s) {
                    *p -= middle * s * g;
                    *z += whole * s * *p;
                }
            });
            energy = self.evaluator.energy(&z, &mut gradient)?;
            self.gradients += 1;
        }
        self.steps += 1;
        let [square] = vector::change_and_sum(&mut momentum, [&gradient, self.scales], |p, [g, s]| {
            *p -= outer * s * g;
            [p.f64() * p.f64()]
        });
        let at = Arc::new(Point { z, gradient, energy });
        Ok(Phase { at, momentum: Arc::new(momentum), total: energy + 0.5 * square })
    }

    /// A piece of `2^depth` steps from `from` on, or less if it stops.
    fn build(&mut self, depth: usize, from: &Phase<T>, forth: bool) -> Result<Piece<T>> {
        if depth == 0 {
            let last = self.leap(from, if forth { self.step } else { -self.step })?;
            let change = last.total - self.start;
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
        let stretch = Stretch {
            rho: [&near.rho, &far.rho],
            first: [&near.first, &far.first],
            last: [&near.last.momentum, &far.last.momentum],
        };
        let mut rho = self.vector();
        let stops = !stretch.join(&mut rho) || far.stops;
        let (draw, other) = if take_far { (far.draw, near.draw) } else { (near.draw, far.draw) };
        self.recycle_phase(near.last);
        self.recycle_point(other);
        self.recycle(near.rho);
        self.recycle(far.rho);
        self.recycle(far.first);
        Ok(Piece { first: near.first, last: far.last, rho: Arc::new(rho), log_weight, draw, stops })
    }

    /// Doubles a trajectory until it turns; returns the draw, and whether it was cut at the greatest depth.
    fn run(&mut self, start: Phase<T>, max_depth: usize) -> Result<(Arc<Point<T>>, bool)> {
        let mut draw = start.at.clone();
        let mut rho = start.momentum.clone();
        let mut ends = [start.clone(), start];
        let cut = self.double(&mut draw, &mut rho, &mut ends, max_depth)?;
        self.recycle(rho);
        ends.into_iter().for_each(|end| self.recycle_phase(end));
        Ok((draw, cut))
    }

    /// Doubles until the trajectory turns, and moves its draw, the sum of its momenta and its ends along; whether it was cut.
    fn double(
        &mut self,
        draw: &mut Arc<Point<T>>,
        rho: &mut Arc<Vec<T>>,
        ends: &mut [Phase<T>; 2],
        max_depth: usize,
    ) -> Result<bool> {
        let mut log_weight = 0.0;
        for depth in 0..max_depth {
            let forth = self.decisions.uniform() < 0.5;
            let side = usize::from(forth);
            let piece = self.build(depth, &ends[side], forth)?;
            if piece.stops {
                self.recycle_piece(piece);
                return Ok(false);
            }
            let other = if self.decisions.uniform().ln() < piece.log_weight - log_weight {
                std::mem::replace(draw, piece.draw)
            } else {
                piece.draw
            };
            self.recycle_point(other);
            log_weight = log_add(log_weight, piece.log_weight);
            let stretch = Stretch {
                rho: [&*rho, &piece.rho],
                first: [&ends[1 - side].momentum, &piece.first],
                last: [&ends[side].momentum, &piece.last.momentum],
            };
            let mut sum = self.vector();
            let straight = stretch.join(&mut sum);
            self.recycle(std::mem::replace(rho, Arc::new(sum)));
            self.recycle(piece.rho);
            self.recycle(piece.first);
            let end = std::mem::replace(&mut ends[side], piece.last);
            self.recycle_phase(end);
            if !straight {
                return Ok(false);
            }
        }
        Ok(true)
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
        let beginnings = Beginnings::random(seed, start_scale);
        Ok(Nuts { options, seed, beginnings, chains: Vec::new(), draws: 0, pool: Pool::default() })
    }

    fn start(&self, index: usize, evaluator: &mut dyn Evaluator<T>, dim: usize) -> Result<Chain<T>> {
        let at = self.beginnings.of_chain(index, evaluator, dim)?;
        // The stable step falls with the fourth root of the dimension (Beskos et al. 2013).
        let tuning = DualAveraging::new((dim as f64).powf(-0.25));
        let spread = Spread::new(if self.learns() { dim } else { 0 });
        let scales = vec![T::one(); dim];
        Ok(Chain {
            at,
            scales,
            spread,
            tuning,
            accepted: 0.0,
            divergences: Divergences::default(),
            gradients: 0,
            energies: Energies::default(),
            cut: 0,
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
        let start = Phase { at: Arc::new(chain.at), momentum: Arc::new(momentum), total };
        let mut trajectory = Trajectory {
            evaluator,
            scales: &chain.scales,
            shares: self.options.integrator.shares(),
            step: if warming { chain.tuning.trial() } else { chain.tuning.found() },
            start: total,
            decisions: Decisions::new(stream, dim),
            steps: 0,
            gradients: 0,
            accepted: 0.0,
            diverged: false,
            pool: &self.pool,
        };
        let (at, cut) = trajectory.run(start, self.options.max_depth)?;
        let (gradients, diverged) = (trajectory.gradients, trajectory.diverged);
        let acceptance = trajectory.accepted / trajectory.steps as f64;
        chain.at = Arc::unwrap_or_clone(at);
        chain.gradients += gradients;
        if warming {
            chain.tuning.update(acceptance, self.options.target_acceptance);
            self.learn(&mut chain);
        } else {
            chain.accepted += acceptance;
            chain.divergences.add(diverged);
            chain.energies.add(total);
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
        self.chains = workers.map(work, |(i, chain), evaluator| self.draw(i, chain, evaluator))?;
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
        vec![
            ("acceptance".into(), self.acceptance()),
            ("divergences".into(), self.sum(|chain| chain.divergences.count()) as f64),
            ("trajectories_cut".into(), self.sum(|chain| chain.cut) as f64),
            ("step_size".into(), step),
            Energies::worst(self.chains.iter().map(|chain| &chain.energies)),
            ("gradients_per_trajectory".into(), gradients / chains / self.draws.max(1) as f64),
        ]
    }
}
