//! The curvature of the energy in many dimensions: its strongest directions, and its determinant.

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::response::Response;
use crate::{Error, Evaluator, Number, Result, Workers};

/// The curvature at a point as an operator.
struct Curvature<'a, T: Number> {
    evaluator: &'a mut dyn Evaluator<T>,
    centre: &'a [T],
    has_metric: bool,
}

impl<'a, T: Number> Curvature<'a, T> {
    fn at(evaluator: &'a mut dyn Evaluator<T>, centre: &'a [T]) -> Result<Self> {
        let mut gradient = centre.to_vec();
        evaluator.energy(centre, &mut gradient)?;
        // A model in Python may have no push, and says so in its own words.
        let has_metric = match evaluator.metric(centre, &mut gradient) {
            Err(Error::Unsuitable(_) | Error::Model(lookback_operator::Error::External { .. })) => false,
            Err(error) => return Err(error),
            Ok(()) => true,
        };
        Ok(Curvature { evaluator, centre, has_metric })
    }

    fn product(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        if self.has_metric {
            return self.evaluator.metric(v, out);
        }
        Response::new(&mut *self.evaluator, &[], self.centre).metric(v, out)
    }
}

/// Orthonormal vectors that span what a curvature makes of a first one, and the curvature among them: a tridiagonal matrix.
struct Krylov<T> {
    vectors: Vec<Vec<T>>,
    next: Vec<T>,
    alphas: Vec<f64>,
    betas: Vec<f64>,
}

impl<T: Number> Krylov<T> {
    fn from(first: Vec<T>) -> Krylov<T> {
        Krylov { vectors: Vec::new(), next: first, alphas: Vec::new(), betas: Vec::new() }
    }

    /// Takes in the next vector; false if the space is exhausted, and no other follows.
    fn grow(&mut self, curvature: &mut Curvature<'_, T>) -> Result<bool> {
        let next = std::mem::take(&mut self.next);
        let mut image = vec![T::zero(); next.len()];
        curvature.product(&next, &mut image)?;
        self.alphas.push(vector::dot(&next, &image));
        self.vectors.push(next);
        let before = vector::norm2(&image).sqrt();
        orthogonalise(&self.vectors, &mut image);
        let length = vector::norm2(&image).sqrt();
        // Of what is left, rounding is all that stays when the space is exhausted.
        let goes_on = length > 100.0 * T::epsilon().f64() * before;
        self.betas.push(if goes_on { length } else { 0.0 });
        if goes_on {
            divide(&mut image, length);
            self.next = image;
        }
        Ok(goes_on)
    }

    /// Eigenvalues and eigenvectors of the curvature in this space.
    fn eigen(&self) -> SymmetricEigen<f64, nalgebra::Dyn> {
        let k = self.vectors.len();
        SymmetricEigen::new(DMatrix::from_fn(k, k, |i, j| match i.abs_diff(j) {
            0 => self.alphas[i],
            1 => self.betas[i.min(j)],
            _ => 0.0,
        }))
    }
}

/// Numbers of the streams: of the vectors with which Krylov spaces begin, and of the probes.
const BEGIN: u32 = 1 << 31;
const PROBE: u32 = 1 << 30;
/// Residual, as a share of its eigenvalue, up to which an eigenvector counts as known.
const KNOWN: f64 = 1e-2;
/// Steps of Lanczos's method for a probe of the determinant: the logarithm is exact for polynomials of twice this degree.
const STEPS: usize = 40;

