//! Networks on the device: the layers of [`crate::layers`], with weights in the same order, as a tape of derivatives.

use std::ops::Range;
use std::rc::Rc;

use lookback_operator::random::Stream;

use super::device::{Argument, Buffer, Device, Matrix, THREADS, View, arguments};
use crate::Result;
use crate::architecture::{LayerSection, Shape};
use crate::layers::{Function, Image, Norm, Patches};

/// From the cotangent of what a layer gives to that of what it takes; adds the gradient of its weights.
pub(super) type Pull<'a> = Box<dyn FnOnce(Buffer) -> Result<Buffer> + 'a>;

/// Rows on their way through a network.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub shape: Shape,
    pub data: Rc<Buffer>,
}

impl Rows {
    pub fn new(shape: Shape, data: Buffer) -> Rows {
        Rows { shape, data: Rc::new(data) }
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.data.len() / self.shape.len()
    }
}

/// What a pass is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// The value, with weights as they stand.
    Value,
    /// Value and derivatives in training: the gradient is added here, statistics are taken into the weights, and numbers are
    /// dropped as the stream says.
    Training { gradient: View<'a>, stream: Stream },
}

/// A pass through the layers of a network, whose weights are taken one after the other.
pub(super) struct Pass<'a> {
    device: &'a Device,
    weights: View<'a>,
    purpose: Purpose<'a>,
    /// Where the weights of the next layer begin.
    at: usize,
    /// Dropout layers so far.
    places: u32,
    tape: Vec<Pull<'a>>,
}

impl<'a> Pass<'a> {
    /// A pass with the weights of one network.
    pub fn new(device: &'a Device, weights: View<'a>, purpose: Purpose<'a>) -> Pass<'a> {
        Pass { device, weights, purpose, at: 0, places: 0, tape: Vec::new() }
    }

    /// The same, with layers of dropout counted from here on.
    pub fn dropping_from(self, places: u32) -> Pass<'a> {
        Pass { places, ..self }
    }

    /// All layers, one after the other.
    pub fn forward(&mut self, sections: &[LayerSection], mut x: Rows) -> Result<Rows> {
        for section in sections {
            x = self.layer(section, x)?;
        }
        Ok(x)
    }

    /// Weights that the layers so far have taken.
    pub fn taken(&self) -> usize {
        self.at
    }

    /// Reverse mode through everything that went forward: the cotangent of what came in.
    pub fn pull(self, dy: Buffer) -> Result<Buffer> {
        back(self.tape, dy)
    }

    fn layer(&mut self, section: &LayerSection, x: Rows) -> Result<Rows> {
        match *section {
            LayerSection::Dense { outputs, norm, .. } => self.dense(x, outputs, norm),
            LayerSection::Convolution { channels, kernel, stride, norm, .. } => {
                let patches = Patches { image: x.shape.image()?, kernel, stride };
                self.convolution(x, patches, channels, norm)
            }
            LayerSection::TransposedConvolution { channels, kernel, stride, .. } => {
                let small = x.shape.image()?;
                let image = Image { height: small.height * stride, width: small.width * stride, channels };
                self.transposed_convolution(x, Patches { image, kernel, stride }, small.channels)
            }
            LayerSection::Reshape { image } => Ok(Rows { shape: Shape::Image(image), ..x }),
            LayerSection::BatchNorm { momentum } => self.batch_norm(x, momentum),
            LayerSection::Dropout { rate } => self.dropout(x, rate),
            LayerSection::Activation { function } => self.activation(x, function),
            LayerSection::Residual { ref layers } => self.residual(x, layers),
        }
    }

    /// The next `len` weights: their place.
    fn take(&mut self, len: usize) -> Range<usize> {
        let begin = self.at;
        self.at += len;
        begin..self.at
    }

    fn record(&mut self, pull: impl FnOnce(Buffer) -> Result<Buffer> + 'a) {
        if let Purpose::Training { .. } = self.purpose {
            self.tape.push(Box::new(pull));
        }
    }

