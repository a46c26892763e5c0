//! Likelihoods.

use std::sync::Arc;

use lookback_likelihood::{ComplexGaussian, CorrelatedGaussian, Gaussian, Likelihood, Poisson, StudentT};
use lookback_operator::Space;
use lookback_operator::random::{Purpose, Stream};
use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Input, Output, alike, any, contiguous, of_space, shaped};
use crate::errors::raise;

/// What noise makes of a prediction.
#[pyclass(name = "Likelihood", frozen, module = "lookback")]
pub(crate) struct PyLikelihood(pub(crate) Arc<dyn Likelihood<f64>>);

/// Data as one block of their shape.
fn space(array: &Input<'_>) -> Space {
    Space::single("data", array.shape(), "")
}

impl PyLikelihood {
    /// Refuses what a function of a value and a gradient cannot tell.
    fn knows(&self, what: &str) -> PyResult<()> {
        if self.0.has_metric() {
            return Ok(());
        }
        Err(raise(format!(
            "a likelihood that is a function in Python has no `{what}`: it gives a value and a gradient only"
        )))
    }
}

#[pymethods]
impl PyLikelihood {
    /// `-ln L` and its gradient with respect to the prediction.
    fn energy<'py>(&self, py: Python<'py>, prediction: Input<'py>) -> PyResult<(f64, Output<'py>)> {
        let prediction = of_space(&prediction, "prediction", self.0.space())?;
        let mut gradient = vec![0.0; prediction.len()];
        let energy = self.0.energy(prediction, &mut gradient) + self.0.normalisation();
        Ok((energy, shaped(py, gradient, self.0.space())?))
    }

    /// Data drawn from the likelihood of a prediction.
    fn simulate<'py>(&self, py: Python<'py>, prediction: Input<'py>, seed: u64) -> PyResult<Output<'py>> {
        let prediction = of_space(&prediction, "prediction", self.0.space())?;
        self.knows("simulate")?;
        let data = self.0.simulate(prediction, Stream::new(seed, Purpose::Noise, 0));
        shaped(py, data, self.0.space())
    }

    /// `(data - prediction) / noise`.
    fn residual<'py>(&self, py: Python<'py>, prediction: Input<'py>) -> PyResult<Output<'py>> {
        let prediction = of_space(&prediction, "prediction", self.0.space())?;
        self.knows("residual")?;
        let mut out = vec![0.0; prediction.len()];
        self.0.residual(prediction, &mut out);
        shaped(py, out, self.0.space())
    }

    fn __repr__(&self) -> String {
        format!("Likelihood({}, {} data)", self.0.name(), self.0.data_count())
    }
}

/// Independent Gaussian noise; an infinite `sigma` masks a datum.
#[pyfunction]
pub(crate) fn gaussian(data: Input<'_>, sigma: Input<'_>) -> PyResult<PyLikelihood> {
    alike(&sigma, "sigma", data.shape())?;
    let law =
        Gaussian::new(space(&data), any(&data, "data")?.to_vec(), any(&sigma, "sigma")?).map_err(raise)?;
    Ok(PyLikelihood(Arc::new(law)))
}

/// Gaussian noise that is in part the same for many data: independent, of standard deviation `sigma` (infinite where a datum is masked), and besides a random
/// amount of each of the `factors`, one a row with the shape of the data.
#[pyfunction]
pub(crate) fn correlated_gaussian(
    data: Input<'_>,
    sigma: Input<'_>,
    factors: Input<'_>,
) -> PyResult<PyLikelihood> {
    if factors.shape().get(1..) != Some(data.shape()) {
        let message = format!(
            "factors have the shape {:?}, and the data {:?}: a factor is a row with the shape of the data",
            factors.shape(),
            data.shape()
        );
        return Err(raise(message));
    }
    alike(&sigma, "sigma", data.shape())?;
    let rows: Vec<Vec<f64>> =
        any(&factors, "factors")?.chunks_exact(data.len().max(1)).map(<[f64]>::to_vec).collect();
    let law =
        CorrelatedGaussian::new(space(&data), any(&data, "data")?.to_vec(), any(&sigma, "sigma")?, &rows);
    Ok(PyLikelihood(Arc::new(law.map_err(raise)?)))
}

/// Circular Gaussian noise on complex data given as pairs (real, imaginary); one `sigma` for each pair.
#[pyfunction]
pub(crate) fn complex_gaussian(data: Input<'_>, sigma: Input<'_>) -> PyResult<PyLikelihood> {
    let law = ComplexGaussian::new(space(&data), any(&data, "data")?.to_vec(), any(&sigma, "sigma")?)
        .map_err(raise)?;
    Ok(PyLikelihood(Arc::new(law)))
}

/// Student-t noise with `dof` degrees of freedom.
#[pyfunction]
pub(crate) fn student_t(data: Input<'_>, sigma: Input<'_>, dof: f64) -> PyResult<PyLikelihood> {
    alike(&sigma, "sigma", data.shape())?;
    let law = StudentT::new(space(&data), any(&data, "data")?.to_vec(), any(&sigma, "sigma")?, dof)
        .map_err(raise)?;
    Ok(PyLikelihood(Arc::new(law)))
}

/// Counts with the predicted mean.
#[pyfunction]
#[pyo3(signature = (counts, observed = None))]
pub(crate) fn poisson(
    counts: Input<'_>,
    observed: Option<PyReadonlyArrayDyn<'_, bool>>,
) -> PyResult<PyLikelihood> {
    let seen = match &observed {
        Some(observed) => {
            contiguous(observed).ok_or_else(|| raise("the mask is not contiguous in C order"))?.to_vec()
        }
        None => vec![true; counts.len()],
    };
    let law = Poisson::new(space(&counts), any(&counts, "counts")?.to_vec(), seen).map_err(raise)?;
    Ok(PyLikelihood(Arc::new(law)))
}
