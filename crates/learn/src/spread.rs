//! How wrong a decoder is where: the spread of its residuals follows what it decoded, and differs from example to example.

use lookback_operator::random::Stream;
use serde::{Deserialize, Serialize};

use crate::covariance::mean_squares;
use crate::layer::{Layer, Mode, Weight};
use crate::layers::{Activation, Convolution, Function, Image, Norm};
use crate::residual_law::Seen;
use crate::{
    Batch, Error, ModelError, Network, Objective, ResidualLaw, Result, Shape, Training, TrainingOptions,
};

/// What a spread is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadSection {
    /// Channels of its network.
    pub channels: usize,
    /// Correlated directions of residuals in units of their spread.
    pub rank: usize,
    /// Classes of its law of residuals, by decoded value and by spread; zeros where there were too few residuals for one.
    #[serde(default)]
    pub law: [usize; 2],
}

/// `e = a s(x) w`: the residual of an example whose decoded value is `x`. `w` has a covariance of few directions and a diagonal,
/// `s` comes out of a small network of convolutions over `x`, and the amplitude `a` of the example is lognormal. To first order `w` is
/// Gaussian, which is what latents are judged by; samples have its [`ResidualLaw`].
///
/// A covariance alone takes the residuals of all examples together: it is too wide where nothing is drawn and too narrow at the
/// edges of what is, and too narrow for the odd example.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spread {
    section: SpreadSection,
    image: Image,
    /// Weights of the network; then the logarithm of each number's spread without it.
    weights: Vec<f32>,
    /// Smallest spread.
    floor: f32,
    /// Mean and standard deviation of `ln a`.
    amplitude: [f32; 2],
    /// Of `w`.
    error: ModelError,
    law: Option<ResidualLaw>,
}

/// Steps that the network needs, at least.
const STEPS: usize = 2000;

/// Smallest spread, in units of the root mean square of all residuals.
const FLOOR: f64 = 0.1;

impl Spread {
    /// Learns from examples that were not trained on, and from what was decoded in their place; missing numbers are NaN.
    /// `watch` sees how far it is after each step.
    ///
    /// # Errors
    /// If all residuals are zero, there are fewer than a step takes, the training diverges, or `watch` fails.
    pub fn learn<E: From<Error>>(
        section: SpreadSection,
        shape: Shape,
        (decoded, examples): (&Batch<f32>, &Batch<f32>),
        seed: u64,
        mut watch: impl FnMut((u64, u64)) -> Result<(), E>,
    ) -> Result<Spread, E> {
        let image = image(shape);
        let residuals = &examples.clone().zip_with(decoded, |x, decoded| *x -= decoded);
        let rows = residuals.rows();
        let (all, base) = mean_squares(residuals);
        if !(all > 0.0) {
            let message = "all residuals are zero: nothing can be learned of their spread";
            return Err(Error::Data(message.into()).into());
        }
        let floor = (FLOOR * all.sqrt()) as f32;
        let mut spread = Spread::empty(section, image);
        spread.floor = floor;
        let network = spread.network();
        let fit = Fit { spread: &spread, network: &network, base: &base, decoded, residuals };
        let batch = 64.min(rows.saturating_sub(rows / 10)).max(1);
        let epochs = (STEPS * batch / rows.max(1)).clamp(20, 400);
        let options = TrainingOptions { epochs, batch, learning_rate: 5e-3, ..TrainingOptions::default() };
        let mut training = Training::new(&fit, &options, seed)?;
        while !training.is_done(&fit, &options) {
            training.advance(&fit, &options)?;
            watch(training.progress(&fit, &options))?;
        }
        let weights = training.weights().to_vec();
        spread.weights = weights;
        spread.standardise((decoded, examples), residuals, seed)?;
        Ok(spread)
    }

    /// Nothing learned yet.
    fn empty(section: SpreadSection, image: Image) -> Spread {
        let error = ModelError { factors: Batch::zeros(0, image.len()), variance: Vec::new() };
        Spread { section, image, weights: Vec::new(), floor: 1.0, amplitude: [0.0; 2], error, law: None }
    }

