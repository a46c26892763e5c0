//! The evidence from a ladder of temperatures between prior and posterior: thermodynamic integration, and Bennett's acceptance ratio.

use lookback_operator::random::{Purpose, Stream};
use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::diagnostics::{ess_bulk, quantile};
use crate::tempered::Tempered;
use crate::workers::Changed;
use crate::{Draw, Error, Evaluator, Method, Number, Nuts, NutsOptions, Progress, Result, Sampler, Workers};

/// Options of [`Thermodynamic`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThermodynamicOptions {
    /// Markov chains at each rung of the ladder.
    pub chains: usize,
    /// Draws of each chain to adapt at a rung.
    pub warmup: usize,
    /// Draws of each chain that count at a rung; those of the last are handed out.
    pub draws: usize,
    /// Share of the draws of a rung that still count, as an effective number, when they are weighted for the next: sets how far apart
    /// rungs are.
    pub overlap: f64,
    /// Acceptance that the step size aims at.
    pub target_acceptance: f64,
    /// Most rungs.
    pub max_rungs: usize,
}

impl Default for ThermodynamicOptions {
    fn default() -> Self {
        ThermodynamicOptions {
            chains: 4,
            warmup: 150,
            draws: 300,
            overlap: 0.5,
            target_acceptance: 0.8,
            max_rungs: 200,
        }
    }
}

/// Fewest draws of the prior that must be possible.
const FEWEST: usize = 10;

/// A rung: how much the data count, and `-ln L` (without constants) of its draws, chain by chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rung {
    beta: f64,
    misfits: Vec<Vec<f64>>,
}

impl Rung {
    fn all(&self) -> impl Iterator<Item = f64> + Clone {
        self.misfits.iter().flatten().copied()
    }

    /// Mean and variance of `-ln L`.
    fn moments(&self) -> (f64, f64) {
        let n = self.all().count() as f64;
        let mean = self.all().sum::<f64>() / n;
        (mean, self.all().map(|u| (u - mean).powi(2)).sum::<f64>() / (n - 1.0))
    }

    /// The next `beta`: as far as the weights `exp(-(beta' - beta) U)` leave the wanted share of the draws.
    ///
    /// `None` if no step, however small, leaves it.
    fn next(&self, overlap: f64) -> Option<f64> {
        let least = self.all().fold(f64::INFINITY, f64::min);
        let share = |ahead: f64| {
            let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
            for u in self.all() {
                let weight = (-ahead * (u - least)).exp();
                sum += weight;
                squares += weight * weight;
                count += 1.0;
            }
            sum * sum / (squares * count)
        };
        let left = 1.0 - self.beta;
        if share(left) >= overlap {
            return Some(1.0);
        }
        let (mut low, mut high) = (0.0, left);
        for _ in 0..200 {
            let middle = if low > 0.0 { 0.5 * (low + high) } else { 0.1 * high };
            if share(middle) >= overlap {
                low = middle
            } else {
                high = middle
            }
            if high - low < 1e-3 * high {
                break;
            }
        }
        (self.beta + low > self.beta).then_some(self.beta + low)
    }
}

/// `ln (Z_upper / Z_lower)` by Bennett's acceptance ratio (1976).
struct Ratio {
    log: f64,
    /// What every draw of the lower rung adds to it, to first order, chain by chain: `f / <f> - 1`.
    lower: Vec<Vec<f64>>,
    /// What every draw of the upper rung takes from it.
    upper: Vec<Vec<f64>>,
}

/// The variance of a mean of dependent draws, of which each chain has a series.
fn variance_of_mean(series: &[Vec<f64>]) -> f64 {
    let count = series.iter().map(Vec::len).sum::<usize>() as f64;
    let mean = series.iter().flatten().sum::<f64>() / count;
    let variance = series.iter().flatten().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let ess = ess_bulk(series);
    variance / if ess.is_finite() { ess.min(count) } else { count }
}

