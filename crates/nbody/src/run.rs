//! A simulation at a point: forwards in time, and backwards with what its derivatives need.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use lookback_cosmology::{Cosmology, Gradient};
use lookback_mesh::{Cloud, Grid, RealFft};
use lookback_operator::vector::{axpy, check_finite, dot};
use lookback_operator::{Linearization, Operator, Real, Result as OperatorResult, zeros};
use num_complex::Complex;
use rayon::prelude::*;

use crate::displacements::{Pulled, combine, combine_both};
use crate::gravity::{Backwards, KickDrift};
use crate::rooms::{Rooms, copy_to};
use crate::sharpening::BandKind;
use crate::simulation::{NOTHING, split};
use crate::{
    Displacements, Gravity, Modes, Move, PerParameter, Result, Schedule, Sharpening, Simulation, State,
};

/// Sees the particles at the view of a drift: `(view, displacements, momenta)`.
pub type Watch<'a, T> = dyn FnMut(usize, &[T], &[T]) + 'a;

/// Adds to the cotangents of displacements and momenta what was seen of them: `(view, x, p, x_bar, p_bar)`.
pub type WatchPull<'a, T> = dyn FnMut(usize, &[T], &[T], &mut [T], &mut [T]) + 'a;

/// Sees the particles and their changes: `(view, x, p, dx, dp)`.
pub type WatchPush<'a, T> = dyn FnMut(usize, &[T], &[T], &[T], &[T]) + 'a;

/// Cotangents of all that enters the motion of the particles.
pub struct ByFactors<T> {
    /// Of the modes.
    pub white: Vec<T>,
    /// Of [`Schedule::factors`].
    pub factors: Vec<f64>,
    /// Of the sharpening: `alpha`, `mu`, `kl`, `ks`.
    pub sharpening: [f64; 4],
}

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
    /// How many of the moves brought the particles where they are.
    done: usize,
    sharpening: Option<Sharpening>,
    /// The cosmology of the point with derivatives, once somebody asked for it.
    gradient: OnceLock<Arc<Cosmology<Gradient>>>,
    /// The first view from which on somebody looks, and others at which somebody does.
    first_view: usize,
    looks: Vec<usize>,
    /// The potentials of the kicks that brought the particles where they are, if they are kept.
    potentials: Option<Vec<Vec<T>>>,
    /// Positions and momenta after some of the kicks, before what follows moves them on, if they are kept.
    checkpoints: Option<Vec<[Vec<T>; 2]>>,
    /// Arrays that this run uses again and again.
    rooms: Rooms<T>,
}

/// The checkpoint that is taken at a kick, if one is: about `count`, evenly spread over the kicks, and none at the last, whose state is known.
fn checkpoint_at(kick: usize, kicks: usize, count: usize) -> Option<usize> {
    let before = |kick: usize| kick * (count + 1).min(kicks) / kicks;
    (kick + 1 < kicks && before(kick + 1) > before(kick)).then(|| before(kick))
}

