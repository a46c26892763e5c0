//! Monotone splines of rational quadratic functions (Durkan et al. 2019, "Neural spline flows"; Gregory & Delbourgo 1982).

use lookback_operator::Real;

use crate::layers::{sigmoid, softplus};

/// One bin: from `(x0, y0)`, `width` wide and `height` high, with the slopes at its ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bin<T> {
    pub x0: T,
    pub y0: T,
    pub width: T,
    pub height: T,
    pub slope0: T,
    pub slope1: T,
}

/// Derivatives with respect to `x` and to the numbers of a bin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partials<T> {
    pub x: T,
    pub x0: T,
    pub y0: T,
    pub width: T,
    pub height: T,
    pub slope0: T,
    pub slope1: T,
}

impl<T: Real> Bin<T> {
    /// Value and logarithm of the slope at `x`, eqs. 4 and 5:
    /// `y = y0 + h (s t^2 + d0 t (1 - t)) / (s + (d1 + d0 - 2 s) t (1 - t))`, with `t = (x - x0) / w` and `s = h / w`.
    pub fn evaluate(&self, x: T) -> (T, T) {
        let (one, two) = (T::one(), T::of(2.0));
        let t = ((x - self.x0) / self.width).max(T::zero()).min(one);
        let s = self.height / self.width;
        let q = t * (one - t);
        let d = s + (self.slope1 + self.slope0 - two * s) * q;
        let y = self.y0 + self.height * (s * t * t + self.slope0 * q) / d;
        let n = self.slope1 * t * t + two * s * q + self.slope0 * (one - t) * (one - t);
        (y, (s * s * n / (d * d)).ln())
    }

    /// The `x` at which the value is `y`: the root of a quadratic (eqs. 6 to 8), and one step of Newton against its rounding.
    pub fn invert(&self, y: T) -> T {
        let two = T::of(2.0);
        let s = self.height / self.width;
        let rise = y - self.y0;
        let bend = self.slope1 + self.slope0 - two * s;
        let a = self.height * (s - self.slope0) + rise * bend;
        let b = self.height * self.slope0 - rise * bend;
        let c = -s * rise;
        let root = (b * b - T::of(4.0) * a * c).max(T::zero()).sqrt();
        let x = self.x0 + two * c / (-b - root) * self.width;
        let (found, log_slope) = self.evaluate(x);
        let better = x - (found - y) / log_slope.exp();
        better.max(self.x0).min(self.x0 + self.width)
    }

    /// Derivatives of the value, and of the logarithm of the slope.
    pub fn partials(&self, x: T) -> (Partials<T>, Partials<T>) {
        let (one, two) = (T::one(), T::of(2.0));
        let (w, h, d0, d1) = (self.width, self.height, self.slope0, self.slope1);
        let t = ((x - self.x0) / w).max(T::zero()).min(one);
        let s = h / w;
        let q = t * (one - t);
        let q_t = one - two * t;
        let bend = d1 + d0 - two * s;
        let (a, d) = (s * t * t + d0 * q, s + bend * q);
        let n = d1 * t * t + two * s * q + d0 * (one - t) * (one - t);
        let (inverse_d, inverse_n) = (one / d, one / n);
        // With respect to (t, s, d0, d1), heights aside.
        let a_by = [two * s * t + d0 * q_t, t * t, q, T::zero()];
        let d_by = [bend * q_t, one - two * q, q, q];
        let n_by = [two * (d1 * t + s * q_t - d0 * (one - t)), two * q, (one - t) * (one - t), t * t];
        let y_by: [T; 4] = std::array::from_fn(|i| h * (a_by[i] * d - a * d_by[i]) * inverse_d * inverse_d);
        let mut l_by: [T; 4] = std::array::from_fn(|i| n_by[i] * inverse_n - two * d_by[i] * inverse_d);
        l_by[1] += two / s;
        let chain = |by: [T; 4], y0: T, by_height: T| Partials {
            x: by[0] / w,
            x0: -by[0] / w,
            y0,
            width: -(by[0] * t + by[1] * s) / w,
            height: by_height + by[1] / w,
            slope0: by[2],
            slope1: by[3],
        };
        (chain(y_by, one, a * inverse_d), chain(l_by, T::zero(), T::zero()))
    }
}

/// A spline whose knots come out of a network: `bins` widths, `bins` heights and `bins - 1` slopes, all unbounded numbers. Within
/// `[-bound, bound]` it is monotone, beyond it the identity; zeros make it the identity everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spline<T> {
    pub bins: usize,
    pub bound: T,
}

/// Most bins of a spline.
pub(super) const MOST_BINS: usize = 64;

/// Least width and height of a bin, as a share of an equal part times the number of bins, and least slope.
const LEAST: f64 = 1e-3;

/// Widths or heights, as shares of the whole range.
struct Shares<T> {
    /// `exp(raw) / sum`.
    soft: [T; MOST_BINS],
}

impl<T: Real> Spline<T> {
    fn shares(&self, raw: &[T]) -> Shares<T> {
        let mut soft = [T::zero(); MOST_BINS];
        let largest = raw.iter().copied().fold(T::neg_infinity(), T::max);
        let mut sum = T::zero();
        for (soft, &raw) in soft.iter_mut().zip(raw) {
            *soft = (raw - largest).exp();
            sum += *soft;
        }
        let inverse = T::one() / sum;
        soft[..self.bins].iter_mut().for_each(|soft| *soft *= inverse);
        Shares { soft }
    }

