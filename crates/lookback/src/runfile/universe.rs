//! Sections that describe a simulated universe, shared by `lookback simulate` and by priors of run files.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// `cosmology`: parameters, Planck 2018 where they are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosmologySection {
    /// Matter today, massive neutrinos included, in critical densities.
    pub omega_m: f64,
    /// Baryons today.
    pub omega_b: f64,
    /// `H0 / (100 km/s/Mpc)`.
    pub h: f64,
    /// Slope of the primordial spectrum.
    pub n_s: f64,
    /// Amplitude of the linear density today; either this or `a_s`. Planck 2018 if neither is given, or that of the `table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma8: Option<f64>,
    /// Primordial amplitude at 0.05 / Mpc in units of 1e-9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub a_s: Option<f64>,
    /// Equation of state of dark energy today.
    pub w0: f64,
    /// Minus its change with the scale factor.
    pub wa: f64,
    /// Curvature today.
    pub omega_k: f64,
    /// Sum of the neutrino masses \[eV\].
    pub m_nu: f64,
    /// Number of neutrino species that share `m_nu`.
    pub massive_neutrinos: u8,
    /// Effective number of neutrino species.
    pub n_eff: f64,
    /// Temperature of the microwave background \[K\].
    pub t_cmb: f64,
    /// Whether radiation takes part in the expansion.
    pub radiation: bool,
    /// Shape of the linear spectrum.
    pub transfer: TransferName,
    /// File of CAMB or CLASS (`k` \[h/Mpc\], `P` \[(Mpc/h)^3\] at redshift 0) instead of a formula;
    /// it keeps its amplitude unless `sigma8` gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// File of growth and expansion (`a`, `E = H / H0`, `D1` in any unit, `dln D1 / dln a`, and maybe `D2`, `dln D2 / dln a`; `a` rises to 1) instead of what
    /// follows from the parameters, which must be those of the same universe: to 1 % in expansion, 3 % in growth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth_table: Option<String>,
    /// How to go between the rows of `growth_table`.
    #[serde(skip_serializing_if = "BetweenName::is_cubic")]
    pub growth_between: BetweenName,
    /// File of comoving distances (redshift, distance \[Mpc/h\]) instead of those of the parameters, from which they may differ by 1 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance_table: Option<String>,
}

impl CosmologySection {
    /// All places of files.
    pub(crate) fn places(&mut self) -> impl Iterator<Item = &mut String> {
        [&mut self.table, &mut self.growth_table, &mut self.distance_table].into_iter().flatten()
    }
}

/// Ways to interpolate by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetweenName {
    /// Cubics through four rows.
    #[default]
    Cubic,
    /// Straight lines.
    Lines,
}

impl BetweenName {
    fn is_cubic(&self) -> bool {
        *self == BetweenName::Cubic
    }
}

impl Default for CosmologySection {
    fn default() -> Self {
        let p = lookback_cosmology::Parameters::planck18();
        CosmologySection {
            omega_m: p.omega_m,
            omega_b: p.omega_b,
            h: p.h,
            n_s: p.n_s,
            sigma8: None,
            a_s: None,
            w0: p.w0,
            wa: p.wa,
            omega_k: p.omega_k,
            m_nu: p.m_nu,
            massive_neutrinos: lookback_cosmology::Settings::default().massive_neutrinos,
            n_eff: p.n_eff,
            t_cmb: p.t_cmb,
            radiation: true,
            transfer: TransferName::EisensteinHu,
            table: None,
            growth_table: None,
            growth_between: BetweenName::Cubic,
            distance_table: None,
        }
    }
}

/// Formulas of the linear spectrum by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferName {
    /// Eisenstein & Hu (1998).
    EisensteinHu,
    /// The same without oscillations.
    NoWiggle,
}

/// A number, or a text such as `4/3`.
fn number_or_fraction<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "`mesh_factor` is a number, or a fraction such as \"4/3\"")]
    enum Either {
        Number(f64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => {
            let (above, below) = text.split_once('/').unwrap_or((&text, "1"));
            match (above.trim().parse::<u32>(), below.trim().parse::<u32>()) {
                (Ok(p), Ok(q)) if q > 0 => Ok(f64::from(p) / f64::from(q)),
                _ => {
                    let message = format!("`mesh_factor` = \"{text}\" is not a fraction such as \"4/3\"");
                    Err(D::Error::custom(message))
                }
            }
        }
    }
}

