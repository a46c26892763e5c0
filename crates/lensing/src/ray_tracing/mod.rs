//! Lensing beyond the Born approximation: rays that are deflected by every plane of a simulated light cone.

mod rays;

use lookback_cosmology::{Cosmology, Gradient, Scalar, Tracer};
use lookback_mesh::Grid;
use lookback_nbody::{Error, Result, Simulation, Way};
use lookback_operator::{Block, Linearization, Operator, Real, Result as OperatorResult, Space, Unavailable};

use crate::light_cone::{LightCone, Look, Settings, Sky};
use rays::{Geometry, Rays, Step};

/// How rays are traced.
#[derive(Debug, Clone, PartialEq)]
pub struct RaySettings {
    /// Redshifts of the sources.
    pub sources: Vec<f64>,
    /// Number of planes up to the farthest source.
    pub planes: usize,
    /// Width of the edges between planes, as a share of their thickness.
    pub edge: f64,
}

/// White noise and cosmological parameters to convergence, shear and rotation of each source, by multiple lens planes
/// (Schneider, Ehlers & Falco 1992, chapter 9; Hilbert et al. 2009, equations 15 and 24):
///
/// ```text
/// b_(k+1) = (1 - c) b_(k-1) + c b_k - e alpha_k(b_k)
/// A_(k+1) = (1 - c) A_(k-1) + c A_k - e U_k(b_k) A_k
/// ```
///
/// with `c = r_k r(k-1, k+1) / (r_(k+1) r(k-1, k))`, `e = r(k, k+1) / r_(k+1)`, and `alpha = grad psi`, `U = grad grad psi`,
/// `lap psi = 2 kappa_k` of plane `k`. Planes are slices of the light cone of the simulation ([`Tracer::Plane`]); their
/// deflections are read between pixels by cubic interpolation. The sky is flat and periodic: what lies beyond the map is
/// taken to be the map again, so deflections near its edges are those of a torus, and the mean convergence of the map is zero.
/// Planes stay where they are when parameters move the sources.
///
/// Cost beside the light cone: six transforms a plane, twice as many in reverse. Memory: see [`RayTracing::memory`].
pub struct RayTracing<T: Real> {
    cone: LightCone<T>,
    settings: RaySettings,
    /// Distances of the planes \[Mpc/h\].
    distances: Vec<f64>,
    codomain: Space,
}

impl<T: Real> RayTracing<T> {
    /// Rays through the light cone of a simulation; `cone` says the sky, the tiling and so on, and its maps are not used.
    ///
    /// # Errors
    /// If a setting is out of range, the sky is not flat, or a source lies beyond the simulation.
    pub fn new(simulation: Simulation<T>, cone: Settings, settings: RaySettings) -> Result<RayTracing<T>> {
        let wrong = |message: String| Err(Error::Setting(message));
        if !matches!(cone.sky, Sky::Flat { .. }) {
            return wrong("rays are traced on a flat map; give `pixels` and `field_deg`".into());
        }
        if settings.sources.is_empty() || !settings.sources.iter().all(|z| *z > 0.0 && *z < 1e4) {
            return wrong(format!(
                "rays need sources at redshifts between 0 and 10000, not {:?}",
                settings.sources
            ));
        }
        let edges = settings.edge > 0.0 && settings.edge <= 1.0;
        if !(2..=512).contains(&settings.planes) || !edges {
            return wrong(format!(
                "rays need from 2 to 512 planes with edges of a share between 0 and 1, not {} and {}",
                settings.planes, settings.edge
            ));
        }
        let history = simulation.cosmology().history();
        let distance = |z: f64| history.distance(1.0 / (1.0 + z));
        let farthest = settings.sources.iter().copied().map(distance).fold(0.0, f64::max);
        let thickness = farthest / settings.planes as f64;
        let edge = settings.edge * thickness;
        if let Some(near) = settings.sources.iter().find(|z| distance(**z) < thickness) {
            return wrong(format!(
                "a source at redshift {near} lies within the first of {} planes, {thickness:.0} Mpc/h thick; more planes \
                 are thinner",
                settings.planes
            ));
        }
        let plane = |i: usize| Tracer::Plane {
            near: i as f64 * thickness,
            far: (i + 1) as f64 * thickness,
            edge,
            last: i + 1 == settings.planes,
        };
        let cone = Settings { maps: (0..settings.planes).map(plane).collect(), subtract_mean: true, ..cone };
        let distances = (0..settings.planes).map(|i| (i as f64 + 0.5) * thickness).collect();
        let cone = LightCone::new(simulation, cone)?;
        let shape = cone.settings().sky.shape();
        let name = |s: usize, what: &str| match settings.sources.len() {
            1 => what.to_string(),
            _ => format!("{what}_{}", s + 1),
        };
        let blocks = (0..settings.sources.len()).flat_map(|s| {
            ["kappa", "gamma1", "gamma2", "omega"].map(|what| Block::new(name(s, what), &shape, ""))
        });
        Ok(RayTracing { codomain: Space::new(blocks.collect()), cone, settings, distances })
    }

