#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Computes the expected results of phrase boosting with NeMo's own boosting tree and greedy decoder.

Writes one JSON file with two parts:

  trees      for several lists of phrases: the scores of the whole vocabulary along random walks,
             from `GPUBoostingTreeModel.advance`
  decoding   tokens and frames of every speaker of one recording at several strengths, from
             `GreedyBatchedRNNTLabelLoopingComputer` with the tree as fusion model, chunk by chunk.
             The encoder and the joint network are the ONNX graphs; the speaker probabilities and the
             settings are those of an expected file that reference.py has written.

Results that change when noise of 1e-4 is added to the encoded frames are left out, because two correct
programs may differ on them.
"""
import argparse
import json
import os
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("NEMO_TESTING", "1")

import numpy as np
import sentencepiece as spm
import soundfile as sf
import torch
from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor
from nemo.collections.asr.parts.context_biasing.boosting_graph_batched import GPUBoostingTreeModel
from nemo.collections.asr.parts.context_biasing.context_graph_universal import ContextGraph
from nemo.collections.asr.parts.submodules.transducer_decoding.rnnt_label_looping import (
    GreedyBatchedRNNTLabelLoopingComputer,
)

from reference import MAX_SYMBOLS, SUB, OnnxAsr, encode

DEFAULTS = dict(context_score=1.0, depth_scaling=2.0, unk_score=0.0)


def tree_of(phrases, vocabulary, context_score, depth_scaling, unk_score):
    """Builds a boosting tree from `phrases`, pairs of tokens and a score, where 0 is the default score."""
    graph = ContextGraph(context_score=context_score, depth_scaling=depth_scaling)
    graph.build(token_ids=[tokens for tokens, _ in phrases], scores=[score for _, score in phrases],
                phrases=[str(tokens) for tokens, _ in phrases], uniform_weights=False)
    return GPUBoostingTreeModel.from_context_graph(
        graph, vocab_size=vocabulary, unk_score=unk_score, final_eos_score=1.0, use_triton=False,
        uniform_weights=False)


@torch.no_grad()
def walk(tree, tokens, scored):
    """Returns the scores of the tokens in `scored` at the start and after each of `tokens`."""
    state = tree.get_init_states(batch_size=1, bos=True)
    rows = []
    for token in [None, *tokens]:
        if token is not None:
            _, following = tree.advance(state)
            state = following[:, token]
        scores, _ = tree.advance(state)
        rows.append([float(scores[0, i]) for i in scored])
    return rows


def trees(vocabulary, rng):
    cases = []
    lists = [
        [([5], 0)],
        [([1, 2, 3], 0)],
        [([1, 2, 3], 0), ([2, 3, 4, 5], 0), ([3], 0)],
        [([7, 7, 7, 8], 0), ([7, 8], 0)],
        [([1, 2], 3.0), ([1, 2, 3, 4], 0), ([2, 3], 0.5)],
        [([1, 2, 3, 4], 0), ([1, 2], 3.0), ([1, 5], 0.25)],
        [([int(t) for t in rng.integers(0, 12, rng.integers(1, 6))], round(float(rng.choice([0, 0, 2.0, 0.5])), 2))
         for _ in range(40)],
    ]
    for phrases in lists:
        for options in (DEFAULTS, dict(context_score=0.7, depth_scaling=1.0, unk_score=-0.3)):
            tree = tree_of(phrases, vocabulary, **options)
            used = sorted({t for tokens, _ in phrases for t in tokens})
            other = next(t for t in range(vocabulary) if t not in used)
            walks = [tokens for tokens, _ in phrases[:6]]
            walks += [[int(t) for t in rng.choice([*used, other], 12)] for _ in range(4)]
            scored = [*used, other]
            cases.append(dict(options, phrases=[list(p) for p in phrases], scored_tokens=scored,
                              walks=[dict(tokens=w, scores=walk(tree, w, scored)) for w in walks]))
    return cases


class Projected:
    """Implements NeMo's interfaces of a prediction network and a joint network with the single ONNX graph of both."""

    def __init__(self, asr):
        self.asr = asr

    # The prediction network. Its output contains everything that the joint network needs.
    def initialize_state(self, _):
        shape = self.asr.start()["state"][0].shape
        return [torch.zeros(shape), torch.zeros(shape)]

    def predict(self, labels, state, add_sos, batch_size):
        self.last = int(labels)
        out = torch.cat([torch.tensor([[[float(self.last)]]]), *(s.reshape(1, 1, -1) for s in state)], dim=-1)
        following = self.run(np.zeros(self.asr.shape["encoder_outputs"][-1], np.float32), out)[1]
        return out, [torch.tensor(s) for s in following]

    def batch_replace_states_mask(self, src_states, dst_states, mask):
        if bool(mask):
            for source, target in zip(src_states, dst_states):
                target.copy_(source)

    # The joint network.
    def project_prednet(self, out):
        return out

    def project_encoder(self, frames):
        return frames

    def joint_after_projection(self, frame, prediction):
        logits, _ = self.run(frame.reshape(-1).numpy(), prediction)
        return torch.tensor(logits).reshape(1, 1, 1, -1)

    def run(self, frame, prediction):
        values = prediction.reshape(-1)
        shape = self.asr.start()["state"][0].shape
        size = int(np.prod(shape))
        state = [values[1 + i * size:1 + (i + 1) * size].reshape(shape).numpy() for i in (0, 1)]
        return self.asr.joint(dict(last=int(values[0]), state=state), frame)


