//! Samplers in coordinates in which the posterior around its maximum is round.

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::conditional::Split;
use crate::response::Response;
use crate::{
    Draw, Error, Evaluator, Map, MapOptions, Method, Number, Optimizer, Progress, Result, Target, Workers,
};

/// Options of [`Preconditioned`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreconditionOptions {
    /// Directions whose curvature is looked for; those that are found best are rescaled.
    pub rank: usize,
    /// Optimiser of the maximum.
    pub optimizer: Optimizer,
    /// Distance from the maximum at which to stop, in posterior standard deviations.
    pub tolerance: f64,
    /// Most steps of the optimiser.
    pub max_iterations: usize,
}

impl Default for PreconditionOptions {
    fn default() -> Self {
        PreconditionOptions { rank: 100, optimizer: Optimizer::Lbfgs, tolerance: 1e-2, max_iterations: 5000 }
    }
}

/// Residual of an eigenvector, as a share of its eigenvalue, beyond which it is left out.
const RESIDUAL: f64 = 0.3;

/// A point and the directions in which the posterior around it is not as wide as the prior: `S = 1 + V (theta^(-1/2) - 1) V^T`
/// with eigenvectors `V` and eigenvalues `theta` of the curvature. Memory: a latent a direction. Cost of `S v`: two passes over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Basis<T: Number> {
    centre: Vec<T>,
    directions: Vec<Vec<T>>,
    eigenvalues: Vec<f64>,
}

impl<T: Number> Basis<T> {
    /// Lanczos's method (1950) for the curvature at `centre`: the Fisher metric where the target offers it, else second derivatives from
    /// differences of gradients. All vectors are kept orthogonal; where a Krylov space is exhausted, another begins.
    ///
    /// # Errors
    /// If the model fails.
    fn find(evaluator: &mut dyn Evaluator<T>, centre: Vec<T>, rank: usize, seed: u64) -> Result<Basis<T>> {
        let dim = centre.len();
        let mut gradient = centre.clone();
        evaluator.energy(&centre, &mut gradient)?;
        let has_metric = !matches!(evaluator.metric(&centre, &mut gradient), Err(Error::Unsuitable(_)));
        let split = Split::new(dim, &[]);
        let mut product = |v: &[T], out: &mut [T]| -> Result<()> {
            if has_metric {
                return evaluator.metric(v, out);
            }
            Response::new(&mut *evaluator, &split, &centre).metric(v, out)
        };
        let mut vectors: Vec<Vec<T>> = Vec::new();
        let (mut alphas, mut betas) = (Vec::new(), Vec::new());
        let mut next = fresh(&vectors, dim, seed);
        for _ in 0..rank.min(dim) {
            let mut image = vec![T::zero(); dim];
            product(&next, &mut image)?;
            alphas.push(vector::dot(&next, &image));
            vectors.push(next);
            orthogonalise(&vectors, &mut image);
            let length = vector::norm2(&image).sqrt();
            let scale = alphas.iter().fold(0.0f64, |most, a| most.max(a.abs()));
            // Of what is left, rounding is all that stays when the space is exhausted.
            let goes_on = length > 1e3 * T::epsilon().f64() * scale;
            betas.push(if goes_on { length } else { 0.0 });
            next = if goes_on {
                let inverse = T::of(1.0 / length);
                image.iter_mut().for_each(|x| *x *= inverse);
                image
            } else {
                fresh(&vectors, dim, seed)
            };
        }
        Ok(Basis::ritz(centre, &vectors, &alphas, &betas))
    }

    /// Eigenvectors of the curvature from those of its part in the space of `vectors`.
    fn ritz(centre: Vec<T>, vectors: &[Vec<T>], alphas: &[f64], betas: &[f64]) -> Basis<T> {
        let k = vectors.len();
        let small = DMatrix::from_fn(k, k, |i, j| match i.abs_diff(j) {
            0 => alphas[i],
            1 => betas[i.min(j)],
            _ => 0.0,
        });
        let eigen = SymmetricEigen::new(small);
        // A full basis leaves nothing over.
        let left = if k == centre.len() { 0.0 } else { betas.last().copied().unwrap_or(0.0) };
        let good = |i: &usize| {
            let value = eigen.eigenvalues[*i].abs();
            value > 0.0 && (left * eigen.eigenvectors[(k - 1, *i)]).abs() <= RESIDUAL * value
        };
        let kept: Vec<usize> = (0..k).filter(good).collect();
        let directions = kept
            .par_iter()
            .map(|&i| {
                let mut direction = vec![T::zero(); centre.len()];
                for (j, vector) in vectors.iter().enumerate() {
                    vector::axpy(eigen.eigenvectors[(j, i)], vector, &mut direction);
                }
                direction
            })
            .collect();
        let eigenvalues = kept.iter().map(|&i| eigen.eigenvalues[i].abs()).collect();
        Basis { centre, directions, eigenvalues }
    }

