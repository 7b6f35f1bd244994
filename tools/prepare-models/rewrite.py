# SPDX-License-Identifier: MPL-2.0
"""Rewrites ONNX graphs into equivalent ones that run faster."""
import itertools

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graph import (RUNTIME_ERRORS, attributes, constants, evaluate, producers, prune, rename_inputs, scalar, set_nodes,
                   shapes, users, value)
from normalize import open_batch

SWAP = [0, 2, 1]  # between channels last and channels first


def pointwise_to_products(graph) -> int:
    """Rewrites convolutions over one frame as matrix products, which run and quantize better."""
    known, made_by, read_by = constants(graph), producers(graph), users(graph)
    nodes, names, weights = [], {}, {}

    def is_swap(node):
        return node is not None and node.op_type == "Transpose" and attributes(node)["perm"] == SWAP

    for node in graph.node:
        a, w = attributes(node), known.get(node.input[1]) if node.op_type == "Conv" else None
        if w is None or list(w.dims[2:]) != [1] or a.get("group", 1) != 1 \
                or any(a.get("pads", [])) or a.get("strides", [1]) != [1]:
            nodes.append(node)
            continue
        product, rows, (result,) = node.input[1] + "_product", node.input[0], node.output
        weights[product] = numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(w)[..., 0].T), product)
        before = made_by.get(rows)
        if is_swap(before):
            rows = before.input[0]
        else:
            nodes.append(helper.make_node("Transpose", [rows], [rows := result + "_rows"], perm=SWAP))
        nodes.append(helper.make_node("MatMul", [rows, product], [rows := result + "_matmul"], node.name))
        if len(node.input) > 2:
            nodes.append(helper.make_node("Add", [rows, node.input[2]], [rows := result + "_biased"]))
        nodes.append(helper.make_node("Transpose", [rows], [result], perm=SWAP))
        names.update((user.output[0], rows) for user in read_by.get(result, []) if is_swap(user))
    names = {name: rows for name, rows in names.items() if name not in {o.name for o in graph.output}}
    graph.initializer.extend(weights.values())
    set_nodes(graph, nodes)
    rename_inputs(graph, names)
    prune(graph)
    return len(weights)


def find_cut(graph):
    """Finds the nodes that limit the encoder's output and its length to one chunk. Returns both and the number of encoded
    frames, or None."""
    made_by, known = producers(graph), constants(graph)

    def back(name, passed):
        node = made_by.get(name)
        while node is not None and node.op_type in passed:
            node = made_by.get(node.input[0])
        return node

    cut, clamp = back("encoded", ("Transpose", "Identity")), back("encoded_len", ("Cast", "Identity"))
    if cut is None or clamp is None or cut.op_type != "Slice" or clamp.op_type not in ("Clip", "Min"):
        return None
    start, end = (value(known, i) for i in cut.input[1:3])
    limits = [value(known, name) for name in clamp.input[1 if clamp.op_type == "Min" else 2:] if name]
    limits = [limit[0] if isinstance(limit, list) and len(limit) == 1 else limit for limit in limits]
    if start != [0] or not isinstance(end, list) or limits != end or end[0] < 1:
        return None
    return cut, clamp, end[0]


def open_chunks_and_speakers(model, calls) -> bool:
    """Makes the encoder's output as long as its input, and the batch axis of all inputs and outputs dynamic.

    The rest of the graph already supports this: attention is limited by chunk, convolutions are causal, the caches keep
    their latest frames, and the batch size is read from the tensors. A single row of features can serve all speakers.
    """
    graph = model.graph
    if (found := find_cut(graph)) is None:
        return False
    before = onnx.GraphProto(node=graph.node, input=graph.input, output=graph.output)
    for node in found[:2]:
        node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    keep_latest(model, calls[-1])
    open_batch(model, [calls[0], calls[-1]])
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "features" if "processed" in tensor.name else "speakers"
    if supports_two_speakers(model, calls[-1]):
        prune(graph)
        return True
    for field in ("node", "input", "output"):
        graph.ClearField(field)
        getattr(graph, field).extend(getattr(before, field))
    prune(graph)
    return False


