//! Training: gradients, repeatability, stops, and answers that are known.

use lookback_learn::flow::{Bijection, Flow, MaximumLikelihood, PublishedFlow};
use lookback_learn::layers::{Function, Norm};
use lookback_learn::{
    Architecture, Augmentation, AutoencoderSection, Batch, Card, Condition, Error, Examples, LayerSection,
    Model, ModelError, Objective, Pair, Reconstruction, Scaling, Shape, Training, TrainingOptions,
    Variational, begin,
};
use lookback_operator::random::{Purpose, Stream};

const WIDTH: usize = 12;

fn dense(outputs: usize) -> LayerSection {
    LayerSection::Dense { outputs, norm: Norm::None, std: None }
}

/// `linear` has no functions within: the best it can do is known.
fn section(latents: usize, linear: bool, variational: Option<Variational>) -> AutoencoderSection {
    let out = if variational.is_some() { 2 * latents } else { latents };
    let hidden = |last| {
        if linear {
            return vec![dense(last)];
        }
        let act = LayerSection::Activation { function: Function::Tanh };
        vec![
            dense(16),
            LayerSection::BatchNorm { momentum: 0.9 },
            act,
            LayerSection::Dropout { rate: 0.1 },
            dense(last),
        ]
    };
    let architecture = Architecture::Layers(Pair { encoder: hidden(out), decoder: hidden(WIDTH) });
    AutoencoderSection { latents, architecture, dropout: 0.0, variational }
}

/// Rows with three strong directions, and weak noise in all.
fn examples(rows: usize, substream: u32) -> Examples {
    let mut normal = vec![0.0f32; rows * (3 + WIDTH)];
    Stream::new(6, Purpose::Test, substream).fill_normal(&mut normal);
    let row = |row: &[f32]| -> Vec<f32> {
        (0..WIDTH)
            .map(|i| {
                let strong: f32 = (0..3).map(|k| row[k] * (((i + 1) * (k + 1)) as f32).sin()).sum();
                strong + 0.1 * row[3 + i]
            })
            .collect()
    };
    let values = normal.chunks_exact(3 + WIDTH).flat_map(row).collect();
    Examples::new(Shape::Row(WIDTH), Batch::new(WIDTH, values)).expect("examples")
}

const UNSCALED: Scaling = Scaling { offset: 0.0, scale: 1.0 };

fn noise() -> Augmentation {
    Augmentation { noise_std: 0.05, ..Augmentation::default() }
}

#[test]
fn gradients_agree_with_differences() {
    let variational = Variational { noise_std: 0.5, beta: 2.0, capacity: 0.3 };
    let train = examples(40, 0);
    for kind in [None, Some(variational)] {
        let net = section(3, false, kind).build::<f32>(train.shape).expect("a net");
        let mut precision = Batch::new(WIDTH, vec![1.0f32; 40 * WIDTH]);
        precision.data_mut().iter_mut().step_by(5).for_each(|p| *p = 0.0);
        let weighted = Examples { precision: Some(precision), ..train.clone() };
        let augmentation = noise();
        let objective = Reconstruction {
            autoencoder: &net,
            train: &weighted,
            validation: &weighted,
            augmentation: &augmentation,
            scaling: UNSCALED,
        };
        let arrays = objective.weights();
        let weights: Vec<f32> = begin(&arrays, 1);
        let rows: Vec<usize> = (0..40).collect();
        let stream = Stream::new(1, Purpose::Training, 9);
        // Statistics are absorbed by a step, so that each gets weights of its own.
        let loss = |weights: &[f32]| {
            let mut gradient = vec![0.0; weights.len()];
            let loss = objective.step(&mut weights.to_vec(), &rows, stream, &mut gradient);
            (loss, gradient)
        };
        let (_, gradient) = loss(&weights);
        let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        let h = 1e-2f32;
        let moved =
            |h: f32| weights.iter().zip(&gradient).map(|(w, g)| w + h * g / length).collect::<Vec<f32>>();
        let difference = (loss(&moved(h)).0 - loss(&moved(-h)).0) / f64::from(2.0 * h);
        // Along the gradient the slope is its length, to the curvature that a step of 0.01 sees.
        assert!((difference / f64::from(length) - 1.0).abs() < 5e-3, "{difference} for {length}");
    }
}

