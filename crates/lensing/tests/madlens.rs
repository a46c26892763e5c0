//! MADLens' maps and their derivatives.
//!
//! MADLens takes its distances from a table of CLASS, and its growth from another universe (no radiation) with straight lines between a few
//! scale factors. With both tables our light cone gives its maps, and the derivatives and gradients of its tape; without them it differs by
//! 1e-3 of a map's spread in half of the pixels, most of it from the straight lines. A slow light cone, written down particle by particle, tells
//! that weights and places are right in any other universe, too.

use std::sync::Arc;

use lookback_cosmology::{
    Between, Cosmology, DistanceTable, GrowthTable, Parameters, Settings as CosmologySettings, Sources,
    Tables, smooth_step,
};
use lookback_lensing::{Crossing, LightCone, LightConeSettings, Sky, Tiling};
use lookback_mesh::{Grid, Window};
use lookback_nbody::{GradientKernel, Kernels, Lpt, Middle, Scheme, Settings, Sharpening, Simulation, View};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Operator, vector};

const PARTICLES: usize = 32;
const BOX: f64 = 64.0;
const CELLS: usize = 64;
const PIXELS: usize = 64;
const REDSHIFTS: [f64; 2] = [0.5, 1.0];

fn load(name: &str) -> Vec<f64> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/madlens_maps.npz");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).expect("a file")).expect("an archive");
    let array = archive.by_name(&format!("{name}.npy")).unwrap_or_else(|_| panic!("no `{name}`"));
    npyz::NpyFile::new(array).expect("an array").into_vec::<f64>().expect("numbers")
}

/// The light cone of MADLens, by its own choices.
fn madlens(sharpening: Option<Sharpening>, nearest: f64, omega_k: f64, tables: Tables) -> LightCone<f64> {
    let parameters = Parameters {
        omega_k,
        omega_m: OMEGA_M,
        omega_b: 0.0486,
        h: 0.6774,
        n_s: 0.9667,
        amplitude: 0.81581,
        ..Parameters::planck15()
    };
    let settings = CosmologySettings { radiation: false, ..CosmologySettings::default() };
    let cosmology = Cosmology::with_tables(parameters, settings, tables).expect("a cosmology");
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let simulation = Settings {
        particles: PARTICLES,
        length: BOX,
        cells: CELLS,
        window: Window::Cic,
        kernels,
        start_kernels: kernels,
        lpt: Lpt::Second,
        sharpening,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::FastPm(Middle::Geometric),
        times: (0..=10).map(|i| 0.1 + 0.09 * f64::from(i)).collect(),
    };
    let simulation = Simulation::<f64>::new(simulation, cosmology, &[]).expect("a simulation");
    let field = 1.5f64.to_radians();
    let settings = LightConeSettings {
        sky: Sky::Flat { pixels: PIXELS, field, centre: [-0.5 * field / PIXELS as f64; 2], compensate: true },
        tiling: Tiling::Permutations,
        crossing: Crossing::Lagrangian,
        nearest,
        subtract_mean: false,
        ..LightConeSettings::new(REDSHIFTS.map(Sources::Plane).to_vec(), PIXELS, field)
    };
    LightCone::new(simulation, settings).expect("a light cone")
}

/// What a light cone needs to know of a universe.
struct Background<'a> {
    /// Comoving distance [Mpc/h] of a redshift, and back.
    distance: Box<dyn Fn(f64) -> f64 + 'a>,
    redshift: Box<dyn Fn(f64) -> f64 + 'a>,
    /// `D1` of a scale factor, in the units of the views.
    growth: Box<dyn Fn(f64) -> f64 + 'a>,
    /// Transverse distance [Mpc/h] of a distance.
    transverse: Box<dyn Fn(f64) -> f64 + 'a>,
    /// Particles nearer than this count in part.
    nearest: f64,
}

