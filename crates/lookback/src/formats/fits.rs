//! FITS images and binary tables (FITS standard 4.0). Headers are parsed by `fitsrs`.

use std::io::{Cursor, Write};
use std::path::Path;

use fitsrs::card::Value;
use fitsrs::hdu::header::Header;
use fitsrs::{Fits, HDU};
use lookback_mesh::{Grid, Healpix};

use super::Array;
use crate::{Error, Result, files};

/// Bytes of a FITS block.
const BLOCK: usize = 2880;

/// What an HDU holds, as far as reading goes.
enum Unit {
    Image { name: Option<String>, shape: Vec<usize>, kind: char, coding: Coding, start: usize },
    Table { rows: usize, row_bytes: usize, columns: Vec<Column>, start: usize },
}

struct Column {
    name: String,
    kind: char,
    repeat: usize,
    offset: usize,
    coding: Coding,
}

/// What a stored number stands for: `number scale + zero`, and nothing if it is the blank of an integer.
#[derive(Clone, Copy)]
struct Coding {
    scale: f64,
    zero: f64,
    blank: Option<f64>,
}

impl Coding {
    /// From the keywords for scale, zero and blank.
    fn of<X>(header: &Header<X>, [scale, zero, blank]: [&str; 3]) -> Coding {
        Coding {
            scale: number(header, scale).unwrap_or(1.0),
            zero: number(header, zero).unwrap_or(0.0),
            blank: number(header, blank),
        }
    }

    fn integer(self, stored: f64) -> f64 {
        if self.blank == Some(stored) { f64::NAN } else { self.float(stored) }
    }

    fn float(self, stored: f64) -> f64 {
        stored * self.scale + self.zero
    }
}

/// Reads the first image of a file, or the column or the image extension of this name. Blanks of integers (`BLANK`, `TNULL`) are NaN.
///
/// # Errors
/// If the file is missing or damaged, or there is no such image or column.
pub fn read(path: &Path, column: Option<&str>) -> Result<Array> {
    let bytes = super::unpacked(path, files::read(path)?)?;
    let units = units(path, &bytes)?;
    let mut found: Vec<String> = Vec::new();
    for unit in units {
        match (unit, column) {
            (Unit::Image { name, shape, kind, coding, start }, wanted) if !shape.is_empty() => {
                if !is_wanted(name.as_deref(), wanted) {
                    found.extend(name);
                    continue;
                }
                let count = shape.iter().product();
                let values = decode(path, &bytes, kind, start, count, kind_bytes(kind).unwrap_or(1), coding)?;
                return Ok(Array { shape, values });
            }
            (Unit::Table { rows, row_bytes, columns, start }, Some(name)) => {
                let Some(field) = columns.iter().find(|field| field.name.eq_ignore_ascii_case(name)) else {
                    found.extend(columns.into_iter().map(|field| field.name));
                    continue;
                };
                if field.repeat != 1 {
                    let message =
                        format!("column `{name}` holds {} numbers a row; one is needed", field.repeat);
                    return Err(Error::file(path, message));
                }
                let begin = start + field.offset;
                let values = decode(path, &bytes, field.kind, begin, rows, row_bytes, field.coding)?;
                return Ok(Array { shape: vec![rows], values });
            }
            _ => {}
        }
    }
    Err(Error::file(
        path,
        match column {
            None => "has no image".into(),
            Some(name) if found.is_empty() => {
                format!("has no binary table and no named image, so no column or image `{name}`")
            }
            Some(name) => format!(
                "has no column `{name}`, nor an image of this name; it has {}{}",
                found.join(", "),
                nearest(name, &found)
            ),
        },
    ))
}

/// Whether an image of this name is the one that is asked for: any, if no name is.
fn is_wanted(name: Option<&str>, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| name.is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
}

/// What the header of a map says of its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelScale {
    /// Widths along the two FITS axes \[arcmin\].
    pub widths: [f64; 2],
    /// True if the first coordinate grows against the number of the column (as seen with the second one growing upwards).
    pub mirrored: bool,
}

