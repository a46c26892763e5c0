//! Arrays of numpy.

use std::io::Write;
use std::path::Path;

use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};

use super::Array;
use crate::{Error, Result, files};

/// Reads an array of floats or integers.
///
/// # Errors
/// If the file cannot be read, or holds something else.
pub fn read(path: &Path) -> Result<Array> {
    let bytes = files::read(path)?;
    let wrong = |message: String| Error::file(path, message);
    let npy =
        NpyFile::new(bytes.as_slice()).map_err(|error| wrong(format!("is not an npy file: {error}")))?;
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    if npy.order() == Order::Fortran && shape.len() > 1 {
        return Err(wrong("is in Fortran order; write it with `numpy.ascontiguousarray`".into()));
    }
    let DType::Plain(kind) = npy.dtype() else {
        return Err(wrong("holds records; a plain array of numbers is needed".into()));
    };
    let broken = |error: std::io::Error| wrong(format!("cannot be decoded: {error}"));
    let values: Vec<f64> = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 8) => npy.into_vec().map_err(broken)?,
        (TypeChar::Float, 4) => npy.into_vec::<f32>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Int, 8) => npy.into_vec::<i64>().map_err(broken)?.into_iter().map(|x| x as f64).collect(),
        (TypeChar::Int, 4) => npy.into_vec::<i32>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Bool, _) => {
            npy.into_vec::<bool>().map_err(broken)?.into_iter().map(|x| f64::from(u8::from(x))).collect()
        }
        _ => return Err(wrong(format!("holds `{kind}`; float64, float32, int64, int32 or bool are read"))),
    };
    Ok(Array { shape, values })
}

/// Writes an `f32` array, its values from an iterator so that large ones need no copy.
///
/// # Errors
/// If the disk refuses.
pub fn write(path: &Path, shape: &[usize], values: impl Iterator<Item = f32>) -> Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    files::write_whole(path, |out: &mut dyn Write| {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
        writer.extend(values)?;
        writer.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.npy");
        write(&path, &[2, 3], (0..6).map(|i| i as f32)).expect("writes");
        assert_eq!(
            read(&path).expect("reads"),
            Array { shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] }
        );
        std::fs::write(&path, b"no").expect("writes");
        assert!(read(&path).expect_err("refused").to_string().contains("not an npy file"));
    }
}
