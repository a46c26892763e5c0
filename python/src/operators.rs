//! Operators: priors and forward models.

use std::sync::{Arc, Mutex};

use lookback_imaging::Mask;
use lookback_lensing::{ReducedShear, SphereShear, kaiser_squires};
use lookback_mesh::{Grid, Healpix, Readout, bin_edges};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Block, Chain, DynOperator, LinearOperator, Linearization, Operator, Space, Stack};
use lookback_prior::{CorrelatedField, CorrelatedFieldParameters, Distribution, Spectrum};
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use self_cell::self_cell;

use crate::arrays::{Input, Output, any, contiguous, of_space, shaped, slice};
use crate::errors::raise;

/// The pixels of a flat sky: `Grid((rows, columns), pixel_arcmin=...)`.
#[pyclass(name = "Grid", frozen, module = "lookback")]
pub(crate) struct PyGrid(pub(crate) Grid);

#[pymethods]
impl PyGrid {
    #[new]
    #[pyo3(signature = (shape, *, pixel_arcmin))]
    fn new(shape: (usize, usize), pixel_arcmin: f64) -> PyResult<PyGrid> {
        Grid::sky(shape.0, shape.1, (pixel_arcmin / 60.0).to_radians()).map(PyGrid).map_err(raise)
    }

    /// Rows and columns.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.shape()[0], self.0.shape()[1])
    }

    fn __repr__(&self) -> String {
        let arcmin = self.0.spacing()[0].to_degrees() * 60.0;
        format!("Grid(({}, {}), pixel_arcmin={arcmin:.6})", self.0.shape()[0], self.0.shape()[1])
    }
}

/// A power spectrum: see `power_law` and `spectrum_table`.
#[pyclass(name = "Spectrum", frozen, module = "lookback")]
pub(crate) struct PySpectrum(Spectrum);

#[pymethods]
impl PySpectrum {
    /// `C(ell)` [sr].
    fn __call__(&self, ell: f64) -> f64 {
        self.0.power(ell)
    }
}

/// `ln C = ln amplitude + index x + running x^2 / 2` with `x = ln(ell / pivot)`.
#[pyfunction]
#[pyo3(signature = (amplitude, *, pivot, index, running = 0.0))]
pub(crate) fn power_law(amplitude: f64, pivot: f64, index: f64, running: f64) -> PyResult<PySpectrum> {
    Spectrum::power_law(amplitude, pivot, index, running).map(PySpectrum).map_err(raise)
}

/// A spectrum from multipoles and `C_ell` [sr], interpolated in logarithms.
#[pyfunction]
pub(crate) fn spectrum_table(ell: Input<'_>, power: Input<'_>) -> PyResult<PySpectrum> {
    Spectrum::table(any(&ell, "ell")?, any(&power, "power")?).map(PySpectrum).map_err(raise)
}

/// A differentiable map between named blocks of numbers.
#[pyclass(name = "Operator", frozen, module = "lookback")]
pub(crate) struct PyOperator(pub(crate) DynOperator<f64>);

fn describe(py: Python<'_>, space: &Space) -> PyResult<Py<PyDict>> {
    let blocks = PyDict::new(py);
    for block in space.blocks() {
        blocks.set_item(&block.name, block.shape.clone())?;
    }
    Ok(blocks.unbind())
}

#[pymethods]
impl PyOperator {
    /// The value at `x`: any array with as many entries as the domain.
    fn __call__<'py>(&self, py: Python<'py>, x: Input<'py>) -> PyResult<Output<'py>> {
        let x = of_space(&x, "input", self.0.domain())?;
        let operator = &self.0;
        let y = py.detach(|| operator.apply(x)).map_err(raise)?;
        shaped(py, y, self.0.codomain())
    }

