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
mod dense_gaussian;
pub mod diagnostics;
mod el2o;
mod error;
mod hmc;
mod importance;
mod integrator;
mod lanczos;
mod lbfgs;
mod leap;
mod line_search;
pub mod loo;
mod map;
mod mclmc;
mod method;
mod mgvi;
mod muse;
mod newton_cg;
mod nuts;
mod options;
pub mod pareto;
mod particle;
mod pathfinder;
mod peak;
mod posterior;
mod precondition;
mod response;
mod scales;
mod search;
mod smc;
mod starts;
mod step_size;
mod straighten;
mod target;
mod tasks;
mod tempered;
mod tempering;
mod warm_start;
mod wiener;
mod workers;

pub use conjugate_gradient::{Solution, conjugate_gradient};
pub use el2o::{El2o, El2oOptions};
pub use error::{Error, Result};
pub use hmc::{Hmc, HmcOptions};
pub use integrator::{INTEGRATORS, Integrator};
pub use map::{Curvature, Map, MapOptions};
pub use mclmc::{Mclmc, MclmcOptions, watched_numbers};
pub use method::{Draw, Method, Number, Progress, Sampler, run_to_end};
pub use mgvi::{Mgvi, MgviOptions};
pub use muse::{Derivative, Muse, MuseOptions};
pub use nuts::{Nuts, NutsOptions};
pub use pathfinder::{Pathfinder, PathfinderOptions};
pub use posterior::Posterior;
pub use precondition::{PreconditionOptions, Preconditioned};
pub use scales::Metric;
pub use search::Optimizer;
pub use smc::{Smc, SmcOptions};
pub use target::{Evaluator, Target};
pub use tempering::{Thermodynamic, ThermodynamicOptions};
pub use warm_start::WarmStarted;
pub use wiener::{Wiener, WienerOptions};
pub use workers::Workers;

#[cfg(all(debug_assertions, not(test)))]
type Advance<M, T> = fn(&mut M, &Workers<'_, T>, &mut dyn FnMut(Draw<T>)) -> Result<Progress>;

/// Compiles what methods do in this crate, for both precisions, while it is developed: see `lookback_operator::compile_here`.
macro_rules! compile_methods {
    ($($method:ident),+) => {
        $(
            lookback_operator::compile_function!(Advance<$method<f32>, f32>, |method, workers, sink| method.advance(workers, sink));
            lookback_operator::compile_function!(Advance<$method<f64>, f64>, |method, workers, sink| method.advance(workers, sink));
        )+
    };
}

compile_methods!(Wiener, Map, Mgvi, El2o, Pathfinder, Smc, Thermodynamic, Hmc, Nuts, Mclmc, Muse);
