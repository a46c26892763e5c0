//! numpy arrays at the border: read without copies where they are float64, handed out without copies.

use std::ops::Deref;

use lookback_operator::Space;
use numpy::{Element, IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::errors::raise;

/// An array of real numbers: float64 is read in place, others (float32, integers, lists of numbers) are copied to it.
pub(crate) struct Input<'py>(PyReadonlyArrayDyn<'py, f64>);

impl<'py> Deref for Input<'py> {
    type Target = PyReadonlyArrayDyn<'py, f64>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'py> FromPyObject<'_, 'py> for Input<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(array) = value.extract() {
            return Ok(Input(array));
        }
        let numpy = value.py().import("numpy")?;
        let array = numpy.call_method1("asarray", (value,))?;
        let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
        if !["f", "i", "u"].contains(&kind.as_str()) {
            let message = format!("an array of real numbers is needed, not of {}", array.getattr("dtype")?);
            return Err(PyTypeError::new_err(message));
        }
        let copy = array.call_method1("astype", ("float64", "C"))?;
        Ok(Input(copy.extract()?))
    }
}

/// A float64 array that is handed out.
pub(crate) type Output<'py> = Bound<'py, PyArrayDyn<f64>>;

/// The entries of an array in C order, if that is how they lie in memory. (A transposed array is contiguous too, but in
/// another order.)
pub(crate) fn contiguous<'a, E: Element>(array: &'a PyReadonlyArrayDyn<'_, E>) -> Option<&'a [E]> {
    array.is_c_contiguous().then(|| array.as_slice().ok()).flatten()
}

/// The numbers of a contiguous array with the expected length.
pub(crate) fn slice<'a>(array: &'a Input<'_>, what: &str, expected: usize) -> PyResult<&'a [f64]> {
    let values = contiguous(array).ok_or_else(|| {
        raise(format!("{what} is not contiguous in C order; pass numpy.ascontiguousarray(...)"))
    })?;
    if values.len() != expected {
        return Err(raise(format!("{what} has {} entries, {expected} are needed", values.len())));
    }
    Ok(values)
}

/// The numbers of an array that has the shape of a space: of its block, of its blocks one after the other where they are alike, or flat.
pub(crate) fn of_space<'a>(array: &'a Input<'_>, what: &str, space: &Space) -> PyResult<&'a [f64]> {
    let values = slice(array, what, space.len())?;
    if fits(array.shape(), space) {
        return Ok(values);
    }
    let blocks: Vec<String> = space.blocks().iter().map(|block| format!("{:?}", block.shape)).collect();
    let message = format!(
        "{what} has the shape {:?}, where {} is needed, or one axis",
        array.shape(),
        blocks.join(" and ")
    );
    Err(raise(message))
}

/// Whether an array of this shape holds the blocks of a space in their order.
pub(crate) fn fits(shape: &[usize], space: &Space) -> bool {
    let blocks = space.blocks();
    let alike = |first: &[usize]| blocks.iter().all(|block| block.shape == first);
    match (shape, blocks) {
        ([_], _) => true,
        (_, [block]) => shape == block.shape,
        ([count, each @ ..], _) => *count == blocks.len() && alike(each),
        ([], _) => false,
    }
}

/// Refuses an array of another shape than one that it belongs to.
pub(crate) fn alike(array: &Input<'_>, what: &str, shape: &[usize]) -> PyResult<()> {
    if array.shape() == shape {
        return Ok(());
    }
    Err(raise(format!("{what} has the shape {:?}, where {shape:?} is needed", array.shape())))
}

/// Any contiguous array.
pub(crate) fn any<'a>(array: &'a Input<'_>, what: &str) -> PyResult<&'a [f64]> {
    slice(array, what, array.as_array().len())
}

/// A vector as an array with the shape of a space: that of its block, or flat if there are several.
pub(crate) fn shaped<'py>(py: Python<'py>, values: Vec<f64>, space: &Space) -> PyResult<Output<'py>> {
    let flat = values.into_pyarray(py);
    match space.blocks() {
        [block] => flat.reshape(block.shape.clone()),
        _ => Ok(flat.to_dyn().clone()),
    }
}
