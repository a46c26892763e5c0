"""How well do scores tell what a learned prior of Fashion-MNIST has not seen?

    LOOKBACK_DATA=... python3 benches/compare/learned/anomalies.py MODEL [MODEL ...]

Each MODEL is a folder of `lookback train examples/learn_fashion.toml`, with a seed of its own. Areas under the receiver operating curve: the test
set against digits (MNIST), and against itself mirrored and turned upside down; by each score, and with several models by the mean of their scores.
"""

import gzip
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

enter(__file__, ["numpy", "scipy"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402
from scipy.stats import rankdata  # noqa: E402

DATA = Path(os.environ["LOOKBACK_DATA"])
PLACE = Path(tempfile.mkdtemp())
SCORES = ("latent", "reconstruction", "combined")


def images(name):
    return np.frombuffer(gzip.open(DATA / f"{name}-images-idx3-ubyte.gz").read()[16:], np.uint8).reshape(-1, 28, 28)


def scores(model, array):
    np.save(PLACE / "in.npy", array)
    command = [ROOT / "target/release/lookback", "-q", "model", "score", model, PLACE / "in.npy", "-o", PLACE / "scores.csv"]
    subprocess.run(command, check=True)
    return np.genfromtxt(PLACE / "scores.csv", delimiter=",", names=True)


def area(usual, strange):
    """Chance that something usual has a higher score than something strange."""
    ranks = rankdata(np.concatenate([usual, strange]))[:len(usual)]
    return (ranks.mean() - (len(usual) + 1) / 2) / len(strange)


def main():
    test = images("fashion-mnist/t10k")
    sets = {"usual": test, "digits": images("mnist/t10k"), "mirrored": test[:, :, ::-1], "upside down": test[:, ::-1]}
    found = {}
    for model in sys.argv[1:]:
        found[model] = {name: scores(model, np.ascontiguousarray(array)) for name, array in sets.items()}
    strange = [name for name in sets if name != "usual"]
    print("| model | score | " + " | ".join(strange) + " |\n|---|---|" + "---|" * len(strange))
    rows = [(model, [of_model]) for model, of_model in found.items()]
    if len(found) > 1:
        rows.append(("mean of all", list(found.values())))
    for model, of_models in rows:
        for score in SCORES:
            mean = {name: np.mean([of_model[name][score] for of_model in of_models], axis=0) for name in sets}
            print(f"| {model} | `{score}` | " + " | ".join(f"{area(mean['usual'], mean[name]):.4f}" for name in strange) + " |")


main()
