//! What was observed: maps from files, or a catalogue of galaxies.

use lookback_lensing::{Catalogue, Projection};
use lookback_mesh::Grid;
use lookback_operator::Space;

use super::{Inputs, check_finite};
use crate::formats::fits::{self, PixelScale};
use crate::runfile::{At, Columns, MaskFiles, NoiseStd};
use crate::{Error, Result};

/// Where the model is compared with the data.
#[derive(Debug, Clone, PartialEq)]
pub enum Places {
    /// In the pixels that were seen.
    Pixels,
    /// At each galaxy.
    Galaxies {
        /// Positions on the map \[rad\].
        positions: Vec<(f64, f64)>,
        /// Both components for all galaxies, one after the other.
        data: Vec<f64>,
        /// Noise of each number.
        sigma: Vec<f64>,
    },
}

/// The data of a run. Maps are there in any case, to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Names of the maps.
    pub names: Vec<String>,
    /// Observed maps; zero where nothing was seen.
    pub maps: Vec<Vec<f64>>,
    /// Noise of the maps; zero where nothing was seen.
    pub sigma: Vec<Vec<f64>>,
    /// Pixels that were seen, of each map.
    pub masks: Vec<Vec<bool>>,
    /// Pixels that were seen in any map.
    pub seen: Vec<bool>,
    /// Where the model is compared with the data.
    pub places: Places,
    /// Things that the user should know.
    pub notes: Vec<String>,
}

impl Observation {
    /// Data and noise as the likelihood sees them.
    pub(crate) fn vectors(&self) -> (Vec<f64>, Vec<f64>) {
        match &self.places {
            Places::Galaxies { data, sigma, .. } => (data.clone(), sigma.clone()),
            Places::Pixels => {
                let pick = |maps: &[Vec<f64>]| -> Vec<f64> {
                    let seen = |(map, mask): (&Vec<f64>, &Vec<bool>)| -> Vec<f64> {
                        map.iter().zip(mask).filter(|(_, seen)| **seen).map(|(x, _)| *x).collect()
                    };
                    maps.iter().zip(&self.masks).flat_map(seen).collect()
                };
                (pick(&self.maps), pick(&self.sigma))
            }
        }
    }

    /// Number of pixels that were seen in any map.
    pub fn seen_count(&self) -> usize {
        count(&self.seen)
    }

    /// What stands in the pixels that were seen, put back on map `which`; `values` are those of all maps, as the likelihood has them.
    pub(crate) fn on_map(&self, which: usize, values: &[f64]) -> Vec<f64> {
        let before = self.masks[..which].iter().map(|mask| count(mask)).sum();
        let mut values = values.iter().skip(before);
        let mut place = |&seen: &bool| if seen { values.next().copied().unwrap_or(0.0) } else { 0.0 };
        self.masks[which].iter().map(&mut place).collect()
    }
}

/// Number of pixels that were seen.
fn count(mask: &[bool]) -> usize {
    mask.iter().filter(|seen| **seen).count()
}

/// Pixels that were seen in any map.
pub(crate) fn anywhere(masks: &[Vec<bool>]) -> Vec<bool> {
    let pixels = masks.first().map_or(0, Vec::len);
    (0..pixels).map(|i| masks.iter().any(|mask| mask[i])).collect()
}

/// Files of observed maps.
pub(crate) struct MapFiles<'a> {
    pub(crate) maps: &'a [String],
    pub(crate) noise_std: &'a [NoiseStd],
    pub(crate) mask: Option<&'a MaskFiles>,
    pub(crate) negate: &'a [bool],
}

fn names(space: &Space) -> Vec<String> {
    space.blocks().iter().map(|block| block.name.clone()).collect()
}

fn expect_count(what: &str, found: usize, space: &Space) -> Result<()> {
    let expected = space.blocks().len();
    if found == expected {
        return Ok(());
    }
    Err(Error::config(
        "data",
        format!("`{what}` has {found} entries, but the model predicts {expected}: {space}"),
    ))
}

/// Noise maps, zero where nothing was seen, and the pixels of each that were.
pub(crate) struct Noise {
    pub(crate) sigma: Vec<Vec<f64>>,
    pub(crate) masks: Vec<Vec<bool>>,
}

