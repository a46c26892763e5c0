//! Made-up observations: a true signal, a survey, and noise.

use lookback_inference::Number;
use lookback_mesh::{Grid, white_modes};
use lookback_operator::Space;
use lookback_operator::random::{Purpose, Stream};

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::data::{Noise, anywhere, noise_and_masks};
use super::{Inputs, Observation, Places, Prior};
use crate::runfile::{LikelihoodSection, MaskFiles, NoiseStd, RunFile, Survey};
use crate::{Error, Result};

/// The true signal: the field from a file, or drawn from the prior on the modes of the grid (so that a finer grid
/// shows the same sky); parameters at their medians, or drawn as well. Gives the latents too, if the truth was drawn.
pub(crate) fn true_signal<T: Number>(
    run: &RunFile,
    prior: &Prior<T>,
    file: Option<&str>,
    grid: &Grid,
    inputs: &mut Inputs,
) -> Result<(Vec<T>, Option<Vec<T>>)> {
    let operator = &prior.operator;
    let modes = prior.latent_grid.as_ref().map_or(0, Grid::len);
    let mut latent = vec![T::zero(); operator.domain().len()];
    if file.is_none() {
        let stream = Stream::new(run.seed, Purpose::Signal, 0);
        stream.fill_normal(&mut latent[modes..]);
        if let Some(grid) = &prior.latent_grid {
            white_modes(grid, stream, &mut latent[..modes]);
        }
    }
    let mut signal = operator.apply(&latent)?;
    if let Some(place) = file {
        let map = inputs.map(place, grid)?;
        signal.iter_mut().zip(map).for_each(|(s, x)| *s = T::of(x));
    }
    Ok((signal, file.is_none().then_some(latent)))
}

/// Where noise and mask of a mock come from.
pub(crate) struct MockOptions<'a> {
    pub(crate) noise_std: &'a [NoiseStd],
    pub(crate) mask: Option<&'a MaskFiles>,
    pub(crate) survey: Option<&'a Survey>,
}

/// Unit noise of the law that the likelihood assumes, by index.
fn noise_law(run: &RunFile) -> Result<Box<dyn Fn(u64) -> f64>> {
    let stream = Stream::new(run.seed, Purpose::Noise, 0);
    match run.likelihood {
        LikelihoodSection::Gaussian {} => Ok(Box::new(move |i| stream.normal(i))),
        LikelihoodSection::StudentT { dof } => {
            let law = StudentsT::new(0.0, 1.0, dof)
                .map_err(|error| Error::config("likelihood", format!("`dof` = {dof}: {error}")))?;
            Ok(Box::new(move |i| law.inverse_cdf(stream.uniform(i))))
        }
    }
}

/// Adds noise, of the law that the likelihood assumes, to the predicted maps.
pub(crate) fn observe<T: Number>(
    run: &RunFile,
    options: &MockOptions<'_>,
    grid: &Grid,
    (space, counted): (&Space, usize),
    predicted: &[T],
    inputs: &mut Inputs,
) -> Result<Observation> {
    let mut notes = Vec::new();
    let Noise { sigma, masks } = match (options.survey, options.noise_std.is_empty()) {
        (None, _) => noise_and_masks(options.noise_std, options.mask, grid, space, inputs)?,
        (Some(_), true) if counted > 0 => {
            let message =
                "a `survey` has noise of shapes; with counted galaxies give `noise_std`, one for each map";
            return Err(Error::config("data", message));
        }
        (Some(_), true) if options.mask.is_some() => {
            return Err(Error::config(
                "data",
                "has both `survey` and `mask`: a survey has a mask of its own",
            ));
        }
        (Some(survey), true) => {
            let (sigma, seen, galaxies) = survey_noise(run.seed, survey, grid)?;
            notes.push(format!("a made-up survey of {galaxies} galaxies"));
            let maps = space.blocks().len();
            Noise { sigma: vec![sigma; maps], masks: vec![seen; maps] }
        }
        (Some(_), false) => {
            return Err(Error::config(
                "data",
                "has both `survey` and `noise_std`: a survey sets the noise itself",
            ));
        }
    };
    let n = grid.len();
    let draw = noise_law(run)?;
    let noisy = |(component, sigma): (usize, &Vec<f64>)| -> Vec<f64> {
        (0..n)
            .map(|i| {
                let index = component * n + i;
                if masks[component][i] { predicted[index].f64() + sigma[i] * draw(index as u64) } else { 0.0 }
            })
            .collect()
    };
    let maps = sigma.iter().enumerate().map(noisy).collect();
    let names = space.blocks().iter().map(|block| block.name.clone()).collect();
    Ok(Observation { names, maps, sigma, seen: anywhere(&masks), masks, places: Places::Pixels, notes })
}

/// Most stars and galaxies of a made-up survey.
const MOST_STARS: usize = 100_000;
const MOST_GALAXIES: f64 = 1e9;

/// Noise of the mean shape in each pixel of a made-up survey, the pixels seen, and the number of galaxies.
fn survey_noise(seed: u64, survey: &Survey, grid: &Grid) -> Result<(Vec<f64>, Vec<bool>, usize)> {
    for (name, value) in [
        ("galaxies_per_arcmin2", survey.galaxies_per_arcmin2),
        ("shape_noise", survey.shape_noise),
        ("star_radius_arcmin", survey.star_radius_arcmin),
    ] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::config("data.survey", format!("`{name}` must be positive, not {value}")));
        }
    }
    let arcmin = |radians: f64| radians.to_degrees() * 60.0;
    let (width, height) = (arcmin(grid.lengths()[1]), arcmin(grid.lengths()[0]));
    let margin = survey.margin_arcmin;
    if !(margin >= 0.0 && 2.0 * margin < width.min(height)) {
        return Err(Error::config(
            "data.survey",
            format!("`margin_arcmin` ({margin}) leaves nothing of the map"),
        ));
    }
    let expected = survey.galaxies_per_arcmin2 * width * height;
    if survey.stars > MOST_STARS || expected > MOST_GALAXIES {
        let message = format!(
            "{} stars and {expected:.0} galaxies are more than {MOST_STARS} and {MOST_GALAXIES:.0}",
            survey.stars
        );
        return Err(Error::config("data.survey", message));
    }
    let places = Stream::new(seed, Purpose::Survey, 0);
    let stars: Vec<(f64, f64)> = (0..survey.stars as u64)
        .map(|i| (width * places.uniform(2 * i), height * places.uniform(2 * i + 1)))
        .collect();
    let open = |x: f64, y: f64| {
        let inside = x > margin && x < width - margin && y > margin && y < height - margin;
        let radius2 = survey.star_radius_arcmin.powi(2);
        inside && stars.iter().all(|(sx, sy)| (x - sx).powi(2) + (y - sy).powi(2) > radius2)
    };
    let galaxies = Stream::new(seed, Purpose::Survey, 1);
    let (rows, columns) = (grid.shape()[0], grid.shape()[1]);
    let mut count = vec![0u32; grid.len()];
    let mut total = 0;
    for i in 0..expected.round() as u64 {
        let (u, v) = (galaxies.uniform(2 * i), galaxies.uniform(2 * i + 1));
        if open(u * width, v * height) {
            let (row, column) = ((v * rows as f64) as usize, (u * columns as f64) as usize);
            count[row.min(rows - 1) * columns + column.min(columns - 1)] += 1;
            total += 1;
        }
    }
    let sigma =
        count.iter().map(|&n| if n == 0 { 0.0 } else { survey.shape_noise / f64::from(n).sqrt() }).collect();
    Ok((sigma, count.iter().map(|&n| n > 0).collect(), total))
}
