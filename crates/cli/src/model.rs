//! `lookback model`: what a trained model is used for.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand, ValueEnum};
use lookback::Result;
use lookback::files::{self, link};
use lookback::learn::{self, CalibrateOptions, Like, ReconstructOptions, Sampling, verbs};
use lookback::learning::{Batch, Model};

use crate::progress::Bar;

/// Which model, and what it depends on.
#[derive(Args)]
pub(crate) struct Which {
    /// Folder of the model, or its file.
    model: PathBuf,
    /// What the latents depend on, where the model was trained with `[data.condition]`: a label (`3`) or parameters (`0.3,0.8`) of all
    /// examples, or an array with those of each (posteriors take one for all).
    #[arg(long, value_name = "NUMBERS|FILE")]
    given: Option<String>,
}

impl Which {
    fn load(&self) -> Result<Model<f32>> {
        verbs::load_given(&self.model, self.given.as_deref())
    }
}

/// Where results go.
#[derive(Args)]
pub(crate) struct Out {
    /// The array that is written (`.npy`).
    #[arg(long, short, value_name = "FILE", value_parser = npy)]
    output: PathBuf,
    /// A picture of the examples besides (`.svg`).
    #[arg(long, value_name = "FILE", value_parser = svg)]
    picture: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Print the card of a model: architecture, data, preprocessing, scores.
    Card {
        /// Folder of the model, or its file.
        model: PathBuf,
    },
    /// Draw artificial data from the prior.
    Sample {
        #[command(flatten)]
        which: Which,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 64, value_name = "N", value_parser = positive)]
        count: usize,
        /// Seed: the same seed draws the same data.
        #[arg(long, default_value_t = 42)]
        seed: u64,
        #[command(flatten)]
        out: Out,
    },
    /// Go from examples to others along straight lines in the space of normal numbers.
    Interpolate {
        #[command(flatten)]
        which: Which,
        /// Where to begin: an array of examples (`.npy`, `.npz#NAME`, idx, FITS, PNG or a folder of PNG).
        from: String,
        /// Where to end: as many examples.
        to: String,
        /// Examples a line, the ends included.
        #[arg(long, default_value_t = 9, value_name = "N")]
        steps: usize,
        #[command(flatten)]
        out: Out,
    },
    /// Find the latents of examples.
    Encode {
        #[command(flatten)]
        which: Which,
        /// An array of examples.
        data: String,
        /// As standard normal numbers, through the flow.
        #[arg(long)]
        normal: bool,
        /// The array that is written (`.npy`).
        #[arg(long, short, value_name = "FILE", value_parser = npy)]
        output: PathBuf,
    },
    /// Make examples of latents.
    Decode {
        #[command(flatten)]
        which: Which,
        /// An array of latents, one set a row.
        latents: String,
        /// The latents are standard normal numbers, before the flow.
        #[arg(long)]
        normal: bool,
        #[command(flatten)]
        out: Out,
    },
    /// The log density of the latents of examples.
    LogProb {
        #[command(flatten)]
        which: Which,
        /// An array of examples.
        data: String,
        /// The array that is written (`.npy`).
        #[arg(long, short, value_name = "FILE", value_parser = npy)]
        output: PathBuf,
    },
    /// Find anomalies: how usual is each example? A table (CSV) with the log density of the latents (its mean over noise, where the flow learned
    /// with noise), that of what the decoder cannot make, and both together; strange examples have low scores.
    Score {
        #[command(flatten)]
        which: Which,
        /// An array of examples.
        data: String,
        /// The table.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// The score by which examples are ranked.
        #[arg(long, value_enum, default_value_t = By::Latent)]
        by: By,
        /// A picture of the strangest (`.svg`).
        #[arg(long, value_name = "FILE", value_parser = svg)]
        picture: Option<PathBuf>,
        /// How many of the strangest are drawn.
        #[arg(long, default_value_t = 64, value_name = "N", value_parser = positive)]
        top: usize,
    },
    /// Find by how much the decoder's error is to be taken as larger: halves of examples are hidden and foretold. The factor that foretells
    /// them best, of those whose intervals hold what they promise, goes into the model.
    ///
    /// What is missing and how noisy the rest is matters: with `--like DATA --noise-std SIGMA` examples are hidden as the data are that you
    /// will reconstruct.
    Calibrate {
        #[command(flatten)]
        which: Which,
        /// An array of examples that were not trained on.
        data: String,
        /// How many of them are used, from the last backwards.
        #[arg(long, short = 'n', default_value_t = 40, value_name = "N", value_parser = positive)]
        count: usize,
        /// An array of data: what is missing in them (NaN) is hidden, instead of halves.
        #[arg(long, value_name = "DATA")]
        like: Option<String>,
        /// Standard deviation of the noise that is laid upon what is seen.
        #[arg(long, default_value_t = 0.0, value_name = "SIGMA")]
        noise_std: f64,
        /// Searches for modes, from the best of 4096 draws of the prior (fewer where examples have more than 1024 numbers).
        #[arg(long, default_value_t = 8, value_name = "N", value_parser = positive)]
        starts: usize,
        /// Seed of noise, starts and samples.
        #[arg(long, default_value_t = 42)]
        seed: u64,
    },
    /// Denoise, inpaint and deblur: the posteriors of what was behind the data.
    ///
    /// NaNs are missing numbers. Writes means, standard deviations, samples, the modes that were found, and `report.html`. In `samples.npy` and
    /// `latents.npy` the samples of an example follow those of the one before; in `modes.npy` those of an example begin at its `first_mode` in
    /// `reconstruction.json`, the heaviest first.
    Reconstruct {
        #[command(flatten)]
        which: Which,
        /// An array of what was observed.
        data: String,
        /// Standard deviation of the noise.
        #[arg(long, default_value_t = 0.0, value_name = "SIGMA")]
        noise_std: f64,
        /// Standard deviation of a Gaussian that blurred the images [pixel].
        #[arg(long, value_name = "PIXELS")]
        blur: Option<f64>,
        /// What is admitted of the decoder's error.
        #[arg(long, value_enum, default_value_t = Admitted::Adaptive)]
        model_error: Admitted,
        /// By how much the error is taken as larger where latents are judged by it, instead of what `calibrate` found.
        #[arg(long, value_name = "FACTOR")]
        error_factor: Option<f64>,
        /// How posteriors are sampled.
        #[arg(long, value_enum, default_value_t = How::Laplace)]
        sampling: How,
        /// Searches for modes, from the best of 4096 draws of the prior (fewer where examples have more than 1024 numbers).
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = positive)]
        starts: usize,
        /// Samples of each posterior.
        #[arg(long, default_value_t = 100, value_name = "N", value_parser = several)]
        samples: usize,
        /// Seed of starts and samples.
        #[arg(long, default_value_t = 42)]
        seed: u64,
        /// Folder of the results.
        #[arg(long, short, value_name = "FOLDER")]
        output: PathBuf,
        /// Write over an earlier reconstruction there.
        #[arg(long)]
        overwrite: bool,
    },
}

