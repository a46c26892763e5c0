//! The state of a run on disk, whole and checked.

use std::path::Path;

use lookback_inference::Number;
use serde::{Deserialize, Serialize};

use super::{Recorder, state::State};
use crate::{Error, Result, VERSION, files};

/// Everything that a run needs to go on as if it had not stopped.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Checkpoint<T: Number> {
    /// Version of Lookback that wrote it.
    pub version: String,
    /// SHA-256 of the resolved run file and of all inputs.
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
        let body = postcard::to_stdvec(self)
            .map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
        files::write_sealed(path, &body)
    }

    /// Reads a checkpoint back.
    ///
    /// # Errors
    /// If it is damaged, from another version, or of another run (`fingerprint`).
    pub fn read(path: &Path, fingerprint: &str) -> Result<Checkpoint<T>> {
        let body = files::read_sealed(path)?;
        let damaged = || files::damaged(path);
        // Version and fingerprint come first, so that they can be read even where the rest has another form.
        let (version, of_run): (String, String) = postcard::take_from_bytes(&body).map_err(|_| damaged())?.0;
        if version != VERSION {
            let message = format!(
                "was written by version {version}, this is {VERSION}; start again with `--overwrite`"
            );
            return Err(Error::file(path, message));
        }
        if of_run != fingerprint {
            return Err(Error::file(
                path,
                "belongs to another run: the run file or one of the inputs has changed; start again with `--overwrite`",
            ));
        }
        // What the seal says is whole, and is none of ours, another build of this version wrote.
        postcard::from_bytes(&body).map_err(|_| {
            let message =
                format!("was written by another build of version {VERSION}; start again with `--overwrite`");
            Error::file(path, message)
        })
    }
}