fn bennett(lower: &Rung, upper: &Rung) -> Ratio {
    let ahead = upper.beta - lower.beta;
    let fermi = |x: f64| 1.0 / (1.0 + x.exp());
    // The ratio r at which both means agree: sum_lower f(ahead U + r) = sum_upper f(-ahead U - r), for equal numbers of draws.
    let means = |r: f64| {
        let forth: Vec<f64> = lower.all().map(|u| fermi(ahead * u + r)).collect();
        let back: Vec<f64> = upper.all().map(|u| fermi(-ahead * u - r)).collect();
        (forth, back)
    };
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let middle = -ahead * quantile(&upper.all().collect::<Vec<f64>>(), 0.5);
    let (mut low, mut high, mut width) = (middle - 1.0, middle + 1.0, 1.0);
    let excess = |r: f64| {
        let (forth, back) = means(r);
        mean(&forth) - mean(&back)
    };
    // The excess falls with r.
    while excess(low) < 0.0 && width < 1e12 {
        width *= 2.0;
        low -= width;
    }
    while excess(high) > 0.0 && width < 1e12 {
        width *= 2.0;
        high += width;
    }
    for _ in 0..200 {
        let r = 0.5 * (low + high);
        if excess(r) > 0.0 { low = r } else { high = r }
    }
    let r = 0.5 * (low + high);
    let (forth, back) = means(r);
    let parts = |rung: &Rung, mean: f64, of: &dyn Fn(f64) -> f64| -> Vec<Vec<f64>> {
        rung.misfits.iter().map(|chain| chain.iter().map(|u| of(*u) / mean - 1.0).collect()).collect()
    };
    Ratio {
        log: r,
        lower: parts(lower, mean(&forth), &|u| fermi(ahead * u + r)),
        upper: parts(upper, mean(&back), &|u| fermi(-ahead * u - r)),
    }
}

/// What the rungs say together: `ln Z` by acceptance ratios, with its variance, and by the integral.
struct Ladder {
    ratio: f64,
    variance: f64,
    integral: f64,
}

impl Ladder {
    /// The draws of a rung tell of the ratio to the rung below and of that to the one above, in both with the same sign: their shares of the
    /// error are added draw by draw, not as if they were independent.
    fn of(rungs: &[Rung]) -> Ladder {
        let mut ladder = Ladder { ratio: 0.0, variance: 0.0, integral: 0.0 };
        // What the draws of the rung between two ratios have taken from the first.
        let mut taken: Option<Vec<Vec<f64>>> = None;
        for pair in rungs.windows(2) {
            let Ratio { log, mut lower, upper } = bennett(&pair[0], &pair[1]);
            ladder.ratio += log;
            if let Some(taken) = &taken {
                let parts = lower.iter_mut().flatten().zip(taken.iter().flatten());
                parts.for_each(|(part, taken)| *part -= taken);
            }
            ladder.variance += variance_of_mean(&lower);
            taken = Some(upper);
            let ((below, wide), (above, narrow)) = (pair[0].moments(), pair[1].moments());
            let ahead = pair[1].beta - pair[0].beta;
            ladder.integral -= ahead * 0.5 * (below + above) + ahead * ahead / 12.0 * (narrow - wide);
        }
        ladder.variance += taken.as_deref().map_or(0.0, variance_of_mean);
        ladder
    }
}

/// Samples the ladder `p_beta(z) ~ N(z; 0, 1) L(z)^beta` from the prior (`beta` = 0) to the posterior (`beta` = 1), and gives the evidence
/// `ln Z = ln integral N(z; 0, 1) L(z) dz` in two ways: by Bennett's acceptance ratio between neighbours (`log_evidence`, with
/// `log_evidence_error`), which is free of the error of a quadrature, and by thermodynamic integration `integral <ln L>_beta d beta`
/// with the trapezoid of second order of Friel, Hurn & Wyse (2014) (`log_evidence_integral`), as a check.
///
/// Rungs are placed on the way: each is as far from the last as leaves the wanted overlap. NUTS samples each, from the draws of the one
/// before; the draws of the last are posterior samples, handed out by chain.
///
/// When not to use it: where modes that are far apart exchange no chains at any temperature; in very many dimensions, as rungs grow with
/// their square root (`map` with a full covariance, or `el2o`, cost less where the posterior is nearly Gaussian).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Thermodynamic<T: Number> {
    options: ThermodynamicOptions,
    seed: u64,
    rungs: Vec<Rung>,
    /// Where the chains of the next rung start.
    starts: Vec<Vec<T>>,
    sampler: Option<Nuts<T>>,
    /// Counts of all samplers so far: draws, and divergences.
    draws: usize,
    divergences: usize,
    log_constant: f64,
    /// Share of the prior where the likelihood is not zero.
    share: f64,
}

impl<T: Number> Thermodynamic<T> {
    /// A ladder that has not started.
    ///
    /// # Errors
    /// If an option is out of range.
    pub fn new(options: ThermodynamicOptions, seed: u64) -> Result<Thermodynamic<T>> {
        if !(options.overlap > 0.0 && options.overlap < 1.0) {
            return Err(Error::Option(format!(
                "`overlap` must lie between 0 and 1, and is {}",
                options.overlap
            )));
        }
        if options.max_rungs == 0 || options.draws < 20 {
            return Err(Error::Option("`max_rungs` must be at least 1, and `draws` at least 20".into()));
        }
        let ladder = Thermodynamic {
            options,
            seed,
            rungs: Vec::new(),
            starts: Vec::new(),
            sampler: None,
            draws: 0,
            divergences: 0,
            log_constant: 0.0,
            share: 1.0,
        };
        ladder.sampler(0)?;
        Ok(ladder)
    }

