//! Covariances of few directions and a diagonal: what a decoder gets wrong, pixel with pixel.

use lookback_operator::Real;
use lookback_operator::random::{Purpose, Stream};
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::product::{Matrix, Threads, multiply};
use crate::{Batch, Error, Result};

/// `C = diag(variance) + sum_k f_k f_k^T`, with one factor `f_k` a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelError {
    /// Directions that are correlated.
    pub factors: Batch<f32>,
    /// What is left of every number's variance.
    pub variance: Vec<f32>,
}

/// Rounds of the subspace iteration.
const ROUNDS: usize = 12;

/// Least share of a number's variance that is left to itself.
const LEAST: f32 = 0.02;

impl ModelError {
    /// The covariance of residuals, one row an example: its `rank` strongest directions by subspace iteration (Halko, Martinsson &
    /// Tropp 2011, algorithm 4.4), and what is left of the variances.
    ///
    /// Residuals that are NaN are of missing numbers: they are drawn given those of the same example that are there, again and again with the
    /// covariance that was found with the last (data augmentation; Tanner & Wong 1987), so that it is that of complete examples.
    ///
    /// Cost: `24 examples width rank` multiplications; eight times that, and as often `rank^2 width` for each incomplete example, where numbers are
    /// missing. Residuals are not centred: a mean is an error too.
    ///
    /// # Errors
    /// If there are fewer examples than directions, or all residuals are zero.
    pub fn of(residuals: &Batch<f32>, rank: usize, seed: u64) -> Result<ModelError> {
        let (n, width) = (residuals.rows(), residuals.width());
        if rank >= n.min(width) {
            let message = format!("{n} residuals of {width} numbers have fewer than {rank} directions");
            return Err(Error::option("rank", message));
        }
        let completed = complete(residuals, rank, seed)?;
        let residuals = completed.as_ref().unwrap_or(residuals);
        let mut total = vec![0.0f64; width];
        for row in residuals.data().chunks_exact(width) {
            total.iter_mut().zip(row).for_each(|(t, r)| *t += f64::from(*r).powi(2) / n as f64);
        }
        if !(total.iter().sum::<f64>() > 0.0) {
            return Err(Error::Data(
                "all residuals are zero: nothing can be learned of the model's error".into(),
            ));
        }
        Ok(ModelError::with_total(strongest(residuals, rank, seed), &total))
    }

    /// With these factors, and variances that are these in all.
    fn with_total(factors: Batch<f32>, total: &[f64]) -> ModelError {
        let mean = total.iter().sum::<f64>() / total.len() as f64;
        let mut variance: Vec<f32> = total.iter().map(|&t| t as f32).collect();
        for factor in factors.data().chunks_exact(total.len()).take(factors.rows()) {
            variance.iter_mut().zip(factor).for_each(|(v, f)| *v -= f * f);
        }
        let least = |total: f64| LEAST * (total.max(1e-3 * mean)) as f32;
        variance.iter_mut().zip(total).for_each(|(v, &t)| *v = v.max(least(t)));
        ModelError { factors, variance }
    }

    /// The error of the decoder alone, where residuals held independent noise of this variance for each number, too.
    pub fn less_noise(self, noise: &[f64]) -> ModelError {
        let total = self.diagonal().variance;
        // What is left is at least a share of what there was.
        let left = |(&total, &noise): (&f32, &f64)| {
            let total = f64::from(total);
            (total - noise).max(f64::from(LEAST) * total)
        };
        let left: Vec<f64> = total.iter().zip(noise).map(left).collect();
        ModelError::with_total(self.factors, &left)
    }

    /// Number of correlated directions.
    pub fn rank(&self) -> usize {
        self.factors.rows()
    }

    /// Products with the inverse.
    ///
    /// # Errors
    /// If a variance is not above zero.
    pub fn precision(&self) -> Result<Precision> {
        let wide = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let factors: Vec<Vec<f64>> = (0..self.rank()).map(|k| wide(self.factors.row(k))).collect();
        Precision::new(&wide(&self.variance), &factors)
    }