    /// The amplitudes of examples, and the covariance and the law of what is left.
    fn standardise(
        &mut self,
        (decoded, examples): (&Batch<f32>, &Batch<f32>),
        residuals: &Batch<f32>,
        seed: u64,
    ) -> Result<()> {
        let std = self.std(decoded.clone());
        let mut standard = residuals.clone().zip_with(&std, |r, s| *r /= s);
        let width = standard.width();
        let (mut logarithms, mut amplitudes) = (Vec::new(), Vec::new());
        for row in standard.data_mut().chunks_exact_mut(width) {
            let seen = || row.iter().filter(|x| !x.is_nan()).map(|x| f64::from(*x).powi(2));
            let count = seen().count();
            let size = if count > 0 { (seen().sum::<f64>() / count as f64).sqrt().max(1e-3) } else { 1.0 };
            row.iter_mut().for_each(|x| *x /= size as f32);
            if count > 0 {
                logarithms.push(size.ln());
            }
            amplitudes.push(size as f32);
        }
        let n = logarithms.len() as f64;
        let mean = logarithms.iter().sum::<f64>() / n;
        let variance = logarithms.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n;
        self.amplitude = [mean as f32, variance.sqrt() as f32];
        self.error = ModelError::of(&standard, self.section.rank, seed)?;
        let roots: Vec<f32> = self.error.diagonal().variance.iter().map(|v| v.sqrt()).collect();
        let numbers = examples.data().iter().zip(std.data().iter().zip(decoded.data())).enumerate();
        let seen = numbers.filter(|(_, (value, _))| !value.is_nan());
        // The numbers themselves: bounds are known by equality.
        let seen = seen.map(|(at, (&value, (std, &decoded)))| {
            let spread = amplitudes[at / width] * std * roots[at % width];
            Seen { decoded, spread, value }
        });
        self.law = ResidualLaw::learn(seen.collect());
        self.section.law = self.law.as_ref().map_or([0, 0], ResidualLaw::classes);
        Ok(())
    }

    /// From its arrays.
    ///
    /// # Errors
    /// If they have not the lengths that are needed.
    pub(crate) fn of(
        section: SpreadSection,
        shape: Shape,
        weights: Vec<f32>,
        [floor, mean, std]: [f32; 3],
        error: ModelError,
        law: Vec<f32>,
    ) -> Result<Spread> {
        let amplitude = [mean, std];
        let law = match section.law {
            [0, 0] => None,
            classes => Some(ResidualLaw::of(classes, law)?),
        };
        let spread = Spread { section, image: image(shape), weights, floor, amplitude, error, law };
        let needed = Weight::total(&spread.arrays());
        if spread.weights.len() != needed || !(floor > 0.0) {
            let message = format!("{} weights of a spread where {needed} are needed", spread.weights.len());
            return Err(Error::Data(message));
        }
        Ok(spread)
    }

    /// The arrays of weights of a spread that is not there yet.
    pub(crate) fn layout(section: SpreadSection, shape: Shape) -> Vec<Weight> {
        Spread::empty(section, image(shape)).arrays()
    }

    /// What it is made of.
    pub fn section(&self) -> SpreadSection {
        self.section
    }

    /// Mean and standard deviation of the logarithm of an example's amplitude.
    pub fn amplitude(&self) -> [f64; 2] {
        self.amplitude.map(f64::from)
    }

    /// The covariance of residuals in units of amplitude and spread.
    pub fn error(&self) -> &ModelError {
        &self.error
    }

    /// The law of numbers by what was decoded in their place and the standard deviation `a s(x) sqrt(var w)` of their error, if there were
    /// enough to learn it.
    pub fn law(&self) -> Option<&ResidualLaw> {
        self.law.as_ref()
    }

    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(crate) fn numbers(&self) -> [f32; 3] {
        [self.floor, self.amplitude[0], self.amplitude[1]]
    }

    /// The arrays of weights.
    pub(crate) fn arrays(&self) -> Vec<Weight> {
        let mut all = Layer::weights(&self.network());
        all.push(Weight::new("base", &[self.image.len()], crate::Begin::Constant(0.0), crate::Role::Vector));
        all
    }

