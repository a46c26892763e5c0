//! From a run file to operators and data.

mod data;
mod forward;
mod groups;
mod mock;
mod prior;
mod sky;

use std::path::Path;
use std::sync::Arc;

use lookback_inference::{Number, Posterior};
use lookback_likelihood::{Gaussian, Likelihood, StudentT};
use lookback_mesh::{Grid, Multiplier};
use lookback_operator::{Chain, DynOperator, LinearOperator, Space};
use lookback_prior::Spectrum;

use crate::formats::{self, Array, fits::Wcs};
use crate::runfile::{DataSection, LikelihoodSection, RunFile};
use crate::{Error, Result, files};

pub use data::{Observation, Places};
pub use prior::{Prior, Universe};
pub use sky::grid_of;

/// A file that went into a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Input {
    /// Where it was read.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// Reads files and remembers them.
#[derive(Default)]
pub(crate) struct Inputs(Vec<Input>);

impl Inputs {
    /// Reads an array and notes where it came from.
    pub(crate) fn array(&mut self, place: &str) -> Result<Array> {
        let array = formats::read_array(place)?;
        let path = place.split('#').next().unwrap_or(place);
        if !self.0.iter().any(|input| input.path == path) {
            let sha256 = files::sha256(&files::read(Path::new(path))?);
            self.0.push(Input { path: path.into(), sha256 });
        }
        Ok(array)
    }

    /// A file of another kind, as it is.
    pub(crate) fn file(&mut self, path: &Path) -> Result<Vec<u8>> {
        let bytes = files::read(path)?;
        let input = Input { path: path.to_string_lossy().into_owned(), sha256: files::sha256(&bytes) };
        if !self.0.iter().any(|known| known.path == input.path) {
            self.0.push(input);
        }
        Ok(bytes)
    }

    /// A map with the shape of the sky, whatever its values.
    pub(crate) fn raw_map(&mut self, place: &str, grid: &Grid) -> Result<Vec<f64>> {
        let array = self.array(place)?;
        if array.shape != grid.shape() {
            let message =
                format!("has the shape {:?}, but [sky] says {:?} pixels", array.shape, grid.shape());
            return Err(Error::file(place, message));
        }
        Ok(array.values)
    }

    /// The same, with all values finite.
    pub(crate) fn map(&mut self, place: &str, grid: &Grid) -> Result<Vec<f64>> {
        let map = self.raw_map(place, grid)?;
        check_finite(place, grid, &map, |_| true)?;
        Ok(map)
    }
}

/// Refuses a NaN or an infinity in a pixel that was seen; with its place.
pub(crate) fn check_finite(
    place: &str,
    grid: &Grid,
    map: &[f64],
    seen: impl Fn(usize) -> bool,
) -> Result<()> {
    match (0..map.len()).find(|&i| seen(i) && !map[i].is_finite()) {
        None => Ok(()),
        Some(index) => {
            let (row, column) = (index / grid.columns(), index % grid.columns());
            let message = format!(
                "holds {} at row {row}, column {column}; a mask must leave out such pixels",
                map[index]
            );
            Err(Error::file(place, message))
        }
    }
}

/// A problem that can be solved: operators, data and what is known of the truth.
pub struct Problem<T: Number> {
    /// The pixels.
    pub grid: Grid,
    /// Coordinates of the maps, where they are known.
    pub wcs: Option<Wcs>,
    /// From white noise to the signal: the field first, then the parameters.
    pub prior: Prior<T>,
    /// From the signal to the predicted data.
    pub forward: DynOperator<T>,
    /// The links of the forward model, for explanations.
    pub links: Vec<DynOperator<T>>,
    /// Model and likelihood.
    pub posterior: Posterior<T>,
    /// What was observed, on the pixels of the map.
    pub observation: Observation,
    /// The true field, if it is known; all its maps, if the truth is a mock.
    pub truth: Option<Vec<f64>>,
    /// The latents of a truth that was drawn.
    pub true_latents: Option<Vec<T>>,
    /// Known objects to mark: identifier, column and row.
    pub groups: Vec<(String, f64, f64)>,
    /// Smooths the field for its signal-to-noise.
    pub smoother: Multiplier<f64>,
    /// Files that were read.
    pub inputs: Vec<Input>,
    /// Things that the user should know.
    pub notes: Vec<String>,
}

