//! The program under bad input, a full disk, rivals and SIGKILL: clear words, an exit code, nothing written or lost.

mod bench;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench::Bench;

/// A small run that needs no data.
const SMALL: &str = r#"
title = "a small run"
seed = 7

[sky]
pixels = [32, 40]
pixel_arcmin = 1.0
centre = [150.0, 2.0]

[prior.kappa]
kind = "gaussian_field"
spectrum.power_law = { amplitude = 1e-9, pivot = 1000.0, index = -1.2 }

[[forward]]
kind = "shear"

[data]
kind = "mock"
noise_std = [0.05, 0.05]

[method]
kind = "wiener"
samples = 6
"#;

impl Bench {
    /// The complaint of a run that must fail without writing anything.
    fn refused(&self) -> String {
        let output = self.lookback(&["run", "run.toml", "-o", "out"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(!self.path("out").exists(), "a refused run must not write: {words}");
        assert!(!words.contains("panicked"), "{words}");
        let check = self.lookback(&["check", "run.toml"]);
        assert_eq!(check.status.code(), Some(1), "`check` must find it too: {words}");
        words
    }

    fn summary(&self, run: &str) -> serde_json::Value {
        let text = fs::read_to_string(self.path(run).join("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn with(from: &str, to: &str) -> Bench {
    assert!(SMALL.contains(from), "{from}");
    Bench::new(&SMALL.replace(from, to))
}

/// A run on maps in files, each written by a mock run first; `change` may damage them.
fn on_files(change: impl Fn(&Path)) -> Bench {
    let bench = Bench::new(SMALL);
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "mock"]).status.success());
    change(&bench.path("mock"));
    let data = r#"kind = "maps"
maps = ["mock/data_gamma1.fits", "mock/data_gamma2.fits"]
noise_std = ["mock/noise_gamma1.fits", "mock/noise_gamma2.fits"]
truth = "mock/truth.fits""#;
    let text = SMALL.replace("kind = \"mock\"\nnoise_std = [0.05, 0.05]", data);
    fs::write(bench.path("run.toml"), text).expect("writes");
    bench
}

/// Overwrites a number in the data of a FITS file.
fn patch(path: &Path, index: usize, value: f64) {
    let mut bytes = fs::read(path).expect("reads");
    let start = 2880 + 8 * index;
    bytes[start..start + 8].copy_from_slice(&value.to_be_bytes());
    fs::write(path, bytes).expect("writes");
}

fn says(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "`{part}` is missing in: {words}");
    }
}

