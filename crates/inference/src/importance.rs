//! What importance weights say of an approximation: whether it holds, and what the evidence is.

use serde::{Deserialize, Serialize};

use crate::pareto::{limit, smooth_weights};
use crate::{Number, Workers};

/// Shape of a tail that is none.
const NO_TAIL: f64 = -10.0;

/// Ratios of posterior and approximation at samples of the approximation, in logarithms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Weighed {
    log_ratios: Vec<f64>,
    /// What turns their mean into an evidence; `None` if the ratios are known up to a factor only.
    constant: Option<f64>,
}

impl Weighed {
    /// The ratios will be those of `exp(-H)` and a density that is normalised: their mean is an evidence.
    pub fn measure<T: Number>(&mut self, workers: &Workers<'_, T>) {
        self.constant = Some(log_constant(workers));
    }

    /// Takes in the ratio at a sample.
    pub fn add(&mut self, log_ratio: f64) {
        self.log_ratios.push(log_ratio);
    }

    /// The logarithm of the evidence from that of `integral exp(-H) dz`.
    pub fn log_evidence_of(&self, log_integral: f64) -> f64 {
        log_integral + self.constant.unwrap_or(f64::NAN)
    }

    /// `pareto_k`, and `log_evidence` with its error where the approximation is normalised.
    pub fn figures(&self) -> Vec<(String, f64)> {
        if self.log_ratios.is_empty() {
            return Vec::new();
        }
        // Weights that are all the same have no tail; minus infinity is no figure for a file.
        let k = smooth_weights(&self.log_ratios).k;
        let mut figures = vec![
            ("pareto_k".into(), if k < NO_TAIL { NO_TAIL } else { k }),
            ("pareto_k_limit".into(), limit(self.log_ratios.len())),
        ];
        if self.constant.is_some() {
            let (log_mean, error) = log_mean(&self.log_ratios);
            figures.push(("log_evidence".into(), self.log_evidence_of(log_mean)));
            figures.push(("log_evidence_error".into(), error));
        }
        figures
    }
}

/// From `ln integral exp(-H) dz` to the logarithm of the evidence: the constants of prior and likelihood that `H` leaves out.
pub(crate) fn log_constant<T: Number>(workers: &Workers<'_, T>) -> f64 {
    -workers.target().normalisation() - 0.5 * workers.dim() as f64 * std::f64::consts::TAU.ln()
}

/// The logarithm of the mean of `exp(logs)`, and the standard error of that logarithm.
pub(crate) fn log_mean(logs: &[f64]) -> (f64, f64) {
    let largest = logs.iter().copied().filter(|log| !log.is_nan()).fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return (largest, f64::NAN);
    }
    let n = logs.len() as f64;
    let weights: Vec<f64> =
        logs.iter().map(|log| if log.is_nan() { 0.0 } else { (log - largest).exp() }).collect();
    let mean = weights.iter().sum::<f64>() / n;
    let variance = weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (largest + mean.ln(), (variance / n).sqrt() / mean)
}

/// `ln sum exp`.
pub(crate) fn log_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + logs.map(|log| (log - largest).exp()).sum::<f64>().ln()
}