impl<'a> Background<'a> {
    fn of(cosmology: &'a Cosmology<f64>, nearest: f64) -> Background<'a> {
        let history = cosmology.history();
        Background {
            distance: Box::new(move |z| history.distance(1.0 / (1.0 + z))),
            redshift: Box::new(move |d| 1.0 / history.scale_factor_at(d).expect("a distance") - 1.0),
            growth: Box::new(move |a| cosmology.instant(a).d1.d),
            transverse: Box::new(move |d| history.transverse(d)),
            nearest,
        }
    }

    fn taper(&self, d: f64) -> f64 {
        if self.nearest > 0.0 { smooth_step(d / self.nearest - 1.0) } else { 1.0 }
    }
}

/// Views, with displacements and momenta in them.
type States = Vec<(View<f64>, Vec<f64>, Vec<f64>)>;

/// The orders in which MADLens takes the axes of the boxes along the line of sight.
const AXES: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [2, 1, 0], [2, 0, 1], [1, 0, 2], [1, 2, 0]];

/// The maps, particle by particle.
fn slow(states: &States, universe: &Background<'_>, omega_m: f64) -> Vec<f64> {
    let field = 1.5f64.to_radians();
    let side = field / PIXELS as f64;
    let density = (PARTICLES as f64 / BOX).powi(3);
    let mut maps = vec![0.0; 2 * PIXELS * PIXELS];
    for (view, x, p) in states {
        let at = |a: f64| if a < 1.0 - 1e-12 { (universe.distance)(1.0 / a - 1.0) } else { 0.0 };
        let (near, far) = (at(view.to), at(view.from));
        let start = (universe.growth)(view.at);
        for (source, z) in REDSHIFTS.into_iter().enumerate() {
            let plane = (universe.distance)(z);
            for copy in (near / BOX) as usize..=(far / BOX) as usize {
                let axes = AXES[copy % 6];
                for particle in 0..PARTICLES.pow(3) {
                    let lattice = |axis: usize| {
                        let stride = PARTICLES.pow(2 - axis as u32);
                        (particle / stride % PARTICLES) as f64 * BOX / PARTICLES as f64
                    };
                    let crosses = lattice(axes[2]) + BOX * copy as f64;
                    if !(near..far).contains(&crosses) {
                        continue;
                    }
                    let a = 1.0 / (1.0 + (universe.redshift)(crosses));
                    let drift = ((universe.growth)(a) - start) * view.unit;
                    let place = axes.map(|axis| {
                        let at = axis * PARTICLES.pow(3) + particle;
                        (lattice(axis) + x[at] + drift * p[at]).rem_euclid(BOX)
                    });
                    let d = place[2] + BOX * copy as f64;
                    if d > plane {
                        continue;
                    }
                    let lensing = 1.5 * omega_m * (100.0f64 / 299_792.458).powi(2);
                    let r = &universe.transverse;
                    let weight = lensing * r(plane - d) * r(d) / r(plane) * (1.0 + (universe.redshift)(d));
                    let weight = weight * universe.taper(d) / (density * side * side * r(d) * r(d));
                    let pixel = [0, 1].map(|k| ((place[k] - BOX / 2.0) / r(d) + field / 2.0) / side);
                    let (row, column) = (pixel[0].floor(), pixel[1].floor());
                    for (i, j) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
                        let (row, column) = (row + i, column + j);
                        let inside = |x: f64| x >= 0.0 && x < PIXELS as f64;
                        if inside(row) && inside(column) {
                            let share = (1.0 - (pixel[0] - row).abs()) * (1.0 - (pixel[1] - column).abs());
                            maps[(source * PIXELS + row as usize) * PIXELS + column as usize] +=
                                weight * share;
                        }
                    }
                }
            }
        }
    }
    maps.chunks(PIXELS * PIXELS).flat_map(without_window).collect()
}

