# SPDX-License-Identifier: Apache-2.0
"""Inversions in the receiver: choice of pair and generator, limits, stepwise execution."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genjscc.bundles.store import find_generators, read_generator_config
from genjscc.errors import (
    BundleError,
    InvalidInputError,
    ModelNotFoundError,
    quoted,
)
from genjscc.layers.bottleneck import num_symbols
from genjscc.layers.precision import arithmetic
from genjscc.pixels import padded_size
from genjscc.quality.perceptual import FeatureDistance
from genjscc.serving.catalogue import Catalogue, LoadedModel
from genjscc.serving.settings import ReceiverSettings
from genjscc.v1 import inversion_pb2, model_pb2, tensor_pb2
from genjscc.wire.images import rgb_to_message
from genjscc.wire.numbers import checked_seed
from receiver.forward import ForwardOperator
from receiver.inverse.config import InverseConfig, inverse_config
from receiver.inverse.distances import Distances
from receiver.inverse.initialiser import LatentStart, load_start
from receiver.inverse.optimiser import Inversion, Losses, Problem, step
from receiver.inverse.variables import checked_start
from receiver.jobs import DecodeJob, DecodeResult, Plan, pixels_of
from receiver.models import Generators
from receiver.stylegan2.generator import Generator
from transmitter.models import load_encoder

Receive = Callable[[Sequence[DecodeJob]], Sequence[Tensor]]
"""x_hat [3, S, S] of jobs of one model and size, by their pair's own decoder"""

BEYOND_ARITHMETIC = (
    "received.symbols",
    "are beyond the decoder's arithmetic; their average power should be near 1",
)
DIVERGED = (
    "inversion",
    "has diverged; a smaller learning_rate or feature_rate may help",
)
_SEPARATE = ("preset", "generator", "seed")
log = logging.getLogger("genjscc")


@dataclass(frozen=True, eq=False)
class StepReport:
    """Progress of an inversion after a step; `result` is set at the end."""

    steps_done: int
    num_steps: int
    stage: int
    losses: Losses
    image: Tensor
    result: DecodeResult | None


class Course:
    """State of a job with its inversion; the image is received before the first step."""

    def __init__(self, job: DecodeJob, plan: Plan) -> None:
        self.job, self.plan = job, plan
        self.key: Hashable = inversion_key(job)
        self.inversion: Inversion | None = None
        self.start = "mean"
        self.seconds = 0.0


