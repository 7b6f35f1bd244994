#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Usage: examples/burn_in.sh VIDEO OUTPUT.mkv
#
# Burns the transcript into the video, with a line and a color for each of up to four speakers. Each
# branch reads the file separately, so no branch blocks another, and text can wait in its queue.
set -eu
. "$(dirname "$0")/environment.sh"
has_video || fail "no video in $input"

overlay='textoverlay font-desc=Sans,16 valignment=bottom shaded-background=true'
queue='queue max-size-time=0 max-size-bytes=0 max-size-buffers=0'
# shellcheck disable=SC2086 # these variables are lists of words
gst-launch-1.0 -q \
  filesrc location="$input" ! decodebin ! audioconvert ! opusenc ! mux. \
  filesrc location="$input" ! decodebin ! videoconvert ! \
    $overlay name=line0 deltay=0 ! $overlay name=line1 deltay=-40 ! \
    $overlay name=line2 deltay=-80 ! $overlay name=line3 deltay=-120 ! \
    videoconvert ! x264enc ! h264parse ! mux. \
  matroskamux name=mux ! filesink location="$output" \
  filesrc location="$input" ! decodebin ! audioconvert ! audioresample ! \
    multitalkerasr name=asr model-dir="$MODEL_DIR" \
    ${DIARIZATION_MODEL:+diarization-model="$DIARIZATION_MODEL"} text-unit=segment \
  asr.speaker_0 ! text/x-raw,format=pango-markup ! $queue ! line0.text_sink \
  asr.speaker_1 ! text/x-raw,format=pango-markup ! $queue ! line1.text_sink \
  asr.speaker_2 ! text/x-raw,format=pango-markup ! $queue ! line2.text_sink \
  asr.speaker_3 ! text/x-raw,format=pango-markup ! $queue ! line3.text_sink
