//! A whole simulation as one operator: white noise and cosmology to the density of today, and back.

use std::borrow::Cow;

use lookback_cosmology::{Cosmology, Gradient, PARAMETERS, Parameters};
use lookback_mesh::{Cloud, Grid, Window};
use lookback_operator::vector::{axpy, check_finite, dot};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};
use num_complex::Complex;
use rayon::prelude::*;

use crate::displacements::{combine, project};
use crate::gravity::{Backwards, KickDrift};
use crate::{Displacements, Error, Gravity, Kernels, Lpt, Modes, Move, Result, Schedule, Scheme};

/// What a simulation is made of, besides the cosmology.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Particles a side; they start on a lattice.
    pub particles: usize,
    /// Side of the periodic box \[Mpc/h\].
    pub length: f64,
    /// Cells a side of the mesh on which forces and the density are computed.
    pub cells: usize,
    /// Shape of the particles on the mesh.
    pub window: Window,
    /// Gradient and Laplacian of the force.
    pub kernels: Kernels,
    /// Gradient and Laplacian of the initial displacements.
    pub start_kernels: Kernels,
    /// Order of perturbation theory at the start.
    pub lpt: Lpt,
    /// How time is cut.
    pub scheme: Scheme,
    /// Scale factors from the start to the end.
    pub times: Vec<f64>,
}

impl Settings {
    /// Refuses sizes that cannot work.
    ///
    /// # Errors
    /// With the setting and what would be right.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Setting(message));
        if self.particles < 4 || !self.particles.is_multiple_of(2) || self.particles > 4096 {
            return wrong(format!("particles a side must be even, from 4 to 4096, not {}", self.particles));
        }
        if self.cells < self.particles / 2 || self.cells > 8192 || !self.cells.is_multiple_of(2) {
            return wrong(format!(
                "the force mesh must be even, from half of the {} particles a side to 8192, not {}",
                self.particles, self.cells
            ));
        }
        if !(self.length.is_finite() && self.length > 0.0) {
            return wrong(format!("the box must have a positive length [Mpc/h], not {}", self.length));
        }
        Ok(())
    }

    /// Bytes that a simulation holds at its peak: particles and meshes of the forward pass, and what a reverse pass adds.
    ///
    /// Forward: 6 numbers a particle for the state and 2.5 for modes and their amplitudes; 6 a mesh cell for density,
    /// spectrum and field, and up to 2.5 to paint on. The start needs 14 numbers a particle more than the state, before
    /// the meshes are full, and 40 more at third order. Reverse: 6 more a particle, and 1 a cell.
    pub fn memory<T: Real>(&self, gradient: bool) -> usize {
        let (particles, mesh) = (self.particles.pow(3), self.cells.pow(3));
        let spectral = if self.kernels.gradient.differences().is_some() { 0 } else { 2 };
        let (state, cells) = if gradient { (17, 19 + 2 * spectral) } else { (9, 17 + 2 * spectral) };
        let start = match self.lpt {
            Lpt::First => 9,
            Lpt::Second => 19,
            Lpt::Third => 45,
        };
        // Halves: a mesh for painting counts two and a half.
        size_of::<T>() * (state.max(if gradient { start + 12 } else { start }) * particles + cells * mesh / 2)
    }
}

/// Displacements and momenta of all particles, component by component, in the order of the lattice.
#[derive(Debug, Clone, PartialEq)]
pub struct State<T> {
    /// Displacement from the lattice \[Mpc/h\].
    pub displacement: Vec<T>,
    /// Momentum `a^2 dx/dt` \[H0 Mpc/h\].
    pub momentum: Vec<T>,
}

/// White noise (one number a mode) and any of the cosmological parameters to the density contrast at the end.
///
/// The reverse pass runs the kicks and drifts backwards from the final state (Li et al. 2022, "Differentiable
/// cosmological simulation with the adjoint method"), so its memory does not depend on the number of steps
/// (see [`Settings::memory`]). Cost: a force a step forward; a force and its transposed Jacobian a step in reverse.
pub struct Simulation<T: Real> {
    settings: Settings,
    cosmology: Cosmology<f64>,
    free: Vec<usize>,
    domain: Space,
    codomain: Space,
    marker: std::marker::PhantomData<T>,
}

