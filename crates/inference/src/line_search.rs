//! A step length that decreases the energy enough and flattens its slope (weak Wolfe conditions).

use lookback_operator::vector;

use crate::chain::Point;
use crate::{Evaluator, Number, Result};

/// Share of the predicted decrease that is asked for.
const DECREASE: f64 = 1e-4;
/// Share of the slope that may be left.
const CURVATURE: f64 = 0.9;
/// Halvings and doublings before giving up.
const TRIES: usize = 40;

/// Searches along `direction` from `z` by bisection (Lewis & Overton 2013, algorithm 2.6). The evaluator ends at the
/// point that is returned. `None` if no step decreases the energy any more: rounding has been reached.
pub(crate) fn line_search<T: Number>(
    evaluator: &mut dyn Evaluator<T>,
    z: &[T],
    energy: f64,
    gradient: &[T],
    direction: &[T],
    first: f64,
) -> Result<Option<Point<T>>> {
    let slope = vector::dot(gradient, direction);
    if slope >= 0.0 || !slope.is_finite() {
        return Ok(None);
    }
    // Below this a change of the energy is chance.
    let rounding = T::epsilon().f64() * energy.abs();
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    let mut lower: Option<Point<T>> = None;
    let mut spare = None;
    for _ in 0..TRIES {
        let trial = vector::step(z, step, direction);
        let mut new_gradient = spare.take().unwrap_or_else(|| vec![T::zero(); z.len()]);
        let new_energy = evaluator.energy(&trial, &mut new_gradient)?;
        let decreased = new_energy <= energy + DECREASE * step * slope;
        if !decreased {
            high = step;
            spare = Some(new_gradient);
        } else {
            let flat = vector::dot(&new_gradient, direction) >= CURVATURE * slope;
            lower = Some(Point { z: trial, gradient: new_gradient, energy: new_energy });
            if flat {
                return Ok(lower);
            }
            low = step;
        }
        step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * step };
        // What is not lower at once is not found among steps whose gain is below rounding.
        if high.is_finite() && (high - low <= 1e-12 * high || -slope * step < rounding) {
            break;
        }
    }
    if let Some(point) = &mut lower {
        // The last trial was another point: go back to the best one.
        evaluator.energy(&point.z, &mut point.gradient)?;
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `offset + |z|^2 / 2`, and how often it was asked for.
    struct Bowl {
        offset: f32,
        asked: usize,
    }

    impl Evaluator<f32> for Bowl {
        fn energy(&mut self, z: &[f32], gradient: &mut [f32]) -> Result<f64> {
            self.asked += 1;
            gradient.copy_from_slice(z);
            let square: f32 = z.iter().map(|z| z * z).sum();
            Ok(f64::from(self.offset + 0.5 * square))
        }
    }

    /// Where all that is left to gain is less than what single precision tells, one point is tried; elsewhere the minimum is found.
    #[test]
    fn nothing_is_sought_below_rounding() {
        for (z, asked, found) in [([1e-4f32, -1e-4], 1, false), ([0.3, -0.4], 1, true)] {
            let mut bowl = Bowl { offset: 10.0, asked: 0 };
            let mut gradient = [0.0; 2];
            let energy = bowl.energy(&z, &mut gradient).expect("an energy");
            bowl.asked = 0;
            let lower = line_search(&mut bowl, &z, energy, &gradient, &gradient.map(|g| -g), 1.0);
            let lower = lower.expect("a search");
            assert_eq!((bowl.asked, lower.is_some()), (asked, found), "{z:?}");
            assert!(lower.is_none_or(|lower| lower.energy == 10.0), "{z:?}");
        }
    }
}
