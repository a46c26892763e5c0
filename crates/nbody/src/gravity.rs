//! Gravity on a mesh: the field that sources of density pull particles along.

use lookback_mesh::{Cloud, Differences, Field, Grid, RealFft, RowOf, Window, reads_gradients};
use lookback_operator::{Real, zeros};
use num_complex::Complex;
use rayon::prelude::*;

use crate::Result;
use crate::kernel::{Kernels, Tables, times_i};
use crate::sharpening::{Band, BandKind, Sharpening};

/// `g(x) = -grad lap^-1 delta` at the particles, with `delta` painted from the particles themselves.
///
/// In the equation of motion `dp/dt = 3/2 omega_m g / a`. With differences as the gradient: paint, two transforms of the
/// mesh, differences, readout; with the spectral gradient four transforms. The product with the transposed Jacobian costs
/// as many again. Memory: a mesh and its spectrum, and four meshes for the field where particles do not take the differences
/// themselves; the transposed Jacobian needs one mesh more.
pub struct Gravity<T: Real> {
    cloud: Cloud,
    fft: RealFft<T>,
    tables: Tables<T>,
    kernels: Kernels,
    /// Factor of every mode beside the Laplacian, by line and place along the first axis: `1 / W^2` of the window.
    compensation: Option<Vec<T>>,
    /// Scales of the density that count; all if there is none.
    band: Option<Band>,
    mesh: Vec<T>,
    second: Vec<T>,
    /// The potential of the particles, where it is known.
    known: Option<Vec<T>>,
    spectrum: Vec<Complex<T>>,
    filtered: Vec<Complex<T>>,
    /// Made when it is needed: on finer meshes particles take differences themselves.
    field: Option<Field<T>>,
}

/// A kick of the momenta and the drift that follows it: `p = keep p + pull g(x)`, `x = x + by p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KickDrift {
    /// Factor of the momentum.
    pub keep: f64,
    /// Factor of the field.
    pub pull: f64,
    /// Factor of the new momentum in the drift.
    pub by: f64,
}

/// Particles and the cotangents that go backwards with them.
pub struct Backwards<'a, T> {
    /// Displacements.
    pub x: &'a mut [T],
    /// Momenta.
    pub p: &'a mut [T],
    /// Cotangents of the displacements.
    pub x_bar: &'a mut [T],
    /// Cotangents of the momenta.
    pub p_bar: &'a mut [T],
}

impl<T: Real> Gravity<T> {
    /// `side^3` particles in a box of `length` \[Mpc/h\], forces on a mesh of `cells^3`.
    ///
    /// # Errors
    /// If a size is out of range.
    pub fn new(
        side: usize,
        cells: usize,
        length: f64,
        kernels: Kernels,
        window: Window,
    ) -> Result<Gravity<T>> {
        let cloud = Cloud::new(side, cells, length, window)?;
        let fft = RealFft::new(&Grid::new(&[cells; 3], &[length; 3])?);
        let filtered =
            if kernels.gradient.differences().is_some() { Vec::new() } else { fft.make_spectrum() };
        let compensation = kernels.compensate.then(|| {
            let transform = |i: usize| {
                let wave = Grid::signed(i, cells);
                // Beyond the particles' Nyquist number lie images of their lattice, which would be raised as well.
                if 2 * wave.unsigned_abs() as usize > side {
                    return T::one();
                }
                let w = std::f64::consts::TAU * f64::from(wave) / cells as f64;
                T::of(window.transform(w).powi(-2))
            };
            (0..cells).map(transform).collect()
        });
        Ok(Gravity {
            tables: Tables::new(kernels, cells, length),
            kernels,
            compensation,
            band: None,
            mesh: zeros(cloud.mesh_len()),
            second: Vec::new(),
            known: None,
            spectrum: fft.make_spectrum(),
            filtered,
            field: None,
            cloud,
            fft,
        })
    }

    /// Does something with the gravity of a band of scales.
    pub(crate) fn within<R>(&mut self, band: Band, f: impl FnOnce(&mut Gravity<T>) -> R) -> R {
        self.band = Some(band);
        let result = f(self);
        self.band = None;
        result
    }

    /// Keeps the potential that the particles were kicked by: takes it from here, and leaves its place to the next one.
    pub(crate) fn keep(&mut self, kept: &mut Vec<T>) {
        if kept.len() != self.mesh.len() {
            *kept = zeros(self.mesh.len());
        }
        std::mem::swap(&mut self.mesh, kept);
    }

    /// Does something with the gravity of particles whose potential may have been [kept](Gravity::keep).
    pub(crate) fn knowing<R>(
        &mut self,
        kept: Option<&mut Vec<T>>,
        f: impl FnOnce(&mut Gravity<T>) -> R,
    ) -> R {
        let Some(kept) = kept else { return f(self) };
        self.known = Some(std::mem::take(kept));
        let result = f(self);
        *kept = self.known.take().unwrap_or_default();
        result
    }

