#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Prints segments, one per line. The input is the output of `gst-launch-1.0 --messages` on standard
input, or SegLST files whose speakers are names, or numbers from 0."""
import argparse
import json
import re
import sys

FIELD = re.compile(r'([a-z-]+)=\((?:string|uint|guint64|double)\)("(?:[^"\\]|\\.)*"|[^,;]*)')


def unescape(value: str) -> str:
    """Returns the value of a serialized string: removes the quotes and decodes the escapes (octal bytes)."""
    if not value.startswith('"'):
        return value
    octal = re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), value[1:-1].encode())
    return re.sub(rb"\\(.)", rb"\1", octal).decode(errors="replace")


def label(speaker: str, name: str | None = None) -> str:
    """Returns the name, or the display number of a speaker whose number counts from 0."""
    return name or (f"speaker {int(speaker) + 1}" if speaker.isdecimal() else speaker)


def show(start_s: float, end_s: float, speaker: str, words: str):
    start, end = (f"{int(s // 60)}:{s % 60:05.2f}" for s in (start_s, end_s))
    print(f"[{start} - {end}] {speaker}: {words}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", metavar="SEGLST", nargs="*", type=argparse.FileType(encoding="utf-8"))
    files = parser.parse_args().files
    for file in files:
        for row in json.load(file):
            show(row["start_time"], row["end_time"], label(row["speaker"]), row["words"])
    if files:
        return 0
    failed = False
    for line in sys.stdin:
        if "multitalkerasr/transcript," in line:
            fields = dict(FIELD.findall(line.partition(" words=")[0]))
            name = unescape(fields["speaker-name"]) if "speaker-name" in fields else None
            show(int(fields["start-time"]) / 1e9, int(fields["end-time"]) / 1e9, label(fields["speaker-id"], name),
                 unescape(fields["text"]))
        elif line.startswith("ERROR"):
            failed = True
            print(line.rstrip(), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
