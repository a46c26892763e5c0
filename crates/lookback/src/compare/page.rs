//! Runs side by side, as a page: their maps on the same colours, by how much they differ, their spectra.

use std::path::Path;

use lookback_mesh::Grid;
use serde_json::json;

use super::{Candidate, Measured, verdicts};
use crate::formats::fits;
use crate::problem::grid_of;
use crate::report::colour::Scale;
use crate::report::curves::{COLOURS, Curve, Plot};
use crate::report::panel::{Panel, draw, robust_range};
use crate::report::{Figure, Section, render};
use crate::runfile::RunFile;
use crate::{Error, Result, VERSION, files};

/// Share of pixels beyond each end of the colour scale.
const TAIL: f64 = 0.002;

/// What the pictures of a run are drawn from.
struct Sight {
    name: String,
    run: RunFile,
    grid: Grid,
    mean: Vec<f64>,
    std: Option<Vec<f64>>,
    truth: Option<Vec<f64>>,
    /// Multipoles, and the power of the samples there, or of the estimate where there are no samples.
    spectrum: Vec<(f64, f64)>,
}

impl Sight {
    fn of(candidate: &Candidate) -> Result<Sight> {
        let folder = &candidate.folder;
        let run = RunFile::load(&folder.join("config.toml"))?;
        let grid = grid_of(&run.sky)?;
        let map = |name: &str| -> Result<Option<Vec<f64>>> {
            let path = folder.join(name);
            if !path.exists() {
                return Ok(None);
            }
            let map = fits::read(&path, None)?;
            if map.shape != grid.shape() {
                let message =
                    format!("has the shape {:?}, but the run has pixels {:?}", map.shape, grid.shape());
                return Err(Error::file(path, message));
            }
            Ok(Some(map.values))
        };
        let mean = map("mean.fits")?.ok_or_else(|| Error::file(folder, "holds no `mean.fits`"))?;
        let spectrum = spectrum(&folder.join("spectrum.csv"))?;
        let (std, truth) = (map("std.fits")?, map("truth.fits")?);
        Ok(Sight { name: folder.display().to_string(), mean, std, truth, spectrum, run, grid })
    }

    fn figure(&self, map: &[f64], scale: Scale, range: (f64, f64), caption: String) -> Result<Figure> {
        Ok(Figure { svg: draw(&self.grid, &Panel::new(&self.name, map, scale, range))?, caption })
    }
}

/// The second column of a run's spectra, or the estimate's where that is empty.
fn spectrum(path: &Path) -> Result<Vec<(f64, f64)>> {
    let bytes = files::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let at = |name: &str| {
        columns
            .iter()
            .position(|column| *column == name)
            .ok_or_else(|| Error::file(path, format!("has no column `{name}`")))
    };
    let (ell, median, estimate) = (at("ell")?, at("samples_median")?, at("estimate")?);
    let row = |line: &str| {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
        let power = [median, estimate].into_iter().filter_map(|i| cells.get(i).copied());
        Some((*cells.get(ell)?, power.into_iter().find(|power| power.is_finite())?))
    };
    Ok(lines.filter_map(row).collect())
}

/// The page of finished runs of the same data, in this order, as HTML.
///
/// # Errors
/// If a map or a spectrum of a run cannot be read, or a picture cannot be drawn.
pub fn page(candidates: &[Candidate]) -> Result<String> {
    let sights = candidates.iter().map(Sight::of).collect::<Result<Vec<Sight>>>()?;
    let Some(first) = sights.first() else { return Err(Error::config("compare", "no runs")) };
    let mut sections = vec![reconstructions(&sights, first)?];
    sections.extend(uncertainties(&sights)?);
    sections.extend(differences(&sights, first)?);
    sections.push(spectra(&sights)?);
    let configs = sights.iter().map(|sight| Ok(format!("# {}\n{}", sight.name, sight.run.to_toml()?)));
    render(json!({
        "title": "Models of the same data",
        "kind": "Comparison of finished runs",
        "footer": "Maps: <code>mean.fits</code>, <code>std.fits</code>; spectra: <code>spectrum.csv</code> in the folders of the runs.",
        "version": VERSION,
        "headlines": candidates.iter().map(headline).collect::<Vec<_>>(),
        "sections": sections,
        "chain": candidates.iter().map(|one| [one.folder.display().to_string(), one.title.clone()]).collect::<Vec<_>>(),
        "summary": candidates.iter().flat_map(numbers).collect::<Vec<_>>(),
        "notes": verdicts(candidates),
        "config": configs.collect::<Result<Vec<String>>>()?.join("\n"),
        "citations": [],
    }))
}

/// What tells most of a model, and its name.
fn headline(one: &Candidate) -> [String; 2] {
    let name = one.folder.display();
    let with_error = |Measured { value, error }: Measured| format!("{value:.1} \u{b1} {error:.1}");
    match (one.elpd, one.log_evidence, one.reduced_chi2) {
        (Some(elpd), ..) => [format!("{name}: log density of data left out"), with_error(elpd)],
        (_, Some(evidence), _) => [format!("{name}: ln evidence"), with_error(evidence)],
        (.., Some(chi2)) => [format!("{name}: reduced chi-squared"), format!("{chi2:.3}")],
        _ => [name.to_string(), one.method.clone()],
    }
}

