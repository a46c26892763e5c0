//! The sections of a run file, as they are written in TOML.

use lookback_inference::{
    El2oOptions, HmcOptions, MapOptions, MclmcOptions, MgviOptions, MuseOptions, NutsOptions,
    PathfinderOptions, SmcOptions, ThermodynamicOptions, WienerOptions,
};
use lookback_learn::ErrorKind;
use serde::{Deserialize, Serialize};

/// Floating-point type of maps and latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 64 bits.
    #[default]
    F64,
}

/// `[sky]`: the pixels of the maps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkySection {
    /// Rows and columns.
    pub pixels: [usize; 2],
    /// Side of a pixel \[arcmin\].
    pub pixel_arcmin: f64,
    /// Where the middle of the map lies; needed for catalogues, and for coordinates in the written maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centre: Option<SkyCentre>,
    /// How the sky is laid flat.
    #[serde(default)]
    pub projection: ProjectionKind,
}

/// The middle of the map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`centre` is [ra, dec] in degrees, or \"median\"")]
pub enum SkyCentre {
    /// Right ascension and declination \[deg\].
    Degrees([f64; 2]),
    /// `"median"`: the median position of the catalogue.
    Named(String),
}

/// Projections by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionKind {
    /// Tangent plane (FITS `TAN`).
    #[default]
    Gnomonic,
    /// Differences of coordinates (FITS `CAR`).
    PlateCarree,
}

/// `[prior.NAME]`: the signal is one field and any number of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PriorSection {
    /// Gaussian field with a known spectrum.
    GaussianField {
        /// Its power spectrum.
        spectrum: SpectrumSection,
    },
    /// Lognormal field with a known spectrum.
    LognormalField {
        /// Power spectrum of the field itself, not of its logarithm.
        spectrum: SpectrumSection,
        /// The field is never below minus this.
        shift: f64,
    },
    /// Field whose spectrum is inferred.
    CorrelatedField(FieldPrior),
    /// Convergence of a simulated universe: latents are the initial conditions. One map for each source.
    LightCone {
        /// Parameters of the universe.
        #[serde(default)]
        cosmology: Box<super::CosmologySection>,
        /// Particles, mesh and time steps.
        simulation: Box<super::SimulationSection>,
        /// Sources, and how the box fills the cone.
        light_cone: Box<super::LightConeSection>,
        /// Parameters of the cosmology, or of the sharpening, that are inferred: each has a prior of its own name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        free: Vec<String>,
    },
    /// What a trained model makes of standard normal numbers.
    Learned {
        /// Folder of the model, or its file.
        model: String,
        /// What is admitted of the decoder's error: `"correlated"` (if left out), `"diagonal"` or `"none"`; a prior of maps has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model_error: Option<ErrorKind>,
        /// What the model's flow depends on, if it does: a label, or parameters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given: Option<Vec<f64>>,
    },
    /// Gaussian parameter.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Positive parameter.
    Lognormal {
        /// Mean of the parameter.
        mean: f64,
        /// Standard deviation of the parameter.
        std: f64,
    },
    /// Parameter between bounds.
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Positive parameter between bounds, flat in the logarithm.
    LogUniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Positive parameter, most likely zero.
    HalfNormal {
        /// Standard deviation of the Gaussian that is folded.
        std: f64,
    },
    /// Parameter with heavy tails.
    Laplace {
        /// Mean.
        mean: f64,
        /// Mean absolute deviation.
        scale: f64,
    },
}

/// Mean and standard deviation of a Gaussian.
pub type Moments = [f64; 2];
/// Mean and standard deviation of a positive, log-normal quantity.
pub type LogNormalMoments = [f64; 2];

/// Options of a field whose spectrum is inferred.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldPrior {
    /// Standard deviation of the field: its mean and spread beforehand.
    pub fluctuations: LogNormalMoments,
    /// Slope of the amplitude (half that of the power) over `ln k`: mean and spread beforehand.
    pub slope: Moments,
    /// Strength of smooth departures from a power law; leave out for a pure power law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flexibility: Option<LogNormalMoments>,
    /// Roughness of the departures; leave out for smooth ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asperity: Option<LogNormalMoments>,
    /// Mean of the field.
    #[serde(default)]
    pub offset_mean: f64,
    /// Standard deviation of the unknown part of the mean.
    #[serde(default = "small_offset")]
    pub offset_std: LogNormalMoments,
    /// If given, the signal is `shift (exp(field) - 1)`: lognormal, with inferred spectrum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
}

fn small_offset() -> LogNormalMoments {
    [1e-3, 1e-3]
}

/// A power spectrum: a table or a power law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectrumSection {
    /// File of a 2 x N (or N x 2) array: multipoles and `C_ell` \[sr\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A power law instead of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_law: Option<PowerLaw>,
    /// Factor on the spectrum.
    #[serde(default = "one")]
    pub scale: f64,
}

