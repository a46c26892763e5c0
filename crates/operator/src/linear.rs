//! Linear operators: the special case whose linearization is the operator itself.

use std::any::Any;
use std::sync::Arc;

use crate::{DynOperator, Error, Linearization, Operator, Real, Result, Space};

/// A linear map `y = A x` and its transpose `x = A^T y`, each writing into a given slice.
pub trait LinearOperator<T: Real>: Send + Sync {
    /// Buffers that both directions use again from call to call.
    type Scratch: Send;

    /// Name in plain words.
    fn name(&self) -> String;

    /// What goes in.
    fn domain(&self) -> &Space;

    /// What comes out.
    fn codomain(&self) -> &Space;

    /// Buffers for [`forward`](LinearOperator::forward) and [`adjoint`](LinearOperator::adjoint).
    fn scratch(&self) -> Self::Scratch;

    /// `y = A x`.
    fn forward(&self, x: &[T], y: &mut [T], scratch: &mut Self::Scratch);

    /// `x = A^T y`.
    fn adjoint(&self, y: &[T], x: &mut [T], scratch: &mut Self::Scratch);

    /// As [`Operator::fuse`].
    fn fuse(&self, next: &dyn Operator<T>) -> Option<DynOperator<T>> {
        let _ = next;
        None
    }

    /// This map as a shared [`Operator`].
    fn shared(self) -> DynOperator<T>
    where
        Self: Sized + 'static,
    {
        Arc::new(Linear(self))
    }
}

/// A [`LinearOperator`] seen as an [`Operator`].
pub struct Linear<A>(pub A);

struct LinearLinearization<'a, T: Real, A: LinearOperator<T>> {
    operator: &'a A,
    scratch: A::Scratch,
}

impl<T: Real, A: LinearOperator<T>> LinearLinearization<'_, T, A> {
    fn expect(&self, role: &'static str, expected: usize, found: usize) -> Result<()> {
        Error::check_length(|| self.operator.name(), role, found, expected)
    }
}

impl<T: Real, A: LinearOperator<T>> Linearization<T> for LinearLinearization<'_, T, A> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.push(x, y)
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.expect("input", self.operator.domain().len(), dx.len())?;
        self.expect("output", self.operator.codomain().len(), dy.len())?;
        self.operator.forward(dx, dy, &mut self.scratch);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        self.expect("cotangent", self.operator.codomain().len(), dy.len())?;
        self.expect("input", self.operator.domain().len(), dx.len())?;
        self.operator.adjoint(dy, dx, &mut self.scratch);
        Ok(())
    }
}

impl<T: Real, A: LinearOperator<T> + 'static> Operator<T> for Linear<A> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn domain(&self) -> &Space {
        self.0.domain()
    }

    fn codomain(&self) -> &Space {
        self.0.codomain()
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn fuse(&self, next: &dyn Operator<T>) -> Option<DynOperator<T>> {
        self.0.fuse(next)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(LinearLinearization { operator: &self.0, scratch: self.0.scratch() })
    }
}

/// The map that leaves everything as it is; it carries blocks past an operator in a [`Stack`](crate::Stack).
pub struct Identity {
    space: Space,
}

impl Identity {
    /// The identity on `space`.
    pub fn new(space: Space) -> Identity {
        Identity { space }
    }
}

impl<T: Real> LinearOperator<T> for Identity {
    type Scratch = ();

    fn name(&self) -> String {
        "as it is".into()
    }

    fn domain(&self) -> &Space {
        &self.space
    }

    fn codomain(&self) -> &Space {
        &self.space
    }

    fn scratch(&self) {}

    fn forward(&self, x: &[T], y: &mut [T], (): &mut ()) {
        y.copy_from_slice(x);
    }

    fn adjoint(&self, y: &[T], x: &mut [T], (): &mut ()) {
        x.copy_from_slice(y);
    }
}
