//! The two floating-point types that meshes and latents may use.

use std::fmt::{Debug, Display};
use std::iter::Sum;

use bytemuck::Pod;
use num_traits::{Float, FloatConst, FromPrimitive, NumAssign, Signed};

/// `f32` or `f64`: the precision of meshes, particles and latents. Sums and energies are always `f64`.
pub trait Real:
    Float
    + FloatConst
    + FromPrimitive
    + NumAssign
    + Signed
    + Sum
    + Default
    + Debug
    + Display
    + Send
    + Sync
    + Pod
    + 'static
{
    /// Name as it is written in run files: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// Rounds an `f64` to this precision.
    fn of(x: f64) -> Self;

    /// The same number as `f64`.
    fn f64(self) -> f64;

    /// The integer below, and what is left above it, for numbers of at most four million in size; for others, and for NaN,
    /// the integer may be any.
    fn split_floor(self) -> (i32, Self);
}

impl Real for f32 {
    const NAME: &'static str = "f32";

    fn of(x: f64) -> f32 {
        x as f32
    }

    fn f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn split_floor(self) -> (i32, f32) {
        // Beside 1.5 * 2^23 the last bit counts ones. Sums and bits are vector instructions everywhere; a cast is not, as it
        // must know what is out of range.
        const LARGE: f32 = 12_582_912.0;
        let sum = self + LARGE;
        let (rounded, integer) = (sum - LARGE, sum.to_bits() as i32 - LARGE.to_bits() as i32);
        let above = rounded > self;
        let below = rounded - if above { 1.0 } else { 0.0 };
        (integer - i32::from(above), self - below)
    }
}

impl Real for f64 {
    const NAME: &'static str = "f64";

    fn of(x: f64) -> f64 {
        x
    }

    fn f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn split_floor(self) -> (i32, f64) {
        // As for `f32`, beside 1.5 * 2^52, whose low bits are zero.
        const LARGE: f64 = 6_755_399_441_055_744.0;
        let sum = self + LARGE;
        let (rounded, integer) = (sum - LARGE, sum.to_bits() as i32);
        let above = rounded > self;
        let below = rounded - if above { 1.0 } else { 0.0 };
        (integer - i32::from(above), self - below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_agrees_with_floor() {
        for x in [-3.0, -2.7, -0.5, -0.1, -0.0, 0.0, 0.4, 0.5, 1.0, 1.5, 5.999, 1e6 + 0.5, -4e6, 4e6] {
            assert_eq!(x.split_floor(), (x.floor() as i32, x - x.floor()));
            let x = x as f32;
            assert_eq!(x.split_floor(), (x.floor() as i32, x - x.floor()));
        }
    }
}
