#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Measures phrase boosting with the GStreamer element on the test conversations, and prints a table.

For several lists of phrases and strengths: how many of the phrases that were spoken are recognized (recall), how many
are inserted where nobody spoke them, and the error rate of all other words. Each segment counts as speech of the person
who speaks most of its time, so that errors of the diarizer count as little as possible. Runs element.py, which needs
python3-gi."""
import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import kaldialign

from identities import true_label
from world import CITIES, NAMES

LISTS = {
    "16 names and cities": NAMES + CITIES,
    "5 guests": "anna david emma maria robert".split(),
    "10 phrases of two words": ["heavy rain", "strong wind", "light snow", "running again", "first half", "second half",
                                "tennis final", "hockey match", "an accident", "the marathon"],
}
HERE = Path(__file__).resolve().parent
NOTHING = "*"  # stands for a missing word in an alignment


def marked(words: list[str], phrases: list[list[str]]) -> list[range]:
    """Returns the positions of phrases in `words`."""
    return [range(at, at + len(p)) for p in phrases for at in range(len(words) - len(p) + 1) if words[at:at + len(p)] == p]


def count(reference: list[str], hypothesis: list[str], phrases: list[list[str]]) -> dict[str, int]:
    """Counts spoken, recognized, and inserted phrases, and all other words and errors in them."""
    pairs = kaldialign.align(reference, hypothesis, NOTHING)
    spoken, emitted = ([(i, p[side]) for i, p in enumerate(pairs) if p[side] != NOTHING] for side in (0, 1))
    correct = {i for i, (a, b) in enumerate(pairs) if a == b}

    def occurrences(side):  # as positions in `pairs`
        return [[side[at][0] for at in span] for span in marked([word for _, word in side], phrases)]

    in_reference, in_hypothesis = occurrences(spoken), occurrences(emitted)
    listed, inserted = ({i for span in spans for i in span} for spans in (in_reference, in_hypothesis))
    other = [i for i, _ in spoken if i not in listed]
    return dict(
        spoken=len(in_reference), recognized=sum(correct.issuperset(span) for span in in_reference),
        inserted=sum(not correct.issuperset(span) for span in in_hypothesis),
        words=len(other), lost=sum(i not in correct for i in other),
        added=sum(a == NOTHING and i not in inserted for i, (a, _) in enumerate(pairs)))


def by_speaker(rows: list[dict]) -> dict[str, list[str]]:
    out = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["start_time"]):
        out[row["speaker"]] += row["words"].split()
    return out


def score(reference: list[dict], hypothesis: list[dict], phrases: list[str]) -> dict[str, int]:
    """Adds up the counts of a conversation over its speakers."""
    phrases = [phrase.split() for phrase in phrases]
    spoken, emitted = by_speaker(reference), by_speaker([row | dict(speaker=true_label(reference, row)) for row in hypothesis])
    sums = defaultdict(int)
    for speaker, words in spoken.items():
        for key, value in count(words, emitted[speaker], phrases).items():
            sums[key] += value
    return sums


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--tests", type=Path, required=True, help="folder of make_tests.py")
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--precision", choices=["fp32", "int8"], default="int8")
    a.add_argument("--boost", type=float, nargs="+", default=[0.5, 1, 2], help="strengths besides 0 (default: 0.5 1 2)")
    a.add_argument("--list", type=Path, nargs="*", help="files of phrases instead of the built-in lists, without scores")
    a.add_argument("--keep", type=Path, help="folder in which to keep the transcripts")
    o = a.parse_args()
    lists = {p.name: p.read_text().splitlines() for p in o.list} if o.list else LISTS
    tests = [(p.with_suffix(".wav"), json.loads(p.read_text())) for p in sorted(o.tests.glob("*.json"))]
    if not tests:
        a.error(f"--tests: {o.tests} contains no NAME.json")

    def transcripts(name: str, *properties: str) -> list[list[dict]]:
        with tempfile.TemporaryDirectory() as scratch:
            out = o.keep / name if o.keep else Path(scratch)
            options = [option for p in properties for option in ("--property", p)]
            command = [HERE / "element.py", "--models", o.models, "--out", out, "--precision", o.precision, *options]
            if code := subprocess.run([*command, *(wav for wav, _ in tests)]).returncode:
                sys.exit(f"boosting.py: exit code {code} of element.py")
            return [json.loads((out / f"{wav.stem}.json").read_text()) for wav, _ in tests]

    plain = transcripts("none")
    print(f"{len(tests)} conversations\n\n| phrases | strength | recognized | inserted | wrong other words |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, phrases in lists.items():
            file = Path(folder) / "phrases.txt"
            file.write_text("".join(f"{phrase}\n" for phrase in phrases))
            for boost in [0, *o.boost]:
                found = transcripts(f"{name}-{boost:g}", f"phrases={file}", f"phrase-boost={boost}") if boost else plain
                sums = defaultdict(int)
                for (_, reference), hypothesis in zip(tests, found):
                    for key, value in score(reference, hypothesis, phrases).items():
                        sums[key] += value
                print(f"| {name} | {boost:g} | {sums['recognized']} of {sums['spoken']} ({100 * sums['recognized'] / max(1, sums['spoken']):.1f}%) "
                      f"| {sums['inserted']} | {sums['lost'] + sums['added']} of {sums['words']} "
                      f"({100 * (sums['lost'] + sums['added']) / max(1, sums['words']):.1f}%) |", flush=True)


if __name__ == "__main__":
    main()
