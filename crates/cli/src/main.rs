//! `lookback`: from a run file to a map with error bars, in the shell.

#[macro_use]
mod say;
mod commands;
mod model;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Bayesian inference of what caused an astronomical observation.
///
/// A run file (TOML) names a prior, a forward model, data with noise, a method and an output. Begin with
/// `lookback demo`, then copy a file from `examples/` and change it; `lookback check` explains what it would do.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Threads to use (all cores if left out). Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Say nothing but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show what Lookback does: reconstruct dark matter, from the COSMOS survey if LOOKBACK_DATA names it, else from a
    /// mock survey.
    Demo(Place),
    /// Carry out a run file.
    ///
    /// Results go to a folder of maps (FITS), samples (numpy, Zarr), `summary.json` and `report.html`. Ctrl-C stops at
    /// once and leaves a checkpoint.
    Run {
        /// The run file.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Simulate universes: matter, light cones and their convergence, spectra beside theory.
    ///
    /// Writes maps (FITS), spectra (CSV), a slab of matter and `report.html`; `[output]` asks for more. Stopped or killed,
    /// the same command goes on with the realisations that are missing.
    Simulate {
        /// The file that describes the universe.
        file: PathBuf,
        /// Universes, instead of those that the file asks for; more can be asked for later.
        #[arg(long, short = 'n', value_name = "N")]
        realisations: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
    /// Fit the sharpening of a simulation: four numbers that give its particles the power of halofit on small scales.
    ///
    /// Prints the section `[simulation.sharpening]` for the simulation's file; a picture and a table of the power before and
    /// after lie in the folder of the results. If the file has a light cone, it is the power that its maps see.
    Sharpen {
        /// The file that describes the universe.
        file: PathBuf,
        /// Most snapshots to compare with theory.
        #[arg(long, default_value_t = 3, value_name = "N")]
        snapshots: usize,
        /// Scale factor of the first of them.
        #[arg(long, default_value_t = 0.5, value_name = "A")]
        from: f64,
        /// Smallest wave number [h/Mpc] (a tenth of what the force mesh holds if left out).
        #[arg(long, value_name = "K")]
        k_min: Option<f64>,
        /// Largest wave number [h/Mpc] (seven tenths of what the force mesh holds if left out).
        #[arg(long, value_name = "K")]
        k_max: Option<f64>,
        /// Folder of the results.
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// Train a learned prior from examples: an autoencoder, what it gets wrong, and the flow of its latents.
    ///
    /// Writes `model.safetensors` with its card, the losses (CSV) and `report.html` into `models/NAME`. Stopped or killed, the same
    /// command goes on; the same seed gives the same weights. `lookback model` uses what it wrote, and so does
    /// `kind = "learned"` among the priors of a run file.
    Train {
        /// The file that describes data, networks and training.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Where networks are trained: `cpu`, or `cuda`, an NVIDIA GPU, if this program was built with the feature `cuda`. Stands above
        /// `device` in the file. Flows other than couplings are trained on the processor all the same.
        #[arg(long, value_name = "DEVICE")]
        device: Option<lookback::learn::DeviceKind>,
    },
    /// Use a trained model: draw from it, interpolate, encode, decode, find anomalies, reconstruct.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Explain what a run file would do, and what is wrong with it, without doing it.
    Check {
        /// The run file.
        file: PathBuf,
    },
    /// Go on with a run that was stopped or killed; the result is that of an unbroken one.
    Resume {
        /// Folder of the run.
        directory: PathBuf,
    },
    /// Draw the report of a finished run again.
    Report {
        /// Folder of the run.
        directory: PathBuf,
    },
    /// Test the posteriors of a run file: are the error bars right?
    ///
    /// Simulates data from the prior of the run, finds their posteriors as the file says, and ranks every truth among the samples
    /// (simulation-based calibration, and TARP for all quantities together). Exact posteriors give uniform ranks. `report.html`
    /// draws the histograms; stopped or killed, the same command goes on.
    Calibrate {
        /// The run file.
        file: PathBuf,
        /// Data sets to simulate.
        #[arg(long, short = 'n', default_value_t = 100, value_name = "N")]
        data_sets: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Compare finished runs of the same data: which model is the better one?
    ///
    /// By evidence, from the methods that give it (`map`, `el2o`, `pathfinder`, `thermodynamic`, `smc`), and by leave-one-out
    /// cross-validation, from runs with `log_likelihood = true` in `[output]`. With `--page` their maps are drawn side by side, too.
    Compare {
        /// Folders of the runs.
        #[arg(required = true)]
        directories: Vec<PathBuf>,
        /// Write a page (HTML) with the maps on the same colours, where they differ, and their spectra.
        #[arg(long, value_name = "FILE", value_parser = model::html)]
        page: Option<PathBuf>,
    },
    /// List the public data sets that the examples use: sources, checksums, and where they are here.
    Data {
        /// List every file with its SHA-256.
        #[arg(long)]
        files: bool,
    },
    /// Print the references of the methods that a run file uses, as BibTeX.
    Cite {
        /// The run file.
        file: PathBuf,
    },
}

#[derive(Args)]
struct Place {
    /// Folder of the results, instead of the one in the run file.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Start again where there are results already.
    #[arg(long)]
    overwrite: bool,
}

fn main() -> ExitCode {
    match commands::execute(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            // As a shell does for a program that Ctrl-C ends.
            ExitCode::from(if matches!(error, lookback::Error::Interrupted { .. }) { 130 } else { 1 })
        }
    }
}
