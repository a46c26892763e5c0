//! The correlated field against NIFTy 9.2.0: the same latents give the same field, to 1e-10.

use lookback_mesh::Grid;
use lookback_operator::Operator;
use lookback_prior::{CorrelatedField, CorrelatedFieldParameters, Distribution};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[test]
fn the_same_latents_give_the_field_of_nifty() {
    let table: Value =
        serde_json::from_str(include_str!("data/nifty_correlated_field.json")).expect("a table");
    let grid = Grid::new(&[6, 9], &[6.0 * 0.5, 9.0 * 0.4]).expect("a grid");
    let lognormal = |mean, std| Distribution::LogNormal { mean, std };
    for case in table["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let parameters = CorrelatedFieldParameters {
            offset_mean: 0.3,
            offset_std: lognormal(0.2, 0.1),
            fluctuations: lognormal(1.5, 0.5),
            slope: Distribution::Normal { mean: -2.0, std: 0.5 },
            flexibility: (name != "power_law").then(|| lognormal(0.8, 0.3)),
            asperity: (name == "rough").then(|| lognormal(0.4, 0.2)),
        };
        let field = CorrelatedField::<f64>::new(&grid, parameters, "sky", "").expect("a prior");
        let latent = numbers(&case["latent"]);
        let ours = field.apply(&latent).expect("the latent fits");
        for (ours, theirs) in ours.iter().zip(numbers(&case["field"])) {
            assert!((ours - theirs).abs() < 1e-10, "{name}: {ours} {theirs}");
        }
    }
}