fn trained(
    (net, augmentation): (&AutoencoderSection, &Augmentation),
    options: &TrainingOptions,
    threads: usize,
    stop: bool,
) -> Training {
    let (train, validation) = (examples(300, 0), examples(100, 1));
    let built = net.build::<f32>(train.shape).expect("a net");
    let objective = Reconstruction {
        autoencoder: &built,
        train: &train,
        validation: &validation,
        augmentation,
        scaling: UNSCALED,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(|| {
        let mut training = Training::new(&objective, options, 4).expect("options");
        while !training.is_done(&objective, options) {
            training.advance(&objective, options).expect("a step");
            if stop {
                let text = serde_json::to_string(&training).expect("writes");
                training = serde_json::from_str(&text).expect("reads");
            }
        }
        training
    })
}

#[test]
fn weights_depend_neither_on_threads_nor_on_stops() {
    let net = section(3, false, None);
    let options = TrainingOptions { epochs: 3, batch: 32, average: 5, ..TrainingOptions::default() };
    let net = (&net, &noise());
    let one = trained(net, &options, 1, false);
    assert_eq!(one.history().len(), 3);
    assert_eq!(one.weights(), trained(net, &options, 2, false).weights());
    assert_eq!(one.weights(), trained(net, &options, 3, true).weights());
}

/// A linear autoencoder can do what principal components do, and no better (Baldi & Hornik 1989).
#[test]
fn a_linear_autoencoder_finds_the_principal_components() {
    let net = section(3, true, None);
    let options =
        TrainingOptions { epochs: 2000, batch: 50, learning_rate: 2e-2, ..TrainingOptions::default() };
    let training = trained((&net, &Augmentation::default()), &options, 2, false);
    let found = 2.0 * training.history().last().expect("epochs").validation;
    let components = ModelError::of(&examples(300, 0).values, 3, 1).expect("components").factors;
    let validation = examples(100, 1).values;
    let mut left = f64::from(validation.data().iter().map(|x| x * x).sum::<f32>());
    for component in components.data().chunks_exact(WIDTH) {
        let length: f32 = component.iter().map(|c| c * c).sum();
        for x in validation.data().chunks_exact(WIDTH) {
            let along: f32 = x.iter().zip(component).map(|(x, c)| x * c).sum();
            left -= f64::from(along * along / length);
        }
    }
    let expected = left / validation.data().len() as f64;
    // Means of 300 examples are not zero, and a network can take them away: that changes the third digit.
    assert!((found / expected - 1.0).abs() < 0.05, "{found} for {expected}");
}

#[test]
fn a_flow_finds_the_density_of_a_gaussian() {
    let correlated = |n: usize, substream: u32| {
        let mut data = vec![0.0f32; 4 * n];
        Stream::new(3, Purpose::Test, substream).fill_normal(&mut data);
        data.chunks_exact_mut(4).for_each(|x| {
            x[1] += 2.0 * x[0];
            x[3] += x[2] - x[1];
        });
        Batch::new(4, data)
    };
    let (train, validation) = (correlated(8000, 0), correlated(4000, 1));
    // The determinant of the transformation is one, so that the entropy is that of four normal numbers; of this sample:
    let squares = |x: &Batch<f32>| -> f64 {
        let row = |x: &[f32]| {
            let (a, b, c) = (x[0], x[1] - 2.0 * x[0], x[2]);
            f64::from(a * a + b * b + c * c + (x[3] - x[2] + x[1]).powi(2))
        };
        (0..x.rows()).map(|i| row(x.row(i))).sum::<f64>() / x.rows() as f64
    };
    let entropy = 0.5 * squares(&validation) + 2.0 * (2.0 * std::f64::consts::PI).ln();
    for kind in [PublishedFlow::SplineCoupling, PublishedFlow::MaskedAutoregressive, PublishedFlow::Glow] {
        let flow: Flow<f32> = kind.section((4, 0), 4, 24).build().expect("a flow");
        let objective =
            MaximumLikelihood { flow: &flow, train: &train, validation: &validation, jitter: vec![0.0; 4] };
        let options =
            TrainingOptions { epochs: 8, batch: 200, learning_rate: 3e-3, ..TrainingOptions::default() };
        let mut training = Training::new(&objective, &options, 1).expect("options");
        while !training.is_done(&objective, &options) {
            training.advance(&objective, &options).expect("a step");
        }
        let loss = training.history().iter().map(|e| e.validation).fold(f64::INFINITY, f64::min);
        assert!(loss - entropy < 0.03 && loss - entropy > -0.01, "{kind:?}: {loss} for {entropy}");
    }
}

#[test]
fn a_flow_learns_what_its_context_says() {
    // x ~ N(c, 1): the context moves the mean.
    let conditional = |n: usize, substream: u32| {
        let mut data = vec![0.0f32; 3 * n];
        Stream::new(3, Purpose::Test, substream).fill_normal(&mut data);
        data.chunks_exact_mut(3).for_each(|x| {
            x[0] += 2.0 * x[2];
            x[1] -= x[2];
        });
        Batch::new(3, data)
    };
    let (train, validation) = (conditional(8000, 0), conditional(4000, 1));
    let flow: Flow<f32> = PublishedFlow::RealNvp.section((2, 1), 4, 24).build().expect("a flow");
    let objective =
        MaximumLikelihood { flow: &flow, train: &train, validation: &validation, jitter: vec![0.0; 2] };
    let options =
        TrainingOptions { epochs: 10, batch: 200, learning_rate: 3e-3, ..TrainingOptions::default() };
    let mut training = Training::new(&objective, &options, 1).expect("options");
    while !training.is_done(&objective, &options) {
        training.advance(&objective, &options).expect("a step");
    }
    // Two normal numbers have 2.84 nats; without the context there would be 0.5 ln(5 * 2) = 1.15 more.
    let loss = training.history().last().expect("epochs").validation;
    assert!((loss - 2.838).abs() < 0.06, "{loss}");
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let refuse = |values: Vec<f32>| {
        Examples::new(Shape::Row(WIDTH), Batch::new(WIDTH, values)).expect_err("refused").to_string()
    };
    let mut values = vec![0.0; 2 * WIDTH];
    values[WIDTH + 3] = f32::NAN;
    assert_eq!(refuse(values), "number 3 of example 1 is NaN, which is not a finite number");
    let all_missing = Batch::new(WIDTH, vec![f32::NAN; WIDTH]);
    assert!(Examples::with_noise(Shape::Row(WIDTH), all_missing, None).is_err());
    let few = examples(10, 0);
    let net = section(3, false, None).build::<f32>(few.shape).expect("a net");
    let augmentation = Augmentation::default();
    let objective = Reconstruction {
        autoencoder: &net,
        train: &few,
        validation: &few,
        augmentation: &augmentation,
        scaling: UNSCALED,
    };
    let error = Training::new(&objective, &TrainingOptions::default(), 1).expect_err("refused");
    assert!(error.to_string().contains("10 examples are fewer than a step takes (128)"), "{error}");
    let wild = TrainingOptions { batch: 10, learning_rate: 1e30, warmup: 0.0, ..TrainingOptions::default() };
    let mut training = Training::new(&objective, &wild, 1).expect("options");
    let error = (0..10).find_map(|_| training.advance(&objective, &wild).err()).expect("it cannot go well");
    assert!(
        matches!(error, Error::Diverged { .. }) && error.to_string().contains("learning_rate"),
        "{error}"
    );
}

fn model() -> Model<f32> {
    model_of(None, Vec::new())
}

/// An untrained model whose flow depends on something, or learned with noise.
fn model_of(condition: Option<Condition>, flow_noise: Vec<f32>) -> Model<f32> {
    let autoencoder = section(3, false, None);
    let flow = PublishedFlow::Glow.section((3, condition.as_ref().map_or(0, Condition::width)), 2, 8);
    let net = begin(&autoencoder.build::<f32>(Shape::Row(WIDTH)).expect("a net").weights(), 1);
    let mut flow_weights = begin(&Bijection::<f32>::weights(&flow.build::<f32>().expect("a flow")), 2);
    if condition.is_some() {
        // The last layers begin at zero, where nothing would depend on anything.
        let mut away = vec![0.0f32; flow_weights.len()];
        Stream::new(3, Purpose::Test, 7).fill_normal(&mut away);
        flow_weights.iter_mut().zip(away).for_each(|(w, a)| *w += 0.1 * a);
    }
    let card = Card {
        lookback_version: "1".into(),
        title: "t".into(),
        seed: 1,
        shape: vec![WIDTH],
        scaling: Scaling { offset: 1.0, scale: 3.0 },
        augmentation: noise(),
        autoencoder,
        flow,
        condition,
        flow_noise,
        error_rank: 2,
        spread: None,
        error_factor: 1.0,
        usual: None,
        data: Vec::new(),
        scores: vec![("test_mse".into(), 0.5)],
    };
    let residuals = Batch::new(WIDTH, examples(60, 2).values.into_data());
    Model::new(card, net, flow_weights, ModelError::of(&residuals, 2, 1).expect("an error")).expect("a model")
}

#[test]
fn a_model_comes_back_from_its_file() {
    let model = model();
    let bytes = model.to_bytes().expect("writes");
    let back = Model::from_bytes(&bytes).expect("reads");
    assert_eq!(back.card(), model.card());
    let x = examples(5, 3).values;
    assert_eq!(back.decode(back.encode(x.clone())), model.decode(model.encode(x.clone())));
    assert_eq!(back.score(&x).expect("scores"), model.score(&x).expect("scores"));
    let say = |bytes: &[u8]| Model::from_bytes(bytes).expect_err("refused").to_string();
    assert!(say(&bytes[..bytes.len() / 2]).contains("is not a model"));
    assert!(say(b"nothing").contains("is not a model"));
    let mut poisoned = bytes.clone();
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(say(&poisoned).contains("not a finite number"));
}

/// A flow that has not learned is linear, and its density Gaussian: noise and its opposite take the same from all latents in the mean.
#[test]
fn scores_are_means_over_the_noise_of_the_flow() {
    let x = examples(50, 3).values;
    let (plain, noisy) = (model(), model_of(None, vec![0.3, 0.0, 0.2]));
    let densities = plain.log_density(plain.encode(x.clone())).expect("densities");
    let latent =
        |model: &Model<f32>| model.score(&x).expect("scores").iter().map(|s| s.latent).collect::<Vec<_>>();
    assert_eq!(latent(&plain), densities);
    let lost: Vec<f64> = densities.iter().zip(latent(&noisy)).map(|(without, with)| without - with).collect();
    assert!(lost.iter().all(|l| (l - lost[0]).abs() < 1e-4), "{lost:?}");
    // In the mean over all noise, half of its variance times the curvature; that over sixteen draws scatters by about a third.
    let z = plain.encode(x.gather([0]));
    let moved = |place: usize, by: f32| {
        let mut z = z.clone();
        z.data_mut()[place] += by;
        plain.log_density(z).expect("a density")[0]
    };
    let curvature = |place: usize| 2.0 * moved(place, 0.0) - moved(place, 1.0) - moved(place, -1.0);
    let expected = 0.5 * (0.09 * curvature(0) + 0.04 * curvature(2));
    assert!((0.4..1.8).contains(&(lost[0] / expected)), "{} {expected}", lost[0]);
    assert_eq!(Model::from_bytes(&noisy.to_bytes().expect("writes")).expect("reads").card(), noisy.card());
    let mut card = noisy.card().clone();
    for wrong in [vec![0.1; 2], vec![0.1, -0.1, 0.1], vec![0.1, f32::NAN, 0.1]] {
        card.flow_noise = wrong;
        let refused = Model::new(card.clone(), Vec::new(), Vec::new(), noisy.error().clone());
        assert!(refused.expect_err("refused").to_string().contains("noise"));
    }
}

/// Both scores count alike among usual examples, however much wider one of them scatters; a model that knows none adds them.
#[test]
fn combined_scores_are_decided_by_both() {
    let x = examples(200, 3).values;
    let plain = model();
    let before = plain.score(&x).expect("scores");
    assert!(before.iter().all(|s| s.combined == s.latent + s.reconstruction));
    let scaled = plain.card().scaling.apply(x.clone());
    let model = plain.with_usual(scaled).expect("scores");
    let scores = model.score(&x).expect("scores");
    let mean = |of: &dyn Fn(usize) -> f64| (0..200).map(of).sum::<f64>() / 200.0;
    let (latent, reconstruction) = (mean(&|i| scores[i].latent), mean(&|i| scores[i].reconstruction));
    let with = |other: &dyn Fn(usize) -> f64| mean(&|i| scores[i].combined * other(i));
    let widths = [
        mean(&|i| (scores[i].latent - latent).powi(2)).sqrt(),
        mean(&|i| (scores[i].reconstruction - reconstruction).powi(2)).sqrt(),
    ];
    assert!(mean(&|i| scores[i].combined).abs() < 1e-9);
    // As correlated with one as with the other.
    let correlations = [
        with(&|i| (scores[i].latent - latent) / widths[0]),
        with(&|i| (scores[i].reconstruction - reconstruction) / widths[1]),
    ];
    assert!((correlations[0] - correlations[1]).abs() < 1e-6 && correlations[0] > 0.3, "{correlations:?}");
    let back = Model::from_bytes(&model.to_bytes().expect("writes")).expect("reads");
    assert_eq!(back.score(&x).expect("scores"), scores);
}

#[test]
fn encoded_latents_survive_the_flow_and_lines_end_at_their_ends() {
    let model = model();
    let x = examples(4, 3).values;
    let z = model.encode(x.clone());
    let back = model.denormalise(model.normalise(z.clone()).expect("normal")).expect("latents");
    let worst = back.data().iter().zip(z.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    let (from, to) = (x.gather([0, 1]), x.gather([2, 3]));
    let path = model.interpolate(&from, &to, 5).expect("a path");
    let ends = model.decode(model.encode(x));
    for (place, end) in [(0, 0), (4, 2), (5, 1), (9, 3)] {
        let worst = path.row(place).iter().zip(ends.row(end)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{place}: {worst}");
    }
}

#[test]
fn what_a_flow_depends_on_is_given_for_all_or_for_each() {
    let labels = || model_of(Some(Condition::Labels { classes: 4 }), Vec::new());
    let x = examples(3, 3).values;
    let z = labels().encode(x.clone());
    let given = |values: &[f64]| labels().given(&[values.len()], values).expect("labels");
    let densities = |values: &[f64]| given(values).log_density(z.clone()).expect("densities");
    let (all, each) = ([0.0, 1.0, 3.0].map(|label| densities(&[label])), densities(&[0.0, 1.0, 3.0]));
    for example in 0..3 {
        assert_eq!(each[example], all[example][example]);
        assert!((all[0][example] - all[2][example]).abs() > 1e-3, "the label must matter");
    }
    // There and back, each with its own; and a line between examples of one label keeps it.
    let model = given(&[3.0, 0.0, 1.0]);
    let back = model.denormalise(model.normalise(z.clone()).expect("normal")).expect("latents");
    let worst = back.data().iter().zip(z.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5 && back.width() == 3, "{worst}");
    let line = given(&[3.0, 1.0]);
    let path = line.interpolate(&x.gather([0, 1]), &x.gather([1, 2]), 4).expect("a path");
    let second = given(&[1.0]).interpolate(&x.gather([1]), &x.gather([2]), 4).expect("a path");
    let far =
        path.data()[4 * WIDTH..].iter().zip(second.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-5, "{far}");
    // It survives its file, and other numbers are refused.
    let again = Model::from_bytes(&labels().to_bytes().expect("writes")).expect("reads");
    assert_eq!(
        again.given(&[1], &[1.0]).expect("a label").log_density(z.clone()).expect("densities"),
        all[1]
    );
    let refused = |model: Model<f32>| model.log_density(z.clone()).expect_err("refused").to_string();
    assert!(refused(labels()).contains("depends on a label from 0 to 3: it must be given"));
    assert!(refused(given(&[0.0, 1.0])).contains("given for 2 examples, but there are 3"));
    assert!(labels().given(&[1], &[4.0]).is_err() && model_of(None, Vec::new()).given(&[1], &[0.0]).is_err());
    let parameters = Condition::Parameters { offset: vec![1.0, 2.0], scale: vec![1.0, 3.0] };
    assert!(model_of(Some(parameters), Vec::new()).given(&[1], &[1.0]).is_err());
}
