//! The idx format of the MNIST data sets, plain or compressed with gzip.

use std::path::Path;

use super::Array;
use crate::{Error, Result, files};

/// Reads an array: two zero bytes, the type, the number of axes, their lengths, and the values, all big-endian.
///
/// # Errors
/// If the file is not one, or is too short or too long for its shape.
pub fn read(path: &Path) -> Result<Array> {
    let bytes = super::unpacked(path, files::read(path)?)?;
    let wrong = |message: String| Error::file(path, message);
    let [0, 0, kind, axes, rest @ ..] = bytes.as_slice() else {
        return Err(wrong(
            "is not an idx file: it does not begin with two zero bytes, a type and a number of axes".into(),
        ));
    };
    let axes = usize::from(*axes);
    if rest.len() < 4 * axes {
        return Err(wrong(format!("ends within the lengths of its {axes} axes")));
    }
    let (lengths, values) = rest.split_at(4 * axes);
    let shape: Vec<usize> =
        lengths.as_chunks::<4>().0.iter().map(|&bytes| u32::from_be_bytes(bytes) as usize).collect();
    let count: usize = shape.iter().product();
    let values =
        decode(*kind, values).ok_or_else(|| wrong(format!("has numbers of the unknown type {kind:#04x}")))?;
    if values.len() != count {
        return Err(wrong(format!("holds {} numbers where its shape {shape:?} needs {count}", values.len())));
    }
    Ok(Array { shape, values })
}

fn decode(kind: u8, bytes: &[u8]) -> Option<Vec<f64>> {
    fn all<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| of(bytes)).collect()
    }
    Some(match kind {
        0x08 => bytes.iter().map(|&byte| f64::from(byte)).collect(),
        0x09 => bytes.iter().map(|&byte| f64::from(byte as i8)).collect(),
        0x0b => all(bytes, |b| f64::from(i16::from_be_bytes(b))),
        0x0c => all(bytes, |b| f64::from(i32::from_be_bytes(b))),
        0x0d => all(bytes, |b| f64::from(f32::from_be_bytes(b))),
        0x0e => all(bytes, f64::from_be_bytes),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn written(bytes: &[u8]) -> Result<Array> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a-idx2-short");
        std::fs::write(&path, bytes).expect("writes");
        read(&path)
    }

    const SHORTS: [u8; 24] = [0, 0, 0x0b, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 1, 0, 2, 255, 255, 0, 4, 1, 0, 0, 6];

    #[test]
    fn arrays_are_read_plain_and_packed() {
        let expected = Array { shape: vec![2, 3], values: vec![1.0, 2.0, -1.0, 4.0, 256.0, 6.0] };
        assert_eq!(written(&SHORTS).expect("reads"), expected);
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&SHORTS).expect("packs");
        let mut packed = packer.finish().expect("packs");
        assert_eq!(written(&packed).expect("reads"), expected);
        packed.truncate(20);
        assert!(written(&packed).expect_err("refused").to_string().contains("cannot be unpacked"));
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(written(&SHORTS[..23]).expect_err("refused").to_string().contains("holds 5 numbers"));
        assert!(written(&SHORTS[..9]).expect_err("refused").to_string().contains("ends within"));
        assert!(written(b"P5 28 28").expect_err("refused").to_string().contains("not an idx file"));
        let mut kind = SHORTS;
        kind[2] = 7;
        assert!(written(&kind).expect_err("refused").to_string().contains("unknown type 0x07"));
    }
}
