"""How good a learned prior of Fashion-MNIST is: errors, samples, and its flow beside nflows'; `anomalies.py` is about anomalies.

    LOOKBACK_DATA=... python3 benches/compare/learned/quality.py MODEL [EPOCHS]

MODEL is the folder of `lookback train examples/learn_fashion.toml`, or of another number of latents. Everything is computed here, from
the arrays that `lookback model` writes:

- mean squared error of a pixel of the test set, pixels between 0 and 1;
- Frechet distances between features of a classifier that is trained here (two convolutions and a dense layer of 128, whose outputs are the
  features): reconstructions, samples through the flow, samples whose latents are N(0, 1), and the training set, against the test set;
- with EPOCHS, test log density and time of our flows on the latents, beside nflows' of the same kind and size.
"""

import gzip
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

enter(__file__, ["torch", "nflows", "scipy"], ["-p", "lookback-cli"])

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import torch  # noqa: E402

DATA = Path(os.environ["LOOKBACK_DATA"])
LOOKBACK = ROOT / "target" / "release" / "lookback"
MODEL = Path(sys.argv[1])
PLACE = Path(tempfile.mkdtemp())


def idx(name, what="images"):
    kind = "idx3" if what == "images" else "idx1"
    bytes_ = gzip.open(DATA / f"{name}-{what}-{kind}-ubyte.gz").read()
    return np.frombuffer(bytes_[16 if what == "images" else 8:], np.uint8).reshape((-1, 28, 28) if what == "images" else -1)


def model(verb, *arguments):
    subprocess.run([LOOKBACK, "model", verb, MODEL, *map(str, arguments)], check=True)


def through(verb, array, *options):
    """The array that a verb makes of another."""
    np.save(PLACE / "in.npy", array)
    model(verb, PLACE / "in.npy", "-o", PLACE / "out.npy", *options)
    return np.load(PLACE / "out.npy")


def classifier(images, labels):
    """Features of a small classifier, trained for three epochs."""
    torch.manual_seed(1)
    nn = torch.nn
    body = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(64 * 49, 128), nn.ReLU())
    head = nn.Linear(128, 10)
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-3)
    x, y = torch.tensor(images / 255, dtype=torch.float32)[:, None], torch.tensor(labels.astype(np.int64))
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(body(x[rows])), y[rows]).backward()
            optimiser.step()

    def features(images):
        with torch.no_grad():
            x = torch.tensor(np.ascontiguousarray(images) / 255, dtype=torch.float32)[:, None]
            return torch.cat([body(part) for part in x.split(1000)]).double().numpy()

    def accuracy(images, labels):
        with torch.no_grad():
            x = torch.tensor(images / 255, dtype=torch.float32)[:, None]
            return float((head(body(x)).argmax(1).numpy() == labels).mean())

    return features, accuracy


def frechet(a, b):
    """Frechet distance of two Gaussians with the moments of the features (Heusel et al. 2017, eq. 6)."""
    (m1, c1), (m2, c2) = [(x.mean(0), np.cov(x.T)) for x in (a, b)]
    root = scipy.linalg.sqrtm(c1 @ c2)
    return float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real))


def sample_quality(train, test):
    features, accuracy = classifier(train, idx("fashion-mnist/train", "labels"))
    print(f"\nclassifier: {accuracy(test, idx('fashion-mnist/t10k', 'labels')):.4f} of the test set right")
    model("sample", "-n", 10000, "--seed", 1, "-o", PLACE / "samples.npy")
    latents = through("encode", test)
    standard = np.random.default_rng(1).normal(size=latents.shape).astype(np.float32)
    gaussian = (latents.mean(0) + standard @ np.linalg.cholesky(np.cov(latents.T)).T).astype(np.float32)
    independent = (latents.mean(0) + latents.std(0) * standard).astype(np.float32)
    sets = {
        "training set": train[:10000],
        "reconstructions": through("decode", latents),
        "samples, through the flow": np.load(PLACE / "samples.npy"),
        "samples, Gaussian latents": through("decode", gaussian),
        "samples, independent latents": through("decode", independent),
        "samples, N(0, 1) latents": through("decode", standard),
    }
    target = features(test)
    print("\n| against the test set | Frechet distance |\n|---|---|")
    for name, images in sets.items():
        print(f"| {name} | {frechet(features(np.clip(images, 0, 255)), target):.2f} |", flush=True)


