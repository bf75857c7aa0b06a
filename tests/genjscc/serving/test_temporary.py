# SPDX-License-Identifier: Apache-2.0
"""A file system that is read-only throughout."""

from __future__ import annotations

import os
import tempfile

import pytest

from genjscc.serving.temporary import have_temporary_folder


def nowhere() -> str:
    raise FileNotFoundError("no usable temporary directory found")


@pytest.mark.parametrize("memory", [True, False])
def test_a_process_without_a_folder_to_write_to_can_name_one(
    memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
    monkeypatch.setattr(os, "access", lambda *_: memory)
    with pytest.raises(FileNotFoundError):
        tempfile.gettempdir()
    have_temporary_folder()
    assert tempfile.gettempdir() == ("/dev/shm" if memory else "/")


def test_a_folder_that_is_there_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/somewhere")
    have_temporary_folder()
    assert tempfile.gettempdir() == "/somewhere"
