//! Metric Gaussian (Knollmueller & Ensslin 2019, arXiv 1901.11033) and geometric variational inference (Frank, Leike & Ensslin
//! 2021, arXiv 2105.10470).

use lookback_operator::{Real, vector};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::chain::random_start;
use crate::conjugate_gradient::Sample;
use crate::importance::Weighed;
use crate::line_search::line_search;
use crate::newton_cg::newton_direction;
use crate::options::{at_least, at_least_one};
use crate::straighten::{Arrival, Straight};
use crate::target::possible;
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Workers};

/// Options of [`Mgvi`], straight and bent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MgviOptions {
    /// Rounds of drawing samples and moving the mean.
    pub iterations: usize,
    /// Pairs of samples `m +- dz` in the rounds.
    pub pairs: usize,
    /// Pairs of samples handed out at the end.
    pub final_pairs: usize,
    /// Newton steps of the mean in a round.
    pub newton_steps: usize,
    /// Largest error of a sample, in posterior standard deviations (root mean square over the latents).
    pub tolerance: f64,
    /// Standard deviation of the random starting point.
    pub start_scale: f64,
}

impl Default for MgviOptions {
    fn default() -> Self {
        MgviOptions {
            iterations: 10,
            pairs: 4,
            final_pairs: 50,
            newton_steps: 8,
            tolerance: 1e-2,
            start_scale: 0.1,
        }
    }
}

/// Most iterations of a solve for one sample.
const SOLVE: usize = 5000;
/// Most iterations of a solve for a Newton step.
const INNER: usize = 200;

/// Approximates the posterior by `N(m, (1 + J^T M J)^-1)` with the metric at `m`, and `m` the minimum of the energy
/// averaged over samples.
///
/// Each round draws antithetic pairs `m +- dz` (a conjugate-gradient solve each) and moves `m` by Newton steps on the
/// average energy. Memory: two evaluators and two vectors a pair.
///
/// [`geometric`](Mgvi::geometric) bends every sample with the posterior: it solves for the latent whose coordinate, in which the
/// metric is nearly flat, is that of the straight sample (geoVI). This costs a few more solves a sample, and is exact
/// wherever the posterior is Gaussian in some coordinates of the prediction; pairs are no longer mirror images.
///
/// When not to use it: posteriors of several modes; strongly bent ones need the geometric samples, as the straight ones are too narrow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Mgvi<T: Number> {
    options: MgviOptions,
    /// Whether samples bend with the posterior.
    geometric: bool,
    seed: u64,
    mean: Option<Vec<T>>,
    rounds: usize,
    drawn: usize,
    /// Samples that were not handed out, as the model is impossible there.
    impossible: u64,
    /// Samples handed out that did not come to the place that was drawn for them: as the coordinates fold on the way, and otherwise.
    folded: u64,
    unfinished: u64,
    energies: Vec<f64>,
    /// Posterior over approximation at the samples handed out, in logarithms up to a constant.
    weighed: Weighed,
}

