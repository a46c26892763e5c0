//! The laws of layers, for each of them, frozen and in training.

use lookback_learn::layers::{
    Activation, BatchNorm, Convolution, Dense, Dropout, Function, Image, MaskedDense, Norm, Residual,
    TransposedConvolution,
};
use lookback_learn::{Batch, Layer, Mode, Network, begin, laws};
use lookback_operator::random::{Purpose, Stream};

const IMAGE: Image = Image { height: 5, width: 4, channels: 3 };

fn layers() -> Vec<(&'static str, Box<dyn Layer<f64>>)> {
    let inner: Vec<Box<dyn Layer<f64>>> = vec![
        Box::new(Dense::new(6, 4, true, Norm::None, None)),
        Box::new(Activation::new(Function::Silu, 4)),
        Box::new(Dense::new(4, 6, false, Norm::None, None)),
    ];
    let mut all: Vec<(&str, Box<dyn Layer<f64>>)> = vec![
        ("dense", Box::new(Dense::new(7, 4, true, Norm::None, None))),
        ("dense without bias", Box::new(Dense::new(7, 4, false, Norm::None, None))),
        ("masked", Box::new(MaskedDense::new(5, 6, None, |i, o| i <= o))),
        ("convolution", Box::new(Convolution::new(IMAGE, 2, 3, 1, Norm::None, None))),
        ("convolution with stride", Box::new(Convolution::new(IMAGE, 2, 4, 2, Norm::None, None))),
        ("transposed convolution", Box::new(TransposedConvolution::new(IMAGE, 2, 4, 2, None))),
        ("batch norm", Box::new(BatchNorm::new(12, 3, 0.9))),
        ("dropout", Box::new(Dropout::new(12, 0.3, 1))),
        ("residual", Box::new(Residual::new(Network::new(6, inner)))),
    ];
    use Function::{Elu, LeakyRelu, Relu, Sigmoid, Silu, Softplus, Tanh};
    for function in [Relu, LeakyRelu, Silu, Elu, Tanh, Sigmoid, Softplus] {
        all.push(("activation", Box::new(Activation::new(function, 6))));
    }
    all
}

/// Layers whose norm has a derivative only where it is frozen, as it ought to be.
fn normalised() -> Vec<Box<dyn Layer<f64>>> {
    vec![
        Box::new(Dense::new(7, 4, true, Norm::Spectral, None)),
        Box::new(Convolution::new(IMAGE, 2, 4, 2, Norm::Spectral, None)),
    ]
}

fn training() -> Mode {
    Mode::Training { stream: Stream::new(3, Purpose::Training, 7) }
}

/// Weights that are nowhere special.
fn weights(layer: &dyn Layer<f64>) -> Vec<f64> {
    let arrays = layer.weights();
    let mut all: Vec<f64> = begin(&arrays, 5);
    let mut shift = vec![0.0; all.len()];
    Stream::new(9, Purpose::Test, 0).fill_normal(&mut shift);
    all.iter_mut().zip(shift).for_each(|(w, s): (&mut f64, f64)| *w += 0.1 * s.abs());
    all
}

#[test]
fn derivatives_agree_with_differences() {
    for (name, layer) in layers() {
        println!("{name}");
        laws::check(&*layer, &weights(&*layer), Mode::Frozen, 1e-8);
        laws::check(&*layer, &weights(&*layer), training(), 1e-8);
    }
    for layer in normalised() {
        laws::check(&*layer, &weights(&*layer), Mode::Frozen, 1e-8);
    }
}

