//! What a map of the sky shows of the matter along the line of sight, as a weight of distance; and its spectrum.

use crate::quadrature::{gauss_legendre, on_interval};
use crate::{Cosmology, Efficiency, Error, HUBBLE_DISTANCE, Halofit, Result, Scalar, Sources};

/// `C1 rho_crit` of intrinsic alignments: `5e-14 (Mpc/h)^3 / (M_sun/h)` (Bridle & King 2007) times the critical density
/// `2.7754e11 (M_sun/h) / (Mpc/h)^3`.
const C1_CRITICAL_DENSITY: f64 = 5e-14 * 2.7754e11;

/// Intrinsic alignments of the sources with the tidal field (Hirata & Seljak 2004; Bridle & King 2007): they add
/// `-A C1 rho_crit omega_m D(1)/D(a) ((1 + z) / (1 + pivot))^slope n(z) dz/dchi` to the weight of the density.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Amplitude `A`.
    pub amplitude: f64,
    /// Power of `1 + z`.
    pub slope: f64,
    /// Redshift at which the power is one.
    pub pivot: f64,
}

/// How many galaxies a piece of matter stands for: `1 + b1 D delta + b2 / 2 D^2 (delta^2 - <delta^2>)`, with the linear density
/// `delta` where it began (at `D1 = 1`, in Lagrangian space) and the growth `D` when it is seen (Desjacques, Jeong & Schmidt
/// 2018, section 2.2). Linear bias of what is seen is `1 + b1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bias {
    /// Linear bias in Lagrangian space.
    pub b1: f64,
    /// Quadratic bias in Lagrangian space.
    pub b2: f64,
}

impl Bias {
    /// Linear bias of what is seen (Eulerian).
    pub fn linear(&self) -> f64 {
        1.0 + self.b1
    }

    /// Refuses what is not finite.
    ///
    /// # Errors
    /// With the number.
    pub fn check(&self) -> Result<()> {
        match [self.b1, self.b2].into_iter().find(|b| !b.is_finite()) {
            None => Ok(()),
            Some(value) => Err(Error::Range { what: "bias", value, expected: "it must be finite".into() }),
        }
    }
}

/// A map `int W(chi) delta dchi` of the density contrast.
#[derive(Debug, Clone, PartialEq)]
pub enum Tracer {
    /// Convergence of sources, and of their alignment where it is given, which needs a distribution.
    Convergence {
        /// Where the galaxies are.
        sources: Sources,
        /// How they are aligned.
        alignment: Option<Alignment>,
    },
    /// Mean density contrast between two distances \[Mpc/h\]: `W = chi^2 w / int chi^2 w dchi`, with a window `w` whose
    /// edges have the width `edge`. Neighbouring shells with the same edge share what lies between them.
    Shell {
        /// Distance of the near edge.
        near: f64,
        /// Distance of the far edge.
        far: f64,
        /// Width of the edges.
        edge: f64,
    },
    /// Density contrast of galaxies on the sky: `W = n(z) dz/dchi` times their bias.
    Galaxies {
        /// Where the galaxies are: a distribution.
        sources: Sources,
        /// How they follow matter.
        bias: Bias,
        /// Whether velocities along the line of sight move them through `n(z)` (Kaiser 1987).
        redshift_space: bool,
    },
    /// A lens plane between two distances \[Mpc/h\]: `W = 3/2 omega_m (H0/c)^2 (1 + z) r(chi) w`, such that the Born
    /// convergence is the sum of planes, each times `r(chi_s - chi_plane) / r(chi_s)`. The window `w` has edges of the width
    /// `edge`, except where it begins at the observer; that of the `last` plane lies in front of its end.
    Plane {
        /// Distance of the near edge.
        near: f64,
        /// Distance of the far edge.
        far: f64,
        /// Width of the edges.
        edge: f64,
        /// Whether nothing lies behind it.
        last: bool,
    },
}

impl Tracer {
    /// The convergence of sources that are not aligned.
    pub fn convergence(sources: Sources) -> Tracer {
        Tracer::Convergence { sources, alignment: None }
    }

