//! The prior of a run: one field and its parameters, from white noise.

use std::path::Path;
use std::sync::Arc;

use lookback_inference::Number;
use lookback_learn::{ErrorKind, Generator};
use lookback_lensing::LightCone;
use lookback_mesh::Grid;
use lookback_nbody::Way;
use lookback_operator::{Chain, DynOperator, Identity, LinearOperator, Operator, Remember, Space, Stack};
use lookback_prior::{
    CorrelatedField, CorrelatedFieldParameters, Distribution, Spectrum, gaussian_field, lognormal_field,
    shifted_exponential,
};

use super::Inputs;
use crate::runfile::{FieldPrior, ForwardStep, PriorSection, RunFile, SpectrumSection};
use crate::{Error, Result, learn, universe};

/// The signal's prior.
pub struct Prior<T: Number> {
    /// White noise to signal: the field is the first block, parameters follow.
    pub operator: DynOperator<T>,
    /// Maps of the field: one, or one for each source of a light cone.
    pub maps: usize,
    /// The grid whose modes are the first latents; `None` if they are no modes.
    pub latent_grid: Option<Grid>,
    /// Numbers inside of the field (the slope of a spectrum): their names, the places of their latents, their laws.
    pub inner: Vec<(String, usize, Distribution)>,
    /// The simulated universe behind the field, if there is one.
    pub universe: Option<Universe<T>>,
    /// Spectrum of the field, if it is known.
    pub spectrum: Option<Spectrum>,
    /// Things that the user should know.
    pub notes: Vec<String>,
}

/// A universe that is a prior.
pub struct Universe<T: Number> {
    /// What is seen of it.
    pub cone: Arc<LightCone<T>>,
    /// From the first latents to what the light cone takes: modes and free parameters.
    pub point: DynOperator<T>,
    /// Number of free parameters.
    pub free: usize,
}

impl<T: Number> Prior<T> {
    /// Number of parameters that the field itself has used: they stand first.
    pub(crate) fn used(&self) -> usize {
        self.universe.as_ref().map_or(0, |universe| universe.free)
    }

    pub(crate) fn build(
        run: &RunFile,
        grid: &Grid,
        parameters: &[String],
        inputs: &mut Inputs,
    ) -> Result<Prior<T>> {
        for name in run.prior.keys() {
            check_name(name)?;
        }
        let is_field = |prior: &PriorSection| distribution(prior).is_none();
        let fields: Vec<(&String, &PriorSection)> =
            run.prior.iter().filter(|(_, prior)| is_field(prior)).collect();
        let [(name, section)] = fields.as_slice() else {
            let message = format!(
                "needs exactly one field (`gaussian_field`, `lognormal_field`, `correlated_field`, `learned` or `light_cone`), not {}",
                fields.len()
            );
            return Err(Error::config("prior", message));
        };
        let wrong =
            |error: lookback_operator::Error| Error::config(format!("prior.{name}"), error.to_string());
        let Built { field, spectrum, universe, modes, notes } = build_field(name, section, grid, run, inputs)
            .map_err(|error| match error {
                Error::Model(error) => wrong(error),
                other => other,
            })?;
        let mut parts: Vec<DynOperator<T>> = vec![field];
        for parameter in parameters {
            let section = &run.prior[parameter];
            let Some(distribution) = distribution(section) else { continue };
            let distribution = distribution
                .validated()
                .map_err(|error| Error::config(format!("prior.{parameter}"), error.to_string()))?;
            parts.push(Arc::new(distribution.operator(parameter, &[], "")));
        }
        let operator = if parts.len() == 1 { parts.remove(0) } else { Arc::new(Stack::new(parts)?) };
        let maps = operator.codomain().len() / grid.len();
        let latent_grid = match &universe {
            Some(universe) => {
                let s = universe.cone.simulation().settings();
                Some(Grid::new(&[s.particles; 3], &[s.length; 3])?)
            }
            None => modes.then(|| grid.clone()),
        };
        let inner = match section {
            PriorSection::CorrelatedField(options) => inner_numbers(&spectrum_parameters(options), &operator),
            _ => Vec::new(),
        };
        Ok(Prior { operator, maps, latent_grid, inner, universe, spectrum, notes })
    }
}

