//! What all Markov chains share: where they start, how many there are, and the random numbers of each.

use lookback_operator::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::options::at_least_one;
use crate::target::possible;
use crate::{Error, Evaluator, Number, Result};

/// Draws of one chain that can be told apart: each has a substream of random numbers.
const DRAWS_PER_CHAIN: usize = 1 << 22;

/// A latent with the energy and its gradient there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Point<T: Number> {
    pub z: Vec<T>,
    pub gradient: Vec<T>,
    pub energy: f64,
}

impl<T: Number> Point<T> {
    /// The random starting point number `which`, normal with the standard deviation `scale`.
    ///
    /// # Errors
    /// If the model fails there, or the energy or its gradient is not finite.
    pub fn start(
        evaluator: &mut dyn Evaluator<T>,
        dim: usize,
        seed: u64,
        which: u32,
        scale: f64,
    ) -> Result<Self> {
        Point::at(evaluator, random_start(dim, seed, which, scale))
    }

    /// A given starting point.
    ///
    /// # Errors
    /// If the model fails there, or the energy or its gradient is not finite.
    pub fn at(evaluator: &mut dyn Evaluator<T>, z: Vec<T>) -> Result<Self> {
        let mut gradient = vec![T::zero(); z.len()];
        let energy = evaluator.energy(&z, &mut gradient)?;
        possible(evaluator, energy)?;
        if let Some(index) = gradient.iter().position(|x| !x.is_finite()) {
            return Err(Error::StartGradient { index, value: gradient[index].f64() });
        }
        Ok(Point { z, gradient, energy })
    }
}

/// The random starting point number `which`, normal with the standard deviation `scale`.
pub(crate) fn random_start<T: Number>(dim: usize, seed: u64, which: u32, scale: f64) -> Vec<T> {
    let mut z = vec![T::zero(); dim];
    Stream::new(seed, Purpose::Start, which).fill_normal(&mut z);
    let scale = T::of(scale);
    z.iter_mut().for_each(|z| *z *= scale);
    z
}

/// Where the chains of a sampler start: at latents that were given, or at random. Given ones are taken in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Beginnings<T: Number> {
    given: Vec<Vec<T>>,
    seed: u64,
    scale: f64,
}

impl<T: Number> Beginnings<T> {
    /// At random, with this standard deviation.
    pub fn random(seed: u64, scale: f64) -> Beginnings<T> {
        Beginnings { given: Vec::new(), seed, scale }
    }

    /// At these latents.
    pub fn give(&mut self, latents: Vec<Vec<T>>) {
        self.given = latents;
    }

    /// That of a chain.
    ///
    /// # Errors
    /// If the model fails there, or the energy or its gradient is not finite, or what was given has another length.
    pub fn of_chain(&self, chain: usize, evaluator: &mut dyn Evaluator<T>, dim: usize) -> Result<Point<T>> {
        if self.given.is_empty() {
            return Point::start(evaluator, dim, self.seed, chain as u32, self.scale);
        }
        let z = self.given[chain % self.given.len()].clone();
        check_start(&z, dim)?;
        Point::at(evaluator, z)
    }
}

/// Refuses a start of another length than the latents.
pub(crate) fn check_start<T>(z: &[T], dim: usize) -> Result<()> {
    if z.len() == dim {
        return Ok(());
    }
    Err(Error::Option(format!("a start has {} latents, and the model {dim}", z.len())))
}

/// Random numbers of one draw of one chain.
pub(crate) fn stream(seed: u64, chain: usize, draw: usize) -> Stream {
    Stream::new(seed, Purpose::Chain, (chain * DRAWS_PER_CHAIN + draw) as u32)
}

/// Energies at the beginnings of trajectories: do fresh momenta reach all of them? (E-BFMI; Betancourt 2016, arXiv 1604.00695.)
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Energies {
    last: Option<f64>,
    count: f64,
    mean: f64,
    squares: f64,
    jumps: f64,
}

impl Energies {
    /// Takes in the total energy of a trajectory.
    pub fn add(&mut self, energy: f64) {
        self.count += 1.0;
        let before = energy - self.mean;
        self.mean += before / self.count;
        self.squares += before * (energy - self.mean);
        self.jumps += self.last.map_or(0.0, |last| (energy - last).powi(2));
        self.last = Some(energy);
    }

    /// `sum (E_n - E_(n-1))^2 / sum (E_n - mean)^2`: below 0.3, chains wander slowly between energies.
    fn bfmi(&self) -> f64 {
        self.jumps / self.squares
    }

    /// The figure of the worst of all chains, with its name.
    pub fn worst<'a>(chains: impl Iterator<Item = &'a Energies>) -> (String, f64) {
        ("e_bfmi_min".into(), chains.map(Energies::bfmi).fold(f64::INFINITY, f64::min))
    }
}

/// Trajectories that diverged, and those that were told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Divergences {
    count: u64,
    told: u64,
}

impl Divergences {
    /// Takes in whether a trajectory diverged.
    pub fn add(&mut self, diverged: bool) {
        self.count += u64::from(diverged);
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there was one since this was last asked.
    pub fn tell(&mut self) -> bool {
        std::mem::replace(&mut self.told, self.count) < self.count
    }
}

/// Uniform numbers for decisions, from behind the normal ones of a draw.
pub(crate) struct Decisions {
    stream: Stream,
    next: u64,
}

impl Decisions {
    /// Decisions of a draw that uses `dim` normal numbers.
    pub fn new(stream: Stream, dim: usize) -> Decisions {
        Decisions { stream, next: dim as u64 + 2 }
    }

    /// The next number in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        let number = self.stream.uniform(self.next);
        self.next += 2;
        number
    }
}

/// How many chains and draws a sampler was asked for.
pub(crate) struct Plan {
    pub chains: usize,
    /// Transitions of a chain before those that count, and those that count.
    pub warmup: usize,
    pub draws: usize,
    pub thin: usize,
    pub start_scale: f64,
}

impl Plan {
    /// Refuses what cannot be done.
    ///
    /// # Errors
    /// [`Error::Option`], naming the option.
    pub fn check(&self) -> Result<()> {
        at_least_one(&[("chains", self.chains), ("draws", self.draws), ("thin", self.thin)])?;
        if !(self.start_scale >= 0.0 && self.start_scale.is_finite()) {
            return Err(Error::Option(format!(
                "`start_scale` must not be negative, and is {}",
                self.start_scale
            )));
        }
        if self.thin > self.draws {
            return Err(Error::Option(format!("`thin` ({}) keeps none of {} draws", self.thin, self.draws)));
        }
        let transitions = self.warmup.saturating_add(self.draws);
        if self.chains > 500 || transitions >= DRAWS_PER_CHAIN {
            return Err(Error::Option(
                "at most 500 chains of 4 million transitions can be told apart".into(),
            ));
        }
        Ok(())
    }
}

/// Refuses an acceptance that is no probability.
///
/// # Errors
/// [`Error::Option`].
pub(crate) fn check_acceptance(target: f64) -> Result<()> {
    if target > 0.0 && target < 1.0 {
        return Ok(());
    }
    Err(Error::Option(format!("`target_acceptance` must lie between 0 and 1, and is {target}")))
}
