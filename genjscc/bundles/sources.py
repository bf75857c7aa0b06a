# SPDX-License-Identifier: Apache-2.0
"""Places where bundles are published: the Hugging Face Hub, a folder of a web server, a folder.

A source hands out single files of one bundle, by name. It is untrusted: sizes are bounded here,
digests are checked in `genjscc.bundles.pull`.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from genjscc.errors import BundleError, DownloadError, InvalidInputError, needs, quoted

Progress = Callable[[str, int, int], None]
"""called with a file's name, its bytes so far, and its length"""

_NETWORK_ERRORS = (
    *(urllib.error.URLError, http.client.HTTPException),
    *(ConnectionError, TimeoutError),
)
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_CHUNK = 256 * 1024
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB = re.compile(rf"({_PART}/{_PART})(?:@({_PART}))?")


class Source(Protocol):
    """One bundle, wherever it is."""

    @property
    def key(self) -> str:
        """Relative path of this source in a cache."""

    def beside(self, name: str) -> Source:
        """Return the source of the bundle of that name in the same place."""

    def read(self, name: str, most: int) -> bytes | None:
        """Return a small file; None: there is none. Raises as `fetch`."""

    def fetch(self, name: str, target: Path, *, most: int, progress: Progress) -> None:
        """Complete the file `target`, which may hold the beginning of it.

        Raises:
            DownloadError: the source cannot be reached, or has no such file.
            BundleError: the file is longer than `most` bytes.
        """


def source_of(text: str) -> Source:
    """Return the source that a text names.

    Args:
        text: ORG/NAME or ORG/NAME@REVISION of the Hugging Face Hub, the http(s) URL of a folder,
            or the path of a folder, beginning with `/`, `./`, `../` or `~`.

    Raises:
        InvalidInputError: it is none of these.
    """
    if "://" in text:
        address = urlsplit(text)
        if address.scheme not in ("http", "https") or not address.hostname or address.query:
            raise InvalidInputError("source", f"got {quoted(text)}; must be an http(s) URL")
        return HttpFolder(text.rstrip("/"))
    if text.startswith(("/", "./", "../", "~")):
        return Folder(Path(text).expanduser())
    found = _HUB.fullmatch(text)
    if found is None:
        raise InvalidInputError(
            "source", f"got {quoted(text)}; must be ORG/NAME, a URL, or a folder as ./models/NAME"
        )
    return HubRepository(found[1], found[2] or "main")


@dataclass(frozen=True)
class Folder:
    """A bundle's folder on this machine, such as a mirror."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def key(self) -> str:
        return f"folder/{_digest(str(self.path.resolve()))}"

    def beside(self, name: str) -> Folder:
        return Folder(self.path.resolve().parent / name)

    def read(self, name: str, most: int) -> bytes | None:
        path = self.path / name
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return _bounded(file.read(most + 1), most, path)

    def fetch(self, name: str, target: Path, *, most: int, progress: Progress) -> None:
        path = self.path / name
        if not path.is_file():
            raise DownloadError(f"{self}: there is no file {name}")
        total = _checked_length(path.stat().st_size, most, path)
        with path.open("rb") as file, target.open("wb") as out:
            shutil.copyfileobj(file, out)
        progress(name, total, total)


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Refuse to be sent from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"{req.full_url}: refers to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class HttpFolder:
    """A bundle's folder on a web server."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def key(self) -> str:
        return f"http/{_digest(self.url)}"

    def beside(self, name: str) -> HttpFolder:
        return HttpFolder(f"{self.url.rpartition('/')[0]}/{name}")

    def read(self, name: str, most: int) -> bytes | None:
        try:
            with self._opened(name, 0) as response:
                return _bounded(response.read(most + 1), most, f"{self}/{name}")
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.NOT_FOUND:
                return None
            raise DownloadError(f"{self}/{name}: {error}") from error
        except _NETWORK_ERRORS as error:
            raise DownloadError(f"{self}/{name}: {_reason(error)}") from error

    def fetch(self, name: str, target: Path, *, most: int, progress: Progress) -> None:
        problem: Exception | None = None
        for _ in range(_ATTEMPTS):
            have = target.stat().st_size if target.exists() else 0
            try:
                with self._opened(name, have) as response:
                    if self._copied(response, name, target, have, most, progress):
                        return
            except urllib.error.HTTPError as error:
                if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise DownloadError(f"{self}/{name}: {error}") from error
                if _length_after_slash(error.headers) == have:
                    return
                target.unlink()  # of another, longer file
            except _NETWORK_ERRORS as error:
                problem = error
        reason = _reason(problem) if problem else "the connection ended early"
        raise DownloadError(f"{self}/{name}: {reason}; a new attempt resumes") from problem

    @contextmanager
    def _opened(self, name: str, start: int) -> Iterator[http.client.HTTPResponse]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        request = urllib.request.Request(f"{self.url}/{quote(name)}", headers=headers)  # noqa: S310
        opener = urllib.request.build_opener(_NoDowngrade)
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            yield response

    def _copied(
        self,
        response: http.client.HTTPResponse,
        name: str,
        target: Path,
        have: int,
        most: int,
        progress: Progress,
    ) -> bool:
        """Append a response to a file; return whether the file is complete."""
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        elif not (response.headers["Content-Range"] or "").startswith(f"bytes {have}-"):
            raise DownloadError(f"{self}/{name}: answers with another range than asked for")
        declared = response.headers["Content-Length"]
        total = have + int(declared) if declared and declared.isdecimal() else 0
        _checked_length(total, most, f"{self}/{name}")
        with target.open("ab" if have else "wb") as out:
            while chunk := response.read(_CHUNK):
                have = _checked_length(have + len(chunk), most, f"{self}/{name}")
                out.write(chunk)
                progress(name, have, total)
        return have == total or not total


