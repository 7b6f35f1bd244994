# SPDX-License-Identifier: MPL-2.0
"""Reads the rows of a manifest and the references that they name.

A manifest has NeMo's format: one JSON object per line. `audio_filepath` is any file that GStreamer decodes.
`seglst_filepath` contains the words (SegLST), `rttm_filepath` the turns, and `uem` (or `uem_filepath`) the
scored regions; at least one of words and turns is required. `session_id` is the name of the recording; its
default is the name of the audio file without its suffix. `corpus` is the name under which figures are
published, and `rttm_reference` describes the origin of the turns. Relative paths are relative to the
manifest's folder.
"""
import json
from dataclasses import dataclass
from pathlib import Path

from pyannote.core import Annotation, Segment, Timeline

# Types of RTTM lines that do not describe speaker turns.
OTHER_RTTM_TYPES = {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "IP", "SU", "CB",
                    "A/P", "SPKR-INFO"}


class Problem(Exception):
    """A one-line description of a problem with one recording."""


@dataclass(frozen=True)
class Recording:
    row: int  # from 1
    session: str
    audio: Path
    words: Path | None
    turns: Path | None
    regions: Path | None
    corpus: str
    turns_from: str
    duration: float | None  # seconds, from the manifest


def read_manifest(path: Path) -> tuple[list[Recording], list[tuple[int, str, str]]]:
    """Returns the recordings, and (row, name, problem) for each invalid row."""
    recordings, problems, sessions = [], [], {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        name = f"row {number}"
        try:
            row = _object(line)
            name = str(row.get("session_id") or Path(str(row.get("audio_filepath") or name)).stem)
            recording = _recording(path.parent, number, name, row)
            if name in sessions:
                raise Problem(f"session_id: expected a unique name, found {name!r} as in row {sessions[name]}")
            sessions[name] = number
            recordings.append(recording)
        except Problem as problem:
            problems.append((number, name, str(problem)))
    return recordings, problems


def _object(line: bytes) -> dict:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Problem(f"expected a JSON object, found invalid JSON: {error}") from None
    if not isinstance(row, dict):
        raise Problem(f"expected a JSON object, found {type(row).__name__}")
    return row


def _recording(folder: Path, number: int, name: str, row: dict) -> Recording:
    def text(key: str) -> str | None:
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            raise Problem(f"{key}: expected a string, found {value!r}")
        return value or None

    def file(*keys: str) -> Path | None:
        for key in keys:
            if value := text(key):
                if not (folder / value).is_file():
                    raise Problem(f"{key}: no file {folder / value}")
                return folder / value
        return None

    text("session_id")
    audio, words, turns = file("audio_filepath"), file("seglst_filepath"), file("rttm_filepath")
    if audio is None:
        raise Problem("expected an audio_filepath, found none")
    if words is None and turns is None:
        raise Problem("no reference: expected a seglst_filepath, an rttm_filepath, or both")
    if row.get("offset"):
        raise Problem(f"offset: expected 0, because only entire recordings are evaluated, found {row['offset']!r}")
    duration = row.get("duration")
    if duration is not None and not isinstance(duration, (int, float)):
        raise Problem(f"duration: expected seconds, found {duration!r}")
    return Recording(number, name, audio, words, turns, file("uem", "uem_filepath"), text("corpus") or "",
                     text("rttm_reference") or "of unstated origin", duration)


def _of_session(rows: list, session: str, session_of, path: Path) -> list:
    """Selects the rows of one recording. In a file with a single recording, the name may differ."""
    names = {session_of(row) for row in rows}
    if len(names) > 1:
        if session not in names:
            raise Problem(f"{path}: expected rows of {session!r}, found only {', '.join(sorted(map(repr, names))[:5])}")
        rows = [row for row in rows if session_of(row) == session]
    return rows


def read_words(path: Path, session: str) -> list[dict]:
    """Reads the SegLST rows of a recording."""
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list):
            raise ValueError(f"expected an array, found {type(rows).__name__}")
        rows = [{"session_id": str(row["session_id"]), "speaker": str(row["speaker"]), "words": str(row["words"]),
                 "start_time": float(row["start_time"]), "end_time": float(row["end_time"])} for row in rows]
        for row in rows:
            if not row["start_time"] <= row["end_time"]:
                raise ValueError(f"a segment from {row['start_time']} to {row['end_time']} s")
    except (OSError, ValueError, TypeError) as error:
        raise Problem(f"{path}: invalid SegLST: {error}") from None
    except KeyError as error:
        raise Problem(f"{path}: invalid SegLST: a row without {error}") from None
    return _of_session(rows, session, lambda row: row["session_id"], path)


def _fields(path: Path, kind: str, form: str) -> list[tuple[int, list[str]]]:
    """Returns (number, fields) of all lines that are not comments."""
    try:
        lines = [(number, line.split()) for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    except (OSError, ValueError) as error:
        raise Problem(f"{path}: invalid {kind}: {error}") from None
    lines = [(number, fields) for number, fields in lines if fields and not fields[0].startswith(";")]
    if not lines:
        raise Problem(f"{path}: invalid {kind}: expected lines {form}, found none")
    return lines


def _span(start: str, length: str, path: Path, number: int, ends: bool) -> Segment:
    """Parses the times of a line. `length` is the end if `ends` is set, otherwise the duration."""
    try:
        begin, end = float(start), float(length)
        end += 0 if ends else begin
        if 0 <= begin <= end < float("inf"):
            return Segment(begin, end)
    except ValueError:
        pass
    raise Problem(f"{path}, line {number}: expected times in seconds, found {start!r} and {length!r}")


def read_turns(path: Path, session: str) -> Annotation:
    """Reads the turns of a recording from an RTTM file."""
    form = "SPEAKER SESSION 1 START DURATION <NA> <NA> NAME"
    spans = []
    for number, fields in _fields(path, "RTTM", form):
        if fields[0] in OTHER_RTTM_TYPES:
            continue
        if fields[0] != "SPEAKER" or len(fields) < 8:
            raise Problem(f"{path}, line {number}: invalid RTTM: expected {form}, found {' '.join(fields)[:80]!r}")
        spans.append((fields[1], _span(fields[3], fields[4], path, number, ends=False), fields[7]))
    turns = Annotation(uri=session)
    for number, (_, span, speaker) in enumerate(_of_session(spans, session, lambda span: span[0], path)):
        turns[span, number] = speaker
    return turns


def read_regions(path: Path, session: str) -> Timeline:
    """Reads the scored regions of a recording from a UEM file."""
    form = "SESSION 1 START END"
    regions = []
    for number, fields in _fields(path, "UEM", form):
        if len(fields) != 4:
            raise Problem(f"{path}, line {number}: invalid UEM: expected {form}, found {' '.join(fields)[:80]!r}")
        regions.append((fields[0], _span(fields[2], fields[3], path, number, ends=True)))
    return Timeline([region for _, region in _of_session(regions, session, lambda region: region[0], path)], uri=session)


@dataclass(frozen=True)
class References:
    words: list[dict] | None
    turns: Annotation | None
    regions: Timeline | None


def read_references(recording: Recording) -> References:
    return References(
        read_words(recording.words, recording.session) if recording.words else None,
        read_turns(recording.turns, recording.session) if recording.turns else None,
        read_regions(recording.regions, recording.session) if recording.regions else None)
