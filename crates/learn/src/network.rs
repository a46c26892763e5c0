//! Layers one after the other.

use lookback_operator::Real;

use crate::Batch;
use crate::layer::{Layer, Mode, Trace, Weight};

/// A sequence of layers, which is a layer itself.
#[derive(Debug)]
pub struct Network<T: Real> {
    inputs: usize,
    layers: Vec<Box<dyn Layer<T>>>,
    /// Where the weights of each layer begin, and where those of the last end.
    starts: Vec<usize>,
}

impl<T: Real> Network<T> {
    /// Layers in the order in which they act; none is the identity on `inputs` numbers.
    ///
    /// # Panics
    /// If a layer does not take what the one before it gives.
    pub fn new(inputs: usize, layers: Vec<Box<dyn Layer<T>>>) -> Network<T> {
        let mut width = inputs;
        let mut starts = vec![0];
        for layer in &layers {
            assert_eq!(layer.inputs(), width, "a layer after one that gives {width} numbers");
            width = layer.outputs();
            starts.push(starts[starts.len() - 1] + Weight::total(&layer.weights()));
        }
        Network { inputs, layers, starts }
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.starts[self.layers.len()]
    }

    /// True if nothing can be trained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each layer, and where its weights lie.
    fn parts(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&dyn Layer<T>, std::ops::Range<usize>)> + ExactSizeIterator {
        self.layers.iter().enumerate().map(|(i, layer)| (&**layer, self.starts[i]..self.starts[i + 1]))
    }

    /// The value alone, frozen.
    pub fn apply(&self, weights: &[T], x: Batch<T>) -> Batch<T> {
        self.parts().fold(x, |x, (layer, range)| layer.forward(&weights[range], x, Mode::Frozen).0)
    }
}

impl<T: Real> Layer<T> for Network<T> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.layers.last().map_or(self.inputs, |layer| layer.outputs())
    }

    fn weights(&self) -> Vec<Weight> {
        let mut all = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            all.extend(layer.weights().into_iter().map(|weight| weight.within(index)));
        }
        all
    }

    fn forward(&self, weights: &[T], mut x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        let mut inner = Vec::with_capacity(self.layers.len());
        for (layer, range) in self.parts() {
            let (y, trace) = layer.forward(&weights[range], x, mode);
            inner.push(trace);
            x = y;
        }
        (x, Trace { kept: Vec::new(), inner })
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        mut dy: Batch<T>,
        mut gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        for ((layer, range), trace) in self.parts().zip(&trace.inner).rev() {
            let gradient = gradient.as_deref_mut().map(|gradient| &mut gradient[range.clone()]);
            dy = layer.pull(&weights[range], trace, dy, gradient);
        }
        dy
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.parts()
            .zip(&trace.inner)
            .fold(dx, |dx, ((layer, range), trace)| layer.push(&weights[range], trace, dx))
    }

    fn absorb(&self, weights: &mut [T], trace: &Trace<T>) {
        for ((layer, range), trace) in self.parts().zip(&trace.inner) {
            layer.absorb(&mut weights[range], trace);
        }
    }
}
