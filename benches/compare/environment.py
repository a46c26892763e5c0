"""The environment of the peers."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "target" / "compare-venv"
INSIDE = "LOOKBACK_COMPARE"


def enter(script, packages, build=(), **variables):
    """Runs `script` in an environment with these packages, after `cargo build --release` of `build`; does nothing inside."""
    if INSIDE in os.environ:
        return
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    python = VENV / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    if build:
        subprocess.run(["cargo", "build", "--release", "--quiet", *build], check=True, cwd=ROOT)
    env = dict(os.environ, **{INSIDE: "1"}, **variables)
    sys.exit(subprocess.run([python, script, *sys.argv[1:]], env=env).returncode)
