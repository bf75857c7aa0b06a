# SPDX-License-Identifier: Apache-2.0
"""A decoder of its own for the codewords of another pair: a sender need not know of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from genjscc import LocalLink
from genjscc.bundles.config import BundleConfig
from genjscc.bundles.store import ENCODER, read_config
from genjscc.diagnosis import models
from genjscc.errors import BundleError, ModelNotFoundError, WrongPairError
from genjscc.serving.settings import TransmitterSettings
from tests.helpers.pictures import gradient
from tests.helpers.tiny_bundles import MULTI, SINGLE, write_both, write_tiny_decoder
from transmitter.models import load_encoder
from transmitter.service import TransmitterEngine

SECOND = "tiny-second"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_tiny_decoder(folder, SECOND, write_both(folder)[MULTI])
    return folder


@pytest.fixture(scope="module")
def link(root: Path) -> Iterator[LocalLink]:
    with LocalLink(bundles=root) as opened:
        yield opened


def pair_of(root: Path) -> BundleConfig:
    return read_config(root / MULTI)


def test_its_codewords_are_those_of_the_other_model(link: LocalLink, root: Path) -> None:
    image = gradient(48, 32)
    own, other = (link.encode(image, model=name, rate="1/48") for name in (SECOND, MULTI))
    assert np.array_equal(own.symbols, other.symbols)
    assert own.pair_id == other.pair_id == pair_of(root).pair_id
    assert read_config(root / SECOND).pair_id != own.pair_id


def test_the_receiver_chooses_and_the_sender_need_not_know(link: LocalLink) -> None:
    received = link.transmit(link.encode(gradient(48, 32), model=MULTI, rate="1/48"), seed=1)
    usual, chosen = link.decode(received), link.decode(received, model=SECOND)
    assert np.array_equal(usual, link.decode(received, model=MULTI))
    assert not np.array_equal(usual, chosen)
    sent = link.send(gradient(48, 32), model=SECOND, rate="1/48", seed=1)
    assert np.array_equal(sent.image, chosen)
    many = list(link.send_many([gradient(48, 32)], model=SECOND, rate="1/48", seed=1))
    assert np.array_equal(many[0].image, chosen)


def test_a_decoder_of_another_pair_is_refused(link: LocalLink) -> None:
    codeword = link.encode(gradient(48, 32), model=MULTI, rate="1/48")
    with pytest.raises(WrongPairError, match=f"pair_id: got .*; model '{SINGLE}' understands"):
        link.decode(codeword, model=SINGLE)
    with pytest.raises(ModelNotFoundError, match="model: got 'nobody'"):
        link.decode(codeword, model="nobody")


def test_a_receiver_with_the_second_decoder_alone(root: Path, tmp_path: Path) -> None:
    with LocalLink(bundles=root) as sender:
        codeword = sender.encode(gradient(48, 32), model=MULTI, rate="1/48")
        chosen = sender.decode(codeword, model=SECOND)
    shutil.copytree(root, tmp_path / "alone")
    shutil.rmtree(tmp_path / "alone" / MULTI)
    with LocalLink(bundles=tmp_path / "alone") as receiver:
        assert np.array_equal(receiver.decode(codeword), chosen)


def test_models_say_whose_encoder_they_have(link: LocalLink, root: Path) -> None:
    listed = {model.name: model for model in link.models()}
    assert listed[SECOND].encoder_pair_id == listed[MULTI].pair_id
    assert listed[MULTI].encoder_pair_id == ""
    assert [model.name for model in link.decoders()] == sorted(listed)


def test_the_transmitter_holds_the_encoder_once(root: Path) -> None:
    catalogue = TransmitterEngine(TransmitterSettings(bundles=root)).catalogue
    assert catalogue.by_name(SECOND).network is catalogue.by_name(MULTI).network


def test_another_encoder_in_its_place_is_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "altered")
    shutil.copy(root / SINGLE / ENCODER, tmp_path / "altered" / MULTI / ENCODER)
    with pytest.raises(BundleError, match=f"SHA-256 is .* of {SECOND} says"):
        load_encoder(tmp_path / "altered", read_config(root / SECOND))
    found = {finding.name: finding.state for finding in models(tmp_path / "altered")}
    assert (found[SECOND], found[SINGLE]) == ("problem", "ok")


def test_it_is_loaded_from_the_other_folder(root: Path) -> None:
    assert not (root / SECOND / ENCODER).exists()
    weights = [load_encoder(root, read_config(root / n)).state_dict() for n in (MULTI, SECOND)]
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))
