//! The posterior of a model and a likelihood, as a target of inference.

use std::sync::Arc;

use lookback_likelihood::Likelihood;
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{DynOperator, Linearization, Operator, Real, vector};

use crate::target::{no_metric, one_by_one};
use crate::{Error, Evaluator, Result, Target};

/// Points that a model takes at once, where it has a quicker way for many.
const CROWD: usize = 32;
/// Fewest points for which that is worth it: with those that are missing a crowd costs as much as a full one, and a full one about as much as 23
/// points one by one (digits with eight latents).
const WORTH: usize = 23;

/// `H(z) = |z|^2 / 2 - ln L(d | F(g(z)))` with the model `F(g(z))` as one operator.
#[derive(Clone)]
pub struct Posterior<T: Real> {
    model: DynOperator<T>,
    /// The model at [`CROWD`] points, where that costs less.
    crowd: Option<DynOperator<T>>,
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
        Ok(Posterior { crowd: model.repeated(CROWD), model, likelihood })
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
        Ok(Posterior { likelihood, ..self.clone() })
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

    fn crowd(&self) -> usize {
        if self.crowd.is_some() { CROWD } else { 1 }
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
            refusal: None,
            crowd: self.crowd.as_deref(),
            together: None,
        })
    }
}

struct PosteriorEvaluator<'a, T: Real> {
    likelihood: &'a dyn Likelihood<T>,
    linearization: Box<dyn Linearization<T> + 'a>,
    prediction: Vec<T>,
    work: [Vec<T>; 2],
    /// Why the model could not be evaluated at the last point.
    refusal: Option<lookback_operator::Error>,
    /// The model at many points.
    crowd: Option<&'a dyn Operator<T>>,
    /// The place from which that is evaluated, once it was asked for.
    together: Option<Together<'a, T>>,
}

/// Evaluates [`CROWD`] points at once, with buffers for all of them.
struct Together<'a, T: Real> {
    linearization: Box<dyn Linearization<T> + 'a>,
    /// Latents, then their cotangents.
    latents: Vec<T>,
    predictions: Vec<T>,
    /// Of the predictions.
    cotangents: Vec<T>,
}

impl<'a, T: Real> Together<'a, T> {
    fn new(model: &'a dyn Operator<T>) -> Together<'a, T> {
        let (n, m) = (model.domain().len(), model.codomain().len());
        let zeros = |len| vec![T::zero(); len];
        let linearization = model.linearization();
        Together { linearization, latents: zeros(n), predictions: zeros(m), cotangents: zeros(m) }
    }

    /// Energies and gradients at up to [`CROWD`] points; the places that are left over hold the last one.
    fn energies(
        &mut self,
        likelihood: &dyn Likelihood<T>,
        points: &[&[T]],
        gradients: &mut [Vec<T>],
    ) -> Result<Vec<f64>> {
        let (dim, width) = (self.latents.len() / CROWD, self.predictions.len() / CROWD);
        for (place, latent) in self.latents.chunks_exact_mut(dim).enumerate() {
            latent.copy_from_slice(points[place.min(points.len() - 1)]);
        }
        self.linearization.move_to(&self.latents, &mut self.predictions)?;
        self.cotangents.fill(T::zero());
        let predictions = self.predictions.chunks_exact(width).zip(self.cotangents.chunks_exact_mut(width));
        let misfits: Vec<f64> = predictions
            .take(points.len())
            .map(|(prediction, cotangent)| {
                let misfit = likelihood.energy(prediction, cotangent);
                if !misfit.is_finite() {
                    cotangent.fill(T::zero());
                }
                misfit
            })
            .collect();
        self.linearization.pull(&self.cotangents, &mut self.latents)?;
        let pulled = self.latents.chunks_exact(dim).zip(gradients);
        let each = points.iter().zip(misfits).zip(pulled).map(|((z, misfit), (pulled, gradient))| {
            gradient.copy_from_slice(pulled);
            with_prior(misfit, z, gradient)
        });
        Ok(each.collect())
    }
}

/// Adds the prior of `z` to a misfit and its gradient; infinite where either is not finite.
fn with_prior<T: Real>(misfit: f64, z: &[T], gradient: &mut [T]) -> f64 {
    vector::axpy(1.0, z, gradient);
    let energy = misfit + 0.5 * vector::norm2(z);
    let finite = energy.is_finite() && vector::norm2(gradient).is_finite();
    if finite { energy } else { f64::INFINITY }
}

impl<T: Real> PosteriorEvaluator<'_, T> {
    fn check_metric(&self) -> Result<()> {
        if self.likelihood.has_metric() { Ok(()) } else { Err(no_metric()) }
    }
}

