#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Transcribes AUDIO (any file that GStreamer decodes), or without it a conversation, and prints each
# segment with its speaker and time. The models are MODEL_DIR and DIARIZATION_MODEL, else those that
# `make models` fetched, else the small ones of the repository. Called by `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
data=testdata
audio=${AUDIO:-$data/demo/conversation.wav}
if [ -n "${MODEL_DIR:-}" ]; then
  model_dir=$MODEL_DIR
  diarization_model=${DIARIZATION_MODEL:-}
elif [ -e models/multitalker/tokenizer.model ] && [ -e models/multitalker/sortformer.onnx ]; then
  model_dir=models/multitalker
  diarization_model=${DIARIZATION_MODEL:-$model_dir/sortformer.onnx}
  echo "The models are those in models/multitalker."
else
  model_dir=$data/demo-models
  diarization_model=${DIARIZATION_MODEL:-$data/demo-models/sortformer.onnx}
  echo "The models are small: they know the words of short bulletins, spoken by synthetic voices."
  echo "\`make models\` fetches the real ones."
fi
[ -e "$audio" ] || { echo "demo: no file $audio" >&2; exit 1; }

export GST_PLUGIN_PATH="$PWD/target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
# Where there is none, the element looks for others.
if [ -z "${ORT_DYLIB_PATH:-}" ] && [ -e .onnxruntime/libonnxruntime.so ]; then
  export ORT_DYLIB_PATH="$PWD/.onnxruntime/libonnxruntime.so"
fi
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
