//! Convolution of images, and its adjoint, the transposed convolution.

use lookback_operator::Real;
use rayon::prelude::*;

use super::dense::{add_bias, add_column_sums};
use super::patches::{Image, Patches};
use super::spectral::{self, Norm};
use crate::Batch;
use crate::layer::{Begin, Layer, Mode, Role, Trace, Weight};
use crate::product::{Matrix, Threads, multiply};

/// Images a task. Fixed, so that every sum has one order.
const IMAGES: usize = 8;

/// Convolution with zero padding: `channels` numbers a pixel from the `kernel x kernel` pixels around it, for every `stride`-th
/// pixel. Weights: `[kernel, kernel, channels in, channels out]`.
///
/// Patches are gathered and multiplied with the kernel, a few images at a time, so that they stay in the cache.
#[derive(Debug, Clone)]
pub struct Convolution {
    patches: Patches,
    channels: usize,
    norm: Norm,
    std: f64,
}

impl Convolution {
    /// A convolution of the given image; first weights as for [`Dense`](super::Dense).
    pub fn new(
        image: Image,
        channels: usize,
        kernel: usize,
        stride: usize,
        norm: Norm,
        std: Option<f64>,
    ) -> Convolution {
        let patches = Patches { image, kernel, stride };
        let std = std.unwrap_or_else(|| (2.0 / patches.len() as f64).sqrt());
        Convolution { patches, channels, norm, std }
    }

    /// The image that comes out.
    pub fn image(&self) -> Image {
        let [height, width] = self.patches.grid();
        Image { height, width, channels: self.channels }
    }

    fn matrix(&self) -> usize {
        self.patches.len() * self.channels
    }

    fn kernel<'a, T>(&self, weights: &'a [T]) -> Matrix<'a, T> {
        Matrix::new(&weights[..self.matrix()], self.patches.len(), self.channels)
    }

    fn bias<'a, T>(&self, weights: &'a [T]) -> &'a [T] {
        &weights[self.matrix()..self.matrix() + self.channels]
    }

    /// The patches of all images in `x`.
    fn gathered<T: Real>(&self, x: &[T]) -> Vec<T> {
        let (size, each) = (self.patches.image.len(), self.patches.count() * self.patches.len());
        let mut patches = vec![T::zero(); x.len() / size * each];
        x.chunks_exact(size).zip(patches.chunks_exact_mut(each)).for_each(|(x, p)| self.patches.gather(x, p));
        patches
    }

    /// The linear part.
    fn convolved<T: Real>(&self, weights: &[T], x: &Batch<T>) -> Batch<T> {
        let kernel = self.kernel(weights);
        let mut y = Batch::zeros(x.rows(), self.image().len());
        let (size_in, size_out) = (self.patches.image.len() * IMAGES, self.image().len() * IMAGES);
        y.data_mut().par_chunks_mut(size_out).zip(x.data().par_chunks(size_in)).for_each(|(y, x)| {
            let patches = self.gathered(x);
            let rows = patches.len() / self.patches.len();
            multiply(y, false, Matrix::new(&patches, rows, self.patches.len()), kernel, Threads::One);
        });
        y
    }

    /// The adjoint of [`convolved`](Convolution::convolved).
    fn convolved_adjoint<T: Real>(&self, weights: &[T], dy: &Batch<T>) -> Batch<T> {
        let kernel = self.kernel(weights).transposed();
        let (size_in, size_out) = (self.patches.image.len(), self.image().len());
        let mut dx = Batch::zeros(dy.rows(), size_in);
        let parts =
            dx.data_mut().par_chunks_mut(size_in * IMAGES).zip(dy.data().par_chunks(size_out * IMAGES));
        parts.for_each(|(dx, dy)| {
            let rows = dy.len() / self.channels;
            let mut patches = vec![T::zero(); rows * self.patches.len()];
            multiply(&mut patches, false, Matrix::new(dy, rows, self.channels), kernel, Threads::One);
            let each = self.patches.count() * self.patches.len();
            dx.chunks_exact_mut(size_in)
                .zip(patches.chunks_exact(each))
                .for_each(|(dx, patches)| self.patches.gather_adjoint(patches, dx));
        });
        dx
    }

    /// `out += sum over images of gathered(x)^T y`.
    fn add_kernel_gradient<T: Real>(&self, x: &Batch<T>, y: &Batch<T>, out: &mut [T]) {
        let (size_in, size_out) = (self.patches.image.len() * IMAGES, self.image().len() * IMAGES);
        let parts: Vec<Vec<T>> = x
            .data()
            .par_chunks(size_in)
            .zip(y.data().par_chunks(size_out))
            .map(|(x, y)| {
                let patches = self.gathered(x);
                let rows = y.len() / self.channels;
                let mut part = vec![T::zero(); self.matrix()];
                let patches = Matrix::new(&patches, rows, self.patches.len()).transposed();
                multiply(&mut part, false, patches, Matrix::new(y, rows, self.channels), Threads::One);
                part
            })
            .collect();
        out.par_chunks_mut(1 << 13).enumerate().for_each(|(chunk, out)| {
            for part in &parts {
                let part = &part[chunk << 13..][..out.len()];
                out.iter_mut().zip(part).for_each(|(out, &part)| *out += part);
            }
        });
    }

    fn arrays(&self, biases: usize) -> Vec<Weight> {
        let Patches { image, kernel, .. } = self.patches;
        let shape = [kernel, kernel, image.channels, self.channels];
        let mut all = vec![
            Weight::new("weight", &shape, Begin::Normal(self.std), Role::Matrix),
            Weight::new("bias", &[biases], Begin::Constant(0.0), Role::Vector),
        ];
        all.extend(spectral::weight(self.norm, self.channels));
        all
    }
}

