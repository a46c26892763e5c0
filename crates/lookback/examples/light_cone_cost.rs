//! Time and memory of the convergence of a light cone, and of its gradient with respect to the initial conditions and two
//! cosmological parameters: by default the job of MADLens' paper.
//!
//! `cargo run --release -p lookback --example light_cone_cost -- [FILE.toml] [ROUNDS] [--keep]` with a file of `lookback simulate`;
//! with `--keep`, potentials are kept for the gradient.

use std::path::PathBuf;
use std::time::Instant;

use lookback::lensing::LightCone;
use lookback::mesh::{Grid, white_modes};
use lookback::nbody::Way;
use lookback::operator::random::{Purpose, Stream};
use lookback::operator::{Linearization, Operator};
use lookback::simulate::SimulateFile;
use lookback::universe::light_cone;

/// Peak memory of this process \[GB\], where the system tells.
fn peak_gb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1e6)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (words, flags): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| !word.starts_with("--"));
    let path = words.first().map_or(root.join("examples/madlens_256.toml"), PathBuf::from);
    let rounds: usize = words.get(1).map_or(Ok(1), |word| word.parse())?;
    let mut file = SimulateFile::load(&path)?;
    file.simulation.keep_potentials |= flags.iter().any(|flag| flag == "--keep");
    let section = file.light_cone.as_ref().ok_or("the file has no [light_cone]")?;
    let settings = section.settings(section.sky()?, file.seed)?;
    let cone: LightCone<f32> =
        light_cone(&file.cosmology, &file.simulation, settings, &["omega_m", "sigma8"], &[Way::Reverse])?;
    let estimate = [Way::Forward, Way::Reverse].map(|way| cone.memory(way) as f64 / 1e9);
    let s = cone.simulation().settings();
    let grid = Grid::new(&[s.particles; 3], &[s.length; 3])?;
    let mut modes = vec![0.0f32; grid.len()];
    white_modes(&grid, Stream::new(file.seed, Purpose::Signal, 0), &mut modes);
    let x = cone.simulation().point(&modes);
    drop(modes);
    let mut look = cone.look()?;
    // Who expects derivatives has room for them; the first light cone is to need what one alone needs, unless it keeps potentials.
    if s.keep_potentials {
        look.run().expect_derivatives();
    }
    let mut maps = vec![0.0f32; cone.codomain().len()];
    for _ in 0..rounds {
        let start = Instant::now();
        look.move_to(&x, &mut maps)?;
        let forward = start.elapsed().as_secs_f64();
        let forward_peak = peak_gb();
        look.run().expect_derivatives();
        let mut gradient = vec![0.0f32; x.len()];
        look.pull(&maps, &mut gradient)?;
        let both = start.elapsed().as_secs_f64();
        println!(
            "{}: {} threads, f32: forward {forward:.1} s, value and gradient {both:.1} s ({:.2} times forward); \
             peak {forward_peak:.2} and {:.2} GB (estimated {:.2} and {:.2})",
            cone.name(),
            rayon::current_num_threads(),
            both / forward,
            peak_gb(),
            estimate[0],
            estimate[1],
        );
    }
    Ok(())
}