/// `simulation`: particles, mesh and time steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationSection {
    /// Particles a side.
    pub particles: usize,
    /// Side of the periodic box \[Mpc/h\].
    pub box_size: f64,
    /// Cells of the force mesh per particle, along an axis: a number, or a fraction such as `"4/3"`.
    #[serde(default = "one", deserialize_with = "number_or_fraction")]
    pub mesh_factor: f64,
    /// Number of steps; or give `times`.
    #[serde(default = "steps")]
    pub steps: usize,
    /// In what steps are equal.
    #[serde(default)]
    pub spacing: SpacingName,
    /// Scale factor of the start.
    #[serde(default = "start")]
    pub start: f64,
    /// Scale factors from the start to the end, instead of `start` and `steps`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<f64>,
    /// How time is cut.
    #[serde(default)]
    pub scheme: SchemeName,
    /// Order of perturbation theory at the start: 1, 2 or 3.
    #[serde(default = "second")]
    pub lpt: u8,
    /// Shape of particles on the mesh.
    #[serde(default)]
    pub window: WindowName,
    /// Gradient of the force.
    #[serde(default)]
    pub gradient: GradientName,
    /// Laplacian of the force.
    #[serde(default)]
    pub laplace: LaplaceName,
    /// Gradient of the displacements at the start.
    #[serde(default = "spectral")]
    pub start_gradient: GradientName,
    /// Laplacian of the same.
    #[serde(default)]
    pub start_laplace: LaplaceName,
    /// Divide the window out of the force.
    #[serde(default)]
    pub compensate: bool,
    /// Whether derivatives keep the potential of every step, which takes more memory and less time.
    #[serde(default)]
    pub keep_potentials: bool,
    /// States of the particles that derivatives keep on the way, where running back from the end alone would not be exact enough.
    #[serde(default)]
    pub checkpoints: usize,
    /// Sharpen what is seen, at the end and on the light cone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpening: Option<SharpeningSection>,
}

/// `sharpening`: particle gradient descent (Dai, Feng & Seljak 2018); `lookback sharpen` fits its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharpeningSection {
    /// Share of the gravity today.
    pub alpha: f64,
    /// Power of the scale factor.
    pub mu: f64,
    /// Wave number below which nothing is moved \[h/Mpc\].
    pub kl: f64,
    /// Wave number above which nothing is moved \[h/Mpc\].
    pub ks: f64,
}

fn spectral() -> GradientName {
    GradientName::Spectral
}

fn one() -> f64 {
    1.0
}

fn steps() -> usize {
    10
}

fn start() -> f64 {
    0.1
}

fn second() -> u8 {
    2
}

/// What is equal for all steps, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpacingName {
    /// The scale factor.
    #[default]
    ScaleFactor,
    /// The growth of structure: a few steps of BullFrog are several times as exact (List, Hahn & Rampf 2024).
    Growth,
}

/// Integrators by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemeName {
    /// List, Hahn & Rampf (2024).
    #[default]
    BullFrog,
    /// Feng et al. (2016), steps about their geometric middle.
    FastPm,
    /// The same about their arithmetic middle (pmwd).
    FastPmArithmetic,
}

/// Windows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowName {
    /// Cloud in cell.
    #[default]
    Cic,
    /// Triangular-shaped cloud.
    Tsc,
}

/// Gradients by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientName {
    /// Differences of fourth order: two transforms a step.
    #[default]
    FourPoint,
    /// Differences of second order.
    TwoPoint,
    /// In Fourier space: four transforms a step (pmwd).
    Spectral,
}

/// Laplacians by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaplaceName {
    /// `k^2`.
    #[default]
    Spectral,
    /// Seven-point differences.
    FiniteDifference,
}

/// Lensed galaxies: all at a redshift, or a distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a source has `z`, or `redshift` and `density`, or `file`, and `alignment = { amplitude, slope, pivot }` where it is aligned; no other keys"
)]
pub enum SourceSection {
    /// `{ z = 1.0 }`
    Plane {
        /// Redshift.
        z: f64,
        /// Intrinsic alignment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alignment: Option<AlignmentSection>,
    },
    /// `{ redshift = [...], density = [...] }`
    Distribution {
        /// Rising redshifts.
        redshift: Vec<f64>,
        /// Numbers per redshift interval, in any unit.
        density: Vec<f64>,
        /// Intrinsic alignment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alignment: Option<AlignmentSection>,
    },
    /// `{ file = "nz.txt" }`: two columns, redshift and number.
    File {
        /// Text file.
        file: String,
        /// Intrinsic alignment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alignment: Option<AlignmentSection>,
    },
}

/// `alignment` of sources with the tidal field (Bridle & King 2007).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignmentSection {
    /// Amplitude.
    pub amplitude: f64,
    /// Power of `1 + z`.
    #[serde(default)]
    pub slope: f64,
    /// Redshift at which the power is one.
    #[serde(default = "pivot")]
    pub pivot: f64,
}

