//! `lookback train`: learned priors from examples; and what can be done with them.

mod calibrate;
mod calibrate_page;
mod device;
mod examples;
mod file;
mod live_page;
mod losses;
mod maps;
mod maps_file;
mod maps_page;
mod pictures;
mod recipe;
mod reconstruct;
mod reconstruct_page;
mod report;
mod stages;
pub mod verbs;
mod workbench;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use lookback_learn::{Card, Model, Shape};

use self::calibrate::{CALIBRATION_FIGURES, CALIBRATION_PAGE};
pub use self::calibrate::{CalibrateOptions, Judged, Like, calibrate, write_calibrated};
use self::device::Device;
use self::examples::Sets;
pub use self::file::{
    ConditionFile, DeviceKind, ErrorFile, FlowFile, FlowKind, TrainFile, TrainOutput, TrainingData,
};
use self::maps::Maps;
pub use self::maps::sample as sample_maps;
pub use self::maps_file::{MapsData, MapsFile};
pub use self::recipe::Recipe;
pub use self::reconstruct::{
    Admitted, MODES, ReconstructOptions, Reconstructed, Reconstructions, Sampling, reconstruct,
    take_folder as take_reconstruction_folder, write as write_reconstructions,
};
pub(crate) use self::stages::model_file;
use self::stages::{Learned, Trainer};
pub use self::stages::{Prior, load};
use self::workbench::{STATE, Workbench};
use crate::files::Hold;
use crate::run::Reporter;
use crate::{Error, Result, VERSION, files};

/// The page of a training, and of the model that comes out of it.
const REPORT: &str = "report.html";

/// A finished training.
#[derive(Debug)]
pub struct Trained {
    /// The model.
    pub model: Prior,
    /// Its folder.
    pub directory: PathBuf,
    /// Seconds of work in this call.
    pub seconds: f64,
}

impl Trained {
    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.directory.join(REPORT)
    }
}

