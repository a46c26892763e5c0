//! MUSE on posteriors whose answer is known.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lookback_inference::{
    Derivative, Draw, Error, Method, Muse, MuseOptions, Optimizer, Posterior, Workers, run_to_end,
};
use lookback_likelihood::{Gaussian, Likelihood, Poisson};
use lookback_operator::random::{Purpose, Stream};
use lookback_operator::{Linearization, Operator, Real, Result, Space};

use super::targets::survives_interruption;

/// The funnel: `theta = 3 z_0`, prediction `exp(theta / 2) z_i`; `power` bends it: `exp(theta / 2) z_i + power z_i^3`.
struct Funnel {
    domain: Space,
    codomain: Space,
    power: f64,
}

struct FunnelAt<'a> {
    funnel: &'a Funnel,
    at: Vec<f64>,
}

const PRIOR: f64 = 3.0;

impl<T: Real> Operator<T> for Funnel {
    fn name(&self) -> String {
        "funnel".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(FunnelAt { funnel: self, at: Vec::new() })
    }
}

impl FunnelAt<'_> {
    fn width(&self) -> f64 {
        (0.5 * PRIOR * self.at[0]).exp()
    }
}

impl<T: Real> Linearization<T> for FunnelAt<'_> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.at = x.iter().map(|x| x.f64()).collect();
        let (width, power) = (self.width(), self.funnel.power);
        y.iter_mut().zip(&self.at[1..]).for_each(|(y, z)| *y = T::of(width * z + power * z.powi(3)));
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        let (width, power) = (self.width(), self.funnel.power);
        for ((dy, z), dz) in dy.iter_mut().zip(&self.at[1..]).zip(&dx[1..]) {
            let along = 0.5 * PRIOR * width * z * dx[0].f64();
            *dy = T::of(along + (width + 3.0 * power * z * z) * dz.f64());
        }
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        let (width, power) = (self.width(), self.funnel.power);
        let mut along = 0.0;
        for ((dx, z), dy) in dx[1..].iter_mut().zip(&self.at[1..]).zip(dy) {
            along += 0.5 * PRIOR * width * z * dy.f64();
            *dx = T::of((width + 3.0 * power * z * z) * dy.f64());
        }
        dx[0] = T::of(along);
        Ok(())
    }
}

fn funnel<T: Real>(latents: usize, theta: f64, power: f64) -> Posterior<T> {
    funnel_with(latents, theta, power, T::one())
}

/// The same with another noise of the last datum.
fn funnel_with<T: Real>(latents: usize, theta: f64, power: f64, last: T) -> Posterior<T> {
    let codomain = Space::single("x", &[latents], "");
    let model = Funnel { domain: Space::single("z", &[latents + 1], ""), codomain: codomain.clone(), power };
    let mut sigma = vec![T::one(); latents];
    sigma[latents - 1] = last;
    let empty = Gaussian::new(codomain, vec![T::zero(); latents], &sigma).expect("valid");
    let mut z = vec![T::zero(); latents + 1];
    Stream::new(5, Purpose::Signal, 0).fill_normal(&mut z);
    z[0] = T::of(theta / PRIOR);
    let prediction = Operator::apply(&model, &z).expect("applies");
    let data = empty.simulate(&prediction, Stream::new(5, Purpose::Noise, 0));
    Posterior::new(Arc::new(model), empty.with_data(data).expect("finite")).expect("fits")
}