/// `ln det` of the curvature at `centre`, and its standard error: the logarithms of the `rank` strongest eigenvalues, and the trace of the
/// logarithm over all other directions from random probes, each a Gauss quadrature by Lanczos's method (Ubaru, Chen & Saad 2017).
/// Cost: `rank + 40 probes` products.
///
/// # Errors
/// If the model fails.
pub(crate) fn log_determinant<T: Number>(
    workers: &Workers<'_, T>,
    centre: &[T],
    rank: usize,
    probes: usize,
    seed: u64,
) -> Result<(f64, f64)> {
    let basis = workers.with(|evaluator| Basis::find(evaluator, centre.to_vec(), rank, KNOWN, seed))?;
    let known: f64 = basis.eigenvalues.iter().map(|value| value.ln()).sum();
    let others = centre.len() - basis.directions.len();
    if others == 0 {
        return Ok((known, 0.0));
    }
    let traces = workers.map((0..probes as u32).collect(), |probe, evaluator| {
        let mut curvature = Curvature::at(evaluator, centre)?;
        let first = fresh(&basis.directions, centre.len(), Stream::new(seed, Purpose::Start, PROBE | probe));
        let mut krylov = Krylov::from(first);
        for _ in 0..STEPS.min(others) {
            if !krylov.grow(&mut curvature)? {
                break;
            }
        }
        let eigen = krylov.eigen();
        let weight = |i: usize| eigen.eigenvectors[(0, i)].powi(2);
        let logs = eigen.eigenvalues.iter().enumerate().map(|(i, value)| weight(i) * value.abs().ln());
        Ok(others as f64 * logs.sum::<f64>())
    })?;
    let n = traces.len() as f64;
    let mean = traces.iter().sum::<f64>() / n;
    let variance = traces.iter().map(|trace| (trace - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Ok((known + mean, (variance / n).sqrt()))
}

/// A point and the directions in which the posterior around it is not as wide as the prior: `S = 1 + V (theta^(-1/2) - 1) V^T`
/// with eigenvectors `V` and eigenvalues `theta` of the curvature. Memory: a latent a direction. Cost of `S v`: two passes over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Basis<T: Number> {
    centre: Vec<T>,
    pub directions: Vec<Vec<T>>,
    pub eigenvalues: Vec<f64>,
}

impl<T: Number> Basis<T> {
    /// Lanczos's method (1950) for the curvature at `centre`: the Fisher metric where the target offers it, else second derivatives from
    /// differences of gradients. All vectors are kept orthogonal; where a Krylov space is exhausted, another begins. Eigenvectors whose
    /// residual is larger than `residual` times their eigenvalue are left out.
    ///
    /// # Errors
    /// If the model fails.
    pub fn find(
        evaluator: &mut dyn Evaluator<T>,
        centre: Vec<T>,
        rank: usize,
        residual: f64,
        seed: u64,
    ) -> Result<Basis<T>> {
        let dim = centre.len();
        let mut curvature = Curvature::at(evaluator, &centre)?;
        let begin = |vectors: &[Vec<T>]| {
            fresh(vectors, dim, Stream::new(seed, Purpose::Start, BEGIN | vectors.len() as u32))
        };
        let mut krylov = Krylov::from(begin(&[]));
        for _ in 0..rank.min(dim) {
            if !krylov.grow(&mut curvature)? {
                krylov.next = begin(&krylov.vectors);
            }
        }
        Ok(Basis::ritz(centre, &krylov, residual))
    }

    /// Eigenvectors of the curvature from those of its part in the space of `vectors`.
    fn ritz(centre: Vec<T>, krylov: &Krylov<T>, residual: f64) -> Basis<T> {
        let (vectors, eigen) = (&krylov.vectors, krylov.eigen());
        let k = vectors.len();
        // A full basis leaves nothing over.
        let left = if k == centre.len() { 0.0 } else { krylov.betas.last().copied().unwrap_or(0.0) };
        let good = |i: &usize| {
            let value = eigen.eigenvalues[*i].abs();
            value > 0.0 && (left * eigen.eigenvectors[(k - 1, *i)]).abs() <= residual * value
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
    pub fn scale(&self, v: &[T]) -> Vec<T> {
        self.rescaled(v, |value| 1.0 / value.sqrt())
    }

    /// `v` with its part along each direction multiplied by a function of the eigenvalue.
    fn rescaled(&self, v: &[T], factor: impl Fn(f64) -> f64) -> Vec<T> {
        let mut out = v.to_vec();
        let parts: Vec<f64> = self
            .directions
            .iter()
            .zip(&self.eigenvalues)
            .map(|(direction, value)| vector::dot(direction, v) * (factor(*value) - 1.0))
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
    pub fn latent(&self, y: &[T]) -> Vec<T> {
        vector::step(&self.scale(y), 1.0, &self.centre)
    }

    /// The scaled coordinates of a latent.
    pub fn coordinates(&self, z: &[T]) -> Vec<T> {
        self.rescaled(&vector::step(z, -1.0, &self.centre), f64::sqrt)
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
fn fresh<T: Number>(vectors: &[Vec<T>], dim: usize, stream: Stream) -> Vec<T> {
    let mut v = vec![T::zero(); dim];
    stream.fill_normal(&mut v);
    orthogonalise(vectors, &mut v);
    let length = vector::norm2(&v).sqrt();
    divide(&mut v, length);
    v
}

/// Divides a vector by its length.
pub(crate) fn divide<T: Number>(v: &mut [T], length: f64) {
    let inverse = T::of(1.0 / length);
    v.iter_mut().for_each(|x| *x *= inverse);
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
        let basis = Basis::find(&mut Bowl(curvatures.clone()), vec![0.3; 200], 40, 0.3, 1)
            .expect("finds its directions");
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
        let basis = Basis::find(&mut Bowl(curvatures.clone()), vec![0.0; 300], 40, 0.3, 1).expect("finds");
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

    impl crate::Target<f64> for Bowl {
        fn dim(&self) -> usize {
            self.0.len()
        }

        fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
            Box::new(Bowl(self.0.clone()))
        }
    }

    /// A spectrum from 1 to 10,000: a few eigenvalues are known, the others are probed; the error says how well.
    #[test]
    fn the_determinant_comes_with_its_error() {
        let bowl = Bowl((0..300).map(|i| 1.0 + 1e4 * (-0.05 * f64::from(i)).exp()).collect());
        let exact: f64 = bowl.0.iter().map(|c| c.ln()).sum();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let workers = Workers::new(&bowl, &stop);
        let (found, error) = log_determinant(&workers, &[0.0; 300], 60, 20, 1).expect("finds");
        assert!(
            (found - exact).abs() < 4.0 * error && error < 0.02 * exact,
            "{found} +- {error}, not {exact}"
        );
        let (found, error) = log_determinant(&workers, &[0.0; 300], 300, 20, 1).expect("finds");
        assert!(
            (found - exact).abs() < 1e-3 * exact && error < 0.01 * exact,
            "{found} +- {error}, not {exact}"
        );
    }
}
