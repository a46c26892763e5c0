//! Convergence to shear on the sphere, by spherical harmonics.

use std::f64::consts::PI;

use lookback_mesh::{Healpix, Legendre, Rings};
use lookback_operator::{Block, LinearOperator, Real, Space};
use num_complex::Complex;
use rayon::prelude::*;

/// How often what harmonics leave of a map is analysed again: sums over pixels are integrals to 1e-3 only.
const ROUNDS: usize = 3;

/// `kappa` to `gamma1, gamma2` on HEALPix pixels in ring order: second derivatives of the potential `psi` of which `kappa` is half the
/// Laplacian, so that `gamma_lm = -sqrt((l + 2) (l - 1) / (l (l + 1))) kappa_lm` in harmonics of spin 2 (Hu 2000, PRD 62,
/// 043007; Zaldarriaga & Seljak 1997, PRD 55, 1830).
///
/// At each pixel `x` points east (along `phi`) and `y` north (against `theta`), as on flat maps: `gamma1 = (psi_xx - psi_yy) / 2`,
/// `gamma2 = psi_xy`. (With `x` to the south, as in maps of polarisation of the microwave background, both have the other
/// sign.) Harmonics of `2 <= l <= 2 nside` take part, found by sums over pixels and three rounds of what these leave; the rest has no shear here. Cost: nine
/// transforms of the sphere, each with `8 nside^3` terms of a recursion. Memory: some `30 nside^2` complex numbers.
pub struct SphereShear {
    sphere: Healpix,
    rings: Rings,
    domain: Space,
    codomain: Space,
}

impl SphereShear {
    /// Shear on the pixels of a sphere.
    pub fn new(sphere: Healpix) -> SphereShear {
        let shape = [sphere.pixels()];
        let rings = Rings::new(&sphere, 2 * sphere.nside());
        let gamma = ["gamma1", "gamma2"].map(|name| Block::new(name, &shape, ""));
        SphereShear {
            sphere,
            rings,
            domain: Space::single("kappa", &shape, ""),
            codomain: Space::new(gamma.to_vec()),
        }
    }

    /// Bytes at the peak: maps, phases and harmonics.
    pub fn memory(nside: usize) -> usize {
        30 * size_of::<Complex<f64>>() * nside * nside
    }

    /// Weight of a pixel in an integral.
    fn weight(&self) -> f64 {
        4.0 * PI / self.sphere.pixels() as f64
    }

    /// From harmonics of the convergence to those of the potential, in place, with the orders `-m` counted.
    fn to_potential(&self, harmonics: &mut [Vec<Complex<f64>>]) {
        for (m, order) in harmonics.iter_mut().enumerate() {
            for (i, a) in order.iter_mut().enumerate() {
                let l = m + i;
                *a *= if l < 2 { 0.0 } else { -2.0 * halves(m) / (l * (l + 1)) as f64 };
            }
        }
    }
}

/// Harmonics that one of order `m` stands for: itself and that of `-m`.
fn halves(m: usize) -> f64 {
    if m == 0 { 1.0 } else { 2.0 }
}

/// `y += a x`.
fn add(a: f64, x: &[Vec<Complex<f64>>], y: &mut [Vec<Complex<f64>>]) {
    for (y, x) in y.iter_mut().flatten().zip(x.iter().flatten()) {
        *y += x * a;
    }
}

fn scale(harmonics: &mut [Vec<Complex<f64>>], factor: impl Fn(usize) -> f64) {
    for (m, order) in harmonics.iter_mut().enumerate() {
        order.iter_mut().for_each(|a| *a *= factor(m));
    }
}

/// Shear of a potential `P(theta) exp(i m phi)`: a factor of `gamma1`, and one of `gamma2` that belongs to `i exp(i m phi)`.
fn second_derivatives((l, m): (usize, usize), theta: f64, value: f64, slope: f64) -> [f64; 2] {
    let (sine, cosine) = theta.sin_cos();
    let (cotangent, m) = (cosine / sine, m as f64);
    // psi_thetatheta - psi_phiphi, with Legendre's equation for the second derivative.
    let difference = -2.0 * cotangent * slope - ((l * (l + 1)) as f64 - 2.0 * m * m / (sine * sine)) * value;
    [-0.5 * difference, -m / sine * (slope - cotangent * value)]
}

impl<T: Real> LinearOperator<T> for SphereShear {
    type Scratch = ();

    fn name(&self) -> String {
        "shear on the sphere".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) {}

    fn forward(&self, kappa: &[T], gamma: &mut [T], (): &mut ()) {
        let (orders, weight) = (self.rings.orders(), self.weight());
        let mut harmonics = self.rings.analyse(kappa);
        scale(&mut harmonics, |_| weight);
        for _ in 0..ROUNDS {
            let mut seen = harmonics.clone();
            scale(&mut seen, halves);
            let seen: Vec<f64> = self.rings.spread(&seen);
            let left: Vec<f64> = kappa.iter().zip(seen).map(|(kappa, seen)| kappa.f64() - seen).collect();
            add(weight, &self.rings.analyse(&left), &mut harmonics);
        }
        self.to_potential(&mut harmonics);
        let order = |(m, potential): (usize, &Vec<Complex<f64>>)| {
            let legendre = Legendre::new(m, orders - 1);
            let ring = |theta: f64| {
                let mut sums = [Complex::<f64>::default(); 2];
                legendre.visit_with_slopes(theta, |l, value, slope| {
                    let [first, second] = second_derivatives((l, m), theta, value, slope);
                    sums[0] += potential[l - m] * first;
                    sums[1] += potential[l - m] * Complex::new(0.0, second);
                });
                sums
            };
            self.rings.colatitudes().map(ring).map(|[first, second]| (first, second)).unzip()
        };
        let (first, second): (Vec<Vec<_>>, Vec<Vec<_>>) = harmonics.par_iter().enumerate().map(order).unzip();
        let (gamma1, gamma2) = gamma.split_at_mut(kappa.len());
        gamma1.copy_from_slice(&self.rings.map(&first));
        gamma2.copy_from_slice(&self.rings.map(&second));
    }

