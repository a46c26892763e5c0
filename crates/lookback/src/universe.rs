//! From the sections of a file to a simulated universe.

use std::path::Path;
use std::sync::Arc;

use lookback_cosmology::{
    Alignment, Between, Bias, Cosmology, DistanceTable, GrowthTable, Normalization, Parameters, PowerTable,
    Settings as CosmologySettings, Sources, Tables, Tracer, Transfer, table_rows,
};
use lookback_lensing::{Crossing, LightCone, LightConeSettings, Sky, Tiling, free_numbers};
use lookback_mesh::Window;
use lookback_nbody::{
    GradientKernel, Kernels, LaplaceKernel, Lpt, Middle, Scheme, Settings, Sharpening, Simulation, Way,
    equal_in_growth,
};
use lookback_operator::Real;

use crate::memory::check_simulation;
use crate::runfile::{
    AlignmentSection, BetweenName, CosmologySection, CrossingName, GalaxiesSection, GradientName,
    LaplaceName, LightConeSection, SampleSection, SchemeName, SimulationSection, SourceSection, SpacingName,
    TilingName, TransferName, WindowName,
};
use crate::{Error, Result, files};

fn wrong(section: &str, message: impl ToString) -> Error {
    Error::config(section, message.to_string())
}

impl CosmologySection {
    /// The cosmology that the section describes.
    ///
    /// # Errors
    /// If a parameter is out of range, both amplitudes are given, or the table cannot be read.
    pub fn build(&self) -> Result<Cosmology<f64>> {
        let planck = Parameters::planck18();
        let (normalization, amplitude) = match (self.sigma8, self.a_s) {
            (Some(_), Some(_)) => return Err(wrong("cosmology", "give `sigma8` or `a_s`, not both")),
            (None, Some(_)) if self.table.is_some() => {
                let message = "the amplitude of a `table` is its own, or `sigma8`; leave `a_s` out";
                return Err(wrong("cosmology", message));
            }
            (None, Some(a_s)) => (Normalization::PrimordialAmplitude, a_s),
            // A table has an amplitude.
            (None, None) if self.table.is_some() => (Normalization::PrimordialAmplitude, planck.amplitude),
            (sigma8, None) => (Normalization::Sigma8, sigma8.unwrap_or(planck.amplitude)),
        };
        let parameters = Parameters {
            omega_m: self.omega_m,
            omega_b: self.omega_b,
            h: self.h,
            n_s: self.n_s,
            amplitude,
            w0: self.w0,
            wa: self.wa,
            omega_k: self.omega_k,
            m_nu: self.m_nu,
            n_eff: self.n_eff,
            t_cmb: self.t_cmb,
        };
        let transfer = match self.transfer {
            TransferName::EisensteinHu => Transfer::EisensteinHu,
            TransferName::NoWiggle => Transfer::NoWiggle,
        };
        let settings = CosmologySettings {
            normalization,
            transfer,
            radiation: self.radiation,
            massive_neutrinos: self.massive_neutrinos,
        };
        Cosmology::with_tables(parameters, settings, self.tables()?)
            .map_err(|error| wrong("cosmology", error))
    }

    fn tables(&self) -> Result<Tables> {
        if self.growth_table.is_none() && self.growth_between != BetweenName::Cubic {
            return Err(wrong("cosmology", "`growth_between` is for the rows of a `growth_table`; give one"));
        }
        let between = match self.growth_between {
            BetweenName::Cubic => Between::Cubic,
            BetweenName::Lines => Between::Lines,
        };
        Ok(Tables {
            power: read_table(self.table.as_ref(), PowerTable::parse)?,
            growth: read_table(self.growth_table.as_ref(), |text| GrowthTable::parse(text, between))?,
            distances: read_table(self.distance_table.as_ref(), DistanceTable::parse)?,
        })
    }
}

