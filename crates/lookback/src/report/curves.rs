//! Curves: power spectra, traces, histograms.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::{Error, Result};

/// A curve with a name and a colour.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) colour: RGBColor,
    pub(crate) width: u32,
}

/// A shaded range between two curves.
pub(crate) struct Shade {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64, f64)>,
    pub(crate) colour: RGBColor,
}

/// A plot of curves.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x_name: &'a str,
    pub(crate) y_name: &'a str,
    pub(crate) shades: Vec<Shade>,
    pub(crate) curves: Vec<Curve>,
    pub(crate) size: (u32, u32),
}

/// Colours that can be told apart by all (Okabe & Ito 2008).
pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .filter(|x| x.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

impl Plot<'_> {
    fn extents(&self) -> ((f64, f64), (f64, f64)) {
        let curves = || self.curves.iter().flat_map(|curve| curve.points.iter().copied());
        let shades = || self.shades.iter().flat_map(|shade| shade.points.iter().copied());
        let x = extent(curves().map(|p| p.0).chain(shades().map(|p| p.0)));
        let y = extent(curves().map(|p| p.1).chain(shades().flat_map(|p| [p.1, p.2])));
        (x, y)
    }

    /// Draws with both axes linear.
    pub(crate) fn linear(&self) -> Result<String> {
        let ((x0, x1), (y0, y1)) = self.extents();
        let margin = if y1 > y0 { 0.05 * (y1 - y0) } else { 0.5 };
        if !(x0 <= x1 && y0 <= y1) {
            return Ok(String::new());
        }
        let legend = SeriesLabelPosition::UpperRight;
        self.draw(x0..x1.max(x0 + 1e-300), (y0 - margin)..(y1 + margin), legend)
    }

    /// Draws with a logarithmic axis of x.
    pub(crate) fn half_logarithmic(&self) -> Result<String> {
        let ((x0, x1), (y0, y1)) = self.extents();
        if !(x0 > 0.0 && x1 > x0 && y0 <= y1) {
            return Ok(String::new());
        }
        let margin = if y1 > y0 { 0.05 * (y1 - y0) } else { 0.5 };
        // Room for the legend above the curves.
        let top = y1 + 6.0 * margin;
        self.draw((x0..x1).log_scale(), (y0 - margin)..top, SeriesLabelPosition::UpperLeft)
    }

    /// Draws with both axes logarithmic.
    pub(crate) fn logarithmic(&self) -> Result<String> {
        let ((x0, x1), (y0, y1)) = self.extents();
        if !(x0 > 0.0 && x1 > x0 && y0 > 0.0 && y1 > 0.0) {
            return Ok(String::new());
        }
        let legend = SeriesLabelPosition::LowerLeft;
        self.draw((x0..x1).log_scale(), (0.7 * y0..1.4 * y1).log_scale(), legend)
    }

    fn draw<X, Y>(&self, x: X, y: Y, legend: SeriesLabelPosition) -> Result<String>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut svg = String::new();
        self.draw_into(&mut svg, x, y, legend)
            .map_err(|message| Error::Drawing { what: self.title.into(), message })?;
        Ok(svg)
    }

    fn draw_into<X, Y>(&self, svg: &mut String, x: X, y: Y, legend: SeriesLabelPosition) -> Result<(), String>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let words = |error: DrawingAreaErrorKind<_>| format!("{error:?}");
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        root.fill(&WHITE).map_err(words)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(x, y)
            .map_err(words)?;
        chart
            .configure_mesh()
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .x_labels(6)
            .y_labels(6)
            .label_style(("sans-serif", 11))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .light_line_style(RGBColor(245, 245, 245))
            .bold_line_style(RGBColor(228, 228, 228))
            .draw()
            .map_err(words)?;
        for shade in &self.shades {
            let up = shade.points.iter().map(|p| (p.0, p.1));
            let down = shade.points.iter().rev().map(|p| (p.0, p.2));
            let style = shade.colour.mix(0.25).filled();
            let outline: Vec<(f64, f64)> = up.chain(down).collect();
            chart
                .draw_series(std::iter::once(Polygon::new(outline, style)))
                .map_err(words)?
                .label(&shade.name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], style));
        }
        for curve in &self.curves {
            let style = curve.colour.stroke_width(curve.width);
            let points = curve.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite());
            let drawn = chart.draw_series(LineSeries::new(points, style)).map_err(words)?;
            if !curve.name.is_empty() {
                drawn.label(&curve.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
        }
        let named =
            self.shades.iter().any(|s| !s.name.is_empty()) || self.curves.iter().any(|c| !c.name.is_empty());
        if named {
            chart
                .configure_series_labels()
                .position(legend)
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(200, 200, 200))
                .label_font(("sans-serif", 12))
                .draw()
                .map_err(words)?;
        }
        root.present().map_err(words)
    }
}

/// A number for an axis.
fn short(x: f64) -> String {
    // Ticks of a range that crosses zero may miss it by rounding.
    let x = if x.abs() < 1e-14 { 0.0 } else { x };
    let size = x.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        format!("{x:.0e}")
    } else if x.fract() == 0.0 || size >= 1000.0 {
        format!("{x:.0}")
    } else {
        format!("{x:.4}").trim_end_matches('0').to_string()
    }
}

/// The outline of a histogram with `bins` equal bins, as a density.
pub(crate) fn histogram(values: &[f64], low: f64, high: f64, bins: usize) -> Vec<(f64, f64)> {
    let mut count = vec![0.0; bins];
    for &value in values {
        let place = (value - low) / (high - low) * bins as f64;
        if (0.0..bins as f64).contains(&place) {
            count[place as usize] += 1.0;
        }
    }
    outline(&count, values.len() as f64, low, high)
}

/// The same of ranks `0 ..= samples` on 0 .. 1: a rank is spread over the interval that it stands for, so that bins that do
/// not divide the ranks evenly draw no steps of their own.
pub(crate) fn rank_histogram(
    ranks: impl Iterator<Item = u32>,
    samples: usize,
    bins: usize,
) -> Vec<(f64, f64)> {
    let mut of_rank = vec![0.0; samples + 1];
    ranks.for_each(|rank| of_rank[rank as usize] += 1.0);
    let width = bins as f64 / (samples as f64 + 1.0);
    let mut count = vec![0.0; bins];
    for (rank, n) in of_rank.iter().enumerate() {
        let (left, right) = (rank as f64 * width, (rank as f64 + 1.0) * width);
        for (bin, count) in count.iter_mut().enumerate().skip(left as usize) {
            let overlap = right.min(bin as f64 + 1.0) - left.max(bin as f64);
            if overlap <= 0.0 {
                break;
            }
            *count += n * overlap / width;
        }
    }
    outline(&count, of_rank.iter().sum(), 0.0, 1.0)
}

fn outline(count: &[f64], total: f64, low: f64, high: f64) -> Vec<(f64, f64)> {
    let width = (high - low) / count.len() as f64;
    let step = |(i, n): (usize, &f64)| {
        let (left, height) = (low + i as f64 * width, n / (total.max(1.0) * width));
        [(left, height), (left + width, height)]
    };
    count.iter().enumerate().flat_map(step).collect()
}
