//! A matrix as the product of a lower and an upper triangle, which mixes all numbers (Kingma & Dhariwal 2018; Oliva et al. 2018).

use lookback_operator::Real;
use rayon::prelude::*;

use super::{Bijection, Mapped};
use crate::Batch;
use crate::layer::{Begin, Role, Trace, Weight};
use crate::product::{Matrix, Threads, multiply};

/// `y = L U x + b`: `L` with ones on its diagonal, `U` with the exponentials of `log_diagonal`.
#[derive(Debug, Clone)]
pub struct LowerUpper {
    dimensions: usize,
    /// The dimensions are turned about first, so that a chain of triangles reaches everything.
    reversed: bool,
}

/// One triangle of a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

impl LowerUpper {
    /// For rows that begin with so many numbers; they are taken from the last to the first if `reversed`.
    pub fn new(dimensions: usize, reversed: bool) -> LowerUpper {
        LowerUpper { dimensions, reversed }
    }

    fn len(&self) -> usize {
        self.dimensions * self.dimensions
    }

    /// Both triangles, the diagonals within.
    fn triangles<T: Real>(&self, weights: &[T]) -> [Vec<T>; 2] {
        let n = self.dimensions;
        let part = |side: usize| &weights[side * self.len()..(side + 1) * self.len()];
        let log_diagonal = &weights[2 * self.len()..];
        let lower = |at: usize| match (at / n).cmp(&(at % n)) {
            std::cmp::Ordering::Greater => part(0)[at],
            std::cmp::Ordering::Equal => T::one(),
            std::cmp::Ordering::Less => T::zero(),
        };
        let upper = |at: usize| match (at / n).cmp(&(at % n)) {
            std::cmp::Ordering::Less => part(1)[at],
            std::cmp::Ordering::Equal => log_diagonal[at / n].exp(),
            std::cmp::Ordering::Greater => T::zero(),
        };
        [(0..self.len()).map(lower).collect(), (0..self.len()).map(upper).collect()]
    }

    /// `matrix x` for every row, or with the transpose.
    fn times<T: Real>(&self, matrix: &[T], transposed: bool, rows: &Batch<T>) -> Batch<T> {
        let n = self.dimensions;
        let mut out = Batch::zeros(rows.rows(), n);
        let matrix = Matrix::new(matrix, n, n);
        // Rows hold x, and y^T = x^T M^T.
        let matrix = if transposed { matrix } else { matrix.transposed() };
        multiply(out.data_mut(), false, Matrix::new(rows.data(), rows.rows(), n), matrix, Threads::All);
        out
    }

    /// The solution of `triangle out = row` for every row, or with the transpose.
    fn solve<T: Real>(&self, triangle: &[T], side: Side, transposed: bool, mut rows: Batch<T>) -> Batch<T> {
        let n = self.dimensions;
        // A lower triangle, and the transpose of an upper one, are solved from the first number to the last.
        let upwards = (side == Side::Lower) != transposed;
        let entry = |i: usize, j: usize| if transposed { triangle[j * n + i] } else { triangle[i * n + j] };
        rows.data_mut().par_chunks_mut(n).with_min_len(16).for_each(|row| {
            for step in 0..n {
                let i = if upwards { step } else { n - 1 - step };
                let known = if upwards { 0..i } else { i + 1..n };
                let sum: T = known.map(|j| entry(i, j) * row[j]).sum();
                row[i] = (row[i] - sum) / entry(i, i);
            }
        });
        rows
    }

    /// The dimensions of every row, in the order of the matrix.
    fn taken<T: Real>(&self, rows: &Batch<T>) -> Batch<T> {
        let mut taken = rows.columns(0, self.dimensions);
        if self.reversed {
            taken.data_mut().chunks_exact_mut(self.dimensions).for_each(<[T]>::reverse);
        }
        taken
    }

    /// The numbers put back as they are, beside the context of `rows`.
    fn put<T: Real>(&self, mut rows: Batch<T>, numbers: &Batch<T>, turned: bool) -> Batch<T> {
        for index in 0..rows.rows() {
            let row = &mut rows.row_mut(index)[..self.dimensions];
            row.copy_from_slice(numbers.row(index));
            if turned && self.reversed {
                row.reverse();
            }
        }
        rows
    }

    fn log_det<T: Real>(&self, weights: &[T], rows: usize) -> Vec<T> {
        let range = 2 * self.len()..2 * self.len() + self.dimensions;
        vec![weights[range].iter().copied().sum(); rows]
    }

