"""Are the posteriors of incomplete and noisy pictures right? Coverage of pixels over the test sets of MNIST and Fashion-MNIST.

    LOOKBACK_DATA=... python3 benches/compare/learned/inpainting.py MODEL [IMAGES] [CASES] [SAMPLING] [ERRORS] [FACTOR]

MODEL is the folder of `lookback train examples/learn_digits.toml`. Cases: `columns` (the first 16 columns are missing), `noise` (standard
deviation 1.2 of the range of pixels), `both` (columns missing, noise 0.5); and for clothes, with the model of `examples/learn_fashion.toml`, `box` (rows 8 to 15
and columns 9 to 20 are missing, noise 0.1). For each, with the adaptive, the correlated and a diagonal error
of the decoder, and the factor that `lookback model calibrate MODEL .../t10k-images-idx3-ubyte.gz -n 24` found (with the last images; those that
are judged are the first; another FACTOR if it is given, and with `alike` what calibration finds where the same is missing and as noisy in the last 24 images): the share of true pixels within the central 68 and 95 % of 100 samples (where some are missing, of missing pixels; of pixels
whose standard deviation over the test set is at least a tenth of the range; the rank of a pixel that is equal to some samples, as most are that are exactly zero, is random
among theirs), the root mean square of truth minus mean, seconds until the modes are known and in all, and how many of 20 searches end at the best mode, and at one
of those that are kept.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

enter(__file__, ["numpy"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402
from ranks import ranks  # noqa: E402

MODEL = Path(sys.argv[1])
IMAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 200
CASES = sys.argv[3].split(",") if len(sys.argv) > 3 else ["columns", "noise", "both"]
SAMPLING = sys.argv[4] if len(sys.argv) > 4 else "laplace"
ERRORS = sys.argv[5].split(",") if len(sys.argv) > 5 else ["adaptive", "correlated", "diagonal"]
ALIKE = sys.argv[6:7] == ["alike"]
FACTOR = ["--error-factor", sys.argv[6]] if len(sys.argv) > 6 and not ALIKE else []
LOOKBACK = ROOT / "target/release/lookback"
# Noise [range of pixels], missing rows and columns.
KINDS = {"columns": (0.0, np.s_[:, :16]), "noise": (1.2, None), "both": (0.5, np.s_[:, :16]), "box": (0.1, np.s_[8:16, 9:21])}


def test_file(case):
    name = "fashion-mnist" if case == "box" else "mnist"
    return Path(os.environ["LOOKBACK_DATA"]) / name / "t10k-images-idx3-ubyte.gz"


def calibrated(case, data, noise, folder):
    """A copy of the model that was calibrated where as much is missing, and as noisy."""
    shutil.copytree(MODEL, folder / "model")
    done = subprocess.run([LOOKBACK, "model", "calibrate", folder / "model", test_file(case), "-n", "24", "--starts", "8",
                           "--like", data, "--noise-std", str(noise)], check=True, capture_output=True, text=True)
    print("".join(f"> {line}\n" for line in done.stdout.splitlines() if "file://" not in line), file=sys.stderr)
    return folder / "model"


def test_set(case):
    raw = gzip.open(test_file(case)).read()[16:]
    return np.frombuffer(raw, np.uint8).reshape(-1, 28, 28).astype(float)


def main():
    print(f"{IMAGES} images, {SAMPLING}, 100 samples each")
    print("| case | model's error | within 68 % | within 95 % | rms of truth - mean [of 255] | s to the modes, all (medians) | of 20 searches at the best (median, least) | at a mode | Pareto k, median |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        images = test_set(case)
        truth = images[:IMAGES]
        lively = images.std(0) > 25.5
        noise, missing = KINDS[case][0] * 255, KINDS[case][1]
        data = truth + noise * np.random.default_rng(2).normal(size=truth.shape)
        judged = lively
        if missing is not None:
            hidden = np.zeros((28, 28), bool)
            hidden[missing] = True
            data[:, hidden] = np.nan
            judged = lively & hidden
        folder = Path(tempfile.mkdtemp())
        np.save(folder / "data.npy", data.astype(np.float32))
        model = calibrated(case, folder / "data.npy", noise, folder) if ALIKE else MODEL
        for error in ERRORS:
            subprocess.run([LOOKBACK, "-q", "model", "reconstruct", model, folder / "data.npy", "--noise-std", str(noise),
                            "--model-error", error, *FACTOR, "--sampling", SAMPLING, "-o", folder / error], check=True)
            samples = np.load(folder / error / "samples.npy").reshape(IMAGES, 100, 28, 28)
            found = json.load(open(folder / error / "reconstruction.json"))["examples"]
            rank = ranks(truth, samples)[:, judged]
            within = [np.mean(np.abs(rank - 0.5) <= level / 2) for level in (0.68, 0.95)]
            miss = (truth - samples.mean(1))[:, judged]
            best, modes = ([e[f"starts_at_{what}"] for e in found] for what in ("best", "modes"))
            seconds = [np.median([e[what] for e in found]) for what in ("seconds_to_modes", "seconds")]
            print(f"| {case} | {error} | {100 * within[0]:.1f} | {100 * within[1]:.1f} | {np.sqrt((miss ** 2).mean()):.1f} "
                  f"| {seconds[0]:.2f}, {seconds[1]:.2f} | {np.median(best):.0f}, {min(best):.0f} | {np.median(modes):.0f}, {min(modes):.0f} "
                  f"| {np.median([e['pareto_k'] for e in found]):.2f} |", flush=True)


main()
