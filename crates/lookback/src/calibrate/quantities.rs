//! What the truth and the samples of a run are compared by.

use lookback_inference::{Number, Posterior};
use lookback_mesh::{bin_edges, power_spectrum};
use lookback_operator::Operator;
use lookback_operator::random::{Purpose, Stream};

use crate::Result;
use crate::problem::Problem;

/// Bands of wave number.
const BANDS: usize = 4;
/// Pixels.
const PIXELS: usize = 6;

/// Names and places of scalar quantities of a signal.
pub(crate) struct Quantities {
    pub(crate) names: Vec<String>,
    /// Places of latents that are single numbers: parameters, which rank as their latents do.
    parameters: Vec<usize>,
    pixels: Vec<usize>,
    edges: Vec<f64>,
}

impl Quantities {
    /// Every parameter, the power of the first map in bands, some pixels that were seen, and the misfit, which looks at
    /// the data too (Modrak et al. 2023).
    pub(crate) fn new<T: Number>(problem: &Problem<T>) -> Quantities {
        let seen: Vec<usize> =
            (0..problem.grid.len()).filter(|&pixel| problem.observation.seen[pixel]).collect();
        let stream = Stream::new(0, Purpose::Survey, 0);
        let pixels: Vec<usize> = (0..PIXELS as u64)
            .map(|i| seen[((stream.uniform(2 * i) * seen.len() as f64) as usize).min(seen.len() - 1)])
            .collect();
        let (single, parameters): (Vec<String>, Vec<usize>) =
            problem.prior.operator.domain().numbers().map(|(name, place)| (name.to_string(), place)).unzip();
        let field = problem.field_name();
        let bands = (1..=BANDS).map(|band| format!("ln power of {field}, band {band}"));
        let columns = problem.grid.columns();
        let places = pixels.iter().map(|p| format!("{field} at ({}, {})", p / columns, p % columns));
        let names = single.into_iter().chain(bands).chain(places).chain(["misfit".to_string()]).collect();
        Quantities { names, parameters, pixels, edges: bin_edges(&problem.grid, BANDS) }
    }

    /// The quantities of a latent, the misfit being that of the data of `posterior`.
    pub(crate) fn measure<T: Number>(
        &self,
        problem: &Problem<T>,
        posterior: &Posterior<T>,
        z: &[T],
    ) -> Result<Vec<f64>> {
        let signal = problem.prior.operator.apply(z)?;
        let prediction = problem.forward.apply(&signal)?;
        let mut slope = prediction.clone();
        let misfit = posterior.likelihood().energy(&prediction, &mut slope);
        let field = &signal[..problem.grid.len()];
        let power = power_spectrum(&problem.grid, field, &self.edges)?.power;
        let parameters = self.parameters.iter().map(|&place| z[place].f64());
        let pixels = self.pixels.iter().map(|&pixel| field[pixel].f64());
        Ok(parameters.chain(power.into_iter().map(f64::ln)).chain(pixels).chain([misfit]).collect())
    }
}
