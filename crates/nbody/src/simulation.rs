//! A whole simulation as one operator: white noise and cosmology to the density of today, and back.

use lookback_cosmology::{Cosmology, PARAMETERS, Parameters, shapes_history};
use lookback_mesh::{MOST_CELLS, Window, reads_gradients};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};

use crate::sharpening::{SHARPENING_PARAMETERS, Sharpening};
use crate::{Error, Kernels, Lpt, Result, Run, Schedule, Scheme};

/// A number for each parameter that a universe may depend on besides its modes: those of [`PARAMETERS`], then those of
/// [`SHARPENING_PARAMETERS`].
pub type PerParameter = [f64; PARAMETERS.len() + SHARPENING_PARAMETERS.len()];

/// Error of the momenta, run back to the start, that is worth a word: derivatives with respect to the cosmology are wrong by about as much.
const LOST: f64 = 1e-3;

/// Zero for every parameter.
pub(crate) const NOTHING: PerParameter = [0.0; PARAMETERS.len() + SHARPENING_PARAMETERS.len()];

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
    /// How particles are sharpened where they are seen: at the end, and on the light cone.
    pub sharpening: Option<Sharpening>,
    /// Whether derivatives keep the potential of every kick, a mesh a step, instead of solving for it once more: less time for more memory.
    pub keep_potentials: bool,
    /// States of the particles, evenly spread over the kicks, that derivatives keep on the way: they run back from one to the one before it, where from
    /// the end alone errors of rounding would grow too large. Six numbers a particle each.
    pub checkpoints: usize,
}

impl Settings {
    /// Refuses sizes that cannot work.
    ///
    /// # Errors
    /// With the setting and what would be right.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Setting(message));
        if self.particles < 4 || !self.particles.is_multiple_of(2) || self.particles > 2 * MOST_CELLS {
            return wrong(format!(
                "particles a side must be even, from 4 to {}, not {}",
                2 * MOST_CELLS,
                self.particles
            ));
        }
        if self.cells < self.particles / 2 || self.cells > MOST_CELLS || !self.cells.is_multiple_of(2) {
            return wrong(format!(
                "the force mesh must be even, from half of the {} particles a side to {MOST_CELLS}, not {}",
                self.particles, self.cells
            ));
        }
        if !(self.length.is_finite() && self.length > 0.0) {
            return wrong(format!("the box must have a positive length [Mpc/h], not {}", self.length));
        }
        if self.keep_potentials && self.kernels.gradient.differences().is_none() {
            return wrong(
                "potentials can be kept where the gradient takes differences of them: four_point or two_point, not spectral"
                    .into(),
            );
        }
        self.sharpening.as_ref().map_or(Ok(()), Sharpening::check)
    }

    /// Refuses a spectrum that does not know the waves of the lattice, from the longest in the box to the shortest, along a diagonal.
    fn check_spectrum(&self, [low, high]: [f64; 2]) -> Result<()> {
        let longest = std::f64::consts::TAU / self.length;
        let shortest = 3f64.sqrt() * std::f64::consts::PI * self.particles as f64 / self.length;
        // Whoever asks for a table up to that wave gets it but for rounding.
        if longest >= 0.999 * low && shortest <= 1.001 * high {
            return Ok(());
        }
        Err(Error::Setting(format!(
            "the table of the linear spectrum goes from k = {low:.3e} to {high:.3e} h/Mpc, the waves of these particles from {longest:.3e} to \
             {shortest:.3e}; let the code that made it write as far"
        )))
    }

    /// What is slow about the sizes, and which ones near them are not: transforms of 2 x 31 x 4 cells a side take four times as long as of 2^8.
    pub fn advice(&self) -> Option<String> {
        let slow = [("particles", self.particles), ("mesh cells", self.cells)];
        let (what, size) = slow.into_iter().find(|(_, size)| largest_prime(*size) > 13)?;
        let below = (4..size).rev().find(|size| is_quick(*size)).unwrap_or(4);
        let above = (size..).find(|size| is_quick(*size)).unwrap_or(size);
        Some(format!(
            "{size} {what} a side have a factor {}, with which Fourier transforms are slow; {below} and {above} have not",
            largest_prime(size)
        ))
    }

    /// Bytes that a simulation holds at its peak.
    ///
    /// Forward: 9 numbers a particle for the state, the modes and their amplitudes; 2 a mesh cell for density and
    /// spectrum, and 4 for a field of forces where particles do not take differences of the potential themselves, as they do in clouds in
    /// cells on a mesh that is finer than the lattice by half or more. The start
    /// needs 12 numbers a particle before there is a mesh, and 28 at third order. Reverse: 23 a particle, 48 at third order; 3 a cell and the
    /// field. Of these, 22 and all of a cell stay between gradients, since memory that is used again is there at once. Along a tangent: 35 a particle; 2 a cell
    /// and the field; at third order 65 before. Sharpening: 6 more a particle, 9 in reverse, 12 along a tangent. Derivatives that keep potentials: one more a mesh cell for each step; checkpoints: 6 more a particle for each.
    /// (`tests/memory.rs` measures them.)
    pub fn memory<T: Real>(&self, way: Way) -> usize {
        let (particles, mesh) = (self.particles.pow(3), self.cells.pow(3));
        let differences = self.kernels.gradient.differences().is_some();
        let spectral = if differences { 0 } else { 1 };
        let field =
            if differences && reads_gradients(self.particles, self.cells, self.window) { 0 } else { 4 };
        // Sharpened positions and what moved them there; on the way back their cotangents, too.
        let (sharpened, seen) = if self.sharpening.is_some() { (6, 9) } else { (0, 0) };
        let forward_cells = (2 + field + spectral) * mesh;
        let start = match self.lpt {
            Lpt::First | Lpt::Second => 12,
            Lpt::Third => 28,
        };
        let forward = (start * particles).max((9 + sharpened) * particles + forward_cells);
        let steps = self.times.len().saturating_sub(1);
        let kept = if self.keep_potentials { steps * mesh } else { 0 }
            + 6 * self.checkpoints.min(steps.saturating_sub(1)) * particles;
        let numbers = match way {
            Way::Forward => forward,
            Way::Ready => (22 + seen) * particles + forward_cells + mesh + kept,
            Way::Reverse => {
                let each = match self.lpt {
                    Lpt::First | Lpt::Second => 23 + seen,
                    Lpt::Third => 48,
                };
                each * particles + (3 + field + spectral) * mesh + kept
            }
            Way::Tangent => {
                let each = match self.lpt {
                    Lpt::First | Lpt::Second => 35 + 2 * sharpened,
                    Lpt::Third => (35 + 2 * sharpened).max(65),
                };
                each * particles + forward_cells + kept
            }
        };
        size_of::<T>() * numbers
    }
}

