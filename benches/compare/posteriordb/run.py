"""Lookback's samplers on posteriors with reference draws (posteriordb, BSD-3).

    python3 benches/compare/posteriordb/run.py FOLDER [DRAWS] [both] [NAME ...]

FOLDER holds, for each posterior, `NAME.json` (its data and the moments of its reference draws) and `densities.py`, whose
dictionary `PUBLIC` gives for each name a function from data to `(dimension, log density, constrain)` in JAX. Prints a table:
distance of means and standard deviations from the reference in their joint Monte-Carlo standard errors, and effective sample sizes of the
worst parameter per 1000 gradients, those of the warm-up included. `both`: also with a metric taken from the curvature around the maximum.
Names, as those of the files, choose among the posteriors.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter

enter(__file__, ["numpy", "jax", "arviz<1", ROOT / "python"])

import arviz
import jax
import lookback as lb
import numpy as np

folder = Path(sys.argv[1])
DRAWS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
BOTH = "both" in sys.argv[3:]
NAMES = [name for name in sys.argv[3:] if name != "both"]
CHAINS, WARMUP = 4, 500
sys.path.insert(0, str(folder))
import densities

PUBLISHED = {  # numpyro's NUTS, worst ESS per 1000 gradients, measured on these densities
    "eight_schools-eight_schools_noncentered": 76.6, "kidiq-kidscore_momiq": 10.8, "sblrc-blr": 12.8, "arK-arK": 22.8,
    "garch-garch11": 40.7, "earnings-logearn_interaction": 1.5, "nes1980-nes": 9.9, "gp_pois_regr-gp_pois_regr": 2.2,
    "hmm_example-hmm_example": 41.8, "diamonds-diamonds": 0.3, "low_dim_gauss_mix-low_dim_gauss_mix": 157,
    "kilpisjarvi_mod-kilpisjarvi": 0.4,
}


def sample(name, precondition):
    entry = json.loads((folder / f"{name}.json").read_text())
    dim, log_density, constrain = densities.PUBLIC[name](entry["data"])
    both = jax.jit(jax.value_and_grad(lambda u: -log_density(u)))
    both(np.zeros(dim))[0].block_until_ready()
    count = [0]

    def energy(u):
        count[0] += 1
        value, slope = both(u)
        return float(value), np.asarray(slope)

    posterior = lb.energy(energy, dim=dim)
    arguments = dict(chains=CHAINS, warmup=WARMUP, start_scale=0.5, precondition=precondition)
    began = time.perf_counter()
    result = lb.nuts(posterior, draws=DRAWS, **arguments)
    seconds = time.perf_counter() - began
    gradients = count[0]
    values = jax.vmap(constrain)(np.asarray(result.samples))
    # Samples of the chains take turns.
    draws = {key: np.asarray(value).reshape(DRAWS, CHAINS).T for key, value in values.items()}
    data = arviz.convert_to_dataset(draws)
    ess = min(float(value) for value in arviz.ess(data).values())
    r_hat = max(float(value) for value in arviz.rhat(data).values())
    means, widths, ratios = [], [], []
    for parameter in entry["parameters"]:
        if parameter["name"] not in draws:
            continue
        x = draws[parameter["name"]]
        mean_error = float(arviz.mcse(arviz.convert_to_dataset(x))["x"])
        std_error = float(arviz.mcse(arviz.convert_to_dataset(x), method="sd")["x"])
        std, count_reference = x.std(), parameter["ess_bulk"]
        means.append(abs(x.mean() - parameter["mean"]) / np.hypot(mean_error, parameter["mcse_mean"]))
        # The relative error of a standard deviation is sqrt((kurtosis - 1) / 4 n).
        kurtosis = np.mean((x - x.mean()) ** 4) / std**4
        reference_error = parameter["sd"] * np.sqrt((kurtosis - 1) / (4 * count_reference))
        widths.append(abs(std - parameter["sd"]) / np.hypot(std_error, reference_error))
        ratios.append(std / parameter["sd"])
    divergences = result.figures.get("divergences", float("nan"))
    return dim, max(means), max(widths), min(ratios), max(ratios), 1e3 * ess / gradients, r_hat, divergences, gradients, seconds


print(f"{CHAINS} chains of {WARMUP} + {DRAWS} draws, NUTS\n")
print("| posterior | d | coordinates | means off, worst | sd off, worst | sd ratio | ESS per 1000 gradients, warm-up included | numpyro, without | R-hat | divergences | gradients in all | s |")
print("|---|---|---|---|---|---|---|---|---|---|---|---|")
for name in NAMES or densities.PUBLIC:
    if not (folder / f"{name}.json").exists():
        print(f"| {name} | no data here |", flush=True)
        continue
    for precondition, words in ((None, "diagonal"), (1000, "around the maximum"))[: 2 if BOTH else 1]:
        try:
            d, mean, width, low, high, ess, r_hat, divergences, gradients, seconds = sample(name, precondition)
        except lb.LookbackError as error:
            print(f"| {name} | | {words} | {error} |", flush=True)
            continue
        print(f"| {name.split('-', 1)[1]} | {d} | {words} | {mean:.2f} | {width:.2f} | {low:.3f}-{high:.3f} | {ess:.1f} | {PUBLISHED[name]} | {r_hat:.3f} | {divergences:.0f} | {gradients} | {seconds:.0f} |", flush=True)
