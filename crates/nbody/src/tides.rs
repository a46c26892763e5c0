//! The first two orders of perturbation theory, plane by plane: gradients of potentials, and the source that their tides make.
//!
//! Everything here is a product of one potential with powers of wave numbers, so all fields share the transform along the first
//! axis, and differ only within planes of the two others: there they are made, multiplied and transformed back in the cache.

use lookback_mesh::{Grid, Line, Plane, RealFft};
use lookback_operator::{Real, zeros};
use num_complex::Complex;
use rayon::prelude::*;

use crate::gravity::row_dot;
use crate::kernel::{Kernels, Tables, times_i};
use crate::rooms::Spectra;

/// `phi`, `kappa phi` and `kappa^2 phi`, with `kappa` along the first axis: planes of modes along the two others.
pub(crate) type Potential<T> = Spectra<T>;

/// Places of a symmetric tensor: `xx, yy, zz, xy, xz, yz`.
pub(crate) const PLACES: [(usize, usize); 6] = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)];

/// Plans and kernels on a cubic lattice.
pub(crate) struct Tides<T: Real> {
    pub(crate) fft: RealFft<T>,
    pub(crate) tables: Tables<T>,
    grid: Grid,
    /// Cells and modes of a plane.
    cells: usize,
    modes: usize,
}

/// A symmetric tensor on a mesh or on a part of it, place by place.
pub(crate) type TensorField<T> = [Vec<T>; 6];

/// What a thread needs for a plane.
struct Room<'a, T: Real> {
    plane: Plane<'a, T>,
    tables: &'a Tables<T>,
    modes: Vec<Complex<T>>,
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
fn each_cell<T: Real>(tides: &TensorField<T>, mut f: impl FnMut(usize, [T; 6])) {
    let cells = tides[0].len();
    let [a, b, c, d, e, f6] = tides.each_ref().map(|place| &place[..cells]);
    for cell in 0..cells {
        f(cell, [a[cell], b[cell], c[cell], d[cell], e[cell], f6[cell]]);
    }
}

