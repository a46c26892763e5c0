//! Smoothing of maps with a Gaussian.

use lookback_mesh::{Grid, Multiplier};
use lookback_operator::{Error, Real, Result, Space};

/// Standard deviation of a Gaussian with this full width at half maximum, in the same unit.
pub fn sigma_of_fwhm(fwhm: f64) -> f64 {
    fwhm / (8.0 * std::f64::consts::LN_2).sqrt()
}

/// Smooths a map with a Gaussian of standard deviation `sigma`, in the units of the grid: `exp(-k^2 sigma^2 / 2)`
/// in Fourier space, on the periodic grid. See [`sigma_of_fwhm`].
///
/// # Errors
/// If `sigma` is negative or not finite, or the space is not one map on the grid.
pub fn smooth<T: Real>(grid: &Grid, space: Space, sigma: f64) -> Result<Multiplier<T>> {
    if !(sigma.is_finite() && sigma >= 0.0) {
        return Err(Error::parameter("smoothing", format!("the width must be zero or more, not {sigma}")));
    }
    if space.blocks().len() != 1 || space.len() != grid.len() {
        return Err(Error::parameter("smoothing", format!("takes one map on the grid, not {space}")));
    }
    let gauss = |row, column| {
        let k2: f64 = grid.wave_vector(row, column).iter().map(|k| k * k).sum();
        vec![(-0.5 * sigma * sigma * k2).exp()]
    };
    Ok(Multiplier::new("Gaussian smoothing", grid, space.clone(), space, gauss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::LinearOperator;

    /// A point becomes a Gaussian: compared with the closed form, to the tail that wraps around the box.
    #[test]
    fn a_point_becomes_a_gaussian() {
        let grid = Grid::new(&[64, 64], &[64.0, 64.0]).expect("a grid");
        let sigma = 2.5;
        let smooth = smooth::<f64>(&grid, Space::single("map", &[64, 64], ""), sigma).expect("an operator");
        let (mut point, mut blurred) = (vec![0.0; 4096], vec![0.0; 4096]);
        point[32 * 64 + 20] = 1.0;
        smooth.forward(&point, &mut blurred, &mut smooth.scratch());
        for (i, value) in blurred.iter().enumerate() {
            let (dy, dx) = ((i / 64) as f64 - 32.0, (i % 64) as f64 - 20.0);
            let expected =
                (-0.5 * (dx * dx + dy * dy) / sigma / sigma).exp() / (std::f64::consts::TAU * sigma * sigma);
            assert!((value - expected).abs() < 1e-12);
        }
    }
}
