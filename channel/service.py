# SPDX-License-Identifier: Apache-2.0
"""The channel service: sent codeword in, received codeword out. Needs no torch."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import numpy as np
from numpy.typing import NDArray

from channel.backends import Backend, make_backend
from channel.noise import Stream, unit_noise_rows
from channel.ofdm import Radio, checked_radio, layout_of
from channel.physics import (
    awgn,
    measured_power,
    measured_snr_db,
    normalize_power,
    rician_gains,
    spread_gains,
    zero_force,
)
from channel.plugins import (
    ChannelFunction,
    Parameters,
    Plugin,
    checked_parameters,
    load_plugins,
    make_plugin,
    run_plugin,
)
from channel.radio import Draws, draw, transmit
from genjscc.errors import InvalidInputError, quoted
from genjscc.limits import MAX_SEED, Limits
from genjscc.serving.metrics import Metrics
from genjscc.serving.scheduling.dispatcher import Dispatcher
from genjscc.serving.server import Service
from genjscc.serving.settings import ChannelSettings
from genjscc.serving.streams import answer_stream
from genjscc.v1 import channel_pb2, channel_pb2_grpc, codeword_pb2
from genjscc.wire.codewords import symbols_from_message
from genjscc.wire.numbers import checked_seed, checked_snr_db
from genjscc.wire.ofdm import ofdm_from_message
from genjscc.wire.tensors import write_complex

_MAX_K_FACTOR = 1e6
_QUICK_BYTES = 32 * 1024


@dataclass(frozen=True)
class Kind:
    """The channel of a request; `block_length` is 0 without fading, `plugin` empty without one.

    `radio` is None without OFDM.
    """

    noise: bool = True
    k_factor: float = 0.0
    block_length: int = 0
    equalization: Literal["zero_forcing", "none"] = "zero_forcing"
    plugin: str = ""
    parameters: Parameters = ()
    radio: Radio | None = None


@dataclass(frozen=True, eq=False)
class TransmitJob:
    """A checked request."""

    header: codeword_pb2.CodewordHeader
    symbols: NDArray[np.complex64]
    snr_db: float
    seed: int
    kind: Kind


@dataclass(frozen=True, eq=False)
class TransmitResult:
    """Received symbols [k], the gains [blocks] under fading, and measured power and SNR.

    `ofdm` is the report of a transmission over OFDM.
    """

    received: NDArray[np.complex64]
    gains: NDArray[np.complex64] | None
    power: float
    snr_db: float
    seconds: float
    ofdm: channel_pb2.OfdmReport | None = None


def _kind_from_message(
    model: channel_pb2.ChannelModel, k: int, plugins: Mapping[str, Plugin]
) -> Kind:
    which = model.WhichOneof("kind")
    if which == "noiseless":
        return Kind(noise=False)
    if which == "plugin":
        return _kind_from_plugin(model.plugin, plugins)
    if which == "ofdm":
        return Kind(radio=checked_radio(ofdm_from_message(model.ofdm), k, field="model.ofdm"))
    if which != "fading":
        return Kind()
    fading = model.fading
    if not 0 <= fading.k_factor <= _MAX_K_FACTOR:  # also refuses NaN
        raise InvalidInputError(
            "model.fading.k_factor",
            f"got {fading.k_factor}; must be linear, from 0 (Rayleigh) to {_MAX_K_FACTOR:g}",
        )
    if fading.equalization not in channel_pb2.Equalization.values():
        raise InvalidInputError(
            "model.fading.equalization", f"got {fading.equalization}; not a known value"
        )
    leave = fading.equalization == channel_pb2.EQUALIZATION_NONE
    return Kind(
        k_factor=fading.k_factor,
        block_length=min(fading.block_length or k, k),
        equalization="none" if leave else "zero_forcing",
    )


def _kind_from_plugin(model: channel_pb2.PluginChannel, plugins: Mapping[str, Plugin]) -> Kind:
    plugin = plugins.get(model.name)
    if plugin is None:
        available = ", ".join(sorted(plugins)) or "no plug-in"
        raise InvalidInputError(
            "model.plugin.name", f"got {quoted(model.name)}; this service has {available}"
        )
    parameters = checked_parameters(plugin, model.parameters, field="model.plugin.parameters")
    return Kind(plugin=plugin.name, parameters=parameters)


def _rows(parts: list[NDArray[np.complex64]]) -> NDArray[np.complex64]:
    """Stack rows to [B, k]; a single row is not copied."""
    return parts[0][None] if len(parts) == 1 else np.stack(parts)


class ChannelEngine:
    """Power normalisation, then fading and noise (eq. 3-5) or a plug-in."""

    def __init__(
        self,
        settings: ChannelSettings,
        observe_snr_db: Callable[[float, float], None] = lambda _requested, _measured: None,
        plugins: Mapping[str, ChannelFunction] | None = None,
    ) -> None:
        self._backend: Backend = make_backend(settings.backend, settings.device)
        self.runs_quickly = settings.backend == "numpy"
        self._limits = Limits(max_symbols=settings.max_symbols)
        self._observe_snr_db = observe_snr_db
        self._plugins = load_plugins(settings.plugins)
        for name, function in (plugins or {}).items():
            self._plugins[name] = make_plugin(name, function)

    def is_quick(self, request: channel_pb2.TransmitRequest) -> bool:
        if request.model.WhichOneof("kind") in ("plugin", "ofdm"):  # may take long
            return False
        return len(request.codeword.symbols.data) <= _QUICK_BYTES

    def prepare(self, request: channel_pb2.TransmitRequest) -> TransmitJob:
        symbols = symbols_from_message(request.codeword, limits=self._limits)
        if not symbols.any():
            raise InvalidInputError(
                "codeword.symbols", "all are zero; their power cannot be normalised"
            )
        kind = _kind_from_message(request.model, len(symbols), self._plugins)
        snr_db = 0.0
        if kind.noise:
            if not request.HasField("snr_db"):
                raise InvalidInputError("snr_db", "is missing; only a noiseless channel has none")
            snr_db = checked_snr_db(request.snr_db)
        given = request.HasField("seed")
        seed = checked_seed(request.seed) if given else secrets.randbelow(MAX_SEED + 1)
        return TransmitJob(request.codeword.header, symbols, snr_db, seed, kind)

    def key(self, job: TransmitJob) -> Hashable:
        return len(job.symbols), job.kind

    def run(self, jobs: Sequence[TransmitJob]) -> list[TransmitResult]:
        if jobs[0].kind.radio is not None:
            return self._run_radio(jobs, jobs[0].kind.radio)
        started = time.perf_counter()
        put, kind, k = self._backend.put, jobs[0].kind, len(jobs[0].symbols)
        seeds = [job.seed for job in jobs]
        z = normalize_power(put(_rows([job.symbols for job in jobs])))
        signal, gains, spread = z, None, None
        if kind.block_length:
            blocks = -(-k // kind.block_length)
            draws = put(unit_noise_rows(seeds, blocks, Stream.FADING))
            gains = rician_gains(draws, kind.k_factor)
            spread = spread_gains(gains, k, kind.block_length)
            signal = z * spread
        received = signal
        if kind.plugin:
            received = put(self._run_plugin(jobs, self._backend.get(z)))
        elif kind.noise:
            snr_db = put(np.array([job.snr_db for job in jobs]))
            received = awgn(signal, snr_db, put(unit_noise_rows(seeds, k)))
        power, snr = measured_power(z), measured_snr_db(signal, received)
        if spread is not None and kind.equalization == "zero_forcing":
            received = zero_force(received, spread)
        get = self._backend.get
        rows, powers, snrs = get(received), get(power), get(snr)
        gain_rows = [None] * len(jobs) if gains is None else list(get(gains))
        seconds = time.perf_counter() - started
        return [
            TransmitResult(rows[i], gain_rows[i], float(powers[i]), float(snrs[i]), seconds)
            for i in range(len(jobs))
        ]

    def _run_radio(self, jobs: Sequence[TransmitJob], radio: Radio) -> list[TransmitResult]:
        started = time.perf_counter()
        put, get, k = self._backend.put, self._backend.get, len(jobs[0].symbols)
        layout = layout_of(radio, k)
        z = normalize_power(put(_rows([job.symbols for job in jobs])))
        numbers = draw(radio, k, [job.seed for job in jobs])
        draws = Draws(*(rows if rows is None else put(rows) for rows in numbers))
        snr_db = put(np.array([job.snr_db for job in jobs]))
        arrival = transmit(z, snr_db, draws, radio)
        columns = [get(measured_power(z)), *(get(column) for column in arrival)]
        seconds = time.perf_counter() - started
        results = []
        for power, received, snr, equalized, estimated, papr in zip(*columns, strict=True):
            report = channel_pb2.OfdmReport(
                channel_uses=layout.channel_uses,
                ofdm_symbols=layout.num_symbols,
                pilots=layout.num_pilots,
                equalized_snr_db=equalized,
                estimated_snr_db=estimated,
                papr_db=papr,
            )
            results.append(
                TransmitResult(received, None, float(power), float(snr), seconds, report)
            )
        return results

    def _run_plugin(
        self, jobs: Sequence[TransmitJob], z: NDArray[np.generic]
    ) -> NDArray[np.complex64]:
        """Send z [B, k] codeword by codeword, so that no result depends on its batch."""
        kind = jobs[0].kind
        plugin = self._plugins[kind.plugin]
        return np.stack(
            [
                run_plugin(plugin, row, job.snr_db, job.seed, kind.parameters)
                for job, row in zip(jobs, z, strict=True)
            ]
        )

    def finish(self, job: TransmitJob, result: TransmitResult) -> channel_pb2.TransmitResponse:
        if job.kind.noise and not job.kind.plugin and job.kind.radio is None:
            self._observe_snr_db(job.snr_db, result.snr_db)
        response = channel_pb2.TransmitResponse(
            seed=job.seed,
            measured_power=result.power,
            measured_snr_db=result.snr_db,
            compute_seconds=result.seconds,
            ofdm=result.ofdm,
        )
        response.received.header.CopyFrom(job.header)
        write_complex(result.received, response.received.symbols)
        if result.gains is not None:
            response.state.block_length = job.kind.block_length
            write_complex(result.gains, response.state.gains)
        return response

    def warm_up(self) -> None:
        """Run the noise once, because a library's first call is its slowest."""
        header, symbols = codeword_pb2.CodewordHeader(), np.ones(1, np.complex64)
        self.run([TransmitJob(header, symbols, snr_db=0.0, seed=0, kind=Kind())])


