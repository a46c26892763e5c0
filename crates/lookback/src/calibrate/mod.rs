//! `lookback calibrate`: are the posteriors of a run file right? Data simulated from its prior, ranks of the truths.

mod quantities;
mod report;
mod trial;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use lookback_inference::calibration::Uniformity;
use lookback_inference::{Number, Progress};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::trial::{Outcome, Trial};
use crate::files::Hold;
use crate::problem::Problem;
use crate::run::{Reporter, fingerprint};
use crate::runfile::{Precision, RunFile};
use crate::{Error, Result, VERSION, files, kept};

/// Choices of a calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrateOptions {
    /// Data sets to simulate.
    pub data_sets: usize,
    /// Folder of the results.
    pub directory: PathBuf,
    /// Start again where there are results already.
    pub overwrite: bool,
}

/// How the ranks of one quantity fall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The quantity.
    pub name: String,
    /// Probability that exact posteriors give ranks as uneven as these.
    pub p_value: f64,
    /// Share of truths within the central 68 % and 95 % of the samples.
    pub coverage: [f64; 2],
    /// What it means.
    pub verdict: String,
    /// The ranks, between 0 and 1.
    pub ranks: Vec<f64>,
}

/// A finished calibration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// Version of Lookback.
    pub lookback_version: &'static str,
    /// Title of the run file.
    pub title: String,
    /// Method.
    pub method: String,
    /// Seed of the run file.
    pub seed: u64,
    /// Data sets whose posteriors were found.
    pub data_sets: usize,
    /// Why others were not, a line each.
    pub failed: Vec<String>,
    /// The quantities; the last is the distance to random points in all of them (TARP).
    pub quantities: Vec<Judged>,
    /// Seconds of work in this call.
    pub seconds: f64,
    /// Folder of the results.
    #[serde(skip)]
    pub directory: PathBuf,
}

impl Calibrated {
    /// The smallest probability of all quantities.
    pub fn least_probability(&self) -> f64 {
        self.quantities.iter().map(|q| q.p_value).fold(1.0, f64::min)
    }

    /// True if nothing is more uneven than chance allows among so many quantities (5 % in all; Bonferroni).
    pub fn is_uniform(&self) -> bool {
        self.least_probability() * self.quantities.len() as f64 >= 0.05
    }

    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.directory.join("report.html")
    }
}

/// What is kept on disk between data sets.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// Mean and standard deviation of each quantity in the prior: the units of distances.
    units: Vec<(f64, f64)>,
    outcomes: Vec<Outcome>,
}

/// The file by which the folder of a calibration is known.
pub(crate) const STATE: &str = "calibration.bin";