#[test]
fn a_good_run_writes_everything() {
    let bench = Bench::new(SMALL);
    let output = bench.lookback(&["run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in [
        "mean.fits",
        "std.fits",
        "snr.fits",
        "truth.fits",
        "data_gamma1.fits",
        "e_mode.fits",
        "samples.npy",
        "samples.zarr/.zmetadata",
        "summary.json",
        "report.html",
        "config.toml",
        "log.txt",
        "trace.csv",
        "spectrum.csv",
        "peaks.csv",
        "citations.bib",
    ] {
        assert!(bench.path("out").join(name).exists(), "{name} is missing");
    }
    assert!(!bench.path("out/samples.raw").exists() && !bench.path("out/.lock").exists());
    let summary = bench.summary("out");
    assert!(summary["pearson_r"].as_f64().expect("a figure") > 0.3);
    assert!(summary["reduced_chi2_samples"].as_f64().is_some_and(|chi2| (chi2 - 1.0).abs() < 0.1));
    // The field has a place on the sky, and its peaks have, too; their error bars come from six samples.
    let peaks = fs::read_to_string(bench.path("out/peaks.csv")).expect("reads");
    let mut rows = peaks.lines();
    assert!(rows.next().is_some_and(|names| names.ends_with(",ra_deg,dec_deg")), "{peaks}");
    for row in rows {
        let cells: Vec<f64> = row.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
        let (ra, dec) = (150.0 + (cells[0] - 20.0) / 60.0, 2.0 + (cells[1] - 16.0) / 60.0);
        assert!((cells[6] - ra).abs() < 1e-3 && (cells[7] - dec).abs() < 1e-3, "{row}");
    }
    assert!(summary["verdicts"].to_string().contains("6 samples know standard deviations to 32 %"));
    // The resolved run file makes the same run again.
    assert!(bench.lookback(&["-q", "run", "out/config.toml", "-o", "again"]).status.success());
    assert_eq!(
        fs::read(bench.path("out/mean.fits")).expect("reads"),
        fs::read(bench.path("again/mean.fits")).expect("reads")
    );
    assert!(bench.lookback(&["-q", "report", "out"]).status.success());
}

#[test]
fn maps_in_files_give_the_same_result_as_the_mock_they_came_from() {
    let bench = on_files(|_| ());
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "out"]).status.success());
    let pick = |run: &str, name: &str| bench.summary(run)[name].as_f64().expect("a figure");
    for name in ["rmse", "pearson_r", "reduced_chi2_samples"] {
        assert!((pick("out", name) - pick("mock", name)).abs() < 1e-9, "{name}");
    }
    // The maps know how wide their pixels are.
    let text = fs::read_to_string(bench.path("run.toml")).expect("reads");
    let note = "its header has pixels of 1.0000 x 1.0000 arcmin, [sky] of 2.0000";
    let said = |text: &str| {
        fs::write(bench.path("run.toml"), text).expect("writes");
        String::from_utf8_lossy(&bench.lookback(&["check", "run.toml"]).stdout).into_owned()
    };
    assert!(!said(&text).contains("its header"));
    says(&said(&text.replace("pixel_arcmin = 1.0", "pixel_arcmin = 2.0")), &[note]);
}

#[test]
fn each_map_may_have_a_mask_of_its_own() {
    let bench = on_files(|mock| {
        fs::copy(mock.join("noise_gamma2.fits"), mock.join("mask.fits")).expect("copies");
        for pixel in [45, 46, 700] {
            patch(&mock.join("mask.fits"), pixel, 0.0);
            patch(&mock.join("data_gamma2.fits"), pixel, f64::NAN);
        }
    });
    let text = fs::read_to_string(bench.path("run.toml")).expect("reads");
    let masked = |mask: &str| {
        let text = text.replace("truth = \"mock", &format!("mask = {mask}\ntruth = \"mock"));
        fs::write(bench.path("run.toml"), text).expect("writes");
    };
    masked(r#"["mock/noise_gamma1.fits", "mock/mask.fits"]"#);
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "both"]).status.success());
    let (both, whole) = (bench.summary("both"), bench.summary("mock"));
    assert_eq!(both["data"].as_f64(), whole["data"].as_f64().map(|count| count - 3.0));
    assert_eq!(both["pixels_seen"], whole["pixels_seen"]);
    assert!((both["pearson_r"].as_f64().expect("r") - whole["pearson_r"].as_f64().expect("r")).abs() < 0.01);
    masked(r#""mock/mask.fits""#);
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "one"]).status.success());
    assert_eq!(bench.summary("one")["data"].as_f64(), whole["data"].as_f64().map(|count| count - 6.0));
    masked(r#"["mock/mask.fits"]"#);
    says(&bench.refused(), &["`mask` has 1 entries", "gamma1", "gamma2"]);
}

#[test]
fn missing_files_and_variables() {
    says(
        &with(
            "amplitude = 1e-9, pivot = 1000.0, index = -1.2 }",
            "amplitude = 1e-9, pivot = 1000.0, index = -1.2 }\n[report]\ngroups = \"$LOOKBACK_DATA/x.txt\"",
        )
        .refused(),
        &["LOOKBACK_DATA is not set", "lookback data"],
    );
    let bench = on_files(|mock| fs::remove_file(mock.join("data_gamma2.fits")).expect("removes"));
    says(&bench.refused(), &["data_gamma2.fits", "No such file"]);
    let bench = on_files(|_| ());
    let text = fs::read_to_string(bench.path("run.toml")).expect("reads");
    fs::write(bench.path("run.toml"), text.replace("data_gamma2", "data_gamma1")).expect("writes");
    says(&bench.refused(), &["`gamma1` and `gamma2` are both", "mock/data_gamma1.fits; each"]);
    let bench = Bench::new(SMALL);
    let output = bench.lookback(&["run", "nothing.toml"]);
    says(&String::from_utf8_lossy(&output.stderr), &["cannot read nothing.toml"]);
}

