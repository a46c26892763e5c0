//! Sequential Monte Carlo: particles that are cooled from the prior to the posterior (Neal 2001; Del Moral, Doucet & Jasra 2006).

use std::ops::Range;

use lookback_operator::random::{Purpose, Stream};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::importance::log_sum;
use crate::options::at_least_one;
use crate::particle::{Particle, Round, Start, travel};
use crate::{Draw, Error, Evaluator, Method, Number, Progress, Result, Workers};

/// Options of [`Smc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmcOptions {
    /// Particles; all are handed out at the end.
    pub particles: usize,
    /// Share of the particles that still count, as an effective number, when they are weighted for the next rung: sets how far apart
    /// rungs are.
    pub overlap: f64,
    /// Trajectories of Hamiltonian Monte Carlo that every particle makes at a rung.
    pub moves: usize,
    /// The same at the posterior.
    pub final_moves: usize,
    /// Steps of a trajectory.
    pub leaps: usize,
    /// Acceptance that the step size aims at.
    pub target_acceptance: f64,
    /// Most rungs.
    pub max_rungs: usize,
}

impl Default for SmcOptions {
    fn default() -> Self {
        SmcOptions {
            particles: 1000,
            overlap: 0.5,
            moves: 3,
            final_moves: 10,
            leaps: 5,
            target_acceptance: 0.75,
            max_rungs: 200,
        }
    }
}

/// Most particles: each has random numbers of its own.
const MOST_PARTICLES: usize = 1 << 16;
/// Fewest draws of the prior that must be possible.
const FEWEST: usize = 10;
/// Length of the first leapfrog steps in widths, times the fourth root of the dimension.
const STEP: f64 = 0.8;
/// Particles a latent from which a full covariance is learned, and most latents that get one.
const ENOUGH: usize = 4;
const MOST: usize = 500;
/// Bits of the streams' numbers that count particles.
const PARTICLE_BITS: u32 = 16;

/// Samples the ladder `p_beta(z) ~ N(z; 0, 1) L(z)^beta` from the prior (`beta` = 0) to the posterior (`beta` = 1) with a crowd of
/// particles: at each rung they are weighted by `L^(beta' - beta)`, drawn again by these weights (systematically), and moved by Hamiltonian
/// Monte Carlo, each half in coordinates in which the other half is round. The product of the mean weights is the evidence; its error is that of the sizes of
/// the families that draws of the prior have left (Lee & Whiteley 2018, Biometrika 105, 609), or of the weights, whichever is larger.
///
/// Modes keep the shares that their parts of the prior lead to, whether or not anything moves between them: this is the method for
/// posteriors of few latents with several modes, or with shapes that no Gaussian has. Particles of one origin resemble each other, so
/// that errors are larger than those of as many independent samples, if moves are few: `ancestors` counts the draws of the prior that are
/// left, and `effective_particles` is what they are worth if nothing moved. Particles are handed out in random order.
///
/// Cost: `particles rungs moves leaps` gradients, many places at once; rungs grow with the root of the dimension times the information gained.
/// Memory: two latents a particle, twice while they move, and a full covariance of up to 500 latents (widths alone beyond).
///
/// Where rungs are many (dozens of latents that the data know well), the error of the evidence counts on moves that mix: raise `moves` until
/// it stays.
///
/// When not to use it: hundreds of latents and more (`nuts`), and where one mode is plainly enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Smc<T: Number> {
    options: SmcOptions,
    seed: u64,
    particles: Vec<Particle<T>>,
    /// Which draw of the prior each particle comes from.
    ancestors: Vec<u32>,
    beta: f64,
    rungs: u32,
    step: f64,
    /// `ln integral N(z; 0, 1) L dz` so far, and the relative variance of its exponential.
    log_integral: f64,
    variance: f64,
    accepted: f64,
    log_constant: f64,
    handed: bool,
}

