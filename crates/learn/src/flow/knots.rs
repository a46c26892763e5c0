//! Monotone splines through given knots.

use lookback_operator::Real;

use super::spline::Bin;

/// A monotone spline through given knots, linear beyond them.
pub(crate) struct Knots<'a, T> {
    pub x: &'a [T],
    pub y: &'a [T],
    pub slope: &'a [T],
}

impl<T: Real> Knots<'_, T> {
    fn bin(&self, k: usize) -> Bin<T> {
        Bin {
            x0: self.x[k],
            y0: self.y[k],
            width: self.x[k + 1] - self.x[k],
            height: self.y[k + 1] - self.y[k],
            slope0: self.slope[k],
            slope1: self.slope[k + 1],
        }
    }

    pub fn evaluate(&self, x: T) -> (T, T) {
        match place(self.x, x) {
            Place::Within(k) => self.bin(k).evaluate(x),
            Place::Beyond(end) => (self.y[end] + self.slope[end] * (x - self.x[end]), self.slope[end].ln()),
        }
    }

    pub fn invert(&self, y: T) -> T {
        match place(self.y, y) {
            Place::Within(k) => self.bin(k).invert(y),
            Place::Beyond(end) => self.x[end] + (y - self.y[end]) / self.slope[end],
        }
    }

    /// Derivatives of the value and of the logarithm of the slope.
    pub fn derivatives(&self, x: T) -> (T, T) {
        match place(self.x, x) {
            Place::Within(k) => {
                let (y, l) = self.bin(k).partials(x);
                (y.x, l.x)
            }
            Place::Beyond(end) => (self.slope[end], T::zero()),
        }
    }
}

/// Cotangents of the numbers of a spline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnotCotangents {
    /// Of the value at knot `k`, from places whose bin begins there; the value at a knot is the first and all rises before it.
    pub begins: Vec<f64>,
    pub rises: Vec<f64>,
    pub slopes: Vec<f64>,
}

impl KnotCotangents {
    pub fn zeros(knots: usize) -> KnotCotangents {
        KnotCotangents { begins: vec![0.0; knots], rises: vec![0.0; knots - 1], slopes: vec![0.0; knots] }
    }

    pub fn add(mut self, other: &KnotCotangents) -> KnotCotangents {
        for (all, more) in [
            (&mut self.begins, &other.begins),
            (&mut self.rises, &other.rises),
            (&mut self.slopes, &other.slopes),
        ] {
            all.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        }
        self
    }
}

impl<T: Real> Knots<'_, T> {
    /// Reverse mode: from the cotangent of the value to that of `x`; adds those of the knots.
    pub fn pull(&self, x: T, dy: T, to: &mut KnotCotangents) -> T {
        match place(self.x, x) {
            Place::Within(k) => {
                let (y, _) = self.bin(k).partials(x);
                to.begins[k] += (dy * y.y0).f64();
                to.rises[k] += (dy * y.height).f64();
                to.slopes[k] += (dy * y.slope0).f64();
                to.slopes[k + 1] += (dy * y.slope1).f64();
                dy * y.x
            }
            Place::Beyond(end) => {
                to.begins[end] += dy.f64();
                to.slopes[end] += (dy * (x - self.x[end])).f64();
                dy * self.slope[end]
            }
        }
    }
}

/// Where a number lies among knots.
enum Place {
    Within(usize),
    Beyond(usize),
}

fn place<T: Real>(knots: &[T], x: T) -> Place {
    let last = knots.len() - 1;
    if x <= knots[0] {
        return Place::Beyond(0);
    }
    // Also where `x` is not a number: it goes out as it came in.
    if !(x < knots[last]) {
        return Place::Beyond(last);
    }
    Place::Within(knots.partition_point(|knot| *knot <= x) - 1)
}

/// Places, values and slopes at the knots of a spline.
type SplineKnots = [Vec<f32>; 3];

