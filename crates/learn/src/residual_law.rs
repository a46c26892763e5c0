//! The law of what a decoder gets wrong: bounds, exact zeros, tails and skewness that a Gaussian has not.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use crate::{Error, Result};

/// What a number is, given what was decoded in its place and how large its error should be: a monotone function of a standard normal number
/// `g` whose values are distributed as the true numbers are in examples that were not trained on.
///
/// With correlated `g` the errors are a Gaussian copula (Nelsen 2006, section 2.3): their correlations stay, and each number has the law of
/// its class. A class (of the decoded value, and of the error's standard deviation) keeps empirical quantiles at `Phi(g)` for a row of `g`, with straight
/// lines between, also between classes of neighbouring decoded values; beyond the outermost the error stays. Where classes are so wide that what was decoded
/// scatters in them about as much as errors do, the numbers of a class are moved along to its middle first, but for those at a bound. A bound is the smallest or the largest number
/// where many are equal to it; beyond nothing is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResidualLaw {
    /// Classes of the decoded value, and of the spread within each.
    classes: [usize; 2],
    /// The bounds below and above, the ends of all numbers where there are none; upper edges of the classes of the decoded value but for the last; those of the spread for each of
    /// them; then for each class the mean decoded value and the quantiles.
    numbers: Vec<f32>,
}

/// Normal numbers at which quantiles are kept: evenly from `-REACH` to `REACH`.
const NODES: usize = 25;
const REACH: f32 = 3.0;

/// Most classes of the decoded value, and of the spread.
const MOST: [usize; 2] = [16, 8];
/// Variance of what was decoded within classes, over that of the errors, from which on numbers are moved along: a fifth more width. (Digits and clothes
/// have 0.15 and 0.12, and shares of exact zeros that classes know better.)
const WIDE: f64 = 0.5;
/// Fewest numbers that are equal at a bound, and their least share.
const AT_BOUND: usize = 5;
const SHARE_AT_BOUND: f64 = 1e-4;
/// Fewest numbers of a class: the outermost node is at one in 740.
const FEWEST: usize = 1000;

/// A number, with what was decoded in its place and the standard deviation that its error should have.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub decoded: f32,
    pub spread: f32,
    pub value: f32,
}

impl ResidualLaw {
    /// The law of what was seen; none if that is too little for one class.
    pub(crate) fn learn(mut seen: Vec<Seen>) -> Option<ResidualLaw> {
        let most = seen.len() / FEWEST;
        if most == 0 {
            return None;
        }
        let spreads = MOST[1].min(most);
        let levels = MOST[0].min(most / spreads);
        let range = bounds(&seen);
        let (mut level_edges, mut spread_edges, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for (level, more) in cut(&mut seen, levels, |seen| seen.decoded) {
            level_edges.extend(more);
            let mut level = level.to_vec();
            for (cell, more) in cut(&mut level, spreads, |seen| seen.spread) {
                spread_edges.extend(more);
                classes.push(Class::of(cell));
            }
        }
        let sum = |of: fn(&Class) -> f64| classes.iter().map(of).sum::<f64>();
        let moves = sum(|class| class.scatter[0]) > WIDE * sum(|class| class.scatter[1]);
        let cells = classes.into_iter().flat_map(|class| class.numbers(moves, range)).collect();
        let numbers = [range.to_vec(), level_edges, spread_edges, cells].concat();
        Some(ResidualLaw { classes: [levels, spreads], numbers })
    }

    /// From its numbers.
    pub(crate) fn of(classes: [usize; 2], numbers: Vec<f32>) -> Result<ResidualLaw> {
        if classes.contains(&0) || numbers.len() != Self::len(classes) {
            let message =
                format!("a law of residuals with {} numbers for {classes:?} classes", numbers.len());
            return Err(Error::Data(message));
        }
        Ok(ResidualLaw { classes, numbers })
    }

    /// Numbers that so many classes need.
    pub(crate) fn len([levels, spreads]: [usize; 2]) -> usize {
        levels.saturating_mul(spreads).saturating_mul(NODES + 2).saturating_add(1)
    }

    pub(crate) fn classes(&self) -> [usize; 2] {
        self.classes
    }

    pub(crate) fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// The law of one number, from what was decoded in its place and the standard deviation of its error, in the network's units.
    pub fn given(&self, decoded: f32, spread: f32) -> NumberLaw<'_> {
        let [levels, spreads] = self.classes;
        let (level_edges, rest) = self.numbers[2..].split_at(levels - 1);
        let (spread_edges, cells) = rest.split_at(levels * (spreads - 1));
        let cell = |level: usize| {
            let edges = &spread_edges[level * (spreads - 1)..][..spreads - 1];
            let class = level * spreads + edges.partition_point(|edge| *edge <= spread);
            let cell = &cells[class * (NODES + 1)..][..NODES + 1];
            (cell[0], &cell[1..])
        };
        let level = level_edges.partition_point(|edge| *edge <= decoded);
        let (mean, nodes) = cell(level);
        let range = [self.numbers[0], self.numbers[1]];
        let alone = NumberLaw { nodes: [nodes; 2], part: 0.0, shift: decoded - mean, range };
        let next = if decoded < mean { level.checked_sub(1) } else { Some(level + 1) };
        let Some((beside, others)) = next.filter(|next| *next < levels).map(cell) else { return alone };
        let part = (decoded - mean) / (beside - mean);
        // Classes that are the same have no distance.
        if part.is_finite() { NumberLaw { nodes: [nodes, others], part, shift: 0.0, range } } else { alone }
    }
}

