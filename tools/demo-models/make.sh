#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# Makes the demo's models from scratch: make.sh WORK [OUT]
# WORK (several GB) receives data, checkpoints, and .nemo files; OUT receives the ONNX files (default: testdata/demo-models).
# Completed steps are skipped, and training continues from its last checkpoint.
set -eu
[ $# -ge 1 ] || { echo "usage: make.sh WORK [OUT]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=$1
out=${2:-$here/../../testdata/demo-models}
python=${PYTHON:-python3}
# Each step allocates and frees large tensors; keep their memory instead of returning it to the system each time.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456

[ -f "$work/data/utterances.json" ] || "$python" "$here/synthesize.py" --data "$work/data"
[ -f "$work/diarizer/diar.nemo" ] || "$python" "$here/train_diarizer.py" --data "$work/data" --out "$work/diarizer"
[ -f "$work/recognizer/asr.nemo" ] || "$python" "$here/train_recognizer.py" --data "$work/data" --out "$work/recognizer" \
    --diarizer "$work/diarizer/diar.nemo"
"$python" "$here/../export-models/export.py" --int8 --out "$work/onnx" \
    --asr "$work/recognizer/asr.nemo" --diar "$work/diarizer/diar.nemo"
if [ ! -d "$work/tests" ]; then
    rm -rf "$work/tests.unfinished"
    "$python" "$here/make_tests.py" --data "$work/data" --out "$work/tests.unfinished"
    mv "$work/tests.unfinished" "$work/tests"
fi
mkdir -p "$out"
# Only 8-bit weights are shipped; with these models they are as accurate as floats.
for file in encoder.int8.onnx decoder_joint.int8.onnx tokenizer.model multitalker_config.json; do
    cp "$work/onnx/$file" "$out/"
done
cp "$work/onnx/sortformer.int8.onnx" "$out/sortformer.onnx"
