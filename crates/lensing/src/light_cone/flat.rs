//! From particles to flat maps of the light cone, and back: one visit a view to those that may be seen.

use lookback_operator::Real;
use rayon::prelude::*;

use super::painter::{Bars, Given, LAYERS, Moving, Particles, farthest_from_lattice, gather};
use super::table::{Place, Table};
use super::tiling::Layer;
use super::weight::{Birth, Sight};
use super::{Crossing, LightCone};

/// What is looked at, and from where: the geometry of a light cone in plain numbers.
pub(super) struct Eye {
    side: usize,
    length: f64,
    spacing: f64,
    pixels: usize,
    field: f64,
    centre: [f64; 2],
    sources: usize,
    sharp: bool,
    tiling: super::Tiling,
}

/// One particle as seen in a layer, in axes of the sky: two across the line of sight, one along it.
struct Seen {
    particle: usize,
    /// Across the line of sight at the view.
    t: [f64; 2],
    m: [f64; 3],
    /// Solved distance, and the drift and its derivative there.
    d: f64,
    drift: f64,
    /// `1 / (1 - m_z drift'(d))`.
    response: f64,
    drift_slope: f64,
    /// Where drift and weights are read.
    drift_place: Place,
    place: Place,
    /// By how much larger than in flat space lengths across the line of sight look there, and its derivative with respect to the distance.
    magnification: (f64, f64),
}

impl Seen {
    /// Change of an angle per change of the distance, over the angle: it is that of a length over its transverse distance.
    fn shrinking(&self) -> f64 {
        self.magnification.1 / self.magnification.0 - 1.0 / self.d
    }

    fn sight<T: Real>(&self, birth: Birth<'_, T>) -> Sight {
        Sight { place: self.place, d: self.d, away: self.m[2], birth: birth.at(self.particle) }
    }
}

/// A particle on the map: lower left pixel, the place within, and the copy across the line of sight.
struct Landing {
    corner: [i64; 2],
    fraction: [f64; 2],
    /// Angles per unit of length over the pixel: `1 / (r(d) pixel)`.
    scale: f64,
    /// Position on the map in pixels.
    at: [f64; 2],
}

/// Lattice planes along each axis of the box that a layer shows.
struct Selection {
    layer: Layer,
    planes: [Vec<usize>; 3],
    /// Where each lattice plane lies along each axis of the sky \[Mpc/h\].
    places: [Vec<f64>; 3],
    /// Copies of the box across the line of sight that may be seen, to either side.
    copies: i64,
    /// Largest drift per momentum in this view.
    most_drift: f64,
    /// Tangent of the widest angle from the line of sight that may be seen, along any axis of the sky.
    tangent: f64,
}

impl Eye {
    pub(super) fn new<T: Real>(cone: &LightCone<T>, (pixels, field, centre): (usize, f64, [f64; 2])) -> Eye {
        let (s, settings) = (cone.simulation.settings(), &cone.settings);
        Eye {
            side: s.particles,
            length: s.length,
            spacing: s.length / s.particles as f64,
            pixels,
            field,
            centre,
            sources: settings.maps.len(),
            sharp: settings.crossing == Crossing::Lagrangian,
            tiling: settings.tiling,
        }
    }

    /// The layers and lattice planes that may be seen in a view.
    fn selections<T: Real>(&self, table: &Table<f64>, at: Particles<'_, T>) -> Vec<Selection> {
        let (low, high) = table.range;
        if low >= high {
            return Vec::new();
        }
        let most_drift = table.most_drift();
        let far = farthest_from_lattice(at.x, at.p, most_drift);
        let first = ((low - far.iter().fold(0.0, |a: f64, b| a.max(*b))).max(0.0) / self.length) as usize;
        let last = ((high + far.iter().fold(0.0, |a: f64, b| a.max(*b))) / self.length) as usize;
        let stretch = table.most_stretch();
        let select = |number: usize| {
            let layer = self.tiling.layer(number, self.length);
            // A particle that was wrapped may be anywhere in its layer.
            let layer_end = (number + 1) as f64 * self.length;
            let reach = if self.sharp { high.max(layer_end) } else { high }
                * stretch
                * (0.5 * self.field
                    + self.centre[0].abs().max(self.centre[1].abs())
                    + 2.0 * self.field / self.pixels as f64);
            let mut planes = [const { Vec::new() }; 3];
            let mut places = [const { Vec::new() }; 3];
            for (sky, places) in places.iter_mut().enumerate() {
                let axis = layer.axes[sky];
                let place = |k: usize| {
                    let q = k as f64 * self.spacing;
                    if sky == 2 { layer.along(q, self.length) } else { layer.across(sky, q, self.length) }
                };
                *places = (0..self.side).map(place).collect();
                let (from, to) = match (sky, self.sharp) {
                    (2, true) => (low, high),
                    (2, false) => (low - far[axis], high + far[axis]),
                    _ => (-reach - far[axis], reach + far[axis]),
                };
                planes[axis] = (0..self.side).filter(|&k| (from..=to).contains(&places[k])).collect();
            }
            let copies = ((reach / self.length) + 0.5).floor() as i64;
            Selection { layer, planes, places, copies, tangent: reach / high, most_drift }
        };
        (first..=last).map(select).filter(|s| s.planes.iter().all(|planes| !planes.is_empty())).collect()
    }

