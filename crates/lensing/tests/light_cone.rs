//! Light cones: laws of operators, the whole map from its parts, and MADLens' maps.

use lookback_cosmology::{
    Alignment, Bias, Cosmology, HUBBLE_DISTANCE, Parameters, Settings as CosmologySettings, Sources, Tracer,
    lensing_efficiency, smooth_step,
};
use lookback_lensing::{Crossing, LightCone, LightConeSettings, Sky, Tiling, free_numbers};
use lookback_mesh::Window;
use lookback_nbody::{
    GradientKernel, Kernels, Lpt, Middle, SHARPENING_PARAMETERS, Scheme, Settings, Sharpening, Simulation,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Operator, Real, laws};

fn settings(particles: usize, length: f64, steps: usize) -> Settings {
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    Settings {
        particles,
        length,
        cells: particles,
        window: Window::Cic,
        kernels,
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: (0..=steps).map(|i| 0.2 + 0.8 * i as f64 / steps as f64).collect(),
    }
}

fn cosmology() -> Cosmology<f64> {
    curved(0.0)
}

fn curved(omega_k: f64) -> Cosmology<f64> {
    let parameters = Parameters { omega_k, ..Parameters::planck18() };
    Cosmology::new(parameters, CosmologySettings::default()).expect("a cosmology")
}

fn white<T: Real>(len: usize) -> Vec<T> {
    let mut modes = vec![T::zero(); len];
    Stream::new(4, Purpose::Signal, 0).fill_normal(&mut modes);
    modes
}

fn sources() -> Vec<Sources> {
    let distribution =
        Sources::Distribution { redshift: vec![0.2, 0.6, 1.1, 1.5], density: vec![0.0, 2.0, 1.0, 0.0] };
    vec![Sources::Plane(0.7), distribution]
}

fn flat(pixels: usize, field: f64, compensate: bool) -> Sky {
    Sky::Flat { pixels, field, centre: [0.0; 2], compensate }
}

fn sample(redshift: [f64; 3], bias: [f64; 2], redshift_space: bool) -> Tracer {
    let sources = Sources::Distribution { redshift: redshift.to_vec(), density: vec![0.0, 1.0, 0.0] };
    Tracer::Galaxies { sources, bias: Bias { b1: bias[0], b2: bias[1] }, redshift_space }
}

/// Two samples of galaxies and aligned sources, all their numbers free.
fn with_galaxies(sky: Sky) -> LightConeSettings {
    let maps = vec![
        sample([0.1, 0.2, 0.3], [0.7, -0.4], true),
        aligned_by(3.0),
        sample([0.2, 0.3, 0.5], [0.0, 0.5], false),
    ];
    let free = free_numbers(&maps);
    assert_eq!(free, ["a_ia", "b1_1", "b2_1", "b1_2", "b2_2"]);
    LightConeSettings { free, ..LightConeSettings::of(maps, sky) }
}

const FREE: [&str; 5] = ["omega_m", "h", "n_s", "sigma8", "w0"];

