"""A map with a spectrum that is not known, by MGVI and geoVI: Lookback beside NIFTy.re on the same posterior, in one run.

    LOOKBACK_DATA=... python3 benches/compare/spectrum/run.py FOLDER [ITERATIONS PAIRS]

Runs `examples/cosmos_spectrum.toml` with both methods, gives the maps of data and noise that the run has written to NIFTy's
correlated field behind its exponential and shear, in float64 on two threads, and fits that by `optimize_kl` with as many
iterations, pairs and samples at the end. Before that, Lookback's samples must have the same reduced chi-squared behind NIFTy's shear as in
Lookback's summary (that both priors are the same is tested in `crates/prior/tests/nifty.rs`). Prints a table: amplitude and slope
of the spectrum as latents (standard normal before the data), the maps beside each other, and seconds (compilation included in those of NIFTy).
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter

THREADS = "2"
FINAL_PAIRS = 40
SHIFT, FLUCTUATIONS, SLOPE = 0.05, (0.5, 0.3), (-0.8, 0.3)
OFFSET = (1e-3, 1e-3)

enter(
    __file__,
    ["numpy", "astropy", "nifty[re]==9.2.0"],
    ["-p", "lookback-cli"],
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=true",
    OMP_NUM_THREADS=THREADS,
    NPROC=THREADS,
)

import jax
import jax.numpy as jnp
import numpy as np
from astropy.io import fits

from kaiser_squires import phases

jax.config.update("jax_enable_x64", True)
import nifty.re as jft

jft.config.update("hartley_convention", "canonical_hartley")


def lookback(folder, method, iterations, pairs):
    """Runs the example with `method`; returns its folder, summary and seconds."""
    text = (ROOT / "examples" / "cosmos_spectrum.toml").read_text()
    options = f'[method]\nkind = "{method}"\niterations = {iterations}\npairs = {pairs}\nfinal_pairs = {FINAL_PAIRS}\n'
    text = re.sub(r"\[method\].*?(?=\n\[)", options, text, flags=re.S)
    (folder / f"{method}.toml").write_text(text)
    command = [ROOT / "target/release/lookback", "-q", "--threads", THREADS, "run", f"{method}.toml", "-o", method, "--overwrite"]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True)
    seconds = time.perf_counter() - began
    return json.loads((folder / method / "summary.json").read_text()), seconds


def nifty_posterior(folder):
    """The likelihood of the maps in `folder`, the convergence as a function of the latents, and the reduced chi-squared as one of a convergence."""
    data, std = (
        np.stack([fits.getdata(folder / f"{name}_gamma{i}.fits").astype(float) for i in (1, 2)]) for name in ("data", "noise")
    )
    n, pixel = data.shape[-1], np.radians(0.29 / 60)
    seen = std[0] > 0
    maker = jft.CorrelatedFieldMaker("cf")
    maker.set_amplitude_total_offset(offset_mean=0.0, offset_std=OFFSET)
    maker.add_fluctuations(
        (n, n), distances=(pixel, pixel), fluctuations=FLUCTUATIONS, loglogavgslope=SLOPE, prefix="ax", non_parametric_kind="amplitude"
    )
    log = maker.finalize()
    first, second = (jnp.asarray(phase) for phase in phases(n, pixel)[0])
    rows = jnp.asarray(np.flatnonzero(seen))

    def kappa(z):
        return SHIFT * jnp.expm1(log(z))

    def shear(kappa):
        spectrum = jnp.fft.rfft2(kappa)
        return jnp.stack([jnp.fft.irfft2(p * spectrum, s=(n, n)).ravel()[rows] for p in (first, second)])

    observed, weight = jnp.asarray(data[:, seen]), jnp.asarray(1 / std[:, seen] ** 2)
    likelihood = jft.Gaussian(observed, noise_cov_inv=lambda x: weight * x)
    model = jft.Model(lambda z: shear(kappa(z)), domain=log.domain)
    return likelihood.amend(model), kappa, lambda kappa: float(jnp.mean(weight * (observed - shear(kappa)) ** 2))


def nifty(likelihood, kappa, geometric, iterations, pairs):
    key, start = jax.random.split(jax.random.PRNGKey(42))
    latents = sum(int(np.prod(x.shape)) for x in jax.tree_util.tree_leaves(likelihood.domain))
    solve = {"absdelta": 1e-5 * latents, "maxiter": 500}

    def samples_of(rounds):
        return pairs if rounds < iterations - 1 else FINAL_PAIRS

    began = time.perf_counter()
    samples, _ = jft.optimize_kl(
        likelihood,
        jft.Vector({k: 0.1 * v for k, v in jft.random_like(start, likelihood.domain).items()}),
        key=key,
        n_total_iterations=iterations,
        n_samples=samples_of,
        draw_linear_kwargs={"cg_name": None, "cg_kwargs": solve},
        nonlinearly_update_kwargs={"minimize_kwargs": {"name": None, "xtol": 1e-3, "maxiter": 10, "cg_kwargs": {"name": None}}},
        kl_kwargs={"minimize_kwargs": {"name": None, "xtol": 1e-3, "maxiter": 8, "cg_kwargs": {"name": None}}},
        sample_mode="nonlinear_resample" if geometric else "linear_resample",
    )
    seconds = time.perf_counter() - began
    draws = [sample.tree if hasattr(sample, "tree") else sample for sample in samples]
    amplitude, slope = (np.array([float(z[f"cfax{name}"]) for z in draws]) for name in ("fluctuations", "loglogavgslope"))
    return amplitude, slope, np.stack([np.asarray(kappa(z)) for z in draws]), seconds


def main():
    folder = Path(sys.argv[1])
    iterations, pairs = (int(x) for x in sys.argv[2:4]) if len(sys.argv) > 3 else (10, 4)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for method in ("mgvi", "geovi"):
        summary, seconds = lookback(folder, method, iterations, pairs)
        mean, std = (fits.getdata(folder / method / f"{name}.fits").astype(float) for name in ("mean", "std"))
        numbers = [summary[f"latent_kappa.log.{name}_{of}"] for name in ("fluctuations", "slope") for of in ("mean", "std")]
        rows.append((f"Lookback, {method}", numbers, mean, std, seconds))
        print("| " + rows[-1][0], *(f"{x:+.3f}" for x in numbers), f"{seconds:.0f} s", sep=" | ", flush=True)
        likelihood, kappa, chi2 = nifty_posterior(folder / method)
        theirs = np.mean([chi2(sample) for sample in np.load(folder / method / "samples.npy").astype(float)])
        ours = summary["reduced_chi2_samples"]
        assert abs(theirs / ours - 1) < 1e-5, f"not the same likelihood: reduced chi-squared {theirs}, here {ours}"
        amplitude, slope, maps, seconds = nifty(likelihood, kappa, method == "geovi", iterations, pairs)
        numbers = [amplitude.mean(), amplitude.std(ddof=1), slope.mean(), slope.std(ddof=1)]
        rows.append((f"NIFTy.re 9.2.0, {method}", numbers, maps.mean(0), maps.std(0, ddof=1), seconds))
        print("| " + rows[-1][0], *(f"{x:+.3f}" for x in numbers), f"{seconds:.0f} s", sep=" | ", flush=True)
        np.savez(folder / f"nifty_{method}.npz", amplitude=amplitude, slope=slope, mean=maps.mean(0), std=maps.std(0, ddof=1))
    print("\n| code, method | amplitude | slope | mean map beside ours: rms [standard deviations] | r | standard deviations, ratio | seconds |")
    print("|---|---|---|---|---|---|---|")
    for i, (name, (a, da, s, ds), mean, std, seconds) in enumerate(rows):
        reference = rows[i - i % 2]
        off = np.sqrt(np.mean(((mean - reference[2]) / reference[3]) ** 2))
        r = np.corrcoef(mean.ravel(), reference[2].ravel())[0, 1]
        ratio = np.median(std / reference[3])
        print(f"| {name} | {a:+.2f} +- {da:.2f} | {s:+.2f} +- {ds:.2f} | {off:.2f} | {r:.3f} | {ratio:.2f} | {seconds:.0f} |")


main()
