//! Searches, approximations and evidences on posteriors that are known.

use super::targets::{
    self, Formula, centre, exact, figure, linear_posterior, matrix, poisson_posterior, samples,
    survives_interruption,
};
use lookback_inference::{
    Curvature, Draw, El2o, El2oOptions, Hmc, HmcOptions, Map, MapOptions, Mclmc, MclmcOptions, Method, Nuts,
    NutsOptions, Optimizer, Pathfinder, PathfinderOptions, Posterior, Smc, SmcOptions, Target, Thermodynamic,
    ThermodynamicOptions, WarmStarted, Workers, run_to_end,
};

const TAU: f64 = std::f64::consts::TAU;

/// `ln N(d; 0, sigma^2 + A A^T)`: the evidence of the linear model, by Cholesky's root of its 4 x 4 covariance.
fn linear_evidence() -> f64 {
    let (a, d) = (matrix(), targets::data());
    let covariance = |i: usize, j: usize| {
        let product: f64 = a[i].iter().zip(&a[j]).map(|(x, y)| x * y).sum();
        product + if i == j { targets::SIGMA * targets::SIGMA } else { 0.0 }
    };
    let mut root = [[0.0; 4]; 4];
    let (mut white, mut log) = ([0.0; 4], -2.0 * TAU.ln());
    for i in 0..4 {
        for j in 0..=i {
            let rest: f64 = (0..j).map(|k| root[i][k] * root[j][k]).sum();
            let left = covariance(i, j) - rest;
            root[i][j] = if i == j { f64::sqrt(left) } else { left / root[j][j] };
        }
        let rest: f64 = (0..i).map(|k| root[i][k] * white[k]).sum();
        white[i] = (d[i] - rest) / root[i][i];
        log -= root[i][i].ln() + 0.5 * white[i] * white[i];
    }
    log
}

/// `ln integral N(z; 0, 1) Poisson(count; exp(z)) dz` by quadrature.
fn poisson_evidence(count: u32) -> f64 {
    let step = 16.0 / 40_000.0;
    let factorial: f64 = (1..=count).map(f64::from).product();
    let sum: f64 = (0..40_000)
        .map(|i| -8.0 + step * f64::from(i))
        .map(|z| (-0.5 * z * z - z.exp() + f64::from(count) * z).exp())
        .sum();
    (sum * step / TAU.sqrt() / factorial).ln()
}

fn evidence_is(method: &impl Method<f64>, truth: f64) {
    let (found, error) = (figure(method, "log_evidence"), figure(method, "log_evidence_error"));
    assert!((found - truth).abs() < 4.0 * error + 1e-9, "{found} +- {error}, not {truth}");
    assert!(error < 0.5, "an error of {error} allows anything");
}

/// A Gaussian that touches a skewed posterior at its maximum has the mean of neither; chosen by importance, or moved, its draws have.
#[test]
fn candidates_and_moves_mend_a_gaussian_that_only_touches() {
    let target = poisson_posterior(1.0);
    let (mean, std) = targets::quadrature(1.0);
    let off = |candidates, moves| {
        let options = El2oOptions { rounds: 0, samples: 4000, candidates, moves, ..El2oOptions::default() };
        let mut method = El2o::new(options, 5).expect("options");
        let draws = samples(&run_to_end(&mut method, &target).expect("a fit"));
        assert_eq!(draws.len(), 4000);
        let found = draws.iter().map(|z| z[0]).sum::<f64>() / 4000.0;
        // In units of the standard error of 4000 draws.
        (found - mean) / (std / 4000f64.sqrt())
    };
    let (touching, chosen, moved) = (off(1, 0), off(20, 0), off(1, 12));
    assert!(touching.abs() > 5.0, "{touching}");
    assert!(chosen.abs() < 3.5 && moved.abs() < 3.5, "{chosen} {moved}");
    let options = El2oOptions { rounds: 0, samples: 40, candidates: 3, moves: 2, ..El2oOptions::default() };
    survives_interruption(El2o::new(options, 5).expect("options"), &target);
}

