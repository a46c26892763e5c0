//! `lookback train` and `lookback model`: from examples to a prior, and what it is used for.

mod bench;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::Bench;

const SIDE: usize = 8;

/// Blobs whose place, width and brightness differ: images of bytes, in idx format.
fn blobs(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut uniform = || {
        // A linear congruential generator is enough for places (Numerical Recipes, 7.1).
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1u32 << 24)
    };
    let mut bytes = vec![0, 0, 8, 3];
    for length in [count, SIDE, SIDE] {
        bytes.extend((length as u32).to_be_bytes());
    }
    for _ in 0..count {
        let (x, y) = (1.5 + 4.0 * uniform(), 1.5 + 4.0 * uniform());
        let (width, height) = (1.0 + uniform(), 100.0 + 150.0 * uniform());
        for pixel in 0..SIDE * SIDE {
            let (row, column) = ((pixel / SIDE) as f64, (pixel % SIDE) as f64);
            let r2 = (row - y).powi(2) + (column - x).powi(2);
            bytes.push((height * (-r2 / (2.0 * width * width)).exp()) as u8);
        }
    }
    bytes
}

/// Whether there is more light on the left (0) or on the right (1) of each image: in idx format.
fn sides(images: &[u8]) -> Vec<u8> {
    let each = SIDE * SIDE;
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend((((images.len() - 16) / each) as u32).to_be_bytes());
    bytes.extend(
        images[16..].chunks_exact(each).map(|image| u8::from(light(image, true) > light(image, false))),
    );
    bytes
}

/// Light on the right half of an image, or on the left.
fn light<T: Copy + Into<f64>>(image: &[T], right: bool) -> f64 {
    let here = |pixel: &usize| (pixel % SIDE >= SIDE / 2) == right;
    (0..image.len()).filter(here).map(|pixel| image[pixel].into()).sum()
}

const TRAIN: &str = r#"
title = "Blobs"
seed = 3

[data]
train = "blobs.idx"
test = "test.idx"

[autoencoder]
latents = 4

[autoencoder.architecture]
encoder = [{ kind = "dense", outputs = 48 }, { kind = "activation", function = "silu" }, { kind = "dense", outputs = 4 }]
decoder = [{ kind = "dense", outputs = 48 }, { kind = "activation", function = "silu" }, { kind = "dense", outputs = 64 }]

[training]
epochs = 40
batch = 50
learning_rate = 5e-3

[flow]
layers = 3
hidden = 24
training = { epochs = 10, batch = 100 }

[model_error]
rank = 4
"#;

fn bench(text: &str) -> Bench {
    let bench = Bench::new(text);
    fs::write(bench.path("blobs.idx"), blobs(2000, 1)).expect("writes");
    fs::write(bench.path("test.idx"), blobs(300, 2)).expect("writes");
    bench
}

impl Bench {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The numbers of an array in numpy's format.
    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = self.read(name);
        let begin = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[begin..].as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    fn card(&self, model: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(&format!("{model}/card.json"))).expect("JSON")
    }

    fn score(&self, model: &str, name: &str) -> f64 {
        let card = self.card(model);
        let scores = card["scores"].as_array().expect("scores");
        scores.iter().find(|score| score[0] == name).expect("a score")[1].as_f64().expect("a number")
    }
}

#[test]
fn a_model_is_trained_and_used() {
    let bench = bench(TRAIN);
    bench.good(&["train", "run.toml"]);
    let model = "models/run";
    for name in ["model.safetensors", "card.json", "history.csv", "report.html", "config.toml"] {
        assert!(!bench.read(&format!("{model}/{name}")).is_empty());
    }
    assert!(!bench.path("models/run/training.bin").exists());
    // Four numbers make a blob: what is left is below a thirtieth of the blobs' variance of 0.07.
    let error = bench.score(model, "test_mse");
    assert!(error < 0.07 / 30.0, "{error}");
    let gain = bench.score(model, "test_latent_log_density")
        - bench.score(model, "test_latent_log_density_of_a_gaussian");
    assert!(gain > 0.2, "{gain}");
    uses(&bench, model);
    another_flow_is_fitted(&bench);
    a_learned_prior_serves_in_a_run(&bench);
    assert!(bench.bad(&["train", "run.toml"]).contains("holds a model already"));
}

