//! The numbers that formulas are written for: plain, or with derivatives.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A real number, or one that carries its derivatives: what a formula needs, whichever it is.
pub trait Scalar:
    Copy
    + Debug
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
    + AddAssign
    + Sum
{
    /// A constant.
    fn of(value: f64) -> Self;
    /// The number without its derivatives.
    fn value(self) -> f64;
    /// `f(x)` from the value and the derivative of `f` at `x`.
    fn chain(self, value: f64, slope: f64) -> Self;

    /// `e^x`.
    fn exp(self) -> Self {
        let e = self.value().exp();
        self.chain(e, e)
    }

    /// Natural logarithm.
    fn ln(self) -> Self {
        self.chain(self.value().ln(), 1.0 / self.value())
    }

    /// Square root.
    fn sqrt(self) -> Self {
        let root = self.value().sqrt();
        self.chain(root, 0.5 / root)
    }

    /// `x^p` for a constant power.
    fn powf(self, p: f64) -> Self {
        self.chain(self.value().powf(p), p * self.value().powf(p - 1.0))
    }

    /// `x^n` for a constant integer power.
    fn powi(self, n: i32) -> Self {
        self.chain(self.value().powi(n), f64::from(n) * self.value().powi(n - 1))
    }

    /// `x^y` for positive `x`.
    fn pow(self, y: Self) -> Self {
        (self.ln() * y).exp()
    }

    /// Absolute value.
    fn abs(self) -> Self {
        if self.value() < 0.0 { -self } else { self }
    }
}

impl Scalar for f64 {
    fn of(value: f64) -> f64 {
        value
    }

    fn value(self) -> f64 {
        self
    }

    fn chain(self, value: f64, _slope: f64) -> f64 {
        value
    }
}
