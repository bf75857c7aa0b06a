# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of the input validation and of running services with mutated messages.

    python scripts/fuzz.py --mutations 200000 --output results/fuzz.json

Three targets share the number of mutations: all input validation, in this process (driven by
Hypothesis, which shrinks its findings); calls with mutated messages to services; and raw bytes
sent to their sockets. See tests/helpers/fuzzing.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from genjscc.cli.provenance import current_commit
from genjscc.launch.processes import ROLES, LocalServices
from genjscc.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from tests.helpers.fuzzing import (
    Findings,
    Seeds,
    check_alive,
    fuzz_calls,
    fuzz_checks,
    fuzz_sockets,
)

PORTIONS = {"checks": 0.6, "calls": 0.35, "sockets": 0.05}


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutated messages against checks and services.")
    parser.add_argument("--mutations", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundles", type=Path, help="models; default: those that ship")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    for role in ROLES:
        parser.add_argument(f"--{role}", help="a running service; all three, or none to start them")
    arguments = parser.parse_args()
    counts = {name: round(arguments.mutations * part) for name, part in PORTIONS.items()}
    rng, findings = random.Random(arguments.seed), Findings()  # noqa: S311
    started = time.monotonic()
    seeds = Seeds(arguments.bundles)
    fuzz_checks(seeds, counts["checks"], arguments.seed, findings)
    with ExitStack() as stack:
        addresses = {role: getattr(arguments, role) for role in ROLES}
        if not all(addresses.values()):
            models = ["--bundles", str(arguments.bundles)] if arguments.bundles else []
            flags = {"transmitter": models, "receiver": models}
            addresses = stack.enter_context(LocalServices(flags)).addresses

        async def services() -> None:
            await fuzz_calls(seeds, addresses, counts["calls"], rng, findings)
            await fuzz_sockets(seeds, addresses, counts["sockets"], rng, findings)
            await check_alive(seeds, addresses, findings)

        asyncio.run(services())
    result = {
        "command": shlex.join(["python", "scripts/fuzz.py", *sys.argv[1:]]),
        "commit": current_commit(),
        "seconds": round(time.monotonic() - started, 1),
        "mutations": findings.total,
        "outcomes": {name: dict(c.most_common()) for name, c in sorted(findings.outcomes.items())},
        "found": findings.bad,
    }
    print(json.dumps(result, indent=2))
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if findings.bad else 0


if __name__ == "__main__":
    sys.exit(main())
