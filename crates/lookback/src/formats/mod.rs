//! Files in the formats of the field: FITS, numpy, and Zarr for samples.

pub mod fits;
pub mod npy;
pub mod zarr;

use std::path::Path;

use crate::{Error, Result};

/// An array as it was read: shape in C order, all numbers as `f64`.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape, last axis fastest.
    pub shape: Vec<usize>,
    /// Values in C order.
    pub values: Vec<f64>,
}

/// Reads an array from `path` or a table column from `path#COLUMN`; FITS or npy by the ending of the name.
///
/// # Errors
/// If the file is missing, of another format, or has no such column (the columns that it has are named).
pub fn read_array(place: &str) -> Result<Array> {
    let (path, column) = match place.rsplit_once('#') {
        Some((path, column)) => (path, Some(column)),
        None => (place, None),
    };
    let file = Path::new(path);
    match file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("npy") if column.is_none() => npy::read(file),
        Some("fits" | "fit" | "fz") => fits::read(file, column),
        _ => Err(Error::file(
            file,
            "is neither FITS (`.fits`) nor numpy (`.npy`); a table column is `file.fits#COLUMN`",
        )),
    }
}
