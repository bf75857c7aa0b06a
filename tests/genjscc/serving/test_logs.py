# SPDX-License-Identifier: Apache-2.0
"""One JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, warnings
from genjscc.serving.logs import set_up_logging
set_up_logging("test", "INFO")
log = logging.getLogger("genjscc")
log.debug("below the level")
log.info("two\\nlines", extra={"method": "Encode", "odd": {1, 2}.__class__})
warnings.warn("a library warns", stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_every_line_is_json() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    info, warning, failure = (json.loads(line) for line in done.stderr.splitlines())
    assert (info["message"], info["method"]) == ("two\nlines", "Encode")
    assert (info["level"], info["role"], info["request_id"]) == ("INFO", "test", "-")
    assert "a library warns" in warning["message"]
    assert "ZeroDivisionError" in failure["exception"]
    assert info["time"].endswith("+00:00")
