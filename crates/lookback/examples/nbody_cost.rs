//! Time and memory of an N-body simulation and of its gradient, beside the two Fourier transforms that a step needs.
//!
//! `cargo run --release -p lookback --example nbody_cost -- [PARTICLES A SIDE] [MESH FACTOR] [STEPS]`

use std::time::Instant;

use lookback::cosmology::{Cosmology, Parameters, Settings as CosmologySettings};
use lookback::mesh::{Grid, RealFft, Window};
use lookback::nbody::{GradientKernel, Kernels, Lpt, Middle, Scheme, Settings, Simulation};
use lookback::operator::random::{Purpose, Stream};
use lookback::operator::{Linearization, Operator};

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn seconds(rounds: usize, mut f: impl FnMut()) -> f64 {
    let once = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    once(&mut f);
    median((0..rounds).map(|_| once(&mut f)).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |i: usize, default: f64| std::env::args().nth(i).map_or(Ok(default), |word| word.parse());
    let (side, factor, steps) = (number(1, 128.0)? as usize, number(2, 1.0)?, number(3, 10.0)? as usize);
    let cells = (side as f64 * factor) as usize;
    let fft = RealFft::<f32>::new(&Grid::new(&[cells; 3], &[1.0; 3])?);
    let (mut field, mut spectrum) = (vec![0.5f32; cells.pow(3)], fft.make_spectrum());
    let transforms = seconds(5, || {
        fft.forward(&field, &mut spectrum);
        fft.inverse(&mut spectrum, &mut field);
    });
    for (name, gradient) in
        [("spectral", GradientKernel::Spectral), ("four-point", GradientKernel::FourPoint)]
    {
        let settings = Settings {
            particles: side,
            length: 2.0 * side as f64,
            cells,
            window: Window::Cic,
            kernels: Kernels { gradient, ..Kernels::default() },
            start_kernels: Kernels::default(),
            lpt: Lpt::Second,
            scheme: Scheme::FastPm(Middle::Geometric),
            times: (0..=steps).map(|i| 0.1 + 0.9 * i as f64 / steps as f64).collect(),
        };
        let bytes = settings.memory::<f32>(true);
        let cosmology = Cosmology::new(Parameters::planck18(), CosmologySettings::default())?;
        let simulation = Simulation::<f32>::new(settings, cosmology, &["omega_m", "sigma8"])?;
        let mut modes = vec![0.0f32; side.pow(3)];
        Stream::new(1, Purpose::Signal, 0).fill_normal(&mut modes);
        let x = simulation.point(&modes);
        let mut run = simulation.run()?;
        let mut delta = vec![0.0f32; simulation.codomain().len()];
        let mut gradient = vec![0.0f32; x.len()];
        let forward = seconds(3, || run.move_to(&x, &mut delta).expect("evolved"));
        let pull = seconds(3, || run.pull(&delta, &mut gradient).expect("a gradient"));
        println!(
            "{side}^3 particles, {cells}^3 cells, {steps} steps, f32, {} threads, {name}: forward {forward:.3} s \
             ({:.1} ms a step, {:.1} times the {:.1} ms of two transforms), value and gradient {:.3} s \
             ({:.2} times forward); about {} MB",
            rayon::current_num_threads(),
            1e3 * forward / steps as f64,
            forward / steps as f64 / transforms,
            1e3 * transforms,
            forward + pull,
            (forward + pull) / forward,
            bytes / 1_000_000,
        );
    }
    Ok(())
}
