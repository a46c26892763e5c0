//! The multiplicative calibration of measured shapes.

use lookback_operator::{Block, Error, Linearization, Operator, Real, Result, Space, vector};

/// `(shear, m) -> (1 + m) shear`: the last block of the domain is the scalar `m`; the others keep their names.
/// (Heymans et al. 2006, eq. 8, with `c = 0`.)
pub struct ShearCalibration {
    domain: Space,
    codomain: Space,
}

impl ShearCalibration {
    /// Calibration of the maps in `shear` by a parameter called `parameter`.
    pub fn new(shear: &Space, parameter: &str) -> ShearCalibration {
        let domain = shear.join(&Space::new(vec![Block::new(parameter, &[], "")]));
        ShearCalibration { domain, codomain: shear.clone() }
    }
}

impl<T: Real> Operator<T> for ShearCalibration {
    fn name(&self) -> String {
        "shear calibration".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(CalibrationLinearization { operator: self, at: vec![T::zero(); self.domain.len()] })
    }
}

struct CalibrationLinearization<'a, T: Real> {
    operator: &'a ShearCalibration,
    at: Vec<T>,
}

impl<T: Real> CalibrationLinearization<'_, T> {
    fn check(&self, inside: usize, outside: usize) -> Result<()> {
        let n = self.operator.codomain.len();
        for (role, expected, found) in [("input", n + 1, inside), ("output", n, outside)] {
            if expected != found {
                return Err(Error::Length { operator: "shear calibration".into(), role, expected, found });
            }
        }
        Ok(())
    }
}

impl<T: Real> Linearization<T> for CalibrationLinearization<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.check(x.len(), y.len())?;
        self.at.copy_from_slice(x);
        let factor = T::one() + x[y.len()];
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = factor * x);
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.check(dx.len(), dy.len())?;
        let n = dy.len();
        let (factor, change) = (T::one() + self.at[n], dx[n]);
        for ((dy, &dx), &x) in dy.iter_mut().zip(dx).zip(&self.at) {
            *dy = factor * dx + change * x;
        }
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        self.check(dx.len(), dy.len())?;
        let n = dy.len();
        let factor = T::one() + self.at[n];
        dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx = factor * dy);
        dx[n] = T::of(vector::dot(&self.at[..n], dy));
        Ok(())
    }
}
