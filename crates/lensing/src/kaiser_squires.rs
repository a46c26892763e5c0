//! Convergence to shear and back on the flat sky (Kaiser & Squires 1993, ApJ 404, 441).

use lookback_mesh::{Grid, RealFft};
use lookback_operator::{Block, Error, LinearOperator, Real, Result, Space};
use num_complex::Complex;
use rayon::prelude::*;

/// `gamma(k) = D(k) kappa(k)` with `D = (k_x^2 - k_y^2 + 2 i k_x k_y) / k^2`: convergence to `gamma1, gamma2`.
///
/// `D` is a pure phase off `k = 0`, so the adjoint is the inverse but for the mean, which shear does not hold. The
/// `gamma2` part of modes on one Nyquist line of an even grid is set to zero: their sign is not determined.
/// Cost: three real transforms. Memory: 1 number a pixel for the two phases, 1.5 as scratch.
pub struct KaiserSquires<T: Real> {
    domain: Space,
    codomain: Space,
    fft: RealFft<T>,
    row: usize,
    /// `(D1, D2) / N` for every mode of the half spectrum.
    phase: Vec<[T; 2]>,
}

impl<T: Real> KaiserSquires<T> {
    /// The transform on `grid`, which must be two-dimensional.
    ///
    /// # Errors
    /// If it is not.
    pub fn new(grid: &Grid) -> Result<KaiserSquires<T>> {
        let &[rows, columns] = grid.shape() else {
            return Err(Error::parameter(
                "Kaiser-Squires",
                format!("needs a flat sky, not {:?}", grid.shape()),
            ));
        };
        let half = grid.half_columns();
        let phase = (0..grid.half_len()).map(|i| {
            let [_, ky, kx] = grid.wave_vector(i / half, i % half);
            let k2 = kx * kx + ky * ky;
            // On one Nyquist line the sign of kx ky is not determined; in the corner kx = ky.
            let nyquist = (2 * (i / half) == rows) != (2 * (i % half) == columns);
            let norm = if k2 == 0.0 { 0.0 } else { 1.0 / (k2 * grid.len() as f64) };
            let second = if nyquist { 0.0 } else { 2.0 * kx * ky * norm };
            [T::of((kx * kx - ky * ky) * norm), T::of(second)]
        });
        Ok(KaiserSquires {
            domain: Space::single("kappa", grid.shape(), ""),
            codomain: Space::new(vec![
                Block::new("gamma1", grid.shape(), ""),
                Block::new("gamma2", grid.shape(), ""),
            ]),
            fft: RealFft::new(grid),
            row: half,
            phase: phase.collect(),
        })
    }

    /// Multiplies a spectrum by one of the phases.
    fn turn(&self, from: &[Complex<T>], component: usize, to: &mut [Complex<T>]) {
        let lines =
            to.par_chunks_mut(self.row).zip(from.par_chunks(self.row)).zip(self.phase.par_chunks(self.row));
        lines.for_each(|((to, from), phase)| {
            to.iter_mut().zip(from).zip(phase).for_each(|((to, from), phase)| *to = *from * phase[component]);
        });
    }
}

/// Two spectra: one of the convergence, one that the inverse transform consumes.
type Scratch<T> = [Vec<Complex<T>>; 2];

impl<T: Real> LinearOperator<T> for KaiserSquires<T> {
    type Scratch = Scratch<T>;

    fn name(&self) -> String {
        "shear".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) -> Scratch<T> {
        [self.fft.make_spectrum(), self.fft.make_spectrum()]
    }

    fn forward(&self, kappa: &[T], gamma: &mut [T], [spectrum, work]: &mut Scratch<T>) {
        self.fft.forward(kappa, spectrum);
        for (component, gamma) in gamma.chunks_mut(kappa.len()).enumerate() {
            self.turn(spectrum, component, work);
            self.fft.inverse(work, gamma);
        }
    }

    fn adjoint(&self, gamma: &[T], kappa: &mut [T], [spectrum, work]: &mut Scratch<T>) {
        let (gamma1, gamma2) = gamma.split_at(kappa.len());
        self.fft.forward(gamma1, spectrum);
        self.fft.forward(gamma2, work);
        let lines = spectrum
            .par_chunks_mut(self.row)
            .zip(work.par_chunks(self.row))
            .zip(self.phase.par_chunks(self.row));
        lines.for_each(|((first, second), phase)| {
            for ((first, second), phase) in first.iter_mut().zip(second).zip(phase) {
                *first = *first * phase[0] + *second * phase[1];
            }
        });
        self.fft.inverse(spectrum, kappa);
    }
}

