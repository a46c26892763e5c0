//! Figures of merit of maps: scores against a truth, E and B modes, peaks, spectra.

use lookback_imaging::smooth;
use lookback_inference::{Number, diagnostics::quantile};
use lookback_lensing::mass_map;
use lookback_mesh::{Grid, bin_edges, power_spectrum, skewness};
use lookback_operator::{LinearOperator, Space};

use super::universe::{self, Universe};
use crate::formats::fits::Wcs;
use crate::problem::Problem;
use crate::run::{BINS, Recorder};
use crate::runfile::{ReportSection, RunFile};
use crate::{Error, Result};

/// What summary, files and report all want to know of a finished run, found once.
pub(crate) struct Analysis {
    /// E and B modes, if the data are shear.
    pub(crate) modes: Option<Modes>,
    /// Signal-to-noise and its peaks, if there are samples.
    pub(crate) significance: Option<Significance>,
    /// Power spectra.
    pub(crate) band: Band,
    /// The universe behind the maps, if the field is a light cone.
    pub(crate) universe: Option<Universe>,
}

/// Mean over standard deviation of the smoothed field, and its peaks.
pub(crate) struct Significance {
    pub(crate) snr: Vec<f64>,
    pub(crate) peaks: Peaks,
}

impl Analysis {
    pub(crate) fn new<T: Number>(
        run: &RunFile,
        problem: &Problem<T>,
        recorder: &Recorder,
    ) -> Result<Analysis> {
        let estimate = recorder.estimate(run.method.finds_exact_mean());
        let modes = problem.is_shear().then(|| e_and_b(problem, run.report.smoothing_pixels)).transpose()?;
        let significance = recorder.smoothed_std().map(|std| {
            let smooth = problem.smoothed(estimate);
            let snr = ratio(&smooth, &std);
            Significance { peaks: peaks(problem, &smooth, &snr, &run.report), snr }
        });
        let universe = universe::analyse(problem, recorder)?;
        Ok(Analysis { modes, significance, band: spectrum_band(problem, recorder, estimate)?, universe })
    }
}

/// Mean and standard deviation of some numbers.
pub(crate) fn mean_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt())
}

/// `a / b`; zero where `b` is zero.
fn ratio(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| if *b > 0.0 { a / b } else { 0.0 }).collect()
}

/// How well a map agrees with the truth in the pixels that were seen, after both lost their means there (shear does not
/// hold the mean of the convergence).
pub(crate) struct Score {
    pub(crate) rmse: f64,
    pub(crate) pearson_r: f64,
}

pub(crate) fn score(estimate: &[f64], truth: &[f64], seen: &[bool]) -> Score {
    let pick = |map: &[f64]| -> Vec<f64> {
        let values: Vec<f64> = map.iter().zip(seen).filter(|(_, seen)| **seen).map(|(x, _)| *x).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.into_iter().map(|x| x - mean).collect()
    };
    let (a, b) = (pick(estimate), pick(truth));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let squares = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    Score {
        rmse: (squares / a.len() as f64).sqrt(),
        pearson_r: dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt(),
    }
}

/// Share of seen pixels whose truth lies in the central interval of the samples that holds `level` of them.
pub(crate) fn coverage(below: &[u32], samples: usize, seen: &[bool], level: f64) -> f64 {
    // The truth has one of `samples + 1` equally likely ranks; the one at the edge counts in part.
    let ranks = samples as f64 + 1.0;
    let tail = 0.5 * (1.0 - level) * ranks;
    let share = |rank: f64| {
        let overlap = (rank + 1.0).min(ranks - tail) - rank.max(tail);
        overlap.clamp(0.0, 1.0)
    };
    let inside: f64 =
        below.iter().zip(seen).filter(|(_, seen)| **seen).map(|(&rank, _)| share(f64::from(rank))).sum();
    inside / seen.iter().filter(|seen| **seen).count() as f64
}

/// Kaiser-Squires maps of shear data, smoothed, with a test of the sign conventions: mass makes the E mode skew, while
/// the B mode is noise.
pub(crate) struct Modes {
    pub(crate) e_map: Vec<f64>,
    pub(crate) b_map: Vec<f64>,
    /// Pixels with both components.
    pub(crate) seen: Vec<bool>,
    pub(crate) e_skewness: f64,
    pub(crate) b_skewness: f64,
    /// Highest pixel over the standard deviation.
    pub(crate) e_peak: f64,
    pub(crate) b_peak: f64,
}

