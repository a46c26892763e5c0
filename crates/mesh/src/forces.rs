//! A field of vectors on the mesh, read by particles with its derivatives: what pulls them, and how that changes when they
//! move.

use std::marker::PhantomData;

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::{Cic, Shape, Tsc, for_window};
use crate::lanes::{LANES, Lanes};
use crate::places::{Few, Places, TOGETHER, multiply};
use crate::visit::{Around, Particles, PlaneOf, Scratch, Work, apart, keep_both, sum_tiles, visit};
use crate::{Cloud, Field, Quad, RowOf, Window};

impl Cloud {
    /// Reads `g_d(p) = sum_m W(x_p - m) F_d(m)` for each row of particles and hands them to
    /// `f(displacements, momenta, g)`, which may move the particles.
    pub fn visit_forces<T: Real>(
        &self,
        x: &mut [T],
        p: &mut [T],
        field: &Field<T>,
        f: impl Fn(RowOf<'_, T>, RowOf<'_, T>, [&[T]; 3]) + Sync,
    ) {
        self.check_field(field);
        for_window!(self, S => self.tiles([x, p]).into_par_iter().for_each_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                let work = Read::<S, T> { field, shape: PhantomData };
                visit(self, &mut tile, scratch, work, |[x, p], [g, _]| f(x, p, g));
            },
        ));
    }

    /// Reads for each row of particles, with a vector `c` for each, the force `g` and its tide
    /// `d/dx (c . g + fourth)`, where `fourth` is the fourth number of the field, and hands them to
    /// `f([x, p, x_bar, c], g, tide)`. Gives the sum of what `f` gives, row by row.
    pub fn visit_tides<T: Real, const N: usize>(
        &self,
        [x, p, x_bar, c]: [&mut [T]; 4],
        field: &Field<T>,
        f: impl Fn([RowOf<'_, T>; 4], [&[T]; 3], [&[T]; 3]) -> [f64; N] + Sync,
    ) -> [f64; N] {
        self.check_field(field);
        let tiles = self.tiles([x, p, x_bar, c]).into_par_iter();
        sum_tiles(tiles.map_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                let mut sums = [0.0; N];
                let row = |vectors: [RowOf<'_, T>; 4], [g, tide]: [[&[T]; 3]; 2]| {
                    sums.iter_mut().zip(f(vectors, g, tide)).for_each(|(sum, more)| *sum += more);
                };
                let inverse_spacing = T::of(self.inverse_spacing);
                match self.window() {
                    Window::Cic => {
                        visit(self, &mut tile, scratch, TidesInCells { field, inverse_spacing }, row);
                    }
                    Window::Tsc => {
                        let work = Differentiate::<Tsc, T, _> {
                            field,
                            inverse_spacing,
                            read: tide,
                            shape: PhantomData,
                        };
                        visit(self, &mut tile, scratch, work, row);
                    }
                }
                sums
            },
        ))
    }

    /// Writes the force `g` and its change `(dx . d/dx) g` when the particles move by `dx`.
    pub fn push_forces<T: Real>(&self, x: &[T], dx: &[T], field: &Field<T>, g: &mut [T], change: &mut [T]) {
        self.check_field(field);
        // A visitor may move what it visits; here it does not.
        let (mut x, mut dx) = (x.to_vec(), dx.to_vec());
        let inverse_spacing = T::of(self.inverse_spacing);
        for_window!(self, S => self.tiles([&mut x, g, change, &mut dx]).into_par_iter().for_each_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                let (read, shape) = (change_along, PhantomData);
                let work = Differentiate::<S, T, _> { field, inverse_spacing, read, shape };
                visit(self, &mut tile, scratch, work, keep_both);
            },
        ));
    }

    fn check_field<T: Real>(&self, field: &Field<T>) {
        assert_eq!(field.padded().len(), self.cells * self.cells * field.line(), "length of the field");
    }
}

/// `d/dx (c . g + fourth)` from the derivatives of the field at a particle along each axis.
#[inline(always)]
fn tide<T: Real>(c: [T; 3], by: [Quad<T>; 3]) -> [T; 3] {
    by.map(|by| c[0] * by[0] + c[1] * by[1] + c[2] * by[2] + by[3])
}

/// `(dx . d/dx) g` likewise.
#[inline(always)]
fn change_along<T: Real>(dx: [T; 3], [x, y, z]: [Quad<T>; 3]) -> [T; 3] {
    std::array::from_fn(|d| dx[0] * x[d] + dx[1] * y[d] + dx[2] * z[d])
}

/// A few particles, and the lines of mesh points around them.
struct Lines<T> {
    places: Places<T>,
    /// The first point of each line.
    lines: [Few<u32>; 9],
    /// Weights of the lines; then with slopes along the first axis; then along the second.
    across: [[Few<T>; 9]; 3],
}

