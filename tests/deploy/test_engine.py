# SPDX-License-Identifier: Apache-2.0
"""The Compose project on a real engine. `make test-deploy` runs these, in this order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from PIL import Image

from genjscc import Link, LocalLink
from genjscc.client.security import Security
from genjscc.errors import InvalidInputError, UnavailableError
from genjscc.launch.containers import PROMETHEUS, PROMETHEUS_PORT, Project, free_ports_settings
from genjscc.photos import load_square, sample_photos
from genjscc.v1 import channel_pb2, channel_pb2_grpc, codeword_pb2
from genjscc.wire.tensors import complex_to_message
from tests.helpers.deploy_tools import DEPLOY, REPOSITORY, documented_queries

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]

SERVICES = ("transmitter", "channel", "receiver")
MB = 1_000_000
BUNDLES = REPOSITORY / "models"
# What a client in the link's own network does; it prints a line for each image.
STREAM = """
import json, sys
from genjscc import Link, Reception
from genjscc.photos import load_square, sample_photos
photos = [load_square(path, 64) for path in sample_photos()]
images = (photos[number % len(photos)] for number in range(int(sys.argv[1])))
with Link() as link:
    link.wait_ready()
    for one in link.send_many(images, rate="1/48", seed=1):
        good = isinstance(one, Reception)
        answer = [one.measured_snr_db, float(one.image.mean())] if good else str(one.error)
        print(json.dumps(answer))
"""
SINGLE = """
import sys
from genjscc import Link
from genjscc.photos import load_square, sample_photos
photo = load_square(sample_photos()[0], 64)
with Link() as link:
    link.wait_ready()
    for number in range(int(sys.argv[1])):
        link.send(photo, rate="1/48")
"""


@pytest.fixture
def gateway(project: Project) -> Iterator[Link]:
    with Link(**project.addresses()) as link:
        link.wait_ready()
        yield link


def photo() -> Any:
    return load_square(sample_photos()[0], 64)


def inside(project: Project, service: str, *command: str) -> tuple[int, str]:
    """Exit code and output of a command in a service's container."""
    code, text = project.containers(service)[0].exec_run(list(command))
    return code, text.decode()


