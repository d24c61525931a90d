#!/usr/bin/env bash
# Makes the resilience curves of docs/vgg11.md: what faulty PEs cost, how much of it each stage of repair brings back, and
# what some steps of retraining add, all on the same maps. Characterises the campaign once for each variant of `repair`.
#
#   scripts/resilience_curves.sh CAMPAIGN FOLDER [options of kintsugi reduce characterize, such as --data-dir D]
#
# for example with configs/campaigns/reduce_vgg11_cifar10_quarter.yaml. RATES, MAPS and STEPS in the environment change
# which rates, how many maps of each, and after how many steps the retrained curves are shown. The folder gets
# weights.safetensors, curves.csv and curves.svg. What is done is kept: run again, it continues.
set -euo pipefail

campaign=${1:?usage: scripts/resilience_curves.sh CAMPAIGN FOLDER [OPTIONS]}
out=${2:?usage: scripts/resilience_curves.sh CAMPAIGN FOLDER [OPTIONS]}
shift 2
kintsugi=${KINTSUGI:-build/release/kintsugi}
rates=${RATES:-0.01, 0.05, 0.1, 0.2, 0.3}
maps=${MAPS:-3}
steps=${STEPS:-100}
mapping='mapping: {spare_columns: false}'
compensation='compensation: {images: 1000}'
batch_norm='batch_norm: {images: 1000}'
mkdir -p "$out"

characterise() {  # name, what is repaired, steps, further options
  local name=$1 repair=$2 most=$3
  shift 3
  echo "== $name"
  "$kintsugi" reduce characterize --campaign "$campaign" --out "$out/$name" --set "campaign.repair={$repair}" \
    --set "campaign.characterize={fault_rates: [$rates], repeats: $maps, amounts: [$most]}" \
    "$@" >"$out/$name.txt"
}

characterise fap "" "$steps" "$@"
# All variants start from the same weights.
ln -sf fap/weights.safetensors "$out/weights.safetensors"
weights=(--set "campaign.pretrain={weights: $(realpath "$out/weights.safetensors")}")
characterise mapped "$mapping" 1 "${weights[@]}" "$@"
characterise recalibrated "$batch_norm" 1 "${weights[@]}" "$@"
characterise mapped_recalibrated "$mapping, $batch_norm" 1 "${weights[@]}" "$@"
characterise compensated "$compensation" 1 "${weights[@]}" "$@"
characterise both "$mapping, $compensation" "$steps" "${weights[@]}" "$@"

"$kintsugi" reduce curves --out "$out" --title "${TITLE:-Faulty PEs and repair}" \
  "FAP=$out/fap" "mapping=$out/mapped" "recalibration=$out/recalibrated" \
  "mapping, recalibration=$out/mapped_recalibrated" "compensation=$out/compensated" \
  "mapping, compensation=$out/both" "FAP, $steps steps=$out/fap@$steps" "both, $steps steps=$out/both@$steps"
