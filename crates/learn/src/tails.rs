//! Errors of a reconstruction with the law that a decoder's errors have, in place of Gaussian ones.

use crate::residual_law::normal_share;
use crate::{NumberLaw, Precision, ResidualLaw, Result};

/// What the errors of an example's numbers are, all in the network's units.
#[derive(Debug, Clone)]
pub struct Tails {
    /// Standard deviations of the Gaussian errors, before the data.
    std: Vec<f64>,
    /// Share of their variances that the data leave.
    left: Vec<f64>,
}

/// Where data leave nearly all of a variance, the number has its law as it is; where they leave little, they decide alone.
const NEARLY_ALL: f64 = 0.999;
const LITTLE: f64 = 0.05;

/// Normal numbers at which a law meets its datum: evenly from `-FAR` to `FAR`.
const GRID: usize = 49;
const FAR: f64 = 3.6;

impl Tails {
    /// For the error `F^T a + sqrt(d) b` of every number, with the variances of what is independent and of what was seen of it with its
    /// noise (NaN where nothing was seen), and the factors, likewise.
    ///
    /// Of an error's variance, data leave `d k + k^2 F_i^T (1 + sum_j F_j F_j^T / s_j)^-1 F_i`, with `s` the variance of a datum given `a` and `k = 1 - d / s` (one
    /// where nothing was seen). Where a blur mixes numbers, as if each had been seen alone.
    ///
    /// # Errors
    /// If the variance of a datum is not above zero.
    pub fn new(
        (variance, factors): (&[f32], &[Vec<f32>]),
        (seen_variance, seen_factors): (&[f32], &[Vec<f32>]),
        noise: f32,
    ) -> Result<Tails> {
        let seen: Vec<usize> = (0..variance.len()).filter(|&i| !seen_variance[i].is_nan()).collect();
        let datum = |i: usize| f64::from(seen_variance[i]) + f64::from(noise);
        let diagonal: Vec<f64> = seen.iter().map(|&i| datum(i)).collect();
        let rows = seen_factors.iter().map(|row| seen.iter().map(|&i| f64::from(row[i])).collect());
        let precision = Precision::new(&diagonal, &rows.collect::<Vec<Vec<f64>>>())?;
        let (mut std, mut left) = (Vec::new(), Vec::new());
        for (i, &variance) in variance.iter().enumerate() {
            let independent = f64::from(variance);
            let along: Vec<f64> = factors.iter().map(|factor| f64::from(factor[i])).collect();
            let all = independent + along.iter().map(|f| f * f).sum::<f64>();
            let unknown = if seen_variance[i].is_nan() {
                1.0
            } else {
                1.0 - (f64::from(seen_variance[i]) / datum(i)).min(1.0)
            };
            let remaining = independent * unknown + unknown * unknown * precision.remaining(&along);
            std.push(all.sqrt());
            left.push(if all > 0.0 { (remaining / all).min(1.0) } else { 0.0 });
        }
        Ok(Tails { std, left })
    }

    /// Number `i`, where `decoded` was decoded, from its Gaussian error and the mean of that given the data.
    ///
    /// The data are to the error as a measurement with Gaussian noise that would leave the same mean and variance; the number is drawn
    /// from its law times that likelihood, at the same quantile as the Gaussian error is.
    pub fn number(&self, law: &ResidualLaw, i: usize, decoded: f64, (mean, error): (f64, f64)) -> f64 {
        let (std, left) = (self.std[i], self.left[i]);
        if !(std > 0.0) || left < LITTLE {
            return decoded + error;
        }
        let law = law.given(decoded as f32, std as f32);
        if left > NEARLY_ALL {
            return f64::from(law.value((error / std) as f32));
        }
        let quantile = normal_share((error - mean) / (left.sqrt() * std));
        let noise = std * (left / (1.0 - left)).sqrt();
        measured(&law, decoded + mean / (1.0 - left), noise, quantile)
    }
}

