//! The page of a simulation: maps, spectra beside theory, a slab of matter.

use std::path::Path;

use lookback_cosmology::{Cosmology, Halofit, limber_spectrum};
use lookback_lensing::LightCone;
use lookback_mesh::Grid;
use lookback_operator::{Operator, Real};

use super::realisation::{Binned, Spectra, pairs, shear_names, slab_planes, snapshot_folder};
use super::{Matter, Rays, SimulateFile, Universe};
use crate::formats::{fits, npy};
use crate::report::colour::Scale;
use crate::report::curves::{COLOURS, Curve, Plot, Shade};
use crate::report::panel::{self, Panel, robust_range};
use crate::report::{Figure, Section, render};
use crate::runfile::{GalaxiesSection, SourceSection};
use crate::{Error, Result, files};

/// Mean and scatter of a spectrum over realisations.
struct Mean {
    k: Vec<f64>,
    mean: Vec<f64>,
    /// Scatter between realisations.
    scatter: Vec<f64>,
    modes: Vec<usize>,
}

fn mean<'a>(spectra: impl Iterator<Item = &'a Binned> + Clone) -> Mean {
    let count = spectra.clone().count() as f64;
    let Some(first) = spectra.clone().next() else { unreachable!("at least one realisation") };
    let bins = first.k.len();
    let at = |i: usize| spectra.clone().map(move |s| s.power[i]);
    let mean: Vec<f64> = (0..bins).map(|i| at(i).sum::<f64>() / count).collect();
    let scatter = (0..bins)
        .map(|i| (at(i).map(|p| (p - mean[i]).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt())
        .collect();
    Mean { k: first.k.clone(), mean, scatter, modes: first.modes.clone() }
}

fn curve(name: &str, points: Vec<(f64, f64)>, colour: usize) -> Curve {
    Curve { name: name.into(), points, colour: COLOURS[colour], width: 2 }
}

/// Writes `report.html` and the tables of means.
pub(super) fn write<T: Real>(
    file: &SimulateFile,
    universe: &Universe<T>,
    all: &[Spectra],
    directory: &Path,
) -> Result<()> {
    let mut sections = Vec::new();
    if let Matter::Cone(cone) = &universe.matter {
        let words = if cone.settings().subtract_mean { "taken off" } else { "left in" };
        let words = format!(
            "Convergence of the sources (kappa), and density contrast of shells and galaxies, of the first realisation, the mean of a smooth universe {words}. The colours leave out half a percent of the pixels at either end."
        );
        sections.push(maps("Maps", words, cone, &cone.settings().names(), directory)?);
        for (wanted, heading, symbol) in
            [(file.output.shear, "Shear", "gamma"), (file.output.reduced_shear, "Reduced shear", "g")]
        {
            if wanted {
                let names = shear_names(cone, symbol);
                sections.push(maps(heading, words_on_shear(heading, symbol, cone), cone, &names, directory)?);
            }
        }
        sections.extend(map_spectra(cone, all, directory)?);
    }
    if let Some(Rays { tracing, .. }) = &universe.rays {
        let names: Vec<String> =
            tracing.codomain().blocks().iter().map(|block| format!("rays_{}", block.name)).collect();
        let words = "Convergence, shear and rotation that rays bring along which are deflected by one lens plane after the other, through the same universe. Without deflections the rotation would be zero, and the convergence that of the maps above for the same sources, but for its mean, which is taken off, and for the thickness of the planes.".into();
        sections.push(maps("Rays beyond the Born approximation", words, tracing.cone(), &names, directory)?);
    }
    for moment in moments(universe, all) {
        sections.push(matter(file, universe, &moment, directory)?);
    }
    let seconds: Vec<f64> = all.iter().map(|s| s.seconds).collect();
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let headlines = [
        ["universes".to_string(), all.len().to_string()],
        ["particles".into(), format!("{}^3", file.simulation.particles)],
        ["box".into(), format!("{} Mpc/h", file.simulation.box_size)],
        ["seconds a universe, at best".into(), format!("{fastest:.2}")],
    ];
    let title = if file.title.is_empty() { "A simulated universe" } else { &file.title };
    let page = render(serde_json::json!({
        "title": title,
        "kind": "A simulation",
        "footer": "Maps: FITS files in the folder of each realisation. Spectra: CSV files there, their means here.",
        "version": crate::VERSION,
        "headlines": headlines,
        "sections": sections,
        "chain": [
            ["initial conditions, standard normal".to_string(), universe.simulation().name_of_latents()],
            ["sigma8 of the linear density today".to_string(), format!("{:.6}", universe.simulation().cosmology().linear().sigma8())],
        ],
        "summary": [["threads".to_string(), rayon::current_num_threads().to_string()]],
        "notes": universe.simulation().settings().advice().as_slice(),
        "inputs": Vec::<String>::new(),
        "config": file.text()?,
        "citations": citations(file),
    }))?;
    files::write_whole(&directory.join("report.html"), |out| out.write_all(page.as_bytes()))
}

fn words_on_shear<T: Real>(heading: &str, symbol: &str, cone: &LightCone<T>) -> String {
    let (along, periodic) = if cone.sphere().is_some() {
        (
            "{g}1 along parallels, {g}2 towards the north-east (x to the east, y to the north: healpy has both with the other sign)",
            "",
        )
    } else {
        (
            "{g}1 along the axes of the map, {g}2 along its diagonals",
            " Maps count as periodic: a margin is wrong.",
        )
    };
    let along = along.replace("{g}", symbol);
    let formula = if symbol == "g" { ", gamma / (1 - kappa)" } else { "" };
    format!("{heading} of the sources{formula}, of the first realisation: {along}.{periodic}")
}

fn citations(file: &SimulateFile) -> Vec<[String; 2]> {
    let line = |what: &str, words: &str| [what.to_string(), words.to_string()];
    let mut all = vec![
        line("time steps", "List, Hahn & Rampf 2024, arXiv:2409.19049; Feng et al. 2016, MNRAS 463, 2273"),
        line("theory", "Takahashi et al. 2012, ApJ 761, 152; Eisenstein & Hu 1998, ApJ 496, 605"),
        line(
            "light cone",
            "Boehm et al. 2020, arXiv:2012.07266; Bartelmann & Schneider 2001, Phys. Rep. 340, 291",
        ),
    ];
    let cone = file.light_cone.as_ref();
    if file.simulation.sharpening.is_some() {
        all.push(line("sharpening", "Dai, Feng & Seljak 2018, JCAP 11, 009"));
    }
    if file.simulation.lpt == 3 {
        all.push(line("third order", "Catelan 1995, MNRAS 276, 115"));
    }
    if file.galaxies.is_some() || cone.is_some_and(|cone| !cone.galaxies.is_empty()) {
        all.push(line(
            "galaxies",
            "Desjacques, Jeong & Schmidt 2018, Phys. Rep. 733, 1; Kaiser 1987, MNRAS 227, 1",
        ));
    }
    if cone.is_some_and(|cone| cone.rays.is_some()) {
        all.push(line("rays", "Hilbert et al. 2009, A&A 499, 31"));
    }
    if cone.is_some_and(|cone| cone.nside.is_some()) {
        all.push(line("full sky", "Gorski et al. 2005, ApJ 622, 759"));
    }
    if cone.is_some_and(|cone| cone.sources.iter().any(SourceSection::is_aligned)) {
        all.push(line("intrinsic alignment", "Bridle & King 2007, New J. Phys. 9, 444"));
    }
    all
}

fn maps<T: Real>(
    heading: &str,
    words: String,
    cone: &LightCone<T>,
    names: &[String],
    directory: &Path,
) -> Result<Section> {
    let mut figures = Vec::new();
    for name in names {
        let path = directory.join(format!("realisation_0000/{name}.fits"));
        let svg = match (cone.sphere(), cone.grid()) {
            (Some(sphere), _) => {
                let map = fits::read(&path, Some(name))?.values;
                let panel = Panel::new(name, &map, Scale::Signal, robust_range(&map, 0.005));
                panel::draw_sphere(&sphere, &panel)?
            }
            (None, Some(grid)) => {
                let map = fits::read(&path, None)?.values;
                let panel = Panel::new(name, &map, Scale::Signal, robust_range(&map, 0.005));
                panel::draw(&grid, &panel)?
            }
            (None, None) => continue,
        };
        figures.push(Figure { svg, caption: String::new() });
    }
    Ok(Section { heading: heading.into(), words, figures })
}

/// Multipoles at which theory is computed.
fn multipoles(k: &[f64]) -> Vec<f64> {
    let (low, high) = (k[0], k[k.len() - 1]);
    (0..60).map(|i| low * (high / low).powf(f64::from(i) / 59.0)).collect()
}

/// Spectra of the maps, and of their pairs, beside theory.
fn map_spectra<T: Real>(cone: &LightCone<T>, all: &[Spectra], directory: &Path) -> Result<Vec<Section>> {
    let names = cone.settings().names();
    let maps: Vec<Mean> = (0..names.len()).map(|map| mean(all.iter().map(|s| &s.maps[map]))).collect();
    let theories =
        (0..names.len()).map(|map| Theory::of(cone, [map; 2], &maps[map].k)).collect::<Result<Vec<_>>>()?;
    let alone = (0..names.len())
        .map(|map| {
            let band = [&theories[map]; 2];
            map_spectrum(cone, ([map; 2], &names[map]), &maps[map], (&theories[map], band), directory)
        })
        .collect::<Result<Vec<_>>>()?;
    let words = "Spectra of the maps, averaged over all realisations, beside Limber's approximation with the halofit of Takahashi et al. (2012). The band is the scatter that a single map of this size would have if it were Gaussian. Particles add shot noise; a mesh that is too coarse takes power from small scales. The theory of galaxies is halofit with linear bias: where structure is not linear, what began in dense places has more power than that.".into();
    let mut sections = vec![Section { heading: "Spectra of the maps".into(), words, figures: alone }];
    let mut both = Vec::new();
    for (which, pair) in pairs(names.len()).into_iter().enumerate() {
        // Realisations of an earlier version have none.
        if all.iter().any(|s| s.pairs.len() <= which) {
            continue;
        }
        let name = pair.map(|map| names[map].as_str()).join("_");
        let measured = mean(all.iter().map(|s| &s.pairs[which]));
        let theory = Theory::of(cone, pair, &measured.k)?;
        let band = pair.map(|map| &theories[map]);
        both.push(map_spectrum(cone, (pair, &name), &measured, (&theory, band), directory)?);
    }
    if !both.is_empty() {
        let words = "What each map has in common with another, in the same way. What is negative has no place on logarithmic axes; the tables have all.".into();
        sections.push(Section { heading: "Spectra of pairs of maps".into(), words, figures: both });
    }
    Ok(sections)
}

/// What theory says of the spectrum of two maps.
struct Theory {
    /// In the bins, shot noise left out.
    power: Vec<f64>,
    shot: f64,
}

impl Theory {
    fn of<T: Real>(cone: &LightCone<T>, pair: [usize; 2], at: &[f64]) -> Result<Theory> {
        Ok(Theory { power: limber(cone, pair, at)?, shot: cone.shot_noise(pair)? })
    }

    fn total(&self, bin: usize) -> f64 {
        self.power[bin] + self.shot
    }
}

fn limber<T: Real>(cone: &LightCone<T>, [first, second]: [usize; 2], at: &[f64]) -> Result<Vec<f64>> {
    let maps = &cone.settings().maps;
    limber_spectrum(cone.simulation().cosmology(), (&maps[first], &maps[second]), at, true)
        .map_err(|error| Error::config("light_cone", error.to_string()))
}

/// The spectrum of two maps, or of one with itself, beside theory: a figure, and a table. The band is made of what theory
/// says of each map alone.
fn map_spectrum<T: Real>(
    cone: &LightCone<T>,
    (pair, name): ([usize; 2], &str),
    measured: &Mean,
    (theory, alone): (&Theory, [&Theory; 2]),
    directory: &Path,
) -> Result<Figure> {
    let shot = theory.shot;
    let ell = multipoles(&measured.k);
    let smooth: Vec<(f64, f64)> = ell.iter().copied().zip(limber(cone, pair, &ell)?).collect();
    let with_shot = smooth.iter().map(|&(l, c)| (l, c + shot)).collect();
    let points = measured.k.iter().copied().zip(measured.mean.iter().copied()).collect();
    let positive = |points: Vec<(f64, f64)>| points.into_iter().filter(|(_, c)| *c > 0.0).collect();
    let band = (0..measured.k.len()).map(|i| {
        let (l, c) = (measured.k[i], theory.total(i));
        // Gaussian fields: (C_12^2 + C_11 C_22) / modes.
        let error = ((c.powi(2) + alone[0].total(i) * alone[1].total(i)) / measured.modes[i] as f64).sqrt();
        (l, (c - error).max(1e-3 * theory.power[i]), c + error)
    });
    let title = format!("C_ell of {}", name.replace('_', " and "));
    let plot = Plot {
        title: &title,
        x_name: "ell",
        y_name: "C_ell [sr]",
        shades: vec![Shade {
            name: "scatter of one map".into(),
            points: band.filter(|(_, low, _)| *low > 0.0).collect(),
            colour: COLOURS[5],
        }],
        curves: vec![
            curve("simulated", positive(points), 1),
            curve("Limber, halofit", positive(smooth), 0),
            curve("and shot noise", positive(with_shot), 2),
        ],
        size: (560, 380),
    };
    let mut text = "ell,c_ell_mean,scatter,modes,limber_halofit,shot_noise\n".to_string();
    for (i, limber) in theory.power.iter().enumerate() {
        text += &format!(
            "{:e},{:e},{:e},{},{:e},{shot:e}\n",
            measured.k[i], measured.mean[i], measured.scatter[i], measured.modes[i], limber
        );
    }
    files::write_whole(&directory.join(format!("cl_{name}_mean.csv")), |out| out.write_all(text.as_bytes()))?;
    Ok(Figure { svg: plot.logarithmic()?, caption: String::new() })
}

/// Spectra of all universes at one moment.
struct Moment<'a> {
    /// Folder within that of a realisation.
    folder: String,
    at: f64,
    matter: Vec<&'a Binned>,
    galaxies: Option<Vec<&'a [Binned; 2]>>,
}

/// The snapshots, and the end.
fn moments<'a, T: Real>(universe: &Universe<T>, all: &'a [Spectra]) -> Vec<Moment<'a>> {
    let times = &universe.simulation().settings().times;
    let mut moments: Vec<Moment<'a>> = universe
        .snapshots
        .iter()
        .enumerate()
        .map(|(which, (view, redshift))| Moment {
            folder: snapshot_folder(*redshift),
            at: times[*view],
            matter: all.iter().map(|s| &s.snapshots[which].0).collect(),
            galaxies: all.iter().map(|s| s.snapshots[which].1.as_ref()).collect(),
        })
        .collect();
    moments.push(Moment {
        folder: String::new(),
        at: times[times.len() - 1],
        matter: all.iter().map(|s| &s.density).collect(),
        galaxies: all.iter().map(|s| s.galaxies.as_ref()).collect(),
    });
    moments
}

