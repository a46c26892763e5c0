//! The loop of a run: advance, record, save, and end in a report.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lookback_inference::{Method, Number, Progress, Target, Workers};

use super::checkpoint::Checkpoint;
use super::outputs;
use super::state::State;
use super::{Folder, Recorder, Summary};
use crate::problem::Problem;
use crate::report::analysis::Analysis;
use crate::runfile::{MethodSection, OutputSection, Precision, ReportSection, RunFile};
use crate::{Error, Result, VERSION, files, report};

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
    decisive.output = OutputSection { samples: run.output.samples, ..Default::default() };
    decisive.report = ReportSection { peak_fwhm_arcmin: run.report.peak_fwhm_arcmin, ..Default::default() };
    let inputs: String = problem.inputs.iter().map(|input| input.sha256.as_str()).collect();
    Ok(files::sha256(format!("{}{inputs}", decisive.to_toml()?).as_bytes()))
}

fn checkpoint_interval(run: &RunFile) -> Result<Duration> {
    let seconds = run.output.checkpoint_seconds;
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| Error::config("output", format!("`checkpoint_seconds` = {seconds}: {error}")))
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
    if run.precondition.is_some() && !run.method.is_markov() {
        let message = format!(
            "is for Markov chains (`hmc`, `mala`, `mams`, `nuts`, `mclmc`), and not for `{}`",
            run.method.name()
        );
        return Err(Error::config("precondition", message));
    }
    Ok(Checkpoint {
        version: VERSION.into(),
        fingerprint: fingerprint(run, problem)?,
        method: State::new(run, problem.posterior.model().domain(), run.seed)
            .map_err(|error| Error::config("method", error.to_string()))?,
        recorder: Recorder::new(problem)?,
        stored: 0,
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
    let summary = Summary::new(run, &problem, &checkpoint, &analysis);
    summary.write(&folder.file("summary.json"))?;
    report::write(run, &problem, &checkpoint.recorder, &analysis, &summary, &folder.file("report.html"))?;
    Ok(Outcome { directory: folder.path().to_path_buf(), summary })
}

/// The file that sample maps are appended to.
struct SampleFile(Option<(File, PathBuf)>);

impl SampleFile {
    /// Opens the file with `stored` maps in it; what came after the checkpoint is cut off.
    fn open(folder: &Folder, wanted: bool, stored: u64, pixels: usize) -> Result<SampleFile> {
        if !wanted {
            return Ok(SampleFile(None));
        }
        let place = folder.file("samples.raw");
        let open = || -> std::io::Result<File> {
            let file = File::options().create(true).append(true).open(&place)?;
            let wanted = stored * 4 * pixels as u64;
            if file.metadata()?.len() < wanted {
                let message =
                    "it holds fewer samples than the checkpoint counts; start again with `--overwrite`";
                return Err(std::io::Error::other(message));
            }
            file.set_len(wanted)?;
            Ok(file)
        };
        let file = open().map_err(Error::io("write", &place))?;
        Ok(SampleFile(Some((file, place))))
    }

    fn append(&mut self, map: &[f32]) -> Result<u64> {
        let Some((file, place)) = &mut self.0 else { return Ok(0) };
        let bytes: Vec<u8> = map.iter().flat_map(|x| x.to_le_bytes()).collect();
        file.write_all(&bytes).map_err(Error::io("write", place))?;
        Ok(1)
    }

    fn sync(&mut self) -> Result<()> {
        match &self.0 {
            Some((file, place)) => file.sync_data().map_err(Error::io("write", place)),
            None => Ok(()),
        }
    }
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
        let mut samples =
            SampleFile::open(&folder, run.output.samples, checkpoint.stored, problem.grid.len())?;
        work(run, problem, &mut checkpoint, &mut samples, &place, options, reporter).map_err(|error| {
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
    let summary = Summary::new(run, problem, &checkpoint, &analysis);
    outputs::write(run, problem, &checkpoint, &analysis, &summary, &folder)?;
    report::write(run, problem, &checkpoint.recorder, &analysis, &summary, &folder.file("report.html"))?;
    folder.log(&format!("finished: {:.2} seconds of inference", checkpoint.seconds))?;
    Ok(Outcome { directory: folder.path().to_path_buf(), summary })
}

fn work<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    checkpoint: &mut Checkpoint<T>,
    samples: &mut SampleFile,
    place: &Path,
    options: &Options<'_>,
    reporter: &mut dyn Reporter,
) -> Result<()> {
    let interval = checkpoint_interval(run)?;
    let workers = Workers::new(&problem.posterior, options.stop);
    let (gradients, metrics, seconds) = (checkpoint.gradients, checkpoint.metrics, checkpoint.seconds);
    let began = Instant::now();
    let mut saved = Instant::now();
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
                samples.sync()?;
                checkpoint.write(place)?;
                return Err(error.into());
            }
        };
        for draw in draws {
            if let lookback_inference::Draw::Centre { .. } = draw {
                checkpoint.seconds_to_centre = Some(checkpoint.seconds);
            }
            if let Some(map) = checkpoint.recorder.take(problem, draw)? {
                checkpoint.stored += samples.append(&map)?;
            }
        }
        checkpoint.done = progress.done;
        reporter.step(&progress);
        if checkpoint.done || saved.elapsed() >= interval {
            samples.sync()?;
            checkpoint.write(place)?;
            saved = Instant::now();
        }
    }
    Ok(())
}
