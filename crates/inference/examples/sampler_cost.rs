//! What do samplers cost? Gradients until second moments are known, and time beyond the gradient.
//!
//! `cargo run --release -p lookback-inference --example sampler_cost -- [moments | funnel | phi4 [SIDE] | overhead [DIMENSION]]`
//!
//! `moments`: gradients of one chain after its warm-up (and in it) until `b^2 < 0.01` from there on, the squared error of `E[x_i^2]` in units
//! of the variance of `x_i^2`, averaged over coordinates; median of eight chains. Coordinates are the latents, but for the funnel's, which are
//! what is normal in it, as in the published figures (sampler-benchmarks). `funnel`: the same of Neal's funnel, for several samplers and
//! settings, with 64 chains. `phi4`: the same of lattice fields, of their sites and of the powers of their modes, which are those of the
//! published figures; true moments are those of a run of NUTS, averaged over all sites, and over modes of almost the same wave number. `overhead`: time of a step of a Gaussian whose gradient is
//! a copy, in passes over a vector (`y += a x`), in dimensions from 1e5 to 1e7.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use lookback_inference::{
    Draw, Evaluator, Hmc, HmcOptions, Integrator, Mclmc, MclmcOptions, Method, Metric, Nuts, NutsOptions,
    Result, Sampler, Target, Workers,
};
use lookback_mesh::{Grid, RealFft};
use lookback_operator::vector::{self, CHUNK};
use rayon::prelude::*;

/// A density with known second moments.
struct Density {
    name: &'static str,
    dim: usize,
    energy: Box<Energy>,
    coordinates: Box<Coordinates>,
    /// `E[x^2]` and `Var[x^2]` of each coordinate; those of infinite variance are not looked at.
    truth: Vec<(f64, f64)>,
}

/// Writes the gradient, returns the energy.
type Energy = dyn Fn(&[f64], &mut [f64]) -> f64 + Sync;
/// What the second moments are those of.
type Coordinates = dyn Fn(Vec<f64>) -> Vec<f64> + Sync;

impl Density {
    /// One whose coordinates are its latents.
    fn of_latents(name: &'static str, truth: Vec<(f64, f64)>, energy: Box<Energy>) -> Density {
        Density { name, dim: truth.len(), energy, coordinates: Box::new(|latents| latents), truth }
    }
}

struct Place<'a>(&'a Density);

impl Target<f64> for Density {
    fn dim(&self) -> usize {
        self.dim
    }

    fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
        Box::new(Place(self))
    }
}

impl Evaluator<f64> for Place<'_> {
    fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
        Ok((self.0.energy)(z, gradient))
    }
}

/// Independent Gaussians with variances from 1 to `condition`, equal steps in the logarithm.
fn gaussian(name: &'static str, dim: usize, condition: f64) -> Density {
    let variances: Vec<f64> = (0..dim).map(|i| condition.powf(i as f64 / (dim - 1) as f64)).collect();
    let truth = variances.iter().map(|v| (*v, 2.0 * v * v)).collect();
    let energy = move |z: &[f64], g: &mut [f64]| {
        g.iter_mut().zip(z).zip(&variances).for_each(|((g, z), v)| *g = z / v);
        0.5 * vector::dot(z, g)
    };
    Density::of_latents(name, truth, Box::new(energy))
}

/// Pairs `x ~ N(1, 1)`, `y ~ N(x^2, 0.1)`.
fn rosenbrock(name: &'static str, dim: usize) -> Density {
    const Q: f64 = 0.1;
    // Moments of N(1, 1): E[x^2] = 2, E[x^4] = 10, E[x^8] = 764.
    let of_x = (2.0, 10.0 - 4.0);
    let of_y = (10.0 + Q, 764.0 + 6.0 * 10.0 * Q + 3.0 * Q * Q - (10.0 + Q).powi(2));
    let half = dim / 2;
    let truth = (0..dim).map(|i| if i < half { of_x } else { of_y }).collect();
    let energy = move |z: &[f64], g: &mut [f64]| {
        let mut sum = 0.0;
        for i in 0..half {
            let (x, y) = (z[i], z[half + i]);
            let off = y - x * x;
            sum += 0.5 * (x - 1.0).powi(2) + 0.5 * off * off / Q;
            g[i] = x - 1.0 - 2.0 * x * off / Q;
            g[half + i] = off / Q;
        }
        sum
    };
    Density::of_latents(name, truth, Box::new(energy))
}

