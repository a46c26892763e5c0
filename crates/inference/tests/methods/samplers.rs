//! Samplers on densities that are given by a formula: widths that differ, walls, places without a number.

use lookback_inference::{
    Draw, Error, Evaluator, Hmc, HmcOptions, INTEGRATORS, Integrator, Mclmc, MclmcOptions, Method, Metric,
    Nuts, NutsOptions, PreconditionOptions, Preconditioned, Result, Sampler, Target, diagnostics, run_to_end,
};

use super::targets::{Formula, figure};

/// Independent Gaussians with mean 1 and these widths.
fn gaussian(widths: &[f64]) -> Formula<impl Fn(&[f64], &mut [f64]) -> f64 + Sync> {
    Formula {
        dim: widths.len(),
        energy: move |z: &[f64], gradient: &mut [f64]| {
            let mut energy = 0.0;
            for ((&z, g), width) in z.iter().zip(gradient).zip(widths) {
                *g = (z - 1.0) / width / width;
                energy += 0.5 * (z - 1.0) * *g;
            }
            energy
        },
    }
}

fn chains(draws: &[Draw<f64>], count: usize, of: impl Fn(&[f64]) -> f64) -> Vec<Vec<f64>> {
    let mut chains = vec![Vec::new(); count];
    for draw in draws {
        if let Draw::Sample { z, chain, .. } = draw {
            chains[*chain].push(of(z));
        }
    }
    chains
}

/// Mean of a function over the draws, and its Monte-Carlo error.
fn mean(chains: &[Vec<f64>]) -> (f64, f64) {
    let all = chains.concat();
    (all.iter().sum::<f64>() / all.len() as f64, diagnostics::mcse_mean(chains))
}

/// Forty latents with widths from 0.03 to 30.
fn widths() -> Vec<f64> {
    (0..40).map(|i| 0.03 * 1000f64.powf(f64::from(i) / 39.0)).collect()
}

/// First and second moments of every latent lie within five Monte-Carlo errors of the truth (80 looks: one in 20,000 by
/// chance), and the bias allowed.
fn moments_are_right(draws: &[Draw<f64>], widths: &[f64], bias: f64) {
    for (i, width) in widths.iter().enumerate() {
        let (first, error) = mean(&chains(draws, 4, |z| (z[i] - 1.0) / width));
        assert!(first.abs() < 5.0 * error, "mean of latent {i}: {first} +- {error}");
        let (second, error) = mean(&chains(draws, 4, |z| ((z[i] - 1.0) / width).powi(2)));
        assert!((second - 1.0).abs() < 5.0 * error + bias, "variance of latent {i}: {second} +- {error}");
    }
}

/// The second moment of all latents together, in units of their widths, which few draws know well.
fn second_moment(draws: &[Draw<f64>], widths: &[f64]) -> (f64, f64) {
    mean(&chains(draws, 4, |z| {
        let square = |(z, width): (&f64, &f64)| ((z - 1.0) / width).powi(2);
        z.iter().zip(widths).map(square).sum::<f64>() / widths.len() as f64
    }))
}

#[test]
fn nuts_learns_widths_that_differ_by_a_thousand() {
    let (widths, options) = (widths(), NutsOptions::default());
    let mut nuts = Nuts::new(options, 2).expect("valid");
    let draws = run_to_end(&mut nuts, &gaussian(&widths)).expect("runs");
    moments_are_right(&draws, &widths, 0.0);
    let gradients = figure(&nuts, "gradients_per_trajectory");
    assert!(gradients < 40.0, "with the widths known, trajectories are short: {gradients}");
    assert_eq!(figure(&nuts, "divergences"), 0.0);
}

#[test]
fn mclmc_learns_widths_that_differ_by_a_thousand() {
    let widths = widths();
    for (_, integrator) in INTEGRATORS {
        let options = MclmcOptions { integrator, draws: 20_000, ..MclmcOptions::default() };
        let mut mclmc = Mclmc::new(options, 2).expect("valid");
        let draws = run_to_end(&mut mclmc, &gaussian(&widths)).expect("runs");
        moments_are_right(&draws, &widths, 0.04);
        let energy_error = figure(&mclmc, "energy_error");
        assert!((1e-4..2e-3).contains(&energy_error), "{integrator:?}: {energy_error}");
    }
}

