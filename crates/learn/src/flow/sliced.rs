//! Sliced iterative flows: no gradient descent, but one direction after the other (Dai & Seljak 2021, SINF).

use lookback_operator::Real;
use lookback_operator::random::{Purpose, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::knots::{Knots, gaussianising_spline, normal_quantile, transporting_spline};
use super::{Bijection, FlowSection, Mapped, description::BijectionSection};
use crate::layer::{Begin, Role, Trace, Weight};
use crate::layers::Function;
use crate::product::{Matrix, Threads, multiply};
use crate::{Batch, Error, Result};

/// `y = x + A (s(A^T x) - A^T x)`: along the orthonormal columns of `A`, every number is warped by a spline of its own.
#[derive(Debug, Clone)]
pub struct Sliced {
    dimensions: usize,
    axes: usize,
    knots: usize,
}

impl Sliced {
    /// A step along `axes` directions with splines of so many knots.
    pub fn new(dimensions: usize, axes: usize, knots: usize) -> Sliced {
        Sliced { dimensions, axes, knots }
    }

    fn knots<'a, T>(&self, weights: &'a [T], axis: usize) -> Knots<'a, T> {
        let begin = self.dimensions * self.axes;
        let part = |array: usize| {
            let start = begin + (array * self.axes + axis) * self.knots;
            &weights[start..start + self.knots]
        };
        Knots { x: part(0), y: part(1), slope: part(2) }
    }

    /// `A^T x` of every row.
    fn projected<T: Real>(&self, weights: &[T], x: &Batch<T>) -> Batch<T> {
        let taken = x.columns(0, self.dimensions);
        let mut out = Batch::zeros(x.rows(), self.axes);
        let axes = Matrix::new(&weights[..self.dimensions * self.axes], self.dimensions, self.axes);
        multiply(
            out.data_mut(),
            false,
            Matrix::new(taken.data(), x.rows(), self.dimensions),
            axes,
            Threads::All,
        );
        out
    }

    /// `x + A c` for every row.
    fn moved<T: Real>(&self, weights: &[T], mut x: Batch<T>, change: &Batch<T>) -> Batch<T> {
        let mut add = Batch::zeros(x.rows(), self.dimensions);
        let axes =
            Matrix::new(&weights[..self.dimensions * self.axes], self.dimensions, self.axes).transposed();
        multiply(add.data_mut(), false, Matrix::new(change.data(), x.rows(), self.axes), axes, Threads::All);
        for row in 0..x.rows() {
            x.row_mut(row).iter_mut().zip(add.row(row)).for_each(|(x, &add)| *x += add);
        }
        x
    }

    /// `(1 + A (f - 1) A^T) x` for every row, with a factor for every axis and row.
    fn stretched<T: Real>(&self, weights: &[T], x: Batch<T>, factor: impl Fn(usize, usize) -> T) -> Batch<T> {
        let mut along = self.projected(weights, &x);
        for row in 0..x.rows() {
            let numbers = along.row_mut(row).iter_mut().enumerate();
            numbers.for_each(|(axis, c)| *c *= factor(row, axis) - T::one());
        }
        self.moved(weights, x, &along)
    }

    fn slope<T: Real>(&self, weights: &[T], trace: &Trace<T>, row: usize, axis: usize) -> T {
        self.knots(weights, axis).derivatives(trace.kept[0].row(row)[axis]).0
    }
}

impl<T: Real> Bijection<T> for Sliced {
    fn weights(&self) -> Vec<Weight> {
        let array =
            |name, shape: [usize; 2]| Weight::new(name, &shape, Begin::Constant(0.0), Role::Statistic);
        let knots = [self.axes, self.knots];
        vec![
            array("axes", [self.dimensions, self.axes]),
            array("knots_x", knots),
            array("knots_y", knots),
            array("knots_slope", knots),
        ]
    }

    fn forward(&self, weights: &[T], x: Batch<T>) -> Mapped<T> {
        let before = self.projected(weights, &x);
        let mut change = before.clone();
        let mut log_det = vec![T::zero(); x.rows()];
        change.data_mut().par_chunks_mut(self.axes).zip(&mut log_det).for_each(|(row, log_det)| {
            for (axis, c) in row.iter_mut().enumerate() {
                let (y, log_slope) = self.knots(weights, axis).evaluate(*c);
                *c = y - *c;
                *log_det += log_slope;
            }
        });
        Mapped { value: self.moved(weights, x, &change), log_det, trace: Trace::of(vec![before]) }
    }

