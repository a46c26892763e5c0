//! What each subcommand does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lookback::Result;
use lookback::calibrate::{self, CalibrateOptions};
use lookback::compare::{self, Measured};
use lookback::datasets::{self, State};
use lookback::files::{self, link};
use lookback::learn::{self, DeviceKind, Recipe};
use lookback::run::{self, Options, Outcome};
use lookback::runfile::RunFile;
use lookback::sharpen::{self, SharpenOptions};
use lookback::simulate::SimulateFile;

use crate::model;
use crate::progress::Bar;
use crate::{Arguments, Command, Place};

const MOCK_SURVEY: &str = include_str!("../../../examples/mock_survey.toml");
const COSMOS: &str = include_str!("../../../examples/cosmos.toml");

pub(crate) fn execute(arguments: Arguments) -> Result<()> {
    lookback::use_threads(arguments.threads.map_or(0, usize::from));
    let stop = Arc::new(AtomicBool::new(false));
    let quiet = arguments.quiet;
    match arguments.command {
        Command::Demo(place) => demo(&place, &stop, quiet),
        Command::Run { file, place } => start(RunFile::load(&file)?, &place, &stop, quiet),
        Command::Simulate { file, realisations, place } => simulate(&file, realisations, &place, quiet),
        Command::Sharpen { file, snapshots, from, k_min, k_max, output } => {
            let directory = output.unwrap_or_else(|| sharpen::default_directory(&file));
            fit_sharpening(&file, &SharpenOptions { snapshots, from, k_min, k_max, directory }, quiet)
        }
        Command::Train { file, place, device } => train(&file, &place, device, &stop, quiet),
        Command::Model(command) => {
            stop_on_ctrl_c(&stop);
            model::execute(command, &stop, quiet)
        }
        Command::Check { file } => {
            let run = RunFile::load(&file)?;
            let waiting = Bar::waiting(quiet, "reading the data and building the model");
            let explained = lookback::explain(&run);
            waiting.finish();
            say!("{}{} can be run.", explained?, file.display());
            Ok(())
        }
        Command::Resume { directory } => {
            let outcome = with_bar(&stop, quiet, |options, bar| run::resume(&directory, options, bar))?;
            conclude(&outcome, quiet);
            Ok(())
        }
        Command::Report { directory } => {
            conclude(&run::redraw(&directory)?, quiet);
            Ok(())
        }
        Command::Calibrate { file, data_sets, place } => calibrate(&file, data_sets, &place, &stop, quiet),
        Command::Compare { directories, page } => compare(&directories, page.as_deref()),
        Command::Data { files } => {
            list_data(files);
            Ok(())
        }
        Command::Cite { file } => {
            say!("{}", lookback::report::citations::bibtex(&RunFile::load(&file)?).trim_end());
            Ok(())
        }
    }
}

fn compare(directories: &[PathBuf], page: Option<&Path>) -> Result<()> {
    let mut candidates = compare::compare(directories)?;
    if page.is_none() {
        candidates = compare::judged(candidates)?;
    }
    let with_error = |measured: Option<Measured>| match measured {
        Some(Measured { value, error }) if error.is_finite() => format!("{value:.1} +- {error:.1}"),
        Some(Measured { value, .. }) => format!("{value:.1}"),
        None => "-".into(),
    };
    let plain = |x: Option<f64>, digits: usize| x.map_or("-".into(), |x| format!("{x:.digits$}"));
    let width = candidates.iter().map(|one| one.folder.display().to_string().len()).max().unwrap_or(0).max(6);
    say!(
        "{:<width$}  {:<14} {:>7} {:>20} {:>6} {:>20} {:>16} {:>8}",
        "folder",
        "method",
        "chi2/n",
        "ln evidence",
        "p",
        "elpd",
        "below best",
        "p_loo"
    );
    for one in &candidates {
        say!(
            "{:<width$}  {:<14} {:>7} {:>20} {:>6} {:>20} {:>16} {:>8}",
            one.folder.display().to_string(),
            one.method,
            plain(one.reduced_chi2, 3),
            with_error(one.log_evidence),
            plain(one.probability, 3),
            with_error(one.elpd),
            with_error(one.elpd_below),
            plain(one.effective_parameters, 1),
        );
    }
    say!();
    compare::verdicts(&candidates).iter().for_each(|line| say!("{line}"));
    if let Some(path) = page {
        let page = compare::page(&candidates)?;
        files::write_whole(path, |out| out.write_all(page.as_bytes()))?;
    }
    Ok(())
}