/// The pixels of the first image, or of the extension of this name, by its header (`CD`, or `CDELT` and `PC`; Greisen & Calabretta 2002, sect. 2.1.2), if that tells in angles.
///
/// # Errors
/// If the file is missing or damaged.
pub fn pixel_scale(path: &Path, name: Option<&str>) -> Result<Option<PixelScale>> {
    let bytes = super::unpacked(path, files::read(path)?)?;
    for hdu in Fits::from_reader(Cursor::new(&bytes)) {
        let hdu = hdu.map_err(|error| Error::file(path, format!("is not a readable FITS file: {error}")))?;
        let (HDU::Primary(image) | HDU::XImage(image)) = hdu else { continue };
        let named = text(image.get_header(), "EXTNAME");
        if is_wanted(named.as_deref(), name) && !image.get_header().get_xtension().get_naxis().is_empty() {
            return Ok(scale_of(image.get_header()));
        }
    }
    Ok(None)
}

fn scale_of<X>(header: &Header<X>) -> Option<PixelScale> {
    let mut matrix = [[0.0; 2]; 2];
    for (i, row) in matrix.iter_mut().enumerate() {
        let axis = i + 1;
        // A header that names neither a projection nor a unit counts pixels.
        let unit = text(header, &format!("CUNIT{axis}"));
        let sky = text(header, &format!("CTYPE{axis}")).is_some_and(|name| !name.is_empty());
        let arcmin = match unit.as_deref().unwrap_or(if sky { "deg" } else { "" }) {
            "deg" => 60.0,
            "arcmin" => 1.0,
            "arcsec" => 1.0 / 60.0,
            _ => return None,
        };
        for (j, entry) in row.iter_mut().enumerate() {
            let of = |name: &str| number(header, &format!("{name}{axis}_{}", j + 1));
            let turned = of("PC").unwrap_or(if i == j { 1.0 } else { 0.0 });
            let stretched = || Some(number(header, &format!("CDELT{axis}"))? * turned);
            let any_cd = [1, 2].iter().any(|j| number(header, &format!("CD{axis}_{j}")).is_some());
            *entry = arcmin * if any_cd { of("CD").unwrap_or(0.0) } else { stretched()? };
        }
    }
    let [[a, b], [c, d]] = matrix;
    Some(PixelScale { widths: [a.hypot(c), b.hypot(d)], mirrored: a * d - b * c < 0.0 })
}

fn nearest(name: &str, found: &[String]) -> String {
    let best =
        found.iter().max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    best.filter(|best| strsim::jaro_winkler(name, best) > 0.7)
        .map_or(String::new(), |best| format!(" (did you mean `{best}`?)"))
}

fn kind_bytes(kind: char) -> Option<usize> {
    match kind {
        'B' | 'L' => Some(1),
        'I' => Some(2),
        'J' | 'E' => Some(4),
        'K' | 'D' => Some(8),
        _ => None,
    }
}

fn units(path: &Path, bytes: &[u8]) -> Result<Vec<Unit>> {
    let damaged = |what: String| Error::file(path, format!("is not a readable FITS file: {what}"));
    if !bytes.starts_with(b"SIMPLE  =") {
        return Err(damaged("it does not begin with `SIMPLE  =`".into()));
    }
    let mut units = Vec::new();
    let hdus = Fits::from_reader(Cursor::new(bytes));
    for hdu in hdus {
        match hdu.map_err(|error| damaged(error.to_string()))? {
            HDU::Primary(hdu) | HDU::XImage(hdu) => {
                let image = hdu.get_header().get_xtension();
                let shape = image.get_naxis().iter().rev().map(|&n| n as usize).collect();
                let header = hdu.get_header();
                let bitpix = number(header, "BITPIX").unwrap_or(0.0) as i32;
                let kind = match bitpix {
                    8 => 'B',
                    16 => 'I',
                    32 => 'J',
                    64 => 'K',
                    -32 => 'E',
                    -64 => 'D',
                    other => return Err(damaged(format!("BITPIX is {other}"))),
                };
                units.push(Unit::Image {
                    name: text(header, "EXTNAME"),
                    shape,
                    kind,
                    coding: Coding::of(header, ["BSCALE", "BZERO", "BLANK"]),
                    start: hdu.get_data_unit_byte_offset() as usize,
                });
            }
            HDU::XBinaryTable(hdu) => {
                let start = hdu.get_data_unit_byte_offset() as usize;
                units.push(table(hdu.get_header(), start).map_err(damaged)?);
            }
            HDU::XASCIITable(_) => {}
        }
    }
    Ok(units)
}

fn number<X>(header: &Header<X>, key: &str) -> Option<f64> {
    match header.get(key)? {
        Value::Integer { value, .. } => Some(*value as f64),
        Value::Float { value, .. } => Some(*value),
        _ => None,
    }
}