fn read_text(place: &str) -> Result<String> {
    String::from_utf8(files::read(Path::new(place))?)
        .map_err(|_| Error::file(place, "is not a text in UTF-8"))
}

fn read_table<T>(
    place: Option<&String>,
    parse: impl Fn(&str) -> lookback_cosmology::Result<T>,
) -> Result<Option<Arc<T>>> {
    let read = |place: &String| {
        parse(&read_text(place)?).map(Arc::new).map_err(|error| Error::file(place, error.to_string()))
    };
    place.map(read).transpose()
}

impl SimulationSection {
    /// The settings that the section describes, in a cosmology.
    ///
    /// # Errors
    /// If a number is out of range.
    pub fn settings(&self, cosmology: &Cosmology<f64>) -> Result<Settings> {
        let bad = |message: String| Err(wrong("simulation", message));
        let cells = self.particles as f64 * self.mesh_factor;
        if !(cells.is_finite() && (0.0..=65_536.0).contains(&cells)) {
            return bad(format!("`mesh_factor` = {} gives no mesh", self.mesh_factor));
        }
        let whole = (cells - cells.round()).abs() <= 1e-9 * cells;
        // An odd number of particles is refused for itself.
        if !whole || (cells.round() % 2.0 != 0.0 && self.particles.is_multiple_of(2)) {
            let near = lookback_nbody::quick_cells_near(self.particles, cells);
            let common = greatest_common_divisor(near, self.particles);
            let fraction = match self.particles / common {
                1 => format!("{}", near / common),
                below => format!("\"{}/{below}\"", near / common),
            };
            return bad(format!(
                "`mesh_factor` = {} gives {cells} cells for {} particles a side; it must give an even number, as {fraction} does for {near}",
                self.mesh_factor, self.particles,
            ));
        }
        let times = match (self.times.is_empty(), self.steps) {
            (false, _) => self.times.clone(),
            (true, 0 | MOST_STEPS..) => {
                return bad(format!("`steps` must lie between 1 and {}, not {}", MOST_STEPS - 1, self.steps));
            }
            (true, steps) => steps_between(self.start, steps, self.spacing, cosmology),
        };
        let lpt = match self.lpt {
            1 => Lpt::First,
            2 => Lpt::Second,
            3 => Lpt::Third,
            other => return bad(format!("`lpt` must be 1, 2 or 3, not {other}")),
        };
        let settings = Settings {
            particles: self.particles,
            length: self.box_size,
            cells: cells.round() as usize,
            window: match self.window {
                WindowName::Cic => Window::Cic,
                WindowName::Tsc => Window::Tsc,
            },
            kernels: kernels(self.gradient, self.laplace, self.compensate),
            start_kernels: kernels(self.start_gradient, self.start_laplace, false),
            lpt,
            sharpening: self.sharpening.map(|s| Sharpening { alpha: s.alpha, mu: s.mu, kl: s.kl, ks: s.ks }),
            scheme: match self.scheme {
                SchemeName::BullFrog => Scheme::BullFrog,
                SchemeName::FastPm => Scheme::FastPm(Middle::Geometric),
                SchemeName::FastPmArithmetic => Scheme::FastPm(Middle::Arithmetic),
            },
            times,
            keep_potentials: self.keep_potentials,
            checkpoints: self.checkpoints,
        };
        settings.check().map_err(|error| wrong("simulation", error))?;
        Ok(settings)
    }
}

/// One step more than a simulation may have.
const MOST_STEPS: usize = 10_001;

fn kernels(gradient: GradientName, laplace: LaplaceName, compensate: bool) -> Kernels {
    let gradient = match gradient {
        GradientName::FourPoint => GradientKernel::FourPoint,
        GradientName::TwoPoint => GradientKernel::TwoPoint,
        GradientName::Spectral => GradientKernel::Spectral,
    };
    let laplace = match laplace {
        LaplaceName::Spectral => LaplaceKernel::Spectral,
        LaplaceName::FiniteDifference => LaplaceKernel::FiniteDifference,
    };
    Kernels { gradient, laplace, compensate }
}

