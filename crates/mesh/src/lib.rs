//! Periodic grids: real Fourier transforms, power spectra, random fields, readout between cells, and particles.
//!
//! Arrays are in C order (last axis fastest). In two dimensions the last axis is `x` (columns, FITS axis 1) and the
//! first is `y` (rows, FITS axis 2). Transforms are not normalised; see [`RealFft`] and [`Hartley`].

mod cloud;
mod fft;
mod field;
mod forces;
mod gradient;
mod gradient_paint;
mod gradient_tides;
mod grid;
mod harmonics;
mod hartley;
mod healpix;
mod lanes;
mod legendre;
mod multiplier;
mod paint;
#[cfg(test)]
mod particles_tests;
mod places;
mod planes;
mod power;
mod read;
mod readout;
mod real_lines;
mod slabs;
mod synthesis;
mod visit;

pub use cloud::{Cloud, MOST_CELLS, Window};
pub use fft::{Line, RealFft};
pub use field::{Differences, Field, Quad};
pub use gradient::reads_gradients;
pub use grid::Grid;
pub use harmonics::{Harmonics, Rings, sphere_spectrum};
pub use hartley::{Hartley, white_modes};
pub use healpix::{Healpix, Neighbours};
pub use legendre::Legendre;
pub use multiplier::Multiplier;
pub use planes::Plane;
pub use power::{PowerSpectrum, bin_edges, cross_spectrum, power_quadrupole, power_spectrum, skewness};
pub use readout::Readout;
pub use synthesis::Synthesis;
pub use visit::RowOf;
