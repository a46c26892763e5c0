//! Training of a prior of maps: draws are to look like maps, scale by scale.

use lookback_mesh::Grid;
use lookback_operator::random::{Purpose, Stream};
use num_complex::Complex;
use rayon::prelude::*;

use super::FieldGenerator;
use super::filter::{filtered, spectrum};
use super::generator::{CHUNK, OnGrid};
use crate::layer::Weight;
use crate::{Error, Objective, Result};

/// Draws of the validation.
const JUDGED: u32 = 8;

/// The distance between draws and maps: over bands of scales and smoothed maps, the mean squared difference of their sorted pixels in
/// units of their variance (the squared Wasserstein distance of the distributions of a pixel).
///
/// Two draws a step: the product of their differences is, in the mean, the square of the mean difference; the square of one would be
/// smaller for draws that vary less than maps do.
pub struct FieldMatching<'a> {
    generator: &'a FieldGenerator,
    grid: OnGrid<f32>,
    views: Vec<View>,
    train: Vec<&'a [f32]>,
    /// Sorted pixels of each view, in the mean over maps.
    train_sorted: Vec<Vec<f32>>,
    validation_sorted: Vec<Vec<f32>>,
    inside: Vec<u32>,
}

/// A filter through which maps are looked at.
struct View {
    factors: Vec<f32>,
    /// Of its pixels.
    variance: f64,
}

impl<'a> FieldMatching<'a> {
    /// Of maps to train on, and maps that judge.
    ///
    /// # Errors
    /// If margins leave nothing of a map, or maps have no structure.
    pub fn new(
        generator: &'a FieldGenerator,
        grid: &Grid,
        train: Vec<&'a [f32]>,
        validation: Vec<&'a [f32]>,
    ) -> Result<FieldMatching<'a>> {
        let [rows, columns] = *grid.shape() else {
            return Err(Error::Data(format!("a map has two axes, not the shape {:?}", grid.shape())));
        };
        let margin = generator.section().margin;
        if 2 * margin >= rows.min(columns) {
            let message = format!("of {margin} pixels leaves nothing of maps of {rows} x {columns}");
            return Err(Error::option("margin", message));
        }
        let within = |i: usize, n: usize| i >= margin && i < n - margin;
        let inside = (0..grid.len())
            .filter(|at| within(at / columns, rows) && within(at % columns, columns))
            .map(|at| at as u32)
            .collect();
        let views = views(grid, margin).into_iter().map(|factors| View { factors, variance: 1.0 }).collect();
        let on = generator.on(grid);
        let (train_sorted, validation_sorted) = (Vec::new(), Vec::new());
        let mut all =
            FieldMatching { generator, grid: on, views, train, train_sorted, validation_sorted, inside };
        all.train_sorted = all.mean_sorted(&all.train);
        all.validation_sorted = all.mean_sorted(&validation);
        for (view, sorted) in all.views.iter_mut().zip(&all.train_sorted) {
            let n = sorted.len() as f64;
            let mean = sorted.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            view.variance = sorted.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
            if !(view.variance > 0.0) {
                return Err(Error::Data("the maps have no structure on some scale".into()));
            }
        }
        Ok(all)
    }

    fn mean_sorted(&self, maps: &[&[f32]]) -> Vec<Vec<f32>> {
        let mut sums = vec![vec![0.0; self.inside.len()]; self.views.len()];
        for map in maps {
            let modes = spectrum(&self.grid.fft, map);
            sums.par_iter_mut().zip(&self.views).for_each(|(sum, view)| {
                let (sorted, _) = self.sorted(&modes, view);
                sum.iter_mut().zip(sorted).for_each(|(sum, x)| *sum += x / maps.len() as f32);
            });
        }
        sums
    }

    /// The pixels of a view in their order, and where each lies.
    fn sorted(&self, modes: &[Complex<f32>], view: &View) -> (Vec<f32>, Vec<u32>) {
        let seen = filtered(&self.grid.fft, modes, &view.factors);
        let mut order = self.inside.clone();
        // Equal pixels keep their order, so that results repeat.
        order.par_sort_by(|&a, &b| seen[a as usize].total_cmp(&seen[b as usize]));
        (order.iter().map(|&at| seen[at as usize]).collect(), order)
    }

    /// White noise of a draw.
    fn noise(&self, stream: Stream) -> Vec<f32> {
        let mut noise = vec![0.0; self.grid.fft.cells()];
        stream.fill_normal(&mut noise);
        noise
    }

    /// The distance of two draws from sorted pixels; with cotangents, those of both draws.
    fn distance(
        &self,
        draws: [&[f32]; 2],
        target: &[Vec<f32>],
        cotangents: Option<&mut [Vec<f32>; 2]>,
    ) -> f64 {
        let modes = draws.map(|draw| spectrum(&self.grid.fft, draw));
        let mut sum = 0.0;
        let mut pulled = modes.each_ref().map(|modes| vec![Complex::<f32>::default(); modes.len()]);
        for (view, target) in self.views.iter().zip(target) {
            let sorted = modes.each_ref().map(|modes| self.sorted(modes, view));
            let differences = sorted
                .each_ref()
                .map(|(sorted, _)| -> Vec<f32> { sorted.iter().zip(target).map(|(x, q)| x - q).collect() });
            let weight = 1.0 / (self.inside.len() as f64 * view.variance * self.views.len() as f64);
            sum += weight * lookback_operator::vector::dot(&differences[0], &differences[1]);
            if cotangents.is_none() {
                continue;
            }
            for (which, (_, order)) in sorted.iter().enumerate() {
                let mut cotangent = vec![0.0; self.grid.fft.cells()];
                for (&at, difference) in order.iter().zip(&differences[1 - which]) {
                    cotangent[at as usize] = weight as f32 * difference;
                }
                let back = spectrum(&self.grid.fft, &cotangent);
                let all = pulled[which].par_iter_mut().zip(&back).zip(&view.factors);
                all.with_min_len(CHUNK).for_each(|((all, back), &factor)| *all += back * factor);
            }
        }
        if let Some(cotangents) = cotangents {
            let ones = vec![1.0; pulled[0].len()];
            *cotangents = pulled.map(|modes| filtered(&self.grid.fft, &modes, &ones));
        }
        sum
    }
}

