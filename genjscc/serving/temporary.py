# SPDX-License-Identifier: Apache-2.0
"""A temporary folder for processes on a read-only file system.

PyTorch's optimisers import what asks for one, though nothing is ever written there, and Python
raises an error on a file system that is read-only throughout.
"""

from __future__ import annotations

import os
import tempfile

_MEMORY = "/dev/shm"  # noqa: S108 (only if there is nothing else)


def have_temporary_folder() -> None:
    """Set a temporary folder for this process if it has none."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = _MEMORY if os.access(_MEMORY, os.W_OK) else os.sep
