//! Growth and distances from the tables of another code, in place of those that are integrated here.

use crate::table::table_rows;
use crate::{Error, Result};

/// How to go from one row of a table of growth to the next, in `ln a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Between {
    /// By the cubic through the four rows around.
    #[default]
    Cubic,
    /// By straight lines, each column for itself (MADLens, pmwd).
    Lines,
}

/// Growth and expansion as columns over the scale factor. The unit of `D1` is free: histories take it over from what was before the first row.
#[derive(Debug, Clone, PartialEq)]
pub struct GrowthTable {
    ln_a: Vec<f64>,
    /// `E`, `D1`, `f1`, and if they are there `D2`, `f2`.
    columns: Vec<Vec<f64>>,
    between: Between,
}

/// Growth of one order: `D`, and `dln D / dln a`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) d: f64,
    pub(crate) f: f64,
}

/// What the tables hold, in messages.
pub(crate) const GROWTH: &str = "growth";
pub(crate) const DISTANCE: &str = "distance";

/// The first scale factor that a row may have: where histories begin.
const EARLIEST: f64 = 1e-5;

impl GrowthTable {
    /// From rows of `a`, `E = H / H0`, `D1`, `dln D1 / dln a`, and, if each has them, `D2`, `dln D2 / dln a`: scale factors rise to 1, and `D2`
    /// is `-3/7 D1^2` where there is matter alone (Bouchet et al. 1995).
    ///
    /// # Errors
    /// If there are fewer than four rows, or numbers are not those of such a table.
    pub fn new(table: &[Vec<f64>], between: Between) -> Result<GrowthTable> {
        let wrong = |message: String| Err(Error::Table { what: GROWTH, line: None, message });
        let width = table.first().map_or(0, Vec::len);
        if table.len() < 4 || !matches!(width, 4 | 6) || table.iter().any(|row| row.len() != width) {
            return wrong(format!(
                "needs at least 4 rows of a, E, D1, f1, or of a, E, D1, f1, D2, f2; found {} of {width} numbers",
                table.len()
            ));
        }
        for (i, row) in table.iter().enumerate() {
            let positive = |x: &f64| x.is_finite() && *x > 0.0;
            let wrong = |message: String| wrong(format!("row {}: {message}", i + 1));
            if !row[..4].iter().all(positive) {
                return wrong(format!("a, E, D1 and f1 must be positive, not {:?}", &row[..4]));
            }
            if let &[_, _, d1, _, d2, f2] = &row[..]
                && !(d2 < 0.0 && d2.is_finite() && positive(&f2))
            {
                return wrong(format!(
                    "D2 = {d2} must be near -3/7 D1^2 = {}, and f2 = {f2} positive",
                    -3.0 / 7.0 * d1 * d1
                ));
            }
        }
        let column = |c: usize| table.iter().map(|row| row[c]).collect::<Vec<f64>>();
        let a = column(0);
        if let Some(i) = a.windows(2).position(|a| a[0] >= a[1]) {
            return wrong(format!("scale factors must rise, but that of row {} does not", i + 2));
        }
        if a[0] < EARLIEST {
            return wrong(format!("the first scale factor must be at least {EARLIEST:e}, not {}", a[0]));
        }
        let last = a[a.len() - 1];
        if (last - 1.0).abs() > 1e-9 {
            return wrong(format!("the last scale factor must be 1, not {last}"));
        }
        let ln_a = a.iter().map(|a| a.ln()).collect();
        Ok(GrowthTable { ln_a, columns: (1..width).map(column).collect(), between })
    }

    /// Reads a text: the columns of [`GrowthTable::new`] with spaces between; lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// As [`GrowthTable::new`], and with the line that has another number of columns.
    pub fn parse(text: &str, between: Between) -> Result<GrowthTable> {
        let mut table: Vec<Vec<f64>> = Vec::new();
        for row in table_rows(text) {
            let width = table.first().map_or(row.numbers.len(), Vec::len);
            if row.numbers.len() != width || !matches!(width, 4 | 6) || !row.is_all_numbers() {
                let message = format!("expected a, E, D1, f1, or a, E, D1, f1, D2, f2, found `{}`", row.text);
                return Err(Error::Table { what: GROWTH, line: Some(row.line), message });
            }
            table.push(row.numbers);
        }
        GrowthTable::new(&table, between)
    }

