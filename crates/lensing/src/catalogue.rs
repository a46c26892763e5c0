//! A shear catalogue, and its weighted mean on the pixels of a map.

use lookback_mesh::Grid;
use lookback_operator::{Error, Result};

use crate::Projection;

/// Galaxies with positions \[deg\], ellipticities (shear estimates) and weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// Right ascension \[deg\].
    pub ra: Vec<f64>,
    /// Declination \[deg\].
    pub dec: Vec<f64>,
    /// First component: positive for elongation along `x`.
    pub e1: Vec<f64>,
    /// Second component: positive for elongation along `x = y`.
    pub e2: Vec<f64>,
    /// Weights, positive.
    pub weight: Vec<f64>,
}

/// Weighted means on pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Binned {
    /// Mean of the first component; zero where there is no galaxy.
    pub e1: Vec<f64>,
    /// Mean of the second component; zero where there is no galaxy.
    pub e2: Vec<f64>,
    /// Sum of the weights.
    pub weight: Vec<f64>,
    /// `sqrt(sum w^2) / sum w`: times the dispersion of one ellipticity it is the noise of the mean; zero where
    /// there is no galaxy.
    pub noise_factor: Vec<f64>,
    /// Number of galaxies.
    pub count: Vec<usize>,
    /// Galaxies that fell outside of the map.
    pub outside: usize,
}

impl Catalogue {
    /// A catalogue from its columns.
    ///
    /// # Errors
    /// If the columns differ in length, are empty, hold a NaN or an infinity, or a weight is not positive; with the row.
    pub fn new(
        ra: Vec<f64>,
        dec: Vec<f64>,
        e1: Vec<f64>,
        e2: Vec<f64>,
        weight: Vec<f64>,
    ) -> Result<Catalogue> {
        let wrong = |message: String| Err(Error::parameter("catalogue", message));
        let columns = [("ra", &ra), ("dec", &dec), ("e1", &e1), ("e2", &e2), ("weight", &weight)];
        for (name, column) in columns {
            if column.len() != ra.len() {
                return wrong(format!(
                    "column `{name}` has {} rows, but `ra` has {}",
                    column.len(),
                    ra.len()
                ));
            }
            if let Some(row) = column.iter().position(|x| !x.is_finite()) {
                return wrong(format!(
                    "column `{name}` holds {} in row {row}; all values must be finite",
                    column[row]
                ));
            }
        }
        if ra.is_empty() {
            return wrong("has no galaxies".into());
        }
        if let Some(row) = weight.iter().position(|&w| w <= 0.0) {
            return wrong(format!(
                "column `weight` holds {} in row {row}; weights must be positive",
                weight[row]
            ));
        }
        if let Some(row) = dec.iter().position(|d| d.abs() > 90.0) {
            return wrong(format!(
                "column `dec` holds {} in row {row}; declinations lie in -90 .. 90 degrees",
                dec[row]
            ));
        }
        Ok(Catalogue { ra, dec, e1, e2, weight })
    }

    /// Number of galaxies.
    pub fn len(&self) -> usize {
        self.ra.len()
    }

    /// Never true: a catalogue has at least one galaxy.
    pub fn is_empty(&self) -> bool {
        self.ra.is_empty()
    }

    /// Medians of right ascension and declination \[deg\]: a centre for a map.
    pub fn median_position(&self) -> (f64, f64) {
        // Right ascensions are compared as they lie about one of them: on both sides of 360 degrees there are neighbours.
        let first = self.ra.first().copied().unwrap_or(0.0);
        let about: Vec<f64> =
            self.ra.iter().map(|ra| (ra - first + 180.0).rem_euclid(360.0) - 180.0).collect();
        ((first + median(&about)).rem_euclid(360.0), median(&self.dec))
    }

    /// Galaxies whose ellipticity is above one.
    pub fn beyond_one(&self) -> usize {
        self.e1.iter().zip(&self.e2).filter(|(a, b)| a.hypot(**b) > 1.0).count()
    }

    /// Weighted dispersion of one ellipticity component, `sqrt(sum w (e1^2 + e2^2) / (2 sum w))`.
    pub fn dispersion(&self) -> f64 {
        let shapes = self.e1.iter().zip(&self.e2).zip(&self.weight);
        let (sum, weight) =
            shapes.fold((0.0, 0.0), |(sum, weight), ((a, b), w)| (sum + w * (a * a + b * b), weight + w));
        (sum / (2.0 * weight)).sqrt()
    }

    /// Positions on the map in the units of its grid \[rad\], measured from the outer corner of pixel (0, 0), with the
    /// centre of the projection in the middle of the map.
    ///
    /// # Errors
    /// If a position cannot be projected; with the row.
    pub fn positions(&self, grid: &Grid, projection: &Projection) -> Result<Vec<(f64, f64)>> {
        let (middle_x, middle_y) = (0.5 * grid.lengths()[1], 0.5 * grid.lengths()[0]);
        let place = |(row, (&ra, &dec)): (usize, (&f64, &f64))| {
            let (x, y) = projection
                .project(ra, dec)
                .map_err(|error| Error::parameter("catalogue", format!("row {row}: {error}")))?;
            Ok((x.to_radians() + middle_x, y.to_radians() + middle_y))
        };
        self.ra.iter().zip(&self.dec).enumerate().map(place).collect()
    }

    /// The same galaxies with their shapes along the axes of a map, where they were along east and north at their places:
    /// `e -> e exp(2 i angle)` with the [angle by which north is turned](Projection::turn_of_north).
    pub fn along_map(mut self, projection: &Projection) -> Catalogue {
        for row in 0..self.len() {
            let (sin, cos) = (2.0 * projection.turn_of_north(self.ra[row], self.dec[row])).sin_cos();
            let (e1, e2) = (self.e1[row], self.e2[row]);
            (self.e1[row], self.e2[row]) = (cos * e1 - sin * e2, sin * e1 + cos * e2);
        }
        self
    }

