//! All scalar figures of a run, in one JSON file.

use std::io::Write;
use std::path::Path;

use lookback_inference::{Method, Number, diagnostics};
use lookback_operator::Operator;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::checkpoint::Checkpoint;
use super::cross_validation::CrossValidation;
use super::driver::model_digest;
use super::predictive::CHECKS;
use crate::problem::Problem;
use crate::report::analysis::{self, Analysis, Significance};
use crate::runfile::{LikelihoodSection, RunFile};
use crate::{Result, VERSION, files};

/// Named figures of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Summary(Map<String, Value>);

/// A number for JSON: four to six figures are kept by the reader, all of them here; NaN becomes null.
fn figure(x: f64) -> Value {
    json!(x)
}

impl Summary {
    /// Gathers the figures.
    pub(crate) fn new<T: Number>(
        run: &RunFile,
        problem: &Problem<T>,
        checkpoint: &Checkpoint<T>,
        analysis: &Analysis,
        left_out: Option<&CrossValidation>,
    ) -> Summary {
        let recorder = &checkpoint.recorder;
        let exact = run.method.finds_exact_mean();
        let data = problem.posterior.likelihood().data_count() as f64;
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.into(), value);
        put("lookback_version", json!(VERSION));
        put("title", json!(run.title));
        put("method", json!(run.method.name()));
        put("precision", json!(T::NAME));
        put("threads", json!(rayon::current_num_threads()));
        put("seed", json!(run.seed));
        put("latents", json!(problem.posterior.model().domain().len()));
        put("data", json!(data));
        put("pixels_seen", json!(problem.observation.seen_count()));
        put("samples", json!(recorder.samples));
        put("seconds", figure(checkpoint.seconds));
        put("seconds_to_centre", json!(checkpoint.seconds_to_centre));
        put("gradients", json!(checkpoint.gradients));
        put("metric_products", json!(checkpoint.metrics));
        for (name, value) in checkpoint.method.figures() {
            put(&name, figure(value));
        }
        put("reduced_chi2_centre", json!(recorder.centre_chi2.map(|chi2| chi2 / data)));
        if recorder.samples > 0 {
            let mean = recorder.traces.iter().map(|row| row[0]).sum::<f64>() / recorder.samples as f64;
            put("reduced_chi2_samples", figure(mean / data));
        }
        for (j, name) in recorder.trace_names.iter().enumerate().skip(2) {
            let values: Vec<f64> = recorder.traces.iter().map(|row| row[j]).collect();
            if let Some(&centre) = recorder.centre_parameters.get(j - 2) {
                put(&format!("{name}_centre"), figure(centre));
            }
            if values.len() > 1 {
                let (mean, std) = analysis::mean_std(&values);
                put(&format!("{name}_mean"), figure(mean));
                put(&format!("{name}_std"), figure(std));
            }
        }
        if recorder.samples > 0 {
            for (name, share) in CHECKS.iter().zip(recorder.predictive.shares()) {
                put(name, figure(share));
            }
        }
        if let Some(left_out) = left_out {
            let (elpd, error) = left_out.elpd();
            put("elpd_loo", figure(elpd));
            put("elpd_loo_error", figure(error));
            put("p_loo", figure(left_out.effective_parameters()));
            put("loo_influential", json!(left_out.influential(recorder.samples)));
        }
        if run.method.is_markov() {
            let worst = worst_diagnostics(recorder);
            put("ess_bulk_min", figure(worst.ess_bulk));
            put("slowest_quantity", json!(worst.slowest));
            put("ess_tail_min", figure(worst.ess_tail));
            put("r_hat_max", figure(worst.r_hat));
            // Draws of a chain depend on each other.
            put("independent_samples", figure(worst.ess_bulk.clamp(0.0, recorder.ranked() as f64).round()));
        } else {
            put("independent_samples", json!(recorder.ranked()));
        }
        let estimate = recorder.estimate(exact);
        if let Some(truth) = problem.true_map() {
            let score = analysis::score(estimate, truth, &problem.observation.seen);
            put("rmse", figure(score.rmse));
            put("pearson_r", figure(score.pearson_r));
            if let Some(below) = recorder.below_truth.as_ref().filter(|_| recorder.ranked() >= 10) {
                let seen = &problem.observation.seen;
                put("coverage_68", figure(analysis::coverage(below, recorder.ranked(), seen, 0.68)));
                put("coverage_95", figure(analysis::coverage(below, recorder.ranked(), seen, 0.95)));
            }
        }
        if let Some(modes) = &analysis.modes {
            put("e_mode_skewness", figure(modes.e_skewness));
            put("b_mode_skewness", figure(modes.b_skewness));
            put("e_mode_peak_sigma", figure(modes.e_peak));
            put("b_mode_peak_sigma", figure(modes.b_peak));
        }
        if let Some(Significance { peaks, .. }) = &analysis.significance {
            put("peaks_above_3_sigma", json!(peaks.list.len()));
            if let Some(matched) = &peaks.matched {
                put("peaks_with_known_group", json!(matched.count));
                put("peaks_with_known_group_by_chance", figure(matched.by_chance));
                put("known_groups_in_field", json!(matched.groups));
            }
        }
        if let Some(expected) = expected_chi2(&run.likelihood).filter(|expected| *expected != 1.0) {
            put("reduced_chi2_expected", figure(expected));
        }
        let verdicts = verdicts(&out, data, &run.likelihood);
        let mut put = |key: &str, value: Value| out.insert(key.into(), value);
        put("verdicts", json!(verdicts));
        put("data_sha256", json!(data_digest(problem)));
        put("model_sha256", json!(model_digest(run, problem).ok()));
        put("inputs", json!(problem.inputs));
        put("notes", json!(problem.notes));
        Summary(out)
    }

    /// What the figures mean, a line each; none if nothing speaks against the result.
    pub fn verdicts(&self) -> Vec<String> {
        let lines = self.0.get("verdicts").and_then(Value::as_array);
        lines.into_iter().flatten().filter_map(|line| line.as_str().map(String::from)).collect()
    }

    /// A figure by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// All figures.
    pub fn entries(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_whole(path, |out: &mut dyn Write| {
            serde_json::to_writer_pretty(&mut *out, &self.0).map_err(std::io::Error::from)?;
            out.write_all(b"\n")
        })
    }
}

