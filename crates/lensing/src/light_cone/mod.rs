//! Maps of a simulated light cone, the convergence in the Born approximation before all: particles, seen when their light left.

mod flat;
mod free;
mod painter;
mod sphere;
mod table;
mod tiling;
mod weight;

use lookback_cosmology::{Cosmology, Gradient, HUBBLE_DISTANCE, Kernel, PARAMETERS, Sources, Tracer};
use lookback_mesh::{Grid, Healpix, RealFft};
use lookback_nbody::{Error, PerParameter, Result, Run, Simulation, Way};
use lookback_operator::vector::{axpy, dot};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};
use num_complex::Complex;
use rayon::prelude::*;

use free::FreeNumber;
pub use free::free_numbers;
use painter::{Bars, Eye, Moving, Painter, Particles};
use table::{Edges, Table, farthest, kernels, mean, reach};
pub use tiling::Tiling;
use weight::Birth;

/// When a particle is taken to cross the light cone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Crossing {
    /// When it does: its distance then is that of the light. Steps are joined by smooth windows that sum to one, so the
    /// derivative is that of the whole map.
    #[default]
    Exact,
    /// When its place on the lattice does, and each step by itself, with sharp edges and with particles wrapped into the
    /// layer along the line of sight (MADLens, with the direction of time mended).
    Lagrangian,
}

/// The pixels of the maps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sky {
    /// A square about the line of sight, in the flat-sky approximation: angles are `x / r(z)` with the transverse distance `r`, distances are along the line of
    /// sight.
    Flat {
        /// Pixels a side.
        pixels: usize,
        /// Side \[rad\].
        field: f64,
        /// Angle \[rad\] of the middle of the map from the line of sight, along columns and rows.
        centre: [f64; 2],
        /// Whether the window of the pixels, that of a cloud in a cell, is divided out, once for the whole map.
        compensate: bool,
    },
    /// The whole sphere in HEALPix pixels, in ring order; distances are radial. Particles are shared among the four pixels
    /// around them.
    Full {
        /// Resolution.
        nside: usize,
    },
}

impl Sky {
    /// Pixels of a map.
    pub fn pixels(&self) -> usize {
        match *self {
            Sky::Flat { pixels, .. } => pixels * pixels,
            Sky::Full { nside } => 12 * nside * nside,
        }
    }

    /// Solid angle of a pixel \[sr\].
    pub fn pixel(&self) -> f64 {
        match *self {
            Sky::Flat { pixels, field, .. } => (field / pixels as f64).powi(2),
            Sky::Full { .. } => 4.0 * std::f64::consts::PI / self.pixels() as f64,
        }
    }

    /// Shape of a map as an array.
    pub fn shape(&self) -> Vec<usize> {
        match *self {
            Sky::Flat { pixels, .. } => vec![pixels, pixels],
            Sky::Full { .. } => vec![self.pixels()],
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Setting(message));
        match *self {
            Sky::Flat { pixels, field, centre, .. } => {
                if !(4..=16_384).contains(&pixels) {
                    return wrong(format!("maps must have from 4 to 16384 pixels a side, not {pixels}"));
                }
                if !(field > 0.0 && field <= 0.6) {
                    let degrees = field.to_degrees();
                    return wrong(format!("a flat map may be up to 34 degrees wide, not {degrees:.2}"));
                }
                if !centre.iter().all(|c| c.abs() <= 0.6) {
                    return wrong("`centre` must be a small angle".into());
                }
                Ok(())
            }
            Sky::Full { nside } if !(1..=4096).contains(&nside) => {
                wrong(format!("`nside` must lie between 1 and 4096, not {nside}"))
            }
            Sky::Full { .. } => Ok(()),
        }
    }
}

/// What is seen, and how it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What each map shows.
    pub maps: Vec<Tracer>,
    /// The pixels.
    pub sky: Sky,
    /// How copies of the box fill the cone.
    pub tiling: Tiling,
    /// When particles cross.
    pub crossing: Crossing,
    /// Width of the transition between steps, as a share of the shorter one.
    pub softness: f64,
    /// Particles nearer than this \[Mpc/h\] do not count, and those within twice of it count in part: one of them would
    /// cover many pixels.
    pub nearest: f64,
    /// Whether the mean of a smooth universe is taken off the maps.
    pub subtract_mean: bool,
    /// Numbers of the maps that are free, as [`free_numbers`] calls them.
    pub free: Vec<String>,
}

