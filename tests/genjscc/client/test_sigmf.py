# SPDX-License-Identifier: Apache-2.0
"""SigMF: what is written is read again, others can read it, and bad files are named."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genjscc import Codeword, LocalLink, load_sigmf, save_sigmf
from genjscc.errors import InvalidInputError, MissingExtraError

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def codewords(draw: Any) -> Codeword:
    parts = draw(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=50))
    return Codeword(
        np.array([complex(*p) for p in parts], np.complex64),
        draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)),
        Fraction(draw(st.integers(1, 50)), draw(st.integers(51, 5000))),
        (draw(st.integers(1, 5000)), draw(st.integers(1, 5000))),
        draw(st.none() | st.floats(-30, 60)),
    )


def one(k: int = 6) -> Codeword:
    symbols = (np.arange(k) * (1 - 2j) + 0.5).astype(np.complex64)
    return Codeword(symbols, "0123456789abcdef", Fraction(1, 48), (8, 12), -3.0)


def same(left: Codeword, right: Codeword) -> bool:
    fields = ("pair_id", "bandwidth_ratio", "image_size", "snr_db")
    equal = all(getattr(left, name) == getattr(right, name) for name in fields)
    return equal and left.symbols.tobytes() == right.symbols.tobytes()


@given(codeword=codewords(), suffix=st.sampled_from(["", ".sigmf-meta", ".sigmf"]))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, codeword: Codeword, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"round trip{suffix}"
    save_sigmf(codeword, path)
    assert same(load_sigmf(path), codeword)


def test_others_can_read_it(tmp_path: Path) -> None:
    save_sigmf(one(), tmp_path / "a", description="mine")
    data = (tmp_path / "a.sigmf-data").read_bytes()
    interleaved = np.frombuffer(data, "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(interleaved[:, 0], one().symbols.real)
    np.testing.assert_array_equal(interleaved[:, 1], one().symbols.imag)
    told = json.loads((tmp_path / "a.sigmf-meta").read_text())
    assert told["global"]["core:datatype"] == "cf32_le"
    assert told["global"]["core:sha512"] == hashlib.sha512(data).hexdigest()
    assert told["global"]["core:description"] == "mine"
    assert told["global"]["genjscc:bandwidth_ratio"] == "1/48"
    assert told["captures"] == [{"core:sample_start": 0}]
    save_sigmf(one(), tmp_path / "b.sigmf")
    with tarfile.open(tmp_path / "b.sigmf") as archive:
        assert {Path(name).name for name in archive.getnames()} >= {
            "b.sigmf-meta",
            "b.sigmf-data",
        }


def test_a_codeword_comes_back_from_a_file_and_is_decoded(bundles: Path, tmp_path: Path) -> None:
    with LocalLink(bundles=bundles) as link:
        image = np.full((32, 32), 90, np.uint8)
        reception = link.send(image, seed=1, snr_db=4.0)
        save_sigmf(reception.transmission.received, tmp_path / "received")
        again = link.decode(load_sigmf(tmp_path / "received"), snr_db=4.0)
    np.testing.assert_array_equal(again, reception.image)


def write(path: Path, data: bytes, **changes: Any) -> None:
    """A recording of `one()` with other fields and samples."""
    save_sigmf(one(), path)
    meta = path.with_name(path.name + ".sigmf-meta")
    told = json.loads(meta.read_text())
    told["global"]["core:sha512"] = hashlib.sha512(data).hexdigest()
    for name, value in changes.items():
        key = name.replace("__", ":")
        if value is None:
            told["global"].pop(key)
        else:
            told["global"][key] = value
    meta.write_text(json.dumps(told))
    path.with_name(path.name + ".sigmf-data").write_bytes(data)


GOOD = one().symbols.tobytes()


@pytest.mark.parametrize(
    ("data", "changes", "match"),
    [
        (GOOD, {"core__datatype": "ci16_le"}, "core:datatype: got 'ci16_le'; must be 'cf32_le'"),
        (GOOD, {"core__datatype": "cf64_le"}, "core:datatype: got 'cf64_le'"),
        (GOOD, {"core__num_channels": 2}, "core:num_channels: got 2; must be 1"),
        (GOOD[:-3], {}, "got 45 bytes; a cf32_le sample has 8"),
        (GOOD[:-8], {}, "num_symbols: got 6; there are 5 symbols"),
        (b"", {}, "bad"),
        (GOOD[:-8] + np.complex64(complex(np.nan, 0)).tobytes(), {}, "all must be finite"),
        (GOOD, {"core__sha512": "0" * 128}, "hash does not match"),
        (GOOD, {"genjscc__pair_id": None}, "genjscc:pair_id: is missing; name the sent codeword"),
        (GOOD, {"genjscc__image_width": "wide"}, 'genjscc:image_width: got "wide"'),
        (GOOD, {"genjscc__image_width": -1}, "genjscc:image_width: got -1"),
        (GOOD, {"genjscc__bandwidth_ratio": "half"}, "bandwidth_ratio"),
        (GOOD, {"genjscc__snr_db": 1e9}, "snr_db: got 1000000000.0"),
        (GOOD, {"core__datatype": None}, "is not a SigMF recording"),
    ],
)
def test_a_bad_recording_is_named(
    tmp_path: Path, data: bytes, changes: dict[str, Any], match: str
) -> None:
    write(tmp_path / "bad", data, **changes)
    with pytest.raises(InvalidInputError, match=match) as caught:
        load_sigmf(tmp_path / "bad")
    assert "bad" in str(caught.value)


# The package leaves the file open where its JSON is broken.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"global": 3}', '"text"'])
def test_metadata_that_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.sigmf-meta").write_text(content)
    with pytest.raises(InvalidInputError, match=r"x.* is not a SigMF recording"):
        load_sigmf(tmp_path / "x")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing"):
        load_sigmf(tmp_path / "nothing")
    save_sigmf(one(), tmp_path / "x")
    (tmp_path / "x.sigmf-data").unlink()
    with pytest.raises(InvalidInputError, match="has no samples"):
        load_sigmf(tmp_path / "x")
    with pytest.raises(InvalidInputError, match="cannot write"):
        save_sigmf(one(), tmp_path / "no folder" / "x")


def test_a_recording_of_a_stranger_takes_the_header_of_what_was_sent(tmp_path: Path) -> None:
    noise = np.full(6, 0.25, np.complex64)
    foreign = {"core:datatype": "cf32_le", "core:version": "1.2.0"}
    described = {"global": foreign, "captures": [{"core:sample_start": 0}], "annotations": []}
    (tmp_path / "x.sigmf-meta").write_text(json.dumps(described))
    (tmp_path / "x.sigmf-data").write_bytes((one().symbols + noise).tobytes())
    with pytest.raises(InvalidInputError, match="genjscc:pair_id: is missing"):
        load_sigmf(tmp_path / "x")
    read = load_sigmf(tmp_path / "x", like=one())
    assert read.pair_id == one().pair_id
    np.testing.assert_array_equal(read.symbols, one().symbols + noise)
    with pytest.raises(InvalidInputError, match="got 6 samples; what was sent has 7 symbols"):
        load_sigmf(tmp_path / "x", like=one(7))


def test_an_archive_that_is_damaged(tmp_path: Path) -> None:
    save_sigmf(one(), tmp_path / "x.sigmf")
    whole = (tmp_path / "x.sigmf").read_bytes()
    (tmp_path / "x.sigmf").write_bytes(whole[:700])
    with pytest.raises(InvalidInputError, match=r"x\.sigmf"):
        load_sigmf(tmp_path / "x.sigmf")


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigmf", None)
    for call in (lambda: save_sigmf(one(), tmp_path / "x"), lambda: load_sigmf(tmp_path / "x")):
        with pytest.raises(MissingExtraError, match=r"genjscc\[sigmf\]"):
            call()
