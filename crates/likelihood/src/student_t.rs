//! Noise with heavy tails, for data with outliers.

use std::sync::Arc;

use lookback_operator::random::Stream;
use lookback_operator::{Real, Space};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::gamma::ln_gamma;

use crate::{Likelihood, Result, check};

/// `-ln L = sum (nu + 1)/2 ln(1 + r^2 / nu)` with `r = (d - p) / sigma` and `nu` degrees of freedom; Fisher metric
/// `(nu + 1) / (nu + 3) / sigma^2` (Lange, Little & Taylor 1989). An infinite `sigma` masks the datum.
#[derive(Clone)]
pub struct StudentT<T: Real> {
    space: Space,
    data: Vec<T>,
    inverse: Vec<T>,
    seen: usize,
    dof: f64,
}

impl<T: Real> StudentT<T> {
    /// Data with noise of scale `sigma` and `dof` degrees of freedom.
    ///
    /// # Errors
    /// As [`Gaussian::new`](crate::Gaussian::new), or if `dof` is not positive.
    pub fn new(space: Space, data: Vec<T>, sigma: &[T], dof: f64) -> Result<StudentT<T>> {
        check::values(
            "degrees of freedom",
            &[dof],
            |nu| nu > 0.0 && nu.is_finite(),
            "they must be positive and finite",
        )?;
        check::length("noise", sigma.len(), &space)?;
        let (inverse, seen) = check::inverse_noise("noise", sigma)?;
        Ok(StudentT { data: check::masked_data(data, &inverse, &space)?, space, inverse, seen, dof })
    }

    /// What `-ln L` of a datum of unit scale holds besides its shape.
    fn constant(&self) -> f64 {
        ln_gamma(0.5 * self.dof) - ln_gamma(0.5 * (self.dof + 1.0))
            + 0.5 * (self.dof * std::f64::consts::PI).ln()
    }

    fn scale(&self, v: &[T], out: &mut [T]) {
        let factor = T::of(((self.dof + 1.0) / (self.dof + 3.0)).sqrt());
        out.iter_mut().zip(v).zip(&self.inverse).for_each(|((out, &v), &w)| *out = v * w * factor);
    }
}

impl<T: Real> Likelihood<T> for StudentT<T> {
    fn name(&self) -> String {
        format!("Student-t with {} degrees of freedom", self.dof)
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn data_count(&self) -> usize {
        self.seen
    }

    fn data(&self) -> &[T] {
        &self.data
    }

    fn energy(&self, prediction: &[T], gradient: &mut [T]) -> f64 {
        let mut sum = 0.0;
        for (((g, &p), &d), &w) in gradient.iter_mut().zip(prediction).zip(&self.data).zip(&self.inverse) {
            // What a mask hides does not count, whatever is predicted there.
            let r = if w > T::zero() { ((p - d) * w).f64() } else { 0.0 };
            sum += 0.5 * (self.dof + 1.0) * (r * r / self.dof).ln_1p();
            *g = T::of((self.dof + 1.0) * r / (self.dof + r * r)) * w;
        }
        sum
    }

    fn normalisation(&self) -> f64 {
        let logs: f64 = self.inverse.iter().filter(|w| **w > T::zero()).map(|w| -w.f64().ln()).sum();
        logs + self.seen as f64 * self.constant()
    }

    fn log_densities(&self, prediction: &[T], out: &mut [f64]) {
        let constant = self.constant();
        for (((out, &p), &d), &w) in out.iter_mut().zip(prediction).zip(&self.data).zip(&self.inverse) {
            let r = ((p - d) * w).f64();
            let shape = 0.5 * (self.dof + 1.0) * (r * r / self.dof).ln_1p();
            *out = if w > T::zero() { w.f64().ln() - shape - constant } else { f64::NAN };
        }
    }

    fn metric_root(&self, _: &[T], v: &[T], out: &mut [T]) {
        self.scale(v, out);
    }

    fn metric_root_adjoint(&self, _: &[T], w: &[T], out: &mut [T]) {
        self.scale(w, out);
    }

    /// `M^(1/2) p`: the metric is the same everywhere.
    fn coordinate(&self, prediction: &[T], out: &mut [T]) {
        self.scale(prediction, out);
    }

    fn residual(&self, prediction: &[T], out: &mut [T]) {
        for (((out, &p), &d), &w) in out.iter_mut().zip(prediction).zip(&self.data).zip(&self.inverse) {
            *out = if w > T::zero() { (d - p) * w } else { T::zero() };
        }
    }

    fn simulate(&self, prediction: &[T], stream: Stream) -> Vec<T> {
        let Ok(law) = StudentsT::new(0.0, 1.0, self.dof) else { return vec![T::nan(); prediction.len()] };
        let draw = |(i, (&p, &w)): (usize, (&T, &T))| {
            if w > T::zero() { p + T::of(law.inverse_cdf(stream.uniform(i as u64))) / w } else { T::zero() }
        };
        prediction.iter().zip(&self.inverse).enumerate().map(draw).collect()
    }

    fn with_data(&self, data: Vec<T>) -> Result<Arc<dyn Likelihood<T>>> {
        let data = check::masked_data(data, &self.inverse, &self.space)?;
        Ok(Arc::new(StudentT { data, ..self.clone() }))
    }
}
