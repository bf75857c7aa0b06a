# SPDX-License-Identifier: Apache-2.0
"""Records of the separation baseline: those of every scheme, and what only this one has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genjscc.evaluation.records import Record, ResultFile
from genjscc.quality.statistics import Mean

ChannelCode = Literal["capacity", "ldpc"]


class SeparationRecord(Record):
    """One codec and channel code at one bandwidth ratio and one SNR, over a set of images."""

    scheme: Literal["separation"] = "separation"  # type: ignore[assignment]
    codec: str = Field(description="jpeg, jpeg2000, webp, avif or bpg")
    headers: bool = Field(description="whether a file's headers count against the budget")
    channel_code: ChannelCode = Field(description="capacity: a code that reaches it")
    modulation: str | None = Field(None, description="best of the envelope, as '16-QAM'")
    code_rate: str | None = Field(None, description="best of the envelope, as '1/2'")
    outage: Mean = Field(description="share of images that show the mean colour")
    undecoded: Mean = Field(description="share of images whose channel decoding failed")
    budget_bytes: float = Field(description="mean over images")
    file_bytes: Mean | None = Field(None, description="of files that arrived; None below two")
    scale: float | None = Field(None, description="their mean down-scaling, by side")


class SeparationFile(ResultFile):
    """Records of the baseline with their origin."""

    records: list[SeparationRecord]  # type: ignore[assignment]
