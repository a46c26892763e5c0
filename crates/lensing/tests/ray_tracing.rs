//! Rays beyond the Born approximation: laws of the operator, and its limit for weak lenses.

use lookback_cosmology::{Cosmology, Parameters, Settings as CosmologySettings, Sources, Tracer};
use lookback_lensing::{LightCone, LightConeSettings, RaySettings, RayTracing, Sky, Tiling};
use lookback_mesh::Window;
use lookback_nbody::{GradientKernel, Kernels, Lpt, Scheme, Settings, Simulation};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Operator, Real, laws};

fn simulation(particles: usize, length: f64, [sigma8, omega_k]: [f64; 2], free: &[&str]) -> Simulation<f64> {
    let parameters = Parameters { amplitude: sigma8, omega_k, ..Parameters::planck18() };
    let cosmology = Cosmology::new(parameters, CosmologySettings::default()).expect("a cosmology");
    let settings = Settings {
        particles,
        length,
        cells: particles,
        window: Window::Cic,
        kernels: Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() },
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: (0..=4).map(|i| 0.2 + 0.2 * f64::from(i)).collect(),
    };
    Simulation::new(settings, cosmology, free).expect("a simulation")
}

fn cone(pixels: usize, field: f64) -> LightConeSettings {
    LightConeSettings {
        tiling: Tiling::Random { seed: 5 },
        nearest: 60.0,
        ..LightConeSettings::of(Vec::new(), Sky::Flat { pixels, field, centre: [0.0; 2], compensate: true })
    }
}

fn white<T: Real>(len: usize) -> Vec<T> {
    let mut modes = vec![T::zero(); len];
    Stream::new(4, Purpose::Signal, 0).fill_normal(&mut modes);
    modes
}

#[test]
fn rays_obey_the_laws() {
    let free = ["omega_m", "sigma8", "w0", "omega_k"];
    for (keep_potentials, omega_k) in [(false, 0.05), (true, 0.0)] {
        let settings = RaySettings { sources: vec![0.5, 1.0], planes: 4, edge: 0.3 };
        let matter = simulation(8, 200.0, [0.8, omega_k], &free);
        let of_matter = Settings { keep_potentials, ..matter.settings().clone() };
        let matter = Simulation::new(of_matter, matter.cosmology().clone(), &free).expect("made");
        let rays = RayTracing::new(matter, cone(12, 0.1), settings).expect("made");
        let x = rays.cone().simulation().point(&white(512));
        let violation = laws::dot_product(&rays, &x).expect("evaluated");
        assert!(violation < 1e-10, "{violation:.1e}");
        let weight: Vec<f64> = white(rays.codomain().len());
        let directions = laws::directions(&white::<f64>(512), x.len());
        let slopes = laws::slopes(&rays, &weight, &x, &directions, 1e-6).expect("evaluated");
        for (direction, (exact, difference)) in slopes.into_iter().enumerate() {
            let error = (exact - difference).abs() / exact.abs().max(1e-2);
            assert!(error < 1e-6, "direction {direction}: {exact} {difference}");
        }
    }
}

/// Planes that are seen beside another map, with their means, bend light as the operator's own do.
#[test]
fn planes_of_a_light_cone_with_other_maps_serve_as_well() {
    let settings = RaySettings { sources: vec![0.5, 1.0], planes: 4, edge: 0.3 };
    let matter = || simulation(16, 200.0, [0.8, 0.0], &[]);
    let rays = RayTracing::new(matter(), cone(12, 0.1), settings).expect("made");
    let mut maps = vec![Tracer::Convergence { sources: Sources::Plane(1.2), alignment: None }];
    maps.extend_from_slice(&rays.cone().settings().maps);
    let joint = LightConeSettings { maps, subtract_mean: false, ..cone(12, 0.1) };
    let joint = LightCone::new(matter(), joint).expect("made");
    let modes = white(4096);
    let seen = joint.apply(&modes).expect("seen");
    let mut through = vec![0.0; rays.codomain().len()];
    rays.through(&seen[144..], &mut through).expect("traced");
    let own = rays.apply(&modes).expect("traced");
    let off = through.iter().zip(&own).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-10 * rms(&own), "{off:.1e}");
    let error = rays.through(&seen, &mut through).expect_err("too many");
    assert!(error.to_string().contains("planes"), "{error}");
}

