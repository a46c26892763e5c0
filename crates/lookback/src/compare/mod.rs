//! Which of several models of the same data is the better one: evidences and cross-validation of finished runs, side by side.

mod page;

use std::path::{Path, PathBuf};

use lookback_inference::loo::total;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::run::cross_validation::{self, CrossValidation};
use crate::{Error, Result, files};

pub use page::page;

/// A number with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

/// A finished run beside the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Its folder.
    pub folder: PathBuf,
    /// Its title.
    pub title: String,
    /// Its method.
    pub method: String,
    /// Digest of its model, where the run has told it: runs of one by several methods estimate one evidence.
    #[serde(skip)]
    model: Option<String>,
    /// Reduced chi-squared of its samples.
    pub reduced_chi2: Option<f64>,
    /// Logarithm of the evidence `p(d)`, from methods that give it.
    pub log_evidence: Option<Measured>,
    /// Whether that is Laplace's approximation alone, which no importance weights have judged.
    pub by_laplace: bool,
    /// Probability of the model, if all models with an evidence were equally probable before.
    pub probability: Option<f64>,
    /// Expected log predictive density of data that were left out.
    pub elpd: Option<Measured>,
    /// By how much it is below that of the best, datum by datum.
    pub elpd_below: Option<Measured>,
    /// How many parameters the data took.
    pub effective_parameters: Option<f64>,
    /// Data that are too influential for `elpd` to be relied on.
    pub influential: Option<f64>,
    /// What it says against itself, and what speaks against comparing it.
    pub doubts: Vec<String>,
}

/// Reads finished runs of the same data, the best first: by cross-validation where all have it, else by evidence; in the order of the folders where
/// none has either ([`judged`]).
///
/// # Errors
/// If a folder holds no finished run, or the runs are of other data.
pub fn compare(folders: &[PathBuf]) -> Result<Vec<Candidate>> {
    let mut digests = Vec::new();
    let mut candidates = Vec::new();
    let mut tables = Vec::new();
    for (place, folder) in folders.iter().enumerate() {
        let real = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
        if folders[..place].iter().any(|other| real(other) == real(folder)) {
            return Err(Error::file(folder, "is named twice"));
        }
        let figures = figures(folder)?;
        digests.push(figures.get("data_sha256").cloned());
        tables.push(table(folder, &figures)?);
        candidates.push(candidate(folder, &figures));
    }
    if let Some(other) = digests.iter().position(|digest| digest.is_none() || *digest != digests[0]) {
        let message = format!(
            "is not a run of the data of {}; only models of the same data can be compared",
            folders[0].display()
        );
        return Err(Error::file(&folders[other], message));
    }
    weigh(&mut candidates);
    subtract(&mut candidates, &tables);
    let by_data = candidates.iter().all(|one| one.elpd_below.is_some());
    let loss = |one: &Candidate| {
        let loss = if by_data { one.elpd_below } else { one.log_evidence };
        loss.map_or(f64::INFINITY, |loss| if by_data { loss.value } else { -loss.value })
    };
    candidates.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    Ok(candidates)
}

/// The same, where it takes numbers to compare by.
///
/// # Errors
/// If none of them has any.
pub fn judged(candidates: Vec<Candidate>) -> Result<Vec<Candidate>> {
    match candidates.first() {
        Some(first) if candidates.iter().all(|one| one.elpd.is_none() && one.log_evidence.is_none()) => {
            Err(Error::file(
                &first.folder,
                "has neither an evidence (methods `map`, `el2o`, `pathfinder`, `thermodynamic`, `smc`) nor cross-validation (`log_likelihood = true` in `[output]`); `--page` draws the maps side by side all the same",
            ))
        }
        _ => Ok(candidates),
    }
}