impl<T: Real> Around<T> for Lines<T> {
    fn new(cloud: &Cloud) -> Box<Lines<T>> {
        let nothing = [T::zero(); TOGETHER];
        Box::new(Lines { places: Places::new(cloud), lines: [[0; TOGETHER]; 9], across: [[nothing; 9]; 3] })
    }

    fn places(&mut self) -> &mut Places<T> {
        &mut self.places
    }
}

impl<T: Real> Lines<T> {
    /// Looks around the few particles whose places are found, with slopes if these are asked for, and asks for the memory of
    /// the lines.
    #[inline(always)]
    fn look<W: Work<T>, L: Lanes<T>>(&mut self, field: &Field<T>) {
        let (cells, line) = (field.cells() as u32, field.line() as u32);
        let Places { points, weights, slopes, .. } = &self.places;
        for i in 0..W::Shape::POINTS {
            for j in 0..W::Shape::POINTS {
                let at = i * W::Shape::POINTS + j;
                let (lines, planes, along, columns) =
                    (&mut self.lines[at], &points[0][i], &points[1][j], &points[2][0]);
                for k in 0..TOGETHER {
                    lines[k] = (planes[k] * cells + along[k]) * line + columns[k];
                }
                for start in lines {
                    L::soon(field.padded(), *start as usize);
                }
                if !W::TABLES {
                    continue;
                }
                multiply(&weights[0][i], &weights[1][j], &mut self.across[0][at]);
                if W::SLOPES {
                    multiply(&slopes[0][i], &weights[1][j], &mut self.across[1][at]);
                    multiply(&weights[0][i], &slopes[1][j], &mut self.across[2][at]);
                }
            }
        }
    }

    /// The field at the points of the four lines around particle `k`, two in each.
    #[inline(always)]
    fn in_cells<L: Lanes<T>>(&self, field: &[Quad<T>], k: usize) -> [L; 4] {
        let mut points = [L::zero(); 4];
        for (points, line) in points.iter_mut().zip(&self.lines) {
            let start = line[k] as usize;
            debug_assert!(start + 1 < field.len());
            // SAFETY: as in `sums`.
            *points = L::load(unsafe { &*field.as_ptr().add(start).cast() });
        }
        points
    }

    /// Sums of the field over the lines around particle `k`, for each pair of points along them, with each of `N` weights.
    #[inline(always)]
    fn sums<S: Shape, L: Lanes<T>, const N: usize>(&self, field: &[Quad<T>], k: usize) -> [[L; 2]; N] {
        let mut sums = [[L::zero(); 2]; N];
        for at in 0..S::POINTS * S::POINTS {
            let start = self.lines[at][k] as usize;
            for pair in 0..S::POINTS.div_ceil(2) {
                debug_assert!(start + 2 * pair + 1 < field.len());
                // SAFETY: `look` makes the start from a plane, a line and a column below `cells`, and lines go on for four
                // points beyond that.
                let points = unsafe { &*field.as_ptr().add(start + 2 * pair).cast::<[Quad<T>; 2]>() };
                let points = L::load(points);
                for (sum, across) in sums.iter_mut().zip(&self.across) {
                    sum[pair] = sum[pair].plus(across[at][k], points);
                }
            }
        }
        sums
    }
}

/// Reads the field and its tide for clouds in cells.
struct TidesInCells<'a, T> {
    field: &'a Field<T>,
    inverse_spacing: T,
}

