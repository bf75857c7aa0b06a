# SPDX-License-Identifier: Apache-2.0
"""Decoding time per image at the receiver, with the quality of the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from genjscc.client.inversion import InversionOptions
from genjscc.client.options import ModelInfo, Reception, SchemeName
from genjscc.evaluation.records import Record, ResultFile
from genjscc.evaluation.sweep import Cell, Dataset, Meter, SendsMany, evaluate_cell
from genjscc.quality.statistics import Mean, mean_of


class TimedRecord(Record):
    """A record whose images were decoded and timed one by one."""

    receiver_seconds: Mean = Field(description="compute time of the decoder for one image")
    threads: int
    processor: str


class TimedFile(ResultFile):
    """A result file of timed records."""

    records: list[TimedRecord]  # type: ignore[assignment]


@dataclass(frozen=True)
class Machine:
    """The machine that the time was measured on."""

    processor: str
    threads: int


def time_receiver(
    link: SendsMany,
    model: ModelInfo,
    dataset: Dataset,
    cell: Cell,
    meter: Meter,
    *,
    scheme: SchemeName,
    machine: Machine,
    inversion: InversionOptions | None = None,
    seed: int = 0,
    note: Callable[[Reception], None] = lambda _: None,
) -> TimedRecord:
    """Send images one by one and record the decoder's own time for each.

    Args:
        link: a link in this process with `max_batch` 1, so that images are not batched.
        model: a model that the link offers.
        dataset: the images.
        cell: ratio and SNR.
        meter: the metrics.
        scheme: decoding scheme.
        machine: description of this machine.
        inversion: options of InverseJSCC; None: the receiver's default.
        seed: base noise seed; image i uses seed + i.
        note: called with each reception.
    """
    seconds: list[float] = []

    def keep(reception: Reception) -> None:
        seconds.append(reception.compute_seconds["decode"])
        note(reception)

    # Warm up: the first image of a process is slow, which is negligible in a long inversion.
    if scheme != "inverse":
        first = dataset.images[:1]
        keywords = {"rate": cell.bandwidth_ratio, "model": model.name, "scheme": scheme}
        list(link.send_many(first, snr_db=cell.snr_db, **keywords))
    record, _ = evaluate_cell(
        link,
        model,
        dataset,
        cell,
        meter,
        seed=seed,
        scheme=scheme,
        inversion=inversion,
        note=keep,
    )
    return TimedRecord(
        **record.model_dump(),
        receiver_seconds=mean_of(seconds),
        threads=machine.threads,
        processor=machine.processor,
    )
