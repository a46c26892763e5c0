//! Distances, growth and spectra of a universe, with their derivatives.

use lookback::cosmology::{
    Cosmology, Gradient, Halofit, PARAMETERS, Result, Scalar, Tracer, limber_spectrum,
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
/// Functions of numbers or arrays. With `derivatives = True` they give `(value, {"omega_m": ..., ...})`, exact derivatives by every
/// parameter.
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
    /// The range of what it is a function of, and its name.
    fn argument(&self) -> (&'static str, std::ops::RangeInclusive<f64>) {
        match self {
            Quantity::ScaleFactor => ("distance [Mpc/h]", 0.0..=f64::MAX),
            Quantity::LinearPower(_) | Quantity::Halofit(_) => ("k [h/Mpc]", f64::MIN_POSITIVE..=1e6),
            Quantity::Limber { .. } => ("ell", 0.0..=1e6),
            _ => ("scale factor a", 1e-5..=1.0),
        }
    }

    fn at<S: Scalar>(&self, cosmology: &Cosmology<S>, x: &[f64]) -> Result<Vec<S>> {
        let history = cosmology.history();
        let each = |f: &dyn Fn(f64) -> S| Ok(x.iter().map(|&x| f(x)).collect());
        match self {
            Quantity::Hubble => each(&|a| cosmology.background().e(a)),
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

fn scale_factor(a: f64) -> PyResult<f64> {
    if a > 1e-5 && a <= 1.0 { Ok(a) } else { Err(raise(format!("a must lie between 1e-5 and 1, not {a}"))) }
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
        let keywords = PyDict::new(py);
        keywords.set_item("dtype", "float64")?;
        let array = py.import("numpy")?.call_method("ascontiguousarray", (x,), Some(&keywords))?;
        let scalar = py.import("numpy")?.call_method1("ndim", (x,))?.extract::<usize>()? == 0;
        let array = array.cast_into::<PyArrayDyn<f64>>()?.readonly();
        let x = contiguous(&array).ok_or_else(|| raise("an array in C order is needed"))?;
        let (name, range) = quantity.argument();
        if let Some(wrong) = x.iter().find(|x| !range.contains(x)) {
            let (low, high) = (range.start(), range.end());
            return Err(raise(format!("{name} must lie between {low:e} and {high:e}, not {wrong}")));
        }
        let shape = if scalar { Vec::new() } else { array.shape().to_vec() };
        let shaped =
            |values: Vec<f64>| -> PyResult<Output<'py>> { values.into_pyarray(py).reshape(shape.clone()) };
        if !derivatives {
            return Ok(shaped(quantity.at(&self.0, x).map_err(raise)?)?.into_any());
        }
        let found: Vec<Gradient> =
            self.0.with_gradient().and_then(|cosmology| quantity.at(&cosmology, x)).map_err(raise)?;
        let by = PyDict::new(py);
        for (i, name) in PARAMETERS.into_iter().enumerate() {
            let name = if name == "amplitude" { self.0.amplitude_name() } else { name };
            by.set_item(name, shaped(found.iter().map(|value| value.gradient[i]).collect())?)?;
        }
        let values = shaped(found.iter().map(|value| value.value).collect())?;
        Ok(PyTuple::new(py, [values.into_any(), by.into_any()])?.into_any())
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

    /// All parameters by name.
    #[getter]
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, value) in PARAMETERS.into_iter().zip(self.0.parameters().to_array()) {
            all.set_item(if name == "amplitude" { self.0.amplitude_name() } else { name }, value)?;
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

    /// Linear power [(Mpc/h)^3] at wave numbers [h/Mpc] and a scale factor.
    #[pyo3(signature = (k, a = 1.0, *, derivatives = false))]
    fn linear_power<'py>(
        &self,
        k: &Bound<'py, PyAny>,
        a: f64,
        derivatives: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.give(k, derivatives, &Quantity::LinearPower(scale_factor(a)?))
    }

    /// Power [(Mpc/h)^3] by halofit (Takahashi et al. 2012).
    #[pyo3(signature = (k, a = 1.0, *, derivatives = false))]
    fn halofit<'py>(&self, k: &Bound<'py, PyAny>, a: f64, derivatives: bool) -> PyResult<Bound<'py, PyAny>> {
        self.give(k, derivatives, &Quantity::Halofit(scale_factor(a)?))
    }

    /// Spectrum of the convergence of sources, or of two sets of them, in Limber's approximation with halofit or linear power:
    /// `{"z": 1.0}` or `{"redshift": [...], "density": [...]}`, with `alignment` if they are aligned.
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
