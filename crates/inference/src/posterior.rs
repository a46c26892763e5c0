//! The posterior of a model and a likelihood, as a target of inference.

use std::sync::Arc;

use lookback_likelihood::Likelihood;
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{DynOperator, Linearization, Real, vector};

use crate::{Error, Evaluator, Result, Target};

/// `H(z) = |z|^2 / 2 - ln L(d | F(g(z)))` with the model `F(g(z))` as one operator.
#[derive(Clone)]
pub struct Posterior<T: Real> {
    model: DynOperator<T>,
    likelihood: Arc<dyn Likelihood<T>>,
}

impl<T: Real> Posterior<T> {
    /// Joins a model to the likelihood of its output.
    ///
    /// # Errors
    /// If the output of the model does not have the shape of what the likelihood compares.
    pub fn new(model: DynOperator<T>, likelihood: Arc<dyn Likelihood<T>>) -> Result<Posterior<T>> {
        if !model.codomain().fits(likelihood.space()) {
            return Err(Error::Model(lookback_operator::Error::Join {
                first: model.name(),
                second: format!("{} likelihood", likelihood.name()),
                found: model.codomain().to_string(),
                expected: likelihood.space().to_string(),
            }));
        }
        Ok(Posterior { model, likelihood })
    }

    /// The posterior of data that `z` would give, with the noise number `draw` of a seed.
    ///
    /// # Errors
    /// If the model or the likelihood cannot do it.
    pub fn simulated(&self, z: &[T], seed: u64, draw: u32) -> Result<Posterior<T>> {
        let prediction = self.model.apply(z)?;
        let data = self.likelihood.simulate(&prediction, Stream::new(seed, Purpose::Simulation, draw));
        let wrong =
            |error: lookback_likelihood::Error| Error::Unsuitable(format!("a simulation failed: {error}"));
        let likelihood = self.likelihood.with_data(data).map_err(wrong)?;
        Ok(Posterior { model: self.model.clone(), likelihood })
    }

    /// From latents to the prediction of the data.
    pub fn model(&self) -> &DynOperator<T> {
        &self.model
    }

    /// The likelihood of the data.
    pub fn likelihood(&self) -> &Arc<dyn Likelihood<T>> {
        &self.likelihood
    }
}

impl<T: Real> Target<T> for Posterior<T> {
    fn dim(&self) -> usize {
        self.model.domain().len()
    }

    fn normalisation(&self) -> f64 {
        self.likelihood.normalisation()
    }

    fn is_quadratic(&self) -> bool {
        self.model.is_linear() && self.likelihood.is_gaussian()
    }

    fn simulate(&self, z: &[T], seed: u64, draw: u32) -> Result<Box<dyn Target<T> + '_>> {
        Ok(Box::new(self.simulated(z, seed, draw)?))
    }

    fn evaluator(&self) -> Box<dyn Evaluator<T> + '_> {
        let n = self.model.codomain().len();
        Box::new(PosteriorEvaluator {
            likelihood: self.likelihood.as_ref(),
            linearization: self.model.linearization(),
            prediction: vec![T::zero(); n],
            work: [vec![T::zero(); n], vec![T::zero(); n]],
            started: false,
        })
    }
}

struct PosteriorEvaluator<'a, T: Real> {
    likelihood: &'a dyn Likelihood<T>,
    linearization: Box<dyn Linearization<T> + 'a>,
    prediction: Vec<T>,
    work: [Vec<T>; 2],
    /// Whether the model could be evaluated somewhere.
    started: bool,
}

impl<T: Real> Evaluator<T> for PosteriorEvaluator<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        match self.linearization.move_to(z, &mut self.prediction) {
            Ok(()) => self.started = true,
            // A parameter that left its range on the way has no likelihood there; at the start it is the user's to mend.
            Err(lookback_operator::Error::Parameter { .. }) if self.started => return Ok(f64::INFINITY),
            Err(error) => return Err(error.into()),
        }
        let misfit = self.likelihood.energy(&self.prediction, &mut self.work[0]);
        if !misfit.is_finite() {
            return Ok(f64::INFINITY);
        }
        self.linearization.pull(&self.work[0], gradient)?;
        vector::axpy(1.0, z, gradient);
        let energy = misfit + 0.5 * vector::norm2(z);
        let finite = energy.is_finite() && vector::norm2(gradient).is_finite();
        Ok(if finite { energy } else { f64::INFINITY })
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        let [a, b] = &mut self.work;
        self.linearization.push(v, a)?;
        self.likelihood.metric_root(&self.prediction, a, b);
        self.likelihood.metric_root_adjoint(&self.prediction, b, a);
        self.linearization.pull(a, out)?;
        vector::axpy(1.0, v, out);
        Ok(())
    }

    fn coordinate(&mut self) -> Result<Vec<T>> {
        let mut out = self.prediction.clone();
        self.likelihood.coordinate(&self.prediction, &mut out);
        Ok(out)
    }

    fn coordinate_push(&mut self, v: &[T]) -> Result<Vec<T>> {
        self.linearization.push(v, &mut self.work[0])?;
        let mut out = self.prediction.clone();
        self.likelihood.metric_root(&self.prediction, &self.work[0], &mut out);
        Ok(out)
    }

    fn coordinate_pull(&mut self, w: &[T], out: &mut [T]) -> Result<()> {
        self.likelihood.metric_root_adjoint(&self.prediction, w, &mut self.work[0]);
        Ok(self.linearization.pull(&self.work[0], out)?)
    }

    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [T]) -> Result<()> {
        let [a, b] = &mut self.work;
        Stream::new(seed, Purpose::DataDraw, draw).fill_normal(b);
        self.likelihood.metric_root_adjoint(&self.prediction, b, a);
        self.linearization.pull(a, out)?;
        let mut white = vec![T::zero(); out.len()];
        Stream::new(seed, Purpose::PriorDraw, draw).fill_normal(&mut white);
        vector::axpy(1.0, &white, out);
        Ok(())
    }
}
