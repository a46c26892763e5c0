//! The layers of a prior of maps, with the gradient of what is made of their draws.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::filter::{Modes, filtered, spectrum};
use crate::flow::knots::{KnotCotangents, Knots, gaussianising_spline};
use crate::layer::{Begin, Role, Weight};
use crate::{Error, Result};

/// `[field]`: how much a prior of maps can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FieldSection {
    /// Pairs of a function of a pixel and a filter, after a first filter; 0 makes a Gaussian field.
    pub layers: usize,
    /// Knots of a filter, from the field's size to its pixels.
    pub filter_knots: usize,
    /// Knots of a function of a pixel.
    pub warp_knots: usize,
    /// Pixels at each border of a training map that are not looked at: scales there see the opposite side of the map.
    pub margin: usize,
}

impl Default for FieldSection {
    fn default() -> FieldSection {
        FieldSection { layers: 2, filter_knots: 16, warp_knots: 12, margin: 32 }
    }
}

impl FieldSection {
    /// Refuses numbers out of their ranges.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(&self) -> Result<()> {
        if self.filter_knots < 2 {
            return Err(Error::option("filter_knots", "must be at least 2"));
        }
        if self.warp_knots < 3 {
            return Err(Error::option("warp_knots", "must be at least 3"));
        }
        Ok(())
    }
}

/// `x = offset + scale T_L W_L ... T_1 W_1 T_0 z`, with white noise `z`, isotropic filters `T` and monotone functions `W` of a pixel.
/// The last filter gives what is rare its shape: the profiles of haloes.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldGenerator {
    section: FieldSection,
    /// Wave numbers of the knots of the filters [1/rad].
    ell: Vec<f64>,
}

/// A monotone function whose knots are made of weights.
pub(super) struct Warp<T> {
    x: Vec<T>,
    y: Vec<T>,
    slope: Vec<T>,
}

impl<T: Real> Warp<T> {
    /// From places, first value, logarithms of the rises, logarithms of the slopes.
    fn of(weights: &[T], knots: usize) -> Warp<T> {
        let (x, rest) = weights.split_at(knots);
        let (rises, log_slopes) = rest.split_at(knots);
        let mut y = vec![rises[0]];
        for rise in &rises[1..] {
            y.push(y[y.len() - 1] + rise.exp());
        }
        Warp { x: x.to_vec(), y, slope: log_slopes.iter().map(|s| s.exp()).collect() }
    }

    pub fn knots(&self) -> Knots<'_, T> {
        Knots { x: &self.x, y: &self.y, slope: &self.slope }
    }

    /// The weights of a function with these places, values and slopes.
    fn weights([x, y, slope]: [Vec<f32>; 3]) -> Vec<T> {
        let rises = y.windows(2).map(|pair| f64::from(pair[1] - pair[0]).ln());
        let logs = slope.iter().map(|s| f64::from(*s).ln());
        let all = x.iter().map(|x| f64::from(*x)).chain([f64::from(y[0])]).chain(rises).chain(logs);
        all.map(T::of).collect()
    }

    /// Adds what cotangents of knots are for the weights.
    fn pull(&self, knots: &KnotCotangents, gradient: &mut [T]) {
        let n = self.x.len();
        // Every rise before a knot moves it, and all that lies beyond.
        let mut beyond = 0.0;
        for k in (0..n).rev() {
            beyond += knots.begins[k];
            if k > 0 {
                let rise = (self.y[k] - self.y[k - 1]).f64();
                gradient[n + k] += T::of((beyond + knots.rises[k - 1]) * rise);
            } else {
                gradient[n] += T::of(beyond);
            }
            gradient[2 * n + k] += T::of(knots.slopes[k] * self.slope[k].f64());
        }
    }
}

/// The weights of a filter, and of the function before it, if there is one.
pub(super) struct Layer<'a, T> {
    pub warp: Option<&'a [T]>,
    pub filter: &'a [T],
    start: usize,
}

/// A grid made ready for a generator.
pub(super) struct OnGrid<T: Real> {
    pub fft: RealFft<T>,
    modes: Modes,
}

/// Pixels that one task takes.
pub(super) const CHUNK: usize = 1 << 13;

/// What the gradient needs of a layer.
pub(super) struct Kept<T> {
    before: Vec<T>,
    spectrum: Vec<Complex<T>>,
    factors: Vec<T>,
}