/// A round mode at (-2, 0), 0.3 wide, with a share of 0.35, and a crescent around (2, 0): normal with a width of 0.5 along the first
/// latent, and of 0.15 about `(z_0 - 2)^2` along the second.
fn crescent() -> Formula<impl Fn(&[f64], &mut [f64]) -> f64 + Sync> {
    Formula {
        dim: 2,
        energy: |z: &[f64], gradient: &mut [f64]| {
            let (a, b) = ((z[0] + 2.0) / 0.3, z[1] / 0.3);
            let (c, d) = ((z[0] - 2.0) / 0.5, (z[1] - (z[0] - 2.0).powi(2)) / 0.15);
            let round = (0.35 / (TAU * 0.09)).ln() - 0.5 * (a * a + b * b);
            let bent = (0.65 / (TAU * 0.075)).ln() - 0.5 * (c * c + d * d);
            let largest = round.max(bent);
            let (p, q) = ((round - largest).exp(), (bent - largest).exp());
            let by_first = c / 0.5 - d * 2.0 * (z[0] - 2.0) / 0.15;
            gradient[0] = (p * a / 0.3 + q * by_first) / (p + q);
            gradient[1] = (p * b / 0.3 + q * d / 0.15) / (p + q);
            -largest - (p + q).ln()
        },
    }
}

#[test]
fn particles_find_the_shares_of_modes_that_are_no_gaussians() {
    let options = SmcOptions { particles: 8000, ..SmcOptions::default() };
    let mut smc = Smc::new(options, 3).expect("valid");
    let draws = samples(&run_to_end(&mut smc, &crescent()).expect("runs"));
    assert_eq!(draws.len(), 8000);
    let right: Vec<&Vec<f64>> = draws.iter().filter(|z| z[0] > 0.0).collect();
    let share = right.len() as f64 / draws.len() as f64;
    let height = right.iter().map(|z| z[1]).sum::<f64>() / right.len() as f64;
    // Errors of 8000 independent draws are 0.005 and 0.005; particles of one origin resemble each other.
    assert!((share - 0.65).abs() < 0.03 && (height - 0.25).abs() < 0.04, "{share} {height}");
    evidence_is(&smc, -TAU.ln());
}

/// With four particles a latent, a crowd that moved in coordinates of its own would distort itself.
#[test]
fn particles_of_many_latents_are_not_distorted_by_themselves() {
    let normal = Formula {
        dim: 60,
        energy: |z: &[f64], gradient: &mut [f64]| {
            gradient.iter_mut().zip(z).for_each(|(g, z)| *g = z / 0.16);
            z.iter().map(|z| z * z).sum::<f64>() / 0.32
        },
    };
    let mut smc =
        Smc::new(SmcOptions { particles: 250, moves: 10, ..SmcOptions::default() }, 7).expect("valid");
    let draws = samples(&run_to_end(&mut smc, &normal).expect("runs"));
    evidence_is(&smc, 60.0 * 0.4f64.ln());
    let variance = draws.iter().flatten().map(|z| z * z).sum::<f64>() / (60.0 * 250.0);
    // The scatter of 15,000 squares is 1.2 %.
    assert!((variance / 0.16 - 1.0).abs() < 0.05, "{variance}");
}

#[test]
fn particles_have_the_evidence_and_survive_interruption() {
    let mut smc = Smc::new(SmcOptions::default(), 4).expect("valid");
    let draws = samples(&run_to_end(&mut smc, &linear_posterior::<f64>()).expect("runs"));
    evidence_is(&smc, linear_evidence());
    let (mean, covariance) = exact();
    for i in 0..3 {
        let found = draws.iter().map(|z| z[i]).sum::<f64>() / draws.len() as f64;
        assert!((found - mean[i]).abs() < 6.0 * (covariance[i][i] / 1000.0).sqrt(), "{found} {}", mean[i]);
    }
    let small = SmcOptions { particles: 60, ..SmcOptions::default() };
    survives_interruption(Smc::new(small, 5).expect("valid"), &poisson_posterior(1.0));
    let mut poisson = Smc::new(SmcOptions::default(), 6).expect("valid");
    run_to_end(&mut poisson, &poisson_posterior(1.0)).expect("runs");
    evidence_is(&poisson, poisson_evidence(1));
    // Where nothing is possible every attempt says so.
    let nowhere = Formula { dim: 2, energy: |_: &[f64], _: &mut [f64]| f64::INFINITY };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let workers = Workers::new(&nowhere, &stop);
    let mut lost = Smc::<f64>::new(SmcOptions::default(), 6).expect("valid");
    for _ in 0..2 {
        assert!(lost.advance(&workers, &mut |_| ()).is_err());
    }
    for (name, value) in [("particles", 5), ("particles", 1 << 20), ("leaps", 0)] {
        let mut options = SmcOptions::default();
        *(if name == "leaps" { &mut options.leaps } else { &mut options.particles }) = value;
        assert!(Smc::<f64>::new(options, 1).is_err_and(|error| error.to_string().contains(name)));
    }
}