#[test]
fn every_kind_of_light_cone_obeys_the_laws() {
    let base = LightConeSettings::new(sources(), 12, 0.08);
    let tracers = vec![
        Tracer::Convergence {
            sources: sources()[1].clone(),
            alignment: Some(Alignment { amplitude: 3.0, slope: 0.7, pivot: 0.6 }),
        },
        Tracer::Shell { near: 300.0, far: 600.0, edge: 60.0 },
    ];
    let sharpening = Some(Sharpening { alpha: 0.1, mu: -1.2, kl: 0.05, ks: 0.3 });
    let fastpm = Settings { scheme: Scheme::FastPm(Middle::Geometric), ..settings(8, 160.0, 4) };
    let kinds = [
        (settings(8, 160.0, 4), base.clone()),
        (
            fastpm.clone(),
            LightConeSettings { subtract_mean: false, sky: flat(12, 0.3, false), ..base.clone() },
        ),
        (
            fastpm,
            LightConeSettings {
                crossing: Crossing::Lagrangian,
                tiling: Tiling::Permutations,
                ..base.clone()
            },
        ),
        (Settings { sharpening, keep_potentials: true, ..settings(8, 160.0, 4) }, base.clone()),
        (Settings { sharpening, ..settings(8, 160.0, 4) }, base.clone()),
        (Settings { sharpening, checkpoints: 2, ..settings(8, 160.0, 4) }, base.clone()),
        (settings(8, 400.0, 4), LightConeSettings::of(tracers.clone(), flat(12, 0.2, true))),
        (settings(8, 400.0, 4), LightConeSettings::of(tracers, Sky::Full { nside: 4 })),
        (settings(8, 400.0, 4), with_galaxies(flat(12, 0.2, true))),
        (
            Settings { keep_potentials: true, cells: 16, ..settings(8, 400.0, 4) },
            with_galaxies(flat(12, 0.2, true)),
        ),
        (settings(8, 400.0, 4), with_galaxies(Sky::Full { nside: 4 })),
    ];
    for (simulation, cone) in kinds {
        obeys_the_laws(simulation, cone, cosmology(), &FREE);
    }
    let free = ["omega_m", "omega_k", "sigma8"];
    obeys_the_laws(settings(8, 160.0, 4), base.clone(), cosmology(), &free);
    obeys_the_laws(settings(8, 160.0, 4), base, curved(0.1), &free);
    obeys_the_laws(settings(8, 400.0, 4), with_galaxies(flat(12, 0.2, true)), curved(-0.1), &free);
    let massive = Parameters { m_nu: 0.3, ..Parameters::planck18() };
    let neutrinos = Cosmology::new(massive, CosmologySettings::default()).expect("a cosmology");
    let free = ["omega_m", "m_nu", "n_eff", "t_cmb"];
    obeys_the_laws(settings(8, 160.0, 4), LightConeSettings::new(sources(), 12, 0.08), neutrinos, &free);
}

fn obeys_the_laws(simulation: Settings, cone: LightConeSettings, cosmology: Cosmology<f64>, free: &[&str]) {
    let sharp = cone.crossing == Crossing::Lagrangian;
    let mut free = free.to_vec();
    if simulation.sharpening.is_some() {
        free.extend(SHARPENING_PARAMETERS);
    }
    let simulation = Simulation::<f64>::new(simulation, cosmology, &free).expect("a simulation");
    let cone = LightCone::new(simulation, cone).expect("a light cone");
    let x = cone.point(&white(512));
    let violation = laws::dot_product(&cone, &x).expect("evaluated");
    assert!(violation < 1e-10, "{}: {violation:.1e}", cone.name());
    let repeated = laws::repeatability(&cone, &x).expect("evaluated");
    assert_eq!(repeated, 0.0, "{}", cone.name());
    // Sharp edges have no derivative where a particle or a parameter crosses one: hardly any does in so small a step.
    gradient_agrees_with_differences(&cone, &x, if sharp { 1e-7 } else { 3e-6 });
}

#[test]
fn the_other_end_of_a_closed_universe_is_refused() {
    let early = Settings { times: vec![0.15, 0.5, 1.0], ..settings(8, 160.0, 2) };
    let cone = |omega_k: f64, z: f64, free: &[&str]| {
        let simulation = Simulation::<f64>::new(early.clone(), curved(omega_k), free).expect("a simulation");
        LightCone::new(simulation, LightConeSettings::new(vec![Sources::Plane(z)], 8, 0.1))
    };
    cone(-0.3, 2.0, &[]).expect("far from it");
    let error = cone(-0.9, 5.0, &[]).err().expect("refused").to_string();
    assert!(error.contains("the other end of the universe is"), "{error}");
    // Also where a parameter leads there.
    let free = cone(-0.3, 5.0, &["omega_k"]).expect("near it");
    let mut x = free.point(&white(512));
    x[512] = -0.9;
    let error = free.apply(&x).expect_err("refused").to_string();
    assert!(error.contains("the other end of the universe is"), "{error}");
}

