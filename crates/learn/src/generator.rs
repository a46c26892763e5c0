//! A trained model as a prior: standard normal numbers through flow and decoder to a signal.

use std::sync::Arc;

use lookback_operator::{Block, DynOperator, Error, Linearization, Operator, Real, Result, Space, vector};
use serde::{Deserialize, Serialize};

use crate::flow::{Bijection, Flow};
use crate::layer::{Layer, Mode, Trace};
use crate::{Batch, Model};

/// How much is admitted of what the decoder cannot make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nothing: signals are exactly what the decoder makes.
    None,
    /// Residuals that are independent between pixels: too confident, and here to show it.
    Diagonal,
    /// Residuals as they are correlated between pixels.
    #[default]
    Correlated,
}

/// `x = offset + scale (decode(flow^-1(u)) + F^T a + sqrt(d) b)`, with `u`, `a` and `b` standard normal; `a` and `b` only where the
/// model's error is admitted.
///
/// Blocks in: `latent` (one number for each of the model), then `correlated_error` (one for each direction) and `pixel_error` (one
/// for each pixel). Cost: a pass through flow and decoder; a push or pull costs about as much again. Many points at once
/// ([`repeated`](Operator::repeated)) go through the networks together.
#[derive(Clone)]
pub struct Generator<T: Real> {
    model: Arc<Model<T>>,
    /// Points that are taken at once.
    points: usize,
    /// Rows of `F`, and roots of `d`, in the signal's units.
    factors: Arc<Batch<T>>,
    roots: Arc<[T]>,
    domain: Space,
    codomain: Space,
}

impl<T: Real> Generator<T> {
    /// The prior of a signal `name` of the given shape, which has as many numbers as an example.
    ///
    /// # Errors
    /// If the shape does not fit, or the model's flow depends on what is not given once for all ([`Model::given`]).
    pub fn new(
        model: Arc<Model<T>>,
        error: ErrorKind,
        name: &str,
        shape: &[usize],
        unit: &str,
    ) -> Result<Generator<T>> {
        let width = model.width();
        if shape.iter().product::<usize>() != width {
            let message =
                format!("the model makes {:?} numbers, and the signal has {shape:?}", model.card().shape);
            return Err(Error::parameter("learned prior", message));
        }
        model.check_given().map_err(|error| Error::parameter("learned prior", error.to_string()))?;
        let scale = f64::from(model.card().scaling.scale);
        let admitted = match error {
            ErrorKind::None => None,
            ErrorKind::Diagonal => Some(model.error().diagonal()),
            ErrorKind::Correlated => Some(model.error().clone()),
        };
        let mut blocks = vec![Block::new("latent", &[model.latents()], "")];
        let (mut factors, mut roots) = (Batch::zeros(0, width), Vec::new());
        if let Some(admitted) = admitted {
            if admitted.rank() > 0 {
                blocks.push(Block::new("correlated_error", &[admitted.rank()], ""));
            }
            blocks.push(Block::new("pixel_error", &[width], ""));
            factors = admitted.factors.cast().map(|f: &mut T| *f *= T::of(scale));
            roots = admitted.variance.iter().map(|&v| T::of(f64::from(v).sqrt() * scale)).collect();
        }
        let codomain = Space::single(name, shape, unit);
        let (factors, roots) = (Arc::new(factors), roots.into());
        Ok(Generator { model, points: 1, factors, roots, domain: Space::new(blocks), codomain })
    }

    /// Numbers of a point.
    fn width(&self) -> usize {
        self.domain.len() / self.points
    }

    /// Numbers of the flow, one row a point.
    fn latents(&self, x: &[T]) -> Batch<T> {
        let latents = self.model.latents();
        Batch::new(latents, x.chunks_exact(self.width()).flat_map(|x| &x[..latents]).copied().collect())
    }

    /// Adds the model's error, which is linear, at every point.
    fn add_error(&self, x: &[T], y: &mut [T]) {
        let width = self.model.width();
        for (x, y) in x.chunks_exact(self.width()).zip(y.chunks_exact_mut(width)) {
            let (along, pixels) = x[self.model.latents()..].split_at(self.factors.rows());
            for (factor, &a) in self.factors.data().chunks_exact(width).zip(along) {
                y.iter_mut().zip(factor).for_each(|(y, &f)| *y += f * a);
            }
            for ((y, &root), &b) in y.iter_mut().zip(self.roots.iter()).zip(pixels) {
                *y += root * b;
            }
        }
    }

