//! How the gradient of a potential at particles changes when they move, without a mesh of vectors.

use lookback_operator::Real;
use rayon::prelude::*;

use crate::cloud::Cic;
use crate::forces::together;
use crate::gradient::{
    BELOW, REACH, STARTS_OF_BLOCK, Starts, Stencil, Taps, WINDOW, beside, line, load, weights,
};
use crate::lanes::{LANES, Lanes, SPAN};
use crate::places::TOGETHER;
use crate::visit::{Particles, PlaneOf, Scratch, Work, apart, keep_both, sum_tiles, visit};
use crate::{Cloud, Differences, RowOf, Window};

impl Cloud {
    /// Reads for each row of particles, with a vector `c` for each, the gradient `g_d(p) = sum_m W(x_p - m) (D_d phi)(m)` of a potential
    /// and its tide `d/dx (c . g + sum_m W(x - m) psi(m))`, and hands them to `f([x, p, x_bar, c], g, tide)`, which may change the
    /// vectors. Gives the sum of what `f` gives, row by row. As [`visit_tides`](Cloud::visit_tides) of a field of differences of `phi`
    /// with `psi` as its fourth number, for clouds in cells, and without the memory of that field.
    ///
    /// # Panics
    /// If the window is another, or sizes differ.
    pub fn visit_gradient_tides<T: Real, const N: usize>(
        &self,
        [x, p, x_bar, c]: [&mut [T]; 4],
        ([phi, psi], kernel): ([&[T]; 2], Differences),
        f: impl Fn([RowOf<'_, T>; 4], [&[T]; 3], [&[T]; 3]) -> [f64; N] + Sync,
    ) -> [f64; N] {
        assert_eq!([phi.len(), psi.len()], [self.mesh_len(); 2], "lengths of the potentials");
        sum_tiles(self.tiles([x, p, x_bar, c]).into_par_iter().map_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                let mut sums = [0.0; N];
                let work = self.derivatives(phi, kernel, Tide(psi));
                visit(self, &mut tile, scratch, work, |vectors, [g, tide]| {
                    sums.iter_mut().zip(f(vectors, g, tide)).for_each(|(sum, more)| *sum += more);
                });
                sums
            },
        ))
    }

    /// Writes the gradient `g` of a potential at particles, and its change `(dx . d/dx) g` when they move by `dx`: as
    /// [`push_forces`](Cloud::push_forces) of a field of differences, for clouds in cells.
    ///
    /// # Panics
    /// If the window is another, or sizes differ.
    pub fn push_gradients<T: Real>(
        &self,
        [x, dx]: [&[T]; 2],
        (phi, kernel): (&[T], Differences),
        [g, change]: [&mut [T]; 2],
    ) {
        // A visitor may move what it visits; here it does not.
        let (mut x, mut dx) = (x.to_vec(), dx.to_vec());
        self.tiles([&mut x, g, change, &mut dx]).into_par_iter().for_each_init(
            || Scratch::new(self),
            |scratch, mut tile| {
                visit(self, &mut tile, scratch, self.derivatives(phi, kernel, Change), keep_both);
            },
        );
    }

    /// What reads the derivatives of differences of a potential.
    fn derivatives<'a, T: Real, M: Made<T>>(
        &self,
        phi: &'a [T],
        kernel: Differences,
        made: M,
    ) -> ReadDerivatives<'a, T, M> {
        assert_eq!(self.window(), Window::Cic, "window of the particles");
        assert_eq!(phi.len(), self.mesh_len(), "length of the potential");
        let inverse_spacing = T::of(self.inverse_spacing);
        ReadDerivatives {
            phi,
            made,
            cells: self.cells,
            coefficients: self.coefficients(kernel),
            inverse_spacing,
        }
    }

    /// The coefficients of differences on this mesh.
    pub(crate) fn coefficients<T: Real>(&self, kernel: Differences) -> [T; 2] {
        kernel.coefficients.map(|c| T::of(c * self.inverse_spacing))
    }
}

/// What is made of derivatives.
trait Made<T: Real> {
    /// A mesh that is read beside the potential, at the points of the window.
    fn mesh(&self) -> Option<&[T]>;
    /// Three vectors, whose totals are what is made: from the differences of the potential and that mesh at the points of
    /// the window, from the derivatives of their weights along each axis, and from the vector of the particle.
    fn of<L: Lanes<T>>(&self, differences: [L; 3], mesh: L, slopes: [L; 3], vector: [T; LANES]) -> [L; 3];
}

/// The change of `c . g` and of a mesh along each axis.
struct Tide<'a, T>(&'a [T]);

impl<T: Real> Made<T> for Tide<'_, T> {
    #[inline(always)]
    fn mesh(&self) -> Option<&[T]> {
        Some(self.0)
    }

    #[inline(always)]
    fn of<L: Lanes<T>>(&self, [x, y, z]: [L; 3], mesh: L, slopes: [L; 3], c: [T; LANES]) -> [L; 3] {
        let sum = L::each([c[3]; 2])
            .times(mesh)
            .plus_product(L::each([c[0]; 2]), x)
            .plus_product(L::each([c[1]; 2]), y)
            .plus_product(L::each([c[2]; 2]), z);
        [sum.times(slopes[0]), sum.times(slopes[1]), sum.times(slopes[2])]
    }
}

/// The change of `g` along the vector.
struct Change;

