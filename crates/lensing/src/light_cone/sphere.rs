//! From particles to maps of the full sky, and back: distances are radial, and copies of the box lie all around.

use lookback_mesh::Healpix;
use lookback_operator::Real;
use rayon::prelude::*;

use super::LightCone;
use super::painter::{Bars, Given, LAYERS, Moving, Particles, farthest_from_lattice, gather};
use super::table::{Place, Table};
use super::tiling::{Layer, Tiling};
use super::weight::{Birth, Sight};

/// What is looked at: the geometry of a full sky in plain numbers.
pub(super) struct Eye {
    side: usize,
    length: f64,
    spacing: f64,
    maps: usize,
    tiling: Tiling,
    pixels: Healpix,
}

/// A shell of the thickness of a box, in axes of the box: its copies, and where each lattice plane lies.
struct Selection {
    layer: Layer,
    /// Direction of each axis of the box on the sky.
    signs: [f64; 3],
    /// Where each lattice plane lies along each axis of the box, as seen on the sky \[Mpc/h\].
    places: [Vec<f64>; 3],
    copies: Vec<[f64; 3]>,
    /// Distances between which lattice points belong to the shell.
    shell: (f64, f64),
    /// Distances between which lattice points may be seen.
    near_far: (f64, f64),
    most_drift: f64,
}

/// A particle that is seen, in axes of the sky.
struct Seen {
    particle: usize,
    /// Momentum.
    m: [f64; 3],
    /// Direction.
    n: [f64; 3],
    d: f64,
    drift: f64,
    drift_slope: f64,
    /// `1 / (1 - n m drift'(d))`.
    response: f64,
    place: Place,
}

impl Seen {
    fn sight<T: Real>(&self, birth: Birth<'_, T>) -> Sight {
        Sight { place: self.place, d: self.d, away: product(self.n, self.m), birth: birth.at(self.particle) }
    }
}

/// Unit vectors along `theta` and `phi` at a direction.
fn tangents([x, y, z]: [f64; 3]) -> [[f64; 3]; 2] {
    let across = (x * x + y * y).sqrt();
    let (c, s) = if across > 0.0 { (x / across, y / across) } else { (1.0, 0.0) };
    [[z * c, z * s, -across], [-s, c, 0.0]]
}

