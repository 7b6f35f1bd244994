# SPDX-License-Identifier: MPL-2.0
#
# Sourced by the example scripts. It puts the arguments into $input and $output, sets $MODEL_DIR and
# $DIARIZATION_MODEL to the repository's demo models if they are unset, and selects the plugin that
# `make build` built if none is installed.

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

if [ $# -ne 2 ]; then
  sed -n '/^# Usage:/,/^$/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
input=$1 output=$2
[ -f "$input" ] || fail "no file $input"
! [ "$input" -ef "$output" ] || fail "$output is the input"

repository=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${MODEL_DIR:-}" ]; then
  MODEL_DIR=$repository/testdata/demo-models
  : "${DIARIZATION_MODEL=$MODEL_DIR/sortformer.onnx}"
fi
: "${DIARIZATION_MODEL:=}"
# Without this library, the element searches for others.
if [ -z "${ORT_DYLIB_PATH:-}" ] && [ -e "$repository/.onnxruntime/libonnxruntime.so" ]; then
  export ORT_DYLIB_PATH="$repository/.onnxruntime/libonnxruntime.so"
fi

is_available() { gst-inspect-1.0 multitalkerasr >/dev/null 2>&1; }
if ! is_available; then
  export GST_PLUGIN_PATH="$repository/target/release${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
  is_available || fail "no element multitalkerasr: run \`make build\` or set GST_PLUGIN_PATH"
fi

has_video() { gst-discoverer-1.0 "$input" | grep -q '^ *video'; }
