//! Are posteriors right? Ranks of truths among samples, and how evenly they fall.
//!
//! If data are simulated from the prior and the posterior is exact, the rank of the true value of any quantity among the samples is uniform
//! (Cook, Gelman & Rubin 2006; Talts et al. 2018), and so is the share of samples that lie nearer to a random point than the truth
//! does (TARP; Lemos et al. 2023). Whether numbers are uniform is judged by their cumulative distribution as a whole (Saeilynoja,
//! Buerkner & Vehtari 2022).

use lookback_operator::random::{Purpose, Stream};
use statrs::distribution::{Binomial, DiscreteCDF};

/// The rank of `truth` among independent samples as a number in (0, 1), ties broken by `uniform` in (0, 1).
///
/// It is `(number below + uniform * (1 + number equal)) / (samples + 1)`: exactly uniform for any number of samples.
pub fn rank(truth: f64, samples: &[f64], uniform: f64) -> f64 {
    let below = samples.iter().filter(|x| **x < truth).count() as f64;
    let equal = samples.iter().filter(|x| **x == truth).count() as f64;
    (below + uniform * (1.0 + equal)) / (samples.len() as f64 + 1.0)
}

/// The rank of the distance from `reference` to the truth among the distances to the samples, each a vector (TARP).
pub fn distance_rank(truth: &[f64], samples: &[Vec<f64>], reference: &[f64], uniform: f64) -> f64 {
    let distance =
        |point: &[f64]| point.iter().zip(reference).map(|(x, r)| (x - r).powi(2)).sum::<f64>().sqrt();
    let distances: Vec<f64> = samples.iter().map(|sample| distance(sample)).collect();
    rank(distance(truth), &distances, uniform)
}

/// Places at which cumulative distributions are looked at.
const PLACES: usize = 50;
/// Uniform sets that tell how far chance goes.
const SETS: u32 = 4000;

/// What chance allows of `count` numbers that are uniform in (0, 1).
#[derive(Debug, Clone)]
pub struct Uniformity {
    count: usize,
    places: Vec<f64>,
    /// `P(X <= k)` of a binomial `X` for each place, for `k` from -1 on.
    cumulative: Vec<Vec<f64>>,
    /// How unlikely the most unlikely place of a uniform set is, in rising order.
    chance: Vec<f64>,
}

impl Uniformity {
    /// Prepares the test for sets of `count` numbers. Cost: some thousand sets of random numbers.
    pub fn new(count: usize) -> Uniformity {
        let places: Vec<f64> = (1..=PLACES).map(|i| i as f64 / (PLACES + 1) as f64).collect();
        let cumulative = places
            .iter()
            .map(|&place| {
                let law = Binomial::new(place, count as u64).expect("a probability");
                std::iter::once(0.0).chain((0..=count as u64).map(|k| law.cdf(k))).collect()
            })
            .collect();
        let mut uniformity = Uniformity { count, places, cumulative, chance: Vec::new() };
        let mut chance: Vec<f64> = (0..SETS)
            .map(|set| {
                let stream = Stream::new(0, Purpose::Test, set);
                let numbers: Vec<f64> = (0..count as u64).map(|i| stream.uniform(2 * i)).collect();
                uniformity.most_unlikely(&numbers)
            })
            .collect();
        chance.sort_by(f64::total_cmp);
        uniformity.chance = chance;
        uniformity
    }

    /// Places in (0, 1).
    pub fn places(&self) -> &[f64] {
        &self.places
    }

    /// Number of `numbers` at or below each place.
    fn counts(&self, numbers: &[f64]) -> Vec<usize> {
        self.places.iter().map(|place| numbers.iter().filter(|x| *x <= place).count()).collect()
    }

    /// Share of `numbers` at or below each place.
    pub fn shares(&self, numbers: &[f64]) -> Vec<f64> {
        self.counts(numbers).into_iter().map(|k| k as f64 / self.count as f64).collect()
    }

    /// The smallest two-sided tail probability over the places.
    fn most_unlikely(&self, numbers: &[f64]) -> f64 {
        let tail = |(k, law): (usize, &Vec<f64>)| 2.0 * law[k + 1].min(1.0 - law[k]);
        self.counts(numbers).into_iter().zip(&self.cumulative).map(tail).fold(1.0, f64::min)
    }

