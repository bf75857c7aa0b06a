# SPDX-License-Identifier: Apache-2.0
"""Where the repository and its models are; in an installation, what takes their place."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# In an installation without a clone, the folder of the packages.
REPOSITORY = _PACKAGE.parent


def default_models() -> Path:
    """Return the folder of the models that are used if none is named.

    In a clone, `models/`. In an installation, the user's folder once `genjscc pull` has made it,
    and until then the models of the wheel.
    """
    if not packaged_models().is_dir():
        return REPOSITORY / "models"
    return user_models() if user_models().is_dir() else packaged_models()


def packaged_models() -> Path:
    """Return the folder of the models in the wheel; a clone has none."""
    return _PACKAGE / "models"


def user_models() -> Path:
    """Return the user's folder of models, which need not exist yet."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "genjscc" / "models"
