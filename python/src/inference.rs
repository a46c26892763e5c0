//! Methods of inference on a posterior.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lookback_inference::{
    Curvature, Derivative, Draw, El2o, El2oOptions, Hmc, HmcOptions, INTEGRATORS, Integrator, Map,
    MapOptions, Mclmc, MclmcOptions, Method, Metric, Mgvi, MgviOptions, Muse, MuseOptions, Nuts, NutsOptions,
    Optimizer, Pathfinder, PathfinderOptions, Posterior, PreconditionOptions, Preconditioned, Sampler, Smc,
    SmcOptions, Target, Thermodynamic, ThermodynamicOptions, Wiener, WienerOptions, Workers,
    diagnostics as diagnose,
};
use lookback_operator::Space;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{Input, Output, fits, shaped, slice};
use crate::errors::{interruptible, raise};
use crate::likelihoods::PyLikelihood;
use crate::operators::PyOperator;

/// A model joined to the likelihood of its output.
#[pyclass(name = "Posterior", frozen, module = "lookback")]
pub(crate) struct PyPosterior {
    target: Arc<dyn Target<f64> + Send + Sync>,
    space: Option<Space>,
}

impl PyPosterior {
    pub(crate) fn from_target(target: Arc<dyn Target<f64> + Send + Sync>) -> PyPosterior {
        PyPosterior { target, space: None }
    }
}

/// The prediction of a model may be several blocks, data are one array: only lengths need to agree.
struct Relabelled {
    inner: lookback_operator::DynOperator<f64>,
    codomain: Space,
}

impl lookback_operator::Operator<f64> for Relabelled {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn domain(&self) -> &Space {
        self.inner.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn is_linear(&self) -> bool {
        self.inner.is_linear()
    }

    fn linearization(&self) -> Box<dyn lookback_operator::Linearization<f64> + '_> {
        self.inner.linearization()
    }
}

#[pymethods]
impl PyPosterior {
    #[new]
    fn new(model: &PyOperator, likelihood: &PyLikelihood) -> PyResult<PyPosterior> {
        let (found, expected) = (model.0.codomain(), likelihood.0.space());
        if found.len() != expected.len() {
            let message = format!(
                "the model predicts {found}: {} numbers, but there are {} data",
                found.len(),
                expected.len()
            );
            return Err(raise(message));
        }
        if let [data] = expected.blocks()
            && !fits(&data.shape, found)
        {
            let message = format!(
                "the model predicts {found}, but the data have the shape {:?}: they must have its shapes in its order, or one axis",
                data.shape
            );
            return Err(raise(message));
        }
        let space = model.0.domain().clone();
        let model = Arc::new(Relabelled { inner: model.0.clone(), codomain: expected.clone() });
        let posterior = Posterior::new(model, likelihood.0.clone()).map_err(raise)?;
        Ok(PyPosterior { target: Arc::new(posterior), space: Some(space) })
    }

    /// Number of latents.
    #[getter]
    fn dim(&self) -> usize {
        self.target.dim()
    }

    /// `H(z)` and its gradient; `H` is infinite where the prediction is impossible.
    fn energy<'py>(&self, py: Python<'py>, z: Input<'py>) -> PyResult<(f64, Output<'py>)> {
        let z = slice(&z, "latent", self.dim())?;
        let mut gradient = vec![0.0; z.len()];
        let target = &self.target;
        let energy = py.detach(|| {
            let mut evaluator = target.evaluator();
            let energy = evaluator.energy(z, &mut gradient)?;
            // Whoever asks for one point wants to know what is wrong with it.
            evaluator.refusal().map_or(Ok(energy), Err)
        });
        let energy = energy.map_err(raise)?;
        Ok((energy, shaped(py, gradient, &self.latent_space())?))
    }

    fn __repr__(&self) -> String {
        format!("Posterior({} latents)", self.dim())
    }
}

impl PyPosterior {
    fn latent_space(&self) -> Space {
        self.space.clone().unwrap_or_else(|| Space::single("latent", &[self.target.dim()], ""))
    }
}

/// What a method found.
#[pyclass(name = "Result", frozen, module = "lookback")]
pub(crate) struct PyResult_ {
    space: Space,
    centre: Option<Vec<f64>>,
    samples: Vec<Vec<f64>>,
    chains: Vec<usize>,
    diverged: Vec<bool>,
    figures: Vec<(String, f64)>,
}

