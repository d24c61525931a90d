#!/usr/bin/env bash
# Installs what building and running Kintsugi needs, all of it from Debian 12. Does nothing when all is there.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  libsystemc-dev libeigen3-dev libyaml-cpp-dev libboost-program-options-dev libdnnl-dev libxbyak-dev liblemon-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev zlib1g-dev libssl-dev
  libgtest-dev libgmock-dev libbenchmark-dev python3
  dataset-fashion-mnist
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#packages[@]} are installed"
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "error: these packages are missing and there is no apt-get to install them: ${missing[*]}" >&2
  echo "Install them by the means of your system, then run this script again." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "error: installing packages needs root. Run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "packages: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
