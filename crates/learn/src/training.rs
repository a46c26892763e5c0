//! Training: steps of Adam over shuffled examples, as a state that can be stopped, written down and gone on with.

use lookback_operator::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::layer::{Weight, begin};
use crate::{Adam, AdamOptions, Error, Result, Schedule};

/// Something with a loss.
pub trait Objective {
    /// The arrays of weights.
    fn weights(&self) -> Vec<Weight>;

    /// Number of examples.
    fn examples(&self) -> usize;

    /// The mean loss of these examples; adds its gradient, and takes statistics into the weights. What is random comes from `stream`.
    fn step(&self, weights: &mut [f32], rows: &[usize], stream: Stream, gradient: &mut [f32]) -> f64;

    /// The mean loss of examples that are not trained on.
    fn validation(&self, weights: &[f32]) -> f64;

    /// First values of the weights that depend on data.
    fn prepare(&self, weights: &mut [f32]) {
        let _ = weights;
    }
}

/// Options of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingOptions {
    /// How often every example is seen; 0 leaves weights as they begin.
    pub epochs: usize,
    /// Examples a step.
    pub batch: usize,
    /// First learning rate.
    pub learning_rate: f64,
    /// Share of the training in which the learning rate rises from zero.
    pub warmup: f64,
    /// How the learning rate goes.
    pub schedule: Schedule,
    /// The steps.
    pub adam: AdamOptions,
    /// Weights are averaged over about so many of the last steps (exponentially); not at all if 0.
    pub average: u64,
    /// Epochs without a better validation loss before the end; never before the end if left out.
    pub patience: Option<usize>,
}

impl Default for TrainingOptions {
    fn default() -> TrainingOptions {
        TrainingOptions {
            epochs: 30,
            batch: 128,
            learning_rate: 1e-3,
            warmup: 0.02,
            schedule: Schedule::default(),
            adam: AdamOptions::default(),
            average: 0,
            patience: None,
        }
    }
}

impl TrainingOptions {
    /// Refuses numbers out of their ranges.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::option("batch", "must be at least 1"));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::option(
                "learning_rate",
                format!("must be above 0, not {}", self.learning_rate),
            ));
        }
        if !(0.0..1.0).contains(&self.warmup) {
            return Err(Error::option(
                "warmup",
                format!("must be at least 0 and below 1, not {}", self.warmup),
            ));
        }
        if self.patience == Some(0) {
            return Err(Error::option("patience", "must be at least 1"));
        }
        self.schedule.check()?;
        self.adam.check()
    }

    /// Refuses fewer examples than a step takes.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub fn check_examples(&self, examples: usize) -> Result<()> {
        if examples < self.batch {
            let message = format!("{examples} examples are fewer than a step takes ({})", self.batch);
            return Err(Error::Data(message));
        }
        Ok(())
    }
}

/// One epoch in the history of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean loss of its steps.
    pub train: f64,
    /// Loss of the validation set after it.
    pub validation: f64,
    /// Learning rate at its end.
    pub learning_rate: f64,
}

/// The state of a training. The same seed and options lead to the same weights, with any number of threads and any number of stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    seed: u64,
    steps: u64,
    pub(crate) weights: Vec<f32>,
    pub(crate) average: Option<Vec<f32>>,
    pub(crate) adam: Adam<f32>,
    /// Sum of the losses of this epoch.
    pub(crate) losses: f64,
    history: Vec<Epoch>,
    /// Weights of the best epoch, and its number.
    best: Option<(usize, Vec<f32>)>,
    #[serde(skip)]
    scratch: Scratch,
}

/// What a step takes.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Its examples.
    pub rows: Vec<usize>,
    pub stream: Stream,
    /// Learning rate.
    pub rate: f64,
    /// Share of the average that stays.
    pub keep: f32,
    pub ends_epoch: bool,
    /// Steps of an epoch.
    each: u64,
}

/// What a step would else make anew.
#[derive(Debug, Clone, PartialEq, Default)]
struct Scratch {
    gradient: Vec<f32>,
    /// All examples in the order of this epoch.
    order: Option<(u64, Vec<usize>)>,
}

impl Training {
    /// Before the first step.
    ///
    /// # Errors
    /// If an option is out of its range, or there are fewer examples than a step takes.
    pub fn new(objective: &dyn Objective, options: &TrainingOptions, seed: u64) -> Result<Training> {
        let mut weights = begin(&objective.weights(), seed);
        objective.prepare(&mut weights);
        Training::from_weights(objective, options, seed, weights)
    }

    /// Before the first step, from weights of another training.
    ///
    /// # Errors
    /// As [`new`](Training::new); also if there are not as many weights as are trained.
    pub fn from_weights(
        objective: &dyn Objective,
        options: &TrainingOptions,
        seed: u64,
        weights: Vec<f32>,
    ) -> Result<Training> {
        options.check()?;
        let needed = Weight::total(&objective.weights());
        if weights.len() != needed {
            return Err(Error::Data(format!(
                "{} weights to begin from where {needed} are needed",
                weights.len()
            )));
        }
        options.check_examples(objective.examples())?;
        let average = (options.average > 0).then(|| weights.clone());
        let adam = Adam::new(weights.len());
        Ok(Training {
            seed,
            steps: 0,
            weights,
            average,
            adam,
            losses: 0.0,
            history: Vec::new(),
            best: None,
            scratch: Scratch::default(),
        })
    }

    /// Steps of an epoch: examples that do not fill a step wait for the next one.
    fn steps_an_epoch(objective: &dyn Objective, options: &TrainingOptions) -> u64 {
        (objective.examples() / options.batch) as u64
    }

    /// Steps that are done, and all steps.
    pub fn progress(&self, objective: &dyn Objective, options: &TrainingOptions) -> (u64, u64) {
        (self.steps, Training::steps_an_epoch(objective, options) * options.epochs as u64)
    }

