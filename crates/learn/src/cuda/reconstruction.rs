//! Training of an autoencoder on the device.

use lookback_operator::random::Stream;

use super::device::{Argument, Buffer, Device, THREADS, View, arguments};
use super::network::{PARTS, Pass, Purpose, Rows, add_sum};
use super::training::{Arrays, DeviceObjective, Weights};
use crate::autoencoder::{DROPOUT_OF_DECODER, latent_noise};
use crate::{AutoencoderSection, Batch, Objective, Pair, Reconstruction, Result, Shape, Variational};

/// [`Reconstruction`], its networks on the device. Examples are gathered and augmented by the processor, a batch at a time.
pub struct DeviceReconstruction<'a> {
    device: &'a Device,
    host: Reconstruction<'a>,
    layers: Pair,
    variational: Option<Variational>,
    validation: Buffer,
    precision: Option<Buffer>,
}

impl<'a> DeviceReconstruction<'a> {
    /// The same training on the device; `section` describes the autoencoder of `host`.
    ///
    /// # Errors
    /// If there is no room for the validation set.
    pub fn new(
        device: &'a Device,
        host: Reconstruction<'a>,
        section: &AutoencoderSection,
    ) -> Result<DeviceReconstruction<'a>> {
        let validation = device.upload(host.validation.values.data())?;
        let precision = host.validation.precision.as_ref();
        Ok(DeviceReconstruction {
            device,
            layers: section.layers(host.train.shape)?,
            variational: section.variational,
            validation,
            precision: precision.map(|precision| device.upload(precision.data())).transpose()?,
            host,
        })
    }

    /// The weights of the encoder and of the decoder.
    fn halves<'b>(&self, weights: View<'b>) -> [View<'b>; 2] {
        let decoder = self.host.autoencoder.decoder().1;
        [weights.part(0..decoder.start), weights.part(decoder)]
    }

    /// `decoded` becomes the cotangent of the misfit, which is added to `loss`.
    fn misfit(
        &self,
        decoded: &Buffer,
        x: View<'_>,
        precision: Argument,
        factor: f64,
        loss: &Buffer<f64>,
    ) -> Result<()> {
        let n = decoded.len();
        let sums = self.device.room::<f64>(PARTS)?;
        let arguments = arguments![decoded, x, precision, (1.0 / n as f64) as f32, &sums, n];
        self.device.launch("misfit", [PARTS, 1], [THREADS, 1], arguments)?;
        add_sum(self.device, &sums, factor / (2.0 * n as f64), loss)
    }
}

/// Rows of the validation set that go through the networks together.
const PART: usize = 256;

impl DeviceObjective for DeviceReconstruction<'_> {
    fn host(&self) -> &dyn Objective {
        &self.host
    }

    fn step(&self, arrays: &Arrays<'_>, rows: &[usize], stream: Stream) -> Result<()> {
        let (device, latents) = (self.device, self.host.autoencoder.latents());
        let (x, precision) = self.host.batch(rows, stream);
        let pixels = x.width();
        let x = Rows::new(self.host.train.shape, device.upload(x.data())?);
        let precision = precision.map(|precision| device.upload(precision.data())).transpose()?;
        let [encoder_weights, decoder_weights] = self.halves(arrays.weights);
        let [encoder_gradient, decoder_gradient] = self.halves(arrays.gradient);
        let purpose = |gradient| Purpose::Training { gradient, stream };
        let mut encoder = Pass::new(device, encoder_weights, purpose(encoder_gradient));
        let encoded = encoder.forward(&self.layers.encoder, x.clone())?;
        let drawn =
            self.variational.map(|options| Drawn::new(device, &encoded, latents, options, pixels, stream));
        let drawn = drawn.transpose()?;
        let z = match &drawn {
            Some(drawn) => Rows::new(Shape::Row(latents), drawn.latents()?),
            None => Rows { shape: Shape::Row(latents), data: encoded.data.clone() },
        };
        let mut decoder =
            Pass::new(device, decoder_weights, purpose(decoder_gradient)).dropping_from(DROPOUT_OF_DECODER);
        let decoded = decoder.forward(&self.layers.decoder, z)?;
        let taken = [encoder.taken(), decoder.taken()];
        assert_eq!(taken, [encoder_weights.len(), decoder_weights.len()], "weights of encoder and decoder");
        let dy = device.copy(decoded.data.view())?;
        let precision = precision.as_ref().map_or(Argument::NONE, Argument::from);
        self.misfit(&dy, x.data.view(), precision, 1.0, arrays.loss)?;
        let mut dz = decoder.pull(dy)?;
        if let Some(drawn) = &drawn {
            dz = drawn.pull(&dz, arrays.loss)?;
        }
        encoder.pull(dz)?;
        Ok(())
    }

    fn validation(&self, weights: &Weights<'_>) -> Result<f64> {
        let (device, shape, latents) = (self.device, self.host.train.shape, self.host.autoencoder.latents());
        let (width, all) = (shape.len(), self.validation.len());
        let [encoder, decoder] = self.halves(weights.0);
        let loss = device.zeros::<f64>(1)?;
        // Means and log variances of all rows, one after the other.
        let mut distributions = [Vec::new(), Vec::new()];
        for begin in (0..all).step_by(PART * width) {
            let part = begin..(begin + PART * width).min(all);
            let x = self.validation.view().part(part.clone());
            let rows = Rows::new(shape, device.copy(x)?);
            let mut encoded =
                Pass::new(device, encoder, Purpose::Value).forward(&self.layers.encoder, rows)?;
            if self.variational.is_some() {
                for row in device.download(&encoded.data)?.chunks_exact(2 * latents) {
                    let (mean, log_variance) = row.split_at(latents);
                    distributions[0].extend_from_slice(mean);
                    distributions[1].extend_from_slice(log_variance);
                }
                encoded = Rows::new(Shape::Row(latents), means(device, &encoded, latents)?);
            }
            let z = Rows { shape: Shape::Row(latents), ..encoded };
            let decoded = Pass::new(device, decoder, Purpose::Value).forward(&self.layers.decoder, z)?;
            let precision = self.precision.as_ref().map(|all| all.view().part(part.clone()));
            let precision = precision.map_or(Argument::NONE, Argument::from);
            let share = part.len() as f64 / all as f64;
            self.misfit(&device.copy(decoded.data.view())?, x, precision, share, &loss)?;
        }
        let [mean, log_variance] = distributions.map(|numbers| Batch::new(latents, numbers));
        let cost = self.variational.map_or(0.0, |options| options.cost(&mean, &log_variance, width));
        Ok(device.download(&loss)?[0] + cost)
    }
}

