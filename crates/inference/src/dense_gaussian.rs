//! A Gaussian with a full covariance, and the second derivatives that it is made of.

use lookback_operator::{Real, vector};
use nalgebra::{DMatrix, SymmetricEigen};
use serde::{Deserialize, Serialize};

use crate::particle::Round;
use crate::{Error, Evaluator, Number, Result, Workers};

/// Most latents of which a full covariance is kept: its roots take `16 dim^2` bytes, and it costs `2 dim` gradients.
pub(crate) const MOST: usize = 2000;

/// `N(mean, R R^T)`, with the root `R` of the covariance and its inverse, in rows. Memory: `16 dim^2` bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DenseGaussian {
    pub mean: Vec<f64>,
    root: Vec<f64>,
    inverse: Vec<f64>,
    /// `ln det R`.
    log_volume: f64,
}

impl DenseGaussian {
    /// Of unit width around `mean`.
    pub fn unit(mean: Vec<f64>) -> DenseGaussian {
        let n = mean.len();
        let mut root = vec![0.0; n * n];
        (0..n).for_each(|i| root[i * n + i] = 1.0);
        DenseGaussian { mean, inverse: root.clone(), root, log_volume: 0.0 }
    }

    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// The same mean, and `1 / precision` for the covariance in coordinates in which that of this one is round; `tame` makes curvatures
    /// positive. By symmetric roots: where little changes, white noise leads to nearly the same place as before.
    pub fn reshaped(&self, precision: &DMatrix<f64>, tame: impl Fn(f64) -> f64) -> DenseGaussian {
        let n = self.dim();
        let eigen = SymmetricEigen::new(precision.clone());
        let tamed = eigen.eigenvalues.map(tame);
        let power = |exponent: f64| {
            let scaled = DMatrix::from_diagonal(&tamed.map(|value| value.powf(exponent)));
            &eigen.eigenvectors * scaled * eigen.eigenvectors.transpose()
        };
        let root = DMatrix::from_row_slice(n, n, &self.root) * power(-0.5);
        let inverse = power(0.5) * DMatrix::from_row_slice(n, n, &self.inverse);
        let log_volume = self.log_volume - 0.5 * tamed.iter().map(|value| value.ln()).sum::<f64>();
        let rows = |matrix: DMatrix<f64>| matrix.transpose().as_slice().to_vec();
        DenseGaussian { mean: self.mean.clone(), root: rows(root), inverse: rows(inverse), log_volume }
    }

    /// `mean + R xi`.
    pub fn place<T: Real>(&self, xi: &[f64]) -> Vec<T> {
        let offset = self.along(xi);
        self.mean.iter().zip(offset).map(|(mean, offset)| T::of(mean + offset)).collect()
    }

    /// The same around `mean + R step`.
    pub fn moved(self, step: &[f64]) -> DenseGaussian {
        DenseGaussian { mean: self.place(step), ..self }
    }

    /// `R^-1 (z - mean)`.
    pub fn whiten<T: Real>(&self, z: &[T]) -> Vec<f64> {
        let offset: Vec<f64> = z.iter().zip(&self.mean).map(|(z, mean)| z.f64() - mean).collect();
        product(&self.inverse, &offset)
    }

    /// `ln N(z)`.
    pub fn log_density<T: Real>(&self, z: &[T]) -> f64 {
        self.log_height() - 0.5 * vector::norm2(&self.whiten(z))
    }

    /// `ln N` at the mean.
    pub fn log_height(&self) -> f64 {
        -self.log_volume - 0.5 * self.dim() as f64 * std::f64::consts::TAU.ln()
    }

    /// The second derivatives of the energy at `z` in round coordinates, `R^T H R`, by central differences: two gradients a latent.
    ///
    /// # Errors
    /// If the model fails, or the energy is not finite around `z`.
    pub fn round_curvature<T: Number>(&self, workers: &Workers<'_, T>, z: &[T]) -> Result<DMatrix<f64>> {
        let n = self.dim();
        let columns = workers.map((0..n).collect(), |j, evaluator| {
            let direction: Vec<T> = self.root.chunks_exact(n).map(|row| T::of(row[j])).collect();
            let change = gradient_change(evaluator, z, &direction)?;
            Ok(self.round_gradient(&change))
        })?;
        Ok(DMatrix::from_fn(n, n, |i, j| 0.5 * (columns[i][j] + columns[j][i])))
    }
}

impl Round for DenseGaussian {
    fn along(&self, x: &[f64]) -> Vec<f64> {
        product(&self.root, x)
    }

    fn round_gradient<T: Number>(&self, gradient: &[T]) -> Vec<f64> {
        let mut out = vec![0.0; self.dim()];
        for (row, g) in self.root.chunks_exact(self.dim()).zip(gradient) {
            out.iter_mut().zip(row).for_each(|(out, r)| *out += r * g.f64());
        }
        out
    }
}

/// `A x` of a square matrix in rows.
fn product(rows: &[f64], x: &[f64]) -> Vec<f64> {
    rows.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

/// `(g(z + h v) - g(z - h v)) / (2 h)`, with a step of the cube root of the rounding along `v`, a posterior width.
fn gradient_change<T: Number>(evaluator: &mut dyn Evaluator<T>, z: &[T], v: &[T]) -> Result<Vec<T>> {
    let mut step = 2.0 * T::epsilon().f64().cbrt();
    let mut sides = [z.to_vec(), z.to_vec()];
    for _ in 0..8 {
        let mut finite = true;
        for (gradient, side) in sides.iter_mut().zip([step, -step]) {
            finite &= evaluator.energy(&vector::step(z, side, v), gradient)?.is_finite();
        }
        if finite {
            return Ok(crate::response::central_difference(&sides[0], &sides[1], step));
        }
        step *= 0.25;
    }
    Err(Error::NotConverged(
        "the energy has no second derivatives at the maximum: a wall is next to it".into(),
    ))
}

/// The Gaussian that touches the posterior at `z` to second order, in two rounds: the first finds the widths by which the second sets
/// its steps.
///
/// # Errors
/// If there are too many latents, or the model fails.
pub(crate) fn touching<T: Number>(workers: &Workers<'_, T>, z: &[T]) -> Result<DenseGaussian> {
    check_size(z.len())?;
    let mut gaussian = DenseGaussian::unit(z.iter().map(|z| z.f64()).collect());
    for _ in 0..2 {
        let curvature = gaussian.round_curvature(workers, z)?;
        // A saddle is no maximum: there, curvatures count as their size, and the samples will tell.
        gaussian = gaussian.reshaped(&curvature, |value| value.abs().max(f64::MIN_POSITIVE));
    }
    Ok(gaussian)
}

/// Refuses more latents than a full covariance can hold.
///
/// # Errors
/// [`Error::Unsuitable`].
pub(crate) fn check_size(dim: usize) -> Result<()> {
    if dim <= MOST {
        return Ok(());
    }
    Err(Error::Unsuitable(format!(
        "a full covariance of {dim} latents is too large (at most {MOST}); choose `curvature = \"fisher\"`, `mgvi` or `geovi`"
    )))
}