fn figures(folder: &Path) -> Result<Map<String, Value>> {
    let place = folder.join("summary.json");
    if !place.exists() {
        return Err(Error::file(
            folder,
            "holds no finished run; `lookback run` or `lookback resume` comes first",
        ));
    }
    serde_json::from_slice(&files::read(&place)?)
        .map_err(|error| Error::file(&place, format!("is no summary of a run: {error}")))
}

fn table(folder: &Path, figures: &Map<String, Value>) -> Result<Option<CrossValidation>> {
    let place = folder.join(cross_validation::FILE);
    figures.contains_key("elpd_loo").then(|| CrossValidation::read(&place)).transpose()
}

fn candidate(folder: &Path, figures: &Map<String, Value>) -> Candidate {
    let number = |name: &str| figures.get(name).and_then(Value::as_f64);
    let measured = |name: &str| {
        let value = number(name)?;
        Some(Measured { value, error: number(&format!("{name}_error")).unwrap_or(f64::NAN) })
    };
    let text = |name: &str| figures.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    Candidate {
        folder: folder.into(),
        title: text("title"),
        method: text("method"),
        model: figures.get("model_sha256").and_then(Value::as_str).map(String::from),
        reduced_chi2: number("reduced_chi2_samples"),
        log_evidence: measured("log_evidence").or_else(|| measured("log_evidence_laplace")),
        by_laplace: number("log_evidence").is_none() && number("log_evidence_laplace").is_some(),
        probability: None,
        elpd: measured("elpd_loo"),
        elpd_below: None,
        effective_parameters: number("p_loo"),
        influential: number("loo_influential"),
        doubts: doubts(figures),
    }
}

/// The verdicts of a run's own diagnostics, and whether it has too few samples for cross-validation.
fn doubts(figures: &Map<String, Value>) -> Vec<String> {
    let verdicts = figures.get("verdicts").and_then(Value::as_array).into_iter().flatten();
    let mut doubts: Vec<String> = verdicts.filter_map(|line| line.as_str().map(String::from)).collect();
    let few = figures.get("samples").and_then(Value::as_f64).filter(|samples| *samples < 100.0);
    if let (Some(few), true) = (few, figures.contains_key("elpd_loo")) {
        doubts.push(format!("{few} samples know the density of data that were left out badly"));
    }
    doubts
}

impl Candidate {
    fn is_of_model_of(&self, other: &Candidate) -> bool {
        self.folder == other.folder || (self.model.is_some() && self.model == other.model)
    }
}

/// The run whose evidence counts for the model of this one: of those with an evidence, the one that knows it best, and by Laplace's approximation alone only
/// where there is no other.
fn spokesman<'a>(candidates: &'a [Candidate], one: &Candidate) -> Option<&'a Candidate> {
    let error = |one: &Candidate| {
        let error = one.log_evidence.map_or(f64::NAN, |evidence| evidence.error);
        if error.is_nan() { f64::INFINITY } else { error }
    };
    let of_model =
        candidates.iter().filter(|other| other.is_of_model_of(one) && other.log_evidence.is_some());
    of_model.min_by(|a, b| a.by_laplace.cmp(&b.by_laplace).then(error(a).total_cmp(&error(b))))
}

