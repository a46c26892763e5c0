//! A field of vectors on the mesh, read by particles with its derivatives: what pulls them, and how that changes when they
//! move.
//!
//! The three components of a mesh point lie side by side with a fourth number, so that a particle reads them as one.

use std::marker::PhantomData;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Cloud;
use crate::cloud::{Row, Shape, after, for_window};
use crate::lanes::{LANES, Lanes, Wide, widest};

/// Three components of a vector on a mesh point, and another number.
pub type Quad<T> = [T; LANES];

/// Displacements, momenta or cotangents of one row of particles, component by component.
pub type RowOf<'a, T> = [&'a mut [T]; 3];

/// Central differences `(D f)(m) = sum_s c_s (f(m + s) - f(m - s)) / h`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differences {
    /// `c_1, c_2`.
    coefficients: [f64; 2],
}

impl Differences {
    /// Second order: `(f(m + 1) - f(m - 1)) / (2 h)`.
    pub const TWO_POINT: Differences = Differences { coefficients: [0.5, 0.0] };
    /// Fourth order: `(8 (f(m + 1) - f(m - 1)) - (f(m + 2) - f(m - 2))) / (12 h)`.
    pub const FOUR_POINT: Differences = Differences { coefficients: [8.0 / 12.0, -1.0 / 12.0] };
}

impl Cloud {
    /// Reads `g_d(p) = sum_m W(x_p - m) F_d(m)` for each row of particles and hands them to
    /// `f(row, displacements, momenta, g)`, which may move the particles.
    pub fn visit_forces<T: Real>(
        &self,
        x: &mut [T],
        p: &mut [T],
        field: &[Quad<T>],
        f: impl Fn(usize, RowOf<'_, T>, RowOf<'_, T>, [&[T]; 3]) + Sync,
    ) {
        assert_eq!(field.len(), self.mesh_len(), "length of the mesh");
        let scratch =
            || (self.make_row(), vec![[T::zero(); LANES]; self.side], vec![T::zero(); 3 * self.side]);
        for_window!(self, S => self.rows([x, p]).into_par_iter().enumerate().for_each_init(
            scratch,
            |(places, out, parts), (row, [x, p])| {
                let from = [&*x[0], &*x[1], &*x[2]];
                widest(Read::<S, T> { cloud: self, row, x: from, places, field, out, shape: PhantomData });
                f(row, x, p, apart(out, parts));
            },
        ));
    }

