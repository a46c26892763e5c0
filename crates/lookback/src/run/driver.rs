//! The loop of a run: advance, record, save, and end in a report.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lookback_inference::{Method, Number, Progress, Target, Workers};

use super::checkpoint::Checkpoint;
use super::cross_validation::{CrossValidation, FILE as CROSS_VALIDATION};
use super::live::Live;
use super::outputs;
use super::rows::{Kept, LOG_DENSITIES};
use super::state::State;
use super::{Folder, Recorder, Summary};
use crate::problem::Problem;
use crate::report::analysis::Analysis;
use crate::runfile::{MethodSection, OutputSection, Precision, ReportSection, RunFile};
use crate::{Error, Result, VERSION, files, memory, report};

/// Who hears how far a run has come.
pub trait Reporter {
    /// A step has been done.
    fn step(&mut self, progress: &Progress);
    /// Something worth a line.
    fn note(&mut self, line: &str);
}

/// Hears nothing.
pub struct Silent;

impl Reporter for Silent {
    fn step(&mut self, _: &Progress) {}
    fn note(&mut self, _: &str) {}
}

/// How a run is carried out.
pub struct Options<'a> {
    /// Start again where there are results already.
    pub overwrite: bool,
    /// Set from outside to end the run at once, with a checkpoint.
    pub stop: &'a AtomicBool,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its folder.
    pub directory: PathBuf,
    /// Its figures.
    pub summary: Summary,
}

impl Outcome {
    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.directory.join("report.html")
    }
}

/// Starts a run.
///
/// # Errors
/// If anything in the run file, the data or the model is wrong (then nothing has been written), the folder is taken,
/// the disk refuses, or the user stops it (then there is a checkpoint).
pub fn start(run: &RunFile, options: &Options<'_>, reporter: &mut dyn Reporter) -> Result<Outcome> {
    match run.precision {
        Precision::F32 => start_in::<f32>(run, options, reporter),
        Precision::F64 => start_in::<f64>(run, options, reporter),
    }
}

/// Goes on with a run that was stopped or killed; the result is that of an unbroken one.
///
/// # Errors
/// As [`start`], and if there is nothing to go on with.
pub fn resume(directory: &Path, options: &Options<'_>, reporter: &mut dyn Reporter) -> Result<Outcome> {
    let folder = Folder::open(directory)?;
    let run = saved_run(directory)?;
    match run.precision {
        Precision::F32 => resume_in::<f32>(&run, folder, options, reporter),
        Precision::F64 => resume_in::<f64>(&run, folder, options, reporter),
    }
}

/// Draws the report of a run again from its checkpoint.
///
/// # Errors
/// If the run is not finished or its inputs have changed.
pub fn redraw(directory: &Path) -> Result<Outcome> {
    let folder = Folder::open(directory)?;
    let run = saved_run(directory)?;
    match run.precision {
        Precision::F32 => redraw_in::<f32>(&run, &folder),
        Precision::F64 => redraw_in::<f64>(&run, &folder),
    }
}

fn saved_run(directory: &Path) -> Result<RunFile> {
    let mut run = RunFile::load(&directory.join("config.toml"))?;
    run.output.directory = Some(directory.to_string_lossy().into_owned());
    Ok(run)
}

/// SHA-256 of everything that decides the result.
pub(crate) fn fingerprint<T: Number>(run: &RunFile, problem: &Problem<T>) -> Result<String> {
    let mut decisive = run.clone();
    decisive.output = OutputSection {
        samples: run.output.samples,
        log_likelihood: run.output.log_likelihood,
        ..Default::default()
    };
    decisive.report = ReportSection { peak_fwhm_arcmin: run.report.peak_fwhm_arcmin, ..Default::default() };
    Ok(digest(&decisive.to_toml()?, problem))
}

/// SHA-256 of a text and of all inputs.
fn digest<T: Number>(text: &str, problem: &Problem<T>) -> String {
    let inputs: String = problem.inputs.iter().map(|input| input.sha256.as_str()).collect();
    files::sha256(format!("{text}{inputs}").as_bytes())
}

/// SHA-256 of the model that a run takes its data for, whatever the method.
pub(super) fn model_digest<T: Number>(run: &RunFile, problem: &Problem<T>) -> Result<String> {
    let RunFile { sky, prior, forward, data, likelihood, .. } = run;
    let text = serde_json::to_string(&(sky, prior, forward, data, likelihood))
        .map_err(|error| Error::config("run", format!("cannot be written as JSON: {error}")))?;
    Ok(digest(&text, problem))
}

