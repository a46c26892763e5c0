//! `lookback model reconstruct`: what was behind noisy, blurred and incomplete examples, with a learned prior.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lookback_imaging::smooth;
use lookback_inference::{
    Draw, El2o, El2oOptions, Method, Nuts, NutsOptions, Optimizer, Posterior, PreconditionOptions,
    Preconditioned, Progress, Sampler, Smc, SmcOptions, Workers,
};
use lookback_learn::{Batch, ErrorKind, Generator, Model, ModelError, Scaling, Shape, Spread, Tails};
use lookback_likelihood::{CorrelatedGaussian, Likelihood};
use lookback_mesh::Grid;
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Chain, DynOperator, LinearOperator, Operator, Space};
use rayon::prelude::*;
use serde::Serialize;

use super::verbs::{write_examples, write_rows};
use crate::files::Hold;
use crate::memory::check_numbers;
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
    pub model_error: Admitted,
    /// By how much the error is taken as larger where latents are judged by it; what the model's card says if left out.
    pub error_factor: Option<f64>,
    /// How posteriors are sampled.
    pub sampling: Sampling,
    /// Searches for modes, from the best draws of the prior: among 4096, or fewer where examples have more than 1024 numbers.
    pub starts: usize,
    /// Most modes that are kept; [`MODES`] unless there is a reason.
    pub modes: usize,
    /// Samples of each posterior.
    pub samples: usize,
    /// Seed of starts and samples.
    pub seed: u64,
    /// Folder of the results.
    pub directory: PathBuf,
}

/// Modes that are kept: as many as there are searches. Most posteriors have fewer, those of noisy images now and then more than ten, and those of
/// many latents now and then another one for each search.
pub const MODES: usize = 20;

/// What is admitted of a decoder's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Admitted {
    /// Correlated between pixels, as large as what was decoded says, larger for some examples than for others, and in samples with the
    /// tails that residuals have. Models without a spread have the correlated one.
    #[default]
    Adaptive,
    /// Correlated between pixels, alike for all examples.
    Correlated,
    /// Independent between pixels: too confident.
    Diagonal,
    /// Nothing.
    None,
}

/// How the posterior of an example is sampled, once its modes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// A Gaussian with all second derivatives at each mode, weighted by their evidences; samples are chosen among their draws by
    /// importance, and moved by Hamiltonian Monte Carlo. Pareto k says whether the weights of the modes may be trusted.
    #[default]
    Laplace,
    /// Particles that are cooled from the prior to the posterior by sequential Monte Carlo: shapes and shares of the modes are right, at
    /// some times the cost. For models of few latents.
    Smc,
    /// Four chains of the No-U-Turn sampler that start from samples of these Gaussians: exact in the end, and tens of times the cost.
    Nuts,
}

/// The posterior of one example.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reconstructed {
    /// Shares of the modes, the heaviest first.
    pub mode_weights: Vec<f64>,
    /// Where their signals begin among those of all modes ([`Reconstructions::modes`]).
    pub first_mode: usize,
    /// Starts of the first search that ended at the best mode.
    pub starts_at_best: f64,
    /// Starts that ended at it or at another mode that is kept.
    pub starts_at_modes: f64,
    /// Logarithm of the evidence of the data.
    pub log_evidence: f64,
    /// Pareto k of the importance weights of the Gaussians: above about 0.7 they and their shares are not to be trusted, and `smc` is to be taken.
    pub pareto_k: f64,
    /// Mean squared whitened residual of a datum, at the mode whose Gaussian is the heaviest.
    pub reduced_chi2: f64,
    /// Seconds of the first search, until the modes were found and weighed; the best draws of the prior were chosen before.
    pub seconds_to_modes: f64,
    /// Seconds in all.
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
    /// The error that is alike for all examples.
    common: Wrong,
    pool: Pool,
}

/// Draws of the prior and what is seen of them, among which every example finds where to begin its searches.
struct Pool {
    latents: Batch<f32>,
    seen: Batch<f32>,
}

/// Most draws of a pool, and most numbers in what is seen of them.
const DRAWS: usize = 4096;
const NUMBERS: usize = 1 << 22;