impl<'a, T: Real> Run<'a, T> {
    pub(crate) fn new(simulation: &'a Simulation<T>) -> Result<Run<'a, T>> {
        let s = simulation.settings();
        let grid = Grid::new(&[s.particles; 3], &[s.length; 3])?;
        let mut modes = Modes::new(&grid);
        modes.set_cosmology(simulation.cosmology());
        let vectors = || zeros(3 * grid.len());
        let mut rooms = Rooms::new(&grid);
        rooms.keep(if s.sharpening.is_some() { SHARPENED } else { 0 });
        Ok(Run {
            simulation,
            modes,
            gravity: Gravity::new(s.particles, s.cells, s.length, s.kernels, s.window)?,
            white: Vec::new(),
            cosmology: Cow::Borrowed(simulation.cosmology()),
            schedule: Schedule::new(simulation.cosmology(), s.scheme, s.lpt, &s.times)?,
            displacement: vectors(),
            momentum: vectors(),
            done: 0,
            sharpening: s.sharpening,
            gradient: OnceLock::new(),
            first_view: 0,
            looks: Vec::new(),
            potentials: None,
            checkpoints: None,
            rooms,
            grid,
        })
    }

    /// Prepares for derivatives: the next time that particles are moved, and from then on, potentials and checkpoints are kept, if the settings say so,
    /// and the arrays of the way back stay here.
    pub fn expect_derivatives(&mut self) {
        // Particles and their cotangents; and of sharpened ones where they are seen, what moved them there, and the cotangent.
        self.rooms.keep(4 + if self.sharpening.is_some() { SHARPENED + 1 } else { 0 });
        if self.simulation.settings().checkpoints > 0 && self.checkpoints.is_none() {
            self.checkpoints = Some(Vec::new());
        }
        if self.simulation.settings().keep_potentials && self.potentials.is_none() {
            self.potentials = Some(Vec::new());
        }
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
        let s = self.simulation.settings();
        check_finite("simulation", "input", x)?;
        if !self.simulation.free().is_empty() {
            let (cosmology, sharpening) = self.simulation.at(x)?;
            (self.cosmology, self.sharpening) = (Cow::Owned(cosmology), sharpening);
            self.gradient = OnceLock::new();
            self.modes.set_cosmology(&self.cosmology);
        }
        self.schedule = Schedule::new(&self.cosmology, s.scheme, s.lpt, &s.times)?;
        self.white.resize(s.particles.pow(3), T::zero());
        self.white.copy_from_slice(&x[..s.particles.pow(3)]);
        Ok(())
    }

    /// Tells that nobody looks before a view, so that particles need not be sharpened there.
    pub fn look_from(&mut self, view: usize) {
        self.first_view = view;
    }

    /// Tells that somebody looks at some views before those of [`look_from`](Run::look_from), too.
    pub fn look_at(&mut self, views: Vec<usize>) {
        self.looks = views;
    }

    /// The linear density contrast of the last point on the lattice, at `D1 = 1`.
    pub fn linear_density(&self) -> Vec<T> {
        self.density_of(&self.white)
    }

    /// Runs forward with the factors of a given schedule instead of those of the cosmology.
    pub fn evolve_with(&mut self, white: &[T], schedule: Schedule<f64>) {
        self.white = white.to_vec();
        self.schedule = schedule;
        self.advance(None);
    }

    /// Runs the prepared point forward, seen by `watch`. A kick at the very end moves no particle: it is left to those who ask for
    /// the momenta.
    pub fn advance(&mut self, mut watch: Option<&mut Watch<'_, T>>) {
        // The fields of the start are written where the particles will be.
        let room = vec![std::mem::take(&mut self.displacement), std::mem::take(&mut self.momentum)];
        let linear = self.linear_spectrum();
        let orders = self.displacements().forward_in(room, &linear, &mut self.rooms);
        drop(linear);
        let start = &self.schedule.start;
        let lpt = self.simulation.settings().lpt;
        [self.displacement, self.momentum] =
            combine_both(orders, lpt, [&start.displacement, &start.momentum]);
        let (x, p) = (&mut self.displacement, &mut self.momentum);
        self.done = self.schedule.moves.len();
        self.done -= usize::from(matches!(self.schedule.moves.last(), Some(Move::Kick { .. })));
        let moves = &self.schedule.moves[..self.done];
        let (mut view, mut kicks) = (0, 0);
        let (all_kicks, count) = (kicks_of(moves), self.simulation.settings().checkpoints);
        if let Some(potentials) = &mut self.potentials {
            potentials.resize_with(all_kicks, Vec::new);
        }
        for (i, step) in moves.iter().enumerate() {
            match *step {
                Move::Kick { keep, pull } => {
                    let by = match moves.get(i + 1) {
                        Some(&Move::Drift { before, after }) if watch.is_none() => before + after,
                        Some(&Move::Drift { before, .. }) => before,
                        _ => 0.0,
                    };
                    let kept = checkpoint_at(kicks, all_kicks, count).zip(self.checkpoints.as_mut());
                    let mut kept = kept.map(|(number, all)| {
                        all.resize_with(all.len().max(number + 1), Default::default);
                        &mut all[number]
                    });
                    if let Some([kept_x, _]) = &mut kept {
                        // A kick leaves positions where they are.
                        x.clone_into(kept_x);
                    }
                    self.gravity.kick_drift(x, p, KickDrift { keep, pull, by });
                    if let Some([_, kept_p]) = kept {
                        p.clone_into(kept_p);
                    }
                    if let Some(potentials) = &mut self.potentials {
                        self.gravity.keep(&mut potentials[kicks]);
                    }
                    kicks += 1;
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
                            let sharpening = self
                                .sharpening
                                .filter(|_| view >= self.first_view || self.looks.contains(&view));
                            let at = self.schedule.views[view].at;
                            match sharpening {
                                None => watch(view, x, p),
                                Some(sharpening) => {
                                    let seen =
                                        sharpened((&mut self.gravity, &mut self.rooms), sharpening, at, x);
                                    watch(view, &seen[0], p);
                                    self.rooms.give_back(seen);
                                }
                            }
                            axpy(after, p, x);
                        }
                    }
                    view += 1;
                }
            }
        }
    }

    /// The spectrum of the linear density of the last point, at `D1 = 1`.
    fn linear_spectrum(&self) -> Vec<Complex<T>> {
        let mut linear = self.modes.hartley().make_spectrum();
        self.modes.forward(&self.white, &mut linear);
        linear
    }

    /// A vector of zeros for the cotangents of [`pull_state`](Run::pull_state), in memory that is used again.
    pub fn zeros(&mut self) -> Vec<T> {
        self.rooms.zeros()
    }

    /// The same vector again, in such memory.
    pub fn copy(&mut self, x: &[T]) -> Vec<T> {
        self.rooms.copy(x)
    }

    /// What moves the particles to their start.
    fn displacements(&self) -> Displacements<T> {
        let s = self.simulation.settings();
        Displacements::new(&self.grid, s.lpt, s.start_kernels)
    }

    /// The particles and the force mesh.
    pub fn cloud(&self) -> &Cloud {
        self.gravity.cloud()
    }

    /// Displacements at the end \[Mpc/h\], not sharpened.
    pub fn displacement(&self) -> &[T] {
        &self.displacement
    }

    /// Displacements and momenta at the end, the latter in the unit of the schedule.
    pub(crate) fn end(&mut self) -> [&[T]; 2] {
        if let Some(&Move::Kick { keep, pull }) = self.schedule.moves.get(self.done) {
            let (x, p) = (&mut self.displacement, &mut self.momentum);
            self.gravity.kick_drift(x, p, KickDrift { keep, pull, by: 0.0 });
            self.done += 1;
        }
        [&self.displacement, &self.momentum]
    }

    /// The change of [`linear_density`](Run::linear_density) from those of the modes and of all parameters.
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub fn push_linear_density(&self, white: &[T], parameters: &PerParameter) -> Result<Vec<T>> {
        let mut change = white.to_vec();
        if !self.simulation.free().is_empty() {
            let cosmology = self.gradient_cosmology()?;
            self.modes.parameter_push(&self.white, &cosmology, &split(parameters).0, &mut change);
        }
        Ok(self.density_of(&change))
    }

    /// Cotangents of the modes and of all parameters from that of [`linear_density`](Run::linear_density).
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub fn pull_linear_density(&self, cotangent: &[T]) -> Result<(Vec<T>, PerParameter)> {
        let fft = RealFft::new(&self.grid);
        let mut spectrum = fft.make_spectrum();
        fft.forward(cotangent, &mut spectrum);
        let mut white = zeros(cotangent.len());
        self.modes.adjoint(&spectrum, &mut white);
        let mut parameters = NOTHING;
        if !self.simulation.free().is_empty() {
            let cosmology = self.gradient_cosmology()?;
            let by = self.modes.parameter_gradient(&self.white, &white, &cosmology);
            parameters.iter_mut().zip(by).for_each(|(out, by)| *out = by);
        }
        Ok((white, parameters))
    }

    fn density_of(&self, white: &[T]) -> Vec<T> {
        let fft = RealFft::new(&self.grid);
        let mut spectrum = fft.make_spectrum();
        self.modes.forward(white, &mut spectrum);
        let mut delta = zeros(self.grid.len());
        fft.inverse(&mut spectrum, &mut delta);
        delta
    }

    /// The cosmology of the last point with derivatives, and the unit of the momentum.
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub(crate) fn gradient_unit(&self) -> Result<(Arc<Cosmology<Gradient>>, Gradient)> {
        let cosmology = self.gradient_cosmology()?;
        let unit = self.gradient_schedule(&cosmology)?.momentum_unit;
        Ok((cosmology, unit))
    }

    /// Particles at the end.
    pub fn state(&mut self) -> State<T> {
        let momentum = self.momentum(1.0);
        State { displacement: self.displacement.clone(), momentum }
    }

    /// Momenta at the end, times a factor.
    pub fn momentum(&mut self, factor: f64) -> Vec<T> {
        let unit = T::of(factor * self.schedule.momentum_unit);
        let [_, momentum] = self.end();
        momentum.par_iter().map(|p| *p * unit).collect()
    }

    /// Scale factor of the end.
    fn last_time(&self) -> f64 {
        let times = &self.simulation.settings().times;
        times[times.len() - 1]
    }

    /// Displacements at the end, sharpened if the settings say so.
    pub fn seen(&mut self) -> Cow<'_, [T]> {
        let at = self.last_time();
        let Some(sharpening) = self.sharpening else { return Cow::Borrowed(&self.displacement) };
        let [seen, by] = self.sharpened_end(sharpening, at);
        self.rooms.give_back([by]);
        Cow::Owned(seen)
    }

    /// Displacements of sharpened particles where they are now, and what moved them there, per share.
    fn sharpened_end(&mut self, sharpening: Sharpening, at: f64) -> [Vec<T>; 2] {
        sharpened((&mut self.gravity, &mut self.rooms), sharpening, at, &self.displacement)
    }

    /// The density contrast at the end, of particles as they are [`seen`](Run::seen).
    pub fn density(&mut self, delta: &mut [T]) {
        match self.sharpening {
            None => self.gravity.count(&self.displacement, delta),
            Some(sharpening) => {
                let seen = self.sharpened_end(sharpening, self.last_time());
                self.gravity.count(&seen[0], delta);
                self.rooms.give_back(seen);
            }
        }
        let scale = mean_inverse(self.gravity.cloud());
        delta.par_iter_mut().for_each(|delta| *delta = *delta * scale - T::one());
    }

    /// Runs the final state back to the start, and compares: root mean square of the difference to the initial
    /// displacement, over that of the whole displacement.
    pub fn reversal_error(&mut self) -> f64 {
        let (mut x, mut p) = (self.displacement.clone(), self.momentum.clone());
        let mut g = zeros(x.len());
        for step in self.schedule.moves[..self.done].iter().rev() {
            match *step {
                Move::Kick { keep, pull } => {
                    self.gravity.at(&x, &mut g);
                    unkick(&mut p, keep, pull, &g);
                }
                Move::Drift { before, after } => axpy(-(before + after), &p, &mut x),
            }
        }
        let mut start = zeros(x.len());
        let linear = self.linear_spectrum();
        let orders = self.displacements().forward(&linear);
        combine(&orders, &self.schedule.start.displacement, &mut start);
        axpy(-1.0, &start, &mut x);
        (dot(&x, &x) / dot(&self.displacement, &self.displacement)).sqrt()
    }

    /// The cosmology of the last point, with derivatives by the free parameters at least: where expansion and growth depend
    /// on none of them, they have no derivatives. It is made once a point.
    ///
    /// # Errors
    /// None that [`evolve`](Run::evolve) would not have met.
    pub fn gradient_cosmology(&self) -> Result<Arc<Cosmology<Gradient>>> {
        if let Some(known) = self.gradient.get() {
            return Ok(known.clone());
        }
        let new = if self.simulation.history_is_free() {
            self.cosmology.with_gradient()?
        } else {
            self.cosmology.with_spectrum_gradient()
        };
        Ok(self.gradient.get_or_init(|| Arc::new(new)).clone())
    }

    fn gradient_schedule(&self, cosmology: &Cosmology<Gradient>) -> Result<Schedule<Gradient>> {
        let s = self.simulation.settings();
        Schedule::new(cosmology, s.scheme, s.lpt, &s.times)
    }

    /// Cotangents of the modes and of all parameters from those of the final displacement and momentum, and of what was
    /// seen on the way. Who has not asked for the momenta gives them zero.
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub fn pull_state(
        &mut self,
        x_bar: Vec<T>,
        p_bar: Vec<T>,
        watch: Option<&mut WatchPull<'_, T>>,
    ) -> Result<(Vec<T>, PerParameter)> {
        let ByFactors { white, factors, sharpening } = self.pull_factors(x_bar, p_bar, watch);
        let mut parameters = NOTHING;
        if !self.simulation.free().is_empty() {
            let cosmology = self.gradient_cosmology()?;
            let schedule = self.gradient_schedule(&cosmology)?;
            let modes = self.modes.parameter_gradient(&self.white, &white, &cosmology);
            parameters[..modes.len()].copy_from_slice(&modes);
            for (factor, cotangent) in schedule.factors().iter().zip(&factors) {
                for (sum, slope) in parameters.iter_mut().zip(factor.gradient) {
                    *sum += cotangent * slope;
                }
            }
        }
        let shares = parameters.len() - sharpening.len();
        parameters[shares..].copy_from_slice(&sharpening);
        Ok((white, parameters))
    }

    /// As [`pull_state`](Run::pull_state), but for the factors themselves, whatever cosmology or table they came from.
    pub fn pull_factors(
        &mut self,
        mut x_bar: Vec<T>,
        mut p_bar: Vec<T>,
        mut watch: Option<&mut WatchPull<'_, T>>,
    ) -> ByFactors<T> {
        let (mut x, mut p) = (self.rooms.copy(&self.displacement), self.rooms.copy(&self.momentum));
        let moves = self.schedule.moves[..self.done].to_vec();
        // Cotangents of the factors, last first; those of moves that were not made and of the unit are zero.
        let mut factors = vec![0.0; 1 + 2 * (self.schedule.moves.len() - moves.len())];
        let mut sharpening_bar = [0.0; 4];
        let (mut view, mut kicks) = (self.schedule.views.len(), kicks_of(&moves));
        let (all_kicks, count) = (kicks, self.simulation.settings().checkpoints);
        // Undoes a drift, or a part of it.
        let undrift = |by: f64, x: &mut [T], p: &[T], x_bar: &[T], p_bar: &mut [T]| {
            let slope = dot(x_bar, p);
            axpy(by, x_bar, p_bar);
            axpy(-by, p, x);
            slope
        };
        for i in (0..moves.len()).rev() {
            match moves[i] {
                Move::Kick { keep, pull } => {
                    let drift = match i.checked_sub(1).map(|before| moves[before]) {
                        Some(Move::Drift { before, after }) if watch.is_none() => before + after,
                        Some(Move::Drift { after, .. }) => after,
                        _ => 0.0,
                    };
                    kicks -= 1;
                    let kept = checkpoint_at(kicks, all_kicks, count).zip(self.checkpoints.as_ref());
                    if let Some([kept_x, kept_p]) = kept.and_then(|(number, all)| all.get(number)) {
                        copy_to(kept_x, &mut x);
                        copy_to(kept_p, &mut p);
                    }
                    let particles = Backwards { x: &mut x, p: &mut p, x_bar: &mut x_bar, p_bar: &mut p_bar };
                    let known = self.potentials.as_mut().and_then(|all| all.get_mut(kicks));
                    let [by_keep, by_pull, by_drift] =
                        self.gravity.knowing(known, |gravity| gravity.undo(particles, keep, pull, drift));
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
                            match self
                                .sharpening
                                .filter(|_| view >= self.first_view || self.looks.contains(&view))
                            {
                                None => watch(view, &x, &p, &mut x_bar, &mut p_bar),
                                Some(sharpening) => {
                                    let at = self.schedule.views[view].at;
                                    let [seen, mut by] =
                                        sharpened((&mut self.gravity, &mut self.rooms), sharpening, at, &x);
                                    let mut seen_bar = self.rooms.zeros();
                                    watch(view, &seen, &p, &mut seen_bar, &mut p_bar);
                                    self.rooms.give_back([seen]);
                                    let particles = Backwards {
                                        x: &mut x,
                                        p: &mut by,
                                        x_bar: &mut x_bar,
                                        p_bar: &mut seen_bar,
                                    };
                                    let bar = self.pull_sharpening(sharpening, at, particles);
                                    self.rooms.give_back([by, seen_bar]);
                                    sharpening_bar.iter_mut().zip(bar).for_each(|(sum, bar)| *sum += bar);
                                }
                            }
                            factors.push(undrift(before, &mut x, &p, &x_bar, &mut p_bar));
                        }
                    }
                }
            }
        }
        self.rooms.give_back([x, p]);
        let (linear, bars) = (self.linear_spectrum(), [x_bar, p_bar]);
        let Pulled { spectra, growth: [by_displacement, by_momentum] } =
            self.displacements().pull(&linear, &self.schedule.start, bars, &mut self.rooms);
        drop(linear);
        factors.extend(by_momentum.into_iter().rev());
        factors.extend(by_displacement.into_iter().rev());
        factors.reverse();
        let mut white = zeros(self.white.len());
        self.modes.adjoint(spectra.parts()[2], &mut white);
        self.rooms.give_back([spectra]);
        ByFactors { white, factors, sharpening: sharpening_bar }
    }

    /// Adds to the cotangents of the positions what their sharpened ones give, and gives those of the sharpening; in the place of
    /// the momenta is what moved the particles, per share, and in the place of their cotangents those of the sharpened positions.
    fn pull_sharpening(&mut self, sharpening: Sharpening, at: f64, particles: Backwards<'_, T>) -> [f64; 4] {
        let Backwards { x, p: by, x_bar, p_bar: seen_bar } = particles;
        axpy(1.0, seen_bar, x_bar);
        let share = sharpening.share(at);
        self.gravity.within(sharpening.band(BandKind::Value), |gravity| {
            gravity.pull(Backwards { x: &mut *x, p: &mut *by, x_bar, p_bar: &mut *seen_bar }, share);
        });
        let along = dot(seen_bar, by);
        let mut bar = [along * at.powf(sharpening.mu), along * share * at.ln(), 0.0, 0.0];
        if self.sharpening_scales_are_free() {
            let mut other = zeros(x.len());
            for (bar, kind) in bar[2..].iter_mut().zip([BandKind::ByLarge, BandKind::BySmall]) {
                self.gravity.within(sharpening.band(kind), |gravity| gravity.at(x, &mut other));
                *bar = share * dot(seen_bar, &other);
            }
        }
        bar
    }

    /// Whether the derivative with respect to a scale of the sharpening is asked for.
    fn sharpening_scales_are_free(&self) -> bool {
        self.simulation.free().iter().any(|&i| i + 2 >= NOTHING.len())
    }

    /// Sharpened positions, and their change when positions and the sharpening change.
    fn push_sharpening(
        &mut self,
        sharpening: Sharpening,
        at: f64,
        (x, dx): (&[T], &[T]),
        change: [f64; 4],
    ) -> (Vec<T>, Vec<T>) {
        let (mut seen, mut by) = (self.rooms.copy(x), self.rooms.vector());
        let (mut moved, mut tangent) = (dx.to_vec(), zeros(x.len()));
        let share = sharpening.share(at);
        self.gravity.within(sharpening.band(BandKind::Value), |gravity| {
            gravity.push(x, dx, &mut by, &mut tangent);
        });
        axpy(share, &by, &mut seen);
        axpy(share, &tangent, &mut moved);
        axpy(change[0] * at.powf(sharpening.mu) + change[1] * share * at.ln(), &by, &mut moved);
        for (change, kind) in change[2..].iter().zip([BandKind::ByLarge, BandKind::BySmall]) {
            if *change != 0.0 {
                self.gravity.within(sharpening.band(kind), |gravity| gravity.at(x, &mut by));
                axpy(share * change, &by, &mut moved);
            }
        }
        self.rooms.give_back([by]);
        (seen, moved)
    }

    /// Changes of the final displacement, and of the momentum as far as somebody asked for it, from those of the modes and of all
    /// parameters.
    ///
    /// # Errors
    /// As [`gradient_cosmology`](Run::gradient_cosmology).
    pub fn push_state(
        &mut self,
        white: &[T],
        parameters: &PerParameter,
        mut watch: Option<&mut WatchPush<'_, T>>,
    ) -> Result<(Vec<T>, Vec<T>)> {
        let mut change = white.to_vec();
        let mut slopes = vec![0.0; self.schedule.factors().len()];
        if !self.simulation.free().is_empty() {
            let cosmology = self.gradient_cosmology()?;
            let schedule = self.gradient_schedule(&cosmology)?;
            self.modes.parameter_push(&self.white, &cosmology, &split(parameters).0, &mut change);
            for (slope, factor) in slopes.iter_mut().zip(schedule.factors()) {
                *slope = factor.gradient.iter().zip(parameters).map(|(g, d)| g * d).sum();
            }
        }
        let linear = self.linear_spectrum();
        let displacements = self.displacements();
        let room = vec![self.rooms.vector(), self.rooms.vector()];
        let orders = displacements.forward_in(room, &linear, &mut self.rooms);
        let mut spectrum = self.modes.hartley().make_spectrum();
        self.modes.forward(&change, &mut spectrum);
        let moved = displacements.push(&linear, &spectrum, &mut self.rooms);
        drop((displacements, linear, spectrum));
        let mut slopes = slopes.into_iter();
        let (start, lpt) = (&self.schedule.start, self.simulation.settings().lpt);
        let [mut dx, mut dp] = combine_both(moved, lpt, [&start.displacement, &start.momentum]);
        for tangent in [&mut dx, &mut dp] {
            for psi in orders.iter().take(lpt.fields()) {
                axpy(slopes.next().unwrap_or(0.0), psi, tangent);
            }
        }
        let [mut x, mut p] = combine_both(orders, lpt, [&start.displacement, &start.momentum]);
        let (mut g, mut dg) = (self.rooms.vector(), self.rooms.vector());
        let mut next = || slopes.next().unwrap_or(0.0);
        let (mut view, mut kicks) = (0, 0);
        let moves = self.schedule.moves[..self.done].to_vec();
        for step in moves {
            match step {
                Move::Kick { keep, pull } => {
                    let (keep_slope, pull_slope) = (next(), next());
                    let known = self.potentials.as_mut().and_then(|all| all.get_mut(kicks));
                    kicks += 1;
                    self.gravity.knowing(known, |gravity| gravity.push(&x, &dx, &mut g, &mut dg));
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
                            match self
                                .sharpening
                                .filter(|_| view >= self.first_view || self.looks.contains(&view))
                            {
                                None => watch(view, &x, &p, &dx, &dp),
                                Some(sharpening) => {
                                    let at = self.schedule.views[view].at;
                                    let change = split(parameters).1;
                                    let (seen, moved) =
                                        self.push_sharpening(sharpening, at, (&x, &dx), change);
                                    watch(view, &seen, &p, &moved, &dp);
                                    self.rooms.give_back([seen]);
                                }
                            }
                        }
                    }
                    view += 1;
                }
            }
        }
        self.rooms.give_back([x, p, g, dg]);
        Ok((dx, dp))
    }

    /// The parameters in a tangent of the domain.
    pub fn parameters_of(&self, tangent: &[T]) -> PerParameter {
        let mut parameters = NOTHING;
        for (&index, value) in self.simulation.free().iter().zip(&tangent[self.white.len()..]) {
            parameters[index] = value.f64();
        }
        parameters
    }
}

