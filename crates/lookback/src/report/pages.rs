//! The sections of the report: which pictures, with which words.

use lookback_inference::{Number, diagnostics};
use lookback_operator::Operator;
use serde_json::Value;
use statrs::distribution::{Continuous, Normal, StudentsT};

use super::analysis::{Analysis, Modes, Significance};
use super::colour::Scale;
use super::curves::{COLOURS, Curve, Plot, Shade, histogram, rank_histogram};
use super::panel::{Panel, draw, robust_range, symmetric_range};
use super::{Figure, Section};
use crate::problem::Problem;
use crate::run::{Recorder, Summary, expected_chi2};
use crate::runfile::{LikelihoodSection, MethodSection, RunFile};
use crate::{Error, Result};

/// Share of pixels beyond each end of the colour scale.
const TAIL: f64 = 0.002;

/// What the pictures are drawn from.
struct Scene<'a, T: Number> {
    run: &'a RunFile,
    problem: &'a Problem<T>,
    recorder: &'a Recorder,
    estimate: &'a [f64],
    std: Option<Vec<f64>>,
    analysis: &'a Analysis,
}

impl<T: Number> Scene<'_, T> {
    fn figure(&self, panel: &Panel<'_>, caption: &str) -> Result<Figure> {
        Ok(Figure { svg: draw(&self.problem.grid, panel)?, caption: caption.into() })
    }
}

pub(crate) fn sections<T: Number>(
    run: &RunFile,
    problem: &Problem<T>,
    recorder: &Recorder,
    analysis: &Analysis,
    summary: &Summary,
) -> Result<Vec<Section>> {
    let estimate = recorder.estimate(run.method.finds_exact_mean());
    let scene = Scene { run, problem, recorder, estimate, std: recorder.std(), analysis };
    let mut sections = vec![overview(&scene)?];
    if let Some(universe) = &analysis.universe {
        sections.extend(super::universe::sections(problem, recorder, universe)?);
    }
    sections.extend(significance(&scene)?);
    if let Some(found) = &analysis.modes {
        sections.push(modes(&scene, found)?);
    }
    sections.extend(samples(&scene)?);
    sections.push(residuals(&scene)?);
    sections.push(spectrum(&scene)?);
    sections.extend(calibration(&scene, summary)?);
    sections.extend(convergence(&scene)?);
    sections.extend(traces(&scene)?);
    Ok(sections)
}

fn overview<T: Number>(scene: &Scene<'_, T>) -> Result<Section> {
    let Scene { problem, estimate, .. } = scene;
    let field = problem.field_name();
    let range = match problem.true_map() {
        Some(truth) => robust_range(truth, TAIL),
        None => robust_range(estimate, TAIL),
    };
    let mut figures = Vec::new();
    if let Some(truth) = problem.true_map() {
        let title = format!("truth: {field}");
        figures.push(
            scene
                .figure(&Panel::new(&title, truth, Scale::Signal, range), "What the data were made from.")?,
        );
    }
    let observed =
        problem.observation.names.iter().zip(&problem.observation.maps).zip(&problem.observation.masks);
    // Maps that are drawn as they are: all, or what is not shear.
    let plain =
        if scene.analysis.modes.is_some() { problem.counted() } else { problem.observation.names.len() };
    if let Some(modes) = &scene.analysis.modes {
        let mut panel = Panel::new(
            "data: smoothed Kaiser-Squires E mode",
            &modes.e_map,
            Scale::Signal,
            robust_range(&modes.e_map, TAIL),
        );
        panel.seen = Some(&modes.seen);
        figures.push(scene.figure(
            &panel,
            "The data as a map: direct inversion, smoothed; regions without data are pale.",
        )?);
    }
    for ((name, map), mask) in observed.skip(problem.observation.names.len() - plain) {
        let title = format!("data: {name}");
        let mut panel = Panel::new(&title, map, Scale::Signal, robust_range(map, TAIL));
        panel.seen = Some(mask);
        figures.push(scene.figure(&panel, "What was observed; regions without data are pale.")?);
    }
    let what = if scene.recorder.samples == 0 { "maximum a posteriori" } else { "posterior mean" };
    let title = format!("{what}: {field}");
    figures.push(scene.figure(&Panel::new(&title, estimate, Scale::Signal, range), "The reconstruction.")?);
    if let Some(std) = &scene.std {
        let panel = Panel::new("posterior standard deviation", std, Scale::Width, robust_range(std, TAIL));
        figures.push(
            scene.figure(&panel, "Its uncertainty: where data are missing it rises to that of the prior.")?,
        );
    }
    if let Some(truth) = problem.true_map() {
        let error: Vec<f64> = estimate.iter().zip(truth).map(|(a, b)| a - b).collect();
        let panel =
            Panel::new("reconstruction minus truth", &error, Scale::Diverging, symmetric_range(&error, TAIL));
        figures.push(scene.figure(&panel, "The error that was really made.")?);
    }
    let words = "The signal behind the data, pixel by pixel, with its uncertainty.".into();
    Ok(Section { heading: "Reconstruction".into(), words, figures })
}

