# SPDX-License-Identifier: Apache-2.0
"""Conversion of Markdown to one self-contained HTML file."""

from __future__ import annotations

import base64
import mimetypes
import re
from pathlib import Path

from genjscc.errors import InvalidInputError, needs

_IMAGE = re.compile(r'<img [^>]*?src="(?P<source>[^"]+)"[^>]*>')
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
       max-width: 72rem; padding: 1rem 1.5rem 4rem; }
h1, h2, h3 { line-height: 1.2; margin-top: 2.2rem; }
h2 { border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
figure { margin: 1rem 0 0; }
img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .88rem; display: block;
        overflow-x: auto; }
th, td { border: 1px solid #ddd; padding: .25rem .6rem; text-align: center; }
th { background: #f4f4f4; }
th:first-child, td:first-child { text-align: left; }
pre { background: #f6f6f6; padding: .6rem; overflow-x: auto; font-size: .8rem;
      white-space: pre-wrap; }
summary { cursor: pointer; color: #555; font-size: .88rem; }
.toc { background: #f8f8f8; padding: .3rem 1rem; font-size: .92rem; }
"""


def to_html(markdown: str, title: str, folder: Path) -> str:
    """Convert Markdown to a page with embedded images.

    Args:
        markdown: text with image paths relative to `folder`.
        title: title of the page.
        folder: folder of the images.

    Raises:
        InvalidInputError: an image is missing.
        MissingExtraError: Python-Markdown is not installed.
    """
    with needs("train", "the page"):
        from markdown import Markdown
    converter = Markdown(extensions=["tables", "toc"], extension_configs={"toc": {"toc_depth": 2}})
    body = _IMAGE.sub(lambda match: _embedded(match, folder), converter.convert(markdown))
    contents = getattr(converter, "toc", "")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{contents}\n{body}\n</body></html>\n"
    )


def _embedded(match: re.Match[str], folder: Path) -> str:
    path = folder / match["source"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError("picture", f"cannot read {path}") from error
    if path.suffix == ".svg":
        # Inlined unchanged: its text is searchable, and its ids are unique to the figure's name.
        drawing = data.decode()
        return f"<figure>{drawing[drawing.index('<svg') :]}</figure>"
    kind, _ = mimetypes.guess_type(path.name)
    text = base64.b64encode(data).decode()
    return match[0].replace(match["source"], f"data:{kind or 'image/png'};base64,{text}")