    fn inverse(&self, weights: &[T], y: Batch<T>) -> Mapped<T> {
        let mut before = self.projected(weights, &y);
        let mut change = before.clone();
        let mut log_det = vec![T::zero(); y.rows()];
        let rows =
            change.data_mut().par_chunks_mut(self.axes).zip(before.data_mut().par_chunks_mut(self.axes));
        rows.zip(&mut log_det).for_each(|((change, before), log_det)| {
            for (axis, (c, before)) in change.iter_mut().zip(before).enumerate() {
                let knots = self.knots(weights, axis);
                *before = knots.invert(*c);
                *log_det += knots.evaluate(*before).1;
                *c = *before - *c;
            }
        });
        Mapped { value: self.moved(weights, y, &change), log_det, trace: Trace::of(vec![before]) }
    }

    fn pull(
        &self,
        weights: &[T],
        trace: &Trace<T>,
        dy: Batch<T>,
        dlog_det: &[T],
        _: Option<&mut [T]>,
    ) -> Batch<T> {
        let before = &trace.kept[0];
        let bends = |row: usize| -> Vec<T> {
            let one = |axis| self.knots(weights, axis).derivatives(before.row(row)[axis]).1 * dlog_det[row];
            (0..self.axes).map(one).collect()
        };
        let bends = Batch::new(self.axes, (0..dy.rows()).flat_map(bends).collect());
        let dx = self.stretched(weights, dy, |row, axis| self.slope(weights, trace, row, axis));
        self.moved(weights, dx, &bends)
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.stretched(weights, dx, |row, axis| self.slope(weights, trace, row, axis))
    }

    fn pull_inverse(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.push_inverse(weights, trace, dx)
    }

    fn push_inverse(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        self.stretched(weights, dy, |row, axis| T::one() / self.slope(weights, trace, row, axis))
    }
}

/// Which way a sliced flow is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlicedWay {
    /// The data step by step to normal numbers (GIS): the better density.
    #[default]
    ToNormal,
    /// Normal numbers step by step to the data (SIG): samples like the data, found by comparing them with samples.
    ToData,
}

/// Options of [`fit_sliced`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlicedOptions {
    /// From the data to normal numbers, or back.
    pub direction: SlicedWay,
    /// Most steps.
    pub steps: usize,
    /// Directions a step; all, if there are not so many.
    pub axes: usize,
    /// Knots of a spline.
    pub knots: usize,
    /// Share of the way to the wanted marginals that a step goes.
    pub way: f64,
    /// Steps without a better density of the validation set before the end.
    pub patience: usize,
    /// Examples that choose the directions.
    pub examples: usize,
}

impl Default for SlicedOptions {
    fn default() -> SlicedOptions {
        let direction = SlicedWay::ToNormal;
        SlicedOptions { direction, steps: 200, axes: 8, knots: 60, way: 0.6, patience: 8, examples: 8192 }
    }
}

impl SlicedOptions {
    /// Refuses numbers out of their ranges.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(&self) -> Result<()> {
        let counts = [("steps", self.steps, 1), ("axes", self.axes, 1), ("knots", self.knots, 5)];
        for (name, value, least) in counts.into_iter().chain([("examples", self.examples, 10)]) {
            if value < least {
                return Err(Error::option(name, format!("must be at least {least}, not {value}")));
            }
        }
        if !(self.way > 0.0 && self.way <= 1.0) {
            return Err(Error::option("way", format!("must be above 0 and at most 1, not {}", self.way)));
        }
        Ok(())
    }
}

/// A flow that was fitted step by step: its description, its weights, and the mean log density of the validation set after it.
pub type FittedSliced = (FlowSection, Vec<f32>, f64);

