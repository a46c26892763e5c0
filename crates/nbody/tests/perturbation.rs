//! Lagrangian perturbation theory against the equation that it solves.

use lookback_mesh::{Grid, RealFft};
use lookback_nbody::{Displacements, Kernels, Lpt};
use lookback_operator::random::{Purpose, Stream};
use num_complex::Complex;

const SIDE: usize = 16;

/// Growth in a universe of matter alone, and `D'' + D'/2`: power and factor of each order.
const GROWTHS: [(i32, f64); 5] =
    [(1, 1.0), (2, -3.0 / 7.0), (3, -1.0 / 3.0), (3, 10.0 / 21.0), (3, -1.0 / 7.0)];

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

/// Largest violation of `J div_x (L psi) = 3/2 (J - 1)` and of `curl_x (L psi) = 0`, the equation of motion of
/// collisionless matter in Lagrangian coordinates, at scale factor `a`.
fn violation(grid: &Grid, orders: &[Vec<f64>], a: f64) -> f64 {
    let n = grid.len();
    let sum = |factor: &dyn Fn((i32, f64)) -> f64| {
        let mut out = vec![0.0; 3 * n];
        for (psi, growth) in orders.iter().zip(GROWTHS) {
            let factor = factor(growth);
            out.iter_mut().zip(psi).for_each(|(out, psi)| *out += factor * psi);
        }
        derivatives(grid, &out)
    };
    let psi = sum(&|(power, factor)| factor * a.powi(power));
    let pulled = sum(&|(power, factor)| f64::from(power) * (f64::from(power) + 0.5) * factor * a.powi(power));
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
        worst = worst.max((divergence - 1.5 * (jacobian - 1.0)).abs());
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
    for (lpt, power) in [(Lpt::First, 2.0), (Lpt::Second, 3.0), (Lpt::Third, 4.0)] {
        let orders = Displacements::new(&grid, lpt, Kernels::default()).forward(&delta);
        let at = |a: f64| violation(&grid, &orders, a);
        let (coarse, fine) = (at(2e-3), at(1e-3));
        let found = (coarse / fine).log2();
        println!("{lpt:?}: violation {coarse:.2e} and {fine:.2e}, power {found:.2}");
        assert!((found - power).abs() < 0.1, "{lpt:?}: power {found}");
    }
}
