#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Transcribes conversations with the GStreamer element that `make build` builds, for evaluate.py --element. Writes
OUT/NAME.json (SegLST) for each NAME.wav. Needs python3-gi and gir1.2-gstreamer-1.0."""
import argparse
import os
import sys
import threading
import wave
from pathlib import Path

from model_files import model_file

RECONNECT_S = 30  # the jump of the timestamps at a reconnect
REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = REPOSITORY / ".onnxruntime/libonnxruntime.so"
if RUNTIME.exists():  # otherwise the element searches for other libraries
    os.environ.setdefault("ORT_DYLIB_PATH", str(RUNTIME))

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst


def feed(source, wav: Path, reconnects: list[int]):
    """Pushes the audio. At each of the samples in `reconnects`, timestamps jump by RECONNECT_S."""
    with wave.open(str(wav)) as file:
        rate, at = file.getframerate(), 0
        for number, end in enumerate([*reconnects, file.getnframes()]):
            while at < end:
                count = min(rate // 2, end - at)
                buffer = Gst.Buffer.new_wrapped(file.readframes(count))
                buffer.pts = Gst.util_uint64_scale(at + number * RECONNECT_S * rate, Gst.SECOND, rate)
                buffer.duration = Gst.util_uint64_scale(count, Gst.SECOND, rate)
                if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                    return  # the bus says why
                at += count
    source.emit("end-of-stream")


def transcribe(wav: Path, properties: dict, reconnects: list[int] = ()) -> str:
    source = ("appsrc name=source format=time block=true max-bytes=1000000 caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved"
              if reconnects else "filesrc name=source ! wavparse")
    pipeline = Gst.parse_launch(f"{source} ! multitalkerasr name=asr ! fakesink")
    source = pipeline.get_by_name("source")
    if not reconnects:
        source.set_property("location", str(wav))
    asr = pipeline.get_by_name("asr")
    for name, value in properties.items():
        Gst.util_set_object_arg(asr, name, value)
    asr.set_property("session-id", wav.stem)
    seglst = "[]"
    pipeline.set_state(Gst.State.PLAYING)
    if reconnects:
        threading.Thread(target=feed, args=(source, wav, reconnects), daemon=True).start()
    try:
        while True:
            message = pipeline.get_bus().timed_pop_filtered(
                Gst.CLOCK_TIME_NONE, Gst.MessageType.ELEMENT | Gst.MessageType.ERROR | Gst.MessageType.EOS)
            if message.type == Gst.MessageType.EOS:
                return seglst
            if message.type == Gst.MessageType.ERROR:
                sys.exit(f"{wav}: {message.parse_error()[0].message}")
            if message.get_structure().get_name() == "multitalkerasr/transcripts":
                seglst = message.get_structure().get_string("seglst")
    finally:
        pipeline.set_state(Gst.State.NULL)


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("wavs", type=Path, nargs="+")
    a.add_argument("--models", type=Path, required=True)
    a.add_argument("--out", type=Path, required=True)
    a.add_argument("--latency", default="1120", choices=["80", "160", "560", "1120"])
    a.add_argument("--diarization", default="30s", choices=["lockstep", "1s", "10s", "30s"])
    a.add_argument("--precision", choices=["fp32", "int8"], default="fp32")
    a.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="another property of the element")
    a.add_argument("--reconnect", type=int, action="append", default=[], metavar="SAMPLE", help="let the timestamps jump at this sample")
    o = a.parse_args()
    Gst.init(None)
    if not Gst.ElementFactory.find("multitalkerasr"):
        Gst.Registry.get().scan_path(str(REPOSITORY / "target/release"))
    if not Gst.ElementFactory.find("multitalkerasr"):
        sys.exit("no element multitalkerasr: run `make build` or set GST_PLUGIN_PATH")
    properties = {"model-dir": str(o.models), "precision": o.precision,
                  "diarization-model": str(model_file(o.models, "sortformer", o.precision)),
                  "chunk-latency": f"{o.latency}ms", "diarization-preset": o.diarization}
    properties |= (option.split("=", 1) for option in o.property)
    o.out.mkdir(parents=True, exist_ok=True)
    for wav in o.wavs:
        (o.out / f"{wav.stem}.json").write_text(transcribe(wav, properties, o.reconnect))


if __name__ == "__main__":
    main()
