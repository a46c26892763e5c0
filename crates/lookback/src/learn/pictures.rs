//! Pictures of examples: images side by side, or rows as curves.

use lookback_learn::{Batch, Shape, layers::Image};

use crate::Result;
use crate::report::colour::Scale;
use crate::report::curves::{COLOURS, Curve, Plot};
use crate::report::mosaic::Mosaic;

/// The smallest and the largest value; a range around it if there is but one.
pub(super) fn range(values: impl Iterator<Item = f32>) -> (f64, f64) {
    let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    if high > low { (f64::from(low), f64::from(high)) } else { (f64::from(low) - 0.5, f64::from(low) + 0.5) }
}

/// Examples as one SVG: so many images side by side, or the first few rows as curves.
pub(super) fn examples(title: &str, shape: Shape, batch: &Batch<f32>, columns: usize) -> Result<String> {
    let Shape::Image(image) = shape else { return curves(title, batch) };
    images(title, image, batch, columns, range(batch.data().iter().copied()))
}

/// Images side by side, with the values at the ends of their colours.
pub(super) fn images(
    title: &str,
    Image { height, width, channels }: Image,
    batch: &Batch<f32>,
    columns: usize,
    range: (f64, f64),
) -> Result<String> {
    let mosaic = Mosaic {
        title,
        shape: [height, width, channels],
        images: (0..batch.rows()).map(|row| batch.row(row)).collect(),
        columns: columns.clamp(1, batch.rows().max(1)),
        rows: Vec::new(),
        range,
        scale: Scale::Signal,
    };
    mosaic.draw()
}

/// Examples that are rows, as curves: as many as there are colours.
pub(super) fn curves(title: &str, batch: &Batch<f32>) -> Result<String> {
    let curve = |row: usize| Curve {
        name: String::new(),
        points: batch.row(row).iter().enumerate().map(|(i, &x)| (i as f64, f64::from(x))).collect(),
        colour: COLOURS[row],
        width: 1,
    };
    let curves = (0..batch.rows().min(COLOURS.len())).map(curve).collect();
    Plot { title, x_name: "place", y_name: "value", shades: Vec::new(), curves, size: (640, 280) }.linear()
}