fn significance<T: Number>(scene: &Scene<'_, T>) -> Result<Option<Section>> {
    let Some(Significance { snr, peaks }) = &scene.analysis.significance else { return Ok(None) };
    let mut panel =
        Panel::new("mean / standard deviation", snr, Scale::Diverging, symmetric_range(snr, 0.0005));
    let radius = scene.run.report.match_arcmin / (scene.problem.grid.spacing()[0].to_degrees() * 60.0);
    panel.circles = peaks.groups.iter().map(|(_, x, y)| (*x, *y, radius)).collect();
    let plain = scene.figure(&panel, "Signal-to-noise. Circles, if any: known groups.")?;
    let mut marked =
        Panel::new("peaks above 3", snr, Scale::Signal, (0.0, snr.iter().fold(3.0, |a: f64, b| a.max(*b))));
    marked.circles = panel.circles.clone();
    marked.crosses = peaks.list.iter().map(|peak| (peak.column as f64, peak.row as f64)).collect();
    let second = scene.figure(&marked, "Crosses: local maxima above 3 standard deviations. Circles: known groups, with the radius of a match.")?;
    let mut words = format!(
        "Mean over standard deviation of the field smoothed to {} arcmin (FWHM). {} local maxima stand more than 3 posterior standard deviations above zero.",
        scene.run.report.peak_fwhm_arcmin,
        peaks.list.len()
    );
    if let Some(matched) = &peaks.matched {
        words += &format!(
            " {} of them lie within {} arcmin of one of the {} {} in the field, where {:.1} would by chance.",
            matched.count,
            scene.run.report.match_arcmin,
            matched.groups,
            scene.run.report.groups_name,
            matched.by_chance
        );
    }
    Ok(Some(Section { heading: "Significance".into(), words, figures: vec![plain, second] }))
}

fn modes<T: Number>(scene: &Scene<'_, T>, modes: &Modes) -> Result<Section> {
    let range = symmetric_range(&modes.e_map, TAIL);
    let mut figures = Vec::new();
    for (title, map, caption) in [
        (
            "E mode",
            &modes.e_map,
            "Gravitational lensing makes only this one: it should be skewed towards mass.",
        ),
        ("B mode", &modes.b_map, "Noise and errors: it should show no structure beyond noise."),
    ] {
        let mut panel = Panel::new(title, map, Scale::Diverging, range);
        panel.seen = Some(&modes.seen);
        figures.push(scene.figure(&panel, caption)?);
    }
    let words = format!(
        "Kaiser-Squires inversion of the data, smoothed with a Gaussian of {} pixels. Skewness in the seen region: E {:.3}, B {:.3}. If both look alike, the sign of one shear component is wrong.",
        scene.run.report.smoothing_pixels, modes.e_skewness, modes.b_skewness
    );
    Ok(Section { heading: "E and B modes".into(), words, figures })
}

fn samples<T: Number>(scene: &Scene<'_, T>) -> Result<Option<Section>> {
    if scene.recorder.shown.is_empty() {
        return Ok(None);
    }
    let maps: Vec<Vec<f64>> =
        scene.recorder.shown.iter().map(|map| map.iter().map(|&x| f64::from(x)).collect()).collect();
    let range = robust_range(&maps[0], TAIL);
    let draw = |(i, map): (usize, &Vec<f64>)| {
        let title = format!("sample {}", i + 1);
        scene.figure(&Panel::new(&title, map, Scale::Signal, range), "")
    };
    let figures = maps.iter().enumerate().map(draw).collect::<Result<Vec<Figure>>>()?;
    let words = "Skies that could have made these data: each has the texture that the mean has lost, and together they tell what is certain.".into();
    Ok(Some(Section { heading: "Samples".into(), words, figures }))
}

