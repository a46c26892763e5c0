//! Sharpening of what a coarse mesh has smoothed: particle gradient descent (Dai, Feng & Seljak 2018).

use crate::{Error, Result};

/// Names of the parameters of a [`Sharpening`], as they are called where they are free.
pub const SHARPENING_PARAMETERS: [&str; 4] = ["pgd_alpha", "pgd_mu", "pgd_kl", "pgd_ks"];

/// Particles are moved by `alpha a^mu` times the gravity of the density between two scales,
///
/// ```text
/// S(k) = alpha a^mu  i k / k^2  exp(-kl^2 / k^2) exp(-k^4 / ks^4)  delta(k)
/// ```
///
/// (Dai, Feng & Seljak 2018, equations 6 to 8): into the halos that a mesh cannot resolve. Only what is seen is moved; the
/// simulation goes on as if nothing had happened. Power is mended by it, phases are not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharpening {
    /// Share `alpha` of the gravity today.
    pub alpha: f64,
    /// Power `mu` of the scale factor.
    pub mu: f64,
    /// Wave number `kl` \[h/Mpc\] below which nothing is moved.
    pub kl: f64,
    /// Wave number `ks` \[h/Mpc\] above which nothing is moved.
    pub ks: f64,
}

impl Sharpening {
    /// From values in the order of [`SHARPENING_PARAMETERS`].
    pub fn from_array([alpha, mu, kl, ks]: [f64; 4]) -> Sharpening {
        Sharpening { alpha, mu, kl, ks }
    }

    /// The values in the order of [`SHARPENING_PARAMETERS`].
    pub fn to_array(self) -> [f64; 4] {
        [self.alpha, self.mu, self.kl, self.ks]
    }

    /// `alpha a^mu`.
    pub fn share(&self, a: f64) -> f64 {
        self.alpha * a.powf(self.mu)
    }

    /// Refuses values without meaning.
    ///
    /// # Errors
    /// With the value.
    pub fn check(&self) -> Result<()> {
        let scales = self.kl >= 0.0 && self.ks > 0.0 && self.kl.is_finite() && self.ks.is_finite();
        // Beyond the whole of gravity particles would fly through each other.
        if scales && self.alpha.abs() <= 10.0 && self.mu.abs() <= 10.0 {
            return Ok(());
        }
        Err(Error::Setting(format!(
            "sharpening needs alpha and mu between -10 and 10, kl of at least 0 and positive ks [h/Mpc], not {} {} {} {}",
            self.alpha, self.mu, self.kl, self.ks
        )))
    }

    /// The band of scales that moves particles.
    pub(crate) fn band(&self, kind: BandKind) -> Band {
        Band { kl: self.kl, ks: self.ks, kind }
    }
}

/// A factor of every mode of the density.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    kl: f64,
    ks: f64,
    kind: BandKind,
}

/// The band itself, or its derivative by one of its scales.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BandKind {
    Value,
    ByLarge,
    BySmall,
}

impl Band {
    /// The factor at a squared wave number.
    #[inline]
    pub(crate) fn at(&self, k2: f64) -> f64 {
        let (large, small) = (self.kl * self.kl / k2, (k2 / (self.ks * self.ks)).powi(2));
        let value = (-large - small).exp();
        match self.kind {
            BandKind::Value => value,
            BandKind::ByLarge => value * (-2.0 * self.kl / k2),
            BandKind::BySmall => value * (4.0 * small / self.ks),
        }
    }
}
