//! The convergence of a simulated light cone in the Born approximation: particles, seen when their light left, on a map.

mod flat;
mod painter;
mod sphere;
mod table;
mod tiling;

use lookback_cosmology::{Cosmology, Gradient, Kernel, Sources, Tracer};
use lookback_mesh::{Grid, Healpix, RealFft};
use lookback_nbody::{Error, Result, Run, Simulation};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};
use num_complex::Complex;
use rayon::prelude::*;

use painter::{Eye, Moving, Painter};
use table::{Edges, Table, kernels, mean};
pub use tiling::Tiling;

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
    /// A square about the line of sight, in the flat-sky approximation: angles are `x / z`, distances are along the line of
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
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Setting(message));
        if self.maps.is_empty() {
            return wrong("a light cone needs at least one map: a source or a shell".into());
        }
        self.maps.iter().try_for_each(Tracer::check)?;
        self.sky.check()?;
        if !(self.softness > 0.0 && self.softness <= 1.0) {
            return wrong(format!("`softness` must lie between 0 and 1, not {}", self.softness));
        }
        if !(self.nearest >= 0.0 && self.nearest.is_finite()) {
            return wrong(format!("`nearest` must be a small positive length, not {}", self.nearest));
        }
        if matches!(self.sky, Sky::Full { .. }) && self.crossing == Crossing::Lagrangian {
            return wrong(
                "`crossing` = \"lagrangian\" is for flat maps; the full sky needs \"exact\"".into(),
            );
        }
        Ok(())
    }

    /// How much a particle at this distance counts.
    fn taper(&self, d: f64) -> f64 {
        if self.nearest == 0.0 {
            return if d > 0.0 { 1.0 } else { 0.0 };
        }
        lookback_cosmology::smooth_step(d / self.nearest - 1.0)
    }

    /// Names of the maps, each kind counted apart: `kappa1`, `kappa2`, `shell1`.
    pub fn names(&self) -> Vec<String> {
        let (mut sources, mut shells, mut planes) = (0, 0, 0);
        let name = |tracer: &Tracer| {
            let (kind, count) = match tracer {
                Tracer::Convergence { .. } => ("kappa", &mut sources),
                Tracer::Shell { .. } => ("shell", &mut shells),
                Tracer::Plane { .. } => ("plane", &mut planes),
            };
            *count += 1;
            format!("{kind}{count}")
        };
        self.maps.iter().map(name).collect()
    }
}

