//! Transforms of lines of real numbers.
//!
//! A complex transform of half the length, and a step between its modes and those of the line. `realfft` has both; its step is
//! not compiled for vector instructions and takes a fifth of a transform in three dimensions. Where the machine has them, lines of `f32`
//! of even length take the step of this file.

#[cfg(target_arch = "x86_64")]
use std::any::TypeId;
use std::f64::consts::PI;
use std::slice;
use std::sync::Arc;

use lookback_operator::Real;
use num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

#[cfg(target_arch = "x86_64")]
use crate::lanes::has_avx2_and_fma;

/// Plans for lines of one length.
pub(crate) enum RealLines<T: Real> {
    /// With the step of this file.
    Packed(Box<Packed<T>>),
    /// With that of `realfft`.
    Whole { forward: Arc<dyn RealToComplex<T>>, inverse: Arc<dyn ComplexToReal<T>> },
}

/// Transforms of pairs of neighbours as complex numbers, and the steps after and before them.
pub(crate) struct Packed<T: Real> {
    forward: Arc<dyn Fft<T>>,
    inverse: Arc<dyn Fft<T>>,
    after: Step<T>,
    before: Step<T>,
}

/// What a thread needs for a line.
pub(crate) struct Scratch<T> {
    line: Vec<T>,
    modes: Vec<Complex<T>>,
}

impl<T: Real> RealLines<T> {
    pub(crate) fn new(columns: usize) -> RealLines<T> {
        if columns.is_multiple_of(2) && has_vectors::<T>() {
            return RealLines::Packed(Box::new(Packed::new(columns / 2)));
        }
        let mut planner = RealFftPlanner::<T>::new();
        let (forward, inverse) = (planner.plan_fft_forward(columns), planner.plan_fft_inverse(columns));
        RealLines::Whole { forward, inverse }
    }

    pub(crate) fn scratch(&self) -> Scratch<T> {
        let (line, modes) = match self {
            RealLines::Packed(packed) => {
                let Packed { forward, inverse, .. } = &**packed;
                (0, forward.get_inplace_scratch_len().max(inverse.get_outofplace_scratch_len()))
            }
            RealLines::Whole { forward, inverse } => {
                (forward.len(), forward.get_scratch_len().max(inverse.get_scratch_len()))
            }
        };
        Scratch { line: vec![T::zero(); line], modes: vec![Complex::default(); modes] }
    }

    /// `modes = FFT(line)`, half of them.
    pub(crate) fn forward(&self, line: &[T], modes: &mut [Complex<T>], scratch: &mut Scratch<T>) {
        match self {
            RealLines::Packed(packed) => packed.forward(line, modes, &mut scratch.modes),
            RealLines::Whole { forward, .. } => {
                scratch.line.copy_from_slice(line);
                let room = &mut scratch.modes[..forward.get_scratch_len()];
                let done = forward.process_with_scratch(&mut scratch.line, modes, room);
                debug_assert!(done.is_ok());
            }
        }
    }

    /// `line = n * inverse FFT(modes)`; the modes are destroyed. Those which are their own conjugates are taken as real.
    pub(crate) fn inverse(&self, modes: &mut [Complex<T>], line: &mut [T], scratch: &mut Scratch<T>) {
        match self {
            RealLines::Packed(packed) => packed.inverse(modes, line, &mut scratch.modes),
            RealLines::Whole { inverse, .. } => {
                modes[0].im = T::zero();
                if line.len().is_multiple_of(2) {
                    modes[line.len() / 2].im = T::zero();
                }
                let room = &mut scratch.modes[..inverse.get_scratch_len()];
                let done = inverse.process_with_scratch(modes, line, room);
                debug_assert!(done.is_ok());
            }
        }
    }
}

impl<T: Real> Packed<T> {
    fn new(half: usize) -> Packed<T> {
        let mut planner = FftPlanner::<T>::new();
        Packed {
            forward: planner.plan_fft_forward(half),
            inverse: planner.plan_fft_inverse(half),
            after: Step::new(half, 0.5, 1.0),
            before: Step::new(half, 1.0, -1.0),
        }
    }

