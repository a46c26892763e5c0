//! The particles of a simulation at its end: where they are, and how fast.

use lookback_cosmology::Scalar;
use lookback_operator::vector::{check_finite, dot};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};
use rayon::prelude::*;

use crate::{Error, Result, Run, Simulation, Way};

/// White noise and cosmological parameters to displacements \[Mpc/h\] and peculiar velocities `a dx/dt` \[km/s\] at the end.
///
/// Both blocks have the shape `3 x n x n x n`: components, then particles in the order of their lattice, on which particle
/// `(i, j, k)` began at `(i, j, k) L/n`. Positions are those places and the displacements, modulo the box. The reverse pass is that of the
/// [`Simulation`]. Cost and memory: those of the simulation, without its last paint, and with one force more where the last step ends with a kick.
pub struct Particles<T: Real> {
    simulation: Simulation<T>,
    codomain: Space,
}

impl<T: Real> Particles<T> {
    /// The particles of a simulation.
    ///
    /// # Errors
    /// If the simulation sharpens its particles: what is sharpened has no velocity.
    pub fn new(simulation: Simulation<T>) -> Result<Particles<T>> {
        if simulation.settings().sharpening.is_some() {
            let message = "particles are given as they move: leave out `sharpening`";
            return Err(Error::Setting(message.into()));
        }
        let n = simulation.settings().particles;
        let block = |name: &str, unit: &str| Block::new(name, &[3, n, n, n], unit);
        let codomain = Space::new(vec![block("displacement", "Mpc/h"), block("velocity", "km/s")]);
        Ok(Particles { simulation, codomain })
    }

    /// Bytes that they hold at their peak, beside input and output.
    pub fn memory(&self, way: Way) -> usize {
        // What changes along a tangent is handed on in arrays of its own.
        let more = if way == Way::Tangent { 6 } else { 0 };
        let settings = self.simulation.settings();
        settings.memory::<T>(way) + size_of::<T>() * more * settings.particles.pow(3)
    }

    /// Velocity \[km/s\] of a unit of the schedule's momentum: `a^2 dx/dt` \[H0\] over `a`, 100 km/s a unit.
    fn velocity<S: Scalar>(&self, momentum_unit: S) -> S {
        let times = &self.simulation.settings().times;
        momentum_unit * (100.0 / times[times.len() - 1])
    }
}

/// Particles at a point.
struct Moved<'a, T: Real> {
    particles: &'a Particles<T>,
    run: Run<'a, T>,
}

impl<T: Real> Moved<'_, T> {
    fn check(&self, role: &'static str, found: usize, expected: usize) -> OperatorResult<()> {
        lookback_operator::Error::check_length(|| self.particles.name(), role, found, expected)
    }

    fn unit(&self) -> f64 {
        self.particles.velocity(self.run.schedule().momentum_unit)
    }
}

impl<T: Real> Linearization<T> for Moved<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        self.check("input", x.len(), self.particles.simulation.domain().len())?;
        self.check("output", y.len(), self.particles.codomain.len())?;
        self.run.evolve(x, None)?;
        let unit = T::of(self.unit());
        let [displacement, momentum] = self.run.end();
        let (place, velocity) = y.split_at_mut(displacement.len());
        place.copy_from_slice(displacement);
        velocity.par_iter_mut().zip(momentum).for_each(|(v, p)| *v = unit * *p);
        check_finite("particles", "state", y)
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        self.check("tangent", dx.len(), self.particles.simulation.domain().len())?;
        self.check("output", dy.len(), self.particles.codomain.len())?;
        let parameters = self.run.parameters_of(dx);
        let modes = &dx[..self.particles.simulation.settings().particles.pow(3)];
        let (moved, d_momentum) = self.run.push_state(modes, &parameters, None)?;
        let mut d_unit = 0.0;
        if !self.particles.simulation.free().is_empty() {
            let by = self.particles.velocity(self.run.gradient_unit()?.1).gradient;
            d_unit = by.iter().zip(&parameters).map(|(by, d)| by * d).sum::<f64>();
        }
        let (unit, d_unit) = (T::of(self.unit()), T::of(d_unit));
        let [_, momentum] = self.run.end();
        let (place, velocity) = dy.split_at_mut(moved.len());
        place.copy_from_slice(&moved);
        let rates = d_momentum.par_iter().zip(momentum);
        velocity.par_iter_mut().zip(rates).for_each(|(dv, (dp, p))| *dv = unit * *dp + d_unit * *p);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        self.check("cotangent", dy.len(), self.particles.codomain.len())?;
        self.check("input", dx.len(), self.particles.simulation.domain().len())?;
        let unit = T::of(self.unit());
        let (place_bar, velocity_bar) = dy.split_at(dy.len() / 2);
        let [_, momentum] = self.run.end();
        let unit_bar = dot(momentum, velocity_bar);
        let [x_bar, mut p_bar] = [place_bar, velocity_bar].map(|bar| self.run.copy(bar));
        p_bar.par_iter_mut().for_each(|p| *p *= unit);
        let (white, mut parameters) = self.run.pull_state(x_bar, p_bar, None)?;
        if !self.particles.simulation.free().is_empty() {
            let by = self.particles.velocity(self.run.gradient_unit()?.1).gradient;
            parameters.iter_mut().zip(by).for_each(|(sum, by)| *sum += unit_bar * by);
        }
        self.particles.simulation.write_cotangent(&white, &parameters, dx);
        Ok(())
    }
}

impl<T: Real> Operator<T> for Particles<T> {
    fn name(&self) -> String {
        format!("particles of {}", self.simulation.name())
    }

    fn domain(&self) -> &Space {
        self.simulation.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn apply_into(&self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        // A value alone needs nothing that is kept for derivatives.
        Moved { particles: self, run: self.simulation.run()? }.move_to(x, y)
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.simulation.run() {
            Ok(mut run) => {
                run.expect_derivatives();
                Box::new(Moved { particles: self, run })
            }
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}
