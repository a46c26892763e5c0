//! How a direction is forgotten a little without a normal number for each latent.

use lookback_operator::Real;
use lookback_operator::random::Stream;
use lookback_operator::vector::CHUNK;

use crate::scales::Scales;
use crate::tasks::{Kernel, each, wide};

/// Latents that turn by two, latent `i` with latent `(split - 1 - i) mod d`, each pair one way or the other by chance:
///
/// ```text
/// R u:   u_i -> cos u_i + s sin u_j,   u_j -> cos u_j - s sin u_i,   s = -1 or 1
/// ```
///
/// (Kac's walk on the sphere.) Lengths are kept to the last digit and a uniform direction stays one, whatever the angle. With `split` and `s`
/// uniform the mean of `R u` is `(1 + (d - 1) cos) / d u`, and the part with `s` has the covariance `sin^2 (|u|^2 - u u^T) / d`, that of noise
/// which is equal in all directions along the sphere; what a latent that stands alone keeps adds up to `(1 - cos)^2 / d` to that. It needs one
/// random bit a pair, and no vector of its own. A pair has its places at equal distances from the two ends of one of two parts, so that
/// memory is read in order.
pub(super) struct Pairs {
    split: usize,
    stream: Stream,
    /// The ways of the pairs of each task, once they are drawn.
    ways: Vec<Words>,
}

/// Pairs of a task.
const PAIRS: usize = CHUNK / 2;
/// Pairs whose turns stand in one random word.
const WORD: usize = 32;
/// Random words of a task.
type Words = [u32; PAIRS / WORD];
/// Number of the first block of random words: behind all normal numbers of a stream.
const FIRST_BLOCK: u64 = 1 << 60;

/// Scalar products of a direction `u` and of a scaled gradient `g`, and what a turn of pairs makes of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Products {
    pub uu: f64,
    pub gg: f64,
    pub ug: f64,
    /// `sum s (g_i u_j - g_j u_i)` over pairs.
    crossed: f64,
    /// `u g` and `g^2` of the latents without a partner.
    alone: (f64, f64),
}

impl Products {
    /// Of directions that are not turned in pairs.
    pub fn plain([uu, gg, ug]: [f64; 3]) -> Products {
        Products { uu, gg, ug, ..Products::default() }
    }

    /// `g . R u` and `g . R g` for a turn by an angle with this cosine.
    pub fn turned(&self, cos: f64) -> (f64, f64) {
        let (ug, gg) = self.alone;
        (cos * (self.ug - ug) + ug + sine(cos) * self.crossed, cos * (self.gg - gg) + gg)
    }
}

fn sine(cos: f64) -> f64 {
    (1.0 - cos * cos).sqrt()
}

/// What a kick makes of a direction: `keep R (by_u u + by_g g) + down g`, with an angle that has this cosine.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    pub by_u: f64,
    pub by_g: f64,
    pub cos: f64,
    pub keep: f64,
    pub down: f64,
}

/// Places of as many pairs as a task has: some at the front of a part, and their partners, in the opposite order, at its back.
type Ends<S> = (S, S);

impl Pairs {
    /// The pairs of `dim` latents that a stream of random numbers draws.
    pub fn draw(stream: Stream, dim: usize) -> Pairs {
        let mut word = [0; 2];
        stream.fill_words(FIRST_BLOCK - 1, &mut word);
        let uniform = u128::from(word[0]) << 32 | u128::from(word[1]);
        Pairs { split: ((uniform * dim as u128) >> 64) as usize, stream, ways: Vec::new() }
    }

    /// The cosine with which a share `memory` of a direction is left in the mean, as far as there is one: a latent of `dim` stands alone.
    pub fn cosine(memory: f64, dim: f64) -> f64 {
        (1.0 - (1.0 - memory) * dim / (dim - 1.0)).max(-1.0)
    }

    /// The latents without a partner: the middle of each part whose number of latents is odd.
    fn alone(&self, dim: usize) -> impl Iterator<Item = usize> {
        [(0, self.split), (self.split, dim)]
            .into_iter()
            .filter(|(start, end)| (end - start) % 2 == 1)
            .map(|(start, end)| (start + end) / 2)
    }

