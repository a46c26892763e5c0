//! Run files from Python.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use lookback::calibrate::{CalibrateOptions, Calibrated, default_directory};
use lookback::nbody::Sharpening;
use lookback::run::{Options, Outcome, Silent};
use lookback::runfile::RunFile;
use lookback::sharpen::{self as sharpening, SharpenOptions};
use lookback::simulate::{SimulateFile, simulate};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{interruptible, raise};

/// Summary as a dict, with the folder of the results under `directory`.
fn summary<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (name, value) in outcome.summary.entries() {
        if let Some(number) = value.as_f64() {
            out.set_item(name, number)?;
        } else if let Some(text) = value.as_str() {
            out.set_item(name, text)?;
        }
    }
    out.set_item("directory", outcome.directory.to_string_lossy())?;
    Ok(out)
}

/// Carries out a run file and returns its figures. Ctrl-C stops at once and leaves a checkpoint.
#[pyfunction]
#[pyo3(signature = (file, *, output = None, overwrite = false))]
pub(crate) fn run<'py>(
    py: Python<'py>,
    file: PathBuf,
    output: Option<PathBuf>,
    overwrite: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let outcome = interruptible(py, move |stop: &AtomicBool| {
        let mut run = RunFile::load(&file)?;
        if let Some(output) = output {
            run.output.directory = Some(output.to_string_lossy().into_owned());
        }
        lookback::run::start(&run, &Options { overwrite, stop }, &mut Silent)
    })?;
    summary(py, &outcome)
}

/// Goes on with a run that was stopped or killed.
#[pyfunction]
pub(crate) fn resume<'py>(py: Python<'py>, directory: PathBuf) -> PyResult<Bound<'py, PyDict>> {
    let outcome = interruptible(py, move |stop: &AtomicBool| {
        lookback::run::resume(&directory, &Options { overwrite: false, stop }, &mut Silent)
    })?;
    summary(py, &outcome)
}

/// Tests the posteriors of a run file on data simulated from its prior: ranks of the truths, and how likely exact posteriors are to
/// give ranks as uneven. Interrupted, the same call goes on.
#[pyfunction]
#[pyo3(signature = (file, *, data_sets = 100, output = None, overwrite = false))]
pub(crate) fn calibrate<'py>(
    py: Python<'py>,
    file: PathBuf,
    data_sets: usize,
    output: Option<PathBuf>,
    overwrite: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let calibrated: Calibrated = interruptible(py, move |stop: &AtomicBool| {
        let run = RunFile::load(&file)?;
        let directory = output.unwrap_or_else(|| default_directory(&run));
        let options = CalibrateOptions { data_sets, directory, overwrite };
        lookback::calibrate::calibrate(&run, &options, stop, &mut Silent)
    })?;
    let out = PyDict::new(py);
    out.set_item("uniform", calibrated.is_uniform())?;
    out.set_item("data_sets", calibrated.data_sets)?;
    out.set_item("failed", &calibrated.failed)?;
    out.set_item("directory", calibrated.directory.to_string_lossy())?;
    let quantities = PyDict::new(py);
    for quantity in &calibrated.quantities {
        let judged = PyDict::new(py);
        judged.set_item("p_value", quantity.p_value)?;
        judged.set_item("coverage_68", quantity.coverage[0])?;
        judged.set_item("coverage_95", quantity.coverage[1])?;
        judged.set_item("verdict", &quantity.verdict)?;
        judged.set_item("ranks", PyArray1::from_slice(py, &quantity.ranks))?;
        quantities.set_item(&quantity.name, judged)?;
    }
    out.set_item("quantities", quantities)?;
    Ok(out)
}

/// Compares finished runs of the same data by evidence and by cross-validation: a list of dicts, the best first. With `page`, a file, their maps and
/// spectra are drawn side by side there, in HTML.
#[pyfunction]
#[pyo3(signature = (directories, *, page = None))]
pub(crate) fn compare(
    py: Python<'_>,
    directories: Vec<PathBuf>,
    page: Option<PathBuf>,
) -> PyResult<Bound<'_, PyAny>> {
    let compared = || {
        let candidates = lookback::compare::compare(&directories)?;
        let Some(path) = page else { return lookback::compare::judged(candidates) };
        let text = lookback::compare::page(&candidates)?;
        lookback::files::write_whole(&path, |out| out.write_all(text.as_bytes()))?;
        Ok(candidates)
    };
    let candidates = py.detach(compared).map_err(raise)?;
    let text = lookback::compare::to_json(&candidates).map_err(raise)?;
    py.import("json")?.call_method1("loads", (text,))
}

/// Explains what a run file would do, without doing it.
#[pyfunction]
pub(crate) fn check(py: Python<'_>, file: PathBuf) -> PyResult<String> {
    py.detach(|| lookback::explain(&RunFile::load(&file)?)).map_err(|error: lookback::Error| raise(error))
}

/// Simulates the universes of a file for `lookback simulate` that are not there yet: maps, spectra and a report in the folder that is
/// returned as `directory`, with the number of `realisations`, the `seconds` of the new ones, and `notes` of what one should know. Ctrl-C stops after the universe at hand; the same
/// call goes on.
#[pyfunction]
#[pyo3(signature = (file, *, output = None, overwrite = false))]
pub(crate) fn simulate_file<'py>(
    py: Python<'py>,
    file: PathBuf,
    output: Option<PathBuf>,
    overwrite: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let simulated = interruptible(py, move |stop: &AtomicBool| -> lookback::Result<_> {
        let mut file = SimulateFile::load(&file)?;
        if let Some(output) = output {
            file.output.directory = Some(output.to_string_lossy().into_owned());
        }
        simulate(&file, overwrite, stop, &mut Silent)
    })?;
    let out = PyDict::new(py);
    out.set_item("directory", simulated.directory.to_string_lossy())?;
    out.set_item("report", simulated.report().to_string_lossy())?;
    out.set_item("realisations", simulated.realisations.1)?;
    out.set_item("seconds", simulated.seconds)?;
    out.set_item("notes", simulated.notes)?;
    Ok(out)
}

/// Fits the sharpening of a simulation file to halofit: a dict for its section `sharpening`, and the rms of `P / theory - 1` before
/// and after. The picture and the table are in the folder `output`.
#[pyfunction]
#[pyo3(signature = (file, *, snapshots = 3, start = 0.5, k_min = None, k_max = None, output = None))]
pub(crate) fn sharpen<'py>(
    py: Python<'py>,
    file: PathBuf,
    snapshots: usize,
    start: f64,
    k_min: Option<f64>,
    k_max: Option<f64>,
    output: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let directory = output.unwrap_or_else(|| sharpening::default_directory(&file));
    let options = SharpenOptions { snapshots, from: start, k_min, k_max, directory };
    let fitted = interruptible(py, move |stop: &AtomicBool| {
        sharpening::sharpen(&SimulateFile::load(&file)?, &options, stop, &mut Silent)
    })?;
    let section = PyDict::new(py);
    let Sharpening { alpha, mu, kl, ks } = fitted.sharpening;
    for (name, value) in [("alpha", alpha), ("mu", mu), ("kl", kl), ("ks", ks)] {
        section.set_item(name, value)?;
    }
    let out = PyDict::new(py);
    out.set_item("sharpening", section)?;
    out.set_item("off_before", fitted.off.0)?;
    out.set_item("off_after", fitted.off.1)?;
    out.set_item("directory", fitted.directory.to_string_lossy())?;
    Ok(out)
}
