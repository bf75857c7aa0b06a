# SPDX-License-Identifier: Apache-2.0
"""Options of the link and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genjscc.client.inversion import InversionOptions, InversionSummary
from genjscc.display import card_html, constellation_svg, image_html, line, png
from genjscc.errors import GenJSCCError, InvalidInputError, checked_kind, needs
from genjscc.wire import schemes
from genjscc.wire.codewords import Codeword
from genjscc.wire.ofdm import Ofdm, OfdmReport
from genjscc.wire.ratios import format_ratio

if TYPE_CHECKING:
    from torch import Tensor

SchemeName = schemes.SchemeName
Hop = Literal["encode", "transmit", "decode"]
HOPS: tuple[Hop, ...] = ("encode", "transmit", "decode")


@dataclass(frozen=True)
class Awgn:
    """Additive white Gaussian noise."""


@dataclass(frozen=True)
class Fading:
    """Rayleigh (`k_factor` 0) or Rician block fading, then noise at the given average SNR.

    Attributes:
        k_factor: power of the line of sight over that of the scatter, linear.
        block_length: symbols that share a gain; 0: the whole codeword.
        equalize_at: who divides by the gains, which are known without error: the channel
            service or the receiver.
    """

    k_factor: float = 0.0
    block_length: int = 0
    equalize_at: Literal["channel", "receiver"] = "channel"


@dataclass(frozen=True)
class Noiseless:
    """Noiseless channel: symbols arrive as sent."""


@dataclass(frozen=True)
class PluginChannel:
    """A channel that the operator of the channel service provides as a plug-in.

    Attributes:
        name: at the service.
        parameters: by name; what is not set is as the plug-in says.
    """

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)


Channel = Awgn | Fading | Noiseless | Ofdm | PluginChannel
SnrKnowledge = Literal["known", "estimated"]

RICIAN_K_FACTOR = 4.0
CHANNELS: Mapping[str, Awgn | Fading | Noiseless | Ofdm] = {
    "awgn": Awgn(),
    "rayleigh": Fading(),
    "rician": Fading(RICIAN_K_FACTOR),
    "noiseless": Noiseless(),
    "ofdm": Ofdm(),
    "tdl-a": Ofdm("tdl-a"),
    "tdl-b": Ofdm("tdl-b"),
    "tdl-c": Ofdm("tdl-c"),
    "tdl-d": Ofdm("tdl-d"),
    "tdl-e": Ofdm("tdl-e"),
}
"""Channels by the names that the command line has for them, too"""


@dataclass(frozen=True)
class Options:
    """Options for sending one image.

    Attributes:
        snr_db: SNR of the channel, in dB.
        rate: bandwidth ratio as "1/48", Fraction(1, 48) or 1/48; None: the highest that the model
            offers.
        model: name of the model; None: the transmitter's default. For `decode`: the model to decode
            with, one that shares the encoder of the codeword's pair; None: the pair's own.
        scheme: how to decode; None: as the model was trained.
        seed: of noise and fading; None: the channel draws one and tells it.
        channel: the kind of channel, or its name: "awgn", "rayleigh", "rician" (line of sight
            four times as strong as scatter), "noiseless", "ofdm", or "tdl-a" to "tdl-e" (OFDM over
            multipath).
        told_snr_db: what encoder and decoder believe the SNR to be; None: the truth. What they
            were not trained for becomes the nearest that they were.
        snr: "known", or "estimated": the decoder is told an SNR that is estimated at the receiver,
            from the pilots of OFDM, or else from the power of the received symbols.
        inversion: for the scheme inverse: how to optimise; None: the receiver's default.
    """

    snr_db: float = 0.0
    rate: str | float | Fraction | None = None
    model: str | None = None
    scheme: SchemeName | None = None
    seed: int | None = None
    channel: Channel | str = field(default_factory=Awgn)
    told_snr_db: float | None = None
    inversion: InversionOptions | None = None
    snr: SnrKnowledge = "known"


@dataclass(frozen=True, eq=False, repr=False)
class Transmission:
    """A codeword after the channel.

    Attributes:
        received: the symbols at the receiver and the header as sent.
        gains: complex64, one per block, where the receiver has to equalise.
        block_length: symbols that share a gain.
        seed: that gives the same noise again.
        measured_power: average power of the symbols sent, linear.
        measured_snr_db: signal over noise at the receiver, in dB; inf without noise.
        ofdm: cost and measurements of a transmission over OFDM.
    """

    received: Codeword
    gains: NDArray[np.complex64] | None
    block_length: int
    seed: int
    measured_power: float
    measured_snr_db: float
    ofdm: OfdmReport | None = None

    @property
    def channel_uses(self) -> int:
        """Complex channel uses: k, and over OFDM also pilots, cyclic prefix and padding."""
        return self.received.k if self.ofdm is None else self.ofdm.channel_uses

    @property
    def used_ratio(self) -> Fraction:
        """Bandwidth ratio of all channel uses; rho counts only the codeword's symbols."""
        return self.received.bandwidth_ratio * self.channel_uses / self.received.k

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {
            "k": self.received.k,
            "SNR": f"{self.measured_snr_db:.2f} dB",
            "power": f"{self.measured_power:.3f}",
            "seed": self.seed,
        }
        if self.ofdm is not None:
            facts["channel uses"] = self.ofdm.channel_uses
            facts["SNR equalised"] = f"{self.ofdm.equalized_snr_db:.2f} dB"
            facts["PAPR"] = f"{self.ofdm.papr_db:.1f} dB"
        return facts

    def __repr__(self) -> str:
        return line("Transmission", self._facts())

    def _repr_html_(self) -> str:
        return card_html([constellation_svg(self.received.symbols)], self._facts())


