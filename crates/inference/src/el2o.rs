//! Expectation with L2 optimisation (Seljak & Yu 2019, arXiv 1901.04454): Gaussians, one a mode, that agree with the posterior in value,
//! slope and curvature at their own samples.

use std::ops::Range;

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::dense_gaussian::{self, DenseGaussian};
use crate::importance::{Weighed, log_mean, log_sum};
use crate::options::{at_least, at_least_one};
use crate::particle::{Particle, Round, Start, travel};
use crate::search::{Optimizer, Rules};
use crate::starts::Starts;
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Workers};

/// Options of [`El2o`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct El2oOptions {
    /// Random starting points of the search for modes.
    pub starts: usize,
    /// Standard deviation of the starting points.
    pub start_scale: f64,
    /// Most modes that are kept, lowest energy first.
    pub modes: usize,
    /// Optimiser of the search.
    pub optimizer: Optimizer,
    /// Most steps of a search.
    pub max_iterations: usize,
    /// Pairs of points `mean +- R xi` at which a Gaussian is fitted.
    pub pairs: usize,
    /// Most rounds of the fit; 0 leaves the Gaussians that touch the posterior at its modes (Laplace).
    pub rounds: usize,
    /// Change of mean and covariance in a round, in posterior standard deviations, at which the fit has settled.
    pub tolerance: f64,
    /// Samples handed out.
    pub samples: usize,
    /// Draws of the Gaussians of which each sample is chosen, by importance: more than one mends a fit that is nearly right.
    pub candidates: usize,
    /// Moves of Hamiltonian Monte Carlo that each sample makes then, in the coordinates of its mode: they mend the shape of a mode, not
    /// the weights.
    pub moves: usize,
}

impl Default for El2oOptions {
    fn default() -> Self {
        El2oOptions {
            starts: 1,
            start_scale: 1.0,
            modes: 8,
            optimizer: Optimizer::Lbfgs,
            max_iterations: 2000,
            pairs: 4,
            rounds: 30,
            tolerance: 1e-2,
            samples: 1000,
            candidates: 1,
            moves: 0,
        }
    }
}

/// Samples of each mode that weigh it.
const PILOT: usize = 200;
/// Squared distance, in widths of a mode, within which another is the same.
const SAME: f64 = 1.0;
/// Most that a width grows in a round.
const WIDER: f64 = 2.0;
/// Numbers of the streams: of the points of the fit, and of the samples that weigh the modes.
const FIT: u32 = 1 << 31;
const WEIGH: u32 = 1 << 30;
/// Of the momenta of moves.
const MOVE: u32 = 1 << 29;
/// Fewest samples of a thread between two looks at the state.
const AT_ONCE: usize = 16;
/// Size of a leapfrog step in widths, times the fourth root of the dimension, and steps of a trajectory.
const STEP: f64 = 0.8;
const LEAPS: usize = 5;

/// How well a Gaussian agrees with the posterior at its samples; all are zero for a Gaussian posterior.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Disagreement {
    /// Variance of `ln q - ln p`.
    values: f64,
    /// Mean square of the difference of gradients, in widths, a latent.
    gradients: f64,
    /// Mean square of the difference of curvatures, in widths, a latent.
    curvatures: f64,
}

/// A Gaussian on a mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mode {
    gaussian: DenseGaussian,
    rounds: usize,
    settled: bool,
    disagreement: Disagreement,
    /// Logarithm of its share of the evidence.
    log_weight: f64,
}

/// A draw that may become a sample.
struct Candidate<T> {
    particle: Particle<T>,
    /// Logarithm of the posterior over the mixture.
    log_ratio: f64,
}

/// What the fit has come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Stage {
    Search,
    Touch,
    Fit,
    Weigh,
    Sample,
}

