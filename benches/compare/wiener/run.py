"""The Wiener filter of a mock COSMOS: Lookback beside scipy and NIFTy.re, alternately, in one run.

    LOOKBACK_DATA=... python3 benches/compare/wiener/run.py

Truth and noise maps are those of the kTNG mock; the noise is numpy's default_rng(42), so that the published figures of
this mock (RMSE 0.0220, r 0.6125) can be reproduced exactly. All codes solve the same whitened system to the same residual
in float64 on two threads. Prints a table and a line of JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter

THREADS = "2"
ROUNDS = 5
TOLERANCE = 1e-4

enter(
    __file__,
    ["numpy", "scipy", "astropy", "nifty[re]==9.2.0"],
    ["-p", "lookback-cli"],
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=true",
    OMP_NUM_THREADS=THREADS,
)

import numpy as np
import scipy.fft
from astropy.io import fits

from kaiser_squires import phases

DATA = Path(os.environ["LOOKBACK_DATA"]).resolve() / "shear"
N, PIXEL = 360, np.radians(0.29 / 60)

truth = fits.getdata(DATA / "ktng/ktng_cosmos_kappa360.fits").astype(float)
std = np.stack([fits.getdata(DATA / f"cosmos/std{i}.fits").astype(float) for i in (1, 2)])
seen = fits.getdata(DATA / "cosmos/cosmos_full_mask_0.29arcmin360.fits") > 0
ell_table, power_table = np.load(DATA / "ktng/ktng_PS_theory.npy")

phase, k2 = phases(N, PIXEL)
amplitude = np.sqrt(np.exp(np.interp(np.log(np.sqrt(k2)), np.log(ell_table), np.log(power_table)))) / PIXEL
amplitude[0, 0] = 0


def rfft(x):
    return scipy.fft.rfft2(x, workers=int(THREADS))


def irfft(x):
    return scipy.fft.irfft2(x, s=(N, N), workers=int(THREADS))


def model(z):
    kappa = amplitude * rfft(z)
    return np.stack([irfft(p * kappa) for p in phase])


def adjoint(gamma):
    return irfft(amplitude * (phase[0] * rfft(gamma[0]) + phase[1] * rfft(gamma[1])))


weight = np.where(seen, 1 / np.where(seen, std, 1) ** 2, 0)
kappa_hat = rfft(truth)
rng = np.random.default_rng(42)
noise = rng.standard_normal((N, N)), rng.standard_normal((N, N))
data = np.stack([irfft(p * kappa_hat) for p in phase]) + std * np.stack(noise)
data = np.where(seen, data, 0)


def score(kappa):
    a, b = kappa[seen] - kappa[seen].mean(), truth[seen] - truth[seen].mean()
    return float(np.sqrt(np.mean((a - b) ** 2))), float(np.corrcoef(a, b)[0, 1])


def scipy_wiener():
    began = time.perf_counter()
    b = adjoint(weight * data)
    x, r = np.zeros_like(b), b.copy()
    p, rr = r.copy(), np.vdot(r, r)
    while rr > TOLERANCE**2 * b.size:
        ap = p + adjoint(weight * model(p))
        alpha = rr / np.vdot(p, ap)
        x += alpha * p
        r -= alpha * ap
        rr, old = np.vdot(r, r), rr
        p = r + rr / old * p
    kappa = irfft(amplitude * rfft(x))
    return time.perf_counter() - began, score(kappa)


def nifty_wiener():
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    import nifty.re as jft

    first, second, level = (jnp.asarray(x) for x in (*phase, amplitude))
    rows = jnp.asarray(np.flatnonzero(seen))

    def forward(z):
        kappa = level * jnp.fft.rfft2(z)
        maps = [jnp.fft.irfft2(p * kappa, s=(N, N)).ravel()[rows] for p in (first, second)]
        return jnp.stack(maps)

    noise_inverse = jnp.asarray(weight[:, seen])
    observed = jnp.asarray(data[:, seen])
    likelihood = jft.Gaussian(observed, noise_cov_inv=lambda x: noise_inverse * x).amend(
        jft.Model(forward, domain=jax.ShapeDtypeStruct((N, N), float))
    )
    zero = jnp.zeros((N, N))

    @jax.jit
    def solve():
        gradient = jax.grad(lambda z: likelihood(z))(zero)
        return jft.conjugate_gradient.static_cg(
            lambda v: v + likelihood.metric(zero, v), -gradient, absdelta=None, resnorm=TOLERANCE * N, norm_ord=2, maxiter=2000
        )[0]

    solve().block_until_ready()
    kappa_of = jax.jit(lambda z: jnp.fft.irfft2(level * jnp.fft.rfft2(z), s=(N, N)))

    def run():
        began = time.perf_counter()
        z = solve().block_until_ready()
        return time.perf_counter() - began, score(np.asarray(kappa_of(z)))

    return run


def lookback_wiener(folder):
    for i in (0, 1):
        fits.writeto(folder / f"gamma{i + 1}.fits", data[i], overwrite=True)
    run = f"""
[sky]
pixels = [{N}, {N}]
pixel_arcmin = 0.29
[prior.kappa]
kind = "gaussian_field"
spectrum.table = "{DATA}/ktng/ktng_PS_theory.npy"
[[forward]]
kind = "shear"
[data]
kind = "maps"
maps = ["gamma1.fits", "gamma2.fits"]
noise_std = ["{DATA}/cosmos/std1.fits", "{DATA}/cosmos/std2.fits"]
mask = "{DATA}/cosmos/cosmos_full_mask_0.29arcmin360.fits"
truth = "{DATA}/ktng/ktng_cosmos_kappa360.fits"
[method]
kind = "wiener"
samples = 0
tolerance = {TOLERANCE}
"""
    (folder / "run.toml").write_text(run)

    def once():
        command = [ROOT / "target/release/lookback", "-q", "--threads", THREADS, "run", "run.toml", "-o", "out", "--overwrite"]
        subprocess.run(command, cwd=folder, check=True)
        summary = json.loads((folder / "out/summary.json").read_text())
        return summary["seconds_to_centre"], (summary["rmse"], summary["pearson_r"])

    return once


with tempfile.TemporaryDirectory() as place:
    codes = {"lookback": lookback_wiener(Path(place)), "scipy": scipy_wiener, "NIFTy.re": nifty_wiener()}
    seconds, scores = {name: [] for name in codes}, {}
    for _ in range(ROUNDS):
        for name, code in codes.items():
            took, scores[name] = code()
            seconds[name].append(took)

median = {name: statistics.median(times) for name, times in seconds.items()}
print(f"Wiener filter of {N} x {N} pixels, float64, {THREADS} threads, median of {ROUNDS} alternate rounds\n")
print("| code | seconds | times Lookback's | RMSE | Pearson r |")
print("|---|---|---|---|---|")
for name in codes:
    rmse, r = scores[name]
    print(f"| {name} | {median[name]:.3f} | {median[name] / median['lookback']:.2f} | {rmse:.5f} | {r:.4f} |")
ratios = {name: median[name] / median["lookback"] for name in codes}
print(json.dumps({"bench": "wiener", "seconds": median, "ratio_to_lookback": ratios, "scores": scores}))