    /// The value at `x`, and the linearization there.
    fn linearize<'py>(&self, py: Python<'py>, x: Input<'py>) -> PyResult<(Output<'py>, PyLinearization)> {
        let x = of_space(&x, "input", self.0.domain())?;
        let mut y = vec![0.0; self.0.codomain().len()];
        let kept = py.detach(|| {
            Kept::try_new(self.0.clone(), |operator| {
                let mut linearization = operator.linearization();
                linearization.move_to(x, &mut y)?;
                Ok(Mutex::new(linearization))
            })
        });
        let kept = kept.map_err(|error: lookback_operator::Error| raise(error))?;
        Ok((shaped(py, y, self.0.codomain())?, PyLinearization(kept)))
    }

    /// This operator, followed by another.
    fn then(&self, next: &PyOperator) -> PyResult<PyOperator> {
        let chain = Chain::fused(vec![self.0.clone(), next.0.clone()]).map_err(raise)?;
        Ok(PyOperator(Arc::new(chain)))
    }

    /// Blocks that go in: names and shapes.
    #[getter]
    fn domain(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        describe(py, self.0.domain())
    }

    /// Blocks that come out: names and shapes.
    #[getter]
    fn codomain(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        describe(py, self.0.codomain())
    }

    /// The blocks of an output, by name.
    fn split<'py>(&self, py: Python<'py>, y: Input<'py>) -> PyResult<Bound<'py, PyDict>> {
        let y = of_space(&y, "output", self.0.codomain())?;
        let blocks = PyDict::new(py);
        let mut start = 0;
        for block in self.0.codomain().blocks() {
            let part = y[start..start + block.len()].to_vec();
            blocks.set_item(&block.name, shaped(py, part, &Space::new(vec![block.clone()]))?)?;
            start += block.len();
        }
        Ok(blocks)
    }

    fn __repr__(&self) -> String {
        format!("Operator({}: {} -> {})", self.0.name(), self.0.domain(), self.0.codomain())
    }
}

/// What an operator keeps of a point for its products; one is computed at a time.
type AtPoint<'a> = Mutex<Box<dyn Linearization<f64> + 'a>>;

self_cell!(
    struct Kept {
        owner: DynOperator<f64>,
        #[not_covariant]
        dependent: AtPoint,
    }
);

/// The Jacobian of an operator at a point, as two products. It keeps what they need of the evaluation there, which is not done again.
#[pyclass(name = "Linearization", frozen, module = "lookback")]
pub(crate) struct PyLinearization(Kept);

impl PyLinearization {
    fn operator(&self) -> &DynOperator<f64> {
        self.0.borrow_owner()
    }

    fn product(
        &self,
        py: Python<'_>,
        n: usize,
        work: impl Fn(&mut dyn Linearization<f64>, &mut [f64]) -> lookback_operator::Result<()> + Sync,
    ) -> PyResult<Vec<f64>> {
        let compute = || {
            let mut out = vec![0.0; n];
            self.0.with_dependent(|_, at| {
                let mut at = at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                work(at.as_mut(), &mut out)
            })?;
            Ok(out)
        };
        py.detach(compute).map_err(|error: lookback_operator::Error| raise(error))
    }
}

#[pymethods]
impl PyLinearization {
    /// Jacobian-vector product.
    fn push<'py>(&self, py: Python<'py>, dx: Input<'py>) -> PyResult<Output<'py>> {
        let dx = of_space(&dx, "tangent", self.operator().domain())?;
        let n = self.operator().codomain().len();
        shaped(
            py,
            self.product(py, n, |linearization, dy| linearization.push(dx, dy))?,
            self.operator().codomain(),
        )
    }

    /// Vector-Jacobian product.
    fn pull<'py>(&self, py: Python<'py>, dy: Input<'py>) -> PyResult<Output<'py>> {
        let dy = of_space(&dy, "cotangent", self.operator().codomain())?;
        let n = self.operator().domain().len();
        shaped(
            py,
            self.product(py, n, |linearization, dx| linearization.pull(dy, dx))?,
            self.operator().domain(),
        )
    }
}

/// Operators one after the other.
#[pyfunction]
pub(crate) fn chain(operators: Vec<PyRef<'_, PyOperator>>) -> PyResult<PyOperator> {
    let links = operators.iter().map(|operator| operator.0.clone()).collect();
    Ok(PyOperator(Arc::new(Chain::fused(links).map_err(raise)?)))
}

/// Operators side by side, each on blocks of its own.
#[pyfunction]
pub(crate) fn stack(operators: Vec<PyRef<'_, PyOperator>>) -> PyResult<PyOperator> {
    let parts = operators.iter().map(|operator| operator.0.clone()).collect();
    Ok(PyOperator(Arc::new(Stack::new(parts).map_err(raise)?)))
}

/// Prior: Gaussian field with a known spectrum.
#[pyfunction]
#[pyo3(signature = (grid, spectrum, name = "kappa"))]
pub(crate) fn gaussian_field(grid: &PyGrid, spectrum: &PySpectrum, name: &str) -> PyOperator {
    PyOperator(lookback_prior::gaussian_field(&grid.0, &spectrum.0, name, "").shared())
}

