//! Couplings: one half of the numbers says how the other half is warped (Dinh et al. 2017, RealNVP).

use std::ops::Range;

use lookback_operator::Real;
use rayon::prelude::*;

use super::{Bijection, Mapped, Warp, conditioner};
use crate::layer::{Layer, Mode, Trace, Weight};
use crate::layers::Function;
use crate::{Batch, Network};

/// `y_a = warp(x_a; network(x_p, context))`, and the passive half `x_p` as it is.
#[derive(Debug)]
pub struct Coupling<T: Real> {
    /// The half that is warped; the rest of the dimensions and the context are passive.
    active: Range<usize>,
    warp: Warp,
    network: Network<T>,
}

impl<T: Real> Coupling<T> {
    /// A coupling that warps the second half of the dimensions, or the first if `flipped`; the network has `blocks` residual
    /// blocks of `hidden` numbers.
    pub fn new(
        (dimensions, context): (usize, usize),
        flipped: bool,
        warp: Warp,
        (hidden, blocks): (usize, usize),
        function: Function,
    ) -> Coupling<T> {
        let middle = dimensions / 2;
        let active = if flipped { 0..middle } else { middle..dimensions };
        let inputs = dimensions + context - active.len();
        let network =
            conditioner::residual(inputs, active.len() * warp.parameters(), hidden, blocks, function);
        Coupling { active, warp, network }
    }

    /// The numbers that the network sees.
    fn passive(&self, x: &Batch<T>) -> Batch<T> {
        let width = x.width() - self.active.len();
        let rows = (0..x.rows()).flat_map(|row| {
            let row = x.row(row);
            [&row[..self.active.start], &row[self.active.end..]]
        });
        Batch::new(width, rows.flatten().copied().collect())
    }

    /// Adds to the passive numbers of every row.
    fn add_passive(&self, rows: &mut Batch<T>, add: &Batch<T>, sign: T) {
        for index in 0..rows.rows() {
            let (row, add) = (rows.row_mut(index), add.row(index));
            let (before, after) = add.split_at(self.active.start);
            row[..self.active.start].iter_mut().zip(before).for_each(|(a, &b)| *a += sign * b);
            row[self.active.end..].iter_mut().zip(after).for_each(|(a, &b)| *a += sign * b);
        }
    }

    /// Goes through the rows in parallel: the row, its raw parameters, its active numbers before the warp, its place.
    fn each_row<U: Send>(
        &self,
        rows: &mut Batch<T>,
        trace: &Trace<T>,
        task: impl Fn(&mut [T], &[T], &[T], usize) -> U + Sync,
    ) -> Vec<U> {
        let width = rows.width();
        let (raw, x) = (&trace.kept[0], &trace.kept[1]);
        rows.data_mut()
            .par_chunks_mut(width)
            .with_min_len(ROWS)
            .enumerate()
            .map(|(index, row)| task(&mut row[self.active.clone()], raw.row(index), x.row(index), index))
            .collect()
    }

    /// Slope of the warp of one number, and the derivative of its value along a change of its parameters.
    fn tangents(&self, raw: &[T], x: T, draw: &[T], scratch: &mut [T]) -> (T, T) {
        scratch.fill(T::zero());
        let slope = self.warp.pull(raw, x, T::one(), T::zero(), scratch);
        (slope, scratch.iter().zip(draw).map(|(&a, &b)| a * b).sum())
    }
}

/// Rows a task, at least.
const ROWS: usize = 8;

impl<T: Real> Bijection<T> for Coupling<T> {
    fn weights(&self) -> Vec<Weight> {
        self.network.weights()
    }

    fn forward(&self, weights: &[T], mut x: Batch<T>) -> Mapped<T> {
        let (raw, inner) = self.network.forward(weights, self.passive(&x), Mode::Frozen);
        let active = x.columns(self.active.start, self.active.end);
        let trace = Trace { kept: vec![raw, active], inner: vec![inner] };
        let each = self.warp.parameters();
        let log_det = self.each_row(&mut x, &trace, |row, raw, _, _| {
            let mut log_det = T::zero();
            for (x, raw) in row.iter_mut().zip(raw.chunks_exact(each)) {
                let (y, log_slope) = self.warp.evaluate(raw, *x);
                *x = y;
                log_det += log_slope;
            }
            log_det
        });
        Mapped { value: x, log_det, trace }
    }

