//! A velocity field with a divergence that costs no more than one of its layers.

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Batch;
use crate::layer::{Begin, Role, Weight};
use crate::layers::{add_bias, add_column_sums, sigmoid};
use crate::product::{Matrix, Threads, multiply};

/// `v(x, t) = a(t) x + net(x / s(t), context, t)`, a network with two hidden layers.
///
/// `s^2 = t^2 + (1 - t)^2` and `a = (2 t - 1) / s^2` are those of standard normal data on straight lines to normal numbers, so that a
/// network that gives zero leaves such data as they are. With `h1 = x W1 + b1`, `h2 = f(h1) W2 + b2` and `net = f(h2) W3 + b3`, the
/// divergence is `a d + f'(h1)^T P f'(h2) / s` with `P = W2 * (W3 W1)^T` (entry by entry; of `W1` the rows of the `d` dimensions): one more product of
/// matrices instead of one for each dimension, and `P` itself, `2 h^2 d` operations, once for all rows and times. `f` is SiLU, `x / (1 + exp(-x))`, as
/// second derivatives are needed.
#[derive(Debug)]
pub struct Velocity {
    dimensions: usize,
    context: usize,
    hidden: usize,
}

/// `t`, and sines and cosines of `pi t` and `2 pi t`.
const TIMES: usize = 5;

/// What the derivatives at a point need.
pub(super) struct Point<T> {
    /// What the network sees.
    input: Batch<T>,
    first: Hidden<T>,
    second: Hidden<T>,
    /// `a` and `s` of every row.
    rates: Vec<(T, T)>,
    /// `f'(h1) P`, where the divergence was asked for.
    through: Option<Batch<T>>,
}

/// A hidden layer: `f(h)` and its first two derivatives, the second only where the divergence was asked for.
struct Hidden<T> {
    value: Batch<T>,
    slope: Batch<T>,
    bend: Batch<T>,
}

/// `P`: what the divergence needs of the weights.
pub(super) struct Loops<T>(Vec<T>);

impl Velocity {
    /// A field for rows of so many dimensions and so much context, with two layers of `hidden` numbers.
    pub fn new((dimensions, context): (usize, usize), hidden: usize) -> Velocity {
        Velocity { dimensions, context, hidden }
    }

    fn inputs(&self) -> usize {
        self.dimensions + self.context + TIMES
    }

    /// The arrays of weights; the last layer begins at zero.
    pub(super) fn weights(&self) -> Vec<Weight> {
        let (n, h, d) = (self.inputs(), self.hidden, self.dimensions);
        let matrix =
            |name, shape: [usize; 2], std| Weight::new(name, &shape, Begin::Normal(std), Role::Matrix);
        let bias = |name, n| Weight::new(name, &[n], Begin::Constant(0.0), Role::Vector);
        let he = |n: usize| (2.0 / n as f64).sqrt();
        vec![
            matrix("first.weight", [n, h], he(n)),
            bias("first.bias", h),
            matrix("second.weight", [h, h], he(h)),
            bias("second.bias", h),
            matrix("last.weight", [h, d], 0.0),
            bias("last.bias", d),
        ]
    }

    /// Where each array begins, and where the last ends.
    fn places(&self) -> [usize; 7] {
        let (n, h, d) = (self.inputs(), self.hidden, self.dimensions);
        let mut places = [0; 7];
        for (i, len) in [n * h, h, h * h, h, h * d, d].into_iter().enumerate() {
            places[i + 1] = places[i] + len;
        }
        places
    }

