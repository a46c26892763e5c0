//! Training of a prior of maps.

use std::path::Path;

use lookback_learn::field::{FieldCard, FieldGenerator, FieldMatching, FieldModel};
use lookback_learn::{DataSource, Epoch, Objective, OnHost, Training};
use lookback_mesh::{Grid, Multiplier};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{LinearOperator, Space};
use lookback_prior::Spectrum;

use super::examples::source;
use super::losses::Loss;
use super::maps_file::{MapsData, MapsFile};
use super::workbench::Workbench;
use crate::formats;
use crate::{Error, Result, VERSION, files};

/// Maps of one size, apart.
pub(super) struct Maps {
    pub grid: Grid,
    pub train: Vec<Vec<f32>>,
    pub validation: Vec<Vec<f32>>,
    pub sources: Vec<DataSource>,
}

impl Maps {
    /// Reads maps and draws those that judge.
    pub fn read(data: &MapsData, seed: u64) -> Result<Maps> {
        if !(data.pixel_arcmin > 0.0 && data.pixel_arcmin.is_finite()) {
            let message = format!("`pixel_arcmin` must be above 0, not {}", data.pixel_arcmin);
            return Err(Error::config("data", message));
        }
        if !(data.validation > 0.0 && data.validation < 1.0) {
            let message = format!("`validation` must be above 0 and below 1, not {}", data.validation);
            return Err(Error::config("data", message));
        }
        let mut shape: Option<[usize; 2]> = None;
        let (mut all, mut sources) = (Vec::new(), Vec::new());
        for place in places(&data.maps)? {
            let array = formats::read_array(&place)?;
            let wrong = |message: String| Error::file(&place, message);
            let found = match *array.shape.as_slice() {
                [rows, columns] | [_, rows, columns] if rows * columns > 0 => [rows, columns],
                _ => {
                    let message = format!(
                        "has the shape {:?}: a map has two axes, many have three, none of them empty",
                        array.shape
                    );
                    return Err(wrong(message));
                }
            };
            if *shape.get_or_insert(found) != found {
                let message =
                    format!("has maps of {found:?} pixels, and others have {:?}", shape.unwrap_or(found));
                return Err(wrong(message));
            }
            if let Some(at) = array.values.iter().position(|x| !x.is_finite()) {
                return Err(wrong(format!("number {at} is {}", array.values[at])));
            }
            let each = found[0] * found[1];
            let maps = array.values.chunks_exact(each);
            sources.push(source("maps", &place, maps.len())?);
            all.extend(maps.map(|map| map.iter().map(|&x| x as f32).collect::<Vec<f32>>()));
        }
        if all.len() < 2 {
            let message =
                format!("{} map in {}: one to learn from and one to judge are needed", all.len(), data.maps);
            return Err(Error::config("data", message));
        }
        let Some([rows, columns]) = shape else { unreachable!("there are maps") };
        let grid = Grid::sky(rows, columns, (data.pixel_arcmin / 60.0).to_radians())?;
        if let Some(spectra) = &data.spectra {
            let filter = towards_theory(&grid, Path::new(spectra))?;
            let mut scratch = filter.scratch();
            for map in &mut all {
                let before = std::mem::replace(map, vec![0.0; grid.len()]);
                filter.forward(&before, map, &mut scratch);
            }
            sources.push(source("spectra", spectra, 0)?);
        }
        let held = ((all.len() as f64 * data.validation).round() as usize).clamp(1, all.len() - 1);
        let order = Stream::new(seed, Purpose::Survey, 1).order(all.len());
        let mut take = |indices: &[usize]| indices.iter().map(|&i| std::mem::take(&mut all[i])).collect();
        let (kept, judging) = order.split_at(order.len() - held);
        Ok(Maps { grid, train: take(kept), validation: take(judging), sources })
    }

    fn views(maps: &[Vec<f32>]) -> Vec<&[f32]> {
        maps.iter().map(Vec::as_slice).collect()
    }
}

