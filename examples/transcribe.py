#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Transcribes every speaker in any media file that GStreamer decodes.

The extension of each OUTPUT selects its format: .vtt (WebVTT with a voice for each speaker), .srt,
.json (SegLST), or .rttm. The models are read from MODEL_DIR and DIARIZATION_MODEL; if these are not
set, the repository's demo models are used. SPEAKER_NAMES names the speakers: names,0=Alice,1=Bob
"""
import argparse
import json
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
    from gi.repository import Gst
except (ImportError, ValueError) as error:
    sys.exit(f"transcribe.py: {error}: install python3-gi and gir1.2-gstreamer-1.0")


def build_pipeline(media: Path) -> Gst.Pipeline:
    if not Gst.ElementFactory.find("multitalkerasr"):
        Gst.Registry.get().scan_path(str(REPOSITORY / "target/release"))
    if not Gst.ElementFactory.find("multitalkerasr"):
        sys.exit("transcribe.py: no element multitalkerasr: run `make build` or set GST_PLUGIN_PATH")
    pipeline = Gst.parse_launch(
        "filesrc name=file ! decodebin ! audioconvert ! audioresample ! multitalkerasr name=asr ! fakesink"
    )
    pipeline.get_by_name("file").set_property("location", str(media))
    asr = pipeline.get_by_name("asr")
    demo = REPOSITORY / "testdata/demo-models"
    model_dir = os.environ.get("MODEL_DIR")
    asr.set_property("model-dir", model_dir or str(demo))
    diarization_model = os.environ.get("DIARIZATION_MODEL", "" if model_dir else str(demo / "sortformer.onnx"))
    asr.set_property("diarization-model", diarization_model)
    asr.set_property("session-id", media.stem)
    if names := os.environ.get("SPEAKER_NAMES"):
        Gst.util_set_object_arg(asr, "speaker-names", names)
    return pipeline


def transcribe(media: Path) -> list[dict]:
    """Returns the SegLST rows, sorted by start time."""
    pipeline = build_pipeline(media)
    rows = []
    bus = pipeline.get_bus()
    pipeline.set_state(Gst.State.PLAYING)
    try:
        while True:
            message = bus.timed_pop_filtered(
                Gst.CLOCK_TIME_NONE, Gst.MessageType.ELEMENT | Gst.MessageType.ERROR | Gst.MessageType.EOS
            )
            if message.type == Gst.MessageType.EOS:
                return rows
            if message.type == Gst.MessageType.ERROR:
                error, _ = message.parse_error()
                sys.exit(f"transcribe.py: {message.src.get_name()}: {error.message}")
            if message.get_structure().get_name() == "multitalkerasr/transcripts":
                rows = json.loads(message.get_structure().get_string("seglst"))
    finally:
        pipeline.set_state(Gst.State.NULL)


def timestamp(seconds: float, separator: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{separator}{milliseconds % 1000:03}"


def speaker(row: dict) -> str:
    """Returns the name of the speaker, who otherwise is a number from 0."""
    return f"Speaker {int(row['speaker']) + 1}" if row["speaker"].isdecimal() else row["speaker"]


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def webvtt(rows: list[dict]) -> str:
    cues = ["WEBVTT\n"]
    for row in rows:
        times = f"{timestamp(row['start_time'], '.')} --> {timestamp(row['end_time'], '.')}"
        cues.append(f"{times}\n<v {escape(speaker(row))}>{escape(row['words'])}</v>\n")
    return "\n".join(cues)


def srt(rows: list[dict]) -> str:
    return "\n".join(
        f"{number}\n{timestamp(row['start_time'], ',')} --> {timestamp(row['end_time'], ',')}\n"
        f"{speaker(row)}: {row['words']}\n"
        for number, row in enumerate(rows, 1)
    )


def seglst(rows: list[dict]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def rttm(rows: list[dict]) -> str:
    return "".join(
        f"SPEAKER {'_'.join(row['session_id'].split())} 1 {row['start_time']:.3f} "
        f"{row['end_time'] - row['start_time']:.3f} <NA> <NA> {'_'.join(row['speaker'].split())} <NA> <NA>\n"
        for row in rows
    )


FORMATS = {".vtt": webvtt, ".srt": srt, ".json": seglst, ".rttm": rttm}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", metavar="MEDIA", type=Path)
    parser.add_argument("outputs", metavar="OUTPUT", type=Path, nargs="+")
    arguments = parser.parse_args()
    for output in arguments.outputs:
        if output.suffix not in FORMATS:
            parser.error(f"{output}: expected a name that ends with one of {' '.join(FORMATS)}")
    if not arguments.media.is_file():
        parser.error(f"{arguments.media}: no such file")
    Gst.init(None)
    rows = transcribe(arguments.media)
    for output in arguments.outputs:
        output.write_text(FORMATS[output.suffix](rows), encoding="utf-8")


if __name__ == "__main__":
    main()
