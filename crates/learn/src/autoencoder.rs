//! Autoencoders: an example through few numbers and back (Hinton & Salakhutdinov 2006; Kingma & Welling 2014 for the variational one).

use lookback_operator::Real;
use lookback_operator::random::Stream;
use serde::de::{self, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::architecture::{self, LayerSection, Shape};
use crate::augment::Augmentation;
use crate::batch::in_parts;
use crate::layer::{Layer, Mode, Weight};
use crate::training::Objective;
use crate::{Batch, Error, Examples, Network, Pair, Published, Result, Scaling, pytorch};

/// The networks of an autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Architecture {
    /// One with a name.
    Named(Published),
    /// Described layer by layer.
    Layers(Pair),
}

/// A name or a table; read by hand, as an untagged enum would not say which layer is wrong.
impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Architecture, D::Error> {
        struct NameOrLayers;
        impl<'de> Visitor<'de> for NameOrLayers {
            type Value = Architecture;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "the name of an architecture, or a table with `encoder` and `decoder`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Architecture, E> {
                Published::deserialize(name.into_deserializer()).map(Architecture::Named)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Architecture, A::Error> {
                Pair::deserialize(de::value::MapAccessDeserializer::new(map)).map(Architecture::Layers)
            }
        }
        deserializer.deserialize_any(NameOrLayers)
    }
}

/// `[autoencoder]`: what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderSection {
    /// Numbers in the middle.
    pub latents: usize,
    /// `"convolutional"`, `"infogan"`, `"supernova"`, or `{ encoder = [...], decoder = [...] }`.
    #[serde(default = "convolutional")]
    pub architecture: Architecture,
    /// Share of the numbers that is dropped in training, where an architecture with a name drops any.
    #[serde(default)]
    pub dropout: f64,
    /// Makes it variational: latents are drawn from the encoder's normal distributions, which are held close to N(0, 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variational: Option<Variational>,
}

fn convolutional() -> Architecture {
    Architecture::Named(Published::Convolutional)
}

/// The loss of a variational autoencoder: `|x - decode(z)|^2 / (2 noise_std^2) + beta |KL - capacity|`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variational {
    /// Standard deviation of the decoder's pixels, in the network's units.
    pub noise_std: f64,
    /// Weight of the divergence from N(0, 1) (Higgins et al. 2017).
    #[serde(default = "one")]
    pub beta: f64,
    /// Divergence that costs nothing \[nat\] (Burgess et al. 2018).
    #[serde(default)]
    pub capacity: f64,
}

fn one() -> f64 {
    1.0
}

impl Variational {
    /// What a unit of divergence costs where misfits are means over so many pixels, in units of a pixel's variance.
    pub(crate) fn price(&self, pixels: usize) -> f64 {
        self.beta * self.noise_std * self.noise_std / pixels as f64
    }

    /// What the divergence of these distributions from N(0, 1), a row each, costs.
    pub(crate) fn cost(&self, mean: &Batch<f32>, log_variance: &Batch<f32>, pixels: usize) -> f64 {
        self.price(pixels) * (divergence(mean, log_variance) - self.capacity).abs()
    }
}

/// Encoder and decoder. Their weights are one vector, the encoder's first.
#[derive(Debug)]
pub struct Autoencoder<T: Real> {
    latents: usize,
    variational: Option<Variational>,
    encoder: Network<T>,
    decoder: Network<T>,
}

impl AutoencoderSection {
    /// Numbers that the encoder gives: a variational one gives a mean and a log variance for every latent.
    fn encoded(&self) -> usize {
        if self.variational.is_some() { 2 * self.latents } else { self.latents }
    }