/// The name of an array of numpy.
fn npy(text: &str) -> std::result::Result<PathBuf, String> {
    named(text, "npy", "an array of numpy is written")
}

/// The name of a picture.
fn svg(text: &str) -> std::result::Result<PathBuf, String> {
    named(text, "svg", "a picture in SVG is drawn")
}

/// The name of a page.
pub(crate) fn html(text: &str) -> std::result::Result<PathBuf, String> {
    named(text, "html", "a page in HTML is written")
}

fn named(text: &str, ending: &str, what: &str) -> std::result::Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(found) if found.eq_ignore_ascii_case(ending) => Ok(path),
        _ => Err(format!("{what}: its name ends with `.{ending}`")),
    }
}

/// A number of samples that have a standard deviation.
fn several(text: &str) -> std::result::Result<usize, String> {
    at_least(2, text, "a number of at least 2 is needed: one sample has no standard deviation")
}

fn at_least(least: usize, text: &str, otherwise: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|&number| number >= least).ok_or_else(|| otherwise.into())
}

/// A number of things, at least one.
fn positive(text: &str) -> std::result::Result<usize, String> {
    at_least(1, text, "a number of at least 1 is needed")
}

/// Scores.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The density of the latents: is it where examples lie? The best of the three on the sets of clothes, digits and mirrored clothes.
    Latent,
    /// That of what the decoder cannot make.
    Reconstruction,
    /// Both together: each in units of its scatter among usual examples, or the sum of both where the model does not know the scatter (conditions,
    /// missing numbers, few examples for validation).
    Combined,
}

/// Kinds of the model's error.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Admitted {
    /// As large as what was decoded says, and larger for some examples than for others; with correlations between pixels.
    Adaptive,
    /// With its correlations between pixels, alike for all examples.
    Correlated,
    /// Independent between pixels: too confident.
    Diagonal,
    /// None.
    None,
}

/// Ways to sample.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// A Gaussian at each mode; Pareto k says whether it may be trusted.
    Laplace,
    /// Particles that are cooled from the prior: slower, with the right shares of modes.
    Smc,
    /// Chains of the No-U-Turn sampler from there.
    Nuts,
}