fn gradient_agrees_with_differences(cone: &LightCone<f64>, x: &[f64], step: f64) {
    let weight: Vec<f64> = white(cone.codomain().len());
    let modes = cone.simulation().settings().particles.pow(3);
    let directions = laws::directions(&white::<f64>(modes), x.len());
    // The weights have kinks where a particle crosses a cell, so the step is as small as rounding allows.
    let slopes = laws::slopes(cone, &weight, x, &directions, step).expect("evaluated");
    for (direction, (exact, difference)) in slopes.into_iter().enumerate() {
        let error = (exact - difference).abs() / exact.abs().max(1e-2);
        assert!(error < 1e-6, "{} direction {direction}: {exact} {difference}", cone.name());
    }
}

#[test]
fn single_precision_gives_the_gradient_of_maps_to_a_thousandth() {
    fn gradient<T: Real>(keep_potentials: bool) -> Vec<f64> {
        let settings = Settings { cells: 32, keep_potentials, ..settings(16, 300.0, 10) };
        let simulation = Simulation::<T>::new(settings, cosmology(), &FREE).expect("a simulation");
        let cone = LightCone::new(simulation, LightConeSettings::new(sources(), 16, 0.08)).expect("a cone");
        let modes: Vec<T> = white::<f64>(4096).into_iter().map(T::of).collect();
        let x = cone.point(&modes);
        // Half the sum of squares, as a likelihood has it.
        let (maps, mut linearization) = cone.linearize(&x).expect("evaluated");
        let mut gradient = vec![T::zero(); x.len()];
        linearization.pull(&maps, &mut gradient).expect("a gradient");
        gradient.into_iter().map(Real::f64).collect()
    }
    for keep in [false, true] {
        let (single, double) = (gradient::<f32>(keep), gradient::<f64>(keep));
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let difference: Vec<f64> = single.iter().zip(&double).map(|(a, b)| a - b).collect();
        let modes = norm(&difference[..4096]) / norm(&double[..4096]);
        println!("gradient of maps by modes, f32 against f64, potentials kept {keep}: {modes:.1e}");
        assert!(modes < 1e-3, "{modes:.1e}");
        for (name, i) in FREE.into_iter().zip(4096..) {
            let relative = (difference[i] / double[i]).abs();
            println!("by {name}: {relative:.1e}");
            assert!(relative < 1e-3, "{name}: {relative:.1e}");
        }
    }
}

/// Without structure the map is the integral of the efficiency: windows sum to one, and copies fill the cone once.
#[test]
fn a_universe_without_structure_gives_the_mean_convergence_everywhere() {
    let cases = [
        (Tiling::Aligned, 0.0),
        (Tiling::Random { seed: 3 }, 0.0),
        (Tiling::Permutations, 0.0),
        (Tiling::Aligned, 0.2),
    ];
    for (tiling, omega_k) in cases {
        let parameters = Parameters { amplitude: 1e-5, omega_k, ..Parameters::planck18() };
        let cosmology = Cosmology::new(parameters, CosmologySettings::default()).expect("a cosmology");
        // Particles on a lattice at random phases of rows and columns: pixels must hold many of them.
        let simulation =
            Simulation::<f64>::new(settings(64, 200.0, 4), cosmology.clone(), &[]).expect("made");
        let x = simulation.point(&white(64usize.pow(3)));
        let settings = LightConeSettings {
            tiling,
            subtract_mean: false,
            nearest: 100.0,
            sky: flat(8, 0.25, false),
            ..LightConeSettings::new(vec![Sources::Plane(1.0)], 8, 0.25)
        };
        let cone = LightCone::new(simulation, settings).expect("a light cone");
        let kappa = cone.apply(&x).expect("evaluated");
        let inner: Vec<f64> = (0..64)
            .filter(|i| (1..7).contains(&(i / 8)) && (1..7).contains(&(i % 8)))
            .map(|i| kappa[i])
            .collect();
        let mean = inner.iter().sum::<f64>() / inner.len() as f64;
        let history = cosmology.history();
        let farthest = history.distance(0.5);
        let count = 4000;
        let distances: Vec<f64> =
            (0..count).map(|i| farthest * (f64::from(i) + 0.5) / f64::from(count)).collect();
        let efficiency = lensing_efficiency(&cosmology, &Sources::Plane(1.0), &distances).expect("in range");
        let taper = |d: f64| {
            let t = (d / 100.0 - 1.0).clamp(0.0, 1.0);
            t * t * t * ((t * 6.0 - 15.0) * t + 10.0)
        };
        let expected: f64 = distances.iter().zip(&efficiency).map(|(d, w)| w * taper(*d)).sum::<f64>()
            * farthest
            / f64::from(count);
        let spread = inner.iter().map(|k| (k / expected - 1.0).abs()).fold(0.0, f64::max);
        println!(
            "{tiling:?}: mean {mean:.6}, expected {expected:.6}, largest deviation of a pixel {spread:.1e}"
        );
        assert!((mean / expected - 1.0).abs() < 3e-3, "{tiling:?}: {mean} {expected}");
        assert!(spread < 0.05, "{tiling:?}: {spread}");
    }
}

