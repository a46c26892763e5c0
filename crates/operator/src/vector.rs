//! Vector kernels: sums in `f64`, in an order that does not depend on the number of threads.

use rayon::prelude::*;

use crate::{Error, Real, Result};

/// Entries per task. Fixed, so that the order of every sum is fixed.
pub const CHUNK: usize = 8192;

/// Entries up to which one thread is done before a second would have begun.
const ALONE: usize = 4 * CHUNK;

/// Sums that run side by side, so that an addition need not wait for the one before it.
const LANES: usize = 8;

/// `N` sums over the places of `K` vectors, of the terms that `terms` gives for the entries at a place; in one pass, in `f64`, and
/// in an order that is always the same.
pub fn sums<T: Real, const K: usize, const N: usize>(
    vectors: [&[T]; K],
    terms: impl Fn([T; K]) -> [f64; N] + Sync,
) -> [f64; N] {
    // Nothing changes: a vector of nothings, which has no memory, is as good as another.
    change_and_sum(&mut vec![(); vectors[0].len()], vectors, |(), here| terms(here))
}

/// The same, while the entries of another vector change by what those of the vectors are: `change` does it, and gives the terms.
pub fn change_and_sum<C: Send, T: Real, const K: usize, const N: usize>(
    changed: &mut [C],
    vectors: [&[T]; K],
    change: impl Fn(&mut C, [T; K]) -> [f64; N] + Sync,
) -> [f64; N] {
    let len = changed.len();
    assert!(vectors.iter().all(|vector| vector.len() == len), "vectors of different lengths");
    let chunk = |(i, part): (usize, &mut [C])| {
        let start = i * CHUNK;
        let vectors = vectors.map(|vector| &vector[start..start + part.len()]);
        fast_change_of_part(part, vectors, &change)
    };
    let mut all = [0.0; N];
    let mut add = |part: [f64; N]| all.iter_mut().zip(part).for_each(|(all, part)| *all += part);
    if len <= ALONE {
        changed.chunks_mut(CHUNK).enumerate().map(chunk).for_each(&mut add);
    } else {
        let parts = changed.par_chunks_mut(CHUNK).enumerate().map(chunk);
        parts.collect::<Vec<[f64; N]>>().into_iter().for_each(&mut add);
    }
    all
}

/// [`change_of_part`] with the vector instructions of this machine; the bits are the same.
fn fast_change_of_part<C, T: Real, const K: usize, const N: usize>(
    changed: &mut [C],
    vectors: [&[T]; K],
    change: impl Fn(&mut C, [T; K]) -> [f64; N],
) -> [f64; N] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has the instructions.
        return unsafe { change_of_part_avx2(changed, vectors, change) };
    }
    change_of_part(changed, vectors, change)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn change_of_part_avx2<C, T: Real, const K: usize, const N: usize>(
    changed: &mut [C],
    vectors: [&[T]; K],
    change: impl Fn(&mut C, [T; K]) -> [f64; N],
) -> [f64; N] {
    change_of_part(changed, vectors, change)
}

/// Entry `i` goes to sum `i` modulo [`LANES`].
#[inline(always)]
fn change_of_part<C, T: Real, const K: usize, const N: usize>(
    changed: &mut [C],
    vectors: [&[T]; K],
    change: impl Fn(&mut C, [T; K]) -> [f64; N],
) -> [f64; N] {
    let mut sums = [[0.0; LANES]; N];
    let (blocks, changed) = changed.as_chunks_mut::<BLOCK>();
    let rest = vectors.map(|vector| &vector[blocks.len() * BLOCK..]);
    if !blocks.is_empty() {
        change_blocks(blocks, vectors.map(|vector| vector.as_chunks().0), &change, &mut sums);
    }
    change_few(changed, rest, change, &mut sums);
    sums.map(|lanes| lanes.iter().sum())
}

/// Entries whose terms are written down before they are summed: loops so simple that compilers make vector instructions of them.
const BLOCK: usize = 128;

