//! Counter-based random numbers: each number is a pure function of a seed, a stream and an index.
//!
//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), tested against the
//! known answers of its authors. Results depend neither on the number of threads nor on the order of the draws.

use rayon::prelude::*;

use crate::vector::CHUNK;
use crate::{Real, normals};

/// Ten rounds of the Philox4x32 bijection of a 128-bit counter under a 64-bit key.
pub fn philox4x32(counter: [u32; 4], key: u64) -> [u32; 4] {
    normals::philox(counter.map(|word| [u64::from(word)]), key).map(|[word]| word as u32)
}

/// Two independent standard normal numbers from one counter (Box & Muller 1958).
pub fn normal_pair(counter: [u32; 4], key: u64) -> [f64; 2] {
    normals::normal_pairs(counter.map(|word| [u64::from(word)]), key)[0]
}

/// What a stream of random numbers is used for. Streams of the same seed are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Modes of a random field: the true signal of a mock.
    Signal = 1,
    /// Measurement noise of mock data.
    Noise = 2,
    /// White noise of the prior in a posterior sample.
    PriorDraw = 3,
    /// White noise of the likelihood in a posterior sample.
    DataDraw = 4,
    /// Momenta and decisions of a Markov chain.
    Chain = 5,
    /// Starting points.
    Start = 6,
    /// Geometry of a mock survey: where galaxies and stars lie.
    Survey = 7,
    /// Directions in tests and checks.
    Test = 8,
    /// Latents and noise of data that are simulated for inference, and noise in scores of anomalies.
    Simulation = 9,
    /// Training of networks: first weights, order of the examples, noise that is added to them, what is dropped.
    Training = 10,
}

/// A stream of random numbers: `(seed, purpose, substream)`, addressed by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    purpose: Purpose,
    substream: u32,
}

impl Stream {
    /// The stream of a seed and a purpose; `substream` counts samples, chains or draws.
    pub fn new(seed: u64, purpose: Purpose, substream: u32) -> Stream {
        Stream { seed, purpose, substream }
    }

    fn counter(&self, block: u64) -> [u32; 4] {
        // Bit 31 of the purpose word keeps flat streams apart from the modes of fields.
        [block as u32, (block >> 32) as u32, self.substream, self.purpose as u32 | 1 << 31]
    }

    /// The seed, and the last two words of the counter: what code on another device needs to draw the same numbers.
    pub fn key(&self) -> (u64, [u32; 2]) {
        let [_, _, c2, c3] = self.counter(0);
        (self.seed, [c2, c3])
    }

    /// The standard normal number at `index`.
    pub fn normal(&self, index: u64) -> f64 {
        normal_pair(self.counter(index / 2), self.seed)[(index % 2) as usize]
    }

    /// The uniform number in (0, 1) at `index`. Do not use one index for both kinds of number.
    pub fn uniform(&self, index: u64) -> f64 {
        let word = philox4x32(self.counter(index / 2), self.seed).map(u64::from);
        let (high, low) = if index.is_multiple_of(2) { (word[0], word[1]) } else { (word[2], word[3]) };
        normals::open_unit(high, low)
    }

    /// The numbers below `count` in random order: sorted by the uniform numbers `0, 1, 2, ...` of this stream.
    pub fn order(&self, count: usize) -> Vec<usize> {
        let mut keys: Vec<(f64, usize)> = (0..count).map(|i| (self.uniform(i as u64), i)).collect();
        keys.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        keys.into_iter().map(|(_, i)| i).collect()
    }

    /// The standard normal number of the Fourier mode with these integer wave numbers, the same on every grid.
    pub fn mode(&self, k: [i32; 3]) -> f64 {
        let tag = (self.purpose as u32) << 24 ^ self.substream;
        normal_pair([k[0] as u32, k[1] as u32, k[2] as u32, tag & !(1 << 31)], self.seed)[0]
    }

    /// Fills a slice with the standard normal numbers `0, 1, 2, ...` of this stream.
    pub fn fill_normal<T: Real>(&self, out: &mut [T]) {
        let [_, _, c2, c3] = self.counter(0);
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let mut pairs = [[0.0; 2]; PAIRS];
            for (piece, out) in out.chunks_mut(2 * PAIRS).enumerate() {
                let pairs = &mut pairs[..out.len().div_ceil(2)];
                normals::fill(pairs, (chunk * CHUNK / 2 + piece * PAIRS) as u64, [c2, c3], self.seed);
                out.iter_mut().zip(pairs.as_flattened()).for_each(|(x, normal)| *x = T::of(*normal));
            }
        });
    }

    /// Fills a slice with random words, four from each block of this stream from `first` on. The normal and uniform numbers `2 n` and
    /// `2 n + 1` are made of block `n`: do not use one block for both.
    pub fn fill_words(&self, first: u64, out: &mut [u32]) {
        for (block, out) in (first..).zip(out.chunks_mut(4)) {
            out.copy_from_slice(&philox4x32(self.counter(block), self.seed)[..out.len()]);
        }
    }
}

/// Pairs of a stream that are made before they are written.
const PAIRS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers from the file `kat_vectors` of Random123 (philox4x32, 10 rounds).
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox4x32([0; 4], 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], u64::MAX), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], 0x299f31d0_a4093822),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn normal_numbers_have_the_moments_of_a_normal_distribution() {
        let mut x = vec![0.0f64; 1_000_000];
        Stream::new(1, Purpose::Test, 0).fill_normal(&mut x);
        let moment = |p: i32| x.iter().map(|x| x.powi(p)).sum::<f64>() / x.len() as f64;
        // Standard errors of the moments at a million draws: 1.0e-3, 1.4e-3, 3.9e-3, 9.8e-3; four of each allowed.
        for (p, expected, error) in [(1, 0.0, 1.0e-3), (2, 1.0, 1.4e-3), (3, 0.0, 3.9e-3), (4, 3.0, 9.8e-3)] {
            assert!((moment(p) - expected).abs() < 4.0 * error, "moment {p}: {}", moment(p));
        }
    }

    #[test]
    fn filling_agrees_with_single_draws() {
        let stream = Stream::new(7, Purpose::Noise, 3);
        let mut x = vec![0.0f64; 20_001];
        stream.fill_normal(&mut x);
        for i in [0, 1, 8191, 8192, 20_000] {
            assert_eq!(x[i].to_bits(), stream.normal(i as u64).to_bits());
        }
    }

    #[test]
    fn an_order_has_every_number_once_and_every_number_everywhere() {
        let mut places = [[0u32; 4]; 4];
        for substream in 0..4000 {
            let order = Stream::new(3, Purpose::Test, substream).order(4);
            order.iter().enumerate().for_each(|(place, &number)| places[number][place] += 1);
        }
        // A thousand each, with a standard error of 27.
        assert!(places.iter().flatten().all(|&count| (count as i32 - 1000).abs() < 140), "{places:?}");
        assert!(places.iter().all(|row| row.iter().sum::<u32>() == 4000));
    }

    #[test]
    fn streams_differ() {
        let first = |seed, purpose, substream| Stream::new(seed, purpose, substream).normal(0);
        let reference = first(1, Purpose::Noise, 0);
        for other in [first(2, Purpose::Noise, 0), first(1, Purpose::Chain, 0), first(1, Purpose::Noise, 1)] {
            assert_ne!(reference, other);
        }
    }
}