    fn gradient(&self, range: &Range<usize>) -> Option<View<'a>> {
        match self.purpose {
            Purpose::Value => None,
            Purpose::Training { gradient, .. } => Some(gradient.part(range.clone())),
        }
    }

    /// `y = x W / s + b` on rows of `inputs` numbers, each of them an example or a pixel.
    fn dense(&mut self, x: Rows, outputs: usize, norm: Norm) -> Result<Rows> {
        let (device, inputs) = (self.device, x.shape.len());
        let linear = self.linear(inputs, outputs, outputs, norm)?;
        let rows = x.count();
        let y = device.room(rows * outputs)?;
        device.multiply(y.view(), false, Matrix::new(x.data.view(), rows, inputs), linear.matrix())?;
        linear.add_bias(&y)?;
        let data = x.data;
        self.record(move |dy| {
            let of_dy = Matrix::new(dy.view(), rows, outputs);
            linear.add_gradient(&dy, Matrix::new(data.view(), rows, inputs), of_dy)?;
            let dx = device.room(rows * inputs)?;
            device.multiply(dx.view(), false, of_dy, linear.matrix().transposed())?;
            linear.scale(&dx)?;
            Ok(dx)
        });
        Ok(Rows::new(Shape::Row(outputs), y))
    }

    fn convolution(&mut self, x: Rows, patches: Patches, channels: usize, norm: Norm) -> Result<Rows> {
        let device = self.device;
        let linear = self.linear(patches.len(), channels, channels, norm)?;
        let [height, width] = patches.grid();
        let rows = x.count() * patches.count();
        let seen = gather(device, patches, x.data.view(), x.count())?;
        let y = device.room(rows * channels)?;
        device.multiply(y.view(), false, Matrix::new(seen.view(), rows, patches.len()), linear.matrix())?;
        linear.add_bias(&y)?;
        let images = x.count();
        self.record(move |dy| {
            let of_dy = Matrix::new(dy.view(), rows, channels);
            linear.add_gradient(&dy, Matrix::new(seen.view(), rows, patches.len()), of_dy)?;
            // What was seen is not needed any more: its cotangent takes the place.
            device.multiply(seen.view(), false, of_dy, linear.matrix().transposed())?;
            let dx = gather_adjoint(device, patches, seen.view(), images)?;
            linear.scale(&dx)?;
            Ok(dx)
        });
        Ok(Rows::new(Shape::Image(Image { height, width, channels }), y))
    }

    /// The adjoint of a convolution of `patches` with `channels` numbers a patch, plus a bias.
    fn transposed_convolution(&mut self, x: Rows, patches: Patches, channels: usize) -> Result<Rows> {
        let device = self.device;
        let linear = self.linear(patches.len(), channels, patches.image.channels, Norm::None)?;
        let (images, rows) = (x.count(), x.count() * patches.count());
        let parts = device.room(rows * patches.len())?;
        let of_x = Matrix::new(x.data.view(), rows, channels);
        device.multiply(parts.view(), false, of_x, linear.matrix().transposed())?;
        let y = gather_adjoint(device, patches, parts.view(), images)?;
        linear.add_bias(&y)?;
        let data = x.data;
        self.record(move |dy| {
            let seen = gather(device, patches, dy.view(), images)?;
            let of_dy = Matrix::new(seen.view(), rows, patches.len());
            linear.add_gradient(&dy, of_dy, Matrix::new(data.view(), rows, channels))?;
            let dx = device.room(rows * channels)?;
            device.multiply(dx.view(), false, of_dy, linear.matrix())?;
            Ok(dx)
        });
        Ok(Rows::new(Shape::Image(patches.image), y))
    }

    /// Takes the weights of a linear map with a bias, and measures its norm.
    fn linear(&mut self, inputs: usize, outputs: usize, biases: usize, norm: Norm) -> Result<Linear<'a>> {
        let matrix = self.take(inputs * outputs);
        let bias = self.take(biases);
        let kernel = Matrix::new(self.weights.part(matrix.clone()), inputs, outputs);
        let spectrum = match norm {
            Norm::None => None,
            Norm::Spectral => {
                let direction = self.take(outputs);
                Some(self.measure(kernel, (inputs, outputs), self.weights.part(direction))?)
            }
        };
        Ok(Linear {
            device: self.device,
            size: (inputs, outputs),
            weights: self.weights.part(matrix.clone()),
            bias: self.weights.part(bias.clone()),
            gradients: self.gradient(&matrix).zip(self.gradient(&bias)),
            spectrum,
        })
    }

    /// One step of the power iteration, as on the host: `u = W d / |W d|`, `v = W^T u / |W^T u|`, `s = u^T W v`.
    fn measure(
        &self,
        kernel: Matrix<'_>,
        (inputs, outputs): (usize, usize),
        direction: View<'_>,
    ) -> Result<Spectrum> {
        let device = self.device;
        let unit =
            |vector: &Buffer| device.launch("unit", [1, 1], [THREADS, 1], arguments![vector, vector.len()]);
        let left = device.room(inputs)?;
        device.multiply(left.view(), false, kernel, Matrix::new(direction, outputs, 1))?;
        unit(&left)?;
        let along = device.room(outputs)?;
        device.multiply(along.view(), false, kernel.transposed(), Matrix::new(left.view(), inputs, 1))?;
        let training = matches!(self.purpose, Purpose::Training { .. });
        let right = device.copy(if training { along.view() } else { direction })?;
        unit(&right)?;
        let gain = device.room(1)?;
        device.launch("inverse_dot", [1, 1], [THREADS, 1], arguments![&along, &right, &gain, outputs])?;
        if training {
            device.overwrite(direction, right.view())?;
        }
        Ok(Spectrum { left, right, gain })
    }

    fn activation(&mut self, x: Rows, function: Function) -> Result<Rows> {
        let (device, n) = (self.device, x.data.len());
        let y = device.room(n)?;
        let code = code(function);
        device.each("activation", n, arguments![&*x.data, &y, code])?;
        let data = x.data;
        self.record(move |dy| {
            device.each("activation_pull", n, arguments![&*data, &dy, code])?;
            Ok(dy)
        });
        Ok(Rows::new(x.shape, y))
    }

    fn dropout(&mut self, x: Rows, rate: f64) -> Result<Rows> {
        self.places += 1;
        let Purpose::Training { stream, .. } = self.purpose else { return Ok(x) };
        let (device, n) = (self.device, x.data.len());
        let begin = u64::from(self.places) << 40;
        // The same numbers are left out on the way back: they are drawn again rather than kept.
        let drop = move |numbers: &Buffer| {
            let (seed, [c2, c3]) = stream.key();
            let arguments = [
                numbers.into(),
                rate.into(),
                (1.0 / (1.0 - rate) as f32).into(),
                Argument::Long(begin),
                Argument::Long(seed),
                Argument::Int(c2 as i32),
                Argument::Int(c3 as i32),
            ];
            device.each("dropout", n, &arguments)
        };
        let y = device.copy(x.data.view())?;
        drop(&y)?;
        self.record(move |dy| {
            drop(&dy)?;
            Ok(dy)
        });
        Ok(Rows::new(x.shape, y))
    }

    fn batch_norm(&mut self, x: Rows, momentum: f64) -> Result<Rows> {
        let (device, channels) = (self.device, x.shape.channels());
        let range = self.take(4 * channels);
        let part = move |all: View<'a>, i: usize| all.part(i * channels..(i + 1) * channels);
        let weights = self.weights.part(range.clone());
        let (scale, shift) = (part(weights, 0), part(weights, 1));
        let (running_mean, running_variance) = (part(weights, 2), part(weights, 3));
        let (a, b): (Buffer, Buffer) = (device.room(channels)?, device.room(channels)?);
        let (n, rows) = (x.data.len(), x.data.len() / channels);
        let y = device.room(n)?;
        let Some(gradient) = self.gradient(&range) else {
            let arguments = arguments![scale, shift, running_mean, running_variance, &a, &b];
            device.each("batch_frozen", channels, arguments)?;
            device.each("affine", n, arguments![&*x.data, &y, &a, &b, channels])?;
            return Ok(Rows::new(x.shape, y));
        };
        let (mean, inverse): (Buffer, Buffer) = (device.room(channels)?, device.room(channels)?);
        let sums = ColumnSums::new(device, &x.data, channels, Second::Square)?;
        let arguments = arguments![
            &sums.buffer,
            sums.parts,
            rows,
            momentum as f32,
            scale,
            shift,
            running_mean,
            running_variance,
            &mean,
            &inverse,
            &a,
            &b
        ];
        device.each("batch_moments", channels, arguments)?;
        device.each("affine", n, arguments![&*x.data, &y, &a, &b, channels])?;
        let data = x.data;
        self.record(move |dy| {
            let second = Second::Normalised { x: data.view(), mean: mean.view(), inverse: inverse.view() };
            let sums = ColumnSums::new(device, &dy, channels, second)?;
            let rest = device.room::<f32>(channels)?;
            let (dscale, dshift) = (part(gradient, 0), part(gradient, 1));
            let arguments = arguments![
                &sums.buffer,
                sums.parts,
                rows,
                scale,
                &mean,
                &inverse,
                dscale,
                dshift,
                &a,
                &b,
                &rest
            ];
            device.each("batch_pull", channels, arguments)?;
            device.each("affine_pull", n, arguments![&dy, &*data, &a, &b, &rest, channels])?;
            Ok(dy)
        });
        Ok(Rows::new(x.shape, y))
    }

    fn residual(&mut self, x: Rows, layers: &[LayerSection]) -> Result<Rows> {
        let (device, n) = (self.device, x.data.len());
        let before = self.tape.len();
        let mut y = self.forward(layers, x.clone())?;
        let inner = self.tape.split_off(before);
        let sum = device.copy(y.data.view())?;
        device.each("add_to", n, arguments![&sum, &*x.data])?;
        y = Rows::new(x.shape, sum);
        self.record(move |dy| {
            let dx = back(inner, device.copy(dy.view())?)?;
            device.each("add_to", n, arguments![&dx, &dy])?;
            Ok(dx)
        });
        Ok(y)
    }
}