    /// The size of a bin from its share.
    fn size(&self, share: T) -> T {
        let whole = T::of(2.0) * self.bound;
        whole * (T::of(LEAST) + T::of(1.0 - LEAST * self.bins as f64) * share)
    }

    /// The slope at knot `k`; one at both ends.
    fn slope(&self, raw: &[T], k: usize) -> T {
        if k == 0 || k == self.bins {
            return T::one();
        }
        T::of(LEAST) + softplus(raw[2 * self.bins + k - 1] + slope_of_one())
    }

    /// The bin in which the running sum of `sizes` passes `at`, and where it begins.
    fn find(&self, shares: &Shares<T>, at: T) -> (usize, T) {
        let mut begin = -self.bound;
        for k in 0..self.bins - 1 {
            let next = begin + self.size(shares.soft[k]);
            if at < next {
                return (k, begin);
            }
            begin = next;
        }
        (self.bins - 1, begin)
    }

    /// Where bin `k` begins.
    fn begin(&self, shares: &Shares<T>, k: usize) -> T {
        shares.soft[..k].iter().fold(-self.bound, |begin, &share| begin + self.size(share))
    }

    fn bin(&self, raw: &[T], k: usize, (x0, width): (T, T), (y0, height): (T, T)) -> Bin<T> {
        Bin { x0, y0, width, height, slope0: self.slope(raw, k), slope1: self.slope(raw, k + 1) }
    }

    /// The bin of `x`, its number, and the shares of both axes.
    fn at(&self, raw: &[T], x: T) -> (Bin<T>, usize, [Shares<T>; 2]) {
        let widths = self.shares(&raw[..self.bins]);
        let heights = self.shares(&raw[self.bins..2 * self.bins]);
        let (k, x0) = self.find(&widths, x);
        let y0 = self.begin(&heights, k);
        let bin = self.bin(raw, k, (x0, self.size(widths.soft[k])), (y0, self.size(heights.soft[k])));
        (bin, k, [widths, heights])
    }

    /// Value and logarithm of the slope.
    pub fn evaluate(&self, raw: &[T], x: T) -> (T, T) {
        if !self.within(x) {
            return (x, T::zero());
        }
        self.at(raw, x).0.evaluate(x)
    }

    /// The `x` at which the value is `y`.
    pub fn invert(&self, raw: &[T], y: T) -> T {
        if !self.within(y) {
            return y;
        }
        let widths = self.shares(&raw[..self.bins]);
        let heights = self.shares(&raw[self.bins..2 * self.bins]);
        let (k, y0) = self.find(&heights, y);
        let x0 = self.begin(&widths, k);
        self.bin(raw, k, (x0, self.size(widths.soft[k])), (y0, self.size(heights.soft[k]))).invert(y)
    }

    fn within(&self, x: T) -> bool {
        x > -self.bound && x < self.bound
    }

    /// Reverse mode: from the cotangents of value and logarithm of the slope to that of `x`; adds those of `raw`.
    pub fn pull(&self, raw: &[T], x: T, dy: T, dlog_slope: T, draw: &mut [T]) -> T {
        if !self.within(x) {
            return dy;
        }
        let (bin, k, [widths, heights]) = self.at(raw, x);
        let (y, l) = bin.partials(x);
        let along = |y: T, l: T| dy * y + dlog_slope * l;
        let (dx0, dwidth) = (along(y.x0, l.x0), along(y.width, l.width));
        let (dy0, dheight) = (along(y.y0, l.y0), along(y.height, l.height));
        self.pull_shares(&widths, k, dx0, dwidth, &mut draw[..self.bins]);
        self.pull_shares(&heights, k, dy0, dheight, &mut draw[self.bins..2 * self.bins]);
        for (knot, dslope) in [(k, along(y.slope0, l.slope0)), (k + 1, along(y.slope1, l.slope1))] {
            if knot > 0 && knot < self.bins {
                let at = 2 * self.bins + knot - 1;
                draw[at] += dslope * sigmoid(raw[at] + slope_of_one());
            }
        }
        along(y.x, l.x)
    }

    /// From the cotangents of a bin's begin and size to those of the raw numbers: the bins before it move its begin.
    fn pull_shares(&self, shares: &Shares<T>, k: usize, dbegin: T, dsize: T, draw: &mut [T]) {
        let soft = &shares.soft[..self.bins];
        let scale = T::of(2.0) * self.bound * T::of(1.0 - LEAST * self.bins as f64);
        let before: T = soft[..k].iter().copied().sum();
        let mean = dbegin * before + dsize * soft[k];
        for (j, (draw, &share)) in draw.iter_mut().zip(soft).enumerate() {
            let here = if j < k {
                dbegin
            } else if j == k {
                dsize
            } else {
                T::zero()
            };
            *draw += scale * share * (here - mean);
        }
    }
}

/// What `softplus` and the least slope make one of.
fn slope_of_one<T: Real>() -> T {
    T::of((1.0 - LEAST).exp_m1().ln())
}
