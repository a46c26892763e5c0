//! Lagrangian perturbation theory on the lattice: where particles go before they meet.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::Real;
use lookback_operator::vector::{axpy, dot};
use num_complex::Complex;
use rayon::prelude::*;

use crate::kernel::{Kernels, Tables, times_i};
use crate::third_order::{self, PLACES, TensorField, curl, curl_adjoint, pull_sources, push_sources};

/// How many orders of perturbation theory move the particles to their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lpt {
    /// Zel'dovich (1970).
    First,
    /// Second order (Bouchet et al. 1995).
    #[default]
    Second,
    /// Third order, its transverse part included (Catelan 1995).
    Third,
}

/// `psi = D1 grad P1 + D2 grad P2 + D3a grad P3a + D3b grad P3b + D3c curl A` with `lap P1 = -delta`,
/// `lap P2 = sum_{i<j} (P1,ii P1,jj - P1,ij^2)` (Bouchet et al. 1995), `lap P3a = det P1,ij`,
/// `lap P3b = sum_ij (P1,ii P2,jj - P1,ij P2,ij) / 2` and `lap A = sum_i grad P2,i x grad P1,i` (Catelan 1995).
///
/// Cost: 3 transforms for the first order, 10 more for the second, 26 more for the third. Memory: five meshes and two
/// spectra; seventeen meshes and five spectra more for the third order.
pub struct Displacements<T: Real> {
    fft: RealFft<T>,
    tables: Tables<T>,
    order: Lpt,
    len: usize,
    diagonal: [Vec<T>; 3],
    mixed: Vec<T>,
    source: Vec<T>,
    filtered: Vec<Complex<T>>,
}

/// The pairs of axes off the diagonal.
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

impl<T: Real> Displacements<T> {
    /// Plans for a cubic lattice.
    pub fn new(grid: &Grid, order: Lpt, kernels: Kernels) -> Displacements<T> {
        let fft = RealFft::new(grid);
        let mesh = || vec![T::zero(); if order == Lpt::First { 0 } else { grid.len() }];
        Displacements {
            tables: Tables::new(kernels, grid.columns(), grid.lengths()[0]),
            order,
            len: grid.len(),
            diagonal: [mesh(), mesh(), mesh()],
            mixed: mesh(),
            source: mesh(),
            filtered: fft.make_spectrum(),
            fft,
        }
    }

    /// `psi_d = grad_d lap^-1 (sign * s)` from the spectrum of `s`, unnormalised.
    fn gradient(&mut self, spectrum: &[Complex<T>], scale: f64, psi: &mut [T]) {
        let scale = T::of(scale);
        for axis in 0..3 {
            let factors = |row: usize, out: &mut [T]| self.tables.gradient_line(row, axis, -scale, out);
            self.tables.multiply(spectrum, &mut self.filtered, factors, |out, s, k| *out = times_i(s) * k);
            self.fft.inverse(&mut self.filtered, &mut psi[axis * self.len..][..self.len]);
        }
    }

    /// Adds the transpose of [`gradient`](Displacements::gradient) to a spectrum.
    fn gradient_adjoint(&mut self, psi: &[T], scale: f64, spectrum: &mut [Complex<T>]) {
        let scale = T::of(scale);
        for axis in 0..3 {
            self.fft.forward(&psi[axis * self.len..][..self.len], &mut self.filtered);
            let factors = |row: usize, out: &mut [T]| self.tables.gradient_line(row, axis, scale, out);
            self.tables.multiply(&self.filtered, spectrum, factors, |out, s, k| *out += times_i(s) * k);
        }
    }

    /// `P1,ij`: the spectrum of `delta` times `k_i k_j / k^2`.
    fn tidal(
        tables: &Tables<T>,
        delta: &[Complex<T>],
        pair: (usize, usize),
        out: &mut [Complex<T>],
        accumulate: bool,
    ) {
        let factors = |row: usize, out: &mut [T]| tables.tidal_line(row, pair, out);
        if accumulate {
            tables.multiply(delta, out, factors, |out, delta, k| *out += delta * k);
        } else {
            tables.multiply(delta, out, factors, |out, delta, k| *out = delta * k);
        }
    }

    /// The second derivatives on the diagonal.
    fn diagonals(&mut self, delta: &[Complex<T>]) {
        for axis in 0..3 {
            Displacements::tidal(&self.tables, delta, (axis, axis), &mut self.filtered, false);
            self.fft.inverse(&mut self.filtered, &mut self.diagonal[axis]);
        }
    }