#[pymethods]
impl PyResult_ {
    /// The exact mean or the maximum, in latents; `None` for Markov chains.
    #[getter]
    fn centre<'py>(&self, py: Python<'py>) -> PyResult<Option<Output<'py>>> {
        self.centre.as_ref().map(|z| shaped(py, z.clone(), &self.space)).transpose()
    }

    /// Samples in latents, a row each.
    #[getter]
    fn samples<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        PyArray2::from_vec2(py, &self.samples).map_err(raise)
    }

    /// Chain of each sample.
    #[getter]
    fn chains<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<usize>> {
        self.chains.clone().into_pyarray(py)
    }

    /// Whether a trajectory diverged on the way to each sample: such places are near what the chain could not enter.
    #[getter]
    fn diverged<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        self.diverged.clone().into_pyarray(py)
    }

    /// Named figures: iterations, acceptance, step sizes.
    #[getter]
    fn figures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        for (name, value) in &self.figures {
            figures.set_item(name, value)?;
        }
        Ok(figures)
    }

    fn __repr__(&self) -> String {
        format!("Result({} samples)", self.samples.len())
    }
}

fn work<M: Method<f64>>(py: Python<'_>, posterior: &PyPosterior, method: M) -> PyResult<PyResult_> {
    let target = posterior.target.clone();
    let (draws, figures) = interruptible(py, move |stop: &AtomicBool| {
        let mut method = method;
        let workers = Workers::new(target.as_ref(), stop);
        let mut draws = Vec::new();
        while !method.advance(&workers, &mut |draw| draws.push(draw))?.done {}
        Ok::<_, lookback_inference::Error>((draws, method.figures()))
    })?;
    let mut result = PyResult_ {
        space: posterior.latent_space(),
        centre: None,
        samples: Vec::new(),
        chains: Vec::new(),
        diverged: Vec::new(),
        figures,
    };
    for draw in draws {
        match draw {
            Draw::Centre { z } => result.centre = Some(z),
            Draw::Sample { z, chain, diverged, .. } => {
                result.samples.push(z);
                result.chains.push(chain);
                result.diverged.push(diverged);
            }
        }
    }
    Ok(result)
}

/// Runs a sampler, in coordinates in which the posterior around its maximum is round if a rank is given.
fn chains_of<M: Sampler<f64>>(
    py: Python<'_>,
    posterior: &PyPosterior,
    mut method: M,
    precondition: Option<usize>,
    start: Option<Vec<Vec<f64>>>,
    seed: u64,
) -> PyResult<PyResult_> {
    let Some(rank) = precondition else {
        if let Some(latents) = start {
            method.start_from(latents);
        }
        return work(py, posterior, method);
    };
    let options = PreconditionOptions { rank, ..PreconditionOptions::default() };
    let mut method = Preconditioned::new(options, method, seed).map_err(raise)?;
    if let Some(latents) = start {
        method.start_from(latents);
    }
    work(py, posterior, method)
}

/// The exact mean and exact samples, for a linear model with Gaussian noise.
#[pyfunction]
#[pyo3(signature = (posterior, *, samples = 0, tolerance = 1e-4, max_iterations = 2000, seed = 42))]
pub(crate) fn wiener(
    py: Python<'_>,
    posterior: &PyPosterior,
    samples: usize,
    tolerance: f64,
    max_iterations: usize,
    seed: u64,
) -> PyResult<PyResult_> {
    let options = WienerOptions { samples, tolerance, max_iterations };
    work(py, posterior, Wiener::new(options, seed).map_err(raise)?)
}

/// The maximum, and samples of the Laplace approximation. Optimiser: `newton_cg`, `lbfgs`, `gradient_descent` or `adam`; curvature:
/// `hessian` (all second derivatives; the default up to 200 latents) or `fisher`, whose determinant random `probes` estimate for the evidence.
#[pyfunction]
#[pyo3(signature = (posterior, *, samples = 0, optimizer = "newton_cg", tolerance = 1e-3, max_iterations = 500, learning_rate = 0.1, starts = 1, curvature = None, probes = 0, start_scale = 0.1, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn laplace(
    py: Python<'_>,
    posterior: &PyPosterior,
    samples: usize,
    optimizer: &str,
    tolerance: f64,
    max_iterations: usize,
    learning_rate: f64,
    starts: usize,
    curvature: Option<&str>,
    probes: usize,
    start_scale: f64,
    seed: u64,
) -> PyResult<PyResult_> {
    let optimizer = optimizer_named(optimizer)?;
    let curvature = match curvature {
        None => None,
        Some("hessian") => Some(Curvature::Hessian),
        Some("fisher") => Some(Curvature::Fisher),
        Some(other) => {
            return Err(raise(format!("there is no curvature `{other}`; use `hessian` or `fisher`")));
        }
    };
    let options = MapOptions {
        optimizer,
        tolerance,
        max_iterations,
        learning_rate,
        starts,
        samples,
        curvature,
        probes,
        start_scale,
        ..MapOptions::default()
    };
    work(py, posterior, Map::new(options, seed).map_err(raise)?)
}

