//! An operator in single precision among those in double precision.

use rayon::prelude::*;

use crate::vector::CHUNK;
use crate::{DynOperator, Linearization, Operator, Result, Space};

/// An operator that computes in f32, for those who work in f64: half the memory and, where memory bounds it, half the time. Inputs are
/// rounded, so values and derivatives are good to about 1e-7 of their size, times what the operator makes of roundings.
///
/// Numbers beyond 3e38 become infinite; the operator refuses them where it refuses infinity.
pub struct InSingle {
    inner: DynOperator<f32>,
}

impl InSingle {
    /// The operator that is to be used in f64.
    pub fn new(inner: DynOperator<f32>) -> InSingle {
        InSingle { inner }
    }
}

fn round(from: &[f64], to: &mut [f32]) {
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from as f32);
    });
}

fn widen(from: &[f32], to: &mut [f64]) {
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = f64::from(*from));
    });
}

/// Does what is done with rounded numbers, and writes the result.
fn rounded(
    from: &[f64],
    to: &mut [f64],
    mut work: impl FnMut(&[f32], &mut [f32]) -> Result<()>,
) -> Result<()> {
    let (mut input, mut output) = (vec![0.0; from.len()], vec![0.0; to.len()]);
    round(from, &mut input);
    work(&input, &mut output)?;
    widen(&output, to);
    Ok(())
}

impl Operator<f64> for InSingle {
    fn name(&self) -> String {
        format!("{}, in f32", self.inner.name())
    }

    fn domain(&self) -> &Space {
        self.inner.domain()
    }

    fn codomain(&self) -> &Space {
        self.inner.codomain()
    }

    fn is_linear(&self) -> bool {
        self.inner.is_linear()
    }

    fn apply_into(&self, x: &[f64], y: &mut [f64]) -> Result<()> {
        rounded(x, y, |x, y| self.inner.apply_into(x, y))
    }

    fn linearization(&self) -> Box<dyn Linearization<f64> + '_> {
        Box::new(Rounding { inner: self.inner.linearization() })
    }
}

struct Rounding<'a> {
    inner: Box<dyn Linearization<f32> + 'a>,
}

impl Linearization<f64> for Rounding<'_> {
    fn move_to(&mut self, x: &[f64], y: &mut [f64]) -> Result<()> {
        rounded(x, y, |x, y| self.inner.move_to(x, y))
    }

    fn push(&mut self, dx: &[f64], dy: &mut [f64]) -> Result<()> {
        rounded(dx, dy, |dx, dy| self.inner.push(dx, dy))
    }

    fn pull(&mut self, dy: &[f64], dx: &mut [f64]) -> Result<()> {
        rounded(dy, dx, |dy, dx| self.inner.pull(dy, dx))
    }
}
