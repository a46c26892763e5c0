//! Many small images in one picture, row by row.

use super::colour::Scale;
use super::panel::{image, png};
use crate::Result;

/// Images of one shape, side by side.
pub(crate) struct Mosaic<'a> {
    /// Above the picture.
    pub(crate) title: &'a str,
    /// Numbers of the images: height, width, channels.
    pub(crate) shape: [usize; 3],
    /// One image each; the first row of a picture is its top.
    pub(crate) images: Vec<&'a [f32]>,
    /// Images side by side.
    pub(crate) columns: usize,
    /// Words to the left of each row, if any.
    pub(crate) rows: Vec<String>,
    /// Values at the ends of the colour scale.
    pub(crate) range: (f64, f64),
    /// Colours of images with one channel.
    pub(crate) scale: Scale,
}

/// Pixels between images.
const GAP: usize = 1;
/// Width of the words to the left.
const WORDS: u32 = 110;
/// Room for the title.
const TOP: u32 = 26;
/// Width of a letter of the title, and a little more.
const LETTER: u32 = 8;
/// Largest width of the picture.
const WIDEST: u32 = 760;

impl Mosaic<'_> {
    /// Draws it as SVG.
    pub(crate) fn draw(&self) -> Result<String> {
        let [height, width, channels] = self.shape;
        if !(channels == 1 || channels == 3) {
            return self.in_planes();
        }
        let rows = self.images.len().div_ceil(self.columns);
        let (all_width, all_height) = (self.columns * (width + GAP), rows * (height + GAP));
        let mut colours = vec![[255u8; 3]; all_width * all_height];
        for (place, values) in self.images.iter().enumerate() {
            let (top, left) = (place / self.columns * (height + GAP), place % self.columns * (width + GAP));
            for pixel in 0..height * width {
                let at = (top + pixel / width) * all_width + left + pixel % width;
                colours[at] = self.colour(&values[pixel * channels..(pixel + 1) * channels]);
            }
        }
        let words = if self.rows.is_empty() { 0 } else { WORDS };
        // Whole multiples keep pixels square and sharp.
        let zoom = (WIDEST / all_width as u32).clamp(1, 4);
        let (shown_width, shown_height) = (all_width as u32 * zoom, all_height as u32 * zoom);
        let picture = image(words, TOP, shown_width, shown_height, &png(all_width, all_height, &colours)?);
        // Room for the title above a few small images.
        let of_title = LETTER * self.title.chars().count() as u32;
        let (full_width, full_height) = (words + shown_width.max(of_title), TOP + shown_height);
        let mut svg = format!(
            "<svg width=\"{full_width}\" height=\"{full_height}\" viewBox=\"0 0 {full_width} {full_height}\" xmlns=\"http://www.w3.org/2000/svg\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>{picture}\n<text x=\"{words}\" y=\"17\" font-family=\"sans-serif\" font-size=\"14\">{}</text>\n",
            self.title
        );
        for (row, text) in self.rows.iter().enumerate() {
            let y = f64::from(TOP) + (row as f64 + 0.55) * ((height + GAP) as u32 * zoom) as f64;
            svg += &format!(
                "<text x=\"2\" y=\"{y:.0}\" font-family=\"sans-serif\" font-size=\"12\">{text}</text>\n"
            );
        }
        Ok(svg + "</svg>")
    }

    /// Images of other channels than one or three have no colours: each channel is an image of its own, the first on top.
    fn in_planes(&self) -> Result<String> {
        let [height, width, channels] = self.shape;
        let plane = |image: &[f32]| -> Vec<f32> {
            (0..channels).flat_map(|channel| image.iter().skip(channel).step_by(channels)).copied().collect()
        };
        let planes: Vec<Vec<f32>> = self.images.iter().map(|image| plane(image)).collect();
        let title = format!("{} ({channels} channels, the first on top)", self.title);
        Mosaic {
            title: &title,
            shape: [height * channels, width, 1],
            images: planes.iter().map(Vec::as_slice).collect(),
            columns: self.columns,
            rows: self.rows.clone(),
            range: self.range,
            scale: self.scale,
        }
        .draw()
    }

    fn colour(&self, pixel: &[f32]) -> [u8; 3] {
        let (low, high) = self.range;
        let place = |x: f32| (f64::from(x) - low) / (high - low);
        match *pixel {
            [r, g, b] => [r, g, b].map(|x| (255.0 * place(x).clamp(0.0, 1.0)).round() as u8),
            [x, ..] => self.scale.at(place(x)),
            [] => [255; 3],
        }
    }
}
