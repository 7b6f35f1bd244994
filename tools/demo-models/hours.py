#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Plans and mixes long conversations of people who come and go, out of the voices of make_voices.py.

A plan is a JSON file: the level of each person, the turns with their first samples at 16 kHz, the samples at which the
stream reconnects, and the level of the noise. `plan` makes one from a seed; `mix` writes OUT.wav, OUT.json (SegLST, with
the person as the speaker), and OUT.rttm."""
import argparse
import json
import random
from pathlib import Path

import numpy as np
import soundfile as sf

RATE = 16000
VOICES = Path(__file__).resolve().parents[2] / "testdata/voices"


def block_people(rng: random.Random, spoken: dict[str, int], previous: set[str]) -> list[str]:
    """Picks the 2 to 4 people of a block, rather those who have spoken little, and not the same ones as before."""
    while True:
        count = rng.choice((2, 3, 3, 4))
        ranked = sorted(spoken, key=lambda person: spoken[person] * rng.uniform(0.5, 1.5))
        people = ranked[:count]
        if set(people) != previous:
            return people


def block_turns(rng: random.Random, people: list[str], lengths: dict[str, list[int]], start: int, end: int) -> list[dict]:
    """Plans the turns of one block, of one to three sentences each. About a tenth of the speech overlaps."""
    turns, free, recent = [], dict.fromkeys(people, start), {}
    last_end, last_length, last = start, 0, None
    order = rng.sample(people, len(people))  # first each person has a turn, then turns are random
    while last_end < end:
        person = order.pop(0) if order else rng.choice([p for p in people if p != last])
        for sentence in range(rng.choice((1, 1, 2, 3))):
            utterance = rng.choice([u for u in range(len(lengths[person])) if u != recent.get(person)])
            recent[person] = utterance
            length = lengths[person][utterance]
            if sentence > 0:
                at = free[person] + int(rng.uniform(0.15, 0.5) * RATE)
            elif turns and rng.random() < 0.5:
                at = last_end - int(rng.uniform(0.15, 0.65) * min(length, last_length))
            else:
                at = last_end + int(rng.choice((rng.uniform(0.1, 0.6), rng.uniform(0.3, 2.0))) * RATE)
            at = max(at, free[person] + int(0.15 * RATE), start)
            turns.append(dict(person=person, utterance=utterance, start_sample=at))
            free[person], last_length = at + length, length
            last_end = max(last_end, at + length)
        last = person
    return turns


def silences(turns: list[dict], lengths: dict[str, list[int]], shortest: int) -> list[int]:
    """Returns the middle samples of the silences of at least `shortest` samples."""
    out, end = [], 0
    for turn in turns:
        if turn["start_sample"] - end >= shortest:
            out.append((turn["start_sample"] + end) // 2)
        end = max(end, turn["start_sample"] + lengths[turn["person"]][turn["utterance"]])
    return out


def make_plan(voices: dict, people: list[str], seconds: float, reconnects: int, seed: int) -> dict:
    """Plans a conversation of `people`, in blocks of 2 to 6 minutes with pauses of 5 to 60 s between them. Reconnects
    lie in silences of half a second and more, so no word is lost in one, but often in the middle of a block."""
    rng = random.Random(seed)
    lengths = {p: [u["end_sample"] - u["start_sample"] for u in voices[p]["utterances"]] for p in people}
    total, at = int(seconds * RATE), RATE
    turns, spoken, previous = [], dict.fromkeys(people, 0), set()
    while at < total - 30 * RATE:
        present = block_people(rng, spoken, previous)
        block = block_turns(rng, present, lengths, at, min(at + int(rng.uniform(120, 360) * RATE), total - 15 * RATE))
        for turn in block:
            spoken[turn["person"]] += lengths[turn["person"]][turn["utterance"]]
        turns += block
        at = max(t["start_sample"] + lengths[t["person"]][t["utterance"]] for t in block) + int(rng.uniform(5, 60) * RATE)
        previous = set(present)
    turns.sort(key=lambda turn: turn["start_sample"])
    turns = [t for t in turns if t["start_sample"] + lengths[t["person"]][t["utterance"]] <= total]
    spots, cuts = silences(turns, lengths, RATE // 2), []
    for n in range(reconnects):
        wanted = (n + rng.uniform(0.7, 1.3)) * total / (reconnects + 0.5)
        cuts.append(min(spots, key=lambda spot: abs(spot - wanted)))
    return dict(samples=total, seed=seed, noise_dbfs=-58, reconnects=cuts,
                levels_db={person: round(rng.uniform(-6, 0), 1) for person in people}, turns=turns)


def write_plan(plan: dict, path: Path):
    """Writes a plan with one turn on each line."""
    head = json.dumps({key: value for key, value in plan.items() if key != "turns"})[:-1]
    turns = ",\n".join(json.dumps(turn) for turn in plan["turns"])
    path.write_text(f'{head}, "turns": [\n{turns}\n]}}\n')


def read_voices(folder: Path) -> dict:
    return json.loads((folder / "voices.json").read_text())["people"]


def speech(folder: Path, voices: dict, person: str) -> list[np.ndarray]:
    """Returns the utterances of a person."""
    x, rate = sf.read(folder / voices[person]["file"], dtype="float32")
    if rate != RATE:
        raise SystemExit(f"{folder / voices[person]['file']}: expected {RATE} Hz, found {rate}")
    return [x[u["start_sample"]:u["end_sample"]] for u in voices[person]["utterances"]]


def mix(plan: dict, folder: Path, voices: dict) -> np.ndarray:
    """Mixes the audio of a plan, with white noise at its level."""
    audio = 10 ** (plan["noise_dbfs"] / 20) * np.random.default_rng(plan["seed"]).standard_normal(plan["samples"], np.float32)
    bank = {person: speech(folder, voices, person) for person in plan["levels_db"]}
    for turn in plan["turns"]:
        x, start = bank[turn["person"]][turn["utterance"]], turn["start_sample"]
        audio[start:start + len(x)] += 10 ** (plan["levels_db"][turn["person"]] / 20) * x
    return np.clip(audio, -1, 1)


def reference(plan: dict, voices: dict, session: str) -> list[dict]:
    """Returns the rows of SegLST, with the person as the speaker."""
    rows = []
    for turn in plan["turns"]:
        said = voices[turn["person"]]["utterances"][turn["utterance"]]
        end = turn["start_sample"] + said["end_sample"] - said["start_sample"]
        rows.append(dict(session_id=session, speaker=turn["person"], words=said["text"],
                         start_time=round(turn["start_sample"] / RATE, 3), end_time=round(end / RATE, 3)))
    return rows


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--voices", type=Path, default=VOICES, help="folder of make_voices.py (default: testdata/voices)")
    commands = a.add_subparsers(required=True)
    p = commands.add_parser("plan", help="make a plan from a seed")
    p.add_argument("--people", type=int, default=6, help="number of people, the first ones of voices.json (default: 6)")
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--reconnects", type=int, default=4)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("plan", type=Path)
    p.set_defaults(run=plan_command)
    m = commands.add_parser("mix", help="write OUT.wav, OUT.json, and OUT.rttm")
    m.add_argument("plan", type=Path)
    m.add_argument("out", type=Path)
    m.set_defaults(run=mix_command)
    o = a.parse_args()
    o.run(o)


def plan_command(o):
    voices = read_voices(o.voices)
    if not 2 <= o.people <= len(voices):
        raise SystemExit(f"--people: expected 2 to {len(voices)}, found {o.people}")
    write_plan(make_plan(voices, list(voices)[:o.people], 60 * o.minutes, o.reconnects, o.seed), o.plan)


def mix_command(o):
    voices, plan = read_voices(o.voices), json.loads(o.plan.read_text())
    sf.write(o.out.with_suffix(".wav"), mix(plan, o.voices, voices), RATE, subtype="PCM_16")
    rows = reference(plan, voices, o.out.stem)
    o.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    with o.out.with_suffix(".rttm").open("w") as file:
        for r in rows:
            print(f"SPEAKER {o.out.stem} 1 {r['start_time']:.3f} {r['end_time'] - r['start_time']:.3f} <NA> <NA> {r['speaker']} <NA> <NA>", file=file)


if __name__ == "__main__":
    main()