fn stop_on_ctrl_c(stop: &Arc<AtomicBool>) {
    let flag = stop.clone();
    // Without a handler Ctrl-C ends the process as usual, and the last checkpoint is what stays.
    if let Err(error) = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)) {
        eprintln!("note: Ctrl-C will not write a checkpoint: {error}");
    }
}

/// Runs with a progress bar; Ctrl-C asks the run to stop.
fn with_bar(
    stop: &Arc<AtomicBool>,
    quiet: bool,
    work: impl FnOnce(&Options<'_>, &mut Bar) -> Result<Outcome>,
) -> Result<Outcome> {
    stop_on_ctrl_c(stop);
    let mut bar = Bar::new(quiet);
    let outcome = work(&Options { overwrite: false, stop: stop.as_ref() }, &mut bar);
    bar.finish();
    outcome
}

fn start(mut run: RunFile, place: &Place, stop: &Arc<AtomicBool>, quiet: bool) -> Result<()> {
    if let Some(output) = &place.output {
        run.output.directory = Some(output.to_string_lossy().into_owned());
    }
    let outcome = with_bar(stop, quiet, |options, bar| {
        run::start(&run, &Options { overwrite: place.overwrite, stop: options.stop }, bar)
    })?;
    conclude(&outcome, quiet);
    Ok(())
}

fn calibrate(
    file: &Path,
    data_sets: usize,
    place: &Place,
    stop: &Arc<AtomicBool>,
    quiet: bool,
) -> Result<()> {
    let run = RunFile::load(file)?;
    let directory = place.output.clone().unwrap_or_else(|| calibrate::default_directory(&run));
    let options = CalibrateOptions { data_sets, directory, overwrite: place.overwrite };
    stop_on_ctrl_c(stop);
    let mut bar = Bar::new(quiet);
    let calibrated = calibrate::calibrate(&run, &options, stop, &mut bar);
    bar.finish();
    let calibrated = calibrated?;
    if !quiet {
        say!("{:<40}{:>9}  {:>5}  {:>5}  verdict", "quantity", "p", "68 %", "95 %");
        for q in &calibrated.quantities {
            let [narrow, wide] = q.coverage.map(|share| 100.0 * share);
            say!("{:<40}{:>9.4}  {narrow:>5.1}  {wide:>5.1}  {}", q.name, q.p_value, q.verdict);
        }
        let all = if calibrated.is_uniform() { "uniform" } else { "NOT uniform" };
        say!("\n{} data sets: the ranks are {all} within what chance allows", calibrated.data_sets);
        for why in &calibrated.failed {
            say!("not found  {why}");
        }
        say!("results    {}", calibrated.directory.display());
        say!("report     {}", link(&calibrated.report()));
    }
    Ok(())
}

fn train(
    file: &Path,
    place: &Place,
    device: Option<DeviceKind>,
    stop: &Arc<AtomicBool>,
    quiet: bool,
) -> Result<()> {
    let mut recipe = Recipe::load(file)?;
    if let Some(device) = device {
        recipe.train_on(device)?;
    }
    if let Some(output) = &place.output {
        *recipe.output() = Some(output.to_string_lossy().into_owned());
    }
    stop_on_ctrl_c(stop);
    let mut bar = Bar::new(quiet);
    let trained = learn::train(&recipe, place.overwrite, stop, &mut bar);
    bar.finish();
    let trained = trained?;
    if !quiet {
        for (name, value) in trained.model.scores() {
            say!("{name:<44}{value:.5e}");
        }
        say!("{:<44}{:.1}", "seconds", trained.seconds);
        say!("\nmodel   {}", trained.directory.join("model.safetensors").display());
        say!("report  {}", link(&trained.report()));
    }
    Ok(())
}

fn simulate(file: &Path, realisations: Option<u32>, place: &Place, quiet: bool) -> Result<()> {
    let mut file = SimulateFile::load(file)?;
    file.realisations = realisations.unwrap_or(file.realisations);
    if let Some(output) = &place.output {
        file.output.directory = Some(output.to_string_lossy().into_owned());
    }
    let mut bar = Bar::new(quiet);
    let stop = Arc::new(AtomicBool::new(false));
    let pressed = stop.clone();
    // A universe takes long: the second time ends the process at once. Those that are finished stay.
    let handler = move || {
        if pressed.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!(
            "\nstops after this universe; Ctrl-C once more stops at once (finished ones stay, and the same command goes on)"
        );
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("note: Ctrl-C ends this at once: {error}");
    }
    let outcome = lookback::simulate::simulate(&file, place.overwrite, &stop, &mut bar);
    bar.finish();
    let outcome = outcome?;
    if !quiet {
        let (before, all) = outcome.realisations;
        say!("{:<36}{all}", "universes");
        if before > 0 {
            say!("{:<36}{before}", "... that were there already");
        }
        say!("{:<36}{:.2}", "seconds", outcome.seconds);
        outcome.notes.iter().for_each(|note| say!("\nnote: {note}"));
        say!("\nresults  {}", outcome.directory.display());
        say!("report   {}", link(&outcome.report()));
    }
    Ok(())
}

fn fit_sharpening(file: &Path, options: &SharpenOptions, quiet: bool) -> Result<()> {
    let file = SimulateFile::load(file)?;
    let mut bar = Bar::new(quiet);
    let fitted = sharpen::sharpen(&file, options, &AtomicBool::new(false), &mut bar);
    bar.finish();
    let fitted = fitted?;
    say!("{}", sharpen::section(&fitted.sharpening).trim_end());
    if !quiet {
        let (before, after) = fitted.off;
        say!("\nP(k) off theory, rms over bins    {before:.3} before, {after:.3} after");
        say!("results  {}", fitted.directory.display());
        say!("picture  {}", link(&fitted.directory.join("power.svg")));
    }
    Ok(())
}

fn demo(place: &Place, stop: &Arc<AtomicBool>, quiet: bool) -> Result<()> {
    let cosmos = datasets::DataSet::named("cosmos").zip(datasets::DataSet::named("ktng"));
    let here = datasets::folder().filter(|folder| {
        cosmos.is_some_and(|(cosmos, ktng)| cosmos.is_complete(folder) && ktng.is_complete(folder))
    });
    let (name, text) =
        if here.is_some() { ("demo_cosmos", COSMOS) } else { ("demo_mock_survey", MOCK_SURVEY) };
    if !quiet {
        match &here {
            Some(folder) => say!("The COSMOS survey, from {}.", folder.display()),
            None => match std::env::var(datasets::VARIABLE) {
                Ok(place) => {
                    say!("A mock survey: {place} holds no complete COSMOS survey (`lookback data`).")
                }
                Err(_) => {
                    say!(
                        "A mock survey (no data needed). With {} set, the COSMOS survey.",
                        datasets::VARIABLE
                    )
                }
            },
        }
    }
    let run = RunFile::from_text(text, Path::new("."), name)?;
    // The demo's own folder is made anew each time; one that the user names is the user's.
    let again = Place { output: place.output.clone(), overwrite: place.overwrite || place.output.is_none() };
    start(run, &again, stop, quiet)
}

/// Says where the results are, and the figures that matter.
fn conclude(outcome: &Outcome, quiet: bool) {
    if quiet {
        return;
    }
    let figures = [
        ("seconds to the map", "seconds_to_centre"),
        ("seconds in all", "seconds"),
        ("samples", "samples"),
        ("reduced chi-squared of the samples", "reduced_chi2_samples"),
        ("RMSE", "rmse"),
        ("Pearson r", "pearson_r"),
        ("68 % coverage", "coverage_68"),
        ("95 % coverage", "coverage_95"),
        ("peaks above 3 sigma", "peaks_above_3_sigma"),
        ("... with a known group", "peaks_with_known_group"),
    ];
    for (label, name) in figures {
        if let Some(value) = outcome.summary.get(name) {
            let digits = if value.fract() == 0.0 { 0 } else { 4 };
            say!("{label:<36}{value:.digits$}");
        }
    }
    for verdict in outcome.summary.verdicts() {
        say!("note: {verdict}");
    }
    say!("\nresults  {}", outcome.directory.display());
    say!("report   {}", link(&outcome.report()));
}

fn list_data(files: bool) {
    let folder = datasets::folder();
    match &folder {
        Some(folder) => say!("{} = {}\n", datasets::VARIABLE, folder.display()),
        None => say!(
            "{} is not set (or not a folder). Fetch the files from the sources below into a folder,\nkeeping the paths, and set {0} to it.\n",
            datasets::VARIABLE
        ),
    }
    for set in datasets::ALL {
        let state = match &folder {
            None => "not looked for",
            Some(folder) if set.is_complete(folder) => "complete",
            Some(_) => "incomplete or different: see --files",
        };
        say!("{}: {}", set.name, set.what);
        say!("  source     {}", set.source);
        say!("  licence    {}", set.licence);
        say!("  reference  {}", set.reference);
        say!("  here       {state}");
        for file in set.files.iter().filter(|_| files) {
            let state = folder.as_ref().map_or("", |folder| match file.state(folder) {
                State::Good => "good",
                State::Different => "DIFFERENT",
                State::Missing => "missing",
            });
            say!("    {}  {:<60} {state}", file.sha256, file.path);
        }
        say!();
    }
}
