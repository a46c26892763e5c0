//! Particles on a mesh: where they fall, and with which weights.
//!
//! Particles start on a cubic lattice `q` and are known by their displacement, one array a component, in the order of
//! the lattice. Neighbours on the lattice stay near each other, so memory is walked almost in order, and a displacement
//! holds more digits than a position.

use lookback_operator::{Error, Real, Result};

use crate::places::TOGETHER;

/// The shape of a particle on the mesh (Hockney & Eastwood 1988, section 5-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// Cloud in cell: two points an axis, weights `1 - |u|`. Continuous, with kinks where a particle crosses a point.
    #[default]
    Cic,
    /// Triangular-shaped cloud: three points an axis, parabolas. Its derivative is continuous too.
    Tsc,
}

impl Window {
    /// Points along an axis that a particle touches; also the power of `sinc(k h / 2)` that its transform is.
    pub fn points(self) -> usize {
        match self {
            Window::Cic => Cic::POINTS,
            Window::Tsc => Tsc::POINTS,
        }
    }

    /// Transform of the window along one axis for a mode of phase `w = k h`: `sinc(w / 2)^points`.
    pub fn transform(self, w: f64) -> f64 {
        let x = 0.5 * w;
        let sinc = if x.abs() < 1e-8 { 1.0 } else { x.sin() / x };
        sinc.powi(self.points() as i32)
    }
}

/// Weights of a window along one axis, as functions of the place `0 <= f < 1` between mesh points (cloud in cell) or
/// between the borders of a cell (triangular). Unused entries are zero.
pub(crate) trait Shape: Sync {
    /// Points along an axis.
    const POINTS: usize;
    /// What is added to a coordinate before its floor is taken.
    const SHIFT: f64;
    /// Weights of the points.
    fn weights<T: Real>(f: T) -> [T; 3];
    /// Their derivatives, for a spacing of one.
    fn slopes<T: Real>(f: T) -> [T; 3];
}

pub(crate) struct Cic;

impl Shape for Cic {
    const POINTS: usize = 2;
    const SHIFT: f64 = 0.0;

    #[inline(always)]
    fn weights<T: Real>(f: T) -> [T; 3] {
        [T::one() - f, f, T::zero()]
    }

    #[inline(always)]
    fn slopes<T: Real>(_: T) -> [T; 3] {
        [-T::one(), T::one(), T::zero()]
    }
}

pub(crate) struct Tsc;

impl Shape for Tsc {
    const POINTS: usize = 3;
    const SHIFT: f64 = 0.5;

    #[inline(always)]
    fn weights<T: Real>(f: T) -> [T; 3] {
        let half = T::of(0.5);
        let (u, v) = (T::one() - f, f - half);
        [half * u * u, T::of(0.75) - v * v, half * f * f]
    }

    #[inline(always)]
    fn slopes<T: Real>(f: T) -> [T; 3] {
        [f - T::one(), T::one() - f - f, f]
    }
}

/// A cubic lattice of particles in a periodic box, and the cubic mesh that they are painted on.
///
/// A particle at `x` gives to the mesh points around it the shares `prod_i W((x_i - m_i) / h)`. Mesh points lie at
/// multiples of the spacing `h`; particle `(0, 0, 0)` without displacement lies on mesh point `(0, 0, 0)`.
///
/// Every sum runs in an order that is set by sizes and displacements alone, so results do not depend on the number of
/// threads.
#[derive(Debug, Clone)]
pub struct Cloud {
    pub(crate) side: usize,
    pub(crate) cells: usize,
    pub(crate) inverse_spacing: f64,
    window: Window,
    pub(crate) lattice: Lattice,
}

/// The lattice along an axis, and some zeros, so that a few particles from any on have a place.
#[derive(Debug, Clone)]
pub(crate) struct Lattice {
    /// Mesh point below each lattice point.
    pub(crate) points: Vec<i32>,
    /// What is beyond it, in cells.
    pub(crate) rests: Vec<f64>,
}

/// Most cells a side: a mesh of so many is still counted by 32 bits.
pub const MOST_CELLS: usize = 1600;

impl Cloud {
    /// `side^3` particles in a box of `length` on a mesh of `cells^3` points.
    ///
    /// # Errors
    /// If there are fewer than two particles or four cells a side, or the length is not positive.
    pub fn new(side: usize, cells: usize, length: f64, window: Window) -> Result<Cloud> {
        if side < 2 || cells < 4 || !(length.is_finite() && length > 0.0) {
            let message = format!(
                "needs at least 2 particles and 4 cells a side and a positive length, not {side}, {cells} and {length}"
            );
            return Err(Error::parameter("particles on a mesh", message));
        }
        if cells > MOST_CELLS {
            let message = format!("at most {MOST_CELLS} cells a side, not {cells}");
            return Err(Error::parameter("particles on a mesh", message));
        }
        let mut lattice = Lattice { points: vec![0; side + TOGETHER], rests: vec![0.0; side + TOGETHER] };
        for i in 0..side {
            lattice.points[i] = (i * cells / side) as i32;
            lattice.rests[i] = (i * cells % side) as f64 / side as f64;
        }
        Ok(Cloud { side, cells, inverse_spacing: cells as f64 / length, window, lattice })
    }

    /// Particles a side.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Mesh points a side.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Shape of a particle.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Number of particles.
    pub fn particles(&self) -> usize {
        self.side.pow(3)
    }

    /// Number of mesh points.
    pub fn mesh_len(&self) -> usize {
        self.cells.pow(3)
    }

    pub(crate) fn components<'a, T>(&self, vectors: &'a [T]) -> [&'a [T]; 3] {
        let n = self.particles();
        assert_eq!(vectors.len(), 3 * n, "three components for every particle");
        [&vectors[..n], &vectors[n..2 * n], &vectors[2 * n..]]
    }

    pub(crate) fn components_mut<'a, T>(&self, vectors: &'a mut [T]) -> [&'a mut [T]; 3] {
        let n = self.particles();
        assert_eq!(vectors.len(), 3 * n, "three components for every particle");
        let (x, rest) = vectors.split_at_mut(n);
        let (y, z) = rest.split_at_mut(n);
        [x, y, z]
    }
}

/// Calls a method for the shape of a window.
macro_rules! for_window {
    ($cloud:expr, $shape:ident => $body:expr) => {
        match $cloud.window() {
            $crate::Window::Cic => {
                type $shape = $crate::cloud::Cic;
                $body
            }
            $crate::Window::Tsc => {
                type $shape = $crate::cloud::Tsc;
                $body
            }
        }
    };
}
pub(crate) use for_window;
