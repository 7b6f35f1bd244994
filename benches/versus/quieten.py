#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Raises the bias of the blank in a decoder_joint file, so that random weights emit about as many tokens as speech has.

Models of tools/reference/make_models.py emit ten tokens per frame, 125 per second. With 0.9375 added to the bias, the
models of `--size full --seed 1` emit four per second. Needs: onnx
"""
import argparse

import onnx
from onnx import numpy_helper

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("source")
arguments.add_argument("target")
arguments.add_argument("offset", type=float, help="value to add to the bias of the blank")
o = arguments.parse_args()
model = onnx.load(o.source)
logits = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
(bias,) = [t for t in model.graph.initializer if list(t.dims) == [logits] and t.name.endswith("bias")]
values = numpy_helper.to_array(bias).copy()
values[-1] += o.offset
bias.CopyFrom(numpy_helper.from_array(values, bias.name))
onnx.save(model, o.target)
