#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Records which frames NeMo's own code keeps in the speaker cache: speaker_cache.py SORTFORMER_MODULES.PY OUT.json

SORTFORMER_MODULES.PY is nemo/collections/asr/modules/sortformer_modules.py of nemo-toolkit 3.0.0, for instance from
`pip download --no-deps nemo-toolkit==3.0.0`. That release does not support the learned silence embedding of version 3.
NeMo's later code uses the embedding instead of the running mean and does not update it, as `LearnedSilence` does here.

There is no network: the embedding of each frame is its number, and the probabilities are computed from integers (see
`probability`), so that the test in speaker_cache.rs of the engine computes the same ones. They are multiples of 1/64, so
that many scores are equal and the order of equal scores matters.

Needs: pip install torch==2.15.0
"""
import importlib.util
import json
import sys
import types

import torch

SPEAKERS = 8
SILENCE = -1
# Cache, FIFO, chunk, right context, update period, and number of steps.
SCENARIOS = [(264, 264, 9, 4, 222, 260), (264, 264, 6, 2, 222, 200), (264, 264, 3, 1, 222, 350),
             (264, 40, 340, 40, 300, 9), (264, 264, 14, 0, 222, 150), (24, 12, 3, 1, 9, 120)]


def load(path: str):
    """Loads NeMo's file without the rest of NeMo."""
    for name in ("nemo", "nemo.core", "nemo.core.classes", "nemo.core.classes.exportable",
                 "nemo.core.classes.module", "nemo.utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["nemo.core.classes.exportable"].Exportable = object
    sys.modules["nemo.core.classes.module"].NeuralModule = torch.nn.Module
    sys.modules["nemo.utils"].logging = types.SimpleNamespace(info=print, warning=print)
    spec = importlib.util.spec_from_file_location("sortformer_modules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mix(a: int, b: int) -> int:
    value = (a * 2654435761 + b * 2246822519 + 374761393) % 2**32
    value = (value ^ (value >> 15)) * 2246822519 % 2**32
    return value >> 16


def probability(frame: int, speaker: int, step: int) -> float:
    """Simulates eight speakers who alternate and sometimes overlap. In every ninth turn nobody speaks."""
    chance = mix(frame * SPEAKERS + speaker, step // 10)
    if frame == SILENCE:
        return (chance % 4) / 64
    speaks = (frame // 37) % 9 == speaker or (frame % 5 == 0 and (frame // 53) % SPEAKERS == speaker)
    return (36 + chance % 28 if speaks else chance % 20) / 64


def run(nemo, cache, fifo, chunk, right, update, steps):
    class LearnedSilence(nemo.SortformerModules):
        def _get_silence_profile(self, mean_sil_emb, n_sil_frames, emb_seq, preds):
            return mean_sil_emb, n_sil_frames

    modules = LearnedSilence(
        num_spks=SPEAKERS, fc_d_model=2, tf_d_model=2, spkcache_len=cache, fifo_len=fifo, chunk_len=chunk,
        spkcache_update_period=update, chunk_left_context=0, chunk_right_context=right,
        spkcache_sil_frames_per_spk=1, scores_add_rnd=0).eval()
    state = modules.init_streaming_state(batch_size=1)
    state.mean_sil_emb = torch.full((1, 2), float(SILENCE))
    kept = []
    for step in range(steps):
        frames = list(range(step * chunk, (step + 1) * chunk + right))
        rows = [int(e[0]) for e in torch.cat([state.spkcache, state.fifo], dim=1)[0]] + frames
        preds = torch.tensor([[[probability(f, s, step) for s in range(SPEAKERS)] for f in rows]])
        embs = torch.tensor([[[float(f), float(f)] for f in frames]])
        before = state.spkcache
        state, found = modules.streaming_update(state, embs, preds, lc=0, rc=right)
        assert found.shape[1] == chunk
        if state.spkcache is not before:
            kept.append({"step": step, "cache": [int(e[0]) for e in state.spkcache[0]],
                         "fifo_frames": state.fifo.shape[1]})
    return {"cache": cache, "fifo": fifo, "chunk": chunk, "right": right, "update": update, "steps": steps,
            "updates": kept}


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    nemo = load(sys.argv[1])
    scenarios = [run(nemo, *scenario) for scenario in SCENARIOS]
    with open(sys.argv[2], "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(s, separators=(",", ":")) for s in scenarios) + "\n]\n")
    for scenario in scenarios:
        print({**scenario, "updates": len(scenario["updates"])})
    return 0


if __name__ == "__main__":
    sys.exit(main())
