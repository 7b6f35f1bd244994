#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Transcribes AUDIO (any file that GStreamer decodes; by default a sample conversation) and prints
# each segment with its speaker and times. The models are those in MODEL_DIR and DIARIZATION_MODEL;
# if these are not set, those that `make models` downloaded; otherwise the repository's demo models.
# Called by `make demo`.
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
  echo "Using the models in models/multitalker."
else
  model_dir=$data/demo-models
  diarization_model=${DIARIZATION_MODEL:-$data/demo-models/sortformer.onnx}
  echo "Using the small demo models, which are trained on short bulletins read by synthetic voices."
  echo "\`make models\` downloads the real models."
fi
[ -e "$audio" ] || { echo "demo: no file $audio" >&2; exit 1; }

export GST_PLUGIN_PATH="$PWD/target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
# Without this library, the element searches for others.
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
  printf '\nReference transcript:\n\n'
  tools/print_transcript.py "$data/demo/conversation.json"
fi