/// Scale factors from the start to today.
fn steps_between(start: f64, steps: usize, spacing: SpacingName, cosmology: &Cosmology<f64>) -> Vec<f64> {
    // What is wrong with the start is said when the steps are checked.
    if spacing == SpacingName::Growth && start > 1e-4 && start < 1.0 {
        return equal_in_growth(cosmology, start, steps);
    }
    let at = |i: usize| if i == steps { 1.0 } else { start + (1.0 - start) * (i as f64 / steps as f64) };
    (0..=steps).map(at).collect()
}

impl LightConeSection {
    /// Whether maps of its sources may be divided by one minus the convergence.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_reduced_shear(&self) -> std::result::Result<(), &'static str> {
        if !self.subtract_mean {
            return Err(
                "`reduced_shear` divides by one minus the convergence, which has no mean of its own: leave out `subtract_mean = false`",
            );
        }
        if self.sources.iter().any(SourceSection::is_aligned) {
            return Err(
                "`reduced_shear` divides by one minus the convergence of light alone, and that of sources with an `alignment` holds their shapes, too: leave out either",
            );
        }
        Ok(())
    }
}

impl SourceSection {
    /// Whether its galaxies are aligned with the tidal field.
    pub(crate) fn is_aligned(&self) -> bool {
        match self {
            SourceSection::Plane { alignment, .. }
            | SourceSection::Distribution { alignment, .. }
            | SourceSection::File { alignment, .. } => alignment.is_some(),
        }
    }

    /// What the map of its convergence shows.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn build(&self) -> Result<Tracer> {
        let (sources, alignment) = match self {
            SourceSection::Plane { z, alignment } => (Sources::Plane(*z), alignment),
            SourceSection::Distribution { redshift, density, alignment } => {
                (Sources::Distribution { redshift: redshift.clone(), density: density.clone() }, alignment)
            }
            SourceSection::File { file, alignment } => (read_distribution(file)?, alignment),
        };
        let of = |&AlignmentSection { amplitude, slope, pivot }: &AlignmentSection| Alignment {
            amplitude,
            slope,
            pivot,
        };
        Ok(Tracer::Convergence { sources, alignment: alignment.as_ref().map(of) })
    }
}

impl GalaxiesSection {
    /// How they follow matter.
    pub(crate) fn bias(&self) -> Bias {
        Bias { b1: self.b1, b2: self.b2 }
    }
}

impl SampleSection {
    fn build(&self) -> Result<Tracer> {
        let sources = match (&self.file, self.redshift.is_empty() && self.density.is_empty()) {
            (Some(file), true) => read_distribution(file)?,
            (None, false) => {
                Sources::Distribution { redshift: self.redshift.clone(), density: self.density.clone() }
            }
            _ => {
                let message = "galaxies need either `redshift` and `density`, or `file`";
                return Err(wrong("light_cone.galaxies", message));
            }
        };
        let bias = Bias { b1: self.b1, b2: self.b2 };
        Ok(Tracer::Galaxies { sources, bias, redshift_space: self.redshift_space })
    }
}

fn read_distribution(place: &str) -> Result<Sources> {
    let (mut redshift, mut density) = (Vec::new(), Vec::new());
    for row in table_rows(&read_text(place)?) {
        match row.numbers[..] {
            [z, n] if row.is_all_numbers() => {
                redshift.push(z);
                density.push(n);
            }
            _ => {
                let message = format!(
                    "line {}: expected two columns, a redshift and a number of galaxies there, found `{}`",
                    row.line, row.text
                );
                return Err(Error::file(place, message));
            }
        }
    }
    Ok(Sources::Distribution { redshift, density })
}

