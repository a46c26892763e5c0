"""Training cost of Lookback's networks beside PyTorch's and nflows', in one run.

    python3 benches/compare/networks/run.py [ROUNDS] [cuda]

Seconds per 1000 examples of forward, backward and Adam, f32, batch 128: the median over alternating rounds. On a GPU the
peer's examples lie there already, ours are sent batch by batch, as in a training; both are timed over many steps. PyTorch
then runs twice: with its own choice of precision, and with matrix products and convolutions in f32 throughout, as ours.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from environment import ROOT, enter  # noqa: E402

GPU = "cuda" in sys.argv
enter(__file__, ["torch", "nflows"], ["-p", "lookback-learn", "--example", "training_cost"] + ["--features=cuda"] * GPU)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from nflows.distributions.normal import StandardNormal  # noqa: E402
from nflows.flows.base import Flow  # noqa: E402
from nflows.nn.nets import ResidualNet  # noqa: E402
from nflows.transforms import (  # noqa: E402
    CompositeTransform, LULinear, PiecewiseRationalQuadraticCouplingTransform)
from torch import nn  # noqa: E402
from torch.nn.utils.parametrizations import spectral_norm  # noqa: E402

BATCH = 128
THREADS = 2


class Crop(nn.Module):
    """The padding of a 4 x 4 kernel with stride 2."""

    def forward(self, x):
        return nn.functional.pad(x, (1, 1, 1, 1))


def infogan(latents=64):
    """The net of Boehm & Seljak (2020)."""
    def norm(module, n):
        return module(n, eps=1e-5, momentum=0.001)

    return nn.Sequential(
        Crop(), spectral_norm(nn.Conv2d(1, 64, 4, 2)), nn.LeakyReLU(0.2),
        Crop(), spectral_norm(nn.Conv2d(64, 128, 4, 2)), norm(nn.BatchNorm2d, 128), nn.Dropout(0.25), nn.LeakyReLU(0.2),
        nn.Flatten(), spectral_norm(nn.Linear(6272, 1024)), norm(nn.BatchNorm1d, 1024), nn.Dropout(0.25), nn.LeakyReLU(0.2),
        spectral_norm(nn.Linear(1024, latents)),
        nn.Linear(latents, 1024), norm(nn.BatchNorm1d, 1024), nn.ReLU(),
        nn.Linear(1024, 6272), norm(nn.BatchNorm1d, 6272), nn.ReLU(), nn.Dropout(0.25), nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1), norm(nn.BatchNorm2d, 64), nn.ReLU(), nn.Dropout(0.25),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Sigmoid())


def supernova(width=288, latents=3):
    """The dense net of Stein et al. (2022)."""
    sizes = [width, 256, 128, 32, latents, 32, 128, 256, width]
    layers = []
    for index, (a, b) in enumerate(zip(sizes[:-1], sizes[1:])):
        layers.append(nn.Linear(a, b))
        if index not in (3, 7):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def spline_flow(dimensions=64, couplings=8, hidden=128):
    """Coupling flow of rational quadratic splines (Durkan et al. 2019), as its authors' library builds it."""
    def net(inputs, outputs):
        return ResidualNet(inputs, outputs, hidden_features=hidden, num_blocks=1, activation=nn.functional.silu)

    steps = []
    for layer in range(couplings):
        mask = torch.arange(dimensions) >= dimensions // 2
        steps += [LULinear(dimensions, identity_init=True),
                  PiecewiseRationalQuadraticCouplingTransform(
                      (mask if layer % 2 == 0 else ~mask).int(), net, num_bins=8, tails="linear", tail_bound=4.0)]
    return Flow(CompositeTransform(steps + [LULinear(dimensions, identity_init=True)]), StandardNormal([dimensions]))


def peer(name):
    """A step of the peer's training, as a function."""
    device = "cuda" if GPU else "cpu"
    if name == "spline_flow":
        model, x = spline_flow().to(device), torch.randn(BATCH, 64, device=device)

        def loss():
            return -model.log_prob(x).mean()
    else:
        model, x = (infogan(), torch.randn(BATCH, 1, 28, 28)) if name == "infogan" else (supernova(), torch.randn(BATCH, 288))

        model, x = model.to(device), x.to(device)

        def loss():
            return nn.functional.mse_loss(model(x), x)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step, sum(p.numel() for p in model.parameters())


def median(step, steps):
    if GPU:
        return together(step, steps)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000 / BATCH


def together(step, steps):
    """Seconds per 1000 of many steps that are not waited for one by one."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps * 1000 / BATCH


def ours(name, steps):
    program = ROOT / "target/release/examples/training_cost"
    out = subprocess.run([program, name, str(steps)] + ["cuda"] * GPU, check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["seconds_per_1000"]


def compare(rounds, steps):
    print("| net | weights | PyTorch [s / 1000] | Lookback [s / 1000] | Lookback / PyTorch |")
    print("|---|---|---|---|---|")
    for name, count in steps.items():
        step, weights = peer(name)
        median(step, 3)
        pairs = [(median(step, count), ours(name, count)) for _ in range(rounds)]
        theirs, mine = np.median(np.array(pairs), axis=0)
        print(f"| {name} | {weights} | {theirs:.5f} | {mine:.5f} | {mine / theirs:.2f} |", flush=True)


def main():
    numbers = [int(word) for word in sys.argv[1:] if word != "cuda"]
    rounds = numbers[0] if numbers else 3
    if not GPU:
        torch.set_num_threads(THREADS)
        print(f"torch {torch.__version__}, {THREADS} threads, f32, batch {BATCH}")
        compare(rounds, {"infogan": 12, "supernova": 300, "spline_flow": 30})
        return
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, batch {BATCH}")
    steps = {"infogan": 200, "supernova": 500, "spline_flow": 50}
    print("PyTorch's own precision:")
    compare(rounds, steps)
    torch.backends.cudnn.allow_tf32 = False
    print("f32 throughout:")
    compare(rounds, steps)


main()
