//! How exactly a simulation runs backwards, and how many steps it needs.
//!
//! `cargo run --release -p lookback --example nbody_accuracy -- [PARTICLES A SIDE]`

use lookback::cosmology::{Cosmology, Parameters, Settings as CosmologySettings};
use lookback::mesh::{Grid, Window, bin_edges, power_spectrum};
use lookback::nbody::{GradientKernel, Kernels, Lpt, Middle, Scheme, Settings, Simulation, equal_in_growth};
use lookback::operator::random::{Purpose, Stream};
use lookback::operator::{Operator, Real};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const START: f64 = 0.1;

fn simulation<T: Real>(side: usize, scheme: Scheme, times: Vec<f64>) -> Outcome<Simulation<T>> {
    let settings = Settings {
        particles: side,
        length: 4.0 * side as f64,
        cells: 2 * side,
        window: Window::Cic,
        kernels: Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() },
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme,
        times,
    };
    Ok(Simulation::new(settings, cosmology()?, &[])?)
}

fn cosmology() -> Outcome<Cosmology<f64>> {
    Ok(Cosmology::new(Parameters::planck18(), CosmologySettings::default())?)
}

fn modes<T: Real>(side: usize) -> Vec<T> {
    let mut modes = vec![T::zero(); side.pow(3)];
    Stream::new(1, Purpose::Signal, 0).fill_normal(&mut modes);
    modes
}

fn equal_in_a(steps: usize) -> Vec<f64> {
    (0..=steps)
        .map(|i| if i == steps { 1.0 } else { START + (1.0 - START) * i as f64 / steps as f64 })
        .collect()
}

fn reversal<T: Real>(side: usize, steps: usize) -> Outcome<f64> {
    let simulation = simulation::<T>(side, Scheme::BullFrog, equal_in_a(steps))?;
    let mut run = simulation.run()?;
    run.evolve(&modes(side), None)?;
    Ok(run.reversal_error())
}

/// Power below half of the Nyquist number of the particles.
fn power(side: usize, scheme: Scheme, times: Vec<f64>) -> Outcome<Vec<f64>> {
    let simulation = simulation::<f32>(side, scheme, times)?;
    let delta = simulation.apply(&modes(side))?;
    let length = 4.0 * side as f64;
    let grid = Grid::new(&[2 * side; 3], &[length; 3])?;
    let edges: Vec<f64> = bin_edges(&grid, 40);
    let nyquist = std::f64::consts::PI * side as f64 / length;
    let spectrum = power_spectrum(&grid, &delta, &edges)?;
    Ok(spectrum.k.iter().zip(spectrum.power).filter(|(k, _)| **k < 0.5 * nyquist).map(|(_, p)| p).collect())
}

fn main() -> Outcome<()> {
    let side: usize = std::env::args().nth(1).map_or(Ok(64), |word| word.parse())?;
    println!("{side}^3 particles 4 Mpc/h apart, forces on {}^3, from a = {START}\n", 2 * side);
    println!(
        "Running backwards: rms of what is left of the displacement at the start, over the displacement at the end.\n"
    );
    println!("| steps | f32 | f64 |\n|---|---|---|");
    for steps in [10, 40, 100] {
        println!(
            "| {steps} | {:.1e} | {:.1e} |",
            reversal::<f32>(side, steps)?,
            reversal::<f64>(side, steps)?
        );
    }
    println!(
        "\nPower today against 100 steps, largest deviation below half of the particles' Nyquist number.\n"
    );
    println!("| scheme, steps equal in | 5 | 10 | 20 | 40 |\n|---|---|---|---|---|");
    let truth = power(side, Scheme::BullFrog, equal_in_growth(&cosmology()?, START, 100))?;
    for (name, scheme) in [
        ("BullFrog", Scheme::BullFrog),
        ("FastPM, geometric middle", Scheme::FastPm(Middle::Geometric)),
        ("FastPM, arithmetic middle", Scheme::FastPm(Middle::Arithmetic)),
    ] {
        for growth in [false, true] {
            let mut row = format!("| {name}, {} |", if growth { "D" } else { "a" });
            for steps in [5, 10, 20, 40] {
                let times =
                    if growth { equal_in_growth(&cosmology()?, START, steps) } else { equal_in_a(steps) };
                let found = power(side, scheme, times)?;
                let off = found.iter().zip(&truth).map(|(p, t)| (p / t - 1.0).abs()).fold(0.0, f64::max);
                row += &format!(" {:.2} % |", 100.0 * off);
            }
            println!("{row}");
        }
    }
    let other = power(side, Scheme::FastPm(Middle::Geometric), equal_in_growth(&cosmology()?, START, 100))?;
    let off = other.iter().zip(&truth).map(|(p, t)| (p / t - 1.0).abs()).fold(0.0, f64::max);
    println!("\nFastPM with 100 steps against BullFrog with 100: {:.2} %", 100.0 * off);
    Ok(())
}
