"""MUSE on the noisy funnel: Lookback beside numpy and scipy, alternately, in one run.

    python3 benches/compare/muse/run.py [LATENTS] [SIMULATIONS] [THETA]

The package of the method's authors is not on the package index, and gives wrong error bars with present numpy and JAX. The peer here
is the published algorithm as that package carries it out (Millea & Seljak 2021, section II): scipy's L-BFGS-B for the maxima, stopped
when the score changes by less than `tolerance` of its standard deviation, damped Newton steps from the scatter of the scores, the
same random numbers at every step, H by finite differences. Both get the same data. Times are CPU seconds, of all threads.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter

PROGRAM = ROOT / "target" / "release" / "examples" / "muse_funnel"
SETS = 3

enter(__file__, ["numpy", "scipy"], ["-p", "lookback-inference", "--example", "muse_funnel"], OMP_NUM_THREADS="1")

import numpy as np
import scipy
import scipy.optimize

LATENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
SIMULATIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 100
TRUTH = sys.argv[3] if len(sys.argv) > 3 else "0"
PRIOR = 3.0


class Still(Exception):
    """The score has stopped changing."""


def peer(data, simulations, tolerance=1e-2, step=0.7):
    gradients = 0

    def simulate(which, theta):
        rng = np.random.default_rng([1, which])
        return np.exp(theta / 2) * rng.normal(size=LATENTS) + rng.normal(size=LATENTS)

    def score_of(z, theta):
        return 0.5 * np.exp(-theta) * (z @ z) - LATENTS / 2

    def maximum(x, theta, start, scale):
        last = [start, np.inf]

        def energy(z):
            nonlocal gradients
            gradients += 1
            return 0.5 * np.sum((x - z) ** 2) + 0.5 * np.exp(-theta) * (z @ z), z - x + np.exp(-theta) * z

        def look(z):
            score = score_of(z, theta)
            done = abs(score - last[1]) < tolerance * scale
            last[:] = [z.copy(), score]
            if done:
                raise Still

        try:
            scipy.optimize.minimize(energy, start, jac=True, method="L-BFGS-B", callback=look, tol=1e-8)
        except Still:
            pass
        return last[0], score_of(last[0], theta)

    theta, scale = 0.0, 1.0
    peaks = [np.zeros(LATENTS)] * (simulations + 1)
    for iteration in range(50):
        sets = [data] + [simulate(i, theta) for i in range(1, simulations + 1)]
        found = [maximum(x, theta, z, scale) for x, z in zip(sets, peaks)]
        peaks, scores = [z for z, _ in found], np.array([s for _, s in found])
        variance = scores[1:].var(ddof=1)
        scale = np.sqrt(variance)
        curvature = variance + 1 / PRIOR**2
        move = (scores[0] - scores[1:].mean() - theta / PRIOR**2) / curvature
        theta += step * move
        if abs(step * move) * np.sqrt(curvature) < tolerance:
            break
    responses, apart = [], 0.1 / scale
    for i in range(1, max(simulations // 10, 10) + 1):
        above, below = (maximum(simulate(i, theta + side * apart), theta, peaks[i], scale)[1] for side in (1, -1))
        responses.append((above - below) / (2 * apart))
    sigma = (np.mean(responses) ** 2 / variance + 1 / PRIOR**2) ** -0.5
    return theta, sigma, iteration + 1, gradients


def exact(data):
    theta = np.linspace(-10, 10, 400_001)
    variance = 1 + np.exp(theta)
    log = -0.5 * (theta / PRIOR) ** 2 - 0.5 * (data @ data) / variance - 0.5 * len(data) * np.log(variance)
    weight = np.exp(log - log.max())
    mean = (weight @ theta) / weight.sum()
    return mean, np.sqrt(weight @ (theta - mean) ** 2 / weight.sum())


def ours():
    """The table of our program without its header, and CPU seconds of one estimate."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [PROGRAM, "table", str(LATENTS), str(SIMULATIONS), str(SETS), TRUTH]
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ, RAYON_NUM_THREADS="2"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return out.stdout.splitlines()[2:], seconds / (2 * SETS)


lines = subprocess.run([PROGRAM, "data", str(LATENTS), "0", str(SETS), TRUTH], check=True, capture_output=True, text=True)
data = [np.array(line.split(), float) for line in lines.stdout.splitlines()]
print(f"numpy {np.__version__}, scipy {scipy.__version__}; {LATENTS} latents, {SIMULATIONS} simulations, theta = {TRUTH}, float64\n")
print("| | bias / sigma | sigma / exact | evaluations of the score | gradients | CPU seconds |\n|---|---|---|---|---|---|")
peers, own = [], []
for which, x in enumerate(data):
    began = time.process_time()
    theta, sigma, evaluations, gradients = peer(x, SIMULATIONS)
    peers.append(time.process_time() - began)
    mean, std = exact(x)
    row = f"{(theta - mean) / std:+.3f} | {sigma / std:.3f} | {evaluations} | {gradients} | {peers[-1]:.2f}"
    print(f"| numpy and scipy, data {which} | {row} |")
    rows, seconds = ours()
    own.append(seconds)
for row in rows:
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    print(f"| Lookback, {cells[0]} | {' | '.join(cells[1:5])} | {statistics.median(own):.3f} |")
print(f"\nratio of CPU seconds {statistics.median(peers) / statistics.median(own):.1f}")
