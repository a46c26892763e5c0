//! What a simulation needs at its peak, beside what it says before it starts.
//!
//! Each measurement is a process of its own: memory that was given back would hide what is taken after it.

use std::process::Command;

use lookback_cosmology::{Cosmology, Parameters, Settings as CosmologySettings};
use lookback_mesh::Window;
use lookback_nbody::{GradientKernel, Kernels, Lpt, Run, Scheme, Settings, Sharpening, Simulation, Way};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Linearization, Operator};

fn settings() -> Settings {
    Settings {
        particles: 64,
        length: 100.0,
        cells: 64,
        window: Window::Cic,
        kernels: Kernels { gradient: GradientKernel::FourPoint, ..Kernels::default() },
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::BullFrog,
        times: vec![0.1, 0.5, 1.0],
    }
}

fn cases() -> Vec<(&'static str, Settings)> {
    let spectral = Kernels { gradient: GradientKernel::Spectral, ..Kernels::default() };
    let sharpening = Some(Sharpening { alpha: 0.01, mu: -1.0, kl: 0.2, ks: 2.0 });
    vec![
        ("as many cells as particles", settings()),
        ("half more", Settings { cells: 96, ..settings() }),
        ("twice as many", Settings { cells: 128, ..settings() }),
        ("four times as many", Settings { cells: 256, ..settings() }),
        ("wider clouds", Settings { cells: 128, window: Window::Tsc, ..settings() }),
        ("spectral gradients", Settings { kernels: spectral, ..settings() }),
        ("spectral gradients, twice as many", Settings { kernels: spectral, cells: 128, ..settings() }),
        ("potentials kept", Settings { keep_potentials: true, ..settings() }),
        ("potentials kept, twice as many", Settings { keep_potentials: true, cells: 128, ..settings() }),
        (
            "ten times the steps",
            Settings { times: (0..=20).map(|i| 0.1 + 0.045 * f64::from(i)).collect(), ..settings() },
        ),
        ("checkpoints", Settings { checkpoints: 2, ..settings() }),
        ("first order", Settings { lpt: Lpt::First, ..settings() }),
        ("third order", Settings { lpt: Lpt::Third, ..settings() }),
        ("third order, twice as many", Settings { lpt: Lpt::Third, cells: 128, ..settings() }),
        ("sharpened", Settings { sharpening, ..settings() }),
        ("sharpened, twice as many", Settings { sharpening, cells: 128, ..settings() }),
    ]
}

/// A line of what the system knows of this process \[bytes\].
fn status(name: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(1024.0 * line.split_whitespace().nth(1)?.parse::<f64>().ok()?)
}

/// Tells a child which case it measures, and which way of it.
const CASE: &str = "LOOKBACK_TEST_MEMORY_CASE";

const WAYS: [Way; 4] = [Way::Forward, Way::Ready, Way::Reverse, Way::Tangent];

/// What a child does.
fn measure(case: usize, way: Way) {
    let (_, settings) = cases().swap_remove(case);
    let cosmology =
        Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("a cosmology");
    let side = settings.particles;
    let simulation = Simulation::<f32>::new(settings, cosmology, &["sigma8"]).expect("a simulation");
    let mut modes = vec![0.0f32; side.pow(3)];
    Stream::new(4, Purpose::Signal, 0).fill_normal(&mut modes);
    let x = simulation.point(&modes);
    drop(modes);
    // Written to, so that they are there.
    let (mut y, mut dx) = (vec![1.0; simulation.codomain().len()], vec![1.0; x.len()]);
    let (before, code_before) = (status("VmRSS").expect("a figure"), status("RssFile").expect("a figure"));
    if way == Way::Tangent {
        // As a light cone does: somebody looks at every step.
        let mut run = simulation.run().expect("a machine");
        run.expect_derivatives();
        run.evolve(&x, Some(&mut |_, _, _| ())).expect("evolved");
        let parameters = run.parameters_of(&x);
        run.push_state(&x[..side.pow(3)], &parameters, Some(&mut |_, _, _, _, _| ())).expect("a tangent");
    } else {
        let mut run = simulation.run().expect("a machine");
        if way != Way::Forward {
            run.expect_derivatives();
        }
        // As whoever goes from point to point does; where particles are sharpened, somebody looks at every step.
        let sharpened = simulation.settings().sharpening.is_some();
        let pull = |run: &mut Run<'_, f32>, y: &[f32], dx: &mut [f32]| {
            if sharpened {
                run.evolve(&x, Some(&mut |_, _, _| ())).expect("evolved");
                let (x_bar, p_bar) = (run.zeros(), run.zeros());
                run.pull_state(x_bar, p_bar, Some(&mut |_, _, _, _, _| ())).expect("a cotangent");
            } else {
                run.pull(y, dx).expect("a cotangent");
            }
        };
        run.move_to(&x, &mut y).expect("evolved");
        if way != Way::Forward {
            run.move_to(&x, &mut y).expect("evolved");
        }
        if way == Way::Ready {
            pull(&mut run, &y, &mut dx);
            let code = status("RssFile").expect("a figure") - code_before;
            println!("bytes {}", status("VmRSS").expect("a figure") - before - code);
            return;
        }
        if way == Way::Reverse {
            pull(&mut run, &y, &mut dx);
        }
    }
    // Code that is run for the first time comes to memory, too, but is not asked for.
    let code = status("RssFile").expect("a figure") - code_before;
    println!("bytes {}", status("VmHWM").expect("a figure") - before - code);
}

#[test]
fn a_simulation_needs_what_it_says() {
    if let Ok(word) = std::env::var(CASE) {
        let word: usize = word.parse().expect("a number");
        return measure(word / WAYS.len(), WAYS[word % WAYS.len()]);
    }
    if status("VmHWM").is_none() {
        println!("this system does not tell how much memory a process needs");
        return;
    }
    let mut wrong = Vec::new();
    for (case, (name, settings)) in cases().into_iter().enumerate() {
        let share = [0, 1, 2, 3].map(|way| {
            let output = Command::new(std::env::current_exe().expect("this file"))
                .args(["--exact", "a_simulation_needs_what_it_says", "--nocapture"])
                .env(CASE, (WAYS.len() * case + way).to_string())
                .env("RAYON_NUM_THREADS", "2")
                // Every array is given back when it is dropped.
                .env("MALLOC_MMAP_THRESHOLD_", "65536")
                .output()
                .expect("a process");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line =
                text.lines().find_map(|line| line.strip_prefix("bytes ")).unwrap_or_else(|| panic!("{text}"));
            let found: f64 = line.parse().expect("a number");
            found / settings.memory::<f32>(WAYS[way]) as f64
        });
        println!(
            "{name}: of what it says, forward {:.3}, ready {:.3}, in reverse {:.3}, along a tangent {:.3}",
            share[0], share[1], share[2], share[3]
        );
        // Rounded up, but not by much; threads and tables take a little that does not grow with the simulation.
        if share.iter().any(|share| !(*share < 1.03)) || share.iter().any(|share| *share < 0.9) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