/// Gaussians on the modes that agree with the posterior in value, slope and curvature at their own samples; shares of the modes and
/// the evidence are among the figures.
#[pyfunction]
#[pyo3(signature = (posterior, *, starts = 1, start_scale = 1.0, modes = 8, optimizer = "lbfgs", max_iterations = 2000, pairs = 4, rounds = 30, tolerance = 1e-2, samples = 1000, candidates = 1, moves = 0, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn el2o(
    py: Python<'_>,
    posterior: &PyPosterior,
    starts: usize,
    start_scale: f64,
    modes: usize,
    optimizer: &str,
    max_iterations: usize,
    pairs: usize,
    rounds: usize,
    tolerance: f64,
    samples: usize,
    candidates: usize,
    moves: usize,
    seed: u64,
) -> PyResult<PyResult_> {
    let optimizer = optimizer_named(optimizer)?;
    let options = El2oOptions {
        starts,
        start_scale,
        modes,
        optimizer,
        max_iterations,
        pairs,
        rounds,
        tolerance,
        samples,
        candidates,
        moves,
    };
    work(py, posterior, El2o::new(options, seed).map_err(raise)?)
}

/// The best of the Gaussians along the ways of L-BFGS to the maximum; samples are chosen by importance.
#[pyfunction]
#[pyo3(signature = (posterior, *, paths = 4, start_scale = 1.0, tolerance = 1e-3, max_iterations = 1000, judging = 10, draws_per_path = 500, samples = 500, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn pathfinder(
    py: Python<'_>,
    posterior: &PyPosterior,
    paths: usize,
    start_scale: f64,
    tolerance: f64,
    max_iterations: usize,
    judging: usize,
    draws_per_path: usize,
    samples: usize,
    seed: u64,
) -> PyResult<PyResult_> {
    let options =
        PathfinderOptions { paths, start_scale, tolerance, max_iterations, judging, draws_per_path, samples };
    work(py, posterior, Pathfinder::new(options, seed).map_err(raise)?)
}

/// The evidence, from Markov chains on a ladder of temperatures between prior and posterior; samples are those of the posterior.
#[pyfunction]
#[pyo3(signature = (posterior, *, chains = 4, warmup = 150, draws = 300, overlap = 0.5, target_acceptance = 0.8, max_rungs = 200, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn thermodynamic(
    py: Python<'_>,
    posterior: &PyPosterior,
    chains: usize,
    warmup: usize,
    draws: usize,
    overlap: f64,
    target_acceptance: f64,
    max_rungs: usize,
    seed: u64,
) -> PyResult<PyResult_> {
    let options = ThermodynamicOptions { chains, warmup, draws, overlap, target_acceptance, max_rungs };
    work(py, posterior, Thermodynamic::new(options, seed).map_err(raise)?)
}

/// Particles that are cooled from the prior to the posterior (sequential Monte Carlo), and the evidence: for posteriors of few latents with
/// several modes, whose shares come out right.
#[pyfunction]
#[pyo3(signature = (posterior, *, particles = 1000, overlap = 0.5, moves = 3, final_moves = 10, leaps = 5, target_acceptance = 0.75, max_rungs = 200, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn smc(
    py: Python<'_>,
    posterior: &PyPosterior,
    particles: usize,
    overlap: f64,
    moves: usize,
    final_moves: usize,
    leaps: usize,
    target_acceptance: f64,
    max_rungs: usize,
    seed: u64,
) -> PyResult<PyResult_> {
    let options = SmcOptions { particles, overlap, moves, final_moves, leaps, target_acceptance, max_rungs };
    work(py, posterior, Smc::new(options, seed).map_err(raise)?)
}

