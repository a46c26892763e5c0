//! The sphere in equal pixels on rings of equal latitude: HEALPix (Gorski et al. 2005), ring order.

use std::f64::consts::{PI, TAU};

/// HEALPix with `12 nside^2` pixels. Angles are the colatitude `theta` from the pole and the longitude `phi`, in radians.
#[derive(Debug, Clone, PartialEq)]
pub struct Healpix {
    nside: usize,
    /// From north to south.
    rings: Vec<Ring>,
}

/// A ring of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ring {
    theta: f64,
    start: usize,
    count: usize,
    /// Longitude of the first pixel, in pixels.
    shift: f64,
}

/// The four pixels around a direction: weights of a linear interpolation along rings and between them, and the derivatives
/// of these by `theta` and `phi`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbours {
    /// Pixels; in the caps one may occur twice.
    pub pixels: [usize; 4],
    /// Weights, which add up to one.
    pub weights: [f64; 4],
    /// `dw / dtheta`.
    pub by_theta: [f64; 4],
    /// `dw / dphi / sin theta`, the slope along the sphere.
    pub by_phi: [f64; 4],
}

impl Healpix {
    /// A sphere; `None` unless `nside` lies between 1 and 8192.
    pub fn new(nside: usize) -> Option<Healpix> {
        (1..=8192)
            .contains(&nside)
            .then(|| Healpix { nside, rings: (1..4 * nside).map(|i| ring(nside, i)).collect() })
    }

    /// Pixels along a side of one of the twelve base pixels.
    pub fn nside(&self) -> usize {
        self.nside
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        12 * self.nside * self.nside
    }

    /// Solid angle of a pixel \[sr\].
    pub fn solid_angle(&self) -> f64 {
        2.0 * TAU / self.pixels() as f64
    }

    /// Number of rings.
    pub fn rings(&self) -> usize {
        4 * self.nside - 1
    }

    /// Ring `i`, counted from 1 at the north pole.
    fn ring(&self, i: usize) -> Ring {
        self.rings[i - 1]
    }

