# SPDX-License-Identifier: Apache-2.0
"""`python -m genjscc` and the `genjscc` command, interruptible from its first moment."""

from __future__ import annotations

import signal


def run() -> None:
    """Entry point of the console script."""
    # While the command line is being imported, Ctrl-C just ends it: there is nothing to clean up.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from genjscc.cli import main

    main()


if __name__ == "__main__":
    run()
