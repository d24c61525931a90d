#!/usr/bin/env bash
# Checks what the build cannot: folders include each other only in the designed direction, only *_sc targets and
# sim/ see SystemC, and no source or test file is left out of the build. Prints every breach; exit 1 if any.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

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
sources() { grep "$@" --include='*.h' --include='*.cpp'; }

# 1. Direction of includes. Project headers are included in quotes, by their path from the root.
include='^[[:space:]]*#[[:space:]]*include[[:space:]]*'
for folder in "${folders[@]}"; do
  while IFS=: read -r file line text; do
    [[ $text =~ include[[:space:]]*([\"<])([^\">]*) ]] || continue
    quote=${BASH_REMATCH[1]} header=${BASH_REMATCH[2]} target=${BASH_REMATCH[2]%%/*}
    if [[ $quote == "<" ]]; then
      [[ -v may_include[$target] && -f $header ]] &&
        breach "$file:$line: error: <$header> is a header of this project; include it in quotes"
    elif [[ $header != */* || $header == .* ]]; then
      breach "$file:$line: error: \"$header\" must be included by its path from the root (folder/file.h)"
    elif [[ $target != "$folder" && " ${may_include[$folder]} " != *" $target "* ]]; then
      breach "$file:$line: error: $folder/ may not include $target/ (allowed: ${may_include[$folder]:-nothing but itself})"
    fi
  done < <(sources -rnE "${include}[\"<]" "$folder")
done

# A folder with C++ in it has a place in that order, and is built.
for file in */CMakeLists.txt; do
  folder=${file%%/*}
  [[ $folder == tests || $folder == bench || $folder == build || -v may_include[$folder] ]] ||
    breach "$folder/: error: has no place in the direction of includes; give it one in scripts/check_structure.sh"
done
without_comments() { sed 's/#.*//' "$@"; }
for folder in "${folders[@]}" tests tests/*/; do
  folder=${folder%/} parent=CMakeLists.txt
  [[ $folder == tests/* ]] && parent=tests/CMakeLists.txt
  [[ -f $folder/CMakeLists.txt ]] || continue
  grep -qF "add_subdirectory(${folder##*/})" <(without_comments $parent) ||
    breach "$folder/: error: not added by $parent, so it is never built"
done

# 2. SystemC stays in *_sc targets (sources that include it, directly or through a project header, are built in
# one, and no other target links one) and in sim/.
sc_files=$(sources -rlE "$include<(systemc|tlm|sysc/)" "${folders[@]}" | sort -u)
while :; do  # headers that include such headers
  more=$(for header in $(grep '\.h$' <<<"$sc_files"); do
    sources -rlE "$include\"$header\"" "${folders[@]}"
  done | sort -u)
  all=$(printf '%s\n%s\n' "$sc_files" "$more" | grep . | sort -u)
  [[ $all == "$sc_files" ]] && break
  sc_files=$all
done
for file in $sc_files; do
  folder=${file%%/*}
  [[ $folder == sim || $file == *.h ]] && continue
  name=${file#"$folder"/}
  without_comments "$folder/CMakeLists.txt" | awk -v name="$name" '
    /add_library\(|target_sources\(/ { sc = ($0 ~ /_sc[ )]/ || $0 ~ /_sc$/) }
    { for (i = 1; i <= NF; ++i) { word = $i; gsub(/[()]/, "", word); if (word == name) found = sc ? 1 : 2 } }
    END { exit found == 1 ? 0 : 1 }' ||
    breach "$file: error: includes SystemC but is not built in a *_sc target"
done
for folder in "${folders[@]}"; do
  [[ $folder == sim ]] && continue
  while read -r target libraries; do
    [[ $target == *_sc ]] && continue
    for library in $libraries; do
      [[ $library == *_sc || $library == SystemC::* ]] &&
        breach "$folder/CMakeLists.txt: error: $target links $library; only *_sc targets and sim/ may see SystemC"
    done
  done < <(without_comments "$folder/CMakeLists.txt" | tr '\n' ' ' |
    grep -oE 'target_link_libraries *\([^)]*' | sed 's/^[^(]*( *//')
done

# 3. Every source and every test is built.
listed() {  # listed WORD FILE...: the word stands in one of the CMakeLists.txt
  local word=$1
  shift
  without_comments "$@" | tr '()\n\t' '    ' | tr ' ' '\n' | grep -xE "${word//./\\.}" >/dev/null  # not -q: it would leave the pipe early
}
while read -r file; do
  list=$(dirname "$file")
  while [[ ! -f $list/CMakeLists.txt ]]; do list=$(dirname "$list"); done
  if [[ $file == tests/support/* ]]; then  # shared by the tests of several folders
    listed "(../)?support/${file##*/}" tests/CMakeLists.txt tests/*/CMakeLists.txt
  else
    listed "${file#"$list"/}" "$list/CMakeLists.txt"
  fi || breach "$file: error: not listed in a CMakeLists.txt, so it is never built"
done < <(find "${folders[@]}" tests -name '*.cpp' | sort)

if [ "$breaches" -gt 0 ]; then
  echo "structure: $breaches problem(s)" >&2
  exit 1
fi
echo "structure: ok"
