//! Run files from Python.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use lookback::run::{Options, Outcome, Silent};
use lookback::runfile::RunFile;
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

/// Explains what a run file would do, without doing it.
#[pyfunction]
pub(crate) fn check(py: Python<'_>, file: PathBuf) -> PyResult<String> {
    py.detach(|| lookback::explain(&RunFile::load(&file)?)).map_err(|error: lookback::Error| raise(error))
}
