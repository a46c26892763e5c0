//! Newton's method with the Gauss-Newton metric, solved by truncated conjugate gradients.

use lookback_operator::{Real, vector};

use crate::conjugate_gradient::truncated;
use crate::{Evaluator, Result};

/// The Newton step `-D gradient` at the evaluator's point, as exactly as is worth it: the linear system is solved to a
/// residual that falls with the gradient (Eisenstat & Walker 1996), and never beyond `goal`.
pub(crate) fn newton_direction<T: Real>(
    evaluator: &mut dyn Evaluator<T>,
    gradient: &[T],
    goal: f64,
    max_iterations: usize,
) -> Result<Vec<T>> {
    let b = vector::negative(gradient);
    let g2 = vector::norm2(gradient);
    let forcing = 0.5f64.min((g2 / b.len() as f64).powf(0.25));
    let solution = truncated(evaluator, &b, (forcing * forcing * g2).max(0.01 * goal), max_iterations)?;
    Ok(solution.x)
}
