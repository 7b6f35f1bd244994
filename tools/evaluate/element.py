#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs the element on recordings for evaluate.py: one job per line on standard input, one result per line on standard output.

Jobs and results are JSON objects:

- {"properties": {NAME: VALUE}} checks names and values, and returns the values of all properties and the plugin's file.
- With "audio" and "session", the element transcribes the audio file.
- With "audio" and "wav", the audio file is converted to 16 kHz mono WAV.

A failure returns {"error": TEXT}. This program runs in the system's Python, because the GObject bindings (python3-gi
and gir1.2-gstreamer-1.0) cannot be installed into the environment of the scorers.
"""
import json
import os
import sys
import time
import warnings
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
os.environ.setdefault("ORT_DYLIB_PATH", str(REPOSITORY / ".onnxruntime/libonnxruntime.so"))

# Output of libraries must not mix with the results.
results = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


def send(**fields):
    print(json.dumps(fields), file=results, flush=True)


try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GObject, Gst
except (ImportError, ValueError) as problem:
    send(error=f"{problem}: install python3-gi and gir1.2-gstreamer-1.0")
    sys.exit(1)


class Failed(Exception):
    pass


def text_of(value) -> str:
    nick = getattr(value, "value_nick", None)
    return nick if nick is not None else "" if value is None else str(value)


def is_set(value, text: str) -> bool:
    """Returns whether a property has the value in `text`: GStreamer ignores invalid values silently."""
    if isinstance(value, bool):
        return text.lower() in {True: ("true", "yes", "1"), False: ("false", "no", "0")}[value]
    if isinstance(value, (int, float)) and not hasattr(value, "value_nick"):
        try:
            return abs(value - float(text)) <= 1e-6 * max(1, abs(value))
        except ValueError:
            return False
    return text_of(value) == text


def set_properties(element, properties: dict):
    for name, text in properties.items():
        spec = element.find_property(name)
        if spec is None or not spec.flags & GObject.ParamFlags.WRITABLE:
            raise Failed(f"multitalkerasr has no property {name} that can be set")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Gst.util_set_object_arg(element, name, text)
        if spec.value_type.name == "GstValueArray":
            continue
        if not is_set(element.get_property(name), text):
            kinds = getattr(type(spec.default_value), "__enum_values__", {})
            expected = f"one of {', '.join(text_of(kind) for kind in kinds.values())}" if kinds else f"a value in the range that gst-inspect-1.0 shows ({spec.blurb})"
            raise Failed(f"property {name}: expected {expected}, found {text!r}")


def make_element(properties: dict):
    if not Gst.ElementFactory.find("multitalkerasr"):
        Gst.Registry.get().scan_path(str(REPOSITORY / "target/release"))
    if not Gst.ElementFactory.find("multitalkerasr"):
        raise Failed("no element multitalkerasr: run `make build` or set GST_PLUGIN_PATH")
    element = Gst.ElementFactory.make("multitalkerasr", "asr")
    set_properties(element, properties)
    return element


def describe(properties: dict) -> dict:
    element = make_element(properties)
    # PyGObject cannot read arrays.
    specs = [spec for spec in element.list_properties()
             if spec.owner_type == element.__gtype__ and spec.value_type.name != "GstValueArray"]
    return {"properties": {spec.name: text_of(element.get_property(spec.name)) for spec in specs},
            "plugin": element.get_factory().get_plugin().get_filename()}


def build_pipeline(audio: str, element) -> Gst.Pipeline:
    """Builds audio ! decodebin ! 16 kHz mono ! element."""
    pipeline = Gst.parse_launch(
        "filesrc name=file ! decodebin ! audioconvert ! audioresample ! "
        "capsfilter name=caps caps=audio/x-raw,rate=16000,channels=1")
    pipeline.get_by_name("file").set_property("location", audio)
    pipeline.add(element)
    pipeline.get_by_name("caps").link(element)
    return pipeline


def run(pipeline: Gst.Pipeline, on_message=lambda message: None):
    """Runs the pipeline until EOS and passes the other messages to `on_message`."""
    pipeline.set_state(Gst.State.PLAYING)
    kinds = (Gst.MessageType.EOS | Gst.MessageType.ERROR | Gst.MessageType.WARNING | Gst.MessageType.ELEMENT
             | Gst.MessageType.PROGRESS)
    while (message := pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, kinds)).type != Gst.MessageType.EOS:
        if message.type == Gst.MessageType.ERROR:
            raise Failed(message.parse_error()[0].message)
        on_message(message)


def transcribe(audio: str, session: str, properties: dict, previous: list) -> dict:
    element = make_element(properties)
    element.set_property("session-id", session)
    pipeline = build_pipeline(audio, element)
    sink = Gst.ElementFactory.make("fakesink")
    pipeline.add(sink)
    element.link(sink)
    ends = [0]

    def note_end(_, info):
        buffer = info.get_buffer()
        if buffer.pts != Gst.CLOCK_TIME_NONE and buffer.duration != Gst.CLOCK_TIME_NONE:
            ends.append(max(ends.pop(), buffer.pts + buffer.duration))
        return Gst.PadProbeReturn.OK

    element.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, note_end)
    found = {"seglst": None, "loaded": None, "warnings": []}

    def on_message(message):
        structure = message.get_structure()
        if message.type == Gst.MessageType.WARNING:
            found["warnings"].append(message.parse_warning()[0].message)
        elif message.type == Gst.MessageType.PROGRESS:
            kind, code, _ = message.parse_progress()
            if code == "loading" and kind == Gst.ProgressType.COMPLETE:
                found["loaded"] = time.monotonic()
        elif structure.get_name() == "multitalkerasr/transcripts":
            found["seglst"] = json.loads(structure.get_string("seglst"))

    started = time.monotonic()
    try:
        run(pipeline, on_message)
    except Failed:
        pipeline.set_state(Gst.State.NULL)
        raise
    ended = time.monotonic()
    # Models stay loaded while an element uses them, so the previous pipeline is stopped only now.
    while previous:
        previous.pop().set_state(Gst.State.NULL)
    previous.append(pipeline)
    if found["seglst"] is None:
        raise Failed("the element ended without a transcript")
    if not ends[0]:
        raise Failed("no audio in the file")
    loaded = found["loaded"] or started
    return {"seglst": found["seglst"], "warnings": found["warnings"], "audio_seconds": ends[0] / Gst.SECOND,
            "load_seconds": loaded - started, "seconds": ended - loaded}


def write_wav(audio: str, wav: str) -> dict:
    encoder = Gst.ElementFactory.make("wavenc")
    pipeline = build_pipeline(audio, encoder)
    sink = Gst.ElementFactory.make("filesink")
    sink.set_property("location", wav)
    pipeline.add(sink)
    encoder.link(sink)
    try:
        run(pipeline)
    finally:
        pipeline.set_state(Gst.State.NULL)
    return {}


def main():
    Gst.init(None)
    previous = []
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if "wav" in job:
                send(**write_wav(job["audio"], job["wav"]))
            elif "audio" in job:
                send(**transcribe(job["audio"], job["session"], job["properties"], previous))
            else:
                send(**describe(job["properties"]))
        except Failed as failure:
            send(error=" ".join(str(failure).split()))
    for pipeline in previous:
        pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
