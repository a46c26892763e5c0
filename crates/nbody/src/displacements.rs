//! Lagrangian perturbation theory on the lattice: where particles go before they meet.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::Real;
use lookback_operator::vector::dot;
use num_complex::Complex;
use rayon::prelude::*;

use crate::kernel::{Kernels, Tables};
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
/// Cost: 3 transforms for the first order, 10 more for the second, 26 more for the third. Memory: a spectrum, and another for
/// the second order; seventeen meshes, and then five spectra, more for the third. In reverse four meshes and two spectra, and seventeen
/// meshes for the third order.
pub struct Displacements<T: Real> {
    fft: RealFft<T>,
    tables: Tables<T>,
    order: Lpt,
    len: usize,
    filtered: Vec<Complex<T>>,
}

/// The pairs of axes off the diagonal.
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

impl Lpt {
    /// Displacement fields of all orders.
    pub(crate) fn fields(self) -> usize {
        match self {
            Lpt::First => 1,
            Lpt::Second => 2,
            Lpt::Third => 5,
        }
    }
}

impl<T: Real> Displacements<T> {
    /// Plans for a cubic lattice.
    pub fn new(grid: &Grid, order: Lpt, kernels: Kernels) -> Displacements<T> {
        let fft = RealFft::new(grid);
        Displacements {
            tables: Tables::new(kernels, grid.columns(), grid.lengths()[0]),
            order,
            len: grid.len(),
            filtered: fft.make_spectrum(),
            fft,
        }
    }

    /// `psi_d = grad_d lap^-1 (scale * s)` from the spectrum of `s`, unnormalised.
    fn gradient(&mut self, spectrum: &[Complex<T>], scale: f64, psi: &mut [T]) {
        for (axis, psi) in psi.chunks_mut(self.len).enumerate() {
            let filter = self.tables.gradient_filter(axis, T::of(-scale));
            self.fft.inverse_of(spectrum, filter, &mut self.filtered, psi);
        }
    }

    /// Adds the transpose of [`gradient`](Displacements::gradient) to a spectrum.
    fn gradient_adjoint(&mut self, psi: &[T], scale: f64, spectrum: &mut [Complex<T>]) {
        for (axis, psi) in psi.chunks(self.len).enumerate() {
            self.fft.forward_onto(
                psi,
                self.tables.gradient_filter(axis, T::of(scale)),
                &mut self.filtered,
                spectrum,
            );
        }
    }

    /// `P1,ij`: the transform of the spectrum of `delta` times `k_i k_j / k^2`.
    fn tidal(&mut self, delta: &[Complex<T>], pair: (usize, usize), out: &mut [T]) {
        self.fft.inverse_of(delta, self.tables.tidal_filter(pair), &mut self.filtered, out);
    }

    /// Adds the transpose of [`tidal`](Displacements::tidal) to a spectrum.
    fn tidal_adjoint(&mut self, mesh: &[T], pair: (usize, usize), spectrum: &mut [Complex<T>]) {
        self.fft.forward_onto(mesh, self.tables.tidal_filter(pair), &mut self.filtered, spectrum);
    }

    /// Writes the source of the second order; two meshes are scratch.
    fn second_source(&mut self, delta: &[Complex<T>], source: &mut [T], [a, b]: [&mut [T]; 2]) {
        // xx yy + (xx + yy) zz, with two of them at a time.
        self.tidal(delta, (0, 0), a);
        self.tidal(delta, (1, 1), b);
        source.par_iter_mut().zip(&mut *a).zip(&*b).with_min_len(PART).for_each(|((out, a), b)| {
            *out = *a * *b;
            *a += *b;
        });
        self.tidal(delta, (2, 2), b);
        source.par_iter_mut().zip(&*a).zip(&*b).with_min_len(PART).for_each(|((out, a), b)| *out += *a * *b);
        for pair in PAIRS {
            self.tidal(delta, pair, a);
            source.par_iter_mut().zip(&*a).with_min_len(PART).for_each(|(out, a)| *out -= *a * *a);
        }
    }

