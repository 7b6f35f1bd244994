# SPDX-License-Identifier: MPL-2.0
"""From dynamically quantised graphs back to graphs of floats."""
import numpy as np
from onnx import helper, numpy_helper

from graph import attributes, constants, producers, prune, set_nodes, users

QUANTISED = {"ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul",
             "MatMulIntegerToFloat", "MatMulNBits", "MatMulInteger", "QLinearConv", "QLinearMatMul"}


class Unsupported(Exception):
    """The graph holds something that is not understood well enough to be rewritten."""


def dequantise(graph) -> int:
    """Turns dynamically quantised products, convolutions and LSTMs back into those of floats."""
    known, made_by, read_by = constants(graph), producers(graph), users(graph)
    floats, replaced = {}, {}

    def weight(quantised, zero_point, scale, axis, permutation=None):
        if quantised not in floats:
            q, z, s = (numpy_helper.to_array(known[n]).astype(np.float32) for n in (quantised, zero_point, scale))
            shape = [1] * q.ndim
            shape[axis] = -1  # one value, or one for each channel
            w = (q - z.reshape(shape)) * s.reshape(shape)
            w = w if permutation is None else w.transpose(permutation)
            floats[quantised] = numpy_helper.from_array(np.ascontiguousarray(w), quantised + "_float")
        return floats[quantised].name

    def only_user(node, op_type):
        found = read_by.get(node.output[0], [])
        if len(found) != 1 or found[0].op_type != op_type:
            raise KeyError(node.output[0])
        return found[0]

    def as_floats(node):
        """The name of the result, and the node that makes it."""
        if node.op_type == "DynamicQuantizeLSTM":
            w = weight(node.input[1], node.input[9], node.input[8], -1, [0, 2, 1])
            r = weight(node.input[2], node.input[11], node.input[10], -1, [0, 2, 1])
            return node.output[0], helper.make_node(
                "LSTM", [node.input[0], w, r, *node.input[3:8]], node.output, node.name, **attributes(node))
        op_type, axis = ("MatMul", -1) if node.op_type == "MatMulInteger" else ("Conv", 0)
        rescale = only_user(only_user(node, "Cast"), "Mul")
        scales = next(made_by[i] for i in rescale.input if i in made_by and made_by[i].op_type == "Mul")
        w = weight(node.input[1], node.input[3], next(i for i in scales.input if i in known), axis)
        dynamic = made_by[node.input[0]]
        if dynamic.op_type != "DynamicQuantizeLinear":
            raise KeyError(node.input[0])
        return rescale.output[0], helper.make_node(
            op_type, [dynamic.input[0], w], rescale.output, node.name, **attributes(node))

    for node in graph.node:
        if node.op_type in ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM"):
            try:
                result, made = as_floats(node)
            except (KeyError, IndexError, StopIteration) as reason:
                raise Unsupported(f"{node.op_type} {node.name} has an unknown form") from reason
            replaced[result] = made
    graph.initializer.extend(floats.values())
    set_nodes(graph, [replaced.get(n.output[0], n) for n in graph.node])
    prune(graph)
    left = {n.op_type for n in graph.node} & QUANTISED
    if left:
        raise Unsupported(f"8-bit operations of an unknown form: {', '.join(sorted(left))}")
    return len(replaced)
