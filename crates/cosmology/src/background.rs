//! Expansion: the Hubble rate of a universe with matter, radiation, neutrinos, curvature and dark energy.

use crate::quadrature::{gauss_legendre, on_interval};
use crate::{Parameters, Scalar, Settings};

/// `c / H0` \[Mpc/h\].
pub const HUBBLE_DISTANCE: f64 = 2_997.924_58;

/// Photon density today over the critical one, times `h^2`, at 1 K: `4 sigma c^-3 8 pi G / (3 (100 km/s/Mpc)^2)`.
const PHOTONS_AT_ONE_KELVIN: f64 = 4.481_62e-7;

/// Neutrino over photon temperature for massive species, which gives `m / omega_nu h^2 = 93.14 eV` (Mangano et al. 2005).
const NEUTRINO_TEMPERATURE: f64 = 0.716_11;

/// How much of `n_eff` a massive species is early on: its temperature over that of a massless one, `(4 / 11)^(1/3)` of the photons', to the
/// fourth power.
pub(crate) const MASSIVE_SPECIES: f64 = 1.013_2;

/// `k_B` \[eV / K\].
const BOLTZMANN: f64 = 8.617_333e-5;

/// Momenta beyond which the neutrino distribution is empty, in temperatures.
const MOMENTUM_MAX: f64 = 36.0;

/// Densities today, in critical densities, and the expansion that follows.
#[derive(Debug, Clone)]
pub struct Background<S> {
    /// All matter.
    pub omega_m: S,
    /// Photons and massless neutrinos.
    pub omega_r: S,
    /// Curvature.
    pub omega_k: S,
    /// Dark energy.
    pub omega_de: S,
    w0: S,
    wa: S,
    /// Matter without massive neutrinos, if those are followed apart.
    omega_cb: S,
    neutrinos: Option<MassiveNeutrinos<S>>,
}

#[derive(Debug, Clone)]
struct MassiveNeutrinos<S> {
    /// `7/8 (T_nu/T)^4 Omega_gamma` of all massive species, were they massless.
    massless: S,
    /// Mass over temperature today.
    mass: S,
    nodes: Vec<(f64, f64)>,
}

impl<S: Scalar> MassiveNeutrinos<S> {
    /// Density and pressure over critical density today, at scale factor `a`.
    ///
    /// `rho ~ a^-4 int q^2 sqrt(q^2 + (a m)^2) / (e^q + 1) dq`, and likewise with `q^4 / 3 sqrt(...)` for the pressure.
    fn density_and_pressure(&self, a: f64) -> (S, S) {
        let mass2 = (self.mass * a).powi(2);
        let (mut density, mut pressure) = (S::of(0.0), S::of(0.0));
        for &(q, weight) in &self.nodes {
            let energy = (mass2 + q * q).sqrt();
            density += energy * (weight * q * q);
            pressure += S::of(weight * q.powi(4) / 3.0) / energy;
        }
        // int q^3 / (e^q + 1) dq
        let norm = 7.0 * std::f64::consts::PI.powi(4) / 120.0;
        let scale = self.massless / (norm * a.powi(4));
        (density * scale, pressure * scale)
    }
}

