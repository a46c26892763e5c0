"""Is inference with a learned prior right, where the model is? A small model, and data that it made itself.

    python3 benches/compare/learned/calibrate.py [DATA_SETS] [MODEL]

Trains a model of blobs on 8 x 8 pixels with 4 latents; ranks truths by `lookback calibrate` (NUTS, with the model's error as latents); and
draws signals from the model with its error, hides the left half, adds noise, and ranks true pixels among the samples of
`lookback model reconstruct`. With MODEL, the folder of `lookback train examples/learn_digits.toml`, the first of these on its digits, behind
noise of half the range of pixels.
"""

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

enter(__file__, ["numpy"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402
from ranks import ranks  # noqa: E402

LOOKBACK = ROOT / "target" / "release" / "lookback"
SETS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
MODEL = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None
NOISE = 0.1

TRAIN = """
title = "Blobs"
[data]
train = "blobs.npy"
[autoencoder]
latents = 4
[autoencoder.architecture]
encoder = [{ kind = "dense", outputs = 48 }, { kind = "activation", function = "silu" }, { kind = "dense", outputs = 4 }]
decoder = [{ kind = "dense", outputs = 48 }, { kind = "activation", function = "silu" }, { kind = "dense", outputs = 64 }]
[training]
epochs = 60
batch = 50
learning_rate = 5e-3
[flow]
layers = 3
hidden = 24
training = { epochs = 12, batch = 100 }
[model_error]
rank = 4
"""

RUN = """
title = "A learned prior behind noise"
seed = 9
[sky]
pixels = [{side}, {side}]
pixel_arcmin = 1.0
[prior.signal]
kind = "learned"
model = "{model}"
[data]
kind = "mock"
noise_std = [{noise}]
[method]
kind = "nuts"
chains = 2
warmup = 200
draws = 200
"""


def arrays(path):
    """The arrays of a safetensors file."""
    raw = path.read_bytes()
    size, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + size])
    body = raw[8 + size:]
    return {name: np.frombuffer(body[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


def main():
    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(1)

    def lookback(*arguments):
        subprocess.run([LOOKBACK, *map(str, arguments)], check=True, cwd=folder)

    if MODEL is not None:
        (folder / "run.toml").write_text(RUN.format(side=28, model=MODEL, noise=0.5 * 255))
        lookback("calibrate", "run.toml", "-n", SETS)
        return

    y, x = np.mgrid[:8, :8]
    place, width, height = rng.uniform(1.5, 5.5, (2000, 2, 1, 1)), rng.uniform(1, 2, (2000, 1, 1)), rng.uniform(0.4, 1, (2000, 1, 1))
    np.save(folder / "blobs.npy", height * np.exp(-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / (2 * width**2)))
    (folder / "blobs.toml").write_text(TRAIN)
    (folder / "run.toml").write_text(RUN.format(side=8, model="models/blobs", noise=NOISE))
    lookback("-q", "train", "blobs.toml")
    lookback("calibrate", "run.toml", "-n", SETS)

    model = folder / "models/blobs"
    scale = json.loads((model / "card.json").read_text())["scaling"]["scale"]
    error = arrays(model / "model.safetensors")
    lookback("-q", "model", "sample", model, "-n", SETS, "--seed", 5, "-o", "made.npy")
    truth = np.load(folder / "made.npy").astype(float)
    wrong = rng.normal(size=(SETS, 4)) @ error["error.factors"] + rng.normal(size=(SETS, 64)) * np.sqrt(error["error.variance"])
    truth += scale * wrong.reshape(truth.shape)
    data = truth + NOISE * rng.normal(size=truth.shape)
    data[:, :, :4] = np.nan
    np.save(folder / "data.npy", data.astype(np.float32))
    lookback("-q", "model", "reconstruct", model, "data.npy", "--noise-std", NOISE, "--model-error", "correlated", "-o", "found",
             "--samples", 200)
    samples = np.load(folder / "found/samples.npy").reshape(SETS, 200, 8, 8)
    rank = ranks(truth, samples)
    print("\n| true pixels | within 68 % | within 95 % | rms of (truth - mean) / std |\n|---|---|---|---|")
    for name, columns in (("missing", slice(0, 4)), ("seen", slice(4, 8))):
        part = np.abs(rank[:, :, columns] - 0.5)
        pull = ((truth - samples.mean(1)) / samples.std(1))[:, :, columns]
        print(f"| {name} | {100 * (part <= 0.34).mean():.1f} | {100 * (part <= 0.475).mean():.1f} | {np.sqrt((pull**2).mean()):.2f} |")
    found = json.load(open(folder / "found/reconstruction.json"))["examples"]
    print(f"median Pareto k {np.median([e['pareto_k'] for e in found]):.2f}, {np.median([e['seconds'] for e in found]):.3f} s an example")


main()
