//! Marginal posteriors of a few parameters over many latents, from maxima instead of samples: MUSE (Millea & Seljak 2021).

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Real, Space, vector};
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::chain::random_start;
use crate::conditional::{Conditional, hold};
use crate::conjugate_gradient::Sample;
use crate::peak::{Peak, PeakSearch};
use crate::response::{Response, central_difference};
use crate::{Draw, Error, Evaluator, Method, Number, Optimizer, Progress, Result, Workers};

/// How [`Muse`] finds what the score answers to a change of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivative {
    /// From the curvature at the maxima: one linear solve a simulation and parameter.
    Implicit,
    /// From the maxima of data simulated on both sides: two searches a simulation and parameter.
    FiniteDifference,
}

/// Options of [`Muse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MuseOptions {
    /// Names of the parameters whose posterior is wanted.
    pub parameters: Vec<String>,
    /// Simulations: their scatter is `1 / sqrt(simulations)` of an error bar.
    pub simulations: usize,
    /// How many of them tell how the score answers to the truth.
    pub derivative_simulations: usize,
    /// How they do it.
    pub derivative: Derivative,
    /// Where the search for the root stops: size of the next step, in posterior standard deviations.
    pub tolerance: f64,
    /// Most evaluations of the score with all simulations, and of those with a few of them that come before.
    pub max_iterations: usize,
    /// Share of a Newton step that is taken, before there is a secant.
    pub step: f64,
    /// Optimiser of the latents.
    pub optimizer: Optimizer,
    /// Samples of the parameters, each with latents from the Laplace approximation around their maximum.
    pub samples: usize,
    /// Standard deviation of the random starting points of the latents.
    pub start_scale: f64,
}

impl Default for MuseOptions {
    fn default() -> Self {
        MuseOptions {
            parameters: Vec::new(),
            simulations: 100,
            derivative_simulations: 20,
            derivative: Derivative::Implicit,
            tolerance: 1e-2,
            max_iterations: 50,
            step: 0.7,
            optimizer: Optimizer::NewtonCg,
            samples: 100,
            start_scale: 0.1,
        }
    }
}

/// Maxima between two checks whether to stop or to save.
const BATCH: usize = 16;
/// Of so many simulations one leads to the neighbourhood of the root.
const ONE_OF: usize = 10;
/// The least number of those that do, for each parameter and one more.
const AT_LEAST: usize = 5;
/// Longest step of a parameter, in standard deviations of its prior.
const LONGEST: f64 = 1.0;
/// Half of the difference of truths, in standard deviations of the posterior.
const APART: f64 = 0.1;
/// Most iterations of the solve for a sample.
const SOLVE: usize = 10_000;

/// The marginal posterior of parameters `theta` over all other latents `z`, as a normal distribution.
///
/// With `z_hat(theta, x)` the maximum of `ln P(x, z | theta)` and `s(theta, x)` its derivative with respect to `theta` there, `z`
/// held, the estimate is the root of
///
/// ```text
/// s(theta, x) - < s(theta, x') > + d ln P(theta) / d theta = 0,   x' ~ P(x' | theta)
/// ```
///
/// and its covariance the inverse of `H^T J^-1 H + 1`, with `J` the covariance of the scores of simulations and `H` the mean
/// response of a score to the truth of its simulation (Millea & Seljak 2021, arXiv 2112.09354). Parameters are
/// latents, so that their priors are standard normal, whatever distribution is behind them, and steps cannot leave its range.
///
/// All evaluations use the same random numbers and begin where the one before ended. The first ones, on the way to the root, take a tenth of the simulations, five for each parameter
/// and five more at least, unless that is more than half of them; where the next step is within the scatter of these, all others come in. Newton steps use the covariance of the scores;
/// after the first, a secant corrects them (Broyden 1965). `theta` holds the scatter of the simulations within its error bar: the
/// covariance handed out is multiplied by `1 + 1 / simulations`.
///
/// Exact where the posterior of the latents is Gaussian, and unbiased beyond; the error bar is right where the score, a sum over many
/// latents, is normal. Memory: one latent a simulation, in checkpoints too. Cost: one maximum for each simulation of an evaluation,
/// on all threads.
///
/// When not to use it: a posterior of the parameters that is far from normal, or few data, where samplers do better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Muse<T: Number> {
    options: MuseOptions,
    seed: u64,
    /// Places of the parameters among the latents.
    places: Vec<usize>,
    /// Where scores are evaluated.
    theta: Vec<f64>,
    /// Simulations of the evaluation under way: few, or all.
    used: usize,
    /// Maxima of the data (first) and of the simulations, where they are known.
    peaks: Vec<Peak<T>>,
    /// Scores at `theta` so far, in the same order.
    scores: Vec<Vec<f64>>,
    /// Standard deviations of the scores, from the evaluation before.
    scatter: Vec<f64>,
    /// Where scores were evaluated before with as many simulations, and what the posterior score was there.
    last: Option<(Vec<f64>, Vec<f64>)>,
    /// The last step between such places, and how far the posterior score fell along it.
    secant: Option<(Vec<f64>, Vec<f64>)>,
    evaluations: usize,
    /// How many of these took few simulations.
    evaluations_with_few: usize,
    /// Maxima found so far, for scores.
    maxima: usize,
    /// Size of the next step, in standard deviations.
    ahead: f64,
    /// The root, once it is found.
    root: Option<Vec<f64>>,
    /// Responses of scores to truths, a matrix (in rows) a simulation.
    responses: Vec<Vec<f64>>,
    /// Covariance of the parameters, in rows.
    covariance: Option<Vec<f64>>,
    drawn: usize,
    /// Samples that were not handed out, as the model is impossible there.
    impossible: u64,
}

