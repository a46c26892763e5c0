//! A trained model: its card (what it is and where it comes from) and its weights, as one safetensors file.

use std::borrow::Cow;
use std::collections::HashMap;

use lookback_operator::Real;
use lookback_operator::random::{Purpose, Stream};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::architecture::LayerSection;
use crate::batch::in_parts;
use crate::flow::{Bijection, Flow, FlowSection};
use crate::layer::{Trace, Weight};
use crate::{
    Augmentation, Autoencoder, AutoencoderSection, Batch, Condition, Error, ModelError, ResidualLaw, Result,
    Scaling, Shape, Spread, SpreadSection, layers::Image,
};

/// What a model is, how it came about, and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of Lookback that trained it.
    pub lookback_version: String,
    /// What the user calls it.
    pub title: String,
    /// Seed of its training.
    pub seed: u64,
    /// Height, width and channels of an example, or how many numbers it has.
    pub shape: Vec<usize>,
    /// What is done to the data before the network sees them.
    pub scaling: Scaling,
    /// What was done to examples in training.
    pub augmentation: Augmentation,
    /// The autoencoder.
    pub autoencoder: AutoencoderSection,
    /// From latents to normal numbers.
    pub flow: FlowSection,
    /// Standard deviation of the noise that each latent had while the flow learned the density; empty if there was none, and for flows that learn in other ways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flow_noise: Vec<f32>,
    /// What the flow depends on, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Correlated directions of the decoder's residuals.
    pub error_rank: usize,
    /// What the spread of its decoder's residuals is made of, if it was learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadSection>,
    /// By how much the decoder's error is to be taken as larger where latents are judged by it: latents that fit what was seen of an
    /// example better than its own do are found, and are wrong about the rest.
    #[serde(default = "one")]
    pub error_factor: f64,
    /// Scores of examples that it was not trained on, if they were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<Usual>,
    /// Files that it was trained on, with their digests.
    pub data: Vec<DataSource>,
    /// How good it is, by name.
    pub scores: Vec<(String, f64)>,
}

fn one() -> f64 {
    1.0
}

/// Mean and standard deviation of the scores of usual examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Of `latent`.
    pub latent: [f64; 2],
    /// Of `reconstruction`.
    pub reconstruction: [f64; 2],
}

impl Usual {
    /// Those of scores, if both scatter.
    fn of(scores: &[[f64; 2]]) -> Option<Usual> {
        let n = scores.len() as f64;
        let [latent, reconstruction] = [0, 1].map(|i| {
            let mean = scores.iter().map(|score| score[i]).sum::<f64>() / n;
            [mean, (scores.iter().map(|score| (score[i] - mean).powi(2)).sum::<f64>() / n).sqrt()]
        });
        let scatters = |[_, std]: [f64; 2]| std > 0.0 && std.is_finite();
        (scatters(latent) && scatters(reconstruction)).then_some(Usual { latent, reconstruction })
    }

    /// Both scores as one: how many standard deviations they are above usual ones, their sum over the root of two.
    fn combined(&self, [latent, reconstruction]: [f64; 2]) -> f64 {
        let above = |score: f64, [mean, std]: [f64; 2]| (score - mean) / std;
        (above(latent, self.latent) + above(reconstruction, self.reconstruction))
            * std::f64::consts::FRAC_1_SQRT_2
    }
}

/// A file of examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSource {
    /// What it was used for.
    pub role: String,
    /// Its name.
    pub file: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Examples in it.
    pub examples: usize,
}

impl Card {
    /// The shape of an example.
    ///
    /// # Errors
    /// If the card has neither one nor three numbers for it.
    pub fn example_shape(&self) -> Result<Shape> {
        match *self.shape.as_slice() {
            [width] => Ok(Shape::Row(width)),
            [height, width, channels] => Ok(Shape::Image(Image { height, width, channels })),
            _ => Err(Error::Data(format!(
                "an example has the shape {:?}: one or three numbers are needed",
                self.shape
            ))),
        }
    }
}