impl<T: Number> Smc<T> {
    /// A crowd that has not been drawn.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: SmcOptions, seed: u64) -> Result<Smc<T>> {
        at_least_one(&[
            ("moves", options.moves),
            ("final_moves", options.final_moves),
            ("leaps", options.leaps),
            ("max_rungs", options.max_rungs),
        ])?;
        if !(2 * FEWEST..=MOST_PARTICLES).contains(&options.particles) {
            return Err(Error::Option(format!(
                "`particles` must lie between {} and {MOST_PARTICLES}, and is {}",
                2 * FEWEST,
                options.particles
            )));
        }
        for (name, share) in [("overlap", options.overlap), ("target_acceptance", options.target_acceptance)]
        {
            if !(share > 0.0 && share < 1.0) {
                return Err(Error::Option(format!("`{name}` must lie between 0 and 1, and is {share}")));
            }
        }
        Ok(Smc {
            options,
            seed,
            particles: Vec::new(),
            ancestors: Vec::new(),
            beta: 0.0,
            rungs: 0,
            step: 0.0,
            log_integral: 0.0,
            variance: 0.0,
            accepted: f64::NAN,
            log_constant: 0.0,
            handed: false,
        })
    }

    /// How many draws of the prior have descendants, and the sum of the squares of these families' shares. Relatives stand together.
    fn families(&self) -> (usize, f64) {
        let families = self.ancestors.chunk_by(|a, b| a == b).map(|family| family.len() as f64);
        let count = self.ancestors.len().max(1) as f64;
        (families.clone().count(), families.map(|size| (size / count).powi(2)).sum())
    }

    /// Draws of the prior.
    fn begin(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let (count, dim) = (self.options.particles, workers.dim());
        let draw = |number: usize| {
            let mut z = vec![T::zero(); dim];
            Stream::new(self.seed, Purpose::PriorDraw, number as u32).fill_normal(&mut z);
            z
        };
        let at = |crowd: Range<usize>, evaluator: &mut dyn Evaluator<T>| {
            Particle::at(crowd.map(draw).collect(), evaluator)
        };
        let particles: Vec<Particle<T>> =
            workers.map(workers.crowds(0..count), at)?.into_iter().flatten().collect();
        if particles.iter().filter(|particle| particle.misfit.is_finite()).count() < FEWEST {
            return Err(workers.impossible(&draw(0)));
        }
        self.particles = particles;
        self.ancestors = (0..count as u32).collect();
        self.step = STEP / (dim as f64).powf(0.25);
        self.log_constant = -workers.target().normalisation();
        Ok(())
    }

    /// The next rung: weights, a new draw, and moves.
    fn climb(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let misfits: Vec<f64> = self.particles.iter().map(|particle| particle.misfit).collect();
        let beta = next_beta(self.beta, &misfits, self.options.overlap);
        if !(beta > self.beta) || self.rungs as usize == self.options.max_rungs {
            return Err(Error::NotConverged(format!(
                "{} rungs reached only beta = {:.3e}: allow more with `max_rungs`, or a smaller `overlap`",
                self.rungs, self.beta
            )));
        }
        let log_weights: Vec<f64> = misfits.iter().map(|misfit| -(beta - self.beta) * misfit).collect();
        let (all, count) = (log_sum(log_weights.iter().copied()), misfits.len() as f64);
        let weights: Vec<f64> = log_weights.iter().map(|log| (log - all).exp()).collect();
        let rung = self.rungs + 1;
        let chosen =
            systematic(&weights, Stream::new(self.seed, Purpose::Chain, rung << PARTICLE_BITS).uniform(0));
        let mut next = Smc {
            particles: chosen.iter().map(|&i| self.particles[i].clone()).collect(),
            ancestors: chosen.iter().map(|&i| self.ancestors[i]).collect(),
            beta,
            rungs: rung,
            log_integral: self.log_integral + all - count.ln(),
            variance: self.variance + weights.iter().map(|w| w * w).sum::<f64>() - 1.0 / count,
            options: self.options.clone(),
            ..*self
        };
        next.move_all(workers)?;
        *self = next;
        Ok(())
    }

    /// Moves of all particles at the rung they have reached.
    fn move_all(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let moves = if self.beta == 1.0 { self.options.final_moves } else { self.options.moves };
        let mut accepted = 0.0;
        let half = self.particles.len() / 2;
        for turn in 0..moves {
            let mut moved_here = 0;
            // Each half moves in coordinates of the other: in those of its own, a particle would stretch them as it goes, and no density
            // would stay as it is.
            for (mine, other) in
                [(0..half, half..self.particles.len()), (half..self.particles.len(), 0..half)]
            {
                let coordinates = Coordinates::of(&self.particles[other]);
                let moved = workers.map(workers.crowds(mine.clone()), |crowd, evaluator| {
                    let mut particles = self.particles[crowd.clone()].to_vec();
                    let starts = crowd.map(|number| self.start(number, turn, &coordinates)).collect();
                    let accepted = travel(
                        &mut particles,
                        starts,
                        (self.options.leaps, self.beta),
                        |_, _| true,
                        evaluator,
                    )?;
                    Ok((particles, accepted))
                })?;
                let (moved, accepted): (Vec<_>, Vec<_>) = moved.into_iter().unzip();
                self.particles.splice(mine, moved.into_iter().flatten());
                moved_here += accepted.iter().flatten().filter(|accepted| **accepted).count();
            }
            let share = moved_here as f64 / self.particles.len() as f64;
            accepted += share / moves as f64;
            self.step *= (share - self.options.target_acceptance).exp();
        }
        self.accepted = accepted;
        Ok(())
    }

    /// How particle `number` sets out.
    fn start<'c>(&self, number: usize, turn: usize, coordinates: &'c Coordinates) -> Start<'c, Coordinates> {
        let dim = self.particles[number].z.len() as u64;
        let stream = Stream::new(self.seed, Purpose::DataDraw, self.rungs << PARTICLE_BITS | number as u32);
        // Two uniform numbers and a momentum a turn; an even count, as numbers come in pairs.
        let first = turn as u64 * ((dim + 3) & !1);
        Start {
            coordinates,
            momentum: (0..dim).map(|i| stream.normal(first + 2 + i)).collect(),
            // The length varies, so that no orbit is its own.
            step: self.step * (0.6 + 0.8 * stream.uniform(first)),
            decision: stream.uniform(first + 1),
        }
    }
}

