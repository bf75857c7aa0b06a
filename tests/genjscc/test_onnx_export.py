# SPDX-License-Identifier: Apache-2.0
"""ONNX files compute what the services compute, for sizes and batches of their own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from genjscc.cli.commands.onnx import export_onnx
from genjscc.client.local import LocalLink
from genjscc.errors import BundleError, InvalidInputError, ModelNotFoundError
from genjscc.onnx_export import export_onnx as export
from tests.helpers.tiny_bundles import MULTI

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def files(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(MULTI, folder, rate="1/192", size="96x64", bundles=bundles)
    return folder


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_files_send_what_the_services_send(files: Path, bundles: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 112, 3), dtype=np.uint8)
    image = (rgb.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    snr_db = np.array([3.0], np.float32)
    encoder, decoder = session(files / "encoder.onnx"), session(files / "decoder.onnx")
    (symbols,) = encoder.run(None, {"image": image, "snr_db": snr_db})
    link = LocalLink(bundles=bundles)
    codeword = link.encode(rgb, snr_db=3.0, rate="1/192", model=MULTI)
    flat = symbols.reshape(-1, 2)
    np.testing.assert_allclose(flat[:, 0] + 1j * flat[:, 1], codeword.symbols, atol=1e-4)
    (received,) = decoder.run(None, {"symbols": symbols, "snr_db": snr_db})
    expected = link.decode(codeword, snr_db=3.0)
    assert np.abs(received[0].transpose(1, 2, 0) * 255 - expected).max() < 0.6


def test_sizes_and_batches_are_dynamic_and_the_file_names_its_pair(files: Path) -> None:
    model = onnx.load(files / "encoder.onnx")
    onnx.checker.check_model(model)
    about = {one.key: one.value for one in model.metadata_props}
    assert (about["model"], about["bandwidth_ratio"]) == (MULTI, "1/192")
    batch, colours, rows, columns = model.graph.input[0].type.tensor_type.shape.dim
    assert colours.dim_value == 3
    assert all(side.dim_param for side in (batch, rows, columns))


def test_a_difference_is_refused(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genjscc.onnx_export.TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="differs from PyTorch by"):
        export(bundles, MULTI, tmp_path, ratio=None, size=(16, 16))


def test_what_cannot_be_exported_is_named(bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="offers"):
        export(bundles, MULTI, tmp_path, ratio=Fraction(1, 7), size=(16, 16))
    with pytest.raises(InvalidInputError, match="size: got 20x16; must be multiples of 16"):
        export(bundles, MULTI, tmp_path, ratio=None, size=(20, 16))
