//! One test for each line of CONVENTIONS.md, of the same number.

use std::f64::consts::TAU;
use std::sync::Arc;

use lookback::formats::fits;
use lookback_cosmology::{Cosmology, Parameters, Settings as CosmologySettings, Tracer};
use lookback_inference::{Posterior, Target};
use lookback_lensing::{
    LightCone, LightConeSettings, Projection, RaySettings, RayTracing, ReducedShear, Sky, SphereShear,
    Tiling, kaiser_squires, mass_map,
};
use lookback_likelihood::{ComplexGaussian, Gaussian, Likelihood};
use lookback_mesh::{
    Grid, Hartley, Healpix, Readout, RealFft, Window, bin_edges, power_spectrum, white_modes,
};
use lookback_nbody::{Bias, Galaxies, Kernels, Lpt, Scheme, Settings, Simulation};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Identity, LinearOperator, Operator, Space};
use lookback_prior::{Spectrum, gaussian_field};

/// Three rows of four columns with pixels of one unit.
fn small() -> Grid {
    Grid::new(&[3, 4], &[3.0, 4.0]).expect("a grid")
}

fn shear(grid: &Grid, kappa: &[f64]) -> Vec<f64> {
    kaiser_squires(grid).expect("flat").shared().apply(kappa).expect("fits")
}

/// A round mass in the middle of a map of 64 x 64 pixels.
fn mass() -> (Grid, Vec<f64>) {
    let blob =
        |i: usize| (-0.1 * (((i / 64) as f64 - 32.0).powi(2) + ((i % 64) as f64 - 32.0).powi(2))).exp();
    (Grid::sky(64, 64, 1e-3).expect("a grid"), (0..4096).map(blob).collect())
}

#[test]
fn convention_01_arrays_are_row_column() {
    // The transform of a wave along x peaks in the first line, at the column of its wave number.
    let map: Vec<f64> = (0..12).map(|i| (TAU * (i % 4) as f64 / 4.0).cos()).collect();
    let fft = RealFft::<f64>::new(&small());
    let mut spectrum = fft.make_spectrum();
    fft.forward(&map, &mut spectrum);
    assert!((spectrum[1].re - 6.0).abs() < 1e-12);
    assert!(spectrum.iter().enumerate().all(|(i, f)| i == 1 || f.norm() < 1e-12));
}

#[test]
fn convention_02_fits_axis_one_is_x() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map.fits");
    fits::write_map(&path, &small(), &[1.5; 12], None, &[]).expect("writes");
    let bytes = std::fs::read(&path).expect("reads");
    let header = String::from_utf8_lossy(&bytes[..2880]).into_owned();
    let value = |key: &str| header[header.find(key).expect("the card") + 10..][..20].trim().to_string();
    assert_eq!((value("NAXIS1"), value("NAXIS2"), value("BITPIX")), ("4".into(), "3".into(), "-64".into()));
    assert_eq!(bytes[2880..2888], 1.5f64.to_be_bytes());
}

#[test]
fn convention_03_pixel_centres_are_at_half_numbers() {
    let map: Vec<f64> = (0..12).map(f64::from).collect();
    let readout =
        Readout::<f64>::new(&small(), Space::single("m", &[3, 4], ""), &[(2.5, 1.5)]).expect("inside");
    let mut value = [0.0];
    readout.forward(&map, &mut value, &mut ());
    assert_eq!(value[0], map[4 + 2]);
}

#[test]
fn convention_04_x_grows_with_right_ascension() {
    for projection in
        [Projection::Gnomonic { ra: 150.0, dec: 2.0 }, Projection::PlateCarree { ra: 150.0, dec: 2.0 }]
    {
        let (x, y) = projection.project(150.1, 2.1).expect("near");
        assert!(x > 0.0 && y > 0.0);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.fits");
        fits::write_map(&path, &small(), &[0.0; 12], Some(fits::Wcs { projection }), &[]).expect("writes");
        let header = String::from_utf8_lossy(&std::fs::read(&path).expect("reads")[..2880]).into_owned();
        let step: f64 =
            header[header.find("CDELT1").expect("the card") + 10..][..20].trim().parse().expect("a number");
        assert!(step > 0.0);
    }
}

