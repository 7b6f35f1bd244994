#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Reads TTML files with ttconv and prints, as one JSON array for each, what is shown when: rows of
`begin` and `end` in milliseconds and `lines`, from the top of the picture to its bottom, each of which
is an array of runs with `text`, `color`, `bold`, `italic`, and `underline`. With `--hrm`, the files
must also pass the hypothetical render model of IMSC."""
import json
import sys
import xml.etree.ElementTree as ElementTree
from fractions import Fraction

import imschrm.hrm
import ttconv.imsc.reader
import ttconv.isd
import ttconv.model
from ttconv.style_properties import FontStyleType, FontWeightType, StyleProperties


def runs_of(element, lines: list) -> None:
    if isinstance(element, ttconv.model.Br):
        lines.append([])
    elif isinstance(element, ttconv.model.Text):
        span = element.parent()
        decoration = span.get_style(StyleProperties.TextDecoration)
        lines[-1].append({
            "text": element.get_text(),
            "color": "#%02X%02X%02X" % tuple(span.get_style(StyleProperties.Color).components[:3]),
            "bold": span.get_style(StyleProperties.FontWeight) == FontWeightType.bold,
            "italic": span.get_style(StyleProperties.FontStyle) == FontStyleType.italic,
            "underline": bool(decoration and decoration.underline),
        })
    else:
        if isinstance(element, ttconv.model.P):
            lines.append([])
        for child in element:
            runs_of(child, lines)


def shown(isd) -> list:
    regions = sorted(isd.iter_regions(), key=lambda region: region.get_style(StyleProperties.Origin).y.value)
    lines: list = []
    for region in regions:
        runs_of(region, lines)
    return [line for line in lines if line]


def rows(document) -> list:
    times = ttconv.isd.ISD.significant_times(document)
    found = []
    for begin, end in zip(times, times[1:]):
        lines = shown(ttconv.isd.ISD.from_model(document, begin))
        if lines:
            found.append({"begin": int(begin * 1000), "end": int(end * 1000), "lines": lines})
    return found


class HrmErrors(imschrm.hrm.EventHandler):
    """Fails where the render model does."""

    def error(self, msg, doc_index, time_offset, available_time, stats):
        raise SystemExit(f"hypothetical render model: {msg} at {float(time_offset)} s")

    def warn(self, msg, doc_index, time_offset, available_time, stats):
        self.error(msg, doc_index, time_offset, available_time, stats)


def main() -> None:
    arguments = sys.argv[1:]
    hrm = "--hrm" in arguments
    documents = []
    for path in arguments:
        if path == "--hrm":
            continue
        document = ttconv.imsc.reader.to_model(ElementTree.parse(path))
        if hrm:
            times = ttconv.isd.ISD.significant_times(document)
            isds = [(Fraction(time), ttconv.isd.ISD.from_model(document, time)) for time in times]
            imschrm.hrm.validate(iter(isds), HrmErrors())
        documents.append(rows(document))
    json.dump(documents, sys.stdout)


main()
