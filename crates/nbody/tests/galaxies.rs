//! Galaxies: laws of the operator, and what biased tracers look like on large scales.

use lookback_cosmology::{Cosmology, Parameters, Settings as CosmologySettings};
use lookback_mesh::{Grid, RealFft, Window};
use lookback_nbody::{
    Bias, Galaxies, GradientKernel, Kernels, Lpt, Middle, Scheme, Settings, Sharpening, Simulation,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Operator, Real, laws};

fn simulation(particles: usize, length: f64, sigma8: f64, free: &[&str]) -> Simulation<f64> {
    let parameters = Parameters { amplitude: sigma8, ..Parameters::planck18() };
    let cosmology = Cosmology::new(parameters, CosmologySettings::default()).expect("a cosmology");
    Simulation::new(settings(particles, length), cosmology, free).expect("a simulation")
}

fn settings(particles: usize, length: f64) -> Settings {
    Settings {
        particles,
        length,
        cells: particles,
        window: Window::Tsc,
        kernels: Kernels { gradient: GradientKernel::FourPoint, compensate: true, ..Kernels::default() },
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: vec![0.2, 0.4, 0.6],
    }
}

fn white<T: Real>(len: usize) -> Vec<T> {
    let mut modes = vec![T::zero(); len];
    Stream::new(4, Purpose::Signal, 0).fill_normal(&mut modes);
    modes
}

#[test]
fn galaxies_obey_the_laws() {
    let free = ["omega_m", "h", "sigma8", "w0"];
    let fast =
        Settings { scheme: Scheme::FastPm(Middle::Geometric), keep_potentials: true, ..settings(8, 60.0) };
    let plain = settings(8, 60.0);
    for (redshift_space, settings) in [(false, plain.clone()), (true, plain), (true, fast)] {
        let bias = Bias { b1: 0.7, b2: -0.4 };
        let cosmology = simulation(8, 60.0, 0.8, &free).cosmology().clone();
        let matter = Simulation::new(settings, cosmology, &free).expect("a simulation");
        let galaxies = Galaxies::new(matter, bias, true, redshift_space).expect("made");
        let x = galaxies.point(&white(512));
        let violation = laws::dot_product(&galaxies, &x).expect("evaluated");
        assert!(violation < 1e-10, "{violation:.1e}");
        let weight: Vec<f64> = white(galaxies.codomain().len());
        let directions = laws::directions(&white::<f64>(512), x.len());
        let slopes = laws::slopes(&galaxies, &weight, &x, &directions, 1e-6).expect("evaluated");
        for (direction, (exact, difference)) in slopes.into_iter().enumerate() {
            let error = (exact - difference).abs() / exact.abs().max(1.0);
            assert!(error < 1e-6, "direction {direction}: {exact} {difference}");
        }
    }
}

/// On large scales a mode of galaxies is `(1 + b1 + f mu^2)` times that of matter (Kaiser 1987).
#[test]
fn large_scales_are_those_of_kaiser() {
    let (side, length) = (32, 3200.0);
    let bias = Bias { b1: 0.8, b2: 0.5 };
    // Hardly any structure: linear theory is exact.
    let matter = simulation(side, length, 1e-3, &[]);
    let rate = {
        let instant = matter.cosmology().instant(0.6);
        instant.d1.slope / instant.d1.d
    };
    let modes = white(side.pow(3));
    let delta = matter.apply(&modes).expect("evolved");
    let galaxies = Galaxies::new(matter, bias, false, true).expect("made");
    let seen = galaxies.apply(&modes).expect("evolved");
    let grid = Grid::new(&[side; 3], &[length; 3]).expect("a grid");
    let fft = RealFft::<f64>::new(&grid);
    let transform = |field: &[f64]| {
        let mut spectrum = fft.make_spectrum();
        fft.forward(field, &mut spectrum);
        spectrum
    };
    let (matter, seen) = (transform(&delta), transform(&seen));
    // The last axis is the line of sight; modes are long beside the distance between particles.
    let half = side / 2 + 1;
    for (along, across) in [(1, 0), (2, 1), (0, 2), (1, 3)] {
        let i = across * half + along;
        let mu2 = f64::from(along as u32).powi(2) / f64::from((along * along + across * across) as u32);
        let expected = 1.0 + bias.b1 + rate * mu2;
        let found = (seen[i] / matter[i]).re;
        assert!((found / expected - 1.0).abs() < 0.01, "mode {along} {across}: {found} {expected}");
    }
}

#[test]
fn bad_galaxies_are_refused_in_words() {
    let sharp = Settings {
        sharpening: Some(Sharpening { alpha: 0.1, mu: 0.0, kl: 0.1, ks: 1.0 }),
        ..settings(8, 60.0)
    };
    let cosmology =
        Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("a cosmology");
    let sharp = Simulation::<f64>::new(sharp, cosmology, &[]).expect("a simulation");
    let cases = [
        (sharp, Bias { b1: 1.0, b2: 0.0 }, "leave out `sharpening`"),
        (simulation(8, 60.0, 0.8, &[]), Bias { b1: f64::NAN, b2: 0.0 }, "bias = NaN"),
    ];
    for (simulation, bias, words) in cases {
        let error = Galaxies::new(simulation, bias, false, false).err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}
