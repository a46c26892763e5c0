//! The page of a calibration: verdicts, rank histograms, cumulative distributions.

use lookback_inference::Number;
use lookback_inference::calibration::Uniformity;
use plotters::style::RGBColor;

use super::{Calibrated, Judged};
use crate::problem::Problem;
use crate::report::curves::{COLOURS, Curve, Plot, Shade};
use crate::report::{Figure, Section, citations, render};
use crate::runfile::RunFile;
use crate::{Result, VERSION};

/// Probability within the bands.
const BAND: f64 = 0.95;

/// The page as HTML.
pub(super) fn page<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    calibrated: &Calibrated,
    uniformity: &Uniformity,
) -> Result<String> {
    let shares = calibrated.quantities.iter().map(|q| curve_figure(q, uniformity)).collect::<Result<_>>()?;
    let bars = calibrated.quantities.iter().map(|q| bars(q, uniformity)).collect::<Result<_>>()?;
    let sections = vec![
        Section {
            heading: "Ranks of the truths".into(),
            words: "How often the truth of a quantity has a rank among the samples of its posterior. Exact posteriors give equal bars, up to chance: 95 % of bars lie in the grey band. A valley is a posterior that is too narrow, a hill one that is too wide, a slope one that is shifted.".into(),
            figures: bars,
        },
        Section {
            heading: "Cumulative distributions".into(),
            words: "Share of ranks below a rank, less that rank. The curve of an exact posterior stays in the grey band as a whole with a probability of 95 %; for the distance to random points this is the expected coverage of TARP.".into(),
            figures: shares,
        },
    ];
    let verdict = if calibrated.is_uniform() { "uniform" } else { "not uniform" };
    let headlines = [
        ["ranks".to_string(), verdict.to_string()],
        ["least probability".into(), format!("{:.4}", calibrated.least_probability())],
        ["data sets".into(), calibrated.data_sets.to_string()],
        ["posteriors not found".into(), calibrated.failed.len().to_string()],
        ["method".into(), calibrated.method.clone()],
    ];
    let rows: Vec<[String; 2]> = calibrated
        .quantities
        .iter()
        .map(|q| {
            let [narrow, wide] = q.coverage.map(|share| 100.0 * share);
            let words = format!(
                "{}; p = {:.4}; {narrow:.0} % within 68 %, {wide:.0} % within 95 %",
                q.verdict, q.p_value
            );
            [q.name.clone(), words]
        })
        .collect();
    let mut cited: Vec<[String; 2]> =
        citations::of(run).into_iter().map(|citation| [citation.what.to_string(), citation.line()]).collect();
    cited.extend([
        ["simulation-based calibration".into(), "Talts et al. 2018, arXiv:1804.06788".into()],
        ["expected coverage of random points".into(), "Lemos et al. 2023, arXiv:2302.03026".into()],
        [
            "simultaneous bands".into(),
            "Saeilynoja, Buerkner & Vehtari 2022, Statistics and Computing 32, 32".into(),
        ],
    ]);
    render(serde_json::json!({
        "title": if run.title.is_empty() { "Calibration" } else { run.title.as_str() },
        "kind": "Calibration: posteriors of data simulated from the prior",
        "footer": "Ranks: <code>ranks.csv</code>. Figures: <code>calibration.json</code>.",
        "version": VERSION,
        "headlines": headlines,
        "sections": sections,
        "chain": crate::explain::chain(problem),
        "summary": rows,
        "notes": calibrated.failed.iter().take(5).collect::<Vec<_>>(),
        "inputs": problem.inputs,
        "config": run.to_toml().unwrap_or_default(),
        "citations": cited,
    }))
}

/// A small plot of a curve over the band of what chance allows.
fn over_band(
    judged: &Judged,
    (x_name, y_name): (&str, &str),
    band: Vec<(f64, f64, f64)>,
    points: Vec<(f64, f64)>,
) -> Result<Figure> {
    let plot = Plot {
        title: "",
        x_name,
        y_name,
        shades: vec![Shade { name: String::new(), points: band, colour: RGBColor(120, 120, 120) }],
        curves: vec![Curve { name: String::new(), points, colour: COLOURS[0], width: 2 }],
        size: (300, 220),
    };
    let caption = format!("{}: {} (p = {:.3})", judged.name, judged.verdict, judged.p_value);
    Ok(Figure { svg: plot.linear()?, caption })
}

fn bars(judged: &Judged, uniformity: &Uniformity) -> Result<Figure> {
    let bins = (judged.ranks.len() / 10).clamp(5, 20);
    let (counts, (low, high)) = uniformity.histogram(&judged.ranks, bins, BAND);
    let width = 1.0 / bins as f64;
    let mut outline = vec![(0.0, 0.0)];
    for (bin, count) in counts.iter().enumerate() {
        let left = bin as f64 * width;
        outline.extend([(left, *count as f64), (left + width, *count as f64)]);
    }
    outline.push((1.0, 0.0));
    let band = [0.0, 1.0].map(|x| (x, low as f64, high as f64)).to_vec();
    over_band(judged, ("rank of the truth", "data sets"), band, outline)
}

fn curve_figure(judged: &Judged, uniformity: &Uniformity) -> Result<Figure> {
    let places = uniformity.places();
    let shares = uniformity.shares(&judged.ranks);
    let points = places.iter().zip(shares).map(|(place, share)| (*place, share - place)).collect();
    let band = uniformity.band(BAND);
    let band = places.iter().zip(band).map(|(p, (low, high))| (*p, low - p, high - p)).collect();
    over_band(judged, ("rank", "share below, less the rank"), band, points)
}