#[test]
fn every_optimiser_finds_the_maximum() {
    for optimizer in [Optimizer::Lbfgs, Optimizer::NewtonCg, Optimizer::GradientDescent, Optimizer::Adam] {
        let options =
            MapOptions { optimizer, tolerance: 1e-6, max_iterations: 2000, ..MapOptions::default() };
        let mut map = Map::new(options, 2).expect("valid");
        let found = centre(&run_to_end(&mut map, &linear_posterior::<f64>()).expect("runs"));
        for (found, exact) in found.iter().zip(exact().0) {
            assert!((found - exact).abs() < 1e-5, "{optimizer:?}: {found} {exact}");
        }
    }
}

#[test]
fn adam_turns_back_from_what_is_impossible() {
    // A wall at 1, next to the minimum at 0.9.
    let walled = Formula {
        dim: 1,
        energy: |z: &[f64], gradient: &mut [f64]| {
            gradient[0] = 50.0 * (z[0] - 0.9);
            if z[0] > 1.0 { f64::INFINITY } else { 25.0 * (z[0] - 0.9).powi(2) }
        },
    };
    let options = MapOptions {
        optimizer: Optimizer::Adam,
        learning_rate: 3.0,
        tolerance: 1e-6,
        max_iterations: 3000,
        ..MapOptions::default()
    };
    let mut map = Map::new(options, 2).expect("valid");
    let found = centre(&run_to_end(&mut map, &walled).expect("runs"));
    assert!((found[0] - 0.9).abs() < 1e-6, "{found:?}");
}

/// Two Gaussians of two latents: at (-2, 0), round and 0.3 wide, with a share of 0.3; at (2, 1), 0.8 and 0.2 wide.
fn two_modes() -> Formula<impl Fn(&[f64], &mut [f64]) -> f64 + Sync> {
    let modes = [(0.3, [-2.0, 0.0], [0.3, 0.3]), (0.7, [2.0, 1.0], [0.8, 0.2])];
    Formula {
        dim: 2,
        energy: move |z: &[f64], gradient: &mut [f64]| {
            let terms = modes.map(|(share, mean, width): (f64, [f64; 2], [f64; 2])| {
                let offset = [0, 1].map(|i| (z[i] - mean[i]) / width[i]);
                let height = share / (TAU * width[0] * width[1]);
                let log = height.ln() - 0.5 * (offset[0].powi(2) + offset[1].powi(2));
                (log, [0, 1].map(|i| offset[i] / width[i]))
            });
            let largest = terms[0].0.max(terms[1].0);
            let sum: f64 = terms.iter().map(|(log, _)| (log - largest).exp()).sum();
            for (i, g) in gradient.iter_mut().enumerate() {
                *g = terms.iter().map(|(log, slope)| (log - largest).exp() * slope[i]).sum::<f64>() / sum;
            }
            -largest - sum.ln()
        },
    }
}

#[test]
fn many_starts_find_the_better_of_two_modes() {
    let options = MapOptions {
        optimizer: Optimizer::Lbfgs,
        starts: 20,
        start_scale: 2.0,
        tolerance: 1e-6,
        ..MapOptions::default()
    };
    let mut map = Map::new(options, 3).expect("valid");
    let found = centre(&run_to_end(&mut map, &two_modes()).expect("runs"));
    assert!((found[0] - 2.0).abs() < 1e-4 && (found[1] - 1.0).abs() < 1e-4, "{found:?}");
    let at_best = figure(&map, "starts_at_best");
    assert!((2.0..19.0).contains(&at_best), "both modes draw some: {at_best}");
}

