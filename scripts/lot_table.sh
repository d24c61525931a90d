#!/usr/bin/env bash
# Makes the table of docs/reduce.md that sets repair beside retraining: the lot of configs/campaigns/repair.yaml under
# several constraints, with i.i.d. and with clustered faults, from several pretrainings, each time retrained by Reduce-max
# (channels mapped around faulty PEs as well) and repaired by least squares, with and without mapping. Below it, what repair
# costs and saves beside Reduce-max, by constraint.
#
#   scripts/lot_table.sh build/lot-table [options of kintsugi reduce, such as --workers 2]
#
# SEEDS, MAPS, DROPS and METHODS (none, mapping, compensation, both, trained) in the environment choose less or more of it,
# for example SEEDS=1 DROPS=0.005. The folder gets
# lot_table.csv, which is printed as Markdown at the end. What is done is kept: run again, it continues.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:?usage: scripts/lot_table.sh FOLDER [OPTIONS]}
shift
kintsugi=${KINTSUGI:-build/release/kintsugi}
campaign=configs/campaigns/repair.yaml
mkdir -p "$out"

# What each method adds to the campaign file. 500 images compensate this network as well as 1000 (docs/performance/repair.md).
long='{fault_rates: [0.05, 0.1, 0.2, 0.3], repeats: 3, amounts: [50, 100, 200, 400, 800], maps: like_chips}'
# A repaired chip hardly ever needs more: two maps tell whether the lot is of that kind.
short='{fault_rates: [0.05, 0.3], repeats: 1, amounts: [50], maps: like_chips}'
declare -A repair=(
  [none]='{}'
  [mapping]='{mapping: {saliency: output}}'
  [compensation]='{compensation: {images: 500}}'
  [both]='{mapping: {saliency: output}, compensation: {images: 500}}'
  [trained]='{mapping: {saliency: output}, compensation: {images: 500}}'
)
declare -A characterize=([none]=$long [mapping]=$long [compensation]=$short [both]=$short [trained]=$short)
# A rate that falls over the planned amount needs far fewer steps than a constant one (docs/reduce.md).
declare -A retrain=([none]='{learning_rate: 0.008, schedule: {name: linear}}' [compensation]='{learning_rate: 0.004}')
retrain[mapping]=${retrain[none]} retrain[both]=${retrain[compensation]}
retrain[trained]='{learning_rate: 0.012, schedule: {name: linear}}'
policy() { # every chip that is not certain after repair gets 400 steps, whatever the maps say
  [ "$1" = trained ] && echo '{name: fixed, steps: 400}' || echo '{name: max}'
}
declare -A sample=([iid]='model: iid' [clustered]='model: clustered, clustering: 0.5, block: 16')

weights_of() {  # seed: pretrained once, shared by all campaigns of that seed
  local folder=$out/pretrained_$1
  if [ ! -f "$folder/weights.safetensors" ]; then
    "$kintsugi" reduce characterize --campaign $campaign --out "$folder" --seed "$1" --quiet --set "campaign.repair={}" \
      --set "campaign.characterize={fault_rates: [0.05], repeats: 1, max_steps: 1, evaluate_every_steps: 1}" \
      "${@:2}" >/dev/null
  fi
  realpath "$folder/weights.safetensors"
}

value() {  # file, key of a line "key: value"
  sed -n "s/^ *$2: \([^ ]*\).*/\1/p" "$1" | head -1
}

