//! Datasets of HDF5 files.

use std::path::Path;

use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File};

use super::Array;
use crate::{Error, Result, files};

/// Groups within groups that are searched for the names of datasets.
const DEEPEST: usize = 16;

/// Reads a dataset by its path within the file; the only one if no path is given.
///
/// # Errors
/// If the file is not one, has no such dataset (those that it has are named), or the dataset holds no numbers.
pub fn read(path: &Path, dataset: Option<&str>) -> Result<Array> {
    let wrong = |message: String| Error::file(path, message);
    let bytes = files::read(path)?;
    let length = bytes.len() as u64;
    let file =
        Hdf5File::from_vec(bytes).map_err(|error| wrong(format!("is not a whole HDF5 file: {error}")))?;
    let whole = file.superblock().eof_address;
    if length < whole {
        return Err(wrong(format!("is cut short: {length} bytes of {whole}")));
    }
    let root = file.root_group().map_err(|error| wrong(format!("is damaged: {error}")))?;
    let mut known = Vec::new();
    names(&root, "", DEEPEST, &mut known);
    let listed = || if known.is_empty() { "none".into() } else { known.join(", ") };
    let name = match (dataset, known.as_slice()) {
        (Some(name), _) => name.trim_start_matches('/'),
        (None, [only]) => only,
        (None, _) => {
            let message = format!("say which dataset is meant, as `file.h5#NAME`; it holds {}", listed());
            return Err(wrong(message));
        }
    };
    if !known.iter().any(|known| known == name) {
        return Err(wrong(format!("has no dataset `{name}`; it holds {}", listed())));
    }
    let found = file.dataset(name).map_err(|error| wrong(format!("`{name}`: {error}")))?;
    let shape: Vec<usize> = found.shape().iter().map(|&n| n as usize).collect();
    let values = numbers(&found).map_err(|message| wrong(format!("`{name}` {message}")))?;
    if values.len() != shape.iter().product::<usize>() {
        return Err(wrong(format!("`{name}` holds {} numbers where its shape is {shape:?}", values.len())));
    }
    Ok(Array { shape, values })
}

/// The paths of all datasets below a group.
fn names(group: &Group, above: &str, depth: usize, out: &mut Vec<String>) {
    let Ok((groups, datasets)) = group.members() else { return };
    out.extend(datasets.iter().map(|dataset| format!("{above}{}", dataset.name())));
    if depth > 0 {
        for inner in groups {
            names(&inner, &format!("{above}{}/", inner.name()), depth - 1, out);
        }
    }
}

fn numbers(dataset: &Dataset) -> Result<Vec<f64>, String> {
    macro_rules! of {
        ($kind:ty) => {
            dataset
                .read_array::<$kind>()
                .map(|array| array.iter().map(|&x| x as f64).collect())
                .map_err(|error| format!("cannot be read: {error}"))
        };
    }
    match dataset.dtype() {
        Datatype::FloatingPoint { size: 4, .. } => of!(f32),
        Datatype::FloatingPoint { size: 8, .. } => of!(f64),
        Datatype::FixedPoint { size: 1, signed: false, .. } => of!(u8),
        Datatype::FixedPoint { size: 2, signed: false, .. } => of!(u16),
        Datatype::FixedPoint { size: 4, signed: false, .. } => of!(u32),
        Datatype::FixedPoint { size: 8, signed: false, .. } => of!(u64),
        Datatype::FixedPoint { size: 1, signed: true, .. } => of!(i8),
        Datatype::FixedPoint { size: 2, signed: true, .. } => of!(i16),
        Datatype::FixedPoint { size: 4, signed: true, .. } => of!(i32),
        Datatype::FixedPoint { size: 8, signed: true, .. } => of!(i64),
        other => Err(format!("holds {other:?}, and numbers of 1, 2, 4 or 8 bytes are needed")),
    }
}
