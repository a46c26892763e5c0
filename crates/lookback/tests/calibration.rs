//! Error bars that are right: over truths drawn from the prior, intervals hold the truth as often as they say.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use lookback::run::{Options, Silent, start};
use lookback::runfile::RunFile;

/// Coverage of the central 68 % and 95 % intervals over `draws` truths from the prior of a small survey.
fn coverage(prior: &str, method: &str, draws: u64) -> (f64, f64) {
    let text = format!(
        "[sky]\npixels = [40, 48]\npixel_arcmin = 1.0\n[prior.kappa]\n{prior}\n[[forward]]\nkind = \"shear\"\n[data]\nkind = \"mock\"\nsurvey = {{ galaxies_per_arcmin2 = 40.0, shape_noise = 0.3, stars = 3, star_radius_arcmin = 3.0, margin_arcmin = 4.0 }}\n[method]\n{method}\n[output]\nsamples = false\n"
    );
    let place = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let mut run = RunFile::from_text(&text, Path::new("."), "small").expect("good");
    run.output.directory = Some(place.path().join("run").to_string_lossy().into_owned());
    let (mut narrow, mut wide) = (0.0, 0.0);
    for draw in 0..draws {
        run.seed = 100 + draw;
        let outcome = start(&run, &Options { overwrite: true, stop: &stop }, &mut Silent).expect("runs");
        narrow += outcome.summary.get("coverage_68").expect("a figure");
        wide += outcome.summary.get("coverage_95").expect("a figure");
    }
    (narrow / draws as f64, wide / draws as f64)
}

const LAW: &str = "spectrum.power_law = { amplitude = 2e-9, pivot = 1000.0, index = -1.2 }";

/// A draw has about 1000 seen pixels and some 200 informed modes: 40 draws give 0.7 % on the share.
#[test]
fn the_wiener_filter_is_calibrated() {
    let prior = format!("kind = \"gaussian_field\"\n{LAW}");
    let (narrow, wide) = coverage(&prior, "kind = \"wiener\"\nsamples = 60", 40);
    assert!((narrow - 0.68).abs() < 0.02 && (wide - 0.95).abs() < 0.01, "{narrow} {wide}");
}

#[test]
fn variational_inference_of_a_lognormal_field_is_nearly_calibrated() {
    let prior = format!("kind = \"lognormal_field\"\nshift = 0.08\n{LAW}");
    let (narrow, wide) = coverage(&prior, "kind = \"mgvi\"\niterations = 6\npairs = 3\nfinal_pairs = 40", 20);
    assert!((narrow - 0.68).abs() < 0.05 && (wide - 0.95).abs() < 0.03, "{narrow} {wide}");
}

#[test]
fn hmc_of_a_lognormal_field_is_calibrated() {
    let prior = format!("kind = \"lognormal_field\"\nshift = 0.08\n{LAW}");
    let (narrow, wide) = coverage(&prior, "kind = \"hmc\"\nchains = 2\nwarmup = 60\ndraws = 60", 20);
    assert!((narrow - 0.68).abs() < 0.04 && (wide - 0.95).abs() < 0.02, "{narrow} {wide}");
}
