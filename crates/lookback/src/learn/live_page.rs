//! The page that shows a training while it is under way.

use std::path::Path;

use lookback_learn::Epoch;
use serde_json::json;

use super::losses::Loss;
use super::{REPORT, write_text};
use crate::report::{Section, render};
use crate::{Result, VERSION};

/// Seconds after which a browser loads the page again.
const REFRESH: u32 = 5;

/// What is to come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outlook {
    /// Other epochs, for so many seconds.
    Epochs(f64),
    /// What is done with the weights that were found.
    Rest,
    /// Nothing, until the user calls again.
    Stopped,
}

impl Outlook {
    fn words(self, what: &str) -> String {
        let again = format!(
            "This page loads itself again every {REFRESH} seconds, until the model is there and its report takes this place."
        );
        match self {
            Outlook::Epochs(_) => again,
            Outlook::Rest => format!("The {what} is trained, and what comes after it is under way. {again}"),
            Outlook::Stopped => "The training was stopped here; the same command goes on.".into(),
        }
    }
}

/// Writes the page of a training of which these epochs are done.
pub(super) fn write(
    loss: Loss,
    done: &[Epoch],
    epochs: usize,
    outlook: Outlook,
    (directory, config): (&Path, &str),
) -> Result<()> {
    let Some(last) = done.last() else { return Ok(()) };
    // A single point is no curve.
    let figures = if done.len() > 1 { vec![loss.figure(done)?] } else { Vec::new() };
    let mut headlines = vec![[format!("epochs of the {}", loss.what), format!("{} of {epochs}", done.len())]];
    for (name, value) in [("training loss", last.train), ("validation loss", last.validation)] {
        if value.is_finite() {
            headlines.push([name.into(), format!("{value:.4e}")]);
        }
    }
    if let Outlook::Epochs(seconds) = outlook {
        headlines
            .push([format!("minutes to the end of the {}", loss.what), format!("{:.1}", seconds / 60.0)]);
    }
    let refresh = (!matches!(outlook, Outlook::Stopped)).then_some(REFRESH);
    let page = render(json!({
        "title": format!("Training: {}", directory.display()),
        "kind": "A learned prior, under way,",
        "footer": "",
        "version": VERSION,
        "refresh": refresh,
        "headlines": headlines,
        "sections": [Section { heading: "Training".into(), words: outlook.words(loss.what), figures }],
        "chain": [],
        "summary": [],
        "notes": [],
        "inputs": [],
        "config": config,
        "citations": [],
    }))?;
    write_text(&directory.join(REPORT), &page)
}
