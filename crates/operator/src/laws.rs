//! The laws that every operator must obey, as checks that tests run over all of them.
//!
//! - Taylor: `|F(x + h v) - F(x) - h J v|` falls as `h^2`.
//! - Dot product: `<J u, v> = <u, J^T v>` to rounding.
//! - Linearity, where an operator claims it: `F(a x + b y) = a F(x) + b F(y)`.
//! - Repeatability: a linearization that has been elsewhere gives the same numbers when it comes back.

use crate::random::{Purpose, Stream};
use crate::vector::{dot, norm2, step};
use crate::{Error, Operator, Real, Result};

fn broken<T: Real>(operator: &dyn Operator<T>, law: &'static str, found: f64, allowed: f64) -> Result<()> {
    if found <= allowed {
        return Ok(());
    }
    Err(Error::Law { operator: operator.name(), law, found, allowed })
}

fn direction<T: Real>(len: usize, substream: u32) -> Vec<T> {
    let mut v = vec![T::zero(); len];
    Stream::new(20_231, Purpose::Test, substream).fill_normal(&mut v);
    v
}

fn difference<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    step(a, -1.0, b)
}

/// Relative violation of `<J u, v> = <u, J^T v>` at `x`, over the size of the terms in the sums.
///
/// # Errors
/// If the operator cannot be evaluated.
pub fn dot_product<T: Real>(operator: &dyn Operator<T>, x: &[T]) -> Result<f64> {
    let (_, mut linearization) = operator.linearize(x)?;
    let u = direction::<T>(operator.domain().len(), 1);
    let v = direction::<T>(operator.codomain().len(), 2);
    let (mut ju, mut jtv) = (vec![T::zero(); v.len()], vec![T::zero(); u.len()]);
    linearization.push(&u, &mut ju)?;
    linearization.pull(&v, &mut jtv)?;
    let (left, right) = (dot(&ju, &v), dot(&u, &jtv));
    let scale = (norm2(&ju) * norm2(&v)).sqrt().max((norm2(&u) * norm2(&jtv)).sqrt());
    if scale == 0.0 {
        return Ok(0.0);
    }
    Ok((left - right).abs() / scale)
}

/// Shortfall from second order of the Taylor remainder at `x`: `2 - log2(r(h) / r(h/2))` at the smallest step whose
/// remainder stands clear of rounding, or 0 if the remainder is rounding alone. Below 0.1 for a correct Jacobian.
///
/// # Errors
/// If the operator cannot be evaluated.
pub fn taylor<T: Real>(operator: &dyn Operator<T>, x: &[T]) -> Result<f64> {
    let (y, mut linearization) = operator.linearize(x)?;
    let v = direction::<T>(x.len(), 3);
    let mut jv = vec![T::zero(); y.len()];
    linearization.push(&v, &mut jv)?;
    let floor = 50.0 * T::epsilon().f64() * (norm2(&y) + norm2(&jv)).sqrt();
    let remainder = |h: f64| -> Result<f64> {
        let moved = operator.apply(&step(x, h, &v))?;
        Ok(norm2(&step(&difference(&moved, &y), -h, &jv)).sqrt())
    };
    let mut shortfall = 0.0;
    let mut h = 0.5;
    let mut before = remainder(h)?;
    for _ in 0..20 {
        h *= 0.5;
        let after = remainder(h)?;
        if after <= floor {
            break;
        }
        shortfall = 2.0 - (before / after).log2();
        before = after;
    }
    Ok(shortfall)
}

/// Relative violation of `F(2 x - 3 v) = 2 F(x) - 3 F(v)`.
///
/// # Errors
/// If the operator cannot be evaluated.
pub fn linearity<T: Real>(operator: &dyn Operator<T>, x: &[T]) -> Result<f64> {
    let v = direction::<T>(x.len(), 4);
    let scaled: Vec<T> = x.iter().map(|&x| x + x).collect();
    let joint = operator.apply(&step(&scaled, -3.0, &v))?;
    let (fx, fv) = (operator.apply(x)?, operator.apply(&v)?);
    let doubled: Vec<T> = fx.iter().map(|&y| y + y).collect();
    let apart = step(&doubled, -3.0, &fv);
    let scale = (norm2(&fx) + norm2(&fv)).sqrt().max(f64::MIN_POSITIVE);
    Ok(norm2(&difference(&joint, &apart)).sqrt() / scale)
}

/// Difference between a fresh linearization at `x` and one that has been at another point before.
///
/// # Errors
/// If the operator cannot be evaluated.
pub fn repeatability<T: Real>(operator: &dyn Operator<T>, x: &[T]) -> Result<f64> {
    let (y, mut fresh) = operator.linearize(x)?;
    let v = direction::<T>(y.len(), 5);
    let elsewhere = step(x, 0.25, &direction::<T>(x.len(), 6));
    let (_, mut used) = operator.linearize(&elsewhere)?;
    let mut back = vec![T::zero(); y.len()];
    let mut pulled = [vec![T::zero(); x.len()], vec![T::zero(); x.len()]];
    used.pull(&v, &mut pulled[1])?;
    used.move_to(x, &mut back)?;
    used.pull(&v, &mut pulled[1])?;
    fresh.pull(&v, &mut pulled[0])?;
    let applied = operator.apply(x)?;
    Ok(norm2(&difference(&y, &back)).sqrt()
        + norm2(&difference(&y, &applied)).sqrt()
        + norm2(&difference(&pulled[0], &pulled[1])).sqrt())
}

