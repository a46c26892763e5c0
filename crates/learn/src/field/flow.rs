//! The flow of a map: from pixels to white noise, with the gradient of its density.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::filter::{Modes, filtered};
use crate::flow::knots::{KnotCotangents, Knots, gaussianising_spline};
use crate::layer::{Begin, Role, Weight};
use crate::{Error, Result};

/// `[field]`: how much a prior of maps can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FieldSection {
    /// Pairs of a function of a pixel and a filter; 0 makes a Gaussian field.
    pub layers: usize,
    /// Knots of a filter, from the field's size to its pixels.
    pub filter_knots: usize,
    /// Knots of a function of a pixel.
    pub warp_knots: usize,
    /// Pixels at each border of a training map that are not scored: filters there see the opposite side of the map.
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

/// A flow of maps with pixels of one size: `z = T_L W_L ... T_1 W_1 ((x - offset) / scale)`, with monotone functions `W` of a pixel and
/// isotropic filters `T`.
///
/// `ln p(x) = sum_pixels [ln N(z; 0, 1) + sum_l ln W_l'] + N sum_l <ln T_l> - N ln scale`, with the mean over all modes.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldFlow {
    section: FieldSection,
    /// Wave numbers of the knots of the filters [1/rad].
    ell: Vec<f64>,
}

/// A monotone function whose knots are made of weights.
struct Warp<T> {
    x: Vec<T>,
    y: Vec<T>,
    slope: Vec<T>,
}

impl<T: Real> Warp<T> {
    /// Places, first value, logarithms of the rises, logarithms of the slopes.
    fn of(weights: &[T], knots: usize) -> Warp<T> {
        let (x, rest) = weights.split_at(knots);
        let (rises, log_slopes) = rest.split_at(knots);
        let mut y = vec![rises[0]];
        for rise in &rises[1..] {
            y.push(y[y.len() - 1] + rise.exp());
        }
        Warp { x: x.to_vec(), y, slope: log_slopes.iter().map(|s| s.exp()).collect() }
    }

    fn knots(&self) -> Knots<'_, T> {
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

/// Where the weights of one pair lie.
struct Pair<'a, T> {
    warp: Option<&'a [T]>,
    filter: &'a [T],
    start: usize,
}

/// A grid made ready for a flow.
pub(super) struct OnGrid<T: Real> {
    fft: RealFft<T>,
    pub modes: Modes,
    columns: usize,
    rows: usize,
    margin: usize,
}

impl<T: Real> OnGrid<T> {
    fn inside(&self, at: usize) -> bool {
        let (row, column) = (at / self.columns, at % self.columns);
        let within = |i: usize, n: usize| i >= self.margin && i < n - self.margin;
        within(row, self.rows) && within(column, self.columns)
    }

    fn scored(&self) -> f64 {
        ((self.rows - 2 * self.margin) * (self.columns - 2 * self.margin)) as f64
    }
}

/// Pixels that one task takes.
const CHUNK: usize = 1 << 13;

/// What the gradient needs of a pair.
struct Kept<T> {
    before: Vec<T>,
    spectrum: Vec<Complex<T>>,
    factors: Vec<T>,
}

