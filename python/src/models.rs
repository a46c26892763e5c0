//! Learned priors: training, and trained models.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lookback::learn::{
    self, Admitted, CalibrateOptions, DeviceKind, Like, Recipe, ReconstructOptions, Sampling, verbs,
};
use lookback::learning::field::FieldModel;
use lookback::learning::{Batch, ErrorKind, Generator, Model};
use lookback::run::Silent;
use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::contiguous;
use crate::errors::{interruptible, raise};
use crate::operators::{PyGrid, PyOperator};

/// A float32 array that is handed out.
type Floats<'py> = Bound<'py, PyArrayDyn<f32>>;

/// Trains a learned prior as a file says and returns its scores, with the folder of the model under `directory`. Interrupted, the same
/// call goes on. `device` ("cpu", "cuda") stands above the file's.
#[pyfunction]
#[pyo3(signature = (file, *, output = None, overwrite = false, device = None))]
pub(crate) fn train<'py>(
    py: Python<'py>,
    file: PathBuf,
    output: Option<PathBuf>,
    overwrite: bool,
    device: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    let device = device.map(str::parse::<DeviceKind>).transpose().map_err(raise)?;
    let trained = interruptible(py, move |stop: &AtomicBool| {
        let mut recipe = Recipe::load(&file)?;
        if let Some(output) = output {
            *recipe.output() = Some(output.to_string_lossy().into_owned());
        }
        if let Some(device) = device {
            recipe.train_on(device)?;
        }
        learn::train(&recipe, overwrite, stop, &mut Silent)
    })?;
    let out = PyDict::new(py);
    for (name, value) in trained.model.scores() {
        out.set_item(name, value)?;
    }
    out.set_item("directory", trained.directory.to_string_lossy())?;
    Ok(out)
}

/// A trained model: `Model("models/clothes")`, the folder or the file that `train` wrote.
#[pyclass(name = "Model", frozen, module = "lookback")]
pub(crate) struct PyModel(Model<f32>);

impl PyModel {
    /// Rows of an array of any type of numbers, one or many, each of this shape or flat.
    fn rows(&self, array: &Bound<'_, PyAny>, each: &[usize], what: &str) -> PyResult<Batch<f32>> {
        let width: usize = each.iter().product();
        let py = array.py();
        let numpy = py.import("numpy")?;
        let array: PyReadonlyArrayDyn<'_, f32> =
            numpy.call_method1("ascontiguousarray", (array, numpy.getattr("float32")?))?.extract()?;
        let values = contiguous(&array).ok_or_else(|| raise(format!("{what} cannot be read")))?;
        // A channel that is alone may be left out.
        let short = each.strip_suffix(&[1]).unwrap_or(each);
        let fits = [each, short, &[width]]
            .iter()
            .any(|each| array.shape().strip_suffix(*each).is_some_and(|before| before.len() <= 1));
        if values.is_empty() || !fits {
            let message = format!(
                "{what} has the shape {:?}; each is needed with the shape {short:?}, or with {width} numbers on one axis",
                array.shape()
            );
            return Err(raise(message));
        }
        Ok(Batch::new(width, values.to_vec()))
    }

    fn examples(&self, array: &Bound<'_, PyAny>) -> PyResult<Batch<f32>> {
        let examples = self.rows(array, &self.0.card().shape, "an array of examples")?;
        match examples.data().iter().position(|x| !x.is_finite()) {
            None => Ok(examples),
            Some(at) => {
                let (row, column) = (at / examples.width(), at % examples.width());
                Err(raise(format!("number {column} of example {row} is {}", examples.data()[at])))
            }
        }
    }

    /// Examples with their shape.
    fn shaped<'py>(&self, py: Python<'py>, examples: Batch<f32>, first: &[usize]) -> PyResult<Floats<'py>> {
        let mut shape = first.to_vec();
        match *self.0.card().shape.as_slice() {
            [height, width, 1] => shape.extend([height, width]),
            ref other => shape.extend(other),
        }
        examples.into_data().into_pyarray(py).reshape(shape)
    }

    fn latents_out<'py>(&self, py: Python<'py>, rows: Batch<f32>) -> PyResult<Floats<'py>> {
        let shape = vec![rows.rows(), rows.width()];
        rows.into_data().into_pyarray(py).reshape(shape)
    }
}

