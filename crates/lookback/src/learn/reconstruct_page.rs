//! The page of reconstructions: data, mean, uncertainty and samples of every example, and what the search found.

use lookback_learn::{Batch, Model, Shape, layers::Image};
use serde_json::json;

use super::pictures::range;
use super::reconstruct::{ReconstructOptions, Reconstructions, Sampling};
use crate::report::colour::Scale;
use crate::report::mosaic::Mosaic;
use crate::report::{Figure, Section, render};
use crate::{Result, VERSION};

/// Examples and samples that are shown.
const EXAMPLES: usize = 16;
const SAMPLES: usize = 4;
/// Modes that are shown.
const MODES: usize = 3;

/// The page as HTML.
pub(super) fn page(
    model: &Model<f32>,
    data: &Batch<f32>,
    found: &Reconstructions,
    options: &ReconstructOptions,
) -> Result<String> {
    let shown = data.rows().min(EXAMPLES);
    let samples = options.samples.min(SAMPLES);
    let mut figures = Vec::new();
    if let Shape::Image(Image { height, width, channels }) = model.card().example_shape()? {
        let range = range(found.mean.data().iter().copied());
        let low = range.0 as f32;
        // What is missing has the colour of the lowest value.
        let seen =
            Batch::new(data.width(), data.data().iter().map(|d| if d.is_nan() { low } else { *d }).collect());
        let mut images: Vec<&[f32]> = (0..shown).map(|i| seen.row(i)).collect();
        images.extend((0..shown).map(|i| found.mean.row(i)));
        let mut rows = vec!["data".to_string(), "posterior mean".into()];
        for sample in 0..samples {
            images.extend((0..shown).map(|i| found.samples.row(i * options.samples + sample)));
            rows.push(format!("sample {}", sample + 1));
        }
        // An example with fewer modes has an empty place.
        let empty = vec![low; data.width()];
        let most = found.examples.iter().take(shown).map(|e| e.mode_weights.len()).max().unwrap_or(0);
        for mode in 0..most.min(MODES) {
            images.extend(found.examples.iter().take(shown).map(|e| match e.mode_weights.get(mode) {
                Some(_) => found.modes.row(e.first_mode + mode),
                None => &empty[..],
            }));
            rows.push(format!("mode {}", mode + 1));
        }
        let shape = [height, width, channels];
        let title = "data, posterior mean, samples and modes";
        let all = Mosaic { title, shape, images, columns: shown, rows, range, scale: Scale::Signal };
        let widest = found.std.data().iter().copied().fold(0.0, f32::max);
        let std = Mosaic {
            title: "posterior standard deviation",
            shape,
            images: (0..shown).map(|i| found.std.row(i)).collect(),
            columns: shown,
            rows: vec!["std".into()],
            range: (0.0, f64::from(widest).max(1e-12)),
            scale: Scale::Width,
        };
        figures.push(Figure {
            svg: all.draw()?,
            caption:
                "What is missing is dark in the data. Modes are what is decoded there, the heaviest first."
                    .into(),
        });
        figures.push(Figure { svg: std.draw()?, caption: format!("From 0 to {widest:.3}.") });
    }
    let median = |of: fn(&super::Reconstructed) -> f64| {
        let mut values: Vec<f64> = found.examples.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let headlines = [
        ["examples".to_string(), found.examples.len().to_string()],
        ["median reduced chi2".into(), format!("{:.3}", median(|e| e.reduced_chi2))],
        ["median seconds".into(), format!("{:.2}", median(|e| e.seconds))],
        ["median Pareto k".into(), format!("{:.2}", median(|e| e.pareto_k))],
    ];
    let summary: Vec<[String; 2]> = found
        .examples
        .iter()
        .enumerate()
        .map(|(i, e)| {
            let weights: Vec<String> = e.mode_weights.iter().map(|w| format!("{w:.3}")).collect();
            let words = format!(
                "modes {}; {} of {} searches ended at the best, {} at one of them; chi2 {:.3}; ln Z {:.2}; k {:.2}; {:.2} s",
                weights.join(", "),
                e.starts_at_best,
                options.starts,
                e.starts_at_modes,
                e.reduced_chi2,
                e.log_evidence,
                e.pareto_k,
                e.seconds
            );
            [format!("example {i}"), words]
        })
        .collect();
    render(json!({
        "title": "Reconstruction with a learned prior",
        "kind": format!("Posteriors of {} examples under `{}`", found.examples.len(), model.card().title),
        "footer": "Arrays: <code>mean.npy</code>, <code>std.npy</code>, <code>samples.npy</code>, <code>latents.npy</code>, <code>modes.npy</code>. Figures: <code>reconstruction.json</code>.",
        "version": VERSION,
        "headlines": headlines,
        "sections": [Section { heading: "Posteriors".into(), words: "Each sample is a signal that could have made the data.".into(), figures }],
        "chain": [
            ["noise".to_string(), format!("standard deviation {}", options.noise_std)],
            ["model's error".to_string(), format!("{:?}", options.model_error).to_lowercase()],
            ["sampling".to_string(), format!("{:?}", options.sampling).to_lowercase()],
        ],
        "summary": summary,
        "notes": [],
        "inputs": [],
        "config": serde_json::to_string_pretty(options).unwrap_or_default(),
        "citations": [
            ["probabilistic autoencoder", "Boehm & Seljak 2022, TMLR 09/2022, arXiv:2006.05479"],
            ["EL2O", "Seljak & Yu 2019, arXiv:1901.04454"],
            match options.sampling {
                Sampling::Laplace => ["Hamiltonian Monte Carlo", "Duane et al. 1987, Phys. Lett. B 195, 216"],
                Sampling::Smc => ["sequential Monte Carlo", "Del Moral, Doucet & Jasra 2006, JRSS B 68, 411"],
                Sampling::Nuts => ["No-U-Turn sampler", "Hoffman & Gelman 2014, JMLR 15, 1593"],
            },
        ],
    }))
}
