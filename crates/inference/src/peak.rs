//! The maximum over free latents, as exactly as its score needs it.

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::chain::Point;
use crate::conditional::Conditional;
use crate::lbfgs::History;
use crate::line_search::line_search;
use crate::newton_cg::newton_direction;
use crate::target::possible;
use crate::{Error, Evaluator, Number, Optimizer, Result};

/// Pairs that L-BFGS keeps.
const MEMORY: usize = 10;
/// Most steps of a search.
const STEPS: usize = 500;
/// Most iterations of an inner solve.
const INNER: usize = 1000;
/// Gradient, in standard deviations of a latent, below which nothing is left to find.
const FLAT: f64 = 1e-8;

/// A maximum over the free latents, where the next search begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Peak<T: Number> {
    /// All latents: those that are held, too.
    pub z: Vec<T>,
    /// Curvature along the last step there, for the first step of the next search.
    pub curvature: Option<f64>,
}

/// How maxima are found, and how exactly.
pub(crate) struct PeakSearch<'a> {
    pub optimizer: Optimizer,
    /// Change of the score in a step that is too small to matter, in units of `scale`.
    pub tolerance: f64,
    /// Standard deviation of each score.
    pub scale: &'a [f64],
}

/// Whether nothing is left to find.
fn flat<T: Number>(gradient: &[T]) -> bool {
    vector::norm2(gradient) <= FLAT * FLAT * gradient.len() as f64
}

impl PeakSearch<'_> {
    /// Climbs from a start to the maximum, and gives it with its score.
    ///
    /// # Errors
    /// If the energy is not finite at the start, or the model fails.
    pub fn climb<T: Number>(
        &self,
        conditional: &mut Conditional<'_, T>,
        start: Peak<T>,
    ) -> Result<(Peak<T>, Vec<f64>)> {
        let mut gradient = vec![T::zero(); start.z.len()];
        let energy = conditional.energy(&start.z, &mut gradient)?;
        possible(conditional, energy)?;
        let mut at = Point { z: start.z, gradient, energy };
        let (mut score, mut curvature, mut history) =
            (conditional.score(), start.curvature, History::new(MEMORY));
        // One step of Newton is most of the way; one of L-BFGS may be short by chance.
        let needed = if self.optimizer == Optimizer::NewtonCg { 1 } else { 2 };
        let mut still = 0;
        for _ in 0..STEPS {
            if still == needed || flat(&at.gradient) {
                return Ok((Peak { z: at.z, curvature }, score));
            }
            let Some(lower) = self.step(conditional, &at, &mut curvature, &history)? else {
                // Nothing lower within rounding; the evaluator has to come back for the score.
                conditional.energy(&at.z, &mut at.gradient)?;
                return Ok((Peak { z: at.z, curvature }, conditional.score()));
            };
            let now = conditional.score();
            let change = |((now, then), scale): ((&f64, &f64), &f64)| (now - then).abs() / scale;
            let change = now.iter().zip(&score).zip(self.scale).map(change).fold(0.0, f64::max);
            still = if change <= self.tolerance { still + 1 } else { 0 };
            let ends = still == needed || flat(&lower.gradient);
            if self.optimizer == Optimizer::Lbfgs && !ends {
                let (s, y) =
                    (vector::step(&lower.z, -1.0, &at.z), vector::step(&lower.gradient, -1.0, &at.gradient));
                curvature = history.update(s, y);
            }
            (at, score) = (lower, now);
        }
        Err(Error::NotConverged(format!("a maximum of the latents was not found in {STEPS} steps")))
    }

    /// The next point; the evaluator is there.
    fn step<T: Number>(
        &self,
        conditional: &mut Conditional<'_, T>,
        at: &Point<T>,
        curvature: &mut Option<f64>,
        history: &History<T>,
    ) -> Result<Option<Point<T>>> {
        if self.optimizer == Optimizer::NewtonCg {
            // The solve is exact to the score, not to the latents: its own rule of stopping is enough.
            let direction = newton_direction(conditional, &at.gradient, 0.0, INNER)?;
            return line_search(conditional, &at.z, at.energy, &at.gradient, &direction, 1.0);
        }
        if history.is_empty() && curvature.is_none() {
            *curvature = self.probe(conditional, at)?;
        }
        let first = if history.is_empty() { 1.0 / curvature.unwrap_or(1.0) } else { 1.0 };
        line_search(conditional, &at.z, at.energy, &at.gradient, &history.direction(&at.gradient), first)
    }

    /// The curvature along the gradient, from a short step down it.
    fn probe<T: Number>(&self, conditional: &mut Conditional<'_, T>, at: &Point<T>) -> Result<Option<f64>> {
        let length = vector::norm2(&at.gradient).sqrt();
        let short = 0.1 / (1.0 + length);
        let mut gradient = at.gradient.clone();
        conditional.energy(&vector::step(&at.z, -short, &at.gradient), &mut gradient)?;
        let bend = length * length - vector::dot(&gradient, &at.gradient);
        Ok(Some(bend / (short * length * length)).filter(|c| c.is_finite() && *c > 0.0))
    }
}
