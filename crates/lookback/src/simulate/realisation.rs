//! One universe: from its seed to maps, spectra and whatever else is asked for.

use std::path::Path;

use lookback_cosmology::Tracer;
use lookback_lensing::{LightCone, RayTracing, SphereShear, kaiser_squires};
use lookback_mesh::{
    Cloud, Grid, Harmonics, bin_edges, cross_spectrum, power_quadrupole, power_spectrum, white_modes,
};
use lookback_nbody::{Run, Settings, Simulation, galaxy_weights, redshift_shift};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector::{axpy, check_finite};
use lookback_operator::{DynOperator, LinearOperator, Operator, Real};
use serde::{Deserialize, Serialize};

use super::{Matter, ParticleFormat, Rays, SimulateFile, Universe};
use crate::formats::bigfile::{self, Attribute};
use crate::formats::fits::{self, Card};
use crate::formats::npy;
use crate::runfile::SourceSection;
use crate::{Error, Result, VERSION, files};

/// Bins of the spectrum of the density, and of the maps.
const BINS: usize = 32;

/// A spectrum in bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binned {
    /// Wave numbers \[h/Mpc\] or multipoles.
    pub k: Vec<f64>,
    /// Power \[(Mpc/h)^3\] or \[sr\].
    pub power: Vec<f64>,
    /// Modes a bin.
    pub modes: Vec<usize>,
}

/// Spectra of one universe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spectra {
    /// Of the density at the end, window divided out, shot noise left in.
    pub density: Binned,
    /// Of each map.
    pub maps: Vec<Binned>,
    /// Of each pair of maps, the first with all that follow, and so on; see [`pairs`].
    #[serde(default)]
    pub pairs: Vec<Binned>,
    /// Of the convergence of each source of the rays.
    #[serde(default)]
    pub rays: Vec<Binned>,
    /// Of the galaxies at the end: monopole and quadrupole, shot noise left in.
    #[serde(default)]
    pub galaxies: Option<[Binned; 2]>,
    /// Of density and galaxies at each snapshot.
    #[serde(default)]
    pub snapshots: Vec<(Binned, Option<[Binned; 2]>)>,
    /// Seconds that the universe took.
    pub seconds: f64,
}

/// Pairs of different maps.
pub(super) fn pairs(maps: usize) -> Vec<[usize; 2]> {
    (0..maps).flat_map(|first| (first + 1..maps).map(move |second| [first, second])).collect()
}

/// Whether a realisation was written to its end, and no map of its light cone was taken away since.
pub(super) fn is_whole<T: Real>(file: &SimulateFile, universe: &Universe<T>, folder: &Path) -> bool {
    let mut maps = match &universe.matter {
        Matter::Cone(cone) => {
            let mut maps = cone.settings().names();
            for (wanted, prefix) in [(file.output.shear, "gamma"), (file.output.reduced_shear, "g")] {
                maps.extend(wanted.then(|| shear_names(cone, prefix)).into_iter().flatten());
            }
            maps
        }
        Matter::Box(_) => Vec::new(),
    };
    maps.retain(|name| !folder.join(format!("{name}.fits")).exists());
    maps.is_empty() && folder.join("spectra.json").exists()
}