/// A probabilistic autoencoder (Boehm & Seljak 2020), ready for use: decoder, encoder, the flow of its latents, and what the
/// decoder gets wrong.
#[derive(Debug)]
pub struct Model<T: Real> {
    card: Card,
    pub(crate) autoencoder: Autoencoder<T>,
    pub(crate) weights: Vec<T>,
    pub(crate) flow: Flow<T>,
    pub(crate) flow_weights: Vec<T>,
    /// What the flow depends on, as it sees it: no row, one for all examples, or one for each.
    context: Batch<T>,
    /// The same as it was given.
    given: Vec<f64>,
    error: ModelError,
    spread: Option<Spread>,
}

/// The weights that an autoencoder begins from, out of the file of a model with the same layers, or of a PyTorch model's `state_dict` (see
/// [`AutoencoderSection::import`]). With a `scaling`, a model must have learned from numbers that were scaled so: for weights that stay
/// as they are.
///
/// # Errors
/// If the file is neither, is damaged, or its layers or its scaling are others.
pub fn starting_weights(
    section: &AutoencoderSection,
    shape: Shape,
    scaling: Option<Scaling>,
    bytes: &[u8],
) -> Result<Vec<f32>> {
    let header = SafeTensors::read_metadata(bytes);
    let ours =
        header.is_ok_and(|(_, header)| header.metadata().as_ref().is_some_and(|m| m.contains_key(CARD)));
    if !ours {
        return section.import(shape, bytes);
    }
    let model = Model::from_bytes(bytes)?;
    let (found, needed) = (&model.card, section);
    let here = found.example_shape()?;
    if here != shape {
        return Err(Error::Data(format!("its examples are {here:?}, and these are {shape:?}")));
    }
    let (found_layers, needed_layers) = (found.autoencoder.layers(shape)?, needed.layers(shape)?);
    for (part, found, needed) in [
        ("encoder", &found_layers.encoder, &needed_layers.encoder),
        ("decoder", &found_layers.decoder, &needed_layers.decoder),
    ] {
        check_layers(part, &computing(found), &computing(needed))?;
    }
    if let Some(Scaling { offset, scale }) = scaling {
        let Scaling { offset: kept_offset, scale: kept_scale } = found.scaling;
        let near = |a: f32, b: f32| (a - b).abs() <= SAME_SCALING * scale.abs();
        if !(near(offset, kept_offset) && near(scale, kept_scale)) {
            return Err(Error::Data(format!(
                "it learned from `(x - {kept_offset}) / {kept_scale}`, and these examples become `(x - {offset}) / {scale}`: use the same \
                 `scaling` and the same data, or train it further (`epochs` above 0)"
            )));
        }
    }
    Ok(model.weights)
}

/// How far apart two scalings may be that a network cannot tell from each other, in units of the scale: less than the noise of 8-bit
/// images.
const SAME_SCALING: f32 = 1e-3;

/// The layers without what only training sees.
fn computing(layers: &[LayerSection]) -> Vec<LayerSection> {
    let layers = layers.iter().filter(|layer| !matches!(layer, LayerSection::Dropout { .. }));
    let plain = |layer: &LayerSection| {
        let mut layer = layer.clone();
        match &mut layer {
            LayerSection::Dense { std, .. }
            | LayerSection::Convolution { std, .. }
            | LayerSection::TransposedConvolution { std, .. } => *std = None,
            LayerSection::BatchNorm { momentum } => *momentum = 0.0,
            LayerSection::Residual { layers } => *layers = computing(layers),
            LayerSection::Reshape { .. } | LayerSection::Dropout { .. } | LayerSection::Activation { .. } => {
            }
        }
        layer
    };
    layers.map(plain).collect()
}