#[test]
fn convention_05_the_forward_transform_has_a_minus() {
    // f(x) = sin(k x) has F(k) = -i N / 2.
    let grid = Grid::new(&[8], &[8.0]).expect("a grid");
    let fft = RealFft::<f64>::new(&grid);
    let wave: Vec<f64> = (0..8).map(|i| (TAU * f64::from(i) / 8.0).sin()).collect();
    let mut spectrum = fft.make_spectrum();
    fft.forward(&wave, &mut spectrum);
    assert!((spectrum[1].im + 4.0).abs() < 1e-12 && spectrum[1].re.abs() < 1e-12);
    let mut back = [0.0; 8];
    fft.inverse(&mut spectrum, &mut back);
    assert!(back.iter().zip(&wave).all(|(a, b)| (a - 8.0 * b).abs() < 1e-12));
}

#[test]
fn convention_06_wave_numbers_are_angular() {
    let grid = Grid::sky(10, 10, 1e-3).expect("a grid");
    assert!((grid.half_wave_numbers()[1] - TAU / 1e-2).abs() < 1e-9);
    assert!((grid.fundamental() - TAU / 1e-2).abs() < 1e-9);
}

#[test]
fn convention_07_power_sums_to_the_variance_times_the_volume() {
    let grid = Grid::new(&[15, 21], &[2.0, 3.0]).expect("a grid");
    let mut map = vec![0.0; grid.len()];
    Stream::new(1, Purpose::Test, 0).fill_normal(&mut map);
    let edges = [0.5 * grid.fundamental(), 1e6];
    let spectrum = power_spectrum(&grid, &map, &edges).expect("a spectrum");
    let mean = map.iter().sum::<f64>() / grid.len() as f64;
    let variance = map.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / grid.len() as f64;
    assert!((spectrum.power[0] * spectrum.modes[0] as f64 / (variance * grid.volume()) - 1.0).abs() < 1e-12);
    assert_eq!(spectrum.modes[0], grid.len() - 1);
}

#[test]
fn convention_08_the_hartley_transform_is_cas() {
    let grid = Grid::new(&[8], &[8.0]).expect("a grid");
    let hartley = Hartley::<f64>::new(&grid);
    let (mut modes, mut field) = ([0.0; 8], [0.0; 8]);
    modes[3] = 1.0;
    hartley.synthesize(&[1.0; 5], &modes, &mut field, &mut hartley.make_spectrum());
    for (i, f) in field.iter().enumerate() {
        let phase = TAU * 3.0 * i as f64 / 8.0;
        assert!((f - (phase.cos() + phase.sin()) / 8f64.sqrt()).abs() < 1e-12);
    }
}

#[test]
fn convention_09_unit_modes_become_modes_of_the_spectrum() {
    let grid = Grid::new(&[16, 16], &[1.0, 1.0]).expect("a grid");
    let spectrum = Spectrum::power_law(3.0, 10.0, -1.0, 0.0).expect("a law");
    let field = gaussian_field::<f64>(&grid, &spectrum, "s", "").shared();
    let signal = field.apply(&[1.0; 256]).expect("fits");
    // With all modes equal to one every mode has exactly its expected power.
    let measured = power_spectrum(&grid, &signal, &bin_edges(&grid, 200)).expect("a spectrum");
    for (k, p) in measured.k.iter().zip(&measured.power).take(20) {
        assert!((p / spectrum.power(*k) - 1.0).abs() < 0.02, "{k}: {p}");
    }
    assert!((measured.power[0] / spectrum.power(measured.k[0]) - 1.0).abs() < 1e-12);
    assert!(signal.iter().sum::<f64>().abs() < 1e-10, "the mean mode has no power");
}