/// Simulates, and writes the folder; `spectra.json` comes last and says that all is there.
pub(super) fn run<T: Real>(
    file: &SimulateFile,
    universe: &Universe<T>,
    number: u32,
    folder: &Path,
    tick: &mut dyn FnMut(&str),
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let start = std::time::Instant::now();
    let simulation = universe.simulation();
    let settings = simulation.settings();
    let grid = Grid::new(&[settings.particles; 3], &[settings.length; 3])?;
    let mut modes = vec![T::zero(); grid.len()];
    white_modes(&grid, Stream::new(file.seed, Purpose::Signal, number), &mut modes);
    let mut painter = MatterPainter { file, simulation, linear: Vec::new() };
    let mut snapshots = Vec::new();
    let mut failure = None;
    let views: Vec<usize> = universe.snapshots.iter().map(|(view, _)| *view).collect();
    let mut seen = |painter: &MatterPainter<'_, T>, view: usize, x: &[T], p: &[T]| {
        if let Some(which) = views.iter().position(|at| *at == view) {
            let moment = Moment { displacement: x, momentum: p, at: settings.times[view] };
            let folder = folder.join(snapshot_folder(universe.snapshots[which].1));
            match painter.write(&moment, &folder) {
                Ok(spectra) => snapshots.push(spectra),
                Err(error) => failure = failure.take().or(Some(error)),
            }
        }
        tick("step done");
    };
    let (mut maps, mut crosses, mut planes) = (Vec::new(), Vec::new(), Vec::new());
    let (density, galaxies) = match &universe.matter {
        Matter::Box(simulation) => {
            let mut run = simulation.run()?;
            run.look_from(usize::MAX);
            run.look_at(views.clone());
            run.prepare(&modes)?;
            painter.linear = painter.linear_density(&run);
            run.advance(Some(&mut |view, x, p| seen(&painter, view, x, p)));
            painter.finish(&mut run, folder)?
        }
        Matter::Cone(cone) => {
            let pixels = cone.settings().sky.pixels();
            let looked = universe.rays.as_ref().map_or(cone, |rays| &rays.joint);
            let mut values = vec![T::zero(); looked.codomain().len()];
            let mut look = looked.look()?;
            look.run().look_at(views.clone());
            look.run().prepare(&modes)?;
            painter.linear = painter.linear_density(look.run());
            look.evolve(&modes, &mut values, |view, x, p| seen(&painter, view, x, p))?;
            planes = values.split_off(pixels * cone.settings().maps.len());
            let mut written = Vec::new();
            for (name, map) in cone.settings().names().iter().zip(values.chunks(pixels)) {
                written.push(write_map(file, cone, (name, map), number, folder)?);
            }
            if file.output.any_shear() {
                write_shear(file, cone, &written, number, folder)?;
            }
            let measured = Measured::of(cone, &written)?;
            maps = (0..written.len()).map(|map| measured.spectrum([map; 2])).collect::<Result<_>>()?;
            let each = pairs(written.len()).into_iter();
            crosses = each.map(|pair| measured.spectrum(pair)).collect::<Result<_>>()?;
            painter.finish(look.run(), folder)?
        }
    };
    if let Some(error) = failure {
        return Err(error);
    }
    let rays = match &universe.rays {
        None => Vec::new(),
        Some(Rays { tracing, .. }) => trace(file, tracing, &planes, number, folder)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    let spectra = Spectra { density, maps, pairs: crosses, rays, galaxies, snapshots, seconds };
    table(&spectra, universe, folder)?;
    files::write_whole(&folder.join("spectra.json"), |out| {
        serde_json::to_writer_pretty(out, &spectra).map_err(std::io::Error::from)
    })
}

/// The folder of a snapshot.
pub(super) fn snapshot_folder(redshift: f64) -> String {
    format!("snapshot_z{redshift}")
}

/// Traces rays through their planes, writes their maps, and measures the spectra of the convergence.
fn trace<T: Real>(
    file: &SimulateFile,
    tracing: &RayTracing<T>,
    planes: &[T],
    number: u32,
    folder: &Path,
) -> Result<Vec<Binned>> {
    let cone = tracing.cone();
    let pixels = cone.settings().sky.pixels();
    let mut maps = vec![T::zero(); tracing.codomain().len()];
    tracing.through(planes, &mut maps)?;
    let mut convergences = Vec::new();
    for (block, map) in tracing.codomain().blocks().iter().zip(maps.chunks(pixels)) {
        let map = write_map(file, cone, (&format!("rays_{}", block.name), map), number, folder)?;
        if block.name.starts_with("kappa") {
            convergences.push(map);
        }
    }
    let measured = Measured::of(cone, &convergences)?;
    (0..convergences.len()).map(|map| measured.spectrum([map; 2])).collect()
}