/// The same all around: every pixel of the sphere sees the mean, and shells hold what they should.
#[test]
fn a_full_sky_without_structure_is_even() {
    let parameters = Parameters { amplitude: 1e-5, ..Parameters::planck18() };
    let cosmology = Cosmology::new(parameters, CosmologySettings::default()).expect("a cosmology");
    let simulation = Settings { cells: 48, ..settings(48, 600.0, 4) };
    let simulation = Simulation::<f64>::new(simulation, cosmology, &[]).expect("a simulation");
    let maps =
        vec![Tracer::convergence(Sources::Plane(0.5)), Tracer::Shell { near: 500.0, far: 900.0, edge: 80.0 }];
    for tiling in [Tiling::Aligned, Tiling::Random { seed: 3 }] {
        let settings = LightConeSettings {
            tiling,
            subtract_mean: false,
            nearest: 100.0,
            ..LightConeSettings::of(maps.clone(), Sky::Full { nside: 4 })
        };
        let cone = LightCone::new(simulation.clone(), settings).expect("a light cone");
        let mut look = cone.look().expect("made");
        let mut sky = vec![0.0; cone.codomain().len()];
        look.evolve(&white(48usize.pow(3)), &mut sky, |_, _, _| ()).expect("evolved");
        for (map, expected) in sky.chunks(192).zip(look.means()) {
            let mean = map.iter().sum::<f64>() / 192.0;
            let spread = map.iter().map(|k| (k / expected - 1.0).abs()).fold(0.0, f64::max);
            println!("{tiling:?}: mean {mean:.6}, expected {expected:.6}, largest deviation {spread:.1e}");
            assert!((mean / expected - 1.0).abs() < 3e-3, "{tiling:?}: {mean} {expected}");
            assert!(spread < 0.05, "{tiling:?}: {spread}");
        }
    }
}

