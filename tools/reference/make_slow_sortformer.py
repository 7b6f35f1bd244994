#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes a small graph with the inputs and outputs of a Sortformer and an adjustable delay:
make_slow_sortformer.py FOLDER

sortformer-slow.onnx is version 2. It multiplies matrices in a loop; the number of iterations is an 8-byte integer that
is b"how-slow" in the file, which tests replace. Speaker k is active where mel bin 12 k is loud.

Needs: pip install onnx numpy
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_MELS, D_MODEL, SUB = 128, 48, 8


def graph(speakers: int, probabilities: str) -> onnx.ModelProto:
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    by_bin = node("Transpose", ["chunk"], "by_bin", perm=[0, 2, 1])
    pooled = node("AveragePool", [by_bin], "pooled", kernel_shape=[SUB],
                  strides=[SUB], ceil_mode=1)
    frames = node("Transpose", [pooled], "frames", perm=[0, 2, 1])
    node("Slice", [frames, constant("zero", [0]), constant("width", [D_MODEL]), constant("last_axis", [2])],
         "chunk_pre_encode_embs")
    rows = node("Concat", ["spkcache", "fifo", "chunk_pre_encode_embs"], "rows", axis=1)
    weights = np.zeros((D_MODEL, speakers), np.float32)
    for speaker in range(speakers):
        weights[speaker * D_MODEL // speakers, speaker] = 1.0
    logits = node("MatMul", [rows, constant("weights", weights)], "logits")
    logits = node("Add", [logits, constant("bias", np.full(speakers, 8.0, np.float32))], "moved")
    logits = node("Add", [logits, node("Mul", [waste_time(node, constant), constant("none", np.float32(0))],
                                       "nothing")], "late")
    node("Sigmoid", [logits], probabilities)
    node("Div", [node("Add", ["chunk_lengths", constant("rest", [SUB - 1])], "rounded"),
                 constant("subsampling", [SUB])], "chunk_pre_encode_lengths")

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = []
    for name, width in (("chunk", N_MELS), ("spkcache", D_MODEL), ("fifo", D_MODEL)):
        inputs += [value(name, TensorProto.FLOAT, ["batch", f"time_{name}", width]),
                   value(f"{name}_lengths", TensorProto.INT64, [1])]
    outputs = [value(probabilities, TensorProto.FLOAT, ["batch", "time_out", speakers]),
               value("chunk_pre_encode_embs", TensorProto.FLOAT, ["batch", "time_pre_encode", D_MODEL]),
               value("chunk_pre_encode_lengths", TensorProto.INT64, [1])]
    model = helper.make_model(helper.make_graph(nodes, "sortformer", inputs, outputs, constants),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def waste_time(node, constant) -> str:
    """Adds a number that takes a loop of matrix products to compute."""
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
    onnx.save(graph(4, "spkcache_fifo_chunk_preds"), folder / "sortformer-slow.onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
