//! Transfer function of matter of Eisenstein & Hu (1998, ApJ 496, 605), with and without oscillations.

use crate::{Parameters, Scalar};

/// Numbers of the fit that do not depend on the wave number. Equation numbers are those of the paper.
#[derive(Debug, Clone)]
pub struct EisensteinHu<S> {
    omega_m_h2: S,
    baryon_fraction: S,
    h: S,
    theta2: S,
    k_silk: S,
    k_equality: S,
    sound_horizon: S,
    alpha_c: S,
    beta_c: S,
    alpha_b: S,
    beta_b: S,
    beta_node: S,
}

impl<S: Scalar> EisensteinHu<S> {
    /// Equations 2 to 24.
    pub fn new(p: &Parameters<S>) -> EisensteinHu<S> {
        let om = p.omega_m * p.h.powi(2);
        let ob = p.omega_b * p.h.powi(2);
        let fb = p.omega_b / p.omega_m;
        let fc = S::of(1.0) - fb;
        let theta = p.t_cmb / 2.7;
        let theta2 = theta.powi(2);
        let z_eq = om * 2.5e4 / theta.powi(4);
        let k_eq = om * 7.46e-2 / theta2;
        let b1 = om.powf(-0.419) * 0.313 * (om.powf(0.674) * 0.607 + 1.0);
        let b2 = om.powf(0.223) * 0.238;
        let z_drag = om.powf(0.251) * 1291.0 / (om.powf(0.828) * 0.659 + 1.0) * (b1 * ob.pow(b2) + 1.0);
        let momentum_ratio = |z: S| ob * 31.5 / theta.powi(4) / (z / 1e3);
        let (r_drag, r_eq) = (momentum_ratio(z_drag), momentum_ratio(z_eq));
        let sound_horizon = S::of(2.0) / (k_eq * 3.0)
            * (S::of(6.0) / r_eq).sqrt()
            * (((r_drag + 1.0).sqrt() + (r_drag + r_eq).sqrt()) / (r_eq.sqrt() + 1.0)).ln();
        let k_silk = ob.powf(0.52) * 1.6 * om.powf(0.73) * ((om * 10.4).powf(-0.95) + 1.0);
        let a1 = (om * 46.9).powf(0.670) * ((om * 32.1).powf(-0.532) + 1.0);
        let a2 = (om * 12.0).powf(0.424) * ((om * 45.0).powf(-0.582) + 1.0);
        let alpha_c = a1.pow(-fb) * a2.pow(-(fb.powi(3)));
        let c1 = S::of(0.944) / ((om * 458.0).powf(-0.708) + 1.0);
        let c2 = (om * 0.395).powf(-0.0266);
        let beta_c = S::of(1.0) / (c1 * (fc.pow(c2) - 1.0) + 1.0);
        let y = (z_eq + 1.0) / (z_drag + 1.0);
        let root = (y + 1.0).sqrt();
        let g = y * (root * -6.0 + (y * 3.0 + 2.0) * ((root + 1.0) / (root - 1.0)).ln());
        let alpha_b = k_eq * sound_horizon * 2.07 * (r_drag + 1.0).powf(-0.75) * g;
        let beta_b = fb + 0.5 + (fb * -2.0 + 3.0) * ((om * 17.2).powi(2) + 1.0).sqrt();
        let beta_node = om.powf(0.435) * 8.41;
        EisensteinHu {
            omega_m_h2: om,
            baryon_fraction: fb,
            h: p.h,
            theta2,
            k_silk,
            k_equality: k_eq,
            sound_horizon,
            alpha_c,
            beta_c,
            alpha_b,
            beta_b,
            beta_node,
        }
    }

    /// `T(k)` with oscillations at `k` \[h/Mpc\] (equations 10 and 16 to 24).
    pub fn with_wiggles(&self, k: S) -> S {
        let k = self.h * k;
        let q = k / (self.k_equality * 13.41);
        let ks = k * self.sound_horizon;
        let shape = |alpha: S, beta: S| {
            let log = (beta * q * 1.8 + std::f64::consts::E).ln();
            let c = S::of(14.2) / alpha + S::of(386.0) / (q.powf(1.08) * 69.9 + 1.0);
            log / (log + c * q * q)
        };
        let one = S::of(1.0);
        let f = one / ((ks / 5.4).powi(4) + 1.0);
        let cold = f * shape(one, self.beta_c) + (one - f) * shape(self.alpha_c, self.beta_c);
        let node = ks / ((self.beta_node / ks).powi(3) + 1.0).powf(1.0 / 3.0);
        let silk = (-(k / self.k_silk).powf(1.4)).exp();
        let baryons = (shape(one, one) / ((ks / 5.2).powi(2) + 1.0)
            + self.alpha_b / ((self.beta_b / ks).powi(3) + 1.0) * silk)
            * sinc(node);
        self.baryon_fraction * baryons + (one - self.baryon_fraction) * cold
    }

    /// `T(k)` without oscillations at `k` \[h/Mpc\] (equations 26 and 28 to 31).
    pub fn no_wiggle(&self, k: S) -> S {
        let (om, fb) = (self.omega_m_h2, self.baryon_fraction);
        let sound_horizon = (S::of(9.83) / om).ln() * 44.5 / ((om * fb).powf(0.75) * 10.0 + 1.0).sqrt();
        let alpha = S::of(1.0) - (om * 431.0).ln() * fb * 0.328 + (om * 22.3).ln() * fb * fb * 0.38;
        let k_mpc = self.h * k;
        let gamma = om * (alpha + (S::of(1.0) - alpha) / ((k_mpc * sound_horizon * 0.43).powi(4) + 1.0));
        let q = k_mpc * self.theta2 / gamma;
        let log = (q * 1.8 + 2.0 * std::f64::consts::E).ln();
        log / (log + (S::of(731.0) / (q * 62.5 + 1.0) + 14.2) * q * q)
    }
}

/// `sin(x) / x`.
fn sinc<S: Scalar>(x: S) -> S {
    let v = x.value();
    if v.abs() < 1e-4 {
        return x.chain(1.0 - v * v / 6.0, -v / 3.0);
    }
    x.chain(v.sin() / v, (v.cos() - v.sin() / v) / v)
}
