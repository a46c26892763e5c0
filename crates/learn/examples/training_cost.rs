//! Seconds per 1000 examples of forward, backward and Adam: `training_cost NET [STEPS] [cuda]`, the last on a GPU (feature `cuda`).
//!
//! Nets: `infogan` (28 x 28 pixels, 64 latents, batch 128), `convolutional` (the same with 32 latents), `supernova` (288 numbers, 3 latents, batch 128), `spline_flow` (64
//! dimensions, 8 couplings, batch 128). Prints JSON, with the median of the steps.

use std::time::Instant;

use lookback_learn::flow::{Flow, FlowSection, PublishedFlow};
use lookback_learn::{
    Adam, AdamOptions, Architecture, Augmentation, AutoencoderSection, Batch, Examples, Objective, Published,
    Reconstruction, Scaling, Shape, begin, flow::Bijection, layers::Image,
};
use lookback_operator::random::{Purpose, Stream};

const BATCH: usize = 128;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let net = arguments.next().unwrap_or_else(|| "infogan".into());
    let steps: usize = arguments.next().map_or(30, |steps| steps.parse().expect("a number of steps"));
    let on_device = arguments.next().is_some_and(|word| word == "cuda");
    let image = Shape::Image(Image { height: 28, width: 28, channels: 1 });
    let named = |name, latents| AutoencoderSection {
        latents,
        architecture: Architecture::Named(name),
        dropout: 0.25,
        variational: None,
    };
    let autoencoder = |section, shape| {
        if on_device {
            device::autoencoder(section, shape, steps)
        } else {
            autoencoder(&section, shape, steps)
        }
    };
    let seconds = match net.as_str() {
        "infogan" => autoencoder(named(Published::Infogan, 64), image),
        "convolutional" => autoencoder(named(Published::Convolutional, 32), image),
        "supernova" => autoencoder(named(Published::Supernova, 3), Shape::Row(288)),
        "spline_flow" if on_device => device::flow(steps),
        "spline_flow" => flow(steps),
        other => panic!("no net `{other}`"),
    };
    println!("{{\"net\": \"{net}\", \"seconds_per_1000\": {:.5}}}", seconds * 1000.0 / BATCH as f64);
}

fn median(steps: usize, mut step: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..steps)
        .map(|index| {
            let start = Instant::now();
            step(index);
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[steps / 2]
}

fn normals(rows: usize, width: usize) -> Batch<f32> {
    let mut data = vec![0.0; rows * width];
    Stream::new(1, Purpose::Test, 0).fill_normal(&mut data);
    Batch::new(width, data)
}

fn autoencoder(section: &AutoencoderSection, shape: Shape, steps: usize) -> f64 {
    let net = section.build(shape).expect("a net");
    let examples = Examples::new(shape, normals(BATCH, shape.len())).expect("examples");
    let objective = Reconstruction {
        autoencoder: &net,
        train: &examples,
        validation: &examples,
        augmentation: &Augmentation::default(),
        scaling: Scaling { offset: 0.0, scale: 1.0 },
    };
    let arrays = objective.weights();
    let mut weights: Vec<f32> = begin(&arrays, 1);
    let mut adam = Adam::new(weights.len());
    let mut gradient = vec![0.0; weights.len()];
    let rows: Vec<usize> = (0..BATCH).collect();
    eprintln!("{} weights", weights.len());
    median(steps, |step| {
        gradient.fill(0.0);
        objective.step(&mut weights, &rows, Stream::new(1, Purpose::Training, step as u32), &mut gradient);
        adam.step(&mut weights, &gradient, &arrays, 1e-3, &AdamOptions::default());
    })
}

fn flow_section() -> FlowSection {
    PublishedFlow::SplineCoupling.section((64, 0), 8, 128)
}

fn flow(steps: usize) -> f64 {
    let flow: Flow<f32> = flow_section().build().expect("a flow");
    let arrays = flow.weights();
    let mut weights: Vec<f32> = begin(&arrays, 1);
    let mut adam = Adam::new(weights.len());
    let x = normals(BATCH, 64);
    let mut gradient = vec![0.0; weights.len()];
    eprintln!("{} weights", weights.len());
    median(steps, |_| {
        gradient.fill(0.0);
        flow.loss(&weights, x.clone(), &mut gradient);
        adam.step(&mut weights, &gradient, &arrays, 1e-3, &AdamOptions::default());
    })
}

#[cfg(feature = "cuda")]
mod device {
    //! The same on a GPU. Steps are not waited for one by one: the time is that of many, examples on their way included.

    use lookback_learn::cuda::{Device, DeviceLikelihood, DeviceObjective, DeviceReconstruction, OnDevice};
    use lookback_learn::flow::MaximumLikelihood;
    use lookback_learn::{Trainer, Training, TrainingOptions};

    use super::{
        Augmentation, AutoencoderSection, BATCH, Examples, Flow, Instant, Reconstruction, Scaling, Shape,
        flow_section, normals,
    };

    /// Steps before the clock is started.
    const WARM: usize = 20;
    /// Rounds of which the median counts.
    const ROUNDS: usize = 5;

    fn seconds(device: &Device, objective: &dyn DeviceObjective, steps: usize) -> f64 {
        let options = TrainingOptions { epochs: 1, batch: BATCH, ..TrainingOptions::default() };
        let training = Training::new(objective.host(), &options, 1).expect("begins");
        let mut training = OnDevice::new(device, objective, &options, training).expect("room");
        let mut run = |steps| {
            let start = Instant::now();
            (0..steps).for_each(|_| training.advance().expect("a step"));
            device.wait().expect("all steps");
            start.elapsed().as_secs_f64() / steps as f64
        };
        run(WARM);
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| run(steps)).collect();
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    }

    /// Examples enough for all steps of one epoch, so that its end is not in the time.
    fn rows(steps: usize) -> usize {
        BATCH * (WARM + ROUNDS * steps + 1)
    }

    pub fn autoencoder(section: AutoencoderSection, shape: Shape, steps: usize) -> f64 {
        let device = Device::open().expect("a GPU");
        eprintln!("{}", device.name());
        let net = section.build(shape).expect("a net");
        let train = Examples::new(shape, normals(rows(steps), shape.len())).expect("examples");
        let validation = Examples::new(shape, normals(BATCH, shape.len())).expect("examples");
        let host = Reconstruction {
            autoencoder: &net,
            train: &train,
            validation: &validation,
            augmentation: &Augmentation::default(),
            scaling: Scaling { offset: 0.0, scale: 1.0 },
        };
        let objective = DeviceReconstruction::new(&device, host, &section).expect("room");
        seconds(&device, &objective, steps)
    }

    pub fn flow(steps: usize) -> f64 {
        let device = Device::open().expect("a GPU");
        let flow: Flow<f32> = flow_section().build().expect("a flow");
        let (train, validation) = (normals(rows(steps), 64), normals(BATCH, 64));
        let host =
            MaximumLikelihood { flow: &flow, train: &train, validation: &validation, jitter: vec![0.0; 64] };
        let objective = DeviceLikelihood::new(&device, host, flow_section()).expect("room");
        seconds(&device, &objective, steps)
    }
}

#[cfg(not(feature = "cuda"))]
mod device {
    use super::{AutoencoderSection, Shape};

    pub fn autoencoder(_: AutoencoderSection, _: Shape, _: usize) -> f64 {
        panic!("built without the feature `cuda`")
    }

    pub fn flow(_: usize) -> f64 {
        panic!("built without the feature `cuda`")
    }
}