/// Noise maps, and the pixels of each that were seen: where its mask is above zero, or else where its noise is not zero.
pub(crate) fn noise_and_masks(
    noise_std: &[NoiseStd],
    mask: Option<&MaskFiles>,
    grid: &Grid,
    space: &Space,
    inputs: &mut Inputs,
) -> Result<Noise> {
    expect_count("noise_std", noise_std.len(), space)?;
    let mut sigma = Vec::new();
    for std in noise_std {
        sigma.push(match std {
            NoiseStd::Number(std) => vec![*std; grid.len()],
            NoiseStd::File(place) => inputs.raw_map(place, grid)?,
        });
    }
    let masks: Vec<Vec<bool>> = match mask {
        Some(files) => {
            let each = files.places().len();
            if matches!(files, MaskFiles::Each(_)) {
                expect_count("mask", each, space)?;
            }
            let read = |place: &String| -> Result<Vec<bool>> {
                Ok(inputs.map(place, grid)?.into_iter().map(|x| x > 0.0).collect())
            };
            let read = files.places().iter().map(read).collect::<Result<Vec<_>>>()?;
            (0..sigma.len()).map(|map| read[map % each].clone()).collect()
        }
        None => {
            let seen = |(map, std): (&Vec<f64>, &NoiseStd)| match std {
                NoiseStd::File(_) => map.iter().map(|&std| std != 0.0).collect(),
                NoiseStd::Number(_) => vec![true; grid.len()],
            };
            sigma.iter().zip(noise_std).map(seen).collect()
        }
    };
    for ((map, std), (mask, block)) in sigma.iter_mut().zip(noise_std).zip(masks.iter().zip(space.blocks())) {
        check_noise(map, mask, std, grid)?;
        if !mask.contains(&true) {
            let message =
                format!("no pixel of {} was seen: its mask or noise is zero everywhere", block.name);
            return Err(Error::config("data", message));
        }
    }
    Ok(Noise { sigma, masks })
}

/// Takes the noise off where nothing was seen, and refuses what is not positive elsewhere.
fn check_noise(map: &mut [f64], mask: &[bool], std: &NoiseStd, grid: &Grid) -> Result<()> {
    for (i, (value, &seen)) in map.iter_mut().zip(mask).enumerate() {
        if !seen {
            *value = 0.0;
        } else if !(*value > 0.0 && value.is_finite()) {
            let (row, column) = (i / grid.columns(), i % grid.columns());
            let place = match std {
                NoiseStd::Number(_) => "data".to_string(),
                NoiseStd::File(place) => format!("data: {place}"),
            };
            let message = format!(
                "the noise at row {row}, column {column} is {value}, but this pixel counts as seen; noise must be positive there (or the mask zero)"
            );
            return Err(Error::config(place, message));
        }
    }
    Ok(())
}

/// Refuses two quantities of which the file names the same numbers: a copied line whose end was not changed.
fn expect_each_once<'p>(places: impl Iterator<Item = (String, &'p str)>) -> Result<()> {
    let mut before: Vec<(String, &str)> = Vec::new();
    for (name, place) in places {
        if let Some((other, _)) = before.iter().find(|(_, known)| *known == place) {
            let message = format!("`{other}` and `{name}` are both {place}; each has data of its own");
            return Err(Error::config("data", message));
        }
        before.push((name, place));
    }
    Ok(())
}

pub(crate) fn observe_maps(
    files: &MapFiles<'_>,
    grid: &Grid,
    space: &Space,
    inputs: &mut Inputs,
) -> Result<Observation> {
    expect_count("maps", files.maps.len(), space)?;
    expect_each_once(files.maps.iter().zip(names(space)).map(|(place, name)| (name, place.as_str())))?;
    if !files.negate.is_empty() {
        expect_count("negate", files.negate.len(), space)?;
    }
    let Noise { sigma, masks } = noise_and_masks(files.noise_std, files.mask, grid, space, inputs)?;
    let (mut maps, mut notes) = (Vec::new(), Vec::new());
    for (i, (place, seen)) in files.maps.iter().zip(&masks).enumerate() {
        let sign = if files.negate.get(i).copied().unwrap_or(false) { -1.0 } else { 1.0 };
        let map = inputs.raw_map(place, grid)?;
        check_finite(place, grid, &map, |i| seen[i])?;
        notes.extend(header_notes(place, grid, files.negate.is_empty() && i == 0)?);
        maps.push(map.into_iter().zip(seen).map(|(x, &seen)| if seen { sign * x } else { 0.0 }).collect());
    }
    let seen = anywhere(&masks);
    Ok(Observation { names: names(space), maps, sigma, masks, seen, places: Places::Pixels, notes })
}

/// What the header of a map says otherwise than `[sky]`; of its direction only where `first` and no sign has been thought of.
fn header_notes(place: &str, grid: &Grid, first: bool) -> Result<Vec<String>> {
    let (path, name) = crate::formats::split(place);
    if !crate::formats::is_fits(path) {
        return Ok(Vec::new());
    }
    let Some(PixelScale { widths: [x, y], mirrored }) = fits::pixel_scale(path, name)? else {
        return Ok(Vec::new());
    };
    let pixel = grid.spacing()[0].to_degrees() * 60.0;
    let other = |found: f64| (found / pixel - 1.0).abs() > 0.01;
    let mut notes = Vec::new();
    if other(x) || other(y) {
        notes.push(format!("{place}: its header has pixels of {x:.4} x {y:.4} arcmin, [sky] of {pixel:.4}"));
    }
    if mirrored && first {
        notes.push(format!(
            "{place}: its x grows westwards, as in most images of the sky, and here eastwards: coordinates that are written are mirrored; shear that is given along the sky and not along pixels changes the sign of its second component (`negate`)"
        ));
    }
    Ok(notes)
}

