//! Training of a flow on the device: couplings, with scales and matrices between.

use lookback_operator::random::Stream;

use super::device::{Argument, Buffer, Device, Matrix, THREADS, View, arguments};
use super::network::{ColumnSums, PARTS, Pass, Pull, Purpose, Rows, Second, add_column_sums, add_sum, back};
use super::training::{Arrays, DeviceObjective, Weights};
use crate::flow::{BijectionSection, FlowSection, MaximumLikelihood, Warp, conditioner};
use crate::{Error, LayerSection, Objective, Result, Shape};

/// [`MaximumLikelihood`], its flow on the device.
pub struct DeviceLikelihood<'a> {
    device: &'a Device,
    host: MaximumLikelihood<'a>,
    section: FlowSection,
    validation: Buffer,
}

impl<'a> DeviceLikelihood<'a> {
    /// True if every step of the flow can be trained on the device: couplings that depend on nothing can, with scales and matrices between.
    pub fn takes(section: &FlowSection) -> bool {
        let mut steps = section.steps.iter();
        section.context == 0
            && steps.all(|step| {
                use BijectionSection::{ActNorm, Coupling, Linear};
                matches!(step, ActNorm | Linear { .. } | Coupling { .. })
            })
    }

    /// The same training on the device; `section` describes the flow of `host`.
    ///
    /// # Errors
    /// If a step of the flow is none that the device [`takes`](DeviceLikelihood::takes), or there is no room.
    pub fn new(
        device: &'a Device,
        host: MaximumLikelihood<'a>,
        section: FlowSection,
    ) -> Result<DeviceLikelihood<'a>> {
        if !DeviceLikelihood::takes(&section) {
            return Err(Error::Device(
                "a GPU trains flows of couplings; this one is trained on the processor".into(),
            ));
        }
        let validation = device.upload(host.validation.data())?;
        Ok(DeviceLikelihood { device, host, section, validation })
    }

    /// `-ln p`, the mean over rows, times `factor`, is added to `loss`; from the pass comes the cotangent of its rows.
    fn misfit<'b>(
        &'b self,
        pass: &mut FlowPass<'b>,
        x: Buffer,
        factor: f64,
        loss: &Buffer<f64>,
    ) -> Result<Buffer> {
        let (device, dimensions) = (self.device, self.section.dimensions);
        let rows = (x.len() / pass.width) as f64;
        let log_det = device.zeros::<f64>(1)?;
        let y = pass.forward(&self.section, x, &log_det)?;
        let (n, sums) = (y.len(), device.room::<f64>(PARTS)?);
        let arguments = arguments![&y, dimensions, pass.width, (1.0 / rows) as f32, &sums, n];
        device.launch("normal_misfit", [PARTS, 1], [THREADS, 1], arguments)?;
        add_sum(device, &sums, factor / (2.0 * rows), loss)?;
        add_sum(device, &log_det, -factor / rows, loss)?;
        let constant = factor * dimensions as f64 / 2.0 * std::f64::consts::TAU.ln();
        device.launch("add_number", [1, 1], [THREADS, 1], arguments![loss, constant])?;
        Ok(y)
    }
}

/// Rows of the validation set that go through the flow together.
const PART: usize = 4096;

impl DeviceObjective for DeviceLikelihood<'_> {
    fn host(&self) -> &dyn Objective {
        &self.host
    }

    fn step(&self, arrays: &Arrays<'_>, rows: &[usize], stream: Stream) -> Result<()> {
        let x = self.device.upload(self.host.batch(rows, stream).data())?;
        let purpose = Purpose::Training { gradient: arrays.gradient, stream };
        let mut pass = FlowPass::new(self.device, arrays.weights, purpose, self.host.train.width());
        let dy = self.misfit(&mut pass, x, 1.0, arrays.loss)?;
        back(pass.tape, dy)?;
        Ok(())
    }

    fn validation(&self, weights: &Weights<'_>) -> Result<f64> {
        let (device, width, all) = (self.device, self.host.train.width(), self.validation.len());
        let loss = device.zeros::<f64>(1)?;
        for begin in (0..all).step_by(PART * width) {
            let part = begin..(begin + PART * width).min(all);
            let x = device.copy(self.validation.view().part(part.clone()))?;
            let mut pass = FlowPass::new(device, weights.0, Purpose::Value, width);
            self.misfit(&mut pass, x, part.len() as f64 / all as f64, &loss)?;
        }
        Ok(device.download(&loss)?[0])
    }
}

