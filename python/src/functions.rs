//! Python functions as forward models, as likelihoods, and as whole energies.

use std::sync::Arc;

use lookback_inference::{Evaluator, Target};
use lookback_likelihood::Likelihood;
use lookback_operator::random::Stream;
use lookback_operator::{Error, Foreign, Linearization, Operator, Result, Space};
use numpy::PyReadonlyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::arrays::{contiguous, shaped};
use crate::inference::PyPosterior;
use crate::likelihoods::PyLikelihood;
use crate::operators::PyOperator;

fn failed(name: &str, message: impl std::fmt::Display) -> Error {
    Error::External { operator: name.into(), message: message.to_string(), source: None }
}

/// An exception of a Python function.
fn raised(name: &str, error: PyErr) -> Error {
    Error::External { operator: name.into(), message: error.to_string(), source: Some(Foreign::new(error)) }
}

/// Copies what a Python function returned into a slice of the same length.
fn copy_out(name: &str, what: &str, value: &Bound<'_, PyAny>, out: &mut [f64]) -> Result<()> {
    let array: PyReadonlyArrayDyn<'_, f64> = value
        .extract()
        .map_err(|_| failed(name, format!("its {what} is {}, not a float64 array", value.get_type())))?;
    let values =
        contiguous(&array).ok_or_else(|| failed(name, format!("its {what} is not contiguous in C order")))?;
    if values.len() != out.len() {
        let message = format!("its {what} has {} entries, {} are needed", values.len(), out.len());
        return Err(failed(name, message));
    }
    out.copy_from_slice(values);
    Ok(())
}

/// A forward model written in Python.
struct Function {
    name: String,
    callable: Py<PyAny>,
    domain: Space,
    codomain: Space,
}

impl Operator<f64> for Function {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<f64> + '_> {
        Box::new(FunctionLinearization { function: self, pull: None, push: None })
    }
}

struct FunctionLinearization<'a> {
    function: &'a Function,
    pull: Option<Py<PyAny>>,
    push: Option<Py<PyAny>>,
}

impl FunctionLinearization<'_> {
    fn product(
        &self,
        which: Option<&Py<PyAny>>,
        what: &str,
        (input, space): (&[f64], &Space),
        output: &mut [f64],
    ) -> Result<()> {
        let name = &self.function.name;
        let Some(product) = which else {
            let message =
                format!("offers no `{what}`; return it from the function to use a method that needs it");
            return Err(failed(name, message));
        };
        Python::attach(|py| {
            let argument = shaped(py, input.to_vec(), space).map_err(|error| failed(name, error))?;
            let value = product.bind(py).call1((argument,)).map_err(|error| raised(name, error))?;
            copy_out(name, what, &value, output)
        })
    }
}

impl Linearization<f64> for FunctionLinearization<'_> {
    fn move_to(&mut self, x: &[f64], y: &mut [f64]) -> Result<()> {
        let name = &self.function.name;
        for (role, expected, found) in [
            ("input", self.function.domain.len(), x.len()),
            ("output", self.function.codomain.len(), y.len()),
        ] {
            if expected != found {
                return Err(Error::Length { operator: name.clone(), role, expected, found });
            }
        }
        Python::attach(|py| {
            let argument =
                shaped(py, x.to_vec(), &self.function.domain).map_err(|error| failed(name, error))?;
            let value =
                self.function.callable.bind(py).call1((argument,)).map_err(|error| raised(name, error))?;
            let parts = value
                .cast::<PyTuple>()
                .map_err(|_| failed(name, "must return (value, pull) or (value, pull, push)"))?;
            let part = |i: usize| parts.get_item(i).map_err(|error| failed(name, error));
            copy_out(name, "value", &part(0)?, y)?;
            self.pull = Some(part(1)?.unbind());
            self.push = if parts.len() > 2 { Some(part(2)?.unbind()) } else { None };
            Ok(())
        })
    }

    fn push(&mut self, dx: &[f64], dy: &mut [f64]) -> Result<()> {
        self.product(self.push.as_ref(), "push", (dx, &self.function.domain), dy)
    }

    fn pull(&mut self, dy: &[f64], dx: &mut [f64]) -> Result<()> {
        self.product(self.pull.as_ref(), "pull", (dy, &self.function.codomain), dx)
    }
}

/// A Python function as an operator. It gets an array of the shape `input_shape` and returns `(value, pull)` or `(value, pull, push)`, where
/// `pull(dy)` is the vector-Jacobian and `push(dx)` the Jacobian-vector product at that point; `dy` has the shape `output_shape`.
#[pyfunction]
#[pyo3(signature = (function, *, input_shape, output_shape, name = "Python function"))]
pub(crate) fn function(
    function: Py<PyAny>,
    input_shape: Vec<usize>,
    output_shape: Vec<usize>,
    name: &str,
) -> PyOperator {
    PyOperator(Arc::new(Function {
        name: name.into(),
        callable: function,
        domain: Space::single("input", &input_shape, ""),
        codomain: Space::single("output", &output_shape, ""),
    }))
}

