# SPDX-License-Identifier: Apache-2.0
"""Make docs/images/web.png anew: the page in a headless Chromium, with services of its own.

python scripts/page_picture.py [TARGET]

Needs the extra dev and a Chromium: that of the machine, or of `playwright install chromium`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "web.png"
# Settings that show all schemes at work; see genjscc/web/address.py.
QUERY = "?sample=2&model=faces64&rate=1%2F768&size=64&channel=awgn&snr_db=5&seed=1"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MILLISECONDS = 300_000


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    command = [sys.executable, "-m", "genjscc", "web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 (for the type checker)
        try:
            address = process.stdout.readline().split()[1]
            take(address + "/" + QUERY, target)
        finally:
            process.send_signal(signal.SIGINT)
    print(target)


def take(address: str, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=next(filter(None, map(shutil.which, NAMES)), None),
            # Chromium's sandbox refuses to run as root, the user of containers.
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        page = browser.new_page(viewport={"width": 1360, "height": 1000})
        page.set_default_timeout(MILLISECONDS)
        page.goto(address)
        for scheme in ("DeepJSCC", "GenerativeJSCC"):
            page.locator(f"[aria-label='{scheme}'] img").wait_for()
        page.get_by_role("button", name="Refine").click()
        page.get_by_role("status").get_by_text("done after").wait_for()
        page.screenshot(path=target, full_page=True)
        browser.close()
    # A third of the size with a palette.
    with Image.open(target) as picture:
        coloured = picture.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    coloured.save(target, optimize=True)


if __name__ == "__main__":
    main()
