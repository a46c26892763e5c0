//! What a run says while it works: speed, and effective draws so far.

use std::time::Instant;

use lookback_inference::Progress;

use super::Recorder;
use super::summary::worst_diagnostics;

/// Effective draws are counted again when there are so many times more samples: counting costs a little of what drawing them did.
const GROWTH: f64 = 1.2;
/// Fewest samples of which effective ones are counted.
const FEWEST: usize = 40;

/// Watches a run.
pub(super) struct Live {
    began: Instant,
    /// Whether samples are steps of Markov chains.
    markov: bool,
    counted_at: usize,
    effective: Option<f64>,
}

impl Live {
    pub fn new(markov: bool) -> Live {
        Live { began: Instant::now(), markov, counted_at: 0, effective: None }
    }

    /// The progress of a method, with what is seen from outside: `gradients` were taken since the watch began.
    pub fn tell(&mut self, progress: Progress, recorder: &Recorder, gradients: u64) -> Progress {
        if self.markov && recorder.samples as f64 >= GROWTH * self.counted_at.max(FEWEST) as f64 {
            self.counted_at = recorder.samples;
            self.effective = Some(worst_diagnostics(recorder).ess_bulk).filter(|ess| ess.is_finite());
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let mut message = progress.message;
        if gradients > 0 && seconds > 0.5 {
            message += &per_second(gradients as f64 / seconds);
        }
        if let Some(effective) = self.effective {
            message += &format!(", {effective:.0} effective draws of the slowest quantity");
        }
        Progress { message, ..progress }
    }
}

/// A rate of gradients in words; of slow ones, the time that each takes.
fn per_second(rate: f64) -> String {
    match rate {
        10.0.. => format!(", {rate:.0} gradients/s"),
        0.5.. => format!(", {rate:.1} gradients/s"),
        _ => format!(", {:.1} s a gradient", 1.0 / rate),
    }
}

#[cfg(test)]
mod tests {
    use super::per_second;

    #[test]
    fn rates_are_told_with_digits_that_say_something() {
        let words = [1234.5, 2.34, 0.04].map(per_second);
        assert_eq!(words, [", 1234 gradients/s", ", 2.3 gradients/s", ", 25.0 s a gradient"]);
    }
}
