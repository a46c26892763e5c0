//! Does an approximation hold? Importance weights from it to the posterior, smoothed by a generalised Pareto distribution (Vehtari,
//! Simpson, Gelman, Yao & Gabry 2024, JMLR 25, 72).

/// Importance weights of samples, and how heavy their tail is.
#[derive(Debug, Clone, PartialEq)]
pub struct SmoothedWeights {
    /// Shape of the tail: below [`limit`] the weights, and so the approximation, can be relied on. NaN if there are too few samples to say, or if
    /// none is possible; infinite if one has an infinite weight.
    pub k: f64,
    /// Weights that sum to one, the largest of them smoothed.
    pub weights: Vec<f64>,
}

/// The largest shape of a tail with which so many samples can be relied on: `min(1 - 1 / log10 S, 0.7)` (eq. 13 of the paper).
pub fn limit(samples: usize) -> f64 {
    (1.0 - 1.0 / (samples.max(2) as f64).log10()).clamp(0.0, 0.7)
}

/// Fewest samples in a tail that can be fitted.
const FEWEST: usize = 5;

/// Smooths the weights `exp(log_ratios)`, the ratios of posterior and approximation at its samples, each up to a common factor.
///
/// The largest `min(S / 5, 3 sqrt(S))` of `S` weights are replaced by quantiles of the generalised Pareto distribution that fits
/// them (Zhang & Stephens 2009, with the prior of the paper above). Ratios of minus infinity or NaN are weights of zero; samples with ratios of plus
/// infinity share all the weight.
pub fn smooth_weights(log_ratios: &[f64]) -> SmoothedWeights {
    let infinite = log_ratios.iter().filter(|r| **r == f64::INFINITY).count();
    if infinite > 0 {
        let share = |r: &f64| if *r == f64::INFINITY { 1.0 / infinite as f64 } else { 0.0 };
        return SmoothedWeights { k: f64::INFINITY, weights: log_ratios.iter().map(share).collect() };
    }
    let largest = log_ratios.iter().copied().filter(|r| r.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return SmoothedWeights { k: f64::NAN, weights: vec![f64::NAN; log_ratios.len()] };
    }
    let raw = |r: &f64| if r.is_finite() { (r - largest).exp() } else { 0.0 };
    let mut weights: Vec<f64> = log_ratios.iter().map(raw).collect();
    let count = weights.len();
    let tail = (0.2 * count as f64).min(3.0 * (count as f64).sqrt()).ceil() as usize;
    let mut k = f64::NAN;
    if tail >= FEWEST && count > tail {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| weights[a].total_cmp(&weights[b]));
        let cut = weights[order[count - tail - 1]];
        let above: Vec<f64> = order[count - tail..].iter().map(|&i| weights[i] - cut).collect();
        if above[tail - 1] <= f64::EPSILON {
            // All weights are the same: the approximation is exact.
            k = f64::NEG_INFINITY;
        } else {
            let (shape, scale) = fit(&above);
            k = shape;
            for (rank, &i) in order[count - tail..].iter().enumerate() {
                let p = (rank as f64 + 0.5) / tail as f64;
                weights[i] = (cut + quantile(p, shape, scale)).min(1.0);
            }
        }
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    SmoothedWeights { k, weights }
}

/// `Q(p) = scale ((1 - p)^(-shape) - 1) / shape`.
fn quantile(p: f64, shape: f64, scale: f64) -> f64 {
    if shape.abs() < 1e-12 { -scale * (1.0 - p).ln() } else { scale * ((1.0 - p).powf(-shape) - 1.0) / shape }
}

