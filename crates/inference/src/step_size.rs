//! Tuning of a step size to a wanted acceptance.

use serde::{Deserialize, Serialize};

/// Dual averaging of the logarithm of the step size (Hoffman & Gelman 2014, section 3.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DualAveraging {
    centre: f64,
    log_step: f64,
    log_average: f64,
    shortfall: f64,
    count: f64,
}

impl DualAveraging {
    /// Begins at a step size.
    pub fn new(step: f64) -> DualAveraging {
        let log = step.ln();
        DualAveraging {
            centre: (10.0 * step).ln(),
            log_step: log,
            log_average: log,
            shortfall: 0.0,
            count: 0.0,
        }
    }

    /// Step size to try next.
    pub fn trial(&self) -> f64 {
        self.log_step.exp()
    }

    /// Step size that was found.
    pub fn found(&self) -> f64 {
        self.log_average.exp()
    }

    /// Learns from the acceptance of a trial.
    pub fn update(&mut self, acceptance: f64, target: f64) {
        const GAMMA: f64 = 0.05;
        const T0: f64 = 10.0;
        const KAPPA: f64 = 0.75;
        self.count += 1.0;
        let eta = 1.0 / (self.count + T0);
        self.shortfall = (1.0 - eta) * self.shortfall + eta * (target - acceptance);
        self.log_step = self.centre - self.count.sqrt() / GAMMA * self.shortfall;
        let weight = self.count.powf(-KAPPA);
        self.log_average = weight * self.log_step + (1.0 - weight) * self.log_average;
    }
}