/// All numbers of a model.
fn numbers(one: &Candidate) -> Vec<[String; 2]> {
    let name = one.folder.display();
    let plain = |x: Option<f64>| x.map(|x| format!("{x:.4}"));
    let measured =
        |m: Option<Measured>| m.map(|Measured { value, error }| format!("{value:.2} \u{b1} {error:.2}"));
    [
        ("method", Some(one.method.clone())),
        ("reduced chi-squared of the samples", plain(one.reduced_chi2)),
        ("ln evidence", measured(one.log_evidence)),
        ("probability among these", plain(one.probability)),
        ("log density of data left out", measured(one.elpd)),
        ("below the best by", measured(one.elpd_below)),
        ("parameters that the data took", plain(one.effective_parameters)),
    ]
    .into_iter()
    .filter_map(|(what, value)| Some([format!("{name}: {what}"), value?]))
    .collect()
}

fn reconstructions(sights: &[Sight], first: &Sight) -> Result<Section> {
    let range = robust_range(&first.mean, TAIL);
    let mut figures = Vec::new();
    let truths = sights.iter().filter(|sight| sight.grid == first.grid);
    if let Some(truth) = truths.filter_map(|sight| sight.truth.as_ref()).next() {
        let panel = Panel::new("truth", truth, Scale::Signal, range);
        figures.push(Figure {
            svg: draw(&first.grid, &panel)?,
            caption: "What the data were made from.".into(),
        });
    }
    for sight in sights {
        figures.push(sight.figure(&sight.mean, Scale::Signal, range, sight.run.title.clone())?);
    }
    let words =
        "Posterior means (maxima where a run has no samples), all on the colours of the first.".into();
    Ok(Section { heading: "Reconstructions".into(), words, figures })
}

fn uncertainties(sights: &[Sight]) -> Result<Option<Section>> {
    let known: Vec<(&Sight, &[f64])> =
        sights.iter().filter_map(|sight| Some((sight, sight.std.as_deref()?))).collect();
    let Some((_, first)) = known.first() else { return Ok(None) };
    let range = robust_range(first, TAIL);
    let figure = |&(sight, std): &(&Sight, &[f64])| {
        let caption = format!("Root mean square {:.3e}.", rms(std.iter().copied()));
        sight.figure(std, Scale::Width, range, caption)
    };
    Ok(Some(Section {
        heading: "Posterior standard deviations".into(),
        words: "All on the same colours.".into(),
        figures: known.iter().map(figure).collect::<Result<_>>()?,
    }))
}

fn differences(sights: &[Sight], first: &Sight) -> Result<Option<Section>> {
    let Some(std) = &first.std else { return Ok(None) };
    let alike: Vec<&Sight> = sights[1..].iter().filter(|sight| sight.grid == first.grid).collect();
    if alike.is_empty() {
        return Ok(None);
    }
    let figure = |sight: &&Sight| {
        let changes = sight.mean.iter().zip(&first.mean).zip(std);
        let map: Vec<f64> = changes.map(|((a, b), std)| (a - b) / std.max(f64::MIN_POSITIVE)).collect();
        let caption = format!("Root mean square {:.2} standard deviations.", rms(map.iter().copied()));
        sight.figure(&map, Scale::Diverging, (-3.0, 3.0), caption)
    };
    Ok(Some(Section {
        heading: "Differences".into(),
        words: format!(
            "Posterior means minus that of {}, in its standard deviations: where models say other things of the same data.",
            first.name
        ),
        figures: alike.iter().map(figure).collect::<Result<_>>()?,
    }))
}

fn rms(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    (values.map(|x| x * x).sum::<f64>() / count).sqrt()
}

fn spectra(sights: &[Sight]) -> Result<Section> {
    let scaled = |&(ell, power): &(f64, f64)| (ell, ell * (ell + 1.0) * power / std::f64::consts::TAU);
    let curve = |(i, sight): (usize, &Sight)| Curve {
        name: sight.name.clone(),
        points: sight.spectrum.iter().map(scaled).filter(|point| point.1 > 0.0).collect(),
        colour: COLOURS[i % COLOURS.len()],
        width: 2,
    };
    let plot = Plot {
        title: "power spectrum of the samples",
        x_name: "multipole ell",
        y_name: "ell (ell + 1) C / 2 pi",
        shades: Vec::new(),
        curves: sights.iter().enumerate().map(curve).collect(),
        size: (760, 480),
    };
    let caption = "Median of the samples; of the estimate where a run has none.".into();
    Ok(Section {
        heading: "Power spectra".into(),
        words: "What each model makes of the scales that the data do not show.".into(),
        figures: vec![Figure { svg: plot.logarithmic()?, caption }],
    })
}