/// The number at a quantile of a law times the likelihood of a measurement.
fn measured(law: &NumberLaw<'_>, datum: f64, noise: f64, quantile: f64) -> f64 {
    let place = |k: usize| FAR * (2.0 * k as f64 / (GRID - 1) as f64 - 1.0);
    let energy = |k: usize| {
        let g = place(k);
        0.5 * (g * g + ((f64::from(law.value(g as f32)) - datum) / noise).powi(2))
    };
    let energies: [f64; GRID] = std::array::from_fn(energy);
    let lowest = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let densities = energies.map(|energy| (lowest - energy).exp());
    let wanted = quantile * densities.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).sum::<f64>();
    let mut below = 0.0;
    for (k, pair) in densities.windows(2).enumerate() {
        let here = 0.5 * (pair[0] + pair[1]);
        if below + here >= wanted {
            let part = (wanted - below) / here.max(f64::MIN_POSITIVE);
            return f64::from(law.value((place(k) + part * (place(k + 1) - place(k))) as f32));
        }
        below += here;
    }
    f64::from(law.value(FAR as f32))
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};
    use nalgebra::{DMatrix, DVector};

    use super::*;
    use crate::residual_law::Seen;

    fn uniform(i: usize, which: u64) -> f64 {
        Stream::new(8, Purpose::Test, 0).uniform(4 * i as u64 + which)
    }

    /// The law of numbers `f(decoded, standard normal, uniform)`.
    fn law(f: impl Fn(f64, f64, f64) -> f64) -> ResidualLaw {
        let normal = Stream::new(8, Purpose::Test, 1);
        let seen = |i: usize| {
            let decoded = uniform(i, 0);
            let value = f(decoded, normal.normal(i as u64), uniform(i, 2)) as f32;
            Seen { decoded: decoded as f32, spread: 0.5 + 0.01 * uniform(i, 1) as f32, value }
        };
        ResidualLaw::learn((0..400_000).map(seen).collect()).expect("a law")
    }

    /// One number with the variance 1/4 of its error, seen with this noise, or not at all.
    fn one(noise: f32) -> Tails {
        let seen = if noise.is_finite() { 0.25 } else { f32::NAN };
        Tails::new((&[0.25], &[]), (&[seen], &[]), noise * noise).expect("tails")
    }

    #[test]
    fn variances_that_data_leave_are_those_of_linear_algebra() {
        let (n, noise) = (5, 0.3);
        let variance: Vec<f32> = (0..n).map(|i| 0.1 + 0.1 * i as f32).collect();
        let factors: Vec<Vec<f32>> =
            (0..2).map(|k| (0..n).map(|i| (uniform(i, k) - 0.5) as f32).collect()).collect();
        let mut seen_variance = variance.clone();
        (seen_variance[1], seen_variance[4]) = (f32::NAN, f32::NAN);
        let tails =
            Tails::new((&variance, &factors), (&seen_variance, &factors), noise * noise).expect("tails");
        let f = DMatrix::from_fn(2, n, |k, i| f64::from(factors[k][i]));
        let d = DVector::from_iterator(n, variance.iter().map(|v| f64::from(*v)));
        let prior = DMatrix::from_diagonal(&d) + f.transpose() * &f;
        let information = (0..n).map(|i| if i == 1 || i == 4 { 0.0 } else { 1.0 / f64::from(noise * noise) });
        let information = DMatrix::from_diagonal(&DVector::from_iterator(n, information));
        let posterior = (prior.clone().try_inverse().expect("inverse") + information).try_inverse();
        let posterior = posterior.expect("inverse");
        for i in 0..n {
            let expected = posterior[(i, i)] / prior[(i, i)];
            assert!((tails.left[i] - expected).abs() < 1e-6, "{i}: {} {expected}", tails.left[i]);
        }
    }

    /// With a Gaussian law, numbers are those with Gaussian errors, whatever is seen of them.
    #[test]
    fn a_gaussian_law_changes_nothing() {
        let law = law(|decoded, normal, _| decoded + 0.505 * normal);
        for noise in [f32::INFINITY, 1.0, 0.2, 0.01] {
            let tails = one(noise);
            for (mean, z) in [(0.2, -1.4), (-0.4, 0.0), (0.1, 0.9)] {
                let left = tails.left[0];
                let mean = mean * (1.0 - left);
                let error = mean + left.sqrt() * 0.5 * z;
                let found = tails.number(&law, 0, 0.5, (mean, error));
                assert!((found - 0.5 - error).abs() < 0.02, "{noise} {mean} {z}: {found} {}", 0.5 + error);
            }
        }
    }

    /// Half of the numbers are zero, the others even between 0 and 2: the posterior of a number that was measured as one is bimodal, and its shares
    /// are those of Bayes' theorem, to two in a hundred.
    #[test]
    fn a_measured_number_follows_bayes() {
        let law = law(|_, _, u| (4.0 * u - 2.0).max(0.0));
        let (noise, datum, decoded) = (0.6, 1.0, 0.5);
        let tails = one(noise as f32);
        let left = tails.left[0];
        let mean = (1.0 - left) * (datum - decoded);
        let draws: Vec<f64> = (0..20_000)
            .map(|i| {
                let z = Stream::new(8, Purpose::Test, 2).normal(i);
                tails.number(&law, 0, decoded, (mean, mean + left.sqrt() * 0.5 * z))
            })
            .collect();
        let likelihood = |x: f64| (-0.5 * ((x - datum) / noise).powi(2)).exp();
        let integral = |to: f64| {
            (0..4000).map(|i| likelihood((f64::from(i) + 0.5) * to / 4000.0)).sum::<f64>() * to / 4000.0
        };
        let zero = 0.5 * likelihood(0.0);
        let all = zero + 0.25 * integral(2.0);
        for at in [0.05, 0.5, 1.0, 1.5] {
            let expected = (zero + 0.25 * integral(at)) / all;
            let found = draws.iter().filter(|&&x| x <= at).count() as f64 / draws.len() as f64;
            assert!((found - expected).abs() < 0.02, "{at}: {found} {expected}");
        }
    }
}