#[pymethods]
impl PyModel {
    #[new]
    fn new(path: PathBuf) -> PyResult<PyModel> {
        learn::load(&path).map(PyModel).map_err(raise)
    }

    /// The card: architecture, data, preprocessing, scores.
    #[getter]
    fn card<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (serde_json::to_string(self.0.card()).map_err(raise)?,))
    }

    /// Numbers of the latent space.
    #[getter]
    fn latents(&self) -> usize {
        self.0.latents()
    }

    /// Shape of an example: height, width and channels, or how many numbers it has.
    #[getter]
    fn shape(&self) -> Vec<usize> {
        self.0.card().shape.clone()
    }

    /// The same model, given what its latents depend on (`[data.condition]` of its training): a label or parameters of all examples, or a
    /// row of them for each (posteriors take one for all).
    fn given(&self, values: &Bound<'_, PyAny>) -> PyResult<PyModel> {
        let numpy = values.py().import("numpy")?;
        let values = numpy.call_method1("ascontiguousarray", (values, numpy.getattr("float64")?))?;
        let values: PyReadonlyArrayDyn<'_, f64> = values.extract()?;
        let numbers = contiguous(&values).ok_or_else(|| raise("what is given cannot be read"))?;
        let model = self.0.cast::<f32>().map_err(raise)?;
        Ok(PyModel(model.given(values.shape(), numbers).map_err(raise)?))
    }

    /// Artificial data: draws from the prior.
    #[pyo3(signature = (count = 1, *, seed = 42))]
    fn sample<'py>(&self, py: Python<'py>, count: usize, seed: u64) -> PyResult<Floats<'py>> {
        let drawn = py.detach(|| verbs::sample(&self.0, count, seed)).map_err(raise)?;
        self.shaped(py, drawn, &[count])
    }

    /// Examples along straight lines in the space of normal numbers, `steps` a line, the ends included.
    #[pyo3(signature = (begin, end, *, steps = 9))]
    fn interpolate<'py>(
        &self,
        begin: &Bound<'py, PyAny>,
        end: &Bound<'py, PyAny>,
        steps: usize,
    ) -> PyResult<Floats<'py>> {
        let (from, to) = (self.examples(begin)?, self.examples(end)?);
        let path = begin.py().detach(|| verbs::interpolate(&self.0, &from, &to, steps)).map_err(raise)?;
        self.shaped(begin.py(), path, &[from.rows(), steps])
    }

    /// The latents of examples; with `normal`, as standard normal numbers through the flow.
    #[pyo3(signature = (examples, *, normal = false))]
    fn encode<'py>(&self, examples: &Bound<'py, PyAny>, normal: bool) -> PyResult<Floats<'py>> {
        let (py, examples) = (examples.py(), self.examples(examples)?);
        let z = py.detach(|| {
            let z = self.0.encode(examples);
            if normal { self.0.normalise(z) } else { Ok(z) }
        });
        self.latents_out(py, z.map_err(raise)?)
    }

    /// Examples from latents; with `normal`, from standard normal numbers.
    #[pyo3(signature = (latents, *, normal = false))]
    fn decode<'py>(&self, latents: &Bound<'py, PyAny>, normal: bool) -> PyResult<Floats<'py>> {
        let z = self.rows(latents, &[self.0.latents()], "an array of latents")?;
        let (py, count) = (latents.py(), z.rows());
        let made = py.detach(|| if normal { self.0.generate(z) } else { Ok(self.0.decode(z)) });
        self.shaped(py, made.map_err(raise)?, &[count])
    }

    /// `ln p(z)` of the latents of examples.
    fn log_prob<'py>(&self, examples: &Bound<'py, PyAny>) -> PyResult<Bound<'py, numpy::PyArray1<f64>>> {
        let (py, examples) = (examples.py(), self.examples(examples)?);
        let densities = py.detach(|| self.0.log_density(self.0.encode(examples))).map_err(raise)?;
        Ok(densities.into_pyarray(py))
    }

    /// How usual examples are: log densities of their latents (`latent`; where the flow learned the density from latents with noise, the mean over such noise) and of what the decoder misses (`reconstruction`), and both `combined`, each in
    /// units of its scatter among usual examples; strange ones have low scores. (The sum of both, where a model does not know the scatter: if it was
    /// trained with conditions, with missing numbers, or with few examples for validation.)
    fn score<'py>(&self, examples: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = examples.py();
        let examples = self.examples(examples)?;
        let scores = py.detach(|| self.0.score(&examples)).map_err(raise)?;
        let out = PyDict::new(py);
        let column =
            |of: fn(&lookback::learning::Score) -> f64| -> Vec<f64> { scores.iter().map(of).collect() };
        out.set_item("latent", column(|s| s.latent).into_pyarray(py))?;
        out.set_item("reconstruction", column(|s| s.reconstruction).into_pyarray(py))?;
        out.set_item("combined", column(|s| s.combined).into_pyarray(py))?;
        Ok(out)
    }

    /// Posteriors of examples that were observed with noise, blurred, or in part (NaN where missing): `mean`, `std`, `samples`, the
    /// `latents` behind them, what is decoded at all `modes` (those of an example from its `first_mode` on, the heaviest first), and for each
    /// example what the search found (`examples`).
    #[pyo3(signature = (data, *, noise_std = 0.0, blur = None, model_error = "adaptive", error_factor = None, sampling = "laplace", starts = 20, modes = 20, samples = 100, seed = 42))]
    #[allow(clippy::too_many_arguments)]
    fn reconstruct<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        noise_std: f64,
        blur: Option<f64>,
        model_error: &str,
        error_factor: Option<f64>,
        sampling: &str,
        starts: usize,
        modes: usize,
        samples: usize,
        seed: u64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = data.py();
        let data = self.rows(data, &self.0.card().shape, "an array of data")?;
        if samples < 2 {
            return Err(raise("samples must be at least 2: one has no standard deviation"));
        }
        let options = ReconstructOptions {
            noise_std,
            blur_pixels: blur,
            model_error: match model_error {
                "adaptive" => Admitted::Adaptive,
                other => match error_kind(other)? {
                    ErrorKind::Correlated => Admitted::Correlated,
                    ErrorKind::Diagonal => Admitted::Diagonal,
                    ErrorKind::None => Admitted::None,
                },
            },
            error_factor,
            sampling: match sampling {
                "laplace" => Sampling::Laplace,
                "smc" => Sampling::Smc,
                "nuts" => Sampling::Nuts,
                other => {
                    return Err(raise(format!(
                        "sampling is \"{other}\": \"laplace\", \"smc\" and \"nuts\" are known"
                    )));
                }
            },
            starts,
            modes,
            samples,
            seed,
            directory: PathBuf::new(),
        };
        let found = interruptible(py, |stop: &AtomicBool| {
            learn::reconstruct(&self.0, &data, &options, stop, &mut Silent)
        })?;
        let out = PyDict::new(py);
        let count = data.rows();
        let text = serde_json::to_string(&found.examples).map_err(raise)?;
        out.set_item("examples", py.import("json")?.call_method1("loads", (text,))?)?;
        out.set_item("mean", self.shaped(py, found.mean, &[count])?)?;
        out.set_item("std", self.shaped(py, found.std, &[count])?)?;
        out.set_item("samples", self.shaped(py, found.samples, &[count, samples])?)?;
        let latents =
            found.latents.into_data().into_pyarray(py).reshape([count, samples, self.0.latents()])?;
        out.set_item("latents", latents)?;
        let modes = found.modes.rows();
        out.set_item("modes", self.shaped(py, found.modes, &[modes])?)?;
        Ok(out)
    }

    /// By how much the decoder's error is to be taken as larger where latents are judged by it (`error_factor` of `reconstruct`): halves
    /// of these examples are hidden and foretold. Factors with their scores (less is better), the shares of hidden numbers within the central
    /// 68 and 95 % with their errors, and whether these are right (`calibrated`); the best first: of those that are, with scores as low as any to their errors, the one whose shares are
    /// nearest to what they promise.
    /// With data `like` those that are to be reconstructed, what is missing in them (NaN) is hidden instead of halves; noise of `noise_std` is laid
    /// upon the rest. `lookback model calibrate` writes the best into the model.
    #[pyo3(signature = (examples, *, like = None, noise_std = 0.0, starts = 8, seed = 42))]
    fn calibrate<'py>(
        &self,
        examples: &Bound<'py, PyAny>,
        like: Option<&Bound<'py, PyAny>>,
        noise_std: f64,
        starts: usize,
        seed: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = examples.py();
        let examples = self.examples(examples)?;
        let like = like.map(|data| self.rows(data, &self.0.card().shape, "an array of data")).transpose()?;
        let like = like.map(|data| Like { name: "data".into(), data });
        let options = CalibrateOptions { like, noise_std, starts, seed };
        let judged = interruptible(py, |stop: &AtomicBool| {
            learn::calibrate(&self.0, &examples, &options, stop, &mut Silent)
        })?;
        let text = serde_json::to_string(&judged).map_err(raise)?;
        py.import("json")?.call_method1("loads", (text,))
    }

    /// The model as a prior: an operator from standard normal numbers to a signal. `model_error` is what is admitted of the decoder's
    /// error: `"correlated"`, `"diagonal"` or `"none"`.
    #[pyo3(signature = (*, model_error = "correlated", name = "signal"))]
    fn prior(&self, model_error: &str, name: &str) -> PyResult<PyOperator> {
        let model = Arc::new(self.0.cast::<f64>().map_err(raise)?);
        let shape = match *self.0.card().shape.as_slice() {
            [height, width, 1] => vec![height, width],
            ref other => other.to_vec(),
        };
        let generator = Generator::new(model, error_kind(model_error)?, name, &shape, "").map_err(raise)?;
        Ok(PyOperator(Arc::new(generator)))
    }

    fn __repr__(&self) -> String {
        let card = self.0.card();
        format!("Model(\"{}\", {} latents, examples of {:?})", card.title, self.0.latents(), card.shape)
    }
}

