//! Training of a prior of maps by maximum likelihood.

use lookback_mesh::Grid;
use lookback_operator::random::Stream;

use super::FieldFlow;
use super::flow::OnGrid;
use crate::layer::Weight;
use crate::{Objective, Result};

/// The mean of `-ln p` a pixel over maps of one size.
pub struct FieldLikelihood<'a> {
    flow: &'a FieldFlow,
    grid: OnGrid<f32>,
    train: Vec<&'a [f32]>,
    validation: Vec<&'a [f32]>,
}

impl<'a> FieldLikelihood<'a> {
    /// Of maps to train on, and maps that judge.
    ///
    /// # Errors
    /// If margins leave nothing of a map.
    pub fn new(
        flow: &'a FieldFlow,
        grid: &Grid,
        train: Vec<&'a [f32]>,
        validation: Vec<&'a [f32]>,
    ) -> Result<FieldLikelihood<'a>> {
        Ok(FieldLikelihood { flow, grid: flow.on(grid)?, train, validation })
    }
}

impl Objective for FieldLikelihood<'_> {
    fn weights(&self) -> Vec<Weight> {
        self.flow.weights()
    }

    fn examples(&self) -> usize {
        self.train.len()
    }

    fn step(&self, weights: &mut [f32], rows: &[usize], _: Stream, gradient: &mut [f32]) -> f64 {
        let mut sum = 0.0;
        for &row in rows {
            sum += self.flow.loss(weights, &self.grid, self.train[row], Some(gradient));
        }
        let share = 1.0 / rows.len() as f64;
        gradient.iter_mut().for_each(|g| *g *= share as f32);
        sum * share
    }

    fn validation(&self, weights: &[f32]) -> f64 {
        let losses = self.validation.iter().map(|map| self.flow.loss(weights, &self.grid, map, None));
        losses.sum::<f64>() / self.validation.len() as f64
    }

    fn prepare(&self, weights: &mut [f32]) {
        self.flow.prepare(weights, &self.grid, &self.train);
    }
}