class ChannelServicer(channel_pb2_grpc.ChannelServiceServicer):
    """gRPC servicer in front of the engine."""

    def __init__(self, dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics

    async def Transmit(self, request: Any, context: Any) -> channel_pb2.TransmitResponse:
        response: channel_pb2.TransmitResponse = await self._dispatcher.answer(request)
        return response

    def TransmitStream(
        self,
        request_iterator: Any,
        context: Any,
    ) -> AsyncIterator[channel_pb2.TransmitStreamResponse]:
        return answer_stream(
            self._dispatcher,
            self._metrics,
            "TransmitStream",
            request_iterator,
            channel_pb2.TransmitStreamResponse,
        )


def channel_service(settings: ChannelSettings) -> Service:
    """Return the channel service, ready to be served."""

    def load(metrics: Metrics) -> ChannelEngine:
        engine = ChannelEngine(settings, metrics.observe_snr_db)
        engine.warm_up()
        return engine

    def register(
        dispatcher: Dispatcher[Any, Any, Any, Any], metrics: Metrics, server: grpc.aio.Server
    ) -> None:
        servicer = ChannelServicer(dispatcher, metrics)
        channel_pb2_grpc.add_ChannelServiceServicer_to_server(servicer, server)

    name = channel_pb2.DESCRIPTOR.services_by_name["ChannelService"].full_name
    return Service("channel", name, load, register)