impl<T: Real> Made<T> for Change {
    #[inline(always)]
    fn mesh(&self) -> Option<&[T]> {
        None
    }

    #[inline(always)]
    fn of<L: Lanes<T>>(&self, [x, y, z]: [L; 3], _: L, slopes: [L; 3], dx: [T; LANES]) -> [L; 3] {
        let slope = L::each([dx[0]; 2])
            .times(slopes[0])
            .plus_product(L::each([dx[1]; 2]), slopes[1])
            .plus_product(L::each([dx[2]; 2]), slopes[2]);
        [slope.times(x), slope.times(y), slope.times(z)]
    }
}

/// Reads the gradient of a potential and what is made of its derivatives and of the last vectors of particles.
struct ReadDerivatives<'a, T, M> {
    phi: &'a [T],
    made: M,
    cells: usize,
    coefficients: [T; 2],
    inverse_spacing: T,
}

impl<T: Real, M: Made<T>> Work<T> for ReadDerivatives<'_, T, M> {
    type Shape = Cic;
    type Around = Taps<T>;
    const SLOPES: bool = false;

    #[inline(always)]
    fn look<L: Lanes<T>>(&self, around: &mut Taps<T>) {
        around.look::<L>(self.cells, self.phi);
        if let Some(mesh) = self.made.mesh() {
            around.soon::<L>(mesh, BELOW..BELOW + 2);
        }
    }

    #[inline(always)]
    fn read<L: Lanes<T>>(
        &self,
        around: &Taps<T>,
        all_vectors: &[PlaneOf<'_, T>],
        particles: Particles,
        [g, made]: &mut [[Vec<T>; 3]; 2],
    ) {
        let stencil = Stencil::<L>::new(self.coefficients);
        let mut vectors = [[T::zero(); LANES]; TOGETHER];
        together(all_vectors, particles, &mut vectors);
        vectors.iter_mut().flatten().for_each(|x| *x *= self.inverse_spacing);
        let (mut read, mut other) = ([[T::zero(); LANES]; TOGETHER], [[T::zero(); LANES]; TOGETHER]);
        let [mut block, mut mesh_block] = [[[T::zero(); SPAN]; REACH * REACH]; 2];
        for k in 0..particles.count {
            let (differences, mesh) = if let Some(first) = around.side_by_side(k, self.cells) {
                let [planes, lines] = around.starts_of(k);
                let starts = [planes.map(|plane| plane + first), lines];
                (
                    differences(self.phi, starts, &stencil),
                    self.made.mesh().map_or(L::zero(), |mesh| load(WINDOW, mesh, &starts)),
                )
            } else {
                around.copy_around(k, self.cells, self.phi, &mut block);
                if let Some(mesh) = self.made.mesh() {
                    around.copy_window(k, self.cells, mesh, &mut mesh_block);
                }
                (
                    differences(block.as_flattened(), STARTS_OF_BLOCK, &stencil),
                    load(WINDOW, mesh_block.as_flattened(), &STARTS_OF_BLOCK),
                )
            };
            let [x, y, z] = &around.places.fraction;
            let of_planes = weights(stencil.planes, L::each([x[k]; 2]));
            let of_lines = weights(stencil.pairs, L::each([y[k]; 2]));
            let of_columns = weights(stencil.columns, L::each([z[k]; 2]));
            let in_plane = of_lines.times(of_columns);
            let all = of_planes.times(in_plane);
            let slopes = [
                stencil.planes[1].times(in_plane),
                stencil.pairs[1].times(of_planes.times(of_columns)),
                stencil.columns[1].times(of_planes.times(of_lines)),
            ];
            let [x, y, z] = differences;
            read[k] = L::totals([all.times(x), all.times(y), all.times(z), L::zero()]);
            let [x, y, z] = self.made.of(differences, mesh, slopes, vectors[k]);
            other[k] = L::totals([x, y, z, L::zero()]);
        }
        apart(&read[..particles.count], particles.from, g);
        apart(&other[..particles.count], particles.from, made);
    }
}

/// The differences of a potential along the three axes at the eight points of a window, those of its first plane as one point of the
/// lanes and those of its second as the other. `SPAN` points from the first of each plane and line on must lie in the potential, which
/// is not checked here.
#[inline(always)]
fn differences<T: Real, L: Lanes<T>>(phi: &[T], starts: Starts, stencil: &Stencil<L>) -> [L; 3] {
    let pairs = |t: usize| load(beside(t), phi, &starts);
    let line = |at: usize| line(phi, &starts, at);
    let [a, b, c, d, e] = L::five_pairs([line(0), line(1), line(2), line(3)]);
    let along = difference([a, b, d, e], stencil);
    // Across planes and across lines: both for the first plane or line, then for the second.
    let swapped = c.swap_middle();
    let (two, three) = (c.firsts(swapped), c.seconds(swapped));
    let (one, four) = (pairs(1), pairs(4));
    let first = difference([pairs(0), one, three, four], stencil);
    let second = difference([one, two, four, pairs(5)], stencil);
    [first.firsts(second), first.seconds(second).swap_middle(), along]
}

/// `near (c - b) + far (d - a)`.
#[inline(always)]
fn difference<T: Real, L: Lanes<T>>([a, b, c, d]: [L; 4], stencil: &Stencil<L>) -> L {
    stencil.far.times(d.minus(a)).plus_product(stencil.near, c.minus(b))
}
