# SPDX-License-Identifier: MPL-2.0
"""Converts dynamically quantized graphs back to graphs with floats."""
import numpy as np
from onnx import helper, numpy_helper

from graph import attributes, constants, producers, prune, reads, set_nodes, users

# Operators with 8 or fewer bits. DequantizeLinear is not listed: applied to weights it is folded as a constant, and
# applied to a row of weights, such as the result of Gather, it stays.
QUANTIZED = {"ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "GatherBlockQuantized",
             "MatMulBnb4", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm", "QLinearAdd",
             "QLinearConv", "QLinearMatMul", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear"}


class Unsupported(Exception):
    """The graph contains a form that cannot be rewritten reliably."""


def is_quantized(graph) -> bool:
    return any(node.op_type in QUANTIZED for node in graph.node)


class Weights:
    """Floats of the quantized weights. Each tensor is converted once."""

    def __init__(self, known):
        self.known, self.made = known, {}

    def floats(self, quantized, zero_point, scale, axis, permutation=None):
        if quantized not in self.made:
            shapes = [tuple(self.known[n].dims) for n in (quantized, scale, *filter(None, [zero_point]))]
            self.made[quantized] = None if any(not self.fits(shapes[0], s, axis) for s in shapes[1:]) else \
                (zero_point, scale, axis, permutation)
        if self.made[quantized] is None:
            raise KeyError(quantized)
        return quantized + "_float"

    @staticmethod
    def fits(weights, parameters, axis) -> bool:
        """One value, or one for each channel."""
        return int(np.prod(parameters)) in (1, weights[axis])

    def tensors(self):
        for quantized, (zero_point, scale, axis, permutation) in self.made.items():
            q = numpy_helper.to_array(self.known[quantized]).astype(np.float32)
            shape = [1] * q.ndim
            shape[axis] = -1
            if zero_point:
                q -= numpy_helper.to_array(self.known[zero_point]).astype(np.float32).reshape(shape)
            q *= numpy_helper.to_array(self.known[scale]).astype(np.float32).reshape(shape)
            q = q if permutation is None else q.transpose(permutation)
            yield numpy_helper.from_array(np.ascontiguousarray(q), quantized + "_float")


def plan(graph):
    """Plans the graph in floats from its structure alone. Returns the new nodes by output, and the Weights.

    Raises Unsupported if that is not possible.
    """
    known, made_by, read_by = constants(graph), producers(graph), users(graph)
    weights, replaced = Weights(known), {}

    def only_user(node, op_type):
        found = read_by.get(node.output[0], [])
        if len(found) != 1 or found[0].op_type != op_type:
            raise KeyError(node.output[0])
        return found[0]

    def source(name):
        """Returns the tensor that was dynamically quantized to `name`."""
        dynamic = made_by[name]
        if dynamic.op_type != "DynamicQuantizeLinear":
            raise KeyError(name)
        return dynamic.input[0]

    def at(node, i):
        return node.input[i] if i < len(node.input) else ""

    def biased(op_type, inputs, bias, node):
        """Returns [(output, node)] of a product and its bias, if any."""
        if not bias:
            return [(node.output[0], helper.make_node(op_type, inputs, node.output, node.name))]
        product = node.output[0] + "_product"
        return [(product, helper.make_node(op_type, inputs, [product], node.name)),
                (node.output[0], helper.make_node("Add", [product, bias], node.output))]

    def as_floats(node):
        """Returns [(output, node)] in floats; the last one computes the result."""
        if node.op_type == "DynamicQuantizeLSTM":
            w = weights.floats(node.input[1], at(node, 9), node.input[8], -1, [0, 2, 1])
            r = weights.floats(node.input[2], at(node, 11), node.input[10], -1, [0, 2, 1])
            return [(node.output[0], helper.make_node(
                "LSTM", [node.input[0], w, r, *node.input[3:8]], node.output, node.name, **attributes(node)))]
        if node.op_type == "DynamicQuantizeMatMul":
            w = weights.floats(node.input[1], at(node, 3), node.input[2], -1)
            return biased("MatMul", [node.input[0], w], at(node, 4), node)
        if node.op_type == "MatMulIntegerToFloat":
            w = weights.floats(node.input[1], at(node, 5), node.input[3], -1)
            return biased("MatMul", [source(node.input[0]), w], at(node, 6), node)
        op_type, axis = ("MatMul", -1) if node.op_type == "MatMulInteger" else ("Conv", 0)
        rescale = only_user(only_user(node, "Cast"), "Mul")
        scales = next(made_by[i] for i in rescale.input if i in made_by and made_by[i].op_type == "Mul")
        w = weights.floats(node.input[1], at(node, 3), next(i for i in scales.input if i in known), axis)
        return [(rescale.output[0], helper.make_node(
            op_type, [source(node.input[0]), w], rescale.output, node.name, **attributes(node)))]

    for node in graph.node:
        if node.op_type in ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
                            "MatMulIntegerToFloat"):
            try:
                made = as_floats(node)
            except (KeyError, IndexError, StopIteration) as reason:
                raise Unsupported(f"{node.op_type} {node.name} of an unknown form") from reason
            replaced[made[-1][0]] = [n for _, n in made]
    left = {n.op_type for n in needed(graph, replaced)} & QUANTIZED
    if left:
        raise Unsupported(f"operators of an unknown form: {', '.join(sorted(left))}")
    return replaced, weights


def needed(graph, replaced):
    """The nodes that stay when those of `replaced` make their outputs."""
    made_by = producers(graph)
    for output, nodes in replaced.items():
        made_by |= {name: node for node in nodes for name in node.output if name}
    found, waiting = {}, [o.name for o in graph.output]
    while waiting:
        node = made_by.get(waiting.pop())
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting += reads(node)
    return found.values()


def dequantize(graph) -> int:
    """Converts dynamically quantized products, convolutions, and LSTMs back to floats, and returns their number."""
    replaced, weights = plan(graph)
    graph.initializer.extend(weights.tensors())
    set_nodes(graph, (made for n in graph.node for made in replaced.get(n.output[0], [n])))
    prune(graph)
    return len(replaced)