/// Galaxies particle by particle, each followed through time until light from there arrives: no tables, no Newton steps.
#[test]
fn galaxies_are_what_their_particles_say() {
    let (n, length, pixels, field) = (12, 600.0, 6, 0.3);
    let simulation = Simulation::<f64>::new(settings(n, length, 2), cosmology(), &[]).expect("a simulation");
    let modes = white(n * n * n);
    for redshift_space in [false, true] {
        let maps = vec![sample([0.05, 0.15, 0.3], [0.8, 0.6], redshift_space)];
        let cone_settings = LightConeSettings {
            tiling: Tiling::Aligned,
            subtract_mean: false,
            nearest: 60.0,
            ..LightConeSettings::of(maps, flat(pixels, field, false))
        };
        let cone = LightCone::new(simulation.clone(), cone_settings).expect("a light cone");
        let mut look = cone.look().expect("made");
        let (mut map, mut moments) = (vec![0.0; pixels * pixels], Vec::new());
        let keep = |view: usize, x: &[f64], p: &[f64]| moments.push((view, x.to_vec(), p.to_vec()));
        look.evolve(&modes, &mut map, keep).expect("evolved");
        let linear = look.run().linear_density();
        let variance = linear.iter().map(|d| d * d).sum::<f64>() / linear.len() as f64;
        let cosmology = cosmology();
        let history = cosmology.history();
        let views = look.run().schedule().views.clone();
        let since = |view: usize, a: f64| match view {
            0 => 1.0,
            _ if view == views.len() => 0.0,
            _ => {
                let width = |i: usize| views[i].to - views[i].from;
                smooth_step((a - views[view].from) / (0.5 * width(view).min(width(view - 1))) + 0.5)
            }
        };
        let mut expected = vec![0.0; pixels * pixels];
        let counts = |z: f64| if z < 0.15 { (z - 0.05) / 0.1 } else { (0.3 - z) / 0.15 }.max(0.0) / 0.125;
        for (view, x, p) in &moments {
            let moment = &views[*view];
            for particle in 0..n * n * n {
                let place = [particle / (n * n), particle / n % n, particle % n];
                let at = |axis: usize, d: f64| {
                    let growth = cosmology.instant(history.scale_factor_at(d).expect("near")).d1.d;
                    let q = place[axis] as f64 * length / n as f64;
                    let drift = (growth - moment.growth) * moment.unit;
                    q + x[axis * n * n * n + particle] + drift * p[axis * n * n * n + particle]
                };
                for layer in 0..3 {
                    let (mut low, mut high) = (0.0, 3.0 * length);
                    while high - low > 1e-10 {
                        let middle = 0.5 * (low + high);
                        let z = at(2, middle) + f64::from(layer) * length;
                        if middle < z { low = middle } else { high = middle }
                    }
                    let d = low;
                    if d < 1.0 {
                        continue;
                    }
                    let a = history.scale_factor_at(d).expect("near");
                    let instant = cosmology.instant(a);
                    let velocity = p[2 * n * n * n + particle] * moment.unit * instant.d1.slope;
                    let seems = if redshift_space { d + velocity } else { d };
                    let a_seems = history.scale_factor_at(seems.max(0.0)).expect("near");
                    let number =
                        counts(1.0 / a_seems - 1.0) * cosmology.background().e(a_seems) / HUBBLE_DISTANCE;
                    let (delta, growth) = (linear[particle], instant.d1.d);
                    let bias =
                        1.0 + 0.8 * growth * delta + 0.3 * growth * growth * (delta * delta - variance);
                    let share = since(*view, a) - since(*view + 1, a);
                    let solid = (field / pixels as f64).powi(2) * d * d * (n as f64 / length).powi(3);
                    let weight = number * bias * share * smooth_step(d / 60.0 - 1.0) / solid;
                    for copy in 0..9 {
                        let nearest =
                            |t: f64, c: i32| t - length * (t / length).round() + f64::from(c - 1) * length;
                        let pixel = |t: f64| t / d / (field / pixels as f64) + 0.5 * pixels as f64 - 0.5;
                        let (u, v) = (pixel(nearest(at(0, d), copy / 3)), pixel(nearest(at(1, d), copy % 3)));
                        for row in 0..pixels {
                            for column in 0..pixels {
                                let near = |x: f64, i: usize| (1.0 - (x - i as f64).abs()).max(0.0);
                                expected[row * pixels + column] += weight * near(u, column) * near(v, row);
                            }
                        }
                    }
                }
            }
        }
        let most = expected.iter().fold(0.0, |most: f64, x| most.max(*x));
        let worst = map.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!("redshift space {redshift_space}: worst pixel {:.1e} of the largest", worst / most);
        for (ours, slow) in map.iter().zip(&expected) {
            // Between nodes of the table: n(z) has kinks.
            assert!((ours - slow).abs() < 3e-4 * most, "redshift space {redshift_space}: {ours} {slow}");
        }
    }
}

