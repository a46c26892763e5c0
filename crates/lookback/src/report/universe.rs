//! A reconstructed universe: how its initial conditions, its density and its maps compare with the truth.

use lookback_inference::Number;
use lookback_mesh::{Grid, RealFft, bin_edges};
use num_complex::Complex;

use super::colour::Scale;
use super::curves::{COLOURS, Curve, Plot};
use super::panel::{self, Panel, Unit, robust_range, symmetric_range};
use super::{Figure, Section};
use crate::Result;
use crate::problem::Problem;
use crate::run::Recorder;

/// Bins of the correlation.
const BINS: usize = 20;

/// Correlation of two fields, scale by scale.
pub(crate) struct Correlation {
    /// Wave numbers \[h/Mpc\].
    pub(crate) k: Vec<f64>,
    /// `<a b> / sqrt(<a a> <b b>)`.
    pub(crate) r: Vec<f64>,
    /// `sqrt(<a a> / <b b>)`.
    pub(crate) transfer: Vec<f64>,
}

/// What the maximum tells of the universe.
pub(crate) struct Universe {
    /// Density contrast at the end, and the true one.
    pub(crate) density: Vec<f32>,
    true_density: Option<Vec<f32>>,
    mesh: Grid,
    /// Of the initial conditions.
    pub(crate) initial: Option<Correlation>,
    /// Of the density at the end.
    pub(crate) last: Option<Correlation>,
}

/// Simulates the reconstruction once more, and the truth if it is known.
pub(crate) fn analyse<T: Number>(problem: &Problem<T>, recorder: &Recorder) -> Result<Option<Universe>> {
    let Some(universe) = problem.prior.universe.as_ref().filter(|_| !recorder.centre_latents.is_empty())
    else {
        return Ok(None);
    };
    let cone = &universe.cone;
    let grid = problem.prior.latent_grid.as_ref().unwrap_or(&problem.grid);
    let settings = cone.simulation().settings();
    let mesh = Grid::new(&[settings.cells; 3], &[settings.length; 3])?;
    let density = |latents: &[f32]| -> Result<Vec<f32>> {
        let inside = grid.len() + universe.free;
        let latents: Vec<T> = latents[..inside].iter().map(|&z| T::of(f64::from(z))).collect();
        let mut run = cone.simulation().run()?;
        run.evolve(&universe.point.apply(&latents)?, None)?;
        let mut delta = vec![T::zero(); mesh.len()];
        run.density(&mut delta);
        Ok(delta.iter().map(|d| d.f64() as f32).collect())
    };
    let found = density(&recorder.centre_latents)?;
    let truth: Option<Vec<f32>> =
        problem.true_latents.as_ref().map(|z| z.iter().map(|z| z.f64() as f32).collect());
    let true_density = truth.as_ref().map(|truth| density(truth)).transpose()?;
    // Hartley modes are real, so their products are those of Fourier modes summed over both signs.
    let initial = truth.as_ref().map(|truth| {
        let k = |i: usize| grid.wave_vector(i / grid.columns(), i % grid.columns());
        let length = |k: [f64; 3]| k.iter().map(|k| k * k).sum::<f64>().sqrt();
        let modes = recorder.centre_latents[..grid.len()].iter().zip(truth).enumerate();
        let products =
            modes.map(|(i, (&a, &b))| (length(k(i)), [f64::from(a * b), f64::from(a * a), f64::from(b * b)]));
        correlate(grid, products)
    });
    let last = true_density.as_ref().map(|truth| {
        let fft = RealFft::<f32>::new(&mesh);
        let transform = |field: &[f32]| -> Vec<Complex<f32>> {
            let mut spectrum = fft.make_spectrum();
            fft.forward(field, &mut spectrum);
            spectrum
        };
        let (a, b) = (transform(&found), transform(truth));
        let products = a.into_iter().zip(b).zip(mesh.half_wave_numbers()).map(|((a, b), k)| {
            let product = |a: Complex<f32>, b: Complex<f32>| {
                f64::from(a.re) * f64::from(b.re) + f64::from(a.im) * f64::from(b.im)
            };
            (k, [product(a, b), product(a, a), product(b, b)])
        });
        correlate(&mesh, products)
    });
    Ok(Some(Universe { density: found, true_density, mesh, initial, last }))
}

