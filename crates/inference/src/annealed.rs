//! Annealed particles: from a mixture of Gaussians to a posterior that it only resembles (Neal 2001; Del Moral, Doucet & Jasra 2006).

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::dense_gaussian::DenseGaussian;
use crate::importance::log_sum;
use crate::{Evaluator, Number, Result, Workers};

/// `sum_k w_k N(m_k, C_k)`.
pub(crate) struct Mixture<'a> {
    /// Logarithms of the weights, which sum to one.
    pub log_weights: Vec<f64>,
    pub gaussians: Vec<&'a DenseGaussian>,
}

impl Mixture<'_> {
    /// Logarithm of the density of each Gaussian, times its weight.
    fn parts<T: Number>(&self, z: &[T]) -> Vec<f64> {
        let parts = self.log_weights.iter().zip(&self.gaussians);
        parts.map(|(weight, gaussian)| weight + gaussian.log_density(z)).collect()
    }

    /// `ln q(z)`.
    pub fn log_density<T: Number>(&self, z: &[T]) -> f64 {
        log_sum(self.parts(z).into_iter())
    }

    /// The Gaussian to which a place belongs most.
    pub fn nearest<T: Number>(&self, z: &[T]) -> usize {
        let parts = self.parts(z);
        (0..parts.len()).max_by(|&a, &b| parts[a].total_cmp(&parts[b])).unwrap_or(0)
    }

    /// `-ln q(z)`; adds `scale` times its gradient.
    fn add_gradient<T: Number>(&self, z: &[T], scale: f64, gradient: &mut [T]) -> f64 {
        let parts = self.parts(z);
        let all = log_sum(parts.iter().copied());
        for (part, gaussian) in parts.iter().zip(&self.gaussians) {
            let share = (part - all).exp();
            if share > 0.0 {
                gaussian.add_slope(z, scale * share, gradient);
            }
        }
        -all
    }

    /// The Gaussian at `place` of the unit interval, divided as the weights say.
    pub fn at(&self, place: f64) -> usize {
        let mut below = 0.0;
        let reached = self.log_weights.iter().position(|weight| {
            below += weight.exp();
            below >= place
        });
        reached.unwrap_or(self.gaussians.len() - 1)
    }
}

/// A place, with both densities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Particle<T> {
    pub z: Vec<T>,
    /// `H(z)`.
    pub energy: f64,
    /// `ln q(z)`.
    pub log_mixture: f64,
}

impl<T> Particle<T> {
    /// `ln` of the posterior over the mixture, which never is NaN.
    pub fn log_ratio(&self) -> f64 {
        let ratio = -self.energy - self.log_mixture;
        if ratio.is_nan() { f64::NEG_INFINITY } else { ratio }
    }
}

/// Particles on their way along `q^(1 - beta) exp(-beta H)`.
///
/// `beta` goes as far as leaves half of the particles, as an effective number; these are drawn again by their weights (systematically)
/// and moved by Hamiltonian Monte Carlo. The product of the mean weights is the ratio of the evidences, without bias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Annealed<T: Number> {
    pub particles: Vec<Particle<T>>,
    pub beta: f64,
    rung: u32,
    /// `ln integral exp(-H)` so far, and the sum of the relative variances that it has from the rungs.
    pub log_integral: f64,
    pub variance: f64,
    /// Length of a leapfrog step in widths.
    step: f64,
}

/// Effective share of the particles that a step of `beta` leaves.
const SHARE: f64 = 0.5;
/// Longest step of `beta`: weights do not see what no particle has seen, so that some time must be given to find it.
const LONGEST: f64 = 0.125;
/// Trajectories after a rung, and after the last one.
const TURNS: usize = 3;
const LAST_TURNS: usize = 6;
/// Leapfrog steps of a trajectory, and the length of one in widths, times the fourth root of the dimension, to begin with.
const LEAPS: usize = 5;
const STEP: f64 = 0.8;
/// Acceptances between which the step stays.
const ACCEPTED: [f64; 2] = [0.6, 0.9];
/// Numbers of the streams.
const ANNEAL: u32 = 1 << 28;

