//! The first two orders of perturbation theory, plane by plane: gradients of potentials, and the source that their tides make.
//!
//! Everything here is a product of one potential with powers of wave numbers, so all fields share the transform along the first
//! axis, and differ only within planes of the two others: there they are made, multiplied and transformed back in the cache.

use lookback_mesh::{Grid, Plane, RealFft};
use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;

use crate::gravity::row_dot;
use crate::kernel::{Kernels, Tables, times_i};

/// `phi`, `kappa phi` and `kappa^2 phi`, with `kappa` along the first axis: planes of modes along the two others.
pub(crate) type Potential<T> = [Vec<Complex<T>>; 3];

/// Places of a symmetric tensor: `xx, yy, zz, xy, xz, yz`.
pub(crate) const PLACES: [(usize, usize); 6] = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)];

/// Plans and kernels on a cubic lattice.
pub(crate) struct Tides<T: Real> {
    pub(crate) fft: RealFft<T>,
    pub(crate) tables: Tables<T>,
    /// Cells and modes of a plane.
    cells: usize,
    modes: usize,
}

/// What a thread needs for a plane.
struct Room<'a, T: Real> {
    plane: Plane<'a, T>,
    tables: &'a Tables<T>,
    modes: Vec<Complex<T>>,
    /// A field, and others that have the places of a tensor.
    field: Vec<T>,
    tides: [Vec<T>; 6],
    changes: [Vec<T>; 6],
}

/// How often a field is differentiated along each axis.
fn powers(axes: &[usize]) -> [usize; 3] {
    std::array::from_fn(|axis| axes.iter().filter(|&&other| other == axis).count())
}

/// The part of an array in a plane.
fn part<T>(array: &[T], plane: usize, len: usize) -> &[T] {
    &array[plane * len..][..len]
}

/// `sum_{i<j} (T_ii T_jj - T_ij^2)` in a cell.
pub(crate) fn source<T: Real>([xx, yy, zz, xy, xz, yz]: [T; 6]) -> T {
    xx * yy + (xx + yy) * zz - (xy * xy + xz * xz + yz * yz)
}

/// Its derivatives by the six numbers.
fn source_slopes<T: Real>([xx, yy, zz, xy, xz, yz]: [T; 6]) -> [T; 6] {
    let two = T::of(-2.0);
    [yy + zz, xx + zz, xx + yy, two * xy, two * xz, two * yz]
}

/// Does `f(cell, tensor)` in every cell.
fn each_cell<T: Real>(tides: &[Vec<T>; 6], mut f: impl FnMut(usize, [T; 6])) {
    let cells = tides[0].len();
    let [a, b, c, d, e, f6] = tides.each_ref().map(|place| &place[..cells]);
    for cell in 0..cells {
        f(cell, [a[cell], b[cell], c[cell], d[cell], e[cell], f6[cell]]);
    }
}

/// Replaces tensors by their cotangents where [`source`] has the cotangents `bar`.
fn pull_source<T: Real>(bar: &[T], tides: &mut [Vec<T>; 6]) {
    let [a, b, c, d, e, f] = tides.each_mut().map(|place| &mut place[..bar.len()]);
    for (cell, &bar) in bar.iter().enumerate() {
        let slopes = source_slopes([a[cell], b[cell], c[cell], d[cell], e[cell], f[cell]]);
        [a[cell], b[cell], c[cell], d[cell], e[cell], f[cell]] = slopes.map(|slope| bar * slope);
    }
}

impl<T: Real> Room<'_, T> {
    /// Makes `self.modes` from those of the potential, differentiated along the axes, and transforms them.
    fn differentiate(
        &mut self,
        potential: [&[Complex<T>]; 3],
        axes: &[usize],
        out: &mut [T],
        f: impl Fn(Complex<T>, T) -> Complex<T>,
    ) {
        let [first, rest @ ..] = powers(axes);
        self.tables
            .across(rest, potential[first], &mut self.modes, |out, mode, factor| *out = f(mode, factor));
        self.plane.inverse(&mut self.modes, out);
    }

    /// Writes `scale grad phi` along an axis.
    fn gradient(&mut self, potential: [&[Complex<T>]; 3], axis: usize, scale: T, out: &mut [T]) {
        self.differentiate(potential, &[axis], out, |mode, factor| times_i(mode) * (factor * scale));
    }

    /// Writes the tidal tensor into `self.tides`.
    fn set_tides(&mut self, potential: [&[Complex<T>]; 3]) {
        let mut tides = std::mem::take(&mut self.tides);
        for (out, (i, j)) in tides.iter_mut().zip(PLACES) {
            self.differentiate(potential, &[i, j], out, |mode, factor| mode * factor);
        }
        self.tides = tides;
    }

    /// Adds the transpose of [`differentiate`](Room::differentiate) to the cotangents of the potential.
    fn differentiate_adjoint(
        &mut self,
        field: &[T],
        axes: &[usize],
        potential: &mut [&mut [Complex<T>]],
        f: impl Fn(Complex<T>, T) -> Complex<T>,
    ) {
        self.plane.forward(field, &mut self.modes);
        let [first, rest @ ..] = powers(axes);
        self.tables.across(rest, &self.modes, potential[first], |out, mode, factor| *out += f(mode, factor));
    }
}

