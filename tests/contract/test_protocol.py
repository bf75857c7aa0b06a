# SPDX-License-Identifier: Apache-2.0
"""The protocol: generated code, lint, and somebody behind and before every call."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from channel.service import ChannelServicer
from genjscc.client import aio, pipeline, protocol, transport
from genjscc.v1 import channel_pb2, receiver_pb2, transmitter_pb2
from receiver.service import ReceiverServicer
from tests.helpers.deploy_tools import run
from transmitter.service import TransmitterServicer

ROOT = Path(__file__).resolve().parents[2]
SERVICES: list[tuple[ServiceDescriptor, Any]] = [
    (transmitter_pb2.DESCRIPTOR.services_by_name["TransmitterService"], TransmitterServicer),
    (channel_pb2.DESCRIPTOR.services_by_name["ChannelService"], ChannelServicer),
    (receiver_pb2.DESCRIPTOR.services_by_name["ReceiverService"], ReceiverServicer),
]
CALLS = [(service, method.name) for service, _ in SERVICES for method in service.methods]


def test_generated_code_is_what_the_protos_give() -> None:
    command = [sys.executable, "scripts/protos.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_protos_are_lint_clean() -> None:
    run("buf", "lint", "protos")


@pytest.mark.parametrize(("service", "servicer"), SERVICES)
def test_every_call_has_a_handler(service: ServiceDescriptor, servicer: Any) -> None:
    assert len(service.methods) >= 2
    for method in service.methods:
        assert method.name in vars(servicer), method.full_name


@pytest.mark.parametrize(("service", "name"), CALLS)
def test_every_call_has_a_client(service: ServiceDescriptor, name: str) -> None:
    source = "".join(inspect.getsource(m) for m in (aio, pipeline, protocol, transport))
    role = service.name.removesuffix("Service").lower()
    assert f"{role}.{name}" in source


def test_every_stream_pairs_items_with_answers() -> None:
    for service, _ in SERVICES:
        for method in service.methods:
            if not method.name.endswith("Stream"):
                continue
            unary = service.methods_by_name[method.name.removesuffix("Stream")]
            asked, answered = method.input_type, method.output_type
            assert asked.fields_by_name["request"].message_type == unary.input_type
            assert answered.fields_by_name["response"].message_type == unary.output_type
            assert answered.fields_by_name["error"].message_type.name == "ItemError"
            assert answered.oneofs_by_name["result"]
