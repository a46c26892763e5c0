//! What is kept of the draws of a method: moments, spectra, traces, ranks of the truth.

use lookback_inference::{Draw, Number};
use lookback_likelihood::Likelihood;
use lookback_mesh::{bin_edges, power_spectrum};
use lookback_operator::Operator;
use serde::{Deserialize, Serialize};

use super::predictive::Predictive;
use super::rows::Record;
use crate::Result;
use crate::explain::sample_count;
use crate::problem::Problem;
use crate::runfile::RunFile;

/// Bins of the measured spectra.
pub(crate) const BINS: usize = 24;
/// Sample maps that the report shows.
const SHOWN: usize = 3;

/// Running mean and sum of squares (Welford 1962).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Moments {
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(n: usize) -> Moments {
        Moments { mean: vec![0.0; n], squares: vec![0.0; n] }
    }

    /// Takes in the sample with this number, counted from one.
    fn add(&mut self, number: usize, sample: &[f64]) {
        let weight = 1.0 / number as f64;
        for ((mean, squares), x) in self.mean.iter_mut().zip(&mut self.squares).zip(sample) {
            let before = x - *mean;
            *mean += before * weight;
            *squares += before * (x - *mean);
        }
    }

    fn std(&self, degrees: usize) -> Option<Vec<f64>> {
        let degrees = (degrees > 0).then_some(degrees as f64)?;
        Some(self.squares.iter().map(|s| (s / degrees).sqrt()).collect())
    }
}

/// Running results of a run. Memory: 36 bytes a pixel, and a few numbers a draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorder {
    /// Number of samples.
    pub samples: usize,
    /// How many of them are mirror images of others.
    pub mirrored: usize,
    /// The field at the centre: exact mean, or maximum.
    pub centre: Option<Vec<f64>>,
    /// All maps at the centre, and its latents, if they are the initial conditions of a universe.
    pub centre_maps: Vec<f32>,
    /// See above.
    pub centre_latents: Vec<f32>,
    /// Parameters at the centre.
    pub centre_parameters: Vec<f64>,
    /// `chi^2` of the data at the centre.
    pub centre_chi2: Option<f64>,
    field: Moments,
    smoothed: Moments,
    /// For each pixel, how many samples lie below the truth, after both lost their means over the seen pixels.
    pub below_truth: Option<Vec<u32>>,
    /// Wave numbers of the spectra.
    pub wave_numbers: Vec<f64>,
    /// Power spectrum of the field of each sample.
    pub spectra: Vec<Vec<f32>>,
    /// Places of latents that are numbers inside of a prior.
    hidden: Vec<usize>,
    /// Names of the traces.
    pub trace_names: Vec<String>,
    /// Traces: a row a sample.
    pub traces: Vec<Vec<f64>>,
    /// Chain of each sample.
    pub chains: Vec<u32>,
    /// Whether the way to each sample diverged.
    pub diverged: Vec<bool>,
    /// The first few sample maps.
    pub shown: Vec<Vec<f32>>,
    /// Do made-up data look like the observed ones?
    pub(crate) predictive: Predictive,
    /// Whether the densities of all data are kept.
    log_densities: bool,
}

/// `ln L` of the data that count. The data themselves are a prediction that tells which these are; a prediction without a number has
/// no likelihood.
fn seen_densities<T: Number>(likelihood: &dyn Likelihood<T>, prediction: &[T]) -> Vec<f32> {
    let (mut mask, mut densities) = (vec![0.0; prediction.len()], vec![0.0; prediction.len()]);
    likelihood.log_densities(likelihood.data(), &mut mask);
    likelihood.log_densities(prediction, &mut densities);
    let seen = densities.into_iter().zip(mask).filter(|(_, mask)| !mask.is_nan());
    seen.map(|(log, _)| if log.is_nan() { f32::NEG_INFINITY } else { log as f32 }).collect()
}

/// Mean over the pixels that were seen.
fn mean_seen(map: &[f64], seen: &[bool]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (x, _) in map.iter().zip(seen).filter(|(_, seen)| **seen) {
        sum += x;
        count += 1.0;
    }
    sum / count
}

impl Recorder {
    /// An empty record for a problem.
    pub(crate) fn new<T: Number>(run: &RunFile, problem: &Problem<T>) -> Result<Recorder> {
        let n = problem.grid.len();
        let signal = problem.prior.operator.codomain();
        let parameters: Vec<String> =
            signal.blocks()[problem.prior.maps..].iter().map(|block| block.name.clone()).collect();
        // Numbers inside of a prior, such as the slope of a spectrum, are seen as the latents that they are, and as what they mean.
        let latents = problem.prior.operator.domain().numbers();
        let (hidden, places): (Vec<String>, Vec<usize>) = latents
            .filter(|(name, _)| !parameters.iter().any(|parameter| parameter == name))
            .map(|(name, place)| (format!("latent_{name}"), place))
            .unzip();
        let edges = bin_edges(&problem.grid, BINS);
        let empty = power_spectrum(&problem.grid, &vec![0.0f64; n], &edges)?;
        Ok(Recorder {
            samples: 0,
            mirrored: 0,
            centre: None,
            centre_maps: Vec::new(),
            centre_latents: Vec::new(),
            centre_parameters: Vec::new(),
            centre_chi2: None,
            field: Moments::new(n),
            smoothed: Moments::new(n),
            below_truth: problem.true_map().map(|_| vec![0; n]),
            wave_numbers: empty.k,
            spectra: Vec::new(),
            trace_names: ["chi2".to_string(), "energy".to_string()]
                .into_iter()
                .chain(parameters)
                .chain(hidden)
                .chain(problem.prior.inner.iter().map(|(name, ..)| name.clone()))
                .collect(),
            hidden: places,
            traces: Vec::new(),
            chains: Vec::new(),
            diverged: Vec::new(),
            shown: Vec::new(),
            predictive: Predictive::new(run.seed, sample_count(&run.method), run.method.chains()),
            log_densities: run.output.log_likelihood,
        })
    }

