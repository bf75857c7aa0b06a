# SPDX-License-Identifier: Apache-2.0
"""Channels of the networks of Fig. 4 at each resolution."""

from __future__ import annotations

Width = int | tuple[int, int, int]
"""c of Fig. 4, or the channels at 1/2, 1/4 and 1/8 of the image's side."""


def stage_widths(width: Width) -> tuple[int, int, int]:
    """Return the channels at 1/2, 1/4 and 1/8 of the image's side."""
    return (width, width, width) if isinstance(width, int) else width
