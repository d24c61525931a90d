#!/usr/bin/env bash
# From a fresh Debian 12 machine to the main job: a small lot of faulty chips, a retraining plan for each, and
# the retrained networks, on Fashion-MNIST. Results go to build/quickstart (or the folder given as argument).
# Run again, it continues where it was and keeps what is done.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-build/quickstart}
scripts/install_packages.sh
scripts/build.sh release kintsugi
build/release/kintsugi reduce all --campaign configs/campaigns/quickstart.yaml --out "$out"