/// Mean of the squared residuals in units of the noise, if that has one.
pub(crate) fn expected_chi2(likelihood: &LikelihoodSection) -> Option<f64> {
    match *likelihood {
        LikelihoodSection::Gaussian {} => Some(1.0),
        LikelihoodSection::StudentT { dof } => (dof > 2.0).then(|| dof / (dof - 2.0)),
    }
}

/// What the diagnostics say against a result, and what would help.
fn verdicts(figures: &Map<String, Value>, data: f64, likelihood: &LikelihoodSection) -> Vec<String> {
    let of = |name: &str| figures.get(name).and_then(Value::as_f64);
    let mut lines = Vec::new();
    let mut say = |words: String| lines.push(words);
    // A figure that is there but is no number could not be found: silence about it would read as praise.
    for (name, words) in [
        (
            "r_hat_max",
            "whether chains agree (R-hat) cannot be judged: too few draws, or a quantity that does not move",
        ),
        ("pareto_k", "whether the approximation holds (Pareto k) cannot be judged: too few samples"),
        (
            "log_evidence_error",
            "the error of the evidence cannot be judged: samples and posterior do not overlap",
        ),
        ("elpd_loo", "cross-validation failed: some data are impossible at all draws"),
    ] {
        if figures.get(name).is_some_and(Value::is_null) {
            say(words.into());
        }
    }
    if let Some(r_hat) = of("r_hat_max").filter(|r_hat| *r_hat > 1.01) {
        say(format!(
            "chains do not agree yet (R-hat {r_hat:.3}, should be below 1.01): more draws, or a longer warm-up"
        ));
    }
    if let Some(ess) = of("ess_bulk_min").filter(|ess| *ess < 400.0) {
        let slowest = figures.get("slowest_quantity").and_then(Value::as_str).unwrap_or_default();
        say(format!(
            "{ess:.0} effective draws of the slowest quantity ({slowest}); means want 400: more draws"
        ));
    }
    if let Some(ess) = of("ess_tail_min").filter(|ess| *ess < 400.0) {
        say(format!(
            "{ess:.0} effective draws in the tails of the slowest quantity; 95 % intervals want 400: more draws"
        ));
    }
    let method = figures.get("method").and_then(Value::as_str).unwrap_or_default();
    if let Some(count) = of("divergences").filter(|count| *count > 0.0) {
        let (what, option) = match method {
            "mclmc" => ("steps", "a smaller `energy_error`"),
            "nuts" if of("trajectories_halved").is_none() => {
                ("trajectories", "a higher `target_acceptance`, in a funnel `halve_above = 2`")
            }
            _ => ("trajectories", "a higher `target_acceptance`"),
        };
        say(format!(
            "{count} {what} diverged: part of the posterior may be missed; {option}, or other priors"
        ));
    }
    if let Some(cut) = of("trajectories_cut").filter(|cut| *cut > 0.0) {
        let (how, option) = match method {
            "nuts" => ("at their greatest depth", "a larger `max_depth`"),
            _ => ("short of their length", "a smaller `path_length`"),
        };
        say(format!(
            "{cut} trajectories were cut {how}: slow, but right; `[precondition]` or {option} may help"
        ));
    }
    if let Some(far) = of("map_distance_sigma").filter(|far| *far > 0.1) {
        say(format!(
            "the search stopped {far:.2} posterior standard deviations from the maximum, where no step led lower: `precision = \"f64\"`, or another `optimizer`"
        ));
    }
    for (name, words) in [
        (
            "samples_impossible",
            "lay where the model is impossible, and were left out: sample with `nuts` or `mclmc`",
        ),
        (
            "samples_folded",
            "did not come to the place that was drawn for them, where its coordinates fold: tails may be wrong; judge it by `lookback calibrate`, or sample with `nuts` or `mclmc`",
        ),
        (
            "samples_unfinished",
            "came only near the place that was drawn for them: `precision = \"f64\"`, or a larger `tolerance`",
        ),
    ] {
        if let Some(count) = of(name).filter(|count| *count > 0.0) {
            say(format!("{count} samples of the approximation {words}"));
        }
    }
    if let Some(bfmi) = of("e_bfmi_min").filter(|bfmi| *bfmi < 0.3) {
        say(format!(
            "chains wander slowly between energies (E-BFMI {bfmi:.2}, should be above 0.3): heavy tails or a funnel; other parameters may help"
        ));
    }
    if let Some(virial) = of("equipartition").filter(|virial| (virial - 1.0).abs() > 0.01) {
        let off = 100.0 * (virial - 1.0);
        say(format!(
            "second moments are off by {off:+.1} % (equipartition), and parameters that many latents share perhaps by more than their error bars: a smaller `energy_error`, or `mams` or `nuts`"
        ));
    }
    let limit = of("pareto_k_limit").unwrap_or(f64::INFINITY);
    if let Some(k) = of("pareto_k").filter(|k| *k > limit) {
        say(format!(
            "the approximation is not the posterior (Pareto k {k:.2}, should be below {limit:.2} with so many samples; evidence and error bars may be off): judge it by `lookback calibrate`, or sample with `geovi`, `nuts` or `mclmc`"
        ));
    }
    if let Some(open) = of("modes_unsettled").filter(|open| *open > 0.0) {
        say(format!("{open} of the Gaussians had not settled: more `rounds`, or more `pairs`"));
    }
    if let Some(share) = of("samples_repeated").filter(|share| *share > 0.5) {
        say(format!(
            "{:.0} % of the samples are copies of others: more `draws_per_path`, or another method",
            100.0 * share
        ));
    }
    if let Some(worth) = of("effective_particles").filter(|worth| *worth < 50.0) {
        say(format!(
            "the particles come from so few draws of the prior that they are worth {worth:.0} independent ones, but for their moves: more `particles` or `moves`"
        ));
    }
    if let Some(count) =
        of("independent_samples").filter(|count| *count < 30.0 && figures.contains_key("peaks_above_3_sigma"))
    {
        say(format!(
            "{count} samples know standard deviations to {:.0} %: peaks above three of them may be chance; ask for 100",
            100.0 / (2.0 * (count - 1.0).max(1.0)).sqrt()
        ));
    }
    if let Some(error) = of("log_evidence_error").filter(|error| *error > 0.5) {
        say(format!("the evidence is known to {error:.2} only: more draws, or another method"));
    }
    let gaussian = matches!(likelihood, LikelihoodSection::Gaussian {});
    // The sum of squares is judged by its own law where noise is Gaussian, below.
    let squares = ("chi2", "sum of the squared residuals");
    let others = [("largest", "largest residual"), ("skewness", "skewness of the residuals")];
    for (name, what) in others.into_iter().chain((!gaussian).then_some(squares)) {
        if let Some(share) = of(&format!("predictive_p_{name}")).filter(|p| !(0.005..=0.995).contains(p)) {
            say(format!(
                "made-up data exceed the {what} of the observed ones in {:.1} % of the draws: the noise may have another law (`student_t` has heavy tails), or the model lacks something",
                100.0 * share
            ));
        }
    }
    if let Some(count) = of("loo_influential").filter(|count| *count > 0.01 * data) {
        say(format!(
            "{count} data are too influential for cross-validation (Pareto k): `elpd_loo` is too optimistic"
        ));
    }
    // The scatter of a reduced chi-squared is sqrt(2 / data) where noise is Gaussian; that of heavy tails is judged by made-up data.
    let off = of("reduced_chi2_samples").filter(|_| gaussian).map(|chi2| (chi2 - 1.0) / (2.0 / data).sqrt());
    if let Some(off) = off.filter(|off| off.abs() > 5.0) {
        let words = if off > 0.0 { "worse" } else { "better" };
        say(format!(
            "the data fit {words} than their noise allows ({off:+.0} sigma): noise, mask or model may be wrong"
        ));
    }
    lines
}

