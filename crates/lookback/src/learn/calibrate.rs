//! `lookback model calibrate`: by how much a decoder's error is to be taken as larger, so that what is hidden is foretold best.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use lookback_inference::Progress;
use lookback_inference::calibration::rank as rank_among;
use lookback_learn::{Batch, Model, Shape};
use lookback_operator::random::{Purpose, Stream};
use serde::Serialize;

use super::reconstruct::GOLDEN;
use super::{Admitted, MODES, ReconstructOptions, Sampling, calibrate_page, reconstruct};
use crate::files::Hold;
use crate::report::analysis::mean_std;
use crate::run::Reporter;
use crate::{Error, Result, VERSION};

/// Factors that are tried first.
const FACTORS: [f64; 6] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
/// What is written beside a model that was calibrated.
pub(super) const CALIBRATION_PAGE: &str = "calibration.html";
pub(super) const CALIBRATION_FIGURES: &str = "calibration.json";
/// Most factors that are tried in all.
const MOST_TRIED: u64 = FACTORS.len() as u64 + 2;
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

/// How examples are hidden, and foretold.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrateOptions {
    /// Data in which is missing (NaN) what is to be hidden, one example after the other in turn; halves, if left out. Where nothing is missing,
    /// all is foretold from what the noise leaves.
    pub like: Option<Like>,
    /// Standard deviation of the noise that is laid upon what is seen, in the data's units.
    pub noise_std: f64,
    /// Searches for modes, an example.
    pub starts: usize,
    /// Seed of noise, starts and samples.
    pub seed: u64,
}

/// Data like those that are to be understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    /// Their name, for the page.
    pub name: String,
    /// What is missing in them is NaN.
    pub data: Batch<f32>,
}

impl Like {
    /// Whether something is missing in each of those that so many examples meet.
    fn incomplete(&self, examples: usize) -> impl Iterator<Item = bool> {
        (0..examples.min(self.data.rows())).map(|row| self.data.row(row).iter().any(|x| x.is_nan()))
    }
}

impl CalibrateOptions {
    /// What is hidden of each of so many examples, in words.
    pub(super) fn hidden(&self, shape: Shape, examples: usize) -> String {
        match (&self.like, shape) {
            (Some(like), _) => {
                let name = &like.name;
                match (like.incomplete(examples).any(|it| it), like.incomplete(examples).all(|it| it)) {
                    (false, _) => {
                        format!("nothing, as in {name}: all is foretold from what the noise leaves")
                    }
                    (true, true) => format!("what is missing in {name}"),
                    (true, false) => format!(
                        "what is missing in {name}; nothing where nothing is, and all is foretold from what the noise leaves"
                    ),
                }
            }
            (None, Shape::Row(_)) => "a half of each, in turn the first and the second one".into(),
            (None, Shape::Image { .. }) => {
                "a half of each, in turn the left, the right, the upper and the lower one".into()
            }
        }
    }
}

impl Default for CalibrateOptions {
    fn default() -> CalibrateOptions {
        CalibrateOptions { like: None, noise_std: 0.0, starts: 8, seed: 42 }
    }
}