fn matter<T: Real>(
    file: &SimulateFile,
    universe: &Universe<T>,
    moment: &Moment<'_>,
    directory: &Path,
) -> Result<Section> {
    let simulation = universe.simulation();
    let (cosmology, settings) = (simulation.cosmology(), simulation.settings());
    let a = moment.at;
    let folder = directory.join("realisation_0000").join(&moment.folder);
    let slab = npy::read(&folder.join("density_slab.npy"))?.values;
    let log: Vec<f64> = slab.iter().map(|x| x.max(1e-2).log10()).collect();
    let grid = Grid::new(&[settings.cells; 2], &[settings.length; 2])?;
    let mut panel = Panel::new("log10(1 + delta)", &log, Scale::Signal, robust_range(&log, 0.005));
    panel.unit = panel::Unit::Megaparsec;
    let mut figures = vec![Figure {
        svg: panel::draw(&grid, &panel)?,
        caption: format!(
            "A slab of {:.1} Mpc/h of the first realisation, at scale factor {a:.3}.",
            slab_planes(settings) as f64 * settings.length / settings.cells as f64
        ),
    }];
    let measured = mean(moment.matter.iter().copied());
    let linear = |k: f64| cosmology.linear_power(k, a);
    let halofit = Halofit::new(cosmology, a).ok();
    let shot = (settings.length / settings.particles as f64).powi(3);
    let points = measured.k.iter().copied().zip(measured.mean.iter().copied()).collect();
    let line = |f: &dyn Fn(f64) -> f64| multipoles(&measured.k).into_iter().map(|k| (k, f(k))).collect();
    let mut curves = vec![curve("simulated", points, 1), curve("linear", line(&linear), 5)];
    if let Some(halofit) = &halofit {
        curves.push(curve("halofit", line(&|k| halofit.power(k, linear(k))), 0));
    }
    curves.push(curve("shot noise", line(&|_| shot), 4));
    let plot = Plot {
        title: "P(k) of matter",
        x_name: "k [h/Mpc]",
        y_name: "P [(Mpc/h)^3]",
        shades: Vec::new(),
        curves,
        size: (560, 380),
    };
    figures.push(Figure { svg: plot.logarithmic()?, caption: String::new() });
    if let (Some(spectra), Some(section)) = (&moment.galaxies, &file.galaxies) {
        figures.push(galaxies((section, spectra), cosmology, a)?);
    }
    let words = format!(
        "At scale factor {a:.3}, on a mesh of {}^3 cells in a box of {} Mpc/h. The spectrum has the window of the mesh divided out, and shot noise left in (particles that began on a lattice have less of it where they have not mixed).",
        settings.cells, file.simulation.box_size
    );
    let heading = if moment.folder.is_empty() {
        "Matter".into()
    } else {
        format!("Matter at redshift {:.3}", 1.0 / a - 1.0)
    };
    Ok(Section { heading, words, figures })
}

