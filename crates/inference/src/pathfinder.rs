//! Pathfinder (Zhang, Carpenter, Gelman & Vehtari 2022, JMLR 23, 306): the best of the Gaussians along the way of L-BFGS.

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Real, vector};
use nalgebra::{Cholesky, DMatrix};
use serde::{Deserialize, Serialize};

use crate::importance::Weighed;
use crate::lanczos::{divide, orthogonalise};
use crate::options::{at_least, at_least_one};
use crate::pareto::smooth_weights;
use crate::search::{Optimizer, Rules, Search};
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Workers};

/// Options of [`Pathfinder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathfinderOptions {
    /// Ways down, from random starting points.
    pub paths: usize,
    /// Standard deviation of the starting points.
    pub start_scale: f64,
    /// Distance from the maximum at which a way ends, in posterior standard deviations.
    pub tolerance: f64,
    /// Most steps of a way.
    pub max_iterations: usize,
    /// Samples that measure how close the Gaussian of a step is to the posterior.
    pub judging: usize,
    /// Samples of the best Gaussian of each path, from which those that are handed out are drawn by their importance.
    pub draws_per_path: usize,
    /// Samples handed out.
    pub samples: usize,
}

impl Default for PathfinderOptions {
    fn default() -> Self {
        PathfinderOptions {
            paths: 4,
            start_scale: 1.0,
            tolerance: 1e-3,
            max_iterations: 1000,
            judging: 10,
            draws_per_path: 500,
            samples: 500,
        }
    }
}

/// Numbers of the streams: of the samples that judge, and of those from which is drawn.
const JUDGE: u32 = 1 << 31;
/// Samples of a path that can be told apart.
const PER_PATH: usize = 1 << 20;

/// `N(mean, A^(1/2) (1 + Q (L L^T - 1) Q^T) A^(1/2))` with a diagonal `A` and a few orthonormal directions `Q`: the inverse Hessian that
/// L-BFGS has learned. Memory: a latent a direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct LowRank<T: Number> {
    mean: Vec<T>,
    /// `A^(1/2)`.
    widths: Vec<T>,
    directions: Vec<Vec<T>>,
    /// `L - 1`, in rows.
    bend: Vec<f64>,
    log_volume: f64,
}

impl<T: Number> LowRank<T> {
    /// From the diagonal `alpha` and the pairs of steps and changes of the gradient, at a point: their equations 3 to 6. `None` if what
    /// was learned is no covariance.
    fn at(z: &[T], gradient: &[T], alpha: &[T], pairs: &[(&Vec<T>, &Vec<T>)]) -> Option<LowRank<T>> {
        let (m, widths): (usize, Vec<T>) = (pairs.len(), alpha.iter().map(|a| a.sqrt()).collect());
        // beta = [alpha Y, S] and gamma of equation 4, in coordinates that the widths make round.
        let widened = |v: &[T]| -> Vec<T> { v.iter().zip(&widths).map(|(v, w)| *v * *w).collect() };
        let narrowed = |v: &[T]| -> Vec<T> { v.iter().zip(&widths).map(|(v, w)| *v / *w).collect() };
        let slope = widened(gradient);
        let columns: Vec<Vec<T>> =
            pairs.iter().map(|(_, y)| widened(y)).chain(pairs.iter().map(|(s, _)| narrowed(s))).collect();
        let upper =
            DMatrix::from_fn(m, m, |i, j| if i <= j { vector::dot(pairs[i].0, pairs[j].1) } else { 0.0 });
        let inverse = upper.clone().try_inverse()?;
        let middle = DMatrix::from_fn(m, m, |i, j| {
            let diagonal = if i == j { upper[(i, i)] } else { 0.0 };
            diagonal + vector::dot(&columns[i], &columns[j])
        });
        let corner = inverse.transpose() * middle * &inverse;
        let gamma = DMatrix::from_fn(2 * m, 2 * m, |i, j| match (i < m, j < m) {
            (true, true) => 0.0,
            (true, false) => -inverse[(i, j - m)],
            (false, true) => -inverse[(j, i - m)],
            (false, false) => corner[(i - m, j - m)],
        });
        let directions = orthonormal(&columns);
        let k = directions.len();
        let r = DMatrix::from_fn(k, 2 * m, |i, j| vector::dot(&directions[i], &columns[j]));
        let inner = DMatrix::identity(k, k) + &r * gamma * r.transpose();
        let root = Cholesky::new(0.5 * (&inner + inner.transpose()))?.l();
        let log_volume =
            widths.iter().map(|w| w.f64().ln()).sum::<f64>() + (0..k).map(|i| root[(i, i)].ln()).sum::<f64>();
        let bend = (0..k * k).map(|e| root[(e / k, e % k)] - f64::from(u8::from(e / k == e % k))).collect();
        let mut gaussian = LowRank { mean: z.to_vec(), widths, directions, bend, log_volume };
        // The mean is a step of Newton away: z - C g, with C g in two halves.
        let half = gaussian.transposed(&slope);
        gaussian.mean = vector::step(z, -1.0, &gaussian.offset(&half));
        gaussian.mean.iter().all(|x| x.is_finite()).then_some(gaussian)
    }

