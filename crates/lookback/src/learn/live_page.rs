//! Losses of a training, and the page that shows them while it is under way.

use std::path::Path;

use lookback_learn::Epoch;
use serde_json::json;

use super::file::FlowKind;
use crate::report::curves::{COLOURS, Curve, Plot};
use crate::report::{Figure, Section, render};
use crate::{Result, VERSION, files};

/// Seconds after which a browser loads the page again.
const REFRESH: u32 = 5;

/// What a training makes small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    /// What is trained.
    pub what: &'static str,
    pub meaning: &'static str,
    /// Whether it is positive, and drawn on a logarithmic axis.
    positive: bool,
}

impl Loss {
    pub(super) const AUTOENCODER: Loss =
        Loss { what: "autoencoder", meaning: "Half the mean squared residual of a number.", positive: true };

    pub(super) const MAPS: Loss = Loss {
        what: "prior of maps",
        meaning: "The mean squared difference of sorted pixels, over scales, in units of their variance.",
        positive: true,
    };

    pub(super) fn of_flow(kind: FlowKind) -> Loss {
        Loss { what: "flow", meaning: kind.meaning_of_loss(), positive: false }
    }

    /// The losses of all epochs so far.
    pub(super) fn figure(self, epochs: &[Epoch]) -> Result<Figure> {
        let numbered = || epochs.iter().enumerate().map(|(i, epoch)| (i as f64 + 1.0, epoch));
        let curve = |name: &str, of: fn(&Epoch) -> f64, colour: usize| Curve {
            name: name.into(),
            points: numbered()
                .map(|(number, epoch)| (number, of(epoch)))
                .filter(|point| point.1.is_finite() && (point.1 > 0.0 || !self.positive))
                .collect(),
            colour: COLOURS[colour],
            width: 2,
        };
        let curves = vec![curve("training", |e| e.train, 0), curve("validation", |e| e.validation, 1)];
        let (title, x_name, y_name) = (self.what, "epoch", "loss");
        let plot = Plot { title, x_name, y_name, shades: Vec::new(), curves, size: (440, 300) };
        let svg = if self.positive { plot.logarithmic()? } else { plot.linear()? };
        Ok(Figure { svg, caption: self.meaning.into() })
    }
}

/// Writes the page of a training of which these epochs are done; `left` are the seconds that the others will take.
pub(super) fn write(
    loss: Loss,
    done: &[Epoch],
    epochs: usize,
    left: f64,
    (directory, config): (&Path, &str),
) -> Result<()> {
    let Some(last) = done.last() else { return Ok(()) };
    // A single point is no curve.
    let figures = if done.len() > 1 { vec![loss.figure(done)?] } else { Vec::new() };
    let words = format!(
        "This page loads itself again every {REFRESH} seconds, until the model is there and its report takes this place."
    );
    let headlines = [
        [format!("epochs of the {}", loss.what), format!("{} of {epochs}", done.len())],
        ["training loss".into(), format!("{:.4e}", last.train)],
        ["validation loss".into(), format!("{:.4e}", last.validation)],
        ["minutes to its end".into(), format!("{:.1}", left / 60.0)],
    ];
    let page = render(json!({
        "title": format!("Training: {}", directory.display()),
        "kind": "A learned prior, under way,",
        "footer": "",
        "version": VERSION,
        "refresh": REFRESH,
        "headlines": headlines,
        "sections": [Section { heading: "Training".into(), words, figures }],
        "chain": [],
        "summary": [],
        "notes": [],
        "inputs": [],
        "config": config,
        "citations": [],
    }))?;
    files::write_whole(&directory.join(super::REPORT), |out| out.write_all(page.as_bytes()))
}
