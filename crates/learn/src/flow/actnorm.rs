//! Scale and shift of every number; first from data, so that what follows sees mean zero and variance one (Kingma & Dhariwal 2018).

use lookback_operator::Real;

use super::{Bijection, Mapped};
use crate::Batch;
use crate::batch::column_sums;
use crate::layer::{Begin, Role, Trace, Weight};

/// `y = exp(s) (x + t)`.
#[derive(Debug, Clone)]
pub struct ActNorm {
    dimensions: usize,
}

impl ActNorm {
    /// For rows that begin with so many numbers.
    pub fn new(dimensions: usize) -> ActNorm {
        ActNorm { dimensions }
    }

    fn scaled<T: Real>(&self, mut rows: Batch<T>, factors: impl Fn(usize) -> T) -> Batch<T> {
        let width = rows.width();
        let factors: Vec<T> = (0..self.dimensions).map(factors).collect();
        for row in rows.data_mut().chunks_exact_mut(width) {
            row.iter_mut().zip(&factors).for_each(|(x, &factor)| *x *= factor);
        }
        rows
    }

    fn shifted<T: Real>(&self, mut rows: Batch<T>, shift: impl Fn(usize) -> T) -> Batch<T> {
        let width = rows.width();
        for row in rows.data_mut().chunks_exact_mut(width) {
            row[..self.dimensions].iter_mut().enumerate().for_each(|(i, x)| *x += shift(i));
        }
        rows
    }

    fn log_det<T: Real>(&self, weights: &[T], rows: usize) -> Vec<T> {
        vec![weights[..self.dimensions].iter().copied().sum(); rows]
    }
}

impl<T: Real> Bijection<T> for ActNorm {
    fn weights(&self) -> Vec<Weight> {
        let array = |name| Weight::new(name, &[self.dimensions], Begin::Constant(0.0), Role::Vector);
        vec![array("log_scale"), array("shift")]
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        let (log_scale, shift) = weights.split_at(self.dimensions);
        let log_det = self.log_det(weights, x.rows());
        let y = self.scaled(self.shifted(x, |i| shift[i]), |i| log_scale[i].exp());
        Mapped { trace: Trace::of(vec![y.clone()]), value: y, log_det }
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        let (log_scale, shift) = weights.split_at(self.dimensions);
        let log_det = self.log_det(weights, y.rows());
        let trace = Trace::of(vec![y.clone()]);
        Mapped {
            value: self.shifted(self.scaled(y, |i| (-log_scale[i]).exp()), |i| -shift[i]),
            log_det,
            trace,
        }
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        if let Some(gradient) = gradient {
            let y = &trace.kept[0];
            let sums = column_sums::<2>(self.dimensions, dy.rows(), |row, sums| {
                for ([scale, shift], (dy, y)) in sums.iter_mut().zip(dy.row(row).iter().zip(y.row(row))) {
                    *scale += dy.f64() * y.f64() + dlog_det[row].f64();
                    *shift += dy.f64();
                }
            });
            for (i, [scale, shift]) in sums.into_iter().enumerate() {
                gradient[i] += T::of(scale);
                gradient[self.dimensions + i] += T::of(shift) * weights[i].exp();
            }
        }
        self.scaled(dy, |i| weights[i].exp())
    }

    fn push(&self, weights: &[T], _: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.scaled(dx, |i| weights[i].exp())
    }

    fn pull_inverse(&self, weights: &[T], _: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.scaled(dx, |i| (-weights[i]).exp())
    }

    fn push_inverse(&self, weights: &[T], _: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        self.scaled(dy, |i| (-weights[i]).exp())
    }

    fn prepare(&self, weights: &mut [T], x: &Batch<T>) {
        let n = x.rows() as f64;
        let sums = column_sums::<2>(self.dimensions, x.rows(), |row, sums| {
            for ([sum, square], x) in sums.iter_mut().zip(x.row(row)) {
                *sum += x.f64();
                *square += x.f64() * x.f64();
            }
        });
        for (i, [sum, square]) in sums.into_iter().enumerate() {
            let mean = sum / n;
            let variance = (square / n - mean * mean).max(1e-12);
            weights[i] = T::of(-0.5 * variance.ln());
            weights[self.dimensions + i] = T::of(-mean);
        }
    }
}