    /// The particles and their mesh.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Writes how many particles are at each mesh point.
    pub fn count(&mut self, displacement: &[T], mesh: &mut [T]) {
        self.cloud.paint(displacement, mesh);
    }

    /// The change of [`count`](Gravity::count).
    pub fn count_push(&mut self, displacement: &[T], tangent: &[T], mesh: &mut [T]) {
        self.cloud.paint_push(displacement, tangent, mesh);
    }

    /// Contrast per painted particle over the normalisation of a transform and its inverse.
    fn scale(&self) -> T {
        T::of(1.0 / self.cloud.particles() as f64)
    }

    /// From the density in `self.mesh` to the potential, or from the cotangent of the potential in `self.second` to that of the density.
    fn solve_potential(&mut self, transposed: bool) {
        let factor = green(&self.tables, self.compensation.as_deref(), self.band, self.scale());
        let mesh = if transposed { &mut self.second } else { &mut self.mesh };
        self.fft.convolve(mesh, &mut self.spectrum, factor);
    }

    /// From the density of the particles in `self.mesh` to the potential, unless that is known.
    fn find_potential(&mut self) {
        if self.known.is_none() {
            self.solve_potential(false);
        }
    }

    /// From the density in `self.mesh`, or the known potential, to the field; with `adjoint`, its fourth number is `self.second`.
    fn solve(&mut self, adjoint: bool) {
        match self.kernels.gradient.differences() {
            Some(kernel) => {
                self.find_potential();
                let fourth = adjoint.then_some(&self.second[..]);
                let potential = self.known.as_deref().unwrap_or(&self.mesh);
                field_of(&self.cloud, &mut self.field).set_differences(potential, kernel, fourth);
            }
            None => {
                self.fft.forward(&self.mesh, &mut self.spectrum);
                for axis in 0..3 {
                    self.filter(axis, false);
                    self.fft.inverse(&mut self.filtered, &mut self.mesh);
                    field_of(&self.cloud, &mut self.field).set(axis, &self.mesh);
                }
                if adjoint {
                    field_of(&self.cloud, &mut self.field).set(3, &self.second);
                }
            }
        }
    }

    /// The spectral gradient of the spectrum along an axis, in `self.filtered`; or its transpose, added to the spectrum.
    fn filter(&mut self, axis: usize, transposed: bool) {
        let (scale, band) = (self.scale(), self.band);
        let (from, to) = if transposed {
            (&self.filtered, &mut self.spectrum)
        } else {
            (&self.spectrum, &mut self.filtered)
        };
        self.tables.map(from, to, |out, mode, kappa, inverse| {
            let banded = band.map_or(scale, |band| {
                if inverse > T::zero() { scale * T::of(band.at(1.0 / inverse.f64())) } else { T::zero() }
            });
            let term = times_i(mode) * (kappa[axis] * inverse * banded);
            // The kernel is odd, so its transpose is its negative.
            *out = if transposed { *out - term } else { term };
        });
        if let (Some(along), false) = (&self.compensation, transposed) {
            compensate_lines(along, self.tables.half(), &mut self.filtered);
        }
    }

    /// Hands `g` of the density in `self.mesh` to `f`, row by row of the particles.
    fn visit(&mut self, x: &mut [T], p: &mut [T], f: impl Fn(RowOf<'_, T>, RowOf<'_, T>, [&[T]; 3]) + Sync) {
        debug_assert!(
            self.known.is_none(),
            "a potential that is known is not that of the density painted here"
        );
        match self.differences_at_particles() {
            Some(kernel) => {
                self.solve_potential(false);
                self.cloud.visit_gradient(x, p, (&self.mesh, kernel), f);
            }
            None => {
                self.solve(false);
                self.cloud.visit_forces(x, p, field_of(&self.cloud, &mut self.field), f);
            }
        }
    }

    /// The differences that particles take of the potential themselves, if they do.
    fn differences_at_particles(&self) -> Option<Differences> {
        let (side, cells, window) = (self.cloud.side(), self.cloud.cells(), self.cloud.window());
        self.kernels.gradient.differences().filter(|_| reads_gradients(side, cells, window))
    }