impl<T: Number> Problem<T> {
    /// Reads the data and builds the operators of a run.
    ///
    /// # Errors
    /// If a file is missing or damaged, shapes do not fit, or a value is out of range: always with the place.
    pub fn build(run: &RunFile) -> Result<Problem<T>> {
        let mut inputs = Inputs::default();
        let grid = grid_of(&run.sky)?;
        crate::memory::check_sky(grid.len())?;
        let steps = forward::order_of_parameters(run)?;
        let prior = Prior::build(run, &grid, &steps, &mut inputs)?;
        let mut notes = prior.notes.clone();
        let mut model = forward::Forward::build(run, &grid, &prior)?;
        let (catalogue, not_counted) = match &run.data {
            DataSection::Catalogue { columns, negate_e2, .. } => {
                let (catalogue, not_counted) = data::read_catalogue(columns, *negate_e2, &mut inputs)?;
                (Some(catalogue), not_counted)
            }
            _ => (None, 0),
        };
        let wcs = sky::wcs(&run.sky, catalogue.as_ref())?;
        let (mut mock, mut true_latents) = (None, None);
        let mut observation = match &run.data {
            DataSection::Maps { maps, noise_std, mask, negate, .. } => {
                let files = data::MapFiles { maps, noise_std, mask: mask.as_ref(), negate };
                data::observe_maps(&files, &grid, model.maps(), &mut inputs)?
            }
            DataSection::Catalogue { at, shape_noise, noise_std, .. } => {
                let Some(catalogue) = &catalogue else { unreachable!("read above") };
                let wcs = wcs.ok_or_else(sky::centre_needed)?;
                let options = data::CatalogueOptions { at: *at, shape_noise: *shape_noise, noise_std };
                data::observe_catalogue(
                    catalogue,
                    &options,
                    &grid,
                    &wcs.projection,
                    model.maps(),
                    &mut inputs,
                )?
            }
            DataSection::Mock { truth, noise_std, mask, survey } => {
                if prior.maps > 1 && truth.is_some() {
                    let message = "a truth from a file is one map, but the prior has one for each source";
                    return Err(Error::config("data", message));
                }
                let (signal, latents) = mock::true_signal(run, &prior, truth.as_deref(), &grid, &mut inputs)?;
                true_latents = latents;
                let predicted = model.apply(&signal)?;
                mock = Some(signal);
                let options = mock::MockOptions { noise_std, mask: mask.as_ref(), survey: survey.as_ref() };
                mock::observe(run, &options, &grid, (model.maps(), model.counted()), &predicted, &mut inputs)?
            }
        };
        notes.append(&mut observation.notes);
        match not_counted {
            0 => {}
            1 => notes.push("1 galaxy has the weight zero and does not count".into()),
            many => notes.push(format!("{many} galaxies have the weight zero and do not count")),
        }
        model.observe(&observation, &grid)?;
        let forward: DynOperator<T> = Arc::new(Chain::new(model.links.clone())?);
        let likelihood = likelihood(run, forward.codomain().clone(), &observation)?;
        let chain = [vec![prior.operator.clone()], model.links.clone()].concat();
        let posterior = Posterior::new(Arc::new(Chain::fused(chain)?), likelihood)?;
        let truth = match (&run.data, mock) {
            (_, Some(signal)) => Some(signal[..prior.maps * grid.len()].iter().map(|x| x.f64()).collect()),
            (
                DataSection::Maps { truth: Some(place), .. }
                | DataSection::Catalogue { truth: Some(place), .. },
                None,
            ) => Some(inputs.map(place, &grid)?),
            _ => None,
        };
        let smoother = smoother(&grid, run.report.peak_fwhm_arcmin)?;
        let groups = groups::read_groups(&run.report, wcs, &grid)?;
        let (width, distance) = (run.report.smoothing_pixels, run.report.match_arcmin);
        if !(width >= 0.0 && width.is_finite() && distance >= 0.0) {
            let message =
                format!("`smoothing_pixels` ({width}) and `match_arcmin` ({distance}) must be zero or more");
            return Err(Error::config("report", message));
        }
        let Inputs(inputs) = inputs;
        let links = model.links;
        Ok(Problem {
            grid,
            wcs,
            prior,
            forward,
            links,
            posterior,
            observation,
            truth,
            true_latents,
            groups,
            smoother,
            inputs,
            notes,
        })
    }

    /// The field smoothed as its signal-to-noise wants it.
    pub fn smoothed(&self, field: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; field.len()];
        self.smoother.forward(field, &mut out, &mut self.smoother.scratch());
        out
    }

    /// The name of the field.
    pub fn field_name(&self) -> &str {
        &self.prior.operator.codomain().blocks()[0].name
    }

    /// Power spectrum of the prior, where it is known.
    pub fn theory(&self) -> Option<&Spectrum> {
        self.prior.spectrum.as_ref()
    }

    /// The true first map, if it is known.
    pub fn true_map(&self) -> Option<&[f64]> {
        self.truth.as_ref().map(|truth| &truth[..self.grid.len()])
    }

    /// Number of maps of counted galaxies: they stand last.
    pub fn counted(&self) -> usize {
        self.prior.universe.as_ref().map_or(0, |universe| universe.cone.settings().galaxies())
    }

    /// True if the first data are two components of shear.
    pub fn is_shear(&self) -> bool {
        self.observation.names.first().is_some_and(|name| name == "gamma1" || name == "g1")
    }
}

/// Gaussian smoothing to a full width at half maximum \[arcmin\].
fn smoother(grid: &Grid, fwhm_arcmin: f64) -> Result<Multiplier<f64>> {
    lookback_imaging::smooth(grid, Space::single("map", grid.shape(), ""), forward::sigma(fwhm_arcmin))
        .map_err(|error| Error::config("report", format!("`peak_fwhm_arcmin`: {error}")))
}

fn likelihood<T: Number>(
    run: &RunFile,
    space: Space,
    observation: &Observation,
) -> Result<Arc<dyn Likelihood<T>>> {
    let (data, sigma) = observation.vectors();
    let of = |values: Vec<f64>| -> Vec<T> { values.into_iter().map(T::of).collect() };
    Ok(match run.likelihood {
        LikelihoodSection::Gaussian {} => Arc::new(Gaussian::new(space, of(data), &of(sigma))?),
        LikelihoodSection::StudentT { dof } => Arc::new(StudentT::new(space, of(data), &of(sigma), dof)?),
    })
}