impl Settings {
    /// Flat maps of the convergence of these sources, with everything else as most would have it.
    pub fn new(sources: Vec<Sources>, pixels: usize, field: f64) -> Settings {
        let maps = sources.into_iter().map(Tracer::convergence).collect();
        Settings::of(maps, Sky::Flat { pixels, field, centre: [0.0; 2], compensate: true })
    }

    /// Maps of these tracers, with everything else as most would have it.
    pub fn of(maps: Vec<Tracer>, sky: Sky) -> Settings {
        Settings {
            maps,
            sky,
            tiling: Tiling::Random { seed: 0 },
            crossing: Crossing::Exact,
            softness: 0.5,
            nearest: 10.0,
            subtract_mean: true,
            free: Vec::new(),
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Setting(message));
        if self.maps.is_empty() {
            return wrong("a light cone needs at least one map: a source, a shell or galaxies".into());
        }
        self.maps.iter().try_for_each(Tracer::check)?;
        self.sky.check()?;
        if !(self.softness > 0.0 && self.softness <= 1.0) {
            return wrong(format!("`softness` must lie between 0 and 1, not {}", self.softness));
        }
        if !(self.nearest >= 0.0 && self.nearest.is_finite()) {
            return wrong(format!("`nearest` must be a small positive length, not {}", self.nearest));
        }
        let special = matches!(self.sky, Sky::Full { .. }) || self.has_galaxies();
        if special && self.crossing == Crossing::Lagrangian {
            return wrong(
                "`crossing` = \"lagrangian\" is for flat maps of matter; galaxies and the full sky need \"exact\"".into(),
            );
        }
        Ok(())
    }

    /// Number of maps that show galaxies.
    pub fn galaxies(&self) -> usize {
        self.maps.iter().filter(|tracer| matches!(tracer, Tracer::Galaxies { .. })).count()
    }

    fn has_galaxies(&self) -> bool {
        self.galaxies() > 0
    }

    /// How much a particle at this distance counts.
    fn taper(&self, d: f64) -> f64 {
        if self.nearest == 0.0 {
            return 1.0;
        }
        lookback_cosmology::smooth_step(d / self.nearest - 1.0)
    }

    /// Refuses what lies where no particle counts, for its map would be zero; and galaxies of which more than one in a hundred lies where
    /// particles count in part, for their map would be no contrast.
    fn check_nearest(&self, cosmology: &Cosmology<f64>, tracer: &Tracer, name: &str) -> Result<()> {
        if tracer.farthest(cosmology) <= self.nearest {
            return Err(Error::Setting(format!(
                "{name} lies within {:.1} Mpc/h, and particles nearer than `nearest` = {} Mpc/h do not count; lower `nearest`",
                tracer.farthest(cosmology),
                self.nearest
            )));
        }
        let Tracer::Galaxies { .. } = tracer else { return Ok(()) };
        let kernel = Kernel::new(cosmology, tracer)?;
        let (count, end) = (1000, (2.0 * self.nearest).min(tracer.farthest(cosmology)));
        let mut lost = 0.0;
        for i in 0..count {
            let d = end * (f64::from(i) + 0.5) / f64::from(count);
            let a = cosmology.history().scale_factor_at(d)?;
            lost += kernel.at(d, a) * (1.0 - self.taper(d)) * end / f64::from(count);
        }
        if lost <= 0.01 {
            return Ok(());
        }
        Err(Error::Setting(format!(
            "{:.0} % of {name} are missing in front of twice `nearest` = {} Mpc/h, where particles count in part; lower `nearest`",
            100.0 * lost,
            self.nearest
        )))
    }

    /// Names of the maps, each kind counted apart: `kappa1`, `kappa2`, `shell1`.
    pub fn names(&self) -> Vec<String> {
        let (mut sources, mut shells, mut galaxies, mut planes) = (0, 0, 0, 0);
        let name = |tracer: &Tracer| {
            let (kind, count) = match tracer {
                Tracer::Convergence { .. } => ("kappa", &mut sources),
                Tracer::Shell { .. } => ("shell", &mut shells),
                Tracer::Galaxies { .. } => ("galaxies", &mut galaxies),
                Tracer::Plane { .. } => ("plane", &mut planes),
            };
            *count += 1;
            format!("{kind}{count}")
        };
        self.maps.iter().map(name).collect()
    }
}

