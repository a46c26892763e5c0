//! `lookback simulate`: realisations of a universe, their light cones, spectra and pictures.

mod realisation;
mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lookback_inference::Progress;
use lookback_lensing::{LightCone, RaySettings, RayTracing, SphereShear};
use lookback_nbody::{Simulation, Way};
use lookback_operator::Real;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::files::Hold;
use crate::memory::check_simulation;
use crate::run::Reporter;
use crate::runfile::{
    self, CosmologySection, GalaxiesSection, LightConeSection, Precision, RaysSection, SchemeName,
    SimulationSection,
};
use crate::universe::light_cone;
use crate::{Error, Result, VERSION, files};

pub use realisation::Spectra;
use realisation::memory_of_matter;

/// A file for `lookback simulate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateFile {
    /// Heading of the report.
    #[serde(default)]
    pub title: String,
    /// Seed of the initial conditions and of the tiling.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Number of universes.
    #[serde(default = "one")]
    pub realisations: u32,
    /// Floating-point type of particles and meshes.
    #[serde(default = "single")]
    pub precision: Precision,
    /// Parameters of the universe.
    #[serde(default)]
    pub cosmology: CosmologySection,
    /// Particles, mesh and time steps.
    pub simulation: SimulationSection,
    /// Convergence of its light cone; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light_cone: Option<LightConeSection>,
    /// Galaxies in the box; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub galaxies: Option<GalaxiesSection>,
    /// What is written, and where.
    #[serde(default)]
    pub output: SimulateOutput,
}

fn seed() -> u64 {
    42
}

fn one() -> u32 {
    1
}

fn single() -> Precision {
    Precision::F32
}

/// `[output]` of a simulation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulateOutput {
    /// Folder, made by the command; `simulations/NAME` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Redshifts at which matter and galaxies are written too, besides the end: folders `snapshot_zZ`. Each becomes the end of
    /// a step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<f64>,
    /// Write the density contrast, as `density.npy` (and `galaxies.npy`).
    pub density: bool,
    /// Write positions \[Mpc/h\] and peculiar velocities \[km/s\].
    pub particles: bool,
    /// As numpy arrays `positions.npy` and `velocities.npy`, or as FastPM does.
    pub particle_format: ParticleFormat,
    /// Write maps as numpy arrays besides FITS.
    pub npy: bool,
    /// Write the shear of each map of convergence, as `gamma1_N.fits` and `gamma2_N.fits`; flat maps count as periodic (Kaiser &
    /// Squires 1993), so that a margin of them is wrong.
    pub shear: bool,
    /// Write the reduced shear `g = gamma / (1 - kappa)` of each, which shapes of galaxies show, as `g1_N.fits` and `g2_N.fits`.
    /// Where `kappa` comes near 1 it grows without bound, and beyond turns its sign. Not for sources with an `alignment`, which adds to shapes and deflects no light.
    pub reduced_shear: bool,
}

impl SimulateOutput {
    /// Whether any shear is wanted.
    pub(crate) fn any_shear(&self) -> bool {
        self.shear || self.reduced_shear
    }
}

/// How particles are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticleFormat {
    /// `positions.npy` and `velocities.npy`.
    #[default]
    Npy,
    /// A folder `particles` with the blocks `1/Position`, `1/Velocity` and `Header` (FastPM, nbodykit).
    Bigfile,
}

