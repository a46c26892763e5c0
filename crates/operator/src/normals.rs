//! Standard normal numbers from counters, several at a time: Philox4x32-10 and Box & Muller (1958) without branches, so that
//! compilers make vector instructions of it. The bits are the same for any number of lanes and on any machine: there is no
//! fused multiplication, and no library function but the square root.

/// Pairs made at a time.
pub(crate) const LANES: usize = 16;

const LOW: u64 = 0xFFFF_FFFF;

/// Ten rounds of the Philox4x32 bijection of `N` counters under one key, a word of 32 bits in each `u64`.
#[inline(always)]
pub(crate) fn philox<const N: usize>(mut counter: [[u64; N]; 4], key: u64) -> [[u64; N]; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        let [c0, c1, c2, c3] = &mut counter;
        for (((c0, c1), c2), c3) in c0.iter_mut().zip(c1).zip(c2).zip(c3) {
            let a = *c0 * 0xD251_1F53;
            let b = *c2 * 0xCD9E_8D57;
            *c0 = (b >> 32) ^ *c1 ^ u64::from(k0);
            *c2 = (a >> 32) ^ *c3 ^ u64::from(k1);
            *c1 = b & LOW;
            *c3 = a & LOW;
        }
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    counter
}

/// A number in the open interval (0, 1) from 64 random bits, `(bits >> 12 + 1/2) / 2^52`; never 0 or 1.
#[inline(always)]
pub(crate) fn open_unit(high: u64, low: u64) -> f64 {
    let bits = (high << 32 | low) >> 12;
    f64::from_bits(0x3FF << 52 | bits) - (1.0 - 0.5 * f64::EPSILON)
}

/// `ln x` of a positive normal number below 1, to one unit in the last place (method and constants of FreeBSD's `e_log.c`).
#[inline(always)]
fn ln(x: f64) -> f64 {
    // The mantissa between sqrt(1/2) and sqrt(2), and the exponent: a shift by the bits of sqrt(1/2) carries into it.
    const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
    let shifted = x.to_bits() + ((0x3FF << 52) - SQRT_HALF);
    let exponent = f64::from_bits(0x433 << 52 | shifted >> 52) - ((1u64 << 52) as f64 + 1023.0);
    let mantissa = f64::from_bits((shifted & ((1 << 52) - 1)) + SQRT_HALF);
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (0.399_999_999_994_094_2 + w * (0.222_221_984_321_497_84 + w * 0.153_138_376_992_093_73));
    let odd = z
        * (0.666_666_666_666_673_5
            + w * (0.285_714_287_436_623_9 + w * (0.181_835_721_616_180_5 + w * 0.147_981_986_051_165_86)));
    let half = 0.5 * f * f;
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    exponent * LN2_HIGH - ((half - (s * (half + (even + odd)) + exponent * LN2_LOW)) - f)
}

/// Sine and cosine of `2 pi u` for `u` between 0 and 1 (kernels of FreeBSD's `k_sin.c` and `k_cos.c`).
#[inline(always)]
fn sin_cos_turn(u: f64) -> (f64, f64) {
    // Adding 1.5 * 2^52 rounds to a whole number of quarter turns, which then stands in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let rounded = 4.0 * u + ROUND;
    let quarter = rounded.to_bits() & 3;
    let x = std::f64::consts::TAU * (u - 0.25 * (rounded - ROUND));
    let z = x * x;
    let sin = x + x
        * z
        * (-0.166_666_666_666_666_32
            + z * (8.333_333_333_322_49e-3
                + z * (-1.984_126_982_985_795e-4
                    + z * (2.755_731_370_707_006_8e-6
                        + z * (-2.505_076_025_340_686_3e-8 + z * 1.589_690_995_211_55e-10)))));
    let cos = 1.0 - 0.5 * z
        + z * z
            * (4.166_666_666_666_66e-2
                + z * (-1.388_888_888_887_411e-3
                    + z * (2.480_158_728_947_673e-5
                        + z * (-2.755_731_435_139_066_3e-7
                            + z * (2.087_572_321_298_175e-9 + z * -1.135_964_755_778_819_5e-11)))));
    let swap = quarter & 1 == 1;
    let (a, b) = (if swap { cos } else { sin }, if swap { sin } else { cos });
    let flip = |x: f64, yes: u64| f64::from_bits(x.to_bits() ^ yes << 63);
    (flip(a, quarter >> 1), flip(b, (quarter ^ quarter >> 1) & 1))
}

