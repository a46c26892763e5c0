//! Weak lensing by large-scale structure: efficiencies of sources, and the spectrum of the convergence.

use crate::quadrature::{gauss_legendre, on_interval};
use crate::{Cosmology, Error, HUBBLE_DISTANCE, Result, Scalar, Tracer, limber_spectrum};

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
            Sources::Plane(z) if !(*z > 0.0 && *z < 1e4) => wrong(*z, "it must be above 0 and below 10000"),
            Sources::Plane(_) => Ok(()),
            Sources::Distribution { redshift, density } => {
                let count = |what, value: usize, expected: String| {
                    Err(Error::Range { what, value: value as f64, expected })
                };
                if redshift.len() < 2 {
                    return count("number of rows of n(z)", redshift.len(), "it must be 2 or more".into());
                }
                if redshift.len() != density.len() {
                    let expected = format!("there are {} redshifts", redshift.len());
                    return count("number of densities of n(z)", density.len(), expected);
                }
                if let Some(z) = redshift.iter().find(|z| !(**z >= 0.0 && **z < 1e4)) {
                    return wrong(*z, "redshifts of n(z) must lie between 0 and 10000");
                }
                if let Some(pair) = redshift.windows(2).find(|z| z[0] >= z[1]) {
                    return wrong(pair[1], "redshifts of n(z) must rise");
                }
                let density_is = |value: f64, expected: &str| {
                    Err(Error::Range { what: "density of n(z)", value, expected: expected.into() })
                };
                if let Some(n) = density.iter().find(|n| !(n.is_finite() && **n >= 0.0)) {
                    return density_is(*n, "it must be zero or positive");
                }
                if density.iter().all(|n| *n == 0.0) {
                    return density_is(0.0, "not all may be zero");
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

    /// `n(z)` at a redshift, normalised; zero for a plane, which has none.
    pub fn number<S: Scalar>(&self, z: S) -> S {
        let inside = |(ends, _): &([f64; 2], [f64; 2])| (ends[0]..ends[1]).contains(&z.value());
        self.pieces()
            .into_iter()
            .find(inside)
            .map_or(S::of(0.0), |(ends, n)| (z - ends[0]) * ((n[1] - n[0]) / (ends[1] - ends[0])) + n[0])
    }

    /// Refuses an `n(z)` that ends with a jump: a weight that follows it would jump in distance when the cosmology changes.
    ///
    /// # Errors
    /// With the number at the end.
    pub(crate) fn check_ends(&self) -> Result<()> {
        let Sources::Distribution { redshift, density } = self else { return Ok(()) };
        let small = 1e-3 * density.iter().copied().fold(0.0, f64::max);
        // At redshift zero there is nobody.
        let first = if redshift[0] > 0.0 { density[0] } else { 0.0 };
        let jump = first.max(density[density.len() - 1]);
        if jump <= small {
            return Ok(());
        }
        let expected = "begin and end n(z) at zero (add a redshift with the number 0): galaxies must not end with a jump";
        Err(Error::Range { what: "number at an end of n(z)", value: jump, expected: expected.into() })
    }

    /// Redshifts between which `n(z)` is straight; none of a plane.
    pub(crate) fn bends(&self) -> &[f64] {
        match self {
            Sources::Plane(_) => &[],
            Sources::Distribution { redshift, .. } => redshift,
        }
    }

    /// The straight pieces of `n(z)`, normalised: redshifts and values at their ends.
    fn pieces(&self) -> Vec<([f64; 2], [f64; 2])> {
        let Sources::Distribution { redshift, density } = self else { return Vec::new() };
        let pairs = || redshift.windows(2).zip(density.windows(2));
        let total: f64 = pairs().map(|(z, n)| 0.5 * (z[1] - z[0]) * (n[0] + n[1])).sum();
        pairs().map(|(z, n)| ([z[0], z[1]], [n[0] / total, n[1] / total])).collect()
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

/// The lensing efficiency of one set of sources, as a function of the distance; see [`lensing_efficiency`].
pub struct Efficiency<'a, S: Scalar> {
    cosmology: &'a Cosmology<S>,
    kind: Kind<S>,
}

/// Distance, transverse distance and weight of a source plane.
type Plane<S> = (S, S, f64);

/// Redshifts and `n(z)` at the ends of a piece, and its planes.
type Piece<S> = ([f64; 2], [f64; 2], Vec<Plane<S>>);

enum Kind<S> {
    Plane(Plane<S>),
    /// The pieces of `n(z)`, each with its planes of a Gauss-Legendre rule.
    Distribution(Vec<Piece<S>>),
}

/// Nodes in a piece of `n(z)`.
const NODES: usize = 6;

impl<'a, S: Scalar> Efficiency<'a, S> {
    /// Prepares the sources.
    ///
    /// # Errors
    /// If one is out of range.
    pub fn new(cosmology: &'a Cosmology<S>, sources: &Sources) -> Result<Efficiency<'a, S>> {
        sources.check()?;
        let history = cosmology.history();
        let plane = |z: f64, weight: f64| {
            let chi = history.distance(1.0 / (1.0 + z));
            (chi, history.transverse(chi), weight)
        };
        let rule = gauss_legendre(NODES);
        let kind = match sources {
            Sources::Plane(z) => Kind::Plane(plane(*z, 1.0)),
            Sources::Distribution { .. } => {
                let pieces = sources.pieces().into_iter().map(|(z, n)| {
                    let planes = on_interval(&rule, z[0], z[1]).map(|(at, weight)| {
                        plane(at, weight * (n[0] + (at - z[0]) / (z[1] - z[0]) * (n[1] - n[0])))
                    });
                    (z, n, planes.collect())
                });
                Kind::Distribution(pieces.collect())
            }
        };
        Ok(Efficiency { cosmology, kind })
    }

    /// `W` \[h/Mpc\] at distance `chi` \[Mpc/h\], where the scale factor is `a`.
    pub fn at(&self, chi: S, a: S) -> S {
        if chi.value() >= self.ends_at() { S::of(0.0) } else { self.continued(chi, a) }
    }

    /// The same without the end of a source plane: `W` goes on below zero behind it, so that it is smooth there.
    pub fn continued(&self, chi: S, a: S) -> S {
        let history = self.cosmology.history();
        let seen =
            |(source, transverse, weight): Plane<S>| history.transverse(source - chi) / transverse * weight;
        let share = match &self.kind {
            Kind::Plane(plane) => seen(*plane),
            Kind::Distribution(pieces) => {
                let z = S::of(1.0) / a - 1.0;
                let mut share = S::of(0.0);
                for (ends, n, planes) in pieces {
                    if z.value() <= ends[0] {
                        share += planes.iter().map(|plane| seen(*plane)).sum();
                    } else if z.value() < ends[1] {
                        share += self.behind(chi, z, *ends, *n);
                    }
                }
                share
            }
        };
        let prefactor = self.cosmology.background().omega_m * (1.5 / HUBBLE_DISTANCE.powi(2));
        prefactor * history.transverse(chi) * share / a
    }

    /// The part of a piece of `n(z)` behind redshift `z`, on nodes that move with `z`.
    fn behind(&self, chi: S, z: S, ends: [f64; 2], n: [f64; 2]) -> S {
        let history = self.cosmology.history();
        let width = S::of(ends[1]) - z;
        gauss_legendre(NODES)
            .into_iter()
            .map(|(x, weight)| {
                let at = z + width * (0.5 * (1.0 + x));
                let number = (at - ends[0]) * ((n[1] - n[0]) / (ends[1] - ends[0])) + n[0];
                let a = S::of(1.0) / (at + 1.0);
                // The distance at a scale factor that itself depends on the parameters.
                let slope = S::of(-HUBBLE_DISTANCE / a.value()) / self.cosmology.background().e(a.value());
                let source = history.distance(a.value()) + slope * ((a - a.value()) / a.value());
                number * width * (0.5 * weight) * history.transverse(source - chi)
                    / history.transverse(source)
            })
            .sum()
    }

    /// Distance of a source plane \[Mpc/h\], behind which nothing is lensed; infinite for a distribution, whose efficiency
    /// ends smoothly.
    pub fn ends_at(&self) -> f64 {
        match &self.kind {
            Kind::Plane((chi, ..)) => chi.value(),
            Kind::Distribution(_) => f64::INFINITY,
        }
    }
}

/// Angular power spectrum of the convergence between two sets of sources in Limber's approximation (LoVerde & Afshordi
/// 2008), see [`limber_spectrum`], with `P` from halofit or linear theory.
///
/// # Errors
/// If a source is out of range, or halofit has no meaning for this cosmology.
pub fn convergence_spectrum<S: Scalar>(
    cosmology: &Cosmology<S>,
    sources: (&Sources, &Sources),
    multipoles: &[f64],
    nonlinear: bool,
) -> Result<Vec<S>> {
    let tracer = |sources: &Sources| Tracer::convergence(sources.clone());
    limber_spectrum(cosmology, (&tracer(sources.0), &tracer(sources.1)), multipoles, nonlinear)
}
