//! The third order of Lagrangian perturbation theory: its sources, cell by cell, and their derivatives.

use lookback_mesh::RealFft;
use lookback_operator::{Real, zeros};
use num_complex::Complex;
use rayon::prelude::*;

use crate::kernel::{Tables, times_i};
use crate::tides::{PLACES, TensorField};

/// A tensor in one cell.
type Matrix<T> = [[T; 3]; 3];

/// What drives the third order in one cell, from `A = P1,ij` and `B = P2,ij` (Catelan 1995; Michaux et al. 2021,
/// equation 5): `det A` for `P3a`, `(tr A tr B - tr AB) / 2` for `P3b`, and `e_abc (B A)_bc` for the vector potential of
/// the transverse part.
#[derive(Clone, Copy)]
pub(crate) struct Sources<T>(pub(crate) [T; 5]);

fn matrix<T: Real>(field: &TensorField<T>, cell: usize) -> Matrix<T> {
    let [xx, yy, zz, xy, xz, yz] = std::array::from_fn(|place| field[place][cell]);
    [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
}

fn times<T: Real>(a: &Matrix<T>, b: &Matrix<T>) -> Matrix<T> {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j])
    })
}

fn trace<T: Real>(a: &Matrix<T>) -> T {
    a[0][0] + a[1][1] + a[2][2]
}

/// Derivative of the determinant with respect to each entry.
fn cofactors<T: Real>(a: &Matrix<T>) -> Matrix<T> {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let ([p, q], [r, s]) = ([(i + 1) % 3, (i + 2) % 3], [(j + 1) % 3, (j + 2) % 3]);
            a[p][r] * a[q][s] - a[p][s] * a[q][r]
        })
    })
}

/// `v_a = e_abc m_bc`.
fn vector<T: Real>(m: &Matrix<T>) -> [T; 3] {
    [m[1][2] - m[2][1], m[2][0] - m[0][2], m[0][1] - m[1][0]]
}

/// `w_bc = v_a e_abc`: the transpose of [`vector`].
fn antisymmetric<T: Real>(v: [T; 3]) -> Matrix<T> {
    let zero = T::zero();
    [[zero, v[2], -v[1]], [-v[2], zero, v[0]], [v[1], -v[0], zero]]
}

fn mixed<T: Real>(a: &Matrix<T>, b: &Matrix<T>) -> T {
    T::of(0.5) * (trace(a) * trace(b) - trace(&times(a, b)))
}

impl<T: Real> Sources<T> {
    fn of(a: &Matrix<T>, b: &Matrix<T>) -> Sources<T> {
        let cofactors = cofactors(a);
        let det = (0..3).map(|j| a[0][j] * cofactors[0][j]).sum();
        let [x, y, z] = vector(&times(b, a));
        Sources([det, mixed(a, b), x, y, z])
    }

    /// The change of the sources.
    fn push(a: &Matrix<T>, b: &Matrix<T>, da: &Matrix<T>, db: &Matrix<T>) -> Sources<T> {
        let cofactors = cofactors(a);
        let det = (0..9).map(|i| cofactors[i / 3][i % 3] * da[i / 3][i % 3]).sum();
        let (first, second) = (vector(&times(db, a)), vector(&times(b, da)));
        let turn = |axis: usize| first[axis] + second[axis];
        Sources([det, mixed(da, b) + mixed(a, db), turn(0), turn(1), turn(2)])
    }

    /// Cotangents of `A` and `B`, entry by entry.
    fn pull(&self, a: &Matrix<T>, b: &Matrix<T>) -> [Matrix<T>; 2] {
        let Sources([det, mix, x, y, z]) = *self;
        let turn = antisymmetric([x, y, z]);
        let (cofactors, half) = (cofactors(a), T::of(0.5) * mix);
        let (turn_a, turn_b) = (times(b, &turn), times(&turn, a));
        let with_trace = |trace: T, m: &Matrix<T>, i: usize, j: usize| {
            half * (if i == j { trace } else { T::zero() } - m[i][j])
        };
        let entries =
            |f: &dyn Fn(usize, usize) -> T| std::array::from_fn(|i| std::array::from_fn(|j| f(i, j)));
        [
            entries(&|i, j| det * cofactors[i][j] + with_trace(trace(b), b, i, j) + turn_a[i][j]),
            entries(&|i, j| with_trace(trace(a), a, i, j) + turn_b[i][j]),
        ]
    }
}