impl<T: Real> Simulation<T> {
    /// A simulation in a cosmology, with the named parameters free; a free amplitude is called `sigma8` or `a_s`.
    ///
    /// # Errors
    /// If a setting is out of range or a parameter is not known.
    pub fn new(settings: Settings, cosmology: Cosmology<f64>, free: &[&str]) -> Result<Simulation<T>> {
        settings.check()?;
        Schedule::new(&cosmology, settings.scheme, settings.lpt, &settings.times)?;
        let side = settings.particles;
        let mut blocks = vec![Block::new("modes", &[side; 3], "")];
        let mut indices = Vec::new();
        let names =
            PARAMETERS.map(|name| if name == "amplitude" { cosmology.amplitude_name() } else { name });
        for &name in free {
            let Some(index) = names.iter().position(|known| *known == name) else {
                let message = format!("no parameter `{name}`; there are {}", names.join(", "));
                return Err(Error::Setting(message));
            };
            blocks.push(Block::new(name, &[], ""));
            indices.push(index);
        }
        let cells = settings.cells;
        Ok(Simulation {
            settings,
            cosmology,
            free: indices,
            domain: Space::new(blocks),
            codomain: Space::single("delta", &[cells; 3], ""),
            marker: std::marker::PhantomData,
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which of [`PARAMETERS`] are free, in the order of the domain.
    pub fn free(&self) -> &[usize] {
        &self.free
    }

    /// The cosmology in which parameters that are not free stay.
    pub fn cosmology(&self) -> &Cosmology<f64> {
        &self.cosmology
    }

    /// The latents in words.
    pub fn name_of_latents(&self) -> String {
        self.domain.to_string()
    }

    /// The modes followed by the values of the free parameters in the cosmology of the simulation.
    pub fn point(&self, modes: &[T]) -> Vec<T> {
        let values = self.cosmology.parameters().to_array();
        modes.iter().copied().chain(self.free.iter().map(|&i| T::of(values[i]))).collect()
    }

    /// The cosmology at a point of the domain.
    fn cosmology_at(&self, x: &[T]) -> Result<Cosmology<f64>> {
        let mut values = self.cosmology.parameters().to_array();
        for (&index, value) in self.free.iter().zip(&x[self.settings.particles.pow(3)..]) {
            values[index] = value.f64();
        }
        Ok(self.cosmology.moved_to(Parameters::from_array(values))?)
    }

    /// Writes cotangents of the modes and of all parameters as one of the domain.
    ///
    /// # Panics
    /// If the length of `dx` is not that of the domain.
    pub fn write_cotangent(&self, white: &[T], parameters: &[f64; PARAMETERS.len()], dx: &mut [T]) {
        let (modes, rest) = dx.split_at_mut(white.len());
        modes.copy_from_slice(white);
        for (out, &index) in rest.iter_mut().zip(&self.free) {
            *out = T::of(parameters[index]);
        }
    }

    /// A machine that runs this simulation, with all its arrays.
    ///
    /// # Errors
    /// If a mesh cannot be made.
    pub fn run(&self) -> Result<Run<'_, T>> {
        Run::new(self)
    }
}

impl<T: Real> Operator<T> for Simulation<T> {
    fn name(&self) -> String {
        let s = &self.settings;
        format!(
            "N-body simulation, {}^3 particles, {}^3 cells, {} steps",
            s.particles,
            s.cells,
            s.times.len() - 1
        )
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.run() {
            Ok(run) => Box::new(run),
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}

/// Sees the particles at the view of a drift: `(view, displacements, momenta)`.
pub type Watch<'a, T> = dyn FnMut(usize, &[T], &[T]) + 'a;

/// Adds to the cotangents of displacements and momenta what was seen of them: `(view, x, p, x_bar, p_bar)`.
pub type WatchPull<'a, T> = dyn FnMut(usize, &[T], &[T], &mut [T], &mut [T]) + 'a;

/// Sees the particles and their changes: `(view, x, p, dx, dp)`.
pub type WatchPush<'a, T> = dyn FnMut(usize, &[T], &[T], &[T], &[T]) + 'a;

/// A simulation at a point: its final state, and the arrays that carry it forwards and backwards.
pub struct Run<'a, T: Real> {
    simulation: &'a Simulation<T>,
    grid: Grid,
    modes: Modes<T>,
    gravity: Gravity<T>,
    white: Vec<T>,
    cosmology: Cow<'a, Cosmology<f64>>,
    schedule: Schedule<f64>,
    displacement: Vec<T>,
    momentum: Vec<T>,
}

/// The displacement fields of the start, and what made them.
struct Start<T: Real> {
    displacements: Displacements<T>,
    linear: Vec<Complex<T>>,
    orders: Vec<Vec<T>>,
}

impl<'a, T: Real> Run<'a, T> {
    fn new(simulation: &'a Simulation<T>) -> Result<Run<'a, T>> {
        let s = &simulation.settings;
        let grid = Grid::new(&[s.particles; 3], &[s.length; 3])?;
        let mut modes = Modes::new(&grid);
        modes.set_cosmology(&simulation.cosmology);
        let vectors = || vec![T::zero(); 3 * grid.len()];
        Ok(Run {
            simulation,
            modes,
            gravity: Gravity::new(s.particles, s.cells, s.length, s.kernels, s.window)?,
            white: Vec::new(),
            cosmology: Cow::Borrowed(&simulation.cosmology),
            schedule: Schedule::new(&simulation.cosmology, s.scheme, s.lpt, &s.times)?,
            displacement: vectors(),
            momentum: vectors(),
            grid,
        })
    }

    /// The modes of this simulation, to turn a field of white noise into its latent.
    pub fn modes(&self) -> &Modes<T> {
        &self.modes
    }

    /// The cosmology of the last point.
    pub fn cosmology(&self) -> &Cosmology<f64> {
        &self.cosmology
    }

    /// The factors of the last point.
    pub fn schedule(&self) -> &Schedule<f64> {
        &self.schedule
    }

    /// Runs forward from a point of the domain, seen by `watch` at every drift.
    ///
    /// # Errors
    /// If a parameter is out of range, or a number is not finite.
    pub fn evolve(&mut self, x: &[T], watch: Option<&mut Watch<'_, T>>) -> Result<()> {
        self.prepare(x)?;
        self.advance(watch);
        Ok(())
    }

    /// Takes a point of the domain: its modes, its cosmology and the factors that follow.
    ///
    /// # Errors
    /// As [`evolve`](Run::evolve).
    pub fn prepare(&mut self, x: &[T]) -> Result<()> {
        let s = &self.simulation.settings;
        check_finite("simulation", "input", x)?;
        if !self.simulation.free.is_empty() {
            self.cosmology = Cow::Owned(self.simulation.cosmology_at(x)?);
            self.modes.set_cosmology(&self.cosmology);
        }
        self.schedule = Schedule::new(&self.cosmology, s.scheme, s.lpt, &s.times)?;
        self.white = x[..s.particles.pow(3)].to_vec();
        Ok(())
    }

    /// Runs forward with the factors of a given schedule instead of those of the cosmology.
    pub fn evolve_with(&mut self, white: &[T], schedule: Schedule<f64>) {
        self.white = white.to_vec();
        self.schedule = schedule;
        self.advance(None);
    }

    /// Runs the prepared point forward, seen by `watch`.
    pub fn advance(&mut self, mut watch: Option<&mut Watch<'_, T>>) {
        let orders = self.start().orders;
        combine(&orders, &self.schedule.start.displacement, &mut self.displacement);
        combine(&orders, &self.schedule.start.momentum, &mut self.momentum);
        drop(orders);
        let (x, p) = (&mut self.displacement, &mut self.momentum);
        let moves = &self.schedule.moves;
        let mut view = 0;
        for (i, step) in moves.iter().enumerate() {
            match *step {
                Move::Kick { keep, pull } => {
                    let by = match moves.get(i + 1) {
                        Some(&Move::Drift { before, after }) if watch.is_none() => before + after,
                        Some(&Move::Drift { before, .. }) => before,
                        _ => 0.0,
                    };
                    self.gravity.kick_drift(x, p, KickDrift { keep, pull, by });
                }
                Move::Drift { before, after } => {
                    // The kick before has taken the drift along, as far as it could.
                    let first = i == 0;
                    match &mut watch {
                        None if first => axpy(before + after, p, x),
                        None => {}
                        Some(watch) => {
                            if first {
                                axpy(before, p, x);
                            }
                            watch(view, x, p);
                            axpy(after, p, x);
                        }
                    }
                    view += 1;
                }
            }
        }
    }

    /// The displacement fields of each order, at `D_n = 1`.
    fn start(&self) -> Start<T> {
        let s = &self.simulation.settings;
        let mut linear = self.modes.hartley().make_spectrum();
        self.modes.forward(&self.white, &mut linear);
        let mut displacements = Displacements::new(&self.grid, s.lpt, s.start_kernels);
        let orders = displacements.forward(&linear);
        Start { displacements, linear, orders }
    }

    /// Particles at the end.
    pub fn state(&self) -> State<T> {
        let unit = T::of(self.schedule.momentum_unit);
        let momentum = self.momentum.par_iter().map(|p| *p * unit).collect();
        State { displacement: self.displacement.clone(), momentum }
    }

    /// The density contrast at the end.
    pub fn density(&mut self, delta: &mut [T]) {
        self.gravity.count(&self.displacement, delta);
        let scale = mean_inverse(self.gravity.cloud());
        delta.par_iter_mut().for_each(|delta| *delta = *delta * scale - T::one());
    }

    /// Runs the final state back to the start, and compares: root mean square of the difference to the initial
    /// displacement, over that of the whole displacement.
    pub fn reversal_error(&mut self) -> f64 {
        let (mut x, mut p) = (self.displacement.clone(), self.momentum.clone());
        let mut g = vec![T::zero(); x.len()];
        for step in self.schedule.moves.iter().rev() {
            match *step {
                Move::Kick { keep, pull } => {
                    self.gravity.at(&x, &mut g);
                    unkick(&mut p, keep, pull, &g);
                }
                Move::Drift { before, after } => axpy(-(before + after), &p, &mut x),
            }
        }
        let mut start = vec![T::zero(); x.len()];
        combine(&self.start().orders, &self.schedule.start.displacement, &mut start);
        axpy(-1.0, &start, &mut x);
        (dot(&x, &x) / dot(&self.displacement, &self.displacement)).sqrt()
    }

    /// The cosmology of the last point with derivatives.
    ///
    /// # Errors
    /// None that [`evolve`](Run::evolve) would not have met.
    pub fn gradient_cosmology(&self) -> Result<Cosmology<Gradient>> {
        Ok(self.cosmology.with_gradient()?)
    }

    fn gradient_schedule(&self, cosmology: &Cosmology<Gradient>) -> Result<Schedule<Gradient>> {
        let s = &self.simulation.settings;
        Schedule::new(cosmology, s.scheme, s.lpt, &s.times)
    }

    /// Cotangents of the modes and of all parameters from those of the final displacement and momentum, and of what was
    /// seen on the way.
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub fn pull_state(
        &mut self,
        mut x_bar: Vec<T>,
        mut p_bar: Vec<T>,
        mut watch: Option<&mut WatchPull<'_, T>>,
    ) -> Result<(Vec<T>, [f64; PARAMETERS.len()])> {
        let (mut x, mut p) = (self.displacement.clone(), self.momentum.clone());
        // Cotangents of the factors, last first.
        let mut factors = vec![0.0];
        let mut view = self.schedule.views.len();
        // Undoes a drift, or a part of it.
        let undrift = |by: f64, x: &mut [T], p: &[T], x_bar: &[T], p_bar: &mut [T]| {
            let slope = dot(x_bar, p);
            axpy(by, x_bar, p_bar);
            axpy(-by, p, x);
            slope
        };
        let moves = &self.schedule.moves;
        for i in (0..moves.len()).rev() {
            match moves[i] {
                Move::Kick { keep, pull } => {
                    let drift = match i.checked_sub(1).map(|before| moves[before]) {
                        Some(Move::Drift { before, after }) if watch.is_none() => before + after,
                        Some(Move::Drift { after, .. }) => after,
                        _ => 0.0,
                    };
                    let particles = Backwards { x: &mut x, p: &mut p, x_bar: &mut x_bar, p_bar: &mut p_bar };
                    let [by_keep, by_pull, by_drift] = self.gravity.undo(particles, keep, pull, drift);
                    factors.extend([by_pull, by_keep]);
                    if i > 0 {
                        factors.push(by_drift);
                    }
                }
                Move::Drift { before, after } => {
                    view -= 1;
                    // The kick after it has undone the drift, as far as it could.
                    if i + 1 == moves.len() {
                        let by = if watch.is_none() { before + after } else { after };
                        factors.push(undrift(by, &mut x, &p, &x_bar, &mut p_bar));
                    }
                    match &mut watch {
                        None => factors.extend(factors.last().copied()),
                        Some(watch) => {
                            watch(view, &x, &p, &mut x_bar, &mut p_bar);
                            factors.push(undrift(before, &mut x, &p, &x_bar, &mut p_bar));
                        }
                    }
                }
            }
        }
        drop((x, p));
        let Start { mut displacements, linear, orders } = self.start();
        factors.extend(project(&orders, &p_bar).into_iter().rev());
        factors.extend(project(&orders, &x_bar).into_iter().rev());
        factors.reverse();
        let start = &self.schedule.start;
        let cotangents: Vec<Vec<T>> = start
            .displacement
            .iter()
            .zip(&start.momentum)
            .zip(orders)
            .map(|((&d, &m), mut psi)| {
                let (d, m) = (T::of(d), T::of(m));
                psi.par_iter_mut().zip(&x_bar).zip(&p_bar).for_each(|((out, x), p)| *out = d * *x + m * *p);
                psi
            })
            .collect();
        drop((x_bar, p_bar));
        let spectrum = displacements.pull(&linear, &cotangents);
        let mut white = vec![T::zero(); self.white.len()];
        self.modes.adjoint(&spectrum, &mut white);
        let mut parameters = [0.0; PARAMETERS.len()];
        if !self.simulation.free.is_empty() {
            let cosmology = self.gradient_cosmology()?;
            let schedule = self.gradient_schedule(&cosmology)?;
            parameters = self.modes.parameter_gradient(&self.white, &white, &cosmology);
            for (factor, cotangent) in schedule.factors().iter().zip(&factors) {
                for (sum, slope) in parameters.iter_mut().zip(factor.gradient) {
                    *sum += cotangent * slope;
                }
            }
        }
        Ok((white, parameters))
    }

    /// Changes of the final displacement and momentum from those of the modes and of all parameters.
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub fn push_state(
        &mut self,
        white: &[T],
        parameters: &[f64; PARAMETERS.len()],
        mut watch: Option<&mut WatchPush<'_, T>>,
    ) -> Result<Vec<T>> {
        let mut change = white.to_vec();
        let mut slopes = vec![0.0; self.schedule.factors().len()];
        if !self.simulation.free.is_empty() {
            let cosmology = self.gradient_cosmology()?;
            let schedule = self.gradient_schedule(&cosmology)?;
            self.modes.parameter_push(&self.white, &cosmology, parameters, &mut change);
            for (slope, factor) in slopes.iter_mut().zip(schedule.factors()) {
                *slope = factor.gradient.iter().zip(parameters).map(|(g, d)| g * d).sum();
            }
        }
        let Start { mut displacements, linear, orders } = self.start();
        let mut spectrum = self.modes.hartley().make_spectrum();
        self.modes.forward(&change, &mut spectrum);
        let moved = displacements.push(&linear, &spectrum);
        let mut slopes = slopes.into_iter();
        let mut start = |factors: &[f64]| {
            let (mut value, mut tangent) =
                (vec![T::zero(); 3 * white.len()], vec![T::zero(); 3 * white.len()]);
            combine(&orders, factors, &mut value);
            combine(&moved, factors, &mut tangent);
            for psi in &orders {
                axpy(slopes.next().unwrap_or(0.0), psi, &mut tangent);
            }
            (value, tangent)
        };
        let (mut x, mut dx) = start(&self.schedule.start.displacement);
        let (mut p, mut dp) = start(&self.schedule.start.momentum);
        let (mut g, mut dg) = (vec![T::zero(); x.len()], vec![T::zero(); x.len()]);
        let mut next = || slopes.next().unwrap_or(0.0);
        let mut view = 0;
        for step in &self.schedule.moves {
            match *step {
                Move::Kick { keep, pull } => {
                    let (keep_slope, pull_slope) = (next(), next());
                    self.gravity.push(&x, &dx, &mut g, &mut dg);
                    kick(&mut dp, keep, pull_slope, &g);
                    axpy(keep_slope, &p, &mut dp);
                    kick(&mut p, keep, pull, &g);
                    axpy(pull, &dg, &mut dp);
                }
                Move::Drift { before, after } => {
                    for (part, by) in [before, after].into_iter().enumerate() {
                        axpy(by, &dp, &mut dx);
                        axpy(next(), &p, &mut dx);
                        axpy(by, &p, &mut x);
                        if let (Some(watch), 0) = (&mut watch, part) {
                            watch(view, &x, &p, &dx, &dp);
                        }
                    }
                    view += 1;
                }
            }
        }
        Ok(dx)
    }

    /// The parameters in a tangent of the domain.
    pub fn parameters_of(&self, tangent: &[T]) -> [f64; PARAMETERS.len()] {
        let mut parameters = [0.0; PARAMETERS.len()];
        for (&index, value) in self.simulation.free.iter().zip(&tangent[self.white.len()..]) {
            parameters[index] = value.f64();
        }
        parameters
    }
}

/// `p = keep p + pull g`.
fn kick<T: Real>(p: &mut [T], keep: f64, pull: f64, g: &[T]) {
    let (keep, pull) = (T::of(keep), T::of(pull));
    p.par_iter_mut().zip(g).with_min_len(4096).for_each(|(p, g)| *p = keep * *p + pull * *g);
}

/// The inverse of [`kick`].
fn unkick<T: Real>(p: &mut [T], keep: f64, pull: f64, g: &[T]) {
    let (keep, pull) = (T::of(1.0 / keep), T::of(pull));
    p.par_iter_mut().zip(g).with_min_len(4096).for_each(|(p, g)| *p = (*p - pull * *g) * keep);
}

/// One over the mean number of particles a cell.
fn mean_inverse<T: Real>(cloud: &Cloud) -> T {
    T::of(cloud.mesh_len() as f64 / cloud.particles() as f64)
}

fn check_length(role: &'static str, found: usize, expected: usize) -> OperatorResult<()> {
    lookback_operator::Error::check_length(|| "simulation".into(), role, found, expected)
}

impl<T: Real> Linearization<T> for Run<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        check_length("input", x.len(), self.simulation.domain.len())?;
        check_length("output", y.len(), self.simulation.codomain.len())?;
        self.evolve(x, None)?;
        self.density(y);
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        check_length("tangent", dx.len(), self.simulation.domain.len())?;
        let parameters = self.parameters_of(dx);
        let moved = self.push_state(&dx[..self.white.len()], &parameters, None)?;
        self.gravity.count_push(&self.displacement, &moved, dy);
        let scale = mean_inverse::<T>(self.gravity.cloud());
        dy.par_iter_mut().for_each(|dy| *dy *= scale);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        check_length("cotangent", dy.len(), self.simulation.codomain.len())?;
        let cloud = self.gravity.cloud();
        let mut x_bar = vec![T::zero(); self.displacement.len()];
        cloud.gradient(&self.displacement, dy, None, mean_inverse(cloud), &mut x_bar);
        let p_bar = vec![T::zero(); x_bar.len()];
        let (white, parameters) = self.pull_state(x_bar, p_bar, None)?;
        self.simulation.write_cotangent(&white, &parameters, dx);
        Ok(())
    }
}
