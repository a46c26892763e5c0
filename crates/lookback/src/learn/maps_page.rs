//! The page of a prior of maps: losses, draws beside the maps that it was trained on, and their statistics.

use std::path::Path;

use lookback_learn::Epoch;
use lookback_learn::field::FieldModel;
use lookback_mesh::{bin_edges, power_spectrum, skewness};
use serde_json::json;

use super::losses::Loss;
use super::maps::{self, Maps, history};
use super::maps_file::MapsFile;
use super::{REPORT, write_card, write_text};
use crate::report::colour::Scale;
use crate::report::curves::{COLOURS, Curve, Plot, histogram};
use crate::report::panel::{Panel, draw, robust_range};
use crate::report::{Figure, Section, render};
use crate::{Result, VERSION};

/// Maps that are drawn, of each kind.
const SHOWN: usize = 3;
/// Draws whose statistics are compared.
const DRAWS: usize = 8;
/// Bins of a spectrum, and of a histogram.
const BINS: usize = 24;
const PIXEL_BINS: usize = 80;

/// Writes page, card and history.
pub(super) fn write(
    file: &MapsFile,
    maps: &Maps,
    model: &FieldModel,
    epochs: &[Epoch],
    directory: &Path,
) -> Result<()> {
    let drawn = maps::sample(model, &maps.grid, DRAWS, file.seed)?;
    let double = |maps: &[Vec<f32>]| -> Vec<Vec<f64>> {
        maps.iter().map(|map| map.iter().map(|&x| f64::from(x)).collect()).collect()
    };
    let (real, drawn) = (double(&maps.validation), double(&drawn));
    let card = model.card();
    let mean_skewness = |maps: &[Vec<f64>]| {
        maps.iter().map(|map| skewness(map.iter().copied())).sum::<f64>() / maps.len() as f64
    };
    let number = |value: f64| format!("{value:.4}");
    let headlines = [
        ["distance of draws from maps, validation".to_string(), number(card.scores[0].1)],
        ["skewness of a pixel, maps".into(), number(mean_skewness(&real))],
        ["skewness of a pixel, draws".into(), number(mean_skewness(&drawn))],
        ["weights".into(), model.weights().len().to_string()],
    ];
    let summary: Vec<[String; 2]> =
        card.scores.iter().map(|(name, value)| [name.clone(), format!("{value:.6e}")]).collect();
    let chain = [
        [
            "maps".to_string(),
            format!("{} to train on, {} that judge", maps.train.len(), maps.validation.len()),
        ],
        ["pixels".into(), format!("{:?} of {} arcmin", card.shape, card.pixel_arcmin)],
        ["layers".into(), format!("{} monotone functions, each with an isotropic filter", card.field.layers)],
    ];
    let inputs: Vec<serde_json::Value> =
        card.data.iter().map(|source| json!({ "path": source.file, "sha256": source.sha256 })).collect();
    let page = render(json!({
        "title": if file.title.is_empty() { "A learned prior of maps" } else { file.title.as_str() },
        "kind": "Prior of maps, trained",
        "footer": "Weights and card: <code>model.safetensors</code>. Losses: <code>history.csv</code>. Figures: <code>card.json</code>.",
        "version": VERSION,
        "headlines": headlines,
        "sections": [training(epochs)?, pictures(maps, &real, &drawn)?, statistics(maps, &real, &drawn)?],
        "chain": chain,
        "summary": summary,
        "notes": [],
        "inputs": inputs,
        "config": toml::to_string(file).unwrap_or_default(),
        "citations": [
            ["layers of filters and functions", "Dai & Seljak 2022, MNRAS 516, 2363, arXiv:2202.05282"],
            ["Adam", "Kingma & Ba 2015, arXiv:1412.6980"],
        ],
    }))?;
    write_text(&directory.join(REPORT), &page)?;
    write_text(&directory.join("history.csv"), &history(epochs))?;
    write_card(card, directory)
}

fn training(epochs: &[Epoch]) -> Result<Section> {
    let figure = Loss::MAPS.figure(epochs)?;
    let words = "Where the validation loss rises, the weights of its lowest point are kept.".into();
    Ok(Section { heading: "Training".into(), words, figures: vec![figure] })
}

fn pictures(maps: &Maps, real: &[Vec<f64>], drawn: &[Vec<f64>]) -> Result<Section> {
    let range = robust_range(&real[0], 0.002);
    let panel = |name: &str, map: &[f64]| -> Result<Figure> {
        let svg = draw(&maps.grid, &Panel::new(name, map, Scale::Signal, range))?;
        Ok(Figure { svg, caption: String::new() })
    };
    let mut figures = Vec::new();
    for (name, set) in [("a map that judged", real), ("a draw", drawn)] {
        for map in set.iter().take(SHOWN) {
            figures.push(panel(name, map)?);
        }
    }
    let words = "Draws should look like maps: all are on one scale.".into();
    Ok(Section { heading: "Maps and draws".into(), words, figures })
}

fn statistics(maps: &Maps, real: &[Vec<f64>], drawn: &[Vec<f64>]) -> Result<Section> {
    let edges = bin_edges(&maps.grid, BINS);
    let spectrum = |set: &[Vec<f64>]| -> Result<Vec<(f64, f64)>> {
        let mut sum: Vec<(f64, f64)> = Vec::new();
        for map in set {
            let found = power_spectrum(&maps.grid, map, &edges)?;
            let scaled =
                found.k.iter().zip(&found.power).map(|(k, p)| (*k, k * k * p / std::f64::consts::TAU));
            sum.resize(found.k.len(), (0.0, 0.0));
            sum.iter_mut().zip(scaled).for_each(|(sum, (k, p))| *sum = (k, sum.1 + p / set.len() as f64));
        }
        Ok(sum)
    };
    let all: Vec<f64> = real.concat();
    let (low, high) = robust_range(&all, 2e-5);
    let pixels = |set: &[Vec<f64>]| -> Vec<(f64, f64)> {
        let outline = histogram(&set.concat(), low, high, PIXEL_BINS);
        outline
            .into_iter()
            .filter(|(_, density)| *density > 0.0)
            .map(|(x, density)| (x, density.log10()))
            .collect()
    };
    let both = |real: Vec<(f64, f64)>, drawn: Vec<(f64, f64)>| {
        let curve = |name: &str, points, colour: usize| Curve {
            name: name.into(),
            points,
            colour: COLOURS[colour],
            width: 2,
        };
        vec![curve("maps", real, 0), curve("draws", drawn, 1)]
    };
    let plot = |title, x_name, y_name, curves| Plot {
        title,
        x_name,
        y_name,
        shades: Vec::new(),
        curves,
        size: (440, 300),
    };
    let power = plot("power spectrum", "l", "l^2 C_l / 2 pi", both(spectrum(real)?, spectrum(drawn)?))
        .logarithmic()?;
    let pixel = plot("pixels", "value", "log10 density", both(pixels(real), pixels(drawn))).linear()?;
    let figures = vec![
        Figure { svg: power, caption: "Maps that judged, and draws of the prior.".into() },
        Figure { svg: pixel, caption: "The distribution of a pixel.".into() },
    ];
    let words = "What draws have of the maps: power on every scale, and how rare their peaks are.".into();
    Ok(Section { heading: "Statistics".into(), words, figures })
}
