//! The seam of the house: a differentiable map, and its linearization at a point.

use std::any::Any;
use std::sync::Arc;

use crate::{Chain, Error, Real, Result, Space};

/// A differentiable map `y = F(x)` between two [`Space`]s.
///
/// Implement [`linearization`](Operator::linearization) and the descriptions; the rest follows. For a linear map
/// implement [`LinearOperator`](crate::LinearOperator) instead, which needs no state. Every operator must pass
/// [`laws::check`](crate::laws::check).
pub trait Operator<T: Real>: Send + Sync {
    /// Name in plain words, for messages and for `lookback check`.
    fn name(&self) -> String;

    /// What goes in.
    fn domain(&self) -> &Space;

    /// What comes out.
    fn codomain(&self) -> &Space;

    /// A linearization that does not stand at any point yet: it owns the buffers, which every later
    /// [`move_to`](Linearization::move_to) uses again.
    fn linearization(&self) -> Box<dyn Linearization<T> + '_>;

    /// True if `F(a x + b y) = a F(x) + b F(y)`.
    fn is_linear(&self) -> bool {
        false
    }

    /// An operator that does what this one followed by `next` does, but at less cost; `None` if there is no such
    /// shortcut. [`Chain::fused`] asks neighbours.
    fn fuse(&self, next: &dyn Operator<T>) -> Option<DynOperator<T>> {
        let _ = next;
        None
    }

    /// This operator at `count` points at once, whose numbers lie one point after the other, where that costs less than one evaluation
    /// after the other (networks, whose weights are read once for all); `None` elsewhere and where there are no points, see [`Repeated`](crate::Repeated).
    fn repeated(&self, count: usize) -> Option<DynOperator<T>> {
        let _ = count;
        None
    }

    /// This operator as a value of any type, for [`fuse`](Operator::fuse) to recognise its neighbour; `None` if it does
    /// not want to be recognised.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Writes `F(x)` into `y`. Operators override it where the value alone is cheaper.
    ///
    /// # Errors
    /// If a length is wrong, or the operator cannot be evaluated at `x`.
    fn apply_into(&self, x: &[T], y: &mut [T]) -> Result<()> {
        self.linearization().move_to(x, y)
    }

    /// `F(x)` in a new vector.
    ///
    /// # Errors
    /// As [`apply_into`](Operator::apply_into).
    fn apply(&self, x: &[T]) -> Result<Vec<T>> {
        let mut y = vec![T::zero(); self.codomain().len()];
        self.apply_into(x, &mut y)?;
        Ok(y)
    }

    /// `F(x)` and the linearization at `x`.
    ///
    /// # Errors
    /// As [`apply_into`](Operator::apply_into).
    #[allow(clippy::type_complexity)]
    fn linearize(&self, x: &[T]) -> Result<(Vec<T>, Box<dyn Linearization<T> + '_>)> {
        let mut linearization = self.linearization();
        let mut y = vec![T::zero(); self.codomain().len()];
        linearization.move_to(x, &mut y)?;
        Ok((y, linearization))
    }
}

/// The Jacobian `J = dF/dx` at a point, as two products. It owns whatever they need, and its buffers.
pub trait Linearization<T: Real>: Send {
    /// Moves to the point `x` and writes `F(x)` into `y`.
    ///
    /// # Errors
    /// If a length is wrong, or the operator cannot be evaluated at `x`.
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()>;

    /// Jacobian-vector product, forward mode: `dy = J dx`.
    ///
    /// # Errors
    /// If a length is wrong.
    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()>;

    /// Vector-Jacobian product, reverse mode: `dx = J^T dy`.
    ///
    /// # Errors
    /// If a length is wrong.
    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()>;
}

/// Stands in for a linearization that could not be made, and says why whenever it is used.
pub struct Unavailable(pub Error);

impl<T: Real> Linearization<T> for Unavailable {
    fn move_to(&mut self, _: &[T], _: &mut [T]) -> Result<()> {
        Err(self.0.clone())
    }

    fn push(&mut self, _: &[T], _: &mut [T]) -> Result<()> {
        Err(self.0.clone())
    }

    fn pull(&mut self, _: &[T], _: &mut [T]) -> Result<()> {
        Err(self.0.clone())
    }
}

/// An operator behind a shared pointer, as compositions hold it.
pub type DynOperator<T> = Arc<dyn Operator<T>>;

/// Composition, read in the order in which things happen: `prior.then(forward_model)`.
pub trait Then<T: Real> {
    /// `x -> next(self(x))`, as one operator where the two know a shortcut.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn then(self, next: DynOperator<T>) -> Result<DynOperator<T>>;
}

impl<T: Real> Then<T> for DynOperator<T> {
    fn then(self, next: DynOperator<T>) -> Result<DynOperator<T>> {
        Ok(Arc::new(Chain::fused(vec![self, next])?))
    }
}

impl<T: Real, O: Operator<T> + ?Sized> Operator<T> for Arc<O> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn domain(&self) -> &Space {
        (**self).domain()
    }

    fn codomain(&self) -> &Space {
        (**self).codomain()
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        (**self).linearization()
    }

    fn is_linear(&self) -> bool {
        (**self).is_linear()
    }

    fn fuse(&self, next: &dyn Operator<T>) -> Option<DynOperator<T>> {
        (**self).fuse(next)
    }

    fn repeated(&self, count: usize) -> Option<DynOperator<T>> {
        (**self).repeated(count)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        (**self).as_any()
    }

    fn apply_into(&self, x: &[T], y: &mut [T]) -> Result<()> {
        (**self).apply_into(x, y)
    }
}
