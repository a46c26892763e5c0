//! How much memory does a run need, and is there as much?

use lookback_inference::{Number, Target};
use lookback_operator::Operator;

use crate::problem::Problem;
use crate::runfile::{MethodSection, RunFile};
use crate::{Error, Result};

/// Refuses what does not fit into the memory that is free now, with `advice` on what would.
///
/// # Errors
/// With both numbers.
pub fn check(section: &'static str, needed: usize, advice: &str) -> Result<()> {
    let Some(free) = available() else { return Ok(()) };
    if needed <= free {
        return Ok(());
    }
    let message =
        format!("needs about {} of memory, but {} are free; {advice}", in_words(needed), in_words(free));
    Err(Error::config(section, message))
}

/// Refuses a simulation that does not fit.
///
/// # Errors
/// As of [`check`].
pub fn check_simulation(needed: usize) -> Result<()> {
    check("simulation", needed, "fewer particles or a coarser mesh need less")
}

/// Refuses a run that does not fit `times` side by side.
///
/// # Errors
/// As of [`check`].
pub(crate) fn check_run<T: Number>(run: &RunFile, problem: &Problem<T>, times: usize) -> Result<()> {
    check(
        "method",
        times * of_run(run, problem),
        "fewer chains, pairs or starts, or `--threads 1`, need less",
    )
}

/// Bytes that the system could give now, where it tells.
fn available() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Bytes of a run: evaluators (three signal-sized and three data-sized vectors each, and the links' own; where the prior is a
/// simulation, that with its derivative for those at work, and as it stands after a look for those at rest), vectors of the method,
/// data and record.
pub(crate) fn of_run<T: Number>(run: &RunFile, problem: &Problem<T>) -> usize {
    let size = size_of::<T>();
    let between: usize =
        problem.links.iter().map(|link| 2 * link.codomain().len() + link.domain().len()).sum();
    let latents = problem.posterior.dim();
    let evaluator = size * (between + 3 * latents + 3 * problem.forward.codomain().len());
    let threads = rayon::current_num_threads();
    let [at_work, at_rest] = evaluators(&run.method, threads);
    let simulations =
        problem.prior.universe.as_ref().map_or(0, |universe| {
            at_work * universe.cone.memory(true) + at_rest * universe.cone.memory(false)
        });
    let record = 8 * problem.grid.len() * (4 + 2 * problem.observation.maps.len()) + 16 * problem.grid.len();
    let directions = run.precondition.as_ref().map_or(0, |options| 2 * options.rank.min(latents));
    let vectors = vectors(&run.method, threads, latents, size) + directions;
    simulations + (at_work + at_rest) * evaluator + vectors * size * latents + record
}

/// Evaluators that a method has at work at once, and others that keep their points meanwhile.
fn evaluators(method: &MethodSection, threads: usize) -> [usize; 2] {
    let of = |pieces: usize| [pieces.clamp(1, threads), 0];
    match method {
        MethodSection::Wiener(o) => of(o.samples),
        MethodSection::Map(o) => of(o.starts.max(o.samples)),
        MethodSection::Mgvi(o) | MethodSection::Geovi(o) => [threads, 2 * o.pairs],
        MethodSection::Pathfinder(o) => of(o.paths.max(o.samples)),
        MethodSection::El2o(_) | MethodSection::Thermodynamic(_) | MethodSection::Smc(_) => of(threads),
        // One of the data and one of a simulation.
        MethodSection::Muse(_) => [threads, threads],
        MethodSection::Hmc(_)
        | MethodSection::Mala(_)
        | MethodSection::Mams(_)
        | MethodSection::Nuts(_)
        | MethodSection::Mclmc(_) => of(method.chains()),
    }
}

/// Vectors, as long as the latents, that a method has besides its evaluators.
fn vectors(method: &MethodSection, threads: usize, latents: usize, size: usize) -> usize {
    match method {
        MethodSection::Wiener(_) => 1 + 6 * threads,
        MethodSection::Map(o) => 30 * o.starts + 6 * threads,
        MethodSection::Mgvi(o) | MethodSection::Geovi(o) => 6 * o.pairs + 8,
        MethodSection::Hmc(o) | MethodSection::Mala(o) | MethodSection::Mams(o) => 4 * o.chains + 4 * threads,
        MethodSection::Nuts(o) => 14 * o.chains + 9 * o.max_depth * threads,
        MethodSection::Mclmc(o) => 14 * o.chains + threads,
        // Two full roots of a covariance for each mode, and one that is being made.
        MethodSection::El2o(o) => 30 * o.starts + 2 * latents * 8 / size * (o.modes.min(o.starts) + 1),
        MethodSection::Pathfinder(o) => 50 * o.paths + 30 * threads,
        MethodSection::Thermodynamic(o) => 15 * o.chains + 90 * threads,
        // The crowd, the next one, its offsets in double precision twice, and the root of a covariance of up to 500 latents.
        MethodSection::Smc(o) => (2 + 32 / size) * o.particles + 1000 + 6 * threads,
        MethodSection::Muse(o) => o.simulations + 1 + 30 * threads,
    }
}

/// A number of bytes for a reader.
pub(crate) fn in_words(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes < 1e6 {
        format!("{:.0} kB", bytes / 1e3)
    } else if bytes < 1e9 {
        format!("{:.0} MB", bytes / 1e6)
    } else {
        format!("{:.1} GB", bytes / 1e9)
    }
}
