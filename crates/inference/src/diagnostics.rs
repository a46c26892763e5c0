//! Did it work? Convergence and precision of Markov chains (Vehtari et al. 2021, Bayesian Analysis 16, 667).
//!
//! Every function takes chains of equal length, oldest draw first. Figures that need more draws than there are, or
//! whose chains do not move, are NaN.

use statrs::function::erf::erfc_inv;

/// Draws of one quantity, a row for each chain.
pub type Chains = [Vec<f64>];

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn variance(x: &[f64]) -> f64 {
    let m = mean(x);
    x.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (x.len() as f64 - 1.0)
}

/// Each chain cut in two halves; an odd draw in the middle is left out.
fn split(chains: &Chains) -> Vec<Vec<f64>> {
    let half = |chain: &Vec<f64>| {
        let n = chain.len() / 2;
        [chain[..n].to_vec(), chain[chain.len() - n..].to_vec()]
    };
    chains.iter().flat_map(half).collect()
}

/// Normal scores of the ranks over all chains; ties share their mean rank (eq. 14).
fn rank_normalise(chains: &Chains) -> Vec<Vec<f64>> {
    let mut order: Vec<(f64, usize, usize)> = Vec::new();
    for (c, chain) in chains.iter().enumerate() {
        order.extend(chain.iter().enumerate().map(|(i, &x)| (x, c, i)));
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = order.len() as f64;
    let mut out: Vec<Vec<f64>> = chains.iter().map(|chain| vec![0.0; chain.len()]).collect();
    let mut first = 0;
    while first < order.len() {
        let ties = order[first..].iter().take_while(|entry| entry.0 == order[first].0).count();
        let rank = first as f64 + 0.5 * (ties as f64 + 1.0);
        let p = (rank - 0.375) / (total + 0.25);
        for &(_, c, i) in &order[first..first + ties] {
            out[c][i] = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p);
        }
        first += ties;
    }
    out
}

fn usable(chains: &Chains) -> bool {
    let n = chains.first().map_or(0, Vec::len);
    n >= 4 && chains.iter().all(|chain| chain.len() == n && chain.iter().all(|x| x.is_finite()))
}

/// `sqrt(var+ / W)` of the given chains (eq. 3).
fn plain_r_hat(chains: &Chains) -> f64 {
    let n = chains[0].len() as f64;
    let means: Vec<f64> = chains.iter().map(|chain| mean(chain)).collect();
    let within = mean(&chains.iter().map(|chain| variance(chain)).collect::<Vec<f64>>());
    let between = variance(&means);
    (((n - 1.0) / n * within + between) / within).sqrt()
}

/// Rank-normalised split R-hat: the larger of that of the draws and that of their distance from the median. Below 1.01
/// the chains agree.
pub fn r_hat(chains: &Chains) -> f64 {
    if !usable(chains) {
        return f64::NAN;
    }
    let median = quantile(&chains.concat(), 0.5);
    let folded: Vec<Vec<f64>> =
        chains.iter().map(|chain| chain.iter().map(|x| (x - median).abs()).collect()).collect();
    let bulk = plain_r_hat(&rank_normalise(&split(chains)));
    let tail = plain_r_hat(&rank_normalise(&split(&folded)));
    if bulk.is_nan() || tail.is_nan() { f64::NAN } else { bulk.max(tail) }
}

