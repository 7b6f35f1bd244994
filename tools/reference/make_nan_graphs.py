#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes small graphs that compute NaN partway through into the folder of make_fake_sortformers.py:
make_nan_graphs.py FOLDER

sortformer-nan.onnx     Like sortformer-fails.onnx, but computes NaN instead of failing, as soon as the
                        FIFO contains 100 frames.
decoder_joint-nan.onnx  Has the inputs and outputs of the tiny models' decoder. It emits "▁the" ten times,
                        the maximum, in each frame whose first value is above 0, and computes NaN as
                        soon as a speaker has 300 tokens.

Needs: pip install onnx numpy
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

D_MODEL, LAYERS, HIDDEN, VOCABULARY = 64, 2, 48, 96
WORD, TOKENS = 5, 300


def sortformer(fails: onnx.ModelProto) -> onnx.ModelProto:
    # The table is too short for a longer FIFO; it is extended with NaN.
    [table] = [constant for constant in fails.graph.initializer if constant.dims == [100]]
    values = np.where(np.arange(1000) < 100, 0, np.nan).astype(np.float32)
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    onnx.checker.check_model(fails)
    return fails


def decoder() -> onnx.ModelProto:
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    word, blank = np.zeros((1, VOCABULARY + 1), np.float32), np.zeros(VOCABULARY + 1, np.float32)
    word[0, WORD], blank[VOCABULARY] = 10, 5
    first = node("Slice", ["encoder_outputs", constant("from", [0]), constant("to", [1]), constant("axis", [2])],
                 "first")
    speaks = node("Cast", [node("Greater", [first, constant("zero", np.float32(0))], "positive")], "speaks",
                  to=TensorProto.FLOAT)
    logits = node("Add", [node("MatMul", [speaks, constant("word", word)], "words"), constant("blank", blank)],
                  "logits")
    # The first state counts the tokens.
    table = np.zeros(TOKENS + 1, np.float32)
    table[TOKENS] = np.nan
    tokens = node("ReduceMax", ["input_states_1"], "tokens", keepdims=0)
    tokens = node("Min", [tokens, constant("max_tokens", np.float32(TOKENS))], "known")
    index = node("Cast", [tokens], "index", to=TensorProto.INT64)
    zero_or_nan = node("Gather", [constant("table", table), index], "zero_or_nan")
    node("Unsqueeze", [node("Add", [logits, zero_or_nan], "result"), constant("joint_axis", [2])], "outputs")
    node("Add", ["input_states_1", constant("one", np.float32(1))], "states_1")
    node("Identity", ["input_states_2"], "states_2")

    def value(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    state = [LAYERS, 1, HIDDEN]
    inputs = [value("encoder_outputs", [1, "time", D_MODEL]), value("targets", [1, 1], TensorProto.INT64),
              value("input_states_1", state), value("input_states_2", state)]
    outputs = [value("outputs", [1, "time", 1, VOCABULARY + 1]), value("states_1", state), value("states_2", state)]
    model = helper.make_model(helper.make_graph(nodes, "decoder", inputs, outputs, constants),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    onnx.save(sortformer(onnx.load(folder / "sortformer-fails.onnx")), folder / "sortformer-nan.onnx")
    onnx.save(decoder(), folder / "decoder_joint-nan.onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
