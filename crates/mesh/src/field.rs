//! Four numbers on every mesh point: the components of a vector, and another one.

use lookback_operator::{Real, on_large_pages};
use rayon::prelude::*;

use crate::Cloud;
use crate::lanes::{LANES, Lanes, Wide, widest};

/// Three components of a vector on a mesh point, and another number.
pub type Quad<T> = [T; LANES];

/// Central differences `(D f)(m) = sum_s c_s (f(m + s) - f(m - s)) / h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differences {
    /// `c_1, c_2`.
    pub(crate) coefficients: [f64; 2],
}

impl Differences {
    /// Second order: `(f(m + 1) - f(m - 1)) / (2 h)`.
    pub const TWO_POINT: Differences = Differences { coefficients: [0.5, 0.0] };
    /// Fourth order: `(8 (f(m + 1) - f(m - 1)) - (f(m + 2) - f(m - 2))) / (12 h)`.
    pub const FOUR_POINT: Differences = Differences { coefficients: [8.0 / 12.0, -1.0 / 12.0] };
}

/// Four numbers on every point of the mesh of a [`Cloud`], side by side, so that a particle reads them as one.
///
/// Every line goes on with its own beginning, so that the points around a particle lie side by side at its end too.
/// Memory: `4 cells^2 (cells + 4)` numbers.
#[derive(Debug, Clone)]
pub struct Field<T> {
    quads: Vec<Quad<T>>,
    cells: usize,
    inverse_spacing: f64,
}

impl<T: Real> Field<T> {
    /// Points that a line goes on for.
    pub(crate) const ROOM: usize = 4;

    /// Zeros on the mesh of a cloud.
    pub fn new(cloud: &Cloud) -> Field<T> {
        let cells = cloud.cells;
        let quads = on_large_pages(vec![[T::zero(); LANES]; cells * cells * (cells + Self::ROOM)]);
        Field { quads, cells, inverse_spacing: cloud.inverse_spacing }
    }

    /// Points along an axis.
    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    /// Points from one line to the next.
    pub(crate) fn line(&self) -> usize {
        self.cells + Self::ROOM
    }

    /// All points, those beyond the ends of lines included.
    pub(crate) fn padded(&self) -> &[Quad<T>] {
        &self.quads
    }

    /// As [`padded`](Field::padded), to be written.
    pub(crate) fn padded_mut(&mut self) -> &mut [Quad<T>] {
        &mut self.quads
    }

    /// The numbers of a mesh point, counted as on a mesh.
    ///
    /// # Panics
    /// If there is no such point.
    pub fn at(&self, point: usize) -> Quad<T> {
        self.quads[point / self.cells * self.line() + point % self.cells]
    }

    /// Writes one of the four numbers of every point from a mesh.
    pub fn set(&mut self, component: usize, mesh: &[T]) {
        let (line, cells) = (self.line(), self.cells);
        let lines = self.quads.par_chunks_mut(line).zip(mesh.par_chunks(cells));
        lines.with_min_len(64).for_each(|(quads, mesh)| {
            let around = mesh.iter().chain(&mesh[..Self::ROOM]);
            quads.iter_mut().zip(around).for_each(|(quad, x)| quad[component] = *x);
        });
    }

    /// Writes one of the four numbers of every point to a mesh.
    pub fn get(&self, component: usize, mesh: &mut [T]) {
        let lines = mesh.par_chunks_mut(self.cells).zip(self.quads.par_chunks(self.line()));
        lines.with_min_len(64).for_each(|(mesh, quads)| {
            mesh.iter_mut().zip(quads).for_each(|(x, quad)| *x = quad[component]);
        });
    }

    /// Adds what was painted beyond the ends of lines to their beginnings, and repeats these there.
    pub(crate) fn fold(&mut self) {
        let (line, cells) = (self.line(), self.cells);
        self.quads.par_chunks_mut(line).with_min_len(64).for_each(|quads| {
            let (points, beyond) = quads.split_at_mut(cells);
            for (point, beyond) in points.iter_mut().zip(beyond) {
                for (x, more) in point.iter_mut().zip(beyond.iter_mut()) {
                    *x += *more;
                    *more = *x;
                }
            }
        });
    }

