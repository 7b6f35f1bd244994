# SPDX-License-Identifier: MPL-2.0
"""Queries ONNX graphs, and changes them without leaving unused nodes."""
import itertools

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state

# All exceptions of ONNX Runtime. Their only common base class is Exception.
RUNTIME_ERRORS = tuple(kind for kind in vars(onnxruntime_pybind11_state).values()
                       if isinstance(kind, type) and issubclass(kind, Exception))
# Maximum bytes of a tensor on which shapes can depend.
SMALL = 4096
SHAPE_OF = ":shape"
ORT_TYPES = {"float": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64, "int32": onnx.TensorProto.INT32,
             "bool": onnx.TensorProto.BOOL}


def attributes(node) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def constants(graph) -> dict:
    """Returns the tensors that are known without running the graph, by name."""
    found = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def value(known: dict, name: str):
    """Returns a constant as Python numbers, or None."""
    return numpy_helper.to_array(known[name]).tolist() if name in known else None


def constants_as_initializers(graph):
    """Moves the tensors of Constant nodes to the initializers, because they too can be large or stored outside the graph."""
    outputs, nodes = {o.name for o in graph.output}, []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value" and node.output[0] not in outputs:
            graph.initializer.append(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
        else:
            nodes.append(node)
    set_nodes(graph, nodes)


def scalar(known: dict, name: str):
    """Returns the number in a constant of one element and any rank, or None."""
    return numpy_helper.to_array(known[name]).item() if name in known and np.prod(known[name].dims) == 1 else None


def producers(graph) -> dict:
    return {output: node for node in graph.node for output in node.output if output}


def subgraphs(node):
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.HasField("g") else attribute.graphs)


def reads(node) -> list:
    """Returns the inputs of a node, including those that its subgraphs (of If, Loop, and Scan) read from outside."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        own = {t.name for t in (*graph.initializer, *graph.input)} | set(producers(graph))
        inner = itertools.chain(*(reads(n) for n in graph.node), (o.name for o in graph.output))
        names += [name for name in inner if name not in own]
    return names


def users(graph) -> dict:
    found = {}
    for node in graph.node:
        for name in reads(node):
            found.setdefault(name, []).append(node)
    return found


def rename_inputs(graph, names: dict):
    """Replaces each input x of all nodes with `names[x]`."""
    def final(name):
        while name in names:
            name = names[name]
        return name

    def rename(nodes):
        for node in nodes:
            for i, name in enumerate(node.input):
                node.input[i] = final(name)
            for inner in subgraphs(node):
                rename(inner.node)
    rename(graph.node)


def set_nodes(graph, nodes):
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def prune(graph):
    """Removes nodes and tensors on which no output depends."""
    made_by = producers(graph)
    needed, waiting = set(), [o.name for o in graph.output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in made_by:
            waiting += reads(made_by[name])
    set_nodes(graph, [n for n in graph.node if needed & set(n.output)])
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in needed:
            del graph.initializer[i]
    del graph.value_info[:]


def session(model, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def evaluate(model, names, calls):
    """Yields the values of the tensors `names` for each of the `calls`, by running only the part that computes them."""
    known, made_by = constants(model.graph), producers(model.graph)
    fixed = {n: numpy_helper.to_array(known[n]) for n in names if n in known}
    given = {i.name for i in model.graph.input}
    graph = onnx.GraphProto(name="part", node=model.graph.node, input=model.graph.input)
    computed = [n for n in dict.fromkeys(names) if n in made_by and n not in fixed]
    graph.output.extend(onnx.ValueInfoProto(name=n) for n in computed)
    prune(graph)
    needed = set(itertools.chain.from_iterable(map(reads, graph.node)))
    graph.initializer.extend(t for t in model.graph.initializer if t.name in needed)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    run = session(part) if computed else None
    wanted = {i.name for i in run.get_inputs()} if run else set()
    for call in calls:
        found = dict(zip(computed, run.run(computed, {n: call[n] for n in wanted}))) if run else {}
        found |= fixed | {n: call[n] for n in names if n in given}
        yield [found[n] for n in names]


def fold_constants(model) -> int:
    """Computes tensors that depend only on constants, so that they can be looked up. These differ most between exporters."""
    graph, folded, names = model.graph, 0, {}
    known, nodes = {t.name: t for t in graph.initializer}, []
    outputs = {o.name for o in graph.output}

    def keep(name, array):
        tensor = numpy_helper.from_array(np.array(array, order="C"), name)  # of any rank, including 0
        graph.initializer.append(tensor)
        known[name] = graph.initializer[-1]

    for node in graph.node:
        inputs = [names.get(name, name) for name in node.input]
        if node.output[0] in outputs:
            nodes.append(node)
            continue
        if node.op_type == "Identity" and inputs[0] in known:
            names[node.output[0]] = inputs[0]
        elif all(name in known for name in inputs if name) and node.domain in ("", "ai.onnx") \
                and len(node.output) == 1 and not list(subgraphs(node)) \
                and not node.op_type.startswith(("Random", "Multinomial", "Bernoulli")):
            one = onnx.GraphProto(name="one", node=[node])
            del one.node[0].input[:]
            one.node[0].input.extend(inputs)
            one.initializer.extend(known[name] for name in dict.fromkeys(inputs) if name)
            one.output.extend([onnx.ValueInfoProto(name=node.output[0])])
            part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=one)
            keep(node.output[0], session(part).run(None, {})[0])
        else:
            nodes.append(node)
            continue
        folded += 1
    set_nodes(graph, nodes)
    rename_inputs(graph, names)
    prune(graph)
    return folded


def with_zeros(model, outputs) -> ort.InferenceSession:
    """Returns a session of the graph with zeros for large weights, which result in the same shapes, and these outputs."""
    zeros, small, nodes = {}, [], []
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) <= SMALL and tensor.data_location == onnx.TensorProto.DEFAULT:
            small.append(tensor)
            continue
        if tensor.data_type not in zeros:
            zeros[tensor.data_type] = helper.make_tensor("value", tensor.data_type, [1], [0])
        small.append(numpy_helper.from_array(np.array(tensor.dims, np.int64), tensor.name + "_dims"))
        nodes.append(helper.make_node("ConstantOfShape", [small[-1].name], [tensor.name], value=zeros[tensor.data_type]))
    light = onnx.GraphProto(name="light", node=[*nodes, *model.graph.node], input=model.graph.input,
                            initializer=small, output=[onnx.ValueInfoProto(name=name) for name in outputs])
    for name in outputs:
        if name.endswith(SHAPE_OF):
            light.node.append(helper.make_node("Shape", [name.removesuffix(SHAPE_OF)], [name]))
    prune(light)
    return session(onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=light),
                   ort.GraphOptimizationLevel.ORT_DISABLE_ALL)


def element_types(model, names) -> dict:
    """Returns the onnx element types of the tensors `names`."""
    found = {o.name: o.type.removeprefix("tensor(").removesuffix(")") for o in with_zeros(model, names).get_outputs()}
    return {name: ORT_TYPES[found[name]] for name in names if found.get(name) in ORT_TYPES}


def shapes(model, names, calls) -> list[dict]:
    """Returns the shapes of the tensors `names` for each of the `calls`."""
    names = list(dict.fromkeys(names))
    run = with_zeros(model, [name + SHAPE_OF for name in names])
    wanted = {i.name for i in run.get_inputs()}
    return [dict(zip(names, map(np.ndarray.tolist, run.run(None, {n: call[n] for n in wanted})))) for call in calls]