fn uses(bench: &Bench, model: &str) {
    bench.good(&["model", "sample", model, "-n", "9", "-o", "a.npy", "--picture", "a.svg"]);
    bench.good(&["model", "sample", model, "-n", "9", "-o", "b.npy"]);
    assert_eq!(bench.read("a.npy"), bench.read("b.npy"));
    assert!(String::from_utf8_lossy(&bench.read("a.svg")).contains("<image"));
    bench.good(&["model", "encode", model, "test.idx", "-o", "z.npy"]);
    bench.good(&["model", "decode", model, "z.npy", "-o", "x.npy"]);
    bench.good(&["model", "interpolate", model, "a.npy", "b.npy", "-o", "path.npy"]);
    bench.good(&["model", "log-prob", model, "test.idx", "-o", "log_prob.npy"]);
    assert!(bench.good(&["model", "card", model]).contains("\"title\": \"Blobs\""));
    // A chequered image is no blob, and must be the strangest.
    let mut strange = blobs(20, 5);
    (0..SIDE * SIDE).for_each(|pixel| {
        strange[16 + pixel] = if (pixel / SIDE + pixel).is_multiple_of(2) { 200 } else { 0 }
    });
    fs::write(bench.path("strange.idx"), strange).expect("writes");
    bench.good(&["model", "score", model, "strange.idx", "-o", "scores.csv", "--picture", "s.svg"]);
    let table = String::from_utf8(bench.read("scores.csv")).expect("text");
    assert!(
        table.lines().nth(1).is_some_and(|first| first.starts_with("0,") && first.ends_with(",1")),
        "{table}"
    );
    bench.good(&[
        "model",
        "reconstruct",
        model,
        "a.npy",
        "--noise-std",
        "20",
        "--samples",
        "8",
        "--starts",
        "4",
        "-o",
        "found",
    ]);
    let found: serde_json::Value =
        serde_json::from_slice(&bench.read("found/reconstruction.json")).expect("JSON");
    assert_eq!(found["examples"].as_array().map(Vec::len), Some(9));
    assert!(!bench.read("found/samples.npy").is_empty() && !bench.read("found/report.html").is_empty());
    bench.good(&["model", "sample", model, "-n", "1", "-o", "one.npy"]);
    for (option, value, out) in
        [("--sampling", "smc", "smc"), ("--sampling", "nuts", "nuts"), ("--blur", "0.8", "blurred")]
    {
        let arguments = ["--noise-std", "20", "--samples", "12", "--starts", "3", option, value, "-o", out];
        bench.good(&[&["model", "reconstruct", model, "one.npy"][..], &arguments].concat());
        let found: serde_json::Value =
            serde_json::from_slice(&bench.read(&format!("{out}/reconstruction.json"))).expect("JSON");
        let chi2 = found["examples"][0]["reduced_chi2"].as_f64().expect("a number");
        assert!((0.0..4.0).contains(&chi2), "{out}: {chi2}");
        assert_eq!(bench.floats(&format!("{out}/samples.npy")).len(), 12 * SIDE * SIDE);
        let modes = found["examples"][0]["mode_weights"].as_array().expect("shares");
        assert_eq!(bench.floats(&format!("{out}/modes.npy")).len(), modes.len() * SIDE * SIDE);
    }
    let said = bench.good(&["model", "calibrate", model, "test.idx", "-n", "8", "--starts", "3"]);
    assert!(said.contains("score of what was hidden") && said.contains("calibration.html"), "{said}");
    assert!(said.contains("it is in the model now"), "{said}");
    let page = String::from_utf8_lossy(&bench.read(&format!("{model}/calibration.html"))).into_owned();
    assert!(page.contains("what intervals held") && page.contains("test.idx"));
    assert!(!page.contains("citations.bib"), "no such file is written beside a model");
    let judged: serde_json::Value =
        serde_json::from_slice(&bench.read(&format!("{model}/calibration.json"))).expect("JSON");
    let card: serde_json::Value =
        serde_json::from_slice(&bench.read(&format!("{model}/card.json"))).expect("JSON");
    let factor = card["error_factor"].as_f64().expect("a number");
    assert_eq!(
        (judged["factors"][0]["factor"].as_f64(), judged["examples"].as_u64()),
        (Some(factor), Some(8))
    );
    assert!(bench.good(&["model", "card", model]).contains(&format!("\"error_factor\": {factor:?}")));
    assert_eq!(card["spread"]["channels"], 8);
    let wrong = bench.bad(&["model", "reconstruct", model, "a.npy", "--error-factor", "0", "-o", "no"]);
    assert!(wrong.contains("must be above 0"), "{wrong}");
    let few = ["model", "calibrate", model, "test.idx", "-n", "2", "--starts", "2", "--like", "a.npy"];
    let wrong = bench.bad(&few);
    assert!(wrong.contains("no noise"), "{wrong}");
    bench.good(&[&few[..], &["--noise-std", "20"]].concat());
    let page = String::from_utf8_lossy(&bench.read(&format!("{model}/calibration.html"))).into_owned();
    assert!(page.contains("nothing, as in a.npy"), "no example of a.npy has gaps");
    // What is there stays: a reconstruction unless it is to be overwritten, and results of other commands.
    let again =
        ["model", "reconstruct", model, "one.npy", "--noise-std", "20", "--samples", "12", "--starts", "3"];
    let wrong = bench.bad(&[&again[..], &["-o", "smc"]].concat());
    assert!(wrong.contains("smc holds a reconstruction already; `--overwrite`"), "{wrong}");
    bench.good(&[&again[..], &["-o", "smc", "--overwrite"]].concat());
    let wrong = bench.bad(&[&again[..], &["-o", model]].concat());
    assert!(wrong.contains("not the folder of a reconstruction"), "{wrong}");
    let words = bench.beside_another("busy", &[&again[..], &["-o", "busy"]].concat());
    assert!(words.contains("another process is at work in busy"), "{words}");
    let words = bench.beside_another("busy", &["train", "run.toml", "-o", "busy"]);
    assert!(words.contains("another process is at work in busy"), "{words}");
    // Killed before its summary, it has left what it may write over.
    fs::create_dir(bench.path("half")).expect("makes");
    fs::write(bench.path("half/mean.npy"), "").expect("writes");
    fs::write(bench.path("half/std.npy.partial"), "").expect("writes");
    bench.good(&[&again[..], &["-o", "half"]].concat());
    let wrong = bench.bad(&["train", "run.toml", "-o", "smc", "--overwrite"]);
    assert!(wrong.contains("not the folder of a model"), "{wrong}");
    // An array without examples, in the format of numpy: its header alone.
    let header = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 8, 8), }");
    fs::write(bench.path("none.npy"), [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes()].concat())
        .expect("writes");
    let wrong = bench.bad(&[&again[..3], &["none.npy", "--noise-std", "20", "-o", "no"]].concat());
    assert!(wrong.contains("none.npy: holds no example"), "{wrong}");
    for (arguments, words) in [
        (["sample", "-n", "9", "-o", "a.fits"], "its name ends with `.npy`"),
        (["sample", "-n", "1000000000000", "-o", "many.npy"], "[sample] needs about"),
    ] {
        let [verb, rest @ ..] = arguments;
        let output = bench.lookback(&[&["model", verb, model], &rest[..]].concat());
        let words_found = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words_found.contains(words), "{words_found}");
    }
    let wrong = bench.bad(&["model", "encode", model, "z.npy", "-o", "no.npy"]);
    assert!(wrong.contains("has the shape [300, 4], but an example of the model has [8, 8, 1]"), "{wrong}");
    let none = bench.lookback(&["model", "sample", model, "-n", "0", "-o", "no.npy"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("at least 1"));
    let wrong = bench.bad(&["model", "card", "run.toml"]);
    assert!(wrong.contains("is not a model"), "{wrong}");
    let wrong = bench.bad(&["model", "reconstruct", model, "a.npy", "--model-error", "none", "-o", "no"]);
    assert!(wrong.contains("the model's error must be admitted"), "{wrong}");
}

