//! Examples changed at random while a network is trained: what may be different without being another thing.

use lookback_operator::random::Stream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::layers::Image;
use crate::{Batch, Error, Examples, Result, Shape};

/// Changes of an example; none by default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Width of uniform noise of mean zero added to every number, in units of the data: one step of a camera's counts, say.
    pub dequantise: f64,
    /// Standard deviation of normal noise added to every number, in units of the data.
    pub noise_std: f64,
    /// Left and right are exchanged in half of the images.
    pub mirror: bool,
    /// Images are turned by a multiple of 90 degrees; they must be square.
    pub quarter_turns: bool,
    /// Images are moved by up to so many pixels along both axes; what comes in is a copy of the edge.
    pub shift: usize,
}

/// Places of the random numbers of one example.
const MIRROR: u64 = 0;
const TURN: u64 = 1;
const DOWN: u64 = 2;
const RIGHT: u64 = 3;
const FIRST_PIXEL: u64 = 16;

impl Augmentation {
    /// True if pixels stay where they are.
    pub fn keeps_places(&self) -> bool {
        !self.mirror && !self.quarter_turns && self.shift == 0
    }

    /// Refuses changes that these examples cannot undergo: noise below zero, turns of images that are not square, and moves of rows, or of
    /// pixels whose precision would stay behind.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(&self, examples: &Examples) -> Result<()> {
        for (name, value) in [("dequantise", self.dequantise), ("noise_std", self.noise_std)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::option(name, format!("must be at least 0, not {value}")));
            }
        }
        if self.keeps_places() {
            return Ok(());
        }
        match examples.shape {
            Shape::Row(_) => Err(Error::option("augment", "moves pixels, and these examples are rows")),
            _ if examples.precision.is_some() => Err(Error::option(
                "augment",
                "moves pixels, which those with missing numbers or noise of their own cannot",
            )),
            Shape::Image(image) if self.quarter_turns && image.height != image.width => {
                let message = format!("need square images, not {} x {}", image.height, image.width);
                Err(Error::option("quarter_turns", message))
            }
            Shape::Image(_) => Ok(()),
        }
    }

    /// Changes examples; each takes its random numbers from its place in the batch. `scale` is what the data were divided by.
    pub fn apply(&self, shape: Shape, mut x: Batch<f32>, scale: f32, stream: Stream) -> Batch<f32> {
        let width = x.width();
        let numbers = width as u64 * 4 + FIRST_PIXEL;
        x.data_mut().par_chunks_mut(width).enumerate().for_each(|(row, example)| {
            let begin = row as u64 * numbers;
            if let (Shape::Image(image), false) = (shape, self.keeps_places()) {
                self.move_pixels(image, example, |place| stream.uniform(begin + place));
            }
            let uniform = self.dequantise as f32 / scale;
            let normal = self.noise_std as f32 / scale;
            for (i, x) in example.iter_mut().enumerate() {
                // Apart in the stream: neighbouring numbers would make one normal number.
                let at = begin + FIRST_PIXEL + 4 * i as u64;
                if uniform > 0.0 {
                    *x += uniform * (stream.uniform(at) - 0.5) as f32;
                }
                if normal > 0.0 {
                    *x += normal * stream.normal(at + 2) as f32;
                }
            }
        });
        x
    }

    fn move_pixels(&self, image: Image, example: &mut [f32], uniform: impl Fn(u64) -> f64) {
        let mirrored = self.mirror && uniform(MIRROR) < 0.5;
        let turns = if self.quarter_turns { (uniform(TURN) * 4.0) as usize } else { 0 };
        let reach = self.shift as f64;
        let shift = |place| {
            if self.shift == 0 { 0 } else { (uniform(place) * (2.0 * reach + 1.0) - reach).floor() as isize }
        };
        let (down, right) = (shift(DOWN), shift(RIGHT));
        let before = example.to_vec();
        let (height, width, channels) = (image.height, image.width, image.channels);
        let inside =
            |at: usize, by: isize, side: usize| (at as isize - by).clamp(0, side as isize - 1) as usize;
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let (mut y, mut x) = (inside(row, down, height), inside(column, right, width));
            if mirrored {
                x = width - 1 - x;
            }
            for _ in 0..turns {
                (y, x) = (x, height - 1 - y);
            }
            let (to, from) = ((row * width + column) * channels, (y * width + x) * channels);
            example[to..to + channels].copy_from_slice(&before[from..from + channels]);
        }
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::Purpose;

    use super::*;

    const IMAGE: Image = Image { height: 3, width: 3, channels: 1 };

    fn changed(augmentation: &Augmentation, rows: usize) -> Batch<f32> {
        let one: Vec<f32> = (0..9u8).map(f32::from).collect();
        let x = Batch::new(9, one.repeat(rows));
        augmentation.apply(Shape::Image(IMAGE), x, 2.0, Stream::new(1, Purpose::Training, 0))
    }

    #[test]
    fn turned_and_mirrored_images_are_the_eight_of_the_square() {
        let all =
            changed(&Augmentation { mirror: true, quarter_turns: true, ..Augmentation::default() }, 200);
        let mut seen: Vec<Vec<u8>> =
            (0..200).map(|row| all.row(row).iter().map(|&x| x as u8).collect()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert!(seen.iter().all(|image| image[4] == 4));
    }

    #[test]
    fn what_would_mix_pixels_up_is_refused() {
        let images = |height: usize, missing: bool| {
            let shape = Shape::Image(Image { height, width: 3, channels: 1 });
            let mut values = vec![1.0; 3 * height];
            values[0] = if missing { f32::NAN } else { 0.0 };
            Examples::with_noise(shape, Batch::new(3 * height, values), None).expect("examples")
        };
        let turns = Augmentation { quarter_turns: true, ..Augmentation::default() };
        let say = |examples: &Examples| turns.check(examples).expect_err("refused").to_string();
        assert!(say(&images(2, false)).contains("need square images, not 2 x 3"));
        assert!(say(&images(3, true)).contains("missing numbers"));
        let row = Examples::new(Shape::Row(9), Batch::zeros(1, 9)).expect("a row");
        assert!(say(&row).contains("these examples are rows"));
        assert!(turns.check(&images(3, false)).is_ok());
    }

    #[test]
    fn noise_is_in_units_of_the_data() {
        let all = changed(&Augmentation { dequantise: 0.5, ..Augmentation::default() }, 400);
        let added: Vec<f32> = (0..400)
            .flat_map(|row| (0..9).map(move |i| (row, i)))
            .map(|(row, i)| all.row(row)[i] - i as f32)
            .collect();
        assert!(added.iter().all(|&x| x.abs() < 0.1251) && added.iter().any(|&x| x.abs() > 0.12));
        let mean = added.iter().sum::<f32>() / 3600.0;
        // The mean is zero, with a standard error of 0.0012.
        assert!(mean.abs() < 0.005, "{mean}");
    }

    /// Both kinds of noise together have the sum of their fourth moments' terms, as independent numbers do.
    #[test]
    fn kinds_of_noise_are_independent() {
        let with = |dequantise: f64, noise_std: f64| {
            let all = changed(&Augmentation { dequantise, noise_std, ..Augmentation::default() }, 3000);
            let offset = |(at, x): (usize, &f32)| f64::from(*x) - (at % 9) as f64;
            all.data().iter().enumerate().map(offset).collect::<Vec<f64>>()
        };
        let (uniform, normal, both) = (with(2.0, 0.0), with(0.0, 1.0), with(2.0, 1.0));
        let n = both.len() as f64;
        assert!(both.iter().zip(uniform.iter().zip(&normal)).all(|(b, (u, v))| (b - u - v).abs() < 1e-5));
        // Squares of independent numbers do not go together: their correlation scatters by 0.006.
        let squares = |x: &[f64]| {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / n;
            x.iter().map(|x| x * x - mean).collect::<Vec<f64>>()
        };
        let (a, b) = (squares(&uniform), squares(&normal));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let correlation = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        assert!(correlation.abs() < 0.025, "{correlation}");
    }

    #[test]
    fn shifts_move_by_whole_pixels() {
        let all = changed(&Augmentation { shift: 1, ..Augmentation::default() }, 300);
        let centres: std::collections::BTreeSet<u8> = (0..300).map(|row| all.row(row)[4] as u8).collect();
        assert_eq!(centres.len(), 9);
    }
}
