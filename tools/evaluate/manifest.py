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

import meeteval
from pyannote.core import Annotation, Segment, Timeline


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
    except (ValueError, TypeError) as error:
        raise Problem(f"{path}: no SegLST: {error}") from None
    except KeyError as error:
        raise Problem(f"{path}: no SegLST: a row without {error}") from None
    return _of_session(rows, session, lambda row: row["session_id"], path)


def read_turns(path: Path, session: str) -> Annotation:
    """The turns of a recording in an RTTM."""
    try:
        lines = meeteval.io.RTTM.parse(path.read_text(encoding="utf-8")).lines
        spans = [(line, float(line.begin_time), float(line.duration)) for line in lines]
    except Exception as error:  # meeteval's reader raises whatever a line of another form leads to
        raise Problem(f"{path}: no RTTM: {' '.join(str(error).split()) or type(error).__name__}") from None
    if not spans:
        raise Problem(f"{path}: no RTTM: expected lines that begin with SPEAKER, found none")
    turns = Annotation(uri=session)
    for number, (line, start, duration) in enumerate(_of_session(spans, session, lambda span: span[0].filename, path)):
        turns[Segment(start, start + duration), number] = line.speaker_id
    return turns


def read_regions(path: Path, session: str) -> Timeline:
    """The scored regions of a recording in a UEM."""
    try:
        lines = meeteval.io.UEM.parse(path.read_text(encoding="utf-8")).lines
        regions = [(line.filename, Segment(float(line.begin_time), float(line.end_time))) for line in lines]
    except Exception as error:
        raise Problem(f"{path}: no UEM: {' '.join(str(error).split()) or type(error).__name__}") from None
    if not regions:
        raise Problem(f"{path}: no UEM: expected a line for each region, found none")
    return Timeline([region for _, region in _of_session(regions, session, lambda region: region[0], path)], uri=session)
