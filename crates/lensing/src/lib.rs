//! Weak gravitational lensing on the flat sky: convergence, shear, the galaxies that carry it, and simulated light cones.

mod calibration;
mod catalogue;
mod cubic;
mod kaiser_squires;
mod light_cone;
mod projection;
mod ray_tracing;
mod reduced_shear;
mod sphere_shear;

pub use calibration::ShearCalibration;
pub use catalogue::{Binned, Catalogue};
pub use kaiser_squires::{kaiser_squires, mass_map};
pub use light_cone::{Crossing, LightCone, Look, Settings as LightConeSettings, Sky, Tiling, free_numbers};
pub use projection::Projection;
pub use ray_tracing::{RaySettings, RayTracing};
pub use reduced_shear::ReducedShear;
pub use sphere_shear::SphereShear;

lookback_operator::compile_here!(LightCone, RayTracing, ReducedShear);