impl FieldGenerator {
    /// Of maps on a grid whose lengths are angles [rad]: the knots reach from its size to the corners of its modes.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn new(section: FieldSection, grid: &Grid) -> Result<FieldGenerator> {
        section.check()?;
        let (low, high) = (grid.fundamental(), grid.nyquist() * std::f64::consts::SQRT_2);
        let steps = (section.filter_knots - 1) as f64;
        let ell = (0..section.filter_knots).map(|j| low * (high / low).powf(j as f64 / steps)).collect();
        Ok(FieldGenerator { section, ell })
    }

    /// Of knots that are known.
    pub(super) fn of(section: FieldSection, ell: Vec<f64>) -> Result<FieldGenerator> {
        section.check()?;
        let rise = ell.windows(2).all(|pair| pair[0] > 0.0 && pair[1] > pair[0]);
        if ell.len() != section.filter_knots || !rise {
            return Err(Error::Data("the knots of the filters do not rise, or are too few".into()));
        }
        Ok(FieldGenerator { section, ell })
    }

    /// Wave numbers of the knots of the filters [1/rad].
    pub fn ell(&self) -> &[f64] {
        &self.ell
    }

    /// What it can say.
    pub fn section(&self) -> FieldSection {
        self.section
    }

    /// The arrays of weights.
    pub fn weights(&self) -> Vec<Weight> {
        let array = |name: &str, len, value, role| Weight::new(name, &[len], Begin::Constant(value), role);
        let mut all = vec![array("offset", 1, 0.0, Role::Statistic), array("scale", 1, 1.0, Role::Statistic)];
        for layer in 0..=self.section.layers {
            if layer > 0 {
                let knots = self.section.warp_knots;
                for (name, role) in
                    [("places", Role::Statistic), ("rises", Role::Vector), ("slopes", Role::Vector)]
                {
                    all.push(array(&format!("warp.{name}"), knots, 0.0, role).within(layer));
                }
            }
            all.push(array("filter", self.ell.len(), 0.0, Role::Vector).within(layer));
        }
        all
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        Weight::total(&self.weights())
    }

    /// Never: there is at least a filter.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The layers, from white noise to maps.
    pub(super) fn layers<'a, T>(
        &self,
        weights: &'a [T],
    ) -> impl DoubleEndedIterator<Item = Layer<'a, T>> + ExactSizeIterator {
        let (warp, filter) = (3 * self.section.warp_knots, self.ell.len());
        (0..self.section.layers + 1).map(move |layer| {
            // The first filter has no function before it.
            let warp = if layer > 0 { warp } else { 0 };
            let start = 2 + if layer > 0 { filter + (layer - 1) * (warp + filter) } else { 0 };
            let here = &weights[start..start + warp + filter];
            Layer { warp: (warp > 0).then(|| &here[..warp]), filter: &here[warp..], start }
        })
    }

    /// The function that weights are.
    pub(super) fn warp<T: Real>(&self, weights: &[T]) -> Warp<T> {
        Warp::of(weights, self.section.warp_knots)
    }

    /// A grid of maps; the wave numbers of its modes are measured against the knots.
    pub(super) fn on<T: Real>(&self, grid: &Grid) -> OnGrid<T> {
        OnGrid { fft: RealFft::new(grid), modes: Modes::new(grid, &self.ell) }
    }

    /// First weights: a Gaussian field whose function gives every pixel the distribution of the maps' pixels (`inside` says which), and
    /// whose spectrum is that of the maps behind that function; what comes after does nothing.
    pub(super) fn prepare(
        &self,
        weights: &mut [f32],
        grid: &OnGrid<f32>,
        maps: &[&[f32]],
        inside: impl Fn(usize) -> bool,
    ) {
        let pixels = || maps.iter().flat_map(|map| map.iter()).map(|&x| f64::from(x));
        let count = pixels().count() as f64;
        let mean = pixels().sum::<f64>() / count;
        let std = (pixels().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt().max(1e-30);
        (weights[0], weights[1]) = (mean as f32, std as f32);
        let mut fields: Vec<Vec<f32>> = maps
            .iter()
            .map(|map| map.iter().map(|&x| ((f64::from(x) - mean) / std) as f32).collect())
            .collect();
        let knots = self.section.warp_knots;
        let starts: Vec<usize> = self.layers(weights).map(|layer| layer.start).collect();
        for (layer, &start) in starts.iter().enumerate().skip(1) {
            let numbered = fields.iter().flat_map(|field| field.iter().enumerate());
            let sample: Vec<f32> = numbered.filter(|(at, _)| inside(*at)).map(|(_, &x)| x).collect();
            let spline = gaussianising_spline(sample, knots, 1.0).filter(|_| layer == 1);
            let [x, y, slope] = spline.unwrap_or_else(|| identity(knots));
            let inverse = [y, x, slope.into_iter().map(|s| 1.0 / s).collect()];
            weights[start..start + 3 * knots].copy_from_slice(&Warp::weights(inverse));
            if layer == 1 {
                let warp = self.warp(&weights[start..start + 3 * knots]);
                for field in &mut fields {
                    field.par_iter_mut().with_min_len(CHUNK).for_each(|x| *x = warp.knots().invert(*x));
                }
            }
        }
        let mut power = vec![0.0; self.ell.len()];
        for field in &fields {
            let modes = spectrum(&grid.fft, field);
            let of_map = grid.modes.shared_out(|mode| f64::from(modes[mode].norm_sqr()));
            power.iter_mut().zip(of_map).for_each(|(power, more)| *power += more);
        }
        let modes = grid.modes.shared_out(|_| 1.0);
        let cells = (grid.fft.cells() * maps.len()) as f64;
        for (filter, (power, modes)) in weights[starts[0]..].iter_mut().zip(power.iter().zip(&modes)) {
            *filter = (0.5 * (power / (modes * cells)).max(1e-12).ln()) as f32;
        }
    }

    /// A map from white noise, layer by layer; `see` is shown what the gradient needs.
    pub(super) fn forward<T: Real>(
        &self,
        weights: &[T],
        grid: &OnGrid<T>,
        noise: Vec<T>,
        mut see: impl FnMut(Kept<T>),
    ) -> Vec<T> {
        let mut field = noise;
        for layer in self.layers(weights) {
            let before = field;
            let mut after = before.clone();
            if let Some(warp) = layer.warp {
                let warp = self.warp(warp);
                after.par_iter_mut().with_min_len(CHUNK).for_each(|x| *x = warp.knots().evaluate(*x).0);
            }
            let spectrum = spectrum(&grid.fft, &after);
            let factors = grid.modes.factors(layer.filter);
            field = filtered(&grid.fft, &spectrum, &factors);
            see(Kept { before, spectrum, factors });
        }
        field.iter_mut().for_each(|x| *x = weights[0] + weights[1] * *x);
        field
    }

    /// Adds the gradient of the weights, from the cotangent of a map.
    pub(super) fn pull<T: Real>(
        &self,
        weights: &[T],
        grid: &OnGrid<T>,
        kept: Vec<Kept<T>>,
        mut cotangent: Vec<T>,
        gradient: &mut [T],
    ) {
        cotangent.iter_mut().for_each(|dx| *dx *= weights[1]);
        let cells = grid.fft.cells() as f64;
        for (layer, kept) in self.layers(weights).zip(kept).rev() {
            let modes = spectrum(&grid.fft, &cotangent);
            let of_filter = grid.modes.shared_out(|mode| {
                let (a, d) = (kept.spectrum[mode], modes[mode]);
                kept.factors[mode].f64() * (a.re.f64() * d.re.f64() + a.im.f64() * d.im.f64()) / cells
            });
            let filter = layer.start + layer.warp.map_or(0, <[T]>::len);
            gradient[filter..].iter_mut().zip(of_filter).for_each(|(g, more)| *g += T::of(more));
            cotangent = filtered(&grid.fft, &modes, &kept.factors);
            if let Some(warp) = layer.warp {
                self.pull_warp(&self.warp(warp), &kept.before, &mut cotangent, &mut gradient[layer.start..]);
            }
        }
    }

    /// Through a function: the cotangent of its values becomes that of what went in.
    fn pull_warp<T: Real>(&self, warp: &Warp<T>, before: &[T], cotangent: &mut [T], gradient: &mut [T]) {
        let chunks = cotangent.par_chunks_mut(CHUNK).zip(before.par_chunks(CHUNK));
        let sums: Vec<KnotCotangents> = chunks
            .map(|(cotangent, before)| {
                let mut to = KnotCotangents::zeros(self.section.warp_knots);
                for (dx, &x) in cotangent.iter_mut().zip(before) {
                    *dx = warp.knots().pull(x, *dx, &mut to);
                }
                to
            })
            .collect();
        let zeros = KnotCotangents::zeros(self.section.warp_knots);
        warp.pull(&sums.iter().fold(zeros, |sum, more| sum.add(more)), gradient);
    }
}