/// Those that speak for their models.
fn spokesmen(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> + Clone {
    let speaks =
        |one: &&Candidate| spokesman(candidates, one).is_some_and(|other| other.folder == one.folder);
    candidates.iter().filter(speaks)
}

/// Bayes's theorem for the models themselves.
fn weigh(candidates: &mut [Candidate]) {
    let log_of = |one: &Candidate| spokesman(candidates, one)?.log_evidence.map(|evidence| evidence.value);
    let logs = spokesmen(candidates).filter_map(log_of);
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.map(|log| (log - largest).exp()).sum();
    let probability =
        |one: &Candidate| one.log_evidence.and_then(|_| log_of(one)).map(|log| (log - largest).exp() / sum);
    let probabilities: Vec<Option<f64>> = candidates.iter().map(probability).collect();
    candidates.iter_mut().zip(probabilities).for_each(|(one, probability)| one.probability = probability);
}

/// The difference to the best, whose error is that of the differences of the data: what all models find hard cancels.
fn subtract(candidates: &mut [Candidate], tables: &[Option<CrossValidation>]) {
    let elpd = |table: &CrossValidation| table.elpd().0;
    let lengths: Vec<usize> = tables.iter().flatten().map(|table| table.0.len()).collect();
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        // Other data count in each: their sums cannot be compared.
        return;
    }
    let Some(best) = tables.iter().flatten().max_by(|a, b| elpd(a).total_cmp(&elpd(b))) else { return };
    for (one, table) in candidates.iter_mut().zip(tables) {
        let Some(table) = table else { continue };
        let below: Vec<f64> = best.0.iter().zip(&table.0).map(|(best, this)| best.elpd - this.elpd).collect();
        let (value, error) = total(&below);
        one.elpd_below = Some(Measured { value, error });
    }
}

/// The same as JSON.
///
/// # Errors
/// Never, for what [`compare`] returns.
pub fn to_json(candidates: &[Candidate]) -> Result<String> {
    serde_json::to_string(candidates)
        .map_err(|error| Error::config("compare", format!("cannot be written as JSON: {error}")))
}

