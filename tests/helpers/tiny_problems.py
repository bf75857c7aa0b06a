# SPDX-License-Identifier: Apache-2.0
"""Tiny inversion problems for tests."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from receiver.deepjscc import Decoder
from receiver.forward import ForwardOperator
from receiver.inverse.optimiser import Inversion, Problem, step
from tests.helpers.tiny_bundles import fill_by_rule, tiny_face_generator
from transmitter.encoder import Encoder


class PooledDistance:
    """A perceptual distance without a network: images at half and quarter size."""

    def features(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, 2), F.avg_pool2d(images, 4)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return sum(
            ((x - y).abs().mean((1, 2, 3)) for x, y in zip(a, b, strict=True)),
            start=torch.zeros(len(a[0])),
        )


def tiny_problem(channels: int = 8) -> Problem:
    """Return a problem with a generator of 64x64 pixels and a link, both of width 8."""
    encoder = fill_by_rule(Encoder(8, channels), 1)
    decoder = fill_by_rule(Decoder(8, channels), 2)
    assert isinstance(encoder, Encoder)
    assert isinstance(decoder, Decoder)
    forward = ForwardOperator(encoder, decoder).eval().requires_grad_(False)
    generator = tiny_face_generator().requires_grad_(False)
    return Problem(generator, forward, PooledDistance())


def run_to_end(problem: Problem, inversions: list[Inversion]) -> None:
    while active := [one for one in inversions if not one.finished]:
        step(problem, active)
