//! What a run would do, in plain words, without doing it.

use lookback_inference::{Number, Target};
use lookback_operator::Operator;

use crate::Result;
use crate::problem::Problem;
use crate::runfile::{MethodSection, Precision, RunFile};

/// The chain from latents to data: a name and what comes out, link by link.
pub(crate) fn chain<T: Number>(problem: &Problem<T>) -> Vec<[String; 2]> {
    let prior = &problem.prior.operator;
    let mut rows = vec![["latents, standard normal".to_string(), prior.domain().to_string()]];
    rows.push([prior.name(), prior.codomain().to_string()]);
    rows.extend(problem.links.iter().map(|link| [link.name(), link.codomain().to_string()]));
    let likelihood = problem.posterior.likelihood();
    rows.push([format!("{} likelihood", likelihood.name()), format!("{} data", likelihood.data_count())]);
    rows
}

/// Reads the data, builds the operators, and says what `lookback run` would do.
///
/// # Errors
/// Whatever would be wrong with the run.
pub fn explain(run: &RunFile) -> Result<String> {
    match run.precision {
        Precision::F32 => explain_in::<f32>(run),
        Precision::F64 => explain_in::<f64>(run),
    }
}

fn explain_in<T: Number>(run: &RunFile) -> Result<String> {
    let problem = Problem::<T>::build(&run.absolute()?)?;
    crate::run::prepare(run, &problem)?;
    let mut text = String::new();
    let mut line = |words: String| {
        text += &words;
        text.push('\n');
    };
    line(format!("{}\n", if run.title.is_empty() { "(no title)" } else { &run.title }));
    line(format!(
        "sky         {} x {} pixels of {} arcmin, {} of them seen",
        problem.grid.shape()[0],
        problem.grid.shape()[1],
        run.sky.pixel_arcmin,
        problem.observation.seen_count()
    ));
    for (i, [name, space]) in chain(&problem).iter().enumerate() {
        line(format!("{:<11} {name}: {space}", if i == 0 { "chain" } else { "" }));
    }
    let quadratic = problem.posterior.is_quadratic();
    line(format!(
        "posterior   {}",
        if quadratic { "Gaussian: the model is linear and the noise Gaussian" } else { "not Gaussian" }
    ));
    line(format!("method      {}", plan(&run.method)));
    if let Some(start) = &run.warm_start {
        line(format!("            started by {}", plan(start)));
    }
    if let Some(options) = &run.precondition {
        let words = "in coordinates in which the posterior around its maximum is round";
        line(format!("            {words}: {} directions", options.rank.min(problem.posterior.dim())));
    }
    line(format!("precision   {}, {} threads", T::NAME, rayon::current_num_threads()));
    line(format!("memory      about {}", bytes(memory(run, &problem))));
    if run.output.samples {
        let disk = 4 * problem.grid.len() * sample_count(&run.method) * 2;
        line(format!("disk        up to {} for samples", bytes(disk)));
    }
    line(format!("output      {}", run.output.directory.as_deref().unwrap_or("runs/run")));
    for input in &problem.inputs {
        line(format!("input       {} ({})", input.path, &input.sha256[..12]));
    }
    for note in &problem.notes {
        line(format!("note        {note}"));
    }
    Ok(text)
}

fn plan(method: &MethodSection) -> String {
    match method {
        MethodSection::Wiener(o) => {
            format!("wiener: the exact mean and {} exact samples, one linear solve each", o.samples)
        }
        MethodSection::Map(o) => {
            let starts = if o.starts > 1 { format!(" from {} starts", o.starts) } else { String::new() };
            format!("map: the maximum by {:?}{starts}, and {} Laplace samples", o.optimizer, o.samples)
        }
        MethodSection::Mgvi(o) | MethodSection::Geovi(o) => format!(
            "{}: {} rounds of {} pairs, then {} pairs of samples",
            method.name(),
            o.iterations,
            o.pairs,
            o.final_pairs
        ),
        MethodSection::Hmc(o) | MethodSection::Mala(o) | MethodSection::Mams(o) => {
            format!("{}: {} chains of {} + {} trajectories", method.name(), o.chains, o.warmup, o.draws)
        }
        MethodSection::Nuts(o) => {
            format!("nuts: {} chains of {} + {} trajectories", o.chains, o.warmup, o.draws)
        }
        MethodSection::Mclmc(o) => {
            format!("mclmc: {} chains of {} + {} steps", o.chains, o.warmup, o.draws)
        }
        MethodSection::El2o(o) => format!(
            "el2o: modes from {} starts, a Gaussian on each by at most {} rounds of {} points; {} samples",
            o.starts,
            o.rounds,
            2 * o.pairs,
            o.samples
        ),
        MethodSection::Pathfinder(o) => {
            format!("pathfinder: the best Gaussians along {} paths; {} samples", o.paths, o.samples)
        }
        MethodSection::Thermodynamic(o) => format!(
            "thermodynamic: a ladder of temperatures, {} chains of {} + {} trajectories at each",
            o.chains, o.warmup, o.draws
        ),
        MethodSection::Smc(o) => {
            format!(
                "smc: {} particles on a ladder of temperatures, {} trajectories at each",
                o.particles, o.moves
            )
        }
        MethodSection::Muse(o) => format!(
            "muse: the posterior of {}, from maxima of the data and of {} simulations; {} samples",
            if o.parameters.is_empty() { "all parameters".into() } else { o.parameters.join(", ") },
            o.simulations,
            o.samples
        ),
    }
}