/// The number of a function in the kernels.
fn code(function: Function) -> usize {
    match function {
        Function::Relu => 0,
        Function::LeakyRelu => 1,
        Function::Silu => 2,
        Function::Elu => 3,
        Function::Tanh => 4,
        Function::Sigmoid => 5,
        Function::Softplus => 6,
    }
}

/// The tape from its end.
pub(super) fn back(tape: Vec<Pull<'_>>, dy: Buffer) -> Result<Buffer> {
    tape.into_iter().rev().try_fold(dy, |dy, pull| pull(dy))
}

/// The weights of a linear map at work.
struct Linear<'a> {
    device: &'a Device,
    size: (usize, usize),
    weights: View<'a>,
    bias: View<'a>,
    /// Of the matrix and of the bias.
    gradients: Option<(View<'a>, View<'a>)>,
    spectrum: Option<Spectrum>,
}

/// Both directions of the largest singular value, and its inverse.
struct Spectrum {
    left: Buffer,
    right: Buffer,
    gain: Buffer,
}

impl Linear<'_> {
    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.weights, self.size.0, self.size.1)
    }

    fn add_bias(&self, y: &Buffer) -> Result<()> {
        let gain = self.spectrum.as_ref().map_or(Argument::NONE, |spectrum| (&spectrum.gain).into());
        self.device.each("add_bias", y.len(), arguments![y, gain, self.bias, self.bias.len()])
    }

    /// Divides by the norm.
    fn scale(&self, x: &Buffer) -> Result<()> {
        let Some(spectrum) = &self.spectrum else { return Ok(()) };
        self.device.each("scale_by", x.len(), arguments![x, &spectrum.gain])
    }

    /// Adds the gradient `left^T right` of the matrix, and that of the bias: the sums over `dy`.
    fn add_gradient(&self, dy: &Buffer, left: Matrix<'_>, right: Matrix<'_>) -> Result<()> {
        let Some((matrix, bias)) = self.gradients else { return Ok(()) };
        let device = self.device;
        add_column_sums(device, dy, bias)?;
        let Some(Spectrum { left: u, right: v, gain }) = &self.spectrum else {
            return device.multiply(matrix, true, left.transposed(), right);
        };
        let plain = device.room(matrix.len())?;
        device.multiply(plain.view(), false, left.transposed(), right)?;
        let along = dot(device, plain.view(), self.weights)?;
        let arguments = arguments![matrix, &plain, &along, gain, u, v, self.size.1];
        device.each("spectral_gradient", matrix.len(), arguments)
    }
}

