//! One way down the energy, step by step: Newton, L-BFGS, gradient descent or Adam.

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::chain::Point;
use crate::lbfgs::History;
use crate::line_search::line_search;
use crate::newton_cg::newton_direction;
use crate::tempered::Tempered;
use crate::{Error, Evaluator, Number, Result};

/// How a maximum of the posterior density is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Limited-memory BFGS: gradients only.
    Lbfgs,
    /// Newton with the Gauss-Newton metric and conjugate gradients: few, expensive steps.
    NewtonCg,
    /// Down the gradient, with steps of Barzilai & Borwein (1988) and a line search.
    GradientDescent,
    /// Adam (Kingma & Ba 2015, algorithm 1): one gradient a step, of a length that does not depend on the scale of the energy.
    Adam,
}

/// Pairs that L-BFGS keeps.
const MEMORY: usize = 10;
/// Most iterations of an inner solve.
const INNER: usize = 1000;
/// Shares of the running moments of Adam that a step keeps.
const ADAM_KEEPS: [f64; 2] = [0.9, 0.999];
/// Keeps Adam from dividing by zero.
const ADAM_FLOOR: f64 = 1e-8;
/// First step of Adam, in latents, unless another is asked for.
pub(crate) const LEARNING_RATE: f64 = 0.1;
/// How fast steps of Adam grow again after one that was halved.
const RECOVERS: f64 = 1.1;

/// What all searches of a method have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub optimizer: Optimizer,
    /// Distance from the maximum at which to stop, in posterior standard deviations (root mean square over latents).
    pub tolerance: f64,
    /// Most steps.
    pub max_iterations: usize,
    /// First step of Adam, in latents.
    pub learning_rate: f64,
    /// Falling temperatures at which to search first, and steps at each.
    pub anneal: &'a [f64],
    pub anneal_steps: usize,
    pub seed: u64,
    pub start_scale: f64,
}

impl Rules<'static> {
    /// A search without temperatures.
    pub fn plain(
        optimizer: Optimizer,
        tolerance: f64,
        max_iterations: usize,
        seed: u64,
        start_scale: f64,
    ) -> Rules<'static> {
        let (learning_rate, anneal, anneal_steps) = (LEARNING_RATE, &[], 0);
        Rules { optimizer, tolerance, max_iterations, learning_rate, anneal, anneal_steps, seed, start_scale }
    }
}

/// What a step leaves for the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Memory<T: Number> {
    history: History<T>,
    /// First length to try along the gradient.
    length: Option<f64>,
    adam: Option<Adam<T>>,
}

/// Running mean and mean square of the gradient, how often they were updated, and a factor on the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Adam<T: Number> {
    mean: Vec<T>,
    square: Vec<T>,
    count: i32,
    factor: f64,
}

impl<T: Number> Memory<T> {
    fn none() -> Memory<T> {
        Memory { history: History::new(MEMORY), length: None, adam: None }
    }

    /// Takes in the step that was made.
    fn learn(&mut self, optimizer: Optimizer, from: &Point<T>, to: &Point<T>) {
        if !matches!(optimizer, Optimizer::Lbfgs | Optimizer::GradientDescent) {
            return;
        }
        let s = vector::step(&to.z, -1.0, &from.z);
        let y = vector::step(&to.gradient, -1.0, &from.gradient);
        if optimizer == Optimizer::Lbfgs {
            self.history.update(s, y);
            return;
        }
        let length = vector::dot(&s, &y) / vector::norm2(&y);
        self.length = Some(length).filter(|length| length.is_finite() && *length > 0.0);
    }
}

/// A search for a minimum of the energy. Memory: two vectors, and twenty more for L-BFGS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Search<T: Number> {
    /// Number of the starting point.
    which: u32,
    /// The starting point, if it is not a random one.
    begin: Option<Vec<T>>,
    at: Option<Point<T>>,
    memory: Memory<T>,
    /// Number of the temperature, and the step at which it began.
    stage: (usize, usize),
    /// Whether the next step cools.
    cool_next: bool,
    pub steps: usize,
    pub converged: bool,
}

