//! PNG pictures as arrays: one, or a folder of them.

use std::path::{Path, PathBuf};

use super::Array;
use crate::{Error, Result, files};

/// Reads a picture: rows, columns, and the channel last if there are several. Values from 0 to 255, or 65535.
///
/// # Errors
/// If it is not a PNG file.
pub fn read(path: &Path) -> Result<Array> {
    let bytes = files::read(path)?;
    let wrong = |error: png::DecodingError| Error::file(path, format!("is not a PNG picture: {error}"));
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    // Palettes become colours, and bits bytes.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(wrong)?;
    let size = reader.output_buffer_size().ok_or_else(|| Error::file(path, "is too large a picture"))?;
    let mut buffer = vec![0; size];
    let info = reader.next_frame(&mut buffer).map_err(wrong)?;
    let pixels = &buffer[..info.buffer_size()];
    let values: Vec<f64> = match info.bit_depth {
        png::BitDepth::Sixteen => {
            pixels.as_chunks::<2>().0.iter().map(|&pair| f64::from(u16::from_be_bytes(pair))).collect()
        }
        _ => pixels.iter().map(|&byte| f64::from(byte)).collect(),
    };
    let mut shape = vec![info.height as usize, info.width as usize];
    let channels = info.color_type.samples();
    if channels > 1 {
        shape.push(channels);
    }
    Ok(Array { shape, values })
}

/// The PNG files of a folder, in the order of their names.
///
/// # Errors
/// If the folder cannot be read.
pub fn names(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).map_err(Error::io("read", path))?;
    let is_png = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    let mut names: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_png).collect();
    names.sort();
    Ok(names)
}

/// Reads all PNG pictures of a folder, in the order of their names: an array with the picture as its first axis.
///
/// # Errors
/// If there are none, or they differ in shape.
pub fn read_folder(path: &Path) -> Result<Array> {
    let names = names(path)?;
    let mut all = Array { shape: Vec::new(), values: Vec::new() };
    for name in &names {
        let one = read(name)?;
        if all.shape.is_empty() {
            all.shape = one.shape.clone();
        } else if all.shape != one.shape {
            let message =
                format!("has the shape {:?}, and the pictures before it {:?}", one.shape, all.shape);
            return Err(Error::file(name, message));
        }
        all.values.extend(one.values);
    }
    if names.is_empty() {
        return Err(Error::file(path, "holds no PNG pictures"));
    }
    all.shape.insert(0, names.len());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, colour: png::ColorType, (width, height): (u32, u32), bytes: &[u8]) {
        let file = std::fs::File::create(path).expect("a file");
        let mut encoder = png::Encoder::new(file, width, height);
        encoder.set_color(colour);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().expect("a header").write_image_data(bytes).expect("writes");
    }

    #[test]
    fn pictures_are_read_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        write(&place("b.png"), png::ColorType::Grayscale, (2, 1), &[3, 255]);
        write(&place("a.png"), png::ColorType::Grayscale, (2, 1), &[1, 2]);
        let all = read_folder(folder.path()).expect("reads");
        assert_eq!(all, Array { shape: vec![2, 1, 2], values: vec![1.0, 2.0, 3.0, 255.0] });
        write(&place("c.png"), png::ColorType::Rgb, (1, 1), &[1, 2, 3]);
        assert_eq!(read(&place("c.png")).expect("reads").shape, [1, 1, 3]);
        assert!(
            read_folder(folder.path()).expect_err("refused").to_string().contains("has the shape [1, 1, 3]")
        );
        std::fs::write(place("d.png"), "no").expect("writes");
        assert!(read(&place("d.png")).expect_err("refused").to_string().contains("not a PNG picture"));
    }
}