/// Fits a sliced flow to `train`, greedily, until `validation` is described no better.
///
/// Each step finds the directions along which samples are farthest from what they are to become (the largest sliced Wasserstein distance), and
/// warps them by splines through the quantiles of their smoothed marginals, `way` of the way. Samples are the data, which become normal, or as many
/// normal numbers, which become the data (Dai & Seljak 2021, algorithms 1 and 2). `watch` sees the number of the step and
/// the density; its error ends the fit.
///
/// Cost: a step is some passes over the samples; towards the data, its density takes all steps before it besides.
///
/// # Errors
/// If the data have no spread, an option is out of its range, or `watch` says so.
pub fn fit_sliced<E: From<Error>>(
    train: &Batch<f32>,
    validation: &Batch<f32>,
    options: &SlicedOptions,
    seed: u64,
    mut watch: impl FnMut(usize, f64) -> Result<(), E>,
) -> Result<FittedSliced, E> {
    options.check()?;
    let n = train.width();
    // Whitening first: what is left is not Gaussian.
    let first = super::ActNorm::new(n);
    let mut whitening = vec![0.0f32; 2 * n];
    first.prepare(&mut whitening, train);
    let data = first.forward(&whitening, train.clone()).value;
    let judging = first.forward(&whitening, validation.clone());
    let mut fit = Fit {
        layer: Sliced::new(n, options.axes.min(n), options.knots),
        options,
        seed,
        samples: match options.direction {
            SlicedWay::ToNormal => data.clone(),
            SlicedWay::ToData => normal_rows(data.rows(), n, seed),
        },
        data: &data,
        steps: Vec::new(),
    };
    let mut best = (0, mean_density(&judging.value, &judging.log_det));
    let mut judged = judging.clone();
    for step in 0..options.steps {
        fit.advance()?;
        judged = fit.judge(&judging, judged);
        let density = mean_density(&judged.value, &judged.log_det);
        watch(step + 1, density)?;
        if density > best.1 {
            best = (step + 1, density);
        } else if step + 1 - best.0 >= options.patience {
            break;
        }
    }
    let (section, weights) = fit.finish(best.0, whitening);
    Ok((section, weights, best.1))
}

/// A fit at work.
struct Fit<'a> {
    layer: Sliced,
    options: &'a SlicedOptions,
    seed: u64,
    /// What is moved step by step.
    samples: Batch<f32>,
    data: &'a Batch<f32>,
    /// The weights of every step.
    steps: Vec<Vec<f32>>,
}

impl Fit<'_> {
    /// Another step, and the samples after it.
    fn advance(&mut self) -> Result<()> {
        let stride = self.samples.rows().div_ceil(self.options.examples);
        let some = |rows: &Batch<f32>| rows.gather((0..rows.rows()).step_by(stride));
        let few = some(&self.samples);
        let target = match self.options.direction {
            SlicedWay::ToNormal => Target::normal(few.rows()),
            SlicedWay::ToData => Target::Rows(some(self.data)),
        };
        let axes = far_directions(&few, &target, self.layer.axes, (self.seed, self.steps.len()));
        let weights = self.splines(axes)?;
        let samples = std::mem::take(&mut self.samples);
        self.samples = self.layer.forward(&weights, samples).value;
        self.steps.push(weights);
        Ok(())
    }

    /// The weights of a step along these directions.
    fn splines(&self, axes: Vec<f32>) -> Result<Vec<f32>> {
        let (layer, options) = (&self.layer, self.options);
        let begin = layer.dimensions * layer.axes;
        let mut weights = axes;
        weights.resize(begin + 3 * layer.axes * layer.knots, 0.0);
        let column = |along: &Batch<f32>, axis: usize| -> Vec<f32> {
            along.data().iter().skip(axis).step_by(layer.axes).copied().collect()
        };
        let along = layer.projected(&weights, &self.samples);
        let wanted = (options.direction == SlicedWay::ToData).then(|| layer.projected(&weights, self.data));
        let splines: Vec<Option<[Vec<f32>; 3]>> = (0..layer.axes)
            .into_par_iter()
            .map(|axis| match &wanted {
                None => gaussianising_spline(column(&along, axis), layer.knots, options.way),
                Some(wanted) => {
                    let (from, to) = (column(&along, axis), column(wanted, axis));
                    transporting_spline(from, to, layer.knots, options.way)
                }
            })
            .collect();
        for (axis, spline) in splines.into_iter().enumerate() {
            let spline = spline
                .ok_or_else(|| Error::Flow("the examples have no spread along some direction".into()))?;
            for (array, values) in spline.into_iter().enumerate() {
                let start = begin + (array * layer.axes + axis) * layer.knots;
                weights[start..start + layer.knots].copy_from_slice(&values);
            }
        }
        Ok(weights)
    }

    /// Where the flow takes what judges it, from where it was at the beginning and before the last step.
    fn judge(&self, beginning: &Mapped<f32>, before: Mapped<f32>) -> Mapped<f32> {
        match self.options.direction {
            SlicedWay::ToNormal => {
                let last = &self.steps[self.steps.len() - 1];
                further(before, 1.0, |x| self.layer.forward(last, x))
            }
            // The newest step is the first to be undone.
            SlicedWay::ToData => self
                .steps
                .iter()
                .rev()
                .fold(beginning.clone(), |all, step| further(all, -1.0, |x| self.layer.inverse(step, x))),
        }
    }

    /// The flow of the first `count` steps.
    fn finish(self, count: usize, whitening: Vec<f32>) -> (FlowSection, Vec<f32>) {
        let inverted = self.options.direction == SlicedWay::ToData;
        let mut kept: Vec<Vec<f32>> = self.steps.into_iter().take(count).collect();
        if inverted {
            kept.reverse();
        }
        let (dimensions, axes, knots) = (self.layer.dimensions, self.layer.axes, self.layer.knots);
        let mut steps = vec![BijectionSection::ActNorm];
        steps.extend(vec![BijectionSection::Sliced { axes, knots, inverted }; count]);
        let section = FlowSection { dimensions, context: 0, function: Function::Silu, steps };
        (section, [whitening, kept.concat()].concat())
    }
}

