//! Every method on posteriors whose answer is known in closed form.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::targets::{
    centre, exact, linear_posterior, poisson_posterior, quadrature, samples, survives_interruption,
};
use lookback_inference::{
    Hmc, HmcOptions, Map, MapOptions, Mclmc, MclmcOptions, Method, Mgvi, MgviOptions, Number, Nuts,
    NutsOptions, Optimizer, Posterior, Wiener, WienerOptions, Workers, diagnostics, run_to_end,
};
use lookback_likelihood::Gaussian;
use lookback_operator::{Pointwise, Space};
use statrs::function::erf::erfc;

/// Samples agree with the exact mean and covariance to five standard errors at the given effective sample size.
fn agrees(samples: &[Vec<f64>], effective: f64) {
    let (mean, covariance) = exact();
    let n = samples.len() as f64;
    for i in 0..3 {
        let m = samples.iter().map(|z| z[i]).sum::<f64>() / n;
        assert!(
            (m - mean[i]).abs() < 5.0 * (covariance[i][i] / effective).sqrt(),
            "mean {i}: {m} {}",
            mean[i]
        );
        for j in 0..3 {
            let c = samples.iter().map(|z| (z[i] - mean[i]) * (z[j] - mean[j])).sum::<f64>() / n;
            let error = ((covariance[i][i] * covariance[j][j] + covariance[i][j].powi(2)) / effective).sqrt();
            assert!(
                (c - covariance[i][j]).abs() < 5.0 * error,
                "covariance {i} {j}: {c} {}",
                covariance[i][j]
            );
        }
    }
}

#[test]
fn the_wiener_filter_is_exact() {
    let options = WienerOptions { samples: 4000, tolerance: 1e-12, max_iterations: 10 };
    let draws =
        run_to_end(&mut Wiener::new(options, 1).expect("valid"), &linear_posterior::<f64>()).expect("runs");
    for (found, expected) in centre(&draws).iter().zip(exact().0) {
        assert!((found - expected).abs() < 1e-12);
    }
    agrees(&samples(&draws), 4000.0);
}

#[test]
fn single_precision_gives_the_same_answer() {
    let options = WienerOptions { samples: 4000, tolerance: 1e-5, max_iterations: 20 };
    let draws =
        run_to_end(&mut Wiener::new(options, 1).expect("valid"), &linear_posterior::<f32>()).expect("runs");
    for (found, expected) in centre(&draws).iter().zip(exact().0) {
        assert!((found - expected).abs() < 1e-5);
    }
    agrees(&samples(&draws), 4000.0);
}

#[test]
fn both_optimisers_find_the_maximum_and_laplace_is_exact_for_a_gaussian() {
    for optimizer in [Optimizer::Lbfgs, Optimizer::NewtonCg] {
        let options = MapOptions { optimizer, tolerance: 1e-9, samples: 4000, ..MapOptions::default() };
        let draws =
            run_to_end(&mut Map::new(options, 1).expect("valid"), &linear_posterior::<f64>()).expect("runs");
        for (found, expected) in centre(&draws).iter().zip(exact().0) {
            assert!((found - expected).abs() < 1e-7, "{optimizer:?}");
        }
        agrees(&samples(&draws), 4000.0);
    }
}

#[test]
fn variational_inference_is_exact_for_a_gaussian() {
    let options = MgviOptions { final_pairs: 2000, tolerance: 1e-8, ..MgviOptions::default() };
    for mut method in [Mgvi::new(options.clone(), 1), Mgvi::geometric(options, 1)].map(|m| m.expect("valid"))
    {
        let draws = run_to_end(&mut method, &linear_posterior::<f64>()).expect("runs");
        for (found, expected) in centre(&draws).iter().zip(exact().0) {
            assert!((found - expected).abs() < 1e-6);
        }
        // Mirrored pairs leave the covariance with as many independent draws as there are pairs.
        agrees(&samples(&draws), 2000.0);
    }
}

