//! Named distributions of scalar parameters, as functions of a standard normal number.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2, TAU};

use lookback_operator::{Error, Pointwise, Real, Result, Space};
use statrs::function::erf::{erf_inv, erfc, erfc_inv};

/// The distribution of a parameter. [`quantile`](Distribution::quantile) maps `z ~ N(0, 1)` to the parameter, rising.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Gaussian.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// The logarithm is Gaussian; `mean` and `std` are those of the parameter itself.
    LogNormal {
        /// Mean of the parameter, positive.
        mean: f64,
        /// Standard deviation of the parameter.
        std: f64,
    },
    /// Flat between two bounds.
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// The logarithm is flat between two positive bounds.
    LogUniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// The absolute value of a Gaussian of mean zero.
    HalfNormal {
        /// Standard deviation of that Gaussian.
        std: f64,
    },
    /// Double exponential.
    Laplace {
        /// Mean.
        mean: f64,
        /// Mean absolute deviation.
        scale: f64,
    },
}

/// Upper tail of the standard normal distribution.
fn upper(z: f64) -> f64 {
    0.5 * erfc(z * FRAC_1_SQRT_2)
}

/// Density of the standard normal distribution.
fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / TAU.sqrt()
}

impl Distribution {
    /// Checks the parameters.
    ///
    /// # Errors
    /// If a width is not positive, bounds are not in order, or anything is not finite.
    pub fn validated(self) -> Result<Distribution> {
        let (right, rule) = match self {
            Distribution::Normal { mean, std } => (mean.is_finite() && std > 0.0, "std > 0"),
            Distribution::LogNormal { mean, std } => (mean > 0.0 && std > 0.0, "mean > 0 and std > 0"),
            Distribution::Uniform { low, high } => (low < high, "low < high"),
            Distribution::LogUniform { low, high } => (0.0 < low && low < high, "0 < low < high"),
            Distribution::HalfNormal { std } => (std > 0.0, "std > 0"),
            Distribution::Laplace { mean, scale } => (mean.is_finite() && scale > 0.0, "scale > 0"),
        };
        if right && self.quantile(0.5).is_finite() {
            return Ok(self);
        }
        Err(Error::parameter(
            "distribution",
            format!("{self:?} is out of range: it needs {rule}, all finite"),
        ))
    }

    fn log_moments(mean: f64, std: f64) -> (f64, f64) {
        let sigma = (std / mean).powi(2).ln_1p().sqrt();
        (mean.ln() - 0.5 * sigma * sigma, sigma)
    }

    /// The parameter at the standard normal number `z`.
    pub fn quantile(&self, z: f64) -> f64 {
        match *self {
            Distribution::Normal { mean, std } => mean + std * z,
            Distribution::LogNormal { mean, std } => {
                let (mu, sigma) = Distribution::log_moments(mean, std);
                (mu + sigma * z).exp()
            }
            Distribution::Uniform { low, high } => low + (high - low) * upper(-z),
            Distribution::LogUniform { low, high } => low * ((high / low).ln() * upper(-z)).exp(),
            // Each where it keeps its digits: the first near zero, the second far out.
            Distribution::HalfNormal { std } if z < 0.0 => std * SQRT_2 * erf_inv(upper(-z)),
            Distribution::HalfNormal { std } => std * SQRT_2 * erfc_inv(upper(z)),
            Distribution::Laplace { mean, scale } => mean - scale * z.signum() * (2.0 * upper(z.abs())).ln(),
        }
    }

    /// Derivative of the quantile with respect to `z`.
    pub fn slope(&self, z: f64) -> f64 {
        match *self {
            Distribution::Normal { std, .. } => std,
            Distribution::LogNormal { mean, std } => {
                Distribution::log_moments(mean, std).1 * self.quantile(z)
            }
            Distribution::Uniform { low, high } => (high - low) * density(z),
            Distribution::LogUniform { low, high } => (high / low).ln() * density(z) * self.quantile(z),
            Distribution::HalfNormal { std } => std * density(z) / (2.0 * density(self.quantile(z) / std)),
            Distribution::Laplace { scale, .. } => scale * density(z) / upper(z.abs()),
        }
    }

