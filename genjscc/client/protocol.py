# SPDX-License-Identifier: Apache-2.0
"""Protocol of a link without I/O: builds requests and parses responses.

Every link, remote or in one process, drives this; they differ in how a request becomes a
response and in nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genjscc.client.arrays import TensorLike, rgb_from_array, rgb_from_tensor
from genjscc.client.inversion import inversion_to_message, read_summary
from genjscc.client.options import (
    Awgn,
    Fading,
    Hop,
    ModelInfo,
    Noiseless,
    Options,
    PluginChannel,
    Reception,
    Transmission,
)
from genjscc.client.validation import checked_codeword, checked_count, checked_received
from genjscc.errors import InvalidInputError
from genjscc.limits import MAX_SNR_DB, MIN_SNR_DB, PHOTO_LIMITS, Limits
from genjscc.photos import read_file
from genjscc.v1 import channel_pb2, model_pb2, receiver_pb2, tensor_pb2, transmitter_pb2
from genjscc.wire.codewords import (
    Codeword,
    codeword_from_message,
    codeword_to_message,
    gains_from_message,
)
from genjscc.wire.images import (
    decode_file,
    is_heif,
    rgb_from_message,
    rgb_from_open_image,
    rgb_to_message,
)
from genjscc.wire.numbers import checked_seed, checked_snr_db
from genjscc.wire.ofdm import Ofdm, ofdm_report_from_message, ofdm_to_message
from genjscc.wire.schemes import SCHEMES
from genjscc.wire.tensors import complex_to_message

ImageInput = str | Path | bytes | NDArray[Any] | Image.Image | TensorLike

_M = TypeVar("_M")
_log = logging.getLogger(__name__)

# A client trusts its services about sizes; the message length bounds them anyway. Pictures have
# limits: an encoded one may hold anything.
_LIMITS = Limits(max_pixels=2**31, max_symbols=2**31, max_side=2**31)


@dataclass(frozen=True)
class Call:
    """A request for one hop."""

    hop: Hop
    request: Any


def image_to_message(image: ImageInput) -> tensor_pb2.Image:
    """Convert an image to its message: a path, a file's bytes, a Pillow image, an array or a
    tensor.

    Arrays are [H, W, C], tensors [C, H, W]; uint8, or floats in [0, 1] (`genjscc.client.arrays`).

    Raises:
        InvalidInputError: none of these, or a file that cannot be read.
    """
    if isinstance(image, str | Path):
        return _file_to_message(read_file(image, field="image"))
    if isinstance(image, bytes | bytearray):
        return _file_to_message(bytes(image))
    if isinstance(image, Image.Image):
        return rgb_to_message(rgb_from_open_image(image, limits=PHOTO_LIMITS))
    if isinstance(image, np.ndarray):
        return rgb_to_message(rgb_from_array(image))
    if isinstance(image, TensorLike):
        return rgb_to_message(rgb_from_tensor(image))
    raise InvalidInputError(
        "image",
        f"got {type(image).__name__}; must be a path, bytes, a Pillow image, an array or a tensor",
    )


def _file_to_message(data: bytes) -> tensor_pb2.Image:
    if is_heif(data):  # which services do not read: it is decoded where its package is installed
        return rgb_to_message(decode_file(data, limits=PHOTO_LIMITS, field="image"))
    return tensor_pb2.Image(encoded=data)


def encode_request(image: ImageInput, options: Options) -> transmitter_pb2.EncodeRequest:
    """Build an encode request. Raises InvalidInputError for options that would be refused."""
    assumed = options.snr_db if options.told_snr_db is None else options.told_snr_db
    return transmitter_pb2.EncodeRequest(
        image=image_to_message(image),
        model=options.model or "",
        bandwidth_ratio="" if options.rate is None else str(options.rate),
        snr_db=checked_snr_db(assumed),
    )


def transmit_request(codeword: Codeword, options: Options) -> channel_pb2.TransmitRequest:
    """Build the request that sends a codeword over the channel of the options."""
    request = channel_pb2.TransmitRequest(
        codeword=codeword_to_message(checked_codeword(codeword)),
        snr_db=checked_snr_db(options.snr_db),
    )
    if options.seed is not None:
        request.seed = checked_seed(options.seed)
    channel = options.channel
    if isinstance(channel, Noiseless):
        request.model.noiseless.SetInParent()
    elif isinstance(channel, Fading):
        at_receiver = channel.equalize_at == "receiver"
        request.model.fading.k_factor = channel.k_factor
        request.model.fading.block_length = channel.block_length
        request.model.fading.equalization = (
            channel_pb2.EQUALIZATION_NONE if at_receiver else channel_pb2.EQUALIZATION_ZERO_FORCING
        )
    elif isinstance(channel, Ofdm):
        request.model.ofdm.CopyFrom(ofdm_to_message(channel))
    elif isinstance(channel, PluginChannel):
        _set_plugin(request.model.plugin, channel)
    elif isinstance(channel, Awgn):
        request.model.awgn.SetInParent()
    else:  # never another channel than the one that was asked for
        raise InvalidInputError("channel", f"got {channel!r}; must be a channel")
    return request


def _set_plugin(message: channel_pb2.PluginChannel, channel: PluginChannel) -> None:
    message.name = channel.name
    for name, value in channel.parameters.items():
        try:
            message.parameters[name] = value
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"channel.parameters.{name}", f"got {value!r}; {error}"
            ) from error


def decode_request(
    transmission: Transmission | Codeword, options: Options
) -> receiver_pb2.DecodeRequest:
    """The received symbols to the decoder of the options; a codeword is taken as received.

    `model` of the options is the decoder; None: the codeword's pair chooses.
    """
    transmission = checked_received(transmission)
    if isinstance(transmission, Codeword):
        received, gains, block_length, ofdm = transmission, None, 0, None
    else:
        received, gains, ofdm = transmission.received, transmission.gains, transmission.ofdm
        block_length = transmission.block_length
    assumed = options.snr_db if options.told_snr_db is None else options.told_snr_db
    estimated = options.snr == "estimated"
    if estimated and ofdm is not None:  # the pilots know better than the power
        assumed = min(max(ofdm.estimated_snr_db, MIN_SNR_DB), MAX_SNR_DB)
    request = receiver_pb2.DecodeRequest(
        received=codeword_to_message(received),
        snr_db=checked_snr_db(assumed),
        format=tensor_pb2.IMAGE_FORMAT_RAW,
        estimate_snr=estimated and ofdm is None,
        model=options.model or "",
    )
    if options.scheme is not None:
        request.scheme = SCHEMES[options.scheme]
    if options.inversion is not None:
        request.inversion.CopyFrom(inversion_to_message(options.inversion))
    if gains is not None:
        request.state.gains.CopyFrom(complex_to_message(gains))
        request.state.block_length = block_length
    return request


def read_codeword(response: transmitter_pb2.EncodeResponse, options: Options) -> Codeword:
    """Read the codeword of a response; warn if its networks were not trained for the SNR."""
    codeword = codeword_from_message(response.codeword, limits=_LIMITS)
    asked = options.snr_db if options.told_snr_db is None else options.told_snr_db
    if codeword.snr_db is not None and codeword.snr_db != asked:
        _remark_assumed(response.model, asked, codeword.snr_db)
    return codeword


@lru_cache(64)
def _remark_assumed(model: str, asked: float, assumed: float) -> None:
    """Warn, once, that the networks use another SNR than requested."""
    _log.warning(
        "snr_db: got %g; model %r was trained up to %g dB, which is used instead"
        if asked > assumed
        else "snr_db: got %g; model %r was trained from %g dB on, which is used instead",
        asked,
        model,
        assumed,
    )


def read_transmission(response: channel_pb2.TransmitResponse, options: Options) -> Transmission:
    """Read a transmission from a response, with its gains if the receiver has to use them."""
    received = codeword_from_message(response.received, limits=_LIMITS, field="received")
    gains, block_length = None, 0
    channel = options.channel
    if isinstance(channel, Fading) and channel.equalize_at == "receiver":
        gains, block_length = gains_from_message(response.state, k=received.k, limits=_LIMITS)
    return Transmission(
        received,
        gains,
        block_length,
        response.seed,
        response.measured_power,
        response.measured_snr_db,
        ofdm_report_from_message(response.ofdm) if response.HasField("ofdm") else None,
    )


def read_image(response: receiver_pb2.DecodeResponse) -> NDArray[np.uint8]:
    """Read the reconstruction of a response, uint8 [H, W, 3]."""
    return rgb_from_message(response.image, limits=PHOTO_LIMITS)


class Journey:
    """Progress of one image: responses so far, and the next request."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._seconds: dict[Hop, float] = {}
        self._compute: dict[Hop, float] = {}
        self._left_at = 0.0
        self._model = self._decoder = ""
        self._codeword: Codeword | None = None
        self._transmission: Transmission | None = None

    def first(self, image: ImageInput) -> transmitter_pb2.EncodeRequest:
        """Return the request to the transmitter."""
        return self._leave(encode_request(image, self.options))

    def after_encode(self, response: transmitter_pb2.EncodeResponse) -> channel_pb2.TransmitRequest:
        """Return the request to the channel."""
        self._arrive("encode", response.compute_seconds)
        self._model, self._decoder = response.model, response.decoder
        self._codeword = read_codeword(response, self.options)
        return self._leave(transmit_request(self._codeword, self.options))

    def after_transmit(self, response: channel_pb2.TransmitResponse) -> receiver_pb2.DecodeRequest:
        """Return the request to the receiver."""
        self._arrive("transmit", response.compute_seconds)
        self._transmission = read_transmission(response, self.options)
        # The model's name is the transmitter's; at the receiver the pair chooses, as a rule.
        options = replace(self.options, model=self._decoder or None)
        return self._leave(decode_request(self._transmission, options))

    def after_decode(self, response: receiver_pb2.DecodeResponse) -> Reception:
        """Return the reception."""
        self._arrive("decode", response.compute_seconds)
        if self._codeword is None or self._transmission is None:
            raise RuntimeError("after_decode comes after the other two")
        return Reception(
            read_image(response),
            self._codeword,
            self._transmission,
            self._model,
            self._seconds,
            self._compute,
            read_summary(response.inversion) if response.HasField("inversion") else None,
            response.snr_db if response.HasField("snr_db") else None,
        )

    def _leave(self, request: _M) -> _M:
        self._left_at = time.perf_counter()
        return request

    def _arrive(self, hop: Hop, compute_seconds: float) -> None:
        self._seconds[hop] = time.perf_counter() - self._left_at
        self._compute[hop] = compute_seconds


