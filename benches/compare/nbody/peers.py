"""Times one differentiable particle-mesh code of others: forward simulation, gradient, memory and compilation.

    python peers.py CODE PARTICLES MESH_FACTOR STEPS [--forward-only | --gradient-only]

CODE is pmpp (PM++) or jaxpm (JaxPM); PARTICLES and MESH_FACTOR count a side. Prints one line of JSON; what was not
measured is null, and a configuration that the code cannot run has a field `unsupported`. Without a flag, forward and
gradient each run in a process of their own, as a peak of memory is that of a process.

The problem is the same for both codes: flat LCDM, 2 Mpc/h between particles, second-order LPT at a = 0.1, FastPM
kick-drift-kick in equal steps of a to 1, f32. Forward maps white noise and parameters to the density contrast on the
force mesh at a = 1; the tables of transfer and growth are part of it, as a gradient needs them. The gradient is that of
J = sum(delta^2) with respect to the noise and to all parameters, with J itself. Peaks are those of the whole process,
Python and compiler included; `buffers` is what the compiled program plans to hold, inputs and outputs included.
`delta_variance` tells whether codes agree.

PM++ is called as in its guide. JaxPM 0.1 has forces, LPT and growth but no stepper: the loop below is FastPM's, with
JaxPM's factors. Its gradient keeps positions and momenta of every step and recomputes the rest, which is as fast as
keeping everything and takes far less memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version

THREADS = 2
# XLA takes the size of its pool of threads on a CPU from NPROC; all of this must be set before jax is imported.
os.environ |= {"NPROC": str(THREADS), "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=true", "JAX_PLATFORMS": "cpu"}

import jax
import jax.numpy as jnp
import numpy as np

SPACING = 2.0  # Mpc/h between particles
START = 0.1
OMEGA_M, OMEGA_B, H, N_S = 0.3111, 0.049, 0.6766, 0.9665
SIGMA8, A_S_1E9 = 0.8102, 1.999  # each code takes one; they agree for the transfer function of Eisenstein and Hu
LEAST_REPEATS, LEAST_SECONDS, MOST_REPEATS = 3, 2.0, 10
PARTS = ("forward", "gradient")
FIELDS = ("{}_s", "{}_peak_mb", "{}_buffers_mb", "compile_{}_s")


class Unsupported(Exception):
    """The code cannot run this configuration."""


def pmpp_simulation(particles, mesh_factor, steps):
    """The simulation of PM++, a function of noise and parameters, and its parameters."""
    from pmpp import Configuration
    from pmpp.cic import scatter
    from pmpp.cosmology import Cosmology, boltzmann
    from pmpp.initial_conditions import linear_modes, lpt
    from pmpp.nbody import nbody

    conf = Configuration(
        ptcl_spacing=SPACING,
        ptcl_grid_shape=(particles,) * 3,
        mesh_shape=mesh_factor,
        float_dtype=jnp.float32,  # of particles and meshes; tables are f64 in PM++, in f32 its gradient by h is NaN
        pallas_cic=False,  # for graphics cards only
        a_start=START,
        # The number of steps is rounded up: without the margin it could be one too many.
        a_nbody_maxstep=(1 - START) / steps * (1 + 1e-9),
        # Growth is interpolated linearly; without the middles of steps, as by default, kicks of ten steps are 5 % wrong.
        growth_a_custom=(0.0, *np.linspace(START, 1, 2 * steps + 1)),
    )
    assert conf.a_nbody_num == steps

    def simulate(noise, parameters):
        # The table of variances serves sigma8 alone, which is not used.
        cosmo = boltzmann(Cosmology(conf, **parameters), conf, varlin=False)
        start = lpt(linear_modes(noise, cosmo, conf), cosmo, conf)
        return scatter(nbody(start, cosmo, conf), conf) - 1

    return simulate, {"A_s_1e9": A_S_1E9, "n_s": N_S, "Omega_m": OMEGA_M, "Omega_b": OMEGA_B, "h": H}


def jaxpm_simulation(particles, mesh_factor, steps):
    """The simulation of JaxPM, a function of noise and parameters, and its parameters."""
    if mesh_factor != 1:
        raise Unsupported("the force mesh has as many cells as there are particles")
    import jax_cosmo
    from jaxpm.distributed import fft3d, ifft3d
    from jaxpm.growth import E, Gf, dGfa, growth_factor
    from jaxpm.kernels import fftk, interpolate_power_spectrum
    from jaxpm.painting import cic_paint
    from jaxpm.pm import lpt, pm_forces

    shape = (particles,) * 3
    times = jnp.linspace(START, 1, steps + 1)
    middles = (times[1:] + times[:-1]) / 2
    wavenumbers = jnp.logspace(-4, 1, 128)

    def cosmology(parameters):
        return jax_cosmo.Cosmology(**parameters, Omega_k=0.0, w0=-1.0, wa=0.0)

    def linear_field(noise, cosmo):
        # jaxpm.pm.linear_field, but of given noise: it draws its own from a seed.
        power = jax_cosmo.power.linear_matter_power(cosmo, wavenumbers)
        modes = fft3d(noise)
        k = sum((component / SPACING) ** 2 for component in fftk(modes)) ** 0.5
        return ifft3d(modes * jnp.sqrt(interpolate_power_spectrum(k, wavenumbers, power) / SPACING**3))

    def kicks_and_drifts(cosmo):
        """Factors of the kick before each drift (two halves, but for the first) and of the drift."""
        g, g_middle = Gf(cosmo, times), Gf(cosmo, middles)
        slope = times**2 * E(cosmo, times) * dGfa(cosmo, times)
        second, first = (g[1:] - g_middle) / slope[1:], (g_middle - g[:-1]) / slope[:-1]
        return first.at[1:].add(second[:-1]), jnp.diff(growth_factor(cosmo, times)) / g_middle

    def simulate(noise, parameters):
        # jax_cosmo and jaxpm keep growth tables of other contents under one name in the cosmology: one object for each.
        field = linear_field(noise, cosmology(parameters))
        cosmo = cosmology(parameters)
        grid = jnp.stack(jnp.meshgrid(*[jnp.arange(particles, dtype=noise.dtype)] * 3, indexing="ij"), axis=-1)
        displacements, momenta, _ = lpt(cosmo, field, grid, a=START, order=2)

        @jax.checkpoint
        def step(state, factors):
            (positions, momenta), (kick, drift) = state, factors
            momenta += kick * 1.5 * cosmo.Omega_m * pm_forces(positions, mesh_shape=shape)
            return (positions + drift * momenta, momenta), None

        # Positions at the end need no last half kick.
        (positions, _), _ = jax.lax.scan(step, (grid + displacements, momenta), kicks_and_drifts(cosmo))
        return cic_paint(jnp.zeros(shape), positions) - 1

    return simulate, {"Omega_c": OMEGA_M - OMEGA_B, "Omega_b": OMEGA_B, "h": H, "n_s": N_S, "sigma8": SIGMA8}


SIMULATIONS = {"pmpp": pmpp_simulation, "jaxpm": jaxpm_simulation}


def seconds(function, *arguments):
    """Time until the result is there, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start, result


