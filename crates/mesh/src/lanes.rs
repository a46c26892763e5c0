//! Two mesh points of four numbers at a time: vector instructions where the machine has them, the same loops where not.

use lookback_operator::Real;

/// Numbers of a mesh point that travel together.
pub(crate) const LANES: usize = 4;

/// Two neighbouring mesh points, each of four numbers, in registers.
pub(crate) trait Lanes<T: Real>: Copy {
    /// All zero.
    fn zero() -> Self;
    /// Takes two points.
    fn load(from: &[[T; LANES]; 2]) -> Self;
    /// `self + weight * x`.
    fn plus(self, weight: T, x: Self) -> Self;
    /// Takes two pairs of numbers as one point, and two others as the other.
    fn load_pairs(from: [[&[T; 2]; 2]; 2]) -> Self;
    /// A number for all of the first point, and one for all of the second.
    fn each(numbers: [T; 2]) -> Self;
    /// `self + a * b`, number by number.
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// `self - a * b`, number by number.
    fn less_product(self, a: Self, b: Self) -> Self;
    /// The first points of both.
    fn firsts(self, other: Self) -> Self;
    /// The same four numbers for both points.
    fn both(from: &[T; LANES]) -> Self;
    /// `self + weights * (a - b)`, number by number.
    fn plus_difference(self, weights: Self, a: Self, b: Self) -> Self;
    /// The sum of the numbers of each point.
    fn sums(self) -> [T; 2];
    /// The sums of the numbers of each point, and of those of each of two others.
    fn sums_with(self, other: Self) -> [T; LANES];
    /// `low` times the first point and `high` times the second.
    fn across(self, low: T, high: T) -> [T; LANES];
    /// Asks for the memory of a point that is needed soon.
    fn soon<P>(points: &[P], place: usize);
    /// `to += weight * x`, for one point.
    fn add(to: &mut [T; LANES], weight: T, x: &[T; LANES]);
    /// The same for two neighbouring points with a weight each.
    fn add_pair(to: &mut [[T; LANES]; 2], weights: [T; 2], x: &[T; LANES]);
}

/// Plain numbers, on any machine and of any type.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>([[T; LANES]; 2]);

impl<T: Real> Lanes<T> for Plain<T> {
    #[inline(always)]
    fn zero() -> Self {
        Plain([[T::zero(); LANES]; 2])
    }

    #[inline(always)]
    fn load(from: &[[T; LANES]; 2]) -> Self {
        Plain(*from)
    }

    #[inline(always)]
    fn plus(self, weight: T, x: Self) -> Self {
        let mut sum = self.0;
        sum.iter_mut().flatten().zip(x.0.iter().flatten()).for_each(|(sum, x)| *sum += weight * *x);
        Plain(sum)
    }

    #[inline(always)]
    fn load_pairs(from: [[&[T; 2]; 2]; 2]) -> Self {
        Plain(from.map(|[a, b]| [a[0], a[1], b[0], b[1]]))
    }

    #[inline(always)]
    fn each(numbers: [T; 2]) -> Self {
        Plain(numbers.map(|number| [number; LANES]))
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        let mut sum = self.0;
        let numbers = a.0.iter().flatten().zip(b.0.iter().flatten());
        sum.iter_mut().flatten().zip(numbers).for_each(|(sum, (a, b))| *sum += *a * *b);
        Plain(sum)
    }

    #[inline(always)]
    fn less_product(self, a: Self, b: Self) -> Self {
        let mut sum = self.0;
        let numbers = a.0.iter().flatten().zip(b.0.iter().flatten());
        sum.iter_mut().flatten().zip(numbers).for_each(|(sum, (a, b))| *sum -= *a * *b);
        Plain(sum)
    }

    #[inline(always)]
    fn firsts(self, other: Self) -> Self {
        Plain([self.0[0], other.0[0]])
    }

    #[inline(always)]
    fn both(from: &[T; LANES]) -> Self {
        Plain([*from; 2])
    }

    #[inline(always)]
    fn plus_difference(self, weights: Self, a: Self, b: Self) -> Self {
        let mut sum = self.0;
        let numbers = weights.0.iter().flatten().zip(a.0.iter().flatten().zip(b.0.iter().flatten()));
        sum.iter_mut().flatten().zip(numbers).for_each(|(sum, (weight, (a, b)))| *sum += *weight * (*a - *b));
        Plain(sum)
    }

