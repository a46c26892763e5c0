//! Batch normalisation: channels with mean zero and variance one, then scaled and shifted (Ioffe & Szegedy 2015).

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Batch;
use crate::batch::column_sums;
use crate::layer::{Begin, Layer, Mode, Role, Trace, Weight};

/// `y = scale (x - mean) / sqrt(variance + EPSILON) + shift`, for every channel.
///
/// In training, mean and variance are those of the batch, and their running means are kept; frozen, the running means serve.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    width: usize,
    channels: usize,
    momentum: f64,
}

/// Keeps the variance of a silent channel from zero.
const EPSILON: f64 = 1e-5;

impl BatchNorm {
    /// For rows of `width` numbers in groups of `channels`. The running means forget as `momentum^steps`.
    pub fn new(width: usize, channels: usize, momentum: f64) -> BatchNorm {
        BatchNorm { width, channels, momentum }
    }

    fn groups<T: Real>(&self, x: &Batch<T>) -> usize {
        x.data().len() / self.channels
    }

    /// Mean and variance of every channel over the batch.
    fn moments<T: Real>(&self, x: &Batch<T>) -> (Vec<f64>, Vec<f64>) {
        let (data, channels, n) = (x.data(), self.channels, self.groups(x));
        let sums = column_sums::<2>(channels, n, |row, sums| {
            for ([sum, square], x) in sums.iter_mut().zip(&data[row * channels..(row + 1) * channels]) {
                *sum += x.f64();
                *square += x.f64() * x.f64();
            }
        });
        let mean: Vec<f64> = sums.iter().map(|[sum, _]| sum / n as f64).collect();
        let variance = sums
            .iter()
            .zip(&mean)
            .map(|([_, square], mean)| (square / n as f64 - mean * mean).max(0.0))
            .collect();
        (mean, variance)
    }

    /// `a x + b` for every channel.
    fn affine<T: Real>(&self, mut x: Batch<T>, a: &[T], b: &[T]) -> Batch<T> {
        let rows = (1 << 14) / self.channels + 1;
        x.data_mut().par_chunks_mut(rows * self.channels).for_each(|part| {
            for x in part.chunks_exact_mut(self.channels) {
                x.iter_mut().zip(a.iter().zip(b)).for_each(|(x, (&a, &b))| *x = a * *x + b);
            }
        });
        x
    }
}

/// Places in the trace.
const X: usize = 0;
const MEAN: usize = 1;
const INVERSE_STD: usize = 2;
const VARIANCE: usize = 3;

impl<T: Real> Layer<T> for BatchNorm {
    fn inputs(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.width
    }

    fn weights(&self) -> Vec<Weight> {
        let array = |name, value, role| Weight::new(name, &[self.channels], Begin::Constant(value), role);
        vec![
            array("scale", 1.0, Role::Vector),
            array("shift", 0.0, Role::Vector),
            array("mean", 0.0, Role::Statistic),
            array("variance", 1.0, Role::Statistic),
        ]
    }

    fn forward(&self, weights: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        let channels = self.channels;
        let (mean, variance) = match mode {
            Mode::Training { .. } => self.moments(&x),
            Mode::Frozen => {
                let part =
                    |i: usize| weights[i * channels..(i + 1) * channels].iter().map(|x| x.f64()).collect();
                (part(2), part(3))
            }
        };
        let inverse: Vec<f64> = variance.iter().map(|v: &f64| 1.0 / (v + EPSILON).sqrt()).collect();
        let of = |values: &[f64]| Batch::new(channels, values.iter().map(|&x| T::of(x)).collect());
        let mut kept = vec![x, of(&mean), of(&inverse)];
        if matches!(mode, Mode::Training { .. }) {
            kept.push(of(&variance));
        }
        let a: Vec<T> = (0..channels).map(|c| T::of(weights[c].f64() * inverse[c])).collect();
        let b: Vec<T> =
            (0..channels).map(|c| T::of(weights[channels + c].f64() - mean[c] * a[c].f64())).collect();
        let y = self.affine(kept[X].clone(), &a, &b);
        (y, Trace::of(kept))
    }

    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T> {
        let channels = self.channels;
        let (mean, inverse) = (trace.kept[MEAN].data(), trace.kept[INVERSE_STD].data());
        let a: Vec<T> = (0..channels).map(|c| weights[c] * inverse[c]).collect();
        let training = trace.kept.len() > VARIANCE;
        if !training && gradient.is_none() {
            return self.affine(dy, &a, &vec![T::zero(); channels]);
        }
        let x = trace.kept[X].data();
        let n = self.groups(&dy);
        // Sums of dy, and of dy times the normalised x.
        let sums = column_sums::<2>(channels, n, |row, sums| {
            let range = row * channels..(row + 1) * channels;
            for (c, ([plain, along], (dy, x))) in
                sums.iter_mut().zip(dy.data()[range.clone()].iter().zip(&x[range])).enumerate()
            {
                *plain += dy.f64();
                *along += dy.f64() * ((*x - mean[c]) * inverse[c]).f64();
            }
        });
        if let Some(gradient) = gradient {
            for (c, [plain, along]) in sums.iter().enumerate() {
                gradient[c] += T::of(*along);
                gradient[channels + c] += T::of(*plain);
            }
        }
        if !training {
            return self.affine(dy, &a, &vec![T::zero(); channels]);
        }
        // dx = a (dy - mean(dy) - xhat mean(dy xhat)), which is a dy + b x + c.
        let b: Vec<T> = (0..channels).map(|c| -a[c] * inverse[c] * T::of(sums[c][1] / n as f64)).collect();
        let rest: Vec<T> =
            (0..channels).map(|c| -a[c] * T::of(sums[c][0] / n as f64) - b[c] * mean[c]).collect();
        let mut dx = self.affine(dy, &a, &rest);
        let rows = (1 << 14) / channels + 1;
        dx.data_mut().par_chunks_mut(rows * channels).zip(x.par_chunks(rows * channels)).for_each(
            |(dx, x)| {
                for (dx, x) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    dx.iter_mut().zip(x).zip(&b).for_each(|((dx, &x), &b)| *dx += b * x);
                }
            },
        );
        dx
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        let inverse = trace.kept[INVERSE_STD].data();
        let a: Vec<T> = weights.iter().zip(inverse).map(|(&scale, &inverse)| scale * inverse).collect();
        self.affine(dx, &a, &vec![T::zero(); self.channels])
    }

    fn absorb(&self, weights: &mut [T], trace: &Trace<T>) {
        let momentum = T::of(self.momentum);
        for (at, kept) in [(2, MEAN), (3, VARIANCE)] {
            let running = &mut weights[at * self.channels..(at + 1) * self.channels];
            running
                .iter_mut()
                .zip(trace.kept[kept].data())
                .for_each(|(running, &now)| *running = momentum * *running + (T::one() - momentum) * now);
        }
    }
}