    fn forward(&self, line: &[T], modes: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        let half = modes.len() - 1;
        let pairs = &mut modes[..half];
        // SAFETY: a complex number is two real ones after each other and aligned like them.
        let reals = unsafe { slice::from_raw_parts_mut(pairs.as_mut_ptr().cast::<T>(), 2 * half) };
        reals.copy_from_slice(line);
        let room = self.forward.get_inplace_scratch_len();
        self.forward.process_with_scratch(pairs, &mut scratch[..room]);
        let Complex { re, im } = modes[0];
        modes[0] = Complex::new(re + im, T::zero());
        modes[half] = Complex::new(re - im, T::zero());
        self.after.apply(modes);
    }

    fn inverse(&self, modes: &mut [Complex<T>], line: &mut [T], scratch: &mut [Complex<T>]) {
        let half = modes.len() - 1;
        assert_eq!(line.len(), 2 * half, "length of the line");
        let (first, last) = (modes[0].re, modes[half].re);
        modes[0] = Complex::new(first + last, first - last);
        self.before.apply(modes);
        // SAFETY: as in `forward`.
        let pairs = unsafe { slice::from_raw_parts_mut(line.as_mut_ptr().cast::<Complex<T>>(), half) };
        let room = self.inverse.get_outofplace_scratch_len();
        self.inverse.process_outofplace_with_scratch(&mut modes[..half], pairs, &mut scratch[..room]);
    }
}

/// Between the modes `Z` of pairs of neighbours and the modes `X` of a line of `2 M` numbers:
/// `X(k) = (Z(k) + Z*(M - k)) / 2 - i exp(-i pi k / M) (Z(k) - Z*(M - k)) / 2`, and back
/// `Z(k) = X(k) + X*(M - k) + i exp(i pi k / M) (X(k) - X*(M - k))`, for `0 < k < M`.
///
/// With `A` at `k` and `B` at `M - k` both are `scale (A + B*) + turn swap(A - B*) + stay (A - B*)` at `k`, where `swap` exchanges real
/// and imaginary parts, and at `M - k` the conjugate of the first term less the others.
struct Step<T> {
    scale: T,
    /// Factors of the real and the imaginary part for each `k`, which lie as modes do.
    turn: Vec<[T; 2]>,
    stay: Vec<[T; 2]>,
}

impl<T: Real> Step<T> {
    fn new(half: usize, scale: f64, sign: f64) -> Step<T> {
        let angles = (0..=half / 2).map(|k| PI * k as f64 / half as f64);
        let factors = |f: &dyn Fn(f64) -> [f64; 2]| angles.clone().map(|angle| f(angle).map(T::of)).collect();
        Step {
            scale: T::of(scale),
            turn: factors(&|angle| [sign * scale * angle.cos(), -sign * scale * angle.cos()]),
            stay: factors(&|angle| [-scale * angle.sin(); 2]),
        }
    }

    /// Does [`apply`](Step::apply) with vector instructions as far as they go, and gives the first `k` for which it is not done.
    fn apply_wide(&self, modes: &mut [Complex<T>]) -> usize {
        #[cfg(target_arch = "x86_64")]
        if has_vectors::<T>() {
            // SAFETY: the machine has the instructions, and the numbers are `f32`.
            return unsafe { wide(self, modes) };
        }
        let _ = modes;
        1
    }

    /// Takes the step for all modes but the first and the last.
    fn apply(&self, modes: &mut [Complex<T>]) {
        let half = modes.len() - 1;
        for k in self.apply_wide(modes)..=half / 2 {
            let (a, b) = (modes[k], modes[half - k].conj());
            let (sum, change) = ((a + b) * self.scale, a - b);
            let ([turn_re, turn_im], [stay_re, stay_im]) = (self.turn[k], self.stay[k]);
            let turned = Complex::new(
                turn_re * change.im + stay_re * change.re,
                turn_im * change.re + stay_im * change.im,
            );
            modes[half - k] = (sum - turned).conj();
            modes[k] = sum + turned;
        }
    }
}

