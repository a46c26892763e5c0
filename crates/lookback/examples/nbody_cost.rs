//! Time and memory of an N-body simulation and of its gradient, beside the two Fourier transforms that a step needs.
//!
//! `cargo run --release -p lookback --example nbody_cost -- [PARTICLES A SIDE] [MESH FACTOR] [STEPS] [--json] [--forward] [--third]`
//!
//! With `--json`: one line for scripts, of the kernel with differences alone, with the peak memory of the process. With `--forward`:
//! no gradient, and no memory for it. With `--third`: a start of the third order. Above 256 particles a side each time is that of one run, else the median of five.

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

fn seconds(rounds: usize, mut f: impl FnMut()) -> f64 {
    let once = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    if rounds > 1 {
        once(&mut f);
    }
    median((0..rounds).map(|_| once(&mut f)).collect())
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
    let (mut field, mut spectrum) = (vec![0.5f32; cells.pow(3)], fft.make_spectrum());
    let transforms = seconds(5, || {
        fft.forward(&field, &mut spectrum);
        fft.inverse(&mut spectrum, &mut field);
    });
    let flag = |name: &str| std::env::args().any(|word| word == name);
    let (json, forward_only) = (flag("--json"), flag("--forward"));
    let rounds = if side > 256 { 1 } else { 5 };
    let kernels = [("four-point", GradientKernel::FourPoint), ("spectral", GradientKernel::Spectral)];
    for (name, gradient) in kernels.into_iter().take(if json { 1 } else { 2 }) {
        let settings = Settings {
            particles: side,
            length: 2.0 * side as f64,
            cells,
            window: Window::Cic,
            kernels: Kernels { gradient, ..Kernels::default() },
            start_kernels: Kernels::default(),
            lpt: if flag("--third") { Lpt::Third } else { Lpt::Second },
            sharpening: None,
            scheme: Scheme::FastPm(Middle::Geometric),
            times: (0..=steps).map(|i| 0.1 + 0.9 * i as f64 / steps as f64).collect(),
        };
        let bytes = settings.memory::<f32>(if forward_only { Way::Forward } else { Way::Reverse });
        let cosmology = Cosmology::new(Parameters::planck18(), CosmologySettings::default())?;
        let simulation = Simulation::<f32>::new(settings, cosmology, &["omega_m", "sigma8"])?;
        let x = {
            let mut modes = vec![0.0f32; side.pow(3)];
            Stream::new(1, Purpose::Signal, 0).fill_normal(&mut modes);
            simulation.point(&modes)
        };
        let mut run = simulation.run()?;
        let mut delta = vec![0.0f32; simulation.codomain().len()];
        let forward = seconds(rounds, || run.move_to(&x, &mut delta).expect("evolved"));
        let forward_peak = peak_mb();
        let pull = if forward_only {
            f64::NAN
        } else {
            let mut gradient = vec![0.0f32; x.len()];
            seconds(rounds, || run.pull(&delta, &mut gradient).expect("a gradient"))
        };
        if json {
            writeln!(
                out,
                "{{\"code\": \"lookback\", \"forward_s\": {forward}, \"gradient_s\": {}, \"forward_peak_mb\": {forward_peak}, \
                 \"gradient_peak_mb\": {}, \"said_mb\": {}}}",
                forward + pull,
                peak_mb(),
                bytes as f64 / 1e6
            )?;
            continue;
        }
        writeln!(
            out,
            "{side}^3 particles, {cells}^3 cells, {steps} steps, f32, {} threads, {name}: forward {forward:.3} s \
             ({:.1} ms a step, {:.1} times the {:.1} ms of two transforms), value and gradient {:.3} s \
             ({:.2} times forward); about {} MB",
            rayon::current_num_threads(),
            1e3 * forward / steps as f64,
            forward / steps as f64 / transforms,
            1e3 * transforms,
            forward + pull,
            (forward + pull) / forward,
            bytes / 1_000_000,
        )?;
    }
    Ok(())
}
