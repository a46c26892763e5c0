//! What flat and full-sky maps have in common: layers of paint, and cotangents on their way back to particles.

use lookback_operator::Real;
use rayon::prelude::*;

use super::table::Table;
use super::tiling::Layer;
use super::weight::Birth;
use super::{LightCone, Sky, flat, sphere};

/// Maps that are painted apart and added up at the end. Fixed, so that sums do not depend on the number of threads.
pub(super) const LAYERS: usize = 8;

/// Lattice points that are looked at in reverse before what they give is added up: bounds the memory of that.
pub(super) const BATCH: usize = 1 << 22;

/// Lattice points that are looked at together in reverse, at least: each lot has a table of its own.
const LEAST: usize = 1 << 14;

/// Displacements and momenta, and the density that particles began in.
#[derive(Clone, Copy)]
pub(super) struct Particles<'a, T> {
    pub(super) x: &'a [T],
    pub(super) p: &'a [T],
    pub(super) birth: Birth<'a, T>,
}

/// Particles and their changes.
#[derive(Clone, Copy)]
pub(super) struct Moving<'a, T> {
    pub(super) at: Particles<'a, T>,
    pub(super) by: Particles<'a, T>,
}

/// Cotangents of the table of a view, of particles and of the mean square of the density at birth, which are added to.
pub(super) struct Bars<'a, T> {
    pub(super) table: &'a mut [f64],
    pub(super) x: &'a mut [T],
    pub(super) p: &'a mut [T],
    pub(super) birth: &'a mut [T],
    pub(super) variance: &'a mut f64,
}

/// Cotangents of one particle, in axes of the sky.
struct Cotangent<T> {
    place: [T; 3],
    momentum: [T; 3],
    birth: T,
}

/// How far a particle may be from its place on the lattice along each axis of the box, either way.
pub(super) fn farthest_from_lattice<T: Real>(x: &[T], p: &[T], most_drift: f64) -> [f64; 3] {
    let n = x.len() / 3;
    std::array::from_fn(|axis| {
        let range = axis * n..(axis + 1) * n;
        let most = |v: &[T]| {
            v.par_chunks(1 << 14)
                .map(|v| v.iter().fold(T::zero(), |most, x| if x.abs() > most { x.abs() } else { most }))
                .reduce(T::zero, |a, b| if a > b { a } else { b })
                .f64()
        };
        most(&x[range.clone()]) + most_drift * most(&p[range])
    })
}

/// What a part of the particles, and the table, are given by a cotangent of the maps.
pub(super) struct Given<T> {
    /// Particles, and what each is given.
    particles: Vec<(usize, Cotangent<T>)>,
    pub(super) table: Vec<f64>,
    variance: f64,
}

impl<T: Real> Given<T> {
    fn new(table: &Table<f64>) -> Given<T> {
        Given { particles: Vec::new(), table: vec![0.0; table.len()], variance: 0.0 }
    }

    /// Notes what a particle is given, in axes of the sky, and the mean square of the density at birth.
    pub(super) fn give(
        &mut self,
        particle: usize,
        [place, momentum]: [[f64; 3]; 2],
        (birth, variance): (f64, f64),
    ) {
        let cotangent =
            Cotangent { place: place.map(T::of), momentum: momentum.map(T::of), birth: T::of(birth) };
        self.particles.push((particle, cotangent));
        self.variance += variance;
    }

    fn add(&self, layer: &Layer, bars: &mut Bars<'_, T>) {
        let n = bars.x.len() / 3;
        for (particle, given) in &self.particles {
            for sky in 0..3 {
                let sign = T::of(layer.signs[sky]);
                bars.x[layer.axes[sky] * n + particle] += sign * given.place[sky];
                bars.p[layer.axes[sky] * n + particle] += sign * given.momentum[sky];
            }
            if let Some(birth) = bars.birth.get_mut(*particle) {
                *birth += given.birth;
            }
        }
        bars.table.iter_mut().zip(&self.table).for_each(|(sum, part)| *sum += part);
        *bars.variance += self.variance;
    }
}

