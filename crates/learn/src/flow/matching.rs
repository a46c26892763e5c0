//! Training of a continuous flow by regression on straight lines (Lipman et al. 2023, flow matching; Liu et al. 2023, rectified flow).

use lookback_operator::random::{Purpose, Stream};

use super::likelihood::{FIRST, jittered};
use super::{Bijection, Continuous, Flow};
use crate::layer::Weight;
use crate::{Batch, Error, Objective, Result};

/// `mean (v_i((1 - t) x + t e, t) - (e_i - x_i))^2` over examples `x`, normal numbers `e`, times `t` and dimensions `i`.
///
/// The minimum is the field whose flow takes the data to normal numbers (Lipman et al. 2023, theorem 2), found without following it:
/// a step costs one pass of the network. The steps before the continuous one keep the values that they take from the data.
pub struct Matching<'a> {
    flow: &'a Flow<f32>,
    continuous: &'a Continuous,
    train: &'a Batch<f32>,
    validation: &'a Batch<f32>,
    jitter: Vec<f32>,
}

impl<'a> Matching<'a> {
    /// Trains the last step of `flow`; `jitter` is the standard deviation of noise that is added to each column in training.
    ///
    /// # Errors
    /// If the last step is not continuous.
    pub fn new(
        flow: &'a Flow<f32>,
        (train, validation): (&'a Batch<f32>, &'a Batch<f32>),
        jitter: Vec<f32>,
    ) -> Result<Matching<'a>> {
        let last = flow.steps.last().and_then(|step| step.continuous());
        let continuous = last.ok_or_else(|| Error::Flow("matching needs a continuous last step".into()))?;
        Ok(Matching { flow, continuous, train, validation, jitter })
    }

    /// Where the weights of the field begin.
    fn start(&self) -> usize {
        self.flow.starts[self.flow.steps.len() - 1]
    }

    /// The loss of these examples; adds its gradient.
    fn loss(&self, weights: &[f32], x: Batch<f32>, stream: Stream, gradient: Option<&mut [f32]>) -> f64 {
        let n = self.flow.dimensions();
        let x = self.flow.before_last(weights, x);
        let rows = x.rows();
        // Times cover the unit interval evenly, whatever the number of rows.
        let first = stream.uniform(after_lines(rows, n));
        let time = |row: usize| (row as f64 / rows as f64 + first).fract() as f32;
        let (mut between, mut target) = (x, Batch::zeros(rows, n));
        for row in 0..rows {
            let (t, wanted) = (time(row), target.row_mut(row));
            for (column, x) in between.row_mut(row)[..n].iter_mut().enumerate() {
                let e = stream.normal((row * n + column) as u64) as f32;
                wanted[column] = e - *x;
                *x += t * wanted[column];
            }
        }
        let weights = &weights[self.start()..];
        let field = self.continuous.field();
        let (v, _, point) = field.evaluate(weights, &between, time, None);
        let count = (rows * n) as f32;
        let residual = v.zip_with(&target, |v, target| *v -= target);
        let loss = lookback_operator::vector::norm2(residual.data()) / f64::from(count);
        if let Some(gradient) = gradient {
            let dv = residual.map(|r| *r *= 2.0 / count);
            field.pull(weights, &point, &dv, None, Some(&mut gradient[self.start()..]));
        }
        loss
    }
}

/// Normal numbers come in pairs, and a uniform one uses what makes such a pair.
const NUMBERS_A_BLOCK: u64 = 2;

/// The first place in a stream whose numbers are independent of those that make the lines.
fn after_lines(rows: usize, dimensions: usize) -> u64 {
    ((rows * dimensions) as u64).next_multiple_of(NUMBERS_A_BLOCK)
}

/// Times that each validation example is looked at.
const LOOKS: u32 = 4;

impl Objective for Matching<'_> {
    fn weights(&self) -> Vec<Weight> {
        Bijection::weights(self.flow)
    }

    fn examples(&self) -> usize {
        self.train.rows()
    }

    fn step(&self, weights: &mut [f32], rows: &[usize], stream: Stream, gradient: &mut [f32]) -> f64 {
        // Numbers of the jitter come after that of the times.
        let used = after_lines(rows.len(), self.flow.dimensions()) + NUMBERS_A_BLOCK;
        let x = jittered(self.train.gather(rows.iter().copied()), &self.jitter, stream, used);
        self.loss(weights, x, stream, Some(gradient))
    }

    fn validation(&self, weights: &[f32]) -> f64 {
        // The same lines every time, so that epochs can be compared.
        let look = |look| {
            let stream = Stream::new(0, Purpose::Training, look);
            self.loss(weights, self.validation.clone(), stream, None)
        };
        (0..LOOKS).map(look).sum::<f64>() / f64::from(LOOKS)
    }

    fn prepare(&self, weights: &mut [f32]) {
        let some = self.train.gather(0..self.train.rows().min(FIRST));
        Bijection::prepare(self.flow, weights, &some);
    }
}
