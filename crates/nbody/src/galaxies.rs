//! Galaxies of a simulation: biased by the density that they were born in, seen in redshift space.

use lookback_cosmology::{Bias, Cosmology, Scalar};
use lookback_operator::vector::{axpy, check_finite, dot};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};
use rayon::prelude::*;

use crate::{Error, PerParameter, Result, Run, Simulation, Way};

/// Names of the parameters of a [`Bias`], as they are called where they are free.
pub const BIAS_PARAMETERS: [&str; 2] = ["b1", "b2"];

/// Galaxies for each particle, from the linear density at `D1 = 1` and the growth; and the mean square of that density.
pub fn galaxy_weights<T: Real>(bias: Bias, linear: &[T], growth: f64) -> (Vec<T>, f64) {
    let variance = dot(linear, linear) / linear.len() as f64;
    let weight = |delta: &T| {
        let delta = delta.f64();
        let excess = delta * delta - variance;
        T::of(1.0 + bias.b1 * growth * delta + 0.5 * bias.b2 * growth * growth * excess)
    };
    (linear.par_iter().map(weight).collect(), variance)
}

/// What `a^2 dx/dt` \[H0 Mpc/h\] adds to a position in redshift space, as a displacement: `v / (a H) = p / (a^2 E)`
/// (Kaiser 1987).
pub fn redshift_shift<S: Scalar>(cosmology: &Cosmology<S>, a: f64) -> S {
    S::of(1.0) / (cosmology.history().e(a) * (a * a))
}

/// White noise, cosmological parameters and bias to the density contrast of galaxies on the force mesh at the end.
///
/// In redshift space particles are moved along the last axis by `v / (a H)`, their peculiar velocity in units of the
/// expansion (Kaiser 1987), as seen by a distant observer. The matter is that of the [`Simulation`], and so are derivatives:
/// the reverse pass runs it backwards. Cost beside it: one transform of the lattice, one paint. Memory: five numbers a
/// particle more, eleven in reverse.
pub struct Galaxies<T: Real> {
    simulation: Simulation<T>,
    bias: Bias,
    bias_is_free: bool,
    redshift_space: bool,
    domain: Space,
    codomain: Space,
}

impl<T: Real> Galaxies<T> {
    /// The galaxies of a simulation; with `bias_is_free`, the two numbers follow the other parameters as `b1` and `b2`.
    ///
    /// # Errors
    /// If a number is not finite, or the simulation sharpens its particles.
    pub fn new(
        simulation: Simulation<T>,
        bias: Bias,
        bias_is_free: bool,
        redshift_space: bool,
    ) -> Result<Galaxies<T>> {
        bias.check()?;
        if simulation.settings().sharpening.is_some() {
            let message = "galaxies are painted from particles as they move: leave out `sharpening`";
            return Err(Error::Setting(message.into()));
        }
        let free = BIAS_PARAMETERS.iter().filter(|_| bias_is_free).map(|name| Block::new(*name, &[], ""));
        let domain = simulation.domain().join(&Space::new(free.collect()));
        let codomain = Space::single("delta_g", &[simulation.settings().cells; 3], "");
        Ok(Galaxies { simulation, bias, bias_is_free, redshift_space, domain, codomain })
    }

    /// Bytes at the peak, as of [`Settings::memory`](crate::Settings::memory).
    pub fn memory(&self, way: Way) -> usize {
        let more = if way.derives() { 11 } else { 5 };
        let settings = self.simulation.settings();
        settings.memory::<T>(way) + size_of::<T>() * more * settings.particles.pow(3)
    }

    /// The matter behind the galaxies.
    pub fn simulation(&self) -> &Simulation<T> {
        &self.simulation
    }

    /// A point of the simulation's domain, followed by the bias if it is free.
    pub fn point(&self, modes: &[T]) -> Vec<T> {
        let mut x = self.simulation.point(modes);
        if self.bias_is_free {
            x.extend([T::of(self.bias.b1), T::of(self.bias.b2)]);
        }
        x
    }

    /// `D1` at the end, and the displacement in redshift space per momentum of the schedule.
    fn factors<S: Scalar>(&self, cosmology: &Cosmology<S>, momentum_unit: S) -> [S; 2] {
        let times = &self.simulation.settings().times;
        let a = times[times.len() - 1];
        let shift = momentum_unit * redshift_shift(cosmology, a);
        [cosmology.instant(a).d1.d, if self.redshift_space { shift } else { S::of(0.0) }]
    }
}