    /// First pixel, number of pixels, colatitude and longitude of the first pixel of every ring.
    pub fn all_rings(&self) -> impl Iterator<Item = (usize, usize, f64, f64)> + '_ {
        (1..=self.rings()).map(move |i| {
            let ring = self.ring(i);
            (ring.start, ring.count, ring.theta, ring.shift * TAU / ring.count as f64)
        })
    }

    /// The last ring at or above a colatitude; 0 if there is none.
    fn ring_above(&self, theta: f64, z: f64) -> usize {
        let n = self.nside as f64;
        let guess = if z.abs() <= 2.0 / 3.0 {
            (n * (2.0 - 1.5 * z)) as usize
        } else {
            let from_pole = (n * (3.0 * (1.0 - z.abs())).sqrt()) as usize;
            if z > 0.0 { from_pole } else { 4 * self.nside - from_pole - 1 }
        };
        // Rounding may put a direction on a ring to either side of it.
        let mut above = guess.min(self.rings());
        while above > 0 && self.ring(above).theta > theta {
            above -= 1;
        }
        while above < self.rings() && self.ring(above + 1).theta <= theta {
            above += 1;
        }
        above
    }

    /// The pixels around a direction.
    pub fn around(&self, theta: f64, phi: f64) -> Neighbours {
        let (sine, z) = theta.sin_cos();
        self.around_place(theta, phi, (sine, z))
    }

    /// The pixels around the direction of a unit vector.
    pub fn around_vector(&self, [x, y, z]: [f64; 3]) -> Neighbours {
        let across = (x * x + y * y).sqrt();
        self.around_place(across.atan2(z), y.atan2(x), (across, z))
    }

    fn around_place(&self, theta: f64, phi: f64, (sine, z): (f64, f64)) -> Neighbours {
        let above = self.ring_above(theta, z);
        let sine = sine.max(1e-12);
        // From 0 to 2 pi.
        let phi = phi - TAU * (phi / TAU).floor();
        // Two pixels of a ring, their weights and slopes.
        let along = |i: usize| {
            let ring = self.ring(i);
            let width = TAU / ring.count as f64;
            let place = phi / width - ring.shift;
            let first = place.floor();
            let within = place - first;
            let wrap = |j: f64| {
                let (j, count) = (j as i64, ring.count as i64);
                let j = j + if j < 0 { count } else { 0 };
                ring.start + (j - if j >= count { count } else { 0 }) as usize
            };
            let slope = 1.0 / (width * sine);
            ([wrap(first), wrap(first + 1.0)], [1.0 - within, within], [-slope, slope], ring.theta)
        };
        let both = |upper: ([usize; 2], [f64; 2], [f64; 2]),
                    lower: ([usize; 2], [f64; 2], [f64; 2]),
                    t: f64,
                    dt: f64| {
            let pair = |[a, b]: [f64; 2], [c, d]: [f64; 2], x: f64, y: f64| [a * x, b * x, c * y, d * y];
            Neighbours {
                pixels: [upper.0[0], upper.0[1], lower.0[0], lower.0[1]],
                weights: pair(upper.1, lower.1, 1.0 - t, t),
                by_theta: pair(upper.1, lower.1, -dt, dt),
                by_phi: pair(upper.2, lower.2, 1.0 - t, t),
            }
        };
        if above > 0 && above < self.rings() {
            let ((a, wa, sa, from), (b, wb, sb, to)) = (along(above), along(above + 1));
            let width = to - from;
            return both((a, wa, sa), (b, wb, sb), (theta - from) / width, 1.0 / width);
        }
        // Within the ring around a pole, the pole itself is the mean of the ring.
        let (ring, edge, from_pole, sign) = if above == 0 {
            (1, self.ring(1).theta, theta, 1.0)
        } else {
            (self.rings(), PI - self.ring(self.rings()).theta, PI - theta, -1.0)
        };
        let (near, weights, slopes, _) = along(ring);
        let start = self.ring(ring).start;
        let opposite = near.map(|pixel| start + (pixel - start + 2) % 4);
        let (t, dt) = (from_pole / edge, sign / edge);
        both((opposite, [0.25; 2], [0.0; 2]), (near, weights, slopes), t, dt).with_mean(t, dt)
    }

    /// What a uniform sky gives to a pixel, over its solid angle: the interpolation gives some rings more than their share.
    /// One number for every ring.
    pub fn response(&self) -> Vec<f64> {
        // int (theta - a) sin theta = sin theta - (theta - a) cos theta.
        let rising = |from: f64, to: f64, a: f64| {
            let at = |theta: f64| theta.sin() - (theta - a) * theta.cos();
            at(to) - at(from)
        };
        (1..=self.rings())
            .map(|i| {
                let ring = self.ring(i);
                let before = match i {
                    1 => 1.0 - ring.theta.cos(),
                    _ => {
                        let above = self.ring(i - 1).theta;
                        rising(above, ring.theta, above) / (ring.theta - above)
                    }
                };
                let after = if i == self.rings() {
                    1.0 + ring.theta.cos()
                } else {
                    let below = self.ring(i + 1).theta;
                    rising(ring.theta, below, below) / (ring.theta - below)
                };
                TAU * (before + after) / (ring.count as f64 * self.solid_angle())
            })
            .collect()
    }

    /// Colatitude and longitude of the middle of a pixel.
    pub fn centre(&self, pixel: usize) -> (f64, f64) {
        let (n, cap) = (self.nside, 2 * self.nside * (self.nside - 1));
        let mirrored = self.pixels() - 1 - pixel;
        let in_cap = |p: usize| ((1.0 + (1.0 + 2.0 * p as f64).sqrt()) / 2.0) as usize;
        let i = if pixel < cap {
            in_cap(pixel)
        } else if mirrored < cap {
            4 * n - in_cap(mirrored)
        } else {
            n + (pixel - cap) / (4 * n)
        };
        // The square root may round to a neighbour.
        let i = [i.saturating_sub(1), i, i + 1]
            .into_iter()
            .find(|&i| {
                (1..=self.rings()).contains(&i) && {
                    let ring = self.ring(i);
                    (ring.start..ring.start + ring.count).contains(&pixel)
                }
            })
            .unwrap_or(1);
        let ring = self.ring(i);
        (ring.theta, ((pixel - ring.start) as f64 + ring.shift) * TAU / ring.count as f64)
    }
}

impl Neighbours {
    /// The share of the pole goes to the two near pixels as to the two opposite ones.
    fn with_mean(mut self, t: f64, dt: f64) -> Neighbours {
        for i in 2..4 {
            self.weights[i] += 0.25 * (1.0 - t);
            self.by_theta[i] -= 0.25 * dt;
        }
        self
    }
}