pub(crate) fn sample_count(method: &MethodSection) -> usize {
    match method {
        MethodSection::Wiener(o) => o.samples,
        MethodSection::Map(o) => o.samples,
        MethodSection::Mgvi(o) | MethodSection::Geovi(o) => 2 * o.final_pairs,
        MethodSection::Hmc(o) | MethodSection::Mala(o) | MethodSection::Mams(o) => {
            o.chains * (o.draws / o.thin.max(1))
        }
        MethodSection::Nuts(o) => o.chains * (o.draws / o.thin.max(1)),
        MethodSection::Mclmc(o) => o.chains * (o.draws / o.thin.max(1)),
        MethodSection::El2o(o) => o.samples,
        MethodSection::Pathfinder(o) => o.samples,
        MethodSection::Muse(o) => o.samples,
        MethodSection::Thermodynamic(o) => o.chains * o.draws,
        MethodSection::Smc(o) => o.particles,
    }
}

/// Evaluators (three signal-sized and three data-sized vectors each, plus the links' own), vectors of the method, data
/// and record.
fn memory<T: Number>(run: &RunFile, problem: &Problem<T>) -> usize {
    let size = size_of::<T>();
    let between: usize =
        problem.links.iter().map(|link| 2 * link.codomain().len() + link.domain().len()).sum();
    let latents = problem.posterior.dim();
    let evaluator = size * (between + 3 * latents + 3 * problem.forward.codomain().len());
    let threads = rayon::current_num_threads();
    let (evaluators, vectors) = match &run.method {
        MethodSection::Wiener(_) => (threads, 1 + 6 * threads),
        MethodSection::Map(o) => (threads, 30 * o.starts + 6 * threads),
        MethodSection::Mgvi(o) | MethodSection::Geovi(o) => (2 * o.pairs + 2 * threads, 6 * o.pairs + 8),
        MethodSection::Hmc(o) | MethodSection::Mala(o) | MethodSection::Mams(o) => {
            (threads, 4 * o.chains + 4 * threads)
        }
        MethodSection::Nuts(o) => (threads, 14 * o.chains + 9 * o.max_depth * threads),
        MethodSection::Mclmc(o) => (threads, 14 * o.chains + 2 * threads),
        // Two full roots of a covariance for each mode, and one that is being made.
        MethodSection::El2o(o) => {
            (threads, 30 * o.starts + 2 * latents * 8 / size * (o.modes.min(o.starts) + 1))
        }
        MethodSection::Pathfinder(o) => (threads, 50 * o.paths + 30 * threads),
        MethodSection::Thermodynamic(o) => (threads, 15 * o.chains + 90 * threads),
        // The crowd, the next one, its offsets in double precision twice, and the root of a covariance of up to 500 latents.
        MethodSection::Smc(o) => (threads, (2 + 32 / size) * o.particles + 1000 + 6 * threads),
        MethodSection::Muse(o) => (2 * threads, o.simulations + 1 + 30 * threads),
    };
    let record = 8 * problem.grid.len() * (4 + 2 * problem.observation.maps.len()) + 16 * problem.grid.len();
    let directions = run.precondition.as_ref().map_or(0, |options| 2 * options.rank.min(latents));
    evaluators * evaluator + (vectors + directions) * size * latents + record
}

fn bytes(n: usize) -> String {
    let n = n as f64;
    if n < 1e6 {
        format!("{:.0} kB", n / 1e3)
    } else if n < 1e9 {
        format!("{:.0} MB", n / 1e6)
    } else {
        format!("{:.1} GB", n / 1e9)
    }
}
