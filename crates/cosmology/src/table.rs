//! Linear power spectra from the output files of CAMB and CLASS.

use crate::{Error, Result, Scalar};

/// What these tables hold, in messages.
const POWER: &str = "power spectrum";

/// A line of a text table: its number from 1, the numbers that it begins with, and itself.
pub struct TableRow<'a> {
    /// Its number.
    pub line: usize,
    /// The numbers.
    pub numbers: Vec<f64>,
    /// All of it.
    pub text: &'a str,
}

impl TableRow<'_> {
    /// Whether there is nothing but numbers.
    pub fn is_all_numbers(&self) -> bool {
        self.numbers.len() == self.text.split_whitespace().count()
    }
}

/// The lines of a text table but empty ones and those that begin with `#`.
pub fn table_rows(text: &str) -> impl Iterator<Item = TableRow<'_>> {
    let all = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    all.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(line, text)| TableRow {
        line,
        numbers: text.split_whitespace().map_while(|word| word.parse().ok()).collect(),
        text,
    })
}

/// A tabulated power spectrum, interpolated by a natural cubic spline of `ln P` in `ln k`, and continued as a power law.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerTable {
    ln_k: Vec<f64>,
    ln_p: Vec<f64>,
    /// Second derivatives at the nodes.
    bend: Vec<f64>,
}

impl PowerTable {
    /// From wave numbers \[h/Mpc\] in rising order and powers \[(Mpc/h)^3\].
    ///
    /// # Errors
    /// If there are fewer than four rows, or a number is not positive, or the wave numbers do not rise.
    pub fn new(k: &[f64], power: &[f64]) -> Result<PowerTable> {
        let wrong = |message: String| Err(Error::Table { what: POWER, line: None, message });
        if k.len() < 4 || k.len() != power.len() {
            return wrong(format!("needs at least 4 rows of k and P, found {} and {}", k.len(), power.len()));
        }
        for (i, (k, p)) in k.iter().zip(power).enumerate() {
            if !(k.is_finite() && *k > 0.0 && p.is_finite() && *p > 0.0) {
                return wrong(format!("row {}: k = {k} and P = {p} must be positive", i + 1));
            }
        }
        if let Some(i) = k.windows(2).position(|k| k[0] >= k[1]) {
            return wrong(format!("wave numbers must rise, but row {} does not", i + 2));
        }
        let ln_k: Vec<f64> = k.iter().map(|k| k.ln()).collect();
        let ln_p: Vec<f64> = power.iter().map(|p| p.ln()).collect();
        let bend = natural_spline(&ln_k, &ln_p);
        Ok(PowerTable { ln_k, ln_p, bend })
    }

    /// Reads the text of a CAMB `matterpower.dat` or CLASS `pk.dat`: two columns, `k` \[h/Mpc\] and `P` \[(Mpc/h)^3\];
    /// lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// With the line that is not a pair of positive numbers in rising order of `k`.
    pub fn parse(text: &str) -> Result<PowerTable> {
        let (mut k, mut power) = (Vec::new(), Vec::new());
        for row in table_rows(text) {
            let at = |message: String| Error::Table { what: POWER, line: Some(row.line), message };
            let [wave, p, ..] = row.numbers[..] else {
                return Err(at(format!("expected k [h/Mpc] and P [(Mpc/h)^3], found `{}`", row.text)));
            };
            if k.last().is_some_and(|&last| wave <= last) {
                return Err(at(format!("wave numbers must rise, but {wave} follows {}", k[k.len() - 1])));
            }
            k.push(wave);
            power.push(p);
        }
        PowerTable::new(&k, &power)
    }

    /// The first and the last wave number \[h/Mpc\].
    pub fn range(&self) -> [f64; 2] {
        [self.ln_k[0].exp(), self.ln_k[self.ln_k.len() - 1].exp()]
    }

    /// `P(k)` \[(Mpc/h)^3\] at `k` \[h/Mpc\].
    pub fn power<S: Scalar>(&self, k: S) -> S {
        let (ln_p, slope) = self.logarithm(k.value().ln());
        k.chain(ln_p.exp(), ln_p.exp() * slope / k.value())
    }

    /// `ln P` at `ln k`, and its slope.
    fn logarithm(&self, x: f64) -> (f64, f64) {
        let last = self.ln_k.len() - 1;
        let i = self.ln_k.partition_point(|&node| node <= x).clamp(1, last) - 1;
        let (x0, x1) = (self.ln_k[i], self.ln_k[i + 1]);
        let h = x1 - x0;
        // Outside of the table: a power law with the slope of the spline at its end.
        let inside = x.clamp(self.ln_k[0], self.ln_k[last]);
        let (a, b) = ((x1 - inside) / h, (inside - x0) / h);
        let (y0, y1, m0, m1) = (self.ln_p[i], self.ln_p[i + 1], self.bend[i], self.bend[i + 1]);
        let y = a * y0 + b * y1 + ((a * a * a - a) * m0 + (b * b * b - b) * m1) * h * h / 6.0;
        let slope = (y1 - y0) / h + ((3.0 * b * b - 1.0) * m1 - (3.0 * a * a - 1.0) * m0) * h / 6.0;
        (y + slope * (x - inside), slope)
    }
}

/// Second derivatives of the natural cubic spline through the points.
fn natural_spline(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    let (mut m, mut u) = (vec![0.0; n], vec![0.0; n]);
    for i in 1..n - 1 {
        let ratio = (x[i] - x[i - 1]) / (x[i + 1] - x[i - 1]);
        let p = ratio * m[i - 1] + 2.0;
        let jump = (y[i + 1] - y[i]) / (x[i + 1] - x[i]) - (y[i] - y[i - 1]) / (x[i] - x[i - 1]);
        m[i] = (ratio - 1.0) / p;
        u[i] = (6.0 * jump / (x[i + 1] - x[i - 1]) - ratio * u[i - 1]) / p;
    }
    m[n - 1] = 0.0;
    for i in (0..n - 1).rev() {
        m[i] = m[i] * m[i + 1] + u[i];
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_is_read_and_continued_exactly() {
        let text = "# k P\n0.01 1e4\n0.1 1e3\n\n1.0 1e2\n10.0 1e1\n";
        let table = PowerTable::parse(text).expect("a table");
        for k in [0.001, 0.01, 0.03, 0.5, 10.0, 100.0] {
            assert!((table.power::<f64>(k) * k / 100.0 - 1.0).abs() < 1e-12, "{k}: {}", table.power(k));
        }
    }

    #[test]
    fn bad_tables_are_refused_with_the_line() {
        for (text, words) in [
            ("0.1 1\n0.2 two\n", "line 2"),
            ("0.1 1\n0.05 2\n0.3 1\n0.4 1\n", "must rise"),
            ("0.1 1\n0.2 1\n0.3 1\n", "at least 4"),
            ("0.1 1\n0.2 -1\n0.3 1\n0.4 1", "positive"),
        ] {
            let error = PowerTable::parse(text).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
