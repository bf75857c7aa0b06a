# SPDX-License-Identifier: Apache-2.0
"""Pages for the bundles of models/: card, files, and an overview."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("generated", "models")
_INTRODUCTION = """# Models

The bundles in `models/`, as described by their cards. The [report](../../report/report.md) contains
their results; see [training](../../training.md) to add your own.
"""


def render(models: Path) -> dict[str, str]:
    """Render the pages by name: one per bundle, and `index`."""
    folders = [path.parent for path in sorted(models.glob("*/config.json"))]
    declared = {folder: json.loads((folder / "config.json").read_text()) for folder in folders}
    pages = {folder.name: _page(folder, config) for folder, config in declared.items()}
    rows = "\n".join(_row(config) for config in declared.values())
    toctree = "\n".join(["```{toctree}", ":hidden:", "", *pages, "```"])
    head = "| model | scheme | trained on | pixels | licence |\n| --- | --- | --- | --- | --- |"
    pages["index"] = f"{_INTRODUCTION}\n{head}\n{rows}\n\n{toctree}\n"
    return pages


def _row(config: dict[str, Any]) -> str:
    name, side = config["name"], config["image_size"]
    domain, licence = config.get("domain", "see its card"), config.get("licence", "see its card")
    cells = (f"[{name}]({name}.md)", config["scheme"], domain, f"{side}x{side}", licence)
    return f"| {' | '.join(cells)} |"


def _page(folder: Path, config: dict[str, Any]) -> str:
    files = [
        f"| `{name}` | {(folder / name).stat().st_size / 2**20:.2f} | `{digest}` |"
        for name, digest in config["files"].items()
    ]
    pair = f"Pair id: `{config['pair_id']}`.\n\n" if "pair_id" in config else ""
    table = "\n".join(["| file | MiB | SHA-256 |", "| --- | --: | --- |", *files])
    return f"{(folder / 'card.md').read_text().rstrip()}\n\n## Files\n\n{pair}{table}\n"


def write(app: Sphinx) -> None:
    target = Path(app.srcdir, FOLDER)
    target.mkdir(parents=True, exist_ok=True)
    pages = {f"{name}.md": text for name, text in render(ROOT / "models").items()}
    for old in target.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = target / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