    /// Reads for each row of particles, with a vector `c` for each, the force `g` and its tide
    /// `d/dx (c . g + weight * fourth)`, where `fourth` is the fourth number of the field, and hands them to
    /// `f([x, p, x_bar, c], g, tide)`. Gives what `f` gives, row by row.
    pub fn visit_tides<T: Real, R: Send>(
        &self,
        [x, p, x_bar, c]: [&mut [T]; 4],
        field: &[Quad<T>],
        weight: T,
        f: impl Fn([RowOf<'_, T>; 4], [&[T]; 3], [&[T]; 3]) -> R + Sync,
    ) -> Vec<R> {
        assert_eq!(field.len(), self.mesh_len(), "length of the mesh");
        let quads = || vec![[T::zero(); LANES]; self.side];
        let scratch = || (self.make_row(), [quads(), quads()], vec![T::zero(); 6 * self.side]);
        for_window!(self, S => self.rows([x, p, x_bar, c]).into_par_iter().enumerate().map_init(
            scratch,
            |(places, [g, tide], parts), (row, [x, p, x_bar, c])| {
                let (from, vectors) = ([&*x[0], &*x[1], &*x[2]], [&*c[0], &*c[1], &*c[2]]);
                let (g, tide) = (&mut g[..], &mut tide[..]);
                let read = |k: usize, [value, by_x, by_y, by_z]: [Quad<T>; 4]| {
                    let along = |by: Quad<T>| {
                        vectors[0][k] * by[0] + vectors[1][k] * by[1] + vectors[2][k] * by[2] + weight * by[3]
                    };
                    (value, [along(by_x), along(by_y), along(by_z), T::zero()])
                };
                widest(Differentiate::<S, T, _> {
                    cloud: self, row, x: from, places, field, g, other: tide, f: read, shape: PhantomData,
                });
                let (first, second) = parts.split_at_mut(3 * self.side);
                f([x, p, x_bar, c], apart(g, first), apart(tide, second))
            },
        ).collect())
    }

    /// Writes the force `g` and its change `(dx . d/dx) g` when the particles move by `dx`.
    pub fn push_forces<T: Real>(&self, x: &[T], dx: &[T], field: &[Quad<T>], g: &mut [T], change: &mut [T]) {
        assert_eq!(field.len(), self.mesh_len(), "length of the mesh");
        let (x, dx) = (self.components(x), self.components(dx));
        let quads = || vec![[T::zero(); LANES]; self.side];
        let scratch = || (self.make_row(), quads(), quads());
        for_window!(self, S => self.rows([g, change]).into_par_iter().enumerate().for_each_init(
            scratch,
            |(places, value, moved), (row, [g, change])| {
                let range = row * self.side..(row + 1) * self.side;
                let [from, dx] = [x, dx].map(|v| v.map(|v| &v[range.clone()]));
                let read = |k: usize, [value, by_x, by_y, by_z]: [Quad<T>; 4]| {
                    (value, std::array::from_fn(|d| dx[0][k] * by_x[d] + dx[1][k] * by_y[d] + dx[2][k] * by_z[d]))
                };
                widest(Differentiate::<S, T, _> {
                    cloud: self, row, x: from, places, field, g: value, other: moved, f: read, shape: PhantomData,
                });
                for d in 0..3 {
                    g[d].iter_mut().zip(value.iter()).for_each(|(out, v)| *out = v[d]);
                    change[d].iter_mut().zip(moved.iter()).for_each(|(out, v)| *out = v[d]);
                }
            },
        ));
    }

    /// Writes the differences of a mesh along the three axes side by side, with another mesh as the fourth number; without
    /// one it stays as it is.
    pub fn differences<T: Real>(
        &self,
        mesh: &[T],
        kernel: Differences,
        fourth: Option<&[T]>,
        field: &mut [Quad<T>],
    ) {
        let n = self.cells;
        let [c1, c2] = kernel.coefficients.map(|c| T::of(c * self.inverse_spacing));
        let line = |i: usize, j: usize| &mesh[(i % n * n + j % n) * n..][..n];
        field.par_chunks_mut(n * n).enumerate().for_each_init(
            || vec![T::zero(); n + 4],
            |padded, (i, plane)| {
                for (j, out) in plane.chunks_mut(n).enumerate() {
                    let middle = line(i, j);
                    pad(middle, padded);
                    let along = |step: [usize; 4]| step.map(|step| line(i + step, j));
                    let [x1, x2, x3, x4] = along([1, n - 1, 2, n - 2]);
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
                }
            },
        );
    }

    /// Adds one component of the transpose of [`differences`](Cloud::differences): `out += D_axis^T mesh`.
    pub fn add_difference_adjoint<T: Real>(
        &self,
        mesh: &[T],
        axis: usize,
        kernel: Differences,
        out: &mut [T],
    ) {
        let n = self.cells;
        let [c1, c2] = kernel.coefficients.map(|c| T::of(c * self.inverse_spacing));
        let line = |i: usize, j: usize| &mesh[(i % n * n + j % n) * n..][..n];
        out.par_chunks_mut(n * n).enumerate().for_each_init(
            || vec![T::zero(); n + 4],
            |padded, (i, plane)| {
                for (j, out) in plane.chunks_mut(n).enumerate() {
                    let steps = [1, n - 1, 2, n - 2];
                    // Differences are odd, so their transpose is their negative.
                    if axis < 2 {
                        let [a, b, c, d] =
                            steps.map(|step| if axis == 0 { line(i + step, j) } else { line(i, j + step) });
                        for k in 0..n {
                            out[k] += c1 * (b[k] - a[k]) + c2 * (d[k] - c[k]);
                        }
                    } else {
                        pad(line(i, j), padded);
                        for k in 0..n {
                            let z = &padded[k..k + 5];
                            out[k] += c1 * (z[1] - z[3]) + c2 * (z[0] - z[4]);
                        }
                    }
                }
            },
        );
    }

    /// The rows of several vector fields, component by component.
    fn rows<'a, T, const K: usize>(&self, fields: [&'a mut [T]; K]) -> Vec<[RowOf<'a, T>; K]> {
        let mut chunks = fields.map(|field| self.components_mut(field).map(|c| c.chunks_mut(self.side)));
        (0..self.side * self.side)
            .map(|_| chunks.each_mut().map(|field| field.each_mut().map(|c| c.next().unwrap_or_default())))
            .collect()
    }
}

/// A line with two of its neighbours on either side.
fn pad<T: Copy>(line: &[T], padded: &mut [T]) {
    let n = line.len();
    padded[2..n + 2].copy_from_slice(line);
    padded[..2].copy_from_slice(&line[n - 2..]);
    padded[n + 2..].copy_from_slice(&line[..2]);
}

/// The three components one after the other.
fn apart<'a, T: Real>(quads: &[Quad<T>], parts: &'a mut [T]) -> [&'a [T]; 3] {
    let side = quads.len();
    for (d, part) in parts.chunks_mut(side).enumerate() {
        part.iter_mut().zip(quads).for_each(|(out, quad)| *out = quad[d]);
    }
    let parts = &*parts;
    [&parts[..side], &parts[side..2 * side], &parts[2 * side..]]
}

