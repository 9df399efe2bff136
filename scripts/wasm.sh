#!/usr/bin/env bash
# Runs cargo for wasm32-unknown-unknown: without arguments, to prove that the engine's core compiles for it.
#
#   scripts/wasm.sh                                                       builds the core
#   scripts/wasm.sh build --package asteroid-wasm --profile browser       what browsers get (see build-wasm.mjs)
#   scripts/wasm.sh clippy --package asteroid-wasm -- -D warnings         lints it
#
# What browsers get is built together with the standard library, made small: its panics are bare traps, and its sorts and
# the like are the short ones. That takes the library's source (rustup's component rust-src, or Debian's package).
#
# Where rustup has or can add the target, that is all it takes. Elsewhere (no rustup, or its servers out of reach) it
# takes Debian's Rust for the web: packages rustc-web, cargo-web, rust-web-src and the lld of the same LLVM; the
# standard library is then built once and kept. Debian's compiler must be as new as rust-version in Cargo.toml.
#
# ASTEROID_WASM_ROUTE=rustup|debian   take one way only
# XDG_CACHE_HOME                      where the standard library is kept (default ~/.cache)
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
route=${ASTEROID_WASM_ROUTE:-any}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/asteroid-db/wasm
say() { echo "wasm: $*"; }
fail() { echo "wasm: $*" >&2; exit 1; }

[ $# -gt 0 ] || set -- build --package asteroid-core
arguments=("$@")
# Where this machine keeps its sources is nobody's business, and takes room in what is downloaded.
flags="-C target-feature=+simd128 --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src= --remap-path-prefix=$PWD="
small=()
[[ "${arguments[0]} ${arguments[*]: -1}" != "build browser" ]] ||
  small=(-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size)

be_small() {
  # Nightly options, which this variable allows in a stable compiler.
  export RUSTC_BOOTSTRAP=1
  flags+=" -Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none"
}

# Cargo's default target folder is shared: builds for another target lie in a folder of their own in it.
check() {
  "$1" "${arguments[0]}" --target "$target" --locked "${arguments[@]:1}" ${small[@]+"${small[@]}"}
  say "target folder ${CARGO_TARGET_DIR:-target}"
}

rustup_has_target() {
  command -v rustup >/dev/null || { say "rustup is not here"; return 1; }
  if ! rustup target list --installed | grep -qx "$target"; then
    say "adding $target with rustup"
    timeout 180 rustup target add "$target" </dev/null || { say "rustup could not add $target"; return 1; }
  fi
}

rustup_has_source() {
  [ ${#small[@]} -gt 0 ] || return 0
  rustup component list --installed | grep -qx rust-src && return
  # What is here already is not asked for elsewhere.
  if installed rust-web-src; then return 1; fi
  say "adding rust-src with rustup"
  timeout 180 rustup component add rust-src </dev/null || { say "rustup could not add rust-src"; return 1; }
}

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

with_rustup() {
  [ ${#small[@]} -eq 0 ] || be_small
  CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=$flags check cargo
}

install_missing() {
  local missing=() name
  for name in "$@"; do
    installed "$name" || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || fail "these Debian packages are needed: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends "${missing[@]}" </dev/null ||
    { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}" </dev/null; } ||
    fail "apt-get could not install ${missing[*]}"
}

# Prints 1.96 for "Candidate: 1.96.0+dfsg1-1".
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/.*Candidate: \([0-9]*\.[0-9]*\).*/\1/p'; }

at_least() { [ "$(printf '%s\n' "$2" "${1:-0}" | sort -V | head -n 1)" = "$2" ]; }

need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

debian_can() {
  command -v apt-get >/dev/null && at_least "$(candidate rustc-web)" "$need" &&
    { [ "$(id -u)" -eq 0 ] || installed rust-web-src; }
}

with_debian() {
  command -v apt-get >/dev/null ||
    fail "neither rustup nor apt-get can provide $target: install its standard library for your Rust"
  local have
  have=$(candidate rustc-web)
  # The package lists may be missing, or older than the compiler that the archive has by now.
  if ! at_least "$have" "$need"; then
    apt-get update >/dev/null || true
    have=$(candidate rustc-web)
  fi
  at_least "$have" "$need" ||
    fail "Debian's rustc-web is ${have:-missing} here, $need is needed: get $target with rustup"

  install_missing rustc-web cargo-web rust-web-src
  local rustc=/usr/bin/rustc cargo=/usr/bin/cargo llvm std
  llvm=$("$rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  install_missing "lld-$llvm"
  std=$cache/std-$("$rustc" -vV | sha256sum | cut -c1-16)
  if [ ${#small[@]} -gt 0 ]; then
    be_small
  else
    [ -e "$std/done" ] || build_std "$rustc" "$cargo" "$std"
    flags+=" --sysroot=$std"
  fi

  # A target folder of its own: the other compiler's artefacts cannot be shared.
  export RUSTC=$rustc CARGO_TARGET_DIR=target/debian-web
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=/usr/bin/wasm-ld-$llvm
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C linker-flavor=wasm-ld $flags"
  unset RUSTFLAGS
  check "$cargo"
}

build_std() {
  local rustc=$1 cargo=$2 out=$3 work
  say "building the standard library once (some minutes)"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/build.XXXXXX")
  mkdir "$work/src"
  echo '#![no_std]' >"$work/src/lib.rs"
  cat >"$work/Cargo.toml" <<TOML
[package]
name = "seed"
version = "0.0.0"
edition = "2021"

[workspace]

[profile.release]
codegen-units = 1
TOML
  (
    cd "$work"
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
    # Building std is a nightly option, which this variable allows in a stable compiler.
    RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/target \
      "$cargo" build --release --target "$target" -Zbuild-std=std,panic_abort
  ) || fail "the standard library did not build; its remains are in $work"
  local lib=$out/lib/rustlib/$target/lib
  rm -rf "$out"
  mkdir -p "$lib"
  find "$work/target/$target/release/deps" -name '*.rlib' ! -name 'libseed*' -exec cp {} "$lib/" \;
  compgen -G "$lib/libstd-*.rlib" >/dev/null || fail "no standard library came out of the build in $work"
  rm -rf "$work"
  touch "$out/done"
}

case $route in
  rustup | debian | any) ;;
  *) fail "ASTEROID_WASM_ROUTE must be rustup or debian, not $route" ;;
esac
if [ "$route" != debian ] && rustup_has_target && rustup_has_source; then
  with_rustup
elif [ "$route" != debian ] && [ ${#small[@]} -gt 0 ] && ! { [ "$route" = any ] && debian_can; } && rustup_has_target; then
  say "the download will be larger than it could be: the standard library's source is missing (rustup component add rust-src)"
  small=()
  with_rustup
elif [ "$route" != rustup ]; then
  # Debian's compiler for the web has no clippy of its version.
  [ "${arguments[0]}" != clippy ] || { say "left out: clippy needs the target from rustup"; exit 0; }
  with_debian
else
  fail "rustup has no $target"
fi
say "cargo ${arguments[*]} for $target: done"
