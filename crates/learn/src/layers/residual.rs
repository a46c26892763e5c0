//! Residual blocks: `y = x + f(x)` (He et al. 2016).

use lookback_operator::Real;

use crate::layer::{Layer, Mode, Trace, Weight};
use crate::{Batch, Network};

/// A network that is added to its own input.
#[derive(Debug)]
pub struct Residual<T: Real> {
    inner: Network<T>,
}

impl<T: Real> Residual<T> {
    /// `inner` must give as many numbers as it takes.
    pub fn new(inner: Network<T>) -> Residual<T> {
        assert_eq!(inner.inputs(), inner.outputs(), "a residual block gives what it takes");
        Residual { inner }
    }
}

impl<T: Real> Layer<T> for Residual<T> {
    fn inputs(&self) -> usize {
        self.inner.inputs()
    }

    fn outputs(&self) -> usize {
        self.inner.outputs()
    }

    fn weights(&self) -> Vec<Weight> {
        self.inner.weights()
    }

    fn forward(&self, weights: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        let (y, trace) = self.inner.forward(weights, x.clone(), mode);
        (y.zip_with(&x, |y, x| *y += x), trace)
    }

    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T> {
        let dx = self.inner.pull(weights, trace, dy.clone(), gradient);
        dx.zip_with(&dy, |dx, dy| *dx += dy)
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let dy = self.inner.push(weights, trace, dx.clone());
        dy.zip_with(&dx, |dy, dx| *dy += dx)
    }

    fn absorb(&self, weights: &mut [T], trace: &Trace<T>) {
        self.inner.absorb(weights, trace);
    }
}
