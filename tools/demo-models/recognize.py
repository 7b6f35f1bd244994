#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Transcribes conversations with the plugin's algorithm in Python. Reads WAV files and writes OUT/NAME.json (SegLST) and
OUT/NAME.rttm for each.

NeMo computes the features and updates the speaker cache; the networks run in ONNX Runtime.
"""
import argparse
import json
import math
import os
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("NEMO_TESTING", "1")

import numpy as np
import onnxruntime as ort
import sentencepiece as spm
import soundfile as sf
import torch
from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor
from nemo.collections.asr.modules.sortformer_modules import SortformerModules

from model_files import model_file

SUB, FRAME_S, MAX_SYMBOLS, THRESHOLD, PAUSE_S = 8, 0.08, 10, 0.5, 0.8
# Chunk, right context, FIFO, and update period in frames of 80 ms; None is the recognizer's chunk.
DIARIZATION = {"lockstep": (None, 0, 188, 144), "1s": (6, 7, 188, 144), "10s": (124, 1, 124, 124), "30s": (340, 40, 40, 300)}


def session(folder: Path, name: str, precision: str, threads: int):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(model_file(folder, name, precision)), options, providers=["CPUExecutionProvider"])


class Diarizer:
    def __init__(self, folder, precision, threads):
        self.graph = session(folder, "sortformer", precision, threads)
        width = next(i.shape[2] for i in self.graph.get_inputs() if i.name == "spkcache")
        self.modules = SortformerModules(
            num_spks=4, fc_d_model=width, tf_d_model=width, spkcache_len=188, spkcache_sil_frames_per_spk=3,
            scores_add_rnd=0, pred_score_threshold=0.25, max_index=99999, scores_boost_latest=0.05, sil_threshold=0.2,
            strong_boost_rate=0.75, weak_boost_rate=1.5, min_pos_scores_rate=0.5).eval()

    def run(self, mel, point, asr_chunk):
        """Returns probabilities [frames, speakers]."""
        m = self.modules
        chunk, right, m.fifo_len, m.spkcache_update_period = DIARIZATION[point]
        chunk = chunk or asr_chunk
        state, out = m.init_streaming_state(batch_size=1), []
        for start in range(0, mel.shape[1], chunk * SUB):
            end = min(start + chunk * SUB, mel.shape[1])
            left, ahead = min(SUB, start), min(SUB * right, mel.shape[1] - end)
            x = np.ascontiguousarray(mel[:, start - left:end + ahead].T)[None]
            preds, embs, _ = self.graph.run(None, {
                "chunk": x, "chunk_lengths": np.array([x.shape[1]]),
                "spkcache": state.spkcache.numpy(), "spkcache_lengths": np.array([state.spkcache.shape[1]]),
                "fifo": state.fifo.numpy(), "fifo_lengths": np.array([state.fifo.shape[1]])})
            with torch.no_grad():
                state, new = m.streaming_update(state, chunk=torch.tensor(embs), preds=torch.tensor(preds),
                                                lc=round(left / SUB), rc=math.ceil(ahead / SUB))
            out.append(new[0].numpy())
        return np.concatenate(out)


class Recognizer:
    def __init__(self, folder, precision, threads):
        self.encoder, self.joint = session(folder, "encoder", precision, threads), session(folder, "decoder_joint", precision, threads)
        config = json.loads((folder / "multitalker_config.json").read_text())
        self.blank, self.before = config["decoder"]["blank_id"], config["encoder"]["pre_encode_cache_size"]
        self.tokenizer = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        self.shape = {i.name: i.shape for g in (self.encoder, self.joint) for i in g.get_inputs()}

    def start(self):
        channel, time, hidden = (np.zeros([1, *self.shape[n][1:]], np.float32) for n in ("cache_last_channel", "cache_last_time", "input_states_1"))
        hidden = np.zeros(self.shape["input_states_1"], np.float32)
        return dict(cache=[channel, time, np.zeros(1, np.int64)], state=[hidden, hidden], last=self.blank, tokens=[])

    def step(self, s, x, spk, bg, first_frame):
        encoded, length, *s["cache"] = self.encoder.run(None, {
            "processed_signal": x[None], "processed_signal_length": np.array([x.shape[1]]),
            "cache_last_channel": s["cache"][0], "cache_last_time": s["cache"][1], "cache_last_channel_len": s["cache"][2],
            "spk_targets": spk[None], "bg_spk_targets": bg[None]})
        frames = np.ascontiguousarray(encoded[0, :, :length[0]].T)[None]
        at = here = 0
        while at < frames.shape[1]:
            out, _, *state = self.joint.run(None, {
                "encoder_outputs": frames[:, at:], "targets": np.array([[s["last"]]]),
                "input_states_1": s["state"][0], "input_states_2": s["state"][1]})
            tokens = out.reshape(frames.shape[1] - at, -1).argmax(1)
            if here >= MAX_SYMBOLS:
                tokens[0] = self.blank
            spoken = np.flatnonzero(tokens != self.blank)
            if not len(spoken):
                break
            here = here + 1 if spoken[0] == 0 else 1
            at += int(spoken[0])
            s["tokens"].append((int(tokens[spoken[0]]), first_frame + at))
            s["last"], s["state"] = int(tokens[spoken[0]]), state

    def run(self, mel, p, chunk):
        """Returns the tokens with their frames for each speaker."""
        speakers = {}
        for c, start in enumerate(range(0, mel.shape[1], chunk * SUB)):
            x = mel[:, max(0, start - self.before):start + chunk * SUB]
            x = np.ascontiguousarray(np.pad(x, ((0, 0), (max(0, self.before - start), 0))))
            now, window = p[c * chunk:(c + 1) * chunk], p[max(0, c - 1) * chunk:(c + 1) * chunk]
            for k in range(p.shape[1]):
                if len(window) and window[:, k].max() > THRESHOLD:
                    others = np.delete(now, k, axis=1).max(axis=1)
                    self.step(speakers.setdefault(k, self.start()), x, now[:, k].copy(), others, c * chunk)
        return {k: s["tokens"] for k, s in speakers.items()}

    def segments(self, tokens):
        """Returns (words, start, end) for the segments between pauses."""
        words = []
        for token, frame in tokens:
            piece = self.tokenizer.id_to_piece(token)
            if piece.startswith("\u2581") or not words:
                words.append([[], frame, frame + 1])
            words[-1][0].append(token)
            words[-1][2] = frame + 1
        out = []
        for ids, start, end in words:
            text = self.tokenizer.decode(ids)
            if out and (start - out[-1][2]) * FRAME_S < PAUSE_S:
                out[-1] = (out[-1][0] + " " + text, out[-1][1], end)
            else:
                out.append((text, start, end))
        return [(text.strip(), start * FRAME_S, end * FRAME_S) for text, start, end in out]


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("wavs", type=Path, nargs="+")
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--latency", type=int, default=1120, choices=[80, 160, 560, 1120])
    a.add_argument("--diarization", choices=DIARIZATION, default="30s")
    a.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    a.add_argument("--threads", type=int, default=2)
    o = a.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    features = AudioToMelSpectrogramPreprocessor(
        sample_rate=16000, normalize="NA", window_size=0.025, window_stride=0.01, window="hann", features=128, n_fft=512,
        dither=0.0, pad_to=0).eval()
    diarizer, recognizer = Diarizer(o.models, o.precision, o.threads), Recognizer(o.models, o.precision, o.threads)
    chunk = o.latency // 80
    for wav in o.wavs:
        audio, rate = sf.read(wav, dtype="float32")
        if (rate, audio.ndim) != (16000, 1):
            a.error(f"{wav}: expected mono at 16000 Hz, found {rate} Hz of shape {audio.shape}")
        with torch.no_grad():
            mel, _ = features(input_signal=torch.tensor(audio)[None], length=torch.tensor([len(audio)]))
        mel = mel[0, :, :len(audio) // 160].numpy()
        p = diarizer.run(mel, o.diarization, chunk)
        rows = [dict(session_id=wav.stem, speaker=f"speaker_{k}", words=text, start_time=round(start, 2), end_time=round(end, 2))
                for k, tokens in recognizer.run(mel, p, chunk).items() for text, start, end in recognizer.segments(tokens)]
        rows.sort(key=lambda r: r["start_time"])
        (o.out / f"{wav.stem}.json").write_text(json.dumps(rows, indent=1))
        with (o.out / f"{wav.stem}.rttm").open("w") as f:
            for k in range(p.shape[1]):
                for start, end in np.flatnonzero(np.diff(np.pad(p[:, k] > THRESHOLD, 1).astype(int))).reshape(-1, 2):
                    print(f"SPEAKER {wav.stem} 1 {start * FRAME_S:.2f} {(end - start) * FRAME_S:.2f} <NA> <NA> speaker_{k} <NA> <NA>", file=f)


if __name__ == "__main__":
    main()
