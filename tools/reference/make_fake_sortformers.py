#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Write small graphs with the contract of a Sortformer, for what no trained model does on request:
make_fake_sortformers.py FOLDER

sortformer-v3.onnx     the contract of version 3: 8 speakers, a second output at 10 ms, the constants
                       of the cache and a learned silence embedding in the metadata. Speaker k is
                       active where the mean of mel bin 8 k is above a threshold.
sortformer-fails.onnx  version 2, and fails as soon as the FIFO holds 100 frames.
sortformer-40ms.onnx   version 2, with frames of 40 ms instead of 80.
sortformer-slow.onnx   version 2, and multiplies matrices as often as the number says whose 8 bytes are
                       b"how-slow" in the file, for a test to replace.

Needs: pip install onnx numpy
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_MELS, D_MODEL, SUB = 128, 48, 8


def graph(speakers: int, probabilities: str, hires: bool = False, fails_at: int | None = None,
          subsampling: int = SUB, slow: bool = False) -> onnx.ModelProto:
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    by_bin = node("Transpose", ["chunk"], "by_bin", perm=[0, 2, 1])
    pooled = node("AveragePool", [by_bin], "pooled", kernel_shape=[subsampling],
                  strides=[subsampling], ceil_mode=1)
    frames = node("Transpose", [pooled], "frames", perm=[0, 2, 1])
    node("Slice", [frames, constant("zero", [0]), constant("width", [D_MODEL]), constant("last_axis", [2])],
         "chunk_pre_encode_embs")
    rows = node("Concat", ["spkcache", "fifo", "chunk_pre_encode_embs"], "rows", axis=1)
    weights = np.zeros((D_MODEL, speakers), np.float32)
    for speaker in range(speakers):
        weights[speaker * D_MODEL // speakers, speaker] = 1.0
    logits = node("MatMul", [rows, constant("weights", weights)], "logits")
    logits = node("Add", [logits, constant("bias", np.full(speakers, 8.0, np.float32))], "moved")
    if fails_at:
        length = node("Gather", ["fifo_lengths", constant("first", 0)], "length")
        none = node("Gather", [constant("allowed", np.zeros(fails_at, np.float32)), length], "none")
        logits = node("Add", [logits, none], "guarded")
    if slow:
        logits = node("Add", [logits, node("Mul", [waste_time(node, constant), constant("none", np.float32(0))],
                                           "nothing")], "late")
    node("Sigmoid", [logits], probabilities)
    node("Div", [node("Add", ["chunk_lengths", constant("rest", [subsampling - 1])], "rounded"),
                 constant("subsampling", [subsampling])], "chunk_pre_encode_lengths")

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = []
    for name, width in (("chunk", N_MELS), ("spkcache", D_MODEL), ("fifo", D_MODEL)):
        inputs += [value(name, TensorProto.FLOAT, ["batch", f"time_{name}", width]),
                   value(f"{name}_lengths", TensorProto.INT64, [1])]
    outputs = [value(probabilities, TensorProto.FLOAT, ["batch", "time_out", speakers]),
               value("chunk_pre_encode_embs", TensorProto.FLOAT, ["batch", "time_pre_encode", D_MODEL]),
               value("chunk_pre_encode_lengths", TensorProto.INT64, [1])]
    if hires:
        node("Resize", [probabilities, "", constant("scales", np.array([1, SUB, 1], np.float32))], "preds_hires",
             mode="nearest")
        outputs.insert(1, value("preds_hires", TensorProto.FLOAT, ["batch", "time_hires", speakers]))
    model = helper.make_model(helper.make_graph(nodes, "sortformer", inputs, outputs, constants),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def waste_time(node, constant) -> str:
    """A number that takes a loop of products of matrices to compute."""
    matrix = np.eye(64, dtype=np.float32)

    def tensor(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("MatMul", ["state", "identity"], ["product"]),
         helper.make_node("Tanh", ["product"], ["next"]),
         helper.make_node("Identity", ["condition"], ["goes_on"])],
        "body",
        [tensor("index", TensorProto.INT64, []), tensor("condition", TensorProto.BOOL, []),
         tensor("state", TensorProto.FLOAT, [64, 64])],
        [tensor("goes_on", TensorProto.BOOL, []), tensor("next", TensorProto.FLOAT, [64, 64])])
    start = node("Add", [constant("identity", matrix), node("ReduceMean", ["chunk"], "mean", keepdims=0)], "start")
    times = int.from_bytes(b"how-slow", "little")
    node("Loop", [constant("times", times), constant("always", True), start], "end", body=body)
    return node("ReduceMean", ["end"], "wasted", keepdims=0)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    version_3 = graph(8, "preds_diar", hires=True)
    silence = np.linspace(-16, -8, D_MODEL)
    helper.set_model_props(version_3, {
        "n_spk": "8", "upsample_factor": str(SUB), "spkcache_sil_frames_per_spk": "2", "use_learnable_sil_emb": "True",
        "learnable_sil_emb": str([round(float(v), 3) for v in silence]), "spkcache_update_period": "144",
        "chunk_len": "124", "fifo_len": "124", "spkcache_len": "188", "right_context": "1"})
    onnx.save(version_3, folder / "sortformer-v3.onnx")
    onnx.save(graph(4, "spkcache_fifo_chunk_preds", fails_at=100), folder / "sortformer-fails.onnx")
    onnx.save(graph(4, "spkcache_fifo_chunk_preds", subsampling=4), folder / "sortformer-40ms.onnx")
    onnx.save(graph(4, "spkcache_fifo_chunk_preds", slow=True), folder / "sortformer-slow.onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