/// Shape and scale of the generalised Pareto distribution of some rising numbers from zero on: posterior mean on a profile likelihood
/// (Zhang & Stephens 2009), drawn towards a shape of 0.5 as if by ten more numbers.
fn fit(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let places = 30 + n.sqrt() as usize;
    let quartile = x[((0.25 * n + 0.5) as usize).clamp(1, x.len()) - 1].max(f64::MIN_POSITIVE);
    let most = x[x.len() - 1];
    let thetas: Vec<f64> = (1..=places)
        .map(|j| 1.0 / most + (1.0 - (places as f64 / (j as f64 - 0.5)).sqrt()) / (3.0 * quartile))
        .collect();
    let shape = |theta: f64| x.iter().map(|x| (-theta * x).ln_1p()).sum::<f64>() / n;
    let logs: Vec<f64> = thetas
        .iter()
        .map(|&theta| {
            let k = shape(theta);
            n * ((-theta / k).ln() - k - 1.0)
        })
        .collect();
    let weight = |j: usize| 1.0 / logs.iter().map(|log| (log - logs[j]).exp()).sum::<f64>();
    let usable = |j: &usize| logs[*j].is_finite();
    let sum: f64 = (0..places).filter(usable).map(weight).sum();
    let theta = (0..places).filter(usable).map(|j| weight(j) * thetas[j]).sum::<f64>() / sum;
    let k = shape(theta);
    let scale = -k / theta;
    ((n * k + 5.0) / (n + 10.0), scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    /// Numbers drawn from a Pareto tail give its shape back, to the scatter of the fit.
    #[test]
    fn finds_the_shape_of_a_known_tail() {
        for shape in [0.2, 0.6, 1.0] {
            let stream = Stream::new(4, Purpose::Test, 0);
            let mut x: Vec<f64> =
                (0..20_000u64).map(|i| quantile(stream.uniform(2 * i), shape, 2.0)).collect();
            x.sort_by(f64::total_cmp);
            let (found, scale) = fit(&x);
            assert!((found - shape).abs() < 0.04 && (scale - 2.0).abs() < 0.1, "{shape}: {found} {scale}");
        }
    }

    /// From `N(0, s^2)` to `N(0, 1)`, the weights have the tail `k = 1 - s^2`; for `s > 1` they are bounded.
    #[test]
    fn tells_approximations_that_are_too_narrow() {
        let weights = |s: f64| {
            let stream = Stream::new(8, Purpose::Test, 0);
            let ratios: Vec<f64> = (0..4000u64)
                .map(|i| s * stream.normal(2 * i))
                .map(|z| -0.5 * z * z + 0.5 * z * z / s / s)
                .collect();
            smooth_weights(&ratios)
        };
        assert!(weights(0.4).k > 0.7, "{}", weights(0.4).k);
        assert!(weights(0.9).k < 0.5 && weights(1.2).k < 0.3);
        assert!(weights(1.0).k == f64::NEG_INFINITY);
        assert!((weights(0.8).weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    /// Weighted moments of an approximation that is somewhat too narrow are those of the posterior.
    #[test]
    fn weights_mend_moments() {
        let (s, stream) = (0.85, Stream::new(8, Purpose::Test, 1));
        let draws: Vec<f64> = (0..20_000u64).map(|i| s * stream.normal(2 * i)).collect();
        let ratios: Vec<f64> = draws.iter().map(|z| -0.5 * z * z + 0.5 * z * z / s / s).collect();
        let found = smooth_weights(&ratios);
        let variance: f64 = draws.iter().zip(&found.weights).map(|(z, w)| w * z * z).sum();
        assert!((variance - 1.0).abs() < 0.04, "{variance} from {}", s * s);
    }

    #[test]
    fn weights_without_bounds_are_told() {
        let mut ratios = vec![0.0; 200];
        ratios[7] = f64::INFINITY;
        let found = smooth_weights(&ratios);
        assert!(found.k == f64::INFINITY && found.weights[7] == 1.0 && found.weights[0] == 0.0);
        assert!(smooth_weights(&[f64::NEG_INFINITY; 200]).k.is_nan());
        assert!((limit(100) - 0.5).abs() < 1e-12 && (limit(1000) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((limit(1_000_000), limit(1)), (0.7, 0.0));
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert!(smooth_weights(&[0.0; 10]).k.is_nan());
        assert!(smooth_weights(&[]).weights.is_empty());
    }
}