class Inversions:
    """Inversion of DeepJSCC pairs through the generators in the same folder.

    All of it but the perceptual networks is loaded at startup. Broken generators are left out.

    Raises:
        BundleError: the default generator is missing or broken.
    """

    def __init__(
        self, settings: ReceiverSettings, catalogue: Catalogue[nn.Module], generators: Generators
    ) -> None:
        self._settings, self._catalogue = settings, catalogue
        names, device = find_generators(settings.bundles), catalogue.device
        if settings.inversion_generator and settings.inversion_generator not in names:
            there = ", ".join(names) or "none"
            raise BundleError(
                f"generator {settings.inversion_generator!r} of inversions is not in "
                f"{settings.bundles}; there: {there}"
            )
        self._generators: dict[str, Generator] = {}
        self._starts: dict[str, LatentStart] = {}
        for name in names:
            folder = settings.bundles / name
            try:
                generator = generators.load(name).to(device)
                start = load_start(folder, read_generator_config(folder))
            except BundleError as error:
                if name == settings.inversion_generator:
                    raise
                catalogue.leave_out(name, error)
                continue
            self._generators[name] = generator
            if start is not None:
                self._starts[name] = start.to(device)
        self._forwards: dict[str, ForwardOperator] = {}
        for model in catalogue:
            if not self._generators or model.config.scheme != "deepjscc":
                continue
            try:
                encoder = load_encoder(settings.bundles, model.config).to(device)
            except BundleError as error:  # its symbols can be decoded all the same
                log.error("not inverted", extra={"bundle": model.name, "reason": str(error)})
            else:
                self._forwards[model.name] = ForwardOperator(encoder, model.network)
        self._distances = Distances(device)
        self._problems: dict[Hashable, Problem] = {}

    def offered(self, model: LoadedModel[nn.Module]) -> bool:
        """Return whether a model's images can be inverted here."""
        return model.name in self._forwards

    def sizes(self) -> list[int]:
        """Sides in pixels of the images that the generators show, ascending."""
        return sorted({generator.size for generator in self._generators.values()})

    def plan(
        self,
        options: inversion_pb2.InversionOptions,
        channels: int,
        size: tuple[int, int],
    ) -> Plan:
        """Choose generator and configuration for an image.

        Args:
            options: options of the request.
            channels: bottleneck channels that were sent.
            size: height and width of the image.

        Raises:
            GenJSCCError: an option is invalid or not available here.
        """
        preset = options.preset or self._settings.inversion_preset
        config = inverse_config(preset, overrides_from(options))
        most = self._settings.inversion_max_steps
        if config.num_steps > most:
            raise InvalidInputError(
                "inversion.steps", f"got {config.num_steps} in all; at most {most} are done here"
            )
        name = self._generator_name(options.generator)
        generator = self._generators[name]
        if size != (generator.size, generator.size):
            raise InvalidInputError(
                "received.header.image_height",
                f"got {size[1]}x{size[0]} pixels; generator {name!r} shows images of "
                f"{generator.size}x{generator.size} only",
            )
        checked_start(generator, config)
        if config.start == "learned" and name not in self._starts:
            raise InvalidInputError(
                "inversion.start",
                f"got 'learned'; generator {name!r} has no start network; "
                "'mean' needs none, as in the preset 'paper'",
            )
        self._distance(config)
        seed = checked_seed(options.seed, field="inversion.seed")
        return Plan(config, name, channels, seed)

    def _generator_name(self, asked: str) -> str:
        name = asked or self._settings.inversion_generator
        there = ", ".join(self._generators)
        if not name and len(self._generators) == 1:
            return there
        if not name:
            raise InvalidInputError("inversion.generator", f"is missing; there are {there}")
        if name not in self._generators:
            raise ModelNotFoundError(f"inversion.generator: got {quoted(name)}; there are {there}")
        return name

    def _distance(self, config: InverseConfig) -> FeatureDistance | None:
        if not (config.perceptual_weight or config.image_perceptual_weight):
            return None
        return self._distances.get(config.perceptual)

    def warm_up(self, receive: Receive) -> None:
        """Load the perceptual networks and run one step through each generator.

        For a process that serves: afterwards no request waits for what is loaded late.
        """
        if not self._generators:
            return
        self._distances.load_all()
        for name, generator in self._generators.items():
            model = next((m for m in self._catalogue if self._fits(m, generator.size)), None)
            if model is not None:
                self._step_once(model, name, generator.size, receive)

    def _fits(self, model: LoadedModel[nn.Module], side: int) -> bool:
        return self.offered(model) and padded_size((side, side)) == (side, side)

    def _step_once(
        self, model: LoadedModel[nn.Module], generator: str, side: int, receive: Receive
    ) -> None:
        channels = model.config.symbol_channels
        symbols = np.ones(num_symbols(channels, (side, side)), np.complex64)
        options = inversion_pb2.InversionOptions(preset="paper", generator=generator, steps=[1])
        try:
            plan = self.plan(options, channels, (side, side))
            scheme = model_pb2.SCHEME_INVERSE_JSCC
            raw = tensor_pb2.IMAGE_FORMAT_RAW
            job = DecodeJob(model.name, scheme, 0.0, (side, side), symbols, raw, plan)
            self.run([job], receive)
        except Exception as error:  # noqa: BLE001 (such as a package that is not installed)
            log.warning("no inversion to begin with", extra={"reason": str(error)})

    def _problem(self, job: DecodeJob, plan: Plan) -> Problem:
        key = inversion_key(job)
        if key not in self._problems:
            self._problems[key] = Problem(
                self._generators[plan.generator],
                self._forwards[job.model],
                self._distance(plan.config),
                plan.channels,
                arithmetic(plan.config.dtype, self._catalogue.device.type),
            )
        return self._problems[key]

    def begin(self, job: DecodeJob) -> Course:
        """Return the state of a job before its first step."""
        if job.plan is None:
            raise ValueError("the job is not one of the scheme inverse")
        return Course(job, job.plan)

    def advance(self, courses: Sequence[Course], receive: Receive) -> list[StepReport]:
        """Run one step of each; all must have the same key.

        Raises:
            InvalidInputError: the received symbols overflow the decoder.
        """
        started = time.perf_counter()
        problem = self._problem(courses[0].job, courses[0].plan)
        fresh = [course for course in courses if course.inversion is None]
        if fresh:
            self._open(problem, fresh, receive([course.job for course in fresh]))
        inversions = [course.inversion for course in courses if course.inversion is not None]
        stages = [one.stage for one in inversions]
        step(problem, inversions)
        seconds = time.perf_counter() - started
        for course in courses:
            course.seconds += seconds
        together = zip(courses, inversions, stages, strict=True)
        return [_report(course, one, stage) for course, one, stage in together]

    def _open(self, problem: Problem, fresh: Sequence[Course], images: Sequence[Tensor]) -> None:
        for course, x_hat in zip(fresh, images, strict=True):
            if not bool(torch.isfinite(x_hat).all()):
                raise InvalidInputError(*BEYOND_ARITHMETIC)
            plan, latents = course.plan, None
            network = self._starts.get(plan.generator)
            if network is not None and plan.config.start != "mean":
                course.start = "learned"
                with torch.no_grad():
                    latents = network(x_hat[None].to(problem.device))[0]
            course.inversion = Inversion(
                problem,
                x_hat,
                plan.config,
                snr_db=course.job.snr_db,
                seed=plan.seed,
                start=latents,
            )

    def run(self, jobs: Sequence[DecodeJob], receive: Receive) -> list[DecodeResult]:
        """Run all steps of jobs of one key."""
        courses = [self.begin(job) for job in jobs]
        results: dict[int, DecodeResult] = {}
        under_way = dict(enumerate(courses))
        while under_way:
            reports = self.advance([*under_way.values()], receive)
            for index, report in zip([*under_way], reports, strict=True):
                if report.result is not None:
                    results[index] = report.result
                    del under_way[index]
        return [results[index] for index in range(len(jobs))]


