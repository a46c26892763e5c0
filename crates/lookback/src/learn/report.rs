//! The page of a model: losses, reconstructions, artificial data, the strangest examples, and what the decoder gets wrong.

use lookback_learn::{Batch, Epoch, Examples, Model, Shape, gaussian_log_density, layers::Image};
use lookback_operator::random::{Purpose, Stream};
use serde_json::json;

use super::examples::Sets;
use super::file::{FlowKind, TrainFile};
use super::losses::Loss;
use super::pictures::{self, curves, range};
use super::scatter_is_known;
use super::stages::{Learned, standard_deviations};
use super::verbs::{By, strangest};
use crate::report::colour::Scale;
use crate::report::curves::{COLOURS, Curve, Plot, histogram};
use crate::report::mosaic::Mosaic;
use crate::report::panel::robust_range;
use crate::report::{Figure, Section, render};
use crate::{Result, VERSION};

/// Examples of most pictures.
const SHOWN: usize = 16;
/// Pairs of examples, and steps between them.
const PAIRS: usize = 6;
const STEPS: usize = 9;
/// Examples that are scored for the page.
const SCORED: usize = 10_000;
/// Bins of the histogram of their densities.
const DENSITY_BINS: usize = 60;

/// How good a model is, by name; all in the network's units.
pub(super) fn scores(sets: &Sets, learned: &Learned, file: &TrainFile) -> Result<Vec<(String, f64)>> {
    let net = file.autoencoder.build::<f32>(sets.train.shape)?;
    let flow = learned.flow_section.build::<f32>()?;
    let latents = |examples: &Examples| net.encode(&learned.autoencoder, examples.values.clone());
    let train = latents(&sets.train);
    let mut scores = Vec::new();
    let judging = [("validation", Some(&sets.validation)), ("test", sets.test.as_ref())];
    for (name, examples) in judging.into_iter().filter_map(|(name, some)| Some((name, some?))) {
        let z = latents(examples);
        let decoded = net.decode(&learned.autoencoder, z.clone());
        scores.push((format!("{name}_mse"), mean_square(examples, &decoded)));
        let densities = flow.log_density(&learned.flow, examples.beside(z.clone()));
        scores.push((
            format!("{name}_latent_log_density"),
            densities.iter().sum::<f64>() / densities.len() as f64,
        ));
        // There is none where examples do not fill the latent space.
        if let Ok(density) = gaussian_log_density(&train, &z) {
            scores.push((format!("{name}_latent_log_density_of_a_gaussian"), density));
        }
    }
    Ok(scores)
}

/// Mean squared residual of the numbers that are there.
fn mean_square(examples: &Examples, decoded: &Batch<f32>) -> f64 {
    let weight = |at: usize| examples.precision.as_ref().map_or(1.0, |p| f64::from(p.data()[at]));
    let terms = examples.values.data().iter().zip(decoded.data()).enumerate();
    let (sum, weights) = terms.fold((0.0, 0.0), |(sum, weights), (at, (x, d))| {
        (sum + weight(at) * f64::from(x - d).powi(2), weights + weight(at))
    });
    sum / weights
}

/// The losses as a table.
pub(super) fn history(learned: &Learned) -> String {
    let mut table = String::from("stage,epoch,train_loss,validation_loss,learning_rate\n");
    for (stage, epochs) in [("autoencoder", &learned.autoencoder_history), ("flow", &learned.flow_history)] {
        for (number, epoch) in epochs.iter().enumerate() {
            let Epoch { train, validation, learning_rate } = epoch;
            table += &format!("{stage},{},{train},{validation},{learning_rate}\n", number + 1);
        }
    }
    table
}

