//! What trainings make small, and how it went down.

use lookback_learn::Epoch;

use super::file::FlowKind;
use crate::Result;
use crate::report::Figure;
use crate::report::curves::{COLOURS, Curve, Plot};

/// What a training makes small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    /// What is trained.
    pub what: &'static str,
    meaning: &'static str,
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