/// What was mapped, mapped once more, with a determinant that counts with this sign.
fn further(mut all: Mapped<f32>, sign: f32, map: impl FnOnce(Batch<f32>) -> Mapped<f32>) -> Mapped<f32> {
    let next = map(std::mem::take(&mut all.value));
    all.log_det.iter_mut().zip(&next.log_det).for_each(|(all, here)| *all += sign * here);
    Mapped { value: next.value, ..all }
}

/// Normal numbers to begin from.
fn normal_rows(rows: usize, width: usize, seed: u64) -> Batch<f32> {
    let mut normal = Batch::zeros(rows, width);
    Stream::new(seed, Purpose::Training, 1 << 21).fill_normal(normal.data_mut());
    normal
}

fn mean_density(y: &Batch<f32>, log_det: &[f32]) -> f64 {
    let constant = y.width() as f64 / 2.0 * (2.0 * std::f64::consts::PI).ln();
    let square = lookback_operator::vector::norm2(y.data());
    let log_det: f64 = log_det.iter().map(|x| f64::from(*x)).sum();
    (log_det - square / 2.0) / y.rows() as f64 - constant
}

/// What samples are to become.
enum Target {
    /// Normal, with these quantiles along every direction.
    Normal(Vec<f32>),
    /// Like these, as many rows.
    Rows(Batch<f32>),
}

impl Target {
    fn normal(rows: usize) -> Target {
        Target::Normal((0..rows).map(|i| normal_quantile((i as f64 + 0.5) / rows as f64) as f32).collect())
    }
}

/// Rounds of the search for directions.
const ROUNDS: usize = 30;

/// Orthonormal directions along which the rows are farthest from their target: gradient ascent of the squared Wasserstein distance,
/// which is the mean squared difference of sorted projections and of the target's, on the Stiefel manifold.
fn far_directions(x: &Batch<f32>, target: &Target, axes: usize, (seed, step): (u64, usize)) -> Vec<f32> {
    let n = x.width();
    let mut directions = vec![0.0f32; n * axes];
    Stream::new(seed, Purpose::Training, 1 << 20 | step as u32).fill_normal(&mut directions);
    orthonormalise(&mut directions, n, axes);
    if n == 1 {
        // There is no other direction.
        return directions;
    }
    let (mut distance, mut gradient) = wasserstein(x, target, &directions, axes);
    let mut size = 1.0;
    for _ in 0..ROUNDS {
        let length = lookback_operator::vector::norm2(&gradient).sqrt().max(1e-12);
        let mut tried: Vec<f32> =
            directions.iter().zip(&gradient).map(|(d, g)| d + (size / length) as f32 * g).collect();
        orthonormalise(&mut tried, n, axes);
        let (there, gradient_there) = wasserstein(x, target, &tried, axes);
        if there > distance {
            (directions, distance, gradient) = (tried, there, gradient_there);
            size *= 1.3;
        } else {
            size *= 0.4;
        }
    }
    directions
}

