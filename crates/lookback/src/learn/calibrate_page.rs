//! The page of a calibration: what intervals held and how sharp they were, by the factor on the decoder's error.

use lookback_learn::Model;
use serde_json::json;

use super::calibrate::{CalibrateOptions, Judged, PROMISED};
use crate::report::curves::{COLOURS, Curve, Plot};
use crate::report::{Figure, Section, render};
use crate::{Result, VERSION};

const SIZE: (u32, u32) = (520, 360);

/// The page as HTML; `judged` as it is ranked, the best first.
pub(super) fn page(
    model: &Model<f32>,
    judged: &[Judged],
    (data, count): (&str, usize),
    options: &CalibrateOptions,
) -> Result<String> {
    let CalibrateOptions { noise_std, starts, seed, .. } = options;
    let hidden = options.hidden(model.card().example_shape()?, count);
    let best = &judged[0];
    let verdict = if best.calibrated {
        "Intervals hold what they promise with this factor, and are as sharp as any that do, as far as these examples can tell."
    } else {
        "NO factor made intervals that hold what they promise; this one misses it least."
    };
    let percent = |share: f64, error: f64| format!("{:.1} +- {:.1} %", 100.0 * share, 100.0 * error);
    let summary: Vec<[String; 2]> = judged
        .iter()
        .map(|of| {
            let [narrow, wide] = [0, 1].map(|level| percent(of.within[level], of.error[level]));
            let calibrated = if of.calibrated { "calibrated" } else { "not calibrated" };
            let words =
                format!("{narrow} within 68 %, {wide} within 95 %; score {:.5}; {calibrated}", of.score);
            [format!("factor {}", of.factor), words]
        })
        .collect();
    render(json!({
        "title": "How far is the decoder to be trusted?",
        "kind": match model.card().title.as_str() {
            "" => "Calibration of a model by what was hidden".to_string(),
            title => format!("Calibration of `{title}` by what was hidden"),
        },
        "footer": "Figures: <code>calibration.json</code>. The factor stands in the model.",
        "version": VERSION,
        "headlines": [
            ["factor on the decoder's error", best.factor.to_string()],
            ["within 68 %", percent(best.within[0], best.error[0])],
            ["within 95 %", percent(best.within[1], best.error[1])],
            ["examples", count.to_string()],
        ],
        "sections": [Section {
            heading: "What was hidden".into(),
            words: format!("What was hidden of each example, and all of it where nothing but noise hid it, was foretold from what was seen, with the decoder's error taken so many times as large. {verdict}"),
            figures: vec![coverage(judged)?, sharpness(judged)?],
        }],
        "chain": [
            ["data", data],
            ["examples", format!("the last {count}")],
            ["hidden", hidden],
            ["noise on what is seen", if *noise_std > 0.0 { format!("{noise_std}") } else { "none".into() }],
            ["given", if model.what_is_given().is_empty() { "nothing".into() } else { format!("{:?}", model.what_is_given()) }],
            ["searches", format!("{starts} an example")],
        ],
        "summary": summary,
        "notes": [],
        "inputs": [],
        "config": format!("noise_std = {noise_std}\nstarts = {starts}\nseed = {seed}\n"),
        "citations": [
            ["calibration before sharpness", "Gneiting, Balabdaoui & Raftery 2007, JRSS B 69, 243"],
            ["continuous ranked probability score", "Gneiting & Raftery 2007, JASA 102, 359"],
        ],
    }))
}

/// A number of each factor, in the order of factors.
fn along(judged: &[Judged], of: impl Fn(&Judged) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = judged.iter().map(|judged| (judged.factor, of(judged))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn coverage(judged: &[Judged]) -> Result<Figure> {
    let mut curves = Vec::new();
    for (level, promised) in PROMISED.into_iter().enumerate() {
        let colour = COLOURS[level];
        let points = along(judged, |of| 100.0 * of.within[level]);
        let ends = [points[0].0, points[points.len() - 1].0];
        curves.push(Curve { name: format!("within {:.0} %", 100.0 * promised), points, colour, width: 2 });
        let promise = ends.map(|factor| (factor, 100.0 * promised)).to_vec();
        curves.push(Curve { name: String::new(), points: promise, colour, width: 1 });
    }
    let plot = Plot {
        title: "what intervals held",
        x_name: "factor on the decoder's error",
        y_name: "hidden numbers within [%]",
        shades: Vec::new(),
        curves,
        size: SIZE,
    };
    Ok(Figure { svg: plot.half_logarithmic()?, caption: "Thin lines: what is promised.".into() })
}

fn sharpness(judged: &[Judged]) -> Result<Figure> {
    let points = along(judged, |of| of.score);
    let plot = Plot {
        title: "how well it was foretold",
        x_name: "factor on the decoder's error",
        y_name: "score [units of the data]",
        shades: Vec::new(),
        curves: vec![Curve { name: String::new(), points, colour: COLOURS[2], width: 2 }],
        size: SIZE,
    };
    let caption = "Continuous ranked probability score of what was hidden: less is better, among factors that hold their promise.";
    Ok(Figure { svg: plot.half_logarithmic()?, caption: caption.into() })
}