/// The law of one number.
pub struct NumberLaw<'a> {
    /// Quantiles of its class and of the one beside, and how far it is on the way there.
    nodes: [&'a [f32]; 2],
    part: f32,
    /// Added to the quantiles.
    shift: f32,
    range: [f32; 2],
}

impl NumberLaw<'_> {
    /// The number that a standard normal number `g` stands for.
    pub fn value(&self, g: f32) -> f32 {
        let place = (g + REACH) / (2.0 * REACH) * (NODES - 1) as f32;
        let node = (place.max(0.0) as usize).min(NODES - 2);
        let at = |nodes: &[f32]| nodes[node] + (place - node as f32) * (nodes[node + 1] - nodes[node]);
        let [own, beside] = self.nodes.map(at);
        (own + self.part * (beside - own) + self.shift).clamp(self.range[0], self.range[1])
    }
}

/// The bounds of numbers, the ends of all numbers where there are none.
fn bounds(seen: &[Seen]) -> [f32; 2] {
    let needed = AT_BOUND.max((SHARE_AT_BOUND * seen.len() as f64) as usize);
    let end = |first: f32, nearer: fn(f32, f32) -> f32| {
        let bound = seen.iter().map(|seen| seen.value).fold(first, nearer);
        let equal = seen.iter().filter(|seen| seen.value == bound).count();
        if equal >= needed { bound } else { -first }
    };
    [end(f32::MAX, f32::min), end(f32::MIN, f32::max)]
}

/// The numbers of a class.
struct Class {
    seen: Vec<Seen>,
    /// Mean of what was decoded.
    mean: f64,
    /// Sums of squares about their means: of what was decoded, and of the errors.
    scatter: [f64; 2],
}

impl Class {
    fn of(seen: &[Seen]) -> Class {
        let mean = |of: &dyn Fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>() / seen.len() as f64;
        let scatter = |of: &dyn Fn(&Seen) -> f64| {
            let middle = mean(of);
            seen.iter().map(|seen| (of(seen) - middle).powi(2)).sum::<f64>()
        };
        let (decoded, error) =
            (|seen: &Seen| f64::from(seen.decoded), |seen: &Seen| f64::from(seen.value - seen.decoded));
        Class { seen: seen.to_vec(), mean: mean(&decoded), scatter: [scatter(&decoded), scatter(&error)] }
    }

