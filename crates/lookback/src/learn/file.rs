//! The file of `lookback train`: data, networks, flow, training.

use std::path::PathBuf;

use lookback_learn::flow::{PublishedFlow, SlicedOptions};
use lookback_learn::{Augmentation, AutoencoderSection, ConditionKind, ScalingKind, TrainingOptions};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Everything that decides a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainFile {
    /// What the model is called.
    #[serde(default)]
    pub title: String,
    /// Seed of weights, order and noise.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Where networks are trained: `"cpu"`, or `"cuda"`, an NVIDIA GPU, where the program was built with the feature `cuda`. There the autoencoder and
    /// flows of couplings are trained; other flows are trained on the processor. The same seed gives the same weights on the same device.
    #[serde(default, skip_serializing_if = "DeviceKind::is_cpu")]
    pub device: DeviceKind,
    /// Weights that the autoencoder begins from: a model (its file or folder) with the same layers, or the `state_dict` of a PyTorch model, its modules named
    /// `encoder` and `decoder`, as safetensors. With `epochs = 0` it stays as it is: so another flow is fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// What is learned from.
    pub data: TrainingData,
    /// What is done to examples in training.
    #[serde(default)]
    pub augment: Augmentation,
    /// The autoencoder.
    pub autoencoder: AutoencoderSection,
    /// Its training.
    #[serde(default)]
    pub training: TrainingOptions,
    /// The flow of its latents.
    #[serde(default)]
    pub flow: FlowFile,
    /// What the decoder gets wrong.
    #[serde(default)]
    pub model_error: ErrorFile,
    /// Where the model goes.
    #[serde(default)]
    pub output: TrainOutput,
}

fn seed() -> u64 {
    42
}

/// What networks are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl DeviceKind {
    fn is_cpu(&self) -> bool {
        *self == DeviceKind::Cpu
    }
}

impl std::str::FromStr for DeviceKind {
    type Err = String;

    fn from_str(word: &str) -> Result<DeviceKind, String> {
        match word {
            "cpu" => Ok(DeviceKind::Cpu),
            "cuda" => Ok(DeviceKind::Cuda),
            _ => Err(format!("{word:?} is no device: `cpu` or `cuda`")),
        }
    }
}

/// `[data]`: arrays whose first axis counts the examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingData {
    /// Examples to train on; NaNs are missing numbers.
    pub train: String,
    /// Standard deviation of every number, in an array of the same shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_std: Option<String>,
    /// Share of the training examples, drawn at random, that judges the training, and whose residuals are the model's error.
    #[serde(default = "tenth")]
    pub validation: f64,
    /// Examples that the training never sees, for the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// What is done to the numbers before the network sees them.
    #[serde(default)]
    pub scaling: ScalingKind,
    /// What the density of the latents is to depend on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionFile>,
}

/// `[data.condition]`: labels or parameters of the examples. The flow of the latents then depends on them, and whoever uses the model says which
/// are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionFile {
    /// `"labels"`: classes 0, 1, ..., one for each example; `"parameters"`: any numbers, in a row for each.
    pub kind: ConditionKind,
    /// Those of the training examples: an array.
    pub train: String,
    /// Those of the test examples, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
}

fn tenth() -> f64 {
    0.1
}

/// `[flow]`: from latents to normal numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFile {
    /// Which flow.
    pub kind: FlowKind,
    /// Pairs of a matrix and a warp, or steps in time.
    pub layers: usize,
    /// Width of the networks within.
    pub hidden: usize,
    /// Noise that is added to latents in training, in units of their standard deviations.
    pub jitter: f64,
    /// Training; a sliced flow needs none.
    pub training: TrainingOptions,
    /// Options of a sliced flow.
    pub sliced: SlicedOptions,
}

impl Default for FlowFile {
    fn default() -> FlowFile {
        FlowFile {
            kind: FlowKind::SplineCoupling,
            layers: 8,
            hidden: 128,
            jitter: 0.02,
            training: TrainingOptions::default(),
            sliced: SlicedOptions::default(),
        }
    }
}

