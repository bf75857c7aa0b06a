# SPDX-License-Identifier: Apache-2.0
"""The separation baseline: an image codec, then a channel code.

The best file that fits the channel's byte budget is sent (`files`). If none fits, or the channel
decoder fails, the image is an outage: the receiver shows the mean colour of training images. Of
the possible attempts (modulations and code rates; margins under fading) the one with the best mean
PSNR over all images, outages included, is taken.

The receiver knows the image size; the learned schemes do not pay for it either. Each file and each
picture is computed and measured once, for any number of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genjscc.evaluation.separation.capacity import AnyChannel, Attempt
from genjscc.evaluation.separation.codecs import Codec, Rgb
from genjscc.evaluation.separation.files import File, Files, restore
from genjscc.evaluation.separation.records import ChannelCode, SeparationRecord
from genjscc.evaluation.sweep import Cell, Dataset, Measured, Meter
from genjscc.quality.psnr import psnr_db
from genjscc.quality.statistics import Mean, mean_of


@dataclass(frozen=True, eq=False)
class Plan:
    """One point of the sweep with the possible attempts there."""

    cell: Cell
    channel: AnyChannel
    channel_code: ChannelCode
    ks: Sequence[int]
    attempts: Sequence[Attempt]


@dataclass(frozen=True, eq=False)
class _Outcome:
    """The best attempt of a plan and the file of each image, None for an outage."""

    plan: Plan
    headers: bool
    attempt: Attempt
    files: list[File | None]


def evaluate_separation(
    codec: Codec,
    dataset: Dataset,
    plans: Sequence[Plan],
    meter: Meter,
    *,
    colour: NDArray[np.uint8],
    seed: int,
    note: Callable[[str, int], None] = lambda _stage, _total: None,
) -> Iterator[SeparationRecord]:
    """Evaluate one codec over all plans, with and without headers.

    Args:
        codec: the image codec.
        dataset: images of any size.
        plans: points of the sweep.
        meter: the metrics.
        colour: uint8 [3], colour of the image shown after an outage.
        seed: noise seed of the plans' attempts.
        note: called at each step with the stage and its number of steps.
    """
    outcomes = _choose(codec, dataset.images, plans, colour, note)
    pictures = _Pictures(codec, dataset, meter, colour, outcomes, note)
    for outcome in outcomes:
        yield _record(codec, dataset, outcome, pictures.measured(outcome), seed)


def mean_colour(images: Sequence[Rgb]) -> NDArray[np.uint8]:
    """Compute the mean colour of training images, uint8 [3]."""
    means = np.array([image.mean((0, 1)) for image in images])
    colour: NDArray[np.uint8] = means.mean(0).round().astype(np.uint8)
    return colour


def _choose(
    codec: Codec,
    images: Sequence[Rgb],
    plans: Sequence[Plan],
    colour: NDArray[np.uint8],
    note: Callable[[str, int], None],
) -> list[_Outcome]:
    """Choose, with and without headers, each plan's attempt of the highest mean PSNR."""
    options = [
        (plan, headers, attempt)
        for plan in plans
        for headers in (True, False)
        for attempt in plan.attempts
    ]
    sent: list[list[File | None]] = [[] for _ in options]
    quality = np.zeros(len(options))
    for number, image in enumerate(images):
        files = Files(codec, image)
        outage = min(100.0, psnr_db(image, np.broadcast_to(colour, image.shape)))
        for index, (_, headers, attempt) in enumerate(options):
            file = None
            if attempt.arrived[number]:
                file = files.best(int(attempt.budgets[number]), headers=headers)
            sent[index].append(file)
            quality[index] += outage if file is None else file.psnr_db
        note("files", len(images))
    best: dict[tuple[int, bool], int] = {}
    # Ties, such as a total outage, go to the attempt that delivers the most images.
    rank = [(quality[i], attempt.arrived.mean()) for i, (_, _, attempt) in enumerate(options)]
    for index, (plan, headers, _) in enumerate(options):
        key = (id(plan), headers)
        if key not in best or rank[index] > rank[best[key]]:
            best[key] = index
    return [_Outcome(*options[index], sent[index]) for index in best.values()]


