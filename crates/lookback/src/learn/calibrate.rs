//! `lookback model calibrate`: by how much a decoder's error is to be taken as larger, so that what is hidden is foretold best.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use lookback_inference::Progress;
use lookback_learn::{Batch, Model, Shape};
use serde::Serialize;

use super::reconstruct::GOLDEN;
use super::{Admitted, MODES, ReconstructOptions, Sampling, calibrate_page, reconstruct};
use crate::run::Reporter;
use crate::{Error, Result, VERSION};

/// Factors that are tried.
const FACTORS: [f64; 6] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
/// What is written beside a model that was calibrated.
pub(super) const CALIBRATION_PAGE: &str = "calibration.html";
pub(super) const CALIBRATION_FIGURES: &str = "calibration.json";
/// Samples of each posterior.
const SAMPLES: usize = 50;

/// How well hidden numbers are foretold with a factor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged {
    /// The factor on the decoder's error.
    pub factor: f64,
    /// Mean continuous ranked probability score of the hidden numbers, in the data's units: less is better.
    pub score: f64,
    /// Share of hidden numbers within the central 68 and 95 % of the samples.
    pub within: [f64; 2],
    /// Standard errors of these shares, from their scatter between examples.
    pub error: [f64; 2],
    /// Whether intervals hold what they promise: to three points, or two standard errors where these are larger.
    pub calibrated: bool,
}

/// Shares that intervals promise.
pub(super) const PROMISED: [f64; 2] = [0.68, 0.95];

/// Differences of shares that no reader of error bars would notice.
const UNNOTICED: f64 = 0.03;

/// By how much a share misses what is promised, at most: in units of what would not be noticed, or of two standard errors where these are
/// larger.
fn miss(within: &[f64; 2], error: &[f64; 2]) -> f64 {
    let shares = within.iter().zip(error).zip(PROMISED);
    let miss = |((within, error), promised): ((&f64, &f64), f64)| {
        (within - promised).abs() / UNNOTICED.max(2.0 * error)
    };
    shares.map(miss).fold(0.0, f64::max)
}

