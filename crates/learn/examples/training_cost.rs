//! Seconds per 1000 examples of forward, backward and Adam: `training_cost NET [STEPS]`.
//!
//! Nets: `infogan` (28 x 28 pixels, 64 latents, batch 128), `convolutional` (the same with 32 latents), `supernova` (288 numbers, 3 latents, batch 128), `spline_flow` (64
//! dimensions, 8 couplings, batch 128). Prints JSON, with the median of the steps.

use std::time::Instant;

use lookback_learn::flow::{Flow, PublishedFlow};
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
    let seconds = match net.as_str() {
        "infogan" => {
            let image = Shape::Image(Image { height: 28, width: 28, channels: 1 });
            autoencoder(Published::Infogan, image, 64, steps)
        }
        "convolutional" => {
            let image = Shape::Image(Image { height: 28, width: 28, channels: 1 });
            autoencoder(Published::Convolutional, image, 32, steps)
        }
        "supernova" => autoencoder(Published::Supernova, Shape::Row(288), 3, steps),
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

fn normals(width: usize) -> Batch<f32> {
    let mut data = vec![0.0; BATCH * width];
    Stream::new(1, Purpose::Test, 0).fill_normal(&mut data);
    Batch::new(width, data)
}

fn autoencoder(name: Published, shape: Shape, latents: usize, steps: usize) -> f64 {
    let architecture = Architecture::Named(name);
    let section = AutoencoderSection { latents, architecture, dropout: 0.25, variational: None };
    let net = section.build(shape).expect("a net");
    let examples = Examples::new(shape, normals(shape.len())).expect("examples");
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

fn flow(steps: usize) -> f64 {
    let flow: Flow<f32> = PublishedFlow::SplineCoupling.section((64, 0), 8, 128).build().expect("a flow");
    let arrays = flow.weights();
    let mut weights: Vec<f32> = begin(&arrays, 1);
    let mut adam = Adam::new(weights.len());
    let x = normals(64);
    let mut gradient = vec![0.0; weights.len()];
    eprintln!("{} weights", weights.len());
    median(steps, |_| {
        gradient.fill(0.0);
        flow.loss(&weights, x.clone(), &mut gradient);
        adam.step(&mut weights, &gradient, &arrays, 1e-3, &AdamOptions::default());
    })
}
