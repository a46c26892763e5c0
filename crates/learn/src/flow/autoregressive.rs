//! Autoregressive flows: every number is warped as the numbers before it say (Papamakarios et al. 2017, MAF).

use lookback_operator::Real;
use rayon::prelude::*;

use super::{Bijection, Mapped, Warp, conditioner};
use crate::layer::{Layer, Mode, Trace, Weight};
use crate::layers::Function;
use crate::{Batch, Network};

/// `y_i = warp(x_i; network(x_1 ... x_(i-1), context))`.
///
/// One pass of the network from data to normal numbers; the inverse, and its derivatives, need one for each dimension. When not
/// to use it: as a prior within a sampler, where a coupling is as many times quicker as there are dimensions.
#[derive(Debug)]
pub struct Autoregressive<T: Real> {
    dimensions: usize,
    /// The dimensions are taken from the last to the first.
    reversed: bool,
    warp: Warp,
    network: Network<T>,
}

impl<T: Real> Autoregressive<T> {
    /// An autoregressive step with hidden layers of these sizes.
    pub fn new(
        (dimensions, context): (usize, usize),
        reversed: bool,
        warp: Warp,
        hidden: &[usize],
        function: Function,
    ) -> Autoregressive<T> {
        let network = conditioner::masked((dimensions, context), warp.parameters(), hidden, function);
        Autoregressive { dimensions, reversed, warp, network }
    }

    /// The rows with their dimensions in the order of the network, which is its own inverse.
    fn ordered(&self, mut x: Batch<T>) -> Batch<T> {
        if self.reversed {
            let width = x.width();
            x.data_mut().chunks_exact_mut(width).for_each(|row| row[..self.dimensions].reverse());
        }
        x
    }

    /// Changes the dimensions of every row by a function of the number, its parameters and its value before the warp.
    fn each(&self, mut rows: Batch<T>, change: impl Fn(T, usize, usize) -> T + Sync) -> Batch<T> {
        let width = rows.width();
        rows.data_mut().par_chunks_mut(width).enumerate().for_each(|(row, numbers)| {
            numbers[..self.dimensions].iter_mut().enumerate().for_each(|(i, x)| *x = change(*x, row, i));
        });
        rows
    }

    fn raw<'a>(&self, raw: &'a Batch<T>, row: usize, i: usize) -> &'a [T] {
        let each = self.warp.parameters();
        &raw.row(row)[i * each..(i + 1) * each]
    }

    /// The slopes of all warps, and the derivatives of the values with respect to their parameters.
    fn slopes(&self, trace: &Trace<T>) -> (Batch<T>, Batch<T>) {
        let (raw, x) = (&trace.kept[0], &trace.kept[1]);
        let each = self.warp.parameters();
        let mut by_raw = Batch::zeros(raw.rows(), raw.width());
        let mut slopes = Batch::zeros(raw.rows(), self.dimensions);
        let rows = by_raw.data_mut().par_chunks_mut(raw.width());
        rows.zip(slopes.data_mut().par_chunks_mut(self.dimensions)).enumerate().for_each(
            |(row, (by_raw, slopes))| {
                for (i, (by_raw, slope)) in by_raw.chunks_exact_mut(each).zip(slopes).enumerate() {
                    *slope =
                        self.warp.pull(self.raw(raw, row, i), x.row(row)[i], T::one(), T::zero(), by_raw);
                }
            },
        );
        (slopes, by_raw)
    }

    /// What a change of all that the network sees does to the values, slopes aside.
    fn through_network(&self, weights: &[T], trace: &Trace<T>, by_raw: &Batch<T>, dx: Batch<T>) -> Batch<T> {
        let draw = self.network.push(weights, &trace.inner[0], dx);
        let each = self.warp.parameters();
        let sums = by_raw.data().chunks_exact(each).zip(draw.data().chunks_exact(each));
        let data = sums.map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| a * b).sum()).collect();
        Batch::new(self.dimensions, data)
    }

    /// The adjoint of [`through_network`](Autoregressive::through_network).
    fn through_network_adjoint(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        by_raw: &Batch<T>,
        dy: &Batch<T>,
    ) -> Batch<T> {
        let each = self.warp.parameters();
        let rows = (0..dy.rows()).flat_map(|row| {
            let by_raw = by_raw.row(row).chunks_exact(each);
            by_raw.zip(dy.row(row)).flat_map(|(by_raw, &dy)| by_raw.iter().map(move |&by| by * dy))
        });
        let draw = Batch::new(by_raw.width(), rows.collect());
        self.network.pull(weights, &trace.inner[0], draw, None)
    }

    fn traced(&self, weights: &[T], x: Batch<T>) -> Trace<T> {
        let (raw, inner) = self.network.forward(weights, x.clone(), Mode::Frozen);
        Trace { kept: vec![raw, x], inner: vec![inner] }
    }

    fn log_det(&self, trace: &Trace<T>) -> Vec<T> {
        let (raw, x) = (&trace.kept[0], &trace.kept[1]);
        let row = |row| {
            let one = |i| self.warp.evaluate(self.raw(raw, row, i), x.row(row)[i]).1;
            (0..self.dimensions).map(one).sum()
        };
        (0..x.rows()).into_par_iter().map(row).collect()
    }
}