/// How many of the moves are kicks.
fn kicks_of(moves: &[Move<f64>]) -> usize {
    moves.iter().filter(|step| matches!(step, Move::Kick { .. })).count()
}

/// Arrays that sharpening needs: positions as they are seen, and what moved particles there.
const SHARPENED: usize = 2;

/// Displacements as they are seen at a scale factor, and what moves them there, per share.
fn sharpened<T: Real>(
    (gravity, rooms): (&mut Gravity<T>, &mut Rooms<T>),
    sharpening: Sharpening,
    at: f64,
    x: &[T],
) -> [Vec<T>; SHARPENED] {
    let (mut seen, mut by) = (rooms.copy(x), rooms.vector());
    gravity.sharpen(sharpening, at, &mut seen, &mut by);
    [seen, by]
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
        check_length("input", x.len(), self.simulation.domain().len())?;
        check_length("output", y.len(), self.simulation.codomain().len())?;
        self.evolve(x, None)?;
        self.density(y);
        check_finite("simulation", "density", y)
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        check_length("tangent", dx.len(), self.simulation.domain().len())?;
        let parameters = self.parameters_of(dx);
        let (moved, _) = self.push_state(&dx[..self.white.len()], &parameters, None)?;
        match self.sharpening {
            None => self.gravity.count_push(&self.displacement, &moved, dy),
            Some(sharpening) => {
                let (at, change) = (self.last_time(), split(&parameters).1);
                let x = std::mem::take(&mut self.displacement);
                let (seen, moved) = self.push_sharpening(sharpening, at, (&x, &moved), change);
                self.displacement = x;
                self.gravity.count_push(&seen, &moved, dy);
                self.rooms.give_back([seen]);
            }
        }
        let scale = mean_inverse::<T>(self.gravity.cloud());
        dy.par_iter_mut().for_each(|dy| *dy *= scale);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        check_length("cotangent", dy.len(), self.simulation.codomain().len())?;
        let scale = mean_inverse(self.gravity.cloud());
        let mut x_bar = self.rooms.zeros();
        let mut bar = [0.0; 4];
        match self.sharpening {
            None => self.gravity.cloud().gradient(&self.displacement, dy, None, scale, &mut x_bar),
            Some(sharpening) => {
                let at = self.last_time();
                let [seen, mut by] = self.sharpened_end(sharpening, at);
                let mut seen_bar = self.rooms.zeros();
                self.gravity.cloud().gradient(&seen, dy, None, scale, &mut seen_bar);
                self.rooms.give_back([seen]);
                let mut x = std::mem::take(&mut self.displacement);
                let particles = Backwards { x: &mut x, p: &mut by, x_bar: &mut x_bar, p_bar: &mut seen_bar };
                bar = self.pull_sharpening(sharpening, at, particles);
                self.displacement = x;
                self.rooms.give_back([by, seen_bar]);
            }
        }
        let p_bar = self.rooms.zeros();
        let (white, mut parameters) = self.pull_state(x_bar, p_bar, None)?;
        let shares = parameters.len() - bar.len();
        parameters[shares..].iter_mut().zip(bar).for_each(|(sum, bar)| *sum += bar);
        self.simulation.write_cotangent(&white, &parameters, dx);
        Ok(())
    }
}