fn text<X>(header: &Header<X>, key: &str) -> Option<String> {
    match header.get(key)? {
        Value::String { value, .. } => Some(value.trim().to_string()),
        _ => None,
    }
}

fn table<X>(header: &Header<X>, start: usize) -> Result<Unit, String> {
    let need = |key: &str| number(header, key).ok_or(format!("{key} is missing"));
    let (row_bytes, rows) = (need("NAXIS1")? as usize, need("NAXIS2")? as usize);
    let mut columns = Vec::new();
    let mut offset = 0;
    for i in 1..=need("TFIELDS")? as usize {
        let form = text(header, &format!("TFORM{i}")).ok_or(format!("TFORM{i} is missing"))?;
        let digits = form.len() - form.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let repeat = if digits == 0 {
            1
        } else {
            form[..digits].parse().map_err(|_| format!("TFORM{i} is `{form}`"))?
        };
        let kind = form[digits..].chars().next().ok_or(format!("TFORM{i} is `{form}`"))?;
        let keys = ["TSCAL", "TZERO", "TNULL"].map(|key| format!("{key}{i}"));
        columns.push(Column {
            name: text(header, &format!("TTYPE{i}")).unwrap_or(format!("col{i}")),
            kind,
            repeat,
            offset,
            coding: Coding::of(header, [&keys[0], &keys[1], &keys[2]]),
        });
        offset += match kind {
            'X' => repeat.div_ceil(8),
            'A' => repeat,
            'C' | 'P' => 8 * repeat,
            'M' | 'Q' => 16 * repeat,
            other => repeat * kind_bytes(other).ok_or(format!("TFORM{i} is `{form}`"))?,
        };
    }
    if offset != row_bytes {
        return Err(format!("its columns fill {offset} bytes a row, but NAXIS1 is {row_bytes}"));
    }
    Ok(Unit::Table { rows, row_bytes, columns, start })
}

/// Decodes `count` big-endian numbers, one every `stride` bytes.
fn decode(
    path: &Path,
    bytes: &[u8],
    kind: char,
    start: usize,
    count: usize,
    stride: usize,
    coding: Coding,
) -> Result<Vec<f64>> {
    let size = kind_bytes(kind)
        .ok_or_else(|| Error::file(path, format!("holds `{kind}` entries; numbers are needed")))?;
    let end = count
        .checked_sub(1)
        .and_then(|last| last.checked_mul(stride))
        .and_then(|last| last.checked_add(start + size));
    if count > 0 && end.is_none_or(|end| end > bytes.len()) {
        return Err(Error::file(
            path,
            format!("is cut short: {count} numbers are announced, but the file ends before"),
        ));
    }
    let at = |i: usize| &bytes[start + i * stride..start + i * stride + size];
    // The slices have exactly the length of the number, so the conversion cannot fail.
    macro_rules! numbers {
        ($type:ty, $of:ident) => {
            |i| coding.$of(<$type>::from_be_bytes(at(i).try_into().unwrap_or_default()) as f64)
        };
    }
    Ok(match kind {
        'L' => (0..count).map(|i| f64::from(u8::from(at(i)[0] == b'T'))).collect(),
        'B' => (0..count).map(numbers!(u8, integer)).collect(),
        'I' => (0..count).map(numbers!(i16, integer)).collect(),
        'J' => (0..count).map(numbers!(i32, integer)).collect(),
        'K' => (0..count).map(numbers!(i64, integer)).collect(),
        'E' => (0..count).map(numbers!(f32, float)).collect(),
        _ => (0..count).map(numbers!(f64, float)).collect(),
    })
}

