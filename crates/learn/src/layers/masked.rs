//! Full connection with a mask, for autoregressive networks (Germain et al. 2015).

use lookback_operator::Real;

use super::{Dense, Norm};
use crate::Batch;
use crate::layer::{Layer, Mode, Trace, Weight};

/// `y = x (M W) + b`: an output sees the inputs that the mask lets it see.
#[derive(Debug, Clone)]
pub struct MaskedDense {
    dense: Dense,
    /// One or zero for each weight.
    mask: Vec<bool>,
}

impl MaskedDense {
    /// Input `i` reaches output `o` if `reaches(i, o)`.
    pub fn new(
        inputs: usize,
        outputs: usize,
        std: Option<f64>,
        reaches: impl Fn(usize, usize) -> bool,
    ) -> MaskedDense {
        let mask = (0..inputs * outputs).map(|at| reaches(at / outputs, at % outputs)).collect();
        MaskedDense { dense: Dense::new(inputs, outputs, true, Norm::None, std), mask }
    }

    fn masked<T: Real>(&self, weights: &[T]) -> Vec<T> {
        let mut masked = weights.to_vec();
        self.hide(&mut masked);
        masked
    }

    fn hide<T: Real>(&self, weights: &mut [T]) {
        let hidden = weights.iter_mut().zip(&self.mask).filter(|(_, seen)| !**seen);
        hidden.for_each(|(weight, _)| *weight = T::zero());
    }
}

impl<T: Real> Layer<T> for MaskedDense {
    fn inputs(&self) -> usize {
        Layer::<T>::inputs(&self.dense)
    }

    fn outputs(&self) -> usize {
        Layer::<T>::outputs(&self.dense)
    }

    fn weights(&self) -> Vec<Weight> {
        Layer::<T>::weights(&self.dense)
    }

    fn forward(&self, weights: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        self.dense.forward(&self.masked(weights), x, mode)
    }

    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T> {
        let masked = self.masked(weights);
        let Some(gradient) = gradient else { return self.dense.pull(&masked, trace, dy, None) };
        let mut all = vec![T::zero(); gradient.len()];
        let dx = self.dense.pull(&masked, trace, dy, Some(&mut all));
        self.hide(&mut all);
        gradient.iter_mut().zip(all).for_each(|(gradient, all)| *gradient += all);
        dx
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.dense.push(&self.masked(weights), trace, dx)
    }
}