/// SHA-256 of the data themselves: runs of the same data can be compared.
fn data_digest<T: Number>(problem: &Problem<T>) -> String {
    let data = problem.posterior.likelihood().data();
    let bytes: Vec<u8> = data.iter().flat_map(|x| (x.f64() as f32).to_le_bytes()).collect();
    files::sha256(&bytes)
}

pub(super) struct Worst {
    pub(super) ess_bulk: f64,
    /// The quantity of which this is true.
    slowest: String,
    ess_tail: f64,
    r_hat: f64,
}

/// The worst diagnostics over all traces and over the power in every bin.
pub(super) fn worst_diagnostics(recorder: &super::Recorder) -> Worst {
    let traces = (0..recorder.trace_names.len())
        .map(|j| (recorder.trace_names[j].clone(), recorder.by_chain(|i| recorder.traces[i][j])));
    let bins = recorder.wave_numbers.iter().enumerate();
    let bins = bins.map(|(b, k)| (format!("power at {k:.4}"), recorder.power_by_chain(b)));
    let none = (f64::INFINITY, String::new());
    let mut worst = Worst { ess_bulk: none.0, slowest: none.1, ess_tail: f64::INFINITY, r_hat: 0.0 };
    for (name, chains) in traces.chain(bins) {
        // One quantity that cannot be judged makes the worst unknown.
        let worse = |so_far: f64, new: f64, keep: fn(f64, f64) -> f64| {
            if so_far.is_nan() || new.is_nan() { f64::NAN } else { keep(so_far, new) }
        };
        let ess = diagnostics::ess_bulk(&chains);
        if !(ess >= worst.ess_bulk) && !worst.ess_bulk.is_nan() {
            worst.slowest = name;
        }
        worst.ess_bulk = worse(worst.ess_bulk, ess, f64::min);
        worst.ess_tail = worse(worst.ess_tail, diagnostics::ess_tail(&chains), f64::min);
        worst.r_hat = worse(worst.r_hat, diagnostics::r_hat(&chains), f64::max);
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misfit_is_told_by_the_law_that_the_noise_has() {
        let said = |figures: Value, likelihood: &LikelihoodSection| {
            let Value::Object(figures) = figures else { panic!("an object") };
            verdicts(&figures, 1000.0, likelihood).join("; ")
        };
        let heavy = LikelihoodSection::StudentT { dof: 3.0 };
        let figures = json!({ "reduced_chi2_samples": 3.1, "predictive_p_chi2": 0.4 });
        assert_eq!(said(figures.clone(), &heavy), "");
        assert!(said(figures, &LikelihoodSection::Gaussian {}).contains("worse than their noise allows"));
        let figures = json!({ "reduced_chi2_samples": 9.0, "predictive_p_chi2": 0.0 });
        assert!(said(figures, &heavy).contains("sum of the squared residuals"));
    }

    #[test]
    fn steps_that_diverge_are_to_be_halved_unless_they_were() {
        let said = |figures: Value| {
            let Value::Object(figures) = figures else { panic!("an object") };
            verdicts(&figures, 1000.0, &LikelihoodSection::Gaussian {}).join("; ")
        };
        let diverged = said(json!({ "method": "nuts", "divergences": 3.0 }));
        assert!(diverged.contains("3 trajectories diverged") && diverged.contains("`halve_above = 2`"));
        let halved = said(json!({ "method": "nuts", "divergences": 3.0, "trajectories_halved": 9.0 }));
        assert!(halved.contains("`target_acceptance`") && !halved.contains("`halve_above"));
    }
}
