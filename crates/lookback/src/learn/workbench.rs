//! Where a training is done: its folder, its state on disk, and who watches it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lookback_inference::Progress;
use lookback_learn::{Trainer, Training};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::Reporter;
use crate::{Error, Result, kept};

/// The file of a training that is not finished.
pub(super) const STATE: &str = "training.bin";

/// A folder in which a model is made.
pub(super) struct Workbench<'a> {
    pub directory: PathBuf,
    /// What decides the result: the state of another training is refused.
    pub fingerprint: String,
    /// Time between checkpoints.
    pub every: Duration,
    pub stop: &'a AtomicBool,
    pub reporter: &'a mut dyn Reporter,
}

impl Workbench<'_> {
    /// Advances a training to its end; `keep` makes of it what a checkpoint holds.
    pub fn finish<S: Serialize>(
        &mut self,
        what: &str,
        epochs: usize,
        trainer: &mut dyn Trainer,
        keep: impl Fn(Training) -> S,
    ) -> Result<Training> {
        let mut saved = Instant::now();
        while !trainer.is_done() {
            trainer.advance()?;
            let history = trainer.watch().history();
            let losses = history.last().map_or(String::new(), |epoch| {
                format!(", loss {:.4e} (validation {:.4e})", epoch.train, epoch.validation)
            });
            let message = format!("{what}, epoch {} of {epochs}{losses}", history.len());
            let steps = trainer.progress();
            self.reporter.step(&Progress { steps, message, done: false });
            let stopped = self.stop.load(Ordering::Relaxed);
            if stopped || saved.elapsed() > self.every {
                self.save(Some(keep(trainer.state()?.clone())))?;
                saved = Instant::now();
            }
            if stopped {
                let goes_on = format!(
                    "step {} of {} of the {what} is in {}, and the same command goes on from there",
                    steps.0,
                    steps.1,
                    self.directory.display()
                );
                return Err(Error::Interrupted { goes_on });
            }
        }
        let training = trainer.state()?;
        self.save(Some(keep(training.clone())))?;
        Ok(training.clone())
    }

    /// Tells how far something is that is not kept while it is done.
    ///
    /// # Errors
    /// If it is to stop.
    pub fn tell(&mut self, what: &str, steps: (u64, u64)) -> Result<()> {
        self.reporter.step(&Progress { steps, message: what.into(), done: false });
        if self.stop.load(Ordering::Relaxed) {
            let goes_on = format!("the same command goes on, with {what} from its beginning");
            return Err(Error::Interrupted { goes_on });
        }
        Ok(())
    }

    /// What an earlier call has left.
    pub fn read<S: DeserializeOwned>(&self) -> Result<Option<S>> {
        let place = self.directory.join(STATE);
        if !place.exists() {
            return Ok(None);
        }
        kept::read(&place, &self.fingerprint, "training")
    }

    fn save<S: Serialize>(&self, stage: Option<S>) -> Result<()> {
        kept::write(&self.directory.join(STATE), &self.fingerprint, &stage)
    }
}