/// Gathers what units of lattice points give, apart and in batches, and adds it up in order: a particle is seen seldom in a
/// layer, so the sums are few. `points` is the number of lattice points of a unit.
pub(super) fn gather<U: Sync, T: Real>(
    (units, points): (&[U], usize),
    table: &Table<f64>,
    layer: &Layer,
    bars: &mut Bars<'_, T>,
    give: impl Fn(&[U], &mut Given<T>) + Sync,
) {
    for batch in units.chunks((BATCH / points).max(LAYERS)) {
        let chunk = batch.len().div_ceil(8 * LAYERS).max(LEAST.div_ceil(points));
        let given: Vec<Given<T>> = batch
            .par_chunks(chunk)
            .map(|units| {
                let mut given = Given::new(table);
                give(units, &mut given);
                given
            })
            .collect();
        given.iter().for_each(|given| given.add(layer, bars));
    }
}

/// What is looked at, and from where.
pub(super) enum Eye {
    Flat(flat::Eye),
    Full(sphere::Eye),
}

impl Eye {
    pub(super) fn new<T: Real>(cone: &LightCone<T>) -> Eye {
        match cone.settings.sky {
            Sky::Flat { pixels, field, centre, .. } => {
                Eye::Flat(flat::Eye::new(cone, (pixels, field, centre)))
            }
            Sky::Full { .. } => match cone.sphere() {
                Some(pixels) => Eye::Full(sphere::Eye::new(cone, pixels)),
                None => unreachable!("checked when the light cone was made"),
            },
        }
    }

    /// A cotangent of the maps with the maps of a pixel side by side.
    pub(super) fn interleave<T: Real>(maps: &[T], count: usize) -> Vec<T> {
        let n = maps.len() / count;
        (0..maps.len()).into_par_iter().map(|i| maps[i % count * n + i / count]).collect()
    }

    /// Adds what the maps' cotangent gives to particles and to the table.
    pub(super) fn pull<T: Real>(
        &self,
        table: &Table<f64>,
        map: &[T],
        particles: Particles<'_, T>,
        bars: Bars<'_, T>,
    ) {
        match self {
            Eye::Flat(eye) => eye.pull(table, map, particles, bars),
            Eye::Full(eye) => eye.pull(table, map, particles, bars),
        }
    }
}

/// Maps that are being painted.
pub(super) struct Painter<'a, T> {
    eye: &'a Eye,
    layers: Vec<Vec<T>>,
    maps: usize,
}

impl<T: Real> Painter<'_, T> {
    pub(super) fn new<'a>(eye: &'a Eye, cone: &LightCone<T>) -> Painter<'a, T> {
        let layer = || vec![T::zero(); cone.codomain.len()];
        Painter { eye, layers: (0..LAYERS).map(|_| layer()).collect(), maps: cone.settings.maps.len() }
    }

    /// Paints what is seen in a view.
    pub(super) fn paint(&mut self, table: &Table<f64>, particles: Particles<'_, T>) {
        match self.eye {
            Eye::Flat(eye) => eye.paint(&mut self.layers, table, particles),
            Eye::Full(eye) => eye.paint(&mut self.layers, table, particles),
        }
    }

    /// Paints the change of what is seen when particles and the table change.
    pub(super) fn paint_push(&mut self, table: (&Table<f64>, &[f64]), moving: Moving<'_, T>) {
        match self.eye {
            Eye::Flat(eye) => eye.paint_push(&mut self.layers, table, moving),
            Eye::Full(eye) => eye.paint_push(&mut self.layers, table, moving),
        }
    }

    /// Adds up the layers, map by map.
    pub(super) fn finish(self, out: &mut [T]) {
        let n = out.len() / self.maps;
        out.par_iter_mut().enumerate().for_each(|(i, out)| {
            let at = i % n * self.maps + i / n;
            *out = self.layers.iter().map(|layer| layer[at]).sum();
        });
    }
}
