# SPDX-License-Identifier: Apache-2.0
"""CITATION.cff is valid, as cffconvert has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from genjscc.repository import REPOSITORY


def test_the_citation_is_valid() -> None:
    # In an environment of its own: it needs an old jsonschema.
    uvx = Path(sys.executable).parent / "uvx"
    if not uvx.is_file():
        pytest.skip("needs uv")
    done = subprocess.run(
        [uvx, "--quiet", "cffconvert==2.0.0", "--validate", "-i", REPOSITORY / "CITATION.cff"],
        capture_output=True,
        text=True,
        env={**os.environ, "UV_HTTP_TIMEOUT": "10"},
        check=False,
    )
    if done.stderr.startswith("error:"):  # uv's own
        pytest.skip(f"cffconvert cannot be installed: {done.stderr.strip()[:200]}")
    assert "valid according to schema" in done.stdout + done.stderr
