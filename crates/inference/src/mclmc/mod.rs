//! Microcanonical Langevin Monte Carlo (Robnik, De Luca, Silverstein & Seljak 2023, JMLR 24, 311; Robnik & Seljak 2024).

mod kick;
mod pairs;
mod step_size;

use lookback_operator::Real;
use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use self::kick::Kick;
pub(crate) use self::kick::rotate;
use self::pairs::Pairs;
use self::step_size::StepSize;
use crate::chain::{Beginnings, Divergences, Plan, Point, stream};
use crate::diagnostics::plain_ess;
use crate::integrator::{Integrator, Shares};
use crate::scales::{Metric, Scales, Spread, sum_of_squares, unless_one};
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Sampler, Workers};

/// Options of [`Mclmc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MclmcOptions {
    /// Independent chains.
    pub chains: usize,
    /// Steps of each chain that tune and are thrown away.
    pub warmup: usize,
    /// Steps of each chain that count.
    pub draws: usize,
    /// Keep every so many steps.
    pub thin: usize,
    /// Variance of the energy error of a step, per latent, that the step size is tuned to. The bias of the samples falls with its
    /// cube root: at the default, variances of a Gaussian are 2 % too small with `minimal_norm`, 4 % too large with `leapfrog`.
    pub energy_error: f64,
    /// Splitting of a step.
    pub integrator: Integrator,
    /// Preconditioning.
    pub metric: Metric,
    /// Standard deviation of the random starting points.
    pub start_scale: f64,
}

impl Default for MclmcOptions {
    fn default() -> Self {
        MclmcOptions {
            chains: 4,
            warmup: 2000,
            draws: 10_000,
            thin: 10,
            energy_error: 5e-4,
            integrator: Integrator::MinimalNorm,
            metric: Metric::Diagonal,
            start_scale: 0.1,
        }
    }
}

/// Steps between two looks at the state: checkpoints and draws stand at their ends.
const BLOCK: usize = 50;
/// Shares of the warm-up at which the metric is learned anew; the last part tunes the rest.
const RELEARN: [f64; 3] = [0.1, 0.25, 0.6];
/// Latents whose correlation in time sets the length of decoherence, and most records of them.
const WATCHED: usize = 256;
const RECORDS: usize = 1000;
/// Draws that records must hold to say how many steps one takes.
const DRAWS: f64 = 50.0;
/// Steps between two looks at equipartition.
const VIRIAL_EVERY: usize = 8;

/// Samples by motion at constant speed whose direction is turned by the gradient and, a little, by chance:
///
/// ```text
/// dz = u dt,   du = -(1 - u u^T) grad H / (d - 1) dt + noise,   |u| = 1
/// ```
///
/// Nothing is rejected, so that steps may stay long in many dimensions: on fields it needs ten to a hundred times fewer
/// gradients than NUTS. The price is a bias, which `energy_error` bounds and the figure `equipartition` shows: the mean of
/// `z . dH/dz` per latent, which is 1 for exact samples. The step size is tuned by a running fit of the energy error to its
/// sixth power; the length over which the direction is forgotten is first the square root of the dimension, then `0.4`
/// steps per independent draw. Chance comes in one step of a few, at most half of that length apart, or in every step. It turns latents in pairs, one way or
/// the other, which is exact on the sphere and takes a random bit a pair instead of a normal number a latent. Cost beyond the gradient: two
/// passes over velocity and gradient, and over the widths where they were learned.
///
/// Parameters that many latents share, such as the amplitude of a field that is inferred with it, feel the bias of all of them: there
/// `energy_error` must be smaller by the number of latents that speak of one parameter, or the sampler exact (`mams`, `nuts`).
///
/// When not to use it: in one dimension (there is nothing to turn), in few dimensions, or where samples must be exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Mclmc<T: Number> {
    options: MclmcOptions,
    seed: u64,
    beginnings: Beginnings<T>,
    chains: Vec<Chain<T>>,
    steps: usize,
    /// Width of each latent by the metric; empty while all are one.
    scales: Vec<T>,
    /// Length over which the direction is forgotten.
    decoherence: f64,
    /// For each chain and watched latent.
    records: Vec<Vec<Record>>,
    /// Step size after the warm-up.
    tuned: Option<f64>,
}

/// Latents that are watched, of so many.
fn watched(latents: usize) -> usize {
    latents.min(WATCHED)
}

