//! A map as a picture: pixels, axes, a colour bar and marks, as one SVG.

use std::f64::consts::{FRAC_PI_2, PI};

use base64::Engine;
use lookback_inference::diagnostics::quantile;
use lookback_mesh::{Grid, Healpix};
use plotters::prelude::*;

use super::colour::Scale;
use crate::{Error, Result};

/// What is drawn, and how.
pub(crate) struct Panel<'a> {
    pub(crate) title: &'a str,
    pub(crate) map: &'a [f64],
    pub(crate) scale: Scale,
    /// Values at the ends of the colour scale.
    pub(crate) range: (f64, f64),
    /// Pixels that were seen; others are drawn paler. `None` to draw all alike.
    pub(crate) seen: Option<&'a [bool]>,
    /// Circles: column, row, radius \[pixels\].
    pub(crate) circles: Vec<(f64, f64, f64)>,
    /// Crosses: column, row.
    pub(crate) crosses: Vec<(f64, f64)>,
    /// What the axes count.
    pub(crate) unit: Unit,
}

/// Units of the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Radians of the grid as arcminutes.
    Arcminute,
    /// Lengths of the grid.
    Megaparsec,
}

impl<'a> Panel<'a> {
    /// A plain map.
    pub(crate) fn new(title: &'a str, map: &'a [f64], scale: Scale, range: (f64, f64)) -> Panel<'a> {
        Panel {
            title,
            map,
            scale,
            range,
            seen: None,
            circles: Vec::new(),
            crosses: Vec::new(),
            unit: Unit::Arcminute,
        }
    }
}

/// A range that leaves out the `tail` smallest and largest pixels.
pub(crate) fn robust_range(map: &[f64], tail: f64) -> (f64, f64) {
    let (low, high) = (quantile(map, tail), quantile(map, 1.0 - tail));
    if high > low { (low, high) } else { (low - 0.5, low + 0.5) }
}

/// The same, symmetric about zero.
pub(crate) fn symmetric_range(map: &[f64], tail: f64) -> (f64, f64) {
    let (low, high) = robust_range(map, tail);
    let most = low.abs().max(high.abs());
    (-most, most)
}

const MAP: u32 = 330;
const LEFT: u32 = 52;
const TOP: u32 = 34;
const BOTTOM: u32 = 42;
const BAR: u32 = 14;
const RIGHT: u32 = 78;

/// Draws the map, row 0 at the bottom.
pub(crate) fn draw(grid: &Grid, panel: &Panel<'_>) -> Result<String> {
    let (rows, columns) = (grid.shape()[0], grid.shape()[1]);
    let height = (f64::from(MAP) * rows as f64 / columns as f64).round().clamp(60.0, 900.0) as u32;
    let span = |axis: usize| match panel.unit {
        Unit::Arcminute => grid.lengths()[axis].to_degrees() * 60.0,
        Unit::Megaparsec => grid.lengths()[axis],
    };
    let (span_x, span_y) = (span(1), span(0));
    let mut svg = String::new();
    frame(&mut svg, panel, (height, span_x, span_y), (columns, rows))
        .map_err(|error| Error::Drawing { what: panel.title.into(), message: error })?;
    let picture = image(LEFT, TOP, MAP, height, &pixels(grid, panel)?);
    let bar: Vec<[u8; 3]> = (0..128).map(|i| panel.scale.at(1.0 - f64::from(i) / 127.0)).collect();
    let bar = image(LEFT + MAP + 10, TOP, BAR, height, &png(1, 128, &bar)?);
    // The picture goes right behind the background, under the axes.
    let behind = svg.find("/>").map_or(0, |first| first + 2);
    svg.insert_str(behind, &format!("{picture}{bar}"));
    Ok(svg)
}

/// Draws a map of the full sky in Mollweide's projection, the north pole on top.
pub(crate) fn draw_sphere(sphere: &Healpix, panel: &Panel<'_>) -> Result<String> {
    let (columns, rows) = (640usize, 320usize);
    let (low, high) = panel.range;
    let colour = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        let x = 2.0 * (column as f64 + 0.5) / columns as f64 - 1.0;
        let y = 1.0 - 2.0 * (row as f64 + 0.5) / rows as f64;
        if x * x + y * y >= 1.0 {
            return [255; 3];
        }
        let auxiliary = y.asin();
        let latitude = ((2.0 * auxiliary + (2.0 * auxiliary).sin()) / PI).asin();
        let longitude = PI * x / auxiliary.cos();
        let near = sphere.around(FRAC_PI_2 - latitude, longitude);
        let best = (0..4).fold(0, |best, i| if near.weights[i] > near.weights[best] { i } else { best });
        panel.scale.at((panel.map[near.pixels[best]] - low) / (high - low))
    };
    let colours: Vec<[u8; 3]> = (0..rows * columns).map(colour).collect();
    let (width, height) = (columns as u32, rows as u32);
    let bar: Vec<[u8; 3]> = (0..128).map(|i| panel.scale.at(1.0 - f64::from(i) / 127.0)).collect();
    let picture = image(10, TOP, width, height, &png(columns, rows, &colours)?);
    let bar = image(width + 24, TOP, BAR, height, &png(1, 128, &bar)?);
    let (all_width, all_height) = (width + 24 + BAR + RIGHT, height + TOP + 10);
    let mut svg = format!(
        "<svg width=\"{all_width}\" height=\"{all_height}\" viewBox=\"0 0 {all_width} {all_height}\" xmlns=\"http://www.w3.org/2000/svg\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>{picture}{bar}\n<text x=\"10\" y=\"22\" font-family=\"sans-serif\" font-size=\"15\">{}</text>\n",
        panel.title
    );
    for i in 0..=4 {
        let t = f64::from(i) / 4.0;
        let y = f64::from(TOP) + (1.0 - t) * f64::from(height) + 4.0;
        let text = tick(low + t * (high - low), high - low);
        svg += &format!(
            "<text x=\"{}\" y=\"{y:.0}\" font-family=\"sans-serif\" font-size=\"11\">{text}</text>\n",
            width + 24 + BAR + 5
        );
    }
    Ok(svg + "</svg>")
}

