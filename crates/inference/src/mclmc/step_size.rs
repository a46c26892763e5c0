//! How long may a step be?

use serde::{Deserialize, Serialize};

/// Fit of the step size to the variance of the energy error, which grows with its sixth power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StepSize {
    now: f64,
    ceiling: f64,
    sums: (f64, f64),
}

impl StepSize {
    pub fn new(now: f64) -> StepSize {
        StepSize { now, ceiling: f64::INFINITY, sums: (0.0, 0.0) }
    }

    pub fn now(&self) -> f64 {
        self.now
    }

    /// Learns from the squared energy error of a step, in units of what is wanted.
    pub fn update(&mut self, excess: f64) {
        const MEMORY: f64 = 149.0 / 151.0;
        /// Width of trust in `ln(excess)`: a factor of 1.5 in the step.
        const TRUST: f64 = 6.0 * 1.5;
        let excess = excess + 1e-8;
        let weight = (-0.5 * (excess.ln() / TRUST).powi(2)).exp();
        self.sums.0 = MEMORY * self.sums.0 + weight * excess / self.now.powi(6);
        self.sums.1 = MEMORY * self.sums.1 + weight;
        if self.sums.0 > 0.0 && self.sums.1 > 0.0 {
            let fitted = (self.sums.0 / self.sums.1).powf(-1.0 / 6.0);
            self.now = fitted.min(self.ceiling);
        }
        // The ceiling is lifted slowly: one bad point must not slow a chain for ever.
        self.ceiling *= 1.01;
    }

    /// Learns that a step led nowhere.
    pub fn fail(&mut self) {
        self.now *= 0.8;
        self.ceiling = self.now;
    }
}