    /// Takes the differences of a mesh along the three axes as components, and another mesh as the fourth number; without
    /// one it stays as it is.
    pub fn set_differences(&mut self, mesh: &[T], kernel: Differences, fourth: Option<&[T]>) {
        let (n, width) = (self.cells, self.line());
        let [c1, c2] = kernel.coefficients.map(|c| T::of(c * self.inverse_spacing));
        let line = |i: usize, j: usize| &mesh[(i % n * n + j % n) * n..][..n];
        self.quads.par_chunks_mut(n * width).enumerate().for_each_init(
            || vec![T::zero(); n + 4],
            |padded, (i, plane)| {
                for (j, out) in plane.chunks_mut(width).enumerate() {
                    pad(line(i, j), padded);
                    let [x1, x2, x3, x4] = [1, n - 1, 2, n - 2].map(|step| line(i + step, j));
                    let [y1, y2, y3, y4] = [1, n - 1, 2, n - 2].map(|step| line(i, j + step));
                    for k in 0..n {
                        let z = &padded[k..k + 5];
                        out[k][0] = c1 * (x1[k] - x2[k]) + c2 * (x3[k] - x4[k]);
                        out[k][1] = c1 * (y1[k] - y2[k]) + c2 * (y3[k] - y4[k]);
                        out[k][2] = c1 * (z[3] - z[1]) + c2 * (z[4] - z[0]);
                    }
                    if let Some(fourth) = fourth {
                        let fourth = &fourth[(i * n + j) * n..][..n];
                        out.iter_mut().zip(fourth).for_each(|(out, x)| out[3] = *x);
                    }
                    out.copy_within(..Self::ROOM, n);
                }
            },
        );
    }

    /// Writes `sum_d D_d^T f_d` of the three components `f_d`, the transpose of the differences, to a mesh, and the fourth
    /// number of every point to another.
    pub fn difference_adjoint(&self, kernel: Differences, out: &mut [T], fourth: &mut [T]) {
        let (n, width) = (self.cells, self.line());
        assert_eq!([out.len(), fourth.len()], [n.pow(3); 2], "lengths of the meshes");
        let coefficients = kernel.coefficients.map(|c| T::of(c * self.inverse_spacing));
        let line = |i: usize, j: usize| &self.quads[(i % n * n + j % n) * width..][..width];
        let planes = out.par_chunks_mut(n * n).zip(fourth.par_chunks_mut(n * n)).enumerate();
        planes.for_each_init(
            || vec![[T::zero(); LANES]; width + 2],
            |padded, (i, (out, fourth))| {
                for (j, (out, fourth)) in out.chunks_mut(n).zip(fourth.chunks_mut(n)).enumerate() {
                    let middle = line(i, j);
                    padded[..2].copy_from_slice(&middle[n - 2..n]);
                    padded[2..].copy_from_slice(middle);
                    fourth.iter_mut().zip(middle).for_each(|(out, quad)| *out = quad[3]);
                    widest(LineAdjoint {
                        // Differences are odd, so their transpose is their negative.
                        across: [
                            [n - 1, 1, n - 2, 2].map(|step| line(i + step, j)),
                            [n - 1, 1, n - 2, 2].map(|step| line(i, j + step)),
                        ],
                        along: padded,
                        coefficients,
                        out,
                    });
                }
            },
        );
    }
}

/// The transpose of differences for the points of a line.
struct LineAdjoint<'a, T> {
    /// The lines before and after along the first axis, then those two before and two after; the same along the second.
    across: [[&'a [Quad<T>]; 4]; 2],
    /// The line itself, with two points before it and more after it.
    along: &'a [Quad<T>],
    coefficients: [T; 2],
    out: &'a mut [T],
}

impl<T: Real> Wide<T> for LineAdjoint<'_, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        let LineAdjoint { across: [x, y], along, coefficients: [near, far], out } = self;
        let (n, zero) = (out.len(), T::zero());
        // Each number of a point has the weight of its own axis; the fourth has none. (What is not finite gets through zero
        // weights, to points that are none of its business: the state is lost by then.)
        let weights = |c: T| [[c, zero, zero, zero], [zero, c, zero, zero], [zero, zero, c, zero]];
        let [near, far] = [weights(near), weights(far)];
        let lines = [
            (L::both(&near[0]), x[0], x[1]),
            (L::both(&near[1]), y[0], y[1]),
            (L::both(&near[2]), &along[1..], &along[3..]),
            (L::both(&far[0]), x[2], x[3]),
            (L::both(&far[1]), y[2], y[3]),
            (L::both(&far[2]), along, &along[4..]),
        ];
        // The last point of an odd line is taken with one beyond it, which lines have room for.
        for (_, before, after) in &lines {
            assert!(before.len() > n && after.len() > n, "lengths of the lines");
        }
        let mut k = 0;
        while k < n {
            let mut sum = L::zero();
            for (weights, before, after) in &lines {
                // SAFETY: `k` is below `n`, and the lines are longer than that.
                let [before, after] =
                    [before, after].map(|line| unsafe { &*line.as_ptr().add(k).cast::<[Quad<T>; 2]>() });
                sum = sum.plus_difference(*weights, L::load(before), L::load(after));
            }
            let sums = sum.sums();
            out[k] = sums[0];
            if k + 1 < n {
                out[k + 1] = sums[1];
            }
            k += 2;
        }
    }
}

/// A line with two of its neighbours on either side.
fn pad<T: Copy>(line: &[T], padded: &mut [T]) {
    let n = line.len();
    padded[2..n + 2].copy_from_slice(line);
    padded[..2].copy_from_slice(&line[n - 2..]);
    padded[n + 2..].copy_from_slice(&line[..2]);
}
