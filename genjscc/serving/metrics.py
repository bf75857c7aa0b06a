# SPDX-License-Identifier: Apache-2.0
"""Metrics of the services and their help texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
)

_SECONDS = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    120,
    300,
)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
# Edges between the values that people ask for: a little noise leaves most in their bucket.
_DECIBEL = tuple(-21.25 + 2.5 * number for number in range(26))


class _SignedHistogram(Histogram):
    """Histogram of values that may be negative: buckets only, without a sum.

    OpenMetrics has no sum where buckets are negative, and no count without a sum.
    """

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_count")]
            yield metric


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of jobs with many steps.

    Attributes:
        ended: jobs that ended, by outcome.
        active: jobs under way.
        waiting: jobs that wait for a slot.
        steps: steps of all jobs.
        step_seconds: time of a step.
        together: jobs that made a step together; None if each makes its own.
    """

    ended: Counter
    active: Gauge
    waiting: Gauge
    steps: Counter
    step_seconds: Histogram
    together: Histogram | None = None


class Metrics:
    """Metrics of one service, in a registry of their own."""

    def __init__(self, role: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        info = Info("genjscc_build", "Role and version of the service.", registry=self.registry)
        info.info({"role": role, "version": version})
        self.requests = Counter(
            "genjscc_requests",
            "Finished calls by method and gRPC status; a stream is one call.",
            ["method", "code"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "genjscc_request_seconds",
            "Time from a call's arrival to its end, by method; a stream's is its whole life.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "genjscc_in_flight_requests",
            "Calls that have begun and not ended, by method.",
            ["method"],
            registry=self.registry,
        )
        self.items = Counter(
            "genjscc_stream_items",
            "Answered items of streams, by method and gRPC status of the item.",
            ["method", "code"],
            registry=self.registry,
        )
        self.received_bytes = Counter(
            "genjscc_received_bytes",
            "Length of the messages received, by method, without the framing of gRPC.",
            ["method"],
            registry=self.registry,
        )
        self.sent_bytes = Counter(
            "genjscc_sent_bytes",
            "Length of the messages sent, by method, without the framing of gRPC.",
            ["method"],
            registry=self.registry,
        )
        self.rejected = Counter(
            "genjscc_rejected_requests",
            "Calls refused before their content was read, by reason: queue, streams, token; idle: "
            "calls that held a slot, let the service wait, and lost it to others.",
            ["reason"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "genjscc_queue_depth",
            "Items that wait for the model, checked and ready to be computed.",
            registry=self.registry,
        )
        self.queue_wait_seconds = Histogram(
            "genjscc_queue_wait_seconds",
            "Time that an item waited in the queue until its batch began.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.dropped = Counter(
            "genjscc_dropped_items",
            "Items that left the queue without being computed, by reason: cancelled, deadline.",
            ["reason"],
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "genjscc_batch_size",
            "Items computed together.",
            buckets=_SIZES,
            registry=self.registry,
        )
        self.compute_seconds = Histogram(
            "genjscc_compute_seconds",
            "Time of one batch in the network or the channel, without waiting and transport.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.inversions = StepMetrics(
            ended=Counter(
                "genjscc_inversions",
                "Receiver only: inversions that ended, by outcome: finished, cancelled, deadline, "
                "failed.",
                ["outcome"],
                registry=self.registry,
            ),
            active=Gauge(
                "genjscc_active_inversions",
                "Receiver only: inversions that are being computed, step by step.",
                registry=self.registry,
            ),
            waiting=Gauge(
                "genjscc_waiting_inversions",
                "Receiver only: inversions that wait for a slot among them.",
                registry=self.registry,
            ),
            steps=Counter(
                "genjscc_inversion_steps",
                "Receiver only: steps of inversions, one for each image of a batch.",
                registry=self.registry,
            ),
            step_seconds=Histogram(
                "genjscc_inversion_step_seconds",
                "Receiver only: time of one step of a batch of inversions.",
                buckets=_SECONDS,
                registry=self.registry,
            ),
            together=Histogram(
                "genjscc_inversion_batch_size",
                "Receiver only: inversions that made a step together.",
                buckets=_SIZES,
                registry=self.registry,
            ),
        )
        self.large_images = StepMetrics(
            ended=Counter(
                "genjscc_large_images",
                "Images computed in tiles that ended, by outcome: finished, cancelled, deadline, "
                "failed.",
                ["outcome"],
                registry=self.registry,
            ),
            active=Gauge(
                "genjscc_active_large_images",
                "Images that are being computed, tile by tile.",
                registry=self.registry,
            ),
            waiting=Gauge(
                "genjscc_waiting_large_images",
                "Images that wait for a slot among them.",
                registry=self.registry,
            ),
            steps=Counter(
                "genjscc_tiles",
                "Tiles of large images that were computed.",
                registry=self.registry,
            ),
            step_seconds=Histogram(
                "genjscc_tile_seconds",
                "Time of one tile; other requests wait at most that long for a large image.",
                buckets=_SECONDS,
                registry=self.registry,
            ),
        )
        self.lost_log_lines = Gauge(
            "genjscc_lost_log_lines",
            "Lines that are not in the log, by reason: alike (too many of a kind), unread (what "
            "reads the log stands still).",
            ["reason"],
            registry=self.registry,
        )
        self.certificate_end = Gauge(
            "genjscc_certificate_not_after_timestamp_seconds",
            "Unix time at which the first of the service's TLS certificates ends; absent without "
            "TLS.",
            ["file"],
            registry=self.registry,
        )
        self.left_out_bundles = Gauge(
            "genjscc_left_out_bundles",
            "Bundles in the folder of models that are broken and not served.",
            registry=self.registry,
        )
        self.listener_restarts = Counter(
            "genjscc_listener_restarts",
            "How often the gRPC server had to be replaced because it ceased to accept calls.",
            registry=self.registry,
        )
        self.ready = Gauge(
            "genjscc_ready",
            "1 while the service accepts calls, otherwise 0.",
            registry=self.registry,
        )
        self.asked_snr = _SignedHistogram(
            "genjscc_channel_asked_snr_decibels",
            "Channel only: SNR that was asked for each codeword that met noise, in dB.",
            buckets=_DECIBEL,
            registry=self.registry,
        )
        self.measured_snr = _SignedHistogram(
            "genjscc_channel_measured_snr_decibels",
            "Channel only: measured SNR of each codeword that met noise, in dB.",
            buckets=_DECIBEL,
            registry=self.registry,
        )

    def observe_snr_db(self, asked: float, measured: float) -> None:
        """Record the SNR of one codeword after noise."""
        self.asked_snr.observe(asked)
        self.measured_snr.observe(measured)
