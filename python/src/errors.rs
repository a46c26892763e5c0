//! Errors of Lookback as Python exceptions, in the same words; and work that Ctrl-C can stop.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lookback_operator::Foreign;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    lookback,
    LookbackError,
    PyValueError,
    "Something is wrong with a model, its data or a run."
);

/// How often Ctrl-C is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Any error as a Python exception, whose cause is the exception of a Python function that is behind it.
pub(crate) fn raise(error: impl Into<Box<dyn Error + Send + Sync>>) -> PyErr {
    let error: Box<dyn Error + Send + Sync> = error.into();
    let raised = LookbackError::new_err(error.to_string());
    if let Some(cause) = behind(&*error) {
        Python::attach(|py| raised.set_cause(py, Some(cause.clone_ref(py))));
    }
    raised
}

/// The exception of a Python function that led to an error.
fn behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e PyErr> {
    match error.downcast_ref::<Foreign>() {
        Some(foreign) => foreign.error().downcast_ref(),
        None => behind(error.source()?),
    }
}

/// Runs work on a thread of its own, with the interpreter lock released, until it is done or Ctrl-C sets its flag.
pub(crate) fn interruptible<R: Send, E: Error + Send + Sync + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> Result<R, E> + Send,
) -> PyResult<R> {
    let stop = AtomicBool::new(false);
    let (outcome, signal) = py.detach(|| {
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            let stop = &stop;
            let worker = scope.spawn(move || {
                let outcome = work(stop);
                // The receiver waits for as long as this thread lives.
                sender.send(()).ok();
                outcome
            });
            let mut signal = None;
            while let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(LOOK_EVERY) {
                if let Err(error) = Python::attach(|py| py.check_signals()) {
                    stop.store(true, Ordering::Relaxed);
                    signal = Some(error);
                }
            }
            (worker.join(), signal)
        })
    });
    match (outcome, signal) {
        (Ok(Ok(value)), None) => Ok(value),
        (Ok(Err(error)), Some(signal)) => {
            let interrupt = PyKeyboardInterrupt::new_err(error.to_string());
            interrupt.set_cause(py, Some(signal));
            Err(interrupt)
        }
        (_, Some(signal)) => Err(signal),
        (Ok(Err(error)), None) => Err(raise(error)),
        (Err(_), None) => Err(raise("a thread of the computation ended unexpectedly")),
    }
}