/// Up to its normalisation a density has no evidence but its integral, here with the constant of a standard normal prior.
#[test]
fn el2o_weighs_two_modes() {
    let options = El2oOptions { starts: 20, start_scale: 2.0, samples: 4000, ..El2oOptions::default() };
    let mut el2o = El2o::new(options, 3).expect("valid");
    let draws = run_to_end(&mut el2o, &two_modes()).expect("runs");
    assert!(figure(&el2o, "modes") == 2.0 && figure(&el2o, "modes_unsettled") == 0.0);
    for (mode, share) in [("mode_0_weight", 0.7), ("mode_1_weight", 0.3)] {
        assert!((figure(&el2o, mode) - share).abs() < 1e-3, "{mode}: {}", figure(&el2o, mode));
    }
    let samples = samples(&draws);
    let left = samples.iter().filter(|z| z[0] < 0.0).count() as f64 / samples.len() as f64;
    let scatter = (0.3 * 0.7 / 4000f64).sqrt();
    assert!((left - 0.297).abs() < 4.0 * scatter + 0.003, "{left} of the samples");
    evidence_is(&el2o, -TAU.ln());
    assert!(figure(&el2o, "pareto_k") < 0.5, "{}", figure(&el2o, "pareto_k"));
}

#[test]
fn approximations_of_a_gaussian_are_exact_and_so_are_their_evidences() {
    let (target, truth) = (linear_posterior::<f64>(), linear_evidence());
    let (mean, covariance) = exact();
    let right = |draws: &[Draw<f64>], tolerance: f64| {
        let samples = samples(draws);
        let n = samples.len() as f64;
        for i in 0..3 {
            let m = samples.iter().map(|z| z[i]).sum::<f64>() / n;
            let variance = samples.iter().map(|z| (z[i] - mean[i]).powi(2)).sum::<f64>() / n;
            assert!((m - mean[i]).abs() < tolerance * covariance[i][i].sqrt(), "mean {i}: {m}");
            assert!((variance / covariance[i][i] - 1.0).abs() < 2.0 * tolerance, "variance {i}: {variance}");
        }
    };
    // Five standard errors of 4000 independent samples.
    let tolerance = 5.0 / 4000f64.sqrt();
    let options = MapOptions { samples: 4000, tolerance: 1e-8, ..MapOptions::default() };
    let mut map = Map::new(options, 5).expect("valid");
    right(&run_to_end(&mut map, &target).expect("runs"), tolerance);
    assert!((figure(&map, "log_evidence_laplace") - truth).abs() < 1e-7);
    assert!((figure(&map, "log_evidence") - truth).abs() < 1e-6);

    let options = MapOptions {
        samples: 4000,
        curvature: Some(Curvature::Fisher),
        probes: 2,
        tolerance: 1e-8,
        ..MapOptions::default()
    };
    let mut map = Map::new(options, 5).expect("valid");
    right(&run_to_end(&mut map, &target).expect("runs"), tolerance);
    // Three directions are all that there are: nothing is left for the probes.
    assert!((figure(&map, "log_evidence_laplace") - truth).abs() < 1e-7);
    assert_eq!(figure(&map, "log_evidence_laplace_error"), 0.0);

    let mut el2o = El2o::new(El2oOptions { samples: 4000, tolerance: 1e-7, ..El2oOptions::default() }, 5)
        .expect("valid");
    right(&run_to_end(&mut el2o, &target).expect("runs"), tolerance);
    assert!((figure(&el2o, "log_evidence") - truth).abs() < 1e-6);
    for name in ["el2o_values", "el2o_gradients", "el2o_curvatures"] {
        assert!(figure(&el2o, name) < 1e-8, "{name}: {}", figure(&el2o, name));
    }

    let options = PathfinderOptions { samples: 4000, draws_per_path: 4000, ..PathfinderOptions::default() };
    let mut pathfinder = Pathfinder::new(options, 5).expect("valid");
    // Samples are chosen by importance from an approximation that is not exact.
    right(&run_to_end(&mut pathfinder, &target).expect("runs"), 2.0 * tolerance);
    evidence_is(&pathfinder, truth);
    assert!(
        figure(&pathfinder, "log_evidence_bound") < truth + 0.02,
        "{}",
        figure(&pathfinder, "log_evidence_bound")
    );
}