#[test]
fn convolution_is_the_sum_it_stands_for() {
    let (channels, kernel, stride) = (2, 4, 2);
    let layer = Convolution::new(IMAGE, channels, kernel, stride, Norm::None, None);
    let all = weights(&layer);
    let mut x = vec![0.0; IMAGE.len()];
    Stream::new(1, Purpose::Test, 0).fill_normal(&mut x);
    let (y, _) = layer.forward(&all, Batch::new(IMAGE.len(), x.clone()), Mode::Frozen);
    // Rows: 3 patches of 4 with stride 2 need 8 pixels, three zeros more than there are, one before; columns: 2 need 6, one before.
    let out = layer.image();
    assert_eq!((out.height, out.width), (3, 2));
    for (row, column, channel) in [(0, 0, 0), (1, 1, 1), (2, 0, 1), (2, 1, 0)] {
        let mut sum = all[kernel * kernel * 3 * channels + channel];
        for (ky, kx, c) in (0..4).flat_map(|ky| (0..4).flat_map(move |kx| (0..3).map(move |c| (ky, kx, c)))) {
            let (v, h) = (row * stride + ky, column * stride + kx);
            if (1..6).contains(&v) && (1..5).contains(&h) {
                let pixel = x[((v - 1) * 4 + h - 1) * 3 + c];
                sum += pixel * all[((ky * kernel + kx) * 3 + c) * channels + channel];
            }
        }
        let found = y.data()[(row * out.width + column) * channels + channel];
        assert!((found - sum).abs() < 1e-12, "{found} for {sum}");
    }
}

#[test]
fn spectral_norm_finds_the_largest_singular_value() {
    let layer = Dense::new(6, 5, false, Norm::Spectral, None);
    let mut all: Vec<f64> = begin(&Layer::<f64>::weights(&layer), 1);
    let x = Batch::new(6, vec![1.0; 6]);
    for _ in 0..200 {
        let (_, trace) = layer.forward(&all, x.clone(), training());
        layer.absorb(&mut all, &trace);
    }
    // The largest singular value of a normalised matrix is one: no input grows.
    let mut largest: f64 = 0.0;
    let mut direction = vec![1.0; 6];
    for _ in 0..500 {
        let (_, trace) = layer.forward(&all, Batch::new(6, direction.clone()), Mode::Frozen);
        let y = layer.push(&all, &trace, Batch::new(6, direction.clone()));
        largest = y.data().iter().map(|y| y * y).sum::<f64>().sqrt();
        let back = layer.pull(&all, &trace, y, None).into_data();
        let length = back.iter().map(|x| x * x).sum::<f64>().sqrt();
        direction = back.iter().map(|x| x / length).collect();
    }
    assert!((largest - 1.0).abs() < 1e-6, "{largest}");
}

#[test]
fn batch_norm_normalises_and_remembers() {
    let layer = BatchNorm::new(4, 2, 0.5);
    let mut all: Vec<f64> = begin(&Layer::<f64>::weights(&layer), 1);
    let x = Batch::new(4, (0..40).map(|i| f64::from(i * i % 17)).collect());
    let (y, trace) = layer.forward(&all, x.clone(), training());
    for channel in 0..2 {
        let values: Vec<f64> = y.data().iter().skip(channel).step_by(2).copied().collect();
        let mean = values.iter().sum::<f64>() / 20.0;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 20.0;
        assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }
    for _ in 0..60 {
        layer.absorb(&mut all, &trace);
    }
    let (frozen, _) = layer.forward(&all, x, Mode::Frozen);
    let worst = frozen.data().iter().zip(y.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-9, "{worst}");
}

#[test]
fn dropout_keeps_the_mean_and_drops_its_share() {
    let layer = Dropout::new(1000, 0.25, 2);
    let (y, _) = Layer::<f64>::forward(&layer, &[], Batch::new(1000, vec![1.0; 100_000]), training());
    let dropped = y.data().iter().filter(|y| **y == 0.0).count() as f64 / 1e5;
    // The standard error of the share is 0.0014.
    assert!((dropped - 0.25).abs() < 0.0055, "{dropped}");
    assert!(y.data().iter().all(|y| *y == 0.0 || (*y - 1.0 / 0.75).abs() < 1e-12));
}
