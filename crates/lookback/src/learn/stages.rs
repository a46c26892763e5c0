//! The stages of a training, and their state on disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use lookback_inference::Progress;
use lookback_learn::field::FieldModel;
use lookback_learn::flow::{FlowSection, Matching, MaximumLikelihood, PublishedFlow, fit_sliced};
use lookback_learn::{
    Autoencoder, Batch, Epoch, Model, ModelError, Objective, OnHost, Reconstruction, Spread, SpreadSection,
    Training, starting_weights,
};
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::examples::Sets;
use super::file::{ErrorFile, FlowFile, TrainFile};
use super::live_page::Outlook;
use super::losses::Loss;
use super::workbench::{SHOW_EVERY, Workbench};
use crate::{Error, Result, files};

/// What has come of a training.
#[derive(Serialize, Deserialize)]
enum Stage {
    Autoencoder(Training),
    Flow { before: Box<Decoded>, training: Training },
}

/// What is known when the flow begins.
#[derive(Clone, Serialize, Deserialize)]
struct Decoded {
    autoencoder: Vec<f32>,
    history: Vec<Epoch>,
    error: ModelError,
    spread: Option<Spread>,
}

/// A training at work.
pub(super) struct Trainer<'a> {
    pub file: &'a TrainFile,
    pub sets: &'a Sets,
    pub autoencoder: &'a Autoencoder<f32>,
    pub device: Device,
    pub bench: Workbench<'a>,
}

/// Weights, and how the losses went.
pub(super) struct Learned {
    pub autoencoder: Vec<f32>,
    pub flow_section: FlowSection,
    pub flow: Vec<f32>,
    /// Standard deviation of the noise of each latent with which the flow learned the density, if it did.
    pub flow_noise: Vec<f32>,
    pub error: ModelError,
    pub spread: Option<Spread>,
    pub autoencoder_history: Vec<Epoch>,
    pub flow_history: Vec<Epoch>,
}