/// The page as HTML.
pub(super) fn page(file: &TrainFile, sets: &Sets, learned: &Learned, model: &Model<f32>) -> Result<String> {
    let scene = Scene { sets, learned, model };
    let mut sections = vec![
        scene.losses(file.flow.kind)?,
        scene.reconstructions()?,
        scene.artificial(file.seed)?,
        scene.densities(file.seed)?,
    ];
    sections.extend(scene.interpolations()?);
    sections.extend([scene.strangest()?, scene.errors()?]);
    let card = model.card();
    let score = |name: &str| card.scores.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let which = if sets.test.is_some() { "test" } else { "validation" };
    let number = |name: String| score(&name).map_or(String::new(), |value| format!("{value:.4e}"));
    let gain = score(&format!("{which}_latent_log_density"))
        .zip(score(&format!("{which}_latent_log_density_of_a_gaussian")))
        .map_or(String::new(), |(flow, gaussian)| format!("{:.2} nat", flow - gaussian));
    let headlines = [
        [format!("mean squared error, {which}, in the network's units"), number(format!("{which}_mse"))],
        [
            match sets.condition {
                None => "flow beats a Gaussian by".into(),
                Some(_) => "flow, given what it depends on, beats a Gaussian of all examples by".into(),
            },
            gain,
        ],
        ["latents".into(), model.latents().to_string()],
        ["weights".into(), (learned.autoencoder.len() + learned.flow.len()).to_string()],
    ];
    let summary: Vec<[String; 2]> =
        card.scores.iter().map(|(name, value)| [name.clone(), format!("{value:.6e}")]).collect();
    let chain: Vec<[String; 2]> = vec![
        [
            "examples".into(),
            format!("{} to train on, {} that judge", sets.train.len(), sets.validation.len()),
        ],
        ["scaling".into(), format!("(x - {}) / {}", card.scaling.offset, card.scaling.scale)],
        ["flow".into(), format!("{} steps", card.flow.steps.len())],
        ["model's error".into(), format!("{} correlated directions and a diagonal", card.error_rank)],
    ];
    let inputs: Vec<serde_json::Value> = card
        .data
        .iter()
        .map(|source| json!({ "path": format!("{}: {}", source.role, source.file), "sha256": source.sha256 }))
        .collect();
    render(json!({
        "title": if file.title.is_empty() { "A learned prior" } else { file.title.as_str() },
        "kind": "Probabilistic autoencoder, trained",
        "footer": "Weights and card: <code>model.safetensors</code>. Losses: <code>history.csv</code>. Figures: <code>card.json</code>.",
        "version": VERSION,
        "headlines": headlines,
        "sections": sections,
        "chain": chain,
        "summary": summary,
        "notes": [],
        "inputs": inputs,
        "config": toml::to_string(file).unwrap_or_default(),
        "citations": [
            ["probabilistic autoencoder", "Boehm & Seljak 2022, TMLR 09/2022, arXiv:2006.05479"],
            ["Adam", "Kingma & Ba 2015, arXiv:1412.6980"],
        ],
    }))
}

struct Scene<'a> {
    sets: &'a Sets,
    learned: &'a Learned,
    model: &'a Model<f32>,
}