/// Projections of rows on one direction in rising order, with their rows.
fn sorted(along: &[f32], axis: usize, axes: usize) -> Vec<(f32, u32)> {
    let each = along.iter().skip(axis).step_by(axes);
    let mut order: Vec<(f32, u32)> = each.enumerate().map(|(row, &value)| (value, row as u32)).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order
}

/// The target along directions: the same quantiles for all, or projected rows.
enum Goals<'a> {
    Quantiles(&'a [f32]),
    Along(&'a Batch<f32>, Vec<f32>),
}

/// Sum over the directions of the squared Wasserstein distance to the target, and its gradient.
fn wasserstein(x: &Batch<f32>, target: &Target, directions: &[f32], axes: usize) -> (f64, Vec<f32>) {
    let (n, rows) = (x.width(), x.rows());
    let projected = |x: &Batch<f32>| {
        let mut along = vec![0.0f32; x.rows() * axes];
        let matrix = Matrix::new(directions, n, axes);
        multiply(&mut along, false, Matrix::new(x.data(), x.rows(), n), matrix, Threads::All);
        along
    };
    let along = projected(x);
    let goals = match target {
        Target::Normal(quantiles) => Goals::Quantiles(quantiles),
        Target::Rows(rows) => Goals::Along(rows, projected(rows)),
    };
    // How far each row is from its counterpart, in the order of the rows and, where these are rows too, in that of the counterparts.
    let columns: Vec<(f64, Vec<f32>, Vec<f32>)> = (0..axes)
        .into_par_iter()
        .map(|axis| {
            let (mut away, mut theirs, mut distance) = (vec![0.0; rows], Vec::new(), 0.0);
            let mut apart = |(value, row): (f32, u32), goal: f32| {
                away[row as usize] = value - goal;
                distance += f64::from(value - goal).powi(2);
            };
            let order = sorted(&along, axis, axes);
            match &goals {
                Goals::Quantiles(goals) => {
                    order.into_iter().zip(*goals).for_each(|(x, goal)| apart(x, *goal))
                }
                Goals::Along(_, along) => {
                    theirs = vec![0.0; rows];
                    for (x, (goal, row)) in order.into_iter().zip(sorted(along, axis, axes)) {
                        apart(x, goal);
                        theirs[row as usize] = goal - x.0;
                    }
                }
            }
            (distance / rows as f64, away, theirs)
        })
        .collect();
    let mut gradient = vec![0.0f32; n * axes];
    let mut add = |axis: usize, away: &[f32], x: &Batch<f32>| {
        let mut column = vec![0.0f32; n];
        let away = Matrix::new(away, 1, rows);
        multiply(&mut column, false, away, Matrix::new(x.data(), rows, n), Threads::All);
        column.iter().enumerate().for_each(|(i, c)| gradient[i * axes + axis] += c * 2.0 / rows as f32);
    };
    for (axis, (_, away, theirs)) in columns.iter().enumerate() {
        add(axis, away, x);
        if let Goals::Along(counterparts, _) = &goals {
            add(axis, theirs, counterparts);
        }
    }
    (columns.iter().map(|(distance, ..)| distance).sum(), gradient)
}

/// Gram and Schmidt on the columns, twice against rounding.
fn orthonormalise(directions: &mut [f32], n: usize, axes: usize) {
    let column = |directions: &[f32], axis: usize| -> Vec<f64> {
        (0..n).map(|i| f64::from(directions[i * axes + axis])).collect()
    };
    for axis in 0..axes {
        let mut this = column(directions, axis);
        for _ in 0..2 {
            for before in 0..axis {
                let other = column(directions, before);
                let along: f64 = this.iter().zip(&other).map(|(a, b)| a * b).sum();
                this.iter_mut().zip(&other).for_each(|(a, b)| *a -= along * b);
            }
            let length = this.iter().map(|a| a * a).sum::<f64>().sqrt().max(1e-30);
            this.iter_mut().for_each(|a| *a /= length);
        }
        this.iter().enumerate().for_each(|(i, a)| directions[i * axes + axis] = *a as f32);
    }
}