impl Trainer<'_> {
    /// All stages, from where an earlier call was stopped.
    pub(super) fn run(&mut self) -> Result<Learned> {
        let (before, started) = match self.bench.read()? {
            Some(Stage::Flow { before, training }) => (*before, Some(training)),
            Some(Stage::Autoencoder(training)) => (self.decode(Some(training))?, None),
            None => (self.decode(None)?, None),
        };
        let weights = &before.autoencoder;
        let (train, validation) = (self.latents(weights, true), self.latents(weights, false));
        let (flow_section, flow, flow_history) = self.fit_flow(&before, &train, &validation, started)?;
        // Where there was noise, and the density was what was raised.
        let FlowFile { jitter, kind, .. } = &self.file.flow;
        let by_density = kind.trained().is_some_and(|kind| kind != PublishedFlow::FlowMatching);
        let flow_noise = if by_density && *jitter > 0.0 { self.flow_noise(&train) } else { Vec::new() };
        let Decoded { autoencoder, history, error, spread } = before;
        Ok(Learned {
            autoencoder,
            flow_section,
            flow,
            flow_noise,
            error,
            spread,
            autoencoder_history: history,
            flow_history,
        })
    }

    /// The autoencoder, from where its training was stopped, and what it gets wrong.
    fn decode(&mut self, started: Option<Training>) -> Result<Decoded> {
        let (autoencoder, history) = self.train_autoencoder(started)?;
        let (error, spread) = self.model_error(&autoencoder)?;
        Ok(Decoded { autoencoder, history, error, spread })
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
        let training = match (started, &file.start) {
            (Some(training), _) => training,
            (None, Some(place)) => {
                let path = model_file(Path::new(place));
                let bytes = files::read(&path)?;
                // Weights that are trained further may have seen other data.
                let scaling = (file.training.epochs == 0).then_some(sets.scaling);
                let weights = starting_weights(&file.autoencoder, sets.train.shape, scaling, &bytes)
                    .map_err(|error| Error::file(path, error.to_string()))?;
                Training::from_weights(&objective, &file.training, file.seed, weights)?
            }
            (None, None) => Training::new(&objective, &file.training, file.seed)?,
        };
        let (options, bench) = (&file.training, &mut self.bench);
        let done = self.device.autoencoder(objective, &file.autoencoder, options, training, |trainer| {
            bench.finish(Loss::AUTOENCODER, options.epochs, trainer, Stage::Autoencoder)
        })?;
        Ok((done.weights().to_vec(), done.history().to_vec()))
    }

    /// Rows for the flow: latents, and what they depend on.
    fn latents(&self, weights: &[f32], train: bool) -> Batch<f32> {
        let examples = if train { &self.sets.train } else { &self.sets.validation };
        examples.beside(self.autoencoder.encode(weights, examples.values.clone()))
    }

    /// What the decoder gets wrong of examples that were not trained on: the covariance of the residuals, and their spread.
    fn model_error(&mut self, weights: &[f32]) -> Result<(ModelError, Option<Spread>)> {
        self.bench.tell(WRONG, (0, 1))?;
        let x = &self.sets.validation.values;
        let decoded = self.autoencoder.decode(weights, self.autoencoder.encode(weights, x.clone()));
        let mut seen = x.clone();
        if let Some(precision) = &self.sets.validation.precision {
            let numbers = seen.data_mut().iter_mut().zip(precision.data());
            numbers.filter(|(_, p)| **p == 0.0).for_each(|(x, _)| *x = f32::NAN);
        }
        let residuals = seen.clone().zip_with(&decoded, |x, decoded| *x -= decoded);
        let ErrorFile { rank, channels } = self.file.model_error;
        let rank = rank.min(x.rows().min(x.width()).saturating_sub(1));
        let error = ModelError::of(&residuals, rank, self.file.seed)?;
        if let Some(noise) = self.sets.validation.noise() {
            // What is left is the decoder's; the spread of the residuals would be that of the noise.
            return Ok((error.less_noise(&noise), None));
        }
        if channels == 0 {
            return Ok((error, None));
        }
        let section = SpreadSection { channels, rank, law: [0, 0] };
        let (shape, seed, bench) = (self.sets.train.shape, self.file.seed, &mut self.bench);
        let watch = |steps: (u64, u64)| bench.tell(WRONG, steps);
        let spread = Spread::learn(section, shape, (&decoded, &seen), seed, watch)?;
        Ok((error, Some(spread)))
    }

    /// Standard deviation of the noise on each latent in the training of the flow.
    fn flow_noise(&self, train: &Batch<f32>) -> Vec<f32> {
        // What latents depend on is known exactly.
        let std = standard_deviations(&train.columns(0, self.autoencoder.latents()));
        std.iter().map(|std| (self.file.flow.jitter * std) as f32).collect()
    }

    fn fit_flow(
        &mut self,
        before: &Decoded,
        train: &Batch<f32>,
        validation: &Batch<f32>,
        started: Option<Training>,
    ) -> Result<(FlowSection, Vec<f32>, Vec<Epoch>)> {
        let options = &self.file.flow;
        let Some(kind) = options.kind.trained() else { return self.fit_sliced_flow(train, validation) };
        let latents = self.autoencoder.latents();
        let section = kind.section((latents, train.width() - latents), options.layers, options.hidden);
        let flow = section.build::<f32>()?;
        let jitter = self.flow_noise(train);
        let loss = Loss::of_flow(options.kind);
        let keep = |training| Stage::Flow { before: Box::new(before.clone()), training };
        let (options, seed, bench) = (&options.training, self.file.seed, &mut self.bench);
        let begin =
            |objective: &dyn Objective| started.map_or_else(|| Training::new(objective, options, seed), Ok);
        let mut finish =
            |trainer: &mut dyn lookback_learn::Trainer| bench.finish(loss, options.epochs, trainer, keep);
        let done = if kind == PublishedFlow::FlowMatching {
            let objective = Matching::new(&flow, (train, validation), jitter)?;
            let training = begin(&objective)?;
            finish(&mut OnHost { training, objective: &objective, options })?
        } else {
            let objective = MaximumLikelihood { flow: &flow, train, validation, jitter };
            let training = begin(&objective)?;
            self.device.flow(objective, &section, options, training, finish)?
        };
        Ok((section, done.weights().to_vec(), done.history().to_vec()))
    }

    fn fit_sliced_flow(
        &mut self,
        train: &Batch<f32>,
        validation: &Batch<f32>,
    ) -> Result<(FlowSection, Vec<f32>, Vec<Epoch>)> {
        let options = &self.file.flow.sliced;
        let loss = Loss::of_flow(self.file.flow.kind);
        let (mut history, began, mut shown) = (Vec::new(), Instant::now(), Instant::now());
        let watch = |step: usize, density: f64| -> Result<()> {
            history.push(Epoch { train: f64::NAN, validation: -density, learning_rate: options.way });
            let message = format!("sliced flow, ln p = {density:.3}");
            if shown.elapsed() > SHOW_EVERY {
                let left = began.elapsed().as_secs_f64() / step.max(1) as f64
                    * options.steps.saturating_sub(step) as f64;
                self.bench.show(loss, &history, options.steps, Outlook::Epochs(left));
                shown = Instant::now();
            }
            self.bench.reporter.step(&Progress {
                steps: (step as u64, options.steps as u64),
                message,
                done: false,
            });
            if self.bench.stop.load(Ordering::Relaxed) {
                let goes_on = "the autoencoder is kept, and the same command fits the flow again".into();
                return Err(Error::Interrupted { goes_on });
            }
            Ok(())
        };
        let (section, weights, _) = fit_sliced(train, validation, options, self.file.seed, watch)?;
        Ok((section, weights, history))
    }
}

