# SPDX-License-Identifier: Apache-2.0
"""How long a receiver works on an image, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from genjscc.client.inversion import Inversion
from genjscc.client.options import ModelInfo, Reception, SchemeName
from genjscc.evaluation.records import Record, ResultFile
from genjscc.evaluation.sweep import Cell, Dataset, Meter, SendsMany, evaluate_cell
from genjscc.quality.statistics import Mean, mean_of


class TimedRecord(Record):
    """A record whose images were decoded one by one, on the clock."""

    receiver_seconds: Mean = Field(description="of computing in the decoder, for one image alone")
    threads: int
    processor: str


class TimedFile(ResultFile):
    """Records with times."""

    records: list[TimedRecord]  # type: ignore[assignment]


@dataclass(frozen=True)
class Machine:
    """What the time was measured on."""

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
    inversion: Inversion | None = None,
    seed: int = 0,
    note: Callable[[Reception], None] = lambda _: None,
) -> TimedRecord:
    """Sends images one after the other and keeps the decoder's own time for each.

    Args:
        link: in this process and with `max_batch` 1, so that an image is alone.
        model: that the link offers.
        dataset: the images.
        cell: ratio and SNR.
        meter: the metrics.
        scheme: how to decode.
        machine: what this runs on.
        inversion: how InverseJSCC optimises; None: the receiver's default.
        seed: image number i travels with seed + i.
        note: called with each reception.
    """
    seconds: list[float] = []

    def keep(reception: Reception) -> None:
        seconds.append(reception.compute_seconds["decode"])
        note(reception)

    if scheme != "inverse":  # the first image of a process is slow, which a long inversion hides
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