impl Pool {
    fn new(
        model: &Model<f32>,
        blur: Option<&DynOperator<f32>>,
        options: &ReconstructOptions,
    ) -> Result<Pool> {
        let count = DRAWS.min(NUMBERS / model.width()).max(options.starts);
        let mut latents = Batch::zeros(count, model.latents());
        Stream::new(options.seed, Purpose::Start, 0).fill_normal(latents.data_mut());
        let mut seen = model.generate(latents.clone())?;
        if let Some(blur) = blur {
            let rows = (0..count).map(|row| blur.apply(seen.row(row))).collect::<Result<Vec<_>, _>>()?;
            seen = Batch::new(model.width(), rows.concat());
        }
        Ok(Pool { latents, seen })
    }

    /// The draws with the lowest energies under a likelihood.
    fn best(&self, likelihood: &CorrelatedGaussian<f32>, count: usize) -> Vec<Vec<f32>> {
        let energy = |row: usize| {
            let mut gradient = vec![0.0; self.seen.width()];
            let prior = lookback_operator::vector::norm2(self.latents.row(row)) / 2.0;
            let energy = likelihood.energy(self.seen.row(row), &mut gradient) + prior;
            // NaN has a sign, by which it would be sorted.
            if energy.is_finite() { energy } else { f64::INFINITY }
        };
        let energies: Vec<f64> = (0..self.seen.rows()).into_par_iter().map(energy).collect();
        let mut order: Vec<usize> = (0..energies.len()).collect();
        order.sort_by(|&a, &b| energies[a].total_cmp(&energies[b]));
        order.into_iter().take(count).map(|row| self.latents.row(row).to_vec()).collect()
    }
}

/// The decoder's error, in the data's units.
struct Wrong {
    /// Directions: as they are, and as they are seen.
    factors: Vec<Vec<f32>>,
    seen_factors: Vec<Vec<f32>>,
    /// Variances of what is left, likewise.
    variance: Vec<f32>,
    seen_variance: Vec<f32>,
}

impl Wrong {
    /// An error, with the size of its unit at each number, seen through a blur.
    fn of(error: &ModelError, size: impl Fn(usize) -> f32, blur: Option<&DynOperator<f32>>) -> Result<Wrong> {
        let rows = (0..error.rank()).map(|k| error.factors.row(k));
        let scaled = |row: &[f32]| row.iter().enumerate().map(|(i, f)| f * size(i)).collect();
        let factors: Vec<Vec<f32>> = rows.map(scaled).collect();
        let variance: Vec<f32> =
            error.variance.iter().enumerate().map(|(i, v)| v * size(i) * size(i)).collect();
        let (seen_factors, seen_variance) = match blur {
            None => (factors.clone(), variance.clone()),
            Some(blur) => {
                let seen = factors.iter().map(|factor| Ok(blur.apply(factor)?)).collect::<Result<_>>()?;
                (seen, blurred_variance(blur, &variance)?)
            }
        };
        Ok(Wrong { factors, seen_factors, variance, seen_variance })
    }

    /// With variances that are larger by a factor.
    fn enlarged(&self, factor: f64) -> Wrong {
        let (factor, root) = (factor as f32, factor.sqrt() as f32);
        let times = |values: &[f32], factor: f32| values.iter().map(|x| x * factor).collect::<Vec<f32>>();
        let all_times = |rows: &[Vec<f32>]| rows.iter().map(|values| times(values, root)).collect();
        Wrong {
            factors: all_times(&self.factors),
            variance: times(&self.variance, factor),
            seen_factors: all_times(&self.seen_factors),
            seen_variance: times(&self.seen_variance, factor),
        }
    }
}