fn check_layers(part: &str, found: &[LayerSection], needed: &[LayerSection]) -> Result<()> {
    if found.len() != needed.len() {
        let message = format!("has {} layers in its {part} where {} are needed", found.len(), needed.len());
        return Err(Error::Data(message));
    }
    let text = |layer: &LayerSection| serde_json::to_string(layer).unwrap_or_default();
    match found.iter().zip(needed).enumerate().find(|(_, (found, needed))| found != needed) {
        None => Ok(()),
        Some((index, (found, needed))) => Err(Error::Data(format!(
            "its layers are others: layer {index} of its {part} (dropout not counted) is {}, and {} is needed",
            text(found),
            text(needed)
        ))),
    }
}

/// Key of the card among the metadata.
const CARD: &str = "lookback_card";

impl Model<f32> {
    /// From its parts.
    ///
    /// # Errors
    /// If they do not fit the card.
    pub fn new(
        card: Card,
        weights: Vec<f32>,
        flow_weights: Vec<f32>,
        error: ModelError,
    ) -> Result<Model<f32>> {
        let shape = card.example_shape()?;
        let autoencoder = card.autoencoder.build::<f32>(shape)?;
        let flow = card.flow.build::<f32>()?;
        if flow.dimensions() != autoencoder.latents() {
            let message =
                format!("a flow of {} dimensions and {} latents", flow.dimensions(), autoencoder.latents());
            return Err(Error::Flow(message));
        }
        let noise = &card.flow_noise;
        if !noise.is_empty() && noise.len() != autoencoder.latents() {
            return Err(Error::Flow(format!(
                "noise of {} latents, where there are {}",
                noise.len(),
                autoencoder.latents()
            )));
        }
        if noise.iter().any(|std| !(*std >= 0.0 && std.is_finite())) {
            return Err(Error::Flow("the noise that the flow learned with is negative or not finite".into()));
        }
        card.condition.as_ref().map_or(Ok(()), Condition::check)?;
        let context = card.condition.as_ref().map_or(0, Condition::width);
        for (what, found, expected) in [
            ("condition", context, flow.context()),
            ("autoencoder", weights.len(), autoencoder.len()),
            ("flow", flow_weights.len(), flow.len()),
            ("variances", error.variance.len(), shape.len()),
            ("directions", error.rank(), card.error_rank),
        ] {
            if found != expected {
                return Err(Error::Data(format!(
                    "{found} numbers of the {what} where {expected} are needed"
                )));
            }
        }
        let card = Card { spread: None, ..card };
        let context = Batch::zeros(0, context.max(1));
        Ok(Model {
            card,
            autoencoder,
            weights,
            flow,
            flow_weights,
            context,
            given: Vec::new(),
            error,
            spread: None,
        })
    }

    /// The same with a spread of the decoder's residuals.
    pub fn with_spread(mut self, spread: Spread) -> Model<f32> {
        self.card.spread = Some(spread.section());
        self.spread = Some(spread);
        self
    }

    /// The same with the scores of examples that it was not trained on, as they were given to the network.
    ///
    /// # Errors
    /// As for [`score`](Model::score).
    pub fn with_usual(mut self, scaled: Batch<f32>) -> Result<Model<f32>> {
        self.card.usual = Usual::of(&self.score_parts(scaled)?);
        Ok(self)
    }