def nflows_kinds(n):
    """Flows of nflows that are as large as ours: eight couplings, or five autoregressive steps."""
    from nflows.transforms import (CompositeTransform, LULinear, MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
                                   PiecewiseRationalQuadraticCouplingTransform, ReversePermutation)
    from nflows.nn.nets import ResidualNet
    silu = torch.nn.functional.silu
    couplings = []
    for layer in range(8):
        mask = (torch.arange(n) >= n // 2) ^ bool(layer % 2)
        couplings += [LULinear(n, identity_init=True), PiecewiseRationalQuadraticCouplingTransform(
            mask.int(), lambda i, o: ResidualNet(i, o, 128, num_blocks=1, activation=silu), num_bins=8, tails="linear",
            tail_bound=4.0)]
    steps = []
    for _ in range(AUTOREGRESSIVE):
        steps += [LULinear(n, identity_init=True), ReversePermutation(n), MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            n, 256, num_blocks=1, num_bins=8, tails="linear", tail_bound=4.0, activation=silu)]
    last = [LULinear(n, identity_init=True)]
    return {"spline coupling": CompositeTransform(couplings + last), "spline autoregressive": CompositeTransform(steps + last)}


AUTOREGRESSIVE = 5


def peer_flow(transform, z, held, epochs):
    """Mean log density of held latents, and seconds of training: Adam with a cosine schedule, as ours."""
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    mean, std = z.mean(0), z.std(0)
    n = z.shape[1]
    flow = Flow(transform, StandardNormal([n]))
    x = torch.tensor((z - mean) / std)
    optimiser = torch.optim.Adam(flow.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(x) // 128), 1e-5)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128)[:len(x) // 128]:
            optimiser.zero_grad()
            noisy = x[rows] + 0.02 * torch.randn(len(rows), n)
            (-flow.log_prob(noisy).mean()).backward()
            optimiser.step()
            schedule.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        held = torch.tensor((held - mean) / std)
        return torch.cat([flow.log_prob(part) for part in held.split(1000)]).mean().item() - np.log(std).sum(), seconds


def our_flow(options, latents, test, epochs):
    """The same of a flow of ours, on the autoencoder that there is: what a training without epochs takes is taken off."""
    folder = PLACE / "flow"
    section = options.format(epochs=epochs)
    (PLACE / "flow.toml").write_text(f"""
seed = 1
start = "{(MODEL / "model.safetensors").resolve()}"
[data]
train = "$LOOKBACK_DATA/fashion-mnist/train-images-idx3-ubyte.gz"
validation = 0.05
scaling = "range"
[autoencoder]
latents = {latents}
architecture = "convolutional"
[training]
epochs = 0
[model_error]
channels = 0
[flow]
{section}
""")
    start = time.perf_counter()
    subprocess.run([LOOKBACK, "-q", "train", PLACE / "flow.toml", "-o", folder, "--overwrite"], check=True)
    seconds = time.perf_counter() - start
    np.save(PLACE / "in.npy", test)
    subprocess.run([LOOKBACK, "model", "log-prob", folder, PLACE / "in.npy", "-o", PLACE / "log_prob.npy"], check=True)
    return np.load(PLACE / "log_prob.npy").mean(), seconds


# The training of likelihoods is the same for all; matching has cheaper steps, and needs more of them.
OURS = {
    "spline coupling": 'training = {{ epochs = {epochs}, average = 200 }}',
    "spline autoregressive": 'kind = "spline_autoregressive"\nlayers = 5\nhidden = 256\ntraining = {{ epochs = {epochs}, average = 200 }}',
    "sliced": 'kind = "sliced"',
    "flow matching": 'kind = "flow_matching"\nlayers = 16\nhidden = 256\n'
                     'training = {{ epochs = {epochs}0, learning_rate = 5e-3, average = 1000 }}',
}


def flows(train, test, epochs):
    torch.manual_seed(1)
    torch.set_num_threads(2)
    z, held = through("encode", train), through("encode", test)
    n = z.shape[1]
    covariance = np.cov(z.T)
    r = held - z.mean(0)
    gaussian = -0.5 * (np.einsum("ij,ij->i", r, np.linalg.solve(covariance, r.T).T).mean() + np.linalg.slogdet(2 * np.pi * covariance)[1])
    print(f"\n| flow of {n} latents, {epochs} epochs | test log density | seconds |\n|---|---|---|\n| Gaussian | {gaussian:.2f} | |", flush=True)
    _, without = our_flow("training = {{ epochs = 0 }}", n, test, epochs)
    peers = nflows_kinds(n)
    for name, options in OURS.items():
        density, seconds = our_flow(options, n, test, epochs)
        print(f"| {name}, Lookback | {density:.2f} | {seconds - without:.0f} |", flush=True)
        if name in peers:
            density, seconds = peer_flow(peers[name], z, held, epochs)
            print(f"| {name}, nflows | {density:.2f} | {seconds:.0f} |", flush=True)


def main():
    train, test = idx("fashion-mnist/train"), idx("fashion-mnist/t10k")
    decoded = through("decode", through("encode", test))
    print(f"mean squared error of a pixel, test set: {((decoded / 255 - test / 255.0) ** 2).mean():.3e}")
    sample_quality(train, test)
    if len(sys.argv) > 2:
        flows(train, test, int(sys.argv[2]))


main()