    fn part<'a, T>(&self, weights: &'a [T], which: usize) -> &'a [T] {
        let places = self.places();
        &weights[places[which]..places[which + 1]]
    }

    fn matrices<'a, T>(&self, weights: &'a [T]) -> [Matrix<'a, T>; 3] {
        let (n, h, d) = (self.inputs(), self.hidden, self.dimensions);
        [(0, n, h), (2, h, h), (4, h, d)]
            .map(|(which, rows, columns)| Matrix::new(self.part(weights, which), rows, columns))
    }

    /// The rows of the first matrix that the dimensions meet.
    fn first_of_dimensions<'a, T>(&self, weights: &'a [T]) -> Matrix<'a, T> {
        Matrix::new(&weights[..self.dimensions * self.hidden], self.dimensions, self.hidden)
    }

    /// `v` at rows `x` (dimensions and context) and times `t`, one a row; the divergence if it is given what that needs.
    pub(super) fn evaluate<T: Real>(
        &self,
        weights: &[T],
        x: &Batch<T>,
        t: impl Fn(usize) -> T,
        divergence: Option<&Loops<T>>,
    ) -> (Batch<T>, Vec<T>, Point<T>) {
        let (d, rows) = (self.dimensions, x.rows());
        let [first, second, last] = self.matrices(weights);
        let rates: Vec<(T, T)> = (0..rows).map(|row| rates(t(row))).collect();
        let mut input = Batch::zeros(rows, self.inputs());
        for (row, &(_, s)) in rates.iter().enumerate() {
            let (numbers, times) = input.row_mut(row).split_at_mut(d + self.context);
            numbers.copy_from_slice(x.row(row));
            numbers[..d].iter_mut().for_each(|x| *x /= s);
            times.copy_from_slice(&features(t(row)));
        }
        let layer =
            |input: &Batch<T>, matrix, bias| Hidden::new(&affine(input, matrix, bias), divergence.is_some());
        let first = layer(&input, first, self.part(weights, 1));
        let second = layer(&first.value, second, self.part(weights, 3));
        let mut value = affine(&second.value, last, self.part(weights, 5));
        for (row, &(a, _)) in rates.iter().enumerate() {
            value.row_mut(row).iter_mut().zip(&x.row(row)[..d]).for_each(|(v, &x)| *v += a * x);
        }
        let mut point = Point { input, first, second, rates, through: None };
        let mut sums = Vec::new();
        if let Some(Loops(loops)) = divergence {
            let through = product(&point.first.slope, Matrix::new(loops, self.hidden, self.hidden));
            let sum = |row: usize| {
                let (a, s) = point.rates[row];
                a * T::of(d as f64) + dot(through.row(row), point.second.slope.row(row)) / s
            };
            sums = (0..rows).map(sum).collect();
            point.through = Some(through);
        }
        (value, sums, point)
    }

    /// `P = W2 * (W3 W1)^T`.
    pub(super) fn loops<T: Real>(&self, weights: &[T]) -> Loops<T> {
        let mut loops = self.ends(weights);
        loops.iter_mut().zip(self.part(weights, 2)).for_each(|(p, &w)| *p *= w);
        Loops(loops)
    }

    /// `(W3 W1)^T`.
    fn ends<T: Real>(&self, weights: &[T]) -> Vec<T> {
        let [_, _, last] = self.matrices(weights);
        let mut ends = vec![T::zero(); self.hidden * self.hidden];
        let first = self.first_of_dimensions(weights).transposed();
        multiply(&mut ends, false, first, last.transposed(), Threads::All);
        ends
    }

    /// `J dx`, for tangents of dimensions and context.
    pub(super) fn push<T: Real>(&self, weights: &[T], point: &Point<T>, dx: &Batch<T>) -> Batch<T> {
        let d = self.dimensions;
        let [first, second, last] = self.matrices(weights);
        let mut dinput = Batch::zeros(dx.rows(), self.inputs());
        for (row, &(_, s)) in point.rates.iter().enumerate() {
            let into = &mut dinput.row_mut(row)[..d + self.context];
            into.copy_from_slice(dx.row(row));
            into[..d].iter_mut().for_each(|x| *x /= s);
        }
        let first = point.first.sloped(product(&dinput, first));
        let second = point.second.sloped(product(&first, second));
        let mut dv = product(&second, last);
        for (row, &(a, _)) in point.rates.iter().enumerate() {
            dv.row_mut(row).iter_mut().zip(&dx.row(row)[..d]).for_each(|(dv, &dx)| *dv += a * dx);
        }
        dv
    }

    /// `J^T dv`, plus the derivative of the divergence times its cotangents, one a row, where there are any; adds that of the weights
    /// to `gradient`.
    pub(super) fn pull<T: Real>(
        &self,
        weights: &[T],
        point: &Point<T>,
        dv: &Batch<T>,
        divergence: Option<(&Loops<T>, &[T])>,
        gradient: Option<&mut [T]>,
    ) -> Batch<T> {
        let d = self.dimensions;
        let [first, second, last] = self.matrices(weights);
        // What the divergence adds to the cotangents of both hidden layers.
        let ddivergence = divergence.map_or(&[][..], |(_, cotangents)| cotangents);
        let scale = |row: usize| ddivergence[row] / point.rates[row].1;
        let bend = |dh: &mut Batch<T>, sums: &Batch<T>, bends: &Batch<T>| {
            for row in 0..dh.rows() {
                let (factor, terms) = (scale(row), sums.row(row).iter().zip(bends.row(row)));
                dh.row_mut(row).iter_mut().zip(terms).for_each(|(dh, (&s, &b))| *dh += factor * s * b);
            }
        };
        let mut dsecond = point.second.sloped(product(dv, last.transposed()));
        if let (Some(_), Some(sums)) = (divergence, &point.through) {
            bend(&mut dsecond, sums, &point.second.bend);
        }
        let mut dfirst = point.first.sloped(product(&dsecond, second.transposed()));
        if let Some((Loops(loops), _)) = divergence {
            let matrix = Matrix::new(loops, self.hidden, self.hidden).transposed();
            bend(&mut dfirst, &product(&point.second.slope, matrix), &point.first.bend);
        }
        if let Some(gradient) = gradient {
            let pairs = [(&point.input, &dfirst), (&point.first.value, &dsecond), (&point.second.value, dv)]
                .into_iter();
            for ((x, dy), at) in pairs.zip(self.places().windows(3).step_by(2)) {
                let (matrix, bias) = gradient[at[0]..at[2]].split_at_mut(at[1] - at[0]);
                add_outer(matrix, x, dy);
                add_column_sums(dy, bias);
            }
            if divergence.is_some() {
                self.pull_loops(weights, point, scale, gradient);
            }
        }
        let dinput = product(&dfirst, first.transposed());
        let mut dx = dinput.columns(0, d + self.context);
        for (row, &(a, s)) in point.rates.iter().enumerate() {
            let terms = dx.row_mut(row)[..d].iter_mut().zip(dv.row(row));
            terms.for_each(|(dx, &dv)| *dx = *dx / s + a * dv);
        }
        dx
    }

    /// The derivative of the divergence by the matrices: `dP = f'(h1)^T (c f'(h2))`.
    fn pull_loops<T: Real>(
        &self,
        weights: &[T],
        point: &Point<T>,
        scale: impl Fn(usize) -> T,
        gradient: &mut [T],
    ) {
        let (d, h) = (self.dimensions, self.hidden);
        let mut scaled = point.second.slope.clone();
        for row in 0..scaled.rows() {
            let factor = scale(row);
            scaled.row_mut(row).iter_mut().for_each(|x| *x *= factor);
        }
        let mut dloops = vec![T::zero(); h * h];
        add_outer(&mut dloops, &point.first.slope, &scaled);
        let places = self.places();
        let ends = self.ends(weights);
        let into = gradient[places[2]..places[3]].iter_mut();
        into.zip(dloops.iter().zip(&ends)).for_each(|(g, (&p, &m))| *g += p * m);
        dloops.iter_mut().zip(self.part(weights, 2)).for_each(|(p, &w)| *p *= w);
        // That of (W3 W1)^T, as rows of the first hidden layer.
        let dends = Matrix::new(&dloops, h, h);
        let [_, _, last] = self.matrices(weights);
        let first = self.first_of_dimensions(weights);
        multiply(&mut gradient[..d * h], true, last.transposed(), dends.transposed(), Threads::All);
        let into = &mut gradient[places[4]..places[5]];
        multiply(into, true, dends.transposed(), first.transposed(), Threads::All);
    }
}

