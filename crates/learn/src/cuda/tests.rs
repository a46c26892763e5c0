//! The processor's networks are the oracle of the device's.

use lookback_operator::random::{Purpose, Stream};

use super::training::Arrays;
use super::{Device, DeviceLikelihood, DeviceObjective, DeviceReconstruction, OnDevice, Weights};
use crate::flow::{Flow, FlowSection, MaximumLikelihood, PublishedFlow};
use crate::layers::{Function, Image, Norm};
use crate::{
    AdamOptions, Architecture, Augmentation, Autoencoder, AutoencoderSection, Batch, Examples, LayerSection,
    OnHost, Pair, Published, Reconstruction, Scaling, Shape, Trainer, Training, TrainingOptions, Variational,
    Weight, begin,
};

fn device() -> Device {
    Device::open().expect("a GPU")
}

fn normals(rows: usize, width: usize, substream: u32) -> Batch<f32> {
    let mut data = vec![0.0; rows * width];
    Stream::new(1, Purpose::Test, substream).fill_normal(&mut data);
    Batch::new(width, data)
}

/// Weights that are no special ones.
fn some_weights(arrays: &[Weight]) -> Vec<f32> {
    let mut weights: Vec<f32> = begin(arrays, 5);
    let noise = normals(1, weights.len(), 9);
    weights.iter_mut().zip(noise.data()).for_each(|(w, n)| *w += 0.05 * n);
    weights
}

/// Largest distance of any number from its oracle, over the largest number of the oracle.
fn distance(numbers: &[f32], oracle: &[f32]) -> f32 {
    assert!(numbers.iter().chain(oracle).all(|x| x.is_finite()), "all are numbers");
    let largest = oracle.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let apart = numbers.iter().zip(oracle).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    apart / largest.max(1e-6)
}

/// One step on both sides: loss, gradient array by array, statistics, and the loss of the validation set.
fn agree(what: &str, device: &Device, objective: &dyn DeviceObjective, tolerance: f32) {
    let host = objective.host();
    let arrays = host.weights();
    let mut weights = some_weights(&arrays);
    let (rows, stream) = ([3, 0, 7, 1, 2, 9, 4, 5], Stream::new(3, Purpose::Training, 2));
    let on_device = device.upload(&weights).expect("room");
    let (gradient, loss) = (device.zeros(weights.len()).expect("room"), device.zeros(1).expect("room"));
    let handles = Arrays { weights: on_device.view(), gradient: gradient.view(), loss: &loss };
    objective.step(&handles, &rows, stream).expect("a step");
    let mut expected = vec![0.0; weights.len()];
    let expected_loss = host.step(&mut weights, &rows, stream, &mut expected);
    let loss = device.download(&loss).expect("a loss")[0];
    assert!((loss / expected_loss - 1.0).abs() < 1e-4, "{what}: loss {loss}, not {expected_loss}");
    let (gradient, moved) =
        (device.download(&gradient).expect("it"), device.download(&on_device).expect("it"));
    let mut at = 0;
    for array in &arrays {
        let range = at..at + array.len();
        at = range.end;
        let apart = distance(&gradient[range.clone()], &expected[range.clone()]);
        assert!(apart < tolerance, "{what}: gradient of {} is {apart} apart", array.name);
        let apart = distance(&moved[range.clone()], &weights[range]);
        assert!(apart < 1e-4, "{what}: {} after the step is {apart} apart", array.name);
    }
    let (here, there) =
        (objective.validation(&Weights(on_device.view())).expect("it"), host.validation(&weights));
    assert!((here / there - 1.0).abs() < 1e-4, "{what}: validation {here}, not {there}");
}

/// Examples: more than go through the networks together when they are judged.
const ROWS: usize = 300;

struct Bench {
    section: AutoencoderSection,
    net: Autoencoder<f32>,
    examples: Examples,
    augmentation: Augmentation,
}