/// Numbers in double precision that a chain of so many latents keeps of those that it watches, at most.
pub fn watched_numbers(latents: usize) -> usize {
    2 * RECORDS * watched(latents)
}

/// What a watched latent was in the last part of the warm-up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    /// Every so many steps.
    apart: Vec<f64>,
    /// At each of the last steps, where the others are apart.
    last: Vec<f64>,
}

impl Record {
    fn extend(&mut self, later: Record) {
        self.apart.extend(later.apart);
        self.last.extend(later.last);
    }

    /// Steps for an independent draw, where records lie `apart`; those that hardly know of each other cannot tell, and the last steps can if
    /// they hold many draws. `None` without enough of them.
    fn steps_per_draw(&self, apart: f64) -> Option<f64> {
        let of = |record: &Vec<f64>| {
            let enough = Some(record).filter(|record| record.len() >= 50)?;
            Some(enough.len() as f64 / plain_ess(std::slice::from_ref(enough)))
                .filter(|steps| steps.is_finite())
        };
        let records = of(&self.apart)?;
        let by_last = if records < 3.0 && apart > 1.0 { of(&self.last) } else { None };
        Some(by_last.filter(|steps| steps * DRAWS <= self.last.len() as f64).unwrap_or(apart * records))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Chain<T: Number> {
    at: Point<T>,
    /// Direction, a unit vector.
    u: Vec<T>,
    step: StepSize,
    spread: Spread<T>,
    /// Where the warm-up ended.
    reference: Vec<T>,
    /// Sum and number of squared energy errors, and of `(z - reference) . dH/dz / d`, after the warm-up.
    errors: (f64, f64),
    virial: (f64, f64),
    divergences: Divergences,
    gradients: u64,
}

/// Most steps between two refreshments.
const SELDOM: usize = 8;

/// What stays fixed while chains advance by a block.
struct Motion<'a, T: Number> {
    options: &'a MclmcOptions,
    scales: Scales<'a, T>,
    decoherence: f64,
    seed: u64,
    /// Number of the block's first step, and of steps in it.
    first: usize,
    count: usize,
    warming: bool,
    /// Whether draws teach the metric.
    learning: bool,
    tuned: Option<f64>,
}

impl<T: Number> Motion<'_, T> {
    /// How much of a direction is remembered over so many steps of this length.
    fn memory(&self, steps: usize, step: f64) -> f64 {
        (-(steps as f64) * step / self.decoherence).exp()
    }

    /// Steps from one refreshment of the direction to the next: half of those in which it is forgotten, so that steps between them
    /// need no random numbers.
    fn refresh_every(&self, step: f64) -> usize {
        ((0.5 * self.decoherence / step) as usize).clamp(1, SELDOM)
    }

    /// Advances a chain; `seen` is shown the state after each step.
    fn advance(
        &self,
        index: usize,
        chain: &mut Chain<T>,
        evaluator: &mut dyn Evaluator<T>,
        mut seen: impl FnMut(usize, &[T]),
    ) -> Result<()> {
        let dim = chain.u.len();
        let Shares { outer, middle, moves } = self.options.integrator.shares();
        let mut gradient = std::mem::take(&mut chain.at.gradient);
        let mut energy = chain.at.energy;
        // Kinetic energy that the first rotation of the step under way gave.
        let mut kinetic = 0.0;
        let mut step = self.tuned.unwrap_or(chain.step.now());
        let every = self.refresh_every(step);
        // Length of the last move.
        let mut drift = 0.0;
        // Whether a step lies behind that its last rotation has still to close.
        let mut open = false;
        for done in 0..=self.count {
            let last = done == self.count;
            let refreshes = !last && (self.first + done).is_multiple_of(every);
            let pairs = |done: usize| {
                refreshes.then(|| Pairs::draw(stream(self.seed, index, self.first + done), dim))
            };
            let mut kick = Kick::new(&chain.u, &gradient, self.scales, pairs(done));
            if open && !(energy.is_finite() && kick.is_finite()) {
                self.turn_back((index, self.first + done - 1), chain, drift, &mut gradient, evaluator)?;
                open = false;
                energy = chain.at.energy;
                step = self.tuned.unwrap_or(chain.step.now());
                kick = Kick::new(&chain.u, &gradient, self.scales, pairs(done));
            }
            let z = &mut chain.at.z;
            if open {
                kinetic += kick.rotate(outer * step);
                let error = (kinetic + energy - chain.at.energy).powi(2) / dim as f64;
                if self.warming {
                    chain.step.update(error / self.options.energy_error);
                    step = chain.step.now();
                    if self.learning {
                        chain.spread.add(z, &gradient);
                    }
                } else {
                    chain.errors = (chain.errors.0 + error, chain.errors.1 + 1.0);
                    if (self.first + done).is_multiple_of(VIRIAL_EVERY) {
                        // About any fixed place the mean is one; about one within the posterior its scatter is least.
                        let virial = (vector::dot(z, &gradient) - vector::dot(&chain.reference, &gradient))
                            / dim as f64;
                        chain.virial = (chain.virial.0 + virial, chain.virial.1 + 1.0);
                    }
                }
                chain.at.energy = energy;
                seen(self.first + done - 1, z);
            }
            if last {
                kick.carry_out(&mut chain.u, &gradient, self.scales, 0.0, z);
                break;
            }
            if refreshes {
                kick.refresh(self.memory(every, step));
            }
            kinetic = kick.rotate(outer * step);
            drift = step / moves as f64;
            kick.carry_out(&mut chain.u, &gradient, self.scales, drift, z);
            energy = evaluator.energy(z, &mut gradient)?;
            chain.gradients += 1;
            for _ in 1..moves {
                if !energy.is_finite() {
                    break;
                }
                let mut kick = Kick::new(&chain.u, &gradient, self.scales, None);
                kinetic += kick.rotate(middle * step);
                kick.carry_out(&mut chain.u, &gradient, self.scales, drift, z);
                energy = evaluator.energy(z, &mut gradient)?;
                chain.gradients += 1;
            }
            open = true;
        }
        chain.at.gradient = gradient;
        Ok(())
    }

