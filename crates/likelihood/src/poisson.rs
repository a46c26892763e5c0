//! Counts: photons in pixels, galaxies in cells.

use std::sync::Arc;

use lookback_operator::random::Stream;
use lookback_operator::{Real, Space};
use statrs::function::gamma::ln_gamma;

use crate::{Error, Likelihood, Result, check};

/// `-ln L = sum p - d ln p + ln d!`; Fisher metric `1 / p`. The prediction is the expected count and must be positive:
/// elsewhere the energy is infinite.
#[derive(Clone)]
pub struct Poisson<T: Real> {
    space: Space,
    data: Vec<T>,
    observed: Vec<bool>,
}

impl<T: Real> Poisson<T> {
    /// Counts; only those that are `observed` count.
    ///
    /// # Errors
    /// If a length is wrong, a count is not a whole number of zero or more, or nothing is observed.
    pub fn new(space: Space, counts: Vec<T>, observed: Vec<bool>) -> Result<Poisson<T>> {
        check::length("data", counts.len(), &space)?;
        check::length("mask", observed.len(), &space)?;
        if !observed.contains(&true) {
            return Err(Error::Empty);
        }
        let mut poisson = Poisson { space, data: Vec::new(), observed };
        poisson.data = poisson.checked(counts)?;
        Ok(poisson)
    }

    fn checked(&self, mut counts: Vec<T>) -> Result<Vec<T>> {
        check::length("data", counts.len(), &self.space)?;
        counts.iter_mut().zip(&self.observed).filter(|(_, seen)| !**seen).for_each(|(d, _)| *d = T::zero());
        let whole = |d: f64| d >= 0.0 && d.fract() == 0.0;
        check::values("count", &counts, whole, "it must be a whole number, zero or more")?;
        Ok(counts)
    }

    fn scale(&self, prediction: &[T], v: &[T], out: &mut [T]) {
        for (((out, &v), &p), &seen) in out.iter_mut().zip(v).zip(prediction).zip(&self.observed) {
            *out = if seen { v / p.sqrt() } else { T::zero() };
        }
    }
}

/// `p - d ln p`. A prediction of zero or less is impossible; one that is NaN stays NaN.
fn misfit(p: f64, d: f64) -> f64 {
    if p <= 0.0 { f64::INFINITY } else { p - if d > 0.0 { d * p.ln() } else { 0.0 } }
}

/// The smallest count whose cumulative probability reaches `u`: a walk outward from the mode, of `O(sqrt(mean))` steps.
fn quantile(mean: f64, u: f64) -> f64 {
    let mode = mean.floor();
    let at_mode = (mode * mean.ln() - mean - ln_gamma(mode + 1.0)).exp();
    // Share of the probability at and below the mode, summed downwards.
    let (mut below, mut p, mut k) = (at_mode, at_mode, mode);
    while k > 0.0 && p > 1e-18 * at_mode {
        p *= k / mean;
        k -= 1.0;
        below += p;
    }
    let (mut cumulative, mut p, mut k) = (below, at_mode, mode);
    if u <= cumulative {
        while k > 0.0 && u <= cumulative - p {
            cumulative -= p;
            p *= k / mean;
            k -= 1.0;
        }
        return k;
    }
    while u > cumulative && p > 0.0 {
        k += 1.0;
        p *= mean / k;
        cumulative += p;
    }
    k
}

impl<T: Real> Likelihood<T> for Poisson<T> {
    fn name(&self) -> String {
        "Poisson".into()
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn data_count(&self) -> usize {
        self.observed.iter().filter(|seen| **seen).count()
    }

    fn data(&self) -> &[T] {
        &self.data
    }

    fn energy(&self, prediction: &[T], gradient: &mut [T]) -> f64 {
        let mut sum = 0.0;
        for (((g, &p), &d), &seen) in gradient.iter_mut().zip(prediction).zip(&self.data).zip(&self.observed)
        {
            *g = if seen { T::one() - d / p } else { T::zero() };
            if seen {
                sum += misfit(p.f64(), d.f64());
            }
        }
        sum
    }

    fn normalisation(&self) -> f64 {
        self.data.iter().map(|d| ln_gamma(d.f64() + 1.0)).sum()
    }

    fn log_densities(&self, prediction: &[T], out: &mut [f64]) {
        for (((out, &p), &d), &seen) in out.iter_mut().zip(prediction).zip(&self.data).zip(&self.observed) {
            *out = if seen { -misfit(p.f64(), d.f64()) - ln_gamma(d.f64() + 1.0) } else { f64::NAN };
        }
    }

    fn metric_root(&self, prediction: &[T], v: &[T], out: &mut [T]) {
        self.scale(prediction, v, out);
    }

    fn metric_root_adjoint(&self, prediction: &[T], w: &[T], out: &mut [T]) {
        self.scale(prediction, w, out);
    }

    /// `2 sqrt(p)` (Anscombe 1948, without his 3/8).
    fn coordinate(&self, prediction: &[T], out: &mut [T]) {
        for ((out, &p), &seen) in out.iter_mut().zip(prediction).zip(&self.observed) {
            *out = if seen { T::of(2.0) * p.sqrt() } else { T::zero() };
        }
    }

    fn residual(&self, prediction: &[T], out: &mut [T]) {
        for (((out, &p), &d), &seen) in out.iter_mut().zip(prediction).zip(&self.data).zip(&self.observed) {
            *out = if seen { (d - p) / p.sqrt() } else { T::zero() };
        }
    }

    fn simulate(&self, prediction: &[T], stream: Stream) -> Vec<T> {
        let draw = |(i, (&p, &seen)): (usize, (&T, &bool))| {
            if seen && p > T::zero() { T::of(quantile(p.f64(), stream.uniform(i as u64))) } else { T::zero() }
        };
        prediction.iter().zip(&self.observed).enumerate().map(draw).collect()
    }

    fn with_data(&self, data: Vec<T>) -> Result<Arc<dyn Likelihood<T>>> {
        Ok(Arc::new(Poisson { data: self.checked(data)?, ..self.clone() }))
    }
}
