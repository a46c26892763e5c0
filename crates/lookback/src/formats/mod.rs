//! Files in the formats of the field: FITS, HDF5, numpy, idx and PNG, Zarr for samples, and bigfile for particles.

pub mod bigfile;
pub mod fits;
pub mod hdf5;
pub mod idx;
pub mod npy;
pub mod pictures;
pub mod zarr;

use std::io::Read;
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

/// Reads an array from `path`, a table column or an image extension from `path#NAME`, or an array of an archive likewise: FITS, HDF5, numpy, idx
/// (FITS and idx plain or with gzip) or PNG by the ending of the name, or a folder of PNG pictures.
///
/// # Errors
/// If the file is missing, of another format, or has no such column or array (those that it has are named).
pub fn read_array(place: &str) -> Result<Array> {
    let (file, column) = split(place);
    let name = file.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match column {
        None if ends(&[".npy"]) => npy::read(file),
        Some(member) if ends(&[".npz"]) => npy::read_member(file, member),
        None if ends(&["ubyte", "ubyte.gz", ".idx", ".idx.gz"]) => idx::read(file),
        None if ends(&[".png"]) => pictures::read(file),
        None if file.is_dir() => pictures::read_folder(file),
        dataset if ends(&[".h5", ".hdf5", ".he5"]) => hdf5::read(file, dataset),
        column if is_fits(file) => fits::read(file, column),
        _ => Err(Error::file(
            file,
            "is neither FITS (`.fits`, `.gz` or not), HDF5 (`file.h5#DATASET`), numpy (`.npy`, `file.npz#NAME`), idx (`-ubyte`, `.gz` or not), PNG, nor a folder of PNG pictures; a table column or an image extension is `file.fits#NAME`",
        )),
    }
}

/// A place as a file and the name of what is meant in it.
pub fn split(place: &str) -> (&Path, Option<&str>) {
    match place.rsplit_once('#') {
        Some((path, name)) => (Path::new(path), Some(name)),
        None => (Path::new(place), None),
    }
}

/// Whether a file is FITS by the ending of its name.
pub(crate) fn is_fits(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    [".fits", ".fit", ".fz", ".fits.gz"].iter().any(|ending| name.ends_with(ending))
}

/// The bytes behind gzip, where there is any.
fn unpacked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut out)
        .map_err(|error| Error::file(path, format!("cannot be unpacked: {error}")))?;
    Ok(out)
}