#[test]
fn unknown_keys_name_the_nearest_known_one_and_the_line() {
    says(&with("pixel_arcmin", "pixel_arcmn").refused(), &["line 7", "did you mean `pixel_arcmin`?"]);
    says(&with("samples = 6", "sample = 6").refused(), &["line 23", "did you mean `samples`?"]);
    says(&with("\"shear\"", "\"sheer\"").refused(), &["did you mean `shear`?"]);
}

#[test]
fn bad_numbers() {
    says(&with("[0.05, 0.05]", "[0.05, 0.0]").refused(), &["noise", "is 0", "must be positive"]);
    says(&with("[0.05, 0.05]", "[0.05, -1.0]").refused(), &["is -1", "must be positive"]);
    says(
        &with("[0.05, 0.05]", "[0.05]").refused(),
        &["`noise_std` has 1 entries", "predicts 2", "gamma1[32 x 40]"],
    );
    says(
        &with("amplitude = 1e-9", "amplitude = -1e-9").refused(),
        &["prior.kappa.spectrum", "must be positive"],
    );
    says(&with("pixels = [32, 40]", "pixels = [32, 1]").refused(), &["at least 2 cells"]);
    says(
        &with("pixel_arcmin = 1.0", "pixel_arcmin = nan").refused(),
        &["`pixel_arcmin` must be a positive number"],
    );
    says(&with("pixel_arcmin = 1.0", "pixel_arcmin = -1.0").refused(), &["positive number, not -1"]);
    says(&with("pixel_arcmin = 1.0", "pixel_arcmin = 6000.0").refused(), &["4000 degrees wide"]);
    says(&with("[32, 40]", "[32, 40, 3]").refused(), &["`sky.pixels` has 3 values, and 2 are taken"]);
    says(&with("[150.0, 2.0]", "[150.0]").refused(), &["`centre` is [ra, dec] in degrees, or \"median\""]);
    let other = Bench::new("[simulation]\nparticles = 16\n");
    says(&other.refused(), &["is no run file, but one for `lookback simulate`"]);
    says(&with("samples = 6", "tolerance = 0.0").refused(), &["`tolerance` must be positive"]);
    let bench = on_files(|mock| patch(&mock.join("data_gamma1.fits"), 45, f64::NAN));
    says(&bench.refused(), &["data_gamma1.fits", "NaN at row 1, column 5"]);
    let bench = on_files(|mock| patch(&mock.join("noise_gamma2.fits"), 41, -0.1));
    says(&bench.refused(), &["noise_gamma2.fits", "row 1, column 1", "-0.1"]);
}

#[test]
fn options_that_would_be_ignored_or_cannot_be() {
    says(
        &with("[method]", "[likelihood]\nkind = \"gaussian\"\ndof = 4.0\n[method]").refused(),
        &["unknown field `dof`"],
    );
    says(
        &with("samples = 6", "samples = 6\n[output]\ncheckpoint_seconds = 1e300").refused(),
        &["checkpoint_seconds"],
    );
    says(
        &with("samples = 6", "samples = 6\n[report]\nsmoothing_pixels = -1.0").refused(),
        &["smoothing_pixels"],
    );
    says(
        &with("samples = 6", "samples = 6\n[report]\ngroups = \"none.txt\"").refused(),
        &["none.txt", "No such file"],
    );
    says(&with("prior.kappa", "prior.y").refused(), &["[prior.y]", "a name is a letter"]);
    let hmc = "kind = \"hmc\"\ndraws = 3\nthin = 10";
    says(&with("kind = \"wiener\"\nsamples = 6", hmc).refused(), &["`thin` (10) keeps none of 3 draws"]);
    let survey = "survey = { galaxies_per_arcmin2 = 60.0, shape_noise = 0.3, stars = 1000000000000 }";
    says(&with("noise_std = [0.05, 0.05]", survey).refused(), &["1000000000000 stars"]);
}

