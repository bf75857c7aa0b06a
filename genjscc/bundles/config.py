# SPDX-License-Identifier: Apache-2.0
"""Declaration of a bundle (`config.json`)."""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from genjscc.layers.bottleneck import SOURCE_SAMPLES_PER_SYMBOL

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Channels = Annotated[int, Field(ge=2, le=4096, multiple_of=2)]
# What nobody has built yet is a mistake, or somebody who wants memory for nothing.
LARGEST_SIDE = 4096
Decibel = Annotated[float, Field(ge=-1000, le=1000)]
Text = Annotated[str, Field(max_length=10_000)]
# A name, never a path: a file of a bundle lies in its folder.
WEIGHTS_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}\.safetensors$"
FileName = Annotated[str, Field(pattern=WEIGHTS_PATTERN)]
Files = Annotated[dict[FileName, Sha256], Field(max_length=16)]
BundleName = Annotated[str, Field(pattern=NAME_PATTERN)]


class GeneratorConfig(BaseModel):
    """Declaration of a StyleGAN2 generator, which pairs and inversions refer to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = Field(1, description="version of this layout")
    name: BundleName = Field(description="the folder's name")
    scheme: Literal["stylegan2"] = Field(description="tells it from a pair")
    image_size: int = Field(ge=8, le=LARGEST_SIDE, description="side of its images in pixels")
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        max_length=11, description="channels at 4, 8, 16, ... pixels"
    )
    style_dim: int = Field(ge=1, le=4096, description="size of z and w")
    mapping_layers: int = Field(ge=1, le=64, description="layers from z to w")
    files: Files = Field(description="SHA-256 of each weight file")


class GenerativePart(BaseModel):
    """The part of a declaration that only GenerativeJSCC has: generator and latent decoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: BundleName = Field(description="the generator's bundle, in the same folder")
    generator_sha256: Sha256 = Field(description="of its weight file")
    style_dim: int = Field(ge=8, le=4096, multiple_of=8, description="size of the generator's w")
    latent: Literal["w", "w+"] = Field(description="one style for all layers, or one for each")
    latent_layers: int = Field(
        ge=1, le=64, description="linear layers from the initial latent to L"
    )
    latent_grid: Literal[1, 2, 4] = Field(description="cells, each way, that P_l sees; paper: 1")
    latent_part: int = Field(
        0, ge=0, le=4096, description="numbers that each P_l makes; 0: style_dim / 8, as the paper"
    )
    noise: bool = Field(description="whether noise maps are transmitted")


PairId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class SharedEncoder(BaseModel):
    """The encoder of another bundle, for which a decoder was trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: BundleName = Field(description="the bundle that has it, in the same folder")
    pair_id: PairId = Field(description="of that bundle; its codewords carry it")
    sha256: Sha256 = Field(description="of the encoder's weight file")


class BundleConfig(BaseModel):
    """Declaration of a pair: an encoder and a decoder trained together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = Field(1, description="version of this layout")
    name: BundleName = Field(description="the folder's name")
    scheme: Literal["deepjscc", "generative"] = Field(
        "deepjscc", description="what it was trained for"
    )
    pair_id: PairId = Field(description="digest of the weights; shared by the pair")
    shared_encoder: SharedEncoder | None = Field(
        None, description="whose encoder it is, for a bundle that holds a decoder alone"
    )
    width: Channels | tuple[Channels, Channels, Channels] = Field(
        description="c, channels of the networks, or those at 1/2, 1/4 and 1/8 of the side"
    )
    symbol_channels: int = Field(ge=2, le=4096, multiple_of=2, description="C_out")
    channel_steps: tuple[int, ...] = Field((), description="prefixes of C_out that may be sent")
    af: bool = Field(True, description="whether the networks have AF modules")
    linear_path: bool = Field(False, description="whether a linear code runs beside the networks")
    generative: GenerativePart | None = Field(None, description="for the scheme generative alone")
    domain: Text = Field(description="what it was trained on")
    image_size: int = Field(
        ge=16, le=LARGEST_SIDE, description="side of the training images in pixels"
    )
    snr_db: tuple[Decibel, Decibel] = Field(description="range of the training SNRs in dB")
    licence: Text = Field(description="terms of the weights")
    files: Files = Field(description="SHA-256 of each weight file")

    @field_validator("channel_steps")
    @classmethod
    def _steps_fit(cls, steps: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        most = info.data.get("symbol_channels")
        even = all(step >= 2 and step % 2 == 0 for step in steps)
        if steps and (not even or list(steps) != sorted(set(steps)) or steps[-1] != most):
            raise ValueError(f"got {list(steps)}; must be even, ascending and end at {most}")
        return steps

    @field_validator("snr_db")
    @classmethod
    def _range_ascends(cls, snr_db: tuple[float, float]) -> tuple[float, float]:
        if not snr_db[0] <= snr_db[1]:
            raise ValueError(f"got {list(snr_db)}; must be the lower end, then the upper")
        return snr_db

    @model_validator(mode="after")
    def _scheme_is_described(self) -> Self:
        if (self.scheme == "generative") != (self.generative is not None):
            raise ValueError(f"scheme {self.scheme!r} and the part 'generative' contradict")
        if self.generative is not None and (self.linear_path or not isinstance(self.width, int)):
            raise ValueError("scheme 'generative' has one width and no linear path")
        return self

    @property
    def only_side(self) -> int | None:
        """Side of the only padded images that the pair can carry; None for any size."""
        return self.image_size if self.scheme == "generative" else None

    @property
    def codeword_pair_id(self) -> str:
        """The pair that codewords of this bundle's encoder carry in their header."""
        return self.shared_encoder.pair_id if self.shared_encoder else self.pair_id

    @cached_property
    def channels_by_ratio(self) -> dict[Fraction, int]:
        """Bottleneck channels of each supported bandwidth ratio, in ascending order."""
        steps = self.channel_steps or (self.symbol_channels,)
        return {Fraction(c, SOURCE_SAMPLES_PER_SYMBOL): c for c in sorted(steps)}