    /// Takes back a move that ended in a place that is impossible, and takes up a new direction where it began.
    fn turn_back(
        &self,
        (index, step): (usize, usize),
        chain: &mut Chain<T>,
        drift: f64,
        gradient: &mut [T],
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<()> {
        let drift = T::of(drift);
        let scale = |i: usize| self.scales.map_or(T::one(), |scales| scales[i]);
        let moves = chain.u.iter().enumerate();
        chain.at.z.iter_mut().zip(moves).for_each(|(z, (i, &u))| *z -= drift * scale(i) * u);
        chain.at.energy = evaluator.energy(&chain.at.z, gradient)?;
        chain.gradients += 1;
        if !chain.at.energy.is_finite() {
            return Err(Error::NotConverged(format!(
                "chain {index} stands at the edge of what is possible, and found no way back in step {step}; another seed, or a smaller `energy_error`, may help"
            )));
        }
        random_direction(self.seed, index, step, 1, &mut chain.u);
        if self.warming {
            chain.step.fail();
        } else {
            chain.divergences.add(true);
        }
        Ok(())
    }
}

/// A direction from the normal numbers of a step, those of its first or second `turn`; the first kick makes a unit vector of it.
fn random_direction<T: Real>(seed: u64, chain: usize, step: usize, turn: u64, u: &mut [T]) {
    let (stream, first) = (stream(seed, chain, step), turn * u.len() as u64);
    u.iter_mut().enumerate().for_each(|(i, u)| *u = T::of(stream.normal(first + i as u64)));
}

impl<T: Number> Mclmc<T> {
    /// A sampler that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: MclmcOptions, seed: u64) -> Result<Mclmc<T>> {
        let MclmcOptions { chains, warmup, draws, thin, start_scale, .. } = options;
        Plan { chains, warmup, draws, thin, start_scale }.check()?;
        if !(options.energy_error > 0.0 && options.energy_error.is_finite()) {
            return Err(Error::Option(format!(
                "`energy_error` must be positive, such as 5e-4, and is {}",
                options.energy_error
            )));
        }
        if warmup < 100 {
            return Err(Error::Option(format!(
                "`warmup` must be at least 100 steps, as step size and decoherence are tuned in it; it is {warmup}"
            )));
        }
        Ok(Mclmc {
            options,
            seed,
            beginnings: Beginnings::random(seed, start_scale),
            chains: Vec::new(),
            steps: 0,
            scales: Vec::new(),
            decoherence: 0.0,
            records: Vec::new(),
            tuned: None,
        })
    }

    /// Number of latents, once there are chains.
    fn dim(&self) -> usize {
        self.chains.first().map_or(0, |chain| chain.u.len())
    }

