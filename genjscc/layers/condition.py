# SPDX-License-Identifier: Apache-2.0
"""Conditioning inputs of the AF modules: SNR and, with variable rate, bandwidth."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def num_conditions(channel_steps: tuple[int, ...]) -> int:
    """Return 1 (the SNR) for the paper's network, 2 if one network serves several rates."""
    return 2 if channel_steps else 1


def condition(snr_db: Tensor, channels: int, channel_steps: tuple[int, ...]) -> Tensor:
    """Return a batch's conditions: SNR in dB and, if the rate may vary, log2(channels/most).

    Shapes: snr_db [B] -> [B, 1] or [B, 2].

    Raises:
        ValueError: `channels` is not one of the steps that the network was trained for.
    """
    snr = snr_db.float()[:, None]
    if not channel_steps:
        return snr
    if channels not in channel_steps:
        raise ValueError(f"channels: got {channels}; this network was trained for {channel_steps}")
    rate = torch.full_like(snr, math.log2(channels / max(channel_steps)))
    return torch.cat([snr, rate], dim=1)
