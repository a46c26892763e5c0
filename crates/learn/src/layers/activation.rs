//! What makes a network more than a matrix: functions of single numbers.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use crate::Batch;
use crate::layer::{Layer, Mode, Trace, Weight};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// `x` above zero and `0.2 x` below.
    LeakyRelu,
    /// `x / (1 + exp(-x))`; smooth, which samplers like.
    Silu,
    /// `x` above zero and `exp(x) - 1` below.
    Elu,
    /// `tanh x`.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `ln(1 + exp(x))`.
    Softplus,
}

impl Function {
    /// Value and derivative.
    #[inline]
    pub fn evaluate<T: Real>(self, x: T) -> (T, T) {
        let (zero, one) = (T::zero(), T::one());
        match self {
            Function::Relu => {
                if x > zero {
                    (x, one)
                } else {
                    (zero, zero)
                }
            }
            Function::LeakyRelu => {
                let slope = T::of(0.2);
                if x > zero { (x, one) } else { (slope * x, slope) }
            }
            Function::Silu => {
                let s = sigmoid(x);
                (x * s, s * (one + x * (one - s)))
            }
            Function::Elu => {
                if x > zero {
                    (x, one)
                } else {
                    (x.exp_m1(), x.exp())
                }
            }
            Function::Tanh => {
                let y = x.tanh();
                (y, one - y * y)
            }
            Function::Sigmoid => {
                let s = sigmoid(x);
                (s, s * (one - s))
            }
            Function::Softplus => (softplus(x), sigmoid(x)),
        }
    }
}

/// `1 / (1 + exp(-x))`.
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// `ln(1 + exp(x))`, without overflow.
pub(crate) fn softplus<T: Real>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}

/// One function for every number of a row.
#[derive(Debug, Clone)]
pub struct Activation {
    function: Function,
    width: usize,
}

impl Activation {
    /// The function on rows of this width.
    pub fn new(function: Function, width: usize) -> Activation {
        Activation { function, width }
    }

    fn times_slope<T: Real>(&self, trace: &Trace<T>, dy: Batch<T>) -> Batch<T> {
        // One loop a function, so that the compiler can make vectors of it.
        let x = &trace.kept[0];
        macro_rules! loops {
            ($($function:ident),*) => {
                match self.function {
                    $(Function::$function => dy.zip_with(x, |dy, x| *dy *= Function::$function.evaluate(x).1),)*
                }
            };
        }
        loops!(Relu, LeakyRelu, Silu, Elu, Tanh, Sigmoid, Softplus)
    }
}

impl<T: Real> Layer<T> for Activation {
    fn inputs(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.width
    }

    fn weights(&self) -> Vec<Weight> {
        Vec::new()
    }

    fn forward(&self, _: &[T], x: Batch<T>, _: Mode) -> (Batch<T>, Trace<T>) {
        macro_rules! loops {
            ($($function:ident),*) => {
                match self.function {
                    $(Function::$function => x.clone().map(|x| *x = Function::$function.evaluate(*x).0),)*
                }
            };
        }
        (loops!(Relu, LeakyRelu, Silu, Elu, Tanh, Sigmoid, Softplus), Trace::of(vec![x]))
    }

    fn pull(&self, _: &[T], trace: &Trace<T>, dy: Batch<T>, _: Option<&mut [T]>) -> Batch<T> {
        self.times_slope(trace, dy)
    }

    fn push(&self, _: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.times_slope(trace, dx)
    }
}
