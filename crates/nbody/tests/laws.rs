//! What must hold for every simulation: laws of operators, reversal in time, and the same numbers in either precision.

use lookback_cosmology::{
    Cosmology, Normalization, Parameters, PowerTable, Settings as CosmologySettings, Tables,
};
use lookback_mesh::{Grid, Window, bin_edges, power_spectrum};
use lookback_nbody::{
    GradientKernel, Kernels, LaplaceKernel, Lpt, Middle, Particles, SHARPENING_PARAMETERS, Scheme, Settings,
    SharpenedPower, Sharpening, Simulation, Snapshot, equal_in_growth,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector::{dot, step};
use lookback_operator::{Linearization, Operator, Real, laws};

fn settings(particles: usize, steps: usize) -> Settings {
    Settings {
        particles,
        length: 5.0 * particles as f64,
        cells: particles,
        window: Window::Cic,
        kernels: Kernels::default(),
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: (0..=steps).map(|i| 0.1 + 0.9 * i as f64 / steps as f64).collect(),
    }
}

fn cosmology() -> Cosmology<f64> {
    Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("a cosmology")
}

/// Two species of neutrinos share a mass.
fn neutrinos() -> Cosmology<f64> {
    let parameters = Parameters { m_nu: 0.3, ..Parameters::planck18() };
    let settings = CosmologySettings { massive_neutrinos: 2, ..CosmologySettings::default() };
    Cosmology::new(parameters, settings).expect("a cosmology")
}

fn white<T: Real>(len: usize) -> Vec<T> {
    let mut modes = vec![T::zero(); len];
    Stream::new(4, Purpose::Signal, 0).fill_normal(&mut modes);
    modes
}

const FREE: [&str; 8] = ["omega_m", "omega_b", "h", "n_s", "sigma8", "w0", "wa", "omega_k"];

#[test]
fn every_kind_of_simulation_obeys_the_laws() {
    let four_point = Kernels {
        gradient: GradientKernel::FourPoint,
        laplace: LaplaceKernel::FiniteDifference,
        compensate: true,
    };
    let base = settings(8, 3);
    let sharpening = Some(Sharpening { alpha: 0.3, mu: -1.2, kl: 0.2, ks: 0.8 });
    let kinds = [
        base.clone(),
        Settings { cells: 16, kernels: four_point, start_kernels: four_point, ..base.clone() },
        Settings { cells: 16, kernels: four_point, sharpening, ..base.clone() },
        Settings { cells: 12, scheme: Scheme::FastPm(Middle::Geometric), ..base.clone() },
        Settings {
            kernels: Kernels { compensate: true, ..Kernels::default() },
            window: Window::Tsc,
            ..base.clone()
        },
        Settings { kernels: four_point, window: Window::Tsc, ..base.clone() },
        Settings { lpt: Lpt::First, scheme: Scheme::FastPm(Middle::Arithmetic), ..base.clone() },
        Settings { lpt: Lpt::Third, ..base.clone() },
        Settings { kernels: Kernels { gradient: GradientKernel::TwoPoint, ..four_point }, ..base.clone() },
        Settings { sharpening, ..base.clone() },
        Settings { sharpening, kernels: four_point, ..base.clone() },
        Settings { sharpening, kernels: four_point, keep_potentials: true, ..base.clone() },
        Settings { cells: 16, kernels: four_point, keep_potentials: true, ..base.clone() },
        Settings { checkpoints: 2, ..base.clone() },
        Settings {
            checkpoints: 1,
            keep_potentials: true,
            kernels: four_point,
            scheme: Scheme::FastPm(Middle::Geometric),
            ..base.clone()
        },
        Settings { kernels: four_point, window: Window::Tsc, keep_potentials: true, ..base.clone() },
    ];
    for kind in kinds {
        let mut free = FREE.to_vec();
        if kind.sharpening.is_some() {
            free.extend(SHARPENING_PARAMETERS);
        }
        obeys_the_laws(kind, cosmology(), &free);
    }
    obeys_the_laws(base, neutrinos(), &[&FREE[..], &["m_nu", "n_eff", "t_cmb"]].concat());
}

fn obeys_the_laws(settings: Settings, cosmology: Cosmology<f64>, free: &[&str]) {
    let simulation = Simulation::<f64>::new(settings, cosmology, free).expect("a simulation");
    let x = simulation.point(&white(512));
    let violation = laws::dot_product(&simulation, &x).expect("evaluated");
    assert!(violation < 1e-10, "{}: {violation:.1e}", simulation.name());
    gradient_agrees_with_differences(&simulation, &x, 512);
}

/// What particles are at the end is what a run says, and has derivatives by modes and parameters.
#[test]
fn particles_obey_the_laws() {
    let half = vec![0.1, 0.3, 0.5];
    for (scheme, times) in
        [(Scheme::BullFrog, half), (Scheme::FastPm(Middle::Geometric), vec![0.1, 0.4, 1.0])]
    {
        let settings = Settings { scheme, times, ..settings(8, 3) };
        let end = settings.times[2];
        let simulation = Simulation::<f64>::new(settings, cosmology(), &FREE).expect("a simulation");
        let x = simulation.point(&white(512));
        let mut run = simulation.run().expect("a run");
        run.evolve(&x, None).expect("evolved");
        let state = run.state();
        let particles = Particles::new(simulation.clone()).expect("particles");
        let found = particles.apply(&x).expect("evolved");
        // Momenta are a^2 dx/dt in H0 Mpc/h, velocities a dx/dt in km/s.
        let velocities = state.momentum.iter().map(|p| 100.0 * p / end);
        let expected: Vec<f64> = state.displacement.iter().copied().chain(velocities).collect();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-11 * (1.0 + expected.abs()), "{found} {expected}");
        }
        let violation = laws::dot_product(&particles, &x).expect("evaluated");
        assert!(violation < 1e-10, "{violation:.1e}");
        gradient_agrees_with_differences(&particles, &x, 512);
    }
    let sharpening = Some(Sharpening { alpha: 0.3, mu: -1.2, kl: 0.2, ks: 0.8 });
    let sharpened = Settings { sharpening, ..settings(8, 3) };
    let sharpened = Simulation::<f64>::new(sharpened, cosmology(), &[]).expect("a simulation");
    assert!(Particles::new(sharpened).err().expect("refused").to_string().contains("sharpening"));
}