/// Where the mesh points around a particle begin in the field: a start for each line of them.
#[inline(always)]
fn points<S: Shape>(first: [i32; 3], cells: usize) -> ([usize; 9], [usize; 3]) {
    let mut lines = [0; 9];
    for i in 0..S::POINTS {
        for j in 0..S::POINTS {
            lines[i * S::POINTS + j] =
                (after(first[0], i, cells) * cells + after(first[1], j, cells)) * cells;
        }
    }
    let mut columns = [0; 3];
    for (k, column) in columns.iter_mut().enumerate().take(S::POINTS) {
        *column = after(first[2], k, cells);
    }
    (lines, columns)
}

/// The field at a mesh point.
#[inline(always)]
fn at<T: Real, L: Lanes<T>>(field: &[Quad<T>], point: usize) -> L {
    debug_assert!(point < field.len());
    // SAFETY: `points` makes it from a plane, a line and a column below `cells`, and the field has `cells^3` points.
    L::load(unsafe { field.get_unchecked(point) })
}

/// Reads the field at a row of particles.
struct Read<'a, S: Shape, T: Real> {
    cloud: &'a Cloud,
    row: usize,
    x: [&'a [T]; 3],
    places: &'a mut Row<T>,
    field: &'a [Quad<T>],
    out: &'a mut [Quad<T>],
    shape: PhantomData<S>,
}

impl<S: Shape, T: Real> Wide<T> for Read<'_, S, T> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        self.cloud.place::<S, T>(self.row, self.x, self.places);
        let places = &*self.places;
        for (k, out) in self.out.iter_mut().enumerate() {
            let (lines, columns) =
                points::<S>(places.first.each_ref().map(|first| first[k]), self.cloud.cells);
            let [wx, wy, wz] = places.fraction.each_ref().map(|fraction| S::weights(fraction[k]));
            let mut sum = L::zero();
            for i in 0..S::POINTS {
                for j in 0..S::POINTS {
                    let weight = wx[i] * wy[j];
                    for c in 0..S::POINTS {
                        let point = at::<T, L>(self.field, lines[i * S::POINTS + j] + columns[c]);
                        sum = sum.plus(weight * wz[c], point);
                    }
                }
            }
            *out = sum.store();
        }
    }
}

/// Reads the field and its derivatives along the three axes at a row of particles.
struct Differentiate<'a, S: Shape, T: Real, F> {
    cloud: &'a Cloud,
    row: usize,
    x: [&'a [T]; 3],
    places: &'a mut Row<T>,
    field: &'a [Quad<T>],
    g: &'a mut [Quad<T>],
    other: &'a mut [Quad<T>],
    f: F,
    shape: PhantomData<S>,
}

impl<S: Shape, T: Real, F: Fn(usize, [Quad<T>; 4]) -> (Quad<T>, Quad<T>)> Wide<T>
    for Differentiate<'_, S, T, F>
{
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        self.cloud.place::<S, T>(self.row, self.x, self.places);
        let places = &*self.places;
        let scale = T::of(self.cloud.inverse_spacing);
        for (k, (g, other)) in self.g.iter_mut().zip(self.other.iter_mut()).enumerate() {
            let (lines, columns) =
                points::<S>(places.first.each_ref().map(|first| first[k]), self.cloud.cells);
            let [wx, wy, wz] = places.fraction.each_ref().map(|fraction| S::weights(fraction[k]));
            let [sx, sy, sz] =
                places.fraction.each_ref().map(|fraction| S::slopes(fraction[k]).map(|slope| slope * scale));
            let [mut value, mut by_x, mut by_y, mut by_z] = [L::zero(); 4];
            for i in 0..S::POINTS {
                let [mut plane, mut plane_y, mut plane_z] = [L::zero(); 3];
                for j in 0..S::POINTS {
                    let [mut line, mut line_z] = [L::zero(); 2];
                    for c in 0..S::POINTS {
                        let point = at::<T, L>(self.field, lines[i * S::POINTS + j] + columns[c]);
                        line = line.plus(wz[c], point);
                        line_z = line_z.plus(sz[c], point);
                    }
                    plane = plane.plus(wy[j], line);
                    plane_y = plane_y.plus(sy[j], line);
                    plane_z = plane_z.plus(wy[j], line_z);
                }
                value = value.plus(wx[i], plane);
                by_x = by_x.plus(sx[i], plane);
                by_y = by_y.plus(wx[i], plane_y);
                by_z = by_z.plus(wx[i], plane_z);
            }
            (*g, *other) = (self.f)(k, [value.store(), by_x.store(), by_y.store(), by_z.store()]);
        }
    }
}
