#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes small speaker-embedding models with random weights: make_speaker_embedding_models.py FOLDER

They have the inputs, outputs and metadata of the files that sherpa-onnx's scripts export from WeSpeaker, 3D-Speaker and
NeMo: one layer, mean and deviation over time, and another layer. Their embeddings depend on the features, but are of no
use. `zero.onnx` and `infinite.onnx` return vectors of length 0 and infinity.

Needs: pip install onnx==1.23.2
"""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 10
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def embed(frames: str, valid: str, output: str, seed: int, mels: int, dimension: int, scale: float):
    """Returns nodes and weights from `frames`, [N, T, mels], and `valid`, [N, T, 1], to `output`, [N, dimension]."""
    random = np.random.default_rng(seed)
    weights = [constant("first", random.normal(0, scale / mels**0.5, (mels, HIDDEN))),
               constant("second", random.normal(0, 1, (2 * HIDDEN, dimension))),
               constant("time", [1], np.int64), constant("epsilon", 1e-5)]
    nodes = [node("MatMul", [frames, "first"], "layer"), node("Tanh", ["layer"], "activated"),
             node("Mul", ["activated", valid], "masked"), node("ReduceSum", [valid, "time"], "frame_count", keepdims=0),
             node("ReduceSum", ["masked", "time"], "sum", keepdims=0), node("Div", ["sum", "frame_count"], "mean"),
             node("Mul", ["masked", "masked"], "squared"),
             node("ReduceSum", ["squared", "time"], "square_sum", keepdims=0),
             node("Div", ["square_sum", "frame_count"], "power"), node("Mul", ["mean", "mean"], "mean_power"),
             node("Sub", ["power", "mean_power"], "variance"), node("Max", ["variance", "epsilon"], "bounded"),
             node("Sqrt", ["bounded"], "deviation"), node("Concat", ["mean", "deviation"], "statistics", axis=1),
             node("MatMul", ["statistics", "second"], output)]
    return nodes, weights


def save(path, nodes, inputs, outputs, weights, metadata):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, path.stem, [value(*i) for i in inputs], [value(*o) for o in outputs], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                              producer_name="make_speaker_embedding_models.py")
    helper.set_model_props(model, {key: str(text) for key, text in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def save_fbank(path, names, batch, seed, dimension, scale, metadata, last=()):
    """Writes a model of WeSpeaker or 3D-Speaker; `last` is applied to the embedding."""
    features, embedding = names
    nodes, weights = embed(features, "valid", "raw" if last else embedding, seed, 80, dimension, scale)
    nodes = [node("ReduceMax", [features], "max", axes=[2]), node("Sub", ["max", "max"], "none"),
             node("Exp", ["none"], "valid"), *nodes]
    if last:
        nodes.append(node(last[0], ["raw", *last[1:]], embedding))
        weights.append(constant("zero", 0))
    save(path, nodes, [(features, FLOAT, [batch, "T", 80])], [(embedding, FLOAT, [batch, dimension])], weights,
         {"language": "English", "url": "", "comment": "random weights", "sample_rate": 16000, "output_dim": dimension,
          **metadata})


def save_nemo(path, mels, dimension, metadata):
    nodes, weights = embed("frames", "valid", "embs", 3, mels, dimension, 1)
    mask = [node("Transpose", ["audio_signal"], "frames", perm=[0, 2, 1]), node("Shape", ["frames"], "shape"),
            node("Slice", ["shape", "time", "two"], "frame_dim"), node("Squeeze", ["frame_dim"], "frame_limit"),
            node("Range", ["start", "frame_limit", "step"], "numbers"),
            node("Unsqueeze", ["length", "time"], "lengths"), node("Less", ["numbers", "lengths"], "is_valid"),
            node("Cast", ["is_valid"], "valid_row", to=FLOAT), node("Unsqueeze", ["valid_row", "two"], "valid")]
    weights += [constant("two", [2], np.int64), constant("start", 0, np.int64), constant("step", 1, np.int64),
                constant("classes", np.ones((dimension, 4)))]
    save(path, [*mask, *nodes, node("MatMul", ["embs", "classes"], "logits")],
         [("audio_signal", FLOAT, ["audio_signal_dynamic_axes_1", mels, "audio_signal_dynamic_axes_2"]),
          ("length", INT64, ["length_dynamic_axes_1"])],
         [("logits", FLOAT, ["logits_dynamic_axes_1", 4]), ("embs", FLOAT, ["embs_dynamic_axes_1", dimension])], weights,
         {"framework": "nemo", "language": "English", "url": "", "comment": "random weights", "sample_rate": 16000,
          "output_dim": dimension, "feat_dim": mels, **metadata})


def main(folder: pathlib.Path):
    wespeaker = {"framework": "wespeaker", "normalize_samples": 0}
    three_d_speaker = {"framework": "3d-speaker", "normalize_samples": 1, "feature_normalize_type": "global-mean"}
    save_fbank(folder / "wespeaker.onnx", ("feats", "embs"), "B", 1, 24, 0.3, wespeaker)
    save_fbank(folder / "3d-speaker.onnx", ("x", "embedding"), 1, 2, 16, 0.3, three_d_speaker)
    save_nemo(folder / "nemo.onnx", 64, 20, {"feature_normalize_type": "per_feature", "window_size_ms": 20,
                                             "window_stride_ms": 10, "window_type": "hann"})
    save_fbank(folder / "zero.onnx", ("feats", "embs"), "B", 1, 3, 0.3, wespeaker, ("Mul", "zero"))
    save_fbank(folder / "infinite.onnx", ("feats", "embs"), "B", 1, 3, 0.3, wespeaker, ("Div", "zero"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