    /// Hands `g` of particles and its tide `d/dx (c . g + psi)` to `f`, row by row, where `psi` is what the mesh gives to positions through
    /// the density when the particles have the cotangents `c` of their `g`; gives the sum of what `f` gives. Displacements are
    /// the first vectors of the particles, and `c` the last.
    fn visit_tides<const N: usize>(
        &mut self,
        particles: [&mut [T]; 4],
        f: impl Fn([RowOf<'_, T>; 4], [&[T]; 3], [&[T]; 3]) -> [f64; N] + Sync,
    ) -> [f64; N] {
        if self.second.is_empty() {
            self.second = zeros(self.cloud.mesh_len());
        }
        let [x, .., c] = &particles;
        match self.differences_at_particles() {
            Some(kernel) => {
                if self.known.is_none() {
                    self.cloud.paint(x, &mut self.mesh);
                }
                self.cloud.paint_gradient_adjoint(x, c, kernel, &mut self.second);
                self.solve_potential(true);
                self.find_potential();
                let potentials = ([self.known.as_deref().unwrap_or(&self.mesh), &self.second[..]], kernel);
                self.cloud.visit_gradient_tides(particles, potentials, f)
            }
            None => {
                self.solve_adjoint(x, c);
                self.solve(true);
                self.cloud.visit_tides(particles, field_of(&self.cloud, &mut self.field), f)
            }
        }
    }

    /// Writes `g` at the particles.
    pub fn at(&mut self, displacement: &[T], g: &mut [T]) {
        self.cloud.paint(displacement, &mut self.mesh);
        // The visitor moves particles; these stay where they are.
        let mut x = displacement.to_vec();
        self.visit(&mut x, g, |_, out, g| {
            out.into_iter().zip(g).for_each(|(out, g)| out.copy_from_slice(g));
        });
    }

    /// Displacements of sharpened particles at a scale factor, and what moved them, per share.
    pub fn sharpened(&mut self, sharpening: Sharpening, at: f64, x: &[T]) -> (Vec<T>, Vec<T>) {
        let (mut seen, mut by) = (x.to_vec(), zeros(x.len()));
        self.sharpen(sharpening, at, &mut seen, &mut by);
        (seen, by)
    }

    /// Sharpens particles at a scale factor, and writes what moves them, per share.
    pub(crate) fn sharpen(&mut self, sharpening: Sharpening, at: f64, x: &mut [T], by: &mut [T]) {
        let share = T::of(sharpening.share(at));
        self.within(sharpening.band(BandKind::Value), |gravity| {
            gravity.cloud.paint(x, &mut gravity.mesh);
            gravity.visit(x, by, |x, by, g| {
                for ((x, by), g) in x.into_iter().zip(by).zip(g) {
                    for ((x, by), g) in x.iter_mut().zip(by.iter_mut()).zip(g) {
                        *by = *g;
                        *x += share * *g;
                    }
                }
            });
        });
    }

    /// Kicks the particles, and lets them drift.
    pub fn kick_drift(&mut self, x: &mut [T], p: &mut [T], step: KickDrift) {
        self.cloud.paint(x, &mut self.mesh);
        let [keep, pull, by] = [step.keep, step.pull, step.by].map(T::of);
        self.visit(x, p, |x, p, g| {
            for ((x, p), g) in x.into_iter().zip(p).zip(g) {
                for ((x, p), g) in x.iter_mut().zip(p.iter_mut()).zip(g) {
                    *p = keep * *p + pull * *g;
                    *x += by * *p;
                }
            }
        });
    }

    /// Writes `g` and its change `dg/dx dx`.
    pub fn push(&mut self, displacement: &[T], dx: &[T], g: &mut [T], tangent: &mut [T]) {
        if self.known.is_none() {
            self.cloud.paint(displacement, &mut self.mesh);
        }
        match self.differences_at_particles() {
            Some(kernel) => {
                self.find_potential();
                let potential = (self.known.as_deref().unwrap_or(&self.mesh), kernel);
                self.cloud.push_gradients([displacement, dx], potential, [&mut *g, &mut *tangent]);
            }
            None => {
                self.solve(false);
                let field = field_of(&self.cloud, &mut self.field);
                self.cloud.push_forces(displacement, dx, field, g, tangent);
            }
        }
        // What follows is the field of the change.
        let known = self.known.take();
        self.cloud.paint_push(displacement, dx, &mut self.mesh);
        let mut x = displacement.to_vec();
        self.visit(&mut x, tangent, |_, out, g| {
            for (out, g) in out.into_iter().zip(g) {
                out.iter_mut().zip(g).for_each(|(out, g)| *out += *g);
            }
        });
        self.known = known;
    }

    /// Leaves in `self.second` what the mesh gives to positions through the density, when the particles have the
    /// cotangents `c` of their `g`; and the density in `self.mesh`.
    fn solve_adjoint(&mut self, displacement: &[T], c: &[T]) {
        let field = field_of(&self.cloud, &mut self.field);
        self.cloud.paint_vectors(displacement, c, field);
        match self.kernels.gradient.differences() {
            Some(kernel) => {
                field.difference_adjoint(kernel, &mut self.second, &mut self.mesh);
                self.solve_potential(true);
            }
            None => {
                self.spectrum.par_iter_mut().for_each(|x| *x = Complex::default());
                for axis in 0..3 {
                    field_of(&self.cloud, &mut self.field).get(axis, &mut self.mesh);
                    self.fft.forward(&self.mesh, &mut self.filtered);
                    self.filter(axis, true);
                }
                if let Some(along) = &self.compensation {
                    compensate_lines(along, self.tables.half(), &mut self.spectrum);
                }
                self.fft.inverse(&mut self.spectrum, &mut self.second);
                field_of(&self.cloud, &mut self.field).get(3, &mut self.mesh);
            }
        }
    }

    /// Adds `scale * (dg/dx)^T p_bar` to `x_bar`. The others stay as they are.
    pub(crate) fn pull(&mut self, particles: Backwards<'_, T>, scale: f64) {
        let Backwards { x, p, x_bar, p_bar } = particles;
        let scale = T::of(scale);
        self.visit_tides([x, p, x_bar, p_bar], |[_, _, out, _], _, tide| {
            for (out, tide) in out.into_iter().zip(tide) {
                out.iter_mut().zip(tide).for_each(|(out, tide)| *out += scale * *tide);
            }
            [0.0; 0]
        });
    }

    /// Undoes a kick, and the drift by `drift` that came *before* it, for the particles and their cotangents. Gives the
    /// cotangents of `keep`, `pull` and the factor of the drift.
    pub fn undo(&mut self, particles: Backwards<'_, T>, keep: f64, pull: f64, drift: f64) -> [f64; 3] {
        let Backwards { x, p, x_bar, p_bar } = particles;
        let (one_over, keep, pull, by) = (T::of(1.0 / keep), T::of(keep), T::of(pull), T::of(drift));
        let row = |[x, p, x_bar, p_bar]: [RowOf<'_, T>; 4], g: [&[T]; 3], tide: [&[T]; 3]| {
            let mut sums = [0.0; 3];
            for d in 0..3 {
                let (x, p, x_bar, p_bar) = (&mut *x[d], &mut *p[d], &mut *x_bar[d], &mut *p_bar[d]);
                for ((p, given), (g, tide)) in
                    p.iter_mut().zip(x_bar.iter_mut()).zip(g[d].iter().zip(tide[d]))
                {
                    *p = (*p - pull * *g) * one_over;
                    *given += pull * *tide;
                }
                for (sum, (a, b)) in sums.iter_mut().zip([(&*p_bar, &*p), (p_bar, g[d]), (x_bar, p)]) {
                    *sum += row_dot(a, b).f64();
                }
                for ((x, p), (given, cotangent)) in x.iter_mut().zip(p).zip(x_bar.iter().zip(p_bar)) {
                    *cotangent = keep * *cotangent + by * *given;
                    *x -= by * *p;
                }
            }
            sums
        };
        self.visit_tides([x, p, x_bar, p_bar], row)
    }
}

/// The field on the mesh of the particles, which is made here if there is none.
fn field_of<'a, T: Real>(cloud: &Cloud, field: &'a mut Option<Field<T>>) -> &'a mut Field<T> {
    field.get_or_insert_with(|| Field::new(cloud))
}

