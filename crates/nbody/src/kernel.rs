//! Gradient and inverse Laplacian in Fourier space, exact or as finite differences.

use lookback_mesh::{Differences, Grid};
use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;

/// How a gradient is taken: `i kappa(w) / h` for a mode with phase `w = k h` between neighbouring cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientKernel {
    /// `kappa = w`, zero at the Nyquist number (pmwd).
    #[default]
    Spectral,
    /// Central differences of second order: `kappa = sin w`.
    TwoPoint,
    /// Central differences of fourth order: `kappa = (8 sin w - sin 2w) / 6` (FastPM, MADLens).
    FourPoint,
}

/// How the Poisson equation is solved: `-1 / lambda(k)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaplaceKernel {
    /// `lambda = k^2`.
    #[default]
    Spectral,
    /// Seven-point differences: `lambda = sum_i (2 sin(w_i / 2) / h)^2` (Hockney & Eastwood 1988).
    FiniteDifference,
}

/// All choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernels {
    /// The gradient.
    pub gradient: GradientKernel,
    /// The Laplacian.
    pub laplace: LaplaceKernel,
    /// Whether the window of paint and readout is divided out, `1 / W(k)^2`, along axes where the wave is no shorter than two distances between particles.
    pub compensate: bool,
}

/// The kernels on one cubic mesh, tabulated along an axis.
#[derive(Debug, Clone)]
pub(crate) struct Tables<T> {
    /// `kappa / h` for each wave number of a full axis.
    gradient: Vec<T>,
    /// `(kappa / h)^2`, the square of the Nyquist number included: a second derivative is even, a first one is not.
    square: Vec<T>,
    /// One for every wave number.
    one: Vec<T>,
    /// The share of an axis in `lambda`.
    laplace: Vec<T>,
    cells: usize,
}

impl GradientKernel {
    /// The same gradient on the mesh itself, where it is a difference of neighbours.
    pub(crate) fn differences(self) -> Option<Differences> {
        match self {
            GradientKernel::Spectral => None,
            GradientKernel::TwoPoint => Some(Differences::TWO_POINT),
            GradientKernel::FourPoint => Some(Differences::FOUR_POINT),
        }
    }
}

impl<T: Real> Tables<T> {
    pub(crate) fn new(kernels: Kernels, cells: usize, length: f64) -> Tables<T> {
        let h = length / cells as f64;
        let phase = |i: usize| std::f64::consts::TAU * f64::from(Grid::signed(i, cells)) / cells as f64;
        let kappa = |i: usize| {
            let w = phase(i);
            match kernels.gradient {
                GradientKernel::Spectral => w / h,
                GradientKernel::TwoPoint => w.sin() / h,
                GradientKernel::FourPoint => (8.0 * w.sin() - (2.0 * w).sin()) / (6.0 * h),
            }
        };
        let gradient = |i: usize| if 2 * i == cells { T::zero() } else { T::of(kappa(i)) };
        let laplace = |i: usize| {
            let w = phase(i);
            T::of(match kernels.laplace {
                LaplaceKernel::Spectral => (w / h).powi(2),
                LaplaceKernel::FiniteDifference => (2.0 * (0.5 * w).sin() / h).powi(2),
            })
        };
        Tables {
            gradient: (0..cells).map(gradient).collect(),
            square: (0..cells).map(|i| T::of(kappa(i).powi(2))).collect(),
            one: vec![T::one(); cells],
            laplace: (0..cells).map(laplace).collect(),
            cells,
        }
    }

    /// `kappa / h` to a power of at most two, for each wave number along an axis.
    pub(crate) fn along(&self, power: usize) -> &[T] {
        [&self.one, &self.gradient, &self.square][power]
    }

    /// Visits the modes of a plane of the two last axes with the product of a power of `kappa / h` along each: `f(out, input, factor)`.
    pub(crate) fn across(
        &self,
        powers: [usize; 2],
        input: &[Complex<T>],
        out: &mut [Complex<T>],
        f: impl Fn(&mut Complex<T>, Complex<T>, T),
    ) {
        let [rows, along] = powers.map(|power| self.along(power));
        let lines = out.chunks_mut(self.half()).zip(input.chunks(self.half())).zip(rows);
        for ((out, input), &row) in lines {
            for ((out, input), &along) in out.iter_mut().zip(input).zip(along) {
                f(out, *input, row * along);
            }
        }
    }

    /// Cells along an axis.
    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    /// Complex numbers in a line of the half spectrum.
    pub(crate) fn half(&self) -> usize {
        self.cells / 2 + 1
    }

    /// `1 / lambda` of the modes along the first axis of line `line` of the others, zero for the mean.
    pub(crate) fn inverse_laplacian(&self, line: usize, out: &mut [T]) {
        let transverse = self.laplace[line / self.half()] + self.laplace[line % self.half()];
        out.iter_mut().zip(&self.laplace).for_each(|(out, along)| *out = T::one() / (transverse + *along));
        if line == 0 {
            out[0] = T::zero();
        }
    }

    /// Visits every mode: `f(out, input, kappa, 1 / lambda)`, where `1 / lambda` is zero for the mean.
    pub(crate) fn map(
        &self,
        input: &[Complex<T>],
        out: &mut [Complex<T>],
        f: impl Fn(&mut Complex<T>, Complex<T>, [T; 3], T) + Sync,
    ) {
        let half = self.half();
        let lines = out.par_chunks_mut(half).zip(input.par_chunks(half)).enumerate();
        lines.with_min_len(16).for_each(|(row, (out, input))| {
            let (i, j) = (row / self.cells, row % self.cells);
            let transverse = self.laplace[i] + self.laplace[j];
            for k in 0..half {
                let lambda = transverse + self.laplace[k];
                let inverse = if lambda > T::zero() { T::one() / lambda } else { T::zero() };
                let kappa = [self.gradient[i], self.gradient[j], self.gradient[k]];
                f(&mut out[k], input[k], kappa, inverse);
            }
        });
    }
}

/// `i x`.
pub(crate) fn times_i<T: Real>(x: Complex<T>) -> Complex<T> {
    Complex::new(-x.im, x.re)
}