/// Functions that differ in nothing but the constructor of their method.
macro_rules! variational {
    ($(#[$doc:meta])* $name:ident, $constructor:ident) => {
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (posterior, *, iterations = 10, pairs = 4, final_pairs = 50, newton_steps = 8, tolerance = 1e-2, start_scale = 0.1, seed = 42))]
        #[allow(clippy::too_many_arguments)]
        pub(crate) fn $name(
            py: Python<'_>,
            posterior: &PyPosterior,
            iterations: usize,
            pairs: usize,
            final_pairs: usize,
            newton_steps: usize,
            tolerance: f64,
            start_scale: f64,
            seed: u64,
        ) -> PyResult<PyResult_> {
            let options = MgviOptions { iterations, pairs, final_pairs, newton_steps, tolerance, start_scale };
            work(py, posterior, Mgvi::$constructor(options, seed).map_err(raise)?)
        }
    };
}

variational! {
    /// Metric Gaussian variational inference.
    mgvi, new
}

variational! {
    /// Geometric variational inference: as [`mgvi`], with samples that bend with the posterior.
    geovi, geometric
}

/// See [`variational`].
macro_rules! trajectories {
    ($(#[$doc:meta])* $name:ident, $constructor:ident) => {
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (posterior, *, chains = 4, warmup = 200, draws = 500, thin = 1, path_length = 1.5, target_acceptance = 0.8, integrator = "leapfrog", start_scale = 0.1, precondition = None, start = None, seed = 42))]
        #[allow(clippy::too_many_arguments)]
        pub(crate) fn $name(
            py: Python<'_>,
            posterior: &PyPosterior,
            chains: usize,
            warmup: usize,
            draws: usize,
            thin: usize,
            path_length: f64,
            target_acceptance: f64,
            integrator: &str,
            start_scale: f64,
            precondition: Option<usize>,
            start: Option<Vec<Vec<f64>>>,
            seed: u64,
        ) -> PyResult<PyResult_> {
            let integrator = integrator_named(integrator)?;
            let options =
                HmcOptions { chains, warmup, draws, thin, path_length, target_acceptance, integrator, start_scale };
            chains_of(py, posterior, Hmc::$constructor(options, seed).map_err(raise)?, precondition, start, seed)
        }
    };
}

trajectories! {
    /// Hamiltonian Monte Carlo; samples of the chains take turns. `precondition` is the number of directions in which the posterior around its
    /// maximum is made round first, `integrator` one of `leapfrog`, `minimal_norm` and `two_stage`, and `start` are latents at which chains start, a row each, such as the samples of an
    /// approximation; here and for the other samplers.
    hmc, new
}

trajectories! {
    /// The Metropolis-adjusted Langevin algorithm: trajectories of one step; `path_length` has no effect.
    mala, langevin
}

trajectories! {
    /// The Metropolis-adjusted microcanonical sampler: trajectories at constant speed, accepted or refused as a whole.
    mams, microcanonical
}

/// An optimiser by its name.
fn optimizer_named(name: &str) -> PyResult<Optimizer> {
    match name {
        "newton_cg" => Ok(Optimizer::NewtonCg),
        "lbfgs" => Ok(Optimizer::Lbfgs),
        "gradient_descent" => Ok(Optimizer::GradientDescent),
        "adam" => Ok(Optimizer::Adam),
        other => Err(raise(format!(
            "there is no optimizer `{other}`; use `newton_cg`, `lbfgs`, `gradient_descent` or `adam`"
        ))),
    }
}

/// The metric of a sampler by its name.
fn metric_named(name: &str) -> PyResult<Metric> {
    match name {
        "diagonal" => Ok(Metric::Diagonal),
        "unit" => Ok(Metric::Unit),
        other => Err(raise(format!("there is no metric `{other}`; use `diagonal` or `unit`"))),
    }
}

/// An integrator by its name.
fn integrator_named(name: &str) -> PyResult<Integrator> {
    let found = INTEGRATORS.into_iter().find(|(known, _)| *known == name);
    let known = || INTEGRATORS.map(|(known, _)| format!("`{known}`")).join(", ");
    found
        .map(|(_, integrator)| integrator)
        .ok_or_else(|| raise(format!("there is no integrator `{name}`; there are {}", known())))
}

