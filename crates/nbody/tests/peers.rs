//! The same scheme with the same factors as pmwd and MADLens, on their numbers.
//!
//! `tests/reference/README.md` says how the tables were made.

use lookback_cosmology::{
    Cosmology, Gradient, Growth, Instant, Normalization, PARAMETERS, Parameters, Scalar,
    Settings as CosmologySettings,
};
use lookback_mesh::{Grid, RealFft, Window, power_spectrum};
use lookback_nbody::{
    Displacements, GradientKernel, Gravity, Kernels, Lpt, Middle, Move, Run, Schedule, Scheme, Settings,
    Sharpening, Simulation,
};
use lookback_operator::Linearization;
use lookback_operator::vector::axpy;

fn load(file: &str, name: &str) -> Vec<f64> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(file);
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).expect("a file")).expect("an archive");
    let array = archive.by_name(&format!("{name}.npy")).unwrap_or_else(|_| panic!("no `{name}`"));
    npyz::NpyFile::new(array).expect("an array").into_vec::<f64>().expect("numbers")
}

/// Largest difference of particles `0, stride, 2 stride, ...` (rows of three) over the largest entry of the table.
fn difference(ours: &[f64], table: &[f64], stride: usize) -> f64 {
    let particles = ours.len() / 3;
    let scale = table.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    let rows = table.chunks(3).enumerate();
    rows.flat_map(|(row, x)| (0..3).map(move |d| (x[d] - ours[d * particles + row * stride]).abs()))
        .fold(0.0, f64::max)
        / scale
}

const STRIDE: usize = 61;

fn pmwd_cosmology() -> Cosmology<f64> {
    let parameters = Parameters {
        omega_m: 0.3,
        omega_b: 0.05,
        h: 0.7,
        n_s: 0.96,
        amplitude: 2.0,
        ..Parameters::planck18()
    };
    let settings = CosmologySettings {
        normalization: Normalization::PrimordialAmplitude,
        radiation: false,
        ..CosmologySettings::default()
    };
    Cosmology::new(parameters, settings).expect("a cosmology")
}

fn pmwd(cells: usize, free: &[&str]) -> Simulation<f64> {
    let settings = Settings {
        particles: 64,
        length: 256.0,
        cells,
        window: Window::Cic,
        kernels: Kernels::default(),
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::FastPm(Middle::Arithmetic),
        times: load("pmwd_64.npz", "times"),
    };
    Simulation::new(settings, pmwd_cosmology(), free).expect("a simulation")
}

/// Their factors in our schedule: kicks carry `3/2 omega_m`, and those on either side of a time are one.
fn with_factors(schedule: &mut Schedule<f64>, table: &[f64], omega_m: f64) {
    let rows: Vec<&[f64]> = table.chunks(3).collect();
    let mut moves = vec![Move::Kick { keep: 1.0, pull: 1.5 * omega_m * rows[0][0] }];
    for (i, row) in rows.iter().enumerate() {
        moves.push(Move::Drift { before: row[1], after: 0.0 });
        let next = rows.get(i + 1).map_or(0.0, |next| next[0]);
        moves.push(Move::Kick { keep: 1.0, pull: 1.5 * omega_m * (row[2] + next) });
    }
    assert_eq!(moves.len(), schedule.moves.len());
    schedule.moves = moves;
}

/// Wave number of a mode of the lattice [h/Mpc].
fn wave_number(grid: &Grid, i: usize) -> f64 {
    grid.wave_vector(i / 64, i % 64).iter().map(|k| k * k).sum::<f64>().sqrt()
}

/// Our amplitude of every mode, `sqrt(P / dV)` at `D1 = 1`.
fn amplitude(simulation: &Simulation<f64>) -> Vec<f64> {
    let grid = Grid::new(&[64; 3], &[256.0; 3]).expect("a grid");
    let power = |i: usize| simulation.cosmology().linear().power(wave_number(&grid, i));
    (0..grid.len()).map(|i| (power(i) / grid.cell_volume()).sqrt()).collect()
}

