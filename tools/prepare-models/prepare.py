#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Rewrites the published ONNX files of a multitalker Parakeet and a streaming Sortformer into faster ones.

The new files have the same inputs, outputs, and metadata, and an additional key `prepared` that describes the changes:
pointwise convolutions become matrix products, masks without effect are removed, and the weights of matrix products and
LSTMs become signed 8-bit integers with a scale per channel. 8-bit input files are first converted back to floats.

The tool then runs the given and the prepared models on audio and prints how much each stage differs. If a difference
exceeds its limit, the tool writes nothing and the exit code is 1.
"""
import argparse
import contextlib
import gc
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import dequantize
import files
import graph
import normalize
import rewrite
import stream
from files import KEY, Refused

# Weights larger than this (in bytes) go into a separate file, which ONNX Runtime maps: it loads faster with less memory.
INLINE_LIMIT = 64_000_000
CONFIG, TOKENIZER = "multitalker_config.json", "tokenizer.model"

# Maximum error of a stage relative to the norm, and maximum mean difference of probabilities.
LIMITS = {
    # The rewriting only changes the order of sums; over 24 layers, the resulting error is below 1e-5.
    "fp32": dict(relative=1e-4, probability=1e-4, equal_tokens=True),
    # Typical 8-bit files differ from their floats by 3 to 4%; 5% of a logit of 2 changes a probability by up to 0.03.
    # In an untrained or uncertain model this changes tokens, so their number is shown but not limited.
    "int8": dict(relative=0.05, probability=0.03, equal_tokens=False),
    # Rounding to 7 bits is twice as coarse for the weights, which cause about half of the error.
    "7 bits": dict(relative=0.08, probability=0.05, equal_tokens=False),
    # On a processor that overflows 8-bit products, the results of 8-bit files are meaningless, so there is no limit.
    "shown": dict(relative=None, probability=None, equal_tokens=False),
}


@contextlib.contextmanager
def step(what: str):
    """Prints what is being done, and how long it took if it was slow."""
    print(f"{what} …", flush=True)
    start = time.monotonic()
    yield
    if (took := time.monotonic() - start) >= 10:
        print(f"  took {took:.0f} s", flush=True)


def plain_name(path: Path) -> str:
    return path.name.replace(".int8.onnx", ".onnx")


def find(folder: Path, name: str) -> Path:
    names = list(dict.fromkeys((name, name.replace(".onnx", ".int8.onnx"))))
    for path in (folder / n for n in names):
        if path.exists() or path.is_symlink():
            return path
    raise Refused(f"{folder}: expected {' or '.join(names)}, found {'neither' if names[1:] else 'none'}")


def is_diarizer(path: Path) -> bool:
    return "spkcache" in {i.name for i in files.read(path).graph.input}


def find_models(folder: Path, diarizers: list[Path]) -> stream.Models:
    if not folder.is_dir():
        raise Refused(f"{folder}: expected a folder with the models, found {'a file' if folder.exists() else 'none'}")
    models = stream.Models(find(folder, "encoder.onnx"), find(folder, "decoder_joint.onnx"), diarizers)
    find(folder, TOKENIZER)
    if not diarizers:
        names = sorted({plain_name(p) for p in folder.glob("*.onnx")} - {"encoder.onnx", "decoder_joint.onnx"})
        models.diarizers = [p for p in (find(folder, name) for name in names) if is_diarizer(p)]
    elif others := [path for path in diarizers if not is_diarizer(path)]:
        raise Refused(f"{others[0]}: expected a Sortformer's ONNX file, found no input spkcache")
    named = Counter(map(plain_name, models.diarizers))
    if duplicates := [name for name, count in named.items() if count > 1]:
        raise Refused(f"--diarization-model: expected files with different names, found {duplicates[0]} twice")
    return models


def sums_overflow() -> bool:
    """Returns whether ONNX Runtime adds products of unsigned and signed 8-bit integers in 16 bits on this processor, as
    on x86 without VNNI, so that large sums saturate."""
    rows, columns = 255 * np.ones((4, 64), np.uint8), 127 * np.ones((64, 16), np.int8)
    made = helper.make_graph([helper.make_node("MatMulInteger", ["rows", "columns"], ["sums"])], "sums",
                             [helper.make_tensor_value_info("rows", TensorProto.UINT8, [4, 64])],
                             [helper.make_tensor_value_info("sums", TensorProto.INT32, [4, 16])],
                             [numpy_helper.from_array(columns, "columns")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bool((graph.session(model).run(None, {"rows": rows})[0] != 255 * 127 * 64).any())


def calls(graph, chunk: stream.Chunk, version_3: bool, max_chunks: int = 1):
    """Yields inputs like those of the plugin: short and long chunks, empty to full caches, and always full lengths."""
    shape = {i.name: files.dims(i) for i in graph.input}
    if "spkcache" in shape:
        bins, width = shape["chunk"][2], shape["spkcache"][2]
        # Subsampling halves and rounds three times, so the behavior of lengths repeats every 8 frames.
        for frames, (cache, fifo) in zip([*range(1, 33), 112, 121, 1008, 3048],
                                         itertools.cycle([(0, 0), (0, 1), (0, 17), (3, 40), (23, 0)])):
            yield stream.diarizer_inputs(*(np.zeros((n, w), np.float32) for n, w in
                                           ((frames, bins), (cache, width), (fifo, width))), version_3)
    elif "processed_signal" in shape:
        bins, left = shape["processed_signal"][1], shape["cache_last_channel"][2]
        caches, size = stream.empty_caches(shape), chunk.mel_frames
        lengths = [*range(1, size + 1), *range(size, max_chunks * size, 50)]
        for frames, filled in zip([*lengths, max_chunks * size],
                                  itertools.cycle([0, 1, left // 2, left - 1, left])):
            targets = np.zeros((1, -(-frames // stream.SUBSAMPLING)), np.float32)
            yield stream.encoder_inputs(np.zeros((bins, chunk.before + frames), np.float32),
                                        [*caches[:2], stream.length(filled)], targets, targets)


@contextlib.contextmanager
def writing(path: Path):
    """Converts write errors to a message that names the file."""
    try:
        yield
    except OSError as reason:
        raise Refused(f"{path.name} could not be written: {reason.strerror}") from reason


def save(model, path: Path):
    size = sum(len(t.raw_data) for t in model.graph.initializer)
    with writing(path):
        onnx.save(model, str(path), save_as_external_data=size > INLINE_LIMIT, location=path.name + ".data")


def in_floats(path: Path, folder: Path) -> Path:
    """Returns a file with the same graph in floats: the given file, or a new one in `folder` if it has 8-bit weights."""
    structure = normalize.inline_functions(files.read(path))
    if not dequantize.is_quantized(structure.graph):
        return path
    model = files.load(path)
    count = dequantize.dequantize(model.graph)
    print(f"{path.name}: {count} 8-bit operations converted to floats")
    save(model, folder / plain_name(path))
    return folder / plain_name(path)


def prepare(path: Path, out: Path, chunk: stream.Chunk, precision: str, reduce_range: bool, max_chunks: int) -> Path:
    """Writes the prepared form of one file with floats into the folder `out`."""
    model = files.load(path)
    encoder = "processed_signal" in {i.name for i in model.graph.input}
    version_3 = stream.is_version_3({o.name: files.dims(o) for o in model.graph.output},
                                    {p.key for p in model.metadata_props})
    inputs = list(calls(model.graph, chunk, version_3, max_chunks if encoder else 1))
    counts = normalize.normalize(model, inputs)
    counts |= {"idle masks removed": rewrite.remove_idle_masks(model, inputs),
               "pointwise convolutions to products": rewrite.pointwise_to_products(model.graph),
               "idle pads removed": rewrite.remove_idle_pads(model, inputs),
               "relative shifts without padding": rewrite.shorten_relative_shift(model, inputs),
               "attention masks to sums": rewrite.masks_to_sums(model, inputs)}
    # The diarizer's chunks and caches have no maximum length, so its positions are unknown.
    if encoder:
        counts["position products to tables"] = rewrite.positions_to_tables(model, inputs)
        if rewrite.open_chunks_and_speakers(model, inputs):
            counts["chunks and any number of speakers per run"] = max_chunks
            model.metadata_props.add(key=stream.MAX_CHUNKS, value=str(max_chunks))
            model.metadata_props.add(key="chunk_frames", value=str(chunk.mel_frames // stream.SUBSAMPLING))
        else:
            files.warn(f"{path}: expected an encoder that can be extended to several chunks and speakers, found another "
                       "form; the prepared one processes one chunk of one speaker per run")
    counts["token products to a table"] = rewrite.tokens_to_table(model.graph)
    counts["constant factors merged into weights"] = rewrite.factors_into_weights(model.graph)
    done = [f"{count} {what}" for what, count in counts.items() if count]
    done += ["weights to signed int8 per channel" + ", 7 bits" * reduce_range] * (precision == "int8")
    print(f"{path.name}: {'; '.join(done) or 'unchanged'}")
    model.metadata_props.add(key=KEY, value="; ".join(done) or "unchanged")
    model.metadata_props.sort(key=lambda p: p.key == KEY)
    target = out / plain_name(path)
    save(model, target)
    if precision == "fp32":
        return target
    del model
    gc.collect()
    small = out / target.name.replace(".onnx", ".int8.onnx")
    size = sum(file.stat().st_size for file in (target, Path(f"{target}.data")) if file.exists())
    with step(f"{small.name}: quantizing"), writing(small):
        quantize_dynamic(target, small, op_types_to_quantize=["MatMul", "LSTM"], weight_type=QuantType.QInt8,
                         per_channel=True, reduce_range=reduce_range,
                         use_external_data_format=size / 4 > INLINE_LIMIT,
                         # Required after operators of other domains, for which the quantizer cannot infer types.
                         extra_options={"DefaultTensorType": TensorProto.FLOAT})
    for file in (target, Path(f"{target}.data")):
        file.unlink(missing_ok=True)
    return small


def contract(path: Path):
    """Returns names, types, ranks, and fixed sizes of inputs and outputs, and the metadata."""
    model = onnx.load(str(path), load_external_data=False)
    tensors = [(t.name, t.type.tensor_type.elem_type, files.dims(t)) for t in [*model.graph.input, *model.graph.output]]
    return tensors, {(p.key, p.value) for p in model.metadata_props if p.key != "onnx.infer"}


def check_contract(old: Path, new: Path):
    (tensors, metadata), (new_tensors, new_metadata) = contract(old), contract(new)
    if stream.MAX_CHUNKS in dict(new_metadata):  # the batch axis is now dynamic
        for _, _, dims in (*tensors, *new_tensors):
            dims[0] = 0
    if tensors != new_tensors or not metadata < new_metadata:
        raise Refused(f"{new.name}: inputs, outputs, or metadata have changed")


def relative_error(expected, found) -> float:
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12))


def edit_distance(a: list, b: list) -> int:
    """Counts insertions, deletions, and substitutions from one sequence to the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def compare(old: stream.Outcome, new: stream.Outcome, limits: dict) -> bool:
    """Prints the differences of each stage, and returns whether all are within the limits."""
    passed = True

    def line(stage, value, limit=None, more=""):
        nonlocal passed
        within = limit is None or value <= limit  # NaN fails the comparison
        passed &= within
        remarks = [more] if limit is None else [f"limit {limit:g}", *filter(None, [more])]
        remarks += ["EXCEEDED"] * (not within)
        print(f"  {stage:44} {value:<8.3g} {'; '.join(remarks)}")

    def probabilities(stage, expected, found):
        difference = np.abs(found - expected)
        crossed = int(((found > 0.5) != (expected > 0.5)).sum())
        line(stage, float(difference.mean()), limits["probability"],
             f"maximum {difference.max():.2g}; {crossed} of {difference.size} on the other side of 0.5")

    for name, expected in old.probabilities.items():
        line(f"{name}: embeddings, relative", relative_error(old.embeddings[name], new.embeddings[name]), limits["relative"])
        probabilities(f"{name}: probabilities, mean", expected, new.probabilities[name])
        if name in old.hires:
            probabilities(f"{name}: probabilities at 10 ms, mean", old.hires[name], new.hires[name])
    joined = lambda parts: np.concatenate([parts[j] for j in sorted(parts)])
    line("encoder: frames, relative", relative_error(joined(old.encoded), joined(new.encoded)), limits["relative"])
    line("decoder and joint: logits, relative", relative_error(joined(old.logits), joined(new.logits)), limits["relative"])
    changed = sum(edit_distance(old.tokens[j], new.tokens[j]) for j in old.tokens)
    total = sum(map(len, old.tokens.values()))
    line("tokens that differ", changed, 0 if limits["equal_tokens"] else None, more=f"of {total}")
    return passed


