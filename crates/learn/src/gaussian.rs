//! The density that a flow must beat: a Gaussian with the covariance of its training set.

use nalgebra::{Cholesky, DMatrix, DVector};

use crate::{Batch, Error, Result};

/// The mean of `ln N(x; m, C)` over `test`, with mean and covariance of `train`.
///
/// # Errors
/// If the examples do not fill all dimensions.
pub fn gaussian_log_density(train: &Batch<f32>, test: &Batch<f32>) -> Result<f64> {
    let (n, d) = (train.rows(), train.width());
    let matrix = DMatrix::from_row_iterator(n, d, train.data().iter().map(|x| f64::from(*x)));
    let mean = matrix.row_mean();
    let centred = DMatrix::from_fn(n, d, |i, j| matrix[(i, j)] - mean[j]);
    let covariance = centred.tr_mul(&centred) / n as f64;
    let cholesky = Cholesky::new(covariance)
        .ok_or_else(|| Error::Data(format!("{n} examples do not fill {d} dimensions")))?;
    let log_det = 2.0 * cholesky.l().diagonal().iter().map(|x| x.ln()).sum::<f64>();
    let chi2 = |row: &[f32]| {
        let r = DVector::from_iterator(d, row.iter().zip(mean.iter()).map(|(x, m)| f64::from(*x) - m));
        r.dot(&cholesky.solve(&r))
    };
    let sum: f64 = test.data().chunks_exact(d).map(chi2).sum();
    Ok(-0.5 * (sum / test.rows() as f64 + log_det + d as f64 * (2.0 * std::f64::consts::PI).ln()))
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};

    use super::*;

    #[test]
    fn drawn_gaussians_have_their_entropy() {
        let mut data = vec![0.0f32; 3 * 40_000];
        Stream::new(2, Purpose::Test, 0).fill_normal(&mut data);
        data.chunks_exact_mut(3).for_each(|row| {
            row[1] = 2.0 * row[1] + row[0];
            row[2] = 0.5 * row[2] + 7.0;
        });
        let x = Batch::new(3, data);
        // The determinant of the transformation is one.
        let entropy = 1.5 * (1.0 + (2.0 * std::f64::consts::PI).ln());
        let found = gaussian_log_density(&x, &x).expect("full");
        assert!((found + entropy).abs() < 0.02, "{found} {entropy}");
    }
}