/// One long wave along the line of sight: bias and redshift space as linear theory has them.
#[test]
fn galaxies_on_the_light_cone_are_those_of_kaiser() {
    let (n, length) = (64, 640.0);
    let cosmology = cosmology();
    let history = cosmology.history();
    let (b1, field) = (0.7, 0.5);
    let maps = vec![sample([0.08, 0.16, 0.24], [b1, 0.0], true)];
    let Tracer::Galaxies { sources: ref counts, .. } = maps[0] else { unreachable!() };
    let cone_settings = LightConeSettings {
        tiling: Tiling::Aligned,
        ..LightConeSettings::of(maps.clone(), flat(8, field, false))
    };
    let simulation = Simulation::<f64>::new(
        Settings { lpt: Lpt::First, ..settings(n, length, 4) },
        cosmology.clone(),
        &[],
    )
    .expect("a simulation");
    let cone = LightCone::new(simulation, cone_settings).expect("a light cone");
    let mean = |modes: &[f64]| cone.apply(modes).expect("seen").iter().sum::<f64>() / 64.0;
    let smooth = mean(&vec![0.0; n * n * n]);
    // The first wave and its mirror: two phases.
    for mode in [1, n - 1] {
        let mut modes = vec![0.0; n * n * n];
        modes[mode] = 1.0;
        let mut look = cone.look().expect("made");
        look.run().prepare(&modes).expect("in range");
        let linear = look.run().linear_density();
        // delta = a cos(k z) + b sin(k z); displacements are its integral.
        let wave = std::f64::consts::TAU / length;
        let phase = |i: usize| wave * i as f64 * length / n as f64;
        let part =
            |f: &dyn Fn(f64) -> f64| 2.0 * (0..n).map(|i| linear[i] * f(phase(i))).sum::<f64>() / n as f64;
        let (a, b) = (part(&f64::cos), part(&f64::sin));
        let steps = 4000;
        let mut expected = 0.0;
        for i in 0..steps {
            let chi = 720.0 * (f64::from(i) + 0.5) / f64::from(steps);
            let number = |chi: f64| {
                let a = history.scale_factor_at(chi.max(0.0)).expect("near");
                counts.number(1.0 / a - 1.0) * cosmology.background().e(a) / HUBBLE_DISTANCE
            };
            let growth = cosmology.instant(history.scale_factor_at(chi).expect("near")).d1;
            let (cos, sin) = ((wave * chi).cos(), (wave * chi).sin());
            let density = a * cos + b * sin;
            let displacement = -(a * sin - b * cos) / wave;
            let slope = (number(chi + 0.5) - number(chi - 0.5)) / 1.0;
            expected += ((1.0 + b1) * growth.d * density * number(chi) + slope * growth.slope * displacement)
                * 720.0
                / f64::from(steps);
        }
        let seen = mean(&modes) - smooth;
        println!("mode {mode}: seen {seen:.5e}, linear theory {expected:.5e}");
        assert!((seen / expected - 1.0).abs() < 0.03, "mode {mode}: {seen} {expected}");
    }
}

/// A particle at the very place of the observer, and numbers that are none.
#[test]
fn what_has_no_direction_is_not_seen() {
    let sky = Sky::Full { nside: 2 };
    let maps = vec![Tracer::convergence(Sources::Plane(0.2))];
    let settings_of_cone = LightConeSettings { tiling: Tiling::Aligned, ..LightConeSettings::of(maps, sky) };
    let simulation = Simulation::<f64>::new(settings(8, 400.0, 2), cosmology(), &[]).expect("a simulation");
    let cone = LightCone::new(simulation, settings_of_cone).expect("a light cone");
    let map = cone.apply(&[0.0; 512]).expect("seen");
    assert!(map.iter().all(|kappa| kappa.is_finite()));
    let error = cone.apply(&[1e200; 512]).expect_err("particles that flew apart").to_string();
    assert!(error.contains("finite"), "{error}");
}

/// With more particles than are gathered at once.
#[test]
fn threads_do_not_change_a_bit() {
    // Near galaxies on the full sky: it holds few copies of the box then.
    let near = vec![sample([0.05, 0.1, 0.15], [0.7, -0.4], true)];
    for settings_of_cone in
        [with_galaxies(flat(16, 0.2, true)), LightConeSettings::of(near, Sky::Full { nside: 4 })]
    {
        let simulation =
            Simulation::<f32>::new(settings(32, 400.0, 4), cosmology(), &["sigma8"]).expect("made");
        let cone = LightCone::new(simulation, settings_of_cone).expect("a light cone");
        let x = cone.point(&white(32usize.pow(3)));
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let (y, mut linearization) = cone.linearize(&x).expect("evaluated");
                let mut gradient = vec![0.0; x.len()];
                linearization.pull(&y, &mut gradient).expect("a gradient");
                (y, gradient)
            })
        };
        assert_eq!(with(1), with(3));
    }
}

