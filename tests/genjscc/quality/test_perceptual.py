# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor

from genjscc.errors import MissingExtraError
from genjscc.quality.perceptual import mse, perceptual


def picture() -> Tensor:
    coarse = torch.rand(1, 3, 4, 4)
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)


def distances(name: str) -> list[float]:
    distance, x = perceptual(name), picture()  # type: ignore[arg-type]
    noise = torch.randn_like(x)
    with torch.no_grad():
        return [float(distance(x, (x + s * noise).clamp(0, 1))) for s in (0.0, 0.02, 0.3)]


@pytest.mark.parametrize("name", ["st-lpips-alex", "st-lpips-vgg"])
def test_st_lpips_orders_degradations(name: str) -> None:
    same, slight, strong = distances(name)
    assert same == pytest.approx(0, abs=1e-6)
    assert same < slight < strong


@pytest.mark.parametrize("name", ["st-lpips-alex", "st-lpips-vgg"])
def test_values_are_those_of_the_package(name: str) -> None:
    distance, x = perceptual(name), picture()  # type: ignore[arg-type]
    y = (x + 0.2 * torch.randn_like(x)).clamp(0, 1)
    with torch.no_grad():
        expected = distance.network(2 * x - 1, 2 * y - 1).flatten()
        torch.testing.assert_close(distance(x, y), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_reaches_the_image_and_not_the_network() -> None:
    distance, x = perceptual("st-lpips-alex"), picture()
    y = (x + 0.1).requires_grad_()
    distance(y, x).sum().backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0
    assert not [p for p in distance.parameters() if p.requires_grad or p.grad is not None]


def test_lpips_works_where_the_trunk_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    name = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(torchvision.models.squeezenet1_1().state_dict(), checkpoints / name)
    same, slight, strong = distances("lpips-squeeze")
    assert same == pytest.approx(0, abs=1e-6)
    assert same < slight < strong


def test_lpips_without_its_trunk_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(MissingExtraError) as caught:
        perceptual("lpips-vgg")
    text = str(caught.value)
    assert "no network" in text
    assert str(tmp_path / "hub" / "checkpoints") in text
    assert "st-lpips-vgg" in text
    assert "\n" not in text


def test_mse_is_per_image() -> None:
    x, y = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    y[1] = 0.5
    assert mse(x, y).tolist() == [0.0, 0.25]
