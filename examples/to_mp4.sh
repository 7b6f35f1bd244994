#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Usage: examples/to_mp4.sh MEDIA OUTPUT.mp4
#
# Encodes video and audio as H.264 and AAC, and adds a subtitle track for each of up to four
# speakers. Each branch reads the file separately, so no branch blocks another. The text of one
# speaker waits for that of the others, so its queue has no limit.
set -eu
. "$(dirname "$0")/environment.sh"

video=
if has_video; then
  video='decodebin name=v v. ! videoconvert ! x264enc ! h264parse ! mux.'
fi
queue='queue max-size-time=0 max-size-bytes=0 max-size-buffers=0'
# shellcheck disable=SC2086 # these variables are lists of words
gst-launch-1.0 -q \
  filesrc location="$input" ! decodebin ! audioconvert ! voaacenc ! aacparse ! mux. \
  ${video:+filesrc location="$input" ! $video} \
  mp4mux name=mux ! filesink location="$output" \
  filesrc location="$input" ! decodebin ! audioconvert ! audioresample ! \
    multitalkerasr name=asr model-dir="$MODEL_DIR" \
    ${DIARIZATION_MODEL:+diarization-model="$DIARIZATION_MODEL"} text-unit=segment \
  asr.speaker_0 ! $queue ! mux. \
  asr.speaker_1 ! $queue ! mux. \
  asr.speaker_2 ! $queue ! mux. \
  asr.speaker_3 ! $queue ! mux.
