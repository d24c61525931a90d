#!/usr/bin/env bash
# Checks what the build cannot: folders include each other only in the designed direction, only *_sc sources and
# sim/ see SystemC, and no source or test file is left out of the build. Prints every breach; exit 1 if any.
set -uo pipefail
cd "$(dirname "$0")/.."

breaches=0
breach() {
  echo "$1" >&2
  breaches=$((breaches + 1))
}

# folder -> the folders it may include (besides itself).
declare -A may_include=(
  [common]=""
  [configs]="common"
  [pe]="common configs"
  [faults]="common configs pe"
  [memory]="common configs pe"
  [array]="common configs pe faults memory"
  [workloads]="common configs pe faults memory array"
  [training]="common configs pe faults memory array workloads"
  [sim]="common configs pe faults memory array workloads training"
)
folders=(common configs pe faults memory array workloads training sim)

# 1. Direction of includes.
for folder in "${folders[@]}"; do
  while IFS=: read -r file line text; do
    [[ $text =~ \"([a-z_]+)/ ]] || continue
    target=${BASH_REMATCH[1]}
    [[ $target == "$folder" || " ${may_include[$folder]} " == *" $target "* ]] && continue
    breach "$file:$line: error: $folder/ may not include $target/ (allowed: ${may_include[$folder]:-nothing but itself})"
  done < <(grep -rnE '^#include "' "$folder" --include='*.h' --include='*.cpp')
done

# 2. SystemC stays in *_sc targets (files that include it, directly or through a project header) and in sim/.
sc_files=$(grep -rlE '^#include <(systemc|tlm)' "${folders[@]}" --include='*.h' --include='*.cpp' | sort -u)
sc_headers=$(grep '\.h$' <<<"$sc_files")
while :; do  # headers that include such headers
  more=$(for header in $sc_headers; do
    grep -rlF "#include \"$header\"" "${folders[@]}" --include='*.h' --include='*.cpp'
  done | sort -u)
  all=$(printf '%s\n%s\n' "$sc_files" "$more" | grep . | sort -u)
  [[ $all == "$sc_files" ]] && break
  sc_files=$all
  sc_headers=$(grep '\.h$' <<<"$sc_files")
done
for file in $sc_files; do
  folder=${file%%/*}
  [[ $folder == sim || $file == *.h ]] && continue
  # A source that sees SystemC must be listed under a target whose name ends in _sc.
  name=${file#"$folder"/}
  awk -v name="$name" '
    /add_library\(|target_sources\(/ { sc = ($0 ~ /_sc[ )]/ || $0 ~ /_sc$/) }
    { for (i = 1; i <= NF; ++i) { word = $i; gsub(/[()]/, "", word); if (word == name) found = sc ? 1 : 2 } }
    END { exit found == 1 ? 0 : 1 }' "$folder/CMakeLists.txt" ||
    breach "$file: error: includes SystemC but is not built in a *_sc target"
done

# 3. Every source and every test is built.
for folder in "${folders[@]}" tests/*/; do
  folder=${folder%/}
  while read -r file; do
    list=$(dirname "$file")
    while [[ ! -f $list/CMakeLists.txt ]]; do list=$(dirname "$list"); done
    if [[ $file == tests/support/* ]]; then  # shared by the tests of several folders
      grep -qE "(^|[ (]|/)support/${file##*/}([ )]|$)" tests/CMakeLists.txt tests/*/CMakeLists.txt
    else
      grep -qE "(^|[ (])${file#"$list"/}([ )]|$)" "$list/CMakeLists.txt"
    fi || breach "$file: error: not listed in a CMakeLists.txt, so it is never built"
  done < <(find "$folder" -name '*.cpp' | sort)
done

if [ "$breaches" -gt 0 ]; then
  echo "structure: $breaches problem(s)" >&2
  exit 1
fi
echo "structure: ok"