    /// The same variances without correlations.
    pub fn diagonal(&self) -> ModelError {
        let mut variance = self.variance.clone();
        for factor in self.factors.data().chunks_exact(variance.len()) {
            variance.iter_mut().zip(factor).for_each(|(v, f)| *v += f * f);
        }
        ModelError { factors: Batch::zeros(0, variance.len()), variance }
    }
}

/// Rounds in which missing residuals are drawn.
const COMPLETIONS: u32 = 8;

/// Mean squares of the residuals that are there (the others are NaN): of all, and of each number; of one that is never there nothing is known
/// but what the others are like.
pub(crate) fn mean_squares(residuals: &Batch<f32>) -> (f64, Vec<f64>) {
    let mut sums = vec![(0.0, 0usize); residuals.width()];
    for row in residuals.data().chunks_exact(residuals.width()) {
        for (sum, r) in sums.iter_mut().zip(row).filter(|(_, r)| !r.is_nan()) {
            *sum = (sum.0 + f64::from(*r).powi(2), sum.1 + 1);
        }
    }
    let seen = sums.iter().map(|sum| sum.1).sum::<usize>();
    let all = sums.iter().map(|sum| sum.0).sum::<f64>() / seen.max(1) as f64;
    let each = |(sum, count): (f64, usize)| if count > 0 { sum / count as f64 } else { all };
    (all, sums.into_iter().map(each).collect())
}

/// Residuals with draws in place of those that are missing, if any are.
fn complete(residuals: &Batch<f32>, rank: usize, seed: u64) -> Result<Option<Batch<f32>>> {
    let width = residuals.width();
    if !residuals.data().iter().any(|r| r.is_nan()) {
        return Ok(None);
    }
    let (mean, squares) = mean_squares(residuals);
    let mut error = ModelError {
        factors: Batch::zeros(0, width),
        variance: squares.iter().map(|square| square.max(1e-12 * mean).max(1e-30) as f32).collect(),
    };
    let mut filled = residuals.clone();
    for round in 0..COMPLETIONS {
        let stream = Stream::new(seed, Purpose::Training, 1 << 22 | round);
        let draws = (width + rank) as u64;
        let fill = |(row, filled): (usize, &mut [f32])| {
            let mut at = row as u64 * draws;
            let mut next = || {
                at += 1;
                stream.normal(2 * at)
            };
            error.fill(residuals.row(row), filled, &mut next)
        };
        filled.data_mut().par_chunks_exact_mut(width).enumerate().try_for_each(fill)?;
        if round + 1 < COMPLETIONS {
            error = ModelError::of(&filled, rank, seed)?;
        }
    }
    Ok(Some(filled))
}

impl ModelError {
    /// Draws the missing residuals of an example given the others: `w_m + C_ms C_ss^-1 (r_s - w_s)` with `w` drawn from the covariance (Hoffman & Ribak 1991).
    fn fill(&self, residuals: &[f32], filled: &mut [f32], next: &mut impl FnMut() -> f64) -> Result<()> {
        let (seen, missing): (Vec<usize>, Vec<usize>) =
            (0..residuals.len()).partition(|&i| !residuals[i].is_nan());
        if missing.is_empty() {
            return Ok(());
        }
        let along: Vec<f64> = (0..self.rank()).map(|_| next()).collect();
        let mut drawn: Vec<f64> = self.variance.iter().map(|v| f64::from(*v).sqrt() * next()).collect();
        let factor = |k: usize, i: usize| f64::from(self.factors.row(k)[i]);
        for (k, along) in along.iter().enumerate() {
            drawn.iter_mut().enumerate().for_each(|(i, drawn)| *drawn += along * factor(k, i));
        }
        let mut towards = vec![0.0; self.rank()];
        if self.rank() > 0 && !seen.is_empty() {
            let diagonal: Vec<f64> = seen.iter().map(|&i| f64::from(self.variance[i])).collect();
            let factors: Vec<Vec<f64>> =
                (0..self.rank()).map(|k| seen.iter().map(|&i| factor(k, i)).collect()).collect();
            let off: Vec<f64> = seen.iter().map(|&i| f64::from(residuals[i]) - drawn[i]).collect();
            let off = Precision::new(&diagonal, &factors)?.apply(&off);
            for (towards, factor) in towards.iter_mut().zip(&factors) {
                *towards = factor.iter().zip(&off).map(|(f, off)| f * off).sum();
            }
        }
        for i in missing {
            let moved: f64 = towards.iter().enumerate().map(|(k, towards)| towards * factor(k, i)).sum();
            filled[i] = (drawn[i] + moved) as f32;
        }
        Ok(())
    }
}

