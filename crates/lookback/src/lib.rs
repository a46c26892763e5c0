//! From a run file to its results: the astronomer's side of Lookback.
//!
//! [`RunFile`](runfile::RunFile) names a prior, a forward model, data with noise, a method and an output;
//! [`Problem`](problem::Problem) builds the operators and reads the data; [`run`] does the work, with checkpoints, and
//! writes maps, samples, a summary and a report.

pub mod calibrate;
pub mod compare;
pub mod datasets;
mod error;
mod explain;
pub mod files;
pub mod formats;
mod free_memory;
mod kept;
pub mod learn;
pub mod memory;
pub mod problem;
pub mod report;
pub mod run;
pub mod runfile;
pub mod sharpen;
pub mod simulate;
pub mod universe;

pub use error::{Error, Result};
pub use explain::explain;
pub use {
    lookback_cosmology as cosmology, lookback_imaging as imaging, lookback_inference as inference,
    lookback_learn as learning, lookback_lensing as lensing, lookback_likelihood as likelihood,
    lookback_mesh as mesh, lookback_nbody as nbody, lookback_operator as operator, lookback_prior as prior,
};

/// The code in the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Version of Lookback, as it is written into every output.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sets the number of threads of this process (0: as many as there are cores). Only the first call has an effect.
/// Results do not depend on it.
pub fn use_threads(count: usize) {
    // A second call finds the pool built: it keeps the threads that it has.
    rayon::ThreadPoolBuilder::new().num_threads(count).build_global().ok();
}