#[test]
fn convention_10_shear_is_tangential() {
    let (grid, kappa) = mass();
    let gamma = shear(&grid, &kappa);
    let at = |component: usize, row: usize, column: usize| gamma[component * 4096 + row * 64 + column];
    assert!(at(0, 32, 42) < -1e-3 && at(0, 42, 32) > 1e-3);
    assert!(at(1, 40, 40) < -1e-3 && at(1, 24, 24) < -1e-3 && at(1, 40, 24) > 1e-3);
}

#[test]
fn convention_11_turned_shear_is_the_b_mode() {
    let (grid, kappa) = mass();
    let gamma = shear(&grid, &kappa);
    let (first, second) = gamma.split_at(4096);
    let (e_mode, b_mode) = mass_map(&grid, first, second).expect("fits");
    let turned: Vec<f64> = second.iter().map(|g| -g).collect();
    let (e_turned, b_turned) = mass_map(&grid, &turned, first).expect("fits");
    assert!(b_mode.iter().all(|b| b.abs() < 1e-12) && e_turned.iter().all(|e| e.abs() < 1e-12));
    assert!(e_mode.iter().zip(&b_turned).all(|(e, b)| (e - b).abs() < 1e-12));
}

#[test]
fn convention_12_mirroring_changes_the_sign_of_the_second_component() {
    let grid = Grid::sky(15, 15, 1e-3).expect("a grid");
    let mut kappa = vec![0.0; 225];
    Stream::new(2, Purpose::Test, 0).fill_normal(&mut kappa);
    let mirror = |map: &[f64]| -> Vec<f64> { (0..225).map(|i| map[i / 15 * 15 + 14 - i % 15]).collect() };
    let (straight, mirrored) = (shear(&grid, &kappa), shear(&grid, &mirror(&kappa)));
    for (component, sign) in [(0, 1.0), (1, -1.0)] {
        let expected = mirror(&straight[component * 225..(component + 1) * 225]);
        let found = &mirrored[component * 225..(component + 1) * 225];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - sign * b).abs() < 1e-12));
    }
}

#[test]
fn convention_13_reduced_shear() {
    let (grid, kappa) = mass();
    let kappa: Vec<f64> = kappa.iter().map(|k| 0.4 * k).collect();
    let g = ReducedShear::<f64>::new(&grid).expect("flat").apply(&kappa).expect("fits");
    for (i, (g, gamma)) in g.iter().zip(shear(&grid, &kappa)).enumerate() {
        assert!((g * (1.0 - kappa[i % 4096]) - gamma).abs() < 1e-14);
    }
}

#[test]
fn convention_14_sigma_is_that_of_one_number() {
    let space = Space::single("d", &[2], "");
    let real = Gaussian::new(space.clone(), vec![1.0, 9.0], &[0.5, f64::INFINITY]).expect("valid");
    assert_eq!(real.energy(&[0.0, 0.0], &mut [0.0; 2]), 0.5 * (1.0f64 / 0.5).powi(2));
    let complex = ComplexGaussian::new(space, vec![3.0, 4.0], &[2.0]).expect("valid");
    assert_eq!(complex.energy(&[0.0, 0.0], &mut [0.0; 2]), 25.0 / (2.0 * 4.0));
}

#[test]
fn convention_15_the_energy_is_half_the_square_plus_the_misfit() {
    let space = Space::single("d", &[1], "");
    let likelihood = Arc::new(Gaussian::new(space.clone(), vec![2.0], &[1.0]).expect("valid"));
    let posterior = Posterior::new(Identity::new(space).shared(), likelihood).expect("fits");
    let mut gradient = [0.0];
    let energy = posterior.evaluator().energy(&[3.0], &mut gradient).expect("finite");
    assert_eq!((energy, gradient[0]), (4.5 + 0.5, 3.0 + 1.0));
}