impl<'a> Instrument<'a> {
    fn new(model: Arc<Model<f32>>, options: &'a ReconstructOptions) -> Result<Instrument<'a>> {
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
        let width = model.width();
        let error = match options.model_error {
            Admitted::None => ModelError { factors: Batch::zeros(0, width), variance: vec![0.0; width] },
            Admitted::Diagonal => model.error().diagonal(),
            Admitted::Correlated | Admitted::Adaptive => model.error().clone(),
        };
        let common = Wrong::of(&error, |_| model.card().scaling.scale, blur.as_ref())?;
        let pool = Pool::new(&model, blur.as_ref(), options)?;
        Ok(Instrument { model, options, forward, blur, common, pool })
    }

    /// The noise of an example whose NaNs are missing: what is independent, and what is not.
    fn likelihood(&self, wrong: &Wrong, data: &[f32]) -> Result<Arc<CorrelatedGaussian<f32>>> {
        let space = self.forward.codomain().clone();
        let noise = (self.options.noise_std * self.options.noise_std) as f32;
        let sigma: Vec<f32> = data
            .iter()
            .zip(&wrong.seen_variance)
            .map(|(d, v)| if d.is_nan() { f32::INFINITY } else { (v + noise).sqrt() })
            .collect();
        let data = data.iter().map(|&d| if d.is_nan() { 0.0 } else { d }).collect();
        Ok(Arc::new(CorrelatedGaussian::new(space, data, &sigma, &wrong.seen_factors)?))
    }

    /// The signal of a sample of the latents: what the decoder makes, and what it could not.
    fn signal(&self, u: &[f32], case: &Case, stream: Stream) -> Result<Vec<f32>> {
        let decoded = self.model.generate(Batch::new(u.len(), u.to_vec()))?.into_data();
        if self.options.model_error == Admitted::None {
            return Ok(decoded);
        }
        let n = decoded.len();
        let mut normal = vec![0.0; 2 * n + case.wrong.factors.len()];
        stream.fill_normal(&mut normal);
        let signal = self.answer(&decoded, case, &normal)?;
        let law = self.model.spread().and_then(Spread::law);
        let Some((law, tails)) = law.zip(case.tails.as_ref()) else { return Ok(signal) };
        normal.fill(0.0);
        let mean = self.answer(&decoded, case, &normal)?;
        let Scaling { offset, scale } = self.model.card().scaling;
        let error = |x: f32, i: usize| f64::from((x - decoded[i]) / scale);
        let number = |i: usize| {
            let errors = (error(mean[i], i), error(signal[i], i));
            let network = f64::from((decoded[i] - offset) / scale);
            tails.number(law, i, network, errors) as f32 * scale + offset
        };
        Ok((0..n).map(number).collect())
    }

    /// What was decoded with a Gaussian error, given the data (Matheron's rule): `e = e0 + C A^T S^-1 (d - A g - A e0 - n0)`, with `e0 ~ N(0, C)`,
    /// `n0` noise, and `S = A C A^T + N`, from standard normal numbers for `e0`, `n0` and the factors of `C`. Their mean from zeros.
    fn answer(
        &self,
        decoded: &[f32],
        Case { wrong, likelihood, .. }: &Case,
        normal: &[f32],
    ) -> Result<Vec<f32>> {
        let n = decoded.len();
        let mut signal = decoded.to_vec();
        for ((signal, x), variance) in signal.iter_mut().zip(normal).zip(&wrong.variance) {
            *signal += x * variance.sqrt();
        }
        for (factor, a) in wrong.factors.iter().zip(&normal[2 * n..]) {
            lookback_operator::vector::axpy(f64::from(*a), factor, &mut signal);
        }
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
        for (signal, (variance, back)) in signal.iter_mut().zip(wrong.variance.iter().zip(&back)) {
            *signal += variance * back;
        }
        for factor in &wrong.factors {
            let along = lookback_operator::vector::dot(factor, &back);
            lookback_operator::vector::axpy(along, factor, &mut signal);
        }
        Ok(signal)
    }

    /// What the law of the residuals needs, for an error of this size.
    fn tails(&self, wrong: &Wrong, data: &[f32]) -> Result<Tails> {
        let scale = self.model.card().scaling.scale;
        let squares = |values: &[f32]| values.iter().map(|v| v / (scale * scale)).collect::<Vec<f32>>();
        let rows = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
            rows.iter().map(|row| row.iter().map(|x| x / scale).collect()).collect()
        };
        let mut seen = squares(&wrong.seen_variance);
        seen.iter_mut().zip(data).filter(|(_, d)| d.is_nan()).for_each(|(v, _)| *v = f32::NAN);
        let noise = (self.options.noise_std as f32 / scale).powi(2);
        let own = (&squares(&wrong.variance)[..], &rows(&wrong.factors)[..]);
        Ok(Tails::new(own, (&seen, &rows(&wrong.seen_factors)), noise)?)
    }
}

