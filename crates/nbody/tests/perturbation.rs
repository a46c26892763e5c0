//! Lagrangian perturbation theory against the equation that it solves.

use lookback_cosmology::{Cosmology, Growth, Parameters, Settings};
use lookback_mesh::{Grid, RealFft};
use lookback_nbody::{Displacements, Kernels, Lpt};
use lookback_operator::random::{Purpose, Stream};
use num_complex::Complex;

const SIDE: usize = 16;

/// Growth of each order at a time: its power of the density, `D`, and `D'' + (2 + dln H/dln a) D'`; and `3/2 Omega_m` of that time.
struct Time {
    growths: [(i32, f64, f64); 5],
    pull: f64,
}

impl Time {
    /// In a universe of matter alone, today.
    fn of_matter_alone() -> Time {
        let growth = |power: i32, d: f64| (power, d, d * f64::from(power) * (f64::from(power) + 0.5));
        Time {
            growths: [
                growth(1, 1.0),
                growth(2, -3.0 / 7.0),
                growth(3, -1.0 / 3.0),
                growth(3, 10.0 / 21.0),
                growth(3, -1.0 / 7.0),
            ],
            pull: 1.5,
        }
    }

    /// In a universe at a scale factor, second derivatives from differences of the first.
    fn of(cosmology: &Cosmology<f64>, a: f64) -> Time {
        let all = |a: f64| {
            let at = cosmology.instant(a);
            [at.d1, at.d2, at.d3a, at.d3b, at.d3c]
        };
        let step = 0.02f64;
        let [before2, before, after, after2] = [-2.0, -1.0, 1.0, 2.0].map(|n| all(a * (n * step).exp()));
        let (e2, slope) = cosmology.background().e2_and_slope(a);
        let growths = std::array::from_fn(|i| {
            let near = after[i].slope - before[i].slope;
            let far = after2[i].slope - before2[i].slope;
            let curvature = (8.0 * near - far) / (12.0 * step);
            let Growth { d, slope: first, .. } = all(a)[i];
            ([1, 2, 3, 3, 3][i], d, curvature + (2.0 + 0.5 * slope / e2) * first)
        });
        Time { growths, pull: 1.5 * cosmology.background().omega_m_at(a) }
    }
}

/// A density of a few long waves, so that products of three of them still fit on the mesh.
fn long_waves(grid: &Grid) -> Vec<Complex<f64>> {
    let fft = RealFft::<f64>::new(grid);
    let mut field = vec![0.0; grid.len()];
    Stream::new(11, Purpose::Signal, 0).fill_normal(&mut field);
    let mut spectrum = fft.make_spectrum();
    fft.forward(&field, &mut spectrum);
    let half = SIDE / 2 + 1;
    for (i, mode) in spectrum.iter_mut().enumerate() {
        let k = [i / half / SIDE, i / half % SIDE, i % half].map(|i| Grid::signed(i, SIDE).abs());
        let kept = k.iter().all(|&k| k <= 2) && k != [0, 0, 0];
        *mode *= if kept { 3.0 / grid.len() as f64 } else { 0.0 };
    }
    spectrum
}

/// `v_i,j` of a vector field.
fn derivatives(grid: &Grid, v: &[f64]) -> [[Vec<f64>; 3]; 3] {
    let fft = RealFft::<f64>::new(grid);
    let n = grid.len();
    let half = SIDE / 2 + 1;
    std::array::from_fn(|component| {
        std::array::from_fn(|axis| {
            let mut spectrum = fft.make_spectrum();
            fft.forward(&v[component * n..][..n], &mut spectrum);
            for (i, mode) in spectrum.iter_mut().enumerate() {
                let index = [i / half / SIDE, i / half % SIDE, i % half][axis];
                let k = if 2 * index == SIDE { 0.0 } else { f64::from(Grid::signed(index, SIDE)) };
                let k = k * std::f64::consts::TAU / (grid.lengths()[0] * n as f64);
                *mode *= Complex::new(0.0, k);
            }
            let mut out = vec![0.0; n];
            fft.inverse(&mut spectrum, &mut out);
            out
        })
    })
}

/// Largest violation of `J div_x (L psi) = 3/2 Omega_m (J - 1)` and of `curl_x (L psi) = 0`, the equation of motion of
/// collisionless matter in Lagrangian coordinates with `L = d^2/dln a^2 + (2 + dln H/dln a) d/dln a`, for a density that is `size` times as high.
fn violation(grid: &Grid, orders: &[Vec<f64>], time: &Time, size: f64) -> f64 {
    let n = grid.len();
    let sum = |factor: &dyn Fn((i32, f64, f64)) -> f64| {
        let mut out = vec![0.0; 3 * n];
        for (psi, growth) in orders.iter().zip(time.growths) {
            let factor = size.powi(growth.0) * factor(growth);
            out.iter_mut().zip(psi).for_each(|(out, psi)| *out += factor * psi);
        }
        derivatives(grid, &out)
    };
    let psi = sum(&|(_, d, _)| d);
    let pulled = sum(&|(_, _, pulled)| pulled);
    let mut worst: f64 = 0.0;
    for cell in 0..n {
        let f = |i: usize, j: usize| psi[i][j][cell] + if i == j { 1.0 } else { 0.0 };
        let cofactor = |i: usize, j: usize| {
            let ([p, q], [r, s]) = ([(i + 1) % 3, (i + 2) % 3], [(j + 1) % 3, (j + 2) % 3]);
            f(p, r) * f(q, s) - f(p, s) * f(q, r)
        };
        let jacobian: f64 = (0..3).map(|j| f(0, j) * cofactor(0, j)).sum();
        let product = |c: usize, b: usize| (0..3).map(|j| pulled[c][j][cell] * cofactor(b, j)).sum::<f64>();
        let divergence = product(0, 0) + product(1, 1) + product(2, 2);
        worst = worst.max((divergence - time.pull * (jacobian - 1.0)).abs());
        for (b, c) in [(0, 1), (0, 2), (1, 2)] {
            worst = worst.max((product(c, b) - product(b, c)).abs());
        }
    }
    worst
}

#[test]
fn each_order_solves_the_equation_of_motion_to_its_power() {
    let grid = Grid::new(&[SIDE; 3], &[100.0; 3]).expect("a grid");
    let delta = long_waves(&grid);
    // The densities of the times that are compared are equally high.
    let times = [0.9, 0.5, 0.1].map(|a| (format!("a = {a}"), Time::of(&universe(), a)));
    for (name, time) in std::iter::once(("matter alone".into(), Time::of_matter_alone())).chain(times) {
        for (lpt, power) in [(Lpt::First, 2.0), (Lpt::Second, 3.0), (Lpt::Third, 4.0)] {
            let orders = Displacements::new(&grid, lpt, Kernels::default()).forward(&delta);
            let at = |height: f64| violation(&grid, &orders, &time, height / time.growths[0].1);
            let (coarse, fine) = (at(4e-2), at(2e-2));
            let found = (coarse / fine).log2();
            println!("{name}, {lpt:?}: violation {coarse:.2e} and {fine:.2e}, power {found:.2}");
            assert!((found - power).abs() < 0.1, "{name}, {lpt:?}: power {found}");
        }
    }
}

/// One in which dark energy changes with time and space is curved, so that no growth is a power of the first.
fn universe() -> Cosmology<f64> {
    let parameters = Parameters { w0: -0.9, wa: 0.2, omega_k: 0.02, ..Parameters::planck18() };
    Cosmology::new(parameters, Settings { radiation: false, ..Settings::default() }).expect("a cosmology")
}
