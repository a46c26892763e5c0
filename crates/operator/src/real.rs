//! The two floating-point types that meshes and latents may use.

use std::fmt::{Debug, Display};
use std::iter::Sum;

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
    + 'static
{
    /// Name as it is written in run files: `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// Rounds an `f64` to this precision.
    fn of(x: f64) -> Self;

    /// The same number as `f64`.
    fn f64(self) -> f64;

    /// The integer below, and what is left above it; numbers beyond the range of `i32` are clamped to it.
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
        // Truncation is one instruction; `floor` is a call on the oldest machines that we build for.
        let truncated = self as i32;
        let below = truncated - i32::from(truncated as f32 > self);
        (below, self - below as f32)
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
        // Truncation is one instruction; `floor` is a call on the oldest machines that we build for.
        let truncated = self as i32;
        let below = truncated - i32::from(f64::from(truncated) > self);
        (below, self - f64::from(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_agrees_with_floor() {
        for x in [-3.0, -2.7, -0.1, 0.0, 0.4, 1.0, 5.999, 1e6 + 0.5] {
            assert_eq!(x.split_floor(), (x.floor() as i32, x - x.floor()));
            let x = x as f32;
            assert_eq!(x.split_floor(), (x.floor() as i32, x - x.floor()));
        }
    }
}
