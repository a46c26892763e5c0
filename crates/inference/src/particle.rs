//! Particles: places that know what the data say of them, and that move side by side by Hamiltonian Monte Carlo.

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::{Evaluator, Number, Result};

/// A place, with what the data say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Particle<T> {
    pub z: Vec<T>,
    /// `-ln L` without constants; infinite where `z` is impossible.
    pub misfit: f64,
    /// Its gradient.
    slope: Vec<T>,
}

impl<T: Number> Particle<T> {
    /// Particles at these places.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    pub fn at(places: Vec<Vec<T>>, evaluator: &mut dyn Evaluator<T>) -> Result<Vec<Particle<T>>> {
        let mut gradients = places.clone();
        let points: Vec<&[T]> = places.iter().map(Vec::as_slice).collect();
        let energies = evaluator.energies(&points, &mut gradients)?;
        let made = places.into_iter().zip(gradients).zip(energies);
        Ok(made.map(|((z, gradient), energy)| Particle::of(z, gradient, energy)).collect())
    }

    fn of(z: Vec<T>, mut gradient: Vec<T>, energy: f64) -> Particle<T> {
        let misfit = energy - 0.5 * vector::norm2(&z);
        vector::axpy(-1.0, &z, &mut gradient);
        Particle { misfit: if misfit.is_nan() { f64::INFINITY } else { misfit }, slope: gradient, z }
    }

    /// `|z|^2 / 2 - beta ln L`.
    pub fn energy(&self, beta: f64) -> f64 {
        0.5 * vector::norm2(&self.z) + beta * self.misfit
    }

    fn gradient(&self, beta: f64) -> Vec<T> {
        vector::step(&self.z, beta, &self.slope)
    }
}

/// Coordinates `x` in which a density is about round: `z = R x` and a constant.
pub(crate) trait Round {
    /// `R x`.
    fn along(&self, x: &[f64]) -> Vec<f64>;

    /// `R^T g`: a gradient in these coordinates.
    fn round_gradient<T: Number>(&self, gradient: &[T]) -> Vec<f64>;
}

/// How a particle sets out.
pub(crate) struct Start<'c, C> {
    /// The coordinates in which it moves, its momentum there and the length of a step.
    pub coordinates: &'c C,
    pub momentum: Vec<f64>,
    pub step: f64,
    /// A uniform number that decides whether it stays.
    pub decision: f64,
}

/// A particle under way.
struct Traveller<T> {
    at: Particle<T>,
    place: Vec<f64>,
    momentum: Vec<f64>,
    /// The energy, kinetic and potential, with which it set out.
    before: f64,
    /// It came to where nothing is possible.
    lost: bool,
}

/// Moves each particle along one trajectory of `leaps` leapfrog steps of the energy at `beta`, accepted or refused (Duane et al. 1987), and says which were
/// accepted. All are evaluated together, step by step.
///
/// # Errors
/// If the model cannot be evaluated.
pub(crate) fn travel<T: Number, C: Round>(
    particles: &mut [Particle<T>],
    starts: Vec<Start<'_, C>>,
    (leaps, beta): (usize, f64),
    evaluator: &mut dyn Evaluator<T>,
) -> Result<Vec<bool>> {
    let set_out = |(particle, start): (&Particle<T>, &Start<'_, C>)| Traveller {
        at: particle.clone(),
        place: particle.z.iter().map(|z| z.f64()).collect(),
        momentum: start.momentum.clone(),
        before: particle.energy(beta) + 0.5 * vector::norm2(&start.momentum),
        lost: false,
    };
    let mut travellers: Vec<Traveller<T>> = particles.iter().zip(&starts).map(set_out).collect();
    for _ in 0..leaps {
        let under_way = travellers.iter_mut().zip(&starts).filter(|(traveller, _)| !traveller.lost);
        let mut under_way: Vec<(&mut Traveller<T>, &Start<'_, C>)> = under_way.collect();
        let leave =
            |(traveller, start): &mut (&mut Traveller<T>, &Start<'_, C>)| traveller.leave(start, beta);
        let places = under_way.iter_mut().map(leave).collect();
        let found = Particle::at(places, evaluator)?;
        under_way
            .into_iter()
            .zip(found)
            .for_each(|((traveller, start), at)| traveller.reach(at, start, beta));
    }
    let arrive = |((particle, traveller), start): ((&mut Particle<T>, Traveller<T>), &Start<'_, C>)| {
        let change = traveller.before - traveller.at.energy(beta) - 0.5 * vector::norm2(&traveller.momentum);
        let accepted = !traveller.lost && start.decision.ln() < change;
        if accepted {
            *particle = traveller.at;
        }
        accepted
    };
    Ok(particles.iter_mut().zip(travellers).zip(&starts).map(arrive).collect())
}

impl<T: Number> Traveller<T> {
    /// Half a step of the momentum.
    fn kick<C: Round>(&mut self, start: &Start<'_, C>, beta: f64) {
        let slope = start.coordinates.round_gradient(&self.at.gradient(beta));
        vector::axpy(-0.5 * start.step, &slope, &mut self.momentum);
    }

    /// The first half of a leapfrog step, and where it leads.
    fn leave<C: Round>(&mut self, start: &Start<'_, C>, beta: f64) -> Vec<T> {
        self.kick(start, beta);
        vector::axpy(start.step, &start.coordinates.along(&self.momentum), &mut self.place);
        self.place.iter().map(|place| T::of(*place)).collect()
    }

    /// Its second half.
    fn reach<C: Round>(&mut self, at: Particle<T>, start: &Start<'_, C>, beta: f64) {
        self.lost = !at.energy(beta).is_finite();
        self.at = at;
        if !self.lost {
            self.kick(start, beta);
        }
    }
}