/// Coordinates in which a crowd is round: `z = R x`, with `R R^T` its covariance.
enum Coordinates {
    Full(DMatrix<f64>),
    Widths(Vec<f64>),
}

impl Coordinates {
    fn of<T: Number>(particles: &[Particle<T>]) -> Coordinates {
        let (count, dim) = (particles.len() as f64, particles[0].z.len());
        let mut mean = vec![0.0; dim];
        for particle in particles {
            mean.iter_mut().zip(&particle.z).for_each(|(mean, z)| *mean += z.f64() / count);
        }
        let mut widths = vec![0.0; dim];
        for particle in particles {
            let offsets = particle.z.iter().zip(&mean).map(|(z, mean)| z.f64() - mean);
            widths.iter_mut().zip(offsets).for_each(|(width, offset)| *width += offset * offset / count);
        }
        // Never quite flat: a crowd of one origin would not move.
        widths.iter_mut().for_each(|width| *width = width.max(1e-12).sqrt());
        if dim > MOST || particles.len() < ENOUGH * dim {
            return Coordinates::Widths(widths);
        }
        let offsets = DMatrix::from_fn(dim, particles.len(), |i, k| {
            (particles[k].z[i].f64() - mean[i]) / widths[i] / count.sqrt()
        });
        let correlation = &offsets * offsets.transpose() + DMatrix::identity(dim, dim) * 1e-6;
        match correlation.cholesky() {
            None => Coordinates::Widths(widths),
            Some(root) => {
                let mut root = root.unpack();
                root.row_iter_mut().zip(&widths).for_each(|(mut row, width)| row *= *width);
                Coordinates::Full(root)
            }
        }
    }
}

impl Round for Coordinates {
    fn along(&self, x: &[f64]) -> Vec<f64> {
        match self {
            Coordinates::Widths(widths) => x.iter().zip(widths).map(|(x, width)| x * width).collect(),
            Coordinates::Full(root) => {
                (0..x.len()).map(|i| (0..=i).map(|j| root[(i, j)] * x[j]).sum()).collect()
            }
        }
    }

