//! A target at a temperature: the data count less, the prior as ever.

use lookback_operator::{Real, vector};

use crate::{Evaluator, Result};

/// `H_T(z) = |z|^2 / 2 + (H(z) - |z|^2 / 2) / T`: as if the noise were `sqrt(T)` times as large. What stands out of such
/// noise are the large scales, so that cooling goes from large to small.
pub(crate) struct Tempered<'a, T: Real> {
    inner: &'a mut dyn Evaluator<T>,
    cold: f64,
}

impl<'a, T: Real> Tempered<'a, T> {
    pub(crate) fn new(inner: &'a mut dyn Evaluator<T>, temperature: f64) -> Tempered<'a, T> {
        Tempered { inner, cold: 1.0 / temperature }
    }
}

impl<T: Real> Evaluator<T> for Tempered<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        let energy = self.inner.energy(z, gradient)?;
        if self.cold == 1.0 {
            return Ok(energy);
        }
        let prior = 0.5 * vector::norm2(z);
        scale_beside(z, self.cold, gradient);
        Ok(prior + (energy - prior) * self.cold)
    }

    fn refusal(&self) -> Option<crate::Error> {
        self.inner.refusal()
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        self.inner.metric(v, out)?;
        if self.cold != 1.0 {
            scale_beside(v, self.cold, out);
        }
        Ok(())
    }
}

/// `out = v + (out - v) factor`.
fn scale_beside<T: Real>(v: &[T], factor: f64, out: &mut [T]) {
    let factor = T::of(factor);
    out.iter_mut().zip(v).for_each(|(out, v)| *out = *v + (*out - *v) * factor);
}