/// Galaxies at a point.
struct Seen<'a, T: Real> {
    galaxies: &'a Galaxies<T>,
    run: Run<'a, T>,
    bias: Bias,
    growth: f64,
    shift: f64,
    /// Linear density on the lattice, and its mean square.
    delta: Vec<T>,
    variance: f64,
    /// Displacements in redshift space.
    place: Vec<T>,
    weight: Vec<T>,
}

impl<T: Real> Seen<'_, T> {
    fn check(&self, role: &'static str, found: usize, expected: usize) -> OperatorResult<()> {
        lookback_operator::Error::check_length(|| self.galaxies.name(), role, found, expected)
    }

    /// Splits a vector of the domain into that of the simulation and the bias.
    fn split<'x>(&self, x: &'x [T]) -> (&'x [T], [f64; 2]) {
        let (rest, bias) = x.split_at(self.galaxies.simulation.domain().len());
        (rest, if bias.len() == 2 { [bias[0].f64(), bias[1].f64()] } else { [0.0; 2] })
    }

    /// `d weight / d delta` of a particle, but for what it gives to the mean square.
    fn slope(&self, delta: f64) -> f64 {
        self.bias.b1 * self.growth + self.bias.b2 * self.growth.powi(2) * delta
    }

    /// `d weight` by bias and growth.
    fn by_numbers(&self, delta: f64) -> [f64; 3] {
        let (d, excess) = (self.growth, delta * delta - self.variance);
        [d * delta, 0.5 * d * d * excess, self.bias.b1 * delta + self.bias.b2 * d * excess]
    }

    fn scale(&self) -> T {
        let cloud = self.run.cloud();
        T::of(cloud.mesh_len() as f64 / cloud.particles() as f64)
    }
}

/// Moves the last component of vectors by the share of the momenta.
fn shifted<T: Real>(x: &[T], p: &[T], shift: f64) -> Vec<T> {
    let mut out = x.to_vec();
    let last = 2 * x.len() / 3;
    let shift = T::of(shift);
    out[last..].par_iter_mut().zip(&p[last..]).for_each(|(x, p)| *x += shift * *p);
    out
}