fn aligned_by(amplitude: f64) -> Tracer {
    let alignment = Some(Alignment { amplitude, slope: 0.0, pivot: 0.6 });
    Tracer::Convergence { sources: sources()[1].clone(), alignment }
}

#[test]
fn bad_light_cones_are_refused_in_words() {
    let simulation =
        || Simulation::<f64>::new(settings(8, 160.0, 4), cosmology(), &[]).expect("a simulation");
    let good = LightConeSettings::new(sources(), 16, 0.1);
    let plane = |z: f64| Tracer::convergence(Sources::Plane(z));
    let cases = [
        (LightConeSettings { maps: vec![], ..good.clone() }, "at least one map"),
        (LightConeSettings { maps: vec![plane(5.0)], ..good.clone() }, "beyond the beginning"),
        (LightConeSettings { maps: vec![plane(-1.0)], ..good.clone() }, "source redshift = -1"),
        (LightConeSettings { sky: flat(16, f64::NAN, true), ..good.clone() }, "degrees wide"),
        (LightConeSettings { sky: flat(0, 0.1, true), ..good.clone() }, "pixels a side"),
        (LightConeSettings { softness: 0.0, ..good.clone() }, "softness"),
        (LightConeSettings { sky: Sky::Full { nside: 0 }, ..good.clone() }, "nside"),
        (
            LightConeSettings { sky: Sky::Full { nside: 4 }, crossing: Crossing::Lagrangian, ..good.clone() },
            "full sky",
        ),
        (
            LightConeSettings {
                maps: vec![Tracer::Shell { near: 20.0, far: 10.0, edge: 1.0 }],
                ..good.clone()
            },
            "shell",
        ),
        (
            LightConeSettings {
                maps: vec![Tracer::Convergence {
                    sources: Sources::Plane(1.0),
                    alignment: Some(Alignment { amplitude: 1.0, slope: 0.0, pivot: 0.5 }),
                }],
                ..good.clone()
            },
            "give n(z)",
        ),
        (
            LightConeSettings {
                maps: vec![Tracer::Galaxies {
                    sources: Sources::Plane(0.5),
                    bias: Bias { b1: 1.0, b2: 0.0 },
                    redshift_space: false,
                }],
                ..good.clone()
            },
            "not in one plane",
        ),
        (
            LightConeSettings { maps: vec![sample([0.1, 0.2, 0.3], [f64::NAN, 0.0], false)], ..good.clone() },
            "bias = NaN",
        ),
        (
            LightConeSettings {
                maps: vec![sample([0.1, 0.2, 0.3], [1.0, 0.0], false)],
                crossing: Crossing::Lagrangian,
                ..good.clone()
            },
            "galaxies and the full sky",
        ),
        (LightConeSettings { free: vec!["a_ia".into()], ..good.clone() }, "there are none"),
        (
            LightConeSettings {
                maps: vec![Tracer::Galaxies {
                    sources: Sources::Distribution { redshift: vec![0.2, 0.4], density: vec![1.0, 1.0] },
                    bias: Bias { b1: 1.0, b2: 0.0 },
                    redshift_space: false,
                }],
                ..good.clone()
            },
            "begin and end n(z) at zero",
        ),
        (
            LightConeSettings {
                maps: vec![sample([0.1, 0.2, 0.3], [1.0, 0.0], false)],
                nearest: 400.0,
                ..good.clone()
            },
            "% of galaxies1 are missing in front of twice `nearest` = 400",
        ),
        (
            LightConeSettings {
                free: vec!["b1".into(), "b1".into()],
                maps: vec![sample([0.1, 0.2, 0.3], [1.0, 0.0], false)],
                ..good.clone()
            },
            "free twice",
        ),
        (
            LightConeSettings {
                free: vec!["a_ia".into()],
                maps: [1.0, 2.0].map(aligned_by).to_vec(),
                ..good
            },
            "the same amplitude",
        ),
    ];
    for (bad, words) in cases {
        let error = LightCone::new(simulation(), bad).err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}
