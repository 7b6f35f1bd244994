# SPDX-License-Identifier: MPL-2.0
"""Reads the given files and reports problems in one line, before any time-consuming work."""
import json
import sys
from pathlib import Path

import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import TensorProto

import dequantize
import graph
import normalize
import rewrite
import stream

KEY = "prepared"  # in the metadata of a prepared file
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SMALL = 1 << 16  # maximum bytes of a tensor that is read with the structure

# Inputs and outputs: type, rank, and dynamic axes.
ENCODER = {"processed_signal": (FLOAT, 3, [2]), "processed_signal_length": (INT64, 1, []),
           "cache_last_channel": (FLOAT, 4, []), "cache_last_time": (FLOAT, 4, []), "cache_last_channel_len": (INT64, 1, []),
           "spk_targets": (FLOAT, 2, [1]), "bg_spk_targets": (FLOAT, 2, [1])}, \
          {"encoded": (FLOAT, 3, []), "encoded_len": (INT64, 1, []), "cache_last_channel_next": (FLOAT, 4, []),
           "cache_last_time_next": (FLOAT, 4, []), "cache_last_channel_len_next": (INT64, 1, [])}
JOINT = {"encoder_outputs": (FLOAT, 3, []), "targets": (INT64, 2, []), "input_states_1": (FLOAT, 3, []),
         "input_states_2": (FLOAT, 3, [])}, \
        {"outputs": (FLOAT, 4, []), "states_1": (FLOAT, 3, []), "states_2": (FLOAT, 3, [])}
SORTFORMER = {"chunk": (FLOAT, 3, [1]), "chunk_lengths": (INT64, 1, []), "spkcache": (FLOAT, 3, [1]),
              "spkcache_lengths": (INT64, 1, []), "fifo": (FLOAT, 3, [1]), "fifo_lengths": (INT64, 1, [])}, \
             {"chunk_pre_encode_embs": (FLOAT, 3, [])}
PROBABILITIES = "preds_diar", "spkcache_fifo_chunk_preds"  # of version 3 and of earlier versions
# Dimensions that the streaming loop reads from the graph.
FIXED = {"processed_signal": [1], "cache_last_channel": [1, 2, 3], "cache_last_time": [1, 2, 3], "chunk": [2],
         "spkcache": [2], "fifo": [2], "input_states_1": [0, 2], "input_states_2": [0, 2], "outputs": [3],
         "preds_diar": [2], "spkcache_fifo_chunk_preds": [2]}
MAX_DIMENSION = 1 << 16


class Refused(Exception):
    """The models cannot be prepared, or the prepared ones differ too much."""


def kind_of(start: bytes) -> str:
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: run git lfs pull, or download the file itself"
    if start.lstrip()[:1] in (b"<", b"{"):
        return "a web page or other text"
    return ""


def start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def read(path: Path) -> onnx.ModelProto:
    """Reads a graph with its small tensors. Large tensors in separate files are checked but not read."""
    expected = f"{path}: expected an ONNX file, found "
    if not path.is_file():
        raise Refused(expected + ("a folder" if path.is_dir() else "no such file"))
    if kind := kind_of(start_of(path)):
        raise Refused(expected + kind)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as reason:
        raise Refused(f"{expected}another or an incomplete file ({path.stat().st_size} bytes)") from reason
    if not model.graph.node or not model.graph.output:
        raise Refused(f"{expected}another or an incomplete file ({path.stat().st_size} bytes)")
    graph.constants_as_initializers(model.graph)
    for tensor in external(model):
        file, offset, length = location_of(tensor, path)
        expected = f"{path}: expected its weights in {file.name}, found "
        if not file.is_file():
            raise Refused(f"{expected}no such file: download it into the same folder")
        if (size := file.stat().st_size) < offset + length:
            raise Refused(expected + (kind_of(start_of(file)) or
                                      f"{size} bytes of at least {offset + length}: download it again"))
    load_weights(model, path, SMALL)
    return model


def external(model):
    return [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]


