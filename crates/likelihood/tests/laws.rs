//! Laws that every likelihood obeys, run over all of them; and closed forms for their values.

use std::sync::Arc;

use lookback_likelihood::{ComplexGaussian, CorrelatedGaussian, Gaussian, Likelihood, Poisson, StudentT};
use lookback_operator::Space;
use lookback_operator::random::{Purpose, Stream};
use statrs::distribution::{Continuous, Discrete, Normal, Poisson as PoissonLaw, StudentsT};

const N: usize = 40;

fn space() -> Space {
    Space::single("p", &[N], "")
}

fn prediction() -> Vec<f64> {
    (0..N).map(|i| 3.0 + 2.0 * (i as f64).sin()).collect()
}

/// Noise levels; entry 7 is masked.
fn sigma(n: usize) -> Vec<f64> {
    (0..n).map(|i| if i == 7 { f64::INFINITY } else { 0.5 + 0.1 * i as f64 }).collect()
}

/// What correlated noise moves together.
fn factors() -> Vec<Vec<f64>> {
    (1..4).map(|k| (0..N).map(|i| 2.0 * (0.3 * (k * i) as f64).cos()).collect()).collect()
}

/// Without factors, correlated noise is the plain one.
#[test]
fn noise_without_correlations_is_plain() {
    let data: Vec<f64> = (0..N).map(|i| (i % 5) as f64).collect();
    let plain = Gaussian::new(space(), data.clone(), &sigma(N)).expect("valid");
    let other = CorrelatedGaussian::new(space(), data, &sigma(N), &[]).expect("valid");
    let (mut a, mut b) = (vec![0.0; N], vec![0.0; N]);
    let energies = (plain.energy(&prediction(), &mut a), other.energy(&prediction(), &mut b));
    assert!((energies.0 - energies.1).abs() < 1e-12 * energies.0);
    assert!((plain.normalisation() - other.normalisation()).abs() < 1e-10);
    a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-13));
}

/// Every likelihood of the crate; a new one is added here.
fn all() -> Vec<Arc<dyn Likelihood<f64>>> {
    let data: Vec<f64> = (0..N).map(|i| (2 * i % 7) as f64).collect();
    let observed = (0..N).map(|i| i != 7).collect();
    vec![
        Arc::new(Gaussian::new(space(), data.clone(), &sigma(N)).expect("valid")),
        Arc::new(ComplexGaussian::new(space(), data.clone(), &sigma(N / 2)).expect("valid")),
        Arc::new(CorrelatedGaussian::new(space(), data.clone(), &sigma(N), &factors()).expect("valid")),
        Arc::new(StudentT::new(space(), data.clone(), &sigma(N), 4.0).expect("valid")),
        Arc::new(Poisson::new(space(), data, observed).expect("valid")),
    ]
}

#[test]
fn gradients_are_derivatives() {
    for likelihood in all() {
        let p = prediction();
        let mut gradient = vec![0.0; N];
        likelihood.energy(&p, &mut gradient);
        let at = |i: usize, h: f64| {
            let mut moved = p.clone();
            moved[i] += h;
            likelihood.energy(&moved, &mut vec![0.0; N])
        };
        for (i, exact) in gradient.iter().enumerate() {
            let h = 1e-3;
            let numeric = (8.0 * (at(i, h) - at(i, -h)) - at(i, 2.0 * h) + at(i, -2.0 * h)) / (12.0 * h);
            assert!((numeric - exact).abs() < 1e-8, "{} {i}: {numeric} {exact}", likelihood.name());
        }
    }
}