/// The number of cells a side next to a wish that a force mesh may have and that has no large prime factor.
pub fn quick_cells_near(particles: usize, wish: f64) -> usize {
    let all = (particles / 2..=MOST_CELLS).filter(|n| is_quick(*n));
    let off = |n: &usize| (*n as f64 - wish).abs();
    all.min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(particles)
}

/// Whether a size is even, and a product of 2, 3, 5 and 7.
fn is_quick(size: usize) -> bool {
    let rest = [2, 3, 5, 7].into_iter().fold(size, |mut rest, prime| {
        while rest > 0 && rest.is_multiple_of(prime) {
            rest /= prime;
        }
        rest
    });
    size.is_multiple_of(2) && rest == 1
}

/// The largest prime factor.
fn largest_prime(mut n: usize) -> usize {
    let (mut largest, mut factor) = (1, 2);
    while n > 1 {
        if n.is_multiple_of(factor) {
            largest = factor;
            n /= factor;
        } else {
            factor += 1;
        }
    }
    largest
}

/// Which way a simulation is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From modes to the end.
    Forward,
    /// What stays after that and its derivatives, with what is kept for them.
    Ready,
    /// That, and cotangents back from the end to modes and parameters.
    Reverse,
    /// That of a tangent beside the particles.
    Tangent,
}

impl Way {
    /// Whether derivatives go this way.
    pub fn derives(self) -> bool {
        Way::DERIVATIVES.contains(&self)
    }

    /// Those that derivatives take.
    pub const DERIVATIVES: [Way; 2] = [Way::Reverse, Way::Tangent];

