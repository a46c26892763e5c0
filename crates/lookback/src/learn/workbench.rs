//! Where a training is done: its folder, its state on disk, and who watches it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lookback_inference::Progress;
use lookback_learn::{Epoch, Trainer, Training};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::REPORT;
use super::live_page::{self, Outlook};
use super::losses::Loss;
use crate::run::Reporter;
use crate::{Error, Result, files, kept};

/// The file of a training that is not finished.
pub(super) const STATE: &str = "training.bin";

/// Shortest time between two pages of a training.
pub(super) const SHOW_EVERY: Duration = Duration::from_secs(2);

/// Seconds of a training that one may want to watch.
const LONG: f64 = 10.0;

/// A folder in which a model is made.
pub(super) struct Workbench<'a> {
    pub directory: PathBuf,
    /// The file of the training with all defaults.
    pub text: String,
    /// What decides the result: the state of another training is refused.
    pub fingerprint: String,
    /// Time between checkpoints.
    pub every: Duration,
    pub stop: &'a AtomicBool,
    pub reporter: &'a mut dyn Reporter,
    /// Whether the user knows of the page that shows the losses.
    pub told: bool,
}

impl Workbench<'_> {
    /// Advances a training to its end; `keep` makes of it what a checkpoint holds.
    pub fn finish<S: Serialize>(
        &mut self,
        loss: Loss,
        epochs: usize,
        trainer: &mut dyn Trainer,
        keep: impl Fn(Training) -> S,
    ) -> Result<Training> {
        let what = loss.what;
        let (began, begun) = (Instant::now(), trainer.progress().0);
        let (mut saved, mut shown) = (Instant::now(), (None::<Instant>, 0));
        while !trainer.is_done() {
            trainer.advance()?;
            let steps = trainer.progress();
            let history = trainer.watch().history();
            let losses = history.last().map_or(String::new(), |epoch| {
                format!(", loss {:.4e} (validation {:.4e})", epoch.train, epoch.validation)
            });
            let message = format!("{what}, epoch {} of {epochs}{losses}", history.len());
            self.reporter.step(&Progress { steps, message, done: false });
            let stopped = self.stop.load(Ordering::Relaxed);
            let rests = trainer.is_done();
            if history.len() > shown.1 && (rests || shown.0.is_none_or(|at| at.elapsed() > SHOW_EVERY))
                || stopped
            {
                let each = began.elapsed().as_secs_f64() / (steps.0 - begun).max(1) as f64;
                let left = each * steps.1.saturating_sub(steps.0) as f64;
                let outlook = match (stopped, rests) {
                    (true, _) => Outlook::Stopped,
                    (_, true) => Outlook::Rest,
                    _ => Outlook::Epochs(left),
                };
                self.show(loss, history, epochs, outlook);
                shown = (Some(Instant::now()), history.len());
            }
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

    /// Shows the losses so far, and tells once where. A training does not end because its page cannot be drawn.
    pub fn show(&mut self, loss: Loss, history: &[Epoch], epochs: usize, outlook: Outlook) {
        let written = live_page::write(loss, history, epochs, outlook, (&self.directory, &self.text));
        let long = matches!(outlook, Outlook::Epochs(left) if left > LONG);
        let words = match written {
            Err(error) => format!("the losses cannot be shown: {error}"),
            Ok(()) if long => format!("losses, as they come: {}", files::link(&self.directory.join(REPORT))),
            Ok(()) => return,
        };
        if !std::mem::replace(&mut self.told, true) {
            self.reporter.note(&words);
        }
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