/// Neal's funnel: `x_0 ~ N(0, 9)`, the others `N(0, exp(x_0))`. Its coordinates are `x_0 / 3` and `x_i exp(-x_0 / 2)`, which are standard normal; squares
/// of the latents have no useful variance.
fn neals_funnel() -> Density {
    const DIM: usize = 20;
    let others = (DIM - 1) as f64;
    let energy = move |z: &[f64], g: &mut [f64]| {
        let narrow = (-z[0]).exp();
        let sum: f64 = z[1..].iter().map(|z| z * z).sum();
        g[1..].iter_mut().zip(&z[1..]).for_each(|(g, z)| *g = z * narrow);
        g[0] = z[0] / 9.0 + 0.5 * others - 0.5 * narrow * sum;
        z[0] * z[0] / 18.0 + 0.5 * others * z[0] + 0.5 * narrow * sum
    };
    let coordinates = |mut z: Vec<f64>| {
        let wide = (-0.5 * z[0]).exp();
        z[0] /= 3.0;
        z[1..].iter_mut().for_each(|z| *z *= wide);
        z
    };
    Density {
        name: "Neal's funnel, 20",
        dim: DIM,
        energy: Box::new(energy),
        coordinates: Box::new(coordinates),
        truth: vec![(1.0, 2.0); DIM],
    }
}

/// A scalar field on a periodic lattice near its critical point, `S = sum lambda phi^4 - 2 phi (phi_right + phi_below)`, that
/// is `m^2 = -4`, with `lambda = 4.25 (1 + 4 / side)` (Gerdes et al. 2022, arXiv 2207.00283; figure 3).
fn phi4(side: usize) -> Box<Energy> {
    let lambda = 4.25 * (1.0 + 4.0 / side as f64);
    Box::new(move |z: &[f64], g: &mut [f64]| {
        let parts = g.par_chunks_mut(side).enumerate().map(|(row, g)| {
            let of = |row: usize| &z[row % side * side..(row % side + 1) * side];
            let (above, here, below) = (of(row + side - 1), of(row), of(row + 1));
            let mut sum = 0.0;
            for i in 0..side {
                let (left, right) = (here[(i + side - 1) % side], here[(i + 1) % side]);
                let phi = here[i];
                let cubed = lambda * phi * phi * phi;
                g[i] = 4.0 * cubed - 2.0 * (left + right + above[i] + below[i]);
                sum += cubed * phi - 2.0 * phi * (right + below[i]);
            }
            sum
        });
        parts.collect::<Vec<f64>>().iter().sum()
    })
}

/// The powers `|FFT(phi)|^2 / side^2` of the modes of a lattice.
fn powers_of_modes(side: usize) -> Box<Coordinates> {
    let transform = RealFft::new(&Grid::new(&[side, side], &[1.0, 1.0]).expect("a square"));
    Box::new(move |phi| {
        let mut modes = transform.make_spectrum();
        transform.forward(&phi, &mut modes);
        modes.iter().map(|mode| mode.norm_sqr() / (side * side) as f64).collect()
    })
}

/// Modes of the half of the spectrum that a real transform gives, in bins of almost the same `4 - 2 cos k_x - 2 cos k_y`, on which their power depends; those that are real
/// are in none.
fn bins_of_modes(side: usize) -> Vec<Vec<usize>> {
    let half = side / 2 + 1;
    let rough = |k: usize| 1.0 - (std::f64::consts::TAU * k as f64 / side as f64).cos();
    let real = |k: usize| k.is_multiple_of(side / 2);
    let mut modes: Vec<(f64, usize)> = (0..side * half)
        .map(|mode| (mode / half, mode % half, mode))
        .filter(|&(row, column, _)| !(real(row) && real(column)))
        .map(|(row, column, mode)| (rough(row) + rough(column), mode))
        .collect();
    modes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut bins = Vec::new();
    let mut left = &modes[..];
    while !left.is_empty() {
        let done = modes.len() - left.len();
        let (bin, rest) = left.split_at(left.len().min(8.max(done / 16)));
        bins.push(bin.iter().map(|mode| mode.1).collect());
        left = rest;
    }
    bins
}

