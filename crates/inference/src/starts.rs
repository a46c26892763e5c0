//! Searches from several starting points at once, of which the lowest end counts.

use serde::{Deserialize, Serialize};

use crate::chain::Point;
use crate::search::{Rules, Search};
use crate::{Error, Number, Result, Workers};

/// Energies of two ends of searches that are the same minimum differ by less, for each latent and squared tolerance: an end is within
/// the tolerance of its minimum, where the energy is higher by half its square.
const SAME: f64 = 1.0;
/// And by less than this in any case: the probability of both is the same.
const CLOSE: f64 = 1e-3;

/// Searches, each until it converges or fails. If there are several, some may fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Starts<T: Number> {
    searches: Vec<Search<T>>,
    failed: Vec<bool>,
}

impl<T: Number> Starts<T> {
    /// Searches from the random starting points `0..count`.
    pub fn new(count: usize) -> Starts<T> {
        let searches = (0..count as u32).map(Search::new).collect();
        Starts { searches, failed: vec![false; count] }
    }

    /// Searches from points that are given.
    pub fn from(points: Vec<Vec<T>>) -> Starts<T> {
        let failed = vec![false; points.len()];
        Starts { searches: points.into_iter().map(Search::from).collect(), failed }
    }

    /// A step of each search that is under way; true if none is left.
    ///
    /// # Errors
    /// If the user stops, or all searches have failed: then that of the first.
    pub fn advance(&mut self, rules: &Rules<'_>, workers: &Workers<'_, T>) -> Result<bool> {
        let dim = workers.dim();
        let single = self.searches.len() == 1;
        let work: Vec<(&mut Search<T>, &mut bool)> = self
            .searches
            .iter_mut()
            .zip(&mut self.failed)
            .filter(|(search, failed)| !search.converged && !**failed)
            .collect();
        let ends =
            workers.map(work, |(search, failed), evaluator| match search.advance(rules, evaluator, dim) {
                Err(Error::Interrupted) => Err(Error::Interrupted),
                end => {
                    // A single search keeps its failure, and can be tried again.
                    *failed = end.is_err() && !single;
                    Ok(end.err())
                }
            })?;
        match ends.into_iter().flatten().next() {
            Some(error) if single || self.failed.iter().all(|failed| *failed) => {
                // All can be tried again.
                self.failed.fill(false);
                Err(error)
            }
            _ => {
                Ok(self.searches.iter().zip(&self.failed).all(|(search, failed)| search.converged || *failed))
            }
        }
    }

    /// Searches that did not fail, and where they are.
    fn fine(&self) -> impl Iterator<Item = (&Search<T>, &Point<T>)> {
        let fine = self.searches.iter().zip(&self.failed).filter(|(_, failed)| !**failed);
        fine.filter_map(|(search, _)| Some((search, search.at()?)))
    }

    /// Their ends, lowest first.
    pub fn ends(&self) -> Vec<&Point<T>> {
        let mut ends: Vec<&Point<T>> = self.fine().map(|(_, at)| at).collect();
        ends.sort_by(|a, b| a.energy.total_cmp(&b.energy));
        ends
    }

    fn lowest(&self) -> Option<(&Search<T>, &Point<T>)> {
        self.fine().min_by(|(_, a), (_, b)| a.energy.total_cmp(&b.energy))
    }

    /// The lowest point so far.
    pub fn best(&self) -> Option<&Point<T>> {
        self.lowest().map(|(_, at)| at)
    }

    /// Steps of all searches.
    pub fn steps(&self) -> usize {
        self.searches.iter().map(|search| search.steps).sum()
    }

    /// A bound on the distance of the best from its minimum, in posterior standard deviations.
    pub fn distance(&self) -> f64 {
        self.lowest().map_or(f64::INFINITY, |(search, _)| search.distance())
    }

    /// Where the searches stand, in a few words.
    pub fn message(&self, rules: &Rules<'_>) -> String {
        let Some((best, at)) = self.lowest() else { return "starts".into() };
        let energy = at.energy;
        let temperature = best.temperature(rules);
        let heat = if temperature > 1.0 { format!(" at temperature {temperature}") } else { String::new() };
        let message = format!(
            "energy {energy:.6e}, within {:.1e} posterior standard deviations{heat}",
            best.distance()
        );
        if self.searches.len() == 1 {
            return message;
        }
        let done = self.searches.iter().filter(|search| search.converged).count();
        format!("{done} of {} searches done, lowest {message}", self.searches.len())
    }

    /// How many searches ended at the lowest end, to this tolerance, if there are several.
    pub fn figures(&self, tolerance: f64) -> Vec<(String, f64)> {
        if self.searches.len() == 1 {
            return Vec::new();
        }
        let margin = |at: &Point<T>| CLOSE.max(SAME * tolerance.powi(2) * at.z.len() as f64);
        let limit = self.best().map_or(f64::NAN, |at| at.energy + margin(at));
        let at_best = self.fine().filter(|(_, at)| at.energy <= limit).count();
        let failed = self.failed.iter().filter(|failed| **failed).count();
        vec![
            ("starts".into(), self.searches.len() as f64),
            ("starts_at_best".into(), at_best as f64),
            ("starts_failed".into(), failed as f64),
        ]
    }
}