    /// The spectrum of the source of the second order, not normalised; three meshes are scratch.
    fn source_spectrum(&mut self, delta: &[Complex<T>], room: &mut [T]) -> Vec<Complex<T>> {
        let (source, rest) = room.split_at_mut(self.len);
        let (a, b) = rest.split_at_mut(self.len);
        self.second_source(delta, source, [a, b]);
        let mut spectrum = self.fft.make_spectrum();
        self.fft.forward(source, &mut spectrum);
        spectrum
    }

    /// The fields `psi` of each order, one after the other, from the spectrum of the linear density at `D1 = 1`.
    pub fn forward(&mut self, delta: &[Complex<T>]) -> Vec<Vec<T>> {
        self.forward_in(Vec::new(), delta)
    }

    /// As [`forward`](Displacements::forward), in vector fields that are there. Those which the order does not need come last, with
    /// whatever they held.
    pub fn forward_in(&mut self, mut fields: Vec<Vec<T>>, delta: &[Complex<T>]) -> Vec<Vec<T>> {
        fields.resize_with(fields.len().max(self.order.fields()), Vec::new);
        fields.iter_mut().for_each(|field| field.resize(3 * self.len, T::zero()));
        let source = (self.order != Lpt::First).then(|| self.source_spectrum(delta, &mut fields[0]));
        self.gradient(delta, -1.0, &mut fields[0]);
        if let Some(source) = source {
            self.gradient(&source, self.normalised(), &mut fields[1]);
            if self.order == Lpt::Third {
                let sources =
                    third_order::sources(&self.tensor(delta, -1.0), &self.tensor(&source, self.normalised()));
                self.third_orders(&sources, &mut fields[2..]);
            }
        }
        fields
    }

