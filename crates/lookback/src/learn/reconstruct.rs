//! `lookback model reconstruct`: what was behind noisy, blurred and incomplete examples, with a learned prior.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lookback_imaging::smooth;
use lookback_inference::{
    Draw, El2o, El2oOptions, Method, Nuts, NutsOptions, Optimizer, Posterior, Progress, Sampler, Workers,
};
use lookback_learn::{Batch, ErrorKind, Generator, Model, ModelError, Shape};
use lookback_likelihood::{CorrelatedGaussian, Likelihood};
use lookback_mesh::Grid;
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Chain, DynOperator, LinearOperator, Operator, Space};
use serde::Serialize;

use super::verbs::{write_examples, write_rows};
use crate::run::Reporter;
use crate::{Error, Result, VERSION, files};

/// How examples were observed, and how their posteriors are found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReconstructOptions {
    /// Standard deviation of the noise, in the data's units; zero where only pixels are missing.
    pub noise_std: f64,
    /// Standard deviation of a Gaussian that blurs the images \[pixel\].
    pub blur_pixels: Option<f64>,
    /// What is admitted of the decoder's error.
    pub model_error: ErrorKind,
    /// How posteriors are sampled.
    pub sampling: Sampling,
    /// Random starting points of the search for modes.
    pub starts: usize,
    /// Most modes that are kept.
    pub modes: usize,
    /// Samples of each posterior.
    pub samples: usize,
    /// Seed of starts and samples.
    pub seed: u64,
    /// Folder of the results.
    pub directory: PathBuf,
}

/// How the posterior of an example is sampled, once its modes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// A Gaussian with all second derivatives at each mode, weighted by their evidences; samples are chosen among their draws by
    /// importance, and moved by Hamiltonian Monte Carlo. Pareto k says whether the weights of the modes may be trusted.
    #[default]
    Laplace,
    /// Four chains of the No-U-Turn sampler that start from samples of these Gaussians: exact in the end, and tens of times the cost.
    Nuts,
}

/// The posterior of one example.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reconstructed {
    /// Shares of the modes, the heaviest first.
    pub mode_weights: Vec<f64>,
    /// Starts that ended at the best mode.
    pub starts_at_best: f64,
    /// Logarithm of the evidence of the data.
    pub log_evidence: f64,
    /// Pareto k of the importance weights: above 0.7 the approximation is not to be trusted.
    pub pareto_k: f64,
    /// Mean squared whitened residual of a datum, at the heaviest mode.
    pub reduced_chi2: f64,
    /// Seconds.
    pub seconds: f64,
}

/// What all examples have in common.
struct Instrument<'a> {
    model: Arc<Model<f32>>,
    options: &'a ReconstructOptions,
    /// From latents to what is seen before noise.
    forward: DynOperator<f32>,
    /// Blurring, if there is any.
    blur: Option<DynOperator<f32>>,
    /// Directions of the model's error in the data's units: as they are, and as they are seen.
    factors: Vec<Vec<f32>>,
    seen_factors: Vec<Vec<f32>>,
    /// Variances of what is left, in the same units.
    variance: Vec<f32>,
    seen_variance: Vec<f32>,
}

