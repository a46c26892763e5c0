//! Learned priors: networks, normalising flows, and the probabilistic autoencoder.
//!
//! Layers are hand-written maps of rows to rows with their derivatives beside them, on the matrix products of `gemm`; weights are
//! one flat vector. So a network has the two products that an operator must have, in both precisions, and training is the same code
//! with the gradient of the weights added.

mod adam;
pub mod architecture;
mod augment;
mod autoencoder;
mod batch;
mod condition;
mod covariance;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod examples;
pub mod field;
pub mod flow;
mod gaussian;
mod generator;
pub mod laws;
pub mod layer;
pub mod layers;
mod model;
mod network;
pub mod product;
mod published;
pub mod pytorch;
mod residual_law;
mod spread;
mod tails;
mod training;

pub use adam::{Adam, AdamOptions, Schedule};
pub use architecture::{LayerSection, Shape};
pub use augment::Augmentation;
pub use autoencoder::{Architecture, Autoencoder, AutoencoderSection, Reconstruction, Variational};
pub use batch::Batch;
pub use condition::{Condition, ConditionKind};
pub use covariance::{ModelError, Precision};
pub use error::{Error, Result};
pub use examples::{Examples, Scaling, ScalingKind};
pub use gaussian::gaussian_log_density;
pub use generator::{ErrorKind, Generator};
pub use layer::{Begin, Layer, Mode, Role, Trace, Weight, begin};
pub use model::{Card, DataSource, Model, Score, Usual, starting_weights};
pub use network::Network;
pub use published::{Pair, Published};
pub use residual_law::{NumberLaw, ResidualLaw};
pub use spread::{Spread, SpreadSection};
pub use tails::Tails;
pub use training::{Epoch, Objective, OnHost, Trainer, Training, TrainingOptions};