    /// The adjoint of [`add_error`](Generator::add_error), and beside it the numbers of the flow.
    fn write_adjoint(&self, dy: &[T], latents: &Batch<T>, dx: &mut [T]) {
        let width = self.model.width();
        for (point, (dy, dx)) in dy.chunks_exact(width).zip(dx.chunks_exact_mut(self.width())).enumerate() {
            let (latent, rest) = dx.split_at_mut(self.model.latents());
            latent.copy_from_slice(latents.row(point));
            let (along, pixels) = rest.split_at_mut(self.factors.rows());
            for (a, factor) in along.iter_mut().zip(self.factors.data().chunks_exact(width)) {
                *a = T::of(vector::dot(factor, dy));
            }
            for ((b, &root), &dy) in pixels.iter_mut().zip(self.roots.iter()).zip(dy) {
                *b = root * dy;
            }
        }
    }
}

impl<T: Real> Operator<T> for Generator<T> {
    fn name(&self) -> String {
        let card = self.model.card();
        let title = if card.title.is_empty() { "learned prior" } else { &card.title };
        let points = if self.points == 1 { String::new() } else { format!(" at {} points", self.points) };
        format!("{title} ({} latents){points}", self.model.latents())
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn repeated(&self, count: usize) -> Option<DynOperator<T>> {
        if count == 0 {
            return None;
        }
        let (domain, codomain) = (self.domain.repeated(count), self.codomain.repeated(count));
        Some(Arc::new(Generator { points: self.points * count, domain, codomain, ..self.clone() }))
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(AtPoint { generator: self, traces: None })
    }
}

/// The Jacobian at a point, or at each of many.
struct AtPoint<'a, T: Real> {
    generator: &'a Generator<T>,
    /// Of the flow and of the decoder.
    traces: Option<(Trace<T>, Trace<T>)>,
}

impl<T: Real> AtPoint<'_, T> {
    fn traces(&self) -> Result<&(Trace<T>, Trace<T>)> {
        let nowhere =
            || Error::parameter(self.generator.name(), "a derivative was asked for before a point was given");
        self.traces.as_ref().ok_or_else(nowhere)
    }

    fn check(&self, role: &'static str, found: usize, expected: usize) -> Result<()> {
        Error::check_length(|| self.generator.name(), role, found, expected)
    }
}

impl<T: Real> Linearization<T> for AtPoint<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        let generator = self.generator;
        self.check("input", x.len(), generator.domain.len())?;
        self.check("output", y.len(), generator.codomain.len())?;
        let model = &generator.model;
        let failed = |error: crate::Error| Error::parameter(generator.name(), error.to_string());
        let (z, flow_trace) = model.denormalised(generator.latents(x), 1).map_err(failed)?;
        let (decoder, range) = model.autoencoder.decoder();
        let (value, trace) = decoder.forward(&model.weights[range], z, Mode::Frozen);
        let (offset, scale) = (model.card().scaling.offset, model.card().scaling.scale);
        let (offset, scale) = (T::of(f64::from(offset)), T::of(f64::from(scale)));
        y.iter_mut().zip(value.data()).for_each(|(y, &v)| *y = v * scale + offset);
        generator.add_error(x, y);
        self.traces = Some((flow_trace, trace));
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        let generator = self.generator;
        self.check("tangent", dx.len(), generator.domain.len())?;
        self.check("output", dy.len(), generator.codomain.len())?;
        let model = &generator.model;
        let (flow_trace, trace) = self.traces()?;
        let dz = model.along(flow_trace, generator.latents(dx), Flow::push_inverse);
        let (decoder, range) = model.autoencoder.decoder();
        let pushed = decoder.push(&model.weights[range], trace, dz);
        let scale = T::of(f64::from(model.card().scaling.scale));
        dy.iter_mut().zip(pushed.data()).for_each(|(dy, &v)| *dy = v * scale);
        generator.add_error(dx, dy);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        let generator = self.generator;
        self.check("cotangent", dy.len(), generator.codomain.len())?;
        self.check("output", dx.len(), generator.domain.len())?;
        let model = &generator.model;
        let (flow_trace, trace) = self.traces()?;
        let scale = T::of(f64::from(model.card().scaling.scale));
        let scaled = Batch::new(model.width(), dy.iter().map(|&d| d * scale).collect());
        let (decoder, range) = model.autoencoder.decoder();
        let dz = decoder.pull(&model.weights[range], trace, scaled, None);
        let du = model.along(flow_trace, dz, Flow::pull_inverse);
        generator.write_adjoint(dy, &du, dx);
        Ok(())
    }
}