def decode(asr, chunks, frames, tree, strength):
    """Returns the tokens and frames of one speaker."""
    networks = Projected(asr)
    joint = networks
    joint.num_classes_with_blank = asr.blank + 1
    computer = GreedyBatchedRNNTLabelLoopingComputer(
        decoder=networks, joint=joint, blank_index=asr.blank, max_symbols_per_step=MAX_SYMBOLS,
        fusion_models=[tree] if tree else None, fusion_models_alpha=[strength] if tree else None,
        allow_cuda_graphs=False)
    state, tokens, times = None, [], []
    for k, encoded in chunks:
        x = torch.tensor(np.ascontiguousarray(encoded.T))[None]
        with torch.no_grad():
            hyps, state = computer(x=x, out_len=torch.tensor([x.shape[1]]), prev_batched_state=state)
        count = int(hyps.current_lengths[0])
        # NeMo counts decoded frames; a silent speaker skips some.
        before = int(state.decoded_lengths[0]) - x.shape[1]
        tokens += [int(t) for t in hyps.transcript[0, :count]]
        times += [k * frames + int(t) - before for t in hyps.timestamps[0, :count]]
    return tokens, times


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--expected", type=Path, required=True, help="file written by reference.py")
    a.add_argument("--audio", type=Path, required=True)
    a.add_argument("--phrase", action="append", default=[], help="phrase to boost (can be repeated)")
    a.add_argument("--strength", action="append", type=float, default=[], help="factor of the scores (can be repeated)")
    a.add_argument("--out", type=Path, required=True)
    o = a.parse_args()
    rng = np.random.default_rng(0)
    sp = spm.SentencePieceProcessor(model_file=str(o.models / "tokenizer.model"))
    expected = json.loads(o.expected.read_text())
    audio, _ = sf.read(o.audio, dtype="float32")
    preprocessor = AudioToMelSpectrogramPreprocessor(
        sample_rate=16000, normalize="NA", window_size=0.025, window_stride=0.01, window="hann",
        features=len(expected["mel"][0]), n_fft=512, dither=0.0, pad_to=0)
    with torch.no_grad():
        x, n = preprocessor(input_signal=torch.tensor(audio)[None], length=torch.tensor([len(audio)]))
    mel = x[0, :, :n[0]].numpy()
    preds = np.array(expected["preds"], np.float32)
    frames = expected["chunk_mel_frames"] // SUB

    asr = OnnxAsr(o.models, sp.vocab_size())
    encoded = encode(asr, mel, preds, "probability", expected["chunk_mel_frames"])
    for j, chunks in encoded.items():
        tokens, times = decode(asr, chunks, frames, None, 0.0)
        known = expected["speakers"]["probability"][str(j)]
        assert (tokens, times) == (known["tokens"], known["frames"]), "decoding without phrases differs from the expected transcript"
    phrases = [(sp.encode(phrase), 0) for phrase in o.phrase]
    tree = tree_of(phrases, sp.vocab_size(), **DEFAULTS)
    results = []
    for strength in o.strength:
        speakers = {}
        for j, chunks in sorted(encoded.items()):
            tokens, times = decode(asr, chunks, frames, tree, strength)
            noisy = [(k, e + 1e-4 * rng.standard_normal(e.shape).astype(np.float32)) for k, e in chunks]
            if decode(asr, noisy, frames, tree, strength) != (tokens, times):
                print(f"strength {strength} speaker {j}: left out, because noise changes it")
                continue
            speakers[str(j)] = dict(tokens=tokens, frames=times, text=sp.decode(tokens))
            changed = speakers[str(j)]["tokens"] != expected["speakers"]["probability"][str(j)]["tokens"]
            print(f"strength {strength} speaker {j}: {len(tokens)} tokens, {'changed' if changed else 'unchanged'}")
        results.append(dict(strength=strength, speakers=speakers))
    json.dump(dict(trees=trees(sp.vocab_size(), rng),
                   decoding=dict(expected=o.expected.name, phrases=o.phrase, **DEFAULTS, results=results)), o.out.open("w"))


if __name__ == "__main__":
    main()