impl Bench {
    fn new(section: AutoencoderSection, shape: Shape) -> Bench {
        let examples = Examples::new(shape, normals(ROWS, shape.len(), 1)).expect("examples");
        let net = section.build(shape).expect("a net");
        Bench { section, net, examples, augmentation: Augmentation::default() }
    }

    fn objective<'a>(&'a self, device: &'a Device) -> DeviceReconstruction<'a> {
        let host = Reconstruction {
            autoencoder: &self.net,
            train: &self.examples,
            validation: &self.examples,
            augmentation: &self.augmentation,
            scaling: Scaling { offset: 0.0, scale: 1.0 },
        };
        DeviceReconstruction::new(device, host, &self.section).expect("room")
    }
}

fn section(architecture: Architecture, latents: usize) -> AutoencoderSection {
    AutoencoderSection { latents, architecture, dropout: 0.25, variational: None }
}

fn image(side: usize, channels: usize) -> Image {
    Image { height: side, width: side, channels }
}

/// Every layer and every function, with shapes that nothing divides.
fn of_everything() -> Pair {
    use LayerSection::{
        Activation, BatchNorm, Convolution, Dense, Dropout, Reshape, Residual, TransposedConvolution,
    };
    let act = |function| Activation { function };
    let dense = |outputs, norm| Dense { outputs, norm, std: None };
    let conv = |channels, kernel, stride, norm| Convolution { channels, kernel, stride, norm, std: None };
    let block = vec![act(Function::Silu), conv(5, 3, 1, Norm::Spectral), act(Function::Elu)];
    Pair {
        encoder: vec![
            conv(5, 3, 2, Norm::None),
            Residual { layers: block },
            BatchNorm { momentum: 0.9 },
            Dropout { rate: 0.3 },
            act(Function::Tanh),
            dense(17, Norm::Spectral),
            act(Function::Softplus),
            dense(3, Norm::None),
        ],
        decoder: vec![
            dense(5 * 4 * 3, Norm::None),
            BatchNorm { momentum: 0.5 },
            act(Function::LeakyRelu),
            Reshape { image: Image { height: 5, width: 4, channels: 3 } },
            TransposedConvolution { channels: 4, kernel: 5, stride: 2, std: None },
            act(Function::Relu),
            Dropout { rate: 0.1 },
            conv(2, 4, 1, Norm::Spectral),
            act(Function::Sigmoid),
        ],
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn networks_have_the_loss_and_the_gradient_of_the_processor() {
    let device = device();
    let named = Architecture::Named;
    for (name, shape, latents) in [
        (Published::Infogan, Shape::Image(image(28, 1)), 16),
        (Published::Convolutional, Shape::Image(image(12, 3)), 4),
        (Published::Supernova, Shape::Row(50), 3),
    ] {
        let bench = Bench::new(section(named(name), latents), shape);
        agree(&format!("{name:?}"), &device, &bench.objective(&device), 1e-3);
    }
    let shape = Shape::Image(Image { height: 10, width: 8, channels: 2 });
    let all = Bench::new(section(Architecture::Layers(of_everything()), 3), shape);
    agree("every layer", &device, &all.objective(&device), 1e-3);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn losses_of_every_kind_are_those_of_the_processor() {
    let (device, shape) = (device(), Shape::Row(20));
    for capacity in [0.0, 1e3] {
        let variational = Some(Variational { noise_std: 0.7, beta: 2.0, capacity });
        let section =
            AutoencoderSection { variational, ..section(Architecture::Named(Published::Supernova), 4) };
        agree("variational", &device, &Bench::new(section, shape).objective(&device), 1e-3);
    }
    let mut bench = Bench::new(section(Architecture::Named(Published::Supernova), 4), shape);
    let mut values = normals(ROWS, 20, 2);
    values.data_mut().iter_mut().step_by(7).for_each(|x| *x = f32::NAN);
    let std = normals(ROWS, 20, 3).map(|x| *x = 0.5 + x.abs());
    bench.examples = Examples::with_noise(shape, values, Some(&std)).expect("examples");
    bench.augmentation.noise_std = 0.3;
    agree("noise and missing numbers", &device, &bench.objective(&device), 1e-3);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn flows_have_the_loss_and_the_gradient_of_the_processor() {
    let device = device();
    for kind in [PublishedFlow::RealNvp, PublishedFlow::Glow, PublishedFlow::SplineCoupling] {
        for sizes in [(5, 2), (64, 0)] {
            let section: FlowSection = kind.section(sizes, 3, 24);
            let flow: Flow<f32> = section.build().expect("a flow");
            let x = normals(40, sizes.0 + sizes.1, 4).map(|x| *x *= 1.7);
            let jitter = vec![0.1; sizes.0];
            let host = MaximumLikelihood { flow: &flow, train: &x, validation: &x, jitter };
            let objective = DeviceLikelihood::new(&device, host, section).expect("room");
            agree(&format!("{kind:?} of {sizes:?}"), &device, &objective, 2e-3);
        }
    }
    let other = PublishedFlow::MaskedAutoregressive.section((4, 0), 2, 8);
    assert!(!DeviceLikelihood::takes(&other));
}

fn options() -> TrainingOptions {
    let adam = AdamOptions { weight_decay: 0.1, clip: Some(0.02), ..AdamOptions::default() };
    TrainingOptions { epochs: 5, batch: 60, average: 6, adam, ..TrainingOptions::default() }
}

fn run(trainer: &mut dyn Trainer, steps: usize) -> Training {
    (0..steps).for_each(|_| trainer.advance().expect("a step"));
    trainer.state().expect("a state").clone()
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn steps_are_those_of_the_processor() {
    let (device, options) = (device(), options());
    let bench = Bench::new(section(Architecture::Named(Published::Supernova), 3), Shape::Row(30));
    let objective = bench.objective(&device);
    let training = Training::new(objective.host(), &options, 7).expect("begins");
    let mut host = OnHost { training: training.clone(), objective: objective.host(), options: &options };
    let mut there = OnDevice::new(&device, &objective, &options, training).expect("room");
    let (expected, found) = (run(&mut host, 25), run(&mut there, 25));
    assert!(there.is_done() && found.history().len() == 5);
    for (here, there) in found.history().iter().zip(expected.history()) {
        assert!((here.train / there.train - 1.0).abs() < 1e-3, "{here:?} {there:?}");
        assert!((here.validation / there.validation - 1.0).abs() < 1e-3, "{here:?} {there:?}");
    }
    assert!(distance(found.weights(), expected.weights()) < 1e-3);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_training_that_is_stopped_goes_on_bit_for_bit() {
    let (device, options) = (device(), options());
    let shape = Shape::Image(Image { height: 10, width: 8, channels: 2 });
    let bench = Bench::new(section(Architecture::Layers(of_everything()), 3), shape);
    let objective = bench.objective(&device);
    let begin = || Training::new(objective.host(), &options, 7).expect("begins");
    let on = |training| OnDevice::new(&device, &objective, &options, training).expect("room");
    let whole = run(&mut on(begin()), 25);
    let half = run(&mut on(begin()), 13);
    assert!(run(&mut on(half), 12) == whole);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_training_that_diverges_says_so() {
    let device = device();
    let options = TrainingOptions { learning_rate: 1e30, ..options() };
    let bench = Bench::new(section(Architecture::Named(Published::Supernova), 3), Shape::Row(30));
    let objective = bench.objective(&device);
    let training = Training::new(objective.host(), &options, 7).expect("begins");
    let mut there = OnDevice::new(&device, &objective, &options, training).expect("room");
    let failed = (0..25).find_map(|_| there.advance().err()).expect("it diverges");
    assert!(matches!(failed, crate::Error::Diverged { .. }), "{failed}");
}
