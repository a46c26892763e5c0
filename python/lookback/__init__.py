"""Lookback: Bayesian inference of what caused an astronomical observation.

Every model is one equation, ``d = F(g(z)) + n`` with ``z ~ N(0, 1)``: a prior ``g`` turns white noise into a signal, a
forward model ``F`` turns the signal into data. Build both from operators, join them with a likelihood, and hand the
posterior to a method::

    import numpy as np
    import lookback as lb

    grid = lb.Grid((64, 64), pixel_arcmin=1.0)
    prior = lb.gaussian_field(grid, lb.power_law(1e-9, pivot=1000, index=-1.2))
    model = prior.then(lb.shear(grid))
    truth = lb.draw(prior, seed=1)
    sigma = np.full((2, 64, 64), 0.05)
    data = lb.gaussian(np.zeros((2, 64, 64)), sigma).simulate(lb.shear(grid)(truth), seed=2)
    posterior = lb.Posterior(model, lb.gaussian(data, sigma))
    result = lb.wiener(posterior, samples=20)
    kappa = prior(result.centre)
"""

from ._lookback import (
    Cosmology,
    Grid,
    Likelihood,
    Linearization,
    LookbackError,
    MapModel,
    Model,
    Operator,
    Posterior,
    Result,
    Spectrum,
    __version__,
    calibrate,
    chain,
    check,
    compare,
    complex_gaussian,
    correlated_field,
    correlated_gaussian,
    diagnostics,
    distribution,
    draw,
    el2o,
    energy,
    function,
    galaxies,
    gaussian,
    gaussian_field,
    geovi,
    hmc,
    laplace,
    light_cone,
    lognormal_field,
    mala,
    mams,
    mask,
    mass_map,
    mclmc,
    mgvi,
    modes_of,
    muse,
    nbody,
    nuts,
    particles,
    pathfinder,
    poisson,
    power_law,
    power_spectrum,
    python_likelihood,
    ray_tracing,
    readout,
    reduced_shear,
    resume,
    run,
    sharpen,
    shear,
    simulate_file,
    smooth,
    spectrum_table,
    sphere_shear,
    stack,
    student_t,
    smc,
    thermodynamic,
    train,
    white_modes,
    wiener,
)

from .derivatives import jvp, simulate, vjp

__all__ = [name for name in dir() if not name.startswith("_")] + ["__version__"]