/// Writes a map, and gives its numbers.
fn write_map<T: Real, U: Real>(
    file: &SimulateFile,
    cone: &LightCone<T>,
    (name, map): (&str, &[U]),
    number: u32,
    folder: &Path,
) -> Result<Vec<f64>> {
    let map: Vec<f64> = map.iter().map(|value| value.f64()).collect();
    let cards = cards(file, number, name);
    let path = folder.join(format!("{name}.fits"));
    if file.output.npy {
        let path = folder.join(format!("{name}.npy"));
        npy::write(&path, &cone.settings().sky.shape(), map.iter().map(|&value| value as f32))?;
    }
    match (cone.sphere(), cone.grid()) {
        (Some(sphere), _) => fits::write_healpix(&path, &sphere, &map, name, &cards)?,
        (None, Some(grid)) => fits::write_map(&path, &grid, &map, None, &cards)?,
        (None, None) => unreachable!("maps are flat or of the sphere"),
    }
    Ok(map)
}

/// Writes the shear of each map of convergence, the reduced shear, or both.
fn write_shear<T: Real>(
    file: &SimulateFile,
    cone: &LightCone<T>,
    maps: &[Vec<f64>],
    number: u32,
    folder: &Path,
) -> Result<()> {
    let shear: DynOperator<f64> = match (cone.sphere(), cone.grid()) {
        (Some(sphere), _) => SphereShear::new(sphere).shared(),
        (None, Some(grid)) => kaiser_squires(&grid)?.shared(),
        (None, None) => unreachable!("maps are flat or of the sphere"),
    };
    let lensed = cone.settings().maps.iter().zip(maps).filter(|(tracer, _)| is_lensed(tracer));
    for (source, (_, kappa)) in lensed.enumerate() {
        let mut gamma = shear.apply(kappa)?;
        let write = |prefix: &str, gamma: &[f64]| -> Result<()> {
            for (map, name) in gamma.chunks(kappa.len()).zip(components(prefix, source + 1)) {
                write_map(file, cone, (&name, map), number, folder)?;
            }
            Ok(())
        };
        if file.output.shear {
            write("gamma", &gamma)?;
        }
        if file.output.reduced_shear {
            for component in gamma.chunks_mut(kappa.len()) {
                component.iter_mut().zip(kappa).for_each(|(gamma, kappa)| *gamma /= 1.0 - kappa);
            }
            check_finite("light cone", "reduced shear", &gamma)?;
            write("g", &gamma)?;
        }
    }
    Ok(())
}

/// Names of both components of a shear.
fn components(prefix: &str, source: usize) -> [String; 2] {
    [1, 2].map(|component| format!("{prefix}{component}_{source}"))
}

fn is_lensed(tracer: &Tracer) -> bool {
    matches!(tracer, Tracer::Convergence { .. })
}

/// Names of the maps of a shear, `gamma` or the reduced one `g`: both components of the first source, of the second, and so on.
pub(super) fn shear_names<T: Real>(cone: &LightCone<T>, prefix: &str) -> Vec<String> {
    let sources = cone.settings().maps.iter().filter(|tracer| is_lensed(tracer)).count();
    (1..=sources).flat_map(|source| components(prefix, source)).collect()
}

/// Maps of one sky, ready for their spectra.
enum Measured<'a> {
    Flat { grid: Grid, maps: &'a [Vec<f64>] },
    Full { solid_angle: f64, harmonics: Vec<Harmonics> },
}

