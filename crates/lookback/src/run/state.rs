//! The method of a run, chosen by its run file, as one state.

use lookback_inference::{
    Draw, El2o, Hmc, Map, Mclmc, Method, Mgvi, Muse, MuseOptions, Number, Nuts, Pathfinder, Preconditioned,
    Progress, Result, Sampler, Smc, Thermodynamic, WarmStarted, Wiener, Workers,
};
use lookback_operator::Space;
use serde::{Deserialize, Serialize};

use crate::runfile::{MethodSection, RunFile};

/// Any of the methods.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub enum State<T: Number> {
    /// Exact.
    Wiener(Wiener<T>),
    /// Maximum and Laplace samples.
    Map(Map<T>),
    /// Variational, straight or bent.
    Mgvi(Mgvi<T>),
    /// Markov chains of trajectories of a given length, with momenta or at constant speed.
    Hmc(Hmc<T>),
    /// Markov chains of trajectories that end where they turn.
    Nuts(Nuts<T>),
    /// Markov chains at constant speed.
    Mclmc(Mclmc<T>),
    /// Gaussians on modes.
    El2o(El2o<T>),
    /// Gaussians along ways to the maximum.
    Pathfinder(Pathfinder<T>),
    /// Marginal posterior of parameters, from maxima.
    Muse(Muse<T>),
    /// A ladder of temperatures.
    Thermodynamic(Thermodynamic<T>),
    /// Markov chains in coordinates in which the posterior around its maximum is round.
    Preconditioned(Box<Preconditioned<T, State<T>>>),
    /// Markov chains that start from an approximation.
    WarmStarted(Box<WarmStarted<T, State<T>, State<T>>>),
    /// Particles that are cooled from the prior.
    Smc(Smc<T>),
}

impl<T: Number> State<T> {
    /// The method that a run file names, at its beginning, for these latents.
    pub(crate) fn new(run: &RunFile, latents: &Space, seed: u64) -> Result<State<T>> {
        let mut method = State::plain(&run.method, latents, seed)?;
        if let Some(options) = &run.precondition {
            method = State::Preconditioned(Box::new(Preconditioned::new(options.clone(), method, seed)?));
        }
        let Some(start) = &run.warm_start else { return Ok(method) };
        let approximation = State::plain(start, latents, seed)?;
        let chains = run.method.chains();
        Ok(State::WarmStarted(Box::new(WarmStarted::new(approximation, method, chains))))
    }

    fn plain(section: &MethodSection, latents: &Space, seed: u64) -> Result<State<T>> {
        Ok(match section.clone() {
            MethodSection::Wiener(options) => State::Wiener(Wiener::new(options, seed)?),
            MethodSection::Map(options) => State::Map(Map::new(options, seed)?),
            MethodSection::Mgvi(options) => State::Mgvi(Mgvi::new(options, seed)?),
            MethodSection::Geovi(options) => State::Mgvi(Mgvi::geometric(options, seed)?),
            MethodSection::Hmc(options) => State::Hmc(Hmc::new(options, seed)?),
            MethodSection::Mala(options) => State::Hmc(Hmc::langevin(options, seed)?),
            MethodSection::Mams(options) => State::Hmc(Hmc::microcanonical(options, seed)?),
            MethodSection::Nuts(options) => State::Nuts(Nuts::new(options, seed)?),
            MethodSection::Mclmc(options) => State::Mclmc(Mclmc::new(options, seed)?),
            MethodSection::El2o(options) => State::El2o(El2o::new(options, seed)?),
            MethodSection::Pathfinder(options) => State::Pathfinder(Pathfinder::new(options, seed)?),
            MethodSection::Muse(options) => State::Muse(muse(options, latents, seed)?),
            MethodSection::Thermodynamic(options) => State::Thermodynamic(Thermodynamic::new(options, seed)?),
            MethodSection::Smc(options) => State::Smc(Smc::new(options, seed)?),
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
            State::El2o(method) => method.advance(workers, sink),
            State::Pathfinder(method) => method.advance(workers, sink),
            State::Muse(method) => method.advance(workers, sink),
            State::Thermodynamic(method) => method.advance(workers, sink),
            State::Smc(method) => method.advance(workers, sink),
            State::Preconditioned(method) => method.advance(workers, sink),
            State::WarmStarted(method) => method.advance(workers, sink),
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
            State::El2o(method) => method.figures(),
            State::Pathfinder(method) => method.figures(),
            State::Muse(method) => method.figures(),
            State::Thermodynamic(method) => method.figures(),
            State::Smc(method) => method.figures(),
            State::Preconditioned(method) => method.figures(),
            State::WarmStarted(method) => method.figures(),
        }
    }
}

impl<T: Number> Sampler<T> for State<T> {
    fn start_from(&mut self, latents: Vec<Vec<T>>) {
        match self {
            State::Hmc(method) => method.start_from(latents),
            State::Nuts(method) => method.start_from(latents),
            State::Mclmc(method) => method.start_from(latents),
            State::Preconditioned(method) => method.start_from(latents),
            // A run file that asks for a warm start of something else is refused before it gets here.
            _ => {}
        }
    }
}

/// All parameters that are single numbers, if none is named.
fn muse<T: Number>(mut options: MuseOptions, latents: &Space, seed: u64) -> Result<Muse<T>> {
    if options.parameters.is_empty() {
        options.parameters = latents.numbers().map(|(name, _)| name.into()).collect();
    }
    Muse::named(options, latents, seed)
}