impl<T: Real> Evaluator<T> for PosteriorEvaluator<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        match self.linearization.move_to(z, &mut self.prediction) {
            Ok(()) => self.refusal = None,
            // A parameter that is out of its range has no likelihood.
            Err(error @ lookback_operator::Error::Parameter { .. }) => {
                self.refusal = Some(error);
                return Ok(f64::INFINITY);
            }
            Err(error) => return Err(error.into()),
        }
        let misfit = self.likelihood.energy(&self.prediction, &mut self.work[0]);
        if !misfit.is_finite() {
            return Ok(f64::INFINITY);
        }
        self.linearization.pull(&self.work[0], gradient)?;
        Ok(with_prior(misfit, z, gradient))
    }

    fn refusal(&self) -> Option<Error> {
        self.refusal.clone().map(Error::from)
    }

    fn energies(&mut self, points: &[&[T]], gradients: &mut [Vec<T>]) -> Result<Vec<f64>> {
        let mut energies = Vec::with_capacity(points.len());
        for (points, gradients) in points.chunks(CROWD).zip(gradients.chunks_mut(CROWD)) {
            let found = match self.crowd.filter(|_| points.len() >= WORTH) {
                None => None,
                Some(model) => {
                    let together = self.together.get_or_insert_with(|| Together::new(model));
                    match together.energies(self.likelihood, points, gradients) {
                        // Where one point is out of range, each has to say for itself whether it is that one.
                        Err(Error::Model(lookback_operator::Error::Parameter { .. })) => None,
                        found => Some(found?),
                    }
                }
            };
            energies.extend(match found {
                Some(found) => found,
                None => one_by_one(points, gradients, |z, gradient| self.energy(z, gradient))?,
            });
        }
        Ok(energies)
    }

    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        self.check_metric()?;
        let [a, b] = &mut self.work;
        self.linearization.push(v, a)?;
        self.likelihood.metric_root(&self.prediction, a, b);
        self.likelihood.metric_root_adjoint(&self.prediction, b, a);
        self.linearization.pull(a, out)?;
        vector::axpy(1.0, v, out);
        Ok(())
    }

    fn coordinate(&mut self) -> Result<Vec<T>> {
        self.check_metric()?;
        let mut out = self.prediction.clone();
        self.likelihood.coordinate(&self.prediction, &mut out);
        Ok(out)
    }

    fn coordinate_push(&mut self, v: &[T]) -> Result<Vec<T>> {
        self.check_metric()?;
        self.linearization.push(v, &mut self.work[0])?;
        let mut out = self.prediction.clone();
        self.likelihood.metric_root(&self.prediction, &self.work[0], &mut out);
        Ok(out)
    }

    fn coordinate_pull(&mut self, w: &[T], out: &mut [T]) -> Result<()> {
        self.check_metric()?;
        self.likelihood.metric_root_adjoint(&self.prediction, w, &mut self.work[0]);
        Ok(self.linearization.pull(&self.work[0], out)?)
    }

    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [T]) -> Result<()> {
        self.check_metric()?;
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

#[cfg(test)]
mod tests {
    use lookback_likelihood::Gaussian;
    use lookback_operator::{Repeated, Space};

    use super::*;

    /// Square roots: no number where one is negative, and an error where one is below -1.
    struct Roots(Space);

    struct AtRoots(Vec<f64>);

    impl Operator<f64> for Roots {
        fn name(&self) -> String {
            "roots".into()
        }

        fn domain(&self) -> &Space {
            &self.0
        }

        fn codomain(&self) -> &Space {
            &self.0
        }

        fn repeated(&self, count: usize) -> Option<DynOperator<f64>> {
            Some(Arc::new(Repeated::new(Arc::new(Roots(self.0.clone())), count)))
        }

        fn linearization(&self) -> Box<dyn Linearization<f64> + '_> {
            Box::new(AtRoots(Vec::new()))
        }
    }

    impl Linearization<f64> for AtRoots {
        fn move_to(&mut self, x: &[f64], y: &mut [f64]) -> lookback_operator::Result<()> {
            if x.iter().any(|&x| x < -1.0) {
                return Err(lookback_operator::Error::parameter("roots", "out of range"));
            }
            self.0 = x.to_vec();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x.sqrt());
            Ok(())
        }

        fn push(&mut self, dx: &[f64], dy: &mut [f64]) -> lookback_operator::Result<()> {
            dy.iter_mut().zip(dx).zip(&self.0).for_each(|((dy, dx), x)| *dy = dx * 0.5 / x.sqrt());
            Ok(())
        }

        fn pull(&mut self, dy: &[f64], dx: &mut [f64]) -> lookback_operator::Result<()> {
            self.push(dy, dx)
        }
    }

    #[test]
    fn many_points_have_the_energies_that_each_has_alone() {
        let space = Space::single("x", &[2], "");
        let noise = Gaussian::new(space.clone(), vec![1.0, 2.0], &[0.1, 0.3]).expect("noise");
        let posterior = Posterior::new(Arc::new(Roots(space)), Arc::new(noise)).expect("fits");
        let point = |i: usize| match i {
            7 => vec![-0.5, 1.0],
            // The second crowd begins with one that is out of range; the third is too small to be one.
            32 => vec![-2.0, 1.0],
            _ => vec![0.1 * i as f64 + 0.1, 3.0 - 0.03 * i as f64],
        };
        let points: Vec<Vec<f64>> = (0..75).map(point).collect();
        let mut evaluator = posterior.evaluator();
        let mut gradients = points.clone();
        let slices: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let energies = evaluator.energies(&slices, &mut gradients).expect("possible, most of them");
        let mut alone = posterior.evaluator();
        let mut gradient = vec![0.0; 2];
        for (i, point) in points.iter().enumerate() {
            let energy = alone.energy(point, &mut gradient).expect("possible, or infinite");
            assert_eq!(energies[i], energy, "point {i}");
            assert_eq!(energy.is_finite(), i != 7 && i != 32, "point {i}");
            assert!(energy.is_infinite() || gradients[i] == gradient, "point {i}");
        }
    }
}