impl SimulateFile {
    /// Reads a file; relative paths are seen from its folder.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, or holds an unknown key.
    pub fn load(path: &Path) -> Result<SimulateFile> {
        let text = String::from_utf8(files::read(path)?)
            .map_err(|_| Error::file(path, "is not a text in UTF-8; is it a simulation file?"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file: SimulateFile = runfile::read(&text).map_err(|error| {
            let place = error.line.map_or(String::new(), |line| format!("line {line}: "));
            Error::file(path, format!("{place}{}", error.message))
        })?;
        let resolve = |place: &mut String| -> Result<()> {
            *place = runfile::resolve(place, folder)?;
            Ok(())
        };
        file.places().try_for_each(resolve)?;
        let stem = path.file_stem().map_or("simulation".into(), |stem| stem.to_string_lossy().into_owned());
        file.output.directory.get_or_insert_with(|| format!("simulations/{stem}"));
        Ok(file)
    }

    /// All places of files.
    fn places(&mut self) -> impl Iterator<Item = &mut String> {
        self.cosmology.places().chain(self.light_cone.iter_mut().flat_map(LightConeSection::places))
    }

    fn directory(&self) -> PathBuf {
        PathBuf::from(self.output.directory.as_deref().unwrap_or("simulations/simulation"))
    }

    /// The file with all defaults written out.
    fn text(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::config("simulate", format!("cannot be written as TOML: {error}")))
    }
}

/// What is simulated.
pub(crate) struct Universe<T: Real> {
    pub(crate) matter: Matter<T>,
    /// Rays through the same light cone.
    pub(crate) rays: Option<Rays<T>>,
    /// Views of the simulation at which snapshots are taken, with their redshifts, the earliest first.
    pub(crate) snapshots: Snapshots,
}

/// Rays, and what they go through.
pub(crate) struct Rays<T: Real> {
    pub(crate) tracing: RayTracing<T>,
    /// The maps of the light cone, followed by the planes of the rays: one simulation sees all.
    pub(crate) joint: LightCone<T>,
}

/// A box, with a light cone or without.
pub(crate) enum Matter<T: Real> {
    Box(Simulation<T>),
    Cone(LightCone<T>),
}

impl<T: Real> Universe<T> {
    pub(crate) fn build(file: &SimulateFile) -> Result<Universe<T>> {
        let mut section = file.simulation.clone();
        let times = section.settings(&file.cosmology.build()?)?.times;
        let snapshots = snapshot_views(file, &times)?;
        section.times = snapshots.0;
        let Some(cone) = &file.light_cone else {
            let simulation = box_of(file, &section)?;
            let settings = simulation.settings();
            check_simulation(settings.memory::<T>(Way::Forward) + memory_of_matter::<T>(file, settings))?;
            return Ok(Universe { matter: Matter::Box(simulation), rays: None, snapshots: snapshots.1 });
        };
        let settings = cone.settings(cone.sky()?, file.seed)?;
        let seen = light_cone(&file.cosmology, &section, settings.clone(), &[], &[Way::Forward])?;
        let matter = memory_of_matter::<T>(file, seen.simulation().settings());
        check_simulation(seen.memory(Way::Forward) + matter)?;
        let through = |rays: &RaysSection| -> Result<Rays<T>> {
            let RaysSection { sources, planes, edge } = rays.clone();
            let tracing = RayTracing::new(
                box_of(file, &section)?,
                settings.clone(),
                RaySettings { sources, planes, edge },
            )
            .map_err(|error| Error::config("light_cone.rays", error.to_string()))?;
            check_simulation(tracing.memory(Way::Forward))?;
            let mut all = settings.clone();
            all.maps.extend_from_slice(&tracing.cone().settings().maps);
            let joint = light_cone(&file.cosmology, &section, all, &[], &[Way::Forward])?;
            check_simulation(joint.memory(Way::Forward) + matter)?;
            Ok(Rays { tracing, joint })
        };
        if let (true, Some(nside)) = (file.output.any_shear(), cone.nside) {
            check_simulation(SphereShear::memory(nside))?;
        }
        let rays = cone.rays.as_ref().map(through).transpose()?;
        Ok(Universe { matter: Matter::Cone(seen), rays, snapshots: snapshots.1 })
    }