/// Simulations that lead to the neighbourhood of the root.
fn few_of(simulations: usize, parameters: usize) -> usize {
    let few = (simulations / ONE_OF).max(AT_LEAST * (parameters + 1));
    if 2 * few <= simulations { few } else { simulations }
}

/// Mean and covariance of vectors.
fn moments(vectors: &[Vec<f64>]) -> (DVector<f64>, DMatrix<f64>) {
    let (n, dim) = (vectors.len() as f64, vectors[0].len());
    let mean = vectors.iter().fold(DVector::zeros(dim), |sum, v| sum + DVector::from_column_slice(v)) / n;
    let covariance = vectors.iter().fold(DMatrix::zeros(dim, dim), |sum, v| {
        let off = DVector::from_column_slice(v) - &mean;
        sum + &off * off.transpose()
    });
    (mean, covariance / (n - 1.0))
}

/// The inverse of a matrix that ought to be positive.
fn inverse(matrix: DMatrix<f64>, what: &str) -> Result<DMatrix<f64>> {
    matrix.cholesky().map(|root| root.inverse()).ok_or_else(|| not_positive(what))
}

/// Variance of a score, beside the curvature 1 of the prior, below which the data say nothing of a parameter.
const BLIND: f64 = 1e-6;

/// `H^T J^-1 H`: what responses and scatter of the scores tell of the parameters. Directions in which scores do not scatter tell
/// nothing: what stands there in both is rounding, and their ratio is noise.
fn information(response: &DMatrix<f64>, scatter: DMatrix<f64>) -> DMatrix<f64> {
    let count = response.nrows();
    let eigen = SymmetricEigen::new(scatter);
    let seen = (0..count).filter(|&i| eigen.eigenvalues[i] > BLIND);
    seen.fold(DMatrix::zeros(count, count), |sum, i| {
        let along = response.transpose() * eigen.eigenvectors.column(i);
        sum + &along * along.transpose() / eigen.eigenvalues[i]
    })
}

/// The inverse of how a score falls, corrected so that it is right along a step.
fn corrected(
    newton: DMatrix<f64>,
    (moved, fell): &(DVector<f64>, DVector<f64>),
    score: &DVector<f64>,
) -> DMatrix<f64> {
    let weight = (moved.transpose() * &newton * fell)[0];
    let secant = &newton + (moved - &newton * fell) * (moved.transpose() * &newton) / weight;
    // A secant that would turn the step around says that the scatter is no guide; then the scatter is the safer one.
    let is_ascent = (score.transpose() * &secant * score)[0] > 0.0;
    if is_ascent && secant.iter().all(|x| x.is_finite()) { secant } else { newton }
}

fn numbers(vector: &DVector<f64>) -> Vec<f64> {
    vector.iter().copied().collect()
}

