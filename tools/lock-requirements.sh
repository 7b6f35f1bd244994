#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Makes each requirements.txt of its requirements.in: all packages that are needed, with the hashes
# of their files for all systems, for Python 3.11 and later. What is pinned stays as it is;
# `tools/lock-requirements.sh --upgrade` takes the newest. Needs uv 0.13 (`pip install uv==0.13.9`).
set -eu
cd "$(dirname "$0")/.."
lock() {
  input=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command tools/lock-requirements.sh "$@" "$input" -o "${input%.in}.txt"
}
lock tests/requirements.in "$@"
# What the tests install has the same versions here, since both go into .venv.
for input in tools/fetch-models/requirements.in tools/prepare-models/requirements.in tools/evaluate/requirements.in \
  tools/requirements/build.in; do
  lock "$input" --constraint tests/requirements.txt "$@"
done
lock tools/requirements/onnxruntime.in --no-deps "$@"
lock tools/requirements/lychee.in "$@"
lock tools/export-models/requirements.in "$@"
lock tools/demo-models/requirements.in "$@"