def check_space(folder: Path, given: list[Path]):
    """Raises an error if the free disk space is less than the work needs."""
    size = lambda path: sum(f.stat().st_size for f in (path, Path(f"{path}.data")) if f.is_file())
    # 8-bit files are written as floats, as rewritten floats, and as 8 bits again.
    needed = sum((9 if ".int8." in path.name else 1.3) * size(path) for path in given)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise Refused(f"{folder}: expected about {needed / 1e9:.1f} GB of free space, found {free / 1e9:.1f} GB")


def publish(work: Path, out: Path):
    """Moves the finished files to their place, in an order in which no graph is ever without its weights."""
    for file in work.iterdir():
        file.chmod(0o666 & ~umask())  # onnx makes some files readable only for their owner
    if not out.exists():
        work.chmod(0o777 & ~umask())
        os.rename(work, out)
        return
    written = sorted(work.iterdir(), key=lambda file: (file.suffix == ".onnx", file.name))
    for file in written:
        if file.suffix == ".onnx":
            (out / file.name).unlink(missing_ok=True)
    for file in written:
        os.replace(file, out / file.name)


def umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def check(given: stream.Models, config: Path, tokenizer: Path) -> stream.Chunk:
    """Refuses files that cannot be prepared, by their structure and without their weights. Returns the encoder's chunk."""
    files.check_tokenizer(tokenizer)
    what = "the encoder of a multitalker recognizer"
    encoder = files.check(given.encoder, what, files.ENCODER)
    chunk = files.chunk(encoder, given.encoder, config)
    *_, full = calls(encoder.graph, chunk, False)
    caches = {f"{name}_next": list(full[name].shape) for name in full if name.startswith("cache")}
    files.check_run(encoder, given.encoder, what, full, {
        "encoded": [1, caches["cache_last_channel_next"][3], chunk.mel_frames // stream.SUBSAMPLING], **caches})

    what = "the decoder and joint network of a recognizer"
    joint = files.check(given.joint, what, files.JOINT)
    shape = {i.name: files.dims(i) for i in joint.graph.input}
    state = np.zeros(shape["input_states_1"], np.float32)
    if shape["encoder_outputs"][2] != caches["cache_last_channel_next"][3]:
        raise Refused(f"{given.joint}: expected {caches['cache_last_channel_next'][3]} values per frame as in the encoder, "
                      f"found {shape['encoder_outputs'][2]}")
    files.check_run(joint, given.joint, what, {
        "encoder_outputs": np.zeros((1, 1, shape["encoder_outputs"][2]), np.float32), "targets": np.zeros((1, 1), np.int64),
        "input_states_1": state, "input_states_2": state},
        {"outputs": [1, 1, 1, None], "states_1": list(state.shape), "states_2": list(state.shape)})

    what = "a streaming Sortformer with frames of 80 ms"
    for path in given.diarizers:
        model = files.check(path, what, files.sortformer(path))
        version_3 = stream.is_version_3({o.name: files.dims(o) for o in model.graph.output},
                                        {p.key for p in model.metadata_props})
        *_, long = calls(model.graph, chunk, version_3)
        frames = -(-long["chunk"].shape[1] // stream.SUBSAMPLING)
        rows = long["spkcache"].shape[1] + long["fifo"].shape[1] + frames
        files.check_run(model, path, what, long, {
            "chunk_pre_encode_embs": [1, frames, long["spkcache"].shape[2]],
            **{o.name: [1, rows, files.dims(o)[2]] for o in model.graph.output if o.name in files.PROBABILITIES}})
    return chunk


def run(o, out: Path, work: Path):
    """Prepares the models in the folder `work` and moves them to `out`."""
    given = find_models(o.models, o.diarization_model)
    config, tokenizer = o.models / CONFIG, o.models / TOKENIZER
    paths = [given.encoder, given.joint, *given.diarizers]
    if clash := [p for p in (*paths, tokenizer) if p.resolve().parent == out]:
        raise Refused(f"{clash[0]}: expected a file outside {out}, found a link into it")
    audio = stream.read_wav(o.audio) if o.audio else stream.synthetic_audio()
    chunk = check(given, config, tokenizer)
    check_space(out.parent, paths)
    overflow = sums_overflow()
    reduce_range = o.precision == "int8" and (o.reduce_range or overflow)
    if reduce_range and not o.reduce_range:
        print("this processor adds 8-bit products in 16 bits: using 7-bit weights, as with --reduce-range")

    in_float_folder, done = work / "floats", work / "prepared"
    in_float_folder.mkdir()
    done.mkdir()
    floats = {path: in_floats(path, in_float_folder) for path in paths}
    models = lambda made: stream.Models(made[given.encoder], made[given.joint], [made[p] for p in given.diarizers])
    seconds = f"{len(audio) / stream.RATE:.1f} s of audio"
    with step(f"running the given models on {seconds}"):
        expected = stream.run(models(floats), audio, chunk)
    for path, found in zip(given.diarizers, expected.probabilities.values()):
        if not ((found >= 0) & (found <= 1)).all():
            raise Refused(f"{path}: expected probabilities from 0 to 1, found {found.min():.3g} to {found.max():.3g}")
    prepared = {}
    for path in paths:
        with step(f"{path.name}: rewriting"):
            prepared[path] = prepare(floats[path], done, chunk, o.precision, reduce_range, o.max_chunks)
        check_contract(path, prepared[path])
    with step(f"running the prepared models on {seconds}"):
        found = stream.run(models(prepared), audio, chunk, expected)
    passed = True
    if any(floats[path] != path for path in paths):
        with step("running the given 8-bit models"):
            in_8_bits = stream.run(given, audio, chunk, expected)
        print("given 8-bit models compared with their floats" +
              (", where signed 8-bit products overflow on this processor:" if overflow else ":"))
        passed &= compare(expected, in_8_bits, LIMITS["shown" if overflow else "int8"])
    print(f"prepared models compared with the given ones{' as floats' * any(floats[p] != p for p in paths)}, on {seconds}:")
    passed &= compare(expected, found, LIMITS["7 bits" if reduce_range else o.precision])
    if not passed:
        raise Refused("the prepared models differ too much from the given ones")
    shutil.copy(tokenizer, done)
    if config.exists():
        shutil.copy(config, done)
    written = sorted(file.name for file in done.iterdir())
    publish(done, out)
    for name in written:
        print(f"{(out / name).stat().st_size:>12} {name}")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("models", type=Path, help="folder with encoder, decoder_joint, tokenizer, and configuration")
    a.add_argument("out", type=Path, help="folder for the prepared files")
    a.add_argument("--diarization-model", type=Path, action="append", default=[],
                   help="Sortformer file (default: all in the folder)")
    a.add_argument("--precision", choices=["int8", "fp32"], default="int8")
    a.add_argument("--reduce-range", action="store_true",
                   help="use 7-bit weights, for processors without VNNI, where sums of 8-bit products may overflow "
                        "(default: if they overflow on this processor)")
    a.add_argument("--max-chunks", type=int, default=5, help="maximum chunks per run of the encoder (default: 5)")
    a.add_argument("--audio", type=Path, help="16 kHz mono WAV to compare on (default: a synthetic signal)")
    o = a.parse_args()
    out = o.out.resolve()
    if out == o.models.resolve() or out in {d.resolve().parent for d in o.diarization_model}:
        a.error("the prepared files need a separate folder")
    if out.exists() and not out.is_dir():
        a.error(f"{out}: expected a folder, found a file")
    if o.max_chunks < 1:
        a.error(f"--max-chunks: expected at least 1, found {o.max_chunks}")
    logging.disable(logging.WARNING)  # the quantizer recommends steps that this tool already takes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # removes the temporary folder
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # The temporary folder is next to the target, so that the finished files can be renamed instead of copied.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".prepare-models-") as work:
            run(o, out, Path(work))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (Refused, OSError, ValueError, RuntimeError, MemoryError, *graph.RUNTIME_ERRORS) as reason:
        text = " ".join(str(reason).split()) or type(reason).__name__
        sys.exit(f"prepare.py: {text}")


if __name__ == "__main__":
    main()