@dataclass(frozen=True)
class HubRepository:
    """A model repository of the Hugging Face Hub, by its own client.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE apply.
    """

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}"

    @property
    def key(self) -> str:
        return f"hub/{self.repository}/{self.revision}"

    def beside(self, name: str) -> HubRepository:
        return HubRepository(f"{self.repository.partition('/')[0]}/{name}", "main")

    def read(self, name: str, most: int) -> bytes | None:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="genjscc-") as folder:
            path = self._downloaded(name, Path(folder), most)
            return None if path is None else path.read_bytes()

    def fetch(self, name: str, target: Path, *, most: int, progress: Progress) -> None:
        # The client keeps the beginning of a broken download in this folder.
        path = self._downloaded(name, target.parent / f"{target.name}.hub", most)
        if path is None:
            raise DownloadError(f"{self}: there is no file {name}")
        length = path.stat().st_size
        path.replace(target)
        progress(name, length, length)

    def _downloaded(self, name: str, folder: Path, most: int) -> Path | None:
        with needs("hub", "the Hugging Face Hub", otherwise=" (a URL or a folder needs nothing)"):
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import HTTPError as HubError  # type: ignore[attr-defined]
            from huggingface_hub.errors import LocalEntryNotFoundError as Unreachable
            from huggingface_hub.errors import RemoteEntryNotFoundError as Missing
        asked: dict[str, Any] = {
            "repo_id": self.repository,
            "filename": name,
            "revision": self.revision,
            "local_dir": folder,
        }
        try:
            found = hf_hub_download(**asked, dry_run=True)
            _checked_length(found.file_size or 0, most, f"{self}/{name}")
            return Path(hf_hub_download(**asked))
        except Missing:
            return None
        except Unreachable as error:
            reason = error.__cause__ or error
            raise DownloadError(f"{self}: cannot reach the Hub: {_reason(reason)}") from error
        except (HubError, ValueError, OSError) as error:
            raise DownloadError(f"{self}: {_reason(error)}") from error


def _bounded(data: bytes, most: int, where: object) -> bytes:
    _checked_length(len(data), most, where)
    return data


def _checked_length(length: int, most: int, where: object) -> int:
    if length > most:
        raise BundleError(f"{where}: got {length} bytes or more; must be at most {most}")
    return length


def _length_after_slash(headers: Any) -> int:
    """Return the length in `Content-Range: bytes */1234`; -1: not told."""
    found = re.fullmatch(r"bytes \*/(\d+)", headers["Content-Range"] or "")
    return int(found[1]) if found else -1


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "reason", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
