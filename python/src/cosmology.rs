//! Distances, growth and spectra of a universe, with their derivatives.

use std::ops::RangeInclusive;

use lookback::cosmology::{
    Cosmology, Gradient, Halofit, PARAMETERS, Result, Scalar, Tracer, limber_spectrum, shapes_history,
};
use lookback::runfile::{CosmologySection, SourceSection};
use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{Output, contiguous};
use crate::errors::raise;
use crate::universe::section;

/// A universe: `Cosmology({"omega_m": 0.3, "sigma8": 0.8})`, with the keys of the section `cosmology` of run files, and Planck 2018 where
/// nothing is said.
///
/// Functions of numbers, which give a number, or of arrays. With `derivatives = True` they give `(value, {"omega_m": ..., ...})`, exact derivatives by every
/// parameter (beside tables of growth or distances, by those of the spectrum alone).
#[pyclass(name = "Cosmology", frozen, module = "lookback")]
pub(crate) struct PyCosmology(Cosmology<f64>);

/// What is asked of a universe, and where.
enum Quantity {
    Hubble,
    Distance,
    TransverseDistance,
    ScaleFactor,
    Growth,
    GrowthRate,
    LinearPower(f64),
    Halofit(f64),
    Limber { maps: Box<[Tracer; 2]>, nonlinear: bool },
}

impl Quantity {
    /// The range of what it is a function of, and its name, unless the function refuses what is beyond.
    fn argument(&self, cosmology: &Cosmology<f64>) -> Option<(&'static str, RangeInclusive<f64>)> {
        let argument = match self {
            Quantity::ScaleFactor => return None,
            // Of a table nobody takes its continuation for it; its ends themselves are right but for rounding.
            Quantity::LinearPower(_) | Quantity::Halofit(_) => {
                let [low, high] = cosmology.linear().range();
                ("k [h/Mpc]", (low * (1.0 - 1e-9)).max(1e-10)..=(high * (1.0 + 1e-9)).min(1e6))
            }
            Quantity::Limber { .. } => ("ell", 0.0..=1e6),
            _ => ("scale factor a", EARLIEST..=1.0),
        };
        Some(argument)
    }

    fn at<S: Scalar>(&self, cosmology: &Cosmology<S>, x: &[f64]) -> Result<Vec<S>> {
        let history = cosmology.history();
        let each = |f: &dyn Fn(f64) -> S| Ok(x.iter().map(|&x| f(x)).collect());
        match self {
            Quantity::Hubble => each(&|a| history.e(a)),
            Quantity::Distance => each(&|a| history.distance(a)),
            Quantity::TransverseDistance => each(&|a| history.transverse(history.distance(a))),
            Quantity::ScaleFactor => x.iter().map(|&chi| history.scale_factor_at(chi)).collect(),
            Quantity::Growth => {
                let today = cosmology.instant(1.0).d1.d;
                each(&|a| cosmology.instant(a).d1.d / today)
            }
            Quantity::GrowthRate => each(&|a| cosmology.instant(a).growth_rate()),
            Quantity::LinearPower(a) => each(&|k| cosmology.linear_power(k, *a)),
            Quantity::Halofit(a) => {
                let halofit = Halofit::new(cosmology, *a)?;
                each(&|k| halofit.power(S::of(k), cosmology.linear_power(k, *a)))
            }
            Quantity::Limber { maps, nonlinear } => {
                limber_spectrum(cosmology, (&maps[0], &maps[1]), x, *nonlinear)
            }
        }
    }
}

/// The first scale factor that may be asked for.
const EARLIEST: f64 = 1e-5;

fn scale_factor(a: f64) -> PyResult<f64> {
    if (EARLIEST..=1.0).contains(&a) {
        Ok(a)
    } else {
        Err(raise(format!("a must lie between {EARLIEST:e} and 1, not {a}")))
    }
}

impl PyCosmology {
    /// A quantity at all entries of an array, with derivatives where they are wanted.
    fn give<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        derivatives: bool,
        quantity: &Quantity,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let cosmology = &self.0;
        let keywords = PyDict::new(py);
        keywords.set_item("dtype", "float64")?;
        let array = py.import("numpy")?.call_method("ascontiguousarray", (x,), Some(&keywords))?;
        let scalar = py.import("numpy")?.call_method1("ndim", (x,))?.extract::<usize>()? == 0;
        let array = array.cast_into::<PyArrayDyn<f64>>()?.readonly();
        let x = contiguous(&array).ok_or_else(|| raise("an array in C order is needed"))?.to_vec();
        if let Some((name, range)) = quantity.argument(cosmology)
            && let Some(wrong) = x.iter().find(|x| !range.contains(x))
        {
            let (low, high) = (range.start(), range.end());
            return Err(raise(format!("{name} must lie between {low:.6e} and {high:.6e}, not {wrong}")));
        }
        let shaped = |values: Vec<f64>| -> PyResult<Bound<'py, PyAny>> {
            if scalar {
                return Ok(values[0].into_pyobject(py)?.into_any());
            }
            let values: Output<'py> = values.into_pyarray(py).reshape(array.shape().to_vec())?;
            Ok(values.into_any())
        };
        if !derivatives {
            return shaped(py.detach(|| quantity.at(cosmology, &x)).map_err(raise)?);
        }
        let found: Vec<Gradient> = py
            .detach(|| cosmology.with_gradient().and_then(|cosmology| quantity.at(&cosmology, &x)))
            .map_err(raise)?;
        let by = PyDict::new(py);
        for (i, name) in self.differentiable() {
            by.set_item(name, shaped(found.iter().map(|value| value.gradient[i]).collect())?)?;
        }
        let values = shaped(found.iter().map(|value| value.value).collect())?;
        Ok(PyTuple::new(py, [values, by.into_any()])?.into_any())
    }

    /// Places and names of the parameters by which there are derivatives: none of what tables hold.
    fn differentiable(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let of_history = self.0.history().is_tabulated();
        self.names().filter(move |(i, _)| !(of_history && shapes_history(*i)))
    }

    /// Places and names of the parameters. A table that keeps its own amplitude leaves none to name.
    fn names(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let all = PARAMETERS.into_iter().enumerate();
        all.filter(|(_, name)| *name != "amplitude" || !self.0.keeps_amplitude_of_table())
            .map(|(i, name)| (i, if name == "amplitude" { self.0.amplitude_name() } else { name }))
    }
}

