# SPDX-License-Identifier: Apache-2.0
"""The Compose project of this repository, for `genjscc up --docker` and the tests.

    project = Project()
    project.build()
    project.up(scale={"receiver": 3})
    link = Link(**project.addresses())
    project.down()

`docker compose` does what changes something; what there is, the engine is asked itself.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genjscc.client.transport import DEFAULT_PORTS
from genjscc.errors import GenJSCCError, MissingExtraError, UnavailableError, needs
from genjscc.repository import REPOSITORY

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

GATEWAY, PROMETHEUS, PROMETHEUS_PORT = "gateway", "prometheus", 9090
# Written by .ci/engine/prepare.sh on machines without a registry.
LOCAL_SETTINGS = Path(".ci", "engine", "local.env")
_LABEL = "com.docker.compose"
_PORT_SETTINGS = (
    *("TRANSMITTER_PORT", "CHANNEL_PORT", "RECEIVER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"),
    "WEB_PORT",
)


def free_ports_settings() -> dict[str, str]:
    """Return settings that let the engine pick the published ports."""
    return dict.fromkeys(_PORT_SETTINGS, "0")


def connect() -> DockerClient:
    """Return a client of the engine.

    Raises:
        MissingExtraError: the package docker or the Compose plugin is missing.
        UnavailableError: no engine answers.
    """
    with needs("docker", "Docker Compose"):
        import docker
        from docker.errors import DockerException
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise UnavailableError(f"no Docker engine answers: {error}") from error
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingExtraError(
            "`docker compose` is missing; it comes with Docker, or as a plugin of its own"
        ) from error
    return client


class Project:
    """The services, the gateway and the monitoring, as containers of one project.

    Args:
        name: of the project; None: COMPOSE_PROJECT_NAME or genjscc. Those of different names live
            side by side, on ports of their own.
        settings: variables of .env with other values.
        overlays: "gpu" and "tls", each with its docker-compose.*.yml on top.

    Attributes:
        engine: the client of the engine.
        command: `docker compose` with what names this project; `environment` belongs to it.

    Raises:
        MissingExtraError, UnavailableError: see `connect`; or there is no Compose file here.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        overlays: Sequence[str] = (),
    ) -> None:
        if not (REPOSITORY / "docker-compose.yml").is_file():
            raise MissingExtraError(
                "docker-compose.yml is not in this installation; clone the repository"
            )
        self.engine = connect()
        self.name = name or os.environ.get("COMPOSE_PROJECT_NAME") or "genjscc"
        self.environment = os.environ | dict(settings or {})
        self.command = ["docker", "compose", "--project-name", self.name]
        for file in (".env", LOCAL_SETTINGS):
            if (REPOSITORY / file).is_file():
                self.command += ["--env-file", str(file)]
        for part in ("", *(f"{overlay}." for overlay in overlays)):
            self.command += ["--file", f"docker-compose.{part}yml"]

    def compose(self, *arguments: str) -> str:
        """Run a `docker compose` command and return its standard output.

        Raises:
            GenJSCCError: it failed; its last words are in the text.
        """
        done = subprocess.run(  # noqa: S603 (Compose, in this repository)
            [*self.command, *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise GenJSCCError(f"docker compose {' '.join(arguments)}: {words[-1]}")
        return done.stdout

    def build(self, *services: str) -> None:
        """Build the images of these services, or all images."""
        self.compose("--profile=*", "build", *services)

    def up(self, scale: Mapping[str, int] | None = None) -> None:
        """Start the containers that are not running, and wait until all are healthy.

        Args:
            scale: replicas by service, where not one.
        """
        replicas = [f"--scale={role}={count}" for role, count in (scale or {}).items()]
        self.compose("up", "--detach", "--wait", *replicas)

    def down(self, *, volumes: bool = False) -> None:
        """Stop all containers with SIGTERM, and remove them and their networks."""
        self.compose("--profile=*", "down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def containers(self, service: str) -> list[Container]:
        """Return the running replicas of a service, oldest number first."""
        found = self.engine.containers.list(
            filters={"label": [f"{_LABEL}.project={self.name}", f"{_LABEL}.service={service}"]}
        )
        return sorted(found, key=lambda one: int(one.labels[f"{_LABEL}.container-number"]))

    def published(self, service: str, port: int) -> str:
        """Return the loopback address at which a container's port is published."""
        return self.compose("port", service, str(port)).strip()

    def addresses(self) -> dict[str, str]:
        """Return the addresses of the three services, as keyword arguments of a link."""
        return {role: self.published(GATEWAY, port) for role, port in DEFAULT_PORTS.items()}

    def left_behind(self) -> list[str]:
        """Return the containers, networks and volumes that the engine still has of this project."""
        mine: dict[str, str | list[str] | bool] = {"label": f"{_LABEL}.project={self.name}"}
        return sorted(
            [
                *(str(one.name) for one in self.engine.containers.list(all=True, filters=mine)),
                *(str(one.name) for one in self.engine.networks.list(filters=mine)),
                *(str(one.id) for one in self.engine.volumes.list(filters=mine)),
            ]
        )