    /// Refuses what means nothing.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = |what, value: f64, expected: &str| {
            Err(Error::Range { what, value, expected: expected.to_string() })
        };
        match self {
            Tracer::Convergence { sources, alignment } => {
                sources.check()?;
                let Some(Alignment { amplitude, slope, pivot }) = *alignment else { return Ok(()) };
                if matches!(sources, Sources::Plane(_)) {
                    let expected = "galaxies in one plane have no density to align with; give n(z)";
                    return wrong("intrinsic alignment", amplitude, expected);
                }
                if !(amplitude.is_finite() && slope.is_finite() && pivot > -1.0 && pivot.is_finite()) {
                    let expected = "amplitude, slope and pivot must be finite";
                    return wrong("intrinsic alignment", amplitude, expected);
                }
                sources.check_ends()
            }
            Tracer::Galaxies { sources, bias, .. } => {
                if let Sources::Plane(z) = sources {
                    return wrong(
                        "redshift of galaxies",
                        *z,
                        "counted galaxies are not in one plane; give n(z)",
                    );
                }
                bias.check()?;
                sources.check()?;
                sources.check_ends()
            }
            &Tracer::Plane { near, far, edge, .. } => {
                if !(near >= 0.0 && far > near && far.is_finite() && edge > 0.0 && edge <= far - near) {
                    return wrong(
                        "lens plane",
                        near,
                        "its distances must rise, its edges be thinner than it",
                    );
                }
                Ok(())
            }
            &Tracer::Shell { near, far, edge } => {
                if !(near > 0.0 && far > near && far.is_finite()) {
                    return wrong("shell", near, "its distances must be positive and rise [Mpc/h]");
                }
                if !(edge > 0.0 && edge <= far - near && near > 0.5 * edge) {
                    return wrong(
                        "edge of a shell",
                        edge,
                        "it must be positive, at most the shell's thickness, and its near edge must lie in front of us",
                    );
                }
                Ok(())
            }
        }
    }

    /// Distance in front of which nothing counts \[Mpc/h\].
    fn nearest<S: Scalar>(&self, cosmology: &Cosmology<S>) -> f64 {
        match self {
            Tracer::Convergence { .. } => 0.0,
            Tracer::Galaxies { sources, .. } => {
                let first = sources.bends().first().copied().unwrap_or(0.0);
                cosmology.history().distance(1.0 / (1.0 + first)).value()
            }
            Tracer::Shell { near, edge, .. } | Tracer::Plane { near, edge, .. } => {
                (near - 0.5 * edge).max(0.0)
            }
        }
    }

    /// Distance beyond which nothing counts \[Mpc/h\].
    pub fn farthest<S: Scalar>(&self, cosmology: &Cosmology<S>) -> S {
        match self {
            Tracer::Convergence { sources, .. } | Tracer::Galaxies { sources, .. } => {
                cosmology.history().distance(1.0 / (1.0 + sources.farthest()))
            }
            Tracer::Shell { far, edge, .. } | Tracer::Plane { far, edge, last: false, .. } => {
                S::of(far + 0.5 * edge)
            }
            Tracer::Plane { far, .. } => S::of(*far),
        }
    }

    /// Linear bias of what is seen: that of galaxies, and one of all else.
    pub fn linear_bias(&self) -> f64 {
        match self {
            Tracer::Galaxies { bias, .. } => bias.linear(),
            _ => 1.0,
        }
    }

    /// Redshifts at which the weight has a bend.
    fn bends(&self) -> &[f64] {
        match self {
            Tracer::Galaxies { sources, .. } | Tracer::Convergence { sources, alignment: Some(_) } => {
                sources.bends()
            }
            _ => &[],
        }
    }

    /// Whether it shows a change of light paths: second derivatives of a potential on the sky.
    fn is_lensing(&self) -> bool {
        matches!(self, Tracer::Convergence { .. } | Tracer::Plane { .. })
    }
}

/// `6 t^5 - 15 t^4 + 10 t^3` between 0 and 1: a step with two continuous derivatives.
pub fn smooth_step<S: Scalar>(t: S) -> S {
    match t.value() {
        v if v <= 0.0 => S::of(0.0),
        v if v >= 1.0 => S::of(1.0),
        _ => t.powi(3) * ((t * 6.0 - 15.0) * t + 10.0),
    }
}

/// The weight `W` of a tracer as a function of distance, bias left out.
pub struct Kernel<'a, S: Scalar> {
    cosmology: &'a Cosmology<S>,
    kind: Kind<'a, S>,
}

