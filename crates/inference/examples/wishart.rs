//! The 250-dimensional Gaussian of Hoffman & Gelman (2011, section 4.1): samplers on a precision matrix drawn from a Wishart distribution with
//! identity scale and as many degrees of freedom as dimensions.
//!
//! `cargo run --release -p lookback-inference --example wishart -- FOLDER [SAMPLER]`
//!
//! Writes `precision.f64` (row after row), and for each sampler `NAME.f64`: its draws, chain after chain, draw after draw, as little-endian
//! numbers. Prints a line of JSON for each: chains, draws of each, gradients and seconds, in the warm-up and after it.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lookback_inference::{
    Draw, Evaluator, Integrator, Mclmc, MclmcOptions, Method, Nuts, NutsOptions, PreconditionOptions,
    Preconditioned, Result, Target, Workers,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use nalgebra::{DMatrix, DVector};

const DIM: usize = 250;
const CHAINS: usize = 4;

struct Gaussian {
    /// Rows of the precision, one after the other.
    precision: Vec<f64>,
}

impl Gaussian {
    fn wishart() -> Gaussian {
        let mut white = vec![0.0; DIM * DIM];
        Stream::new(250, Purpose::Test, 0).fill_normal(&mut white);
        let root = DMatrix::from_vec(DIM, DIM, white);
        let precision = &root * root.transpose();
        Gaussian { precision: precision.as_slice().to_vec() }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.precision[i * DIM..(i + 1) * DIM]
    }
}

impl Target<f64> for Gaussian {
    fn dim(&self) -> usize {
        DIM
    }

    fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
        Box::new(At(self))
    }
}

struct At<'a>(&'a Gaussian);

impl Evaluator<f64> for At<'_> {
    fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
        for (i, gradient) in gradient.iter_mut().enumerate() {
            *gradient = vector::dot(self.0.row(i), z);
        }
        Ok(0.5 * vector::dot(z, gradient))
    }
}

/// What a sampler did.
struct Report<'a> {
    name: &'a str,
    draws: Vec<Vec<Vec<f64>>>,
    warmup: (f64, f64),
    sampling: (f64, f64),
}

impl Report<'_> {
    fn write(&self, folder: &Path) -> std::io::Result<()> {
        let mut file =
            std::io::BufWriter::new(std::fs::File::create(folder.join(format!("{}.f64", self.name)))?);
        for number in self.draws.iter().flatten().flatten() {
            file.write_all(&number.to_le_bytes())?;
        }
        println!(
            "{{\"name\": \"{}\", \"chains\": {}, \"draws\": {}, \"warmup_gradients\": {}, \"warmup_seconds\": {}, \"gradients\": {}, \"seconds\": {}}}",
            self.name,
            self.draws.len(),
            self.draws[0].len(),
            self.warmup.0,
            self.warmup.1,
            self.sampling.0,
            self.sampling.1
        );
        file.flush()
    }
}

fn run<'a>(name: &'a str, target: &Gaussian, mut method: impl Method<f64>) -> Result<Report<'a>> {
    let stop = AtomicBool::new(false);
    let workers = Workers::new(target, &stop);
    let mut draws = vec![Vec::new(); CHAINS];
    let began = Instant::now();
    let mut warmup = (0.0, 0.0);
    let so_far = || (workers.counts().0 as f64, began.elapsed().as_secs_f64());
    loop {
        let progress = method.advance(&workers, &mut |draw| {
            if let Draw::Sample { z, chain, .. } = draw {
                draws[chain].push(z);
            }
        })?;
        if draws[0].is_empty() {
            warmup = so_far();
        }
        if progress.done {
            let all = so_far();
            return Ok(Report { name, draws, warmup, sampling: (all.0 - warmup.0, all.1 - warmup.1) });
        }
    }
}

/// Draws kept of the two samplers without gradients.
const KEPT: usize = 1000;

