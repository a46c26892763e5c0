//! The file of `lookback train` for a prior of maps.

use std::path::PathBuf;

use lookback_learn::TrainingOptions;
use lookback_learn::field::FieldSection;
use serde::{Deserialize, Serialize};

use super::file::TrainOutput;

/// Everything that decides a prior of maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapsFile {
    /// What the model is called.
    #[serde(default)]
    pub title: String,
    /// Seed of the order of the maps.
    #[serde(default = "seed")]
    pub seed: u64,
    /// What is learned from.
    pub data: MapsData,
    /// How much the prior can say.
    pub field: FieldSection,
    /// Its training.
    #[serde(default = "training")]
    pub training: TrainingOptions,
    /// Where the model goes.
    #[serde(default)]
    pub output: TrainOutput,
}

fn seed() -> u64 {
    42
}

/// Few weights and few maps: large steps over small batches.
fn training() -> TrainingOptions {
    TrainingOptions { epochs: 40, batch: 2, learning_rate: 1e-2, ..TrainingOptions::default() }
}

/// `[data]` of a prior of maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapsData {
    /// Maps of one size: a file with one map (two axes) or many (three), or a pattern for several files (`maps/*/kappa1.fits`).
    pub maps: String,
    /// Size of a pixel \[arcmin\].
    pub pixel_arcmin: f64,
    /// The spectra that `lookback simulate` wrote beside the maps (`cl_kappa1_mean.csv`): the maps are filtered so that their mean
    /// spectrum is that of theory. Takes off the shot noise of the particles, and makes up for what their mesh smoothed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spectra: Option<String>,
    /// Share of the maps, drawn at random, that judges the training; at least one map.
    #[serde(default = "fifth")]
    pub validation: f64,
}

fn fifth() -> f64 {
    0.2
}

impl MapsFile {
    /// Folder of the model.
    pub fn directory(&self) -> PathBuf {
        self.output.folder()
    }
}
