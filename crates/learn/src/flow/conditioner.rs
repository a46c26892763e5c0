//! Networks that give a flow its parameters.

use lookback_operator::Real;

use crate::layers::{Activation, Function, MaskedDense, Norm};
use crate::{Layer, LayerSection, Network, Shape, architecture};

/// Dense layers with residual blocks between: `hidden` numbers wide, `blocks` blocks of two layers; the last layer begins at zero.
pub(crate) fn layers(outputs: usize, hidden: usize, blocks: usize, function: Function) -> Vec<LayerSection> {
    let dense = |outputs, std| LayerSection::Dense { outputs, norm: Norm::None, std };
    let activation = || LayerSection::Activation { function };
    let block = vec![activation(), dense(hidden, None), activation(), dense(hidden, Some(1e-3))];
    let mut all = vec![dense(hidden, None)];
    all.extend((0..blocks).map(|_| LayerSection::Residual { layers: block.clone() }));
    all.extend([activation(), dense(outputs, Some(0.0))]);
    all
}

/// The network of [`layers`].
pub(super) fn residual<T: Real>(
    inputs: usize,
    outputs: usize,
    hidden: usize,
    blocks: usize,
    function: Function,
) -> Network<T> {
    let layers = layers(outputs, hidden, blocks, function);
    architecture::build(Shape::Row(inputs), &layers).expect("layers that take what they are given").0
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
    // Few hidden numbers have degrees of the whole range, too.
    let hidden_degree = move |i: usize, of: usize| {
        if of < dimensions { i * (dimensions - 1) / (of - 1).max(1) } else { i % dimensions }
    };
    let mut layers: Vec<Box<dyn Layer<T>>> = Vec::new();
    let mut width = dimensions + context;
    for (index, &size) in hidden.iter().enumerate() {
        let reaches = |i: usize, o: usize| {
            let degree = if index == 0 { input_degree(i) } else { hidden_degree(i, width) };
            degree <= hidden_degree(o, size)
        };
        layers.push(Box::new(MaskedDense::new(width, size, None, reaches)));
        layers.push(Box::new(Activation::new(function, size)));
        width = size;
    }
    let last =
        MaskedDense::new(width, dimensions * each, Some(0.0), |i, o| hidden_degree(i, width) <= o / each);
    layers.push(Box::new(last));
    Network::new(dimensions + context, layers)
}
