//! The power spectrum of a map of the full sky: spherical harmonics on rings of HEALPix pixels.

use std::f64::consts::PI;

use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;
use rustfft::FftPlanner;

use crate::{Healpix, Legendre};

/// The rings of a sphere and the orders of harmonics that are looked at: Fourier transforms along rings.
pub struct Rings {
    rings: Vec<(usize, usize, f64, f64)>,
    pixels: usize,
    orders: usize,
}

impl Rings {
    /// Rings of a sphere, for harmonics up to the degree `largest`.
    pub fn new(sphere: &Healpix, largest: usize) -> Rings {
        Rings { rings: sphere.all_rings().collect(), pixels: sphere.pixels(), orders: largest + 1 }
    }

    /// Number of orders.
    pub fn orders(&self) -> usize {
        self.orders
    }

    /// Colatitudes.
    pub fn colatitudes(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.rings.iter().map(|&(_, _, theta, _)| theta)
    }

    /// `sum_j map_j exp(-i m phi_j)` for each ring, and order `m` in it.
    ///
    /// # Panics
    /// If the map does not have one number for each pixel.
    pub fn phases<T: Real>(&self, map: &[T]) -> Vec<Complex<f64>> {
        assert_eq!(map.len(), self.pixels, "one number for every pixel");
        let mut phases = vec![Complex::default(); self.rings.len() * self.orders];
        phases.par_chunks_mut(self.orders).zip(&self.rings).for_each(|(out, &(start, count, _, first))| {
            let mut line: Vec<Complex<f64>> =
                map[start..start + count].iter().map(|x| Complex::new(x.f64(), 0.0)).collect();
            FftPlanner::new().plan_fft_forward(count).process(&mut line);
            for (m, out) in out.iter_mut().enumerate() {
                *out = line[m % count] * Complex::from_polar(1.0, -(m as f64) * first);
            }
        });
        phases
    }

    /// The transpose of [`phases`](Rings::phases): `map_j = sum_m Re(phases_m exp(i m phi_j))`, from the phases of each order, ring
    /// by ring.
    pub fn map<T: Real>(&self, orders: &[Vec<Complex<f64>>]) -> Vec<T> {
        let ring = |(ring, &(_, count, _, first)): (usize, &(usize, usize, f64, f64))| {
            let mut line = vec![Complex::<f64>::default(); count];
            for (m, phases) in orders.iter().enumerate() {
                line[m % count] += phases[ring] * Complex::from_polar(1.0, m as f64 * first);
            }
            FftPlanner::new().plan_fft_inverse(count).process(&mut line);
            line.into_iter().map(|x| T::of(x.re)).collect::<Vec<T>>()
        };
        self.rings.par_iter().enumerate().map(ring).collect::<Vec<_>>().concat()
    }

    /// `sum_p map_p Y*_lm(p)` for each order `m`, from `l = m` on.
    ///
    /// Cost: a Fourier transform of each ring, and `rings * largest^2 / 2` terms. Memory: `rings * largest` complex numbers.
    ///
    /// # Panics
    /// If the map does not have one number for each pixel.
    pub fn analyse<T: Real>(&self, map: &[T]) -> Vec<Vec<Complex<f64>>> {
        let (phases, orders) = (self.phases(map), self.orders);
        let order = |m: usize| {
            let mut sums = vec![Complex::<f64>::default(); orders - m];
            let legendre = Legendre::new(m, orders - 1);
            for (ring, theta) in self.colatitudes().enumerate() {
                legendre.visit(theta, |l, value| sums[l - m] += phases[ring * orders + m] * value);
            }
            sums
        };
        (0..orders).into_par_iter().map(order).collect()
    }

    /// The transpose of [`analyse`](Rings::analyse): `map_p = sum_lm Re(a_lm Y_lm(p))` over `m >= 0`.
    pub fn spread<T: Real>(&self, harmonics: &[Vec<Complex<f64>>]) -> Vec<T> {
        let order = |(m, harmonics): (usize, &Vec<Complex<f64>>)| {
            let legendre = Legendre::new(m, self.orders - 1);
            let ring = |theta: f64| {
                let mut sum = Complex::<f64>::default();
                legendre.visit(theta, |l, value| sum += harmonics[l - m] * value);
                sum
            };
            self.colatitudes().map(ring).collect()
        };
        let phases: Vec<Vec<_>> = harmonics.par_iter().enumerate().map(order).collect();
        self.map(&phases)
    }
}

/// Coefficients of spherical harmonics of a real map, `a_lm = sum_p map_p Y*_lm(p) 4 pi / N` for `0 <= m <= l`: sums over pixels
/// stand for integrals, which is right to about 1e-3 up to `l = 2 nside` (Gorski et al. 2005, section 5).
#[derive(Debug, Clone)]
pub struct Harmonics {
    /// `a_lm` of each `m`, from `l = m` on.
    orders: Vec<Vec<Complex<f64>>>,
}

