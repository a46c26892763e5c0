//! Samples in coordinates in which the posterior is nearly straight: geometric variational inference.

use lookback_operator::vector;

use crate::line_search::line_search;
use crate::newton_cg::newton_direction;
use crate::target::possible;
use crate::{Error, Evaluator, Number, Result};

/// Most Newton steps of a sample.
const STEPS: usize = 30;
/// Most iterations of a solve for a step.
const INNER: usize = 100;

/// Half the squared distance between `y` and the coordinate of `z`,
///
/// ```text
/// g(z) = z - m + J_m^T M_m^(T/2) (x(z) - x(m))
/// ```
///
/// with `x` the coordinates of the prediction in which the metric is flat (Frank, Leike & Ensslin 2021, arXiv 2105.10470). At `m` its
/// derivative is the metric of the posterior, so that `y = g(z)` with `y ~ N(0, metric)` is a sample that bends with the posterior.
pub(crate) struct Straight<'a, T: Number> {
    /// An evaluator that stays at the mean, and one that moves.
    at_mean: &'a mut dyn Evaluator<T>,
    here: &'a mut dyn Evaluator<T>,
    mean: &'a [T],
    coordinate: Vec<T>,
    y: &'a [T],
}

impl<'a, T: Number> Straight<'a, T> {
    /// `at_mean` must be at `mean` already.
    pub fn new(
        at_mean: &'a mut dyn Evaluator<T>,
        here: &'a mut dyn Evaluator<T>,
        mean: &'a [T],
        y: &'a [T],
    ) -> Result<Self> {
        let coordinate = at_mean.coordinate()?;
        Ok(Straight { at_mean, here, mean, coordinate, y })
    }

    /// Finds `z` with `g(z) = y`, to `|g(z) - y|^2 <= tolerance^2 dim`, from a start near by, and whether it came so near.
    ///
    /// Newton's steps stop where no step brings the two nearer: where the map folds, the nearest point is the answer.
    ///
    /// # Errors
    /// If the energy is not finite at the start, or the model fails.
    pub fn solve(&mut self, start: Vec<T>, tolerance: f64) -> Result<(Vec<T>, bool)> {
        let goal = tolerance * tolerance * start.len() as f64;
        let mut gradient = start.clone();
        let mut energy = self.energy(&start, &mut gradient)?;
        possible(self, energy)?;
        let mut z = start;
        for _ in 0..STEPS {
            if 2.0 * energy <= goal {
                break;
            }
            let direction = newton_direction(self, &gradient, 0.01 * goal, INNER)?;
            let Some(lower) = line_search(self, &z, energy, &gradient, &direction, 1.0)? else { break };
            // A step that gains next to nothing has come to the nearest point.
            let gain = energy - lower.energy;
            (z, gradient, energy) = (lower.z, lower.gradient, lower.energy);
            if gain < 1e-3 * energy {
                break;
            }
        }
        Ok((z, 2.0 * energy <= goal))
    }

    /// `dg^T v = v + J_z^T M_z^(T/2) M_m^(1/2) J_m v`.
    fn pull(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        let pushed = self.at_mean.coordinate_push(v)?;
        self.here.coordinate_pull(&pushed, out)?;
        vector::axpy(1.0, v, out);
        Ok(())
    }
}

impl<T: Number> Evaluator<T> for Straight<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        if !self.here.energy(z, gradient)?.is_finite() {
            return Ok(f64::INFINITY);
        }
        let moved = vector::step(&self.here.coordinate()?, -1.0, &self.coordinate);
        let mut off = z.to_vec();
        self.at_mean.coordinate_pull(&moved, &mut off)?;
        vector::axpy(1.0, z, &mut off);
        vector::axpy(-1.0, self.mean, &mut off);
        vector::axpy(-1.0, self.y, &mut off);
        self.pull(&off, gradient)?;
        let energy = 0.5 * vector::norm2(&off);
        Ok(if energy.is_finite() { energy } else { f64::INFINITY })
    }

    fn refusal(&self) -> Option<Error> {
        self.here.refusal()
    }

    /// `dg^T dg v`.
    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        let pushed = self.here.coordinate_push(v)?;
        let mut moved = v.to_vec();
        self.at_mean.coordinate_pull(&pushed, &mut moved)?;
        vector::axpy(1.0, v, &mut moved);
        self.pull(&moved, out)
    }
}
