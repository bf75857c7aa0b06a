# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: one thread, fixed seeds, tiny bundles, and three real services."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from genjscc import Link
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.real_services import Services, running_services
from tests.helpers.tiny_bundles import GENERATOR, tiny_face_generator, write_both

torch.set_num_threads(1)
# A background shell starts its programs with SIGINT ignored, which their children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No deadlines, because a busy machine is slow, not wrong; and failures must be reproducible.
settings.register_profile("genjscc", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("genjscc")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder with a pair for three rates, one for a single rate, and a generator."""
    root = tmp_path_factory.mktemp("bundles")
    write_both(root)
    save_bundle(tiny_face_generator(), root / GENERATOR, "# tiny\n")
    return root


@pytest.fixture(scope="session")
def services(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Start three processes that all tests share; do not stop them."""
    with running_services(bundles, tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture
def link(services: Services) -> Iterator[Link]:
    """Open a link to the shared services."""
    with Link(**services.addresses) as connected:
        yield connected
