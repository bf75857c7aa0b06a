# SPDX-License-Identifier: Apache-2.0
"""The page's server without a browser: what visitors leave behind, and the samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from genjscc.repository import REPOSITORY

# A process of its own: the page's library has one application for each, and memory is measured.
VISITS = """
import asyncio, gc, json, os, weakref
import httpx
from nicegui import Client
from genjscc.serving.memory import give_back
from genjscc.web import server
from tests.helpers.memory import resident

addresses = dict(transmitter="127.0.0.1:1", channel="127.0.0.1:2", receiver="127.0.0.1:3")
benches = weakref.WeakSet()


class Seen(server.Bench):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        benches.add(self)


async def visits(client, count):
    for _ in range(count):
        assert (await client.get("/?snr_db=1")).status_code == 200
        for one in list(Client.instances.values()):
            one.delete()
    await asyncio.sleep(0.1)
    gc.collect()
    give_back()
    return resident(os.getpid())


async def main():
    server.Bench = Seen
    app = server.make_app(addresses, only_here=True)
    transport = httpx.ASGITransport(app)
    async with (
        app._app.router.lifespan_context(app._app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        first = await visits(client, 10)
        last = await visits(client, 40)
        thumbnails = [(await client.get(f"/samples/{n}")).status_code for n in (1, 4, 5)]
    print(json.dumps({"alive": len(benches), "grown": last - first, "thumbnails": thumbnails}))


asyncio.run(main())
"""


def test_visitors_leave_nothing_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", VISITS],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["thumbnails"] == [200, 200, 404]
    assert found["alive"] <= 2  # the last one may still be in some frame
    # Each of the 40 left 680 kB once.
    assert found["grown"] < 14 * 2**20
