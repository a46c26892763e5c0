//! The report of a run: one HTML page with its pictures inside, to be looked at before any number is believed.

pub(crate) mod analysis;
pub mod citations;
pub(crate) mod colour;
pub(crate) mod curves;
pub(crate) mod mosaic;
mod pages;
pub(crate) mod panel;
pub(crate) mod universe;

use std::path::Path;

use lookback_inference::Number;
use minijinja::{Environment, value::Serde};
use serde::Serialize;

use self::analysis::Analysis;
use crate::problem::Problem;
use crate::run::{Recorder, Summary};
use crate::runfile::RunFile;
use crate::{Error, Result, VERSION, files};

/// A picture with words.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// SVG text.
    pub(crate) svg: String,
    /// What is seen.
    pub(crate) caption: String,
}

/// A part of the page.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) words: String,
    pub(crate) figures: Vec<Figure>,
}

const TEMPLATE: &str = include_str!("report.html");

/// Draws the report.
///
/// # Errors
/// If a picture cannot be drawn, or the disk refuses.
pub(crate) fn write<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    recorder: &Recorder,
    analysis: &Analysis,
    summary: &Summary,
    path: &Path,
) -> Result<()> {
    let sections = pages::sections(run, problem, recorder, analysis, summary)?;
    let cited: Vec<[String; 2]> =
        citations::of(run).into_iter().map(|citation| [citation.what.to_string(), citation.line()]).collect();
    let notes = [summary.verdicts(), problem.notes.clone()].concat();
    let page = render(serde_json::json!({
        "title": if run.title.is_empty() { "Lookback" } else { run.title.as_str() },
        "kind": "Bayesian reconstruction",
        "footer": "Maps: FITS files in this folder. Samples: <code>samples.npy</code> (numpy), <code>samples.zarr</code> (<code>xarray.open_datatree</code>, ArviZ). Figures: <code>summary.json</code>.",
        "version": VERSION,
        "headlines": pages::headlines(problem, summary),
        "sections": sections,
        "chain": crate::explain::chain(problem),
        "summary": pages::table(summary),
        "notes": notes,
        "inputs": problem.inputs,
        "config": run.to_toml().unwrap_or_default(),
        "citations": cited,
        "bibliography": citations::FILE,
    }))?;
    files::write_whole(path, |out| out.write_all(page.as_bytes()))
}

/// Fills the template of all pages.
///
/// # Errors
/// If the template does not fit the values.
pub(crate) fn render(values: serde_json::Value) -> Result<String> {
    let wrong =
        |error: minijinja::Error| Error::Drawing { what: "report".into(), message: error.to_string() };
    let mut environment = Environment::new();
    environment.add_template("report.html", TEMPLATE).map_err(wrong)?;
    environment.get_template("report.html").and_then(|template| template.render(Serde(values))).map_err(wrong)
}
