#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Prints a live transcript with a color for each speaker.

SOURCE is a file or a URI such as rtsp://camera/stream; without it, the program transcribes the
microphone. On a terminal, the last line shows the segment in progress. The models are read from
MODEL_DIR and DIARIZATION_MODEL; if these are not set, the repository's demo models are used.
"""
import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RUNTIME = REPOSITORY / ".onnxruntime/libonnxruntime.so"
if RUNTIME.exists():  # otherwise the element searches for other libraries
    os.environ.setdefault("ORT_DYLIB_PATH", str(RUNTIME))

try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst
except (ImportError, ValueError) as error:
    sys.exit(f"live_transcript.py: {error}: install python3-gi and gir1.2-gstreamer-1.0")

# White, yellow, cyan, and green are the colors that broadcasters use.
COLORS = ["\x1b[97m", "\x1b[93m", "\x1b[96m", "\x1b[92m"]
RESET, CLEAR_LINE = "\x1b[0m", "\r\x1b[K"


def build_pipeline(source: str | None) -> Gst.Pipeline:
    if not Gst.ElementFactory.find("multitalkerasr"):
        Gst.Registry.get().scan_path(str(REPOSITORY / "target/release"))
    if not Gst.ElementFactory.find("multitalkerasr"):
        sys.exit("live_transcript.py: no element multitalkerasr: run `make build` or set GST_PLUGIN_PATH")
    pipeline = Gst.parse_launch(
        f"{'uridecodebin name=source' if source else 'autoaudiosrc'} ! audioconvert ! audioresample ! queue ! "
        "multitalkerasr name=asr post-partials=true ! fakesink sync=false"
    )
    if source:
        uri = source if Gst.uri_is_valid(source) else Gst.filename_to_uri(source)
        pipeline.get_by_name("source").set_property("uri", uri)
    asr = pipeline.get_by_name("asr")
    demo = REPOSITORY / "testdata/demo-models"
    model_dir = os.environ.get("MODEL_DIR")
    asr.set_property("model-dir", model_dir or str(demo))
    diarization_model = os.environ.get("DIARIZATION_MODEL", "" if model_dir else str(demo / "sortformer.onnx"))
    asr.set_property("diarization-model", diarization_model)
    return pipeline


def format_line(segment: Gst.Structure) -> str:
    speaker = segment.get_uint("speaker-id").value
    seconds = segment.get_clock_time("start-time").value / Gst.SECOND
    color = COLORS[speaker % len(COLORS)]
    name = segment.get_string("speaker-name") or f"Speaker {speaker + 1}"
    return f"{color}{seconds:7.2f} s  {name}: {segment.get_string('text')}{RESET}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", nargs="?")
    arguments = parser.parse_args()
    Gst.init(None)
    pipeline = build_pipeline(arguments.source)
    loop = GLib.MainLoop()
    is_terminal = sys.stdout.isatty()
    failures = []

    def on_message(_bus, message):
        if message.type == Gst.MessageType.EOS:
            loop.quit()
        elif message.type == Gst.MessageType.ERROR:
            error, _ = message.parse_error()
            failures.append(f"live_transcript.py: {message.src.get_name()}: {error.message}")
            loop.quit()
        elif message.type == Gst.MessageType.ELEMENT:
            segment = message.get_structure()
            if segment.get_name() == "multitalkerasr/transcript":
                print(f"{CLEAR_LINE if is_terminal else ''}{format_line(segment)}", flush=True)
            elif segment.get_name() == "multitalkerasr/partial" and is_terminal:
                columns = os.get_terminal_size().columns
                print(f"{CLEAR_LINE}{format_line(segment)[:columns]}{RESET}", end="", flush=True)

    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", on_message)
    pipeline.set_state(Gst.State.PLAYING)
    try:
        loop.run()
    except KeyboardInterrupt:
        pass
    finally:
        pipeline.set_state(Gst.State.NULL)
    for failure in failures:
        print(failure, file=sys.stderr)
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
