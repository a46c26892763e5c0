//! Simulated universes as operators.

use std::sync::Arc;

use lookback::lensing::{LightConeSettings, RaySettings, RayTracing};
use lookback::mesh::{Grid, white_modes as fill_modes};
use lookback::nbody::{Bias, Galaxies, Modes, Particles, Simulation, Way};
use lookback::operator::random::{Purpose, Stream};
use lookback::operator::vector::check_finite;
use lookback::operator::{DynOperator, InSingle, Operator, Real};
use lookback::runfile::{CosmologySection, LightConeSection, SimulationSection};
use lookback::universe;
use numpy::IntoPyArray;
use numpy::{PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyUserWarning};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use serde::de::DeserializeOwned;

use crate::arrays::{Input, Output};
use crate::errors::raise;
use crate::operators::PyOperator;

/// A section of a run file from a dict with the same keys.
pub(crate) fn section<S: DeserializeOwned>(
    py: Python<'_>,
    name: &str,
    dict: Option<&Bound<'_, PyDict>>,
) -> PyResult<S> {
    let text = match dict {
        Some(dict) => {
            let options = PyDict::new(py);
            options.set_item("default", PyCFunction::new_closure(py, None, None, plain)?)?;
            let text = py.import("json")?.call_method("dumps", (dict,), Some(&options));
            text.map_err(|error| raise(format!("{name}: {error}")))?.extract::<String>()?
        }
        None => "{}".to_string(),
    };
    serde_json::from_str(&text).map_err(|error| raise(format!("{name}: {error}")))
}

/// Arrays and numbers of numpy as lists and numbers, and paths as texts: what JSON has no word for.
fn plain(arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<Py<PyAny>> {
    let value = arguments.get_item(0)?;
    let kind = value.get_type();
    for method in ["tolist", "__fspath__", "__float__"] {
        if value.hasattr(method)? {
            let plain = value.call_method0(method)?;
            // An extended float of numpy has itself for its list.
            if !plain.is_instance(&kind)? {
                return Ok(plain.unbind());
            }
        }
    }
    let kind = kind.name()?;
    Err(PyTypeError::new_err(format!(
        "a value is a `{kind}`; numbers, texts, arrays, lists and dicts can be read"
    )))
}

/// Names in a list, or one alone.
#[derive(Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    fn list(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

impl FromPyObject<'_, '_> for Names {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match value.extract::<String>() {
            Ok(one) => Ok(Names(vec![one])),
            Err(_) => value.extract().map(Names),
        }
    }
}

/// Refuses what has no memory for its derivatives, of which an operator gives both, with the arrays that are handed out then: as many numbers
/// as its input and its output have, and rounded copies of both in single precision.
fn check<T: Real>(numbers: usize, memory: impl Fn(Way) -> usize) -> PyResult<()> {
    let rounded = if size_of::<T>() < size_of::<f64>() { size_of::<T>() } else { 0 };
    let arrays = numbers * (size_of::<f64>() + rounded);
    lookback::memory::check_simulation(Way::most(&Way::DERIVATIVES, memory) + arrays).map_err(raise)
}

/// Does so for an operator.
fn check_operator<T: Real>(operator: &impl Operator<T>, memory: impl Fn(Way) -> usize) -> PyResult<()> {
    check::<T>(operator.domain().len() + operator.codomain().len(), memory)
}

