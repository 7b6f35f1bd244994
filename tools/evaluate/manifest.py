# SPDX-License-Identifier: MPL-2.0
"""The rows of a manifest, and the references that they name.

A manifest is NeMo's: one JSON object a line. `audio_filepath` is any file that GStreamer decodes;
`seglst_filepath` holds the words (SegLST), `rttm_filepath` the turns, and `uem` (or `uem_filepath`) the
scored regions; at least one of the first two is there. `session_id` names the recording, and is else the
name of the audio file without its suffix. `corpus` is the name under which figures were published, and
`rttm_reference` says where the turns come from. Relative paths begin at the manifest's folder.
"""
import json
from dataclasses import dataclass
from pathlib import Path

from pyannote.core import Annotation, Segment, Timeline

# Lines of NIST's RTTM that say something else than who speaks when.
OTHER_RTTM_TYPES = {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "IP", "SU", "CB",
                    "A/P", "SPKR-INFO"}


class Problem(Exception):
    """What is wrong with one recording, in one line."""


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
    duration: float | None  # seconds, as the manifest has it


def read_manifest(path: Path) -> tuple[list[Recording], list[tuple[int, str, str]]]:
    """The recordings, and (row, name, problem) of the rows that are none."""
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
                raise Problem(f"session_id: expected a name of its own, found {name!r} of row {sessions[name]} again")
            sessions[name] = number
            recordings.append(recording)
        except Problem as problem:
            problems.append((number, name, str(problem)))
    return recordings, problems


def _object(line: bytes) -> dict:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise Problem(f"expected a JSON object, found what is no JSON: {error}") from None
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
        raise Problem("no reference: expected a seglst_filepath, an rttm_filepath or both")
    if row.get("offset"):
        raise Problem(f"offset: expected 0, since whole recordings are evaluated, found {row['offset']!r}")
    duration = row.get("duration")
    if duration is not None and not isinstance(duration, (int, float)):
        raise Problem(f"duration: expected seconds, found {duration!r}")
    return Recording(number, name, audio, words, turns, file("uem", "uem_filepath"), text("corpus") or "",
                     text("rttm_reference") or "of unstated origin", duration)


def _of_session(rows: list, session: str, session_of, path: Path) -> list:
    """The rows of one recording in a file of several; a file of only one may call it otherwise."""
    names = {session_of(row) for row in rows}
    if len(names) > 1:
        if session not in names:
            raise Problem(f"{path}: expected rows of {session!r}, found those of {', '.join(sorted(map(repr, names))[:5])}")
        rows = [row for row in rows if session_of(row) == session]
    return rows


def read_words(path: Path, session: str) -> list[dict]:
    """The SegLST rows of a recording."""
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
        raise Problem(f"{path}: no SegLST: {error}") from None
    except KeyError as error:
        raise Problem(f"{path}: no SegLST: a row without {error}") from None
    return _of_session(rows, session, lambda row: row["session_id"], path)


def _fields(path: Path, kind: str, form: str) -> list[tuple[int, list[str]]]:
    """(number, fields) of the lines that are no comments."""
    try:
        lines = [(number, line.split()) for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    except (OSError, ValueError) as error:
        raise Problem(f"{path}: no {kind}: {error}") from None
    lines = [(number, fields) for number, fields in lines if fields and not fields[0].startswith(";")]
    if not lines:
        raise Problem(f"{path}: no {kind}: expected lines {form}, found none")
    return lines


def _span(start: str, length: str, path: Path, number: int, ends: bool) -> Segment:
    """The times of a line; `length` is the end or the duration."""
    try:
        begin, end = float(start), float(length)
        end += 0 if ends else begin
        if 0 <= begin <= end < float("inf"):
            return Segment(begin, end)
    except ValueError:
        pass
    raise Problem(f"{path}, line {number}: expected times in seconds, found {start!r} and {length!r}")


def read_turns(path: Path, session: str) -> Annotation:
    """The turns of a recording in an RTTM."""
    form = "SPEAKER SESSION 1 START DURATION <NA> <NA> NAME"
    spans = []
    for number, fields in _fields(path, "RTTM", form):
        if fields[0] in OTHER_RTTM_TYPES:
            continue
        if fields[0] != "SPEAKER" or len(fields) < 8:
            raise Problem(f"{path}, line {number}: no RTTM: expected {form}, found {' '.join(fields)[:80]!r}")
        spans.append((fields[1], _span(fields[3], fields[4], path, number, ends=False), fields[7]))
    turns = Annotation(uri=session)
    for number, (_, span, speaker) in enumerate(_of_session(spans, session, lambda span: span[0], path)):
        turns[span, number] = speaker
    return turns


def read_regions(path: Path, session: str) -> Timeline:
    """The scored regions of a recording in a UEM."""
    form = "SESSION 1 START END"
    regions = []
    for number, fields in _fields(path, "UEM", form):
        if len(fields) != 4:
            raise Problem(f"{path}, line {number}: no UEM: expected {form}, found {' '.join(fields)[:80]!r}")
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