#[test]
fn evidences_of_a_skew_posterior_are_those_of_quadrature() {
    let (target, truth) = (poisson_posterior(3.0), poisson_evidence(3));
    let mut map =
        Map::new(MapOptions { samples: 4000, tolerance: 1e-8, ..MapOptions::default() }, 6).expect("valid");
    run_to_end(&mut map, &target).expect("runs");
    evidence_is(&map, truth);
    let laplace = figure(&map, "log_evidence_laplace") - truth;
    assert!(laplace.abs() > 1e-3 && laplace.abs() < 0.1, "Laplace's is near, and not exact: {laplace}");
    let mut el2o =
        El2o::new(El2oOptions { samples: 4000, pairs: 50, ..El2oOptions::default() }, 6).expect("valid");
    run_to_end(&mut el2o, &target).expect("runs");
    evidence_is(&el2o, truth);
    let mut pathfinder = Pathfinder::new(PathfinderOptions::default(), 6).expect("valid");
    run_to_end(&mut pathfinder, &target).expect("runs");
    evidence_is(&pathfinder, truth);
}

/// The fixed point of EL2O on a skew posterior is that of Gaussian variational inference: `E[H'] = 0` and `E[H''] = 1 / C` over the
/// Gaussian, which for `H = z^2 / 2 + exp(z) - 3 z` are closed: `m + exp(m + C / 2) = 3` and `1 + exp(m + C / 2) = 1 / C`.
#[test]
fn el2o_finds_its_fixed_point() {
    let (mut mean, mut variance) = (0.0, 1.0);
    for _ in 0..1000 {
        let rate = f64::exp(mean + 0.5 * variance);
        mean += 0.1 * (3.0 - mean - rate);
        variance += 0.1 * (1.0 / (1.0 + rate) - variance);
    }
    let options = El2oOptions { pairs: 2000, tolerance: 1e-6, samples: 20_000, ..El2oOptions::default() };
    let mut el2o = El2o::new(options, 6).expect("valid");
    let draws = run_to_end(&mut el2o, &poisson_posterior(3.0)).expect("runs");
    assert!((centre(&draws)[0] - mean).abs() < 0.02 * variance.sqrt(), "{} {mean}", centre(&draws)[0]);
    let all: Vec<f64> = samples(&draws).iter().map(|z| z[0]).collect();
    let found = all.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / all.len() as f64;
    assert!((found / variance - 1.0).abs() < 0.05, "{found} {variance}");
}

#[test]
fn a_ladder_of_temperatures_gives_evidence_and_posterior() {
    let linear: (Posterior<f64>, f64) = (linear_posterior(), linear_evidence());
    for (target, truth) in [linear, (poisson_posterior(3.0), poisson_evidence(3))] {
        let mut ladder = Thermodynamic::new(ThermodynamicOptions::default(), 7).expect("valid");
        let draws = run_to_end(&mut ladder, &target).expect("runs");
        evidence_is(&ladder, truth);
        let (integral, error) =
            (figure(&ladder, "log_evidence_integral"), figure(&ladder, "log_evidence_error"));
        assert!(error < 0.1 && (integral - truth).abs() < 0.2, "{integral} for {truth}");
        assert!(draws.len() == 1200, "the last rung is the posterior: {}", draws.len());
        if target.dim() == 3 {
            let first = samples(&draws).iter().map(|z| z[0]).sum::<f64>() / 1200.0;
            let (mean, covariance) = exact();
            assert!((first - mean[0]).abs() < 0.2 * covariance[0][0].sqrt(), "{first} {}", mean[0]);
        }
    }
}

/// A misfit of many data that the prior rarely explains takes rungs, which are found on the way.
#[test]
fn rungs_are_placed_where_they_are_needed() {
    // Forty latents, each measured to a hundredth: ln Z = -20 ln(1 + 1e4) - sum d^2 / (2 (1 + 1e4)) ... without constants.
    let narrow = Formula {
        dim: 40,
        energy: |z: &[f64], gradient: &mut [f64]| {
            let mut energy = 0.0;
            for (z, g) in z.iter().zip(gradient) {
                *g = z + 1e4 * (z - 1.0);
                energy += 0.5 * z * z + 0.5e4 * (z - 1.0).powi(2);
            }
            energy
        },
    };
    let mut ladder = Thermodynamic::new(ThermodynamicOptions::default(), 7).expect("valid");
    run_to_end(&mut ladder, &narrow).expect("runs");
    let truth = -20.0 * f64::ln(1.0 + 1e4) - 20.0 * 1e4 / (1.0 + 1e4);
    evidence_is(&ladder, truth);
    assert!(figure(&ladder, "rungs") > 20.0 && figure(&ladder, "log_evidence_error") < 0.5);
}

