//! A bijection the other way round.

use lookback_operator::Real;

use super::{Bijection, Mapped};
use crate::Batch;
use crate::layer::{Trace, Weight};

/// `f^-1` in place of `f`: for what is fitted from normal numbers towards the data. Its weights have no gradient.
#[derive(Debug)]
pub struct Inverted<B>(pub B);

fn negated<T: Real>(mapped: Mapped<T>) -> Mapped<T> {
    Mapped { log_det: mapped.log_det.into_iter().map(|x| -x).collect(), ..mapped }
}

impl<T: Real, B: Bijection<T>> Bijection<T> for Inverted<B> {
    fn weights(&self) -> Vec<Weight> {
        self.0.weights()
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        negated(self.0.inverse(weights, x))
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        negated(self.0.forward(weights, y))
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        _: Option<&mut [T]>,
    ) -> Batch<T> {
        // With y = f^-1(x) and ln |det J| = -l(y): J_f^-T (dy - dlog_det dl/dy).
        let nothing = Batch::zeros(dy.rows(), dy.width());
        let bends = self.0.pull(weights, trace, nothing, dlog_det, None);
        self.0.pull_inverse(weights, trace, dy.zip_with(&bends, |dy, bend| *dy -= bend))
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.0.push_inverse(weights, trace, dx)
    }

    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let rows = dx.rows();
        self.0.pull(weights, trace, dx, &vec![T::zero(); rows], None)
    }

    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        self.0.push(weights, trace, dy)
    }
}
