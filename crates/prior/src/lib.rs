//! Priors: from standard normal latents to signals.
//!
//! A prior is an [`Operator`](lookback_operator::Operator) whose domain is white noise and whose codomain is a signal:
//! a [`gaussian_field`] or [`lognormal_field`] with a given [`Spectrum`], a [`CorrelatedField`] whose spectrum is
//! inferred together with the field, or a parameter with a named [`Distribution`].

mod correlated_field;
mod distribution;
mod gaussian_field;
mod lognormal_field;
mod spectrum;

pub use correlated_field::{CorrelatedField, CorrelatedFieldParameters};
pub use distribution::Distribution;
pub use gaussian_field::gaussian_field;
pub use lognormal_field::{LognormalField, lognormal_field, shifted_exponential};
pub use spectrum::Spectrum;
