#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Transcribes AUDIO (any file that GStreamer decodes) with the models of MODEL_DIR and
# DIARIZATION_MODEL, or without them a conversation and the small models of the repository, and
# prints each segment with its speaker and time. Called by `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
data=tests/data
audio=${AUDIO:-$data/demo/conversation.wav}
if [ -n "${MODEL_DIR:-}" ]; then
  model_dir=$MODEL_DIR
  diarization_model=${DIARIZATION_MODEL:-}
else
  model_dir=$data/demo-models
  diarization_model=${DIARIZATION_MODEL:-$data/demo-models/sortformer.onnx}
  echo "These models are small: they know the words of short bulletins, spoken by synthetic voices."
fi
[ -e "$audio" ] || { echo "demo: no file $audio" >&2; exit 1; }

export GST_PLUGIN_PATH="$PWD/target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$PWD/.onnxruntime/libonnxruntime.so}"
echo "gst-launch-1.0 filesrc location=$audio ! decodebin ! audioconvert ! audioresample ! \\
  multitalkerasr model-dir=$model_dir${diarization_model:+ diarization-model=$diarization_model} ! fakesink"
echo
stdbuf -oL gst-launch-1.0 --messages \
  filesrc location="$audio" ! decodebin ! audioconvert ! audioresample ! \
  multitalkerasr model-dir="$model_dir" ${diarization_model:+diarization-model="$diarization_model"} ! fakesink |
  tools/print_transcript.py
if [ "$audio" = "$data/demo/conversation.wav" ]; then
  printf '\nWhat was said:\n\n'
  tools/print_transcript.py "$data/demo/conversation.json"
fi
