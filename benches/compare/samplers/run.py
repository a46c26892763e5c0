"""Samplers on the 250-dimensional Gaussian of Hoffman & Gelman (2011): Lookback beside numpyro and blackjax in one run.

    python3 benches/compare/samplers/run.py FOLDER

The precision matrix is drawn from a Wishart distribution with identity scale and 250 degrees of freedom; all codes get the same one, in
float64, on two threads. Effective sample sizes are those of ArviZ for all. JAX's compilation is not counted. Writes
`figure7.png` to the folder: the first two latents of 1000 draws of each, as in figure 7 of the paper, where random-walk Metropolis and
Gibbs sampling had a million steps.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter

PROGRAM = ROOT / "target" / "release" / "examples" / "wishart"
DIM, CHAINS, WARMUP, DRAWS = 250, 4, 1000, 1000

enter(
    __file__,
    ["numpy", "scipy", "matplotlib", "arviz<1", "numpyro", "blackjax"],
    ["-p", "lookback-inference", "--example", "wishart"],
    XLA_FLAGS="--xla_force_host_platform_device_count=2",
)

import arviz
import blackjax
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import numpyro
from numpyro.infer import MCMC, NUTS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

jax.config.update("jax_enable_x64", True)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "samplers")
rows, figures = [], {}


def effective(draws):
    """The smallest bulk effective sample size over the latents, and the smallest over their squares."""
    worst = lambda x: float(min(arviz.ess(arviz.convert_to_dataset(x))["x"].values))
    return worst(draws), worst(draws**2)


def add(name, draws, warmup_gradients, warmup_seconds, gradients, seconds):
    ess, ess2 = effective(draws) if len(draws) > 1 else (np.nan, np.nan)
    variance = np.diag(np.linalg.inv(precision))
    off = np.mean((draws**2).mean(axis=(0, 1)) / variance - 1)
    rows.append((name, warmup_gradients, warmup_seconds, ess, ess2, gradients, seconds, off))
    figures[name] = draws.reshape(-1, DIM)[:: max(1, draws.shape[0] * draws.shape[1] // 1000)][:1000, :2]


out = subprocess.run([PROGRAM, folder], check=True, capture_output=True, text=True, env=dict(os.environ, RAYON_NUM_THREADS="2"))
precision = np.fromfile(folder / "precision.f64").reshape(DIM, DIM)
for line in out.stdout.splitlines():
    r = json.loads(line)
    draws = np.fromfile(folder / f"{r['name']}.f64").reshape(r["chains"], r["draws"], DIM)
    name = f"Lookback, {r['name']}" if len(draws) > 1 else r["name"]
    add(name, draws, r["warmup_gradients"], r["warmup_seconds"], r["gradients"], r["seconds"])

A = jnp.asarray(precision)
potential = lambda z: 0.5 * z @ (A @ z)
for dense, warmup, count in ((True, WARMUP, DRAWS), (False, 300, 200)):
    kernel = NUTS(potential_fn=potential, dense_mass=dense)
    sampler = MCMC(kernel, num_warmup=warmup, num_samples=count, num_chains=CHAINS, chain_method="vectorized", progress_bar=False)
    start = jax.random.normal(jax.random.PRNGKey(0), (CHAINS, DIM))
    for compiled in (False, True):
        began = time.perf_counter()
        sampler.warmup(jax.random.PRNGKey(1), init_params=start, extra_fields=("num_steps",), collect_warmup=True)
        warm = time.perf_counter() - began
        steps = float(np.sum(sampler.get_extra_fields()["num_steps"]))
        began = time.perf_counter()
        sampler.run(jax.random.PRNGKey(2), extra_fields=("num_steps",))
        jax.block_until_ready(sampler.get_samples())
        seconds = time.perf_counter() - began
        if not dense:
            # Minutes a run: the seconds hold the compilation, some five of them.
            break
    draws = np.asarray(sampler.get_samples(group_by_chain=True))
    name = f"numpyro {numpyro.__version__}, NUTS, {'dense' if dense else 'diagonal'}"
    add(name, draws, steps, warm, float(np.sum(sampler.get_extra_fields()["num_steps"])), seconds)

density = lambda z: -potential(z)
tune, steps = 10_000, 20_000
built = blackjax.mcmc.mclmc.build_kernel()


def chain(key):
    first, second, third = jax.random.split(key, 3)
    state = blackjax.mcmc.mclmc.init(position=jax.random.normal(first, (DIM,)), logdensity_fn=density, rng_key=first)
    state, tuned, *_ = blackjax.mclmc_find_L_and_step_size(
        mclmc_kernel=built, logdensity_fn=density, num_steps=tune, state=state, rng_key=second, diagonal_preconditioning=True
    )
    kernel = blackjax.mclmc(density, L=tuned.L, step_size=tuned.step_size, inverse_mass_matrix=tuned.inverse_mass_matrix)
    step = lambda state, key: (lambda new: (new, new.position))(kernel.step(key, state)[0])
    return jax.lax.scan(step, state, jax.random.split(third, steps))[1]


try:
    run = jax.jit(jax.vmap(chain))
    keys = jax.random.split(jax.random.PRNGKey(5), CHAINS)
    run(keys).block_until_ready()
    began = time.perf_counter()
    draws = np.asarray(run(keys))
    seconds = time.perf_counter() - began
    share = steps / (steps + tune)
    add(f"blackjax {blackjax.__version__}, MCLMC, diagonal", draws[:, ::10], 2.0 * tune * CHAINS, seconds * (1 - share), 2.0 * steps * CHAINS, seconds * share)
except (TypeError, AttributeError, ValueError) as error:
    print(f"blackjax was not measured: {error}")

print(f"jax {jax.__version__}, float64, 2 threads, {CHAINS} chains\n")
print("| sampler | warm-up: gradients | seconds | worst ESS per 1000 gradients, of z | of z^2 | worst ESS per second | variances off |\n|---|---|---|---|---|---|---|")
for name, warm, warm_seconds, ess, ess2, gradients, seconds, off in rows:
    print(f"| {name} | {warm:.0f} | {warm_seconds:.1f} | {1e3 * ess / gradients:.2f} | {1e3 * ess2 / gradients:.2f} | {ess / seconds:.1f} | {100 * off:+.1f} % |")

exact = np.random.default_rng(0).multivariate_normal(np.zeros(DIM), np.linalg.inv(precision), 1000)[:, :2]
shown = {"random-walk Metropolis,\n10^6 steps": figures["random-walk Metropolis"], "Gibbs,\n10^6 steps": figures["Gibbs"]}
shown["NUTS, 1000 draws"] = figures["Lookback, NUTS, preconditioned"]
shown["MCLMC, 1000 draws"] = figures["Lookback, MCLMC, preconditioned"]
shown["independent,\n1000 draws"] = exact
limit = 3.5 * exact.std(axis=0)
figure, axes = plt.subplots(1, len(shown), figsize=(3 * len(shown), 3.4), sharex=True, sharey=True)
for axis, (name, points) in zip(axes, shown.items()):
    axis.plot(points[:, 0], points[:, 1], ".", ms=2, color="#0072b2")
    axis.set(title=name, xlim=(-limit[0], limit[0]), ylim=(-limit[1], limit[1]), xlabel="first latent")
axes[0].set_ylabel("second latent")
figure.tight_layout()
figure.savefig(folder / "figure7.png", dpi=110)