impl FlowFile {
    /// Checks what a flow must be that is trained on so many examples, and depends on something or not.
    pub(super) fn check(&self, examples: usize, conditional: bool) -> Result<()> {
        if self.kind == FlowKind::Sliced {
            self.sliced.check()?;
            if conditional {
                let message = "a sliced flow cannot depend on `data.condition`; all other kinds can";
                return Err(Error::config("flow", message));
            }
        } else if let Err(error) = self.training.check_examples(examples) {
            return Err(Error::config("flow", error.to_string()));
        }
        for (name, value) in [("layers", self.layers), ("hidden", self.hidden)] {
            if self.kind != FlowKind::Sliced && value == 0 {
                return Err(Error::config("flow", format!("`{name}` must be at least 1")));
            }
        }
        if !(self.jitter >= 0.0 && self.jitter.is_finite()) {
            return Err(Error::config("flow", format!("`jitter` must not be negative, not {}", self.jitter)));
        }
        Ok(self.training.check()?)
    }
}

/// Flows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// Affine couplings (Dinh et al. 2017).
    RealNvp,
    /// Affine couplings with matrices between (Kingma & Dhariwal 2018).
    Glow,
    /// Spline couplings with matrices between (Durkan et al. 2019).
    SplineCoupling,
    /// Affine autoregressive steps (Papamakarios et al. 2017).
    MaskedAutoregressive,
    /// Spline autoregressive steps with matrices between.
    SplineAutoregressive,
    /// Along a velocity field that is trained by regression on straight lines (Lipman et al. 2023); `layers` counts steps in time.
    /// Learns slowly and cheaply: give it ten times the epochs of a coupling.
    FlowMatching,
    /// Fitted direction by direction, without gradients (Dai & Seljak 2021): from the data to normal numbers (GIS), or with
    /// `sliced.direction = "to_data"` from normal numbers to the data (SIG).
    Sliced,
}

impl FlowKind {
    /// The flow that is trained by gradients.
    pub(super) fn trained(self) -> Option<PublishedFlow> {
        Some(match self {
            FlowKind::RealNvp => PublishedFlow::RealNvp,
            FlowKind::Glow => PublishedFlow::Glow,
            FlowKind::SplineCoupling => PublishedFlow::SplineCoupling,
            FlowKind::MaskedAutoregressive => PublishedFlow::MaskedAutoregressive,
            FlowKind::SplineAutoregressive => PublishedFlow::SplineAutoregressive,
            FlowKind::FlowMatching => PublishedFlow::FlowMatching,
            FlowKind::Sliced => return None,
        })
    }

    /// What its training makes small, in words.
    pub(super) fn meaning_of_loss(self) -> &'static str {
        match self {
            FlowKind::FlowMatching => {
                "Mean squared distance of the velocity from that of a straight line, in one dimension."
            }
            _ => "Minus the mean log density of a latent vector.",
        }
    }
}

/// `[model_error]`: the covariance of the decoder's residuals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorFile {
    /// Directions in which residuals are correlated between pixels.
    pub rank: usize,
    /// Channels of the small network that says how wrong the decoder is where, from what it decoded; 0 for none.
    pub channels: usize,
}

impl Default for ErrorFile {
    fn default() -> ErrorFile {
        ErrorFile { rank: 32, channels: 8 }
    }
}

/// `[output]` of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOutput {
    /// Folder, made by the command; `models/NAME` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Time between checkpoints \[s\].
    pub checkpoint_seconds: f64,
}

impl Default for TrainOutput {
    fn default() -> TrainOutput {
        TrainOutput { directory: None, checkpoint_seconds: 30.0 }
    }
}

impl TrainOutput {
    /// Folder of the model.
    pub(super) fn folder(&self) -> PathBuf {
        PathBuf::from(self.directory.as_deref().unwrap_or("models/model"))
    }
}

impl TrainFile {
    /// Folder of the model.
    pub fn directory(&self) -> PathBuf {
        self.output.folder()
    }
}