/// The Fisher metric is the covariance of the gradient over data drawn from the prediction, and the gradient averages
/// to zero: 20,000 simulations, five standard errors.
#[test]
fn the_metric_is_the_covariance_of_the_score() {
    let draws = 20_000;
    for likelihood in all() {
        let p = prediction();
        let (mut sum, mut squares, mut fourth) = (vec![0.0; N], vec![0.0; N], vec![0.0; N]);
        for draw in 0..draws {
            let data = likelihood.simulate(&p, Stream::new(3, Purpose::Noise, draw));
            let mut score = vec![0.0; N];
            likelihood.with_data(data).expect("simulated data are possible").energy(&p, &mut score);
            for i in 0..N {
                sum[i] += score[i];
                squares[i] += score[i] * score[i];
                fourth[i] += score[i].powi(4);
            }
        }
        let n = f64::from(draws);
        for i in 0..N {
            let (mut unit, mut root, mut metric) = ([0.0; N], [0.0; N], [0.0; N]);
            unit[i] = 1.0;
            likelihood.metric_root(&p, &unit, &mut root);
            likelihood.metric_root_adjoint(&p, &root, &mut metric);
            let variance = squares[i] / n;
            let error = ((fourth[i] / n - variance * variance).max(0.0) / n).sqrt();
            let name = likelihood.name();
            assert!((variance - metric[i]).abs() <= 5.0 * error, "{name} {i}: {variance} {}", metric[i]);
            assert!(
                (sum[i] / n).abs() <= 5.0 * (variance / n).sqrt(),
                "{name} {i}: mean score {}",
                sum[i] / n
            );
        }
    }
}

#[test]
fn masked_data_do_not_count() {
    for likelihood in all() {
        let mut data = likelihood.data().to_vec();
        let masked: &[usize] = if likelihood.name().starts_with("complex") { &[14, 15] } else { &[7] };
        masked.iter().for_each(|&i| data[i] = f64::NAN);
        let with_nan = likelihood.with_data(data).expect("NaN is allowed where masked");
        let mut p = prediction();
        let (mut a, mut b) = (vec![0.0; N], vec![0.0; N]);
        let energy = likelihood.energy(&p, &mut a);
        assert_eq!(energy, with_nan.energy(&p, &mut b));
        masked.iter().for_each(|&i| assert_eq!((a[i], b[i]), (0.0, 0.0)));
        // Nor does what is predicted there.
        masked.iter().for_each(|&i| p[i] = f64::NAN);
        assert_eq!(energy, likelihood.energy(&p, &mut b), "{}", likelihood.name());
        masked.iter().for_each(|&i| assert_eq!(b[i], 0.0, "{}", likelihood.name()));
        likelihood.residual(&p, &mut b);
        masked.iter().for_each(|&i| assert_eq!(b[i], 0.0, "{}", likelihood.name()));
        assert!(b.iter().all(|r| r.is_finite()));
        let other = likelihood.with_data(vec![f64::NAN; N]);
        assert!(other.is_err(), "NaN is refused where it counts");
    }
}

/// Seen data add up to the whole; masked ones have no density.
#[test]
fn densities_of_data_add_up() {
    let p = prediction();
    for likelihood in all() {
        let mut each = vec![0.0; N];
        likelihood.log_densities(&p, &mut each);
        let whole = -likelihood.energy(&p, &mut [0.0; N]) - likelihood.normalisation();
        let seen: Vec<f64> = each.into_iter().filter(|log| !log.is_nan()).collect();
        assert_eq!(seen.len(), likelihood.data_count(), "{}", likelihood.name());
        let sum: f64 = seen.iter().sum();
        assert!((sum - whole).abs() < 1e-10 * whole.abs(), "{}: {sum} {whole}", likelihood.name());
    }
}

#[test]
fn values_agree_with_an_independent_library() {
    let p = prediction();
    let seen = |i: &usize| *i != 7;
    for likelihood in all() {
        let value = likelihood.energy(&p, &mut [0.0; N]) + likelihood.normalisation();
        let d = likelihood.data();
        let (s, half) = (sigma(N), sigma(N / 2));
        let name = likelihood.name();
        let expected: f64 = match name.as_str() {
            "Gaussian" => {
                (0..N).filter(seen).map(|i| -Normal::new(p[i], s[i]).expect("law").ln_pdf(d[i])).sum()
            }
            "complex Gaussian" => (0..N)
                .filter(|i| i / 2 != 7)
                .map(|i| -Normal::new(p[i], half[i / 2]).expect("law").ln_pdf(d[i]))
                .sum(),
            "correlated Gaussian" => dense(&p, d, &s),
            "Poisson" => {
                (0..N).filter(seen).map(|i| -PoissonLaw::new(p[i]).expect("law").ln_pmf(d[i] as u64)).sum()
            }
            _ => {
                (0..N).filter(seen).map(|i| -StudentsT::new(p[i], s[i], 4.0).expect("law").ln_pdf(d[i])).sum()
            }
        };
        assert!((value - expected).abs() < 1e-10 * expected.abs(), "{name}: {value} {expected}");
    }
}

