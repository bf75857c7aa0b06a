# SPDX-License-Identifier: Apache-2.0
"""Settings of the services: flags, or environment variables that begin with GENJSCC_.

Each is declared once, here; `python -m transmitter --help` prints them. A flag goes before its
variable, the variable before the default.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, CliSettingsSource, CliSuppress, SettingsConfigDict

from genjscc.addresses import bare_host
from genjscc.environment import unknown_variables
from genjscc.repository import default_models
from genjscc.service_packages import service_package


class ServiceSettings(BaseSettings):
    """Settings shared by all three services."""

    model_config = SettingsConfigDict(
        env_prefix="GENJSCC_",
        extra="forbid",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 in a container")
    port: int = Field(0, ge=0, le=65535, description="gRPC port; 0 picks a free one")
    metrics_port: int = Field(
        0, ge=-1, le=65535, description="Prometheus port; 0 picks a free one, -1 is off"
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of the service's certificate and its chain; none: no TLS"
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that clients' certificates must be signed by; "
        "none: clients need no certificate",
    )
    token_file: Path | None = Field(
        None,
        description="file with the tokens that calls may carry, one a line; GENJSCC_TOKEN holds "
        "a single one; none: calls need no token",
    )
    # Not shown as a flag: the arguments of a process are there for all to read.
    token: CliSuppress[SecretStr | None] = Field(None, description="token that calls must carry")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level of the log (JSON lines on standard error)"
    )
    grace_s: float = Field(
        10.0, ge=0, description="seconds that accepted calls may go on after SIGTERM"
    )
    max_message_bytes: int = Field(
        64 * 1024 * 1024, ge=64 * 1024, description="longest gRPC message, either way"
    )
    max_symbols: int = Field(8 * 1024 * 1024, ge=1, description="symbols of a codeword")
    max_batch: int = Field(16, ge=1, description="most items that are computed together")
    max_delay_ms: float = Field(
        0.0, ge=0, description="how long an item waits for a batch to become full"
    )
    queue_size: int = Field(
        256, ge=1, description="single calls that may wait or be in work; more are refused"
    )
    stream_queue_size: int = Field(
        64,
        ge=1,
        description="items of streams that may wait or be in work, of all streams together, which "
        "take turns; twice max_batch keeps the device busy",
    )
    stream_window: int = Field(
        64, ge=1, description="items of one stream that are in work or not yet taken by its caller"
    )
    max_streams: int = Field(64, ge=1, description="open streams; more are refused")
    arrival_s: float = Field(
        60.0, gt=0, description="how long the content of a single call may take to arrive"
    )
    stream_silence_s: float = Field(
        600.0, gt=0, description="how long a stream may be open without an item in work"
    )
    tracing: bool = Field(
        False, description="send OpenTelemetry spans as the OTEL_ variables say (OTLP)"
    )
    stop_with_parent: bool = Field(
        False, description="drain and end when standard input closes: its other end was a parent"
    )

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        if not host or "/" in host or any(letter.isspace() for letter in host):
            raise ValueError("must be an address or a name alone, such as 127.0.0.1 or ::1")
        return bare_host(host)


class ModelSettings(ServiceSettings):
    """Settings shared by the two services with networks."""

    bundles: Path = Field(
        default_factory=default_models, description="folder of the trained models"
    )
    default_model: str = Field(
        "", description="model of requests that name none; empty: the first by name"
    )
    max_pixels: int = Field(
        16 * 1024 * 1024,
        ge=1,
        description="rows times columns of an image, padded; large ones are computed in tiles",
    )
    device: str = Field("cpu", description="PyTorch device, such as cpu, cuda or cuda:1")
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="precision of the networks; bfloat16 is faster where it is native and slower "
        "elsewhere, auto takes it where it is native",
    )
    threads: int = Field(1, ge=1, description="CPU threads of the networks")
    device_cores: str = Field(
        "",
        description="CPU cores, such as 0 or 0,2-3, on which the networks compute and nothing "
        "else of this service runs; empty: the operating system decides",
    )


class TransmitterSettings(ModelSettings):
    """Settings of the transmitter."""


class ReceiverSettings(ModelSettings):
    """Settings of the receiver."""

    inversion_generator: str = Field(
        "", description="generator of inversions that name none; empty: the only one there is"
    )
    inversion_preset: Literal["paper", "fast"] = Field(
        "paper", description="how inversions are optimised that name no preset"
    )
    inversion_max_steps: int = Field(1000, ge=1, description="steps that one inversion may ask for")
    inversion_max_batch: int = Field(
        4,
        ge=1,
        description="most inversions that make a step together; other work waits so long",
    )
    max_inversions: int = Field(
        16, ge=1, description="inversions under way at a time; more wait for a slot"
    )


class ChannelSettings(ServiceSettings):
    """Settings of the channel."""

    backend: Literal["numpy", "torch"] = Field(
        "numpy", description="array library; the noise is the same"
    )
    device: str = Field("cpu", description="PyTorch device, with the torch backend")
    plugins: str = Field(
        "", description="channels of your own, as module:function; several with commas"
    )


_S = TypeVar("_S", bound=ServiceSettings)


def misspelt_variables() -> list[str]:
    """Return the warnings of `unknown_variables` for this process, given the settings of all
    services.
    """
    kinds = (TransmitterSettings, ReceiverSettings, ChannelSettings)
    return unknown_variables({name for kind in kinds for name in kind.model_fields})


def read_settings(kind: type[_S], program: str, arguments: list[str] | None = None) -> _S:
    """Read settings from flags (None: those of the process) and from the environment.

    Exits with one line that names the field when a value is wrong. Variables that nothing reads
    are named.
    """
    source: CliSettingsSource[object] = CliSettingsSource(
        kind, cli_prog_name=f"python -m {service_package(program)}"
    )
    given = sys.argv[1:] if arguments is None else arguments
    for remark in misspelt_variables():
        sys.stderr.write(f"warning: {remark}\n")
    if any(one == "--token" or one.startswith("--token=") for one in given):
        # Without the value: this text goes to a log.
        sys.stderr.write(
            "error: --token: is not taken, since every listing of processes would show it; "
            "must be given as GENJSCC_TOKEN or in the file of --token-file\n"
        )
        sys.exit(2)
    try:
        return kind(_cli_settings_source=source(args=given))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        sys.stderr.write(f"error: {field}: got {first['input']!r}; {first['msg']}\n")
        sys.exit(2)
