#!/usr/bin/env bash
# Makes the resilience curves of docs/vgg11.md: what faulty PEs cost, how much of it each stage of repair brings back, and
# what some steps of retraining add, all on the same maps. Characterises the campaign once for each variant of `repair`.
#
#   scripts/resilience_curves.sh CAMPAIGN FOLDER [options of kintsugi reduce characterize, such as --data-dir D]
#
# for example with configs/campaigns/reduce_vgg11_cifar10_quarter.yaml. In the environment: RATES, MAPS and STEPS change
# which rates, how many maps of each, and after how many steps the retrained curves are shown; VARIANTS chooses among
# fap (always), mapped, recalibrated, mapped_recalibrated, compensated and both; FAP_RATE is the learning rate of fap's
# steps. The folder gets weights.safetensors, curves.csv and curves.svg. What is done is kept: run again, it continues.
set -euo pipefail

campaign=${1:?usage: scripts/resilience_curves.sh CAMPAIGN FOLDER [OPTIONS]}
out=${2:?usage: scripts/resilience_curves.sh CAMPAIGN FOLDER [OPTIONS]}
shift 2
kintsugi=${KINTSUGI:-build/release/kintsugi}
rates=${RATES:-0.01, 0.05, 0.1, 0.2, 0.3}
maps=${MAPS:-3}
steps=${STEPS:-100}
fap_rate=${FAP_RATE:-0.01}
variants=" fap ${VARIANTS:-mapped recalibrated mapped_recalibrated compensated both} "
mapping='mapping: {spare_columns: false}'
compensation='compensation: {images: 1000}'
batch_norm='batch_norm: {images: 1000}'
curves=()
retrained=()
mkdir -p "$out"

characterise() {  # name, its curve's name, what is repaired, steps, further options
  local name=$1 curve=$2 repair=$3 most=$4
  shift 4
  [[ $variants == *" $name "* ]] || return 0
  echo "== $name"
  curves+=("$curve=$out/$name")
  ((most > 1)) && retrained+=("$curve, $most steps=$out/$name@$most")
  "$kintsugi" reduce characterize --campaign "$campaign" --out "$out/$name" --set "campaign.repair={$repair}" \
    --set "campaign.characterize={fault_rates: [$rates], repeats: $maps, amounts: [$most]}" \
    "$@" >"$out/$name.txt"
}

# What pruning alone leaves wants a larger rate than what repair leaves, which has the campaign's.
characterise fap FAP "" "$steps" --set "campaign.retrain.learning_rate=$fap_rate" "$@"
# All variants start from the same weights.
ln -sf fap/weights.safetensors "$out/weights.safetensors"
weights=(--set "campaign.pretrain={weights: $(realpath "$out/weights.safetensors")}")
characterise mapped mapping "$mapping" 1 "${weights[@]}" "$@"
characterise recalibrated recalibration "$batch_norm" 1 "${weights[@]}" "$@"
characterise mapped_recalibrated "mapping, recalibration" "$mapping, $batch_norm" 1 "${weights[@]}" "$@"
characterise compensated compensation "$compensation" 1 "${weights[@]}" "$@"
characterise both "mapping, compensation" "$mapping, $compensation" "$steps" "${weights[@]}" "$@"

"$kintsugi" reduce curves --out "$out" --title "${TITLE:-Faulty PEs and repair}" "${curves[@]}" "${retrained[@]}"
