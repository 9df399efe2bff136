#!/usr/bin/env bash
# Compiles RocksDB's C++ once per machine and hands it to every later cargo build, whatever its profile.
#
#   scripts/rocksdb.sh                    prints the variables cargo needs, as `export NAME='value'` lines
#   scripts/rocksdb.sh COMMAND [ARG..]    runs COMMAND with them set
#   scripts/rocksdb.sh --if-kept          prints them only where nothing is left to compile or install
#
# The static library is kept outside target/, under the version of its crate and a hash of all that shapes it
# (compiler, flags, target). Standard error says whether it was compiled or kept. It needs a C++ compiler and, for
# bindgen, libclang: as root on Debian and its kin both are installed where they are missing, else it says how.
#
# XDG_CACHE_HOME          where it is kept (default ~/.cache)
# ASTEROID_ROCKSDB_CPU    the processor it is for (default: x86-64-v2 on x86_64, else the compiler's own baseline)
# CXX, CXXFLAGS           the C++ compiler and its flags
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

if_kept=
[ "${1:-}" != --if-kept ] || { if_kept=yes; shift; }
say() { [ -n "$if_kept" ] || echo "rocksdb: $*" >&2; }
fail() { [ -z "$if_kept" ] || exit 0; say "$@"; exit 1; }

# Installs a Debian package where that may be done; fails, quietly, where it may not.
install() {
  [ -z "$if_kept" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
  say "installing $1"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends "$1" </dev/null >&2 ||
    { apt-get update >&2 && apt-get install -y --no-install-recommends "$1" </dev/null >&2; } ||
    fail "apt-get could not install $1"
}

# Prints the locked version of a crate.
locked() { awk -v name="name = \"$1\"" '$0 == name { getline; gsub(/"/, "", $3); print $3; exit }' "$root/Cargo.lock"; }

crate=$(locked librocksdb-sys)
[ -n "$crate" ] || fail "Cargo.lock names no librocksdb-sys: restore it from version control"
host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p' || true)
[ -n "$host" ] || fail "rustc was not found: install Rust from https://rustup.rs"
cxx=${CXX:-c++}
command -v "$cxx" >/dev/null || [ -n "${CXX:-}" ] || install g++ || true
# Version and target are in the text, so that an upgraded compiler builds anew.
compiler=$("$cxx" -v 2>&1 | grep -E '(gcc|clang) version |^Target: ' || true)
[ -n "$compiler" ] || fail "no C++ compiler answers to '$cxx': install one (Debian: apt-get install g++; macOS: xcode-select --install) or set CXX"

# The instructions RocksDB needs for its checksums; every 64-bit Intel and AMD processor since about 2010 has them.
cpu=${ASTEROID_ROCKSDB_CPU:-}
case $host in x86_64-*) cpu=${cpu:-x86-64-v2} ;; esac
flags=${cpu:+-Ctarget-cpu=$cpu}

hash() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-12; }
key=$(printf '%s\n' "$crate" "$(locked lz4-sys)" "$host" "$compiler" "$flags" "${CXXFLAGS:-}" | hash)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/asteroid-db
kept=$cache/rocksdb-$crate-$key

# bindgen reads RocksDB's C header with it, once per profile.
need_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  # Not libclang-cpp, which is another library and comes with LLVM's tools.
  compgen -G '/usr/lib/llvm-*/lib/libclang[.-]*so*' | grep -qv libclang-cpp && return
  compgen -G '/usr/lib*/libclang[.-]*so*' | grep -qv libclang-cpp && return
  compgen -G '/usr/lib/*-linux-*/libclang[.-]*so*' | grep -qv libclang-cpp && return
  compgen -G '/usr/local/lib/libclang[.-]*' | grep -qv libclang-cpp && return
  [ -e /Library/Developer/CommandLineTools/usr/lib/libclang.dylib ] && return
  compgen -G '/Applications/Xcode*.app/Contents/Developer/Toolchains/*/usr/lib/libclang.dylib' >/dev/null && return
  install libclang-dev && return
  fail "libclang is needed to build with RocksDB: install it (Debian and Ubuntu: sudo apt-get install libclang-dev;" \
    "Fedora: sudo dnf install clang-devel; macOS: xcode-select --install) or set LIBCLANG_PATH to the folder that holds it"
}

build() {
  local work=$cache/rocksdb-building-$key lib
  # Only the holder of the lock gets here, so remains of an interrupted build are nobody's.
  rm -rf "$work"
  mkdir -p "$work/src"
  : >"$work/src/lib.rs"
  cp "$root/Cargo.lock" "$work/Cargo.lock"
  cat >"$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-once"
version = "0.0.0"
edition = "2021"

[workspace]

[dependencies]
librocksdb-sys = { version = "=${crate%%+*}", default-features = false, features = ["bindgen-runtime", "lz4"] }
TOML
  say "compiling RocksDB ($crate) once for this machine: 10 to 30 minutes on two cores"
  local started=$SECONDS
  (
    cd "$work"
    unset ROCKSDB_LIB_DIR ROCKSDB_STATIC ROCKSDB_COMPILE ROCKSDB_INCLUDE_DIR CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
    RUSTFLAGS=$flags CARGO_TARGET_DIR=$work/target cargo build --release </dev/null >&2
  ) || fail "RocksDB did not compile; the messages above say why"
  lib=$(find "$work/target/release/build" -path '*/librocksdb-sys-*/out/librocksdb.a' | head -n 1)
  [ -n "$lib" ] || fail "no librocksdb.a came out of the build in $work"
  mkdir "$work/kept"
  mv "$lib" "$work/kept/librocksdb.a"
  printf '%s\n' "librocksdb-sys $crate" "$host" "$compiler" "flags $flags ${CXXFLAGS:-}" >"$work/kept/made-with"
  # The rename is the last step: what has its final name is whole.
  rm -rf "$kept"
  mv "$work/kept" "$kept"
  rm -rf "$work"
  say "RocksDB compiled in $((SECONDS - started)) s, kept in $kept"
}

need_libclang
if [ -e "$kept/librocksdb.a" ]; then
  say "kept from before in $kept, nothing to compile"
elif [ -n "$if_kept" ]; then
  exit 0
else
  mkdir -p "$cache"
  # A second caller waits and then finds the work done. The lock goes with its process, however that ends.
  if command -v flock >/dev/null; then
    exec 9>"$cache/rocksdb.lock"
    flock -n 9 || { say "waiting for another build of RocksDB"; flock 9; }
  fi
  if [ -e "$kept/librocksdb.a" ]; then say "kept in $kept"; else build; fi
  { exec 9>&-; } 2>/dev/null || true
fi

if [ $# -eq 0 ]; then
  printf "export ROCKSDB_LIB_DIR='%s'\nexport ROCKSDB_STATIC='1'\n" "$kept"
else
  export ROCKSDB_LIB_DIR=$kept ROCKSDB_STATIC=1
  exec "$@"
fi