/// A map without the window of a cloud in a cell, by sums over all pixels of a row, and of a column.
fn without_window(map: &[f64]) -> Vec<f64> {
    let n = PIXELS as i32;
    let response = |k: i32| {
        let w = std::f64::consts::PI * f64::from(if 2 * k > n { k - n } else { k }) / f64::from(n);
        if w == 0.0 { 1.0 } else { (w / w.sin()).powi(2) }
    };
    let kernel = |far: i32| {
        let wave = |k: i32| (std::f64::consts::TAU * f64::from(k * far) / f64::from(n)).cos();
        (0..n).map(|k| response(k) * wave(k)).sum::<f64>() / f64::from(n)
    };
    let kernel: Vec<f64> = (0..n).map(kernel).collect();
    let along = |map: &[f64], stride: usize| -> Vec<f64> {
        let one = |at: usize| {
            let (place, start) = (at / stride % PIXELS, at - at / stride % PIXELS * stride);
            (0..PIXELS).map(|i| kernel[(place + PIXELS - i) % PIXELS] * map[start + i * stride]).sum()
        };
        (0..map.len()).map(one).collect()
    };
    along(&along(map, 1), PIXELS)
}

/// Rows and columns as ours.
fn transposed(maps: &[f64]) -> Vec<f64> {
    let n = PIXELS * PIXELS;
    (0..maps.len()).map(|i| maps[i / n * n + i % PIXELS * PIXELS + i % n / PIXELS]).collect()
}

/// Our maps, and the particles that were seen.
fn ours(cone: &LightCone<f64>) -> (Vec<f64>, States) {
    let mut white = vec![0.0; PARTICLES.pow(3)];
    Stream::new(5, Purpose::Signal, 0).fill_normal(&mut white);
    let mut maps = vec![0.0; 2 * PIXELS * PIXELS];
    let mut seen = Vec::new();
    let mut look = cone.look().expect("a look");
    look.evolve(&white, &mut maps, |view, x, p| seen.push((view, x.to_vec(), p.to_vec()))).expect("runs");
    let views = &look.run().schedule().views;
    (maps, seen.into_iter().map(|(view, x, p)| (views[view], x, p)).collect())
}

/// The largest difference of two sets of maps, over the spread of the second.
fn worst(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / spread(b)
}