    /// Independent parameters of this distribution as a block `name`; an empty shape is one scalar.
    pub fn operator<T: Real>(self, name: &str, shape: &[usize], unit: &str) -> Pointwise<T> {
        Pointwise::new(
            format!("{self:?}"),
            Space::single(format!("{name}.latent"), shape, ""),
            Space::single(name, shape, unit),
            move |z: T| T::of(self.quantile(z.f64())),
            move |z: T| T::of(self.slope(z.f64())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Distribution; 6] = [
        Distribution::Normal { mean: 1.0, std: 2.0 },
        Distribution::LogNormal { mean: 2.0, std: 1.0 },
        Distribution::Uniform { low: -1.0, high: 3.0 },
        Distribution::LogUniform { low: 0.1, high: 10.0 },
        Distribution::HalfNormal { std: 2.0 },
        Distribution::Laplace { mean: -1.0, scale: 0.5 },
    ];

    /// Mean and variance over a fine midpoint rule in probability agree with the closed forms.
    #[test]
    fn moments_are_those_of_the_closed_form() {
        let ln10 = 10f64.ln();
        let expected = [
            (1.0, 4.0),
            (2.0, 1.0),
            (1.0, 16.0 / 12.0),
            (9.9 / (2.0 * ln10), (100.0 - 0.01) / (4.0 * ln10) - (9.9 / (2.0 * ln10)).powi(2)),
            (2.0 * (2.0 / std::f64::consts::PI).sqrt(), 4.0 * (1.0 - 2.0 / std::f64::consts::PI)),
            (-1.0, 0.5),
        ];
        for (distribution, (mean, variance)) in ALL.iter().zip(expected) {
            let (n, width) = (200_000, 20.0);
            let moment = |p: i32, centre: f64| {
                (0..n)
                    .map(|i| {
                        let z = width * ((f64::from(i) + 0.5) / f64::from(n) - 0.5);
                        (distribution.quantile(z) - centre).powi(p) * density(z) * width / f64::from(n)
                    })
                    .sum::<f64>()
            };
            assert!((moment(1, 0.0) - mean).abs() < 1e-8, "{distribution:?}: {}", moment(1, 0.0));
            assert!((moment(2, mean) - variance).abs() < 1e-7, "{distribution:?}: {}", moment(2, mean));
        }
    }

    #[test]
    fn slopes_are_derivatives_also_in_the_tails() {
        for distribution in ALL {
            for z in [-7.0, -3.0, -0.4, 0.7, 3.0, 7.0] {
                let h = 1e-3;
                let quantile = |steps: f64| distribution.quantile(z + steps * h);
                let numeric =
                    (8.0 * (quantile(1.0) - quantile(-1.0)) - (quantile(2.0) - quantile(-2.0))) / (12.0 * h);
                let exact = distribution.slope(z);
                // What the differences lose to rounding.
                let rounding = 4.0 * f64::EPSILON * distribution.quantile(z).abs() / h;
                assert!(
                    (numeric - exact).abs() < 1e-5 * exact.abs() + rounding,
                    "{distribution:?} at {z}: {numeric} {exact}"
                );
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for wrong in [
            Distribution::Normal { mean: 0.0, std: 0.0 },
            Distribution::Uniform { low: 1.0, high: 1.0 },
            Distribution::LogUniform { low: -1.0, high: 1.0 },
            Distribution::Normal { mean: f64::NAN, std: 1.0 },
            Distribution::HalfNormal { std: f64::INFINITY },
        ] {
            assert!(wrong.validated().is_err(), "{wrong:?}");
        }
    }
}