    fn start(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let dim = workers.dim();
        if dim < 2 {
            return Err(Error::Unsuitable(
                "`mclmc` turns a direction, and with a single latent there is none to turn; choose `nuts`"
                    .into(),
            ));
        }
        let chains = workers.map((0..self.options.chains).collect(), |index, evaluator| {
            let at = self.beginnings.of_chain(index, evaluator, dim)?;
            let mut u = vec![T::zero(); dim];
            random_direction(self.seed, index, 0, 0, &mut u);
            let step = StepSize::new((dim as f64).sqrt() / 4.0);
            let spread = Spread::new(if self.options.metric == Metric::Diagonal { dim } else { 0 });
            let (errors, virial) = ((0.0, 0.0), (0.0, 0.0));
            Ok(Chain {
                at,
                u,
                step,
                spread,
                reference: Vec::new(),
                errors,
                virial,
                divergences: Divergences::default(),
                gradients: 0,
            })
        })?;
        self.decoherence = (dim as f64).sqrt();
        self.records = vec![vec![Record::default(); watched(dim)]; chains.len()];
        self.chains = chains;
        Ok(())
    }

    /// Ends of the parts of the warm-up: metric learned three times, then the rest.
    fn milestones(&self) -> Vec<usize> {
        let warmup = self.options.warmup;
        let mut all: Vec<usize> = RELEARN.iter().map(|share| (share * warmup as f64) as usize).collect();
        all.push(warmup);
        all
    }

    /// Steps up to the next place where something is due.
    fn block(&self) -> usize {
        let to_milestone =
            self.milestones().into_iter().filter(|&m| m > self.steps).map(|m| m - self.steps).next();
        let Some(left) = to_milestone else {
            let counted = self.steps - self.options.warmup;
            let thin = self.options.thin;
            return (thin - counted % thin).min(self.options.draws - counted).min(BLOCK);
        };
        left.min(BLOCK)
    }

    /// At the end of a part of the warm-up: what all chains have seen becomes the metric.
    fn relearn(&mut self) {
        if self.options.metric == Metric::Unit {
            return;
        }
        let dim = self.dim();
        let mut all = Spread::new(dim);
        self.chains.iter().for_each(|chain| all.merge(&chain.spread));
        if all.count() < 2 {
            return;
        }
        let before = sum_of_squares(&self.scales, dim);
        self.scales = all.scales();
        let after = vector::norm2(&self.scales);
        for chain in &mut self.chains {
            chain.spread = Spread::new(dim);
            // Where latents are counted in units of their widths, steps are longer by as much.
            chain.step = StepSize::new(chain.step.now() * (before / after).sqrt());
        }
    }

    /// At the end of the warm-up: one step size for all, and a length of decoherence from the watched latents.
    fn tune(&mut self) {
        let mut steps: Vec<f64> = self.chains.iter().map(|chain| chain.step.now()).collect();
        steps.sort_by(f64::total_cmp);
        let step = steps[steps.len() / 2];
        self.tuned = Some(step);
        let apart = self.record_every() as f64;
        let records = self.records.iter().flatten();
        let per_draw: Vec<f64> = records.filter_map(|record| record.steps_per_draw(apart)).collect();
        if !per_draw.is_empty() {
            let mean = per_draw.iter().sum::<f64>() / per_draw.len() as f64;
            self.decoherence = 0.4 * step * mean;
        }
        self.records = Vec::new();
        // Nothing is learned any more.
        self.chains.iter_mut().for_each(|chain| chain.spread = Spread::new(0));
    }

    /// Steps between records in the last part of the warm-up.
    fn record_every(&self) -> usize {
        let part = ((1.0 - RELEARN[2]) * self.options.warmup as f64) as usize;
        part.div_ceil(RECORDS).max(1)
    }

    fn counted(&self) -> usize {
        self.steps.saturating_sub(self.options.warmup)
    }

    fn mean(&self, of: impl Fn(&Chain<T>) -> (f64, f64)) -> f64 {
        let (sum, count) = self.chains.iter().map(of).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        sum / count
    }
}

impl<T: Number> Sampler<T> for Mclmc<T> {
    fn start_from(&mut self, latents: Vec<Vec<T>>) {
        self.beginnings.give(latents);
    }
}