impl<'a> Measured<'a> {
    fn of<T: Real>(cone: &LightCone<T>, maps: &'a [Vec<f64>]) -> Result<Measured<'a>> {
        if let Some(sphere) = cone.sphere() {
            let harmonics = maps.iter().map(|map| Harmonics::of(&sphere, map, 2 * sphere.nside())).collect();
            return Ok(Measured::Full { solid_angle: sphere.solid_angle(), harmonics });
        }
        let Some(grid) = cone.grid() else { unreachable!("flat maps have a grid") };
        Ok(Measured::Flat { grid, maps })
    }

    fn spectrum(&self, [first, second]: [usize; 2]) -> Result<Binned> {
        match self {
            Measured::Flat { grid, maps } => {
                let spectrum = cross_spectrum(grid, [&maps[first], &maps[second]], &bin_edges(grid, BINS))?;
                Ok(binned(spectrum))
            }
            Measured::Full { solid_angle, harmonics } => {
                let mut spectrum = harmonics[first].spectrum_with(&harmonics[second]);
                // The interpolation between pixels is a cloud in a cell of their size: sinc(x/2)^4 for its square, on
                // average exp(-x^2 / 6) along an axis, and the same along all directions.
                for (l, power) in spectrum.iter_mut().enumerate() {
                    *power *= ((l as f64).powi(2) * solid_angle / 6.0).exp();
                }
                Ok(sphere_bins(&spectrum))
            }
        }
    }
}

/// Bins of a spectrum of the full sky, evenly spaced in the logarithm from `l = 2` on; each `l` counts as often as it has
/// modes.
fn sphere_bins(spectrum: &[f64]) -> Binned {
    let largest = spectrum.len() - 1;
    let mut bins = Binned { k: Vec::new(), power: Vec::new(), modes: Vec::new() };
    let mut from = 2;
    for bin in 1..=BINS {
        let to = (2.0 * ((largest + 1) as f64 / 2.0).powf(bin as f64 / BINS as f64)).round() as usize;
        let to = to.min(largest + 1);
        if to <= from {
            continue;
        }
        let modes: usize = (from..to).map(|l| 2 * l + 1).sum();
        let sum = |f: &dyn Fn(usize) -> f64| {
            (from..to).map(|l| (2 * l + 1) as f64 * f(l)).sum::<f64>() / modes as f64
        };
        bins.k.push(sum(&|l| l as f64));
        bins.power.push(sum(&|l| spectrum[l]));
        bins.modes.push(modes);
        from = to;
    }
    bins
}

fn binned(spectrum: lookback_mesh::PowerSpectrum) -> Binned {
    Binned { k: spectrum.k, power: spectrum.power, modes: spectrum.modes }
}

fn cards(file: &SimulateFile, number: u32, name: &str) -> Vec<Card> {
    let s = &file.simulation;
    let mut cards = vec![
        Card::Text("OBJECT", name.into()),
        Card::Text("CREATOR", format!("lookback {VERSION}")),
        Card::Integer("SEED", file.seed as i64),
        Card::Integer("REALISAT", i64::from(number)),
        Card::Integer("NPART", s.particles as i64),
        Card::Number("BOXSIZE", s.box_size),
        Card::Number("MESHFAC", s.mesh_factor),
        Card::Number("OMEGA_M", file.cosmology.omega_m),
    ];
    let source = name.strip_prefix("kappa").and_then(|number| number.parse::<usize>().ok());
    let sources = file.light_cone.as_ref().map_or(&[][..], |cone| &cone.sources);
    if let Some(SourceSection::Plane { z, .. }) = source.and_then(|i| sources.get(i.checked_sub(1)?)) {
        cards.push(Card::Number("Z_SOURCE", *z));
    }
    if ["gamma", "rays_gamma", "g1_", "g2_"].iter().any(|shear| name.starts_with(shear)) {
        let sphere = file.light_cone.as_ref().is_some_and(|cone| cone.nside.is_some());
        let axes = if sphere {
            "shear along x to the east, y to the north"
        } else {
            "shear along x (columns), y (rows)"
        };
        cards.push(Card::Text("AXES", axes.into()));
    }
    cards
}

/// Planes of the mesh in the slab of matter: about 10 Mpc/h.
pub(super) fn slab_planes(settings: &Settings) -> usize {
    let n = settings.cells;
    ((10.0 / settings.length * n as f64).round() as usize).clamp(1, n)
}

/// Whether what is written of the end depends on velocities.
fn needs_momenta(file: &SimulateFile) -> bool {
    file.output.particles || file.galaxies.is_some()
}

/// Bytes that are needed to measure and write matter, beside the simulation: the density and its spectrum; where they are wanted, momenta,
/// and the linear density, weights and places of galaxies. What is written goes to its file number by number.
pub(super) fn memory_of_matter<T: Real>(file: &SimulateFile, settings: &Settings) -> usize {
    let (particles, cells) = (settings.particles.pow(3), settings.cells.pow(3));
    let momenta = if needs_momenta(file) { 3 } else { 0 };
    let galaxies = if file.galaxies.is_some() { 5 } else { 0 };
    size_of::<T>() * (2 * cells + (momenta + galaxies) * particles)
}

/// Particles at one moment.
struct Moment<'a, T> {
    /// Displacements as they are seen \[Mpc/h\].
    displacement: &'a [T],
    /// `dx / dD1` \[Mpc/h\].
    momentum: &'a [T],
    /// Scale factor.
    at: f64,
}