    /// A vector in tasks.
    fn tasks<'a, T: Sync>(&self, vector: &'a [T]) -> Vec<Ends<&'a [T]>> {
        let (first, second) = vector.split_at(self.split);
        let of_part = |part: &'a [T]| {
            let half = part.len() / 2;
            let (front, back) = (&part[..half], &part[part.len() - half..]);
            front.chunks(PAIRS).zip(back.rchunks(PAIRS))
        };
        of_part(first).chain(of_part(second)).collect()
    }

    /// A vector that changes in tasks.
    fn tasks_mut<'a, T: Sync>(&self, vector: &'a mut [T]) -> Vec<Ends<&'a mut [T]>> {
        let (first, second) = vector.split_at_mut(self.split);
        let of_part = |part: &'a mut [T]| {
            let half = part.len() / 2;
            let (front, rest) = part.split_at_mut(half);
            let back = rest.len() - half;
            front.chunks_mut(PAIRS).zip(rest[back..].rchunks_mut(PAIRS))
        };
        of_part(first).chain(of_part(second)).collect()
    }

    /// The way that each pair of a task turns: bit `k` of all words.
    fn ways(&self, task: usize) -> Words {
        let mut words = [0; PAIRS / WORD];
        self.stream.fill_words(FIRST_BLOCK + (task * words.len() / 4) as u64, &mut words);
        words
    }

    /// Scalar products that a kick with a turn needs, in an order that is always the same; the ways of the pairs are drawn on the way.
    pub fn products<T: Real>(&mut self, u: &[T], g: &[T], scales: Scales<'_, T>) -> Products {
        let (us, gs, ss) = (self.tasks(u), self.tasks(g), scales.map(|scales| self.tasks(scales)));
        let of_tasks = each(us, |task, u| {
            let (g, words) = (gs[task], self.ways(task));
            let sums = match &ss {
                Some(ss) => wide(ProductsOfTask { u, g, s: Each(ss[task]), words: &words }),
                None => wide(ProductsOfTask { u, g, s: One, words: &words }),
            };
            (sums, words)
        });
        let mut all = Products::default();
        self.ways.clear();
        for ([uu, gg, ug, crossed], words) in of_tasks {
            all.uu += uu;
            all.gg += gg;
            all.ug += ug;
            all.crossed += crossed;
            self.ways.push(words);
        }
        for i in self.alone(u.len()) {
            let (u, g) = (u[i].f64(), (scales.map_or(T::one(), |scales| scales[i]) * g[i]).f64());
            all.uu += u * u;
            all.gg += g * g;
            all.ug += u * g;
            all.alone.0 += u * g;
            all.alone.1 += g * g;
        }
        all
    }

    /// Turns the direction, of which the products are known, and moves the latents along it.
    pub fn carry_out<T: Real>(
        &self,
        by: Turned,
        u: &mut [T],
        g: &[T],
        scales: Scales<'_, T>,
        drift: f64,
        z: &mut [T],
    ) {
        for i in self.alone(u.len()) {
            let scale = scales.map_or(T::one(), |scales| scales[i]);
            u[i] = T::of(by.keep * by.by_u) * u[i] + T::of(by.keep * by.by_g + by.down) * scale * g[i];
            z[i] += T::of(drift) * scale * u[i];
        }
        let (gs, ss) = (self.tasks(g), scales.map(|scales| self.tasks(scales)));
        let tasks: Vec<_> = self.tasks_mut(u).into_iter().zip(self.tasks_mut(z)).collect();
        each(tasks, |task, (u, z)| {
            let (g, words) = (gs[task], &self.ways[task]);
            match &ss {
                Some(ss) => wide(TurnOfTask { by, drift, u, z, g, s: Each(ss[task]), words }),
                None => wide(TurnOfTask { by, drift, u, z, g, s: One, words }),
            }
        });
    }
}

/// Pairs side by side in vector instructions; a divisor of `WORD`, and a multiple of four.
const LANES: usize = 8;

/// The ways of the pairs from `first` on, in the lowest bits.
fn ways_from(words: &[u32], first: usize) -> u32 {
    words[first / WORD] >> (first % WORD)
}

/// A number with the signs that four ways give it, for all sixteen.
type Signed<T> = [[T; 4]; 16];

