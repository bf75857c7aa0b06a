# SPDX-License-Identifier: Apache-2.0
"""Records of the separation baseline, with its additional fields."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genjscc.evaluation.records import Record, ResultFile
from genjscc.quality.statistics import Mean

ChannelCode = Literal["capacity", "ldpc"]


class SeparationRecord(Record):
    """One codec and channel code at one bandwidth ratio and one SNR, over a set of images."""

    scheme: Literal["separation"] = "separation"  # type: ignore[assignment]
    codec: str = Field(description="image codec: jpeg, jpeg2000, webp, avif or bpg")
    headers: bool = Field(description="whether a file's headers count against the budget")
    channel_code: ChannelCode = Field(description="channel code; capacity: an ideal code")
    modulation: str | None = Field(None, description="modulation on the envelope, such as '16-QAM'")
    code_rate: str | None = Field(None, description="code rate on the envelope, such as '1/2'")
    outage: Mean = Field(description="fraction of images replaced by the mean colour")
    undecoded: Mean = Field(description="fraction of images whose channel decoding failed")
    budget_bytes: float = Field(description="byte budget, mean over images")
    file_bytes: Mean | None = Field(None, description="size of files that arrived; None below two")
    scale: float | None = Field(None, description="mean down-scaling of their sides")


class SeparationFile(ResultFile):
    """Records of the baseline with their provenance."""

    records: list[SeparationRecord]  # type: ignore[assignment]