    /// `v + Q B Q^T v` with the entries of `B`.
    fn bent(&self, v: &[T], entry: impl Fn(usize, usize) -> f64) -> Vec<T> {
        let parts: Vec<f64> = self.directions.iter().map(|q| vector::dot(q, v)).collect();
        let mut out = v.to_vec();
        for (i, q) in self.directions.iter().enumerate() {
            let part: f64 = parts.iter().enumerate().map(|(j, part)| entry(i, j) * part).sum();
            vector::axpy(part, q, &mut out);
        }
        out
    }

    /// `(1 + Q (L - 1)^T Q^T) v`.
    fn transposed(&self, v: &[T]) -> Vec<T> {
        self.bent(v, |i, j| self.bend[j * self.directions.len() + i])
    }

    /// `A^(1/2) (1 + Q (L - 1) Q^T) u`: the offset from the mean that white noise makes.
    fn offset(&self, u: &[T]) -> Vec<T> {
        let mut out = self.bent(u, |i, j| self.bend[i * self.directions.len() + j]);
        out.iter_mut().zip(&self.widths).for_each(|(out, w)| *out *= *w);
        out
    }

    /// A sample, and `-ln N` there.
    fn draw(&self, stream: Stream) -> (Vec<T>, f64) {
        let mut u = self.mean.clone();
        stream.fill_normal(&mut u);
        let log_volume = self.log_volume + 0.5 * u.len() as f64 * std::f64::consts::TAU.ln();
        let z = vector::step(&self.offset(&u), 1.0, &self.mean);
        (z, 0.5 * vector::norm2(&u) + log_volume)
    }
}

/// Directions that span the columns; those that add nothing are left out.
fn orthonormal<T: Number>(columns: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut directions: Vec<Vec<T>> = Vec::new();
    for column in columns {
        let mut v = column.clone();
        orthogonalise(&directions, &mut v);
        let (left, all) = (vector::norm2(&v).sqrt(), vector::norm2(column).sqrt());
        if directions.len() < v.len() && left > 100.0 * T::epsilon().f64() * all {
            divide(&mut v, left);
            directions.push(v);
        }
    }
    directions
}

/// One way down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Path<T: Number> {
    search: Search<T>,
    /// Diagonal of the inverse Hessian, learned along the way.
    alpha: Vec<T>,
    best: Option<LowRank<T>>,
    /// Lower bound of the evidence by the best Gaussian, up to constants.
    elbo: f64,
    failed: bool,
}

impl<T: Number> Path<T> {
    fn new(which: usize) -> Path<T> {
        let search = Search::new(which as u32);
        Path { search, alpha: Vec::new(), best: None, elbo: f64::NEG_INFINITY, failed: false }
    }

    fn active(&self) -> bool {
        !self.failed && !self.search.converged
    }