    /// The second derivative off the diagonal.
    fn off_diagonal(&mut self, delta: &[Complex<T>], pair: (usize, usize)) {
        Displacements::tidal(&self.tables, delta, pair, &mut self.filtered, false);
        self.fft.inverse(&mut self.filtered, &mut self.mixed);
    }

    /// Leaves the source of the second order in `self.source`.
    fn second_source(&mut self, delta: &[Complex<T>]) {
        self.diagonals(delta);
        let [xx, yy, zz] = &self.diagonal;
        self.source.par_iter_mut().zip(xx).zip(yy).zip(zz).for_each(|(((out, &x), &y), &z)| {
            *out = x * y + x * z + y * z;
        });
        for pair in PAIRS {
            self.off_diagonal(delta, pair);
            self.source.par_iter_mut().zip(&self.mixed).for_each(|(out, m)| *out -= *m * *m);
        }
    }

    /// The spectrum of the source in `self.source`, not normalised.
    fn source_spectrum(&self) -> Vec<Complex<T>> {
        let mut source = self.fft.make_spectrum();
        self.fft.forward(&self.source, &mut source);
        source
    }

    /// `grad P2` from the spectrum of its source.
    fn second_order(&mut self, source: &[Complex<T>]) -> Vec<T> {
        let mut psi = vec![T::zero(); 3 * self.len];
        self.gradient(source, self.normalised(), &mut psi);
        psi
    }

    /// The fields `psi` of each order, one after the other, from the spectrum of the linear density at `D1 = 1`.
    pub fn forward(&mut self, delta: &[Complex<T>]) -> Vec<Vec<T>> {
        let mut orders = vec![vec![T::zero(); 3 * self.len]];
        self.gradient(delta, -1.0, &mut orders[0]);
        if self.order != Lpt::First {
            self.second_source(delta);
            let source = self.source_spectrum();
            orders.push(self.second_order(&source));
            if self.order == Lpt::Third {
                let sources =
                    third_order::sources(&self.tensor(delta, -1.0), &self.tensor(&source, self.normalised()));
                self.third_orders(&sources, &mut orders);
            }
        }
        orders
    }

    /// The change of [`forward`](Displacements::forward) when the density changes.
    pub fn push(&mut self, delta: &[Complex<T>], change: &[Complex<T>]) -> Vec<Vec<T>> {
        let mut orders = vec![vec![T::zero(); 3 * self.len]];
        self.gradient(change, -1.0, &mut orders[0]);
        if self.order != Lpt::First {
            self.second_source(delta);
            let source = self.source_spectrum();
            // The source is a quadratic form Q: dQ(delta) = Q(delta + change) - Q(delta) - Q(change).
            let sum: Vec<Complex<T>> = delta.iter().zip(change).map(|(a, b)| a + b).collect();
            self.second_source(&sum);
            let mut total = self.source.clone();
            for part in [delta, change] {
                self.second_source(part);
                axpy(-1.0, &self.source, &mut total);
            }
            self.source = total;
            let moved = self.source_spectrum();
            orders.push(self.second_order(&moved));
            if self.order == Lpt::Third {
                let scale = self.normalised();
                let at = (&self.tensor(delta, -1.0), &self.tensor(&source, scale));
                let by = (&self.tensor(change, -1.0), &self.tensor(&moved, scale));
                let sources = push_sources(at, by);
                self.third_orders(&sources, &mut orders);
            }
        }
        orders
    }

    /// Scale of a spectrum that was made by a transform here.
    fn normalised(&self) -> f64 {
        1.0 / self.len as f64
    }

    /// The tensor `P,ij` of a potential with `lap P = scale * source`.
    fn tensor(&mut self, source: &[Complex<T>], scale: f64) -> TensorField<T> {
        let scale = T::of(scale);
        PLACES.map(|place| {
            Displacements::tidal(&self.tables, source, place, &mut self.filtered, false);
            let mut mesh = vec![T::zero(); self.len];
            self.fft.inverse(&mut self.filtered, &mut mesh);
            mesh.par_iter_mut().for_each(|x| *x *= scale);
            mesh
        })
    }

    /// The three fields of the third order from their sources.
    fn third_orders(&mut self, sources: &[Vec<T>; 5], orders: &mut Vec<Vec<T>>) {
        let scale = self.normalised();
        let spectra = [0, 1, 2, 3, 4].map(|i| {
            let mut spectrum = self.fft.make_spectrum();
            self.fft.forward(&sources[i], &mut spectrum);
            spectrum
        });
        let [a, b, turn @ ..] = spectra;
        for source in [a, b] {
            let mut psi = vec![T::zero(); 3 * self.len];
            self.gradient(&source, scale, &mut psi);
            orders.push(psi);
        }
        let mut psi = vec![T::zero(); 3 * self.len];
        curl((&self.fft, &self.tables), &turn, T::of(scale), &mut psi);
        orders.push(psi);
    }

