//! Gaussian noise that is correlated along a few directions.

use std::sync::Arc;

use lookback_operator::random::Stream;
use lookback_operator::{Real, Space, vector};
use nalgebra::DMatrix;

use crate::{Likelihood, Result, check};

/// `-ln L = (d - p)^T C^-1 (d - p) / 2 + ln |2 pi C| / 2` with `C = diag(sigma^2) + sum_k f_k f_k^T`; Fisher metric `C^-1`. An infinite
/// `sigma` masks the datum.
///
/// With `S = diag(1 / sigma)` and the singular values `s_k` and directions `v_k` of `F S`, the metric's root is
/// `W = (1 + sum_k ((1 + s_k^2)^(-1/2) - 1) v_k v_k^T) S`. Cost of a product: four operations for each datum and direction.
#[derive(Clone)]
pub struct CorrelatedGaussian<T: Real> {
    space: Space,
    data: Vec<T>,
    inverse: Vec<T>,
    seen: usize,
    /// Orthonormal directions in units of the noise, and their `s_k^2`.
    directions: Vec<Vec<T>>,
    powers: Vec<f64>,
}

impl<T: Real> CorrelatedGaussian<T> {
    /// Data with independent noise of standard deviation `sigma`, and besides a random amount of each of the `factors`.
    ///
    /// # Errors
    /// If a length is wrong, a `sigma` is not positive, a factor or a datum that counts is not finite, or all are masked.
    pub fn new(space: Space, data: Vec<T>, sigma: &[T], factors: &[Vec<T>]) -> Result<CorrelatedGaussian<T>> {
        check::length("noise", sigma.len(), &space)?;
        let (inverse, seen) = check::inverse_noise("noise", sigma)?;
        for factor in factors {
            check::length("a factor of the noise", factor.len(), &space)?;
            check::values("factor of the noise", factor, f64::is_finite, "it must be finite")?;
        }
        let data = check::masked_data(data, &inverse, &space)?;
        let scaled: Vec<Vec<f64>> = factors
            .iter()
            .map(|factor| factor.iter().zip(&inverse).map(|(f, w)| f.f64() * w.f64()).collect())
            .collect();
        let (directions, powers) = principal(&scaled);
        Ok(CorrelatedGaussian { space, data, inverse, seen, directions, powers })
    }

    /// `v + sum_k (gain(s_k^2) - 1) v_k v_k^T v`.
    fn stretch(&self, v: &mut [T], gain: impl Fn(f64) -> f64) {
        let along: Vec<f64> = self.directions.iter().map(|direction| vector::dot(direction, v)).collect();
        for ((direction, along), &power) in self.directions.iter().zip(along).zip(&self.powers) {
            vector::axpy((gain(power) - 1.0) * along, direction, v);
        }
    }

    fn whiten(&self, v: &mut [T]) {
        v.iter_mut().zip(&self.inverse).for_each(|(v, &w)| *v *= w);
        self.stretch(v, |power| 1.0 / (1.0 + power).sqrt());
    }

    fn whiten_adjoint(&self, v: &mut [T]) {
        self.stretch(v, |power| 1.0 / (1.0 + power).sqrt());
        v.iter_mut().zip(&self.inverse).for_each(|(v, &w)| *v *= w);
    }

    /// `p - d` where it counts, and zero elsewhere.
    fn difference(&self, prediction: &[T], out: &mut [T]) {
        for (((out, &p), &d), &w) in out.iter_mut().zip(prediction).zip(&self.data).zip(&self.inverse) {
            *out = if w > T::zero() { p - d } else { T::zero() };
        }
    }
}

