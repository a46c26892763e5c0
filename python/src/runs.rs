//! Run files from Python.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use lookback::calibrate::{CalibrateOptions, Calibrated, default_directory};
use lookback::run::{Options, Outcome, Silent};
use lookback::runfile::RunFile;
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

/// Compares finished runs of the same data by evidence and by cross-validation: a list of dicts, the best first.
#[pyfunction]
pub(crate) fn compare(py: Python<'_>, directories: Vec<PathBuf>) -> PyResult<Bound<'_, PyAny>> {
    let candidates = py.detach(|| lookback::compare::compare(&directories)).map_err(raise)?;
    let text = lookback::compare::to_json(&candidates).map_err(raise)?;
    py.import("json")?.call_method1("loads", (text,))
}

/// Explains what a run file would do, without doing it.
#[pyfunction]
pub(crate) fn check(py: Python<'_>, file: PathBuf) -> PyResult<String> {
    py.detach(|| lookback::explain(&RunFile::load(&file)?)).map_err(|error: lookback::Error| raise(error))
}
