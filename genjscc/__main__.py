# SPDX-License-Identifier: Apache-2.0
"""`python -m genjscc`: the `genjscc` command."""

from genjscc.cli import main

main()