fn pivot() -> f64 {
    0.62
}

/// A sample of galaxies that are counted, not lensed: biased tracers of matter on the light cone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSection {
    /// Rising redshifts, or give `file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redshift: Vec<f64>,
    /// Numbers per redshift interval, in any unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub density: Vec<f64>,
    /// Text file of two columns, redshift and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Linear bias in Lagrangian space; that of what is seen is one more.
    pub b1: f64,
    /// Quadratic bias in Lagrangian space.
    #[serde(default)]
    pub b2: f64,
    /// Whether velocities along the line of sight move them through `n(z)`.
    #[serde(default = "yes")]
    pub redshift_space: bool,
}

/// A shell of the density about the observer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellSection {
    /// Distance of the near edge \[Mpc/h\].
    pub near: f64,
    /// Distance of the far edge \[Mpc/h\].
    pub far: f64,
    /// Width of the edges \[Mpc/h\]; a tenth of the thickness if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<f64>,
}

/// `rays`: light rays through many lens planes, beyond the Born approximation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaysSection {
    /// Redshifts of the sources.
    pub sources: Vec<f64>,
    /// Lens planes up to the farthest source.
    #[serde(default = "planes")]
    pub planes: usize,
    /// Width of the edges between planes, as a share of their thickness.
    #[serde(default = "plane_edge")]
    pub edge: f64,
}

fn planes() -> usize {
    20
}

fn plane_edge() -> f64 {
    0.2
}

/// `galaxies`: tracers of the matter, biased by the density that they were born in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GalaxiesSection {
    /// Linear bias in Lagrangian space; today's is one more.
    pub b1: f64,
    /// Quadratic bias in Lagrangian space.
    #[serde(default)]
    pub b2: f64,
    /// Whether velocities move them along the last axis, as a distant observer sees it.
    #[serde(default = "yes")]
    pub redshift_space: bool,
}

/// `light_cone`: what is seen of the simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LightConeSection {
    /// Sources, one map of convergence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceSection>,
    /// Shells of density, one map each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shells: Vec<ShellSection>,
    /// Samples of galaxies, one map of their density contrast each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub galaxies: Vec<SampleSection>,
    /// Resolution of HEALPix maps of the full sky, instead of a flat map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nside: Option<usize>,
    /// Pixels a side (in run files `sky` says it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<usize>,
    /// Side of the map \[deg\] (in run files `sky` says it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_deg: Option<f64>,
    /// Where the centre of a flat map is, in pixels from the line of sight from the observer's corner along the edges of the boxes, along both axes.
    #[serde(default)]
    pub centre_pixels: [f64; 2],
    /// How copies of the box fill the cone.
    #[serde(default)]
    pub tiling: TilingName,
    /// Seed of a random tiling; that of the file if left out. A run on data of a simulation whose file has another seed needs that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiling_seed: Option<u64>,
    /// Rays beyond the Born approximation, traced through the same universe (`lookback simulate`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rays: Option<RaysSection>,
    /// When particles cross the light cone.
    #[serde(default)]
    pub crossing: CrossingName,
    /// Width of the transition between steps, as a share of the shorter one.
    #[serde(default = "half")]
    pub softness: f64,
    /// Particles nearer than this \[Mpc/h\] do not count.
    #[serde(default = "near")]
    pub nearest: f64,
    /// Take the mean convergence of a smooth universe off.
    #[serde(default = "yes")]
    pub subtract_mean: bool,
    /// Divide the window of the pixels out, once for the whole flat map; maps of the full sky have what a uniform sky would
    /// give to each pixel divided out.
    #[serde(default = "yes")]
    pub compensate: bool,
}

impl LightConeSection {
    /// All places of files.
    pub(crate) fn places(&mut self) -> impl Iterator<Item = &mut String> {
        let sources = self.sources.iter_mut().filter_map(|source| match source {
            SourceSection::File { file, .. } => Some(file),
            _ => None,
        });
        sources.chain(self.galaxies.iter_mut().filter_map(|sample| sample.file.as_mut()))
    }
}

fn half() -> f64 {
    0.5
}

fn near() -> f64 {
    10.0
}

fn yes() -> bool {
    true
}

/// Tilings by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TilingName {
    /// All 48 symmetries of the cube, and shifts, from `tiling_seed`.
    #[default]
    Random,
    /// Six permutations in turn (MADLens).
    Permutations,
    /// The box as it is.
    Aligned,
}

/// Crossings by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossingName {
    /// When the particle crosses the light cone; smooth between steps.
    #[default]
    Exact,
    /// When its place on the lattice does; sharp edges (MADLens).
    Lagrangian,
}