/// Whether there are vector instructions for numbers of this type.
#[cfg(target_arch = "x86_64")]
fn has_vectors<T: Real>() -> bool {
    TypeId::of::<T>() == TypeId::of::<f32>() && has_avx2_and_fma()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vectors<T: Real>() -> bool {
    false
}

/// Does the step to modes from the first on, four and their four partners at a time. Gives the first for which there was no room.
///
/// # Safety
/// `T` must be `f32`, and the machine must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn wide<T: Real>(step: &Step<T>, modes: &mut [Complex<T>]) -> usize {
    use std::arch::x86_64::*;
    const BACKWARDS: i32 = 0b00_01_10_11;
    const SWAPPED: i32 = 0b10_11_00_01;
    let half = modes.len() - 1;
    assert!(step.turn.len() > half / 2 && step.stay.len() > half / 2, "factors of the step");
    let start = modes.as_mut_ptr().cast::<f32>();
    let (turn, stay) = (step.turn.as_ptr().cast::<f32>(), step.stay.as_ptr().cast::<f32>());
    let scale = _mm256_set1_ps(step.scale.f64() as f32);
    // The signs of imaginary parts.
    let imaginary = _mm256_castpd_ps(_mm256_set1_pd(-0.0));
    let mut k = 1;
    while 2 * k + 6 < half {
        // SAFETY: `k + 3` is below `half - k - 3`, so both fours lie in the modes and have none in common; and it is at most half
        // of `half`, up to which there are factors.
        unsafe {
            let (to, partner) = (start.add(2 * k), start.add(2 * (half - k - 3)));
            let a = _mm256_loadu_ps(to);
            let b = _mm256_permute4x64_pd::<BACKWARDS>(_mm256_castps_pd(_mm256_loadu_ps(partner)));
            let b = _mm256_xor_ps(_mm256_castpd_ps(b), imaginary);
            let (sum, change) = (_mm256_mul_ps(_mm256_add_ps(a, b), scale), _mm256_sub_ps(a, b));
            let turned =
                _mm256_mul_ps(_mm256_permute_ps::<SWAPPED>(change), _mm256_loadu_ps(turn.add(2 * k)));
            let turned = _mm256_fmadd_ps(change, _mm256_loadu_ps(stay.add(2 * k)), turned);
            let other = _mm256_castps_pd(_mm256_xor_ps(_mm256_sub_ps(sum, turned), imaginary));
            _mm256_storeu_ps(to, _mm256_add_ps(sum, turned));
            _mm256_storeu_ps(partner, _mm256_castpd_ps(_mm256_permute4x64_pd::<BACKWARDS>(other)));
        }
        k += 4;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    #[test]
    fn steps_of_this_file_agree_with_realfft() {
        for columns in [1, 2, 4, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 30, 32, 96, 100, 250, 256] {
            let (single, double) = (RealLines::<f32>::new(columns), RealLines::<f64>::new(columns));
            let mut line = vec![0.0f64; columns];
            Stream::new(4, Purpose::Test, 0).fill_normal(&mut line);
            let rough: Vec<f32> = line.iter().map(|x| *x as f32).collect();
            let (mut modes, mut exact) =
                (vec![Complex::default(); columns / 2 + 1], vec![Complex::default(); columns / 2 + 1]);
            single.forward(&rough, &mut modes, &mut single.scratch());
            double.forward(&line, &mut exact, &mut double.scratch());
            let tolerance = 1e-6 * (columns as f64).sqrt();
            for (k, (a, b)) in modes.iter().zip(&exact).enumerate() {
                let a = Complex::new(f64::from(a.re), f64::from(a.im));
                assert!((a - b).norm() < 3.0 * tolerance, "{columns}: mode {k} is {a}, not {b}");
            }
            // What is not real in modes that are their own conjugates does not count.
            modes[0].im = 1.0;
            if columns % 2 == 0 {
                modes[columns / 2].im = -2.0;
            }
            let mut back = vec![0.0f32; columns];
            single.inverse(&mut modes, &mut back, &mut single.scratch());
            for (a, b) in back.iter().zip(&line) {
                let a = f64::from(*a) / columns as f64;
                assert!((a - b).abs() < 3.0 * tolerance, "{columns}: {a}, not {b}");
            }
        }
    }
}