    /// Probability that `count` uniform numbers look as uneven as these or more.
    ///
    /// # Panics
    /// If there are not `count` numbers.
    pub fn p_value(&self, numbers: &[f64]) -> f64 {
        assert_eq!(numbers.len(), self.count, "the test was prepared for another number of ranks");
        let seen = self.most_unlikely(numbers);
        // The set itself counts as one of the uniform ones: no probability is zero.
        (1.0 + self.chance.partition_point(|x| *x <= seen) as f64) / (1.0 + f64::from(SETS))
    }

    /// The shares between which a uniform set stays at all places at once, with this probability.
    pub fn band(&self, probability: f64) -> Vec<(f64, f64)> {
        let place = ((1.0 - probability) * f64::from(SETS)) as usize;
        let tail = 0.5 * self.chance[place.min(self.chance.len() - 1)];
        let share = |k: usize| k as f64 / self.count as f64;
        let range = |law: &Vec<f64>| {
            let low = law[1..].partition_point(|p| *p < tail);
            let high = law[1..].partition_point(|p| *p < 1.0 - tail);
            (share(low), share(high.min(self.count)))
        };
        self.cumulative.iter().map(range).collect()
    }

    /// The numbers that fall in each of `bins` equal bins, and the range of counts that each has with this probability.
    ///
    /// # Panics
    /// If there are no bins.
    pub fn histogram(&self, numbers: &[f64], bins: usize, probability: f64) -> (Vec<usize>, (u64, u64)) {
        let mut counts = vec![0; bins];
        for number in numbers {
            counts[((number * bins as f64) as usize).min(bins - 1)] += 1;
        }
        let law = Binomial::new(1.0 / bins as f64, self.count as u64).expect("a probability");
        let tail = 0.5 * (1.0 - probability);
        (counts, (law.inverse_cdf(tail), law.inverse_cdf(1.0 - tail)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(set: u32, count: u64) -> Vec<f64> {
        let stream = Stream::new(77, Purpose::Test, set);
        (0..count).map(|i| stream.uniform(2 * i)).collect()
    }

    /// 5 % of uniform sets have a probability below 5 %: 20 +- 4.4 of 400.
    #[test]
    fn uniform_numbers_are_refused_as_often_as_they_should() {
        let test = Uniformity::new(100);
        let refused = (0..400).filter(|&set| test.p_value(&uniform(set, 100)) < 0.05).count();
        assert!((7..=34).contains(&refused), "{refused}");
    }

    /// The band holds 95 % of uniform sets whole, 380 +- 4.4 of 400.
    #[test]
    fn the_band_holds_what_it_says() {
        let test = Uniformity::new(100);
        let band = test.band(0.95);
        let inside = |set: &u32| {
            test.shares(&uniform(*set, 100)).iter().zip(&band).all(|(x, (low, high))| low <= x && x <= high)
        };
        let held = (0..400u32).filter(inside).count();
        assert!((366..=396).contains(&held), "{held}");
    }

    /// A posterior that is too narrow by 30 %, too wide by 50 %, or shifted by half of its width.
    #[test]
    fn wrong_posteriors_are_found() {
        let test = Uniformity::new(200);
        for (width, shift) in [(0.7, 0.0), (1.5, 0.0), (1.0, 0.5)] {
            let ranks: Vec<f64> = (0..200u32)
                .map(|set| {
                    let stream = Stream::new(5, Purpose::Test, set);
                    let samples: Vec<f64> = (1..100).map(|i| width * stream.normal(2 * i) + shift).collect();
                    rank(stream.normal(0), &samples, 0.5)
                })
                .collect();
            assert!(test.p_value(&ranks) < 0.01, "{width} {shift}");
        }
        let right: Vec<f64> = (0..200u32)
            .map(|set| {
                let stream = Stream::new(5, Purpose::Test, set);
                let draws: Vec<Vec<f64>> =
                    (0..51).map(|i| vec![stream.normal(4 * i), stream.normal(4 * i + 2)]).collect();
                distance_rank(&draws[0], &draws[1..], &[0.3, -1.0], stream.uniform(1000))
            })
            .collect();
        assert!(test.p_value(&right) > 0.01);
    }

    #[test]
    fn ranks_of_ties_are_uniform() {
        assert_eq!(rank(1.0, &[1.0; 9], 0.25), 0.25);
        assert_eq!(rank(0.5, &[0.0, 1.0, 2.0], 0.5), 1.5 / 4.0);
    }
}
