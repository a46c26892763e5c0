//! What can be done with a trained model: draw, interpolate, encode, decode, judge.

use std::path::Path;

use lookback_learn::layers::Image;
use lookback_learn::{Batch, Model, Score, Shape};
use lookback_mesh::Grid;
use lookback_operator::random::{Purpose, Stream};

use super::examples::{batch, shape_of};
use super::pictures;
use crate::formats::{self, Array, npy};
use crate::memory::check_numbers;
use crate::report::panel::robust_range;
use crate::{Error, Result, files};

/// A model from its file or its folder, given what its flow depends on: numbers with commas between, for all examples, or an array with
/// one number or row for each.
///
/// # Errors
/// If there is no such model, or the numbers are not those that it takes.
pub fn load_given(path: &Path, given: Option<&str>) -> Result<Model<f32>> {
    with_given(super::load(path)?, given)
}

/// The same for a model that was read.
///
/// # Errors
/// If the numbers are not those that it takes.
pub fn with_given(model: Model<f32>, given: Option<&str>) -> Result<Model<f32>> {
    let Some(given) = given else { return Ok(model) };
    let numbers = given.split(',').map(|word| word.trim().parse()).collect::<Result<Vec<f64>, _>>();
    let Array { shape, values } = match numbers {
        Ok(values) => Array { shape: vec![values.len()], values },
        Err(_) => formats::read_array(given)?,
    };
    model.given(&shape, &values).map_err(|error| Error::config("given", error.to_string()))
}

/// Refuses to give anything to a prior of maps.
///
/// # Errors
/// If something is given.
pub fn refuse_given(given: Option<&str>) -> Result<()> {
    match given {
        None => Ok(()),
        Some(_) => Err(Error::config("given", "a prior of maps depends on nothing that could be given")),
    }
}

/// Reads examples that fit a model: an array of them, or a single one. NaNs are refused unless they may be missing.
///
/// # Errors
/// If the shape does not fit, or a number is not finite.
pub fn read_examples(model: &Model<f32>, place: &str, missing: bool) -> Result<Batch<f32>> {
    let mut array = formats::read_array(place)?;
    let shape = model.card().example_shape()?;
    let single = matches!((&shape, array.shape.as_slice()),
        (Shape::Row(width), [n]) if n == width)
        || matches!((&shape, array.shape.as_slice()),
        (Shape::Image(image), [rows, columns]) if image.channels == 1 && [image.height, image.width] == [*rows, *columns]);
    if single {
        array.shape.insert(0, 1);
    }
    let found = shape_of(&array, place)?;
    if found != shape {
        let message = format!(
            "has the shape {:?}, but an example of the model has {:?}",
            array.shape,
            model.card().shape
        );
        return Err(Error::file(place, message));
    }
    if array.values.is_empty() {
        return Err(Error::file(place, "holds no example"));
    }
    check_finite(place, &array, missing)?;
    Ok(batch(&array, shape))
}

/// Refuses numbers that are infinite, or missing where none may be.
pub(super) fn check_finite(place: &str, array: &Array, missing: bool) -> Result<()> {
    let each: usize = array.shape.iter().skip(1).product();
    match array.values.iter().position(|x| !(x.is_finite() || missing && x.is_nan())) {
        None => Ok(()),
        Some(at) => {
            let message = format!("number {} of example {} is {}", at % each, at / each, array.values[at]);
            Err(Error::file(place, message))
        }
    }
}

/// Reads latents of a model.
///
/// # Errors
/// If an array has not one row for each set of latents.
pub fn read_latents(model: &Model<f32>, place: &str) -> Result<Batch<f32>> {
    let array = formats::read_array(place)?;
    match *array.shape.as_slice() {
        [0, _] => Err(Error::file(place, "holds no latents")),
        [_, n] if n == model.latents() => {
            check_finite(place, &array, false)?;
            Ok(batch(&array, Shape::Row(n)))
        }
        _ => {
            let message = format!(
                "has the shape {:?}, but latents of the model are rows of {}",
                array.shape,
                model.latents()
            );
            Err(Error::file(place, message))
        }
    }
}

/// Writes examples with the shape that the model gives them.
///
/// # Errors
/// If the disk refuses.
pub fn write_examples(model: &Model<f32>, examples: &Batch<f32>, path: &Path) -> Result<()> {
    let mut shape = vec![examples.rows()];
    match *model.card().shape.as_slice() {
        [height, width, 1] => shape.extend([height, width]),
        ref other => shape.extend(other),
    }
    npy::write(path, &shape, examples.data().iter().copied())
}