/// The Kaiser-Squires inversion of a shear map: `(E, B)`, both with mean zero. E is the convergence; B must vanish but
/// for noise, and is the E mode of the shear turned by 45 degrees, `(gamma2, -gamma1)`.
///
/// # Errors
/// If the grid is not two-dimensional or a map has the wrong length.
pub fn mass_map<T: Real>(grid: &Grid, gamma1: &[T], gamma2: &[T]) -> Result<(Vec<T>, Vec<T>)> {
    let operator = KaiserSquires::<T>::new(grid)?;
    for map in [gamma1, gamma2] {
        if map.len() != grid.len() {
            let (expected, found) = (grid.len(), map.len());
            return Err(Error::Length { operator: "Kaiser-Squires".into(), role: "input", expected, found });
        }
    }
    let mut scratch = operator.scratch();
    let mut invert = |gamma: Vec<T>| {
        let mut kappa = vec![T::zero(); grid.len()];
        operator.adjoint(&gamma, &mut kappa, &mut scratch);
        kappa
    };
    let e_mode = invert([gamma1, gamma2].concat());
    let turned: Vec<T> = gamma2.iter().copied().chain(gamma1.iter().map(|&g| -g)).collect();
    Ok((e_mode, invert(turned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    #[test]
    fn the_inversion_returns_the_convergence_and_no_b_mode() {
        for shape in [[15, 21], [16, 20]] {
            let grid = Grid::new(&shape, &[0.015, 0.02]).expect("a grid");
            let operator = KaiserSquires::<f64>::new(&grid).expect("flat");
            let mut kappa = vec![0.0; grid.len()];
            Stream::new(1, Purpose::Test, 0).fill_normal(&mut kappa);
            // Take out the mean, and the Nyquist lines where gamma2 is not determined.
            let project = |kappa: &[f64]| {
                let fft = RealFft::<f64>::new(&grid);
                let mut spectrum = fft.make_spectrum();
                fft.forward(kappa, &mut spectrum);
                for (i, mode) in spectrum.iter_mut().enumerate() {
                    let (row, column) = (i / grid.half_columns(), i % grid.half_columns());
                    if i == 0 || 2 * row == shape[0] || 2 * column == shape[1] {
                        *mode = Complex::default();
                    }
                }
                let mut out = vec![0.0; grid.len()];
                fft.inverse(&mut spectrum, &mut out);
                out.iter().map(|x| x / grid.len() as f64).collect::<Vec<f64>>()
            };
            let kappa = project(&kappa);
            let mut gamma = vec![0.0; 2 * grid.len()];
            operator.forward(&kappa, &mut gamma, &mut operator.scratch());
            let (gamma1, gamma2) = gamma.split_at(grid.len());
            let (e_mode, b_mode) = mass_map(&grid, gamma1, gamma2).expect("fits");
            assert!(e_mode.iter().zip(&kappa).all(|(a, b)| (a - b).abs() < 1e-13));
            assert!(b_mode.iter().all(|b| b.abs() < 1e-13));
        }
    }

    /// An isolated mass shears tangentially: gamma1 < 0 along x from it, > 0 along y, gamma2 < 0 on the diagonal.
    #[test]
    fn a_mass_shears_tangentially() {
        let grid = Grid::sky(64, 64, 1e-3).expect("a grid");
        let operator = KaiserSquires::<f64>::new(&grid).expect("flat");
        let kappa: Vec<f64> = (0..4096)
            .map(|i| {
                (-0.125 * ((i / 64) as f64 - 32.0).powi(2) - 0.125 * ((i % 64) as f64 - 32.0).powi(2)).exp()
            })
            .collect();
        let mut gamma = vec![0.0; 8192];
        operator.forward(&kappa, &mut gamma, &mut operator.scratch());
        let at = |component: usize, row: usize, column: usize| gamma[component * 4096 + row * 64 + column];
        assert!(
            at(0, 32, 40) < -0.01 && at(0, 40, 32) > 0.01 && at(1, 38, 38) < -0.01 && at(1, 38, 26) > 0.01
        );
        assert!(at(1, 32, 40).abs() < 1e-10);
    }
}
