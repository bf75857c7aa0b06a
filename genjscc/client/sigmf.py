# SPDX-License-Identifier: Apache-2.0
"""Codewords as SigMF recordings, for software radios and signal analysers.

The samples are the symbols as they travel on the wire, `cf32_le`. What a receiver must know
lies in the metadata as fields of the namespace `genjscc`, named as in `CodewordHeader`.
"""

from __future__ import annotations

import io
import json
import tarfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genjscc.client.validation import checked_codeword, checked_positive
from genjscc.errors import InvalidInputError, checked_kind, needs
from genjscc.limits import Limits
from genjscc.v1 import codeword_pb2
from genjscc.wire.codewords import Codeword, codeword_from_message, codeword_to_message
from genjscc.wire.tensors import DTYPE, complex_from_message, complex_to_message

_NAMESPACE = "genjscc"
_VERSION = "1.0.0"
_META, _DATA, _ARCHIVE = ".sigmf-meta", ".sigmf-data", ".sigmf"
_SUFFIXES = (_META, _DATA, _ARCHIVE, ".sigmf-collection")
_COMPRESSED = (".sigmf.gz", ".sigmf.xz", ".sigmf.zip")
# Complex types by the type of their two parts.
_DATATYPES: dict[str, np.dtype[Any]] = {
    DTYPE: np.dtype("<f4"),
    "cf32_be": np.dtype(">f4"),
    "cf64_le": np.dtype("<f8"),
    "cf64_be": np.dtype(">f8"),
    **{
        f"c{kind}{8 * size}{order}": np.dtype(f"{sign}{kind}{size}")
        for size in (4, 2)
        for kind in "iu"
        for order, sign in (("_le", "<"), ("_be", ">"))
    },
    "ci8": np.dtype("i1"),
    "cu8": np.dtype("u1"),
}
_FIELDS = tuple(field.name for field in codeword_pb2.CodewordHeader.DESCRIPTOR.fields)
_LIMITS = Limits(max_pixels=2**31, max_symbols=2**31, max_side=2**31)


def save_sigmf(codeword: Codeword, path: str | Path, *, description: str = "") -> None:
    """Write a sent or received codeword as a SigMF recording, replacing an old one.

    Args:
        codeword: such as `reception.codeword` or `reception.transmission.received`.
        path: `NAME` or `NAME.sigmf-meta` gives NAME.sigmf-meta and NAME.sigmf-data,
            `NAME.sigmf` one archive.
        description: for people who find the file.

    Raises:
        MissingExtraError: sigmf is not installed.
        InvalidInputError: the file cannot be written.
    """
    checked_kind(path, (str, Path), "path")
    checked_kind(description, str, "description")
    sigmf = _sigmf()
    message = codeword_to_message(checked_codeword(codeword))
    header = {f"{_NAMESPACE}:{field.name}": value for field, value in message.header.ListFields()}
    recording = sigmf.SigMFFile(
        global_info={
            sigmf.DATATYPE_KEY: DTYPE,
            sigmf.RECORDER_KEY: "GenJSCC",
            sigmf.DESCRIPTION_KEY: description or repr(codeword),
            sigmf.EXTENSIONS_KEY: [{"name": _NAMESPACE, "version": _VERSION, "optional": True}],
            **header,
        }
    )
    recording.add_capture(0)
    recording.set_data_file(data_buffer=io.BytesIO(message.symbols.data))
    try:
        recording.tofile(path, overwrite=True)
    except OSError as error:
        raise InvalidInputError("path", f"cannot write {path}: {error.strerror}") from error


def load_sigmf(path: str | Path, *, like: Codeword | None = None, power: float = 1.0) -> Codeword:
    """Read the codeword of a SigMF recording.

    Args:
        path: as for `save_sigmf`.
        like: the codeword that was sent, for a recording of another program that knows nothing
            of pair, ratio and image size; its header is taken then.
        power: average power of the symbols of a recording in whole numbers (ci16_le and so on),
            which do not say what a unit was: 1 for symbols as sent, 1 + 10**(-SNR/10) with noise.

    Raises:
        MissingExtraError: sigmf is not installed.
        InvalidInputError: no SigMF recording, not complex with one channel, damaged, of another
            length than it says, or without the header where `like` is not given.
    """
    checked_kind(path, (str, Path), "path")
    checked_kind(like, (Codeword, type(None)), "like")
    power = checked_positive(power, "power")
    recording = _read(path)
    symbols = _symbols(recording, path, power)
    tensor = complex_to_message(symbols)
    if like is not None:
        checked = complex_from_message(tensor, field=str(path), max_size=_LIMITS.max_symbols)
        if len(checked) != like.k:
            raise InvalidInputError(
                str(path), f"got {len(checked)} samples; what was sent has {like.k} symbols"
            )
        return replace(like, symbols=checked)
    header = _header(recording, path)
    message = codeword_pb2.Codeword(header=header, symbols=tensor)
    return codeword_from_message(message, limits=_LIMITS, field=str(path))


def _sigmf() -> Any:
    with needs("sigmf", "a SigMF recording"):
        import sigmf
    return sigmf