fn checkpoint_interval(run: &RunFile) -> Result<Duration> {
    let seconds = run.output.checkpoint_seconds;
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| Error::config("output", format!("`checkpoint_seconds` = {seconds}: {error}")))
}

/// Refuses a warm start that makes no sense.
fn check_warm_start(run: &RunFile) -> Result<()> {
    let Some(start) = &run.warm_start else { return Ok(()) };
    let message = if !run.method.is_sampler() {
        format!(
            "is for Markov chains (`hmc`, `mala`, `mams`, `nuts`, `mclmc`), and not for `{}`",
            run.method.name()
        )
    } else if !start.is_approximation() {
        format!(
            "must be an approximation (`map`, `mgvi`, `geovi`, `el2o`, `pathfinder`, `smc`, `wiener`), and not `{}`",
            start.name()
        )
    } else {
        return Ok(());
    };
    Err(Error::config("warm_start", message))
}

/// The state of a run that has not begun, if nothing speaks against it.
///
/// # Errors
/// If an option is out of range, or the method does not suit the model.
pub(crate) fn prepare<T: Number>(run: &RunFile, problem: &Problem<T>) -> Result<Checkpoint<T>> {
    checkpoint_interval(run)?;
    if matches!(run.method, MethodSection::Wiener(_)) && !problem.posterior.is_quadratic() {
        let message = "`wiener` is exact for a linear model with Gaussian noise, and this one is not; choose `mgvi`, `hmc` or `map`";
        return Err(Error::config("method", message));
    }
    if run.precondition.is_some() && !run.method.is_sampler() {
        let message = format!(
            "is for Markov chains (`hmc`, `mala`, `mams`, `nuts`, `mclmc`), and not for `{}`",
            run.method.name()
        );
        return Err(Error::config("precondition", message));
    }
    check_warm_start(run)?;
    memory::check_run(run, problem, 1)?;
    Ok(Checkpoint {
        fingerprint: fingerprint(run, problem)?,
        method: State::new(run, problem.posterior.model().domain(), run.seed)
            .map_err(|error| Error::config("method", error.to_string()))?,
        recorder: Recorder::new(run, problem)?,
        seconds: 0.0,
        seconds_to_centre: None,
        gradients: 0,
        metrics: 0,
        done: false,
    })
}

fn start_in<T: Number>(run: &RunFile, options: &Options<'_>, reporter: &mut dyn Reporter) -> Result<Outcome> {
    // Paths that hold from anywhere: the saved run file must be this very run.
    let run = &run.absolute()?;
    let problem = Problem::<T>::build(run)?;
    let checkpoint = prepare(run, &problem)?;
    let directory = PathBuf::from(run.output.directory.as_deref().unwrap_or("runs/run"));
    let folder = Folder::create(&directory, options.overwrite)?;
    let text = run.to_toml()?;
    files::write_whole(&folder.file("config.toml"), |out| out.write_all(text.as_bytes()))?;
    folder.log(&format!("lookback {VERSION}: {} begins, seed {}", run.method.name(), run.seed))?;
    for note in &problem.notes {
        folder.log(note)?;
        reporter.note(note);
    }
    carry_on(run, &problem, checkpoint, folder, options, reporter)
}

fn resume_in<T: Number>(
    run: &RunFile,
    folder: Folder,
    options: &Options<'_>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome> {
    let problem = Problem::<T>::build(run)?;
    let place = folder.file("checkpoint.bin");
    let checkpoint = if place.exists() {
        Checkpoint::read(&place, &fingerprint(run, &problem)?)?
    } else {
        reporter.note("no checkpoint yet: from the beginning");
        prepare(run, &problem)?
    };
    folder.log(&format!("goes on after {:.1} seconds of work", checkpoint.seconds))?;
    carry_on(run, &problem, checkpoint, folder, options, reporter)
}

fn redraw_in<T: Number>(run: &RunFile, folder: &Folder) -> Result<Outcome> {
    let problem = Problem::<T>::build(run)?;
    let place = folder.file("checkpoint.bin");
    if !place.exists() {
        return Err(Error::file(
            folder.path(),
            "has no checkpoint yet; `lookback resume` goes on with the run",
        ));
    }
    let checkpoint = Checkpoint::<T>::read(&place, &fingerprint(run, &problem)?)?;
    if !checkpoint.done {
        return Err(Error::file(folder.path(), "is not finished; `lookback resume` goes on with it"));
    }
    let analysis = Analysis::new(run, &problem, &checkpoint.recorder)?;
    let left_out = cross_validation(run, &checkpoint, folder)?;
    let summary = Summary::new(run, &problem, &checkpoint, &analysis, left_out.as_ref());
    summary.write(&folder.file("summary.json"))?;
    report::write(run, &problem, &checkpoint.recorder, &analysis, &summary, &folder.file("report.html"))?;
    Ok(Outcome { directory: folder.path().to_path_buf(), summary })
}