fn not_positive(what: &str) -> Error {
    Error::NotConverged(format!("{what} is not positive: use more `simulations`, or fewer parameters"))
}

impl<T: Number> Muse<T> {
    /// A search that has not started, for the latents at `places`, one for each of the `parameters` of the options.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: MuseOptions, places: Vec<usize>, seed: u64) -> Result<Muse<T>> {
        let refuse = |message: String| Err(Error::Option(message));
        let count = places.len();
        if count == 0 || count != options.parameters.len() {
            return refuse("`parameters` must name at least one parameter, each of one latent".into());
        }
        if (1..count).any(|i| places[..i].contains(&places[i])) {
            return refuse("`parameters` names one twice".into());
        }
        if options.simulations < count + 9 {
            let message = format!("`simulations` must be at least {} for {count} parameters", count + 9);
            return refuse(format!("{message}, and is {}", options.simulations));
        }
        if options.derivative_simulations == 0 || options.derivative_simulations > options.simulations {
            let message =
                "`derivative_simulations` must be at least 1, and no more than there are `simulations`";
            return refuse(message.into());
        }
        for (name, value) in [("tolerance", options.tolerance), ("step", options.step)] {
            if !(value > 0.0 && value <= 1.0) {
                return refuse(format!("`{name}` must lie between 0 and 1, and is {value}"));
            }
        }
        if !(options.start_scale >= 0.0 && options.start_scale.is_finite()) || options.max_iterations == 0 {
            return refuse("`start_scale` or `max_iterations` is out of range".into());
        }
        if !matches!(options.optimizer, Optimizer::Lbfgs | Optimizer::NewtonCg) {
            return refuse("`optimizer` must be `newton_cg` or `lbfgs`: others find no maximum as exactly as a score needs".into());
        }
        Ok(Muse {
            theta: vec![0.0; count],
            scatter: vec![1.0; count],
            used: few_of(options.simulations, count),
            options,
            seed,
            places,
            peaks: Vec::new(),
            scores: Vec::new(),
            last: None,
            secant: None,
            evaluations: 0,
            evaluations_with_few: 0,
            maxima: 0,
            ahead: f64::INFINITY,
            root: None,
            responses: Vec::new(),
            covariance: None,
            drawn: 0,
            impossible: 0,
        })
    }

    /// The same for parameters that are named as blocks of the latents; a number is a place itself.
    ///
    /// # Errors
    /// If there is no such name, or an option is out of range.
    pub fn named(mut options: MuseOptions, latents: &Space, seed: u64) -> Result<Muse<T>> {
        let (mut names, mut places) = (Vec::new(), Vec::new());
        for name in &options.parameters {
            if let Ok(place) = name.parse() {
                names.push(name.clone());
                places.push(place);
                continue;
            }
            let Some(range) = latents.range(name) else {
                let known: Vec<String> =
                    latents.blocks().iter().map(|block| format!("`{}`", block.name)).collect();
                let message =
                    format!("`parameters`: there are no latents `{name}`; there are {}", known.join(", "));
                return Err(Error::Option(message));
            };
            let number = |i: usize| if range.len() == 1 { name.clone() } else { format!("{name}[{i}]") };
            names.extend((0..range.len()).map(number));
            places.extend(range.clone());
        }
        options.parameters = names;
        Muse::new(options, places, seed)
    }

    /// The estimate of the parameters (as latents) and its covariance (in rows), once they are known.
    pub fn answer(&self) -> Option<(&[f64], &[f64])> {
        Some((self.root.as_deref()?, self.covariance.as_deref()?))
    }

    fn search(&self) -> PeakSearch<'_> {
        PeakSearch {
            optimizer: self.options.optimizer,
            tolerance: self.options.tolerance,
            scale: &self.scatter,
        }
    }

    /// The latents behind simulation `which` of these parameters.
    fn truth(&self, which: usize, parameters: &[f64], dim: usize) -> Vec<T> {
        let mut latent = vec![T::zero(); dim];
        // Bit 31 keeps them apart from the noise.
        Stream::new(self.seed, Purpose::Simulation, 1 << 31 | which as u32).fill_normal(&mut latent);
        hold(&mut latent, &self.places, parameters);
        latent
    }

    /// Where the search for maximum `which` at these parameters begins.
    fn start(&self, which: usize, parameters: &[f64], dim: usize) -> Peak<T> {
        let random = || random_start(dim, self.seed, which as u32, self.options.start_scale);
        let start = self.peaks.get(which).cloned();
        let mut start = start.unwrap_or_else(|| Peak { z: random(), curvature: None });
        hold(&mut start.z, &self.places, parameters);
        start
    }

    /// Climbs from there to the maximum.
    fn climb(&self, evaluator: &mut dyn Evaluator<T>, start: Peak<T>) -> Result<(Peak<T>, Vec<f64>)> {
        self.search().climb(&mut Conditional::new(evaluator, &self.places), start)
    }

    /// Does `work` on what is simulated with the numbers `which` at the parameters `truth`; 0 are the data.
    fn on_simulation<R: Send>(
        &self,
        workers: &Workers<'_, T>,
        which: usize,
        truth: &[f64],
        work: impl FnOnce(&mut dyn Evaluator<T>) -> Result<R> + Send,
    ) -> Result<R> {
        if which == 0 {
            return workers.with(work);
        }
        let latent = self.truth(which, truth, workers.dim());
        let simulation = workers.target().simulate(&latent, self.seed, which as u32)?;
        workers.with_other(simulation.as_ref(), work)
    }

    /// Maxima and scores of the next data sets.
    fn score_some(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let done = self.scores.len();
        let some = (done..(done + BATCH).min(self.used + 1)).into_par_iter();
        let found = some.map(|which| {
            let start = self.start(which, &self.theta, workers.dim());
            self.on_simulation(workers, which, &self.theta, |evaluator| self.climb(evaluator, start))
        });
        let found: Vec<(Peak<T>, Vec<f64>)> = found.collect::<Result<_>>()?;
        self.maxima += found.len();
        for (offset, (peak, score)) in found.into_iter().enumerate() {
            match self.peaks.get_mut(done + offset) {
                Some(old) => *old = peak,
                None => self.peaks.push(peak),
            }
            self.scores.push(score);
        }
        Ok(())
    }

    /// The last step between places with as many simulations, and how far the posterior score fell along it: the step that led here, if it is one.
    fn secant(&self, theta: &DVector<f64>, score: &DVector<f64>) -> Option<(DVector<f64>, DVector<f64>)> {
        let vector = |numbers: &Vec<f64>| DVector::from_column_slice(numbers);
        if let Some((before, score_before)) = &self.last {
            return Some((theta - vector(before), vector(score_before) - score));
        }
        self.secant.as_ref().map(|(moved, fell)| (vector(moved), vector(fell)))
    }

    /// A step towards the root, from the scores at `theta`.
    fn improve(&mut self) -> Result<()> {
        let (mean, covariance) = moments(&self.scores[1..]);
        let count = self.theta.len();
        let theta = DVector::from_column_slice(&self.theta);
        let score = DVector::from_column_slice(&self.scores[0]) - mean - &theta;
        let evaluations = self.evaluations + 1;
        let scatter = covariance.diagonal().iter().map(|v| v.sqrt().max(1e-6)).collect();
        let curvature = covariance + DMatrix::identity(count, count);
        let newton = inverse(curvature.clone(), "the covariance of the scores")?;
        let secant = self.secant(&theta, &score);
        let newton = match &secant {
            Some(secant) => corrected(newton, secant, &score),
            None => newton,
        };
        let step = &newton * &score;
        let ahead = (step.transpose() * curvature * &step)[0].sqrt();
        if !ahead.is_finite() {
            return Err(Error::NotConverged(
                "the score is not finite at the parameters of the search".into(),
            ));
        }
        let all = self.used == self.options.simulations;
        let found = all && ahead <= self.options.tolerance;
        let spent = evaluations - self.evaluations_with_few >= self.options.max_iterations;
        // An evaluation that is one too many changes nothing, so that it fails again when it is tried again.
        if all && spent && !found {
            return Err(Error::NotConverged(format!(
                "the root of the score was not found in {evaluations} evaluations: the next step would be {ahead:.2e} posterior standard deviations"
            )));
        }
        (self.evaluations, self.scatter, self.ahead) = (evaluations, scatter, ahead);
        if found {
            self.root = Some(numbers(&(theta + step)));
            return Ok(());
        }
        let share = if secant.is_some() { 1.0 } else { self.options.step };
        let length = share.min(LONGEST / step.amax());
        self.secant = secant.map(|(moved, fell)| (numbers(&moved), numbers(&fell)));
        self.last = Some((self.theta.clone(), numbers(&score)));
        if !all && (spent || ahead <= (count as f64 / self.used as f64).sqrt()) {
            // Scores of other simulations are no measure of how these fall.
            (self.used, self.last, self.evaluations_with_few) = (self.options.simulations, None, evaluations);
        }
        self.theta.iter_mut().zip(step.iter()).for_each(|(theta, step)| *theta += length * step);
        self.scores.clear();
        Ok(())
    }

    /// How the scores of the next simulations answer to their truths.
    fn respond_some(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let (done, count) = (self.responses.len(), self.theta.len());
        let some = (done..(done + BATCH).min(self.options.derivative_simulations)).into_par_iter();
        let found = some.map(|number| {
            let columns = (0..count).map(|j| match self.options.derivative {
                Derivative::FiniteDifference => self.searched_response(workers, number + 1, j),
                Derivative::Implicit => self.implicit_response(workers, number + 1, j),
            });
            let columns: Vec<Vec<f64>> = columns.collect::<Result<_>>()?;
            Ok((0..count * count).map(|i| columns[i % count][i / count]).collect())
        });
        let found: Vec<Vec<f64>> = found.collect::<Result<_>>()?;
        self.responses.extend(found);
        Ok(())
    }

    /// The derivative of what is found on a simulation with its truth of parameter `j`, from both sides of `theta`.
    fn across<R: Real>(
        &self,
        workers: &Workers<'_, T>,
        (which, j): (usize, usize),
        found: impl Fn(&mut dyn Evaluator<T>) -> Result<Vec<R>> + Sync,
    ) -> Result<Vec<R>> {
        let apart = APART / (1.0 + self.scatter[j].powi(2)).sqrt();
        let side = |side: f64| {
            let mut truth = self.theta.clone();
            truth[j] += side;
            self.on_simulation(workers, which, &truth, &found)
        };
        Ok(central_difference(&side(apart)?, &side(-apart)?, apart))
    }

    /// The change of the scores of a simulation with the truth of parameter `j`, from maxima searched on both sides.
    fn searched_response(&self, workers: &Workers<'_, T>, which: usize, j: usize) -> Result<Vec<f64>> {
        self.across(workers, (which, j), |evaluator| Ok(self.climb(evaluator, self.peaks[which].clone())?.1))
    }

    /// The same from the gradients of both sides at the maximum, and the curvature there.
    fn implicit_response(&self, workers: &Workers<'_, T>, which: usize, j: usize) -> Result<Vec<f64>> {
        let peak = &self.peaks[which].z;
        let changed = self.across(workers, (which, j), |evaluator| {
            let mut gradient = vec![T::zero(); peak.len()];
            evaluator.energy(peak, &mut gradient)?;
            Ok(gradient)
        })?;
        self.on_simulation(workers, which, &self.theta, |evaluator| {
            Response::new(evaluator, &self.places, peak).of_score(&changed)
        })
    }

    /// The covariance of the parameters, from the scatter of the scores and their responses.
    fn conclude(&mut self) -> Result<()> {
        let count = self.theta.len();
        let (_, scatter) = moments(&self.scores[1..]);
        let sum = |i: usize| self.responses.iter().map(|response| response[i]).sum::<f64>();
        let n = self.responses.len() as f64;
        let response = DMatrix::from_fn(count, count, |i, j| sum(i * count + j) / n);
        let precision = information(&response, scatter) + DMatrix::identity(count, count);
        let covariance = inverse(precision, "the precision of the parameters")?;
        let wider = 1.0 + 1.0 / self.options.simulations as f64;
        self.covariance = Some(covariance.iter().map(|x| x * wider).collect());
        Ok(())
    }

    /// Samples of the parameters, and of the latents around their maximum.
    fn sample_some(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        let (Some(root), Some(covariance)) = (&self.root, &self.covariance) else { return Ok(()) };
        if self.drawn == 0 {
            sink(Draw::Centre { z: self.start(0, root, workers.dim()).z });
        }
        let count = root.len();
        let spread = DMatrix::from_row_slice(count, count, covariance).cholesky().map(|root| root.l());
        let Some(spread) = spread else { return Err(not_positive("the covariance of the parameters")) };
        let last = self.options.samples.min(self.drawn + BATCH);
        let found = workers.map((self.drawn..last).collect(), |number, evaluator| {
            let draw = number as u32;
            let mut white = vec![0.0; count];
            Stream::new(self.seed, Purpose::Chain, draw).fill_normal(&mut white);
            let off = &spread * DVector::from_column_slice(&white);
            let theta: Vec<f64> = root.iter().zip(off.iter()).map(|(root, off)| root + off).collect();
            let mut conditional = Conditional::new(evaluator, &self.places);
            let peak = match self.search().climb(&mut conditional, self.start(0, &theta, workers.dim())) {
                Ok((peak, _)) => peak,
                Err(error) if error.is_of_point() => return Ok(None),
                Err(error) => return Err(error),
            };
            let (y, number) = (vec![T::zero(); workers.dim()], (self.seed, draw));
            let off = Sample::draw(&mut conditional, y, number, self.options.tolerance, SOLVE)?;
            Ok(Some(vector::step(&peak.z, 1.0, &off.x)))
        })?;
        for z in found {
            match z {
                Some(z) => sink(Draw::independent(z, None)),
                None => self.impossible += 1,
            }
        }
        self.drawn = last;
        Ok(())
    }
}

