//! Kicks and drifts: the factors that carry particles from one scale factor to the next.

use lookback_cosmology::{Cosmology, Instant, Scalar};

use crate::{Error, Lpt, Result};

/// How time is cut into kicks and drifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// FastPM (Feng et al. 2016): kick, drift, kick, with factors that are exact in linear theory.
    FastPm(Middle),
    /// BullFrog (List, Hahn & Rampf 2024): drift, kick, drift, exact in second-order perturbation theory.
    #[default]
    BullFrog,
}

/// The middle of a step of FastPM, at which its two kicks meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Middle {
    /// `sqrt(a b)` (FastPM, MADLens).
    #[default]
    Geometric,
    /// `(a + b) / 2` (pmwd).
    Arithmetic,
}

impl Middle {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Middle::Geometric => (a * b).sqrt(),
            Middle::Arithmetic => 0.5 * (a + b),
        }
    }
}

/// One move of all particles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Move<S> {
    /// `p = keep p + pull g(x)`.
    Kick {
        /// Factor of the momentum.
        keep: S,
        /// Factor of the field of [`Gravity`](crate::Gravity).
        pull: S,
    },
    /// `x = x + (before + after) p`: a drift with the moment of its [`View`] in it.
    Drift {
        /// Factor of the momentum up to the view.
        before: S,
        /// Factor of the momentum from there on.
        after: S,
    },
}

/// The moment of a drift at which positions and momenta belong to the same time: what an observer who looks at the past
/// sees of the drift. Between `from` and `to` a particle is at `x + (D1(a) - growth) unit p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<S> {
    /// Scale factor of the moment.
    pub at: f64,
    /// Scale factor from which on this drift is seen; that up to which the one before is seen.
    pub from: f64,
    /// Scale factor up to which this drift is seen.
    pub to: f64,
    /// `D1` at the moment.
    pub growth: S,
    /// Displacement per growth and momentum.
    pub unit: S,
}

/// Growth factors of the displacement and of the momentum at the start, for each order.
#[derive(Debug, Clone, PartialEq)]
pub struct Start<S> {
    /// `D_n`.
    pub displacement: Vec<S>,
    /// `D_n' G`, such that it is a momentum in the unit of the schedule.
    pub momentum: Vec<S>,
}

/// All factors of a simulation: the only place where cosmology enters the motion of particles.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule<S> {
    /// Growth at the start.
    pub start: Start<S>,
    /// What happens, in order.
    pub moves: Vec<Move<S>>,
    /// The views of the drifts, in order.
    pub views: Vec<View<S>>,
    /// Turns the momentum of the schedule into `a^2 dx/dt` \[H0 Mpc/h\] at the end.
    pub momentum_unit: S,
}

impl<S: Scalar> Schedule<S> {
    /// The factors for a list of rising scale factors, the first of which is the start.
    ///
    /// # Errors
    /// If the list does not rise between 1e-4 and 1, has fewer than two entries, or begins before a table of growth does.
    pub fn new(cosmology: &Cosmology<S>, scheme: Scheme, lpt: Lpt, times: &[f64]) -> Result<Schedule<S>> {
        check_times(times)?;
        if let Some(since) =
            cosmology.history().tabulated_since().filter(|since| times[0] < since * (1.0 - 1e-12))
        {
            return Err(Error::Setting(format!(
                "steps begin at a scale factor of {}, before the first row of the growth table at {since:.6}",
                times[0]
            )));
        }
        let first = cosmology.instant(times[0]);
        let last = cosmology.instant(times[times.len() - 1]);
        let ((moves, views), start_unit, momentum_unit) = match scheme {
            Scheme::FastPm(middle) => (fastpm(cosmology, middle, times), first.momentum_factor(), S::of(1.0)),
            Scheme::BullFrog => (bullfrog(cosmology, times), S::of(1.0), last.momentum_factor()),
        };
        // FastPM's momentum is a^2 E dx/dln a = G dx/dD1; BullFrog's is dx/dD1.
        let rate = |slope: S| slope / first.d1.slope * start_unit;
        let growths: &[_] = match lpt {
            Lpt::First => &[first.d1],
            Lpt::Second => &[first.d1, first.d2],
            Lpt::Third => &[first.d1, first.d2, first.d3a, first.d3b, first.d3c],
        };
        let start = Start {
            displacement: growths.iter().map(|growth| growth.d).collect(),
            momentum: growths.iter().map(|growth| rate(growth.slope)).collect(),
        };
        Ok(Schedule { start, moves, views, momentum_unit })
    }

    /// By how much rounding errors of the momenta grow when all kicks are undone, one after the other: a kick that keeps a hundredth of a
    /// momentum leaves a hundredth of its digits to go back by. (BullFrog keeps nothing in a step in which `D1` grows 3.2 times.)
    pub fn loss(&self) -> f64 {
        let kept = self.moves.iter().map(|step| match step {
            Move::Kick { keep, .. } => keep.value().abs(),
            Move::Drift { .. } => 1.0,
        });
        kept.map(|keep| 1.0f64.max(1.0 / keep)).product()
    }