    fn inverse(&self, weights: &[T], mut y: Batch<T>) -> Mapped<T> {
        let (raw, inner) = self.network.forward(weights, self.passive(&y), Mode::Frozen);
        let active = y.columns(self.active.start, self.active.end);
        let mut trace = Trace { kept: vec![raw, active], inner: vec![inner] };
        let each = self.warp.parameters();
        let log_det = self.each_row(&mut y, &trace, |row, raw, _, _| {
            let mut log_det = T::zero();
            for (y, raw) in row.iter_mut().zip(raw.chunks_exact(each)) {
                *y = self.warp.invert(raw, *y);
                log_det += self.warp.evaluate(raw, *y).1;
            }
            log_det
        });
        trace.kept[1] = y.columns(self.active.start, self.active.end);
        Mapped { value: y, log_det, trace }
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        mut dy: Batch<T>,
        dlog_det: &[T],
        gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        let each = self.warp.parameters();
        let draw = self.each_row(&mut dy, trace, |row, raw, x, index| {
            let mut draw = vec![T::zero(); raw.len()];
            let parameters = raw.chunks_exact(each).zip(draw.chunks_exact_mut(each));
            for ((dy, &x), (raw, draw)) in row.iter_mut().zip(x).zip(parameters) {
                *dy = self.warp.pull(raw, x, *dy, dlog_det[index], draw);
            }
            draw
        });
        let draw = Batch::new(each * self.active.len(), draw.concat());
        let dpassive = self.network.pull(weights, &trace.inner[0], draw, gradient);
        self.add_passive(&mut dy, &dpassive, T::one());
        dy
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, mut dx: Batch<T>) -> Batch<T> {
        let draw = self.network.push(weights, &trace.inner[0], self.passive(&dx));
        let each = self.warp.parameters();
        self.each_row(&mut dx, trace, |row, raw, x, index| {
            let mut scratch = vec![T::zero(); each];
            let parameters = raw.chunks_exact(each).zip(draw.row(index).chunks_exact(each));
            for ((dx, &x), (raw, draw)) in row.iter_mut().zip(x).zip(parameters) {
                let (slope, along) = self.tangents(raw, x, draw, &mut scratch);
                *dx = slope * *dx + along;
            }
        });
        dx
    }

    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, mut dx: Batch<T>) -> Batch<T> {
        let each = self.warp.parameters();
        let draw = self.each_row(&mut dx, trace, |row, raw, x, _| {
            let mut draw = vec![T::zero(); raw.len()];
            let parameters = raw.chunks_exact(each).zip(draw.chunks_exact_mut(each));
            for ((dx, &x), (raw, draw)) in row.iter_mut().zip(x).zip(parameters) {
                let slope = self.warp.pull(raw, x, T::one(), T::zero(), draw);
                *dx /= slope;
                draw.iter_mut().for_each(|draw| *draw *= *dx);
            }
            draw
        });
        let draw = Batch::new(each * self.active.len(), draw.concat());
        let dpassive = self.network.pull(weights, &trace.inner[0], draw, None);
        self.add_passive(&mut dx, &dpassive, -T::one());
        dx
    }

    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, mut dy: Batch<T>) -> Batch<T> {
        let draw = self.network.push(weights, &trace.inner[0], self.passive(&dy));
        let each = self.warp.parameters();
        self.each_row(&mut dy, trace, |row, raw, x, index| {
            let mut scratch = vec![T::zero(); each];
            let parameters = raw.chunks_exact(each).zip(draw.row(index).chunks_exact(each));
            for ((dy, &x), (raw, draw)) in row.iter_mut().zip(x).zip(parameters) {
                let (slope, along) = self.tangents(raw, x, draw, &mut scratch);
                *dy = (*dy - along) / slope;
            }
        });
        dy
    }
}