/// White noise and cosmological parameters to maps, the convergence of sources before all:
/// `kappa_s(theta) = sum_p W_s(d_p) / (n d_p^2 pixel) w(theta - x_p / d_p)`, minus its mean.
///
/// Each particle is moved along its momentum to the time at which its distance `d = z(a)` is that of light that left at
/// `a` (so that steps may be long), in every copy of the box that the field sees; `W` is the lensing efficiency
/// (Bartelmann & Schneider 2001, section 6) or that of another [`Tracer`], `n` the number density, and `w` the window of
/// the pixels of the [`Sky`]. Cost beside the simulation: one visit a step of the particles that may be seen then.
/// Memory: eight times the maps, and as much again as a table of a few thousand numbers a step. The reverse pass runs the
/// simulation backwards and reads the cotangent of the maps where the forward pass painted.
pub struct LightCone<T: Real> {
    simulation: Simulation<T>,
    settings: Settings,
    codomain: Space,
}

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
        let farthest = settings.maps.iter().map(|tracer| tracer.farthest(cosmology)).fold(0.0, f64::max);
        let begin = cosmology.history().scale_factor_at(farthest).map_err(|_| {
            Error::Setting(format!(
                "a map reaches to {farthest:.0} Mpc/h, beyond the beginning of the universe"
            ))
        })?;
        if begin < first * (1.0 - 1e-9) {
            return Err(Error::Setting(format!(
                "a map reaches to redshift {:.3}, beyond the beginning of the simulation at redshift {:.3}; \
                 begin at a scale factor below {begin:.4}",
                1.0 / begin - 1.0,
                1.0 / first - 1.0,
            )));
        }
        let shape = settings.sky.shape();
        let mut names = settings.names();
        // A convergence that stands alone needs no number.
        if !names.iter().any(|name| name == "kappa2") {
            names.iter_mut().filter(|name| *name == "kappa1").for_each(|name| *name = "kappa".into());
        }
        let blocks = names.into_iter().map(|name| Block::new(name, &shape, "")).collect();
        Ok(LightCone { simulation, codomain: Space::new(blocks), settings })
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
    pub fn memory(&self, gradient: bool) -> usize {
        self.simulation.settings().memory::<T>(gradient)
            + size_of::<T>() * (painter::LAYERS + 2) * self.codomain.len()
            // What a batch of particles is given, in vectors that grow by doubling.
            + if gradient { 2 * painter::BATCH * (8 + 6 * size_of::<T>()) } else { 0 }
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
        Ok(Look { run: self.simulation.run()?, cone: self, tables: Vec::new(), compensation })
    }

    /// Power \[sr\] that particles without structure would add to a map:
    /// `int W^2 taper^2 / (n d^2) dd`.
    ///
    /// # Errors
    /// If the map is out of range.
    pub fn shot_noise(&self, map: usize) -> Result<f64> {
        let cosmology = self.simulation.cosmology();
        let Some(tracer) = self.settings.maps.get(map) else {
            return Err(Error::Setting(format!("there is no map {map}")));
        };
        let farthest = tracer.farthest(cosmology);
        let kernel = Kernel::new(cosmology, tracer)?;
        let count = 2000;
        let width = farthest / f64::from(count);
        let mut sum = 0.0;
        for i in 0..count {
            let d = width * (f64::from(i) + 0.5);
            let weight = kernel.at(d, cosmology.history().scale_factor_at(d)?) * self.settings.taper(d);
            sum += (weight / d).powi(2) * width / self.density();
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
    tables: Vec<Table<f64>>,
    compensation: Compensation<T>,
}

impl<'a, T: Real> Look<'a, T> {
    /// The simulation at the same point.
    pub fn run(&mut self) -> &mut Run<'a, T> {
        &mut self.run
    }

    /// Runs the simulation, and draws the maps; `seen(view, displacements, momenta)` may look at the particles on the way.
    ///
    /// # Errors
    /// If a parameter is out of range, or a number is not finite.
    pub fn evolve(&mut self, x: &[T], maps: &mut [T], mut seen: impl FnMut(usize, &[T], &[T])) -> Result<()> {
        self.run.prepare(x)?;
        let cone = self.cone;
        let edges = Edges::new(&self.run.schedule().views, cone.settings.softness);
        self.tables =
            tables(cone, self.run.cosmology(), &self.run.schedule().views, &edges, &self.ranges(&edges))?;
        let first = self.tables.iter().position(|table| table.len() > 0);
        self.run.look_from(first.unwrap_or(self.tables.len()));
        let eye = Eye::new(cone);
        let mut painter = Painter::new(&eye, cone);
        let tables = &self.tables;
        self.run.advance(Some(&mut |view, x, p| {
            painter.paint(&tables[view], (x, p));
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
        let maps = &self.cone.settings.maps;
        let farthest = maps.iter().map(|tracer| tracer.farthest(cosmology)).fold(0.0, f64::max);
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
        let ranges: Vec<(f64, f64)> = self.tables.iter().map(|table| table.range).collect();
        tables(cone, &cosmology, &schedule.views, &edges, &ranges)
    }
}

fn tables<T: Real, S: lookback_cosmology::Scalar>(
    cone: &LightCone<T>,
    cosmology: &Cosmology<S>,
    views: &[lookback_nbody::View<S>],
    edges: &Edges,
    ranges: &[(f64, f64)],
) -> Result<Vec<Table<S>>> {
    let kernels = kernels(cosmology, &cone.settings.maps)?;
    let maps = cone.settings.maps.iter();
    let farthest = maps.map(|tracer| tracer.farthest(cosmology).value()).fold(0.0, f64::max);
    let table = |(index, range): (usize, &(f64, f64))| {
        if range.0 >= range.1 {
            return Ok(Table::empty(*range, 1 + kernels.len()));
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
        Table::new(cosmology, &cone.settings, &kernels, view, (*range, cover), cone.density())
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
        self.cone.check_length("input", x.len(), self.cone.simulation.domain().len())?;
        self.cone.check_length("output", y.len(), self.cone.codomain.len())?;
        self.evolve(x, y, |_, _, _| ())?;
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        self.cone.check_length("tangent", dx.len(), self.cone.simulation.domain().len())?;
        self.cone.check_length("output", dy.len(), self.cone.codomain.len())?;
        let cone = self.cone;
        let parameters = self.run.parameters_of(dx);
        let along = |g: &Gradient| g.gradient.iter().zip(&parameters).map(|(g, d)| g * d).sum::<f64>();
        let mut changes: Vec<Vec<f64>> = self.tables.iter().map(|table| vec![0.0; table.len()]).collect();
        let mut means = vec![0.0; cone.settings.maps.len()];
        if !cone.simulation.free().is_empty() {
            let tables = self.gradient_tables()?;
            changes = tables.iter().map(|table| table.nodes().iter().map(along).collect()).collect();
            for (s, mean) in means.iter_mut().enumerate() {
                *mean = tables.iter().map(|table| along(&cone.mean(table, s))).sum();
            }
        }
        let eye = Eye::new(cone);
        let mut painter = Painter::new(&eye, cone);
        let tables = &self.tables;
        let modes = cone.simulation.settings().particles.pow(3);
        self.run.push_state(
            &dx[..modes],
            &parameters,
            Some(&mut |view, x, p, dx, dp| {
                painter.paint_push((&tables[view], &changes[view]), Moving { x, p, dx, dp });
            }),
        )?;
        painter.finish(dy);
        self.compensation.apply(dy);
        if cone.settings.subtract_mean {
            for (map, mean) in dy.chunks_mut(cone.settings.sky.pixels()).zip(means) {
                map.par_iter_mut().for_each(|kappa| *kappa -= T::of(mean));
            }
        }
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        let cone = self.cone;
        cone.check_length("cotangent", dy.len(), cone.codomain.len())?;
        cone.check_length("input", dx.len(), cone.simulation.domain().len())?;
        let mut maps = dy.to_vec();
        self.compensation.apply(&mut maps);
        let eye = Eye::new(cone);
        let map = Eye::interleave(&maps, cone.settings.maps.len());
        drop(maps);
        let n3 = 3 * cone.simulation.settings().particles.pow(3);
        let mut bars: Vec<Vec<f64>> = self.tables.iter().map(|table| vec![0.0; table.len()]).collect();
        let tables = &self.tables;
        let (white, mut parameters) = self.run.pull_state(
            vec![T::zero(); n3],
            vec![T::zero(); n3],
            Some(&mut |view, x, p, x_bar, p_bar| {
                eye.pull((&tables[view], &mut bars[view]), &map, (x, p), (x_bar, p_bar));
            }),
        )?;
        if !cone.simulation.free().is_empty() {
            let tables = self.gradient_tables()?;
            let mut add = |cotangent: f64, g: &Gradient| {
                parameters.iter_mut().zip(g.gradient).for_each(|(sum, g)| *sum += cotangent * g);
            };
            for (table, bar) in tables.iter().zip(&bars) {
                table.nodes().iter().zip(bar).for_each(|(node, bar)| add(*bar, node));
            }
            if cone.settings.subtract_mean {
                for (s, map) in dy.chunks(cone.settings.sky.pixels()).enumerate() {
                    let total: f64 = map.iter().map(|kappa| kappa.f64()).sum();
                    tables.iter().for_each(|table| add(-total, &cone.mean(table, s)));
                }
            }
        }
        cone.simulation.write_cotangent(&white, &parameters, dx);
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
        self.simulation.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.look() {
            Ok(look) => Box::new(look),
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}