/// The direction is forgotten within a step or so, however long the warm-up: long ones look at some of their steps only.
#[test]
fn mclmc_learns_no_worse_in_a_longer_warm_up() {
    let widths = [1.0; 100];
    let steps = [1000, 12_000].map(|warmup| {
        let options = MclmcOptions { warmup, draws: 10, ..MclmcOptions::default() };
        let mut mclmc = Mclmc::new(options, 2).expect("valid");
        run_to_end(&mut mclmc, &gaussian(&widths)).expect("runs");
        figure(&mclmc, "decoherence_length") / figure(&mclmc, "step_size")
    });
    assert!((0.7..1.4).contains(&(steps[1] / steps[0])) && steps[0] < 1.5, "{steps:?}");
}

/// The figure `equipartition` shows the bias of the second moments about the mean, however far that is from zero, and the bias falls with
/// the error of the energy.
#[test]
fn mclmc_tells_its_bias() {
    const MEAN: f64 = 30.0;
    let target = Formula {
        dim: 100,
        energy: |z: &[f64], g: &mut [f64]| {
            g.iter_mut().zip(z).for_each(|(g, z)| *g = z - MEAN);
            0.5 * g.iter().map(|g| g * g).sum::<f64>()
        },
    };
    for (energy_error, biased) in [(2e-3, true), (5e-4, true), (1e-6, false)] {
        let options = MclmcOptions { energy_error, draws: 40_000, ..MclmcOptions::default() };
        let mut mclmc = Mclmc::new(options, 5).expect("valid");
        let draws = run_to_end(&mut mclmc, &target).expect("runs");
        let (second, error) =
            mean(&chains(&draws, 4, |z| z.iter().map(|z| (z - MEAN).powi(2)).sum::<f64>() / 100.0));
        let told = figure(&mclmc, "equipartition");
        println!("energy error {energy_error}: second moment {second:.5} +- {error:.5}, told {told:.5}");
        assert!((second - told).abs() < 5.0 * error, "{energy_error}: {second} +- {error}, told {told}");
        assert_eq!((told - 1.0).abs() > 5.0 * error, biased, "{energy_error}: {told} +- {error}");
    }
}

/// Half of a plane is impossible: `z_0 < -1`.
fn wall() -> Formula<impl Fn(&[f64], &mut [f64]) -> f64 + Sync> {
    Formula {
        dim: 2,
        energy: |z: &[f64], gradient: &mut [f64]| {
            gradient.copy_from_slice(z);
            if z[0] < -1.0 { f64::INFINITY } else { 0.5 * z.iter().map(|z| z * z).sum::<f64>() }
        },
    }
}

/// Mean of a normal number above -1: `phi(1) / Phi(1)`.
#[test]
fn nuts_stops_at_a_wall() {
    let mut nuts = Nuts::new(NutsOptions { draws: 4000, ..NutsOptions::default() }, 7).expect("valid");
    let draws = run_to_end(&mut nuts, &wall()).expect("runs");
    let (found, error) = mean(&chains(&draws, 4, |z| z[0]));
    let expected = 0.241_970_724_519_143_4 / 0.841_344_746_068_542_9;
    assert!((found - expected).abs() < 5.0 * error, "{found} +- {error}, not {expected}");
    let diverged = draws.iter().filter(|draw| matches!(draw, Draw::Sample { diverged: true, .. })).count();
    assert!(diverged > 0 && diverged as f64 == figure(&nuts, "divergences"), "each is told with its draw");
}

#[test]
fn mclmc_turns_back_at_a_wall() {
    let mut mclmc = Mclmc::new(MclmcOptions::default(), 7).expect("valid");
    let draws = run_to_end(&mut mclmc, &wall()).expect("runs");
    assert!(chains(&draws, 4, |z| z[0]).concat().iter().all(|&x| x >= -1.0));
    assert!(figure(&mclmc, "divergences") > 0.0);
}

