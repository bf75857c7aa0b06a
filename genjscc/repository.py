# SPDX-License-Identifier: Apache-2.0
"""Where the repository is, for what works from a clone alone."""

from __future__ import annotations

from pathlib import Path

# In an installation without a clone, the folder of the packages.
REPOSITORY = Path(__file__).resolve().parent.parent