/// The derivative along the modes and along each parameter, against central differences of a smooth function.
fn gradient_agrees_with_differences(simulation: &dyn Operator<f64>, x: &[f64], modes: usize) {
    let weight: Vec<f64> = white(simulation.codomain().len());
    let directions = laws::directions(&white::<f64>(modes), x.len());
    // The weights have kinks where a particle crosses a cell, so the step is as small as rounding allows.
    let slopes = laws::slopes(simulation, &weight, x, &directions, 1e-6).expect("evaluated");
    for (direction, (exact, difference)) in slopes.into_iter().enumerate() {
        let error = (exact - difference).abs() / exact.abs().max(1.0);
        assert!(error < 1e-5, "{} direction {direction}: {exact} {difference}", simulation.name());
    }
}

#[test]
fn time_runs_backwards() {
    fn reversal<T: Real>(steps: usize, scheme: Scheme) -> f64 {
        let settings = Settings { scheme, ..settings(32, steps) };
        let simulation = Simulation::<T>::new(settings, cosmology(), &[]).expect("a simulation");
        let mut run = simulation.run().expect("a run");
        run.evolve(&white(32usize.pow(3)), None).expect("evolved");
        run.reversal_error()
    }
    for scheme in [Scheme::BullFrog, Scheme::FastPm(Middle::Geometric)] {
        for steps in [10, 40, 100] {
            let (single, double) = (reversal::<f32>(steps, scheme), reversal::<f64>(steps, scheme));
            assert!(single < 1e-4 && double < 1e-10, "{scheme:?}, {steps} steps: {single:.1e}, {double:.1e}");
        }
    }
}

