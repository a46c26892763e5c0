//! Light cones: laws of operators, the whole map from its parts, and MADLens' maps.

use lookback_cosmology::{
    Alignment, Cosmology, Parameters, Settings as CosmologySettings, Sources, Tracer, lensing_efficiency,
};
use lookback_lensing::{Crossing, LightCone, LightConeSettings, Sky, Tiling};
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
        scheme: Scheme::BullFrog,
        times: (0..=steps).map(|i| 0.2 + 0.8 * i as f64 / steps as f64).collect(),
    }
}

fn cosmology() -> Cosmology<f64> {
    Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("a cosmology")
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
        (Settings { sharpening, ..settings(8, 160.0, 4) }, base),
        (settings(8, 400.0, 4), LightConeSettings::of(tracers.clone(), flat(12, 0.2, true))),
        (settings(8, 400.0, 4), LightConeSettings::of(tracers, Sky::Full { nside: 4 })),
    ];
    for (simulation, cone) in kinds {
        let sharp = cone.crossing == Crossing::Lagrangian;
        let mut free = FREE.to_vec();
        if simulation.sharpening.is_some() {
            free.extend(SHARPENING_PARAMETERS);
        }
        let simulation = Simulation::<f64>::new(simulation, cosmology(), &free).expect("a simulation");
        let x = simulation.point(&white(512));
        let cone = LightCone::new(simulation, cone).expect("a light cone");
        let violation = laws::dot_product(&cone, &x).expect("evaluated");
        assert!(violation < 1e-10, "{}: {violation:.1e}", cone.name());
        let repeated = laws::repeatability(&cone, &x).expect("evaluated");
        assert_eq!(repeated, 0.0, "{}", cone.name());
        // Sharp edges have no derivative where a particle or a parameter crosses one.
        if !sharp {
            gradient_agrees_with_differences(&cone, &x);
        }
    }
}

fn gradient_agrees_with_differences(cone: &LightCone<f64>, x: &[f64]) {
    let weight: Vec<f64> = white(cone.codomain().len());
    let modes = cone.simulation().settings().particles.pow(3);
    let directions = laws::directions(&white::<f64>(modes), x.len());
    // The weights have kinks where a particle crosses a cell, so the step is as small as rounding allows.
    let slopes = laws::slopes(cone, &weight, x, &directions, 1e-6).expect("evaluated");
    for (direction, (exact, difference)) in slopes.into_iter().enumerate() {
        let error = (exact - difference).abs() / exact.abs().max(1e-2);
        assert!(error < 1e-6, "{} direction {direction}: {exact} {difference}", cone.name());
    }
}

/// Without structure the map is the integral of the efficiency: windows sum to one, and copies fill the cone once.
#[test]
fn a_universe_without_structure_gives_the_mean_convergence_everywhere() {
    let parameters = Parameters { amplitude: 1e-5, ..Parameters::planck18() };
    let cosmology = Cosmology::new(parameters, CosmologySettings::default()).expect("a cosmology");
    for tiling in [Tiling::Aligned, Tiling::Random { seed: 3 }, Tiling::Permutations] {
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

#[test]
fn threads_do_not_change_a_bit() {
    let simulation = Simulation::<f32>::new(settings(16, 100.0, 4), cosmology(), &["sigma8"]).expect("made");
    let x = simulation.point(&white(4096));
    let cone = LightCone::new(simulation, LightConeSettings::new(sources(), 16, 0.1)).expect("a light cone");
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
                ..good
            },
            "give n(z)",
        ),
    ];
    for (bad, words) in cases {
        let error = LightCone::new(simulation(), bad).err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}