    /// A step down, and the judgement of the Gaussian there.
    fn advance(
        &mut self,
        options: &PathfinderOptions,
        seed: u64,
        evaluator: &mut dyn Evaluator<T>,
        dim: usize,
        which: usize,
    ) -> Result<()> {
        let PathfinderOptions { tolerance, max_iterations, start_scale, .. } = *options;
        let rules = Rules::plain(Optimizer::Lbfgs, tolerance, max_iterations, seed, start_scale);
        let mut search = self.search.clone();
        match search.advance(&rules, evaluator, dim) {
            // A way that does not end has good places on it all the same.
            Err(Error::NotConverged(_)) => search.converged = true,
            other => other?,
        }
        if self.alpha.is_empty() {
            self.alpha = vec![T::one(); dim];
        }
        let mut alpha = self.alpha.clone();
        let pairs: Vec<(&Vec<T>, &Vec<T>)> = search.history().pairs().collect();
        let is_new = search.history().taken() > self.search.history().taken();
        if let (Some((s, y)), true) = (pairs.last(), is_new) {
            learn_diagonal(&mut alpha, s, y);
        }
        let mut found = None;
        if let (Some(at), false) = (search.at(), pairs.is_empty())
            && let Some(gaussian) = LowRank::at(&at.z, &at.gradient, &alpha, &pairs)
        {
            let mut sum = 0.0;
            let first = (which * PER_PATH + (search.steps * options.judging) % PER_PATH) as u32;
            let mut gradient = alpha.clone();
            for draw in 0..options.judging as u32 {
                let stream = Stream::new(seed, Purpose::PriorDraw, JUDGE | first.wrapping_add(draw));
                let (z, height) = gaussian.draw(stream);
                sum += height - evaluator.energy(&z, &mut gradient)?;
            }
            found = Some((gaussian, sum / options.judging as f64));
        }
        drop(pairs);
        if let Some((gaussian, elbo)) = found.filter(|(_, elbo)| *elbo > self.elbo) {
            (self.best, self.elbo) = (Some(gaussian), elbo);
        }
        (self.search, self.alpha) = (search, alpha);
        Ok(())
    }
}

/// The diagonal that the pair would have (Gilbert & Lemarechal 1989; algorithm 3 of the paper); left alone if it is no variance.
fn learn_diagonal<T: Real>(alpha: &mut [T], s: &[T], y: &[T]) {
    let terms = || alpha.iter().zip(s.iter().zip(y)).map(|(a, (s, y))| (a.f64(), s.f64(), y.f64()));
    let (mut a, mut b, mut c) = (0.0, 0.0, 0.0);
    for (alpha, s, y) in terms() {
        a += alpha * y * y;
        b += s * y;
        c += s * s / alpha;
    }
    let new: Vec<f64> = terms()
        .map(|(alpha, s, y)| 1.0 / (a / (b * alpha) + y * y / b - a * s * s / (b * c * alpha * alpha)))
        .collect();
    if new.iter().all(|alpha| alpha.is_finite() && *alpha > 0.0) {
        alpha.iter_mut().zip(new).for_each(|(alpha, new)| *alpha = T::of(new));
    }
}

/// Several searches for the maximum by L-BFGS; along each, the Gaussian with the inverse Hessian that L-BFGS has learned is judged by its
/// evidence bound at every step, and the best is kept. Samples are drawn from those of all paths by their smoothed importance weights.
///
/// Needs gradients only, a hundred or so a path: a first look at a posterior, and a start for samplers. `pareto_k` tells whether to
/// believe more than that. Memory: 40 latents a path.
///
/// When not to use it: as the last word on a posterior that is not nearly Gaussian; repeated samples show where few weights count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Pathfinder<T: Number> {
    options: PathfinderOptions,
    seed: u64,
    paths: Vec<Path<T>>,
    weighed: Weighed,
    /// Numbers of the samples that are handed out, of all that were drawn.
    chosen: Vec<usize>,
    drawn: usize,
}