impl LightConeSection {
    /// The pixels that the section describes.
    ///
    /// # Errors
    /// If it describes none, or two kinds.
    pub fn sky(&self) -> Result<Sky> {
        if self.nside.is_some() && self.centre_pixels != [0.0; 2] {
            return Err(wrong("light_cone", "`centre_pixels` is for flat maps; leave it out"));
        }
        match (self.nside, self.pixels, self.field_deg) {
            (Some(nside), None, None) => Ok(Sky::Full { nside }),
            (None, Some(pixels), Some(field)) => Ok(self.flat(pixels, field.to_radians())),
            (Some(_), ..) => {
                Err(wrong("light_cone", "give `nside` (full sky), or `pixels` and `field_deg`, not both"))
            }
            (None, None, _) => Err(wrong("light_cone", "`pixels` is missing (or `nside`, for the full sky)")),
            (None, _, None) => Err(wrong("light_cone", "`field_deg` is missing")),
        }
    }

    /// Flat pixels, so many a side of a field \[rad\].
    pub(crate) fn flat(&self, pixels: usize, field: f64) -> Sky {
        let centre = self.centre_pixels.map(|c| c * field / pixels as f64);
        Sky::Flat { pixels, field, centre, compensate: self.compensate }
    }

    /// The settings that the section describes, on the pixels of a sky.
    ///
    /// # Errors
    /// If a source cannot be read or is out of range.
    pub fn settings(&self, sky: Sky, seed: u64) -> Result<LightConeSettings> {
        let mut maps = self.sources.iter().map(SourceSection::build).collect::<Result<Vec<_>>>()?;
        maps.extend(self.shells.iter().map(|shell| Tracer::Shell {
            near: shell.near,
            far: shell.far,
            edge: shell.edge.unwrap_or(0.1 * (shell.far - shell.near)),
        }));
        for sample in &self.galaxies {
            maps.push(sample.build()?);
        }
        for tracer in &maps {
            tracer.check().map_err(|error| wrong("light_cone", error))?;
        }
        Ok(LightConeSettings {
            tiling: match self.tiling {
                TilingName::Random => Tiling::Random { seed: self.tiling_seed.unwrap_or(seed) },
                TilingName::Permutations => Tiling::Permutations,
                TilingName::Aligned => Tiling::Aligned,
            },
            crossing: match self.crossing {
                CrossingName::Exact => Crossing::Exact,
                CrossingName::Lagrangian => Crossing::Lagrangian,
            },
            softness: self.softness,
            nearest: self.nearest,
            subtract_mean: self.subtract_mean,
            ..LightConeSettings::of(maps, sky)
        })
    }
}

/// A light cone from its sections. What is `free` may be a parameter of the universe or a number of the maps
/// ([`free_numbers`]); the former stand first in its domain.
///
/// # Errors
/// If a section is wrong, or the machine has too little memory to run it in these ways.
pub fn light_cone<T: Real>(
    cosmology: &CosmologySection,
    simulation: &SimulationSection,
    cone: LightConeSettings,
    free: &[&str],
    ways: &[Way],
) -> Result<LightCone<T>> {
    let cosmology = cosmology.build()?;
    let settings = simulation.settings(&cosmology)?;
    let numbers = free_numbers(&cone.maps);
    let (of_maps, of_universe): (Vec<&str>, Vec<&str>) =
        free.iter().partition(|name| numbers.iter().any(|number| number == *name));
    let simulation = Simulation::new(settings, cosmology, &of_universe).map_err(|error| {
        let more =
            if numbers.is_empty() { String::new() } else { format!("; maps have {}", numbers.join(", ")) };
        wrong("simulation", format!("{error}{more}"))
    })?;
    let cone = LightConeSettings { free: of_maps.into_iter().map(String::from).collect(), ..cone };
    let cone = LightCone::new(simulation, cone).map_err(|error| wrong("light_cone", error))?;
    check_simulation(Way::most(ways, |way| cone.memory(way)))?;
    Ok(cone)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