    /// `S v`; `S` is symmetric.
    fn scale(&self, v: &[T]) -> Vec<T> {
        let mut out = v.to_vec();
        let parts: Vec<f64> = self
            .directions
            .iter()
            .zip(&self.eigenvalues)
            .map(|(direction, value)| vector::dot(direction, v) * (1.0 / value.sqrt() - 1.0))
            .collect();
        out.par_chunks_mut(vector::CHUNK).enumerate().for_each(|(chunk, out)| {
            let start = chunk * vector::CHUNK;
            for (part, direction) in parts.iter().zip(&self.directions) {
                let part = T::of(*part);
                out.iter_mut().zip(&direction[start..]).for_each(|(out, d)| *out += part * *d);
            }
        });
        out
    }

    /// The latent of scaled coordinates.
    fn latent(&self, y: &[T]) -> Vec<T> {
        vector::step(&self.scale(y), 1.0, &self.centre)
    }
}

/// Takes what lies along `vectors` out of `v`; twice, as once leaves what rounding lost.
pub(crate) fn orthogonalise<T: Number>(vectors: &[Vec<T>], v: &mut [T]) {
    for _ in 0..2 {
        for vector in vectors {
            let part = vector::dot(vector, v);
            vector::axpy(-part, vector, v);
        }
    }
}

/// A random direction orthogonal to those that there are.
fn fresh<T: Number>(vectors: &[Vec<T>], dim: usize, seed: u64) -> Vec<T> {
    let mut v = vec![T::zero(); dim];
    Stream::new(seed, Purpose::Start, 1 << 31 | vectors.len() as u32).fill_normal(&mut v);
    orthogonalise(vectors, &mut v);
    let inverse = T::of(1.0 / vector::norm2(&v).sqrt());
    v.iter_mut().for_each(|x| *x *= inverse);
    v
}

/// The target in scaled coordinates `y`: `H(centre + S y)`.
struct Scaled<'a, 'w, T: Number> {
    basis: &'a Basis<T>,
    workers: &'a Workers<'w, T>,
}

struct ScaledEvaluator<'a, 'w, T: Number>(&'a Scaled<'a, 'w, T>);

impl<T: Number> Target<T> for Scaled<'_, '_, T> {
    fn dim(&self) -> usize {
        self.workers.dim()
    }

    fn evaluator(&self) -> Box<dyn Evaluator<T> + '_> {
        Box::new(ScaledEvaluator(self))
    }
}

impl<T: Number> Evaluator<T> for ScaledEvaluator<'_, '_, T> {
    fn energy(&mut self, y: &[T], gradient: &mut [T]) -> Result<f64> {
        let Scaled { basis, workers } = self.0;
        let z = basis.latent(y);
        let energy = workers.with(|evaluator| evaluator.energy(&z, gradient))?;
        gradient.copy_from_slice(&basis.scale(gradient));
        Ok(energy)
    }
}

/// A sampler that works in coordinates in which the posterior around its maximum is round, and starts there.
///
/// First the maximum is found, then the `rank` directions in which the posterior is most unlike the prior, by Lanczos's method on the
/// Fisher metric `1 + J^T M J`, or on second derivatives if there is no metric (then `2 rank` gradients). The sampler sees latents
/// `y` with `z = z_map + S y`; what it tunes it tunes there. With a rank as large as the dimension, a Gaussian posterior becomes
/// exactly round.
///
/// When not to use it: where the maximum is far from typical in shape, as in funnels, or has infinite density.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: serde::de::DeserializeOwned"))]
pub struct Preconditioned<T: Number, M> {
    options: PreconditionOptions,
    seed: u64,
    map: Map<T>,
    maximum: Option<Vec<T>>,
    basis: Option<Basis<T>>,
    sampler: M,
}

impl<T: Number, M: Method<T>> Preconditioned<T, M> {
    /// Prepares `sampler`, which has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: PreconditionOptions, sampler: M, seed: u64) -> Result<Self> {
        if options.rank == 0 {
            return Err(Error::Option("`rank` must be at least 1".into()));
        }
        let map = Map::new(
            MapOptions {
                optimizer: options.optimizer,
                tolerance: options.tolerance,
                max_iterations: options.max_iterations,
                ..MapOptions::default()
            },
            seed,
        )?;
        Ok(Preconditioned { options, seed, map, maximum: None, basis: None, sampler })
    }
}

