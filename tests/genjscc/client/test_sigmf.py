# SPDX-License-Identifier: Apache-2.0
"""SigMF: what is written is read again, others can read it, and bad files are named."""

from __future__ import annotations

import gzip
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
from numpy.typing import NDArray

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
    recorded = json.loads((tmp_path / "a.sigmf-meta").read_text())
    assert recorded["global"]["core:datatype"] == "cf32_le"
    assert recorded["global"]["core:sha512"] == hashlib.sha512(data).hexdigest()
    assert recorded["global"]["core:description"] == "mine"
    assert recorded["global"]["genjscc:bandwidth_ratio"] == "1/48"
    assert recorded["captures"] == [{"core:sample_start": 0}]
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
    recorded = json.loads(meta.read_text())
    recorded["global"]["core:sha512"] = hashlib.sha512(data).hexdigest()
    for name, value in changes.items():
        key = name.replace("__", ":")
        if value is None:
            recorded["global"].pop(key)
        else:
            recorded["global"][key] = value
    meta.write_text(json.dumps(recorded))
    path.with_name(path.name + ".sigmf-data").write_bytes(data)


GOOD = one().symbols.tobytes()


@pytest.mark.parametrize(
    ("data", "changes", "match"),
    [
        (GOOD, {"core__datatype": "rf32_le"}, "core:datatype: got 'rf32_le'; must be complex"),
        (GOOD, {"core__datatype": "ri16_le"}, "core:datatype: got 'ri16_le'; must be complex"),
        (GOOD, {"core__num_channels": 2}, "core:num_channels: got 2; must be 1"),
        (GOOD[:-3], {}, "got 45 bytes; a cf32_le sample has 8"),
        (GOOD[:-8], {}, "num_symbols: got 6; there are 5 symbols"),
        (b"", {}, "bad"),
        (GOOD, {"core__trailing_bytes": 48, "core__dataset": "bad.sigmf-data"}, "bad"),
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


TYPES = {
    "cf64_le": lambda z: z.astype("<c16"),
    "cf64_be": lambda z: z.astype(">c16"),
    "cf32_be": lambda z: z.astype(">c8"),
    "ci16_le": lambda z: parts(z, 2000).astype("<i2"),
    "ci32_be": lambda z: parts(z, 20_000_000).astype(">i4"),
    "ci8": lambda z: parts(z, 9).astype("i1"),
    "cu8": lambda z: (parts(z, 9) + 128).astype("u1"),
    "cu16_le": lambda z: (parts(z, 2000) + 2**15).astype("<u2"),
}


def parts(symbols: NDArray[np.complex64], unit: float) -> NDArray[np.float64]:
    return np.rint(symbols.view(np.float32).astype(np.float64) * unit)


@pytest.mark.parametrize("datatype", TYPES)
def test_other_complex_types_are_converted(tmp_path: Path, datatype: str) -> None:
    write(tmp_path / "x", TYPES[datatype](one().symbols).tobytes(), core__datatype=datatype)
    scale = 1.0 if "f" in datatype else one().power ** 0.5
    found = load_sigmf(tmp_path / "x").symbols * scale
    np.testing.assert_allclose(found, one().symbols, atol=0.1 if "8" in datatype else 1e-3)
    if "f" not in datatype:
        assert load_sigmf(tmp_path / "x").power == pytest.approx(1.0)
        assert load_sigmf(tmp_path / "x", power=2.5).power == pytest.approx(2.5)
        with pytest.raises(InvalidInputError, match="power: got 0"):
            load_sigmf(tmp_path / "x", power=0)


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_that_are_no_samples_are_left_out(tmp_path: Path, packed: bool) -> None:
    """A radio's driver may write a header before each capture, and a trailer at the end."""
    symbols = one().symbols
    data = b"HEAD" * 4 + symbols[:4].tobytes() + b"again..." + symbols[4:].tobytes() + b"end"
    write(tmp_path / "x", data, core__trailing_bytes=3)
    meta = tmp_path / "x.sigmf-meta"
    recorded = json.loads(meta.read_text())
    recorded["captures"] = [
        {"core:sample_start": 0, "core:header_bytes": 16},
        {"core:sample_start": 4, "core:header_bytes": 8},
    ]
    meta.write_text(json.dumps(recorded))
    path = tmp_path / "x"
    if packed:
        path = tmp_path / "packed.sigmf"
        with tarfile.open(path, "w") as tar:
            for suffix in ("meta", "data"):
                tar.add(tmp_path / f"x.sigmf-{suffix}", f"packed/packed.sigmf-{suffix}")
    np.testing.assert_array_equal(load_sigmf(path).symbols, symbols)


def test_what_is_no_recording_is_refused_at_once(tmp_path: Path) -> None:
    save_sigmf(one(), tmp_path / "x.sigmf")
    (tmp_path / "gz.sigmf").write_bytes(gzip.compress((tmp_path / "x.sigmf").read_bytes()))
    (tmp_path / "zip.sigmf").write_bytes(b"PK\x03\x04" + bytes(400))
    (tmp_path / "song.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(60))
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    for name, problem in (
        ("gz.sigmf", r"no plain tar archive; a compressed one must be called \.sigmf\.gz"),
        ("gz", "no plain tar archive"),
        ("zip.sigmf", "no plain tar archive"),
        ("song.wav", "is not a SigMF recording"),
        ("photo.png", "is not a SigMF recording"),
    ):
        with pytest.raises(InvalidInputError, match=problem):
            load_sigmf(tmp_path / name)
    (tmp_path / "gz.sigmf").rename(tmp_path / "y.sigmf.gz")
    assert same(load_sigmf(tmp_path / "y.sigmf.gz"), one())


@pytest.mark.parametrize("length", [600, 1100, 2100, 2600, 3000])
def test_an_archive_that_is_cut_off_is_refused_at_once(tmp_path: Path, length: int) -> None:
    save_sigmf(one(2000), tmp_path / "x.sigmf")
    whole = (tmp_path / "x.sigmf").read_bytes()
    (tmp_path / "x.sigmf").write_bytes(whole[:length])
    with pytest.raises(InvalidInputError, match=r"x\.sigmf"):
        load_sigmf(tmp_path / "x.sigmf")


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
