# SPDX-License-Identifier: Apache-2.0
"""What a caller may call an image: equal pixels whatever holds them."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from genjscc import Codeword, LocalLink
from genjscc.client.protocol import to_rgb_array
from genjscc.errors import InvalidInputError

RGB = arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))


@given(rgb=RGB)
def test_every_form_gives_the_same_pixels(
    tmp_path_factory: pytest.TempPathFactory, rgb: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "form.png"
    Image.fromarray(rgb).save(path)
    tensor = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    forms = [
        *(rgb, path, str(path), path.read_bytes(), Image.fromarray(rgb), rgb.astype(float) / 255),
        *(rgb.astype(np.float32) / 255, rgb.astype(np.float16) / np.float16(255)),
        *(tensor, tensor.float() / 255, (tensor.double() / 255).requires_grad_()),
        np.asfortranarray(rgb),
    ]
    for form in forms:
        np.testing.assert_array_equal(to_rgb_array(form), rgb)


@given(grey=arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_grey_is_rgb_of_equal_parts(grey: Any) -> None:
    expected = np.stack([grey] * 3, axis=-1)
    tensor = torch.from_numpy(grey.copy())[None]
    for form in (grey, grey[..., None], grey / 255, tensor, tensor / 255):
        np.testing.assert_array_equal(to_rgb_array(form), expected)


def test_transparency_lies_on_white() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    pixels = to_rgb_array(rgba)
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[1, 1].tolist() == [255, 255, 255]


def test_a_tensor_of_half_precision_is_near() -> None:
    values = torch.linspace(0, 1, 48, dtype=torch.bfloat16).reshape(3, 4, 4)
    expected = (values.double() * 255).round().numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(to_rgb_array(values), expected)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"got uint8 \[3, 8, 8\]; an array must be \[H, W\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"got uint8 \[2, 8, 8, 3\]"),
        (np.zeros((0, 8, 3), np.uint8), r"got uint8 \[0, 8, 3\]"),
        (np.zeros((8, 8, 3), np.int64), "numbers of type int64; must be uint8, or floats"),
        (np.zeros((8, 8, 3), bool), "numbers of type bool"),
        (np.full((8, 8, 3), 255.0), r"floats from 255 to 255; must be in \[0, 1\]"),
        (np.full((8, 8, 3), -0.1), "floats from -0.1"),
        (np.full((8, 8, 3), np.nan), "floats from nan"),
        (np.zeros((8, 8, 3), complex), "numbers of type complex128"),
        (torch.zeros(8, 8, 3), r"got float32 \[8, 8, 3\]; a tensor must be \[3, H, W\]"),
        (torch.zeros(2, 3, 8, 8), "send_many takes batches"),
        (torch.full((3, 8, 8), 2.0), r"must be in \[0, 1\]"),
        (object(), "got object; must be a path, bytes, a Pillow image, an array or a tensor"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_image_is_named(bad: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=f"image: .*{match}|image: {match}"):
        to_rgb_array(bad)


def test_batches_are_sent_and_a_result_goes_back_into_torch(bundles: Path) -> None:
    batch = torch.rand(3, 3, 32, 32)
    arrays_ = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    with LocalLink(bundles=bundles) as link:
        receptions = list(link.send_many(batch, seed=0))
        again = list(link.send_many(arrays_, seed=0))
    assert len(receptions) == len(again) == 3
    for one, other in zip(receptions, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        tensor = one.to_tensor()
        assert tensor.shape == (3, 32, 32)
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(to_rgb_array(tensor), one.image)


def test_results_show_themselves(bundles: Path) -> None:
    with LocalLink(bundles=bundles) as link:
        reception = link.send(np.full((20, 30, 3), 99, np.uint8), seed=7, model="tiny-multi")
    with Image.open(io.BytesIO(reception._repr_png_())) as shown:
        np.testing.assert_array_equal(np.asarray(shown), reception.image)
    sent, arrived = reception.codeword, reception.transmission
    for text in (repr(reception), reception._repr_html_()):
        for fact in ("30x20", "tiny-multi", "1/48", str(sent.k), "7"):
            assert fact in text
    assert len(repr(reception)) < 120
    assert reception._repr_html_().count("<img ") == 1
    # One dot for each symbol, and the circle of radius 1.
    for shown_codeword in (sent._repr_html_(), arrived._repr_html_()):
        assert shown_codeword.count("<circle") == sent.k + 1
    first = sent.symbols[0]
    assert f'cx="{first.real:.3f}" cy="{-first.imag:.3f}"' in sent._repr_html_()
    assert str(sent.k) in repr(sent)
    assert "seed 7" in repr(arrived)


def test_names_from_elsewhere_are_no_markup(bundles: Path) -> None:
    with LocalLink(bundles=bundles) as link:
        codeword = link.encode(np.zeros((16, 16), np.uint8))
    evil = type(codeword)(codeword.symbols, "<script>", codeword.bandwidth_ratio, (16, 16))
    assert "<script>" not in evil._repr_html_()
    assert "&lt;script&gt;" in evil._repr_html_()


def test_a_long_codeword_is_thinned_out() -> None:
    long = Codeword(np.full(100_000, 9 + 0j, np.complex64), "p", Fraction(1, 48), (9, 9))
    shown = long._repr_html_()
    assert 1000 < shown.count("<circle") <= 2049
    assert 'cx="2.500"' in shown  # far away is drawn at the edge
