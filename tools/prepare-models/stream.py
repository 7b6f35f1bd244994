# SPDX-License-Identifier: MPL-2.0
"""A small streaming recognizer around the graphs: features, diarizer, gating, encoder, and greedy decoding.

It corresponds to tools/reference/reference.py without PyTorch. Its speaker cache simply keeps the most recent frames,
because the selection of frames does not depend on the graphs.
"""
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

RATE, HOP, FFT, WINDOW = 16000, 160, 512, 400
SUBSAMPLING, MAX_SYMBOLS = 8, 10
MAX_CHUNKS = "max_chunks"  # metadata key of an encoder that processes several chunks and any number of speakers per run
CACHE_FRAMES, FIFO_FRAMES, UPDATE_FRAMES = 94, 47, 36


def read_wav(path: Path) -> np.ndarray:
    try:
        with wave.open(str(path)) as f:
            kind = f"{8 * f.getsampwidth()}-bit, {f.getnchannels()} channels at {f.getframerate()} Hz"
            samples = f.readframes(f.getnframes())
    except (wave.Error, EOFError) as reason:
        raise ValueError(f"{path}: expected a WAV file of integers, found: {str(reason) or 'its end'}") from reason
    if kind != f"16-bit, 1 channels at {RATE} Hz":
        raise ValueError(f"{path}: expected 16-bit, 1 channel at {RATE} Hz, found {kind}")
    if len(samples) < 2 * RATE:
        raise ValueError(f"{path}: expected at least 1 s, found {len(samples) / 2 / RATE:.2f} s")
    return np.frombuffer(samples, "<i2").astype(np.float32) / 32768


def synthetic_audio(seconds: float = 20.3) -> np.ndarray:
    """Returns two synthetic voices with overlap: harmonics with a moving pitch, a rhythm of syllables, and noise."""
    rng = np.random.default_rng(0)
    t = np.arange(int(seconds * RATE)) / RATE
    audio = 0.003 * rng.standard_normal(len(t))
    for pitch, rhythm, turn in ((110, 4.1, 0.0), (205, 4.7, 2.2)):
        phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.15 * np.sin(2 * np.pi * 0.6 * t + turn))) / RATE
        formant = 700 + 400 * np.sin(2 * np.pi * 1.3 * t + turn)
        voice = sum(np.sin(h * phase) * np.exp(-((h * pitch - formant) / 500) ** 2) for h in range(1, 24))
        envelope = np.clip(np.sin(2 * np.pi * rhythm * t), 0, 1) * (np.sin(2 * np.pi * t / 5 + turn) > -0.3)
        audio += 0.1 * voice * envelope
    return audio.astype(np.float32)


