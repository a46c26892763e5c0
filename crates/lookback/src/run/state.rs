//! The method of a run, chosen by its run file, as one state.

use lookback_inference::{
    Draw, Hmc, Map, Mclmc, Method, Mgvi, Number, Nuts, Progress, Result, Wiener, Workers,
};
use serde::{Deserialize, Serialize};

use crate::runfile::MethodSection;

/// Any of the methods.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub enum State<T: Number> {
    /// Exact.
    Wiener(Wiener<T>),
    /// Maximum and Laplace samples.
    Map(Map<T>),
    /// Variational.
    Mgvi(Mgvi<T>),
    /// Markov chains of trajectories of a given length.
    Hmc(Hmc<T>),
    /// Markov chains of trajectories that end where they turn.
    Nuts(Nuts<T>),
    /// Markov chains at constant speed.
    Mclmc(Mclmc<T>),
}

impl<T: Number> State<T> {
    /// The method that a run file names, at its beginning.
    pub(crate) fn new(section: &MethodSection, seed: u64) -> Result<State<T>> {
        Ok(match section.clone() {
            MethodSection::Wiener(options) => State::Wiener(Wiener::new(options, seed)?),
            MethodSection::Map(options) => State::Map(Map::new(options, seed)?),
            MethodSection::Mgvi(options) => State::Mgvi(Mgvi::new(options, seed)?),
            MethodSection::Hmc(options) => State::Hmc(Hmc::new(options, seed)?),
            MethodSection::Nuts(options) => State::Nuts(Nuts::new(options, seed)?),
            MethodSection::Mclmc(options) => State::Mclmc(Mclmc::new(options, seed)?),
        })
    }
}

impl<T: Number> Method<T> for State<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        match self {
            State::Wiener(method) => method.advance(workers, sink),
            State::Map(method) => method.advance(workers, sink),
            State::Mgvi(method) => method.advance(workers, sink),
            State::Hmc(method) => method.advance(workers, sink),
            State::Nuts(method) => method.advance(workers, sink),
            State::Mclmc(method) => method.advance(workers, sink),
        }
    }

    fn figures(&self) -> Vec<(String, f64)> {
        match self {
            State::Wiener(method) => method.figures(),
            State::Map(method) => method.figures(),
            State::Mgvi(method) => method.figures(),
            State::Hmc(method) => method.figures(),
            State::Nuts(method) => method.figures(),
            State::Mclmc(method) => method.figures(),
        }
    }
}