impl<T: Number> Method<T> for Muse<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if let Some(place) = self.places.iter().find(|place| **place >= workers.dim()) {
            return Err(Error::Option(format!(
                "`parameters`: there is no latent {place} among {}",
                workers.dim()
            )));
        }
        if self.root.is_none() {
            if self.scores.len() < self.used + 1 {
                self.score_some(workers)?;
            } else {
                self.improve()?;
            }
        } else if self.responses.len() < self.options.derivative_simulations {
            self.respond_some(workers)?;
        } else if self.covariance.is_none() {
            self.conclude()?;
        } else {
            self.sample_some(workers, sink)?;
            let done = self.drawn == self.options.samples;
            return Ok(self.progress(format!("{} samples drawn", self.drawn), done));
        }
        let message = match self.root {
            None if self.ahead.is_finite() => format!(
                "evaluation {} of the score, the last step was {:.1e} sigma",
                self.evaluations + 1,
                self.ahead
            ),
            None => "first evaluation of the score".into(),
            Some(_) => "response of the score to the truth".into(),
        };
        Ok(self.progress(message, false))
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("score_evaluations".to_string(), self.evaluations as f64),
            ("last_step_sigma".into(), self.ahead),
            ("maxima".into(), self.maxima as f64),
        ];
        if self.drawn > 0 {
            figures.push(("samples_impossible".into(), self.impossible as f64));
        }
        let count = self.places.len();
        for (i, name) in self.options.parameters.iter().enumerate() {
            if let Some((root, covariance)) = self.answer() {
                figures.push((format!("latent_{name}"), root[i]));
                figures.push((format!("latent_{name}_std"), covariance[i * count + i].sqrt()));
            }
        }
        figures
    }
}

/// Evaluations of the score with all simulations that a search usually needs.
const USUAL: usize = 3;

impl<T: Number> Muse<T> {
    /// Steps are maxima, responses and samples; how many evaluations the search needs is not known before its end.
    fn progress(&self, message: String, done: bool) -> Progress {
        let after = self.options.derivative_simulations + self.options.samples;
        let known = self.maxima + self.used + 1 - self.scores.len();
        let usual = USUAL * (self.options.simulations + 1);
        let maxima_in_all = if self.root.is_some() { self.maxima } else { known.max(usual) };
        let steps = self.maxima + self.responses.len() + self.drawn;
        Progress { steps: (steps as u64, (maxima_in_all + after) as u64), message, done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_simulations_are_enough_for_the_parameters_and_much_fewer_than_all() {
        for (simulations, parameters, few) in [
            (1000, 1, 100),
            (100, 1, 10),
            (100, 4, 25),
            (100, 9, 50),
            (100, 10, 100),
            (20, 1, 10),
            (19, 1, 19),
        ] {
            assert_eq!(few_of(simulations, parameters), few, "{simulations} {parameters}");
        }
    }
}