impl<T: Number> Search<T> {
    /// A search from the random starting point `which`.
    pub fn new(which: u32) -> Search<T> {
        Search {
            which,
            begin: None,
            at: None,
            memory: Memory::none(),
            stage: (0, 0),
            cool_next: false,
            steps: 0,
            converged: false,
        }
    }

    /// A search from a given starting point.
    pub fn from(begin: Vec<T>) -> Search<T> {
        Search { begin: Some(begin), ..Search::new(0) }
    }

    /// The best point so far.
    pub fn at(&self) -> Option<&Point<T>> {
        self.at.as_ref()
    }

    /// What L-BFGS has learned of the curvature.
    pub fn history(&self) -> &History<T> {
        &self.memory.history
    }

    /// The temperature of the search: 1 at its end.
    pub fn temperature(&self, rules: &Rules<'_>) -> f64 {
        rules.anneal.get(self.stage.0).copied().unwrap_or(1.0)
    }

    /// `|grad H| / sqrt(dim)`: a bound on the distance to the maximum, in posterior standard deviations.
    pub fn distance(&self) -> f64 {
        self.at.as_ref().map_or(f64::INFINITY, |at| (vector::norm2(&at.gradient) / at.z.len() as f64).sqrt())
    }

    /// Does the next step; if it fails, the search is where it was before.
    ///
    /// # Errors
    /// If the model fails, the energy is not finite at the start, or all steps are used up.
    pub fn advance(&mut self, rules: &Rules<'_>, evaluator: &mut dyn Evaluator<T>, dim: usize) -> Result<()> {
        let temperature = self.temperature(rules);
        if self.at.is_none() {
            let mut tempered = Tempered::new(evaluator, temperature);
            self.at = Some(match &self.begin {
                Some(begin) => Point::at(&mut tempered, begin.clone())?,
                None => Point::start(&mut tempered, dim, rules.seed, self.which, rules.start_scale)?,
            });
            return Ok(());
        }
        if self.cool_next {
            return self.cool(rules, evaluator);
        }
        // While it is hot, the search is not at its end.
        if self.stage.0 == rules.anneal.len() && self.steps >= rules.max_iterations {
            return Err(Error::NotConverged(format!(
                "the maximum was not found in {} steps: still up to {:.2e} posterior standard deviations away",
                self.steps,
                self.distance()
            )));
        }
        let Some(at) = &self.at else { return Ok(()) };
        let mut tempered = Tempered::new(evaluator, temperature);
        let lower = if rules.optimizer == Optimizer::Adam {
            let (lower, adam) = Adam::step(self.memory.adam.as_ref(), at, &mut tempered, self.rate(rules))?;
            self.memory.adam = Some(adam);
            Some(lower)
        } else {
            self.descend(rules, at, &mut tempered)?
        };
        self.steps += 1;
        match lower {
            Some(lower) => {
                self.memory.learn(rules.optimizer, at, &lower);
                self.at = Some(lower);
                // While it is hot, the search goes on for its steps: its maximum is not the one that is wanted.
                self.converged = temperature == 1.0 && self.distance() <= rules.tolerance;
            }
            // No step lowers the energy beyond rounding: this is the minimum that the precision allows.
            None => self.converged = true,
        }
        if self.stage.0 < rules.anneal.len() {
            // Cooling is a step of its own, so that one that fails leaves the state as it was.
            self.cool_next = self.converged || self.steps - self.stage.1 >= rules.anneal_steps;
            self.converged = false;
        }
        Ok(())
    }

