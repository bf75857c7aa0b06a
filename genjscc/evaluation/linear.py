# SPDX-License-Identifier: Apache-2.0
"""The linear baseline: analogue transmission of KLT coefficients with optimal power allocation.

As in SoftCast (Jakubczak and Katabi, 2011), which uses a DCT, each of the 2k real channel uses
carries one scaled coefficient, which the receiver estimates linearly. Given the statistics of the
training images and an average power constraint, scales and estimator are optimal. There is no
network and nothing to tune.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from channel.physics import awgn, noise_power
from genjscc.errors import InvalidInputError


@dataclass(frozen=True)
class LinearCode:
    """Principal components of the training images.

    Attributes:
        mean: [m], mean image.
        components: [n, m], orthonormal, by descending variance.
        variances: [n], variances of the coefficients.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    @property
    def side(self) -> int:
        """Side of the square images, in pixels."""
        return math.isqrt(len(self.mean) // 3)


def tiles_of(image: Tensor, side: int) -> Tensor:
    """Split an image [3, H, W] into its squares [T, 3 side^2], row by row.

    Raises:
        InvalidInputError: the image is not made of whole squares.
    """
    _, height, width = image.shape
    if height % side or width % side:
        raise InvalidInputError(
            "linear", f"got an image of {width}x{height}; must be made of squares of {side}x{side}"
        )
    squares = image.reshape(3, height // side, side, width // side, side).permute(1, 3, 0, 2, 4)
    return squares.reshape(-1, 3 * side * side)


def image_of(tiles: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """Assemble an image [3, H, W] from its squares, the inverse of `tiles_of`."""
    height, width = size
    squares = tiles.reshape(height // side, width // side, 3, side, side)
    return squares.permute(2, 0, 3, 1, 4).reshape(3, height, width)


def fit_linear(images: Tensor, num_components: int, *, seed: int = 0) -> LinearCode:
    """Compute the leading principal components of images.

    Args:
        images: [N, m] flattened training images in [0, 1].
        num_components: number of components; 2k of them need k complex symbols.
        seed: seed of the randomised decomposition.

    Raises:
        InvalidInputError: there are fewer images, or pixels, than components.
    """
    if num_components > min(images.shape):
        raise InvalidInputError(
            "linear",
            f"got {images.shape[0]} images of {images.shape[1]} samples; "
            f"must be at least {num_components} of both, the number of components",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean = images.mean(0)
        extra = min(32, *(size - num_components for size in images.shape))
        _, singular, right = torch.svd_lowrank(images - mean, q=num_components + extra, niter=3)
    variances = singular[:num_components] ** 2 / (len(images) - 1)
    return LinearCode(mean, right[:, :num_components].T.contiguous(), variances)


def allocate_power(variances: Tensor, total: float, noise: float) -> Tensor:
    """Return the powers that minimise the mean squared error after linear estimation.

    Minimises sum_i v_i s/(p_i + s) over p_i >= 0, sum_i p_i = total: p_i = max(0, c sqrt(v_i) - s)
    with the level c that uses all the power. `noise` s is the variance per real dimension.

    Args:
        variances: [n], descending.
        total: sum of the powers.
        noise: s.
    """
    roots = variances.clamp(min=0).sqrt()
    counts = torch.arange(1, len(roots) + 1, dtype=roots.dtype, device=roots.device)
    levels = (total + counts * noise) / roots.cumsum(0)
    # The largest number of coefficients such that even the weakest gets power.
    served = int((levels * roots - noise > 0).sum())
    return (levels[served - 1] * roots - noise).clamp(min=0) * (counts <= served)


def transmit_linear(
    code: LinearCode, images: Tensor, k: int, snr_db: float, unit_noise: Tensor
) -> Tensor:
    """Send images over k symbols of AWGN each and return their estimates.

    Args:
        code: a code with at least 2k components.
        images: [B, m] in [0, 1].
        k: complex channel symbols for each image.
        snr_db: in dB. The power is 1 per symbol on average over images, not for each image,
            which favours this baseline.
        unit_noise: complex64 [B, k], samples of CN(0, 1).

    Returns:
        [B, m], clamped to [0, 1].
    """
    components, variances = code.components[: 2 * k], code.variances[: 2 * k]
    noise = float(noise_power(snr_db)) / 2
    powers = allocate_power(variances, float(k), noise)
    gains = (powers / variances.clamp(min=1e-12)).sqrt()
    sent = ((images - code.mean) @ components.T * gains).reshape(len(images), k, 2)
    # Not normalised per image: the gains carry information that would be lost.
    snrs = torch.full((len(images),), snr_db)
    received = awgn(torch.view_as_complex(sent.contiguous()), snrs, unit_noise)
    observed = torch.view_as_real(received).flatten(1)
    estimate = observed * (gains * variances / (powers + noise))
    return (estimate @ components + code.mean).clamp(0, 1)
