//! From right ascension and declination to the plane of a map.

use lookback_operator::{Error, Result};

/// A projection of the sky about a centre; angles in degrees in and out, `x` growing with right ascension, `y` with
/// declination. (FITS maps of the sky often have `x` growing westwards; the header of every written map says which.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Projection {
    /// `x = ra - ra0`, `y = dec - dec0` (FITS `CAR`): no `cos(dec)`; exact only at the equator.
    PlateCarree {
        /// Right ascension of the centre \[deg\].
        ra: f64,
        /// Declination of the centre \[deg\].
        dec: f64,
    },
    /// Onto the tangent plane (FITS `TAN`).
    Gnomonic {
        /// Right ascension of the centre \[deg\].
        ra: f64,
        /// Declination of the centre \[deg\].
        dec: f64,
    },
}

impl Projection {
    /// `(x, y)` \[deg\] of a point on the sky.
    ///
    /// # Errors
    /// If a coordinate is not finite, the declination is beyond a pole, or the point is 90 degrees or more from the
    /// centre of a gnomonic projection.
    pub fn project(&self, ra: f64, dec: f64) -> Result<(f64, f64)> {
        let wrong = |message: String| Err(Error::parameter("projection", message));
        if !ra.is_finite() || !(-90.0..=90.0).contains(&dec) {
            return wrong(format!(
                "({ra}, {dec}) is not a place on the sky: ra must be finite, dec in -90 .. 90 degrees"
            ));
        }
        let (ra0, dec0) = self.centre();
        let east = (ra - ra0 + 180.0).rem_euclid(360.0) - 180.0;
        if let Projection::PlateCarree { .. } = self {
            return Ok((east, dec - dec0));
        }
        let (sin_d, cos_d) = dec.to_radians().sin_cos();
        let (sin_d0, cos_d0) = dec0.to_radians().sin_cos();
        let (sin_a, cos_a) = east.to_radians().sin_cos();
        let depth = sin_d0 * sin_d + cos_d0 * cos_d * cos_a;
        if depth <= 0.0 {
            return wrong(format!("({ra}, {dec}) lies 90 degrees or more from the centre ({ra0}, {dec0})"));
        }
        let x = cos_d * sin_a / depth;
        let y = (cos_d0 * sin_d - sin_d0 * cos_d * cos_a) / depth;
        Ok((x.to_degrees(), y.to_degrees()))
    }

    /// Angle \[rad\] by which north at a place on the sky is turned against `y` of the map, from `y` towards `-x`: none but off the centre of a gnomonic projection,
    /// where meridians run together.
    pub fn turn_of_north(&self, ra: f64, dec: f64) -> f64 {
        let Projection::Gnomonic { ra: ra0, dec: dec0 } = *self else { return 0.0 };
        let (sin_d, cos_d) = dec.to_radians().sin_cos();
        let (sin_d0, cos_d0) = dec0.to_radians().sin_cos();
        let (sin_a, cos_a) = (ra - ra0).to_radians().sin_cos();
        // Derivatives by the declination of the numerators of x and y, and of their denominator.
        let depth = sin_d0 * sin_d + cos_d0 * cos_d * cos_a;
        let depth_slope = sin_d0 * cos_d - cos_d0 * sin_d * cos_a;
        let (x, y) = (cos_d * sin_a, cos_d0 * sin_d - sin_d0 * cos_d * cos_a);
        let (x_slope, y_slope) = (-sin_d * sin_a, cos_d0 * cos_d + sin_d0 * sin_d * cos_a);
        let (to_x, to_y) = (x_slope * depth - x * depth_slope, y_slope * depth - y * depth_slope);
        (-to_x).atan2(to_y)
    }