/// Filters on the half spectrum: the map itself, smoothed maps, and what is between two smoothings. Widths double from 0.7 pixels to
/// an eighth of the map, or to what a margin keeps from the other side of it.
fn views(grid: &Grid, margin: usize) -> Vec<Vec<f32>> {
    let pixel = grid.spacing()[0];
    let smoothing = |width: f64| -> Vec<f64> {
        let wave_numbers = grid.half_wave_numbers().into_iter();
        wave_numbers.map(|k| (-0.5 * (k * width * pixel).powi(2)).exp()).collect()
    };
    let side = grid.shape()[0].min(grid.shape()[1]) as f64;
    let widest = if margin > 0 { (side / 8.0).min(0.7 * margin as f64) } else { side / 8.0 };
    let widths =
        std::iter::successors(Some(0.7), |width| Some(2.0 * width)).take_while(|width| *width <= widest);
    let all: Vec<Vec<f64>> = std::iter::once(0.0).chain(widths).map(smoothing).collect();
    let bands =
        all.windows(2).map(|pair| pair[0].iter().zip(&pair[1]).map(|(a, b)| a - b).collect::<Vec<f64>>());
    let views = bands.chain(all.iter().cloned());
    views.map(|view| view.into_iter().map(|x| x as f32).collect()).collect()
}