fn signed<T: Real>(number: T) -> Signed<T> {
    std::array::from_fn(|ways| std::array::from_fn(|k| if ways >> k & 1 == 1 { -number } else { number }))
}

/// The number with the signs that the lowest ways of `LANES` pairs give it.
#[inline(always)]
fn with_signs<T: Real>(signed: &Signed<T>, ways: u32) -> [T; LANES] {
    let mut numbers = [T::zero(); LANES];
    for (four, numbers) in numbers.chunks_exact_mut(4).enumerate() {
        numbers.copy_from_slice(&signed[(ways >> (4 * four) & 15) as usize]);
    }
    numbers
}

/// The entries of `LANES` pairs: at the front, and of their partners.
#[inline(always)]
fn lanes<T: Real>((front, back): Ends<&[T]>, first: usize) -> ([T; LANES], [T; LANES]) {
    let end = back.len() - first;
    let (mut here, mut there) = ([T::zero(); LANES], [T::zero(); LANES]);
    here.copy_from_slice(&front[first..first + LANES]);
    there.copy_from_slice(&back[end - LANES..end]);
    there.reverse();
    (here, there)
}

/// Widths of the latents of a task: what is known to be one is not read.
trait Widths<T>: Copy {
    /// Of `LANES` pairs, as [`lanes`] has them.
    fn lanes(self, first: usize) -> ([T; LANES], [T; LANES]);

    /// Of the latent `i` at the front and of its partner `j` at the back.
    fn pair(self, i: usize, j: usize) -> (T, T);
}

#[derive(Clone, Copy)]
struct One;

#[derive(Clone, Copy)]
struct Each<'a, T>(Ends<&'a [T]>);

impl<T: Real> Widths<T> for One {
    #[inline(always)]
    fn lanes(self, _: usize) -> ([T; LANES], [T; LANES]) {
        ([T::one(); LANES], [T::one(); LANES])
    }

    fn pair(self, _: usize, _: usize) -> (T, T) {
        (T::one(), T::one())
    }
}

impl<T: Real> Widths<T> for Each<'_, T> {
    #[inline(always)]
    fn lanes(self, first: usize) -> ([T; LANES], [T; LANES]) {
        lanes(self.0, first)
    }

    fn pair(self, i: usize, j: usize) -> (T, T) {
        (self.0.0[i], self.0.1[j])
    }
}

/// The scalar products of one task.
struct ProductsOfTask<'a, T, S> {
    u: Ends<&'a [T]>,
    g: Ends<&'a [T]>,
    s: S,
    words: &'a Words,
}

impl<T: Real, S: Widths<T>> Kernel for ProductsOfTask<'_, T, S> {
    type Output = [f64; 4];

    #[inline(always)]
    fn run(self) -> [f64; 4] {
        let ProductsOfTask { u, g, s, words } = self;
        let pairs = u.0.len();
        let mut sums = [[0.0; LANES]; 4];
        let signs = signed(1.0);
        let mut add = |lane: usize, [ui, uj, gi, gj, si, sj]: [T; 6], sign: f64| {
            let (ui, uj, gi, gj) = (ui.f64(), uj.f64(), (si * gi).f64(), (sj * gj).f64());
            sums[0][lane] += ui * ui + uj * uj;
            sums[1][lane] += gi * gi + gj * gj;
            sums[2][lane] += ui * gi + uj * gj;
            sums[3][lane] += sign * (gi * uj - gj * ui);
        };
        let whole = pairs - pairs % LANES;
        for first in (0..whole).step_by(LANES) {
            let ((ui, uj), (gi, gj), (si, sj)) = (lanes(u, first), lanes(g, first), s.lanes(first));
            let signs = with_signs(&signs, ways_from(words, first));
            for lane in 0..LANES {
                add(lane, [ui[lane], uj[lane], gi[lane], gj[lane], si[lane], sj[lane]], signs[lane]);
            }
        }
        for i in whole..pairs {
            let j = pairs - 1 - i;
            let (si, sj) = s.pair(i, j);
            let sign = with_signs(&signs, ways_from(words, i))[0];
            add(i - whole, [u.0[i], u.1[j], g.0[i], g.1[j], si, sj], sign);
        }
        sums.map(|lanes| lanes.iter().sum())
    }
}