/// Standard deviation of all numbers.
fn spread(b: &[f64]) -> f64 {
    let n = b.len() as f64;
    let mean = b.iter().sum::<f64>() / n;
    (b.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Matter in MADLens' universe.
const OMEGA_M: f64 = 0.3089037414433296;

const PGD: Sharpening = Sharpening { alpha: 0.01298855, mu: -2.59606026, kl: 0.62717527, ks: 1.61288947 };

#[test]
fn with_the_universe_of_the_simulation_it_gives_our_maps() {
    let cases = [(None, 10.0, 0.0), (Some(PGD), 10.0, 0.0), (None, 0.0, 0.05)];
    for (sharpening, nearest, omega_k) in cases {
        let cone = madlens(sharpening, nearest, omega_k, Tables::default());
        let (maps, states) = ours(&cone);
        let cosmology = cone.simulation().cosmology();
        let background = Background::of(cosmology, nearest);
        let slow = transposed(&slow(&states, &background, cosmology.parameters().omega_m));
        let mut off: Vec<f64> = maps.iter().zip(&slow).map(|(a, b)| (a - b).abs()).collect();
        off.sort_by(f64::total_cmp);
        let error = worst(&maps, &slow);
        println!(
            "nearest {nearest}, omega_k {omega_k}: {error:.1e}, half of the pixels below {:.1e}",
            off[off.len() / 2]
        );
        assert!(error < 3e-9 && off[off.len() / 2] < 1e-11, "nearest {nearest}: {error:.1e}");
    }
}

/// MADLens' tables as those of a cosmology.
fn its_tables() -> Tables {
    let [a, e, d1, f1, d2, f2] =
        ["a", "e", "d1", "f1", "d2", "f2"].map(|name| load(&format!("growth_{name}")));
    // Its second order is that of 3/7 of the source, with the other sign.
    let row = |i: usize| vec![a[i], e[i], d1[i], f1[i], -3.0 / 7.0 * d2[i], f2[i]];
    let rows: Vec<Vec<f64>> = (0..a.len()).map(row).collect();
    let growth = GrowthTable::new(&rows, Between::Lines).expect("a table");
    let distances = DistanceTable::new(&load("redshift"), &load("distance")).expect("a table");
    Tables { growth: Some(Arc::new(growth)), distances: Some(Arc::new(distances)), power: None }
}

/// Latents of a linear density of today, and their amplitudes.
fn latents(cone: &LightCone<f64>, density: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let grid = Grid::new(&[PARTICLES; 3], &[BOX; 3]).expect("a grid");
    let mut look = cone.look().expect("a look");
    let today = cone.simulation().cosmology().instant(1.0).d1.d;
    let amplitude = |i: usize| {
        let k = grid.wave_vector(i / PARTICLES, i % PARTICLES).iter().map(|k| k * k).sum::<f64>().sqrt();
        today * (cone.simulation().cosmology().linear().power(k) / grid.cell_volume()).sqrt()
    };
    let amplitudes: Vec<f64> = (0..grid.len()).map(amplitude).collect();
    let modes = look.run().modes().from_field(density);
    let white = modes.iter().zip(&amplitudes).map(|(m, a)| if *a > 0.0 { m / a } else { 0.0 }).collect();
    (white, amplitudes)
}

/// By how much maps differ from MADLens' where only some of its tables, or none, are taken over: half of the pixels by less than the first number.
#[test]
fn its_tables_are_what_maps_differ_by() {
    let its = its_tables();
    let some = [
        ("none of its tables", Tables::default()),
        ("its distances", Tables { growth: None, ..its.clone() }),
        ("its growth", Tables { distances: None, ..its }),
    ];
    let half = some.map(|(what, tables)| {
        let cone = madlens(None, 0.0, 0.0, tables);
        let mut maps = vec![0.0; 2 * PIXELS * PIXELS];
        cone.apply_into(&latents(&cone, &load("rho")).0, &mut maps).expect("maps");
        let (ours, theirs) = (transposed(&maps), load("kappa"));
        let mut off: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).collect();
        off.sort_by(f64::total_cmp);
        let (half, largest) = (off[off.len() / 2] / spread(&theirs), worst(&ours, &theirs));
        println!("with {what}: half of the pixels below {half:.1e}, the largest {largest:.1e}");
        half
    });
    assert!(half[2] < 0.1 * half[0] && half[1] > 0.5 * half[0], "{half:?}");
}

#[test]
fn with_its_tables_our_light_cone_gives_its_maps_derivatives_and_gradients() {
    for (sharpening, suffix) in [(None, ""), (Some(PGD), "_pgd")] {
        let cone = madlens(sharpening, 0.0, 0.0, its_tables());
        let mut at = cone.linearization();
        let mut maps = vec![0.0; 2 * PIXELS * PIXELS];
        at.move_to(&latents(&cone, &load("rho")).0, &mut maps).expect("maps");
        let error = worst(&transposed(&maps), &load(&format!("kappa{suffix}")));
        println!("maps{suffix}: {error:.1e}");
        assert!(error < 3e-7, "maps{suffix}: {error:.1e}");

        let relative = |a: &[f64], b: &[f64]| {
            let off: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            (vector::norm2(&off) / vector::norm2(b)).sqrt()
        };
        let (tangent, amplitudes) = latents(&cone, &load(&format!("tangent{suffix}")));
        let mut pushed = vec![0.0; maps.len()];
        at.push(&tangent, &mut pushed).expect("pushes");
        let error = relative(&transposed(&pushed), &load(&format!("jvp{suffix}")));
        println!("push{suffix}: {error:.1e}");
        assert!(error < 2e-8, "push{suffix}: {error:.1e}");

        let mut pulled = vec![0.0; PARTICLES.pow(3)];
        at.pull(&transposed(&load(&format!("cotangent{suffix}"))), &mut pulled).expect("pulls");
        // A cotangent of modes, over their amplitudes, is that of the density on the same modes.
        let of_density =
            cone.look().expect("a look").run().modes().from_field(&load(&format!("vjp{suffix}")));
        let (ours, theirs): (Vec<f64>, Vec<f64>) = pulled
            .iter()
            .zip(&amplitudes)
            .zip(&of_density)
            .filter(|((_, a), _)| **a > 0.0)
            .map(|((p, a), v)| (p / a, *v))
            .unzip();
        let error = relative(&ours, &theirs);
        println!("pull{suffix}: {error:.1e}");
        assert!(error < 2e-8, "pull{suffix}: {error:.1e}");
    }
}
