//! Time and memory of an N-body simulation and of its gradient, beside the two Fourier transforms that a step needs.
//!
//! `cargo run --release -p lookback --example nbody_cost -- [PARTICLES A SIDE] [MESH FACTOR] [STEPS] [--json] [--forward] [--third]
//! [--keep]`
//!
//! With `--json`: one line for scripts, of the kernel with differences alone, with the peak memory of the process. With `--forward`:
//! no gradient, and no memory for it. With `--third`: a start of the third order. With `--keep`: the gradient is taken with potentials that are
//! kept, too; beside `--json`, only so.
//! Above 256 particles a side each time is that of one run, else the median of five rounds (at 256, the longer of two), each of which
//! takes every time once.
//! A step alone is what twice as many steps take more, which also takes one run where there is no `--json`.

use std::io::Write;
use std::time::Instant;

use lookback::cosmology::{Cosmology, Parameters, Settings as CosmologySettings};
use lookback::mesh::{Grid, RealFft, Window};
use lookback::nbody::{GradientKernel, Kernels, Lpt, Middle, Scheme, Settings, Simulation, Way};
use lookback::operator::random::{Purpose, Stream};
use lookback::operator::{Linearization, Operator};

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn seconds(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// Times of one round \[s\].
#[derive(Clone, Copy)]
struct Round {
    /// The two transforms of the force mesh.
    transforms: f64,
    forward: f64,
    /// Forward with twice as many steps.
    twice: f64,
    /// The way back.
    back: f64,
    /// Both, with potentials that are kept.
    kept: f64,
}

/// The median over rounds of a number of each.
fn of(rounds: &[Round], number: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(number).collect())
}

/// Peak memory of this process \[MB\], where the system tells.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1e3)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let number = |i: usize, default: f64| std::env::args().nth(i).map_or(Ok(default), |word| word.parse());
    let (side, factor, steps) = (number(1, 128.0)? as usize, number(2, 1.0)?, number(3, 10.0)? as usize);
    let cells = (side as f64 * factor) as usize;
    let fft = RealFft::<f32>::new(&Grid::new(&[cells; 3], &[1.0; 3])?);
    let flag = |name: &str| std::env::args().any(|word| word == name);
    let (json, forward_only, keep) = (flag("--json"), flag("--forward"), flag("--keep"));
    let kernels = [("four-point", GradientKernel::FourPoint), ("spectral", GradientKernel::Spectral)];
    for (name, gradient) in kernels.into_iter().take(if json || keep { 1 } else { 2 }) {
        let settings = |steps: usize, keep_potentials: bool| Settings {
            particles: side,
            length: 2.0 * side as f64,
            cells,
            window: Window::Cic,
            kernels: Kernels { gradient, ..Kernels::default() },
            start_kernels: Kernels::default(),
            lpt: if flag("--third") { Lpt::Third } else { Lpt::Second },
            sharpening: None,
            keep_potentials,
            checkpoints: 0,
            scheme: Scheme::FastPm(Middle::Geometric),
            times: (0..=steps).map(|i| 0.1 + 0.9 * i as f64 / steps as f64).collect(),
        };
        let way = if forward_only { Way::Forward } else { Way::Reverse };
        let bytes = settings(steps, json && keep).memory::<f32>(way);
        let cosmology = Cosmology::new(Parameters::planck18(), CosmologySettings::default())?;
        let free = ["omega_m", "sigma8"];
        let simulation = Simulation::<f32>::new(settings(steps, json && keep), cosmology.clone(), &free)?;
        let x = {
            let mut modes = vec![0.0f32; side.pow(3)];
            Stream::new(1, Purpose::Signal, 0).fill_normal(&mut modes);
            simulation.point(&modes)
        };
        let mut run = simulation.run()?;
        if !forward_only {
            run.expect_derivatives();
        }
        let mut delta = vec![0.0f32; simulation.codomain().len()];
        let mut gradient = vec![0.0f32; if forward_only { 0 } else { x.len() }];
        let mut forward_peak = f64::NAN;
        let mut rounds = Vec::new();
        let longer = Simulation::<f32>::new(settings(2 * steps, false), cosmology.clone(), &free)?;
        let mut longer = if json { None } else { Some(longer.run()?) };
        let remembering = Simulation::<f32>::new(settings(steps, keep), cosmology, &free)?;
        let mut remembering = if keep && !json { Some(remembering.run()?) } else { None };
        if let Some(run) = &mut remembering {
            run.expect_derivatives();
        }
        let (mut field, mut spectrum) =
            if json { (Vec::new(), Vec::new()) } else { (vec![0.5f32; cells.pow(3)], fft.make_spectrum()) };
        // The first round finds memory that nobody has touched before.
        let rounds_of = match side {
            ..256 => 6,
            256 => 3,
            _ => 1,
        };
        for round in 0..rounds_of {
            let forward = seconds(|| run.move_to(&x, &mut delta).expect("evolved"));
            if round == 0 {
                forward_peak = peak_mb();
            }
            let back = seconds(|| {
                if !forward_only {
                    run.pull(&delta, &mut gradient).expect("a gradient");
                }
            });
            let mut times = Round { transforms: f64::NAN, forward, twice: f64::NAN, back, kept: f64::NAN };
            if let Some(run) = &mut remembering {
                times.kept = seconds(|| {
                    run.move_to(&x, &mut delta).expect("evolved");
                    run.pull(&delta, &mut gradient).expect("a gradient");
                });
            }
            if let Some(longer) = &mut longer {
                times.twice = seconds(|| longer.move_to(&x, &mut delta).expect("evolved"));
                times.transforms = median(
                    (0..5)
                        .map(|_| {
                            seconds(|| {
                                fft.forward(&field, &mut spectrum);
                                fft.inverse(&mut spectrum, &mut field);
                            })
                        })
                        .collect(),
                );
            }
            rounds.push(times);
        }
        let rounds = if rounds.len() > 1 { &rounds[1..] } else { &rounds[..] };
        let forward = of(rounds, |round| round.forward);
        let both = of(rounds, |round| round.forward + round.back);
        if json {
            writeln!(
                out,
                "{{\"code\": \"lookback\", \"forward_s\": {forward}, \"gradient_s\": {both}, \"forward_peak_mb\": {forward_peak}, \
                 \"gradient_peak_mb\": {}, \"said_mb\": {}}}",
                peak_mb(),
                bytes as f64 / 1e6
            )?;
            continue;
        }
        let step = |round: &Round| (round.twice - round.forward) / steps as f64;
        writeln!(
            out,
            "{side}^3 particles, {cells}^3 cells, {steps} steps, f32, {} threads, {name}: forward {forward:.3} s; a step alone {:.1} ms, \
             {:.2} times the {:.1} ms of two transforms ({:.2} with its share of start and end); value and gradient {both:.3} s \
             ({:.2} times forward){}; about {} MB",
            rayon::current_num_threads(),
            1e3 * of(rounds, step),
            of(rounds, |round| step(round) / round.transforms),
            1e3 * of(rounds, |round| round.transforms),
            of(rounds, |round| round.forward / steps as f64 / round.transforms),
            of(rounds, |round| (round.forward + round.back) / round.forward),
            if keep {
                format!(
                    ", with potentials kept {:.2} times forward",
                    of(rounds, |round| round.kept / round.forward)
                )
            } else {
                String::new()
            },
            bytes / 1_000_000,
        )?;
    }
    Ok(())
}
