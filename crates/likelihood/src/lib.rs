//! Likelihoods: what noise makes of a prediction.
//!
//! Each offers its value, its gradient, the square root of its Fisher metric and a simulator; see [`Likelihood`].

mod check;
mod complex_gaussian;
mod correlated_gaussian;
mod gaussian;
mod poisson;
mod student_t;

pub use check::{Error, Result};
pub use complex_gaussian::ComplexGaussian;
pub use correlated_gaussian::CorrelatedGaussian;
pub use gaussian::Gaussian;
pub use poisson::Poisson;
pub use student_t::StudentT;

use std::sync::Arc;

use lookback_operator::random::Stream;
use lookback_operator::{Real, Space};

/// The probability of the data given a prediction, `L(d | p)`.
///
/// `p` is the output of a forward model; every slice has the length of [`space`](Likelihood::space).
pub trait Likelihood<T: Real>: Send + Sync {
    /// Name in plain words.
    fn name(&self) -> String;

    /// What it compares with the data.
    fn space(&self) -> &Space;

    /// Number of data that count: those that are not masked.
    fn data_count(&self) -> usize;

    /// The data; masked entries hold zero.
    fn data(&self) -> &[T];

    /// `-ln L(d | p)` without [`normalisation`](Likelihood::normalisation), and its gradient with respect to `p`.
    /// Infinite where the prediction is impossible.
    fn energy(&self, prediction: &[T], gradient: &mut [T]) -> f64;

    /// The part of `-ln L` that does not depend on the prediction.
    fn normalisation(&self) -> f64;

    /// `ln L` of each datum, with its constants; NaN where masked. The sum over the others is `-ln L` with the opposite sign:
    /// `-energy - normalisation`.
    fn log_densities(&self, prediction: &[T], out: &mut [f64]);

    /// `out = M^(1/2) v` with `M` the Fisher metric at `prediction`.
    fn metric_root(&self, prediction: &[T], v: &[T], out: &mut [T]);

    /// `out = (M^(1/2))^T w`: the adjoint of [`metric_root`](Likelihood::metric_root).
    fn metric_root_adjoint(&self, prediction: &[T], w: &[T], out: &mut [T]);

    /// Coordinates of predictions in which the Fisher metric is flat: their derivative is
    /// [`metric_root`](Likelihood::metric_root). Masked entries hold zero.
    fn coordinate(&self, prediction: &[T], out: &mut [T]);

    /// `(d - p) / sigma`, which scatters by about one if the prediction is right; zero where masked.
    fn residual(&self, prediction: &[T], out: &mut [T]);

    /// Data drawn from `L(. | p)`; masked entries hold zero.
    fn simulate(&self, prediction: &[T], stream: Stream) -> Vec<T>;

    /// The same likelihood of other data.
    ///
    /// # Errors
    /// If the data have another length, or are impossible.
    fn with_data(&self, data: Vec<T>) -> Result<Arc<dyn Likelihood<T>>>;

    /// False if the Fisher metric is not known: [`metric_root`](Likelihood::metric_root) and its like are not to be asked for.
    fn has_metric(&self) -> bool {
        true
    }

    /// True if `-ln L` is quadratic in the prediction, so that linear models have Gaussian posteriors.
    fn is_gaussian(&self) -> bool {
        false
    }
}
