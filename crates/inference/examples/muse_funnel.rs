//! How fast and how right is MUSE? The noisy funnel of Millea & Seljak (2021): `theta ~ N(0, 3)`, `z_i ~ N(0, exp(theta / 2))`,
//! `x_i ~ N(z_i, 1)`, where the marginal posterior of `theta` is known: `x_i ~ N(0, 1 + exp(theta))`.
//!
//! `cargo run --release -p lookback-inference --example muse_funnel -- [table | coverage | hmc | data] [LATENTS] [SIMULATIONS] [DATA SETS] [THETA]`
//!
//! `table`: estimates of some data sets beside the exact posterior, with seconds and gradients. `coverage`: how often the truth
//! lies within one and two error bars. `hmc`: gradients that HMC, NUTS and MCLMC take for 100 effective samples of `theta`. `data`: the
//! data sets of `table`, a line each, for other programs.

use std::error::Error as StdError;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lookback_inference::{
    Derivative, Draw, Evaluator, Hmc, HmcOptions, Mclmc, MclmcOptions, Method, Muse, MuseOptions, Nuts,
    NutsOptions, Optimizer, Result, Target, Workers, diagnostics,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;

/// Standard deviation of the prior of `theta`.
const PRIOR: f64 = 3.0;

/// Data of the funnel; latents are `theta / 3`, then `z_i / exp(theta / 2)`.
struct Funnel {
    data: Vec<f64>,
}

impl Funnel {
    /// `z_i / exp(theta / 2)` and the noise from the latents and the numbers of a stream.
    fn simulated(z: &[f64], seed: u64, draw: u32) -> Funnel {
        let width = (0.5 * PRIOR * z[0]).exp();
        let mut data = vec![0.0; z.len() - 1];
        Stream::new(seed, Purpose::Simulation, draw).fill_normal(&mut data);
        data.iter_mut().zip(&z[1..]).for_each(|(x, z)| *x += width * z);
        Funnel { data }
    }

    /// Data number `which` with the truth `theta`.
    fn drawn(latents: usize, theta: f64, which: u32) -> Funnel {
        let mut z = vec![0.0; latents + 1];
        Stream::new(7, Purpose::Signal, which).fill_normal(&mut z);
        z[0] = theta / PRIOR;
        Funnel::simulated(&z, 7, which)
    }

    /// Mean and standard deviation of the marginal posterior of `theta`, on a grid.
    fn exact(&self) -> (f64, f64) {
        let power: f64 = self.data.iter().map(|x| x * x).sum();
        let log_density = |theta: f64| {
            let variance = 1.0 + theta.exp();
            -0.5 * (theta / PRIOR).powi(2)
                - 0.5 * power / variance
                - 0.5 * self.data.len() as f64 * variance.ln()
        };
        let grid: Vec<f64> = (0..=200_000).map(|i| -10.0 + 1e-4 * f64::from(i)).collect();
        let logs: Vec<f64> = grid.iter().map(|&theta| log_density(theta)).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logs.iter().map(|log| (log - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let moment = |f: &dyn Fn(f64) -> f64| {
            grid.iter().zip(&weights).map(|(&theta, weight)| weight * f(theta)).sum::<f64>() / sum
        };
        let mean = moment(&|theta| theta);
        (mean, moment(&|theta| (theta - mean).powi(2)).sqrt())
    }
}

impl Target<f64> for Funnel {
    fn dim(&self) -> usize {
        self.data.len() + 1
    }

    fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
        Box::new(At(&self.data))
    }

    fn simulate(&self, z: &[f64], seed: u64, draw: u32) -> Result<Box<dyn Target<f64> + '_>> {
        Ok(Box::new(Funnel::simulated(z, seed, draw)))
    }
}

struct At<'a>(&'a [f64]);

impl Evaluator<f64> for At<'_> {
    fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
        let width = (0.5 * PRIOR * z[0]).exp();
        let [sum, along] = vector::sums([&z[1..], self.0], |[z, x]| {
            let off = width * z - x;
            [off * off + z * z, off * z]
        });
        for ((gradient, z), x) in gradient[1..].iter_mut().zip(&z[1..]).zip(self.0) {
            *gradient = (width * z - x) * width + z;
        }
        gradient[0] = z[0] + along * 0.5 * PRIOR * width;
        Ok(0.5 * (z[0] * z[0] + sum))
    }
}

/// `(theta, error bar, score evaluations, gradients, seconds)`.
fn muse(funnel: &Funnel, simulations: usize, derivative: Derivative, seed: u64) -> Result<[f64; 5]> {
    let options = MuseOptions {
        parameters: vec!["theta".into()],
        simulations,
        derivative,
        optimizer: Optimizer::Lbfgs,
        samples: 0,
        ..MuseOptions::default()
    };
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let workers = Workers::new(funnel, &stop);
    let mut method = Muse::new(options, vec![0], seed)?;
    while !method.advance(&workers, &mut |_| ())?.done {}
    let (theta, covariance) = method.answer().expect("done");
    let evaluations = method.figures()[0].1;
    let seconds = began.elapsed().as_secs_f64();
    let gradients = workers.counts().0 as f64;
    Ok([PRIOR * theta[0], PRIOR * covariance[0].sqrt(), evaluations, gradients, seconds])
}

