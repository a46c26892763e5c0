//! The pixels of a run, and where they lie on the sky.

use lookback_lensing::{Catalogue, Projection};
use lookback_mesh::Grid;

use crate::formats::fits::Wcs;
use crate::runfile::{ProjectionKind, SkyCentre, SkySection};
use crate::{Error, Result};

/// Degrees that a flat sky may be wide: far more than it is good for.
const WIDEST: f64 = 180.0;

/// Most pixels of a map: what 32-bit indices hold.
const MOST_PIXELS: usize = 1 << 31;

/// The grid of a run, in radians.
///
/// # Errors
/// If the pixels are too few, too many or have no size.
pub fn grid_of(sky: &SkySection) -> Result<Grid> {
    let [rows, columns] = sky.pixels;
    if rows.saturating_mul(columns) > MOST_PIXELS {
        return Err(Error::config("sky", format!("{rows} x {columns} pixels are more than {MOST_PIXELS}")));
    }
    let pixel = sky.pixel_arcmin / 60.0;
    if !(pixel > 0.0 && pixel.is_finite()) {
        let message = format!("`pixel_arcmin` must be a positive number, not {}", sky.pixel_arcmin);
        return Err(Error::config("sky", message));
    }
    let widest = pixel * rows.max(columns) as f64;
    if widest > WIDEST {
        let message = format!(
            "{rows} x {columns} pixels of {} arcmin are {widest:.0} degrees wide: a flat sky has {WIDEST} at most",
            sky.pixel_arcmin
        );
        return Err(Error::config("sky", message));
    }
    Grid::sky(rows, columns, pixel.to_radians()).map_err(|error| Error::config("sky", error.to_string()))
}

/// Coordinates of the map, if its centre is given.
pub(crate) fn wcs(sky: &SkySection, catalogue: Option<&Catalogue>) -> Result<Option<Wcs>> {
    let (ra, dec) = match (&sky.centre, catalogue) {
        (None, _) => return Ok(None),
        (Some(SkyCentre::Degrees([ra, dec])), _) => (*ra, *dec),
        (Some(SkyCentre::Named(name)), Some(catalogue)) if name == "median" => catalogue.median_position(),
        (Some(SkyCentre::Named(name)), _) => {
            let message =
                format!("centre = \"{name}\": use [ra, dec] in degrees, or \"median\" with a catalogue");
            return Err(Error::config("sky", message));
        }
    };
    if !ra.is_finite() || !(-90.0..=90.0).contains(&dec) {
        let message = format!("centre = [{ra}, {dec}] is not a place on the sky: [ra, dec] in degrees");
        return Err(Error::config("sky", message));
    }
    Ok(Some(Wcs {
        projection: match sky.projection {
            ProjectionKind::Gnomonic => Projection::Gnomonic { ra, dec },
            ProjectionKind::PlateCarree => Projection::PlateCarree { ra, dec },
        },
    }))
}

pub(crate) fn centre_needed() -> Error {
    Error::config("sky", "a catalogue needs `centre`: [ra, dec] in degrees, or \"median\"")
}