fn e_and_b<T: Number>(problem: &Problem<T>, smoothing_pixels: f64) -> Result<Modes> {
    let observation = &problem.observation;
    // Shear needs both of its components.
    let seen: Vec<bool> =
        observation.masks[0].iter().zip(&observation.masks[1]).map(|(one, other)| *one && *other).collect();
    let both = |map: &[f64]| -> Vec<f64> {
        map.iter().zip(&seen).map(|(&x, &seen)| if seen { x } else { 0.0 }).collect()
    };
    let (e_map, b_map) = mass_map(&problem.grid, &both(&observation.maps[0]), &both(&observation.maps[1]))?;
    let e_map = smoothed(&problem.grid, &e_map, smoothing_pixels)?;
    let b_map = smoothed(&problem.grid, &b_map, smoothing_pixels)?;
    let inside = |map: &[f64]| -> Vec<f64> {
        map.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(x, _)| *x).collect()
    };
    let (e, b) = (inside(&e_map), inside(&b_map));
    let peak =
        |values: &[f64]| values.iter().fold(f64::NEG_INFINITY, |max, x| max.max(*x)) / mean_std(values).1;
    Ok(Modes {
        e_skewness: skewness(e.iter().copied()),
        b_skewness: skewness(b.iter().copied()),
        e_peak: peak(&e),
        b_peak: peak(&b),
        e_map,
        b_map,
        seen,
    })
}

fn smoothed(grid: &Grid, map: &[f64], pixels: f64) -> Result<Vec<f64>> {
    let operator = smooth::<f64>(grid, Space::single("map", grid.shape(), ""), pixels * grid.spacing()[0])
        .map_err(|error| Error::config("report", error.to_string()))?;
    let mut out = vec![0.0; map.len()];
    operator.forward(map, &mut out, &mut operator.scratch());
    Ok(out)
}

/// A local maximum of signal-to-noise.
pub(crate) struct Peak {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) snr: f64,
    pub(crate) value: f64,
    /// Identifier and distance \[arcmin\] of the nearest known group.
    pub(crate) group: Option<(String, f64)>,
}

/// Peaks, and how many of them have a known group nearby.
pub(crate) struct Peaks {
    pub(crate) list: Vec<Peak>,
    pub(crate) matched: Option<Matched>,
    /// Known groups: identifier, column and row on the map.
    pub(crate) groups: Vec<(String, f64, f64)>,
    pixel_arcmin: f64,
    pixels: [usize; 2],
    wcs: Option<Wcs>,
}

pub(crate) struct Matched {
    pub(crate) count: usize,
    /// Number expected if groups had nothing to do with peaks: the share of the field that lies near a group.
    pub(crate) by_chance: f64,
    /// Groups in the seen part of the map.
    pub(crate) groups: usize,
}

/// Signal-to-noise from which a local maximum counts.
const THRESHOLD: f64 = 3.0;

