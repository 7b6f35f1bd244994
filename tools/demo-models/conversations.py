# SPDX-License-Identifier: MPL-2.0
"""Mixes conversations from the synthesized utterances, with turns, overlap, levels, reverberation, and noise."""
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from world import is_test, voices

RATE, FRAME = 16000, 1280  # an encoded frame: 80 ms


@dataclass
class Turn:
    speaker: int
    text: str
    start: int  # samples
    end: int


@dataclass
class Conversation:
    audio: np.ndarray    # float32 [samples], an integral number of frames
    turns: list[Turn]    # sorted by start
    activity: np.ndarray  # float32 [frames, speakers], with speakers in order of arrival
    voices: list[str]
    factors: list[float]


class Speech:
    """The utterances by part: `train`, `known` (test sentences by training voices), and `test` (by test voices)."""

    def __init__(self, data: Path):
        self.samples = np.load(data / "speech.npy", mmap_mode="r")
        table = {v["id"]: v for v in voices()}
        self.rows = defaultdict(lambda: defaultdict(list))
        for row in json.loads((data / "utterances.json").read_text()):
            voice = table[row["voice"]]
            part = "test" if voice["test"] else "known" if is_test(row["text"]) else "train"
            self.rows[part][voice["id"]].append(row)
        self.base = {v["id"]: v["base"] for v in voices()}
        noise = np.random.default_rng(0).standard_normal((2, 60 * RATE)).astype(np.float32)
        noise[1] = np.convolve(noise[1], np.exp(-np.arange(64) / 12.0), mode="same")  # darker
        self.noise = noise / noise.std(axis=1, keepdims=True)

    def pick_voices(self, rng: random.Random, part: str, count: int) -> list[str]:
        """Picks voices of different origins, so that they sound like different people."""
        names = list(self.rows[part])
        while True:
            chosen = rng.sample(names, count)
            if len({self.base[v] for v in chosen}) == count:
                return chosen

    def utterance(self, rng, part: str, voice: str, factor: float) -> tuple[np.ndarray, str]:
        row = rng.choice(self.rows[part][voice])
        x = self.samples[row["start"]:row["end"]].astype(np.float32) / 32768
        if factor != 1.0:
            x = soxr.resample(x, RATE * factor, RATE, quality="QQ")
        return x, row["text"]


def room(rng: random.Random, x: np.ndarray) -> np.ndarray:
    """Adds light reverberation: a decaying tail of sparse reflections."""
    decay, wet = rng.uniform(0.03, 0.12), rng.uniform(0.05, 0.3)
    y = x.copy()
    for _ in range(12):
        delay = int(rng.uniform(0.004, 0.25) * RATE)
        y[delay:] += wet * np.exp(-delay / RATE / decay) * rng.choice((-1, 1)) * x[:-delay]
    return y