    /// Bytes at the peak: those of the light cone, and rays at each plane, with their cotangents in double precision.
    pub fn memory(&self, way: Way) -> usize {
        let rays = self.cone.codomain().len();
        let each = 8 * size_of::<T>() + if way.derives() { 6 * size_of::<f64>() } else { 0 };
        self.cone.memory(way) + each * rays
    }

    /// The light cone whose maps are the planes.
    pub fn cone(&self) -> &LightCone<T> {
        &self.cone
    }

    /// Rays through planes that are there already: the maps of [`RayTracing::cone`], as a light cone of the same universe that has other
    /// maps beside them sees them in one pass. Same result as the operator, where all parameters have the values that they were built with.
    ///
    /// # Errors
    /// If the number of pixels is another one.
    pub fn through(&self, planes: &[T], maps: &mut [T]) -> OperatorResult<()> {
        let check = |role, found, expected| {
            lookback_operator::Error::check_length(|| self.name(), role, found, expected)
        };
        check("planes", planes.len(), self.cone.codomain().len())?;
        check("output", maps.len(), self.codomain.len())?;
        let rays = Rays::new(self.grid()?);
        rays.trace(planes, &self.geometry(self.cone.simulation().cosmology()), maps);
        Ok(())
    }

    /// The pixels.
    fn grid(&self) -> Result<Grid> {
        self.cone.grid().ok_or_else(|| Error::Setting("rays are traced on a flat map".into()))
    }

    /// All steps in a cosmology.
    fn geometry<S: Scalar>(&self, cosmology: &Cosmology<S>) -> Geometry<S> {
        let history = cosmology.history();
        let plane = |i: usize| S::of(self.distances[i]);
        // From plane j, with the one before it, to a distance.
        let step = |j: usize, to: S| {
            let r = |x: S| history.transverse(x);
            let bend = r(to - plane(j)) / r(to);
            let keep = match j.checked_sub(1) {
                None => S::of(1.0),
                Some(before) => {
                    let between = r(plane(j) - plane(before));
                    r(plane(j)) * r(to - plane(before)) / (r(to) * between)
                }
            };
            Step { keep, bend }
        };
        let between = (0..self.distances.len() - 1).map(|j| step(j, plane(j + 1))).collect();
        let to_source = self.settings.sources.iter().map(|z| {
            let to = history.distance(1.0 / (1.0 + z));
            let last = self.distances.iter().filter(|d| **d < to.value()).count().saturating_sub(1);
            (last, step(last, to))
        });
        Geometry { between, to_source: to_source.collect() }
    }
}

/// Rays at a point.
struct Traced<'a, T: Real> {
    tracing: &'a RayTracing<T>,
    look: Look<'a, T>,
    rays: Rays<T>,
    planes: Vec<T>,
    states: Vec<Vec<[T; 6]>>,
    geometry: Geometry<f64>,
}