/// A million steps of random-walk Metropolis with the covariance of the proposal that accepts about a quarter, a thousand kept.
fn random_walk(target: &Gaussian, steps: usize) -> Report<'static> {
    let began = Instant::now();
    let mut draws = vec![Vec::new(); 1];
    let (mut z, mut energy) = (vec![0.0; DIM], 0.0);
    let mut gradient = vec![0.0; DIM];
    let mut scale = 1e-3;
    let mut white = vec![0.0; DIM];
    for step in 0..steps {
        let stream = Stream::new(3, Purpose::Chain, step as u32);
        stream.fill_normal(&mut white);
        let trial = vector::step(&z, scale, &white);
        let new = At(target).energy(&trial, &mut gradient).unwrap_or(f64::INFINITY);
        let accepted = stream.uniform(DIM as u64 + 2) < (energy - new).exp();
        if accepted {
            (z, energy) = (trial, new);
        }
        if step < steps / 10 {
            scale *= if accepted { 1.03 } else { 0.99 };
        }
        if (step + 1) % (steps / KEPT) == 0 {
            draws[0].push(z.clone());
        }
    }
    let sampling = (steps as f64, began.elapsed().as_secs_f64());
    Report { name: "random-walk Metropolis", draws, warmup: (0.0, 0.0), sampling }
}

/// Gibbs sampling: each of the latents in turn from its conditional distribution. A step is one latent.
fn gibbs(target: &Gaussian, steps: usize) -> Report<'static> {
    let began = Instant::now();
    let mut draws = vec![Vec::new(); 1];
    let mut z = DVector::<f64>::zeros(DIM);
    let mut white = vec![0.0; DIM];
    for step in 0..steps {
        let i = step % DIM;
        if i == 0 {
            Stream::new(4, Purpose::Chain, (step / DIM) as u32).fill_normal(&mut white);
        }
        let row = target.row(i);
        let others = vector::dot(row, z.as_slice()) - row[i] * z[i];
        z[i] = -others / row[i] + white[i] / row[i].sqrt();
        if (step + 1) % (steps / KEPT) == 0 {
            draws[0].push(z.as_slice().to_vec());
        }
    }
    // A step costs a row of the matrix: a gradient is as much as one for every latent.
    let sampling = (steps as f64 / DIM as f64, began.elapsed().as_secs_f64());
    Report { name: "Gibbs", draws, warmup: (0.0, 0.0), sampling }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().ok_or("name a folder for the draws")?);
    let wanted = |name: &str| arguments.get(1).is_none_or(|one| one == name);
    std::fs::create_dir_all(folder)?;
    let target = Gaussian::wishart();
    let bytes: Vec<u8> = target.precision.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(folder.join("precision.f64"), bytes)?;
    let options = PreconditionOptions { rank: DIM, tolerance: 1e-3, ..PreconditionOptions::default() };
    let nuts =
        NutsOptions { chains: CHAINS, warmup: 100, draws: 1000, start_scale: 1.0, ..NutsOptions::default() };
    let mclmc = MclmcOptions {
        chains: CHAINS,
        warmup: 600,
        draws: 10_000,
        thin: 1,
        start_scale: 1.0,
        ..MclmcOptions::default()
    };
    let splittings = [
        ("NUTS, preconditioned", Integrator::Leapfrog),
        ("NUTS, two stages, preconditioned", Integrator::TwoStage),
    ];
    for (name, integrator) in splittings.into_iter().filter(|(name, _)| wanted(name)) {
        let nuts = Nuts::new(NutsOptions { integrator, ..nuts.clone() }, 1)?;
        run(name, &target, Preconditioned::new(options.clone(), nuts, 1)?)?.write(folder)?;
    }
    if wanted("MCLMC, preconditioned") {
        run("MCLMC, preconditioned", &target, Preconditioned::new(options, Mclmc::new(mclmc, 1)?, 1)?)?
            .write(folder)?;
    }
    if wanted("NUTS, diagonal") {
        let nuts = NutsOptions { warmup: 400, draws: 1000, ..nuts };
        run("NUTS, diagonal", &target, Nuts::new(nuts, 1)?)?.write(folder)?;
    }
    if wanted("random-walk Metropolis") {
        random_walk(&target, 1_000_000).write(folder)?;
    }
    if wanted("Gibbs") {
        gibbs(&target, 1_000_000).write(folder)?;
    }
    Ok(())
}
