#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
#
# Makes conversations of synthetic voices with overlap, as 16 kHz mono WAV files: make_audio.sh FOLDER
# Needs espeak-ng, flite and sox.
set -eu
out=${1:?expected a folder}; mkdir -p "$out"; tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
espeak() { espeak-ng -v "$1" -s "$2" -p "$3" -w "$tmp/raw.wav" "$4"; sox "$tmp/raw.wav" -r 16000 -c 1 -b 16 "$5"; }
fl() { flite -voice "$1" -t "$2" -o "$tmp/raw.wav"; sox "$tmp/raw.wav" -r 16000 -c 1 -b 16 "$3"; }
# place FILE SECONDS: adds the file to the mix, starting at this time
n=0; place() { n=$((n + 1)); sox "$1" "$tmp/track$n.wav" pad "$2"; }
mix() { sox -m "$tmp"/track*.wav -r 16000 -c 1 -b 16 "$1" gain -n -3 trim 0 "$2"; rm -f "$tmp"/track*.wav; n=0; }

espeak en-us 160 45 "Good evening, and welcome to the six o'clock news." "$tmp/a1.wav"
espeak en-us 160 45 "We go live to our reporter at the harbour. What can you see from there?" "$tmp/a2.wav"
fl slt "Thank you. The first ships are coming in now, and the crowd is cheering loudly." "$tmp/b1.wav"
fl slt "Nobody expected so many people, certainly not before sunset." "$tmp/b2.wav"
espeak en-gb+m3 175 30 "If I may add something here, the police closed the bridge an hour ago." "$tmp/c1.wav"
espeak en-gb+m3 175 30 "And it stays closed until midnight." "$tmp/c2.wav"
place "$tmp/a1.wav" 0.3; place "$tmp/a2.wav" 4.2; place "$tmp/b1.wav" 8.6; place "$tmp/c1.wav" 11.9
place "$tmp/b2.wav" 15.6; place "$tmp/c2.wav" 18.4; mix "$out/news.wav" 22

# This conversation is long enough to fill the speaker cache several times.
i=0
for text in "The committee will now come to order." "I would like to begin with the minutes of the last meeting." \
  "There is one correction on page three." "Thank you, that is noted." "The next item is the budget for the coming year." \
  "We have spent more on repairs than we planned." "How much more, exactly?" "About eleven percent, mostly on the roof." \
  "Then we should vote on the reserve." "I second that motion." "Are there any objections?" \
  "Only that we have not seen the figures for June." "They arrive on Friday, I am told." "Let us wait for them." \
  "Very well, we move on to the library." "The new shelves are in, and the children love them."; do
  case $((i % 3)) in
    0) espeak en-us+f2 165 60 "$text" "$tmp/s$i.wav" ;;
    1) fl rms "$text" "$tmp/s$i.wav" ;;
    2) fl awb "$text" "$tmp/s$i.wav" ;;
  esac
  place "$tmp/s$i.wav" "$(awk "BEGIN{print $i * 5.4 + ($i % 2) * -1.1 + 1}")"; i=$((i + 1))
done
mix "$out/meeting.wav" 88