    /// Scale factor of the first row.
    pub(crate) fn begins(&self) -> f64 {
        self.ln_a[0].exp()
    }

    /// Whether the table reaches back to a scale factor, but for rounding.
    pub(crate) fn covers(&self, a: f64) -> bool {
        a >= self.begins() * (1.0 - 1e-12)
    }

    /// The same with another unit of `D1`, so many times smaller.
    pub(crate) fn scaled(&self, factor: f64) -> GrowthTable {
        let powers = [0, 1, 0, 2, 0];
        let columns = self.columns.iter().zip(powers);
        let scaled = |(column, power): (&Vec<f64>, i32)| -> Vec<f64> {
            column.iter().map(|value| value * factor.powi(power)).collect()
        };
        GrowthTable { columns: columns.map(scaled).collect(), ..self.clone() }
    }

    pub(crate) fn scale_factors(&self) -> Vec<f64> {
        self.ln_a.iter().map(|ln_a| ln_a.exp()).collect()
    }

    fn column(&self, column: usize, a: f64) -> f64 {
        let (x, y) = (&self.ln_a, &self.columns[column]);
        match self.between {
            Between::Cubic => cubic(x, y, a.ln()),
            Between::Lines => line(x, y, a.ln()),
        }
    }

    /// `H / H0`.
    pub(crate) fn e(&self, a: f64) -> f64 {
        self.column(0, a)
    }

    /// Growth of the first order.
    pub(crate) fn first(&self, a: f64) -> Rate {
        Rate { d: self.column(1, a), f: self.column(2, a) }
    }

    /// Growth of the second order, if the table has it.
    pub(crate) fn second(&self, a: f64) -> Option<Rate> {
        (self.columns.len() > 3).then(|| Rate { d: self.column(3, a), f: self.column(4, a) })
    }
}

/// Comoving distances over the redshift.
#[derive(Debug, Clone, PartialEq)]
pub struct DistanceTable {
    redshift: Vec<f64>,
    distance: Vec<f64>,
}

impl DistanceTable {
    /// From redshifts and comoving distances \[Mpc/h\], both rising from 0.
    ///
    /// # Errors
    /// If there are fewer than four rows, or one does not rise.
    pub fn new(redshift: &[f64], distance: &[f64]) -> Result<DistanceTable> {
        let wrong = |message: String| Err(Error::Table { what: DISTANCE, line: None, message });
        if redshift.len() < 4 || redshift.len() != distance.len() {
            return wrong(format!(
                "needs at least 4 rows of redshift and distance, found {} and {}",
                redshift.len(),
                distance.len()
            ));
        }
        if let Some(i) = redshift.iter().zip(distance).position(|(z, d)| !(z.is_finite() && d.is_finite())) {
            return wrong(format!(
                "row {}: z = {} and chi = {} must be finite",
                i + 1,
                redshift[i],
                distance[i]
            ));
        }
        if redshift[0] != 0.0 || distance[0] != 0.0 {
            return wrong(format!(
                "the first row must be redshift 0 at distance 0, not {} at {}",
                redshift[0], distance[0]
            ));
        }
        for (name, column) in [("redshifts", redshift), ("distances", distance)] {
            if let Some(i) = column.windows(2).position(|x| x[0] >= x[1]) {
                return wrong(format!("{name} must rise, but that of row {} does not", i + 2));
            }
        }
        Ok(DistanceTable { redshift: redshift.to_vec(), distance: distance.to_vec() })
    }

    /// Reads a text of two columns, redshift and comoving distance \[Mpc/h\]; lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// As [`DistanceTable::new`], and with the line that is not two numbers.
    pub fn parse(text: &str) -> Result<DistanceTable> {
        let (mut redshift, mut distance) = (Vec::new(), Vec::new());
        for row in table_rows(text) {
            match row.numbers[..] {
                [z, chi] if row.is_all_numbers() => {
                    redshift.push(z);
                    distance.push(chi);
                }
                _ => {
                    let message = format!("expected a redshift and a distance [Mpc/h], found `{}`", row.text);
                    return Err(Error::Table { what: DISTANCE, line: Some(row.line), message });
                }
            }
        }
        DistanceTable::new(&redshift, &distance)
    }