    /// A particle in axes of the sky, at the time at which it crosses the light cone; `None` if that is outside the view.
    #[inline(always)]
    fn see<T: Real>(
        &self,
        selection: &Selection,
        table: &Table<f64>,
        q: [usize; 3],
        Particles { x, p, .. }: Particles<'_, T>,
    ) -> Option<Seen> {
        let n = self.side;
        let particle = (q[0] * n + q[1]) * n + q[2];
        let layer = &selection.layer;
        let axes = layer.axes;
        let part = |v: &[T], sky: usize| layer.signs[sky] * v[axes[sky] * n * n * n + particle].f64();
        let lattice = |sky: usize| selection.places[sky][q[axes[sky]]];
        let (low, high) = table.range;
        let z = part(x, 2) + lattice(2);
        let m_z = part(p, 2);
        let across = |sky: usize| {
            let mut t = part(x, sky) + lattice(sky);
            // The copy nearest to the line of sight: hardly any has moved away from its place's.
            if t.abs() > 0.5 * self.length {
                t -= self.length * (t / self.length).round();
            }
            t
        };
        if self.sharp {
            // MADLens wraps particles into the box when they have drifted.
            let along = lattice(2);
            if along < low || along >= high {
                return None;
            }
            let layer_start = layer.number as f64 * self.length;
            let drift_place = table.place(along);
            let (drift, _) = table.drift(&drift_place);
            let d = layer_start + (z + m_z * drift - layer_start).rem_euclid(self.length);
            if d <= 0.0 {
                return None;
            }
            let (t, m) = ([across(0), across(1)], [part(p, 0), part(p, 1), m_z]);
            let place = table.place(d);
            return Some(Seen {
                particle,
                t,
                m,
                d,
                drift,
                response: 1.0,
                drift_slope: 0.0,
                drift_place,
                place,
                magnification: table.magnification(&place),
            });
        }
        // d = z + m drift(d) by Newton's method. The slope of the right side is a velocity over that of light, so the first
        // step is right to 1e-6 and the second to rounding.
        let newton = |d: f64| {
            let (drift, slope) = table.drift(&table.place(d));
            d - (d - z - m_z * drift) / (1.0 - m_z * slope)
        };
        let margin = selection.most_drift * m_z.abs();
        if z < low - margin || z > high + margin {
            return None;
        }
        let t = [across(0), across(1)];
        let m = [part(p, 0), part(p, 1), m_z];
        if selection.copies == 0 {
            let outside = |sky: usize| {
                t[sky].abs() - selection.most_drift * m[sky].abs() > selection.tangent * (z + margin)
            };
            if outside(0) || outside(1) {
                return None;
            }
        }
        let d = newton(newton(z));
        if !(d > low && d < high) {
            return None;
        }
        let place = table.place(d);
        let (drift, drift_slope) = table.drift(&place);
        let response = 1.0 / (1.0 - m_z * drift_slope);
        let magnification = table.magnification(&place);
        Some(Seen {
            particle,
            t,
            m,
            d,
            drift,
            response,
            drift_slope,
            drift_place: place,
            place,
            magnification,
        })
    }

