#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Transcribes an hour that hours.py mixed with the GStreamer element that `make build` builds, and measures how well
the people are identified. At each reconnect of the plan, 30 s of time are missing.

Writes OUT (SegLST), for `meeteval-wer cpwer -r HOUR.json -h OUT`, and prints how many words are those of the person
whose number or name they have. Needs python3-gi and gir1.2-gstreamer-1.0."""
import argparse
import json
import os
import sys
import time
import wave
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = REPOSITORY / ".onnxruntime/libonnxruntime.so"
if RUNTIME.exists():  # otherwise the element searches for other libraries
    os.environ.setdefault("ORT_DYLIB_PATH", str(RUNTIME))

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst

RATE, PIECE = 16000, 8000
GAP_SECONDS = 30


def transcribe(wav: Path, reconnects: list[int], properties: list[str]) -> list[dict]:
    """Returns the SegLST, with the times of the file."""
    pipeline = Gst.parse_launch(
        "appsrc name=source format=time block=true max-bytes=1000000 "
        "caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! multitalkerasr name=asr ! fakesink")
    source, asr = pipeline.get_by_name("source"), pipeline.get_by_name("asr")
    for name, value in (p.split("=", 1) for p in properties):
        Gst.util_set_object_arg(asr, name, value)
    pipeline.set_state(Gst.State.PLAYING)
    bus = pipeline.get_bus()
    ends = sorted(reconnects)
    with wave.open(str(wav)) as file:
        at = 0
        while data := file.readframes(PIECE):
            gaps = sum(end <= at for end in ends)
            buffer = Gst.Buffer.new_wrapped(data)
            buffer.pts = (at + gaps * GAP_SECONDS * RATE) * Gst.SECOND // RATE
            source.emit("push-buffer", buffer)
            at += len(data) // 2
            if error := bus.pop_filtered(Gst.MessageType.ERROR):
                sys.exit(f"{wav}: {error.parse_error()[0].message}")
    source.emit("end-of-stream")
    message = bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.ERROR | Gst.MessageType.EOS)
    if message.type == Gst.MessageType.ERROR:
        sys.exit(f"{wav}: {message.parse_error()[0].message}")
    rows = json.loads(asr.emit("get-transcripts"))
    pipeline.set_state(Gst.State.NULL)
    for row in rows:
        gaps = sum(end / RATE + index * GAP_SECONDS < row["start_time"] for index, end in enumerate(ends))
        for field in ("start_time", "end_time"):
            row[field] -= gaps * GAP_SECONDS
    return rows


def true_speaker(row: dict, reference: list[dict]) -> str | None:
    """Returns who speaks longest during a row."""
    spoken = defaultdict(float)
    for turn in reference:
        spoken[turn["speaker"]] += max(0, min(turn["end_time"], row["end_time"]) - max(turn["start_time"], row["start_time"]))
    speaker = max(spoken, key=spoken.get)
    return speaker if spoken[speaker] > 0 else None


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("plan", type=Path)
    a.add_argument("hour", type=Path, help="the WAV file, with the JSON file of the same name beside it")
    a.add_argument("out", type=Path)
    a.add_argument("properties", nargs="*", metavar="NAME=VALUE", help="properties of the element")
    o = a.parse_args()
    Gst.init(None)
    if not Gst.ElementFactory.find("multitalkerasr"):
        Gst.Registry.get().scan_path(str(REPOSITORY / "target/release"))
    if not Gst.ElementFactory.find("multitalkerasr"):
        sys.exit("no element multitalkerasr: run `make build` or set GST_PLUGIN_PATH")
    plan, reference = json.loads(o.plan.read_text()), json.loads(o.hour.with_suffix(".json").read_text())
    start = time.process_time()
    rows = transcribe(o.hour, plan["reconnects"], o.properties)
    cpu = time.process_time() - start
    o.out.write_text(json.dumps(rows))

    people = sorted({turn["speaker"] for turn in reference})
    words = defaultdict(lambda: defaultdict(int))  # found speaker, true speaker
    for row in rows:
        words[row["speaker"]][true_speaker(row, reference)] += len(row["words"].split())
    total = sum(sum(counts.values()) for counts in words.values())
    # Each person has the speaker with most of the words, a speaker with a name only the person of that name.
    right, taken = sum(words[name][name] for name in people if name in words), set()
    pairs = sorted(((count, found, true) for found, counts in words.items() for true, count in counts.items()
                    if true and found not in people), reverse=True)
    for count, found, true in pairs:
        if found not in taken and true not in taken:
            taken |= {found, true}
            right += count
    named = sum(sum(words[name].values()) for name in people if name in words)
    named_right = sum(words[name][name] for name in people if name in words)
    print(f"{len(people)} people, {len(words)} speakers found; {100 * right / total:.1f}% of {total} words have the right one")
    if named:
        print(f"{100 * named / total:.1f}% of the words have a name, {100 * named_right / named:.1f}% of these the right one")
    print(f"CPU time {cpu:.0f} s")


if __name__ == "__main__":
    main()
