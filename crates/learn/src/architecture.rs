//! Networks as they are described in files.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use crate::layers::{
    Activation, BatchNorm, Convolution, Dense, Dropout, Function, Image, Norm, Residual,
    TransposedConvolution,
};
use crate::{Error, Layer, Network, Result};

/// One layer, as in `{ kind = "dense", outputs = 1024 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSection {
    /// Full connection.
    Dense {
        /// Numbers that come out.
        outputs: usize,
        /// What the weights are divided by.
        #[serde(default)]
        norm: Norm,
        /// Standard deviation of the first weights; that of He et al. (2015) if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        std: Option<f64>,
    },
    /// Convolution of an image.
    Convolution {
        /// Numbers a pixel that come out.
        channels: usize,
        /// Side of the kernel \[pixel\].
        kernel: usize,
        /// Distance of neighbouring patches \[pixel\].
        #[serde(default = "one")]
        stride: usize,
        /// What the weights are divided by.
        #[serde(default)]
        norm: Norm,
        /// As for `dense`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        std: Option<f64>,
    },
    /// The adjoint of a convolution: a larger image.
    TransposedConvolution {
        /// Numbers a pixel that come out.
        channels: usize,
        /// Side of the kernel \[pixel\].
        kernel: usize,
        /// How many times the image grows along a side.
        #[serde(default = "one")]
        stride: usize,
        /// As for `dense`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        std: Option<f64>,
    },
    /// The numbers of a row as an image: `height`, `width`, `channels`.
    Reshape {
        /// Shape of the image.
        image: Image,
    },
    /// Channels with mean zero and variance one, then scaled and shifted.
    BatchNorm {
        /// How much of the running means a step keeps.
        #[serde(default = "batch_norm_momentum")]
        momentum: f64,
    },
    /// Numbers left out at random in training.
    Dropout {
        /// Share that is left out.
        rate: f64,
    },
    /// A function of every number.
    Activation {
        /// Which.
        function: Function,
    },
    /// Layers whose result is added to their input.
    Residual {
        /// The layers.
        layers: Vec<LayerSection>,
    },
}

fn one() -> usize {
    1
}

fn batch_norm_momentum() -> f64 {
    0.99
}

/// What flows between layers: a row, perhaps of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// So many numbers.
    Row(usize),
    /// An image.
    Image(Image),
}