    /// Redshifts of the rows.
    pub(crate) fn redshifts(&self) -> &[f64] {
        &self.redshift
    }

    /// Redshift and distance of the last row.
    pub(crate) fn ends(&self) -> (f64, f64) {
        let last = self.redshift.len() - 1;
        (self.redshift[last], self.distance[last])
    }

    /// Distance \[Mpc/h\] of a redshift in the table.
    pub(crate) fn distance(&self, z: f64) -> f64 {
        cubic(&self.redshift, &self.distance, z)
    }

    /// Redshift of a distance in the table: where [`distance`](DistanceTable::distance) has it, by steps of the width of a redshift that is nearly
    /// right.
    pub(crate) fn redshift(&self, chi: f64, width: impl Fn(f64) -> f64) -> f64 {
        let mut z = line(&self.distance, &self.redshift, chi);
        for _ in 0..30 {
            let step = (chi - self.distance(z)) / width(z);
            z = (z + step).max(0.0);
            if step.abs() < 1e-14 * (1.0 + z) {
                break;
            }
        }
        z
    }
}

/// The cubic through the four points around `at`.
fn cubic(x: &[f64], y: &[f64], at: f64) -> f64 {
    let first = x.partition_point(|&x| x < at).clamp(2, x.len() - 2) - 2;
    let (x, y) = (&x[first..first + 4], &y[first..first + 4]);
    (0..4)
        .map(|j| {
            let others = (0..4).filter(|&k| k != j);
            y[j] * others.map(|k| (at - x[k]) / (x[j] - x[k])).product::<f64>()
        })
        .sum()
}

