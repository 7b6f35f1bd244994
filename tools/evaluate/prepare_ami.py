#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes manifests for evaluate.py from the AMI corpus: the test split, headset mix and one distant microphone.

CORPUS is the folder of the downloaded corpus, with MEETING/audio/MEETING.Mix-Headset.wav and MEETING.Array1-01.wav in
any subfolder. The words are read from the manual annotations, version 1.6.2, as a folder or as the zip file. The turns
are read from a checkout of diar-forced-alignment (AMI/test/*.rttm; published DERs are measured against these) or of
AMI-diarization-setup (only_words/rttms/test/*.rttm, with uems/test/*.uem), or from any folder of MEETING.rttm files.

Writes OUT/ihm-mix.jsonl, OUT/sdm.jsonl, and OUT/words/MEETING.json. Incomplete meetings are reported and left out, and
the exit code is then 1.
"""
import argparse
import json
import re
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

# The test split of the corpus's partition "full-corpus-ASR".
MEETINGS = [f"{series}{part}" for series in ("EN2002", "ES2004", "IS1009", "TS3003") for part in "abcd"]
MICROPHONES = {"ihm-mix": ("AMI IHM-mix", "{}.Mix-Headset.wav"), "sdm": ("AMI SDM", "{}.Array1-01.wav")}
ANNOTATIONS = "ami_public_manual_1.6.2"
TURNS = {"AMI/test": "forced alignment of the words (diar-forced-alignment)",
         "only_words/rttms/test": "word times of the manual annotation (AMI-diarization-setup, only_words)"}
ID = "{http://nite.sourceforge.net/}id"
CHILD = "{http://nite.sourceforge.net/}child"
RANGE = re.compile(r"#id\(([^)]+)\)(?:\.\.id\(([^)]+)\))?$")


class Problem(Exception):
    pass


def read_xml(path) -> ElementTree.Element:
    try:
        with path.open("rb") as file:
            return ElementTree.parse(file).getroot()
    except (OSError, KeyError):
        raise Problem(f"no file {path}") from None
    except ElementTree.ParseError as error:
        raise Problem(f"{path}: invalid XML: {error}") from None


def seconds(element, name: str) -> float | None:
    """Returns a time attribute, or None for words without times."""
    try:
        return float(element.get(name, ""))
    except ValueError:
        return None


def speakers(annotations, meeting: str) -> dict[str, str]:
    """Returns the corpus-wide name of the speaker on each channel, A to E."""
    path = annotations / "corpusResources" / "meetings.xml"
    for element in read_xml(path).iter("meeting"):
        if element.get("observation") == meeting:
            return {speaker.get("nxt_agent"): speaker.get("global_name") for speaker in element.iter("speaker")}
    raise Problem(f"{path}: no meeting {meeting}")


def segments(annotations, meeting: str, agent: str, speaker: str) -> list[dict]:
    """Returns one SegLST row for each of the transcribers' segments, with the times of its words."""
    words_path = annotations / "words" / f"{meeting}.{agent}.words.xml"
    segments_path = annotations / "segments" / f"{meeting}.{agent}.segments.xml"
    if not words_path.exists() and not segments_path.exists():
        return []  # a participant of the meeting who was not recorded
    # The words file also contains vocal sounds, gaps, and disfluency markers, and a range may begin or end with one.
    elements = list(read_xml(words_path))
    places = {element.get(ID): place for place, element in enumerate(elements)}
    rows, used = [], set()
    for segment in read_xml(segments_path).iter("segment"):
        spoken, starts, ends = [], [], []
        for child in segment.iter(CHILD):
            href = child.get("href", "")
            ids = RANGE.search(href)
            first, last = (ids.group(1), ids.group(2) or ids.group(1)) if ids else (None, None)
            if first not in places or last not in places:
                raise Problem(f"{segments_path}: expected a range of {words_path.name}, found {href!r}")
            for place in range(places[first], places[last] + 1):
                element = elements[place]
                text = (element.text or "").strip()
                if element.tag == "w" and element.get("punc") != "true" and text:
                    used.add(place)
                    spoken.append(text.replace("_", ""))  # a spelled word, L_C_D_, is recognized as LCD
                    starts.append(seconds(element, "starttime"))
                    ends.append(seconds(element, "endtime"))
        if spoken:
            start = min((time for time in starts if time is not None), default=seconds(segment, "transcriber_start"))
            end = max((time for time in ends if time is not None), default=seconds(segment, "transcriber_end"))
            if start is None or end is None or start > end:
                raise Problem(f"{segments_path}: segment {segment.get(ID)}: expected times in order, found {start} and {end}")
            rows.append({"session_id": meeting, "speaker": speaker, "words": " ".join(spoken), "start_time": start, "end_time": end})
    lost = [place for place, element in enumerate(elements)
            if element.tag == "w" and element.get("punc") != "true" and (element.text or "").strip() and place not in used]
    if lost:
        print(f"prepare_ami.py: {words_path}: {len(lost)} words are in no segment and are left out", file=sys.stderr)
    return rows


def words(annotations, meeting: str) -> list[dict]:
    rows = [row for agent, name in speakers(annotations, meeting).items() for row in segments(annotations, meeting, agent, name)]
    if not rows:
        raise Problem(f"{annotations}: no words of {meeting}")
    return sorted(rows, key=lambda row: (row["start_time"], row["speaker"]))


def turns_folder(folder: Path, reference: str | None) -> tuple[Path, str]:
    """Returns the folder of the MEETING.rttm files and a description of their origin."""
    for below, name in TURNS.items():
        if (folder / below).is_dir():
            return folder / below, reference or name
    if any(folder.glob("*.rttm")):
        return folder, reference or f"from {folder}"
    sys.exit(f"prepare_ami.py: --rttms: expected one of {', '.join(TURNS)} or *.rttm in {folder}, found none")


def prepare(meeting: str, wav: Path, written: Path, rttm: Path, uem: Path, corpus: str, reference: str) -> dict:
    if not rttm.is_file():
        raise Problem(f"no file {rttm}")
    row = {"audio_filepath": str(wav.resolve()), "session_id": meeting, "corpus": corpus,
           "seglst_filepath": str(written.resolve()), "rttm_filepath": str(rttm.resolve()), "rttm_reference": reference}
    if uem.is_file():
        row["uem"] = str(uem.resolve())
    return row


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("corpus", type=Path, metavar="CORPUS")
    a.add_argument("--rttms", type=Path, required=True, metavar="DIR", help="checkout of diar-forced-alignment or AMI-diarization-setup, or a folder of RTTMs")
    a.add_argument("--rttm-reference", metavar="TEXT", help="origin of the RTTMs, shown in the tables")
    a.add_argument("--annotations", type=Path, metavar="PATH", help=f"folder or zip file (default: CORPUS/{ANNOTATIONS}, or .zip)")
    a.add_argument("--out", type=Path, default=Path("ami"), metavar="DIR", help="(default: %(default)s)")
    o = a.parse_args()
    if not o.corpus.is_dir():
        a.error(f"no folder {o.corpus}")
    at = o.annotations or next((p for p in (o.corpus / ANNOTATIONS, o.corpus / f"{ANNOTATIONS}.zip") if p.exists()), None)
    if at is None or not at.exists():
        a.error(f"no annotations at {at or o.corpus / ANNOTATIONS}: use --annotations")
    try:
        annotations = zipfile.Path(at) if at.is_file() else at
    except zipfile.BadZipFile as error:
        a.error(f"{at}: {error}")
    rttms, reference = turns_folder(o.rttms, o.rttm_reference)
    uems = o.rttms / "uems/test"
    audio = {path.name: path for path in o.corpus.rglob("*.wav")}

    problems, written = [], {}
    for name, (corpus, pattern) in MICROPHONES.items():
        if not any(pattern.format(meeting) in audio for meeting in MEETINGS):
            print(f"prepare_ami.py: {name}: no {pattern.format('MEETING')} in {o.corpus}, so no manifest was written")
            continue
        rows = []
        for meeting in MEETINGS:
            try:
                if pattern.format(meeting) not in audio:
                    raise Problem(f"no {pattern.format(meeting)} in {o.corpus}")
                if meeting not in written:
                    text = json.dumps(words(annotations, meeting), indent=1, ensure_ascii=False)
                    written[meeting] = o.out / "words" / f"{meeting}.json"
                    written[meeting].parent.mkdir(parents=True, exist_ok=True)
                    written[meeting].write_text(text + "\n", encoding="utf-8")
                wav = audio[pattern.format(meeting)]
                rows.append(prepare(meeting, wav, written[meeting], rttms / f"{meeting}.rttm", uems / f"{meeting}.uem", corpus, reference))
            except Problem as problem:
                problems.append(f"{name}, {meeting}: {problem}")
        if rows:
            manifest = o.out / f"{name}.jsonl"
            manifest.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            print(f"{manifest}: {len(rows)} of {len(MEETINGS)} meetings")
    for problem in problems:
        print(f"prepare_ami.py: {problem}", file=sys.stderr)
    sys.exit(1 if problems or not written else 0)


if __name__ == "__main__":
    main()