impl ModelCommand {
    /// Refuses to write over what is read.
    fn check_output(&self) -> Result<()> {
        let (inputs, output): (Vec<&str>, &Path) = match self {
            ModelCommand::Interpolate { from, to, out, .. } => (vec![from, to], &out.output),
            ModelCommand::Encode { data, output, .. }
            | ModelCommand::LogProb { data, output, .. }
            | ModelCommand::Score { data, output, .. } => (vec![data], output),
            ModelCommand::Decode { latents, out, .. } => (vec![latents], &out.output),
            _ => return Ok(()),
        };
        let same = |place: &&&str| {
            let full = |path: &Path| std::fs::canonicalize(path).ok();
            full(lookback::formats::split(place).0).is_some_and(|input| Some(input) == full(output))
        };
        match inputs.iter().find(same) {
            None => Ok(()),
            Some(_) => {
                let message = format!("{} is what is read; `-o` must name another file", output.display());
                Err(lookback::Error::Config { section: "model".into(), message })
            }
        }
    }

    /// What is done meanwhile, where no bar counts it.
    fn waiting_for(&self) -> Option<&'static str> {
        match self {
            ModelCommand::Card { .. } | ModelCommand::Calibrate { .. } | ModelCommand::Reconstruct { .. } => {
                None
            }
            ModelCommand::Sample { .. } => Some("drawing"),
            ModelCommand::Interpolate { .. } => Some("going from example to example"),
            ModelCommand::Encode { .. } => Some("encoding"),
            ModelCommand::Decode { .. } => Some("decoding"),
            ModelCommand::LogProb { .. } => Some("looking for densities"),
            ModelCommand::Score { .. } => Some("scoring"),
        }
    }
}

pub(crate) fn execute(command: ModelCommand, stop: &AtomicBool, quiet: bool) -> Result<()> {
    command.check_output()?;
    let waiting = command.waiting_for().map(|what| Bar::waiting(quiet, what));
    let done = carry_out(command, stop, quiet);
    if let Some(bar) = waiting {
        bar.finish();
    }
    done
}

fn carry_out(command: ModelCommand, stop: &AtomicBool, quiet: bool) -> Result<()> {
    match command {
        ModelCommand::Card { model } => {
            say!("{}", learn::Prior::load(&model)?.card_text()?);
            Ok(())
        }
        ModelCommand::Sample { which, count, seed, out } => match learn::Prior::load(&which.model)? {
            learn::Prior::Examples(model) => {
                let model = verbs::with_given(*model, which.given.as_deref())?;
                let drawn = verbs::sample(&model, count, seed)?;
                write(&model, "artificial data", &drawn, 8, &out)
            }
            learn::Prior::Maps(model) => {
                verbs::refuse_given(which.given.as_deref())?;
                let grid = model.grid()?;
                let maps = learn::sample_maps(&model, &grid, count, seed)?;
                verbs::write_maps(&grid, &maps, &out.output, out.picture.as_deref())
            }
        },
        ModelCommand::Interpolate { which, from, to, steps, out } => {
            let model = which.load()?;
            let ends = [&from, &to].map(|place| verbs::read_examples(&model, place, false));
            let [begin, end] = ends;
            let (begin, end) = (begin?, end?);
            let path = verbs::interpolate(&model, &begin, &end, steps)?;
            write(&model, "from one example to another", &path, steps, &out)
        }
        ModelCommand::Encode { which, data, normal, output } => {
            let model = which.load()?;
            let z = model.encode(verbs::read_examples(&model, &data, false)?);
            verbs::write_rows(&if normal { model.normalise(z)? } else { z }, &output)
        }
        ModelCommand::Decode { which, latents, normal, out } => {
            let model = which.load()?;
            let z = verbs::read_latents(&model, &latents)?;
            let made = if normal { model.generate(z)? } else { model.decode(z) };
            write(&model, "decoded", &made, 8, &out)
        }
        ModelCommand::LogProb { which, data, output } => {
            let model = which.load()?;
            let z = model.encode(verbs::read_examples(&model, &data, false)?);
            let densities = model.log_density(z)?.into_iter().map(|x| x as f32).collect();
            verbs::write_rows(&Batch::new(1, densities), &output)
        }
        ModelCommand::Score { which, data, output, by, picture, top } => {
            score(&which.load()?, &data, (&output, by), (picture.as_deref(), top))
        }
        ModelCommand::Calibrate { which, data, count, like, noise_std, starts, seed } => {
            let mut options = CalibrateOptions { like: None, noise_std, starts, seed };
            let model = which.load()?;
            if let Some(name) = like {
                let data = verbs::read_examples(&model, &name, true)?;
                options.like = Some(Like { name, data });
            }
            calibrate(model, &which.model, (&data, count), &options, (stop, quiet))
        }
        ModelCommand::Reconstruct {
            which,
            data,
            noise_std,
            blur,
            model_error,
            error_factor,
            sampling,
            starts,
            samples,
            seed,
            output,
            overwrite,
        } => {
            let model_error = match model_error {
                Admitted::Adaptive => learn::Admitted::Adaptive,
                Admitted::Correlated => learn::Admitted::Correlated,
                Admitted::Diagonal => learn::Admitted::Diagonal,
                Admitted::None => learn::Admitted::None,
            };
            let options = ReconstructOptions {
                noise_std,
                blur_pixels: blur,
                model_error,
                error_factor,
                sampling: match sampling {
                    How::Laplace => Sampling::Laplace,
                    How::Smc => Sampling::Smc,
                    How::Nuts => Sampling::Nuts,
                },
                starts,
                modes: learn::MODES,
                samples,
                seed,
                directory: output,
            };
            reconstruct(&which.load()?, &data, (&options, overwrite), stop, quiet)
        }
    }
}

