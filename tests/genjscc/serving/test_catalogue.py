# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from genjscc.bundles.store import CONFIG, ENCODER
from genjscc.errors import BundleError, InvalidInputError, ModelNotFoundError
from genjscc.serving.catalogue import Catalogue
from genjscc.serving.settings import TransmitterSettings
from tests.helpers.tiny_bundles import MULTI, SINGLE, write_both
from transmitter.encoder import Encoder
from transmitter.models import load_encoder


def catalogue(root: Path, **fields: str) -> Catalogue[Encoder]:
    settings = TransmitterSettings.model_validate({"bundles": root, **fields})
    return Catalogue(settings, load_encoder)


@pytest.fixture
def own_bundles(tmp_path: Path) -> Path:
    write_both(tmp_path)
    return tmp_path


def test_the_first_by_name_is_the_default_unless_one_is_named(own_bundles: Path) -> None:
    assert catalogue(own_bundles).by_name("").name == min(MULTI, SINGLE)
    assert catalogue(own_bundles, default_model=SINGLE).by_name("").name == SINGLE
    defaults = [m.name for m in catalogue(own_bundles).messages() if m.is_default]
    assert defaults == [min(MULTI, SINGLE)]


def test_a_default_that_is_not_there_is_named_with_what_is(own_bundles: Path) -> None:
    with pytest.raises(BundleError, match=rf"'gone'.*{MULTI}"):
        catalogue(own_bundles, default_model="gone")


def test_a_pair_that_is_there_twice_is_refused(own_bundles: Path) -> None:
    shutil.copytree(own_bundles / MULTI, own_bundles / "copy")
    config = own_bundles / "copy" / CONFIG
    config.write_text(config.read_text().replace(f'"{MULTI}"', '"copy"'))
    with pytest.raises(BundleError, match=rf"'copy' and '{MULTI}'"):
        catalogue(own_bundles)


@pytest.mark.parametrize("damage", ["config", "weights", "width"])
def test_a_broken_bundle_is_left_out_and_the_others_are_served(
    own_bundles: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = own_bundles / MULTI
    config = folder / CONFIG
    if damage == "config":
        config.write_bytes(b"[" * 200_000)
    elif damage == "weights":
        (folder / ENCODER).write_bytes(b"nothing")
    else:
        config.write_text(config.read_text().replace('"width": 8', '"width": 4096'))
    models = catalogue(own_bundles)
    assert [model.name for model in models] == [SINGLE]
    assert list(models.left_out) == [MULTI]
    (line,) = [r for r in caplog.records if r.message == "bundle left out"]
    assert line.bundle == MULTI  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match=f"default model '{MULTI}' is broken"):
        catalogue(own_bundles, default_model=MULTI)


def test_nothing_is_served_without_a_good_bundle(own_bundles: Path) -> None:
    for name in (MULTI, SINGLE):
        (own_bundles / name / ENCODER).write_bytes(b"nothing")
    with pytest.raises(BundleError, match="SHA-256"):
        catalogue(own_bundles)


def test_models_are_found_by_name_and_pair(own_bundles: Path) -> None:
    models = catalogue(own_bundles)
    single = models.by_name(SINGLE)
    assert models.by_pair(single.config.pair_id) is single
    assert models.by_pair("0" * 16) is None
    with pytest.raises(ModelNotFoundError, match=rf"'other'.*{SINGLE}"):
        models.by_name("other")


def test_rates_are_fractions_whatever_their_spelling(own_bundles: Path) -> None:
    model = catalogue(own_bundles).by_name(MULTI)
    assert model.rate("")[1] == 32
    assert model.rate("1/192") == model.rate("2/384")
    with pytest.raises(ModelNotFoundError, match=r"1/768, 1/192, 1/48"):
        model.rate("1/12")


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_named(own_bundles: Path, device: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"device: got '{device}'"):
        catalogue(own_bundles, device=device)
