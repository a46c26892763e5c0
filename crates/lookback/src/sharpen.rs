//! `lookback sharpen`: the numbers of a particle gradient descent that mends the power of a simulation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lookback_cosmology::Halofit;
use lookback_inference::{Draw, Map, MapOptions, Method, Optimizer, Posterior, Progress, Workers};
use lookback_likelihood::Gaussian;
use lookback_mesh::{Grid, white_modes};
use lookback_nbody::{
    SHARPENING_PARAMETERS, Scheme, Settings, SharpenedPower, Sharpening, Simulation, Snapshot, View, Way,
};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Chain, DynOperator, Operator, Stack};
use lookback_prior::Distribution;

use crate::memory::check_simulation;
use crate::report::curves::{COLOURS, Curve, Plot};
use crate::run::Reporter;
use crate::simulate::SimulateFile;
use crate::{Error, Result, VERSION, files};

/// Choices of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct SharpenOptions {
    /// Most snapshots that are compared with theory.
    pub snapshots: usize,
    /// Scale factor of the first of them.
    pub from: f64,
    /// Smallest wave number \[h/Mpc\]; a tenth of what the force mesh holds if left out. On larger scales a box of its own
    /// has more or less power than the mean, which no sharpening should mend.
    pub k_min: Option<f64>,
    /// Largest wave number \[h/Mpc\]; seven tenths of what the force mesh holds if left out.
    pub k_max: Option<f64>,
    /// Folder of the results; `sharpening/NAME` if left out.
    pub directory: PathBuf,
}

/// A finished fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The numbers.
    pub sharpening: Sharpening,
    /// Root mean square of `P / theory - 1` over all bins before and after.
    pub off: (f64, f64),
    /// Folder of the results.
    pub directory: PathBuf,
}

/// Bins of wave number.
const BINS: usize = 12;
/// The file of the section that is found.
const SECTION: &str = "sharpening.toml";

/// Relative error of a bin: as good as halofit is.
const TOLERANCE: f64 = 0.05;

