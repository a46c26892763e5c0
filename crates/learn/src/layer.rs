//! What a network is made of: a layer, its weights, and its derivatives.

use std::fmt::{Debug, Display};

use lookback_operator::Real;
use lookback_operator::random::{Purpose, Stream};

use crate::Batch;

/// How the first values of an array of weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Begin {
    /// Normal numbers of this standard deviation.
    Normal(f64),
    /// All the same.
    Constant(f64),
}

/// What may change an array of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Training, and decay towards zero.
    Matrix,
    /// Training.
    Vector,
    /// Only what passes through: running means, directions of the power iteration.
    Statistic,
}

/// One array of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Name within its layer; with the names above it joined by dots within a network.
    pub name: String,
    /// Shape, the last index fastest.
    pub shape: Vec<usize>,
    /// First values.
    pub begin: Begin,
    /// What may change it.
    pub role: Role,
}

impl Weight {
    pub(crate) fn new(name: &str, shape: &[usize], begin: Begin, role: Role) -> Weight {
        Weight { name: name.into(), shape: shape.to_vec(), begin, role }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same array with the name of what it belongs to before its own.
    pub(crate) fn within(self, owner: impl Display) -> Weight {
        Weight { name: format!("{owner}.{}", self.name), ..self }
    }

    /// Number of entries of many.
    pub(crate) fn total(all: &[Weight]) -> usize {
        all.iter().map(Weight::len).sum()
    }
}

/// First values of all weights, one after the other. They depend on the seed alone.
pub fn begin<T: Real>(weights: &[Weight], seed: u64) -> Vec<T> {
    let mut all = Vec::with_capacity(Weight::total(weights));
    for (index, weight) in weights.iter().enumerate() {
        let start = all.len();
        all.resize(start + weight.len(), T::zero());
        let values = &mut all[start..];
        match weight.begin {
            Begin::Constant(value) => values.fill(T::of(value)),
            Begin::Normal(std) => {
                Stream::new(seed, Purpose::Training, index as u32).fill_normal(values);
                values.iter_mut().for_each(|x| *x *= T::of(std));
            }
        }
    }
    all
}

/// Whether a network is being trained.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// As it was left by training: every row by itself.
    Frozen,
    /// Statistics come from the batch, and what is dropped from this stream.
    Training {
        /// Random numbers of this step.
        stream: Stream,
    },
}

/// What a layer keeps of a forward pass for its derivatives.
#[derive(Debug, Clone)]
pub struct Trace<T> {
    /// Arrays, in an order that the layer knows.
    pub(crate) kept: Vec<Batch<T>>,
    /// Traces of the layers inside.
    pub(crate) inner: Vec<Trace<T>>,
}

impl<T> Trace<T> {
    pub(crate) fn of(kept: Vec<Batch<T>>) -> Trace<T> {
        Trace { kept, inner: Vec::new() }
    }
}

/// A differentiable map of rows to rows, with weights.
///
/// `weights` and `gradient` are the arrays of [`weights`](Layer::weights), one after the other. Every layer passes
/// [`laws::check`](crate::laws::check).
pub trait Layer<T: Real>: Send + Sync + Debug {
    /// Numbers a row that go in.
    fn inputs(&self) -> usize;

    /// Numbers a row that come out.
    fn outputs(&self) -> usize;

    /// The arrays of weights, in order.
    fn weights(&self) -> Vec<Weight>;

    /// The value, and what the derivatives need.
    fn forward(&self, weights: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>);

    /// Reverse mode: the cotangent of the input; adds that of the weights to `gradient`.
    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T>;

    /// Forward mode with frozen weights: the tangent of the output. The trace must be of [`Mode::Frozen`].
    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T>;

    /// Takes what a pass in training has measured into the weights of [`Role::Statistic`].
    fn absorb(&self, weights: &mut [T], trace: &Trace<T>) {
        let _ = (weights, trace);
    }
}