/// White noise and cosmological parameters to maps, the convergence of sources before all:
/// `kappa_s(theta) = sum_p W_s(d_p) / (n r_p^2 pixel) w(theta - x_p / r_p)` with the transverse distance `r_p = r(d_p)`, minus its mean.
///
/// Each particle is moved along its momentum to the time at which its distance `d = z(a)` is that of light that left at
/// `a` (so that steps may be long), in every copy of the box that the field sees; `W` is the lensing efficiency
/// (Bartelmann & Schneider 2001, section 6) or that of another [`Tracer`], `n` the number density, and `w` the window of
/// the pixels of the [`Sky`]. Cost beside the simulation: one visit a step of the particles that may be seen then.
/// Memory: eight times the maps, and as much again as a table of a few thousand numbers a step; one number a particle more where
/// galaxies are seen, two in reverse. The reverse pass runs the simulation backwards and reads the cotangent of the maps where
/// the forward pass painted.
///
/// Galaxies are particles that weigh as much as the linear density where they began says ([`lookback_cosmology::Bias`]); in
/// redshift space `W` is read where they seem to be, `v / (a H)` away (Kaiser 1987). Sharpened particles carry their galaxies
/// along. Free numbers of the maps ([`Settings::free`]) follow the parameters of the universe.
///
/// In a curved universe the box stays flat. On flat maps a length across the line of sight is seen under the angle that it has in curved space. Full
/// skies leave no room for that: their angles are those of the box, `x / d`, where those of curved space are 0.1 % smaller at `omega_k = 0.01` and
/// redshift 1. `W`, expansion and growth take the curvature on both.
pub struct LightCone<T: Real> {
    simulation: Simulation<T>,
    settings: Settings,
    free: Vec<FreeNumber>,
    domain: Space,
    codomain: Space,
}

/// Boxes, one behind the other, of the longest light cone: copies of a universe that is smaller tell nothing.
const MOST_BOXES: f64 = 300.0;

impl<T: Real> LightCone<T> {
    /// The light cone of a simulation, which must end today.
    ///
    /// # Errors
    /// If a setting is out of range, or a source lies beyond the beginning of the simulation.
    pub fn new(simulation: Simulation<T>, settings: Settings) -> Result<LightCone<T>> {
        settings.check()?;
        let times = &simulation.settings().times;
        let (first, last) = (times[0], times[times.len() - 1]);
        if last < 1.0 - 1e-12 {
            return Err(Error::Setting(format!(
                "a light cone ends today: the last scale factor must be 1, not {last}"
            )));
        }
        let cosmology = simulation.cosmology();
        let farthest = farthest(cosmology, &settings.maps);
        let begin = cosmology.history().scale_factor_at(farthest).map_err(|_| {
            Error::Setting(format!(
                "a map reaches to {farthest:.0} Mpc/h, beyond the beginning of the universe"
            ))
        })?;
        let boxes = farthest / simulation.settings().length;
        if boxes > MOST_BOXES {
            return Err(Error::Setting(format!(
                "a map reaches {boxes:.0} boxes far, of {} Mpc/h each; {MOST_BOXES} are possible: lengths are in Mpc/h",
                simulation.settings().length
            )));
        }
        if begin < first * (1.0 - 1e-9) {
            return Err(Error::Setting(format!(
                "a map reaches to redshift {:.3}, beyond the beginning of the simulation at redshift {:.3}; \
                 begin at a scale factor below {begin:.4}",
                1.0 / begin - 1.0,
                1.0 / first - 1.0,
            )));
        }
        for (tracer, name) in settings.maps.iter().zip(settings.names()) {
            settings.check_nearest(cosmology, tracer, &name)?;
        }
        let shape = settings.sky.shape();
        let mut names = settings.names();
        // A convergence that stands alone needs no number, and neither do galaxies.
        for (first, second, alone) in [("kappa1", "kappa2", "kappa"), ("galaxies1", "galaxies2", "galaxies")]
        {
            if !names.iter().any(|name| name == second) {
                names.iter_mut().filter(|name| *name == first).for_each(|name| *name = alone.into());
            }
        }
        let blocks = names.into_iter().map(|name| Block::new(name, &shape, "")).collect();
        let free = FreeNumber::named(&settings.free, &settings.maps)?;
        let numbers = settings.free.iter().map(|name| Block::new(name, &[], "")).collect();
        let domain = simulation.domain().join(&Space::new(numbers));
        let cone = LightCone { simulation, free, domain, codomain: Space::new(blocks), settings };
        cone.check_antipode(cone.simulation.cosmology())?;
        Ok(cone)
    }

    /// The modes, followed by the free parameters of the simulation and the free numbers of the maps, as they were given.
    pub fn point(&self, modes: &[T]) -> Vec<T> {
        let mut x = self.simulation.point(modes);
        x.extend(self.free.iter().map(|number| T::of(number.value(&self.settings.maps))));
        x
    }

