#!/usr/bin/env bash
# Installs, builds and runs every test; ctest's summary is the last thing printed. Options go to ctest:
#   scripts/test.sh -L unit        only one label (unit, equivalence, property, golden, bad_input, cli, bench)
#   scripts/test.sh -LE slow       all but the slow ones
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_packages.sh
scripts/check_structure.sh
scripts/build.sh release
cd build/release
exec ctest --output-on-failure --parallel 2 "$@"