/// The eigenvectors of `R^T R / n` with the largest eigenvalues, times their roots, a row each.
fn strongest(residuals: &Batch<f32>, rank: usize, seed: u64) -> Batch<f32> {
    let (n, width) = (residuals.rows(), residuals.width());
    if rank == 0 {
        return Batch::zeros(0, width);
    }
    let matrix = Matrix::new(residuals.data(), n, width);
    let mut basis = vec![0.0f32; width * rank];
    Stream::new(seed, Purpose::Training, 3).fill_normal(&mut basis);
    let mut along = vec![0.0f32; n * rank];
    for _ in 0..ROUNDS {
        basis = orthonormal(&basis, width, rank);
        multiply(&mut along, false, matrix, Matrix::new(&basis, width, rank), Threads::All);
        multiply(&mut basis, false, matrix.transposed(), Matrix::new(&along, n, rank), Threads::All);
    }
    basis = orthonormal(&basis, width, rank);
    multiply(&mut along, false, matrix, Matrix::new(&basis, width, rank), Threads::All);
    let mut gram = vec![0.0f32; rank * rank];
    let along = Matrix::new(&along, n, rank);
    multiply(&mut gram, false, along.transposed(), along, Threads::All);
    let gram = DMatrix::from_fn(rank, rank, |i, j| f64::from(gram[i * rank + j]) / n as f64);
    let eigen = gram.symmetric_eigen();
    let mut order: Vec<usize> = (0..rank).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let mut factors = Batch::zeros(rank, width);
    for (row, &which) in order.iter().enumerate() {
        let size = eigen.eigenvalues[which].max(0.0).sqrt();
        for (place, factor) in factors.row_mut(row).iter_mut().enumerate() {
            let sum: f64 =
                (0..rank).map(|k| f64::from(basis[place * rank + k]) * eigen.eigenvectors[(k, which)]).sum();
            *factor = (size * sum) as f32;
        }
    }
    factors
}

fn orthonormal(basis: &[f32], width: usize, rank: usize) -> Vec<f32> {
    let matrix = DMatrix::from_fn(width, rank, |i, k| f64::from(basis[i * rank + k]));
    let q = matrix.qr().q();
    (0..width * rank).map(|at| q[(at / rank, at % rank)] as f32).collect()
}

/// Products with the inverse of `C = diag(d) + F^T F` (Woodbury), for the numbers that were seen.
#[derive(Debug, Clone)]
pub struct Precision {
    inverse: Vec<f64>,
    /// Rows of `F` over the diagonal.
    weighted: DMatrix<f64>,
    /// Of `1 + F d^-1 F^T`.
    small: Cholesky<f64, Dyn>,
    log_det: f64,
}

impl Precision {
    /// For a diagonal, all above zero, and factors, one a row.
    ///
    /// Cost: `rank^2` times the length, once.
    ///
    /// # Errors
    /// If a number of the diagonal is not above zero.
    pub fn new(diagonal: &[f64], factors: &[Vec<f64>]) -> Result<Precision> {
        if let Some(at) = diagonal.iter().position(|d| !(*d > 0.0 && d.is_finite())) {
            return Err(Error::Data(format!("variance {at} is {}: it must be above zero", diagonal[at])));
        }
        let (rank, n) = (factors.len(), diagonal.len());
        let inverse: Vec<f64> = diagonal.iter().map(|d| 1.0 / d).collect();
        let weighted = DMatrix::from_fn(rank, n, |k, i| factors[k][i] * inverse[i]);
        let plain = DMatrix::from_fn(rank, n, |k, i| factors[k][i]);
        let small = DMatrix::identity(rank, rank) + &weighted * plain.transpose();
        let small =
            Cholesky::new(small).ok_or_else(|| Error::Data("the model's error is not finite".into()))?;
        let log_det = diagonal.iter().map(|d| d.ln()).sum::<f64>()
            + 2.0 * small.l().diagonal().iter().map(|x| x.ln()).sum::<f64>();
        Ok(Precision { inverse, weighted, small, log_det })
    }

