# SPDX-License-Identifier: Apache-2.0
"""Codewords as SigMF recordings, which software radios and signal analysers read and write.

The samples are the symbols as they travel on the wire, `cf32_le`. What a receiver must know
lies in the metadata as fields of the namespace `genjscc`, named as in `CodewordHeader`.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genjscc.errors import InvalidInputError, needs
from genjscc.limits import Limits
from genjscc.v1 import codeword_pb2, tensor_pb2
from genjscc.wire.codewords import Codeword, codeword_from_message, codeword_to_message
from genjscc.wire.tensors import DTYPE, complex_from_message

_NAMESPACE = "genjscc"
_VERSION = "1.0.0"
_SAMPLE_BYTES = 8
_FIELDS = tuple(field.name for field in codeword_pb2.CodewordHeader.DESCRIPTOR.fields)
_LIMITS = Limits(max_pixels=2**31, max_symbols=2**31, max_side=2**31)


def save_sigmf(codeword: Codeword, path: str | Path, *, description: str = "") -> None:
    """Writes a codeword, sent or received, as a SigMF recording; an old one is replaced.

    Args:
        codeword: such as `reception.codeword` or `reception.transmission.received`.
        path: `NAME` or `NAME.sigmf-meta` gives NAME.sigmf-meta and NAME.sigmf-data,
            `NAME.sigmf` one archive.
        description: for people who find the file.

    Raises:
        MissingExtraError: sigmf is not installed.
        InvalidInputError: the file cannot be written.
    """
    sigmf = _sigmf()
    message = codeword_to_message(codeword)
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


def load_sigmf(path: str | Path, *, like: Codeword | None = None) -> Codeword:
    """The codeword of a SigMF recording.

    Args:
        path: as for `save_sigmf`.
        like: the codeword that was sent, for a recording of another program that knows nothing
            of pair, ratio and image size; its header is taken then.

    Raises:
        MissingExtraError: sigmf is not installed.
        InvalidInputError: no SigMF recording, not cf32_le with one channel, damaged, of another
            length than it says, or without the header where `like` is not given.
    """
    recording = _read(path)
    data = _samples(recording, path)
    if like is not None:
        tensor = tensor_pb2.ComplexTensor(
            dtype=DTYPE, shape=[len(data) // _SAMPLE_BYTES], data=data
        )
        symbols = complex_from_message(tensor, field=str(path), max_size=_LIMITS.max_symbols)
        if len(symbols) != like.k:
            raise InvalidInputError(
                str(path), f"got {len(symbols)} samples; what was sent has {like.k} symbols"
            )
        return replace(like, symbols=symbols)
    return codeword_from_message(_message(recording, data, path), limits=_LIMITS, field=str(path))


def _sigmf() -> Any:
    with needs("sigmf", "a SigMF recording"):
        import sigmf
    return sigmf


def _read(path: str | Path) -> Any:
    """The recording, its checksum verified and its samples not looked at."""
    sigmf = _sigmf()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lengths, which are checked here
            recording = sigmf.fromfile(path)
            recording.validate()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidInputError(str(path), f"is not a SigMF recording: {first}") from error
    if not isinstance(recording, sigmf.SigMFFile):
        raise InvalidInputError(str(path), "is a SigMF collection; name one of its recordings")
    return recording


def _samples(recording: Any, path: str | Path) -> bytes:
    datatype = recording.get_global_field("core:datatype")
    if datatype != DTYPE:
        raise InvalidInputError(f"{path} core:datatype", f"got {datatype!r}; must be {DTYPE!r}")
    if recording.num_channels != 1:
        raise InvalidInputError(
            f"{path} core:num_channels", f"got {recording.num_channels}; must be 1"
        )
    if recording.data_file is None and recording.data_buffer is None:
        raise InvalidInputError(str(path), "has no samples: its .sigmf-data is missing")
    if not recording.sample_count:
        raise InvalidInputError(str(path), "holds no sample")
    if recording.data_file is not None and recording.data_file.stat().st_size % _SAMPLE_BYTES:
        raise InvalidInputError(
            str(recording.data_file),
            f"got {recording.data_file.stat().st_size} bytes; a {DTYPE} sample has {_SAMPLE_BYTES}",
        )
    samples = np.asarray(recording.read_samples(), dtype="<c8")
    return samples.tobytes()


def _message(recording: Any, data: bytes, path: str | Path) -> codeword_pb2.Codeword:
    """The recording as a message from anywhere, which is checked as such."""
    told = recording.get_global_info()
    header = codeword_pb2.CodewordHeader()
    for name in _FIELDS:
        key = f"{_NAMESPACE}:{name}"
        if key not in told:
            if name == "snr_db":
                continue
            raise InvalidInputError(
                f"{path} {key}", "is missing; name the sent codeword with `like`"
            )
        try:
            setattr(header, name, told[key])
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{path} {key}", f"got {json.dumps(told[key])}; {error}"
            ) from error
    symbols = tensor_pb2.ComplexTensor(dtype=DTYPE, shape=[len(data) // _SAMPLE_BYTES], data=data)
    return codeword_pb2.Codeword(header=header, symbols=symbols)