/// Four chains agree with each other and with the exact Gaussian; returns the smallest effective sample size.
fn samples_the_gaussian(method: &mut impl Method<f64>) -> f64 {
    let draws = run_to_end(method, &linear_posterior::<f64>()).expect("runs");
    let all = samples(&draws);
    let mut effective = f64::INFINITY;
    for i in 0..3 {
        let chains: Vec<Vec<f64>> =
            (0..4).map(|c| all[c..].iter().step_by(4).map(|z| z[i]).collect()).collect();
        assert!(diagnostics::r_hat(&chains) < 1.01);
        effective = effective.min(diagnostics::ess_bulk(&chains)).min(diagnostics::ess_tail(&chains));
    }
    agrees(&all, effective);
    let figures = method.figures();
    if let Some((_, acceptance)) = figures.iter().find(|(name, _)| name == "acceptance") {
        assert!((0.6..0.99).contains(acceptance), "{acceptance}");
    }
    effective
}

#[test]
fn hmc_samples_a_gaussian() {
    let options = HmcOptions { draws: 4000, ..HmcOptions::default() };
    let effective = samples_the_gaussian(&mut Hmc::new(options, 1).expect("valid"));
    assert!(effective > 2000.0, "{effective}");
}

#[test]
fn langevin_and_microcanonical_trajectories_sample_a_gaussian() {
    let options = HmcOptions { draws: 20_000, warmup: 1000, ..HmcOptions::default() };
    let effective = samples_the_gaussian(&mut Hmc::langevin(options.clone(), 1).expect("valid"));
    assert!(effective > 1000.0, "{effective}");
    let options = HmcOptions { draws: 4000, ..options };
    let effective = samples_the_gaussian(&mut Hmc::microcanonical(options, 1).expect("valid"));
    assert!(effective > 2000.0, "{effective}");
}

#[test]
fn nuts_samples_a_gaussian() {
    let options = NutsOptions { draws: 4000, ..NutsOptions::default() };
    let effective = samples_the_gaussian(&mut Nuts::new(options, 1).expect("valid"));
    assert!(effective > 4000.0, "{effective}");
}

#[test]
fn mclmc_samples_a_gaussian() {
    // In three dimensions, the error of a step must be small for the bias to hide behind the noise.
    let options = MclmcOptions { energy_error: 1e-6, draws: 100_000, ..MclmcOptions::default() };
    let effective = samples_the_gaussian(&mut Mclmc::new(options, 1).expect("valid"));
    assert!(effective > 2000.0, "{effective}");
}

