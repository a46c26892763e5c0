"""Do the modes of a posterior have the right weights? Digits whose left columns are missing, beside long chains.

    LOOKBACK_DATA=... python3 benches/compare/learned/modes.py MODEL [IMAGES] [DRAWS]

MODEL is the folder of `lookback train examples/learn_digits.toml`. Of the first IMAGES test digits with 16 of 28 columns missing, those are
taken whose samples (`lookback model reconstruct`: Gaussians at the modes, moved) are decoded to more than one digit, in the eyes of a classifier that is trained
here. For each: the shares of its digits among these samples, and among DRAWS draws of four chains of the No-U-Turn sampler (`--sampling nuts`), with their
Monte-Carlo error from the four chains, and how often a chain went over to another digit: where it seldom does, the chains are no judge.
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

enter(__file__, ["numpy", "torch"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402
import torch  # noqa: E402

MODEL = Path(sys.argv[1])
IMAGES = int(sys.argv[2]) if len(sys.argv) > 2 else 100
DRAWS = int(sys.argv[3]) if len(sys.argv) > 3 else 4000
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
        np.save(PLACE / "u.npy", latents.reshape(-1, latents.shape[-1]))
        subprocess.run([LOOKBACK, "-q", "model", "decode", MODEL, PLACE / "u.npy", "-o", PLACE / "x.npy", "--normal"], check=True)
        x = torch.tensor(np.load(PLACE / "x.npy").clip(0, 255) / 255, dtype=torch.float32).reshape(-1, 1, 28, 28)
        with torch.no_grad():
            found = torch.cat([net(part).argmax(1) for part in x.split(1000)]).numpy()
        return found.reshape(latents.shape[:-1])

    return digits


def latents(data, samples, sampling):
    np.save(PLACE / "data.npy", data.astype(np.float32))
    subprocess.run([LOOKBACK, "-q", "model", "reconstruct", MODEL, PLACE / "data.npy", "--samples", str(samples), "--sampling", sampling,
                    "-o", PLACE / sampling], check=True)
    found = json.load(open(PLACE / sampling / "reconstruction.json"))["examples"]
    return np.load(PLACE / sampling / "latents.npy").reshape(len(data), samples, -1), found


def main():
    digits = classifier()
    data = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:IMAGES].astype(float)
    data[:, :, :MISSING] = np.nan
    first, _ = latents(data, 100, "laplace")
    seen = digits(first)
    shares = np.array([np.bincount(row, minlength=10) / len(row) for row in seen])
    chosen = [i for i in range(IMAGES) if np.sort(shares[i])[-2] >= LEAST]
    print(f"{len(chosen)} of {IMAGES} images show a second digit in at least {LEAST:.0%} of their samples")
    many, _ = latents(data[chosen], 400, "laplace")
    chains, found = latents(data[chosen], DRAWS, "nuts")
    many, chains = digits(many), digits(chains).reshape(len(chosen), 4, -1)
    print("| image | digit | share, Gaussians moved | share, chains | error | changes of digit a chain | seconds |\n|---|---|---|---|---|---|---|")
    pulls = []
    for k, image in enumerate(chosen):
        changes = (np.diff(chains[k], axis=1) != 0).sum(1).mean()
        for digit in np.argsort(-shares[image])[:2]:
            mine = (many[k] == digit).mean()
            each = (chains[k] == digit).mean(1)
            error = np.hypot(each.std(ddof=1) / 2, np.sqrt(max(mine * (1 - mine), 1e-4) / 400))
            pulls.append((mine - each.mean()) / error)
            print(f"| {image} | {digit} | {mine:.3f} | {each.mean():.3f} | {error:.3f} | {changes:.0f} | {found[k]['seconds']:.1f} |", flush=True)
    pulls = np.array(pulls)
    print(f"rms of the differences over their errors: {np.sqrt((pulls ** 2).mean()):.2f}; beyond two errors: {(abs(pulls) > 2).mean():.0%}")


main()