impl<T: Real> Traced<'_, T> {
    fn check(&self, role: &'static str, found: usize, expected: usize) -> OperatorResult<()> {
        lookback_operator::Error::check_length(|| self.tracing.name(), role, found, expected)
    }

    /// Every number of the steps with its derivatives; none if it depends on no free parameter.
    fn slopes(&mut self) -> Result<Option<Geometry<Gradient>>> {
        if !self.tracing.cone.simulation().history_is_free() {
            return Ok(None);
        }
        let cosmology = self.look.run().gradient_cosmology()?;
        Ok(Some(self.tracing.geometry(&cosmology)))
    }
}

impl<T: Real> Linearization<T> for Traced<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        self.check("output", y.len(), self.tracing.codomain.len())?;
        self.look.move_to(x, &mut self.planes)?;
        self.geometry = self.tracing.geometry(self.look.run().cosmology());
        self.states = self.rays.trace(&self.planes, &self.geometry, y);
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        self.check("output", dy.len(), self.tracing.codomain.len())?;
        let mut changes = vec![T::zero(); self.planes.len()];
        self.look.push(dx, &mut changes)?;
        let parameters = self.look.run().parameters_of(dx);
        let along = |g: &Gradient| g.gradient.iter().zip(&parameters).map(|(g, d)| g * d).sum::<f64>();
        let step = |step: &Step<Gradient>| Step { keep: along(&step.keep), bend: along(&step.bend) };
        let slopes = match self.slopes()? {
            Some(geometry) => Geometry {
                between: geometry.between.iter().map(step).collect(),
                to_source: geometry.to_source.iter().map(|(last, s)| (*last, step(s))).collect(),
            },
            None => Geometry {
                between: vec![Step { keep: 0.0, bend: 0.0 }; self.geometry.between.len()],
                to_source: vec![(0, Step { keep: 0.0, bend: 0.0 }); self.geometry.to_source.len()],
            },
        };
        self.rays.push((&self.planes, &changes), (&self.geometry, &slopes), &self.states, dy);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        self.check("cotangent", dy.len(), self.tracing.codomain.len())?;
        let mut bar = vec![T::zero(); self.planes.len()];
        let given = self.rays.pull(&self.planes, &self.geometry, &self.states, dy, &mut bar);
        self.look.pull(&bar, dx)?;
        if let Some(geometry) = self.slopes()? {
            let simulation = self.tracing.cone.simulation();
            let rest = &mut dx[simulation.settings().particles.pow(3)..];
            let mut give = |bar: &Step<f64>, slope: &Step<Gradient>| {
                for (out, &index) in rest.iter_mut().zip(simulation.free()) {
                    let slope_of = |g: &Gradient| g.gradient.get(index).copied().unwrap_or(0.0);
                    *out += T::of(bar.keep * slope_of(&slope.keep) + bar.bend * slope_of(&slope.bend));
                }
            };
            given.between.iter().zip(&geometry.between).for_each(|(bar, slope)| give(bar, slope));
            for ((_, bar), (_, slope)) in given.to_source.iter().zip(&geometry.to_source) {
                give(bar, slope);
            }
        }
        Ok(())
    }
}

impl<T: Real> RayTracing<T> {
    /// Rays that are nowhere yet.
    fn traced(&self) -> Result<Traced<'_, T>> {
        Ok(Traced {
            tracing: self,
            look: self.cone.look()?,
            rays: Rays::new(self.grid()?),
            planes: vec![T::zero(); self.cone.codomain().len()],
            states: Vec::new(),
            geometry: Geometry { between: Vec::new(), to_source: Vec::new() },
        })
    }
}

impl<T: Real> Operator<T> for RayTracing<T> {
    fn name(&self) -> String {
        format!("rays through {} planes of {}", self.distances.len(), self.cone.name())
    }

    fn domain(&self) -> &Space {
        self.cone.domain()
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn apply_into(&self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        // A value alone needs nothing that is kept for derivatives.
        self.traced()?.move_to(x, y)
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.traced() {
            Ok(mut traced) => {
                traced.look.run().expect_derivatives();
                Box::new(traced)
            }
            Err(error) => Box::new(Unavailable(error.into())),
        }
    }
}
