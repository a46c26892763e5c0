//! Long waves in a simulation grow as perturbation theory says, whatever mesh, window and kernels its forces come from.

use lookback_cosmology::{Cosmology, Parameters, Settings as CosmologySettings};
use lookback_mesh::{Grid, RealFft, Window};
use lookback_nbody::{GradientKernel, Kernels, Lpt, Middle, Schedule, Scheme, Settings, Simulation};
use lookback_operator::random::{Purpose, Stream};

const SIDE: usize = 16;

/// Largest wave number of the modes, in fundamental ones.
const LONG: i32 = 2;

/// Whether the mode at a place of the mesh is long.
fn is_long(place: [usize; 3]) -> bool {
    place.iter().all(|&i| Grid::signed(i, SIDE).abs() <= LONG)
}

/// Long waves of the displacement after steps to `times`; of perturbation theory at their beginning without `steps`.
fn long_waves(cells: usize, kernels: Kernels, window: Window, times: Vec<f64>, steps: bool) -> Vec<f64> {
    let settings = Settings {
        particles: SIDE,
        length: 8.0 * SIDE as f64,
        cells,
        window,
        kernels,
        start_kernels: Kernels::default(),
        lpt: Lpt::Second,
        sharpening: None,
        keep_potentials: false,
        checkpoints: 0,
        scheme: Scheme::FastPm(Middle::Geometric),
        times,
    };
    let grid = Grid::new(&[SIDE; 3], &[settings.length; 3]).expect("a grid");
    let cosmology =
        Cosmology::new(Parameters::planck18(), CosmologySettings::default()).expect("a cosmology");
    let simulation = Simulation::<f64>::new(settings, cosmology, &[]).expect("a simulation");
    let settings = simulation.settings();
    let mut schedule = Schedule::new(simulation.cosmology(), settings.scheme, settings.lpt, &settings.times)
        .expect("a schedule");
    if !steps {
        schedule.moves.clear();
    }
    let mut run = simulation.run().expect("a run");
    // Modes have the places of the Hartley transform: `n` and `-n` on both sides.
    let mut white = vec![0.0; grid.len()];
    Stream::new(3, Purpose::Signal, 0).fill_normal(&mut white);
    for (i, white) in white.iter_mut().enumerate() {
        if !is_long([i / SIDE / SIDE, i / SIDE % SIDE, i % SIDE]) {
            *white = 0.0;
        }
    }
    run.evolve_with(&white, schedule);
    let displacement = run.state().displacement.to_vec();
    let fft = RealFft::<f64>::new(&grid);
    let mut long = Vec::new();
    for component in displacement.chunks(grid.len()) {
        let mut spectrum = fft.make_spectrum();
        fft.forward(component, &mut spectrum);
        let half = grid.half_columns();
        let kept = spectrum.iter().enumerate();
        let kept = kept.filter(|(i, _)| is_long([i / half / SIDE, i / half % SIDE, i % half]));
        long.extend(kept.flat_map(|(_, mode)| [mode.re, mode.im]));
    }
    long
}

#[test]
fn long_waves_grow_alike_with_every_mesh_window_and_kernel() {
    let expected = long_waves(SIDE, Kernels::default(), Window::Cic, vec![0.3, 1.0], false);
    let norm = expected.iter().map(|x| x * x).sum::<f64>();
    for cells in [SIDE, 3 * SIDE / 2, 2 * SIDE, 3 * SIDE] {
        for (gradient, window, compensate) in [GradientKernel::FourPoint, GradientKernel::Spectral]
            .into_iter()
            .flat_map(|g| [Window::Cic, Window::Tsc].map(|w| (g, w)))
            .flat_map(|(g, w)| [false, true].map(|c| (g, w, c)))
        {
            let kernels = Kernels { gradient, compensate, ..Kernels::default() };
            let times = (0..=20).map(|i| 0.1 + 0.01 * f64::from(i)).collect();
            let found = long_waves(cells, kernels, window, times, true);
            let along = found.iter().zip(&expected).map(|(a, b)| a * b).sum::<f64>() / norm;
            let off = found.iter().zip(&expected).map(|(a, b)| (a - along * b).powi(2)).sum::<f64>() / norm;
            let what =
                format!("{cells} {gradient:?} {window:?} {compensate}: {along:.4}, off {:.4}", off.sqrt());
            println!("{what}");
            // Half a dozen percent are what windows and the images of the lattice do where they are left alone.
            let allowed = if compensate && window == Window::Tsc { 0.025 } else { 0.07 };
            assert!((along - 1.0).abs() < allowed && off.sqrt() < 0.13, "{what}");
        }
    }
}
