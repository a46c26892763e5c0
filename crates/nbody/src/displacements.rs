//! Lagrangian perturbation theory on the lattice: where particles go before they meet.

use lookback_mesh::Grid;
use lookback_operator::vector::{axpy, dot};
use lookback_operator::{Real, zeros};
use num_complex::Complex;
use rayon::prelude::*;

use crate::Start;
use crate::kernel::Kernels;
use crate::rooms::{Rooms, Spectra};
use crate::third_order::{self, curl, curl_adjoint, pull_sources, push_sources};
use crate::tides::{Potential, TensorField, Tides, source};

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
/// Cost: 3 transforms in planes of two axes for the first order and 10 more for the second, with 6 passes of lines along the third
/// axis between them; in reverse 20 and 12. The third order takes 26 transforms more. Memory: three spectra; for the third order
/// twelve meshes of tensors, then five of sources beside them, then five spectra. In reverse nine spectra, in the arrays of a run, and for the third order, before them, 26 meshes
/// and eight spectra.
pub struct Displacements<T: Real> {
    tides: Tides<T>,
    order: Lpt,
}

/// What [`Displacements::pull`] gives.
pub(crate) struct Pulled<T> {
    /// Spectra, of which the last is the transform of the cotangent of the linear density.
    pub(crate) spectra: Spectra<T>,
    /// Cotangents of the growth factors of the displacement and of the momentum, order by order.
    pub(crate) growth: [Vec<f64>; 2],
}

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
        Displacements { tides: Tides::new(grid, kernels), order }
    }

    /// The fields `psi` of each order, one after the other, from the spectrum of the linear density at `D1 = 1`.
    pub fn forward(&self, delta: &[Complex<T>]) -> Vec<Vec<T>> {
        self.forward_in(Vec::new(), delta, &mut Rooms::new(self.tides.grid()))
    }

    /// As [`forward`](Displacements::forward), in vector fields that are there. Those which the order does not need come last, with
    /// whatever they held.
    pub(crate) fn forward_in(
        &self,
        mut fields: Vec<Vec<T>>,
        delta: &[Complex<T>],
        rooms: &mut Rooms<T>,
    ) -> Vec<Vec<T>> {
        fields.iter_mut().for_each(|field| field.resize(3 * self.tides.len(), T::zero()));
        let missing = self.order.fields().saturating_sub(fields.len());
        fields.extend(self.fields(missing));
        let mut potential = self.potential_in(rooms.spectra(), delta);
        if self.order == Lpt::First {
            let [zero, one, _] = potential.parts();
            self.tides.gradient([zero, one], T::one(), &mut fields[0]);
            rooms.give_back([potential]);
            return fields;
        }
        self.tides.first_order(None, &mut potential, &mut fields[0]);
        self.tides.second_order(&mut potential, T::of(self.normalised()), &mut fields[1]);
        let source = (self.order == Lpt::Third).then(|| self.tides.spectrum(potential.parts()[0]));
        rooms.give_back([potential]);
        if let Some(source) = source {
            rooms.leave();
            let [first, second] = self.tensors(delta, &source);
            drop(source);
            let sources = third_order::sources(&first, &second);
            drop((first, second));
            self.third_orders(&sources, &mut fields[2..]);
        }
        fields
    }

    /// The change of [`forward`](Displacements::forward) when the density changes.
    pub(crate) fn push(
        &self,
        delta: &[Complex<T>],
        change: &[Complex<T>],
        rooms: &mut Rooms<T>,
    ) -> Vec<Vec<T>> {
        let mut fields = self.fields(self.order.fields());
        let mut moved = self.potential_in(rooms.spectra(), change);
        if self.order == Lpt::First {
            let [zero, one, _] = moved.parts();
            self.tides.gradient([zero, one], T::one(), &mut fields[0]);
            rooms.give_back([moved]);
            return fields;
        }
        let potential = self.potential_in(rooms.spectra(), delta);
        self.tides.first_order(Some(&potential), &mut moved, &mut fields[0]);
        rooms.give_back([potential]);
        self.tides.second_order(&mut moved, T::of(self.normalised()), &mut fields[1]);
        let source_change = (self.order == Lpt::Third).then(|| self.tides.spectrum(moved.parts()[0]));
        rooms.give_back([moved]);
        if let Some(source_change) = source_change {
            rooms.leave();
            let first = self.tensor(delta, -1.0);
            let second = self.tensor(&self.source(&first), self.normalised());
            let [d_first, d_second] = self.tensors(change, &source_change);
            let sources = push_sources((&first, &second), (&d_first, &d_second));
            drop((first, second, d_first, d_second));
            self.third_orders(&sources, &mut fields[2..]);
        }
        fields
    }

    /// Cotangents of the linear density and of the growth factors `start`, from those of displacement and momentum.
    pub(crate) fn pull(
        &self,
        delta: &[Complex<T>],
        start: &Start<f64>,
        bars: [Vec<T>; 2],
        rooms: &mut Rooms<T>,
    ) -> Pulled<T> {
        let mut growth = [vec![0.0; self.order.fields()], vec![0.0; self.order.fields()]];
        let third = (self.order == Lpt::Third).then(|| {
            rooms.leave();
            self.pull_third(delta, start, &bars, &mut growth)
        });
        let mut potential = rooms.spectra();
        let [mut of_x, of_p] = bars.map(|bar| {
            let mut cotangents = rooms.spectra();
            let [spectrum, planes, _] = cotangents.parts_mut();
            self.tides.gradient_adjoint(&bar, &mut potential, [spectrum, planes]);
            rooms.give_back([bar]);
            cotangents
        });
        let [p, p_planes, _] = of_p.parts();
        let [x, x_planes, spectrum] = of_x.parts_mut();
        for (growth, bar) in growth.iter_mut().zip([&*x, p]) {
            growth[0] = self.tides.product(delta, bar);
        }
        let (to_x, to_p) = (&start.displacement, &start.momentum);
        let first = [(&*x, to_x[0]), (p, to_p[0])];
        if self.order == Lpt::First {
            spectrum.fill(Complex::default());
            sum_into(spectrum, &first);
            rooms.give_back([potential, of_p]);
            return Pulled { spectra: of_x, growth };
        }
        // The second order is the gradient of minus the source, as the first is that of minus the density.
        let scale = -self.normalised();
        let mut cotangents = vec![(&*x_planes, scale * to_x[1]), (p_planes, scale * to_p[1])];
        let third_planes = third.as_ref().map(|[_, source]| self.tides.planes(source));
        cotangents.extend(third_planes.as_ref().map(|planes| (&planes[..], 1.0)));
        self.tides.set_potential(delta, &mut potential);
        let products = self.tides.source_adjoint(&mut potential, &cotangents);
        for (growth, product) in growth.iter_mut().zip(products) {
            growth[1] = scale * product;
        }
        drop(third_planes);
        self.tides.potential_adjoint(&potential, spectrum);
        sum_into(spectrum, &first);
        if let Some([density, _]) = third {
            sum_into(spectrum, &[(&density, 1.0)]);
        }
        rooms.give_back([potential, of_p]);
        Pulled { spectra: of_x, growth }
    }

    /// Vector fields of zeros.
    fn fields(&self, count: usize) -> Vec<Vec<T>> {
        std::iter::repeat_with(|| zeros(3 * self.tides.len())).take(count).collect()
    }

    fn potential(&self, source: &[Complex<T>]) -> Potential<T> {
        self.potential_in(self.tides.make_potential(), source)
    }

    fn potential_in(&self, mut room: Spectra<T>, source: &[Complex<T>]) -> Potential<T> {
        self.tides.set_potential(source, &mut room);
        room
    }

    /// Scale of a spectrum that was made by a transform here.
    fn normalised(&self) -> f64 {
        1.0 / self.tides.len() as f64
    }

    /// The spectrum of the source of the second order, not normalised, from the tensor of the first.
    fn source(&self, first: &TensorField<T>) -> Vec<Complex<T>> {
        let mut spectrum = self.tides.fft.make_spectrum();
        let cells = (0..self.tides.len()).into_par_iter();
        let field: Vec<T> =
            cells.map(|cell| source(std::array::from_fn(|place| first[place][cell]))).collect();
        self.tides.fft.forward(&field, &mut spectrum);
        spectrum
    }

    /// The tensors of both potentials, from the spectra of their sources.
    fn tensors(&self, delta: &[Complex<T>], source: &[Complex<T>]) -> [TensorField<T>; 2] {
        [self.tensor(delta, -1.0), self.tensor(source, self.normalised())]
    }

    /// The tensor `P,ij` of a potential with `lap P = scale * source`.
    fn tensor(&self, source: &[Complex<T>], scale: f64) -> TensorField<T> {
        self.tides.tensor(&self.potential(source), T::of(scale))
    }

    /// Writes the three fields of the third order from their sources.
    fn third_orders(&self, sources: &[Vec<T>; 5], orders: &mut [Vec<T>]) {
        let Tides { fft, tables, .. } = &self.tides;
        let scale = self.normalised();
        let spectra = [0, 1, 2, 3, 4].map(|i| {
            let mut spectrum = fft.make_spectrum();
            fft.forward(&sources[i], &mut spectrum);
            spectrum
        });
        let [a, b, turn @ ..] = spectra;
        for (source, psi) in [a, b].iter().zip(&mut *orders) {
            let potential = self.potential(source);
            let [zero, one, _] = potential.parts();
            self.tides.gradient([zero, one], T::of(-scale), psi);
        }
        curl((fft, tables), &turn, T::of(scale), &mut orders[2]);
    }

    /// Spectra of the cotangents that the third order gives to the density and to the source of the second order; and those of its growth.
    fn pull_third(
        &self,
        delta: &[Complex<T>],
        start: &Start<f64>,
        bars: &[Vec<T>; 2],
        growth: &mut [Vec<f64>; 2],
    ) -> [Vec<Complex<T>>; 2] {
        let Tides { fft, tables, .. } = &self.tides;
        let scale = self.normalised();
        let mut first = self.tensor(delta, -1.0);
        let mut second = self.tensor(&self.source(&first), scale);
        let mut fields = self.fields(3);
        self.third_orders(&third_order::sources(&first, &second), &mut fields);
        for (n, psi) in fields.iter_mut().enumerate().map(|(n, psi)| (n + 2, psi)) {
            for (growth, bar) in growth.iter_mut().zip(bars) {
                growth[n] = dot(psi, bar);
            }
            psi.fill(T::zero());
            for (bar, factors) in bars.iter().zip([&start.displacement, &start.momentum]) {
                axpy(factors[n], bar, psi);
            }
        }
        let mut spectra = Vec::with_capacity(5);
        for psi in &fields[..2] {
            let [mut spectrum, mut planes] = [fft.make_spectrum(), fft.make_spectrum()];
            let to = [&mut spectrum[..], &mut planes];
            self.tides.gradient_adjoint(psi, &mut self.tides.make_potential(), to);
            spectrum.par_iter_mut().for_each(|mode| *mode *= T::of(-scale));
            spectra.push(spectrum);
        }
        spectra.extend(curl_adjoint((fft, tables), &fields[2], T::of(scale)));
        drop(fields);
        let bars = [0, 1, 2, 3, 4].map(|i| {
            let mut mesh = zeros(self.tides.len());
            fft.inverse(&mut spectra[i], &mut mesh);
            mesh
        });
        drop(spectra);
        pull_sources(&bars, &mut first, &mut second);
        drop(bars);
        let mut room = self.tides.make_potential();
        [(first, -1.0), (second, scale)].map(|(bars, scale)| {
            let mut spectrum = self.tides.tensor_adjoint(&bars, &mut room);
            spectrum.par_iter_mut().for_each(|mode| *mode *= T::of(scale));
            spectrum
        })
    }
}

/// `out += sum_n factor_n x_n`.
fn sum_into<T: Real>(out: &mut [Complex<T>], terms: &[(&[Complex<T>], f64)]) {
    for &(term, factor) in terms {
        let factor = T::of(factor);
        out.par_iter_mut().zip(term).with_min_len(PART).for_each(|(out, x)| *out += *x * factor);
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
        fields.push(zeros(only.len()));
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
