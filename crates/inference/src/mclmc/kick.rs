//! What acts on a direction between two gradients.

use lookback_operator::Real;
use lookback_operator::vector::{self, CHUNK};
use rayon::prelude::*;

use super::pairs::{Pairs, Products, Turned};
use crate::leap::kick_and_move;
use crate::scales::Scales;

/// A turn of the velocity by the gradient, in the plane of `e = -g/|g|` and a unit vector `v` with `e . v = along`, over the time
/// `h`: coefficients of `e` and `v` in the turned unit vector, and the change of kinetic energy. Exact; written with
/// `exp(-delta)`, so that it does not overflow.
fn turn(along: f64, h: f64, norm: f64, dim: f64) -> (f64, f64, f64) {
    let delta = h * norm / (dim - 1.0);
    let zeta = (-delta).exp();
    let e = (1.0 - zeta) * (1.0 + zeta + along * (1.0 - zeta));
    let v = 2.0 * zeta;
    let length = (e * e + v * v + 2.0 * e * v * along).sqrt();
    let inner = (1.0 + along + (1.0 - along) * zeta * zeta).max(f64::MIN_POSITIVE);
    (e / length, v / length, (dim - 1.0) * (delta - std::f64::consts::LN_2 + inner.ln()))
}

/// `u^2`, `g^2` and `u g`.
fn squares<T: Real>(u: T, g: T) -> [f64; 3] {
    let (u, g) = (u.f64(), g.f64());
    [u * u, g * g, u * g]
}

/// Turns the direction of `u` by the gradient over the time `h`, makes a unit vector of it, and gives the change of kinetic energy.
pub(crate) fn rotate<T: Real>(u: &mut [T], gradient: &[T], h: f64) -> f64 {
    let [uu, gg, ug] = vector::sums([&*u, gradient], |[u, g]| squares(u, g));
    let (length, norm) = (uu.sqrt(), gg.sqrt());
    // At a flat place nothing turns.
    let (by_g, by_v, energy) = if norm > 0.0 {
        let (by_e, by_v, energy) = turn((-ug / norm / length).clamp(-1.0, 1.0), h, norm, u.len() as f64);
        (-by_e / norm, by_v, energy)
    } else {
        (0.0, 1.0, 0.0)
    };
    let (by_g, by_u) = (T::of(by_g), T::of(by_v / length));
    u.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(u, g)| {
        u.iter_mut().zip(g).for_each(|(u, g)| *u = by_u * *u + by_g * *g);
    });
    energy
}

/// What acts on a direction between two gradients: it is turned downhill, may be turned in pairs by chance, and is turned downhill again.
pub(super) struct Kick {
    /// The pairs that turn, and the cosine of their angle.
    refreshment: Option<(Pairs, f64)>,
    products: Products,
    norm: f64,
    dim: f64,
    /// The direction before the pairs turn, `before.0 u + before.1 e`, with `e` the unit vector downhill.
    before: (f64, f64),
    /// The direction now, `after.0 v + after.1 e`, where `v` is what the pairs made of it.
    after: (f64, f64),
    /// Scalar product of the direction with `e`.
    along: f64,
}

impl Kick {
    /// A kick that may turn `pairs`.
    pub fn new<T: Real>(u: &[T], g: &[T], scales: Scales<'_, T>, mut pairs: Option<Pairs>) -> Kick {
        let products = match (&mut pairs, scales) {
            (Some(pairs), _) => pairs.products(u, g, scales),
            (None, Some(scales)) => {
                Products::plain(vector::sums([u, g, scales], |[u, g, s]| squares(u, s * g)))
            }
            (None, None) => Products::plain(vector::sums([u, g], |[u, g]| squares(u, g))),
        };
        let norm = products.gg.sqrt();
        let before = (1.0 / products.uu.sqrt(), 0.0);
        let along = if norm > 0.0 { -products.ug / norm * before.0 } else { 0.0 };
        let refreshment = pairs.map(|pairs| (pairs, 1.0));
        Kick { refreshment, products, norm, dim: u.len() as f64, before, after: (1.0, 0.0), along }
    }

    /// Whether the gradient is one.
    pub fn is_finite(&self) -> bool {
        self.products.gg.is_finite()
    }

    /// Turns by the gradient over the time `h`; returns the change of kinetic energy. At a flat place nothing turns.
    pub fn rotate(&mut self, h: f64) -> f64 {
        if !(self.norm > 0.0) || h == 0.0 {
            return 0.0;
        }
        let (by_e, by_v, energy) = turn(self.along.clamp(-1.0, 1.0), h, self.norm, self.dim);
        self.after = (by_v * self.after.0, by_v * self.after.1 + by_e);
        self.along = by_v * self.along + by_e;
        energy
    }

    /// Turns the pairs, so that this share of the direction is remembered in the mean. Once in a kick, if it has pairs.
    pub fn refresh(&mut self, memory: f64) {
        let Some((_, angle)) = &mut self.refreshment else { return };
        let cos = Pairs::cosine(memory, self.dim);
        *angle = cos;
        self.before = self.composed();
        self.after = (1.0, 0.0);
        if self.norm > 0.0 {
            let (ug, gg) = self.products.turned(cos);
            self.along = -ug / self.norm * self.before.0 + gg / self.products.gg * self.before.1;
        }
    }

    /// The direction in terms of `u` and `e` where no pairs turned.
    fn composed(&self) -> (f64, f64) {
        (self.after.0 * self.before.0, self.after.0 * self.before.1 + self.after.1)
    }