impl Scene<'_> {
    /// Does something with the model, given what the flow depends on for these of the examples that it has not seen.
    fn given<U>(
        &self,
        rows: impl IntoIterator<Item = usize>,
        with: impl FnOnce(&Model<f32>) -> Result<U>,
    ) -> Result<U> {
        let shown = self.sets.shown();
        let Some(condition) = &shown.condition else { return with(self.model) };
        let context = condition.gather(rows.into_iter().map(|row| row % shown.len()));
        with(&self.model.cast::<f32>()?.in_context(context)?)
    }

    /// The first examples that the model has not seen, in the data's units.
    fn first(&self, count: usize) -> Batch<f32> {
        let shown = &self.sets.shown().values;
        self.sets.scaling.undo(shown.gather(0..count.min(shown.rows())))
    }

    fn losses(&self, flow: FlowKind) -> Result<Section> {
        let figures = vec![
            Loss::AUTOENCODER.figure(&self.learned.autoencoder_history)?,
            Loss::of_flow(flow).figure(&self.learned.flow_history)?,
        ];
        let words = "What training made of the losses; where the validation loss rises, the weights of its lowest point are kept.".into();
        Ok(Section { heading: "Training".into(), words, figures })
    }

    fn reconstructions(&self) -> Result<Section> {
        let data = self.first(SHOWN);
        let decoded = self.model.decode(self.model.encode(data.clone()));
        let residual = residuals(&data, &decoded);
        let mut figures = self.pictures(
            "examples, and what the autoencoder makes of them",
            &[&data, &decoded],
            vec!["example".into(), "decoded".into()],
            "Examples that were not trained on.",
        )?;
        figures.extend(self.difference_pictures(
            "example minus decoded",
            &residual,
            "On a scale of its own.",
        )?);
        Ok(Section {
            heading: "Reconstruction".into(),
            words: format!("{} numbers an example instead of {}.", self.model.latents(), self.model.width()),
            figures,
        })
    }

    fn artificial(&self, seed: u64) -> Result<Section> {
        let latents = self.model.latents();
        let mut normal = vec![0.0f32; 3 * SHOWN * latents];
        Stream::new(seed, Purpose::PriorDraw, 0).fill_normal(&mut normal);
        let normal = Batch::new(latents, normal);
        let through = self.given(0..normal.rows(), |model| Ok(model.generate(normal.clone())?))?;
        let z = self.model.encode(self.first(SCORED));
        let (mean, std) = (means(&z), standard_deviations(&z));
        let mut independent = normal;
        for row in independent.data_mut().chunks_exact_mut(latents) {
            row.iter_mut().zip(mean.iter().zip(&std)).for_each(|(u, (m, s))| *u = *m as f32 + *s as f32 * *u);
        }
        let without = self.model.decode(independent);
        let mut figures = self.pictures(
            "artificial data",
            &[&through],
            Vec::new(),
            match self.sets.condition {
                None => "Normal numbers through flow and decoder.",
                Some(_) => {
                    "Normal numbers through flow and decoder, given what the first examples depend on."
                }
            },
        )?;
        figures.extend(self.pictures(
            "without the flow",
            &[&without],
            Vec::new(),
            "Latents drawn independently with their means and standard deviations: what the flow is for.",
        )?);
        let words = "Draws from the prior: they should look like data.".into();
        Ok(Section { heading: "Artificial data".into(), words, figures })
    }

    /// The density of the latents of examples, and of draws: the same histogram, where the flow has learned what there is.
    fn densities(&self, seed: u64) -> Result<Section> {
        let data = self.first(SCORED);
        let mut normal = Batch::zeros(data.rows(), self.model.latents());
        Stream::new(seed, Purpose::PriorDraw, 1).fill_normal(normal.data_mut());
        let (drawn, found) = self.given(0..data.rows(), |model| {
            let drawn = model.log_density(model.denormalise(normal)?)?;
            Ok((drawn, model.log_density(model.encode(data.clone()))?))
        })?;
        let (low, high) = robust_range(&[found.clone(), drawn.clone()].concat(), 0.002);
        let curve = |name: &str, values: &[f64], colour: usize| Curve {
            name: name.into(),
            points: histogram(values, low, high, DENSITY_BINS),
            colour: COLOURS[colour],
            width: 2,
        };
        let plot = Plot {
            title: "density of the latents",
            x_name: "ln p of an example's latents",
            y_name: "share of examples per nat",
            shades: Vec::new(),
            curves: vec![curve("examples", &found, 0), curve("draws", &drawn, 1)],
            size: (440, 300),
        };
        let caption = "Examples that were not trained on, and as many draws of the flow.".into();
        let figures = vec![Figure { svg: plot.linear()?, caption }];
        let words = "Where examples are less dense than draws, the flow knows more than there is, and anomalies are hard to tell.".into();
        Ok(Section { heading: "Density".into(), words, figures })
    }

    /// None where there are no two examples.
    fn interpolations(&self) -> Result<Option<Section>> {
        let ends = self.first(2 * PAIRS);
        let pairs = ends.rows() / 2;
        if pairs == 0 {
            return Ok(None);
        }
        let (from, to) = (ends.gather((0..pairs).map(|i| 2 * i)), ends.gather((0..pairs).map(|i| 2 * i + 1)));
        let begins = (0..pairs).map(|i| 2 * i);
        let path = self.given(begins, |model| Ok(model.interpolate(&from, &to, STEPS)?))?;
        let svg = pictures::examples("from one example to another", self.sets.train.shape, &path, STEPS)?;
        let figures = vec![Figure { svg, caption: String::new() }];
        let words =
            "Straight lines in the space of normal numbers: all that lies between should be possible.".into();
        Ok(Some(Section { heading: "Interpolation".into(), words, figures }))
    }

    fn strangest(&self) -> Result<Section> {
        let data = self.first(SCORED);
        let scores = self.given(0..data.rows(), |model| Ok(model.score(&data)?))?;
        let mut figures = Vec::new();
        for (title, by) in [
            ("lowest latent density", By::Latent),
            ("worst reconstruction", By::Reconstruction),
            ("lowest of both together", By::Combined),
        ] {
            let strange = data.gather(strangest(&scores, by).into_iter().take(SHOWN));
            figures.extend(self.pictures(title, &[&strange], Vec::new(), "The strangest first.")?);
        }
        let combined = match scatter_is_known(self.sets, self.model.error().rank()) {
            Ok(()) => "Both together: each in units of its scatter among validation examples.".into(),
            Err(why) => format!("Both together: their sum, as {why}."),
        };
        let words = format!("The strangest of {} examples, by three scores. {combined}", scores.len());
        Ok(Section { heading: "Anomalies".into(), words, figures })
    }

    fn errors(&self) -> Result<Section> {
        let error = self.model.error();
        let total: Vec<f32> = error.diagonal().variance.iter().map(|v| v.sqrt()).collect();
        let width = total.len();
        let total = Batch::new(width, total);
        let mut figures = self.pictures(
            "standard deviation of a residual",
            &[&total],
            Vec::new(),
            "In the network's units.",
        )?;
        let some = error.rank().min(8);
        if some > 0 {
            let factors = error.factors.gather(0..some);
            figures.extend(self.difference_pictures(
                "strongest correlated errors",
                &factors,
                "What the decoder gets wrong together; a diagonal error would take each pixel for news.",
            )?);
        }
        let share: f32 = error.factors.data().iter().map(|f| f * f).sum::<f32>()
            / (total.data().iter().map(|s| s * s).sum::<f32>());
        let noise = match self.sets.validation.unit {
            None => "",
            Some(_) => {
                " The noise of the examples is taken off, and no spread is learned, as it would be that of the noise."
            }
        };
        let words = format!(
            "The covariance of residuals of examples that were not trained on: {} directions hold {:.0} % of their variance.{noise}",
            error.rank(),
            100.0 * share
        );
        Ok(Section { heading: "The model's error".into(), words, figures })
    }

    /// Rows of examples: as images, or as curves.
    fn pictures(
        &self,
        title: &str,
        rows: &[&Batch<f32>],
        names: Vec<String>,
        caption: &str,
    ) -> Result<Vec<Figure>> {
        let all = rows.iter().flat_map(|batch| batch.data()).copied();
        let range = range(all);
        self.draw(title, rows, names, caption, (range, Scale::Signal))
    }

    /// The same for differences, around zero.
    fn difference_pictures(&self, title: &str, rows: &Batch<f32>, caption: &str) -> Result<Vec<Figure>> {
        let largest = rows.data().iter().fold(0.0f32, |max, x| max.max(x.abs())).max(1e-12);
        let range = (-f64::from(largest), f64::from(largest));
        self.draw(title, &[rows], Vec::new(), caption, (range, Scale::Diverging))
    }

    fn draw(
        &self,
        title: &str,
        rows: &[&Batch<f32>],
        names: Vec<String>,
        caption: &str,
        (range, scale): ((f64, f64), Scale),
    ) -> Result<Vec<Figure>> {
        let caption = caption.to_string();
        let Shape::Image(Image { height, width, channels }) = self.sets.train.shape else {
            let figures = rows.iter().map(|batch| {
                let svg = curves(title, batch)?;
                Ok(Figure { svg, caption: caption.clone() })
            });
            return figures.collect();
        };
        let columns = rows[0].rows().min(SHOWN);
        let images = rows.iter().flat_map(|batch| (0..batch.rows()).map(|row| batch.row(row))).collect();
        let mosaic =
            Mosaic { title, shape: [height, width, channels], images, columns, rows: names, range, scale };
        Ok(vec![Figure { svg: mosaic.draw()?, caption }])
    }
}

fn residuals(a: &Batch<f32>, b: &Batch<f32>) -> Batch<f32> {
    Batch::new(a.width(), a.data().iter().zip(b.data()).map(|(a, b)| a - b).collect())
}

fn means(x: &Batch<f32>) -> Vec<f64> {
    let n = x.rows() as f64;
    let column =
        |i: usize| x.data().iter().skip(i).step_by(x.width()).map(|x| f64::from(*x)).sum::<f64>() / n;
    (0..x.width()).map(column).collect()
}