/// Prior: lognormal field of mean zero with a known spectrum, never below `-shift`.
#[pyfunction]
#[pyo3(signature = (grid, spectrum, *, shift, name = "kappa"))]
pub(crate) fn lognormal_field(
    grid: &PyGrid,
    spectrum: &PySpectrum,
    shift: f64,
    name: &str,
) -> PyResult<PyOperator> {
    let field = lookback_prior::lognormal_field(&grid.0, &spectrum.0, shift, name, "").map_err(raise)?;
    Ok(PyOperator(field.operator))
}

/// Prior: Gaussian field whose spectrum is inferred. Pairs are mean and standard deviation.
#[pyfunction]
#[pyo3(signature = (grid, *, fluctuations, slope, flexibility = None, asperity = None, offset_mean = 0.0, offset_std = (1e-3, 1e-3), name = "kappa"))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn correlated_field(
    grid: &PyGrid,
    fluctuations: (f64, f64),
    slope: (f64, f64),
    flexibility: Option<(f64, f64)>,
    asperity: Option<(f64, f64)>,
    offset_mean: f64,
    offset_std: (f64, f64),
    name: &str,
) -> PyResult<PyOperator> {
    let lognormal = |(mean, std): (f64, f64)| Distribution::LogNormal { mean, std };
    let parameters = CorrelatedFieldParameters {
        offset_mean,
        offset_std: lognormal(offset_std),
        fluctuations: lognormal(fluctuations),
        slope: Distribution::Normal { mean: slope.0, std: slope.1 },
        flexibility: flexibility.map(lognormal),
        asperity: asperity.map(lognormal),
    };
    let field = CorrelatedField::new(&grid.0, parameters, name, "").map_err(raise)?;
    Ok(PyOperator(Arc::new(field)))
}

/// Prior of a parameter: kind is `normal(mean, std)`, `lognormal(mean, std)`, `uniform(low, high)`,
/// `log_uniform(low, high)`, `half_normal(std)` or `laplace(mean, scale)`.
#[pyfunction]
#[pyo3(signature = (name, kind, first, second = None, *, shape = Vec::new()))]
pub(crate) fn distribution(
    name: &str,
    kind: &str,
    first: f64,
    second: Option<f64>,
    shape: Vec<usize>,
) -> PyResult<PyOperator> {
    let two = || second.ok_or_else(|| raise(format!("`{kind}` needs two numbers")));
    let law = match kind {
        "normal" => Distribution::Normal { mean: first, std: two()? },
        "lognormal" => Distribution::LogNormal { mean: first, std: two()? },
        "uniform" => Distribution::Uniform { low: first, high: two()? },
        "log_uniform" => Distribution::LogUniform { low: first, high: two()? },
        "half_normal" => Distribution::HalfNormal { std: first },
        "laplace" => Distribution::Laplace { mean: first, scale: two()? },
        _ => {
            let known = "normal, lognormal, uniform, log_uniform, half_normal or laplace";
            return Err(raise(format!("there is no distribution `{kind}`; use {known}")));
        }
    };
    Ok(PyOperator(Arc::new(law.validated().map_err(raise)?.operator(name, &shape, ""))))
}

/// Convergence to shear (Kaiser & Squires 1993).
#[pyfunction]
pub(crate) fn shear(grid: &PyGrid) -> PyResult<PyOperator> {
    Ok(PyOperator(kaiser_squires(&grid.0).map_err(raise)?.shared()))
}

/// Convergence to shear on the sphere, in HEALPix pixels in ring order: `gamma1`, `gamma2` with `x` to the east and `y` to the north.
#[pyfunction]
pub(crate) fn sphere_shear(nside: usize) -> PyResult<PyOperator> {
    let Some(sphere) = Healpix::new(nside) else {
        return Err(raise(format!("no HEALPix with nside {nside}")));
    };
    Ok(PyOperator(SphereShear::new(sphere).shared()))
}

/// Convergence to reduced shear: of light alone, so that sources of a light cone may have no `alignment`, and of a mean that is taken off.
#[pyfunction]
pub(crate) fn reduced_shear(grid: &PyGrid) -> PyResult<PyOperator> {
    Ok(PyOperator(Arc::new(ReducedShear::new(&grid.0).map_err(raise)?)))
}

/// Gaussian smoothing of a map; full width at half maximum in arcminutes.
#[pyfunction]
#[pyo3(signature = (grid, *, fwhm_arcmin, name = "kappa"))]
pub(crate) fn smooth(grid: &PyGrid, fwhm_arcmin: f64, name: &str) -> PyResult<PyOperator> {
    let sigma = lookback_imaging::sigma_of_fwhm((fwhm_arcmin / 60.0).to_radians());
    let space = Space::single(name, grid.0.shape(), "");
    Ok(PyOperator(lookback_imaging::smooth(&grid.0, space, sigma).map_err(raise)?.shared()))
}