/// The lattice with two kinds of coordinates, the latents at its sites and the powers of its modes, with their moments from NUTS, which would take very long to come to where
/// long waves are in equilibrium: it starts where MCLMC has come to.
fn lattice(side: usize, names: [&'static str; 2]) -> [Density; 2] {
    const CHAINS: usize = 2;
    let stop = AtomicBool::new(false);
    let sites = vec![(0.0, f64::INFINITY); side * side];
    let unknown = Density::of_latents("", sites, phi4(side));
    let powers = powers_of_modes(side);
    let workers = Workers::new(&unknown, &stop);
    let steps = 2000;
    let options =
        MclmcOptions { chains: CHAINS, warmup: 400, draws: steps, thin: steps, ..Default::default() };
    let mut mclmc = Mclmc::new(options, 3).expect("valid");
    let mut starts = Vec::new();
    let mut keep = |draw: Draw<f64>| {
        if let Draw::Sample { z, .. } = draw {
            starts.push(z);
        }
    };
    while !mclmc.advance(&workers, &mut keep).expect("advances").done {}
    // Small lattices have more to say of the few modes that change slowly.
    let draws = 40 * (1024 / side).pow(2);
    let options = NutsOptions { chains: CHAINS, warmup: 40, draws, max_depth: 7, ..NutsOptions::default() };
    let mut method = Nuts::new(options, 3).expect("valid");
    method.start_from(starts);
    let mut sums = vec![(0.0, 0.0); side * (side / 2 + 1)];
    let (mut draws, mut second, mut fourth) = (0.0, 0.0, 0.0);
    let mut keep = |draw: Draw<f64>| {
        if let Draw::Sample { z, .. } = draw {
            draws += 1.0;
            second += vector::norm2(&z);
            fourth += z.iter().map(|z| z.powi(4)).sum::<f64>();
            for (sum, power) in sums.iter_mut().zip(powers(z)) {
                sum.0 += power.powi(2);
                sum.1 += power.powi(4);
            }
        }
    };
    while !method.advance(&workers, &mut keep).expect("advances").done {}
    let moments = |second: f64, fourth: f64, count: f64| {
        let mean = second / count;
        (mean, fourth / count - mean * mean)
    };
    let site = moments(second, fourth, draws * (side * side) as f64);
    let of_sites = Density::of_latents(names[0], vec![site; side * side], phi4(side));
    let mut truth = vec![(0.0, f64::INFINITY); sums.len()];
    for bin in bins_of_modes(side) {
        let of_bin = bin.iter().map(|&mode| sums[mode]);
        let (second, fourth) = of_bin.fold((0.0, 0.0), |all, mode| (all.0 + mode.0, all.1 + mode.1));
        let of_mode = moments(second, fourth, draws * bin.len() as f64);
        bin.iter().for_each(|&mode| truth[mode] = of_mode);
    }
    let of_modes =
        Density { name: names[1], dim: side * side, energy: phi4(side), coordinates: powers, truth };
    [of_sites, of_modes]
}

fn lattices(only: Option<usize>) {
    header();
    let sides = [
        (256, ["phi^4, 256^2, sites", "phi^4, 256^2, powers of modes"]),
        (512, ["phi^4, 512^2, sites", "phi^4, 512^2, powers of modes"]),
        (1024, ["phi^4, 1024^2, sites", "phi^4, 1024^2, powers of modes"]),
    ];
    for (side, names) in sides.into_iter().filter(|(side, _)| only.is_none_or(|only| only == *side)) {
        for target in &lattice(side, names) {
            for integrator in [Integrator::Leapfrog, Integrator::MinimalNorm] {
                microcanonical(target, integrator, 400, 3000);
            }
        }
    }
}

const CHAINS: usize = 8;

/// What it took to know the second moments.
struct Needed {
    /// Gradients a chain in the warm-up.
    warmup: f64,
    /// Those after it until `b^2 < 0.01` from there on, if it comes to that.
    gradients: Option<f64>,
    /// `b^2` at the end.
    error: f64,
    /// Second moment of the first coordinate then, over the true one, and its error, from all chains.
    first: (f64, f64),
}

/// What a method needs; chains are watched until they have taken twice as many gradients.
fn gradients_needed(method: &mut impl Method<f64>, target: &Density, chains: usize) -> Needed {
    let stop = AtomicBool::new(false);
    let workers = Workers::new(target, &stop);
    let mut sums = vec![vec![0.0; target.truth.len()]; chains];
    let looked_at = target.truth.iter().filter(|truth| truth.1.is_finite()).count() as f64;
    let (mut draws, mut warmup, mut needed) = (0.0, 0.0, 0.0);
    loop {
        let mut drawn = false;
        let progress = method
            .advance(&workers, &mut |draw| {
                if let Draw::Sample { z, chain, .. } = draw {
                    drawn = true;
                    let coordinates = (target.coordinates)(z);
                    sums[chain].iter_mut().zip(&coordinates).for_each(|(sum, x)| *sum += x * x);
                }
            })
            .expect("advances");
        let gradients = workers.counts().0 as f64 / chains as f64;
        if !drawn {
            warmup = gradients;
            continue;
        }
        draws += 1.0;
        let error = |sums: &Vec<f64>| {
            let each =
                sums.iter().zip(&target.truth).map(|(sum, (mean, var))| (sum / draws - mean).powi(2) / var);
            each.sum::<f64>() / looked_at
        };
        let mut errors: Vec<f64> = sums.par_iter().map(error).collect();
        errors.sort_by(f64::total_cmp);
        let last = 0.5 * (errors[chains / 2 - 1] + errors[chains / 2]);
        let below = last < 0.01;
        if !below {
            needed = gradients - warmup;
        }
        if progress.done || (below && gradients - warmup > 2.0 * needed) {
            let (mean, spread) = of_chains(sums.iter().map(|sums| sums[0] / draws / target.truth[0].0));
            let first = (mean, spread / (chains as f64).sqrt());
            return Needed { warmup, gradients: below.then_some(needed), error: last, first };
        }
    }
}

/// Mean and standard deviation.
fn of_chains(values: impl ExactSizeIterator<Item = f64>) -> (f64, f64) {
    let count = values.len() as f64;
    let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    let mean = sum / count;
    (mean, ((squares / count - mean * mean) * count / (count - 1.0)).sqrt())
}

fn header() {
    println!(
        "| density, dimension | sampler | warm-up gradients | gradients until b^2 < 0.01 from there on | E[x_0^2] over the truth |\n|---|---|---|---|---|"
    );
}

fn row(target: &Density, sampler: &str, Needed { warmup, gradients, error, first }: Needed) {
    let gradients = gradients.map_or(format!("not reached: {error:.3}"), |n| format!("{n:.0}"));
    let first = if first.0.is_finite() { format!("{:.2} +- {:.2}", first.0, first.1) } else { "-".into() };
    println!("| {} | {sampler} | {warmup:.0} | {gradients} | {first} |", target.name);
}

fn microcanonical(target: &Density, integrator: Integrator, warmup: usize, draws: usize) {
    let name = if integrator == Integrator::Leapfrog { "mclmc, leapfrog" } else { "mclmc, minimal norm" };
    let options = MclmcOptions { chains: CHAINS, warmup, draws, thin: 1, integrator, ..Default::default() };
    row(target, name, gradients_needed(&mut Mclmc::new(options, 1).expect("valid"), target, CHAINS));
}

fn moments() {
    let targets = [
        gaussian("Gaussian, 100, condition 1000", 100, 1e3),
        gaussian("Gaussian, 1000, condition 1", 1000, 1.0),
        gaussian("Gaussian, 10,000, condition 100", 10_000, 100.0),
        gaussian("Gaussian, 100,000, condition 1", 100_000, 1.0),
        rosenbrock("Rosenbrock, 36", 36),
        rosenbrock("Rosenbrock, 400", 400),
        neals_funnel(),
    ];
    header();
    for target in &targets {
        for integrator in [Integrator::Leapfrog, Integrator::MinimalNorm] {
            microcanonical(target, integrator, if target.dim() > 10_000 { 400 } else { 2000 }, 40_000);
        }
        if target.dim() <= 10_000 {
            for (name, integrator, halve_above) in [
                ("nuts, leapfrog", Integrator::Leapfrog, None),
                ("nuts, steps halved above 2", Integrator::Leapfrog, Some(2.0)),
                ("nuts, two stages", Integrator::TwoStage, None),
            ] {
                let options = NutsOptions {
                    chains: CHAINS,
                    warmup: 300,
                    draws: 4000,
                    integrator,
                    halve_above,
                    ..Default::default()
                };
                row(
                    target,
                    name,
                    gradients_needed(&mut Nuts::new(options, 1).expect("valid"), target, CHAINS),
                );
            }
        }
    }
}

/// How many gradients several samplers and settings need for the funnel: medians of more chains, as they scatter there.
fn settings_on_funnel() {
    const CHAINS: usize = 64;
    header();
    let target = neals_funnel();
    for (metric, halve_above) in [Metric::Unit, Metric::Diagonal]
        .into_iter()
        .flat_map(|metric| [None, Some(1.0), Some(2.0), Some(4.0)].map(|spread| (metric, spread)))
    {
        let acceptances: &[f64] = if halve_above.is_none() { &[0.8, 0.9, 0.95, 0.99] } else { &[0.8] };
        for (&target_acceptance, seed) in
            acceptances.iter().flat_map(|acceptance| [(acceptance, 1), (acceptance, 2)])
        {
            let options = NutsOptions {
                chains: CHAINS,
                warmup: 300,
                draws: 8000,
                target_acceptance,
                metric,
                halve_above,
                ..Default::default()
            };
            let halved = halve_above.map_or(String::new(), |spread| format!(", steps halved above {spread}"));
            let name =
                format!("nuts, acceptance {target_acceptance}, {metric:?} metric{halved}, seed {seed}");
            let mut nuts = Nuts::new(options, seed).expect("valid");
            row(&target, &name, gradients_needed(&mut nuts, &target, CHAINS));
        }
    }
    for (path_length, seed) in [5.0, 15.0].into_iter().flat_map(|length| [(length, 1), (length, 2)]) {
        let options = HmcOptions {
            chains: CHAINS,
            warmup: 500,
            draws: 20_000,
            target_acceptance: 0.99,
            path_length,
            ..Default::default()
        };
        let name = format!("mams, acceptance 0.99, paths of {path_length}, seed {seed}");
        let mut mams = Hmc::microcanonical(options, seed).expect("valid");
        row(&target, &name, gradients_needed(&mut mams, &target, CHAINS));
    }
}

/// Seconds between two calls of a density are those of the sampler; those in it are counted here.
static IN_DENSITY: AtomicU64 = AtomicU64::new(0);

/// A Gaussian whose first half of latents is narrower by the root of `stiff`.
fn two_widths(dim: usize, stiff: f64) -> Density {
    let energy = Box::new(move |z: &[f64], g: &mut [f64]| {
        let start = Instant::now();
        // As densities of models are: in parts, on the threads of the pool.
        let parts = g.par_chunks_mut(CHUNK).zip(z.par_chunks(CHUNK)).enumerate().map(|(part, (g, z))| {
            let narrow = (dim / 2).saturating_sub(part * CHUNK).min(z.len());
            g[..narrow].iter_mut().zip(z).for_each(|(g, z)| *g = stiff * z);
            g[narrow..].copy_from_slice(&z[narrow..]);
            0.5 * vector::dot(z, g)
        });
        let energy = parts.collect::<Vec<f64>>().iter().sum();
        IN_DENSITY.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        energy
    });
    Density::of_latents("two widths", vec![(1.0, 2.0); dim], energy)
}

/// Seconds of a gradient, and of a step beyond it, in each advance of a method that has `warmup` steps behind it.
fn seconds_of_steps(target: &Density, mut method: impl Method<f64>, warmup: u64) -> Vec<(f64, f64)> {
    let stop = AtomicBool::new(false);
    let workers = Workers::new(target, &stop);
    let mut all = Vec::new();
    loop {
        let (gradients, in_density, start) = (workers.counts().0, IN_DENSITY.load(Relaxed), Instant::now());
        let progress = method.advance(&workers, &mut |_| ()).expect("advances");
        let seconds = start.elapsed().as_secs_f64();
        let gradients = (workers.counts().0 - gradients) as f64;
        let in_density = (IN_DENSITY.load(Relaxed) - in_density) as f64 * 1e-9;
        if progress.steps.0 > warmup {
            all.push((in_density / gradients, (seconds - in_density) / gradients));
        }
        if progress.done {
            return all;
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median seconds of `y += a x` over vectors that lie where those of a step lie: so many pairs take turns, on threads of the pool.
fn seconds_of_pass(dim: usize, pairs: usize) -> f64 {
    let mut vectors = vec![[vec![1.0f64; dim], vec![0.0f64; dim]]; pairs];
    let passes = (0..200).map(|turn| {
        let [x, y] = &mut vectors[turn % pairs];
        let start = Instant::now();
        vector::axpy(1e-3, x, y);
        start.elapsed().as_secs_f64()
    });
    rayon::scope(|_| median(passes.collect()))
}

/// Pairs of vectors that a step of MCLMC holds.
const PAIRS_OF_MCLMC: usize = 2;
/// Doublings of a trajectory of NUTS, and pairs of vectors that it then holds: five a doubling, and eight.
const DOUBLINGS: usize = 5;
const PAIRS_OF_NUTS: usize = (5 * DOUBLINGS + 8) / 2;

/// Seconds of one step beyond its gradient, of a chain on Gaussians, in passes over as many vectors as the sampler holds: of equal widths, where a direction is forgotten at once, and with
/// half of the latents ten times narrower, where it is kept over many steps, or which are learned in the warm-up. Medians over blocks of steps.
fn overhead(only: Option<usize>) {
    println!(
        "| dimension | widths | one pass | gradient | mclmc, leapfrog | one pass over a tree | nuts |\n|---|---|---|---|---|---|---|"
    );
    let dims =
        [100_000usize, 1_000_000, 10_000_000].into_iter().filter(|dim| only.is_none_or(|only| only == *dim));
    let cases = [
        ("1", 1.0, Metric::Unit),
        ("1 and 0.1", 100.0, Metric::Unit),
        ("1 and 0.1, learned", 100.0, Metric::Diagonal),
    ];
    for (dim, (widths, stiff, metric)) in dims.flat_map(|dim| cases.map(|case| (dim, case))) {
        let target = two_widths(dim, stiff);
        let pass = seconds_of_pass(dim, PAIRS_OF_MCLMC);
        let chains = 1;
        let draws = if dim > 1_000_000 { 250 } else { 2000 };
        let options = MclmcOptions {
            chains,
            warmup: 400,
            draws,
            thin: draws,
            integrator: Integrator::Leapfrog,
            metric,
            ..Default::default()
        };
        let steps = seconds_of_steps(&target, Mclmc::new(options, 1).expect("valid"), 400);
        // Whole trajectories take hundreds of steps; what a step costs, a few doublings tell.
        let draws = if dim > 1_000_000 { 3 } else { 20 };
        let nuts = (stiff == 1.0).then(|| {
            let options =
                NutsOptions { chains, warmup: 5, draws, metric, max_depth: DOUBLINGS, ..Default::default() };
            let steps = seconds_of_steps(&target, Nuts::new(options, 1).expect("valid"), 5);
            (seconds_of_pass(dim, PAIRS_OF_NUTS), steps)
        });
        let beyond = |steps: &[(f64, f64)], pass: f64| {
            let seconds = median(steps.iter().map(|step| step.1).collect());
            format!("{:.2} ms = {:.1} passes", 1e3 * seconds, seconds / pass)
        };
        println!(
            "| {dim:.0e} | {widths} | {:.3} ms | {:.2} ms | {} | {} |",
            1e3 * pass,
            1e3 * median(steps.iter().map(|step| step.0).collect()),
            beyond(&steps, pass),
            nuts.map_or("- | -".into(), |(pass, steps)| {
                format!("{:.3} ms | {}", 1e3 * pass, beyond(&steps, pass))
            }),
        );
    }
}

fn main() {
    let what = std::env::args().nth(1);
    let number = std::env::args().nth(2).and_then(|number| number.parse().ok());
    let wanted = |name: &str| what.as_deref().is_none_or(|what| what == name);
    if wanted("moments") {
        moments();
    }
    if wanted("funnel") {
        settings_on_funnel();
    }
    if wanted("phi4") {
        lattices(number);
    }
    if wanted("overhead") {
        overhead(number);
    }
}