fn carry_on<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    mut checkpoint: Checkpoint<T>,
    folder: Folder,
    options: &Options<'_>,
    reporter: &mut dyn Reporter,
) -> Result<Outcome> {
    let place = folder.file("checkpoint.bin");
    if !checkpoint.done {
        let mut kept = Kept::open(&folder, run, problem, checkpoint.recorder.samples)?;
        work(run, problem, &mut checkpoint, &mut kept, &place, options, reporter).map_err(|error| {
            folder.log(&format!("ends early: {error}")).ok();
            match error {
                Error::Inference(lookback_inference::Error::Interrupted) => {
                    let goes_on = format!("go on with `lookback resume {}`", folder.path().display());
                    Error::Interrupted { goes_on }
                }
                other => other,
            }
        })?;
    }
    let analysis = Analysis::new(run, problem, &checkpoint.recorder)?;
    let left_out = cross_validation(run, &checkpoint, &folder)?;
    let summary = Summary::new(run, problem, &checkpoint, &analysis, left_out.as_ref());
    outputs::write(run, problem, &checkpoint, &analysis, &summary, &folder)?;
    report::write(run, problem, &checkpoint.recorder, &analysis, &summary, &folder.file("report.html"))?;
    folder.log(&format!("finished: {:.2} seconds of inference", checkpoint.seconds))?;
    Ok(Outcome { directory: folder.path().to_path_buf(), summary })
}

/// What leaving data out says, if their densities were kept; found once and read again later.
fn cross_validation<T: Number>(
    run: &RunFile,
    checkpoint: &Checkpoint<T>,
    folder: &Folder,
) -> Result<Option<CrossValidation>> {
    let (raw, table) = (folder.file(LOG_DENSITIES), folder.file(CROSS_VALIDATION));
    let draws = checkpoint.recorder.samples;
    if !run.output.log_likelihood || draws < 2 {
        return Ok(None);
    }
    if !raw.exists() {
        return CrossValidation::read(&table).map(Some);
    }
    let found = CrossValidation::of_draws(&raw, draws)?;
    found.write(&table)?;
    Ok(Some(found))
}

fn work<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    checkpoint: &mut Checkpoint<T>,
    kept: &mut Kept,
    place: &Path,
    options: &Options<'_>,
    reporter: &mut dyn Reporter,
) -> Result<()> {
    let interval = checkpoint_interval(run)?;
    let workers = Workers::new(&problem.posterior, options.stop);
    let (gradients, metrics, seconds) = (checkpoint.gradients, checkpoint.metrics, checkpoint.seconds);
    let began = Instant::now();
    let mut saved = Instant::now();
    let mut live = Live::new(run.method.is_markov());
    while !checkpoint.done {
        let mut draws = Vec::new();
        let progress = checkpoint.method.advance(&workers, &mut |draw| draws.push(draw));
        let (new_gradients, new_metrics) = workers.counts();
        (checkpoint.gradients, checkpoint.metrics) = (gradients + new_gradients, metrics + new_metrics);
        checkpoint.seconds = seconds + began.elapsed().as_secs_f64();
        let progress = match progress {
            Ok(progress) => progress,
            Err(error) => {
                // The state is that before the step: worth keeping, whatever happened.
                kept.sync()?;
                checkpoint.write(place)?;
                return Err(error.into());
            }
        };
        for draw in draws {
            if let lookback_inference::Draw::Centre { .. } = draw {
                checkpoint.seconds_to_centre = Some(checkpoint.seconds);
            }
            if let Some(record) = checkpoint.recorder.take(problem, draw)? {
                kept.append(&record)?;
            }
        }
        checkpoint.done = progress.done;
        reporter.step(&live.tell(progress, &checkpoint.recorder, new_gradients));
        if checkpoint.done || saved.elapsed() >= interval {
            kept.sync()?;
            checkpoint.write(place)?;
            saved = Instant::now();
        }
    }
    Ok(())
}