/// A likelihood written in Python: value and gradient; its Fisher metric and simulator are not known.
struct FunctionLikelihood {
    callable: Py<PyAny>,
    space: Space,
    zero: Vec<f64>,
}

impl Likelihood<f64> for FunctionLikelihood {
    fn name(&self) -> String {
        "Python".into()
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn data_count(&self) -> usize {
        self.space.len()
    }

    fn data(&self) -> &[f64] {
        &self.zero
    }

    fn energy(&self, prediction: &[f64], gradient: &mut [f64]) -> f64 {
        match call_energy(&self.callable, (prediction, &self.space), gradient) {
            Ok(energy) => energy,
            Err(error) => {
                Python::attach(|py| {
                    // The trait has no way to fail; the exception is shown, and the point counts as impossible.
                    pyo3::exceptions::PyRuntimeError::new_err(error.to_string()).write_unraisable(py, None);
                });
                f64::INFINITY
            }
        }
    }

    fn normalisation(&self) -> f64 {
        0.0
    }

    fn has_metric(&self) -> bool {
        false
    }

    /// What a function gives as a whole cannot be taken apart.
    fn log_densities(&self, _: &[f64], out: &mut [f64]) {
        out.fill(f64::NAN);
    }

    fn metric_root(&self, _: &[f64], _: &[f64], out: &mut [f64]) {
        out.fill(f64::NAN);
    }

    fn metric_root_adjoint(&self, _: &[f64], _: &[f64], out: &mut [f64]) {
        out.fill(f64::NAN);
    }

    fn coordinate(&self, _: &[f64], out: &mut [f64]) {
        out.fill(f64::NAN);
    }

    fn residual(&self, _: &[f64], out: &mut [f64]) {
        out.fill(0.0);
    }

    fn simulate(&self, prediction: &[f64], _: Stream) -> Vec<f64> {
        vec![f64::NAN; prediction.len()]
    }

    fn with_data(&self, _: Vec<f64>) -> lookback_likelihood::Result<Arc<dyn Likelihood<f64>>> {
        Err(lookback_likelihood::Error::Empty)
    }
}

/// Calls `f(x) -> (value, gradient)`.
fn call_energy(callable: &Py<PyAny>, (x, space): (&[f64], &Space), gradient: &mut [f64]) -> Result<f64> {
    let name = "Python function";
    Python::attach(|py| {
        let argument = shaped(py, x.to_vec(), space).map_err(|error| failed(name, error))?;
        let value = callable.bind(py).call1((argument,)).map_err(|error| raised(name, error))?;
        let (energy, slope): (f64, Bound<'_, PyAny>) =
            value.extract().map_err(|_| failed(name, "must return (value, gradient)"))?;
        copy_out(name, "gradient", &slope, gradient)?;
        Ok(energy)
    })
}

/// A Python function `prediction -> (-ln L, gradient)` as a likelihood of predictions of this shape, for methods that need no more (`laplace` with
/// `lbfgs` and no samples, `hmc`).
#[pyfunction]
#[pyo3(signature = (function, *, shape))]
pub(crate) fn python_likelihood(function: Py<PyAny>, shape: Vec<usize>) -> PyLikelihood {
    let space = Space::single("data", &shape, "");
    PyLikelihood(Arc::new(FunctionLikelihood { callable: function, zero: vec![0.0; space.len()], space }))
}

/// An energy written in Python.
pub(crate) struct FunctionTarget {
    callable: Py<PyAny>,
    space: Space,
}

struct FunctionEvaluator<'a>(&'a FunctionTarget);

impl Evaluator<f64> for FunctionEvaluator<'_> {
    fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> lookback_inference::Result<f64> {
        let energy = call_energy(&self.0.callable, (z, &self.0.space), gradient)?;
        let finite = energy.is_finite() && gradient.iter().all(|g| g.is_finite());
        Ok(if finite { energy } else { f64::INFINITY })
    }
}

impl Target<f64> for FunctionTarget {
    fn dim(&self) -> usize {
        self.space.len()
    }

    /// There is no prior but what the function holds: the evidence is the integral of `exp(-H)`.
    fn normalisation(&self) -> f64 {
        -0.5 * self.space.len() as f64 * std::f64::consts::TAU.ln()
    }

    fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
        Box::new(FunctionEvaluator(self))
    }
}

/// A posterior from a Python function `z -> (H, gradient)` of `dim` latents, for all methods that need no metric: `laplace` with `lbfgs`,
/// `el2o`, `pathfinder`, `thermodynamic`, `smc` and the samplers. Evidences are `ln integral exp(-H(z)) dz`.
#[pyfunction]
#[pyo3(signature = (function, *, dim))]
pub(crate) fn energy(function: Py<PyAny>, dim: usize) -> PyPosterior {
    PyPosterior::from_target(Arc::new(FunctionTarget {
        callable: function,
        space: Space::single("latents", &[dim], ""),
    }))
}
