//! Particles on a mesh: where they fall, and with which weights.
//!
//! Particles start on a cubic lattice `q` and are known by their displacement, one array a component, in the order of
//! the lattice. Neighbours on the lattice stay near each other, so memory is walked almost in order, and a displacement
//! holds more digits than a position.

use lookback_operator::{Error, Real, Result};

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
    /// Mesh point below each lattice point along an axis, and the rest.
    pub(crate) lattice: Vec<(i32, f64)>,
}

/// A mesh of this many cells a side is still counted by 32 bits.
const MOST_CELLS: usize = 1600;

/// Displacements beyond this many cells are not followed: they only occur where a simulation has gone astray.
const FARTHEST: f64 = 1e8;

/// Where the particles of one row of the lattice fall: first point of the window along each axis (not wrapped), and the
/// place within.
pub(crate) struct Row<T> {
    pub(crate) first: [Vec<i32>; 3],
    pub(crate) fraction: [Vec<T>; 3],
}

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
        let lattice =
            (0..side).map(|i| ((i * cells / side) as i32, (i * cells % side) as f64 / side as f64)).collect();
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

    pub(crate) fn make_row<T: Real>(&self) -> Row<T> {
        let (first, fraction) = (|| vec![0; self.side], || vec![T::zero(); self.side]);
        Row { first: [first(), first(), first()], fraction: [fraction(), fraction(), fraction()] }
    }

    /// Finds the places of row `row` of the lattice from the displacements of its particles.
    #[inline(always)]
    pub(crate) fn locate<S: Shape, T: Real>(&self, row: usize, x: [&[T]; 3], out: &mut Row<T>) {
        let scale = T::of(self.inverse_spacing);
        for (axis, lattice) in [(0, row / self.side), (1, row % self.side)] {
            let (point, rest) = self.lattice[lattice];
            let (point, rest) = (point + 2 - S::POINTS as i32, T::of(rest + S::SHIFT));
            let (first, fraction) = (&mut out.first[axis], &mut out.fraction[axis]);
            for ((first, fraction), &x) in first.iter_mut().zip(fraction).zip(x[axis]) {
                let (floor, above) = bounded(x * scale + rest).split_floor();
                (*first, *fraction) = (point + floor, above);
            }
        }
        let (first, fraction) = (&mut out.first[2], &mut out.fraction[2]);
        for (((first, fraction), &x), &(point, rest)) in
            first.iter_mut().zip(fraction).zip(x[2]).zip(&self.lattice)
        {
            let (floor, above) = bounded(x * scale + T::of(rest + S::SHIFT)).split_floor();
            (*first, *fraction) = (point + 2 - S::POINTS as i32 + floor, above);
        }
    }

    /// As [`locate`](Cloud::locate), with the first points in the box.
    #[inline(always)]
    pub(crate) fn place<S: Shape, T: Real>(&self, row: usize, x: [&[T]; 3], out: &mut Row<T>) {
        self.locate::<S, T>(row, x, out);
        for first in &mut out.first {
            self.wrap(first);
        }
    }

    /// Brings the first points of a row along an axis into the box.
    #[inline(always)]
    pub(crate) fn wrap(&self, first: &mut [i32]) {
        let cells = self.cells as i32;
        let mut outside = false;
        for point in first.iter_mut() {
            // Few particles are outside of the box, and hardly any by more than its length: no division for the others.
            let moved = *point + if *point < 0 { cells } else { 0 };
            *point = moved - if moved >= cells { cells } else { 0 };
            outside |= *point < 0 || *point >= cells;
        }
        if outside {
            first.iter_mut().for_each(|point| *point = point.rem_euclid(cells));
        }
    }
}

/// A coordinate within what integers hold; NaN stays.
#[inline(always)]
fn bounded<T: Real>(x: T) -> T {
    let (low, high) = (T::of(-FARTHEST), T::of(FARTHEST));
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// The point `step` after `first` on an axis of `cells` points, both below `cells`.
#[inline(always)]
pub(crate) fn after(first: i32, step: usize, cells: usize) -> usize {
    let point = first as usize + step;
    if point >= cells { point - cells } else { point }
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
