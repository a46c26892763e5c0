//! A progress bar on the terminal; plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lookback::run::Reporter;
use lookback_inference::Progress;

/// Seconds between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a run on standard error.
pub(crate) struct Bar {
    bar: ProgressBar,
    quiet: bool,
    terminal: bool,
    last_line: Instant,
}

impl Bar {
    pub(crate) fn new(quiet: bool) -> Bar {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:36} {pos}/{len} [{elapsed} < {eta}] {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar { bar, quiet, terminal, last_line: Instant::now() }
    }

    /// For work whose steps nobody counts: what is done, and since when.
    pub(crate) fn waiting(quiet: bool, what: &'static str) -> Bar {
        let bar = Bar::new(quiet);
        let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
        bar.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.bar.set_message(what);
        bar
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Reporter for Bar {
    fn step(&mut self, progress: &Progress) {
        self.bar.set_length(progress.steps.1);
        self.bar.set_position(progress.steps.0);
        self.bar.set_message(progress.message.clone());
        if !self.quiet && !self.terminal && self.last_line.elapsed() >= LINE_EVERY {
            eprintln!("{} of {}: {}", progress.steps.0, progress.steps.1, progress.message);
            self.last_line = Instant::now();
        }
    }

    fn note(&mut self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("note: {line}"));
        }
    }
}