impl<T: Number> Annealed<T> {
    /// Particles of the mixture.
    pub fn new(particles: Vec<Particle<T>>) -> Annealed<T> {
        let dim = particles.first().map_or(1, |particle| particle.z.len());
        let step = STEP / (dim as f64).powf(0.25);
        Annealed { particles, beta: 0.0, rung: 0, log_integral: 0.0, variance: 0.0, step }
    }

    /// True at the posterior.
    pub fn is_done(&self) -> bool {
        self.beta == 1.0
    }

    /// One rung. All particles impossible is an evidence of zero, and the end.
    pub fn advance(&mut self, mixture: &Mixture<'_>, seed: u64, workers: &Workers<'_, T>) -> Result<()> {
        let ratios: Vec<f64> = self.particles.iter().map(Particle::log_ratio).collect();
        let beta = next_beta(self.beta, &ratios);
        let log_weights: Vec<f64> = ratios.iter().map(|ratio| (beta - self.beta) * ratio).collect();
        let count = ratios.len() as f64;
        let all = log_sum(log_weights.iter().copied());
        self.log_integral += all - count.ln();
        self.beta = beta;
        self.rung += 1;
        if all == f64::NEG_INFINITY {
            self.beta = 1.0;
            self.particles.clear();
            return Ok(());
        }
        let weights: Vec<f64> = log_weights.iter().map(|log| (log - all).exp()).collect();
        self.variance += weights.iter().map(|w| w * w).sum::<f64>() - 1.0 / count;
        let place = Stream::new(seed, Purpose::Chain, ANNEAL | self.rung).uniform(0);
        let drawn: Vec<Particle<T>> =
            systematic(&weights, place).into_iter().map(|i| self.particles[i].clone()).collect();
        let turns = if self.is_done() { LAST_TURNS } else { TURNS };
        let moved =
            workers.map(drawn.into_iter().enumerate().collect(), |(number, particle), evaluator| {
                let stream =
                    Stream::new(seed, Purpose::DataDraw, ANNEAL | self.rung << 16 | number as u32 & 0xffff);
                self.moved(mixture, particle, turns, stream, evaluator)
            })?;
        let accepted = moved.iter().map(|(_, accepted)| accepted).sum::<usize>() as f64;
        let share = accepted / (count * turns as f64);
        if share < ACCEPTED[0] {
            self.step *= 0.7;
        } else if share > ACCEPTED[1] {
            self.step *= 1.2;
        }
        self.particles = moved.into_iter().map(|(particle, _)| particle).collect();
        Ok(())
    }

