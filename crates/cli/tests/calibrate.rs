//! `lookback calibrate` as a user meets it.

mod bench;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bench::Bench;

const RUN: &str = r#"
seed = 3

[sky]
pixels = [16, 20]
pixel_arcmin = 1.0

[prior.kappa]
kind = "gaussian_field"
spectrum.power_law = { amplitude = 1e-9, pivot = 1000.0, index = -1.2 }

[[forward]]
kind = "shear"

[data]
kind = "mock"
noise_std = [0.02, 0.02]

[method]
kind = "wiener"
samples = 60
"#;

impl Bench {
    fn refused(&self, arguments: &[&str], words: &str) {
        let output = self.lookback(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && !said.contains("panicked"), "{said}");
    }
}

fn verdicts(folder: &Path) -> serde_json::Value {
    let text = fs::read_to_string(folder.join("calibration.json")).expect("figures");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn exact_samples_are_uniform_and_threads_do_not_matter() {
    let bench = Bench::new(RUN);
    for (threads, folder) in [("1", "one"), ("3", "three")] {
        let output =
            bench.lookback(&["calibrate", "run.toml", "-n", "120", "-o", folder, "--threads", threads]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("the ranks are uniform"));
    }
    let read = |folder: &str| fs::read(bench.path(folder).join("ranks.csv")).expect("ranks");
    assert!(read("one") == read("three"));
    let figures = verdicts(&bench.path("one"));
    let all = figures["quantities"].as_array().expect("a list");
    assert!(all.len() == 12 && all.iter().all(|q| q["ranks"].as_array().expect("ranks").len() == 120));
    let page = fs::read_to_string(bench.path("one/report.html")).expect("a page");
    assert_eq!(page.matches("<svg").count(), 24);
}

/// Laplace's approximation of a field that is lognormal to a high degree is not exact, and it shows.
#[test]
fn a_wrong_posterior_is_found() {
    let skewed = "kind = \"lognormal_field\"\nshift = 0.013";
    let text = RUN
        .replace("kind = \"gaussian_field\"", skewed)
        .replace("kind = \"wiener\"", "kind = \"map\"")
        .replace("amplitude = 1e-9", "amplitude = 3e-9");
    let bench = Bench::new(&text);
    let output = bench.lookback(&["calibrate", "run.toml", "-n", "120", "-o", "out"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("NOT uniform"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn goes_on_after_sigkill_and_refuses_another_run() {
    let bench = Bench::new(RUN);
    let whole = ["-q", "calibrate", "run.toml", "-n", "40", "-o", "whole"];
    assert!(bench.lookback(&whole).status.success());
    let killed = ["-q", "calibrate", "run.toml", "-n", "40", "-o", "killed"];
    let mut kills = 0;
    for attempt in 1u64.. {
        let mut child = bench.command(&killed).stderr(Stdio::null()).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(40 * attempt));
        if let Some(status) = child.try_wait().expect("can be asked") {
            assert!(status.success());
            break;
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("ends");
        kills += 1;
        assert!(attempt < 100, "never ends");
    }
    assert!(kills > 0, "too quick to be killed");
    let read = |folder: &str| fs::read(bench.path(folder).join("ranks.csv")).expect("ranks");
    assert!(read("whole") == read("killed"));
    // More data sets go on from those that are there; another run does not.
    assert!(bench.lookback(&["-q", "calibrate", "run.toml", "-n", "50", "-o", "whole"]).status.success());
    assert!(read("whole").starts_with(&read("killed")));
    // A calibration has a run file, and is no run.
    bench.refused(&["run", "run.toml", "-o", "whole", "--overwrite"], "not the folder of a run");
    bench.refused(&["resume", "whole"], "not the folder of a run");
    fs::write(bench.path("run.toml"), RUN.replace("seed = 3", "seed = 4")).expect("writes");
    bench.refused(&whole, "belongs to another calibration");
    fs::write(bench.path("whole/calibration.bin"), b"lookback, but not so").expect("writes");
    bench.refused(&whole, "damaged");
    assert!(bench.lookback(&[&whole[..], &["--overwrite"]].concat()).status.success());
}

#[test]
fn says_what_is_wrong() {
    let bench = Bench::new(RUN);
    bench.refused(&["calibrate", "run.toml", "-n", "3"], "at least 10");
    let words = bench.beside_another("busy", &["calibrate", "run.toml", "-o", "busy"]);
    assert!(words.contains("another process is at work in busy"), "{words}");
    bench.refused(&["calibrate", "nothing.toml"], "nothing.toml");
    fs::create_dir(bench.path("mine")).expect("creates");
    fs::write(bench.path("mine/thesis.tex"), "words").expect("writes");
    bench.refused(&["calibrate", "run.toml", "-o", "mine"], "not empty");
    bench.refused(&["calibrate", "run.toml", "-o", "mine", "--overwrite"], "not empty");
    fs::write(bench.path("run.toml"), RUN.replace("samples = 60", "samples = 0")).expect("writes");
    bench.refused(&["calibrate", "run.toml"], "no samples");
    assert!(!bench.path("calibrations").exists());
}
