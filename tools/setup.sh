#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Installs what building, testing and running need, and says what it does: Debian packages (as
# root, or with sudo), Rust where there is none or it is too old, and ONNX Runtime from its Python
# wheel into .onnxruntime. What is there already is left alone. `tools/setup.sh tests` also installs
# the other elements, programs and Python packages that the tests run the plugin with, and builds
# the caption plugins of tests/peers, which takes some minutes once; `tools/setup.sh valgrind` installs
# Valgrind besides.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
  "") for_tests= ;;
  tests | valgrind) for_tests=yes ;;
  *) echo "usage: tools/setup.sh [tests|valgrind]" >&2; exit 2 ;;
esac

onnxruntime_version=1.32.0
packages="g++ cmake pkg-config python3 python3-venv
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
# Examples, and elements to the left and right of ours.
[ -z "$for_tests" ] || packages="$packages
  gstreamer1.0-plugins-base-apps gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-x
  python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-rtsp-server-1.0
  libpango1.0-dev libcairo2-dev python3-dev"
[ "${1:-}" != valgrind ] || packages="$packages valgrind"

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

missing=""
for package in $packages; do
  case $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
  esac
done
if [ -n "$missing" ]; then
  say "installing Debian packages:$missing"
  as_root=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "not root, and no sudo: install$missing yourself"
    as_root=sudo
  fi
  $as_root apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

venv() {
  [ -x .venv/bin/python ] || { say "making a Python environment in .venv"; python3 -m venv .venv; }
}

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
PATH=$PWD/.rust/cargo/bin:$HOME/.cargo/bin:$PATH
found=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
oldest=$(printf '%s\n' "$wanted" "${found:-0}" | sort -V | head -n1)
if [ "$oldest" != "$wanted" ]; then
  say "Rust $wanted or newer is needed, found ${found:-none}: installing rustup into .rust"
  venv
  .venv/bin/python -m pip install -q puccinialin==0.1.14
  .venv/bin/python -m puccinialin --location .rust >/dev/null ||
    fail "Rust could not be installed: install version $wanted or newer with rustup, then try again"
fi

if [ ! -e .onnxruntime/libonnxruntime.so ] || [ "$(cat .onnxruntime/VERSION)" != "$onnxruntime_version" ]; then
  say "fetching ONNX Runtime $onnxruntime_version into .onnxruntime"
  venv
  rm -rf .onnxruntime
  mkdir .onnxruntime
  .venv/bin/python -m pip download -q --no-deps --only-binary=:all: -d .onnxruntime \
    "onnxruntime==$onnxruntime_version"
  .venv/bin/python -m zipfile -e .onnxruntime/*.whl .onnxruntime/wheel
  mv .onnxruntime/wheel/onnxruntime/capi/libonnxruntime.so.* .onnxruntime/libonnxruntime.so
  cp .onnxruntime/wheel/onnxruntime/LICENSE .onnxruntime/wheel/onnxruntime/ThirdPartyNotices.txt .onnxruntime/
  rm -rf .onnxruntime/wheel .onnxruntime/*.whl
  echo "$onnxruntime_version" > .onnxruntime/VERSION
fi

if [ -n "$for_tests" ]; then
  if ! .venv/bin/python -m pip freeze 2>/dev/null | cmp -s - tests/requirements.txt; then
    say "installing what the tests run in Python into .venv"
    venv
    .venv/bin/python -m pip install -q -r tests/requirements.txt
  fi
  peers=target/peers/release
  if [ -d .rust ]; then
    export CARGO_HOME="$PWD/.rust/cargo" RUSTUP_HOME="$PWD/.rust/rustup"
  fi
  if [ ! -e $peers/libgstrsclosedcaption.so ] || [ tests/peers/Cargo.lock -nt $peers/libgstrsclosedcaption.so ]; then
    say "building transcriberbin and its companions into target/peers: some minutes"
    cargo build --quiet --release --locked --manifest-path tests/peers/Cargo.toml --target-dir target/peers \
      -p gst-plugin-closedcaption -p gst-plugin-textwrap
    touch $peers/libgstrsclosedcaption.so
  fi
fi
say "all is there"