impl Harmonics {
    /// The coefficients of a map up to the degree `largest`; cost and memory as of [`Rings::analyse`].
    ///
    /// # Panics
    /// If the map does not have one number for each pixel.
    pub fn of(sphere: &Healpix, map: &[f64], largest: usize) -> Harmonics {
        let mut orders = Rings::new(sphere, largest).analyse(map);
        let weight = 4.0 * PI / map.len() as f64;
        orders.iter_mut().flatten().for_each(|a| *a *= weight);
        Harmonics { orders }
    }

    /// `C_l = sum_m Re(a_lm b*_lm) / (2 l + 1)` of two maps, for all `l` that both have.
    pub fn spectrum_with(&self, other: &Harmonics) -> Vec<f64> {
        let term = |l: usize, m: usize| {
            let (a, b) = (self.orders[m][l - m], other.orders[m][l - m]);
            let both = a.re * b.re + a.im * b.im;
            if m == 0 { both } else { 2.0 * both }
        };
        let degrees = self.orders.len().min(other.orders.len());
        (0..degrees).map(|l| (0..=l).map(|m| term(l, m)).sum::<f64>() / (2 * l + 1) as f64).collect()
    }
}

/// The spectrum `C_l` of a map of the sphere for `l = 0 ..= largest`; see [`Harmonics`].
///
/// # Panics
/// If the map does not have one number for each pixel.
pub fn sphere_spectrum(sphere: &Healpix, map: &[f64], largest: usize) -> Vec<f64> {
    let harmonics = Harmonics::of(sphere, map, largest);
    harmonics.spectrum_with(&harmonics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_harmonic_has_its_power_at_its_degree() {
        let sphere = Healpix::new(32).expect("a sphere");
        // Y_20 = sqrt(5 / 16 pi) (3 z^2 - 1), and the real part of Y_33 ~ sin^3 cos 3 phi.
        let (mut quadrupole, mut octupole) = (vec![0.0; sphere.pixels()], vec![0.0; sphere.pixels()]);
        for pixel in 0..sphere.pixels() {
            let (theta, phi) = sphere.centre(pixel);
            quadrupole[pixel] = (5.0 / (16.0 * PI)).sqrt() * (3.0 * theta.cos().powi(2) - 1.0);
            octupole[pixel] = (35.0 / (32.0 * PI)).sqrt() * theta.sin().powi(3) * (3.0 * phi).cos();
        }
        for (map, degree) in [(quadrupole, 2), (octupole, 3)] {
            let power = sphere_spectrum(&sphere, &map, 8);
            for (l, c) in power.iter().enumerate() {
                let expected = if l == degree { 1.0 / (2 * degree + 1) as f64 } else { 0.0 };
                assert!((c - expected).abs() < 2e-3 * expected.max(1e-3), "l = {l}: {c} {expected}");
            }
        }
    }

    #[test]
    fn a_spectrum_of_two_maps_is_half_of_what_their_sum_has_more() {
        let sphere = Healpix::new(8).expect("a sphere");
        let map = |f: f64| -> Vec<f64> { (0..sphere.pixels()).map(|i| (i as f64 * f).sin()).collect() };
        let (a, b) = (map(0.3), map(0.31));
        let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let [one, two, both] = [&a, &b, &sum].map(|map| sphere_spectrum(&sphere, map, 16));
        let cross = Harmonics::of(&sphere, &a, 16).spectrum_with(&Harmonics::of(&sphere, &b, 16));
        for l in 0..=16 {
            assert!((both[l] - one[l] - two[l] - 2.0 * cross[l]).abs() < 1e-14, "l = {l}");
        }
    }

    /// `healpy.anafast(map, lmax=64, iter=0)` of the same map.
    #[test]
    fn spectra_are_those_of_healpy() {
        let sphere = Healpix::new(32).expect("a sphere");
        let map: Vec<f64> = (0..sphere.pixels())
            .map(|i| (i as f64 * 0.37).sin() + (i as f64 * i as f64 * 1e-5).cos())
            .collect();
        let power = sphere_spectrum(&sphere, &map, 64);
        for (l, expected) in REFERENCE {
            assert!((power[l] / expected - 1.0).abs() < 1e-8, "l = {l}: {} {expected}", power[l]);
        }
    }

    const REFERENCE: [(usize, f64); 7] = [
        (0, 0.0035882764903134054),
        (1, 0.007638833988632516),
        (2, 0.01250901775918269),
        (10, 0.006043862788274414),
        (33, 0.0009834548554663375),
        (50, 0.0009510450275764622),
        (64, 0.00027239669904665444),
    ];
}