/// Where the system tells how much is free.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_does_not_fit_into_memory_is_refused_with_the_number() {
    let map = "kind = \"map\"\nstarts = 1000000000";
    let said = with("kind = \"wiener\"\nsamples = 6", map).refused();
    says(&said, &["[method] needs about", "GB of memory", "are free", "starts"]);
}

#[test]
fn a_run_on_relative_paths_can_be_resumed_and_a_lost_sample_file_is_noticed() {
    let bench = on_files(|_| ());
    let text =
        fs::read_to_string(bench.path("run.toml")).expect("reads").replace("samples = 6", "samples = 200000");
    fs::write(bench.path("run.toml"), text + "[output]\ncheckpoint_seconds = 0.0\n").expect("writes");
    let mut child = bench.command(&["-q", "run", "run.toml", "-o", "out"]).spawn().expect("starts");
    wait_for(&bench.path("out/samples.raw"), 100_000);
    child.kill().expect("SIGKILL");
    child.wait().expect("ends");
    let mut child = bench.command(&["-q", "resume", "out"]).spawn().expect("starts");
    std::thread::sleep(Duration::from_millis(700));
    assert!(child.try_wait().expect("can be asked").is_none(), "the resumed run must be at work");
    child.kill().expect("SIGKILL");
    child.wait().expect("ends");
    fs::remove_file(bench.path("out/samples.raw")).expect("removes");
    says(
        &String::from_utf8_lossy(&bench.lookback(&["resume", "out"]).stderr),
        &["samples.raw", "fewer samples"],
    );
}

#[test]
fn a_masked_nan_does_no_harm() {
    let bench = on_files(|mock| {
        let mut mask = fs::read(mock.join("truth.fits")).expect("reads");
        mask[2880..2880 + 8 * 32 * 40].chunks_mut(8).for_each(|x| x.copy_from_slice(&1f64.to_be_bytes()));
        fs::write(mock.join("mask.fits"), mask).expect("writes");
        patch(&mock.join("mask.fits"), 45, 0.0);
        patch(&mock.join("data_gamma1.fits"), 45, f64::NAN);
        patch(&mock.join("noise_gamma1.fits"), 45, f64::NAN);
    });
    let text = fs::read_to_string(bench.path("run.toml")).expect("reads");
    let text = text.replace("truth = ", "mask = \"mock/mask.fits\"\ntruth = ");
    fs::write(bench.path("run.toml"), text).expect("writes");
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figure = |name: &str| bench.summary("out")[name].as_f64().expect("a finite figure");
    assert_eq!(figure("pixels_seen"), f64::from(32 * 40 - 1));
    assert!(figure("pearson_r") > 0.3);
}

#[test]
fn shapes_that_do_not_match() {
    let bench = on_files(|_| ());
    let text = fs::read_to_string(bench.path("run.toml")).expect("reads");
    fs::write(bench.path("run.toml"), text.replace("pixels = [32, 40]", "pixels = [40, 32]"))
        .expect("writes");
    says(&bench.refused(), &["has the shape [32, 40]", "[40, 32]"]);
    let bench = on_files(|mock| {
        let path = mock.join("data_gamma1.fits");
        let bytes = fs::read(&path).expect("reads");
        fs::write(path, &bytes[..5000]).expect("writes");
    });
    says(&bench.refused(), &["data_gamma1.fits", "cut short"]);
    says(
        &with("kind = \"shear\"", "kind = \"shear\"\n[[forward]]\nkind = \"shear\"").refused(),
        &["forward, step 2", "maps of convergence"],
    );
}