/// The product of two rows, in an order that vector instructions can keep.
pub(crate) fn row_dot<T: Real>(a: &[T], b: &[T]) -> T {
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a.remainder().iter().zip(b.remainder()).map(|(a, b)| *a * *b).sum::<T>();
    let mut lanes = [T::zero(); 8];
    for (a, b) in a.zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += *a * *b);
    }
    lanes.into_iter().sum::<T>() + rest
}

/// `scale band / (lambda W^2)` for the modes of a line along the first axis.
fn green<'a, T: Real>(
    tables: &'a Tables<T>,
    compensation: Option<&'a [T]>,
    band: Option<Band>,
    scale: T,
) -> impl Fn(usize, &mut [T]) + Sync + 'a {
    let half = tables.half();
    move |line, out| {
        tables.inverse_laplacian(line, out);
        if let Some(band) = band {
            out.iter_mut().filter(|inverse| **inverse > T::zero()).for_each(|inverse| {
                *inverse *= T::of(band.at(1.0 / inverse.f64()));
            });
        }
        let transverse = compensation.map_or(scale, |along| scale * along[line / half] * along[line % half]);
        match compensation {
            Some(along) => out.iter_mut().zip(along).for_each(|(out, along)| *out *= transverse * *along),
            None => out.iter_mut().for_each(|out| *out *= transverse),
        }
    }
}

/// Multiplies every mode by the factor of its three wave numbers.
fn compensate_lines<T: Real>(along: &[T], half: usize, spectrum: &mut [Complex<T>]) {
    let cells = along.len();
    spectrum.par_chunks_mut(half).enumerate().for_each(|(row, line)| {
        let transverse = along[row / cells] * along[row % cells];
        line.iter_mut().zip(along).for_each(|(mode, along)| *mode *= transverse * *along);
    });
}