/// An amplitude that an example's error may have, and its share of the posterior.
struct Case {
    wrong: Wrong,
    likelihood: Arc<CorrelatedGaussian<f32>>,
    share: f64,
    /// What the law of the residuals needs, where the error adapts.
    tails: Option<Tails>,
}

/// Amplitudes that are tried, in standard deviations of their logarithm.
const AMPLITUDES: [f64; 9] = [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0];

impl Instrument<'_> {
    /// The error that an example has where its latents are about these: its spread from what is decoded there, and for each amplitude how
    /// likely the data are. The first case is the likeliest.
    fn cases(&self, spread: &Spread, data: &[f32], latents: &[Vec<f32>]) -> Result<Vec<Case>> {
        let width = self.model.latents();
        let scaling = self.model.card().scaling;
        let decoded = scaling.apply(self.model.generate(Batch::new(width, latents.concat()))?);
        let mut variance = vec![0.0f32; data.len()];
        for row in spread.std(decoded).data().chunks_exact(data.len()) {
            variance.iter_mut().zip(row).for_each(|(v, s)| *v += s * s / latents.len() as f32);
        }
        let prediction = self.forward.apply(&latents[0])?;
        let mut gradient = vec![0.0; data.len()];
        let [mean, std] = spread.amplitude();
        let typical = Wrong::of(spread.error(), |i| scaling.scale * variance[i].sqrt(), self.blur.as_ref())?;
        let mut cases = Vec::new();
        for t in AMPLITUDES {
            let wrong = typical.enlarged((2.0 * (mean + std * t)).exp());
            let likelihood = self.likelihood(&wrong, data)?;
            let energy =
                likelihood.energy(&prediction, &mut gradient) + likelihood.normalisation() + 0.5 * t * t;
            cases.push(Case { wrong, likelihood, share: energy, tails: None });
        }
        let lowest = cases.iter().map(|case| case.share).fold(f64::INFINITY, f64::min);
        cases.iter_mut().for_each(|case| case.share = (lowest - case.share).exp());
        let all: f64 = cases.iter().map(|case| case.share).sum();
        cases.iter_mut().for_each(|case| case.share /= all);
        cases.sort_by(|a, b| b.share.total_cmp(&a.share));
        for case in cases.iter_mut().filter(|case| case.share > 0.0) {
            case.tails = Some(self.tails(&case.wrong, data)?);
        }
        Ok(cases)
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
    /// What is decoded at the modes, those of one example after the other.
    pub modes: Batch<f32>,
}

/// Finds the posteriors of examples that were observed with noise, blurred, or in part (NaN where missing).
///
/// `d = A (g(u) + e) + n`: `u` standard normal, `e` the model's error with its covariance, which is marginalised exactly (of independent errors that are blurred, the variances). Where the error
/// adapts, its spread is that of what is decoded at samples of a first posterior, its amplitude is weighed at nine places, and errors of
/// samples have the law of residuals ([`ResidualLaw`](lookback_learn::ResidualLaw)), as far as data leave them unknown. Latents are judged by an error that is larger by a factor (see [`calibrate`](super::calibrate)). For every
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
    if options.noise_std == 0.0 && options.model_error == Admitted::None {
        return Err(Error::config("reconstruct", "without noise the model's error must be admitted"));
    }
    if options.error_factor.is_some_and(|factor| !(factor > 0.0 && factor.is_finite())) {
        return Err(Error::config("reconstruct", "the factor of the decoder's error must be above 0"));
    }
    let samples = data.rows().saturating_mul(options.samples);
    let fewer = "fewer examples at a time, or fewer samples, need less";
    check_numbers("reconstruct", samples, data.width() + model.latents(), fewer)?;
    let instrument = Instrument::new(Arc::new(model.cast::<f32>()?), options)?;
    let (n, width) = (data.rows(), data.width());
    let mut all = Reconstructions {
        examples: Vec::new(),
        mean: Batch::zeros(n, width),
        std: Batch::zeros(n, width),
        samples: Batch::zeros(n * options.samples, width),
        latents: Batch::zeros(n * options.samples, model.latents()),
        modes: Batch::zeros(0, width),
    };
    for example in 0..n {
        let message = format!("posterior of example {example}");
        reporter.step(&Progress { steps: (example as u64, n as u64), message, done: false });
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { goes_on: "nothing was written".into() });
        }
        let found =
            one(&instrument, (data.row(example), example), stop, &mut all).map_err(|error| match error {
                Error::Interrupted { .. } => error,
                error => Error::config("reconstruct", format!("example {example}: {error}")),
            })?;
        all.examples.push(found);
    }
    Ok(all)
}