class _Pictures:
    """Pictures shown by the receiver, each measured once."""

    def __init__(
        self,
        codec: Codec,
        dataset: Dataset,
        meter: Meter,
        colour: NDArray[np.uint8],
        outcomes: Sequence[_Outcome],
        note: Callable[[str, int], None],
    ) -> None:
        self._codec, self._images, self._colour = codec, dataset.images, colour
        self._single, self._sets = Meter(meter.perceptual), Meter(distances=meter.distances)
        self._set_distances: dict[tuple[int, ...], dict[str, float]] = {}
        # The index of each picture among those of its image; the outage has index 0.
        self._numbers: list[dict[File | None, int]] = [{None: 0} for _ in self._images]
        for outcome in outcomes:
            for numbers, file in zip(self._numbers, outcome.files, strict=True):
                numbers.setdefault(file, len(numbers))
        self._layers = self._measure_all(note)

    def _measure_all(self, note: Callable[[str, int], None]) -> list[Measured]:
        """Measure layer j, picture j of each image, for all j; the originals stay cached."""
        lists = [list(numbers) for numbers in self._numbers]
        layers = []
        count = max(map(len, lists))
        for number in range(count):
            shown = [
                self._show(image, files[min(number, len(files) - 1)])
                for image, files in zip(self._images, lists, strict=True)
            ]
            layers.append(self._single.measure(self._images, shown))
            note("metrics", count)
        return layers

    def _show(self, image: Rgb, file: File | None) -> Rgb:
        if file is None:
            return np.broadcast_to(self._colour, image.shape)
        return restore(self._codec, file.data, *image.shape[:2])

    def measured(self, outcome: _Outcome) -> Measured:
        """Return the metrics of an outcome, from those of its pictures."""
        chosen = tuple(
            numbers[file] for numbers, file in zip(self._numbers, outcome.files, strict=True)
        )
        values = {
            name: [self._layers[number].values[name][i] for i, number in enumerate(chosen)]
            for name in self._layers[0].values
        }
        if chosen not in self._set_distances:
            self._set_distances[chosen] = self._distances(outcome)
        return Measured(values, self._set_distances[chosen], self._layers[0].ms_ssim_scales)

    def _distances(self, outcome: _Outcome) -> dict[str, float]:
        if not self._sets.distances:
            return {}
        shown = [
            self._show(image, file) for image, file in zip(self._images, outcome.files, strict=True)
        ]
        return self._sets.measure(self._images, shown).sets


def _record(
    codec: Codec, dataset: Dataset, outcome: _Outcome, measured: Measured, seed: int
) -> SeparationRecord:
    plan, attempt = outcome.plan, outcome.attempt
    arrived = [file for file in outcome.files if file is not None]
    ks = set(plan.ks)
    return SeparationRecord(
        bundle=None,
        pair_id=None,
        dataset=dataset.name,
        split=dataset.split,
        n=len(dataset.images),
        image_size=dataset.size,
        bandwidth_ratio=plan.cell.bandwidth_ratio,
        k=ks.pop() if len(ks) == 1 else None,
        channel=type(plan.channel).__name__.lower(),
        snr_db=plan.cell.snr_db,
        seed=seed,
        codec=codec.name,
        headers=outcome.headers,
        channel_code=plan.channel_code,
        modulation=attempt.modulation,
        code_rate=attempt.code_rate,
        outage=mean_of([float(file is None) for file in outcome.files]),
        undecoded=mean_of([float(not arrived) for arrived in attempt.arrived]),
        budget_bytes=float(attempt.budgets.mean()),
        file_bytes=_mean([float(file.size(headers=outcome.headers)) for file in arrived]),
        scale=float(np.mean([file.scale for file in arrived])) if arrived else None,
        **measured.fields(),
    )


def _mean(values: Sequence[float]) -> Mean | None:
    return mean_of(values) if len(values) > 1 else None
