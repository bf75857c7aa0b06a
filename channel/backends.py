# SPDX-License-Identifier: Apache-2.0
"""Array backends of the channel: NumPy, or PyTorch on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from channel.physics import Array
from genjscc.errors import InvalidInputError, needs


@dataclass(frozen=True)
class Backend:
    """Transfer of arrays to the device and back."""

    put: Callable[[NDArray[np.generic]], Array]
    get: Callable[[Array], NDArray[np.generic]]


def make_backend(library: Literal["numpy", "torch"], device: str) -> Backend:
    """Return the backend of an array library.

    Raises:
        MissingExtraError: torch is requested but not installed.
        InvalidInputError: there is no such device.
    """
    if library == "numpy":
        return Backend(put=lambda array: array, get=lambda array: array)
    with needs("models", "backend torch", otherwise=", or use backend numpy"):
        import torch
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(
            "device", f"got {device!r}: {str(error).splitlines()[0]}"
        ) from error
    return Backend(
        # PyTorch does not accept read-only memory, such as that of a message.
        put=lambda array: torch.from_numpy(np.require(array, requirements=["C", "W"])).to(target),
        get=lambda array: array.cpu().numpy(),
    )
