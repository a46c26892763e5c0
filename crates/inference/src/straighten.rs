//! Samples in coordinates in which the posterior is nearly straight: geometric variational inference.

use lookback_operator::vector;

use crate::conjugate_gradient::truncated;
use crate::line_search::line_search;
use crate::newton_cg::newton_direction;
use crate::target::possible;
use crate::{Error, Evaluator, Number, Result};

/// Most Newton steps of a sample.
const STEPS: usize = 30;
/// Most iterations of a solve for a step.
const INNER: usize = 100;
/// Most iterations of a solve with the metric at the mean.
const SOLVE: usize = 1000;
/// A step that gains less than this share of the energy has not helped.
const GAIN: f64 = 1e-3;
/// Share of its size at the mean below which the derivative of the coordinate has vanished along what is left.
const FLAT: f64 = 0.1;

/// Posterior standard deviations, in root mean square over the latents, that nobody sees in a sample.
const UNSEEN: f64 = 0.1;

/// Where a sample has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// To the place that was drawn for it, or so near that nobody sees the difference.
    There,
    /// To a fold of the coordinates, beyond which its place would lie.
    Fold,
    /// Only near it: steps help no more, as rounding is reached or the coordinates bend too much.
    Near,
}

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
    /// `g(z) - y` where the energy was taken last.
    off: Vec<T>,
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
        Ok(Straight { at_mean, here, mean, coordinate, y, off: Vec::new() })
    }

    /// Finds `z` with `g(z) = y`, from a start near by, to `tolerance` posterior standard deviations, in root mean square over the latents:
    /// `(g(z) - y)^T D (g(z) - y) <= tolerance^2 dim`, where `D` is the covariance at the mean, of which no eigenvalue is above 1 and `dg` about the inverse.
    ///
    /// Gauss-Newton steps, and where one hardly helps, a step with the metric of the mean, whose equations are better conditioned. Where neither brings
    /// the two nearer, the nearest point is the answer.
    ///
    /// # Errors
    /// If the energy is not finite at the start, or the model fails.
    pub fn solve(&mut self, start: Vec<T>, tolerance: f64) -> Result<(Vec<T>, Arrival)> {
        let goal = tolerance * tolerance * start.len() as f64;
        let mut gradient = start.clone();
        let mut energy = self.energy(&start, &mut gradient)?;
        possible(self, energy)?;
        let mut z = start;
        let mut helps = true;
        for _ in 0..STEPS {
            if 2.0 * energy <= goal {
                return Ok((z, Arrival::There));
            }
            let direction = if helps {
                newton_direction(self, &gradient, 0.01 * goal, INNER)?
            } else {
                let negative = vector::negative(&self.off);
                let direction = truncated(self.at_mean, &negative, 0.1 * goal, SOLVE)?.x;
                if -vector::dot(&self.off, &direction) <= goal {
                    return Ok((z, Arrival::There));
                }
                direction
            };
            let lower = line_search(self, &z, energy, &gradient, &direction, 1.0)?;
            let helped = lower.as_ref().is_some_and(|lower| energy - lower.energy > GAIN * energy);
            if let Some(lower) = lower {
                (z, gradient, energy) = (lower.z, lower.gradient, lower.energy);
            } else {
                // The last trial was another point.
                energy = self.energy(&z, &mut gradient)?;
            }
            if !helped && !helps {
                break;
            }
            helps = helped;
        }
        if 2.0 * energy <= goal.max(UNSEEN * UNSEEN * z.len() as f64) {
            return Ok((z, Arrival::There));
        }
        let mut at_mean = self.off.clone();
        self.at_mean.metric(&self.off, &mut at_mean)?;
        let flat = vector::norm2(&gradient) < FLAT * FLAT * vector::norm2(&at_mean);
        Ok((z, if flat { Arrival::Fold } else { Arrival::Near }))
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
        self.off = off;
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
