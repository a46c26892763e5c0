//! The power spectrum of a map of the full sky: spherical harmonics on rings of HEALPix pixels.

use std::f64::consts::PI;

use num_complex::Complex;
use rayon::prelude::*;
use rustfft::FftPlanner;

use crate::Healpix;

/// Numbers of the recursion are kept below this by powers of it.
const LARGE: f64 = 1e200;

/// `C_l = sum_m |a_lm|^2 / (2 l + 1)` for `l = 0 ..= largest`, with `a_lm = sum_p map_p Y*_lm(p) 4 pi / N`: sums over pixels
/// stand for integrals, which is right to about 1e-3 up to `l = 2 nside` (Gorski et al. 2005, section 5).
///
/// Cost: a Fourier transform of each ring, and `rings * largest^2 / 2` terms. Memory: `rings * largest` complex numbers.
///
/// # Panics
/// If the map does not have one number for each pixel.
pub fn sphere_spectrum(sphere: &Healpix, map: &[f64], largest: usize) -> Vec<f64> {
    assert_eq!(map.len(), sphere.pixels(), "one number for every pixel");
    let rings: Vec<_> = sphere.all_rings().collect();
    let orders = largest + 1;
    // sum_j map_j exp(-i m phi_j) for each ring and order m.
    let mut phases = vec![Complex::default(); rings.len() * orders];
    phases.par_chunks_mut(orders).zip(&rings).for_each(|(out, &(start, count, _, first))| {
        let mut line: Vec<Complex<f64>> =
            map[start..start + count].iter().map(|&x| Complex::new(x, 0.0)).collect();
        FftPlanner::new().plan_fft_forward(count).process(&mut line);
        for (m, out) in out.iter_mut().enumerate() {
            *out = line[m % count] * Complex::from_polar(1.0, -(m as f64) * first);
        }
    });
    let weight = 4.0 * PI / map.len() as f64;
    let by_order: Vec<Vec<f64>> = (0..orders)
        .into_par_iter()
        .map(|m| {
            let mut sums = vec![Complex::<f64>::default(); orders - m];
            let factors = Factors::new(m, largest);
            for (ring, &(_, _, theta, _)) in rings.iter().enumerate() {
                factors.visit(theta, |l, value| sums[l - m] += phases[ring * orders + m] * value);
            }
            sums.into_iter().map(|a| a.norm_sqr() * weight * weight).collect()
        })
        .collect();
    (0..orders)
        .map(|l| {
            let sum: f64 = (0..=l).map(|m| if m == 0 { 1.0 } else { 2.0 } * by_order[m][l - m]).sum();
            sum / (2 * l + 1) as f64
        })
        .collect()
}

/// The recursion of associated Legendre functions of one order, normalised as in `Y_lm`.
struct Factors {
    m: usize,
    /// Logarithm of the first function over `sin^m theta`.
    first: f64,
    /// `P_l = a_l (x P_(l-1) - b_l P_(l-2))` from `l = m + 1` on.
    steps: Vec<[f64; 2]>,
}

impl Factors {
    fn new(m: usize, largest: usize) -> Factors {
        // P_mm = sqrt((2m + 1) / 4 pi * prod (2k - 1) / 2k) sin^m theta, without the sign that does not count here.
        let product: f64 = (1..=m).map(|k| ((2 * k - 1) as f64 / (2 * k) as f64).ln()).sum();
        let first = 0.5 * (((2 * m + 1) as f64 / (4.0 * PI)).ln() + product);
        let m2 = (m * m) as f64;
        let a = |l: usize| {
            let l2 = (l * l) as f64;
            ((4.0 * l2 - 1.0) / (l2 - m2)).sqrt()
        };
        let steps = (m + 1..=largest)
            .map(|l| {
                let before = if l == m + 1 { 0.0 } else { 1.0 / a(l - 1) };
                [a(l), before]
            })
            .collect();
        Factors { m, first, steps }
    }

    /// Calls `f(l, P_lm(cos theta))` where the function is not negligibly small.
    fn visit(&self, theta: f64, mut f: impl FnMut(usize, f64)) {
        let (sine, x) = theta.sin_cos();
        let log = self.first + self.m as f64 * sine.ln();
        // The value is `current * LARGE^scale`.
        let scale_log = LARGE.ln();
        let mut scale = (log / scale_log).ceil().min(0.0);
        let mut current = (log - scale * scale_log).exp();
        let mut before = 0.0;
        if scale == 0.0 {
            f(self.m, current);
        }
        for (i, [a, b]) in self.steps.iter().enumerate() {
            let next = a * (x * current - b * before);
            (before, current) = (current, next);
            if scale < 0.0 && current.abs() > 1.0 {
                // What is still scaled down by LARGE is nothing; growing out of it, it starts to count.
                scale += 1.0;
                before /= LARGE;
                current /= LARGE;
            }
            if scale == 0.0 {
                f(self.m + 1 + i, current);
            }
        }
    }
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