    #[inline(always)]
    fn sums(self) -> [T; 2] {
        self.0.map(|[a, b, c, d]| (a + b) + (c + d))
    }

    #[inline(always)]
    fn sums_with(self, other: Self) -> [T; LANES] {
        let ([a, b], [c, d]) = (self.sums(), other.sums());
        [a, b, c, d]
    }

    #[inline(always)]
    fn across(self, low: T, high: T) -> [T; LANES] {
        let [first, second] = self.0;
        std::array::from_fn(|i| low * first[i] + high * second[i])
    }

    #[inline(always)]
    fn soon<P>(_: &[P], _: usize) {}

    #[inline(always)]
    fn add(to: &mut [T; LANES], weight: T, x: &[T; LANES]) {
        to.iter_mut().zip(x).for_each(|(to, x)| *to += weight * *x);
    }

    #[inline(always)]
    fn add_pair(to: &mut [[T; LANES]; 2], weights: [T; 2], x: &[T; LANES]) {
        to.iter_mut().zip(weights).for_each(|(to, weight)| Self::add(to, weight, x));
    }
}

/// Work that is compiled for several kinds of machine: for any, and for newer ones with their vector instructions.
pub(crate) trait Wide<T: Real> {
    /// Does the work with one kind of lanes.
    fn run<L: Lanes<T>>(self);
}