/// Normalised residuals of the data at the estimate, on the pixels.
fn residuals<T: Number>(scene: &Scene<'_, T>) -> Result<Section> {
    let problem = scene.problem;
    // A light cone has more maps than the one that is drawn.
    let all: Vec<f64> = scene.recorder.centre_maps.iter().map(|&x| f64::from(x)).collect();
    let maps = if all.is_empty() { scene.estimate } else { &all };
    let needed = problem.prior.operator.codomain().len();
    let parameters = scene.recorder.centre_parameters.iter().copied();
    // Latents follow the parameters of the signal.
    let signal: Vec<T> = maps.iter().copied().chain(parameters).take(needed).map(T::of).collect();
    let mut figures = Vec::new();
    if signal.len() == needed {
        let prediction = problem.forward.apply(&signal)?;
        let mut residual = vec![T::zero(); prediction.len()];
        problem.posterior.likelihood().residual(&prediction, &mut residual);
        let all: Vec<f64> = residual.iter().map(|r| r.f64()).collect();
        let on_pixels = matches!(problem.observation.places, crate::problem::Places::Pixels);
        for (i, name) in problem.observation.names.iter().enumerate().filter(|_| on_pixels) {
            let map = problem.observation.on_map(i, &all);
            let title = format!("residual of {name}");
            let mut panel = Panel::new(&title, &map, Scale::Diverging, (-3.0, 3.0));
            panel.seen = Some(&problem.observation.masks[i]);
            figures.push(scene.figure(&panel, "(data - prediction) / noise: no structure should be left.")?);
        }
        let (low, high, bins) = (-5.0, 5.0, 60);
        let (law, density) = law_of_noise(&scene.run.likelihood)?;
        let law_points = (0..=200).map(|i| {
            let x = low + (high - low) * f64::from(i) / 200.0;
            (x, density.pdf(x))
        });
        let plot = Plot {
            title: "residuals of the data",
            x_name: "(data - prediction) / noise",
            y_name: "density",
            shades: Vec::new(),
            curves: vec![
                Curve {
                    name: "residuals".into(),
                    points: histogram(&all, low, high, bins),
                    colour: COLOURS[0],
                    width: 2,
                },
                Curve { name: law.clone(), points: law_points.collect(), colour: COLOURS[1], width: 1 },
            ],
            size: (460, 400),
        };
        figures.push(Figure {
            svg: plot.linear()?,
            caption: format!("Residuals should follow the curve of the {law}."),
        });
    }
    let data = problem.posterior.likelihood().data_count() as f64;
    let words = match scene.recorder.centre_chi2 {
        Some(chi2) => {
            let reduced = chi2 / data;
            let why = match (expected_chi2(&scene.run.likelihood), &scene.run.likelihood) {
                (Some(expected), LikelihoodSection::StudentT { .. }) => {
                    format!("the noise has {expected:.3}, with heavy tails")
                }
                (None, _) => "the noise has no finite one".into(),
                _ if reduced < 1.0 => "below one by the share of the data that went into the fit".to_string(),
                _ => {
                    let scatter = (2.0 / data).sqrt();
                    format!(
                        "above one: beyond a scatter of {scatter:.3}, model or noise do not fit, or the search ended early"
                    )
                }
            };
            format!("Reduced chi-squared at the centre: {reduced:.4} for {data:.0} data ({why}).")
        }
        None => format!("{data:.0} data."),
    };
    Ok(Section { heading: "Residuals".into(), words, figures })
}

/// The law of the residuals in units of the noise: its name and its density.
fn law_of_noise(likelihood: &LikelihoodSection) -> Result<(String, Box<dyn Continuous<f64, f64>>)> {
    Ok(match *likelihood {
        LikelihoodSection::Gaussian {} => ("unit normal".into(), Box::new(Normal::standard())),
        LikelihoodSection::StudentT { dof } => {
            let law = StudentsT::new(0.0, 1.0, dof)
                .map_err(|error| Error::config("likelihood", error.to_string()))?;
            (format!("Student's t with {dof} degrees of freedom"), Box::new(law))
        }
    })
}