/// The straight line through the two points around `at`.
fn line(x: &[f64], y: &[f64], at: f64) -> f64 {
    let i = x.partition_point(|&x| x < at).clamp(1, x.len() - 1);
    y[i - 1] + (at - x[i - 1]) / (x[i] - x[i - 1]) * (y[i] - y[i - 1])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Cosmology, History, Instant, Normalization, Parameters, Settings, Tables};

    /// A universe with dark energy that changes, in curved space.
    fn universe(tables: Tables) -> Result<Cosmology<f64>> {
        let parameters = Parameters { w0: -0.8, wa: -0.4, omega_k: 0.03, ..Parameters::planck18() };
        Cosmology::with_tables(parameters, Settings::default(), tables)
    }

    /// Its growth since `a = 0.05`, in another unit and without rounding of the scale factors, and its distances to redshift 5.
    fn tables(columns: usize, rows: usize, between: Between) -> Tables {
        let universe = universe(Tables::default()).expect("a universe");
        let a = |i: usize| 0.05f64.powf(1.0 - i as f64 / (rows - 1) as f64);
        let row = |i: usize| {
            let at = universe.instant(a(i));
            let [d1, d2] = [at.d1, at.d2].map(|g| (g.d, g.slope / g.d));
            vec![a(i), at.e, 1.3 * d1.0, d1.1, 1.69 * d2.0, d2.1][..columns].to_vec()
        };
        let growth = GrowthTable::new(&(0..rows).map(row).collect::<Vec<_>>(), between).expect("a table");
        let redshift: Vec<f64> = (0..rows).map(|i| 5.0 * (i as f64 / (rows - 1) as f64).powi(2)).collect();
        let distance: Vec<f64> =
            redshift.iter().map(|z| universe.history().distance(1.0 / (1.0 + z))).collect();
        let distances = DistanceTable::new(&redshift, &distance).expect("a table");
        Tables { power: None, growth: Some(Arc::new(growth)), distances: Some(Arc::new(distances)) }
    }

    fn check(of_tables: &History<f64>, exact: &History<f64>, tolerance: f64) {
        for a in [0.01, 0.049, 0.05, 0.0512, 0.2, 0.51, 0.9, 0.9999, 1.0] {
            let (ours, theirs) = (exact.instant(a), of_tables.instant(a));
            let alone = of_tables.first_growth(a);
            let mut pairs = vec![
                (ours.e, theirs.e),
                (ours.d1.d, alone.d),
                (ours.d1.slope, alone.slope),
                (ours.d1.curvature, alone.curvature),
            ];
            let of = |at: Instant<f64>| [at.d1, at.d2, at.d3a, at.d3b, at.d3c];
            for (ours, theirs) in of(ours).into_iter().zip(of(theirs)) {
                pairs.push((ours.d, theirs.d));
                pairs.push((ours.slope, theirs.slope));
                pairs.push((ours.curvature, theirs.curvature));
            }
            if a < 1.0 {
                let d = exact.distance(a);
                pairs.push((d, of_tables.distance(a)));
                pairs.push((a, of_tables.scale_factor_at(d).expect("in reach")));
            }
            for (i, (ours, theirs)) in pairs.into_iter().enumerate() {
                let off = (theirs / ours - 1.0).abs();
                assert!(off < tolerance, "a = {a}, number {i}: {theirs} for {ours}, {off:.1e} off");
            }
        }
    }

    #[test]
    fn a_universe_from_its_own_tables_is_the_same() {
        let exact = universe(Tables::default()).expect("a universe");
        for columns in [4, 6] {
            let of_tables = universe(tables(columns, 300, Between::Cubic)).expect("a universe");
            check(of_tables.history(), exact.history(), 3e-6);
            let gradient = of_tables.with_gradient().expect("derivatives");
            assert_eq!(gradient.instant(0.5).d1.d.gradient, [0.0; 11]);
            for normalization in [Normalization::Sigma8, Normalization::PrimordialAmplitude] {
                let settings = Settings { normalization, ..Settings::default() };
                let power = |tables: Tables| {
                    let universe = Cosmology::with_tables(*exact.parameters(), settings, tables);
                    universe.expect("a universe").linear_power(0.1, 0.5)
                };
                let off = power(tables(columns, 300, Between::Cubic)) / power(Tables::default()) - 1.0;
                assert!(off.abs() < 1e-6, "{normalization:?}: power {off:.1e} off");
            }
        }
        // Straight lines are as good as the square of a row allows.
        let of_lines = universe(tables(6, 3000, Between::Lines)).expect("a universe");
        check(of_lines.history(), exact.history(), 3e-6);
    }

    #[test]
    fn straight_lines_are_straight() {
        let table = tables(4, 5, Between::Lines).growth.expect("a table");
        let a = |i: f64| 0.05f64.powf(1.0 - i / 4.0);
        let mean = 0.5 * (table.first(a(2.0)).d + table.first(a(3.0)).d);
        assert!((table.first(a(2.5)).d / mean - 1.0).abs() < 1e-14);
    }

    #[test]
    fn parameters_of_the_history_cannot_be_free_beside_a_table() {
        let one = universe(Tables { growth: None, ..tables(4, 50, Between::Cubic) }).expect("a universe");
        assert!(one.why_fixed("omega_m").is_some() && one.why_fixed("w0").is_some());
        assert!(one.why_fixed("n_s").is_none() && one.why_fixed("sigma8").is_none());
    }

    #[test]
    fn tables_of_another_universe_or_unit_are_refused() {
        let distances = |factor: f64| {
            let table = tables(4, 50, Between::Cubic).distances.expect("a table");
            let scaled: Vec<f64> = table.distance.iter().map(|d| d * factor).collect();
            let table = DistanceTable::new(&table.redshift, &scaled).expect("a table");
            Tables { distances: Some(Arc::new(table)), ..Tables::default() }
        };
        assert!(universe(distances(1.005)).is_ok());
        let error = universe(distances(1.0 / 0.6766)).expect_err("in Mpc").to_string();
        assert!(error.contains("the distance [Mpc/h] is"), "{error}");
        let parameters = Parameters { omega_m: 0.4, ..Parameters::planck18() };
        let other = Tables { distances: None, ..tables(4, 50, Between::Cubic) };
        let error = Cosmology::with_tables(parameters, Settings::default(), other).expect_err("another");
        assert!(error.to_string().contains("growth table: at a = "), "{error}");
        // Slopes instead of their ratios to the growth; and rows that are too far from each other.
        let universe_of = |rows: Vec<Vec<f64>>| {
            let growth = GrowthTable::new(&rows, Between::Cubic).expect("a table");
            universe(Tables { growth: Some(Arc::new(growth)), ..Tables::default() })
        };
        let exact = universe(Tables::default()).expect("a universe");
        let row = |a: f64, power: i32| {
            let at = exact.instant(a);
            vec![a, at.e, at.d1.d, at.growth_rate() * at.d1.d.powi(power)]
        };
        let fine = (0..50).map(|i| 0.05f64.powf(1.0 - f64::from(i) / 49.0));
        assert!(universe_of(fine.clone().map(|a| row(a, 0)).collect()).is_ok());
        let error = universe_of(fine.map(|a| row(a, 1)).collect()).expect_err("slopes").to_string();
        assert!(error.contains("dln D1 / dln a"), "{error}");
        let coarse = [1e-4, 1e-3, 0.5, 1.0].map(|a| row(a, 0));
        let error = universe_of(coarse.to_vec()).expect_err("coarse").to_string();
        assert!(error.contains("between rows"), "{error}");
        let redshift = [0.0, 1.0, 2.0, 3.0, 1100.0];
        let far = redshift.map(|z| exact.history().distance(1.0 / (1.0 + z)));
        let coarse = DistanceTable::new(&redshift, &far).expect("a table");
        let coarse = Tables { distances: Some(Arc::new(coarse)), ..Tables::default() };
        let error = universe(coarse).expect_err("coarse").to_string();
        assert!(error.contains("between rows"), "{error}");
    }

    #[test]
    fn distances_go_back_to_their_redshifts() {
        let universe = universe(tables(4, 40, Between::Cubic)).expect("a universe");
        let history = universe.history();
        for a in [0.1, 0.1667, 0.2, 0.4, 0.8, 0.9999] {
            let back = history.scale_factor_at(history.distance(a)).expect("in reach");
            assert!((back / a - 1.0).abs() < 1e-12, "{a}: {back}");
        }
        for (chi, words) in [(-1.0, "comoving distance = -1 "), (1e6, "comoving distance = 1000000 ")] {
            let error = history.scale_factor_at(chi).expect_err("out of range").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn bad_tables_are_refused_with_what_is_wrong() {
        let growth = |text: &str| GrowthTable::parse(text, Between::Cubic).expect_err("refused").to_string();
        for (text, words) in [
            ("0.1 1 1 1\n0.2 1 1\n", "line 2"),
            ("0.1 1 1 1\n0.2 1 1 1 x\n", "line 2"),
            ("0.1 1 1 1\n0.2 1 1 1\n0.5 1 1 1\n", "at least 4"),
            ("0.1 1 1 1\n0.3 1 1 1\n0.2 1 1 1\n1 1 1 1\n", "row 3"),
            ("0.1 1 1 1\n0.2 1 1 1\n0.3 1 1 1\n0.9 1 1 1\n", "must be 1, not 0.9"),
            ("0.1 1 1 1\n0.2 1 nan 1\n0.3 1 1 1\n1 1 1 1\n", "row 2"),
            ("0.1 1 1 1 0.4 2\n0.2 1 1 1 0.4 2\n0.3 1 1 1 0.4 2\n1 1 1 1 0.4 2\n", "near -3/7"),
            ("1e-6 1 1 1\n0.2 1 1 1\n0.3 1 1 1\n1 1 1 1\n", "at least 1e-5"),
        ] {
            let error = growth(text);
            assert!(error.contains(words) && error.contains("growth table"), "{error}");
        }
        let distance = |text: &str| DistanceTable::parse(text).expect_err("refused").to_string();
        for (text, words) in [
            ("0 0\n1 2 3\n", "line 2"),
            ("0 0\n1 two\n", "line 2"),
            ("0 0\n1 2\n2 3\n", "at least 4"),
            ("0.1 1\n1 2\n2 3\n3 4\n", "redshift 0 at distance 0"),
            ("0 0\n1 2\n2 1.5\n3 4\n", "distances must rise"),
            ("0 0\n1 2\n2 inf\n3 4\n", "finite"),
        ] {
            let error = distance(text);
            assert!(error.contains(words) && error.contains("distance table"), "{error}");
        }
    }
}