/// A function that does nothing.
fn identity(knots: usize) -> [Vec<f32>; 3] {
    let x: Vec<f32> = (0..knots).map(|k| -3.0 + 6.0 * k as f32 / (knots - 1) as f32).collect();
    [x.clone(), x, vec![1.0; knots]]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::field::learned_field;
    use lookback_mesh::Synthesis;
    use lookback_operator::random::{Purpose, Stream};
    use lookback_operator::{LinearOperator, Space};

    pub const SIDE: usize = 64;

    pub fn grid() -> Grid {
        Grid::sky(SIDE, SIDE, 1e-4).expect("a grid")
    }

    pub fn section(layers: usize, margin: usize) -> FieldSection {
        FieldSection { layers, filter_knots: 8, warp_knots: 8, margin }
    }

    pub fn white(draw: u32) -> Vec<f64> {
        let mut noise = vec![0.0; SIDE * SIDE];
        Stream::new(5, Purpose::Test, draw).fill_normal(&mut noise);
        noise
    }

    /// A field of modes with amplitudes that are given.
    fn synthesis(amplitude: impl Fn(f64) -> f64, modes: &[f64]) -> Vec<f64> {
        let grid = grid();
        let amplitudes = grid.half_wave_numbers().into_iter().map(amplitude).collect();
        let space = Space::single("a", grid.shape(), "");
        let field = Synthesis::new("a", &grid, space.clone(), space, vec![amplitudes]);
        let mut y = vec![0.0; modes.len()];
        field.forward(modes, &mut y, &mut field.scratch());
        y
    }

    /// A lognormal field.
    pub fn lognormal(draw: u32) -> Vec<f32> {
        let y = synthesis(|k| 1.5 / (1.0 + (k / 4000.0).powi(2)).sqrt(), &white(draw));
        y.iter().map(|y| (0.03 * y.exp_m1()) as f32).collect()
    }

    /// Weights that a lognormal map suggests, and bent a little.
    fn weights(generator: &FieldGenerator) -> Vec<f64> {
        let mut first: Vec<f32> = crate::begin(&generator.weights(), 1);
        generator.prepare(&mut first, &generator.on(&grid()), &[&lognormal(0)], |_| true);
        let bend = |(i, w): (usize, f32)| f64::from(w) + 0.05 * (i as f64).sin();
        first.into_iter().enumerate().map(bend).collect()
    }

    #[test]
    fn the_gradient_agrees_with_differences() {
        let generator = FieldGenerator::new(section(2, 0), &grid()).expect("a generator");
        let weights = weights(&generator);
        let on = generator.on::<f64>(&grid());
        let (noise, cotangent) = (white(1), white(2));
        let mut kept = Vec::new();
        generator.forward(&weights, &on, noise.clone(), |layer| kept.push(layer));
        let mut gradient = vec![0.0; weights.len()];
        generator.pull(&weights, &on, kept, cotangent.clone(), &mut gradient);
        let value = |weights: &[f64]| {
            let map = generator.forward(weights, &on, noise.clone(), |_| ());
            lookback_operator::vector::dot(&map, &cotangent)
        };
        let mut start = 0;
        for weight in generator.weights() {
            for at in start..start + weight.len() {
                let moved = |h: f64| {
                    let mut moved = weights.clone();
                    moved[at] += h;
                    value(&moved)
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let expected = if weight.role == Role::Vector { difference } else { 0.0 };
                let error = (gradient[at] - expected).abs();
                assert!(error < 1e-6, "{} {}: {} {expected}", weight.name, at - start, gradient[at]);
            }
            start += weight.len();
        }
    }

    #[test]
    fn the_operator_makes_what_was_trained() {
        let generator = FieldGenerator::new(section(2, 0), &grid()).expect("a generator");
        let weights: Vec<f32> = weights(&generator).into_iter().map(|w| w as f32).collect();
        let prior = learned_field::<f64>(&generator, &weights, &grid(), "kappa", "").expect("a prior");
        // Modes with amplitude one are white noise.
        let modes = white(3);
        let noise = synthesis(|_| 1.0, &modes);
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let made = generator.forward(&weights, &generator.on(&grid()), noise, |_| ());
        let expected = prior.apply(&modes).expect("finite");
        let worst = expected.iter().zip(&made).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f64::max) < 1e-12);
    }
}
