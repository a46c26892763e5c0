//! The linear power spectrum of matter, normalised.

use std::sync::Arc;

use crate::quadrature::{gauss_legendre, on_interval};
use crate::{
    EisensteinHu, HUBBLE_DISTANCE, Normalization, Parameters, PowerTable, Scalar, Settings, Transfer,
};

/// Wave number at which `A_s` and `n_s` are defined \[1/Mpc\].
const PIVOT: f64 = 0.05;

/// A primordial power law: `P ~ k^n_s`.
#[derive(Debug, Clone)]
struct PowerLaw<S> {
    n_s: S,
    h: S,
}

impl<S: Scalar> PowerLaw<S> {
    /// `(k / k_pivot)^(n_s - 1) k` with `k` in h/Mpc.
    fn times_k(&self, k: S) -> S {
        ((self.n_s - 1.0) * (self.h * k / PIVOT).ln()).exp() * k
    }
}

#[derive(Debug, Clone)]
enum Shape<S> {
    Formula { transfer: Transfer, fit: Box<EisensteinHu<S>>, primordial: PowerLaw<S> },
    Table(Arc<PowerTable>),
}

impl<S: Scalar> Shape<S> {
    fn at(&self, k: S) -> S {
        match self {
            Shape::Formula { transfer, fit, primordial } => {
                let t = match transfer {
                    Transfer::EisensteinHu => fit.with_wiggles(k),
                    Transfer::NoWiggle => fit.no_wiggle(k),
                };
                primordial.times_k(k) * t * t
            }
            Shape::Table(table) => table.power(k),
        }
    }
}

/// `P(k)` of linear theory, per unit of `D1^2`.
#[derive(Debug, Clone)]
pub struct LinearPower<S> {
    shape: Shape<S>,
    scale: S,
    sigma8: S,
}

impl<S: Scalar> LinearPower<S> {
    /// The spectrum that the parameters describe; `d1` is the growth today. With a table, the shape is the table's and
    /// the parameters give its amplitude only: `sigma8`; with [`Normalization::PrimordialAmplitude`] a table keeps its own.
    pub fn new(
        p: &Parameters<S>,
        settings: &Settings,
        d1: S,
        table: Option<Arc<PowerTable>>,
    ) -> LinearPower<S> {
        let formula = table.is_none();
        let shape = match table {
            Some(table) => Shape::Table(table),
            None => Shape::Formula {
                transfer: settings.transfer,
                fit: Box::new(EisensteinHu::new(p)),
                primordial: PowerLaw { n_s: p.n_s, h: p.h },
            },
        };
        let unit = sigma(&shape, 8.0);
        let (scale, sigma8) = match settings.normalization {
            Normalization::Sigma8 => ((p.amplitude / (unit * d1)).powi(2), p.amplitude),
            Normalization::PrimordialAmplitude if formula => {
                // P = 2 pi^2 A_s (2/5)^2 (k/k_p)^(n_s - 1) k T^2 D1^2 (c/H0)^4 / omega_m^2, D1 -> a early on.
                let two_fifths = 2.0 * std::f64::consts::PI.powi(2) * 0.16e-9 * HUBBLE_DISTANCE.powi(4);
                let scale = p.amplitude * two_fifths / p.omega_m.powi(2);
                (scale, unit * d1 * scale.sqrt())
            }
            Normalization::PrimordialAmplitude => {
                let scale = S::of(1.0) / d1.powi(2);
                (scale, unit)
            }
        };
        LinearPower { shape, scale, sigma8 }
    }

    /// `P(k) / D1^2` \[(Mpc/h)^3\] at `k` \[h/Mpc\]; zero at `k = 0`.
    pub fn power(&self, k: f64) -> S {
        if k > 0.0 { self.power_at(S::of(k)) } else { S::of(0.0) }
    }

    /// The same at a positive wave number that may itself depend on the parameters.
    pub fn power_at(&self, k: S) -> S {
        self.shape.at(k) * self.scale
    }

    /// Wave numbers \[h/Mpc\] between which the spectrum is known; beyond them a table is continued as a power law. All, if it is a formula.
    pub fn range(&self) -> [f64; 2] {
        match &self.shape {
            Shape::Formula { .. } => [0.0, f64::INFINITY],
            Shape::Table(table) => table.range(),
        }
    }

    /// `sigma8` today.
    pub fn sigma8(&self) -> S {
        self.sigma8
    }
}

/// Standard deviation of a field of this spectrum in spheres of a radius \[Mpc/h\]:
/// `sigma^2 = int dln k k^3 P / (2 pi^2) (3 j1(kR) / (kR))^2`.
fn sigma<S: Scalar>(shape: &Shape<S>, radius: f64) -> S {
    let rule = gauss_legendre(16);
    let (from, to, panels) = ((1e-5f64).ln(), (40.0f64 / radius).ln(), 40);
    let width = (to - from) / f64::from(panels);
    let mut sum = S::of(0.0);
    for panel in 0..panels {
        let start = from + width * f64::from(panel);
        for (ln_k, weight) in on_interval(&rule, start, start + width) {
            let k = ln_k.exp();
            sum += shape.at(S::of(k)) * (weight * k.powi(3) * top_hat(k * radius).powi(2));
        }
    }
    (sum / (2.0 * std::f64::consts::PI.powi(2))).sqrt()
}

/// Fourier transform of a ball of unit radius over its volume: `3 (sin x - x cos x) / x^3`.
fn top_hat(x: f64) -> f64 {
    if x < 1e-3 { 1.0 - x * x / 10.0 } else { 3.0 * (x.sin() - x * x.cos()) / x.powi(3) }
}