/// What a turn makes of one task.
struct TurnOfTask<'a, T, S> {
    by: Turned,
    drift: f64,
    u: Ends<&'a mut [T]>,
    z: Ends<&'a mut [T]>,
    g: Ends<&'a [T]>,
    s: S,
    words: &'a Words,
}

/// What a turn makes of a direction and of latents, with factors in their precision.
struct Turn<T> {
    by_u: T,
    by_g: T,
    cos: T,
    sines: Signed<T>,
    down: T,
    drift: T,
}

impl<T: Real> Turn<T> {
    fn new(by: Turned, drift: f64) -> Turn<T> {
        let [by_u, by_g, down, drift] = [by.by_u, by.by_g, by.down, drift].map(T::of);
        let [cos, sin] = [by.cos, sine(by.cos)].map(|factor| T::of(by.keep * factor));
        Turn { by_u, by_g, cos, sines: signed(sin), down, drift }
    }

    /// The direction of a pair, of which these are the direction and the scaled gradient, and the sine that tells its way.
    #[inline(always)]
    fn pair(&self, [ui, uj, gi, gj]: [T; 4], sin: T) -> [T; 2] {
        let &Turn { by_u, by_g, cos, down, .. } = self;
        let (vi, vj) = (by_u * ui + by_g * gi, by_u * uj + by_g * gj);
        [cos * vi + sin * vj + down * gi, cos * vj - sin * vi + down * gj]
    }

    /// `LANES` pairs from `first` on: loops so simple, on numbers so few, that compilers make vector instructions of them that need no memory between.
    #[inline(always)]
    fn lanes(
        &self,
        (u_i, u_j): Ends<&mut [T]>,
        (z_i, z_j): Ends<&mut [T]>,
        g: Ends<&[T]>,
        (s_i, mut s_j): ([T; LANES], [T; LANES]),
        first: usize,
        ways: u32,
    ) {
        let ((u, u_partner), (g, g_partner)) = (lanes((u_i, u_j), first), lanes(g, first));
        let (mut new, mut new_partner) = ([T::zero(); LANES], [T::zero(); LANES]);
        let sines = with_signs(&self.sines, ways);
        for lane in 0..LANES {
            let (g, g_partner) = (s_i[lane] * g[lane], s_j[lane] * g_partner[lane]);
            [new[lane], new_partner[lane]] = self.pair([u[lane], u_partner[lane], g, g_partner], sines[lane]);
        }
        new_partner.reverse();
        s_j.reverse();
        let end = u_j.len() - first;
        self.move_along(&mut u_i[first..first + LANES], &mut z_i[first..first + LANES], new, s_i);
        self.move_along(&mut u_j[end - LANES..end], &mut z_j[end - LANES..end], new_partner, s_j);
    }

    /// Takes a new direction, and moves the latents along it.
    #[inline(always)]
    fn move_along(&self, u: &mut [T], z: &mut [T], new: [T; LANES], s: [T; LANES]) {
        u.copy_from_slice(&new);
        for ((z, new), s) in z.iter_mut().zip(new).zip(s) {
            *z += self.drift * s * new;
        }
    }
}