/// `a` and `s` at a time.
fn rates<T: Real>(t: T) -> (T, T) {
    let left = T::one() - t;
    let square = t * t + left * left;
    ((t - left) / square, square.sqrt())
}

fn features<T: Real>(t: T) -> [T; TIMES] {
    let angle = T::of(std::f64::consts::PI) * t;
    let (sin, cos) = angle.sin_cos();
    let (sin2, cos2) = (angle + angle).sin_cos();
    [t, sin, cos, sin2, cos2]
}

impl<T: Real> Hidden<T> {
    /// The layer of the numbers `h`, its second derivative if that is needed.
    fn new(h: &Batch<T>, bends: bool) -> Hidden<T> {
        let zeros = |rows| Batch::zeros(rows, h.width());
        let (mut value, mut slope) = (zeros(h.rows()), zeros(h.rows()));
        let mut bend = zeros(if bends { h.rows() } else { 0 });
        let parts = value.data_mut().par_chunks_mut(PART).zip(slope.data_mut().par_chunks_mut(PART));
        let parts = parts.zip(h.data().par_chunks(PART));
        if bends {
            parts.zip(bend.data_mut().par_chunks_mut(PART)).for_each(|(((value, slope), h), bend)| {
                for (((value, slope), &x), bend) in value.iter_mut().zip(slope).zip(h).zip(bend) {
                    [*value, *slope, *bend] = silu(x);
                }
            });
        } else {
            parts.for_each(|((value, slope), h)| {
                for ((value, slope), &x) in value.iter_mut().zip(slope).zip(h) {
                    [*value, *slope, _] = silu(x);
                }
            });
        }
        Hidden { value, slope, bend }
    }

    /// `f'(h) dh`.
    fn sloped(&self, dh: Batch<T>) -> Batch<T> {
        dh.zip_with(&self.slope, |dh, slope| *dh *= slope)
    }
}

/// SiLU and its first two derivatives.
#[inline(always)]
fn silu<T: Real>(x: T) -> [T; 3] {
    let (one, two, s) = (T::one(), T::of(2.0), sigmoid(x));
    [x * s, s * (one + x * (one - s)), s * (one - s) * (two + x * (one - two * s))]
}

/// Numbers a task.
const PART: usize = 1 << 12;

fn product<T: Real>(x: &Batch<T>, matrix: Matrix<'_, T>) -> Batch<T> {
    let mut y = Batch::zeros(x.rows(), matrix.columns());
    multiply(y.data_mut(), false, Matrix::new(x.data(), x.rows(), x.width()), matrix, Threads::All);
    y
}

fn affine<T: Real>(x: &Batch<T>, matrix: Matrix<'_, T>, bias: &[T]) -> Batch<T> {
    let mut y = product(x, matrix);
    add_bias(&mut y, T::one(), bias);
    y
}

/// `out += x^T dy`.
fn add_outer<T: Real>(out: &mut [T], x: &Batch<T>, dy: &Batch<T>) {
    let x = Matrix::new(x.data(), x.rows(), x.width()).transposed();
    multiply(out, true, x, Matrix::new(dy.data(), dy.rows(), dy.width()), Threads::All);
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}
