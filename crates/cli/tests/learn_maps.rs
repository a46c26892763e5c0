//! From simulated universes to a prior of maps, and from there to a posterior.

mod bench;

use std::fs;

use bench::Bench;

const UNIVERSES: &str = r#"
seed = 2
realisations = 5
[simulation]
particles = 16
box_size = 100.0
mesh_factor = 1
steps = 4
start = 0.2
scheme = "bull_frog"
[light_cone]
sources = [{ z = 1.0 }]
pixels = 40
field_deg = 2.0
"#;

const TRAIN: &str = r#"
title = "Small universes"
[data]
maps = "simulations/universes/realisation_*/kappa1.fits"
pixel_arcmin = 3.0
spectra = "simulations/universes/cl_kappa1_mean.csv"
[field]
layers = 2
filter_knots = 8
warp_knots = 8
margin = 4
[training]
epochs = 4
batch = 2
learning_rate = 5e-3
"#;

const RUN: &str = r#"
[sky]
pixels = [24, 32]
pixel_arcmin = 3.0
[prior.kappa]
kind = "learned"
model = "models/maps"
[[forward]]
kind = "shear"
[data]
kind = "mock"
noise_std = [0.01, 0.01]
[method]
kind = "mgvi"
iterations = 3
pairs = 2
final_pairs = 10
"#;

fn bench() -> Bench {
    let bench = Bench::new(RUN);
    for (name, text) in [("universes.toml", UNIVERSES), ("maps.toml", TRAIN)] {
        fs::write(bench.path(name), text).expect("writes");
    }
    bench
}

#[test]
fn universes_teach_a_prior_that_serves_on_another_sky() {
    let bench = bench();
    bench.good(&["simulate", "universes.toml"]);
    let said = bench.good(&["train", "maps.toml"]);
    assert!(said.contains("validation_distance"), "{said}");
    let page = fs::read_to_string(bench.path("models/maps/report.html")).expect("a page");
    for words in ["Maps and draws", "power spectrum", "Small universes", "kappa1.fits"] {
        assert!(page.contains(words), "{words}");
    }
    bench.good(&["train", "maps.toml", "-o", "again", "--threads", "1"]);
    let read = |name: &str| fs::read(bench.path(name)).expect("a model");
    assert!(read("again/model.safetensors") == read("models/maps/model.safetensors"), "the same weights");
    assert!(bench.good(&["model", "card", "models/maps"]).contains("\"pixel_arcmin\": 3.0"));
    bench.good(&["model", "sample", "models/maps", "-n", "3", "-o", "draws.npy", "--picture", "draws.svg"]);
    assert_eq!(read("draws.npy").len(), 128 + 3 * 40 * 40 * 4);
    bench.good(&["run", "run.toml", "-o", "out"]);
    let summary = fs::read_to_string(bench.path("out/summary.json")).expect("a summary");
    assert!(summary.contains("model.safetensors"), "{summary}");

    let wrong = bench.bad(&["model", "encode", "models/maps", "draws.npy", "-o", "no.npy"]);
    assert!(wrong.contains("is a prior of maps"), "{wrong}");
    for (from, to, words) in [
        (
            "pixel_arcmin = 3.0",
            "pixel_arcmin = 2.0",
            "was trained on pixels of 3 arcmin, and these have [2.0",
        ),
        ("model = \"models/maps\"", "model = \"models/maps\"\nmodel_error = \"none\"", "has none"),
    ] {
        fs::write(bench.path("wrong.toml"), RUN.replacen(from, to, 1)).expect("writes");
        let said = bench.bad(&["check", "wrong.toml"]);
        assert!(said.contains(words), "{to}: {said}");
    }
    for (from, to, words) in [
        ("realisation_*", "realisation_9*", "names no file"),
        ("realisation_*", "realisation_0000", "one to learn from and one to judge"),
        ("kappa1.fits", "*.csv", "is neither FITS"),
        ("cl_kappa1_mean.csv", "realisation_0000/power.csv", "has no column `ell`"),
        ("margin = 4", "margin = 20", "leaves nothing of maps of 40 x 40"),
        ("pixel_arcmin = 3.0", "pixel_arcmin = 0.0", "`pixel_arcmin` must be above 0"),
        ("warp_knots = 8", "warp_knots = 2", "`warp_knots` must be at least 3"),
        ("batch = 2", "batch = 9", "fewer than a step takes"),
    ] {
        fs::write(bench.path("wrong.toml"), TRAIN.replacen(from, to, 1)).expect("writes");
        let said = bench.bad(&["train", "wrong.toml"]);
        assert!(said.contains(words), "{to}: {said}");
    }
    let whole = read("models/maps/model.safetensors");
    fs::create_dir_all(bench.path("broken")).expect("a folder");
    fs::write(bench.path("broken/model.safetensors"), &whole[..whole.len() - 9]).expect("writes");
    let said = bench.bad(&["model", "sample", "broken", "-o", "no.npy"]);
    assert!(said.contains("model.safetensors"), "{said}");
}