    /// Refuses closed universes whose other end is seen: angles grow without bound on the way there.
    fn check_antipode<S: lookback_cosmology::Scalar>(&self, cosmology: &Cosmology<S>) -> Result<()> {
        // Particles may be looked up a box behind the last source.
        let farthest = farthest(cosmology, &self.settings.maps) + self.simulation.settings().length;
        let omega_k = cosmology.parameters().omega_k.value();
        let antipode = std::f64::consts::PI * HUBBLE_DISTANCE / (-omega_k).max(0.0).sqrt();
        if self.is_curved() && farthest > 0.9 * antipode {
            return Err(Error::Setting(format!(
                "with omega_k = {omega_k} the other end of the universe is {antipode:.0} Mpc/h away: maps may reach to nine tenths of that, a box length \
                 included, not to {farthest:.0}"
            )));
        }
        Ok(())
    }

    /// Whether angles on a flat map may feel the curvature of space.
    fn is_curved(&self) -> bool {
        let free = self.simulation.free().iter().any(|&i| PARAMETERS.get(i) == Some(&"omega_k"));
        let curved = free || self.simulation.cosmology().parameters().omega_k != 0.0;
        curved && matches!(self.settings.sky, Sky::Flat { .. })
    }

    /// Splits a vector of the domain into that of the simulation and the free numbers of the maps.
    fn split<'x>(&self, x: &'x [T]) -> (&'x [T], Vec<f64>) {
        let (inside, numbers) = x.split_at(self.simulation.domain().len());
        (inside, numbers.iter().map(|number| number.f64()).collect())
    }

    /// The maps with other values of their free numbers.
    fn maps_with(&self, numbers: &[f64]) -> Vec<Tracer> {
        let mut maps = self.settings.maps.clone();
        self.free.iter().zip(numbers).for_each(|(number, &value)| number.set(&mut maps, value));
        maps
    }

    /// The simulation behind it.
    pub fn simulation(&self) -> &Simulation<T> {
        &self.simulation
    }

    /// What is seen.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The pixels of flat maps; `None` on the full sky.
    pub fn grid(&self) -> Option<Grid> {
        match self.settings.sky {
            Sky::Flat { pixels, field, .. } => Grid::sky(pixels, pixels, field / pixels as f64).ok(),
            Sky::Full { .. } => None,
        }
    }

    /// The pixels of the full sky; `None` for flat maps.
    pub fn sphere(&self) -> Option<Healpix> {
        match self.settings.sky {
            Sky::Full { nside } => Healpix::new(nside),
            Sky::Flat { .. } => None,
        }
    }

    /// Bytes at the peak, as of [`lookback_nbody::Settings::memory`].
    pub fn memory(&self, way: Way) -> usize {
        let derivatives = way.derives();
        let particles = self.simulation.settings().particles.pow(3);
        self.simulation.settings().memory::<T>(way)
            + size_of::<T>() * (painter::LAYERS + 2) * self.codomain.len()
            + if self.settings.has_galaxies() {
                size_of::<T>() * (1 + usize::from(derivatives)) * particles
            } else {
                0
            }
            // What a batch of particles of one box is given, in vectors that grow by doubling.
            + if derivatives { 2 * painter::BATCH.min(particles) * (8 + 7 * size_of::<T>()) } else { 0 }
    }

    /// The light cone at a point of its domain.
    ///
    /// # Errors
    /// If a mesh cannot be made.
    pub fn look(&self) -> Result<Look<'_, T>> {
        let compensation = match self.settings.sky {
            Sky::Flat { compensate: false, .. } => Compensation::None,
            Sky::Flat { pixels, .. } => {
                let grid = Grid::new(&[pixels, pixels], &[1.0; 2])?;
                let fft = RealFft::new(&grid);
                Compensation::Window { spectrum: fft.make_spectrum(), fft, pixels }
            }
            Sky::Full { nside } => {
                let Some(sphere) = self.sphere() else {
                    return Err(Error::Setting(format!("no HEALPix with nside {nside}")));
                };
                let rings = sphere.all_rings().zip(sphere.response());
                let inverse =
                    rings.flat_map(|((_, count, ..), r)| std::iter::repeat_n(T::of(1.0 / r), count));
                Compensation::Response(inverse.collect())
            }
        };
        Ok(Look {
            run: self.simulation.run()?,
            cone: self,
            maps: self.settings.maps.clone(),
            tables: Vec::new(),
            birth: Vec::new(),
            variance: 0.0,
            compensation,
        })
    }

    /// Power \[sr\] that particles without structure, and without bias, would add to the spectrum of two maps:
    /// `int W_1 W_2 taper^2 / (n r^2) dd`, with `r` as for the maps.
    ///
    /// # Errors
    /// If a map is out of range.
    pub fn shot_noise(&self, pair: [usize; 2]) -> Result<f64> {
        let cosmology = self.simulation.cosmology();
        let mut maps = Vec::new();
        for map in pair {
            match self.settings.maps.get(map) {
                Some(tracer) => maps.push((tracer.farthest(cosmology), Kernel::new(cosmology, tracer)?)),
                None => return Err(Error::Setting(format!("there is no map {map}"))),
            }
        }
        let farthest = maps.iter().map(|(farthest, _)| *farthest).fold(f64::INFINITY, f64::min);
        let count = 2000;
        let width = farthest / f64::from(count);
        let mut sum = 0.0;
        for i in 0..count {
            let d = width * (f64::from(i) + 0.5);
            let a = cosmology.history().scale_factor_at(d)?;
            let weights: f64 = maps.iter().map(|(_, kernel)| kernel.at(d, a)).product();
            let r = if self.is_curved() { cosmology.history().transverse(d) } else { d };
            sum += weights * (self.settings.taper(d) / r).powi(2) * width / self.density();
        }
        Ok(sum)
    }

    /// Mean number density of particles \[(h/Mpc)^3\].
    fn density(&self) -> f64 {
        let s = self.simulation.settings();
        (s.particles as f64 / s.length).powi(3)
    }
}