impl<T: Number> Pathfinder<T> {
    /// A search that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: PathfinderOptions, seed: u64) -> Result<Pathfinder<T>> {
        at_least_one(&[
            ("paths", options.paths),
            ("judging", options.judging),
            ("draws_per_path", options.draws_per_path),
            ("samples", options.samples),
            ("max_iterations", options.max_iterations),
        ])?;
        at_least(&[
            ("tolerance", options.tolerance, f64::MIN_POSITIVE),
            ("start_scale", options.start_scale, 0.0),
        ])?;
        if options.draws_per_path > PER_PATH || options.paths > 500 {
            return Err(Error::Option(
                "at most 500 `paths` with a million `draws_per_path` can be told apart".into(),
            ));
        }
        let paths = (0..options.paths).map(Path::new).collect();
        Ok(Pathfinder { options, seed, paths, weighed: Weighed::default(), chosen: Vec::new(), drawn: 0 })
    }

    fn walk(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let (options, seed, dim) = (&self.options, self.seed, workers.dim());
        let active = self.paths.iter_mut().enumerate().filter(|(_, path)| path.active()).collect();
        let failures = workers.map(active, |(which, path), evaluator| {
            match path.advance(options, seed, evaluator, dim, which) {
                Err(Error::Interrupted) => Err(Error::Interrupted),
                end => {
                    path.failed = end.is_err();
                    Ok(end.err())
                }
            }
        })?;
        match failures.into_iter().flatten().next() {
            Some(error) if self.paths.iter().all(|path| path.failed) => {
                // All can be tried again.
                self.paths.iter_mut().for_each(|path| path.failed = false);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// The sample with this number, and `-ln q` there.
    fn candidate(&self, number: usize) -> Option<(Vec<T>, f64)> {
        let (which, draw) = (number / self.options.draws_per_path, number % self.options.draws_per_path);
        let stream = Stream::new(self.seed, Purpose::PriorDraw, (which * PER_PATH + draw) as u32);
        Some(self.paths[which].best.as_ref()?.draw(stream))
    }

    /// Draws from all paths, and chooses by importance.
    fn choose(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        if self.paths.iter().all(|path| path.best.is_none()) {
            return Err(Error::NotConverged(
                "no path found a Gaussian: the energy has no positive curvature along them".into(),
            ));
        }
        let total = self.options.paths * self.options.draws_per_path;
        let ratios = workers.map((0..total).collect(), |number, evaluator| {
            let Some((z, height)) = self.candidate(number) else { return Ok(f64::NEG_INFINITY) };
            let mut gradient = z.clone();
            Ok(height - evaluator.energy(&z, &mut gradient)?)
        })?;
        if !ratios.iter().any(|ratio| ratio.is_finite()) {
            return Err(Error::NotConverged(
                "no Gaussian along the paths has a sample where the density is not zero".into(),
            ));
        }
        let smoothed = smooth_weights(&ratios);
        // Those that judged a path were few, and the best of many judgements is too good.
        for (path, ratios) in self.paths.iter_mut().zip(ratios.chunks(self.options.draws_per_path)) {
            path.elbo = ratios.iter().sum::<f64>() / ratios.len() as f64;
        }
        self.weighed.measure(workers);
        for (path, ratios) in self.paths.iter().zip(ratios.chunks(self.options.draws_per_path)) {
            // A path without a Gaussian gave no draws; draws beyond a wall count, with a weight of zero.
            if path.best.is_some() {
                ratios.iter().for_each(|ratio| self.weighed.add(*ratio));
            }
        }
        // Systematic: each is chosen as often as its weight promises, give or take one.
        let shift = Stream::new(self.seed, Purpose::DataDraw, 0).uniform(0);
        let (mut below, mut next) = (0.0, 0);
        for (number, weight) in smoothed.weights.iter().enumerate() {
            below += weight * self.options.samples as f64;
            while next < self.options.samples && next as f64 + shift < below {
                self.chosen.push(number);
                next += 1;
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        if self.drawn == 0 {
            let found = self.paths.iter().filter_map(|path| Some((path.elbo, path.best.as_ref()?)));
            let finite = found.filter(|(elbo, _)| !elbo.is_nan());
            if let Some((_, best)) = finite.max_by(|a, b| a.0.total_cmp(&b.0)) {
                sink(Draw::Centre { z: best.mean.clone() });
            }
        }
        let last = self.chosen.len().min(self.drawn + 16 * rayon::current_num_threads());
        let samples = workers.map(self.chosen[self.drawn..last].to_vec(), |number, evaluator| {
            let Some((z, _)) = self.candidate(number) else { return Ok(None) };
            let mut gradient = z.clone();
            let energy = evaluator.energy(&z, &mut gradient)?;
            Ok(Some((z, energy)))
        })?;
        for (z, energy) in samples.into_iter().flatten() {
            sink(Draw::independent(z, Some(energy)));
        }
        self.drawn = last;
        Ok(())
    }

    /// The largest of the lower bounds of the evidence, up to constants.
    fn bound(&self) -> f64 {
        self.paths.iter().map(|path| path.elbo).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Share of the samples that are copies of others.
    fn repeated(&self) -> Option<f64> {
        let copies = self.chosen.windows(2).filter(|pair| pair[0] == pair[1]).count();
        (!self.chosen.is_empty()).then(|| copies as f64 / self.chosen.len() as f64)
    }

    fn steps(&self) -> usize {
        self.paths.iter().map(|path| path.search.steps).sum()
    }
}

impl<T: Number> Method<T> for Pathfinder<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.paths.iter().any(Path::active) {
            self.walk(workers)?;
        } else if self.chosen.is_empty() {
            self.choose(workers)?;
        } else {
            self.hand_out(workers, sink)?;
        }
        let ends = self.paths.iter().filter(|path| !path.active()).count();
        let message =
            format!("{ends} of {} paths done, evidence bound {:.2}", self.paths.len(), self.bound());
        let done = !self.chosen.is_empty() && self.drawn == self.chosen.len();
        let walking = if ends == self.paths.len() { 0 } else { self.options.max_iterations };
        let total = self.steps().max(walking) + self.options.samples;
        Ok(Progress { steps: ((self.steps() + self.drawn) as u64, total as u64), message, done })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let failed = self.paths.iter().filter(|path| path.failed).count();
        let mut figures = vec![
            ("optimizer_steps".into(), self.steps() as f64),
            ("paths_failed".into(), failed as f64),
            ("log_evidence_bound".into(), self.weighed.log_evidence_of(self.bound())),
        ];
        figures.extend(self.weighed.figures());
        if let Some(share) = self.repeated() {
            figures.push(("samples_repeated".into(), share));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With as many pairs as latents, the inverse Hessian is exact, and the covariance is that of the Gaussian.
    #[test]
    fn pairs_of_a_quadratic_give_its_covariance() {
        let curvature = [4.0, 0.5, 9.0, 1.0];
        let steps = [[1.0, 0.2, 0.0, 0.1], [0.0, 1.0, 0.3, 0.0], [0.2, 0.0, 1.0, 0.4], [0.1, 0.3, 0.0, 1.0]];
        let pairs: Vec<(Vec<f64>, Vec<f64>)> = steps
            .iter()
            .map(|s| (s.to_vec(), s.iter().zip(&curvature).map(|(s, c)| s * c).collect()))
            .collect();
        // Conjugate steps, as those of an exact line search: BFGS then knows the whole Hessian.
        let mut conjugate: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
        for (s, y) in &pairs {
            let (mut s, mut y) = (s.clone(), y.clone());
            for (before, change) in &conjugate {
                let part = vector::dot(&s, change) / vector::dot(before, change);
                vector::axpy(-part, before, &mut s);
                vector::axpy(-part, change, &mut y);
            }
            conjugate.push((s, y));
        }
        let refs: Vec<(&Vec<f64>, &Vec<f64>)> = conjugate.iter().map(|(s, y)| (s, y)).collect();
        let z = [0.5, -1.0, 0.2, 2.0];
        let gradient: Vec<f64> = z.iter().zip(&curvature).map(|(z, c)| c * (z - 1.0)).collect();
        let alpha = [0.7, 1.3, 0.9, 1.1];
        let gaussian = LowRank::at(&z, &gradient, &alpha, &refs).expect("is a covariance");
        assert!(gaussian.mean.iter().all(|m| (m - 1.0).abs() < 1e-10), "{:?}", gaussian.mean);
        let columns: Vec<Vec<f64>> = (0..4)
            .map(|i| gaussian.offset(&(0..4).map(|j| f64::from(u8::from(i == j))).collect::<Vec<f64>>()))
            .collect();
        for i in 0..4 {
            for j in 0..4 {
                let covariance: f64 = columns.iter().map(|column| column[i] * column[j]).sum();
                let exact = if i == j { 1.0 / curvature[i] } else { 0.0 };
                assert!((covariance - exact).abs() < 1e-10, "{i} {j}: {covariance}");
            }
        }
        let exact: f64 = curvature.iter().map(|c| -0.5 * f64::ln(*c)).sum();
        assert!((gaussian.log_volume - exact).abs() < 1e-10);
    }
}
