//! Differentiable maps between named blocks of numbers: the trait, its composition, and the laws that it must obey.
//!
//! Everything in Lookback that turns one array into another is an [`Operator`]: a prior, a simulation, a telescope.
//! An operator offers its value and a [`Linearization`], whose [`push`](Linearization::push) and
//! [`pull`](Linearization::pull) are the products with the Jacobian and its transpose.
//!
//! ```
//! use lookback_operator::{laws, Operator, Pointwise, Space};
//!
//! let exp = Pointwise::<f64>::exp(Space::single("log_flux", &[4], ""));
//! let (y, mut linearization) = exp.linearize(&[0.0, 1.0, 2.0, 3.0])?;
//! let mut dx = vec![0.0; 4];
//! linearization.pull(&[1.0; 4], &mut dx)?; // d(sum exp x)/dx = exp x
//! assert_eq!(dx, y);
//! laws::check(&exp, &[0.1, -0.2, 0.3, 0.0], 1e-10)?;
//! # Ok::<(), lookback_operator::Error>(())
//! ```

mod blocks;
mod chain;
mod compiled;
mod error;
pub mod laws;
mod linear;
mod normals;
mod operator;
mod pages;
mod pointwise;
pub mod random;
mod real;
mod repeated;
mod single;
mod space;
mod stack;
pub mod vector;

pub use blocks::{Forget, Remember, Renamed};
pub use chain::Chain;
pub use error::{Error, Foreign, Result};
pub use linear::{Identity, Linear, LinearOperator};
pub use operator::{DynOperator, Linearization, Operator, Then, Unavailable};
pub use pages::{on_large_pages, zeros};
pub use pointwise::Pointwise;
pub use real::Real;
pub use repeated::Repeated;
pub use single::InSingle;
pub use space::{Block, Space};
pub use stack::Stack;