def mel_filters(bins: int) -> np.ndarray:
    """Returns Slaney's triangular filters of equal area, from 0 Hz to half the sample rate."""
    step = np.log(6.4) / 27
    to_hz = lambda mel: np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))
    edges = to_hz(np.linspace(0, 15 + np.log(RATE / 2 / 1000) / step, bins + 2))[:, None]
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    hz = np.arange(FFT // 2 + 1) * RATE / FFT
    return np.maximum(0, np.minimum((hz - low) / (center - low), (high - hz) / (high - center))) * 2 / (high - low)


def log_mel(audio: np.ndarray, bins: int) -> np.ndarray:
    """Computes [bins, frames]: NeMo's features without dither and normalization."""
    audio = np.concatenate([audio[:1], audio[1:] - 0.97 * audio[:-1]])
    audio = np.pad(audio, (WINDOW // 2, WINDOW // 2))
    frames = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[::HOP][:(len(audio) - WINDOW) // HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), FFT)) ** 2
    return np.log(mel_filters(bins) @ power.T + 2.0 ** -24).astype(np.float32)


@dataclass
class Chunk:
    """Mel frames of a chunk, and mel frames before it that the encoder also reads."""
    mel_frames: int
    before: int


@dataclass
class Models:
    encoder: Path
    joint: Path
    diarizers: list[Path]


@dataclass
class Outcome:
    """Results of the stages. The path contains the decoder's output for each speaker, including blanks."""
    probabilities: dict = field(default_factory=dict)
    hires: dict = field(default_factory=dict)
    embeddings: dict = field(default_factory=dict)
    encoded: dict = field(default_factory=dict)
    logits: dict = field(default_factory=dict)
    path: dict = field(default_factory=dict)
    tokens: dict = field(default_factory=dict)


def session(path: Path, threads: int = 0) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def shapes(s: ort.InferenceSession) -> dict:
    return {i.name: i.shape for i in s.get_inputs()}


def length(frames: int) -> np.ndarray:
    return np.array([frames], np.int64)


def is_version_3(graph_outputs, metadata) -> bool:
    """Returns whether a Sortformer reads chunks padded to whole encoded frames. `graph_outputs` maps names to shapes."""
    speakers = {shape[2] for name, shape in graph_outputs.items() if name.endswith("preds")}
    keys = {key.rsplit(".")[-1] for key in metadata}
    return "preds_hires" in graph_outputs or "preds_diar" in graph_outputs or bool(speakers - {4}) \
        or bool(keys & {"n_spk", "upsample_factor", "learnable_sil_emb"})


def diarizer_inputs(chunk, cache, fifo, padded: bool = False) -> dict:
    """Builds the inputs from [frames, width] arrays. `padded` pads the chunk to whole encoded frames; `chunk_lengths`
    remains the length before padding."""
    padding = -len(chunk) % SUBSAMPLING if padded else 0
    return {"chunk": np.pad(chunk, ((0, padding), (0, 0)))[None], "chunk_lengths": length(len(chunk)),
            "spkcache": cache[None], "spkcache_lengths": length(len(cache)),
            "fifo": fifo[None], "fifo_lengths": length(len(fifo))}


def encoder_inputs(features, caches, speaker, background) -> dict:
    """Builds the inputs from `features` [bins, frames] and targets [speakers, encoded frames]."""
    attention, convolution, filled = caches
    return {"processed_signal": np.ascontiguousarray(features[None]),
            "processed_signal_length": length(features.shape[1]), "cache_last_channel": attention,
            "cache_last_time": convolution, "cache_last_channel_len": filled,
            "spk_targets": np.ascontiguousarray(speaker), "bg_spk_targets": np.ascontiguousarray(background)}


def empty_caches(shape: dict) -> list:
    attention, convolution = (shape[k] for k in ("cache_last_channel", "cache_last_time"))
    return [np.zeros([1, *attention[1:]], np.float32), np.zeros([1, *convolution[1:]], np.float32), length(0)]


def diarize(path: Path, audio: np.ndarray, chunk: int):
    """Runs the diarizer in chunks of `chunk` mel frames. Returns probabilities and embeddings with one row per 80 ms
    frame, and the 10 ms probabilities of version 3."""
    s = session(path)
    mel = log_mel(audio, shapes(s)["chunk"][2]).T
    cache = fifo = np.zeros((0, shapes(s)["spkcache"][2]), np.float32)
    named = {o.name: o.shape for o in s.get_outputs()}
    version_3 = is_version_3(named, s.get_modelmeta().custom_metadata_map)
    outputs = ["preds_diar" if "preds_diar" in named else "spkcache_fifo_chunk_preds", "chunk_pre_encode_embs"]
    outputs += ["preds_hires"] * ("preds_hires" in named)
    rows, embeddings, hires = [], [], []
    for start in range(0, len(mel), chunk):
        left = 0 if version_3 else min(SUBSAMPLING, start)
        probability, embedding, *fine = (v[0] for v in s.run(
            outputs, diarizer_inputs(mel[start - left:start + chunk], cache, fifo, version_3)))
        skip = left // SUBSAMPLING
        rows.append(probability[len(cache) + len(fifo) + skip:])
        embeddings.append(embedding[skip:])
        hires += fine
        fifo = np.concatenate([fifo, embedding[skip:]])
        if len(fifo) > FIFO_FRAMES:
            leaving = max(UPDATE_FRAMES, len(fifo) - FIFO_FRAMES)
            cache, fifo = np.concatenate([cache, fifo[:leaving]])[-CACHE_FRAMES:], fifo[leaving:]
    return np.concatenate(rows), np.concatenate(embeddings), np.concatenate(hires) if hires else None


def two_in_turn(frames: int) -> np.ndarray:
    """Returns probabilities of two synthetic speakers who alternate and overlap and are never silent."""
    t = np.arange(frames)
    return np.stack([0.5 + 0.45 * np.sin(t / 9), 0.5 + 0.45 * np.sin(t / 14 + 2)], axis=1).astype(np.float32)


def joined(gated: np.ndarray):
    """Splits a group of chunks, given as gating decisions [chunks, speakers], into runs (first chunk, end, speakers)."""
    runs = {}
    for j in range(gated.shape[1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], gated[:, j], [0]])))
        for first, end in edges.reshape(-1, 2):
            runs.setdefault((int(first), int(end)), []).append(j)
    return [(*chunks, speakers) for chunks, speakers in sorted(runs.items())]


def encode(path: Path, audio: np.ndarray, sizes: Chunk, probabilities) -> dict:
    """Returns the encoded frames of each speaker from the chunks in which the speaker runs. A model that supports several
    chunks and speakers per run processes as many as possible."""
    s = session(path)
    mel = log_mel(audio, shapes(s)["processed_signal"][1])
    chunk, before = sizes.mel_frames, sizes.before
    frames, at_once = chunk // SUBSAMPLING, int(s.get_modelmeta().custom_metadata_map.get(MAX_CHUNKS, 0))
    if probabilities is None:
        probabilities = two_in_turn(-(-mel.shape[1] // SUBSAMPLING))
    chunks = -(-mel.shape[1] // chunk)
    recent = np.array([probabilities[max(0, k - 1) * frames:(k + 1) * frames].max(axis=0) for k in range(chunks)])
    # At least one speaker runs in every chunk, so that silent or unusual audio is also a valid check.
    gated = (recent > 0.5) | (recent == recent.max(axis=1, keepdims=True))
    background = np.stack([np.delete(probabilities, j, axis=1).max(axis=1, initial=0)
                           for j in range(probabilities.shape[1])])
    mel = np.pad(mel, ((0, 0), (before, 0)))
    encoded, caches = {}, {}
    for group in range(0, chunks, max(at_once, 1)):
        for first, end, speakers in joined(gated[group:group + max(at_once, 1)].astype(int)):
            of = slice((group + first) * frames, (group + end) * frames)
            features = mel[:, (group + first) * chunk:(group + end) * chunk + before]
            for batch in [speakers] if at_once else [[j] for j in speakers]:
                rows = [np.concatenate(c) for c in zip(*(caches.get(j) or empty_caches(shapes(s)) for j in batch))]
                out, valid, *rows = s.run(None, encoder_inputs(
                    features, rows, probabilities[of, batch].T, background[batch, of]))
                for i, j in enumerate(batch):
                    caches[j] = [row[i:i + 1] for row in rows]
                    encoded.setdefault(j, []).append(out[i, :, :valid[0]].T)
    return {j: np.concatenate(parts) for j, parts in encoded.items()}


def blank_token(s: ort.InferenceSession) -> int:
    """Returns the blank, which is the last token, from the width of the logits."""
    return next(o.shape[3] for o in s.get_outputs() if o.name == "outputs") - 1


def decode(s: ort.InferenceSession, frames: np.ndarray, path=None):
    """Decodes greedily or along a given path. Returns the path and its logits."""
    blank = blank_token(s)
    shape = shapes(s)["input_states_1"]
    token, state = blank, [np.zeros(shape, np.float32)] * 2
    taken, logits = [], []
    for frame in frames:
        for _ in range(MAX_SYMBOLS):
            out, *new = s.run(["outputs", "states_1", "states_2"], {
                "encoder_outputs": frame[None, None], "targets": np.array([[token]], np.int64),
                "input_states_1": state[0], "input_states_2": state[1]})
            logits.append(out.ravel())
            taken.append(int(out.argmax()) if path is None else path[len(taken)])
            if taken[-1] == blank:
                break
            token, state = taken[-1], new
    return taken, np.array(logits)


def run(models: Models, audio: np.ndarray, chunk: Chunk, reference: Outcome | None = None) -> Outcome:
    """Runs all stages. With a reference, gating and targets come from the reference, so that the stages after the diarizer
    can be compared, and the logits are computed on its encoded frames along its path."""
    result = Outcome()
    for path in models.diarizers:
        name = path.name.replace(".int8.onnx", ".onnx")
        result.probabilities[name], result.embeddings[name], hires = diarize(path, audio, chunk.mel_frames)
        if hires is not None:
            result.hires[name] = hires
    known = (reference or result).probabilities
    result.encoded = encode(models.encoder, audio, chunk, next(iter(known.values()), None))
    s = session(models.joint)
    blank = blank_token(s)
    for j, frames in result.encoded.items():
        path, logits = decode(s, frames)
        result.tokens[j] = [token for token in path if token != blank]
        if reference:
            path, logits = decode(s, reference.encoded[j], reference.path[j])
        result.path[j], result.logits[j] = path, logits
    return result
