# SPDX-License-Identifier: MPL-2.0
"""Where the ONNX files of a folder are."""
from pathlib import Path


def model_file(folder: Path, name: str, precision: str) -> Path:
    """NAME.onnx or NAME.int8.onnx by the precision; what is shipped has an 8-bit diarizer without .int8 in its name."""
    names = [f"{name}.int8.onnx" if precision == "int8" else f"{name}.onnx"]
    if name == "sortformer" and precision == "int8":
        names.append(f"{name}.onnx")
    for path in (folder / n for n in names):
        if path.exists():
            return path
    raise SystemExit(f"{folder}: expected {' or '.join(names)} for precision {precision}, found none")
