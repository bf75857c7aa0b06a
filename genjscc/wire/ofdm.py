# SPDX-License-Identifier: Apache-2.0
"""Options and report of a transmission over OFDM, and their messages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from genjscc.errors import InvalidInputError
from genjscc.v1 import channel_pb2

ProfileName = Literal["none", "tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e"]
PilotPattern = Literal["comb", "block", "none"]
Estimation = Literal["perfect", "ls", "lmmse"]
OfdmEqualization = Literal["mmse", "zero_forcing"]

# The numbers on the wire; the first of each is that of an unset field.
OFDM_CHOICES: dict[str, dict[str, int]] = {
    "profile": {
        "none": channel_pb2.DELAY_PROFILE_UNSPECIFIED,
        "tdl-a": channel_pb2.DELAY_PROFILE_TDL_A,
        "tdl-b": channel_pb2.DELAY_PROFILE_TDL_B,
        "tdl-c": channel_pb2.DELAY_PROFILE_TDL_C,
        "tdl-d": channel_pb2.DELAY_PROFILE_TDL_D,
        "tdl-e": channel_pb2.DELAY_PROFILE_TDL_E,
    },
    "pilots": {
        "comb": channel_pb2.PILOT_PATTERN_COMB,
        "block": channel_pb2.PILOT_PATTERN_BLOCK,
        "none": channel_pb2.PILOT_PATTERN_NONE,
    },
    "estimation": {
        "lmmse": channel_pb2.CHANNEL_ESTIMATION_LMMSE,
        "ls": channel_pb2.CHANNEL_ESTIMATION_LS,
        "perfect": channel_pb2.CHANNEL_ESTIMATION_PERFECT,
    },
    "equalization": {
        "mmse": channel_pb2.OFDM_EQUALIZATION_MMSE,
        "zero_forcing": channel_pb2.OFDM_EQUALIZATION_ZERO_FORCING,
    },
}
"""Values of the fields with names, by field; the first is the default"""


@dataclass(frozen=True)
class Ofdm:
    """OFDM with pilots, over multipath and imperfect hardware, then noise.

    The SNR is the average SNR of a resource element. Units are in the names of the fields.

    Attributes:
        profile: delay profile of 3GPP TR 38.901; "none": noise alone.
        delay_spread_ns: RMS delay spread in ns.
        carrier_frequency_hz: carrier frequency in Hz.
        speed_mps: speed of the receiver in m/s; 0: the channel does not change within a codeword.
        fft_size: samples of an OFDM symbol without its prefix.
        subcarriers: subcarriers in use, around the carrier; 0: all.
        subcarrier_spacing_hz: distance of the subcarriers in Hz.
        cyclic_prefix: samples of the prefix.
        pilots: "comb": every `pilot_spacing`-th subcarrier and the last one, at all times;
            "block": all subcarriers of every `pilot_spacing`-th OFDM symbol; "none".
        pilot_spacing: distance of the pilots, in subcarriers or in OFDM symbols.
        estimation: "perfect": the gains are known; "ls": least squares at the pilots, linear
            interpolation between them; "lmmse": from the statistics of the channel.
        equalization: "mmse", scaled so that a codeword keeps its size, or "zero_forcing".
        clipping_db: saturation of the power amplifier over the mean power, in dB; None: linear.
        cfo: carrier frequency offset as a fraction of the subcarrier spacing.
        phase_noise_hz: linewidth of the oscillator in Hz (Wiener phase noise).
        iq_gain_db: imbalance of the amplitudes of I and Q at the transmitter, in dB.
        iq_phase_deg: error of the angle between I and Q at the transmitter, in degrees.
    """

    profile: ProfileName = "none"
    delay_spread_ns: float = 100.0
    carrier_frequency_hz: float = 3.5e9
    speed_mps: float = 0.0
    fft_size: int = 64
    subcarriers: int = 0
    subcarrier_spacing_hz: float = 30e3
    cyclic_prefix: int = 8
    pilots: PilotPattern = "comb"
    pilot_spacing: int = 4
    estimation: Estimation = "lmmse"
    equalization: OfdmEqualization = "mmse"
    clipping_db: float | None = None
    cfo: float = 0.0
    phase_noise_hz: float = 0.0
    iq_gain_db: float = 0.0
    iq_phase_deg: float = 0.0


@dataclass(frozen=True)
class OfdmReport:
    """Cost and measurements of a transmission over OFDM.

    Attributes:
        channel_uses: complex channel uses, with pilots, cyclic prefix and unused elements.
        ofdm_symbols: number of OFDM symbols.
        pilots: number of pilots.
        equalized_snr_db: power of the codeword over that of all errors after equalisation, in dB.
        estimated_snr_db: the same SNR as the receiver estimates it, in dB.
        papr_db: peak-to-average power ratio of the transmitted samples, in dB.
    """

    channel_uses: int
    ofdm_symbols: int
    pilots: int
    equalized_snr_db: float
    estimated_snr_db: float
    papr_db: float


def ofdm_to_message(options: Ofdm) -> channel_pb2.OfdmChannel:
    """Convert options to their message.

    Raises:
        InvalidInputError: a value does not fit its field.
    """
    message = channel_pb2.OfdmChannel()
    for field in fields(options):
        value: Any = getattr(options, field.name)
        if value is None:
            continue
        try:
            number = OFDM_CHOICES[field.name][value] if field.name in OFDM_CHOICES else value
            setattr(message, field.name, number)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"channel.{field.name}", f"got {value!r}; {error}") from error
    return message


def ofdm_from_message(message: channel_pb2.OfdmChannel, *, field: str = "model.ofdm") -> Ofdm:
    """Read options from a message; `channel.ofdm` checks their ranges.

    Raises:
        InvalidInputError: a named value is unknown.
    """
    values: dict[str, Any] = {}
    for name, choices in OFDM_CHOICES.items():
        number = getattr(message, name)
        names = {value: key for key, value in choices.items()}
        names.setdefault(0, next(iter(choices)))
        if number not in names:
            raise InvalidInputError(f"{field}.{name}", f"got {number}; not a known value")
        values[name] = names[number]
    for descriptor, value in message.ListFields():
        if descriptor.name not in OFDM_CHOICES:
            values[descriptor.name] = value
    return Ofdm(**values)


def ofdm_report_from_message(message: channel_pb2.OfdmReport) -> OfdmReport:
    """Read a report from a message."""
    return OfdmReport(**{field.name: getattr(message, field.name) for field in fields(OfdmReport)})