/// What is divided out of painted maps, its own transpose.
enum Compensation<T: Real> {
    None,
    /// The window of flat pixels.
    Window {
        fft: RealFft<T>,
        spectrum: Vec<Complex<T>>,
        pixels: usize,
    },
    /// What a uniform sky gives to each pixel of the sphere; its inverse.
    Response(Vec<T>),
}

impl<T: Real> Compensation<T> {
    fn apply(&mut self, maps: &mut [T]) {
        match self {
            Compensation::None => {}
            Compensation::Window { fft, spectrum, pixels } => {
                let factor = inverse_window(*pixels);
                for map in maps.chunks_mut(*pixels * *pixels) {
                    fft.convolve(map, spectrum, &factor);
                }
            }
            Compensation::Response(inverse) => {
                for map in maps.chunks_mut(inverse.len()) {
                    map.par_iter_mut().zip(&*inverse).for_each(|(map, inverse)| *map *= *inverse);
                }
            }
        }
    }
}

/// One over the transform of the window of the pixels, and of the transforms.
fn inverse_window<T: Real>(n: usize) -> impl Fn(usize, &mut [T]) + Sync {
    let factor = move |i: usize| {
        let w = std::f64::consts::TAU * f64::from(Grid::signed(i, n)) / n as f64;
        lookback_mesh::Window::Cic.transform(w)
    };
    let scale = 1.0 / (n * n) as f64;
    move |line, out| {
        let across = factor(line);
        out.iter_mut().enumerate().for_each(|(i, out)| *out = T::of(scale / (across * factor(i))));
    }
}

/// A light cone at a point.
pub struct Look<'a, T: Real> {
    run: Run<'a, T>,
    cone: &'a LightCone<T>,
    /// What the maps show, with the free numbers of the point.
    maps: Vec<Tracer>,
    tables: Vec<Table<f64>>,
    /// Linear density on the lattice, where galaxies are seen, and its mean square.
    birth: Vec<T>,
    variance: f64,
    compensation: Compensation<T>,
}

