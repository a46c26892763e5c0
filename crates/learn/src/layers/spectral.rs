//! Spectral normalisation: weights divided by their largest singular value (Miyato et al. 2018, algorithm 1).

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use crate::Batch;
use crate::layer::{Begin, Mode, Role, Trace, Weight};
use crate::product::{Matrix, Threads, multiply};

/// What the weights of a layer are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// By one.
    #[default]
    None,
    /// By the largest singular value, from one step of the power iteration at each step of the training.
    Spectral,
}

/// The direction that the power iteration remembers, an array of the layer.
pub(super) fn weight(norm: Norm, outputs: usize) -> Option<Weight> {
    (norm == Norm::Spectral)
        .then(|| Weight::new("direction", &[outputs], Begin::Normal(1.0), Role::Statistic))
}

/// Measures the norm and leaves it in the trace: the two singular directions and the inverse singular value.
///
/// With `W` of shape (inputs, outputs): `u = W d / |W d|`, `v = W^T u / |W^T u|`, `s = u^T W v`.
pub(super) fn measure<T: Real>(
    norm: Norm,
    kernel: Matrix<'_, T>,
    direction: &[T],
    mode: Mode,
    trace: &mut Trace<T>,
) {
    if norm == Norm::None {
        return;
    }
    let left = unit(times(kernel, direction));
    let along = times(kernel.transposed(), &left);
    // Frozen weights take the direction as it stands: the norm is a constant then.
    let right = match mode {
        Mode::Frozen => unit(direction.to_vec()),
        Mode::Training { .. } => unit(along.clone()),
    };
    let largest: f64 = along.iter().zip(&right).map(|(a, b)| a.f64() * b.f64()).sum();
    trace.kept.push(Batch::new(left.len(), left));
    trace.kept.push(Batch::new(right.len(), right));
    trace.kept.push(Batch::new(1, vec![T::of(1.0 / largest.max(f64::MIN_POSITIVE))]));
}

/// What the product with the weights is multiplied by; `at` is where [`measure`] left its arrays.
pub(super) fn gain<T: Real>(norm: Norm, trace: &Trace<T>, at: usize) -> T {
    match norm {
        Norm::None => T::one(),
        Norm::Spectral => trace.kept[at + 2].data()[0],
    }
}

/// Adds the gradient of the weights, from that of the weights over their norm, which `product` computes:
/// `dW += (D - <D, W> u v^T / s) / s`.
pub(super) fn add_gradient<T: Real>(
    norm: Norm,
    trace: &Trace<T>,
    at: usize,
    kernel: Matrix<'_, T>,
    gradient: &mut [T],
    product: impl FnOnce(&mut [T], bool),
) {
    if norm == Norm::None {
        product(gradient, true);
        return;
    }
    let mut plain = vec![T::zero(); gradient.len()];
    product(&mut plain, false);
    let (left, right) = (trace.kept[at].data(), trace.kept[at + 1].data());
    let gain = gain(norm, trace, at);
    let along = T::of(lookback_operator::vector::dot(&plain, kernel.data())) * gain;
    for ((gradient, plain), &left) in
        gradient.chunks_exact_mut(right.len()).zip(plain.chunks_exact(right.len())).zip(left)
    {
        for ((gradient, &plain), &right) in gradient.iter_mut().zip(plain).zip(right) {
            *gradient += gain * (plain - along * left * right);
        }
    }
}

/// Takes the new direction.
pub(super) fn absorb<T: Real>(norm: Norm, direction: &mut [T], trace: &Trace<T>, at: usize) {
    if norm == Norm::Spectral {
        direction.copy_from_slice(trace.kept[at + 1].data());
    }
}

fn times<T: Real>(matrix: Matrix<'_, T>, vector: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); matrix.rows()];
    multiply(&mut out, false, matrix, Matrix::new(vector, vector.len(), 1), Threads::One);
    out
}

fn unit<T: Real>(mut vector: Vec<T>) -> Vec<T> {
    let length = lookback_operator::vector::norm2(&vector).sqrt().max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|x| *x /= T::of(length));
    vector
}