/// A binary table with float64 columns.
fn write_table(path: &Path, columns: &[(&str, &[f64])]) {
    let card = |text: String| format!("{text:<80}");
    let value = |key: &str, value: &str| card(format!("{key:<8}= {value:>20}"));
    let text = |key: String, value: &str| card(format!("{key:<8}= '{value:<8}'"));
    let block = |header: String| format!("{header:<2880}").into_bytes();
    let rows = columns[0].1.len();
    let primary = value("SIMPLE", "T")
        + &value("BITPIX", "8")
        + &value("NAXIS", "0")
        + &value("EXTEND", "T")
        + &card("END".into());
    let mut table = text("XTENSION".into(), "BINTABLE") + &value("BITPIX", "8") + &value("NAXIS", "2");
    table += &(value("NAXIS1", &(8 * columns.len()).to_string()) + &value("NAXIS2", &rows.to_string()));
    table += &(value("PCOUNT", "0") + &value("GCOUNT", "1") + &value("TFIELDS", &columns.len().to_string()));
    for (i, (name, _)) in columns.iter().enumerate() {
        table += &(text(format!("TTYPE{}", i + 1), name) + &text(format!("TFORM{}", i + 1), "D"));
    }
    let mut bytes = block(primary);
    bytes.extend(block(table + &card("END".into())));
    for row in 0..rows {
        columns.iter().for_each(|(_, column)| bytes.extend(column[row].to_be_bytes()));
    }
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    fs::write(path, bytes).expect("writes");
}

/// A run on a catalogue of 400 galaxies in a table; `weight` and `e1` of row 17 as given, column `column` for e1.
fn on_catalogue(e1_17: f64, weight_17: f64, column: &str, at: &str) -> Bench {
    let n = 400;
    let wave = |i: usize, a: f64| 0.3 * (a * i as f64).sin();
    let ra: Vec<f64> = (0..n).map(|i| 150.0 + wave(i, 1.3)).collect();
    let dec: Vec<f64> = (0..n).map(|i| 2.0 + wave(i, 2.1) * 0.8).collect();
    let mut e1: Vec<f64> = (0..n).map(|i| wave(i, 3.7)).collect();
    let e2: Vec<f64> = (0..n).map(|i| wave(i, 5.3)).collect();
    let mut weight = vec![1.0; n];
    (e1[17], weight[17]) = (e1_17, weight_17);
    let data = format!(
        "kind = \"catalogue\"\nat = \"{at}\"\n[data.columns]\nra = \"cat.fits#RA\"\ndec = \"cat.fits#DEC\"\ne1 = \"cat.fits#{column}\"\ne2 = \"cat.fits#E2\"\nweight = \"cat.fits#W\""
    );
    let bench = Bench::new(&SMALL.replace("kind = \"mock\"\nnoise_std = [0.05, 0.05]", &data));
    let columns: [(&str, &[f64]); 5] = [("RA", &ra), ("DEC", &dec), ("E1", &e1), ("E2", &e2), ("W", &weight)];
    write_table(&bench.path("cat.fits"), &columns);
    bench
}

#[test]
fn catalogues() {
    for at in ["pixels", "galaxies"] {
        let output = on_catalogue(0.1, 1.0, "E1", at).lookback(&["run", "run.toml", "-o", "out"]);
        assert!(output.status.success(), "{at}: {}", String::from_utf8_lossy(&output.stderr));
    }
    says(
        &on_catalogue(0.1, 1.0, "E11", "pixels").refused(),
        &["no column `E11`", "RA, DEC, E1, E2, W", "did you mean `E1`?"],
    );
    says(&on_catalogue(f64::NAN, 1.0, "E1", "pixels").refused(), &["`e1` holds NaN in row 17"]);
    says(&on_catalogue(0.1, -2.0, "E1", "pixels").refused(), &["`weight` holds -2 in row 17"]);
    for at in ["pixels", "galaxies"] {
        let output = on_catalogue(f64::NAN, 0.0, "E1", at).lookback(&["run", "run.toml", "-o", "out"]);
        assert!(output.status.success(), "what does not count may be anything");
        says(&String::from_utf8_lossy(&output.stderr), &["1 galaxy has the weight zero and does not count"]);
    }
}

