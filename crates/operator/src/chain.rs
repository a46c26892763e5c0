//! Composition of operators: one after the other.

use std::sync::Arc;

use crate::{DynOperator, Error, Linearization, Operator, Real, Repeated, Result, Space};

/// `x -> F_n(... F_2(F_1(x)))`. Intermediate values live in buffers that are used again at every point.
pub struct Chain<T: Real> {
    links: Vec<DynOperator<T>>,
}

impl<T: Real> Chain<T> {
    /// Joins operators; the first in the list is applied first.
    ///
    /// # Errors
    /// If the list is empty or two neighbours do not fit.
    pub fn new(links: Vec<DynOperator<T>>) -> Result<Chain<T>> {
        if links.is_empty() {
            return Err(Error::parameter("chain", "needs at least one operator"));
        }
        for pair in links.windows(2) {
            if !pair[0].codomain().fits(pair[1].domain()) {
                return Err(Error::Join {
                    first: pair[0].name(),
                    second: pair[1].name(),
                    found: pair[0].codomain().to_string(),
                    expected: pair[1].domain().to_string(),
                });
            }
        }
        Ok(Chain { links })
    }

    /// The same chain, with neighbours replaced by one operator wherever they know how (see [`Operator::fuse`]).
    ///
    /// # Errors
    /// As [`Chain::new`].
    pub fn fused(links: Vec<DynOperator<T>>) -> Result<Chain<T>> {
        let mut chain = Chain::new(links)?;
        let mut fused: Vec<DynOperator<T>> = Vec::new();
        for link in chain.links.drain(..) {
            let both = fused.last().and_then(|last| last.fuse(link.as_ref()));
            if both.is_some() {
                fused.pop();
            }
            fused.push(both.unwrap_or(link));
        }
        Ok(Chain { links: fused })
    }

    /// The operators in the order in which they are applied.
    pub fn links(&self) -> &[DynOperator<T>] {
        &self.links
    }
}

impl<T: Real> Operator<T> for Chain<T> {
    fn name(&self) -> String {
        let names: Vec<String> = self.links.iter().map(|link| link.name()).collect();
        names.join(" -> ")
    }

    fn domain(&self) -> &Space {
        self.links[0].domain()
    }

    fn codomain(&self) -> &Space {
        self.links[self.links.len() - 1].codomain()
    }

    fn is_linear(&self) -> bool {
        self.links.iter().all(|link| link.is_linear())
    }

    fn repeated(&self, count: usize) -> Option<DynOperator<T>> {
        let repeated: Vec<Option<DynOperator<T>>> =
            self.links.iter().map(|link| link.repeated(count)).collect();
        // Worth its memory only if some link saves something.
        if repeated.iter().all(Option::is_none) {
            return None;
        }
        let one_by_one =
            |link: &DynOperator<T>| Arc::new(Repeated::new(link.clone(), count)) as DynOperator<T>;
        let links = repeated.into_iter().zip(&self.links);
        let links = links.map(|(many, link)| many.unwrap_or_else(|| one_by_one(link))).collect();
        Some(Arc::new(Chain { links }))
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        let inner = &self.links[..self.links.len() - 1];
        Box::new(ChainLinearization {
            links: self.links.iter().map(|link| link.linearization()).collect(),
            between: inner.iter().map(|link| vec![T::zero(); link.codomain().len()]).collect(),
        })
    }
}

struct ChainLinearization<'a, T: Real> {
    links: Vec<Box<dyn Linearization<T> + 'a>>,
    /// `between[i]` is what link `i` hands to link `i + 1`, in either direction.
    between: Vec<Vec<T>>,
}

impl<T: Real> ChainLinearization<'_, T> {
    fn forward(
        &mut self,
        x: &[T],
        y: &mut [T],
        step: impl Fn(&mut dyn Linearization<T>, &[T], &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let last = self.links.len() - 1;
        for (i, link) in self.links.iter_mut().enumerate() {
            let (before, after) = self.between.split_at_mut(i);
            let input = before.last().map_or(x, Vec::as_slice);
            let output = if i == last { &mut *y } else { &mut after[0] };
            step(link.as_mut(), input, output)?;
        }
        Ok(())
    }
}

impl<T: Real> Linearization<T> for ChainLinearization<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.forward(x, y, |link, input, output| link.move_to(input, output))
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.forward(dx, dy, |link, input, output| link.push(input, output))
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        for (i, link) in self.links.iter_mut().enumerate().rev() {
            let (before, after) = self.between.split_at_mut(i);
            let cotangent = after.first().map_or(dy, Vec::as_slice);
            let output = before.last_mut().map_or(&mut *dx, Vec::as_mut_slice);
            link.pull(cotangent, output)?;
        }
        Ok(())
    }
}
