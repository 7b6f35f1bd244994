#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Turn the published ONNX files of a multitalker Parakeet and a streaming Sortformer into faster ones.

The new files have the same inputs, outputs and metadata, and one key more, `prepared`, that says what was done:
pointwise convolutions become matrix products, masks that mask nothing go, and the weights of matrix products and
LSTMs become signed 8-bit integers with a scale for each channel. From 8-bit files the floats are made first.

It then runs the old and the new models on audio and prints how far each stage differs. Nothing is written, and the
exit code is 1, when that is too far.
"""
import argparse
import gc
import itertools
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnxruntime.quantization import QuantType, quantize_dynamic

import dequantise
import rewrite
import stream

# Bytes; above, the weights go into a file beside the graph, which ONNX Runtime maps: it loads faster and in less memory.
INLINE_LIMIT = 64_000_000
KEY = "prepared"

# Largest relative error of a stage (of the norm), and largest mean difference of probabilities.
LIMITS = {
    # The rewriting changes the order of sums and nothing else: 24 layers of that are below 1e-5.
    "fp32": dict(relative=1e-4, probability=1e-4, equal_tokens=True),
    # The usual 8-bit files are 3 to 4% from their floats; 5% of a logit of 2 moves a probability by up to 0.03. An
    # untrained or unsure model turns that into other tokens, so their number is shown and not limited.
    "int8": dict(relative=0.05, probability=0.03, equal_tokens=False),
}


class Refused(Exception):
    """The models cannot be prepared, or came out too different."""


def load(path: Path, weights: bool = True):
    try:
        return onnx.load(str(path), load_external_data=weights)
    except (DecodeError, onnx.checker.ValidationError) as reason:
        raise Refused(f"{path}: expected an ONNX file with its weights, found: {reason}") from reason


def plain_name(path: Path) -> str:
    return path.name.replace(".int8.onnx", ".onnx")


def find(folder: Path, name: str) -> Path:
    names = list(dict.fromkeys((name, name.replace(".onnx", ".int8.onnx"))))
    for path in (folder / n for n in names):
        if path.exists():
            return path
    raise Refused(f"{folder}: expected {' or '.join(names)}, found {'neither' if names[1:] else 'none'}")


def is_diariser(path: Path) -> bool:
    return "spkcache" in {i.name for i in load(path, weights=False).graph.input}


def find_models(folder: Path, diarisers: list[Path]) -> stream.Models:
    if not diarisers:
        names = sorted({plain_name(p) for p in folder.glob("*.onnx")} - {"encoder.onnx", "decoder_joint.onnx"})
        diarisers = [p for p in (find(folder, name) for name in names) if is_diariser(p)]
    elif others := [path for path in diarisers if not is_diariser(path)]:
        raise Refused(f"{others[0]}: expected a Sortformer's ONNX file, found no input spkcache")
    named = Counter(map(plain_name, diarisers))
    if twice := [name for name, count in named.items() if count > 1]:
        raise Refused(f"--diarization-model: expected files of different names, found {twice[0]} twice")
    return stream.Models(find(folder, "encoder.onnx"), find(folder, "decoder_joint.onnx"),
                         find(folder, "multitalker_config.json"), diarisers)


def calls(graph, config: dict, max_chunks: int = 1):
    """Inputs as the plugin gives them: short and long chunks, caches from empty to full; lengths are always full."""
    shape = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in graph.input}
    if "spkcache" in shape:
        bins, width = shape["chunk"][2], shape["spkcache"][2]
        # Subsampling rounds three times by 2, so lengths repeat their behaviour after 8.
        for chunk, (cache, fifo) in zip([*range(1, 33), 112, 121, 1008, 3048],
                                        itertools.cycle([(0, 0), (0, 1), (0, 17), (3, 40), (23, 0)])):
            yield stream.diariser_inputs(*(np.zeros((n, w), np.float32) for n, w in
                                           ((chunk, bins), (cache, width), (fifo, width))))
    elif "processed_signal" in shape:
        bins, left = shape["processed_signal"][1], shape["cache_last_channel"][2]
        caches, before = stream.empty_caches(shape), config["pre_encode_cache_size"]
        lengths = [*range(1, config["chunk_size"] + 1), *range(config["chunk_size"], max_chunks * config["chunk_size"], 50)]
        for frames, filled in zip([*lengths, max_chunks * config["chunk_size"]],
                                  itertools.cycle([0, 1, left // 2, left - 1, left])):
            targets = np.zeros((1, -(-frames // stream.SUBSAMPLING)), np.float32)
            yield stream.encoder_inputs(np.zeros((bins, before + frames), np.float32),
                                        [*caches[:2], stream.length(filled)], targets, targets)


def save(model, path: Path):
    size = sum(len(t.raw_data) for t in model.graph.initializer)
    onnx.save(model, str(path), save_as_external_data=size > INLINE_LIMIT, location=path.name + ".data")


def prepare(path: Path, out: Path, config: dict, precision: str, reduce_range: bool, max_chunks: int) -> Path:
    """Writes the prepared form of one file into the folder `out`."""
    model = load(path)
    if KEY in {p.key for p in model.metadata_props}:
        raise Refused(f"{path} is prepared already")
    try:
        floats = dequantise.dequantise(model.graph)
    except dequantise.Unsupported as reason:
        raise Refused(f"{path}: {reason}; the fp32 file is needed") from reason
    rewrite.share_constants(model.graph)
    encoder = "processed_signal" in {i.name for i in model.graph.input}
    inputs = list(calls(model.graph, config, max_chunks if encoder else 1))
    counts = {"8-bit operations to floats": floats,
              "idle masks out": rewrite.without_idle_masks(model, inputs),
              "pointwise convolutions to products": rewrite.pointwise_as_products(model.graph),
              "idle pads out": rewrite.without_idle_pads(model, inputs),
              "relative shifts without padding": rewrite.shorter_relative_shift(model, inputs),
              "attention masks to sums": rewrite.masks_as_sums(model, inputs)}
    # The diariser's chunks and caches are free to grow, so its positions are not known here.
    if encoder:
        counts["position products to tables"] = rewrite.positions_as_tables(model, inputs)
        if rewrite.several_chunks_and_speakers(model.graph):
            counts["chunks and any number of speakers at once"] = max_chunks
            model.metadata_props.add(key=stream.MAX_CHUNKS, value=str(max_chunks))
            model.metadata_props.add(key="chunk_frames", value=str(config["chunk_size"] // stream.SUBSAMPLING))
    counts["tokens' products to a table"] = rewrite.tokens_as_table(model.graph)
    counts["factors into weights"] = rewrite.scales_into_weights(model.graph)
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
    quantize_dynamic(target, small, op_types_to_quantize=["MatMul", "LSTM"], weight_type=QuantType.QInt8,
                     per_channel=True, reduce_range=reduce_range,
                     use_external_data_format=size / 4 > INLINE_LIMIT)
    for file in (target, Path(f"{target}.data")):
        file.unlink(missing_ok=True)
    return small


def contract(path: Path):
    """Names, types, ranks and fixed sizes of inputs and outputs, and the metadata."""
    model = load(path, weights=False)
    tensors = [(t.name, t.type.tensor_type.elem_type, [d.dim_value for d in t.type.tensor_type.shape.dim])
               for t in [*model.graph.input, *model.graph.output]]
    return tensors, {(p.key, p.value) for p in model.metadata_props if p.key != "onnx.infer"}


def check_contract(old: Path, new: Path):
    (tensors, metadata), (new_tensors, new_metadata) = contract(old), contract(new)
    if stream.MAX_CHUNKS in dict(new_metadata):  # the axis of the batch is open now
        for _, _, dims in (*tensors, *new_tensors):
            dims[0] = 0
    if tensors != new_tensors or not metadata < new_metadata:
        raise Refused(f"{new.name}: inputs, outputs or metadata changed")


def relative(expected, found) -> float:
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-12))


def edits(a: list, b: list) -> int:
    """Insertions, deletions and substitutions from one sequence to the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def compare(old: stream.Outcome, new: stream.Outcome, limits: dict) -> bool:
    """Prints the differences stage by stage; whether all are within the limits."""
    fine = True

    def line(stage, value, limit=None, more=""):
        nonlocal fine
        within = limit is None or value <= limit  # not a number is too far as well
        fine &= within
        remarks = [more] if limit is None else [f"limit {limit:g}", *filter(None, [more])]
        remarks += ["TOO FAR"] * (not within)
        print(f"  {stage:44} {value:<8.3g} {'; '.join(remarks)}")

    for name, expected in old.probabilities.items():
        found = new.probabilities[name]
        gap = np.abs(found - expected)
        others = int(((found > 0.5) != (expected > 0.5)).sum())
        line(f"{name}: embeddings, relative", relative(old.embeddings[name], new.embeddings[name]), limits["relative"])
        line(f"{name}: probabilities, mean", float(gap.mean()), limits["probability"],
             f"largest {gap.max():.2g}; {others} of {gap.size} on the other side of 0.5")
    joined = lambda parts: np.concatenate([parts[j] for j in sorted(parts)])
    line("encoder: frames, relative", relative(joined(old.encoded), joined(new.encoded)), limits["relative"])
    line("decoder and joint: logits, relative", relative(joined(old.logits), joined(new.logits)), limits["relative"])
    changed, total = sum(edits(old.tokens[j], new.tokens[j]) for j in old.tokens), sum(map(len, old.tokens.values()))
    line("tokens that differ", changed, 0 if limits["equal_tokens"] else None, more=f"of {total}")
    return fine


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("models", type=Path, help="folder with encoder, decoder_joint, tokenizer and configuration")
    a.add_argument("out", type=Path, help="folder for the prepared files")
    a.add_argument("--diarization-model", type=Path, action="append", default=[],
                   help="Sortformer file (default: those in the folder)")
    a.add_argument("--precision", choices=["int8", "fp32"], default="int8")
    a.add_argument("--reduce-range", action="store_true",
                   help="7-bit weights, for processors without VNNI, where sums of 8-bit products may overflow")
    a.add_argument("--max-chunks", type=int, default=5, help="chunks that the encoder takes at once (default: 5)")
    a.add_argument("--audio", type=Path, help="16 kHz mono WAV to compare on (default: a synthetic signal)")
    o = a.parse_args()
    out = o.out.resolve()
    if out == o.models.resolve() or out in {d.resolve().parent for d in o.diarization_model}:
        a.error("the prepared files need a folder of their own")
    if out.exists() and not out.is_dir():
        a.error(f"{out}: expected a folder, found a file")
    if o.max_chunks < 1:
        a.error(f"--max-chunks: expected at least 1, found {o.max_chunks}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        a.error(f"{out}: {reason}")
    logging.disable(logging.WARNING)  # the quantiser's advice about steps that are taken here
    # Beside the target, so that the finished files are moved and not copied.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".prepare-models-") as folder:
        work = Path(folder)
        try:
            old = find_models(o.models, o.diarization_model)
            copied = [old.config, find(o.models, "tokenizer.model")]
            audio = stream.read_wav(o.audio) if o.audio else stream.synthetic_audio()
            config = stream.encoder_config(old)
            prepared = {file: prepare(file, work, config, o.precision, o.reduce_range, o.max_chunks)
                        for file in (old.encoder, old.joint, *old.diarisers)}
            for pair in prepared.items():
                check_contract(*pair)
            new = stream.Models(prepared[old.encoder], prepared[old.joint], old.config,
                                [prepared[file] for file in old.diarisers])
            expected = stream.run(old, audio)
            print(f"prepared against given, on {len(audio) / stream.RATE:.1f} s of audio:")
            # Floats that were int8 differ from what they were by the rounding of the activations.
            kind = "int8" if any(".int8." in file.name for file in prepared) else o.precision
            if not compare(expected, stream.run(new, audio, expected), LIMITS[kind]):
                raise Refused("the prepared models differ too much from the given ones")
            for file in copied:
                shutil.copy(file, work)
        except (Refused, OSError, ValueError) as reason:
            sys.exit(f"prepare.py: {reason}")
        for data in work.glob("*.data"):  # onnx keeps them from all others
            shutil.copymode(data.with_suffix(""), data)
        out.mkdir(exist_ok=True)
        for file in sorted(work.iterdir()):
            os.replace(file, out / file.name)
            print(f"{(out / file.name).stat().st_size:>12} {file.name}")


if __name__ == "__main__":
    main()