impl<T: Real> Layer<T> for Convolution {
    fn inputs(&self) -> usize {
        self.patches.image.len()
    }

    fn outputs(&self) -> usize {
        self.image().len()
    }

    fn weights(&self) -> Vec<Weight> {
        self.arrays(self.channels)
    }

    fn forward(&self, weights: &[T], x: Batch<T>, mode: Mode) -> (Batch<T>, Trace<T>) {
        let mut y = self.convolved(weights, &x);
        let mut trace = Trace::of(vec![x]);
        let direction = &weights[self.matrix() + self.channels..];
        spectral::measure(self.norm, self.kernel(weights), direction, mode, &mut trace);
        add_bias(&mut y, spectral::gain(self.norm, &trace, 1), self.bias(weights));
        (y, trace)
    }

    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T> {
        if let Some(gradient) = gradient {
            let (kernel, rest) = gradient.split_at_mut(self.matrix());
            add_column_sums(&dy, &mut rest[..self.channels]);
            spectral::add_gradient(self.norm, trace, 1, self.kernel(weights), kernel, |out, _| {
                self.add_kernel_gradient(&trace.kept[0], &dy, out);
            });
        }
        super::dense::scaled(self.convolved_adjoint(weights, &dy), spectral::gain(self.norm, trace, 1))
    }

    fn push(&self, weights: &[T], trace: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        super::dense::scaled(self.convolved(weights, &dx), spectral::gain(self.norm, trace, 1))
    }

    fn absorb(&self, weights: &mut [T], trace: &Trace<T>) {
        spectral::absorb(self.norm, &mut weights[self.matrix() + self.channels..], trace, 1);
    }
}

/// The adjoint of a [`Convolution`], plus a bias: an image with `stride` times the pixels along a side.
/// Weights: `[kernel, kernel, channels out, channels in]`.
#[derive(Debug, Clone)]
pub struct TransposedConvolution {
    adjoint: Convolution,
}

impl TransposedConvolution {
    /// From images of the given shape to `channels` numbers a pixel.
    pub fn new(
        image: Image,
        channels: usize,
        kernel: usize,
        stride: usize,
        std: Option<f64>,
    ) -> TransposedConvolution {
        let out = Image { height: image.height * stride, width: image.width * stride, channels };
        // Each pixel of the result is reached by this many numbers.
        let reach = (kernel * kernel * image.channels) as f64 / (stride * stride) as f64;
        let std = std.unwrap_or_else(|| (2.0 / reach).sqrt());
        TransposedConvolution {
            adjoint: Convolution::new(out, image.channels, kernel, stride, Norm::None, Some(std)),
        }
    }

    /// The image that comes out.
    pub fn image(&self) -> Image {
        self.adjoint.patches.image
    }
}

impl<T: Real> Layer<T> for TransposedConvolution {
    fn inputs(&self) -> usize {
        self.adjoint.image().len()
    }

    fn outputs(&self) -> usize {
        self.image().len()
    }

    fn weights(&self) -> Vec<Weight> {
        self.adjoint.arrays(self.image().channels)
    }

    fn forward(&self, weights: &[T], x: Batch<T>, _: Mode) -> (Batch<T>, Trace<T>) {
        let mut y = self.adjoint.convolved_adjoint(weights, &x);
        add_bias(&mut y, T::one(), &weights[self.adjoint.matrix()..]);
        (y, Trace::of(vec![x]))
    }

    fn pull(&self, weights: &[T], trace: &Trace<T>, dy: Batch<T>, gradient: Option<&mut [T]>) -> Batch<T> {
        if let Some(gradient) = gradient {
            let (kernel, bias) = gradient.split_at_mut(self.adjoint.matrix());
            add_column_sums(&dy, bias);
            self.adjoint.add_kernel_gradient(&dy, &trace.kept[0], kernel);
        }
        self.adjoint.convolved(weights, &dy)
    }

    fn push(&self, weights: &[T], _: &Trace<T>, dx: Batch<T>) -> Batch<T> {
        self.adjoint.convolved_adjoint(weights, &dx)
    }
}