/// `<a, b>` as one number on the device.
fn dot(device: &Device, a: View<'_>, b: View<'_>) -> Result<Buffer<f64>> {
    let total = device.zeros(1)?;
    add_sum(device, &dot_in_parts(device, a, b)?, 1.0, &total)?;
    Ok(total)
}

/// `<a, b>` as numbers whose sum it is.
pub(super) fn dot_in_parts(device: &Device, a: View<'_>, b: View<'_>) -> Result<Buffer<f64>> {
    let sums = device.room::<f64>(PARTS)?;
    device.launch("dot", [PARTS, 1], [THREADS, 1], arguments![a, b, &sums, a.len()])?;
    Ok(sums)
}

/// Blocks among which a sum of everything is divided.
pub(super) const PARTS: usize = 256;

/// `total += factor * sum`.
pub(super) fn add_sum(device: &Device, sums: &Buffer<f64>, factor: f64, total: &Buffer<f64>) -> Result<()> {
    device.launch("add_sum", [1, 1], [THREADS, 1], arguments![sums, sums.len(), factor, total])
}

/// The second of two sums over rows.
pub(super) enum Second<'a> {
    Nothing,
    Square,
    /// Times another array.
    Times(View<'a>),
    /// Times `(x - mean) inverse`.
    Normalised {
        x: View<'a>,
        mean: View<'a>,
        inverse: View<'a>,
    },
}