#[test]
fn impossible_starts_end_in_clear_words() {
    let nothing = Formula { dim: 3, energy: |_: &[f64], _: &mut [f64]| f64::NAN };
    let steep = Formula {
        dim: 3,
        energy: |_: &[f64], g: &mut [f64]| {
            g.copy_from_slice(&[0.0, f64::INFINITY, 0.0]);
            1.0
        },
    };
    let fails = |target: &dyn Target<f64>| -> [Error; 3] {
        [
            run_to_end(&mut Hmc::new(HmcOptions::default(), 1).expect("valid"), target).expect_err("fails"),
            run_to_end(&mut Nuts::new(NutsOptions::default(), 1).expect("valid"), target).expect_err("fails"),
            run_to_end(&mut Mclmc::new(MclmcOptions::default(), 1).expect("valid"), target)
                .expect_err("fails"),
        ]
    };
    for error in fails(&nothing) {
        assert!(matches!(error, Error::Start { .. }), "{error}");
    }
    for error in fails(&steep) {
        assert_eq!(error, Error::StartGradient { index: 1, value: f64::INFINITY });
    }
}

#[test]
fn one_dimension_is_for_nuts() {
    let line = gaussian(&[2.0]);
    let mut mclmc = Mclmc::new(MclmcOptions::default(), 1).expect("valid");
    let error = run_to_end(&mut mclmc, &line).expect_err("refused");
    assert!(error.to_string().contains("nuts"), "{error}");
    let draws = run_to_end(&mut Nuts::new(NutsOptions::default(), 1).expect("valid"), &line).expect("runs");
    moments_are_right(&draws, &[2.0], 0.0);
}

#[test]
fn bad_options_are_named() {
    let nuts = |options| Nuts::<f64>::new(options, 1).expect_err("refused").to_string();
    assert!(nuts(NutsOptions { max_depth: 0, ..Default::default() }).contains("`max_depth`"));
    assert!(
        nuts(NutsOptions { target_acceptance: f64::NAN, ..Default::default() })
            .contains("`target_acceptance`")
    );
    assert!(nuts(NutsOptions { chains: 0, ..Default::default() }).contains("`chains`"));
    for spread in [0.0, f64::INFINITY, f64::NAN] {
        let halve_above = Some(spread);
        assert!(nuts(NutsOptions { halve_above, ..Default::default() }).contains("`halve_above`"));
    }
    let mclmc = |options| Mclmc::<f64>::new(options, 1).expect_err("refused").to_string();
    assert!(mclmc(MclmcOptions { energy_error: 0.0, ..Default::default() }).contains("`energy_error`"));
    assert!(mclmc(MclmcOptions { warmup: 10, ..Default::default() }).contains("`warmup`"));
    assert!(mclmc(MclmcOptions { draws: 5, thin: 10, ..Default::default() }).contains("`thin`"));
    assert!(mclmc(MclmcOptions { draws: 1 << 23, ..Default::default() }).contains("4 million"));
}

/// In single precision and in more dimensions than one thread does alone, threads change nothing.
#[test]
fn threads_do_not_change_a_bit() {
    struct Sphere;
    impl Target<f32> for Sphere {
        fn dim(&self) -> usize {
            70_001
        }
        fn evaluator(&self) -> Box<dyn Evaluator<f32> + '_> {
            Box::new(Sphere)
        }
    }
    impl Evaluator<f32> for Sphere {
        fn energy(&mut self, z: &[f32], gradient: &mut [f32]) -> Result<f64> {
            gradient.copy_from_slice(z);
            Ok(0.5 * z.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>())
        }
    }
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let options = MclmcOptions { chains: 2, warmup: 100, draws: 20, thin: 20, ..Default::default() };
            let mut draws =
                run_to_end(&mut Mclmc::<f32>::new(options, 1).expect("valid"), &Sphere).expect("runs");
            for metric in [Metric::Unit, Metric::Diagonal] {
                let options = NutsOptions {
                    chains: 2,
                    warmup: 12,
                    draws: 2,
                    max_depth: 5,
                    metric,
                    ..Default::default()
                };
                let mut nuts = Nuts::<f32>::new(options, 1).expect("valid");
                draws.extend(run_to_end(&mut nuts, &Sphere).expect("runs"));
            }
            draws
        })
    };
    assert_eq!(with(1), with(3));
}

