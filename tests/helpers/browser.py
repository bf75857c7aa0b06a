# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, if one is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Return the system's Chromium, or the one installed by `playwright install chromium`."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, _NAMES)), own)
        if not Path(found).exists():
            pytest.skip(
                "no Chromium here: apt-get install chromium, or playwright install chromium"
            )
        # Chromium's sandbox refuses to run as root, the user of containers.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()
