//! The files of a finished run: maps, samples, tables, and where they came from.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use lookback_inference::Number;
use lookback_operator::Operator;
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::rows;
use super::{Folder, Recorder, Summary};
use crate::formats::fits::{self, Card};
use crate::formats::{npy, zarr::Store};
use crate::problem::Problem;
use crate::report::analysis::{Analysis, Significance};
use crate::report::citations;
use crate::runfile::{MethodSection, RunFile};
use crate::{Error, Result, VERSION, files};

/// Writes everything but the report.
pub(crate) fn write<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    checkpoint: &Checkpoint<T>,
    analysis: &Analysis,
    summary: &Summary,
    folder: &Folder,
) -> Result<()> {
    write_maps(run, problem, checkpoint, analysis, folder)?;
    write_tables(&checkpoint.recorder, analysis, folder)?;
    if (run.output.samples || run.output.log_likelihood) && checkpoint.recorder.samples > 0 {
        write_samples(run, problem, checkpoint, folder)?;
    }
    let bibliography = citations::bibtex(run);
    files::write_whole(&folder.file(citations::FILE), |out| out.write_all(bibliography.as_bytes()))?;
    summary.write(&folder.file("summary.json"))
}

/// Cards that say where a map came from.
fn provenance<T: Number>(run: &RunFile, checkpoint: &Checkpoint<T>, what: &str) -> Vec<Card> {
    vec![
        Card::Text("OBJECT", what.into()),
        Card::Text("CREATOR", format!("lookback {VERSION}")),
        Card::Text("METHOD", run.method.name().into()),
        Card::Integer("SEED", run.seed as i64),
        Card::Integer("NSAMPLE", checkpoint.recorder.samples as i64),
        Card::Text("CONFSHA", checkpoint.fingerprint.clone().chars().take(60).collect()),
    ]
}

fn write_maps<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    checkpoint: &Checkpoint<T>,
    analysis: &Analysis,
    folder: &Folder,
) -> Result<()> {
    let recorder = &checkpoint.recorder;
    let save = |name: &str, what: &str, map: &[f64]| {
        let cards = provenance(run, checkpoint, what);
        fits::write_map(&folder.file(&format!("{name}.fits")), &problem.grid, map, problem.wcs, &cards)
    };
    let field = problem.field_name();
    let estimate = recorder.estimate(run.method.finds_exact_mean());
    let what = if recorder.samples == 0 { "maximum a posteriori" } else { "posterior mean" };
    save("mean", &format!("{field}: {what}"), estimate)?;
    if let Some(std) = recorder.std() {
        save("std", &format!("{field}: posterior standard deviation"), &std)?;
    }
    if let Some(Significance { snr, .. }) = &analysis.significance {
        let width = run.report.peak_fwhm_arcmin;
        save("snr", &format!("{field}: signal-to-noise, FWHM {width} arcmin"), snr)?;
    }
    if let (Some(centre), MethodSection::Map(_)) = (&recorder.centre, &run.method) {
        save("map", &format!("{field}: maximum a posteriori"), centre)?;
    }
    if let Some(truth) = problem.true_map() {
        save("truth", &format!("{field}: truth"), truth)?;
    }
    if let (Some(universe), Some(prior)) = (&analysis.universe, &problem.prior.universe) {
        let cone = &prior.cone;
        let n = problem.grid.len();
        for (block, map) in cone.codomain().blocks().iter().zip(recorder.centre_maps.chunks(n)) {
            let map: Vec<f64> = map.iter().map(|&x| f64::from(x)).collect();
            save(&format!("map_{}", block.name), &format!("{}: maximum a posteriori", block.name), &map)?;
        }
        let latents = problem.prior.latent_grid.as_ref().unwrap_or(&problem.grid);
        let (modes, mesh) = (latents, cone.simulation().settings().cells);
        let latents = recorder.centre_latents[..modes.len()].iter().copied();
        npy::write(&folder.file("initial_modes.npy"), modes.shape(), latents)?;
        npy::write(&folder.file("density.npy"), &[mesh; 3], universe.density.iter().copied())?;
    }
    for ((name, map), sigma) in
        problem.observation.names.iter().zip(&problem.observation.maps).zip(&problem.observation.sigma)
    {
        save(&format!("data_{name}"), &format!("{name}: data"), map)?;
        save(&format!("noise_{name}"), &format!("{name}: noise standard deviation"), sigma)?;
    }
    if let Some(modes) = &analysis.modes {
        save("e_mode", "Kaiser-Squires E mode, smoothed", &modes.e_map)?;
        save("b_mode", "Kaiser-Squires B mode, smoothed", &modes.b_map)?;
    }
    Ok(())
}

