//! Examples from files: what a training learns from, what judges it, and what it never sees.

use std::path::Path;

use lookback_learn::{Batch, Condition, DataSource, Examples, Scaling, Shape, layers::Image};

use lookback_operator::random::{Purpose, Stream};

use super::verbs::check_finite;
use super::{ConditionFile, TrainFile};
use crate::formats::{self, Array, pictures};
use crate::{Error, Result, files};

/// The examples of a training, in the network's units.
pub(super) struct Sets {
    pub train: Examples,
    pub validation: Examples,
    pub test: Option<Examples>,
    pub scaling: Scaling,
    /// What the flow depends on.
    pub condition: Option<Condition>,
    pub sources: Vec<DataSource>,
}

/// Fewest examples that judge a training.
const FEWEST: usize = 10;

impl Sets {
    pub(super) fn read(file: &TrainFile) -> Result<Sets> {
        let data = &file.data;
        let (array, origin) = read("train", &data.train)?;
        let mut sources = vec![origin];
        let shape = shape_of(&array, &data.train)?;
        check_finite(&data.train, &array, true)?;
        let values = batch(&array, shape);
        let std = match &data.noise_std {
            None => None,
            Some(place) => {
                let (noise, source) = read("noise", place)?;
                if noise.shape != array.shape {
                    let message =
                        format!("has the shape {:?}, and the examples {:?}", noise.shape, array.shape);
                    return Err(Error::file(place, message));
                }
                sources.push(source);
                Some(batch(&noise, shape))
            }
        };
        let count = values.rows();
        if !(data.validation > 0.0 && data.validation < 1.0) {
            let message = format!("`validation` must be above 0 and below 1, not {}", data.validation);
            return Err(Error::config("data", message));
        }
        let held = (count as f64 * data.validation).round() as usize;
        if held < FEWEST {
            let message =
                format!("{count} examples leave {held} to judge the training; at least {FEWEST} are needed");
            return Err(Error::config("data", message));
        }
        // Files are often sorted by class.
        let order = Stream::new(file.seed, Purpose::Survey, 1).order(count);
        let (kept, held) = order.split_at(count - held);
        let wrong = |error: lookback_learn::Error| Error::file(&data.train, error.to_string());
        let finite: Vec<f32> =
            values.gather(kept.iter().copied()).data().iter().copied().filter(|x| x.is_finite()).collect();
        let scaling = data.scaling.of(&Batch::new(finite.len().max(1), finite)).map_err(wrong)?;
        let scaled_std = std.map(|std| Scaling { offset: 0.0, scale: scaling.scale }.apply(std));
        let mut all =
            Examples::with_noise(shape, scaling.apply(values), scaled_std.as_ref()).map_err(wrong)?;
        let condition = match &data.condition {
            None => None,
            Some(ConditionFile { kind, train, .. }) => {
                let Array { shape, values } = numbers_of_examples(train, count)?;
                let refused = |error: lookback_learn::Error| Error::file(train, error.to_string());
                let condition =
                    Condition::learn(*kind, &values, shape.get(1).copied().unwrap_or(1)).map_err(refused)?;
                all.condition = Some(condition.encode(&shape, &values).map_err(refused)?);
                sources.push(source("condition", train, count)?);
                Some(condition)
            }
        };
        let (train, validation) = (all.subset(kept), all.subset(held));
        let test = match &data.test {
            None => None,
            Some(place) => {
                let (array, origin) = read("test", place)?;
                if shape_of(&array, place)? != shape {
                    let message = format!(
                        "has examples of the shape {:?}, not those of the training",
                        &array.shape[1..]
                    );
                    return Err(Error::file(place, message));
                }
                sources.push(origin);
                check_finite(place, &array, true)?;
                let values = scaling.apply(batch(&array, shape));
                let refused = |error: lookback_learn::Error| Error::file(place, error.to_string());
                let mut test = Examples::with_noise(shape, values, None).map_err(refused)?;
                if let (Some(condition), Some(file)) = (&condition, &data.condition) {
                    let Some(place) = &file.test else {
                        let message = "`condition.test` must say what the test examples are";
                        return Err(Error::config("data", message));
                    };
                    let numbers = numbers_of_examples(place, test.len())?;
                    let refused = |error: lookback_learn::Error| Error::file(place, error.to_string());
                    test.condition =
                        Some(condition.encode(&numbers.shape, &numbers.values).map_err(refused)?);
                    sources.push(source("condition of the test", place, test.len())?);
                }
                Some(test)
            }
        };
        Ok(Sets { train, validation, test, scaling, condition, sources })
    }

    /// What a user wants to see the model on: the test set, or what judged the training.
    pub(super) fn shown(&self) -> &Examples {
        self.test.as_ref().unwrap_or(&self.validation)
    }
}

/// Numbers that belong to examples: an array of one axis, or of two.
///
/// # Errors
/// If it cannot be read, or is one of another number of examples.
fn numbers_of_examples(place: &str, examples: usize) -> Result<Array> {
    let array = formats::read_array(place)?;
    match *array.shape.as_slice() {
        [rows] if rows == examples => Ok(array),
        [rows, width] if rows == examples && width > 0 => Ok(array),
        _ => {
            let message = format!(
                "has the shape {:?}, where one number or row is needed for each of {examples} examples",
                array.shape
            );
            Err(Error::file(place, message))
        }
    }
}

fn read(role: &str, place: &str) -> Result<(Array, DataSource)> {
    let array = formats::read_array(place)?;
    let examples = array.shape.first().copied().unwrap_or(0);
    Ok((array, source(role, place, examples)?))
}

/// Where examples come from, with the digest of the file, or of the digests of all pictures of a folder.
pub(super) fn source(role: &str, place: &str, examples: usize) -> Result<DataSource> {
    let (path, _) = formats::split(place);
    let digest = |path: &Path| Ok(files::sha256(&files::read(path)?));
    let sha256 = if path.is_dir() {
        let each = pictures::names(path)?.iter().map(|name| digest(name)).collect::<Result<Vec<_>>>()?;
        files::sha256(each.concat().as_bytes())
    } else {
        digest(path)?
    };
    let file = Path::new(place).file_name().map_or(place.into(), |name| name.to_string_lossy().into_owned());
    Ok(DataSource { role: role.into(), file, sha256, examples })
}

/// What an example of an array is: a row, or an image with one channel or the channels last.
pub(crate) fn shape_of(array: &Array, place: &str) -> Result<Shape> {
    if array.shape.iter().skip(1).any(|size| *size == 0) {
        return Err(Error::file(place, format!("has the shape {:?}: it holds nothing", array.shape)));
    }
    match *array.shape.as_slice() {
        [_, width] => Ok(Shape::Row(width)),
        [_, height, width] => Ok(Shape::Image(Image { height, width, channels: 1 })),
        [_, height, width, channels] => Ok(Shape::Image(Image { height, width, channels })),
        _ => {
            let message = format!(
                "has the shape {:?}: examples are rows (2 axes) or images (3 axes, or 4 with the channel last)",
                array.shape
            );
            Err(Error::file(place, message))
        }
    }
}

/// The numbers of an array in single precision.
pub(crate) fn batch(array: &Array, shape: Shape) -> Batch<f32> {
    Batch::new(shape.len(), array.values.iter().map(|&x| x as f32).collect())
}