/// A pass through the steps of a flow. The cotangent of `ln |det|` is `-1 / rows` for every row.
struct FlowPass<'a> {
    device: &'a Device,
    weights: View<'a>,
    purpose: Purpose<'a>,
    width: usize,
    /// Where the weights of the next step begin.
    at: usize,
    tape: Vec<Pull<'a>>,
}

impl<'a> FlowPass<'a> {
    fn new(device: &'a Device, weights: View<'a>, purpose: Purpose<'a>, width: usize) -> FlowPass<'a> {
        FlowPass { device, weights, purpose, width, at: 0, tape: Vec::new() }
    }

    /// All steps; adds the sum of `ln |det|` over the rows.
    fn forward(&mut self, section: &FlowSection, x: Buffer, log_det: &Buffer<f64>) -> Result<Buffer> {
        let n = section.dimensions;
        section.steps.iter().try_fold(x, |x, step| match *step {
            BijectionSection::ActNorm => self.actnorm(n, x, log_det),
            BijectionSection::Linear { reversed } => self.linear(n, reversed, x, log_det),
            BijectionSection::Coupling { warp, flipped, hidden, blocks } => {
                let middle = n / 2;
                let active = if flipped { [0, middle] } else { [middle, n] };
                let outputs = (active[1] - active[0]) * warp.parameters();
                let layers = conditioner::layers(outputs, hidden, blocks, section.function);
                self.coupling(active, warp, &layers, x, log_det)
            }
            _ => Err(Error::Device("this step is none of a GPU".into())),
        })
    }

    /// The next `len` weights, and their gradient.
    fn take(&mut self, len: usize) -> (View<'a>, Option<View<'a>>) {
        let range = self.at..self.at + len;
        self.at = range.end;
        let gradient = match self.purpose {
            Purpose::Value => None,
            Purpose::Training { gradient, .. } => Some(gradient.part(range.clone())),
        };
        (self.weights.part(range), gradient)
    }

    /// `y = exp(s) (x + t)`.
    fn actnorm(&mut self, n: usize, x: Buffer, log_det: &Buffer<f64>) -> Result<Buffer> {
        let (device, width) = (self.device, self.width);
        let rows = x.len() / width;
        let (weights, gradient) = self.take(2 * n);
        let (log_scale, shift) = (weights.part(0..n), weights.part(n..2 * n));
        let y = device.room(x.len())?;
        device.each("actnorm", x.len(), arguments![&x, &y, log_scale, shift, n, width])?;
        self.add_log_det(log_scale, rows, log_det)?;
        let Some(gradient) = gradient else { return Ok(y) };
        let kept = device.copy(y.view())?;
        self.tape.push(Box::new(move |dy| {
            let sums = ColumnSums::new(device, &dy, width, Second::Times(kept.view()))?;
            let (dlog_scale, dshift) = (gradient.part(0..n), gradient.part(n..2 * n));
            let arguments =
                arguments![&sums.buffer, sums.parts, width, -1.0f64, log_scale, dlog_scale, dshift];
            device.each("actnorm_gradient", n, arguments)?;
            device.each("actnorm_pull", dy.len(), arguments![&dy, log_scale, n, width])?;
            Ok(dy)
        }));
        Ok(y)
    }

    /// Adds the sum of these numbers once a row.
    fn add_log_det(&self, numbers: View<'_>, rows: usize, log_det: &Buffer<f64>) -> Result<()> {
        let arguments = arguments![numbers, numbers.len(), rows as f64, log_det];
        self.device.launch("add_float_sum", [1, 1], [THREADS, 1], arguments)
    }

    /// `y = L U x + b`.
    fn linear(&mut self, n: usize, reversed: bool, x: Buffer, log_det: &Buffer<f64>) -> Result<Buffer> {
        let (device, width, size) = (self.device, self.width, n * n);
        let rows = x.len() / width;
        let (weights, gradient) = self.take(2 * size + 2 * n);
        let (lower, upper): (Buffer, Buffer) = (device.room(size)?, device.room(size)?);
        device.each("triangles", size, arguments![weights, &lower, &upper, n])?;
        let taken = take(device, &x, [0, n], width, reversed)?;
        let times = move |matrix: &Buffer, transposed: bool, rows_of: &Buffer| {
            let out = device.room(rows * n)?;
            let matrix = Matrix::new(matrix.view(), n, n);
            // Rows hold x, and y^T = x^T M^T.
            let matrix = if transposed { matrix } else { matrix.transposed() };
            device.multiply(out.view(), false, Matrix::new(rows_of.view(), rows, n), matrix)?;
            Ok::<_, Error>(out)
        };
        let middle = times(&upper, false, &taken)?;
        let y = times(&lower, false, &middle)?;
        let bias = weights.part(2 * size + n..2 * size + 2 * n);
        device.each("add_bias", y.len(), arguments![&y, Argument::NONE, bias, n])?;
        self.add_log_det(weights.part(2 * size..2 * size + n), rows, log_det)?;
        put(device, &x, &y, [0, n], width, false)?;
        let Some(gradient) = gradient else { return Ok(x) };
        self.tape.push(Box::new(move |dy| {
            let dout = take(device, &dy, [0, n], width, false)?;
            let dmiddle = times(&lower, true, &dout)?;
            let outer = |a: &Buffer, b: &Buffer| {
                let out = device.room::<f32>(size)?;
                let (a, b) = (Matrix::new(a.view(), rows, n), Matrix::new(b.view(), rows, n));
                device.multiply(out.view(), false, a.transposed(), b)?;
                Ok::<_, Error>(out)
            };
            let (dlower, dupper) = (outer(&dout, &middle)?, outer(&dmiddle, &taken)?);
            let arguments = arguments![&dlower, &dupper, &upper, -1.0f64, gradient, n];
            device.each("triangles_gradient", size, arguments)?;
            add_column_sums(device, &dout, gradient.part(2 * size + n..2 * size + 2 * n))?;
            put(device, &dy, &times(&upper, true, &dmiddle)?, [0, n], width, reversed)?;
            Ok(dy)
        }));
        Ok(x)
    }

    /// The active numbers warped as the network says from the passive ones.
    fn coupling(
        &mut self,
        active: [usize; 2],
        warp: Warp,
        layers: &[LayerSection],
        x: Buffer,
        log_det: &Buffer<f64>,
    ) -> Result<Buffer> {
        let (device, width, each) = (self.device, self.width, warp.parameters());
        let ([begin, end], count) = (active, active[1] - active[0]);
        let (rows, passive) = (x.len() / width, width - count);
        let mut net = Pass::new(device, self.weights.part(self.at..self.weights.len()), self.rest());
        let seen = device.room(rows * passive)?;
        device.each("take_passive", seen.len(), arguments![&x, &seen, begin, end, width])?;
        let raw = net.forward(layers, Rows::new(Shape::Row(passive), seen))?;
        self.at += net.taken();
        let (before, numbers) = (take(device, &x, active, width, false)?, rows * count);
        let after = device.copy(before.view())?;
        let sums = device.room::<f64>(numbers.div_ceil(THREADS))?;
        let (kind, bins, bound) = match warp {
            Warp::Shift => (0usize, 0, 0.0),
            Warp::Affine => (1, 0, 0.0),
            Warp::Spline { bins, bound } => (2, bins, bound as f32),
        };
        device.each("warp", numbers, arguments![&*raw.data, &after, &sums, kind, bins, bound, each])?;
        add_sum(device, &sums, 1.0, log_det)?;
        put(device, &x, &after, active, width, false)?;
        if let Purpose::Training { .. } = self.purpose {
            self.tape.push(Box::new(move |dy| {
                let dactive = take(device, &dy, active, width, false)?;
                let draw = device.room(numbers * each)?;
                let slope = -1.0 / rows as f32;
                let arguments =
                    arguments![&*raw.data, &before, &dactive, &draw, slope, kind, bins, bound, each];
                device.each("warp_pull", numbers, arguments)?;
                put(device, &dy, &dactive, active, width, false)?;
                let dpassive = net.pull(draw)?;
                device.each("add_passive", dpassive.len(), arguments![&dy, &dpassive, begin, end, width])?;
                Ok(dy)
            }));
        }
        Ok(x)
    }

    /// The purpose with the gradient of what is not taken yet.
    fn rest(&self) -> Purpose<'a> {
        match self.purpose {
            Purpose::Value => Purpose::Value,
            Purpose::Training { gradient, stream } => {
                Purpose::Training { gradient: gradient.part(self.at..gradient.len()), stream }
            }
        }
    }
}

/// Columns of rows.
fn take(
    device: &Device,
    rows: &Buffer,
    [begin, end]: [usize; 2],
    width: usize,
    reversed: bool,
) -> Result<Buffer> {
    let count = end - begin;
    let out = device.room(rows.len() / width * count)?;
    let arguments = arguments![rows, &out, begin, count, width, usize::from(reversed)];
    device.each("take_columns", out.len(), arguments)?;
    Ok(out)
}

/// Columns put back into rows.
fn put(
    device: &Device,
    rows: &Buffer,
    columns: &Buffer,
    [begin, end]: [usize; 2],
    width: usize,
    reversed: bool,
) -> Result<()> {
    let arguments = arguments![rows, columns, begin, end - begin, width, usize::from(reversed)];
    device.each("put_columns", columns.len(), arguments)
}