fn samples_the_skew_posterior(method: &mut impl Method<f64>) {
    let draws = run_to_end(method, &poisson_posterior(3.0)).expect("runs");
    let all: Vec<f64> = samples(&draws).iter().map(|z| z[0]).collect();
    let chains: Vec<Vec<f64>> = (0..4).map(|c| all[c..].iter().step_by(4).copied().collect()).collect();
    let (mean, std) = quadrature(3.0);
    let found = all.iter().sum::<f64>() / all.len() as f64;
    assert!((found - mean).abs() < 5.0 * diagnostics::mcse_mean(&chains), "{found} {mean}");
    let spread = (all.iter().map(|z| (z - found).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
    assert!((spread / std - 1.0).abs() < 0.03, "{spread} {std}");
}

#[test]
fn hmc_samples_a_skew_posterior() {
    let options = HmcOptions { draws: 10_000, ..HmcOptions::default() };
    samples_the_skew_posterior(&mut Hmc::new(options, 3).expect("valid"));
}

#[test]
fn mala_samples_a_skew_posterior() {
    let options = HmcOptions { draws: 40_000, ..HmcOptions::default() };
    samples_the_skew_posterior(&mut Hmc::langevin(options, 3).expect("valid"));
}

#[test]
fn nuts_samples_a_skew_posterior() {
    let options = NutsOptions { draws: 10_000, ..NutsOptions::default() };
    samples_the_skew_posterior(&mut Nuts::new(options, 3).expect("valid"));
}

/// Straight samples of a skew posterior have no skewness; bent ones have it, and come closer to its distribution. In one
/// dimension with a Poisson count, the coordinate `2 exp(z / 2)` takes most of the bend.
#[test]
fn geometric_samples_bend_with_a_skew_posterior() {
    let options = MgviOptions { pairs: 500, final_pairs: 20_000, tolerance: 1e-6, ..MgviOptions::default() };
    // Skewness, and the largest distance between the cumulative distribution and the exact one.
    let shape = |method: &mut Mgvi<f64>| {
        let draws = run_to_end(method, &poisson_posterior(3.0)).expect("runs");
        let mut all: Vec<f64> = samples(&draws).iter().map(|z| z[0]).collect();
        all.sort_by(f64::total_cmp);
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let std = (all.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / n).sqrt();
        let skewness = all.iter().map(|z| ((z - mean) / std).powi(3)).sum::<f64>() / n;
        let points: Vec<f64> = (0..40_000).map(|i| -8.0 + 16.0 * f64::from(i) / 40_000.0).collect();
        let weights: Vec<f64> = points.iter().map(|z| (-0.5 * z * z - z.exp() + 3.0 * z).exp()).collect();
        let total: f64 = weights.iter().sum();
        let (mut exact, mut distance) = (0.0, 0.0f64);
        for (point, weight) in points.iter().zip(&weights) {
            exact += weight / total;
            distance = distance.max((all.partition_point(|z| z <= point) as f64 / n - exact).abs());
        }
        (skewness, distance)
    };
    let straight = shape(&mut Mgvi::new(options.clone(), 2).expect("valid"));
    let bent = shape(&mut Mgvi::geometric(options, 2).expect("valid"));
    assert!(straight.0.abs() < 0.05 && bent.0 < -0.15, "{straight:?} {bent:?}");
    assert!(bent.1 < 0.6 * straight.1, "{straight:?} {bent:?}");
}

/// The coordinate `g(z) = z - m + 2 m (z^2 - m^2) / sigma^2` of a squared latent has a lowest value, and what is drawn below it
/// (`y ~ N(0, 1 + 4 m^2 / sigma^2)`) has no place: those samples stay at the fold, and are counted.
#[test]
fn samples_beyond_a_fold_are_counted() {
    let sigma = 0.5;
    let space = Space::single("z", &[1], "");
    let squared = Pointwise::new("square", space.clone(), space.clone(), |z: f64| z * z, |z: f64| 2.0 * z);
    let likelihood = Gaussian::new(space, vec![1.0], &[sigma]).expect("valid");
    let posterior = Posterior::new(Arc::new(squared), Arc::new(likelihood)).expect("fits");
    let options = MgviOptions { final_pairs: 5000, tolerance: 1e-6, ..MgviOptions::default() };
    let mut method = Mgvi::geometric(options, 4).expect("valid");
    let draws = run_to_end(&mut method, &posterior).expect("runs");
    let (m, sign) = (centre(&draws)[0].abs(), centre(&draws)[0].signum());
    let fold = -sigma * sigma / (4.0 * m);
    let lowest = fold - m + 2.0 * m * (fold * fold - m * m) / (sigma * sigma);
    let expected = 0.5 * erfc(-lowest / (2.0 * (1.0 + 4.0 * m * m / (sigma * sigma))).sqrt());
    let at_the_fold = samples(&draws).iter().filter(|z| (z[0] * sign - fold).abs() < 0.03).count() as f64;
    let (_, counted) =
        method.figures().into_iter().find(|(name, _)| name == "samples_folded").expect("counted");
    let error = (expected * (1.0 - expected) / 10_000.0).sqrt();
    assert!((counted / 10_000.0 - expected).abs() < 5.0 * error, "{counted} of 10000, not {expected}");
    assert!((counted - at_the_fold).abs() < 0.1 * counted, "{counted} {at_the_fold}");
}

/// Where nothing folds, no sample is said to: in single precision with a tolerance that rounding keeps from being reached, and where data say much.
#[test]
fn samples_that_meet_no_fold_are_not_said_to() {
    fn folded<T: Number>(tolerance: f64, posterior: &Posterior<T>) -> f64 {
        let options = MgviOptions { final_pairs: 200, tolerance, ..MgviOptions::default() };
        let mut method = Mgvi::geometric(options, 4).expect("valid");
        run_to_end(&mut method, posterior).expect("runs");
        let figures = method.figures();
        figures.iter().find(|(name, _)| name == "samples_folded").expect("counted").1
    }
    assert_eq!(folded(1e-6, &linear_posterior::<f32>()), 0.0);
    for count in [3.0, 1e4] {
        assert_eq!(folded(1e-2, &poisson_posterior(count)), 0.0);
    }
}

/// MGVI's fixed point in one dimension solves `E[dH/dz] = 0` over `N(m, 1 / (1 + e^m))`: `m + e^(m + v/2) = count`.
#[test]
fn mgvi_finds_its_fixed_point() {
    let options = MgviOptions {
        pairs: 2000,
        iterations: 12,
        final_pairs: 1,
        tolerance: 1e-6,
        ..MgviOptions::default()
    };
    let draws =
        run_to_end(&mut Mgvi::new(options, 2).expect("valid"), &poisson_posterior(3.0)).expect("runs");
    let (mut low, mut high) = (-5.0, 5.0);
    while high - low > 1e-12 {
        let m: f64 = 0.5 * (low + high);
        let v = 1.0 / (1.0 + m.exp());
        if m + (m + 0.5 * v).exp() > 3.0 { high = m } else { low = m }
    }
    let found = centre(&draws)[0];
    assert!((found - low).abs() < 0.02, "{found} {low}");
    let (mean, std) = quadrature(3.0);
    assert!((found - mean).abs() < 0.3 * std, "an approximation, but not a bad one: {found} {mean}");
}

#[test]
fn a_nonlinear_model_is_refused_by_the_wiener_filter() {
    let wiener = &mut Wiener::<f64>::new(WienerOptions::default(), 1).expect("valid");
    let error = run_to_end(wiener, &poisson_posterior(3.0)).expect_err("refused");
    assert!(error.to_string().contains("mgvi"), "{error}");
}

#[test]
fn every_method_survives_interruption_bit_for_bit() {
    let (linear, poisson) = (linear_posterior::<f64>(), poisson_posterior(2.0));
    survives_interruption(
        Wiener::new(WienerOptions { samples: 7, ..Default::default() }, 4).expect("valid"),
        &linear,
    );
    for optimizer in [Optimizer::Lbfgs, Optimizer::NewtonCg] {
        let options = MapOptions { optimizer, samples: 3, ..Default::default() };
        survives_interruption(Map::new(options, 4).expect("valid"), &poisson);
    }
    survives_interruption(
        Mgvi::new(MgviOptions { final_pairs: 3, ..Default::default() }, 4).expect("valid"),
        &poisson,
    );
    let options = HmcOptions { warmup: 20, draws: 20, thin: 3, ..Default::default() };
    survives_interruption(Hmc::new(options, 4).expect("valid"), &poisson);
    let options = NutsOptions { warmup: 60, draws: 20, thin: 3, ..Default::default() };
    survives_interruption(Nuts::new(options, 4).expect("valid"), &poisson);
    let options = MclmcOptions { warmup: 300, draws: 200, thin: 20, ..Default::default() };
    survives_interruption(Mclmc::new(options, 4).expect("valid"), &linear);
}

#[test]
fn a_request_to_stop_ends_a_run_at_once() {
    let (target, stop) = (linear_posterior::<f64>(), AtomicBool::new(true));
    let workers = Workers::new(&target, &stop);
    let mut wiener = Wiener::new(WienerOptions::default(), 1).expect("valid");
    let error = wiener.advance(&workers, &mut |_| panic!("nothing may be handed out")).expect_err("stopped");
    assert_eq!(error, lookback_inference::Error::Interrupted);
}