fn maps(grid: &Grid, names: &[String]) -> Space {
    Space::new(names.iter().map(|name| Block::new(name.clone(), grid.shape(), "")).collect())
}

/// Keeps the pixels where `observed` is true, in maps of these names.
#[pyfunction]
#[pyo3(signature = (grid, observed, names = vec!["gamma1".to_string(), "gamma2".to_string()]))]
pub(crate) fn mask(
    grid: &PyGrid,
    observed: numpy::PyReadonlyArrayDyn<'_, bool>,
    names: Vec<String>,
) -> PyResult<PyOperator> {
    if observed.shape() != grid.0.shape() && observed.shape() != [grid.0.len()] {
        let message =
            format!("the mask has the shape {:?}, and the grid {:?}", observed.shape(), grid.0.shape());
        return Err(raise(message));
    }
    let observed = contiguous(&observed).ok_or_else(|| raise("the mask is not contiguous in C order"))?;
    Ok(PyOperator(Mask::new(maps(&grid.0, &names), observed).map_err(raise)?.shared()))
}

/// Reads maps at points (x, y) [arcmin] from their lower left corner, bilinearly.
#[pyfunction]
#[pyo3(signature = (grid, x_arcmin, y_arcmin, names = vec!["gamma1".to_string(), "gamma2".to_string()]))]
pub(crate) fn readout(
    grid: &PyGrid,
    x_arcmin: Input<'_>,
    y_arcmin: Input<'_>,
    names: Vec<String>,
) -> PyResult<PyOperator> {
    let x = any(&x_arcmin, "x_arcmin")?;
    let y = slice(&y_arcmin, "y_arcmin", x.len())?;
    let radians = |arcmin: f64| (arcmin / 60.0).to_radians();
    let points: Vec<(f64, f64)> = x.iter().zip(y).map(|(&x, &y)| (radians(x), radians(y))).collect();
    Ok(PyOperator(Readout::new(&grid.0, maps(&grid.0, &names), &points).map_err(raise)?.shared()))
}

/// A signal drawn from a prior.
#[pyfunction]
pub(crate) fn draw<'py>(py: Python<'py>, prior: &PyOperator, seed: u64) -> PyResult<Output<'py>> {
    let signal = py.detach(|| {
        let mut latent = vec![0.0; prior.0.domain().len()];
        Stream::new(seed, Purpose::Signal, 0).fill_normal(&mut latent);
        prior.0.apply(&latent)
    });
    let signal = signal.map_err(raise)?;
    shaped(py, signal, prior.0.codomain())
}

/// Kaiser-Squires inversion: E and B maps of the convergence.
#[pyfunction]
pub(crate) fn mass_map<'py>(
    py: Python<'py>,
    grid: &PyGrid,
    gamma1: Input<'py>,
    gamma2: Input<'py>,
) -> PyResult<(Output<'py>, Output<'py>)> {
    let sky = Space::single("gamma", grid.0.shape(), "");
    let (gamma1, gamma2) = (of_space(&gamma1, "gamma1", &sky)?, of_space(&gamma2, "gamma2", &sky)?);
    let maps = py.detach(|| lookback_lensing::mass_map(&grid.0, gamma1, gamma2));
    let (e_mode, b_mode) = maps.map_err(raise)?;
    let space = Space::single("kappa", grid.0.shape(), "");
    Ok((shaped(py, e_mode, &space)?, shaped(py, b_mode, &space)?))
}

/// Measured power spectrum: multipoles, `C_ell` [sr] and numbers of modes in logarithmic bins.
#[pyfunction]
#[pyo3(signature = (grid, field, bins = 24))]
pub(crate) fn power_spectrum(
    py: Python<'_>,
    grid: &PyGrid,
    field: Input<'_>,
    bins: usize,
) -> PyResult<(Vec<f64>, Vec<f64>, Vec<usize>)> {
    let field = of_space(&field, "field", &Space::single("field", grid.0.shape(), ""))?;
    let edges = bin_edges(&grid.0, bins.max(1));
    let spectrum = py.detach(|| lookback_mesh::power_spectrum(&grid.0, field, &edges)).map_err(raise)?;
    Ok((spectrum.k, spectrum.power, spectrum.modes))
}