    pub(crate) fn simulation(&self) -> &Simulation<T> {
        match &self.matter {
            Matter::Box(simulation) => simulation,
            Matter::Cone(cone) => cone.simulation(),
        }
    }
}

fn box_of<T: Real>(file: &SimulateFile, section: &SimulationSection) -> Result<Simulation<T>> {
    let cosmology = file.cosmology.build()?;
    let settings = section.settings(&cosmology)?;
    Simulation::new(settings, cosmology, &[]).map_err(|error| Error::config("simulation", error.to_string()))
}

/// Snapshots as views of the simulation, with their redshifts.
type Snapshots = Vec<(usize, f64)>;

/// The steps with the snapshots among them, and these.
fn snapshot_views(file: &SimulateFile, times: &[f64]) -> Result<(Vec<f64>, Snapshots)> {
    let redshifts = &file.output.snapshots;
    let wrong = |message: String| Err(Error::config("output", message));
    if redshifts.is_empty() {
        return Ok((times.to_vec(), Vec::new()));
    }
    if file.simulation.scheme != SchemeName::BullFrog {
        return wrong(
            "`snapshots` need `scheme = \"bull_frog\"`, whose positions and velocities meet after each step"
                .into(),
        );
    }
    let (first, last) = (1.0 / times[0] - 1.0, 1.0 / times[times.len() - 1] - 1.0);
    if let Some(z) = redshifts.iter().find(|z| !(**z > last && **z < first)) {
        let why = if *z == last {
            "is the end of the simulation, which is written anyway: leave it out".to_string()
        } else {
            format!("lies outside of the simulation, which goes from {first:.4} to {last:.4}")
        };
        return wrong(format!("a snapshot at redshift {z} {why}"));
    }
    let mut all = times.to_vec();
    for z in redshifts {
        let a = 1.0 / (1.0 + z);
        if !all.iter().any(|time| (time - a).abs() < 1e-9) {
            all.push(a);
        }
    }
    all.sort_by(f64::total_cmp);
    let view = |z: &f64| {
        let view = all.iter().position(|time| (time - 1.0 / (1.0 + z)).abs() < 1e-9);
        (view.unwrap_or(0), *z)
    };
    let mut views: Vec<(usize, f64)> = redshifts.iter().map(view).collect();
    views.sort_by_key(|(view, _)| *view);
    views.dedup_by_key(|(view, _)| *view);
    Ok((all, views))
}

/// A finished simulation.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// Its folder.
    pub directory: PathBuf,
    /// Realisations that were there already, and all.
    pub realisations: (u32, u32),
    /// Seconds of the new ones.
    pub seconds: f64,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Simulated {
    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.directory.join("report.html")
    }
}