/// Orthonormal directions in which the rows lie, and the sums of their squares along them.
fn principal<T: Real>(rows: &[Vec<f64>]) -> (Vec<Vec<T>>, Vec<f64>) {
    let rank = rows.len();
    if rank == 0 {
        return (Vec::new(), Vec::new());
    }
    let gram =
        DMatrix::from_fn(rank, rank, |i, j| rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum::<f64>());
    let eigen = gram.symmetric_eigen();
    let largest = eigen.eigenvalues.iter().copied().fold(0.0, f64::max);
    let mut kept = (Vec::new(), Vec::new());
    for (k, &power) in eigen.eigenvalues.iter().enumerate() {
        // Directions that are nothing but rounding.
        if power <= 1e-12 * largest || power <= 0.0 {
            continue;
        }
        let mut direction = vec![0.0; rows[0].len()];
        for (row, weight) in rows.iter().zip(eigen.eigenvectors.column(k).iter()) {
            direction.iter_mut().zip(row).for_each(|(d, r)| *d += weight * r / power.sqrt());
        }
        kept.0.push(direction.into_iter().map(T::of).collect());
        kept.1.push(power);
    }
    kept
}

impl<T: Real> Likelihood<T> for CorrelatedGaussian<T> {
    fn name(&self) -> String {
        "correlated Gaussian".into()
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
        self.difference(prediction, gradient);
        self.whiten(gradient);
        let energy = 0.5 * vector::norm2(gradient);
        self.whiten_adjoint(gradient);
        energy
    }

    fn normalisation(&self) -> f64 {
        let logs: f64 = self.inverse.iter().filter(|w| **w > T::zero()).map(|w| -w.f64().ln()).sum();
        let along: f64 = self.powers.iter().map(|power| 0.5 * power.ln_1p()).sum();
        logs + along + 0.5 * self.seen as f64 * std::f64::consts::TAU.ln()
    }

    /// Of the whitened data, which are independent: each has its share of the noise's determinant.
    fn log_densities(&self, prediction: &[T], out: &mut [f64]) {
        let mut residual = vec![T::zero(); prediction.len()];
        self.residual(prediction, &mut residual);
        let constant = self.normalisation() / self.seen as f64;
        for ((out, r), w) in out.iter_mut().zip(&residual).zip(&self.inverse) {
            *out = if *w > T::zero() { -0.5 * r.f64() * r.f64() - constant } else { f64::NAN };
        }
    }

    fn metric_root(&self, _: &[T], v: &[T], out: &mut [T]) {
        out.copy_from_slice(v);
        self.whiten(out);
    }

    fn metric_root_adjoint(&self, _: &[T], w: &[T], out: &mut [T]) {
        out.copy_from_slice(w);
        self.whiten_adjoint(out);
    }

    /// `M^(1/2) p`: the metric is the same everywhere.
    fn coordinate(&self, prediction: &[T], out: &mut [T]) {
        self.metric_root(prediction, prediction, out);
    }

    /// The whitened difference, which is independent between data.
    fn residual(&self, prediction: &[T], out: &mut [T]) {
        self.difference(prediction, out);
        self.whiten(out);
        out.iter_mut().for_each(|r| *r = -*r);
    }

    fn simulate(&self, prediction: &[T], stream: Stream) -> Vec<T> {
        let mut data = vec![T::zero(); prediction.len()];
        stream.fill_normal(&mut data);
        data.iter_mut()
            .zip(&self.inverse)
            .filter(|(_, w)| **w == T::zero())
            .for_each(|(d, _)| *d = T::zero());
        self.stretch(&mut data, |power| (1.0 + power).sqrt());
        for ((d, &p), &w) in data.iter_mut().zip(prediction).zip(&self.inverse) {
            *d = if w > T::zero() { p + *d / w } else { T::zero() };
        }
        data
    }

    fn with_data(&self, data: Vec<T>) -> Result<Arc<dyn Likelihood<T>>> {
        let data = check::masked_data(data, &self.inverse, &self.space)?;
        Ok(Arc::new(CorrelatedGaussian { data, ..self.clone() }))
    }

    fn is_gaussian(&self) -> bool {
        true
    }
}