    /// Every factor in one list: start, moves, unit. Neighbouring lists of the same simulation differ in numbers only.
    pub fn factors(&self) -> Vec<S> {
        let mut all: Vec<S> = self.start.displacement.iter().chain(&self.start.momentum).copied().collect();
        for step in &self.moves {
            match *step {
                Move::Kick { keep, pull } => all.extend([keep, pull]),
                Move::Drift { before, after } => all.extend([before, after]),
            }
        }
        all.push(self.momentum_unit);
        all
    }
}

/// Scale factors from `start` to 1 between which `D1` rises by equal amounts, to 1e-12: the time of BullFrog.
pub fn equal_in_growth(cosmology: &Cosmology<f64>, start: f64, steps: usize) -> Vec<f64> {
    let growth = |a: f64| cosmology.instant(a).d1.d;
    let at = |i: usize| {
        if i == 0 || i == steps {
            return if i == 0 { start } else { 1.0 };
        }
        let wanted = growth(start) + (growth(1.0) - growth(start)) * (i as f64 / steps as f64);
        let (mut low, mut high) = (start, 1.0);
        while high - low > 1e-12 {
            let middle = 0.5 * (low + high);
            if growth(middle) < wanted { low = middle } else { high = middle }
        }
        low
    };
    (0..=steps).map(at).collect()
}

type Moves<S> = (Vec<Move<S>>, Vec<View<S>>);

fn check_times(times: &[f64]) -> Result<()> {
    let rising = times.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = times.iter().all(|a| *a >= 1e-4 && *a <= 1.0);
    if times.len() < 2 || !rising || !inside {
        return Err(Error::Setting(format!(
            "scale factors must rise from at least 0.0001 to at most 1, in two or more steps, not {times:?}"
        )));
    }
    Ok(())
}

/// Kick, drift, kick about the middle of each step; the kicks on either side of a time are one.
///
/// Drift `(D(b) - D(a)) / G(c)`, kick of `g` by `(G(b) - G(a)) / D(c)`, with `G = a^2 E dD1/dln a` (Feng et
/// al. 2016): their kick divides by `3/2 omega_m D1`, and `g` comes without the factor `3/2 omega_m`.
fn fastpm<S: Scalar>(cosmology: &Cosmology<S>, middle: Middle, times: &[f64]) -> Moves<S> {
    let one = S::of(1.0);
    let at: Vec<Instant<S>> = times.iter().map(|&a| cosmology.instant(a)).collect();
    let middle: Vec<Instant<S>> =
        times.windows(2).map(|pair| cosmology.instant(middle.of(pair[0], pair[1]))).collect();
    let (mut moves, mut views) = (Vec::new(), Vec::new());
    for i in 0..times.len() {
        let from = if i == 0 { &at[0] } else { &middle[i - 1] };
        let to = if i + 1 == times.len() { &at[i] } else { &middle[i] };
        moves.push(Move::Kick {
            keep: one,
            pull: (to.momentum_factor() - from.momentum_factor()) / at[i].d1.d,
        });
        if i + 1 < times.len() {
            let unit = one / middle[i].momentum_factor();
            let growth = middle[i].d1.d;
            moves.push(Move::Drift {
                before: (growth - at[i].d1.d) * unit,
                after: (at[i + 1].d1.d - growth) * unit,
            });
            views.push(View { at: middle[i].a, from: times[i], to: times[i + 1], growth, unit });
        }
    }
    (moves, views)
}

/// Drift, kick, drift in the time `D1`; the drifts on either side of a time are one.
///
/// `v = alpha v + (1 - alpha) g(x_half) / D_half`, with `alpha = (E'_1 - F) / (E'_0 - F)`, `E = D2`, `E' = dE/dD1`,
/// `F = (E_0 + E'_0 dD/2) / D_half - D_half` (List, Hahn & Rampf 2024): the
/// momentum of second-order theory is carried on exactly.
fn bullfrog<S: Scalar>(cosmology: &Cosmology<S>, times: &[f64]) -> Moves<S> {
    let at: Vec<Instant<S>> = times.iter().map(|&a| cosmology.instant(a)).collect();
    let rate = |t: &Instant<S>| t.d2.slope / t.d1.slope;
    let one = S::of(1.0);
    // A drift is seen between the middles of the steps that it joins.
    let edge =
        |i: usize| if i == 0 { times[0] } else { 0.5 * (times[i - 1] + times[i.min(times.len() - 1)]) };
    let view = |i: usize| {
        let to = if i + 1 == times.len() { times[i] } else { edge(i + 1) };
        View { at: times[i], from: edge(i), to, growth: at[i].d1.d, unit: one }
    };
    let views = (0..times.len()).map(view).collect();
    let mut moves = Vec::new();
    let mut pending = S::of(0.0);
    for pair in at.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let half_step = (after.d1.d - before.d1.d) * 0.5;
        let half = before.d1.d + half_step;
        let f = (before.d2.d + rate(before) * half_step) / half - half;
        let keep = (rate(after) - f) / (rate(before) - f);
        moves.push(Move::Drift { before: pending, after: half_step });
        moves.push(Move::Kick { keep, pull: (S::of(1.0) - keep) / half });
        pending = half_step;
    }
    moves.push(Move::Drift { before: pending, after: S::of(0.0) });
    (moves, views)
}