/// What the comparison says, a line each.
pub fn verdicts(candidates: &[Candidate]) -> Vec<String> {
    let mut lines = Vec::new();
    let name = |one: &Candidate| one.folder.display().to_string();
    let is_best = |one: &&Candidate| one.elpd_below.is_some_and(|below| below.value == 0.0);
    if let Some(best) = candidates.iter().find(is_best) {
        for other in candidates.iter().filter(|other| other.folder != best.folder) {
            if let Some(below) = other.elpd_below {
                // Below four, or two standard errors, chance explains it (Sivula et al. 2020).
                let clear = below.value > 4.0 && below.value > 2.0 * below.error;
                let words = if clear {
                    "predicts unseen data worse than"
                } else {
                    "cannot be told by its predictions from"
                };
                lines.push(format!(
                    "{} {words} {}: {:.1} +- {:.1} nats",
                    name(other),
                    name(best),
                    below.value,
                    below.error
                ));
            }
        }
    }
    for one in candidates.iter().filter(|one| one.by_laplace) {
        lines.push(format!(
            "{}: its evidence is Laplace's approximation, right if the posterior is nearly Gaussian",
            name(one)
        ));
    }
    for (one, doubt) in candidates.iter().flat_map(|one| one.doubts.iter().map(move |doubt| (one, doubt))) {
        lines.push(format!("{}: {doubt}", name(one)));
    }
    let several = spokesmen(candidates).count() > 1;
    for one in candidates {
        let other = spokesman(candidates, one).filter(|other| other.folder != one.folder);
        if let Some(other) = other.filter(|_| one.log_evidence.is_some()) {
            lines.push(format!(
                "{} is the model of {}: one evidence counts for both, that of the second",
                name(one),
                name(other)
            ));
        } else if let Some(p) = one.probability.filter(|_| several) {
            lines.push(format!(
                "{} has probability {p:.3} among the models with an evidence, if all were equally probable before",
                name(one)
            ));
        }
        if let Some(count) = one.influential.filter(|count| *count > 0.0) {
            lines.push(format!(
                "{}: {count} data are too influential for cross-validation to be exact",
                name(one)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_inference::loo::LeftOut;

    fn run(folder: &Path, figures: &str, elpd: &[f64]) -> PathBuf {
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(folder.join("summary.json"), figures).expect("writes");
        let left_out = elpd.iter().map(|&elpd| LeftOut { elpd, seen: elpd + 0.1, k: 0.2 }).collect();
        CrossValidation(left_out).write(&folder.join(cross_validation::FILE)).expect("writes");
        folder.into()
    }

    #[test]
    fn the_better_model_comes_first_with_the_error_of_the_difference() {
        let place = tempfile::tempdir().expect("a folder");
        let figures = |evidence: f64, elpd: f64| {
            format!(
                "{{\"data_sha256\": \"a\", \"elpd_loo\": {elpd}, \"log_evidence\": {evidence}, \"log_evidence_error\": 0.1}}"
            )
        };
        let worse = run(&place.path().join("worse"), &figures(-12.0, -15.0), &[-4.0, -5.0, -6.0]);
        let better = run(&place.path().join("better"), &figures(-10.0, -6.0), &[-1.0, -2.0, -3.0]);
        let found = compare(&[worse.clone(), better.clone()]).expect("can be compared");
        assert_eq!(found[0].folder, better);
        let below = found[1].elpd_below.expect("has one");
        // All data agree on the difference: it has no scatter, though the sums do.
        assert!((below.value - 9.0).abs() < 1e-6 && below.error < 1e-6, "{below:?}");
        let p = found[0].probability.expect("has one");
        assert!((p - 1.0 / (1.0 + f64::exp(-2.0))).abs() < 1e-12, "{p}");
        assert!(verdicts(&found)[0].contains("worse than"), "{:?}", verdicts(&found));

        let doubtful = figures(-10.0, -6.0)
            .replace('}', ", \"verdicts\": [\"the approximation is not the posterior\"]}");
        let doubtful = run(&place.path().join("doubtful"), &doubtful, &[-1.0, -2.0, -3.0]);
        let found = compare(&[better.clone(), doubtful]).expect("can be compared");
        assert!(
            verdicts(&found)
                .iter()
                .any(|line| line.contains("doubtful: the approximation is not the posterior"))
        );

        // Two methods on one model share its probability: the evidence that is known better counts.
        let method = |evidence: f64, error: f64, model: &str| {
            let known = format!("\"log_evidence\": {evidence}, \"log_evidence_error\": {error}");
            format!("{{\"data_sha256\": \"a\", {known}, \"model_sha256\": \"{model}\"}}")
        };
        let [rough, fine, rival] =
            [("rough", -9.0, 0.5, "m"), ("fine", -10.0, 0.1, "m"), ("rival", -12.0, 0.1, "n")].map(
                |(name, evidence, error, model)| {
                    run(&place.path().join(name), &method(evidence, error, model), &[])
                },
            );
        let found = compare(&[rough.clone(), fine.clone(), rival.clone()]).expect("can be compared");
        let of =
            |folder: &Path| found.iter().find(|one| one.folder == folder).and_then(|one| one.probability);
        let [rough_p, fine_p, rival_p] = [&rough, &fine, &rival].map(|folder| of(folder).expect("has one"));
        assert!((fine_p - 1.0 / (1.0 + f64::exp(-2.0))).abs() < 1e-12);
        assert!(rough_p == fine_p && (fine_p + rival_p - 1.0).abs() < 1e-12);
        assert!(verdicts(&found).iter().any(|line| line.contains("rough is the model of")));
        let found = compare(&[rough, fine]).expect("can be compared");
        assert!(!verdicts(&found).iter().any(|line| line.contains("has probability")));

        let other = run(&place.path().join("other"), "{\"data_sha256\": \"b\"}", &[1.0]);
        let error = compare(&[better.clone(), other]).expect_err("refused").to_string();
        assert!(error.contains("same data"), "{error}");
        let bare = run(&place.path().join("bare"), "{\"data_sha256\": \"a\"}", &[]);
        let error = compare(&[better.clone(), place.path().join("worse/../better")]).expect_err("refused");
        assert!(error.to_string().contains("named twice"), "{error}");
        let error = compare(&[bare]).and_then(judged).expect_err("refused").to_string();
        assert!(error.contains("log_likelihood"), "{error}");
        let error = compare(&[place.path().join("none")]).expect_err("refused").to_string();
        assert!(error.contains("no finished run"), "{error}");
    }
}