fn write(model: &Model<f32>, title: &str, examples: &Batch<f32>, columns: usize, out: &Out) -> Result<()> {
    verbs::write_examples(model, examples, &out.output)?;
    if let Some(picture) = &out.picture {
        verbs::write_picture(model, title, examples, columns, picture)?;
    }
    Ok(())
}

fn score(
    model: &Model<f32>,
    data: &str,
    (output, by): (&Path, By),
    (picture, top): (Option<&Path>, usize),
) -> Result<()> {
    let by = match by {
        By::Latent => verbs::By::Latent,
        By::Reconstruction => verbs::By::Reconstruction,
        By::Combined => verbs::By::Combined,
    };
    let examples = verbs::read_examples(model, data, false)?;
    let scores = model.score(&examples)?;
    files::write_whole(output, |out| out.write_all(verbs::score_table(&scores, by).as_bytes()))?;
    if let Some(picture) = picture {
        let strangest = examples.gather(verbs::strangest(&scores, by).into_iter().take(top));
        verbs::write_picture(model, "the strangest, the strangest first", &strangest, 8, picture)?;
    }
    Ok(())
}

fn calibrate(
    model: Model<f32>,
    place: &Path,
    (data, count): (&str, usize),
    options: &CalibrateOptions,
    (stop, quiet): (&AtomicBool, bool),
) -> Result<()> {
    let examples = verbs::read_examples(&model, data, false)?;
    let last = examples.gather(examples.rows().saturating_sub(count)..examples.rows());
    let mut bar = Bar::new(quiet);
    let judged = learn::calibrate(&model, &last, options, stop, &mut bar);
    bar.finish();
    let judged = judged?;
    let page = learn::write_calibrated(model, place, &judged, (data, last.rows()), options)?;
    if !quiet {
        say!("factor   score of what was hidden   within 68 %   within 95 %   calibrated");
        for learn::Judged { factor, score, within, error, calibrated } in &judged {
            let share = |i: usize| format!("{:.1} +- {:.1}", 100.0 * within[i], 100.0 * error[i]);
            let verdict = if *calibrated { "yes" } else { "no" };
            say!("{factor:<9}{score:<27.5}{:<14}{:<14}{verdict}", share(0), share(1));
        }
        let why = if judged[0].calibrated {
            "calibrated, and as sharp as any that is, as far as these examples can tell"
        } else {
            "which misses what intervals promise least: none is calibrated"
        };
        say!("\nfactor     {}, {why}; it is in the model now", judged[0].factor);
    }
    if let (Some(page), false) = (page, quiet) {
        say!("report     {}", link(&page));
    }
    Ok(())
}

fn reconstruct(
    model: &Model<f32>,
    data: &str,
    (options, overwrite): (&ReconstructOptions, bool),
    stop: &AtomicBool,
    quiet: bool,
) -> Result<()> {
    let data = verbs::read_examples(model, data, true)?;
    let hold = learn::take_reconstruction_folder(&options.directory, overwrite)?;
    let mut bar = Bar::new(quiet);
    let found = learn::reconstruct(model, &data, options, stop, &mut bar);
    bar.finish();
    let found = found?;
    learn::write_reconstructions(model, &data, &found, options, &hold)?;
    if !quiet {
        say!("results  {}", options.directory.display());
        say!("report   {}", link(&options.directory.join("report.html")));
    }
    Ok(())
}