impl<T: Number> Mgvi<T> {
    /// A fit that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: MgviOptions, seed: u64) -> Result<Mgvi<T>> {
        at_least_one(&[
            ("final_pairs", options.final_pairs),
            ("iterations", options.iterations),
            ("pairs", options.pairs),
            ("newton_steps", options.newton_steps),
        ])?;
        at_least(&[
            ("tolerance", options.tolerance, f64::MIN_POSITIVE),
            ("start_scale", options.start_scale, 0.0),
        ])?;
        Ok(Mgvi {
            options,
            geometric: false,
            seed,
            mean: None,
            rounds: 0,
            drawn: 0,
            impossible: 0,
            folded: 0,
            unfinished: 0,
            energies: Vec::new(),
            weighed: Weighed::default(),
        })
    }

    /// A fit whose samples bend with the posterior (geoVI).
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn geometric(options: MgviOptions, seed: u64) -> Result<Mgvi<T>> {
        Ok(Mgvi { geometric: true, ..Mgvi::new(options, seed)? })
    }

    /// Draws offsets from the mean, a pair for each number in `draws`: `dz ~ N(0, D)` and `-dz`, bent if they are geometric.
    fn residuals(&self, workers: &Workers<'_, T>, mean: &[T], draws: Vec<u32>) -> Result<Vec<Pair<T>>> {
        workers.map(draws, |draw, evaluator| {
            let mut y = mean.to_vec();
            let energy = evaluator.energy(mean, &mut y)?;
            possible(evaluator, energy)?;
            let sample = Sample::draw(evaluator, y, (self.seed, draw), self.options.tolerance, SOLVE)?;
            let energy = sample.energy();
            let Sample { mut y, x: straight, .. } = sample;
            let mirrored = vector::negative(&straight);
            if !self.geometric {
                let energy = Some(energy);
                return Ok(Pair { offsets: [straight, mirrored], energy, arrivals: [Arrival::There; 2] });
            }
            let bent = |evaluator: &mut dyn Evaluator<T>, y: &[T], offset: &[T]| {
                workers.with(|here| {
                    let start = vector::step(mean, 1.0, offset);
                    match Straight::new(evaluator, here, mean, y)?.solve(start, self.options.tolerance) {
                        Ok((z, arrival)) => Ok((vector::step(&z, -1.0, mean), arrival)),
                        // It stays where it is, and is told as impossible when it is handed out.
                        Err(error) if error.is_of_point() => Ok((offset.to_vec(), Arrival::Near)),
                        Err(error) => Err(error),
                    }
                })
            };
            let first = bent(evaluator, &y, &straight)?;
            y.iter_mut().for_each(|y| *y = -*y);
            let second = bent(evaluator, &y, &mirrored)?;
            // The density of bent samples is not known.
            Ok(Pair { offsets: [first.0, second.0], energy: None, arrivals: [first.1, second.1] })
        })
    }

    /// The pairs both of whose samples are possible.
    ///
    /// # Errors
    /// Why the first is not, if none is.
    fn possible_ones(
        &self,
        workers: &Workers<'_, T>,
        mean: &[T],
        pairs: Vec<Pair<T>>,
    ) -> Result<Vec<Pair<T>>> {
        let first = vector::step(mean, 1.0, &pairs[0].offsets[0]);
        let judged = workers.map(pairs, |pair, evaluator| {
            let (_, energies) = pair.around(mean, evaluator)?;
            Ok(energies.iter().all(|energy| energy.is_finite()).then_some(pair))
        })?;
        let kept: Vec<Pair<T>> = judged.into_iter().flatten().collect();
        if kept.is_empty() { Err(workers.impossible(&first)) } else { Ok(kept) }
    }

    /// Moves the mean down the average energy of `mean + residuals`.
    fn improve(
        &self,
        workers: &Workers<'_, T>,
        mean: Vec<T>,
        residuals: &[Pair<T>],
    ) -> Result<(Vec<T>, f64)> {
        let mut average = Average::new(workers, residuals);
        let mut at = mean;
        let mut gradient = vec![T::zero(); at.len()];
        let mut energy = average.energy(&at, &mut gradient)?;
        possible(&average, energy)?;
        let goal = self.options.tolerance.powi(2) * at.len() as f64;
        for _ in 0..self.options.newton_steps {
            if vector::norm2(&gradient) <= goal {
                break;
            }
            let direction = newton_direction(&mut average, &gradient, goal, INNER)?;
            let Some(lower) = line_search(&mut average, &at, energy, &gradient, &direction, 1.0)? else {
                break;
            };
            (at, gradient, energy) = (lower.z, lower.gradient, lower.energy);
        }
        Ok((at, energy))
    }

    fn round(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let mean = self
            .mean
            .clone()
            .unwrap_or_else(|| random_start(workers.dim(), self.seed, 0, self.options.start_scale));
        // The last rounds keep their random numbers, so that the mean settles.
        let stage = self.rounds.min(self.options.iterations.saturating_sub(2)) as u32;
        let pairs = self.options.pairs as u32;
        let draws = (0..pairs).map(|i| (1 << 31) | (stage * pairs + i)).collect();
        let residuals = self.residuals(workers, &mean, draws)?;
        let (mean, energy) = match self.improve(workers, mean.clone(), &residuals) {
            Err(error) if error.is_of_point() => {
                let residuals = self.possible_ones(workers, &mean, residuals)?;
                self.improve(workers, mean, &residuals)?
            }
            other => other?,
        };
        self.mean = Some(mean);
        self.energies.push(energy);
        self.rounds += 1;
        Ok(())
    }

    fn hand_out(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        let Some(mean) = &self.mean else { return Ok(()) };
        let last = self.options.final_pairs.min(self.drawn + rayon::current_num_threads());
        let residuals = self.residuals(workers, mean, (self.drawn as u32..last as u32).collect())?;
        let judged = workers.map(residuals, |pair, evaluator| {
            let (samples, energies) = pair.around(mean, evaluator)?;
            Ok((samples, energies, pair))
        })?;
        if self.drawn == 0 {
            sink(Draw::Centre { z: mean.clone() });
        }
        for (samples, energies, pair) in judged {
            for (which, (z, energy)) in samples.into_iter().zip(energies).enumerate() {
                // One that is impossible has a weight of zero, which counts.
                if let Some(approximation) = pair.energy {
                    self.weighed.add(approximation - energy);
                }
                if !energy.is_finite() {
                    self.impossible += 1;
                    continue;
                }
                self.folded += u64::from(pair.arrivals[which] == Arrival::Fold);
                self.unfinished += u64::from(pair.arrivals[which] == Arrival::Near);
                let mirror = which == 1;
                sink(Draw::Sample { z, chain: 0, energy: Some(energy), mirror, diverged: false });
            }
        }
        self.drawn = last;
        Ok(())
    }
}

