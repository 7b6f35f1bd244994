#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Downloads a recognizer and a diarizer from the Hugging Face Hub, and prepares them.

The downloads are stored in MODELS/published; each file is checked before it gets its final name. The pair that the
plugin runs is written to MODELS/multitalker: encoder, decoder_joint, tokenizer.model, multitalker_config.json, and
sortformer.onnx. SOURCE.json records their origin. The command respects HF_ENDPOINT, HF_HOME, HF_TOKEN, and the other
variables of huggingface_hub.
"""
import argparse
import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

import hub
from hub import HubFile, Refused, format_size

TOOLS = Path(__file__).resolve().parent.parent
PAIR, PUBLISHED = "multitalker", "published"


class Download(NamedTuple):
    file: HubFile
    target: Path


def read_json(path: Path) -> dict:
    """Returns the JSON object in a file of this tool, or an empty one if the file does not exist."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Refused(f"{path}: expected JSON, found: {error}. Delete the file") from error
    if not isinstance(value, dict):
        raise Refused(f"{path}: expected a JSON object, found {type(value).__name__}. Delete the file")
    return value


def write_json(path: Path, value: dict):
    partial = path.with_name(f"{path.name}.incomplete")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


@contextlib.contextmanager
def locked(models: Path):
    """Ensures that only one process at a time works in the folder."""
    models.mkdir(parents=True, exist_ok=True)
    with (models / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"{models}: another `make models` is using this folder") from error
        for leftover in models.glob(".new-*"):  # from a process that was killed
            shutil.rmtree(leftover)
        yield


def request_of(table: dict, o: argparse.Namespace) -> dict:
    """Returns the request as recorded in SOURCE.json."""
    def part(kind: str, name: str) -> dict:
        entry = table[kind][name]
        files = [file for file in entry["files"] if file.get("form", o.form) == o.form]
        return {**{key: entry[key] for key in ("repo", "revision", "license")}, "files": files}

    return {"form": o.form, "prepared": o.prepare == "yes",
            "recognizer": part("recognizers", o.recognizer), "diarizer": part("diarizers", o.diarizer)}


def is_complete(pair: Path, request: dict) -> bool:
    source = read_json(pair / "SOURCE.json")
    sizes = source.get("sizes", {})
    return source.get("request") == request and all(
        (pair / name).is_file() and (pair / name).stat().st_size == size for name, size in sizes.items())