/// The filter that gives maps the spectrum of theory: the root of theory over what the maps have in the mean.
fn towards_theory(grid: &Grid, path: &Path) -> Result<Multiplier<f32>> {
    let text =
        String::from_utf8(files::read(path)?).map_err(|_| Error::file(path, "is not a text in UTF-8"))?;
    let [ell, measured, theory] = columns(&text, ["ell", "c_ell_mean", "limber_halofit"])
        .map_err(|message| Error::file(path, format!("{message}; `lookback simulate` writes such files")))?;
    let ratio: Vec<f64> = theory.iter().zip(&measured).map(|(theory, measured)| theory / measured).collect();
    let table = Spectrum::table(&ell, &ratio).map_err(|error| Error::file(path, error.to_string()))?;
    let (first, last) = (ell[0], ell[ell.len() - 1]);
    let half = grid.half_columns();
    let wave_numbers = grid.half_wave_numbers();
    let factor = |row: usize, column: usize| {
        vec![table.power(wave_numbers[row * half + column].clamp(first, last)).sqrt()]
    };
    let space = Space::single("map", grid.shape(), "");
    Ok(Multiplier::new("towards theory", grid, space.clone(), space, factor))
}

/// Columns of a table with a line of names.
fn columns<const N: usize>(text: &str, names: [&str; N]) -> Result<[Vec<f64>; N], String> {
    let mut lines = text.lines();
    let known: Vec<&str> = lines.next().unwrap_or_default().split(',').map(str::trim).collect();
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(names) {
        let found = known.iter().position(|known| *known == name);
        *place = found.ok_or_else(|| format!("has no column `{name}`, but {}", known.join(", ")))?;
    }
    let mut columns = std::array::from_fn(|_| Vec::new());
    for (number, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        for (column, &place) in columns.iter_mut().zip(&places) {
            let value = cells.get(place).and_then(|cell| cell.trim().parse().ok());
            column.push(value.ok_or_else(|| format!("line {}: a number is missing", number + 2))?);
        }
    }
    Ok(columns)
}

/// The files of a pattern, in the order of their names; a name that is no pattern is a file.
fn places(pattern: &str) -> Result<Vec<String>> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![pattern.into()]);
    }
    let wrong = |message: String| Error::config("data", format!("`maps` = {pattern:?} {message}"));
    let found = glob::glob(pattern).map_err(|error| wrong(format!("is no pattern: {error}")))?;
    let mut places = Vec::new();
    for path in found {
        let path = path.map_err(|error| wrong(format!("cannot be searched: {error}")))?;
        places.push(path.to_string_lossy().into_owned());
    }
    if places.is_empty() {
        return Err(wrong("names no file".into()));
    }
    Ok(places)
}

/// Trains a prior of maps; what has been trained already is taken from the bench.
pub(super) fn train(
    file: &MapsFile,
    maps: &Maps,
    bench: &mut Workbench<'_>,
) -> Result<(FieldModel, Training)> {
    let generator = FieldGenerator::new(file.field, &maps.grid)?;
    let matching =
        FieldMatching::new(&generator, &maps.grid, Maps::views(&maps.train), Maps::views(&maps.validation))?;
    let started: Option<Training> = bench.read()?;
    let training = started.map_or_else(|| Training::new(&matching, &file.training, file.seed), Ok)?;
    let mut trainer = OnHost { training, objective: &matching, options: &file.training };
    let done = bench.finish(Loss::MAPS, file.training.epochs, &mut trainer, |training| training)?;
    let weights = done.weights().to_vec();
    let shape = maps.grid.shape();
    let card = FieldCard {
        lookback_version: VERSION.into(),
        title: file.title.clone(),
        seed: file.seed,
        pixel_arcmin: file.data.pixel_arcmin,
        shape: [shape[0], shape[1]],
        field: file.field,
        ell: generator.ell().to_vec(),
        data: maps.sources.clone(),
        scores: vec![("validation_distance".into(), matching.validation(&weights))],
    };
    Ok((FieldModel::new(card, weights)?, done))
}

/// The losses as a table.
pub(super) fn history(epochs: &[Epoch]) -> String {
    let mut table = String::from("epoch,train_loss,validation_loss,learning_rate\n");
    for (number, Epoch { train, validation, learning_rate }) in epochs.iter().enumerate() {
        table += &format!("{},{train},{validation},{learning_rate}\n", number + 1);
    }
    table
}

/// Draws of a prior of maps on a grid, the same for the same seed.
///
/// # Errors
/// If the grid's pixels are not those that were trained on.
pub fn sample(model: &FieldModel, grid: &Grid, count: usize, seed: u64) -> Result<Vec<Vec<f32>>> {
    let prior = model.prior::<f32>(grid, "map", "")?;
    let draw = |number: usize| {
        let mut modes = vec![0.0f32; grid.len()];
        Stream::new(seed, Purpose::PriorDraw, number as u32).fill_normal(&mut modes);
        Ok(prior.apply(&modes)?)
    };
    (0..count).map(draw).collect()
}
