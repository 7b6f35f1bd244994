#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Writes each requirements.txt from its requirements.in: all required packages with the hashes of
# their files on all systems, for Python 3.11 and later. Pinned versions are kept;
# `tools/lock-requirements.sh --upgrade` updates them. Needs uv 0.13 (`pip install uv==0.13.9`).
set -eu
cd "$(dirname "$0")/.."
lock() {
  input=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command tools/lock-requirements.sh "$@" "$input" -o "${input%.in}.txt"
}
lock tests/requirements.in "$@"
# The tests install into the same .venv, so shared packages must have the same versions.
for input in tools/fetch-models/requirements.in tools/prepare-models/requirements.in tools/evaluate/requirements.in \
  tools/requirements/build.in; do
  lock "$input" --constraint tests/requirements.txt "$@"
done
lock tools/requirements/onnxruntime.in --no-deps "$@"
lock tools/requirements/lychee.in "$@"
lock tools/export-models/requirements.in "$@"
lock tools/demo-models/requirements.in "$@"
