# SPDX-License-Identifier: MPL-2.0
"""Synthesizes the utterances of all voices. Writes DATA/speech.npy (16 kHz int16, concatenated) and
DATA/utterances.json (rows of voice, text, start, end). Needs espeak-ng, flite, and festival."""
import argparse
import json
import multiprocessing
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from world import sentences, voices

RATE = 16000


def trim(x: np.ndarray) -> np.ndarray:
    """Removes leading and trailing silence and normalizes the loudness."""
    loud = np.flatnonzero(np.abs(x) > 0.02 * np.abs(x).max())
    x = x[max(0, loud[0] - 400):loud[-1] + 800]
    return x * (0.08 / np.sqrt(np.mean(x ** 2)))


def speak(job: tuple[dict, list[str], int]) -> list[tuple[dict, str, bool, np.ndarray]]:
    """Synthesizes the sentences of one voice as int16 samples at 16 kHz."""
    voice, texts, seed = job
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{i}.wav" for i in range(len(texts))]
        if voice["engine"] == "festival":
            script = "\n".join([f"(voice_{voice['name']})"] + [
                f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{file}" \'riff)' for text, file in zip(texts, files)])
            subprocess.run(["festival", "-b", f"(begin {script})"], check=True, capture_output=True)
        for text, file in zip(texts, files):
            if voice["engine"] == "espeak":
                rate, pitch = voice["rate"] + rng.randint(-10, 10), voice["pitch"] + rng.randint(-5, 5)
                subprocess.run(["espeak-ng", "-v", voice["name"], "-s", str(rate), "-p", str(pitch), "-w", file, text], check=True)
            elif voice["engine"] == "flite":
                stretch = rng.uniform(0.9, 1.1)
                subprocess.run(["flite", "-voice", voice["name"], "--setf", f"duration_stretch={stretch}", "-t", text, "-o", file], check=True)
        out = []
        for text, file in zip(texts, files):
            x, rate = sf.read(file, dtype="float32")
            x = trim(soxr.resample(x, rate * voice["factor"], RATE, quality="HQ"))
            out.append((voice["id"], text, np.clip(x * 32767, -32768, 32767).astype(np.int16)))
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--data", type=Path, required=True)
    a.add_argument("--per-voice", type=int, default=130, help="utterances per training voice (default: 130)")
    a.add_argument("--per-test-voice", type=int, default=60)
    a.add_argument("--jobs", type=int, default=2)
    o = a.parse_args()
    o.data.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    jobs = []
    for i, voice in enumerate(voices()):
        count = o.per_test_voice if voice["test"] else o.per_voice * (1 if voice["engine"] == "espeak" else 2)
        texts = sentences(rng, count, voice["test"])
        if not voice["test"]:  # known voices, unknown sentences
            texts += sentences(rng, 10, True)
        jobs.append((voice, texts, i))
    rows, speech, at = [], [], 0
    with multiprocessing.Pool(o.jobs) as pool:
        for spoken in pool.imap(speak, jobs):
            for voice, text, x in spoken:
                rows.append(dict(voice=voice, text=text, start=at, end=at + len(x)))
                speech.append(x)
                at += len(x)
    np.save(o.data / "speech.npy", np.concatenate(speech))
    json.dump(rows, (o.data / "utterances.json").open("w"))
    print(f"{len(rows)} utterances, {at / RATE / 3600:.1f} h")


if __name__ == "__main__":
    main()
