//! Associated Legendre functions, normalised as in spherical harmonics.

use std::f64::consts::PI;

/// Numbers of the recursion are kept below this by powers of it.
const LARGE: f64 = 1e200;

/// The functions `P_lm` of one order `m` and degrees up to a largest one, such that `Y_lm = P_lm(cos theta) exp(i m phi)` but for the
/// sign `(-1)^m`, by the recursion `P_l = a_l (x P_(l-1) - b_l P_(l-2))`.
pub struct Legendre {
    m: usize,
    /// Logarithm of the first function over `sin^m theta`.
    first: f64,
    /// `a_l` and `b_l` from `l = m + 1` on.
    steps: Vec<[f64; 2]>,
}

impl Legendre {
    /// Order `m`, degrees up to `largest`.
    pub fn new(m: usize, largest: usize) -> Legendre {
        // P_mm = sqrt((2m + 1) / 4 pi * prod (2k - 1) / 2k) sin^m theta, without the sign that does not count here.
        let product: f64 = (1..=m).map(|k| ((2 * k - 1) as f64 / (2 * k) as f64).ln()).sum();
        let first = 0.5 * (((2 * m + 1) as f64 / (4.0 * PI)).ln() + product);
        let m2 = (m * m) as f64;
        let a = |l: usize| {
            let l2 = (l * l) as f64;
            ((4.0 * l2 - 1.0) / (l2 - m2)).sqrt()
        };
        let steps = (m + 1..=largest)
            .map(|l| {
                let before = if l == m + 1 { 0.0 } else { 1.0 / a(l - 1) };
                [a(l), before]
            })
            .collect();
        Legendre { m, first, steps }
    }

    /// Calls `f(l, P_lm)` at a colatitude, where the function is not negligibly small.
    pub fn visit(&self, theta: f64, mut f: impl FnMut(usize, f64)) {
        self.walk(theta, |l, value, _| f(l, value));
    }

    /// Calls `f(l, P_lm, dP_lm / dtheta)`, with `sin theta dP_l/dtheta = l cos theta P_l - (2 l + 1) / a_l P_(l-1)`.
    pub fn visit_with_slopes(&self, theta: f64, mut f: impl FnMut(usize, f64, f64)) {
        let (sine, x) = theta.sin_cos();
        self.walk(theta, |l, value, before| {
            let below =
                if l == self.m { 0.0 } else { (2 * l + 1) as f64 / self.steps[l - self.m - 1][0] * before };
            f(l, value, (l as f64 * x * value - below) / sine);
        });
    }

    /// Calls `f(l, P_lm, P_(l-1)m)`.
    fn walk(&self, theta: f64, mut f: impl FnMut(usize, f64, f64)) {
        let (sine, x) = theta.sin_cos();
        let log = self.first + self.m as f64 * sine.ln();
        // The value is `current * LARGE^scale`.
        let scale_log = LARGE.ln();
        let mut scale = (log / scale_log).ceil().min(0.0);
        let mut current = (log - scale * scale_log).exp();
        let mut before = 0.0;
        if scale == 0.0 {
            f(self.m, current, before);
        }
        for (i, [a, b]) in self.steps.iter().enumerate() {
            let next = a * (x * current - b * before);
            (before, current) = (current, next);
            if scale < 0.0 && current.abs() > 1.0 {
                // What is still scaled down by LARGE is nothing; growing out of it, it starts to count.
                scale += 1.0;
                before /= LARGE;
                current /= LARGE;
            }
            if scale == 0.0 {
                f(self.m + 1 + i, current, before);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_agree_with_differences() {
        for (m, theta) in [(0, 0.3), (1, 1.2), (2, 2.9), (7, 0.8)] {
            let legendre = Legendre::new(m, 12);
            let at = |theta: f64| {
                let mut all = Vec::new();
                legendre.visit(theta, |_, value| all.push(value));
                all
            };
            let (low, high) = (at(theta - 1e-5), at(theta + 1e-5));
            legendre.visit_with_slopes(theta, |l, _, slope| {
                let difference = (high[l - m] - low[l - m]) / 2e-5;
                assert!(
                    (slope - difference).abs() < 1e-7 * (1.0 + slope.abs()),
                    "{l} {m}: {slope} {difference}"
                );
            });
        }
    }
}
