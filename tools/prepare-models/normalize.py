# SPDX-License-Identifier: MPL-2.0
"""Converts the graphs of different exporters and opsets to a common form with the same results.

rewrite.py then only has to match each pattern in that form.
"""
import itertools

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graph import attributes, constants, element_types, fold_constants, producers, prune, set_nodes, shapes, value

# Operators with boolean results. A boolean mask selects scores, and other masks are added to them.
BOOLEAN = {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"}


def inline_functions(model):
    """Inlines the model's functions, which some exporters write for each layer. The weights must not be loaded yet,
    because they would be copied."""
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def normalize(model, calls) -> dict:
    """Normalizes the model and returns the number of changes of each kind. The `calls` are dictionaries of inputs."""
    fixed_shapes(model.graph)
    fold_constants(model)
    likes_as_casts(model)
    done = {"general products to matrix products": gemm_as_product(model.graph),
            "attention operators to products": attention_as_products(model, calls)}
    fold_constants(model)
    transpositions_as_one(model.graph)
    for node in model.graph.node:  # some exporters store entire stack traces
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for tensor in model.graph.output:  # some exporters name axes with formulas, which would no longer be true
        for dim in tensor.type.tensor_type.shape.dim:
            if dim.dim_param and not dim.dim_param.isidentifier():
                dim.ClearField("dim_param")
    return done


def fixed_shapes(graph):
    """Replaces fixed input sizes, except that of the batch, with constants from the input types."""
    types = {i.name: i.type.tensor_type.shape.dim for i in graph.input}
    for node in graph.node:
        if node.op_type != "Shape" or node.input[0] not in types:
            continue
        dims, a = types[node.input[0]], attributes(node)
        axes = range(len(dims))[a.get("start", 0):a.get("end", len(dims))]
        if axes and axes[0] > 0 and all(dims[axis].dim_value for axis in axes):
            sizes = np.array([dims[axis].dim_value for axis in axes], np.int64)
            node.CopyFrom(helper.make_node("Constant", [], node.output, value=numpy_helper.from_array(sizes)))


def likes_as_casts(model):
    """Replaces CastLike, which casts to the type of another tensor, with Cast to that type."""
    likes = [node for node in model.graph.node if node.op_type == "CastLike"]
    types = element_types(model, list(dict.fromkeys(node.input[1] for node in likes))) if likes else {}
    for node in likes:
        if node.input[1] in types:
            node.CopyFrom(helper.make_node("Cast", node.input[:1], node.output, node.name, to=types[node.input[1]]))


def gemm_as_product(graph) -> int:
    """Replaces Gemm with known weights by MatMul and Add."""
    known, nodes, found = constants(graph), [], 0
    for node in graph.node:
        a = attributes(node)
        if node.op_type != "Gemm" or node.input[1] not in known or a.get("transA", 0):
            nodes.append(node)
            continue
        found += 1
        product, weights = node.output[0] + "_product", numpy_helper.to_array(known[node.input[1]])
        weights = (weights.T if a.get("transB", 0) else weights) * np.float32(a.get("alpha", 1.0))
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weights), node.output[0] + "_weights"))
        has_bias = len(node.input) > 2 and node.input[2]
        nodes.append(helper.make_node("MatMul", [node.input[0], node.output[0] + "_weights"],
                                      [product] if has_bias else node.output, node.name))
        if has_bias:
            bias = node.input[2]
            if a.get("beta", 1.0) != 1.0:
                graph.initializer.append(numpy_helper.from_array(np.float32(a["beta"]), node.output[0] + "_beta"))
                nodes.append(helper.make_node("Mul", [bias, node.output[0] + "_beta"], [product + "_bias"]))
                bias = product + "_bias"
            nodes.append(helper.make_node("Add", [product, bias], node.output))
    set_nodes(graph, nodes)
    prune(graph)
    return found