impl<'a> Instrument<'a> {
    fn new(model: Arc<Model<f32>>, options: &'a ReconstructOptions) -> Result<Instrument<'a>> {
        let width = model.width();
        let shape = match model.card().example_shape()? {
            Shape::Image(image) if image.channels == 1 => vec![image.height, image.width],
            Shape::Image(image) => vec![image.height, image.width, image.channels],
            Shape::Row(width) => vec![width],
        };
        let generator: DynOperator<f32> =
            Arc::new(Generator::new(model.clone(), ErrorKind::None, "signal", &shape, "")?);
        let blur = options.blur_pixels.map(|sigma| blur(&shape, sigma)).transpose()?;
        let forward = match &blur {
            None => generator,
            Some(blur) => Arc::new(Chain::new(vec![generator, blur.clone()])?),
        };
        let scale = model.card().scaling.scale;
        let error = match options.model_error {
            ErrorKind::None => ModelError { factors: Batch::zeros(0, width), variance: vec![0.0; width] },
            ErrorKind::Diagonal => model.error().diagonal(),
            ErrorKind::Correlated => model.error().clone(),
        };
        let factors: Vec<Vec<f32>> =
            (0..error.rank()).map(|k| error.factors.row(k).iter().map(|f| f * scale).collect()).collect();
        let variance: Vec<f32> = error.variance.iter().map(|v| v * scale * scale).collect();
        let (seen_factors, seen_variance) = match &blur {
            None => (factors.clone(), variance.clone()),
            Some(blur) => {
                let seen = factors.iter().map(|factor| Ok(blur.apply(factor)?)).collect::<Result<_>>()?;
                (seen, blurred_variance(blur, &variance)?)
            }
        };
        Ok(Instrument { model, options, forward, blur, factors, seen_factors, variance, seen_variance })
    }

    /// The noise of an example whose NaNs are missing: what is independent, and what is not.
    fn likelihood(&self, data: &[f32]) -> Result<CorrelatedGaussian<f32>> {
        let space = self.forward.codomain().clone();
        let noise = (self.options.noise_std * self.options.noise_std) as f32;
        let sigma: Vec<f32> = data
            .iter()
            .zip(&self.seen_variance)
            .map(|(d, v)| if d.is_nan() { f32::INFINITY } else { (v + noise).sqrt() })
            .collect();
        let data = data.iter().map(|&d| if d.is_nan() { 0.0 } else { d }).collect();
        Ok(CorrelatedGaussian::new(space, data, &sigma, &self.seen_factors)?)
    }

    /// The signal of a sample of the latents: what the decoder makes, and what it could not, given the data (Matheron's rule):
    /// `e = e0 + C A^T S^-1 (d - A g - A e0 - n0)`, with `e0 ~ N(0, C)`, `n0` noise, and `S = A C A^T + N`.
    fn signal(&self, u: &[f32], likelihood: &CorrelatedGaussian<f32>, stream: Stream) -> Result<Vec<f32>> {
        let mut signal = self.model.generate(Batch::new(u.len(), u.to_vec())).into_data();
        if self.options.model_error == ErrorKind::None {
            return Ok(signal);
        }
        let n = signal.len();
        let mut normal = vec![0.0; 2 * n + self.factors.len()];
        stream.fill_normal(&mut normal);
        let mut error: Vec<f32> = normal[..n].iter().zip(&self.variance).map(|(x, v)| x * v.sqrt()).collect();
        for (factor, a) in self.factors.iter().zip(&normal[2 * n..]) {
            lookback_operator::vector::axpy(f64::from(*a), factor, &mut error);
        }
        signal.iter_mut().zip(&error).for_each(|(s, e)| *s += e);
        let seen = match &self.blur {
            None => signal.clone(),
            Some(blur) => blur.apply(&signal)?,
        };
        let noise = self.options.noise_std as f32;
        let noisy: Vec<f32> = seen.iter().zip(&normal[n..2 * n]).map(|(s, x)| s + noise * x).collect();
        // W^T W (d - A x - n0), and the error that it speaks of.
        let (mut white, mut back) = (vec![0.0; n], vec![0.0; n]);
        likelihood.residual(&noisy, &mut white);
        likelihood.metric_root_adjoint(&noisy, &white, &mut back);
        if let Some(blur) = &self.blur {
            let (_, mut linear) = blur.linearize(&signal)?;
            let seen = back.clone();
            linear.pull(&seen, &mut back)?;
        }
        for (signal, (variance, back)) in signal.iter_mut().zip(self.variance.iter().zip(&back)) {
            *signal += variance * back;
        }
        for factor in &self.factors {
            let along = lookback_operator::vector::dot(factor, &back);
            lookback_operator::vector::axpy(along, factor, &mut signal);
        }
        Ok(signal)
    }
}

fn blur(shape: &[usize], sigma: f64) -> Result<DynOperator<f32>> {
    if shape.len() != 2 {
        return Err(Error::config("reconstruct", "only images with one channel can be blurred"));
    }
    let lengths: Vec<f64> = shape.iter().map(|&side| side as f64).collect();
    let grid = Grid::new(shape, &lengths)?;
    Ok(smooth(&grid, Space::single("signal", shape, ""), sigma)?.shared())
}

/// The variance of blurred independent errors: the blur is the same everywhere, so its squares are those of one blurred point.
fn blurred_variance(blur: &DynOperator<f32>, variance: &[f32]) -> Result<Vec<f32>> {
    let shape = blur.domain().blocks()[0].shape.clone();
    let (rows, columns) = (shape[0], shape[1]);
    let mut point = vec![0.0; rows * columns];
    point[0] = 1.0;
    let squares: Vec<f32> = blur.apply(&point)?.iter().map(|x| x * x).collect();
    let at = |row: usize, column: usize| {
        let mut sum = 0.0;
        for (place, variance) in variance.iter().enumerate() {
            let (y, x) = (place / columns, place % columns);
            sum += variance * squares[(row + rows - y) % rows * columns + (column + columns - x) % columns];
        }
        sum
    };
    Ok((0..rows * columns).map(|place| at(place / columns, place % columns)).collect())
}

/// All posteriors of a call.
#[derive(Debug, Clone)]
pub struct Reconstructions {
    /// One for each example.
    pub examples: Vec<Reconstructed>,
    /// Posterior means of the signals.
    pub mean: Batch<f32>,
    /// Their standard deviations.
    pub std: Batch<f32>,
    /// Samples of the signals, those of one example after the other.
    pub samples: Batch<f32>,
    /// The latents behind them, as normal numbers.
    pub latents: Batch<f32>,
}

/// Finds the posteriors of examples that were observed with noise, blurred, or in part (NaN where missing).
///
/// `d = A (g(u) + e) + n`: `u` standard normal, `e` the model's error with its covariance, which is marginalised exactly. For every
/// example the modes are searched from many starts, each gets a Gaussian by EL2O (Seljak & Yu 2019), and their weights are their
/// evidences.
///
/// # Errors
/// If an option is out of its range, an example has no data, or a search fails.
pub fn reconstruct(
    model: &Model<f32>,
    data: &Batch<f32>,
    options: &ReconstructOptions,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Reconstructions> {
    if !(options.noise_std >= 0.0 && options.noise_std.is_finite()) {
        return Err(Error::config(
            "reconstruct",
            format!("the noise must be zero or more, not {}", options.noise_std),
        ));
    }
    if options.noise_std == 0.0 && options.model_error == ErrorKind::None {
        return Err(Error::config("reconstruct", "without noise the model's error must be admitted"));
    }
    let instrument = Instrument::new(Arc::new(model.cast::<f32>()?), options)?;
    let (n, width) = (data.rows(), data.width());
    let mut all = Reconstructions {
        examples: Vec::new(),
        mean: Batch::zeros(n, width),
        std: Batch::zeros(n, width),
        samples: Batch::zeros(n * options.samples, width),
        latents: Batch::zeros(n * options.samples, model.latents()),
    };
    for example in 0..n {
        let message = format!("posterior of example {example}");
        reporter.step(&Progress { steps: (example as u64, n as u64), message, done: false });
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { goes_on: "nothing was written".into() });
        }
        let found =
            one(&instrument, (data.row(example), example), stop, &mut all).map_err(|error| match error {
                Error::Data(error) => Error::config("reconstruct", format!("example {example}: {error}")),
                other => other,
            })?;
        all.examples.push(found);
    }
    Ok(all)
}