/// Draws of which each sample is chosen, and moves that it makes then.
const CANDIDATES: usize = 8;
const MOVES: usize = 10;
/// Its multiples fill the unit interval evenly, wherever they are stopped.
pub(super) const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// Samples that say how wrong the decoder is for an example.
const PILOT: usize = 24;

/// The posterior of latents under a likelihood, by Gaussians at its modes.
struct Search {
    method: El2o<f32>,
    centre: Vec<f32>,
    latents: Vec<Vec<f32>>,
    /// Shares of the modes and the evidence, from particles.
    crowd: Option<(Vec<f64>, f64)>,
    seconds_to_modes: f64,
}

/// Fewest particles: the share of a mode is right to a few hundredths.
const PARTICLES: usize = 1000;

impl Search {
    /// As many samples as there were, among particles that come from the prior.
    fn cool(&mut self, workers: &Workers<'_, f32>, seed: u64) -> Result<()> {
        let samples = self.latents.len();
        let particles = PARTICLES.max(samples);
        let mut smc = Smc::new(SmcOptions { particles, ..SmcOptions::default() }, seed)?;
        let mut crowd = Vec::new();
        let mut sink = |draw| {
            if let Draw::Sample { z, .. } = draw {
                crowd.push(z);
            }
        };
        while !smc.advance(workers, &mut sink)?.done {}
        let mut shares = Vec::new();
        for mode in crowd.iter().filter_map(|z| self.method.mode_at(z)) {
            shares.resize(shares.len().max(mode + 1), 0.0);
            shares[mode] += 1.0;
        }
        let all: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= all);
        self.crowd = Some((shares, smc.figure("log_evidence").unwrap_or(f64::NAN)));
        crowd.truncate(samples);
        self.latents = crowd;
        Ok(())
    }
}

impl Instrument<'_> {
    fn search(
        &self,
        likelihood: &Arc<CorrelatedGaussian<f32>>,
        (samples, moves): (usize, usize),
        starts: Vec<Vec<f32>>,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<Search> {
        let options = self.options;
        let posterior = Posterior::new(self.forward.clone(), likelihood.clone())?;
        let settings = El2oOptions {
            starts: options.starts,
            modes: options.modes,
            optimizer: Optimizer::Lbfgs,
            max_iterations: 3000,
            rounds: 0,
            tolerance: 0.1,
            samples,
            candidates: CANDIDATES,
            moves,
            ..El2oOptions::default()
        };
        let mut method = El2o::new(settings, seed)?;
        method.start_from(starts);
        let workers = Workers::new(&posterior, stop);
        let began = Instant::now();
        let (mut centre, mut latents, mut seconds_to_modes) = (Vec::new(), Vec::new(), 0.0);
        let mut sink = |draw| match draw {
            Draw::Centre { z } => (centre, seconds_to_modes) = (z, began.elapsed().as_secs_f64()),
            Draw::Sample { z, .. } => latents.push(z),
        };
        while !method.advance(&workers, &mut sink)?.done {}
        let mut search = Search { method, centre, latents, crowd: None, seconds_to_modes };
        match options.sampling {
            _ if moves == 0 => {}
            Sampling::Laplace => {}
            Sampling::Smc => search.cool(&workers, seed)?,
            Sampling::Nuts => {
                search.latents = chains(&workers, (&search.centre, search.latents), samples, seed)?;
            }
        }
        Ok(search)
    }
}