/// Replaces tensors by their cotangents where [`source`] has the cotangents `bar`.
fn pull_source<T: Real>(bar: &[T], tides: &mut TensorField<T>) {
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

    /// Writes the tidal tensor.
    fn tides(&mut self, potential: [&[Complex<T>]; 3], tides: &mut TensorField<T>) {
        for (out, (i, j)) in tides.iter_mut().zip(PLACES) {
            self.differentiate(potential, &[i, j], out, |mode, factor| mode * factor);
        }
    }

    /// Replaces the planes of a potential by its cotangent when the place `n` of its tidal tensor has the cotangent `bars[n]`.
    fn tides_adjoint(&mut self, bars: [&[T]; 6], potential: &mut [&mut [Complex<T>]; 3]) {
        potential.iter_mut().for_each(|planes| planes.fill(Complex::default()));
        for (bar, (i, j)) in bars.into_iter().zip(PLACES) {
            self.differentiate_adjoint(bar, &[i, j], potential, |mode, factor| mode * factor);
        }
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
            grid: grid.clone(),
            cells: side * side,
            modes: side * grid.half_columns(),
        }
    }

    /// The lattice.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Numbers of a field.
    pub(crate) fn len(&self) -> usize {
        self.grid.len()
    }

    fn room(&self) -> Room<'_, T> {
        Room { plane: self.fft.plane(), tables: &self.tables, modes: vec![Complex::default(); self.modes] }
    }

    /// `N` fields in a plane.
    fn fields<const N: usize>(&self) -> [Vec<T>; N] {
        std::array::from_fn(|_| vec![T::zero(); self.cells])
    }

    /// Room for a potential.
    pub(crate) fn make_potential(&self) -> Potential<T> {
        Spectra::new(self.grid.rows() * self.grid.half_columns())
    }

    /// Writes `phi = delta / lambda` of a spectrum.
    pub(crate) fn set_potential(&self, delta: &[Complex<T>], planes: &mut Potential<T>) {
        self.fft.lines([delta], planes.parts_mut(), |line, kernel, [delta], [zero, one, two]| {
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
        let [zero, one, two] = potential.parts_mut();
        let planes = x.par_chunks_mut(self.cells).zip(y.par_chunks_mut(self.cells));
        let planes =
            planes.zip(z.par_chunks_mut(self.cells)).zip(zero.par_chunks_mut(self.modes)).enumerate();
        planes.for_each_init(
            || (self.room(), self.fields::<6>(), self.fields::<1>(), at.map(|_| self.fields::<6>())),
            |(room, tides, [out], changes), (plane, (((x, y), z), zero))| {
                let potential = [zero, part(one, plane, self.modes), part(two, plane, self.modes)];
                for (axis, out) in [x, y, z].into_iter().enumerate() {
                    room.gradient(potential, axis, T::one(), out);
                }
                match at.zip(changes.as_mut()) {
                    None => {
                        room.tides(potential, tides);
                        each_cell(tides, |cell, there| out[cell] = source(there));
                    }
                    Some((at, changes)) => {
                        room.tides(potential, changes);
                        room.tides(at.parts().map(|planes| part(planes, plane, self.modes)), tides);
                        each_cell(tides, |cell, there| {
                            let changes = changes.each_ref().map(|place| place[cell]);
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
    pub(crate) fn second_order(&self, potential: &mut Potential<T>, scale: T, psi: &mut [T]) {
        let [source, zero, one] = potential.parts_mut();
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
        self.transformed(planes, |kernel, line| kernel.forward(line))
    }

    /// What lies in the planes of a spectrum.
    pub(crate) fn planes(&self, spectrum: &[Complex<T>]) -> Vec<Complex<T>> {
        self.transformed(spectrum, |kernel, line| kernel.inverse(line))
    }

    fn transformed(
        &self,
        from: &[Complex<T>],
        transform: impl Fn(&mut Line<'_, T>, &mut [Complex<T>]) + Sync,
    ) -> Vec<Complex<T>> {
        let mut to = self.fft.make_spectrum();
        self.fft.lines([from], [&mut to], |_, kernel, [from], [to]| {
            to.copy_from_slice(from);
            transform(kernel, to);
        });
        to
    }

    /// `scale` times the tidal tensor of a potential.
    pub(crate) fn tensor(&self, potential: &Potential<T>, scale: T) -> TensorField<T> {
        PLACES.map(|(i, j)| {
            let mut mesh = zeros(self.len());
            mesh.par_chunks_mut(self.cells).enumerate().for_each_init(
                || self.room(),
                |room, (plane, out)| {
                    let there = potential.parts().map(|planes| part(planes, plane, self.modes));
                    room.differentiate(there, &[i, j], out, |mode, factor| mode * (factor * scale));
                },
            );
            mesh
        })
    }

    /// The spectrum of the cotangent of a density when the tidal tensor of its potential has this one. The potential is scratch.
    pub(crate) fn tensor_adjoint(
        &self,
        bars: &TensorField<T>,
        potential: &mut Potential<T>,
    ) -> Vec<Complex<T>> {
        let [zero, one, two] = potential.parts_mut();
        let planes = zero.par_chunks_mut(self.modes).zip(one.par_chunks_mut(self.modes));
        planes.zip(two.par_chunks_mut(self.modes)).enumerate().for_each_init(
            || self.room(),
            |room, (plane, ((zero, one), two))| {
                let bars = bars.each_ref().map(|bar| part(bar, plane, self.cells));
                room.tides_adjoint(bars, &mut [zero, one, two]);
            },
        );
        let mut spectrum = self.fft.make_spectrum();
        self.potential_adjoint(potential, &mut spectrum);
        spectrum
    }

    /// Writes the transpose of `grad lap^-1` of minus a density: its spectrum, and the same in planes. The potential is scratch.
    pub(crate) fn gradient_adjoint(
        &self,
        psi: &[T],
        potential: &mut Potential<T>,
        to: [&mut [Complex<T>]; 2],
    ) {
        let [zero, one, _] = potential.parts_mut();
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
    }

    /// Replaces a potential by its cotangent when the source of the second order has the cotangent `sum_n weight_n s_n`, with `s_n`
    /// in planes; and gives `<s_n, source>`.
    pub(crate) fn source_adjoint(
        &self,
        potential: &mut Potential<T>,
        cotangents: &[(&[Complex<T>], f64)],
    ) -> Vec<f64> {
        let [zero, one, two] = potential.parts_mut();
        let planes = zero.par_chunks_mut(self.modes).zip(one.par_chunks_mut(self.modes));
        let planes = planes.zip(two.par_chunks_mut(self.modes)).enumerate();
        let sums: Vec<Vec<f64>> = planes
            .map_init(
                || (self.room(), self.fields::<6>(), self.fields::<3>()),
                |(room, tides, [values, bar, s]), (plane, ((zero, one), two))| {
                    room.tides([zero, one, two], tides);
                    each_cell(tides, |cell, there| values[cell] = source(there));
                    bar.fill(T::zero());
                    let mut sums = Vec::with_capacity(cotangents.len());
                    for &(planes, weight) in cotangents {
                        room.modes.copy_from_slice(part(planes, plane, self.modes));
                        room.plane.inverse(&mut room.modes, s);
                        sums.push(self.field_product(s, values));
                        let weight = T::of(weight);
                        bar.iter_mut().zip(&*s).for_each(|(bar, s)| *bar += weight * *s);
                    }
                    pull_source(bar, tides);
                    room.tides_adjoint(tides.each_ref().map(|bar| &bar[..]), &mut [zero, one, two]);
                    sums
                },
            )
            .collect();
        (0..cotangents.len()).map(|n| sums.iter().map(|plane| plane[n]).sum()).collect()
    }

    /// Writes the transpose of [`set_potential`](Tides::set_potential).
    pub(crate) fn potential_adjoint(&self, potential: &Potential<T>, spectrum: &mut [Complex<T>]) {
        self.fft.lines(potential.parts(), [spectrum], |line, kernel, [zero, one, two], [out]| {
            [&mut *zero, one, two].into_iter().for_each(|line| kernel.forward(line));
            self.tables.inverse_laplacian(line, kernel.factors);
            let along = self.tables.along(1).iter().zip(self.tables.along(2)).zip(&*kernel.factors);
            let lines = zero.iter().zip(&*one).zip(&*two).zip(along);
            for (out, (((zero, one), two), ((kappa, square), factor))) in out.iter_mut().zip(lines) {
                *out = (*zero + *one * *kappa + *two * *square) * *factor;
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
        // How many modes each of a line stands for.
        let counts: Vec<f64> = (0..half).map(|column| self.grid.multiplicity(column) as f64).collect();
        let row = |(a, b): (&[Complex<T>], &[Complex<T>])| {
            let lines = a.iter().zip(b).zip(&counts);
            lines.map(|((a, b), count)| count * (a.re * b.re + a.im * b.im).f64()).sum::<f64>()
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