    /// A particle after some trajectories at this `beta`, and how many were accepted.
    ///
    /// Leapfrog steps are taken in coordinates in which one Gaussian is round: by turns that to which the particle belongs most (a
    /// trajectory that ends with another is refused, as it could not come back), and one that is drawn by weight.
    fn moved(
        &self,
        mixture: &Mixture<'_>,
        mut particle: Particle<T>,
        turns: usize,
        stream: Stream,
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<(Particle<T>, usize)> {
        let dim = particle.z.len();
        // Three uniform numbers and a momentum a turn; an even count, as numbers come in pairs.
        let (numbers, mut accepted) = ((dim as u64 + 5) & !1, 0);
        let mut gradient = particle.z.clone();
        let mut potential = self.potential(mixture, &mut particle, &mut gradient, evaluator)?;
        for turn in 0..turns {
            let first = turn as u64 * numbers;
            let local = turn % 2 == 0;
            let nearest = mixture.nearest(&particle.z);
            let which = if local { nearest } else { mixture.at(stream.uniform(first)) };
            let gaussian = mixture.gaussians[which];
            // The length varies, so that no orbit is its own.
            let step = self.step * (0.7 + 0.6 * stream.uniform(first + 1));
            let mut momentum: Vec<f64> = (0..dim as u64).map(|i| stream.normal(first + 4 + i)).collect();
            let before = potential + 0.5 * vector::norm2(&momentum);
            let (mut next, mut slope) = (particle.clone(), gradient.clone());
            let (mut there, mut after) = (gaussian.whiten(&particle.z), f64::INFINITY);
            for _ in 0..LEAPS {
                vector::axpy(-0.5 * step, &gaussian.round_gradient(&slope), &mut momentum);
                vector::axpy(step, &momentum, &mut there);
                next.z = gaussian.place(&there);
                after = self.potential(mixture, &mut next, &mut slope, evaluator)?;
                if !after.is_finite() {
                    break;
                }
                vector::axpy(-0.5 * step, &gaussian.round_gradient(&slope), &mut momentum);
            }
            let change = before - after - 0.5 * vector::norm2(&momentum);
            let returns = !local || mixture.nearest(&next.z) == nearest;
            if after.is_finite() && returns && stream.uniform(first + 2).ln() < change {
                (particle, potential, gradient) = (next, after, slope);
                accepted += 1;
            }
        }
        Ok((particle, accepted))
    }

    /// `beta H - (1 - beta) ln q` at the particle's place, with its gradient; both densities are kept.
    fn potential(
        &self,
        mixture: &Mixture<'_>,
        particle: &mut Particle<T>,
        gradient: &mut [T],
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<f64> {
        particle.energy = evaluator.energy(&particle.z, gradient)?;
        gradient.iter_mut().for_each(|g| *g = T::of(self.beta * g.f64()));
        let rest = 1.0 - self.beta;
        particle.log_mixture = -mixture.add_gradient(&particle.z, rest, gradient);
        let potential = self.beta * particle.energy - rest * particle.log_mixture;
        Ok(if potential.is_nan() { f64::INFINITY } else { potential })
    }
}

/// The largest `beta` up to one that leaves the effective share.
fn next_beta(beta: f64, ratios: &[f64]) -> f64 {
    let share = |next: f64| {
        let weights = ratios.iter().map(|ratio| (next - beta) * ratio);
        let squares = ratios.iter().map(|ratio| 2.0 * (next - beta) * ratio);
        (2.0 * log_sum(weights) - log_sum(squares)).exp() / ratios.len() as f64
    };
    // With particles that are impossible no step leaves the share: they are weighed out at once.
    let possible = ratios.iter().filter(|ratio| ratio.is_finite()).count() as f64 / ratios.len() as f64;
    let wanted = SHARE * possible;
    let most = (beta + LONGEST).min(1.0);
    if !(share(most) < wanted) {
        return most;
    }
    let (mut low, mut high) = (beta, most);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if share(middle) < wanted { high = middle } else { low = middle }
    }
    if low > beta { low } else { high }
}

/// As many numbers as there are weights, each as often as it weighs: those at evenly spaced places of the unit interval.
fn systematic(weights: &[f64], place: f64) -> Vec<usize> {
    let count = weights.len();
    let (mut below, mut at) = (weights[0], 0);
    let reach = |i: usize| (i as f64 + place) / count as f64;
    (0..count)
        .map(|i| {
            while below < reach(i) && at + 1 < count {
                at += 1;
                below += weights[at];
            }
            at
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_drawn_as_often_as_they_say() {
        assert_eq!(systematic(&[0.5, 0.0, 0.25, 0.25], 0.5), [0, 0, 2, 3]);
        assert_eq!(systematic(&[0.0, 0.0, 1.0], 0.01), [2, 2, 2]);
    }

    #[test]
    fn a_rung_leaves_half_of_the_particles() {
        let ratios: Vec<f64> = (0..100).map(|i| 50.0 * f64::from(i) / 100.0).collect();
        let next = next_beta(0.0, &ratios);
        let weights: Vec<f64> = ratios.iter().map(|ratio| (next * ratio).exp()).collect();
        let (sum, squares): (f64, f64) = (weights.iter().sum(), weights.iter().map(|w| w * w).sum());
        assert!((sum * sum / squares / 100.0 - 0.5).abs() < 1e-6 && next < 1.0);
        assert_eq!(next_beta(0.3, &[2.0; 5]), 0.3 + LONGEST);
        assert_eq!(next_beta(0.95, &[1.0, f64::NEG_INFINITY]), 1.0);
    }
}