    fn network(&self) -> Network<f32> {
        let channels = self.section.channels;
        let first = Convolution::new(self.image, channels, 5, 1, Norm::None, None);
        let second = Convolution::new(first.image(), channels, 3, 1, Norm::None, None);
        let last = Convolution::new(second.image(), self.image.channels, 3, 1, Norm::None, Some(0.01));
        let bend =
            |image: Image| Box::new(Activation::new(Function::Silu, image.len())) as Box<dyn Layer<f32>>;
        let images = (first.image(), second.image());
        Network::new(
            self.image.len(),
            vec![Box::new(first), bend(images.0), Box::new(second), bend(images.1), Box::new(last)],
        )
    }

    /// Standard deviations of the residuals of examples with these decoded values, at amplitude one.
    pub fn std(&self, decoded: Batch<f32>) -> Batch<f32> {
        let network = self.network();
        let (weights, base) = self.weights.split_at(network.len());
        let width = self.image.len();
        let mut out = network.apply(weights, decoded);
        for row in out.data_mut().chunks_exact_mut(width) {
            row.iter_mut()
                .zip(base)
                .for_each(|(h, base)| *h = (self.floor.powi(2) + (2.0 * (*h + base)).exp()).sqrt());
        }
        out
    }
}

/// Rows are images of one line.
fn image(shape: Shape) -> Image {
    match shape {
        Shape::Image(image) => image,
        Shape::Row(width) => Image { height: 1, width, channels: 1 },
    }
}

/// The mean of `ln s + r^2 / 2 s^2`.
struct Fit<'a> {
    spread: &'a Spread,
    network: &'a Network<f32>,
    base: &'a [f64],
    decoded: &'a Batch<f32>,
    residuals: &'a Batch<f32>,
}

impl Fit<'_> {
    /// Examples that judge: the last tenth.
    fn held(&self) -> usize {
        (self.residuals.rows() / 10).max(1)
    }

    /// The loss of some examples; its cotangent with respect to the network's output in place of that.
    fn loss(&self, base: &[f32], out: &mut Batch<f32>, residuals: &Batch<f32>) -> f64 {
        let floor = self.spread.floor.powi(2);
        let seen = residuals.data().iter().filter(|r| !r.is_nan()).count().max(1);
        let scale = 1.0 / seen as f32;
        let width = residuals.width();
        let mut loss = 0.0;
        for (at, (h, r)) in out.data_mut().iter_mut().zip(residuals.data()).enumerate() {
            if r.is_nan() {
                *h = 0.0;
                continue;
            }
            let free = (2.0 * (*h + base[at % width])).exp();
            let variance = floor + free;
            let misfit = r * r / variance;
            loss += 0.5 * f64::from(variance.ln() + misfit);
            *h = scale * (free / variance) * (1.0 - misfit);
        }
        loss / seen as f64
    }
}

