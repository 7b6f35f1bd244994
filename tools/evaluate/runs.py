# SPDX-License-Identifier: MPL-2.0
"""Produces the hypotheses of a recording: from the element, from the diarizer alone, or from another system's files.

Each result is cached in a file, written atomically, together with a key of everything that it depends on. An evaluation
that was stopped can therefore be continued, and a changed model or plugin invalidates the results.
"""
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from manifest import Problem, Recording, read_turns, read_words
from pyannote.core import Annotation, Segment

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

# With this activity threshold the recognizer runs for no speaker, so only the diarizer is computed.
NO_SPEAKER = "0.9999999"


@dataclass(frozen=True)
class Configuration:
    """A configuration to compare: the element with some properties, or a folder of another system's results."""

    name: str
    properties: dict[str, str] | None = None
    folder: Path | None = None


@dataclass
class Hypothesis:
    words: list[dict]
    turns: Annotation
    turns_from: str  # "diarizer", "segments", or "file"
    audio_seconds: float | None = None
    seconds: float | None = None
    load_seconds: float | None = None
    warnings: list[str] | None = None


def identity(path: Path) -> list:
    """Returns a value that changes when the file, or a file in the folder, changes."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in paths if p.is_file()]


def write_atomically(path: Path, data: bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


class Cache:
    """Stores results with the key of what they depend on, in a file for each kind and session."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, kind: str, session: str) -> Path:
        def name(text):
            return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', text)[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return self.folder / name(kind) / f"{name(session)}.json"

    def get(self, kind: str, session: str, key: list):
        try:
            entry = json.loads(self.path(kind, session).read_bytes())
            return entry["value"] if entry["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, kind: str, session: str, key: list, value):
        write_atomically(self.path(kind, session), json.dumps({"key": key, "value": value}).encode())


class Worker:
    """A process of element.py, which is restarted after it has ended."""

    def __init__(self):
        self.process = None
        self.stderr = None

    def run(self, **job) -> dict:
        if self.process is None:
            self.stderr = tempfile.TemporaryFile()
            self.process = subprocess.Popen([str(HERE / "element.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr)
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            code = self.process.wait()
            self.stderr.seek(0)
            printed = self.stderr.read().decode(errors="replace").strip().splitlines()
            self.stop()
            raise Problem(f"the element's process ended with {code}: {printed[-1] if printed else 'it printed nothing'}")
        result = json.loads(line)
        if "error" in result:
            raise Problem(result["error"])
        return result

    def stop(self):
        if process := self.process:
            self.process = None
            process.stdin.close()
            process.kill()
            process.wait()
            process.stdout.close()
            self.stderr.close()


class Runner:
    def __init__(self, cache: Cache, models: Path, diarizer: Path | None, turns_from: str, activity_program: Path):
        self.cache = cache
        self.diarizer = diarizer
        self.paths = {"model-dir": str(models), "diarization-model": str(diarizer or "")}
        self.turns_from = turns_from
        self.activity_program = activity_program
        self.models_key = identity(models) + (identity(diarizer) if diarizer else [])
        self.effective_properties: dict[str, dict] = {}
        self.plugin_key: list = []
        self.thread = threading.local()
        self.workers: list[Worker] = []
        self.activity_locks: dict[str, threading.Lock] = {}
        self.lock = threading.Lock()

    def worker(self) -> Worker:
        if not hasattr(self.thread, "worker"):
            self.thread.worker = Worker()
            with self.lock:
                self.workers.append(self.thread.worker)
        return self.thread.worker

    def stop(self):
        for worker in self.workers:
            worker.stop()

    def check(self, configuration: Configuration):
        """Checks that the element is available and accepts the properties, before any work is done."""
        if configuration.properties is not None:
            element = self.worker().run(properties=self.paths | configuration.properties)
            self.effective_properties[configuration.name] = element["properties"]
            self.plugin_key = identity(Path(element["plugin"]))

    def run(self, configuration: Configuration, recording: Recording) -> Hypothesis:
        if configuration.folder is not None:
            return self.read(configuration.folder, recording)
        key = [self.models_key, self.plugin_key, identity(recording.audio), configuration.properties]
        result = self.cache.get(configuration.name, recording.session, key)
        if result is None:
            result = self.run_element(configuration, recording)
            self.cache.put(configuration.name, recording.session, key, result)
        if recording.turns is not None and self.turns_from == "diarizer":
            turns = self.activity(configuration, recording)
        else:
            turns = segments(result["seglst"], recording.session)
        return Hypothesis(result["seglst"], turns, self.turns_from, result["audio_seconds"], result["seconds"],
                          result["load_seconds"], result["warnings"])

    def run_element(self, configuration: Configuration, recording: Recording) -> dict:
        try:
            return self.worker().run(audio=str(recording.audio), session=recording.session,
                                     properties=self.paths | configuration.properties)
        except Problem as problem:
            raise Problem(f"{recording.audio}: {problem}") from None

    def read(self, folder: Path, recording: Recording) -> Hypothesis:
        """Reads another system's results: FOLDER/SESSION.json (SegLST) and optionally FOLDER/SESSION.rttm."""
        words, turns = folder / f"{recording.session}.json", folder / f"{recording.session}.rttm"
        if not words.is_file() and not (turns.is_file() and recording.words is None):
            raise Problem(f"no file {words}")
        rows = read_words(words, recording.session) if words.is_file() else []
        if turns.is_file():
            found = read_turns(turns, recording.session) if turns.stat().st_size else Annotation()
            return Hypothesis(rows, found, "file")
        return Hypothesis(rows, segments(rows, recording.session), "segments")

    def activity(self, configuration: Configuration, recording: Recording) -> Annotation:
        """Returns where the diarizer's probabilities exceed 0.5, frame by frame, as written by the example transcribe_wav."""
        effective = self.effective_properties[configuration.name]
        preset = effective["diarization-preset"]
        arguments = ["--diarization-preset", "30s" if preset == "auto" else preset,
                     "--chunk-latency", effective["chunk-latency"].removesuffix("ms")]
        if effective["max-speakers"] != "0":
            arguments += ["--max-speakers", effective["max-speakers"]]
        key = [self.models_key, identity(self.activity_program), identity(recording.audio), arguments]
        with self.lock:
            lock = self.activity_locks.setdefault(f"{arguments} {recording.session}", threading.Lock())
        with lock:  # configurations that differ only in the recognizer share the result
            kind = f"diarizer {' '.join(arguments)}"
            rttm = self.cache.get(kind, recording.session, key)
            if rttm is None:
                rttm = self.run_diarizer(arguments, effective, recording)
                self.cache.put(kind, recording.session, key, rttm)
        turns = Annotation(uri=recording.session)
        for number, line in enumerate(rttm.splitlines()):
            _, _, _, start, duration, _, _, speaker, *_ = line.split(" ")
            turns[Segment(float(start), float(start) + float(duration)), number] = speaker
        return turns

    def run_diarizer(self, arguments: list[str], effective: dict, recording: Recording) -> str:
        with tempfile.TemporaryDirectory() as scratch:
            wav, rttm = Path(scratch) / "audio.wav", Path(scratch) / "activity.rttm"
            self.worker().run(audio=str(recording.audio), wav=str(wav))
            command = [str(self.activity_program), *arguments, "--model-dir", self.paths["model-dir"],
                       "--diarization-model", self.paths["diarization-model"], "--precision", effective["precision"],
                       "--threads", effective["intra-op-threads"],
                       "--activity-threshold", NO_SPEAKER, "--activity-rttm", str(rttm), str(wav)]
            environment = {"ORT_DYLIB_PATH": str(REPOSITORY / ".onnxruntime/libonnxruntime.so"), **os.environ}
            if library := effective["onnxruntime-library"]:
                environment["ORT_DYLIB_PATH"] = library
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                printed = done.stderr.strip().splitlines()
                raise Problem(f"the diarizer failed: {printed[-1] if printed else f'exit code {done.returncode}'}")
            return rttm.read_text()


def segments(rows: list[dict], session: str) -> Annotation:
    """Converts the times of the segments of words to turns."""
    turns = Annotation(uri=session)
    for number, row in enumerate(rows):
        if row["start_time"] < row["end_time"]:
            turns[Segment(row["start_time"], row["end_time"]), number] = row["speaker"]
    return turns