fn one() -> f64 {
    1.0
}

/// `ln C = ln amplitude + index x + running x^2 / 2`, `x = ln(ell / pivot)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerLaw {
    /// Power at the pivot \[sr\].
    pub amplitude: f64,
    /// Multipole of the pivot.
    pub pivot: f64,
    /// Logarithmic slope at the pivot.
    pub index: f64,
    /// Its change with `ln ell`.
    #[serde(default)]
    pub running: f64,
}

/// `[[forward]]`: the steps from the signal to the data, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ForwardStep {
    /// Convergence to shear (Kaiser-Squires).
    Shear {},
    /// Convergence to reduced shear.
    ReducedShear {},
    /// Gaussian smoothing of a single map.
    Smooth {
        /// Full width at half maximum \[arcmin\].
        fwhm_arcmin: f64,
    },
    /// Multiplies the maps by `1 + m`.
    Calibrate {
        /// Name of the prior of `m`.
        parameter: String,
    },
}

/// A noise level: a number, or a map in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`noise_std` is a number, or the name of a map, for each map of the data")]
pub enum NoiseStd {
    /// The same in all pixels.
    Number(f64),
    /// File of a map; zero where nothing was observed, which counts if there is no mask.
    File(String),
}

/// Where the data count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`mask` is the name of a map, or a list with one for each map of the data")]
pub enum MaskFiles {
    /// The same pixels in all maps.
    All(String),
    /// One file for each map.
    Each(Vec<String>),
}

impl MaskFiles {
    /// The files.
    pub fn places(&self) -> &[String] {
        match self {
            MaskFiles::All(place) => std::slice::from_ref(place),
            MaskFiles::Each(places) => places,
        }
    }

    /// The same, to be changed.
    pub(super) fn places_mut(&mut self) -> &mut [String] {
        match self {
            MaskFiles::All(place) => std::slice::from_mut(place),
            MaskFiles::Each(places) => places,
        }
    }
}

/// `[data]`: what was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSection {
    /// Maps in files, one for each map that the forward model predicts.
    Maps {
        /// Files.
        maps: Vec<String>,
        /// Noise of each map.
        noise_std: Vec<NoiseStd>,
        /// File of a map that is above zero where the data count: one for all maps, or a list of one for each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<MaskFiles>,
        /// Which maps to multiply by -1.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        negate: Vec<bool>,
        /// The true signal, for scores.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truth: Option<String>,
    },
    /// A catalogue of galaxy shapes.
    Catalogue {
        /// Where its columns are.
        columns: Columns,
        /// Multiply the second component by -1 (catalogues differ in the direction of right ascension).
        #[serde(default)]
        negate_e2: bool,
        /// Where the model is compared with the data.
        #[serde(default)]
        at: At,
        /// Dispersion of one ellipticity component; measured from the catalogue if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shape_noise: Option<f64>,
        /// Noise maps that replace those computed from the catalogue.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        noise_std: Vec<NoiseStd>,
        /// The true signal, for scores.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truth: Option<String>,
    },
    /// Made up: a true signal, seen through the forward model, with noise.
    Mock {
        /// File of the true signal; drawn from the prior if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truth: Option<String>,
        /// Noise of each map; leave out if there is a survey.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        noise_std: Vec<NoiseStd>,
        /// File of a map that is above zero where the data count: one for all maps, or a list of one for each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<MaskFiles>,
        /// A made-up survey, which sets noise and mask.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        survey: Option<Survey>,
    },
}

/// Columns of a catalogue: `file.fits` (an image of one row) or `file.fits#COLUMN` (of a table).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Right ascension \[deg\].
    pub ra: String,
    /// Declination \[deg\].
    pub dec: String,
    /// First component of the ellipticity.
    pub e1: String,
    /// Second component.
    pub e2: String,
    /// Weight; all equal if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
}

/// Where a catalogue is compared with the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Weighted means on the pixels of the map.
    #[default]
    Pixels,
    /// Every galaxy at its own place.
    Galaxies,
}

/// A made-up survey: galaxies at random places, with round holes around stars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// Galaxies per square arcminute.
    pub galaxies_per_arcmin2: f64,
    /// Dispersion of one ellipticity component.
    pub shape_noise: f64,
    /// Number of stars.
    #[serde(default)]
    pub stars: usize,
    /// Radius of the hole around a star \[arcmin\].
    #[serde(default = "one")]
    pub star_radius_arcmin: f64,
    /// Width of the empty margin around the survey \[arcmin\].
    #[serde(default)]
    pub margin_arcmin: f64,
}

/// `[likelihood]`: the law of the noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LikelihoodSection {
    /// Gaussian.
    Gaussian {},
    /// Student's t, for outliers.
    StudentT {
        /// Degrees of freedom.
        dof: f64,
    },
}

impl Default for LikelihoodSection {
    fn default() -> Self {
        LikelihoodSection::Gaussian {}
    }
}