/// A Gaussian whose precision is `Q diag Q^T` with curvatures from 1e-2 to 1e4 in random directions.
#[allow(clippy::type_complexity)]
fn correlated(dim: usize) -> (Formula<impl Fn(&[f64], &mut [f64]) -> f64 + Sync>, Vec<f64>) {
    use lookback_operator::random::{Purpose, Stream};
    let stream = Stream::new(9, Purpose::Test, 0);
    let mut white = vec![0.0; dim * dim];
    stream.fill_normal(&mut white);
    let q = nalgebra::DMatrix::from_vec(dim, dim, white).qr().q();
    let curvatures =
        nalgebra::DVector::from_fn(dim, |i, _| 10f64.powf(-2.0 + 6.0 * i as f64 / (dim - 1) as f64));
    let precision = &q * nalgebra::DMatrix::from_diagonal(&curvatures) * q.transpose();
    let covariance = &q * nalgebra::DMatrix::from_diagonal(&curvatures.map(|c| 1.0 / c)) * q.transpose();
    let variances = covariance.diagonal().iter().copied().collect();
    let energy = move |z: &[f64], gradient: &mut [f64]| {
        let z = nalgebra::DVector::from_column_slice(z);
        let slope = &precision * &z;
        gradient.copy_from_slice(slope.as_slice());
        0.5 * z.dot(&slope)
    };
    (Formula { dim, energy }, variances)
}

#[test]
fn preconditioned_samplers_do_not_mind_correlations() {
    let (target, variances) = correlated(40);
    let nuts = NutsOptions { warmup: 100, draws: 1000, start_scale: 1.0, ..NutsOptions::default() };
    let mclmc =
        MclmcOptions { warmup: 1000, draws: 4000, thin: 4, start_scale: 1.0, ..MclmcOptions::default() };
    let options = PreconditionOptions { rank: 40, tolerance: 1e-4, ..PreconditionOptions::default() };
    let nuts = Preconditioned::new(options.clone(), Nuts::new(nuts, 1).expect("valid"), 1).expect("valid");
    let mclmc = Preconditioned::new(options, Mclmc::new(mclmc, 1).expect("valid"), 1).expect("valid");
    check(nuts, &target, &variances, 0.0);
    // The bias of MCLMC's variances is 2 %.
    check(mclmc, &target, &variances, 0.04);

    fn check(mut method: impl Method<f64>, target: &dyn Target<f64>, variances: &[f64], bias: f64) {
        let draws = run_to_end(&mut method, target).expect("runs");
        for (i, variance) in variances.iter().enumerate() {
            let squares = chains(&draws, 4, |z| z[i] * z[i]);
            let (mean, error) = mean(&squares);
            assert!(
                (mean - variance).abs() < 5.0 * error + bias * variance,
                "{i}: {mean} {variance} {error}"
            );
            assert!(diagnostics::ess_bulk(&chains(&draws, 4, |z| z[i])) > 1500.0, "{i}");
        }
    }
}

/// Two islands that no chain leaves: in the coordinates of one of them, chains still begin where they are told.
#[test]
fn preconditioned_chains_start_where_they_are_told() {
    let energy = |z: &[f64], gradient: &mut [f64]| {
        let side = z[0].signum();
        let from = |i: usize| z[i] - if i == 0 { 20.0 * side } else { 0.0 };
        gradient.iter_mut().enumerate().for_each(|(i, g)| *g = from(i) * 4.0);
        (0..z.len()).map(|i| 2.0 * from(i).powi(2)).sum()
    };
    let nuts = NutsOptions { chains: 2, warmup: 50, draws: 50, ..NutsOptions::default() };
    let options = PreconditionOptions { rank: 3, ..PreconditionOptions::default() };
    let method = Preconditioned::new(options, Nuts::new(nuts, 1).expect("valid"), 1).expect("valid");
    let mut method = method.around(vec![20.0, 0.0, 0.0]);
    method.start_from(vec![vec![20.5, 0.1, 0.2], vec![-19.5, 0.1, 0.2]]);
    let draws = run_to_end(&mut method, &Formula { dim: 3, energy }).expect("runs");
    for draw in draws {
        if let Draw::Sample { z, chain, .. } = draw {
            let island = if chain == 0 { 20.0 } else { -20.0 };
            assert!((z[0] - island).abs() < 4.0, "chain {chain} is at {}", z[0]);
        }
    }
}

/// Accepted or refused, microcanonical trajectories have no bias: every variance of 100 latents within five errors.
#[test]
fn mams_is_exact_where_mclmc_is_biased() {
    let widths: Vec<f64> = (0..100).map(|i| 0.3 * 10f64.powf(f64::from(i) / 99.0)).collect();
    let options = HmcOptions { draws: 4000, ..HmcOptions::default() };
    let mut mams = Hmc::microcanonical(options, 4).expect("valid");
    let draws = run_to_end(&mut mams, &gaussian(&widths)).expect("runs");
    moments_are_right(&draws, &widths, 0.0);
    let all = second_moment(&draws, &widths);
    assert!((all.0 - 1.0).abs() < 5.0 * all.1 && all.1 < 2e-3, "{all:?}");
}

