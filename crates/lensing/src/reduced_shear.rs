//! Reduced shear: what galaxy shapes measure where the convergence is not small.

use lookback_mesh::{Grid, Multiplier};
use lookback_operator::{Block, Error, LinearOperator, Linearization, Operator, Real, Result, Space};

use crate::kaiser_squires;

/// `g = gamma / (1 - kappa)` with `gamma` from `kappa` by [`kaiser_squires`].
///
/// Derivative `dg = (dgamma + g dkappa) / (1 - kappa)`. Where `kappa` comes near 1 (strong lensing) the values grow
/// without bound and stop being a model of weak lensing.
pub struct ReducedShear<T: Real> {
    shear: Multiplier<T>,
    codomain: Space,
}

impl<T: Real> ReducedShear<T> {
    /// The map from convergence to reduced shear on a flat sky.
    ///
    /// # Errors
    /// If the grid is not two-dimensional.
    pub fn new(grid: &Grid) -> Result<ReducedShear<T>> {
        let codomain =
            Space::new(vec![Block::new("g1", grid.shape(), ""), Block::new("g2", grid.shape(), "")]);
        Ok(ReducedShear { shear: kaiser_squires(grid)?, codomain })
    }
}

impl<T: Real> Operator<T> for ReducedShear<T> {
    fn name(&self) -> String {
        "reduced shear".into()
    }

    fn domain(&self) -> &Space {
        self.shear.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        let n = self.shear.domain().len();
        Box::new(ReducedShearLinearization {
            operator: self,
            scratch: self.shear.scratch(),
            boost: vec![T::zero(); n],
            g: vec![T::zero(); 2 * n],
            work: vec![T::zero(); 2 * n],
        })
    }
}

struct ReducedShearLinearization<'a, T: Real> {
    operator: &'a ReducedShear<T>,
    scratch: <Multiplier<T> as LinearOperator<T>>::Scratch,
    /// `1 / (1 - kappa)`.
    boost: Vec<T>,
    g: Vec<T>,
    work: Vec<T>,
}

impl<T: Real> ReducedShearLinearization<'_, T> {
    fn check(&self, kappa: usize, g: usize) -> Result<()> {
        let n = self.boost.len();
        for (role, expected, found) in [("input", n, kappa), ("output", 2 * n, g)] {
            if expected != found {
                return Err(Error::Length { operator: self.operator.name(), role, expected, found });
            }
        }
        Ok(())
    }
}

impl<T: Real> Linearization<T> for ReducedShearLinearization<'_, T> {
    fn move_to(&mut self, kappa: &[T], g: &mut [T]) -> Result<()> {
        self.check(kappa.len(), g.len())?;
        self.operator.shear.forward(kappa, g, &mut self.scratch);
        self.boost.iter_mut().zip(kappa).for_each(|(boost, &kappa)| *boost = (T::one() - kappa).recip());
        for component in g.chunks_mut(kappa.len()) {
            component.iter_mut().zip(&self.boost).for_each(|(g, &boost)| *g *= boost);
        }
        self.g.copy_from_slice(g);
        Ok(())
    }

    fn push(&mut self, dkappa: &[T], dg: &mut [T]) -> Result<()> {
        self.check(dkappa.len(), dg.len())?;
        self.operator.shear.forward(dkappa, dg, &mut self.scratch);
        let n = dkappa.len();
        for (dg, g) in dg.chunks_mut(n).zip(self.g.chunks(n)) {
            for (((dg, &g), &dkappa), &boost) in dg.iter_mut().zip(g).zip(dkappa).zip(&self.boost) {
                *dg = (*dg + g * dkappa) * boost;
            }
        }
        Ok(())
    }

    fn pull(&mut self, dg: &[T], dkappa: &mut [T]) -> Result<()> {
        self.check(dkappa.len(), dg.len())?;
        let n = dkappa.len();
        for (work, dg) in self.work.chunks_mut(n).zip(dg.chunks(n)) {
            work.iter_mut().zip(dg).zip(&self.boost).for_each(|((work, &dg), &boost)| *work = dg * boost);
        }
        self.operator.shear.adjoint(&self.work, dkappa, &mut self.scratch);
        for (work, g) in self.work.chunks(n).zip(self.g.chunks(n)) {
            dkappa.iter_mut().zip(work).zip(g).for_each(|((out, &work), &g)| *out += work * g);
        }
        Ok(())
    }
}