def accept_licenses(models: Path, licenses: list[dict], accepted: bool):
    """Asks once for each license and stores the answer in the folder."""
    path = models / "licenses.json"
    known = read_json(path)
    new = [license for license in licenses if license["name"] not in known]
    for license in new:
        print(f"The files are licensed under the {license['name']}: {license['url']}")
    if new and not accepted:
        if not sys.stdin.isatty():
            raise Refused("the license must be accepted first: run the command on a terminal, or set ACCEPT_LICENSE=yes")
        try:
            answer = input(f"Do you accept {'it' if len(new) == 1 else 'them'}? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise Refused("the license was not accepted, so nothing was downloaded")
    if new:
        today = datetime.date.today().isoformat()
        write_json(path, known | {l["name"]: {"url": l["url"], "accepted": today} for l in new})


def look_up(models: Path, part: dict, folder: str) -> list[Download]:
    """Queries the hub for the files of a recognizer or diarizer, all at the same commit."""
    path = models / "revisions.json"
    repo, revision = part["repo"], part["revision"]
    commits = read_json(path)
    key = f"{repo}@{revision}"
    commit = commits.get(key, revision)
    found = []
    for known in part["files"]:
        file = hub.look_up(repo, known["path"], commit)
        if "sha256" in known and not hub.SHA256.fullmatch(file.digest):
            file = dataclasses.replace(file, digest=known["sha256"])  # the mirror has its own ETags
        for what, value in (("size", file.size), ("sha256", file.digest)):
            if what in known and known[what] != value:
                raise Refused(f"{repo}: {file.path}: expected {what} {known[what]}, found {value} in revision "
                              f"{file.commit}; the file was not downloaded")
        commit = file.commit
        found.append(Download(file, models / PUBLISHED / folder / repo / file.path))
    if commits.get(key) != commit:
        write_json(path, commits | {key: commit})
    return found


def check_space(models: Path, downloads: int, files: list[Download], request: dict):
    """Raises an error before the download if there is not enough disk space."""
    graphs = [d.file.size * (4 if ".int8." in d.file.path else 1) for d in files if ".onnx" in d.file.path]
    if not request["prepared"]:
        pair = sum(d.file.size for d in files)
    elif request["form"] == "fp32":
        pair = sum(graphs)
    else:  # prepare.py first writes floats, one graph at a time, and keeps a quarter of each
        pair = max(graphs) + sum(graphs) // 4
    free = shutil.disk_usage(models).free
    if downloads + pair > free:
        raise Refused(f"{models}: expected {format_size(downloads)} of free disk space for the downloads and "
                      f"{format_size(pair)} for the prepared pair, found {format_size(free)}")


def assemble(models: Path, recognizer: list[Download], diarizer: list[Download], request: dict):
    """Replaces the pair with one made from the downloaded files."""
    with tempfile.TemporaryDirectory(dir=models, prefix=".new-") as folder:
        new = Path(folder, "pair")
        sortformer = diarizer[0].target
        if request["prepared"]:
            print("preparing the models, which takes a few minutes", flush=True)
            made = subprocess.run([sys.executable, TOOLS / "prepare-models/prepare.py", recognizer[0].target.parent, new,
                                   "--diarization-model", sortformer, "--precision", request["form"]])
            if made.returncode:
                reason = ("for the reason above" if made.returncode > 0 else
                          f"because prepare.py was killed by signal {-made.returncode}: it needs 7 GiB of memory")
                raise Refused(f"the models could not be prepared {reason}. The downloads are kept, and PREPARE=no "
                              f"uses them without changes")
            # Only the graph is renamed, because it contains the name of the file with its weights.
            suffix = ".int8.onnx" if request["form"] == "int8" else ".onnx"
            (new / sortformer.with_suffix(suffix).name).rename(new / "sortformer.onnx")
        else:
            # The files are copied, because the onnx package refuses weights in hard-linked files.
            new.mkdir()
            for download in recognizer:
                shutil.copyfile(download.target, new / download.target.name)
            shutil.copyfile(sortformer, new / "sortformer.onnx")
        write_json(new / "SOURCE.json", {
            "request": request, "endpoint": hub.constants.ENDPOINT,
            "recognizer": describe(recognizer), "diarizer": describe(diarizer),
            "sizes": {path.name: path.stat().st_size for path in sorted(new.iterdir())}})
        pair = models / PAIR
        if pair.exists():
            pair.rename(Path(folder, "old"))
        new.rename(pair)


def describe(part: list[Download]) -> dict:
    files = [download.file for download in part]
    return {"repo": files[0].repo, "commit": files[0].commit,
            "files": {file.path: {"size": file.size, "digest": file.digest} for file in files}}


def run(table: dict, o: argparse.Namespace):
    models, request = o.models, request_of(table, o)
    pair = models / PAIR
    with locked(models):
        if is_complete(pair, request):
            print(f"{pair}: the models are up to date")
            return
        if pair.exists() and not (pair / "SOURCE.json").exists():
            raise Refused(f"{pair}: expected a folder of this tool with SOURCE.json, found one without it: move the folder away")
        licenses = {request[part]["license"]: None for part in ("recognizer", "diarizer")}
        accept_licenses(models, [table["licenses"][name] for name in licenses], o.accept_license)
        # Each form has a separate folder, because prepare.py prefers the floats in a folder with both.
        recognizer = look_up(models, request["recognizer"], f"recognizer-{o.form}")
        diarizer = look_up(models, request["diarizer"], "diarizer")
        downloads = [*recognizer, *diarizer]
        missing = sum(hub.missing_bytes(*download) for download in downloads)
        check_space(models, missing, downloads, request)
        print(f"{len(downloads)} files, {format_size(sum(d.file.size for d in downloads))}, of which "
              f"{format_size(missing)} will be downloaded from {hub.constants.ENDPOINT} into {models / PUBLISHED}",
              flush=True)
        for file, target in downloads:
            print(f"{file.repo}: {file.path}, {format_size(file.size)}, commit {file.commit[:12]}", flush=True)
            hub.fetch(file, target)
        assemble(models, recognizer, diarizer, request)
    print(f"{pair}: the models are ready. Try them with `make demo`, or set "
          f"model-dir={pair} diarization-model={pair / 'sortformer.onnx'}")


def main():
    here = Path(__file__).resolve().parent
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--published", type=Path, default=here / "published.toml",
                   help="table of the published files (default: the one next to this program)")
    known, _ = a.parse_known_args([x for x in sys.argv[1:] if x not in ("-h", "--help")])
    try:
        table = tomllib.loads(known.published.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"fetch.py: {known.published}: {error}")
    a.add_argument("--models", type=Path, default=Path("models"), help="folder for downloads and models (default: models)")
    a.add_argument("--form", choices=["int8", "fp32"], default="int8")
    a.add_argument("--recognizer", choices=list(table["recognizers"]), default="smcleod",
                   help="publisher of the recognizer's files (default: smcleod)")
    a.add_argument("--diarizer", choices=list(table["diarizers"]), default="v2.1", help="version of Sortformer")
    a.add_argument("--prepare", choices=["yes", "no"], default="yes",
                   help="rewrite the files into faster ones with tools/prepare-models (default: yes)")
    a.add_argument("--accept-license", action="store_true", default=os.environ.get("ACCEPT_LICENSE") == "yes",
                   help="accept the licenses without a prompt (also ACCEPT_LICENSE=yes)")
    try:
        run(table, a.parse_args())
    except KeyboardInterrupt:
        print("\nfetch.py: interrupted; run the command again to continue from there", file=sys.stderr)
        sys.exit(130)
    except (Refused, OSError) as error:
        sys.exit(f"fetch.py: {error}")


if __name__ == "__main__":
    main()
