# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration for `make docs`. Building and reading the site need no network."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# Our own extensions, and the repository's packages for the SDK's docstrings.
sys.path[:0] = [str(DOCS / "extensions"), str(DOCS.parent)]

project = "GenJSCC"
author = "the authors of GenJSCC"
release = version = installed("genjscc")
copyright = author  # noqa: A001 (Sphinx's name)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "equations",
    "model_pages",
    "protocol_page",
]
exclude_patterns = ["_build", "extensions"]

html_theme = "furo"
html_title = "GenJSCC"
html_static_path: list[str] = []
html_math_renderer = "svg"
html_copy_source = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Quoted text is often code.
smartquotes = False
# Docstrings quote code with single backticks.
default_role = "code"