    fn adjoint(&self, gamma: &[T], kappa: &mut [T], (): &mut ()) {
        let (orders, weight) = (self.rings.orders(), self.weight());
        let (gamma1, gamma2) = gamma.split_at(kappa.len());
        let phases = [self.rings.phases(gamma1), self.rings.phases(gamma2)];
        let order = |m: usize| {
            let legendre = Legendre::new(m, orders - 1);
            let mut potential = vec![Complex::<f64>::default(); orders - m];
            for (ring, theta) in self.rings.colatitudes().enumerate() {
                let [one, two] = [0, 1].map(|which| phases[which][ring * orders + m]);
                legendre.visit_with_slopes(theta, |l, value, slope| {
                    let [first, second] = second_derivatives((l, m), theta, value, slope);
                    potential[l - m] += one * first + two * Complex::new(0.0, -second);
                });
            }
            potential
        };
        let mut harmonics: Vec<Vec<_>> = (0..orders).into_par_iter().map(order).collect();
        self.to_potential(&mut harmonics);
        // The transpose of `ROUNDS` of what is left: `sum_j (1 - S^T A^T)^j` for analysis `A` and synthesis `S`.
        let mut left = harmonics.clone();
        for _ in 0..ROUNDS {
            let map: Vec<f64> = self.rings.spread(&left);
            let mut seen = self.rings.analyse(&map);
            scale(&mut seen, halves);
            add(-weight, &seen, &mut left);
            add(1.0, &left, &mut harmonics);
        }
        scale(&mut harmonics, |_| weight);
        kappa.copy_from_slice(&self.rings.spread(&harmonics));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shear(nside: usize, map: impl Fn(usize, f64, f64) -> f64) -> (Healpix, Vec<f64>) {
        let sphere = Healpix::new(nside).expect("a sphere");
        let operator = SphereShear::new(sphere.clone());
        let n = sphere.pixels();
        let kappa: Vec<f64> = (0..n)
            .map(|pixel| {
                let (theta, phi) = sphere.centre(pixel);
                map(pixel, theta, phi)
            })
            .collect();
        let mut gamma = vec![0.0; 2 * n];
        operator.forward(&kappa, &mut gamma, &mut ());
        (sphere, gamma)
    }

    /// `kappa = 3 cos^2 - 1`, with mass at the poles: images are stretched around them, by `sin^2`.
    #[test]
    fn shear_of_a_quadrupole_is_tangential() {
        let (sphere, gamma) = shear(32, |_, theta, _| 3.0 * theta.cos().powi(2) - 1.0);
        let (gamma1, gamma2) = gamma.split_at(sphere.pixels());
        for pixel in 0..sphere.pixels() {
            let (theta, _) = sphere.centre(pixel);
            assert!((gamma1[pixel] - theta.sin().powi(2)).abs() < 1e-3, "{theta}: {}", gamma1[pixel]);
            assert!(gamma2[pixel].abs() < 1e-3);
        }
    }

    /// `kappa = sin^2 cos 2 phi` has `psi = -kappa / 3`, of which the derivatives are taken by hand.
    #[test]
    fn the_second_component_is_that_of_axes_to_the_east_and_north() {
        let (sphere, gamma) = shear(32, |_, theta, phi| theta.sin().powi(2) * (2.0 * phi).cos());
        let (gamma1, gamma2) = gamma.split_at(sphere.pixels());
        for pixel in 0..sphere.pixels() {
            let (theta, phi) = sphere.centre(pixel);
            let first = (1.0 + theta.cos().powi(2)) / 3.0 * (2.0 * phi).cos();
            // psi_(theta phi) / sin - cot psi_phi / sin, against north.
            let second = -2.0 / 3.0 * theta.cos() * (2.0 * phi).sin();
            assert!((gamma1[pixel] - first).abs() < 1e-3, "{theta} {phi}: {} {first}", gamma1[pixel]);
            assert!((gamma2[pixel] - second).abs() < 1e-3, "{theta} {phi}: {} {second}", gamma2[pixel]);
        }
    }

    /// `healpy.alm2map_spin` of `healpy.map2alm(map, lmax=16, iter=3)` times `-sqrt((l + 2) (l - 1) / (l (l + 1)))`, whose sign and axes
    /// (`x` to the south) differ twice from ours.
    #[test]
    fn shear_is_that_of_healpy() {
        let (sphere, gamma) =
            shear(8, |i, _, _| (i as f64 * 0.37).sin() + (i as f64 * i as f64 * 1e-3).cos());
        for (pixel, first, second) in REFERENCE {
            let ours = [gamma[pixel], gamma[sphere.pixels() + pixel]];
            assert!((ours[0] - first).abs() < 1e-10 && (ours[1] - second).abs() < 1e-10, "{pixel}: {ours:?}");
        }
    }

    const REFERENCE: [(usize, f64, f64); 8] = [
        (0, 0.1997232383291596, -0.5882500484709987),
        (3, 0.42421894229163637, 0.5579032090607844),
        (17, 1.1779520602359916, -0.21652307909035468),
        (100, 0.994017497406586, -0.70012299496981),
        (383, 0.5628812180427412, 0.37813268356975366),
        (384, 0.9790371030169085, 0.30865643184949565),
        (500, -0.06608506019429367, 0.54126356708204),
        (767, -0.8417849967416408, 0.09342614446693988),
    ];
}