fn write_tables(recorder: &Recorder, analysis: &Analysis, folder: &Folder) -> Result<()> {
    let mut text = format!("chain,diverged,{}\n", recorder.trace_names.join(","));
    for ((row, chain), diverged) in recorder.traces.iter().zip(&recorder.chains).zip(&recorder.diverged) {
        let numbers: Vec<String> =
            row.iter().map(|x| if x.is_nan() { String::new() } else { format!("{x:e}") }).collect();
        text += &format!("{chain},{},{}\n", u8::from(*diverged), numbers.join(","));
    }
    files::write_whole(&folder.file("trace.csv"), |out| out.write_all(text.as_bytes()))?;

    let band = &analysis.band;
    let mut text = "ell,samples_median,samples_16,samples_84,estimate,truth,prior\n".to_string();
    for (i, ell) in band.k.iter().enumerate() {
        let cell = |column: &Option<Vec<f64>>| {
            column.as_ref().map_or(String::new(), |values| format!("{:e}", values[i]))
        };
        let cells =
            [&band.median, &band.low, &band.high, &band.estimate, &band.truth, &band.theory].map(cell);
        text += &format!("{ell:e},{}\n", cells.join(","));
    }
    files::write_whole(&folder.file("spectrum.csv"), |out| out.write_all(text.as_bytes()))?;

    if let Some((initial, last)) =
        analysis.universe.as_ref().and_then(|universe| universe.initial.as_ref().zip(universe.last.as_ref()))
    {
        for (name, correlation) in [("initial", initial), ("density", last)] {
            let mut text = "k_h_per_mpc,r,transfer\n".to_string();
            for ((k, r), t) in correlation.k.iter().zip(&correlation.r).zip(&correlation.transfer) {
                text += &format!("{k:e},{r:e},{t:e}\n");
            }
            let path = folder.file(&format!("correlation_{name}.csv"));
            files::write_whole(&path, |out| out.write_all(text.as_bytes()))?;
        }
    }

    if let Some(Significance { peaks, .. }) = &analysis.significance {
        let text = peaks.table();
        files::write_whole(&folder.file("peaks.csv"), |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Turns the raw files into `samples.npy` (draw, row, column) and `samples.zarr` (ArviZ: chain, draw, y, x, and the likelihood of
/// every datum).
fn write_samples<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    checkpoint: &Checkpoint<T>,
    folder: &Folder,
) -> Result<()> {
    let raws = [rows::MAPS, rows::LOG_DENSITIES].map(|name| folder.file(name));
    if !raws.iter().any(|raw| raw.exists()) {
        // An earlier call got this far.
        return Ok(());
    }
    let clear = || {
        let mut left = raws.iter().filter(|raw| raw.exists());
        left.try_for_each(|raw| fs::remove_file(raw).map_err(Error::io("remove", raw)))
    };
    if folder.file("samples.zarr").join(".zmetadata").exists() {
        // An earlier call ended between the last file of the store and the end of the raw ones.
        return clear();
    }
    let attributes = json!({
        "creation_library": "lookback", "creation_library_version": VERSION, "method": run.method.name(),
        "seed": run.seed, "fingerprint": checkpoint.fingerprint,
    });
    let mut draws = Draws::create(folder, &checkpoint.recorder, attributes)?;
    let field = problem.field_name();
    let [maps, densities] = &raws;
    if maps.exists() {
        let (rows, columns) = (problem.grid.shape()[0], problem.grid.shape()[1]);
        let count = checkpoint.recorder.samples;
        npy::write(&folder.file("samples.npy"), &[count, rows, columns], rows::numbers(maps)?)?;
        draws.group("posterior")?;
        draws.axes("posterior", &[("y", rows), ("x", columns)])?;
        draws.rows(&format!("posterior/{field}"), maps, &[("y", rows), ("x", columns)])?;
    }
    if densities.exists() {
        let data = problem.posterior.likelihood().data_count();
        draws.group("log_likelihood")?;
        draws.axes("log_likelihood", &[("datum", data)])?;
        draws.rows("log_likelihood/data", densities, &[("datum", data)])?;
    }
    draws.traces()?;
    draws.store.finish()?;
    clear()
}

/// A store in which every quantity has a chain and a draw.
struct Draws<'a> {
    store: Store,
    recorder: &'a Recorder,
    attributes: Value,
    groups: Vec<String>,
    chains: usize,
    draws: usize,
}

impl<'a> Draws<'a> {
    fn create(folder: &Folder, recorder: &'a Recorder, attributes: Value) -> Result<Draws<'a>> {
        let chains = recorder.chain_count().max(1);
        let store = Store::create(&folder.file("samples.zarr"), attributes.clone())?;
        Ok(Draws {
            store,
            recorder,
            attributes,
            groups: Vec::new(),
            chains,
            draws: recorder.samples / chains,
        })
    }

    /// A group with its chains and draws, once.
    fn group(&mut self, name: &str) -> Result<()> {
        if self.groups.iter().any(|group| group == name) {
            return Ok(());
        }
        self.groups.push(name.into());
        self.store.group(name, self.attributes.clone())?;
        self.axes(name, &[("chain", self.chains), ("draw", self.draws)])
    }

    fn axes(&mut self, group: &str, axes: &[(&str, usize)]) -> Result<()> {
        axes.iter().try_for_each(|(axis, n)| self.store.index(&format!("{group}/{axis}"), axis, *n))
    }

    /// The rows of a file as an array with these axes behind chain and draw.
    fn rows(&mut self, name: &str, raw: &Path, axes: &[(&str, usize)]) -> Result<()> {
        let (chains, draws) = (self.chains, self.draws);
        let names: Vec<&str> = ["chain", "draw"].into_iter().chain(axes.iter().map(|axis| axis.0)).collect();
        let lengths: Vec<usize> = axes.iter().map(|axis| axis.1).collect();
        let shape = [vec![chains, draws], lengths.clone()].concat();
        let chunk = [vec![1, 1], lengths.clone()].concat();
        self.store.array(name, "<f4", &names, &shape, &chunk)?;
        let mut reader = BufReader::new(File::open(raw).map_err(Error::io("read", raw))?);
        let mut row = vec![0; 4 * lengths.iter().product::<usize>()];
        let mut next = vec![0; chains];
        for &chain in &self.recorder.chains {
            reader.read_exact(&mut row).map_err(Error::io("read", raw))?;
            let draw = &mut next[chain as usize];
            if *draw < draws {
                let place = [vec![chain as usize, *draw], vec![0; lengths.len()]].concat();
                self.store.chunk(name, &place, &row)?;
            }
            *draw += 1;
        }
        Ok(())
    }

    /// Parameters, and what is known of every sample.
    fn traces(&mut self) -> Result<()> {
        let recorder = self.recorder;
        for (j, trace) in recorder.trace_names.iter().enumerate() {
            let values: Vec<f64> = recorder.by_chain(|i| recorder.traces[i][j]).concat();
            if values.len() == self.chains * self.draws {
                let group = if j < 2 { "sample_stats" } else { "posterior" };
                self.group(group)?;
                let (name, shape) = (format!("{group}/{trace}"), [self.chains, self.draws]);
                self.store.floats(&name, &["chain", "draw"], &shape, &values)?;
            }
        }
        let diverged = recorder.by_chain(|i| f64::from(u8::from(recorder.diverged[i]))).concat();
        if diverged.len() == self.chains * self.draws {
            let flags: Vec<bool> = diverged.into_iter().map(|flag| flag > 0.0).collect();
            let shape = [self.chains, self.draws];
            self.store.flags("sample_stats/diverging", &["chain", "draw"], &shape, &flags)?;
        }
        Ok(())
    }
}