/// Power below half of the particles' Nyquist number, beside that of a hundred steps; FastPM with steps that are equal in the scale factor, and in growth.
#[test]
fn bullfrog_needs_at_most_half_of_fastpms_steps() {
    let (side, length) = (32, 128.0);
    let grid = Grid::new(&[2 * side; 3], &[length; 3]).expect("a grid");
    let nyquist = std::f64::consts::PI * side as f64 / length;
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let power = |scheme: Scheme, times: Vec<f64>| -> Vec<f64> {
        let settings = Settings { scheme, length, cells: 2 * side, kernels, times, ..settings(side, 2) };
        let simulation = Simulation::<f32>::new(settings, cosmology(), &[]).expect("a simulation");
        let delta = simulation.apply(&white(side.pow(3))).expect("evolved");
        let found = power_spectrum(&grid, &delta, &bin_edges(&grid, 30)).expect("measured");
        let bins = found.k.iter().zip(&found.power).filter(|(k, _)| **k < 0.5 * nyquist);
        bins.map(|(_, power)| *power).collect()
    };
    let truth = power(Scheme::BullFrog, equal_in_growth(&cosmology(), 0.1, 100));
    let off = |scheme, times| {
        let pairs = power(scheme, times).into_iter().zip(&truth);
        pairs.map(|(power, truth)| (power / truth - 1.0).abs()).fold(0.0, f64::max)
    };
    for steps in [5, 10] {
        let bullfrog = off(Scheme::BullFrog, equal_in_growth(&cosmology(), 0.1, steps));
        for middle in [Middle::Geometric, Middle::Arithmetic] {
            for times in [settings(side, 2 * steps).times, equal_in_growth(&cosmology(), 0.1, 2 * steps)] {
                let fastpm = off(Scheme::FastPm(middle), times);
                println!("{steps} steps of BullFrog: {bullfrog:.1e}; {} of FastPM: {fastpm:.1e}", 2 * steps);
                assert!(bullfrog < fastpm, "{steps} steps: {bullfrog:.1e}, {fastpm:.1e}");
            }
        }
    }
}

/// With the gradient of a spectrum, and with differences that particles take themselves, of potentials that are found anew or kept.
fn kinds_of_gradients(particles: usize, steps: usize) -> [Settings; 3] {
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let base = settings(particles, steps);
    let fine = Settings { cells: 2 * particles, kernels, ..base.clone() };
    [base, fine.clone(), Settings { keep_potentials: true, ..fine }]
}

/// The gradient of half the sum of squares of the density, and how many of its numbers are modes.
fn gradient<T: Real>(settings: Settings) -> (Vec<f64>, usize) {
    let modes = settings.particles.pow(3);
    let simulation = Simulation::<T>::new(settings, cosmology(), &["sigma8", "omega_m"]).expect("made");
    let x = simulation.point(&white::<f64>(modes).into_iter().map(T::of).collect::<Vec<T>>());
    let (delta, mut linearization) = simulation.linearize(&x).expect("a linearization");
    let mut gradient = vec![T::zero(); x.len()];
    linearization.pull(&delta, &mut gradient).expect("a gradient");
    (gradient.into_iter().map(Real::f64).collect(), modes)
}

#[test]
fn single_precision_gives_the_gradient_to_a_thousandth() {
    for settings in kinds_of_gradients(32, 10) {
        let ((single, _), (double, modes)) =
            (gradient::<f32>(settings.clone()), gradient::<f64>(settings.clone()));
        let difference = step(&single, -1.0, &double);
        let norm = |v: &[f64]| dot(v, v).sqrt();
        let relative = norm(&difference[..modes]) / norm(&double[..modes]);
        println!("gradient of modes on {}^3 cells, f32 against f64: {relative:.1e}", settings.cells);
        assert!(relative < 1e-3, "{relative:.1e}");
        for i in modes..double.len() {
            let relative = (difference[i] / double[i]).abs();
            assert!(relative < 1e-3, "parameter {}: {relative:.1e}", i - modes);
        }
    }
}

/// Steps as small as these, of particles as near each other, cannot be run back in single precision.
#[test]
fn checkpoints_bound_what_is_lost_on_the_way_back() {
    let scheme = Scheme::BullFrog;
    let times: Vec<f64> = (0..=60).map(|i| 0.02 + 0.98 * f64::from(i) / 60.0).collect();
    let base = Settings { length: 1.6, cells: 32, scheme, times, ..settings(16, 5) };
    let (double, modes) = gradient::<f64>(base.clone());
    let norm = |v: &[f64]| dot(v, v).sqrt();
    let off = |checkpoints: usize| {
        let (single, _) = gradient::<f32>(Settings { checkpoints, ..base.clone() });
        norm(&step(&single[..modes], -1.0, &double[..modes])) / norm(&double[..modes])
    };
    let lost = [0, 5, 60].map(off);
    println!("gradient in f32 with 0, 5 and 60 checkpoints: {lost:?}");
    assert!(lost[1] < 0.7 * lost[0] && lost[2] < 0.3 * lost[0], "{lost:?}");
    // In double precision nothing is lost, with a look on the way or without.
    for checkpoints in [1, 3, 100] {
        let (kept, _) = gradient::<f64>(Settings { checkpoints, ..base.clone() });
        assert!(norm(&step(&kept, -1.0, &double)) < 1e-9 * norm(&double), "{checkpoints}");
    }
}