impl<'a, T: Real> Look<'a, T> {
    /// The simulation at the same point.
    pub fn run(&mut self) -> &mut Run<'a, T> {
        &mut self.run
    }

    /// Takes a point of the domain, as [`Run::prepare`].
    ///
    /// # Errors
    /// If a parameter is out of range, or a number is not finite.
    pub fn prepare(&mut self, x: &[T]) -> Result<()> {
        self.cone.check_length("input", x.len(), self.cone.domain.len())?;
        let (inside, numbers) = self.cone.split(x);
        lookback_operator::vector::check_finite("light cone", "input", &x[inside.len()..])?;
        self.run.prepare(inside)?;
        self.maps = self.cone.maps_with(&numbers);
        if self.cone.settings.has_galaxies() {
            self.birth = self.run.linear_density();
            self.variance = dot(&self.birth, &self.birth) / self.birth.len() as f64;
        }
        Ok(())
    }

    /// Runs the simulation, and draws the maps; `seen(view, displacements, momenta)` may look at the particles on the way.
    ///
    /// # Errors
    /// If a parameter is out of range, or a number is not finite.
    pub fn evolve(&mut self, x: &[T], maps: &mut [T], mut seen: impl FnMut(usize, &[T], &[T])) -> Result<()> {
        self.prepare(x)?;
        let cone = self.cone;
        let edges = Edges::new(&self.run.schedule().views, cone.settings.softness);
        let views = &self.run.schedule().views;
        self.tables = tables(cone, self.run.cosmology(), &self.maps, views, &edges, &self.ranges(&edges))?;
        let first = self.tables.iter().position(|table| table.len() > 0);
        self.run.look_from(first.unwrap_or(self.tables.len()));
        let eye = Eye::new(cone);
        let mut painter = Painter::new(&eye, cone);
        let tables = &self.tables;
        let birth = Birth { density: &self.birth, variance: self.variance };
        self.run.advance(Some(&mut |view, x, p| {
            painter.paint(&tables[view], Particles { x, p, birth });
            seen(view, x, p);
        }));
        painter.finish(maps);
        lookback_operator::vector::check_finite(
            "light cone",
            "particles at the end",
            self.run.displacement(),
        )?;
        self.compensation.apply(maps);
        if cone.settings.subtract_mean {
            for (map, mean) in maps.chunks_mut(cone.settings.sky.pixels()).zip(self.means()) {
                let mean = T::of(mean);
                map.par_iter_mut().for_each(|kappa| *kappa -= mean);
            }
        }
        Ok(())
    }

    /// The mean of each map in a universe without structure.
    pub fn means(&self) -> Vec<f64> {
        let sources = 0..self.cone.settings.maps.len();
        sources.map(|s| self.tables.iter().map(|table| self.cone.mean(table, s)).sum()).collect()
    }

    fn ranges(&self, edges: &Edges) -> Vec<(f64, f64)> {
        let cosmology = self.run.cosmology();
        let farthest = farthest(cosmology, &self.maps);
        // A particle whose place is beyond the last source may itself be in front of it.
        let sharp = |view: usize| {
            let view = &self.run.schedule().views[view];
            let at = |a: f64| if a < 1.0 - 1e-12 { cosmology.history().distance(a) } else { 0.0 };
            let (near, far) = (at(view.to), at(view.from));
            // Nodes serve what is displaced in front of the source, and need not reach farther than a box behind it.
            let behind = farthest + self.cone.simulation.settings().length;
            if near < farthest { (near, far.min(behind)) } else { (near, near) }
        };
        (0..self.run.schedule().views.len())
            .map(|view| match self.cone.settings.crossing {
                Crossing::Exact => Table::seen(cosmology, edges, view, farthest),
                Crossing::Lagrangian => sharp(view),
            })
            .collect()
    }

    /// Tables with derivatives, on the nodes of the values.
    fn gradient_tables(&self) -> Result<Vec<Table<Gradient>>> {
        let cone = self.cone;
        let cosmology = self.run.gradient_cosmology()?;
        let s = cone.simulation.settings();
        let schedule = lookback_nbody::Schedule::new(&cosmology, s.scheme, s.lpt, &s.times)?;
        let edges = Edges::new(&schedule.views, cone.settings.softness);
        tables(cone, &cosmology, &self.maps, &schedule.views, &edges, &self.seen_ranges())
    }

    fn seen_ranges(&self) -> Vec<(f64, f64)> {
        self.tables.iter().map(|table| table.range).collect()
    }

    /// What one of the free numbers of the maps does to the nodes, and to the mean of each map: both are linear in it, so
    /// that the derivative is a difference. Other maps are left alone.
    fn by_number(&self, number: FreeNumber) -> Result<NodeChanges> {
        let views = &self.run.schedule().views;
        let edges = Edges::new(views, self.cone.settings.softness);
        let touched = number.maps(&self.maps);
        let at = |value: f64| {
            let mut maps = self.maps.clone();
            number.set(&mut maps, value);
            let maps: Vec<Tracer> = touched.iter().map(|&map| maps[map].clone()).collect();
            tables(self.cone, self.run.cosmology(), &maps, views, &edges, &self.seen_ranges())
        };
        let (none, one) = (at(0.0)?, at(1.0)?);
        let mut changes = self.no_changes();
        for (nodes, (all, (one, none))) in
            changes.nodes.iter_mut().zip(self.tables.iter().zip(one.iter().zip(&none)))
        {
            for (part, &map) in touched.iter().enumerate() {
                all.add_difference(nodes, map, (one, none, part));
                changes.means[map] += self.cone.mean(one, part) - self.cone.mean(none, part);
            }
        }
        Ok(changes)
    }

    fn no_changes(&self) -> NodeChanges {
        NodeChanges {
            nodes: self.tables.iter().map(|table| vec![0.0; table.len()]).collect(),
            means: vec![0.0; self.maps.len()],
        }
    }

    /// What a change of the free parameters and numbers does to the nodes and to the means.
    fn node_changes(&self, parameters: &PerParameter, numbers: &[f64]) -> Result<NodeChanges> {
        let mut changes = self.no_changes();
        if self.cone.simulation.history_is_free() {
            let along = |g: &Gradient| g.gradient.iter().zip(parameters).map(|(g, d)| g * d).sum::<f64>();
            let tables = self.gradient_tables()?;
            changes.nodes = tables.iter().map(|table| table.nodes().iter().map(along).collect()).collect();
            for (map, mean) in changes.means.iter_mut().enumerate() {
                *mean = tables.iter().map(|table| along(&self.cone.mean(table, map))).sum();
            }
        }
        for (&number, &change) in self.cone.free.iter().zip(numbers) {
            let by = self.by_number(number)?;
            for (sum, by) in changes.nodes.iter_mut().zip(&by.nodes) {
                sum.iter_mut().zip(by).for_each(|(sum, by)| *sum += change * by);
            }
            changes.means.iter_mut().zip(&by.means).for_each(|(sum, by)| *sum += change * by);
        }
        Ok(changes)
    }

    /// The transpose of [`node_changes`](Look::node_changes): adds to the cotangents of all parameters, and gives those of
    /// the numbers.
    fn pull_nodes(&self, bars: &NodeChanges, parameters: &mut PerParameter) -> Result<Vec<f64>> {
        if self.cone.simulation.history_is_free() {
            let mut add = |cotangent: f64, g: &Gradient| {
                parameters.iter_mut().zip(g.gradient).for_each(|(sum, g)| *sum += cotangent * g);
            };
            for (table, bar) in self.gradient_tables()?.iter().zip(&bars.nodes) {
                table.nodes().iter().zip(bar).for_each(|(node, bar)| add(*bar, node));
                for (map, bar) in bars.means.iter().enumerate() {
                    add(*bar, &self.cone.mean(table, map));
                }
            }
        }
        let of = |number: &FreeNumber| {
            let by = self.by_number(*number)?;
            let nodes: f64 = by.nodes.iter().zip(&bars.nodes).map(|(by, bar)| dot(by, bar)).sum();
            Ok(nodes + dot(&by.means, &bars.means))
        };
        self.cone.free.iter().map(of).collect()
    }
}