    /// True after the last step, or where patience has ended.
    pub fn is_done(&self, objective: &dyn Objective, options: &TrainingOptions) -> bool {
        let (steps, all) = self.progress(objective, options);
        let waited =
            |patience| self.best.as_ref().is_some_and(|(best, _)| self.history.len() - best >= patience);
        steps >= all || options.patience.is_some_and(waited)
    }

    /// One step; at the end of an epoch the validation set is looked at.
    ///
    /// # Errors
    /// [`Error::Diverged`].
    pub fn advance(&mut self, objective: &dyn Objective, options: &TrainingOptions) -> Result<()> {
        let step = self.next_step(objective, options);
        let mut gradient = std::mem::take(&mut self.scratch.gradient);
        gradient.clear();
        gradient.resize(self.weights.len(), 0.0);
        let loss = objective.step(&mut self.weights, &step.rows, step.stream, &mut gradient);
        if !loss.is_finite() || !lookback_operator::vector::norm2(&gradient).is_finite() {
            return Err(Error::Diverged { step: self.steps, loss });
        }
        self.adam.step(&mut self.weights, &gradient, &objective.weights(), step.rate, &options.adam);
        self.scratch.gradient = gradient;
        if let Some(average) = &mut self.average {
            let keep = step.keep;
            average.iter_mut().zip(&self.weights).for_each(|(a, &w)| *a = keep * *a + (1.0 - keep) * w);
        }
        self.losses += loss;
        self.count_step();
        if step.ends_epoch {
            let validation = objective.validation(self.final_weights());
            if self.end_epoch(validation, &step) {
                self.keep_as_best(self.final_weights().to_vec());
            }
        }
        Ok(())
    }

    pub(crate) fn count_step(&mut self) {
        self.steps += 1;
    }

    /// Keeps the weights of the last epoch as the best.
    pub(crate) fn keep_as_best(&mut self, weights: Vec<f32>) {
        self.best = Some((self.history.len(), weights));
    }

    /// What the next step takes.
    pub(crate) fn next_step(&mut self, objective: &dyn Objective, options: &TrainingOptions) -> Step {
        let each = Training::steps_an_epoch(objective, options);
        let (epoch, place) = (self.steps / each, (self.steps % each) as usize);
        if self.scratch.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.scratch.order = Some((epoch, self.order(objective.examples(), epoch)));
        }
        let (_, order) = self.scratch.order.as_ref().expect("made above");
        let progress = self.steps as f64 / (each * options.epochs as u64) as f64;
        Step {
            rows: order[place * options.batch..(place + 1) * options.batch].to_vec(),
            // The orders of the epochs have the upper half of the substreams.
            stream: Stream::new(self.seed, Purpose::Training, 1 << 24 | (self.steps as u32) << 1),
            rate: options.learning_rate * options.schedule.factor(progress, options.warmup),
            // Early on, the mean of all steps so far.
            keep: 1.0 - 1.0 / (options.average.min(self.steps + 1).max(1) as f32),
            ends_epoch: (self.steps + 1).is_multiple_of(each),
            each,
        }
    }

    /// Takes the last step of an epoch into the history; true if no epoch was better, so that its weights are to be kept.
    pub(crate) fn end_epoch(&mut self, validation: f64, last: &Step) -> bool {
        let train = std::mem::take(&mut self.losses) / last.each as f64;
        let best = self.best.as_ref().map_or(f64::INFINITY, |(best, _)| self.history[best - 1].validation);
        self.history.push(Epoch { train, validation, learning_rate: last.rate });
        validation < best
    }

    /// The average, if there is one.
    fn final_weights(&self) -> &[f32] {
        self.average.as_ref().unwrap_or(&self.weights)
    }

    /// All examples in the order of an epoch: sorted by random keys.
    fn order(&self, examples: usize, epoch: u64) -> Vec<usize> {
        let stream = Stream::new(self.seed, Purpose::Training, 1 << 31 | epoch as u32);
        stream.order(examples)
    }

    /// What has happened, epoch by epoch.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// The weights of the epoch with the best validation loss.
    pub fn weights(&self) -> &[f32] {
        self.best.as_ref().map_or(self.final_weights(), |(_, weights)| weights)
    }
}

/// A training that goes on step by step, wherever its arrays are.
pub trait Trainer {
    /// One step; at the end of an epoch the validation set is looked at.
    ///
    /// # Errors
    /// [`Error::Diverged`]; [`Error::Device`].
    fn advance(&mut self) -> Result<()>;

    /// The state, whose arrays are as they were at the last call of [`state`](Trainer::state).
    fn watch(&self) -> &Training;

    /// The whole state as it is now.
    ///
    /// # Errors
    /// As [`advance`](Trainer::advance).
    fn state(&mut self) -> Result<&Training>;

    /// Steps that are done, and all steps.
    fn progress(&self) -> (u64, u64);

    /// True after the last step, or where patience has ended.
    fn is_done(&self) -> bool;
}

/// A training on the processor.
pub struct OnHost<'a> {
    /// The state.
    pub training: Training,
    /// What is trained.
    pub objective: &'a dyn Objective,
    /// How.
    pub options: &'a TrainingOptions,
}

impl Trainer for OnHost<'_> {
    fn advance(&mut self) -> Result<()> {
        self.training.advance(self.objective, self.options)
    }

    fn watch(&self) -> &Training {
        &self.training
    }

    fn state(&mut self) -> Result<&Training> {
        Ok(&self.training)
    }

    fn progress(&self) -> (u64, u64) {
        self.training.progress(self.objective, self.options)
    }

    fn is_done(&self) -> bool {
        self.training.is_done(self.objective, self.options)
    }
}
