# SPDX-License-Identifier: MPL-2.0
"""Computes log-mel features by definition, in double precision and with another Fourier transform than the engine's.

Usage: log_mel.py WAV FEATURES, where FEATURES contains the engine's features as rows of 128 little-endian floats.
Prints the number of rows of both and the maximum difference.
"""
import sys
import wave

import numpy as np

RATE, HOP, WINDOW, FFT, MELS, PREEMPHASIS = 16_000, 160, 400, 512, 128, 0.97


def mel(hz):
    """Converts Hz to Slaney's scale: linear below 1 kHz, logarithmic above."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))


def hz(mels):
    return np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))


def filterbank():
    """Returns triangular filters of equal area [mels, bins]."""
    edges = hz(np.linspace(0, mel(np.array(RATE / 2)), MELS + 2))
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def log_mel(samples):
    """Computes [frames, mels]."""
    emphasized = np.append(samples[:1], samples[1:] - PREEMPHASIS * samples[:-1])
    padded = np.pad(emphasized, FFT // 2)
    window = np.zeros(FFT)
    at = (FFT - WINDOW) // 2
    window[at:at + WINDOW] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP][:len(samples) // HOP]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return np.log(power @ filterbank().T + 2.0 ** -24)


with wave.open(sys.argv[1]) as file:
    assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
    audio = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
engine = np.fromfile(sys.argv[2], "<f4").reshape(-1, MELS)
reference = log_mel(audio)
count = min(len(engine), len(reference))
print(len(engine), len(reference), np.abs(engine[:count] - reference[:count]).max())