    /// The change of [`forward`](Displacements::forward) when the density changes.
    pub fn push(&mut self, delta: &[Complex<T>], change: &[Complex<T>]) -> Vec<Vec<T>> {
        let mut orders = vec![vec![T::zero(); 3 * self.len]; self.order.fields()];
        if self.order != Lpt::First {
            // The source is a quadratic form Q: dQ(delta) = Q(delta + change) - Q(delta) - Q(change).
            let sum: Vec<Complex<T>> = delta.iter().zip(change).map(|(a, b)| a + b).collect();
            let mut moved = self.source_spectrum(&sum, &mut orders[0]);
            let source = self.source_spectrum(delta, &mut orders[0]);
            let other = self.source_spectrum(change, &mut orders[0]);
            moved.iter_mut().zip(source.iter().zip(&other)).for_each(|(out, (a, b))| *out -= a + b);
            self.gradient(&moved, self.normalised(), &mut orders[1]);
            if self.order == Lpt::Third {
                let scale = self.normalised();
                let at = (&self.tensor(delta, -1.0), &self.tensor(&source, scale));
                let by = (&self.tensor(change, -1.0), &self.tensor(&moved, scale));
                let sources = push_sources(at, by);
                self.third_orders(&sources, &mut orders[2..]);
            }
        }
        self.gradient(change, -1.0, &mut orders[0]);
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
            let mut mesh = vec![T::zero(); self.len];
            self.tidal(source, place, &mut mesh);
            mesh.par_iter_mut().for_each(|x| *x *= scale);
            mesh
        })
    }

    /// Writes the three fields of the third order from their sources.
    fn third_orders(&mut self, sources: &[Vec<T>; 5], orders: &mut [Vec<T>]) {
        let scale = self.normalised();
        let spectra = [0, 1, 2, 3, 4].map(|i| {
            let mut spectrum = self.fft.make_spectrum();
            self.fft.forward(&sources[i], &mut spectrum);
            spectrum
        });
        let [a, b, turn @ ..] = spectra;
        for (source, psi) in [a, b].iter().zip(&mut *orders) {
            self.gradient(source, scale, psi);
        }
        curl((&self.fft, &self.tables), &turn, T::of(scale), &mut orders[2]);
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
                self.tidal_adjoint(&mesh, place, out);
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
            let mut room = vec![T::zero(); 3 * self.len];
            if self.order == Lpt::Third {
                let at = self.source_spectrum(delta, &mut room);
                self.pull_third((delta, &at), &cotangents[2..], (&mut total, &mut source));
            }
            // The transpose of the transform of the source, which is not normalised, is the inverse, which is not.
            let mut s = vec![T::zero(); self.len];
            self.fft.inverse(&mut source, &mut s);
            drop(source);
            let (xx, rest) = room.split_at_mut(self.len);
            let (yy, zz) = rest.split_at_mut(self.len);
            let mut diagonal = [xx, yy, zz];
            for (axis, mesh) in diagonal.iter_mut().enumerate() {
                self.tidal(delta, (axis, axis), mesh);
            }
            let [xx, yy, zz] = &mut diagonal;
            let meshes = xx.par_iter_mut().zip(&mut **yy).zip(&mut **zz).zip(&s).with_min_len(PART);
            meshes.for_each(|(((x, y), z), &s)| {
                (*x, *y, *z) = (s * (*y + *z), s * (*x + *z), s * (*x + *y));
            });
            for (axis, mesh) in diagonal.iter().enumerate() {
                self.tidal_adjoint(mesh, (axis, axis), &mut total);
            }
            let [mixed, ..] = diagonal;
            for pair in PAIRS {
                self.tidal(delta, pair, mixed);
                let two = T::of(2.0);
                mixed.par_iter_mut().zip(&s).with_min_len(PART).for_each(|(m, s)| *m *= -(two * *s));
                self.tidal_adjoint(mixed, pair, &mut total);
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

/// Replaces the first two of the fields by `sum_n x_n psi_n` and `sum_n p_n psi_n`, of which only those of the order count.
pub(crate) fn combine_both<T: Real>(mut fields: Vec<Vec<T>>, order: Lpt, [x, p]: [&[f64]; 2]) -> [Vec<T>; 2] {
    if let [only] = &fields[..] {
        fields.push(vec![T::zero(); only.len()]);
    }
    let (first, rest) = fields.split_at_mut(1);
    let (second, rest) = rest.split_at_mut(1);
    let factor = |factors: &[f64], n: usize| T::of(factors.get(n).copied().unwrap_or(0.0));
    let own = [0, 1].map(|n| [factor(x, n), factor(p, n)]);
    // Of the first order alone, the second field holds whatever was there.
    let unused = order == Lpt::First;
    let parts = first[0].par_chunks_mut(PART).zip(second[0].par_chunks_mut(PART)).enumerate();
    parts.for_each(|(part, (first, second))| {
        for (first, second) in first.iter_mut().zip(&mut *second) {
            let (a, b) = (*first, if unused { T::zero() } else { *second });
            *first = own[0][0] * a + own[1][0] * b;
            *second = own[0][1] * a + own[1][1] * b;
        }
        for (n, psi) in rest.iter().take(order.fields().saturating_sub(2)).enumerate() {
            let [x, p] = [factor(x, n + 2), factor(p, n + 2)];
            for ((first, second), psi) in first.iter_mut().zip(&mut *second).zip(&psi[part * PART..]) {
                *first += x * *psi;
                *second += p * *psi;
            }
        }
    });
    let momentum = fields.swap_remove(1);
    [fields.swap_remove(0), momentum]
}

/// Numbers a task.
const PART: usize = 1 << 14;

/// `<cotangent, psi_n>` for each order.
pub(crate) fn project<T: Real>(orders: &[Vec<T>], cotangent: &[T]) -> Vec<f64> {
    orders.iter().map(|psi| dot(psi, cotangent)).collect()
}