def conversation(speech: Speech, rng: random.Random, part: str, speakers: int, seconds: float, overlap: float = 0.3,
                 vary: float = 0.06, factors: list[float] | None = None, max_turns: int = 999, easy: bool = False,
                 names: list[str] | None = None) -> Conversation:
    """Mixes a conversation. `overlap` is the probability that a turn begins before the previous one ends, and `vary` is
    the spread of speed. `easy` means no reverberation and little noise. `names` are the voices; the default is random."""
    names = names or speech.pick_voices(rng, part, speakers)
    factors = factors or [rng.uniform(1 - vary, 1 + vary) for _ in names]
    gains = [10 ** (rng.uniform(-9, 0) / 20) for _ in names]
    total = int(seconds * RATE) // FRAME * FRAME
    audio = np.zeros(total, np.float32)
    turns, own_end, last_end, last = [], [0] * speakers, 0, None
    order = list(range(speakers))  # first each speaker has a turn, then turns are random
    while len(turns) < max_turns:
        others = [s for s in range(speakers) if s != last] or [0]
        k = order.pop(0) if order else last if last is not None and rng.random() < 0.15 else rng.choice(others)
        x, text = speech.utterance(rng, part, names[k], factors[k])
        if turns and rng.random() < overlap:
            start = last_end - int(rng.uniform(0.2, 1.0) * min(len(x), turns[-1].end - turns[-1].start))
        else:
            start = last_end + int(rng.choice((rng.uniform(0.1, 0.6), rng.uniform(0.3, 2.0))) * RATE)
        start = max(start, own_end[k] + int(rng.uniform(0.15, 0.5) * RATE), 0)
        if start + len(x) + RATE // 4 > total:
            if turns:
                break
            start = 0
            if len(x) > total:
                x = x[:0]
                continue
        audio[start:start + len(x)] += gains[k] * x
        turns.append(Turn(k, text, start, start + len(x)))
        own_end[k], last = start + len(x), k
        last_end = max(last_end, start + len(x))
    if not easy and rng.random() < 0.4:
        audio = room(rng, audio)
    kind, at = rng.randrange(2), rng.randrange(60 * RATE - total) if total < 60 * RATE else 0
    level = 10 ** (-rng.uniform(35 if easy else 12, 45) / 20) * 0.08
    noise = speech.noise[kind]
    audio = audio + level * (np.resize(noise, total) if total > len(noise) else noise[at:at + total])
    audio *= 10 ** (rng.uniform(-8, 6) / 20)
    turns.sort(key=lambda t: t.start)
    arrival = list(dict.fromkeys(t.speaker for t in turns))
    activity = np.zeros((total // FRAME, len(arrival)), np.float32)
    for t in turns:
        t.speaker = arrival.index(t.speaker)
        activity[round(t.start / FRAME):round(t.end / FRAME), t.speaker] = 1
    return Conversation(np.clip(audio, -1, 1).astype(np.float32), turns, activity, [names[k] for k in arrival],
                        [factors[k] for k in arrival])


def single(speech: Speech, rng: random.Random, part: str, easy: bool = False) -> Conversation:
    """Returns one utterance with a little silence on both sides."""
    c = conversation(speech, rng, part, 1, 7.0, max_turns=1, easy=easy)
    t = c.turns[0]
    first = max(0, t.start - int(rng.uniform(0.0, 0.8) * RATE)) // FRAME
    last = (t.end + int(rng.uniform(0.3, 1.0) * RATE)) // FRAME + 1
    turn = Turn(0, t.text, t.start - first * FRAME, t.end - first * FRAME)
    return Conversation(c.audio[first * FRAME:last * FRAME], [turn], c.activity[first:last], c.voices, c.factors)


def imitate_diarizer(rng: random.Random, activity: np.ndarray, speakers: int = 4) -> np.ndarray:
    """Returns probabilities [frames, speakers] with the errors of a diarizer: soft and shifted edges, dips, levels below
    1 in overlaps, false alarms, and noise in every value."""
    frames, known = activity.shape
    p = np.zeros((frames, speakers), np.float32)
    for k in range(known):
        edges = np.flatnonzero(np.diff(np.pad(activity[:, k], 1))).reshape(-1, 2)
        for start, end in edges:
            start, end = max(0, start + rng.choice((-1, 0, 0, 0, 1, 2))), end + rng.choice((-2, -1, 0, 0, 0, 1, 2))
            p[start:end, k] = 1
            if rng.random() < 0.2:
                at = rng.randint(start, max(start, end))
                p[at:at + rng.randint(1, 4), k] = rng.uniform(0.2, 0.8)
    busy = p.sum(axis=1) > 1.5
    if rng.random() < 0.5:
        p[busy] *= rng.uniform(0.5, 1.0)
    if rng.random() < 0.2:  # uncertain about one speaker
        p[:, rng.randrange(speakers)] *= rng.uniform(0.55, 1.0)
    while rng.random() < 0.3:
        k, at = rng.randrange(speakers), rng.randrange(frames)
        p[at:at + rng.randint(1, 6), k] = rng.uniform(0.2, 0.9)
    if rng.random() < 0.8:
        q = np.pad(p, ((1, 1), (0, 0)), mode="edge")
        p = 0.25 * q[:-2] + 0.5 * q[1:-1] + 0.25 * q[2:]
    sharp = rng.uniform(5, 11)
    logit = sharp * (p - 0.5) + rng.uniform(0.2, 0.8) * np.random.default_rng(rng.randrange(2**31)).standard_normal(p.shape)
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def gated_frames(p: np.ndarray, k: int, chunk: int) -> np.ndarray:
    """Returns the frames in which the recognizer runs for speaker k: chunks in which k is active, and the next ones."""
    frames = len(p)
    active = [p[at:at + chunk, k].max() > 0.5 for at in range(0, frames, chunk)]
    keep = [now or (i > 0 and active[i - 1]) for i, now in enumerate(active)]
    return np.flatnonzero(np.repeat(keep, chunk)[:frames])