fn rms(v: &[f64]) -> f64 {
    (v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64).sqrt()
}

/// Weak lenses: Born's approximation is nearly right, light hardly turns, and the maps of planes are those of the particles.
#[test]
fn weak_lenses_are_those_of_born() {
    let (pixels, field, z) = (64, 0.12, 1.0);
    let count = pixels * pixels;
    for [sigma8, omega_k] in [[0.8, 0.0], [0.4, 0.0], [0.8, 0.2]] {
        let settings = RaySettings { sources: vec![z], planes: 12, edge: 0.2 };
        let rays =
            RayTracing::new(simulation(32, 200.0, [sigma8, omega_k], &[]), cone(pixels, field), settings)
                .expect("made");
        let modes = white(32usize.pow(3));
        let maps = rays.apply(&modes).expect("traced");
        let (kappa, omega) = (&maps[..count], &maps[3 * count..]);
        let planes = rays.cone().apply(&modes).expect("seen");
        let history = rays.cone().simulation().cosmology().history();
        let source = history.distance(1.0 / (1.0 + z));
        let mut born = vec![0.0; count];
        for (i, plane) in planes.chunks(count).enumerate() {
            let share = 1.0 - (i as f64 + 0.5) / 12.0;
            let share = history.transverse(source * share) / history.transverse(source);
            born.iter_mut().zip(plane).for_each(|(sum, kappa)| *sum += share * kappa);
        }
        // Transforms know no mean.
        let mean = born.iter().sum::<f64>() / count as f64;
        let difference: Vec<f64> = kappa.iter().zip(&born).map(|(k, b)| k - (b - mean)).collect();
        let off = rms(&difference) / rms(&born);
        assert!(off < 0.05, "{off}");
        assert!(rms(omega) < 0.05 * rms(kappa), "{} {}", rms(omega), rms(kappa));

        let smooth =
            LightConeSettings { maps: vec![Tracer::convergence(Sources::Plane(z))], ..cone(pixels, field) };
        let smooth = LightCone::new(simulation(32, 200.0, [sigma8, omega_k], &[]), smooth).expect("made");
        let smooth = smooth.apply(&modes).expect("seen");
        let difference: Vec<f64> = smooth.iter().zip(&born).map(|(s, b)| s - b).collect();
        let planes_off = rms(&difference) / rms(&smooth);
        println!(
            "sigma8 {sigma8}, omega_k {omega_k}: off Born {off:.2e}, planes off particles {planes_off:.2e}"
        );
        assert!(planes_off < 0.05, "{planes_off}");
    }
}

#[test]
fn bad_rays_are_refused_in_words() {
    let good = RaySettings { sources: vec![1.0], planes: 4, edge: 0.3 };
    let full = LightConeSettings { sky: Sky::Full { nside: 4 }, ..cone(8, 0.1) };
    let cases = [
        (cone(8, 0.1), RaySettings { sources: vec![], ..good.clone() }, "need sources"),
        (cone(8, 0.1), RaySettings { planes: 1, ..good.clone() }, "planes"),
        (cone(8, 0.1), RaySettings { sources: vec![9.0], ..good.clone() }, "beyond the beginning"),
        (cone(8, 0.1), RaySettings { sources: vec![0.05, 1.0], ..good.clone() }, "within the first"),
        (full, good, "flat map"),
    ];
    for (cone, rays, words) in cases {
        let error =
            RayTracing::new(simulation(8, 200.0, [0.8, 0.0], &[]), cone, rays).err().expect("refused");
        assert!(error.to_string().contains(words), "{error}");
    }
}
