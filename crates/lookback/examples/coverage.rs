//! Are the error bars right? Repeats a run with truths drawn from its own prior, and counts how often they lie inside.
//!
//!     cargo run --release -p lookback --example coverage -- examples/kappa_mock.toml 100

use std::path::Path;
use std::sync::atomic::AtomicBool;

use lookback::run::{Options, Silent, start};
use lookback::runfile::{DataSection, MethodSection, RunFile};

/// Samples a draw: enough for a 95 % interval, few enough for many draws.
const SAMPLES: usize = 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or("examples/mock_survey.toml".into());
    let draws: u64 = arguments.next().unwrap_or("100".into()).parse()?;
    let mut run = RunFile::load(Path::new(&file))?;
    if let DataSection::Mock { truth, .. } = &mut run.data {
        *truth = None;
    } else {
        return Err("needs a run file whose data are a mock".into());
    }
    match &mut run.method {
        MethodSection::Wiener(options) => options.samples = SAMPLES,
        MethodSection::Map(options) => options.samples = SAMPLES,
        MethodSection::Mgvi(options) | MethodSection::Geovi(options) => options.final_pairs = SAMPLES / 2,
        MethodSection::Muse(options) => options.samples = SAMPLES,
        _ => {}
    }
    run.output.samples = false;
    let folder = std::env::temp_dir().join(format!("lookback-coverage-{}", std::process::id()));
    run.output.directory = Some(folder.to_string_lossy().into_owned());
    let stop = AtomicBool::new(false);
    let mut shares: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for draw in 0..draws {
        run.seed = 1000 + draw;
        let outcome = start(&run, &Options { overwrite: true, stop: &stop }, &mut Silent)?;
        for (shares, name) in shares.iter_mut().zip(["coverage_68", "coverage_95"]) {
            shares.push(outcome.summary.get(name).ok_or("the run has no coverage")?);
        }
    }
    std::fs::remove_dir_all(&folder)?;
    println!("{file}: {draws} truths from the prior, {SAMPLES} samples each");
    for (shares, level) in shares.iter().zip([68, 95]) {
        let n = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / n;
        let scatter = (shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        println!(
            "{level} % interval holds {:.2} % of seen pixels (scatter between draws {:.2} %)",
            100.0 * mean,
            100.0 * scatter
        );
    }
    Ok(())
}