@dataclass(frozen=True, eq=False, repr=False)
class Reception:
    """A received image.

    Attributes:
        image: the reconstruction, uint8 [H, W, 3].
        codeword: what was sent: symbols of power 1 and header.
        transmission: what arrived, and how it was measured.
        model: name of the model.
        seconds: time of each hop as the caller saw it.
        compute_seconds: the part of it in network or channel.
        inversion: of the scheme inverse: how the image was found.
        decoder_snr_db: SNR in dB that the decoder was told; None from an older receiver.
    """

    image: NDArray[np.uint8]
    codeword: Codeword
    transmission: Transmission
    model: str
    seconds: Mapping[Hop, float]
    compute_seconds: Mapping[Hop, float]
    inversion: InversionSummary | None = None
    decoder_snr_db: float | None = None

    @property
    def measured_snr_db(self) -> float:
        """Ratio of signal to noise at the receiver, in dB."""
        return self.transmission.measured_snr_db

    @property
    def seed(self) -> int:
        """Seed that reproduces the noise."""
        return self.transmission.seed

    def _facts(self) -> dict[str, object]:
        height, width, _ = self.image.shape
        facts: dict[str, object] = {
            "image": f"{width}x{height}",
            "model": self.model,
            "rho": format_ratio(self.codeword.bandwidth_ratio),
            "k": self.codeword.k,
            "SNR": f"{self.measured_snr_db:.2f} dB",
            "seed": self.seed,
        }
        if self.inversion is not None:
            facts["steps"] = self.inversion.steps
        return facts

    def __repr__(self) -> str:
        return line("Reception", self._facts())

    def _repr_png_(self) -> bytes:
        return png(self.image)

    def _repr_html_(self) -> str:
        figures = [image_html(self.image), constellation_svg(self.transmission.received.symbols)]
        facts = self._facts()
        facts |= {hop: f"{seconds * 1e3:.1f} ms" for hop, seconds in self.seconds.items()}
        return card_html(figures, facts)

    def to_tensor(self) -> Tensor:
        """Convert the reconstruction to a PyTorch tensor, float32 [3, H, W] in [0, 1].

        Raises:
            MissingExtraError: PyTorch is not installed.
        """
        with needs("models", "to_tensor"):
            import torch
        return torch.from_numpy(self.image.transpose(2, 0, 1).astype(np.float32) / 255)

    def to_pil(self) -> Image.Image:
        """Convert the reconstruction to a Pillow image."""
        return Image.fromarray(self.image)

    def save(self, path: str | Path) -> None:
        """Write the reconstruction to a file; the suffix chooses the format.

        Raises:
            InvalidInputError: it cannot be written there, or not in that format.
        """
        checked_kind(path, (str, Path), "path")
        try:
            self.to_pil().save(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInputError("path", f"cannot write {path}: {reason}") from error


@dataclass(frozen=True, eq=False)
class Failure:
    """A failed image of `send_many`: its position and its error."""

    index: int
    error: GenJSCCError


@dataclass(frozen=True)
class ModelInfo:
    """An available model.

    Attributes:
        name: to ask for it by.
        scheme: that it was trained for.
        pair_id: shared by the encoder and the decoder that were trained together.
        bandwidth_ratios: on offer, ascending, as "1/48".
        domain: what it was trained on.
        image_size: side of the training images in pixels.
        snr_db: lower and upper end of the training SNRs in dB.
        is_default: whether a request gets it that names none.
        schemes: from a receiver: how it can decode this model's symbols.
        max_pixels: rows times columns of the largest image that the service accepts, padded to
            multiples of 16; None: the service does not say.
        dtype: arithmetic of the service's networks, "float32" or "bfloat16"; empty likewise.
        encoder_pair_id: of the model whose encoder it shares, which its codewords carry; empty:
            it has its own.
        inversion_sizes: from a receiver: sides in pixels of the square images that InverseJSCC
            takes, ascending.
    """

    name: str
    scheme: SchemeName
    pair_id: str
    bandwidth_ratios: tuple[str, ...]
    domain: str
    image_size: int
    snr_db: tuple[float, float]
    is_default: bool
    schemes: tuple[SchemeName, ...] = ()
    max_pixels: int | None = None
    dtype: str = ""
    encoder_pair_id: str = ""
    inversion_sizes: tuple[int, ...] = ()
