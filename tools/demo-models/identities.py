#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Measures with the GStreamer element how well people keep their identities in the hours of hours.py.

For each plan, runs element.py with and without the speaker embedding model, and prints a table: cpWER with a person as
the speaker, also with the true person for each segment of the transcript, which is what remains of other errors; the
share of the time with the right label; and the processor time and memory of the whole process. A label is right if it
is the name of an enrolled person, or for others a label that is assigned to this person alone. The time is that in which
one person speaks and the transcript has a segment."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import meeteval
import numpy as np
import soundfile as sf
from scipy.optimize import linear_sum_assignment

import hours

HERE = Path(__file__).resolve().parent
RECONNECT_S = 30  # as in element.py
TICK = 0.1


def run(wav: Path, plan: dict, out: Path, models: Path, latency: str, diarization: str, precision: str, properties: list[str]) -> tuple[list[dict], float, float]:
    """Returns the SegLST of the element, with times of `wav`, its processor time in s, and its memory in MB."""
    options = [option for p in properties for option in ("--property", p)]
    options += [option for sample in plan["reconnects"] for option in ("--reconnect", str(sample))]
    command = [HERE / "element.py", "--models", models, "--out", out, "--latency", latency, "--diarization", diarization,
               "--precision", precision, *options, wav]
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"identities.py: element.py failed with status {status}")
    rows = json.loads((out / f"{wav.stem}.json").read_text())
    starts = [sample / hours.RATE + (n + 1) * RECONNECT_S for n, sample in enumerate(plan["reconnects"])]
    for row in rows:
        shift = RECONNECT_S * sum(row["start_time"] >= start for start in starts)
        row["start_time"] -= shift
        row["end_time"] -= shift
    return rows, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def label(row: dict) -> str:
    """Returns who a row belongs to: the name, else the identity, else the number."""
    if row.get("identity") is None or not row["speaker"].isdigit():
        return row["speaker"]
    return f"person {row['identity']}"


def cpwer(reference: list[dict], hypothesis: list[dict], label=label) -> float:
    session = reference[0]["session_id"]
    rows = [row | dict(session_id=session, speaker=label(row)) for row in hypothesis]
    return 100 * meeteval.wer.cpwer(meeteval.io.SegLST(reference), meeteval.io.SegLST(rows))[session].error_rate


def true_label(reference: list[dict], row: dict) -> str:
    """Returns the person who speaks most of the time of a row."""
    spoken = Counter()
    for r in reference:
        spoken[r["speaker"]] += max(0, min(r["end_time"], row["end_time"]) - max(r["start_time"], row["start_time"]))
    return spoken.most_common(1)[0][0]


def ticks(rows: list[dict], key, total: int) -> dict[str, np.ndarray]:
    out = defaultdict(lambda: np.zeros(total, bool))
    for row in rows:
        out[key(row)][round(row["start_time"] / TICK):round(row["end_time"] / TICK)] = True
    return out


def shares(reference: list[dict], hypothesis: list[dict], names: list[str]) -> dict[str, float]:
    """Returns shares of the time in %, over people who are enrolled and others."""
    total = round(max(row["end_time"] for row in reference + hypothesis) / TICK) + 1
    people, labels = ticks(reference, lambda row: row["speaker"], total), ticks(hypothesis, label, total)
    alone = sum(mask.astype(int) for mask in people.values()) == 1
    alone &= sum(mask.astype(int) for mask in labels.values()) == 1
    both = np.array([[(p & l & alone).sum() for l in labels.values()] for p in people.values()])
    right, wrong_name, time_of = (dict(enrolled=0, others=0) for _ in range(3))
    own = {list(people)[person]: list(labels)[column] for person, column in zip(*linear_sum_assignment(-both))}
    for row, person in zip(both, people):
        kind = "enrolled" if person in names else "others"
        time_of[kind] += row.sum()
        for count, name in zip(row, labels):
            right[kind] += count * (name == (person if kind == "enrolled" and names else own.get(person)))
            wrong_name[kind] += count * (name in names and name != person)
    return {f"{what} {kind}": 100 * values[kind] / max(1, time_of[kind])
            for what, values in (("right", right), ("wrong name", wrong_name)) for kind in ("enrolled", "others")} | dict(labels=len(labels))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("plans", type=Path, nargs="+")
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--voices", type=Path, default=hours.VOICES)
    a.add_argument("--speaker-embedding-model", type=Path, required=True)
    a.add_argument("--latency", default="1120")
    a.add_argument("--diarization", nargs="+", default=["lockstep", "30s"])
    a.add_argument("--precision", default="int8")
    a.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="another property of the element")
    a.add_argument("--keep", type=Path, help="folder in which to keep the transcripts")
    o = a.parse_args()
    voices = hours.read_voices(o.voices)
    embedding = f"speaker-embedding-model={o.speaker_embedding_model}"
    enrolled = f"speakers-dir={o.voices / 'enrolled'}"
    settings = {"no voices": [], "voices": [embedding], "5 enrolled": [embedding, enrolled]}
    print("| plan | diarization | voices | cpWER % | with true labels | right name of the enrolled, % of time | wrong name | others: right label | with a name | labels | processor time s | memory MB |")
    print("|---" * 12 + "|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for path in o.plans:
            plan = json.loads(path.read_text())
            wav = Path(scratch) / f"{path.stem}.wav"
            sf.write(wav, hours.mix(plan, o.voices, voices), hours.RATE, subtype="PCM_16")
            reference = hours.reference(plan, voices, path.stem)
            for diarization in o.diarization:
                for name, properties in settings.items():
                    out = (o.keep or Path(scratch)) / f"{path.stem}-{diarization}-{name.replace(' ', '-')}"
                    out.mkdir(parents=True, exist_ok=True)
                    rows, cpu, memory = run(wav, plan, out, o.models, o.latency, diarization, o.precision, properties + o.property)
                    names = [p for p in plan["levels_db"] if "enrollment" in voices[p]] if enrolled in properties else []
                    s = shares(reference, rows, names)
                    error, floor = cpwer(reference, rows), cpwer(reference, rows, lambda row: true_label(reference, row))
                    named = f"{s['right enrolled']:.1f} | {s['wrong name enrolled']:.1f}" if names else "| "
                    print(f"| {path.stem} | {diarization} | {name} | {error:.1f} | {floor:.1f} | {named} | {s['right others']:.1f} | {s['wrong name others']:.1f} "
                          f"| {s['labels']} | {cpu:.0f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