fn correlate(grid: &Grid, products: impl Iterator<Item = (f64, [f64; 3])>) -> Correlation {
    let edges = bin_edges(grid, BINS);
    let mut sums = vec![([0.0; 3], 0.0, 0.0); BINS];
    for (k, product) in products {
        let bin = edges.partition_point(|&edge| edge <= k);
        if k > 0.0 && (1..=BINS).contains(&bin) {
            let (sum, mean, count) = &mut sums[bin - 1];
            sum.iter_mut().zip(product).for_each(|(sum, x)| *sum += x);
            *mean += k;
            *count += 1.0;
        }
    }
    let filled: Vec<&([f64; 3], f64, f64)> = sums.iter().filter(|(_, _, count)| *count > 0.0).collect();
    Correlation {
        k: filled.iter().map(|(_, mean, count)| mean / count).collect(),
        r: filled.iter().map(|([ab, aa, bb], ..)| ab / (aa * bb).sqrt().max(f64::MIN_POSITIVE)).collect(),
        transfer: filled.iter().map(|([_, aa, bb], ..)| (aa / bb.max(f64::MIN_POSITIVE)).sqrt()).collect(),
    }
}

/// The figure of the field: truth, data, reconstruction, for each map; and how well the scales agree.
pub(crate) fn sections<T: Number>(
    problem: &Problem<T>,
    recorder: &Recorder,
    universe: &Universe,
) -> Result<Vec<Section>> {
    let n = problem.grid.len();
    let mut figures = Vec::new();
    let names = problem.prior.operator.codomain().blocks().iter().map(|block| &block.name);
    for (source, name) in names.take(problem.prior.maps).enumerate() {
        let map: Vec<f64> = recorder.centre_maps[source * n..][..n].iter().map(|&x| f64::from(x)).collect();
        let range = match &problem.truth {
            Some(truth) if truth.len() == problem.prior.maps * n => {
                symmetric_range(&truth[source * n..][..n], 0.003)
            }
            _ => symmetric_range(&map, 0.003),
        };
        let mut draw = |title: String, map: &[f64], seen: Option<&[bool]>| -> Result<()> {
            let mut panel = Panel::new(&title, map, Scale::Diverging, range);
            panel.seen = seen;
            figures.push(Figure { svg: panel::draw(&problem.grid, &panel)?, caption: String::new() });
            Ok(())
        };
        if let Some(truth) = problem.truth.as_ref().filter(|truth| truth.len() == problem.prior.maps * n) {
            draw(format!("truth: {name}"), &truth[source * n..][..n], None)?;
        }
        if let Some(data) = problem.observation.names.iter().position(|data| data == name) {
            draw(
                format!("data: {name}"),
                &problem.observation.maps[data],
                Some(&problem.observation.masks[data]),
            )?;
        }
        draw(format!("reconstruction: {name}"), &map, None)?;
    }
    let words = "One colour scale in each row. The reconstruction is the light cone of the most probable initial conditions: smooth where noise hides what there is.".into();
    let maps = Section { heading: "Truth, data, reconstruction".into(), words, figures };
    let mut figures = Vec::new();
    let side = universe.mesh.columns();
    let depth = (side / 8).max(1);
    let both = [("reconstruction", Some(&universe.density)), ("truth", universe.true_density.as_ref())];
    let square = Grid::new(&[side; 2], &[universe.mesh.lengths()[0]; 2])?;
    for (name, density) in both {
        let Some(density) = density else { continue };
        let slab: Vec<f64> = (0..side * side)
            .map(|i| {
                let sum: f64 = (0..depth).map(|p| 1.0 + f64::from(density[p * side * side + i])).sum();
                (sum / depth as f64).max(1e-2).log10()
            })
            .collect();
        let title = format!("log10(1 + delta) today, {name}");
        let mut panel = Panel::new(&title, &slab, Scale::Signal, robust_range(&slab, 0.005));
        panel.unit = Unit::Megaparsec;
        figures.push(Figure { svg: panel::draw(&square, &panel)?, caption: String::new() });
    }
    if let (Some(initial), Some(last)) = (&universe.initial, &universe.last) {
        let line = |name: &str, c: &Correlation, y: &[f64], colour: usize| Curve {
            name: name.into(),
            points: c.k.iter().map(|k| k.log10()).zip(y.iter().copied()).collect(),
            colour: COLOURS[colour],
            width: 2,
        };
        let plot = Plot {
            title: "Correlation with the truth",
            x_name: "log10 k [h/Mpc]",
            y_name: "r(k)",
            shades: Vec::new(),
            curves: vec![
                line("initial conditions", initial, &initial.r, 0),
                line("density today", last, &last.r, 1),
                line("amplitude, initial", initial, &initial.transfer, 5),
            ],
            size: (560, 380),
        };
        figures.push(Figure { svg: plot.linear()?, caption: String::new() });
    }
    let words = "A slab of an eighth of the box. A light cone sees the box many times from several sides, and each region only where the sources are behind it: what is not seen stays at the mean of the prior, so that the correlation over the whole box is well below that of the maps.".into();
    Ok(vec![maps, Section { heading: "The universe behind the maps".into(), words, figures }])
}