def attention_as_products(model, calls) -> int:
    """Replaces the operator Attention of opset 23 with the equivalent products.

    Attention has fewer kernels than products have, and it hides the scores from later rewriting. Only four-dimensional
    heads with an optional additive mask are replaced.
    """
    graph, is_attention = model.graph, lambda n: n.op_type == "Attention" and n.domain in ("", "ai.onnx")
    operands = [name for n in graph.node if is_attention(n) for name in n.input[:3]]
    if not operands:
        return 0
    sizes, nodes, found = shapes(model, operands, [calls[-1]])[0], [], 0
    booleans = {n.output[0] for n in graph.node if n.op_type in BOOLEAN}
    for node in graph.node:
        a, (query, key, values, mask, *more) = attributes(node), [*node.input, *[""] * 4][:7]
        if not is_attention(node) or any(more) or any(node.output[1:]) or mask in booleans \
                or any(a.get(name) for name in ("is_causal", "softcap", "qk_matmul_output_mode")) \
                or any(len(sizes[name]) != 4 for name in (query, key, values)) \
                or sizes[query][1] != sizes[key][1]:
            nodes.append(node)
            continue
        found += 1
        name = node.output[0] + "_"
        scale = a.get("scale") or 1 / np.sqrt(sizes[query][3])
        graph.initializer.append(numpy_helper.from_array(np.float32(scale), name + "scale"))
        nodes.append(helper.make_node("Transpose", [key], [name + "keys"], perm=[0, 1, 3, 2]))
        nodes.append(helper.make_node("MatMul", [query, name + "keys"], [name + "products"], node.name))
        nodes.append(helper.make_node("Mul", [name + "products", name + "scale"], [scores := name + "scores"]))
        if mask:
            nodes.append(helper.make_node("Add", [scores, mask], [scores := name + "masked"]))
        nodes.append(helper.make_node("Softmax", [scores], [name + "weights"], axis=-1))
        nodes.append(helper.make_node("MatMul", [name + "weights", values], node.output))
    set_nodes(graph, nodes)
    return found


def transpositions_as_one(graph) -> int:
    """Merges consecutive transpositions."""
    made_by, found = producers(graph), 0
    for node in graph.node:
        if node.op_type != "Transpose":
            continue
        while (before := made_by.get(node.input[0])) is not None and before.op_type == "Transpose" \
                and {"perm"} <= set(attributes(before)) and {"perm"} <= set(attributes(node)):
            first, second = attributes(before)["perm"], attributes(node)["perm"]
            node.input[0] = before.input[0]
            node.attribute[0].CopyFrom(helper.make_attribute("perm", [first[i] for i in second]))
            found += 1
    prune(graph)
    return found


def open_batch(model, calls) -> int:
    """Makes Reshape copy the first dimension if it was exported as 1 and its input has 1 there in the `calls`, so that the
    batch can be larger. The results for one row do not change. Unused nodes are not pruned."""
    graph = model.graph
    known, made_by = constants(graph), producers(graph)
    sizes = shapes(model, (n.input[0] for n in graph.node if n.op_type == "Reshape"), calls)
    copies = {}

    def copying(name):
        """Returns the name of the same shape with 0 (copy) instead of 1 as the first dimension, or None."""
        if name in copies:
            return copies[name]
        found = None
        if name in known:
            dims = value(known, name)
            if dims and dims[0] == 1 and 0 not in dims:
                found = name + "_of_batch"
                graph.initializer.append(numpy_helper.from_array(np.array([0, *dims[1:]], np.int64), found))
        elif name in made_by and made_by[name].op_type == "Concat" and (value(known, made_by[name].input[0]) or [0])[0] == 1:
            concat, found = made_by[name], name + "_of_batch"
            first = [0, *value(known, concat.input[0])[1:]]
            graph.initializer.append(numpy_helper.from_array(np.array(first, np.int64), found + "_first"))
            added.setdefault(name, []).append(
                helper.make_node("Concat", [found + "_first", *concat.input[1:]], [found], axis=0))
        copies[name] = found
        return found

    added, changed = {}, 0
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        if any(of_call[node.input[0]][:1] != [1] for of_call in sizes) or (shape := copying(node.input[1])) is None:
            continue
        node.input[1] = shape
        for attribute in node.attribute:
            if attribute.name == "allowzero":
                attribute.i = 0
        changed += 1
    set_nodes(graph, itertools.chain.from_iterable(
        [node, *itertools.chain.from_iterable(added.get(name, []) for name in node.output)] for node in graph.node))
    return changed