/// All variances, one by one, and together within five errors, of half a percent at most.
fn is_exact(name: &str, mut method: impl Method<f64>) {
    let widths: Vec<f64> = (0..40).map(|i| 0.5 * 4f64.powf(f64::from(i) / 39.0)).collect();
    let draws = run_to_end(&mut method, &gaussian(&widths)).expect("runs");
    moments_are_right(&draws, &widths, 0.0);
    let (second, error) = second_moment(&draws, &widths);
    println!("{name}: {second} +- {error}");
    assert!((second - 1.0).abs() < 5.0 * error && error < 5e-3, "{name}: {second} +- {error}");
}

/// Whatever a step is made of, what accepts or refuses has no bias.
#[test]
fn all_splittings_are_exact_where_trajectories_are_accepted() {
    for (name, integrator) in INTEGRATORS {
        let options = HmcOptions { draws: 2500, integrator, ..HmcOptions::default() };
        is_exact(&format!("hmc, {name}"), Hmc::new(options.clone(), 4).expect("valid"));
        is_exact(&format!("mams, {name}"), Hmc::microcanonical(options, 5).expect("valid"));
        let options = NutsOptions { draws: 2500, integrator, ..NutsOptions::default() };
        is_exact(&format!("nuts, {name}"), Nuts::new(options, 6).expect("valid"));
    }
}

/// The step size that a method finds for Gaussians of these widths.
fn step_size(method: Result<impl Method<f64>>, widths: &[f64]) -> f64 {
    let mut method = method.expect("valid");
    run_to_end(&mut method, &gaussian(widths)).expect("runs");
    figure(&method, "step_size")
}

#[test]
fn two_stages_take_longer_steps_than_two_of_the_leapfrog() {
    let widths = vec![1.0; 3000];
    let each = [Integrator::Leapfrog, Integrator::TwoStage].map(|integrator| {
        let (chains, warmup, draws) = (2, 60, 20);
        let metric = Metric::Unit;
        let options = NutsOptions { chains, warmup, draws, metric, integrator, ..NutsOptions::default() };
        let nuts = step_size(Nuts::new(options, 3), &widths);
        let options = HmcOptions { chains, warmup, draws, integrator, ..HmcOptions::default() };
        [
            nuts,
            step_size(Hmc::new(options.clone(), 3), &widths),
            step_size(Hmc::microcanonical(options, 3), &widths),
        ]
    });
    for (method, (short, long)) in ["nuts", "hmc", "mams"].iter().zip(each[0].iter().zip(each[1])) {
        println!("{method}: {short} and {long}");
        assert!(long > 2.5 * short, "{method}: {long} {short}");
    }
}

/// A chain that begins at the very maximum has no gradient to turn its direction: the step is as long as any other, so that it needs no
/// warm-up to get away.
#[test]
fn mams_leaves_a_flat_start() {
    let options = HmcOptions { start_scale: 0.0, warmup: 0, draws: 1000, ..HmcOptions::default() };
    let mut mams = Hmc::microcanonical(options, 4).expect("valid");
    let target = Formula {
        dim: 50,
        energy: |z: &[f64], g: &mut [f64]| {
            g.copy_from_slice(z);
            0.5 * z.iter().map(|z| z * z).sum::<f64>()
        },
    };
    let draws = run_to_end(&mut mams, &target).expect("runs");
    let (second, error) = mean(&chains(&draws, 4, |z| z.iter().map(|z| z * z).sum::<f64>() / 50.0));
    assert!((second - 1.0).abs() < 5.0 * error, "{second} +- {error}");
    assert!(mams.figures().iter().all(|(name, _)| name != "e_bfmi_min"), "no momenta, no E-BFMI");
}

/// A funnel: `x_0 ~ N(0, 6.25)`, nine others `N(0, exp(x_0))`. Steps that are right in its mouth are too long for its neck.
fn funnel() -> Formula<impl Fn(&[f64], &mut [f64]) -> f64 + Sync> {
    let energy = |z: &[f64], gradient: &mut [f64]| {
        let narrow = (-z[0]).exp();
        let sum: f64 = z[1..].iter().map(|z| z * z).sum();
        gradient[1..].iter_mut().zip(&z[1..]).for_each(|(g, z)| *g = z * narrow);
        gradient[0] = z[0] / 6.25 + 4.5 - 0.5 * narrow * sum;
        z[0] * z[0] / 12.5 + 4.5 * z[0] + 0.5 * narrow * sum
    };
    Formula { dim: 10, energy }
}