    /// Calls `f` for every place at which copies of a particle fall on the map.
    #[inline(always)]
    fn land(&self, selection: &Selection, seen: &Seen, mut f: impl FnMut(Landing)) {
        let pixel = self.field / self.pixels as f64;
        let scale = seen.magnification.0 / (seen.d * pixel);
        let half = 0.5 * self.pixels as f64 - 0.5;
        let place = |sky: usize, copy: i64| {
            let t = seen.t[sky] + seen.m[sky] * seen.drift + copy as f64 * self.length;
            t * scale - self.centre[sky] / pixel + half
        };
        let on_map = |u: f64| u > -1.0 && u < self.pixels as f64;
        for i in -selection.copies..=selection.copies {
            let u = place(0, i);
            if !on_map(u) {
                continue;
            }
            for j in -selection.copies..=selection.copies {
                let v = place(1, j);
                if !on_map(v) {
                    continue;
                }
                let corner = [u.floor(), v.floor()];
                f(Landing {
                    corner: corner.map(|c| c as i64),
                    fraction: [u - corner[0], v - corner[1]],
                    scale,
                    at: [u - half + self.centre[0] / pixel, v - half + self.centre[1] / pixel],
                });
            }
        }
    }

    /// The pixels of a landing with their weights and the derivatives of these: `f(first number of the pixel, [w, w_u, w_v])`.
    #[inline(always)]
    fn for_pixels(&self, landing: &Landing, mut f: impl FnMut(usize, [f64; 3])) {
        let [u, v] = landing.fraction;
        for (i, (wu, su)) in [(1.0 - u, -1.0), (u, 1.0)].into_iter().enumerate() {
            for (j, (wv, sv)) in [(1.0 - v, -1.0), (v, 1.0)].into_iter().enumerate() {
                let (column, row) = (landing.corner[0] + i as i64, landing.corner[1] + j as i64);
                let inside = |c: i64| c >= 0 && c < self.pixels as i64;
                if inside(column) && inside(row) {
                    let first = (row as usize * self.pixels + column as usize) * self.sources;
                    f(first, [wu * wv, su * wv, wu * sv]);
                }
            }
        }
    }

    /// Adds what the maps' cotangent gives to particles and to the table.
    pub(super) fn pull<T: Real>(
        &self,
        table: &Table<f64>,
        map: &[T],
        particles: Particles<'_, T>,
        mut bars: Bars<'_, T>,
    ) {
        for selection in self.selections(table, particles) {
            let rows = selection.rows();
            gather((&rows, self.side), table, &selection.layer, &mut bars, |rows, given| {
                self.for_seen(&selection, rows, table, particles, |seen| {
                    self.pull_one(&selection, &seen, (table, particles.birth), map, given);
                });
            });
        }
    }

