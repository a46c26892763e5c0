//! Weak lensing by large-scale structure: efficiencies of sources, and the spectrum of the convergence.

use crate::quadrature::{gauss_legendre, on_interval};
use crate::{Cosmology, Error, HUBBLE_DISTANCE, Halofit, Result, Scalar};

/// Where the lensed galaxies are.
#[derive(Debug, Clone, PartialEq)]
pub enum Sources {
    /// All at one redshift.
    Plane(f64),
    /// Numbers of galaxies per redshift interval at rising redshifts, in any unit; linear in between.
    Distribution {
        /// Redshifts.
        redshift: Vec<f64>,
        /// `n(z)` in any unit.
        density: Vec<f64>,
    },
}

impl Sources {
    /// Refuses redshifts and numbers that mean nothing.
    ///
    /// # Errors
    /// With the number that is wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = |value: f64, expected: &str| {
            Err(Error::Range { what: "source redshift", value, expected: expected.to_string() })
        };
        match self {
            Sources::Plane(z) if !(*z > 0.0 && *z < 1e4) => wrong(*z, "it must lie between 0 and 10000"),
            Sources::Plane(_) => Ok(()),
            Sources::Distribution { redshift, density } => {
                if redshift.len() < 2 || redshift.len() != density.len() {
                    return wrong(
                        redshift.len() as f64,
                        "n(z) needs two or more redshifts, each with a number",
                    );
                }
                if let Some(z) = redshift.iter().find(|z| !(**z >= 0.0 && **z < 1e4)) {
                    return wrong(*z, "redshifts of n(z) must lie between 0 and 10000");
                }
                if let Some(pair) = redshift.windows(2).find(|z| z[0] >= z[1]) {
                    return wrong(pair[1], "redshifts of n(z) must rise");
                }
                if density.iter().any(|n| !(n.is_finite() && *n >= 0.0)) || density.iter().all(|n| *n == 0.0)
                {
                    return wrong(f64::NAN, "numbers in n(z) must be zero or positive, and not all zero");
                }
                Ok(())
            }
        }
    }

    /// Redshift beyond which there is no source.
    pub fn farthest(&self) -> f64 {
        match self {
            Sources::Plane(z) => *z,
            Sources::Distribution { redshift, .. } => redshift[redshift.len() - 1],
        }
    }

    /// Redshifts and weights that sum to one: a quadrature of `n(z)`, exact for its straight pieces.
    fn nodes(&self) -> Vec<(f64, f64)> {
        match self {
            Sources::Plane(z) => vec![(*z, 1.0)],
            Sources::Distribution { redshift, density } => {
                let rule = gauss_legendre(4);
                let mut nodes = Vec::new();
                for (z, n) in redshift.windows(2).zip(density.windows(2)) {
                    for (at, weight) in on_interval(&rule, z[0], z[1]) {
                        let t = (at - z[0]) / (z[1] - z[0]);
                        nodes.push((at, weight * (n[0] + t * (n[1] - n[0]))));
                    }
                }
                let total: f64 = nodes.iter().map(|(_, weight)| weight).sum();
                nodes.iter().map(|(z, weight)| (*z, weight / total)).collect()
            }
        }
    }
}

/// Lensing efficiency at each distance `chi` \[Mpc/h\]: the convergence is `int W(chi) delta dchi` with
/// `W = 3/2 omega_m (H0/c)^2 (1 + z) r(chi) int dz n(z) r(chi_s - chi) / r(chi_s)` \[h/Mpc\]
/// (Bartelmann & Schneider 2001, section 6), where `r` is the transverse distance.
///
/// # Errors
/// If a source or a distance is out of range.
pub fn lensing_efficiency<S: Scalar>(
    cosmology: &Cosmology<S>,
    sources: &Sources,
    distances: &[f64],
) -> Result<Vec<S>> {
    let efficiency = Efficiency::new(cosmology, sources)?;
    distances
        .iter()
        .map(|&chi| Ok(efficiency.at(S::of(chi), cosmology.history().scale_factor_at(chi)?)))
        .collect()
}