fn one(
    instrument: &Instrument<'_>,
    (data, example): (&[f32], usize),
    stop: &AtomicBool,
    all: &mut Reconstructions,
) -> Result<Reconstructed> {
    let began = Instant::now();
    let options = instrument.options;
    let seed = options.seed ^ (example as u64) << 32;
    let common = &instrument.common;
    let factor = options.error_factor.unwrap_or(instrument.model.card().error_factor);
    let judging = |wrong: &Wrong| instrument.likelihood(&wrong.enlarged(factor), data);
    let spread = instrument.model.spread().filter(|_| options.model_error == Admitted::Adaptive);
    let mut first = None;
    let (found, cases) = match spread {
        None => {
            let judge = judging(common)?;
            let starts = instrument.pool.best(&judge, options.starts);
            let found = instrument.search(&judge, (options.samples, MOVES), starts, seed, stop)?;
            let likelihood = instrument.likelihood(common, data)?;
            (found, vec![Case { wrong: common.enlarged(1.0), likelihood, share: 1.0, tails: None }])
        }
        Some(spread) => {
            let judge = judging(common)?;
            let starts = instrument.pool.best(&judge, options.starts);
            let pilot = instrument.search(&judge, (PILOT, 0), starts, seed, stop)?;
            let near: Vec<Vec<f32>> = std::iter::once(&pilot.centre).chain(&pilot.latents).cloned().collect();
            let cases = instrument.cases(spread, data, &near)?;
            let starts = near.into_iter().step_by(PILOT / 6).collect();
            let judge = judging(&cases[0].wrong)?;
            let found = instrument.search(&judge, (options.samples, MOVES), starts, seed, stop)?;
            first = Some(pilot);
            (found, cases)
        }
    };
    // The search that knew nothing yet.
    let first = first.as_ref();
    let searched = &first.unwrap_or(&found).method;
    let width = data.len();
    let (mut sum, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for (draw, u) in found.latents.iter().enumerate() {
        let place = example * options.samples + draw;
        let stream = Stream::new(options.seed, Purpose::DataDraw, place as u32);
        // Cases in proportion to their shares, evenly over the order of the draws.
        let at = ((draw as f64 + 0.5) * GOLDEN).fract();
        let mut passed = 0.0;
        let case = cases.iter().find(|case| {
            passed += case.share;
            at < passed
        });
        let signal = instrument.signal(u, case.unwrap_or(&cases[0]), stream)?;
        for (i, s) in signal.iter().enumerate() {
            let wide = f64::from(*s);
            sum[i] += wide;
            squares[i] += wide * wide;
            all.samples.row_mut(place)[i] = *s;
        }
        all.latents.row_mut(place).copy_from_slice(u);
    }
    let count = found.latents.len().max(1) as f64;
    for i in 0..width {
        let mean = sum[i] / count;
        all.mean.row_mut(example)[i] = mean as f32;
        all.std.row_mut(example)[i] = (squares[i] / count - mean * mean).max(0.0).sqrt() as f32;
    }
    let mut white = vec![0.0; width];
    cases[0].likelihood.residual(&instrument.forward.apply(&found.centre)?, &mut white);
    let modes = modes_of(&found);
    let first_mode = all.modes.rows();
    let centres: Vec<f32> = modes.iter().flat_map(|(centre, _)| centre).copied().collect();
    if !centres.is_empty() {
        all.modes.append(&instrument.model.generate(Batch::new(instrument.model.latents(), centres))?);
    }
    Ok(Reconstructed {
        mode_weights: modes.into_iter().map(|(_, share)| share).collect(),
        first_mode,
        starts_at_best: searched.figure("starts_at_best").unwrap_or(1.0),
        starts_at_modes: searched.figure("starts_at_modes").unwrap_or(1.0),
        log_evidence: match &found.crowd {
            Some((_, log_evidence)) => *log_evidence,
            None => found.method.figure("log_evidence").unwrap_or(f64::NAN),
        },
        pareto_k: found.method.figure("pareto_k").unwrap_or(f64::NAN),
        reduced_chi2: lookback_operator::vector::norm2(&white) / cases[0].likelihood.data_count() as f64,
        seconds_to_modes: first.unwrap_or(&found).seconds_to_modes,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// The centres of the modes and their shares, the heaviest first.
fn modes_of(search: &Search) -> Vec<(Vec<f32>, f64)> {
    let mut modes: Vec<_> = search.method.modes().collect();
    if let Some((shares, _)) = &search.crowd {
        // Particles have the last word; a mode that none of them belongs to has no share.
        let shares = shares.iter().copied().chain(std::iter::repeat(0.0));
        modes.iter_mut().zip(shares).for_each(|((_, of_mode), share)| *of_mode = share);
        modes.retain(|(_, share)| *share > 0.0);
    }
    modes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    modes
}

/// Chains of the No-U-Turn sampler.
const CHAINS: usize = 4;
/// Draws of each that tune it.
const WARMUP: usize = 150;

/// As many samples as there were, chain by chain, from chains that start at the first of them, in coordinates in which the Gauss-Newton metric at the
/// heaviest mode is the identity.
fn chains(
    workers: &Workers<'_, f32>,
    (centre, starts): (&[f32], Vec<Vec<f32>>),
    samples: usize,
    seed: u64,
) -> Result<Vec<Vec<f32>>> {
    let draws = samples.div_ceil(CHAINS);
    let settings =
        NutsOptions { chains: CHAINS, warmup: WARMUP, draws, max_depth: 7, ..NutsOptions::default() };
    let metric = PreconditionOptions { rank: centre.len(), ..PreconditionOptions::default() };
    let sampler = Preconditioned::new(metric, Nuts::new(settings, seed)?, seed)?;
    let mut sampler = sampler.around(centre.to_vec());
    sampler.start_from(starts.into_iter().take(CHAINS).collect());
    let mut of_chain = vec![Vec::new(); CHAINS];
    let mut sink = |draw| {
        if let Draw::Sample { z, chain, .. } = draw {
            of_chain[chain].push(z);
        }
    };
    while !sampler.advance(workers, &mut sink)?.done {}
    let mut all = of_chain.concat();
    all.truncate(samples);
    Ok(all)
}

/// The file that is written when all others are there.
const SUMMARY: &str = "reconstruction.json";

/// Names that a reconstruction writes.
const OURS: [&str; 7] =
    ["mean.npy", "std.npy", "samples.npy", "modes.npy", "latents.npy", SUMMARY, "report.html"];

/// Makes the folder of a reconstruction, and takes hold of it.
///
/// # Errors
/// If it holds something else, or a reconstruction already, unless that is to be overwritten.
pub fn take_folder(directory: &Path, overwrite: bool) -> Result<Hold> {
    if directory.join(SUMMARY).exists() && !overwrite {
        return Err(Error::Busy(format!(
            "{} holds a reconstruction already; `--overwrite` writes over it, `--output` goes elsewhere",
            directory.display()
        )));
    }
    files::take_folder(directory, false, "a reconstruction", &OURS)
}

/// Writes maps, samples, latents, a summary and a page into its folder ([`take_folder`]).
///
/// # Errors
/// If the disk refuses.
pub fn write(
    model: &Model<f32>,
    data: &Batch<f32>,
    found: &Reconstructions,
    options: &ReconstructOptions,
    hold: &Hold,
) -> Result<()> {
    let folder = hold.path();
    // An older one is none any more from here on.
    std::fs::remove_file(folder.join(SUMMARY)).ok();
    for (name, batch) in
        [("mean", &found.mean), ("std", &found.std), ("samples", &found.samples), ("modes", &found.modes)]
    {
        write_examples(model, batch, &folder.join(format!("{name}.npy")))?;
    }
    write_rows(&found.latents, &folder.join("latents.npy"))?;
    let summary = serde_json::json!({
        "lookback_version": VERSION,
        "model": model.card().title,
        "options": options,
        "given": model.what_is_given(),
        "examples": found.examples,
    });
    let text =
        serde_json::to_string_pretty(&summary).map_err(|error| Error::file(folder, error.to_string()))?;
    let page = super::reconstruct_page::page(model, data, found, options)?;
    files::write_whole(&folder.join("report.html"), |out| out.write_all(page.as_bytes()))?;
    files::write_whole(&folder.join(SUMMARY), |out| out.write_all(text.as_bytes()))
}
