#!/usr/bin/env bash
# Makes the tables and pictures of docs/overclocking.md: runs every overclocking campaign that ships and prints their
# tables. CIFAR-10 campaigns are left out, and said to be, where that data set is not found.
#
#   scripts/overclocking.sh build/overclocking [options of kintsugi overclock, such as --workers 2]
#
# What is done is kept: run again, it continues.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:?usage: scripts/overclocking.sh FOLDER [OPTIONS]}
shift
kintsugi=${KINTSUGI:-build/release/kintsugi}
mkdir -p "$out"

for campaign in configs/campaigns/overclock_*.yaml; do
  name=$(basename "$campaign" .yaml)
  echo
  echo "== $name"
  start=$SECONDS
  if ! "$kintsugi" overclock --campaign "$campaign" --out "$out/$name" "$@" >"$out/$name.txt" 2>"$out/$name.log"; then
    if grep -q "cifar-10" "$out/$name.log"; then
      echo "left out: CIFAR-10 is not there (scripts/get_cifar10.sh DIR obtains it; add --data-dir DIR)"
      continue
    fi
    cat "$out/$name.log" >&2
    exit 1
  fi
  cat "$out/$name.txt"
  echo "took $((SECONDS - start)) s"
done