/// Names that the sample store uses itself.
const RESERVED: [&str; 8] = ["x", "y", "chain", "draw", "chi2", "energy", "diverged", "diverging"];

/// Names of priors become names of files and columns.
fn check_name(name: &str) -> Result<()> {
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if word && begins && !RESERVED.contains(&name) {
        return Ok(());
    }
    let rule = "a name is a letter, then letters, digits and underscores, and none of x, y, chain, draw, chi2, energy";
    Err(Error::config(format!("prior.{name}"), rule))
}

/// The distribution of a parameter; `None` for a field.
pub(crate) fn distribution(prior: &PriorSection) -> Option<Distribution> {
    Some(match *prior {
        PriorSection::Normal { mean, std } => Distribution::Normal { mean, std },
        PriorSection::Lognormal { mean, std } => Distribution::LogNormal { mean, std },
        PriorSection::Uniform { low, high } => Distribution::Uniform { low, high },
        PriorSection::LogUniform { low, high } => Distribution::LogUniform { low, high },
        PriorSection::HalfNormal { std } => Distribution::HalfNormal { std },
        PriorSection::Laplace { mean, scale } => Distribution::Laplace { mean, scale },
        _ => return None,
    })
}

/// A field and what is known of it.
struct Built<T: Number> {
    field: DynOperator<T>,
    spectrum: Option<Spectrum>,
    universe: Option<Universe<T>>,
    /// The latents are modes of a grid.
    modes: bool,
    notes: Vec<String>,
}

fn build_field<T: Number>(
    name: &str,
    section: &PriorSection,
    grid: &Grid,
    run: &RunFile,
    inputs: &mut Inputs,
) -> Result<Built<T>> {
    let plain = |field, spectrum, notes| Ok(Built { field, spectrum, universe: None, modes: true, notes });
    match section {
        PriorSection::GaussianField { spectrum } => {
            let (spectrum, notes) = read_spectrum(name, spectrum, grid, inputs)?;
            plain(gaussian_field(grid, &spectrum, name, "").shared(), Some(spectrum), notes)
        }
        PriorSection::LognormalField { spectrum, shift } => {
            let (spectrum, mut notes) = read_spectrum(name, spectrum, grid, inputs)?;
            let field = lognormal_field(grid, &spectrum, *shift, name, "")?;
            if field.clipped > 1e-3 {
                notes.push(format!(
                    "no lognormal field with shift {shift} has this spectrum exactly: {:.1} % of the power of its logarithm was left out",
                    100.0 * field.clipped
                ));
            }
            plain(field.operator, Some(spectrum), notes)
        }
        PriorSection::Learned { model, model_error, given } => {
            learned(name, (model, *model_error, given.as_deref()), grid, inputs)
        }
        PriorSection::CorrelatedField(options) => plain(correlated(name, options, grid)?, None, Vec::new()),
        PriorSection::LightCone { cosmology, simulation, light_cone, free } => {
            let &[rows, columns] = grid.shape() else { unreachable!("a sky has two axes") };
            if rows != columns {
                let message = format!("a light cone is square, but [sky] says {rows} x {columns} pixels");
                return Err(Error::config(format!("prior.{name}"), message));
            }
            let refuse = |message: String| Err(Error::config(format!("prior.{name}"), message));
            for (key, given) in
                [("pixels", light_cone.pixels.is_some()), ("field_deg", light_cone.field_deg.is_some())]
            {
                if given {
                    return refuse(format!("`{key}` is what [sky] says; leave it out"));
                }
            }
            if light_cone.nside.is_some() || !light_cone.shells.is_empty() {
                return refuse(
                    "a run sees flat maps of convergence and galaxies: no `nside` and no `shells`".into(),
                );
            }
            if light_cone.rays.is_some() {
                return refuse(
                    "a run sees the convergence of straight rays (Born): `rays` are for `lookback simulate`"
                        .into(),
                );
            }
            if run.forward.contains(&ForwardStep::ReducedShear {}) {
                light_cone
                    .check_reduced_shear()
                    .map_err(|message| Error::config(format!("prior.{name}"), message))?;
            }
            let (mut cosmology, mut seen) = (cosmology.clone(), light_cone.clone());
            for place in cosmology.places().chain(seen.places()) {
                inputs.file(Path::new(place))?;
            }
            let sky = light_cone.flat(rows, grid.lengths()[0]);
            let settings = light_cone.settings(sky, run.seed)?;
            let free: Vec<&str> = free.iter().map(String::as_str).collect();
            let cone = Arc::new(universe::light_cone::<T>(
                &cosmology,
                simulation,
                settings,
                &free,
                &[Way::Reverse],
            )?);
            let modes = Space::new(cone.domain().blocks()[..1].to_vec());
            let mut inputs: Vec<DynOperator<T>> = vec![Identity::new(modes).shared()];
            // In the order of the domain: parameters of the universe, then numbers of the maps.
            for parameter in cone.domain().blocks()[1..].iter().map(|block| &block.name) {
                let place = format!("prior.{parameter}");
                let distribution = run.prior.get(parameter).and_then(distribution).ok_or_else(|| {
                    let message =
                        format!("`{parameter}` is free in prior.{name}, so it needs a distribution");
                    Error::config(&place, message)
                })?;
                let distribution =
                    distribution.validated().map_err(|error| Error::config(place, error.to_string()))?;
                inputs.push(Arc::new(distribution.operator(parameter, &[], "")));
            }
            let point: DynOperator<T> = Arc::new(Stack::new(inputs)?);
            let seen: DynOperator<T> = Arc::new(Remember::new(cone.clone(), free.len())?);
            let field: DynOperator<T> =
                if free.is_empty() { cone.clone() } else { Arc::new(Chain::new(vec![point.clone(), seen])?) };
            let notes = cone.simulation().advice();
            let universe = Some(Universe { cone, point, free: free.len() });
            Ok(Built { field, spectrum: None, universe, modes: true, notes })
        }
        _ => Err(Error::config(format!("prior.{name}"), "is not a field")),
    }
}