/// Whether the machine has vector instructions of 256 bits, and multiplies and adds in one.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx2_and_fma() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Does the work with the widest lanes that this machine has for this type.
pub(crate) fn widest<T: Real, W: Wide<T>>(work: W) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2_and_fma() {
        // SAFETY: the machine has the instructions.
        return unsafe { x86::run(work) };
    }
    work.run::<Plain<T>>();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::any::TypeId;
    use std::arch::x86_64::*;

    use super::*;

    /// # Safety
    /// The machine must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run<T: Real, W: Wide<T>>(work: W) {
        if TypeId::of::<T>() == TypeId::of::<f32>() {
            work.run::<Single>();
        } else if TypeId::of::<T>() == TypeId::of::<f64>() {
            work.run::<Double>();
        } else {
            work.run::<Plain<T>>();
        }
    }

    /// Asks for the memory of a point.
    #[inline(always)]
    fn soon<P>(points: &[P], place: usize) {
        // SAFETY: asking for memory does no harm wherever it is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(points.as_ptr().wrapping_add(place).cast()) };
    }

    /// The same number as `f32`, which it must be.
    #[inline(always)]
    fn single<T: Real>(x: T) -> f32 {
        debug_assert!(TypeId::of::<T>() == TypeId::of::<f32>());
        // SAFETY: `run` chooses these lanes for `f32` only.
        unsafe { std::mem::transmute_copy(&x) }
    }

    /// The same number as `f64`, which it must be.
    #[inline(always)]
    fn double<T: Real>(x: T) -> f64 {
        debug_assert!(TypeId::of::<T>() == TypeId::of::<f64>());
        // SAFETY: `run` chooses these lanes for `f64` only.
        unsafe { std::mem::transmute_copy(&x) }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Single(__m256);

    impl<T: Real> Lanes<T> for Single {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: called from `run` only, so the machine has the instructions; as below.
            Single(unsafe { _mm256_setzero_ps() })
        }

        #[inline(always)]
        fn load(from: &[[T; LANES]; 2]) -> Self {
            // SAFETY: eight numbers of type `f32`.
            Single(unsafe { _mm256_loadu_ps(from.as_ptr().cast()) })
        }

        #[inline(always)]
        fn plus(self, weight: T, x: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_fmadd_ps(_mm256_set1_ps(single(weight)), x.0, self.0) })
        }

        #[inline(always)]
        fn load_pairs([[a, b], [c, d]]: [[&[T; 2]; 2]; 2]) -> Self {
            // SAFETY: two numbers of type `f32` each, that are loaded like one of type `f64` wherever they lie.
            Single(unsafe {
                let [a, b, c, d] = [a, b, c, d].map(|pair| pair.as_ptr().cast::<f64>().read_unaligned());
                _mm256_castpd_ps(_mm256_set_pd(d, c, b, a))
            })
        }

        #[inline(always)]
        fn each([first, second]: [T; 2]) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_set_m128(_mm_set1_ps(single(second)), _mm_set1_ps(single(first))) })
        }

        #[inline(always)]
        fn plus_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn less_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_fnmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn firsts(self, other: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_insertf128_ps(self.0, _mm256_castps256_ps128(other.0), 1) })
        }

        #[inline(always)]
        fn both(from: &[T; LANES]) -> Self {
            // SAFETY: four numbers of type `f32`.
            Single(unsafe {
                let point = _mm_loadu_ps(from.as_ptr().cast());
                _mm256_set_m128(point, point)
            })
        }

        #[inline(always)]
        fn plus_difference(self, weights: Self, a: Self, b: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_fmadd_ps(weights.0, _mm256_sub_ps(a.0, b.0), self.0) })
        }

        #[inline(always)]
        fn sums(self) -> [T; 2] {
            let mut out = [[T::zero(); LANES]; 2];
            // SAFETY: as in `zero`, and eight numbers of type `f32`.
            unsafe {
                let pairs = _mm256_hadd_ps(self.0, self.0);
                _mm256_storeu_ps(out.as_mut_ptr().cast(), _mm256_hadd_ps(pairs, pairs));
            }
            [out[0][0], out[1][0]]
        }

        #[inline(always)]
        fn sums_with(self, other: Self) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: as in `zero`, and four numbers of type `f32`.
            unsafe {
                // The first points' sums, then the second ones', of both.
                let pairs = _mm256_hadd_ps(self.0, other.0);
                let sums = _mm256_hadd_ps(pairs, pairs);
                let (first, second) = (_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
                _mm_storeu_ps(out.as_mut_ptr().cast(), _mm_unpacklo_ps(first, second));
            }
            out
        }

        #[inline(always)]
        fn across(self, low: T, high: T) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: four numbers of type `f32`.
            unsafe {
                let first = _mm_mul_ps(_mm_set1_ps(single(low)), _mm256_castps256_ps128(self.0));
                let second = _mm256_extractf128_ps(self.0, 1);
                let sum = _mm_fmadd_ps(_mm_set1_ps(single(high)), second, first);
                _mm_storeu_ps(out.as_mut_ptr().cast(), sum);
            };
            out
        }

        #[inline(always)]
        fn soon<P>(points: &[P], place: usize) {
            soon(points, place);
        }

        #[inline(always)]
        fn add(to: &mut [T; LANES], weight: T, x: &[T; LANES]) {
            // SAFETY: four numbers of type `f32` each.
            unsafe {
                let (at, x) = (to.as_mut_ptr().cast(), _mm_loadu_ps(x.as_ptr().cast()));
                _mm_storeu_ps(at, _mm_fmadd_ps(_mm_set1_ps(single(weight)), x, _mm_loadu_ps(at)));
            }
        }

        #[inline(always)]
        fn add_pair(to: &mut [[T; LANES]; 2], [first, second]: [T; 2], x: &[T; LANES]) {
            // SAFETY: four numbers of type `f32`, and eight.
            unsafe {
                let (at, x) = (to.as_mut_ptr().cast(), _mm_loadu_ps(x.as_ptr().cast()));
                let weights = _mm256_set_m128(_mm_set1_ps(single(second)), _mm_set1_ps(single(first)));
                let sum = _mm256_fmadd_ps(weights, _mm256_set_m128(x, x), _mm256_loadu_ps(at));
                _mm256_storeu_ps(at, sum);
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Double([__m256d; 2]);

    impl<T: Real> Lanes<T> for Double {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: called from `run` only, so the machine has the instructions; as below.
            Double([unsafe { _mm256_setzero_pd() }; 2])
        }

        #[inline(always)]
        fn load(from: &[[T; LANES]; 2]) -> Self {
            // SAFETY: four numbers of type `f64` each.
            Double(from.each_ref().map(|point| unsafe { _mm256_loadu_pd(point.as_ptr().cast()) }))
        }

        #[inline(always)]
        fn plus(self, weight: T, x: Self) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe {
                let weight = _mm256_set1_pd(double(weight));
                [_mm256_fmadd_pd(weight, x.0[0], self.0[0]), _mm256_fmadd_pd(weight, x.0[1], self.0[1])]
            })
        }

        #[inline(always)]
        fn load_pairs([[a, b], [c, d]]: [[&[T; 2]; 2]; 2]) -> Self {
            // SAFETY: two numbers of type `f64` each.
            Double(unsafe {
                [
                    _mm256_set_m128d(_mm_loadu_pd(b.as_ptr().cast()), _mm_loadu_pd(a.as_ptr().cast())),
                    _mm256_set_m128d(_mm_loadu_pd(d.as_ptr().cast()), _mm_loadu_pd(c.as_ptr().cast())),
                ]
            })
        }

        #[inline(always)]
        fn each([first, second]: [T; 2]) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe { [_mm256_set1_pd(double(first)), _mm256_set1_pd(double(second))] })
        }

        #[inline(always)]
        fn plus_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe {
                [_mm256_fmadd_pd(a.0[0], b.0[0], self.0[0]), _mm256_fmadd_pd(a.0[1], b.0[1], self.0[1])]
            })
        }

        #[inline(always)]
        fn less_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe {
                [_mm256_fnmadd_pd(a.0[0], b.0[0], self.0[0]), _mm256_fnmadd_pd(a.0[1], b.0[1], self.0[1])]
            })
        }

        #[inline(always)]
        fn firsts(self, other: Self) -> Self {
            Double([self.0[0], other.0[0]])
        }

        #[inline(always)]
        fn both(from: &[T; LANES]) -> Self {
            // SAFETY: four numbers of type `f64`.
            Double([unsafe { _mm256_loadu_pd(from.as_ptr().cast()) }; 2])
        }

        #[inline(always)]
        fn plus_difference(self, weights: Self, a: Self, b: Self) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe {
                [
                    _mm256_fmadd_pd(weights.0[0], _mm256_sub_pd(a.0[0], b.0[0]), self.0[0]),
                    _mm256_fmadd_pd(weights.0[1], _mm256_sub_pd(a.0[1], b.0[1]), self.0[1]),
                ]
            })
        }

        #[inline(always)]
        fn sums(self) -> [T; 2] {
            self.0.map(|point| {
                let mut numbers = [T::zero(); LANES];
                // SAFETY: four numbers of type `f64`.
                unsafe { _mm256_storeu_pd(numbers.as_mut_ptr().cast(), point) };
                let [a, b, c, d] = numbers;
                (a + b) + (c + d)
            })
        }

        #[inline(always)]
        fn sums_with(self, other: Self) -> [T; LANES] {
            let ([a, b], [c, d]) = (self.sums(), other.sums());
            [a, b, c, d]
        }

        #[inline(always)]
        fn across(self, low: T, high: T) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: four numbers of type `f64`.
            unsafe {
                let first = _mm256_mul_pd(_mm256_set1_pd(double(low)), self.0[0]);
                let sum = _mm256_fmadd_pd(_mm256_set1_pd(double(high)), self.0[1], first);
                _mm256_storeu_pd(out.as_mut_ptr().cast(), sum);
            };
            out
        }

        #[inline(always)]
        fn soon<P>(points: &[P], place: usize) {
            soon(points, place);
        }

        #[inline(always)]
        fn add(to: &mut [T; LANES], weight: T, x: &[T; LANES]) {
            // SAFETY: four numbers of type `f64` each.
            unsafe {
                let (at, x) = (to.as_mut_ptr().cast(), _mm256_loadu_pd(x.as_ptr().cast()));
                _mm256_storeu_pd(at, _mm256_fmadd_pd(_mm256_set1_pd(double(weight)), x, _mm256_loadu_pd(at)));
            }
        }

        #[inline(always)]
        fn add_pair(to: &mut [[T; LANES]; 2], weights: [T; 2], x: &[T; LANES]) {
            to.iter_mut().zip(weights).for_each(|(to, weight)| <Double as Lanes<T>>::add(to, weight, x));
        }
    }
}