/// The galaxies that count, and how many do not.
pub(crate) fn read_catalogue(
    columns: &Columns,
    negate_e2: bool,
    inputs: &mut Inputs,
) -> Result<(Catalogue, usize)> {
    let mut column = |place: &str| -> Result<Vec<f64>> {
        let array = inputs.array(place)?;
        if array.shape.len() != 1 {
            let message = format!("has the shape {:?}; a column has one axis", array.shape);
            return Err(Error::file(place, message));
        }
        Ok(array.values)
    };
    let named = [("ra", &columns.ra), ("dec", &columns.dec), ("e1", &columns.e1), ("e2", &columns.e2)];
    expect_each_once(named.into_iter().map(|(name, place)| (name.to_string(), place.as_str())))?;
    let ra = column(&columns.ra)?;
    let dec = column(&columns.dec)?;
    let e1 = column(&columns.e1)?;
    let mut e2 = column(&columns.e2)?;
    let weight = match &columns.weight {
        Some(place) => column(place)?,
        None => vec![1.0; ra.len()],
    };
    if negate_e2 {
        e2.iter_mut().for_each(|e2| *e2 = -*e2);
    }
    // Surveys give galaxies that are not to count a weight of zero; what else is wrong with them does not matter.
    let counts: Vec<bool> = weight.iter().map(|w| *w != 0.0).collect();
    // All rows are looked at, so that errors name those of the file.
    let harmless = |column: Vec<f64>, value: f64| -> Vec<f64> {
        let each = column.into_iter().enumerate();
        each.map(|(row, x)| if counts.get(row) == Some(&false) { value } else { x }).collect()
    };
    let [ra, dec, e1, e2] = [ra, dec, e1, e2].map(|column| harmless(column, 0.0));
    let all = Catalogue::new(ra, dec, e1, e2, harmless(weight, 1.0))
        .map_err(|error| Error::config("data.columns", error.to_string()))?;
    let not_counted = counts.iter().filter(|counts| !**counts).count();
    if not_counted == all.len() {
        return Err(Error::config("data.columns", "all weights are zero"));
    }
    let kept = |column: Vec<f64>| -> Vec<f64> {
        column.into_iter().zip(&counts).filter(|(_, counts)| **counts).map(|(x, _)| x).collect()
    };
    let Catalogue { ra, dec, e1, e2, weight } = all;
    let [ra, dec, e1, e2, weight] = [ra, dec, e1, e2, weight].map(kept);
    Ok((Catalogue { ra, dec, e1, e2, weight }, not_counted))
}

/// How a catalogue is used.
pub(crate) struct CatalogueOptions<'a> {
    pub(crate) at: At,
    pub(crate) shape_noise: Option<f64>,
    pub(crate) noise_std: &'a [NoiseStd],
}