/// The autoencoder stays, and another flow is fitted to its latents.
fn another_flow_is_fitted(bench: &Bench) {
    let kept = TRAIN
        .replace("epochs = 40", "epochs = 0")
        .replace("rank = 4", "rank = 10")
        .replace("seed = 3\n", "seed = 3\nstart = \"models/run\"\n[output]\ndirectory = \"matched\"\n");
    let matched = kept.replace(
        "layers = 3\nhidden = 24\ntraining = { epochs = 10, batch = 100 }",
        "kind = \"flow_matching\"\nlayers = 16\nhidden = 48\ntraining = { epochs = 40, learning_rate = 1e-2, average = 100 }",
    );
    fs::write(bench.path("matched.toml"), &matched).expect("writes");
    bench.good(&["train", "matched.toml"]);
    assert_eq!(bench.score("matched", "test_mse"), bench.score("models/run", "test_mse"));
    // The noise with which densities were learned is known, and one of 300 test examples is as wide as one of 2000 to a tenth; what learns velocities has no such noise.
    assert!(bench.card("matched")["flow_noise"].is_null());
    let (noise, z) = (&bench.card("models/run")["flow_noise"], bench.floats("z.npy"));
    for latent in 0..4 {
        let values: Vec<f64> = z.iter().skip(latent).step_by(4).map(|&z| f64::from(z)).collect();
        let mean = values.iter().sum::<f64>() / 300.0;
        let std = (values.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / 300.0).sqrt();
        let noise = noise[latent].as_f64().expect("a number");
        assert!((noise / (0.02 * std) - 1.0).abs() < 0.15, "{noise} of {std}");
    }
    // 200 validation examples tell the scatter of scores by a covariance with four directions, and not with ten.
    for (model, known, words) in [
        ("models/run", true, "in units of its scatter among validation examples"),
        ("matched", false, "their sum, as 200 validation examples are few for 10 correlated directions"),
    ] {
        assert_eq!(bench.card(model)["usual"].is_object(), known, "{model}");
        assert!(
            String::from_utf8_lossy(&bench.read(&format!("{model}/report.html"))).contains(words),
            "{model}"
        );
    }
    let gain = bench.score("matched", "test_latent_log_density")
        - bench.score("matched", "test_latent_log_density_of_a_gaussian");
    assert!(gain > 0.2, "{gain}");
    for (from, to, expected) in [
        ("outputs = 48 }", "outputs = 47 }", "its layers are others: layer 0 of its encoder"),
        ("function = \"silu\"", "function = \"tanh\"", "layer 1 of its encoder"),
        ("test = \"test.idx\"", "test = \"test.idx\"\nscaling = \"standard\"", "use the same `scaling`"),
        ("layers = 16", "layers = 0", "`layers` must be at least 1"),
    ] {
        assert!(matched.contains(from), "{from}");
        fs::write(bench.path("other.toml"), matched.replace(from, to)).expect("writes");
        let wrong = bench.bad(&["train", "other.toml", "-o", "other"]);
        assert!(wrong.contains(expected), "{wrong}");
        fs::remove_dir_all(bench.path("other")).ok();
    }
}

