#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes small graphs with the inputs and outputs of published Sortformers, for cases that trained models cannot
reproduce on demand: make_fake_sortformers.py FOLDER

In all of them, speaker k is active where mel bin 8 k is loud. An embedding contains this bin of each speaker in each of
its mel frames, and the 80 ms probabilities are the means of the 10 ms probabilities, as in version 3. A chunk that is
cut, padded, or placed incorrectly by a single mel frame therefore results in different probabilities.

sortformer-v3.onnx            version 3 as written by scripts/export_diar_sortformer.py of parakeet-rs: names,
                              metadata, and a Reshape that fails if a chunk is not padded to whole frames
sortformer-v3-vernacula.onnx  version 3 as written by export_nemotron3_diarization_to_onnx.py of Vernacula:
                              the outputs of version 2, and Vernacula's metadata
sortformer-fixed.onnx         version 2 with axes fixed for 30.4 s, as in NeMo's forward_for_export: the valid
                              rows of cache, FIFO, and chunk are packed, and the rest is masked
sortformer-fixed-odd.onnx     the same with a FIFO that no operating point has
sortformer-8-of-v2.onnx       version 2 with 8 speakers and no indication of version 3
sortformer-fails.onnx         version 2 that fails as soon as the FIFO contains 100 frames
sortformer-40ms.onnx          version 2 with frames of 40 ms instead of 80 ms
sortformer-no-speakers.onnx   version 2 whose probabilities have no columns at run time
sortformer-logits.onnx        version 2 that returns logits instead of probabilities
sortformer-wide.onnx          version 2 that declares embeddings of 2^31 values

Needs: pip install onnx numpy
"""
import base64
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_MELS, SUB = 128, 8
SCALE, BIAS = 1.0, 8.0


class Graph:
    """A graph under construction. Every method that adds nodes or constants returns the name of a value."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value, dtype=np.int64):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op, *inputs, output=None, **attributes):
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def size(self, tensor, axis):
        return self.node("Gather", self.node("Shape", tensor), self.constant([axis]), axis=0)

    def stack(self, chunk, group, width):
        """Reshapes [1, T, mels] to [1, T / group, group * mels], which fails if T is not a multiple of the group."""
        frames = self.node("Div", self.size(chunk, 1), self.constant([group]))
        shape = self.node("Concat", self.constant([1]), frames, self.constant([group * width]), axis=0)
        return self.node("Reshape", chunk, shape)

    def round_up(self, lengths, group):
        return self.node("Div", self.node("Add", lengths, self.constant([group - 1])), self.constant([group]))

    def pad_to(self, chunk, group):
        """Pads with zeros to whole groups, like the strided convolutions of version 2."""
        frames = self.size(chunk, 1)
        missing = self.node("Sub", self.node("Mul", self.round_up(frames, group), self.constant([group])), frames)
        shape = self.node("Concat", self.constant([1]), missing, self.constant([N_MELS]), axis=0)
        zeros = self.node("ConstantOfShape", shape, value=helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]))
        return self.node("Concat", chunk, zeros, axis=1)

    def pack(self, parts, lengths):
        """Concatenates the valid rows of all parts, followed by the rest, like NeMo's concat_and_pad."""
        moved, start, offset = [], None, None
        for part, length in zip(parts, lengths):
            size = self.size(part, 1)
            row = self.node("Range", self.constant(0), self.node("Squeeze", size), self.constant(1))
            valid = self.node("Less", row, length)
            before = row if start is None else self.node("Add", row, start)
            # Invalid rows move to the end in their own order.
            behind = self.node("Add", row, self.constant([100_000 * (len(moved) + 1)]))
            moved.append(self.node("Where", valid, before, behind))
            start = length if start is None else self.node("Add", start, length)
        order = self.node("Concat", *moved, axis=0)
        ranks = self.node("TopK", order, self.size(order, 0), axis=0, largest=0, sorted=1)
        # The second output of TopK contains the indices in ascending order.
        self.nodes[-1].output.append(ranks + "_places")
        return self.node("Gather", self.node("Concat", *parts, axis=1), ranks + "_places", axis=1), start