def location_of(tensor, path: Path):
    """Returns the file, offset, and length in bytes of a tensor that is stored outside the graph."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        raise Refused(f"{path}: expected its weights in the same folder, found the location {location!r}")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (ValueError, KeyError) as reason:
        raise Refused(f"{path}: expected the position of {tensor.name} in {location}, found {entries}") from reason
    for dim in tensor.dims:
        size *= dim
    if length == -1:
        length = size
    if offset < 0 or length != size:
        raise Refused(f"{path}: expected {size} bytes for {tensor.name}, found {length} at {offset}")
    return path.parent / location, offset, length


def load_weights(model, path: Path, max_bytes: float = float("inf")):
    """Reads the tensors that are stored outside the graph. (onnx does not follow the symbolic links of a Hub cache.)"""
    files = {}
    try:
        for tensor in external(model):
            file, offset, length = location_of(tensor, path)
            if length > max_bytes:
                continue
            files.setdefault(file, None)
            files[file] = files[file] or file.open("rb")
            files[file].seek(offset)
            tensor.raw_data = files[file].read(length)
            if len(tensor.raw_data) != length:
                raise Refused(f"{path}: expected {length} bytes for {tensor.name} in {file.name}, found its end")
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT
    finally:
        for file in filter(None, files.values()):
            file.close()


def dims(tensor) -> list:
    return [d.dim_value for d in tensor.type.tensor_type.shape.dim]


def require(model, path: Path, what: str, contract):
    """Checks that the inputs and outputs are those of `what`."""
    for tensors, named, side in zip((model.graph.input, model.graph.output), contract, ("input", "output")):
        found = {t.name: t for t in tensors}
        for name, (kind, rank, free) in named.items():
            expected = f"{path}: expected {what}, "
            if name not in found:
                raise Refused(f"{expected}found no {side} {name}")
            tensor = found[name].type.tensor_type
            if tensor.elem_type != kind:
                raise Refused(f"{expected}with {name} in {TensorProto.DataType.Name(kind).lower()}, found "
                              f"{TensorProto.DataType.Name(tensor.elem_type).lower()}")
            if len(tensor.shape.dim) != rank:
                raise Refused(f"{expected}with {rank} axes in {name}, found {len(tensor.shape.dim)}")
            for axis in free:
                if size := tensor.shape.dim[axis].dim_value:
                    raise Refused(f"{expected}with any length along axis {axis} of {name}, found {size}: "
                                  "the file was exported for a single operating point")
            for axis in FIXED.get(name, []):
                if not 0 < (size := tensor.shape.dim[axis].dim_value) <= MAX_DIMENSION:
                    raise Refused(f"{expected}with axis {axis} of {name} from 1 to {MAX_DIMENSION}, "
                                  f"found {size or 'any length'}")
        if side == "input" and (more := set(found) - set(named)):
            raise Refused(f"{path}: expected {what}, found the unknown input {sorted(more)[0]}")


def sortformer(path: Path):
    """Returns the contract of a Sortformer, with the name that the probabilities have in this file."""
    inputs, outputs = SORTFORMER
    found = {o.name for o in read(path).graph.output}
    name = next((name for name in PROBABILITIES if name in found), PROBABILITIES[-1])
    return inputs, outputs | {name: (FLOAT, 3, [])}


def check_tokenizer(path: Path):
    if kind := "a folder" if path.is_dir() else kind_of(start_of(path)):
        raise Refused(f"{path}: expected a SentencePiece model, found {kind}")


def check_run(model, path: Path, what: str, call: dict, expected: dict):
    """Runs the graph on zeros and checks the shapes of its outputs."""
    try:
        found = graph.shapes(model, expected, [call])[0]
    except graph.RUNTIME_ERRORS as reason:
        raise Refused(f"{path}: expected {what} that ONNX Runtime {onnxruntime.__version__} runs, found: {reason}") from reason
    for name, shape in expected.items():
        if len(found[name]) != len(shape) or any(s not in (None, f) for s, f in zip(shape, found[name])):
            raise Refused(f"{path}: expected {what}, with {shape} as the shape of {name}, found {found[name]}")


def check(path: Path, what: str, contract) -> onnx.ModelProto:
    """Returns the structure of a file after checking that it can be prepared."""
    model = read(path)
    require(model, path, what, contract)
    if KEY in {p.key for p in model.metadata_props}:
        raise Refused(f"{path} is prepared already")
    model = normalize.inline_functions(model)
    try:
        dequantize.plan(model.graph)
    except dequantize.Unsupported as reason:
        raise Refused(f"{path}: {reason}; use the fp32 file") from reason
    return model


def load(path: Path) -> onnx.ModelProto:
    """Loads a checked file with its weights, without functions."""
    model = normalize.inline_functions(read(path))
    load_weights(model, path)
    return model


def warn(text: str):
    print(f"prepare.py: warning: {text}", file=sys.stderr)


def chunk(encoder: onnx.ModelProto, path: Path, config: Path) -> stream.Chunk:
    """Returns the chunk for which the encoder was exported, from the graph and from the configuration if it exists."""
    cut = rewrite.find_cut(encoder.graph)
    frames, mel_frames, before = cut and cut[2], None, stream.SUBSAMPLING + 1
    entries = {}
    if config.exists():
        try:
            entries = json.loads(config.read_bytes())
            entries = entries.get("encoder") if isinstance(entries, dict) else None
            if not isinstance(entries, dict):
                warn(f"{config}: expected an object with the entry encoder, found none; using the dimensions of the graph")
                entries = {}
        except ValueError as reason:
            warn(f"{config}: expected JSON, found: {reason}; using the dimensions of the graph")
    for name in ("chunk_size", "pre_encode_cache_size"):
        if name in entries and (type(entries[name]) is not int or not 0 < entries[name] < 1 << 16):
            warn(f"{config}: expected encoder.{name} in mel frames, found {entries[name]!r}; using the value of the graph")
            del entries[name]
    mel_frames, before = entries.get("chunk_size"), entries.get("pre_encode_cache_size", before)
    if frames is None and mel_frames is None:
        raise Refused(f"{path}: expected an output that is cut to one chunk, or encoder.chunk_size in {config.name}, "
                      "found neither")
    if frames and mel_frames and frames * stream.SUBSAMPLING != mel_frames:
        raise Refused(f"{config}: expected encoder.chunk_size {frames * stream.SUBSAMPLING} as in the encoder, "
                      f"found {mel_frames}")
    return stream.Chunk(mel_frames or frames * stream.SUBSAMPLING, before)
