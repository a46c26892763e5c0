//! One universe: from its seed to maps, spectra and whatever else is asked for.

use std::path::Path;

use lookback_lensing::LightCone;
use lookback_mesh::{Grid, bin_edges, power_spectrum, sphere_spectrum, white_modes};
use lookback_nbody::{Run, Settings, State};
use lookback_operator::Real;
use lookback_operator::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::{SimulateFile, Universe};
use crate::formats::fits::{self, Card};
use crate::formats::npy;
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
    /// Seconds that the universe took.
    pub seconds: f64,
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
    let mut spectra = Vec::new();
    let density = match universe {
        Universe::Box(simulation) => {
            let mut run = simulation.run()?;
            // The watch only counts steps: nothing is sharpened for it.
            run.look_from(usize::MAX);
            run.evolve(&modes, Some(&mut |_, _, _| tick("step done")))?;
            drop(modes);
            finish(file, settings, &mut run, folder)?
        }
        Universe::Cone(cone) => {
            let pixels = cone.settings().sky.pixels();
            let mut maps = vec![T::zero(); pixels * cone.settings().maps.len()];
            let mut look = cone.look()?;
            look.evolve(&modes, &mut maps, |_, _, _| tick("step done"))?;
            drop(modes);
            for (name, map) in cone.settings().names().iter().zip(maps.chunks(pixels)) {
                let values: Vec<f64> = map.iter().map(|kappa| kappa.f64()).collect();
                spectra.push(write_map(file, cone, (name, &values), number, folder)?);
            }
            finish(file, settings, look.run(), folder)?
        }
    };
    let spectra = Spectra { density, maps: spectra, seconds: start.elapsed().as_secs_f64() };
    table(&spectra, universe, folder)?;
    files::write_whole(&folder.join("spectra.json"), |out| {
        serde_json::to_writer_pretty(out, &spectra).map_err(std::io::Error::from)
    })
}

/// Writes a map, and measures its spectrum.
fn write_map<T: Real>(
    file: &SimulateFile,
    cone: &LightCone<T>,
    (name, map): (&str, &[f64]),
    number: u32,
    folder: &Path,
) -> Result<Binned> {
    let cards = cards(file, number, name);
    let path = folder.join(format!("{name}.fits"));
    if file.output.npy {
        let path = folder.join(format!("{name}.npy"));
        npy::write(&path, &cone.settings().sky.shape(), map.iter().map(|&value| value as f32))?;
    }
    if let Some(sphere) = cone.sphere() {
        fits::write_healpix(&path, &sphere, map, name, &cards)?;
        let mut spectrum = sphere_spectrum(&sphere, map, 2 * sphere.nside());
        // The interpolation between pixels is a cloud in a cell of their size: sinc(x/2)^4 for its square, on average
        // exp(-x^2 / 6) along an axis, and the same along all directions.
        for (l, power) in spectrum.iter_mut().enumerate() {
            *power *= ((l as f64).powi(2) * sphere.solid_angle() / 6.0).exp();
        }
        return Ok(sphere_bins(&spectrum));
    }
    let Some(grid) = cone.grid() else { unreachable!("flat maps have a grid") };
    fits::write_map(&path, &grid, map, None, &cards)?;
    Ok(binned(power_spectrum(&grid, map, &bin_edges(&grid, BINS))?))
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
    vec![
        Card::Text("OBJECT", name.into()),
        Card::Text("CREATOR", format!("lookback {VERSION}")),
        Card::Integer("SEED", file.seed as i64),
        Card::Integer("REALISAT", i64::from(number)),
        Card::Integer("NPART", s.particles as i64),
        Card::Number("BOXSIZE", s.box_size),
        Card::Number("MESHFAC", s.mesh_factor),
        Card::Number("OMEGA_M", file.cosmology.omega_m),
    ]
}

/// Density at the end, its slice and spectrum, and the particles if they are wanted.
fn finish<T: Real>(
    file: &SimulateFile,
    settings: &Settings,
    run: &mut Run<'_, T>,
    folder: &Path,
) -> Result<Binned> {
    let grid = Grid::new(&[settings.cells; 3], &[settings.length; 3])?;
    let mut delta = vec![T::zero(); grid.len()];
    run.density(&mut delta);
    let n = settings.cells;
    // A slab of about 10 Mpc/h, seen along the first axis.
    let depth = ((10.0 / settings.length * n as f64).round() as usize).clamp(1, n);
    let slab = (0..n * n).map(|i| {
        let sum: f64 = (0..depth).map(|plane| 1.0 + delta[plane * n * n + i].f64()).sum();
        (sum / depth as f64) as f32
    });
    npy::write(&folder.join("density_slab.npy"), &[n, n], slab)?;
    if file.output.density {
        npy::write(&folder.join("density.npy"), &[n, n, n], delta.iter().map(|d| d.f64() as f32))?;
    }
    let mut spectrum = binned(power_spectrum(&grid, &delta, &bin_edges(&grid, BINS))?);
    drop(delta);
    // The window of the paint, at the mean of each bin, along no axis in particular.
    for (k, power) in spectrum.k.iter().zip(&mut spectrum.power) {
        let w = k * settings.length / n as f64 / 3.0f64.sqrt();
        *power /= settings.window.transform(w).powi(6);
    }
    if file.output.particles {
        let state = run.state();
        write_particles(&run.seen(), &state, settings, folder)?;
    }
    Ok(spectrum)
}

/// Rows of three: positions in the box, sharpened if the settings say so, and peculiar velocities today.
fn write_particles<T: Real>(
    displacement: &[T],
    state: &State<T>,
    settings: &Settings,
    folder: &Path,
) -> Result<()> {
    let (n, length) = (settings.particles, settings.length);
    let count = n.pow(3);
    let spacing = length / n as f64;
    let position = |i: usize| {
        let (p, d) = (i / 3, i % 3);
        let q = [p / (n * n), p / n % n, p % n][d] as f64 * spacing;
        (q + displacement[d * count + p].f64()).rem_euclid(length) as f32
    };
    npy::write(&folder.join("positions.npy"), &[count, 3], (0..3 * count).map(position))?;
    // a^2 dx/dt in H0 Mpc/h over a is the peculiar velocity: 100 km/s a unit.
    let last = settings.times[settings.times.len() - 1];
    let velocity = |i: usize| (100.0 / last * state.momentum[i % 3 * count + i / 3].f64()) as f32;
    npy::write(&folder.join("velocities.npy"), &[count, 3], (0..3 * count).map(velocity))
}

fn table<T: Real>(spectra: &Spectra, universe: &Universe<T>, folder: &Path) -> Result<()> {
    let write = |name: &str, head: &str, spectrum: &Binned| {
        let mut text = format!("{head}\n");
        for ((k, power), modes) in spectrum.k.iter().zip(&spectrum.power).zip(&spectrum.modes) {
            text += &format!("{k:e},{power:e},{modes}\n");
        }
        files::write_whole(&folder.join(name), |out| out.write_all(text.as_bytes()))
    };
    write("power.csv", "k_h_per_mpc,power_mpc_h_3,modes", &spectra.density)?;
    if let Universe::Cone(cone) = universe {
        for (name, spectrum) in cone.settings().names().iter().zip(&spectra.maps) {
            write(&format!("cl_{name}.csv"), "ell,c_ell_sr,modes", spectrum)?;
        }
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
