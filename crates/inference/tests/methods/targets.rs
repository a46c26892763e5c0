//! Targets whose posterior is known, and what tests ask of a method.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use lookback_inference::{Draw, Error, Evaluator, Method, Posterior, Result, Target, Workers, run_to_end};
use lookback_likelihood::{Gaussian, Poisson};
use lookback_operator::{DynOperator, LinearOperator, Pointwise, Real, Space};

/// A small dense matrix as a linear model.
pub struct Dense {
    rows: Vec<Vec<f64>>,
    domain: Space,
    codomain: Space,
}

impl<T: Real> LinearOperator<T> for Dense {
    type Scratch = ();

    fn name(&self) -> String {
        "dense matrix".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) {}

    fn forward(&self, x: &[T], y: &mut [T], (): &mut ()) {
        for (y, row) in y.iter_mut().zip(&self.rows) {
            *y = row.iter().zip(x).map(|(&a, &x)| T::of(a) * x).sum();
        }
    }

    fn adjoint(&self, y: &[T], x: &mut [T], (): &mut ()) {
        for (j, x) in x.iter_mut().enumerate() {
            *x = self.rows.iter().zip(y).map(|(row, &y)| T::of(row[j]) * y).sum();
        }
    }
}

pub const SIGMA: f64 = 0.5;

pub fn matrix() -> Vec<Vec<f64>> {
    vec![vec![1.0, 0.5, -0.2], vec![0.3, -1.2, 0.8], vec![0.0, 0.4, 1.5], vec![2.0, 0.1, 0.0]]
}

pub fn data() -> Vec<f64> {
    vec![0.7, -1.0, 2.0, 1.1]
}

pub fn linear_posterior<T: Real>() -> Posterior<T> {
    let codomain = Space::single("y", &[4], "");
    let dense = Dense { rows: matrix(), domain: Space::single("z", &[3], ""), codomain: codomain.clone() };
    let data = data().into_iter().map(T::of).collect();
    let likelihood = Gaussian::new(codomain, data, &[T::of(SIGMA); 4]).expect("valid");
    Posterior::new(dense.shared(), Arc::new(likelihood)).expect("fits")
}

/// Inverse of a 3 x 3 matrix by Gauss-Jordan elimination.
pub fn inverse(mut a: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let mut b = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for i in 0..3 {
        let pivot = a[i][i];
        for j in 0..3 {
            a[i][j] /= pivot;
            b[i][j] /= pivot;
        }
        for k in (0..3).filter(|&k| k != i) {
            let factor = a[k][i];
            for j in 0..3 {
                a[k][j] -= factor * a[i][j];
                b[k][j] -= factor * b[i][j];
            }
        }
    }
    b
}

/// Mean and covariance of the linear posterior: `D = (1 + A^T A / sigma^2)^-1`, `m = D A^T d / sigma^2`.
pub fn exact() -> ([f64; 3], [[f64; 3]; 3]) {
    let (a, d) = (matrix(), data());
    let mut precision = [[0.0; 3]; 3];
    let mut b = [0.0; 3];
    for i in 0..3 {
        for j in 0..3 {
            let product: f64 = a.iter().map(|row| row[i] * row[j]).sum();
            precision[i][j] = product / SIGMA / SIGMA + f64::from(u8::from(i == j));
        }
        b[i] = a.iter().zip(&d).map(|(row, d)| row[i] * d).sum::<f64>() / SIGMA / SIGMA;
    }
    let covariance = inverse(precision);
    let mean = [0, 1, 2].map(|i| (0..3).map(|j| covariance[i][j] * b[j]).sum());
    (mean, covariance)
}

/// `count ~ Poisson(exp(z))`, `z ~ N(0, 1)`: one dimension, so that quadrature gives the truth.
pub fn poisson_posterior(count: f64) -> Posterior<f64> {
    let space = Space::single("z", &[1], "");
    let model: DynOperator<f64> = Arc::new(Pointwise::exp(space.clone()));
    let likelihood = Poisson::new(space, vec![count], vec![true]).expect("valid");
    Posterior::new(model, Arc::new(likelihood)).expect("fits")
}

/// Mean and standard deviation of the Poisson posterior by quadrature.
pub fn quadrature(count: f64) -> (f64, f64) {
    let points = (0..40_000).map(|i| -8.0 + 16.0 * f64::from(i) / 40_000.0);
    let weight = |z: f64| (-0.5 * z * z - z.exp() + count * z).exp();
    let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
    for z in points {
        total += weight(z);
        first += weight(z) * z;
        second += weight(z) * z * z;
    }
    (first / total, (second / total - (first / total).powi(2)).sqrt())
}

/// An energy and its gradient as a function.
pub struct Formula<F> {
    pub dim: usize,
    pub energy: F,
}

pub struct Place<'a, F>(&'a F);

impl<F: Fn(&[f64], &mut [f64]) -> f64 + Sync> Target<f64> for Formula<F> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
        Box::new(Place(&self.energy))
    }
}

impl<F: Fn(&[f64], &mut [f64]) -> f64 + Sync> Evaluator<f64> for Place<'_, F> {
    fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
        Ok((self.0)(z, gradient))
    }
}