def keep_latest(model, call):
    """Limits the attention cache to its latest frames, if the graph does so only for a single chunk."""
    graph, name = model.graph, "cache_last_channel"
    left = call[name].shape[2]
    if shapes(model, [f"{name}_next"], [call])[0][f"{name}_next"][2] <= left:
        return
    for constant, number in (("start", -left), ("end", np.iinfo(np.int64).max), ("axis", 2)):
        graph.initializer.append(numpy_helper.from_array(np.array([number], np.int64), f"{name}_latest_{constant}"))
    node = producers(graph)[f"{name}_next"]
    outputs = [f"{name}_all" if output == f"{name}_next" else output for output in node.output]
    node.output[:] = outputs
    rename_inputs(graph, {f"{name}_next": f"{name}_all"})
    graph.node.append(helper.make_node(
        "Slice", [f"{name}_all", *(f"{name}_latest_{c}" for c in ("start", "end", "axis"))], [f"{name}_next"]))


def supports_two_speakers(model, call) -> bool:
    """Returns whether the encoder accepts the `call` with two speakers and returns frames and caches for both."""
    names = [o.name for o in model.graph.output]
    call = {name: value if "processed" in name else np.concatenate([value, value]) for name, value in call.items()}
    try:
        found = shapes(model, names, [call])[0]
    except RUNTIME_ERRORS:
        return False
    caches = {name: list(value.shape) for name, value in call.items() if name.startswith("cache")}
    return found["encoded"][::2] == list(call["spk_targets"].shape) \
        and all(found[f"{name}_next"] == shape for name, shape in caches.items())


def length_masks(graph) -> dict:
    """Finds nodes without effect if a mask masks nothing. Returns {mask: [(node, its other input, the neutral value)]}.

    Only masks that depend solely on lengths and shapes are included, so trying lengths covers all of their values.
    """
    lengths = {i.name for i in graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.INT64
               and len(i.type.tensor_type.shape.dim) == 1}
    without_data = lengths | set(constants(graph))
    from_lengths = set(lengths)
    for node in graph.node:
        inputs = {i for i in node.input if i}
        if node.op_type == "Shape" or inputs <= without_data:
            without_data |= set(node.output)
            if node.op_type != "Shape" and inputs & from_lengths:
                from_lengths |= set(node.output)
    found = {}
    for node in graph.node:
        pairs = {"Where": [(0, 2, False), (0, 1, True)], "Mul": [(0, 1, 1), (1, 0, 1)], "Add": [(0, 1, 0), (1, 0, 0)],
                 "Sub": [(1, 0, 0)]}.get(node.op_type, [])
        if node.output[0] in without_data:
            continue
        for mask, data, neutral in pairs:
            if node.input[mask] in from_lengths and node.input[data] not in without_data:
                found.setdefault(node.input[mask], []).append((node, node.input[data], neutral))
    return found


def remove_idle_masks(model, calls) -> int:
    """Removes masks that mask nothing in any of the `calls`, which are dictionaries of inputs."""
    graph = model.graph
    masks = length_masks(graph)
    if not masks:
        return 0
    uses = [(mask, *use) for mask, of_mask in masks.items() for use in of_mask]
    idle = [True] * len(uses)
    for values in evaluate(model, masks, calls):
        values = dict(zip(masks, values))
        idle = [still and bool(np.all(values[mask] == neutral)) for still, (mask, _, _, neutral) in zip(idle, uses)]
    outputs = {o.name for o in graph.output}
    names = {}
    for _, node, data, _ in itertools.compress(uses, idle):
        if node.output[0] in outputs:
            node.CopyFrom(helper.make_node("Identity", [data], node.output))
        else:
            names[node.output[0]] = data
    rename_inputs(graph, names)
    prune(graph)
    return sum(idle)


