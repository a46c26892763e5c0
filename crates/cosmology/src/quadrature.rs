//! Gauss-Legendre quadrature.

/// Nodes and weights of the `n`-point rule on `[-1, 1]`, exact for polynomials of degree `2 n - 1`.
///
/// Roots of the Legendre polynomial by Newton's method from Tricomi's estimate (Abramowitz & Stegun 1972, 25.4.29).
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let count = n as f64;
    (0..n)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (count + 0.5)).cos();
            let mut slope = 0.0;
            for _ in 0..100 {
                let (mut p, mut before) = (1.0, 0.0);
                for j in 0..n {
                    let j = j as f64;
                    (p, before) = (((2.0 * j + 1.0) * x * p - j * before) / (j + 1.0), p);
                }
                slope = count * (x * p - before) / (x * x - 1.0);
                let step = p / slope;
                x -= step;
                if step.abs() < 1e-15 {
                    break;
                }
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

/// The same rule moved to `[a, b]`.
pub(crate) fn on_interval(rule: &[(f64, f64)], a: f64, b: f64) -> impl Iterator<Item = (f64, f64)> + '_ {
    let (middle, half) = (0.5 * (a + b), 0.5 * (b - a));
    rule.iter().map(move |&(x, w)| (middle + half * x, half * w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_for_polynomials_of_degree_2n_minus_1() {
        for n in 1..=40 {
            let rule = gauss_legendre(n);
            for degree in 0..2 * n as i32 {
                let integral: f64 = rule.iter().map(|(x, w)| w * x.powi(degree)).sum();
                let exact = if degree % 2 == 0 { 2.0 / f64::from(degree + 1) } else { 0.0 };
                assert!((integral - exact).abs() < 1e-13, "{n} {degree}: {integral} {exact}");
            }
        }
    }
}
