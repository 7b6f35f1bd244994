# SPDX-License-Identifier: MPL-2.0
"""Downloads single files from a Hugging Face hub. Interrupted downloads are resumed, and files are checked before they
get their final name.

`hf_hub_download` of huggingface_hub restarts interrupted downloads from the beginning (since about version 1.14, each
process has a separate temporary file). Therefore this module uses two functions of a lower level,
`get_hf_file_metadata` and `http_get`, with a partial file that outlives the process.
"""
import errno
import hashlib
import io
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (GatedRepoError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled,
                                    RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, logging
from huggingface_hub.utils.sha import git_hash, sha_fileobj

# Consecutive attempts that receive no data before giving up, in addition to the retries of http_get.
ATTEMPTS = 4
BUSY = {429, 500, 502, 503, 504}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SHA256, GIT_SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")

logging.set_verbosity_error()


class Refused(Exception):
    """An error with a one-line message for the user."""


class Damaged(Refused):
    """The received data is unusable."""


def format_size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


@dataclass(frozen=True)
class HubFile:
    """A file at one commit of a repository, as the hub describes it."""

    repo: str
    path: str
    commit: str
    size: int  # bytes
    digest: str  # sha256, or git's sha1 of the blob for small files that are not in LFS


def look_up(repo: str, path: str, revision: str) -> HubFile:
    """Queries the hub for a file's commit, size, and hash without downloading the file."""
    name = f"{repo}: {path}"
    endpoint = constants.ENDPOINT
    url = hf_hub_url(repo, path, revision=revision)
    try:
        try:
            found = get_hf_file_metadata(url)
        except HfHubHTTPError as error:
            if error.response.status_code not in BUSY:
                raise
            found = get_hf_file_metadata(url, retry_on_errors=True)
    except OfflineModeIsEnabled as error:
        raise Refused(f"{name} has to be downloaded, but HF_HUB_OFFLINE is set") from error
    except GatedRepoError as error:
        token = "the token in use has no access" if get_token() else "no token was found"
        raise Refused(f"{repo} is gated: {token}. Accept its conditions at {endpoint}/{repo}, and set HF_TOKEN to a "
                      f"token of that account") from error
    except RevisionNotFoundError as error:
        raise Refused(f"{repo}: expected revision {revision} at {endpoint}, found none") from error
    except RemoteEntryNotFoundError as error:
        raise Refused(f"{name}: expected this file in revision {revision} at {endpoint}, found none") from error
    except RepositoryNotFoundError as error:
        raise Refused(f"{repo}: expected this repository at {endpoint}, found none, or it is private: then set "
                      f"HF_TOKEN") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = ": set HF_TOKEN to a token with read access" if status in (401, 403) else ""
        raise Refused(f"{name}: {endpoint} answered with status {status}{hint}") from error
    except (httpx2.RequestError, httpx2.InvalidURL, HFValidationError) as error:
        raise Refused(f"cannot reach {endpoint}: {first_line(error)}. Check the network and the proxy, or set "
                      f"HF_ENDPOINT to a mirror") from error
    if found.commit_hash is None or found.etag is None or found.size is None:
        raise Refused(f"{endpoint} is not a Hugging Face hub: expected the commit, ETag, and size of {path}, found "
                      f"{found.commit_hash}, {found.etag}, and {found.size}. Check HF_ENDPOINT")
    return HubFile(repo, path, found.commit_hash, found.size, found.etag)


class Partial(io.FileIO):
    """A partially downloaded file. It is append-only and refuses to exceed the expected size."""

    def __init__(self, path: Path, size: int):
        super().__init__(path, "a")
        self.limit = size

    def write(self, data) -> int:
        if self.tell() + len(data) > self.limit:
            raise Damaged(f"{self.name}: expected {self.limit} bytes, found more; the file was deleted")
        view = memoryview(data)
        while view:
            view = view[super().write(view):]
        return len(data)


def partial_path(file: HubFile, target: Path) -> Path:
    # The name depends on the content, so that the start of one version is never continued with another.
    version = hashlib.sha256(file.digest.encode()).hexdigest()[:16]
    return target.with_name(f"{target.name}.{version}.incomplete")


def missing_bytes(file: HubFile, target: Path) -> int:
    """Returns the number of bytes that still have to be downloaded."""
    if target.exists():
        return 0 if target.stat().st_size == file.size else file.size
    partial = partial_path(file, target)
    return max(0, file.size - (partial.stat().st_size if partial.exists() else 0))


def difference(path: Path, file: HubFile) -> str | None:
    """Describes how the file at `path` differs from the expected one, or returns None if it does not."""
    size = path.stat().st_size
    if size != file.size:
        return f"expected {file.size} bytes, found {size}"
    if SHA256.fullmatch(file.digest):
        with path.open("rb") as data:
            found = sha_fileobj(data).hex()
        kind = "sha256"
    elif GIT_SHA1.fullmatch(file.digest):
        found, kind = git_hash(path.read_bytes()), "git's sha1"
    else:
        return None  # some mirrors have their own ETags
    return None if found == file.digest else f"expected {kind} {file.digest}, found {found}"


def receive(file: HubFile, partial: Partial):
    """Downloads the missing bytes, and retries after broken connections as long as data arrives."""
    url = hf_hub_url(file.repo, file.path, revision=file.commit)
    failures = 0
    while True:
        before = os.fstat(partial.fileno()).st_size
        try:
            # Compression is off, because a range of a compressed response is not a range of the file.
            headers = build_hf_headers(headers={"Accept-Encoding": "identity"})
            http_get(url, partial, resume_size=before, headers=headers, expected_size=file.size,
                     displayed_filename=Path(file.path).name)
            return
        except httpx2.TransportError as error:
            reason = first_line(error)
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise Refused(f"{file.repo}: {file.path}: {constants.ENDPOINT} answered with status "
                              f"{error.response.status_code}") from error
            reason = f"status {error.response.status_code}"
        except OSError as error:
            if error.errno is not None:
                raise
            reason = first_line(error)  # http_get received an unexpected size
        received = os.fstat(partial.fileno()).st_size
        failures = 0 if received > before else failures + 1
        if failures == ATTEMPTS:
            raise Refused(f"{file.repo}: {file.path}: the connection broke after {format_size(received)} of "
                          f"{format_size(file.size)}: {reason}. Run the command again to continue from there")
        time.sleep(failures)


def fetch(file: HubFile, target: Path):
    """Downloads the file to `target`, which appears only when it is complete and checked."""
    if target.exists() and difference(target, file) is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    path = partial_path(file, target)
    for other in target.parent.glob("*.incomplete"):
        if other.name.startswith(f"{target.name}.") and other != path:
            other.unlink()
    if path.exists() and path.stat().st_size > file.size:
        path.unlink()
    cached = try_to_load_from_cache(file.repo, file.path, revision=file.commit)
    try:
        if isinstance(cached, str) and difference(Path(cached), file) is None:
            shutil.copyfile(cached, path)
        else:
            with Partial(path, file.size) as partial:
                receive(file, partial)
                os.fsync(partial.fileno())
        if found := difference(path, file):
            raise Damaged(f"{target}: {found}; the file was deleted. Run the command again, or set HF_ENDPOINT to "
                          f"another mirror")
        os.replace(path, target)
    except Damaged:
        path.unlink(missing_ok=True)
        raise
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        received = path.stat().st_size if path.exists() else 0
        raise Refused(f"{target}: {os.strerror(error.errno)}: received {format_size(received)} of "
                      f"{format_size(file.size)}. Free some space, and run the command again to continue from there") from error
