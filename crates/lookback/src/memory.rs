//! How much memory does a run need, and is there as much?

use lookback_inference::{Curvature, MapOptions, Number, Optimizer, Target, watched_numbers};
use lookback_nbody::Way;
use lookback_operator::Operator;

use crate::free_memory::available;
use crate::problem::Problem;
use crate::run::BINS;
use crate::runfile::{MethodSection, RunFile};
use crate::{Error, Result};

/// Refuses what does not fit into the memory that is free now, with `advice` on what would.
///
/// # Errors
/// With both numbers.
fn check(section: &'static str, needed: f64, advice: &str) -> Result<()> {
    let Some(free) = available() else { return Ok(()) };
    if needed <= free {
        return Ok(());
    }
    let message =
        format!("needs about {} of memory, but {} are free; {advice}", in_words(needed), in_words(free));
    Err(Error::config(section, message))
}

/// Refuses more rows of single precision, with so many numbers each, than fit.
///
/// # Errors
/// With both numbers.
pub(crate) fn check_numbers(section: &'static str, rows: usize, each: usize, advice: &str) -> Result<()> {
    check(section, 4.0 * rows as f64 * each as f64, advice)
}

/// Refuses a sky whose maps alone do not fit, before any is made.
///
/// # Errors
/// With both numbers.
pub(crate) fn check_sky(pixels: usize) -> Result<()> {
    // Spectra, the prior's amplitudes, data, noise, masks and a record: ten maps at the very least.
    check("sky", 80.0 * pixels as f64, "fewer pixels need less")
}

/// Refuses a simulation that does not fit.
///
/// # Errors
/// With both numbers.
pub fn check_simulation(needed: usize) -> Result<()> {
    check("simulation", needed as f64, "fewer particles or a coarser mesh need less")
}

/// Refuses a run that does not fit `times` side by side.
///
/// # Errors
/// With both numbers.
pub(crate) fn check_run<T: Number>(run: &RunFile, problem: &Problem<T>, times: usize) -> Result<()> {
    let fewer = match &run.method {
        MethodSection::Wiener(_) => "samples",
        MethodSection::Map(_) => "`starts`",
        MethodSection::Mgvi(_) | MethodSection::Geovi(_) => "`pairs`",
        MethodSection::El2o(_) => "`modes` and `starts`",
        MethodSection::Pathfinder(_) => "`paths`",
        MethodSection::Muse(_) => "`simulations`",
        MethodSection::Smc(_) => "`particles`",
        _ => "`chains`",
    };
    check("method", of_runs(run, problem, times), &format!("fewer {fewer}, or fewer threads, need less"))
}

/// Bytes of a run.
pub(crate) fn of_run<T: Number>(run: &RunFile, problem: &Problem<T>) -> f64 {
    of_runs(run, problem, 1)
}

/// Bytes of runs side by side: evaluators (three signal-sized and three data-sized vectors, and the links' own, for each point that they
/// take at once; where the prior is a simulation, that with its derivative for those at work, and as it stands after a look for those
/// at rest), vectors of the method, data and record. A warm start has gone when the method begins.
fn of_runs<T: Number>(run: &RunFile, problem: &Problem<T>, times: usize) -> f64 {
    let size = size_of::<T>() as f64;
    let between: usize =
        problem.links.iter().map(|link| 2 * link.codomain().len() + link.domain().len()).sum();
    let latents = problem.posterior.dim();
    let evaluator = size * (between + 3 * latents + 3 * problem.forward.codomain().len()) as f64;
    let simulation = |ways: &[Way]| {
        let cone = problem.prior.universe.as_ref().map(|universe| &universe.cone);
        cone.map_or(0.0, |cone| Way::most(ways, |way| cone.memory(way)) as f64)
    };
    let (threads, times) = (rayon::current_num_threads() as f64, times as f64);
    let bytes = |method: &MethodSection| {
        let load = Load::of(method, (latents, problem.posterior.crowd()), size);
        let ways = match run.precondition.is_some() || takes_tangents(method) {
            true => &Way::DERIVATIVES[..],
            false => &[Way::Reverse],
        };
        // Runs side by side share the threads.
        let at_work = (times * load.pieces).clamp(1.0, threads);
        at_work * (simulation(ways) + load.points * evaluator + load.working * size * latents as f64)
            + times * load.resting * (simulation(&[Way::Ready]) + evaluator)
            + times * load.kept * size * latents as f64
    };
    let methods = [Some(&run.method), run.warm_start.as_ref()];
    let largest = methods.into_iter().flatten().map(bytes).fold(0.0, f64::max);
    // Of each sample a spectrum and traces are kept.
    let samples = crate::explain::sample_count(&run.method) as f64 * (4 * BINS + 8 * 30) as f64;
    let record = samples + (8 * problem.grid.len() * (6 + 2 * problem.observation.maps.len())) as f64;
    let directions = run.precondition.as_ref().map_or(0, |options| 2 * options.rank.min(latents));
    largest + times * (record + directions as f64 * size * latents as f64)
}

