//! numpy arrays at the border: read without copies, handed out without copies.

use lookback_operator::Space;
use numpy::{Element, IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::errors::raise;

/// A float64 array that is read in place.
pub(crate) type Input<'py> = PyReadonlyArrayDyn<'py, f64>;
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
