//! Two mesh points of four numbers at a time: vector instructions where the machine has them, the same loops where not.

use lookback_operator::Real;

/// Numbers of a mesh point that travel together.
pub(crate) const LANES: usize = 4;

/// Numbers of a line of mesh points that are loaded together.
pub(crate) const SPAN: usize = 2 * LANES;

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
    /// The pairs of numbers from the first, the second, up to the fifth number of four lines on: those of the first two lines as
    /// one point, and those of the others as the other.
    fn five_pairs(lines: [&[[T; LANES]; 2]; 4]) -> [Self; 5];
    /// Adds each of the pairs that these points are made of to another.
    fn add_to_pairs(self, to: [[&mut [T; 2]; 2]; 2]);
    /// Adds the numbers of both points to others.
    fn add_to(self, to: &mut [[T; LANES]; 2]);
    /// A number for all of the first point, and one for all of the second.
    fn each(numbers: [T; 2]) -> Self;
    /// `self + a * b`, number by number.
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// `self * other`, number by number.
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self::zero().plus_product(self, other)
    }
    /// `self - a * b`, number by number.
    fn less_product(self, a: Self, b: Self) -> Self;
    /// `self - other`, number by number.
    fn minus(self, other: Self) -> Self;
    /// The first points of both.
    fn firsts(self, other: Self) -> Self;
    /// The second points of both.
    fn seconds(self, other: Self) -> Self;
    /// With the second pair of the first point and the first pair of the second exchanged.
    fn swap_middle(self) -> Self;
    /// The first point.
    fn first(self) -> [T; LANES];
    /// The same four numbers for both points.
    fn both(from: &[T; LANES]) -> Self;
    /// `self + weights * (a - b)`, number by number.
    fn plus_difference(self, weights: Self, a: Self, b: Self) -> Self;
    /// The sum of the numbers of each point.
    fn sums(self) -> [T; 2];
    /// The sums of the numbers of each point, and of those of each of two others.
    fn sums_with(self, other: Self) -> [T; LANES];
    /// The sums of all numbers of each.
    fn totals(of: [Self; LANES]) -> [T; LANES];
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
    fn five_pairs(lines: [&[[T; LANES]; 2]; 4]) -> [Self; 5] {
        let [a, b, c, d] = lines.map(|line| line.as_flattened());
        std::array::from_fn(|t| Plain([[a[t], a[t + 1], b[t], b[t + 1]], [c[t], c[t + 1], d[t], d[t + 1]]]))
    }

    #[inline(always)]
    fn add_to_pairs(self, to: [[&mut [T; 2]; 2]; 2]) {
        for (to, point) in to.into_iter().zip(self.0) {
            to.into_iter().flatten().zip(point).for_each(|(to, x)| *to += x);
        }
    }

    #[inline(always)]
    fn add_to(self, to: &mut [[T; LANES]; 2]) {
        to.iter_mut().flatten().zip(self.0.iter().flatten()).for_each(|(to, x)| *to += *x);
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
    fn minus(self, other: Self) -> Self {
        let mut difference = self.0;
        difference.iter_mut().flatten().zip(other.0.iter().flatten()).for_each(|(a, b)| *a -= *b);
        Plain(difference)
    }

    #[inline(always)]
    fn firsts(self, other: Self) -> Self {
        Plain([self.0[0], other.0[0]])
    }

    #[inline(always)]
    fn seconds(self, other: Self) -> Self {
        Plain([self.0[1], other.0[1]])
    }

    #[inline(always)]
    fn swap_middle(self) -> Self {
        let [[a, b, c, d], [e, f, g, h]] = self.0;
        Plain([[a, b, e, f], [c, d, g, h]])
    }

    #[inline(always)]
    fn first(self) -> [T; LANES] {
        self.0[0]
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
    fn totals(of: [Self; LANES]) -> [T; LANES] {
        std::array::from_fn(|n| {
            let [a, b] = of[n].sums();
            a + b
        })
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
        fn five_pairs([a, b, c, d]: [&[[T; LANES]; 2]; 4]) -> [Self; 5] {
            // SAFETY: eight numbers of type `f32` each; a pair of them is moved like one of type `f64`.
            unsafe {
                let a = _mm256_castps_pd(_mm256_loadu_ps(a.as_ptr().cast()));
                let b = _mm256_castps_pd(_mm256_loadu_ps(b.as_ptr().cast()));
                let c = _mm256_castps_pd(_mm256_loadu_ps(c.as_ptr().cast()));
                let d = _mm256_castps_pd(_mm256_loadu_ps(d.as_ptr().cast()));
                let (ab, cd) = (_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, d));
                let (ab_next, cd_next) = (_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, d));
                let first = _mm256_castpd_ps(_mm256_permute2f128_pd(ab, cd, 0x20));
                let third = _mm256_castpd_ps(_mm256_permute2f128_pd(ab_next, cd_next, 0x20));
                let fifth = _mm256_castpd_ps(_mm256_permute2f128_pd(ab, cd, 0x31));
                // The second number of each pair, then the first of the next pair.
                let second = _mm256_shuffle_ps(first, third, 0b10_00_11_01);
                let fourth = _mm256_shuffle_ps(third, fifth, 0b10_00_11_01);
                [
                    Single(first),
                    Single(_mm256_permute_ps(second, 0b11_01_10_00)),
                    Single(third),
                    Single(_mm256_permute_ps(fourth, 0b11_01_10_00)),
                    Single(fifth),
                ]
            }
        }

        #[inline(always)]
        fn add_to_pairs(self, [[a, b], [c, d]]: [[&mut [T; 2]; 2]; 2]) {
            let there: Single = <Single as Lanes<T>>::load_pairs([[&*a, &*b], [&*c, &*d]]);
            // SAFETY: two numbers of type `f32` each, that are stored like one of type `f64` wherever they lie.
            unsafe {
                let sum = _mm256_castps_pd(_mm256_add_ps(there.0, self.0));
                let (first, second) = (_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
                let high = |pairs: __m128d| _mm_cvtsd_f64(_mm_unpackhi_pd(pairs, pairs));
                a.as_mut_ptr().cast::<f64>().write_unaligned(_mm_cvtsd_f64(first));
                b.as_mut_ptr().cast::<f64>().write_unaligned(high(first));
                c.as_mut_ptr().cast::<f64>().write_unaligned(_mm_cvtsd_f64(second));
                d.as_mut_ptr().cast::<f64>().write_unaligned(high(second));
            }
        }

        #[inline(always)]
        fn add_to(self, to: &mut [[T; LANES]; 2]) {
            let to = to.as_mut_ptr().cast();
            // SAFETY: eight numbers of type `f32`.
            unsafe { _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), self.0)) };
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
        fn minus(self, other: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn firsts(self, other: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_insertf128_ps(self.0, _mm256_castps256_ps128(other.0), 1) })
        }

        #[inline(always)]
        fn seconds(self, other: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm256_permute2f128_ps(self.0, other.0, 0x31) })
        }

        #[inline(always)]
        fn swap_middle(self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe {
                _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(self.0), 0b11_01_10_00))
            })
        }

        #[inline(always)]
        fn first(self) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: four numbers of type `f32`.
            unsafe { _mm_storeu_ps(out.as_mut_ptr().cast(), _mm256_castps256_ps128(self.0)) };
            out
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
        fn totals([a, b, c, d]: [Self; LANES]) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: as in `zero`, and four numbers of type `f32`.
            unsafe {
                let points = _mm256_hadd_ps(_mm256_hadd_ps(a.0, b.0), _mm256_hadd_ps(c.0, d.0));
                let sums = _mm_add_ps(_mm256_castps256_ps128(points), _mm256_extractf128_ps(points, 1));
                _mm_storeu_ps(out.as_mut_ptr().cast(), sums);
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
        fn five_pairs([a, b, c, d]: [&[[T; LANES]; 2]; 4]) -> [Self; 5] {
            let [a, b, c, d] = [a, b, c, d].map(|line| line.as_ptr().cast::<f64>());
            let mut pairs = [<Double as Lanes<T>>::zero(); 5];
            for (t, pairs) in pairs.iter_mut().enumerate() {
                // SAFETY: two numbers of type `f64` each, of eight.
                *pairs = Double(unsafe {
                    let (a, b) = (_mm_loadu_pd(a.add(t)), _mm_loadu_pd(b.add(t)));
                    let (c, d) = (_mm_loadu_pd(c.add(t)), _mm_loadu_pd(d.add(t)));
                    [_mm256_set_m128d(b, a), _mm256_set_m128d(d, c)]
                });
            }
            pairs
        }

        #[inline(always)]
        fn add_to_pairs(self, to: [[&mut [T; 2]; 2]; 2]) {
            for (to, point) in to.into_iter().zip(self.0) {
                let [a, b] = to.map(|pair| pair.as_mut_ptr().cast());
                // SAFETY: two numbers of type `f64` each.
                unsafe {
                    _mm_storeu_pd(a, _mm_add_pd(_mm_loadu_pd(a), _mm256_castpd256_pd128(point)));
                    _mm_storeu_pd(b, _mm_add_pd(_mm_loadu_pd(b), _mm256_extractf128_pd(point, 1)));
                }
            }
        }

        #[inline(always)]
        fn add_to(self, to: &mut [[T; LANES]; 2]) {
            for (to, point) in to.iter_mut().zip(self.0) {
                let to = to.as_mut_ptr().cast();
                // SAFETY: four numbers of type `f64`.
                unsafe { _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), point)) };
            }
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
        fn minus(self, other: Self) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe { [_mm256_sub_pd(self.0[0], other.0[0]), _mm256_sub_pd(self.0[1], other.0[1])] })
        }

        #[inline(always)]
        fn firsts(self, other: Self) -> Self {
            Double([self.0[0], other.0[0]])
        }

        #[inline(always)]
        fn seconds(self, other: Self) -> Self {
            Double([self.0[1], other.0[1]])
        }

        #[inline(always)]
        fn swap_middle(self) -> Self {
            let [first, second] = self.0;
            // SAFETY: as in `zero`.
            Double(unsafe {
                [_mm256_permute2f128_pd(first, second, 0x20), _mm256_permute2f128_pd(first, second, 0x31)]
            })
        }

        #[inline(always)]
        fn first(self) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: four numbers of type `f64`.
            unsafe { _mm256_storeu_pd(out.as_mut_ptr().cast(), self.0[0]) };
            out
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
        fn totals(of: [Self; LANES]) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            for (out, of) in out.iter_mut().zip(of) {
                let [a, b] = <Double as Lanes<T>>::sums(of);
                *out = a + b;
            }
            out
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What every operation gives for some numbers, in the order of the trait.
    struct Everything<'a, T>(&'a mut Vec<T>);

    impl<T: Real> Wide<T> for Everything<'_, T> {
        fn run<L: Lanes<T>>(self) {
            let numbers: Vec<T> = (0..64).map(|i| T::of((f64::from(i) * 0.7).sin())).collect();
            let points = |from: usize| -> [[T; LANES]; 2] {
                std::array::from_fn(|i| std::array::from_fn(|j| numbers[from + LANES * i + j]))
            };
            // From odd places on, as on a mesh.
            let pair = |from: usize| -> &[T; 2] { numbers[from..].first_chunk().expect("a pair") };
            let lines = [3, 12, 21, 30].map(points);
            let (a, b, c) = (L::load(&points(1)), L::load(&points(9)), L::load(&points(17)));
            let (weight, other) = (numbers[5], numbers[6]);
            let mut results = vec![
                L::zero(),
                a.plus(weight, b),
                L::load_pairs([[pair(1), pair(7)], [pair(11), pair(4)]]),
                L::each([weight, other]),
                a.plus_product(b, c),
                a.times(b),
                a.less_product(b, c),
                a.minus(b),
                a.firsts(b),
                a.seconds(b),
                a.swap_middle(),
                L::both(&points(2)[0]),
                a.plus_difference(b, c, a),
            ];
            results.extend(L::five_pairs(lines.each_ref()));
            let out = self.0;
            for result in results {
                let mut sum = points(40);
                result.add_to(&mut sum);
                out.extend(sum.as_flattened());
            }
            out.extend(a.first());
            out.extend(a.sums());
            out.extend(a.sums_with(b));
            out.extend(L::totals([a, b, c, L::zero()]));
            out.extend(a.across(weight, other));
            let mut pairs = [[weight, other]; 4];
            let [p, q, r, s] = &mut pairs;
            a.add_to_pairs([[p, q], [r, s]]);
            out.extend(pairs.as_flattened());
            let mut sums = points(33);
            L::add(&mut sums[0], weight, &points(3)[0]);
            L::add_pair(&mut sums, [weight, other], &points(4)[1]);
            out.extend(sums.as_flattened());
        }
    }

    fn agree<T: Real>(tolerance: f64) {
        let (mut plain, mut wide) = (Vec::<T>::new(), Vec::<T>::new());
        Everything(&mut plain).run::<Plain<T>>();
        widest(Everything(&mut wide));
        assert_eq!(plain.len(), wide.len());
        for (at, (a, b)) in plain.iter().zip(&wide).enumerate() {
            assert!((a.f64() - b.f64()).abs() < tolerance, "number {at}: {a} {b}");
        }
    }

    #[test]
    fn vector_instructions_give_what_plain_numbers_give() {
        agree::<f32>(1e-6);
        agree::<f64>(1e-14);
    }
}