/// Local maxima of `snr`, with the values of the `smooth` field there.
fn peaks<T: Number>(problem: &Problem<T>, smooth: &[f64], snr: &[f64], report: &ReportSection) -> Peaks {
    let grid = &problem.grid;
    let (rows, columns) = (grid.shape()[0], grid.shape()[1]);
    let seen = &problem.observation.seen;
    let pixel_arcmin = grid.spacing()[0].to_degrees() * 60.0;
    let groups = problem.groups.clone();
    let nearest = |row: f64, column: f64| {
        let distance = |x: &f64, y: &f64| pixel_arcmin * ((x - column).powi(2) + (y - row).powi(2)).sqrt();
        groups.iter().map(|(name, x, y)| (name.clone(), distance(x, y))).min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let mut list = Vec::new();
    for row in 1..rows - 1 {
        for column in 1..columns - 1 {
            let here = snr[row * columns + column];
            let around =
                (row - 1..=row + 1).flat_map(|r| (column - 1..=column + 1).map(move |c| r * columns + c));
            let highest = around.filter(|&i| i != row * columns + column).all(|i| snr[i] < here);
            if seen[row * columns + column] && here > THRESHOLD && highest {
                let value = smooth[row * columns + column];
                let group = nearest(row as f64, column as f64).filter(|(_, d)| *d <= report.match_arcmin);
                list.push(Peak { row, column, snr: here, value, group });
            }
        }
    }
    list.sort_by(|a, b| b.snr.total_cmp(&a.snr));
    let inside = |x: f64, y: f64| {
        let (x, y) = (x.round(), y.round());
        let on_map = (0.0..columns as f64).contains(&x) && (0.0..rows as f64).contains(&y);
        on_map && seen[y as usize * columns + x as usize]
    };
    let matched = report.groups.as_ref().map(|_| {
        let near = (0..grid.len()).filter(|i| {
            let close = || {
                nearest((i / columns) as f64, (i % columns) as f64)
                    .is_some_and(|(_, d)| d <= report.match_arcmin)
            };
            seen[*i] && close()
        });
        Matched {
            count: list.iter().filter(|peak| peak.group.is_some()).count(),
            by_chance: list.len() as f64 * near.count() as f64 / problem.observation.seen_count() as f64,
            groups: groups.iter().filter(|(_, x, y)| inside(*x, *y)).count(),
        }
    });
    Peaks { list, matched, groups, pixel_arcmin, pixels: [rows, columns], wcs: problem.wcs }
}

impl Peaks {
    /// The peaks as comma-separated values.
    pub(crate) fn table(&self) -> String {
        let sky = if self.wcs.is_some() { ",ra_deg,dec_deg" } else { "" };
        let mut text = format!("x_arcmin,y_arcmin,snr,value,group,distance_arcmin{sky}\n");
        for peak in &self.list {
            let (x, y) = (peak.column as f64 + 0.5, peak.row as f64 + 0.5);
            let [rows, columns] = self.pixels.map(|n| 0.5 * n as f64);
            let place = self.wcs.map_or(String::new(), |wcs| {
                let degrees = self.pixel_arcmin / 60.0;
                let (ra, dec) = wcs.projection.unproject((x - columns) * degrees, (y - rows) * degrees);
                format!(",{ra:.5},{dec:.5}")
            });
            let group =
                peak.group.as_ref().map_or(",".into(), |(name, distance)| format!("{name},{distance:.3}"));
            let pixel = self.pixel_arcmin;
            text += &format!(
                "{:.3},{:.3},{:.3},{:.5},{group}{place}\n",
                x * pixel,
                y * pixel,
                peak.snr,
                peak.value
            );
        }
        text
    }
}

/// Power spectra of the samples, the estimate, the truth and the prior, in the same bins.
pub(crate) struct Band {
    pub(crate) k: Vec<f64>,
    pub(crate) median: Option<Vec<f64>>,
    pub(crate) low: Option<Vec<f64>>,
    pub(crate) high: Option<Vec<f64>>,
    pub(crate) estimate: Option<Vec<f64>>,
    pub(crate) truth: Option<Vec<f64>>,
    pub(crate) theory: Option<Vec<f64>>,
}

fn spectrum_band<T: Number>(problem: &Problem<T>, recorder: &Recorder, estimate: &[f64]) -> Result<Band> {
    let k = recorder.wave_numbers.clone();
    let at = |p: f64| {
        let column =
            |bin: usize| -> Vec<f64> { recorder.spectra.iter().map(|row| f64::from(row[bin])).collect() };
        (recorder.samples > 0)
            .then(|| (0..k.len()).map(|bin| quantile(&column(bin), p)).collect::<Vec<f64>>())
    };
    let edges = bin_edges(&problem.grid, BINS);
    let measure = |map: &[f64]| power_spectrum(&problem.grid, map, &edges).map(|spectrum| spectrum.power);
    Ok(Band {
        median: at(0.5),
        low: at(0.16),
        high: at(0.84),
        estimate: Some(measure(estimate)?),
        truth: problem.true_map().map(measure).transpose()?,
        theory: problem.theory().map(|theory| k.iter().map(|&k| theory.power(k)).collect()),
        k,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_of_uniform_ranks_is_the_level() {
        for samples in [10usize, 99, 100] {
            let below: Vec<u32> = (0..=samples as u32).collect();
            let seen = vec![true; samples + 1];
            for level in [0.68, 0.95] {
                assert!((coverage(&below, samples, &seen, level) - level).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_score_does_not_see_the_mean() {
        let truth = [1.0, 2.0, 4.0, 0.0];
        let shifted: Vec<f64> = truth.iter().map(|x| x + 7.0).collect();
        let score = score(&shifted, &truth, &[true, true, true, false]);
        assert!(score.rmse < 1e-12 && (score.pearson_r - 1.0).abs() < 1e-12);
    }
}