/// Directions for [`slopes`] in a space whose first numbers are a field and whose others are parameters: one of the whole
/// field, then each parameter by itself.
pub fn directions<T: Real>(field: &[T], len: usize) -> Vec<Vec<T>> {
    let unit = |i: usize| {
        let mut v = vec![T::zero(); len];
        v[i] = T::one();
        v
    };
    let mut along = vec![T::zero(); len];
    along[..field.len()].copy_from_slice(field);
    std::iter::once(along).chain((field.len()..len).map(unit)).collect()
}

/// Slopes of `<weight, F>` at `x` along each direction: by one pull, and by central differences of step `h`. For operators with
/// kinks, near which [`taylor`] has no meaning.
///
/// # Errors
/// If the operator cannot be evaluated.
pub fn slopes<T: Real>(
    operator: &dyn Operator<T>,
    weight: &[T],
    x: &[T],
    directions: &[Vec<T>],
    h: f64,
) -> Result<Vec<(f64, f64)>> {
    let (_, mut linearization) = operator.linearize(x)?;
    let mut gradient = vec![T::zero(); x.len()];
    linearization.pull(weight, &mut gradient)?;
    let value = |h: f64, v: &[T]| -> Result<f64> { Ok(dot(&operator.apply(&step(x, h, v))?, weight)) };
    let both = |v: &Vec<T>| Ok((dot(&gradient, v), (value(h, v)? - value(-h, v)?) / (2.0 * h)));
    directions.iter().map(both).collect()
}

/// Runs all laws at `x`; `tolerance` is for the dot product and linearity (1e-10 in `f64`, 1e-4 in `f32`).
///
/// # Errors
/// [`Error::Law`] with the first law that is broken, or whatever the operator itself reports.
pub fn check<T: Real>(operator: &dyn Operator<T>, x: &[T], tolerance: f64) -> Result<()> {
    broken(operator, "repeatability", repeatability(operator, x)?, 0.0)?;
    broken(operator, "dot-product", dot_product(operator, x)?, tolerance)?;
    if operator.is_linear() {
        broken(operator, "linearity", linearity(operator, x)?, tolerance)?;
    }
    broken(operator, "Taylor", taylor(operator, x)?, 0.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Linearization, Pointwise, Space};

    fn space() -> Space {
        Space::single("x", &[5], "")
    }

    #[test]
    fn a_correct_operator_passes() {
        check(&Pointwise::<f64>::exp(space()), &[0.3, -1.0, 0.0, 2.0, 0.1], 1e-10).expect("exp is right");
        check(&Pointwise::<f32>::exp(space()), &[0.3, -1.0, 0.0, 2.0, 0.1], 1e-4).expect("exp is right");
    }

    #[test]
    fn a_wrong_derivative_is_caught() {
        let wrong = Pointwise::<f64>::new("wrong", space(), space(), f64::sin, |x| 1.01 * x.cos());
        let error = check(&wrong, &[0.3, -1.0, 0.1, 2.0, 0.1], 1e-10).expect_err("must be caught");
        assert!(error.to_string().contains("Taylor"), "{error}");
    }

    struct Lopsided(Space);

    impl Linearization<f64> for &Lopsided {
        fn move_to(&mut self, x: &[f64], y: &mut [f64]) -> Result<()> {
            self.push(x, y)
        }
        fn push(&mut self, dx: &[f64], dy: &mut [f64]) -> Result<()> {
            dy.iter_mut().zip(dx).for_each(|(y, x)| *y = 2.0 * x);
            Ok(())
        }
        fn pull(&mut self, dy: &[f64], dx: &mut [f64]) -> Result<()> {
            dx.iter_mut().zip(dy).for_each(|(x, y)| *x = 2.000_001 * y);
            Ok(())
        }
    }

    impl Operator<f64> for Lopsided {
        fn name(&self) -> String {
            "lopsided".into()
        }
        fn domain(&self) -> &Space {
            &self.0
        }
        fn codomain(&self) -> &Space {
            &self.0
        }
        fn linearization(&self) -> Box<dyn Linearization<f64> + '_> {
            Box::new(self)
        }
    }

    #[test]
    fn a_wrong_adjoint_is_caught() {
        let error = check(&Lopsided(space()), &[1.0, 2.0, 3.0, 4.0, 5.0], 1e-10).expect_err("must be caught");
        assert!(error.to_string().contains("dot-product"), "{error}");
    }

    #[test]
    fn a_false_claim_of_linearity_is_caught() {
        let affine = Pointwise::<f64>::new("affine", space(), space(), |x| x + 1.0, |_| 1.0);
        assert!(linearity(&affine, &[1.0; 5]).expect("finite") > 0.1);
    }
}
