//! A learned prior of maps of any size: white noise through isotropic filters and monotone functions of a pixel, in turn.
//!
//! Nothing in it knows where on the map it is, so that a few simulated maps hold millions of examples, and what is learned on one field
//! is a prior for another (Dai & Seljak 2022, "Translation and rotation equivariant normalizing flow", arXiv:2202.05282). A Gaussian
//! field is its special case without functions, a lognormal one that with one.

mod filter;
mod flow;
mod likelihood;
mod model;
mod prior;

pub use flow::{FieldFlow, FieldSection};
pub use likelihood::FieldLikelihood;
pub use model::{FieldCard, FieldModel};
pub use prior::learned_field;