impl<T: Real, S: Widths<T>> Kernel for TurnOfTask<'_, T, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let TurnOfTask { by, drift, u, z, g, s, words } = self;
        let turn = Turn::new(by, drift);
        let pairs = u.0.len();
        let whole = pairs - pairs % LANES;
        for first in (0..whole).step_by(LANES) {
            let (u, z) = ((&mut *u.0, &mut *u.1), (&mut *z.0, &mut *z.1));
            turn.lanes(u, z, g, s.lanes(first), first, ways_from(words, first));
        }
        for i in whole..pairs {
            let j = pairs - 1 - i;
            let (si, sj) = s.pair(i, j);
            let sin = with_signs(&turn.sines, ways_from(words, i))[0];
            [u.0[i], u.1[j]] = turn.pair([u.0[i], u.1[j], si * g.0[i], sj * g.1[j]], sin);
            z.0[i] += turn.drift * si * u.0[i];
            z.1[j] += turn.drift * sj * u.1[j];
        }
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::Purpose;
    use lookback_operator::vector;

    use super::*;

    const TURN: Turned = Turned { by_u: 1.0, by_g: 0.0, cos: 0.8, keep: 1.0, down: 0.0 };

    fn pairs(draw: u32, dim: usize) -> Pairs {
        Pairs::draw(Stream::new(1, Purpose::Test, draw), dim)
    }

    fn normal(draw: u32, dim: usize) -> Vec<f64> {
        let mut numbers = vec![0.0; dim];
        Stream::new(2, Purpose::Test, draw).fill_normal(&mut numbers);
        numbers
    }

    fn turned(pairs: &mut Pairs, v: &[f64]) -> Vec<f64> {
        let (mut v, zeros) = (v.to_vec(), vec![0.0; v.len()]);
        pairs.products(&v, &zeros, None);
        pairs.carry_out(TURN, &mut v, &zeros, None, 0.0, &mut zeros.clone());
        v
    }

    #[test]
    fn a_turn_keeps_lengths_and_the_products_know_what_it_does() {
        for dim in [2, 3, 5, 16, 17, 1000, 40_001, 100_000] {
            for draw in 0..4 {
                let mut pairs = pairs(draw, dim);
                let (u, g, scales) = (normal(3, dim), normal(4, dim), normal(5, dim));
                let scaled: Vec<f64> = g.iter().zip(&scales).map(|(g, s)| g * s).collect();
                let products = pairs.products(&u, &g, Some(&scales));
                let unscaled = pairs.products(&u, &scaled, None);
                assert_eq!([products.uu, products.gg, products.ug], [unscaled.uu, unscaled.gg, unscaled.ug]);
                let (u_turned, g_turned) = (turned(&mut pairs, &u), turned(&mut pairs, &scaled));
                let near = |found: f64, expected: f64| {
                    let size = dim as f64;
                    assert!((found - expected).abs() < 1e-12 * size, "{dim}: {found} {expected}");
                };
                near(vector::norm2(&u_turned), vector::norm2(&u));
                near(products.uu, vector::norm2(&u));
                near(products.gg, vector::norm2(&scaled));
                near(products.ug, vector::dot(&u, &scaled));
                let (ug, gg) = products.turned(TURN.cos);
                near(ug, vector::dot(&scaled, &u_turned));
                near(gg, vector::dot(&scaled, &g_turned));
            }
        }
    }

    /// The first two moments of the change are those of noise that is equal in all directions along the sphere.
    #[test]
    fn no_direction_is_preferred() {
        for dim in [4, 5] {
            let u: Vec<f64> = (1..=dim).map(|i| i as f64).collect();
            let (size, norm2, draws) = (dim as f64, vector::norm2(&u), 200_000);
            let (mut mean, mut squares) = (vec![0.0; dim], vec![vec![0.0; dim]; dim]);
            for draw in 0..draws {
                let mut pairs = pairs(draw, dim);
                let v = turned(&mut pairs, &u);
                // What a latent with a partner keeps is known; the rest is the noise.
                let alone: Vec<usize> = pairs.alone(dim).collect();
                let noise = |i: usize| if alone.contains(&i) { 0.0 } else { v[i] - TURN.cos * u[i] };
                for i in 0..dim {
                    mean[i] += v[i] / f64::from(draws);
                    (0..dim).for_each(|j| squares[i][j] += noise(i) * noise(j) / f64::from(draws));
                }
            }
            for i in 0..dim {
                let expected = (1.0 + (TURN.cos - 1.0) * (size - 1.0) / size) * u[i];
                // The scatter of the mean is 0.6 * 4 / sqrt(200000) = 0.005.
                assert!((mean[i] - expected).abs() < 0.025, "{dim}: {} {expected}", mean[i]);
                for j in 0..dim {
                    let same = if i == j { norm2 } else { 0.0 };
                    let expected = (1.0 - TURN.cos * TURN.cos) * (same - u[i] * u[j]) / size;
                    // Its terms are at most 9, and appear once in `dim` draws.
                    let found = squares[i][j];
                    assert!((found - expected).abs() < 0.05, "{dim}: {found} {expected}");
                }
            }
        }
    }
}