def inversion_key(job: DecodeJob) -> Hashable:
    """Return the batching key: jobs of equal keys may run their steps together."""
    plan = job.plan
    if plan is None:
        return None
    config = plan.config
    needed = config.perceptual if config.perceptual_weight or config.image_perceptual_weight else ""
    return job.model, plan.channels, plan.generator, needed, config.dtype


def overrides_from(options: inversion_pb2.InversionOptions) -> dict[str, Any]:
    """Return the fields of `InverseConfig` that a message sets."""
    set_fields = [(field.name, value) for field, value in options.ListFields()]
    return {
        name: value if isinstance(value, str | int | float) else tuple(value)
        for name, value in set_fields
        if name not in _SEPARATE
    }


def losses_message(losses: Losses) -> inversion_pb2.InversionLosses:
    """Convert losses to their message."""
    return inversion_pb2.InversionLosses(total=losses.total, **losses.terms._asdict())


def _report(course: Course, inversion: Inversion, stage: int) -> StepReport:
    losses = inversion.losses
    if losses is None:
        raise RuntimeError("a step leaves losses behind")
    result = None
    if inversion.finished:
        summary = inversion_pb2.InversionSummary(
            generator=course.plan.generator,
            start=course.start,
            steps=inversion.steps_done,
            losses=losses_message(losses),
            seed=course.plan.seed,
        )
        (rgb,) = pixels_of(inversion.image[None])
        result = DecodeResult(rgb, course.seconds, summary)
    config = inversion.config
    return StepReport(
        inversion.steps_done, config.num_steps, stage, losses, inversion.image, result
    )


class Previews:
    """Progress messages, with a preview of the image at intervals.

    Args:
        every: interval of previews in steps; 0: none.
        format_: image format of the previews.
    """

    def __init__(self, every: int, format_: tensor_pb2.ImageFormat.ValueType) -> None:
        self._every, self._format = every, format_
        self._shown = -1

    def progress(self, report: StepReport) -> inversion_pb2.InversionProgress:
        """Return the progress message of an inversion, with its image if due."""
        message = inversion_pb2.InversionProgress(
            step=report.steps_done,
            num_steps=report.num_steps,
            stage=report.stage,
            losses=losses_message(report.losses),
        )
        if self._due(report):
            (rgb,) = pixels_of(report.image[None])
            if rgb is not None:
                message.preview.CopyFrom(rgb_to_message(rgb, self._format))
        return message

    def _due(self, report: StepReport) -> bool:
        if not self._every:
            return False
        number = report.steps_done // self._every
        due = number > self._shown
        self._shown = number
        return due
