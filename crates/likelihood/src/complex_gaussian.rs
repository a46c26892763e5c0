//! Independent circular Gaussian noise on complex data, such as visibilities.

use std::sync::Arc;

use lookback_operator::random::Stream;
use lookback_operator::{Real, Space};

use crate::{Gaussian, Likelihood, Result, check};

/// `-ln L = sum |d - p|^2 / (2 sigma^2) + 2 ln sigma + ln(2 pi)`: `sigma` is the standard deviation of the real and of
/// the imaginary part (as in UVFITS, where the weight is `1 / sigma^2`).
///
/// Predictions and data are flat: `re_0, im_0, re_1, im_1, ...`. An infinite `sigma` masks both parts.
#[derive(Clone)]
pub struct ComplexGaussian<T: Real>(Gaussian<T>);

impl<T: Real> ComplexGaussian<T> {
    /// Complex data, as pairs, with noise `sigma` for each pair.
    ///
    /// # Errors
    /// As [`Gaussian::new`].
    pub fn new(space: Space, data: Vec<T>, sigma: &[T]) -> Result<ComplexGaussian<T>> {
        check::values("noise", sigma, |s| s > 0.0, check::POSITIVE)?;
        let both: Vec<T> = sigma.iter().flat_map(|&s| [s, s]).collect();
        Ok(ComplexGaussian(Gaussian::new(space, data, &both)?))
    }
}

impl<T: Real> Likelihood<T> for ComplexGaussian<T> {
    fn name(&self) -> String {
        "complex Gaussian".into()
    }

    fn space(&self) -> &Space {
        self.0.space()
    }

    fn data_count(&self) -> usize {
        self.0.data_count()
    }

    fn data(&self) -> &[T] {
        self.0.data()
    }

    fn energy(&self, prediction: &[T], gradient: &mut [T]) -> f64 {
        self.0.energy(prediction, gradient)
    }

    fn normalisation(&self) -> f64 {
        self.0.normalisation()
    }

    /// Of each real number: the real and imaginary parts are independent.
    fn log_densities(&self, prediction: &[T], out: &mut [f64]) {
        self.0.log_densities(prediction, out);
    }

    fn metric_root(&self, prediction: &[T], v: &[T], out: &mut [T]) {
        self.0.metric_root(prediction, v, out);
    }

    fn metric_root_adjoint(&self, prediction: &[T], w: &[T], out: &mut [T]) {
        self.0.metric_root_adjoint(prediction, w, out);
    }

    fn coordinate(&self, prediction: &[T], out: &mut [T]) {
        self.0.coordinate(prediction, out);
    }

    fn residual(&self, prediction: &[T], out: &mut [T]) {
        self.0.residual(prediction, out);
    }

    fn simulate(&self, prediction: &[T], stream: Stream) -> Vec<T> {
        self.0.simulate(prediction, stream)
    }

    fn with_data(&self, data: Vec<T>) -> Result<Arc<dyn Likelihood<T>>> {
        self.0.with_data(data)
    }

    fn is_gaussian(&self) -> bool {
        true
    }
}
