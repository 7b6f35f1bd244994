# SPDX-License-Identifier: MPL-2.0
"""Looking things up in ONNX graphs, and changing them without leaving rubbish."""
import itertools

import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper


def attributes(node) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def constants(graph) -> dict:
    """The tensors that are known without running the graph, by name."""
    found = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def value(known: dict, name: str):
    """A constant as Python's numbers, or None."""
    return numpy_helper.to_array(known[name]).tolist() if name in known else None


def producers(graph) -> dict:
    return {output: node for node in graph.node for output in node.output}


def users(graph) -> dict:
    found = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def rename_inputs(graph, names: dict):
    """Makes all nodes read `names[x]` where they read x."""
    def final(name):
        while name in names:
            name = names[name]
        return name
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = final(name)


def set_nodes(graph, nodes):
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def prune(graph):
    """Takes out what no output depends on."""
    made_by = producers(graph)
    needed, waiting = set(), [o.name for o in graph.output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in made_by:
            waiting += made_by[name].input
    set_nodes(graph, [n for n in graph.node if needed & set(n.output)])
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in needed:
            del graph.initializer[i]
    del graph.value_info[:]


def evaluate(model, names, calls):
    """The values of the tensors `names` in each of the `calls`, from the part of the graph that makes them."""
    graph = onnx.GraphProto(name="part", node=model.graph.node, input=model.graph.input)
    graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    prune(graph)
    needed = set(itertools.chain.from_iterable(n.input for n in graph.node))
    graph.initializer.extend(t for t in model.graph.initializer if t.name in needed)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for call in calls:
        yield session.run(list(names), {i.name: call[i.name] for i in session.get_inputs()})