/// The same from the whole covariance of the data that count.
fn dense(p: &[f64], d: &[f64], sigma: &[f64]) -> f64 {
    use nalgebra::{Cholesky, DMatrix, DVector};
    let seen: Vec<usize> = (0..N).filter(|i| *i != 7).collect();
    let factors = factors();
    let covariance = DMatrix::from_fn(seen.len(), seen.len(), |i, j| {
        let together: f64 = factors.iter().map(|f| f[seen[i]] * f[seen[j]]).sum();
        together + if i == j { sigma[seen[i]].powi(2) } else { 0.0 }
    });
    let cholesky = Cholesky::new(covariance).expect("positive");
    let r = DVector::from_iterator(seen.len(), seen.iter().map(|&i| d[i] - p[i]));
    let log_det = 2.0 * cholesky.l().diagonal().iter().map(|x| x.ln()).sum::<f64>();
    0.5 * (r.dot(&cholesky.solve(&r)) + log_det + seen.len() as f64 * std::f64::consts::TAU.ln())
}

#[test]
fn poisson_draws_follow_the_law_at_small_and_large_means() {
    for mean in [0.3, 4.0, 50.0, 3000.0] {
        let draws = 20_000usize;
        let space = Space::single("p", &[draws], "");
        let poisson = Poisson::new(space, vec![0.0; draws], vec![true; draws]).expect("valid");
        let counts = poisson.simulate(&vec![mean; draws], Stream::new(4, Purpose::Noise, 0));
        let n = draws as f64;
        let average = counts.iter().sum::<f64>() / n;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / n;
        assert!((average - mean).abs() < 5.0 * (mean / n).sqrt(), "{mean}: {average}");
        assert!(
            (variance - mean).abs() < 5.0 * ((2.0 * mean * mean + mean) / n).sqrt(),
            "{mean}: {variance}"
        );
    }
}

#[test]
fn impossible_noise_and_data_are_refused_with_the_place() {
    let refuse = |data: Vec<f64>, sigma: &[f64]| {
        Gaussian::new(space(), data, sigma).err().expect("refused").to_string()
    };
    let mut noise = sigma(N);
    for (value, shown) in [(0.0, "noise 3 is 0"), (-1.0, "noise 3 is -1"), (f64::NAN, "noise 3 is NaN")] {
        noise[3] = value;
        assert!(refuse(vec![0.0; N], &noise).contains(shown));
    }
    assert!(refuse(vec![0.0; 3], &sigma(N)).contains("data has 3 entries"));
    assert!(refuse(vec![0.0; N], &[f64::INFINITY; N]).contains("masked"));
    let negative = Poisson::new(space(), vec![-1.0; N], vec![true; N]).err().expect("refused").to_string();
    assert!(negative.contains("count 0 is -1"), "{negative}");
}

/// The derivative of the coordinate is the root of the metric, to the error of a central difference.
#[test]
fn coordinates_are_flat() {
    for likelihood in all() {
        let p: Vec<f64> = prediction();
        let stream = Stream::new(3, Purpose::Test, 9);
        let mut v = vec![0.0; N];
        stream.fill_normal(&mut v);
        let at = |side: f64| {
            let place: Vec<f64> = p.iter().zip(&v).map(|(p, v)| p + side * 1e-5 * v).collect();
            let mut out = vec![0.0; N];
            likelihood.coordinate(&place, &mut out);
            out
        };
        let mut root = vec![0.0f64; N];
        likelihood.metric_root(&p, &v, &mut root);
        for ((above, below), root) in at(1.0).into_iter().zip(at(-1.0)).zip(root) {
            assert!(((above - below) / 2e-5 - root).abs() < 1e-7, "{}", likelihood.name());
        }
    }
}