impl<T: Number> Method<T> for Mclmc<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.chains.is_empty() {
            self.start(workers)?;
        }
        let (count, warmup) = (self.block(), self.options.warmup);
        let milestones = self.milestones();
        let watching = self.steps >= milestones[2] && self.steps < warmup;
        let motion = Motion {
            options: &self.options,
            scales: unless_one(&self.scales),
            decoherence: self.decoherence,
            seed: self.seed,
            first: self.steps,
            count,
            warming: self.steps < warmup,
            learning: self.options.metric == Metric::Diagonal && self.steps < milestones[2],
            tuned: self.tuned,
        };
        let (every, apart) = (self.record_every(), (self.dim() / WATCHED).max(1));
        let watched = watched(self.dim());
        let of_last = if every > 1 { warmup.saturating_sub(RECORDS) } else { warmup };
        let work = self.chains.iter().cloned().enumerate().collect();
        let moved = workers.map(work, |(index, mut chain): (usize, Chain<T>), evaluator| {
            let mut records = vec![Record::default(); watched];
            motion.advance(index, &mut chain, evaluator, |step, z| {
                if !watching {
                    return;
                }
                for (i, record) in records.iter_mut().enumerate() {
                    let z = z[i * apart].f64();
                    if step % every == 0 {
                        record.apart.push(z);
                    }
                    if step >= of_last {
                        record.last.push(z);
                    }
                }
            })?;
            Ok((chain, records))
        })?;
        self.chains.clear();
        for (index, (chain, records)) in moved.into_iter().enumerate() {
            self.chains.push(chain);
            if watching {
                self.records[index].iter_mut().zip(records).for_each(|(all, new)| all.extend(new));
            }
        }
        self.steps += count;
        if milestones[..3].contains(&self.steps) {
            self.relearn();
        }
        if self.steps == warmup {
            self.tune();
            self.chains.iter_mut().for_each(|chain| chain.reference.clone_from(&chain.at.z));
        }
        if self.counted() > 0 && self.counted().is_multiple_of(self.options.thin) {
            for (i, chain) in self.chains.iter_mut().enumerate() {
                let (z, energy) = (chain.at.z.clone(), Some(chain.at.energy));
                let diverged = chain.divergences.tell();
                sink(Draw::Sample { z, chain: i, energy, mirror: false, diverged });
            }
        }
        let total = warmup + self.options.draws;
        let message = if self.counted() == 0 {
            format!("warming up, step {:.3}", self.chains[0].step.now())
        } else {
            format!("energy error {:.1e}", self.mean(|chain| chain.errors))
        };
        Ok(Progress { steps: (self.steps as u64, total as u64), message, done: self.steps == total })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let gradients: u64 = self.chains.iter().map(|chain| chain.gradients).sum();
        let divergences: u64 = self.chains.iter().map(|chain| chain.divergences.count()).sum();
        vec![
            ("step_size".into(), self.tuned.unwrap_or(f64::NAN)),
            ("decoherence_length".into(), self.decoherence),
            ("energy_error".into(), self.mean(|chain| chain.errors)),
            ("equipartition".into(), self.mean(|chain| chain.virial)),
            ("divergences".into(), divergences as f64),
            ("gradients_per_step".into(), gradients as f64 / (self.steps * self.chains.len()).max(1) as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};

    use super::*;

    /// A latent of which an independent draw takes so many steps: an autoregressive series, looked at as a warm-up does that has such records.
    fn watched_latent(steps_per_draw: f64, apart: usize, seed: u32) -> Record {
        let memory = (steps_per_draw - 1.0) / (steps_per_draw + 1.0);
        let stream = Stream::new(5, Purpose::Test, seed);
        let (mut record, mut z, steps) = (Record::default(), 0.0, RECORDS * apart);
        for step in 0..steps {
            z = memory * z + (1.0 - memory * memory).sqrt() * stream.normal(step as u64);
            if step % apart == 0 {
                record.apart.push(z);
            }
            if step >= steps - RECORDS {
                record.last.push(z);
            }
        }
        record
    }

    /// However long the warm-up and however slow a latent: below what the last steps can tell by them, above it by those apart.
    #[test]
    fn steps_of_an_independent_draw_are_known_after_any_warm_up() {
        for (truth, apart) in
            [(1.7, 5), (10.0, 5), (40.0, 5), (5.0, 40), (100.0, 40), (300.0, 40), (200.0, 100), (800.0, 400)]
        {
            let found: Vec<f64> = (0..20)
                .map(|seed| watched_latent(truth, apart, seed).steps_per_draw(apart as f64).expect("enough"))
                .collect();
            let ratio = found.iter().sum::<f64>() / (truth * found.len() as f64);
            assert!((0.75..1.4).contains(&ratio), "{ratio} of {truth} steps, looked at every {apart}");
        }
    }
}
