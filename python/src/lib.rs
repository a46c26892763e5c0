//! The Python face: names as in Rust, arrays in, arrays out, no logic of its own.

mod arrays;
mod cosmology;
mod errors;
mod functions;
mod inference;
mod likelihoods;
mod models;
mod operators;
mod runs;
mod universe;

use pyo3::prelude::*;

/// Compiled part of the `lookback` package.
#[pymodule]
#[pyo3(name = "_lookback")]
mod lookback_module {
    #[pymodule_export]
    use crate::cosmology::PyCosmology;
    #[pymodule_export]
    use crate::errors::LookbackError;
    #[pymodule_export]
    use crate::functions::{energy, function, python_likelihood};
    #[pymodule_export]
    use crate::inference::{
        PyPosterior, PyResult_, diagnostics, el2o, geovi, hmc, laplace, mala, mams, mclmc, mgvi, muse, nuts,
        pathfinder, smc, thermodynamic, wiener,
    };
    #[pymodule_export]
    use crate::likelihoods::{
        PyLikelihood, complex_gaussian, correlated_gaussian, gaussian, poisson, student_t,
    };
    #[pymodule_export]
    use crate::models::{PyMapModel, PyModel, train};
    #[pymodule_export]
    use crate::operators::{
        PyGrid, PyLinearization, PyOperator, PySpectrum, chain, correlated_field, distribution, draw,
        gaussian_field, lognormal_field, mask, mass_map, power_law, power_spectrum, readout, reduced_shear,
        shear, smooth, spectrum_table, sphere_shear, stack,
    };
    #[pymodule_export]
    use crate::runs::{calibrate, check, compare, resume, run, sharpen, simulate_file};
    #[pymodule_export]
    use crate::universe::{galaxies, light_cone, modes_of, nbody, particles, ray_tracing, white_modes};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", lookback::VERSION)
    }
}
