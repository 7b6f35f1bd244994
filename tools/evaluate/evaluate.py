#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Measures how accurately the element recognizes and separates speakers: cpWER, tcpWER, DER, JER, and real-time factor.

The element runs over each recording of MANIFEST (JSON Lines; manifest.py describes the format) in each configuration.
The terminal shows tables, and the folder of --out receives results.json, results.svg, and results.png. The folder also
caches transcripts, so the same command continues an evaluation that was stopped. The exit code is 1 if a recording
failed or nothing was recognized in it; the others are measured. docs/evaluation.md explains each figure.
"""
import argparse
import itertools
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import report
from manifest import Problem, Recording, References, read_manifest, read_references
from runs import REPOSITORY, Cache, Configuration, Hypothesis, Runner, write_atomically
from scores import combine, score_turns, score_words

# The default comparison includes nemo, because the published figures were measured with it.
TARGET_MODES = ["probability", "nemo"]
# These properties have separate options.
RESERVED = {"model-dir": "--models", "diarization-model": "--diarizer", "session-id": "the manifest"}


def fail(message: str):
    print(f"evaluate.py: {message}", file=sys.stderr)
    sys.exit(2)


def arguments():
    demo = REPOSITORY / "testdata/demo-models"
    model_dir = os.environ.get("MODEL_DIR")
    diarizer = os.environ.get("DIARIZATION_MODEL") or (None if model_dir else str(demo / "sortformer.onnx"))
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("manifest", type=Path, metavar="MANIFEST")
    a.add_argument("--out", type=Path, default=Path("evaluation"), help="folder of the results (default: %(default)s)")
    a.add_argument("--models", type=Path, default=Path(model_dir or demo), metavar="DIR",
                   help="model-dir of the element (default: MODEL_DIR, or the demo models)")
    a.add_argument("--diarizer", type=Path, default=diarizer and Path(diarizer), metavar="FILE",
                   help="diarization-model of the element (default: DIARIZATION_MODEL, or the demo model)")
    a.add_argument("--set", action="append", default=[], dest="sets", metavar="NAME=VALUE",
                   help="set a property of the element in all configurations")
    a.add_argument("--compare", action="append", default=[], dest="compares", metavar="NAME=VALUE,VALUE",
                   help="compare values of a property; several options produce all combinations "
                        f"(default: target-mode={','.join(TARGET_MODES)}, unless --set or --hypotheses is used)")
    a.add_argument("--hypotheses", action="append", default=[], metavar="NAME=DIR",
                   help="evaluate another system's DIR/SESSION.json (SegLST) and DIR/SESSION.rttm instead of the element")
    a.add_argument("--der-of", choices=["diarizer", "segments"], default="diarizer",
                   help="source of the turns for DER and JER: the diarizer's frames, or the times of the segments of words "
                        "(default: %(default)s)")
    a.add_argument("--diarizer-program", type=Path, default=REPOSITORY / "target/release/examples/transcribe_wav", metavar="FILE",
                   help="the compiled example transcribe_wav (default: %(default)s)")
    a.add_argument("--tcp-collar", type=float, default=5.0, metavar="SECONDS", help="collar of tcpWER (default: %(default)s)")
    a.add_argument("--jobs", type=int, default=1, metavar="N", help="number of recordings to process in parallel, each in a separate process (default: %(default)s)")
    return a.parse_args()


def pairs(options: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals or not name:
            fail(f"{option}: expected NAME=VALUE, found {text!r}")
        if name in RESERVED and option != "--hypotheses":
            fail(f"{option}: {name} is set by {RESERVED[name]}")
        found[name] = value
    return found


def configurations(o) -> list[Configuration]:
    sets, compares, folders = pairs(o.sets, "--set"), pairs(o.compares, "--compare"), pairs(o.hypotheses, "--hypotheses")
    found = [Configuration(name, folder=Path(folder)) for name, folder in folders.items()]
    for configuration in found:
        if not configuration.folder.is_dir():
            fail(f"--hypotheses: no folder {configuration.folder}")
    if folders and not sets and not compares:
        return found
    if not sets and not compares:
        compares = {"target-mode": ",".join(TARGET_MODES)}
    axes = [[(name, value) for value in values.split(",")] for name, values in compares.items()]
    for combination in itertools.product(*axes):
        name = ", ".join(f"{name}={value}" for name, value in combination)
        name = name or ", ".join(f"{name}={value}" for name, value in sets.items())
        found.append(Configuration(name, {**sets, **dict(combination)}))
    return found


def evaluate(runner: Runner, configuration: Configuration, recording: Recording, references: References, o) -> dict:
    """Returns the entry of one recording in results.json."""
    result = {"session": recording.session, "row": recording.row, "corpus": recording.corpus, "status": "ok"}
    try:
        hypothesis = runner.run(configuration, recording)
        found_s = hypothesis.audio_seconds
        if recording.duration is not None and found_s is not None and abs(recording.duration - found_s) > 1:
            raise Problem(f"duration: expected {recording.duration:g} s of audio, found {found_s:.1f} s in {recording.audio}")
        result["scores"] = scores = {}
        if references.words is not None:
            scores |= score_words(references.words, hypothesis.words, recording.session, o.tcp_collar)
        if references.turns is not None:
            scores |= score_turns(references.turns, hypothesis.turns, references.regions)
            result |= {"der_of": hypothesis.turns_from, "rttm_reference": recording.turns_from}
        result |= timing(hypothesis)
        if (scores.get("cpwer") or {}).get("words") and not any(row["words"].strip() for row in hypothesis.words):
            result |= {"status": "empty", "problem": "nothing was recognized"}
        elif scores.get("der_0", {}).get("spoken_s") and not hypothesis.turns:
            result |= {"status": "empty", "problem": "no speaker was found"}
    except Exception as problem:  # an exception in a scorer must not stop the other recordings
        text = str(problem) if isinstance(problem, Problem) else f"{type(problem).__name__}: {problem}"
        result |= {"status": "failed", "problem": text, "scores": {}}
    return result


def timing(hypothesis: Hypothesis) -> dict:
    if hypothesis.seconds is None:
        return {}
    return {"audio_seconds": hypothesis.audio_seconds, "seconds": hypothesis.seconds, "load_seconds": hypothesis.load_seconds,
            "real_time_factor": hypothesis.seconds / hypothesis.audio_seconds, "warnings": hypothesis.warnings}


def summary(results: list[dict]) -> dict:
    """Combines recordings: the sum of errors over the sum of reference words or times, without failed recordings."""
    good = [result for result in results if result["status"] != "failed"]
    timed = [result for result in good if "seconds" in result]
    audio, seconds = sum(r["audio_seconds"] for r in timed), sum(r["seconds"] for r in timed)
    return {"recordings": len(results), "failed": len(results) - len(good), "scores": combine([r["scores"] for r in good]),
            "real_time_factor": seconds / audio if audio else None,
            "der_of": sorted({r["der_of"] for r in good if "der_of" in r}),
            "rttm_references": sorted({r["rttm_reference"] for r in good if "rttm_reference" in r})}


def run_all(runner, found, recordings: list[tuple[Recording, References]], o, report_problem) -> dict[str, list[dict]]:
    """Returns the results of each configuration, sorted by row."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results = {configuration.name: [] for configuration in found}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("recordings", total=len(found) * len(recordings))
        executor = ThreadPoolExecutor(o.jobs)
        try:
            tasks = {executor.submit(evaluate, runner, c, r, references, o): (c, r) for r, references in recordings for c in found}
            for task in as_completed(tasks):
                configuration, recording = tasks[task]
                result = task.result()
                if "problem" in result:
                    report_problem(recording.row, recording.session, f"{result['problem']} ({configuration.name})")
                results[configuration.name].append(result)
                progress.advance(bar)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            runner.stop()
    for rows in results.values():
        rows.sort(key=lambda result: result["row"])
    return results


