//! Functions of one number, applied to every entry.

use std::sync::Arc;

use rayon::prelude::*;

use crate::vector::CHUNK;
use crate::{Error, Linearization, Operator, Real, Result, Space};

type Scalar<T> = Arc<dyn Fn(T) -> T + Send + Sync>;

/// `y_i = f(x_i)`, with the derivative given beside the function.
pub struct Pointwise<T: Real> {
    name: String,
    domain: Space,
    codomain: Space,
    function: Scalar<T>,
    derivative: Scalar<T>,
}

impl<T: Real> Pointwise<T> {
    /// `f` and its derivative on every entry of `domain`; the output is called `codomain`.
    ///
    /// # Panics
    /// If the two spaces differ in length.
    pub fn new(
        name: impl Into<String>,
        domain: Space,
        codomain: Space,
        function: impl Fn(T) -> T + Send + Sync + 'static,
        derivative: impl Fn(T) -> T + Send + Sync + 'static,
    ) -> Pointwise<T> {
        assert_eq!(domain.len(), codomain.len(), "a pointwise map keeps the number of entries");
        Pointwise {
            name: name.into(),
            domain,
            codomain,
            function: Arc::new(function),
            derivative: Arc::new(derivative),
        }
    }

    /// The exponential on every entry.
    pub fn exp(space: Space) -> Pointwise<T> {
        Pointwise::new("exponential", space.clone(), space, T::exp, T::exp)
    }
}

impl<T: Real> Operator<T> for Pointwise<T> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(PointwiseLinearization { operator: self, slope: vec![T::zero(); self.domain.len()] })
    }
}

struct PointwiseLinearization<'a, T: Real> {
    operator: &'a Pointwise<T>,
    slope: Vec<T>,
}

impl<T: Real> PointwiseLinearization<'_, T> {
    fn scale(&self, a: &[T], b: &mut [T]) -> Result<()> {
        self.expect("input", a.len())?;
        self.expect("output", b.len())?;
        let chunks = b.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(self.slope.par_chunks(CHUNK));
        chunks.for_each(|((b, a), slope)| {
            for ((b, &a), &slope) in b.iter_mut().zip(a).zip(slope) {
                *b = a * slope;
            }
        });
        Ok(())
    }

    fn expect(&self, role: &'static str, found: usize) -> Result<()> {
        let expected = self.slope.len();
        if expected == found {
            return Ok(());
        }
        Err(Error::Length { operator: self.operator.name(), role, expected, found })
    }
}

impl<T: Real> Linearization<T> for PointwiseLinearization<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.expect("input", x.len())?;
        self.expect("output", y.len())?;
        let Pointwise { function, derivative, .. } = self.operator;
        let chunks = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(self.slope.par_chunks_mut(CHUNK));
        chunks.for_each(|((y, x), slope)| {
            for ((y, &x), slope) in y.iter_mut().zip(x).zip(slope) {
                *y = function(x);
                *slope = derivative(x);
            }
        });
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.scale(dx, dy)
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        self.scale(dy, dx)
    }
}