@contextmanager
def client(project: Project, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python in the network of the services."""
    job = ["run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", "python", "demo"]
    process = subprocess.Popen(
        [*project.command, *job, "-u", "-c", script, *arguments],
        cwd=REPOSITORY,
        env=project.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# Sizes of the files of torch and of all that it requires, as their wheels hold them.
TORCH_NEEDS = """
import re
from importlib.metadata import distribution
todo, seen, total = ["torch"], set(), 0
while todo:
    name = todo.pop()
    if name not in seen:
        seen.add(name)
        found = distribution(name)
        total += sum(file.size or 0 for file in found.files)
        wanted = [one for one in found.requires or [] if "extra ==" not in one]
        todo += [re.match(r"[\\w.-]+", one)[0] for one in wanted]
print(total)
"""


def test_sizes(project: Project, log: Any) -> None:
    sizes = {role: project.containers(role)[0].image.attrs["Size"] / MB for role in SERVICES}
    bundles = sum(path.stat().st_size for path in BUNDLES.rglob("*")) / MB
    code, text = inside(project, "receiver", "python", "-c", TORCH_NEEDS)
    assert code == 0, text
    needs = int(text) / MB
    log.figure("torch and what it requires (wheels, no bytecode)", f"{needs:.0f} MB")
    log.figure("bundles in the images of transmitter and receiver", f"{bundles:.0f} MB")
    for role, size in sizes.items():
        log.figure(f"image of the {role}", f"{size:.0f} MB")
    assert sizes["channel"] <= 250
    assert sizes["transmitter"] - bundles <= needs + 150
    assert sizes["receiver"] - bundles <= needs + 150


def test_an_image_crosses_as_it_does_here(gateway: Link, shipped: Path) -> None:
    with LocalLink(bundles=shipped) as here:
        for rate, snr_db in (("1/48", 0.0), ("1/768", -5.0), ("1/192", 5.0)):
            keywords = {"rate": rate, "snr_db": snr_db, "seed": 7}
            there, local = (link.send(photo(), **keywords) for link in (gateway, here))
            assert there.measured_snr_db == pytest.approx(local.measured_snr_db, abs=1e-3)
            # Another build of torch: at most a level where rounding was close.
            assert np.abs(there.image.astype(int) - local.image).max() <= 2


@pytest.mark.parametrize("role", SERVICES)
def test_a_container_has_no_rights(role: str, project: Project) -> None:
    assert inside(project, role, "id", "-u") == (0, "10001\n")
    for path in ("/app/x", "/models/x", "/opt/genjscc/x", "/etc/x", "/root/x"):
        code, text = inside(project, role, "touch", path)
        assert code != 0, path
        assert re.search("Read-only|Permission denied|No such file", text)
    assert inside(project, role, "touch", "/tmp/x")[0] == 0
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    code, text = inside(project, role, "python", "-c", reach)
    assert code != 0
    assert re.search("Network is unreachable|timed out", text)
    status = inside(project, role, "cat", "/proc/self/status")[1]
    assert re.search(r"^CapBnd:\s*0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)


@pytest.mark.parametrize("role", SERVICES)
def test_an_image_holds_what_it_needs(role: str, project: Project) -> None:
    image = project.containers(role)[0].image
    assert image.labels["org.opencontainers.image.title"] == f"genjscc-{role}"
    assert image.labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    for program in ("gcc", "cc", "make", "git"):
        assert inside(project, role, "sh", "-c", f"command -v {program}")[0] != 0
    for package in ("pip", "pytest", "torchvision"):
        assert inside(project, role, "python", "-c", f"import {package}")[0] != 0
    assert (inside(project, role, "python", "-c", "import torch")[0] == 0) is (role != "channel")
    if role != "channel":  # the bundles of the image itself; Compose mounts others over them
        names = project.engine.containers.run(
            image, ["-c", "ls /models"], entrypoint="sh", remove=True, network_mode="none"
        )
        assert names.decode().split() == sorted(one.name for one in BUNDLES.iterdir())


def test_inversion_has_its_perceptual_distance(project: Project) -> None:
    script = "from genjscc.quality.perceptual import perceptual; perceptual('st-lpips-vgg')"
    code, text = inside(project, "receiver", "python", "-c", script)
    assert code == 0, text


def test_the_demo_leaves_its_sheet(project: Project, output: Path, shipped: Path, log: Any) -> None:
    started = time.monotonic()
    project.compose("run", "--rm", "demo")
    log.timed("demo job", started)
    local = output / "local.png"
    subprocess.run(
        [sys.executable, "-m", "genjscc", "demo", f"--output={local}", f"--bundles={shipped}"],
        check=True,
        capture_output=True,
        cwd=REPOSITORY,
    )
    sheets = [Image.open(path).convert("RGB") for path in (output / "sheet.png", local)]
    assert sheets[0].size == sheets[1].size
    there, here = (np.asarray(sheet, int) for sheet in sheets)
    # The same pictures; a PSNR printed below one may be rounded to another digit.
    assert np.abs(there - here).mean() < 0.1
    assert here.std() > 30


def ask(project: Project, path: str, **parameters: str) -> Any:
    """The answer of Prometheus' HTTP interface."""
    url = f"http://{project.published(PROMETHEUS, PROMETHEUS_PORT)}/api/v1/{path}"
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(parameters)}", timeout=30) as page:
        answer = json.load(page)
    assert answer["status"] == "success"
    return answer["data"]


def until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(1)


def targets_up(project: Project) -> dict[str, int]:
    """Job to the number of its targets that answer."""
    found: dict[str, int] = {}
    for one in ask(project, "query", query="up == 1")["result"]:
        name = one["metric"]["job"]
        found[name] = found.get(name, 0) + 1
    return found


