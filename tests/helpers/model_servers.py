# SPDX-License-Identifier: Apache-2.0
"""Web servers that offer bundles: a plain one with ranges, and one with the Hub's layout."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Server:
    """A running server, what it was asked, and how it misbehaves."""

    root: Path
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """paths with their Range header"""
    cut_after: int | None = None
    """bytes after which a connection to a weight file breaks"""
    ranges: bool = True


class _Handler(BaseHTTPRequestHandler):
    state: ClassVar[Server]
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None: ...

    def path_of(self) -> Path | None:
        """Return the file that is asked for."""
        path = self.state.root / self.path.lstrip("/")
        return path if path.is_file() else None

    def do_GET(self) -> None:
        self.state.asked.append((self.path, self.headers.get("Range", "")))
        path = self.path_of()
        if path is None:
            self.answer(404, b"")
            return
        data, start = path.read_bytes(), 0
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = self.headers_of(data)
        if found and self.state.ranges:
            start = int(found[1])
            if start >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.state.cut_after if path.suffix == ".safetensors" else None
        self.answer(206 if start else 200, data[start:], headers, cut)

    def headers_of(self, data: bytes) -> dict[str, str]:
        return {}

    def answer(
        self, code: int, data: bytes, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(data[:cut])
        if cut is not None and cut < len(data):
            self.close_connection = True


class _HubHandler(_Handler):
    """`/ORG/NAME/resolve/REVISION/FILE`, and what `create_repo` and `create_commit` ask."""

    def path_of(self) -> Path | None:
        revision = rf"(?:main|v1|{COMMIT})"
        found = re.fullmatch(rf"/([\w.-]+/[\w.-]+)/resolve/{revision}/(.+)", self.path)
        path = self.state.root / found[1] / found[2] if found else None
        return path if path is not None and path.is_file() else None

    def headers_of(self, data: bytes) -> dict[str, str]:
        digest = hashlib.sha256(data).hexdigest()
        return {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}

    def do_HEAD(self) -> None:
        path = self.path_of()
        if path is None:
            known = (self.state.root / "/".join(self.path.split("/")[1:3])).is_dir()
            code = "EntryNotFound" if known else "RepoNotFound"
            self.answer(404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})
            return
        data = path.read_bytes()
        self.answer(200, data, self.headers_of(data))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        self.state.asked.append((self.path, ""))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            (self.state.root / name).mkdir(parents=True, exist_ok=True)
            self.send_json({"url": f"{self.state.url}/{name}", "id": name, "name": name})
        elif self.path == "/api/validate-yaml":
            self.send_json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.send_json({"files": modes})
        elif "/commit/" in self.path:
            repository = "/".join(self.path.split("/")[3:5])
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    target = self.state.root / repository / entry["value"]["path"]
                    target.write_bytes(base64.b64decode(entry["value"]["content"]))
            url = f"{self.state.url}/{repository}/commit/{COMMIT}"
            self.send_json({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.answer(404, b"")

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send_json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@contextmanager
def serving(root: Path, *, hub: bool = False) -> Iterator[Server]:
    """Offer a folder until the end of the block."""
    state = Server(root)
    handler = type("Handler", (_HubHandler if hub else _Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
