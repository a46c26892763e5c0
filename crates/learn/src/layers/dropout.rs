//! Dropout: numbers that are left out at random while a network is trained (Srivastava et al. 2014).

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Batch;
use crate::layer::{Layer, Mode, Trace, Weight};

/// In training, each number is zero with probability `rate`, and else divided by `1 - rate`; frozen, the identity.
#[derive(Debug, Clone)]
pub struct Dropout {
    width: usize,
    rate: f64,
    /// Keeps the layers of one network apart in the stream of random numbers.
    place: u32,
}

impl Dropout {
    /// For rows of `width` numbers; `place` is the layer's number in its network.
    pub fn new(width: usize, rate: f64, place: u32) -> Dropout {
        Dropout { width, rate, place }
    }
}

impl<T: Real> Layer<T> for Dropout {
    fn inputs(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.width
    }

    fn weights(&self) -> Vec<Weight> {
        Vec::new()
    }

    fn forward(&self, _: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        let Mode::Training { stream } = mode else { return (x, Trace::of(Vec::new())) };
        let mut factors = Batch::zeros(x.rows(), self.width);
        let kept = T::of(1.0 / (1.0 - self.rate));
        let begin = u64::from(self.place) << 40;
        factors.data_mut().par_chunks_mut(1 << 12).enumerate().for_each(|(chunk, factors)| {
            for (i, factor) in factors.iter_mut().enumerate() {
                let dropped = stream.uniform(begin + (chunk << 12 | i) as u64) < self.rate;
                *factor = if dropped { T::zero() } else { kept };
            }
        });
        let y = x.zip_with(&factors, |x, factor| *x *= factor);
        (y, Trace::of(vec![factors]))
    }

    fn pull(&self, _: &[T], trace: &Trace<T>, dy: Batch<T>, _: Option<&mut [T]>) -> Batch<T> {
        match trace.kept.first() {
            Some(factors) => dy.zip_with(factors, |dy, factor| *dy *= factor),
            None => dy,
        }
    }

    fn push(&self, _: &[T], _: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        dx
    }
}