    fn bias<'a, T>(&self, weights: &'a [T]) -> &'a [T] {
        &weights[2 * self.len() + self.dimensions..]
    }
}

impl<T: Real> Bijection<T> for LowerUpper {
    fn weights(&self) -> Vec<Weight> {
        let n = self.dimensions;
        let array = |name, shape: &[usize]| Weight::new(name, shape, Begin::Constant(0.0), Role::Vector);
        vec![
            array("lower", &[n, n]),
            array("upper", &[n, n]),
            array("log_diagonal", &[n]),
            array("bias", &[n]),
        ]
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        let [lower, upper] = self.triangles(weights);
        let log_det = self.log_det(weights, x.rows());
        let taken = self.taken(&x);
        let middle = self.times(&upper, false, &taken);
        let mut y = self.times(&lower, false, &middle);
        let bias = self.bias(weights);
        y.data_mut()
            .chunks_exact_mut(bias.len())
            .for_each(|y| y.iter_mut().zip(bias).for_each(|(y, &b)| *y += b));
        Mapped { value: self.put(x, &y, false), log_det, trace: Trace::of(vec![taken, middle]) }
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        let [lower, upper] = self.triangles(weights);
        let log_det = self.log_det(weights, y.rows());
        let bias = self.bias(weights);
        let mut middle = y.columns(0, self.dimensions);
        let rows = middle.data_mut().chunks_exact_mut(bias.len());
        rows.for_each(|y| y.iter_mut().zip(bias).for_each(|(y, &b)| *y -= b));
        let middle = self.solve(&lower, Side::Lower, false, middle);
        let taken = self.solve(&upper, Side::Upper, false, middle.clone());
        Mapped { value: self.put(y, &taken, true), log_det, trace: Trace::of(vec![taken, middle]) }
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        let n = self.dimensions;
        let [lower, upper] = self.triangles(weights);
        let dout = dy.columns(0, n);
        let dmiddle = self.times(&lower, true, &dout);
        if let Some(gradient) = gradient {
            let (taken, middle) = (&trace.kept[0], &trace.kept[1]);
            let outer = |a: &Batch<T>, b: &Batch<T>| {
                let mut out = vec![T::zero(); n * n];
                let (a, b) = (Matrix::new(a.data(), a.rows(), n), Matrix::new(b.data(), b.rows(), n));
                multiply(&mut out, false, a.transposed(), b, Threads::All);
                out
            };
            let (dlower, dupper) = (outer(&dout, middle), outer(&dmiddle, taken));
            for at in 0..n * n {
                let (i, j) = (at / n, at % n);
                match i.cmp(&j) {
                    std::cmp::Ordering::Greater => gradient[at] += dlower[at],
                    std::cmp::Ordering::Less => gradient[n * n + at] += dupper[at],
                    std::cmp::Ordering::Equal => gradient[2 * n * n + i] += dupper[at] * upper[at],
                }
            }
            let total: f64 = dlog_det.iter().map(|x| x.f64()).sum();
            gradient[2 * n * n..2 * n * n + n].iter_mut().for_each(|g| *g += T::of(total));
            let bias = &mut gradient[2 * n * n + n..];
            for dy in dout.data().chunks_exact(n) {
                bias.iter_mut().zip(dy).for_each(|(b, &dy)| *b += dy);
            }
        }
        let dx = self.times(&upper, true, &dmiddle);
        self.put(dy, &dx, true)
    }

    fn push(&self, weights: &[T], _: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let [lower, upper] = self.triangles(weights);
        let dy = self.times(&lower, false, &self.times(&upper, false, &self.taken(&dx)));
        self.put(dx, &dy, false)
    }

    fn pull_inverse(&self, weights: &[T], _: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let [lower, upper] = self.triangles(weights);
        let middle = self.solve(&upper, Side::Upper, true, self.taken(&dx));
        let dy = self.solve(&lower, Side::Lower, true, middle);
        self.put(dx, &dy, false)
    }

    fn push_inverse(&self, weights: &[T], _: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        let [lower, upper] = self.triangles(weights);
        let middle = self.solve(&lower, Side::Lower, false, dy.columns(0, self.dimensions));
        let dx = self.solve(&upper, Side::Upper, false, middle);
        self.put(dy, &dx, true)
    }
}
