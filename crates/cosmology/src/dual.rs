//! Dual numbers: a value with its derivatives with respect to `N` parameters.

// The product and quotient rules need sums inside of `mul` and `div`.
#![allow(clippy::suspicious_arithmetic_impl)]

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::Scalar;

/// A value and its gradient. Arithmetic carries the chain rule, so any formula written for a [`Scalar`] is
/// differentiated exactly (Wengert 1964, "A simple automatic derivative evaluation program").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dual<const N: usize> {
    /// The value.
    pub value: f64,
    /// Derivatives with respect to each parameter.
    pub gradient: [f64; N],
}

impl<const N: usize> Dual<N> {
    /// Parameter number `index`, at `value`.
    ///
    /// # Panics
    /// If `index >= N`.
    pub fn variable(value: f64, index: usize) -> Dual<N> {
        let mut gradient = [0.0; N];
        gradient[index] = 1.0;
        Dual { value, gradient }
    }

    fn map(self, value: f64, f: impl Fn(f64) -> f64) -> Dual<N> {
        Dual { value, gradient: self.gradient.map(f) }
    }

    fn zip(self, other: Dual<N>, value: f64, f: impl Fn(f64, f64) -> f64) -> Dual<N> {
        let mut gradient = self.gradient;
        for (a, b) in gradient.iter_mut().zip(other.gradient) {
            *a = f(*a, b);
        }
        Dual { value, gradient }
    }
}

impl<const N: usize> Scalar for Dual<N> {
    fn of(value: f64) -> Dual<N> {
        Dual { value, gradient: [0.0; N] }
    }

    fn value(self) -> f64 {
        self.value
    }

    fn chain(self, value: f64, slope: f64) -> Dual<N> {
        self.map(value, |g| if g == 0.0 { 0.0 } else { g * slope })
    }
}

impl<const N: usize> Add for Dual<N> {
    type Output = Dual<N>;
    fn add(self, other: Dual<N>) -> Dual<N> {
        self.zip(other, self.value + other.value, |a, b| a + b)
    }
}

impl<const N: usize> Sub for Dual<N> {
    type Output = Dual<N>;
    fn sub(self, other: Dual<N>) -> Dual<N> {
        self.zip(other, self.value - other.value, |a, b| a - b)
    }
}

impl<const N: usize> Mul for Dual<N> {
    type Output = Dual<N>;
    fn mul(self, other: Dual<N>) -> Dual<N> {
        self.zip(other, self.value * other.value, |a, b| a * other.value + self.value * b)
    }
}

impl<const N: usize> Div for Dual<N> {
    type Output = Dual<N>;
    fn div(self, other: Dual<N>) -> Dual<N> {
        let ratio = self.value / other.value;
        self.zip(other, ratio, |a, b| (a - ratio * b) / other.value)
    }
}

impl<const N: usize> Neg for Dual<N> {
    type Output = Dual<N>;
    fn neg(self) -> Dual<N> {
        self.map(-self.value, |g| -g)
    }
}

impl<const N: usize> Add<f64> for Dual<N> {
    type Output = Dual<N>;
    fn add(self, other: f64) -> Dual<N> {
        Dual { value: self.value + other, ..self }
    }
}

impl<const N: usize> Sub<f64> for Dual<N> {
    type Output = Dual<N>;
    fn sub(self, other: f64) -> Dual<N> {
        Dual { value: self.value - other, ..self }
    }
}

impl<const N: usize> Mul<f64> for Dual<N> {
    type Output = Dual<N>;
    fn mul(self, other: f64) -> Dual<N> {
        self.map(self.value * other, |g| g * other)
    }
}

impl<const N: usize> Div<f64> for Dual<N> {
    type Output = Dual<N>;
    fn div(self, other: f64) -> Dual<N> {
        self.map(self.value / other, |g| g / other)
    }
}

impl<const N: usize> AddAssign for Dual<N> {
    fn add_assign(&mut self, other: Dual<N>) {
        *self = *self + other;
    }
}

impl<const N: usize> Sum for Dual<N> {
    fn sum<I: Iterator<Item = Dual<N>>>(terms: I) -> Dual<N> {
        terms.fold(Dual::of(0.0), |sum, term| sum + term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A formula that uses every operation, against its central differences.
    #[test]
    fn derivatives_agree_with_differences() {
        fn formula<S: Scalar>(x: S, y: S) -> S {
            let terms = [
                x.exp() / (y + 1.5),
                (x * y).ln(),
                x.sqrt() - y.powf(1.7),
                x.pow(y) * 0.5,
                -(x - y).abs() + y.powi(3) / 2.0,
                S::of(2.0) - 0.25,
            ];
            terms.into_iter().sum()
        }
        let (x, y) = (0.7, 1.3);
        let dual = formula(Dual::<2>::variable(x, 0), Dual::variable(y, 1));
        assert!((dual.value - formula(x, y)).abs() < 1e-15);
        let h = 1e-6;
        let by_x = (formula(x + h, y) - formula(x - h, y)) / (2.0 * h);
        let by_y = (formula(x, y + h) - formula(x, y - h)) / (2.0 * h);
        assert!((dual.gradient[0] - by_x).abs() < 1e-8, "{} {by_x}", dual.gradient[0]);
        assert!((dual.gradient[1] - by_y).abs() < 1e-8, "{} {by_y}", dual.gradient[1]);
    }
}