/// Hides a half of each example (the left, the right, the upper, the lower in turn), or what is missing in data like those that are to be understood,
/// foretells it from the rest, and judges by what was hidden: the factors with their scores, the best first. That is the sharpest of those that are calibrated (Gneiting, Balabdaoui & Raftery
/// 2007): the one with the lowest score among those whose intervals hold what they promise, and of those whose scores are as low to a standard
/// error of the difference, from example to example (Breiman et al. 1984, section 3.4.3), the one whose intervals miss it least. Where none hold it, the one with the
/// lowest score among those that miss it least.
///
/// The score is `E|x - y| - E|x - x'| / 2` over samples `x` and the truth `y` (Gneiting & Raftery 2007, eq. 21), the second mean over pairs of two
/// samples, so that their number does not matter (Ferro 2014). The rank of a truth that is equal to some samples is anywhere among theirs. Six factors from 1 to 300 are tried, then those in the middle between the best of them and its neighbours.
/// Cost: seven or eight reconstructions of every example.
///
/// # Errors
/// As for a reconstruction; if the data are not like the examples, or tell all.
pub fn calibrate(
    model: &Model<f32>,
    examples: &Batch<f32>,
    options: &CalibrateOptions,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Vec<Judged>> {
    if examples.rows() < 2 {
        return Err(Error::config("calibrate", "needs at least two examples to judge by"));
    }
    let hidden = hide(model.card().example_shape()?, examples, options)?;
    let &CalibrateOptions { noise_std, starts, seed, .. } = options;
    let mut reconstructions = 0;
    let mut judge = |factor: f64| -> Result<Tried> {
        let message = format!("the decoder's error taken {factor} times as large");
        reporter.step(&Progress { steps: (reconstructions, MOST_TRIED), message, done: false });
        reconstructions += 1;
        let options = ReconstructOptions {
            noise_std,
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
        Ok(judged(factor, examples, &hidden, &found.samples))
    };
    let mut all = FACTORS.into_iter().map(&mut judge).collect::<Result<Vec<_>>>()?;
    rank(&mut all);
    let finer = between(all[0].judged.factor).into_iter().map(judge).collect::<Result<Vec<_>>>()?;
    all.extend(finer);
    rank(&mut all);
    Ok(all.into_iter().map(|tried| tried.judged).collect())
}

/// The examples with noise, and NaN where they are hidden.
fn hide(shape: Shape, examples: &Batch<f32>, options: &CalibrateOptions) -> Result<Batch<f32>> {
    let refuse = |message: String| Err(Error::config("calibrate", message));
    let (mut hidden, width) = (examples.clone(), examples.width());
    let like = options.like.as_ref().map(|like| &like.data);
    if let Some(data) = like.filter(|data| data.width() != width || data.rows() == 0) {
        let message =
            format!("data with {} numbers an example are not like examples of {width}", data.width());
        return refuse(message);
    }
    let complete = |like: &Like| !like.incomplete(examples.rows()).all(|it| it);
    if options.noise_std == 0.0 && options.like.as_ref().is_some_and(complete) {
        return refuse(
            "nothing is missing in an example of the data, and there is no noise: nothing to foretell".into(),
        );
    }
    for (row, seen) in hidden.data_mut().chunks_exact_mut(width).enumerate() {
        if options.noise_std > 0.0 {
            let mut noise = vec![0.0f32; width];
            Stream::new(options.seed, Purpose::Noise, row as u32).fill_normal(&mut noise);
            seen.iter_mut().zip(noise).for_each(|(x, noise)| *x += options.noise_std as f32 * noise);
        }
        for (column, x) in seen.iter_mut().enumerate() {
            let missing = match like {
                None => is_hidden(shape, row, column),
                Some(like) => like.row(row % like.rows())[column].is_nan(),
            };
            if missing {
                *x = f32::NAN;
            }
        }
    }
    Ok(hidden)
}

/// The factors in the middle between one that was tried first and its neighbours, to two digits.
fn between(factor: f64) -> Vec<f64> {
    let middle = |a: f64, b: f64| {
        let middle = (a * b).sqrt();
        let scale = 10f64.powi(1 - middle.log10().floor() as i32);
        (middle * scale).round() / scale
    };
    let pairs = FACTORS.windows(2).filter(|pair| pair.contains(&factor));
    pairs.map(|pair| middle(pair[0], pair[1])).collect()
}

/// A factor that was tried, and the score of each example.
struct Tried {
    judged: Judged,
    scores: Vec<f64>,
}

impl Tried {
    /// Whether its scores are no higher than these by more than a standard error of the difference, example by example.
    fn is_as_sharp_as(&self, scores: &[f64]) -> bool {
        let more: Vec<f64> = self.scores.iter().zip(scores).map(|(a, b)| a - b).collect();
        let [mean, error] = mean_and_error(&more);
        mean <= error
    }
}

/// The mean of some numbers, and its standard error by their scatter.
fn mean_and_error(x: &[f64]) -> [f64; 2] {
    let (mean, std) = mean_std(x);
    [mean, std / (x.len() as f64).sqrt()]
}

/// How well the hidden numbers of examples are foretold by samples.
fn judged(factor: f64, examples: &Batch<f32>, hidden: &Batch<f32>, samples: &Batch<f32>) -> Tried {
    let width = examples.width();
    let (mut scores, mut shares) = (Vec::new(), Vec::new());
    for (row, truths) in examples.data().chunks_exact(width).enumerate() {
        // All, where nothing is hidden but by noise.
        let all = !hidden.row(row).iter().any(|x| x.is_nan());
        let columns = (0..width).filter(|&column| all || hidden.row(row)[column].is_nan());
        let numbers = columns.map(|column| {
            let draws = (0..SAMPLES).map(|draw| f64::from(samples.row(row * SAMPLES + draw)[column]));
            let (draws, truth): (Vec<f64>, _) = (draws.collect(), f64::from(truths[column]));
            // Places between neighbours, and among equals, fill the unit interval evenly.
            let place = ((row * width + column) as f64 * GOLDEN).fract();
            (ranked_score(&draws, truth), rank_among(truth, &draws, place))
        });
        let numbers: Vec<(f64, f64)> = numbers.collect();
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| numbers.iter().map(f).sum::<f64>() / numbers.len() as f64;
        scores.push(mean(&|(score, _)| *score));
        let held = |level: f64| mean(&|(_, rank)| f64::from(u8::from((rank - 0.5).abs() <= level / 2.0)));
        shares.push(PROMISED.map(held));
    }
    let [score, _] = mean_and_error(&scores);
    let levels = [0, 1].map(|level| {
        let of_level: Vec<f64> = shares.iter().map(|share| share[level]).collect();
        mean_and_error(&of_level)
    });
    let (within, error) = (levels.map(|[mean, _]| mean), levels.map(|[_, error]| error));
    let calibrated = miss(&within, &error) <= 1.0;
    Tried { judged: Judged { factor, score, within, error, calibrated }, scores }
}

/// Misses that are no larger than this times the least are as good.
const ABOUT_AS_GOOD: f64 = 1.25;

/// The best first: of those that are calibrated and as sharp as the sharpest of them, to what their scores can tell, those that miss least what they promise;
/// then the others that are calibrated, the sharpest first; where none is, the sharpest of those that miss it about as little as any; then
/// the others by how much they miss it. (In points of coverage: errors differ, and a larger one is no merit.)
fn rank(all: &mut [Tried]) {
    let missed = |of: &Tried| miss(&of.judged.within, &[0.0; 2]);
    let least = all.iter().map(missed).fold(f64::INFINITY, f64::min);
    let score = |of: &Tried| of.judged.score;
    let calibrated = all.iter().filter(|of| of.judged.calibrated);
    let sharpest = calibrated.min_by(|a, b| score(a).total_cmp(&score(b))).map(|of| of.scores.clone());
    let class = |of: &Tried| match of.judged.calibrated {
        true if sharpest.as_ref().is_some_and(|sharpest| of.is_as_sharp_as(sharpest)) => 0,
        true => 1,
        false if missed(of) <= ABOUT_AS_GOOD * least => 2,
        false => 3,
    };
    let merit = |of: &Tried| if [1, 2].contains(&class(of)) { score(of) } else { missed(of) };
    all.sort_by(|a, b| class(a).cmp(&class(b)).then(merit(a).total_cmp(&merit(b))));
}

/// Writes a model with the best of the factors that were `judged` over the one that was read; where `path` is its folder, also its card,
/// `calibration.json`, and a page, whose place is returned. `data` and `count` say which examples the factors were judged by, and how many.
///
/// # Errors
/// If the disk refuses.
pub fn write_calibrated(
    model: Model<f32>,
    path: &Path,
    judged: &[Judged],
    (data, count): (&str, usize),
    options: &CalibrateOptions,
) -> Result<Option<PathBuf>> {
    let place = super::model_file(path);
    let _hold = if path.is_dir() { Some(Hold::of(path)?) } else { None };
    let model = model.with_error_factor(judged[0].factor)?;
    let bytes = model.to_bytes()?;
    crate::files::write_whole(&place, |out| out.write_all(&bytes))?;
    let Some(folder) = place.parent().filter(|_| path.is_dir()) else { return Ok(None) };
    super::write_card(model.card(), folder)?;
    let CalibrateOptions { noise_std, starts, seed, .. } = options;
    let hidden = options.hidden(model.card().example_shape()?, count);
    let figures = serde_json::json!({
        "version": VERSION, "data": data, "given": model.what_is_given(), "examples": count, "hidden": hidden, "noise_std": noise_std,
        "starts": starts, "seed": seed, "factors": judged,
    });
    super::write_text(&folder.join(CALIBRATION_FIGURES), &format!("{figures:#}\n"))?;
    let page = folder.join(CALIBRATION_PAGE);
    super::write_text(&page, &calibrate_page::page(&model, judged, (data, count), options)?)?;
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

/// The continuous ranked probability score of samples, without a bias from their number.
fn ranked_score(samples: &[f64], truth: f64) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    let n = samples.len() as f64;
    let miss = samples.iter().map(|x| (x - truth).abs()).sum::<f64>() / n;
    // E|x - x'| of sorted samples.
    let pairs = samples.iter().enumerate().map(|(i, x)| x * (2.0 * i as f64 + 1.0 - n)).sum::<f64>();
    miss - pairs / (n * (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_hidden_as_the_data_are() {
        let examples = Batch::new(4, (0..12u8).map(f32::from).collect());
        let hidden = |like: Option<Vec<f32>>, noise_std: f64| {
            let options = CalibrateOptions {
                like: like.map(|x| Like { name: "data".into(), data: Batch::new(4, x) }),
                noise_std,
                ..CalibrateOptions::default()
            };
            hide(Shape::Row(4), &examples, &options)
        };
        let missing = |batch: &Batch<f32>| batch.data().iter().map(|x| x.is_nan()).collect::<Vec<_>>();
        let halves = missing(&hidden(None, 0.0).expect("hidden"));
        assert_eq!(halves[..8], [true, true, false, false, false, false, true, true]);
        let nan = f32::NAN;
        let like = vec![nan, 0.0, 0.0, 0.0, 0.0, 0.0, nan, nan];
        let same = hidden(Some(like.clone()), 0.0).expect("hidden");
        assert_eq!(missing(&same)[..8], like.iter().map(|x| x.is_nan()).collect::<Vec<_>>()[..]);
        assert_eq!(missing(&same)[8..], [true, false, false, false]);
        assert_eq!(same.row(0)[1..], [1.0, 2.0, 3.0]);
        let noisy = hidden(Some(vec![0.0; 4]), 0.5).expect("noisy");
        let off = noisy.data().iter().zip(examples.data()).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 12.0;
        assert!((0.05..0.8).contains(&off), "{off}");
        let error = hidden(Some(vec![0.0; 4]), 0.0).expect_err("nothing to foretell").to_string();
        assert!(error.contains("no noise"), "{error}");
    }

    #[test]
    fn the_sharpest_comes_first_where_coverage_cannot_tell() {
        // Scores of three examples, two of which are off by more the larger the factor.
        let of = |factor: f64, score: f64, within: [f64; 2], error: f64| {
            let error = [error; 2];
            let scores = [-1.0, 1.0, 0.0].map(|off| score + 0.1 * off * factor.ln()).to_vec();
            let judged = Judged { factor, score, within, error, calibrated: miss(&within, &error) <= 1.0 };
            Tried { judged, scores }
        };
        let order = |mut all: Vec<Tried>| {
            rank(&mut all);
            all.iter().map(|it| it.judged.factor).collect::<Vec<f64>>()
        };
        // None is calibrated, and the scatter of the widest is no merit.
        let wide = vec![
            of(1.0, 0.03, [0.875, 0.99], 0.028),
            of(170.0, 0.18, [0.858, 1.0], 0.04),
            of(10.0, 0.05, [0.95, 1.0], 0.01),
        ];
        assert_eq!(order(wide), [1.0, 170.0, 10.0]);
        let some = vec![
            of(1.0, 2.0, [0.5, 0.8], 0.01),
            of(10.0, 3.0, [0.67, 0.95], 0.01),
            of(30.0, 2.5, [0.69, 0.94], 0.01),
        ];
        assert_eq!(order(some), [30.0, 10.0, 1.0]);
        // What scores cannot tell apart, coverage may: scores of 3 and 10 differ by less than their difference scatters, of 100 by more.
        let close = vec![
            of(3.0, 1.00, [0.66, 0.93], 0.01),
            of(10.0, 1.05, [0.67, 0.94], 0.01),
            of(100.0, 2.00, [0.68, 0.95], 0.01),
            of(1.0, 0.90, [0.60, 0.90], 0.01),
        ];
        assert_eq!(order(close), [10.0, 3.0, 100.0, 1.0]);
    }

    #[test]
    fn finer_factors_lie_beside_the_best() {
        assert_eq!(between(10.0), [5.5, 17.0]);
        assert_eq!((between(1.0), between(300.0)), (vec![1.7], vec![170.0]));
    }

    /// The `i`th of so many evenly likely numbers of a normal distribution of this width.
    fn quantile(width: f64, i: usize, of: usize) -> f64 {
        let p = (i as f64 + 0.5) / of as f64;
        -width * std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * p)
    }

    /// The score of a normal distribution at its mean is `(sqrt 2 - 1) / sqrt pi` of its width (Gneiting & Raftery 2007, eq. 5), and more
    /// for one that is too narrow or too wide.
    #[test]
    fn the_score_is_least_for_the_right_width() {
        let samples = |width: f64| (0..4000).map(|i| quantile(width, i, 4000)).collect::<Vec<f64>>();
        let at_mean = ranked_score(&samples(1.0), 0.0);
        let expected = (std::f64::consts::SQRT_2 - 1.0) / std::f64::consts::PI.sqrt();
        assert!((at_mean - expected).abs() < 1e-3, "{at_mean} {expected}");
        let truths: Vec<f64> = (0..200).map(|i| quantile(1.0, i, 200)).collect();
        let mean = |width: f64| truths.iter().map(|t| ranked_score(&samples(width), *t)).sum::<f64>();
        assert!(mean(1.0) < mean(0.7) && mean(1.0) < mean(1.4));
    }

    /// Truths of the same law as the fifty samples: intervals hold what they promise, and the score is that of the law itself,
    /// `E|x - y| / 2 = 1 / sqrt pi`.
    #[test]
    fn few_samples_do_not_shift_what_is_judged() {
        let (rows, width) = (20, 500);
        let draw = |index: u32, count: usize| {
            let mut numbers = vec![0.0f32; count];
            Stream::new(7, Purpose::Noise, index).fill_normal(&mut numbers);
            numbers
        };
        let examples = Batch::new(width, draw(0, rows * width));
        let samples = Batch::new(width, draw(1, rows * SAMPLES * width));
        let hidden = Batch::new(width, vec![f32::NAN; rows * width]);
        let of = judged(1.0, &examples, &hidden, &samples).judged;
        let off = [0, 1].map(|level| (of.within[level] - PROMISED[level]) / of.error[level]);
        assert!(off.iter().all(|x| x.abs() < 3.0), "{:?} +- {:?}", of.within, of.error);
        assert!(of.error[1] < 0.003, "{:?}", of.error);
        let expected = 1.0 / std::f64::consts::PI.sqrt();
        assert!((of.score / expected - 1.0).abs() < 0.015, "{} {expected}", of.score);
    }
}