/// A trained prior of maps of any size: `MapModel("models/learn_convergence")`.
#[pyclass(name = "MapModel", frozen, module = "lookback")]
pub(crate) struct PyMapModel(FieldModel);

#[pymethods]
impl PyMapModel {
    #[new]
    fn new(path: PathBuf) -> PyResult<PyMapModel> {
        match learn::Prior::load(&path).map_err(raise)? {
            learn::Prior::Maps(model) => Ok(PyMapModel(*model)),
            learn::Prior::Examples(_) => {
                Err(raise(format!("{} is a model of examples: `Model` opens it", path.display())))
            }
        }
    }

    /// The card: pixels, layers, data, scores.
    #[getter]
    fn card<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = serde_json::to_string(self.0.card()).map_err(raise)?;
        py.import("json")?.call_method1("loads", (text,))
    }

    /// The prior as an operator: from white noise on the modes of a grid to a map. The grid's pixels must be those of the training;
    /// its size is free.
    #[pyo3(signature = (grid, *, name = "kappa"))]
    fn prior(&self, grid: &PyGrid, name: &str) -> PyResult<PyOperator> {
        self.0.prior(&grid.0, name, "").map(PyOperator).map_err(raise)
    }

    /// Draws from the prior on a grid.
    #[pyo3(signature = (grid, count = 1, *, seed = 42))]
    fn sample<'py>(&self, py: Python<'py>, grid: &PyGrid, count: usize, seed: u64) -> PyResult<Floats<'py>> {
        let maps = py.detach(|| learn::sample_maps(&self.0, &grid.0, count, seed)).map_err(raise)?;
        let mut shape = vec![count];
        shape.extend(grid.0.shape());
        maps.concat().into_pyarray(py).reshape(shape)
    }

    fn __repr__(&self) -> String {
        let card = self.0.card();
        format!("MapModel(\"{}\", pixels of {} arcmin)", card.title, card.pixel_arcmin)
    }
}

fn error_kind(name: &str) -> PyResult<ErrorKind> {
    match name {
        "correlated" => Ok(ErrorKind::Correlated),
        "diagonal" => Ok(ErrorKind::Diagonal),
        "none" => Ok(ErrorKind::None),
        other => Err(raise(format!(
            "model_error is \"{other}\": \"correlated\", \"diagonal\" and \"none\" are known"
        ))),
    }
}
