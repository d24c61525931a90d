#!/usr/bin/env bash
# Makes a timing file of a processing element from its RTL: yosys maps it to the cells of a library, OpenSTA works
# out the delays, and `kintsugi timing import` checks the whole and writes the file.
#
#   scripts/characterize_pe.sh --out my_pe.pe [--rtl FILE [--top NAME]] [--accumulator-bits N] [--adder ripple|prefix]
#                              [--liberty FILE [--driving-cell NAME]] [--name TEXT] [--ports LIST] [--keep DIR]
#
#   --rtl FILE            Verilog of the PE (default: configs/pes/rtl/pe_separate.v). It computes psum + a * w between
#                         flip-flops in one clock cycle; ports clk, a, w, psum, q, or those that --ports names (as for
#                         `kintsugi timing import`). A parameter ACCUMULATOR_BITS is set, if it has one.
#   --top NAME            its module (default: the file's name)
#   --accumulator-bits N  of the sum (default 32)
#   --adder KIND          prefix (default: yosys' own, Brent-Kung) or ripple: how carries travel
#   --liberty FILE        the library (default: OSU 0.18 um of Debian's package qflow-tech-osu018)
#   --driving-cell NAME   what drives the PE's inputs, for the sizes of gates (default: that library's flip-flop)
#   --name TEXT           name of the PE in reports (default: the output file's name)
#   --keep DIR            leave the netlist (pe.v), the delays (pe.sdf) and the tools' logs there
#   --kintsugi FILE       the program (default: build/release/kintsugi, or the one on the PATH)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
  echo "characterize_pe.sh: error: $1" >&2
  exit 2
}

osu=/usr/share/qflow/tech/osu018/osu018_stdcells.lib
rtl=$root/configs/pes/rtl/pe_separate.v
top='' bits=32 adder=prefix liberty=$osu driving='' name='' ports='' keep='' out='' kintsugi=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set /p' "$0" | sed -e '/^set /d' -e 's/^# \{0,1\}//'
      exit 0
      ;;
    --rtl | --top | --accumulator-bits | --adder | --liberty | --driving-cell | --name | --ports | --keep | --kintsugi | --out)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case $1 in
        --rtl) rtl=$2 ;;
        --top) top=$2 ;;
        --accumulator-bits) bits=$2 ;;
        --adder) adder=$2 ;;
        --liberty) liberty=$2 ;;
        --driving-cell) driving=$2 ;;
        --name) name=$2 ;;
        --ports) ports=$2 ;;
        --keep) keep=$2 ;;
        --kintsugi) kintsugi=$2 ;;
        --out) out=$2 ;;
      esac
      shift 2
      ;;
    *) fail "unknown option '$1'; see --help" ;;
  esac
done
[ -n "$out" ] || fail "--out FILE is missing: where to write the timing file"
[[ $adder == ripple || $adder == prefix ]] || fail "--adder must be ripple or prefix, but is '$adder'"
[[ $bits =~ ^[0-9]+$ && $bits -ge 16 && $bits -le 32 ]] || fail "--accumulator-bits must be 16 to 32, but is '$bits'"

missing=()
command -v yosys >/dev/null || missing+=(yosys)
command -v sta >/dev/null || missing+=(opensta)
[ "$liberty" != $osu ] || [ -f $osu ] || missing+=(qflow-tech-osu018)
[ ${#missing[@]} -eq 0 ] || fail "these Debian packages are missing: ${missing[*]}
Install them with: apt-get install ${missing[*]}"
[ -f "$rtl" ] || fail "there is no file '$rtl'"
[ -f "$liberty" ] || fail "there is no file '$liberty'"
if [ -z "$kintsugi" ]; then
  kintsugi=$root/build/release/kintsugi
  [ -x "$kintsugi" ] || kintsugi=$(command -v kintsugi) || fail "kintsugi is not built; run scripts/build.sh, or give --kintsugi FILE"
fi

[ -n "$top" ] || top=$(basename "$rtl" .v)
[ -n "$name" ] || { name=${out##*/} && name=${name%.gz} && name=${name%.pe}; }
[ -n "$driving" ] || [ "$liberty" != $osu ] || driving=DFFPOSX1
rtl=$(realpath "$rtl") liberty=$(realpath "$liberty")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$keep" ]; then
  mkdir -p "$keep"
  work=$keep
  trap - EXIT
fi

# The flip-flops before and behind the PE load and drive it as in an array.
constraints=''
if [ -n "$driving" ]; then
  printf 'set_driving_cell %s\nset_load 0.009 [all_outputs]\n' "$driving" >"$work/constraints.txt"
  constraints="-constr $work/constraints.txt"
fi
map_carries=techmap
[ "$adder" = prefix ] || map_carries="techmap -map $root/configs/pes/rtl/ripple_carry.v -map +/techmap.v"
set_bits=''
! grep -q ACCUMULATOR_BITS "$rtl" || set_bits="chparam -set ACCUMULATOR_BITS $bits $top"

# Multiplier and adder are mapped apart (where the RTL keeps their boundary) and put together before gates are chosen.
cat >"$work/pe.ys" <<YOSYS
read_verilog $rtl
$set_bits
hierarchy -check -top $top
synth -top $top -run begin:fine
opt -fast -full
$map_carries
opt -fast
opt -full
setattr -mod -unset keep_hierarchy *
flatten
opt -full
dfflibmap -liberty $liberty
abc -liberty $liberty $constraints
opt_clean -purge
rename -top pe
write_verilog -noattr -noexpr $work/pe.v
YOSYS
if ! yosys -q -l "$work/yosys.log" "$work/pe.ys" >"$work/yosys.out" 2>&1; then
  tail -n 5 "$work/yosys.out" >&2
  fail "yosys could not synthesise module '$top' of $rtl; its last words are above"
fi

clock=clk
[[ ,$ports != *,clock=* ]] || { clock=${ports##*clock=} && clock=${clock%%,*}; }
cat >"$work/pe.tcl" <<TCL
read_liberty $liberty
read_verilog $work/pe.v
link_design pe
create_clock -name $clock -period 20 [get_ports $clock]
set_input_transition 0.1 [all_inputs]
write_sdf -digits 5 -no_timestamp $work/pe.sdf
exit
TCL
rm -f "$work/pe.sdf"
if ! sta -no_splash -exit "$work/pe.tcl" >"$work/sta.log" 2>&1 || [ ! -s "$work/pe.sdf" ]; then
  tail -n 5 "$work/sta.log" >&2
  fail "OpenSTA could not work out the delays; its last words are above"
fi

arguments=(--verilog "$work/pe.v" --sdf "$work/pe.sdf" --liberty "$liberty" --name "$name" --out "$out")
[ -z "$ports" ] || arguments+=(--ports "$ports")
arguments+=(--remark "RTL: ${rtl##*/}, module $top; $(yosys -V | cut -d ' ' -f 1,2), OpenSTA $(sta -version); adder: $adder")
"$kintsugi" timing import "${arguments[@]}"