    /// Weighted means on the pixels of a flat sky. Memory: 40 bytes a pixel.
    ///
    /// # Errors
    /// As [`positions`](Catalogue::positions), or if no galaxy falls on the map.
    pub fn bin(&self, grid: &Grid, projection: &Projection) -> Result<Binned> {
        let (rows, columns) = (grid.shape()[0], grid.shape()[1]);
        let n = grid.len();
        let (mut w, mut w2, mut e1, mut e2) = (vec![0.0; n], vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let mut count = vec![0; n];
        let mut outside = 0;
        for (row, (x, y)) in self.positions(grid, projection)?.into_iter().enumerate() {
            let column = (x / grid.lengths()[1] * columns as f64).floor();
            let line = (y / grid.lengths()[0] * rows as f64).floor();
            if !(0.0..columns as f64).contains(&column) || !(0.0..rows as f64).contains(&line) {
                outside += 1;
                continue;
            }
            let (pixel, weight) = (line as usize * columns + column as usize, self.weight[row]);
            count[pixel] += 1;
            w[pixel] += weight;
            w2[pixel] += weight * weight;
            e1[pixel] += weight * self.e1[row];
            e2[pixel] += weight * self.e2[row];
        }
        if outside == self.len() {
            let (ra, dec) = projection.centre();
            let message = format!("none of {outside} galaxies falls on the map around ra {ra}, dec {dec}");
            return Err(Error::parameter("catalogue", message));
        }
        let mean = |sum: Vec<f64>| -> Vec<f64> {
            sum.into_iter().zip(&w).map(|(sum, &w)| if w > 0.0 { sum / w } else { 0.0 }).collect()
        };
        let noise_factor = mean(w2.iter().map(|w2| w2.sqrt()).collect());
        Ok(Binned { e1: mean(e1), e2: mean(e2), noise_factor, weight: w, count, outside })
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_the_weighted_mean() {
        let catalogue = Catalogue::new(
            vec![10.001, 10.002, 9.999],
            vec![0.001, 0.002, -0.001],
            vec![0.1, 0.4, -0.2],
            vec![0.0, 0.3, 0.5],
            vec![1.0, 2.0, 1.0],
        )
        .expect("a catalogue");
        let grid = Grid::sky(2, 2, 0.01f64.to_radians()).expect("a grid");
        let binned = catalogue.bin(&grid, &Projection::PlateCarree { ra: 10.0, dec: 0.0 }).expect("inside");
        assert_eq!(binned.count, [1, 0, 0, 2]);
        assert!((binned.e1[3] - 0.3).abs() < 1e-15 && (binned.e2[3] - 0.2).abs() < 1e-15);
        assert!((binned.noise_factor[3] - 5f64.sqrt() / 3.0).abs() < 1e-15);
        assert_eq!((binned.e1[0], binned.e1[1]), (-0.2, 0.0));
    }

    #[test]
    fn the_middle_of_a_field_across_zero_hours_lies_in_it() {
        let ra = vec![359.0, 359.5, 0.2, 0.4, 1.0];
        let catalogue =
            Catalogue::new(ra, vec![1.0; 5], vec![0.9; 5], vec![0.0, 0.5, 0.0, 0.5, 0.0], vec![1.0; 5]);
        let catalogue = catalogue.expect("a catalogue");
        let (ra, dec) = catalogue.median_position();
        assert!((ra - 0.2).abs() < 1e-9 && dec == 1.0, "{ra} {dec}");
        assert_eq!(catalogue.beyond_one(), 2);
    }

    /// A shape that points to the pole keeps pointing there, along the line to where the map has it.
    #[test]
    fn shapes_turn_with_the_meridians() {
        let projection = Projection::Gnomonic { ra: 40.0, dec: 70.0 };
        let (ra, dec) = (55.0, 72.0);
        // Along the meridian: e1 = -1.
        let catalogue = Catalogue::new(vec![ra], vec![dec], vec![-0.3], vec![0.0], vec![1.0]).expect("one");
        let turned = catalogue.along_map(&projection);
        let (here, pole) =
            (projection.project(ra, dec).expect("here"), projection.project(ra, 90.0).expect("pole"));
        let angle = (pole.1 - here.1).atan2(pole.0 - here.0);
        assert!((turned.e1[0] - 0.3 * (2.0 * angle).cos()).abs() < 1e-12, "{}", turned.e1[0]);
        assert!((turned.e2[0] - 0.3 * (2.0 * angle).sin()).abs() < 1e-12, "{}", turned.e2[0]);
        assert!(turned.e2[0].abs() > 0.1);
    }

    #[test]
    fn bad_rows_are_named() {
        let with = |e1: f64, weight: f64, dec: f64| {
            Catalogue::new(vec![1.0; 2], vec![0.0, dec], vec![0.0, e1], vec![0.0; 2], vec![1.0, weight])
                .expect_err("refused")
                .to_string()
        };
        assert!(with(f64::NAN, 1.0, 0.0).contains("`e1` holds NaN in row 1"));
        assert!(with(0.0, -1.0, 0.0).contains("`weight` holds -1 in row 1"));
        assert!(with(0.0, 1.0, 95.0).contains("`dec` holds 95"));
        let short = Catalogue::new(vec![1.0; 2], vec![0.0; 2], vec![0.0; 2], vec![0.0; 1], vec![1.0; 2]);
        assert!(short.expect_err("refused").to_string().contains("`e2` has 1 rows"));
    }
}
