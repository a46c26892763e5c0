"""N-body simulations beside their peers, in one run on one machine.

    python3 benches/compare/nbody/run.py [--particles 64 128] [--factors 1 2] [--steps 10] [--forward]

Makes an environment in target/bench-nbody with the peers (`pip install pmpp jaxpm`), builds Lookback, and times the
codes alternately: same particles, mesh and steps, f32, two threads, from white noise to the density contrast, and its
gradient with respect to the modes and cosmological parameters. Prints a table in Markdown. Compilation of the peers is not
counted. With `--forward` the gradient is left out: above 128 particles a side that of the peers needs more memory than most machines have.
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


def lookback(particles, factor, steps, forward, kept=False):
    command = ["cargo", "run", "--release", "--quiet", "-p", "lookback", "--example", "nbody_cost", "--"]
    command += [str(particles), str(factor), str(steps), "--json", *(["--forward"] if forward else []), *(["--keep"] if kept else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True,
                          env=os.environ | {"RAYON_NUM_THREADS": "2"})
    found = json.loads(done.stdout.strip().splitlines()[-1]) | ({"code": "lookback, potentials kept"} if kept else {})
    return {name: value for name, value in found.items() if not (forward and name.startswith("gradient"))}


def peer(python, code, particles, factor, steps, forward):
    command = [python, Path(__file__).parent / "peers.py", code, str(particles), str(factor), str(steps), *(["--forward-only"] if forward else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"code": code, "unsupported": done.stderr.strip().splitlines()[-1][:80] if done.stderr else "failed"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def cell(row, name, form):
    return "-" if row.get(name) is None else format(row[name], form)


def times(row, ours, name):
    return "-" if row.get(name) is None or ours.get(name) is None else f"{row[name] / ours[name]:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--forward", action="store_true")
    options = parser.parse_args()
    python = environment()
    print("| particles | mesh factor | code | forward | value and gradient | times ours, forward | times ours, gradient |"
          " peak MB forward / gradient |")
    print("|---|---|---|---|---|---|---|---|")
    for particles in options.particles:
        for factor in options.factors:
            ours = lookback(particles, factor, options.steps, options.forward)
            rows = [ours] + ([] if options.forward else [lookback(particles, factor, options.steps, False, kept=True)])
            rows += [peer(python, code, particles, factor, options.steps, options.forward) for code in ("pmpp", "jaxpm")]
            for row in rows:
                if "unsupported" in row:
                    print(f"| {particles}^3 | {factor} | {row['code']} | {row['unsupported']} | | | | |", flush=True)
                    continue
                print(f"| {particles}^3 | {factor} | {row['code']} | {cell(row, 'forward_s', '.3f')} s | {cell(row, 'gradient_s', '.3f')} s |"
                      f" {times(row, ours, 'forward_s')} | {times(row, ours, 'gradient_s')} |"
                      f" {cell(row, 'forward_peak_mb', '.0f')} / {cell(row, 'gradient_peak_mb', '.0f')} |", flush=True)


if __name__ == "__main__":
    main()