/// A trained model, from its file or folder.
fn learned<T: Number>(
    name: &str,
    (model, error, given): (&str, Option<ErrorKind>, Option<&[f64]>),
    grid: &Grid,
    inputs: &mut Inputs,
) -> Result<Built<T>> {
    let place = learn::model_file(Path::new(model));
    let bytes = inputs.file(&place)?;
    let refuse = |message: String| Err(Error::config(format!("prior.{name}"), message));
    let (field, modes) = match learn::Prior::from_bytes(&place, &bytes)? {
        learn::Prior::Maps(_) if error.is_some() => {
            return refuse("`model_error` is for models with a decoder; a prior of maps has none".into());
        }
        learn::Prior::Maps(_) if given.is_some() => {
            return refuse("a prior of maps depends on nothing that could be given".into());
        }
        learn::Prior::Maps(model) => match model.prior(grid, name, "") {
            Ok(field) => (field, true),
            Err(error) => return refuse(error.to_string()),
        },
        learn::Prior::Examples(model) => {
            let shape = &model.card().shape;
            if !matches!(*shape.as_slice(), [rows, columns, 1] if [rows, columns] == *grid.shape()) {
                let sky = grid.shape();
                return refuse(format!("the model makes images of {shape:?}, but [sky] says {sky:?} pixels"));
            }
            let error = error.unwrap_or_default();
            let mut model = model.cast::<T>()?;
            if let Some(values) = given {
                model = match model.given(&[values.len()], values) {
                    Ok(model) => model,
                    Err(error) => return refuse(error.to_string()),
                };
            }
            let generator = Generator::new(Arc::new(model), error, name, grid.shape(), "")?;
            (Arc::new(generator) as DynOperator<T>, false)
        }
    };
    Ok(Built { field, spectrum: None, universe: None, modes, notes: Vec::new() })
}

