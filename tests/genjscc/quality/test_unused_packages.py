# SPDX-License-Identifier: Apache-2.0
"""A receiver computes ST-LPIPS without torchvision, IPython and torchsummary."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from genjscc.quality.perceptual import perceptual

SCRIPT = """
import sys
from importlib.machinery import PathFinder

HIDDEN = {"torchvision", "IPython", "torchsummary"}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: (
    None if name.split(".")[0] in HIDDEN else find(name, *more)
)

import torch
from genjscc.quality.perceptual import perceptual

torch.set_num_threads(1)
print(float(perceptual(sys.argv[1])(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))))
assert not HIDDEN & sys.modules.keys()
try:
    import torchvision
except ImportError:
    print("torchvision is still missing")
"""


def test_the_distance_is_the_same_without_them() -> None:
    name = "st-lpips-alex"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    value, after = done.stdout.splitlines()
    assert after == "torchvision is still missing"
    black, white = torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)
    assert float(value) == pytest.approx(float(perceptual(name)(black, white)), rel=1e-5)