fn frame(
    svg: &mut String,
    panel: &Panel<'_>,
    (height, span_x, span_y): (u32, f64, f64),
    (columns, rows): (usize, usize),
) -> Result<(), String> {
    let words = |error: DrawingAreaErrorKind<_>| format!("{error:?}");
    let size = (LEFT + MAP + RIGHT, TOP + height + BOTTOM);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE).map_err(words)?;
    root.draw_text(panel.title, &("sans-serif", 15).into_text_style(&root), (LEFT as i32, 10))
        .map_err(words)?;
    let area = root.clone().shrink((0, TOP), (LEFT + MAP, height + BOTTOM));
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(0.0..span_x, 0.0..span_y)
        .map_err(words)?;
    let unit = match panel.unit {
        Unit::Arcminute => "arcmin",
        Unit::Megaparsec => "Mpc/h",
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(6)
        .y_labels(6)
        .x_desc(format!("x [{unit}]"))
        .y_desc(format!("y [{unit}]"))
        .label_style(("sans-serif", 11))
        .draw()
        .map_err(words)?;
    let (per_column, per_row) = (span_x / columns as f64, span_y / rows as f64);
    let place = |column: f64, row: f64| ((column + 0.5) * per_column, (row + 0.5) * per_row);
    let inside = |(x, y): &(f64, f64)| (0.0..span_x).contains(x) && (0.0..span_y).contains(y);
    let circles =
        panel.circles.iter().map(|&(c, r, radius)| (place(c, r), radius)).filter(|(at, _)| inside(at));
    let ring = if panel.scale == Scale::Diverging { RGBColor(20, 20, 20) } else { WHITE };
    chart
        .draw_series(circles.map(|(at, radius)| {
            let pixels = (radius * f64::from(MAP) / columns as f64).round() as i32;
            Circle::new(at, pixels.max(3), ShapeStyle::from(&ring).stroke_width(1))
        }))
        .map_err(words)?;
    let crosses = panel.crosses.iter().map(|&(c, r)| place(c, r)).filter(inside);
    let cyan = RGBColor(60, 230, 255);
    chart
        .draw_series(crosses.map(|at| Cross::new(at, 4, ShapeStyle::from(&cyan).stroke_width(2))))
        .map_err(words)?;
    let (low, high) = panel.range;
    for i in 0..=4 {
        let t = f64::from(i) / 4.0;
        let y = TOP as i32 + ((1.0 - t) * f64::from(height)) as i32 - 6;
        let text = tick(low + t * (high - low), high - low);
        root.draw_text(
            &text,
            &("sans-serif", 11).into_text_style(&root),
            ((LEFT + MAP + 10 + BAR + 5) as i32, y),
        )
        .map_err(words)?;
    }
    root.present().map_err(words)
}

/// A number with as many digits as its range deserves.
pub(crate) fn tick(value: f64, range: f64) -> String {
    let digits = (2.0 - range.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    if range.abs() < 1e-4 { format!("{value:.1e}") } else { format!("{value:.*}", digits.min(5)) }
}

/// Colours of the pixels, top row first.
fn pixels(grid: &Grid, panel: &Panel<'_>) -> Result<Vec<u8>> {
    let (rows, columns) = (grid.shape()[0], grid.shape()[1]);
    let (low, high) = panel.range;
    let colour = |i: usize| {
        let colour = panel.scale.at((panel.map[i] - low) / (high - low));
        match panel.seen {
            Some(seen) if !seen[i] => colour.map(|c| (0.35 * f64::from(c) + 0.65 * 160.0) as u8),
            _ => colour,
        }
    };
    let colours: Vec<[u8; 3]> = (0..rows)
        .rev()
        .flat_map(|row| (0..columns).map(move |column| row * columns + column))
        .map(colour)
        .collect();
    png(columns, rows, &colours)
}

pub(super) fn png(width: usize, height: usize, colours: &[[u8; 3]]) -> Result<Vec<u8>> {
    let wrong =
        |error: png::EncodingError| Error::Drawing { what: "pixels".into(), message: error.to_string() };
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(wrong)?;
    writer.write_image_data(&colours.concat()).map_err(wrong)?;
    writer.finish().map_err(wrong)?;
    Ok(out)
}

pub(super) fn image(x: u32, y: u32, width: u32, height: u32, png: &[u8]) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    format!(
        "\n<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{data}\"/>"
    )
}
