# SPDX-License-Identifier: MPL-2.0
"""Finds the ONNX files of a folder."""
from pathlib import Path


def model_file(folder: Path, name: str, precision: str) -> Path:
    """Returns NAME.onnx or NAME.int8.onnx, depending on the precision. The repository's 8-bit diarizer has no .int8 in
    its name."""
    names = [f"{name}.int8.onnx" if precision == "int8" else f"{name}.onnx"]
    if name == "sortformer" and precision == "int8":
        names.append(f"{name}.onnx")
    for path in (folder / n for n in names):
        if path.exists():
            return path
    raise SystemExit(f"{folder}: expected {' or '.join(names)} for precision {precision}, found none")
