//! Widths of the posterior, latent by latent, learned from draws and their gradients.

use lookback_operator::vector::{self, CHUNK};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Number;

/// What the kinetic energy of a sampler knows of the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Nothing: all latents have the width of the prior.
    Unit,
    /// The width of each latent.
    Diagonal,
}

/// Widths of all latents by the metric; `None` where all are one.
pub(crate) type Scales<'a, T> = Option<&'a [T]>;

/// What to multiply by, of widths that are empty while all are one.
pub(crate) fn unless_one<T>(widths: &[T]) -> Scales<'_, T> {
    (!widths.is_empty()).then_some(widths)
}

/// Sum of the squares of such widths of `dim` latents.
pub(crate) fn sum_of_squares<T: Number>(widths: &[T], dim: usize) -> f64 {
    unless_one(widths).map_or(dim as f64, vector::norm2)
}

/// Widths beyond these are taken for failures of the estimate.
const WIDEST: f64 = 1e10;

/// Running means and variances of latents and of gradients (Welford 1962).
///
/// The width of a latent is `(Var[z] / Var[dH/dz])^(1/4)`: exact for independent Gaussians after any few draws, as position and
/// gradient then fluctuate together (the Fisher divergence between posterior and Gaussian is least there; Seyboldt,
/// Carlson & Carpenter 2024). Memory: four numbers a latent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Spread<T: Number> {
    count: u64,
    /// Mean and sum of squares of the latent, then of the gradient.
    moments: [Vec<T>; 4],
}

impl<T: Number> Spread<T> {
    /// Nothing learned yet.
    pub fn new(dim: usize) -> Spread<T> {
        Spread { count: 0, moments: std::array::from_fn(|_| vec![T::zero(); dim]) }
    }

    /// Draws seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes a draw in.
    pub fn add(&mut self, z: &[T], gradient: &[T]) {
        self.count += 1;
        let weight = T::of(1.0 / self.count as f64);
        let [mean_z, square_z, mean_g, square_g] = &mut self.moments;
        let learn = |x: &[T], mean: &mut [T], square: &mut [T]| {
            mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)).zip(x.par_chunks(CHUNK)).for_each(
                |((mean, square), x)| {
                    for ((mean, square), &x) in mean.iter_mut().zip(square).zip(x) {
                        let before = x - *mean;
                        *mean += before * weight;
                        *square += before * (x - *mean);
                    }
                },
            );
        };
        learn(z, mean_z, square_z);
        learn(gradient, mean_g, square_g);
    }

    /// Takes in what another chain has seen (Chan, Golub & LeVeque 1983).
    pub fn merge(&mut self, other: &Spread<T>) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let (share, cross) = (T::of(m / (n + m)), T::of(n * m / (n + m)));
        for pair in [0, 2] {
            for i in 0..self.moments[pair].len() {
                let apart = other.moments[pair][i] - self.moments[pair][i];
                self.moments[pair][i] += apart * share;
                self.moments[pair + 1][i] += other.moments[pair + 1][i] + apart * apart * cross;
            }
        }
        self.count += other.count;
    }

    /// Width of each latent; 1 where nothing sensible was seen.
    pub fn scales(&self) -> Vec<T> {
        let width = |(&z, &g): (&T, &T)| {
            let ratio = (z.f64() / g.f64()).sqrt().sqrt();
            if ratio > 1.0 / WIDEST && ratio < WIDEST { T::of(ratio) } else { T::one() }
        };
        self.moments[1].iter().zip(&self.moments[3]).map(width).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    /// Independent Gaussians: the widths are exact after a few draws, however these fall.
    #[test]
    fn widths_of_gaussians_are_exact() {
        let widths = [0.01, 1.0, 30.0];
        let mut spread = Spread::<f64>::new(3);
        let mut halves = [Spread::new(3), Spread::new(3)];
        for draw in 0..6 {
            let stream = Stream::new(3, Purpose::Test, draw);
            let z: Vec<f64> = (0..3).map(|i| 0.5 + widths[i] * stream.normal(i as u64)).collect();
            let gradient: Vec<f64> = (0..3).map(|i| (z[i] - 0.5) / widths[i].powi(2)).collect();
            spread.add(&z, &gradient);
            halves[usize::from(draw > 2)].add(&z, &gradient);
        }
        let [mut merged, other] = halves;
        merged.merge(&other);
        for ((found, together), expected) in spread.scales().iter().zip(merged.scales()).zip(widths) {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
            assert!((found / together - 1.0).abs() < 1e-9, "{found} {together}");
        }
    }

    #[test]
    fn a_latent_that_does_not_move_keeps_the_width_of_the_prior() {
        let mut spread = Spread::<f32>::new(2);
        assert_eq!(spread.scales(), [1.0, 1.0]);
        spread.add(&[1.0, 2.0], &[0.0, 0.0]);
        spread.add(&[1.0, 3.0], &[0.0, 0.0]);
        assert_eq!(spread.scales(), [1.0, 1.0]);
    }
}