impl Shape {
    /// Numbers a row.
    pub fn len(self) -> usize {
        match self {
            Shape::Row(width) => width,
            Shape::Image(image) => image.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The image that it must be.
    pub(crate) fn image(self) -> Result<Image> {
        match self {
            Shape::Image(image) => Ok(image),
            Shape::Row(width) => Err(Error::architecture(format!(
                "a convolution needs an image, and here are {width} numbers: `reshape` makes one of them"
            ))),
        }
    }

    pub(crate) fn channels(self) -> usize {
        match self {
            Shape::Row(width) => width,
            Shape::Image(image) => image.channels,
        }
    }
}

/// Most weights of a layer, and numbers that it gives of an example.
const MOST: usize = 1 << 30;

/// Refuses a layer with more weights, or more numbers, than memory could hold: their product.
fn affordable(sizes: &[usize]) -> Result<()> {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    match product {
        Some(product) if product <= MOST => Ok(()),
        _ => {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            Err(Error::architecture(format!("{} numbers are more than {MOST}", sizes.join(" x "))))
        }
    }
}

/// Builds layers, one after the other, for rows of the given shape.
struct Builder<T: Real> {
    shape: Shape,
    layers: Vec<Box<dyn Layer<T>>>,
    /// Dropout layers so far, of the whole network.
    places: u32,
}

/// The network that is described, for rows of the given shape; and the shape that comes out.
///
/// # Errors
/// If a layer cannot take what the one before it gives, or a number is out of its range.
pub fn build<T: Real>(input: Shape, sections: &[LayerSection]) -> Result<(Network<T>, Shape)> {
    build_from(input, sections, 0)
}

/// The same, whose layers of dropout are counted from `places` on: two networks that are trained together drop other numbers.
pub(crate) fn build_from<T: Real>(
    input: Shape,
    sections: &[LayerSection],
    places: u32,
) -> Result<(Network<T>, Shape)> {
    let mut builder = Builder { shape: input, layers: Vec::new(), places };
    builder.add_all(sections)?;
    Ok((Network::new(input.len(), builder.layers), builder.shape))
}

impl<T: Real> Builder<T> {
    fn add_all(&mut self, sections: &[LayerSection]) -> Result<()> {
        for (index, section) in sections.iter().enumerate() {
            self.add(section).map_err(|error| error.in_layer(index))?;
        }
        Ok(())
    }

    fn push(&mut self, layer: impl Layer<T> + 'static, shape: Shape) {
        self.layers.push(Box::new(layer));
        self.shape = shape;
    }

    fn add(&mut self, section: &LayerSection) -> Result<()> {
        let (shape, width) = (self.shape, self.shape.len());
        match *section {
            LayerSection::Dense { outputs, norm, std } => {
                positive("outputs", outputs)?;
                affordable(&[width, outputs])?;
                self.push(Dense::new(width, outputs, true, norm, std), Shape::Row(outputs));
            }
            LayerSection::Convolution { channels, kernel, stride, norm, std } => {
                for (name, value) in [("channels", channels), ("kernel", kernel), ("stride", stride)] {
                    positive(name, value)?;
                }
                affordable(&[self.shape.channels(), channels, kernel, kernel])?;
                affordable(&[width, channels])?;
                let layer = Convolution::new(self.shape.image()?, channels, kernel, stride, norm, std);
                let image = layer.image();
                self.push(layer, Shape::Image(image));
            }
            LayerSection::TransposedConvolution { channels, kernel, stride, std } => {
                for (name, value) in [("channels", channels), ("kernel", kernel), ("stride", stride)] {
                    positive(name, value)?;
                }
                affordable(&[self.shape.channels(), channels, kernel, kernel])?;
                affordable(&[width, channels, stride, stride])?;
                let layer = TransposedConvolution::new(self.shape.image()?, channels, kernel, stride, std);
                let image = layer.image();
                self.push(layer, Shape::Image(image));
            }
            LayerSection::Reshape { image } => {
                if image.len() != width {
                    let Image { height, width: columns, channels } = image;
                    return Err(Error::architecture(format!(
                        "an image of {height} x {columns} x {channels} cannot be made of {width} numbers"
                    )));
                }
                self.shape = Shape::Image(image);
            }
            LayerSection::BatchNorm { momentum } => {
                share("momentum", momentum)?;
                self.push(BatchNorm::new(width, shape.channels(), momentum), shape);
            }
            LayerSection::Dropout { rate } => {
                share("rate", rate)?;
                self.places += 1;
                self.push(Dropout::new(width, rate, self.places), shape);
            }
            LayerSection::Activation { function } => self.push(Activation::new(function, width), shape),
            LayerSection::Residual { ref layers } => self.add_residual(layers)?,
        }
        Ok(())
    }

    fn add_residual(&mut self, sections: &[LayerSection]) -> Result<()> {
        let mut inner = Builder { shape: self.shape, layers: Vec::new(), places: self.places };
        inner.add_all(sections)?;
        if inner.shape.len() != self.shape.len() {
            let message = format!(
                "a residual block must give what it takes: {} numbers, not {}",
                self.shape.len(),
                inner.shape.len()
            );
            return Err(Error::architecture(message));
        }
        self.places = inner.places;
        let network = Network::new(self.shape.len(), inner.layers);
        self.push(Residual::new(network), self.shape);
        Ok(())
    }
}

fn positive(name: &str, value: usize) -> Result<()> {
    if value > 0 { Ok(()) } else { Err(Error::architecture(format!("`{name}` must be at least 1"))) }
}

fn share(name: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::architecture(format!("`{name}` must be at least 0 and below 1, not {value}")))
}