    /// The layers, for examples of this shape.
    ///
    /// # Errors
    /// If the shape does not fit an architecture with a name.
    pub fn layers(&self, shape: Shape) -> Result<Pair> {
        match &self.architecture {
            Architecture::Named(name) => {
                let mut pair = name.layers(shape, self.latents, self.dropout)?;
                if let Some(LayerSection::Dense { outputs, .. }) = pair.encoder.last_mut() {
                    *outputs = self.encoded();
                }
                Ok(pair)
            }
            Architecture::Layers(pair) => Ok(pair.clone()),
        }
    }

    /// The weights of a PyTorch model with the same layers, from the safetensors file of its `state_dict`, whose modules are `encoder` and
    /// `decoder`; see [`pytorch`](crate::pytorch).
    ///
    /// # Errors
    /// If an array is missing or does not fit.
    pub fn import(&self, shape: Shape, bytes: &[u8]) -> Result<Vec<f32>> {
        let Pair { encoder, decoder } = self.layers(shape)?;
        let mut weights = Vec::new();
        let (encoded, latents) = (Shape::Row(self.encoded()), Shape::Row(self.latents));
        for (part, [input, output], sections) in
            [("encoder", [shape, encoded], encoder), ("decoder", [latents, shape], decoder)]
        {
            let mut arrays = pytorch::read_part(bytes, part)?.into_iter();
            weights.extend(pytorch::import(input, output, &sections, &mut arrays)?.0);
        }
        Ok(weights)
    }

    /// The autoencoder for examples of this shape.
    ///
    /// # Errors
    /// If the layers do not fit.
    pub fn build<T: Real>(&self, shape: Shape) -> Result<Autoencoder<T>> {
        if self.latents == 0 {
            return Err(Error::option("latents", "must be at least 1"));
        }
        if self.dropout != 0.0 && !matches!(self.architecture, Architecture::Named(Published::Infogan)) {
            let message = "is for the architecture \"infogan\"; layers of your own drop numbers by `{ kind = \"dropout\", rate = ... }`";
            return Err(Error::option("autoencoder.dropout", message));
        }
        if let Some(Variational { noise_std, beta, capacity }) = self.variational {
            for (name, value, ok) in [
                ("noise_std", noise_std, noise_std > 0.0),
                ("beta", beta, beta >= 0.0),
                ("capacity", capacity, capacity >= 0.0),
            ] {
                if !(ok && value.is_finite()) {
                    return Err(Error::option(name, format!("must be positive, not {value}")));
                }
            }
        }
        let out = self.encoded();
        let Pair { encoder, decoder } = self.layers(shape)?;
        let (encoder, end) = architecture::build(shape, &encoder)?;
        if end.len() != out {
            let why = if self.variational.is_some() { ": a mean and a width of each latent" } else { "" };
            let message = format!("the encoder gives {} numbers where {out} are needed{why}", end.len());
            return Err(Error::architecture(message));
        }
        let (decoder, end) =
            architecture::build_from(Shape::Row(self.latents), &decoder, DROPOUT_OF_DECODER)?;
        if end.len() != shape.len() {
            let message = format!("the decoder gives {} numbers where {} are needed", end.len(), shape.len());
            return Err(Error::architecture(message));
        }
        Ok(Autoencoder { latents: self.latents, variational: self.variational, encoder, decoder })
    }
}

impl<T: Real> Autoencoder<T> {
    /// Numbers in the middle.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// The decoder, and where its weights lie.
    pub fn decoder(&self) -> (&Network<T>, std::ops::Range<usize>) {
        (&self.decoder, self.encoder.len()..self.len())
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.encoder.len() + self.decoder.len()
    }

    /// True if there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The arrays of weights.
    pub fn weights(&self) -> Vec<Weight> {
        let encoder = self.encoder.weights().into_iter().map(|weight| weight.within("encoder"));
        encoder.chain(self.decoder.weights().into_iter().map(|weight| weight.within("decoder"))).collect()
    }

    /// The latents of examples in the network's units; the means, if it is variational.
    pub fn encode(&self, weights: &[T], x: Batch<T>) -> Batch<T> {
        let encoded = self.encoded(weights, x);
        if self.variational.is_none() {
            return encoded;
        }
        let [mean, _] = self.halves(&encoded);
        mean
    }