#[test]
fn chains_start_from_an_approximation() {
    let target = two_modes();
    let nuts = || Nuts::new(NutsOptions { warmup: 0, draws: 1, ..NutsOptions::default() }, 8).expect("valid");
    let options = El2oOptions { starts: 20, start_scale: 2.0, samples: 400, ..El2oOptions::default() };
    let el2o = El2o::new(options, 8).expect("valid");
    // A step of nearly no length, so that the first draw is where the chain began.
    let still = HmcOptions { chains: 20, warmup: 0, draws: 1, path_length: 1e-9, ..HmcOptions::default() };
    let hmc = Hmc::new(still, 8).expect("valid");
    let firsts = samples(&run_to_end(&mut WarmStarted::new(el2o, hmc, 20), &target).expect("runs"));
    assert!(firsts.len() == 20, "the samples of the approximation are not part of the result");
    // Random starts would lie around the origin, where neither mode is; six are expected on the left.
    let on = |mean: [f64; 2], width: [f64; 2]| {
        firsts.iter().filter(|z| (0..2).all(|i| (z[i] - mean[i]).abs() < 4.0 * width[i])).count()
    };
    let (left, right) = (on([-2.0, 0.0], [0.3, 0.3]), on([2.0, 1.0], [0.8, 0.2]));
    assert!(left + right == 20 && left > 0 && right > left, "{left} and {right}: {firsts:?}");
    // Without samples, from the maximum.
    let map =
        Map::new(MapOptions { optimizer: Optimizer::Lbfgs, ..MapOptions::default() }, 8).expect("valid");
    run_to_end(&mut WarmStarted::new(map, nuts(), 4), &target).expect("runs");
}

/// What failed can be tried again, and fails again: never an empty success.
#[test]
fn failures_stay_failures() {
    let target = linear_posterior::<f64>();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let workers = lookback_inference::Workers::new(&target, &stop);
    let fails = |method: &mut dyn FnMut() -> lookback_inference::Result<bool>| {
        for _ in 0..200 {
            match method() {
                Ok(done) => assert!(!done, "an empty success"),
                Err(error) => {
                    assert!(error.to_string().contains("not found in"), "{error}");
                    assert_eq!(method().expect_err("still fails"), error);
                    return;
                }
            }
        }
        panic!("never ends");
    };
    for starts in [1, 4] {
        let options = MapOptions {
            optimizer: Optimizer::GradientDescent,
            starts,
            max_iterations: 2,
            tolerance: 1e-9,
            ..MapOptions::default()
        };
        let mut map = Map::new(options, 1).expect("valid");
        fails(&mut || Ok(map.advance(&workers, &mut |_| ())?.done));
        let options = El2oOptions { starts, max_iterations: 1, tolerance: 1e-9, ..El2oOptions::default() };
        let mut el2o = El2o::new(options, 1).expect("valid");
        fails(&mut || Ok(el2o.advance(&workers, &mut |_| ())?.done));
    }
}

/// Where part of the prior is impossible, the evidence is that of the rest.
#[test]
fn evidences_know_of_walls() {
    let walled = |wall: f64| Formula {
        dim: 2,
        energy: move |z: &[f64], gradient: &mut [f64]| {
            gradient.copy_from_slice(z);
            gradient[1] += 4.0 * (z[1] - 1.0);
            let misfit = 2.0 * (z[1] - 1.0).powi(2);
            if z[0] < wall { f64::INFINITY } else { misfit + 0.5 * (z[0] * z[0] + z[1] * z[1]) }
        },
    };
    // The evidence of a datum 1 with a width of a half, without its constants, and the share of the prior beyond the wall.
    let datum = -0.5 * 5f64.ln() - 0.5 / 1.25;
    for (wall, inside) in [(-0.5, 0.691_462_461_274_013_1f64), (1.0, 0.158_655_253_931_457_05)] {
        let options = ThermodynamicOptions { draws: 1000, ..ThermodynamicOptions::default() };
        let mut ladder = Thermodynamic::new(options, 7).expect("valid");
        run_to_end(&mut ladder, &walled(wall)).expect("runs");
        evidence_is(&ladder, datum + inside.ln());
    }
    // Of Laplace's samples around the maximum, those beyond the wall have no weight, and are no samples.
    let options = MapOptions { optimizer: Optimizer::Lbfgs, samples: 4000, ..MapOptions::default() };
    let mut map = Map::new(options, 11).expect("valid");
    let draws = run_to_end(&mut map, &walled(-0.5)).expect("runs");
    evidence_is(&map, datum + 0.691_462_461_274_013_1f64.ln());
    assert!(samples(&draws).iter().all(|z| z[0] >= -0.5) && draws.len() < 3500);
}

