//! The exact posterior where the model is linear and the noise Gaussian: the Wiener filter and its samples.

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::conjugate_gradient::Sample;
use crate::target::possible;
use crate::{Draw, Error, Method, Number, Progress, Result, Workers, conjugate_gradient};

/// Options of [`Wiener`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WienerOptions {
    /// Number of samples of the posterior.
    pub samples: usize,
    /// Largest error of mean and samples, in posterior standard deviations (root mean square over the latents).
    pub tolerance: f64,
    /// Most iterations of a solve.
    pub max_iterations: usize,
}

impl Default for WienerOptions {
    fn default() -> Self {
        WienerOptions { samples: 100, tolerance: 1e-4, max_iterations: 2000 }
    }
}

/// `p(z | d) = N(m, D)` with `D^-1 = 1 + J^T N^-1 J` and `m = D J^T N^-1 d`: one conjugate-gradient solve for the mean,
/// one for each sample `m + D y`, `y ~ N(0, D^-1)`.
///
/// When not to use it: where the model is not linear or the noise not Gaussian, it refuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Wiener<T: Number> {
    options: WienerOptions,
    seed: u64,
    mean: Option<Vec<T>>,
    drawn: usize,
    iterations: u64,
}

impl<T: Number> Wiener<T> {
    /// A filter that has done nothing yet.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: WienerOptions, seed: u64) -> Result<Wiener<T>> {
        if !(options.tolerance > 0.0 && options.tolerance.is_finite()) {
            return Err(Error::Option(format!("`tolerance` must be positive, not {}", options.tolerance)));
        }
        if options.max_iterations == 0 {
            return Err(Error::Option("`max_iterations` must be at least 1".into()));
        }
        Ok(Wiener { options, seed, mean: None, drawn: 0, iterations: 0 })
    }

    fn progress(&self) -> Progress {
        let WienerOptions { samples, .. } = self.options;
        let done = self.mean.is_some() && self.drawn == samples;
        let solves = self.drawn as u64 + u64::from(self.mean.is_some());
        let message = format!("{:.0} iterations a solve", self.iterations as f64 / solves.max(1) as f64);
        Progress { steps: (solves, samples as u64 + 1), message, done }
    }

    fn find_mean(&mut self, workers: &Workers<'_, T>) -> Result<Vec<T>> {
        if !workers.is_quadratic() {
            return Err(Error::Unsuitable(
                "`wiener` is exact for a linear model with Gaussian noise, and this one is not; choose `mgvi`, `hmc` or `map`"
                    .into(),
            ));
        }
        let origin = vec![T::zero(); workers.dim()];
        let solution = workers.with(|evaluator| {
            let mut b = origin.clone();
            let energy = evaluator.energy(&origin, &mut b)?;
            possible(evaluator, energy)?;
            b.iter_mut().for_each(|b| *b = -*b);
            conjugate_gradient(evaluator, &b, self.options.tolerance, self.options.max_iterations)
        })?;
        self.iterations += solution.iterations as u64;
        self.mean = Some(solution.x.clone());
        Ok(solution.x)
    }
}

impl<T: Number> Method<T> for Wiener<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        let Some(mean) = &self.mean else {
            let z = self.find_mean(workers)?;
            sink(Draw::Centre { z });
            return Ok(self.progress());
        };
        let last = self.options.samples.min(self.drawn + rayon::current_num_threads());
        let (seed, options) = (self.seed, &self.options);
        let origin = vec![T::zero(); workers.dim()];
        let samples = workers.map((self.drawn..last).collect(), |draw, evaluator| {
            let mut y = origin.clone();
            evaluator.energy(&origin, &mut y)?;
            let number = (seed, draw as u32);
            Sample::draw(evaluator, y, number, options.tolerance, options.max_iterations)
        })?;
        for Sample { x, iterations, .. } in samples {
            self.iterations += iterations as u64;
            sink(Draw::independent(vector::step(mean, 1.0, &x), None));
        }
        self.drawn = last;
        Ok(self.progress())
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let solves = (self.drawn + usize::from(self.mean.is_some())).max(1);
        vec![("iterations_per_solve".into(), self.iterations as f64 / solves as f64)]
    }
}