/// Trains a learned prior as a file says, and writes `model.safetensors`, its card, the history of the losses and a report.
///
/// A probabilistic autoencoder (Boehm & Seljak 2020) in stages: first the autoencoder, then the covariance of what its decoder gets
/// wrong, then the flow of its latents. A prior of maps (Dai & Seljak 2022) in one. Stopped or killed, the same call goes on; the same
/// seed gives the same weights, whatever the number of threads.
///
/// # Errors
/// If the file is wrong, data cannot be read or learned from, the loss diverges, or the disk refuses.
pub fn train(
    recipe: &Recipe,
    overwrite: bool,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Trained> {
    let began = std::time::Instant::now();
    let (directory, every) = (recipe.directory(), recipe.checkpoint_interval()?);
    let bench = |digests: &[String], reporter| -> Result<(Hold, Workbench<'_>)> {
        let text = recipe.text()?;
        let decisive = format!("{}{}", recipe.decisive_text()?, digests.join(" "));
        let fingerprint = files::sha256(decisive.as_bytes());
        let hold = open(&directory, overwrite)?;
        write_text(&directory.join("config.toml"), &text)?;
        Ok((
            hold,
            Workbench { directory: directory.clone(), text, fingerprint, every, stop, reporter, told: false },
        ))
    };
    let digests = |sources: &[lookback_learn::DataSource]| -> Vec<String> {
        sources.iter().map(|source| source.sha256.clone()).collect()
    };
    // The folder is held until the model is in it.
    let (_hold, model) = match recipe {
        Recipe::Examples(file) => {
            let sets = Sets::read(file)?;
            let autoencoder = file.autoencoder.build::<f32>(sets.train.shape)?;
            file.augment.check(&sets.train)?;
            file.training.check()?;
            if file.training.epochs == 0 && file.start.is_none() {
                return Err(Error::config("training", "`epochs` = 0 needs weights to begin from: `start`"));
            }
            file.flow.check(sets.train.len(), sets.condition.is_some())?;
            let mut digests = digests(&sets.sources);
            if let Some(start) = &file.start {
                digests.push(files::sha256(&files::read(&stages::model_file(Path::new(start)))?));
            }
            let device = Device::open(file.device)?;
            let (hold, bench) = bench(&digests, reporter)?;
            let learned = Trainer { file, sets: &sets, autoencoder: &autoencoder, device, bench }.run()?;
            let model = assemble(file, &sets, &learned)?;
            // What was learned is kept before anything is drawn of it.
            write_model(&model.to_bytes()?, &directory)?;
            write_pages(file, &sets, &learned, &model, &directory)?;
            (hold, Prior::Examples(Box::new(model)))
        }
        Recipe::Maps(file) => {
            let maps = Maps::read(&file.data, file.seed)?;
            file.training.check()?;
            file.field.check()?;
            let (hold, mut bench) = bench(&digests(&maps.sources), reporter)?;
            let (model, training) = maps::train(file, &maps, &mut bench)?;
            write_model(&model.to_bytes()?, &directory)?;
            maps_page::write(file, &maps, &model, training.history(), &directory)?;
            (hold, Prior::Maps(Box::new(model)))
        }
    };
    std::fs::remove_file(directory.join(STATE)).ok();
    Ok(Trained { model, directory, seconds: began.elapsed().as_secs_f64() })
}

/// Makes the folder, or finds the training that was stopped in it.
fn open(directory: &Path, overwrite: bool) -> Result<Hold> {
    let (state, model) = (directory.join(STATE), directory.join(stages::MODEL));
    // What was killed before its first state, or could not write its model, has left its file.
    let begun = || {
        let text = std::fs::read_to_string(directory.join("config.toml"));
        text.is_ok_and(|text| Recipe::parse(&text).is_ok())
    };
    let ours = state.exists() || model.exists() || begun();
    let hold = files::take_folder(directory, ours, "a model", &[])?;
    if overwrite {
        // A report and a calibration are of the model that goes.
        for name in [STATE, REPORT, CALIBRATION_PAGE, CALIBRATION_FIGURES] {
            std::fs::remove_file(directory.join(name)).ok();
        }
    } else if model.exists() && !state.exists() {
        return Err(Error::Busy(format!(
            "{} holds a model already; `--overwrite` trains again, `--output` goes elsewhere",
            directory.display()
        )));
    }
    Ok(hold)
}

/// Residuals for each direction of their covariance, for it to know hardly more of them than of new ones: of their squared distances, a share
/// of the inverse of this is lost.
const RESIDUALS_A_DIRECTION: usize = 20;

/// Whether the validation examples tell how both scores of anomalies scatter, or why the two are only added.
fn scatter_is_known(sets: &Sets, rank: usize) -> std::result::Result<(), String> {
    let (validated, enough) = (sets.validation.len(), RESIDUALS_A_DIRECTION * (1 + rank));
    if sets.condition.is_some() {
        return Err("the latents depend on something".into());
    }
    if sets.validation.precision.is_some() {
        return Err("examples have weights or numbers that are missing".into());
    }
    if validated < enough {
        return Err(format!(
            "{validated} validation examples are few for {rank} correlated directions of the model's error, which they have made: {enough} would do"
        ));
    }
    Ok(())
}

fn write_model(bytes: &[u8], directory: &Path) -> Result<()> {
    files::write_whole(&directory.join(stages::MODEL), |out| out.write_all(bytes))
}

/// Puts a probabilistic autoencoder together, and judges it.
fn assemble(file: &TrainFile, sets: &Sets, learned: &Learned) -> Result<Model<f32>> {
    let shape = match sets.train.shape {
        Shape::Row(width) => vec![width],
        Shape::Image(image) => vec![image.height, image.width, image.channels],
    };
    let card = Card {
        lookback_version: VERSION.into(),
        title: file.title.clone(),
        seed: file.seed,
        shape,
        scaling: sets.scaling,
        augmentation: file.augment.clone(),
        autoencoder: file.autoencoder.clone(),
        flow: learned.flow_section.clone(),
        flow_noise: learned.flow_noise.clone(),
        condition: sets.condition.clone(),
        error_rank: learned.error.rank(),
        spread: None,
        error_factor: 1.0,
        usual: None,
        data: sets.sources.clone(),
        scores: report::scores(sets, learned, file)?,
    };
    let mut model =
        Model::new(card, learned.autoencoder.clone(), learned.flow.clone(), learned.error.clone())?;
    if let Some(spread) = learned.spread.clone() {
        model = model.with_spread(spread);
    }
    if scatter_is_known(sets, learned.error.rank()).is_ok() {
        model = model.with_usual(sets.validation.values.clone())?;
    }
    Ok(model)
}

/// Writes the card of a model, the history of its losses, and its report.
fn write_pages(
    file: &TrainFile,
    sets: &Sets,
    learned: &Learned,
    model: &Model<f32>,
    directory: &Path,
) -> Result<()> {
    write_card(model.card(), directory)?;
    write_text(&directory.join("history.csv"), &report::history(learned))?;
    write_text(&directory.join(REPORT), &report::page(file, sets, learned, model)?)
}

fn write_card(card: &impl serde::Serialize, directory: &Path) -> Result<()> {
    let card = serde_json::to_string_pretty(card)
        .map_err(|error| Error::file(directory, format!("the card cannot be written: {error}")))?;
    write_text(&directory.join("card.json"), &(card + "\n"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    files::write_whole(path, |out| out.write_all(text.as_bytes()))
}
