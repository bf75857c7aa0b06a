# SPDX-License-Identifier: Apache-2.0
"""One thread, fixed seeds, tiny bundles, and three real services for whoever asks."""

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
# A shell in the background starts its programs deaf to Ctrl-C, and they theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is slow, not wrong; and a failure is to be the same for everybody.
settings.register_profile("genjscc", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("genjscc")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pair for three rates, one for a single rate, and a generator."""
    root = tmp_path_factory.mktemp("bundles")
    write_both(root)
    save_bundle(tiny_face_generator(), root / GENERATOR, "# tiny\n")
    return root


@pytest.fixture(scope="session")
def services(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Three processes that all tests share; do not stop them."""
    with running_services(bundles, tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture
def link(services: Services) -> Iterator[Link]:
    """A client of the shared services."""
    with Link(**services.addresses) as connected:
        yield connected
