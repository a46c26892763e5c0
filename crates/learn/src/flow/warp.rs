//! Monotone functions of one number whose parameters come out of a network.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use super::spline::{MOST_BINS, Spline};
use crate::{Error, Result};

/// What a flow does to a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Warp {
    /// `y = x + t`.
    Shift,
    /// `y = exp(s) x + t`, with `s` kept within (-3, 3).
    Affine,
    /// A monotone spline of rational quadratic functions within `[-bound, bound]`, the identity beyond.
    Spline {
        /// Number of bins.
        #[serde(default = "bins")]
        bins: usize,
        /// Where it ends.
        #[serde(default = "bound")]
        bound: f64,
    },
}

fn bins() -> usize {
    8
}

fn bound() -> f64 {
    4.0
}

/// Largest logarithm of a slope.
const STEEPEST: f64 = 3.0;

impl Warp {
    /// The spline that is usual.
    pub fn spline() -> Warp {
        Warp::Spline { bins: bins(), bound: bound() }
    }

    /// Refuses numbers out of their ranges.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(self) -> Result<()> {
        let Warp::Spline { bins, bound } = self else { return Ok(()) };
        if !(2..=MOST_BINS).contains(&bins) {
            return Err(Error::option("bins", format!("must be from 2 to {MOST_BINS}, not {bins}")));
        }
        if !(bound > 0.0 && bound.is_finite()) {
            return Err(Error::option("bound", format!("must be above 0, not {bound}")));
        }
        Ok(())
    }

    /// Numbers that the network gives for each number that is warped.
    pub fn parameters(self) -> usize {
        match self {
            Warp::Shift => 1,
            Warp::Affine => 2,
            Warp::Spline { bins, .. } => 3 * bins - 1,
        }
    }

    fn as_spline<T: Real>(bins: usize, bound: f64) -> Spline<T> {
        Spline { bins, bound: T::of(bound) }
    }

    /// Value and logarithm of the slope.
    pub fn evaluate<T: Real>(self, raw: &[T], x: T) -> (T, T) {
        match self {
            Warp::Shift => (x + raw[0], T::zero()),
            Warp::Affine => {
                let s = log_slope(raw[0]);
                (x * s.exp() + raw[1], s)
            }
            Warp::Spline { bins, bound } => Warp::as_spline(bins, bound).evaluate(raw, x),
        }
    }

    /// The `x` at which the value is `y`.
    pub fn invert<T: Real>(self, raw: &[T], y: T) -> T {
        match self {
            Warp::Shift => y - raw[0],
            Warp::Affine => (y - raw[1]) * (-log_slope(raw[0])).exp(),
            Warp::Spline { bins, bound } => Warp::as_spline(bins, bound).invert(raw, y),
        }
    }

    /// Reverse mode: from the cotangents of value and logarithm of the slope to that of `x`; adds those of `raw`.
    pub fn pull<T: Real>(self, raw: &[T], x: T, dy: T, dlog_slope: T, draw: &mut [T]) -> T {
        match self {
            Warp::Shift => {
                draw[0] += dy;
                dy
            }
            Warp::Affine => {
                let s = log_slope(raw[0]);
                let slope = s.exp();
                let inside = s / T::of(STEEPEST);
                draw[0] += (dy * x * slope + dlog_slope) * (T::one() - inside * inside);
                draw[1] += dy;
                dy * slope
            }
            Warp::Spline { bins, bound } => Warp::as_spline(bins, bound).pull(raw, x, dy, dlog_slope, draw),
        }
    }
}

/// `3 tanh(raw / 3)`.
fn log_slope<T: Real>(raw: T) -> T {
    let steepest = T::of(STEEPEST);
    steepest * (raw / steepest).tanh()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warps() -> [Warp; 4] {
        [Warp::Shift, Warp::Affine, Warp::spline(), Warp::Spline { bins: 3, bound: 2.0 }]
    }

    fn raw(warp: Warp, seed: usize) -> Vec<f64> {
        (0..warp.parameters()).map(|i| ((i * 37 + seed * 101) % 29) as f64 / 10.0 - 1.4).collect()
    }

    #[test]
    fn slopes_and_parameters_agree_with_differences() {
        let h = 1e-6;
        for warp in warps() {
            for (seed, x) in [(1, -1.7), (2, -0.3), (3, 0.8), (4, 1.9), (5, 7.0)] {
                let theta = raw(warp, seed);
                let value = |theta: &[f64], x: f64| {
                    let (y, l) = warp.evaluate(theta, x);
                    0.7 * y + 1.3 * l
                };
                let (_, l) = warp.evaluate(&theta, x);
                let slope = (warp.evaluate(&theta, x + h).0 - warp.evaluate(&theta, x - h).0) / (2.0 * h);
                assert!((slope.ln() - l).abs() < 1e-7, "{warp:?} at {x}: {} {l}", slope.ln());
                let mut dtheta = vec![0.0; theta.len()];
                let dx = warp.pull(&theta, x, 0.7, 1.3, &mut dtheta);
                let by_x = (value(&theta, x + h) - value(&theta, x - h)) / (2.0 * h);
                assert!((dx - by_x).abs() < 1e-6, "{warp:?} at {x}: {dx} {by_x}");
                for i in 0..theta.len() {
                    let moved = |step: f64| {
                        let mut theta = theta.clone();
                        theta[i] += step;
                        value(&theta, x)
                    };
                    let by_theta = (moved(h) - moved(-h)) / (2.0 * h);
                    assert!(
                        (dtheta[i] - by_theta).abs() < 1e-6,
                        "{warp:?} at {x}, {i}: {} {by_theta}",
                        dtheta[i]
                    );
                }
            }
        }
    }

    #[test]
    fn inverses_come_back() {
        for warp in warps() {
            for seed in 0..20 {
                let theta = raw(warp, seed);
                let single: Vec<f32> = theta.iter().map(|&x| x as f32).collect();
                for x in [-9.0, -3.99, -2.0, -1.0, -0.01, 0.0, 0.5, 1.99, 3.0, 5.0] {
                    let back = warp.invert(&theta, warp.evaluate(&theta, x).0);
                    assert!((back - x).abs() < 1e-9, "{warp:?}: {back} for {x}");
                    let back = warp.invert(&single, warp.evaluate(&single, x as f32).0);
                    assert!((f64::from(back) - x).abs() < 2e-5, "{warp:?}: {back} for {x}");
                }
            }
        }
    }

    #[test]
    fn zeros_are_the_identity() {
        for warp in warps() {
            let theta = vec![0.0; warp.parameters()];
            let (y, l): (f64, f64) = warp.evaluate(&theta, 0.77);
            assert!((y - 0.77).abs() < 1e-12 && l.abs() < 1e-12, "{warp:?}");
        }
    }
}
