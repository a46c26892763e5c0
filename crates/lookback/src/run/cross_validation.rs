//! How well a model predicts data that it has not seen, from the likelihood of every datum at every draw.

use std::path::Path;

use lookback_inference::loo::{LeftOut, leave_out, total};
use lookback_inference::pareto::limit;
use rayon::prelude::*;

use super::rows;
use crate::formats::npy;
use crate::{Error, Result};

/// Name of its table in the folder of a run.
pub(crate) const FILE: &str = "loo.npy";

/// Every datum, left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CrossValidation(pub Vec<LeftOut>);

impl CrossValidation {
    /// From the file of a run with so many draws. Memory: 4 bytes a draw and datum.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_draws(place: &Path, draws: usize) -> Result<CrossValidation> {
        let all: Vec<f32> = rows::numbers(place)?.collect();
        let data = all.len() / draws.max(1);
        let left_out = (0..data)
            .into_par_iter()
            .map(|datum| {
                let column: Vec<f64> =
                    all.iter().skip(datum).step_by(data).map(|log| f64::from(*log)).collect();
                leave_out(&column)
            })
            .collect();
        Ok(CrossValidation(left_out))
    }

    /// Writes `elpd`, the density of seen data and `k`, a row each.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, place: &Path) -> Result<()> {
        let row = |of: fn(&LeftOut) -> f64| self.0.iter().map(move |one| of(one) as f32);
        let rows = row(|one| one.elpd).chain(row(|one| one.seen)).chain(row(|one| one.k));
        npy::write(place, &[3, self.0.len()], rows)
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// If the file is not such a table.
    pub fn read(place: &Path) -> Result<CrossValidation> {
        let table = npy::read(place)?;
        let [3, data] = table.shape[..] else {
            return Err(Error::file(place, "is not a table of three rows"));
        };
        let at = |row: usize, i: usize| table.values[row * data + i];
        let one = |i| LeftOut { elpd: at(0, i), seen: at(1, i), k: at(2, i) };
        Ok(CrossValidation((0..data).map(one).collect()))
    }

    /// Expected log predictive density of all data, and its standard error.
    pub fn elpd(&self) -> (f64, f64) {
        total(&self.0.iter().map(|one| one.elpd).collect::<Vec<f64>>())
    }

    /// How many parameters the data took.
    pub fn effective_parameters(&self) -> f64 {
        self.0.iter().map(|one| one.seen - one.elpd).sum()
    }

    /// Data that are too influential for so many draws.
    pub fn influential(&self, draws: usize) -> usize {
        let limit = limit(draws);
        self.0.iter().filter(|one| one.k > limit).count()
    }
}