enum Kind<'a, S: Scalar> {
    Convergence(Efficiency<'a, S>, Option<(Sources, Alignment)>),
    /// Edges and `1 / int chi^2 w dchi`.
    Shell {
        near: f64,
        far: f64,
        edge: f64,
        norm: S,
    },
    Galaxies(Sources),
    Plane {
        near: f64,
        far: f64,
        edge: f64,
        last: bool,
    },
}

impl<'a, S: Scalar> Kernel<'a, S> {
    /// Prepares the weight.
    ///
    /// # Errors
    /// If the tracer is out of range.
    pub fn new(cosmology: &'a Cosmology<S>, tracer: &Tracer) -> Result<Kernel<'a, S>> {
        tracer.check()?;
        let kind = match tracer {
            Tracer::Convergence { sources, alignment } => Kind::Convergence(
                Efficiency::new(cosmology, sources)?,
                alignment.map(|alignment| (sources.clone(), alignment)),
            ),
            &Tracer::Shell { near, far, edge } => {
                let history = cosmology.history();
                let window = |chi: f64| {
                    let chi = S::of(chi);
                    history.transverse(chi).powi(2) * shell(chi, near, far, edge)
                };
                let rule = gauss_legendre(16);
                let half = 0.5 * edge;
                let pieces =
                    [(near - half, near + half), (near + half, far - half), (far - half, far + half)];
                let integral: S = pieces
                    .into_iter()
                    .flat_map(|(from, to)| on_interval(&rule, from, to).map(|(x, weight)| window(x) * weight))
                    .sum();
                Kind::Shell { near, far, edge, norm: S::of(1.0) / integral }
            }
            Tracer::Galaxies { sources, .. } => Kind::Galaxies(sources.clone()),
            &Tracer::Plane { near, far, edge, last } => Kind::Plane { near, far, edge, last },
        };
        Ok(Kernel { cosmology, kind })
    }

    /// `W` \[h/Mpc\] at distance `chi` \[Mpc/h\], where the scale factor is `a`.
    pub fn at(&self, chi: S, a: S) -> S {
        if chi.value() >= self.ends_at() { S::of(0.0) } else { self.continued(chi, a) }
    }

    /// The same without the end of a source plane: `W` goes on below zero behind it, so that it is smooth there.
    pub fn continued(&self, chi: S, a: S) -> S {
        match &self.kind {
            Kind::Convergence(efficiency, None) => efficiency.continued(chi, a),
            Kind::Convergence(efficiency, Some((sources, alignment))) => {
                efficiency.continued(chi, a) + self.aligned(sources, alignment, a)
            }
            &Kind::Shell { near, far, edge, norm } => {
                self.cosmology.history().transverse(chi).powi(2) * shell(chi, near, far, edge) * norm
            }
            Kind::Galaxies(sources) => self.number(sources, a),
            &Kind::Plane { near, far, edge, last } => {
                let begun = if near > 0.0 { smooth_step((chi - near) / edge + 0.5) } else { S::of(1.0) };
                let ended = smooth_step((chi - far) / edge + if last { 1.0 } else { 0.5 });
                let prefactor = self.cosmology.background().omega_m * (1.5 / HUBBLE_DISTANCE.powi(2));
                prefactor * self.cosmology.history().transverse(chi) * (begun - ended) / a
            }
        }
    }

    /// `n(z) dz/dchi` \[h/Mpc\] at a scale factor that may itself depend on the parameters.
    fn number(&self, sources: &Sources, a: S) -> S {
        let (at, moved) = (a.value(), (a - a.value()) / a.value());
        let (e2, slope) = self.cosmology.background().e2_and_slope(at);
        let e = (e2 + moved * slope).sqrt();
        sources.number(S::of(1.0) / a - 1.0) * e / HUBBLE_DISTANCE
    }

    fn aligned(&self, sources: &Sources, alignment: &Alignment, a: S) -> S {
        // The growth at a scale factor that itself depends on the parameters.
        let (at, moved) = (a.value(), (a - a.value()) / a.value());
        let now = self.cosmology.history().first_growth(at);
        let growth = now.d + moved * now.slope;
        let power = (S::of(1.0) / a / (1.0 + alignment.pivot)).powf(alignment.slope);
        let today = self.cosmology.history().first_growth(1.0).d;
        let omega_m = self.cosmology.background().omega_m;
        let share = omega_m * today / growth * power * (-alignment.amplitude * C1_CRITICAL_DENSITY);
        share * self.number(sources, a)
    }

    /// Distance at which the weight ends although it does not go to zero there: that of a source plane \[Mpc/h\].
    pub fn ends_at(&self) -> f64 {
        match &self.kind {
            Kind::Convergence(efficiency, _) => efficiency.ends_at(),
            Kind::Shell { .. } | Kind::Galaxies(_) | Kind::Plane { .. } => f64::INFINITY,
        }
    }
}

fn shell<S: Scalar>(chi: S, near: f64, far: f64, edge: f64) -> S {
    smooth_step((chi - near) / edge + 0.5) - smooth_step((chi - far) / edge + 0.5)
}

/// Angular power spectrum of two maps in Limber's approximation (LoVerde & Afshordi 2008):
/// `C_l = f^2 int dchi W_i W_j / r^2 P((l + 1/2) / r, z)`, with `P` from halofit or linear theory. For convergences
/// `f = l (l+1) / (l+1/2)^2`, which turns the potential's Laplacian on the sky into that in space; for shells it is one, and for
/// galaxies their linear bias. Redshift space is left out: it changes large scales, where Limber's approximation ends.
///
/// # Errors
/// If a tracer is out of range.
pub fn limber_spectrum<S: Scalar>(
    cosmology: &Cosmology<S>,
    tracers: (&Tracer, &Tracer),
    multipoles: &[f64],
    nonlinear: bool,
) -> Result<Vec<S>> {
    let kernels = (Kernel::new(cosmology, tracers.0)?, Kernel::new(cosmology, tracers.1)?);
    let history = cosmology.history();
    let (first, second) = (tracers.0.farthest(cosmology), tracers.1.farthest(cosmology));
    let farthest = first.value().min(second.value());
    // Slices of equal power of the distance, at fixed scale factors: the redshift of a source is given, its distance
    // is not.
    let panels = 24;
    let nearest = tracers.0.nearest(cosmology).max(tracers.1.nearest(cosmology));
    let edge = |i: i32| {
        let chi = nearest + (farthest - nearest) * (f64::from(i) / f64::from(panels)).powf(1.5);
        history.scale_factor_at(chi).map(|a| a.value().ln())
    };
    let mut edges: Vec<f64> = Vec::new();
    if farthest > nearest {
        edges = (0..=panels).map(edge).collect::<Result<_>>()?;
        // A bend of a weight lies between slices.
        let bends = tracers.0.bends().iter().chain(tracers.1.bends()).map(|z| -(1.0 + z).ln());
        let inside = edges[edges.len() - 1]..edges[0];
        edges.extend(bends.filter(|ln_a| inside.contains(ln_a)));
        edges.sort_by(f64::total_cmp);
        edges.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    }
    // An n(z) of many rows makes short panels.
    let rule = gauss_legendre(if edges.len() > 3 * panels as usize { 3 } else { 8 });
    let mut slices = Vec::new();
    for pair in edges.windows(2) {
        for (ln_a, weight) in on_interval(&rule, pair[0], pair[1]) {
            let a = ln_a.exp();
            let chi = history.distance(a);
            let width = S::of(HUBBLE_DISTANCE * weight / a) / cosmology.background().e(a);
            let r = history.transverse(chi);
            let both = kernels.0.at(chi, S::of(a)) * kernels.1.at(chi, S::of(a));
            // Where nothing has collapsed yet, halofit is linear theory.
            let halofit = if nonlinear { Halofit::new(cosmology, a).ok() } else { None };
            let growth2 = history.first_growth(a).d.powi(2);
            slices.push((r, width * both / (r * r), growth2, halofit));
        }
    }
    let power = [tracers.0, tracers.1].into_iter().filter(|tracer| tracer.is_lensing()).count() as i32;
    let bias = tracers.0.linear_bias() * tracers.1.linear_bias();
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
            sum * (bias * (l * (l + 1.0) / (l + 0.5).powi(2)).powi(power))
        })
        .collect())
}