    /// Takes in a draw. What is to be kept of a sample is returned.
    pub(crate) fn take<T: Number>(&mut self, problem: &Problem<T>, draw: Draw<T>) -> Result<Option<Record>> {
        let (z, sample) = match draw {
            Draw::Centre { z } => (z, None),
            Draw::Sample { z, chain, energy, mirror, diverged } => {
                (z, Some((chain, energy, mirror, diverged)))
            }
        };
        let signal = problem.prior.operator.apply(&z)?;
        let prediction = problem.forward.apply(&signal)?;
        let mut residual = prediction.clone();
        let likelihood = problem.posterior.likelihood().as_ref();
        likelihood.residual(&prediction, &mut residual);
        let chi2 = lookback_operator::vector::norm2(&residual);
        let (maps, parameters) = signal.split_at(problem.prior.maps * problem.grid.len());
        let field = &maps[..problem.grid.len()];
        let hidden = self.hidden.iter().map(|&place| z[place].f64());
        let inner = problem.prior.inner.iter().map(|(_, place, law)| law.quantile(z[*place].f64()));
        let parameters: Vec<f64> = parameters.iter().map(|p| p.f64()).chain(hidden).chain(inner).collect();
        let Some((chain, energy, mirror, diverged)) = sample else {
            self.centre = Some(field.iter().map(|x| x.f64()).collect());
            if problem.prior.universe.is_some() {
                self.centre_maps = maps.iter().map(|x| x.f64() as f32).collect();
                self.centre_latents = z.iter().map(|z| z.f64() as f32).collect();
            }
            self.centre_parameters = parameters;
            self.centre_chi2 = Some(chi2);
            return Ok(None);
        };
        self.predictive.take(self.samples, likelihood, &prediction, &residual)?;
        let wide: Vec<f64> = field.iter().map(|x| x.f64()).collect();
        self.samples += 1;
        self.mirrored += usize::from(mirror);
        self.field.add(self.samples, &wide);
        self.smoothed.add(self.samples, &problem.smoothed(&wide));
        if let (Some(below), Some(truth), false) = (&mut self.below_truth, problem.true_map(), mirror) {
            let seen = &problem.observation.seen;
            let shift = mean_seen(&wide, seen) - mean_seen(truth, seen);
            for ((below, x), truth) in below.iter_mut().zip(&wide).zip(truth) {
                *below += u32::from(x - shift < *truth);
            }
        }
        let spectrum = power_spectrum(&problem.grid, field, &bin_edges(&problem.grid, BINS))?;
        self.spectra.push(spectrum.power.iter().map(|&p| p as f32).collect());
        self.traces.push([vec![chi2, energy.unwrap_or(f64::NAN)], parameters].concat());
        self.chains.push(chain as u32);
        self.diverged.push(diverged);
        let stored: Vec<f32> = field.iter().map(|x| x.f64() as f32).collect();
        if self.shown.len() < SHOWN {
            self.shown.push(stored.clone());
        }
        let log_densities =
            if self.log_densities { seen_densities(likelihood, &prediction) } else { Vec::new() };
        Ok(Some(Record { map: stored, log_densities }))
    }

    /// The estimate of the field: the exact mean of a Wiener filter, else the mean of the samples, else the maximum.
    pub fn estimate(&self, exact_mean: bool) -> &[f64] {
        match &self.centre {
            Some(centre) if exact_mean || self.samples == 0 => centre,
            _ => &self.field.mean,
        }
    }

    /// Degrees of freedom of the variance: the mean of mirrored pairs is known, that of others costs one.
    fn degrees(&self) -> usize {
        if self.mirrored > 0 { self.samples } else { self.samples.saturating_sub(1) }
    }

    /// Number of samples that the truth is ranked among.
    pub fn ranked(&self) -> usize {
        self.samples - self.mirrored
    }

    /// Standard deviation of the samples; `None` if there are fewer than two.
    pub fn std(&self) -> Option<Vec<f64>> {
        self.field.std(self.degrees())
    }

    /// Standard deviation of the smoothed samples; `None` if there are fewer than two.
    pub fn smoothed_std(&self) -> Option<Vec<f64>> {
        self.smoothed.std(self.degrees())
    }

    /// Number of chains.
    pub fn chain_count(&self) -> usize {
        self.chains.iter().max().map_or(0, |last| *last as usize + 1)
    }

    /// The logarithm of the power in a bin, by chain: what its diagnostics are those of.
    pub(crate) fn power_by_chain(&self, bin: usize) -> Vec<Vec<f64>> {
        self.by_chain(|i| f64::from(self.spectra[i][bin]).ln())
    }

    /// The draws of a quantity as chains of equal length, oldest first.
    pub fn by_chain(&self, value: impl Fn(usize) -> f64) -> Vec<Vec<f64>> {
        let mut chains = vec![Vec::new(); self.chain_count()];
        for (i, &chain) in self.chains.iter().enumerate() {
            chains[chain as usize].push(value(i));
        }
        let shortest = chains.iter().map(Vec::len).min().unwrap_or(0);
        chains.iter_mut().for_each(|chain| chain.truncate(shortest));
        chains
    }
}
