# SPDX-License-Identifier: Apache-2.0
"""The client in another language that the documentation shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjscc import Link
from genjscc.repository import REPOSITORY
from tests.helpers.pictures import file_of, gradient
from tests.helpers.real_services import Services

EXAMPLE = REPOSITORY / "examples" / "node"


def node(services: Services, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed")
    environment = dict(os.environ)
    for role, address in services.addresses.items():
        environment[f"GENJSCC_{role.upper()}"] = address
    done = subprocess.run(
        [program, EXAMPLE / "send.js", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if "Cannot find module '@grpc/" in done.stderr:
        pytest.skip("grpc-js is not installed: npm install @grpc/grpc-js @grpc/proto-loader")
    return done


def test_a_photo_from_node_arrives_as_from_the_sdk(
    services: Services, link: Link, tmp_path: Path
) -> None:
    photo, target = tmp_path / "photo.png", tmp_path / "received.png"
    photo.write_bytes(file_of(gradient(40, 56), "PNG"))
    done = node(services, photo, target, "3", "1/192")
    assert done.returncode == 0, done.stderr
    with Image.open(target) as file:
        received = np.asarray(file)
    expected = link.send(photo, snr_db=3, rate="1/192", seed=1)
    np.testing.assert_array_equal(received, expected.image)
    assert done.stdout == f"{expected.codeword.k} symbols, model {expected.model}\n"


def test_an_error_in_node_names_the_field_and_the_request(
    services: Services, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no picture")
    done = node(services, photo, tmp_path / "received.png")
    assert done.returncode == 1
    assert done.stderr.startswith("error: image.encoded: got 10 bytes that are not a PNG")
    assert "(request " in done.stderr