/// Knots of the spline that goes `way` of the way from the identity to what moves one marginal distribution to another: through normal
/// numbers, from the values of `from` and back to those of `to`. `None` if either has no spread.
pub(crate) fn transporting_spline(
    from: Vec<f32>,
    to: Vec<f32>,
    knots: usize,
    way: f64,
) -> Option<SplineKnots> {
    let [x, normal, slope] = gaussianising_spline(from, knots, 1.0)?;
    let [to_x, to_normal, to_slope] = gaussianising_spline(to, knots, 1.0)?;
    let target = Knots { x: &to_x, y: &to_normal, slope: &to_slope };
    let mut out = [x, Vec::new(), Vec::new()];
    for k in 0..knots {
        let there = target.invert(normal[k]);
        let steepness = f64::from(slope[k]) / f64::from(target.derivatives(there).0).max(1e-6);
        let x = f64::from(out[0][k]);
        out[1].push(((1.0 - way) * x + way * f64::from(there)) as f32);
        out[2].push(((1.0 - way) + way * steepness.clamp(1e-2, 1e2)) as f32);
    }
    rising(&mut out);
    Some(out)
}

/// Keeps the values of a spline from standing still or falling by rounding.
fn rising(knots: &mut SplineKnots) {
    let [x, y, _] = knots;
    (1..x.len()).for_each(|k| y[k] = y[k].max(y[k - 1] + 1e-4 * (x[k] - x[k - 1])));
}

/// Knots of the spline that goes `way` of the way from the identity to a normal distribution. The
/// distribution of the values is smoothed by a kernel of Scott's width. `None` if the values have no spread.
pub(crate) fn gaussianising_spline(mut values: Vec<f32>, knots: usize, way: f64) -> Option<SplineKnots> {
    values.sort_unstable_by(f32::total_cmp);
    let n = values.len();
    let quantile = |p: f64| f64::from(values[((p * n as f64) as usize).min(n - 1)]);
    // The spread of the bulk: tails must not widen the kernel.
    let spread = (quantile(0.8413) - quantile(0.1587)) / 2.0;
    if !(spread > 1e-12) {
        return None;
    }
    let width = spread * (n as f64).powf(-0.2) * 0.7;
    // Even steps of the normal quantile, between the levels that a handful of examples define.
    let edge = normal_quantile((5.0 / n as f64).min(0.1)).abs();
    let mut places: Vec<f64> = (0..knots)
        .map(|k| {
            let level = -edge + 2.0 * edge * k as f64 / (knots - 1) as f64;
            quantile(0.5 * (1.0 + erf(level / std::f64::consts::SQRT_2)))
        })
        .collect();
    // Ties would make bins without width.
    let least = spread * 1e-3;
    (1..knots).for_each(|k| places[k] = places[k].max(places[k - 1] + least));
    let mut out = [Vec::new(), Vec::new(), Vec::new()];
    for &x in &places {
        let (cumulative, density) = smoothed(&values, x, width);
        let y = normal_quantile(cumulative.clamp(1e-9, 1.0 - 1e-9));
        let slope = density / (0.3989422804014327 * (-y * y / 2.0).exp());
        out[0].push(x as f32);
        out[1].push(((1.0 - way) * x + way * y) as f32);
        out[2].push(((1.0 - way) + way * slope.clamp(1e-2, 1e2)) as f32);
    }
    rising(&mut out);
    Some(out)
}

/// Cumulative distribution and density at `x` of sorted values, each smeared by a normal kernel.
fn smoothed(values: &[f32], x: f64, width: f64) -> (f64, f64) {
    const REACH: f64 = 6.0;
    let n = values.len() as f64;
    let low = values.partition_point(|&v| f64::from(v) < x - REACH * width);
    let high = values.partition_point(|&v| f64::from(v) < x + REACH * width);
    let mut cumulative = low as f64;
    let mut density = 0.0;
    for &value in &values[low..high] {
        let t = (x - f64::from(value)) / width;
        cumulative += 0.5 * (1.0 + erf(t / std::f64::consts::SQRT_2));
        density += (-t * t / 2.0).exp();
    }
    // Half an example at each end keeps quantiles finite.
    ((cumulative + 0.5) / (n + 1.0), density * 0.3989422804014327 / width / n)
}

/// The error function.
fn erf(x: f64) -> f64 {
    statrs::function::erf::erf(x)
}

/// The quantile of the normal distribution.
pub(super) fn normal_quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * p)
}