/// Fits `q(z) = sum_i w_i N(mu_i, C_i)` to the posterior: for each mode that a multi-start search finds, the Gaussian that minimises the
/// squared differences of the logarithms of both densities, their gradients and their second derivatives, at samples of `q` itself.
///
/// The minimum is closed: `C^-1 = <H''>`, `mu = <z - C H'>` over the points (their section 2; the fixed point is that of Gaussian
/// variational inference with a full covariance, without its noise). Points are antithetic, with the same random numbers in every round.
/// Weights are the evidences of the modes, from importance weights of 200 samples of each. The differences that are left tell how far
/// to trust the fit (`el2o_values`, `el2o_gradients`, `el2o_curvatures`), as does `pareto_k`; `log_evidence` comes with its error.
///
/// Cost of a round and a mode: `2 pairs (2 dim + 1)` gradients. Memory: `16 dim^2` bytes a mode; up to 2000 latents.
///
/// When not to use it: funnels and other posteriors whose width changes from place to place; many latents (`mgvi` and `geovi` go on).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct El2o<T: Number> {
    options: El2oOptions,
    seed: u64,
    stage: Stage,
    searches: Starts<T>,
    /// Searches that ended at one of the modes.
    ended: usize,
    modes: Vec<Mode>,
    drawn: usize,
    weighed: Weighed,
}

