//! The files of a finished run: maps, samples, tables, and where they came from.

use std::fs::{self, File};
use std::io::{BufReader, Read};

use lookback_inference::Number;
use lookback_operator::Operator;
use serde_json::json;

use super::checkpoint::Checkpoint;
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
    if run.output.samples && checkpoint.stored > 0 {
        write_samples(run, problem, checkpoint, folder)?;
    }
    let bibliography = citations::bibtex(run);
    files::write_whole(&folder.file("citations.bib"), |out| out.write_all(bibliography.as_bytes()))?;
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
    save("mean", &format!("{field}: posterior mean"), estimate)?;
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
        let (modes, mesh) = (&problem.prior.latent_grid, cone.simulation().settings().cells);
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
    let mut text = format!("chain,{}\n", recorder.trace_names.join(","));
    for (row, chain) in recorder.traces.iter().zip(&recorder.chains) {
        let numbers: Vec<String> =
            row.iter().map(|x| if x.is_nan() { String::new() } else { format!("{x:e}") }).collect();
        text += &format!("{chain},{}\n", numbers.join(","));
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

/// Turns the raw sample maps into `samples.npy` (draw, row, column) and `samples.zarr` (ArviZ: chain, draw, y, x).
fn write_samples<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    checkpoint: &Checkpoint<T>,
    folder: &Folder,
) -> Result<()> {
    let raw = folder.file("samples.raw");
    if !raw.exists() {
        // An earlier call got this far.
        return Ok(());
    }
    let (rows, columns) = (problem.grid.shape()[0], problem.grid.shape()[1]);
    let recorder = &checkpoint.recorder;
    let count = checkpoint.stored as usize;
    let mut reader = BufReader::new(File::open(&raw).map_err(Error::io("read", &raw))?);
    let values = std::iter::from_fn(|| {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).ok().map(|()| f32::from_le_bytes(bytes))
    });
    npy::write(&folder.file("samples.npy"), &[count, rows, columns], values)?;

    let chains = recorder.chain_count().max(1);
    let draws = count / chains;
    let field = problem.field_name();
    let attributes = json!({
        "creation_library": "lookback", "creation_library_version": VERSION, "method": run.method.name(),
        "seed": run.seed, "fingerprint": checkpoint.fingerprint,
    });
    let mut store = Store::create(&folder.file("samples.zarr"), attributes.clone())?;
    for group in ["posterior", "sample_stats"] {
        store.group(group, attributes.clone())?;
        store.index(&format!("{group}/chain"), "chain", chains)?;
        store.index(&format!("{group}/draw"), "draw", draws)?;
    }
    store.index("posterior/y", "y", rows)?;
    store.index("posterior/x", "x", columns)?;
    let name = format!("posterior/{field}");
    store.array(
        &name,
        "<f4",
        &["chain", "draw", "y", "x"],
        &[chains, draws, rows, columns],
        &[1, 1, rows, columns],
    )?;
    let mut reader = BufReader::new(File::open(&raw).map_err(Error::io("read", &raw))?);
    let mut map = vec![0; 4 * rows * columns];
    let mut next = vec![0; chains];
    for &chain in &recorder.chains[..count] {
        reader.read_exact(&mut map).map_err(Error::io("read", &raw))?;
        let draw = &mut next[chain as usize];
        if *draw < draws {
            store.chunk(&name, &[chain as usize, *draw, 0, 0], &map)?;
        }
        *draw += 1;
    }
    for (j, trace) in recorder.trace_names.iter().enumerate() {
        let values: Vec<f64> = recorder.by_chain(|i| recorder.traces[i][j]).concat();
        if values.len() == chains * draws {
            let group = if j < 2 { "sample_stats" } else { "posterior" };
            store.floats(&format!("{group}/{trace}"), &["chain", "draw"], &[chains, draws], &values)?;
        }
    }
    store.finish()?;
    fs::remove_file(&raw).map_err(Error::io("remove", &raw))
}