impl FieldFlow {
    /// Of maps on a grid whose lengths are angles [rad]: the knots reach from its size to the corners of its modes.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn new(section: FieldSection, grid: &Grid) -> Result<FieldFlow> {
        section.check()?;
        let (low, high) = (grid.fundamental(), grid.nyquist() * std::f64::consts::SQRT_2);
        let steps = (section.filter_knots - 1) as f64;
        let ell = (0..section.filter_knots).map(|j| low * (high / low).powf(j as f64 / steps)).collect();
        Ok(FieldFlow { section, ell })
    }

    /// Of knots that are known.
    pub(super) fn of(section: FieldSection, ell: Vec<f64>) -> Result<FieldFlow> {
        section.check()?;
        let rise = ell.windows(2).all(|pair| pair[0] > 0.0 && pair[1] > pair[0]);
        if ell.len() != section.filter_knots || !rise {
            return Err(Error::Data("the knots of the filters do not rise, or are too few".into()));
        }
        Ok(FieldFlow { section, ell })
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
        for pair in 0..self.filters() {
            if self.section.layers > 0 {
                let knots = self.section.warp_knots;
                for (name, role) in
                    [("places", Role::Statistic), ("rises", Role::Vector), ("slopes", Role::Vector)]
                {
                    all.push(array(&format!("warp.{name}"), knots, 0.0, role).within(pair));
                }
            }
            all.push(array("filter", self.ell.len(), 0.0, Role::Vector).within(pair));
        }
        all
    }

    fn filters(&self) -> usize {
        self.section.layers.max(1)
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        Weight::total(&self.weights())
    }

    /// Never: there is at least a filter.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn pairs<'a, T>(
        &self,
        weights: &'a [T],
    ) -> impl DoubleEndedIterator<Item = Pair<'a, T>> + ExactSizeIterator {
        let warp = if self.section.layers > 0 { 3 * self.section.warp_knots } else { 0 };
        let each = warp + self.ell.len();
        (0..self.filters()).map(move |pair| {
            let start = 2 + pair * each;
            let here = &weights[start..start + each];
            Pair { warp: (warp > 0).then(|| &here[..warp]), filter: &here[warp..], start }
        })
    }

    fn warp<T: Real>(&self, weights: &[T]) -> Warp<T> {
        Warp::of(weights, self.section.warp_knots)
    }

    /// A grid of maps; the wave numbers of its modes are measured against the knots.
    ///
    /// # Errors
    /// If margins leave nothing.
    pub(super) fn on<T: Real>(&self, grid: &Grid) -> Result<OnGrid<T>> {
        let [rows, columns] = *grid.shape() else {
            return Err(Error::Data(format!("a map has two axes, not the shape {:?}", grid.shape())));
        };
        let margin = self.section.margin;
        if 2 * margin >= rows.min(columns) {
            let message = format!("of {margin} pixels leaves nothing of maps of {rows} x {columns}");
            return Err(Error::option("margin", message));
        }
        Ok(OnGrid { fft: RealFft::new(grid), modes: Modes::new(grid, &self.ell), columns, rows, margin })
    }

    /// First weights: every function makes the pixels before it normal, every filter takes its share of what is left of the spectrum.
    pub(super) fn prepare(&self, weights: &mut [f32], grid: &OnGrid<f32>, maps: &[&[f32]]) {
        let values: Vec<f64> = maps.iter().flat_map(|map| map.iter()).map(|&x| f64::from(x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let std = variance.sqrt().max(1e-30);
        weights[0] = mean as f32;
        weights[1] = std as f32;
        let mut fields: Vec<Vec<f32>> = maps
            .iter()
            .map(|map| map.iter().map(|&x| ((f64::from(x) - mean) / std) as f32).collect())
            .collect();
        let all = self.filters();
        let warp_len = if self.section.layers > 0 { 3 * self.section.warp_knots } else { 0 };
        let starts: Vec<usize> = self.pairs(weights).map(|pair| pair.start).collect();
        for (index, start) in starts.into_iter().enumerate() {
            if warp_len > 0 {
                let inside = fields.iter().flat_map(|field| field.iter().enumerate());
                let sample: Vec<f32> = inside.filter(|(at, _)| grid.inside(*at)).map(|(_, &x)| x).collect();
                let spline = gaussianising_spline(sample, self.section.warp_knots, 1.0)
                    .unwrap_or_else(|| identity(self.section.warp_knots));
                weights[start..start + warp_len].copy_from_slice(&Warp::weights(spline));
                let warp = self.warp(&weights[start..start + warp_len]);
                for field in &mut fields {
                    field.par_iter_mut().with_min_len(CHUNK).for_each(|x| *x = warp.knots().evaluate(*x).0);
                }
            }
            let mut power = vec![0.0; self.ell.len()];
            let spectra: Vec<Vec<Complex<f32>>> =
                fields.iter().map(|field| spectrum(&grid.fft, field)).collect();
            for modes in &spectra {
                let of_map = grid.modes.shared_out(|mode| f64::from(modes[mode].norm_sqr()));
                power.iter_mut().zip(of_map).for_each(|(power, more)| *power += more);
            }
            let counts = grid.modes.shared_out(|_| 1.0);
            let cells = (grid.rows * grid.columns * maps.len()) as f64;
            let share = 0.5 / (all - index) as f64;
            let filter = start + warp_len;
            for (j, (power, count)) in power.iter().zip(&counts).enumerate() {
                let mean = (power / (count * cells)).max(1e-12);
                weights[filter + j] = (-share * mean.ln()) as f32;
            }
            let factors = grid.modes.factors(&weights[filter..filter + self.ell.len()]);
            fields = spectra.iter().map(|modes| filtered(&grid.fft, modes, &factors)).collect();
        }
    }

    /// `-ln p` a scored pixel of a map; adds its gradient with respect to the weights.
    pub(super) fn loss<T: Real>(
        &self,
        weights: &[T],
        grid: &OnGrid<T>,
        map: &[T],
        gradient: Option<&mut [T]>,
    ) -> f64 {
        let mut kept = Vec::new();
        let keep = gradient.is_some();
        let (z, log_slopes) = self.pass(weights, grid, map, |pair| {
            if keep {
                kept.push(pair);
            }
        });
        let scored = grid.scored();
        let square: f64 = sum_chunks(&z, |at, z| if grid.inside(at) { z.f64() * z.f64() } else { 0.0 });
        let log_filters: f64 = self.pairs(weights).map(|pair| grid.modes.mean_logarithm(pair.filter)).sum();
        let log_scale = weights[1].f64().ln();
        let constant = 0.5 * std::f64::consts::TAU.ln();
        if let Some(gradient) = gradient {
            let mut dy: Vec<T> = z;
            let scale = T::of(1.0 / scored);
            dy.par_iter_mut().with_min_len(CHUNK).enumerate().for_each(|(at, dy)| {
                *dy = if grid.inside(at) { *dy * scale } else { T::zero() };
            });
            for (pair, kept) in self.pairs(weights).zip(kept).rev() {
                dy = self.pull_pair(&pair, grid, &kept, &dy, gradient);
            }
        }
        (0.5 * square - log_slopes) / scored + constant + log_scale - log_filters
    }

    /// All pairs forward: the white noise, and the sum of the logarithms of the slopes over scored pixels.
    fn pass<T: Real>(
        &self,
        weights: &[T],
        grid: &OnGrid<T>,
        map: &[T],
        mut see: impl FnMut(Kept<T>),
    ) -> (Vec<T>, f64) {
        let (offset, scale) = (weights[0], weights[1]);
        let mut field: Vec<T> = map.iter().map(|&x| (x - offset) / scale).collect();
        let mut log_slopes = 0.0;
        for pair in self.pairs(weights) {
            let before = field;
            let mut after = before.clone();
            if let Some(warp) = pair.warp {
                let warp = self.warp(warp);
                let sums: Vec<f64> = after
                    .par_chunks_mut(CHUNK)
                    .enumerate()
                    .map(|(chunk, values)| {
                        let mut sum = 0.0;
                        for (i, value) in values.iter_mut().enumerate() {
                            let (y, log_slope) = warp.knots().evaluate(*value);
                            *value = y;
                            if grid.inside(chunk * CHUNK + i) {
                                sum += log_slope.f64();
                            }
                        }
                        sum
                    })
                    .collect();
                log_slopes += sums.iter().sum::<f64>();
            }
            let spectrum = spectrum(&grid.fft, &after);
            let factors = grid.modes.factors(pair.filter);
            field = filtered(&grid.fft, &spectrum, &factors);
            see(Kept { before, spectrum, factors });
        }
        (field, log_slopes)
    }

    /// Back through a pair: the cotangent of what went in; adds the gradient of its weights.
    fn pull_pair<T: Real>(
        &self,
        pair: &Pair<'_, T>,
        grid: &OnGrid<T>,
        kept: &Kept<T>,
        dy: &[T],
        gradient: &mut [T],
    ) -> Vec<T> {
        let cells = (grid.rows * grid.columns) as f64;
        let modes = spectrum(&grid.fft, dy);
        let of_filter = grid.modes.shared_out(|mode| {
            let (a, d) = (kept.spectrum[mode], modes[mode]);
            let product = a.re.f64() * d.re.f64() + a.im.f64() * d.im.f64();
            (kept.factors[mode].f64() * product - 1.0) / cells
        });
        let filter = pair.start + pair.warp.map_or(0, <[T]>::len);
        for (gradient, more) in gradient[filter..].iter_mut().zip(of_filter) {
            *gradient += T::of(more);
        }
        let mut dx = filtered(&grid.fft, &modes, &kept.factors);
        let Some(weights) = pair.warp else { return dx };
        let warp = self.warp(weights);
        let dlog_slope = T::of(-1.0 / grid.scored());
        let knots: Vec<KnotCotangents> = dx
            .par_chunks_mut(CHUNK)
            .zip(kept.before.par_chunks(CHUNK))
            .enumerate()
            .map(|(chunk, (dx, x))| {
                let mut to = KnotCotangents::zeros(self.section.warp_knots);
                for (i, (dx, &x)) in dx.iter_mut().zip(x).enumerate() {
                    let here = if grid.inside(chunk * CHUNK + i) { dlog_slope } else { T::zero() };
                    *dx = warp.knots().pull(x, *dx, here, &mut to);
                }
                to
            })
            .collect();
        let zeros = KnotCotangents::zeros(self.section.warp_knots);
        let sum = knots.iter().fold(zeros, |sum, more| sum.add(more));
        warp.pull(&sum, &mut gradient[pair.start..]);
        dx
    }

    /// The steps back from white noise: filters and functions, with offset and scale.
    pub(super) fn backwards<T: Real>(&self, weights: &[T]) -> Backwards<T> {
        let steps = self.pairs(weights).rev().map(|pair| {
            let filter = pair.filter.iter().map(|&t| -t).collect();
            (filter, pair.warp.map(|warp| Inverse(self.warp(warp))))
        });
        Backwards { steps: steps.collect(), offset: weights[0], scale: weights[1] }
    }
}

/// From white noise to pixels.
pub(super) struct Backwards<T> {
    /// The logarithm of a filter at its knots, and the function that follows it.
    pub steps: Vec<(Vec<T>, Option<Inverse<T>>)>,
    pub offset: T,
    pub scale: T,
}

/// The inverse of a monotone function.
pub(super) struct Inverse<T>(Warp<T>);

impl<T: Real> Inverse<T> {
    pub fn value(&self, y: T) -> T {
        self.0.knots().invert(y)
    }

    pub fn slope(&self, y: T) -> T {
        (-self.0.knots().evaluate(self.value(y)).1).exp()
    }
}

/// A function that does nothing, for pixels that are all the same.
fn identity(knots: usize) -> [Vec<f32>; 3] {
    let x: Vec<f32> = (0..knots).map(|k| -3.0 + 6.0 * k as f32 / (knots - 1) as f32).collect();
    [x.clone(), x, vec![1.0; knots]]
}

fn spectrum<T: Real>(fft: &RealFft<T>, field: &[T]) -> Vec<Complex<T>> {
    let mut modes = fft.make_spectrum();
    fft.forward(field, &mut modes);
    modes
}

/// A sum that does not depend on the number of threads.
fn sum_chunks<T: Real>(values: &[T], term: impl Fn(usize, T) -> f64 + Sync) -> f64 {
    let sums: Vec<f64> = values
        .par_chunks(CHUNK)
        .enumerate()
        .map(|(chunk, part)| part.iter().enumerate().map(|(i, &x)| term(chunk * CHUNK + i, x)).sum())
        .collect();
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{FieldLikelihood, learned_field};
    use crate::{Objective, Training, TrainingOptions};
    use lookback_mesh::{Synthesis, white_modes};
    use lookback_operator::random::{Purpose, Stream};
    use lookback_operator::{LinearOperator, Space};

    const SIDE: usize = 64;

    fn grid() -> Grid {
        Grid::sky(SIDE, SIDE, 1e-4).expect("a grid")
    }

    fn section(layers: usize, margin: usize) -> FieldSection {
        FieldSection { layers, filter_knots: 8, warp_knots: 8, margin }
    }

    fn white(draw: u32) -> Vec<f64> {
        let mut modes = vec![0.0; SIDE * SIDE];
        white_modes(&grid(), Stream::new(5, Purpose::Test, draw), &mut modes);
        modes
    }

    /// A lognormal field, and the logarithm of its density: that of the Gaussian field beneath, and the slopes.
    fn lognormal(draw: u32) -> (Vec<f32>, f64) {
        let grid = grid();
        let amplitude: Vec<f64> =
            grid.half_wave_numbers().iter().map(|k| 1.5 / (1.0 + (k / 4000.0).powi(2)).sqrt()).collect();
        let space = Space::single("a", grid.shape(), "");
        let field = Synthesis::new("a", &grid, space.clone(), space, vec![amplitude.clone()]);
        let z = white(draw);
        let mut y = vec![0.0; z.len()];
        field.forward(&z, &mut y, &mut field.scratch());
        let half = grid.half_columns();
        let log_amplitude: f64 =
            amplitude.iter().enumerate().map(|(i, a)| a.ln() * grid.multiplicity(i % half) as f64).sum();
        let square: f64 = z.iter().map(|z| z * z).sum();
        let log_slopes: f64 = y.iter().map(|y| y + 0.03f64.ln()).sum();
        let constant = 0.5 * std::f64::consts::TAU.ln() * z.len() as f64;
        let density = -0.5 * square - constant - log_amplitude - log_slopes;
        (y.iter().map(|y| (0.03 * y.exp_m1()) as f32).collect(), density)
    }

    #[test]
    fn the_gradient_agrees_with_differences() {
        for margin in [0, 9] {
            let flow = FieldFlow::new(section(2, margin), &grid()).expect("a flow");
            let map = lognormal(0).0;
            let mut first: Vec<f32> = crate::begin(&flow.weights(), 1);
            flow.prepare(&mut first, &flow.on(&grid()).expect("fits"), &[&map]);
            let on = flow.on::<f64>(&grid()).expect("fits");
            // Another map: knots lie on pixels of the first, where the loss bends.
            let map: Vec<f64> = lognormal(1).0.into_iter().map(f64::from).collect();
            let weights: Vec<f64> = first.into_iter().map(f64::from).collect();
            let mut gradient = vec![0.0; weights.len()];
            flow.loss(&weights, &on, &map, Some(&mut gradient));
            let mut start = 0;
            for weight in flow.weights() {
                for at in (start..start + weight.len()).step_by(3) {
                    let value = |h: f64| {
                        let mut moved = weights.clone();
                        moved[at] += h;
                        flow.loss(&moved, &on, &map, None)
                    };
                    let expected = (value(1e-6) - value(-1e-6)) / 2e-6;
                    let trained = weight.role == Role::Vector;
                    let expected = if trained { expected } else { 0.0 };
                    assert!(
                        (gradient[at] - expected).abs() < 1e-7,
                        "{}: {} {expected}",
                        weight.name,
                        gradient[at]
                    );
                }
                start += weight.len();
            }
        }
    }

    #[test]
    fn maps_become_the_noise_that_they_were_made_of() {
        let flow = FieldFlow::new(section(3, 4), &grid()).expect("a flow");
        let map = lognormal(0).0;
        let mut weights: Vec<f32> = crate::begin(&flow.weights(), 1);
        flow.prepare(&mut weights, &flow.on(&grid()).expect("fits"), &[&map]);
        // A Gaussian prior with unit amplitudes makes of modes the white noise that the flow ends in.
        let space = Space::single("a", grid().shape(), "");
        let ones = vec![1.0; grid().half_len()];
        let noise = Synthesis::<f64>::new("a", &grid(), space.clone(), space, vec![ones]);
        let z = white(1);
        let mut expected = vec![0.0; z.len()];
        noise.forward(&z, &mut expected, &mut noise.scratch());
        let made = learned_field::<f64>(&flow, &weights, &grid(), "kappa", "").expect("a prior").apply(&z);
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let on = flow.on(&grid()).expect("fits");
        let (found, _) = flow.pass(&weights, &on, &made.expect("finite"), |_| ());
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-8, "{worst}");
    }

    /// A lognormal field's density in closed form: what is learned from eight maps is within a hundredth of a nat a pixel of it on maps
    /// that were not seen, and a Gaussian field is not.
    #[test]
    fn the_density_of_a_lognormal_field_is_learned() {
        let all: Vec<_> = (0..12).map(lognormal).collect();
        let (train, judge) = all.split_at(8);
        let truth =
            -judge.iter().map(|(_, density)| density).sum::<f64>() / (judge.len() * SIDE * SIDE) as f64;
        let maps = |set: &[(Vec<f32>, f64)]| set.iter().map(|(map, _)| map.clone()).collect::<Vec<_>>();
        let (train, judge) = (maps(train), maps(judge));
        let learned = |layers: usize| {
            let flow = FieldFlow::new(section(layers, 0), &grid()).expect("a flow");
            let likelihood = FieldLikelihood::new(
                &flow,
                &grid(),
                train.iter().map(Vec::as_slice).collect(),
                judge.iter().map(Vec::as_slice).collect(),
            )
            .expect("fits");
            let options =
                TrainingOptions { epochs: 60, batch: 4, learning_rate: 1e-2, ..TrainingOptions::default() };
            let mut training = Training::new(&likelihood, &options, 1).expect("begins");
            while !training.is_done(&likelihood, &options) {
                training.advance(&likelihood, &options).expect("finite");
            }
            likelihood.validation(training.weights())
        };
        let (gaussian, flow) = (learned(0) - truth, learned(2) - truth);
        assert!(flow.abs() < 0.01, "{flow} nat a pixel from the truth");
        assert!(gaussian > 0.1, "{gaussian} nat a pixel from the truth");
    }
}
