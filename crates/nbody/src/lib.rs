//! Structure formation: from white noise to particles, forwards and backwards in time.
//!
//! The reading order is the order of a simulation: [`Modes`] gives the linear density, [`Displacements`] moves the
//! particles to their start, a [`Schedule`] of kicks and drifts carries them on under [`Gravity`], and
//! [`Simulation`] is the whole as one operator. Lengths are in Mpc/h, momenta `a^2 dx/dt` in `H0` Mpc/h.

mod displacements;
mod error;
mod galaxies;
mod gravity;
mod kernel;
mod modes;
mod particles;
mod rooms;
mod run;
mod schedule;
mod sharpened_power;
mod sharpening;
mod simulation;
mod third_order;
mod tides;

pub use displacements::{Displacements, Lpt};
pub use error::{Error, Result};
pub use galaxies::{BIAS_PARAMETERS, Galaxies, galaxy_weights, redshift_shift};
pub use gravity::{Backwards, Gravity, KickDrift};
pub use kernel::{GradientKernel, Kernels, LaplaceKernel};
pub use lookback_cosmology::Bias;
pub use modes::Modes;
pub use particles::Particles;
pub use run::{ByFactors, Run, Watch, WatchPull, WatchPush};
pub use schedule::{Middle, Move, Schedule, Scheme, Start, View, equal_in_growth};
pub use sharpened_power::{SharpenedPower, Snapshot};
pub use sharpening::{SHARPENING_PARAMETERS, Sharpening};
pub use simulation::{PerParameter, Settings, Simulation, State, Way, quick_cells_near};

lookback_operator::compile_here!(Simulation, SharpenedPower, Galaxies, Particles);