    /// `C^-1 r`.
    pub fn apply<T: Real>(&self, r: &[T]) -> Vec<f64> {
        let mut out: Vec<f64> = r.iter().zip(&self.inverse).map(|(r, i)| r.f64() * i).collect();
        if self.weighted.nrows() > 0 {
            let along = &self.weighted * DVector::from_iterator(r.len(), r.iter().map(|r| r.f64()));
            let back = self.weighted.tr_mul(&self.small.solve(&along));
            out.iter_mut().zip(back.iter()).for_each(|(out, back)| *out -= back);
        }
        out
    }

    /// `a^T (1 + F d^-1 F^T)^-1 a`: what is left unknown of the product of `a` with the standard normal numbers that the factors carry,
    /// once numbers with this covariance are known.
    pub fn remaining(&self, a: &[f64]) -> f64 {
        if a.is_empty() {
            return 0.0;
        }
        let a = DVector::from_column_slice(a);
        a.dot(&self.small.solve(&a))
    }

    /// `ln |C|`.
    pub fn log_det(&self) -> f64 {
        self.log_det
    }

    /// `ln N(r; 0, C)`.
    pub fn log_density<T: Real>(&self, r: &[T]) -> f64 {
        let chi2: f64 = self.apply(r).iter().zip(r).map(|(a, r)| a * r.f64()).sum();
        -0.5 * (chi2 + self.log_det + r.len() as f64 * (2.0 * std::f64::consts::PI).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Residuals with three known directions and a known diagonal.
    fn drawn(n: usize) -> (Batch<f32>, Vec<Vec<f64>>, Vec<f64>) {
        let width = 20;
        let stream = Stream::new(4, Purpose::Test, 0);
        let factors: Vec<Vec<f64>> = (0..3u32)
            .map(|k| (0..width).map(|i| (3.0 - f64::from(k)) * ((i * (k + 1)) as f64 * 0.7).sin()).collect())
            .collect();
        let diagonal: Vec<f64> = (0..width).map(|i| 0.5 + 0.05 * f64::from(i)).collect();
        let mut at = 0;
        let mut next = || {
            at += 1;
            stream.normal(at)
        };
        let mut rows = Vec::new();
        for _ in 0..n {
            let along: Vec<f64> = (0..3).map(|_| next()).collect();
            for i in 0..width as usize {
                let sum: f64 = (0..3).map(|k| along[k] * factors[k][i]).sum();
                rows.push((sum + diagonal[i].sqrt() * next()) as f32);
            }
        }
        (Batch::new(width as usize, rows), factors, diagonal)
    }

    #[test]
    fn a_covariance_is_found_again() {
        let (residuals, factors, diagonal) = drawn(20_000);
        let found = ModelError::of(&residuals, 3, 1).expect("found");
        for i in 0..20 {
            for j in 0..20 {
                let expected: f64 =
                    factors.iter().map(|f| f[i] * f[j]).sum::<f64>() + if i == j { diagonal[i] } else { 0.0 };
                let sum: f64 =
                    (0..3).map(|k| f64::from(found.factors.row(k)[i] * found.factors.row(k)[j])).sum();
                let value = sum + if i == j { f64::from(found.variance[i]) } else { 0.0 };
                // Sampling noise of a covariance of about 10 with 20,000 rows is 0.1; a diagonal within the directions adds 0.4.
                assert!((value - expected).abs() < 0.6, "{i} {j}: {value} for {expected}");
            }
        }
        let plain = found.diagonal();
        assert_eq!((plain.rank(), ModelError::of(&residuals, 0, 1).expect("found").rank()), (0, 0));
        let total: f32 = residuals.data().iter().skip(7).step_by(20).map(|r| r * r).sum::<f32>() / 20_000.0;
        assert!((plain.variance[7] / total - 1.0).abs() < 1e-3);
    }

    /// With two of five numbers missing the covariance is that of complete examples, and not what zeros in their places would make of it.
    #[test]
    fn missing_residuals_do_not_count() {
        let (mut residuals, factors, diagonal) = drawn(6000);
        let stream = Stream::new(5, Purpose::Test, 0);
        for (at, r) in residuals.data_mut().iter_mut().enumerate() {
            if stream.uniform(at as u64) < 0.4 {
                *r = f32::NAN;
            }
        }
        let covariance = |of: &ModelError, i: usize, j: usize| {
            let sum: f64 = (0..3).map(|k| f64::from(of.factors.row(k)[i] * of.factors.row(k)[j])).sum();
            sum + if i == j { f64::from(of.variance[i]) } else { 0.0 }
        };
        let off = |of: &ModelError| {
            let (mut off, mut all) = (0.0, 0.0);
            for (i, j) in (0..20).flat_map(|i| (0..20).map(move |j| (i, j))) {
                let expected: f64 =
                    factors.iter().map(|f| f[i] * f[j]).sum::<f64>() + if i == j { diagonal[i] } else { 0.0 };
                off += (covariance(of, i, j) - expected).powi(2);
                all += expected.powi(2);
            }
            (off / all).sqrt()
        };
        let found = off(&ModelError::of(&residuals, 3, 1).expect("found"));
        let zeros = residuals.map(|r: &mut f32| *r = if r.is_nan() { 0.0 } else { *r });
        let with_zeros = off(&ModelError::of(&zeros, 3, 1).expect("found"));
        assert!(found < 0.08 && with_zeros > 0.4, "{found} {with_zeros}");
    }

    #[test]
    fn noise_is_taken_off_the_diagonal() {
        let (residuals, _, diagonal) = drawn(20_000);
        let noise: Vec<f64> = diagonal.iter().map(|d| 3.0 * d).collect();
        let stream = Stream::new(6, Purpose::Test, 0);
        let mut noisy = residuals.clone();
        for (at, r) in noisy.data_mut().iter_mut().enumerate() {
            *r += (noise[at % 20].sqrt() * stream.normal(2 * at as u64)) as f32;
        }
        let of = |residuals: &Batch<f32>| ModelError::of(residuals, 3, 1).expect("found");
        let (plain, less) = (of(&residuals).diagonal(), of(&noisy).less_noise(&noise).diagonal());
        for (plain, less) in plain.variance.iter().zip(&less.variance) {
            assert!((plain - less).abs() < 0.08 * plain + 0.05, "{plain} {less}");
        }
        // At least a share of what there was is left.
        let all = of(&noisy).less_noise(&[1e9; 20]);
        assert!(all.variance.iter().all(|v| *v > 0.0));
    }

    #[test]
    fn the_inverse_is_that_of_the_dense_matrix() {
        let (_, factors, diagonal) = drawn(1);
        let n = diagonal.len();
        let precision = Precision::new(&diagonal, &factors).expect("positive");
        let dense = DMatrix::from_fn(n, n, |i, j| {
            factors.iter().map(|f| f[i] * f[j]).sum::<f64>() + if i == j { diagonal[i] } else { 0.0 }
        });
        let r: Vec<f64> = (0..n).map(|i| (i as f64 * 1.3).cos()).collect();
        let cholesky = Cholesky::new(dense).expect("positive");
        let expected = cholesky.solve(&DVector::from_column_slice(&r));
        precision.apply(&r).iter().zip(expected.iter()).for_each(|(a, b)| assert!((a - b).abs() < 1e-10));
        let log_det = 2.0 * cholesky.l().diagonal().iter().map(|x| x.ln()).sum::<f64>();
        assert!((precision.log_det() - log_det).abs() < 1e-10);
        let plain = Precision::new(&diagonal, &[]).expect("positive");
        plain
            .apply(&r)
            .iter()
            .zip(r.iter().zip(&diagonal))
            .for_each(|(a, (r, d))| assert!((a - r / d).abs() < 1e-12));
    }
}
