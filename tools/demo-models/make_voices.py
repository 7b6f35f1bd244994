#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Synthesizes the voices of hours.py: OUT/NAME.ogg with short test sentences, OUT/voices.json with their texts and
samples, and OUT/enrolled/NAME/NAME.ogg with 10 s of other sentences by the people who are enrolled. Needs espeak-ng,
flite, festival, and opusenc of opus-tools."""
import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf

from synthesize import RATE, speak
from world import sentences, voices

# The first five are enrolled. Of 35 voices of world.py, these have the largest differences between their embeddings.
PEOPLE = {
    "Ada": "espeak-en-us+Alicia-1.00", "Ben": "flite-rms-0.90", "Cleo": "flite-slt-1.12", "Dan": "espeak-en-us+m8-1.00",
    "Eve": "espeak-en-us+steph-1.00",
    "Finn": "festival-ked_diphone-1.10", "Gwen": "espeak-en-us+f2-1.00", "Hugh": "flite-kal16-1.00",
    "Iris": "espeak-en-us+grandma-1.00", "Jon": "espeak-en-us+Lee-1.00",
    "Kit": "espeak-en-gb-x-rp+boris-1.00", "Leo": "espeak-en-us+edward-1.00", "Max": "espeak-en-us+m1-1.00",
}
ENROLLED = 5
SENTENCES = 16
ENROLLMENT_S = 10
GAP = RATE // 4


def encode(x: np.ndarray, path: Path, serial: int):
    """Writes Ogg Opus at 24 kbit/s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        sf.write(wav.name, x, RATE, subtype="PCM_16")
        subprocess.run(["opusenc", "--quiet", "--speech", "--bitrate", "24", "--serial", str(serial), "--discard-comments",
                        wav.name, path], check=True)


def concatenate(spoken: list[tuple[str, np.ndarray]]) -> tuple[np.ndarray, list[dict]]:
    """Joins utterances with silence around them, and returns the samples with the text and position of each."""
    parts, rows, at = [np.zeros(GAP, np.float32)], [], GAP
    for text, x in spoken:
        rows.append(dict(text=text, start_sample=at, end_sample=at + len(x)))
        parts += [x, np.zeros(GAP, np.float32)]
        at += len(x) + GAP
    return np.concatenate(parts), rows


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out", type=Path)
    o = a.parse_args()
    table = {voice["id"]: voice for voice in voices()}
    rng, people = random.Random(18), {}
    for serial, (person, voice) in enumerate(PEOPLE.items()):
        texts = list(dict.fromkeys(sentences(rng, 3 * SENTENCES, True)))
        spoken = [(text, x.astype(np.float32) / 32768) for _, text, x in speak((table[voice], texts, serial))]
        audio, rows = concatenate(spoken[:SENTENCES])
        encode(audio, o.out / f"{person}.ogg", serial)
        people[person] = dict(voice=voice, file=f"{person}.ogg", utterances=rows)
        if serial < ENROLLED:
            seconds = np.cumsum([len(x) / RATE for _, x in spoken[SENTENCES:]])
            count = int(np.searchsorted(seconds, ENROLLMENT_S)) + 1
            audio, _ = concatenate(spoken[SENTENCES:SENTENCES + count])
            encode(audio, o.out / "enrolled" / person / f"{person}.ogg", 100 + serial)
            people[person]["enrollment"] = f"enrolled/{person}/{person}.ogg"
    (o.out / "voices.json").write_text(json.dumps(dict(people=people), indent=1) + "\n")


if __name__ == "__main__":
    main()