def _read(path: str | Path) -> Any:
    """Open a recording and verify its checksum, without reading its samples."""
    sigmf = _sigmf()
    try:
        _refuse_other_files(Path(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lengths, which are checked here
            recording = sigmf.fromfile(path)
            recording.validate()
    except InvalidInputError:
        raise
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInputError(str(path), f"is not a SigMF recording: {first}") from error
    if not isinstance(recording, sigmf.SigMFFile):
        raise InvalidInputError(str(path), "is a SigMF collection; name one of its recordings")
    return recording


def _refuse_other_files(path: Path) -> None:
    """Raise InvalidInputError for files that the package would guess at or read without end.

    It takes audio and other formats for recordings, and waits for the end of a member that an
    archive is too short for.
    """
    archive = _archive(path)
    if archive is not None:
        size = archive.stat().st_size
        try:
            with tarfile.open(archive, "r:") as tar:
                whole = all(one.offset_data + one.size <= size for one in tar.getmembers())
        except tarfile.TarError as error:
            raise InvalidInputError(
                str(path),
                f"is not a SigMF recording: {archive.name} is no plain tar archive"
                "; a compressed one must be called .sigmf.gz or .sigmf.xz",
            ) from error
        if not whole:
            raise InvalidInputError(str(path), "is cut off: the archive ends before its samples")
        return
    others = path.suffix not in _SUFFIXES and not path.name.endswith(_COMPRESSED)
    if others and path.is_file() and not _beside(path, _META).exists():
        raise InvalidInputError(
            str(path), "is not a SigMF recording; those end in .sigmf-meta or .sigmf"
        )


def _beside(path: Path, suffix: str) -> Path:
    """Return the file of a recording with a given suffix."""
    stem = path.with_suffix("") if path.suffix in _SUFFIXES else path
    return stem.with_name(stem.name + suffix)


def _archive(path: Path) -> Path | None:
    """Return the archive that a path names; None if it names separate files."""
    archive = _beside(path, _ARCHIVE)
    chosen = path.suffix == _ARCHIVE or not _beside(path, _META).is_file()
    return archive if chosen and archive.is_file() else None


def _symbols(recording: Any, path: str | Path, power: float) -> NDArray[np.complex64]:
    """Read the samples, without the bytes between captures; integers are scaled."""
    datatype = recording.get_global_field("core:datatype")
    numbers = _DATATYPES.get(datatype)
    if numbers is None:
        known = ", ".join(_DATATYPES)
        raise InvalidInputError(
            f"{path} core:datatype", f"got {datatype!r}; must be complex: one of {known}"
        )
    if recording.num_channels != 1:
        raise InvalidInputError(
            f"{path} core:num_channels", f"got {recording.num_channels}; must be 1"
        )
    size = 2 * numbers.itemsize
    data = _sample_bytes(recording, path, size)
    if not data:
        raise InvalidInputError(str(path), "holds no sample")
    if len(data) % size:
        raise InvalidInputError(str(path), f"got {len(data)} bytes; a {datatype} sample has {size}")
    if numbers == np.dtype("<f4"):
        return np.frombuffer(data, dtype="<c8")
    parts = np.frombuffer(data, dtype=numbers).astype(np.float64).reshape(-1, 2)
    if numbers.kind == "u":
        parts -= 2.0 ** (8 * numbers.itemsize - 1)
    if numbers.kind in "iu":
        mean = float(np.mean(np.sum(parts**2, axis=1)))
        parts *= np.sqrt(power / mean) if mean else 1.0
    with np.errstate(over="ignore"):  # refused as not finite
        symbols: NDArray[np.complex64] = (parts[:, 0] + 1j * parts[:, 1]).astype(np.complex64)
    return symbols


def _sample_bytes(recording: Any, path: str | Path, size: int) -> bytes:
    """Return the bytes of the samples, without `core:header_bytes` and `core:trailing_bytes`."""
    data = memoryview(_dataset(recording, Path(path)))
    trailing = recording.get_global_field("core:trailing_bytes", 0)
    data = data[: max(0, len(data) - trailing)]
    captures = recording.get_captures()
    ends = [capture["core:sample_start"] for capture in captures[1:]]
    kept, at, begun = [], 0, 0
    for capture, end in zip(captures, [*ends, None], strict=False):
        at += capture.get("core:header_bytes", 0)
        length = len(data) if end is None else max(0, end - begun) * size
        kept.append(data[at : at + length])
        at, begun = at + length, end or begun
    return b"".join(kept) if captures else bytes(data)


def _dataset(recording: Any, path: Path) -> bytes:
    """Return all bytes of the dataset, from the file or the archive."""
    archive = _archive(path)
    if archive is not None:
        named = recording.get_global_field("core:dataset") or _DATA
        with tarfile.open(archive, "r:") as tar:
            for member in tar.getmembers():
                if member.isfile() and member.name.endswith((_DATA, named)):
                    file = tar.extractfile(member)
                    return b"" if file is None else file.read()
        return b""
    if recording.data_buffer is not None:
        return bytes(recording.data_buffer.getvalue())
    if recording.data_file is None:
        raise InvalidInputError(str(path), "has no samples: its .sigmf-data is missing")
    return bytes(recording.data_file.read_bytes())


def _header(recording: Any, path: str | Path) -> codeword_pb2.CodewordHeader:
    """Read the recording's header as an untrusted message."""
    recorded = recording.get_global_info()
    header = codeword_pb2.CodewordHeader()
    for name in _FIELDS:
        key = f"{_NAMESPACE}:{name}"
        if key not in recorded:
            if name == "snr_db":
                continue
            raise InvalidInputError(
                f"{path} {key}", "is missing; name the sent codeword with `like`"
            )
        try:
            setattr(header, name, recorded[key])
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{path} {key}", f"got {json.dumps(recorded[key])}; {error}"
            ) from error
    return header