/// `[method]`: how the posterior is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MethodSection {
    /// Exact, for linear models with Gaussian noise.
    Wiener(WienerOptions),
    /// Maximum, with samples of the Laplace approximation.
    Map(MapOptions),
    /// Metric Gaussian variational inference.
    Mgvi(MgviOptions),
    /// Geometric variational inference.
    Geovi(MgviOptions),
    /// Hamiltonian Monte Carlo.
    Hmc(HmcOptions),
    /// The Metropolis-adjusted Langevin algorithm.
    Mala(HmcOptions),
    /// The Metropolis-adjusted microcanonical sampler.
    Mams(HmcOptions),
    /// The No-U-Turn sampler.
    Nuts(NutsOptions),
    /// Microcanonical Langevin Monte Carlo.
    Mclmc(MclmcOptions),
    /// Gaussians on modes, fitted by value, slope and curvature.
    El2o(El2oOptions),
    /// The best Gaussians along ways to the maximum.
    Pathfinder(PathfinderOptions),
    /// Marginal posterior of parameters from maxima and simulations.
    Muse(MuseOptions),
    /// Markov chains on a ladder of temperatures, and the evidence.
    Thermodynamic(ThermodynamicOptions),
    /// Particles that are cooled from the prior to the posterior, and the evidence.
    Smc(SmcOptions),
}

impl MethodSection {
    /// True if the centre that the method finds is the exact mean of the posterior.
    pub fn finds_exact_mean(&self) -> bool {
        matches!(self, MethodSection::Wiener(_))
    }

    /// True if samples are steps of Markov chains, which depend on those before them.
    pub fn is_markov(&self) -> bool {
        self.is_sampler() || matches!(self, MethodSection::Thermodynamic(_))
    }

    /// True for an approximation from which chains can start.
    pub fn is_approximation(&self) -> bool {
        !self.is_markov() && !matches!(self, MethodSection::Muse(_))
    }

    /// True for Markov chains on the posterior alone, which can be preconditioned and started anywhere.
    pub fn is_sampler(&self) -> bool {
        matches!(
            self,
            MethodSection::Hmc(_)
                | MethodSection::Mala(_)
                | MethodSection::Mams(_)
                | MethodSection::Nuts(_)
                | MethodSection::Mclmc(_)
        )
    }

    /// Markov chains that it runs; none for other methods.
    pub fn chains(&self) -> usize {
        match self {
            MethodSection::Hmc(o) | MethodSection::Mala(o) | MethodSection::Mams(o) => o.chains,
            MethodSection::Nuts(o) => o.chains,
            MethodSection::Mclmc(o) => o.chains,
            MethodSection::Thermodynamic(o) => o.chains,
            _ => 0,
        }
    }

    /// Name as in the run file.
    pub fn name(&self) -> &'static str {
        match self {
            MethodSection::Wiener(_) => "wiener",
            MethodSection::Map(_) => "map",
            MethodSection::Mgvi(_) => "mgvi",
            MethodSection::Geovi(_) => "geovi",
            MethodSection::Hmc(_) => "hmc",
            MethodSection::Mala(_) => "mala",
            MethodSection::Mams(_) => "mams",
            MethodSection::Nuts(_) => "nuts",
            MethodSection::Mclmc(_) => "mclmc",
            MethodSection::El2o(_) => "el2o",
            MethodSection::Pathfinder(_) => "pathfinder",
            MethodSection::Muse(_) => "muse",
            MethodSection::Thermodynamic(_) => "thermodynamic",
            MethodSection::Smc(_) => "smc",
        }
    }
}

/// `[output]`: where the results go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSection {
    /// Folder, made by the run; relative to where the command is given. `runs/NAME` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Keep the maps of all samples.
    pub samples: bool,
    /// Keep the likelihood of every datum at every sample, for cross-validation (`lookback compare`, ArviZ).
    pub log_likelihood: bool,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for OutputSection {
    fn default() -> Self {
        OutputSection { directory: None, samples: true, log_likelihood: false, checkpoint_seconds: 20.0 }
    }
}

/// `[report]`: what the report draws besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSection {
    /// Text table of known objects (identifier, right ascension, declination \[deg\], ...) to mark on the maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// Name of these objects in the captions.
    pub groups_name: String,
    /// Standard deviation of the Gaussian that smooths the Kaiser-Squires maps \[pixels\].
    pub smoothing_pixels: f64,
    /// Signal-to-noise and its peaks are those of the field smoothed to this full width at half maximum \[arcmin\].
    pub peak_fwhm_arcmin: f64,
    /// A peak and an object within this distance belong together \[arcmin\].
    pub match_arcmin: f64,
}

impl Default for ReportSection {
    fn default() -> Self {
        ReportSection {
            groups: None,
            groups_name: "known groups".into(),
            smoothing_pixels: 4.0,
            peak_fwhm_arcmin: 2.0,
            match_arcmin: 1.5,
        }
    }
}
