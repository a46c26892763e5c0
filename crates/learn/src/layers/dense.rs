//! Full connection: `y = x W + b`.

use lookback_operator::Real;

use super::spectral::{self, Norm};
use crate::Batch;
use crate::batch::column_sums;
use crate::layer::{Begin, Layer, Mode, Role, Trace, Weight};
use crate::product::{Matrix, Threads, multiply};

/// `y = x W / s + b`, with `W` of shape (inputs, outputs); `s` is one, or the largest singular value of `W`.
#[derive(Debug, Clone)]
pub struct Dense {
    inputs: usize,
    outputs: usize,
    bias: bool,
    norm: Norm,
    std: f64,
}

impl Dense {
    /// A layer whose first weights are normal with standard deviation `std`; `sqrt(2 / inputs)` (He et al. 2015, eq. 10) if `None`.
    pub fn new(inputs: usize, outputs: usize, bias: bool, norm: Norm, std: Option<f64>) -> Dense {
        let std = std.unwrap_or_else(|| (2.0 / inputs as f64).sqrt());
        Dense { inputs, outputs, bias, norm, std }
    }

    fn matrix(&self) -> usize {
        self.inputs * self.outputs
    }

    fn bias_range(&self) -> std::ops::Range<usize> {
        self.matrix()..self.matrix() + if self.bias { self.outputs } else { 0 }
    }

    fn kernel<'a, T>(&self, weights: &'a [T]) -> Matrix<'a, T> {
        Matrix::new(&weights[..self.matrix()], self.inputs, self.outputs)
    }

    fn gain<T: Real>(&self, trace: &Trace<T>) -> T {
        spectral::gain(self.norm, trace, 1)
    }
}

impl<T: Real> Layer<T> for Dense {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn weights(&self) -> Vec<Weight> {
        let mut all =
            vec![Weight::new("weight", &[self.inputs, self.outputs], Begin::Normal(self.std), Role::Matrix)];
        if self.bias {
            all.push(Weight::new("bias", &[self.outputs], Begin::Constant(0.0), Role::Vector));
        }
        all.extend(spectral::weight(self.norm, self.outputs));
        all
    }

    fn forward(&self, weights: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        let rows = x.rows();
        let mut y = Batch::zeros(rows, self.outputs);
        multiply(
            y.data_mut(),
            false,
            Matrix::new(x.data(), rows, self.inputs),
            self.kernel(weights),
            Threads::All,
        );
        let mut trace = Trace::of(vec![x]);
        let direction = &weights[self.bias_range().end..];
        spectral::measure(self.norm, self.kernel(weights), direction, mode, &mut trace);
        add_bias(&mut y, self.gain(&trace), &weights[self.bias_range()]);
        (y, trace)
    }

    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T> {
        let rows = dy.rows();
        let gain = self.gain(trace);
        if let Some(gradient) = gradient {
            let (kernel, rest) = gradient.split_at_mut(self.matrix());
            add_column_sums(&dy, &mut rest[..self.bias_range().len()]);
            let x = Matrix::new(trace.kept[0].data(), rows, self.inputs).transposed();
            let dy = Matrix::new(dy.data(), rows, self.outputs);
            spectral::add_gradient(self.norm, trace, 1, self.kernel(weights), kernel, |out, add| {
                multiply(out, add, x, dy, Threads::All);
            });
        }
        let mut dx = Batch::zeros(rows, self.inputs);
        let dy = Matrix::new(dy.data(), rows, self.outputs);
        multiply(dx.data_mut(), false, dy, self.kernel(weights).transposed(), Threads::All);
        scaled(dx, gain)
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let rows = dx.rows();
        let mut dy = Batch::zeros(rows, self.outputs);
        multiply(
            dy.data_mut(),
            false,
            Matrix::new(dx.data(), rows, self.inputs),
            self.kernel(weights),
            Threads::All,
        );
        scaled(dy, self.gain(trace))
    }

    fn absorb(&self, weights: &mut [T], trace: &Trace<T>) {
        spectral::absorb(self.norm, &mut weights[self.bias_range().end..], trace, 1);
    }
}

/// `a x`.
pub(super) fn scaled<T: Real>(x: Batch<T>, a: T) -> Batch<T> {
    if a == T::one() { x } else { x.map(|x| *x *= a) }
}

/// `y = gain y + bias` in groups of as many columns as there are biases.
pub(crate) fn add_bias<T: Real>(y: &mut Batch<T>, gain: T, bias: &[T]) {
    if bias.is_empty() {
        *y = scaled(std::mem::take(y), gain);
        return;
    }
    use rayon::prelude::*;
    let columns = bias.len();
    let rows_a_task = (1 << 14) / columns + 1;
    y.data_mut().par_chunks_mut(columns * rows_a_task).for_each(|part| {
        for y in part.chunks_exact_mut(columns) {
            y.iter_mut().zip(bias).for_each(|(y, &bias)| *y = gain * *y + bias);
        }
    });
}

/// Adds the sums over the rows of `dy`, and over its groups of columns, to the gradient of a bias.
pub(crate) fn add_column_sums<T: Real>(dy: &Batch<T>, gradient: &mut [T]) {
    let columns = gradient.len();
    if columns == 0 {
        return;
    }
    let data = dy.data();
    let sums = column_sums::<1>(columns, data.len() / columns, |row, sums| {
        let dy = &data[row * columns..(row + 1) * columns];
        sums.iter_mut().zip(dy).for_each(|([sum], dy)| *sum += dy.f64());
    });
    gradient.iter_mut().zip(sums).for_each(|(gradient, [sum])| *gradient += T::of(sum));
}
