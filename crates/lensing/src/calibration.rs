//! The multiplicative calibration of measured shapes.

use lookback_operator::{Block, Error, Linearization, Operator, Real, Result, Space, vector};

/// `(shear, m) -> (1 + m) shear`: the last block of the domain is the scalar `m`; the others keep their names.
/// (Heymans et al. 2006, eq. 8, with `c = 0`.) Maps that are no shear may stand behind it, and pass by.
pub struct ShearCalibration {
    domain: Space,
    codomain: Space,
    /// Numbers that are shear; they stand first.
    sheared: usize,
}

impl ShearCalibration {
    /// Calibration of the maps in `shear` by a parameter called `parameter`.
    pub fn new(shear: &Space, parameter: &str) -> ShearCalibration {
        ShearCalibration::beside(shear, &Space::new(Vec::new()), parameter)
    }

    /// The same, with other maps behind the shear.
    pub fn beside(shear: &Space, others: &Space, parameter: &str) -> ShearCalibration {
        let codomain = shear.join(others);
        let domain = codomain.join(&Space::new(vec![Block::new(parameter, &[], "")]));
        ShearCalibration { domain, codomain, sheared: shear.len() }
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
        y.copy_from_slice(&x[..y.len()]);
        y[..self.operator.sheared].iter_mut().for_each(|y| *y *= factor);
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.check(dx.len(), dy.len())?;
        let n = dy.len();
        let (factor, change) = (T::one() + self.at[n], dx[n]);
        dy.copy_from_slice(&dx[..n]);
        for (dy, &x) in dy[..self.operator.sheared].iter_mut().zip(&self.at) {
            *dy = factor * *dy + change * x;
        }
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        self.check(dx.len(), dy.len())?;
        let (n, sheared) = (dy.len(), self.operator.sheared);
        let factor = T::one() + self.at[n];
        dx[..n].copy_from_slice(dy);
        dx[..sheared].iter_mut().for_each(|dx| *dx *= factor);
        dx[n] = T::of(vector::dot(&self.at[..sheared], &dy[..sheared]));
        Ok(())
    }
}