#[test]
fn kept_potentials_give_the_same_derivatives() {
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let schemes = [Scheme::BullFrog, Scheme::FastPm(Middle::Geometric)];
    for (scheme, cells) in schemes.into_iter().flat_map(|scheme| [(scheme, 16), (scheme, 32)]) {
        let anew = Settings { cells, kernels, scheme, ..settings(16, 5) };
        let kept = Settings { keep_potentials: true, ..anew.clone() };
        let derivatives = |settings: &Settings| {
            let simulation =
                Simulation::<f64>::new(settings.clone(), cosmology(), &["omega_m"]).expect("made");
            let mut linearization = simulation.linearization();
            let (mut delta, mut results) = (vec![0.0; simulation.codomain().len()], Vec::new());
            // Two points, and at each of them every product twice.
            for share in [1.0, 0.3] {
                let modes: Vec<f64> = white::<f64>(4096).into_iter().map(|x| share * x).collect();
                let x = simulation.point(&modes);
                linearization.move_to(&x, &mut delta).expect("evolved");
                let cotangent = delta.clone();
                for _ in 0..2 {
                    let (mut dx, mut dy) = (vec![0.0; x.len()], vec![0.0; delta.len()]);
                    linearization.pull(&cotangent, &mut dx).expect("a gradient");
                    linearization.push(&x, &mut dy).expect("a tangent");
                    results.extend([dx, dy]);
                }
            }
            results
        };
        for (kept, anew) in derivatives(&kept).into_iter().zip(derivatives(&anew)) {
            let difference = step(&kept, -1.0, &anew);
            let relative = (dot(&difference, &difference) / dot(&anew, &anew)).sqrt();
            assert!(relative < 1e-11, "{scheme:?}, {cells}^3 cells: {relative:.1e}");
        }
    }
}

#[test]
fn a_result_does_not_depend_on_the_number_of_threads() {
    for settings in kinds_of_gradients(16, 3) {
        let simulation = Simulation::<f32>::new(settings.clone(), cosmology(), &[]).expect("a simulation");
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                (simulation.apply(&white(4096)).expect("evolved"), gradient::<f32>(settings.clone()))
            })
        };
        assert_eq!(with(1), with(3));
    }
}

#[test]
fn a_run_forgets_where_it_was() {
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let sharpening = Some(Sharpening { alpha: 0.3, mu: -1.2, kl: 0.2, ks: 0.8 });
    let orders = [Lpt::First, Lpt::Second, Lpt::Third].map(|lpt| Settings { lpt, ..settings(8, 2) });
    let sharpened = Settings { cells: 16, kernels, sharpening, ..settings(8, 2) };
    let kept = Settings { cells: 16, kernels, keep_potentials: true, checkpoints: 1, ..settings(8, 2) };
    for settings in orders.into_iter().chain([sharpened, kept]) {
        let simulation =
            Simulation::<f64>::new(settings.clone(), cosmology(), &["sigma8"]).expect("a simulation");
        let x = simulation.point(&white(512));
        let mut far: Vec<f64> = x.iter().map(|x| f64::MAX * x.signum()).collect();
        far[512] = x[512];
        // Density, tangent and gradient at the last of the points.
        let all = |points: &[&[f64]]| {
            let mut run = simulation.run().expect("a run");
            run.expect_derivatives();
            let [mut delta, mut tangent] = [0, 1].map(|_| vec![0.0; simulation.codomain().len()]);
            let (mut gradient, cotangent) = (vec![0.0; x.len()], white(simulation.codomain().len()));
            let mut last = None;
            for point in points {
                last = Some(run.move_to(point, &mut delta).map(|()| delta.clone()));
                run.push(&x, &mut tangent).expect("a tangent");
                run.pull(&cotangent, &mut gradient).expect("a gradient");
            }
            last.expect("a point").map(|delta| [delta, tangent, gradient])
        };
        // The sums of such modes overflow, and what is left of them is no number.
        let error = all(&[&far]).expect_err("no density").to_string();
        assert!(error.contains("density"), "{settings:?}: {error}");
        let [anew, after] = [all(&[&x]), all(&[&far, &x])].map(|all| all.expect("evolved"));
        assert!(anew.iter().flatten().all(|x| x.is_finite()), "{settings:?}");
        assert_eq!(anew, after, "{settings:?}");
    }
}

