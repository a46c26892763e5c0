//! The maximum of the posterior density, and Laplace samples around it.

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::chain::Point;
use crate::lbfgs::History;
use crate::line_search::{Lower, line_search};
use crate::newton_cg::newton_direction;
use crate::pareto::smooth_weights;
use crate::tempered::Tempered;
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Workers, conjugate_gradient};

/// How [`Map`] finds its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Limited-memory BFGS: gradients only.
    Lbfgs,
    /// Newton with the Gauss-Newton metric and conjugate gradients: few, expensive steps.
    NewtonCg,
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
    /// Number of samples of the Laplace approximation, from the Fisher metric at the maximum.
    pub samples: usize,
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
            samples: 0,
            start_scale: 0.1,
            anneal: Vec::new(),
            anneal_steps: 10,
        }
    }
}

/// Pairs that L-BFGS keeps.
const MEMORY: usize = 10;
/// Most iterations of an inner solve.
const INNER: usize = 1000;

/// The maximum a posteriori `argmin H(z)`.
///
/// Stops when `|grad H|^2 <= tolerance^2 dim`: where the curvature of `H` is at least that of the prior, the distance
/// from the minimum is then at most `tolerance` posterior standard deviations. With `samples`, it adds the Laplace
/// approximation: samples of `N(z_map, (1 + J^T M J)^-1)`.
///
/// When not to use it alone: the maximum is not the mean; in many dimensions it is far from every typical sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Map<T: Number> {
    options: MapOptions,
    seed: u64,
    at: Option<Point<T>>,
    history: History<T>,
    /// Number of the temperature, and the step at which it began.
    stage: (usize, usize),
    /// Whether the next step cools.
    cool_next: bool,
    steps: usize,
    converged: bool,
    drawn: usize,
    /// Posterior over approximation at the samples, in logarithms up to a constant.
    log_ratios: Vec<f64>,
}