#[test]
fn a_method_that_does_not_suit_is_refused_before_anything_is_written() {
    says(&with("\"shear\"", "\"reduced_shear\"").refused(), &["[method]", "mgvi"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let bench = Bench::new(SMALL);
    says(
        &String::from_utf8_lossy(&bench.lookback(&["run", "run.toml", "-o", "/dev/full"]).stderr),
        &["/dev/full", "not a folder"],
    );
    // The file grows beside its place: let that place be a full disk.
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "out"]).status.success());
    let before = fs::read(bench.path("out/summary.json")).expect("reads");
    std::os::unix::fs::symlink("/dev/full", bench.path("out/summary.json.partial")).expect("links");
    let output = bench.lookback(&["report", "out"]);
    assert_eq!(output.status.code(), Some(1));
    says(&String::from_utf8_lossy(&output.stderr), &["cannot write out/summary.json", "No space left"]);
    assert_eq!(fs::read(bench.path("out/summary.json")).expect("reads"), before, "the old file is untouched");
}

#[test]
fn two_runs_in_one_folder() {
    let bench = with("samples = 6", "samples = 200000");
    let mut first = bench.command(&["-q", "run", "run.toml", "-o", "out"]).spawn().expect("starts");
    wait_for(&bench.path("out/samples.raw"), 1);
    let second = bench.lookback(&["run", "run.toml", "-o", "out"]);
    let third = bench.lookback(&["run", "run.toml", "-o", "out", "--overwrite"]);
    let fourth = bench.lookback(&["resume", "out"]);
    first.kill().expect("can be killed");
    first.wait().expect("ends");
    says(&String::from_utf8_lossy(&second.stderr), &["holds a run already", "lookback resume out"]);
    for rival in [third, fourth] {
        says(&String::from_utf8_lossy(&rival.stderr), &["another process is at work in out"]);
    }
}

