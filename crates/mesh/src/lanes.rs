//! Four numbers at a time: vector instructions where the machine has them, the same loops where not.

use std::any::TypeId;

use lookback_operator::Real;

/// Numbers that travel together.
pub(crate) const LANES: usize = 4;

/// Four numbers in a register.
pub(crate) trait Lanes<T: Real>: Copy {
    /// All zero.
    fn zero() -> Self;
    /// Takes four numbers.
    fn load(from: &[T; LANES]) -> Self;
    /// `self + weight * x`.
    fn plus(self, weight: T, x: Self) -> Self;
    /// Gives the four numbers.
    fn store(self) -> [T; LANES];
}

/// Plain numbers, on any machine and of any type.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>([T; LANES]);

impl<T: Real> Lanes<T> for Plain<T> {
    #[inline(always)]
    fn zero() -> Self {
        Plain([T::zero(); LANES])
    }

    #[inline(always)]
    fn load(from: &[T; LANES]) -> Self {
        Plain(*from)
    }

    #[inline(always)]
    fn plus(self, weight: T, x: Self) -> Self {
        let mut sum = self.0;
        sum.iter_mut().zip(x.0).for_each(|(sum, x)| *sum += weight * x);
        Plain(sum)
    }

    #[inline(always)]
    fn store(self) -> [T; LANES] {
        self.0
    }
}

/// Work that is compiled for several kinds of machine: for any, and for newer ones with their vector instructions.
pub(crate) trait Wide<T: Real> {
    /// Does the work with one kind of lanes.
    fn run<L: Lanes<T>>(self);
}

/// Does the work with the widest lanes that this machine has for this type.
pub(crate) fn widest<T: Real, W: Wide<T>>(work: W) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the machine has the instructions.
        return unsafe { x86::run(work) };
    }
    work.run::<Plain<T>>();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
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
    pub(super) struct Single(__m128);

    impl<T: Real> Lanes<T> for Single {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: called from `run` only, so the machine has the instructions; as below.
            Single(unsafe { _mm_setzero_ps() })
        }

        #[inline(always)]
        fn load(from: &[T; LANES]) -> Self {
            // SAFETY: four numbers of type `f32`.
            Single(unsafe { _mm_loadu_ps(from.as_ptr().cast()) })
        }

        #[inline(always)]
        fn plus(self, weight: T, x: Self) -> Self {
            // SAFETY: as in `zero`.
            Single(unsafe { _mm_fmadd_ps(_mm_set1_ps(single(weight)), x.0, self.0) })
        }

        #[inline(always)]
        fn store(self) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: four numbers of type `f32`.
            unsafe { _mm_storeu_ps(out.as_mut_ptr().cast(), self.0) };
            out
        }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Double(__m256d);

    impl<T: Real> Lanes<T> for Double {
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: called from `run` only, so the machine has the instructions; as below.
            Double(unsafe { _mm256_setzero_pd() })
        }

        #[inline(always)]
        fn load(from: &[T; LANES]) -> Self {
            // SAFETY: four numbers of type `f64`.
            Double(unsafe { _mm256_loadu_pd(from.as_ptr().cast()) })
        }

        #[inline(always)]
        fn plus(self, weight: T, x: Self) -> Self {
            // SAFETY: as in `zero`.
            Double(unsafe { _mm256_fmadd_pd(_mm256_set1_pd(double(weight)), x.0, self.0) })
        }

        #[inline(always)]
        fn store(self) -> [T; LANES] {
            let mut out = [T::zero(); LANES];
            // SAFETY: four numbers of type `f64`.
            unsafe { _mm256_storeu_pd(out.as_mut_ptr().cast(), self.0) };
            out
        }
    }
}
