//! A learned prior of maps as an operator.

use std::sync::Arc;

use lookback_mesh::{Grid, Multiplier, Synthesis};
use lookback_operator::{Chain, DynOperator, LinearOperator, Pointwise, Real, Result, Space};

use super::FieldFlow;
use super::filter::Modes;
use super::flow::Backwards;

/// `x = offset + scale W_1^-1 T_1^-1 ... W_L^-1 T_L^-1 z`: white noise on the modes of a grid to a map.
///
/// The grid's cells must be those that were trained on; its size is free. Cost: a pair of transforms and a pass of monotone functions
/// for each layer.
///
/// # Errors
/// Never, for a flow that was built.
pub fn learned_field<T: Real>(
    flow: &FieldFlow,
    weights: &[f32],
    grid: &Grid,
    name: &str,
    unit: &str,
) -> Result<DynOperator<T>> {
    let weights: Vec<T> = weights.iter().map(|&w| T::of(f64::from(w))).collect();
    let modes = Modes::new(grid, flow.ell());
    let Backwards { steps, offset, scale } = flow.backwards(&weights);
    let last = steps.len() - 1;
    let middle = || Space::single(format!("{name}.layer"), grid.shape(), "");
    let mut links: Vec<DynOperator<T>> = Vec::new();
    for (index, (filter, warp)) in steps.into_iter().enumerate() {
        let factors = modes.factors(&filter);
        links.push(if index == 0 {
            let latent = Space::single(format!("{name}.modes"), grid.shape(), "");
            Synthesis::new("white noise, filtered", grid, latent, middle(), vec![factors]).shared()
        } else {
            let half = grid.half_columns();
            let factor = |row: usize, column: usize| vec![factors[row * half + column].f64()];
            Multiplier::new("filter", grid, middle(), middle(), factor).shared()
        });
        let out = if index == last { Space::single(name, grid.shape(), unit) } else { middle() };
        // The last function ends in the units of the map.
        let (offset, scale) = if index == last { (offset, scale) } else { (T::zero(), T::one()) };
        let warp = warp.map(Arc::new);
        let same = warp.clone();
        links.push(Arc::new(Pointwise::new(
            "monotone function",
            middle(),
            out,
            move |y| offset + scale * warp.as_ref().map_or(y, |warp| warp.value(y)),
            move |y| scale * same.as_ref().map_or(T::one(), |warp| warp.slope(y)),
        )));
    }
    Ok(Arc::new(Chain::new(links)?))
}