    /// The most memory that one of these ways takes.
    pub fn most(ways: &[Way], memory: impl Fn(Way) -> usize) -> usize {
        ways.iter().map(|way| memory(*way)).max().unwrap_or(0)
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
/// (see [`Settings::memory`]). Cost: a force a step forward; a force and its transposed Jacobian a step in reverse, the latter alone
/// where [potentials are kept](Settings::keep_potentials).
#[derive(Clone)]
pub struct Simulation<T: Real> {
    settings: Settings,
    cosmology: Cosmology<f64>,
    free: Vec<usize>,
    domain: Space,
    codomain: Space,
    marker: std::marker::PhantomData<T>,
}

impl<T: Real> Simulation<T> {
    /// A simulation in a cosmology, with the named parameters free; a free amplitude is called `sigma8` or `a_s`, and those
    /// of a sharpening as in [`SHARPENING_PARAMETERS`].
    ///
    /// # Errors
    /// If a setting is out of range or a parameter is not known.
    pub fn new(settings: Settings, cosmology: Cosmology<f64>, free: &[&str]) -> Result<Simulation<T>> {
        settings.check()?;
        settings.check_spectrum(cosmology.linear().range())?;
        Schedule::new(&cosmology, settings.scheme, settings.lpt, &settings.times)?;
        let side = settings.particles;
        let mut blocks = vec![Block::new("modes", &[side; 3], "")];
        let mut indices = Vec::new();
        let mut names = PARAMETERS
            .map(|name| if name == "amplitude" { cosmology.amplitude_name() } else { name })
            .to_vec();
        if settings.sharpening.is_some() {
            names.extend(SHARPENING_PARAMETERS);
        }
        if cosmology.keeps_amplitude_of_table() && free.iter().any(|name| ["sigma8", "a_s"].contains(name)) {
            let message = "the spectrum of the table keeps its own amplitude; give a value of `sigma8`, which can then be free";
            return Err(Error::Setting(message.into()));
        }
        for &name in free {
            let Some(index) = names.iter().position(|known| *known == name) else {
                let message = format!("no parameter `{name}`; there are {}", names.join(", "));
                return Err(Error::Setting(message));
            };
            if indices.contains(&index) {
                return Err(Error::Setting(format!("the parameter `{name}` is free twice")));
            }
            if let Some(why) = cosmology.why_fixed(name) {
                return Err(Error::Setting(format!("`{name}` cannot be free: {why}")));
            }
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

    /// What a user of its derivatives should know: sizes that are [slow](Settings::advice), and steps that cannot be run back well.
    pub fn advice(&self) -> Vec<String> {
        let Settings { scheme, lpt, times, .. } = &self.settings;
        let loss =
            Schedule::new(&self.cosmology, *scheme, *lpt, times).map_or(1.0, |schedule| schedule.loss());
        let lost = loss * T::epsilon().f64();
        let steps = (lost > LOST).then(|| {
            format!(
                "derivatives run the steps back, and with these errors of rounding grow to about {:.1e} of a momentum: BullFrog keeps next to nothing of it in steps in which the linear density grows about three times; take more steps, FastPM's, or `checkpoints`",
                lost.min(1.0)
            )
        });
        let steps = steps.filter(|_| self.settings.checkpoints + 2 < times.len());
        self.settings.advice().into_iter().chain(steps).collect()
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Which of the parameters are free, by their places in [`PerParameter`], in the order of the domain.
    pub fn free(&self) -> &[usize] {
        &self.free
    }

    /// Whether expansion and growth depend on a free parameter.
    pub fn history_is_free(&self) -> bool {
        self.free.iter().any(|&index| index < PARAMETERS.len() && shapes_history(index))
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
        let values = self.values();
        modes.iter().copied().chain(self.free.iter().map(|&i| T::of(values[i]))).collect()
    }

    /// The values of all parameters where none is free.
    fn values(&self) -> PerParameter {
        let cosmology = self.cosmology.parameters().to_array();
        let sharpening = self.settings.sharpening.map_or([0.0; 4], Sharpening::to_array);
        let mut all = cosmology.into_iter().chain(sharpening);
        std::array::from_fn(|_| all.next().unwrap_or(0.0))
    }

    /// Cosmology and sharpening at a point of the domain.
    pub(crate) fn at(&self, x: &[T]) -> Result<(Cosmology<f64>, Option<Sharpening>)> {
        let mut values = self.values();
        for (&index, value) in self.free.iter().zip(&x[self.settings.particles.pow(3)..]) {
            values[index] = value.f64();
        }
        let (cosmology, sharpening) = split(&values);
        let sharpening = self.settings.sharpening.map(|_| Sharpening::from_array(sharpening));
        sharpening.as_ref().map_or(Ok(()), Sharpening::check)?;
        Ok((self.cosmology.moved_to(Parameters::from_array(cosmology))?, sharpening))
    }

    /// Writes cotangents of the modes and of all parameters as one of the domain.
    ///
    /// # Panics
    /// If the length of `dx` is not that of the domain.
    pub fn write_cotangent(&self, white: &[T], parameters: &PerParameter, dx: &mut [T]) {
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

    fn apply_into(&self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        // A value alone needs nothing that is kept for derivatives.
        self.run()?.move_to(x, y)
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.run() {
            Ok(mut run) => {
                run.expect_derivatives();
                Box::new(run)
            }
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}

/// The share of the cosmology and that of the sharpening.
pub(crate) fn split(all: &PerParameter) -> ([f64; PARAMETERS.len()], [f64; SHARPENING_PARAMETERS.len()]) {
    let (cosmology, sharpening) = all.split_at(PARAMETERS.len());
    (std::array::from_fn(|i| cosmology[i]), std::array::from_fn(|i| sharpening[i]))
}