def positions_to_tables(model, calls) -> int:
    """Precomputes each layer's products with the positions that occur in the `calls`."""
    graph = model.graph
    known, read_by = constants(graph), users(graph)
    slices = {n.output[0]: n for n in graph.node if n.op_type == "Slice" and n.input[0] in known
              and len(n.input) > 3 and len(known[n.input[0]].dims) == 3 and value(known, n.input[3]) == [1]}
    found = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[0] in slices and node.input[1] in known:
            chain = [node]
            while len(chain) < 3 and len(after := read_by.get(chain[-1].output[0], [])) == 1:
                chain += after
            if [n.op_type for n in chain[1:]] == ["Reshape", "Transpose"] and attributes(chain[2])["perm"] == [0, 2, 3, 1]:
                found.append(tuple(chain))
    if not found or len({product.input[0] for product, _, _ in found}) > 1:
        return 0
    cut = slices[found[0][0].input[0]]
    bounds = np.array(list(evaluate(model, cut.input[1:3], calls)))
    low, high = int(bounds.min()), int(bounds.max())
    rows = np.ascontiguousarray(numpy_helper.to_array(known[cut.input[0]])[:, low:high])
    _, _, heads, size = next(evaluate(model, [found[0][1].input[1]], calls))[0]
    nodes, bounds = [], []
    graph.initializer.append(numpy_helper.from_array(np.array([low], np.int64), cut.name + "_low"))
    graph.initializer.append(numpy_helper.from_array(np.array([3], np.int64), cut.name + "_last_axis"))
    graph.initializer.append(numpy_helper.from_array(rows, cut.name + "_rows"))
    for name in cut.input[1:3]:
        bounds.append(name + "_in_table")
        nodes.append(helper.make_node("Sub", [name, cut.name + "_low"], [bounds[-1]]))
    tables = {}
    for product, _, turn in found:
        table = rows.astype(np.float64) @ numpy_helper.to_array(known[product.input[1]])
        table = table.astype(np.float32).reshape(1, -1, heads, size).transpose(0, 2, 3, 1)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(table), turn.output[0] + "_table"))
        tables[turn.output[0]] = helper.make_node(
            "Slice", [turn.output[0] + "_table", *bounds, cut.name + "_last_axis", *cut.input[4:]], turn.output, product.name)
    at = max(i for i, n in enumerate(graph.node) if set(n.output) & set(cut.input[1:3]))
    cut.input[:3] = [cut.name + "_rows", *bounds]  # its shape is still used
    ordered = [*graph.node[:at + 1], *nodes, *graph.node[at + 1:]]
    set_nodes(graph, [tables.get(n.output[0], n) for n in ordered])
    prune(graph)
    return len(found)


def shorten_relative_shift(model, calls) -> int:
    """Removes the padding from the relative shift of attention scores.

    Row i of [q, p] moves left by q - 1 - i. In the flat array of q * p scores, this is a step of p - 1 from row to row,
    starting at q - 1, so one slice and two reshapes are sufficient.
    """
    graph = model.graph
    known, made_by = constants(graph), producers(graph)

    def chain(node):
        """Returns the nodes of a relative shift from the Slice back to the Pad, or None."""
        nodes = [node]
        for op_type in ("Reshape", "Slice", "Reshape", "Pad"):
            nodes.append(made_by.get(nodes[-1].input[0]))
            if nodes[-1] is None or nodes[-1].op_type != op_type:
                return None
        cuts = [[value(known, n.input[i]) for i in (1, 3)] for n in nodes[:3:2] if len(n.input) > 3]
        return nodes if cuts in ([[[0], [3]], [[1], [2]]], [[[0], [-1]], [[1], [-2]]]) else None

    chains = filter(None, (chain(n) for n in graph.node if n.op_type == "Slice" and len(n.input) > 3))
    found = [(nodes[0], nodes[-1]) for nodes in chains if len(nodes[-1].input) > 1]
    one_left = [0, 0, 0, 1, 0, 0, 0, 0]
    if not found or any(p.tolist() != one_left for p in next(evaluate(model, {p.input[1] for _, p in found}, calls))):
        return 0
    constant = {"shift_first": [0, 1], "shift_q": [2], "shift_p": [3], "shift_one": [1], "shift_rest": [-1]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constant.items())
    added = {}
    for cut, pad in found:
        scores, n = pad.input[0], cut.output[0] + "_shift_"
        added[cut.output[0]] = [helper.make_node(op, inputs, [n + output], **a) for op, inputs, output, a in (
            ("Shape", [scores], "shape", {}),
            ("Gather", [n + "shape", "shift_first"], "first", {}),
            ("Gather", [n + "shape", "shift_q"], "q", {}),
            ("Gather", [n + "shape", "shift_p"], "p", {}),
            ("Sub", [n + "p", "shift_one"], "p_less", {}),
            ("Max", [n + "p_less", "shift_one"], "step", {}),  # a single frame has one score and no step
            ("Sub", [n + "q", "shift_one"], "start", {}),
            ("Mul", [n + "q", n + "step"], "size", {}),
            ("Add", [n + "start", n + "size"], "end", {}),
            ("Concat", [n + "first", "shift_rest"], "flat_shape", {"axis": 0}),
            ("Concat", [n + "first", n + "q", n + "step"], "row_shape", {"axis": 0}),
            ("Reshape", [scores, n + "flat_shape"], "flat", {}),
            ("Slice", [n + "flat", n + "start", n + "end", "shift_q"], "cut", {}),
            ("Reshape", [n + "cut", n + "row_shape"], "rows", {}))]
        cut.input[0] = n + "rows"
    set_nodes(graph, itertools.chain.from_iterable([*added.get(node.output[0], []), node] for node in graph.node))
    prune(graph)
    return len(found)