impl<T: Real> Work<T> for TidesInCells<'_, T> {
    type Shape = Cic;
    type Around = Lines<T>;
    const SLOPES: bool = false;
    const TABLES: bool = false;

    #[inline(always)]
    fn look<L: Lanes<T>>(&self, around: &mut Lines<T>) {
        around.look::<Self, L>(self.field);
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(
        &self,
        around: &Lines<T>,
        vectors: &[PlaneOf<'_, T>],
        particles: Particles,
        [g, tide]: &mut [[Vec<T>; 3]; 2],
    ) {
        let mut cotangents = [[T::zero(); LANES]; TOGETHER];
        together(vectors, particles, &mut cotangents);
        let (mut read, mut made) = ([[T::zero(); LANES]; TOGETHER], [[T::zero(); LANES]; TOGETHER]);
        let [x, y, z] = &around.places.fraction;
        let spacing = L::each([self.inverse_spacing; 2]);
        for k in 0..particles.count {
            let [a, b, c, d] = around.in_cells::<L>(self.field.padded(), k);
            let (by_x, by_y, by_z) = (L::each([x[k]; 2]), L::each([y[k]; 2]), L::each([z[k]; 2]));
            let (across, next_across) = (b.minus(a), d.minus(c));
            let plane = a.plus_product(by_y, across);
            let slope_x = c.plus_product(by_y, next_across).minus(plane);
            let value = plane.plus_product(by_x, slope_x);
            let slope_y = across.plus_difference(by_x, next_across, across);
            let (low, high) = (slope_x.firsts(slope_y), slope_x.seconds(slope_y));
            let slopes = low.plus_difference(by_z, high, low);
            let low = value.firsts(value);
            let slope_z = value.seconds(value).minus(low);
            read[k] = low.plus_product(by_z, slope_z).first();
            let c = spacing.times(L::both(&cotangents[k]));
            made[k] = c.times(slopes).sums_with(c.times(slope_z));
        }
        apart(&read[..particles.count], particles.from, g);
        apart(&made[..particles.count], particles.from, tide);
    }
}

/// Takes the components of the last vectors of a few particles together, with a one as the fourth number.
#[inline(always)]
pub(crate) fn together<T: Real>(
    vectors: &[PlaneOf<'_, T>],
    particles: Particles,
    out: &mut [[T; LANES]; TOGETHER],
) {
    let own = &vectors[vectors.len() - 1];
    let [x, y, z] = own.each_ref().map(|component| &component[particles.first..][..particles.count]);
    for (out, ((x, y), z)) in out.iter_mut().zip(x.iter().zip(y).zip(z)) {
        *out = [*x, *y, *z, T::one()];
    }
}

/// A sum over the points along the lines around particle `k`, with the weights or the slopes along the third axis.
#[inline(always)]
fn along<S: Shape, T: Real, L: Lanes<T>>(weights: &[Few<T>; 3], pairs: [L; 2], k: usize) -> Quad<T> {
    let mut sum = pairs[0].across(weights[0][k], weights[1][k]);
    if S::POINTS > 2 {
        let more = pairs[1].across(weights[2][k], T::zero());
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    sum
}

/// Reads the field.
struct Read<'a, S, T> {
    field: &'a Field<T>,
    shape: PhantomData<S>,
}

impl<S: Shape, T: Real> Work<T> for Read<'_, S, T> {
    type Shape = S;
    type Around = Lines<T>;
    const SLOPES: bool = false;

    #[inline(always)]
    fn look<L: Lanes<T>>(&self, around: &mut Lines<T>) {
        around.look::<Self, L>(self.field);
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(
        &self,
        around: &Lines<T>,
        _: &[PlaneOf<'_, T>],
        particles: Particles,
        out: &mut [[Vec<T>; 3]; 2],
    ) {
        let mut read = [[T::zero(); LANES]; TOGETHER];
        for (k, out) in read[..particles.count].iter_mut().enumerate() {
            let [sum] = around.sums::<S, L, 1>(self.field.padded(), k);
            *out = along::<S, T, L>(&around.places.weights[2], sum, k);
        }
        apart(&read[..particles.count], particles.from, &mut out[0]);
    }
}

/// Reads the field and its derivatives along the three axes.
struct Differentiate<'a, S, T, R> {
    field: &'a Field<T>,
    inverse_spacing: T,
    /// What is made of the last vector of a particle and of the derivatives, in proportion to these.
    read: R,
    shape: PhantomData<S>,
}

impl<S, T, R> Work<T> for Differentiate<'_, S, T, R>
where
    S: Shape,
    T: Real,
    R: Fn([T; 3], [Quad<T>; 3]) -> [T; 3],
{
    type Shape = S;
    type Around = Lines<T>;
    const SLOPES: bool = true;

    #[inline(always)]
    fn look<L: Lanes<T>>(&self, around: &mut Lines<T>) {
        around.look::<Self, L>(self.field);
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(
        &self,
        around: &Lines<T>,
        vectors: &[PlaneOf<'_, T>],
        particles: Particles,
        [g, other]: &mut [[Vec<T>; 3]; 2],
    ) {
        let mut read = [[T::zero(); LANES]; TOGETHER];
        let Places { weights, slopes, .. } = &around.places;
        let own = &vectors[vectors.len() - 1];
        for (k, out) in read[..particles.count].iter_mut().enumerate() {
            let [value, by_x, by_y] = around.sums::<S, L, 3>(self.field.padded(), k);
            *out = along::<S, T, L>(&weights[2], value, k);
            let by_z = along::<S, T, L>(&slopes[2], value, k);
            let [by_x, by_y] = [by_x, by_y].map(|by| along::<S, T, L>(&weights[2], by, k));
            let vector = own.each_ref().map(|component| component[particles.first + k]);
            let made = (self.read)(vector, [by_x, by_y, by_z]);
            for (part, made) in other.iter_mut().zip(made) {
                part[particles.from + k] = made * self.inverse_spacing;
            }
        }
        apart(&read[..particles.count], particles.from, g);
    }
}
