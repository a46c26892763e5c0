//! Training of a flow by maximum likelihood.

use lookback_operator::random::Stream;

use super::{Bijection, Flow};
use crate::layer::Weight;
use crate::{Batch, Objective};

/// The mean of `-ln p(x)` over examples.
pub struct MaximumLikelihood<'a> {
    /// What is trained.
    pub flow: &'a Flow<f32>,
    /// What it is trained on.
    pub train: &'a Batch<f32>,
    /// What judges it.
    pub validation: &'a Batch<f32>,
    /// Standard deviation of normal noise that is added to each column in training.
    pub jitter: Vec<f32>,
}

/// Examples from which the first scales are taken.
pub(super) const FIRST: usize = 5000;

/// Rows with normal noise of these standard deviations on their columns; the numbers of the stream from `first` on.
pub(super) fn jittered(mut x: Batch<f32>, jitter: &[f32], stream: Stream, first: u64) -> Batch<f32> {
    let width = x.width();
    for (row, numbers) in x.data_mut().chunks_exact_mut(width).enumerate() {
        for (column, (x, &std)) in numbers.iter_mut().zip(jitter).enumerate() {
            if std > 0.0 {
                *x += std * stream.normal(first + (row * width + column) as u64) as f32;
            }
        }
    }
    x
}

impl MaximumLikelihood<'_> {
    /// The examples of a step, with noise.
    pub(crate) fn batch(&self, rows: &[usize], stream: Stream) -> Batch<f32> {
        jittered(self.train.gather(rows.iter().copied()), &self.jitter, stream, 0)
    }
}

impl Objective for MaximumLikelihood<'_> {
    fn weights(&self) -> Vec<Weight> {
        Bijection::weights(self.flow)
    }

    fn examples(&self) -> usize {
        self.train.rows()
    }

    fn step(&self, weights: &mut [f32], rows: &[usize], stream: Stream, gradient: &mut [f32]) -> f64 {
        self.flow.loss(weights, self.batch(rows, stream), gradient)
    }

    fn validation(&self, weights: &[f32]) -> f64 {
        let densities = self.flow.log_density(weights, self.validation.clone());
        -densities.iter().sum::<f64>() / densities.len() as f64
    }

    fn prepare(&self, weights: &mut [f32]) {
        let some = self.train.gather(0..self.train.rows().min(FIRST));
        Bijection::prepare(self.flow, weights, &some);
    }
}