#[test]
fn every_approximation_survives_interruption_bit_for_bit() {
    let (linear, poisson) = (linear_posterior::<f64>(), poisson_posterior(2.0));
    for optimizer in [Optimizer::GradientDescent, Optimizer::Adam] {
        let options =
            MapOptions { optimizer, samples: 3, starts: 3, max_iterations: 2000, ..MapOptions::default() };
        survives_interruption(Map::new(options, 4).expect("valid"), &poisson);
    }
    let options = El2oOptions { samples: 50, starts: 3, ..El2oOptions::default() };
    survives_interruption(El2o::new(options, 4).expect("valid"), &poisson);
    let options = PathfinderOptions { samples: 50, ..PathfinderOptions::default() };
    survives_interruption(Pathfinder::new(options, 4).expect("valid"), &linear);
    let options = ThermodynamicOptions { warmup: 20, draws: 30, ..ThermodynamicOptions::default() };
    survives_interruption(Thermodynamic::new(options, 4).expect("valid"), &linear);
    let map = || Map::new(MapOptions { samples: 20, ..MapOptions::default() }, 4).expect("valid");
    let hmc = Hmc::new(HmcOptions { warmup: 10, draws: 10, ..HmcOptions::default() }, 4).expect("valid");
    survives_interruption(WarmStarted::new(map(), hmc, 4), &linear);
    let options = MclmcOptions { warmup: 100, draws: 100, ..MclmcOptions::default() };
    survives_interruption(WarmStarted::new(map(), Mclmc::new(options, 4).expect("valid"), 4), &linear);
}

#[test]
fn what_cannot_be_done_is_said() {
    let refused = |error: lookback_inference::Error, word: &str| {
        assert!(error.to_string().contains(word), "{error}");
    };
    let large = Formula {
        dim: 3000,
        energy: |z: &[f64], gradient: &mut [f64]| {
            gradient.copy_from_slice(z);
            0.5 * z.iter().map(|z| z * z).sum::<f64>()
        },
    };
    let mut el2o = El2o::new(El2oOptions::default(), 1).expect("valid");
    refused(run_to_end(&mut el2o, &large).expect_err("too large"), "3000");
    let options = MapOptions { rank: 0, ..MapOptions::default() };
    refused(Map::<f64>::new(options, 1).expect_err("none"), "rank");
    let options = MapOptions {
        curvature: Some(Curvature::Hessian),
        samples: 1,
        optimizer: Optimizer::Lbfgs,
        ..MapOptions::default()
    };
    refused(run_to_end(&mut Map::new(options, 1).expect("valid"), &large).expect_err("too large"), "fisher");
    let nowhere = Formula { dim: 3, energy: |_: &[f64], _: &mut [f64]| f64::INFINITY };
    refused(
        run_to_end(&mut Pathfinder::<f64>::new(PathfinderOptions::default(), 1).expect("valid"), &nowhere)
            .expect_err("nowhere"),
        "starting point",
    );
    refused(
        run_to_end(
            &mut Thermodynamic::<f64>::new(ThermodynamicOptions::default(), 1).expect("valid"),
            &nowhere,
        )
        .expect_err("nowhere"),
        "starting point",
    );
    refused(
        Map::<f64>::new(MapOptions { starts: 0, ..MapOptions::default() }, 1).expect_err("none"),
        "starts",
    );
    refused(
        El2o::<f64>::new(El2oOptions { pairs: 0, ..El2oOptions::default() }, 1).expect_err("none"),
        "pairs",
    );
    let options = PathfinderOptions { tolerance: f64::NAN, ..PathfinderOptions::default() };
    refused(Pathfinder::<f64>::new(options, 1).expect_err("NaN"), "tolerance");
    let options = ThermodynamicOptions { overlap: 1.0, ..ThermodynamicOptions::default() };
    refused(Thermodynamic::<f64>::new(options, 1).expect_err("no step"), "overlap");
}