pub(crate) fn observe_catalogue(
    catalogue: &Catalogue,
    options: &CatalogueOptions<'_>,
    grid: &Grid,
    projection: &Projection,
    space: &Space,
    inputs: &mut Inputs,
) -> Result<Observation> {
    if space.blocks().len() != 2 {
        let message = format!(
            "galaxy shapes are two maps of shear, but the forward model predicts {space}: it needs one map of convergence and a `shear` step (maps of counted galaxies go with `kind = \"maps\"`)"
        );
        return Err(Error::config("data", message));
    }
    if options.at == At::Galaxies && !options.noise_std.is_empty() {
        let message = "`noise_std` is the noise of pixels; with `at = \"galaxies\"` give `shape_noise`";
        return Err(Error::config("data", message));
    }
    let shape_noise = options.shape_noise.unwrap_or_else(|| catalogue.dispersion());
    if !(shape_noise.is_finite() && shape_noise > 0.0) {
        let message = match options.shape_noise {
            Some(given) => format!("`shape_noise` must be positive, not {given}"),
            None => "all ellipticities are zero: their dispersion is no noise; give `shape_noise`".into(),
        };
        return Err(Error::config("data", message));
    }
    let catalogue = &catalogue.clone().along_map(projection);
    let binned = catalogue.bin(grid, projection).map_err(|error| Error::config("data", error.to_string()))?;
    let seen: Vec<bool> = binned.count.iter().map(|&count| count > 0).collect();
    let sigma = if options.noise_std.is_empty() {
        vec![binned.noise_factor.iter().map(|factor| factor * shape_noise).collect(); 2]
    } else {
        let noise = noise_and_masks(options.noise_std, None, grid, space, inputs)?;
        if let Some(i) = (0..grid.len()).find(|&i| seen[i] && noise.masks.iter().any(|map| !map[i])) {
            let (row, column) = (i / grid.columns(), i % grid.columns());
            let message = format!(
                "the noise maps are zero at row {row}, column {column}, where the catalogue has galaxies"
            );
            return Err(Error::config("data", message));
        }
        let cut =
            |map: Vec<f64>| map.into_iter().zip(&seen).map(|(s, &seen)| if seen { s } else { 0.0 }).collect();
        noise.sigma.into_iter().map(cut).collect()
    };
    let density = (catalogue.len() - binned.outside) as f64
        / (count(&seen) as f64 * (grid.cell_volume().sqrt().to_degrees() * 60.0).powi(2));
    let mut notes = vec![format!(
        "{} galaxies, {density:.1} per square arcminute where there are any, dispersion {shape_noise:.4} per component",
        catalogue.len(),
    )];
    if density > CROWDED {
        notes.push(format!(
            "more than {CROWDED} galaxies per square arcminute are more than any survey has: `ra` and `dec` are in degrees, `pixel_arcmin` in arcminutes"
        ));
    }
    let broad = catalogue.beyond_one();
    if broad > 0 {
        notes.push(format!(
            "{broad} galaxies have an ellipticity above one, which no shape has: noisy estimates, percent, or numbers that stand for missing ones?"
        ));
    }
    let within = |column: &[f64], most: f64| column.iter().all(|x| x.abs() <= most);
    let as_radians =
        within(&catalogue.ra, std::f64::consts::TAU) && within(&catalogue.dec, std::f64::consts::FRAC_PI_2);
    if as_radians && density > DENSE {
        notes.push("all right ascensions lie within 6.3 and all declinations within 1.6 degrees of zero: are they in radians? degrees are needed".into());
    }
    if binned.outside > 0 {
        notes.push(format!("{} galaxies lie outside of the map and are left out", binned.outside));
    }
    let places = match options.at {
        At::Pixels => Places::Pixels,
        At::Galaxies => galaxies(catalogue, grid, projection, shape_noise)?,
    };
    let (maps, masks) = (vec![binned.e1, binned.e2], vec![seen.clone(); 2]);
    Ok(Observation { names: names(space), maps, sigma, masks, seen, places, notes })
}

/// Galaxies per square arcminute that few surveys of shapes have.
const DENSE: f64 = 60.0;
/// Galaxies per square arcminute that no survey of shapes has.
const CROWDED: f64 = 300.0;

/// Every galaxy on the map as a datum of its own, with noise `shape_noise / sqrt(weight)`, weights scaled to mean 1.
fn galaxies(catalogue: &Catalogue, grid: &Grid, projection: &Projection, shape_noise: f64) -> Result<Places> {
    let inside = |&(x, y): &(f64, f64)| {
        (0.0..=grid.lengths()[1]).contains(&x) && (0.0..=grid.lengths()[0]).contains(&y)
    };
    let all = catalogue.positions(grid, projection)?;
    let kept: Vec<usize> = (0..all.len()).filter(|&i| inside(&all[i])).collect();
    let mean_weight = kept.iter().map(|&i| catalogue.weight[i]).sum::<f64>() / kept.len() as f64;
    let pick = |column: &[f64]| -> Vec<f64> { kept.iter().map(|&i| column[i]).collect() };
    let noise: Vec<f64> =
        pick(&catalogue.weight).iter().map(|w| shape_noise / (w / mean_weight).sqrt()).collect();
    Ok(Places::Galaxies {
        positions: kept.iter().map(|&i| all[i]).collect(),
        data: [pick(&catalogue.e1), pick(&catalogue.e2)].concat(),
        sigma: [noise.clone(), noise].concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_each_map_goes_to_the_likelihood_and_back_to_its_place() {
        let masks = vec![vec![true, false, true], vec![false, true, false]];
        let maps = vec![vec![1.0, 0.0, 3.0], vec![0.0, 5.0, 0.0]];
        let seen = anywhere(&masks);
        assert_eq!(seen, [true; 3]);
        let (names, notes) = (vec!["gamma1".into(), "gamma2".into()], Vec::new());
        let observation = Observation {
            names,
            maps: maps.clone(),
            sigma: maps.clone(),
            masks,
            seen,
            places: Places::Pixels,
            notes,
        };
        let (data, _) = observation.vectors();
        assert_eq!(data, [1.0, 3.0, 5.0]);
        assert_eq!([0, 1].map(|which| observation.on_map(which, &data)).to_vec(), maps);
    }
}