def remove_idle_pads(model, calls) -> int:
    """Removes pads that add nothing in any of the `calls`."""
    graph = model.graph
    outputs = {o.name for o in graph.output}
    pads = [n for n in graph.node if n.op_type == "Pad" and len(n.input) > 1 and n.output[0] not in outputs]
    added = evaluate(model, [n.input[1] for n in pads], calls) if pads else []
    most = np.max([[np.abs(a).max() for a in of_call] for of_call in added], axis=0) if pads else []
    names = {n.output[0]: n.input[0] for n, most in zip(pads, most) if most == 0}
    rename_inputs(graph, names)
    prune(graph)
    return len(names)


def masks_to_sums(model, calls) -> int:
    """Masks attention scores with an addition, whose summand is computed once for all layers, instead of Where.

    A Where after the softmax, which sets masked weights to zero again, is removed. It only has an effect if an entire row
    is masked, which must not happen in the `calls`.
    """
    graph = model.graph
    known, made_by, read_by = constants(graph), producers(graph), users(graph)

    def source(mask):
        """Returns the mask before the casts of each layer."""
        while mask in made_by and made_by[mask].op_type == "Cast":
            mask = made_by[mask].input[0]
        return mask

    def excluded(node):
        """Returns which input of a Where contains the masking value: 1, 2, or None."""
        low = [i for i in (1, 2) if isinstance(number := scalar(known, node.input[i]), float) and number <= -1e4]
        return low[0] if len(low) == 1 else None

    def choices(name):
        """Returns the Where nodes before a softmax, searching through additions."""
        node = made_by.get(name)
        if node is None or len(read_by[name]) > 1:
            return []
        if node.op_type == "Where" and excluded(node):
            return [node]
        return [*choices(node.input[0]), *choices(node.input[1])] if node.op_type == "Add" else []

    found, zeros = [], {}
    for softmax in (n for n in graph.node if n.op_type == "Softmax"):
        before, after = choices(softmax.input[0]), read_by[softmax.output[0]]
        found += before
        if len(after) == 1 and after[0].op_type == "Where" and scalar(known, after[0].input[1]) == 0 \
                and after[0].input[2] == softmax.output[0] \
                and source(after[0].input[0]) in {source(n.input[0]) for n in before if excluded(n) == 1}:
            zeros[after[0].output[0]] = softmax.output[0]
    masks = list(dict.fromkeys((node.input[0], excluded(node) == 1) for node in found))
    if not found or any((mask == masked).all(axis=-1).any() for values in evaluate(model, [m for m, _ in masks], calls)
                        for mask, (_, masked) in zip(values, masks)):
        return 0
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "not_excluded"))
    summands, nodes = {}, []
    sums = {node.output[0] for node in found}
    for node in graph.node:
        if node.output[0] in sums:
            mask, low = node.input[0], excluded(node)
            key = source(mask), low
            if key not in summands:
                summands[key] = f"{mask}_summand_{low}"
                inputs = [node.input[i] if i == low else "not_excluded" for i in (1, 2)]
                nodes.append(helper.make_node("Where", [mask, *inputs], [summands[key]]))
            node = helper.make_node("Add", [node.input[3 - low], summands[key]], node.output, node.name)
        nodes.append(node)
    set_nodes(graph, nodes)
    rename_inputs(graph, zeros)
    prune(graph)
    return len(found)


