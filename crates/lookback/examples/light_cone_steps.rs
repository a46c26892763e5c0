//! How many steps does a light cone need? Its maps with few steps beside those of the same universe with many: ratio of power, and correlation.
//!
//! `cargo run --release -p lookback --example light_cone_steps -- [FILE.toml] [STEPS,STEPS,...] [UNIVERSES]` with a file of `lookback simulate`; the
//! last number of steps is what the others are compared with.

use std::path::PathBuf;

use lookback::lensing::LightCone;
use lookback::mesh::{Grid, cross_spectrum, white_modes};
use lookback::nbody::Way;
use lookback::operator::Operator;
use lookback::operator::random::{Purpose, Stream};
use lookback::simulate::SimulateFile;
use lookback::universe::light_cone;

/// Edges of the bins in L.
const EDGES: [f64; 8] = [100.0, 250.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4500.0];

/// The first map of a universe.
fn map(file: &SimulateFile, steps: usize, universe: u32) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let mut simulation = file.simulation.clone();
    simulation.steps = steps;
    let section = file.light_cone.as_ref().ok_or("the file has no [light_cone]")?;
    let settings = section.settings(section.sky()?, file.seed)?;
    let cone: LightCone<f32> = light_cone(&file.cosmology, &simulation, settings, &[], &[Way::Forward])?;
    let s = cone.simulation().settings();
    let grid = Grid::new(&[s.particles; 3], &[s.length; 3])?;
    let mut modes = vec![0.0f32; grid.len()];
    white_modes(&grid, Stream::new(file.seed, Purpose::Signal, universe), &mut modes);
    let mut maps = cone.apply(&cone.simulation().point(&modes))?;
    maps.truncate(cone.codomain().blocks()[0].len());
    Ok(maps)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let path = words.first().map_or(root.join("examples/simulate_lensing.toml"), PathBuf::from);
    let steps = words.get(1).map_or("6,12,24,48,96", String::as_str);
    let steps: Vec<usize> = steps.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let universes: u32 = words.get(2).map_or(Ok(4), |word| word.parse())?;
    let file = SimulateFile::load(&path)?;
    let section = file.light_cone.as_ref().ok_or("the file has no [light_cone]")?;
    let (pixels, field) = section.pixels.zip(section.field_deg).ok_or("the map must be flat")?;
    let grid = Grid::sky(pixels, pixels, field.to_radians() / pixels as f64)?;
    // Sums over universes of the powers of few, and of many steps, and of their products.
    let mut sums = vec![[[0.0f64; 3]; EDGES.len() - 1]; steps.len()];
    for universe in 0..universes {
        let maps = steps.iter().map(|&n| map(&file, n, universe)).collect::<Result<Vec<_>, _>>()?;
        let best = &maps[maps.len() - 1];
        for (sums, map) in sums.iter_mut().zip(&maps) {
            for (part, pair) in [[map, map], [best, best], [map, best]].into_iter().enumerate() {
                let spectrum = cross_spectrum(&grid, [&pair[0][..], &pair[1][..]], &EDGES)?;
                for (sums, power) in sums.iter_mut().zip(spectrum.power) {
                    sums[part] += power;
                }
            }
        }
    }
    println!("power over that with {} steps; correlation, in {universes} universes", steps[steps.len() - 1]);
    println!(
        "| steps | {} |",
        EDGES.windows(2).map(|e| format!("{}-{}", e[0], e[1])).collect::<Vec<_>>().join(" | ")
    );
    println!("|---|{}", "---|".repeat(EDGES.len() - 1));
    for (steps, sums) in steps.iter().zip(&sums).take(steps.len() - 1) {
        let cells = sums.map(|[a, b, ab]| format!("{:.3}; {:.3}", a / b, ab / (a * b).sqrt()));
        println!("| {steps} | {} |", cells.join(" | "));
    }
    Ok(())
}
