# SPDX-License-Identifier: Apache-2.0
"""Golden outputs of the models that ship: compare this installation with the committed values.

python scripts/golden.py            # exits with 1 if a PSNR differs by 0.01 dB or more
python scripts/golden.py --write    # after a change of a model
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from genjscc.evaluation.golden import golden_outputs

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = REPOSITORY / "models" / "golden.json"
LARGEST_DIFFERENCE_DB = 0.01


def main(arguments: Sequence[str]) -> int:
    outputs = [asdict(one) for one in golden_outputs(REPOSITORY / "models")]
    if arguments == ["--write"]:
        content = {
            "command": "python scripts/golden.py --write",
            "torch": torch.__version__,
            "outputs": outputs,
        }
        FILE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return 0
    expected = {one["model"]: one for one in json.loads(FILE.read_text())["outputs"]}
    worst = 0.0
    for one in outputs:
        if one["model"] not in expected:
            print(f"{one['model']:20} has no golden output: --write adds it")
            return 1
        difference = one["psnr_db"] - expected[one["model"]]["psnr_db"]
        worst = max(worst, abs(difference))
        print(f"{one['model']:20} {one['psnr_db']:.4f} dB, difference {difference:+.4f} dB")
    return int(worst >= LARGEST_DIFFERENCE_DB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
