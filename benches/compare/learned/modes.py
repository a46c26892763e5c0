"""Do the modes of a posterior have the right weights? Digits whose left columns are missing, beside annealed importance and long chains.

    LOOKBACK_DATA=... python3 benches/compare/learned/modes.py MODEL [IMAGES] [DRAWS] [PARTICLES] [DIGITS]

MODEL is the folder of `lookback train examples/learn_digits.toml`. Of the first IMAGES test digits with 16 of 28 columns missing, those are
taken whose samples (`lookback model reconstruct --model-error correlated`: Gaussians at the modes, moved) are decoded to more than one digit, in the eyes of a
classifier that is trained here; with two DIGITS, as 35, of those that are one of them the three whose samples are most nearly half the one and half the other. For
each, the shares of its digits

- among 400 of these samples, and among 400 of `--sampling smc`;
- among PARTICLES (4096) particles of a sequential Monte Carlo (Del Moral et al. 2006) that is written here in numpy on the decoder alone: from the prior to the posterior, by powers of the likelihood
  that halve the effective number at most, with eight random-walk moves after each; twice, for its error;
- among DRAWS draws (a multiple of 4) of four chains of the No-U-Turn sampler (`--sampling nuts`), with how often a chain went over to another digit: where it seldom
  does, chains are no judge.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

enter(__file__, ["numpy", "safetensors", "torch"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402

MODEL = Path(sys.argv[1])
IMAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 100
DRAWS = int(sys.argv[3]) if len(sys.argv) > 3 else 400
PARTICLES = int(sys.argv[4]) if len(sys.argv) > 4 else 4096
DIGITS = [int(digit) for digit in sys.argv[5]] if len(sys.argv) > 5 else []
LOOKBACK = ROOT / "target/release/lookback"
MISSING, LEAST = 16, 0.1
PLACE = Path(tempfile.mkdtemp())


def read(name, header):
    return np.frombuffer(gzip.open(Path(os.environ["LOOKBACK_DATA"]) / "mnist" / name).read()[header:], np.uint8)


def classifier():
    """What digit an image shows: two convolutions and two dense layers, three epochs."""
    torch.manual_seed(1)
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                        nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10))
    images = torch.tensor(read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28) / 255, dtype=torch.float32)
    labels = torch.tensor(read("train-labels-idx1-ubyte.gz", 8).astype(np.int64))
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(3):
        for rows in torch.randperm(len(images)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimiser.step()

    def digits(latents):
        x = torch.tensor(decode(latents).clip(0, 255) / 255, dtype=torch.float32).reshape(-1, 1, 28, 28)
        with torch.no_grad():
            found = torch.cat([net(part).argmax(1) for part in x.split(1000)]).numpy()
        return found.reshape(latents.shape[:-1])

    return digits


def decode(latents):
    """Images of standard normal latents, a row each."""
    np.save(PLACE / "u.npy", latents.reshape(-1, latents.shape[-1]).astype(np.float32))
    subprocess.run([LOOKBACK, "-q", "model", "decode", MODEL, PLACE / "u.npy", "-o", PLACE / "x.npy", "--normal"], check=True)
    return np.load(PLACE / "x.npy").reshape(-1, 28 * 28)


def posterior(data):
    """Minus the log likelihood of rows of latents, from the covariance of the decoder's error in the model's file."""
    seen = np.isfinite(data.ravel())
    with safe_open(MODEL / "model.safetensors", "np") as file:
        card = json.loads(file.metadata()["lookback_card"])
        variance, factors = file.get_tensor("error.variance"), file.get_tensor("error.factors")
    covariance = (np.diag(variance) + factors.T @ factors)[np.ix_(seen, seen)].astype(float)
    root = np.linalg.cholesky(covariance * card["error_factor"] * card["scaling"]["scale"] ** 2)
    wanted = data.ravel()[seen]
    return lambda u: 0.5 * (np.linalg.solve(root, (decode(u)[:, seen] - wanted).T) ** 2).sum(0)


def annealed(energy, dimensions, seed, particles=PARTICLES, moves=8):
    """Draws of the posterior by sequential Monte Carlo from the prior, and how many powers of the likelihood that took."""
    random = np.random.default_rng(seed)
    u = random.normal(size=(particles, dimensions))
    e, power, powers = energy(u), 0.0, 0
    while power < 1:
        low, high = power, 1.0
        for _ in range(60):
            middle = 0.5 * (low + high) if high - low > 1e-12 else high
            weights = np.exp(-(middle - power) * (e - e.min()))
            enough = weights.sum() ** 2 / (weights**2).sum() > particles / 2
            low, high = (middle, high) if enough else (low, middle)
        new = 1.0 if high == 1.0 and low > 1 - 1e-9 else low
        weights = np.exp(-(new - power) * (e - e.min()))
        # Systematic resampling.
        at = (random.uniform() + np.arange(particles)) / particles
        kept = np.minimum(np.searchsorted(np.cumsum(weights) / weights.sum(), at), particles - 1)
        u, e, power, powers = u[kept], e[kept], new, powers + 1
        for _ in range(moves):
            step = np.linalg.cholesky(np.cov(u.T) + 1e-9 * np.eye(dimensions)) * 2.38 / np.sqrt(dimensions)
            size = random.choice([0.2, 0.5, 1.0], size=(particles, 1))
            proposed = u + size * (random.normal(size=u.shape) @ step.T)
            there = energy(proposed)
            change = power * (there - e) + 0.5 * ((proposed**2).sum(1) - (u**2).sum(1))
            taken = np.log(random.uniform(size=particles)) < -change
            u[taken], e[taken] = proposed[taken], there[taken]
    return u, powers


def latents(data, samples, sampling):
    np.save(PLACE / "data.npy", data.astype(np.float32))
    subprocess.run([LOOKBACK, "-q", "model", "reconstruct", MODEL, PLACE / "data.npy", "--samples", str(samples), "--sampling", sampling,
                    "--model-error", "correlated", "-o", PLACE / sampling], check=True)
    found = json.load(open(PLACE / sampling / "reconstruction.json"))["examples"]
    return np.load(PLACE / sampling / "latents.npy").reshape(len(data), samples, -1), found


def pull(pairs):
    pulls = np.array(pairs)
    return f"rms of the differences over their errors {np.sqrt((pulls**2).mean()):.2f}, beyond two errors {(abs(pulls) > 2).mean():.0%}"


def main():
    digits = classifier()
    data = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:IMAGES].astype(float)
    data[:, :, :MISSING] = np.nan
    labels = read("t10k-labels-idx1-ubyte.gz", 8)[:IMAGES]
    numbers = np.flatnonzero(np.isin(labels, DIGITS or range(10)))
    data = data[numbers]
    first, _ = latents(data, 100, "laplace")
    seen = digits(first).reshape(len(data), -1)
    shares = np.array([np.bincount(row, minlength=10) / len(row) for row in seen])
    both = np.sort(shares, axis=1)[:, -2] if not DIGITS else shares[:, DIGITS].min(axis=1)
    chosen = [i for i in range(len(data)) if both[i] >= LEAST]
    what = f"both {DIGITS[0]} and {DIGITS[1]}" if DIGITS else "a second digit"
    print(f"{len(chosen)} of {len(data)} images show {what} in at least {LEAST:.0%} of their samples", flush=True)
    if DIGITS:
        chosen = sorted(sorted(chosen, key=lambda i: -both[i])[:3])
    ways, seconds = {}, {}
    for way in ("laplace", "smc"):
        many, found = latents(data[chosen], 400, way)
        ways[way] = digits(many).reshape(len(chosen), -1)
        seconds[way] = np.median([e["seconds"] for e in found])
    chains, found = latents(data[chosen], DRAWS, "nuts")
    seconds["chains"] = np.median([e["seconds"] for e in found])
    chains = digits(chains).reshape(len(chosen), 4, -1)
    print("| image | digit | laplace | smc | error | annealed | error | chains | error | changes of digit a chain |\n|---|---|---|---|---|---|---|---|---|---|")
    pulls = {(way, judge): [] for way in ways for judge in ("annealed", "chains")}
    for k, image in enumerate(chosen):
        energy = posterior(data[image])
        judged = np.array([digits(annealed(energy, first.shape[-1], seed)[0]) for seed in (1, 2)])
        changes = (np.diff(chains[k], axis=1) != 0).sum(1).mean()
        for digit in DIGITS or np.argsort(-shares[image])[:2]:
            mine = {way: (seen[k] == digit).mean() for way, seen in ways.items()}
            each, twice = (chains[k] == digit).mean(1), (judged == digit).mean(1)
            spread = max(twice.mean() * (1 - twice.mean()), 1e-3)
            own = np.sqrt(spread / 400)
            # Two runs say little of their own error: at least that of as many independent draws as an eighth of their particles.
            half = max(twice.std(ddof=1) / np.sqrt(2), np.sqrt(spread / (PARTICLES / 4)))
            error = each.std(ddof=1) / 2
            for way in ways:
                pulls[way, "annealed"].append((mine[way] - twice.mean()) / np.hypot(own, half))
                pulls[way, "chains"].append((mine[way] - each.mean()) / np.hypot(own, error))
            print(f"| {numbers[image]} | {digit} | {mine['laplace']:.3f} | {mine['smc']:.3f} | {own:.3f} | {twice.mean():.3f} | {half:.3f} | {each.mean():.3f} "
                  f"| {error:.3f} | {changes:.0f} |", flush=True)
    for (way, judge), some in pulls.items():
        print(f"{way} beside {judge}: {pull(some)}")
    print("seconds an image: " + ", ".join(f"{way} {time:.1f}" for way, time in seconds.items()))


main()
