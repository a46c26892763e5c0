//! A step length that decreases the energy enough and flattens its slope (weak Wolfe conditions).

use lookback_operator::{Real, vector};

use crate::{Evaluator, Result};

/// Share of the predicted decrease that is asked for.
const DECREASE: f64 = 1e-4;
/// Share of the slope that may be left.
const CURVATURE: f64 = 0.9;
/// Halvings and doublings before giving up.
const TRIES: usize = 40;

/// A point further down.
pub(crate) struct Lower<T> {
    pub(crate) z: Vec<T>,
    pub(crate) gradient: Vec<T>,
    pub(crate) energy: f64,
}

/// Searches along `direction` from `z` by bisection (Lewis & Overton 2013, algorithm 2.6). The evaluator ends at the
/// point that is returned. `None` if no step decreases the energy any more: rounding has been reached.
pub(crate) fn line_search<T: Real>(
    evaluator: &mut dyn Evaluator<T>,
    z: &[T],
    energy: f64,
    gradient: &[T],
    direction: &[T],
    first: f64,
) -> Result<Option<Lower<T>>> {
    let slope = vector::dot(gradient, direction);
    if slope >= 0.0 || !slope.is_finite() {
        return Ok(None);
    }
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    let mut lower: Option<Lower<T>> = None;
    let mut new_gradient = vec![T::zero(); z.len()];
    for _ in 0..TRIES {
        let trial = vector::step(z, step, direction);
        let new_energy = evaluator.energy(&trial, &mut new_gradient)?;
        let decreased = new_energy <= energy + DECREASE * step * slope;
        if !decreased {
            high = step;
        } else {
            let flat = vector::dot(&new_gradient, direction) >= CURVATURE * slope;
            lower = Some(Lower { z: trial, gradient: new_gradient.clone(), energy: new_energy });
            if flat {
                return Ok(lower);
            }
            low = step;
        }
        step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * step };
        if high.is_finite() && high - low <= 1e-12 * high {
            break;
        }
    }
    if let Some(point) = &mut lower {
        // The last trial was another point: go back to the best one.
        evaluator.energy(&point.z, &mut point.gradient)?;
    }
    Ok(lower)
}