fn spectrum<T: Number>(scene: &Scene<'_, T>) -> Result<Section> {
    let band = &scene.analysis.band;
    let mut plot = Plot {
        title: "power spectrum",
        x_name: "multipole ell",
        y_name: "ell (ell + 1) C / 2 pi",
        shades: Vec::new(),
        curves: Vec::new(),
        size: (760, 480),
    };
    let scaled = |k: f64, p: f64| k * (k + 1.0) * p / std::f64::consts::TAU;
    if let (Some(low), Some(high)) = (&band.low, &band.high) {
        let points =
            band.k.iter().zip(low.iter().zip(high)).map(|(&k, (&a, &b))| (k, scaled(k, a), scaled(k, b)));
        plot.shades.push(Shade {
            name: "samples, 68 %".into(),
            points: points.collect(),
            colour: COLOURS[0],
        });
    }
    let columns = [
        ("samples, median", &band.median, COLOURS[0], 2),
        ("posterior mean", &band.estimate, COLOURS[2], 2),
        ("truth", &band.truth, RGB_BLACK, 2),
        ("prior (theory)", &band.theory, COLOURS[1], 2),
    ];
    for (name, values, colour, width) in columns {
        if let Some(values) = values {
            let points = band.k.iter().zip(values).map(|(&k, &p)| (k, scaled(k, p))).filter(|p| p.1 > 0.0);
            plot.curves.push(Curve { name: name.into(), points: points.collect(), colour, width });
        }
    }
    let words = "Samples should carry the power of the truth on all scales. The mean carries less where the noise wins: what is not known is left out of it.".into();
    Ok(Section {
        heading: "Power spectrum".into(),
        words,
        figures: vec![Figure {
            svg: plot.logarithmic()?,
            caption: "Power of the whole map, in bins.".into(),
        }],
    })
}

const RGB_BLACK: plotters::style::RGBColor = plotters::style::RGBColor(0, 0, 0);

/// Ranks of the truth among the samples.
fn calibration<T: Number>(scene: &Scene<'_, T>, summary: &Summary) -> Result<Option<Section>> {
    let recorder = scene.recorder;
    let (Some(below), true) = (&recorder.below_truth, recorder.ranked() >= 10) else { return Ok(None) };
    let seen = &scene.problem.observation.seen;
    let ranks = below.iter().zip(seen).filter(|(_, seen)| **seen).map(|(&rank, _)| rank);
    let points = rank_histogram(ranks, recorder.ranked(), 20);
    let plot = Plot {
        title: "rank of the truth among the samples",
        x_name: "rank / number of samples",
        y_name: "density",
        shades: Vec::new(),
        curves: vec![
            Curve { name: "pixels".into(), points, colour: COLOURS[0], width: 2 },
            Curve {
                name: "uniform".into(),
                points: vec![(0.0, 1.0), (1.0, 1.0)],
                colour: COLOURS[1],
                width: 1,
            },
        ],
        size: (560, 400),
    };
    let figure = Figure {
        svg: plot.linear()?,
        caption: "Flat: the error bars are right. A bump in the middle: too wide. Horns: too narrow.".into(),
    };
    let percent = |name: &str| 100.0 * summary.get(name).unwrap_or(f64::NAN);
    let words = format!(
        "The truth lies in the central 68 % interval of the samples in {:.1} % of the seen pixels, and in the 95 % interval in {:.1} % (map and truth without their means there, which shear does not hold).",
        percent("coverage_68"),
        percent("coverage_95")
    );
    Ok(Some(Section { heading: "Calibration".into(), words, figures: vec![figure] }))
}

fn traces<T: Number>(scene: &Scene<'_, T>) -> Result<Option<Section>> {
    let recorder = scene.recorder;
    if recorder.samples < 4 {
        return Ok(None);
    }
    let mut figures = Vec::new();
    for (j, name) in recorder.trace_names.iter().enumerate() {
        // A number that has a meaning is not drawn as a latent, too.
        if name
            .strip_prefix("latent_")
            .is_some_and(|plain| recorder.trace_names.iter().any(|other| other == plain))
        {
            continue;
        }
        let chains = recorder.by_chain(|i| recorder.traces[i][j]);
        let curves: Vec<Curve> = chains
            .iter()
            .enumerate()
            .filter(|(_, chain)| chain.iter().all(|x| x.is_finite()))
            .map(|(c, chain)| Curve {
                name: if chains.len() > 1 { format!("chain {}", c + 1) } else { String::new() },
                points: chain.iter().enumerate().map(|(i, &x)| (i as f64, x)).collect(),
                colour: COLOURS[c % COLOURS.len()],
                width: 1,
            })
            .collect();
        if curves.is_empty() {
            continue;
        }
        let plot =
            Plot { title: name, x_name: "draw", y_name: name, shades: Vec::new(), curves, size: (560, 300) };
        figures.push(Figure { svg: plot.linear()?, caption: String::new() });
    }
    let words = if scene.run.method.is_markov() {
        "Chains that have converged look like the same noise."
    } else if let MethodSection::Smc(_) = scene.run.method {
        "Particles in random order; those of one origin resemble each other where moves were few."
    } else {
        "Samples of approximations are independent by construction; those of MGVI come in mirrored pairs."
    };
    Ok(Some(Section { heading: "Traces".into(), words: words.into(), figures }))
}

