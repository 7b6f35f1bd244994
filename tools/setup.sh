#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Installs any missing dependencies and reports what it installs: Debian packages (as root or with
# sudo), Rust if the installed version is too old, and ONNX Runtime from its Python wheel into
# .onnxruntime. Dependencies that are present are left alone. An argument installs more:
#
#   tests     the elements, programs, and packages of Python and Node that the tests run the plugin
#             with, and the caption plugins of peers/caption-plugins, which take five minutes to build, once
#   valgrind  the same, and Valgrind
#   evaluate  what tools/evaluate runs the element with
#   lint      the link checker
#   models    only the Python packages of `make models`, and nothing of the above
#
# Everything that does not come from Debian is checked against a hash in this repository.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
  "" | evaluate | lint | models) for_tests= ;;
  tests | valgrind) for_tests=yes ;;
  *) echo "usage: tools/setup.sh [tests|valgrind|evaluate|lint|models]" >&2; exit 2 ;;
esac

python="python3 python3-venv"
packages="$python g++ cmake pkg-config
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
# For the examples, and elements that the tests link to this one.
[ -z "$for_tests" ] || packages="$packages
  gstreamer1.0-plugins-base-apps gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-x
  python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-rtsp-server-1.0
  libpango1.0-dev libcairo2-dev python3-dev"
# Node and npm may come from elsewhere.
[ -z "$for_tests" ] || command -v node >/dev/null || packages="$packages nodejs"
[ -z "$for_tests" ] || command -v npm >/dev/null || packages="$packages npm"
[ "${1:-}" != valgrind ] || packages="$packages valgrind"
[ "${1:-}" != models ] || packages=$python
[ "${1:-}" != evaluate ] || packages="$packages python3-gi gir1.2-gstreamer-1.0 python3-dev"

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
    command -v sudo >/dev/null || fail "neither root nor sudo: install$missing by hand"
    as_root=sudo
  fi
  $as_root apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

venv() {
  [ -x .venv/bin/python ] || { say "creating a Python environment in .venv"; python3 -m venv .venv; }
}

# Installs a requirements file with `pip OPTION…`, unless this version of it is installed already.
install_requirements() {
  requirements=$1 what=$2
  shift 2
  sum=$(sha256sum "$requirements")
  if ! grep -qxsF "$sum" .venv/requirements; then
    say "installing $what into .venv"
    venv
    .venv/bin/python -m pip install -q --require-hashes "$@" -r "$requirements"
    echo "$sum" >> .venv/requirements
  fi
}

if [ "${1:-}" = models ]; then
  install_requirements tools/fetch-models/requirements.txt "the packages that fetch models"
  install_requirements tools/prepare-models/requirements.txt "the packages that prepare models"
  say "all dependencies are installed"
  exit
fi

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
PATH=$PWD/.rust/cargo/bin:$HOME/.cargo/bin:$PATH
found=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
oldest=$(printf '%s\n' "$wanted" "${found:-0}" | sort -V | head -n1)
if [ "$oldest" != "$wanted" ]; then
  say "installing Rust into .rust with rustup: version $wanted or newer is required, found ${found:-none}"
  by_hand="install Rust $wanted or newer by hand and try again"
  # The hashes of rustup-init 1.28.2. rustup verifies what it installs.
  case $(uname -m) in
    x86_64) sum=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c ;;
    aarch64) sum=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c ;;
    *) fail "no hash of rustup-init for $(uname -m): $by_hand" ;;
  esac
  mkdir -p .rust
  python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
    "https://static.rust-lang.org/rustup/archive/1.28.2/$(uname -m)-unknown-linux-gnu/rustup-init" \
    .rust/rustup-init || fail "cannot download rustup-init: $by_hand"
  echo "$sum  .rust/rustup-init" | sha256sum --check --quiet || fail "rustup-init does not have the expected hash: $by_hand"
  chmod +x .rust/rustup-init
  CARGO_HOME=$PWD/.rust/cargo RUSTUP_HOME=$PWD/.rust/rustup .rust/rustup-init -q -y --no-modify-path \
    --profile minimal --component rustfmt --component clippy >/dev/null || fail "cannot install Rust: $by_hand"
fi

onnxruntime=tools/requirements/onnxruntime.txt
onnxruntime_version=$(sed -n 's/^onnxruntime==\([^ ]*\).*/\1/p' $onnxruntime)
if [ ! -e .onnxruntime/libonnxruntime.so ] || [ "$(cat .onnxruntime/VERSION)" != "$onnxruntime_version" ]; then
  say "downloading ONNX Runtime $onnxruntime_version into .onnxruntime"
  venv
  rm -rf .onnxruntime
  mkdir .onnxruntime
  .venv/bin/python -m pip download -q --no-deps --only-binary=:all: --require-hashes -d .onnxruntime -r $onnxruntime
  .venv/bin/python -m zipfile -e .onnxruntime/*.whl .onnxruntime/wheel
  mv .onnxruntime/wheel/onnxruntime/capi/libonnxruntime.so.* .onnxruntime/libonnxruntime.so
  cp .onnxruntime/wheel/onnxruntime/LICENSE .onnxruntime/wheel/onnxruntime/ThirdPartyNotices.txt .onnxruntime/
  rm -rf .onnxruntime/wheel .onnxruntime/*.whl
  echo "$onnxruntime_version" > .onnxruntime/VERSION
fi

if [ "${1:-}" = lint ]; then
  install_requirements tools/requirements/lychee.txt "the link checker"
fi

# Some of these packages have no wheel, and pip would download their build requirements unchecked.
if [ "${1:-}" = evaluate ]; then
  install_requirements tools/requirements/build.txt "the build requirements of Python packages"
  install_requirements tools/evaluate/requirements.txt "the packages that score transcripts" --no-build-isolation
fi
if [ -n "$for_tests" ]; then
  install_requirements tools/requirements/build.txt "the build requirements of Python packages"
  install_requirements tests/requirements.txt "the Python packages of the tests" --no-build-isolation
  if ! cmp -s tests/node/package-lock.json tests/node/node_modules/installed; then
    say "installing the Node packages of the tests into tests/node"
    npm ci --prefix tests/node --ignore-scripts --silent
    cp tests/node/package-lock.json tests/node/node_modules/installed
  fi
  peers=target/peers/release
  if [ -d .rust ]; then
    export CARGO_HOME="$PWD/.rust/cargo" RUSTUP_HOME="$PWD/.rust/rustup"
  fi
  if [ ! -e $peers/libgstrsclosedcaption.so ] || [ peers/caption-plugins/Cargo.lock -nt $peers/libgstrsclosedcaption.so ]; then
    say "building the caption plugins into target/peers, which takes five minutes once"
    cargo build --quiet --release --locked --manifest-path peers/caption-plugins/Cargo.toml --target-dir target/peers \
      -p gst-plugin-closedcaption -p gst-plugin-textwrap
    touch $peers/libgstrsclosedcaption.so
  fi
fi
say "all dependencies are installed"
