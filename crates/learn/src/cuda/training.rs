//! Training on the device: weights, gradient and both means of Adam stay there; losses and weights come back at the end of an epoch.

use lookback_operator::random::Stream;

use super::device::{Argument, Buffer, Device, THREADS, View, arguments};
use super::network;
use crate::layer::{Role, Weight};
use crate::training::Step;
use crate::{AdamOptions, Error, Objective, Result, Trainer, Training, TrainingOptions};

/// An objective whose steps are made on the device.
pub trait DeviceObjective {
    /// The same objective on the processor.
    fn host(&self) -> &dyn Objective;

    /// As [`Objective::step`], on the device; adds the loss to what stands there.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn step(&self, arrays: &Arrays<'_>, rows: &[usize], stream: Stream) -> Result<()>;

    /// As [`Objective::validation`].
    ///
    /// # Errors
    /// [`Error::Device`].
    fn validation(&self, weights: &Weights<'_>) -> Result<f64>;
}

/// Weights on the device.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a>(pub(super) View<'a>);

/// What a step works on.
#[derive(Debug, Clone, Copy)]
pub struct Arrays<'a> {
    pub(super) weights: View<'a>,
    pub(super) gradient: View<'a>,
    pub(super) loss: &'a Buffer<f64>,
}

/// A training on the device. As on the processor, the same seed leads to the same weights on the same device; those of the
/// processor differ by rounding.
pub struct OnDevice<'a> {
    device: &'a Device,
    objective: &'a dyn DeviceObjective,
    options: &'a TrainingOptions,
    training: Training,
    weights: Buffer,
    average: Option<Buffer>,
    mean: Buffer,
    square: Buffer,
    gradient: Buffer,
    losses: Buffer<f64>,
    roles: Buffer<u8>,
}

impl<'a> OnDevice<'a> {
    /// Goes on with a training from where it stands.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn new(
        device: &'a Device,
        objective: &'a dyn DeviceObjective,
        options: &'a TrainingOptions,
        training: Training,
    ) -> Result<OnDevice<'a>> {
        let arrays = objective.host().weights();
        Ok(OnDevice {
            weights: device.upload(&training.weights)?,
            average: training.average.as_ref().map(|average| device.upload(average)).transpose()?,
            mean: device.upload(&training.adam.mean)?,
            square: device.upload(&training.adam.square)?,
            gradient: device.zeros(training.weights.len())?,
            losses: device.upload(&[training.losses])?,
            roles: device.upload(&roles(&arrays))?,
            device,
            objective,
            options,
            training,
        })
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let (device, options) = (self.device, self.options);
        device.clear(&self.gradient)?;
        let arrays =
            Arrays { weights: self.weights.view(), gradient: self.gradient.view(), loss: &self.losses };
        self.objective.step(&arrays, &step.rows, step.stream)?;
        let n = self.weights.len();
        let gradient = &self.gradient;
        let sums = network::dot_in_parts(device, gradient.view(), gradient.view())?;
        let shortened = device.room::<f32>(1)?;
        let clip = options.adam.clip.unwrap_or(0.0);
        let shorten = arguments![&sums, sums.len(), clip, &shortened, &self.losses];
        device.launch("shortening", [1, 1], [THREADS, 1], shorten)?;
        self.training.adam.steps += 1;
        let adam = [
            arguments![&self.weights, gradient, &self.mean, &self.square, &self.roles, &shortened],
            &factors(&options.adam, self.training.adam.steps, step.rate)[..],
        ];
        device.each("adam", n, &adam.concat())?;
        if let Some(average) = &self.average {
            device.each("running_average", n, arguments![average, &self.weights, step.keep])?;
        }
        Ok(())
    }

    /// The sum of the losses of this epoch so far.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a step since the last look was no number.
    fn losses(&self) -> Result<f64> {
        let loss = self.device.download(&self.losses)?[0];
        if loss.is_finite() {
            return Ok(loss);
        }
        Err(Error::Diverged { step: self.training.progress(self.objective.host(), self.options).0, loss })
    }

    fn final_weights(&self) -> &Buffer {
        self.average.as_ref().unwrap_or(&self.weights)
    }
}

/// What the steps of Adam are made of, in the order of the kernel.
fn factors(options: &AdamOptions, steps: u64, rate: f64) -> [Argument; 6] {
    let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
    [
        options.beta1,
        options.beta2,
        rate / correction(options.beta1),
        1.0 / correction(options.beta2),
        options.epsilon,
        1.0 - rate * options.weight_decay,
    ]
    .map(|factor| Argument::Float(factor as f32))
}

/// The role of every weight, as the kernel counts them.
fn roles(arrays: &[Weight]) -> Vec<u8> {
    let role = |weight: &Weight| match weight.role {
        Role::Statistic => 0,
        Role::Matrix => 1,
        Role::Vector => 2,
    };
    arrays.iter().flat_map(|weight| std::iter::repeat_n(role(weight), weight.len())).collect()
}

impl Trainer for OnDevice<'_> {
    fn advance(&mut self) -> Result<()> {
        let step = self.training.next_step(self.objective.host(), self.options);
        self.step(&step)?;
        self.training.count_step();
        if step.ends_epoch {
            self.training.losses = self.losses()?;
            let validation = self.objective.validation(&Weights(self.final_weights().view()))?;
            if self.training.end_epoch(validation, &step) {
                let best = self.device.download(self.final_weights())?;
                self.training.keep_as_best(best);
            }
            self.losses = self.device.upload(&[0.0])?;
        }
        Ok(())
    }

    fn watch(&self) -> &Training {
        &self.training
    }

    fn state(&mut self) -> Result<&Training> {
        let device = self.device;
        self.training.losses = self.losses()?;
        self.training.weights = device.download(&self.weights)?;
        self.training.average = self.average.as_ref().map(|average| device.download(average)).transpose()?;
        self.training.adam.mean = device.download(&self.mean)?;
        self.training.adam.square = device.download(&self.square)?;
        Ok(&self.training)
    }

    fn progress(&self) -> (u64, u64) {
        self.training.progress(self.objective.host(), self.options)
    }

    fn is_done(&self) -> bool {
        self.training.is_done(self.objective.host(), self.options)
    }
}