/// Simulates data from the prior of a run, finds their posteriors as the run file says, and ranks the truths among the samples.
///
/// Simulation-based calibration (Talts et al. 2018) of every parameter, of band powers, of pixels and of the misfit, and the expected
/// coverage of random points (TARP; Lemos et al. 2023). Noise and mask are those of the run file, whose data are not looked at. Samples
/// of Markov chains are thinned to their effective number. Stopped or killed, the same call goes on with what is missing; results do not
/// depend on the number of threads.
///
/// # Errors
/// If the run file is wrong, its method gives no samples, no posterior can be found, or the disk refuses.
pub fn calibrate(
    run: &RunFile,
    options: &CalibrateOptions,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Calibrated> {
    match run.precision {
        Precision::F32 => calibrate_in::<f32>(run, options, stop, reporter),
        Precision::F64 => calibrate_in::<f64>(run, options, stop, reporter),
    }
}

/// Fewest data sets that say anything.
const FEWEST: usize = 10;

fn calibrate_in<T: Number>(
    run: &RunFile,
    options: &CalibrateOptions,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Calibrated> {
    let run = &run.absolute()?;
    if options.data_sets < FEWEST {
        let message =
            format!("{} data sets say nothing; at least {FEWEST}, better 100 or more", options.data_sets);
        return Err(Error::config("calibrate", message));
    }
    if crate::explain::sample_count(&run.method) == 0 {
        let message =
            format!("`{}` has no samples here to rank truths among; ask for 50 or more", run.method.name());
        return Err(Error::config("method", message));
    }
    let problem = Problem::<T>::build(run)?;
    crate::run::prepare(run, &problem)?;
    crate::memory::check_run(run, &problem, rayon::current_num_threads().min(options.data_sets))?;
    let mut trial = Trial::new(run, &problem, stop);
    let began = std::time::Instant::now();
    let fingerprint = fingerprint(run, &problem)?;
    let (_hold, mut kept) = open(options, &fingerprint)?;
    let place = options.directory.join(STATE);
    if kept.units.is_empty() {
        let message = "quantities of the prior".into();
        reporter.step(&Progress { steps: (0, options.data_sets as u64), message, done: false });
        kept.units = trial.units()?;
        kept::write(&place, &fingerprint, &kept)?;
    }
    trial.units.clone_from(&kept.units);
    while kept.outcomes.len() < options.data_sets {
        let done = kept.outcomes.len();
        let steps = (done as u64, options.data_sets as u64);
        reporter.step(&Progress { steps, message: "posteriors of simulated data".into(), done: false });
        let next = done..(done + rayon::current_num_threads()).min(options.data_sets);
        let outcomes: Vec<Outcome> = next.into_par_iter().map(|which| trial.outcome(which)).collect();
        if stop.load(Ordering::Relaxed) {
            let folder = options.directory.display();
            let goes_on = format!("{done} data sets are in {folder}, and the same command goes on with them");
            return Err(Error::Interrupted { goes_on });
        }
        kept.outcomes.extend(outcomes);
        kept::write(&place, &fingerprint, &kept)?;
    }
    let (calibrated, uniformity) = judge(run, &trial, &kept, options, began.elapsed().as_secs_f64())?;
    write(run, &problem, &calibrated, &uniformity)?;
    Ok(calibrated)
}

/// What there is already, or nothing in a new folder.
fn open(options: &CalibrateOptions, fingerprint: &str) -> Result<(Hold, Kept)> {
    let folder = &options.directory;
    let place = folder.join(STATE);
    let hold = files::take_folder(folder, place.exists(), "a calibration", &[])?;
    if place.exists() && !options.overwrite {
        return Ok((hold, kept::read(&place, fingerprint, "calibration")?));
    }
    let new = Kept::default();
    kept::write(&place, fingerprint, &new)?;
    Ok((hold, new))
}

/// What ranks say, in words.
fn verdict(ranks: &[f64], p_value: f64) -> String {
    if p_value >= 0.05 {
        return "uniform".into();
    }
    let n = ranks.len() as f64;
    let mean = ranks.iter().sum::<f64>() / n;
    let variance = ranks.iter().map(|r| (r - 0.5).powi(2)).sum::<f64>() / n;
    // In units of what chance gives: the mean scatters by sqrt(1 / 12 n), the second moment by sqrt(1 / 180 n).
    let (shift, width) = ((mean - 0.5) * (12.0 * n).sqrt(), (variance - 1.0 / 12.0) * (180.0 * n).sqrt());
    let mut words = Vec::new();
    if width.abs() > 2.0 {
        words.push(if width > 0.0 { "posterior too narrow" } else { "posterior too wide" });
    }
    if shift.abs() > 2.0 {
        words.push(if shift > 0.0 { "samples too low" } else { "samples too high" });
    }
    let found = if words.is_empty() { "uneven".to_string() } else { words.join(", ") };
    if p_value > 0.005 { format!("perhaps {found}") } else { found }
}

fn judge<T: Number>(
    run: &RunFile,
    trial: &Trial<'_, T>,
    kept: &Kept,
    options: &CalibrateOptions,
    seconds: f64,
) -> Result<(Calibrated, Uniformity)> {
    let some = &kept.outcomes[..options.data_sets];
    let ranks: Vec<&Vec<f64>> =
        some.iter().filter_map(|o| if let Outcome::Ranks(ranks) = o { Some(ranks) } else { None }).collect();
    let failed: Vec<String> = some
        .iter()
        .filter_map(|o| if let Outcome::Failed(why) = o { Some(why.clone()) } else { None })
        .collect();
    if ranks.len() < FEWEST {
        let first = failed.first().map_or("", String::as_str);
        let message = format!("only {} of {} posteriors were found; {first}", ranks.len(), some.len());
        return Err(Error::config("calibrate", message));
    }
    let uniformity = Uniformity::new(ranks.len());
    let names = trial.quantities.names.iter().cloned().chain(["distance to random points (TARP)".into()]);
    let quantities = names
        .enumerate()
        .map(|(j, name)| {
            let ranks: Vec<f64> = ranks.iter().map(|ranks| ranks[j]).collect();
            let p_value = uniformity.p_value(&ranks);
            let within = |level: f64| {
                ranks.iter().filter(|r| (*r - 0.5).abs() < 0.5 * level).count() as f64 / ranks.len() as f64
            };
            let verdict = verdict(&ranks, p_value);
            Judged { name, p_value, coverage: [within(0.68), within(0.95)], verdict, ranks }
        })
        .collect();
    let calibrated = Calibrated {
        lookback_version: VERSION,
        title: run.title.clone(),
        method: run.method.name().into(),
        seed: run.seed,
        data_sets: ranks.len(),
        failed,
        quantities,
        seconds,
        directory: options.directory.clone(),
    };
    Ok((calibrated, uniformity))
}

/// Writes ranks, figures and the report.
fn write<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    calibrated: &Calibrated,
    uniformity: &Uniformity,
) -> Result<()> {
    let save = |name: &str, text: &str| {
        files::write_whole(&calibrated.directory.join(name), |out| out.write_all(text.as_bytes()))
    };
    let quoted = |name: &String| format!("\"{name}\"");
    let names: Vec<String> = calibrated.quantities.iter().map(|q| quoted(&q.name)).collect();
    let mut table = names.join(",") + "\n";
    for i in 0..calibrated.data_sets {
        let row: Vec<String> = calibrated.quantities.iter().map(|q| q.ranks[i].to_string()).collect();
        table += &(row.join(",") + "\n");
    }
    save("ranks.csv", &table)?;
    save("config.toml", &run.to_toml()?)?;
    let json = serde_json::to_string_pretty(calibrated)
        .map_err(|error| Error::file(&calibrated.directory, error.to_string()))?;
    save("calibration.json", &(json + "\n"))?;
    save("report.html", &report::page(run, problem, calibrated, uniformity)?)
}

/// Where the results go if nothing else is said.
pub fn default_directory(run: &RunFile) -> PathBuf {
    let directory = PathBuf::from(run.output.directory.as_deref().unwrap_or("runs/run"));
    PathBuf::from("calibrations").join(directory.file_name().unwrap_or_default())
}
