//! Published architectures, by name.

use serde::{Deserialize, Serialize};

use crate::architecture::{LayerSection, Shape};
use crate::layers::{Function, Image, Norm};
use crate::{Error, Result};

/// Encoder and decoder of an autoencoder, as layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Example to latent.
    pub encoder: Vec<LayerSection>,
    /// Latent to example.
    pub decoder: Vec<LayerSection>,
}

/// An architecture with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    /// The net of the probabilistic autoencoder (Boehm & Seljak 2020), after InfoGAN: two convolutions and a dense layer of 1024,
    /// and their mirror. 13.3 million weights for 28 x 28 pixels and 64 latents.
    Infogan,
    /// The dense net of the supernova autoencoder (Stein et al. 2022): 256, 128, 32 and their mirror.
    Supernova,
    /// Two convolutions and a dense layer of 512, and their mirror, with smooth activations, which samplers like. 3.3 million weights
    /// for 28 x 28 pixels and 32 latents; a quarter of the cost of `infogan`.
    Convolutional,
}

impl Published {
    /// The layers for examples of this shape and so many latents. `dropout` is the rate where the architecture drops anything.
    ///
    /// # Errors
    /// If the shape does not fit the architecture.
    pub fn layers(self, example: Shape, latents: usize, dropout: f64) -> Result<Pair> {
        match self {
            Published::Supernova => Ok(supernova(example.len(), latents)),
            Published::Infogan => infogan(image_of(example)?, latents, dropout),
            Published::Convolutional => convolutional(image_of(example)?, latents),
        }
    }
}

fn image_of(example: Shape) -> Result<Image> {
    match example {
        Shape::Image(image) if image.height.is_multiple_of(4) && image.width.is_multiple_of(4) => Ok(image),
        Shape::Image(image) => Err(Error::architecture(format!(
            "this architecture halves an image twice: {} x {} pixels cannot be divided by 4",
            image.height, image.width
        ))),
        Shape::Row(width) => Err(Error::architecture(format!(
            "this architecture needs images, and an example is a row of {width}"
        ))),
    }
}

fn dense(outputs: usize) -> LayerSection {
    LayerSection::Dense { outputs, norm: Norm::None, std: None }
}

fn act(function: Function) -> LayerSection {
    LayerSection::Activation { function }
}

fn supernova(width: usize, latents: usize) -> Pair {
    let stack = |sizes: [usize; 3], last: usize| {
        let hidden = sizes.into_iter().flat_map(|size| [dense(size), act(Function::Relu)]);
        hidden.chain([dense(last)]).collect()
    };
    Pair { encoder: stack([256, 128, 32], latents), decoder: stack([32, 128, 256], width) }
}

fn infogan(image: Image, latents: usize, rate: f64) -> Result<Pair> {
    let std = Some(0.02);
    let dense = |outputs, norm| LayerSection::Dense { outputs, norm, std };
    let down = |channels, norm| LayerSection::Convolution { channels, kernel: 4, stride: 2, norm, std };
    let up = |channels| LayerSection::TransposedConvolution { channels, kernel: 4, stride: 2, std };
    let norm = || LayerSection::BatchNorm { momentum: 0.999 };
    let (leaky, relu) = (|| act(Function::LeakyRelu), || act(Function::Relu));
    let dropout = || LayerSection::Dropout { rate };
    let small = Image { height: image.height / 4, width: image.width / 4, channels: 128 };
    let encoder = vec![
        down(64, Norm::Spectral),
        leaky(),
        down(128, Norm::Spectral),
        norm(),
        dropout(),
        leaky(),
        dense(1024, Norm::Spectral),
        norm(),
        dropout(),
        leaky(),
        dense(latents, Norm::Spectral),
    ];
    let decoder = vec![
        dense(1024, Norm::None),
        norm(),
        relu(),
        dense(small.len(), Norm::None),
        norm(),
        relu(),
        dropout(),
        LayerSection::Reshape { image: small },
        up(64),
        norm(),
        relu(),
        dropout(),
        up(image.channels),
        act(Function::Sigmoid),
    ];
    Ok(Pair { encoder, decoder })
}

fn convolutional(image: Image, latents: usize) -> Result<Pair> {
    let down =
        |channels| LayerSection::Convolution { channels, kernel: 4, stride: 2, norm: Norm::None, std: None };
    let up = |channels| LayerSection::TransposedConvolution { channels, kernel: 4, stride: 2, std: None };
    let silu = || act(Function::Silu);
    let small = Image { height: image.height / 4, width: image.width / 4, channels: 64 };
    let encoder = vec![down(32), silu(), down(64), silu(), dense(512), silu(), dense(latents)];
    let decoder = vec![
        dense(512),
        silu(),
        dense(small.len()),
        LayerSection::Reshape { image: small },
        silu(),
        up(32),
        silu(),
        up(image.channels),
    ];
    Ok(Pair { encoder, decoder })
}
