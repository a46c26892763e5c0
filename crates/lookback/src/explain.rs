//! What a run would do, in plain words, without doing it.

use lookback_inference::{Number, Target};
use lookback_operator::Operator;

use crate::Result;
use crate::memory::{in_words, of_run};
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
    line(format!("memory      about {}", in_words(of_run(run, &problem))));
    if run.output.samples {
        let disk = 4 * problem.grid.len() * sample_count(&run.method) * 2;
        line(format!("disk        up to {} for samples", in_words(disk as f64)));
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