    /// The mean of what was decoded, and the quantiles of the numbers; these are moved along to where the mean was decoded, or not.
    fn numbers(self, moves: bool, [low, high]: [f32; 2]) -> Vec<f32> {
        let mean = self.mean as f32;
        let value = |seen: &Seen| {
            let bound = seen.value == low || seen.value == high;
            if moves && !bound { (seen.value - seen.decoded + mean).clamp(low, high) } else { seen.value }
        };
        let mut values: Vec<f32> = self.seen.iter().map(value).collect();
        values.par_sort_by(f32::total_cmp);
        std::iter::once(mean).chain((0..NODES).map(|node| quantile(&values, node))).collect()
    }
}

/// Cuts what was seen into as many classes of a number, about equally full, with the upper edge of each but the last; equal numbers stay
/// together. Where there are fewer numbers than classes, the last classes are the same.
fn cut(
    seen: &mut [Seen],
    classes: usize,
    number: impl Fn(&Seen) -> f32 + Sync,
) -> Vec<(&[Seen], Option<f32>)> {
    seen.par_sort_by(|a, b| number(a).total_cmp(&number(b)));
    let mut rest = &*seen;
    let mut all = Vec::new();
    for left in (2..=classes).rev() {
        let wanted = number(&rest[rest.len() / left]);
        let below = rest.partition_point(|seen| number(seen) < wanted);
        let end = if below > 0 { below } else { rest.partition_point(|seen| number(seen) <= wanted) };
        let edge = rest.get(end).map_or(f32::MAX, &number);
        all.push((&rest[..end], Some(edge)));
        rest = if end < rest.len() { &rest[end..] } else { rest };
    }
    all.push((rest, None));
    all
}

/// The share of standard normal numbers below `g`.
pub(crate) fn normal_share(g: f64) -> f64 {
    0.5 * erfc(-g * std::f64::consts::FRAC_1_SQRT_2)
}