/// What a simulation computes in: `f64`, or `f32` for half the memory of what it computes with. Arrays are float64 on either way.
trait Precision: Real {
    fn hold(operator: impl Operator<Self> + 'static) -> PyOperator;
}

impl Precision for f64 {
    fn hold(operator: impl Operator<f64> + 'static) -> PyOperator {
        PyOperator(Arc::new(operator))
    }
}

impl Precision for f32 {
    fn hold(operator: impl Operator<f32> + 'static) -> PyOperator {
        let operator: DynOperator<f32> = Arc::new(operator);
        PyOperator(Arc::new(InSingle::new(operator)))
    }
}

/// Does something in the precision of that name, which `$real` stands for.
macro_rules! in_precision {
    ($precision:expr, |$real:ident| $work:expr) => {
        match $precision {
            "f32" => {
                type $real = f32;
                $work
            }
            "f64" => {
                type $real = f64;
                $work
            }
            other => Err(raise(format!("precision must be \"f32\" or \"f64\", not \"{other}\""))),
        }
    };
}

/// A simulation from its sections, if there is memory for it and its gradient.
fn build_simulation<T: Real>(
    py: Python<'_>,
    simulation: &Bound<'_, PyDict>,
    cosmology: Option<&Bound<'_, PyDict>>,
    free: &Names,
) -> PyResult<Simulation<T>> {
    let simulation: SimulationSection = section(py, "simulation", Some(simulation))?;
    let cosmology: CosmologySection = section(py, "cosmology", cosmology)?;
    let cosmology = cosmology.build().map_err(raise)?;
    let settings = simulation.settings(&cosmology).map_err(raise)?;
    // Its arrays count once it is known which of them are handed out.
    check::<T>(0, |way| settings.memory::<T>(way))?;
    let simulation = Simulation::new(settings, cosmology, &free.list()).map_err(raise)?;
    warn(py, &simulation.advice())?;
    Ok(simulation)
}

/// A warning where the caller stands.
fn warn(py: Python<'_>, advice: &[String]) -> PyResult<()> {
    let kind = py.get_type::<PyUserWarning>();
    advice.iter().try_for_each(|text| PyErr::warn(py, &kind, &std::ffi::CString::new(text.as_str())?, 1))
}

/// Refuses rays where they would not be traced.
fn without_rays(cone: &LightConeSection, instead: &str) -> PyResult<()> {
    if cone.rays.is_none() {
        return Ok(());
    }
    Err(raise(format!("light_cone: `rays` are for `lookback simulate`; {instead}")))
}

/// An N-body simulation: white noise on the modes of the lattice, then the free parameters, to the density contrast at the
/// end. `simulation` and `cosmology` have the keys of the sections of run files. With `precision = "f32"` it computes in single
/// precision, in half the memory, and takes and gives float64 as before.
#[pyfunction]
#[pyo3(signature = (simulation, *, cosmology = None, free = Names::default(), precision = "f64"))]
pub(crate) fn nbody(
    py: Python<'_>,
    simulation: &Bound<'_, PyDict>,
    cosmology: Option<&Bound<'_, PyDict>>,
    free: Names,
    precision: &str,
) -> PyResult<PyOperator> {
    in_precision!(precision, |T| {
        let simulation = build_simulation::<T>(py, simulation, cosmology, &free)?;
        check_operator(&simulation, |way| simulation.settings().memory::<T>(way))?;
        Ok(T::hold(simulation))
    })
}

/// The particles of a simulation at its end: displacements from the lattice [Mpc/h], then peculiar velocities [km/s], each of the shape
/// `(3, n, n, n)`; `split` gives them by name. The rest as in `nbody`.
#[pyfunction]
#[pyo3(signature = (simulation, *, cosmology = None, free = Names::default(), precision = "f64"))]
pub(crate) fn particles(
    py: Python<'_>,
    simulation: &Bound<'_, PyDict>,
    cosmology: Option<&Bound<'_, PyDict>>,
    free: Names,
    precision: &str,
) -> PyResult<PyOperator> {
    in_precision!(precision, |T| {
        let simulation = build_simulation::<T>(py, simulation, cosmology, &free)?;
        let particles = Particles::new(simulation).map_err(raise)?;
        check_operator(&particles, |way| particles.memory(way))?;
        Ok(T::hold(particles))
    })
}

/// Maps of a simulated light cone: white noise on the modes of the lattice, then the free parameters, to the convergence of
/// each source, the density of each shell, and the density contrast of each sample of galaxies. `light_cone` has the keys of the
/// section of simulation files, `pixels` and `field_deg`, or `nside`, included. What is `free` may be a parameter of the universe,
/// `a_ia` (alignment of sources), `b1` or `b2` (`b1_1`, `b1_2`, ... of several samples): in the domain, parameters of the universe
/// stand first. `precision` as in `nbody`.
#[pyfunction]
#[pyo3(signature = (simulation, light_cone, *, cosmology = None, free = Names::default(), seed = 42, precision = "f64"))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn light_cone(
    py: Python<'_>,
    simulation: &Bound<'_, PyDict>,
    light_cone: &Bound<'_, PyDict>,
    cosmology: Option<&Bound<'_, PyDict>>,
    free: Names,
    seed: u64,
    precision: &str,
) -> PyResult<PyOperator> {
    let simulation: SimulationSection = section(py, "simulation", Some(simulation))?;
    let cosmology: CosmologySection = section(py, "cosmology", cosmology)?;
    let cone: LightConeSection = section(py, "light_cone", Some(light_cone))?;
    without_rays(&cone, "`lb.ray_tracing` traces them here")?;
    let settings: LightConeSettings = cone.sky().and_then(|sky| cone.settings(sky, seed)).map_err(raise)?;
    let free = free.list();
    in_precision!(precision, |T| {
        let cone = universe::light_cone::<T>(&cosmology, &simulation, settings, &free, &Way::DERIVATIVES);
        let cone = cone.map_err(raise)?;
        warn(py, &cone.simulation().advice())?;
        check_operator(&cone, |way| cone.memory(way))?;
        Ok(T::hold(cone))
    })
}

