//! The maximum of the posterior density, and Laplace samples around it.

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::conjugate_gradient::Sample;
use crate::dense_gaussian::{self, DenseGaussian};
use crate::importance::{Weighed, log_constant};
use crate::lanczos;
use crate::options::{at_least, at_least_one};
use crate::search::{LEARNING_RATE, Optimizer, Rules};
use crate::starts::Starts;
use crate::{Draw, Error, Method, Number, Progress, Result, Workers};

/// The curvature of the Laplace approximation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curvature {
    /// The Fisher metric `1 + J^T M J`: any number of latents, a linear solve a sample.
    Fisher,
    /// All second derivatives: up to 2000 latents, `4 dim` gradients.
    Hessian,
}

/// Options of [`Map`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapOptions {
    /// Optimiser.
    pub optimizer: Optimizer,
    /// Distance from the maximum at which to stop, in posterior standard deviations (root mean square over latents).
    pub tolerance: f64,
    /// Most steps of the optimiser.
    pub max_iterations: usize,
    /// First step of `adam`, in latents; it falls to zero over the iterations.
    pub learning_rate: f64,
    /// Random starting points; the lowest end is the maximum.
    pub starts: usize,
    /// Number of samples of the Laplace approximation.
    pub samples: usize,
    /// Its curvature; if left out, all second derivatives of up to 200 latents, and the Fisher metric of more.
    pub curvature: Option<Curvature>,
    /// For the evidence with the Fisher metric: random probes of its determinant, 40 products each. None if zero.
    pub probes: usize,
    /// Directions of the strongest curvature that the determinant knows besides.
    pub rank: usize,
    /// Standard deviation of the random starting point.
    pub start_scale: f64,
    /// Falling temperatures at which to search first: data count as if their noise were `sqrt(T)` times as large, so that
    /// large scales are found before small ones.
    pub anneal: Vec<f64>,
    /// Steps at each of these temperatures, at most.
    pub anneal_steps: usize,
}

impl Default for MapOptions {
    fn default() -> Self {
        MapOptions {
            optimizer: Optimizer::NewtonCg,
            tolerance: 1e-3,
            max_iterations: 500,
            learning_rate: LEARNING_RATE,
            starts: 1,
            samples: 0,
            curvature: None,
            probes: 0,
            rank: 100,
            start_scale: 0.1,
            anneal: Vec::new(),
            anneal_steps: 10,
        }
    }
}

impl MapOptions {
    fn rules(&self, seed: u64) -> Rules<'_> {
        Rules {
            optimizer: self.optimizer,
            tolerance: self.tolerance,
            max_iterations: self.max_iterations,
            learning_rate: self.learning_rate,
            anneal: &self.anneal,
            anneal_steps: self.anneal_steps,
            seed,
            start_scale: self.start_scale,
        }
    }

    /// Refuses what cannot be done.
    fn check(&self) -> Result<()> {
        at_least(&[
            ("tolerance", self.tolerance, f64::MIN_POSITIVE),
            ("learning_rate", self.learning_rate, f64::MIN_POSITIVE),
            ("start_scale", self.start_scale, 0.0),
        ])?;
        at_least_one(&[("starts", self.starts), ("rank", self.rank)])?;
        if self.probes == 1 {
            return Err(Error::Option(
                "`probes` must be 0, or at least 2, so that they have an error".into(),
            ));
        }
        let falls = |pair: &[f64]| pair[0] > pair[1];
        let hot = self.anneal.iter().all(|t| t.is_finite() && *t > 1.0);
        if !hot || !self.anneal.windows(2).all(falls) {
            let message = format!("`anneal` must be falling temperatures above 1, not {:?}", self.anneal);
            return Err(Error::Option(message));
        }
        Ok(())
    }
}

/// Most iterations of a solve for one sample.
const SOLVE: usize = 10_000;
/// Most latents of which all second derivatives are taken unasked.
const SMALL: usize = 200;

/// The maximum a posteriori `argmin H(z)`.
///
/// Stops when `|grad H|^2 <= tolerance^2 dim`: where the curvature of `H` is at least that of the prior, the distance
/// from the minimum is then at most `tolerance` posterior standard deviations. Of several `starts`, the lowest end counts.
///
/// With `samples`, it adds the Laplace approximation, samples of `N(z_map, C)`: with the full covariance from second derivatives for few
/// latents, and with `C = (1 + J^T M J)^-1`, a linear solve a sample, for many. Importance weights of the samples judge it (`pareto_k`).
/// With the full covariance comes the evidence: `log_evidence_laplace = -H(z_map) + ln det C / 2`, and `log_evidence` with the
/// importance weights of the samples, with its error. With the Fisher metric, `probes` estimate its determinant, again with an error.
///
/// When not to use it alone: the maximum is not the mean; in many dimensions it is far from every typical sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Map<T: Number> {
    options: MapOptions,
    seed: u64,
    searches: Starts<T>,
    converged: bool,
    gaussian: Option<DenseGaussian>,
    /// The logarithm of the evidence by Laplace's approximation, and its error where it has one.
    laplace: Option<(f64, Option<f64>)>,
    drawn: usize,
    weighed: Weighed,
}

