#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Measures one step of several ONNX files of the same graph, in alternation, and prints a table with ratios to the first.

A step of the encoder is one chunk of one speaker by default. A step of the diarizer is a full speaker cache, a full
FIFO, and one chunk.
"""
import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import graph
import stream


def random_inputs(s, mel_frames: int, speakers: int, cache_frames: int, fifo_frames: int, before: int) -> dict:
    rng, shape = np.random.default_rng(0), stream.shapes(s)
    noise = lambda *dims: rng.standard_normal(dims).astype(np.float32)
    if "spkcache" in shape:
        width = shape["spkcache"][2]
        return stream.diarizer_inputs(noise(mel_frames + stream.SUBSAMPLING, shape["chunk"][2]),
                                      noise(cache_frames, width), noise(fifo_frames, width))
    if "processed_signal" in shape:
        if speakers > 1 and shape["cache_last_channel"][0] == 1:
            raise SystemExit("measure.py: expected prepared encoders for several speakers, found one for a single speaker")
        filled = stream.length(shape["cache_last_channel"][2]).repeat(speakers)
        targets = np.ones((speakers, -(-mel_frames // stream.SUBSAMPLING)), np.float32)
        caches = [*(noise(speakers, *shape[name][1:]) for name in ("cache_last_channel", "cache_last_time")), filled]
        features = noise(shape["processed_signal"][1], before + mel_frames)
        return stream.encoder_inputs(features, caches, targets, 0 * targets)
    state = np.zeros(shape["input_states_1"], np.float32)
    return {"encoder_outputs": noise(1, mel_frames // stream.SUBSAMPLING, shape["encoder_outputs"][2]),
            "targets": np.zeros((1, 1), np.int64), "input_states_1": state, "input_states_2": state}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("files", type=Path, nargs="+", help="ONNX files of the same graph; ratios are relative to the first")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--runs", type=int, default=9)
    a.add_argument("--mel-frames", type=int, default=112, help="mel frames of one or several chunks (default: 112)")
    a.add_argument("--speakers", type=int, default=1, help="speakers in one run of the encoder (default: 1)")
    a.add_argument("--before", type=int, default=9, help="mel frames before the encoder's chunk (default: 9)")
    a.add_argument("--cache-frames", type=int, default=188)
    a.add_argument("--fifo-frames", type=int, default=188)
    o = a.parse_args()
    if missing := [file for file in o.files if not file.is_file()]:
        a.error(f"{missing[0]}: no such file")
    if min(o.runs, o.speakers) < 1:
        a.error("--runs and --speakers: expected at least 1")
    sessions, times = [], []
    for file in o.files:
        start = time.perf_counter()
        try:
            sessions.append(stream.session(file, o.threads))
            load = time.perf_counter() - start
            inputs = random_inputs(sessions[-1], o.mel_frames, o.speakers, o.cache_frames, o.fifo_frames, o.before)
            sessions[-1].run(None, inputs)
        except (KeyError, *graph.RUNTIME_ERRORS) as reason:
            sys.exit(f"measure.py: {file}: expected an encoder, a decoder with joint, or a Sortformer, found: {reason}")
        times.append((load, inputs, []))
    for _ in range(o.runs):
        for s, (_, inputs, taken) in zip(sessions, times):
            time.sleep(0.05)  # the threads of the previous session stop spinning
            start = time.perf_counter()
            s.run(None, inputs)
            taken.append(1000 * (time.perf_counter() - start))
    first = statistics.median(times[0][2])
    print("| file | median ms | fastest | slowest | ratio | load s |\n|---|---|---|---|---|---|")
    for file, (load, _, taken) in zip(o.files, times):
        median = statistics.median(taken)
        print(f"| {file} | {median:.1f} | {min(taken):.1f} | {max(taken):.1f} | "
              f"{first / median:.2f} | {load:.1f} |")


if __name__ == "__main__":
    main()
