# SPDX-License-Identifier: Apache-2.0
"""Result files: measurements with their data, settings and command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from genjscc.quality.statistics import Mean

SchemeLabel = Literal["deepjscc", "generative", "inverse", "linear"]


class Record(BaseModel):
    """One scheme at one bandwidth ratio and one SNR, over a set of images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: SchemeLabel
    bundle: str | None = Field(None, description="model name; None for baselines")
    pair_id: str | None = Field(None, description="digest of the model's weights")
    dataset: str
    split: str
    n: int = Field(description="number of images")
    image_size: str = Field(description="width x height, or 'mixed'")
    bandwidth_ratio: str = Field(description="bandwidth ratio, such as '1/48'")
    k: int | None = Field(None, description="complex symbols per image; None if sizes differ")
    channel: str = Field("awgn", description="channel model")
    ofdm: dict[str, Any] | None = Field(None, description="options of the channel ofdm")
    channel_uses: int | None = Field(
        None, description="channel uses per image over OFDM, with pilots, prefix and padding"
    )
    snr_db: float
    snr: Literal["known", "estimated"] = Field(
        "known", description="whether the decoder is told the SNR or the receiver's estimate"
    )
    decoder_snr_db: Mean | None = Field(None, description="the estimate")
    told_snr_db: float | None = Field(None, description="SNR assumed by the networks; None: snr_db")
    seed: int = Field(description="base noise seed; image i uses seed + i")
    inversion: dict[str, Any] | None = Field(
        None, description="inversion options of the request; None: the receiver's default"
    )
    psnr_db: Mean
    ms_ssim: Mean
    ms_ssim_scales: int = Field(description="number of scales M of MS-SSIM")
    st_lpips_vgg: Mean | None = None
    st_lpips_alex: Mean | None = None
    lpips_vgg: Mean | None = None
    lpips_alex: Mean | None = None
    lpips_squeeze: Mean | None = None
    grid_2: Mean | None = Field(None, description="share of the error that repeats every 2 pixels")
    grid_4: Mean | None = Field(None, description="the same for 4 pixels")
    grid_8: Mean | None = Field(None, description="the same for 8 pixels")
    grid_16: Mean | None = Field(None, description="the same for 16 pixels")
    fd_efflite0: float | None = Field(
        None, description="Fréchet distance between received and original images"
    )
    fid: float | None = Field(None, description="FID: the same with Inception v3")

    @property
    def grid(self) -> float | None:
        """The largest mean grid share over the periods; None where it was not measured."""
        shares = (self.grid_2, self.grid_4, self.grid_8, self.grid_16)
        return max((share.mean for share in shares if share is not None), default=None)


class Difference(BaseModel):
    """The paired difference of two series at the same ratio, SNR and noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: SchemeLabel
    bundle: str | None = None
    pair_id: str | None = None
    against_scheme: SchemeLabel
    against_bundle: str | None = None
    against_pair_id: str | None = None
    bandwidth_ratio: str
    snr_db: float
    told_snr_db: float | None = None
    seed: int
    means: dict[str, Mean] = Field(
        description="mean of the differences with its interval, by metric"
    )


class InversionRecord(BaseModel):
    """The quality of a generator's inversions of a set of images, without a channel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: str
    dataset: str
    split: str
    n: int
    image_size: str
    steps: int
    psnr_db: Mean
    st_lpips_vgg: Mean = Field(description="ST-LPIPS (VGG), a term of the objective")
    st_lpips_alex: Mean


class SamplesRecord(BaseModel):
    """Distances of a generator's samples from a set of images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generator: str
    dataset: str
    split: str
    references: int = Field(description="number of reference images")
    n: int = Field(description="samples per set; the means are over several sets")
    image_size: str
    psi: float = Field(description="truncation psi; 1: none")
    seed: int
    fd_efflite0: Mean
    coverage: Mean
    density: Mean
    noise_change: Mean = Field(
        description="root mean square change of an image in [0, 1] with other noise maps"
    )


class ResultFile(BaseModel):
    """Records with their provenance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    command: str = Field(description="command that wrote this file")
    version: str = Field(description="version of genjscc")
    commit: str = Field(description="commit of the repository; 'unknown' outside one")
    notes: str = ""
    records: list[Record] = []
    differences: list[Difference] = []
    inversions: list[InversionRecord] = []
    samples: list[SamplesRecord] = []


def write_results(path: Path, results: ResultFile) -> None:
    """Write a result file: one record per line, six digits, without the fields that are None."""
    content = results.model_dump(mode="json", exclude_none=True)
    parts = []
    for name, value in content.items():
        text = json.dumps(value)
        if isinstance(value, list):
            lines = ",\n    ".join(json.dumps(_rounded(record)) for record in value)
            text = f"[\n    {lines}\n  ]" if value else "[]"
        parts.append(f'  "{name}": {text}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
