//! `lookback calibrate`: are the posteriors of a run file right? Data simulated from its prior, ranks of the truths.

mod quantities;
mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lookback_inference::calibration::{Uniformity, distance_rank, rank};
use lookback_inference::{Draw, Method, Number, Posterior, Progress, Workers, diagnostics};
use lookback_operator::random::{Purpose, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::quantities::Quantities;
use crate::problem::Problem;
use crate::run::{Reporter, State, fingerprint};
use crate::runfile::{Precision, RunFile};
use crate::{Error, Result, VERSION, files};

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
    /// True if nothing is more uneven than chance allows among so many quantities (5 % in all; Bonferroni).
    pub fn is_uniform(&self) -> bool {
        let least = self.quantities.iter().map(|q| q.p_value).fold(1.0, f64::min);
        least * self.quantities.len() as f64 >= 0.05
    }

    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.directory.join("report.html")
    }
}

/// What came of one data set: a rank of each quantity, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Ranks(Vec<f64>),
    Failed(String),
}

/// What is kept on disk between data sets.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: String,
    fingerprint: String,
    outcomes: Vec<Outcome>,
}

const STATE: &str = "calibration.bin";

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
    let trial = Trial::new(run, &problem, stop)?;
    let began = std::time::Instant::now();
    let mut kept = open(options, &fingerprint(run, &problem)?)?;
    let place = options.directory.join(STATE);
    while kept.outcomes.len() < options.data_sets {
        let done = kept.outcomes.len();
        let steps = (done as u64, options.data_sets as u64);
        reporter.step(&Progress { steps, message: "posteriors of simulated data".into(), done: false });
        let next = done..(done + rayon::current_num_threads()).min(options.data_sets);
        let outcomes: Vec<Outcome> = next.into_par_iter().map(|which| trial.outcome(which)).collect();
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Busy(format!(
                "stopped on request after {done} data sets; the same command goes on (results in {})",
                options.directory.display()
            )));
        }
        kept.outcomes.extend(outcomes);
        save(&place, &kept)?;
    }
    let calibrated = judge(run, &trial, &kept, options, began.elapsed().as_secs_f64())?;
    write(run, &problem, &calibrated)?;
    Ok(calibrated)
}

/// What there is already, or nothing in a new folder.
fn open(options: &CalibrateOptions, fingerprint: &str) -> Result<Kept> {
    let new = Kept { version: VERSION.into(), fingerprint: fingerprint.into(), outcomes: Vec::new() };
    let folder = &options.directory;
    let place = folder.join(STATE);
    if place.exists() && !options.overwrite {
        let other = || {
            Error::Busy(format!(
                "{} holds the calibration of another run file or version; `--overwrite` starts again, `--output` goes elsewhere",
                folder.display()
            ))
        };
        let body = files::read_sealed(&place)?;
        let kept: Kept = postcard::from_bytes(&body).map_err(|_| other())?;
        return if kept.version == VERSION && kept.fingerprint == fingerprint {
            Ok(kept)
        } else {
            Err(other())
        };
    }
    let foreign = |mut entries: std::fs::ReadDir| entries.next().is_some();
    if !place.exists() && folder.exists() && std::fs::read_dir(folder).map(foreign).unwrap_or(true) {
        let message = "is not empty and not the folder of a calibration; choose another with `--output`";
        return Err(Error::file(folder, message));
    }
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    save(&place, &new)?;
    Ok(new)
}

fn save(place: &Path, kept: &Kept) -> Result<()> {
    let body = postcard::to_stdvec(kept)
        .map_err(|error| Error::file(place, format!("cannot be written: {error}")))?;
    files::write_sealed(place, &body)
}

/// One data set after the other.
struct Trial<'a, T: Number> {
    run: &'a RunFile,
    problem: &'a Problem<T>,
    quantities: Quantities,
    stop: &'a AtomicBool,
    /// Mean and standard deviation of each quantity in the prior: the units of distances.
    units: Vec<(f64, f64)>,
}

/// Draws of the prior that set the units of distances.
const UNITS: u32 = 64;

impl<'a, T: Number> Trial<'a, T> {
    fn new(run: &'a RunFile, problem: &'a Problem<T>, stop: &'a AtomicBool) -> Result<Self> {
        let quantities = Quantities::new(problem);
        let mut trial = Trial { run, problem, quantities, stop, units: Vec::new() };
        let draws: Vec<Vec<f64>> = (0..UNITS)
            .into_par_iter()
            .map(|i| trial.quantities.measure(problem, &problem.posterior, &trial.latent(2 << 30 | i)))
            .collect::<Result<_>>()?;
        // The misfit stands last, and is that of other data: no part of distances.
        trial.units = (0..draws[0].len() - 1)
            .map(|j| {
                let values: Vec<f64> = draws.iter().map(|draw| draw[j]).collect();
                crate::report::analysis::mean_std(&values)
            })
            .collect();
        Ok(trial)
    }