/// The No-U-Turn sampler; samples of the chains take turns. In ten thousand dimensions `integrator = "two_stage"` saves gradients; in funnels
/// `halve_above = 2.0` (with `metric = "unit"`) takes steps in which the energy spreads by more in halves, quarters and so on, where they would diverge.
#[pyfunction]
#[pyo3(signature = (posterior, *, chains = 4, warmup = 400, draws = 1000, thin = 1, target_acceptance = 0.8, max_depth = 10, halve_above = None, integrator = "leapfrog", metric = "diagonal", start_scale = 0.1, precondition = None, start = None, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn nuts(
    py: Python<'_>,
    posterior: &PyPosterior,
    chains: usize,
    warmup: usize,
    draws: usize,
    thin: usize,
    target_acceptance: f64,
    max_depth: usize,
    halve_above: Option<f64>,
    integrator: &str,
    metric: &str,
    start_scale: f64,
    precondition: Option<usize>,
    start: Option<Vec<Vec<f64>>>,
    seed: u64,
) -> PyResult<PyResult_> {
    let (integrator, metric) = (integrator_named(integrator)?, metric_named(metric)?);
    let options = NutsOptions {
        chains,
        warmup,
        draws,
        thin,
        target_acceptance,
        max_depth,
        halve_above,
        integrator,
        metric,
        start_scale,
    };
    chains_of(py, posterior, Nuts::new(options, seed).map_err(raise)?, precondition, start, seed)
}

/// Microcanonical Langevin Monte Carlo; samples of the chains take turns.
#[pyfunction]
#[pyo3(signature = (posterior, *, chains = 4, warmup = 2000, draws = 10_000, thin = 10, energy_error = 5e-4, integrator = "minimal_norm", metric = "diagonal", start_scale = 0.1, precondition = None, start = None, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn mclmc(
    py: Python<'_>,
    posterior: &PyPosterior,
    chains: usize,
    warmup: usize,
    draws: usize,
    thin: usize,
    energy_error: f64,
    integrator: &str,
    metric: &str,
    start_scale: f64,
    precondition: Option<usize>,
    start: Option<Vec<Vec<f64>>>,
    seed: u64,
) -> PyResult<PyResult_> {
    let (integrator, metric) = (integrator_named(integrator)?, metric_named(metric)?);
    let options = MclmcOptions { chains, warmup, draws, thin, energy_error, integrator, metric, start_scale };
    chains_of(py, posterior, Mclmc::new(options, seed).map_err(raise)?, precondition, start, seed)
}

/// Marginal posterior of a few parameters over all other latents, from maxima of the data and of simulations. `parameters`
/// are names of blocks of the latents, or places in the flat latent.
#[pyfunction]
#[pyo3(signature = (posterior, parameters, *, simulations = 100, derivative_simulations = 20, derivative = "implicit", tolerance = 1e-2, max_iterations = 50, step = 0.7, optimizer = "newton_cg", samples = 100, start_scale = 0.1, seed = 42))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn muse(
    py: Python<'_>,
    posterior: &PyPosterior,
    parameters: Vec<Parameter>,
    simulations: usize,
    derivative_simulations: usize,
    derivative: &str,
    tolerance: f64,
    max_iterations: usize,
    step: f64,
    optimizer: &str,
    samples: usize,
    start_scale: f64,
    seed: u64,
) -> PyResult<PyResult_> {
    let derivative = match derivative {
        "implicit" => Derivative::Implicit,
        "finite_difference" => Derivative::FiniteDifference,
        other => {
            let message = format!("there is no derivative `{other}`; use `implicit` or `finite_difference`");
            return Err(raise(message));
        }
    };
    let named = |parameter| match parameter {
        Parameter::Place(place) => place.to_string(),
        Parameter::Name(name) => name,
    };
    let options = MuseOptions {
        parameters: parameters.into_iter().map(named).collect(),
        simulations,
        derivative_simulations,
        derivative,
        tolerance,
        max_iterations,
        step,
        optimizer: optimizer_named(optimizer)?,
        samples,
        start_scale,
    };
    work(py, posterior, Muse::named(options, &posterior.latent_space(), seed).map_err(raise)?)
}

/// A parameter by name, or by its place.
#[derive(FromPyObject)]
pub(crate) enum Parameter {
    /// A place in the flat latent.
    #[pyo3(transparent)]
    Place(usize),
    /// A block of latents.
    #[pyo3(transparent)]
    Name(String),
}

/// R-hat, bulk and tail effective sample size, and Monte-Carlo error of the mean, of chains (a row each).
#[pyfunction]
pub(crate) fn diagnostics<'py>(py: Python<'py>, chains: Vec<Vec<f64>>) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("r_hat", diagnose::r_hat(&chains))?;
    out.set_item("ess_bulk", diagnose::ess_bulk(&chains))?;
    out.set_item("ess_tail", diagnose::ess_tail(&chains))?;
    out.set_item("mcse_mean", diagnose::mcse_mean(&chains))?;
    Ok(out)
}
