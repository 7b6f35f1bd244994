#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Computes the expected results of the pipeline with NeMo's own modules, chunk by chunk, on one audio file.

Reads a model folder written by `make_models.py --nemo` and a 16 kHz mono WAV file, and writes a JSON file with the
results that the engine's stages must reproduce:

  mel            some frames of the log-mel features of the whole file, and their shape
  preds          streaming diarization, one row of 4 probabilities per 80 ms frame
  speakers       for each speaker: the chunks that were run, tokens with their absolute frames, and text

A transcript that changes when noise of 1e-4 is added to the features is left out, because two correct programs may
differ on it. This program runs the PyTorch modules and the exported ONNX graphs with ONNX Runtime, and fails unless both
produce the same tokens and the same probabilities (within 2e-3). The ONNX graphs are therefore a valid reference, and
this file defines the loop around them:

  chunk k        mel frames [112k, 112k+112) (fewer in the last chunk)
  ASR input      the 9 mel frames before the chunk (zeros before frame 0) and the chunk; the
                 graph drops the first 2 encoded frames
  diarizer input `diar chunk` frames of 80 ms at a time (by default the ASR's chunk), with 8 mel
                 frames before it (none before frame 0) and 8 * right context after it (as far as
                 the audio goes); NeMo's streaming_update with lc=1, rc=right drops both again
  gating         a speaker runs in chunk k if its probability exceeds 0.5 anywhere in chunks
                 k-1 and k; otherwise its encoder cache and decoder state do not change
  targets        `probability`: spk = p[:, k], bg = max over the other speakers of p[:, j]
                 `nemo`:        spk = p[:, k], bg = 1 where any other gated speaker has p > 0.5
  decoding       greedy RNN-T, at most 10 symbols per frame
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

PRE, SUB, MAX_SYMBOLS = 9, 8, 10


def mel_of(asr, audio: np.ndarray) -> np.ndarray:
    """Computes NeMo's log-mel features without dither: [128, T] with T = floor(samples / 160)."""
    asr.preprocessor.featurizer.dither = 0.0
    with torch.no_grad():
        x, n = asr.preprocessor(input_signal=torch.tensor(audio)[None], length=torch.tensor([len(audio)]))
    return x[0, :, :n[0]].numpy()


def diar_chunks(mel: np.ndarray, chunk: int, right: int):
    """Yields (features, left, right) with both contexts in mel frames."""
    for start in range(0, mel.shape[1], chunk):
        end = min(start + chunk, mel.shape[1])
        left, ahead = min(SUB, start), min(SUB * right, mel.shape[1] - end)
        yield mel[:, start - left:end + ahead], left, ahead


class TorchDiar:
    def __init__(self, diar):
        self.m = diar
        self.state = diar.sortformer_modules.init_streaming_state(batch_size=1)
        self.total = torch.zeros(1, 0, 4)

    def step(self, x, left, right):
        with torch.no_grad():
            self.state, total = self.m.forward_streaming_step(
                processed_signal=torch.tensor(x.T)[None], processed_signal_length=torch.tensor([x.shape[1]]),
                streaming_state=self.state, total_preds=self.total, left_offset=left, right_offset=right)
        new = total[0, self.total.shape[1]:].numpy()
        self.total = total
        return new


class OnnxDiar:
    """Runs the graph with ONNX Runtime and updates the speaker cache with NeMo's own code."""

    def __init__(self, diar, path):
        self.modules = diar.sortformer_modules
        self.state = self.modules.init_streaming_state(batch_size=1)
        self.s = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def step(self, x, left, right):
        st = self.state
        preds, embs, _ = self.s.run(None, {
            "chunk": x.T[None], "chunk_lengths": np.array([x.shape[1]]),
            "spkcache": st.spkcache.numpy(), "spkcache_lengths": np.array([st.spkcache.shape[1]]),
            "fifo": st.fifo.numpy(), "fifo_lengths": np.array([st.fifo.shape[1]])})
        with torch.no_grad():
            self.state, new = self.modules.streaming_update(
                streaming_state=st, chunk=torch.tensor(embs), preds=torch.tensor(preds),
                lc=round(left / SUB), rc=math.ceil(right / SUB))
        return new[0].numpy()


class TorchAsr:
    def __init__(self, asr):
        self.m = asr
        self.blank = asr.decoder.blank_idx

    def start(self):
        c, t, n = self.m.encoder.get_initial_cache_state(batch_size=1)
        return dict(cache=[c, t, n], state=self.m.decoder.initialize_state(torch.zeros(1, 1)), last=self.blank)

    def encode(self, s, x, spk, bg):
        self.m.set_speaker_targets(torch.tensor(spk)[None], torch.tensor(bg)[None])
        c, t, n = s["cache"]
        with torch.no_grad():
            enc, enc_len, c, t, n = self.m.encoder.cache_aware_stream_step(
                processed_signal=torch.tensor(x)[None], processed_signal_length=torch.tensor([x.shape[1]]),
                cache_last_channel=c, cache_last_time=t, cache_last_channel_len=n, keep_all_outputs=False,
                drop_extra_pre_encoded=2)
        s["cache"] = [c, t, n]
        return enc[0, :, :enc_len[0]].numpy()

    def joint(self, s, frame):
        with torch.no_grad():
            g, state = self.m.decoder.predict(y=torch.tensor([[s["last"]]]), state=s["state"], add_sos=False)
            f = self.m.joint.enc(torch.tensor(frame)[None, None]).unsqueeze(2) + self.m.joint.pred(g).unsqueeze(1)
            return self.m.joint.joint_net(f).reshape(-1).numpy(), state


class OnnxAsr:
    def __init__(self, folder, blank, int8=False):
        tag = ".int8.onnx" if int8 else ".onnx"
        self.e = ort.InferenceSession(str(folder / f"encoder{tag}"), providers=["CPUExecutionProvider"])
        self.d = ort.InferenceSession(str(folder / f"decoder_joint{tag}"), providers=["CPUExecutionProvider"])
        self.blank = blank
        self.shape = {i.name: i.shape for i in self.e.get_inputs()} | {i.name: i.shape for i in self.d.get_inputs()}

    def start(self):
        c, t, h = (self.shape[k] for k in ("cache_last_channel", "cache_last_time", "input_states_1"))
        return dict(cache=[np.zeros([1, *c[1:]], np.float32), np.zeros([1, *t[1:]], np.float32), np.zeros(1, np.int64)],
                    state=[np.zeros(h, np.float32), np.zeros(h, np.float32)], last=self.blank)

    def encode(self, s, x, spk, bg):
        c, t, n = s["cache"]
        enc, enc_len, c, t, n = self.e.run(None, {
            "processed_signal": x[None], "processed_signal_length": np.array([x.shape[1]]), "cache_last_channel": c,
            "cache_last_time": t, "cache_last_channel_len": n, "spk_targets": spk[None], "bg_spk_targets": bg[None]})
        s["cache"] = [c, t, n]
        return enc[0, :, :enc_len[0]]

    def joint(self, s, frame):
        out, _, h, c = self.d.run(None, {"encoder_outputs": frame[None, None], "targets": np.array([[s["last"]]]),
                                         "input_states_1": s["state"][0], "input_states_2": s["state"][1]})
        return out.reshape(-1), [h, c]


def decode(model, s, enc, first_frame):
    out = []
    for t in range(enc.shape[1]):
        for _ in range(MAX_SYMBOLS):
            logits, state = model.joint(s, np.ascontiguousarray(enc[:, t]))
            token = int(logits.argmax())
            if token == model.blank:
                break
            out.append((token, first_frame + t))
            s["last"], s["state"] = token, state
    return out


def targets(p, k, gated, mode):
    others = [j for j in range(4) if j != k]
    if mode == "probability":
        return p[:, k].copy(), p[:, others].max(axis=1)
    others = [j for j in gated if j != k]
    bg = (p[:, others] > 0.5).any(axis=1).astype(np.float32) if others else np.zeros(len(p), np.float32)
    return p[:, k].copy(), bg


def encode(model, mel, preds, mode, chunk):
    """For each speaker, (chunk number, encoded frames [hidden, frames]) of the chunks that it runs on."""
    frames = chunk // SUB
    speakers = {}
    for k, start in enumerate(range(0, mel.shape[1], chunk)):
        x = mel[:, max(0, start - PRE):start + chunk]
        x = np.pad(x, ((0, 0), (max(0, PRE - start), 0)))
        p = preds[k * frames:(k + 1) * frames]
        window = preds[max(0, k - 1) * frames:(k + 1) * frames]
        gated = [j for j in range(4) if len(window) and window[:, j].max() > 0.5]
        for j in gated:
            state, chunks = speakers.setdefault(j, (model.start(), []))
            spk, bg = targets(p, j, gated, mode)
            chunks.append((k, model.encode(state, np.ascontiguousarray(x), spk, bg)))
    return {j: chunks for j, (_, chunks) in sorted(speakers.items())}


def run(model, mel, preds, sp, mode, chunk):
    frames = chunk // SUB
    speakers = {}
    for j, chunks in encode(model, mel, preds, mode, chunk).items():
        state = model.start()
        found = [token for k, enc in chunks for token in decode(model, state, enc, k * frames)]
        tokens = [token for token, _ in found]
        speakers[str(j)] = dict(chunks=[k for k, _ in chunks], tokens=tokens, frames=[frame for _, frame in found],
                                text=sp.decode(tokens))
    return speakers


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--audio", type=Path, required=True)
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--chunk", type=int, default=112, choices=[8, 16, 56, 112], help="mel frames per chunk (default: 112)")
    a.add_argument("--diar-chunk", type=int, help="80 ms frames per diarizer chunk (default: the ASR's chunk)")
    a.add_argument("--diar-right", type=int, default=0, help="look-ahead of the diarizer in 80 ms frames (default: 0)")
    a.add_argument("--fifo-len", type=int, default=188)
    a.add_argument("--spkcache-len", type=int, default=188)
    a.add_argument("--update-period", type=int, default=144)
    o = a.parse_args()

    from nemo.collections.asr.models import ASRModel, SortformerEncLabelModel
    asr = ASRModel.restore_from(str(o.models / "asr.nemo"), map_location="cpu").eval()
    diar = SortformerEncLabelModel.restore_from(str(o.models / "diar.nemo"), map_location="cpu").eval()
    left = asr.cfg.encoder.att_context_size
    left = left[0][0] if not isinstance(left[0], int) else left[0]
    right = o.chunk // SUB - 1
    asr.encoder.set_default_att_context_size([left, right])
    m = diar.sortformer_modules
    diar_chunk = o.diar_chunk or o.chunk // SUB
    m.chunk_len, m.fifo_len, m.spkcache_len, m.spkcache_update_period = diar_chunk, o.fifo_len, o.spkcache_len, o.update_period

    audio, rate = sf.read(o.audio, dtype="float32")
    if (rate, audio.ndim) != (16000, 1):
        a.error(f"{o.audio}: expected mono at 16000 Hz, found {rate} Hz of shape {audio.shape}")
    o.out.parent.mkdir(parents=True, exist_ok=True)
    mel = mel_of(asr, audio)
    sp = spm.SentencePieceProcessor(model_file=str(o.models / "tokenizer.model"))

    diars = [TorchDiar(diar), OnnxDiar(diar, o.models / "sortformer.onnx")]
    preds, preds_onnx = (np.concatenate([d.step(np.ascontiguousarray(x), left, right)
                                         for x, left, right in diar_chunks(mel, diar_chunk * SUB, o.diar_right)])
                         for d in diars)
    drift = float(np.abs(preds - preds_onnx).max())
    assert drift < 2e-3, f"torch and ONNX diarization differ by {drift}"

    torch_asr, onnx_asr = TorchAsr(asr), OnnxAsr(o.models, asr.decoder.blank_idx)
    rng = np.random.default_rng(0)
    noisy = mel + 1e-4 * rng.standard_normal(mel.shape).astype(np.float32)
    result = {}
    for mode in ("probability", "nemo"):
        a_, b_ = run(torch_asr, mel, preds, sp, mode, o.chunk), run(onnx_asr, mel, preds, sp, mode, o.chunk)
        assert a_ == b_, f"torch and ONNX transcripts differ in mode {mode}"
        c_ = run(onnx_asr, noisy, preds + 1e-5 * rng.standard_normal(preds.shape).astype(np.float32), sp, mode, o.chunk)
        if a_ == c_:
            result[mode] = a_
        else:
            print(f"{mode:12} left out: rounding noise changes this transcript, so it is not a valid reference")

    json.dump(dict(audio=o.audio.name, chunk_mel_frames=o.chunk, diar_chunk=diar_chunk, diar_right=o.diar_right,
                   fifo_len=o.fifo_len, spkcache_len=o.spkcache_len,
                   spkcache_update_period=o.update_period, mel_shape=list(mel.shape),
                   mel=[[round(float(v), 5) for v in mel[:, t]] for t in range(0, mel.shape[1], 97)],
                   mel_note="all 128 bins of every 97th frame",
                   preds=[[round(float(v), 5) for v in r] for r in preds], speakers=result),
              o.out.open("w"))
    for mode, spk in result.items():
        for j, s in spk.items():
            print(f"{mode:12} speaker {j}: {len(s['tokens']):4} tokens in {len(s['chunks'])} chunks: {s['text'][:90]!r}")
    print(f"diarization: maximum difference between torch and ONNX {drift:.2e}; active frames {[int((preds[:, j] > .5).sum()) for j in range(4)]} of {len(preds)}")


if __name__ == "__main__":
    main()