/// Effective sample size of the mean of the given chains, by Geyer's initial monotone sequence (eq. 10-13).
pub(crate) fn plain_ess(chains: &Chains) -> f64 {
    let (m, n) = (chains.len() as f64, chains[0].len());
    let means: Vec<f64> = chains.iter().map(|chain| mean(chain)).collect();
    let autocovariance = |lag: usize| {
        let each = chains.iter().zip(&means).map(|(chain, mean)| {
            chain[..n - lag].iter().zip(&chain[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>()
                / n as f64
        });
        each.sum::<f64>() / m
    };
    let within = autocovariance(0) * n as f64 / (n as f64 - 1.0);
    let between = if chains.len() > 1 { variance(&means) } else { 0.0 };
    let total = within * (n as f64 - 1.0) / n as f64 + between;
    if !(total > 0.0) {
        return f64::NAN;
    }
    let rho = |lag: usize| 1.0 - (within - autocovariance(lag) * n as f64 / (n as f64 - 1.0)) / total;
    let (mut sum, mut last) = (0.0, f64::INFINITY);
    let mut lag = 0;
    while lag + 1 < n {
        let pair = if lag == 0 { 1.0 + rho(1) } else { rho(lag) + rho(lag + 1) };
        if pair <= 0.0 {
            break;
        }
        last = last.min(pair);
        sum += last;
        lag += 2;
    }
    let draws = m * n as f64;
    // Antithetic chains may beat independent draws, but not without bound.
    draws / (2.0 * sum - 1.0).max(1.0 / draws.log10())
}

/// Effective sample size in the bulk: for means and medians.
pub fn ess_bulk(chains: &Chains) -> f64 {
    if usable(chains) { plain_ess(&rank_normalise(&split(chains))) } else { f64::NAN }
}

/// Effective sample size in the tails: the smaller of those of the 5 % and the 95 % quantile.
pub fn ess_tail(chains: &Chains) -> f64 {
    if !usable(chains) {
        return f64::NAN;
    }
    let all = chains.concat();
    let at = |p: f64| {
        let edge = quantile(&all, p);
        let below: Vec<Vec<f64>> = chains
            .iter()
            .map(|chain| chain.iter().map(|&x| f64::from(u8::from(x <= edge))).collect())
            .collect();
        plain_ess(&split(&below))
    };
    let (low, high) = (at(0.05), at(0.95));
    if low.is_nan() || high.is_nan() { f64::NAN } else { low.min(high) }
}

/// Monte-Carlo standard error of the mean.
pub fn mcse_mean(chains: &Chains) -> f64 {
    if !usable(chains) {
        return f64::NAN;
    }
    (variance(&chains.concat()) / plain_ess(&split(chains))).sqrt()
}

/// The `p` quantile of some numbers, with linear interpolation; NaN if there are none.
pub fn quantile(values: &[f64], p: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = p * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (place - low as f64) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    fn autoregressive(chains: u32, n: usize, rho: f64, shift: f64) -> Vec<Vec<f64>> {
        (0..chains)
            .map(|c| {
                let stream = Stream::new(9, Purpose::Test, c);
                let mut x = stream.normal(0);
                (0..n)
                    .map(|i| {
                        x = rho * x + (1.0 - rho * rho).sqrt() * stream.normal(i as u64 + 1);
                        x + shift * f64::from(c)
                    })
                    .collect()
            })
            .collect()
    }

    /// An autoregressive chain has ESS `n (1 - rho) / (1 + rho)`.
    #[test]
    fn ess_of_a_known_chain() {
        for rho in [0.0, 0.5, 0.9] {
            let chains = autoregressive(4, 20_000, rho, 0.0);
            let expected = 80_000.0 * (1.0 - rho) / (1.0 + rho);
            let ratio = ess_bulk(&chains) / expected;
            assert!((ratio - 1.0).abs() < 0.1, "rho {rho}: {ratio}");
        }
    }

    #[test]
    fn r_hat_sees_chains_that_disagree() {
        assert!(r_hat(&autoregressive(4, 2000, 0.3, 0.0)) < 1.01);
        assert!(r_hat(&autoregressive(4, 2000, 0.3, 0.5)) > 1.05);
        let mut wider = autoregressive(4, 2000, 0.3, 0.0);
        wider[0].iter_mut().for_each(|x| *x *= 3.0);
        assert!(r_hat(&wider) > 1.05, "scale differences count too");
    }

    #[test]
    fn too_little_is_not_a_number() {
        assert!(r_hat(&[vec![1.0; 3]]).is_nan() && ess_bulk(&[]).is_nan());
        assert!(ess_bulk(&[vec![f64::NAN; 100]]).is_nan());
    }
}
