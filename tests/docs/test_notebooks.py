# SPDX-License-Identifier: Apache-2.0
"""The notebooks of examples/ run from a fresh kernel, and show what they are for."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from genjscc.repository import REPOSITORY

pytestmark = [
    # The kernel's own machinery.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WITHOUT_OUTPUTS = "from_nothing.ipynb"
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    committed = nbformat.read(path, as_version=4)
    nbformat.validate(committed)
    fresh = nbformat.read(path, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(fresh, timeout=500, kernel_name="python3", resources=resources).execute()
    if path.name == WITHOUT_OUTPUTS:
        assert not any(cell.get("outputs") for cell in committed.cells)
        forms = [form for cell in fresh.cells for form in kinds(cell)]
        assert sum("image/png" in form for form in forms) >= 3  # reception, plot, inversion
        return
    for cell, old in zip(fresh.cells, committed.cells, strict=True):
        assert kinds(cell) == kinds(old), cell.source  # the committed outputs are of this code


def kinds(cell: nbformat.NotebookNode) -> list[set[str]]:
    """Of each output of a cell: the forms it has."""
    return [set(output.get("data", {})) for output in cell.get("outputs", [])]


def test_one_shows_pictures_unrun() -> None:
    assert [path.name for path in NOTEBOOKS] == [WITHOUT_OUTPUTS, "link.ipynb"]
    forms = [form for cell in nbformat.read(NOTEBOOKS[1], 4).cells for form in kinds(cell)]
    assert sum({"image/png", "text/html"} <= form for form in forms) >= 3
