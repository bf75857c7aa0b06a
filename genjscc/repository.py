# SPDX-License-Identifier: Apache-2.0
"""Paths of the repository and its models, or of the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# In an installation without a clone, the folder of the packages.
REPOSITORY = _PACKAGE.parent


def default_models() -> Path:
    """Return the folder of the models that are used if none is named.

    In a clone, `models/`. In an installation, the models of the wheel.
    """
    return packaged_models() if packaged_models().is_dir() else REPOSITORY / "models"


def packaged_models() -> Path:
    """Return the folder of the models in the wheel; a clone has none."""
    return _PACKAGE / "models"
