//! Vector kernels: sums in `f64`, in an order that does not depend on the number of threads.

use rayon::prelude::*;

use crate::{Error, Real, Result};

/// Entries per task. Fixed, so that the order of every sum is fixed.
pub const CHUNK: usize = 8192;

fn sum_chunks(partials: Vec<f64>) -> f64 {
    partials.into_iter().sum()
}

/// Scalar product `a . b`, accumulated in `f64`.
pub fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    let chunk = |(a, b): (&[T], &[T])| a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum::<f64>();
    if a.len() <= CHUNK {
        return chunk((a, b));
    }
    sum_chunks(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(chunk).collect())
}

/// Squared Euclidean norm.
pub fn norm2<T: Real>(a: &[T]) -> f64 {
    dot(a, a)
}

/// `y += a x`.
pub fn axpy<T: Real>(a: f64, x: &[T], y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    let a = T::of(a);
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += a * x;
        }
    });
}

/// `y = x + a y`.
pub fn xpay<T: Real>(x: &[T], a: f64, y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    let a = T::of(a);
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x + a * *y;
        }
    });
}

/// `y = a + s x` in a new vector.
pub fn step<T: Real>(a: &[T], s: f64, x: &[T]) -> Vec<T> {
    let mut y = a.to_vec();
    axpy(s, x, &mut y);
    y
}

/// The largest absolute value; NaN if any entry is NaN.
pub fn max_abs<T: Real>(a: &[T]) -> f64 {
    a.iter().fold(0.0, |max: f64, x| if x.is_nan() { f64::NAN } else { max.max(x.f64().abs()) })
}

/// Finds the first NaN or infinity.
///
/// # Errors
/// [`Error::NotFinite`], with `owner` and `what` in its words.
pub fn check_finite<T: Real>(owner: &str, what: &str, a: &[T]) -> Result<()> {
    match a.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => {
            Err(Error::NotFinite { operator: owner.into(), what: what.into(), index, value: a[index].f64() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_does_not_depend_on_the_number_of_threads() {
        let a: Vec<f64> = (0..100_000).map(|i| (f64::from(i) * 0.37).sin()).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| dot(&a, &a).to_bits())
        };
        assert_eq!(with(1), with(2));
        assert_eq!(with(1), with(7));
    }
}