    /// What the encoder gives.
    fn encoded(&self, weights: &[T], x: Batch<T>) -> Batch<T> {
        in_parts(x, |x| self.encoder.apply(&weights[..self.encoder.len()], x))
    }

    /// Means and log variances of what a variational encoder gives.
    fn halves(&self, encoded: &Batch<T>) -> [Batch<T>; 2] {
        [encoded.columns(0, self.latents), encoded.columns(self.latents, 2 * self.latents)]
    }

    /// Examples in the network's units from latents.
    pub fn decode(&self, weights: &[T], z: Batch<T>) -> Batch<T> {
        in_parts(z, |z| self.decoder.apply(&weights[self.encoder.len()..], z))
    }
}

/// Training of an autoencoder: half the mean squared residual of a number, weighted by its precision, in the network's units.
pub struct Reconstruction<'a> {
    /// What is trained.
    pub autoencoder: &'a Autoencoder<f32>,
    /// What it is trained on, in the network's units.
    pub train: &'a Examples,
    /// What judges it.
    pub validation: &'a Examples,
    /// What is done to the examples.
    pub augmentation: &'a Augmentation,
    /// What the data were divided by.
    pub scaling: Scaling,
}

/// From here on layers of dropout of a decoder are counted: not the numbers that its encoder drops.
pub(crate) const DROPOUT_OF_DECODER: u32 = 1 << 16;

/// Random numbers of the latents begin here in the stream of a step; those of dropped numbers are below.
const LATENT_NOISE: u64 = 1 << 60;

impl Reconstruction<'_> {
    /// The examples of a step, changed as the augmentation says, and the precision of their numbers.
    pub(crate) fn batch(&self, rows: &[usize], stream: Stream) -> (Batch<f32>, Option<Batch<f32>>) {
        let values = self.train.values.gather(rows.iter().copied());
        let x = self.augmentation.apply(self.train.shape, values, self.scaling.scale, stream);
        (x, self.train.precision.as_ref().map(|all| all.gather(rows.iter().copied())))
    }

    /// Half the squared residuals over the numbers of all rows, and their cotangent.
    fn misfit(decoded: Batch<f32>, x: &Batch<f32>, precision: Option<&Batch<f32>>) -> (f64, Batch<f32>) {
        let n = x.data().len() as f64;
        let mut residual = decoded.zip_with(x, |a, b| *a -= b);
        let sum = match precision {
            None => lookback_operator::vector::norm2(residual.data()),
            Some(precision) => {
                let weighted = residual.clone().zip_with(precision, |r, p| *r *= p);
                let sum = lookback_operator::vector::dot(residual.data(), weighted.data());
                residual = weighted;
                sum
            }
        };
        let scale = (1.0 / n) as f32;
        (sum / (2.0 * n), residual.map(|r| *r *= scale))
    }
}

impl Objective for Reconstruction<'_> {
    fn weights(&self) -> Vec<Weight> {
        self.autoencoder.weights()
    }

    fn examples(&self) -> usize {
        self.train.len()
    }

    fn step(&self, weights: &mut [f32], rows: &[usize], stream: Stream, gradient: &mut [f32]) -> f64 {
        let net = self.autoencoder;
        let mode = Mode::Training { stream };
        let (x, precision) = self.batch(rows, stream);
        let (first, second) = weights.split_at_mut(net.encoder.len());
        let (encoded, encoder_trace) = net.encoder.forward(first, x.clone(), mode);
        let latent = Latent::draw(net, encoded, stream);
        let (decoded, decoder_trace) = net.decoder.forward(second, latent.z.clone(), mode);
        let (mut loss, residual) = Reconstruction::misfit(decoded, &x, precision.as_ref());
        let (first_gradient, second_gradient) = gradient.split_at_mut(net.encoder.len());
        let dz = net.decoder.pull(second, &decoder_trace, residual, Some(second_gradient));
        let (divergence, dencoded) = latent.pull(net, dz, x.width());
        loss += divergence;
        net.encoder.pull(first, &encoder_trace, dencoded, Some(first_gradient));
        net.encoder.absorb(first, &encoder_trace);
        net.decoder.absorb(second, &decoder_trace);
        loss
    }

    fn validation(&self, weights: &[f32]) -> f64 {
        let (net, x) = (self.autoencoder, &self.validation.values);
        let encoded = net.encoded(weights, x.clone());
        let (means, cost) = match net.variational {
            None => (encoded, 0.0),
            Some(options) => {
                let [mean, log_variance] = net.halves(&encoded);
                let cost = options.cost(&mean, &log_variance, x.width());
                (mean, cost)
            }
        };
        let decoded = net.decode(weights, means);
        Reconstruction::misfit(decoded, x, self.validation.precision.as_ref()).0 + cost
    }
}