fn collect<T: Real>(cells: usize, f: impl Fn(usize) -> Sources<T> + Sync) -> [Vec<T>; 5] {
    let mut out: [Vec<T>; 5] = std::array::from_fn(|_| zeros(cells));
    let [a, b, x, y, z] = &mut out;
    let lines = a.par_iter_mut().zip(b).zip(x).zip(y).zip(z).enumerate();
    lines.for_each(|(cell, ((((a, b), x), y), z))| [*a, *b, *x, *y, *z] = f(cell).0);
    out
}

/// All sources on the mesh.
pub(crate) fn sources<T: Real>(first: &TensorField<T>, second: &TensorField<T>) -> [Vec<T>; 5] {
    collect(first[0].len(), |cell| Sources::of(&matrix(first, cell), &matrix(second, cell)))
}

/// Their changes.
pub(crate) fn push_sources<T: Real>(
    (first, second): (&TensorField<T>, &TensorField<T>),
    (d_first, d_second): (&TensorField<T>, &TensorField<T>),
) -> [Vec<T>; 5] {
    collect(first[0].len(), |cell| {
        let [a, b, da, db] = [first, second, d_first, d_second].map(|field| matrix(field, cell));
        Sources::push(&a, &b, &da, &db)
    })
}

/// Replaces the tensors by their cotangents, with respect to the six numbers of each.
pub(crate) fn pull_sources<T: Real>(
    cotangents: &[Vec<T>; 5],
    first: &mut TensorField<T>,
    second: &mut TensorField<T>,
) {
    let cells = first[0].len();
    for start in (0..cells).step_by(CELLS) {
        let part = start..cells.min(start + CELLS);
        let both: Vec<[[T; 6]; 2]> = part
            .clone()
            .into_par_iter()
            .map(|cell| {
                let bar = Sources(std::array::from_fn(|i| cotangents[i][cell]));
                let pulled = bar.pull(&matrix(first, cell), &matrix(second, cell));
                pulled.map(|m| PLACES.map(|(i, j)| if i == j { m[i][i] } else { m[i][j] + m[j][i] }))
            })
            .collect();
        for (which, field) in [&mut *first, &mut *second].into_iter().enumerate() {
            for (place, mesh) in field.iter_mut().enumerate() {
                let lines = mesh[part.clone()].par_iter_mut().zip(&both);
                lines.for_each(|(out, both)| *out = both[which][place]);
            }
        }
    }
}

/// Cells whose cotangents are held beside the tensors before they take their place.
const CELLS: usize = 1 << 14;

/// Writes `curl lap^-1 S` into `psi`, from the spectra of the three components of `S`; `scale` is that of the transforms.
pub(crate) fn curl<T: Real>(
    (fft, tables): (&RealFft<T>, &Tables<T>),
    sources: &[Vec<Complex<T>>; 3],
    scale: T,
    psi: &mut [T],
) {
    let cells = psi.len() / 3;
    let mut term = fft.make_spectrum();
    let mut mesh = zeros(cells);
    for axis in 0..3 {
        let (p, q) = ((axis + 1) % 3, (axis + 2) % 3);
        // (curl A)_axis = d_p A_q - d_q A_p, and A = -S / lambda.
        tables.map(&sources[q], &mut term, |out, s, kappa, inverse| {
            *out = times_i(s) * (-kappa[p] * inverse * scale);
        });
        tables.map(&sources[p], &mut term, |out, s, kappa, inverse| {
            *out += times_i(s) * (kappa[q] * inverse * scale);
        });
        fft.inverse(&mut term, &mut mesh);
        psi[axis * cells..][..cells].copy_from_slice(&mesh);
    }
}

/// The transpose of [`curl`]: spectra of the cotangents of the three components, before their inverse transform.
pub(crate) fn curl_adjoint<T: Real>(
    (fft, tables): (&RealFft<T>, &Tables<T>),
    psi: &[T],
    scale: T,
) -> [Vec<Complex<T>>; 3] {
    let cells = psi.len() / 3;
    let mut out: [Vec<Complex<T>>; 3] = std::array::from_fn(|_| fft.make_spectrum());
    let mut term = fft.make_spectrum();
    for axis in 0..3 {
        let (p, q) = ((axis + 1) % 3, (axis + 2) % 3);
        fft.forward(&psi[axis * cells..][..cells], &mut term);
        // The kernels are odd: transposed, they change their sign.
        tables.map(&term, &mut out[q], |out, s, kappa, inverse| {
            *out += times_i(s) * (kappa[p] * inverse * scale);
        });
        tables.map(&term, &mut out[p], |out, s, kappa, inverse| {
            *out += times_i(s) * (-kappa[q] * inverse * scale);
        });
    }
    out
}