#[test]
fn convention_16_run_files_speak_in_arcminutes() {
    let text = "pixels = [4, 6]\npixel_arcmin = 30.0\n";
    let sky: lookback::runfile::SkySection = toml::from_str(text).expect("a section");
    let grid = lookback::problem::grid_of(&sky).expect("a grid");
    assert!(
        (grid.lengths()[0] - 2f64.to_radians()).abs() < 1e-15
            && (grid.lengths()[1] - 3f64.to_radians()).abs() < 1e-15
    );
}

#[test]
fn convention_17_a_finer_grid_shows_the_same_sky() {
    let modes = |n: usize| {
        let grid = Grid::sky(n, n, 1.0 / n as f64).expect("a grid");
        let mut modes = vec![0.0; n * n];
        white_modes(&grid, Stream::new(42, Purpose::Signal, 0), &mut modes);
        let low = |i: usize, j: usize| modes[i * n + j];
        [low(0, 1), low(3, 5), low(n - 2, 4), low(n - 1, n - 3)]
    };
    assert_eq!(modes(16), modes(50));
}

fn small_simulation(particles: usize, length: f64) -> Simulation<f64> {
    let settings = Settings {
        particles,
        length,
        cells: particles,
        window: Window::Cic,
        kernels: Kernels::default(),
        start_kernels: Kernels::default(),
        lpt: Lpt::First,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: vec![0.3, 0.6, 1.0],
    };
    let cosmology =
        Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("a cosmology");
    Simulation::new(settings, cosmology, &[]).expect("a simulation")
}

/// White noise of one long wave along an axis of the box; its matter, averaged over the other axes.
fn one_wave(axis: usize, n: usize, amplitude: f64) -> Vec<f64> {
    let mut modes = vec![0.0; n.pow(3)];
    let stride = [n * n, n, 1][axis];
    modes[stride] = amplitude;
    modes
}

#[test]
fn convention_18_columns_run_along_the_first_axis_of_the_sky() {
    // A box that is wider than the field at all distances: the map sees one slope of a wave along its first axis.
    let length = 2000.0;
    for (axis, expected) in [(0, 1), (1, 0)] {
        let maps = vec![Tracer::Shell { near: 300.0, far: 800.0, edge: 100.0 }];
        let sky = Sky::Flat { pixels: 8, field: 0.2, centre: [0.15, 0.15], compensate: false };
        let settings =
            LightConeSettings { tiling: Tiling::Aligned, nearest: 0.0, ..LightConeSettings::of(maps, sky) };
        let cone = LightCone::new(small_simulation(64, length), settings).expect("a light cone");
        let wavy = cone.apply(&one_wave(axis, 64, 30.0)).expect("seen");
        let smooth = cone.apply(&vec![0.0; 64usize.pow(3)]).expect("seen");
        let map: Vec<f64> = wavy.iter().zip(smooth).map(|(w, s)| w - s).collect();
        let along = |f: &dyn Fn(usize) -> usize| {
            let mean = |k: usize| (0..64).filter(|&i| f(i) == k).map(|i| map[i]).sum::<f64>() / 8.0;
            (1..7)
                .map(mean)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), m| (low.min(m), high.max(m)))
        };
        let spread = [along(&|i| i / 8), along(&|i| i % 8)].map(|(low, high)| high - low);
        assert!(spread[expected] > 3.0 * spread[1 - expected], "axis {axis}: rows, columns {spread:?}");
    }
    let sphere = Healpix::new(8).expect("a sphere");
    assert!(sphere.around_vector([0.0, 0.0, 1.0]).pixels.iter().all(|&pixel| pixel < 4));
    let (theta, phi) = sphere.centre(sphere.around_vector([0.01, 1.0, 0.0]).pixels[0]);
    assert!((theta - TAU / 4.0).abs() < 0.2 && (phi - TAU / 4.0).abs() < 0.2, "{theta} {phi}");
}