    /// NUTS for the rung with this number.
    fn sampler(&self, rung: usize) -> Result<Nuts<T>> {
        let ThermodynamicOptions { chains, warmup, draws, target_acceptance, .. } = self.options;
        let options =
            NutsOptions { chains, warmup, draws, target_acceptance, thin: 1, ..NutsOptions::default() };
        // Other random numbers at every rung.
        Nuts::new(options, self.seed.wrapping_add((rung as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The lowest rung: independent draws of the prior.
    fn prior(&mut self, workers: &Workers<'_, T>) -> Result<()> {
        let (chains, draws) = (self.options.chains, self.options.draws);
        let dim = workers.dim();
        let latent = |number: usize| {
            let mut z = vec![T::zero(); dim];
            Stream::new(self.seed, Purpose::PriorDraw, number as u32).fill_normal(&mut z);
            z
        };
        let misfits = workers.map((0..chains * draws).collect(), |number, evaluator| {
            let z = latent(number);
            let mut gradient = z.clone();
            let energy = evaluator.energy(&z, &mut gradient)?;
            Ok(if energy.is_finite() { energy - 0.5 * vector::norm2(&z) } else { f64::INFINITY })
        })?;
        if misfits.iter().filter(|u| u.is_finite()).count() < FEWEST {
            return Err(workers.impossible(&latent(0)));
        }
        // Chains start where the prior agrees best with the data, among as many draws as there are for each.
        self.starts = misfits
            .chunks(draws)
            .enumerate()
            .map(|(chain, misfits)| {
                let best = (0..draws).min_by(|a, b| misfits[*a].total_cmp(&misfits[*b])).unwrap_or(0);
                latent(chain * draws + best)
            })
            .collect();
        // Where the likelihood is zero, no power of it is: all rungs but the prior itself are those of the prior inside.
        let inside: Vec<f64> = misfits.into_iter().filter(|u| u.is_finite()).collect();
        self.share = inside.len() as f64 / (chains * draws) as f64;
        self.rungs.push(Rung { beta: 0.0, misfits: vec![inside] });
        self.log_constant = -workers.target().normalisation();
        Ok(())
    }

    /// A draw of every chain at the rung under way.
    fn draw(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<()> {
        let beta = self.rungs.last().map_or(0.0, |rung| rung.beta);
        // If the step fails half-way, the sampler is where it was.
        let Some(mut sampler) = self.sampler.clone() else { return Ok(()) };
        let energy = |evaluator: &mut dyn Evaluator<T>, z: &[T], gradient: &mut [T]| {
            Tempered::new(evaluator, 1.0 / beta).energy(z, gradient)
        };
        let warm = Changed { workers, energy };
        let inner = Workers::new(&warm, workers.stop());
        let mut draws = Vec::new();
        let done = sampler.advance(&inner, &mut |draw| draws.push(draw))?.done;
        // What the sampler knows is the energy with the misfit times beta, of which rounding may leave nothing.
        let cold = workers.map(draws, |draw, evaluator| {
            let Draw::Sample { z, .. } = &draw else { return Ok((draw, f64::NAN)) };
            let mut gradient = z.clone();
            let energy = evaluator.energy(z, &mut gradient)?;
            Ok((draw, energy))
        })?;
        self.sampler = Some(sampler);
        self.draws += 1;
        let mut last = self.starts.clone();
        for (draw, energy) in cold {
            let Draw::Sample { z, chain, mirror, diverged, .. } = draw else { continue };
            let misfit = energy - 0.5 * vector::norm2(&z);
            self.divergences += usize::from(diverged);
            if let Some(rung) = self.rungs.last_mut() {
                rung.misfits[chain].push(misfit);
            }
            last[chain].clone_from(&z);
            if beta == 1.0 {
                sink(Draw::Sample { z, chain, energy: Some(energy), mirror, diverged });
            }
        }
        self.starts = last;
        if done {
            self.sampler = None;
        }
        Ok(())
    }

    /// The next rung up.
    fn climb(&mut self) -> Result<()> {
        let Some(rung) = self.rungs.last() else { return Ok(()) };
        let Some(beta) = rung.next(self.options.overlap) else {
            return Err(Error::NotConverged(format!(
                "no step up from beta = {:.3e} keeps an overlap of {}: the likelihood is too steep there",
                rung.beta, self.options.overlap
            )));
        };
        if self.rungs.len() > self.options.max_rungs {
            return Err(Error::NotConverged(format!(
                "{} rungs reached only beta = {beta:.3e}: allow more with `max_rungs`, or a smaller `overlap`",
                self.options.max_rungs
            )));
        }
        let mut sampler = self.sampler(self.rungs.len())?;
        sampler.start_from(self.starts.clone());
        self.sampler = Some(sampler);
        self.rungs.push(Rung { beta, misfits: vec![Vec::new(); self.options.chains] });
        Ok(())
    }

    fn done(&self) -> bool {
        self.sampler.is_none() && self.rungs.last().is_some_and(|rung| rung.beta == 1.0)
    }

    /// The evidence and its error by acceptance ratios, and by the integral.
    fn evidence(&self) -> (f64, f64, f64) {
        let Ladder { ratio, variance, integral } = Ladder::of(&self.rungs);
        // The share of the prior is counted, with the scatter of counts.
        let draws = (self.options.chains * self.options.draws) as f64;
        let counted = (1.0 - self.share) / (self.share * draws);
        let constant = self.log_constant + self.share.ln();
        (ratio + constant, (variance + counted).sqrt(), integral + constant)
    }
}

impl<T: Number> Method<T> for Thermodynamic<T> {
    fn advance(&mut self, workers: &Workers<'_, T>, sink: &mut dyn FnMut(Draw<T>)) -> Result<Progress> {
        if self.rungs.is_empty() {
            self.prior(workers)?;
        } else if self.sampler.is_some() {
            self.draw(workers, sink)?;
        } else if !self.done() {
            self.climb()?;
        }
        let beta = self.rungs.last().map_or(0.0, |rung| rung.beta);
        // How many rungs there will be is not known before the last: what is left of the logarithm of beta is the best guess.
        let per_rung = self.options.warmup + self.options.draws;
        let left = if beta == 1.0 { per_rung - self.draws % per_rung } else { 10 * per_rung };
        let total = if self.done() { self.draws } else { self.draws + left };
        let message = format!("rung {} at beta {beta:.2e}", self.rungs.len().saturating_sub(1));
        Ok(Progress { steps: (self.draws as u64, total as u64), message, done: self.done() })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures =
            vec![("rungs".into(), self.rungs.len() as f64), ("divergences".into(), self.divergences as f64)];
        if self.done() {
            let (evidence, error, integral) = self.evidence();
            figures.push(("log_evidence".into(), evidence));
            figures.push(("log_evidence_error".into(), error));
            figures.push(("log_evidence_integral".into(), integral));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ladders of independent draws of `U = k |z|^2 / 2` with `z ~ N(0, 1 / (1 + k beta))` in 20 dimensions, between which the evidence has the
    /// scatter that each tells of itself.
    #[test]
    fn the_error_of_a_ladder_is_its_scatter() {
        let (dim, steep, rungs, draws) = (20u64, 30.0f64, 24u64, 150u64);
        let ladder = |repeat: u64| {
            let stream = Stream::new(5, Purpose::Test, repeat as u32);
            let rung = |number: u64| {
                // Even steps of ln(1 + k beta).
                let stiff = (1.0 + steep).powf(number as f64 / (rungs - 1) as f64);
                let misfit = |draw: u64| {
                    let at = |d: u64| 2 * ((number * draws + draw) * dim + d);
                    0.5 * steep / stiff * (0..dim).map(|d| stream.normal(at(d)).powi(2)).sum::<f64>()
                };
                Rung { beta: (stiff - 1.0) / steep, misfits: vec![(0..draws).map(misfit).collect()] }
            };
            Ladder::of(&(0..rungs).map(rung).collect::<Vec<_>>())
        };
        let repeats = 150;
        let found: Vec<Ladder> = (0..repeats).map(ladder).collect();
        let mean = found.iter().map(|it| it.ratio).sum::<f64>() / repeats as f64;
        let scatter =
            (found.iter().map(|it| (it.ratio - mean).powi(2)).sum::<f64>() / (repeats - 1) as f64).sqrt();
        let told = (found.iter().map(|it| it.variance).sum::<f64>() / repeats as f64).sqrt();
        let exact = -0.5 * dim as f64 * (1.0 + steep).ln();
        assert!((mean - exact).abs() < 4.0 * scatter / (repeats as f64).sqrt(), "{mean} {exact}");
        // A scatter of 150 repeats is known to 6 %.
        assert!((told / scatter - 1.0).abs() < 0.18, "told {told}, scatter {scatter}");
    }
}
