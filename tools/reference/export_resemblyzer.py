#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Exports Resemblyzer's voice encoder to ONNX: export_resemblyzer.py PRETRAINED.PT OUT.onnx [--fp32]

PRETRAINED.PT is resemblyzer/pretrained.pt in the wheel of `pip download --no-deps resemblyzer==0.1.4` (Apache-2.0).

The graph takes any number of frames of Resemblyzer's mel spectrogram, [N, T, 40], and does what the method
`embed_utterance` does with its default arguments: it cuts parts of 160 frames, 77 frames apart, embeds each, and returns
the mean of their embeddings with a length of 1, [N, 256]. A last part that has fewer than 120 frames of audio is left
out, unless it is the only one. T counts the frames of the recording without the zeros after it.

The weights are stored with 16 bits. ONNX Runtime converts them to 32 bits when it loads the file, and computes with 32
bits. Weights of 8 bits with a scale for each row change some embeddings to a cosine of 0.6.

Needs: pip install torch==2.15.0 onnx==1.23.2
"""
import argparse

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

MELS, HIDDEN, LAYERS = 40, 256, 3
PART_FRAMES, PART_HOP, MIN_LAST_FRAMES = 160, 77, 120
METADATA = {"framework": "resemblyzer", "language": "English", "url": "https://github.com/resemble-ai/Resemblyzer",
            "comment": "Resemblyzer 0.1.4, Copyright 2019 Resemble.AI, Apache License 2.0", "sample_rate": "16000",
            "output_dim": str(HIDDEN), "normalize_samples": "1", "feature_normalize_type": "", "feat_dim": str(MELS)}


class Graph:
    def __init__(self, fp32: bool):
        self.fp32, self.nodes, self.initializers = fp32, [], []

    def constant(self, name, values, dtype):
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(self, op_type, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def matrix(self, name, values):
        """Adds a matrix with the type of the weights."""
        if self.fp32:
            return self.constant(name, values, np.float32)
        return self.op("Cast", [self.constant(f"{name}_fp16", values, np.float16)], name, to=TensorProto.FLOAT)


def add_parts(graph: Graph) -> str:
    """Gathers the parts, [N * parts, 160, 40]."""
    def integers(name, values):
        return graph.constant(name, values, np.int64)

    zero, one, hop, part = integers("zero", [0]), integers("one", [1]), integers("hop", [PART_HOP]), integers(
        "part", [PART_FRAMES])
    shape = graph.op("Shape", ["features"], "shape")
    frames = graph.op("Slice", [shape, one, integers("two", [2]), zero], "frames")
    # The last part starts at the last multiple of the hop that is at most this many frames.
    reach = graph.op("Max", [graph.op("Sub", [frames, integers("missing", [PART_FRAMES - PART_HOP])], "rest"), zero],
                     "reach")
    last = graph.op("Div", [reach, hop], "last")
    start = graph.op("Mul", [last, hop], "last_start")
    enough = graph.op("Add", [start, integers("enough_frames", [MIN_LAST_FRAMES + 1])], "enough")
    is_short = graph.op("And", [graph.op("Less", [frames, enough], "has_few"), graph.op("Greater", [last, zero], "has_more")],
                        "is_short")
    last = graph.op("Sub", [last, graph.op("Cast", [is_short], "left_out", to=TensorProto.INT64)], "last_part")
    parts = graph.op("Add", [last, one], "parts")
    end = graph.op("Add", [graph.op("Mul", [last, hop], "end_start"), part], "end")
    padding = graph.op("Max", [graph.op("Sub", [end, frames], "missing_frames"), zero], "padding")
    pads = graph.op("Concat", [integers("before", [0, 0, 0, 0]), padding, zero], "pads", axis=0)
    padded = graph.op("Pad", ["features", pads], "padded")
    scalar = integers("scalar", [])
    count = graph.op("Reshape", [parts, scalar], "count")
    numbers = graph.op("Range", [graph.constant("first", 0, np.int64), count, graph.constant("step", 1, np.int64)],
                       "numbers")
    starts = graph.op("Unsqueeze", [graph.op("Mul", [numbers, hop], "starts"), one], "start_column")
    indices = graph.op("Add", [starts, integers("offsets", np.arange(PART_FRAMES))], "indices")
    gathered = graph.op("Gather", [padded, indices], "gathered", axis=1)
    return graph.op("Reshape", [gathered, integers("batch", [-1, PART_FRAMES, MELS])], "all_parts")


def add_encoder(graph: Graph, state: dict, parts: str) -> str:
    """Embeds the parts, [N * parts, 256]."""
    def reordered(name):
        # PyTorch's gates are input, forget, cell and output, ONNX's are input, output, forget and cell.
        i, f, c, o = state[name].numpy().reshape(4, HIDDEN, -1)
        return np.concatenate([i, o, f, c])

    states = graph.op("Transpose", [parts], "by_time", perm=[1, 0, 2])
    for layer in range(LAYERS):
        w, r = (graph.matrix(f"{kind}{layer}", reordered(f"lstm.weight_{kind}h_l{layer}")[None]) for kind in "ih")
        biases = np.concatenate([reordered(f"lstm.bias_{kind}h_l{layer}")[:, 0] for kind in "ih"])
        bias = graph.constant(f"bias{layer}", biases[None], np.float32)
        graph.nodes.append(helper.make_node(
            "LSTM", [states, w, r, bias], [f"states{layer}", f"hidden{layer}"], name=f"lstm{layer}", hidden_size=HIDDEN))
        states = graph.op("Squeeze", [f"states{layer}", "one"], f"output{layer}")
    hidden = graph.op("Squeeze", [f"hidden{LAYERS - 1}", "zero"], "hidden")
    weight = graph.matrix("linear", state["linear.weight"].numpy())
    bias = graph.constant("linear_bias", state["linear.bias"].numpy(), np.float32)
    raw = graph.op("Relu", [graph.op("Gemm", [hidden, weight, bias], "projected", transB=1)], "raw")
    return graph.op("LpNormalization", [raw], "part_embeddings", axis=1, p=2)


def export(checkpoint: str, fp32: bool) -> onnx.ModelProto:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model_state"]
    graph = Graph(fp32)
    embeddings = add_encoder(graph, state, add_parts(graph))
    shape = graph.op("Concat", [graph.op("Slice", ["shape", "zero", "one", "zero"], "recordings"), "parts",
                                graph.constant("width", [HIDDEN], np.int64)], "by_recording_shape", axis=0)
    by_recording = graph.op("Reshape", [embeddings, shape], "by_recording")
    mean = graph.op("ReduceMean", [by_recording, "one"], "mean", keepdims=0)
    graph.op("LpNormalization", [mean], "embedding", axis=1, p=2)
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(graph.nodes, "resemblyzer", [value("features", TensorProto.FLOAT, ["N", "T", MELS])],
                          [value("embedding", TensorProto.FLOAT, ["N", HIDDEN])], graph.initializers),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="export_resemblyzer.py")
    helper.set_model_props(model, METADATA)
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--fp32", action="store_true", help="store the weights with 32 bits")
    args = parser.parse_args()
    onnx.save(export(args.checkpoint, args.fp32), args.out)


if __name__ == "__main__":
    main()
