#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Computes the expected results of the diarizer with version 3: version_3.py SORTFORMER_MODULES.PY AUDIO.wav FOLDER

Writes FOLDER/sortformer.onnx, a small network with random weights and the structure of version 3, and
FOLDER/expected.json, the probabilities of AUDIO at several operating points. The network stacks 8 mel frames, attends
over speaker cache, FIFO, and chunk, and has a 10 ms output whose averages are the 80 ms output. The features use a
window and filterbank rounded to bfloat16, and the speaker cache is NeMo's own code (see speaker_cache.py for
SORTFORMER_MODULES.PY). The program runs PyTorch and the exported graph, and fails unless both produce the same results.

Needs: pip install torch==2.15.0 onnx onnxruntime numpy
"""
import json
import math
import sys
import wave
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import helper

from speaker_cache import load

MELS, WIDTH, HIDDEN, HEADS, SPEAKERS, SUB = 128, 48, 16, 4, 8, 8
INPUTS = ["chunk", "chunk_lengths", "spkcache", "spkcache_lengths", "fifo", "fifo_lengths"]
OUTPUTS = ["preds_diar", "preds_hires", "chunk_pre_encode_embs", "chunk_pre_encode_lengths"]
# Cache, FIFO, chunk, right context, and update period.
POINTS = {"320ms": (264, 264, 3, 1, 222), "1s": (264, 264, 9, 4, 222), "30s": (264, 40, 340, 40, 300)}


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = torch.nn.Linear(SUB * MELS, WIDTH, bias=False)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.attend = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.join = torch.nn.Linear(WIDTH, WIDTH)
        self.narrow = torch.nn.Linear(WIDTH, HIDDEN)
        self.refine = torch.nn.Conv1d(HIDDEN, HIDDEN * SUB, 3, padding=1)
        self.speak = torch.nn.Linear(HIDDEN, SPEAKERS)

    def forward(self, chunk, chunk_lengths, spkcache, spkcache_lengths, fifo, fifo_lengths):
        embs = self.stack(chunk.reshape(1, -1, SUB * MELS))
        lengths = torch.div(chunk_lengths + SUB - 1, SUB, rounding_mode="floor")
        rows = torch.cat([spkcache, fifo, embs], dim=1)
        valid = torch.arange(rows.shape[1]) < spkcache_lengths + fifo_lengths + lengths
        heads = self.attend(self.norm(rows)).reshape(1, -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=valid[None, None, None])
        rows = rows + 4.0 * self.join(attended.transpose(1, 2).reshape(1, -1, WIDTH))
        rows = self.refine(self.narrow(self.norm(rows)).transpose(1, 2)).transpose(1, 2)
        fine = torch.sigmoid(self.speak(torch.relu(rows.reshape(1, -1, HIDDEN))))
        fine = fine * valid.repeat_interleave(SUB)[None, :, None]
        coarse = F.avg_pool1d(fine.transpose(1, 2), SUB, SUB, ceil_mode=True).transpose(1, 2)
        return coarse, fine, embs, lengths


def bfloat16(values):
    return torch.tensor(np.asarray(values, np.float32)).bfloat16().double().numpy()


def features(audio: np.ndarray) -> np.ndarray:
    """Computes [frames, mels]: NeMo's log-mel features with window and filterbank in bfloat16."""
    def to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) * 27 / np.log(6.4))

    def to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    edges = to_hz(np.linspace(0, to_mel(np.array(8000.0)), MELS + 2))
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.linspace(0, 8000, 257)[None]
    slopes = np.minimum((bins - low) / (center - low), (high - bins) / (high - center))
    filterbank = bfloat16(np.maximum(slopes, 0) * 2 / (high - low))
    window = np.zeros(512)
    window[56:456] = bfloat16(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399))
    emphasized = np.pad(np.append(audio[:1], audio[1:] - 0.97 * audio[:-1]), (256, 512))
    frames = np.stack([emphasized[160 * t:160 * t + 512] for t in range(len(audio) // 160)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return np.log(power @ filterbank.T + 2.0**-24).astype(np.float32)


def diarize(nemo, run, mel, point, silence):
    cache, fifo, chunk, right, update = point

    class LearnedSilence(nemo.SortformerModules):
        def _get_silence_profile(self, mean_sil_emb, n_sil_frames, emb_seq, preds):
            return mean_sil_emb, n_sil_frames

    modules = LearnedSilence(
        num_spks=SPEAKERS, fc_d_model=WIDTH, tf_d_model=HIDDEN, spkcache_len=cache, fifo_len=fifo, chunk_len=chunk,
        spkcache_update_period=update, chunk_left_context=0, chunk_right_context=right,
        spkcache_sil_frames_per_spk=1, scores_add_rnd=0).eval()
    state = modules.init_streaming_state(batch_size=1)
    state.mean_sil_emb = torch.tensor(silence)[None]
    found = []
    for start in range(0, len(mel), SUB * chunk):
        end = min(start + SUB * chunk, len(mel))
        ahead = min(SUB * right, len(mel) - end)
        piece = mel[start:end + ahead]
        preds, embs = run(piece, state.spkcache, state.fifo)
        with torch.no_grad():
            state, rows = modules.streaming_update(state, embs, preds, lc=0, rc=math.ceil(ahead / SUB))
        found.append(rows[0].numpy())
    return np.concatenate(found)


def padded(piece):
    return np.pad(piece, ((0, -len(piece) % SUB), (0, 0)))[None]


def lengths_of(piece, cache, fifo):
    return [torch.tensor([n]) for n in (len(piece), cache.shape[1], fifo.shape[1])]


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    nemo, folder = load(sys.argv[1]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    with wave.open(sys.argv[2]) as audio:
        mel = features(np.frombuffer(audio.readframes(audio.getnframes()), "<i2") / 32768)
    torch.manual_seed(3)
    network = Network().eval()
    silence = np.linspace(-1, 1, WIDTH).astype(np.float32)
    with torch.no_grad():
        # The outputs of random networks hardly depend on their inputs, so the last layer is scaled. The parts of a
        # frame are nearly the same, as NeMo initializes them.
        network.refine.weight.mul_(0.2).add_(network.refine.weight[:HIDDEN].repeat(SUB, 1, 1), alpha=5.0)
        network.refine.bias.zero_()
        network.attend.weight.mul_(3.0)
        empty, none = torch.zeros(1, 0, WIDTH), torch.tensor([0])
        fine = network(torch.tensor(padded(mel)), torch.tensor([len(mel)]), empty, none, empty, none)[1][0]
        logits = torch.logit(fine[:len(mel) // SUB * SUB]).reshape(-1, SUB, SPEAKERS).mean(1)
        mean, deviation = logits.mean(0), logits.std(0)
        network.speak.weight.mul_(2.0 / deviation[:, None])
        network.speak.bias.copy_((network.speak.bias - mean) * 2.0 / deviation - 1.0)
    chunk, cache, fifo = torch.randn(1, 80, MELS), torch.randn(1, 20, WIDTH), torch.randn(1, 10, WIDTH)
    path = folder / "sortformer.onnx"
    torch.onnx.export(
        network, (chunk, torch.tensor([80]), cache, torch.tensor([20]), fifo, torch.tensor([10])), str(path),
        input_names=INPUTS, output_names=OUTPUTS, opset_version=17, dynamo=False,
        dynamic_axes={name: {1: f"time_{name}"} for name in ("chunk", "spkcache", "fifo", *OUTPUTS[:3])})
    graph = onnx.load(str(path))
    helper.set_model_props(graph, {
        "n_spk": "8", "upsample_factor": "8", "subsampling_factor": "8", "feat_dim": str(MELS), "emb_dim": str(WIDTH),
        "high_resolution": "1", "spkcache_sil_frames_per_spk": "1", "use_learnable_sil_emb": "1",
        "learnable_sil_emb": ",".join(f"{v:.9g}" for v in silence)})
    onnx.save(graph, str(path))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def in_torch(piece, cache, fifo):
        count, in_cache, in_fifo = lengths_of(piece, cache, fifo)
        with torch.no_grad():
            # NeMo's FeatureStacking pads internally.
            coarse, _, embs, _ = network(torch.tensor(padded(piece)), count, cache, in_cache, fifo, in_fifo)
        return coarse, embs

    def in_onnx(piece, cache, fifo):
        count, in_cache, in_fifo = (n.numpy() for n in lengths_of(piece, cache, fifo))
        values = [padded(piece), count, cache.numpy(), in_cache, fifo.numpy(), in_fifo]
        coarse, embs = session.run(["preds_diar", "chunk_pre_encode_embs"], dict(zip(INPUTS, values)))
        return torch.tensor(coarse), torch.tensor(embs)

    expected = {}
    for name, point in POINTS.items():
        preds, again = (diarize(nemo, run, mel, point, silence) for run in (in_torch, in_onnx))
        drift = float(np.abs(preds - again).max())
        assert drift < 1e-4, f"{name}: torch and ONNX differ by {drift}"
        expected[name] = [[round(float(p), 5) for p in row] for row in preds]
        print(f"{name}: {preds.shape}, drift {drift:.1e}, active {(preds > 0.5).mean(0).round(2)}")
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    print({file.name: file.stat().st_size for file in folder.iterdir()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
