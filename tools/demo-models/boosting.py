#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Measures phrase boosting with the GStreamer element on the test conversations, and prints a table.

For several lists of phrases and strengths: how many of the phrases that were spoken are recognized (recall), how many
are inserted where nobody spoke them, and the error rate of all other words. Speakers are assigned as in cpWER. Runs
element.py, which needs python3-gi."""
import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import kaldialign
import meeteval

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
    sides = by_speaker(reference), by_speaker(hypothesis)
    assignment = [(speaker, None) for speaker in sides[0]]
    if hypothesis:
        session = reference[0]["session_id"]
        hypothesis = [row | dict(session_id=session) for row in hypothesis]
        assignment = meeteval.wer.cpwer(meeteval.io.SegLST(reference), meeteval.io.SegLST(hypothesis))[session].assignment
    sums = defaultdict(int)
    for ref, hyp in assignment:
        for key, value in count(sides[0].get(ref, []), sides[1].get(hyp, []), phrases).items():
            sums[key] += value
    return sums


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--tests", type=Path, required=True, help="folder of make_tests.py")
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--precision", choices=["fp32", "int8"], default="int8")
    a.add_argument("--boost", type=float, nargs="+", default=[0.5, 1, 2], help="strengths besides 0 (default: 0.5 1 2)")
    a.add_argument("--list", type=Path, nargs="*", help="files of phrases instead of the built-in lists, without scores")
    o = a.parse_args()
    lists = {p.name: p.read_text().splitlines() for p in o.list} if o.list else LISTS
    tests = [(p.with_suffix(".wav"), json.loads(p.read_text())) for p in sorted(o.tests.glob("*.json"))]
    if not tests:
        a.error(f"--tests: {o.tests} contains no NAME.json")

    def transcripts(*properties: str) -> list[list[dict]]:
        with tempfile.TemporaryDirectory() as out:
            options = [option for p in properties for option in ("--property", p)]
            command = [HERE / "element.py", "--models", o.models, "--out", out, "--precision", o.precision, *options]
            if code := subprocess.run([*command, *(wav for wav, _ in tests)]).returncode:
                sys.exit(f"boosting.py: exit code {code} of element.py")
            return [json.loads((Path(out) / f"{wav.stem}.json").read_text()) for wav, _ in tests]

    plain = transcripts()
    print(f"{len(tests)} conversations\n\n| phrases | strength | recognized | inserted | wrong other words |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, phrases in lists.items():
            file = Path(folder) / "phrases.txt"
            file.write_text("".join(f"{phrase}\n" for phrase in phrases))
            for boost in [0, *o.boost]:
                found = transcripts(f"phrases={file}", f"phrase-boost={boost}") if boost else plain
                sums = defaultdict(int)
                for (_, reference), hypothesis in zip(tests, found):
                    for key, value in score(reference, hypothesis, phrases).items():
                        sums[key] += value
                print(f"| {name} | {boost:g} | {sums['recognized']} of {sums['spoken']} ({100 * sums['recognized'] / max(1, sums['spoken']):.1f}%) "
                      f"| {sums['inserted']} | {sums['lost'] + sums['added']} of {sums['words']} "
                      f"({100 * (sums['lost'] + sums['added']) / max(1, sums['words']):.1f}%) |", flush=True)


if __name__ == "__main__":
    main()
