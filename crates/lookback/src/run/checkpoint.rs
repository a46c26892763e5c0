//! The state of a run on disk, whole and checked.

use std::path::Path;

use lookback_inference::Number;
use serde::{Deserialize, Serialize};

use super::{Recorder, state::State};
use crate::{Result, kept};

/// Everything that a run needs to go on as if it had not stopped.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Checkpoint<T: Number> {
    /// SHA-256 of the resolved run file and of all inputs.
    #[serde(skip)]
    pub fingerprint: String,
    /// The method.
    pub method: State<T>,
    /// What has been found.
    pub recorder: Recorder,
    /// Seconds spent so far, and until the first centre was found.
    pub seconds: f64,
    /// Seconds until the centre was found.
    pub seconds_to_centre: Option<f64>,
    /// Gradients so far.
    pub gradients: u64,
    /// Metric products so far.
    pub metrics: u64,
    /// True if nothing is left to do.
    pub done: bool,
}

impl<T: Number> Checkpoint<T> {
    /// Writes the checkpoint in place of an older one.
    ///
    /// # Errors
    /// If the disk refuses; the older one is still there then.
    pub fn write(&self, path: &Path) -> Result<()> {
        kept::write(path, &self.fingerprint, self)
    }

    /// Reads a checkpoint back.
    ///
    /// # Errors
    /// If it is damaged, from another version or build, or of another run (`fingerprint`).
    pub fn read(path: &Path, fingerprint: &str) -> Result<Checkpoint<T>> {
        let checkpoint = kept::read(path, fingerprint, "run")?;
        Ok(Checkpoint { fingerprint: fingerprint.into(), ..checkpoint })
    }
}
