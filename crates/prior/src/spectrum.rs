//! Power spectra as functions of the wave number: power laws and tables.

use lookback_operator::{Error, Result};

/// A power spectrum `P(k)`; on the sky `C_ell` \[sr\] at `ell = |k|`. The mean mode has none: `P(0) = 0`.
#[derive(Debug, Clone, PartialEq)]
pub enum Spectrum {
    /// `ln P = ln amplitude + index x + running x^2 / 2` with `x = ln(k / pivot)`.
    PowerLaw {
        /// Power at the pivot.
        amplitude: f64,
        /// Wave number at which `amplitude` and `index` are given.
        pivot: f64,
        /// Logarithmic slope at the pivot.
        index: f64,
        /// Its derivative with respect to `ln k`.
        running: f64,
    },
    /// Linear interpolation of `ln P` over `ln k`, continued at both ends with the slope of the last interval.
    Table {
        /// `ln k`, rising.
        ln_k: Vec<f64>,
        /// `ln P`.
        ln_power: Vec<f64>,
    },
}

impl Spectrum {
    /// A (running) power law.
    ///
    /// # Errors
    /// If amplitude or pivot is not positive, or anything is not finite.
    pub fn power_law(amplitude: f64, pivot: f64, index: f64, running: f64) -> Result<Spectrum> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(amplitude) || !positive(pivot) || !index.is_finite() || !running.is_finite() {
            return Err(Error::parameter(
                "power law",
                format!(
                    "amplitude ({amplitude}) and pivot ({pivot}) must be positive, index ({index}) and running ({running}) finite"
                ),
            ));
        }
        Ok(Spectrum::PowerLaw { amplitude, pivot, index, running })
    }

    /// A table of positive `power` at rising, positive `k`.
    ///
    /// # Errors
    /// If the columns differ in length, have fewer than two rows, or hold a number that is out of range.
    pub fn table(k: &[f64], power: &[f64]) -> Result<Spectrum> {
        let wrong = |message: String| Err(Error::parameter("spectrum table", message));
        if k.len() != power.len() || k.len() < 2 {
            return wrong(format!(
                "needs two columns of equal length, not {} and {} rows",
                k.len(),
                power.len()
            ));
        }
        for (row, (&k, &p)) in k.iter().zip(power).enumerate() {
            if !(k.is_finite() && k > 0.0 && p.is_finite() && p > 0.0) {
                return wrong(format!("row {row} holds ({k}, {p}); both must be positive and finite"));
            }
        }
        if let Some(row) = k.windows(2).position(|pair| pair[0] >= pair[1]) {
            return wrong(format!("wave numbers must rise, but row {} does not exceed row {row}", row + 1));
        }
        let ln = |values: &[f64]| values.iter().map(|x| x.ln()).collect();
        Ok(Spectrum::Table { ln_k: ln(k), ln_power: ln(power) })
    }

    /// `P(k)`; zero at `k = 0`.
    pub fn power(&self, k: f64) -> f64 {
        if k == 0.0 {
            return 0.0;
        }
        match self {
            Spectrum::PowerLaw { amplitude, pivot, index, running } => {
                let x = (k / pivot).ln();
                amplitude * (index * x + 0.5 * running * x * x).exp()
            }
            Spectrum::Table { ln_k, ln_power } => {
                let x = k.ln();
                let right = ln_k.partition_point(|&node| node <= x).clamp(1, ln_k.len() - 1);
                let slope = (ln_power[right] - ln_power[right - 1]) / (ln_k[right] - ln_k[right - 1]);
                (ln_power[right - 1] + slope * (x - ln_k[right - 1])).exp()
            }
        }
    }

    /// The wave numbers between which the spectrum is given, not continued; `None` for a power law.
    pub fn range(&self) -> Option<(f64, f64)> {
        match self {
            Spectrum::PowerLaw { .. } => None,
            Spectrum::Table { ln_k, .. } => Some((ln_k[0].exp(), ln_k[ln_k.len() - 1].exp())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_a_power_law_is_a_power_law_everywhere() {
        let law = Spectrum::power_law(2.0, 100.0, -1.7, 0.0).expect("a law");
        let k: Vec<f64> = (1..9).map(|i| f64::from(i * i)).collect();
        let power: Vec<f64> = k.iter().map(|&k| law.power(k)).collect();
        let table = Spectrum::table(&k, &power).expect("a table");
        for k in [0.1, 1.0, 2.5, 64.0, 1e4] {
            assert!((table.power(k) / law.power(k) - 1.0).abs() < 1e-12);
        }
        assert_eq!(table.power(0.0), 0.0);
    }

    #[test]
    fn bad_tables_are_refused_with_the_row() {
        let message = |k: &[f64], p: &[f64]| Spectrum::table(k, p).expect_err("refused").to_string();
        assert!(message(&[1.0, 2.0, 2.0], &[1.0; 3]).contains("row 2 does not exceed row 1"));
        assert!(message(&[1.0, 2.0], &[1.0, f64::NAN]).contains("row 1"));
        assert!(message(&[1.0], &[1.0]).contains("1 and 1 rows"));
    }
}