fn product(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

impl Eye {
    pub(super) fn new<T: Real>(cone: &LightCone<T>, pixels: Healpix) -> Eye {
        let s = cone.simulation.settings();
        Eye {
            side: s.particles,
            length: s.length,
            spacing: s.length / s.particles as f64,
            maps: cone.settings.maps.len(),
            tiling: cone.settings.tiling,
            pixels,
        }
    }

    /// The shells and copies that may be seen in a view.
    fn selections<T: Real>(&self, table: &Table<f64>, at: Particles<'_, T>) -> Vec<Selection> {
        let (low, high) = table.range;
        if low >= high {
            return Vec::new();
        }
        let most_drift = table.most_drift();
        let far = farthest_from_lattice(at.x, at.p, most_drift);
        let far = product(far, far).sqrt();
        let (near, distant) = ((low - far).max(0.0), high + far);
        let select = |number: usize| {
            let layer = self.tiling.layer(number, self.length);
            let sky: [usize; 3] =
                std::array::from_fn(|axis| (0..3).find(|&sky| layer.axes[sky] == axis).unwrap_or(0));
            let places = sky.map(|sky| {
                (0..self.side).map(|k| layer.across(sky, k as f64 * self.spacing, self.length)).collect()
            });
            let shell = (number as f64 * self.length, (number + 1) as f64 * self.length);
            let (inner, outer) = (near.max(shell.0), distant.min(shell.1));
            let reach = (outer / self.length + 0.5).ceil() as i64;
            let mut copies = Vec::new();
            for i in -reach..=reach {
                for j in -reach..=reach {
                    for k in -reach..=reach {
                        let centre = [i, j, k].map(|c| c as f64 * self.length);
                        let to = |c: f64| (c.abs() - 0.5 * self.length).max(0.0);
                        let from = |c: f64| c.abs() + 0.5 * self.length;
                        let (closest, farthest) = (centre.map(to), centre.map(from));
                        if product(closest, closest) <= outer * outer
                            && product(farthest, farthest) >= inner * inner
                        {
                            copies.push(centre);
                        }
                    }
                }
            }
            let signs = sky.map(|sky| layer.signs[sky]);
            Selection { layer, signs, places, copies, shell, near_far: (inner, outer), most_drift }
        };
        let (first, last) = ((near / self.length) as usize, (distant / self.length) as usize);
        (first..=last).map(select).filter(|s| !s.copies.is_empty()).collect()
    }

    /// Visits the particles of some planes, `(copy, plane along the first axis of the box)`, that are seen in a view.
    #[inline(always)]
    fn for_seen<T: Real>(
        &self,
        selection: &Selection,
        planes: &[(usize, usize)],
        table: &Table<f64>,
        particles: Particles<'_, T>,
        mut f: impl FnMut(Seen),
    ) {
        let n = self.side;
        let (inner2, outer2) = (selection.near_far.0.powi(2), selection.near_far.1.powi(2));
        let (shell0, shell1) = (selection.shell.0.powi(2), selection.shell.1.powi(2));
        let [first, second, third] = &selection.places;
        for &(copy, i) in planes {
            let copy = selection.copies[copy];
            let y0 = first[i] + copy[0];
            if y0 * y0 > outer2 {
                continue;
            }
            for (j, along) in second.iter().enumerate() {
                let y1 = along + copy[1];
                let across = y0 * y0 + y1 * y1;
                if across > outer2 {
                    continue;
                }
                for (k, along) in third.iter().enumerate() {
                    let y2 = along + copy[2];
                    let r2 = across + y2 * y2;
                    if r2 < inner2 || r2 > outer2 || r2 < shell0 || r2 >= shell1 {
                        continue;
                    }
                    let particle = (i * n + j) * n + k;
                    if let Some(seen) = self.see(selection, table, particle, [y0, y1, y2], particles) {
                        f(seen);
                    }
                }
            }
        }
    }

    /// A particle at the time at which it crosses the light cone; `None` if that is outside the view.
    #[inline(always)]
    fn see<T: Real>(
        &self,
        selection: &Selection,
        table: &Table<f64>,
        particle: usize,
        lattice: [f64; 3],
        Particles { x, p, .. }: Particles<'_, T>,
    ) -> Option<Seen> {
        let n3 = self.side.pow(3);
        let part = |v: &[T], axis: usize| selection.signs[axis] * v[axis * n3 + particle].f64();
        let r: [f64; 3] = std::array::from_fn(|axis| lattice[axis] + part(x, axis));
        let m: [f64; 3] = std::array::from_fn(|axis| part(p, axis));
        let (low, high) = table.range;
        let distance = product(r, r).sqrt();
        let margin = selection.most_drift * product(m, m).sqrt();
        // What is not a number is nowhere; what is at the observer has no direction.
        if !(distance > 0.0 && distance >= low - margin && distance <= high + margin) {
            return None;
        }
        // d = |r + m drift(d)| by Newton's method; see the flat sky.
        let moved = |drift: f64| -> [f64; 3] { std::array::from_fn(|axis| r[axis] + m[axis] * drift) };
        let mut d = distance;
        // One step is right to 1e-6, more than single precision holds.
        for _ in 0..if size_of::<T>() > 4 { 2 } else { 1 } {
            let (drift, slope) = table.drift(&table.place(d));
            let at = moved(drift);
            let length = product(at, at).sqrt();
            if !(length > 0.0) {
                return None;
            }
            d -= (d - length) / (1.0 - product(at, m) / length * slope);
        }
        if !(d > low && d < high) {
            return None;
        }
        let place = table.place(d);
        let (drift, drift_slope) = table.drift(&place);
        let at = moved(drift);
        let length = product(at, at).sqrt();
        let on_sky = |v: [f64; 3]| -> [f64; 3] { std::array::from_fn(|sky| v[selection.layer.axes[sky]]) };
        let n = on_sky(at.map(|c| c / length));
        let m = on_sky(m);
        let response = 1.0 / (1.0 - product(n, m) * drift_slope);
        Some(Seen { particle, m, n, d, drift, drift_slope, response, place })
    }

    fn planes(&self, selection: &Selection) -> Vec<(usize, usize)> {
        let outer = selection.near_far.1;
        let inside =
            |&(copy, i): &(usize, usize)| (selection.places[0][i] + selection.copies[copy][0]).abs() <= outer;
        let all = (0..selection.copies.len()).flat_map(|copy| (0..self.side).map(move |i| (copy, i)));
        all.filter(inside).collect()
    }

    fn visit<T: Real>(
        &self,
        layers: &mut [Vec<T>],
        table: &Table<f64>,
        particles: Particles<'_, T>,
        f: impl Fn(&Selection, Seen, &mut [T]) + Sync,
    ) {
        for selection in self.selections(table, particles) {
            let planes = self.planes(&selection);
            let chunk = planes.len().div_ceil(LAYERS).max(1);
            planes.par_chunks(chunk).zip(&mut *layers).for_each(|(planes, map)| {
                self.for_seen(&selection, planes, table, particles, |seen| f(&selection, seen, map));
            });
        }
    }

    /// Paints what is seen in a view.
    pub(super) fn paint<T: Real>(
        &self,
        layers: &mut [Vec<T>],
        table: &Table<f64>,
        particles: Particles<'_, T>,
    ) {
        self.visit(layers, table, particles, |_, seen, map| {
            let (pixels, sight) = (self.pixels.around_vector(seen.n), seen.sight(particles.birth));
            for which in (0..self.maps).filter(|&which| table.lenses(which, seen.d)) {
                let weight = table.weight(which, &sight);
                for (pixel, w) in pixels.pixels.into_iter().zip(pixels.weights) {
                    map[pixel * self.maps + which] += T::of(w * weight);
                }
            }
        });
    }

    /// Paints the change of what is seen when particles and the table change.
    pub(super) fn paint_push<T: Real>(
        &self,
        layers: &mut [Vec<T>],
        (table, changes): (&Table<f64>, &[f64]),
        Moving { at, by }: Moving<'_, T>,
    ) {
        let n3 = self.side.pow(3);
        self.visit(layers, table, at, |selection, seen, map| {
            let part = |v: &[T]| -> [f64; 3] {
                std::array::from_fn(|sky| {
                    selection.layer.signs[sky] * v[selection.layer.axes[sky] * n3 + seen.particle].f64()
                })
            };
            let (dx, dp) = (part(by.x), part(by.p));
            let table_drift = table.drift_change(changes, &seen.place);
            let direct: [f64; 3] =
                std::array::from_fn(|c| dx[c] + dp[c] * seen.drift + seen.m[c] * table_drift);
            let dd = product(seen.n, direct) * seen.response;
            let dr: [f64; 3] = std::array::from_fn(|c| direct[c] + seen.m[c] * seen.drift_slope * dd);
            let (pixels, along) = (self.pixels.around_vector(seen.n), tangents(seen.n));
            let [by_theta, by_phi] = along.map(|tangent| product(tangent, dr) / seen.d);
            let sight = seen.sight(at.birth);
            // The line of sight turns with the particle.
            let turned: [f64; 3] =
                std::array::from_fn(|c| (dr[c] - seen.n[c] * product(seen.n, dr)) / seen.d);
            let d_away = product(seen.n, dp) + product(seen.m, turned);
            let born = at.birth.change(by.birth, seen.particle);
            for which in (0..self.maps).filter(|&which| table.lenses(which, seen.d)) {
                let weight = table.weight_and_slopes(which, &sight);
                let change = weight.change(dd, d_away, born) + table.weight_change(changes, which, &sight);
                for i in 0..4 {
                    let moved = pixels.by_theta[i] * by_theta + pixels.by_phi[i] * by_phi;
                    map[pixels.pixels[i] * self.maps + which] +=
                        T::of(pixels.weights[i] * change + weight.value * moved);
                }
            }
        });
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
            let planes = self.planes(&selection);
            let units = (&planes[..], self.side.pow(2));
            gather(units, table, &selection.layer, &mut bars, |planes, given| {
                self.for_seen(&selection, planes, table, particles, |seen| {
                    self.pull_one(&seen, (table, particles.birth), map, given);
                });
            });
        }
    }

    /// Adds what one seen particle is given.
    fn pull_one<T: Real>(
        &self,
        seen: &Seen,
        (table, birth): (&Table<f64>, Birth<'_, T>),
        map: &[T],
        given: &mut Given<T>,
    ) {
        let (pixels, along) = (self.pixels.around_vector(seen.n), tangents(seen.n));
        let sight = seen.sight(birth);
        let (mut d_bar, mut turn_bar, mut away_bar, mut birth_bar) = (0.0, [0.0; 2], 0.0, [0.0; 2]);
        for which in (0..self.maps).filter(|&which| table.lenses(which, seen.d)) {
            let (mut read, mut slopes) = (0.0, [0.0; 2]);
            for i in 0..4 {
                let value = map[pixels.pixels[i] * self.maps + which].f64();
                read += pixels.weights[i] * value;
                slopes[0] += pixels.by_theta[i] * value;
                slopes[1] += pixels.by_phi[i] * value;
            }
            let weight = table.weight_and_slopes(which, &sight);
            d_bar += weight.by_distance * read;
            away_bar += weight.by_away * read;
            birth_bar.iter_mut().zip(weight.by_birth).for_each(|(sum, by)| *sum += by * read);
            turn_bar[0] += weight.value * slopes[0];
            turn_bar[1] += weight.value * slopes[1];
            table.weight_pull(&mut given.table, which, &sight, read);
        }
        // Directions turn by what the particle moves across the line of sight; then d = |r + m drift(d)|.
        let turned: [f64; 3] = std::array::from_fn(|c| {
            let across = turn_bar[0] * along[0][c] + turn_bar[1] * along[1][c];
            (across + away_bar * (seen.m[c] - seen.n[c] * sight.away)) / seen.d
        });
        d_bar += product(turned, seen.m) * seen.drift_slope;
        let r_bar: [f64; 3] = std::array::from_fn(|c| turned[c] + seen.n[c] * d_bar * seen.response);
        let drift_bar = product(r_bar, seen.m);
        table.drift_pull(&mut given.table, &seen.place, drift_bar);
        let m_bar = std::array::from_fn(|c| r_bar[c] * seen.drift + seen.n[c] * away_bar);
        given.give(seen.particle, [r_bar, m_bar], birth.pull(seen.particle, birth_bar));
    }
}