#[pymethods]
impl PyCosmology {
    #[new]
    #[pyo3(signature = (parameters = None))]
    fn new(py: Python<'_>, parameters: Option<&Bound<'_, PyDict>>) -> PyResult<PyCosmology> {
        let parameters: CosmologySection = section(py, "cosmology", parameters)?;
        parameters.build().map(PyCosmology).map_err(raise)
    }

    /// All parameters by name; without an amplitude, where that is the one of a table.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        let values = self.0.parameters().to_array();
        for (i, name) in self.names() {
            all.set_item(name, values[i])?;
        }
        Ok(all)
    }

    /// Standard deviation of the linear density in spheres of 8 Mpc/h today.
    #[getter]
    fn sigma8(&self) -> f64 {
        self.0.linear().sigma8()
    }

    /// `H(a) / H0`.
    #[pyo3(signature = (a, *, derivatives = false))]
    fn hubble<'py>(&self, a: &Bound<'py, PyAny>, derivatives: bool) -> PyResult<Bound<'py, PyAny>> {
        self.give(a, derivatives, &Quantity::Hubble)
    }

    /// Comoving distance along the line of sight [Mpc/h].
    #[pyo3(signature = (a, *, derivatives = false))]
    fn distance<'py>(&self, a: &Bound<'py, PyAny>, derivatives: bool) -> PyResult<Bound<'py, PyAny>> {
        self.give(a, derivatives, &Quantity::Distance)
    }

    /// Comoving distance across the line of sight [Mpc/h]: a length over the angle under which it is seen.
    #[pyo3(signature = (a, *, derivatives = false))]
    fn transverse_distance<'py>(
        &self,
        a: &Bound<'py, PyAny>,
        derivatives: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.give(a, derivatives, &Quantity::TransverseDistance)
    }

    /// Scale factor at a comoving distance along the line of sight [Mpc/h].
    #[pyo3(signature = (distance, *, derivatives = false))]
    fn scale_factor<'py>(
        &self,
        distance: &Bound<'py, PyAny>,
        derivatives: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.give(distance, derivatives, &Quantity::ScaleFactor)
    }

    /// Growth of linear structure, 1 today.
    #[pyo3(signature = (a, *, derivatives = false))]
    fn growth<'py>(&self, a: &Bound<'py, PyAny>, derivatives: bool) -> PyResult<Bound<'py, PyAny>> {
        self.give(a, derivatives, &Quantity::Growth)
    }

    /// `dln D / dln a`.
    #[pyo3(signature = (a, *, derivatives = false))]
    fn growth_rate<'py>(&self, a: &Bound<'py, PyAny>, derivatives: bool) -> PyResult<Bound<'py, PyAny>> {
        self.give(a, derivatives, &Quantity::GrowthRate)
    }

    /// Linear power [(Mpc/h)^3] at wave numbers [h/Mpc] and a scale factor; of a table, at those that it has.
    #[pyo3(signature = (k, a = 1.0, *, derivatives = false))]
    fn linear_power<'py>(
        &self,
        k: &Bound<'py, PyAny>,
        a: f64,
        derivatives: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.give(k, derivatives, &Quantity::LinearPower(scale_factor(a)?))
    }

    /// Power [(Mpc/h)^3] by halofit (Takahashi et al. 2012); with a table, at the wave numbers that it has.
    #[pyo3(signature = (k, a = 1.0, *, derivatives = false))]
    fn halofit<'py>(&self, k: &Bound<'py, PyAny>, a: f64, derivatives: bool) -> PyResult<Bound<'py, PyAny>> {
        self.give(k, derivatives, &Quantity::Halofit(scale_factor(a)?))
    }

    /// Spectrum of the convergence of sources, or of two sets of them, in Limber's approximation with halofit or linear power:
    /// `{"z": 1.0}` or `{"redshift": [...], "density": [...]}`, with `alignment` if they are aligned. Beyond its ends a table is continued as a
    /// power law.
    #[pyo3(signature = (ell, sources, other = None, *, linear = false, derivatives = false))]
    fn convergence_spectrum<'py>(
        &self,
        py: Python<'py>,
        ell: &Bound<'py, PyAny>,
        sources: &Bound<'py, PyDict>,
        other: Option<&Bound<'py, PyDict>>,
        linear: bool,
        derivatives: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tracer = |sources: &Bound<'py, PyDict>| -> PyResult<Tracer> {
            section::<SourceSection>(py, "sources", Some(sources))?.build().map_err(raise)
        };
        let maps = Box::new([tracer(sources)?, tracer(other.unwrap_or(sources))?]);
        self.give(ell, derivatives, &Quantity::Limber { maps, nonlinear: !linear })
    }
}