/// What is done between the autoencoder and the flow.
const WRONG: &str = "what the decoder gets wrong";

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

/// A trained model of either kind.
#[derive(Debug)]
pub enum Prior {
    /// A probabilistic autoencoder.
    Examples(Box<Model<f32>>),
    /// A prior of maps.
    Maps(Box<FieldModel>),
}

impl Prior {
    /// From the bytes of its file.
    pub(crate) fn from_bytes(place: &Path, bytes: &[u8]) -> Result<Prior> {
        let wrong = |error: lookback_learn::Error| Error::file(place, error.to_string());
        if FieldModel::is(bytes) {
            return FieldModel::from_bytes(bytes).map(|model| Prior::Maps(Box::new(model))).map_err(wrong);
        }
        Model::from_bytes(bytes).map(|model| Prior::Examples(Box::new(model))).map_err(wrong)
    }

    /// Reads a model from its file or its folder.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn load(path: &Path) -> Result<Prior> {
        let place = model_file(path);
        Prior::from_bytes(&place, &files::read(&place)?)
    }

    /// How good it is, by name.
    pub fn scores(&self) -> &[(String, f64)] {
        match self {
            Prior::Examples(model) => &model.card().scores,
            Prior::Maps(model) => &model.card().scores,
        }
    }

    /// Its card as JSON.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn card_text(&self) -> Result<String> {
        let text = match self {
            Prior::Examples(model) => serde_json::to_string_pretty(model.card()),
            Prior::Maps(model) => serde_json::to_string_pretty(model.card()),
        };
        text.map_err(|error| Error::config("model", format!("the card cannot be written: {error}")))
    }
}

/// Reads a probabilistic autoencoder from its file or its folder.
///
/// # Errors
/// If there is none, it is damaged, or it is a prior of maps.
pub fn load(path: &Path) -> Result<Model<f32>> {
    match Prior::load(path)? {
        Prior::Examples(model) => Ok(*model),
        Prior::Maps(_) => Err(Error::file(
            model_file(path),
            "is a prior of maps: it has a card and samples, and serves run files (`kind = \"learned\"`); the rest needs an autoencoder",
        )),
    }
}
