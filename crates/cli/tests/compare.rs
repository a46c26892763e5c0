//! Models of the same data, compared in the shell.

mod bench;

use bench::Bench;

/// A universe of 168 pixels, seen through shear.
const MOCK: &str = r#"
title = "the truth"
seed = 7

[sky]
pixels = [12, 14]
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
kind = "map"
samples = 400
tolerance = 1e-6

[output]
log_likelihood = true
directory = "mock"
"#;

const IN_FILES: &str = r#"kind = "maps"
maps = ["mock/data_gamma1.fits", "mock/data_gamma2.fits"]"#;

fn says(bench: &Bench, arguments: &[&str], words: &[&str]) -> String {
    let output = bench.lookback(arguments);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    words.iter().for_each(|word| assert!(text.contains(word), "`{word}` is not in: {text}"));
    text
}

#[test]
fn the_model_that_made_the_data_wins() {
    let bench = Bench::new(MOCK);
    assert!(bench.lookback(&["-q", "run", "run.toml"]).status.success());
    let on_files = MOCK.replace("kind = \"mock\"", IN_FILES);
    for (name, amplitude) in [("right", "1e-9"), ("faint", "1e-11"), ("bright", "1e-7")] {
        let text = on_files.replace("1e-9", amplitude).replace("\"mock\"", &format!("\"{name}\""));
        std::fs::write(bench.path(&format!("{name}.toml")), text).expect("writes");
        assert!(bench.lookback(&["-q", "run", &format!("{name}.toml")]).status.success(), "{name}");
    }
    let text = says(
        &bench,
        &["compare", "faint", "right", "bright"],
        &["ln evidence", "elpd", "p_loo", "faint predicts unseen data worse than right"],
    );
    let place = |name: &str| text.find(&format!("\n{name}")).unwrap_or_else(|| panic!("no {name} in {text}"));
    assert!(place("right") < place("faint") && place("right") < place("bright"), "{text}");
    assert!(text.contains("right has probability 1.000"), "{text}");

    let page = ["compare", "faint", "right", "bright", "--page", "models.html"];
    assert!(bench.lookback(&page).status.success());
    let page = std::fs::read_to_string(bench.path("models.html")).expect("reads");
    // Three means, three widths, two differences from the best, and one plot of spectra.
    assert_eq!(page.matches("<svg").count(), 9);
    for words in [
        "Posterior means minus that of right",
        "faint predicts unseen data worse",
        "right: log density of data left out",
    ] {
        assert!(page.contains(words), "{words}");
    }

    // Other data, unfinished runs and runs without anything to compare are told apart.
    let other = MOCK.replace("seed = 7", "seed = 8").replace("directory = \"mock\"", "directory = \"other\"");
    std::fs::write(bench.path("other.toml"), other).expect("writes");
    assert!(bench.lookback(&["-q", "run", "other.toml"]).status.success());
    says(&bench, &["compare", "right", "other"], &["other", "same data"]);
    says(&bench, &["compare", "nothing"], &["nothing", "no finished run"]);
}

#[test]
fn warm_starts_that_make_no_sense_are_refused() {
    let nuts = "kind = \"nuts\"\nwarmup = 50\ndraws = 50\n";
    let map = "kind = \"map\"\nsamples = 400\ntolerance = 1e-6\n";
    for (method, start, word) in
        [(map, "kind = \"mgvi\"", "not for `map`"), (nuts, "kind = \"hmc\"", "must be an approximation")]
    {
        let text =
            MOCK.replace(map, method).replace("[output]", &format!("[warm_start]\n{start}\n\n[output]"));
        let bench = Bench::new(&text);
        says(&bench, &["check", "run.toml"], &["[warm_start]", word]);
    }
    let both = "[warm_start]\nkind = \"pathfinder\"\n[precondition]\nrank = 8\n\n[output]";
    let text = MOCK.replace(map, nuts).replace("[output]", both);
    let bench = Bench::new(&text);
    says(&bench, &["check", "run.toml"], &["started by pathfinder", "nuts"]);
    assert!(bench.lookback(&["-q", "run", "run.toml"]).status.success());
    let summary = std::fs::read_to_string(bench.path("mock/summary.json")).expect("reads");
    assert!(summary.contains("warm_start_pareto_k") && summary.contains("rescaled_directions"), "{summary}");
}
