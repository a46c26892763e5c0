//! Inference: from the energy `H(z)` of a standard normal latent to estimates, samples and their diagnostics.
//!
//! This crate knows no astronomy. It sees a [`Target`]: the energy `H(z) = |z|^2 / 2 - ln L(d | F(g(z)))`, its gradient
//! and, where a method wants it, the metric `1 + J^T M J`. [`Posterior`] makes one of a model and a likelihood.
//! A [`Method`] is a state that advances step by step, can be written to disk between any two steps, and goes on from
//! there with the same result.

pub mod calibration;
mod chain;
mod conditional;
mod conjugate_gradient;
pub mod diagnostics;
mod error;
mod hmc;
mod lbfgs;
mod line_search;
mod map;
mod mclmc;
mod method;
mod mgvi;
mod muse;
mod newton_cg;
mod nuts;
pub mod pareto;
mod peak;
mod posterior;
mod precondition;
mod response;
mod scales;
mod step_size;
mod straighten;
mod target;
mod tempered;
mod wiener;
mod workers;

pub use conjugate_gradient::{Solution, conjugate_gradient};
pub use error::{Error, Result};
pub use hmc::{Hmc, HmcOptions};
pub use map::{Map, MapOptions, Optimizer};
pub use mclmc::{Integrator, Mclmc, MclmcOptions};
pub use method::{Draw, Method, Number, Progress, run_to_end};
pub use mgvi::{Mgvi, MgviOptions};
pub use muse::{Derivative, Muse, MuseOptions};
pub use nuts::{Nuts, NutsOptions};
pub use posterior::Posterior;
pub use precondition::{PreconditionOptions, Preconditioned};
pub use scales::Metric;
pub use target::{Evaluator, Target};
pub use wiener::{Wiener, WienerOptions};
pub use workers::Workers;
