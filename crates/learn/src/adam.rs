//! Adam: steps in units of the gradient's own size (Kingma & Ba 2015), with decay of the weights beside them (Loshchilov & Hutter 2019).

use lookback_operator::Real;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::layer::{Role, Weight};
use crate::{Error, Result};

/// Options of Adam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamOptions {
    /// Share of the mean gradient that a step keeps.
    pub beta1: f64,
    /// Share of the mean squared gradient that a step keeps.
    pub beta2: f64,
    /// Keeps quiet weights from large steps.
    pub epsilon: f64,
    /// Share of the matrices that decays per unit of the learning rate.
    pub weight_decay: f64,
    /// Longest gradient, by its Euclidean norm; none is shortened if left out.
    pub clip: Option<f64>,
}

impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, clip: None }
    }
}

impl AdamOptions {
    /// Refuses numbers out of their ranges.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(&self) -> Result<()> {
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::option(name, format!("must be at least 0 and below 1, not {beta}")));
            }
        }
        // Without it a weight that no loss depends on would move by 0 / 0.
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::option("epsilon", format!("must be above 0, not {}", self.epsilon)));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            let message = format!("must be at least 0, not {}", self.weight_decay);
            return Err(Error::option("weight_decay", message));
        }
        match self.clip {
            Some(clip) if !(clip > 0.0) => Err(Error::option("clip", format!("must be above 0, not {clip}"))),
            _ => Ok(()),
        }
    }
}

/// The state of Adam: running means of the gradient and of its square.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adam<T> {
    pub(crate) steps: u64,
    pub(crate) mean: Vec<T>,
    pub(crate) square: Vec<T>,
}

impl<T: Real> Adam<T> {
    /// Before the first step.
    pub fn new(weights: usize) -> Adam<T> {
        Adam { steps: 0, mean: vec![T::zero(); weights], square: vec![T::zero(); weights] }
    }

    /// One step. Statistics stay as they are.
    ///
    /// Cost: one pass over weights, gradient and both means: 28 bytes a weight in `f32`.
    pub fn step(
        &mut self,
        weights: &mut [T],
        gradient: &[T],
        arrays: &[Weight],
        rate: f64,
        options: &AdamOptions,
    ) {
        self.steps += 1;
        let shortened = shortening(gradient, options.clip);
        let correction = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let size = T::of(rate / correction(options.beta1));
        let inverse = T::of(1.0 / correction(options.beta2));
        let (b1, b2, epsilon) = (T::of(options.beta1), T::of(options.beta2), T::of(options.epsilon));
        let mut start = 0;
        for array in arrays {
            let range = start..start + array.len();
            start = range.end;
            if array.role == Role::Statistic {
                continue;
            }
            let decay =
                if array.role == Role::Matrix { T::of(1.0 - rate * options.weight_decay) } else { T::one() };
            let parts = weights[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(gradient[range.clone()].par_chunks(CHUNK))
                .zip(self.mean[range.clone()].par_chunks_mut(CHUNK))
                .zip(self.square[range].par_chunks_mut(CHUNK));
            parts.for_each(|(((w, g), m), v)| {
                for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                    let g = g * shortened;
                    *m = b1 * *m + (T::one() - b1) * g;
                    *v = b2 * *v + (T::one() - b2) * g * g;
                    *w = decay * *w - size * *m / ((*v * inverse).sqrt() + epsilon);
                }
            });
        }
    }
}

/// Weights a task.
const CHUNK: usize = 1 << 14;

/// What the gradient is multiplied by.
fn shortening<T: Real>(gradient: &[T], clip: Option<f64>) -> T {
    let Some(clip) = clip else { return T::one() };
    let length = lookback_operator::vector::norm2(gradient).sqrt();
    T::of(if length > clip { clip / length } else { 1.0 })
}

