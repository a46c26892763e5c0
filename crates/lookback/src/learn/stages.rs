//! The stages of a training, and their state on disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lookback_inference::Progress;
use lookback_learn::flow::{FlowSection, MaximumLikelihood, fit_sliced};
use lookback_learn::{
    Autoencoder, Batch, Epoch, Model, ModelError, Objective, Reconstruction, Training, TrainingOptions,
};
use serde::{Deserialize, Serialize};

use super::examples::Sets;
use super::file::TrainFile;
use crate::run::Reporter;
use crate::{Error, Result, VERSION, files};

/// Time between checkpoints.
const EVERY: Duration = Duration::from_secs(30);

/// What has come of a training.
#[derive(Serialize, Deserialize)]
enum Stage {
    Autoencoder(Training),
    Flow { autoencoder: Vec<f32>, history: Vec<Epoch>, training: Training },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: String,
    fingerprint: String,
    stage: Option<Stage>,
}

/// A training at work.
pub(super) struct Trainer<'a> {
    pub file: &'a TrainFile,
    pub sets: &'a Sets,
    pub autoencoder: &'a Autoencoder<f32>,
    pub directory: PathBuf,
    pub fingerprint: String,
    pub stop: &'a AtomicBool,
    pub reporter: &'a mut dyn Reporter,
}

/// Weights, and how the losses went.
pub(super) struct Learned {
    pub autoencoder: Vec<f32>,
    pub flow_section: FlowSection,
    pub flow: Vec<f32>,
    pub error: ModelError,
    pub autoencoder_history: Vec<Epoch>,
    pub flow_history: Vec<Epoch>,
}

pub(super) const STATE: &str = "training.bin";

