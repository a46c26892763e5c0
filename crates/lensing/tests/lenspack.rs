//! Kaiser-Squires in both directions against lenspack 1.0.0, to 1e-13.

use lookback_lensing::{kaiser_squires, mass_map};
use lookback_mesh::Grid;
use lookback_operator::LinearOperator;
use serde_json::Value;

fn numbers(case: &Value, name: &str) -> Vec<f64> {
    case[name].as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn agree(what: &str, ours: &[f64], theirs: &[f64]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-13, "{what}: {ours} {theirs}");
    }
}

#[test]
fn maps_agree_with_lenspack() {
    let table: Value = serde_json::from_str(include_str!("data/lenspack_ks93.json")).expect("a table");
    for case in table["cases"].as_array().expect("cases") {
        let shape: Vec<usize> = numbers(case, "shape").iter().map(|&n| n as usize).collect();
        let grid = Grid::sky(shape[0], shape[1], 1e-3).expect("a grid");
        let (e_mode, b_mode) =
            mass_map(&grid, &numbers(case, "gamma1"), &numbers(case, "gamma2")).expect("fits");
        agree("E mode", &e_mode, &numbers(case, "e_mode"));
        agree("B mode", &b_mode, &numbers(case, "b_mode"));
        let operator = kaiser_squires::<f64>(&grid).expect("flat");
        let mut gamma = vec![0.0; 2 * grid.len()];
        operator.forward(&numbers(case, "kappa"), &mut gamma, &mut operator.scratch());
        agree("gamma1", &gamma[..grid.len()], &numbers(case, "shear1"));
        agree("gamma2", &gamma[grid.len()..], &numbers(case, "shear2"));
    }
}
