//! Independent Gaussian noise with a standard deviation for each datum.

use std::sync::Arc;

use lookback_operator::random::Stream;
use lookback_operator::{Real, Space};
use rayon::prelude::*;

use crate::{Likelihood, Result, check};

/// Entries per task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = lookback_operator::vector::CHUNK;

/// `-ln L = sum (d - p)^2 / (2 sigma^2) + ln sigma + ln(2 pi) / 2`; Fisher metric `1 / sigma^2`. An infinite `sigma`
/// masks the datum.
#[derive(Clone)]
pub struct Gaussian<T: Real> {
    space: Space,
    data: Vec<T>,
    inverse: Vec<T>,
    seen: usize,
}

impl<T: Real> Gaussian<T> {
    /// Data with noise of standard deviation `sigma`.
    ///
    /// # Errors
    /// If a length is wrong, a `sigma` is not positive, a datum that counts is not finite, or all are masked.
    pub fn new(space: Space, data: Vec<T>, sigma: &[T]) -> Result<Gaussian<T>> {
        check::length("noise", sigma.len(), &space)?;
        let (inverse, seen) = check::inverse_noise("noise", sigma)?;
        Ok(Gaussian { data: check::masked_data(data, &inverse, &space)?, space, inverse, seen })
    }

    fn scale(&self, v: &[T], out: &mut [T]) {
        let chunks = out.par_chunks_mut(CHUNK).zip(v.par_chunks(CHUNK)).zip(self.inverse.par_chunks(CHUNK));
        chunks.for_each(|((out, v), w)| {
            out.iter_mut().zip(v).zip(w).for_each(|((out, &v), &w)| *out = v * w);
        });
    }
}

impl<T: Real> Likelihood<T> for Gaussian<T> {
    fn name(&self) -> String {
        "Gaussian".into()
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
        let chunks = gradient
            .par_chunks_mut(CHUNK)
            .zip(prediction.par_chunks(CHUNK))
            .zip(self.data.par_chunks(CHUNK).zip(self.inverse.par_chunks(CHUNK)));
        let partial = chunks.map(|((gradient, prediction), (data, inverse))| {
            let mut sum = 0.0;
            for (((g, &p), &d), &w) in gradient.iter_mut().zip(prediction).zip(data).zip(inverse) {
                // What a mask hides does not count, whatever is predicted there.
                let residual = if w > T::zero() { (p - d) * w } else { T::zero() };
                *g = residual * w;
                sum += residual.f64() * residual.f64();
            }
            sum
        });
        0.5 * partial.collect::<Vec<f64>>().into_iter().sum::<f64>()
    }

    fn normalisation(&self) -> f64 {
        let logs: f64 = self.inverse.iter().filter(|w| **w > T::zero()).map(|w| -w.f64().ln()).sum();
        logs + 0.5 * self.seen as f64 * std::f64::consts::TAU.ln()
    }

    fn log_densities(&self, prediction: &[T], out: &mut [f64]) {
        let constant = 0.5 * std::f64::consts::TAU.ln();
        for (((out, &p), &d), &w) in out.iter_mut().zip(prediction).zip(&self.data).zip(&self.inverse) {
            let residual = ((p - d) * w).f64();
            *out = if w > T::zero() { w.f64().ln() - 0.5 * residual * residual - constant } else { f64::NAN };
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
        let mut data = vec![T::zero(); prediction.len()];
        stream.fill_normal(&mut data);
        for ((d, &p), &w) in data.iter_mut().zip(prediction).zip(&self.inverse) {
            *d = if w > T::zero() { p + *d / w } else { T::zero() };
        }
        data
    }

    fn with_data(&self, data: Vec<T>) -> Result<Arc<dyn Likelihood<T>>> {
        let data = check::masked_data(data, &self.inverse, &self.space)?;
        Ok(Arc::new(Gaussian { data, ..self.clone() }))
    }

    fn is_gaussian(&self) -> bool {
        true
    }
}