/// Changes, or cotangents, of the nodes of all tables and of the mean of each map.
struct NodeChanges {
    nodes: Vec<Vec<f64>>,
    means: Vec<f64>,
}

fn tables<T: Real, S: lookback_cosmology::Scalar>(
    cone: &LightCone<T>,
    cosmology: &Cosmology<S>,
    maps: &[Tracer],
    views: &[lookback_nbody::View<S>],
    edges: &Edges,
    ranges: &[(f64, f64)],
) -> Result<Vec<Table<S>>> {
    cone.check_antipode(cosmology)?;
    let kernels = kernels(cosmology, maps)?;
    // Nodes are those of all maps, also where a table is of some.
    let (farthest, reach) = (farthest(cosmology, &cone.settings.maps), reach(&cone.settings.maps));
    let table = |(index, range): (usize, &(f64, f64))| {
        if range.0 >= range.1 {
            return Ok(Table::empty(*range));
        }
        // Where a particle is wrapped into its layer, it may be anywhere in there; beyond the last source nothing is read.
        let length = cone.simulation.settings().length;
        let cover = match cone.settings.crossing {
            Crossing::Exact => *range,
            Crossing::Lagrangian => {
                let end = ((range.1 / length).ceil() * length).min(range.1.max(farthest));
                ((range.0 / length).floor() * length, end)
            }
        };
        let view = (&views[index], edges, index);
        Table::new(
            cosmology,
            &cone.settings,
            &kernels,
            view,
            (*range, cover, reach),
            (cone.density(), cone.is_curved()),
        )
    };
    ranges.par_iter().enumerate().map(table).collect()
}

impl<T: Real> LightCone<T> {
    fn mean<S: lookback_cosmology::Scalar>(&self, table: &Table<S>, source: usize) -> S {
        mean(table, source, self.density() * self.settings.sky.pixel())
    }
}

