//! A learned prior of maps as an operator.

use std::sync::Arc;

use lookback_mesh::{Grid, Multiplier, Synthesis};
use lookback_operator::{Chain, DynOperator, LinearOperator, Pointwise, Real, Result, Space};

use super::FieldGenerator;
use super::filter::Modes;

/// `x = offset + scale T_L W_L ... W_1 T_0 z`: white noise on the modes of a grid to a map.
///
/// The grid's cells must be those that were trained on; its size is free. Cost: a pair of transforms and a pass of monotone functions
/// for each layer.
///
/// # Errors
/// Never, for a generator that was built.
pub fn learned_field<T: Real>(
    generator: &FieldGenerator,
    weights: &[f32],
    grid: &Grid,
    name: &str,
    unit: &str,
) -> Result<DynOperator<T>> {
    let weights: Vec<T> = weights.iter().map(|&w| T::of(f64::from(w))).collect();
    let modes = Modes::new(grid, generator.ell());
    let (offset, scale) = (weights[0], weights[1]);
    let middle = || Space::single(format!("{name}.layer"), grid.shape(), "");
    let mut links: Vec<DynOperator<T>> = Vec::new();
    for layer in generator.layers(&weights) {
        let factors = modes.factors(layer.filter);
        let Some(warp) = layer.warp else {
            let latent = Space::single(format!("{name}.modes"), grid.shape(), "");
            links
                .push(Synthesis::new("filtered white noise", grid, latent, middle(), vec![factors]).shared());
            continue;
        };
        let warp = Arc::new(generator.warp(warp));
        let same = warp.clone();
        let value = move |x| warp.knots().evaluate(x).0;
        let slope = move |x| same.knots().evaluate(x).1.exp();
        links.push(Arc::new(Pointwise::new("monotone function", middle(), middle(), value, slope)));
        let half = grid.half_columns();
        let factor = |row: usize, column: usize| vec![factors[row * half + column].f64()];
        links.push(Multiplier::new("filter", grid, middle(), middle(), factor).shared());
    }
    let map = Space::single(name, grid.shape(), unit);
    let units = Pointwise::new("units", middle(), map, move |x| offset + scale * x, move |_| scale);
    links.push(Arc::new(units));
    Ok(Arc::new(Chain::new(links)?))
}
