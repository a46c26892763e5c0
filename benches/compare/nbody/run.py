"""N-body simulations beside their peers, in one run on one machine.

    python3 benches/compare/nbody/run.py [--particles 64 128] [--factors 1 2] [--steps 10]

Makes an environment in target/bench-nbody with the peers (`pip install pmpp jaxpm`), builds Lookback, and times the
codes alternately: same particles, mesh and steps, f32, two threads, from white noise to the density contrast, and its
gradient with respect to the modes and cosmological parameters. Prints a table in Markdown. Compilation of the peers is not
counted.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = ROOT / "target" / "bench-nbody"


def environment():
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pmpp", "jaxpm"], check=True)
    return python


def lookback(particles, factor, steps):
    command = ["cargo", "run", "--release", "--quiet", "-p", "lookback", "--example", "nbody_cost", "--"]
    command += [str(particles), str(factor), str(steps), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True,
                          env=os.environ | {"RAYON_NUM_THREADS": "2"})
    return json.loads(done.stdout.strip().splitlines()[-1])


def peer(python, code, particles, factor, steps):
    command = [python, Path(__file__).parent / "peers.py", code, str(particles), str(factor), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"code": code, "unsupported": done.stderr.strip().splitlines()[-1][:80] if done.stderr else "failed"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    python = environment()
    print("| particles | mesh factor | code | forward | value and gradient | times ours, forward | times ours, gradient |"
          " peak MB forward / gradient |")
    print("|---|---|---|---|---|---|---|---|")
    for particles in options.particles:
        for factor in options.factors:
            ours = lookback(particles, factor, options.steps)
            rows = [ours] + [peer(python, code, particles, factor, options.steps) for code in ("pmpp", "jaxpm")]
            for row in rows:
                if "unsupported" in row:
                    print(f"| {particles}^3 | {factor} | {row['code']} | {row['unsupported']} | | | | |", flush=True)
                    continue
                forward, gradient = row["forward_s"], row["gradient_s"]
                print(f"| {particles}^3 | {factor} | {row['code']} | {forward:.3f} s | {gradient:.3f} s |"
                      f" {forward / ours['forward_s']:.1f} | {gradient / ours['gradient_s']:.1f} |"
                      f" {row['forward_peak_mb']:.0f} / {row['gradient_peak_mb']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