/// White noise that gives their linear density whatever our power spectrum is, and the ratio of the amplitudes of modes
/// (theirs comes from a table that is interpolated linearly, which moves it by up to 3e-4).
fn their_white(simulation: &Simulation<f64>) -> (Vec<f64>, Vec<f64>) {
    let run = simulation.run().expect("a run");
    let d1 = simulation.cosmology().instant(1.0).d1.d;
    let linear = run.modes().from_field(&load("pmwd_64.npz", "linear"));
    let white = run.modes().from_field(&load("pmwd_64.npz", "white"));
    let ours = amplitude(simulation);
    let same: Vec<f64> =
        linear.iter().zip(&ours).map(|(l, a)| if *a > 0.0 { l / (d1 * a) } else { 0.0 }).collect();
    let ratio = same.iter().zip(&white).map(|(same, white)| same / white).collect();
    (same, ratio)
}

/// Largest difference of the power of the density, as painted, from theirs: in bins `(i, i + 1]` of fundamental waves.
fn power_off(cells: usize, delta: &[f64]) -> f64 {
    let grid = Grid::new(&[cells; 3], &[256.0; 3]).expect("a grid");
    let theirs = load("pmwd_64.npz", &format!("power{}", cells / 64));
    let bins = theirs.len() / 3;
    let edges: Vec<f64> = (0..=bins).map(|i| (i as f64 + 1e-6) * grid.fundamental()).collect();
    let ours = power_spectrum(&grid, delta, &edges).expect("measured");
    let of_bins = ours.power.iter().zip(&theirs[bins..2 * bins]);
    of_bins.map(|(ours, theirs)| (ours / theirs - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn positions_and_velocities_agree_with_pmwd() {
    for (cells, end) in [(64, "mesh1"), (128, "mesh2")] {
        let simulation = pmwd(cells, &[]);
        let mut run = simulation.run().expect("a run");
        let (white, ratio) = their_white(&simulation);
        let spread = ratio[1..].iter().fold(0.0f64, |max, r| max.max((r - 1.0).abs()));
        let settings = simulation.settings();
        let exact = Schedule::new(simulation.cosmology(), settings.scheme, settings.lpt, &settings.times)
            .expect("a schedule");
        let start = Schedule { moves: Vec::new(), ..exact.clone() };
        run.evolve_with(&white, start);
        let state = run.state();
        let lpt = difference(&state.displacement, &load("pmwd_64.npz", "start"), STRIDE);
        let lpt_velocity = difference(&state.momentum, &load("pmwd_64.npz", "start_vel"), STRIDE);
        let mut theirs = exact.clone();
        with_factors(&mut theirs, &load("pmwd_64.npz", &format!("factors{}", cells / 64)), 0.3);
        run.evolve_with(&white, theirs);
        let state = run.state();
        let same = difference(&state.displacement, &load("pmwd_64.npz", end), STRIDE);
        let velocity = match cells {
            64 => difference(&state.momentum, &load("pmwd_64.npz", "mesh1_vel"), STRIDE),
            _ => 0.0,
        };
        let mut delta = vec![0.0; cells.pow(3)];
        run.density(&mut delta);
        let power = power_off(cells, &delta);
        run.evolve_with(&white, exact);
        let exact_factors = {
            run.density(&mut delta);
            power_off(cells, &delta)
        };
        let ours = difference(&run.state().displacement, &load("pmwd_64.npz", end), STRIDE);
        println!(
            "mesh {cells}: amplitudes {spread:.2e} start {lpt:.2e} {lpt_velocity:.2e}, their factors {same:.2e} \
             {velocity:.2e}, power {power:.2e}; ours {ours:.2e}, power {exact_factors:.2e}"
        );
        // Their velocities are in single precision, and so is where they end on the finer mesh.
        assert!(lpt < 1e-9 && lpt_velocity < 1e-7, "{lpt:.2e} {lpt_velocity:.2e}");
        assert!(same < if cells == 64 { 1e-9 } else { 1e-7 } && velocity < 1e-7, "{same:.2e} {velocity:.2e}");
        assert!(power < 1e-6 && spread < 1e-3, "{power:.2e} {spread:.2e}");
        // What their factors, of a growth that is interpolated in a table, change.
        assert!(ours < 5e-3 && exact_factors < 1e-2, "{ours:.2e} {exact_factors:.2e}");
    }
}

/// Runs with their factors on 64^3 cells, and gives the density at the end.
fn their_density(simulation: &Simulation<f64>, run: &mut Run<'_, f64>, white: &[f64]) -> Vec<f64> {
    let settings = simulation.settings();
    let mut schedule = Schedule::new(simulation.cosmology(), settings.scheme, settings.lpt, &settings.times)
        .expect("a schedule");
    with_factors(&mut schedule, &load("pmwd_64.npz", "factors1"), 0.3);
    run.evolve_with(white, schedule);
    let mut delta = vec![0.0; white.len()];
    run.density(&mut delta);
    delta
}

/// The slope of their `sum (1 + delta)^2`.
fn cotangent(delta: &[f64]) -> Vec<f64> {
    delta.iter().map(|d| 2.0 * (1.0 + d)).collect()
}

#[test]
fn gradients_agree_with_pmwd() {
    let simulation = pmwd(64, &[]);
    let mut run = simulation.run().expect("a run");
    let (white, ratio) = their_white(&simulation);
    let delta = their_density(&simulation, &mut run, &white);
    let j: f64 = delta.iter().map(|d| (1.0 + d).powi(2)).sum();
    let mut gradient = vec![0.0; white.len()];
    run.pull(&cotangent(&delta), &mut gradient).expect("a gradient");
    let by_white: Vec<f64> =
        gradient.iter().zip(&ratio).map(|(g, r)| if r.is_finite() { g * r } else { 0.0 }).collect();
    // An orthonormal transform that is its own inverse: derivatives with respect to their field of white noise.
    let field = run.modes().from_field(&by_white);
    let theirs = load("pmwd_64.npz", "gradient");
    let scale = theirs.iter().fold(0.0f64, |max, g| max.max(g.abs()));
    let worst =
        theirs.iter().enumerate().map(|(i, g)| (g - field[i * STRIDE]).abs()).fold(0.0, f64::max) / scale;
    assert!((j / load("pmwd_64.npz", "j")[0] - 1.0).abs() < 1e-7, "{j}");
    assert!(worst < 1e-7, "{worst:.2e}");
}

/// pmwd's growth: `D / a^n` and its slopes on its steps and eight times before them, straight lines in between.
struct TheirGrowth {
    times: Vec<f64>,
    instants: Vec<Instant<Gradient>>,
}

impl TheirGrowth {
    fn new(cosmology: &Cosmology<Gradient>, steps: &[f64]) -> TheirGrowth {
        let before = (1..8).map(|i| steps[0] * f64::from(i) / 8.0);
        let times: Vec<f64> = before.chain(steps.iter().copied()).collect();
        let instants = times.iter().map(|a| cosmology.instant(*a)).collect();
        TheirGrowth { times, instants }
    }

    fn at(&self, a: f64, of: impl Fn(&Growth<Gradient>) -> Gradient) -> Gradient {
        let i = self.times.partition_point(|t| *t < a).clamp(1, self.times.len() - 1);
        let share = (a - self.times[i - 1]) / (self.times[i] - self.times[i - 1]);
        let node = |i: usize| of(&self.instants[i].d1) * (a / self.times[i]);
        node(i - 1) * (1.0 - share) + node(i) * share
    }
}

/// pmwd's factors (kick, drift, kick of every step) from its growth, with derivatives by the parameters.
fn their_factors(cosmology: &Cosmology<Gradient>, steps: &[f64]) -> Vec<Gradient> {
    let growth = TheirGrowth::new(cosmology, steps);
    let e2 = |a: f64| cosmology.background().e2_and_slope(a);
    let drift = |a: f64| e2(a).0.sqrt() * growth.at(a, |g| g.slope) * (a * a);
    let kick = |a: f64| {
        let (e2, slope) = e2(a);
        // Twice dln E / dln a is the slope of E^2 over E^2.
        let friction = slope / e2 * 0.5 + 2.0;
        e2 * (growth.at(a, |g| g.curvature) + friction * growth.at(a, |g| g.slope)) * (a * a * a)
    };
    let of_step = |step: &[f64]| {
        let (from, to) = (step[0], step[1]);
        let middle = 0.5 * (from + to);
        [
            (drift(middle) - drift(from)) / kick(from),
            (growth.at(to, |g| g.d) - growth.at(from, |g| g.d)) / drift(middle),
            (drift(to) - drift(middle)) / kick(to),
        ]
    };
    steps.windows(2).flat_map(of_step).collect()
}

/// pmwd's linear power, with derivatives: its transfer function is straight between 128 nodes a decade.
fn their_power(cosmology: &Cosmology<Gradient>, k: f64) -> Gradient {
    let n_s = cosmology.parameters().n_s;
    let tilt = |k: f64| (n_s * k.ln()).exp();
    let transfer = |node: f64| {
        let k = 10f64.powf(node / 128.0);
        (k, (cosmology.linear().power(k) / tilt(k)).sqrt())
    };
    let node = (k.log10() * 128.0).floor();
    let ((left, before), (right, after)) = (transfer(node), transfer(node + 1.0));
    let share = (k - left) / (right - left);
    (before * (1.0 - share) + after * share).powi(2) * tilt(k)
}

const NAMES: [&str; 5] = ["a_s", "n_s", "omega_m", "omega_b", "h"];

/// Our places of pmwd's parameters.
fn place(name: &str) -> usize {
    let name = if name == "a_s" { "amplitude" } else { name };
    PARAMETERS.iter().position(|p| *p == name).expect("a parameter")
}

#[test]
fn gradients_by_parameters_with_its_tables_are_those_of_pmwd() {
    let simulation = pmwd(64, &[]);
    let mut run = simulation.run().expect("a run");
    let (white, ratio) = their_white(&simulation);
    let settings = simulation.settings();
    let cosmology = simulation.cosmology().with_gradient().expect("a cosmology");

    // The tables are theirs.
    let factors = their_factors(&cosmology, &settings.times);
    let table = load("pmwd_64.npz", "factors1");
    for (ours, theirs) in factors.iter().zip(&table) {
        assert!((ours.value / theirs - 1.0).abs() < 1e-6, "{} {theirs}", ours.value);
    }
    let grid = Grid::new(&[64; 3], &[256.0; 3]).expect("a grid");
    let powers: Vec<Gradient> =
        (1..white.len()).map(|i| their_power(&cosmology, wave_number(&grid, i))).collect();
    for (i, power) in powers.iter().enumerate() {
        let ours = simulation.cosmology().linear().power(wave_number(&grid, i + 1));
        let error = (power.value / ours).sqrt() / ratio[i + 1] - 1.0;
        assert!(error.abs() < 1e-7, "amplitude of mode {i}: {error:.1e}");
    }

    let delta = their_density(&simulation, &mut run, &white);
    let mut x_bar = vec![0.0; 3 * white.len()];
    run.cloud().gradient(run.displacement(), &cotangent(&delta), None, 1.0, &mut x_bar);
    let p_bar = vec![0.0; x_bar.len()];
    let by = run.pull_factors(x_bar, p_bar, None);

    // Starts are at one of their nodes, so that they are exact.
    let exact =
        Schedule::new(&cosmology, settings.scheme, settings.lpt, &settings.times).expect("a schedule");
    let mut slopes: Vec<Gradient> =
        exact.start.displacement.iter().chain(&exact.start.momentum).copied().collect();
    let zero = Gradient::of(0.0);
    let pull = |kick: Gradient| [zero, cosmology.parameters().omega_m * kick * 1.5];
    slopes.extend(pull(factors[0]));
    for (i, step) in factors.chunks(3).enumerate() {
        slopes.extend([step[1], zero]);
        slopes.extend(pull(factors.get(3 * i + 3).map_or(step[2], |next| step[2] + *next)));
    }
    for (name, theirs) in NAMES.into_iter().zip(load("pmwd_64.npz", "parameters")) {
        let p = place(name);
        let by_factors: f64 = slopes.iter().zip(&by.factors).map(|(s, bar)| s.gradient[p] * bar).sum();
        let modes = white.iter().zip(&by.white).skip(1).zip(&powers);
        let by_modes: f64 =
            modes.map(|((w, bar), power)| 0.5 * w * bar * power.gradient[p] / power.value).sum();
        let error = (by_factors + by_modes) / theirs - 1.0;
        println!("by {name}: {:.9e} {theirs:.9e} {error:.1e}", by_factors + by_modes);
        assert!(error.abs() < 1e-6, "{name}: {error:.1e}");
    }
}

#[test]
fn gradients_by_parameters_are_as_near_to_pmwd_as_its_tables_are_exact() {
    let simulation = pmwd(64, &NAMES);
    let mut run = simulation.run().expect("a run");
    let (white, _) = their_white(&simulation);
    let x = simulation.point(&white);
    let mut delta = vec![0.0; white.len()];
    run.move_to(&x, &mut delta).expect("evolved");
    let mut gradient = vec![0.0; x.len()];
    run.pull(&cotangent(&delta), &mut gradient).expect("a gradient");
    for ((name, ours), theirs) in
        NAMES.into_iter().zip(&gradient[white.len()..]).zip(load("pmwd_64.npz", "parameters"))
    {
        println!("by {name}: {ours:.6e} {theirs:.6e} {:.1e}", ours / theirs - 1.0);
        // Its growth comes from a table: its factors move particles by 8e-4 of the largest displacement, and this is a slope of the sum of
        // the squares of what is nonlinear.
        assert!((ours / theirs - 1.0).abs() < 4e-3, "{name}: {ours} {theirs}");
    }
}

/// MADLens: four-point gradients, a force mesh twice as fine, 32^3 particles in 64 Mpc/h.
#[test]
fn positions_and_forces_agree_with_madlens() {
    let table = |name: &str| load("madlens_32.npz", name);
    let kernels = Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() };
    let grid = Grid::new(&[32; 3], &[64.0; 3]).expect("a grid");
    let fft = RealFft::<f64>::new(&grid);
    let mut delta = fft.make_spectrum();
    fft.forward(&table("rho"), &mut delta);
    delta.iter_mut().for_each(|d| *d /= grid.len() as f64);
    let orders = Displacements::new(&grid, Lpt::Second, kernels).forward(&delta);
    let second: Vec<f64> = orders[1].iter().map(|x| -3.0 / 7.0 * x).collect();
    let errors = [difference(&orders[0], &table("dx1"), 7), difference(&second, &table("dx2"), 7)];
    assert!(errors.iter().all(|e| *e < 1e-12), "perturbation theory: {errors:?}");

    // Their growth at a = 0.1, where D1 = 1 today, and their factors.
    let (a, e) = (0.1f64, 17.595307263639537);
    let (d1, d2) = (0.12745500507330362, 0.016109364377356085);
    let (f1, f2) = (0.9987817477790574, 1.9976102939023799);
    let sum = |c1: f64, c2: f64| -> Vec<f64> {
        orders[0].iter().zip(&second).map(|(first, second)| c1 * first + c2 * second).collect()
    };
    let (mut x, mut p) = (sum(d1, d2), sum(a * a * e * f1 * d1, a * a * e * f2 * d2));
    let mut gravity = Gravity::new(32, 64, 64.0, kernels, Window::Cic).expect("gravity");
    let mut g = vec![0.0; x.len()];
    let (kicks, drifts, omega_m) = (table("kick"), table("drift"), table("om")[0]);
    for (kick, drift) in kicks.chunks(2).zip(drifts.chunks(3)) {
        gravity.at(&x, &mut g);
        axpy(1.5 * omega_m * kick[0], &g, &mut p);
        axpy(drift[2], &p, &mut x);
        gravity.at(&x, &mut g);
        axpy(1.5 * omega_m * kick[1], &g, &mut p);
    }
    let errors = [
        difference(&x, &table("end"), 7),
        difference(&p, &table("end_momentum"), 7),
        difference(&g, &table("end_force"), 7),
    ];
    println!("MADLens: displacement, momentum and force at the end: {errors:?}");
    assert!(errors.iter().all(|e| *e < 1e-9), "{errors:?}");
    let sharpening = Sharpening { alpha: 0.01298855, mu: -2.59606026, kl: 0.62717527, ks: 1.61288947 };
    let (seen, _) = gravity.sharpened(sharpening, 1.0, &x);
    let moved: Vec<f64> = seen.iter().zip(&x).map(|(seen, x)| seen - x).collect();
    let error = difference(&moved, &table("sharpening"), 7);
    println!("MADLens: particle gradient descent at the end: {error:.1e}");
    assert!(error < 1e-9, "{error:.1e}");
}
