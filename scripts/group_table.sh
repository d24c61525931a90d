#!/usr/bin/env bash
# Makes the table of docs/reduce.md on groups: what sharing networks saves on two lots of a hundred chips, one in which
# fault maps have nothing in common, and one in which chips from the same place of the wafer share 15 % faulty PEs.
#
#   scripts/group_table.sh build/group-table [options of kintsugi reduce, such as --workers 2]
#
# DROPS, LOTS, METHODS and MAX_CHIPS in the environment choose other cases, for example LOTS=places METHODS=mapping. The folder
# gets group_table.csv, which is printed as Markdown at the end. What is done is kept: run again, it continues.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:?usage: scripts/group_table.sh FOLDER [OPTIONS]}
shift
kintsugi=${KINTSUGI:-build/release/kintsugi}
campaign=configs/campaigns/repair.yaml
mkdir -p "$out"
out=$(realpath "$out")

long='{fault_rates: [0.05, 0.1, 0.2, 0.3], repeats: 3, amounts: [50, 100, 200, 400, 800]}'
short='{fault_rates: [0.05, 0.1, 0.2, 0.3], repeats: 3, max_steps: 100, evaluate_every_steps: 50}'
falling='{learning_rate: 0.008, schedule: {name: linear}}'
declare -A repair=([none]='{}' [mapping]='{mapping: {}}' [compensation]='{compensation: {}}')
declare -A characterize=([none]=$long [mapping]=$long [compensation]=$short)
declare -A retrain=([none]=$falling [mapping]=$falling [compensation]='{learning_rate: 0.004}')

# Ten places with 15 % faulty PEs; chip after chip comes from the next one, with 0.1 to 5 % of its own.
if [ ! -f "$out/places.csv" ]; then
  size=(--rows 256 --cols 256)
  "$kintsugi" fault-map sample "${size[@]}" --count 10 --rate 0.15 --seed 101 --prefix place --lot "$out/place.csv" --quiet
  "$kintsugi" fault-map sample "${size[@]}" --count 100 --rate-range 0.001,0.05 --seed 102 --lot "$out/own.csv" --quiet
  {
    echo chip,row,col
    {
      grep '^chip-' "$out/own.csv" | cut -d, -f1-3
      grep '^place-' "$out/place.csv" | awk -F, '{
        split($1, name, "-")
        for (i = name[2]; i <= 100; i += 10) printf "chip-%04d,%s,%s\n", i, $2, $3
      }'
    } | sort -u
  } >"$out/places.part"
  mv "$out/places.part" "$out/places.csv"
fi
declare -A chips=([iid]='{sample: {count: 100, fault_rate: {uniform: [0.005, 0.3]}}}' [places]="{lot: $out/places.csv}")

field() { sed -n "s/.*[{ ]$2: \([^,}]*\)[,}].*/\1/p" <<<"$1"; }

# Of both policies; the name of the second has a comma. Without groups there is no second.
cpu() {
  awk -F, '/^policy max,all/ {alone = shared = $4} /^"policy max, grouped",all/ {shared = $5} END {print alone "," shared}' "$1/timings.csv"
}

table=$out/group_table.csv
lines=()
for drop in ${DROPS:-0.01 0.005}; do
  for lot in ${LOTS:-iid places}; do
    for method in ${METHODS:-none mapping compensation}; do
      folder=$out/$drop-$lot-$method
      if [ ! -f "$folder/timings.csv" ]; then
        echo "$folder" >&2
        "$kintsugi" reduce all --campaign $campaign --out "$folder" --quiet --set "campaign.repair=${repair[$method]}" \
          --set "campaign.retrain=${retrain[$method]}" --set "campaign.characterize=${characterize[$method]}" \
          --set "campaign.chips=${chips[$lot]}" --set "campaign.group={max_chips: ${MAX_CHIPS:-8}}" \
          --set "campaign.constraint.accuracy_drop=$drop" --set "campaign.compare={policies: [max], fixed_steps: []}" \
          "$@" >"$folder.txt"
      fi
      alone=$(grep 'policy: max,' "$folder/summary.yaml")
      shared=$(grep 'policy: "max, grouped"' "$folder/summary.yaml" || echo "$alone")  # no groups, no line
      groups=$(grep '^  groups: ' "$folder/summary.yaml")
      line=$drop,$lot,$method,$(field "$groups" chips),$(field "$groups" groups)
      for key in chips_meeting fail total_steps arithmetic_steps; do
        line+=,$(field "$alone" $key),$(field "$shared" $key)
      done
      lines+=("$line,$(cpu "$folder")")
    done
  done
done
header=accuracy_drop,lot,repair,chips_in_groups,groups
for key in chips_meeting fail steps arithmetic_steps cpu_seconds; do header+=,$key,${key}_grouped; done
printf '%s\n' "$header" "${lines[@]}" >"$table"

echo
echo "| drop allowed | lot | repair | chips in groups | groups | meet it | grouped | fail | grouped | SGD, steps | grouped | all arithmetic | grouped | processor s | grouped |"
echo "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
tail -n +2 "$table" | sed 's/,/ | /g; s/^/| /; s/$/ |/'