    /// Adds to the spectra of the cotangents of the density and of the second-order source what the third order gives.
    fn pull_third(
        &mut self,
        (delta, source): (&[Complex<T>], &[Complex<T>]),
        cotangents: &[Vec<T>],
        (total, source_bar): (&mut [Complex<T>], &mut [Complex<T>]),
    ) {
        let scale = self.normalised();
        let mut spectra = vec![self.fft.make_spectrum(), self.fft.make_spectrum()];
        for (spectrum, cotangent) in spectra.iter_mut().zip(cotangents) {
            self.gradient_adjoint(cotangent, scale, spectrum);
        }
        spectra.extend(curl_adjoint((&self.fft, &self.tables), &cotangents[2], T::of(scale)));
        let bars = [0, 1, 2, 3, 4].map(|i| {
            let mut mesh = vec![T::zero(); self.len];
            self.fft.inverse(&mut spectra[i], &mut mesh);
            mesh
        });
        drop(spectra);
        let (mut first, mut second) = (self.tensor(delta, -1.0), self.tensor(source, scale));
        pull_sources(&bars, &mut first, &mut second);
        for (field, scale, out) in [(first, -1.0, &mut *total), (second, scale, source_bar)] {
            for (mut mesh, place) in field.into_iter().zip(PLACES) {
                mesh.par_iter_mut().for_each(|x| *x *= T::of(scale));
                self.fft.forward(&mesh, &mut self.filtered);
                Displacements::tidal(&self.tables, &self.filtered, place, out, true);
            }
        }
    }

    /// The transform of the cotangent of the linear density, from those of the displacement fields.
    pub fn pull(&mut self, delta: &[Complex<T>], cotangents: &[Vec<T>]) -> Vec<Complex<T>> {
        let mut total = self.fft.make_spectrum();
        self.gradient_adjoint(&cotangents[0], -1.0, &mut total);
        if self.order != Lpt::First {
            let mut source = self.fft.make_spectrum();
            self.gradient_adjoint(&cotangents[1], self.normalised(), &mut source);
            if self.order == Lpt::Third {
                self.second_source(delta);
                let at = self.source_spectrum();
                self.pull_third((delta, &at), &cotangents[2..], (&mut total, &mut source));
            }
            self.fft.inverse(&mut source, &mut self.source);
            // The transpose of the transform of the source, which is not normalised, is the inverse, which is not.
            self.diagonals(delta);
            let [xx, yy, zz] = &mut self.diagonal;
            let s = &self.source;
            xx.par_iter_mut().zip(yy).zip(zz).zip(s).for_each(|(((x, y), z), &s)| {
                (*x, *y, *z) = (s * (*y + *z), s * (*x + *z), s * (*x + *y));
            });
            for axis in 0..3 {
                self.fft.forward(&self.diagonal[axis], &mut self.filtered);
                Displacements::tidal(&self.tables, &self.filtered, (axis, axis), &mut total, true);
            }
            for pair in PAIRS {
                self.off_diagonal(delta, pair);
                let two = T::of(2.0);
                self.mixed.par_iter_mut().zip(&self.source).for_each(|(m, s)| *m *= -(two * *s));
                self.fft.forward(&self.mixed, &mut self.filtered);
                Displacements::tidal(&self.tables, &self.filtered, pair, &mut total, true);
            }
        }
        total
    }
}

/// `out = sum_n factor_n psi_n`.
pub(crate) fn combine<T: Real>(orders: &[Vec<T>], factors: &[f64], out: &mut [T]) {
    // Part by part, so that sums stay in the cache.
    out.par_chunks_mut(PART).enumerate().for_each(|(part, out)| {
        out.fill(T::zero());
        for (psi, &factor) in orders.iter().zip(factors) {
            let factor = T::of(factor);
            out.iter_mut().zip(&psi[part * PART..]).for_each(|(out, psi)| *out += factor * *psi);
        }
    });
}

/// Numbers a task.
const PART: usize = 1 << 14;

/// `<cotangent, psi_n>` for each order.
pub(crate) fn project<T: Real>(orders: &[Vec<T>], cotangent: &[T]) -> Vec<f64> {
    orders.iter().map(|psi| dot(psi, cotangent)).collect()
}
