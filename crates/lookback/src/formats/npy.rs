//! Arrays of numpy.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};
use zip::ZipArchive;
use zip::result::ZipError;

use super::Array;
use crate::{Error, Result, files};

/// Reads an array of floats or integers.
///
/// # Errors
/// If the file cannot be read, or holds something else.
pub fn read(path: &Path) -> Result<Array> {
    let bytes = files::read(path)?;
    let npy = NpyFile::new(bytes.as_slice())
        .map_err(|error| Error::file(path, format!("is not an npy file: {error}")))?;
    decode(path, npy)
}

/// Reads the array of this name out of an archive (`.npz`).
///
/// # Errors
/// As [`read`]; also if there is no such array: the names that there are stand in the message.
pub fn read_member(path: &Path, name: &str) -> Result<Array> {
    let wrong = |error: ZipError| Error::file(path, format!("is not an npz file: {error}"));
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(wrong)?;
    let names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_string())).collect();
    match archive.by_name(&format!("{name}.npy")) {
        Ok(mut member) => {
            let array = decode(path, NpyFile::new(&mut member).map_err(|error| wrong(error.into()))?)?;
            // Its checksum is compared where it ends.
            match std::io::copy(&mut member, &mut std::io::sink()) {
                Ok(0) => Ok(array),
                Ok(more) => Err(Error::file(path, format!("`{name}` is {more} bytes longer than it says"))),
                Err(error) => Err(wrong(error.into())),
            }
        }
        Err(ZipError::FileNotFound) => {
            Err(Error::file(path, format!("holds no array `{name}`; it holds {}", names.join(", "))))
        }
        Err(error) => Err(wrong(error)),
    }
}

fn decode<R: Read>(path: &Path, npy: NpyFile<R>) -> Result<Array> {
    let wrong = |message: String| Error::file(path, message);
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    let fortran = npy.order() == Order::Fortran && shape.len() > 1;
    let DType::Plain(kind) = npy.dtype() else {
        return Err(wrong("holds records; a plain array of numbers is needed".into()));
    };
    let broken = |error: std::io::Error| wrong(format!("cannot be decoded: {error}"));
    let values: Vec<f64> = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 8) => npy.into_vec().map_err(broken)?,
        (TypeChar::Float, 4) => npy.into_vec::<f32>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Int, 8) => npy.into_vec::<i64>().map_err(broken)?.into_iter().map(|x| x as f64).collect(),
        (TypeChar::Int, 4) => npy.into_vec::<i32>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Int, 2) => npy.into_vec::<i16>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Uint, 1) => npy.into_vec::<u8>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Uint, 2) => npy.into_vec::<u16>().map_err(broken)?.into_iter().map(f64::from).collect(),
        (TypeChar::Bool, _) => {
            npy.into_vec::<bool>().map_err(broken)?.into_iter().map(|x| f64::from(u8::from(x))).collect()
        }
        _ => {
            let known = "float64, float32, int64, int32, int16, uint16, uint8 or bool are read";
            return Err(wrong(format!("holds `{kind}`; {known}")));
        }
    };
    let values = if fortran { in_c_order(&shape, &values) } else { values };
    Ok(Array { shape, values })
}

/// Numbers whose first axis is the fastest, in the order in which the last one is.
fn in_c_order(shape: &[usize], values: &[f64]) -> Vec<f64> {
    let place = |mut at: usize| {
        let mut indices = vec![0; shape.len()];
        for (index, size) in indices.iter_mut().zip(shape).rev() {
            (*index, at) = (at % size, at / size);
        }
        indices.iter().zip(shape).rev().fold(0, |place, (index, size)| place * size + index)
    };
    (0..values.len()).map(|at| values[place(at)]).collect()
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
    fn numbers_in_the_order_of_fortran_are_put_in_that_of_c() {
        // Rows and columns of [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]].
        let fortran = [0.0, 6.0, 2.0, 8.0, 4.0, 10.0, 1.0, 7.0, 3.0, 9.0, 5.0, 11.0];
        assert_eq!(in_c_order(&[2, 3, 2], &fortran), (0..12).map(f64::from).collect::<Vec<f64>>());
    }

    #[test]
    fn an_array_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.npy");
        write(&path, &[2, 3], (0..6).map(|i| i as f32)).expect("writes");
        assert_eq!(
            read(&path).expect("reads"),
            Array { shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] }
        );
        let archive = folder.path().join("a.npz");
        let mut writer = zip::ZipWriter::new(File::create(&archive).expect("creates"));
        writer
            .start_file(
                "images.npy",
                zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
            )
            .expect("begins");
        let mut array = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&[2, 2])
            .writer(&mut writer)
            .begin_nd()
            .expect("begins");
        array.extend([1u8, 2, 3, 255]).expect("writes");
        array.finish().expect("writes");
        writer.finish().expect("writes");
        let found = read_member(&archive, "images").expect("reads");
        assert_eq!(found, Array { shape: vec![2, 2], values: vec![1.0, 2.0, 3.0, 255.0] });
        assert!(
            read_member(&archive, "labels").expect_err("refused").to_string().contains("it holds images")
        );
        let mut bytes = std::fs::read(&archive).expect("reads");
        let last = bytes.windows(4).position(|four| four == [1, 2, 3, 255]).expect("stored as it is") + 3;
        bytes[last] = 254;
        std::fs::write(&archive, bytes).expect("writes");
        assert!(
            read_member(&archive, "images").expect_err("refused").to_string().contains("not an npz file")
        );
        std::fs::write(&path, b"no").expect("writes");
        assert!(read_member(&path, "a").expect_err("refused").to_string().contains("not an npz file"));
        assert!(read(&path).expect_err("refused").to_string().contains("not an npy file"));
    }
}
