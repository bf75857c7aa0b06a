# SPDX-License-Identifier: Apache-2.0
"""Environment variables that begin with GENJSCC_, and detection of misspelt ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

PREFIX = "GENJSCC_"
# Read by clients, Compose files and load tests; the services' own are the fields of their settings.
_OTHERS = frozenset(
    PREFIX + name
    for name in (
        *("TRANSMITTER", "CHANNEL", "RECEIVER"),
        *("TLS", "TLS_CA", "TLS_CLIENT_CERTIFICATE", "TLS_CLIENT_KEY", "TLS_SERVER_NAME"),
        *("TOKEN", "TOKEN_FILE", "TOKEN_IN_CLEAR"),
        *("USE_PROXY", "TAG", "LOAD_SIZES", "LOAD_RATES", "ENGINE_STATE"),
    )
)
# Kubernetes and Docker links set these for services whose names begin like that.
_OF_AN_ORCHESTRATOR = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT.*|PORT(_\d+_(TCP|UDP).*)?)")


def unknown_variables(
    of_services: Iterable[str], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return a sentence for each unknown variable, with the most similar known name.

    Args:
        of_services: names of the services' settings, without the prefix.
        environment: where to look.
    """
    known = _OTHERS | {PREFIX + name.upper() for name in of_services}
    found = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or _OF_AN_ORCHESTRATOR.fullmatch(name):
            continue
        near = get_close_matches(name, known, 1, cutoff=0.8)
        meant = f"; did you mean {near[0]}?" if near else ""
        found.append(f"{name} is not a variable of anything here{meant}")
    return found