    /// The next point by a line search, unless none is lower.
    fn descend(
        &self,
        rules: &Rules<'_>,
        at: &Point<T>,
        evaluator: &mut dyn Evaluator<T>,
    ) -> Result<Option<Point<T>>> {
        let cautious = 1.0 / (1.0 + vector::norm2(&at.gradient).sqrt());
        let (direction, first) = match rules.optimizer {
            Optimizer::NewtonCg => {
                let goal = rules.tolerance.powi(2) * at.z.len() as f64;
                let mut gradient = at.gradient.clone();
                evaluator.energy(&at.z, &mut gradient)?;
                (newton_direction(evaluator, &gradient, goal, INNER)?, 1.0)
            }
            Optimizer::Lbfgs => {
                let history = &self.memory.history;
                (history.direction(&at.gradient), if history.is_empty() { cautious } else { 1.0 })
            }
            Optimizer::GradientDescent | Optimizer::Adam => {
                (vector::negative(&at.gradient), self.memory.length.unwrap_or(cautious))
            }
        };
        let lower = line_search(evaluator, &at.z, at.energy, &at.gradient, &direction, first)?;
        let improves = |lower: &Point<T>| {
            lower.energy < at.energy || vector::norm2(&lower.gradient) < vector::norm2(&at.gradient)
        };
        Ok(lower.filter(improves))
    }

    /// Adam's step falls to zero along half a cosine.
    fn rate(&self, rules: &Rules<'_>) -> f64 {
        let share = self.steps as f64 / rules.max_iterations.max(1) as f64;
        rules.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())
    }

    /// Goes to the next temperature, from where the search is.
    fn cool(&mut self, rules: &Rules<'_>, evaluator: &mut dyn Evaluator<T>) -> Result<()> {
        let Some(at) = &mut self.at else { return Ok(()) };
        let next = rules.anneal.get(self.stage.0 + 1).copied().unwrap_or(1.0);
        let mut gradient = at.gradient.clone();
        at.energy = Tempered::new(evaluator, next).energy(&at.z, &mut gradient)?;
        at.gradient = gradient;
        self.stage = (self.stage.0 + 1, self.steps);
        self.cool_next = false;
        self.memory = Memory::none();
        Ok(())
    }
}

impl<T: Number> Adam<T> {
    /// A step, and what it leaves. Where it leads to what is impossible, it is halved, and those after it recover slowly.
    fn step(
        before: Option<&Adam<T>>,
        at: &Point<T>,
        evaluator: &mut dyn Evaluator<T>,
        rate: f64,
    ) -> Result<(Point<T>, Adam<T>)> {
        let none = || vec![T::zero(); at.z.len()];
        let mut now =
            before.cloned().unwrap_or_else(|| Adam { mean: none(), square: none(), count: 0, factor: 1.0 });
        now.count += 1;
        let [keep_mean, keep_square] = ADAM_KEEPS;
        for ((mean, square), g) in now.mean.iter_mut().zip(&mut now.square).zip(&at.gradient) {
            *mean = T::of(keep_mean) * *mean + T::of(1.0 - keep_mean) * *g;
            *square = T::of(keep_square) * *square + T::of(1.0 - keep_square) * *g * *g;
        }
        let unbias = [keep_mean, keep_square].map(|keep| 1.0 - keep.powi(now.count));
        let mut gradient = at.gradient.clone();
        loop {
            let length = rate * now.factor;
            let moved = |(z, (mean, square)): (&T, (&T, &T))| {
                let spread = (square.f64() / unbias[1]).sqrt() + ADAM_FLOOR;
                T::of(z.f64() - length * (mean.f64() / unbias[0]) / spread)
            };
            let z: Vec<T> = at.z.iter().zip(now.mean.iter().zip(&now.square)).map(moved).collect();
            let energy = evaluator.energy(&z, &mut gradient)?;
            if energy.is_finite() {
                now.factor = (now.factor * RECOVERS).min(1.0);
                return Ok((Point { z, gradient, energy }, now));
            }
            now.factor *= 0.5;
            if now.factor < 1e-12 {
                let message =
                    "Adam finds no step to where the energy is finite; start elsewhere, or use `lbfgs`";
                return Err(Error::NotConverged(message.into()));
            }
        }
    }
}
