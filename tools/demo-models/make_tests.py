# SPDX-License-Identifier: MPL-2.0
"""Writes the test conversations with test sentences by test voices: OUT/talkS_N.wav, .json (SegLST), and .rttm, where S
is the number of speakers and N a number. With --demo, writes a conversation of two speakers with little noise instead."""
import argparse
import json
import random
from pathlib import Path

import soundfile as sf

from conversations import RATE, Conversation, Speech, conversation


def write(talk: Conversation, path: Path):
    sf.write(path.with_suffix(".wav"), talk.audio, RATE, subtype="PCM_16")
    rows = [dict(session_id=path.stem, speaker=str(t.speaker), words=t.text,
                 start_time=round(t.start / RATE, 2), end_time=round(t.end / RATE, 2)) for t in talk.turns]
    path.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    with path.with_suffix(".rttm").open("w") as f:
        for r in rows:
            print(f"SPEAKER {path.stem} 1 {r['start_time']:.2f} {r['end_time'] - r['start_time']:.2f} <NA> <NA> {r['speaker']} <NA> <NA>", file=f)


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--count", type=int, default=24, help="conversations for each number of speakers (default: 24)")
    a.add_argument("--seconds", type=float, default=60)
    a.add_argument("--demo", type=int, metavar="SEED", help="write only conversation.wav and conversation.json")
    o = a.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    speech = Speech(o.data)
    if o.demo is not None:
        rng = random.Random(o.demo)
        write(conversation(speech, rng, "test", 2, 50, overlap=0.3, vary=0.0, easy=True), o.out / "conversation.wav")
        (o.out / "conversation.rttm").unlink()
        return
    rng = random.Random(21)
    for speakers in (1, 2, 3, 4):
        for n in range(o.count):
            overlap = (0.0, 0.3, 0.6)[n % 3]
            write(conversation(speech, rng, "test", speakers, o.seconds, overlap=overlap, vary=0.0), o.out / f"talk{speakers}_{n}.wav")


if __name__ == "__main__":
    main()
