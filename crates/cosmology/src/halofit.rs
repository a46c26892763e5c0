//! The non-linear power spectrum of matter: halofit as calibrated by Takahashi et al. (2012, ApJ 761, 152).

use crate::quadrature::{gauss_legendre, on_interval};
use crate::{Cosmology, Error, Result, Scalar};

/// Halofit at one time. Equation numbers are those of Takahashi et al. (2012), appendix.
#[derive(Debug, Clone)]
pub struct Halofit<S> {
    k_sigma: S,
    a_n: S,
    b_n: S,
    c_n: S,
    gamma_n: S,
    alpha_n: S,
    beta_n: S,
    nu_n: S,
    f1: S,
    f2: S,
    f3: S,
}

/// The three moments of the density field smoothed by a Gaussian that halofit is made of.
#[derive(Clone, Copy)]
struct Smoothed<S> {
    /// `sigma^2(R)`.
    variance: S,
    /// `dsigma^2 / dln R`.
    slope: S,
    /// `d^2 sigma^2 / dln R^2`.
    bend: S,
}

impl<S: Scalar> Halofit<S> {
    /// The coefficients at scale factor `a`.
    ///
    /// # Errors
    /// If the density is so smooth that no scale has collapsed: halofit has no meaning there.
    pub fn new(cosmology: &Cosmology<S>, a: f64) -> Result<Halofit<S>> {
        let nodes = linear_nodes(cosmology, a);
        let radius = nonlinear_radius(&nodes, a)?;
        let at = smoothed(&nodes, S::of(radius.exp()));
        // One Newton step with derivatives turns the root into a function of the parameters.
        let ln_r = S::of(radius) - (at.variance - 1.0) / at.slope.value();
        let at = smoothed(&nodes, ln_r.exp());
        let slope = at.slope / at.variance;
        let n = -slope - 3.0;
        let c = slope * slope - at.bend / at.variance;
        let background = cosmology.background();
        let (omega_m, omega_de) = (background.omega_m_at(a), background.omega_de_at(a));
        let w = omega_de * (background.w(a) + 1.0);
        let (n2, n3, n4) = (n * n, n.powi(3), n.powi(4));
        let ten = |x: S| (x * std::f64::consts::LN_10).exp();
        Ok(Halofit {
            k_sigma: (-ln_r).exp(),
            a_n: ten(n * 2.8553 + n2 * 2.3706 + n3 * 0.9903 + n4 * 0.2250 - c * 0.6038 + w * 0.1749 + 1.5222),
            b_n: ten(n * 0.5864 + n2 * 0.5716 - c * 1.5474 + w * 0.2279 - 0.5642),
            c_n: ten(n * 2.0404 + n2 * 0.8161 + c * 0.5869 + 0.3698),
            gamma_n: n * -0.0843 + c * 0.8460 + 0.1971,
            alpha_n: (n * 1.3373 - n2 * 0.1959 - c * 5.5274 + 6.0835).abs(),
            beta_n: n * -0.7354 + n2 * 0.3157 + n3 * 1.2490 + n4 * 0.3980 - c * 0.1682 + 2.0379,
            nu_n: ten(n * 3.6902 + 5.2105),
            f1: of_density(omega_m, omega_de, -0.0732, -0.0307),
            f2: of_density(omega_m, omega_de, -0.1423, -0.0585),
            f3: of_density(omega_m, omega_de, 0.0725, 0.0743),
        })
    }

    /// Non-linear power from the linear power at the same `k` \[h/Mpc\] and time, in the same unit (equations A1 to A3).
    pub fn power(&self, k: S, linear: S) -> S {
        let unit = k.powi(3) / (2.0 * std::f64::consts::PI.powi(2));
        let delta2 = linear * unit;
        let y = k / self.k_sigma;
        let quasi = delta2 * (delta2 + 1.0).pow(self.beta_n) / (self.alpha_n * delta2 + 1.0)
            * (-(y / 4.0) - y * y / 8.0).exp();
        let halo = self.a_n * y.pow(self.f1 * 3.0)
            / (self.b_n * y.pow(self.f2) + (self.c_n * self.f3 * y).pow(S::of(3.0) - self.gamma_n) + 1.0)
            / (self.nu_n / (y * y) + 1.0);
        (quasi + halo) / unit
    }
}

/// A power of the matter density: that of open universes without dark energy and that of flat ones (Smith et al. 2003, equations C17 and C18),
/// and between them as much of the latter as dark energy has of what is not matter, as CAMB does. It is smooth where all is matter.
fn of_density<S: Scalar>(omega_m: S, omega_de: S, open: f64, flat: f64) -> S {
    let rest = S::of(1.0) - omega_m;
    // (omega_m^flat - omega_m^open) / (1 - omega_m)
    let slope = if rest.value().abs() < 1e-4 {
        rest * (0.5 * (flat * (flat - 1.0) - open * (open - 1.0))) + (open - flat)
    } else {
        (omega_m.powf(flat) - omega_m.powf(open)) / rest
    };
    omega_m.powf(open) + omega_de * slope
}

/// `(k, Delta^2(k) dln k)` at the nodes of a quadrature in `ln k`.
fn linear_nodes<S: Scalar>(cosmology: &Cosmology<S>, a: f64) -> Vec<(f64, S)> {
    let growth2 = cosmology.instant(a).d1.d.powi(2);
    let rule = gauss_legendre(8);
    let (from, to, panels) = ((1e-4f64).ln(), (1e4f64).ln(), 60);
    let width = (to - from) / f64::from(panels);
    let panel = |i: i32| {
        on_interval(&rule, from + width * f64::from(i), from + width * f64::from(i + 1)).collect::<Vec<_>>()
    };
    (0..panels)
        .flat_map(panel)
        .map(|(ln_k, weight)| {
            let k = ln_k.exp();
            let scale = weight * k.powi(3) / (2.0 * std::f64::consts::PI.powi(2));
            (k, cosmology.linear().power(k) * growth2 * scale)
        })
        .collect()
}

/// `sigma^2(R) = int dln k Delta^2 exp(-k^2 R^2)` and its derivatives (equation A4).
fn smoothed<S: Scalar>(nodes: &[(f64, S)], radius: S) -> Smoothed<S> {
    let zero = S::of(0.0);
    let mut sum = Smoothed { variance: zero, slope: zero, bend: zero };
    for &(k, power) in nodes {
        let x2 = (radius * k).powi(2);
        if x2.value() < 700.0 {
            let term = power * (-x2).exp();
            sum.variance += term;
            sum.slope += term * x2 * -2.0;
            sum.bend += term * x2 * (x2 * 4.0 - 4.0);
        }
    }
    sum
}

/// `ln R` at which `sigma(R) = 1`, by bisection.
fn nonlinear_radius<S: Scalar>(nodes: &[(f64, S)], a: f64) -> Result<f64> {
    let plain: Vec<(f64, f64)> = nodes.iter().map(|&(k, p)| (k, p.value())).collect();
    let (mut low, mut high) = ((1e-3f64).ln(), (1e2f64).ln());
    let excess = |ln_r: f64| smoothed(&plain, ln_r.exp()).variance - 1.0;
    if !(excess(low) > 0.0 && excess(high) < 0.0) {
        let expected =
            "halofit needs a time at which structure between 0.001 and 100 Mpc/h has collapsed".into();
        return Err(Error::Range { what: "scale factor of halofit", value: a, expected });
    }
    while high - low > 1e-13 {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 {
            low = middle
        } else {
            high = middle
        }
        if middle == low && middle == high {
            break;
        }
    }
    Ok(0.5 * (low + high))
}