/// How the learning rate goes with the steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same all the time.
    Constant,
    /// Half a cosine, down to `last` times the first rate.
    Cosine {
        /// The last rate over the first.
        #[serde(default = "hundredth")]
        last: f64,
    },
    /// Down by `factor` at each of `parts` equal parts of the training.
    Stairs {
        /// Number of parts.
        parts: u32,
        /// The rate of a part over that of the one before.
        factor: f64,
    },
}

fn hundredth() -> f64 {
    0.01
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::Cosine { last: hundredth() }
    }
}

impl Schedule {
    /// Refuses rates that would rise, or change their sign.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(self) -> Result<()> {
        match self {
            Schedule::Stairs { parts: 0, .. } => Err(Error::option("schedule.parts", "must be at least 1")),
            Schedule::Stairs { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                Err(Error::option("schedule.factor", format!("must be above 0 and at most 1, not {factor}")))
            }
            Schedule::Cosine { last } if !(0.0..=1.0).contains(&last) => {
                Err(Error::option("schedule.last", format!("must lie between 0 and 1, not {last}")))
            }
            _ => Ok(()),
        }
    }

    /// The learning rate over the first, at `progress` between 0 and 1. The first `warmup` of the progress rises from zero.
    pub fn factor(self, progress: f64, warmup: f64) -> f64 {
        if progress < warmup {
            return progress / warmup;
        }
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine { last } => {
                last + (1.0 - last) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Schedule::Stairs { parts, factor } => {
                factor.powf((progress * f64::from(parts)).floor().min(f64::from(parts) - 1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Begin;

    #[test]
    fn the_first_steps_are_those_of_the_paper() {
        let arrays = [Weight::new("w", &[2], Begin::Constant(1.0), Role::Matrix)];
        let options = AdamOptions::default();
        let (mut adam, mut weights) = (Adam::<f64>::new(2), vec![1.0, 1.0]);
        let gradients = [[3.0, -0.5], [1.0, -2.0]];
        let (mut m, mut v, mut expected) = ([0.0; 2], [0.0; 2], [1.0; 2]);
        for (t, gradient) in gradients.iter().enumerate() {
            adam.step(&mut weights, gradient, &arrays, 0.01, &options);
            let power = t as i32 + 1;
            for i in 0..2 {
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                let (mh, vh): (f64, f64) =
                    (m[i] / (1.0 - 0.9f64.powi(power)), v[i] / (1.0 - 0.999f64.powi(power)));
                expected[i] -= 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        weights.iter().zip(expected).for_each(|(w, e)| assert!((w - e).abs() < 1e-12, "{w} {e}"));
    }

    #[test]
    fn schedules_that_rise_are_refused() {
        for wrong in [
            Schedule::Cosine { last: -1.0 },
            Schedule::Cosine { last: f64::NAN },
            Schedule::Stairs { parts: 0, factor: 0.1 },
            Schedule::Stairs { parts: 3, factor: 1.5 },
            Schedule::Stairs { parts: 3, factor: 0.0 },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        assert!(Schedule::default().check().is_ok() && Schedule::Constant.check().is_ok());
        assert!(AdamOptions { epsilon: 0.0, ..AdamOptions::default() }.check().is_err());
    }

    #[test]
    fn schedules_begin_at_one_and_end_where_they_say() {
        let cosine = Schedule::Cosine { last: 0.1 };
        assert!(
            (cosine.factor(0.0, 0.0) - 1.0).abs() < 1e-12 && (cosine.factor(1.0, 0.0) - 0.1).abs() < 1e-12
        );
        let stairs = Schedule::Stairs { parts: 3, factor: 0.5 };
        let values: Vec<f64> = [0.0, 0.4, 0.7, 1.0].iter().map(|&p| stairs.factor(p, 0.0)).collect();
        assert_eq!(values, [1.0, 0.5, 0.25, 0.25]);
        assert!((Schedule::Constant.factor(0.05, 0.1) - 0.5).abs() < 1e-12);
    }
}