fn wait_for(path: &Path, bytes: u64) {
    let began = Instant::now();
    while fs::metadata(path).map_or(0, |file| file.len()) < bytes {
        assert!(began.elapsed() < Duration::from_secs(60), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The field of the small run, and one whose spectrum has parameters.
const FIELD: &str =
    "kind = \"gaussian_field\"\nspectrum.power_law = { amplitude = 1e-9, pivot = 1000.0, index = -1.2 }";
const PARAMETERS: &str = "kind = \"correlated_field\"\nfluctuations = [0.02, 0.01]\nslope = [-1.0, 0.3]";

/// Files of a run that must not depend on how often it was killed, nor on the number of threads.
const RESULTS: [&str; 7] =
    ["mean.fits", "std.fits", "snr.fits", "samples.npy", "loo.npy", "trace.csv", "spectrum.csv"];

/// A name and a section of a run file.
type Named = (&'static str, &'static str);

fn approximations() -> [Named; 8] {
    [
        ("wiener", "kind = \"wiener\"\nsamples = 300"),
        ("map", "kind = \"map\"\noptimizer = \"lbfgs\"\ntolerance = 1e-6\nsamples = 200"),
        ("mgvi", "kind = \"mgvi\"\niterations = 12\nfinal_pairs = 80"),
        ("geovi", "kind = \"geovi\"\niterations = 12\nfinal_pairs = 80"),
        ("el2o", "kind = \"el2o\"\npairs = 1\nstarts = 2\nsamples = 100"),
        ("pathfinder", "kind = \"pathfinder\"\ndraws_per_path = 2000\nsamples = 200"),
        ("muse", "kind = \"muse\"\nsimulations = 40\nsamples = 40"),
        ("smc", "kind = \"smc\"\nparticles = 60\nmoves = 1\nfinal_moves = 2"),
    ]
}

fn chains() -> [Named; 9] {
    [
        ("hmc", "kind = \"hmc\"\nchains = 2\nwarmup = 60\ndraws = 60\nthin = 2"),
        ("mala", "kind = \"mala\"\nchains = 2\nwarmup = 300\ndraws = 600\nthin = 20"),
        ("mams", "kind = \"mams\"\nchains = 2\nwarmup = 60\ndraws = 60\nthin = 2"),
        ("nuts", "kind = \"nuts\"\nchains = 2\nwarmup = 60\ndraws = 60\nthin = 2"),
        ("halved", "kind = \"nuts\"\nchains = 2\nwarmup = 60\ndraws = 60\nthin = 2\nhalve_above = 0.3"),
        (
            "preconditioned",
            "kind = \"nuts\"\nchains = 2\nwarmup = 60\ndraws = 60\nthin = 2\n[precondition]\nrank = 60",
        ),
        ("mclmc", "kind = \"mclmc\"\nchains = 2\nwarmup = 600\ndraws = 1200\nthin = 20"),
        (
            "warm started",
            "kind = \"nuts\"\nchains = 2\nwarmup = 60\ndraws = 60\nthin = 2\n[warm_start]\nkind = \"mgvi\"\niterations = 4\nfinal_pairs = 4",
        ),
        ("thermodynamic", "kind = \"thermodynamic\"\nchains = 2\nwarmup = 20\ndraws = 40"),
    ]
}

#[test]
fn approximations_that_are_killed_again_and_again_end_as_if_nothing_had_happened() {
    end_as_if_never_killed(approximations());
}

#[test]
fn chains_that_are_killed_again_and_again_end_as_if_nothing_had_happened() {
    end_as_if_never_killed(chains());
}

fn end_as_if_never_killed(methods: impl IntoIterator<Item = Named>) {
    for (name, method) in methods {
        let prior = if name == "muse" { PARAMETERS } else { FIELD };
        // A full covariance of all latents takes a step that is longer than the patience of this test.
        let pixels = if name == "el2o" { "[12, 14]" } else { "[20, 24]" };
        let text = SMALL
            .replace("kind = \"wiener\"\nsamples = 6", method)
            .replace(FIELD, prior)
            .replace("[32, 40]", pixels)
            + "\n[output]\nlog_likelihood = true\ncheckpoint_seconds = 0.0\n";
        let bench = Bench::new(&text);
        assert!(bench.lookback(&["-q", "--threads", "1", "run", "run.toml", "-o", "whole"]).status.success());
        let mut kills = 0;
        let mut arguments = vec!["-q", "run", "run.toml", "-o", "killed"];
        for attempt in 0u64.. {
            let mut child = bench.command(&arguments).stderr(Stdio::null()).spawn().expect("starts");
            // Longer each time, so that it ends at last; at odd moments, so that every phase is hit. A run that has not begun is left to begin.
            let patience = Duration::from_millis(17 + 47 * attempt);
            let mut begun = None;
            let finished = loop {
                if let Some(status) = child.try_wait().expect("can be asked") {
                    break Some(status);
                }
                if begun.is_none() && bench.path("killed/config.toml").exists() {
                    begun = Some(Instant::now());
                }
                if begun.is_some_and(|moment| moment.elapsed() > patience) {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            match finished {
                Some(status) => {
                    assert!(status.success(), "{name}: fails after {kills} kills");
                    break;
                }
                None => {
                    child.kill().expect("SIGKILL");
                    child.wait().expect("ends");
                    kills += 1;
                }
            }
            arguments = vec!["-q", "resume", "killed"];
            assert!(attempt < 200, "{name} never ends");
        }
        assert!(kills > 0, "{name} was too quick to be killed");
        for file in RESULTS {
            let read = |run: &str| {
                fs::read(bench.path(run).join(file)).unwrap_or_else(|_| panic!("{name}: {run}/{file}"))
            };
            assert!(read("whole") == read("killed"), "{name}: {file} differs after {kills} kills");
        }
    }
}

#[test]
fn changed_inputs_and_damaged_checkpoints_are_noticed() {
    let bench = on_files(|_| ());
    assert!(bench.lookback(&["-q", "run", "run.toml", "-o", "out"]).status.success());
    patch(&bench.path("mock/data_gamma1.fits"), 3, 0.25);
    let output = bench.lookback(&["resume", "out"]);
    says(&String::from_utf8_lossy(&output.stderr), &["checkpoint.bin", "has changed", "--overwrite"]);
    let place = bench.path("out/checkpoint.bin");
    let mut bytes = fs::read(&place).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&place, &bytes).expect("writes");
    says(&String::from_utf8_lossy(&bench.lookback(&["report", "out"]).stderr), &["damaged"]);
    fs::write(&place, b"lookback").expect("writes");
    says(&String::from_utf8_lossy(&bench.lookback(&["resume", "out"]).stderr), &["damaged"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_at_once_with_a_checkpoint() {
    let bench = with("samples = 6", "samples = 200000");
    let child =
        bench.command(&["run", "run.toml", "-o", "out"]).stderr(Stdio::piped()).spawn().expect("starts");
    wait_for(&bench.path("out/samples.raw"), 1);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    let began = Instant::now();
    let output = child.wait_with_output().expect("ends");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(130));
    says(&String::from_utf8_lossy(&output.stderr), &["lookback resume out"]);
    assert!(bench.path("out/checkpoint.bin").exists());
}

/// Numbers inside of a field are told as what they mean, and heavy tails are judged as such.
#[test]
fn a_spectrum_and_heavy_tails_are_told_in_their_own_units() {
    let text = SMALL
        .replace(FIELD, PARAMETERS)
        .replace("kind = \"wiener\"\nsamples = 6", "kind = \"mgvi\"\niterations = 2\nfinal_pairs = 10")
        + "\n[likelihood]\nkind = \"student_t\"\ndof = 3.0\n";
    let bench = Bench::new(&text);
    let output = bench.lookback(&["-q", "run", "run.toml", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(bench.path("out/summary.json")).expect("reads")).expect("JSON");
    let figure = |name: &str| summary[name].as_f64().unwrap_or_else(|| panic!("{name} is missing"));
    let slope = -1.0 + 0.3 * figure("latent_kappa.slope_mean");
    assert!((figure("kappa.slope_mean") - slope).abs() < 1e-6, "{slope}");
    assert!(figure("kappa.fluctuations_mean") > 0.0 && figure("kappa.fluctuations_std") > 0.0);
    // The squares of such noise have a mean of three: no Gaussian one.
    assert_eq!(figure("reduced_chi2_expected"), 3.0);
    let verdicts = summary["verdicts"].to_string();
    assert!(!verdicts.contains("than their noise allows"), "{verdicts}");
    let page = fs::read_to_string(bench.path("out/report.html")).expect("reads");
    says(&page, &["residual of gamma1", "s t with 3 degrees of freedom", "kappa.slope"]);
}

/// `lookback data | head` is no error of the program.
#[test]
fn a_reader_that_stops_ends_it_well() {
    let bench = Bench::new(SMALL);
    let mut child = bench
        .command(&["data", "--files"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "{words}");
}

#[test]
fn help_teaches() {
    let bench = Bench::new(SMALL);
    let help = String::from_utf8_lossy(&bench.lookback(&["--help"]).stdout).into_owned();
    says(&help, &["demo", "run", "check", "resume", "report", "data", "cite"]);
    let data = String::from_utf8_lossy(&bench.lookback(&["data"]).stdout).into_owned();
    says(&data, &["cosmos", "ktng", "LOOKBACK_DATA is not set"]);
    says(
        &String::from_utf8_lossy(&bench.lookback(&["cite", "run.toml"]).stdout),
        &["@article{kaiser_squires1993"],
    );
}