/// Simulates all realisations that are not there yet, and draws the report.
///
/// # Errors
/// If a section is wrong, the folder holds other simulations, the machine has too little memory, or the disk refuses. Killed, or stopped
/// between two realisations by `stop`, finished realisations stay, and the same call goes on with the others.
pub fn simulate(
    file: &SimulateFile,
    overwrite: bool,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Simulated> {
    match file.precision {
        Precision::F32 => simulate_in::<f32>(file, overwrite, stop, reporter),
        Precision::F64 => simulate_in::<f64>(file, overwrite, stop, reporter),
    }
}

fn simulate_in<T: Real>(
    file: &SimulateFile,
    overwrite: bool,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Simulated> {
    if file.realisations == 0 {
        return Err(Error::config("simulate", "`realisations` must be at least 1"));
    }
    if let Some(galaxies) = &file.galaxies {
        galaxies.bias().check().map_err(|error| Error::config("galaxies", error.to_string()))?;
    }
    if file.galaxies.is_some() && file.simulation.sharpening.is_some() {
        let message = "galaxies are painted from particles as they move: leave out `simulation.sharpening`";
        return Err(Error::config("galaxies", message));
    }
    if file.output.any_shear() && file.light_cone.as_ref().is_none_or(|cone| cone.sources.is_empty()) {
        return Err(Error::config("output", "`shear` and `reduced_shear` need a light cone with `sources`"));
    }
    if let Some(cone) = file.light_cone.as_ref().filter(|_| file.output.reduced_shear) {
        cone.check_reduced_shear().map_err(|message| Error::config("output", message))?;
    }
    let universe = Universe::<T>::build(file)?;
    let directory = file.directory();
    let sigma8 = universe.simulation().cosmology().linear().sigma8();
    let _hold = prepare_folder::<T>(file, sigma8, &directory, overwrite)?;
    let start = std::time::Instant::now();
    let each = universe.simulation().settings().times.len() as u64 + 1;
    let steps = u64::from(file.realisations) * each;
    let mut done_before = 0;
    for number in 0..file.realisations {
        let folder = directory.join(format!("realisation_{number:04}"));
        if realisation::is_whole(file, &universe, &folder) {
            done_before += 1;
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            let goes_on = format!(
                "{number} of {} universes are there; the same call goes on with the others",
                file.realisations
            );
            return Err(Error::Interrupted { goes_on });
        }
        let mut step = u64::from(number) * each;
        let mut tick = |words: &str| {
            step += 1;
            let message = format!("universe {} of {}: {words}", number + 1, file.realisations);
            reporter.step(&Progress { steps: (step.min(steps), steps), message, done: false });
        };
        realisation::run(file, &universe, number, &folder, &mut tick)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let all = realisation::load(file, &directory)?;
    report::write(file, &universe, &all, &directory)?;
    let notes = universe.simulation().settings().advice().into_iter().collect();
    Ok(Simulated { directory, realisations: (done_before, file.realisations), seconds, notes })
}

/// The file by which a folder of simulations is known.
const PROVENANCE: &str = "provenance.json";

/// The files that a simulation reads, with their digests.
fn inputs(file: &SimulateFile) -> Result<serde_json::Map<String, serde_json::Value>> {
    let digest =
        |place: &mut String| Ok((place.clone(), files::sha256(&files::read(Path::new(place))?).into()));
    file.clone().places().map(digest).collect()
}

/// Makes the folder, or checks that what it holds was made by the same file from the same inputs; more realisations may be added.
fn prepare_folder<T: Real>(
    file: &SimulateFile,
    sigma8: f64,
    directory: &Path,
    overwrite: bool,
) -> Result<Hold> {
    let marker = directory.join("simulate.toml");
    // A file of this name may also be what the user calls her own.
    let ours = directory.join(PROVENANCE).exists();
    let hold = files::take_folder(directory, ours, "simulations", &["simulate.toml"])?;
    let inputs = inputs(file)?;
    let same = SimulateFile { realisations: 1, title: String::new(), ..file.clone() }.text()?;
    if marker.exists() && !overwrite {
        let text = String::from_utf8(files::read(&marker)?).unwrap_or_default();
        let before: Option<SimulateFile> = runfile::read(&text).ok();
        let before = before
            .map(|old| SimulateFile { realisations: 1, title: String::new(), ..old }.text())
            .transpose()?;
        if before.as_deref() != Some(same.as_str()) {
            return Err(Error::Busy(format!(
                "{} holds simulations made with other settings; give another folder, or --overwrite",
                directory.display()
            )));
        }
        let known = std::fs::read(directory.join(PROVENANCE)).ok();
        let known: Option<serde_json::Value> = known.and_then(|text| serde_json::from_slice(&text).ok());
        let digests = known.as_ref().and_then(|known| known.get("inputs")?.as_object());
        let changed = |(place, digest): &(&String, &serde_json::Value)| {
            digests.is_some_and(|digests| digests.get(place.as_str()) != Some(*digest))
        };
        if let Some((place, _)) = inputs.iter().find(changed) {
            return Err(Error::Busy(format!(
                "{place} has changed since the simulations in {} were made; give another folder, or --overwrite",
                directory.display()
            )));
        }
    } else {
        hold.empty(PROVENANCE)?;
    }
    let text = file.text()?;
    files::write_whole(&marker, |out| out.write_all(text.as_bytes()))?;
    let provenance = json!({
        "lookback_version": VERSION, "precision": T::NAME, "seed": file.seed, "sigma8": sigma8, "inputs": inputs,
    });
    files::write_whole(&directory.join(PROVENANCE), |out| {
        serde_json::to_writer_pretty(out, &provenance).map_err(std::io::Error::from)
    })?;
    Ok(hold)
}
