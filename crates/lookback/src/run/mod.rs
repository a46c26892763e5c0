//! Doing a run: from a run file to a folder of results, with checkpoints on the way.

mod checkpoint;
pub(crate) mod cross_validation;
mod driver;
mod folder;
mod live;
mod outputs;
mod predictive;
mod recorder;
mod rows;
mod state;
mod summary;

pub use checkpoint::Checkpoint;
pub use driver::{Options, Outcome, Reporter, Silent, redraw, resume, start};
pub(crate) use driver::{fingerprint, prepare};
pub use folder::Folder;
pub(crate) use recorder::BINS;
pub use recorder::Recorder;
pub(crate) use state::State;
pub use summary::Summary;
pub(crate) use summary::expected_chi2;