impl<T: Real> Tides<T> {
    /// Plans for a cubic lattice.
    pub(crate) fn new(grid: &Grid, kernels: Kernels) -> Tides<T> {
        let side = grid.columns();
        Tides {
            fft: RealFft::new(grid),
            tables: Tables::new(kernels, side, grid.lengths()[0]),
            cells: side * side,
            modes: side * grid.half_columns(),
        }
    }

    /// Numbers of a field.
    fn len(&self) -> usize {
        self.cells * self.tables.cells()
    }

    fn room(&self) -> Room<'_, T> {
        Room {
            plane: self.fft.plane(),
            tables: &self.tables,
            modes: vec![Complex::default(); self.modes],
            field: vec![T::zero(); self.cells],
            tides: std::array::from_fn(|_| vec![T::zero(); self.cells]),
            changes: std::array::from_fn(|_| vec![T::zero(); self.cells]),
        }
    }

    /// Room for a potential.
    pub(crate) fn make_potential(&self) -> Potential<T> {
        std::array::from_fn(|_| self.fft.make_spectrum())
    }

    /// Writes `phi = delta / lambda` of a spectrum.
    pub(crate) fn set_potential(&self, delta: &[Complex<T>], planes: &mut Potential<T>) {
        let to = planes.each_mut().map(|planes| &mut planes[..]);
        self.fft.lines([delta], to, |line, kernel, [delta], [zero, one, two]| {
            self.tables.inverse_laplacian(line, kernel.factors);
            let along = self.tables.along(1).iter().zip(self.tables.along(2));
            let lines = zero.iter_mut().zip(&mut *one).zip(&mut *two).zip(along);
            for ((((zero, one), two), (kappa, square)), (mode, factor)) in
                lines.zip(delta.iter().zip(&*kernel.factors))
            {
                *zero = *mode * *factor;
                *one = *zero * *kappa;
                *two = *zero * *square;
            }
            [zero, one, two].into_iter().for_each(|line| kernel.inverse(line));
        });
    }

    /// `scale grad phi`, component after component.
    pub(crate) fn gradient(&self, potential: [&[Complex<T>]; 2], scale: T, psi: &mut [T]) {
        let [x, y, z] = components(psi, self.len());
        let planes = x.par_chunks_mut(self.cells).zip(y.par_chunks_mut(self.cells));
        let planes = planes.zip(z.par_chunks_mut(self.cells)).enumerate();
        planes.for_each_init(
            || self.room(),
            |room, (plane, ((x, y), z))| {
                let [zero, one] = potential.map(|planes| part(planes, plane, self.modes));
                for (axis, out) in [x, y, z].into_iter().enumerate() {
                    room.gradient([zero, one, &[]], axis, scale, out);
                }
            },
        );
    }

    /// Writes `grad phi`, and puts the source of the second order in the place of `phi`; with another potential `at`, the change of
    /// the source there when that potential changes by this one.
    pub(crate) fn first_order(&self, at: Option<&Potential<T>>, potential: &mut Potential<T>, psi: &mut [T]) {
        let [x, y, z] = components(psi, self.len());
        let [zero, one, two] = potential;
        let planes = x.par_chunks_mut(self.cells).zip(y.par_chunks_mut(self.cells));
        let planes =
            planes.zip(z.par_chunks_mut(self.cells)).zip(zero.par_chunks_mut(self.modes)).enumerate();
        planes.for_each_init(
            || self.room(),
            |room, (plane, (((x, y), z), zero))| {
                let potential = [zero, part(one, plane, self.modes), part(two, plane, self.modes)];
                for (axis, out) in [x, y, z].into_iter().enumerate() {
                    room.gradient(potential, axis, T::one(), out);
                }
                room.set_tides(potential);
                if let Some(at) = at {
                    std::mem::swap(&mut room.tides, &mut room.changes);
                    room.set_tides(at.each_ref().map(|planes| part(planes, plane, self.modes)));
                }
                let out = &mut room.field;
                match at {
                    None => each_cell(&room.tides, |cell, there| out[cell] = source(there)),
                    Some(_) => {
                        each_cell(&room.tides, |cell, there| {
                            let changes = room.changes.each_ref().map(|place| place[cell]);
                            let products = source_slopes(there).into_iter().zip(changes);
                            out[cell] = products.map(|(a, b)| a * b).sum();
                        });
                    }
                }
                room.plane.forward(out, zero);
            },
        );
    }

    /// Writes `scale grad lap^-1 s` of a source that lies in the first planes of a potential; they stay, the others are lost.
    pub(crate) fn second_order(&self, [source, zero, one]: &mut Potential<T>, scale: T, psi: &mut [T]) {
        self.fft.lines([source], [&mut *zero, &mut *one], |line, kernel, [source], [zero, one]| {
            kernel.forward(source);
            self.tables.inverse_laplacian(line, kernel.factors);
            let modes = source.iter().zip(&*kernel.factors).zip(self.tables.along(1));
            for ((zero, one), ((mode, factor), kappa)) in zero.iter_mut().zip(&mut *one).zip(modes) {
                *zero = *mode * *factor;
                *one = *zero * *kappa;
            }
            [zero, one].into_iter().for_each(|line| kernel.inverse(line));
        });
        self.gradient([zero, one], -scale, psi);
    }

    /// The spectrum of what lies in planes.
    pub(crate) fn spectrum(&self, planes: &[Complex<T>]) -> Vec<Complex<T>> {
        let mut spectrum = self.fft.make_spectrum();
        self.fft.lines([planes], [&mut spectrum], |_, kernel, [planes], [modes]| {
            modes.copy_from_slice(planes);
            kernel.forward(modes);
        });
        spectrum
    }

    /// What lies in the planes of a spectrum.
    pub(crate) fn planes(&self, spectrum: &[Complex<T>]) -> Vec<Complex<T>> {
        let mut planes = self.fft.make_spectrum();
        self.fft.lines([spectrum], [&mut planes], |_, kernel, [modes], [planes]| {
            planes.copy_from_slice(modes);
            kernel.inverse(planes);
        });
        planes
    }

    /// The transpose of `grad lap^-1` of minus a density: its spectrum, and the same in planes. The potential is scratch.
    pub(crate) fn gradient_adjoint(
        &self,
        psi: &[T],
        [zero, one, _]: &mut Potential<T>,
    ) -> [Vec<Complex<T>>; 2] {
        let planes = zero.par_chunks_mut(self.modes).zip(one.par_chunks_mut(self.modes)).enumerate();
        planes.for_each_init(
            || self.room(),
            |room, (plane, (zero, one))| {
                [&mut *zero, &mut *one].into_iter().for_each(|planes| planes.fill(Complex::default()));
                for axis in 0..3 {
                    let field = part(part(psi, axis, self.len()), plane, self.cells);
                    // The kernel is odd, so its transpose is its negative.
                    room.differentiate_adjoint(field, &[axis], &mut [zero, one], |mode, factor| {
                        times_i(mode) * -factor
                    });
                }
            },
        );
        let [mut spectrum, mut planes] = [self.fft.make_spectrum(), self.fft.make_spectrum()];
        let to = [&mut spectrum[..], &mut planes];
        self.fft.lines([zero, one], to, |line, kernel, [zero, one], [modes, planes]| {
            kernel.forward(zero);
            kernel.forward(one);
            self.tables.inverse_laplacian(line, kernel.factors);
            let lines = zero.iter().zip(&*one).zip(self.tables.along(1)).zip(&*kernel.factors);
            for (out, (((zero, one), kappa), factor)) in modes.iter_mut().zip(lines) {
                *out = (*zero + *one * *kappa) * *factor;
            }
            planes.copy_from_slice(modes);
            kernel.inverse(planes);
        });
        [spectrum, planes]
    }

    /// Replaces a potential by its cotangent when the source of the second order has the cotangent `sum_n weight_n s_n`, with `s_n`
    /// in planes; and gives `<s_n, source>`.
    pub(crate) fn source_adjoint(
        &self,
        potential: &mut Potential<T>,
        cotangents: &[(&[Complex<T>], f64)],
    ) -> Vec<f64> {
        let [zero, one, two] = potential;
        let planes = zero.par_chunks_mut(self.modes).zip(one.par_chunks_mut(self.modes));
        let planes = planes.zip(two.par_chunks_mut(self.modes)).enumerate();
        let sums: Vec<Vec<f64>> = planes
            .map_init(
                || self.room(),
                |room, (plane, ((zero, one), two))| {
                    room.set_tides([zero, one, two]);
                    let (values, [bar, s, ..]) = (&mut room.field, &mut room.changes);
                    each_cell(&room.tides, |cell, there| values[cell] = source(there));
                    bar.fill(T::zero());
                    let mut sums = Vec::with_capacity(cotangents.len());
                    for &(planes, weight) in cotangents {
                        room.modes.copy_from_slice(part(planes, plane, self.modes));
                        room.plane.inverse(&mut room.modes, s);
                        sums.push(self.field_product(s, values));
                        let weight = T::of(weight);
                        bar.iter_mut().zip(&*s).for_each(|(bar, s)| *bar += weight * *s);
                    }
                    let mut tides = std::mem::take(&mut room.tides);
                    pull_source(bar, &mut tides);
                    let mut potential = [zero, one, two];
                    potential.iter_mut().for_each(|planes| planes.fill(Complex::default()));
                    for (bar, (i, j)) in tides.iter().zip(PLACES) {
                        room.differentiate_adjoint(bar, &[i, j], &mut potential, |mode, factor| {
                            mode * factor
                        });
                    }
                    room.tides = tides;
                    sums
                },
            )
            .collect();
        (0..cotangents.len()).map(|n| sums.iter().map(|plane| plane[n]).sum()).collect()
    }

    /// Writes the transpose of [`set_potential`](Tides::set_potential), and the sum of two spectra with it.
    pub(crate) fn potential_adjoint(
        &self,
        [zero, one, two]: &Potential<T>,
        others: [(&[Complex<T>], f64); 2],
        spectrum: &mut [Complex<T>],
    ) {
        let ([a, b], [by_a, by_b]) = (others.map(|other| other.0), others.map(|other| T::of(other.1)));
        let from: [&[Complex<T>]; 5] = [zero, one, two, a, b];
        self.fft.lines(from, [spectrum], |line, kernel, [zero, one, two, a, b], [out]| {
            [&mut *zero, one, two].into_iter().for_each(|line| kernel.forward(line));
            self.tables.inverse_laplacian(line, kernel.factors);
            let along = self.tables.along(1).iter().zip(self.tables.along(2)).zip(&*kernel.factors);
            let lines = zero.iter().zip(&*one).zip(&*two).zip(a.iter().zip(&*b)).zip(along);
            for (out, ((((zero, one), two), (a, b)), ((kappa, square), factor))) in out.iter_mut().zip(lines)
            {
                *out = (*zero + *one * *kappa + *two * *square) * *factor + *a * by_a + *b * by_b;
            }
        });
    }

    /// `<f, g>` of two fields in a plane.
    fn field_product(&self, a: &[T], b: &[T]) -> f64 {
        let side = self.tables.cells();
        a.chunks(side).zip(b.chunks(side)).map(|(a, b)| row_dot(a, b).f64()).sum()
    }

    /// `<f, g>` of two fields over a mesh from the spectra of one, normalised, and of the other, not.
    pub(crate) fn product(&self, a: &[Complex<T>], b: &[Complex<T>]) -> f64 {
        let half = self.tables.half();
        let row = |(a, b): (&[Complex<T>], &[Complex<T>])| {
            let products = a.iter().zip(b).map(|(a, b)| (a.re * b.re + a.im * b.im).f64());
            // All but the first and the last stand for their conjugates too.
            let ends: f64 =
                [0, half - 1].iter().map(|&k| (a[k].re * b[k].re + a[k].im * b[k].im).f64()).sum();
            2.0 * products.sum::<f64>() - ends
        };
        let rows: Vec<f64> = a.par_chunks(half).zip(b.par_chunks(half)).with_min_len(16).map(row).collect();
        rows.into_iter().sum()
    }
}

/// The components of a vector field.
fn components<T>(psi: &mut [T], len: usize) -> [&mut [T]; 3] {
    let (x, rest) = psi.split_at_mut(len);
    let (y, z) = rest.split_at_mut(len);
    [x, y, z]
}
