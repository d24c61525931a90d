#!/usr/bin/env bash
# Makes the table "accuracy against number of faulty PEs" of docs/training.md, in Markdown: without mitigation,
# with FAP, with FAP and test escapes, with FAP+T, on the 10,000 Fashion-MNIST test images.
#
#   scripts/accuracy_table.sh build/accuracy-table [chips per row, default 3]
#
# Every figure is the mean over that many sampled chips (FAP+T: the first chip). What is done is kept: run again,
# it continues.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:?usage: scripts/accuracy_table.sh FOLDER [CHIPS]}
chips=${2:-3}
kintsugi=build/release/kintsugi
pes=65536
counts=(4 64 $((pes / 100)) $((pes / 20)) $((pes / 10)) $((pes / 4)) $((pes / 2)))
names=("4" "64" "1 %" "5 %" "10 %" "25 %" "50 %")
sites=weight_register:1,multiplier:1,adder:1
retrain_epochs=2
mkdir -p "$out"

# run_once DIR NETWORK WEIGHTS CHIP [options of run]: prints the accuracy on that chip.
run_once() {
  local dir=$1 network=$2 weights=$3 chip=$4
  shift 4
  if [ ! -f "$dir/summary.yaml" ]; then
    mkdir -p "$dir"
    cat >"$dir/workload.yaml" <<YAML
workload:
  network: $(realpath "$network")
  weights: $(realpath "$weights")
  dataset: {name: fashion-mnist, split: test}
  batch: 200
YAML
    "$kintsugi" run --chip "$chip" --workload "$dir/workload.yaml" --out "$dir" --quiet --log-level error "$@" \
      >/dev/null
  fi
  accuracy "$dir/summary.yaml" int8_this_chip
}

# accuracy FILE KEY: a test accuracy of a summary.
accuracy() { grep -oE "$2: [0-9.e-]+" "$1" | tail -n 1 | cut -d ' ' -f 2; }

# mean of numbers on standard input, as per cent.
mean() { awk '{ sum += $1 } END { printf "%.2f", 100 * sum / NR }'; }

table() {  # NETWORK CHIP MAPPING
  local network=$1 chip=$2 mapping=$3
  local name weights
  name=$(basename "$network" .yaml)
  weights=$out/$name/weights.safetensors
  [ -f "$out/$name/summary.yaml" ] ||
    "$kintsugi" train --network "$network" --dataset fashion-mnist --epochs 8 --out "$out/$name" --quiet >/dev/null
  echo
  echo "$name, mapping $mapping: float $(accuracy "$out/$name/summary.yaml" float | mean) %," \
    "int8 on the fault-free chip $(accuracy "$out/$name/summary.yaml" int8_fault_free | mean) %"
  echo
  echo "| faulty PEs | no mitigation | FAP | FAP, 1 escape | FAP, 4 escapes | FAP+T |"
  echo "|---|---|---|---|---|---|"
  for i in "${!counts[@]}"; do
    local count=${counts[i]} folder=$out/maps/${counts[i]}
    for escapes in 0 1 4; do
      [ -d "$folder-$escapes" ] ||
        "$kintsugi" fault-map sample --chip "$chip" --faults "$count" --sites "$sites" --escapes "$escapes" \
          --count "$chips" --seed 11 --out "$folder-$escapes" --quiet >/dev/null
    done
    local cells=()
    for column in none 0 1 4; do
      local escapes=$column options=()
      [ "$column" = none ] && escapes=0 && options=(--no-bypass)
      cells+=("$(for ((k = 1; k <= chips; ++k)); do
        run_once "$out/$name-$mapping/$count/$column/$k" "$network" "$weights" "$chip" \
          --fault-map "$folder-$escapes/chip-$(printf %04d "$k").yaml" "${options[@]}"
      done | mean)")
    done
    local trained=$out/$name-$mapping/$count/retrained
    [ -f "$trained/summary.yaml" ] ||
      "$kintsugi" train --network "$network" --dataset fashion-mnist --weights "$weights" --chip "$chip" \
        --fault-map "$folder-0/chip-0001.yaml" --epochs "$retrain_epochs" --learning-rate 0.02 --out "$trained" \
        --quiet >/dev/null
    echo "| ${names[i]} | ${cells[0]} | ${cells[1]} | ${cells[2]} | ${cells[3]} |" \
      "$(accuracy "$trained/summary.yaml" int8_this_chip | mean) |"
  done
}

table configs/networks/fap_mlp.yaml configs/chips/tpu256.yaml im2col
table configs/networks/small_cnn.yaml configs/chips/tpu256.yaml im2col
table configs/networks/small_cnn.yaml configs/chips/tpu256_channel.yaml channel
