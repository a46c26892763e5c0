//! The floors of the house: each crate depends only on those below it.

use std::collections::BTreeMap;
use std::path::Path;

/// Floors, lowest first; crates of one floor do not know each other.
const FLOORS: [&[&str]; 9] = [
    &["lookback-operator"],
    &["lookback-mesh", "lookback-cosmology"],
    &["lookback-nbody"],
    &["lookback-imaging", "lookback-lensing"],
    &["lookback-prior", "lookback-learn"],
    &["lookback-likelihood"],
    &["lookback-inference"],
    &["lookback"],
    &["lookback-cli", "lookback-python"],
];

/// What the inference crate may know besides numbers: no astronomy.
const INFERENCE_KNOWS: [&str; 2] = ["lookback-operator", "lookback-likelihood"];

fn manifests() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<_> = std::fs::read_dir(root.join("crates"))
        .expect("crates")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.push(root.join("python"));
    let manifests = folders.iter().map(|folder| folder.join("Cargo.toml")).filter(|path| path.is_file());
    manifests
        .map(|path| {
            let table: toml::Table = std::fs::read_to_string(path).expect("readable").parse().expect("TOML");
            let name = table["package"]["name"].as_str().expect("a name").to_string();
            let needs = table["dependencies"].as_table().expect("a table").keys();
            (name, needs.filter(|need| need.starts_with("lookback")).cloned().collect())
        })
        .collect()
}

fn floor(name: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&name))
        .unwrap_or_else(|| panic!("`{name}` stands on no floor"))
}

#[test]
fn dependencies_point_downwards() {
    for (name, needs) in manifests() {
        for need in needs {
            assert!(floor(&need) < floor(&name), "`{name}` must not depend on `{need}`");
        }
    }
}

#[test]
fn inference_knows_no_astronomy() {
    for need in &manifests()["lookback-inference"] {
        assert!(INFERENCE_KNOWS.contains(&need.as_str()), "inference must not know `{need}`");
    }
}

#[test]
fn every_floor_is_inhabited_and_drawn() {
    let built = manifests();
    let drawn = include_str!("../../../ARCHITECTURE.md");
    for name in FLOORS.concat() {
        assert!(built.contains_key(name), "`{name}` does not exist");
        let short = name.trim_start_matches("lookback-");
        assert!(drawn.contains(&format!("`{short}`")), "ARCHITECTURE.md does not tell of `{short}`");
    }
}
