#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Runs a recognizer over the test conversations in several settings and prints a table of cpWER and DER.

TESTS contains NAME.wav, NAME.json (SegLST), and NAME.rttm, as written by make_tests.py. The command runs once per
setting, with {models} {tests} {out} {latency} {diarization} {precision} substituted. It writes OUT/NAME.json (SegLST),
and OUT/NAME.rttm if it diarizes; otherwise the DER is computed from the times of the segments.

cpWER is computed by meeteval. DER counts missed, false, and confused speaker time without a collar, including overlap.
"""
import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import meeteval
import numpy as np
from scipy.optimize import linear_sum_assignment

OPTIONS = " --models {models} --out {out} --latency {latency} --diarization {diarization} --precision {precision} {tests}/*.wav"
HERE = Path(__file__).resolve().parent
RECOGNIZE = shlex.join([sys.executable, str(HERE / "recognize.py")]) + OPTIONS
ELEMENT = shlex.quote(str(HERE / "element.py")) + OPTIONS
# Latency in ms, diarization, and precision.
SETTINGS = [(1120, "30s", "fp32"), (1120, "30s", "int8"), (560, "30s", "fp32"), (160, "30s", "fp32"), (80, "30s", "fp32"),
            (1120, "lockstep", "fp32"), (1120, "lockstep", "int8"), (1120, "10s", "fp32"), (1120, "1s", "fp32"), (560, "lockstep", "fp32"),
            (160, "lockstep", "fp32")]
TICK = 0.01


def activity(path: Path) -> dict[str, list]:
    """Returns {speaker: [(start, end)]} from an RTTM file, or from SegLST if there is no RTTM."""
    out = defaultdict(list)
    if path.with_suffix(".rttm").exists():
        for line in path.with_suffix(".rttm").read_text().splitlines():
            _, _, _, start, length, _, _, speaker, *_ = line.split()
            out[speaker].append((float(start), float(start) + float(length)))
    else:
        for row in json.loads(path.with_suffix(".json").read_text()):
            out[row["speaker"]].append((row["start_time"], row["end_time"]))
    return out


def der(reference: Path, hypothesis: Path) -> tuple[float, float]:
    """Returns wrong and total speaker time in seconds, with the best assignment of speakers."""
    sides = [activity(reference), activity(hypothesis)]
    ticks = round(max((end for side in sides for spans in side.values() for _, end in spans), default=0) / TICK) + 1
    masks = []
    for side in sides:
        mask = np.zeros((max(1, len(side)), ticks), bool)
        for row, spans in zip(mask, side.values()):
            for start, end in spans:
                row[round(start / TICK):round(end / TICK)] = True
        masks.append(mask)
    ref, hyp = masks
    both = (ref[:, None] & hyp[None]).sum(2)
    correct = both[linear_sum_assignment(-both)].sum()
    return (np.maximum(ref.sum(0), hyp.sum(0)).sum() - correct) * TICK, ref.sum() * TICK


def score(tests: Path, out: Path) -> dict[str, tuple[float, float]]:
    """Returns {group of conversations: (cpWER, DER)} in %."""
    sums = defaultdict(lambda: np.zeros(4))
    for path in sorted(tests.glob("*.json")):
        reference, hypothesis = json.loads(path.read_text()), json.loads((out / path.name).read_text())
        for row in hypothesis:
            row["session_id"] = path.stem
        if hypothesis:
            result = meeteval.wer.cpwer(meeteval.io.SegLST(reference), meeteval.io.SegLST(hypothesis))[path.stem]
            errors, words = result.errors, result.length
        else:
            errors = words = sum(len(row["words"].split()) for row in reference)
        group = str(len({row["speaker"] for row in reference}))
        for g in (group, "all"):
            sums[g] += (errors, words, *der(path, out / path.name))
    return {g: (100 * s[0] / s[1], 100 * s[2] / s[3]) for g, s in sums.items()}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--tests", type=Path, required=True)
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--command", default=RECOGNIZE, help="command to run (default: recognize.py)")
    a.add_argument("--element", dest="command", action="store_const", const=ELEMENT, help="run the GStreamer element with element.py")
    a.add_argument("--setting", action="append", metavar="LATENCY,DIARIZATION,PRECISION", help="setting to run instead of the default list")
    a.add_argument("--keep", type=Path, help="folder in which to keep the transcripts")
    o = a.parse_args()
    settings = [s.split(",") for s in o.setting] if o.setting else SETTINGS
    if wrong := [s for s in settings if len(s) != 3]:
        a.error(f"--setting: expected LATENCY,DIARIZATION,PRECISION, found {','.join(wrong[0])}")
    if not any(o.tests.glob("*.json")):
        a.error(f"--tests: {o.tests} contains no NAME.json")
    groups = [*sorted({str(len({r["speaker"] for r in json.loads(p.read_text())})) for p in o.tests.glob("*.json")}), "all"]
    print("| latency | diarization | precision | " + " | ".join(f"cpWER {g}" for g in groups) + " | " + " | ".join(f"DER {g}" for g in groups) + " |")
    print("|---" * (3 + 2 * len(groups)) + "|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for latency, diarization, precision in settings:
            out = (o.keep or Path(scratch)) / f"{latency}-{diarization}-{precision}"
            out.mkdir(parents=True, exist_ok=True)
            folders = {name: shlex.quote(str(path)) for name, path in (("models", o.models), ("tests", o.tests), ("out", out))}
            command = o.command.format(**folders, latency=latency, diarization=diarization, precision=precision)
            if code := subprocess.run(command, shell=True, stdout=sys.stderr).returncode:
                sys.exit(f"evaluate.py: exit code {code} of {command}")
            result = score(o.tests, out)
            print(f"| {latency} ms | {diarization} | {precision} | " + " | ".join(f"{result[g][0]:.1f}" for g in groups)
                  + " | " + " | ".join(f"{result[g][1]:.1f}" for g in groups) + " |", flush=True)


if __name__ == "__main__":
    main()
