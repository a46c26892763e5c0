//! Markov chains that start from an approximation of the posterior.

use serde::{Deserialize, Serialize};

use crate::{Draw, Error, Method, Number, Progress, Result, Sampler, Workers};

/// A sampler whose chains start at samples of an approximation, which is found first; or at its centre, if it gives no samples.
///
/// Of the samples of the approximation, those that are used are spread evenly over all that it hands out. They are not part of the
/// result: what a chain forgets of them in its warm-up, R-hat tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "A: Serialize, M: Serialize",
    deserialize = "A: serde::de::DeserializeOwned, M: serde::de::DeserializeOwned"
))]
pub struct WarmStarted<T: Number, A, M> {
    approximation: A,
    sampler: M,
    chains: usize,
    centre: Option<Vec<T>>,
    /// Samples that may become starts: every `stride`-th, at most twice as many as there are chains.
    kept: Vec<Vec<T>>,
    stride: usize,
    seen: usize,
    found: bool,
}

impl<T: Number, A: Method<T>, M: Sampler<T>> WarmStarted<T, A, M> {
    /// Prepares `sampler`, of this many chains, with `approximation`; neither has started.
    pub fn new(approximation: A, sampler: M, chains: usize) -> Self {
        WarmStarted {
            approximation,
            sampler,
            chains: chains.max(1),
            centre: None,
            kept: Vec::new(),
            stride: 1,
            seen: 0,
            found: false,
        }
    }

    fn keep(&mut self, z: Vec<T>) {
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(z);
        }
        self.seen += 1;
        if self.kept.len() == 2 * self.chains {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
    }

    fn approximate(&mut self, workers: &Workers<'_, T>) -> Result<Progress> {
        let mut draws = Vec::new();
        let progress = self.approximation.advance(workers, &mut |draw| draws.push(draw))?;
        for draw in draws {
            match draw {
                Draw::Centre { z } => self.centre = Some(z),
                // A mirror image is as far from the others as its original.
                Draw::Sample { z, .. } => self.keep(z),
            }
        }
        if progress.done {
            let starts: Vec<Vec<T>> = if self.kept.is_empty() {
                self.centre.take().into_iter().collect()
            } else {
                // Spread over all that is kept, of which there may be nearly twice as many as chains.
                let kept = std::mem::take(&mut self.kept);
                let chosen = self.chains.min(kept.len());
                (0..chosen).map(|i| kept[i * kept.len() / chosen].clone()).collect()
            };
            if starts.is_empty() {
                return Err(Error::Unsuitable("the warm start found no point to start from".into()));
            }
            self.sampler.start_from(starts);
            self.found = true;
        }
        Ok(Progress { message: format!("warm start: {}", progress.message), done: false, ..progress })
    }
}

impl<T: Number, A: Method<T>, M: Sampler<T>> Method<T> for WarmStarted<T, A, M> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.found { self.sampler.advance(workers, sink) } else { self.approximate(workers) }
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let before = self.approximation.figures().into_iter();
        self.sampler
            .figures()
            .into_iter()
            .chain(before.map(|(name, value)| (format!("warm_start_{name}"), value)))
            .collect()
    }
}