/// Hides a half of each example (the left, the right, the upper, the lower in turn), foretells it from the other, and judges by what is
/// hidden: the factors with their scores, the best first. That is the sharpest of those that are calibrated (Gneiting, Balabdaoui & Raftery
/// 2007): the one with the lowest score among those whose intervals hold what they promise; where none do, the one that misses it least.
///
/// The score is `E|x - y| - E|x - x'| / 2` over samples `x` and the truth `y` (Gneiting & Raftery 2007, eq. 21). The rank of a truth that is equal to
/// some samples is anywhere among theirs. Cost: six reconstructions of every example.
///
/// # Errors
/// As for a reconstruction.
pub fn calibrate(
    model: &Model<f32>,
    examples: &Batch<f32>,
    (starts, seed): (usize, u64),
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Vec<Judged>> {
    let shape = model.card().example_shape()?;
    if examples.rows() < 2 {
        return Err(Error::config("calibrate", "needs at least two examples to judge by"));
    }
    let mut hidden = examples.clone();
    let width = examples.width();
    for (at, x) in hidden.data_mut().iter_mut().enumerate() {
        if is_hidden(shape, at / width, at % width) {
            *x = f32::NAN;
        }
    }
    let mut all = Vec::new();
    for (number, factor) in FACTORS.into_iter().enumerate() {
        let message = format!("the decoder's error taken {factor} times as large");
        reporter.step(&Progress { steps: (number as u64, FACTORS.len() as u64), message, done: false });
        let options = ReconstructOptions {
            noise_std: 0.0,
            blur_pixels: None,
            model_error: Admitted::Adaptive,
            error_factor: Some(factor),
            sampling: Sampling::Laplace,
            starts,
            modes: MODES,
            samples: SAMPLES,
            seed,
            directory: PathBuf::new(),
        };
        let found = reconstruct(model, &hidden, &options, stop, &mut crate::run::Silent)?;
        let (mut scores, mut shares) = (Vec::new(), Vec::new());
        for (row, truths) in examples.data().chunks_exact(width).enumerate() {
            let columns = (0..width).filter(|&column| hidden.row(row)[column].is_nan());
            let numbers = columns.map(|column| {
                let draws =
                    (0..SAMPLES).map(|draw| f64::from(found.samples.row(row * SAMPLES + draw)[column]));
                // Places of ties fill the unit interval evenly.
                ranked_score(draws.collect(), f64::from(truths[column]), (column as f64 * GOLDEN).fract())
            });
            let numbers: Vec<(f64, f64)> = numbers.collect();
            let mean =
                |f: &dyn Fn(&(f64, f64)) -> f64| numbers.iter().map(f).sum::<f64>() / numbers.len() as f64;
            scores.push(mean(&|(score, _)| *score));
            let held = |level: f64| mean(&|(_, rank)| f64::from(u8::from((rank - 0.5).abs() <= level / 2.0)));
            shares.push(PROMISED.map(held));
        }
        let n = scores.len() as f64;
        let score = scores.iter().sum::<f64>() / n;
        let within = [0, 1].map(|level| shares.iter().map(|share| share[level]).sum::<f64>() / n);
        let error = [0, 1].map(|level| {
            let square: f64 = shares.iter().map(|share| (share[level] - within[level]).powi(2)).sum();
            (square / (n * (n - 1.0))).sqrt()
        });
        let calibrated = miss(&within, &error) <= 1.0;
        all.push(Judged { factor, score, within, error, calibrated });
    }
    let merit = |of: &Judged| if of.calibrated { of.score } else { miss(&of.within, &of.error) };
    all.sort_by(|a, b| b.calibrated.cmp(&a.calibrated).then(merit(a).total_cmp(&merit(b))));
    Ok(all)
}

/// Writes a model with the best of the factors that were `judged` over the one that was read; where `path` is its folder, also its card,
/// `calibration.json`, and a page, whose place is returned. `data` says what the factors were judged by; the numbers are the examples, and the searches
/// and the seed of [`calibrate`].
///
/// # Errors
/// If the disk refuses.
pub fn write_calibrated(
    model: Model<f32>,
    path: &Path,
    judged: &[Judged],
    data: &str,
    numbers: (usize, usize, u64),
) -> Result<Option<PathBuf>> {
    let place = super::model_file(path);
    let model = model.with_error_factor(judged[0].factor)?;
    let bytes = model.to_bytes()?;
    crate::files::write_whole(&place, |out| out.write_all(&bytes))?;
    let Some(folder) = place.parent().filter(|_| path.is_dir()) else { return Ok(None) };
    super::write_card(model.card(), folder)?;
    let (examples, starts, seed) = numbers;
    let figures = serde_json::json!({
        "version": VERSION, "data": data, "given": model.what_is_given(), "examples": examples, "starts": starts, "seed": seed, "factors": judged,
    });
    super::write_text(&folder.join(CALIBRATION_FIGURES), &format!("{figures:#}\n"))?;
    let page = folder.join(CALIBRATION_PAGE);
    super::write_text(&page, &calibrate_page::page(&model, judged, data, numbers)?)?;
    Ok(Some(page))
}

fn is_hidden(shape: Shape, example: usize, place: usize) -> bool {
    match shape {
        Shape::Row(width) => (2 * place < width) == example.is_multiple_of(2),
        Shape::Image(image) => {
            let pixel = place / image.channels;
            let (row, column) = (pixel / image.width, pixel % image.width);
            match example % 4 {
                0 => 2 * column < image.width,
                1 => 2 * column >= image.width,
                2 => 2 * row < image.height,
                _ => 2 * row >= image.height,
            }
        }
    }
}

/// The continuous ranked probability score of samples, and the share of them that is below the truth, with this share of those that are
/// equal to it.
fn ranked_score(mut samples: Vec<f64>, truth: f64, tie: f64) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    let n = samples.len() as f64;
    let miss = samples.iter().map(|x| (x - truth).abs()).sum::<f64>() / n;
    // E|x - x'| of sorted samples.
    let spread: f64 =
        samples.iter().enumerate().map(|(i, x)| x * (2.0 * i as f64 + 1.0 - n)).sum::<f64>() * 2.0 / (n * n);
    let below = samples.iter().filter(|&&x| x < truth).count() as f64;
    let equal = samples.iter().filter(|&&x| x == truth).count() as f64;
    (miss - spread / 2.0, (below + tie * equal) / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The score of a normal distribution at its mean is `(sqrt 2 - 1) / sqrt pi` of its width (Gneiting & Raftery 2007, eq. 5), and more
    /// for one that is too narrow or too wide.
    #[test]
    fn the_score_is_least_for_the_right_width() {
        let normal = |p: f64| -std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * p);
        let samples = |width: f64| (0..4000).map(|i| width * normal((f64::from(i) + 0.5) / 4000.0)).collect();
        let at_mean = ranked_score(samples(1.0), 0.0, 0.5).0;
        let expected = (std::f64::consts::SQRT_2 - 1.0) / std::f64::consts::PI.sqrt();
        assert!((at_mean - expected).abs() < 1e-3, "{at_mean} {expected}");
        let truths: Vec<f64> = (0..200).map(|i| normal((f64::from(i) + 0.5) / 200.0)).collect();
        let mean = |width: f64| truths.iter().map(|t| ranked_score(samples(width), *t, 0.5).0).sum::<f64>();
        assert!(mean(1.0) < mean(0.7) && mean(1.0) < mean(1.4));
    }
}