/// The lensing efficiency of one set of sources, as a function of the distance.
struct Efficiency<'a, S: Scalar> {
    cosmology: &'a Cosmology<S>,
    /// Distance, transverse distance and weight of every source plane.
    planes: Vec<(S, S, f64)>,
}

impl<'a, S: Scalar> Efficiency<'a, S> {
    fn new(cosmology: &'a Cosmology<S>, sources: &Sources) -> Result<Efficiency<'a, S>> {
        sources.check()?;
        let history = cosmology.history();
        let plane = |(z, weight): (f64, f64)| {
            let chi = history.distance(1.0 / (1.0 + z));
            (chi, history.transverse(chi), weight)
        };
        Ok(Efficiency { cosmology, planes: sources.nodes().into_iter().map(plane).collect() })
    }

    /// `W` at distance `chi`, where the scale factor is `a`.
    fn at(&self, chi: S, a: S) -> S {
        let history = self.cosmology.history();
        let behind = self.planes.iter().filter(|(source, ..)| source.value() > chi.value());
        let share: S = behind
            .map(|&(source, transverse, weight)| history.transverse(source - chi) / transverse * weight)
            .sum();
        let prefactor = self.cosmology.background().omega_m * (1.5 / HUBBLE_DISTANCE.powi(2));
        prefactor * history.transverse(chi) * share / a
    }
}

/// Angular power spectrum of the convergence between two sets of sources in Limber's approximation (LoVerde & Afshordi
/// 2008): `C_l = [l (l+1) / (l+1/2)^2]^2 int dchi W_i W_j / r^2 P((l + 1/2) / r, z)`, with `P` from halofit or linear theory.
///
/// # Errors
/// If a source is out of range, or halofit has no meaning for this cosmology.
pub fn convergence_spectrum<S: Scalar>(
    cosmology: &Cosmology<S>,
    sources: (&Sources, &Sources),
    multipoles: &[f64],
    nonlinear: bool,
) -> Result<Vec<S>> {
    let efficiency = (Efficiency::new(cosmology, sources.0)?, Efficiency::new(cosmology, sources.1)?);
    let history = cosmology.history();
    let farthest = history.distance(1.0 / (1.0 + sources.0.farthest().min(sources.1.farthest())));
    // Slices of equal power of the distance, at fixed scale factors: the redshift of a source is given, its distance
    // is not.
    let rule = gauss_legendre(8);
    let panels = 24;
    let edge = |i: i32| {
        let chi = farthest.value() * (f64::from(i) / f64::from(panels)).powf(1.5);
        history.scale_factor_at(chi).map(|a| a.value().ln())
    };
    let mut slices = Vec::new();
    for i in 0..panels {
        for (ln_a, weight) in on_interval(&rule, edge(i + 1)?, edge(i)?) {
            let a = ln_a.exp();
            let chi = history.distance(a);
            let width = S::of(HUBBLE_DISTANCE * weight / a) / cosmology.background().e(a);
            let r = history.transverse(chi);
            let both = efficiency.0.at(chi, S::of(a)) * efficiency.1.at(chi, S::of(a));
            // Where nothing has collapsed yet, halofit is linear theory.
            let halofit = if nonlinear { Halofit::new(cosmology, a).ok() } else { None };
            let growth2 = cosmology.instant(a).d1.d.powi(2);
            slices.push((r, width * both / (r * r), growth2, halofit));
        }
    }
    Ok(multipoles
        .iter()
        .map(|&l| {
            let sum: S = slices
                .iter()
                .map(|(r, weight, growth2, halofit)| {
                    let k = S::of(l + 0.5) / *r;
                    let linear = cosmology.linear().power_at(k) * *growth2;
                    let power = halofit.as_ref().map_or(linear, |halofit| halofit.power(k, linear));
                    power * *weight
                })
                .sum();
            sum * (l * (l + 1.0) / (l + 0.5).powi(2)).powi(2)
        })
        .collect())
}
