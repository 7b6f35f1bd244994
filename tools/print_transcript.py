#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Prints the segments in the messages of `gst-launch-1.0 --messages`, one a line."""
import re
import sys

FIELD = re.compile(r'([a-z-]+)=\((?:string|uint|guint64|double)\)("(?:[^"\\]|\\.)*"|[^,;]*)')


def text(value: str) -> str:
    """The value of a serialised string: without quotes, its escapes (octal bytes) undone."""
    if not value.startswith('"'):
        return value
    octal = re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), value[1:-1].encode())
    return re.sub(rb"\\(.)", rb"\1", octal).decode(errors="replace")


def clock(nanoseconds: str) -> str:
    seconds = int(nanoseconds) / 1e9
    return f"{int(seconds // 60)}:{seconds % 60:05.2f}"


def main() -> int:
    failed = False
    for line in sys.stdin:
        if "multitalkerasr/transcript," in line:
            fields = dict(FIELD.findall(line.partition(" words=")[0]))
            start, end = clock(fields["start-time"]), clock(fields["end-time"])
            print(f"[{start} - {end}] speaker {int(fields['speaker-id']) + 1}: {text(fields['text'])}", flush=True)
        elif line.startswith("ERROR"):
            failed = True
            print(line.rstrip(), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