/// Writes rows of numbers.
///
/// # Errors
/// If the disk refuses.
pub fn write_rows(rows: &Batch<f32>, path: &Path) -> Result<()> {
    npy::write(path, &[rows.rows(), rows.width()], rows.data().iter().copied())
}

/// Artificial data: `count` draws from the prior, the same for the same seed.
///
/// # Errors
/// If what the model's flow depends on is not given, or there is too little memory for so many.
pub fn sample(model: &Model<f32>, count: usize, seed: u64) -> Result<Batch<f32>> {
    let example: usize = model.card().shape.iter().product();
    let fewer = "draw fewer at a time, with another `--seed` each";
    check_numbers("sample", count, 2 * (model.latents() + example), fewer)?;
    let mut normal = vec![0.0f32; count * model.latents()];
    Stream::new(seed, Purpose::PriorDraw, 0).fill_normal(&mut normal);
    Ok(model.generate(Batch::new(model.latents(), normal))?)
}

/// Examples along straight lines in the space of normal numbers, `steps` a line, the ends included.
///
/// # Errors
/// If there are not as many ends as beginnings, or a line has fewer than two examples.
pub fn interpolate(
    model: &Model<f32>,
    from: &Batch<f32>,
    to: &Batch<f32>,
    steps: usize,
) -> Result<Batch<f32>> {
    if from.rows() != to.rows() {
        let message = format!("{} examples to begin with, and {} to end with", from.rows(), to.rows());
        return Err(Error::config("interpolate", message));
    }
    if steps < 2 {
        return Err(Error::config("interpolate", "a line has at least 2 examples, its ends"));
    }
    Ok(model.interpolate(from, to, steps)?)
}

/// Which of its scores says how strange an example is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The density of the latents.
    Latent,
    /// That of what the decoder cannot make.
    Reconstruction,
    /// Both together.
    Combined,
}

impl By {
    /// The score.
    pub fn of(self, score: &Score) -> f64 {
        match self {
            By::Latent => score.latent,
            By::Reconstruction => score.reconstruction,
            By::Combined => score.combined,
        }
    }
}

/// The examples from the strangest to the most usual.
pub fn strangest(scores: &[Score], by: By) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| by.of(&scores[a]).total_cmp(&by.of(&scores[b])));
    order
}

/// The scores as a table, with the rank of every example by one of them: 1 is the strangest.
pub fn score_table(scores: &[Score], by: By) -> String {
    let mut rank = vec![0; scores.len()];
    strangest(scores, by).iter().enumerate().for_each(|(place, &example)| rank[example] = place + 1);
    let mut table = String::from("example,latent,reconstruction,combined,rank\n");
    for (example, Score { latent, reconstruction, combined }) in scores.iter().enumerate() {
        table += &format!("{example},{latent},{reconstruction},{combined},{}\n", rank[example]);
    }
    table
}

/// Writes maps of one size, and draws them side by side.
///
/// # Errors
/// If the picture cannot be drawn, or the disk refuses.
pub fn write_maps(grid: &Grid, maps: &[Vec<f32>], path: &Path, picture: Option<&Path>) -> Result<()> {
    let shape = [maps.len(), grid.shape()[0], grid.shape()[1]];
    npy::write(path, &shape, maps.iter().flatten().copied())?;
    let Some(picture) = picture else { return Ok(()) };
    let image = Image { height: shape[1], width: shape[2], channels: 1 };
    let all = Batch::new(grid.len(), maps.concat());
    // The few highest peaks must not darken all else.
    let values: Vec<f64> = all.data().iter().map(|&x| f64::from(x)).collect();
    let svg = pictures::images("draws", image, &all, 4, robust_range(&values, 0.002))?;
    files::write_whole(picture, |out| out.write_all(svg.as_bytes()))
}

/// Draws examples, so many side by side: a mosaic of images, or curves.
///
/// # Errors
/// If the picture cannot be drawn, or the disk refuses.
pub fn write_picture(
    model: &Model<f32>,
    title: &str,
    examples: &Batch<f32>,
    columns: usize,
    path: &Path,
) -> Result<()> {
    let svg = pictures::examples(title, model.card().example_shape()?, examples, columns)?;
    files::write_whole(path, |out| out.write_all(svg.as_bytes()))
}