/// Fits the sharpening of a simulation to halofit (Takahashi et al. 2012).
///
/// One universe is simulated; the power of its sharpened particles at several times, shot noise left in, is compared
/// with halofit and shot noise. If the file has a light cone, it is the mean power over the part of the light cone that sees the particles of a
/// step move along straight lines: they are denser in its middle than at its ends. The four numbers are found as the maximum of a
/// posterior with wide priors about what suits the distance between particles.
///
/// # Errors
/// If a section is wrong, memory is short, the disk refuses, or `stop` ends the fit.
pub fn sharpen(
    file: &SimulateFile,
    options: &SharpenOptions,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Fitted> {
    let wrong = |message: String| Error::config("sharpen", message);
    let cosmology = file.cosmology.build()?;
    let settings = Settings { sharpening: None, ..file.simulation.settings(&cosmology)? };
    let spacing = settings.length / settings.particles as f64;
    let nyquist = std::f64::consts::PI * settings.cells as f64 / settings.length;
    let fundamental = std::f64::consts::TAU / settings.length;
    let k_min = options.k_min.unwrap_or((0.1 * nyquist).max(3.0 * fundamental));
    let k_max = options.k_max.unwrap_or(0.7 * nyquist);
    if !(k_min >= 2.0 * fundamental && k_max > 1.5 * k_min && k_max <= nyquist) {
        return Err(wrong(format!(
            "wave numbers must rise from at least {:.3} to at most {nyquist:.3} h/Mpc, what box and mesh hold, by half \
             or more; not from {k_min:.3} to {k_max:.3}",
            2.0 * fundamental
        )));
    }
    if options.snapshots == 0 || !(options.from > 0.0 && options.from < 1.0) {
        return Err(wrong("needs at least one snapshot, from a scale factor between 0 and 1 on".into()));
    }
    let most = options.snapshots.min(settings.times.len());
    let kept = 3 * size_of::<f32>() * settings.particles.pow(3) * (2 * most + 7);
    // The bin of each mode, the mesh and two spectra of the power beside those of the forces.
    check_simulation(settings.memory::<f32>(Way::Forward) + kept + 20 * settings.cells.pow(3))?;
    let ours = options.directory.join(SECTION).exists();
    let _hold = files::take_folder(&options.directory, ours, "a fitted sharpening", &[])?;

    let simulation = Simulation::<f32>::new(settings.clone(), cosmology.clone(), &[])
        .map_err(|error| Error::config("simulation", error.to_string()))?;
    let grid = Grid::new(&[settings.particles; 3], &[settings.length; 3])?;
    let mut modes = vec![0.0f32; grid.len()];
    white_modes(&grid, Stream::new(file.seed, Purpose::Signal, 0), &mut modes);
    let on_light_cone = file.light_cone.is_some();
    let Looks { snapshots, moments } = looks(&simulation, &modes, (options, on_light_cone), reporter)?;
    drop(modes);
    let edges: Vec<f64> = (0..=BINS).map(|i| k_min * (k_max / k_min).powf(i as f64 / BINS as f64)).collect();
    let shot = spacing.powi(3);
    let middle: Vec<f64> = edges.windows(2).map(|e| (0.5 * (e[0].powi(2) + e[1].powi(2))).sqrt()).collect();
    let mut target = Vec::new();
    for moments in &moments {
        let mut sum = vec![0.0; middle.len()];
        for &a in moments {
            let halofit = Halofit::new(&cosmology, a).map_err(|error| wrong(error.to_string()))?;
            let power = |k: f64| halofit.power(k, cosmology.linear_power(k, a));
            sum.iter_mut().zip(&middle).for_each(|(sum, &k)| *sum += power(k));
        }
        target.extend(sum.into_iter().map(|sum| (sum / moments.len() as f64 + shot) as f32));
    }
    let times: Vec<f64> = snapshots.iter().map(|snapshot| snapshot.at).collect();
    let steps = settings.times.len() - 1;
    let power: DynOperator<f32> = Arc::new(SharpenedPower::new(settings, snapshots, edges)?);
    let before =
        power.apply(&Sharpening { alpha: 0.0, mu: 0.0, kl: 1.0, ks: 1.0 }.to_array().map(|x| x as f32))?;

    // Wide, about the numbers that have been found for meshes of other spacings.
    let priors = [
        Distribution::LogNormal { mean: 0.01, std: 0.02 },
        Distribution::Normal { mean: -2.0, std: 1.0 },
        Distribution::LogNormal { mean: 0.8 / spacing, std: 0.8 / spacing },
        Distribution::LogNormal { mean: 6.0 / spacing, std: 5.0 / spacing },
    ];
    let inputs = priors
        .iter()
        .zip(SHARPENING_PARAMETERS)
        .map(|(prior, name)| -> DynOperator<f32> { Arc::new(prior.operator(name, &[], "")) });
    let inputs: DynOperator<f32> = Arc::new(Stack::new(inputs.collect())?);
    let model: DynOperator<f32> = Arc::new(Chain::new(vec![inputs.clone(), power.clone()])?);
    let sigma: Vec<f32> = target.iter().map(|p| TOLERANCE as f32 * p).collect();
    let likelihood = Gaussian::new(power.codomain().clone(), target.clone(), &sigma)?;
    let latent = maximum(&Posterior::new(model, Arc::new(likelihood))?, file.seed, stop, reporter)?;
    let numbers = inputs.apply(&latent)?;
    let after = power.apply(&numbers)?;
    let sharpening = Sharpening::from_array(std::array::from_fn(|i| f64::from(numbers[i])));

    let off = |powers: &[f32]| {
        let sum: f64 = powers.iter().zip(&target).map(|(p, t)| f64::from(p / t - 1.0).powi(2)).sum();
        (sum / target.len() as f64).sqrt()
    };
    let fitted =
        Fitted { sharpening, off: (off(&before), off(&after)), directory: options.directory.clone() };
    write(file, &fitted, (steps, &times), (&middle, &target, &before, &after))?;
    Ok(fitted)
}

/// Scale factors at which the particles of a view are seen: two that stand for the mean over its part of a light cone (Gauss & Legendre), and
/// otherwise one at which a step is done.
fn moments(view: &View<f64>, scheme: Scheme, on_light_cone: bool) -> Vec<f64> {
    let (middle, half) = (0.5 * (view.from + view.to), 0.5 * (view.to - view.from));
    match (on_light_cone, scheme) {
        (true, _) => [-1.0, 1.0].map(|sign| middle + sign * half / 3.0f64.sqrt()).to_vec(),
        (false, Scheme::BullFrog) => vec![view.at],
        (false, Scheme::FastPm(_)) => vec![view.to],
    }
}

/// Particles, and the scale factors at which somebody looks at each of the snapshots.
struct Looks {
    snapshots: Vec<Snapshot<f32>>,
    moments: Vec<Vec<f64>>,
}

/// Simulates, and keeps the particles at which somebody looks.
fn looks(
    simulation: &Simulation<f32>,
    modes: &[f32],
    (options, on_light_cone): (&SharpenOptions, bool),
    reporter: &mut dyn Reporter,
) -> Result<Looks> {
    let mut run = simulation.run()?;
    let views = run.schedule().views.clone();
    let late: Vec<usize> = (0..views.len()).filter(|&i| views[i].at >= options.from).collect();
    if late.is_empty() {
        let message = format!("no step of the simulation lies after the scale factor {}", options.from);
        return Err(Error::config("sharpen", message));
    }
    let count = options.snapshots.min(late.len());
    // Evenly over the late ones, the last included.
    let chosen: Vec<usize> =
        (1..=count).map(|i| late[(i * late.len()).div_ceil(count).min(late.len()) - 1]).collect();
    let scheme = simulation.settings().scheme;
    let moments: Vec<Vec<f64>> =
        chosen.iter().map(|&view| moments(&views[view], scheme, on_light_cone)).collect();
    let mut snapshots = Vec::new();
    run.evolve(
        modes,
        Some(&mut |number, x, p| {
            if let Some(moments) = moments.get(snapshots.len()).filter(|_| chosen.contains(&number)) {
                let view = &views[number];
                let growth = |a: &f64| simulation.cosmology().instant(*a).d1.d;
                snapshots.push(Snapshot {
                    at: view.at,
                    displacement: x.to_vec(),
                    momentum: p.to_vec(),
                    drifts: moments.iter().map(|a| (growth(a) - view.growth) * view.unit).collect(),
                });
            }
            let steps = (number as u64 + 1, views.len() as u64);
            reporter.step(&Progress { steps, message: "simulating".into(), done: false });
        }),
    )?;
    Ok(Looks { snapshots, moments })
}

fn maximum(
    posterior: &Posterior<f32>,
    seed: u64,
    stop: &AtomicBool,
    reporter: &mut dyn Reporter,
) -> Result<Vec<f32>> {
    let options = MapOptions {
        optimizer: Optimizer::NewtonCg,
        // Bins are many and good to a few percent: the posterior is a hundred times narrower than its prior.
        tolerance: 5.0,
        max_iterations: 100,
        start_scale: 0.0,
        ..MapOptions::default()
    };
    let mut map = Map::new(options, seed)?;
    let workers = Workers::new(posterior, stop);
    let mut found = vec![0.0; 4];
    loop {
        let mut keep = |draw: Draw<f32>| {
            if let Draw::Centre { z } = draw {
                found = z;
            }
        };
        let progress = map.advance(&workers, &mut keep)?;
        reporter.step(&progress);
        if progress.done {
            return Ok(found);
        }
    }
}

/// Writes the section, the table and the picture.
fn write(
    file: &SimulateFile,
    fitted: &Fitted,
    (steps, times): (usize, &[f64]),
    (k, target, before, after): (&[f64], &[f32], &[f32], &[f32]),
) -> Result<()> {
    let Sharpening { alpha, mu, kl, ks } = fitted.sharpening;
    let s = &file.simulation;
    let section = format!(
        "# lookback {VERSION}: {} particles a side, {} Mpc/h, mesh factor {}, {steps} steps; seed {}\n{}",
        s.particles,
        s.box_size,
        s.mesh_factor,
        file.seed,
        section(&fitted.sharpening)
    );
    let save = |name: &str, text: &str| {
        files::write_whole(&fitted.directory.join(name), |out| out.write_all(text.as_bytes()))
    };
    save(SECTION, &section)?;
    let mut table = "scale_factor,k_h_per_mpc,theory_mpc_h_3,power_before,power_after\n".to_string();
    let mut curves = Vec::new();
    for (i, at) in times.iter().enumerate() {
        let range = i * k.len()..(i + 1) * k.len();
        let points = |powers: &[f32]| {
            let ratio = powers[range.clone()].iter().zip(&target[range.clone()]);
            k.iter().copied().zip(ratio.map(|(p, t)| f64::from(p / t))).collect()
        };
        let colour = COLOURS[i % COLOURS.len()];
        curves.push(Curve { name: format!("a = {at:.2}"), points: points(after), colour, width: 3 });
        curves.push(Curve { name: String::new(), points: points(before), colour, width: 1 });
        for (j, k) in k.iter().enumerate() {
            let at_bin = range.start + j;
            table += &format!("{at},{k:e},{:e},{:e},{:e}\n", target[at_bin], before[at_bin], after[at_bin]);
        }
    }
    save("power.csv", &table)?;
    let title =
        format!("P / theory, sharpened (thick): alpha {alpha:.4}, mu {mu:.2}, kl {kl:.2}, ks {ks:.2}");
    let plot = Plot {
        title: &title,
        x_name: "k [h/Mpc]",
        y_name: "P / (halofit + shot noise)",
        shades: Vec::new(),
        curves,
        size: (760, 460),
    };
    save("power.svg", &plot.linear()?)
}

/// The section of a file that gives these numbers to a simulation.
pub fn section(sharpening: &Sharpening) -> String {
    let Sharpening { alpha, mu, kl, ks } = *sharpening;
    format!("[simulation.sharpening]\nalpha = {alpha:.6}\nmu = {mu:.5}\nkl = {kl:.5}\nks = {ks:.5}\n")
}

/// Where the results of a file go if nothing else is said.
pub fn default_directory(file: &Path) -> PathBuf {
    let stem = file.file_stem().map_or("simulation".into(), |stem| stem.to_string_lossy().into_owned());
    PathBuf::from("sharpening").join(stem)
}