/// A keyword of a header that is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Card {
    /// A number.
    Number(&'static str, f64),
    /// A whole number.
    Integer(&'static str, i64),
    /// A text, cut to what a card holds.
    Text(&'static str, String),
}

/// The World Coordinate System of a map: which sky its pixels show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wcs {
    /// Projection of the map.
    pub projection: lookback_lensing::Projection,
}

impl Wcs {
    /// Header cards for a flat sky of this grid. Right ascension grows with `x` (FITS axis 1).
    fn cards(&self, grid: &Grid) -> Vec<Card> {
        let (rows, columns) = (grid.shape()[0] as f64, grid.shape()[1] as f64);
        let pixel: Vec<f64> = grid.spacing().iter().map(|x| x.to_degrees()).collect();
        let (ra, dec) = self.projection.centre();
        let flat = matches!(self.projection, lookback_lensing::Projection::PlateCarree { .. });
        let (middle_x, middle_y) = (0.5 * columns + 0.5, 0.5 * rows + 0.5);
        // A plate carree is straight only about the equator: its reference point lies there, perhaps off the map.
        let (code, value_dec, reference_y) =
            if flat { ("CAR", 0.0, middle_y - dec / pixel[0]) } else { ("TAN", dec, middle_y) };
        vec![
            Card::Text("CTYPE1", format!("RA---{code}")),
            Card::Text("CTYPE2", format!("DEC--{code}")),
            Card::Text("CUNIT1", "deg".into()),
            Card::Text("CUNIT2", "deg".into()),
            Card::Number("CRPIX1", middle_x),
            Card::Number("CRPIX2", reference_y),
            Card::Number("CRVAL1", ra),
            Card::Number("CRVAL2", value_dec),
            Card::Number("CDELT1", pixel[1]),
            Card::Number("CDELT2", pixel[0]),
            Card::Text("RADESYS", "ICRS".into()),
        ]
    }
}

/// The scale of a flat sky that lies nowhere: degrees from its middle.
fn scale_cards(grid: &Grid) -> Vec<Card> {
    let (rows, columns) = (grid.shape()[0] as f64, grid.shape()[1] as f64);
    let pixel: Vec<f64> = grid.spacing().iter().map(|x| x.to_degrees()).collect();
    vec![
        Card::Text("CUNIT1", "deg".into()),
        Card::Text("CUNIT2", "deg".into()),
        Card::Number("CRPIX1", 0.5 * columns + 0.5),
        Card::Number("CRPIX2", 0.5 * rows + 0.5),
        Card::Number("CRVAL1", 0.0),
        Card::Number("CRVAL2", 0.0),
        Card::Number("CDELT1", pixel[1]),
        Card::Number("CDELT2", pixel[0]),
    ]
}

fn card(key: &str, value: &str) -> String {
    format!("{:<80}", format!("{key:<8}= {value:>20}"))
}

fn render(entry: &Card) -> String {
    match entry {
        Card::Integer(key, value) => card(key, &value.to_string()),
        Card::Number(key, value) => card(key, &format!("{value:.13E}")),
        Card::Text(key, value) => {
            let mut quoted: String = value.chars().filter(|c| (' '..='~').contains(c)).take(60).collect();
            quoted = quoted.replace('\'', "''").chars().take(67).collect();
            format!("{:<80}", format!("{key:<8}= '{quoted:<8}'"))
        }
    }
}

/// Writes a map of the flat sky (a grid in radians) as `f64` with its coordinates, or its scale alone, and further cards.
///
/// # Errors
/// If the disk refuses.
pub fn write_map(path: &Path, grid: &Grid, map: &[f64], wcs: Option<Wcs>, cards: &[Card]) -> Result<()> {
    let mut header = format!("{:<80}", format!("{:<8}= {:>20}", "SIMPLE", "T"));
    header += &card("BITPIX", "-64");
    header += &card("NAXIS", &grid.shape().len().to_string());
    for (i, n) in grid.shape().iter().rev().enumerate() {
        header += &card(&format!("NAXIS{}", i + 1), &n.to_string());
    }
    let coordinates = wcs.map_or_else(|| scale_cards(grid), |wcs| wcs.cards(grid));
    for entry in coordinates.iter().chain(cards) {
        header += &render(entry);
    }
    header += &format!("{:<80}", "END");
    let padded = header.len().div_ceil(BLOCK) * BLOCK;
    files::write_whole(path, |out: &mut dyn Write| {
        write!(out, "{header:<padded$}")?;
        for value in map {
            out.write_all(&value.to_be_bytes())?;
        }
        let rest = (8 * map.len()).next_multiple_of(BLOCK) - 8 * map.len();
        out.write_all(&vec![0; rest])
    })
}

/// Writes a map of the full sky as a HEALPix table in ring order, which healpy and Aladin read.
///
/// # Errors
/// If the disk refuses.
pub fn write_healpix(path: &Path, sphere: &Healpix, map: &[f64], name: &str, cards: &[Card]) -> Result<()> {
    let mut primary = card("SIMPLE", "T") + &card("BITPIX", "8") + &card("NAXIS", "0") + &card("EXTEND", "T");
    primary += &format!("{:<80}", "END");
    let mut header = format!("{:<80}", "XTENSION= 'BINTABLE'");
    header += &(card("BITPIX", "8") + &card("NAXIS", "2") + &card("NAXIS1", "4"));
    header += &card("NAXIS2", &map.len().to_string());
    header += &(card("PCOUNT", "0") + &card("GCOUNT", "1") + &card("TFIELDS", "1"));
    let last = sphere.pixels() as i64 - 1;
    let fixed = [
        Card::Text("TTYPE1", name.into()),
        Card::Text("TFORM1", "1E".into()),
        Card::Text("PIXTYPE", "HEALPIX".into()),
        Card::Text("ORDERING", "RING".into()),
        Card::Integer("NSIDE", sphere.nside() as i64),
        Card::Integer("FIRSTPIX", 0),
        Card::Integer("LASTPIX", last),
        Card::Text("INDXSCHM", "IMPLICIT".into()),
    ];
    for entry in fixed.iter().chain(cards) {
        header += &render(entry);
    }
    header += &format!("{:<80}", "END");
    let (first, second) = (primary.len().next_multiple_of(BLOCK), header.len().next_multiple_of(BLOCK));
    files::write_whole(path, |out: &mut dyn Write| {
        write!(out, "{primary:<first$}{header:<second$}")?;
        for value in map {
            out.write_all(&(*value as f32).to_be_bytes())?;
        }
        let rest = (4 * map.len()).next_multiple_of(BLOCK) - 4 * map.len();
        out.write_all(&vec![0; rest])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.fits");
        let grid = Grid::sky(3, 5, 1e-3).expect("a grid");
        let map: Vec<f64> = (0..15).map(|i| f64::from(i) * 0.1 - 0.7).collect();
        let wcs = Wcs { projection: lookback_lensing::Projection::Gnomonic { ra: 150.0, dec: 2.0 } };
        let cards = [Card::Text("OBJECT", "it's a map".into()), Card::Integer("SEED", 42)];
        write_map(&path, &grid, &map, Some(wcs), &cards).expect("writes");
        assert_eq!(read(&path, None).expect("reads"), Array { shape: vec![3, 5], values: map });
        assert_eq!(std::fs::metadata(&path).expect("there").len() % BLOCK as u64, 0);
        let pixel = 1e-3f64.to_degrees() * 60.0;
        for wcs in [Some(wcs), None] {
            write_map(&path, &grid, &[0.0; 15], wcs, &cards).expect("writes");
            let found = pixel_scale(&path, None).expect("reads").expect("has a scale");
            assert!(found.widths.iter().all(|width| (width / pixel - 1.0).abs() < 1e-9), "{found:?}");
            assert!(!found.mirrored);
        }
        // As astropy writes a matrix: widths of one, and turned; the sky as it is mostly drawn, x to the west.
        let turned = [
            Card::Text("CTYPE1", "RA---TAN".into()),
            Card::Text("CTYPE2", "DEC--TAN".into()),
            Card::Number("PC1_1", -0.6e-3),
            Card::Number("PC1_2", 0.8e-3),
            Card::Number("PC2_1", 0.8e-3),
            Card::Number("PC2_2", 0.6e-3),
        ];
        write_map(&path, &grid, &[0.0; 15], None, &turned).expect("writes");
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("reads")).into_owned();
        let (width, one) = (format!("{:.13E}", 1e-3f64.to_degrees()), format!("{:.13E}", 1.0));
        let plain = text.replace(&width, &format!("{one:>0$}", width.len()));
        std::fs::write(&path, plain).expect("writes");
        let found = pixel_scale(&path, None).expect("reads").expect("has a scale");
        assert!(found.widths.iter().all(|width| (width - 0.06).abs() < 1e-9) && found.mirrored, "{found:?}");
    }

    #[test]
    fn damaged_files_are_refused_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.fits");
        let grid = Grid::sky(20, 30, 1e-3).expect("a grid");
        write_map(&path, &grid, &[1.0; 600], None, &[]).expect("writes");
        let whole = std::fs::read(&path).expect("reads");
        let refused = |bytes: &[u8], column| {
            std::fs::write(&path, bytes).expect("writes");
            read(&path, column).expect_err("refused").to_string()
        };
        assert!(refused(&whole[..4000], None).contains("cut short"));
        assert!(refused(b"hello", None).contains("SIMPLE"));
        assert!(refused(&whole[..100], None).contains("FITS"));
        assert!(refused(&whole, Some("ra")).contains("no binary table"));
    }
}