def graph(speakers, *, version=2, names=("spkcache_fifo_chunk_preds", None), fixed=None, fails_at=None, sub=SUB,
          columns=None, logits=False, declared_width=None):
    g = Graph()
    width = speakers * sub
    chunk = "chunk" if version == 3 or fixed else g.pad_to("chunk", sub)
    stacked = g.stack(chunk, sub, N_MELS)
    bins = [frame * N_MELS + 8 * speaker for speaker in range(speakers) for frame in range(sub)]
    embeddings = "chunk_pre_encode_embs"
    gathered = g.node("Gather", stacked, g.constant(bins), output=None if declared_width else embeddings, axis=2)
    g.node("Cast", g.round_up("chunk_lengths", sub), output="chunk_pre_encode_lengths", to=TensorProto.INT64)
    parts, lengths = ["spkcache", "fifo", embeddings], ["spkcache_lengths", "fifo_lengths", "chunk_pre_encode_lengths"]
    if declared_width:
        # The width is computed, so that ONNX Runtime cannot detect at load time that the declared width is wrong.
        nothing = g.node("Sub", "fifo_lengths", "fifo_lengths")
        shape = g.node("Concat", g.constant([1]), g.constant([-1]), g.node("Add", nothing, g.constant([width])), axis=0)
        g.node("Reshape", gathered, shape, output=embeddings)
        parts = [g.node("Reshape", part, shape) for part in ("spkcache", "fifo", gathered)]
    if fixed:
        rows, total = g.pack(parts, lengths)
    else:
        rows = g.node("Concat", *parts, axis=1)
        total = g.node("Add", g.node("Add", *lengths[:2]), lengths[2])
    # [1, rows, speakers * sub] to [1, rows * sub, speakers], the 10 ms probabilities.
    rows = g.node("Reshape", rows, g.constant([1, -1, speakers, sub]))
    rows = g.node("Reshape", g.node("Transpose", rows, perm=[0, 1, 3, 2]), g.constant([1, -1, speakers]))
    rows = g.node("Add", g.node("Mul", rows, g.constant(SCALE, np.float32)), g.constant(BIAS, np.float32))
    if fails_at:
        length = g.node("Gather", "fifo_lengths", g.constant(0))
        rows = g.node("Add", rows, g.node("Gather", g.constant(np.zeros(fails_at), np.float32), length))
    if not logits:
        rows = g.node("Sigmoid", rows)
    frame = g.node("Range", g.constant(0), g.node("Squeeze", g.size(rows, 1)), g.constant(1))
    mask = g.node("Less", frame, g.node("Mul", total, g.constant([sub])))
    mask = g.node("Unsqueeze", g.node("Cast", mask, to=TensorProto.FLOAT), g.constant([0, 2]))
    coarse, fine = names
    fine = g.node("Mul", rows, mask, output=fine)
    pooled = g.node("AveragePool", g.node("Transpose", fine, perm=[0, 2, 1]), kernel_shape=[sub], strides=[sub])
    if columns is None:
        g.node("Transpose", pooled, output=coarse, perm=[0, 2, 1])
    else:
        # The end is computed, so that ONNX Runtime cannot infer the shape at load time.
        end = g.node("Mul", g.node("Sub", total, total), g.constant([columns]))
        g.node("Slice", g.node("Transpose", pooled, perm=[0, 2, 1]), g.constant([0]), end, g.constant([2]),
               output=coarse)

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    axes = dict(zip(("chunk", "spkcache", "fifo"), fixed or (None,) * 3))
    inputs = []
    for name, dim in (("chunk", N_MELS), ("spkcache", width), ("fifo", width)):
        if name != "chunk":
            dim = declared_width or dim
        batch = 1 if fixed else "batch"
        inputs += [value(name, TensorProto.FLOAT, [batch, axes[name] or f"time_{name}", dim]),
                   value(f"{name}_lengths", TensorProto.INT64, [1])]
    outputs = [value(coarse, TensorProto.FLOAT, ["batch", "time_out", speakers]),
               value(embeddings, TensorProto.FLOAT, ["batch", "time_pre_encode", declared_width or width]),
               value("chunk_pre_encode_lengths", TensorProto.INT64, [1])]
    if names[1]:
        outputs.insert(1, value(names[1], TensorProto.FLOAT, ["batch", "time_fine", speakers]))
    model = helper.make_model(helper.make_graph(g.nodes, "sortformer", inputs, outputs, g.constants),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if declared_width is None:
        onnx.checker.check_model(model)
    return model, width


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)

    def save(name, made, metadata=None):
        if metadata:
            helper.set_model_props(made[0], {key: str(value) for key, value in metadata.items()})
        onnx.save(made[0], folder / f"sortformer-{name}.onnx")

    offline = {"chunk_len": 340, "fifo_len": 40, "spkcache_len": 264, "spkcache_update_period": 300}
    version_3 = graph(8, version=3, names=("preds_diar", "preds_hires"))
    silence = np.linspace(-16, -8, version_3[1]).astype("<f4")
    save("v3", version_3, offline | {
        "right_context": 40, "subsampling_factor": SUB, "upsample_factor": SUB, "n_spk": 8, "feat_dim": N_MELS,
        "emb_dim": version_3[1], "high_resolution": 1, "spkcache_sil_frames_per_spk": 1, "use_learnable_sil_emb": 1,
        "learnable_sil_emb": ",".join(f"{v:.9g}" for v in silence)})
    constants = {"sil_threshold": 0.2, "scores_boost_latest": 0.05, "pred_score_threshold": 0.25,
                 "strong_boost_rate": 0.75, "weak_boost_rate": 1.5, "min_pos_scores_rate": 0.5}
    vernacula = {"contract": "sortformer-hr-1", "num_speakers": 8, "emb_dim": version_3[1], "n_mels": N_MELS,
                 "subsampling": SUB, "upsample_factor": SUB, "spkcache_sil_frames_per_spk": 1, **constants,
                 "learnable_sil_emb_f32le_b64": base64.b64encode(silence.tobytes()).decode(),
                 **offline, "chunk_right_context": 40}
    save("v3-vernacula", graph(8, version=3, names=("spkcache_fifo_chunk_preds", "spkcache_fifo_chunk_preds_hr")),
         {f"vernacula.diar.{key}": value for key, value in vernacula.items()})
    defaults = {"chunk_len": 124, "fifo_len": 124, "spkcache_len": 188, "right_context": 1}
    save("fixed", graph(4, fixed=(3048, 188, 40)))
    save("fixed-odd", graph(4, fixed=(3048, 188, 50)))
    save("8-of-v2", graph(8), defaults)
    save("fails", graph(4, fails_at=100), defaults)
    save("40ms", graph(4, sub=4), defaults)
    save("no-speakers", graph(4, columns=0), defaults)
    save("logits", graph(4, logits=True), defaults)
    save("wide", graph(4, declared_width=2**31), defaults)
    return 0


if __name__ == "__main__":
    sys.exit(main())