/// Ring `i` of a sphere, counted from 1 at the north pole.
fn ring(n: usize, i: usize) -> Ring {
    let north = i.min(4 * n - i);
    let (z, count, shift) = if north < n {
        (1.0 - (north * north) as f64 / (3 * n * n) as f64, 4 * north, 0.5)
    } else {
        let shift = if (north - n).is_multiple_of(2) { 0.5 } else { 0.0 };
        ((2 * n - north) as f64 * 2.0 / (3 * n) as f64, 4 * n, shift)
    };
    let cap = 2 * n * (n - 1);
    let start = if north < n { 2 * north * (north - 1) } else { cap + (north - n) * 4 * n };
    if i <= 2 * n {
        Ring { theta: z.acos(), start, count, shift }
    } else {
        Ring { theta: PI - z.acos(), start: 12 * n * n - start - count, count, shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `healpy.get_interp_weights` and `healpy.pix2ang` of healpy 1.20.1.
    #[test]
    fn pixels_and_weights_are_those_of_healpy() {
        let sphere = Healpix::new(4).expect("a sphere");
        for (pixel, theta, phi) in REFERENCE_CENTRES {
            let (t, p) = sphere.centre(pixel);
            assert!((t - theta).abs() < 1e-12 && (p - phi).abs() < 1e-12, "{pixel}: {t} {p}");
        }
        for (theta, phi, pixels, weights) in REFERENCE_WEIGHTS {
            let found = sphere.around(theta, phi);
            let sorted = |pixels: [usize; 4], weights: [f64; 4]| {
                let mut pairs: Vec<_> = pixels.into_iter().zip(weights).collect();
                pairs.sort_by_key(|pair| pair.0);
                pairs
            };
            let pairs = sorted(found.pixels, found.weights).into_iter().zip(sorted(pixels, weights));
            for ((pixel, weight), (expected, value)) in pairs {
                assert_eq!(pixel, expected, "{theta} {phi}");
                assert!((weight - value).abs() < 1e-10, "{theta} {phi}: {weight} {value}");
            }
        }
    }

    #[test]
    fn slopes_are_those_of_the_weights() {
        let sphere = Healpix::new(4).expect("a sphere");
        for (theta, phi) in [(0.05, 1.0), (0.3, 2.0), (0.9, 0.1), (1.6, 3.0), (2.2, 6.2), (3.1, 4.0)] {
            let at = |theta, phi| sphere.around(theta, phi);
            let (here, h) = (at(theta, phi), 1e-6);
            let (north, south) = (at(theta - h, phi), at(theta + h, phi));
            let (west, east) = (at(theta, phi - h), at(theta, phi + h));
            for i in 0..4 {
                let by_theta = (south.weights[i] - north.weights[i]) / (2.0 * h);
                let by_phi = (east.weights[i] - west.weights[i]) / (2.0 * h * theta.sin());
                assert!(
                    (by_theta - here.by_theta[i]).abs() < 1e-7,
                    "{theta}: {by_theta} {:?}",
                    here.by_theta
                );
                assert!((by_phi - here.by_phi[i]).abs() < 1e-7, "{theta}: {by_phi} {:?}", here.by_phi);
            }
        }
    }

    /// Many directions, spread evenly, give each ring its response.
    #[test]
    fn a_uniform_sky_gives_every_ring_its_response() {
        let sphere = Healpix::new(4).expect("a sphere");
        let count = 400_000;
        let mut map = vec![0.0; sphere.pixels()];
        for i in 0..count {
            let z = 1.0 - 2.0 * (f64::from(i) + 0.5) / f64::from(count);
            let found = sphere.around(z.acos(), 2.399_963_229_728_653 * f64::from(i));
            found.pixels.iter().zip(found.weights).for_each(|(&pixel, w)| map[pixel] += w);
        }
        let mean = f64::from(count) / sphere.pixels() as f64;
        let rings: Vec<_> = sphere.all_rings().collect();
        for ((start, count, ..), response) in rings.into_iter().zip(sphere.response()) {
            let found: f64 = map[start..start + count].iter().sum::<f64>() / count as f64 / mean;
            assert!((found / response - 1.0).abs() < 1e-4, "{found} {response}");
        }
    }

    const REFERENCE_CENTRES: [(usize, f64, f64); 7] = [
        (1, 0.20448019896853498, 2.356194490192345),
        (5, 0.4111378623223478, 1.1780972450961724),
        (30, 0.8410686705679303, 2.552544031041707),
        (77, 1.4033482475752073, 1.9634954084936205),
        (103, std::f64::consts::FRAC_PI_2, 6.086835766330223),
        (170, 2.5192241650347724, 1.3089969389957472),
        (191, 2.9371124546212584, 5.497787143782138),
    ];

    const REFERENCE_WEIGHTS: [(f64, f64, [usize; 4], [f64; 4]); 8] = [
        (
            0.05,
            1.0,
            [2, 3, 0, 1],
            [0.18886938655647784, 0.18886938655647784, 0.399985238357188, 0.22227598852985625],
        ),
        (
            0.3,
            2.0,
            [0, 1, 6, 7],
            [0.12194888807113474, 0.4158383902649783, 0.44072949521934845, 0.021483226444538445],
        ),
        (
            0.9,
            0.1,
            [39, 24, 40, 41],
            [0.1752070203545207, 0.5388974309366499, 0.21309284505286147, 0.07280270365596789],
        ),
        (
            1.6,
            3.0,
            [95, 96, 111, 112],
            [0.7104768488310321, 0.11511880242281852, 0.0628837083849163, 0.11152064036123302],
        ),
        (
            1.3,
            6.25,
            [71, 56, 87, 72],
            [0.35041504000490514, 0.24909159528383923, 0.033843968449932024, 0.36664939626132353],
        ),
        (
            2.2,
            6.2,
            [151, 136, 167, 152],
            [0.10330410566976393, 0.3843712880706807, 0.3646878427439945, 0.1476367635155608],
        ),
        (
            3.1,
            4.0,
            [190, 191, 188, 189],
            [0.3931009049895302, 0.2086024721579883, 0.19914831142624076, 0.19914831142624076],
        ),
        (
            2.95,
            0.2,
            [191, 188, 189, 190],
            [0.36494427926460504, 0.6035427785440464, 0.01575647109567433, 0.01575647109567433],
        ),
    ];
}