    /// Adds what one seen particle is given, if it is on the map.
    #[inline(always)]
    fn pull_one<T: Real>(
        &self,
        selection: &Selection,
        seen: &Seen,
        (table, birth): (&Table<f64>, Birth<'_, T>),
        map: &[T],
        given: &mut Given<T>,
    ) {
        let sight = seen.sight(birth);
        let mut landed = false;
        let (mut t_bar, mut d_bar, mut away_bar, mut birth_bar) = ([0.0; 2], 0.0, 0.0, [0.0; 2]);
        self.land(selection, seen, |landing| {
            landed = true;
            // The map and its slopes at the place, weighted by the sources.
            let mut slopes = [0.0; 2];
            for source in (0..self.sources).filter(|&source| table.lenses(source, seen.d)) {
                let mut read = [0.0; 3];
                self.for_pixels(&landing, |first, w| {
                    let kappa = map[first + source].f64();
                    read.iter_mut().zip(w).for_each(|(sum, w)| *sum += w * kappa);
                });
                let weight = table.weight_and_slopes(source, &sight);
                d_bar += weight.by_distance * read[0];
                away_bar += weight.by_away * read[0];
                birth_bar.iter_mut().zip(weight.by_birth).for_each(|(sum, by)| *sum += by * read[0]);
                slopes[0] += weight.value * read[1];
                slopes[1] += weight.value * read[2];
                table.weight_pull(&mut given.table, source, &sight, read[0]);
            }
            for sky in 0..2 {
                t_bar[sky] += slopes[sky] * landing.scale;
                // u = t / (r(d) pixel): a farther particle is seen nearer to the middle.
                let along = slopes[sky] * landing.at[sky];
                d_bar += along * seen.shrinking();
                table.magnification_pull(&mut given.table, &seen.place, along / seen.magnification.0);
            }
        });
        if !landed {
            return;
        }
        let mut drift_bar = t_bar[0] * seen.m[0] + t_bar[1] * seen.m[1];
        d_bar += drift_bar * seen.drift_slope;
        let z_bar = d_bar * seen.response;
        drift_bar += z_bar * seen.m[2];
        table.drift_pull(&mut given.table, &seen.drift_place, drift_bar);
        let place = [t_bar[0], t_bar[1], z_bar];
        let mut momentum = place.map(|bar| bar * seen.drift);
        momentum[2] += away_bar;
        given.give(seen.particle, [place, momentum], birth.pull(seen.particle, birth_bar));
    }

    /// Visits the particles of some rows that are seen in a view.
    #[inline(always)]
    fn for_seen<T: Real>(
        &self,
        selection: &Selection,
        rows: &[[usize; 2]],
        table: &Table<f64>,
        particles: Particles<'_, T>,
        mut f: impl FnMut(Seen),
    ) {
        for &[i, j] in rows {
            for &k in &selection.planes[2] {
                if let Some(seen) = self.see(selection, table, [i, j, k], particles) {
                    f(seen);
                }
            }
        }
    }

    fn visit<T: Real>(
        &self,
        maps: &mut [Vec<T>],
        table: &Table<f64>,
        particles: Particles<'_, T>,
        f: impl Fn(&Selection, Seen, &mut [T]) + Sync,
    ) {
        for selection in self.selections(table, particles) {
            let rows = selection.rows();
            let chunk = rows.len().div_ceil(LAYERS);
            rows.par_chunks(chunk).zip(&mut *maps).for_each(|(rows, map)| {
                self.for_seen(&selection, rows, table, particles, |seen| f(&selection, seen, map));
            });
        }
    }

    /// Paints what is seen in a view.
    pub(super) fn paint<T: Real>(
        &self,
        maps: &mut [Vec<T>],
        table: &Table<f64>,
        particles: Particles<'_, T>,
    ) {
        self.visit(maps, table, particles, |selection, seen, map| {
            let sight = seen.sight(particles.birth);
            self.land(selection, &seen, |landing| {
                for source in (0..self.sources).filter(|&source| table.lenses(source, seen.d)) {
                    let weight = table.weight(source, &sight);
                    self.for_pixels(&landing, |first, [w, ..]| map[first + source] += T::of(w * weight));
                }
            });
        });
    }

    /// Paints the change of what is seen when particles and the table change.
    pub(super) fn paint_push<T: Real>(
        &self,
        maps: &mut [Vec<T>],
        (table, changes): (&Table<f64>, &[f64]),
        Moving { at, by }: Moving<'_, T>,
    ) {
        let n = at.x.len() / 3;
        self.visit(maps, table, at, |selection, seen, map| {
            let layer = &selection.layer;
            let part = |v: &[T], sky: usize| layer.signs[sky] * v[layer.axes[sky] * n + seen.particle].f64();
            let table_drift = table.drift_change(changes, &seen.drift_place);
            let dd = (part(by.x, 2) + part(by.p, 2) * seen.drift + seen.m[2] * table_drift) * seen.response;
            let drift = table_drift + seen.drift_slope * dd;
            let dt: [f64; 2] = std::array::from_fn(|sky| {
                part(by.x, sky) + part(by.p, sky) * seen.drift + seen.m[sky] * drift
            });
            let sight = seen.sight(at.birth);
            let born = at.birth.change(by.birth, seen.particle);
            let magnified = table.magnification_change(changes, &seen.place) / seen.magnification.0;
            let growth = seen.shrinking() * dd + magnified;
            self.land(selection, &seen, |landing| {
                let moved: [f64; 2] =
                    std::array::from_fn(|sky| dt[sky] * landing.scale + landing.at[sky] * growth);
                for source in (0..self.sources).filter(|&source| table.lenses(source, seen.d)) {
                    let weight = table.weight_and_slopes(source, &sight);
                    let change =
                        weight.change(dd, part(by.p, 2), born) + table.weight_change(changes, source, &sight);
                    self.for_pixels(&landing, |first, [w, wu, wv]| {
                        map[first + source] +=
                            T::of(w * change + weight.value * (wu * moved[0] + wv * moved[1]));
                    });
                }
            });
        });
    }
}

impl Selection {
    fn rows(&self) -> Vec<[usize; 2]> {
        self.planes[0].iter().flat_map(|&i| self.planes[1].iter().map(move |&j| [i, j])).collect()
    }
}
