# SPDX-License-Identifier: Apache-2.0
"""Bundles on disk: what is written is read, what is altered or unsafe is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from genjscc.bundles.store import (
    CARD,
    CONFIG,
    DECODER,
    ENCODER,
    find_bundles,
    pair_digest,
    read_config,
    write_bundle,
)
from genjscc.errors import BundleError
from receiver.deepjscc import Decoder
from receiver.models import load_decoder
from tests.helpers.tiny_bundles import MULTI, SINGLE, fill_by_rule, write_both, write_tiny
from transmitter.encoder import Encoder
from transmitter.models import load_encoder

NAME = "tiny-single"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny(tmp_path, NAME)
    return tmp_path


def load(root: Path) -> Encoder:
    return load_encoder(root, find_bundles(root)[NAME])


def alter_config(root: Path, **changes: Any) -> None:
    path = root / NAME / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_weights(root: Path, data: bytes) -> None:
    """New bytes, declared as if they had always been there."""
    folder = root / NAME
    (folder / ENCODER).write_bytes(data)
    files = json.loads((folder / CONFIG).read_text())["files"]
    alter_config(root, files=files | {ENCODER: hashlib.sha256(data).hexdigest()})


def test_round_trip(root: Path) -> None:
    encoder, decoder = Encoder(8, 8), Decoder(8, 8)
    fill_by_rule(encoder, sum(NAME.encode()))
    fill_by_rule(decoder, sum(NAME.encode()) + 1)
    for given, read in (
        (encoder, load(root)),
        (decoder, load_decoder(root, read_config(root / NAME))),
    ):
        assert not read.training
        for (name, before), after in zip(
            given.state_dict().items(), read.parameters(), strict=True
        ):
            assert after.dtype == torch.float32
            assert not after.requires_grad
            # Stored as float16.
            torch.testing.assert_close(after, before.half().float(), msg=name)
    assert (root / NAME / CARD).read_text() == f"# {NAME}\n"


def test_full_precision_is_kept_where_asked_for(tmp_path: Path) -> None:
    encoder = fill_by_rule(Encoder(8, 8), 1)
    declared = json.loads((write_declared(tmp_path) / CONFIG).read_text())
    for derived in ("pair_id", "files"):
        del declared[derived]
    config = write_bundle(
        tmp_path, encoder, Decoder(8, 8), card="", declared=declared, dtype=torch.float32
    )
    for before, after in zip(
        encoder.parameters(), load_encoder(tmp_path, config).parameters(), strict=True
    ):
        assert torch.equal(before, after)


def write_declared(root: Path) -> Path:
    write_tiny(root, NAME)
    return root / NAME


def test_found_by_name_with_their_rates(tmp_path: Path) -> None:
    written = write_both(tmp_path)
    (tmp_path / "not-a-bundle").mkdir()
    assert find_bundles(tmp_path) == written
    assert list(written[MULTI].channels_by_ratio.items()) == [
        (Fraction(1, 768), 2),
        (Fraction(1, 192), 8),
        (Fraction(1, 48), 32),
    ]
    assert written[SINGLE].channels_by_ratio == {Fraction(1, 192): 8}


def test_pair_id_depends_on_both_halves(root: Path) -> None:
    files = [(root / NAME / name).read_bytes() for name in (ENCODER, DECODER)]
    encoder, decoder = (hashlib.sha256(data).hexdigest() for data in files)
    config = read_config(root / NAME)
    assert config.pair_id == pair_digest(encoder, decoder)
    assert len({pair_digest(*p) for p in permutations((encoder, decoder))}) == 2


@pytest.mark.parametrize("position", [0, 100, -1])
def test_an_altered_byte_is_refused(root: Path, position: int) -> None:
    path = root / NAME / ENCODER
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.safetensors: SHA-256 is"):
        load(root)


def test_missing_weights_are_refused(root: Path) -> None:
    (root / NAME / ENCODER).unlink()
    with pytest.raises(BundleError, match=r"encoder\.safetensors: No such file"):
        load(root)


def test_weights_that_are_not_declared_are_refused(root: Path) -> None:
    alter_config(root, files={})
    with pytest.raises(BundleError, match="says None"):
        load(root)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(root: Path, bad: float) -> None:
    state = load(root).state_dict()
    next(iter(state.values())).view(-1)[0] = bad
    save_file(state, root / "bad.safetensors")
    replace_weights(root, (root / "bad.safetensors").read_bytes())
    with pytest.raises(BundleError, match="a weight is not finite"):
        load(root)


def test_weights_too_large_for_float16_are_not_written(tmp_path: Path) -> None:
    encoder = Encoder(8, 8)
    with torch.no_grad():
        next(encoder.parameters()).fill_(1e6)
    with pytest.raises(BundleError, match="does not fit"):
        write_bundle(tmp_path, encoder, Decoder(8, 8), card="", declared={"name": NAME})


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_executed(root: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(trace))
    pickle.loads(bomb)
    assert trace.exists()  # it works
    trace.unlink()
    zipped = tmp_path / "zipped"
    torch.save(Bomb(trace), zipped)
    for data in (bomb, zipped.read_bytes()):
        replace_weights(root, data)
        with pytest.raises(BundleError, match=r"encoder\.safetensors"):
            load(root)
        assert not trace.exists()


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_safetensors_is_refused(root: Path, data: bytes) -> None:
    replace_weights(root, data)
    with pytest.raises(BundleError, match=r"encoder\.safetensors"):
        load(root)


def test_weights_of_another_network_are_refused(root: Path) -> None:
    alter_config(root, width=16)
    with pytest.raises(BundleError, match=r"size mismatch|Error"):
        load(root)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "other"}, "name is 'other', the folder's is 'tiny-single'"),
        ({"name": "../up"}, "name"),
        ({"pair_id": "short"}, "pair_id"),
        ({"symbol_channels": 7}, "symbol_channels"),
        ({"width": 0}, "width"),
        ({"format": 2}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"files": {ENCODER: "00"}}, "files"),
        ({"scheme": "telepathy"}, "scheme"),
        ({"channel_steps": [3, 8]}, "channel_steps"),
        ({"channel_steps": [0, 8]}, "channel_steps"),
        ({"channel_steps": [2, 10]}, "channel_steps"),
        ({"channel_steps": [2, 2, 8]}, "channel_steps"),
        ({"channel_steps": [2, 4]}, "channel_steps"),
        ({"snr_db": [5.0, -5.0]}, "snr_db"),
        ({"image_size": 2**40}, "image_size"),
        ({"width": 2**40}, "width"),
        ({"symbol_channels": 2**40}, "symbol_channels"),
        ({"domain": "x" * 20_000}, "domain"),
        ({"snr_db": [-1e300, 1e300]}, "snr_db"),
    ],
)
def test_wrong_declarations_are_refused_by_field(root: Path, change: Any, problem: str) -> None:
    find_bundles(root)
    alter_config(root, **change)
    with pytest.raises(BundleError, match=problem) as caught:
        find_bundles(root)
    assert str(root / NAME / CONFIG) in str(caught.value)


DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe\x00", b"null", DEEP, b" " * 2**21])
def test_configurations_that_are_no_json_objects_are_refused(root: Path, data: bytes) -> None:
    (root / NAME / CONFIG).write_bytes(data)
    with pytest.raises(BundleError, match=r"config\.json"):
        find_bundles(root)


def test_a_pipe_in_place_of_a_file_is_refused_at_once(root: Path) -> None:
    for name in (ENCODER, CONFIG):
        (root / NAME / name).unlink()
        os.mkfifo(root / NAME / name)
        with pytest.raises(BundleError, match=f"{name}: is not a regular file"):
            load_encoder(root, find_bundles(root)[NAME])


def test_a_width_that_the_weights_do_not_have_costs_nothing(root: Path) -> None:
    alter_config(root, width=4096)
    started = time.process_time()
    with pytest.raises(BundleError, match="size mismatch"):
        load_encoder(root, find_bundles(root)[NAME])
    assert time.process_time() - started < 2  # to make it takes fourteen


def test_an_empty_or_missing_folder_has_no_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BundleError, match="no bundle"):
            find_bundles(folder)


def test_a_missing_declaration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"config\.json: No such file"):
        read_config(tmp_path)