def send_steps(image: ImageInput, options: Options) -> Generator[Call, Any, Reception]:
    """Yield the calls of one image in order, take each response, and return the reception."""
    journey = Journey(options)
    encoded = yield Call("encode", journey.first(image))
    transmitted = yield Call("transmit", journey.after_encode(encoded))
    decoded = yield Call("decode", journey.after_transmit(transmitted))
    return journey.after_decode(decoded)


def last_of(steps: Generator[Call, Any, Reception], response: Any) -> Reception:
    """Return the reception of `send_steps` for the response to its last call."""
    try:
        steps.send(response)
    except StopIteration as end:
        reception: Reception = end.value
        return reception
    raise RuntimeError("that was not the response to the last call")


def invert_request(
    request: receiver_pb2.DecodeRequest, preview_every: int
) -> receiver_pb2.InvertRequest:
    """Turn a decode request into one that reports progress."""
    preview_every = checked_count(preview_every, "preview_every")
    return receiver_pb2.InvertRequest(request=request, preview_every=preview_every)


def inverse_options(options: Options) -> Options:
    """Check and return the options of a call that has to be an inversion.

    Raises:
        InvalidInputError: they ask for another scheme.
    """
    if options.scheme not in (None, "inverse"):
        raise InvalidInputError("scheme", f"got {options.scheme!r}; only inverse can be watched")
    return replace(options, scheme="inverse")


def model_info(message: model_pb2.Model) -> ModelInfo:
    """Read a model from a response of ListModels."""
    names = {number: name for name, number in SCHEMES.items()}
    return ModelInfo(
        message.name,
        names[message.scheme],
        message.pair_id,
        tuple(message.bandwidth_ratios),
        message.domain,
        message.image_size,
        (message.snr_db_min, message.snr_db_max),
        message.is_default,
        tuple(names[number] for number in message.schemes if number in names),
        message.max_pixels or None,
        message.dtype,
        message.encoder_pair_id,
        tuple(message.inversion_sizes),
    )


def to_rgb_array(image: ImageInput) -> NDArray[np.uint8]:
    """Read an image's pixels, uint8 [H, W, 3], as a transmitter does."""
    return rgb_from_message(image_to_message(image), limits=PHOTO_LIMITS)