impl<T: Number, M: Method<T>> Method<T> for Preconditioned<T, M> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        let preparing = |message: String| Progress { steps: (0, 1), message, done: false };
        if self.maximum.is_none() {
            let mut found = None;
            let progress = self.map.advance(workers, &mut |draw| {
                if let Draw::Centre { z } = &draw {
                    found = Some(z.clone());
                    sink(draw);
                }
            })?;
            self.maximum = found;
            return Ok(preparing(format!("maximum: {}", progress.message)));
        }
        if let (None, Some(maximum)) = (&self.basis, &self.maximum) {
            let (rank, seed) = (self.options.rank, self.seed);
            let basis = workers.with(|evaluator| Basis::find(evaluator, maximum.clone(), rank, seed))?;
            let message = format!("{} directions rescaled", basis.directions.len());
            self.basis = Some(basis);
            return Ok(preparing(message));
        }
        let Some(basis) = &self.basis else { return Ok(preparing(String::new())) };
        let scaled = Scaled { basis, workers };
        let inner = Workers::new(&scaled, workers.stop());
        self.sampler.advance(&inner, &mut |draw| {
            sink(match draw {
                Draw::Centre { z } => Draw::Centre { z: basis.latent(&z) },
                Draw::Sample { z, chain, energy, mirror } => {
                    Draw::Sample { z: basis.latent(&z), chain, energy, mirror }
                }
            });
        })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = self.sampler.figures();
        if let Some(basis) = &self.basis {
            let extreme = |pick: fn(f64, f64) -> f64| basis.eigenvalues.iter().copied().reduce(pick);
            figures.push(("rescaled_directions".into(), basis.directions.len() as f64));
            figures.push(("largest_curvature".into(), extreme(f64::max).unwrap_or(1.0)));
            figures.push(("smallest_curvature".into(), extreme(f64::min).unwrap_or(1.0)));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An energy `sum_i c_i z_i^2 / 2` that offers no metric.
    struct Bowl(Vec<f64>);

    impl Evaluator<f64> for Bowl {
        fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
            gradient.iter_mut().zip(z).zip(&self.0).for_each(|((g, z), c)| *g = c * z);
            Ok(0.5 * vector::dot(z, gradient))
        }
    }

    /// Ten directions of the same curvature among those of the prior are ten eigenvectors of one value: all are found.
    #[test]
    fn equal_curvatures_are_all_found() {
        let mut curvatures = vec![1.0; 200];
        (0..10).for_each(|i| curvatures[17 * i] = 100.0);
        let basis =
            Basis::find(&mut Bowl(curvatures.clone()), vec![0.3; 200], 40, 1).expect("finds its directions");
        for (i, c) in curvatures.iter().enumerate() {
            let mut unit = vec![0.0; 200];
            unit[i] = 1.0;
            let scaled = basis.scale(&unit);
            assert!((scaled[i] - 1.0 / c.sqrt()).abs() < 1e-6, "{i}: {} for {c}", scaled[i]);
        }
    }

    /// Forty products find the twenty largest of a dense spectrum; what is not found well is left alone, so that nothing gets worse.
    #[test]
    fn a_small_rank_takes_the_extremes() {
        let curvatures: Vec<f64> = (0..300).map(|i| 1.0 + 1e4 * (-0.05 * f64::from(i)).exp()).collect();
        let basis = Basis::find(&mut Bowl(curvatures.clone()), vec![0.0; 300], 40, 1).expect("finds");
        assert!(basis.directions.len() < 40 && basis.directions.len() > 5);
        let image = |v: &[f64]| -> Vec<f64> {
            let mut product = basis.scale(v);
            product.iter_mut().zip(&curvatures).for_each(|(x, c)| *x *= c);
            basis.scale(&product)
        };
        // The largest curvature that is left, by the power method.
        let mut v = vec![1.0; 300];
        let mut most = 0.0;
        for _ in 0..500 {
            let next = image(&v);
            most = vector::norm2(&next).sqrt() / vector::norm2(&v).sqrt();
            let inverse = 1.0 / vector::norm2(&next).sqrt();
            v = next.iter().map(|x| x * inverse).collect();
        }
        assert!(most < 4e3, "{most} of 10001");
    }
}
