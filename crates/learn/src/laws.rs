//! The laws of layers: derivatives agree with differences, and the two modes with each other.

use lookback_operator::random::{Purpose, Stream};

use crate::Batch;
use crate::layer::{Layer, Mode, Trace};

/// Rows that a law is tried on.
const ROWS: usize = 5;

/// Checks `push` and `pull` against each other and against central differences, and the gradient of the weights against central
/// differences, in the mode given. The worst relative error must be below `tolerance`.
///
/// # Panics
/// If a law is broken; the message says which.
pub fn check(layer: &dyn Layer<f64>, weights: &[f64], mode: Mode, tolerance: f64) {
    let normal = |substream: u32, width: usize| {
        let mut data = vec![0.0; ROWS * width];
        Stream::new(11, Purpose::Test, substream).fill_normal(&mut data);
        Batch::new(width, data)
    };
    let (x, dx, cotangent) =
        (normal(0, layer.inputs()), normal(1, layer.inputs()), normal(2, layer.outputs()));
    let mut direction = vec![0.0; weights.len()];
    Stream::new(11, Purpose::Test, 3).fill_normal(&mut direction);
    freeze_statistics(layer, &mut direction);

    let value = |weights: &[f64], x: Batch<f64>| dot(&layer.forward(weights, x, mode).0, &cotangent);
    let (_, trace) = layer.forward(weights, x.clone(), mode);
    let mut gradient = vec![0.0; weights.len()];
    let pulled = layer.pull(weights, &trace, cotangent.clone(), Some(&mut gradient));

    let moved = |h: f64| x.clone().zip_with(&dx, |x, dx| *x += h * dx);
    compare(
        layer,
        "pull against differences",
        dot(&pulled, &dx),
        difference(|h| value(weights, moved(h))),
        tolerance,
    );
    let changed = |h: f64| weights.iter().zip(&direction).map(|(w, d)| w + h * d).collect::<Vec<f64>>();
    let along: f64 = gradient.iter().zip(&direction).map(|(a, b)| a * b).sum();
    compare(
        layer,
        "gradient of the weights",
        along,
        difference(|h| value(&changed(h), x.clone())),
        tolerance,
    );
    if matches!(mode, Mode::Frozen) {
        push_is_the_adjoint(layer, weights, &trace, (dx, cotangent, &pulled));
    }
}

fn push_is_the_adjoint(
    layer: &dyn Layer<f64>,
    weights: &[f64],
    trace: &Trace<f64>,
    (dx, cotangent, pulled): (Batch<f64>, Batch<f64>, &Batch<f64>),
) {
    let backward = dot(pulled, &dx);
    let forward = dot(&layer.push(weights, trace, dx), &cotangent);
    compare(layer, "push against pull", forward, backward, 1e-11);
}

/// Statistics have no gradient: the direction leaves them alone.
fn freeze_statistics(layer: &dyn Layer<f64>, direction: &mut [f64]) {
    let mut start = 0;
    for weight in layer.weights() {
        if weight.role == crate::layer::Role::Statistic {
            direction[start..start + weight.len()].fill(0.0);
        }
        start += weight.len();
    }
}

/// Fourth-order central difference.
fn difference(value: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (8.0 * (value(h) - value(-h)) - (value(2.0 * h) - value(-2.0 * h))) / (12.0 * h)
}

fn dot(a: &Batch<f64>, b: &Batch<f64>) -> f64 {
    lookback_operator::vector::dot(a.data(), b.data())
}

fn compare(layer: &dyn Layer<f64>, law: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error < tolerance, "{law}: {found} for {expected} in {layer:?}");
}
