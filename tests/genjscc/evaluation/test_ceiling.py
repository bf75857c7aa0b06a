# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch

from genjscc.errors import InvalidInputError
from genjscc.evaluation.ceiling import ceiling_config, invert
from receiver.inverse.config import InverseConfig
from tests.helpers.tiny_generators import tiny_generator


def config(steps: int, **fields: Any) -> InverseConfig:
    fields = {"perceptual_weight": 0.0, **fields}
    return ceiling_config(steps).model_copy(update=fields)


QUICK = config(40, learning_rate=0.1)


def test_it_finds_what_the_generator_can_show() -> None:
    generator = tiny_generator()
    with torch.no_grad():
        targets = ((generator(torch.randn(2, 16)) + 1) / 2).clamp(0, 1)
        start = ((generator.synthesis(generator.latent_avg[None]) + 1) / 2).clamp(0, 1)
    found = invert(generator, targets, QUICK)
    before = -10 * torch.log10((start - targets).square().mean((1, 2, 3)))
    assert (found.psnr_db > before + 3).all()
    assert found.ws.shape == (2, 8, 16)
    # The returned latents and maps make the returned images.
    with torch.no_grad():
        image = (generator.synthesis(found.ws, found.noise) + 1) / 2
    assert (image.clamp(0, 1) - found.images).abs().max() < 0.51 / 255
    assert (found.st_lpips_alex >= 0).all()
    assert generator.conv1.conv.weight.grad is None


def test_a_batch_gives_what_its_images_give_alone() -> None:
    generator, targets = tiny_generator(), torch.rand(2, 3, 32, 32)
    options = config(5)
    together = invert(generator, targets, options)
    alone = invert(generator, targets[1:], options)
    torch.testing.assert_close(together.ws[1:], alone.ws, atol=1e-3, rtol=1e-3)
    assert together.psnr_db[1].item() == pytest.approx(alone.psnr_db[0].item(), abs=0.05)


def test_noise_maps_help_and_stay_within_white_noise() -> None:
    generator, targets = tiny_generator(), torch.rand(1, 3, 32, 32)
    without = invert(generator, targets, config(40, noise_rate=0))
    steps: list[int] = []
    options = config(40, noise_rate=0.5)
    found = invert(generator, targets, options, lambda step, _loss: steps.append(step))
    assert found.psnr_db > without.psnr_db + 0.1
    assert all(maps.square().mean() <= 1.001 for maps in found.noise)
    assert steps == list(range(40))


def test_a_wrong_size_is_named() -> None:
    with pytest.raises(InvalidInputError, match="targets"):
        invert(tiny_generator(), torch.rand(1, 3, 64, 64))