/// Draws of which each sample is chosen, and moves that it makes then.
const CANDIDATES: usize = 8;
const MOVES: usize = 10;

fn one(
    instrument: &Instrument<'_>,
    (data, example): (&[f32], usize),
    stop: &AtomicBool,
    all: &mut Reconstructions,
) -> Result<Reconstructed> {
    let began = std::time::Instant::now();
    let options = instrument.options;
    let likelihood = Arc::new(instrument.likelihood(data)?);
    let posterior = Posterior::new(instrument.forward.clone(), likelihood.clone())?;
    let settings = El2oOptions {
        starts: options.starts,
        modes: options.modes,
        optimizer: Optimizer::Lbfgs,
        max_iterations: 300,
        rounds: 0,
        tolerance: 0.1,
        samples: options.samples,
        candidates: CANDIDATES,
        moves: MOVES,
        ..El2oOptions::default()
    };
    let seed = options.seed ^ (example as u64) << 32;
    let mut method = El2o::new(settings, seed)?;
    let workers = Workers::new(&posterior, stop);
    let (mut centre, mut latents) = (Vec::new(), Vec::new());
    let mut sink = |draw| match draw {
        Draw::Centre { z } => centre = z,
        Draw::Sample { z, .. } => latents.push(z),
    };
    while !method.advance(&workers, &mut sink)?.done {}
    if options.sampling == Sampling::Nuts {
        latents = chains(&workers, latents, options.samples, seed)?;
    }
    let width = data.len();
    let (mut sum, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for (draw, u) in latents.iter().enumerate() {
        let place = example * options.samples + draw;
        let stream = Stream::new(options.seed, Purpose::DataDraw, place as u32);
        let signal = instrument.signal(u, &likelihood, stream)?;
        for (i, s) in signal.iter().enumerate() {
            let wide = f64::from(*s);
            sum[i] += wide;
            squares[i] += wide * wide;
            all.samples.row_mut(place)[i] = *s;
        }
        all.latents.row_mut(place).copy_from_slice(u);
    }
    let count = latents.len().max(1) as f64;
    for i in 0..width {
        let mean = sum[i] / count;
        all.mean.row_mut(example)[i] = mean as f32;
        all.std.row_mut(example)[i] = (squares[i] / count - mean * mean).max(0.0).sqrt() as f32;
    }
    summary(&method, &*instrument.forward, &likelihood, &centre, began.elapsed().as_secs_f64())
}

/// Chains of the No-U-Turn sampler.
const CHAINS: usize = 4;
/// Draws of each that tune it.
const WARMUP: usize = 150;

/// As many samples as there were, from chains that start at the first of them.
fn chains(
    workers: &Workers<'_, f32>,
    starts: Vec<Vec<f32>>,
    samples: usize,
    seed: u64,
) -> Result<Vec<Vec<f32>>> {
    let draws = samples.div_ceil(CHAINS);
    let settings =
        NutsOptions { chains: CHAINS, warmup: WARMUP, draws, max_depth: 7, ..NutsOptions::default() };
    let mut sampler = Nuts::new(settings, seed)?;
    sampler.start_from(starts.into_iter().take(CHAINS).collect());
    let mut all = Vec::new();
    let mut sink = |draw| {
        if let Draw::Sample { z, .. } = draw {
            all.push(z);
        }
    };
    while !sampler.advance(workers, &mut sink)?.done {}
    all.truncate(samples);
    Ok(all)
}

fn summary(
    method: &impl Method<f32>,
    forward: &dyn Operator<f32>,
    likelihood: &CorrelatedGaussian<f32>,
    centre: &[f32],
    seconds: f64,
) -> Result<Reconstructed> {
    let figures = method.figures();
    let figure = |name: &str| figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let mut mode_weights: Vec<f64> = figures
        .iter()
        .filter(|(name, _)| name.starts_with("mode_") && name.ends_with("_weight"))
        .map(|(_, value)| *value)
        .collect();
    if mode_weights.is_empty() {
        mode_weights.push(1.0);
    }
    mode_weights.sort_by(|a, b| b.total_cmp(a));
    let prediction = forward.apply(centre)?;
    let mut white = vec![0.0; prediction.len()];
    likelihood.residual(&prediction, &mut white);
    Ok(Reconstructed {
        mode_weights,
        starts_at_best: figure("starts_at_best").unwrap_or(1.0),
        log_evidence: figure("log_evidence").unwrap_or(f64::NAN),
        pareto_k: figure("pareto_k").unwrap_or(f64::NAN),
        reduced_chi2: lookback_operator::vector::norm2(&white) / likelihood.data_count() as f64,
        seconds,
    })
}

/// Writes maps, samples, latents, a summary and a page.
///
/// # Errors
/// If the disk refuses.
pub fn write(
    model: &Model<f32>,
    data: &Batch<f32>,
    found: &Reconstructions,
    options: &ReconstructOptions,
) -> Result<()> {
    let folder = &options.directory;
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for (name, batch) in [("mean", &found.mean), ("std", &found.std), ("samples", &found.samples)] {
        write_examples(model, batch, &folder.join(format!("{name}.npy")))?;
    }
    write_rows(&found.latents, &folder.join("latents.npy"))?;
    let summary = serde_json::json!({
        "lookback_version": VERSION,
        "model": model.card().title,
        "options": options,
        "examples": found.examples,
    });
    let text =
        serde_json::to_string_pretty(&summary).map_err(|error| Error::file(folder, error.to_string()))?;
    files::write_whole(&folder.join("reconstruction.json"), |out| out.write_all(text.as_bytes()))?;
    let page = super::reconstruct_page::page(model, data, found, options)?;
    files::write_whole(&folder.join("report.html"), |out| out.write_all(page.as_bytes()))
}
