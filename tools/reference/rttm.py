#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Computes the frame targets of RTTM files with NeMo's own functions: rttm.py NEMO TESTDATA

NEMO is the unpacked wheel of nemo-toolkit 3.0.0, for instance from `pip download --no-deps nemo-toolkit==3.0.0`, and
TESTDATA the folder of the test data, into which rttm/boundaries.rttm and rttm/targets.json are written. The calls are
those of NeMo's get_multi_talker_samples_from_manifest with spk_supervision=rttm, at 12.5 frames per second.

The functions are taken out of NeMo's files, since their modules import most of NeMo. NumPy stands in for torch.zeros,
the only function of PyTorch that they call.

Needs: pip install numpy
"""
import ast
import json
import random
import sys
import types
from pathlib import Path

import numpy

DATA = "nemo/collections/asr/data/audio_to_diar_label.py"
UTILS = "nemo/collections/asr/parts/utils/speaker_utils.py"
MAX_SPEAKERS = 64


def functions(path: Path, names: list[str], scope: dict):
    """Adds functions of a file to the scope, in which they also find what they call."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    assert sorted(node.name for node in tree.body) == sorted(names), path
    exec(compile(tree, str(path), "exec"), scope)


def runs(column) -> list[list[int]]:
    """Returns the ranges of frames that are 1."""
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate([[0], column, [0]])))
    return edges.reshape(-1, 2).tolist()


def targets(nemo: dict, text: str, offset: float, duration: float) -> dict:
    timestamps, names = nemo["extract_frame_info_from_rttm"](offset, duration, text.splitlines())
    matrix = nemo["get_frame_targets_from_rttm"](
        rttm_timestamps=timestamps, offset=offset, duration=duration, round_digits=3,
        feat_per_sec=round(float(1 / 0.08), 2), max_spks=MAX_SPEAKERS)
    speakers = {name: runs(matrix[:, index]) for index, name in names.items()}
    return {"offset": offset, "frames": len(matrix), "speakers": speakers}


def boundaries() -> str:
    """Returns turns that begin and end on frames, and up to 2 ms beside them, with up to four decimals."""
    lines = []
    for index in range(400):
        near = lambda frame: max(0, frame * 0.08 + random.choice([0, 0, 0, 0.001, -0.001, 0.0005, -0.0005, 0.002]))
        start = near(random.randrange(5000))
        duration = near(random.randrange(30))
        decimals = random.choice([2, 3, 4])
        times = f"{start:.{decimals}f} {duration:.{decimals}f}"
        lines.append(f"SPEAKER talk 1 {times} <NA> <NA> speaker{index % 7} <NA> <NA>")
    return "\n".join(lines) + "\n"


def main():
    nemo_folder, data = map(Path, sys.argv[1:])
    nemo = {"torch": types.SimpleNamespace(zeros=lambda *shape: numpy.zeros(shape)),
            "logging": types.SimpleNamespace(warning=print)}
    functions(nemo_folder / UTILS, ["string_to_float", "convert_rttm_line"], nemo)
    functions(nemo_folder / DATA, ["extract_frame_info_from_rttm", "get_frame_targets_from_rttm"], nemo)
    random.seed(1)
    folder = data / "rttm"
    folder.mkdir(exist_ok=True)
    (folder / "boundaries.rttm").write_text(boundaries(), encoding="utf-8")
    cases = []
    for name, ranges in [("demo/conversation.rttm", [(0, 60.0), (12.35, 10.0)]),
                         ("audio/ami-en2002a.rttm", [(0, 60.0), (12.35, 10.0)]),
                         ("rttm/boundaries.rttm", [(0, 420.0), (100.08, 60.0), (0.0125, 420.0)])]:
        text = (data / name).read_text(encoding="utf-8")
        cases += [{"file": name} | targets(nemo, text, *range_s) for range_s in ranges]
    with open(folder / "targets.json", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
