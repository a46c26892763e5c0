#!/usr/bin/env bash
# All tests, Rust and Python. Installs what they need into target/venv.
set -euo pipefail
cd "$(dirname "$0")"

if [ -z "${LOOKBACK_DATA:-}" ] && [ -d ../shared/data ]; then
  LOOKBACK_DATA="$(cd ../shared/data && pwd)"
fi
if [ -n "${LOOKBACK_DATA:-}" ]; then
  export LOOKBACK_DATA
else
  echo "LOOKBACK_DATA is not set: tests on real data are skipped"
fi

echo "== formatting and lints"
cargo fmt --all --check
# With the feature `cuda`, which adds code and takes next to none away: once, for all of it.
cargo clippy --workspace --all-targets --features lookback-cli/cuda --quiet -- -D warnings

echo "== Rust tests"
# All but the examples, which measure, and which the lints have compiled.
cargo test --workspace --tests --quiet
cargo test --workspace --doc --quiet

echo "== Python tests"
python="${PYTHON:-python3}"
venv=target/venv
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade "pip>=24"
# In the profile of the Rust tests, whose crates are compiled: a release, which users install, would compile all of them again.
"$venv/bin/python" -m pip install --quiet --config-settings=build-args="--profile dev" "./python[test]"
"$venv/bin/python" -m pytest --quiet python/tests
