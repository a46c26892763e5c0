//! How well a model predicts data that it has not seen: leave-one-out cross-validation from posterior draws (Vehtari, Gelman & Gabry
//! 2017, Statistics and Computing 27, 1413).

use crate::importance::log_mean;
use crate::pareto::smooth_weights;

/// One datum, left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeftOut {
    /// `ln p(d_i | all other data)`: the draws weighted by `1 / p(d_i | z)`, the largest weights smoothed.
    pub elpd: f64,
    /// `ln p(d_i | all data)`: how much better the datum looks once it was seen tells how many parameters it took.
    pub seen: f64,
    /// Shape of the tail of the weights: above its [`limit`](crate::pareto::limit), the datum is so influential that its `elpd` is not to be relied on.
    pub k: f64,
}

/// Leaves out one datum, given the logarithm of its likelihood at every draw.
pub fn leave_out(log_densities: &[f64]) -> LeftOut {
    let ratios: Vec<f64> = log_densities.iter().map(|log| -log).collect();
    let smoothed = smooth_weights(&ratios);
    let largest = log_densities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let heavy = smoothed.weights.iter().zip(log_densities).filter(|(w, _)| **w != 0.0);
    let mean: f64 = heavy.map(|(w, log)| w * (log - largest).exp()).sum();
    LeftOut { elpd: largest + mean.ln(), seen: log_mean(log_densities).0, k: smoothed.k }
}

/// Sum over independent data, and its standard error: the scatter of the data times the square root of their number.
pub fn total(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (n * mean, (n * variance).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    /// `n` data `d_i ~ N(mu, 1)` with a flat prior on `mu`: the posterior is `N(mean, 1 / n)`, and that without datum `i` predicts
    /// `N(mean_(-i), 1 + 1 / (n - 1))`.
    #[test]
    fn leaving_out_is_what_a_fit_without_the_datum_says() {
        let n = 12usize;
        let data: Vec<f64> = (0..n).map(|i| f64::from(i as u32 * 7 % 12) * 0.4 - 2.0).collect();
        let mean = data.iter().sum::<f64>() / n as f64;
        let draws = Stream::new(3, Purpose::Test, 0);
        let mu: Vec<f64> = (0..40_000).map(|s| mean + draws.normal(2 * s) / (n as f64).sqrt()).collect();
        let constant = 0.5 * std::f64::consts::TAU.ln();
        for d in data {
            let logs: Vec<f64> = mu.iter().map(|mu| -0.5 * (d - mu).powi(2) - constant).collect();
            let found = leave_out(&logs);
            let without = (mean * n as f64 - d) / (n as f64 - 1.0);
            let variance = 1.0 + 1.0 / (n as f64 - 1.0);
            let exact = -0.5 * (d - without).powi(2) / variance - 0.5 * variance.ln() - constant;
            assert!((found.elpd - exact).abs() < 0.01, "{d}: {} {exact}", found.elpd);
            let variance = 1.0 + 1.0 / n as f64;
            let exact = -0.5 * (d - mean).powi(2) / variance - 0.5 * variance.ln() - constant;
            assert!((found.seen - exact).abs() < 0.01, "{d}: {} {exact}", found.seen);
            assert!(found.k < 0.5, "{}", found.k);
        }
    }

    /// A datum that only rare draws allow is told.
    #[test]
    fn an_influential_datum_has_a_heavy_tail() {
        let draws = Stream::new(3, Purpose::Test, 1);
        // Twenty times more exact than all others together.
        let logs: Vec<f64> = (0..4000).map(|s| -0.5 * 20.0 * draws.normal(2 * s).powi(2)).collect();
        assert!(leave_out(&logs).k > 0.7);
    }

    /// A datum that one draw has for impossible is impossible without it.
    #[test]
    fn an_impossible_datum_is_not_left_out() {
        let mut logs = vec![-1.0; 500];
        logs[3] = f64::NEG_INFINITY;
        let found = leave_out(&logs);
        assert!(found.elpd == f64::NEG_INFINITY && found.k == f64::INFINITY, "{found:?}");
    }

    #[test]
    fn totals_have_the_scatter_of_their_parts() {
        let (sum, error) = total(&[1.0, 2.0, 3.0, 4.0]);
        assert!((sum - 10.0).abs() < 1e-12 && (error - (4.0 * 5.0 / 3.0f64).sqrt()).abs() < 1e-12);
    }
}
