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
struct Traveller<'c, T, C> {
    at: Particle<T>,
    place: Vec<f64>,
    start: Start<'c, C>,
    /// The energy, kinetic and potential, with which it set out.
    before: f64,
    /// It came to where nothing is possible.
    lost: bool,
}

/// Moves each particle along one trajectory of `leaps` leapfrog steps of the energy at `beta`, accepted or refused (Duane et al. 1987), and says which were
/// accepted. All are evaluated together, step by step. A particle that comes where it `may` not stay is refused.
///
/// # Errors
/// If the model cannot be evaluated.
pub(crate) fn travel<T: Number, C: Round>(
    particles: &mut [Particle<T>],
    starts: Vec<Start<'_, C>>,
    (leaps, beta): (usize, f64),
    may: impl Fn(usize, &[T]) -> bool,
    evaluator: &mut dyn Evaluator<T>,
) -> Result<Vec<bool>> {
    let starts = particles.iter().zip(starts);
    let mut travellers: Vec<_> =
        starts.map(|(particle, start)| Traveller::set_out(particle, start, beta)).collect();
    for _ in 0..leaps {
        let mut under_way: Vec<_> = travellers.iter_mut().filter(|traveller| !traveller.lost).collect();
        let places = under_way.iter_mut().map(|traveller| traveller.leave(beta)).collect();
        let found = Particle::at(places, evaluator)?;
        under_way.into_iter().zip(found).for_each(|(traveller, at)| traveller.reach(at, beta));
    }
    let arrive = |(number, (particle, traveller)): (usize, (&mut Particle<T>, Traveller<'_, T, C>))| {
        let Traveller { at, start, before, lost, .. } = traveller;
        let change = before - at.energy(beta) - 0.5 * vector::norm2(&start.momentum);
        let accepted = !lost && start.decision.ln() < change && may(number, &at.z);
        if accepted {
            *particle = at;
        }
        accepted
    };
    Ok(particles.iter_mut().zip(travellers).enumerate().map(arrive).collect())
}

impl<'c, T: Number, C: Round> Traveller<'c, T, C> {
    fn set_out(particle: &Particle<T>, start: Start<'c, C>, beta: f64) -> Traveller<'c, T, C> {
        Traveller {
            at: particle.clone(),
            place: particle.z.iter().map(|z| z.f64()).collect(),
            before: particle.energy(beta) + 0.5 * vector::norm2(&start.momentum),
            start,
            lost: false,
        }
    }

    /// Half a step of the momentum.
    fn kick(&mut self, beta: f64) {
        let slope = self.start.coordinates.round_gradient(&self.at.gradient(beta));
        vector::axpy(-0.5 * self.start.step, &slope, &mut self.start.momentum);
    }

    /// The first half of a leapfrog step, and where it leads.
    fn leave(&mut self, beta: f64) -> Vec<T> {
        self.kick(beta);
        let along = self.start.coordinates.along(&self.start.momentum);
        vector::axpy(self.start.step, &along, &mut self.place);
        self.place.iter().map(|place| T::of(*place)).collect()
    }

    /// Its second half.
    fn reach(&mut self, at: Particle<T>, beta: f64) {
        self.lost = !at.energy(beta).is_finite();
        self.at = at;
        if !self.lost {
            self.kick(beta);
        }
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};

    use super::*;

    /// Normal numbers beside a wall.
    struct Walled;

    impl Evaluator<f64> for Walled {
        fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
            gradient.copy_from_slice(z);
            Ok(if z[0] > 1.0 { f64::INFINITY } else { 0.5 * vector::norm2(z) })
        }
    }

    struct Stretched;

    impl Round for Stretched {
        fn along(&self, x: &[f64]) -> Vec<f64> {
            vec![2.0 * x[0], x[1]]
        }

        fn round_gradient<T: Number>(&self, gradient: &[T]) -> Vec<f64> {
            vec![2.0 * gradient[0].f64(), gradient[1].f64()]
        }
    }

    fn start(number: u32) -> Start<'static, Stretched> {
        let stream = Stream::new(1, Purpose::Test, number);
        let momentum = vec![stream.normal(0), stream.normal(1)];
        Start { coordinates: &Stretched, momentum, step: 0.3, decision: stream.uniform(2) }
    }

    #[test]
    fn particles_move_side_by_side_as_each_alone() {
        let places = |numbers: std::ops::Range<u32>| {
            numbers.map(|i| vec![0.9 - 0.05 * f64::from(i), 0.1 * f64::from(i)]).collect()
        };
        let above = |_: usize, z: &[f64]| z[1] > -1.0;
        let mut together = Particle::at(places(0..40), &mut Walled).expect("possible");
        let before = together.clone();
        let accepted = travel(&mut together, (0..40).map(start).collect(), (6, 0.7), above, &mut Walled)
            .expect("possible");
        for number in 0..40 {
            let mut alone = Particle::at(places(number..number + 1), &mut Walled).expect("possible");
            let moved =
                travel(&mut alone, vec![start(number)], (6, 0.7), above, &mut Walled).expect("possible");
            let place = number as usize;
            assert_eq!((&alone[0], moved[0]), (&together[place], accepted[place]), "particle {number}");
            assert!(alone[0].z[0] <= 1.0 && (!moved[0] || alone[0].z[1] > -1.0));
            assert_eq!(moved[0], together[place] != before[place]);
        }
        let count = accepted.iter().filter(|accepted| **accepted).count();
        assert!((5..38).contains(&count), "{count} of 40 moved: some walk into the wall");
    }
}
