# SPDX-License-Identifier: Apache-2.0
"""Commands on documentation pages and their expected output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# ([\w.-]+\.py)\n")
_COMMENT = re.compile(r"\s+#\s.*$")
_FRAME = re.compile(r"[│┃┏┓┗┛┌┐└┘├┤┡┩╇╈┳┻┴┬┼─━╂]")
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and its line on the page."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str | None:
        """File name of a program to save, given in its first line."""
        named = _FILE.match(self.text) if self.language == "python" else None
        return named[1] if named else None

    def commands(self) -> list[str]:
        """Return the shell commands without comments, joining continued lines."""
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        lines = (_COMMENT.sub("", line).strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Return all fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(m[2], re.sub(f"^{m[1]}", "", m[3], flags=re.MULTILINE), text[: m.start()].count("\n"))
        for m in _FENCE.finditer(text)
    ]


def commands(page: Path) -> Iterator[str]:
    """Yield the shell commands of a page."""
    for block in blocks(page):
        if block.language == "sh":
            yield from block.commands()


def missing_lines(expected: str, output: str) -> list[str]:
    """Return the lines missing from the output, in order; numbers may differ slightly."""
    rest = iter([_words(line) for line in output.splitlines()])
    wanted = [line for line in expected.splitlines() if _words(line)]
    return [line for line in wanted if not any(_alike(_words(line), words) for words in rest)]


def _words(line: str) -> list[str]:
    return _FRAME.sub(" ", line).split()


def _alike(expected: Sequence[str], found: Sequence[str]) -> bool:
    return len(expected) == len(found) and all(map(_same, expected, found))


def _same(expected: str, found: str) -> bool:
    try:
        return isclose(float(expected), float(found), rel_tol=_TOLERANCE)
    except ValueError:
        return expected == found
