#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Reads the output of the examples with other software than wrote it, and prints it as JSON: rows
{speaker, words, start_time, end_time} of text, or with `colors`, the number of pixels of each color
in a video at the times (in seconds) on standard input."""
import html
import json
import sys

import av
import meeteval
import pysrt
import webvtt


def row(speaker, words, start_time, end_time) -> dict:
    return {"speaker": str(speaker), "words": words, "start_time": float(start_time), "end_time": float(end_time)}


def from_webvtt(path: str) -> list[dict]:
    for caption in webvtt.read(path):
        assert not {"<", ">"} & set(caption.text), caption.text
        speaker = int(caption.voice.removeprefix("Speaker ")) - 1
        yield row(speaker, html.unescape(caption.text), caption.start_in_seconds + caption.start_time.milliseconds / 1000,
                  caption.end_in_seconds + caption.end_time.milliseconds / 1000)


def from_srt(path: str) -> list[dict]:
    for item in pysrt.open(path, error_handling=pysrt.ERROR_RAISE):
        name, _, words = item.text.partition(": ")
        speaker = int(name.removeprefix("Speaker ")) - 1
        yield row(speaker, words, item.start.ordinal / 1000, item.end.ordinal / 1000)


def from_meeteval(path: str) -> list[dict]:
    for line in meeteval.io.load(path).to_seglst():
        yield row(line["speaker"], line.get("words", ""), line["start_time"], line["end_time"])


def from_tracks(path: str) -> list[dict]:
    with av.open(path) as container:
        speakers = {stream.index: number for number, stream in enumerate(container.streams.subtitles)}
        assert len(speakers) == 4, speakers
        for packet in container.demux(list(container.streams.subtitles)):
            data = bytes(packet)
            if path.endswith(".mp4"):
                # 3GPP timed text begins with its length. Packets without speech contain no text.
                data = data[2 : 2 + int.from_bytes(data[:2], "big")]
            if data:
                start = packet.pts * packet.time_base
                yield row(speakers[packet.stream.index], data.decode(), start, start + packet.duration * packet.time_base)


def colors(path: str, times: list[float]) -> list[dict]:
    """Counts bright pixels at each time: those with blue are white, and those without are yellow."""
    with av.open(path) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24").astype(int)) for frame in container.decode(video=0)]
    for time in times:
        pixels = min(frames, key=lambda frame: abs(frame[0] - time))[1]
        bright = (pixels[..., 0] > 150) & (pixels[..., 1] > 150)
        blue = pixels[..., 2] > 120
        yield {"white": int((bright & blue).sum()), "yellow": int((bright & ~blue).sum())}


READERS = {".vtt": from_webvtt, ".srt": from_srt, "json": from_meeteval, "rttm": from_meeteval, ".mkv": from_tracks,
           ".mp4": from_tracks}

if __name__ == "__main__":
    if sys.argv[1] == "colors":
        print(json.dumps(list(colors(sys.argv[2], json.load(sys.stdin)))))
    else:
        print(json.dumps(list(READERS[sys.argv[1][-4:]](sys.argv[1]))))