impl<T: Number> Map<T> {
    /// A search that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: MapOptions, seed: u64) -> Result<Map<T>> {
        options.check()?;
        let searches = Starts::new(options.starts);
        Ok(Map {
            options,
            seed,
            searches,
            converged: false,
            gaussian: None,
            laplace: None,
            drawn: 0,
            weighed: Weighed::default(),
        })
    }

    /// The best point so far.
    pub fn best(&self) -> Option<&[T]> {
        self.searches.best().map(|at| at.z.as_slice())
    }

    fn done(&self) -> bool {
        self.converged && self.drawn == self.options.samples && self.determined()
    }

    /// Whether the determinant of the curvature is known, or not asked for.
    fn determined(&self) -> bool {
        self.laplace.is_some() || self.options.probes == 0
    }

    /// Whether the Laplace approximation has a full covariance.
    fn full(&self, dim: usize) -> bool {
        let unasked = if dim <= SMALL { Curvature::Hessian } else { Curvature::Fisher };
        self.options.curvature.unwrap_or(unasked) == Curvature::Hessian
    }

    fn sample(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        let Some(at) = self.searches.best() else { return Ok(()) };
        let last = self.options.samples.min(self.drawn + rayon::current_num_threads());
        let (seed, tolerance) = (self.seed, self.options.tolerance);
        let gaussian = self.gaussian.as_ref();
        let solutions = workers.map((self.drawn..last).collect(), |draw, evaluator| {
            let mut y = at.gradient.clone();
            if let Some(gaussian) = gaussian {
                let mut xi = vec![0.0; gaussian.dim()];
                Stream::new(seed, Purpose::PriorDraw, draw as u32).fill_normal(&mut xi);
                let z: Vec<T> = gaussian.place(&xi);
                let energy = evaluator.energy(&z, &mut y)?;
                let approximation = 0.5 * vector::norm2(&xi) - gaussian.log_height();
                return Ok((z, energy, approximation));
            }
            evaluator.energy(&at.z, &mut y)?;
            let sample = Sample::draw(evaluator, y, (seed, draw as u32), tolerance, SOLVE)?;
            let approximation = sample.energy();
            let z = vector::step(&at.z, 1.0, &sample.x);
            let mut gradient = sample.y;
            let energy = evaluator.energy(&z, &mut gradient)?;
            Ok((z, energy, approximation))
        })?;
        for (z, energy, approximation) in solutions {
            self.weighed.add(approximation - energy);
            // What is impossible is no sample; its weight of zero counts.
            if energy.is_finite() {
                sink(Draw::independent(z, Some(energy)));
            }
        }
        self.drawn = last;
        Ok(())
    }

    /// Finds the maximum, then the covariance, then samples.
    fn go_on(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        if !self.converged {
            self.converged = self.searches.advance(&self.options.rules(self.seed), workers)?;
            if let (true, Some(z)) = (self.converged, self.best()) {
                sink(Draw::Centre { z: z.to_vec() });
            }
            return Ok(());
        }
        let Some(at) = self.searches.best() else { return Ok(()) };
        if self.full(workers.dim()) && self.gaussian.is_none() {
            let gaussian = dense_gaussian::touching(workers, &at.z)?;
            self.laplace = Some((log_constant(workers) - at.energy - gaussian.log_height(), None));
            self.weighed.measure(workers);
            self.gaussian = Some(gaussian);
            return Ok(());
        }
        if !self.determined() {
            let MapOptions { rank, probes, .. } = self.options;
            let (log_determinant, error) = lanczos::log_determinant(workers, &at.z, rank, probes, self.seed)?;
            // The powers of 2 pi of prior and integral cancel.
            let laplace = -workers.target().normalisation() - at.energy - 0.5 * log_determinant;
            self.laplace = Some((laplace, Some(0.5 * error)));
            return Ok(());
        }
        self.sample(workers, sink)
    }
}

impl<T: Number> Method<T> for Map<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        self.go_on(workers, sink)?;
        let steps = self.searches.steps();
        let message = if self.converged {
            format!("maximum found in {steps} steps, {} samples drawn", self.drawn)
        } else {
            self.searches.message(&self.options.rules(self.seed))
        };
        let total =
            steps.max(if self.converged { 0 } else { self.options.max_iterations * self.options.starts })
                + self.options.samples;
        let steps = ((steps + self.drawn) as u64, total as u64);
        Ok(Progress { steps, message, done: self.done() })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let energy = self.searches.best().map_or(f64::NAN, |at| at.energy);
        let mut figures = vec![
            ("optimizer_steps".into(), self.searches.steps() as f64),
            ("map_energy".into(), energy),
            ("map_distance_sigma".into(), self.searches.distance()),
        ];
        figures.extend(self.searches.figures(self.options.tolerance));
        if let Some((laplace, error)) = self.laplace {
            figures.push(("log_evidence_laplace".into(), laplace));
            figures.extend(error.map(|error| ("log_evidence_laplace_error".into(), error)));
        }
        figures.extend(self.weighed.figures());
        figures
    }
}