/// The quantile of sorted numbers at a node.
fn quantile(sorted: &[f32], node: usize) -> f32 {
    let g = f64::from(REACH) * (2.0 * node as f64 / (NODES - 1) as f64 - 1.0);
    let share = normal_share(g);
    let last = sorted.len() - 1;
    let place = (share * sorted.len() as f64 - 0.5).clamp(0.0, last as f64);
    let (below, part) = (place as usize, place.fract() as f32);
    let (a, b) = (sorted[below], sorted[(below + 1).min(last)]);
    a + part * (b - a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};

    /// Numbers as `f(decoded, uniform)` makes them, at decoded values from 0 to 4 and spreads from 1 to 2.
    fn law(f: impl Fn(f32, f32) -> f32) -> ResidualLaw {
        let stream = Stream::new(5, Purpose::Test, 0);
        let uniform = |i: usize, which: u64| stream.uniform(3 * i as u64 + which) as f32;
        let seen = |i: usize| {
            let decoded = 4.0 * uniform(i, 0);
            Seen { decoded, spread: 1.0 + uniform(i, 1), value: f(decoded, uniform(i, 2)) }
        };
        ResidualLaw::learn((0..400_000).map(seen).collect()).expect("a law")
    }

    fn normal() -> Vec<f32> {
        let mut normal = vec![0.0f32; 100_000];
        Stream::new(5, Purpose::Test, 1).fill_normal(&mut normal);
        normal
    }

    /// Half of the numbers are exactly zero, the others exponential with the decoded value as their mean: shares of what the law makes
    /// against shares in closed form, to one in fifty.
    #[test]
    fn a_law_with_zeros_and_a_tail_is_made_again() {
        let law = law(|decoded, u| if u < 0.5 { 0.0 } else { -decoded * (2.0 * (1.0 - u)).ln() });
        assert_eq!(law.classes(), MOST);
        for decoded in [0.7f32, 1.3, 3.1] {
            let given = law.given(decoded, 1.5);
            let made: Vec<f32> = normal().into_iter().map(|g| given.value(g)).collect();
            let share = |below: f32| made.iter().filter(|&&r| r <= below).count() as f32 / made.len() as f32;
            assert!(made.iter().all(|x| *x >= 0.0));
            for at in [0.03, 0.5, 1.0, 2.0, 4.0] {
                let expected = 1.0 - 0.5 * (-at / decoded).exp();
                assert!((share(at) - expected).abs() < 0.02, "{decoded} {at}: {} {expected}", share(at));
            }
        }
        assert_eq!(ResidualLaw::of(law.classes(), law.numbers().to_vec()).expect("numbers"), law);
    }

    /// Where errors are small and alike everywhere, the number follows what was decoded, within and beyond what was seen.
    #[test]
    fn a_number_follows_what_was_decoded() {
        let law = law(|decoded, u| decoded + 0.1 * (u - 0.5));
        for (decoded, tolerance) in [(0.01, 4e-3), (0.6, 4e-3), (2.222, 4e-3), (3.97, 4e-3)] {
            let median = law.given(decoded, 1.5).value(0.0);
            assert!((median - decoded).abs() < tolerance, "{decoded} {median}");
        }
        assert!((law.given(9.0, 1.5).value(0.0) - 9.0).abs() < 4e-3, "there is no bound");
        // Not only the median: the error is no wider than it was, though classes are 0.25 wide and it is 0.1.
        for decoded in [0.6f32, 2.222, 3.97] {
            let given = law.given(decoded, 1.5);
            let made: Vec<f64> = normal().into_iter().map(|g| f64::from(given.value(g) - decoded)).collect();
            let std = (made.iter().map(|x| x * x).sum::<f64>() / made.len() as f64).sqrt();
            assert!((std / (0.1 / 12f64.sqrt()) - 1.0).abs() < 0.05, "{decoded}: {std}");
        }
    }

    /// One level of decoded values for all of them, as few numbers make: the error has its own width all the same.
    #[test]
    fn few_numbers_do_not_widen_errors() {
        let (decoded, error) = (Stream::new(6, Purpose::Test, 0), Stream::new(6, Purpose::Test, 1));
        let seen = |i: u64| {
            let decoded = 2.0 * decoded.uniform(i) as f32;
            let value = decoded + 0.02 * error.normal(2 * i) as f32;
            Seen { decoded, spread: 0.02, value }
        };
        let law = ResidualLaw::learn((0..12_000).map(seen).collect()).expect("a law");
        assert_eq!(law.classes()[0], 1);
        let given = law.given(0.4, 0.02);
        let made: Vec<f64> = normal().into_iter().map(|g| f64::from(given.value(g)) - 0.4).collect();
        let std = (made.iter().map(|x| x * x).sum::<f64>() / made.len() as f64).sqrt();
        assert!((std / 0.02 - 1.0).abs() < 0.06, "{std}");
    }

    /// Where many numbers are equal to the smallest it is a bound, and stays one.
    #[test]
    fn a_bound_is_kept() {
        let law = law(|decoded, u| (decoded + 0.1 * (u - 0.5)).max(0.3));
        let made: Vec<f32> = normal().into_iter().map(|g| law.given(0.28, 1.5).value(g)).collect();
        assert!(
            made.iter().all(|x| *x >= 0.3) && made.iter().filter(|x| **x == 0.3).count() > made.len() / 10
        );
        assert_eq!(law.numbers()[1], f32::MAX);
    }

    #[test]
    fn few_numbers_make_few_classes() {
        let seen = |i: usize| Seen { decoded: (i % 2) as f32, spread: 1.0, value: (i % 2) as f32 };
        assert!(ResidualLaw::learn((0..FEWEST - 1).map(seen).collect()).is_none());
        let law = ResidualLaw::learn((0..FEWEST).map(seen).collect()).expect("one class");
        assert_eq!(law.classes(), [1, 1]);
        assert!(ResidualLaw::of([2, 1], law.numbers().to_vec()).is_err());
        // Two decoded values, and more classes than that.
        let law = ResidualLaw::learn((0..100 * FEWEST).map(seen).collect()).expect("a law");
        for decoded in [0.0, 1.0] {
            assert_eq!(law.given(decoded, 1.0).value(0.3), decoded);
        }
    }
}