# One line of the table from a finished campaign.
line() {  # folder, seed, maps, drop, method
  local policy cpu
  policy=$(grep -m 1 'policy: .*chips_meeting' "$1/summary.yaml")
  field() { sed -n "s/.*[{ ]$1: \([^,}]*\)[,}].*/\1/p" <<<"$policy"; }
  characterised=$(sed -n 's/.*characterization: {.*total: \([0-9.]*\)}.*/\1/p' "$1/summary.yaml")
  shared=$(value "$1/summary.yaml" shared_repair)
  cpu=$(awk -F, '/^policy [^,]*,all/ {print $4; exit}' "$1/timings.csv")
  cpu_once=$(awk -F, '/^phase characterize/ {sum += $4} END {print sum}' "$1/timings.csv")
  # Chips that meet it on the test images, of all, by fault rate.
  strata=$(awk -F, -v drop="$4" 'NR == 1 { for (i = 1; i <= NF; ++i) at[$i] = i; next }
    { rate = $at["fault_rate"]; k = rate <= 0.05 ? 0 : rate <= 0.1 ? 1 : rate <= 0.2 ? 2 : 3; ++all[k]
      if ($at["outcome"] != "rejected" && $at["test_change"] >= -drop - 1e-9) ++met[k] }
    END { for (k = 0; k < 4; ++k) printf "%s%d/%d", k ? " " : "", met[k], all[k] }' "$1/results.csv")
  printf '%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s\n' "$2" "$3" "$4" "$5" "$(field of)" "$(field chips_meeting)" \
    "$(field share_low)" "$(field share_high)" "$(field pass)" "$(field fail)" "$(field total_steps)" \
    "$(awk "BEGIN {print $(field arithmetic_steps) + $shared}")" "$characterised" "$cpu" "$cpu_once" "$strata"
}

table=$out/lot_table.csv
header="seed,maps,accuracy_drop,repair,chips,chips_meeting,share_low,share_high,pass,fail,steps,arithmetic_steps,"
header+="characterization_steps,cpu_seconds,characterization_cpu_seconds,met_by_rate"
lines=()
for seed in ${SEEDS:-1 2 3}; do
  weights=$(weights_of "$seed" "$@")
  for maps in ${MAPS:-iid clustered}; do
    for drop in ${DROPS:-0.01 0.005 0.0025}; do
      for method in ${METHODS:-mapping compensation both}; do
        folder=$out/$seed-$maps-$drop-$method
        if [ ! -f "$folder/timings.csv" ]; then
          echo "$folder" >&2
          "$kintsugi" reduce all --campaign $campaign --out "$folder" --seed "$seed" --quiet \
            --set "campaign.pretrain={weights: $weights}" --set "campaign.constraint.accuracy_drop=$drop" \
            --set "campaign.repair=${repair[$method]}" --set "campaign.retrain=${retrain[$method]}" --set "campaign.characterize=${characterize[$method]}" \
            --set "campaign.chips={sample: {count: 100, fault_rate: {uniform: [0.005, 0.3]}, ${sample[$maps]}}}" \
            --set "campaign.plan={check_before_repair: $([ "$method" = none ] && echo true || echo false)}" \
            --set "campaign.policy=$(policy "$method")" \
            --set "campaign.compare={policies: [$([ "$method" = trained ] || echo max)], fixed_steps: []}" "$@" >"$folder.txt"
        fi
        lines+=("$(line "$folder" "$seed" "$maps" "$drop" "$method")")
      done
    done
  done
done
printf '%s\n' "$header" "${lines[@]}" >"$table"

echo
echo "| pretraining | faults | drop allowed | repair | chips that meet it | to 5 %, 10 %, 20 %, 30 % faulty PEs | SGD steps | all arithmetic, steps | characterisation, steps | processor s | of characterisation |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
tail -n +2 "$table" | awk -F, '{
  printf "| %s | %s | %s %% | %s | %s of %s [%.0f, %.0f] | %s | %s | %.0f | %.0f | %.1f | %.1f |\n", $1, $2, 100 * $3, $4, $6, $5,
    100 * $7, 100 * $8, $16, $11, $12, $13, $14, $15 }'

echo
echo "| drop allowed | repair | lots | chips that meet it, mean (least) | arithmetic, of Reduce-max's | processor time | without characterisation: arithmetic | processor time |"
echo "|---|---|---|---|---|---|---|---|"
tail -n +2 "$table" | awk -F, '{
    lot = $1 "," $2 "," $3; steps[lot "," $4] = $12; once[lot "," $4] = $13; cpu[lot "," $4] = $14; cpu_once[lot "," $4] = $15
    if (!($3 in drops)) { drops[$3]; order[++n] = $3 }
    key = $3 "," $4; ++lots[key]; met[key] += $6; if (!(key in least) || $6 < least[key]) least[key] = $6; lot_of[key] = lot_of[key] " " lot
  }
  END {
    split("none mapping compensation both trained", methods, " ")
    for (d = 1; d <= n; ++d)
      for (m = 1; m <= 5; ++m) {
        key = order[d] "," methods[m]
        if (!(key in lots)) continue
        a = b = c = e = ra = rb = rc = re = 0
        split(lot_of[key], each, " ")
        for (i in each) {
          own = each[i] "," methods[m]; rival = each[i] ",mapping"
          if (!(rival in steps)) continue
          a += steps[own] + once[own]; ra += steps[rival] + once[rival]
          b += cpu[own] + cpu_once[own]; rb += cpu[rival] + cpu_once[rival]
          c += steps[own]; rc += steps[rival]; e += cpu[own]; re += cpu[rival]
        }
        printf "| %s %% | %s | %d | %.1f (%d) |", 100 * order[d], methods[m], lots[key], met[key] / lots[key], least[key]
        if (ra > 0) printf " %.1f %% | %.1f %% | %.1f %% | %.1f %% |\n", 100 * a / ra, 100 * b / rb, 100 * c / rc, 100 * e / re
        else printf " | | | |\n"
      }
  }'