impl<T: Number> El2o<T> {
    /// A fit that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: El2oOptions, seed: u64) -> Result<El2o<T>> {
        at_least_one(&[
            ("starts", options.starts),
            ("modes", options.modes),
            ("pairs", options.pairs),
            ("samples", options.samples),
            ("candidates", options.candidates),
        ])?;
        at_least(&[
            ("tolerance", options.tolerance, f64::MIN_POSITIVE),
            ("start_scale", options.start_scale, 0.0),
        ])?;
        let searches = Starts::new(options.starts);
        Ok(El2o {
            options,
            seed,
            stage: Stage::Search,
            searches,
            ended: 0,
            modes: Vec::new(),
            drawn: 0,
            weighed: Weighed::default(),
        })
    }

    /// The same with searches from these latents, one each, instead of random ones; nothing changes if there are none, or the
    /// searches are under way.
    pub fn start_from(&mut self, latents: Vec<Vec<T>>) {
        if !latents.is_empty() && self.searches.best().is_none() {
            self.searches = Starts::from(latents);
        }
    }

    /// Which mode a place belongs to, as they are counted in the figures; `None` before they are weighed.
    pub fn mode_at(&self, z: &[T]) -> Option<usize> {
        let share = |mode: &Mode| mode.log_weight + mode.gaussian.log_density(z);
        let modes = self.modes.iter().map(share).enumerate();
        modes.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(which, _)| which)
    }

    /// The centres of the modes and their shares of the evidence, as modes are counted in the figures.
    pub fn modes(&self) -> impl Iterator<Item = (Vec<T>, f64)> + '_ {
        let centre = |mode: &Mode| mode.gaussian.mean.iter().map(|x| T::of(*x)).collect();
        self.modes.iter().map(move |mode| (centre(mode), mode.log_weight.exp()))
    }

    fn rules(&self) -> Rules<'static> {
        let El2oOptions { optimizer, tolerance, max_iterations, start_scale, .. } = self.options;
        Rules::plain(optimizer, tolerance, max_iterations, self.seed, start_scale)
    }

    /// Gaussians that touch the posterior at the ends of the searches, each mode once; and how many ends they have.
    fn touch(&self, workers: &Workers<'_, T>) -> Result<(Vec<Mode>, usize)> {
        let mut modes: Vec<Mode> = Vec::new();
        let mut ended = 0;
        for end in self.searches.ends() {
            let known = modes.iter().any(|mode| vector::norm2(&mode.gaussian.whiten(&end.z)) < SAME);
            if !known && modes.len() == self.options.modes {
                continue;
            }
            ended += 1;
            if known {
                continue;
            }
            modes.push(Mode {
                gaussian: dense_gaussian::touching(workers, &end.z)?,
                rounds: 0,
                settled: false,
                disagreement: Disagreement::default(),
                log_weight: 0.0,
            });
        }
        Ok((modes, ended))
    }

    /// A round of the fit of one mode.
    fn round(&self, workers: &Workers<'_, T>, mode: &Mode) -> Result<Mode> {
        let (gaussian, dim) = (&mode.gaussian, mode.gaussian.dim());
        let mut mean_gradient = vec![0.0; dim];
        let mut mean_curvature = DMatrix::zeros(dim, dim);
        let (mut differences, mut gradients, mut curvatures) = (Vec::new(), 0.0, 0.0);
        let unit = DMatrix::<f64>::identity(dim, dim);
        for pair in 0..self.options.pairs as u32 {
            let mut xi = vec![0.0; dim];
            Stream::new(self.seed, Purpose::PriorDraw, FIT | pair).fill_normal(&mut xi);
            for _ in 0..2 {
                let z: Vec<T> = gaussian.place(&xi);
                let mut gradient = z.clone();
                let energy = workers.with(|evaluator| evaluator.energy(&z, &mut gradient))?;
                if !energy.is_finite() {
                    return Err(Error::NotConverged(
                        "a Gaussian reaches to where the density is zero: the posterior has a wall, which `nuts` or `hmc` respect"
                            .into(),
                    ));
                }
                let curvature = gaussian.round_curvature(workers, &z)?;
                differences.push(energy - 0.5 * vector::norm2(&xi) + gaussian.log_height());
                let slope = gaussian.round_gradient(&gradient);
                gradients += slope.iter().zip(&xi).map(|(slope, xi)| (slope - xi).powi(2)).sum::<f64>();
                curvatures += (&curvature - &unit).norm_squared();
                mean_gradient.iter_mut().zip(&gradient).for_each(|(mean, g)| *mean += g.f64());
                mean_curvature += curvature;
                xi.iter_mut().for_each(|xi| *xi = -*xi);
            }
        }
        let count = differences.len() as f64;
        mean_gradient.iter_mut().for_each(|g| *g /= count);
        mean_curvature /= count;
        let average = differences.iter().sum::<f64>() / count;
        let values = differences.iter().map(|d| (d - average).powi(2)).sum::<f64>() / (count - 1.0);
        let per_latent = 1.0 / (count * dim as f64);
        let disagreement =
            Disagreement { values, gradients: gradients * per_latent, curvatures: curvatures * per_latent };

        // Curvature that is small or negative asks for more width, but not for all of it at once.
        let shaped = gaussian.reshaped(&mean_curvature, |value| value.max(1.0 / (WIDER * WIDER)));
        let mut step: Vec<f64> = shaped.round_gradient(&mean_gradient).iter().map(|g| -g).collect();
        let moves = vector::norm2(&step) / dim as f64;
        // Beyond a width in every latent, the quadratic that promises the step is not to be believed.
        step.iter_mut().for_each(|step| *step /= moves.sqrt().max(1.0));
        let bends = (mean_curvature - unit).norm_squared() / dim as f64;
        let settled = moves.max(bends) <= self.options.tolerance.powi(2);
        let next = if settled { gaussian.clone() } else { shaped.moved(&step) };
        Ok(Mode { gaussian: next, rounds: mode.rounds + 1, settled, disagreement, log_weight: 0.0 })
    }

    /// The share of the evidence that each mode has; modes that became the same are one.
    fn weigh(&self, workers: &Workers<'_, T>) -> Result<Vec<Mode>> {
        let mut modes: Vec<Mode> = Vec::new();
        for mode in &self.modes {
            if modes.iter().any(|other| vector::norm2(&other.gaussian.whiten(&mode.gaussian.mean)) < SAME) {
                continue;
            }
            let ratios = workers.map(workers.crowds(0..PILOT), |crowd, evaluator| {
                let draw = |draw: usize| self.draw(&mode.gaussian, WEIGH | draw as u32);
                let (places, heights): (Vec<_>, Vec<_>) = crowd.map(draw).unzip();
                let ratio = |(particle, height): (Particle<T>, f64)| -particle.energy(1.0) - height;
                Ok(Particle::at(places, evaluator)?.into_iter().zip(heights).map(ratio).collect::<Vec<_>>())
            })?;
            modes.push(Mode { log_weight: log_mean(&ratios.concat()).0, ..mode.clone() });
        }
        let all = log_sum(modes.iter().map(|mode| mode.log_weight));
        modes.iter_mut().for_each(|mode| mode.log_weight -= all);
        Ok(modes)
    }

    /// The sample of a Gaussian from the random numbers of `stream`, and its logarithmic density.
    fn draw(&self, gaussian: &DenseGaussian, stream: u32) -> (Vec<T>, f64) {
        let mut xi = vec![0.0; gaussian.dim()];
        Stream::new(self.seed, Purpose::PriorDraw, stream).fill_normal(&mut xi);
        (gaussian.place(&xi), gaussian.log_height() - 0.5 * vector::norm2(&xi))
    }

    /// Which mode the sample with this number is drawn from: shares of the samples are those of the weights.
    fn mode_of(&self, draw: usize) -> &Mode {
        let place = Stream::new(self.seed, Purpose::DataDraw, draw as u32).uniform(0);
        let mut below = 0.0;
        let reached = self.modes.iter().find(|mode| {
            below += mode.log_weight.exp();
            below >= place
        });
        reached.unwrap_or(&self.modes[self.modes.len() - 1])
    }

    /// The draws of the mixture with these numbers.
    fn candidates(&self, draws: Range<usize>, evaluator: &mut dyn Evaluator<T>) -> Result<Vec<Candidate<T>>> {
        let place = |draw: usize| self.draw(&self.mode_of(draw).gaussian, draw as u32).0;
        let weigh = |particle: Particle<T>| {
            let density = |mode: &Mode| mode.log_weight + mode.gaussian.log_density(&particle.z);
            let log_ratio = -particle.energy(1.0) - log_sum(self.modes.iter().map(density));
            Candidate { particle, log_ratio }
        };
        Ok(Particle::at(draws.map(place).collect(), evaluator)?.into_iter().map(weigh).collect())
    }

    /// One of the candidates, each as likely as it weighs; `None` if none is possible.
    fn choose(&self, draw: usize, candidates: &[Candidate<T>]) -> Option<Particle<T>> {
        let possible: Vec<&Candidate<T>> =
            candidates.iter().filter(|candidate| candidate.particle.misfit.is_finite()).collect();
        let all = log_sum(possible.iter().map(|candidate| candidate.log_ratio));
        let place = Stream::new(self.seed, Purpose::Chain, draw as u32).uniform(0);
        let mut below = 0.0;
        let reached = possible.iter().position(|candidate| {
            below += (candidate.log_ratio - all).exp();
            below >= place
        });
        let chosen = reached.or(possible.len().checked_sub(1))?;
        Some(possible[chosen].particle.clone())
    }

    /// How the sample with this number sets out.
    fn start<'g>(&self, gaussian: &'g DenseGaussian, draw: usize, turn: usize) -> Start<'g, DenseGaussian> {
        let mut momentum = vec![0.0; gaussian.dim()];
        let which = (draw * self.options.moves + turn) as u32;
        Stream::new(self.seed, Purpose::Chain, MOVE | which).fill_normal(&mut momentum);
        let decisions = Stream::new(self.seed, Purpose::DataDraw, MOVE | draw as u32);
        Start {
            coordinates: gaussian,
            momentum,
            step: STEP / (gaussian.dim() as f64).powf(0.25),
            decision: decisions.uniform(turn as u64),
        }
    }

    /// Moves the samples with these numbers: trajectories in coordinates in which the Gaussian of a sample's mode is round. One that ends
    /// nearer another mode, whose coordinates are others, could not be gone back, and is refused.
    fn move_all(
        &self,
        samples: &mut [Particle<T>],
        draws: &[usize],
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<()> {
        if self.options.moves == 0 {
            return Ok(());
        }
        let home: Vec<usize> = samples.iter().map(|sample| self.mode_at(&sample.z).unwrap_or(0)).collect();
        let at_home = |sample: usize, z: &[T]| self.mode_at(z) == Some(home[sample]);
        for turn in 0..self.options.moves {
            let gaussian = |sample: usize| &self.modes[home[sample]].gaussian;
            let starts = draws.iter().enumerate();
            let starts = starts.map(|(sample, draw)| self.start(gaussian(sample), *draw, turn)).collect();
            travel(samples, starts, (LEAPS, 1.0), at_home, evaluator)?;
        }
        Ok(())
    }

    /// Samples with these numbers, where there is one that is possible, and the ratios of their candidates.
    fn samples(
        &self,
        draws: Range<usize>,
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<(Vec<f64>, Vec<Particle<T>>)> {
        let each = self.options.candidates;
        let candidates = self.candidates(draws.start * each..draws.end * each, evaluator)?;
        let chosen =
            |(draw, candidates): (usize, &[Candidate<T>])| Some((draw, self.choose(draw, candidates)?));
        let (draws, mut samples): (Vec<usize>, Vec<Particle<T>>) =
            draws.zip(candidates.chunks_exact(each)).filter_map(chosen).unzip();
        self.move_all(&mut samples, &draws, evaluator)?;
        Ok((candidates.into_iter().map(|candidate| candidate.log_ratio).collect(), samples))
    }

    fn sample(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        // Whole crowds, so that how they are cut does not depend on the number of threads.
        let each = AT_ONCE.next_multiple_of(workers.target().crowd());
        let last = self.options.samples.min(self.drawn + each * rayon::current_num_threads());
        let work = |crowd, evaluator: &mut dyn Evaluator<T>| self.samples(crowd, evaluator);
        for (log_ratios, samples) in workers.map(workers.crowds(self.drawn..last), work)? {
            log_ratios.into_iter().for_each(|log_ratio| self.weighed.add(log_ratio));
            // What is impossible is no sample; its weight of zero counts.
            for sample in samples {
                let energy = Some(sample.energy(1.0));
                sink(Draw::independent(sample.z, energy));
            }
        }
        self.drawn = last;
        Ok(())
    }

    fn go_on(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<String> {
        match self.stage {
            Stage::Search => {
                dense_gaussian::check_size(workers.dim())?;
                if self.searches.advance(&self.rules(), workers)? {
                    self.stage = Stage::Touch;
                }
                Ok(self.searches.message(&self.rules()))
            }
            Stage::Touch => {
                (self.modes, self.ended) = self.touch(workers)?;
                self.stage = Stage::Fit;
                Ok(format!("{} modes", self.modes.len()))
            }
            Stage::Fit => {
                let rounds = self.options.rounds;
                let open = |mode: &Mode| !mode.settled && mode.rounds < rounds;
                if let Some(i) = self.modes.iter().position(open) {
                    self.modes[i] = self.round(workers, &self.modes[i])?;
                    return Ok(format!(
                        "mode {} of {}, round {}: differs by {:.2e} in slope",
                        i + 1,
                        self.modes.len(),
                        self.modes[i].rounds,
                        self.modes[i].disagreement.gradients.sqrt()
                    ));
                }
                self.stage = Stage::Weigh;
                Ok("fitted".into())
            }
            Stage::Weigh => {
                self.modes = self.weigh(workers)?;
                self.weighed.measure(workers);
                self.stage = Stage::Sample;
                if let Some(heaviest) = self.heaviest() {
                    sink(Draw::Centre { z: heaviest.gaussian.mean.iter().map(|x| T::of(*x)).collect() });
                }
                Ok("weighed".into())
            }
            Stage::Sample => {
                self.sample(workers, sink)?;
                Ok(format!("{} samples drawn", self.drawn))
            }
        }
    }

    fn heaviest(&self) -> Option<&Mode> {
        self.modes.iter().max_by(|a, b| a.log_weight.total_cmp(&b.log_weight))
    }
}

impl<T: Number> Method<T> for El2o<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        let message = self.go_on(workers, sink)?;
        let rounds: usize = self.modes.iter().map(|mode| mode.rounds).sum();
        let done = self.drawn == self.options.samples;
        let fitting = self.modes.len().max(1) * self.options.rounds;
        let total = self.options.samples + if self.stage == Stage::Sample { rounds } else { fitting };
        Ok(Progress { steps: ((rounds + self.drawn) as u64, total as u64), message, done })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("optimizer_steps".into(), self.searches.steps() as f64),
            ("modes".into(), self.modes.len() as f64),
        ];
        let fitted = self.options.rounds > 0;
        if fitted {
            let unsettled = self.modes.iter().filter(|mode| !mode.settled).count();
            figures.push(("modes_unsettled".into(), unsettled as f64));
        }
        let searched = self.searches.figures(self.options.tolerance);
        if !searched.is_empty() {
            figures.push(("starts_at_modes".into(), self.ended as f64));
        }
        figures.extend(searched);
        if self.modes.len() > 1 {
            let weights = self.modes.iter().enumerate();
            figures.extend(weights.map(|(i, mode)| (format!("mode_{i}_weight"), mode.log_weight.exp())));
        }
        // Gaussians that were not fitted were not compared, either.
        if let Some(Mode { disagreement, .. }) = self.heaviest().filter(|_| fitted) {
            figures.push(("el2o_values".into(), disagreement.values));
            figures.push(("el2o_gradients".into(), disagreement.gradients));
            figures.push(("el2o_curvatures".into(), disagreement.curvatures));
        }
        figures.extend(self.weighed.figures());
        figures
    }
}
