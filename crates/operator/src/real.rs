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
}

impl Real for f32 {
    const NAME: &'static str = "f32";

    fn of(x: f64) -> f32 {
        x as f32
    }

    fn f64(self) -> f64 {
        f64::from(self)
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
}
