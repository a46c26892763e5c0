"""Which radio galaxies are strange? The classes of the strangest of FIRST, which no training has seen, and a picture of them.

    LOOKBACK_DATA=... python3 benches/compare/learned/first_anomalies.py MODEL [PICTURE.svg]

MODEL is the folder of `lookback train examples/learn_radio_galaxies.toml`. For each score, the share of each class among the 100 strangest of all
galaxies, beside its share of all.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

enter(__file__, ["numpy"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402

GALAXIES = Path(os.environ["LOOKBACK_DATA"]) / "radio_galaxies/first_radio_galaxies_64.npz"
STRANGE = 100


def main():
    table = Path(tempfile.mkdtemp()) / "scores.csv"
    picture = ["--picture", sys.argv[2], "--top", "32"] if len(sys.argv) > 2 else []
    subprocess.run([ROOT / "target/release/lookback", "-q", "model", "score", sys.argv[1], f"{GALAXIES}#images", "-o", table, *picture], check=True)
    scores = np.genfromtxt(table, delimiter=",", names=True)
    data = np.load(GALAXIES, allow_pickle=True)
    labels, classes = data["label"], [str(name) for name in data["classes"]]
    print("| of these | " + " | ".join(classes) + " |\n|---|" + "---|" * len(classes))
    rows = [("all", np.arange(len(labels)))]
    rows += [(f"the {STRANGE} strangest by `{by}`", np.argsort(scores[by])[:STRANGE]) for by in ("latent", "reconstruction", "combined")]
    for name, chosen in rows:
        shares = [f"{100 * np.mean(labels[chosen] == label):.0f} %" for label in range(len(classes))]
        print(f"| {name} | " + " | ".join(shares) + " |")


main()