#[test]
fn halved_steps_come_through_the_neck_of_a_funnel() {
    // The twentieth part of it lies below.
    let neck = -2.5 * 1.644_853_626_951;
    let share_in_neck = |halve_above: Option<f64>| {
        let options = NutsOptions {
            warmup: 300,
            draws: 12_000,
            metric: Metric::Unit,
            halve_above,
            ..NutsOptions::default()
        };
        let mut nuts = Nuts::new(options, 1).expect("valid");
        let draws = run_to_end(&mut nuts, &funnel()).expect("runs");
        let figures = nuts.figures();
        let figure =
            |name: &str| figures.iter().find(|figure| figure.0 == name).map_or(0.0, |figure| figure.1);
        let in_neck = chains(&draws, 4, |z| f64::from(u8::from(z[0] < neck)));
        (mean(&in_neck), figure("divergences"), figure("trajectories_halved"))
    };
    let ((share, _), divergences, _) = share_in_neck(None);
    println!("{share} without, {divergences} divergences");
    assert!(divergences > 0.0);
    let ((share, error), divergences, halved) = share_in_neck(Some(2.0));
    println!("{share} +- {error} in the neck, {halved} trajectories with halved steps");
    assert!((share - 0.05).abs() < 4.0 * error && error < 0.012, "{share} {error}");
    assert!(divergences == 0.0 && halved > 1000.0, "{divergences} {halved}");
}

/// One transition each from exact draws of the funnel leaves them exact draws.
#[test]
fn halved_steps_leave_a_funnel_as_it_is() {
    use lookback_operator::random::{Purpose, Stream};
    const CHAINS: usize = 500;
    let scaled = |z: &[f64]| {
        let width = (-0.5 * z[0]).exp();
        let squares: f64 = z[1..].iter().map(|z| (z * width).powi(2)).sum();
        [z[0] / 2.5, (z[0] / 2.5).powi(2), (z[0] / 2.5).powi(3), squares, squares * z[0]]
    };
    let (mut sums, mut squares, mut count) = ([0.0; 5], [0.0; 5], 0.0);
    let (mut halved, mut one_way) = (0.0, 0.0);
    for seed in 0..160 {
        let stream = Stream::new(11, Purpose::Test, seed);
        let starts: Vec<Vec<f64>> = (0..CHAINS)
            .map(|chain| {
                let mut z = [0; 10].map(|_: i32| 0.0);
                (0..10).for_each(|i| z[i] = stream.normal((10 * chain + i) as u64));
                z[0] *= 2.5;
                let width = (0.5 * z[0]).exp();
                z[1..].iter_mut().for_each(|z| *z *= width);
                z.to_vec()
            })
            .collect();
        let options = NutsOptions {
            chains: CHAINS,
            warmup: 0,
            draws: 1,
            metric: Metric::Unit,
            halve_above: Some(1.0),
            ..NutsOptions::default()
        };
        let mut nuts = Nuts::new(options, u64::from(seed)).expect("valid");
        nuts.start_from(starts.clone());
        for draw in run_to_end(&mut nuts, &funnel()).expect("runs") {
            let Draw::Sample { z, chain, .. } = draw else { panic!("not a sample") };
            let (before, after) = (scaled(&starts[chain]), scaled(&z));
            for i in 0..5 {
                let change = after[i] - before[i];
                sums[i] += change;
                squares[i] += change * change;
            }
            count += 1.0;
        }
        for (name, figure) in nuts.figures() {
            halved += if name == "trajectories_halved" { figure } else { 0.0 };
            one_way += if name == "trajectories_one_way" { figure } else { 0.0 };
        }
    }
    let far: Vec<f64> = sums.iter().zip(squares).map(|(sum, squares)| sum / f64::sqrt(squares)).collect();
    println!(
        "{count} transitions, {halved} with halved steps, {one_way} end one way; changes in errors {far:.2?}"
    );
    assert!(halved > 5000.0 && one_way > 1000.0);
    assert!(far.iter().all(|far| far.abs() < 4.0), "{far:?}");
}