/// Twice the steps, a quarter of the error: both schemes are of second order, and have one limit.
#[test]
fn schemes_converge_to_one_answer() {
    let end = |scheme: Scheme, steps: usize| {
        let settings = Settings { scheme, ..settings(32, steps) };
        let simulation = Simulation::<f64>::new(settings, cosmology(), &[]).expect("a simulation");
        let mut run = simulation.run().expect("a run");
        run.evolve(&white(32usize.pow(3)), None).expect("evolved");
        run.state().displacement
    };
    let truth = end(Scheme::FastPm(Middle::Geometric), 160);
    let error = |x: &[f64]| {
        let difference = step(x, -1.0, &truth);
        (dot(&difference, &difference) / dot(&truth, &truth)).sqrt()
    };
    for scheme in [Scheme::BullFrog, Scheme::FastPm(Middle::Geometric), Scheme::FastPm(Middle::Arithmetic)] {
        let (coarse, fine) = (error(&end(scheme, 10)), error(&end(scheme, 20)));
        println!(
            "{scheme:?}: relative error of displacements {coarse:.2e} after 10 steps, {fine:.2e} after 20"
        );
        assert!((3.0..5.0).contains(&(coarse / fine)), "{scheme:?}: {coarse:.2e} {fine:.2e}");
    }
}

#[test]
fn sizes_that_are_slow_are_told() {
    for quick in [64, 96, 130, 256] {
        assert_eq!(settings(quick, 1).advice(), None);
    }
    let advice = settings(62, 1).advice().expect("a factor 31");
    assert!(advice.contains("62 particles") && advice.contains("60 and 64"), "{advice}");
    let advice = Settings { cells: 236, ..settings(64, 1) }.advice().expect("a factor 59");
    assert!(advice.contains("236 mesh cells") && advice.contains("224 and 240"), "{advice}");
}

/// Steps in which the linear density grows 3.2 times keep nothing of the momenta, and cannot be run back in single precision.
#[test]
fn steps_that_cannot_be_run_back_are_told() {
    let half_decades = vec![0.01, 0.0316, 0.1, 0.316, 1.0];
    let advice = |times: &[f64], scheme: Scheme| {
        let settings = Settings { times: times.to_vec(), scheme, ..settings(8, 1) };
        let cosmology = Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("one");
        let single = Simulation::<f32>::new(settings.clone(), cosmology.clone(), &[]).expect("a simulation");
        let double = Simulation::<f64>::new(settings, cosmology, &[]).expect("a simulation");
        (single.advice(), double.advice())
    };
    let (single, double) = advice(&half_decades, Scheme::BullFrog);
    assert!(single.len() == 1 && single[0].contains("take more steps"), "{single:?}");
    assert!(double.is_empty());
    assert!(advice(&half_decades, Scheme::FastPm(Middle::Geometric)).0.is_empty());
    assert!(advice(&[0.1, 0.325, 0.55, 0.775, 1.0], Scheme::BullFrog).0.is_empty());
}

/// A table that ends before the waves of the lattice do would be continued by a guess.
#[test]
fn a_spectrum_that_is_too_short_is_refused() {
    let table = |from: f64, to: f64| {
        let k: Vec<f64> = (0..100).map(|i| from * (to / from).powf(f64::from(i) / 99.0)).collect();
        let power: Vec<f64> = k.iter().map(|k| 1e4 * k / (1.0 + (k / 0.02).powf(2.4))).collect();
        let table = std::sync::Arc::new(PowerTable::new(&k, &power).expect("a table"));
        let settings =
            CosmologySettings { normalization: Normalization::PrimordialAmplitude, ..Default::default() };
        let cosmology = Cosmology::with_tables(
            Parameters::planck18(),
            settings,
            Tables { power: Some(table), ..Tables::default() },
        );
        // 40 Mpc/h, 8 particles a side: waves from 0.157 to, along the diagonal, 1.088 h/Mpc.
        Simulation::<f64>::new(self::settings(8, 1), cosmology.expect("a cosmology"), &[]).err()
    };
    assert!(table(0.1, 1.1).is_none());
    for (from, to) in [(0.2, 1.1), (0.1, 1.0)] {
        let error = table(from, to).expect("refused").to_string();
        assert!(error.contains("from 1.571e-1 to 1.088e0"), "{error}");
    }
}