    /// The same with another factor on the decoder's error.
    ///
    /// # Errors
    /// If it is not above zero.
    pub fn with_error_factor(mut self, factor: f64) -> Result<Model<f32>> {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(Error::Data(format!(
                "the factor of the decoder's error must be above 0, not {factor}"
            )));
        }
        self.card.error_factor = factor;
        Ok(self)
    }

    /// The model as a safetensors file.
    ///
    /// # Errors
    /// If the card cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut arrays: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (weight, values) in self.arrays() {
            arrays.push((weight.name, weight.shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()));
        }
        let failed = |error: String| Error::Data(format!("the model cannot be written: {error}"));
        let views = arrays
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
                Ok((name.as_str(), view.map_err(|error| failed(error.to_string()))?))
            })
            .collect::<Result<Vec<_>>>()?;
        let card = serde_json::to_string(&self.card).map_err(|error| failed(error.to_string()))?;
        let metadata = HashMap::from([(CARD.to_string(), card)]);
        safetensors::serialize(views, Some(metadata)).map_err(|error| failed(error.to_string()))
    }

    /// All arrays with their names.
    fn arrays<'a>(&'a self) -> Vec<(Weight, Cow<'a, [f32]>)> {
        let plain = |name: &str, shape: &[usize]| {
            Weight::new(name, shape, crate::Begin::Constant(0.0), crate::Role::Statistic)
        };
        let mut all = Vec::new();
        let mut start = 0;
        for weight in self.autoencoder.weights() {
            let range = start..start + weight.len();
            start = range.end;
            all.push((weight, Cow::from(&self.weights[range])));
        }
        start = 0;
        for weight in self.flow.weights() {
            let range = start..start + weight.len();
            start = range.end;
            all.push((weight.within("flow"), Cow::from(&self.flow_weights[range])));
        }
        let mut covariance = |name: &str, error: &'a ModelError| {
            let width = error.variance.len();
            all.push((plain(&format!("{name}.variance"), &[width]), Cow::from(&error.variance)));
            if error.rank() > 0 {
                let shape = [error.rank(), width];
                all.push((plain(&format!("{name}.factors"), &shape), Cow::from(error.factors.data())));
            }
        };
        covariance("error", &self.error);
        let Some(spread) = &self.spread else { return all };
        covariance("spread.error", spread.error());
        start = 0;
        for weight in spread.arrays() {
            let range = start..start + weight.len();
            start = range.end;
            all.push((weight.within("spread"), Cow::from(&spread.weights()[range])));
        }
        all.push((plain("spread.numbers", &[3]), Cow::from(spread.numbers().to_vec())));
        if let Some(law) = spread.law() {
            let numbers = law.numbers();
            all.push((plain("spread.law", &[numbers.len()]), Cow::from(numbers)));
        }
        all
    }

    /// Reads a model.
    ///
    /// # Errors
    /// If the file is not one, or its arrays do not fit its card.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model<f32>> {
        let broken = |error: String| Error::Data(format!("is not a model: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let card = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(CARD))
            .ok_or_else(|| broken("it has no card; `lookback train` writes one".into()))?;
        let card: Card = serde_json::from_str(card).map_err(|error| broken(error.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let read = |name: &str, len: usize| -> Result<Vec<f32>> {
            let view = tensors.tensor(name).map_err(|error| broken(format!("`{name}`: {error}")))?;
            let found = view.data().len() / 4;
            if view.dtype() != Dtype::F32 || found != len {
                return Err(broken(format!("`{name}` has {found} numbers where {len} are needed")));
            }
            let values: Vec<f32> =
                view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            match values.iter().all(|x| x.is_finite()) {
                true => Ok(values),
                false => Err(broken(format!("a weight of `{name}` is not a finite number"))),
            }
        };
        let shape = card.example_shape()?;
        let mut weights = Vec::new();
        for weight in card.autoencoder.build::<f32>(shape)?.weights() {
            weights.extend(read(&weight.name, weight.len())?);
        }
        let mut flow_weights = Vec::new();
        for weight in card.flow.build::<f32>()?.weights() {
            flow_weights.extend(read(&format!("flow.{}", weight.name), weight.len())?);
        }
        let covariance = |name: &str, rank: usize| -> Result<ModelError> {
            let variance = read(&format!("{name}.variance"), shape.len())?;
            let factors = match rank {
                0 => Batch::zeros(0, shape.len()),
                rank => Batch::new(shape.len(), read(&format!("{name}.factors"), rank * shape.len())?),
            };
            Ok(ModelError { factors, variance })
        };
        let error = covariance("error", card.error_rank)?;
        let Some(section) = card.spread else { return Model::new(card, weights, flow_weights, error) };
        let standard = covariance("spread.error", section.rank)?;
        let mut spread_weights = Vec::new();
        for weight in Spread::layout(section, shape) {
            spread_weights.extend(read(&format!("spread.{}", weight.name), weight.len())?);
        }
        let numbers = read("spread.numbers", 3)?;
        let law = match section.law {
            [0, 0] => Vec::new(),
            classes => read("spread.law", ResidualLaw::len(classes))?,
        };
        let numbers = [numbers[0], numbers[1], numbers[2]];
        let spread = Spread::of(section, shape, spread_weights, numbers, standard, law)?;
        Ok(Model::new(card, weights, flow_weights, error)?.with_spread(spread))
    }
}

impl<T: Real> Model<T> {
    /// The same model in another precision.
    ///
    /// # Errors
    /// Never, for a model that was built.
    pub fn cast<U: Real>(&self) -> Result<Model<U>> {
        let cast = |weights: &[T]| weights.iter().map(|x| U::of(x.f64())).collect();
        Ok(Model {
            autoencoder: self.card.autoencoder.build(self.card.example_shape()?)?,
            flow: self.card.flow.build()?,
            weights: cast(&self.weights),
            flow_weights: cast(&self.flow_weights),
            context: self.context.cast(),
            given: self.given.clone(),
            card: self.card.clone(),
            error: self.error.clone(),
            spread: self.spread.clone(),
        })
    }

    /// What it is.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// What its decoder gets wrong, in the network's units.
    pub fn error(&self) -> &ModelError {
        &self.error
    }

    /// The spread of its decoder's residuals, in the network's units, if it was learned.
    pub fn spread(&self) -> Option<&Spread> {
        self.spread.as_ref()
    }

    /// Numbers of the latent space.
    pub fn latents(&self) -> usize {
        self.autoencoder.latents()
    }

    /// Numbers of an example.
    pub fn width(&self) -> usize {
        self.error.variance.len()
    }

    /// The latents of examples.
    pub fn encode(&self, x: Batch<T>) -> Batch<T> {
        self.autoencoder.encode(&self.weights, self.card.scaling.apply(x))
    }

    /// Examples from latents.
    pub fn decode(&self, z: Batch<T>) -> Batch<T> {
        self.card.scaling.undo(self.autoencoder.decode(&self.weights, z))
    }

    /// The same model, given what its flow depends on: an array with the numbers of all examples, or with a row for each.
    ///
    /// # Errors
    /// If the flow depends on nothing, or on other numbers.
    pub fn given(self, shape: &[usize], values: &[f64]) -> Result<Model<T>> {
        let Some(condition) = &self.card.condition else {
            return Err(Error::Data("the flow of this model depends on nothing that could be given".into()));
        };
        let context = condition.encode(shape, values)?;
        Ok(Model { context, given: values.to_vec(), ..self })
    }

    /// The same, given what the flow sees of it, as [`Condition::encode`] has it.
    ///
    /// # Errors
    /// If it sees other numbers.
    pub fn in_context(self, context: Batch<T>) -> Result<Model<T>> {
        match context.width() == self.flow.context() {
            true => Ok(Model { context, given: Vec::new(), ..self }),
            false => Err(Error::Data(format!(
                "{} numbers beside each example where the flow sees {}",
                context.width(),
                self.flow.context()
            ))),
        }
    }

    /// What was given to [`given`](Model::given).
    pub fn what_is_given(&self) -> &[f64] {
        &self.given
    }

    /// Rows for the flow: their numbers, and what they depend on; each row of that serves `each` after another, or one of them all.
    ///
    /// # Errors
    /// If the flow depends on what is not given, or is given for another number of examples.
    fn beside(&self, z: Batch<T>, each: usize) -> Result<Batch<T>> {
        let Some(condition) = &self.card.condition else { return Ok(z) };
        match self.context.rows() {
            0 => Err(Error::Data(format!("the flow of this model depends on {condition}: it must be given"))),
            1 => Ok(z.beside(&self.context, |_| 0)),
            rows if rows * each == z.rows() => Ok(z.beside(&self.context, |row| row / each)),
            rows => Err(Error::Data(format!(
                "{condition} given for {rows} examples, but there are {}",
                z.rows() / each
            ))),
        }
    }

    /// The numbers of rows for the flow, without what they depend on.
    fn apart(&self, rows: Batch<T>) -> Batch<T> {
        if rows.width() == self.latents() { rows } else { rows.columns(0, self.latents()) }
    }

    /// Refuses a flow that depends on what is not given once for all.
    ///
    /// # Errors
    /// As its message says.
    pub fn check_given(&self) -> Result<()> {
        if let (Some(condition), 2..) = (&self.card.condition, self.context.rows()) {
            return Err(Error::Data(format!(
                "{condition} must be given once for all examples here, not for {} of them",
                self.context.rows()
            )));
        }
        self.beside(Batch::zeros(1, self.latents()), 1).map(|_| ())
    }

    /// Latents from standard normal numbers, with the trace of the flow's derivatives.
    ///
    /// # Errors
    /// If what the flow depends on is not given.
    pub(crate) fn denormalised(&self, u: Batch<T>, each: usize) -> Result<(Batch<T>, Trace<T>)> {
        let mapped = self.flow.inverse_value(&self.flow_weights, self.beside(u, each)?);
        Ok((self.apart(mapped.value), mapped.trace))
    }

    /// What `along` of the flow (one of its derivatives) makes of tangents or cotangents of its numbers alone.
    pub(crate) fn along(
        &self,
        trace: &Trace<T>,
        dz: Batch<T>,
        along: impl Fn(&Flow<T>, &[T], &Trace<T>, Batch<T>) -> Batch<T>,
    ) -> Batch<T> {
        let rows = match self.flow.context() {
            0 => dz,
            context => dz.beside(&Batch::zeros(1, context), |_| 0),
        };
        self.apart(along(&self.flow, &self.flow_weights, trace, rows))
    }

    /// Latents as standard normal numbers.
    ///
    /// # Errors
    /// If what the flow depends on is not given.
    pub fn normalise(&self, z: Batch<T>) -> Result<Batch<T>> {
        let forward = |rows| self.flow.forward(&self.flow_weights, rows).value;
        Ok(self.apart(in_parts(self.beside(z, 1)?, forward)))
    }

    /// Latents from standard normal numbers.
    ///
    /// # Errors
    /// If what the flow depends on is not given.
    pub fn denormalise(&self, u: Batch<T>) -> Result<Batch<T>> {
        let inverse = |rows| self.flow.inverse_value(&self.flow_weights, rows).value;
        Ok(self.apart(in_parts(self.beside(u, 1)?, inverse)))
    }

    /// Examples from standard normal numbers: artificial data, if the numbers are drawn.
    ///
    /// # Errors
    /// If what the flow depends on is not given.
    pub fn generate(&self, u: Batch<T>) -> Result<Batch<T>> {
        Ok(self.decode(self.denormalise(u)?))
    }

    /// `ln p(z)` of latents, from the flow.
    ///
    /// # Errors
    /// If what the flow depends on is not given.
    pub fn log_density(&self, z: Batch<T>) -> Result<Vec<f64>> {
        Ok(self.flow.log_density(&self.flow_weights, self.beside(z, 1)?))
    }

    /// Examples along straight lines in the normal space between pairs of examples, `steps` a pair, the ends included.
    ///
    /// # Errors
    /// If what the flow depends on is not given.
    pub fn interpolate(&self, from: &Batch<T>, to: &Batch<T>, steps: usize) -> Result<Batch<T>> {
        let normal = |x: &Batch<T>| self.normalise(self.encode(x.clone()));
        let ends = [normal(from)?, normal(to)?];
        let mut path = Batch::zeros(from.rows() * steps, self.latents());
        for row in 0..from.rows() {
            for step in 0..steps {
                let way = T::of(step as f64 / (steps.max(2) - 1) as f64);
                let pair = ends[0].row(row).iter().zip(ends[1].row(row));
                let between = path.row_mut(row * steps + step).iter_mut();
                between.zip(pair).for_each(|(out, (&a, &b))| *out = a + way * (b - a));
            }
        }
        Ok(self.decode(self.denormalised(path, steps)?.0))
    }
}

/// Draws of noise in a score, beside their opposites.
const SCORE_DRAWS: u32 = 8;

/// How usual an example is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `ln p(z)` of its latents, or, where the flow learned the density from latents with noise, its mean over such noise, which is what was raised in
    /// training: is it where examples lie?
    pub latent: f64,
    /// `ln N(x - decode(z); 0, C)` with the covariance of the decoder's residuals: can the decoder make it?
    pub reconstruction: f64,
    /// Both together, each in units of its scatter among usual examples: by the residual's alone, which scatters more, their sum would be
    /// decided. (Models that do not know it give the sum.)
    pub combined: f64,
}

impl Model<f32> {
    /// How usual each example is; strange ones have low scores. Cost: an example through the autoencoder, and sixteen times through a flow that learned
    /// with noise.
    ///
    /// # Errors
    /// If what the flow depends on is not given, or the model's error cannot be inverted.
    pub fn score(&self, x: &Batch<f32>) -> Result<Vec<Score>> {
        let combined = |parts @ [latent, reconstruction]: [f64; 2]| match &self.card.usual {
            Some(usual) => usual.combined(parts),
            None => latent + reconstruction,
        };
        let parts = self.score_parts(self.card.scaling.apply(x.clone()))?;
        let score =
            |parts: [f64; 2]| Score { latent: parts[0], reconstruction: parts[1], combined: combined(parts) };
        Ok(parts.into_iter().map(score).collect())
    }

    /// The mean of `ln p(z + e)` over the noise `e` that the flow learned with: over some draws and their opposites, the same for all latents.
    fn density_with_noise(&self, z: &Batch<f32>) -> Result<Vec<f64>> {
        let noise = &self.card.flow_noise;
        if noise.is_empty() {
            return self.log_density(z.clone());
        }
        let mut mean = vec![0.0; z.rows()];
        for draw in 0..SCORE_DRAWS {
            let stream = Stream::new(0, Purpose::Simulation, draw);
            let shift: Vec<f32> = (0..).zip(noise).map(|(i, std)| std * stream.normal(i) as f32).collect();
            for sign in [1.0, -1.0] {
                let mut moved = z.clone();
                for row in moved.data_mut().chunks_exact_mut(noise.len()) {
                    row.iter_mut().zip(&shift).for_each(|(z, shift)| *z += sign * shift);
                }
                let densities = self.log_density(moved)?;
                mean.iter_mut().zip(densities).for_each(|(mean, density)| *mean += density);
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= f64::from(2 * SCORE_DRAWS));
        Ok(mean)
    }

    /// The densities of latents and of residuals.
    fn score_parts(&self, scaled: Batch<f32>) -> Result<Vec<[f64; 2]>> {
        use rayon::prelude::*;
        let z = self.autoencoder.encode(&self.weights, scaled.clone());
        let decoded = self.autoencoder.decode(&self.weights, z.clone());
        let residual = scaled.zip_with(&decoded, |x, d| *x -= d);
        let precision = self.error.precision()?;
        let latent = self.density_with_noise(&z)?;
        let parts = latent.into_par_iter().enumerate();
        Ok(parts.map(|(row, latent)| [latent, precision.log_density(residual.row(row))]).collect())
    }
}
