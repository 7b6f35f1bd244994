#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Serves the part of the Hugging Face Hub's protocol that downloads use, on loopback, and simulates faults.

The argument is a JSON file: {"prefix": path prefix of all URLs, "log": file that receives a line of JSON per request,
"token": token for gated repositories, "repos": {"owner/name": {"gated": bool, "files": {path: local file}}},
"faults": {path: fault}}. The server prints its port and exits when its standard input ends. A fault of a file has one
or more of these keys:

- "cut": number of bytes before the connection closes, with an RST if "reset" is true; "times": how often (default 1)
- "stall": number of bytes after which no more data is sent; "times": how often (default 1)
- "status": status of the response instead of the content; "busy": number of preceding responses with 503
- "damage": true changes the first byte; "size": size to announce instead of the true one; "ignore_range": true

Like the real Hub, the server responds to HEAD and GET of /owner/name/resolve/REVISION/PATH with the headers
X-Repo-Commit, ETag, X-Linked-Size, and X-Linked-Etag. It redirects large files (*.onnx, *.data, and *.model) to another
host, here `localhost`, which must not receive the token, and small files to a relative URL.
"""
import hashlib
import json
import os
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

CONFIG = json.loads(Path(sys.argv[1]).read_text())
PREFIX, FAULTS = CONFIG.get("prefix", ""), CONFIG.get("faults", {})
LOCK = threading.Lock()
NEVER = threading.Event()


def commit(repo: str) -> str:
    return hashlib.sha1(repo.encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def log(self, path: str, status: int, **more):
        host = self.headers.get("Host", "").split(":")[0]
        entry = {"method": self.command, "host": host, "path": path, "status": status,
                 "range": self.headers.get("Range"), "authorization": self.headers.get("Authorization"), **more}
        with LOCK, open(CONFIG["log"], "a") as log:
            log.write(json.dumps(entry) + "\n")

    def answer(self, status: int, headers: dict, path: str):
        self.log(path, status)
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_HEAD(self):
        self.respond()

    def do_GET(self):
        self.respond()

    def respond(self):
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/content/"):
            return self.content(path.removeprefix("/content/"))
        if not path.startswith(f"{PREFIX}/"):
            return self.answer(404, {}, path)
        owner, name, *rest = path.removeprefix(f"{PREFIX}/").split("/")
        repo = f"{owner}/{name}"
        known = CONFIG["repos"].get(repo)
        if known is None or len(rest) < 3 or rest[0] != "resolve":
            return self.answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, path)
        if known.get("gated") and self.headers.get("Authorization") != f"Bearer {CONFIG.get('token')}":
            return self.answer(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, path)
        revision, file = rest[1], "/".join(rest[2:])
        if revision not in ("main", commit(repo)):
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"}, path)
        if file not in known["files"]:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit(repo)}, path)
        data = Path(known["files"][file]).read_bytes()
        fault = FAULTS.setdefault(file, {})
        with LOCK:
            fault["busy"] = fault.get("busy", 0) - 1
        if fault["busy"] >= 0:
            return self.answer(503, {}, path)
        headers = {"X-Repo-Commit": commit(repo), "Accept-Ranges": "bytes"}
        if file.endswith((".onnx", ".data", ".model")):
            etag = hashlib.sha256(data).hexdigest()
            port = self.server.server_address[1]
            token = f"http://{self.headers['Host']}{PREFIX}/api/models/{repo}/xet-read-token/{commit(repo)}"
            headers |= {"X-Xet-Hash": hashlib.sha256(file.encode()).hexdigest(), "Link": f'<{token}>; rel="xet-auth"',
                        "X-Linked-Size": str(fault.get("size", len(data))), "X-Linked-Etag": f'"{etag}"',
                        "ETag": f'"{hashlib.sha1(file.encode()).hexdigest()}"',
                        "Location": f"http://localhost:{port}/content/{repo}/{file}?signature=1"}
            return self.answer(302, headers, path)
        headers |= {"Location": f"/content/{repo}/{file}"}
        return self.answer(307, headers, path)

    def content(self, path: str):
        repo, file = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
        data = Path(CONFIG["repos"][repo]["files"][file]).read_bytes()
        fault = FAULTS.get(file, {})
        if "status" in fault and self.command == "GET":
            return self.answer(fault["status"], {}, path)
        etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if fault.get("damage"):
            data = bytes([data[0] ^ 1]) + data[1:]
        start, asked = 0, self.headers.get("Range")
        if asked and not fault.get("ignore_range"):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"}, path)
        status = 206 if start else 200
        part = data[start:]
        sent = len(part)
        with LOCK:
            faulty = ("cut" in fault or "stall" in fault) and fault.get("times", 1) > 0
            if faulty and self.command == "GET":
                fault["times"] = fault.get("times", 1) - 1
        if faulty:
            sent = min(sent, fault.get("cut", sent), fault.get("stall", sent))
        self.log(path, status, sent=sent)
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit(repo))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(part[:sent])
            self.wfile.flush()
        except OSError:  # the client has disconnected
            self.close_connection = True
            return
        if faulty and "stall" in fault:
            NEVER.wait()
        elif faulty:
            if fault.get("reset"):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            self.close_connection = True


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
server.handle_error = lambda *_: None  # ignores connections that the test breaks
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