    fn round_gradient<T: Number>(&self, gradient: &[T]) -> Vec<f64> {
        match self {
            Coordinates::Widths(widths) => {
                gradient.iter().zip(widths).map(|(g, width)| g.f64() * width).collect()
            }
            Coordinates::Full(root) => (0..gradient.len())
                .map(|j| (j..gradient.len()).map(|i| root[(i, j)] * gradient[i].f64()).sum())
                .collect(),
        }
    }
}

/// The largest `beta` up to one that leaves the effective share of the particles that are possible.
fn next_beta(beta: f64, misfits: &[f64], overlap: f64) -> f64 {
    let share = |next: f64| {
        let weights = misfits.iter().map(|misfit| -(next - beta) * misfit);
        let squares = misfits.iter().map(|misfit| -2.0 * (next - beta) * misfit);
        (2.0 * log_sum(weights) - log_sum(squares)).exp() / misfits.len() as f64
    };
    let possible = misfits.iter().filter(|misfit| misfit.is_finite()).count() as f64 / misfits.len() as f64;
    let wanted = overlap * possible;
    if !(share(1.0) < wanted) {
        return 1.0;
    }
    let (mut low, mut high) = (beta, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if share(middle) < wanted { high = middle } else { low = middle }
    }
    low
}

/// As many numbers as there are weights, each as often as it weighs: those at evenly spaced places of the unit interval.
fn systematic(weights: &[f64], place: f64) -> Vec<usize> {
    let count = weights.len();
    let (mut below, mut at) = (weights[0], 0);
    (0..count)
        .map(|i| {
            while below < (i as f64 + place) / count as f64 && at + 1 < count {
                at += 1;
                below += weights[at];
            }
            at
        })
        .collect()
}

impl<T: Number> Method<T> for Smc<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        let message = if self.particles.is_empty() {
            self.begin(workers)?;
            format!("{} draws of the prior", self.particles.len())
        } else if self.beta < 1.0 {
            self.climb(workers)?;
            format!("rung {}: beta = {:.3e}, {:.0} % accepted", self.rungs, self.beta, 100.0 * self.accepted)
        } else {
            // Particles of one origin stand together: the first few would be relatives.
            let order = Stream::new(self.seed, Purpose::Chain, 0).order(self.particles.len());
            for particle in order.into_iter().map(|i| &self.particles[i]) {
                sink(Draw::independent(particle.z.clone(), Some(particle.energy(1.0))));
            }
            self.handed = true;
            "all particles".into()
        };
        // How many rungs are left is seen only on the way.
        let left = if self.handed { 0 } else { 1 };
        let steps = (u64::from(self.rungs), u64::from(self.rungs) + left);
        Ok(Progress { steps, message, done: self.handed })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        if self.ancestors.is_empty() {
            return Vec::new();
        }
        let (families, concentration) = self.families();
        // What the families would scatter by chance alone does not count.
        let lineage = concentration - f64::from(self.rungs + 1) / self.ancestors.len() as f64;
        vec![
            ("rungs".into(), f64::from(self.rungs)),
            ("acceptance".into(), self.accepted),
            ("ancestors".into(), families as f64),
            ("effective_particles".into(), 1.0 / concentration),
            ("log_evidence".into(), self.log_integral + self.log_constant),
            ("log_evidence_error".into(), self.variance.max(lineage).sqrt()),
        ]
    }
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
    fn a_rung_leaves_the_wanted_share_of_the_particles() {
        let misfits: Vec<f64> = (0..100).map(|i| 0.5 * f64::from(i)).collect();
        let next = next_beta(0.0, &misfits, 0.5);
        let weights: Vec<f64> = misfits.iter().map(|misfit| (-next * misfit).exp()).collect();
        let (sum, squares): (f64, f64) = (weights.iter().sum(), weights.iter().map(|w| w * w).sum());
        assert!((sum * sum / squares / 100.0 - 0.5).abs() < 1e-6 && next < 1.0);
        assert_eq!(next_beta(0.3, &[2.0; 5], 0.5), 1.0);
        assert_eq!(next_beta(0.0, &[1.0, f64::INFINITY], 0.5), 1.0);
    }
}