impl<T: Number> Map<T> {
    /// A search that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: MapOptions, seed: u64) -> Result<Map<T>> {
        for (name, value, least) in
            [("tolerance", options.tolerance, f64::MIN_POSITIVE), ("start_scale", options.start_scale, 0.0)]
        {
            if !(value.is_finite() && value >= least) {
                return Err(Error::Option(format!("`{name}` is out of range: {value}")));
            }
        }
        let falls = |pair: &[f64]| pair[0] > pair[1];
        let hot = options.anneal.iter().all(|t| t.is_finite() && *t > 1.0);
        if !hot || !options.anneal.windows(2).all(falls) {
            let message = format!("`anneal` must be falling temperatures above 1, not {:?}", options.anneal);
            return Err(Error::Option(message));
        }
        let history = History::new(MEMORY);
        Ok(Map {
            options,
            seed,
            at: None,
            history,
            stage: (0, 0),
            cool_next: false,
            steps: 0,
            converged: false,
            drawn: 0,
            log_ratios: Vec::new(),
        })
    }

    /// The best point so far.
    pub fn best(&self) -> Option<&[T]> {
        self.at.as_ref().map(|at| at.z.as_slice())
    }

    /// The temperature of the search: 1 at its end.
    fn temperature(&self) -> f64 {
        self.options.anneal.get(self.stage.0).copied().unwrap_or(1.0)
    }

    /// `|grad H| / sqrt(dim)`: a bound on the distance to the maximum, in posterior standard deviations.
    fn distance(&self) -> f64 {
        self.at.as_ref().map_or(f64::INFINITY, |at| (vector::norm2(&at.gradient) / at.z.len() as f64).sqrt())
    }

    fn start(&self, workers: &Workers<'_, T>) -> Result<Point<T>> {
        let (dim, temperature, scale) = (workers.dim(), self.temperature(), self.options.start_scale);
        workers.with(|evaluator| {
            Point::start(&mut Tempered::new(evaluator, temperature), dim, self.seed, 0, scale)
        })
    }

    fn search(&self, at: &Point<T>, evaluator: &mut dyn Evaluator<T>) -> Result<Option<Lower<T>>> {
        let goal = self.options.tolerance.powi(2) * at.z.len() as f64;
        let (direction, first) = match self.options.optimizer {
            Optimizer::Lbfgs => {
                let first = if self.history.is_empty() {
                    1.0 / (1.0 + vector::norm2(&at.gradient).sqrt())
                } else {
                    1.0
                };
                (self.history.direction(&at.gradient), first)
            }
            Optimizer::NewtonCg => {
                let mut gradient = at.gradient.clone();
                evaluator.energy(&at.z, &mut gradient)?;
                (newton_direction(evaluator, &gradient, goal, INNER)?, 1.0)
            }
        };
        line_search(evaluator, &at.z, at.energy, &at.gradient, &direction, first)
    }

    fn optimise(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        if self.at.is_none() {
            self.at = Some(self.start(workers)?);
            return Ok(());
        }
        if self.cool_next {
            return self.cool(workers);
        }
        let Some(at) = &self.at else { return Ok(()) };
        let temperature = self.temperature();
        let lower = workers.with(|evaluator| self.search(at, &mut Tempered::new(evaluator, temperature)))?;
        let improves = |lower: &Lower<T>| {
            lower.energy < at.energy || vector::norm2(&lower.gradient) < vector::norm2(&at.gradient)
        };
        let lower = lower.filter(improves);
        self.steps += 1;
        match lower {
            Some(lower) => {
                let s = vector::step(&lower.z, -1.0, &at.z);
                let y = vector::step(&lower.gradient, -1.0, &at.gradient);
                if self.options.optimizer == Optimizer::Lbfgs {
                    self.history.update(s, y);
                }
                self.at = Some(Point { z: lower.z, gradient: lower.gradient, energy: lower.energy });
                // While it is hot, the search goes on for its steps: its maximum is not the one that is wanted.
                self.converged = temperature == 1.0 && self.distance() <= self.options.tolerance;
            }
            // No step lowers the energy beyond rounding: this is the minimum that the precision allows.
            None => self.converged = true,
        }
        if self.stage.0 < self.options.anneal.len() {
            // Cooling is a step of its own, so that one that fails leaves the state as it was.
            self.cool_next = self.converged || self.steps - self.stage.1 >= self.options.anneal_steps;
            self.converged = false;
            return Ok(());
        }
        if !self.converged && self.steps >= self.options.max_iterations {
            return Err(Error::NotConverged(format!(
                "the maximum was not found in {} steps: still up to {:.2e} posterior standard deviations away",
                self.steps,
                self.distance()
            )));
        }
        Ok(())
    }

    /// Goes to the next temperature, from where the search is.
    fn cool(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let Some(at) = &mut self.at else { return Ok(()) };
        let next = self.options.anneal.get(self.stage.0 + 1).copied().unwrap_or(1.0);
        let mut gradient = at.gradient.clone();
        at.energy = workers.with(|evaluator| Tempered::new(evaluator, next).energy(&at.z, &mut gradient))?;
        at.gradient = gradient;
        self.stage = (self.stage.0 + 1, self.steps);
        self.cool_next = false;
        self.history = History::new(MEMORY);
        Ok(())
    }

    fn sample(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        let Some(at) = &self.at else { return Ok(()) };
        let last = self.options.samples.min(self.drawn + rayon::current_num_threads());
        let (seed, tolerance) = (self.seed, self.options.tolerance);
        let solutions = workers.map((self.drawn..last).collect(), |draw, evaluator| {
            let mut y = at.gradient.clone();
            evaluator.energy(&at.z, &mut y)?;
            evaluator.metric_sample(seed, draw as u32, &mut y)?;
            let offset = conjugate_gradient(evaluator, &y, tolerance, 10 * INNER)?.x;
            // `D^-1 offset = y`, and the residual of conjugate gradients is orthogonal to what they found.
            let approximation = 0.5 * vector::dot(&offset, &y);
            let z = vector::step(&offset, 1.0, &at.z);
            let energy = evaluator.energy(&z, &mut y)?;
            Ok((z, energy, approximation))
        })?;
        for (z, energy, approximation) in solutions {
            self.log_ratios.push(approximation - energy);
            sink(Draw::Sample { z, chain: 0, energy: Some(energy), mirror: false });
        }
        self.drawn = last;
        Ok(())
    }
}

impl<T: Number> Method<T> for Map<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.converged {
            self.sample(workers, sink)?;
        } else {
            self.optimise(workers)?;
            if let (true, Some(at)) = (self.converged, &self.at) {
                sink(Draw::Centre { z: at.z.clone() });
            }
        }
        let message = if self.converged {
            format!("maximum found in {} steps, {} samples drawn", self.steps, self.drawn)
        } else {
            let heat = if self.temperature() > 1.0 {
                format!(" at temperature {}", self.temperature())
            } else {
                String::new()
            };
            let energy = self.at.as_ref().map_or(f64::NAN, |at| at.energy);
            format!("energy {energy:.6e}, within {:.1e} posterior standard deviations{heat}", self.distance())
        };
        let total = self.steps.max(if self.converged { 0 } else { self.options.max_iterations })
            + self.options.samples;
        let steps = ((self.steps + self.drawn) as u64, total as u64);
        Ok(Progress { steps, message, done: self.converged && self.drawn == self.options.samples })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let energy = self.at.as_ref().map_or(f64::NAN, |at| at.energy);
        let mut figures = vec![
            ("optimizer_steps".into(), self.steps as f64),
            ("map_energy".into(), energy),
            ("map_distance_sigma".into(), self.distance()),
        ];
        if !self.log_ratios.is_empty() {
            figures.push(("pareto_k".into(), smooth_weights(&self.log_ratios).k));
        }
        figures
    }
}