/// Writes matter and galaxies of one moment.
struct MatterPainter<'a, T: Real> {
    file: &'a SimulateFile,
    simulation: &'a Simulation<T>,
    /// The linear density on the lattice, where galaxies need it.
    linear: Vec<T>,
}

impl<T: Real> MatterPainter<'_, T> {
    fn linear_density(&self, run: &Run<'_, T>) -> Vec<T> {
        if self.file.galaxies.is_some() { run.linear_density() } else { Vec::new() }
    }

    /// The end of a run.
    fn finish(&self, run: &mut Run<'_, T>, folder: &Path) -> Result<(Binned, Option<[Binned; 2]>)> {
        let at = self.simulation.settings().times.last().copied().unwrap_or(1.0);
        // States are given as a^2 dx/dt.
        let unit = self.simulation.cosmology().instant(at).momentum_factor();
        let moving = needs_momenta(self.file);
        let momentum = if moving { run.momentum(1.0 / unit) } else { Vec::new() };
        self.write(&Moment { displacement: &run.seen(), momentum: &momentum, at }, folder)
    }

    /// Writes a slab of the density and whatever else is wanted; gives the spectra of matter and of galaxies.
    fn write(&self, moment: &Moment<'_, T>, folder: &Path) -> Result<(Binned, Option<[Binned; 2]>)> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let settings = self.simulation.settings();
        let cloud = Cloud::new(settings.particles, settings.cells, settings.length, settings.window)?;
        let grid = Grid::new(&[settings.cells; 3], &[settings.length; 3])?;
        let mut delta = vec![T::zero(); grid.len()];
        cloud.paint(moment.displacement, &mut delta);
        contrast(&cloud, &mut delta);
        check_finite("simulation", "density", &delta)?;
        let n = settings.cells;
        // Seen along the first axis.
        let depth = slab_planes(settings);
        let slab = (0..n * n).map(|i| {
            let sum: f64 = (0..depth).map(|plane| 1.0 + delta[plane * n * n + i].f64()).sum();
            (sum / depth as f64) as f32
        });
        npy::write(&folder.join("density_slab.npy"), &[n, n], slab)?;
        let edges = bin_edges(&grid, BINS);
        let matter = unwindowed(binned(power_spectrum(&grid, &delta, &edges)?), settings);
        self.write_mesh("density.npy", &delta, folder)?;
        spectrum_table(&folder.join("power.csv"), &[("power_mpc_h_3", &matter)])?;
        if self.file.output.particles {
            write_particles(moment, self.simulation, self.file.output.particle_format, folder)?;
        }
        let Some(section) = self.file.galaxies else { return Ok((matter, None)) };
        let cosmology = self.simulation.cosmology();
        let growth = cosmology.instant(moment.at).d1.d;
        let (weights, _) = galaxy_weights(section.bias(), &self.linear, growth);
        let mut place = moment.displacement.to_vec();
        if section.redshift_space {
            let unit = cosmology.instant(moment.at).momentum_factor();
            let shift = redshift_shift(cosmology, moment.at) * unit;
            let last = 2 * place.len() / 3;
            axpy(shift, &moment.momentum[last..], &mut place[last..]);
        }
        cloud.paint_values(&place, &weights, &mut delta);
        contrast(&cloud, &mut delta);
        self.write_mesh("galaxies.npy", &delta, folder)?;
        let monopole = unwindowed(binned(power_spectrum(&grid, &delta, &edges)?), settings);
        let quadrupole = unwindowed(binned(power_quadrupole(&grid, &delta, &edges)?), settings);
        let columns = [("monopole_mpc_h_3", &monopole), ("quadrupole_mpc_h_3", &quadrupole)];
        spectrum_table(&folder.join("power_galaxies.csv"), &columns)?;
        Ok((matter, Some([monopole, quadrupole])))
    }

    fn write_mesh(&self, name: &str, delta: &[T], folder: &Path) -> Result<()> {
        if !self.file.output.density {
            return Ok(());
        }
        let n = self.simulation.settings().cells;
        npy::write(&folder.join(name), &[n, n, n], delta.iter().map(|d| d.f64() as f32))
    }
}