/// Two samples on opposite sides of the mean, as offsets from it.
struct Pair<T> {
    offsets: [Vec<T>; 2],
    /// Energy of both in the approximation, where it is known.
    energy: Option<f64>,
    /// Where each has come to.
    arrivals: [Arrival; 2],
}

impl<T: Real> Pair<T> {
    /// The samples, and their energies.
    fn around(&self, mean: &[T], evaluator: &mut dyn Evaluator<T>) -> Result<([Vec<T>; 2], [f64; 2])> {
        let mut gradient = mean.to_vec();
        let [first, second] = self.offsets.each_ref().map(|offset| vector::step(mean, 1.0, offset));
        let energies = [evaluator.energy(&first, &mut gradient)?, evaluator.energy(&second, &mut gradient)?];
        Ok(([first, second], energies))
    }
}

/// The average of an energy over points around a mean, itself an energy of the mean.
struct Average<'a, T: Real> {
    pairs: &'a [Pair<T>],
    /// An evaluator for each offset.
    team: Vec<Box<dyn Evaluator<T> + 'a>>,
}

impl<'a, T: Real> Average<'a, T> {
    fn new(workers: &'a Workers<'_, T>, pairs: &'a [Pair<T>]) -> Average<'a, T> {
        Average { pairs, team: workers.team(2 * pairs.len()) }
    }

    /// Applies `work` on every member and averages the vectors in the order of the team.
    fn average(
        &mut self,
        out: &mut [T],
        work: impl Fn(usize, &mut dyn Evaluator<T>, &mut [T]) -> Result<f64> + Sync,
    ) -> Result<f64> {
        let (n, count) = (out.len(), self.team.len() as f64);
        let parts = self.team.par_iter_mut().enumerate().map(|(i, member)| {
            let mut part = vec![T::zero(); n];
            let value = work(i, member.as_mut(), &mut part)?;
            Ok((value, part))
        });
        let parts: Vec<(f64, Vec<T>)> = parts.collect::<Result<_>>()?;
        out.fill(T::zero());
        let mut sum = 0.0;
        for (value, part) in &parts {
            sum += value;
            vector::axpy(1.0 / count, part, out);
        }
        Ok(sum / count)
    }
}

impl<T: Real> Evaluator<T> for Average<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        let pairs = self.pairs;
        self.average(gradient, |i, member, part| {
            member.energy(&vector::step(z, 1.0, &pairs[i / 2].offsets[i % 2]), part)
        })
    }

    fn refusal(&self) -> Option<Error> {
        self.team.iter().find_map(|member| member.refusal())
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        self.average(out, |_, member, part| member.metric(v, part).map(|()| 0.0))?;
        Ok(())
    }
}

impl<T: Number> Method<T> for Mgvi<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.rounds < self.options.iterations {
            self.round(workers)?;
        } else {
            self.hand_out(workers, sink)?;
        }
        let total = self.options.iterations + self.options.final_pairs;
        Ok(Progress {
            steps: ((self.rounds + self.drawn) as u64, total as u64),
            message: format!("average energy {:.3}", self.energies.last().copied().unwrap_or(f64::NAN)),
            done: self.rounds == self.options.iterations && self.drawn == self.options.final_pairs,
        })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("average_energy".into(), self.energies.last().copied().unwrap_or(f64::NAN)),
            ("rounds".into(), self.rounds as f64),
        ];
        if self.drawn > 0 {
            figures.push(("samples_impossible".into(), self.impossible as f64));
            if self.geometric {
                figures.push(("samples_folded".into(), self.folded as f64));
                figures.push(("samples_unfinished".into(), self.unfinished as f64));
            }
        }
        figures.extend(self.weighed.figures());
        figures
    }
}