fn table(latents: usize, simulations: usize, sets: u32, truth: f64) -> Result<()> {
    println!(
        "| {latents} latents, {simulations} simulations | bias / sigma | sigma / exact | evaluations of the score | gradients | ms |"
    );
    println!("|---|---|---|---|---|---|");
    for which in 0..sets {
        let funnel = Funnel::drawn(latents, truth, which);
        let (mean, std) = funnel.exact();
        for derivative in [Derivative::Implicit, Derivative::FiniteDifference] {
            let [theta, sigma, evaluations, gradients, seconds] = muse(&funnel, simulations, derivative, 1)?;
            println!(
                "| data {which}, {derivative:?} | {:+.3} | {:.3} | {evaluations} | {gradients} | {:.1} |",
                (theta - mean) / std,
                sigma / std,
                1e3 * seconds
            );
        }
    }
    Ok(())
}

fn coverage(latents: usize, simulations: usize, sets: u32) -> Result<()> {
    let mut within = [0, 0];
    let (mut squares, mut off) = (0.0, 0.0);
    for which in 0..sets {
        let truth = Stream::new(11, Purpose::Signal, which).uniform(0) * 4.0 - 2.0;
        let funnel = Funnel::drawn(latents, truth, which);
        let (mean, std) = funnel.exact();
        let [theta, sigma, ..] = muse(&funnel, simulations, Derivative::Implicit, 1 + u64::from(which))?;
        let pull = (theta - truth) / sigma;
        squares += pull * pull;
        off += (theta - mean) / std;
        within[0] += i32::from(pull.abs() < 1.0);
        within[1] += i32::from(pull.abs() < 2.0);
    }
    let share = |n: i32| 100.0 * f64::from(n) / f64::from(sets);
    println!(
        "{sets} data sets of {latents} latents, {simulations} simulations: {:.1} % within 1 sigma (68.3), {:.1} % within 2 sigma (95.4), rms pull {:.3}, mean distance from the exact mean {:+.3} sigma",
        share(within[0]),
        share(within[1]),
        (squares / f64::from(sets)).sqrt(),
        off / f64::from(sets)
    );
    Ok(())
}

fn samplers(latents: usize) -> Result<()> {
    let funnel = Funnel::drawn(latents, 0.0, 0);
    let (mean, std) = funnel.exact();
    println!(
        "| sampler, {latents} latents | bias / sigma | sigma / exact | gradients in the warm-up | gradients for 100 effective samples | seconds in all |"
    );
    println!("|---|---|---|---|---|---|");
    let chains = 4;
    let hmc = HmcOptions { chains, warmup: 200, draws: 500, ..HmcOptions::default() };
    let nuts = NutsOptions { chains, warmup: 300, draws: 500, ..NutsOptions::default() };
    let mclmc = MclmcOptions { chains, warmup: 2000, draws: 20_000, thin: 1, ..MclmcOptions::default() };
    row("hmc", &funnel, (mean, std), &mut Hmc::new(hmc, 1)?)?;
    row("nuts", &funnel, (mean, std), &mut Nuts::new(nuts, 1)?)?;
    row("mclmc", &funnel, (mean, std), &mut Mclmc::new(mclmc, 1)?)?;
    Ok(())
}

fn row(name: &str, funnel: &Funnel, exact: (f64, f64), method: &mut impl Method<f64>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let workers = Workers::new(funnel, &stop);
    let began = Instant::now();
    let mut chains: Vec<Vec<f64>> = vec![Vec::new(); 4];
    let mut warmup = 0.0;
    loop {
        let progress = method.advance(&workers, &mut |draw| {
            if let Draw::Sample { z, chain, .. } = draw {
                chains[chain].push(PRIOR * z[0]);
            }
        })?;
        if chains[0].is_empty() {
            warmup = workers.counts().0 as f64;
        }
        if progress.done {
            break;
        }
    }
    let all: Vec<f64> = chains.iter().flatten().copied().collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let std = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
    let ess = diagnostics::ess_bulk(&chains);
    let gradients = workers.counts().0 as f64 - warmup;
    println!(
        "| {name} | {:+.3} | {:.3} | {warmup:.0} | {:.0} | {:.2} |",
        (mean - exact.0) / exact.1,
        std / exact.1,
        100.0 * gradients / ess,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn StdError>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).map_or(Ok(default), |text| text.parse());
    let (latents, simulations, sets) = (number(1, 10_000)?, number(2, 100)?, number(3, 3)? as u32);
    let truth = arguments.get(4).map_or(Ok(0.0), |text| text.parse::<f64>())?;
    match arguments.first().map(String::as_str) {
        Some("coverage") => coverage(latents, simulations, sets)?,
        Some("hmc") => samplers(latents)?,
        Some("data") => {
            for which in 0..sets {
                let numbers: Vec<String> =
                    Funnel::drawn(latents, truth, which).data.iter().map(f64::to_string).collect();
                println!("{}", numbers.join(" "));
            }
        }
        _ => table(latents, simulations, sets, truth)?,
    }
    Ok(())
}