/// Normal numbers for so many rows of latents.
pub(crate) fn latent_noise(rows: usize, latents: usize, stream: Stream) -> Batch<f32> {
    let numbers = (0..(rows * latents) as u64).map(|i| stream.normal(LATENT_NOISE + i) as f32);
    Batch::new(latents, numbers.collect())
}

/// Mean divergence of normal distributions from N(0, 1), a row each \[nat\].
fn divergence(mean: &Batch<f32>, log_variance: &Batch<f32>) -> f64 {
    let terms = mean.data().iter().zip(log_variance.data());
    let each = |(&m, &l): (&f32, &f32)| {
        0.5 * (f64::from(m) * f64::from(m) + f64::from(l).exp() - 1.0 - f64::from(l))
    };
    terms.map(each).sum::<f64>() / mean.rows() as f64
}

/// Latents of a batch, and how they came about.
struct Latent {
    z: Batch<f32>,
    /// Means, log variances and noise, if the autoencoder is variational.
    drawn: Option<[Batch<f32>; 3]>,
}

impl Latent {
    fn draw(net: &Autoencoder<f32>, encoded: Batch<f32>, stream: Stream) -> Latent {
        if net.variational.is_none() {
            return Latent { z: encoded, drawn: None };
        }
        let k = net.latents;
        let [mean, log_variance] = net.halves(&encoded);
        let noise = latent_noise(mean.rows(), k, stream);
        let spread = noise.clone().zip_with(&log_variance, |n, l| *n *= (0.5 * l).exp());
        let z = mean.clone().zip_with(&spread, |z, s| *z += s);
        Latent { z, drawn: Some([mean, log_variance, noise]) }
    }

    /// The cost of the distributions, and the cotangent of what the encoder gave. All is over the number of pixels and times the
    /// variance of a pixel, as the misfit is.
    fn pull(self, net: &Autoencoder<f32>, dz: Batch<f32>, pixels: usize) -> (f64, Batch<f32>) {
        let (Some([mean, log_variance, noise]), Some(options)) = (self.drawn, net.variational) else {
            return (0.0, dz);
        };
        let rows = mean.rows() as f64;
        let divergence = divergence(&mean, &log_variance);
        let unit = options.price(pixels);
        let side = if divergence >= options.capacity { 1.0 } else { -1.0 };
        let each = (side * unit / rows) as f32;
        let k = net.latents;
        let mut dencoded = Batch::zeros(mean.rows(), 2 * k);
        for row in 0..mean.rows() {
            let out = dencoded.row_mut(row);
            for i in 0..k {
                let (m, l, n, d) =
                    (mean.row(row)[i], log_variance.row(row)[i], noise.row(row)[i], dz.row(row)[i]);
                out[i] = d + each * m;
                out[k + i] = d * n * 0.5 * (0.5 * l).exp() + each * 0.5 * (l.exp() - 1.0);
            }
        }
        (unit * (divergence - options.capacity).abs(), dencoded)
    }
}
