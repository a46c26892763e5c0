//! Posterior predictive checks: do data that the model makes up look like those that were observed?

use lookback_inference::Number;
use lookback_likelihood::Likelihood;
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Real, vector};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What is compared of the residuals `(d - p) / sigma` of data and prediction.
pub(crate) const CHECKS: [&str; 3] = ["predictive_p_chi2", "predictive_p_largest", "predictive_p_skewness"];
/// Draws for which data are made up, about: more would not sharpen the verdict.
const REPLICAS: usize = 250;
/// Streams of replicas stand apart from those of simulations for inference.
const STREAM: u32 = 3 << 30;

/// For each check, how often made-up data exceed the observed ones (Gelman, Meng & Stern 1996). Memory: none that grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Predictive {
    seed: u64,
    /// One draw in so many is checked.
    stride: usize,
    replicas: usize,
    above: [usize; 3],
}

impl Predictive {
    /// For a run that expects so many draws, of chains that take turns: the stride visits all of them.
    pub fn new(seed: u64, expected: usize, chains: usize) -> Predictive {
        let common = |a: usize, b: usize| (2..=a.min(b)).any(|d| a.is_multiple_of(d) && b.is_multiple_of(d));
        let least = expected.div_ceil(REPLICAS).max(1);
        let stride = (least..).find(|stride| !common(*stride, chains)).unwrap_or(least);
        Predictive { seed, stride, replicas: 0, above: [0; 3] }
    }

    /// Takes in the draw with this number, with its prediction and its residual.
    ///
    /// # Errors
    /// If the made-up data are impossible.
    pub fn take<T: Number>(
        &mut self,
        draw: usize,
        likelihood: &dyn Likelihood<T>,
        prediction: &[T],
        residual: &[T],
    ) -> Result<()> {
        if !draw.is_multiple_of(self.stride) {
            return Ok(());
        }
        let stream = Stream::new(self.seed, Purpose::Simulation, STREAM | draw as u32);
        // A likelihood that cannot make data up is not checked.
        let Ok(replica) = likelihood.with_data(likelihood.simulate(prediction, stream)) else {
            return Ok(());
        };
        let mut made_up = residual.to_vec();
        replica.residual(prediction, &mut made_up);
        self.replicas += 1;
        let pairs = measures(&made_up).into_iter().zip(measures(residual));
        for (above, (made_up, observed)) in self.above.iter_mut().zip(pairs) {
            *above += usize::from(made_up >= observed);
        }
        Ok(())
    }

    /// Share of replicas above the data, check by check; NaN if there are too few to say.
    pub fn shares(&self) -> [f64; 3] {
        // With fewer, a model that is right would exceed all of them too often.
        let enough = self.replicas >= 100;
        self.above.map(|above| if enough { above as f64 / self.replicas as f64 } else { f64::NAN })
    }
}

/// `chi^2`, the largest residual, and the third moment.
fn measures<T: Real>(residual: &[T]) -> [f64; 3] {
    let cubes: f64 = residual.iter().map(|r| r.f64().powi(3)).sum();
    [vector::norm2(residual), vector::max_abs(residual), cubes]
}