/// `N` pairs of independent standard normal numbers from `N` counters.
#[inline(always)]
pub(crate) fn normal_pairs<const N: usize>(counter: [[u64; N]; 4], key: u64) -> [[f64; 2]; N] {
    let word = philox(counter, key);
    let mut pairs = [[0.0; 2]; N];
    for (i, pair) in pairs.iter_mut().enumerate() {
        let radius = (-2.0 * ln(open_unit(word[0][i], word[1][i]))).sqrt();
        let (sin, cos) = sin_cos_turn(open_unit(word[2][i], word[3][i]));
        *pair = [radius * cos, radius * sin];
    }
    pairs
}

/// Fills `out` with pairs from the counters `[block, block >> 32, c2, c3]`, `block` counting up from `first`.
#[inline(always)]
fn fill_plain(out: &mut [[f64; 2]], first: u64, [c2, c3]: [u32; 2], key: u64) {
    let (c2, c3) = (u64::from(c2), u64::from(c3));
    let counters = |block: u64| [block & LOW, block >> 32];
    let mut block = first;
    let mut whole = out.chunks_exact_mut(LANES);
    for out in &mut whole {
        let counter = [
            std::array::from_fn(|i| counters(block + i as u64)[0]),
            std::array::from_fn(|i| counters(block + i as u64)[1]),
            [c2; LANES],
            [c3; LANES],
        ];
        out.copy_from_slice(&normal_pairs::<LANES>(counter, key));
        block += LANES as u64;
    }
    for out in whole.into_remainder() {
        let [low, high] = counters(block);
        *out = normal_pairs::<1>([[low], [high], [c2], [c3]], key)[0];
        block += 1;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(out: &mut [[f64; 2]], first: u64, words: [u32; 2], key: u64) {
    fill_plain(out, first, words, key);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn fill_avx512(out: &mut [[f64; 2]], first: u64, words: [u32; 2], key: u64) {
    fill_plain(out, first, words, key);
}

/// [`fill_plain`] with the vector instructions of this machine.
pub(crate) fn fill(out: &mut [[f64; 2]], first: u64, words: [u32; 2], key: u64) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
    {
        // SAFETY: the machine has the instructions.
        return unsafe { fill_avx512(out, first, words, key) };
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has the instructions.
        return unsafe { fill_avx2(out, first, words, key) };
    }
    fill_plain(out, first, words, key);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform numbers from both ends and all between.
    fn places() -> impl Iterator<Item = f64> {
        let ends = [(0, 0), (0, 1 << 12), (0, 1 << 13), (1, 0), (LOW, LOW), (LOW, 0), (1 << 31, 0)];
        let between = (0..100_000u64).map(|i| {
            let [[a], [b], ..] = philox([[i], [0], [0], [0]], 5);
            (a, b)
        });
        let eighths = (1..64).map(|i| (i << 26, 0));
        ends.into_iter().chain(eighths).chain(between).map(|(high, low)| open_unit(high, low))
    }

    #[test]
    fn logarithm_sine_and_cosine_are_those_of_the_library() {
        for u in places() {
            assert!(u > 0.0 && u < 1.0);
            let (found, expected) = (ln(u), u.ln());
            assert!((found / expected - 1.0).abs() < 3e-16, "ln {u:e}: {found:e} {expected:e}");
            let (sin, cos) = sin_cos_turn(u);
            let expected = (std::f64::consts::TAU * u).sin_cos();
            // The library's argument is rounded: half a unit in the last place of up to 2 pi.
            assert!((sin - expected.0).abs() < 8e-16 && (cos - expected.1).abs() < 8e-16, "{u}: {sin} {cos}");
        }
    }

    type Fill = fn(&mut [[f64; 2]], u64, [u32; 2], u64);

    #[test]
    fn lanes_do_not_change_a_bit() {
        let first = u64::from(u32::MAX) - 500;
        let mut fills: Vec<Fill> = vec![fill, fill_plain];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            fills.push(|out, first, words, key| unsafe { fill_avx2(out, first, words, key) });
        }
        for fill in fills {
            let mut fast = vec![[0.0; 2]; 1003];
            fill(&mut fast, first, [3, 1 << 31], 77);
            for (block, pair) in (first..).zip(&fast) {
                let counter = [[block & LOW], [block >> 32], [3], [1 << 31]];
                let expected = normal_pairs::<1>(counter, 77)[0];
                assert!(pair.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}
