#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Usage: examples/to_matroska.sh MEDIA OUTPUT.mkv
#
# Adds a subtitle track for each of up to four speakers. Audio and video are copied without
# re-encoding. The file is read twice, so the backlog of audio and video stays in the file instead of
# in a queue. The text of one speaker waits for that of the others, so its queue has no limit.
# GStreamer 1.22 can stall on a Matroska or Ogg file whose video ends seconds before its audio, with or
# without text.
set -eu
. "$(dirname "$0")/environment.sh"

queue='queue max-size-time=0 max-size-bytes=0 max-size-buffers=0'
# shellcheck disable=SC2086 # these variables are lists of words
gst-launch-1.0 -q \
  urisourcebin uri="file://$(realpath "$input" | sed 's/%/%25/g; s/#/%23/g; s/?/%3F/g')" parse-streams=true : \
    matroskamux name=mux ! filesink location="$output" \
  filesrc location="$input" ! decodebin ! audioconvert ! audioresample ! \
    multitalkerasr name=asr model-dir="$MODEL_DIR" \
    ${DIARIZATION_MODEL:+diarization-model="$DIARIZATION_MODEL"} text-unit=segment \
  asr.speaker_0 ! $queue ! mux. \
  asr.speaker_1 ! $queue ! mux. \
  asr.speaker_2 ! $queue ! mux. \
  asr.speaker_3 ! $queue ! mux.