/// How well chains have converged, scale by scale.
fn convergence<T: Number>(scene: &Scene<'_, T>) -> Result<Option<Section>> {
    let recorder = scene.recorder;
    if !scene.run.method.is_markov() || recorder.samples < 8 {
        return Ok(None);
    }
    let over = |of: fn(&[Vec<f64>]) -> f64| -> Vec<(f64, f64)> {
        let bins = recorder.wave_numbers.iter().enumerate();
        bins.map(|(b, &k)| (k, of(&recorder.power_by_chain(b)))).filter(|point| point.1.is_finite()).collect()
    };
    let ends = [recorder.wave_numbers.first(), recorder.wave_numbers.last()];
    let level = |y: f64| ends.iter().filter_map(|end| end.map(|&k| (k, y))).collect::<Vec<(f64, f64)>>();
    let curve = |name: &str, points, colour, width| Curve { name: name.into(), points, colour, width };
    let plot = |title, y_name, curves| Plot {
        title,
        x_name: "multipole ell",
        y_name,
        shades: Vec::new(),
        curves,
        size: (560, 360),
    };
    let effective = plot(
        "effective draws of the power, by scale",
        "effective draws",
        vec![
            curve("bulk", over(diagnostics::ess_bulk), COLOURS[0], 2),
            curve("tail", over(diagnostics::ess_tail), COLOURS[2], 2),
            curve("wanted", level(400.0), COLOURS[1], 1),
        ],
    );
    let agreement = plot(
        "R-hat of the power, by scale",
        "R-hat",
        vec![
            curve("R-hat", over(diagnostics::r_hat), COLOURS[0], 2),
            curve("below this, chains agree", level(1.01), COLOURS[1], 1),
        ],
    );
    let figures = [effective.half_logarithmic()?, agreement.half_logarithmic()?]
        .map(|svg| Figure { svg, caption: String::new() });
    let words = "Where chains do not agree, or effective draws are few, the spectrum and the map are not yet known on that scale.".into();
    Ok(Some(Section { heading: "Convergence by scale".into(), words, figures: figures.into() }))
}

/// The few numbers at the top of the page.
pub(crate) fn headlines<T: Number>(problem: &Problem<T>, summary: &Summary) -> Vec<[String; 2]> {
    let mut list = vec![
        [
            "pixels".to_string(),
            problem.grid.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(" x "),
        ],
        ["data".into(), format!("{}", summary.get("data").unwrap_or(0.0))],
    ];
    let mut add = |label: &str, name: &str, digits: usize, unit: &str| {
        if let Some(value) = summary.get(name) {
            list.push([label.into(), format!("{value:.digits$}{unit}")]);
        }
    };
    add("seconds to the map", "seconds_to_centre", 2, "");
    add("samples", "samples", 0, "");
    add("reduced chi-squared of the samples", "reduced_chi2_samples", 3, "");
    add("RMSE", "rmse", 4, "");
    add("Pearson r", "pearson_r", 4, "");
    add("largest R-hat", "r_hat_max", 3, "");
    add("smallest bulk ESS", "ess_bulk_min", 0, "");
    add("peaks above 3 sigma", "peaks_above_3_sigma", 0, "");
    list
}

/// All scalar figures as rows.
pub(crate) fn table(summary: &Summary) -> Vec<[String; 2]> {
    let row = |(name, value): (&String, &Value)| match value {
        Value::Number(number) => Some([name.clone(), number.to_string()]),
        Value::String(text) => Some([name.clone(), text.clone()]),
        _ => None,
    };
    summary.entries().iter().filter_map(row).collect()
}