#[inline(always)]
fn change_blocks<C, T: Real, const K: usize, const N: usize>(
    changed: &mut [[C; BLOCK]],
    vectors: [&[[T; BLOCK]]; K],
    change: impl Fn(&mut C, [T; K]) -> [f64; N],
    sums: &mut [[f64; LANES]; N],
) {
    let mut terms = [[0.0; BLOCK]; N];
    let vectors = vectors.map(|vector| &vector[..changed.len()]);
    for (block, changed) in changed.iter_mut().enumerate() {
        let here = vectors.map(|vector| &vector[block]);
        for (place, changed) in changed.iter_mut().enumerate() {
            let each = change(changed, here.map(|vector| vector[place]));
            terms.iter_mut().zip(each).for_each(|(terms, each)| terms[place] = each);
        }
        for (sums, terms) in sums.iter_mut().zip(&terms) {
            let mut lanes = *sums;
            for terms in terms.as_chunks::<LANES>().0 {
                lanes.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
            *sums = lanes;
        }
    }
}

/// The same for fewer entries than a block, without the time it takes to begin one.
#[inline(always)]
fn change_few<C, T: Real, const K: usize, const N: usize>(
    changed: &mut [C],
    vectors: [&[T]; K],
    change: impl Fn(&mut C, [T; K]) -> [f64; N],
    sums: &mut [[f64; LANES]; N],
) {
    let (changed, rest_changed) = changed.as_chunks_mut::<LANES>();
    let pieces = vectors.map(|vector| &vector.as_chunks::<LANES>().0[..changed.len()]);
    for (piece, changed) in changed.iter_mut().enumerate() {
        let mut each = [[0.0; N]; LANES];
        for (lane, (changed, each)) in changed.iter_mut().zip(&mut each).enumerate() {
            let mut here = [T::zero(); K];
            here.iter_mut().zip(&pieces).for_each(|(here, pieces)| *here = pieces[piece][lane]);
            *each = change(changed, here);
        }
        for (n, sums) in sums.iter_mut().enumerate() {
            sums.iter_mut().zip(&each).for_each(|(sum, each)| *sum += each[n]);
        }
    }
    let rest = vectors.map(|vector| vector.as_chunks::<LANES>().1);
    for (place, changed) in rest_changed.iter_mut().enumerate() {
        let each = change(changed, rest.map(|rest| rest[place]));
        sums.iter_mut().zip(each).for_each(|(sums, each)| sums[place] += each);
    }
}

/// Scalar product `a . b`, accumulated in `f64`.
pub fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let [sum] = sums([a, b], |[a, b]| [a.f64() * b.f64()]);
    sum
}

/// Squared Euclidean norm.
pub fn norm2<T: Real>(a: &[T]) -> f64 {
    dot(a, a)
}

/// Changes every entry of `y` by that of `x` at its place.
fn each<T: Real>(x: &[T], y: &mut [T], change: impl Fn(T, &mut T) + Sync) {
    let part = |(y, x): (&mut [T], &[T])| y.iter_mut().zip(x).for_each(|(y, &x)| change(x, y));
    if y.len() <= ALONE {
        part((y, x));
    } else {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(part);
    }
}

/// `y += a x`.
pub fn axpy<T: Real>(a: f64, x: &[T], y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    let a = T::of(a);
    each(x, y, |x, y| *y += a * x);
}

/// `y = x + a y`.
pub fn xpay<T: Real>(x: &[T], a: f64, y: &mut [T]) {
    debug_assert_eq!(x.len(), y.len());
    let a = T::of(a);
    each(x, y, |x, y| *y = x + a * *y);
}

/// A new vector, each entry from those of two vectors at its place.
fn from_each<T: Real>(a: &[T], x: &[T], entry: impl Fn(T, T) -> T + Sync + Send) -> Vec<T> {
    assert_eq!(a.len(), x.len(), "vectors of different lengths");
    if a.len() <= ALONE {
        a.iter().zip(x).map(|(&a, &x)| entry(a, x)).collect()
    } else {
        a.par_iter().zip(x).with_min_len(CHUNK).map(|(&a, &x)| entry(a, x)).collect()
    }
}

/// `y = a + s x` in a new vector.
pub fn step<T: Real>(a: &[T], s: f64, x: &[T]) -> Vec<T> {
    let s = T::of(s);
    from_each(a, x, |a, x| a + s * x)
}

/// `-a` in a new vector.
pub fn negative<T: Real>(a: &[T]) -> Vec<T> {
    from_each(a, a, |a, _| -a)
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
    fn a_change_sums_what_it_leaves() {
        for len in [5, 1000, 100_003] {
            let x: Vec<f64> = (0..len).map(|i| (f64::from(i) * 0.37).sin()).collect();
            let mut y: Vec<f64> = (0..len).map(|i| (f64::from(i) * 0.21).cos()).collect();
            let expected = step(&y, -2.0, &x);
            let [sum] = change_and_sum(&mut y, [&x], |y, [x]| {
                *y -= 2.0 * x;
                [*y * *y]
            });
            assert_eq!(y, expected);
            assert_eq!(sum.to_bits(), norm2(&y).to_bits());
        }
    }

    /// One after the other, each term to the sum of its lane.
    #[test]
    fn sums_have_one_order_whatever_makes_them() {
        for len in [0, 5, 127, 128, 1000, CHUNK + 300] {
            let draw = |by: f64| (0..len).map(|i| (i as f64 * by).sin()).collect::<Vec<f64>>();
            let (x, y, mut z) = (draw(0.37), draw(0.21), draw(0.11));
            let mut expected = [0.0; 2];
            for (start, z) in (0..).step_by(CHUNK).zip(z.clone().chunks_mut(CHUNK)) {
                let mut lanes = [[0.0; LANES]; 2];
                for (i, z) in z.iter_mut().enumerate() {
                    *z += x[start + i];
                    lanes[0][i % LANES] += *z * x[start + i];
                    lanes[1][i % LANES] += *z * y[start + i];
                }
                expected.iter_mut().zip(lanes).for_each(|(sum, lanes)| *sum += lanes.iter().sum::<f64>());
            }
            let found = change_and_sum(&mut z, [&x, &y], |z, [x, y]| {
                *z += x;
                [*z * x, *z * y]
            });
            assert_eq!(found, expected, "{len}");
            assert_eq!(sums([&z, &x, &y], |[z, x, y]| [z * x, z * y]), expected, "{len}");
        }
    }

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