impl<S: Scalar> Background<S> {
    /// Densities from parameters.
    pub fn new(p: &Parameters<S>, settings: &Settings) -> Background<S> {
        let zero = S::of(0.0);
        let (mut omega_r, mut omega_cb, mut neutrinos) = (zero, p.omega_m, None);
        if settings.radiation {
            let photons = p.t_cmb.powi(4) * PHOTONS_AT_ONE_KELVIN / p.h.powi(2);
            let massive = f64::from(settings.massive_neutrinos);
            let per_species = 0.875 * NEUTRINO_TEMPERATURE.powi(4);
            let standard = 0.875 * (4.0f64 / 11.0).powf(4.0 / 3.0);
            let has_mass = massive > 0.0 && p.m_nu.value() > 0.0;
            let massless = if has_mass { p.n_eff - massive * per_species / standard } else { p.n_eff };
            omega_r = photons * (massless * standard + 1.0);
            if has_mass {
                let temperature = p.t_cmb * (NEUTRINO_TEMPERATURE * BOLTZMANN);
                let rule = gauss_legendre(64);
                let nodes = on_interval(&rule, 0.0, MOMENTUM_MAX).map(|(q, w)| (q, w / (q.exp() + 1.0)));
                let species = MassiveNeutrinos {
                    massless: photons * (massive * per_species),
                    mass: p.m_nu / (temperature * massive),
                    nodes: nodes.collect(),
                };
                omega_cb = p.omega_m - species.density_and_pressure(1.0).0;
                neutrinos = Some(species);
            }
        }
        let omega_de = S::of(1.0) - p.omega_m - p.omega_k - omega_r;
        let (omega_m, omega_k, w0, wa) = (p.omega_m, p.omega_k, p.w0, p.wa);
        Background { omega_m, omega_r, omega_k, omega_de, w0, wa, omega_cb, neutrinos }
    }

    /// Dark energy density over its value today: `a^{-3 (1 + w0 + wa)} e^{-3 wa (1 - a)}` (Linder 2003).
    fn dark_energy(&self, a: f64) -> S {
        ((self.w0 + self.wa + 1.0) * (-3.0 * a.ln()) - self.wa * (3.0 * (1.0 - a))).exp()
    }

    /// `E^2 = (H / H0)^2` and `dE^2 / dln a`.
    pub fn e2_and_slope(&self, a: f64) -> (S, S) {
        let (e2, slope, _) = self.e2_slope_and_clustering(a);
        (e2, slope)
    }

    /// The same, and the density of what falls into wells as matter does, times `a^3`: matter, and massive neutrinos as they slow down (`rho - 3 p`).
    pub(crate) fn e2_slope_and_clustering(&self, a: f64) -> (S, S, S) {
        let matter = self.omega_cb / a.powi(3);
        let radiation = self.omega_r / a.powi(4);
        let curvature = self.omega_k / a.powi(2);
        let dark = self.omega_de * self.dark_energy(a);
        let w = self.w0 + self.wa * (1.0 - a);
        let mut e2 = matter + radiation + curvature + dark;
        let mut slope = matter * -3.0 - radiation * 4.0 - curvature * 2.0 - dark * (w + 1.0) * 3.0;
        let mut clustering = self.omega_cb;
        if let Some(neutrinos) = &self.neutrinos {
            let (density, pressure) = neutrinos.density_and_pressure(a);
            e2 += density;
            slope = slope - (density + pressure) * 3.0;
            clustering += (density - pressure * 3.0) * a.powi(3);
        }
        (e2, slope, clustering)
    }

    /// `E = H / H0` at scale factor `a`.
    pub fn e(&self, a: f64) -> S {
        self.e2_and_slope(a).0.sqrt()
    }

    /// Matter density over the critical density at `a`.
    pub fn omega_m_at(&self, a: f64) -> S {
        self.omega_m / a.powi(3) / self.e2_and_slope(a).0
    }

    /// Dark energy density over the critical density at `a`.
    pub fn omega_de_at(&self, a: f64) -> S {
        self.omega_de * self.dark_energy(a) / self.e2_and_slope(a).0
    }

    /// Density of what is as fast as light early on, times `a^4`: photons, and all neutrinos.
    pub(crate) fn early_radiation(&self, a: f64) -> S {
        self.neutrinos
            .as_ref()
            .map_or(self.omega_r, |neutrinos| self.omega_r + neutrinos.density_and_pressure(a).0 * a.powi(4))
    }

    /// Equation of state of dark energy at `a`.
    pub fn w(&self, a: f64) -> S {
        self.w0 + self.wa * (1.0 - a)
    }
}
