//! Networks that give a flow its parameters.

use lookback_operator::Real;

use crate::layers::{Activation, Dense, Function, MaskedDense, Norm, Residual};
use crate::{Layer, Network};

/// Dense layers with residual blocks between: `hidden` numbers wide, `blocks` blocks of two layers; the last layer begins at zero.
pub(super) fn residual<T: Real>(
    inputs: usize,
    outputs: usize,
    hidden: usize,
    blocks: usize,
    function: Function,
) -> Network<T> {
    let dense = |inputs, outputs, std| Box::new(Dense::new(inputs, outputs, true, Norm::None, std));
    let mut layers: Vec<Box<dyn Layer<T>>> = vec![dense(inputs, hidden, None)];
    for _ in 0..blocks {
        let inner: Vec<Box<dyn Layer<T>>> = vec![
            Box::new(Activation::new(function, hidden)),
            dense(hidden, hidden, None),
            Box::new(Activation::new(function, hidden)),
            dense(hidden, hidden, Some(1e-3)),
        ];
        layers.push(Box::new(Residual::new(Network::new(hidden, inner))));
    }
    layers.push(Box::new(Activation::new(function, hidden)));
    layers.push(dense(hidden, outputs, Some(0.0)));
    Network::new(inputs, layers)
}

/// Masked dense layers: the `each` numbers of dimension `i` see the dimensions before it, and all of the context, which stands
/// after the dimensions (Germain et al. 2015, eq. 13).
pub(super) fn masked<T: Real>(
    (dimensions, context): (usize, usize),
    each: usize,
    hidden: &[usize],
    function: Function,
) -> Network<T> {
    // An input of degree d is seen by hidden numbers of at least that degree, and these by outputs of at least theirs.
    let input_degree = move |i: usize| if i < dimensions { i + 1 } else { 0 };
    let hidden_degree = move |i: usize| i % dimensions;
    let mut layers: Vec<Box<dyn Layer<T>>> = Vec::new();
    let mut width = dimensions + context;
    for (index, &size) in hidden.iter().enumerate() {
        let reaches = |i: usize, o: usize| {
            let degree = if index == 0 { input_degree(i) } else { hidden_degree(i) };
            degree <= hidden_degree(o)
        };
        layers.push(Box::new(MaskedDense::new(width, size, None, reaches)));
        layers.push(Box::new(Activation::new(function, size)));
        width = size;
    }
    let last = MaskedDense::new(width, dimensions * each, Some(0.0), |i, o| hidden_degree(i) <= o / each);
    layers.push(Box::new(last));
    Network::new(dimensions + context, layers)
}