/// Sums over rows, column by column, in parts.
pub(super) struct ColumnSums {
    pub buffer: Buffer<f64>,
    pub parts: usize,
}

impl ColumnSums {
    pub fn new(device: &Device, a: &Buffer, columns: usize, second: Second<'_>) -> Result<ColumnSums> {
        let rows = a.len() / columns;
        let wide = columns.next_power_of_two().min(32);
        let high = THREADS / wide;
        let parts = (rows / (16 * high)).clamp(1, 64);
        let buffer = device.room::<f64>(2 * parts * columns)?;
        let none = Argument::NONE;
        let (b, mean, inverse, kind) = match second {
            Second::Times(b) => (b.into(), none, none, 3),
            Second::Nothing => (none, none, none, 0usize),
            Second::Square => (none, none, none, 1),
            Second::Normalised { x, mean, inverse } => (x.into(), mean.into(), inverse.into(), 2),
        };
        let arguments = arguments![a, b, mean, inverse, kind, &buffer, rows, columns];
        device.launch("column_sums", [columns.div_ceil(wide), parts], [wide, high], arguments)?;
        Ok(ColumnSums { buffer, parts })
    }
}

/// Adds the sums over the rows of `dy` to the gradient of a bias.
pub(super) fn add_column_sums(device: &Device, dy: &Buffer, bias: View<'_>) -> Result<()> {
    let sums = ColumnSums::new(device, dy, bias.len(), Second::Nothing)?;
    device.each("add_column_sums", bias.len(), arguments![&sums.buffer, sums.parts, bias])
}

/// The numbers that kernels take of patches.
fn numbers(patches: Patches) -> [Argument; 9] {
    let Patches { image, kernel, stride } = patches;
    let [rows, columns] = patches.grid();
    let [top, left] = [patches.before(image.height), patches.before(image.width)];
    [image.height, image.width, image.channels, kernel, stride, rows, columns, top, left].map(Argument::from)
}

/// The patches of images, one after the other.
fn gather(device: &Device, patches: Patches, x: View<'_>, images: usize) -> Result<Buffer> {
    let seen = device.room(images * patches.count() * patches.len())?;
    let arguments = [arguments![x, &seen], &numbers(patches)[..]].concat();
    device.each("gather_patches", seen.len(), &arguments)?;
    Ok(seen)
}

/// Images from the sums of their patches.
fn gather_adjoint(device: &Device, patches: Patches, parts: View<'_>, images: usize) -> Result<Buffer> {
    let x = device.room(images * patches.image.len())?;
    let arguments = [arguments![parts, &x], &numbers(patches)[..]].concat();
    device.each("gather_patches_adjoint", x.len(), &arguments)?;
    Ok(x)
}