/// Mean and standard deviation of `theta` given `x_i ~ N(0, 1 + exp(theta))`.
fn exact(data: &[f64]) -> (f64, f64) {
    let power: f64 = data.iter().map(|x| x * x).sum();
    let grid: Vec<f64> = (0..20_000).map(|i| -6.0 + 6e-4 * f64::from(i)).collect();
    let log = |theta: f64| {
        let variance = 1.0 + theta.exp();
        -0.5 * ((theta / PRIOR).powi(2) + power / variance + data.len() as f64 * variance.ln())
    };
    let top = grid.iter().map(|&theta| log(theta)).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = grid.iter().map(|&theta| (log(theta) - top).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mean = grid.iter().zip(&weights).map(|(theta, w)| w * theta).sum::<f64>() / sum;
    let variance = grid.iter().zip(&weights).map(|(theta, w)| w * (theta - mean).powi(2)).sum::<f64>() / sum;
    (mean, variance.sqrt())
}

fn options(simulations: usize) -> MuseOptions {
    MuseOptions { parameters: vec!["theta".into()], simulations, samples: 0, ..MuseOptions::default() }
}

fn answer<T: lookback_inference::Number>(posterior: &Posterior<T>, options: MuseOptions) -> (f64, f64) {
    let mut muse = Muse::new(options, vec![0], 1).expect("valid");
    run_to_end(&mut muse, posterior).expect("runs");
    let (theta, covariance) = muse.answer().expect("done");
    (PRIOR * theta[0], PRIOR * covariance[0].sqrt())
}

/// 2000 simulations scatter by 2 % of an error bar, and the error bar itself by 2 %.
#[test]
fn the_funnel_has_its_exact_posterior() {
    let posterior = funnel::<f64>(1000, 0.5, 0.0);
    let (mean, std) = exact(posterior.likelihood().data());
    for optimizer in [Optimizer::Lbfgs, Optimizer::NewtonCg] {
        let (theta, sigma) = answer(&posterior, MuseOptions { optimizer, ..options(2000) });
        assert!((theta - mean).abs() < 0.1 * std, "{optimizer:?}: {theta} instead of {mean} +- {std}");
        assert!((sigma / std - 1.0).abs() < 0.06, "{optimizer:?}: {sigma} instead of {std}");
    }
}

/// Few simulations lead to the neighbourhood of a root far from the start; what is found there with all of them is the root that a search to the bitter
/// end finds.
#[test]
fn few_simulations_lead_to_the_root_of_all() {
    let simulations = 300;
    let posterior = funnel::<f64>(1000, 3.0, 0.0);
    let with = |tolerance| {
        let mut muse =
            Muse::new(MuseOptions { tolerance, ..options(simulations) }, vec![0], 1).expect("valid");
        let stop = AtomicBool::new(false);
        let workers = Workers::new(&posterior, &stop);
        let mut before = 0;
        loop {
            let progress = muse.advance(&workers, &mut |_| ()).expect("runs");
            assert!(progress.steps.0 >= before && progress.steps.0 <= progress.steps.1, "{progress:?}");
            before = progress.steps.0;
            if progress.done {
                break;
            }
        }
        let (theta, covariance) = muse.answer().expect("done");
        let figures = muse.figures();
        let figure = |name: &str| figures.iter().find(|(known, _)| known == name).expect("a figure").1;
        (theta[0], covariance[0].sqrt(), figure("score_evaluations"), figure("maxima"))
    };
    let (theta, sigma, evaluations, maxima) = with(1e-2);
    let (exact, ..) = with(1e-6);
    println!("{theta} +- {sigma}, {exact}: {evaluations} evaluations, {maxima} maxima");
    assert!((theta - exact).abs() < 1e-2 * sigma, "{theta} {exact} +- {sigma}");
    // What the few have learned of how scores fall is enough for all to be there after three evaluations; five of all would be half as many maxima again.
    assert!(evaluations <= 5.0 && maxima * 1.4 < 5.0 * (simulations as f64 + 1.0), "{evaluations} {maxima}");
}

/// An evaluation that is one too many fails, and fails again; it is those with all simulations that are counted.
#[test]
fn too_few_evaluations_are_refused_again_and_again() {
    let posterior = funnel::<f64>(300, 3.0, 0.0);
    let stop = AtomicBool::new(false);
    let workers = Workers::new(&posterior, &stop);
    let fails = |muse: &mut Muse<f64>| loop {
        match muse.advance(&workers, &mut |_| ()) {
            Ok(progress) => assert!(!progress.done, "{progress:?}"),
            Err(error) => return error.to_string(),
        }
    };
    let mut muse = Muse::new(MuseOptions { max_iterations: 1, ..options(100) }, vec![0], 1).expect("valid");
    let error = fails(&mut muse);
    assert!(error.contains("not found in 2 evaluations"), "{error}");
    let state = muse.clone();
    assert_eq!(fails(&mut muse), error);
    assert_eq!(muse, state);
    let enough = MuseOptions { max_iterations: 3, ..options(100) };
    run_to_end(&mut Muse::new(enough, vec![0], 1).expect("valid"), &posterior).expect("runs");
}

/// A parameter that the data do not see keeps its prior, and tells nothing of the others; whether its score is exactly zero (masked)
/// or as good as that.
#[test]
fn what_the_data_do_not_see_keeps_its_prior() {
    let simulations = 400;
    let alone = answer(&funnel::<f64>(300, 0.5, 0.0), options(simulations));
    for noise in [f64::INFINITY, 1e8] {
        let posterior = funnel_with::<f64>(300, 0.5, 0.0, noise);
        let both = MuseOptions { parameters: vec!["theta".into(), "last".into()], ..options(simulations) };
        let mut muse = Muse::new(both, vec![0, 300], 1).expect("valid");
        run_to_end(&mut muse, &posterior).expect("runs");
        let (theta, covariance) = muse.answer().expect("done");
        let std = PRIOR * covariance[0].sqrt();
        // One datum of 300 less, and other random numbers for it.
        assert!((PRIOR * theta[0] - alone.0).abs() < 0.3 * std, "{} {}", PRIOR * theta[0], alone.0);
        assert!((std / alone.1 - 1.0).abs() < 0.1, "{std} {}", alone.1);
        let prior = 1.0 + 1.0 / simulations as f64;
        assert!((covariance[3] - prior).abs() < 1e-6 && theta[1].abs() < 1e-6, "{theta:?} {covariance:?}");
        assert!(covariance[1].abs() < 1e-6, "{covariance:?}");
    }
}

/// Both ways to the response, on a bent model where the maximum moves the score; the same simulations, so nothing is left to chance.
#[test]
fn implicit_derivatives_are_those_of_finite_differences() {
    for power in [0.0, 0.2] {
        let posterior = funnel::<f64>(300, 0.0, power);
        let with = |derivative| {
            let derivative_simulations = 40;
            answer(
                &posterior,
                MuseOptions { derivative, derivative_simulations, tolerance: 1e-4, ..options(40) },
            )
        };
        let (implicit, finite) = (with(Derivative::Implicit), with(Derivative::FiniteDifference));
        assert_eq!(implicit.0, finite.0);
        assert!((implicit.1 / finite.1 - 1.0).abs() < 0.01, "{power}: {implicit:?} {finite:?}");
    }
}

#[test]
fn single_precision_gives_the_answer_of_double() {
    let wide = answer(&funnel::<f64>(500, 0.0, 0.1), options(60));
    let narrow = answer(&funnel::<f32>(500, 0.0, 0.1), options(60));
    assert!((wide.0 - narrow.0).abs() < 0.02 * wide.1, "{wide:?} {narrow:?}");
    assert!((wide.1 / narrow.1 - 1.0).abs() < 0.02, "{wide:?} {narrow:?}");
}

/// The parameters of samples scatter as their covariance says; latents come along.
#[test]
fn samples_follow_the_answer() {
    let posterior = funnel::<f64>(200, 0.0, 0.0);
    let mut muse = Muse::new(MuseOptions { samples: 400, ..options(50) }, vec![0], 1).expect("valid");
    let draws = run_to_end(&mut muse, &posterior).expect("runs");
    let (theta, covariance) = muse.answer().expect("done");
    let samples: Vec<&Vec<f64>> = draws
        .iter()
        .filter_map(|draw| if let Draw::Sample { z, .. } = draw { Some(z) } else { None })
        .collect();
    assert!(matches!(draws[0], Draw::Centre { .. }));
    assert_eq!(samples.len(), 400);
    let mean = samples.iter().map(|z| z[0]).sum::<f64>() / 400.0;
    let std = (samples.iter().map(|z| (z[0] - mean).powi(2)).sum::<f64>() / 400.0).sqrt();
    assert!((mean - theta[0]).abs() < 4.0 * covariance[0].sqrt() / 20.0);
    assert!((std / covariance[0].sqrt() - 1.0).abs() < 0.15);
    // Given the parameter, a latent has the variance 1 / (1 + exp(theta)) around its maximum.
    let spread = samples.iter().map(|z| {
        let width = (0.5 * PRIOR * z[0]).exp();
        let centre = posterior.likelihood().data()[7] * width / (1.0 + width * width);
        (z[8] - centre).powi(2) * (1.0 + width * width)
    });
    assert!((spread.sum::<f64>() / 400.0 - 1.0).abs() < 0.3);
}

/// Counts cannot be moved smoothly: the response comes from simulations on both sides.
#[test]
fn counts_can_be_simulated_too() {
    let codomain = Space::single("x", &[3000], "");
    let model = Funnel { domain: Space::single("z", &[3001], ""), codomain: codomain.clone(), power: 0.0 };
    let rate = lookback_operator::Pointwise::exp(codomain.clone());
    let model: lookback_operator::DynOperator<f64> =
        Arc::new(lookback_operator::Chain::new(vec![Arc::new(model), Arc::new(rate)]).expect("fits"));
    let mut z = vec![0.0; 3001];
    Stream::new(5, Purpose::Signal, 0).fill_normal(&mut z);
    z[0] = 0.1;
    let empty = Poisson::new(codomain, vec![0.0; 3000], vec![true; 3000]).expect("valid");
    let data = empty.simulate(&model.apply(&z).expect("applies"), Stream::new(5, Purpose::Noise, 0));
    let posterior = Posterior::new(model, empty.with_data(data).expect("counts")).expect("fits");
    let (theta, sigma) = answer(&posterior, MuseOptions { derivative_simulations: 60, ..options(60) });
    assert!(((theta - PRIOR * 0.1) / sigma).abs() < 3.0, "{theta} +- {sigma}");
    // Without noise in the counts, 3000 latents would tell theta to sqrt(2 / 3000) = 0.026.
    assert!(sigma > 0.026 && sigma < 0.15, "{sigma}");
}

#[test]
fn goes_on_after_any_step_as_if_nothing_had_happened() {
    let posterior = funnel::<f64>(50, 0.0, 0.1);
    let options = MuseOptions { samples: 20, ..options(30) };
    survives_interruption(Muse::new(options, vec![0], 1).expect("valid"), &posterior);
}

#[test]
fn refuses_what_it_cannot_do() {
    let bad = |change: &dyn Fn(&mut MuseOptions), places: Vec<usize>| {
        let mut options = options(50);
        change(&mut options);
        Muse::<f64>::new(options, places, 1).expect_err("refused").to_string()
    };
    assert!(bad(&|_| (), vec![]).contains("at least one parameter"));
    assert!(bad(&|o| o.simulations = 5, vec![0]).contains("at least 10"));
    assert!(bad(&|o| o.derivative_simulations = 51, vec![0]).contains("no more than"));
    assert!(bad(&|o| o.tolerance = f64::NAN, vec![0]).contains("tolerance"));
    let two = |o: &mut MuseOptions| o.parameters = vec!["a".into(), "b".into()];
    assert!(bad(&two, vec![3, 3]).contains("twice"));
    let mut beyond = Muse::new(options(50), vec![4], 1).expect("valid");
    let error = run_to_end(&mut beyond, &funnel::<f64>(2, 0.0, 0.0)).expect_err("refused");
    assert!(matches!(error, Error::Option(_)), "{error}");
}