fn a_learned_prior_serves_in_a_run(bench: &Bench) {
    let run = r#"
seed = 4
[sky]
pixels = [8, 8]
pixel_arcmin = 1.0
[prior.blob]
kind = "learned"
model = "models/run"
[data]
kind = "mock"
noise_std = [10.0]
[method]
kind = "map"
samples = 20
"#;
    fs::write(bench.path("blob.toml"), run).expect("writes");
    bench.good(&["run", "blob.toml", "-o", "out"]);
    let summary = String::from_utf8(bench.read("out/summary.json")).expect("text");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert!(summary.to_string().contains("model.safetensors"), "the model is an input: {summary}");
    fs::write(bench.path("wide.toml"), run.replace("[8, 8]", "[8, 9]")).expect("writes");
    let wrong = bench.bad(&["check", "wide.toml"]);
    assert!(
        wrong.contains("[prior.blob] the model makes images of [8, 8, 1], but [sky] says [8, 9] pixels"),
        "{wrong}"
    );
}

/// How posteriors are asked for that need not be good.
const QUICK: [&str; 6] = ["--noise-std", "20", "--starts", "2", "--samples", "4"];

/// A training into the folder `parts`, at work until something is so.
fn training_until(bench: &Bench, so: impl Fn() -> bool) -> Child {
    let child = bench
        .command(&["train", "run.toml", "-o", "parts", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing comes of the training");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_stopped_training_ends_in_the_same_weights() {
    let long = TRAIN.replace("epochs = 40", "epochs = 120");
    let bench = bench(&long);
    bench.good(&["train", "run.toml", "-o", "whole"]);
    let whole = bench.read("whole/model.safetensors");
    let mut child = training_until(&bench, || bench.path("parts/config.toml").exists());
    std::thread::sleep(Duration::from_millis(400));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("a signal");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert!(bench.path("parts/training.bin").exists());
    let other = long.replace("seed = 3", "seed = 5");
    fs::write(bench.path("other.toml"), other).expect("writes");
    assert!(bench.bad(&["train", "other.toml", "-o", "parts"]).contains("belongs to another training"));
    bench.good(&["train", "run.toml", "-o", "parts"]);
    assert!(bench.read("parts/model.safetensors") == whole);
}

#[test]
fn a_killed_training_ends_in_the_same_weights() {
    // Killed among the networks, and among the flow.
    for (epochs, epochs_of_flow) in [(120, 10), (1, 120)] {
        let long = TRAIN
            .replace("epochs = 40", &format!("epochs = {epochs}"))
            .replace("epochs = 10", &format!("epochs = {epochs_of_flow}"));
        killed_training(&long);
    }
}

fn killed_training(text: &str) {
    let bench = bench(&format!("{text}[output]\ncheckpoint_seconds = 0.05\n"));
    bench.good(&["train", "run.toml", "-o", "whole"]);
    for _ in 0..3 {
        let state = || fs::read(bench.path("parts/training.bin")).ok();
        let before = state();
        let shows = || bench.path("parts/report.html").exists();
        let mut child = training_until(&bench, || shows() && state().is_some_and(|now| Some(now) != before));
        child.kill().expect("SIGKILL");
        child.wait().expect("ends");
        assert!(bench.path("parts/training.bin").exists() && !bench.path("parts/model.safetensors").exists());
    }
    // Until the model is there, the page shows losses, and loads itself again.
    let page =
        |folder: &str| String::from_utf8(bench.read(&format!("{folder}/report.html"))).expect("a page");
    let again = "http-equiv=\"refresh\"";
    assert!(page("parts").contains(again) && page("parts").contains("validation loss"));
    assert!(page("parts").contains("epochs of the"));
    assert!(!page("whole").contains(again));
    // A state that was cut off is named, and nothing is made of it.
    let state = bench.read("parts/training.bin");
    fs::write(bench.path("parts/training.bin"), &state[..state.len() / 2]).expect("writes");
    let wrong = bench.bad(&["train", "run.toml", "-o", "parts"]);
    assert!(wrong.contains("training.bin") && wrong.contains("damaged"), "{wrong}");
    fs::write(bench.path("parts/training.bin"), &state).expect("writes");
    // How often a state is written decides nothing.
    fs::write(bench.path("run.toml"), text).expect("writes");
    bench.good(&["train", "run.toml", "-o", "parts"]);
    assert!(bench.read("parts/model.safetensors") == bench.read("whole/model.safetensors"));
    assert!(!page("parts").contains(again));
}

#[test]
fn latents_depend_on_labels() {
    let condition = "[data.condition]\nkind = \"labels\"\ntrain = \"sides.idx\"\ntest = \"test_sides.idx\"\n";
    let text = TRAIN.replace("[autoencoder]\n", &format!("{condition}\n[autoencoder]\n"));
    let bench = bench(&text);
    fs::write(bench.path("sides.idx"), sides(&bench.read("blobs.idx"))).expect("writes");
    let right = sides(&bench.read("test.idx"));
    let mut wrong = right.clone();
    wrong[8..].iter_mut().for_each(|label| *label = 1 - *label);
    fs::write(bench.path("test_sides.idx"), right).expect("writes");
    fs::write(bench.path("wrong_sides.idx"), wrong).expect("writes");
    bench.good(&["train", "run.toml"]);
    let model = "models/run";
    // Draws of a label have their light on its side.
    for label in 0..2 {
        bench.good(&[
            "model",
            "sample",
            model,
            "--given",
            &label.to_string(),
            "-n",
            "200",
            "-o",
            "drawn.npy",
        ]);
        let drawn = bench.floats("drawn.npy");
        let is_right = |image: &&[f32]| (light(image, true) > light(image, false)) == (label == 1);
        let share = drawn.chunks_exact(SIDE * SIDE).filter(is_right).count() as f64 / 200.0;
        assert!(share > 0.9, "label {label}: {share}");
    }
    // A label halves the space, which is worth ln 2 of density; the wrong one costs more.
    let density = |given: &str| {
        bench.good(&["model", "log-prob", model, "test.idx", "--given", given, "-o", "p.npy"]);
        let all = bench.floats("p.npy");
        all.iter().map(|&x| f64::from(x)).sum::<f64>() / all.len() as f64
    };
    let (right, wrong) = (density("test_sides.idx"), density("wrong_sides.idx"));
    assert!(right > wrong + 2.0, "{right} {wrong}");
    assert!((right - bench.score(model, "test_latent_log_density")).abs() < 1e-3);
    bench.good(
        &[&["model", "reconstruct", model, "drawn.npy", "-o", "r", "--given", "1"], &QUICK[..]].concat(),
    );
    let run = "seed = 4\n[sky]\npixels = [8, 8]\npixel_arcmin = 1.0\n[prior.blob]\nkind = \"learned\"\nmodel = \"models/run\"\ngiven = [1]\n[data]\nkind = \"mock\"\nnoise_std = [10.0]\n[method]\nkind = \"map\"\n";
    fs::write(bench.path("blob.toml"), run).expect("writes");
    bench.good(&["run", "blob.toml", "-o", "out"]);
    let said = bench.bad(&[
        "model",
        "reconstruct",
        model,
        "test.idx",
        "--given",
        "test_sides.idx",
        "--noise-std",
        "20",
        "-o",
        "no",
    ]);
    assert!(said.contains("must be given once for all examples here, not for 300 of them"), "{said}");
    let found: serde_json::Value =
        serde_json::from_slice(&bench.read("r/reconstruction.json")).expect("JSON");
    assert_eq!(found["given"], serde_json::json!([1.0]));
    for (given, words) in [
        (None, "it must be given"),
        (Some("2"), "a label from 0 to 1"),
        (Some("0,1"), "given for 2 examples"),
    ] {
        let mut arguments = vec!["model", "sample", model, "-o", "no.npy"];
        arguments.extend(given.iter().flat_map(|given| ["--given", given]));
        let said = bench.bad(&arguments);
        assert!(said.contains(words), "{given:?}: {said}");
    }
    fs::write(bench.path("ungiven.toml"), run.replace("given = [1]\n", "")).expect("writes");
    assert!(bench.bad(&["check", "ungiven.toml"]).contains("it must be given"));
    fs::write(bench.path("short.toml"), text.replace("\"sides.idx\"", "\"test_sides.idx\"")).expect("writes");
    let said = bench.bad(&["train", "short.toml", "-o", "short"]);
    assert!(said.contains("each of 2000 examples"), "{said}");
}

#[test]
fn a_variational_autoencoder_ends_when_it_learns_no_more() {
    let text = TRAIN
        .replace("latents = 4\n", "latents = 4\nvariational = { noise_std = 0.1 }\n")
        .replace("outputs = 4 }", "outputs = 8 }")
        .replace("epochs = 40", "epochs = 300\npatience = 3");
    let bench = bench(&text);
    bench.good(&["train", "run.toml"]);
    let history = String::from_utf8(bench.read("models/run/history.csv")).expect("text");
    let losses: Vec<f64> = history
        .lines()
        .filter_map(|line| line.strip_prefix("autoencoder,")?.split(',').nth(2)?.parse().ok())
        .collect();
    let best = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).expect("epochs").0;
    assert!(losses.len() < 300 && losses.len() == best + 4, "{} epochs, the best {best}", losses.len());
    let error = bench.score("models/run", "test_mse");
    assert!(error < 0.07 / 10.0, "{error}");
}

#[test]
fn one_latent_is_a_model_too() {
    let one = TRAIN
        .replace("latents = 4", "latents = 1")
        .replace("outputs = 4 }", "outputs = 1 }")
        .replace("epochs = 40", "epochs = 10")
        .replace("epochs = 10, batch = 100", "epochs = 40, batch = 100, learning_rate = 1e-2");
    let bench = bench(&one);
    // Half of the images are faint: one number has two clumps.
    for name in ["blobs.idx", "test.idx"] {
        let mut images = bench.read(name);
        let every_other = images[16..].chunks_exact_mut(SIDE * SIDE).step_by(2);
        every_other.flatten().for_each(|pixel| *pixel /= 6);
        fs::write(bench.path(name), images).expect("writes");
    }
    // What a flow must win over a Gaussian; affine steps of one number are one.
    for (kind, out, gain) in [
        ("spline_coupling", "a", 0.4),
        ("real_nvp", "b", -0.05),
        ("sliced", "c", 0.4),
        ("flow_matching", "d", 0.35),
        ("sliced\"\nsliced.direction = \"to_data", "e", 0.4),
    ] {
        let flow = one.replace("layers = 3", &format!("kind = \"{kind}\"\nlayers = 3"));
        fs::write(bench.path("run.toml"), flow).expect("writes");
        bench.good(&["train", "run.toml", "-o", out]);
        let density = bench.score(out, "test_latent_log_density");
        let gaussian = bench.score(out, "test_latent_log_density_of_a_gaussian");
        assert!(density > gaussian + gain, "{kind}: {density} {gaussian}");
        bench.good(&["model", "sample", out, "-n", "3", "-o", "x.npy"]);
        let place = format!("r{out}");
        bench.good(&[&["model", "reconstruct", out, "x.npy", "-o", &place], &QUICK[..]].concat());
    }
}

#[test]
fn a_device_that_cannot_be_used_is_named_before_anything_is_written() {
    let bench = bench(TRAIN);
    let train = |device: &str| {
        let mut command = bench.command(&["train", "run.toml", "--device", device, "-o", "elsewhere"]);
        // Where there is a GPU the training would run: it is hidden.
        let output = command.env("CUDA_VISIBLE_DEVICES", "").output().expect("starts");
        assert!(!output.status.success() && !bench.path("elsewhere").exists());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let message = train("abacus");
    assert!(message.contains("`cpu` or `cuda`"), "{message}");
    let message = train("cuda");
    assert!(message.contains("GPU") && !message.contains("panicked"), "{message}");
}

#[test]
fn training_files_that_cannot_work_are_refused() {
    for (from, to, words) in [
        ("latents = 4\n", "latents = 3\n", "the encoder gives 4 numbers where 3 are needed"),
        ("outputs = 64", "outputs = 63", "the decoder gives 63 numbers where 64 are needed"),
        ("[autoencoder]\n", "[augment]\nnoise_std = -1.0\n[autoencoder]\n", "`noise_std` must be at least 0"),
        ("batch = 50", "batch = 0", "`batch` must be at least 1"),
        ("batch = 50", "batch = 5000", "1800 examples are fewer than a step takes (5000)"),
        ("batch = 100", "batch = 5000", "[flow] 1800 examples are fewer than a step takes"),
        ("layers = 3", "kind = \"sliced\"\nsliced = { knots = 2 }\nlayers = 3", "`knots` must be at least 5"),
        ("rank = 4\n", "rank = 4\n[output]\ncheckpoint_seconds = -1.0\n", "`checkpoint_seconds` = -1"),
        ("\"blobs.idx\"", "\"none.idx\"", "cannot read"),
        ("learning_rate", "learning_rat", "did you mean `learning_rate`?"),
        ("\"silu\"", "\"silly\"", "did you mean `silu`?"),
        (
            "{ kind = \"dense\", outputs = 48 }",
            "{ kind = \"convolution\", channels = 2, kernel = 0 }",
            "`kernel` must be",
        ),
        ("learning_rate = 5e-3", "learning_rate = 1e30", "a smaller `learning_rate` may help"),
    ] {
        assert!(TRAIN.contains(from), "{from}");
        let bench = bench(&TRAIN.replacen(from, to, 1));
        let said = bench.bad(&["train", "run.toml"]);
        assert!(said.contains(words), "{from} -> {to}: {said}");
    }
}
