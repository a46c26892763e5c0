//! Weak gravitational lensing on the flat sky: convergence, shear, and the galaxies that carry it.

mod calibration;
mod catalogue;
mod kaiser_squires;
mod projection;
mod reduced_shear;

pub use calibration::ShearCalibration;
pub use catalogue::{Binned, Catalogue};
pub use kaiser_squires::{kaiser_squires, mass_map};
pub use projection::Projection;
pub use reduced_shear::ReducedShear;