/// Latents that are drawn from the distributions of a variational encoder.
struct Drawn<'a> {
    device: &'a Device,
    encoded: Rows,
    latents: usize,
    noise: Buffer,
    /// Divergence of all rows from N(0, 1).
    divergence: Buffer<f64>,
    capacity: f64,
    price: f64,
}

impl<'a> Drawn<'a> {
    fn new(
        device: &'a Device,
        encoded: &Rows,
        latents: usize,
        options: Variational,
        pixels: usize,
        stream: Stream,
    ) -> Result<Drawn<'a>> {
        let rows = encoded.data.len() / (2 * latents);
        let noise = device.upload(latent_noise(rows, latents, stream).data())?;
        let (sums, divergence) = (device.room::<f64>(PARTS)?, device.zeros::<f64>(1)?);
        let arguments = arguments![&*encoded.data, &sums, latents, rows * latents];
        device.launch("divergence", [PARTS, 1], [THREADS, 1], arguments)?;
        add_sum(device, &sums, 1.0, &divergence)?;
        let (capacity, price) = (options.capacity, options.price(pixels));
        Ok(Drawn { device, encoded: encoded.clone(), latents, noise, divergence, capacity, price })
    }

    fn rows(&self) -> usize {
        self.noise.len() / self.latents
    }

    fn latents(&self) -> Result<Buffer> {
        draw(self.device, &self.encoded, &self.noise, self.latents)
    }

    /// The cotangent of what the encoder gave; adds the cost of the distributions.
    fn pull(&self, dz: &Buffer, loss: &Buffer<f64>) -> Result<Buffer> {
        let (device, rows) = (self.device, self.rows());
        let dencoded = device.room(self.encoded.data.len())?;
        let total = &self.divergence;
        let arguments = arguments![
            &*self.encoded.data,
            &self.noise,
            dz,
            &dencoded,
            total,
            self.capacity,
            self.price,
            rows,
            self.latents
        ];
        device.each("draw_latents_pull", dz.len(), arguments)?;
        let arguments = arguments![loss, total, self.capacity, self.price, rows];
        device.launch("add_divergence", [1, 1], [THREADS, 1], arguments)?;
        Ok(dencoded)
    }
}

/// `mean + noise * std`.
fn draw(device: &Device, encoded: &Rows, noise: &Buffer, latents: usize) -> Result<Buffer> {
    let z = device.room(noise.len())?;
    device.each("draw_latents", z.len(), arguments![&*encoded.data, noise, &z, latents])?;
    Ok(z)
}

/// The means alone: without noise.
fn means(device: &Device, encoded: &Rows, latents: usize) -> Result<Buffer> {
    draw(device, encoded, &device.zeros(encoded.data.len() / 2)?, latents)
}