/// Monopole and quadrupole of galaxies beside linear theory (Kaiser 1987).
fn galaxies(
    (section, spectra): (&GalaxiesSection, &[&[Binned; 2]]),
    cosmology: &Cosmology<f64>,
    a: f64,
) -> Result<Figure> {
    let [monopole, quadrupole] = [0, 1].map(|which| mean(spectra.iter().map(|pair| &pair[which])));
    let instant = cosmology.instant(a);
    let (bias, rate) =
        (section.bias().linear(), if section.redshift_space { instant.d1.slope / instant.d1.d } else { 0.0 });
    let theory = [
        bias * bias + 2.0 / 3.0 * bias * rate + 0.2 * rate * rate,
        4.0 / 3.0 * bias * rate + 4.0 / 7.0 * rate * rate,
    ];
    // What is negative or next to nothing has no place on logarithmic axes.
    let points = |measured: &Mean| {
        let all = measured.k.iter().zip(&measured.mean).zip(&monopole.mean);
        all.filter(|((_, power), most)| **power > 1e-3 * **most).map(|((k, power), _)| (*k, *power)).collect()
    };
    let line = |factor: f64| {
        multipoles(&monopole.k).into_iter().map(|k| (k, factor * cosmology.linear_power(k, a))).collect()
    };
    let mut curves =
        vec![curve("monopole", points(&monopole), 1), curve("linear monopole", line(theory[0]), 0)];
    if section.redshift_space {
        curves.push(curve("quadrupole", points(&quadrupole), 2));
        curves.push(curve("linear quadrupole", line(theory[1]), 5));
    }
    let plot = Plot {
        title: "P(k) of galaxies",
        x_name: "k [h/Mpc]",
        y_name: "P [(Mpc/h)^3]",
        shades: Vec::new(),
        curves,
        size: (560, 380),
    };
    let space = if section.redshift_space { "in redshift space" } else { "in real space" };
    let caption = format!(
        "Galaxies of linear bias {bias}, {space}, beside linear theory (Kaiser 1987); shot noise left in."
    );
    Ok(Figure { svg: plot.logarithmic()?, caption })
}