    /// Writes the new direction and moves the latent along it.
    pub fn carry_out<T: Real>(&self, u: &mut [T], g: &[T], scales: Scales<'_, T>, drift: f64, z: &mut [T]) {
        let by_g = |by_e: f64| if self.norm > 0.0 { -by_e / self.norm } else { 0.0 };
        if let Some((pairs, cos)) = &self.refreshment {
            let ((by_u, before), (keep, after)) = (self.before, self.after);
            let by = Turned { by_u, by_g: by_g(before), cos: *cos, keep, down: by_g(after) };
            return pairs.carry_out(by, u, g, scales, drift, z);
        }
        let (by_u, by_e) = self.composed();
        kick_and_move([by_u, by_g(by_e), drift], u, z, g, scales);
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};

    use super::*;

    /// The turn solves `du/dt = |g|/(d-1) (e - (e.u) u)`: compared with small steps of the equation in the plane.
    #[test]
    fn the_turn_solves_its_equation() {
        let (norm, dim, h) = (7.0, 4.0, 0.9);
        for angle in [0.1, 1.5, 3.0f64] {
            let (mut along, mut across) = (angle.cos(), angle.sin());
            let (mut kinetic, pieces) = (0.0, 200_000);
            for _ in 0..pieces {
                let rate = norm / (dim - 1.0) * h / f64::from(pieces);
                kinetic += norm * along * h / f64::from(pieces);
                let before = along;
                along += rate * (1.0 - before * before);
                across -= rate * before * across;
            }
            let (e, v, energy) = turn(angle.cos(), h, norm, dim);
            assert!((e + v * angle.cos() - along).abs() < 1e-4 && (v * angle.sin() - across).abs() < 1e-4);
            assert!((energy - kinetic).abs() < 1e-3, "{energy} {kinetic}");
        }
        // Far downhill: no overflow.
        let (e, v, energy) = turn(-0.999, 1e6, 1e3, 2.0);
        assert!((e - 1.0).abs() < 1e-12 && v.abs() < 1e-12 && energy.is_finite());
    }

    /// One after the other: turned downhill, turned in pairs, turned downhill again; and the same at once.
    fn parts_and_whole<T: Real>(dim: usize, rounding: f64) {
        let stream = |draw| Stream::new(6, Purpose::Test, draw);
        let [mut u, mut g, mut z] = [0, 1, 2].map(|draw| {
            let mut numbers = vec![T::zero(); dim];
            stream(draw).fill_normal(&mut numbers);
            numbers
        });
        let unit = T::of(1.0 / vector::norm2(&u).sqrt());
        u.iter_mut().for_each(|u| *u *= unit);
        g.iter_mut().for_each(|g| *g *= T::of(3.0));
        let scales: Vec<T> = (0..dim).map(|i| T::of(0.5 + 0.3 * (i as f64).sin())).collect();
        let (start, scaled): (_, Vec<T>) = (z.clone(), g.iter().zip(&scales).map(|(&g, &s)| s * g).collect());
        let (memory, drift) = (0.9, 0.7);

        let mut expected = u.clone();
        let mut energy = rotate(&mut expected, &scaled, 0.4);
        let cos = Pairs::cosine(memory, dim as f64);
        let only_pairs = Turned { by_u: 1.0, by_g: 0.0, cos, keep: 1.0, down: 0.0 };
        let mut only = Pairs::draw(stream(7), dim);
        only.products(&expected, &g, None);
        only.carry_out(only_pairs, &mut expected, &g, None, 0.0, &mut z);
        energy += rotate(&mut expected, &scaled, 0.3);

        // Widths that are one are not read, and change nothing.
        let ones = vec![T::one(); dim];
        for pairs in [None, Some(())] {
            let moved = [None, Some(&ones[..])].map(|scales| {
                let (mut u, mut z) = (u.clone(), z.clone());
                let mut kick = Kick::new(&u, &g, scales, pairs.map(|()| Pairs::draw(stream(7), dim)));
                let mut energy = kick.rotate(0.4);
                kick.refresh(memory);
                energy += kick.rotate(0.3);
                kick.carry_out(&mut u, &g, scales, drift, &mut z);
                (u, z, energy)
            });
            assert!(moved[0] == moved[1] && moved[0].1 != z, "{dim}");
        }

        let mut kick = Kick::new(&u, &g, Some(&scales), Some(Pairs::draw(stream(7), dim)));
        let mut found = kick.rotate(0.4);
        kick.refresh(memory);
        found += kick.rotate(0.3);
        kick.carry_out(&mut u, &g, Some(&scales), drift, &mut z);
        assert!((found - energy).abs() < 1e4 * rounding * energy.abs(), "{found} {energy}");
        let near = |found: T, expected: f64| {
            let off = (found.f64() - expected).abs();
            assert!(off < 10.0 * rounding * expected.abs().max(1.0), "{dim}: {found} {expected}");
        };
        for i in 0..dim {
            near(u[i], expected[i].f64());
            near(z[i], start[i].f64() + drift * scales[i].f64() * expected[i].f64());
        }
    }

    #[test]
    fn a_kick_is_its_parts_one_after_the_other() {
        for dim in [2, 3, 100, 30_001] {
            parts_and_whole::<f64>(dim, f64::EPSILON);
            parts_and_whole::<f32>(dim, f64::from(f32::EPSILON));
        }
    }
}
