//! What the Wiener filter costs as the map grows: seconds, iterations and memory from 64 x 64 to 2048 x 2048 pixels.
//!
//!     cargo run --release -p lookback --example wiener_scaling

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use lookback::inference::{Method, Posterior, Wiener, WienerOptions, Workers};
use lookback::likelihood::Gaussian;
use lookback::mesh::{Grid, white_modes};
use lookback::operator::random::{Purpose, Stream};
use lookback::operator::{LinearOperator, Operator, Then};
use lookback::prior::{Spectrum, gaussian_field};
use lookback::{imaging::Mask, lensing::kaiser_squires};

/// Side of a pixel \[arcmin\], noise per pixel and mask like those of COSMOS.
const PIXEL: f64 = 0.29;
const NOISE: f64 = 0.125;

/// Peak memory of this process \[bytes\], where the system tells it.
fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kilobytes| kilobytes * 1024)
}

fn solve<T: lookback::inference::Number>(n: usize) -> Result<(), Box<dyn std::error::Error>> {
    let base = peak_memory().unwrap_or(0);
    let grid = Grid::sky(n, n, (PIXEL / 60.0).to_radians())?;
    let spectrum = Spectrum::power_law(5.2e-10, 1000.0, -1.15, -0.22)?;
    let prior = gaussian_field::<T>(&grid, &spectrum, "kappa", "").shared();
    let shear = kaiser_squires(&grid)?.shared();
    let margin = n * 13 / 100;
    let inside = |i: usize| (margin..n - margin).contains(&i);
    let seen: Vec<bool> = (0..n * n).map(|i| inside(i / n) && inside(i % n)).collect();
    let mask = Mask::new(shear.codomain().clone(), &seen)?.shared();
    let model = prior.then(shear)?.then(mask)?;
    let mut truth = vec![T::zero(); n * n];
    white_modes(&grid, Stream::new(1, Purpose::Signal, 0), &mut truth);
    let mut data = model.apply(&truth)?;
    let mut noise = vec![T::zero(); data.len()];
    Stream::new(1, Purpose::Noise, 0).fill_normal(&mut noise);
    data.iter_mut().zip(&noise).for_each(|(d, &n)| *d += T::of(NOISE) * n);
    let sigma = vec![T::of(NOISE); data.len()];
    let likelihood = Gaussian::new(model.codomain().clone(), data, &sigma)?;
    drop((truth, noise, sigma, seen));
    let posterior = Posterior::new(model, Arc::new(likelihood))?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut seconds = Vec::new();
    let mut products = 0;
    for _ in 0..(if n > 600 { 3 } else { 7 }) {
        let workers = Workers::new(&posterior, &stop);
        let options = WienerOptions { samples: 0, ..Default::default() };
        let began = Instant::now();
        Wiener::new(options, 1)?.advance(&workers, &mut |_| ())?;
        seconds.push(began.elapsed().as_secs_f64());
        products = workers.counts().1;
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let bytes = peak_memory().map_or(0, |peak| peak.saturating_sub(base)) as f64 / (n * n) as f64;
    let per_product = 1e9 * median / products as f64 / (n * n) as f64;
    println!("| {n} | {} | {median:.4} | {products} | {per_product:.1} | {bytes:.0} |", T::NAME);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, precision, n] = arguments.as_slice() {
        return if precision == "f32" { solve::<f32>(n.parse()?) } else { solve::<f64>(n.parse()?) };
    }
    println!(
        "Wiener filter, tolerance 1e-4 posterior standard deviations, {} threads\n",
        std::thread::available_parallelism()?
    );
    println!(
        "| pixels a side | precision | seconds (median) | metric products | ns per product and pixel | bytes per pixel |"
    );
    println!("|---|---|---|---|---|---|");
    // A process for each size, so that its peak of memory is its own.
    for precision in ["f64", "f32"] {
        for n in [64, 128, 256, 512, 1024, 2048] {
            Command::new(std::env::current_exe()?).args([precision, &n.to_string()]).status()?;
        }
    }
    Ok(())
}