#[test]
fn convention_19_shear_of_rays_is_that_of_kaiser_and_squires() {
    let sky = Sky::Flat { pixels: 16, field: 0.1, centre: [0.0; 2], compensate: true };
    let cone = LightConeSettings { nearest: 60.0, ..LightConeSettings::of(Vec::new(), sky) };
    let rays = RaySettings { sources: vec![1.0], planes: 4, edge: 0.3 };
    let rays = RayTracing::new(small_simulation(16, 200.0), cone, rays).expect("rays");
    let mut modes = vec![0.0; 4096];
    Stream::new(4, Purpose::Signal, 0).fill_normal(&mut modes);
    let maps = rays.apply(&modes).expect("traced");
    let grid = Grid::sky(16, 16, 0.1 / 16.0).expect("a grid");
    let expected = shear(&grid, &maps[..256]);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (ours, theirs) in maps[256..768].chunks(256).zip(expected.chunks(256)) {
        let r = product(ours, theirs) / (product(ours, ours) * product(theirs, theirs)).sqrt();
        // Beyond Born they differ by a little, and between pixels of this noisy map.
        assert!(r > 0.9, "{r}");
    }
}

#[test]
fn convention_20_redshift_space_is_along_the_last_axis() {
    let n = 16;
    let boost = |axis: usize| {
        let modes = one_wave(axis, n, 1.0);
        let simulation = small_simulation(n, 2000.0);
        let matter = simulation.apply(&modes).expect("evolved");
        let galaxies = Galaxies::new(simulation, Bias { b1: 0.0, b2: 0.0 }, false, true).expect("made");
        let seen = galaxies.apply(&modes).expect("evolved");
        seen.iter().zip(&matter).map(|(s, m)| s * m).sum::<f64>() / matter.iter().map(|m| m * m).sum::<f64>()
    };
    // Matter falls together: along the line of sight waves look stronger, by the growth rate of 0.5.
    assert!((boost(0) - 1.0).abs() < 0.01 && (boost(1) - 1.0).abs() < 0.01, "{} {}", boost(0), boost(1));
    assert!((1.4..1.6).contains(&boost(2)), "{}", boost(2));
}

#[test]
fn convention_21_shear_on_the_sphere_has_x_to_the_east() {
    let sphere = Healpix::new(16).expect("a sphere");
    let n = sphere.pixels();
    let shear_of = |mass: [f64; 3]| {
        let kappa: Vec<f64> = (0..n)
            .map(|pixel| {
                let (theta, phi) = sphere.centre(pixel);
                let at = [theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()];
                let cosine: f64 = at.iter().zip(mass).map(|(a, b)| a * b).sum();
                (20.0 * (cosine - 1.0)).exp()
            })
            .collect();
        let gamma = SphereShear::new(sphere.clone()).shared().apply(&kappa).expect("shear");
        move |theta: f64, phi: f64| {
            let at = [theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()];
            let pixel = Healpix::new(16).expect("a sphere").around_vector(at).pixels[0];
            [gamma[pixel], gamma[n + pixel]]
        }
    };
    // A mass on the equator: to its east and north as in line 10.
    let around = shear_of([1.0, 0.0, 0.0]);
    let equator = TAU / 4.0;
    assert!(around(equator, 0.4)[0] < -0.01, "along x");
    assert!(around(equator - 0.4, 0.0)[0] > 0.01, "along y");
    assert!(around(equator - 0.3, 0.3)[1] < -0.01, "where x = y");
    // And at the north pole: to its south.
    assert!(shear_of([0.0, 0.0, 1.0])(0.4, 1.0)[0] > 0.01, "around the pole");
}

/// Every numbered line of the page has its test.
#[test]
fn no_line_is_without_a_test() {
    let page = include_str!("../../../CONVENTIONS.md");
    let here = include_str!("conventions.rs");
    let numbers = page.lines().filter_map(|line| line.split_once(". **")?.0.parse::<u32>().ok());
    let mut count = 0;
    for number in numbers {
        assert!(here.contains(&format!("fn convention_{number:02}_")), "line {number}");
        count += 1;
    }
    assert_eq!(count, here.matches("\nfn convention_").count());
}