impl Objective for Fit<'_> {
    fn weights(&self) -> Vec<Weight> {
        self.spread.arrays()
    }

    fn examples(&self) -> usize {
        self.residuals.rows() - self.held()
    }

    fn step(&self, weights: &mut [f32], rows: &[usize], stream: Stream, gradient: &mut [f32]) -> f64 {
        let (net, base) = weights.split_at(self.network.len());
        let decoded = self.decoded.gather(rows.iter().copied());
        let (mut out, trace) = self.network.forward(net, decoded, Mode::Training { stream });
        let loss = self.loss(base, &mut out, &self.residuals.gather(rows.iter().copied()));
        let (dnet, dbase) = gradient.split_at_mut(self.network.len());
        for row in out.data().chunks_exact(out.width()) {
            dbase.iter_mut().zip(row).for_each(|(base, h)| *base += h);
        }
        self.network.pull(net, &trace, out, Some(dnet));
        loss
    }

    fn validation(&self, weights: &[f32]) -> f64 {
        let (net, base) = weights.split_at(self.network.len());
        let held = self.examples()..self.residuals.rows();
        let mut out = self.network.apply(net, self.decoded.gather(held.clone()));
        self.loss(base, &mut out, &self.residuals.gather(held))
    }

    fn prepare(&self, weights: &mut [f32]) {
        let floor = f64::from(self.spread.floor).powi(2);
        let base = &mut weights[self.network.len()..];
        base.iter_mut().zip(self.base).for_each(|(base, mean)| *base = (0.5 * mean.max(floor).ln()) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::Purpose;

    const SIDE: usize = 8;

    /// What was decoded, and examples: residuals have a spread of 0.1 plus half of that, in examples of different amplitudes.
    fn examples(rows: usize) -> (Batch<f32>, Batch<f32>) {
        let width = SIDE * SIDE;
        let normal = |substream: u32, len: usize| {
            let mut numbers = vec![0.0f32; len];
            Stream::new(4, Purpose::Test, substream).fill_normal(&mut numbers);
            numbers
        };
        let decoded: Vec<f32> = normal(0, rows * width).into_iter().map(f32::abs).collect();
        let amplitude: Vec<f32> = normal(1, rows).into_iter().map(|x| (0.4 * x).exp()).collect();
        let noise = normal(2, rows * width).into_iter().enumerate();
        let wrong =
            |(at, x): (usize, f32)| decoded[at] + amplitude[at / width] * (0.1 + 0.5 * decoded[at]) * x;
        let wrong = noise.map(wrong).collect();
        (Batch::new(width, decoded), Batch::new(width, wrong))
    }

    /// Spread times the typical amplitude is what was drawn, and amplitudes scatter as drawn.
    fn is_as_drawn(spread: &Spread, decoded: &Batch<f32>) {
        let (std, typical) = (spread.std(decoded.clone()), spread.amplitude()[0].exp());
        let ratios = std.data().iter().zip(decoded.data());
        let ratios = ratios.map(|(s, x)| (f64::from(*s) * typical / f64::from(0.1 + 0.5 * x)).ln());
        let rms = (ratios.map(|r| r * r).sum::<f64>() / decoded.data().len() as f64).sqrt();
        assert!(rms < 0.15, "{rms}");
        assert!((spread.amplitude()[1] - 0.4).abs() < 0.06, "{}", spread.amplitude()[1]);
    }

    /// The spread within a tenth of the one that residuals were drawn with, amplitudes within a tenth, and the same twice.
    #[test]
    fn a_spread_that_follows_the_decoded_value_is_learned() {
        let (decoded, seen) = examples(1500);
        let shape = Shape::Image(Image { height: SIDE, width: SIDE, channels: 1 });
        let section = SpreadSection { channels: 6, rank: 2, law: [0, 0] };
        let nothing = |_| Ok::<(), Error>(());
        let learn = || Spread::learn(section, shape, (&decoded, &seen), 5, nothing).expect("learns");
        let spread = learn();
        let some = decoded.gather(0..200);
        let std = spread.std(some.clone());
        is_as_drawn(&spread, &some);
        assert_eq!(learn().std(some).data(), std.data());
    }

    /// A third of the residuals missing, and some examples as a whole: the same spread.
    #[test]
    fn missing_residuals_do_not_count() {
        let (decoded, mut seen) = examples(1500);
        let width = seen.width();
        for (at, r) in seen.data_mut().iter_mut().enumerate() {
            if at % 3 == 0 || at / width % 50 == 7 {
                *r = f32::NAN;
            }
        }
        let shape = Shape::Image(Image { height: SIDE, width: SIDE, channels: 1 });
        let section = SpreadSection { channels: 6, rank: 2, law: [0, 0] };
        let spread =
            Spread::learn(section, shape, (&decoded, &seen), 5, |_| Ok::<(), Error>(())).expect("learns");
        is_as_drawn(&spread, &decoded.gather(0..200));
    }

    #[test]
    fn residuals_that_are_zero_are_refused() {
        let zeros = Batch::zeros(50, SIDE);
        let section = SpreadSection { channels: 2, rank: 1, law: [0, 0] };
        let error = Spread::learn(section, Shape::Row(SIDE), (&zeros, &zeros), 1, |_| Ok::<(), Error>(()))
            .expect_err("refused");
        assert!(error.to_string().contains("all residuals are zero"), "{error}");
    }
}