#[test]
fn bad_settings_are_refused_in_words() {
    let good = settings(8, 2);
    let cases = [
        (Settings { particles: 7, ..good.clone() }, "even"),
        (Settings { cells: 2, ..good.clone() }, "force mesh"),
        (Settings { keep_potentials: true, ..good.clone() }, "four_point or two_point"),
        (Settings { length: f64::NAN, ..good.clone() }, "length"),
        (Settings { times: vec![0.5, 0.2], ..good.clone() }, "rise"),
        (Settings { times: vec![0.5], ..good.clone() }, "two or more"),
    ];
    for (bad, words) in cases {
        let error = Simulation::<f64>::new(bad, cosmology(), &[]).err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
    let error =
        Simulation::<f64>::new(good.clone(), cosmology(), &["sigma_8"]).err().expect("refused").to_string();
    assert!(error.contains("sigma8"), "{error}");
    let twice = Simulation::<f64>::new(good.clone(), cosmology(), &["sigma8", "sigma8"]).err();
    assert!(twice.expect("refused").to_string().contains("free twice"));
    let primordial = CosmologySettings {
        normalization: Normalization::PrimordialAmplitude,
        ..CosmologySettings::default()
    };
    let cosmology = Cosmology::new(Parameters { amplitude: 2.1, ..Parameters::planck18() }, primordial);
    let simulation =
        Simulation::<f64>::new(good, cosmology.expect("a cosmology"), &["omega_m"]).expect("made");
    let mut x = simulation.point(&white(512));
    x[512] = -0.3;
    let error = simulation.apply(&x).expect_err("refused").to_string();
    assert!(error.contains("omega_m = -0.3"), "{error}");
    x[3] = f64::NAN;
    assert!(simulation.apply(&x).is_err());
}

/// The operator that sharpenings are fitted with: its power is that of the density, its derivatives are right.
#[test]
fn the_power_of_sharpened_particles_obeys_the_laws() {
    let settings = Settings { cells: 32, ..settings(16, 4) };
    let sharpening = Sharpening { alpha: 0.2, mu: -1.2, kl: 0.1, ks: 0.8 };
    let sharp = Settings { sharpening: Some(sharpening), ..settings.clone() };
    let simulation = |s: &Settings| Simulation::<f64>::new(s.clone(), cosmology(), &[]).expect("made");
    let modes = white(4096);
    let plain = simulation(&settings);
    let mut run = plain.run().expect("a run");
    run.evolve(&modes, None).expect("evolved");
    let displacement = run.state().displacement;
    let snapshots = vec![
        Snapshot {
            at: 1.0,
            displacement: displacement.clone(),
            momentum: displacement.clone(),
            drifts: vec![0.0],
        },
        Snapshot {
            at: 0.8,
            displacement: displacement.iter().map(|x| 0.9 * x).collect(),
            momentum: displacement.clone(),
            drifts: vec![-0.05, 0.1],
        },
    ];
    let grid = Grid::new(&[32; 3], &[settings.length; 3]).expect("a grid");
    let edges = bin_edges(&grid, 5);
    let power = SharpenedPower::new(settings, snapshots, edges.clone()).expect("made");
    let x = sharpening.to_array();
    let violation = laws::dot_product(&power, &x).expect("evaluated");
    assert!(violation < 1e-10, "{violation:.1e}");
    let weight: Vec<f64> = white(power.codomain().len());
    let directions = &laws::directions(&[], 4)[1..];
    for (exact, difference) in laws::slopes(&power, &weight, &x, directions, 1e-6).expect("evaluated") {
        assert!((exact / difference - 1.0).abs() < 1e-5, "{exact} {difference}");
    }
    // The same from the density of a sharpened simulation, but for the window at the largest scales.
    let delta = simulation(&sharp).apply(&modes).expect("evolved");
    let expected = power_spectrum(&grid, &delta, &edges).expect("measured").power;
    let found = power.apply(&x).expect("evaluated");
    assert!((found[0] / expected[0] - 1.0).abs() < 0.02, "{} {}", found[0], expected[0]);
}