impl Objective for FieldMatching<'_> {
    fn weights(&self) -> Vec<Weight> {
        self.generator.weights()
    }

    fn examples(&self) -> usize {
        self.train.len()
    }

    fn step(&self, weights: &mut [f32], _: &[usize], stream: Stream, gradient: &mut [f32]) -> f64 {
        let mut kept = [Vec::new(), Vec::new()];
        let mut all = vec![0.0; 2 * self.grid.fft.cells()];
        stream.fill_normal(&mut all);
        let (first, second) = all.split_at(self.grid.fft.cells());
        let mut draw = |which: usize, noise: &[f32]| {
            self.generator.forward(weights, &self.grid, noise.to_vec(), |layer| kept[which].push(layer))
        };
        let draws = [draw(0, first), draw(1, second)];
        let mut cotangents = [Vec::new(), Vec::new()];
        let loss = self.distance([&draws[0], &draws[1]], &self.train_sorted, Some(&mut cotangents));
        for (kept, cotangent) in kept.into_iter().zip(cotangents) {
            self.generator.pull(weights, &self.grid, kept, cotangent, gradient);
        }
        loss
    }

    fn validation(&self, weights: &[f32]) -> f64 {
        let draw = |number: u32| {
            let noise = self.noise(Stream::new(1, Purpose::PriorDraw, number));
            self.generator.forward(weights, &self.grid, noise, |_| ())
        };
        let pair = |number: u32| {
            let draws = [draw(2 * number), draw(2 * number + 1)];
            self.distance([&draws[0], &draws[1]], &self.validation_sorted, None)
        };
        // The product of two draws has no bias, and falls below zero by chance near its end: no merit of the weights.
        ((0..JUDGED / 2).map(pair).sum::<f64>() / f64::from(JUDGED / 2)).abs()
    }

    fn prepare(&self, weights: &mut [f32]) {
        let mut inside = vec![false; self.grid.fft.cells()];
        self.inside.iter().for_each(|&at| inside[at as usize] = true);
        self.generator.prepare(weights, &self.grid, &self.train, |at| inside[at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::generator::tests::{grid, lognormal, section};
    use crate::{Training, TrainingOptions};

    #[test]
    fn the_gradient_of_a_step_agrees_with_differences() {
        let generator = FieldGenerator::new(section(2, 4), &grid()).expect("a generator");
        let maps = [lognormal(0), lognormal(1)];
        let matching = FieldMatching::new(&generator, &grid(), vec![&maps[0]], vec![&maps[1]]).expect("fits");
        let mut weights: Vec<f32> = crate::begin(&matching.weights(), 1);
        matching.prepare(&mut weights);
        let stream = Stream::new(3, Purpose::Test, 0);
        let mut gradient = vec![0.0; weights.len()];
        matching.step(&mut weights.clone(), &[], stream, &mut gradient);
        // Along the gradient of what is trained.
        let size = lookback_operator::vector::norm2(&gradient).sqrt();
        let moved = |h: f64| {
            let mut moved = weights.clone();
            moved.iter_mut().zip(&gradient).for_each(|(w, g)| *w += (h / size) as f32 * g);
            matching.step(&mut moved, &[], stream, &mut vec![0.0; weights.len()])
        };
        let slope = (moved(3e-3) - moved(-3e-3)) / 6e-3;
        let trained: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / size;
        assert!((slope / trained - 1.0).abs() < 0.02, "{slope} {trained}");
    }

    /// A lognormal field is in the family: what is learned from eight maps is as near to other maps as lognormal draws are, and a
    /// Gaussian field is not.
    #[test]
    fn a_lognormal_field_is_learned() {
        let maps: Vec<Vec<f32>> = (0..48).map(lognormal).collect();
        let views = |range: std::ops::Range<usize>| maps[range].iter().map(Vec::as_slice).collect::<Vec<_>>();
        let learned = |layers: usize| {
            let generator = FieldGenerator::new(section(layers, 0), &grid()).expect("a generator");
            let matching = FieldMatching::new(&generator, &grid(), views(0..8), views(8..32)).expect("fits");
            let options =
                TrainingOptions { epochs: 40, batch: 2, learning_rate: 1e-2, ..TrainingOptions::default() };
            let mut training = Training::new(&matching, &options, 1).expect("begins");
            while !training.is_done(&matching, &options) {
                training.advance(&matching, &options).expect("finite");
            }
            let truth = (0..8).map(|i| {
                let pair = [maps[32 + 2 * i].as_slice(), maps[33 + 2 * i].as_slice()];
                matching.distance(pair, &matching.validation_sorted, None)
            });
            (matching.validation(training.weights()), truth.sum::<f64>() / 8.0)
        };
        let ((gaussian, truth), (lognormal, _)) = (learned(0), learned(1));
        assert!(lognormal.abs() < truth.abs() + 3e-3, "{lognormal}, and lognormal draws {truth}");
        assert!(gaussian > 0.02, "{gaussian}");
    }
}