/// Density contrast of galaxies of a simulation at its end: Lagrangian `bias = (b1, b2)`, in redshift space along the last
/// axis or not. With `free_bias` the two numbers follow the other free parameters. `precision` as in `nbody`.
#[pyfunction]
#[pyo3(signature = (simulation, bias, *, redshift_space = true, cosmology = None, free = Names::default(), free_bias = false, precision = "f64"))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn galaxies(
    py: Python<'_>,
    simulation: &Bound<'_, PyDict>,
    bias: (f64, f64),
    redshift_space: bool,
    cosmology: Option<&Bound<'_, PyDict>>,
    free: Names,
    free_bias: bool,
    precision: &str,
) -> PyResult<PyOperator> {
    let bias = Bias { b1: bias.0, b2: bias.1 };
    in_precision!(precision, |T| {
        let simulation = build_simulation::<T>(py, simulation, cosmology, &free)?;
        let galaxies = Galaxies::new(simulation, bias, free_bias, redshift_space).map_err(raise)?;
        check_operator(&galaxies, |way| galaxies.memory(way))?;
        Ok(T::hold(galaxies))
    })
}

/// Convergence, shear and rotation of each source beyond the Born approximation: rays through `planes` lens planes of a
/// simulated light cone. `light_cone` has `pixels`, `field_deg` and the options of the cone, and no `sources`; `redshifts` are
/// those of the sources. `precision` as in `nbody`.
#[pyfunction]
#[pyo3(signature = (simulation, light_cone, redshifts, *, planes = 20, edge = 0.2, cosmology = None, free = Names::default(), seed = 42, precision = "f64"))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn ray_tracing(
    py: Python<'_>,
    simulation: &Bound<'_, PyDict>,
    light_cone: &Bound<'_, PyDict>,
    redshifts: Vec<f64>,
    planes: usize,
    edge: f64,
    cosmology: Option<&Bound<'_, PyDict>>,
    free: Names,
    seed: u64,
    precision: &str,
) -> PyResult<PyOperator> {
    let cone: LightConeSection = section(py, "light_cone", Some(light_cone))?;
    if !cone.sources.is_empty() || !cone.shells.is_empty() || !cone.galaxies.is_empty() {
        return Err(raise(
            "light_cone: rays make their own maps; leave out `sources`, `shells` and `galaxies`",
        ));
    }
    without_rays(&cone, "give `redshifts`, `planes` and `edge`")?;
    if !cone.subtract_mean {
        return Err(raise("light_cone: rays see no mean convergence; leave out `subtract_mean = False`"));
    }
    let cone = cone.sky().and_then(|sky| cone.settings(sky, seed)).map_err(raise)?;
    let rays = RaySettings { sources: redshifts, planes, edge };
    in_precision!(precision, |T| {
        let simulation = build_simulation::<T>(py, simulation, cosmology, &free)?;
        let rays = RayTracing::new(simulation, cone, rays).map_err(raise)?;
        check_operator(&rays, |way| rays.memory(way))?;
        Ok(T::hold(rays))
    })
}

/// White noise on the modes of a lattice of `side^3` particles: the same large scales for every `side`.
#[pyfunction]
#[pyo3(signature = (side, *, seed, realisation = 0))]
pub(crate) fn white_modes<'py>(
    py: Python<'py>,
    side: usize,
    seed: u64,
    realisation: u32,
) -> PyResult<Output<'py>> {
    let grid = Grid::new(&[side; 3], &[1.0; 3]).map_err(raise)?;
    let mut modes = vec![0.0; grid.len()];
    fill_modes(&grid, Stream::new(seed, Purpose::Signal, realisation), &mut modes);
    modes.into_pyarray(py).reshape(vec![side; 3])
}

/// White noise in a box as the latents of a simulation of it: an orthonormal transform to the modes of the lattice, real ones as cosine plus
/// sine. `field` is `(n, n, n)`; a linear density of another code becomes white noise by dividing its Fourier modes by `sqrt(P(k) / cell volume)`.
#[pyfunction]
pub(crate) fn modes_of<'py>(py: Python<'py>, field: Input<'py>) -> PyResult<Output<'py>> {
    let shape = field.shape().to_vec();
    let &[side, second, third] = &shape[..] else {
        return Err(raise(format!("a field in a box has three axes, not {}", shape.len())));
    };
    if side != second || side != third {
        return Err(raise(format!("a field in a box has as many numbers along each axis, not {shape:?}")));
    }
    let grid = Grid::new(&[side; 3], &[1.0; 3]).map_err(raise)?;
    let field: Vec<f64> = field.as_array().iter().copied().collect();
    check_finite("modes_of", "field", &field).map_err(raise)?;
    Modes::new(&grid).from_field(&field).into_pyarray(py).reshape(shape)
}