/// Turns counts into a contrast.
fn contrast<T: Real>(cloud: &Cloud, counts: &mut [T]) {
    let scale = T::of(cloud.mesh_len() as f64 / cloud.particles() as f64);
    counts.iter_mut().for_each(|count| *count = *count * scale - T::one());
}

/// Takes the window of the paint off, at the mean of each bin, along no axis in particular.
fn unwindowed(mut spectrum: Binned, settings: &Settings) -> Binned {
    for (k, power) in spectrum.k.iter().zip(&mut spectrum.power) {
        let w = k * settings.length / settings.cells as f64 / 3.0f64.sqrt();
        *power /= settings.window.transform(w).powi(6);
    }
    spectrum
}

/// Writes spectra with the same bins side by side.
fn spectrum_table(path: &Path, columns: &[(&str, &Binned)]) -> Result<()> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = format!("k_h_per_mpc,{},modes\n", names.join(","));
    let Some((_, first)) = columns.first() else { return Ok(()) };
    for (i, k) in first.k.iter().enumerate() {
        let powers: Vec<String> =
            columns.iter().map(|(_, spectrum)| format!("{:e}", spectrum.power[i])).collect();
        text += &format!("{k:e},{},{}\n", powers.join(","), first.modes[i]);
    }
    files::write_whole(path, |out| out.write_all(text.as_bytes()))
}

/// A coordinate in a periodic box, below its length also once it is rounded.
fn within(x: f64, length: f64) -> f32 {
    let x = x.rem_euclid(length) as f32;
    if f64::from(x) >= length { 0.0 } else { x }
}

/// Rows of three: positions in the box, sharpened if the settings say so, and peculiar velocities.
fn write_particles<T: Real>(
    moment: &Moment<'_, T>,
    simulation: &Simulation<T>,
    format: ParticleFormat,
    folder: &Path,
) -> Result<()> {
    let settings = simulation.settings();
    let (n, length) = (settings.particles, settings.length);
    let count = n.pow(3);
    let spacing = length / n as f64;
    let position = |i: usize| {
        let (p, d) = (i / 3, i % 3);
        let q = [p / (n * n), p / n % n, p % n][d] as f64 * spacing;
        within(q + moment.displacement[d * count + p].f64(), length)
    };
    // a^2 dx/dt in H0 Mpc/h over a is the peculiar velocity: 100 km/s a unit.
    let unit = 100.0 / moment.at * simulation.cosmology().instant(moment.at).momentum_factor();
    let velocity = |i: usize| (unit * moment.momentum[i % 3 * count + i / 3].f64()) as f32;
    let (positions, velocities) = ((0..3 * count).map(position), (0..3 * count).map(velocity));
    match format {
        ParticleFormat::Npy => {
            npy::write(&folder.join("positions.npy"), &[count, 3], positions)?;
            npy::write(&folder.join("velocities.npy"), &[count, 3], velocities)
        }
        ParticleFormat::Bigfile => {
            let folder = folder.join("particles");
            bigfile::write_block(&folder.join("1/Position"), 3, positions)?;
            bigfile::write_block(&folder.join("1/Velocity"), 3, velocities)?;
            bigfile::write_attributes(&folder.join("Header"), &header(simulation, moment.at))
        }
    }
}