impl<T: Real> Linearization<T> for Look<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        self.cone.check_length("output", y.len(), self.cone.codomain.len())?;
        self.evolve(x, y, |_, _, _| ())?;
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        self.cone.check_length("tangent", dx.len(), self.cone.domain.len())?;
        self.cone.check_length("output", dy.len(), self.cone.codomain.len())?;
        let cone = self.cone;
        let (inside, numbers) = cone.split(dx);
        let parameters = self.run.parameters_of(inside);
        let changes = self.node_changes(&parameters, &numbers)?;
        let modes = &inside[..cone.simulation.settings().particles.pow(3)];
        let birth = Birth { density: &self.birth, variance: self.variance };
        let moved = if self.birth.is_empty() {
            Vec::new()
        } else {
            self.run.push_linear_density(modes, &parameters)?
        };
        let by = Birth {
            density: &moved,
            variance: 2.0 * dot(&self.birth, &moved) / self.birth.len().max(1) as f64,
        };
        let eye = Eye::new(cone);
        let mut painter = Painter::new(&eye, cone);
        let tables = &self.tables;
        self.run.push_state(
            modes,
            &parameters,
            Some(&mut |view, x, p, dx, dp| {
                let moving =
                    Moving { at: Particles { x, p, birth }, by: Particles { x: dx, p: dp, birth: by } };
                painter.paint_push((&tables[view], &changes.nodes[view]), moving);
            }),
        )?;
        painter.finish(dy);
        self.compensation.apply(dy);
        if cone.settings.subtract_mean {
            for (map, mean) in dy.chunks_mut(cone.settings.sky.pixels()).zip(changes.means) {
                map.par_iter_mut().for_each(|kappa| *kappa -= T::of(mean));
            }
        }
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        let cone = self.cone;
        cone.check_length("cotangent", dy.len(), cone.codomain.len())?;
        cone.check_length("input", dx.len(), cone.domain.len())?;
        let mut maps = dy.to_vec();
        self.compensation.apply(&mut maps);
        let eye = Eye::new(cone);
        let map = Eye::interleave(&maps, self.maps.len());
        drop(maps);
        let total = |map: &[T]| map.iter().map(|kappa| kappa.f64()).sum::<f64>();
        let mut bars = self.no_changes();
        if cone.settings.subtract_mean {
            bars.means = dy.chunks(cone.settings.sky.pixels()).map(|map| -total(map)).collect();
        }
        let tables = &self.tables;
        let birth = Birth { density: &self.birth, variance: self.variance };
        let (mut birth_bar, mut variance_bar) = (vec![T::zero(); self.birth.len()], 0.0);
        let [x_bar, p_bar] = [self.run.zeros(), self.run.zeros()];
        let (mut white, mut parameters) = self.run.pull_state(
            x_bar,
            p_bar,
            Some(&mut |view, x, p, x_bar, p_bar| {
                let bars = Bars {
                    table: &mut bars.nodes[view],
                    x: x_bar,
                    p: p_bar,
                    birth: &mut birth_bar,
                    variance: &mut variance_bar,
                };
                eye.pull(&tables[view], &map, Particles { x, p, birth }, bars);
            }),
        )?;
        if !birth_bar.is_empty() {
            axpy(2.0 * variance_bar / self.birth.len() as f64, &self.birth, &mut birth_bar);
            let (by_density, by_parameters) = self.run.pull_linear_density(&birth_bar)?;
            axpy(1.0, &by_density, &mut white);
            parameters.iter_mut().zip(by_parameters).for_each(|(sum, by)| *sum += by);
        }
        let numbers = self.pull_nodes(&bars, &mut parameters)?;
        let (inside, rest) = dx.split_at_mut(cone.simulation.domain().len());
        cone.simulation.write_cotangent(&white, &parameters, inside);
        rest.iter_mut().zip(numbers).for_each(|(out, bar)| *out = T::of(bar));
        Ok(())
    }
}

impl<T: Real> LightCone<T> {
    fn check_length(&self, role: &'static str, found: usize, expected: usize) -> OperatorResult<()> {
        lookback_operator::Error::check_length(|| self.name(), role, found, expected)
    }
}

impl<T: Real> Operator<T> for LightCone<T> {
    fn name(&self) -> String {
        let s = &self.settings;
        format!(
            "{}, light cone of {} maps of {} pixels",
            self.simulation.name(),
            s.maps.len(),
            s.sky.pixels()
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
        self.look()?.move_to(x, y)
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.look() {
            Ok(mut look) => {
                look.run.expect_derivatives();
                Box::new(look)
            }
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}
