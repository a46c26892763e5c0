//! What an instrument does to a map: blur and masks.

mod mask;
mod smooth;

pub use mask::Mask;
pub use smooth::{sigma_of_fwhm, smooth};