impl<T: Real> Linearization<T> for Seen<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        self.check("input", x.len(), self.galaxies.domain.len())?;
        self.check("output", y.len(), self.galaxies.codomain.len())?;
        check_finite("galaxies", "input", x)?;
        let (inside, [b1, b2]) = self.split(x);
        self.bias = if self.galaxies.bias_is_free { Bias { b1, b2 } } else { self.galaxies.bias };
        self.run.evolve(inside, None)?;
        [self.growth, self.shift] =
            self.galaxies.factors(self.run.cosmology(), self.run.schedule().momentum_unit);
        self.delta = self.run.linear_density();
        (self.weight, self.variance) = galaxy_weights(self.bias, &self.delta, self.growth);
        let [x, p] = self.run.end();
        self.place = shifted(x, p, self.shift);
        self.run.cloud().paint_values(&self.place, &self.weight, y);
        let scale = self.scale();
        y.par_iter_mut().for_each(|y| *y = *y * scale - T::one());
        check_finite("galaxies", "density", y)
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        self.check("tangent", dx.len(), self.galaxies.domain.len())?;
        self.check("output", dy.len(), self.galaxies.codomain.len())?;
        let (inside, d_bias) = self.split(dx);
        let parameters = self.run.parameters_of(inside);
        let (modes, n) = (&inside[..self.delta.len()], self.delta.len());
        let (moved, d_momentum) = self.run.push_state(modes, &parameters, None)?;
        let mut numbers = [d_bias[0], d_bias[1], 0.0];
        let mut d_shift = 0.0;
        if !self.galaxies.simulation.free().is_empty() {
            let (cosmology, unit) = self.run.gradient_unit()?;
            let along = |g: &lookback_cosmology::Gradient| {
                g.gradient.iter().zip(&parameters).map(|(g, d)| g * d).sum::<f64>()
            };
            let factors = self.galaxies.factors(&cosmology, unit);
            (numbers[2], d_shift) = (along(&factors[0]), along(&factors[1]));
        }
        let d_delta = self.run.push_linear_density(modes, &parameters)?;
        let d_variance = 2.0 * dot(&self.delta, &d_delta) / n as f64;
        let by_variance = -0.5 * self.bias.b2 * self.growth.powi(2) * d_variance;
        let d_weight: Vec<T> = (0..n)
            .into_par_iter()
            .map(|i| {
                let delta = self.delta[i].f64();
                let by_numbers = self.by_numbers(delta).iter().zip(numbers).map(|(a, b)| a * b).sum::<f64>();
                T::of(self.slope(delta) * d_delta[i].f64() + by_numbers + by_variance)
            })
            .collect();
        let mut d_place = shifted(&moved, &d_momentum, self.shift);
        let [_, momentum] = self.run.end();
        d_place = shifted(&d_place, momentum, d_shift);
        // A weighted particle that moves paints as much as one of weight one that moves by its weight.
        for component in d_place.chunks_mut(n) {
            component.par_iter_mut().zip(&self.weight).for_each(|(dx, w)| *dx *= *w);
        }
        let cloud = self.run.cloud();
        let mut by_place = vec![T::zero(); dy.len()];
        cloud.paint_push(&self.place, &d_place, &mut by_place);
        cloud.paint_values(&self.place, &d_weight, dy);
        let scale = self.scale();
        dy.par_iter_mut().zip(&by_place).for_each(|(dy, by)| *dy = (*dy + *by) * scale);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        self.check("cotangent", dy.len(), self.galaxies.codomain.len())?;
        self.check("input", dx.len(), self.galaxies.domain.len())?;
        let (n, scale) = (self.delta.len(), self.scale());
        let [mut x_bar, mut p_bar] = [self.run.zeros(), self.run.zeros()];
        let cloud = self.run.cloud();
        let mut weight_bar = vec![T::zero(); n];
        cloud.read(&self.place, dy, &mut weight_bar);
        weight_bar.par_iter_mut().for_each(|w| *w *= scale);
        cloud.gradient(&self.place, dy, Some(&self.weight), scale, &mut x_bar);
        let shift = T::of(self.shift);
        p_bar[2 * n..].par_iter_mut().zip(&x_bar[2 * n..]).for_each(|(p, x)| *p = shift * *x);
        let [_, momentum] = self.run.end();
        let shift_bar = dot(&momentum[2 * n..], &x_bar[2 * n..]);
        // The mean square of the density belongs to all.
        let total: f64 = weight_bar.iter().map(|w| w.f64()).sum::<f64>() / n as f64;
        let by_variance = self.bias.b2 * self.growth.powi(2) * total;
        let delta_bar: Vec<T> = (0..n)
            .into_par_iter()
            .map(|i| {
                let delta = self.delta[i].f64();
                T::of(self.slope(delta) * weight_bar[i].f64() - by_variance * delta)
            })
            .collect();
        let mut numbers_bar = [0.0; 3];
        for (delta, bar) in self.delta.iter().zip(&weight_bar) {
            let by = self.by_numbers(delta.f64());
            numbers_bar.iter_mut().zip(by).for_each(|(sum, by)| *sum += by * bar.f64());
        }
        let (by_density, by_parameters) = self.run.pull_linear_density(&delta_bar)?;
        let (mut white, mut parameters) = self.run.pull_state(x_bar, p_bar, None)?;
        if !self.galaxies.simulation.free().is_empty() {
            let (cosmology, unit) = self.run.gradient_unit()?;
            let factors = self.galaxies.factors(&cosmology, unit);
            let add = |parameters: &mut PerParameter, bar: f64, by: &[f64]| {
                parameters.iter_mut().zip(by).for_each(|(sum, by)| *sum += bar * by);
            };
            add(&mut parameters, numbers_bar[2], &factors[0].gradient);
            add(&mut parameters, shift_bar, &factors[1].gradient);
            add(&mut parameters, 1.0, &by_parameters);
        }
        axpy(1.0, &by_density, &mut white);
        let (inside, bias_bar) = dx.split_at_mut(self.galaxies.simulation.domain().len());
        self.galaxies.simulation.write_cotangent(&white, &parameters, inside);
        bias_bar.iter_mut().zip(numbers_bar).for_each(|(out, bar)| *out = T::of(bar));
        Ok(())
    }
}

impl<T: Real> Galaxies<T> {
    /// Galaxies that nobody has seen yet.
    fn seen(&self) -> Result<Seen<'_, T>> {
        let n = self.simulation.settings().particles.pow(3);
        Ok(Seen {
            galaxies: self,
            run: self.simulation.run()?,
            bias: self.bias,
            growth: 0.0,
            shift: 0.0,
            delta: vec![T::zero(); n],
            variance: 0.0,
            place: Vec::new(),
            weight: vec![T::zero(); n],
        })
    }
}

impl<T: Real> Operator<T> for Galaxies<T> {
    fn name(&self) -> String {
        let space = if self.redshift_space { ", in redshift space" } else { "" };
        format!("galaxies of {}{space}", self.simulation.name())
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn apply_into(&self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        // A value alone needs nothing that is kept for derivatives.
        self.seen()?.move_to(x, y)
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.seen() {
            Ok(mut seen) => {
                seen.run.expect_derivatives();
                Box::new(seen)
            }
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}