/// What is known beforehand of the spectrum of a correlated field.
fn spectrum_parameters(options: &FieldPrior) -> CorrelatedFieldParameters {
    let lognormal = |[mean, std]: [f64; 2]| Distribution::LogNormal { mean, std };
    CorrelatedFieldParameters {
        offset_mean: options.offset_mean,
        offset_std: lognormal(options.offset_std),
        fluctuations: lognormal(options.fluctuations),
        slope: Distribution::Normal { mean: options.slope[0], std: options.slope[1] },
        flexibility: options.flexibility.map(lognormal),
        asperity: options.asperity.map(lognormal),
    }
}

/// The numbers of a correlated field whose latents stand alone.
fn inner_numbers<T: Number>(
    parameters: &CorrelatedFieldParameters,
    operator: &DynOperator<T>,
) -> Vec<(String, usize, Distribution)> {
    let law = |name: &str| match name.rsplit_once('.')?.1 {
        "offset_std" => Some(parameters.offset_std),
        "fluctuations" => Some(parameters.fluctuations),
        "slope" => Some(parameters.slope),
        "flexibility" => parameters.flexibility,
        "asperity" => parameters.asperity,
        _ => None,
    };
    let numbers = operator.domain().numbers();
    numbers.filter_map(|(name, place)| Some((name.to_string(), place, law(name)?))).collect()
}

fn correlated<T: Number>(name: &str, options: &FieldPrior, grid: &Grid) -> Result<DynOperator<T>> {
    let parameters = spectrum_parameters(options);
    let Some(shift) = options.shift else {
        return Ok(Arc::new(CorrelatedField::new(grid, parameters, name, "")?));
    };
    if !(shift.is_finite() && shift > 0.0) {
        return Err(Error::config(format!("prior.{name}"), format!("`shift` must be positive, not {shift}")));
    }
    let log: DynOperator<T> = Arc::new(CorrelatedField::new(grid, parameters, &format!("{name}.log"), "")?);
    let exponential = shifted_exponential(log.codomain(), shift, 0.0, name, "");
    Ok(Arc::new(Chain::new(vec![log, Arc::new(exponential)])?))
}

fn read_spectrum(
    name: &str,
    section: &SpectrumSection,
    grid: &Grid,
    inputs: &mut Inputs,
) -> Result<(Spectrum, Vec<String>)> {
    let place = format!("prior.{name}.spectrum");
    let wrong = |error: lookback_operator::Error| Error::config(place.clone(), error.to_string());
    if !(section.scale.is_finite() && section.scale > 0.0) {
        return Err(Error::config(place, format!("`scale` must be positive, not {}", section.scale)));
    }
    match (&section.table, &section.power_law) {
        (None, Some(law)) => {
            let amplitude = law.amplitude * section.scale;
            Ok((
                Spectrum::power_law(amplitude, law.pivot, law.index, law.running).map_err(wrong)?,
                Vec::new(),
            ))
        }
        (Some(file), None) => {
            let array = inputs.array(file)?;
            let (k, power): (Vec<f64>, Vec<f64>) = match *array.shape.as_slice() {
                [2, n] => (array.values[..n].to_vec(), array.values[n..].to_vec()),
                [_, 2] => array.values.chunks(2).map(|pair| (pair[0], pair[1])).unzip(),
                _ => {
                    let message = format!("has the shape {:?}; a spectrum is 2 x N or N x 2", array.shape);
                    return Err(Error::file(file, message));
                }
            };
            let power: Vec<f64> = power.into_iter().map(|p| p * section.scale).collect();
            let spectrum =
                Spectrum::table(&k, &power).map_err(|error| Error::file(file, error.to_string()))?;
            let notes = beyond(&spectrum, grid).into_iter().collect();
            Ok((spectrum, notes))
        }
        _ => Err(Error::config(place, "needs either `table` (a file) or `power_law`, and not both")),
    }
}

/// A note where the modes of the grid reach beyond the table.
fn beyond(spectrum: &Spectrum, grid: &Grid) -> Option<String> {
    let (low, high) = spectrum.range()?;
    let (least, most) = (grid.fundamental(), grid.half_wave_numbers().into_iter().fold(0.0, f64::max));
    (least < low || most > high).then(|| {
        format!(
            "the spectrum is given for {low:.0} <= ell <= {high:.0}, but the map has modes from {least:.0} to {most:.0}: it is continued as a power law"
        )
    })
}