def measure(part, simulate, mesh_factor, noise, parameters):
    """Compiles and times the simulation or its gradient: the fields of this part, and the variance of the density."""

    def value(noise, parameters):
        return jnp.sum(simulate(noise, parameters) ** 2)

    function = simulate if part == "forward" else jax.value_and_grad(value, argnums=(0, 1))
    compilation, compiled = seconds(lambda: jax.jit(function).lower(noise, parameters).compile())
    _, result = seconds(compiled, noise, parameters)
    times = []
    while len(times) < LEAST_REPEATS or (sum(times) < LEAST_SECONDS and len(times) < MOST_REPEATS):
        times.append(seconds(compiled, noise, parameters)[0])
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # before anything else takes memory
    if not all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(result)):
        raise FloatingPointError(f"{part}: not finite")
    plan = compiled.memory_analysis()
    buffers = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes
    names = (name.format(part) for name in FIELDS)
    fields = dict(zip(names, (statistics.median(times), peak / 1e6, buffers / 1e6, compilation)))
    # J over the number of cells, as the mean of the contrast is zero.
    cells = (noise.shape[0] * mesh_factor) ** 3
    squares = jnp.sum(result**2) if part == "forward" else result[0]
    return fields | {"delta_variance": float(squares) / cells}


def measure_here(part, code, particles, mesh_factor, steps):
    """Measures one part in this process."""
    simulate, parameters = SIMULATIONS[code](particles, mesh_factor, steps)
    parameters = {name: jnp.asarray(value, float) for name, value in parameters.items()}
    noise = np.random.default_rng(1).standard_normal((particles,) * 3, dtype=np.float32)
    return measure(part, simulate, mesh_factor, jnp.asarray(noise), parameters)


def measure_apart(part):
    """Measures one part in a process of its own, started like this one."""
    command = [sys.executable, *sys.argv, f"--{part}-only"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("code", choices=SIMULATIONS)
    for name in ("particles", "mesh_factor", "steps"):
        parser.add_argument(name, type=int)
    only = parser.add_mutually_exclusive_group()
    for part in PARTS:
        only.add_argument(f"--{part}-only", dest="part", action="store_const", const=part)
    arguments = vars(parser.parse_args())
    part = arguments.pop("part")
    record = {"code": arguments["code"], "version": version(arguments["code"]), **arguments, "threads": THREADS}
    record |= {name.format(part): None for name in FIELDS for part in PARTS}
    try:
        if part:
            record |= measure_here(part, **arguments)
        else:
            for each in PARTS:
                measured = measure_apart(each)
                if "unsupported" in measured:
                    raise Unsupported(measured["unsupported"])
                record |= {name: value for name, value in measured.items() if value is not None}
    except Unsupported as reason:
        record = {"code": arguments["code"], "unsupported": str(reason)}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