def tokens_to_table(graph) -> int:
    """Replaces the first LSTM's product with the embedding of its token by a table lookup.

    The row of the table becomes the bias of the gates, and the remaining input is a single 0.
    """
    known, made_by = constants(graph), producers(graph)
    one_token = {i.name for i in graph.input if [d.dim_value for d in i.type.tensor_type.shape.dim] == [1, 1]}

    def lookup(name):
        """Returns the token input and the table of floats from which `name` is looked up, or None."""
        scale, zero_point = 1.0, 0
        while (node := made_by.get(name)) is not None and node.op_type in ("Transpose", "DequantizeLinear"):
            name = node.input[0]
            if node.op_type == "DequantizeLinear":
                scale, zero_point = (value(known, i) for i in node.input[1:3])
        if node is None or node.op_type != "Gather" or attributes(node).get("axis", 0) \
                or node.input[0] not in known or node.input[1] not in one_token \
                or not isinstance(scale, float) or not isinstance(zero_point, int):
            return None
        return node.input[1], (numpy_helper.to_array(known[node.input[0]]).astype(np.float64) - zero_point) * scale

    for lstm in (n for n in graph.node if n.op_type == "LSTM"):
        found = lookup(lstm.input[0])
        if found is None or not set(lstm.input[1:4]) <= set(known) or known[lstm.input[1]].dims[0] != 1:
            continue
        token, embeddings = found
        weights, bias = (numpy_helper.to_array(known[lstm.input[i]]).astype(np.float64) for i in (1, 3))
        of_input, of_state = np.split(bias[0], 2)
        table, n = embeddings @ weights[0].T + of_input, lstm.output[0] + "_token_"
        for name, values in (("table", table), ("weights", np.zeros((1, len(of_input), 1))), ("input", np.zeros((1, 1, 1))),
                             ("state_bias", of_state[None])):
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), n + name))
        graph.initializer.append(numpy_helper.from_array(np.array([1, -1], np.int64), n + "shape"))
        added = [helper.make_node("Gather", [n + "table", token], [n + "rows"]),
                 helper.make_node("Reshape", [n + "rows", n + "shape"], [n + "row"]),
                 helper.make_node("Concat", [n + "row", n + "state_bias"], [n + "bias"], axis=1)]
        lstm.input[0], lstm.input[1], lstm.input[3] = n + "input", n + "weights", n + "bias"
        set_nodes(graph, itertools.chain.from_iterable([*added, node] if node is lstm else [node] for node in graph.node))
        prune(graph)
        return len(table)
    return 0


def factors_into_weights(graph) -> int:
    """Merges constant factors of results into the weights that compute them."""
    known, made_by, read_by = constants(graph), producers(graph), users(graph)
    outputs = {o.name for o in graph.output}

    def weights(name, reader):
        """Returns the inputs (node, index) to scale in order to scale `name`, which only `reader` may use, or None."""
        node = made_by.get(name)
        others = [n for n in read_by[name] if n is not reader and n.op_type != "Shape"]
        if node is None or name in outputs or others:
            return None
        if node.op_type in ("Reshape", "Transpose", "Slice"):
            return weight(node, 0)
        if node.op_type == "MatMul":
            return weight(node, 1)
        if node.op_type == "Add":
            both = weight(node, 0), weight(node, 1)
            return both[0] + both[1] if None not in both else None
        return None

    def weight(node, i):
        if node.input[i] in known:
            return [(node, i)]
        return weights(node.input[i], node)

    done, names = 0, {}
    for node in graph.node:
        if node.op_type not in ("Mul", "Div") or node.output[0] in outputs:
            continue
        i = next((i for i, name in enumerate(node.input) if name in known and not known[name].dims), None)
        if i is None or (node.op_type == "Div" and i == 0):
            continue
        to_scale = weights(node.input[1 - i], node)
        if to_scale is None:
            continue
        factor = np.float64(value(known, node.input[i]))
        for reader, j in to_scale:
            floats = numpy_helper.to_array(known[reader.input[j]]).astype(np.float64)
            floats = floats * factor if node.op_type == "Mul" else floats / factor
            reader.input[j] = f"{reader.input[j]}_for_{node.output[0]}"
            graph.initializer.append(numpy_helper.from_array(floats.astype(np.float32), reader.input[j]))
            known[reader.input[j]] = graph.initializer[-1]
        names[node.output[0]] = node.input[1 - i]
        done += 1
    rename_inputs(graph, names)
    prune(graph)
    return done