impl Trainer<'_> {
    /// All stages, from where an earlier call was stopped.
    pub(super) fn run(&mut self) -> Result<Learned> {
        let mut stage = self.read()?;
        let (weights, autoencoder_history) = match stage.take() {
            Some(Stage::Flow { autoencoder, history, training }) => {
                stage = Some(Stage::Flow { autoencoder: Vec::new(), history: Vec::new(), training });
                (autoencoder, history)
            }
            other => {
                let training = match other {
                    Some(Stage::Autoencoder(training)) => Some(training),
                    _ => None,
                };
                self.train_autoencoder(training)?
            }
        };
        let error = self.model_error(&weights)?;
        let (train, validation) = (self.latents(&weights, true), self.latents(&weights, false));
        let started = match stage {
            Some(Stage::Flow { training, .. }) => Some(training),
            _ => None,
        };
        let (flow_section, flow, flow_history) =
            self.fit_flow((&weights, &autoencoder_history), &train, &validation, started)?;
        Ok(Learned { autoencoder: weights, flow_section, flow, error, autoencoder_history, flow_history })
    }

    fn train_autoencoder(&mut self, started: Option<Training>) -> Result<(Vec<f32>, Vec<Epoch>)> {
        let (file, sets) = (self.file, self.sets);
        let objective = Reconstruction {
            autoencoder: self.autoencoder,
            train: &sets.train,
            validation: &sets.validation,
            augmentation: &file.augment,
            scaling: sets.scaling,
        };
        let started = match (started, &file.start) {
            (None, Some(place)) => {
                let path = Path::new(place);
                let weights = file
                    .autoencoder
                    .import(sets.train.shape, &files::read(path)?)
                    .map_err(|error| Error::file(path, error.to_string()))?;
                Some(Training::from_weights(&objective, &file.training, file.seed, weights)?)
            }
            (started, _) => started,
        };
        let done = self.finish("autoencoder", &objective, &file.training, started, Stage::Autoencoder)?;
        Ok((done.weights().to_vec(), done.history().to_vec()))
    }

    /// Advances a training to its end; `keep` makes of it what a checkpoint holds.
    fn finish(
        &mut self,
        what: &str,
        objective: &dyn Objective,
        options: &TrainingOptions,
        started: Option<Training>,
        keep: impl Fn(Training) -> Stage,
    ) -> Result<Training> {
        let mut training = match started {
            Some(training) => training,
            None => Training::new(objective, options, self.file.seed)?,
        };
        let mut saved = Instant::now();
        while !training.is_done(objective, options) {
            training.advance(objective, options)?;
            let losses = training.history().last().map_or(String::new(), |epoch| {
                format!(", loss {:.4e} (validation {:.4e})", epoch.train, epoch.validation)
            });
            let message = format!("{what}, epoch {} of {}{losses}", training.history().len(), options.epochs);
            let steps = training.progress(objective, options);
            self.reporter.step(&Progress { steps, message, done: false });
            let stopped = self.stop.load(Ordering::Relaxed);
            if stopped || saved.elapsed() > EVERY {
                self.save(Some(keep(training.clone())))?;
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
        self.save(Some(keep(training.clone())))?;
        Ok(training)
    }

    fn latents(&self, weights: &[f32], train: bool) -> Batch<f32> {
        let examples = if train { &self.sets.train } else { &self.sets.validation };
        self.autoencoder.encode(weights, examples.values.clone())
    }

    /// The covariance of the residuals of examples that were not trained on.
    fn model_error(&self, weights: &[f32]) -> Result<ModelError> {
        let x = &self.sets.validation.values;
        let decoded = self.autoencoder.decode(weights, self.autoencoder.encode(weights, x.clone()));
        let mut residuals: Vec<f32> = x.data().iter().zip(decoded.data()).map(|(x, d)| x - d).collect();
        if let Some(precision) = &self.sets.validation.precision {
            // Missing numbers have no residual.
            residuals
                .iter_mut()
                .zip(precision.data())
                .filter(|(_, p)| **p == 0.0)
                .for_each(|(r, _)| *r = 0.0);
        }
        let most = x.rows().min(x.width()).saturating_sub(1);
        let rank = self.file.model_error.rank.min(most);
        Ok(ModelError::of(&Batch::new(x.width(), residuals), rank, self.file.seed)?)
    }

    fn fit_flow(
        &mut self,
        before: (&[f32], &[Epoch]),
        train: &Batch<f32>,
        validation: &Batch<f32>,
        started: Option<Training>,
    ) -> Result<(FlowSection, Vec<f32>, Vec<Epoch>)> {
        let options = &self.file.flow;
        let Some(kind) = options.kind.trained() else { return self.fit_sliced_flow(train, validation) };
        let section = kind.section((train.width(), 0), options.layers, options.hidden);
        let flow = section.build::<f32>()?;
        let jitter = standard_deviations(train).iter().map(|std| (options.jitter * std) as f32).collect();
        let objective = MaximumLikelihood { flow: &flow, train, validation, jitter };
        let keep =
            |training| Stage::Flow { autoencoder: before.0.to_vec(), history: before.1.to_vec(), training };
        let done = self.finish("flow", &objective, &options.training, started, keep)?;
        Ok((section, done.weights().to_vec(), done.history().to_vec()))
    }

    fn fit_sliced_flow(
        &mut self,
        train: &Batch<f32>,
        validation: &Batch<f32>,
    ) -> Result<(FlowSection, Vec<f32>, Vec<Epoch>)> {
        let options = &self.file.flow.sliced;
        let mut history = Vec::new();
        let watch = |step: usize, density: f64| -> Result<()> {
            history.push(Epoch { train: f64::NAN, validation: -density, learning_rate: options.way });
            let message = format!("sliced flow, ln p = {density:.3}");
            self.reporter.step(&Progress {
                steps: (step as u64, options.steps as u64),
                message,
                done: false,
            });
            if self.stop.load(Ordering::Relaxed) {
                let goes_on = "the autoencoder is kept, and the same command fits the flow again".into();
                return Err(Error::Interrupted { goes_on });
            }
            Ok(())
        };
        let (section, weights, _) = fit_sliced(train, validation, options, self.file.seed, watch)?;
        Ok((section, weights, history))
    }

    fn read(&self) -> Result<Option<Stage>> {
        let place = self.directory.join(STATE);
        if !place.exists() {
            return Ok(None);
        }
        let body = files::read_sealed(&place)?;
        let kept: Kept = postcard::from_bytes(&body).map_err(|_| files::damaged(&place))?;
        if kept.version != VERSION || kept.fingerprint != self.fingerprint {
            let message =
                "belongs to another training file, other data or another version; `--overwrite` starts again";
            return Err(Error::file(place, message));
        }
        Ok(kept.stage)
    }

    fn save(&self, stage: Option<Stage>) -> Result<()> {
        let place = self.directory.join(STATE);
        let kept = Kept { version: VERSION.into(), fingerprint: self.fingerprint.clone(), stage };
        let body = postcard::to_stdvec(&kept)
            .map_err(|error| Error::file(&place, format!("cannot be written: {error}")))?;
        files::write_sealed(&place, &body)
    }
}

/// Standard deviation of every column.
pub(super) fn standard_deviations(x: &Batch<f32>) -> Vec<f64> {
    let n = x.rows() as f64;
    let column = |column: usize| x.data().iter().skip(column).step_by(x.width()).map(|x| f64::from(*x));
    let std = |i: usize| {
        let mean = column(i).sum::<f64>() / n;
        (column(i).map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    (0..x.width()).map(std).collect()
}

/// The file of the model in its folder.
pub(crate) const MODEL: &str = "model.safetensors";

/// The file of a model that is named by its file or its folder.
pub(crate) fn model_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(MODEL) } else { path.to_path_buf() }
}

/// Reads a model from its file or its folder.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn load(path: &Path) -> Result<Model<f32>> {
    let place = model_file(path);
    Model::from_bytes(&files::read(&place)?).map_err(|error| Error::file(place, error.to_string()))
}