    /// Latents of a universe.
    fn latent(&self, which: u32) -> Vec<T> {
        let mut z = vec![T::zero(); lookback_inference::Target::dim(&self.problem.posterior)];
        Stream::new(self.run.seed, Purpose::Signal, which).fill_normal(&mut z);
        z
    }

    fn outcome(&self, which: usize) -> Outcome {
        match self.ranks(which as u32) {
            Ok(ranks) => Outcome::Ranks(ranks),
            Err(error) => Outcome::Failed(format!("data set {which}: {error}")),
        }
    }

    fn ranks(&self, which: u32) -> Result<Vec<f64>> {
        let z = self.latent(which);
        let posterior = self.problem.posterior.simulated(&z, self.run.seed, which)?;
        let measure = |z: &[T]| self.quantities.measure(self.problem, &posterior, z);
        let truth = measure(&z)?;
        let samples = self.samples(&posterior, which, &measure)?;
        let ties = Stream::new(self.run.seed, Purpose::Survey, 1 << 31 | which);
        let mut ranks: Vec<f64> = (0..truth.len())
            .map(|j| {
                let values: Vec<f64> = samples.iter().map(|sample| sample[j]).collect();
                rank(truth[j], &values, ties.uniform(2 * j as u64))
            })
            .collect();
        let scaled = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(&self.units).map(|(x, (mean, std))| (x - mean) / std.max(1e-300)).collect()
        };
        let reference = scaled(&measure(&self.latent(1 << 30 | which))?);
        let scaled_samples: Vec<Vec<f64>> = samples.iter().map(|sample| scaled(sample)).collect();
        ranks.push(distance_rank(
            &scaled(&truth),
            &scaled_samples,
            &reference,
            ties.uniform(2 * truth.len() as u64),
        ));
        Ok(ranks)
    }

    /// Quantities of independent samples of a posterior.
    fn samples(
        &self,
        posterior: &Posterior<T>,
        which: u32,
        measure: &dyn Fn(&[T]) -> Result<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        let latents = posterior.model().domain();
        // The methods of different data sets are as independent as their data.
        let seed = self.run.seed.wrapping_add(1 + u64::from(which));
        let mut method = State::<T>::new(self.run, latents, seed)?;
        let workers = Workers::new(posterior, self.stop);
        let mut chains: Vec<Vec<Vec<f64>>> = Vec::new();
        loop {
            let mut drawn = Vec::new();
            let progress = method.advance(&workers, &mut |draw| {
                if let Draw::Sample { z, chain, mirror: false, .. } = draw {
                    drawn.push((chain, z));
                }
            })?;
            for (chain, z) in drawn {
                if chains.len() <= chain {
                    chains.resize(chain + 1, Vec::new());
                }
                chains[chain].push(measure(&z)?);
            }
            if progress.done {
                break;
            }
        }
        let effective = if self.run.method.is_markov() { effective(&chains) } else { f64::INFINITY };
        let all: Vec<Vec<f64>> = chains.into_iter().flatten().collect();
        if all.is_empty() {
            let message = format!("`{}` gave no samples", self.run.method.name());
            return Err(Error::config("method", message));
        }
        let keep = (effective as usize).clamp(1, all.len());
        Ok((0..keep).map(|i| all[i * all.len() / keep].clone()).collect())
    }
}

/// The smallest effective sample size over the quantities.
fn effective(chains: &[Vec<Vec<f64>>]) -> f64 {
    let count = chains.first().and_then(|chain| chain.first()).map_or(0, Vec::len);
    let of = |j: usize| -> f64 {
        let values: Vec<Vec<f64>> =
            chains.iter().map(|chain| chain.iter().map(|sample| sample[j]).collect()).collect();
        diagnostics::ess_bulk(&values)
    };
    (0..count).map(of).filter(|ess| ess.is_finite()).fold(f64::INFINITY, f64::min)
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
) -> Result<Calibrated> {
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
    Ok(Calibrated {
        lookback_version: VERSION,
        title: run.title.clone(),
        method: run.method.name().into(),
        seed: run.seed,
        data_sets: ranks.len(),
        failed,
        quantities,
        seconds,
        directory: options.directory.clone(),
    })
}

/// Writes ranks, figures and the report.
fn write<T: Number>(run: &RunFile, problem: &Problem<T>, calibrated: &Calibrated) -> Result<()> {
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
    save("report.html", &report::page(run, problem, calibrated)?)
}

/// Where the results go if nothing else is said.
pub fn default_directory(run: &RunFile) -> PathBuf {
    let directory = PathBuf::from(run.output.directory.as_deref().unwrap_or("runs/run"));
    PathBuf::from("calibrations").join(directory.file_name().unwrap_or_default())
}
