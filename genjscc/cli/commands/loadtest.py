# SPDX-License-Identifier: Apache-2.0
"""`genjscc loadtest`: load running services and measure throughput and latency."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from genjscc.cli.completion import complete_models, complete_rates, complete_schemes
from genjscc.cli.console import err, present
from genjscc.cli.measuring import parse_snrs
from genjscc.cli.options import ChannelAddress, Receiver, Snrs, Transmitter
from genjscc.cli.output_files import claim
from genjscc.cli.provenance import origin
from genjscc.errors import InvalidInputError

if TYPE_CHECKING:
    from genjscc.client.options import Reception
    from genjscc.loadtest.mix import Mix, Shot
    from genjscc.loadtest.recorder import Latencies, Recorder

_REFRESH_S = 0.5
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
_MOST_FILES = 200


class Arrivals(StrEnum):
    """Distribution of the arrivals of an open loop."""

    POISSON = "poisson"
    CONSTANT = "constant"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(loadtest)


def loadtest(
    arrival_rate: Annotated[
        float | None,
        typer.Option(help="Open loop: images per second, whatever comes back. Default: closed."),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="Open loop: how the moments are spread.")
    ] = Arrivals.POISSON,
    callers: Annotated[
        int, typer.Option(min=1, help="Closed loop: callers that wait for their answer.")
    ] = 8,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds.")] = 30.0,
    num: Annotated[int | None, typer.Option(min=1, help="End after so many images.")] = None,
    warm_up: Annotated[
        float, typer.Option(min=0, help="Seconds of a closed loop before, not counted.")
    ] = 2.0,
    size: Annotated[
        list[str] | None,
        typer.Option(help="SIDE or WIDTHxHEIGHT, then :WEIGHT; repeat for a mix. Default: 64."),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            help="Bandwidth ratio:WEIGHT; repeat for a mix.", autocompletion=complete_rates
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(help="Scheme:WEIGHT; repeat for a mix.", autocompletion=complete_schemes),
    ] = None,
    snr_db: Snrs = "-5,0,5",
    model: Annotated[
        str | None,
        typer.Option(help="Model; default: the transmitter's.", autocompletion=complete_models),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Send the image files of this folder instead.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the mix and of the arrivals.")] = 0,
    timeout_s: Annotated[float, typer.Option(help="Seconds that an image may take.")] = 30.0,
    retries: Annotated[
        bool, typer.Option(help="Repeat what a service could not take, as the SDK does.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSON file to write; the plot goes beside it."),
    ] = None,
    transmitter: Transmitter = None,
    channel: ChannelAddress = None,
    receiver: Receiver = None,
) -> None:
    """Send images through running services and measure throughput and latency.

    Latencies of an open loop count from the moment at which an image was due. Ctrl-C ends the
    test and keeps what was measured.
    """
    from genjscc.client.aio import AsyncLink
    from genjscc.loadtest.loops import Extent
    from genjscc.loadtest.mix import UNSPECIFIED, Mix, parse_weighted
    from genjscc.loadtest.recorder import Recorder
    from genjscc.loadtest.report import plot, summarise, write_json

    if arrival_rate is not None and not 0 < arrival_rate < 1e6:
        raise InvalidInputError("arrival_rate", f"got {arrival_rate:g}; must be above 0 per second")
    if output is not None:
        claim(output, output.with_suffix(".png"), inputs=[images] if images else [])
    mix = Mix(
        parse_weighted(size or ["64"], "size"),
        parse_weighted(rate, "rate") if rate else UNSPECIFIED,
        parse_weighted(scheme, "scheme") if scheme else UNSPECIFIED,
        parse_snrs(snr_db, "snr_db"),
        model,
        seed,
        read_files(images) if images is not None else (),
    )
    recorder = Recorder()
    made_by = origin()

    async def run() -> None:
        nonlocal recorder
        async with AsyncLink(
            transmitter=transmitter,
            channel=channel,
            receiver=receiver,
            timeout_s=timeout_s,
            retries=retries,
        ) as link:

            async def send(shot: Shot) -> Reception:
                return await link.send(shot.image, **shot.keywords)

            await link.wait_ready(timeout_s)
            if warm_up:
                await load(send, mix, Recorder(), None, arrivals, callers, Extent(warm_up), seed)
            recorder = Recorder()
            watching = asyncio.create_task(show(recorder))
            extent = Extent(duration, num)
            try:
                await load(send, mix, recorder, arrival_rate, arrivals, callers, extent, seed)
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        err.print("interrupted; this is what was measured until then")
    seconds = recorder.elapsed_s
    if not recorder.statuses:
        raise InvalidInputError("duration", "is over before an image had come back")
    measured = summarise(recorder, seconds)
    load_kind = (
        {"loop": "closed", "callers": callers}
        if arrival_rate is None
        else {"loop": "open", "arrival_rate": arrival_rate, "arrivals": str(arrivals)}
    )
    files = [] if output is None else [output, output.with_suffix(".png")]
    present(table_of(recorder, seconds), results=[{**load_kind, **measured}], files=files)
    if output is not None:
        content = {"format": 1, **made_by, **load_kind, "retries": retries, **measured}
        write_json(output, content)
        plot(recorder, f"genjscc loadtest, {load_kind['loop']} loop", output.with_suffix(".png"))
        err.print(f"written: {output} and {output.with_suffix('.png')}", soft_wrap=True)


async def load(
    send: Any,
    mix: Mix,
    recorder: Recorder,
    arrival_rate: float | None,
    kind: Arrivals,
    callers: int,
    extent: Any,
    seed: int,
) -> None:
    """Run the closed loop, or the open loop if a rate is given."""
    from genjscc.loadtest.loops import arrivals, closed_loop, open_loop

    if arrival_rate is None:
        await closed_loop(send, mix, recorder, callers=callers, extent=extent)
    else:
        moments = arrivals(arrival_rate, kind.value, random.Random(seed))  # noqa: S311
        await open_loop(send, mix, recorder, moments=moments, extent=extent)


async def show(recorder: Recorder) -> None:
    """Show the current measurements on the terminal until cancelled."""
    with Live(console=err, transient=True, auto_refresh=False) as live:
        while True:
            live.update(table_of(recorder, recorder.elapsed_s), refresh=True)
            await asyncio.sleep(_REFRESH_S)


def table_of(recorder: Recorder, seconds: float) -> Table:
    """Format rates, statuses and latencies as a table."""
    statuses = ", ".join(f"{name} {count}" for name, count in recorder.statuses.most_common())
    rate = recorder.statuses["OK"] / max(seconds, 1e-9)
    table = Table(
        title=f"{seconds:.1f} s: {rate:.1f} images/s, {recorder.in_flight} under way",
        caption=statuses or "nothing has come back yet",
    )
    for name in ("latency / ms", "n", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(name, justify="left" if name == "latency / ms" else "right")
    rows: list[tuple[str, Latencies]] = [("image", recorder.ok)]
    rows += [(str(hop), latencies) for hop, latencies in recorder.hops.items()]
    if len(recorder.by_class) > 1:
        rows += [(f"size {kind}", found) for kind, found in sorted(recorder.by_class.items())]
    rows += [("failed", recorder.failed), ("generator late", recorder.late)]
    for name, latencies in rows:
        if len(latencies):
            found = latencies.summary()
            values = (found[key] for key in ("p50", "p90", "p99", "p99.9", "max"))
            table.add_row(name, str(len(latencies)), *(f"{value:.1f}" for value in values))
    return table


def read_files(folder: Path) -> list[bytes]:
    """Read the image files of a folder without decoding them."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise InvalidInputError("images", f"no image files in {folder}")
    return [path.read_bytes() for path in files[:_MOST_FILES]]