def main():
    o = arguments()
    if not o.manifest.is_file():
        fail(f"no file {o.manifest}")
    if o.jobs < 1:
        fail(f"--jobs: expected at least 1, found {o.jobs}")
    if not o.tcp_collar >= 0:
        fail(f"--tcp-collar: expected at least 0 seconds, found {o.tcp_collar}")
    found = configurations(o)
    runs_element = any(configuration.properties is not None for configuration in found)
    recordings, bad_rows = read_manifest(o.manifest)
    if not recordings and not bad_rows:
        fail(f"{o.manifest}: expected one JSON object per line, found no lines")
    with_references = []
    for recording in recordings:
        try:
            with_references.append((recording, read_references(recording)))
        except Problem as problem:
            bad_rows.append((recording.row, recording.session, str(problem)))
    der_of = o.der_of if o.diarizer else "segments"
    if runs_element:
        if not o.models.is_dir():
            fail(f"--models: no folder {o.models}")
        if o.diarizer and not o.diarizer.is_file():
            fail(f"--diarizer: no file {o.diarizer}")
        if der_of == "diarizer" and any(recording.turns for recording, _ in with_references) and not o.diarizer_program.is_file():
            fail(f"no program {o.diarizer_program}, which DER requires: run `cargo build --release --package multitalker-asr "
                 "--example transcribe_wav`, or use --der-of segments")

    problems = 0

    def report_problem(row: int, session: str, problem: str):
        nonlocal problems
        problems += 1
        print(f"evaluate.py: {o.manifest}, row {row} ({session}): {problem}", file=sys.stderr)

    for row in bad_rows:
        report_problem(*row)
    cache = Cache(o.out / "cache")
    runner = Runner(cache, o.models, o.diarizer, der_of, o.diarizer_program) if runs_element else \
        Runner(cache, Path(os.devnull), None, "segments", o.diarizer_program)
    try:
        for configuration in found:
            runner.check(configuration)
    except Problem as problem:
        runner.stop()
        fail(str(problem))
    results = run_all(runner, found, with_references, o, report_problem)

    failed_rows = [{"session": session, "row": row, "corpus": None, "status": "failed", "problem": problem, "scores": {}}
                   for row, session, problem in bad_rows]
    document = {"manifest": str(o.manifest), "tcp_collar_s": o.tcp_collar, "jobs": o.jobs, "configurations": []}
    for configuration in found:
        rows = sorted(results[configuration.name] + failed_rows, key=lambda result: result["row"])
        measured = results[configuration.name]
        corpora = {corpus: summary([r for r in measured if r["corpus"] == corpus]) for corpus in dict.fromkeys(r["corpus"] for r in measured)}
        document["configurations"].append({
            "name": configuration.name, "properties": configuration.properties,
            "hypotheses": str(configuration.folder) if configuration.folder else None,
            "recordings": rows, "corpora": corpora, "overall": summary(rows)})
    if runs_element:
        document |= {"models": str(o.models), "diarizer": o.diarizer and str(o.diarizer)}
    document["published"] = report.published_for({c for d in document["configurations"] for c in d["corpora"]})

    write_atomically(o.out / "results.json", json.dumps(document, indent=1, ensure_ascii=False).encode())
    report.write_plots(document, o.out)
    report.print_tables(document, Console())
    print(f"\n{o.out / 'results.json'}, results.svg, results.png")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
