//! Convergence to shear and back on the flat sky (Kaiser & Squires 1993, ApJ 404, 441).

use lookback_mesh::{Grid, Multiplier};
use lookback_operator::{Block, Error, LinearOperator, Real, Result, Space};

/// `gamma(k) = D(k) kappa(k)` with `D = (k_x^2 - k_y^2 + 2 i k_x k_y) / k^2`: convergence to `gamma1, gamma2`.
///
/// `D` is a pure phase off `k = 0`, so the adjoint is the inverse but for the mean, which shear does not hold, and for modes on one
/// Nyquist line of an even grid, whose `gamma2` is set to zero: its sign is not determined. Cost: three
/// real transforms.
///
/// # Errors
/// If the grid is not two-dimensional.
pub fn kaiser_squires<T: Real>(grid: &Grid) -> Result<Multiplier<T>> {
    let &[rows, columns] = grid.shape() else {
        return Err(Error::parameter("Kaiser-Squires", format!("needs a flat sky, not {:?}", grid.shape())));
    };
    let phase = |row: usize, column: usize| {
        let [_, ky, kx] = grid.wave_vector(row, column);
        let k2 = kx * kx + ky * ky;
        let norm = if k2 == 0.0 { 0.0 } else { 1.0 / k2 };
        // On one Nyquist line the sign of kx ky is not determined; in the corner kx = ky.
        let nyquist = (2 * row == rows) != (2 * column == columns);
        let second = if nyquist { 0.0 } else { 2.0 * kx * ky * norm };
        vec![(kx * kx - ky * ky) * norm, second]
    };
    let kappa = Space::single("kappa", grid.shape(), "");
    let gamma =
        Space::new(vec![Block::new("gamma1", grid.shape(), ""), Block::new("gamma2", grid.shape(), "")]);
    Ok(Multiplier::new("shear", grid, kappa, gamma, phase))
}

/// The Kaiser-Squires inversion of a shear map: `(E, B)`, both with mean zero. E is the convergence; B must vanish but
/// for noise, and is the E mode of the shear turned by 45 degrees, `(gamma2, -gamma1)`.
///
/// # Errors
/// If the grid is not two-dimensional or a map has the wrong length.
pub fn mass_map<T: Real>(grid: &Grid, gamma1: &[T], gamma2: &[T]) -> Result<(Vec<T>, Vec<T>)> {
    let operator = kaiser_squires::<T>(grid)?;
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
    use lookback_mesh::RealFft;
    use lookback_operator::random::{Purpose, Stream};

    #[test]
    fn the_inversion_returns_the_convergence_and_no_b_mode() {
        for shape in [[15, 21], [16, 20]] {
            let grid = Grid::new(&shape, &[0.015, 0.02]).expect("a grid");
            let operator = kaiser_squires::<f64>(&grid).expect("flat");
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
                        *mode = Default::default();
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
        let operator = kaiser_squires::<f64>(&grid).expect("flat");
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