impl<T: Real> Bijection<T> for Autoregressive<T> {
    fn weights(&self) -> Vec<Weight> {
        self.network.weights()
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        let x = self.ordered(x);
        let trace = self.traced(weights, x.clone());
        let log_det = self.log_det(&trace);
        let y = self.each(x, |x, row, i| self.warp.evaluate(self.raw(&trace.kept[0], row, i), x).0);
        Mapped { value: self.ordered(y), log_det, trace }
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        let y = self.ordered(y);
        let mut x = y.clone();
        for i in 0..self.dimensions {
            let raw = self.network.apply(weights, x.clone());
            for row in 0..y.rows() {
                x.row_mut(row)[i] = self.warp.invert(self.raw(&raw, row, i), y.row(row)[i]);
            }
        }
        let trace = self.traced(weights, x.clone());
        Mapped { value: self.ordered(x), log_det: self.log_det(&trace), trace }
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        let mut dy = self.ordered(dy);
        let (raw, x) = (&trace.kept[0], &trace.kept[1]);
        let each = self.warp.parameters();
        let mut draw = Batch::zeros(raw.rows(), raw.width());
        let width = dy.width();
        let rows = draw.data_mut().par_chunks_mut(raw.width()).zip(dy.data_mut().par_chunks_mut(width));
        rows.enumerate().for_each(|(row, (draw, dy))| {
            for (i, (draw, dy)) in draw.chunks_exact_mut(each).zip(dy).enumerate() {
                *dy = self.warp.pull(self.raw(raw, row, i), x.row(row)[i], *dy, dlog_det[row], draw);
            }
        });
        let through = self.network.pull(weights, &trace.inner[0], draw, gradient);
        self.ordered(dy.zip_with(&through, |dy, through| *dy += through))
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let dx = self.ordered(dx);
        let (slopes, by_raw) = self.slopes(trace);
        let through = self.through_network(weights, trace, &by_raw, dx.clone());
        self.ordered(self.each(dx, |dx, row, i| slopes.row(row)[i] * dx + through.row(row)[i]))
    }

    /// The Jacobian is a triangle, `J = S + A` with `A^dimensions = 0`, so that `dy <- S^-1 (dx - A^T dy)` ends at the solution.
    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let dx = self.ordered(dx);
        let (slopes, by_raw) = self.slopes(trace);
        let mut dy = dx.columns(0, self.dimensions);
        let mut rest = dx.clone();
        for _ in 0..self.dimensions {
            for row in 0..dy.rows() {
                let (rest, slopes) = (rest.row(row), slopes.row(row));
                dy.row_mut(row).iter_mut().zip(rest).zip(slopes).for_each(|((dy, &r), &s)| *dy = r / s);
            }
            let through = self.through_network_adjoint(weights, trace, &by_raw, &dy);
            rest = dx.clone().zip_with(&through, |rest, through| *rest -= through);
        }
        // The context takes what is left; the dimensions what the loop has found.
        for row in 0..dy.rows() {
            rest.row_mut(row)[..self.dimensions].copy_from_slice(dy.row(row));
        }
        self.ordered(rest)
    }

    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        let dy = self.ordered(dy);
        let (slopes, by_raw) = self.slopes(trace);
        let mut dx = dy.clone();
        for _ in 0..self.dimensions {
            let through = self.through_network(weights, trace, &by_raw, dx);
            dx = self.each(dy.clone(), |dy, row, i| (dy - through.row(row)[i]) / slopes.row(row)[i]);
        }
        self.ordered(dx)
    }
}