def test_prometheus_sees_every_target(project: Project) -> None:
    everything = dict.fromkeys([*SERVICES, "gateway", "prometheus"], 1)
    until(lambda: targets_up(project) == everything, "a target is down")
    groups = ask(project, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def trouble(address: str) -> None:
    """Calls that are refused, and calls that are given up while they wait."""
    symbols = complex_to_message(np.ones(100_000, np.complex64))
    request = channel_pb2.TransmitRequest(
        codeword=codeword_pb2.Codeword(symbols=symbols), snr_db=0.0
    )
    # The gateway lets 256 calls of a connection through at a time; so many fill the channel.
    apart = [("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as stack:
        calls = []
        for _ in range(3):
            connection = stack.enter_context(grpc.insecure_channel(address, options=apart))
            stub = channel_pb2_grpc.ChannelServiceStub(connection)
            calls += [stub.Transmit.future(request, timeout=60) for _ in range(200)]
        until(lambda: any(call.done() for call in calls), "nothing was answered")
        for call in calls:
            call.cancel()


def test_every_query_of_dashboard_and_documentation_has_data(
    project: Project, gateway: Link
) -> None:
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "link.json").read_text())["panels"]
    queries = {
        (panel["title"], target["expr"].replace("$__rate_interval", "1m"))
        for panel in panels
        for target in panel["targets"]
        # The bundles that ship hold no generator: no inversion ends.
        if "genjscc_inversions_total" not in target["expr"]
    }
    # Nothing here fails by the service's own fault.
    documented = [query for query in documented_queries() if "INTERNAL" not in query]
    queries |= {("docs/operations.md", query) for query in documented}

    def without_data() -> list[tuple[str, str]]:
        return [one for one in queries if not ask(project, "query", query=one[1])["result"]]

    for _ in range(20):
        for number in range(10):
            gateway.send(photo(), snr_db=number - 5.0, seed=number)
        list(gateway.send_many([photo()] * 10 + [b"no image"], seed=1))
        with pytest.raises(InvalidInputError):
            gateway.send(photo(), snr_db=1e6)
        trouble(gateway.addresses["channel"])
        time.sleep(6)  # a scrape
        if not without_data():
            break
    assert without_data() == []
    for _, query in queries:
        values = [float(one["value"][1]) for one in ask(project, "query", query=query)["result"]]
        assert values


def test_grafana_shows_the_dashboard(project: Project) -> None:
    if not project.containers("grafana"):
        pytest.skip("Grafana's image is not to be had here: GRAFANA_REPLICAS is 0")
    address = project.published("grafana", 3000)
    with urllib.request.urlopen(f"http://{address}/api/dashboards/uid/genjscc-link") as page:
        assert json.load(page)["dashboard"]["title"] == "GenJSCC: the link"


def answered(project: Project, role: str) -> dict[str, float]:
    """Calls and items of streams that each replica has answered, as Prometheus knows."""
    query = (
        f'sum by (instance) ({{__name__=~"genjscc_requests_total|genjscc_stream_items_total", '
        f'job="{role}", method=~"Decode|DecodeStream", code="OK"}})'
    )
    found = ask(project, "query", query=query)["result"]
    return {one["metric"]["instance"]: float(one["value"][1]) for one in found}


def test_three_receivers_share_the_work(project: Project, gateway: Link, log: Any) -> None:
    started = time.monotonic()
    project.up(scale={"receiver": 3})
    log.timed("from one receiver to three", started)
    until(lambda: targets_up(project).get("receiver") == 3, "Prometheus sees no three receivers")
    before = answered(project, "receiver")
    with client(project, SINGLE, "30") as singles:
        assert singles.wait(300) == 0

    def new() -> dict[str, float]:
        return {
            one: count - before.get(one, 0.0)
            for one, count in answered(project, "receiver").items()
        }

    # The SDK in the link's network takes turns by itself.
    until(lambda: sum(new().values()) == 30, "not all of the 30 calls were counted")
    assert sorted(new().values()) == [10, 10, 10]
    for number in range(30):  # and for those outside the gateway does
        gateway.send(photo(), seed=number)
    until(lambda: sum(new().values()) == 60, "not all of the 60 calls were counted")
    assert min(new().values()) > 10


def stream(project: Project, count: int, disturb: Callable[[], None]) -> list[Any]:
    """What a stream of images gives for each, while something happens in the middle of it."""
    lines = []
    with client(project, STREAM, str(count)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            if len(lines) == count // 4:
                disturb()
        assert process.wait(300) == 0
    return lines


@pytest.fixture(scope="module")
def undisturbed(project: Project) -> list[Any]:
    return stream(project, 400, lambda: None)


def assert_nothing_lost(outcomes: list[Any], expected: list[Any]) -> None:
    """Each image once, in order, with the noise of its own seed."""
    failed = [one for one in outcomes if isinstance(one, str)]
    assert failed == []
    assert len(outcomes) == len(expected)
    assert np.abs(np.array(outcomes) - np.array(expected)).max() < 0.01


def test_nothing_is_lost_when_a_receiver_is_killed(
    project: Project, undisturbed: list[Any]
) -> None:
    project.up(scale={"receiver": 3})
    victims = project.containers("receiver")
    outcomes = stream(project, 400, victims[0].kill)
    assert_nothing_lost(outcomes, undisturbed)
    until(lambda: len(project.containers("receiver")) == 2, "it is still there")


def test_a_receiver_drains_and_goes(project: Project, undisturbed: list[Any]) -> None:
    project.up(scale={"receiver": 3})
    leaving = project.containers("receiver")[1]
    outcomes = stream(project, 400, lambda: leaving.stop(timeout=60))
    assert_nothing_lost(outcomes, undisturbed)
    leaving.reload()
    assert leaving.attrs["State"]["ExitCode"] == 0
    last = json.loads(leaving.logs(tail=1).decode())
    assert last["message"] == "stopped"


def test_tls_from_end_to_end(project: Project, tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("genjscc")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    own.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    tmp_path.chmod(0o755)  # for the user of the containers
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    settings = {**free_ports_settings(), "TLS": str(tmp_path)}
    secured = Project(f"{project.name}-tls", settings=settings, overlays=["tls"])
    security = Security(ca=tmp_path / "ca.crt", server_name="genjscc")
    try:
        secured.up()
        with Link(**secured.addresses(), security=security) as link:
            link.wait_ready()
            assert link.send(photo(), rate="1/48", seed=1).codeword.k == 256
        with Link(**secured.addresses(), timeout_s=5) as plain, pytest.raises(UnavailableError):
            plain.send(photo(), seed=1)
        secured.compose("run", "--rm", "--no-deps", "demo", "models")
    finally:
        secured.down(volumes=True)
    assert secured.left_behind() == []


def test_up_as_one_command(project: Project, log: Any) -> None:
    """`genjscc up --docker`: ready, an image, Ctrl-C, gone."""
    name = f"{project.name}-command"
    process = subprocess.Popen(
        [sys.executable, "-m", "genjscc", "up", "--docker", "--free-ports"],
        cwd=REPOSITORY,
        env=os.environ | {"COMPOSE_PROJECT_NAME": name, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    started = time.monotonic()
    try:
        addresses: dict[str, str] = {}
        for line in process.stdout:
            found = re.search(r"(\w+)\W+((?:http://)?[\d.]+:\d+)", line)
            if found:
                addresses[found[1]] = found[2]
            if PROMETHEUS in addresses:
                break
        assert PROMETHEUS in addresses, "it has ended"
        log.timed("genjscc up --docker, images built", started)
        with Link(**{role: addresses[role] for role in SERVICES}) as link:
            assert link.send(photo(), rate="1/48", seed=1).codeword.k == 256
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
        # What Prometheus has seen is kept for the next time.
        assert set(Project(name).left_behind()) <= {f"{name}_grafana", f"{name}_prometheus"}
    finally:
        process.kill()
        process.communicate()
        Project(name).down(volumes=True)


def test_down_leaves_nothing(project: Project, log: Any) -> None:
    started = time.monotonic()
    project.down(volumes=True)
    log.timed("down", started)
    assert project.left_behind() == []
