//! A learned prior of maps of any size: white noise through isotropic filters and monotone functions of a pixel, in turn.
//!
//! Nothing in it knows where on the map it is, so that a few simulated maps hold millions of examples, and what is learned on one field
//! is a prior for another (the layers of Dai & Seljak 2022, "Translation and rotation equivariant normalizing flow",
//! arXiv:2202.05282). A Gaussian field is its special case without functions, a lognormal one that with one.
//!
//! It is trained by what its draws look like, scale by scale, and not by their likelihood: most modes of a map are its smallest, and
//! there simulations hold little but the noise of their particles; a likelihood spends itself on them and misses the clusters.

mod filter;
mod generator;
mod matching;
mod model;
mod prior;

pub use generator::{FieldGenerator, FieldSection};
pub use matching::FieldMatching;
pub use model::{FieldCard, FieldModel};
pub use prior::learned_field;