/// Whether a method asks for products with the Fisher metric, and so for tangents beside gradients.
fn takes_tangents(method: &MethodSection) -> bool {
    match method {
        MethodSection::Map(MapOptions { optimizer, samples, probes, curvature, .. }) => {
            let metric = (*samples > 0 || *probes > 0) && *curvature != Some(Curvature::Hessian);
            *optimizer == Optimizer::NewtonCg || metric
        }
        MethodSection::El2o(options) => options.optimizer == Optimizer::NewtonCg,
        MethodSection::Pathfinder(_) | MethodSection::Thermodynamic(_) | MethodSection::Smc(_) => false,
        method => !method.is_sampler(),
    }
}

/// What a method asks for; vectors are as long as the latents.
struct Load {
    /// Pieces of work that could go on at once.
    pieces: f64,
    /// Points of an evaluator at work.
    points: f64,
    /// Evaluators that keep their points meanwhile.
    resting: f64,
    /// Vectors that are there all the time.
    kept: f64,
    /// Vectors of each piece at work.
    working: f64,
}

impl Load {
    fn of(method: &MethodSection, (latents, crowd): (usize, usize), size: f64) -> Load {
        let load = |pieces: usize, kept: f64, working: f64| Load {
            pieces: pieces.max(1) as f64,
            points: 1.0,
            resting: 0.0,
            kept,
            working,
        };
        const ALL: usize = usize::MAX;
        // Where many points are taken at once, there is room for one beside them.
        let points = if crowd > 1 { crowd + 1 } else { 1 } as f64;
        // A particle is a place with its slope; one that moves has left both behind, and has place and momentum in double precision.
        let moving = 8.0 + 16.0 / size;
        match method {
            MethodSection::Wiener(o) => load(o.samples, 1.0, 6.0),
            MethodSection::Map(o) => {
                // Samples, the evidence and all second derivatives are found piece by piece.
                let more = o.samples > 0 || o.probes > 0 || o.curvature.is_some();
                load(if more { ALL } else { o.starts }, 30.0 * o.starts as f64, 6.0)
            }
            MethodSection::Mgvi(o) | MethodSection::Geovi(o) => {
                let pairs = o.pairs as f64;
                Load { resting: 2.0 * pairs, ..load(2 * o.final_pairs.max(o.pairs), 6.0 * pairs + 8.0, 0.0) }
            }
            MethodSection::Hmc(o) | MethodSection::Mala(o) | MethodSection::Mams(o) => {
                load(o.chains, 4.0 * o.chains as f64, 4.0)
            }
            MethodSection::Nuts(o) => {
                // A thread that waits for another may begin the next chain meanwhile, and what trajectories took stays for the next.
                let origins = if o.halve_above.is_some() { 3.0 } else { 0.0 };
                let trajectory = 5.0 * o.max_depth.min(20) as f64 + 8.0 + origins;
                load(o.chains, (14.0 + trajectory) * o.chains as f64, 0.0)
            }
            MethodSection::Mclmc(o) => {
                let watched = watched_numbers(latents) as f64 * 8.0 / (size * latents as f64);
                load(o.chains, (14.0 + watched) * o.chains as f64, 1.0)
            }
            MethodSection::El2o(o) => {
                // Two full roots of a covariance for each mode, and one that is being made.
                let roots = 2.0 * latents as f64 * 8.0 / size * (o.modes.min(o.starts) as f64 + 1.0);
                let working = crowd as f64 * (2.0 * o.candidates as f64 + moving);
                Load { points, ..load(ALL, 30.0 * o.starts as f64 + roots, working) }
            }
            MethodSection::Pathfinder(o) => load(ALL, 50.0 * o.paths as f64, 30.0),
            MethodSection::Thermodynamic(o) => load(ALL, 15.0 * o.chains as f64, 90.0),
            // The particles, the next ones, the half that has moved, offsets in double precision twice, and the root of a covariance
            // of up to 500 latents.
            MethodSection::Smc(o) => {
                let kept = (5.0 + 32.0 / size) * o.particles as f64 + 1000.0;
                Load { points, ..load(ALL, kept, crowd as f64 * moving) }
            }
            // That of the data stays; those of simulations come and go.
            MethodSection::Muse(o) => Load { resting: 1.0, ..load(ALL, o.simulations as f64 + 1.0, 30.0) },
        }
    }
}

/// A number of bytes for a reader.
pub(crate) fn in_words(bytes: f64) -> String {
    if bytes < 1e6 {
        format!("{:.0} kB", bytes / 1e3)
    } else if bytes < 1e9 {
        format!("{:.0} MB", bytes / 1e6)
    } else {
        format!("{:.1} GB", bytes / 1e9)
    }
}
