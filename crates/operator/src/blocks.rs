//! Blocks that pass an operator by, are left out, or get other names.

use crate::{DynOperator, Error, LinearOperator, Linearization, Operator, Real, Result, Space};

/// `x -> (F(x), x_k, x_(k+1), ...)`: an operator, and the last blocks of what it was given beside what it makes of it.
pub struct Remember<T: Real> {
    inner: DynOperator<T>,
    kept: usize,
    codomain: Space,
}

impl<T: Real> Remember<T> {
    /// Remembers the last `count` blocks.
    ///
    /// # Errors
    /// If there are fewer, or one has the name of a block of the result.
    pub fn new(inner: DynOperator<T>, count: usize) -> Result<Remember<T>> {
        let blocks = inner.domain().blocks();
        let Some(first) = blocks.len().checked_sub(count) else {
            let message = format!("cannot remember {count} of {} blocks", blocks.len());
            return Err(Error::parameter("remember", message));
        };
        let kept = Space::new(blocks[first..].to_vec());
        if let Some(block) = kept.blocks().iter().find(|b| inner.codomain().range(&b.name).is_some()) {
            return Err(Error::parameter("remember", format!("two blocks are called `{}`", block.name)));
        }
        let codomain = inner.codomain().join(&kept);
        Ok(Remember { kept: kept.len(), codomain, inner })
    }
}

impl<T: Real> Operator<T> for Remember<T> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn domain(&self) -> &Space {
        self.inner.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn is_linear(&self) -> bool {
        self.inner.is_linear()
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(RememberLinearization { operator: self, inner: self.inner.linearization() })
    }
}

struct RememberLinearization<'a, T: Real> {
    operator: &'a Remember<T>,
    inner: Box<dyn Linearization<T> + 'a>,
}

impl<T: Real> RememberLinearization<'_, T> {
    /// Checks both lengths, and says where the remembered part begins in the input and in the output.
    fn split(&self, inside: usize, outside: usize) -> Result<(usize, usize)> {
        let Remember { inner, kept, codomain } = self.operator;
        Error::check_length(|| inner.name(), "input", inside, inner.domain().len())?;
        Error::check_length(|| inner.name(), "output", outside, codomain.len())?;
        Ok((inside - kept, outside - kept))
    }
}

impl<T: Real> Linearization<T> for RememberLinearization<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        let (from, to) = self.split(x.len(), y.len())?;
        y[to..].copy_from_slice(&x[from..]);
        self.inner.move_to(x, &mut y[..to])
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        let (from, to) = self.split(dx.len(), dy.len())?;
        dy[to..].copy_from_slice(&dx[from..]);
        self.inner.push(dx, &mut dy[..to])
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        let (from, to) = self.split(dx.len(), dy.len())?;
        self.inner.pull(&dy[..to], dx)?;
        dx[from..].iter_mut().zip(&dy[to..]).for_each(|(dx, dy)| *dx += *dy);
        Ok(())
    }
}

/// Leaves out some blocks.
pub struct Forget {
    domain: Space,
    codomain: Space,
    /// What is left out of the flat vector.
    gap: std::ops::Range<usize>,
}

impl Forget {
    /// Leaves out the blocks with these numbers.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn new(space: Space, blocks: std::ops::Range<usize>) -> Result<Forget> {
        if blocks.end > space.blocks().len() || blocks.start > blocks.end {
            let message = format!("no blocks {blocks:?} in {space}");
            return Err(Error::parameter("forget", message));
        }
        let len = |part: &[crate::Block]| part.iter().map(crate::Block::len).sum::<usize>();
        let start = len(&space.blocks()[..blocks.start]);
        let gap = start..start + len(&space.blocks()[blocks.clone()]);
        let kept = [&space.blocks()[..blocks.start], &space.blocks()[blocks.end..]].concat();
        Ok(Forget { codomain: Space::new(kept), domain: space, gap })
    }
}

impl<T: Real> LinearOperator<T> for Forget {
    type Scratch = ();

    fn name(&self) -> String {
        "what is known from here on".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) {}

    fn forward(&self, x: &[T], y: &mut [T], (): &mut ()) {
        let (before, after) = y.split_at_mut(self.gap.start);
        before.copy_from_slice(&x[..self.gap.start]);
        after.copy_from_slice(&x[self.gap.end..]);
    }

    fn adjoint(&self, y: &[T], x: &mut [T], (): &mut ()) {
        let (before, after) = y.split_at(self.gap.start);
        x[..self.gap.start].copy_from_slice(before);
        x[self.gap.clone()].fill(T::zero());
        x[self.gap.end..].copy_from_slice(after);
    }
}

/// An operator whose results have other names.
pub struct Renamed<T: Real> {
    inner: DynOperator<T>,
    codomain: Space,
}

impl<T: Real> Renamed<T> {
    /// Calls the blocks of the result as `name` says.
    pub fn new(inner: DynOperator<T>, name: impl Fn(&str) -> String) -> Renamed<T> {
        let blocks = inner.codomain().blocks().iter().cloned().map(|mut block| {
            block.name = name(&block.name);
            block
        });
        Renamed { codomain: Space::new(blocks.collect()), inner }
    }
}

impl<T: Real> Operator<T> for Renamed<T> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn domain(&self) -> &Space {
        self.inner.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn is_linear(&self) -> bool {
        self.inner.is_linear()
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        self.inner.linearization()
    }
}