/// Critical density today \[10^10 M_sun/h / (Mpc/h)^3\].
const CRITICAL_DENSITY: f64 = 27.754;

/// What FastPM says of a snapshot; lengths in Mpc/h, masses in 10^10 M_sun/h.
fn header<T: Real>(simulation: &Simulation<T>, at: f64) -> Vec<(&'static str, Attribute)> {
    let (settings, p) = (simulation.settings(), simulation.cosmology().parameters());
    let mass = CRITICAL_DENSITY * p.omega_m * (settings.length / settings.particles as f64).powi(3);
    let of_dark_matter = |value: f64| Attribute::Numbers(vec![0.0, value, 0.0, 0.0, 0.0, 0.0]);
    let particles = settings.particles as i64;
    vec![
        ("BoxSize", Attribute::Numbers(vec![settings.length])),
        ("ScalingFactor", Attribute::Numbers(vec![at])),
        ("Time", Attribute::Numbers(vec![at])),
        ("OmegaM", Attribute::Numbers(vec![p.omega_m])),
        ("OmegaLambda", Attribute::Numbers(vec![simulation.cosmology().background().omega_de])),
        ("HubbleParam", Attribute::Numbers(vec![p.h])),
        ("NC", Attribute::Integers(vec![particles])),
        ("M0", Attribute::Numbers(vec![mass])),
        ("MassTable", of_dark_matter(mass)),
        ("TotNumPart", Attribute::Integers(vec![0, particles.pow(3), 0, 0, 0, 0])),
        ("UsePeculiarVelocity", Attribute::Integers(vec![1])),
    ]
}

fn table<T: Real>(spectra: &Spectra, universe: &Universe<T>, folder: &Path) -> Result<()> {
    let write = |name: &str, spectrum: &Binned| {
        let mut text = "ell,c_ell_sr,modes\n".to_string();
        for ((k, power), modes) in spectrum.k.iter().zip(&spectrum.power).zip(&spectrum.modes) {
            text += &format!("{k:e},{power:e},{modes}\n");
        }
        files::write_whole(&folder.join(name), |out| out.write_all(text.as_bytes()))
    };
    if let Matter::Cone(cone) = &universe.matter {
        let names = cone.settings().names();
        for (name, spectrum) in names.iter().zip(&spectra.maps) {
            write(&format!("cl_{name}.csv"), spectrum)?;
        }
        for ([first, second], spectrum) in pairs(names.len()).into_iter().zip(&spectra.pairs) {
            write(&format!("cl_{}_{}.csv", names[first], names[second]), spectrum)?;
        }
    }
    for (which, spectrum) in spectra.rays.iter().enumerate() {
        write(&format!("cl_rays_{}.csv", which + 1), spectrum)?;
    }
    Ok(())
}

/// The spectra of all realisations.
pub(super) fn load(file: &SimulateFile, directory: &Path) -> Result<Vec<Spectra>> {
    (0..file.realisations)
        .map(|number| {
            let path = directory.join(format!("realisation_{number:04}/spectra.json"));
            serde_json::from_slice(&files::read(&path)?)
                .map_err(|error| Error::file(&path, format!("is damaged ({error}); delete it and run again")))
        })
        .collect()
}
