//! Background, growth of structure, and power spectra of matter and lensing, with exact derivatives.
//!
//! Everything is generic over a [`Scalar`]: `f64` for numbers, [`Dual`] for numbers with their derivatives with respect
//! to all [`Parameters`]. Lengths are in Mpc/h, wave numbers in h/Mpc, times in `1/H0`.

mod background;
mod cosmology;
mod dual;
mod error;
mod growth;
mod halofit;
mod history;
mod history_table;
mod lensing;
mod linear_power;
mod parameters;
mod quadrature;
mod scalar;
mod table;
mod tracer;
mod transfer;

pub use background::{Background, HUBBLE_DISTANCE};
pub use cosmology::{Cosmology, Tables};
pub use dual::Dual;
pub use error::{Error, Result};
pub use growth::Growth;
pub use halofit::Halofit;
pub use history::{History, Instant};
pub use history_table::{Between, DistanceTable, GrowthTable};
pub use lensing::{Efficiency, Sources, convergence_spectrum, lensing_efficiency};
pub use linear_power::LinearPower;
pub use parameters::{Gradient, Normalization, PARAMETERS, Parameters, Settings, Transfer, shapes_history};
pub use quadrature::gauss_legendre;
pub use scalar::Scalar;
pub use table::{PowerTable, TableRow, table_rows};
pub use tracer::{Alignment, Bias, Kernel, Tracer, limber_spectrum, smooth_step};
pub use transfer::EisensteinHu;