    /// `(ra, dec)` \[deg\] of a point of the plane, the way back of [`Projection::project`]; `ra` from 0 to 360.
    pub fn unproject(&self, x: f64, y: f64) -> (f64, f64) {
        let (ra0, dec0) = self.centre();
        if let Projection::PlateCarree { .. } = self {
            return ((ra0 + x).rem_euclid(360.0), dec0 + y);
        }
        let (x, y) = (x.to_radians(), y.to_radians());
        let (sin_d0, cos_d0) = dec0.to_radians().sin_cos();
        let length = (1.0 + x * x + y * y).sqrt();
        let dec = ((sin_d0 + y * cos_d0) / length).asin();
        let east = x.atan2(cos_d0 - y * sin_d0);
        ((ra0 + east.to_degrees()).rem_euclid(360.0), dec.to_degrees())
    }

    /// `(ra, dec)` of the centre \[deg\].
    pub fn centre(&self) -> (f64, f64) {
        match *self {
            Projection::PlateCarree { ra, dec } | Projection::Gnomonic { ra, dec } => (ra, dec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gnomonic_projection_keeps_distances_from_the_centre_as_tangents() {
        let projection = Projection::Gnomonic { ra: 359.9, dec: 30.0 };
        assert_eq!(projection.project(359.9, 30.0).expect("centre"), (0.0, 0.0));
        let (x, y) = projection.project(359.9, 40.0).expect("north");
        assert!(x.abs() < 1e-12 && (y - 10f64.to_radians().tan().to_degrees()).abs() < 1e-12);
        let (x, _) = projection.project(0.9, 30.0).expect("east, across 360 degrees");
        assert!((x - 30f64.to_radians().cos()).abs() < 1e-3);
        assert!(projection.project(180.0, -40.0).is_err());
        assert!(projection.project(0.0, 91.0).is_err());
        assert!(projection.project(f64::NAN, 0.0).is_err());
    }

    #[test]
    fn the_way_back_leads_to_the_same_place() {
        for projection in [
            Projection::Gnomonic { ra: 359.9, dec: 62.0 },
            Projection::Gnomonic { ra: 10.0, dec: -30.0 },
            Projection::PlateCarree { ra: 0.3, dec: 2.0 },
        ] {
            for (x, y) in [(0.0, 0.0), (1.5, -2.0), (-30.0, 12.0), (0.4, 40.0)] {
                let (ra, dec) = projection.unproject(x, y);
                assert!((0.0..360.0).contains(&ra));
                let (again_x, again_y) = projection.project(ra, dec).expect("on the sky");
                assert!((again_x - x).abs() < 1e-9 && (again_y - y).abs() < 1e-9, "{projection:?}");
            }
        }
    }

    #[test]
    fn north_is_where_a_step_north_leads() {
        for (ra0, dec0) in [(150.0, 62.0), (10.0, -45.0), (0.1, 0.0)] {
            let projection = Projection::Gnomonic { ra: ra0, dec: dec0 };
            for (east, north) in [(0.0, 1.0), (5.0, 0.0), (-4.0, 3.0), (2.0, -6.0)] {
                let (ra, dec) = (ra0 + east, dec0 + north);
                let at = |dec: f64| projection.project(ra, dec).expect("on the map");
                let ((x0, y0), (x1, y1)) = (at(dec - 1e-4), at(dec + 1e-4));
                let turn = (x0 - x1).atan2(y1 - y0);
                let found = projection.turn_of_north(ra, dec);
                assert!((found - turn).abs() < 1e-8, "{found} {turn}");
                // Meridians run together by about the sine of the declination.
                let rough = east.to_radians() * dec0.to_radians().sin();
                assert!((found - rough).abs() < 0.15 * rough.abs() + 2e-3, "{found} {rough}");
            }
        }
        assert_eq!(Projection::PlateCarree { ra: 0.0, dec: 60.0 }.turn_of_north(5.0, 60.0), 0.0);
    }

    #[test]
    fn plate_carree_is_a_difference() {
        let projection = Projection::PlateCarree { ra: 150.0, dec: 2.0 };
        assert_eq!(projection.project(150.5, 1.0).expect("near"), (0.5, -1.0));
    }
}