pub fn samples<T: Real>(draws: &[Draw<T>]) -> Vec<Vec<f64>> {
    let sample = |draw: &Draw<T>| match draw {
        Draw::Sample { z, .. } => Some(z.iter().map(|z| z.f64()).collect()),
        Draw::Centre { .. } => None,
    };
    draws.iter().filter_map(sample).collect()
}

pub fn centre<T: Real>(draws: &[Draw<T>]) -> Vec<f64> {
    let centre = draws.iter().find_map(|draw| match draw {
        Draw::Centre { z } => Some(z.iter().map(|z| z.f64()).collect()),
        Draw::Sample { .. } => None,
    });
    centre.expect("a centre")
}

pub fn figure(method: &impl Method<f64>, name: &str) -> f64 {
    method.figure(name).expect("a figure")
}

/// Stops a method after every step, writes it to bytes and reads it back: the draws are those of an unbroken run.
pub fn survives_interruption<M: Method<f64> + Clone>(method: M, target: &dyn Target<f64>) {
    let unbroken = run_to_end(&mut method.clone(), target).expect("runs");
    let stop = AtomicBool::new(false);
    let initial = method.clone();
    let (mut method, mut draws) = (method, Vec::new());
    loop {
        let workers = Workers::new(target, &stop);
        let progress = method.advance(&workers, &mut |draw| draws.push(draw)).expect("advances");
        let bytes = postcard::to_stdvec(&method).expect("can be written");
        method = postcard::from_bytes(&bytes).expect("can be read");
        if progress.done {
            break;
        }
    }
    assert_eq!(draws, unbroken);
    survives_stops_within_steps(initial, target, &unbroken);
}

/// A target during whose gradients and metric products a user asks to stop, once so many are through.
struct Stopping<'a> {
    target: &'a dyn Target<f64>,
    stop: &'a AtomicBool,
    left: AtomicI64,
}

struct StoppingPlace<'a> {
    evaluator: Box<dyn Evaluator<f64> + 'a>,
    target: &'a Stopping<'a>,
}

impl Target<f64> for Stopping<'_> {
    fn dim(&self) -> usize {
        self.target.dim()
    }

    fn evaluator(&self) -> Box<dyn Evaluator<f64> + '_> {
        Box::new(StoppingPlace { evaluator: self.target.evaluator(), target: self })
    }

    fn crowd(&self) -> usize {
        self.target.crowd()
    }

    fn normalisation(&self) -> f64 {
        self.target.normalisation()
    }

    fn is_quadratic(&self) -> bool {
        self.target.is_quadratic()
    }

    fn simulate(&self, z: &[f64], seed: u64, draw: u32) -> Result<Box<dyn Target<f64> + '_>> {
        self.target.simulate(z, seed, draw)
    }
}

impl StoppingPlace<'_> {
    fn count(&self) {
        if self.target.left.fetch_sub(1, Relaxed) == 1 {
            self.target.stop.store(true, Relaxed);
        }
    }
}

impl Evaluator<f64> for StoppingPlace<'_> {
    fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
        self.count();
        self.evaluator.energy(z, gradient)
    }

    fn refusal(&self) -> Option<Error> {
        self.evaluator.refusal()
    }

    fn metric(&mut self, v: &[f64], out: &mut [f64]) -> Result<()> {
        self.count();
        self.evaluator.metric(v, out)
    }

    fn coordinate(&mut self) -> Result<Vec<f64>> {
        self.evaluator.coordinate()
    }

    fn coordinate_push(&mut self, v: &[f64]) -> Result<Vec<f64>> {
        self.evaluator.coordinate_push(v)
    }

    fn coordinate_pull(&mut self, w: &[f64], out: &mut [f64]) -> Result<()> {
        self.evaluator.coordinate_pull(w, out)
    }

    fn metric_sample(&mut self, seed: u64, draw: u32, out: &mut [f64]) -> Result<()> {
        self.evaluator.metric_sample(seed, draw, out)
    }
}

/// Stops a method in the middle of its steps, later and later, and lets it go on: the draws are those of an unbroken run.
fn survives_stops_within_steps<M: Method<f64>>(
    mut method: M,
    target: &dyn Target<f64>,
    unbroken: &[Draw<f64>],
) {
    let (mut draws, mut stops, mut done) = (Vec::new(), 0, false);
    let stop = AtomicBool::new(false);
    while !done {
        let target = Stopping { target, stop: &stop, left: AtomicI64::new(5 + 3 * stops) };
        let workers = Workers::new(&target, &stop);
        while !done {
            let mut of_step = Vec::new();
            match method.advance(&workers, &mut |draw| of_step.push(draw)) {
                Ok(progress) => done = progress.done,
                Err(Error::Interrupted) => break,
                Err(error) => panic!("{error}"),
            }
            draws.extend(of_step);
        }
        stops += i64::from(stop.swap(false, Relaxed));
    }
    assert!(stops > 0, "there was nothing to stop");
    assert_eq!(draws, unbroken, "{stops} stops");
}
